//! [`Syncs::slide`]: answers, and the wait for something to answer with.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use room::{
    RoomSerial,
    read::{
        membership::{MovedRoom, UserRoom, UserRooms},
        recency::Latest,
    },
};
use ruma::OwnedRoomId;
use store::{Moved, Position, Topic};
use tracing::warn;

use super::{
    extensions::{Extras, Shown},
    part::{Part, told_with},
    plan::{Glance, Plan, Telling},
    read::Stage,
    view::Sources,
};
use crate::{
    Error, Syncs,
    connections::{Begun, Ended, Recency, SlidingRequest, State, Told},
    data::NewData,
    gathering,
    groups::grouped,
    syncs::LONGEST_WAIT,
    watches::{Watched, same_joined},
    write::Out,
};

/// Once an answer has so many bytes, the rooms that are left wait for the next one.
const ENOUGH_BYTES: usize = 2 << 20;

/// Who was woken for nothing waits so long for what is not of the moment.
const CALM: Duration = Duration::from_secs(2);

/// More rooms than these are read in turn with other large answers.
const FEW_ROOMS: usize = 20;

/// An answer in the making.
struct News {
    out: Out,
    has_something: bool,
    /// The rooms of which it tells who types and what others have read, if that is all that it tells.
    moment: Option<Vec<OwnedRoomId>>,
    /// What the client is told with it.
    state: Arc<State>,
    recency: Option<Arc<Recency>>,
}

impl Syncs {
    /// Answers with what the client misses, or waits until there is something.
    ///
    /// The first answer of a connection comes at once, as does one to a request for something else than before. A wait ends
    /// with an answer that says nothing new when its time is over or the process stops.
    ///
    /// # Errors
    /// [`Error::UnknownPos`]; [`Error::BadRequest`] for more than is taken; [`account::Error::UnknownToken`] when the device
    /// was signed out during the wait; see [`Error`].
    pub async fn slide(&self, request: &SlidingRequest) -> Result<Bytes, Error> {
        self.count_answer();
        request.check()?;
        let mut begun = self.connections().begin(request)?;
        let signed_in = begun.since.unwrap_or(Position::START).min(self.store().head());
        let _is_there = self.note_presence(&request.user, &request.device, request.presence).await?;
        if let Some(since) = begun.since
            && since > self.store().reach(since).await?
        {
            // It is from a time that was taken back.
            return Err(Error::UnknownPos);
        }
        let from = begun.clone();
        let wait = begun.since.map_or(Duration::ZERO, |_| request.timeout.min(LONGEST_WAIT));
        let deadline = self.clock().instant() + wait;
        let (mut has_waited, mut has_gathered, mut is_calm) = (false, false, false);
        let mut waits_with: Option<Watched> = None;
        loop {
            let known = self.rooms().memberships(&request.user).await?;
            // Before the read: what is committed after it must wake us.
            let with_presence = self.accounts().presence().is_on();
            let before = waits_with.take();
            let watched = self.watches().watch(self.store(), &request.user, &known, with_presence, before);
            let Watched { watch, .. } = waits_with.insert(watched);
            let (head, rooms) = self.rooms_at_head(&request.user).await?;
            if !same_joined(&known, &rooms) {
                continue;
            }
            let news = Box::pin(self.slide_on(request, &begun, head, &rooms)).await?;
            if has_waited {
                // After the read: what was read while the session was good may be told.
                self.must_be_signed_in(&request.user, &request.device, signed_in).await?;
            }
            has_waited = true;
            let left = deadline.since(self.clock().instant());
            let is_over = left.is_zero() || self.stop().is_cancelled();
            let News { mut out, has_something, moment, state, recency } = news;
            let crowd = moment.filter(|_| !is_over && !has_gathered).and_then(|rooms| {
                let rooms = rooms.iter().map(|room| &**room);
                let since = begun.since.unwrap_or(head);
                gathering::begun(self.store(), &request.user, rooms, since, self.clock().now())
            });
            if let Some(gathering) = crowd {
                // Told to each of a crowd each alone it would cost more than all else.
                has_gathered = true;
                let _waiting = self.waiting();
                let at_most = left.min(gathering::left(&gathering, self.clock().now()));
                let woken = self.clock().timeout(at_most, watch.changed_urgently());
                let _ended = self.stop().run_until_cancelled(woken).await;
                continue;
            }
            if has_something || is_over {
                let pos = self.connections().finish(request, &from, Ended { position: head, state, recency });
                out.key("pos");
                out.string(&pos);
                out.raw("}");
                return Ok(out.into_bytes());
            }
            // There is nothing else up to here, so there is no need to look again.
            begun.since = Some(head);
            (begun.state, begun.recency) = (state, recency);
            let _waiting = self.waiting();
            // Whatever ends it, it is looked what there is to tell now.
            let ended = if is_calm {
                let woken = self.clock().timeout(left.min(CALM), watch.changed_urgently());
                self.stop().run_until_cancelled(woken).await
            } else {
                let woken = self.clock().timeout(left, watch.changed());
                self.stop().run_until_cancelled(woken).await
            };
            // Who was woken for nothing is not woken again at once by what is of the moment in a crowd.
            is_calm = !is_calm && matches!(ended, Some(Ok(())));
        }
    }

