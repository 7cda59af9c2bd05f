//! From a draft or a received PDU to a batch: build, sign, authorise, place, project.
//!
//! A [`Stage`] stands on a room's tip and gathers any number of events into one batch; each event
//! sees the effects of those before it. Nothing of the room in memory changes until the finished
//! batch is handed to [`Guard::submit`](crate::head::Guard::submit), so a refused event costs nothing.
//!
//! Reading order: [`Stage::send`] for events of ours, [`Stage::place`] for all.

use std::{collections::HashSet, sync::Arc};

use pdu::{Draft, Pdu, Verified};
use room::{
    Error,
    ids::{EventSerial, Root, StateKeySerial},
    read::{event::StoredEvent, open, room::RoomInfo},
    snapshot::Hold,
    tables::{
        EventTxn, HEADS, Head, Members, Membership, STATE_KEY_NAMES, STATE_KEYS, SUMMARIES, StateKeyName,
        Summary, TimelineRow,
    },
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, UInt,
    events::{StateEventType, TimelineEventType},
};
use store::{Batch, Slot};

use crate::{
    Engine,
    head::{Given, KnownState, Live, Staged},
    place::Placement,
    request::{Txn, TxnKey},
    tables::{TXNS, TxnRow},
    view::{Fresh, View},
};

/// How many forward extremities a room keeps, and how many previous events a new event names.
pub(crate) const MAX_EXTREMITIES: usize = 20;

/// The first place of backfilled events counts down from here.
pub(crate) const HISTORY_START: u64 = (1 << 63) - 1;

/// The largest depth an event may claim: 2^53 - 1.
pub(crate) const MAX_DEPTH: u64 = (1 << 53) - 1;

/// A batch in the making.
pub(crate) struct Stage<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) room: &'a RoomInfo,
    pub(crate) live: &'a Live,
    /// The current state that the projections describe.
    pub(crate) projected: Root,
    pub(crate) head: Head,
    pub(crate) summary: Summary,
    /// The current state where this batch, or a look at it, went beyond what `live` knows.
    pub(crate) state: KnownState,
    /// What `live` knows of the current state does not hold any more.
    pub(crate) forget_state: bool,
    pub(crate) fresh: Fresh,
    pub(crate) placed: Vec<(Arc<StoredEvent>, Option<Slot>)>,
    pub(crate) shown: Vec<(Slot, TimelineRow)>,
    pub(crate) changed: Vec<EventSerial>,
    /// Nobody of ours may tie the room's extremities together.
    pub(crate) mute: bool,
    /// The auth chain of the extremities that are named beside it: it may be long, and is asked for again and
    /// again by who sends old events.
    pub(crate) tip_chain: Option<(Vec<EventSerial>, HashSet<EventSerial>)>,
    /// What was given to what is new.
    pub(crate) given: Given,
    pub(crate) batch: Batch,
    /// Until the batch is submitted, the chunks of its snapshots are nowhere but in memory.
    hold: Hold,
}

/// How an event of ours is sent.
#[derive(Default)]
pub(crate) struct Sending<'a> {
    pub(crate) txn: Option<&'a Txn>,
    /// Claimed time, for those who may set it; now, if none.
    pub(crate) at: Option<u64>,
    /// Another authority of ours that has to sign too.
    pub(crate) cosigner: Option<Arc<pdu::Authority>>,
    /// Part of the graph only: neither shown to clients nor sent of itself.
    pub(crate) hidden: bool,
}

/// State loaded for a check; a handful of events, so a list.
pub(crate) type LoadedState = Vec<(StateKeyName, Pdu)>;

pub(crate) fn name(kind: impl ToString, key: impl Into<String>) -> StateKeyName {
    StateKeyName { kind: kind.to_string(), key: key.into() }
}

impl<'a> Stage<'a> {
    /// Stands on a room's tip.
    pub(crate) fn new(engine: &'a Engine, room: &'a RoomInfo, live: &'a Live) -> Self {
        let head = live.head.clone().unwrap_or_else(|| Head {
            generation: 0,
            extremities: Vec::new(),
            current: Root::EMPTY,
            history_floor: HISTORY_START,
            since_depth: 0,
            beside: Root::EMPTY,
            since: 0,
            yielding: Vec::new(),
            members: Members::Whole,
        });
        Self {
            engine,
            room,
            live,
            projected: head.current,
            head,
            summary: live.summary.clone(),
            state: KnownState::new(),
            forget_state: false,
            fresh: Fresh::default(),
            placed: Vec::new(),
            shown: Vec::new(),
            changed: Vec::new(),
            mute: false,
            tip_chain: None,
            given: Given::default(),
            batch: Batch::new(),
            hold: engine.snapshots().hold(),
        }
    }

