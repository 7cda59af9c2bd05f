//! Which of a user's rooms the lists and subscriptions of a request show.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use account::{InviteRules, InviteVerdict};
use room::{
    RoomSerial,
    read::membership::{UserRoom, UserRooms},
    tables::{Membership, Summary},
};
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    Error, Syncs,
    connections::{As, Filters, Recency, Required, Scoped, SlidingRequest, State, Told},
    data::Items,
};

/// What is told of a room, by all that shows it together.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) required: Arc<Required>,
    pub(super) limit: u16,
}

/// A list of a request.
struct Shown<'a> {
    name: &'a str,
    wanted: Wanted,
    /// Whether the room at each place is in a window.
    places: Vec<bool>,
    count: usize,
}

/// What a request shows of a user's rooms.
pub(super) struct View<'a> {
    lists: Vec<Shown<'a>>,
    subscriptions: HashMap<u32, (&'a str, Wanted)>,
    /// The order of the rooms, if a list has one.
    pub(super) recency: Option<Arc<Recency>>,
    /// Whether what happens in one room may move others in or out: a window ends before its list, or a list has the rooms of
    /// spaces.
    pub(super) is_partial: bool,
}

impl View<'_> {
    /// What is wanted of the room at a place; `None` if nothing shows it.
    pub(super) fn wanted(&self, place: u32) -> Option<Wanted> {
        let lists = self.lists.iter().filter(|list| list.shows(place)).map(|list| &list.wanted);
        let all = lists.chain(self.subscriptions.get(&place).map(|(_, wanted)| wanted));
        all.cloned().reduce(|one, other| Wanted {
            required: match one.required == other.required {
                true => one.required,
                false => Arc::new(Required::clone(&one.required).union(&other.required)),
            },
            limit: one.limit.max(other.limit),
        })
    }

    /// Whether an extension is to tell of the room at a place.
    pub(super) fn is_heard(&self, scope: &Scoped, place: u32) -> bool {
        let is_listed = || self.lists.iter().any(|list| list.shows(place) && scope.has_list(list.name));
        let is_named = || self.subscriptions.get(&place).is_some_and(|(room, _)| scope.has_room(room));
        scope.is_on() && (is_listed() || is_named())
    }

    /// The places that are shown.
    pub(super) fn places(&self) -> Vec<u32> {
        let listed = self.lists.iter().flat_map(|list| {
            (0_u32..).zip(&list.places).filter(|(_, is_shown)| **is_shown).map(|(place, _)| place)
        });
        let mut places: Vec<u32> = listed.chain(self.subscriptions.keys().copied()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// How many rooms each list has, with its name.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.lists.iter().map(|list| (list.name, list.count))
    }
}

impl Shown<'_> {
    fn shows(&self, place: u32) -> bool {
        usize::try_from(place).ok().and_then(|place| self.places.get(place)).copied().unwrap_or(false)
    }
}

/// Whether a list of this user's rooms may have a room, as what he is in it.
///
/// Rooms that he was put out of stay until he forgets them: he may never have heard of that. Those that he left himself are
/// gone, once the client that knew them is told so.
pub(super) fn belongs(
    user: &UserId,
    row: &UserRoom,
    told: Option<&Told>,
    ignored: &HashSet<OwnedUserId>,
    rules: Option<&InviteRules>,
) -> bool {
    match row.membership {
        Membership::Join | Membership::Knock => true,
        Membership::Invite => {
            !ignored.contains(&row.sender)
                && rules.is_none_or(|rules| rules.verdict(&row.sender) == InviteVerdict::Take)
        }
        // Of one without an event nothing can be told.
        Membership::Leave | Membership::Ban if row.event.is_none() => false,
        Membership::Leave | Membership::Ban => {
            told.is_some_and(|told| told.user_is != As::Gone) || is_put_out(user, row)
        }
    }
}

fn is_out(row: &UserRoom) -> bool {
    matches!(row.membership, Membership::Leave | Membership::Ban)
}

