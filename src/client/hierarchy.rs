//! The rooms of a space, walked depth first and page by page.
//!
//! Rooms that we take no part in are described by the servers that the space names, and a server that answers for a
//! space is believed of that space's own children only, and of none that a space nearer to the beginning names as
//! well. Those are asked side by side, for a few seconds and with a bounded number of questions for one page; a page
//! that ends for want of time says where to go on. What a walk has learnt and not yet shown is kept for its next
//! pages in memory, a few walks of each user and for some minutes; where it is lost, by a restart or because others
//! walk, the same walk is made again from the beginning.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy>

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::Instant;
use futures_util::future::join_all;
use parking_lot::Mutex;
use room::read::space::{Looker, RoomSummary, SpaceAnswer, SpaceChild};
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::debug;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// Rooms of a page when the client does not say, and at most.
const DEFAULT_ROOMS: usize = 50;
const MAX_ROOMS: usize = 100;
/// What a page may hold, and of that the events that name the children of one room, in bytes.
const MAX_PAGE_BYTES: usize = 4 << 20;
const MAX_CHILDREN_BYTES: usize = 3 << 20;
/// Rooms that are walked in all, so that a large space cannot keep the server busy.
const MAX_WALK: usize = 5_000;
/// Rooms that other servers are asked for on one page, how many side by side, and the time for all of them.
const MAX_QUESTIONS: usize = 50;
const AT_ONCE: usize = 10;
const MAX_ASKING: Duration = Duration::from_secs(15);
/// How many servers are asked for one room, and the time for each: less than the whole, so that every page gets on.
const MAX_SERVERS: usize = 3;
const MAX_ANSWERING: Duration = Duration::from_secs(4);
/// What walks may hold in memory, in bytes: all together, and what one has been told by others before it takes no
/// more.
const MAX_KEPT_BYTES: usize = 32 << 20;
const MAX_TOLD_BYTES: usize = 4 << 20;
/// Walks that are kept of one user, and for how long: each page leaves one behind, for who asks for it again.
const MAX_KEPT_OF_USER: usize = 4;
const MAX_KEPT_FOR: Duration = Duration::from_mins(10);
/// What an entry of a list or table costs beside what it holds, about, in bytes.
const ENTRY_BYTES: usize = 64;

#[derive(Deserialize)]
struct HierarchyQuery {
    from: Option<String>,
    limit: Option<usize>,
    max_depth: Option<usize>,
    #[serde(default)]
    suggested_only: bool,
    /// Servers that know the room, where we do not.
    #[serde(default)]
    via: Vec<OwnedServerName>,
}

/// `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`: the rooms of a space, depth first.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy>
pub(crate) async fn hierarchy(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let HierarchyQuery { from, limit, max_depth, suggested_only, via } = call.query()?;
    let start = Start { user: call.caller.user_id, room_id: call.args.get(0)?, max_depth, suggested_only };
    let limit = limit.unwrap_or(DEFAULT_ROOMS).clamp(1, MAX_ROOMS);
    let mut walk = match from.as_deref() {
        Some(token) => api.walks.find(&start, via, token)?,
        None => Walk::new(start, via, 0),
    };

    let mut page = Page::new(limit);
    let ended = api.clock.timeout(MAX_ASKING, walk.fill(&api, &mut page)).await;
    let more = match ended {
        Ok(more) => more?,
        Err(_) => true,
    };
    if walk.found == 0 && walk.is_root_closed(more) {
        return Err(ApiError::forbidden("You cannot see this room"));
    }
    let next_batch = more.then(|| api.walks.keep(walk, api.clock.instant()));
    Ok(json_response(StatusCode::OK, &Answer { rooms: page.rooms, next_batch }))
}

#[derive(Serialize)]
struct Answer {
    rooms: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
}

