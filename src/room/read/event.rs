//! Stored events as readers need them, and the cache of them.
//!
//! A [`StoredEvent`] is loaded once: bytes, parsed PDU, what we found out about it. Its client
//! format is written straight into answers (see [`super::view`]): kept, it would be a good part of what an event takes.
//!
//! Events do not change, but for two things: a redaction empties one, and one that came without its
//! place in the graph may get it later. Who writes such a change calls [`EventCache::forget`] after
//! the commit, and over shared data says so in the log too: each process forgets what the others have
//! changed up to its head, before it reads from the cache.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{Cache, Caches};
use bytes::Bytes;
use pdu::Pdu;
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Batch, Committed, Moved, Position, Reads, Slot, Stamped, Store, Topic};

use crate::{
    Error, EventSerial, Order, RoomSerial, Rooms,
    read::room::RoomInfo,
    tables::{EVENT_META, EVENTS, EventMeta, Membership, Verdict},
};

/// `m.relates_to`: how an event relates to another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Relation {
    /// In which way.
    pub rel_type: String,
    /// To which event.
    pub event_id: OwnedEventId,
}

impl Relation {
    /// Whether the event is part of a thread.
    pub fn is_thread(&self) -> bool {
        self.rel_type == THREAD
    }
}

/// The `rel_type` of what belongs to a thread.
pub const THREAD: &str = "m.thread";

/// An event of a room, with what we know of it.
#[derive(Debug)]
pub struct StoredEvent {
    room: RoomSerial,
    serial: EventSerial,
    pdu: Pdu,
    kind: Box<str>,
    stamp: Position,
    meta: EventMeta,
    membership: Option<Membership>,
    erased: bool,
    url: OnceLock<bool>,
}

impl StoredEvent {
    /// An event with what was found out about it.
    pub fn new(room: RoomSerial, serial: EventSerial, pdu: Pdu, meta: Stamped<EventMeta>) -> Self {
        let membership = match (pdu.state_key(), pdu.membership()) {
            (Some(_), Some(membership)) => membership_named(membership.as_str()),
            _ => None,
        };
        Self {
            room,
            serial,
            kind: pdu.kind().to_string().into(),
            pdu,
            stamp: meta.position,
            meta: meta.value,
            membership,
            erased: false,
            url: OnceLock::new(),
        }
    }

    /// The same event with what a redaction leaves of it, for one who may not see more.
    pub(super) fn redacted_copy(&self, redacted: Pdu) -> Self {
        let meta = Stamped { position: self.stamp, value: self.meta.clone() };
        Self { erased: true, ..Self::new(self.room, self.serial, redacted, meta) }
    }

    /// Whether it is a redacted copy, made for one who may not see more.
    pub fn is_redacted_copy(&self) -> bool {
        self.erased
    }

    /// The room it is in.
    pub fn room(&self) -> RoomSerial {
        self.room
    }

    /// Its name inside the store.
    pub fn serial(&self) -> EventSerial {
        self.serial
    }

    /// The PDU; of a redacted event what the redaction left.
    pub fn pdu(&self) -> &Pdu {
        &self.pdu
    }

    /// What we found out about it.
    pub fn meta(&self) -> &EventMeta {
        &self.meta
    }

    /// Its id.
    pub fn event_id(&self) -> &EventId {
        self.pdu.event_id()
    }

    /// Its room's id.
    pub fn room_id(&self) -> &RoomId {
        self.pdu.room_id()
    }

