//! History visibility: which events a reader may see.
//!
//! The rule is a pure function of what was set and who the reader was at the event
//! ([`HistoryVisibility::allows`]); the rest of this file finds these facts in snapshots, for many
//! events at once. Visibility at a snapshot never changes and is cached; how far back somebody reads
//! ([`crate::Horizon`]) does, and is asked each time.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-7>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use base::{Cache, Caches};
use ruma::{ServerName, UserId};
use serde::Deserialize;

use crate::{
    Error, EventSerial, Order, RoomSerial, Rooms, Root,
    read::{event::StoredEvent, lookup::StateQuery, membership::UserRoom, view::Viewer},
    tables::{Membership, Verdict},
};

const KIND: &str = "m.room.history_visibility";

/// Who may see events sent while this was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistoryVisibility {
    /// Anyone.
    WorldReadable,
    /// Members, also those who joined later.
    #[default]
    Shared,
    /// Those who were invited or joined when it was sent.
    Invited,
    /// Those who were joined when it was sent.
    Joined,
}

impl HistoryVisibility {
    /// Reads the content of an `m.room.history_visibility` event; what is not understood is [`Self::Shared`].
    pub fn of(event: &StoredEvent) -> Self {
        #[derive(Deserialize)]
        struct Content<'a> {
            #[serde(borrow)]
            history_visibility: std::borrow::Cow<'a, str>,
        }
        match event.pdu().content_as::<Content<'_>>() {
            Ok(content) => match content.history_visibility.as_ref() {
                "world_readable" => Self::WorldReadable,
                "invited" => Self::Invited,
                "joined" => Self::Joined,
                _ => Self::Shared,
            },
            Err(_) => Self::Shared,
        }
    }

    /// Whether somebody who was `membership` at the event, and who did or did not join after it, may see it.
    ///
    /// The steps are those of the specification.
    pub fn allows(self, membership: Option<Membership>, joined_later: bool) -> bool {
        // 1.
        if self == Self::WorldReadable {
            return true;
        }
        // 2.
        if membership == Some(Membership::Join) {
            return true;
        }
        // 3.
        if self == Self::Shared && joined_later {
            return true;
        }
        // 4. and 5.
        self == Self::Invited && membership == Some(Membership::Invite)
    }
}

/// What a reader has to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Whether the reader may see it.
    pub visible: bool,
    /// What the reader was in the room at the event, changes by the event included; `None` is: nothing yet.
    pub membership: Option<Membership>,
}

/// Visibility by snapshot.
#[derive(Debug)]
pub(crate) struct VisibilityCache(Cache<(RoomSerial, Root), HistoryVisibility>);

impl VisibilityCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        Self(Cache::new(caches, "room_visibility", bytes, |_, _| 0))
    }
}

/// Whether the user came (back) into the room after an event of this place at which he was not in it.
fn joined_after(row: Option<&UserRoom>, order: Option<Order>) -> bool {
    let Some(row) = row else { return false };
    if row.membership == Membership::Join {
        return true;
    }
    // He was in until he got out; what came later he may not see, whatever was done to him since.
    row.seen_until().zip(order).is_some_and(|(until, order)| order < Order::live(until.position))
}

/// The states before events: the room, and the snapshot. Many events share one.
#[derive(Debug)]
struct StatesBefore {
    /// Each once, in order.
    all: Vec<(RoomSerial, Root)>,
    /// For each event the index of its state.
    of_events: Vec<usize>,
}

impl StatesBefore {
    fn of(events: &[Arc<StoredEvent>]) -> Self {
        Self::find(events.iter().map(|event| (event.room(), event.meta().before)))
    }

    fn find(states: impl Iterator<Item = (RoomSerial, Root)> + Clone) -> Self {
        let mut all: Vec<_> = states.clone().collect();
        // Mostly those that are alike follow each other: fewer are left to sort.
        all.dedup();
        all.sort_unstable();
        all.dedup();
        let mut last = 0;
        let of_events = states.map(|state| {
            if all.get(last) != Some(&state) {
                last = all.partition_point(|other| *other < state);
            }
            last
        });
        Self { of_events: of_events.collect(), all }
    }
}

