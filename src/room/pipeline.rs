//! From a draft or a received PDU to a batch: build, sign, authorise, place, project.
//!
//! A [`Stage`] stands on a room's tip and gathers any number of events into one batch; each event
//! sees the effects of those before it. Nothing of the room in memory changes until the finished
//! batch is handed to [`Guard::submit`](crate::head::Guard::submit), so a refused event costs nothing.
//!
//! Reading order: [`Stage::send`] for events of ours, [`Stage::place`] for all.

use std::sync::Arc;

use pdu::{Draft, Pdu, Verified};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, UInt,
    events::{StateEventType, TimelineEventType},
};
use store::{Batch, Position, Slot, Stamped, Topic};

use crate::{
    Error, Rooms,
    head::{KnownState, Live, TxnKey},
    ids::{EventSerial, Root, StateKeySerial},
    log::{Entry, EventEntry},
    projections::{self, Projection},
    read::{event::StoredEvent, room::RoomInfo},
    tables::{
        EVENT_IDS, EVENT_META, EVENTS, EventMeta, EventPlace, EventTxn, Extremity, GAPS, Gap, HEADS, Head,
        Membership, Place, STATE_KEY_NAMES, STATE_KEYS, StateKeyName, Summary, TIMELINE, TXNS, TimelineRow,
        TxnRow, Verdict,
    },
    view::{Fresh, View},
};

/// How many forward extremities a room keeps, and how many previous events a new event names.
pub(crate) const MAX_EXTREMITIES: usize = 20;

/// The first place of backfilled events counts down from here.
pub(crate) const HISTORY_START: u64 = (1 << 63) - 1;

/// The largest depth an event may claim: 2^53 - 1.
const MAX_DEPTH: u64 = (1 << 53) - 1;

/// A batch in the making.
pub(crate) struct Stage<'a> {
    rooms: &'a Rooms,
    room: &'a RoomInfo,
    live: &'a Live,
    head: Head,
    summary: Summary,
    /// The current state where this batch, or a look at it, went beyond what `live` knows.
    state: KnownState,
    /// What `live` knows of the current state does not hold any more.
    forget_state: bool,
    fresh: Fresh,
    placed: Vec<(Arc<StoredEvent>, Option<Slot>)>,
    changed: Vec<EventSerial>,
    batch: Batch,
}

/// A finished batch, and what the room is when it is submitted.
pub(crate) struct Staged {
    pub(crate) batch: Batch,
    pub(crate) head: Head,
    pub(crate) summary: Summary,
    pub(crate) state: KnownState,
    pub(crate) forget_state: bool,
    pub(crate) fresh: Fresh,
    /// The events of the batch, with their log entries.
    pub(crate) placed: Vec<(Arc<StoredEvent>, Option<Slot>)>,
    /// Events stored before whose rows the batch changes.
    pub(crate) changed: Vec<EventSerial>,
}

/// What [`Stage::place`] has to know of an event.
pub(crate) struct Placement {
    pub(crate) pdu: Pdu,
    /// Its serial, when it is stored already without its place.
    pub(crate) known_as: Option<EventSerial>,
    pub(crate) verdict: Verdict,
    /// Not shown to clients although it is accepted (a redaction that redacts nothing).
    pub(crate) hidden: bool,
    pub(crate) before: Root,
    pub(crate) auth: Vec<EventSerial>,
    pub(crate) txn: Option<EventTxn>,
    /// Whether we have to send it to the other servers.
    pub(crate) outgoing: bool,
    /// Previous events that we lack.
    pub(crate) missing: Vec<OwnedEventId>,
}

/// A change of the room's current state.
pub(crate) struct StateChange {
    pub(crate) name: StateKeyName,
    pub(crate) old: Option<Arc<StoredEvent>>,
    pub(crate) new: Option<Arc<StoredEvent>>,
}

/// How an event of ours is sent.
#[derive(Default)]
pub(crate) struct Sending<'a> {
    pub(crate) txn: Option<&'a crate::Txn>,
    /// Claimed time, for those who may set it; now, if none.
    pub(crate) at: Option<u64>,
    /// Another authority of ours that has to sign too.
    pub(crate) cosigner: Option<Arc<pdu::Authority>>,
}

/// State loaded for a check; a handful of events, so a list.
pub(crate) type LoadedState = Vec<(StateKeyName, Pdu)>;

pub(crate) fn name(kind: impl ToString, key: impl Into<String>) -> StateKeyName {
    StateKeyName { kind: kind.to_string(), key: key.into() }
}

