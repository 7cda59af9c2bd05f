//! Which rooms an answer tells of, and from where on.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use room::{
    read::{
        lacking::LackingRooms,
        membership::{MovedRoom, UserRoom, UserRooms},
    },
    tables::Membership,
};
use ruma::{OwnedRoomId, UserId};
use store::Position;

use super::view::{View, Wanted, is_put_out};
use crate::connections::{As, Heard, Required, State, Told};
use crate::data::Items;

/// A room to tell of.
#[derive(Debug)]
pub(super) struct Telling<'a> {
    pub(super) row: &'a UserRoom,
    pub(super) user_is: As,
    pub(super) wanted: Wanted,
    /// What the client was told.
    pub(super) told: Option<Told>,
    /// Up to where it knows the room; `None`: not at all, or as somebody else.
    pub(super) since: Option<Position>,
    /// By which wish it has the state, if it has it by another one.
    pub(super) had: Option<Arc<Required>>,
    /// Whether it has fewer events than it wants by now.
    pub(super) expands: bool,
    /// Whether it is direct.
    pub(super) is_dm: bool,
    /// Whether all members are known since, who were not.
    pub(super) is_whole_now: bool,
    /// Whether what is unread is told, whatever happened.
    pub(super) is_recounted: bool,
}

impl Telling<'_> {
    /// The last position of the room that is told.
    pub(super) fn through(&self, head: Position) -> Position {
        match self.user_is {
            As::Member => head,
            As::Guest | As::Gone => self.row.seen_until().map_or(self.row.position, |until| until.position),
        }
    }

    /// Whether the client hears that the room is direct, or is not any more.
    pub(super) fn tells_direct(&self) -> bool {
        let known = self.told.filter(|_| self.since.is_some());
        known.map_or(self.is_dm, |told| told.is_dm != self.is_dm)
    }
}

/// What an answer does.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) tellings: Vec<Telling<'a>>,
    /// What is known of rooms that it does not tell of, where that is otherwise than before.
    pub(super) noted: Vec<Told>,
    /// Rooms of which it does not tell, by another wish than that by which they were told.
    pub(super) narrowed: Vec<(Told, Arc<Required>)>,
    /// The places that were looked at.
    pub(super) looked_at: BTreeSet<u32>,
    /// Rooms that cannot be told of yet.
    pub(super) has_more: bool,
}

/// What there is to look at.
pub(super) struct Glance<'a> {
    pub(super) user: &'a UserId,
    pub(super) rooms: &'a UserRooms,
    pub(super) state: &'a State,
    /// Up to where the client knows what it was told.
    pub(super) since: Option<Position>,
    pub(super) moved: BTreeMap<u32, MovedRoom>,
    /// New account data of rooms.
    pub(super) data: &'a BTreeMap<OwnedRoomId, Items>,
    pub(super) directs: &'a HashSet<OwnedRoomId>,
    pub(super) lacking: &'a LackingRooms,
    /// Places of rooms of which the counts are told, whatever happened there.
    pub(super) recounted: BTreeSet<u32>,
    /// Whether all that is shown is looked at, and not what has moved alone.
    pub(super) everything: bool,
}

