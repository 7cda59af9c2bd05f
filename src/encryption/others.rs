//! Keys of users of other servers, kept as these told them.
//!
//! Whoever shares a room with somebody is told by that one's server when something changes, and then what is kept goes, in the
//! commit in which our users are told; nothing is made of the change itself, so none can be missed between two others. That
//! holds for as long as both are in the room: what is kept names the two events by which they are, and is worth nothing once
//! neither room has them any more. A day later the server is asked anew all the same, in case it once told a change to nobody;
//! if it does not answer then, it stays what was known.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use room::{RoomSerial, tables::Membership};
use ruma::{CanonicalJsonObject, OwnedDeviceId, OwnedUserId, UserId};
use serde_json::value::RawValue;
use store::{Batch, CommitError, Stamped};
use tracing::debug;

use crate::{
    Encryption, Error, UserKeys, Wanted,
    query::Left,
    tables::{AnchorRow, LAST_CHANGE, LastRow, OTHERS, OtherRow},
};

/// Rooms by which it is known that changes are told.
const MOST_ANCHORS: usize = 3;

/// After this the server is asked anew.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest keys of one user that are kept, and of all that are written together, in bytes.
const LARGEST: usize = 256 << 10;
const LARGEST_BATCH: usize = 4 << 20;

/// Users of whom it is read together what is kept.
const AT_ONCE: usize = 50;

/// What is known of users of other servers before these are asked.
#[derive(Default)]
pub(crate) struct Known {
    /// Needs no question.
    pub(crate) fresh: BTreeMap<OwnedUserId, UserKeys>,
    /// Is as good as can be had where there is no answer.
    pub(crate) old: BTreeMap<OwnedUserId, UserKeys>,
}

/// By what the answers of other servers may be kept.
#[derive(Default)]
pub(crate) struct Keeping(HashMap<OwnedUserId, (Vec<AnchorRow>, Option<Stamped<LastRow>>)>);

impl Encryption {
    /// What is kept of these users, within what is left of an answer.
    pub(crate) async fn kept(&self, users: &[OwnedUserId], left: &Left) -> Result<Known, Error> {
        let mut known = Known::default();
        for some in users.chunks(AT_ONCE) {
            self.add_kept(&mut known, some, left).await?;
        }
        Ok(known)
    }

    async fn add_kept(&self, known: &mut Known, users: &[OwnedUserId], left: &Left) -> Result<(), Error> {
        let names: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let rows = self.inner.store.get_many(&OTHERS, &names).await?;
        let rows: Vec<(&OwnedUserId, OtherRow)> =
            users.iter().zip(rows).filter_map(|(user, row)| Some((user, row?))).collect();
        let mut pairs: Vec<(RoomSerial, &UserId)> = Vec::new();
        for (user, row) in &rows {
            for anchor in &row.anchors {
                pairs.extend([(anchor.room, &***user), (anchor.room, &*anchor.own)]);
            }
        }
        let mut joined = self.inner.rooms.joined_by(&pairs).await?.into_iter();
        let now = self.inner.clock.now().millis();
        for (user, row) in &rows {
            let mut holds = false;
            for anchor in &row.anchors {
                let events = (joined.next().flatten(), joined.next().flatten());
                holds |= events == (Some(anchor.event), Some(anchor.own_event));
            }
            let Some(keys) = Some(row).filter(|_| holds).and_then(read) else { continue };
            // In either direction: a calendar that was set back must not keep it for years.
            let is_old = now.abs_diff(row.told_ms) > u64::try_from(AGE.as_millis()).unwrap_or(u64::MAX);
            left.demand(keys.size())?;
            let place = if is_old { &mut known.old } else { &mut known.fresh };
            place.insert((*user).clone(), keys);
        }
        Ok(())
    }

