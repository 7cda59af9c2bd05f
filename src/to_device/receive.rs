//! What other servers send to devices of ours.
//!
//! A server sends a unit again until it hears that it was taken, under the same name. The names of those that
//! reached somebody are remembered for a while, in the same batch, so that nobody is told anything twice by the loss of an
//! answer.

use std::collections::BTreeSet;

use base::Attempts;
use bytes::Bytes;
use ruma::{OwnedUserId, ServerName};
use store::{Batch, CommitError, Order, Range, Reads};
use tracing::{debug, warn};

use crate::{
    Error, Messages, ToDevice,
    inbox::wake,
    send::{LONGEST_NAME, MOST_NAMED, Reached, Wanted, are_few, check_content},
    shares::Fit,
    tables::{MessageRow, NameHash, TAKEN, TAKEN_ORDER, TAKEN_USE, TakenRow, counted},
};

/// So many names of one server's units are remembered; the oldest go first, and at most so many with one batch.
const MOST_TAKEN: i64 = 50_000;
const GO_AT_ONCE: usize = 1_000;

/// A unit of another server.
#[derive(Debug)]
pub struct Incoming {
    /// Who says to send it.
    pub sender: OwnedUserId,
    /// The type of its messages.
    pub kind: String,
    /// What its server calls it.
    pub message_id: String,
    /// What is sent to whom.
    pub messages: Messages,
}

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Whoever it was for and is there has it.
    Taken,
    /// It was taken before.
    Duplicate,
    /// It is none; nobody has it.
    Refused,
}