impl<'a> Glance<'a> {
    pub(super) fn row(&self, place: u32) -> Option<&'a UserRoom> {
        usize::try_from(place).ok().and_then(|place| self.rooms.rooms.get(place))
    }

    /// Chooses the rooms to tell of.
    pub(super) fn plan(&self, view: &View<'_>) -> Plan<'a> {
        let mut plan = Plan::default();
        plan.looked_at.extend(self.moved.keys());
        if let Some(since) = self.since {
            plan.looked_at.extend(self.rooms.changed_since(since));
        }
        plan.looked_at.extend(self.data.keys().filter_map(|room| self.rooms.place_of_joined(room)));
        if self.everything || view.is_partial {
            plan.looked_at.extend(view.places());
        }
        for place in plan.looked_at.clone() {
            let Some(row) = self.row(place) else { continue };
            let told = self.state.find(row.room).copied();
            match view.wanted(place) {
                Some(wanted) => self.look_at(place, row, told, wanted, &mut plan),
                None => plan.noted.extend(told.and_then(|told| self.unseen(place, row, told))),
            }
        }
        plan
    }

    /// Whether something happened in a room that is told with it, since the client was told last.
    fn has_news(&self, place: u32, row: &UserRoom) -> bool {
        let moved = self.moved.get(&place).copied().unwrap_or_default();
        moved.events
            || moved.own_receipts
            || moved.own_public
            || self.since.is_some_and(|since| row.position > since)
    }

    /// What is known of a room that is not shown: what happens in it is told when it is shown again.
    fn unseen(&self, place: u32, row: &UserRoom, told: Told) -> Option<Told> {
        let mut new = told;
        if let Some(since) = self.since
            && self.has_news(place, row)
        {
            new.until = told.until(since);
        }
        self.unheard(place, row, &mut new.heard, Heard::default());
        (new != told).then_some(new)
    }

    /// What of a room the client was not told though it moved.
    pub(super) fn unheard(&self, place: u32, row: &UserRoom, heard: &mut Heard, is_heard: Heard) {
        let moved = self.moved.get(&place).copied().unwrap_or_default();
        let has_ephemeral = moved.ephemeral || moved.own_receipts || moved.own_public;
        heard.receipts &= is_heard.receipts || !has_ephemeral;
        heard.typing &= is_heard.typing || !moved.ephemeral;
        heard.data &= is_heard.data || !self.data.contains_key(&row.room_id);
    }

    fn look_at(
        &self,
        place: u32,
        row: &'a UserRoom,
        told: Option<Told>,
        wanted: Wanted,
        plan: &mut Plan<'a>,
    ) {
        let user_is = match row.membership {
            Membership::Join => As::Member,
            Membership::Invite | Membership::Knock => As::Guest,
            Membership::Leave | Membership::Ban => As::Gone,
        };
        if user_is == As::Member && wanted.required.wants_all_members() && self.lacking.lacks(row.room) {
            // Who wants all members is told of it once they are known.
            plan.has_more = true;
            plan.noted.extend(told.and_then(|told| self.unseen(place, row, told)));
            return;
        }
        let goes_on =
            |told: &Told| told.user_is == user_is || (told.user_is == As::Member && user_is == As::Gone);
        let known = told.filter(goes_on);
        let since = self.since.and_then(|since| known.map(|told| told.until(since)));
        let had =
            known.and_then(|told| self.state.wish(&told)).filter(|had| **had != wanted.required).cloned();
        let is_member = user_is == As::Member;
        let goes_beyond = had.as_ref().is_some_and(|had| wanted.required.goes_beyond(had));
        let begins_lazy = had
            .as_ref()
            .is_some_and(|had| wanted.required.is_lazy() && !had.is_lazy() && !had.wants_all_members());
        let expands = is_member
            && wanted.limit > 0
            && known.is_some_and(|told| told.events < wanted.limit || begins_lazy);
        let is_whole_now = is_member
            && since
                .is_some_and(|since| self.lacking.whole_since(row.room).is_some_and(|whole| whole > since));
        let telling = Telling {
            row,
            user_is,
            told,
            since,
            expands,
            is_dm: is_member && self.directs.contains(&row.room_id),
            is_whole_now,
            is_recounted: is_member && self.recounted.contains(&place),
            had,
            wanted,
        };
        let is_behind = known.is_some_and(|told| self.since.is_some_and(|since| told.until < since));
        let is_news = match since {
            None => true,
            Some(since) => {
                let is_changed = row.position > since;
                let happens = is_behind || self.has_news(place, row) || is_whole_now || telling.is_recounted;
                let wants_more = is_member && (goes_beyond || expands || telling.tells_direct());
                is_changed || (is_member && happens) || wants_more
            }
        };
        if is_news {
            plan.tellings.push(telling);
        } else if let Some(told) = known
            && telling.had.is_some()
        {
            // It wants less: what it does not want any more it is not told of, so that it has to be should it want it again.
            plan.narrowed.push((told, telling.wanted.required));
        }
    }

    /// Whether a room is forgotten once the client was told that its user is out of it.
    pub(super) fn is_over(&self, telling: &Telling<'_>) -> bool {
        telling.user_is == As::Gone && !is_put_out(self.user, telling.row)
    }
}