    /// Who sent it.
    pub fn sender(&self) -> &UserId {
        self.pdu.sender()
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its state key, if it is a state event.
    pub fn state_key(&self) -> Option<&str> {
        self.pdu.state_key()
    }

    /// Its place in the timeline; outliers and refused events have none.
    pub fn order(&self) -> Option<Order> {
        self.meta.order(self.stamp)
    }

    /// For a member event: what it makes of the user in its state key.
    pub fn membership(&self) -> Option<Membership> {
        self.membership
    }

    /// Whether it is the member event of this user.
    pub fn is_member_event_of(&self, user: &UserId) -> bool {
        self.membership.is_some() && self.state_key() == Some(user.as_str())
    }

    /// Whether clients may be shown it at all.
    pub fn is_shown(&self) -> bool {
        self.meta.verdict == Verdict::Accepted
    }

    /// What it says of its relation to another event. Replies without a `rel_type` are no relations.
    pub fn relation(&self) -> Option<Relation> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: Relation,
        }
        // Most events have none: looking for the name is cheaper than parsing.
        if !self.pdu.content_str().contains("m.relates_to") {
            return None;
        }
        self.pdu.content_as::<Content>().ok().map(|content| content.relates_to)
    }

    /// Whether its content has a `url` that is a string.
    pub fn has_url(&self) -> bool {
        *self.url.get_or_init(|| {
            #[derive(Deserialize)]
            struct Content<'a> {
                #[serde(borrow, default)]
                url: Option<&'a RawValue>,
            }
            self.pdu
                .content_as::<Content<'_>>()
                .is_ok_and(|content| content.url.is_some_and(|url| url.get().starts_with('"')))
        })
    }

    /// What it takes in memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let Self { pdu, kind, meta, .. } = self;
        let txn = meta.txn.as_ref().map_or(0, |txn| txn.device.len() + txn.id.len());
        let of_meta = meta.event_id.as_str().len() + size_of_val::<[EventSerial]>(&meta.auth) + txn;
        size_of::<Self>() + 16 + kind.len() + of_meta + pdu.memory_bytes()
    }
}

/// `membership` of the content of a member event.
pub fn membership_in(content: &RawValue) -> Option<Membership> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: std::borrow::Cow<'a, str>,
    }
    let content: Content<'_> = serde_json::from_str(content.get()).ok()?;
    membership_named(&content.membership)
}

/// The membership that the specification spells so.
pub fn membership_named(name: &str) -> Option<Membership> {
    Some(match name {
        "invite" => Membership::Invite,
        "join" => Membership::Join,
        "knock" => Membership::Knock,
        "leave" => Membership::Leave,
        "ban" => Membership::Ban,
        _ => return None,
    })
}

/// How the specification spells a membership.
pub const fn name_of(membership: Membership) -> &'static str {
    match membership {
        Membership::Invite => "invite",
        Membership::Join => "join",
        Membership::Knock => "knock",
        Membership::Leave => "leave",
        Membership::Ban => "ban",
    }
}

/// Recently used events.
#[derive(Debug)]
pub(crate) struct EventCache {
    events: Cache<EventSerial, Arc<StoredEvent>>,
    /// Counts what was forgotten, so that something read before is not put back after.
    forgotten: AtomicU64,
    /// What other processes have changed up to here is forgotten.
    as_of: AtomicU64,
}

/// Moves with every change of a stored event.
fn any_changed() -> Topic {
    Topic::new(19, "room.changed_events")
}

/// The kind of a topic whose id is the serial of an event, which moves when that is changed.
const CHANGED: u8 = 18;

fn changed(event: EventSerial) -> Topic {
    Topic { kind: CHANGED, id: event.0 }
}

/// Tells the other processes over the same data, if there may be any, that a batch changes stored events.
pub fn touch_changed(store: &Store, batch: &mut Batch, events: &[EventSerial]) {
    if store.is_shared() && !events.is_empty() {
        batch.touch(events.iter().map(|event| changed(*event)).chain([any_changed()]));
    }
}

/// Which events are in the cache after they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of them.
    All,
    /// Those that were there before: long lists would put everything else out.
    Known,
}

impl EventCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let events =
            Cache::new(caches, "room_events", bytes, |_, event: &Arc<StoredEvent>| event.memory_bytes());
        Self { events, forgotten: AtomicU64::new(0), as_of: AtomicU64::new(0) }
    }

    fn epoch(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    fn remember(&self, event: &Arc<StoredEvent>, epoch: u64) {
        if self.epoch() == epoch {
            self.events.insert(event.serial, event.clone());
            // Forgotten in between: what was just put in may be what was to go.
            if self.epoch() != epoch {
                self.events.remove(&event.serial);
            }
        }
    }

    /// Drops an event whose stored rows were changed.
    pub(crate) fn forget(&self, event: EventSerial) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.events.remove(&event);
    }

    fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.events.clear();
    }
}

