//! Finding what was said.
//!
//! [`Search::find`] gives a page of what a user may see. Newest first, it reads no further than the page and the count need; by
//! rank, it puts the newest thousand matches in order, then the thousand before them. The count ends there too: who has a thousand
//! matches refines what he looks for.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use room::{
    ids::{EventSerial, RoomSerial},
    log::{Entry, EventEntry},
    read::{
        event::StoredEvent,
        lookup::StateQuery,
        membership::UserRoom,
        view::{Look, Viewer},
    },
    tables::{HEADS, Membership},
};
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use store::Position;

use crate::{
    Error, Place, Search,
    asked::{Asked, Order},
    candidates::{Candidate, Candidates},
    sought::Sought,
    tables::NAME,
    token::Key,
    truth::Match,
};

/// Matches that are counted, and put in order by rank.
const COUNTED: usize = 1_000;

/// Candidates that are looked at for one page, and bytes of their contents; and so many in one round. What is behind them is
/// found by going on.
const MOST_LOOKED_AT: usize = 5_000;
const MOST_BYTES: usize = 8 << 20;
const AT_ONCE: usize = 250;

/// Events of one round that a task reads.
const IN_PART: usize = 64;

/// Results of a page.
const MOST_RESULTS: usize = 100;

/// Entries of the log that are looked through for what is not in the index yet.
const MOST_FRESH: usize = 2_000;

/// Rooms before a room that are searched with it.
const MOST_PREDECESSORS: usize = 32;

/// A result.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The event, as it is shown.
    pub look: Look,
    /// How well it fits.
    pub score: f64,
}

/// A page of results.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The results, in their order.
    pub hits: Vec<Hit>,
    /// How many there are on all pages, up to 1,000.
    pub count: u64,
    /// Where to go on, if there may be more.
    pub next: Option<Place>,
    /// How what is looked for is written in the results.
    pub highlights: Vec<String>,
}

impl Search {
    /// A page of what a user may find: in rooms that he is in, or was in and has not forgotten, as far as he may see their history.
    ///
    /// # Errors
    /// [`Error::Busy`]; [`Error::Room`]; [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search>
    pub async fn find(&self, asked: &Asked<'_>) -> Result<Found, Error> {
        let count = asked.from.and_then(|from| from.count);
        if asked.query.is_empty() || asked.fields.is_empty() || asked.filter.is_off() {
            return Ok(Found { count: count.unwrap_or(0), ..Found::default() });
        }
        let _turn = self.turn(asked.viewer.user).await?;
        let rooms = self.rooms_of(asked).await?;
        let serials: Vec<RoomSerial> = rooms.keys().copied().collect();
        // Before the index: what comes into that meanwhile is in both.
        let fresh = self.fresh(&rooms).await?;
        let sought = Arc::new(Sought { query: asked.query.clone(), fields: asked.fields.to_vec() });
        let mut from = asked.from.cloned().unwrap_or_default();
        // What is said between two pages is on none of them.
        let now = (room::Order::live(self.store().head()), EventSerial(u64::MAX));
        from.before.get_or_insert(now);
        let mut candidates = Candidates::of(self, &serials, asked.probes(), from.before).await?;
        candidates.add(fresh);

        let limit = asked.limit.clamp(1, MOST_RESULTS);
        let wanted = if asked.order == Order::Recent && count.is_some() { limit } else { COUNTED };
        let (matches, goes_on) = self.matches(asked, &sought, &mut candidates, wanted).await?;
        let count = count.unwrap_or_else(|| u64::try_from(matches.len()).unwrap_or(u64::MAX));
        let page = match asked.order {
            Order::Recent => by_time(matches, limit, goes_on, &from),
            Order::Rank => by_rank(matches, limit, goes_on, &from),
        };
        let next = page.next.map(|next| Place { count: Some(count), ..next });
        let mut highlights = Vec::new();
        for it in &page.matches {
            // Long texts are not to hold up others.
            tokio::task::yield_now().await;
            for way in asked.query.surfaces(&it.text) {
                if !highlights.contains(&way) {
                    highlights.push(way);
                }
            }
        }
        Ok(Found { hits: self.dress(asked.viewer, page.matches).await?, count, next, highlights })
    }

