//! Judging an event of another server, and giving it its place.
//!
//! The event is [`Verified`] and its ancestors are here, or the state before it is given. What is left
//! of the checks on receipt: by its auth events, by the state before it (else it is rejected), by
//! the current state (else it is soft-failed). Who does that, and when, is [`super::placing`].
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use pdu::{AuthFailure, Pdu, Verified};
use room::{
    Denial, Error,
    ids::{EventSerial, InboxSerial, Root},
    read::event::StoredEvent,
    tables::{EVENT_IDS, GAPS, Gap, StateKeyName, Verdict},
};
use ruma::{
    EventId, OwnedEventId, OwnedServerName, RoomId,
    events::{StateEventType, TimelineEventType},
};
use tracing::info;

use crate::{
    as_of::AsOf,
    graph::AuthGraph,
    pipeline::{LoadedState, Stage, find_in, name},
    place::{Goes, Placement},
    tables::{AWAITED, INBOX, WAITING},
};

/// A verified event and how it came.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) event: Verified,
    /// The server that sent it.
    pub(crate) origin: OwnedServerName,
    /// Its row, which goes when the event is judged.
    pub(crate) row: Option<Row>,
    /// The state before it as others tell it, where not all of its previous events are here.
    pub(crate) before: Option<Root>,
    /// The states after those of its previous events that are not here, where `before` is not told.
    pub(crate) behind: HashMap<OwnedEventId, Root>,
    /// As of when those states are there; see [`AsOf`].
    pub(crate) told_as_of: Option<AsOf>,
    /// Those states lack events that could not be had: they can allow the event, but not refuse it.
    pub(crate) unsure: bool,
    /// Whether we have to send it on: its server joined, left or knocked through us.
    pub(crate) outgoing: bool,
    pub(crate) goes: Goes,
    /// It is from before we came.
    pub(crate) past: bool,
    /// It names an auth event that is refused or of another room, and so is refused itself.
    pub(crate) refuted: bool,
    /// What policy said of it, once that was asked: it is asked once, however often the event is tried.
    pub(crate) wanted: OnceLock<Result<(), Denial>>,
}

/// Where a received event is stored until it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Inbox(InboxSerial),
    Waiting(InboxSerial),
}

impl Arrival {
    pub(crate) fn new(event: Verified, origin: OwnedServerName) -> Self {
        Self {
            event,
            origin,
            row: None,
            before: None,
            behind: HashMap::new(),
            told_as_of: None,
            unsure: false,
            outgoing: false,
            goes: Goes::Tip,
            past: false,
            refuted: false,
            wanted: OnceLock::new(),
        }
    }

    /// Notes that a state was told, so that the batch in which it is used demands it. Of several, the first decides: one
    /// that is not as of the same does no harm but that the batch fails and they are told again.
    pub(crate) fn note_told(&mut self, as_of: AsOf) {
        self.told_as_of.get_or_insert(as_of);
    }

    pub(crate) fn id(&self) -> &EventId {
        self.event.pdu().event_id()
    }
}

/// What became of an arrival.
#[derive(Clone, Debug)]
pub(crate) enum Received {
    /// It has its place, or was refused one.
    Placed(Arc<StoredEvent>),
    /// It was here before.
    Known(Arc<StoredEvent>),
    /// It was refused, and as nobody knows where it stands, nothing of it is kept.
    Refused,
    /// Auth events or ancestors are missing, so it cannot be judged.
    Unjudged,
}

impl Received {
    /// The event, if it is stored now.
    pub(crate) fn event(&self) -> Option<&Arc<StoredEvent>> {
        match self {
            Self::Placed(event) | Self::Known(event) => Some(event),
            Self::Refused | Self::Unjudged => None,
        }
    }
}

/// What is known of the auth events that an event names.
enum NamedAuth {
    Here(AuthEvents),
    /// One of them is of another room.
    Foreign,
    /// One of them is not here.
    Missing,
}

/// The auth events of an event.
#[derive(Default)]
struct AuthEvents {
    serials: Vec<EventSerial>,
    state: LoadedState,
    by_id: HashMap<OwnedEventId, Pdu>,
}