impl Rooms {
    /// Loads events, in the order of `wanted`; absent ones are `None`.
    ///
    /// What is cached costs no read; all the rest is read in one round.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn load_events(
        &self,
        wanted: &[(RoomSerial, EventSerial)],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        self.find_events(wanted, Keep::All).await
    }

    /// As [`Rooms::load_events`], with a choice of what is cached afterwards.
    pub async fn find_events(
        &self,
        wanted: &[(RoomSerial, EventSerial)],
        keep: Keep,
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let mut found = self.find_cached(wanted);

        let mut places: HashMap<EventSerial, Vec<usize>> = HashMap::new();
        let mut missing = Vec::new();
        for (index, key) in wanted.iter().enumerate() {
            if found[index].is_none() {
                let places = places.entry(key.1).or_default();
                if places.is_empty() {
                    missing.push(*key);
                }
                places.push(index);
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }

        let loaded = match keep {
            Keep::All => self.load_uncached(&missing).await?,
            Keep::Known => self.read_events(&missing).await?,
        };
        for event in loaded.into_iter().flatten() {
            for index in places.get(&event.serial).into_iter().flatten() {
                found[*index] = Some(event.clone());
            }
        }
        Ok(found)
    }

    /// Those of these events that are in the cache.
    fn find_cached(&self, wanted: &[(RoomSerial, EventSerial)]) -> Vec<Option<Arc<StoredEvent>>> {
        self.forget_changed_elsewhere();
        let cache = &self.reader().events.events;
        wanted.iter().map(|(_, event)| cache.get(event)).collect()
    }

    /// Loads events from the store, whatever the cache says, and leaves them in the cache.
    pub async fn load_uncached(
        &self,
        wanted: &[(RoomSerial, EventSerial)],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let cache = &self.reader().events;
        // Before the read: a change in between must not be covered up by what we read.
        let epoch = cache.epoch();
        let events = self.read_events(wanted).await?;
        for event in events.iter().flatten() {
            cache.remember(event, epoch);
        }
        Ok(events)
    }

    /// Reads events from the store, past the cache; absent ones are `None`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn read_events(
        &self,
        wanted: &[(RoomSerial, EventSerial)],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let mut reads = Reads::new();
        let (jsons, metas) = (reads.get_many(&EVENTS, wanted), reads.get_many(&EVENT_META, wanted));
        let mut found = self.store().read(reads).await?;
        let (jsons, metas) = (found.take_many(jsons)?, found.take_many(metas)?);
        self.parse_events(wanted, jsons, metas).await
    }

    /// As [`Rooms::find_events`] with [`Keep::Known`], for one who looks for few among many: those whose JSON, as it is stored, does
    /// not pass are `None`, and cost no more than reading that. What is in the cache is there unasked.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn find_events_where(
        &self,
        wanted: &[(RoomSerial, EventSerial)],
        passes: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let mut found = self.find_cached(wanted);
        let (mut places, mut keys) = (Vec::new(), Vec::new());
        for (place, key) in wanted.iter().enumerate().filter(|(place, _)| found[*place].is_none()) {
            places.push(place);
            keys.push(*key);
        }
        let jsons = self.store().get_many(&EVENTS, &keys).await?;
        let passing = places.into_iter().zip(keys).zip(jsons);
        let passing = passing.filter(|(_, json)| json.as_ref().is_some_and(|json| passes(json)));
        let ((places, keys), jsons): ((Vec<usize>, Vec<_>), Vec<_>) = passing.unzip();
        // After the JSON: what was emptied in between is known to be so.
        let metas = self.store().get_many(&EVENT_META, &keys).await?;
        for (place, event) in places.into_iter().zip(self.parse_events(&keys, jsons, metas).await?) {
            found[place] = event;
        }
        Ok(found)
    }

    /// Events from their rows.
    async fn parse_events(
        &self,
        wanted: &[(RoomSerial, EventSerial)],
        jsons: Vec<Option<Bytes>>,
        metas: Vec<Option<Stamped<EventMeta>>>,
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let mut serials: Vec<RoomSerial> = wanted.iter().map(|(room, _)| *room).collect();
        serials.sort_unstable();
        serials.dedup();
        let rooms: HashMap<RoomSerial, Arc<RoomInfo>> =
            self.room_infos(&serials).await?.into_iter().flatten().map(|room| (room.serial, room)).collect();

        let mut events = Vec::with_capacity(wanted.len());
        for (((room, serial), json), meta) in wanted.iter().zip(jsons).zip(metas) {
            let (Some(json), Some(meta), Some(info)) = (json, meta, rooms.get(room)) else {
                events.push(None);
                continue;
            };
            let pdu = Pdu::from_stored(info.version, json, meta.value.event_id.clone())
                .map_err(|_| Error::Inconsistent("a stored event cannot be parsed"))?;
            events.push(Some(Arc::new(StoredEvent::new(*room, *serial, pdu, meta))));
        }
        Ok(events)
    }

    /// What we found out about events, in the order of `wanted`, without reading the events themselves.
    pub async fn metas(&self, wanted: &[(RoomSerial, EventSerial)]) -> Result<Vec<Option<EventMeta>>, Error> {
        self.forget_changed_elsewhere();
        let cache = &self.reader().events.events;
        let mut metas: Vec<Option<EventMeta>> =
            wanted.iter().map(|(_, event)| cache.get(event).map(|event| event.meta.clone())).collect();
        let missing: Vec<usize> = (0..metas.len()).filter(|index| metas[*index].is_none()).collect();
        if missing.is_empty() {
            return Ok(metas);
        }
        let keys: Vec<_> = missing.iter().map(|index| wanted[*index]).collect();
        for (index, meta) in missing.into_iter().zip(self.store().get_many(&EVENT_META, &keys).await?) {
            metas[index] = meta.map(|meta| meta.value);
        }
        Ok(metas)
    }

    /// Loads one event.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn load_event(
        &self,
        room: RoomSerial,
        event: EventSerial,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        Ok(self.load_events(&[(room, event)]).await?.pop().flatten())
    }

    /// Loads events of one room that must be there.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] when one is not.
    pub async fn load_all(
        &self,
        room: RoomSerial,
        wanted: &[EventSerial],
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let keys: Vec<_> = wanted.iter().map(|event| (room, *event)).collect();
        let events: Option<Vec<_>> = self.load_events(&keys).await?.into_iter().collect();
        events.ok_or(Error::Inconsistent("an event that a row names is not there"))
    }

    /// Keeps events that were just committed, with the positions that they got.
    pub fn remember_committed(&self, placed: &[(Arc<StoredEvent>, Option<Slot>)], committed: &Committed) {
        let cache = &self.reader().events;
        for (event, slot) in placed {
            let event = match slot {
                None => event.clone(),
                Some(slot) => {
                    let meta = Stamped { position: committed.position(*slot), value: event.meta.clone() };
                    Arc::new(StoredEvent::new(event.room, event.serial, event.pdu.clone(), meta))
                }
            };
            cache.remember(&event, cache.epoch());
            // Another process may have changed it before it was put in, and that have been looked at already.
            if self.store().is_shared()
                && self.store().moved(changed(event.serial), committed.last()) != Moved::No
            {
                cache.forget(event.serial);
            }
        }
    }

    /// Forgets events that other processes have changed, up to the head.
    fn forget_changed_elsewhere(&self) {
        let (store, cache) = (self.store(), &self.reader().events);
        if !store.is_shared() {
            return;
        }
        let head = store.head();
        let as_of = Position(cache.as_of.load(Ordering::Acquire));
        if head <= as_of {
            return;
        }
        if store.moved(any_changed(), as_of) != Moved::No {
            match store.moved_since(as_of, usize::MAX) {
                Some(moved) => self.forget_cached(
                    moved.iter().filter(|topic| topic.kind == CHANGED).map(|topic| EventSerial(topic.id)),
                ),
                // Too long ago to know which.
                None => cache.forget_all(),
            }
        }
        // Last: who finds this position finds the cache without what was changed before it.
        cache.as_of.fetch_max(head.0, Ordering::AcqRel);
    }

    /// Forgets cached forms of events whose stored rows were just changed (redacted, or given a place).
    pub fn forget_cached(&self, events: impl IntoIterator<Item = EventSerial>) {
        for event in events {
            self.reader().events.forget(event);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use pdu::RoomVersion;

    use super::*;
    use crate::{Root, tables::Place};

    pub(crate) fn stored(
        serial: u64,
        kind: &str,
        state_key: Option<&str>,
        content: &str,
    ) -> Arc<StoredEvent> {
        let ids = |count: u64| {
            (0..count).map(|n| format!(r#""${:043}""#, serial + n)).collect::<Vec<_>>().join(",")
        };
        let state_key = state_key.map(|key| format!(r#","state_key":"{key}""#)).unwrap_or_default();
        let json = format!(
            r#"{{"auth_events":[{}],"content":{content},"depth":7,"hashes":{{"sha256":"{:043}"}},"origin_server_ts":1800000000000,"prev_events":[{}],"room_id":"!abcdefghijklmnopqr:kanazawa.example.jp","sender":"@shokuin{serial}:kanazawa.example.jp"{state_key},"signatures":{{"kanazawa.example.jp":{{"ed25519:1":"{:086}"}}}},"type":"{kind}"}}"#,
            ids(3),
            serial,
            ids(1),
            serial,
        );
        let id: OwnedEventId = format!("${serial:043}").try_into().unwrap();
        let pdu = Pdu::from_stored(
            RoomVersion::parse("11").unwrap(),
            Bytes::from(json.into_bytes().into_boxed_slice()),
            id.clone(),
        );
        let meta = EventMeta {
            event_id: id,
            verdict: Verdict::Accepted,
            place: Place::Live,
            depth: 7,
            before: Root::EMPTY,
            after: Root::EMPTY,
            auth: (0..3).map(EventSerial).collect(),
            txn: None,
            redacted_by: None,
            replaces: None,
            covers_previous: true,
            partial: false,
        };
        let stamped = Stamped { position: Position(serial), value: meta };
        Arc::new(StoredEvent::new(RoomSerial(1), EventSerial(serial), pdu.unwrap(), stamped))
    }

    #[test]
    fn events_are_charged_what_they_take_with_all_that_is_made_of_them() {
        let text = format!(r#"{{"body":"{}","msgtype":"m.text"}}"#, "会議".repeat(40));
        let page = format!(r#"{{"body":"{}","msgtype":"m.text"}}"#, "会議".repeat(4_000));
        let users = (0..200)
            .map(|n| format!(r#""@shokuin{n:04}:kanazawa.example.jp":50"#))
            .collect::<Vec<_>>()
            .join(",");
        let levels = format!(r#"{{"users":{{{users}}}}}"#);
        for (what, kind, key, content) in [
            ("messages", "m.room.message", None, text.as_str()),
            ("long messages", "m.room.message", None, page.as_str()),
            ("members", "m.room.member", Some("@shokuin:kanazawa.example.jp"), r#"{"membership":"join"}"#),
            ("power levels", "m.room.power_levels", Some(""), levels.as_str()),
            ("topics", "m.room.topic", Some(""), r#"{"topic":"x"}"#),
        ] {
            let (cache, in_use) = meter::kept(|| {
                let cache = EventCache::new(&Caches::new(), 1 << 27);
                for serial in 0..500 {
                    let event = stored(serial, kind, key, content);
                    let _made = event.pdu().power_levels().is_ok();
                    cache.remember(&event, 0);
                }
                cache
            });
            assert_eq!(cache.events.len(), 500);
            meter::assert_charged(what, cache.events.bytes(), in_use);
        }
    }
}
