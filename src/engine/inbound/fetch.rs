//! Fetching what received events lack: auth events and ancestors.
//!
//! Nothing is held meanwhile. What is fetched for its own sake becomes part of the timeline; auth and
//! state events become outliers. An ancestor that cannot be had, or cannot be judged, is a gap; the state
//! behind it is asked for instead ([`super::state_at`]).
//!
//! Reading order: [`Engine::complete_one`], then `fetch_ancestors`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use pdu::{Named, Pdu, Verified};
use room::{
    Error,
    read::room::RoomInfo,
    tables::{EVENT_IDS, GAPS, Gap},
};
use ruma::{EventId, OwnedEventId, OwnedServerName};
use serde_json::value::RawValue;
use tracing::{debug, info};

use super::{peers::Size, receive::Arrival, state_at::States};
use crate::{
    Engine,
    place::Goes,
    ports::MissingEvents,
    view::{Fresh, View},
};

/// How many events one `get_missing_events` asks for.
const MISSING_LIMIT: u32 = 20;
/// How many rounds of it are made for one event.
const MISSING_ROUNDS: usize = 10;
/// A server that gives fewer events than this, the limit by default, has no more of them.
const SHORT_ANSWER: usize = 10;
/// How many bytes of ancestors are fetched for one event: what is beyond is a gap.
const ANCESTOR_BYTES: usize = 2 << 20;
/// How many servers are asked for one thing.
const SERVERS: usize = 3;
/// How many single events are fetched at a time.
const PARALLEL: usize = 4;
/// How long a request of another server or of a user waits for what an event of it lacks.
const WHILE_ASKED: Duration = Duration::from_secs(20);

/// What became of an event's auth events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auth {
    Here,
    /// One of them is refused, or of another room.
    Refused,
    Missing,
}

