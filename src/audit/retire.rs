//! Records that were kept long enough go; their links stay, and of each what its link is over.
//!
//! That is done in slices of one class. A slice is one batch: the records go, their stubs come, the row that tells of it is
//! written, and how far the class has gone is noted in place of what was read. So whoever is killed has done a slice or not,
//! and of two processes one does it. What does not fit its link is left alone: removing it would hide what was done to it.
//!
//! Nothing goes before all of this is so: its day is sealed, with a key of the authority; its years are over, by the calendar and by
//! the last seals (`SEALS_AFTER`); these seals were made after the log told of the years; who keeps the log elsewhere has it;
//! nobody has said that nothing goes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Clock, Tasks};
use pdu::{Authorities, Authority};
use ruma::{OwnedServerName, ServerName};
use store::{Batch, Order, Position, Range, Store, Value};

use crate::{
    Error,
    chain::{Essence, Form},
    claims::{Claim, Slice, setting},
    class::{Class, Years},
    going::{Due, Kept, PAGE, commit, covered, plan, ripe},
    gone::{GoneRow, KeptRow, STUBS, StubRow},
    kept::{Retention, retention},
    tables::{ChainRow, LINKS, LinkRow, RECORDS, decode},
};

/// Records that go with one batch, and links that are looked at for one.
const ROWS: u64 = 500;
const MOST_READ: usize = 10_000;

/// How often it is looked whether something is to go, and the rest between two slices.
const LOOK: Duration = Duration::from_secs(60 * 60);
const REST: Duration = Duration::from_millis(200);

/// Who keeps audit logs elsewhere, and has to have rows before they go here.
#[async_trait]
pub trait Elsewhere: Send + Sync {
    /// The number through which all of them have the log of an authority; none where nobody keeps it elsewhere.
    async fn has_through(&self, authority: &ServerName) -> Result<Option<u64>, store::Error>;
}

/// What removes records is made of.
pub struct RetirerParts {
    /// The store.
    pub store: Store,
    /// Whose logs.
    pub authorities: Arc<Authorities>,
    /// For how many years each keeps its records; who is not named, as long as [`Years::FIRST`] says.
    pub years: BTreeMap<OwnedServerName, Years>,
    /// Who keeps them elsewhere.
    pub elsewhere: Arc<dyn Elsewhere>,
    /// Time.
    pub clock: Clock,
}

/// Removes records that were kept long enough.
pub struct Retirer {
    parts: RetirerParts,
}

/// Starts to remove records that were kept long enough, until the tasks are stopped.
pub fn retire(retirer: &Arc<Retirer>, tasks: &Tasks) {
    let (retirer, stopping) = (retirer.clone(), tasks.shutdown_token());
    tasks.spawn_restarting("audit.retire", move || {
        let (retirer, stopping) = (retirer.clone(), stopping.clone());
        async move {
            let clock = &retirer.parts.clock;
            let work = async {
                loop {
                    let is_left = retirer.step().await;
                    clock.sleep(if is_left { REST } else { LOOK }).await;
                }
            };
            stopping.run_until_cancelled(work).await;
        }
    });
}

impl Retirer {
    /// One that has looked at nothing yet.
    #[must_use]
    pub fn new(parts: RetirerParts) -> Self {
        Self { parts }
    }

    /// Removes a slice of each authority that has something to go; whether anything may be left. What cannot be done of one
    /// authority holds up no other; it is told, and tried again with the next look.
    pub async fn step(&self) -> bool {
        let mut is_left = false;
        for authority in self.parts.authorities.iter() {
            match self.step_of(authority).await {
                Ok(of_it) => is_left |= of_it,
                Err(error) => {
                    let authority = authority.name();
                    tracing::error!(%authority, %error, "no rows of the audit log are removed; `yakuba audit verify` may tell more");
                }
            }
        }
        is_left
    }

    async fn step_of(&self, authority: &Authority) -> Result<bool, Error> {
        self.tell_setting(authority).await?;
        let Some(count) = self.slice(authority).await? else { return Ok(false) };
        if count > 0 {
            tracing::info!(authority = %authority.name(), count, "removed rows of the audit log that were kept long enough");
        }
        Ok(true)
    }

    /// Tells in the log for how many years classes are kept, where that is another number than it has told.
    async fn tell_setting(&self, authority: &Authority) -> Result<(), Error> {
        let name = authority.name();
        let set = self.years(name);
        loop {
            let kept = Kept::read(&self.parts.store, name).await?;
            let told = kept.row.years.map_or(Years::FIRST, |(years, _)| years);
            if told == set {
                return Ok(());
            }
            let now = self.parts.clock.now();
            let mut batch = Batch::new();
            kept.replace(&mut batch, name, &KeptRow { years: Some((set, now)), ..kept.row.clone() });
            setting(name, &told, &set, now).write(&mut batch, name);
            if commit(&self.parts.store, batch).await? {
                return Ok(());
            }
        }
    }

    /// How it stands with the records of an authority.
    ///
    /// # Errors
    /// See [`retention`].
    pub async fn retention(&self, name: &ServerName) -> Result<Retention, Error> {
        let elsewhere = self.parts.elsewhere.has_through(name).await?;
        retention(&self.parts.store, name, &self.years(name), elsewhere, self.parts.clock.now()).await
    }

    fn years(&self, name: &ServerName) -> Years {
        self.parts.years.get(name).copied().unwrap_or_default()
    }