/// Whether somebody else put the user out of a room that he was in, and he has not forgotten it.
pub(super) fn is_put_out(user: &UserId, row: &UserRoom) -> bool {
    // Who left by himself is the sender of his own member event.
    row.seen_until().is_some() && row.sender != *user
}

/// What filters ask of rooms.
struct Traits<'a> {
    directs: &'a HashSet<OwnedRoomId>,
    summaries: HashMap<RoomSerial, Summary>,
    tags: HashMap<OwnedRoomId, HashSet<String>>,
    /// The rooms of each space that a filter names and the user is in.
    spaces: HashMap<String, HashSet<OwnedRoomId>>,
}

impl Traits<'_> {
    fn pass(&self, filters: &Filters, row: &UserRoom) -> bool {
        let is = |wanted: Option<bool>, it: bool| wanted.is_none_or(|wanted| wanted == it);
        let summary = self.summaries.get(&row.room);
        let kind = summary.and_then(|summary| summary.room_type.clone());
        let is_encrypted = summary.is_some_and(|summary| summary.encryption.is_some());
        let has_tag = |tags: &Vec<String>| {
            let own = self.tags.get(&row.room_id);
            tags.iter().any(|tag| own.is_some_and(|own| own.contains(tag)))
        };
        let is_in_space = |spaces: &Vec<String>| {
            spaces
                .iter()
                .any(|space| self.spaces.get(space).is_some_and(|rooms| rooms.contains(&row.room_id)))
        };
        is(filters.is_dm, self.directs.contains(&row.room_id))
            && is(filters.is_invite, row.membership == Membership::Invite)
            && is(filters.is_encrypted, is_encrypted)
            && filters.room_types.as_ref().is_none_or(|kinds| kinds.is_empty() || kinds.contains(&kind))
            && !filters.not_room_types.as_ref().is_some_and(|kinds| kinds.contains(&kind))
            && filters.tags.as_ref().is_none_or(has_tag)
            && !filters.not_tags.as_ref().is_some_and(has_tag)
            && filters.spaces.as_ref().is_none_or(is_in_space)
    }
}

/// What a view is made of.
pub(super) struct Sources<'a> {
    pub(super) request: &'a SlidingRequest,
    pub(super) rooms: &'a UserRooms,
    pub(super) state: &'a State,
    pub(super) ignored: &'a HashSet<OwnedUserId>,
    pub(super) directs: &'a HashSet<OwnedRoomId>,
    pub(super) recency: Option<&'a Recency>,
}