    /// What is new from where the client is up to a head, and what it is told with that.
    async fn slide_on(
        &self,
        request: &SlidingRequest,
        begun: &Begun,
        head: Position,
        rooms: &UserRooms,
    ) -> Result<News, Error> {
        let since = begun.since;
        let moved = since.map(|since| self.rooms().moved(rooms, since)).unwrap_or_default();
        let data = self.data_since(request, since).await?;
        let mut extras = Extras {
            messages: self.messages_for(request, head).await?,
            keys: self.keys_for(request, since, head, rooms, &moved).await?,
            threads: self.threads_for(request, since, head).await?,
            ..Extras::default()
        };
        let mut out = Out::with_capacity(2_048);
        out.raw("{");
        if let Some(txn_id) = &request.body.txn_id {
            out.key("txn_id");
            out.string(txn_id);
        }
        let mut state = begun.state.clone();
        let mut recency = begun.recency.clone();
        let mut has_rooms = false;
        if request.has_rooms() || !state.rooms().is_empty() {
            let mut next = Box::pin(self.slide_rooms(
                RoomsQuery { request, begun, head, rooms, moved, data: &data },
                &mut extras,
                &mut out,
            ))
            .await?;
            has_rooms = next.has_something;
            recency = next.recency.take();
            state = next.state;
        }
        extras.global = data.global;
        let has_something = has_rooms || !extras.is_empty();
        let moment = extras.moment(&request.user).filter(|_| !has_rooms);
        out.extensions(&extras, request.body.extensions.account_data.is_on());
        Ok(News { out, has_something, moment, state, recency })
    }