impl<'a> Stage<'a> {
    /// Stands on a room's tip.
    pub(crate) fn new(rooms: &'a Rooms, room: &'a RoomInfo, live: &'a Live) -> Self {
        let head = live.head.clone().unwrap_or_else(|| Head {
            generation: 0,
            extremities: Vec::new(),
            current: Root::EMPTY,
            history_floor: HISTORY_START,
        });
        Self {
            rooms,
            room,
            live,
            head,
            summary: live.summary.clone(),
            state: KnownState::new(),
            forget_state: false,
            fresh: Fresh::default(),
            placed: Vec::new(),
            changed: Vec::new(),
            batch: Batch::new(),
        }
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Stands on another tip than the stored one: that of a join through another server.
    pub(crate) fn stand_on(&mut self, extremities: Vec<Extremity>, current: Root) {
        self.head.extremities = extremities;
        self.head.current = current;
        self.forget_state = true;
        self.state.clear();
    }

    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { rooms: self.rooms, room: self.room, layers: [&self.live.fresh, &self.fresh] }
    }

    /// Whether an event is in this batch or on its way to disk.
    pub(crate) fn is_fresh(&self, id: &ruma::EventId) -> bool {
        self.fresh.holds(id) || self.live.fresh.holds(id)
    }

    /// State events of the current state, in the order of `names`.
    pub(crate) async fn current(
        &mut self,
        names: &[StateKeyName],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let mut missing = Vec::new();
        for name in names {
            let known = self.state.contains_key(name)
                || (!self.forget_state && self.live.state.contains_key(name))
                || missing.contains(name);
            if !known {
                missing.push(name.clone());
            }
        }
        if !missing.is_empty() {
            let events = self.view().state(self.head.current, &missing).await?;
            self.state.extend(missing.into_iter().zip(events));
        }
        Ok(names.iter().map(|name| self.known(name)).collect())
    }

    fn known(&self, name: &StateKeyName) -> Option<Arc<StoredEvent>> {
        let lower = || if self.forget_state { None } else { self.live.state.get(name) };
        self.state.get(name).or_else(lower).cloned().flatten()
    }

    /// One state event of the current state.
    pub(crate) async fn current_one(&mut self, name: StateKeyName) -> Result<Option<Arc<StoredEvent>>, Error> {
        Ok(self.current(&[name]).await?.pop().flatten())
    }

    /// Builds, signs and authorises an event of ours on the tip, and places it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] by the auth rules; [`Error::Format`]; [`Error::NotOurs`].
    pub(crate) async fn send(
        &mut self,
        draft: &Draft,
        sending: Sending<'_>,
    ) -> Result<Arc<StoredEvent>, Error> {
        let (verified, auth) = self.author(draft, sending.at).await?;
        let verified = match &sending.cosigner {
            None => verified,
            Some(cosigner) => pdu::countersign(&verified, cosigner)?,
        };
        let placement = Placement {
            pdu: verified.into_pdu(),
            known_as: None,
            verdict: Verdict::Accepted,
            hidden: false,
            before: self.head.current,
            auth,
            txn: sending
                .txn
                .map(|txn| EventTxn { device: txn.device.to_string(), id: txn.id.to_string() }),
            outgoing: true,
            missing: Vec::new(),
        };
        self.place(placement).await
    }

    /// Builds and signs an event of ours on the tip and checks that the room allows it.
    ///
    /// Returns it with its auth events; nothing is placed.
    pub(crate) async fn author(
        &mut self,
        draft: &Draft,
        at: Option<u64>,
    ) -> Result<(Verified, Vec<EventSerial>), Error> {
        let authority = self.rooms.authority_of(&draft.sender)?.clone();
        let unsigned = self.build(draft, at).await?;
        let verified = pdu::sign(unsigned.event, &authority)?;
        self.authorise(verified.pdu(), &unsigned.state)?;
        Ok((verified, unsigned.auth))
    }