    /// As many matches as are wanted, newest first, and from where there are more, as far as that is known.
    async fn matches(
        &self,
        asked: &Asked<'_>,
        sought: &Arc<Sought>,
        candidates: &mut Candidates<'_>,
        wanted: usize,
    ) -> Result<(Vec<Match>, Option<Key>), Error> {
        let (mut matches, mut looked_at, mut bytes): (Vec<Match>, _, _) = (Vec::new(), 0, 0);
        let mut some = self.load(sought, candidates).await?;
        loop {
            let Some(((last, _), _)) = some.last().cloned() else {
                let cut = candidates.horizon().filter(|_| candidates.is_cut());
                return Ok((matches, cut));
            };
            looked_at += some.len();
            let goes_on = matches.len() + some.len() < wanted && looked_at < MOST_LOOKED_AT;
            // Where these cannot be enough, the next ones are read while they are looked through.
            let (found, next) = match goes_on {
                true => {
                    let next = self.load(sought, candidates);
                    let (next, found) = tokio::join!(next, self.true_of(asked, some, &mut bytes));
                    (found?, Some(next?))
                }
                false => (self.true_of(asked, some, &mut bytes).await?, None),
            };
            matches.extend(found);
            if matches.len() >= wanted {
                matches.truncate(wanted);
                let last = matches.last().map(|it| it.key);
                return Ok((matches, last));
            }
            if looked_at >= MOST_LOOKED_AT || bytes >= MOST_BYTES {
                return Ok((matches, Some(last)));
            }
            some = match next {
                Some(next) => next,
                None => self.load(sought, candidates).await?,
            };
        }
    }

    /// The next candidates with their events, as far as these are there and may say what is looked for.
    async fn load(
        &self,
        sought: &Arc<Sought>,
        candidates: &mut Candidates<'_>,
    ) -> Result<Vec<(Candidate, Option<Arc<StoredEvent>>)>, Error> {
        let some = candidates.next(AT_ONCE).await?;
        let wanted: Vec<_> = some.iter().map(|((_, event), room)| (*room, *event)).collect();
        // Reading them is most of a search's work: all cores do it, and those who compare go on meanwhile.
        let parts: Vec<_> = wanted
            .chunks(IN_PART)
            .map(|part| {
                let (rooms, part, sought) = (self.rooms().clone(), part.to_vec(), sought.clone());
                let read = async move { rooms.find_events_where(&part, |json| sought.may_be_in(json)).await };
                self.tasks().spawn("search events", read)
            })
            .collect();
        let mut events = Vec::with_capacity(wanted.len());
        for part in parts {
            let part = part.await.map_err(|_failed| Error::Room(room::Error::Interrupted))?;
            events.extend(part?);
        }
        Ok(some.into_iter().zip(events).collect())
    }

    /// The rooms in which is searched.
    async fn rooms_of(&self, asked: &Asked<'_>) -> Result<BTreeMap<RoomSerial, OwnedRoomId>, Error> {
        let memberships = self.rooms().memberships(asked.viewer.user).await?;
        let was_in = |row: &&UserRoom| {
            row.membership == Membership::Join || (!row.forgotten && row.departure.is_some())
        };
        let all = memberships.rooms.iter().filter(was_in);
        let mut rooms: BTreeMap<RoomSerial, OwnedRoomId> =
            all.map(|row| (row.room, row.room_id.clone())).collect();
        if let Some(named) = asked.rooms {
            let own: BTreeMap<&RoomId, RoomSerial> =
                rooms.iter().map(|(serial, id)| (&**id, *serial)).collect();
            let mut wanted: HashSet<RoomSerial> = HashSet::new();
            let mut round: Vec<RoomSerial> = named.iter().filter_map(|id| own.get(&**id)).copied().collect();
            for _ in 0..MOST_PREDECESSORS {
                round.retain(|room| wanted.insert(*room));
                if round.is_empty() {
                    break;
                }
                let before = self.predecessors(&round).await?;
                round = before.iter().filter_map(|id| own.get(&**id)).copied().collect();
            }
            rooms.retain(|room, _| wanted.contains(room));
            rooms.retain(|_, id| asked.wants_room(id));
            // Those before a room are searched with it, though they are not named.
            return Ok(rooms);
        }
        rooms.retain(|_, id| asked.filter.passes_room(id) && asked.wants_room(id));
        Ok(rooms)
    }