    /// What rooms tell; lists and rooms are written, what extensions tell of rooms is added to the extras.
    async fn slide_rooms(
        &self,
        query: RoomsQuery<'_>,
        extras: &mut Extras,
        out: &mut Out,
    ) -> Result<Slid, Error> {
        let RoomsQuery { request, begun, head, rooms, moved, data } = query;
        let (since, old) = (begun.since, &*begun.state);
        let wishes = request.wishes();
        let ignored = self.ignored(&request.user).await?;
        let directs = self.directs(&request.user).await?;
        let user = request.user.as_str();
        let has_touched =
            |topic: Topic| since.is_none_or(|since| self.store().moved(topic, since) != Moved::No);
        let data_moved = has_touched(Topic::account_data(user));
        // A room that is forgotten moves nothing else.
        let memberships_moved = has_touched(Topic::memberships(user));
        let is_asked_anew = since.is_none() || wishes != old.asked;
        let everything = is_asked_anew || !old.settled || memberships_moved || data_moved;
        if !everything && moved.is_empty() {
            out.list_counts(request.body.lists.keys().map(String::as_str).zip(old.counts.iter().copied()));
            out.raw(",\"rooms\":{}");
            return Ok(Slid {
                has_something: false,
                state: begun.state.clone(),
                recency: begun.recency.clone(),
            });
        }

        // What is asked for account data is its extension's; what that does to counts is told in any case.
        let recounted = match since.filter(|_| data_moved) {
            None => BTreeSet::new(),
            Some(_) if request.body.extensions.account_data.is_on() => {
                self.recounted(&request.user, rooms, data)
            }
            Some(_) => self.recounted(&request.user, rooms, &self.new_data(&request.user, since).await?),
        };
        let moved: BTreeMap<u32, MovedRoom> = moved.into_iter().map(|moved| (moved.place, moved)).collect();
        let with_events = moved.values().filter(|moved| moved.events);
        let with_events: HashSet<RoomSerial> = with_events
            .filter_map(|moved| rooms.rooms.get(usize::try_from(moved.place).ok()?))
            .map(|row| row.room)
            .collect();
        let has_moved = |row: &UserRoom| {
            since.is_none_or(|since| row.position > since) || with_events.contains(&row.room)
        };
        let sources = Sources {
            request,
            rooms,
            state: old,
            ignored: &ignored,
            directs: &directs,
            recency: begun.recency.as_deref(),
        };
        let view = self.view(&sources, has_moved).await?;
        let lacking = self.rooms().lacking().await?;
        let glance = Glance {
            user: &request.user,
            rooms,
            state: old,
            since,
            moved,
            data: &data.rooms,
            directs: &directs,
            lacking: &lacking,
            recounted,
            everything,
        };
        let plan = glance.plan(&view);
        let mut state = old.clone();
        let stage = Stage { request, since, head, state: old, ignored: &ignored };

        out.list_counts(view.counts());
        out.open("rooms");
        let (told, has_more) = self.tell_all(&stage, &plan, &mut state, out).await?;
        out.raw("}");
        state.set(plan.noted.clone());
        if let Some(since) = since {
            // What did not go into the answer is told from where the client knows it.
            let left_out = plan.tellings.iter().filter(|telling| !told.contains_key(&telling.row.room));
            let known = left_out.filter_map(|telling| telling.told);
            state.set(known.map(|known| Told { until: known.until(since), ..known }).collect());
        }
        for (told, required) in &plan.narrowed {
            // With more wishes than are remembered it begins anew.
            let wish = state.wish_for(required).ok_or(Error::UnknownPos)?;
            let known = state.find(told.room).copied().unwrap_or(*told);
            state.set(vec![Told { wish, ..known }]);
        }
        let shown = Shown { state: &state, parts: &told, places: &plan.looked_at };
        let heard = self.heard(&stage, &glance, &view, shown, extras).await?;
        state.set(heard);
        let over = plan
            .tellings
            .iter()
            .filter(|telling| glance.is_over(telling) && told.contains_key(&telling.row.room));
        state.forget(&over.map(|telling| telling.row.room).collect::<Vec<_>>());
        (state.asked, state.settled) = (wishes, !has_more && !plan.has_more);
        state.counts = view.counts().map(|(_, count)| count).collect();
        let has_something = is_asked_anew || told.values().any(|part| part.is_told);
        let recency = view.recency.clone();
        let is_same = state == *old;
        let state = if is_same { begun.state.clone() } else { Arc::new(state) };
        Ok(Slid { has_something, state, recency })
    }