    /// By what the keys of these users may be kept, found before their servers are asked: what changes after that is told
    /// after it.
    pub(crate) async fn keeping(&self, reader: &UserId, users: &[OwnedUserId]) -> Result<Keeping, Error> {
        let mut keeping = Keeping::default();
        if users.is_empty() {
            return Ok(keeping);
        }
        let (store, rooms) = (&self.inner.store, &self.inner.rooms);
        let names: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let last = store.get_many(&LAST_CHANGE, &names).await?;
        let own = rooms.memberships(reader).await?;
        let borrowed: Vec<&UserId> = users.iter().map(|user| &**user).collect();
        let is_shared =
            |room: &RoomSerial| own.find(*room).is_some_and(|row| row.membership == Membership::Join);
        let shared: Vec<Vec<RoomSerial>> = rooms
            .rooms_of_people(&borrowed)
            .await?
            .into_iter()
            .map(|listed| listed.into_iter().filter(is_shared).take(4 * MOST_ANCHORS).collect())
            .collect();
        let told = self.inner.lists.told(shared.iter().flatten().copied()).await?;
        let mut pairs: Vec<(RoomSerial, &UserId)> = Vec::new();
        for (user, shared) in borrowed.iter().zip(&shared) {
            let shared = shared.iter().filter(|room| told.contains(room)).take(MOST_ANCHORS);
            pairs.extend(shared.flat_map(|room| [(*room, *user), (*room, reader)]));
        }
        let joined = rooms.joined_by(&pairs).await?;
        let mut anchors: HashMap<&UserId, Vec<AnchorRow>> = HashMap::new();
        for (pair, events) in pairs.chunks(2).zip(joined.chunks(2)) {
            if let ([(room, user), _], [Some(event), Some(own_event)]) = (pair, events) {
                let anchor =
                    AnchorRow { room: *room, event: *event, own: reader.to_owned(), own_event: *own_event };
                anchors.entry(user).or_default().push(anchor);
            }
        }
        for (user, last) in users.iter().zip(last) {
            if let Some(anchors) = anchors.remove(&**user) {
                keeping.0.insert(user.clone(), (anchors, last));
            }
        }
        Ok(keeping)
    }

    /// Keeps what servers answered, unless something changed since they were asked.
    pub(crate) async fn keep(&self, keeping: Keeping, told: &BTreeMap<OwnedUserId, UserKeys>) {
        let mut batch = Batch::new();
        let mut bytes = 0;
        for (user, (anchors, last)) in keeping.0 {
            let Some(keys) = told.get(&user) else { continue };
            let row = OtherRow {
                anchors,
                told_ms: self.inner.clock.now().millis(),
                devices: serde_json::to_string(&keys.devices).unwrap_or_default(),
                master: keys.master.as_ref().and_then(|key| serde_json::to_string(key).ok()),
                self_signing: keys.self_signing.as_ref().and_then(|key| serde_json::to_string(key).ok()),
            };
            if row.devices.len() > LARGEST || bytes + row.devices.len() > LARGEST_BATCH {
                continue;
            }
            bytes += row.devices.len();
            batch.require(&LAST_CHANGE, user.as_str(), last.as_ref());
            batch.put(&OTHERS, user.as_str(), &row);
        }
        if batch.is_empty() {
            return;
        }
        match self.inner.store.commit(batch).await {
            // The next one who asks keeps it.
            Ok(_) | Err(CommitError::Conflict { .. }) => {}
            Err(error) => debug!(%error, "keys of other servers' users are not kept"),
        }
    }

    /// Adds to a batch that what is kept of a user is worth nothing any more.
    pub(crate) async fn put_end_of_kept(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        if self.inner.store.get(&OTHERS, user.as_str()).await?.is_some() {
            batch.delete(&OTHERS, user.as_str());
        }
        Ok(())
    }
}

fn read(row: &OtherRow) -> Option<UserKeys> {
    let key = |json: &Option<String>| -> Option<CanonicalJsonObject> {
        json.as_deref().and_then(|json| serde_json::from_str(json).ok())
    };
    let devices: BTreeMap<OwnedDeviceId, Box<RawValue>> = serde_json::from_str(&row.devices).ok()?;
    Some(UserKeys {
        devices,
        master: key(&row.master),
        self_signing: key(&row.self_signing),
        user_signing: None,
    })
}

/// Of a user's keys those of the devices that are wanted.
pub(crate) fn of_wanted(mut keys: UserKeys, only: &[OwnedDeviceId]) -> UserKeys {
    if !only.is_empty() {
        keys.devices.retain(|device, _| only.contains(device));
    }
    keys
}

/// All devices of users, whichever were wanted.
pub(crate) fn whole(wanted: &Wanted) -> Wanted {
    wanted.keys().map(|user| (user.clone(), Vec::new())).collect()
}