    /// The rooms in whose place these are, as far as they say so.
    async fn predecessors(&self, rooms: &[RoomSerial]) -> Result<Vec<OwnedRoomId>, Error> {
        let heads = self.store().get_many(&HEADS, rooms).await?;
        let queries: Vec<_> = rooms
            .iter()
            .zip(&heads)
            .filter_map(|(room, head)| Some((*room, head.as_ref()?.current)))
            .map(|(room, root)| StateQuery { room, root, kind: "m.room.create", key: "" })
            .collect();
        let creates = self.rooms().state_events(&queries).await?;
        let before = creates.into_iter().flatten().filter_map(|event| {
            let content = event.pdu().content_as::<Create>().ok()?;
            Some(content.predecessor?.room_id)
        });
        Ok(before.collect())
    }

    /// What was said in these rooms since the index was written.
    async fn fresh(&self, rooms: &BTreeMap<RoomSerial, OwnedRoomId>) -> Result<Vec<Candidate>, Error> {
        let cursor = self.store().cursor(NAME).await?;
        let oldest = self.store().head().0.saturating_sub(u64::try_from(MOST_FRESH).unwrap_or(0));
        let changes = match self.store().changes(Position(oldest).max(cursor), MOST_FRESH).await {
            // Then it is not fresh any more: the index is being built.
            Err(store::Error::Trimmed { .. }) => Vec::new(),
            changes => changes?,
        };
        let mut fresh = Vec::new();
        for change in changes {
            let Ok(Some(Entry::Event(EventEntry { room, event, .. }))) =
                Entry::decode(change.kind, &change.payload)
            else {
                continue;
            };
            if rooms.contains_key(&room) {
                fresh.push(((room::Order::live(change.position), event), room));
            }
        }
        Ok(fresh)
    }

    /// The events as they are shown.
    async fn dress(&self, viewer: &Viewer<'_>, matches: Vec<Match>) -> Result<Vec<Hit>, Error> {
        let events = matches.iter().map(|it| it.event.clone()).collect();
        let memberships: Vec<_> =
            matches.iter().map(|it| Some(it.membership.unwrap_or(Membership::Leave))).collect();
        let mut looks = self.rooms().looks(viewer, events, &memberships).await?;
        self.rooms().aggregate(viewer, &mut looks).await?;
        Ok(matches.into_iter().zip(looks).map(|(it, look)| Hit { look, score: it.score }).collect())
    }
}

/// What is looked at of a create event.
#[derive(Deserialize)]
struct Create {
    predecessor: Option<Predecessor>,
}

#[derive(Deserialize)]
struct Predecessor {
    room_id: OwnedRoomId,
}

/// A page of matches, and where to go on.
struct Page {
    matches: Vec<Match>,
    next: Option<Place>,
}

/// The newest ones. Whoever has a full page may go on, as the specification's tests have it.
fn by_time(mut matches: Vec<Match>, limit: usize, goes_on: Option<Key>, from: &Place) -> Page {
    let is_full = matches.len() >= limit;
    matches.truncate(limit);
    let before = match matches.last() {
        Some(last) if is_full => Some(last.key),
        _ => goes_on,
    };
    let next = before.map(|before| Place { before: Some(before), ..from.clone() });
    Page { matches, next }
}

/// The best ones of those that were not given yet.
fn by_rank(mut matches: Vec<Match>, limit: usize, goes_on: Option<Key>, from: &Place) -> Page {
    let rank = |it: &Match| (it.score.to_bits(), it.key);
    matches.retain(|it| from.mark.is_none_or(|mark| rank(it) < mark));
    matches.sort_unstable_by_key(|it| std::cmp::Reverse(rank(it)));
    let is_full = matches.len() >= limit;
    let is_last = matches.len() <= limit;
    matches.truncate(limit);
    let next = match (matches.last(), goes_on) {
        // All of these were given: those before them are put in order next.
        (_, Some(before)) if is_last => Some(Place { before: Some(before), mark: None, ..from.clone() }),
        (Some(last), _) if is_full => Some(Place { mark: Some(rank(last)), ..from.clone() }),
        _ => None,
    };
    Page { matches, next }
}
