//! The rooms of a space, walked depth first and page by page.
//!
//! Rooms that we take no part in are described by the servers that the space names. Those are asked side by side,
//! for a few seconds and with a bounded number of questions for one page; a page that ends for want of time says
//! where to go on. What a walk has learnt and not yet shown is kept for its next pages in memory, a few walks of each
//! user and for some minutes; where it is lost, by a restart or because others walk, the same walk is made again from
//! the beginning.
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
use room::read::space::{Looker, RoomSummary, SpaceChild};
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tracing::debug;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// Rooms of a page when the client does not say, and at most.
const DEFAULT_ROOMS: usize = 50;
const MAX_ROOMS: usize = 100;
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
    let mut answer = json!({ "rooms": page.rooms });
    if more {
        answer["next_batch"] = Value::String(api.walks.keep(walk, api.clock.instant()));
    }
    Ok(json_response(StatusCode::OK, &answer))
}

/// What makes two requests pages of the same walk.
#[derive(Clone, PartialEq, Eq)]
struct Start {
    user: OwnedUserId,
    room_id: OwnedRoomId,
    max_depth: Option<usize>,
    suggested_only: bool,
}

/// A room to be looked at.
#[derive(Clone)]
struct Ahead {
    room_id: OwnedRoomId,
    via: Vec<OwnedServerName>,
    depth: usize,
}

/// A page in the making.
struct Page {
    rooms: Vec<RoomSummary>,
    limit: usize,
    /// How many rooms others may still be asked for.
    questions: usize,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self { rooms: Vec::new(), limit, questions: MAX_QUESTIONS }
    }
}

/// A user who walks through a space.
#[derive(Clone)]
struct Walk {
    start: Start,
    /// The next one is last.
    ahead: Vec<Ahead>,
    walked: HashSet<OwnedRoomId>,
    /// Rooms of which another server told together with their space.
    told: HashMap<OwnedRoomId, RoomSummary>,
    /// What others answered for rooms of their own; nothing when none did.
    answers: HashMap<OwnedRoomId, Option<RoomSummary>>,
    /// Rooms that we may not see, by what another server said.
    closed: HashSet<OwnedRoomId>,
    /// How many rooms were found, and how many of them the client has had before this walk was lost.
    found: usize,
    skip: usize,
    /// The room that did not fit on the last page.
    left_over: Option<RoomSummary>,
}

/// What looking at a room gave.
enum Look {
    /// It, and its children.
    Room(Box<RoomSummary>, Vec<SpaceChild>),
    /// It is not for these eyes, or nobody knows it.
    Nothing,
    /// Others would have to be asked, and this page may not.
    Later,
}

impl Walk {
    fn new(start: Start, via: Vec<OwnedServerName>, skip: usize) -> Self {
        let first = Ahead { room_id: start.room_id.clone(), via, depth: 0 };
        Self {
            start,
            ahead: vec![first],
            walked: HashSet::new(),
            told: HashMap::new(),
            answers: HashMap::new(),
            closed: HashSet::new(),
            found: 0,
            skip,
            left_over: None,
        }
    }

    /// Whether the room where the walk begins is not for these eyes: nothing came of it, and nothing will.
    fn is_root_closed(&self, more: bool) -> bool {
        !more || self.walked.contains(&self.start.room_id)
    }

    /// Adds rooms to a page. Whether there are more; stopping it at any moment loses nothing but time.
    async fn fill(&mut self, api: &ClientApi, page: &mut Page) -> Result<bool, ApiError> {
        page.rooms.extend(self.left_over.take());
        while let Some(next) = self.ahead.last().cloned() {
            if self.walked.contains(&next.room_id) {
                self.ahead.pop();
                continue;
            }
            if self.walked.len() >= MAX_WALK {
                return Ok(false);
            }
            let look = self.look(api, page, &next).await?;
            if matches!(look, Look::Later) {
                return Ok(true);
            }
            self.ahead.pop();
            // It is looked at once, so what was told of it is needed no more.
            self.answers.remove(&next.room_id);
            self.told.remove(&next.room_id);
            self.walked.insert(next.room_id);
            let Look::Room(mut shown, children) = look else { continue };
            if self.start.max_depth.is_none_or(|max_depth| next.depth < max_depth) {
                // The first child is to be taken first. More than a whole walk is never ahead.
                let children = children.iter().filter(|child| !self.walked.contains(&child.room_id));
                let children: Vec<&SpaceChild> =
                    children.take(MAX_WALK.saturating_sub(self.ahead.len())).collect();
                let children = children.into_iter().rev();
                self.ahead.extend(children.map(|child| Ahead {
                    room_id: child.room_id.clone(),
                    via: child.via.iter().take(MAX_SERVERS).cloned().collect(),
                    depth: next.depth + 1,
                }));
            }
            self.found += 1;
            if self.found <= self.skip {
                continue;
            }
            shown.children_state = Some(children.into_iter().map(|child| child.event).collect());
            if page.rooms.len() == page.limit {
                self.left_over = Some(*shown);
                return Ok(true);
            }
            page.rooms.push(*shown);
        }
        Ok(false)
    }