impl Syncs {
    /// What a request shows of its user's rooms. It looks at each of them in memory; what it reads of the store is what
    /// its filters ask for, and the order of those rooms that have moved where windows are smaller than lists.
    pub(super) async fn view<'a>(
        &self,
        sources: &Sources<'a>,
        has_moved: impl Fn(&UserRoom) -> bool,
    ) -> Result<View<'a>, Error> {
        let Sources { request, rooms, state, ignored, .. } = *sources;
        let is_invited = rooms.with(Membership::Invite).next().is_some();
        let rules = match is_invited {
            true => Some(self.accounts().invite_rules(&request.user).await?),
            false => None,
        };
        let belongs =
            |row: &UserRoom| belongs(&request.user, row, state.find(row.room), ignored, rules.as_ref());
        let own: Vec<(u32, &UserRoom)> = (0..).zip(&rooms.rooms).filter(|(_, row)| belongs(row)).collect();
        let traits = self.traits(sources, &own).await?;

        let mut view =
            View { lists: Vec::new(), subscriptions: HashMap::new(), recency: None, is_partial: false };
        for (name, list) in &request.body.lists {
            let passes =
                |row: &UserRoom| list.filters.as_ref().is_none_or(|filters| traits.pass(filters, row));
            view.is_partial |= list.filters.as_ref().is_some_and(|filters| filters.spaces.is_some());
            let mut passing: Vec<u32> =
                own.iter().filter(|(_, row)| passes(row)).map(|(place, _)| *place).collect();
            // Those of which the client hears now that they are gone count no more.
            let stays = |place: &&u32| {
                let row = usize::try_from(**place).ok().and_then(|place| rooms.rooms.get(place));
                row.is_some_and(|row| !is_out(row) || is_put_out(&request.user, row))
            };
            let count = passing.iter().filter(stays).count();
            let all = passing.len() as u64;
            if let Some(windows) = list.windows()
                && !windows.iter().any(|(first, last)| *first == 0 && last.saturating_add(1) >= all)
            {
                view.is_partial = true;
                if view.recency.is_none() {
                    view.recency = Some(self.room_order(rooms, sources.recency, &has_moved).await?);
                }
                if let Some(recency) = &view.recency {
                    recency.sort(rooms, &mut passing);
                }
                let is_within =
                    |index: u64| windows.iter().any(|(first, last)| (*first..=*last).contains(&index));
                passing =
                    (0_u64..).zip(passing).filter(|(index, _)| is_within(*index)).map(|it| it.1).collect();
            }
            let mut places = vec![false; rooms.rooms.len()];
            for place in passing {
                if let Some(shown) = usize::try_from(place).ok().and_then(|place| places.get_mut(place)) {
                    *shown = true;
                }
            }
            let details = &list.details;
            let wanted = Wanted { required: Arc::new(details.required(request)), limit: details.limit() };
            view.lists.push(Shown { name, wanted, places, count });
        }
        if !request.body.room_subscriptions.is_empty() {
            for (place, row) in &own {
                if let Some((room, details)) = request.body.room_subscriptions.get_key_value(&row.room_id) {
                    let wanted =
                        Wanted { required: Arc::new(details.required(request)), limit: details.limit() };
                    view.subscriptions.insert(*place, (room.as_str(), wanted));
                }
            }
        }
        Ok(view)
    }

    /// What the filters of a request ask of these rooms.
    async fn traits<'a>(
        &self,
        sources: &Sources<'a>,
        rooms: &[(u32, &UserRoom)],
    ) -> Result<Traits<'a>, Error> {
        let mut traits = Traits {
            directs: sources.directs,
            summaries: HashMap::new(),
            tags: HashMap::new(),
            spaces: HashMap::new(),
        };
        let filters = || sources.request.body.lists.values().filter_map(|list| list.filters.as_ref());
        let by_summary = |filters: &Filters| {
            filters.is_encrypted.is_some() || filters.room_types.is_some() || filters.not_room_types.is_some()
        };
        if filters().any(by_summary) {
            let serials: Vec<RoomSerial> = rooms.iter().map(|(_, row)| row.room).collect();
            let summaries = self.rooms().summaries(&serials).await?;
            traits.summaries = serials.into_iter().zip(summaries).collect();
        }
        if filters().any(|filters| filters.tags.is_some() || filters.not_tags.is_some()) {
            let data = self.new_data(&sources.request.user, None).await?;
            traits.tags = data.rooms.into_iter().map(|(room, data)| (room, tags_in(&data))).collect();
        }
        let named = filters().filter_map(|filters| filters.spaces.as_ref()).flatten();
        let named: HashSet<&str> = named.map(String::as_str).collect();
        if !named.is_empty() {
            let joined = sources.rooms.with(Membership::Join);
            let spaces: Vec<_> = joined.filter(|row| named.contains(row.room_id.as_str())).collect();
            let serials: Vec<RoomSerial> = spaces.iter().map(|row| row.room).collect();
            let rooms = self.rooms().rooms_in_spaces(&serials).await?;
            traits.spaces = spaces.iter().map(|row| row.room_id.to_string()).zip(rooms).collect();
        }
        Ok(traits)
    }
}

/// The tags that a room's account data gives it.
fn tags_in(data: &Items) -> HashSet<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Content {
        #[serde(deserialize_with = "pdu::lenient::map")]
        tags: BTreeMap<String, IgnoredAny>,
    }
    let content = data.iter().find(|(kind, _)| kind == "m.tag").map(|(_, content)| content);
    let content: Option<Content> = content.and_then(|content| serde_json::from_slice(content).ok());
    content.unwrap_or_default().tags.into_keys().collect()
}