impl Stage<'_> {
    /// Judges an event and places it in this batch.
    #[crate::boxed]
    pub(crate) async fn receive(&mut self, arrival: &Arrival) -> Result<Received, Error> {
        let pdu = arrival.event.pdu();
        let known = self.view().events_by_id(&[pdu.event_id().to_owned()]).await?.pop().flatten();
        let known_as = match &known {
            Some(known) if known.meta().is_placed() => {
                self.strike(arrival);
                return Ok(Received::Known(known.clone()));
            }
            Some(outlier) => Some(outlier.serial()),
            None => None,
        };
        let is_behind = match &known {
            Some(outlier) if arrival.goes == Goes::Tip => self.is_behind_tip(outlier).await?,
            _ => false,
        };
        let (auth, refuted) = match self.auth_events(pdu).await? {
            NamedAuth::Here(auth) => (auth, arrival.refuted),
            NamedAuth::Missing if !arrival.refuted => return Ok(Received::Unjudged),
            NamedAuth::Missing | NamedAuth::Foreign => (AuthEvents::default(), true),
        };
        let Some((before, missing)) = self.state_before(arrival).await? else {
            if !refuted {
                return Ok(Received::Unjudged);
            }
            self.strike(arrival);
            return Ok(Received::Refused);
        };
        // Whoever sends it again may have kept what we have redacted since.
        let emptied_by = known.as_ref().and_then(|outlier| outlier.meta().redacted_by);
        if refuted {
            self.strike(arrival);
            info!(room_id = %self.room.room_id, event_id = %pdu.event_id(), "event rejected: so is one that it names for its right");
            let mut placement = Placement::ours(pdu.clone(), before, auth.serials);
            placement.verdict = Verdict::Rejected;
            placement.known_as = known_as;
            placement.outgoing = false;
            placement.missing = missing;
            placement.goes = arrival.goes;
            placement.awaited = self.view().gaps(&[pdu.event_id().to_owned()]).await?.pop().flatten();
            if let Some(redaction) = emptied_by {
                placement = placement.emptied_by(redaction)?;
            }
            return Ok(Received::Placed(self.place(placement).await?));
        }

        let partial = self.is_partial(None, pdu).await?;
        let is_redaction = *pdu.kind() == TimelineEventType::RoomRedaction;
        if partial && is_redaction && self.is_by_unknown_power(pdu).await? {
            return Ok(Received::Unjudged);
        }
        let verdict = match self.judge(pdu, &auth, before, partial).await? {
            // A state that lacks something can allow, but not refuse.
            Err(_) if arrival.unsure || partial => return Ok(Received::Unjudged),
            Err(failure) => {
                info!(room_id = %self.room.room_id, event_id = %pdu.event_id(), error = %failure, "event rejected");
                Verdict::Rejected
            }
            Ok(()) if matches!(arrival.goes, Goes::History(_)) => Verdict::Accepted,
            Ok(()) => self.soft_verdict(arrival, before).await?,
        };
        self.strike(arrival);
        let (gap, redaction) = self.waited_for(arrival).await?;
        let is_past = gap.as_ref().is_some_and(|gap| gap.past);
        let goes = match arrival.goes {
            _ if is_behind => Goes::Late,
            Goes::Tip if is_past => Goes::Late,
            goes => goes,
        };
        let mut placement = Placement {
            pdu: pdu.clone(),
            known_as,
            verdict,
            before,
            auth: auth.serials,
            txn: None,
            outgoing: arrival.outgoing,
            missing,
            past: arrival.past || is_past,
            hidden: is_redaction && !self.is_valid_redaction(pdu).await?,
            redacted_by: None,
            goes,
            awaited: gap,
        };
        let redaction = redaction.filter(|_| verdict == Verdict::Accepted && emptied_by.is_none());
        if let Some(redaction) = emptied_by.or(redaction.as_ref().map(|redaction| redaction.serial())) {
            placement = placement.emptied_by(redaction)?;
        }
        let placed = self.place(placement).await?;
        // Behind an event of the past, nobody would understand it: that one comes emptied.
        if let Some(redaction) = redaction.filter(|_| !matches!(goes, Goes::History(_))) {
            self.show_redaction(&redaction).await?;
        }
        self.merge_extremities().await?;
        Ok(Received::Placed(placed))
    }

    /// Takes the row of an arrival away, in the batch that gives it its end.
    fn strike(&mut self, arrival: &Arrival) {
        let room = self.room.serial;
        match arrival.row {
            Some(Row::Inbox(serial)) => self.batch.delete(&INBOX, &(room, serial)),
            Some(Row::Waiting(serial)) => self.batch.delete(&WAITING, &(room, serial)),
            None => {}
        }
    }

    /// The event's auth events.
    async fn auth_events(&self, pdu: &Pdu) -> Result<NamedAuth, Error> {
        let mut ids = pdu.auth_events().to_vec();
        // From version 12 the create event is not named: the room's id says which it is.
        let is_create = pdu.is_state(&TimelineEventType::RoomCreate, "");
        let implied = implied_create(pdu.version(), pdu.room_id()).filter(|_| !is_create);
        ids.extend(implied.clone());
        let mut auth = AuthEvents::default();
        for (id, event) in ids.iter().zip(self.view().events_by_id(&ids).await?) {
            let Some(event) = event else {
                let place = self.engine.store().get(&EVENT_IDS, id.as_str()).await?;
                let is_foreign = place.is_some_and(|place| place.room != self.room.serial);
                return Ok(if is_foreign { NamedAuth::Foreign } else { NamedAuth::Missing });
            };
            let marked = event.pdu().clone().with_rejected(event.meta().verdict == Verdict::Rejected);
            if let Some(key) = marked.state_key() {
                auth.state.push((name(marked.kind(), key), marked.clone()));
            }
            if implied.as_ref() != Some(id) {
                auth.serials.push(event.serial());
            }
            auth.by_id.insert(id.clone(), marked);
        }
        Ok(NamedAuth::Here(auth))
    }

    /// The state before an event, and which of its previous events are missing. `None`: it is unknown.
    ///
    /// What others told of the missing ones counts beside what we know of those that are here: it may add to
    /// that, but it does not take its place.
    async fn state_before(&mut self, arrival: &Arrival) -> Result<Option<(Root, Vec<OwnedEventId>)>, Error> {
        let pdu = arrival.event.pdu();
        if pdu.is_state(&TimelineEventType::RoomCreate, "") {
            return Ok(Some((Root::EMPTY, Vec::new())));
        }
        let prev = pdu.prev_events().to_vec();
        let mut roots = Vec::new();
        let mut told: Vec<Root> = Vec::new();
        let mut missing = Vec::new();
        for (id, event) in prev.iter().zip(self.view().events_by_id(&prev).await?) {
            match event {
                Some(event) if event.meta().is_placed() => roots.push(event.meta().after),
                _ => {
                    told.extend(arrival.behind.get(id));
                    missing.push(id.clone());
                }
            }
        }
        match arrival.before.filter(|_| !missing.is_empty()) {
            Some(before) => roots.push(before),
            None if told.len() < missing.len() => return Ok(None),
            None => roots.extend(told),
        }
        if roots.is_empty() {
            return Ok(None);
        }
        if let Some(as_of) = &arrival.told_as_of {
            as_of.check(self.engine.store(), self.room.serial).await?;
            as_of.demand(&mut self.batch, self.room.serial);
        }
        Ok(Some((self.resolve(&roots).await?, missing)))
    }

    /// Whether what we have stands on an event that we knew only by what others said of it: it is in the
    /// state now, or among the auth events of the tip and theirs. Somebody who sends it again does not
    /// put the room back to where it was.
    async fn is_behind_tip(&mut self, outlier: &Arc<StoredEvent>) -> Result<bool, Error> {
        if outlier.meta().verdict != Verdict::Outlier {
            return Ok(false);
        }
        let Some(key) = outlier.state_key() else { return Ok(false) };
        let current = self.current_one(name(outlier.kind(), key)).await?;
        if current.is_some_and(|current| current.serial() == outlier.serial()) {
            return Ok(true);
        }
        let tips: Vec<EventSerial> = self.head.extremities.iter().map(|extremity| extremity.serial).collect();
        if self.tip_chain.as_ref().is_none_or(|(of, _)| *of != tips) {
            let chain = self.view().auth_chain(&mut AuthGraph::default(), &tips).await?;
            self.tip_chain = Some((tips, chain));
        }
        Ok(self.tip_chain.as_ref().is_some_and(|(_, chain)| chain.contains(&outlier.serial())))
    }

    /// Whether the auth events, and the state before it, allow an event; `partial`: that state lacks members.
    async fn judge(
        &mut self,
        pdu: &Pdu,
        auth: &AuthEvents,
        before: Root,
        partial: bool,
    ) -> Result<Result<(), AuthFailure>, Error> {
        let by_its_own = pdu::check_auth_independent(pdu, |id| auth.by_id.get(id).cloned())
            .and_then(|()| pdu::check_auth(pdu, &|kind, key| find_in(&auth.state, kind, key)));
        if by_its_own.is_err() {
            return Ok(by_its_own);
        }
        if partial {
            return self.check_partly(pdu, before, &auth.state).await;
        }
        self.check_by(pdu, before).await
    }

    /// Whether a state of the room allows an event.
    pub(crate) async fn check_by(&mut self, pdu: &Pdu, root: Root) -> Result<Result<(), AuthFailure>, Error> {
        let names = match deciding_names(pdu) {
            Ok(names) => names,
            Err(failure) => return Ok(Err(failure)),
        };
        let events = self.state_by(root, &names).await?;
        let state: LoadedState = names
            .into_iter()
            .zip(events)
            .filter_map(|(name, event)| Some((name, event?.pdu().clone())))
            .collect();
        Ok(pdu::check_auth(pdu, &|kind, key| find_in(&state, kind, key)))
    }

    /// Whether the current state, and policy, still want an event that is right where it stands.
    async fn soft_verdict(&mut self, arrival: &Arrival, before: Root) -> Result<Verdict, Error> {
        let pdu = arrival.event.pdu();
        // While members are lacking, nothing follows from who is not in the current state.
        if self.head.members.lacking().is_none()
            && before != self.head.current
            && let Err(failure) = self.check_by(pdu, self.head.current).await?
        {
            info!(room_id = %self.room.room_id, event_id = %pdu.event_id(), error = %failure, "event soft-failed");
            return Ok(Verdict::SoftFailed);
        }
        let ask = || self.engine.0.policy.accept_from(&arrival.origin, &self.room.room_id, pdu);
        if let Err(denial) = arrival.wanted.get_or_init(ask) {
            info!(room_id = %self.room.room_id, event_id = %pdu.event_id(), error = %denial, "event soft-failed");
            return Ok(Verdict::SoftFailed);
        }
        Ok(Verdict::Accepted)
    }

    /// Whether other events came before this one that refer to it: children, or a redaction.
    async fn waited_for(
        &mut self,
        arrival: &Arrival,
    ) -> Result<(Option<Gap>, Option<Arc<StoredEvent>>), Error> {
        let pdu = arrival.event.pdu();
        let key = (self.room.serial, pdu.event_id().as_str());
        let mut reads = store::Reads::new();
        let gap = reads.get(&GAPS, &key);
        let redaction = reads.get(&AWAITED, &key);
        let mut found = self.engine.store().read(reads).await?;
        let (gap, redaction) = (found.take(gap)?, found.take(redaction)?);
        let gap = self.view().fresh_gap(pdu.event_id()).unwrap_or(gap);
        let redaction = match redaction {
            Some(awaited) => self.find_waiting(pdu, awaited).await?,
            None => None,
        };
        Ok((gap, redaction))
    }
}

/// The state that decides about an event, the create event included.
pub(crate) fn deciding_names(pdu: &Pdu) -> Result<Vec<StateKeyName>, AuthFailure> {
    let mut names: Vec<StateKeyName> =
        pdu::auth_types(pdu)?.into_iter().map(|(kind, key)| name(kind, key)).collect();
    let create = name(StateEventType::RoomCreate, "");
    if *pdu.kind() != TimelineEventType::RoomCreate && !names.contains(&create) {
        names.push(create);
    }
    Ok(names)
}

/// The create event that a version 12 room id names.
pub(crate) fn implied_create(version: pdu::RoomVersion, room_id: &RoomId) -> Option<OwnedEventId> {
    if !version.has_hashed_room_id() {
        return None;
    }
    EventId::parse(room_id.as_str().replacen('!', "$", 1)).ok()
}