    /// What a room shows to the user, and its children.
    async fn look(&mut self, api: &ClientApi, page: &mut Page, next: &Ahead) -> Result<Look, ApiError> {
        let (rooms, room_id) = (&api.rooms, &next.room_id);
        let user = self.start.user.clone();
        if rooms.takes_part_in(room_id).await? {
            let Some((room, shown)) = rooms.room_summary(room_id, Looker::User(&user)).await? else {
                return Ok(Look::Nothing);
            };
            let children = match shown.is_space() {
                true => rooms.space_children(&room, self.start.suggested_only).await?,
                false => Vec::new(),
            };
            return Ok(Look::Room(Box::new(shown), children));
        }
        if self.must_be_asked(room_id) {
            if page.questions == 0 {
                return Ok(Look::Later);
            }
            self.ask(api, page).await?;
        }
        let answer = self.answers.get(room_id).cloned().flatten();
        let Some(mut shown) = answer.or_else(|| self.told.get(room_id).cloned()) else {
            return Ok(Look::Nothing);
        };
        if self.closed.contains(room_id) || !rooms.may_see_summary(&shown, Looker::User(&user)).await? {
            return Ok(Look::Nothing);
        }
        let events = shown.children_state.take().unwrap_or_default();
        let read = |event: Box<RawValue>| SpaceChild::read(event, self.start.suggested_only);
        let mut children: Vec<SpaceChild> = events.into_iter().filter_map(read).collect();
        SpaceChild::sort(&mut children);
        Ok(Look::Room(Box::new(shown), children))
    }

    /// Whether a room that is not ours has to be asked for: a space always, for its children.
    fn must_be_asked(&self, room_id: &RoomId) -> bool {
        let is_told = self.told.get(room_id).is_some_and(|told| !told.is_space());
        !is_told && !self.answers.contains_key(room_id) && !self.closed.contains(room_id)
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
                && self.must_be_asked(&ahead.room_id);
            if is_new && !api.rooms.takes_part_in(&ahead.room_id).await? {
                wanted.push(ahead.clone());
            }
        }
        page.questions -= wanted.len();
        let (user, suggested_only) = (&*self.start.user, self.start.suggested_only);
        let answers = join_all(wanted.iter().map(|wanted| describe(api, user, suggested_only, wanted))).await;
        for (place, (wanted, answer)) in wanted.into_iter().zip(answers).enumerate() {
            let mut space = MAX_TOLD_BYTES.saturating_sub(self.bytes());
            if place > 0 && answer.as_ref().is_some_and(|answer| answer.room.bytes() > space) {
                // There is no room for what was asked for ahead of its turn.
                continue;
            }
            let (room, children, closed) = match answer {
                Some(answer) => (Some(answer.room), answer.children, answer.inaccessible_children),
                None => (None, Vec::new(), Vec::new()),
            };
            self.answers.insert(wanted.room_id, room);
            // What others tell beside the answer is bounded as the walk is.
            let room_for = |held: usize| MAX_WALK.saturating_sub(held);
            let children = children.into_iter().take(room_for(self.told.len()));
            let children =
                children.filter(|child| !self.walked.contains(&child.room_id)).map_while(|mut child| {
                    // Whom a child names is asked of the child itself.
                    child.children_state = None;
                    space = space.checked_sub(child.bytes() + ENTRY_BYTES)?;
                    Some((child.room_id.clone(), child))
                });
            self.told.extend(children);
            self.closed.extend(closed.into_iter().take(room_for(self.closed.len())));
        }
        Ok(())
    }

    /// About what the walk holds in memory, in bytes.
    fn bytes(&self) -> usize {
        let id = |room_id: &OwnedRoomId| room_id.as_str().len() + ENTRY_BYTES;
        let via = |ahead: &Ahead| ahead.via.iter().map(|name| name.as_str().len() + 16).sum::<usize>();
        let ahead: usize = self.ahead.iter().map(|ahead| id(&ahead.room_id) + via(ahead)).sum();
        let ids: usize = self.walked.iter().chain(&self.closed).map(id).sum();
        let told = self.told.iter().map(|(room_id, room)| id(room_id) + room.bytes());
        let answers = self.answers.iter();
        let answers =
            answers.map(|(room_id, room)| id(room_id) + room.as_ref().map_or(0, RoomSummary::bytes));
        let left_over = self.left_over.as_ref().map_or(0, RoomSummary::bytes);
        ahead + ids + told.sum::<usize>() + answers.sum::<usize>() + left_over
    }
}

/// What other servers tell of a room, and of its children.
async fn describe(
    api: &ClientApi,
    user: &UserId,
    suggested_only: bool,
    wanted: &Ahead,
) -> Option<room::read::space::SpaceAnswer> {
    let (from, room_id) = (user.server_name(), &wanted.room_id);
    for server in wanted.via.iter().filter(|server| !api.authorities.is_ours(server)).take(MAX_SERVERS) {
        let question = api.elsewhere.space(from, server, room_id, suggested_only);
        match api.clock.timeout(MAX_ANSWERING, question).await {
            Ok(Ok(answer)) if answer.room.room_id == *room_id => return Some(answer),
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
        let bytes = walk.bytes();
        kept.bytes += bytes;
        kept.walks.insert(number, KeptWalk { walk, bytes, since: now });
        kept.order.push_back(number);
        while kept.bytes > MAX_KEPT_BYTES
            && let Some(oldest) = kept.order.front().copied()
        {
            kept.forget(oldest);
        }
        format!("h2_{sent}_{number}")
    }

    /// The walk whose next page a token names. A lost one is made again, without what the client has had.
    fn find(&self, start: &Start, via: Vec<OwnedServerName>, token: &str) -> Result<Walk, ApiError> {
        let parts = token.strip_prefix("h2_").and_then(|rest| rest.split_once('_'));
        let numbers = parts.and_then(|(sent, number)| Some((sent.parse().ok()?, number.parse().ok()?)));
        let (sent, number): (usize, u64) =
            numbers.ok_or_else(|| ApiError::invalid_param("This is not a token of this server"))?;
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
        walk.told.insert(room_id, serde_json::from_value(told).unwrap());
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