    /// Gives a draft its place on the tip.
    pub(crate) async fn build(&mut self, draft: &Draft, at: Option<u64>) -> Result<Unsigned, Error> {
        let version = self.room.version;
        let names = auth_names(version, draft)?;
        let create = name(StateEventType::RoomCreate, "");
        let mut looked_up = names.clone();
        if !looked_up.contains(&create) {
            looked_up.push(create);
        }
        let events = self.current(&looked_up).await?;
        let state: LoadedState = looked_up
            .iter()
            .zip(events.iter())
            .filter_map(|(name, event)| Some((name.clone(), event.as_ref()?.pdu().clone())))
            .collect();
        let auth_events = names.iter().zip(&events).filter_map(|(_, event)| event.as_ref());
        let (auth_ids, auth): (Vec<OwnedEventId>, Vec<EventSerial>) =
            auth_events.map(|event| (event.event_id().to_owned(), event.serial())).unzip();
        let prev: Vec<OwnedEventId> =
            self.head.extremities.iter().map(|extremity| extremity.event_id.clone()).collect();
        let deepest = self.head.extremities.iter().map(|extremity| extremity.depth).max().unwrap_or(0);
        let depth = deepest.saturating_add(1).min(MAX_DEPTH);
        let names_itself = version.has_hashed_room_id() && draft.kind == TimelineEventType::RoomCreate;
        let room_id = (!names_itself).then_some(&*self.room.room_id);
        let at = timestamp(at.unwrap_or_else(|| self.rooms.now()));
        let event = pdu::build(version, draft, room_id, &prev, &auth_ids, depth, at)?;
        Ok(Unsigned { event, auth, state })
    }

    /// Checks an event against state that was loaded for it.
    pub(crate) fn authorise(&self, event: &Pdu, state: &LoadedState) -> Result<(), Error> {
        pdu::check_auth(event, &|kind, key| find_in(state, kind, key)).map_err(Error::Forbidden)
    }

    /// Puts an event into the batch, with all that follows from it.
    ///
    /// The event must have passed, or failed, its checks: `verdict` says which. An accepted one
    /// becomes a forward extremity and part of the timeline, and the room's state moves on.
    pub(crate) async fn place(&mut self, placement: Placement) -> Result<Arc<StoredEvent>, Error> {
        let Placement { pdu, known_as, verdict, hidden, before, auth, txn, outgoing, missing } = placement;
        let room = self.room.serial;
        let serial = match known_as {
            Some(serial) => serial,
            None => self.rooms.new_event_serial().await?,
        };

        let state_name = pdu.state_key().map(|key| name(pdu.kind(), key));
        let counts = matches!(verdict, Verdict::Accepted | Verdict::SoftFailed);
        let after = match &state_name {
            Some(state_name) if counts => {
                let key = self.intern(state_name).await?;
                let changes = [(key, Some(serial))];
                self.rooms.snapshots().apply(room, before, &changes, &mut self.batch).await?
            }
            _ => before,
        };

        let replaces = match &state_name {
            Some(state_name) if counts && before == self.head.current => {
                self.current_one(state_name.clone()).await?.map(|event| event.serial())
            }
            Some(state_name) if counts => {
                let old = self.view().state(before, std::slice::from_ref(state_name)).await?;
                old.into_iter().flatten().next().map(|event| event.serial())
            }
            _ => None,
        };
        let shown = verdict == Verdict::Accepted && !hidden;
        let meta = EventMeta {
            event_id: pdu.event_id().to_owned(),
            verdict,
            place: if shown { Place::Live } else { Place::None },
            depth: pdu.depth(),
            before,
            after,
            auth,
            txn,
            redacted_by: None,
            replaces,
        };
        let event = Arc::new(StoredEvent::new(
            room,
            serial,
            pdu.clone(),
            Stamped { position: Position::START, value: meta.clone() },
        ));
        self.fresh.add_event(event.clone());

        let slot = if shown { Some(self.log(&event, outgoing)) } else { None };
        if known_as.is_none() {
            let place = EventPlace { room, event: serial };
            self.batch.insert(&EVENT_IDS, event.event_id().as_str(), &place);
        } else {
            self.changed.push(serial);
        }
        self.batch.put(&EVENTS, &(room, serial), pdu.json());
        match slot {
            Some(slot) => self.batch.put_stamped(&EVENT_META, &(room, serial), slot, &meta),
            None => {
                let unplaced = Stamped { position: Position::START, value: meta };
                self.batch.put(&EVENT_META, &(room, serial), &unplaced);
            }
        }
        self.placed.push((event.clone(), slot));

        if verdict == Verdict::Accepted {
            self.advance(&event, after, state_name, slot, &missing).await?;
            if *event.pdu().kind() == TimelineEventType::RoomRedaction {
                self.apply_redaction(&event).await?;
            }
        }
        Ok(event)
    }