/// What makes two requests pages of the same walk.
#[derive(Clone, PartialEq, Eq)]
struct Start {
    user: OwnedUserId,
    room_id: OwnedRoomId,
    max_depth: Option<usize>,
    suggested_only: bool,
}

impl Start {
    /// What must not change from page to page, as tokens tell it.
    fn wishes(&self) -> String {
        let depth = self.max_depth.map_or_else(|| "all".to_owned(), |depth| depth.to_string());
        format!("{depth}{}", if self.suggested_only { "s" } else { "" })
    }
}

/// A room to be looked at.
#[derive(Clone)]
struct Ahead {
    room_id: OwnedRoomId,
    via: Vec<OwnedServerName>,
    depth: usize,
    /// What was told of it together with the space that names it. A space is believed of its own children and of no
    /// other rooms.
    told: Option<Telling>,
}

/// What another server tells of a room in its answer for a space that names it.
#[derive(Clone)]
enum Telling {
    Room(Box<RoomSummary>),
    /// That it is not for our eyes.
    Closed,
}

type Tellings = HashMap<OwnedRoomId, Telling>;

/// What others answered for a room: itself, and what they told of its children.
#[derive(Clone)]
struct Answered {
    room: RoomSummary,
    told: Tellings,
}

/// A page in the making.
struct Page {
    /// As they are written, so that they are counted by what they are on the wire.
    rooms: Vec<Box<RawValue>>,
    bytes: usize,
    limit: usize,
    /// How many rooms others may still be asked for.
    questions: usize,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self { rooms: Vec::new(), bytes: 0, limit, questions: MAX_QUESTIONS }
    }

    /// Takes a room in; gives it back if there is no place for it. The first one always has its place, or no page
    /// would get on.
    fn add(&mut self, room: Box<RawValue>) -> Result<(), Box<RawValue>> {
        let bytes = self.bytes + room.get().len();
        if self.rooms.len() == self.limit || (!self.rooms.is_empty() && bytes > MAX_PAGE_BYTES) {
            return Err(room);
        }
        self.bytes = bytes;
        self.rooms.push(room);
        Ok(())
    }
}

/// A user who walks through a space.
#[derive(Clone)]
struct Walk {
    start: Start,
    /// The next one is last.
    ahead: Vec<Ahead>,
    walked: HashSet<OwnedRoomId>,
    /// How many rooms were looked at, those included that came to nothing.
    looked: usize,
    /// What others answered for rooms of their own; nothing when none did.
    answers: HashMap<OwnedRoomId, Option<Answered>>,
    /// How many rooms were found, and how many of them the client has had before this walk was lost.
    found: usize,
    skip: usize,
    /// The room that did not fit on the last page.
    left_over: Option<Box<RawValue>>,
}

/// What looking at a room gave.
enum Look {
    /// It, its children, and what was told of them.
    Room(Box<RoomSummary>, Vec<SpaceChild>, Tellings),
    /// It is not for these eyes.
    Closed,
    /// Of those whom its space names nobody shows it; those whom another space names may.
    Nothing,
    /// Others would have to be asked, and this page may not.
    Later,
}

impl Walk {
    fn new(start: Start, via: Vec<OwnedServerName>, skip: usize) -> Self {
        let first = Ahead { room_id: start.room_id.clone(), via, depth: 0, told: None };
        Self {
            start,
            ahead: vec![first],
            walked: HashSet::new(),
            looked: 0,
            answers: HashMap::new(),
            found: 0,
            skip,
            left_over: None,
        }
    }

    /// Whether the room where the walk begins is not for these eyes: nothing came of it, and nothing will.
    fn is_root_closed(&self, more: bool) -> bool {
        !more || self.looked > 0
    }