impl Rooms {
    /// What the user has to do with these events, in their order. The events may be of many rooms. What is behind his
    /// horizon he does not see, whatever he was in the room then.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn sights(&self, user: &UserId, events: &[Arc<StoredEvent>]) -> Result<Vec<Sight>, Error> {
        let states = StatesBefore::of(events);
        let visibility = self.visibility_before(&states).await?;
        let members = self.memberships_before(user, &states).await?;
        // Whoever was in sees all, whether he came back later or not: mostly the user's rooms need not be looked through.
        let is_seen = |(state, event): (&usize, &Arc<StoredEvent>)| {
            event.meta().verdict != Verdict::Outlier && visibility[*state].allows(members[*state], false)
        };
        let rooms = match states.of_events.iter().zip(events).all(is_seen) {
            true => None,
            false => Some(self.memberships(user).await?),
        };
        let row_of = |room: RoomSerial| rooms.as_ref().and_then(|rooms| rooms.find(room));
        let rows: Vec<_> = states.all.iter().map(|(room, _)| row_of(*room)).collect();

        let sights = events.iter().zip(&states.of_events).map(|(event, state)| {
            let before = members[*state];
            let own = event.is_member_event_of(user);
            let after = if own { event.membership() } else { before };
            if event.meta().verdict == Verdict::Outlier {
                // Nothing is known of the room at that place, only what the event says of the user himself.
                return Sight { visible: own, membership: after };
            }
            let later = joined_after(rows[*state], event.order());
            let set = visibility[*state];
            let visible = set.allows(before, later)
                || (own && set.allows(after, later))
                || (is_visibility_event(event) && HistoryVisibility::of(event).allows(before, later));
            Sight { visible: visible && event.is_shown(), membership: after }
        });
        let mut sights: Vec<Sight> = sights.collect();
        if let Some(horizon) = self.horizon(user) {
            for (sight, is_behind) in sights.iter_mut().zip(self.are_behind(&horizon, events).await?) {
                sight.visible &= !is_behind;
            }
        }
        Ok(sights)
    }

    /// Keeps the events that the user may see.
    ///
    /// # Errors
    /// As [`Rooms::sights`].
    pub async fn visible_to(
        &self,
        user: &UserId,
        events: Vec<Arc<StoredEvent>>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let sights = self.sights(user, &events).await?;
        Ok(events
            .into_iter()
            .zip(sights)
            .filter(|(_, sight)| sight.visible)
            .map(|(event, _)| event)
            .collect())
    }

    /// Of the state events that `events` took the place of, those that the viewer may see.
    pub(crate) async fn replaced_seen(
        &self,
        viewer: &Viewer<'_>,
        events: &[Arc<StoredEvent>],
        loaded: &HashMap<EventSerial, Arc<StoredEvent>>,
    ) -> Result<HashSet<EventSerial>, Error> {
        let replaced: Vec<_> =
            events.iter().filter_map(|event| loaded.get(&event.meta().replaces?)).cloned().collect();
        if replaced.is_empty() {
            return Ok(HashSet::new());
        }
        let seen = self.visible_to(viewer.user, replaced).await?;
        Ok(seen.iter().map(|event| event.serial()).collect())
    }

    /// For each of these events, whether the server may see its content.
    ///
    /// The server is taken to be in the room now. So what is shared may be seen, and what is only for
    /// those invited or joined then, if one of its users was.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn visible_to_server(
        &self,
        server: &ServerName,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<bool>, Error> {
        let states = StatesBefore::of(events);
        let visibility = self.visibility_before(&states).await?;
        let mut visible = Vec::with_capacity(events.len());
        let mut narrow = HashSet::new();
        for (event, state) in events.iter().zip(&states.of_events) {
            let set = visibility[*state];
            let open = matches!(set, HistoryVisibility::WorldReadable | HistoryVisibility::Shared);
            let own = event.sender().server_name() == server;
            if !open && !own {
                narrow.insert(states.all[*state]);
            }
            visible.push(open || own);
        }
        if narrow.is_empty() {
            return Ok(visible);
        }

        let mut there = HashMap::new();
        let mut rooms: Vec<RoomSerial> = narrow.iter().map(|(room, _)| *room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        for room in rooms {
            let users = self.users_of(server, room).await?;
            for root in narrow.iter().filter(|(of, _)| *of == room).map(|(_, root)| *root) {
                let queries: Vec<_> = users
                    .iter()
                    .map(|user| StateQuery { room, root, kind: "m.room.member", key: user })
                    .collect();
                let members = self.state_events(&queries).await?;
                let best = members.into_iter().flatten().filter_map(|event| event.membership());
                let best: HashSet<Membership> = best.collect();
                there.insert((room, root), best);
            }
        }
        for (state, visible) in states.of_events.iter().zip(&mut visible) {
            if let (false, Some(memberships)) = (*visible, there.get(&states.all[*state])) {
                let set = visibility[*state];
                *visible = memberships.iter().any(|membership| set.allows(Some(*membership), false));
            }
        }
        Ok(visible)
    }

    /// What visibility was set at each of these states.
    async fn visibility_before(&self, states: &StatesBefore) -> Result<Vec<HistoryVisibility>, Error> {
        let cached: Vec<_> = states.all.iter().map(|at| self.reader().visibility.0.get(at)).collect();
        let missing: Vec<usize> = (0..cached.len()).filter(|index| cached[*index].is_none()).collect();
        let mut known: Vec<_> = cached.into_iter().map(Option::unwrap_or_default).collect();
        if missing.is_empty() {
            return Ok(known);
        }
        let queries: Vec<_> = missing
            .iter()
            .map(|index| states.all[*index])
            .map(|(room, root)| StateQuery { room, root, kind: KIND, key: "" })
            .collect();
        for (index, event) in missing.iter().zip(self.state_events(&queries).await?) {
            let set = event.map(|event| HistoryVisibility::of(&event)).unwrap_or_default();
            self.reader().visibility.0.insert(states.all[*index], set);
            known[*index] = set;
        }
        Ok(known)
    }

    /// The visibility that is set in a snapshot.
    pub(crate) async fn visibility_at(
        &self,
        room: RoomSerial,
        root: Root,
    ) -> Result<HistoryVisibility, Error> {
        let query = StateQuery { room, root, kind: KIND, key: "" };
        let event = self.state_events(&[query]).await?.into_iter().flatten().next();
        Ok(event.map(|event| HistoryVisibility::of(&event)).unwrap_or_default())
    }

    /// Whether the user may see the room as it was in a snapshot at a place of the timeline: whether he
    /// might see an event sent there.
    pub(crate) async fn may_see_state(
        &self,
        user: &UserId,
        room: RoomSerial,
        root: Root,
        place: Order,
    ) -> Result<bool, Error> {
        let queries = [
            StateQuery { room, root, kind: KIND, key: "" },
            StateQuery { room, root, kind: "m.room.member", key: user.as_str() },
        ];
        let mut found = self.state_events(&queries).await?.into_iter();
        let set = found.next().flatten().map(|event| HistoryVisibility::of(&event)).unwrap_or_default();
        let membership = found.next().flatten().and_then(|event| event.membership());
        let rooms = self.memberships(user).await?;
        Ok(set.allows(membership, joined_after(rooms.find(room), Some(place))))
    }

    /// What the user was at each of these states.
    async fn memberships_before(
        &self,
        user: &UserId,
        states: &StatesBefore,
    ) -> Result<Vec<Option<Membership>>, Error> {
        let queries: Vec<_> = states
            .all
            .iter()
            .map(|(room, root)| StateQuery {
                room: *room,
                root: *root,
                kind: "m.room.member",
                key: user.as_str(),
            })
            .collect();
        let found = self.state_events(&queries).await?;
        Ok(found.into_iter().map(|event| event.and_then(|event| event.membership())).collect())
    }
}