    /// Moves the tip on to an accepted event and projects what changed.
    async fn advance(
        &mut self,
        event: &Arc<StoredEvent>,
        after: Root,
        state_name: Option<StateKeyName>,
        slot: Option<Slot>,
        missing: &[OwnedEventId],
    ) -> Result<(), Error> {
        let room = self.room.serial;
        let old = self.head.current;
        let prev = event.pdu().prev_events();
        self.head.extremities.retain(|extremity| !prev.contains(&extremity.event_id));
        self.head.extremities.push(Extremity {
            serial: event.serial(),
            event_id: event.event_id().to_owned(),
            depth: event.pdu().depth(),
            after,
        });
        self.bound_extremities();

        let changes = if self.head.extremities.len() == 1 && event.meta().before == old {
            self.head.current = after;
            self.own_change(event, state_name).await?
        } else {
            let roots: Vec<Root> = self.head.extremities.iter().map(|extremity| extremity.after).collect();
            self.head.current = self.resolve(&roots).await?;
            self.changes_since(old).await?
        };
        for change in &changes {
            self.state.insert(change.name.clone(), change.new.clone());
        }

        for id in missing {
            let gap = Gap { child: event.serial(), depth: event.pdu().depth() };
            self.batch.put(&GAPS, &(room, id.as_str()), &gap);
        }
        if let Some(slot) = slot {
            let row = TimelineRow { event: event.serial(), current: self.head.current };
            self.batch.append(&TIMELINE, &room, slot, &row);
        }
        projections::run(&mut Projection {
            room: self.room,
            authorities: self.rooms.authorities(),
            batch: &mut self.batch,
            slot,
            event,
            current: self.head.current,
            summary: &mut self.summary,
            changes: &changes,
        });
        Ok(())
    }

    /// The change that an event on the tip makes to the current state.
    async fn own_change(
        &mut self,
        event: &Arc<StoredEvent>,
        state_name: Option<StateKeyName>,
    ) -> Result<Vec<StateChange>, Error> {
        let Some(name) = state_name else { return Ok(Vec::new()) };
        // Already loaded by `place`, and not yet overwritten.
        let old = self.known(&name);
        Ok(vec![StateChange { name, old, new: Some(event.clone()) }])
    }

    /// What differs between a former current state and the present one.
    pub(crate) async fn changes_since(&mut self, old: Root) -> Result<Vec<StateChange>, Error> {
        if old == self.head.current {
            return Ok(Vec::new());
        }
        let room = self.room.serial;
        let differences = self.rooms.snapshots().difference(room, old, self.head.current).await?;
        let keys: Vec<StateKeySerial> = differences.iter().map(|difference| difference.key).collect();
        let view = self.view();
        let names = view.key_names(&keys).await?;
        let serials: Vec<EventSerial> =
            differences.iter().flat_map(|difference| [difference.before, difference.after]).flatten().collect();
        let mut events = view.events(&serials).await?.into_iter();
        let mut next = |serial: Option<EventSerial>| serial.and_then(|_| events.next().flatten());
        Ok(names
            .into_iter()
            .zip(&differences)
            .map(|(name, difference)| {
                let old = next(difference.before);
                let new = next(difference.after);
                StateChange { name, old, new }
            })
            .collect())
    }

    /// The state that results from several.
    pub(crate) async fn resolve(&mut self, roots: &[Root]) -> Result<Root, Error> {
        let mut distinct: Vec<Root> = Vec::new();
        for root in roots {
            if !distinct.contains(root) {
                distinct.push(*root);
            }
        }
        if let [only] = distinct.as_slice() {
            return Ok(*only);
        }
        let view = View { rooms: self.rooms, room: self.room, layers: [&self.live.fresh, &self.fresh] };
        crate::state::resolve(&view, &distinct, &mut self.batch).await
    }

    /// Keeps the newest extremities when there are too many; those left out stay in the graph.
    fn bound_extremities(&mut self) {
        while self.head.extremities.len() > MAX_EXTREMITIES {
            let oldest = self.head.extremities.iter().enumerate().min_by_key(|(_, extremity)| extremity.depth);
            match oldest.map(|(index, _)| index) {
                Some(index) => self.head.extremities.remove(index),
                None => return,
            };
        }
    }

    /// The serial of a state key, given now if it has none.
    pub(crate) async fn intern(&mut self, name: &StateKeyName) -> Result<StateKeySerial, Error> {
        if let [Some(key)] = self.view().find_keys(std::slice::from_ref(name)).await?.as_slice() {
            return Ok(*key);
        }
        self.add_key(name).await
    }