impl Engine {
    /// Looks at a room as it is on disk.
    pub(crate) fn stored_view<'a>(&'a self, room: &'a RoomInfo, nothing: &'a Fresh) -> View<'a> {
        View { engine: self, room, layers: [nothing, nothing] }
    }

    /// Which events of a room are stored; true: in their place in the graph.
    pub(crate) async fn stored(
        &self,
        room: &RoomInfo,
        ids: &[OwnedEventId],
    ) -> Result<HashMap<OwnedEventId, bool>, Error> {
        let nothing = Fresh::default();
        let presence = self.stored_view(room, &nothing).presence(ids).await?;
        let here = ids.iter().zip(presence).filter_map(|(id, placed)| Some((id.clone(), placed?)));
        Ok(here.collect())
    }

    /// Brings what an event lacks while somebody waits for its answer; ancestors stand before the arrivals.
    ///
    /// What cannot be brought in time is left out: the event is then not judged.
    pub(crate) async fn complete(
        &self,
        room: &Arc<RoomInfo>,
        arrivals: Vec<Arrival>,
    ) -> Result<Vec<Arrival>, Error> {
        let mut complete = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let pdu = arrival.event.pdu();
            let lacks = self.lack_of(room, pdu).await?.is_some();
            if !lacks || !self.may_ask_for(room, &arrival.origin, pdu).await? {
                complete.push(arrival);
                continue;
            }
            let brought = self.0.clock.timeout(WHILE_ASKED, self.complete_one(room, arrival.clone())).await;
            match brought {
                Ok(brought) => complete.extend(brought?),
                Err(_) => complete.push(arrival),
            }
        }
        Ok(complete)
    }

    /// Brings the auth events and ancestors that an arrival lacks; ancestors stand before it in the answer,
    /// and it is the last, unless it is from before we came.
    pub(super) async fn complete_one(
        &self,
        room: &Arc<RoomInfo>,
        mut arrival: Arrival,
    ) -> Result<Vec<Arrival>, Error> {
        let pdu = arrival.event.pdu().clone();
        let own = [pdu.event_id().to_owned()];
        let mut wanted = pdu.prev_events().to_vec();
        wanted.extend_from_slice(&own);
        let stored = self.stored(room, &wanted).await?;
        let is_placed = |id: &EventId| stored.get(id).is_some_and(|placed| *placed);
        if own.iter().all(|id| is_placed(id)) {
            return Ok(vec![arrival]);
        }
        let past = self.past(room, &own).await?;
        if arrival.goes == Goes::Tip && !past.is_empty() {
            return Ok(Vec::new());
        }
        let servers = self.whom_to_ask(room, &arrival.origin).await?;
        // Its right first: if it has none, its ancestors are not worth asking for.
        match self.fetch_auth(room, &servers, &pdu, &HashMap::new()).await? {
            Auth::Here | Auth::Missing => {}
            Auth::Refused => {
                arrival.refuted = true;
                return Ok(vec![arrival]);
            }
        }
        let mut complete = Vec::new();
        if arrival.before.is_none() && !pdu.prev_events().iter().all(is_placed) {
            complete = self.fetch_ancestors(room, &mut arrival, &servers).await?;
            // They may be its auth events, too, or tell of them.
            let found = complete.iter().map(|older| (older.id().to_owned(), older.event.clone())).collect();
            arrival.refuted = self.fetch_auth(room, &servers, &pdu, &found).await? == Auth::Refused;
        }
        complete.push(arrival);
        Ok(complete)
    }

    /// Which of these events our join, or history that we have, stands on: they are the past, and have their
    /// place there when backfill brings them.
    pub(super) async fn past(
        &self,
        room: &RoomInfo,
        ids: &[OwnedEventId],
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let keys: Vec<_> = ids.iter().map(|id| (room.serial, id.as_str())).collect();
        let gaps = self.store().get_many(&GAPS, &keys).await?;
        let is_past = |gap: &Option<Gap>| gap.as_ref().is_some_and(|gap| gap.past);
        Ok(ids.iter().zip(gaps).filter(|(_, gap)| is_past(gap)).map(|(id, _)| id.clone()).collect())
    }

    /// The authority in whose name we ask about a room: one that is in it, if any is.
    pub(crate) async fn speaker(&self, room: &RoomInfo) -> Result<OwnedServerName, Error> {
        let mut first = None;
        for server in self.servers_in(room).await? {
            if self.is_ours(&server) {
                return Ok(server);
            }
        }
        for authority in self.authorities().iter() {
            first.get_or_insert_with(|| authority.name().to_owned());
        }
        first.ok_or(Error::Inconsistent("a process without an authority"))
    }

    /// Whom to ask about a room: servers in it that answer of late, the one that brought it up first.
    async fn whom_to_ask(
        &self,
        room: &RoomInfo,
        first: &OwnedServerName,
    ) -> Result<Vec<OwnedServerName>, Error> {
        let mut present = self.servers_in(room).await?;
        present.retain(|server| !self.is_ours(server) && !self.is_resting(server));
        let mut servers = Vec::with_capacity(SERVERS);
        if let Some(at) = present.iter().position(|server| server == first) {
            servers.push(present.swap_remove(at));
        }
        // By chance, so that one that lies, or knows nothing, is not asked each time.
        while servers.len() < SERVERS && !present.is_empty() {
            let at = self.0.random.range(0..present.len() as u64);
            servers.push(present.swap_remove(usize::try_from(at).unwrap_or(0)));
        }
        Ok(servers)
    }

    /// Fetches the ancestors that an arrival names and we lack, parents first; where some cannot be had, the
    /// states behind them.
    #[crate::boxed]
    async fn fetch_ancestors(
        &self,
        room: &Arc<RoomInfo>,
        child: &mut Arrival,
        servers: &[OwnedServerName],
    ) -> Result<Vec<Arrival>, Error> {
        let mut search = Search {
            found: HashMap::new(),
            open: self.lacking(room, &[child.event.pdu()], &HashMap::new()).await?,
            hopeless: HashSet::new(),
            latest: vec![child.id().to_owned()],
            bytes: 0,
        };
        self.give_up_overfull(&mut search);
        for server in servers {
            if search.open.is_empty() {
                break;
            }
            self.search_ancestors(room, child, server, &mut search).await?;
        }
        self.order_ancestors(room, child, search, servers).await
    }

    /// Asks one server for ancestors, round by round.
    async fn search_ancestors(
        &self,
        room: &Arc<RoomInfo>,
        child: &Arrival,
        server: &OwnedServerName,
        search: &mut Search,
    ) -> Result<(), Error> {
        let from = self.speaker(room).await?;
        let head = self.rooms().get_head(room).await?;
        let earliest: Vec<OwnedEventId> =
            head.extremities.iter().map(|extremity| extremity.event_id.clone()).collect();
        for _ in 0..MISSING_ROUNDS {
            if search.open.is_empty()
                || search.found.len() >= self.0.config.fetch_limit
                || search.bytes >= ANCESTOR_BYTES
            {
                return Ok(());
            }
            let question = MissingEvents {
                room_id: &room.room_id,
                earliest: &earliest,
                latest: &search.latest,
                limit: MISSING_LIMIT,
                // Depths are claims: one extremity with a huge one would have honest peers give nothing.
                min_depth: 0,
            };
            let request = self.0.remote.get_missing_events(&from, server, question);
            let mut answer = match self.ask(server, Size::Small, request).await {
                Ok(answer) => answer,
                Err(error) => {
                    info!(room_id = %room.room_id, destination = %server, %error, "missing events were not given");
                    return Ok(());
                }
            };
            let is_last = answer.len() < SHORT_ANSWER;
            answer.truncate(MISSING_LIMIT as usize);
            let before = search.found.len();
            let answer = self.verify_raw(room, &answer).await?;
            let ids: Vec<OwnedEventId> =
                answer.iter().map(|event| event.pdu().event_id().to_owned()).collect();
            // What we have ends the way back, and so does what our join stands on.
            let past = self.past(room, &ids).await?;
            let stored = self.stored(room, &ids).await?;
            let ends = |id: &EventId| past.contains(id) || stored.get(id).is_some_and(|placed| *placed);
            for event in answer.into_iter().filter(|event| !ends(event.pdu().event_id())) {
                search.found.entry(event.pdu().event_id().to_owned()).or_insert(event);
            }
            // Beyond those ends, an answer is not about the child.
            let way: HashSet<OwnedEventId> =
                parents_first(child.event.pdu(), &search.found).into_iter().collect();
            search.found.retain(|id, _| way.contains(id));
            search.bytes = search.found.values().map(|event| event.pdu().json().len()).sum();
            if search.found.len() == before {
                self.give_up_overfull(search);
                return Ok(());
            }
            let pdus: Vec<&Pdu> =
                search.found.values().map(Verified::pdu).chain([child.event.pdu()]).collect();
            let mut open = self.lacking(room, &pdus, &search.found).await?;
            search.hopeless.extend(open.extract_if(|id| self.is_overfull(id)));
            search.latest = pdus
                .iter()
                .filter(|pdu| pdu.prev_events().iter().any(|id| open.contains(id)))
                .map(|pdu| pdu.event_id().to_owned())
                .take(MISSING_LIMIT as usize)
                .collect();
            search.open = open;
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks no more for what turned out to be no event.
    fn give_up_overfull(&self, search: &mut Search) {
        let Search { open, hopeless, .. } = search;
        hopeless.extend(open.extract_if(|id| self.is_overfull(id)));
    }

    /// Which previous events of these are neither stored in their place nor found.
    async fn lacking(
        &self,
        room: &RoomInfo,
        pdus: &[&Pdu],
        found: &HashMap<OwnedEventId, Verified>,
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let prev: HashSet<OwnedEventId> = pdus
            .iter()
            .flat_map(|pdu| pdu.prev_events())
            .filter(|id| !found.contains_key(*id))
            .map(ToOwned::to_owned)
            .collect();
        let prev: Vec<OwnedEventId> = prev.into_iter().collect();
        let stored = self.stored(room, &prev).await?;
        let placed = |id: &OwnedEventId| stored.get(id).is_some_and(|placed| *placed);
        Ok(prev.into_iter().filter(|id| !placed(id)).collect())
    }

    /// Orders fetched ancestors, parents first, and fetches the states behind their missing parents, and
    /// those of the child.
    async fn order_ancestors(
        &self,
        room: &Arc<RoomInfo>,
        child: &mut Arrival,
        search: Search,
        servers: &[OwnedServerName],
    ) -> Result<Vec<Arrival>, Error> {
        let since = self.rooms().get_head(room).await?.since_depth;
        let Search { mut found, open, hopeless, .. } = search;
        let mut older = Vec::with_capacity(found.len());
        let mut states = States::new(open, servers);
        hopeless.into_iter().for_each(|id| states.note_unknown(id));
        for id in parents_first(child.event.pdu(), &found) {
            let Some(event) = found.get(&id).cloned() else { continue };
            let mut arrival = Arrival::new(event.clone(), child.origin.clone());
            if event.pdu().depth() < since {
                // Most likely from before we came: others have long built on it.
                arrival.goes = Goes::Late;
            }
            // The state behind it first: its auth events are part of that.
            self.fetch_states(room, &mut arrival, &mut states).await?;
            match self.fetch_auth(room, servers, event.pdu(), &found).await? {
                Auth::Here => {}
                Auth::Refused => arrival.refuted = true,
                Auth::Missing => {
                    // It cannot be judged, and nor can the state after it: that stands on the same.
                    found.remove(&id);
                    states.give_up(id);
                    continue;
                }
            }
            older.push(arrival);
        }
        self.fetch_states(room, child, &mut states).await?;
        Ok(older)
    }

    /// Fetches the auth events of an event that are neither stored nor among `found`, and what they stand on.
    #[crate::boxed]
    async fn fetch_auth(
        &self,
        room: &Arc<RoomInfo>,
        servers: &[OwnedServerName],
        pdu: &Pdu,
        found: &HashMap<OwnedEventId, Verified>,
    ) -> Result<Auth, Error> {
        let mut missing = self.missing_auth(room, pdu, found).await?;
        if missing.is_empty() {
            return Ok(Auth::Here);
        }
        if self.is_any_elsewhere(room, &missing).await? {
            return Ok(Auth::Refused);
        }
        let from = self.speaker(room).await?;
        for server in servers {
            let request = self.0.remote.event_auth(&from, server, &room.room_id, pdu.event_id());
            match self.ask(server, Size::Large, request).await {
                Ok(chain) => {
                    let refused = self.import_outliers(room, chain, &missing).await?;
                    if missing.iter().any(|id| refused.contains(id)) {
                        return Ok(Auth::Refused);
                    }
                }
                Err(error) => {
                    debug!(room_id = %room.room_id, destination = %server, %error, "auth events were not given");
                }
            }
            missing = self.missing_auth(room, pdu, found).await?;
            if missing.is_empty() {
                return Ok(Auth::Here);
            }
            let single = self.fetch_events(&from, server, &missing).await;
            let refused = self.import_outliers(room, single, &missing).await?;
            if missing.iter().any(|id| refused.contains(id)) {
                return Ok(Auth::Refused);
            }
            missing = self.missing_auth(room, pdu, found).await?;
            if missing.is_empty() {
                return Ok(Auth::Here);
            }
        }
        Ok(Auth::Missing)
    }

    async fn missing_auth(
        &self,
        room: &RoomInfo,
        pdu: &Pdu,
        found: &HashMap<OwnedEventId, Verified>,
    ) -> Result<Vec<OwnedEventId>, Error> {
        let mut missing = pdu.auth_events().to_vec();
        missing.retain(|id| !found.contains_key(id));
        self.not_stored(room, missing).await
    }

    /// Whether one of these events is here, in another room.
    async fn is_any_elsewhere(&self, room: &RoomInfo, ids: &[OwnedEventId]) -> Result<bool, Error> {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let places = self.store().get_many(&EVENT_IDS, &ids).await?;
        Ok(places.into_iter().flatten().any(|place| place.room != room.serial))
    }

    /// Fetches single events; those that cannot be had are left out.
    pub(super) async fn fetch_events(
        &self,
        from: &OwnedServerName,
        server: &OwnedServerName,
        ids: &[OwnedEventId],
    ) -> Vec<Box<RawValue>> {
        let ids = ids.iter().take(self.0.config.fetch_limit);
        let requests = ids.map(|id| self.ask(server, Size::Small, self.0.remote.event(from, server, id)));
        let requests: Vec<_> = requests.collect();
        let answers = stream::iter(requests).buffered(PARALLEL).collect::<Vec<_>>().await;
        answers.into_iter().filter_map(Result::ok).collect()
    }

    /// Those of these events that are not stored.
    pub(crate) async fn not_stored(
        &self,
        room: &RoomInfo,
        ids: Vec<OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, Error> {
        /// How many are looked up at a time: an answer may name hundreds of thousands.
        const AT_ONCE: usize = 1_000;
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        let mut missing = Vec::new();
        for part in ids.chunks(AT_ONCE) {
            let serials = view.find_serials(part).await?;
            let absent = part.iter().zip(serials).filter(|(_, serial)| serial.is_none());
            missing.extend(absent.map(|(id, _)| id.clone()));
        }
        Ok(missing)
    }
}

/// A search for ancestors.
struct Search {
    found: HashMap<OwnedEventId, Verified>,
    /// Previous events of what we have and of what was found, that are neither.
    open: HashSet<OwnedEventId>,
    /// Those that are no events: nobody is asked for them, but for the state before what names them.
    hopeless: HashSet<OwnedEventId>,
    /// Events whose ancestors are asked for next.
    latest: Vec<OwnedEventId>,
    bytes: usize,
}

/// The fetched ancestors of an event, each after its own ancestors.
fn parents_first(child: &Pdu, found: &HashMap<OwnedEventId, Verified>) -> Vec<OwnedEventId> {
    let pdus = found.iter().map(|(id, event)| (id.clone(), event.pdu().clone())).collect();
    walk_first(&child.prev_events().to_vec(), &pdus, |pdu| pdu.prev_events())
}

/// A depth-first order over links, without recursion; cycles, which honest events have not, are cut.
pub(crate) fn walk_first(
    starts: &[OwnedEventId],
    events: &HashMap<OwnedEventId, Pdu>,
    links: impl Fn(&Pdu) -> Named<'_>,
) -> Vec<OwnedEventId> {
    let mut order = Vec::with_capacity(events.len());
    let mut seen: HashSet<&OwnedEventId> = HashSet::new();
    for start in starts {
        let mut stack: Vec<(&EventId, bool)> = vec![(start, false)];
        while let Some((id, done)) = stack.pop() {
            let Some((id, event)) = events.get_key_value(id) else { continue };
            if done {
                order.push(id.clone());
            } else if seen.insert(id) {
                stack.push((id, true));
                stack.extend(links(event).iter().map(|link| (link, false)));
            }
        }
    }
    order
}