    /// Removes a slice, or looks at links in which nothing is to go; how many went, or none where nothing is left to look at.
    async fn slice(&self, authority: &Authority) -> Result<Option<u64>, Error> {
        let (store, name) = (&self.parts.store, authority.name());
        let kept = Kept::read(store, name).await?;
        let years = self.years(name);
        // Another process may have told of other years meanwhile.
        if kept.row.hold.is_some() || kept.row.years.map_or(Years::FIRST, |(told, _)| told) != years {
            return Ok(None);
        }
        let Some(ripe) = ripe(store, name, Some(authority), self.parts.clock.now(), &kept.row).await? else {
            return Ok(None);
        };
        let elsewhere = self.parts.elsewhere.has_through(name).await?.unwrap_or(u64::MAX);
        let all = plan(store, name, &kept.row, &years, Some(ripe), Some(authority)).await?;
        let next = all.into_iter().find_map(|due| {
            let (limit, day) = due.limit?;
            let through = limit.min(elsewhere);
            (due.gone.through < through).then_some((due, limit, through, day))
        });
        let Some((Due { gone, years, .. }, limit, through, day)) = next else { return Ok(None) };
        let found = self.gather(authority, &gone, through).await?;
        let slice = kept.row.slices + 1;
        let mut batch = Batch::new();
        let mut row = kept.row.clone();
        let ended = found.through == limit;
        row.set(GoneRow {
            class: gone.class,
            through: found.through,
            day: if ended { day } else { gone.day },
            rows: gone.rows + found.slice.rows(),
        });
        if found.slice.rows() > 0 {
            row.slices = slice;
        }
        // The first that is demanded: another process that was faster fails this.
        kept.replace(&mut batch, name, &row);
        for (number, position, essence, form) in &found.stubs {
            let is_former = *form == Form::First;
            let stub = StubRow { what: essence.what.clone(), digest: essence.digest, is_former, slice };
            batch.insert(&STUBS, &(name.as_str(), *number), &stub.encode());
            batch.delete(&RECORDS, &(name.as_str(), *position));
        }
        if let Some(last) = found.last {
            let covered = covered(store, authority, gone.day, last).await?;
            let claim: Claim = found.slice.claim(slice, years, covered);
            claim.deed(self.parts.clock.now()).write(&mut batch, name);
        }
        let rows = found.slice.rows();
        // Where another process was faster, the next look goes on from there.
        Ok(Some(if commit(store, batch).await? { rows } else { 0 }))
    }

    /// The next records of a class that are there, through a number.
    async fn gather(&self, authority: &Authority, gone: &GoneRow, through: u64) -> Result<Found, Error> {
        let (store, name) = (&self.parts.store, authority.name());
        let key = name.as_str();
        let mut place = ChainRow { number: gone.through, ..ChainRow::start() };
        if gone.through > 0 {
            let before = store.get(&LINKS, &(key, gone.through)).await?;
            place.hash =
                before.as_ref().and_then(decode::<LinkRow>).ok_or(Error::Wrong("a link is gone"))?.hash;
        }
        let mut found =
            Found { slice: Slice::new(gone.class), stubs: Vec::new(), last: None, through: gone.through };
        let mut read = 0;
        while found.through < through && read < MOST_READ {
            let range = Range::prefix(key).after(&(key, place.number)).through(&(key, through));
            let links = store.scan(&LINKS, range, Order::Ascending, PAGE).await?;
            read += PAGE;
            let links: Option<Vec<(u64, LinkRow)>> =
                links.iter().map(|((_, number), link)| Some((*number, decode::<LinkRow>(link)?))).collect();
            let links = links.filter(|links| !links.is_empty()).ok_or(Error::Wrong("a link is gone"))?;
            let positions: Vec<(&str, Position)> =
                links.iter().map(|(_, link)| (key, link.position)).collect();
            let numbers: Vec<(&str, u64)> = links.iter().map(|(number, _)| (key, *number)).collect();
            let records = store.get_many(&RECORDS, &positions).await?;
            let stubs = store.get_many(&STUBS, &numbers).await?;
            for (((number, link), record), stub) in links.iter().zip(records).zip(stubs) {
                if *number != place.number + 1 {
                    return Err(Error::Wrong("a link is gone"));
                }
                match (record, stub) {
                    (Some(record), None) => {
                        let form = place.next(name, link.position).form(&record, &link.hash);
                        let form = form.ok_or(Error::Wrong("a row or its link was changed"))?;
                        let essence = Essence::of(&record);
                        if Class::of_link(&essence.what, form == Form::First) == Some(gone.class) {
                            found.add(*number, link, essence, form);
                        }
                    }
                    (None, Some(_)) => {}
                    (None, None) => return Err(Error::Wrong("a row is gone")),
                    (Some(_), Some(_)) => return Err(Error::Wrong("a row is there that has gone")),
                }
                place.pass(link, None);
                found.through = *number;
                if found.slice.rows() >= ROWS {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}

/// What of a class goes with the next slice.
struct Found {
    slice: Slice,
    stubs: Vec<(u64, Position, Essence, Form)>,
    /// The number of the last that goes.
    last: Option<u64>,
    /// The last number that was looked at.
    through: u64,
}

impl Found {
    fn add(&mut self, number: u64, link: &LinkRow, essence: Essence, form: Form) {
        let Essence { what, digest } = essence.clone();
        // The number of the slice is no part of its hash.
        let stub = StubRow { what, digest, is_former: form == Form::First, slice: 0 };
        self.slice.add(number, link, &stub);
        self.stubs.push((number, link.position, essence, form));
        self.last = Some(number);
    }
}

impl std::fmt::Debug for Retirer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retirer").field("authorities", &self.parts.authorities.len()).finish_non_exhaustive()
    }
}