    /// Stands on another state than the stored one, with no extremities: that before a join through
    /// another server. The first event placed carries the difference into the projections.
    pub(crate) fn stand_on(&mut self, current: Root) {
        self.forget_lacking();
        self.head.since = self.head.generation + 1;
        self.head.yielding.clear();
        self.head.extremities.clear();
        self.head.beside = Root::EMPTY;
        self.head.current = current;
        self.forget_state = true;
        self.state.clear();
    }

    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { engine: self.engine, room: self.room, layers: [&self.live.fresh, &self.fresh] }
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
    pub(crate) async fn current_one(
        &mut self,
        name: StateKeyName,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        Ok(self.current(&[name]).await?.pop().flatten())
    }

    /// What one who wanted to say something is told of why he cannot. What is wrong with it in itself is found
    /// where the room is known; told to a stranger, it would tell that the room exists.
    pub(crate) async fn veil(&mut self, draft: &Draft, error: Error) -> Result<Error, Error> {
        let sender = &draft.sender;
        // Why somebody cannot come in is his to know.
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Member {
            #[serde(deserialize_with = "pdu::lenient::field")]
            membership: Option<String>,
        }
        let Member { membership } = pdu::lenient::read(draft.content.get());
        let comes_in = draft.state_key.as_deref() == Some(sender.as_str())
            && matches!(membership.as_deref(), Some("join" | "knock"));
        let tells = match error {
            Error::Invalid(_) | Error::Format(_) | Error::NoEvent(_) => true,
            Error::Forbidden(_) | Error::NotAllowed(_) => !comes_in,
            _ => false,
        };
        if !tells {
            return Ok(error);
        }
        let member = name(StateEventType::RoomMember, sender.as_str());
        let known = self.current(&[member, name(StateEventType::RoomCreate, "")]).await?;
        let (member, create) = (known.first().cloned().flatten(), known.get(1).cloned().flatten());
        // Who makes a room is no member of it at first.
        if member.is_some() || create.is_some_and(|create| create.sender() == sender) {
            return Ok(error);
        }
        Ok(Error::NotJoined { user: sender.to_owned(), room: self.room.room_id.clone() })
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
        let Authored { event, auth, before } =
            self.author(draft, sending.at, sending.cosigner.as_deref()).await?;
        let mut placement = Placement::ours(event.into_pdu(), before, auth);
        placement.hidden = sending.hidden;
        placement.txn =
            sending.txn.map(|txn| EventTxn { device: txn.device.to_string(), id: txn.id.to_string() });
        self.place(placement).await
    }

    /// Builds and signs an event of ours on the tip and checks that the room allows it. Nothing is placed.
    #[crate::boxed]
    pub(crate) async fn author(
        &mut self,
        draft: &Draft,
        at: Option<u64>,
        cosigner: Option<&pdu::Authority>,
    ) -> Result<Authored, Error> {
        match self.author_plainly(draft, at, cosigner).await {
            Err(error) => Err(self.veil(draft, error).await?),
            done => done,
        }
    }

    async fn author_plainly(
        &mut self,
        draft: &Draft,
        at: Option<u64>,
        cosigner: Option<&pdu::Authority>,
    ) -> Result<Authored, Error> {
        let authority = self.engine.authority_of(&draft.sender)?.clone();
        let Unsigned { event, auth, state, before } = self.build(draft, at).await?;
        let event = pdu::sign_together(event, &authority, cosigner)?;
        self.authorise(event.pdu(), &state)?;
        if event.pdu().is_state(&TimelineEventType::RoomServerAcl, "")
            && !room::admits(event.pdu().content_str(), draft.sender.server_name())
        {
            // Nobody of the sender's server could take that back: others would not listen any more.
            return Err(Error::Invalid("this would shut your own server out of the room".to_owned()));
        }
        if before != self.head.current {
            self.check_by(event.pdu(), self.head.current).await?.map_err(Error::Forbidden)?;
        }
        Ok(Authored { event, auth, before })
    }

    /// The state before an event of ours: that after the extremities, all of which it names.
    async fn tip_state(&mut self) -> Result<Root, Error> {
        if self.head.beside == Root::EMPTY {
            return Ok(self.resolved_state());
        }
        let roots: Vec<Root> = self.head.extremities.iter().map(|extremity| extremity.after).collect();
        self.resolve(&roots).await
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
        let before = self.tip_state().await?;
        let events = self.state_by(before, &looked_up).await?;
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
        // Who may set the time, sets one that has been: what is later than our published keys hold for, others can not
        // verify, nor anything that stands on it.
        let now = self.engine.now();
        let at = timestamp(at.map_or(now, |at| at.min(now)));
        let event = pdu::build(version, draft, room_id, &prev, &auth_ids, depth, at)?;
        Ok(Unsigned { event, auth, state, before })
    }