    /// Serials of state keys, given now to those that have none.
    pub(crate) async fn intern_all(&mut self, names: &[StateKeyName]) -> Result<Vec<StateKeySerial>, Error> {
        let found = self.view().find_keys(names).await?;
        let mut keys = Vec::with_capacity(names.len());
        for (name, key) in names.iter().zip(found) {
            keys.push(match key {
                Some(key) => key,
                None => self.add_key(name).await?,
            });
        }
        Ok(keys)
    }

    async fn add_key(&mut self, name: &StateKeyName) -> Result<StateKeySerial, Error> {
        let room = self.room.serial;
        let key = self.rooms.new_state_key_serial().await?;
        self.batch.insert(&STATE_KEYS, &(room, name.kind.as_str(), name.key.as_str()), &key);
        self.batch.put(&STATE_KEY_NAMES, &(room, key), name);
        self.fresh.add_key(name.clone(), key);
        Ok(key)
    }

    fn log(&mut self, event: &StoredEvent, outgoing: bool) -> Slot {
        let member = member_change(event.pdu());
        let mut topics = vec![Topic::room(self.room.room_id.as_str())];
        if let Some((user, _)) = &member {
            topics.push(Topic::user(user.as_str()));
        }
        if outgoing {
            topics.push(Topic::destination("*"));
        }
        let entry = Entry::Event(EventEntry {
            room: self.room.serial,
            room_id: self.room.room_id.clone(),
            event: event.serial(),
            outgoing,
            member,
        });
        let (kind, payload) = entry.encode();
        self.batch.log(kind, payload, topics)
    }

    /// Notes the request that the last event serves.
    pub(crate) fn serve(&mut self, txn: &TxnKey, event_id: &ruma::EventId) {
        let row = TxnRow { event_id: event_id.to_owned(), at: self.rooms.now() };
        self.batch.insert(&TXNS, txn, &row);
    }

    /// Notes an event stored before whose rows this batch changes.
    pub(crate) fn note_changed(&mut self, event: EventSerial) {
        self.changed.push(event);
    }

    /// Corrects what is known of the current state without changing it.
    pub(crate) fn set_known(&mut self, name: StateKeyName, event: Arc<StoredEvent>) {
        self.state.insert(name, Some(event));
    }

    pub(crate) fn summary_mut(&mut self) -> &mut Summary {
        &mut self.summary
    }

    /// Adds an event to what can be seen of the room through this batch.
    pub(crate) fn add_fresh(&mut self, event: Arc<StoredEvent>) {
        self.fresh.add_event(event);
    }

    /// Closes the batch: the new head takes the place of the one that the batch stands on.
    pub(crate) fn finish(self) -> Staged {
        let Self { room, live, mut head, summary, state, forget_state, fresh, placed, changed, mut batch, .. } =
            self;
        head.generation += 1;
        match &live.head {
            Some(old) => batch.replace(&HEADS, &room.serial, old, &head),
            None => batch.insert(&HEADS, &room.serial, &head),
        };
        if live.head.is_none() || live.summary != summary {
            batch.put(&crate::tables::SUMMARIES, &room.serial, &summary);
        }
        Staged { batch, head, summary, state, forget_state, fresh, placed, changed }
    }
}

/// An event with its place, and what is needed to authorise it.
pub(crate) struct Unsigned {
    pub(crate) event: pdu::Unsigned,
    pub(crate) auth: Vec<EventSerial>,
    pub(crate) state: LoadedState,
}

/// The state that decides about a draft.
fn auth_names(version: pdu::RoomVersion, draft: &Draft) -> Result<Vec<StateKeyName>, Error> {
    let types = pdu::auth_types_of_draft(version, draft).map_err(|why| Error::Invalid(why.to_string()))?;
    Ok(types.into_iter().map(|(kind, key)| name(kind, key)).collect())
}

/// Finds in state that was loaded for a check.
pub(crate) fn find_in(state: &LoadedState, kind: &StateEventType, key: &str) -> Option<Pdu> {
    let kind = kind.to_cow_str();
    state.iter().find(|(name, _)| name.key == key && name.kind == kind).map(|(_, pdu)| pdu.clone())
}

/// Whose membership an event sets, and to what.
pub(crate) fn member_change(pdu: &Pdu) -> Option<(ruma::OwnedUserId, Membership)> {
    if *pdu.kind() != TimelineEventType::RoomMember {
        return None;
    }
    let user = <&ruma::UserId>::try_from(pdu.state_key()?).ok()?.to_owned();
    let membership = crate::read::event::membership_in(pdu.content())?;
    Some((user, membership))
}

/// Milliseconds since 1970 as the specification's type.
pub(crate) fn timestamp(ms: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::new_saturating(ms))
}