    /// Writes what rooms tell, the most recent ones first, until the answer is large enough; what is known of them then is
    /// noted in the state. Whether some are left, and what they told.
    async fn tell_all(
        &self,
        stage: &Stage<'_>,
        plan: &Plan<'_>,
        state: &mut State,
        out: &mut Out,
    ) -> Result<(HashMap<RoomSerial, Part>, bool), Error> {
        let mut told = HashMap::new();
        if plan.tellings.is_empty() {
            return Ok((told, false));
        }
        let rows: Vec<&UserRoom> = plan.tellings.iter().map(|telling| telling.row).collect();
        let recent = self.rooms().recency(&rows).await?;
        let mut ordered: Vec<(&Telling<'_>, Latest)> = plan.tellings.iter().zip(recent).collect();
        ordered.sort_by_key(|(telling, recent)| Reverse((recent.active, telling.row.room)));
        let members = self.members_to_tell(&plan.tellings).await?;
        let with_members = ordered.into_iter().map(|(telling, recent)| {
            let count = members.get(&telling.row.room).copied().unwrap_or(0);
            ((telling, recent.bump), count)
        });
        let is_large = plan.tellings.len() > FEW_ROOMS;
        let now = self.clock().now();
        let mut groups = grouped(with_members).into_iter();
        let mut has_more = false;
        for group in &mut groups {
            if out.len() > ENOUGH_BYTES {
                has_more = true;
                break;
            }
            // Nobody ever closes it.
            let _turn = match is_large {
                true => self.groups().turns.acquire().await.ok(),
                false => None,
            };
            let mut noted = Vec::with_capacity(group.len());
            for (telling, part) in self.tell_or_less(stage, &group).await? {
                let Some(mut part) = part else {
                    // One that cannot be read now may be read another time.
                    has_more = true;
                    continue;
                };
                part.is_told = !part.is_empty(telling);
                let wish = state.wish_for(&telling.wanted.required).ok_or(Error::UnknownPos)?;
                if part.is_told {
                    out.sliding_room(telling.row.room_id.as_str(), &part, now);
                    state.note_members(&part.members);
                }
                noted.push(told_with(telling, &part, wish));
                // What it was made of is written.
                part.state.clear();
                told.insert(telling.row.room, part);
            }
            state.set(noted);
        }
        Ok((told, has_more))
    }

    /// How many members rooms have of which all are told.
    async fn members_to_tell(&self, tellings: &[Telling<'_>]) -> Result<HashMap<RoomSerial, u64>, Error> {
        let all = tellings.iter().filter(|telling| telling.wanted.required.wants_all_members());
        let rooms: Vec<RoomSerial> = all.map(|telling| telling.row.room).collect();
        if rooms.is_empty() {
            return Ok(HashMap::new());
        }
        let counts = self.rooms().member_counts(&rooms).await?;
        Ok(rooms.into_iter().zip(counts.into_iter().map(|count| count.joined)).collect())
    }

    /// What rooms tell. A room that cannot be read tells nothing, whatever is wrong with it.
    ///
    /// # Errors
    /// Only when nothing can be read for now.
    async fn tell_or_less<'a, 'b>(
        &self,
        stage: &Stage<'_>,
        group: &[(&'a Telling<'b>, Position)],
    ) -> Result<Vec<(&'a Telling<'b>, Option<Part>)>, Error> {
        let (tellings, bumps): (Vec<&Telling<'_>>, Vec<Position>) = group.iter().copied().unzip();
        let named = || group.iter().map(|(telling, _)| *telling);
        match self.tell(stage, &tellings, &bumps).await {
            Ok(parts) => return Ok(named().zip(parts.into_iter().map(Some)).collect()),
            Err(error) if error.is_of_the_store() => return Err(error),
            Err(error) => {
                warn!(%error, count = group.len(), "rooms cannot be read together, one by one then")
            }
        }
        let mut all = Vec::with_capacity(group.len());
        for (telling, bump) in group {
            let part = match self.tell(stage, &[*telling], &[*bump]).await {
                Ok(parts) => parts.into_iter().next(),
                Err(error) if error.is_of_the_store() => return Err(error),
                Err(error) => {
                    warn!(room_id = %telling.row.room_id, %error, "a room cannot be shown");
                    None
                }
            };
            all.push((*telling, part));
        }
        Ok(all)
    }
}

/// What is asked of rooms.
struct RoomsQuery<'a> {
    request: &'a SlidingRequest,
    begun: &'a Begun,
    head: Position,
    rooms: &'a UserRooms,
    moved: Vec<MovedRoom>,
    data: &'a NewData,
}

/// What the rooms told.
struct Slid {
    has_something: bool,
    state: Arc<State>,
    recency: Option<Arc<Recency>>,
}