    /// State events of a state of the room, in the order of `names`.
    pub(crate) async fn state_by(
        &mut self,
        root: Root,
        names: &[StateKeyName],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        if root == self.head.current {
            return self.current(names).await;
        }
        self.view().state(root, names).await
    }

    /// Checks an event against state that was loaded for it.
    pub(crate) fn authorise(&self, event: &Pdu, state: &LoadedState) -> Result<(), Error> {
        pdu::check_auth(event, &|kind, key| find_in(state, kind, key)).map_err(Error::Forbidden)
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
        let key = match self.given.keys.get(name) {
            Some(key) => *key,
            None => self.engine.new_state_key_serial().await?,
        };
        self.given.keys.insert(name.clone(), key);
        self.batch.insert(&STATE_KEYS, &(room, name.kind.as_str(), name.key.as_str()), &key);
        self.batch.put(&STATE_KEY_NAMES, &(room, key), name);
        self.fresh.add_key(name.clone(), key);
        Ok(key)
    }

    /// The serial of an event that has none yet.
    pub(crate) async fn new_serial(&mut self, id: &ruma::EventId) -> Result<EventSerial, Error> {
        let serial = match self.given.events.get(id) {
            Some(serial) => *serial,
            None => self.engine.new_event_serial().await?,
        };
        self.given.events.insert(id.to_owned(), serial);
        Ok(serial)
    }

    /// Notes the request that the last event serves.
    pub(crate) fn serve(&mut self, txn: &TxnKey, event_id: &ruma::EventId) {
        let row = TxnRow { event_id: event_id.to_owned(), at: self.engine.now() };
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
        let Self {
            room,
            live,
            mut head,
            summary,
            state,
            forget_state,
            fresh,
            placed,
            shown,
            changed,
            given,
            mut batch,
            hold,
            ..
        } = self;
        head.generation += 1;
        match &live.head {
            Some(old) => batch.replace(&HEADS, &room.serial, old, &head),
            None => batch.insert(&HEADS, &room.serial, &head),
        };
        if live.head.is_none() || live.summary != summary {
            batch.put(&SUMMARIES, &room.serial, &summary);
            open::note(&mut batch, room, live.head.as_ref().map(|_| &live.summary), &summary);
        }
        Staged { batch, head, summary, state, forget_state, fresh, placed, shown, changed, given, hold }
    }
}

/// An event with its place, and what is needed to authorise it.
pub(crate) struct Unsigned {
    pub(crate) event: pdu::Unsigned,
    pub(crate) auth: Vec<EventSerial>,
    pub(crate) state: LoadedState,
    /// The state before it.
    pub(crate) before: Root,
}

/// An event of ours that the room allows, and what is needed to place it.
pub(crate) struct Authored {
    pub(crate) event: Verified,
    pub(crate) auth: Vec<EventSerial>,
    /// The state before it.
    pub(crate) before: Root,
}

/// The state that decides about a draft.
fn auth_names(version: pdu::RoomVersion, draft: &Draft) -> Result<Vec<StateKeyName>, Error> {
    let types = pdu::auth_types_of_draft(version, draft).map_err(|why| Error::Invalid(why.to_string()))?;
    Ok(types.into_iter().map(|(kind, key)| name(kind, key)).collect())
}

/// Finds in state that was loaded for a check.
pub(crate) fn find_in(state: &LoadedState, kind: &StateEventType, key: &str) -> Option<Pdu> {
    let kind = kind.to_string();
    state.iter().find(|(name, _)| name.key == key && name.kind == kind).map(|(_, pdu)| pdu.clone())
}

/// Whose membership an event sets, and to what.
pub(crate) fn member_change(pdu: &Pdu) -> Option<(ruma::OwnedUserId, Membership)> {
    if *pdu.kind() != TimelineEventType::RoomMember {
        return None;
    }
    let user = <&ruma::UserId>::try_from(pdu.state_key()?).ok()?.to_owned();
    let membership = room::read::event::membership_in(pdu.content())?;
    Some((user, membership))
}

/// Milliseconds since 1970 as the specification's type.
pub(crate) fn timestamp(ms: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::new_saturating(ms))
}