fn is_visibility_event(event: &StoredEvent) -> bool {
    event.kind() == KIND && event.state_key() == Some("")
}

#[cfg(test)]
mod tests {
    use super::{HistoryVisibility::*, Membership::*, *};

    #[test]
    fn each_event_finds_the_state_before_it_however_they_are_mixed() {
        let state = |number: u64| (RoomSerial(number % 3), Root([number as u8 % 5; 16]));
        for count in [0, 1, 2, 40] {
            let mixed: Vec<_> = (0..count).map(|number| state(number * number + number / 4)).collect();
            let states = StatesBefore::find(mixed.iter().copied());
            assert!(states.all.is_sorted_by(|one, next| one < next));
            let found: Vec<_> = states.of_events.iter().map(|index| states.all[*index]).collect();
            assert_eq!(found, mixed);
        }
    }

    #[test]
    fn the_table_of_the_specification_holds() {
        // Visibility; what the reader was; whether he joined later; whether he may see it.
        let table = [
            (WorldReadable, None, false, true),
            (WorldReadable, Some(Ban), false, true),
            (Shared, None, false, false),
            (Shared, None, true, true),
            (Shared, Some(Join), false, true),
            (Shared, Some(Invite), false, false),
            (Shared, Some(Invite), true, true),
            (Shared, Some(Leave), false, false),
            (Shared, Some(Leave), true, true),
            (Invited, None, true, false),
            (Invited, Some(Invite), false, true),
            (Invited, Some(Join), false, true),
            (Invited, Some(Leave), true, false),
            (Invited, Some(Knock), true, false),
            (Joined, Some(Invite), true, false),
            (Joined, Some(Join), false, true),
            (Joined, Some(Leave), true, false),
            (Joined, None, true, false),
        ];
        for (set, membership, later, expected) in table {
            assert_eq!(set.allows(membership, later), expected, "{set:?} {membership:?} later: {later}");
        }
    }
}