    /// Adds rooms to a page. Whether there are more; stopping it at any moment loses nothing but time.
    async fn fill(&mut self, api: &ClientApi, page: &mut Page) -> Result<bool, ApiError> {
        if let Some(room) = self.left_over.take()
            && let Err(room) = page.add(room)
        {
            self.left_over = Some(room);
            return Ok(true);
        }
        while let Some(next) = self.ahead.last().cloned() {
            if self.walked.contains(&next.room_id) {
                self.ahead.pop();
                continue;
            }
            if self.looked >= MAX_WALK {
                return Ok(false);
            }
            let look = self.look(api, page, &next).await?;
            if matches!(look, Look::Later) {
                return Ok(true);
            }
            self.ahead.pop();
            self.looked += 1;
            // It is looked at once, so what was answered for it is needed no more.
            self.answers.remove(&next.room_id);
            if !matches!(look, Look::Nothing) {
                self.walked.insert(next.room_id);
            }
            let Look::Room(shown, children, told) = look else { continue };
            if self.start.max_depth.is_none_or(|max_depth| next.depth < max_depth) {
                self.go_into(&children, told, next.depth + 1);
            }
            self.found += 1;
            if self.found <= self.skip {
                continue;
            }
            if let Err(room) = page.add(written(*shown, children)?) {
                self.left_over = Some(room);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts the children of a room ahead, the first of them to be taken first. More than a whole walk is never ahead.
    ///
    /// One that is ahead already keeps its place, and what was told of it there: a space further down may say other
    /// things of it, but is not the one to be asked first.
    fn go_into(&mut self, children: &[SpaceChild], mut told: Tellings, depth: usize) {
        let own: HashSet<&OwnedRoomId> = children.iter().map(|child| &child.room_id).collect();
        if own.is_empty() {
            return;
        }
        let ahead = self.ahead.iter().enumerate();
        let places: HashMap<&OwnedRoomId, usize> =
            ahead.filter_map(|(place, ahead)| Some((*own.get(&ahead.room_id)?, place))).collect();
        let (mut fresh, mut named) = (Vec::new(), HashSet::new());
        for child in children {
            if self.walked.contains(&child.room_id) || !named.insert(&child.room_id) {
                continue;
            }
            if let Some(place) = places.get(&child.room_id) {
                let via = &mut self.ahead[*place].via;
                let others: Vec<_> = child.via.iter().filter(|name| !via.contains(name)).cloned().collect();
                via.extend(others);
                via.truncate(MAX_SERVERS);
            } else if self.ahead.len() + fresh.len() < MAX_WALK {
                fresh.push(Ahead {
                    room_id: child.room_id.clone(),
                    via: child.via.iter().take(MAX_SERVERS).cloned().collect(),
                    depth,
                    told: told.remove(&child.room_id),
                });
            }
        }
        self.ahead.extend(fresh.into_iter().rev());
    }

    /// What a room shows to the user, and its children.
    async fn look(&mut self, api: &ClientApi, page: &mut Page, next: &Ahead) -> Result<Look, ApiError> {
        let (rooms, room_id) = (&api.rooms, &next.room_id);
        let user = self.start.user.clone();
        if rooms.takes_part_in(room_id).await? {
            let Some((room, shown)) = rooms.room_summary(room_id, Looker::User(&user)).await? else {
                return Ok(Look::Closed);
            };
            let children = match shown.is_space() {
                true => rooms.space_children(&room, self.start.suggested_only).await?,
                false => Vec::new(),
            };
            return Ok(Look::Room(Box::new(shown), children, Tellings::new()));
        }
        if self.must_be_asked(next) {
            if page.questions == 0 {
                return Ok(Look::Later);
            }
            self.ask(api, page).await?;
        }
        let (mut shown, told) = match (self.answers.get(room_id).cloned().flatten(), &next.told) {
            (_, Some(Telling::Closed)) | (None, None) => return Ok(Look::Nothing),
            (Some(answer), _) => (answer.room, answer.told),
            (None, Some(Telling::Room(told))) => ((**told).clone(), Tellings::new()),
        };
        if !rooms.may_see_summary(&shown, Looker::User(&user)).await? {
            return Ok(Look::Nothing);
        }
        let mut children = children_of(&shown, self.start.suggested_only);
        shown.children_state = None;
        SpaceChild::sort(&mut children);
        Ok(Look::Room(Box::new(shown), children, told))
    }

    /// Whether a room that is not ours has to be asked for: a space always, for its children.
    fn must_be_asked(&self, ahead: &Ahead) -> bool {
        let is_told = match &ahead.told {
            Some(Telling::Room(told)) => !told.is_space(),
            Some(Telling::Closed) => true,
            None => false,
        };
        !is_told && !self.answers.contains_key(&ahead.room_id)
    }

    /// Asks others for the next rooms that have to be asked for, the very next one among them.
    async fn ask(&mut self, api: &ClientApi, page: &mut Page) -> Result<(), ApiError> {
        let mut wanted: Vec<Ahead> = Vec::new();
        for ahead in self.ahead.iter().rev().take(10 * AT_ONCE) {
            if wanted.len() == AT_ONCE.min(page.questions) {
                break;
            }
            let is_new = !self.walked.contains(&ahead.room_id)
                && wanted.iter().all(|wanted| wanted.room_id != ahead.room_id)
                && self.must_be_asked(ahead);
            if is_new && !api.rooms.takes_part_in(&ahead.room_id).await? {
                wanted.push(ahead.clone());
            }
        }
        page.questions -= wanted.len();
        let (user, suggested_only) = (&*self.start.user, self.start.suggested_only);
        let answers = join_all(
            wanted.iter().map(|wanted| describe(api, user, suggested_only, &wanted.room_id, &wanted.via)),
        )
        .await;
        for (place, (wanted, answer)) in wanted.into_iter().zip(answers).enumerate() {
            let space = MAX_TOLD_BYTES.saturating_sub(self.bytes());
            let answered = answer.map(|answer| Answered::new(answer, suggested_only, space));
            if place > 0 && answered.as_ref().is_some_and(|answered| answered.room.bytes() > space) {
                // There is no room for what was asked for ahead of its turn.
                continue;
            }
            self.answers.insert(wanted.room_id, answered);
        }
        Ok(())
    }

    /// About what the walk holds in memory, in bytes.
    fn bytes(&self) -> usize {
        let id = |room_id: &OwnedRoomId| room_id.as_str().len() + ENTRY_BYTES;
        let via = |ahead: &Ahead| ahead.via.iter().map(|name| name.as_str().len() + 16).sum::<usize>();
        let ahead = self
            .ahead
            .iter()
            .map(|ahead| id(&ahead.room_id) + via(ahead) + ahead.told.as_ref().map_or(0, Telling::bytes));
        let walked = self.walked.iter().map(id);
        let answers = self.answers.iter();
        let answers =
            answers.map(|(room_id, answer)| id(room_id) + answer.as_ref().map_or(0, Answered::bytes));
        let left_over = self.left_over.as_ref().map_or(0, |room| room.get().len());
        ahead.sum::<usize>() + walked.sum::<usize>() + answers.sum::<usize>() + left_over
    }
}

impl Telling {
    fn bytes(&self) -> usize {
        match self {
            Self::Room(room) => room.bytes(),
            Self::Closed => 0,
        }
    }
}

impl Answered {
    /// Keeps of an answer what it tells of the room and of the room's own children, in so many bytes.
    fn new(answer: SpaceAnswer, suggested_only: bool, space: usize) -> Self {
        let SpaceAnswer { room, children, inaccessible_children } = answer;
        let own: HashSet<OwnedRoomId> =
            children_of(&room, suggested_only).into_iter().map(|child| child.room_id).collect();
        let rooms = children.into_iter().map(|mut child| {
            // Whom a child names is asked of the child itself.
            child.children_state = None;
            (child.room_id.clone(), Telling::Room(Box::new(child)))
        });
        let closed = inaccessible_children.into_iter().map(|room_id| (room_id, Telling::Closed));
        let mut space = space.saturating_sub(room.bytes());
        let mut told = Tellings::new();
        for (room_id, telling) in rooms.chain(closed).filter(|(room_id, _)| own.contains(room_id)) {
            let Some(left) = space.checked_sub(telling.bytes() + room_id.as_str().len() + ENTRY_BYTES) else {
                break;
            };
            space = left;
            told.entry(room_id).or_insert(telling);
        }
        Self { room, told }
    }

    fn bytes(&self) -> usize {
        let told = |(room_id, telling): (&OwnedRoomId, &Telling)| {
            room_id.as_str().len() + ENTRY_BYTES + telling.bytes()
        };
        self.room.bytes() + self.told.iter().map(told).sum::<usize>()
    }
}

/// The children that a room names, by what another server tells of it.
fn children_of(room: &RoomSummary, suggested_only: bool) -> Vec<SpaceChild> {
    let events = room.children_state.iter().flatten().cloned();
    events.filter_map(|event| SpaceChild::read(event, suggested_only)).collect()
}

/// A room as a page holds it: with the events of as many of its children as fit.
fn written(mut shown: RoomSummary, children: Vec<SpaceChild>) -> Result<Box<RawValue>, ApiError> {
    let mut space = MAX_CHILDREN_BYTES;
    let events = children.into_iter().map_while(|child| {
        space = space.checked_sub(child.event.get().len() + 1)?;
        Some(child.event)
    });
    shown.children_state = Some(events.collect());
    serde_json::value::to_raw_value(&shown).map_err(ApiError::internal)
}

/// What other servers tell of a room, and of its children: a few are asked, one after the other, for a few seconds
/// each.
pub(crate) async fn describe(
    api: &ClientApi,
    user: &UserId,
    suggested_only: bool,
    room_id: &RoomId,
    via: &[OwnedServerName],
) -> Option<SpaceAnswer> {
    let from = user.server_name();
    for server in via.iter().filter(|server| !api.authorities.is_ours(server)).take(MAX_SERVERS) {
        if api.rooms.policy().look_up(Some(user), server).is_err() {
            continue;
        }
        let question = api.elsewhere.space(from, server, room_id, suggested_only);
        match api.clock.timeout(MAX_ANSWERING, question).await {
            Ok(Ok(answer)) if answer.room.room_id == room_id => return Some(answer),
            Ok(Ok(_)) => debug!(%room_id, destination = %server, "another room was described"),
            Ok(Err(error)) => debug!(%room_id, destination = %server, %error, "a room was not described"),
            Err(_) => debug!(%room_id, destination = %server, "a room was not described in time"),
        }
    }
    None
}

/// Walks that have a next page. Those go that are too old, and the oldest when they are too many or too large: of
/// their user, and of all.
#[derive(Default)]
pub(crate) struct Walks(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    walks: HashMap<u64, KeptWalk>,
    order: VecDeque<u64>,
    bytes: usize,
    next: u64,
}

struct KeptWalk {
    walk: Walk,
    bytes: usize,
    since: Instant,
}

impl Kept {
    fn forget(&mut self, number: u64) {
        if let Some(gone) = self.walks.remove(&number) {
            self.bytes -= gone.bytes;
        }
        self.order.retain(|kept| *kept != number);
    }

    /// The oldest walk of a user, and how many there are.
    fn oldest_of(&self, user: &UserId) -> (Option<u64>, usize) {
        let is_theirs =
            |number: &&u64| self.walks.get(*number).is_some_and(|kept| kept.walk.start.user == user);
        let mut theirs = self.order.iter().filter(is_theirs);
        let oldest = theirs.next().copied();
        (oldest, usize::from(oldest.is_some()) + theirs.count())
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front().copied()
            && self.walks.get(&oldest).is_none_or(|kept| now.since(kept.since) > MAX_KEPT_FOR)
        {
            self.forget(oldest);
        }
    }
}

impl Walks {
    /// Keeps a walk; the token of its next page.
    fn keep(&self, walk: Walk, now: Instant) -> String {
        let mut kept = self.0.lock();
        let number = kept.next;
        kept.next += 1;
        let sent = walk.found.saturating_sub(usize::from(walk.left_over.is_some())).max(walk.skip);
        kept.drop_old(now);
        while let (Some(oldest), count) = kept.oldest_of(&walk.start.user)
            && count >= MAX_KEPT_OF_USER
        {
            kept.forget(oldest);
        }
        let (bytes, wishes) = (walk.bytes(), walk.start.wishes());
        kept.bytes += bytes;
        kept.walks.insert(number, KeptWalk { walk, bytes, since: now });
        kept.order.push_back(number);
        while kept.bytes > MAX_KEPT_BYTES
            && let Some(oldest) = kept.order.front().copied()
        {
            kept.forget(oldest);
        }
        format!("h3_{sent}_{number}_{wishes}")
    }

    /// The walk whose next page a token names. A lost one is made again, without what the client has had.
    fn find(&self, start: &Start, via: Vec<OwnedServerName>, token: &str) -> Result<Walk, ApiError> {
        let read = || {
            let (sent, rest) = token.strip_prefix("h3_")?.split_once('_')?;
            let (number, wishes) = rest.split_once('_')?;
            Some((sent.parse().ok()?, number.parse().ok()?, wishes))
        };
        let (sent, number, wishes): (usize, u64, &str) =
            read().ok_or_else(|| ApiError::invalid_param("This is not a token of this server"))?;
        if wishes != start.wishes() {
            let changed = "`suggested_only` and `max_depth` stay the same from page to page";
            return Err(ApiError::invalid_param(changed));
        }
        let kept = self.0.lock();
        match kept.walks.get(&number) {
            Some(KeptWalk { walk, .. }) if walk.start == *start => Ok(walk.clone()),
            _ => Ok(Walk::new(start.clone(), via, sent)),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use base::Clock;
    use serde_json::json;

    use super::*;

    fn walk(user: &str, topic: usize) -> Walk {
        let room_id = RoomId::parse("!a:b.test").unwrap();
        let start = Start {
            user: UserId::parse(user).unwrap(),
            room_id: room_id.clone(),
            max_depth: None,
            suggested_only: false,
        };
        let mut walk = Walk::new(start, Vec::new(), 0);
        let told = json!({ "room_id": room_id, "topic": "t".repeat(topic) });
        let room = serde_json::from_value(told).unwrap();
        walk.answers.insert(room_id, Some(Answered { room, told: Tellings::new() }));
        walk
    }

    #[test]
    fn of_each_user_few_walks_are_kept_and_all_are_counted_by_what_they_hold() {
        let (walks, now) = (Walks::default(), Clock::system().instant());
        for _ in 0..50 {
            walks.keep(walk("@a:hs1", 4_000), now);
        }
        walks.keep(walk("@b:hs1", 0), now);
        let kept = walks.0.lock();
        assert_eq!((kept.walks.len(), kept.order.len()), (MAX_KEPT_OF_USER + 1, MAX_KEPT_OF_USER + 1));
        assert!(kept.bytes > MAX_KEPT_OF_USER * 4_000);
        assert_eq!(kept.bytes, kept.walks.values().map(|kept| kept.walk.bytes()).sum::<usize>());
    }

    #[test]
    fn a_walk_that_nobody_goes_on_with_is_dropped_in_time() {
        let walks = Walks::default();
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        walks.keep(walk("@a:hs1", 10), clock.instant());
        hand.advance(MAX_KEPT_FOR + Duration::from_secs(1));
        walks.keep(walk("@b:hs1", 10), clock.instant());
        assert_eq!(walks.0.lock().walks.len(), 1);
    }
}