impl ToDevice {
    /// Takes units of another server that are meant for an authority of ours, in one batch. On return they are on
    /// stable storage. One that cannot be used costs no other; nor does a message in it that cannot be: it is left out.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Account`], [`Error::Store`], [`Error::Commit`]: nothing was taken, and all of
    /// it may come again.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging>
    pub async fn receive(
        &self,
        origin: &ServerName,
        destination: &ServerName,
        units: &[Incoming],
    ) -> Result<Vec<Outcome>, Error> {
        let names: Vec<Option<NameHash>> =
            units.iter().map(|unit| name_of(origin, destination, unit)).collect();
        let wanted = self.wanted(destination, units, &names);
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_receive(origin, units, &names, &wanted).await {
                Err(Error::Commit(CommitError::Conflict { .. })) => {
                    if !attempts.again(&self.inner.random).await {
                        return Err(Error::Contended);
                    }
                }
                done => return done,
            }
        }
    }

    /// The messages of all units that can be used and are for users of that authority.
    fn wanted<'a>(
        &self,
        destination: &ServerName,
        units: &'a [Incoming],
        names: &[Option<NameHash>],
    ) -> Vec<Wanted<'a>> {
        let (mut wanted, mut left_out) = (Vec::new(), 0);
        for (unit, incoming) in units.iter().enumerate().filter(|(unit, _)| names.get(*unit) != Some(&None)) {
            for (user, devices) in &incoming.messages {
                for (device, content) in devices {
                    // Whom we have elsewhere is none of the business of who asks here.
                    let is_asked = user.server_name() == destination;
                    if is_asked && wanted.len() < MOST_NAMED && check_content(content).is_ok() {
                        wanted.push(Wanted { unit, user, device, content });
                    } else {
                        left_out += 1;
                    }
                }
            }
        }
        self.inner.counts.add("left out", left_out);
        wanted
    }

    async fn try_to_receive(
        &self,
        origin: &ServerName,
        units: &[Incoming],
        names: &[Option<NameHash>],
        wanted: &[Wanted<'_>],
    ) -> Result<Vec<Outcome>, Error> {
        let known: BTreeSet<NameHash> = names.iter().flatten().copied().collect();
        let known: Vec<(&str, NameHash)> = known.into_iter().map(|name| (origin.as_str(), name)).collect();
        let mut reads = Reads::new();
        let rows = reads.get_many(&TAKEN, &known);
        let remembered = reads.get(&TAKEN_USE, origin.as_str());
        let mut found = self.inner.store.read(reads).await?;
        let rows = found.take_many(rows)?;
        let remembered = found.take(remembered)?.unwrap_or_default().0;
        let mut taken: BTreeSet<NameHash> =
            known.iter().zip(rows).filter_map(|((_, name), row)| row.map(|()| *name)).collect();
        let outcomes: Vec<Outcome> = names
            .iter()
            .map(|name| match name {
                None => Outcome::Refused,
                // Whether it stands in the store or before it in the same transaction.
                Some(name) if !taken.insert(*name) => Outcome::Duplicate,
                Some(_) => Outcome::Taken,
            })
            .collect();
        let is_new = |wanted: &&Wanted<'_>| outcomes.get(wanted.unit) == Some(&Outcome::Taken);
        let wanted: Vec<Wanted<'_>> = wanted.iter().filter(is_new).copied().collect();
        let mut reached = self.reached(&wanted).await?;
        let all = reached.len();
        while !are_few(&reached) {
            // What stands behind half of it costs what is before it nothing.
            reached.truncate(reached.len() / 2);
        }
        self.inner.counts.add("left out", (all - reached.len()) as u64);
        self.keep(origin, units, names, &reached, remembered).await?;
        Ok(outcomes)
    }

    /// Writes what reached somebody, and the names of those units.
    async fn keep(
        &self,
        origin: &ServerName,
        units: &[Incoming],
        names: &[Option<NameHash>],
        reached: &[Reached<'_>],
        remembered: i64,
    ) -> Result<(), Error> {
        // All of them are of that server, whoever it is.
        let Some(sender) = units.iter().zip(names).find_map(|(unit, name)| name.map(|_| &unit.sender)) else {
            return Ok(());
        };
        let mut room = self.room_of(sender, reached.iter().map(|reached| &reached.standing)).await?;
        let (mut batch, mut stored, mut full, mut refused, mut new) = (Batch::new(), 0, 0, 0, 0);
        let mut required = BTreeSet::new();
        for of_unit in reached.chunk_by(|one, other| one.unit == other.unit) {
            let Some((incoming, name)) = of_unit
                .first()
                .and_then(|first| Some((units.get(first.unit)?, names.get(first.unit).copied().flatten()?)))
            else {
                continue;
            };
            let slot = batch.mark([]);
            let mut woken = BTreeSet::new();
            for Reached { standing, content, .. } in of_unit {
                if required.insert((standing.user(), standing.device())) {
                    standing.require(&mut batch);
                }
                let content = Bytes::copy_from_slice(content.get().as_bytes());
                let (sender, kind) = (incoming.sender.to_string(), incoming.kind.clone());
                let row = MessageRow { sender, kind, content };
                match self.put_message(&mut batch, slot, &mut room, standing, &row) {
                    Fit::Fits => {
                        stored += 1;
                        woken.insert(standing.user());
                    }
                    Fit::ShareFull => refused += 1,
                    Fit::Full => full += 1,
                }
            }
            if !woken.is_empty() {
                wake(&mut batch, slot, &woken);
                batch.insert(&TAKEN, &(origin.as_str(), name), &());
                let row = TakenRow { name, at: self.now_ms() };
                batch.append(&TAKEN_ORDER, origin.as_str(), slot, &row);
                new += 1;
            }
        }
        self.tell_overflow(origin, refused);
        if stored == 0 {
            self.inner.counts.add("full", full);
            return Ok(());
        }
        batch.add(&TAKEN_USE, origin.as_str(), new);
        if remembered + new > MOST_TAKEN {
            let range = Range::prefix(origin.as_str());
            let oldest = self.inner.store.scan(&TAKEN_ORDER, range, Order::Ascending, GO_AT_ONCE).await?;
            put_forgotten(&mut batch, &oldest);
        }
        self.inner.store.commit(batch).await?;
        self.inner.counts.add("stored", stored);
        self.inner.counts.add("full", full);
        Ok(())
    }

    /// Notes what another server sent beyond its share. It is told so by nothing: it could only send it again.
    fn tell_overflow(&self, origin: &ServerName, refused: u64) {
        self.inner.counts.add("share full", refused);
        if refused > 0 && self.inner.overflows.take(&origin.as_str(), self.inner.clock.instant()).is_ok() {
            warn!(%origin, count = refused, "a server's share of inboxes is full, and what else it sends for them is not kept");
        }
    }
}

/// Adds to a batch that these names are not remembered any more. It fails where one of them is not already.
pub(crate) fn put_forgotten(batch: &mut Batch, rows: &[((String, store::Position), TakenRow)]) {
    for (key, row) in rows {
        batch.require(&TAKEN_ORDER, key, Some(row));
        batch.delete(&TAKEN_ORDER, key);
        batch.delete(&TAKEN, &(key.0.as_str(), row.name));
    }
    for of_server in rows.chunk_by(|(one, _), (other, _)| one.0 == other.0) {
        if let Some(((server, _), _)) = of_server.first() {
            batch.add(&TAKEN_USE, server.as_str(), -counted(of_server.len() as u64));
        }
    }
}

/// What names a unit among those of its server; `None` when it can be none of that server's. What goes to several
/// servers may have one name, and some of these may be authorities of ours.
fn name_of(origin: &ServerName, destination: &ServerName, unit: &Incoming) -> Option<NameHash> {
    let is_fit = |name: &str| (1..=LONGEST_NAME).contains(&name.len());
    if unit.sender.server_name() != origin || !is_fit(&unit.kind) || !is_fit(&unit.message_id) {
        debug!(%origin, sender = %unit.sender, "a unit for devices cannot be used");
        return None;
    }
    let mut hash = blake3::Hasher::new();
    // Neither holds a byte that is no UTF-8.
    hash.update(destination.as_bytes()).update(&[0xff]).update(unit.message_id.as_bytes());
    Some(hash.finalize().into())
}
