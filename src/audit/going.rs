//! What is to go of a log, and what has: shared by who removes records and who tells how it stands.

use base::Timestamp;
use bytes::Bytes;
use pdu::Authority;
use ruma::ServerName;
use store::{Batch, CommitError, Order, Range, Store, Value};

use crate::{
    Error,
    claims::SEALS_AFTER,
    class::{Class, Years},
    day::Day,
    gone::{GoneRow, KEPT, KeptRow},
    seal::{is_genuine, is_key_of},
    tables::{SEALS, SealRow, decode},
};

/// Rows that are read at a time.
pub(crate) const PAGE: usize = 500;

/// What is to go of a class, and what of it has.
pub(crate) struct Due {
    pub(crate) gone: GoneRow,
    pub(crate) years: u16,
    /// Up to which number it is kept long enough, and the day whose seal ends there.
    pub(crate) limit: Option<(u64, Day)>,
}

/// How far records have gone, as it was read.
pub(crate) struct Kept {
    bytes: Option<Bytes>,
    pub(crate) row: KeptRow,
}

impl Kept {
    pub(crate) async fn read(store: &Store, name: &ServerName) -> Result<Self, store::Error> {
        let bytes = store.get(&KEPT, name.as_str()).await?;
        let row = match &bytes {
            Some(bytes) => {
                KeptRow::decode(bytes).map_err(|cause| store::Error::Corrupt { table: KEPT.name(), cause })?
            }
            None => KeptRow::default(),
        };
        Ok(Self { bytes, row })
    }

    /// Writes another row in place of what was read.
    pub(crate) fn replace(&self, batch: &mut Batch, name: &ServerName, row: &KeptRow) {
        batch.require(&KEPT, name.as_str(), self.bytes.as_ref());
        batch.put(&KEPT, name.as_str(), &row.encode());
    }
}

impl KeptRow {
    pub(crate) fn of(&self, class: Class) -> GoneRow {
        let known = self.gone.iter().find(|gone| gone.class == class);
        known.copied().unwrap_or(GoneRow { class, through: 0, day: Day(0), rows: 0 })
    }

    pub(crate) fn set(&mut self, gone: GoneRow) {
        self.gone.retain(|known| known.class != gone.class);
        self.gone.push(gone);
        self.gone.sort_unstable_by_key(|gone| gone.class);
    }
}

/// Writes a batch; whether nothing had changed before it.
pub(crate) async fn commit(store: &Store, batch: Batch) -> Result<bool, Error> {
    match store.commit(batch).await {
        Ok(_) => Ok(true),
        // It may have been written: whoever looks again sees it.
        Err(CommitError::Conflict { .. } | CommitError::Unknown) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The day by which something has to be kept long enough to go now: today, and the day on which the first of the last seals was made.
/// None as long as there are too few, or fewer since the log told of the years.
pub(crate) async fn ripe(
    store: &Store,
    name: &ServerName,
    keys: Option<&Authority>,
    now: Timestamp,
    kept: &KeptRow,
) -> Result<Option<Day>, Error> {
    let seals = Range::prefix(name.as_str());
    let seals = store.scan(&SEALS, seals, Order::Descending, SEALS_AFTER).await?;
    if seals.len() < SEALS_AFTER {
        return Ok(None);
    }
    let mut first = now;
    for ((_, day), seal) in &seals {
        first = first.min(read_seal(name, keys, *day, seal)?.made);
    }
    let told = kept.years.map_or(Timestamp(0), |(_, at)| at);
    Ok((told < first).then(|| Day::of(first)))
}

/// How far each class may go, if things are ripe by this day; a class that has gone so far is among them.
pub(crate) async fn plan(
    store: &Store,
    name: &ServerName,
    kept: &KeptRow,
    years: &Years,
    ripe: Option<Day>,
    keys: Option<&Authority>,
) -> Result<Vec<Due>, Error> {
    let key = name.as_str();
    let mut all: Vec<Due> = Class::ALL
        .into_iter()
        .map(|class| Due { gone: kept.of(class), years: years.of(class), limit: None })
        .collect();
    let Some(ripe) = ripe else { return Ok(all) };
    let kept_from = |due: &Due| Day::april(ripe.fiscal_year().saturating_sub(u32::from(due.years)));
    let ranges = all.iter().map(|due| Range::prefix(key).before(&(key, kept_from(due)))).collect();
    let seals = store.scan_many(&SEALS, ranges, Order::Descending, 1).await?;
    for (due, seals) in all.iter_mut().zip(seals) {
        if let Some(((_, day), seal)) = seals.first() {
            due.limit = Some((read_seal(name, keys, *day, seal)?.last, *day));
        }
    }
    Ok(all)
}

/// The day whose seal covers a row that is sealed; no earlier than the seal of another day.
pub(crate) async fn covered(
    store: &Store,
    authority: &Authority,
    from: Day,
    number: u64,
) -> Result<Day, Error> {
    let (name, mut from) = (authority.name(), from);
    let key = name.as_str();
    loop {
        let seals = Range::prefix(key).from(&(key, from));
        let seals = store.scan(&SEALS, seals, Order::Ascending, PAGE).await?;
        for ((_, day), seal) in &seals {
            if read_seal(name, Some(authority), *day, seal)?.last >= number {
                return Ok(*day);
            }
            from = day.next();
        }
        if seals.is_empty() {
            return Err(Error::Wrong("a seal is gone"));
        }
    }
}

/// A seal, if it is one; of whoever's keys are known, one that these have made.
fn read_seal(name: &ServerName, keys: Option<&Authority>, day: Day, seal: &Bytes) -> Result<SealRow, Error> {
    let seal = decode::<SealRow>(seal)
        .filter(|seal| keys.is_none_or(|keys| is_genuine(name, day, seal) && is_key_of(keys, seal)));
    seal.ok_or(Error::Wrong("a seal cannot be read or is no seal of the authority"))
}
