//! What a client asks of sliding sync.
//!
//! Written by clients and read as they are today: pairs for state, ranges for windows, and the place in the query. Where the
//! proposal has changed since, its newer spelling is taken beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use account::State;
use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId};
use serde::Deserialize;

use super::required::Required;
use crate::Error;

/// So many different wishes for state are remembered of a connection.
pub(crate) const MOST_WISHES: usize = 64;

/// So many lists are taken.
const MOST_LISTS: usize = 100;

/// So many rooms are subscribed to at a time.
const MOST_SUBSCRIPTIONS: usize = 100;

/// So many spaces are named in all lists together: all state of each of them is looked through.
const MOST_SPACES: usize = 200;

/// So many pairs, ranges and names are taken in one of their lists.
const MOST_ENTRIES: usize = 200;

/// So many pairs are taken in all lists together: for each room those of the lists that show it are put together.
const MOST_PAIRS: usize = 1_000;

/// The longest name of a list or connection, in bytes.
const LONGEST_NAME: usize = 128;

/// The longest type or key of state, in bytes: there are no longer ones.
const LONGEST_KEY: usize = 255;

/// The most timeline events of a room in one answer.
const MOST_EVENTS: u64 = 100;

/// What a client asks.
#[derive(Clone, Debug)]
pub struct SlidingRequest {
    /// The user.
    pub user: OwnedUserId,
    /// The device.
    pub device: OwnedDeviceId,
    /// The place from which the connection goes on; `None` begins it.
    pub pos: Option<String>,
    /// How long to wait for something new.
    pub timeout: Duration,
    /// What the client asks to show its user as, if it says so.
    pub presence: Option<State>,
    /// What is wanted.
    pub body: Body,
}

/// The body of a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body {
    /// The name of the connection within the device.
    pub(crate) conn_id: Option<String>,
    /// What newer clients say here and others in the query.
    pub(crate) pos: Option<String>,
    pub(crate) timeout: Option<u64>,
    pub(crate) set_presence: Option<String>,
    pub(crate) txn_id: Option<String>,
    pub(crate) lists: BTreeMap<String, List>,
    pub(crate) room_subscriptions: BTreeMap<OwnedRoomId, Details>,
    pub(crate) extensions: Extensions,
}

/// What is told of a room.
#[derive(Clone, Debug, Deserialize, Hash)]
pub(crate) struct Details {
    #[serde(default)]
    pub(crate) required_state: Vec<(String, String)>,
    pub(crate) timeline_limit: u64,
}

/// A window over the user's rooms.
#[derive(Clone, Debug, Deserialize, Hash)]
pub(crate) struct List {
    /// Beside each other, both ends included; none of them is the whole list.
    #[serde(default)]
    pub(crate) ranges: Vec<(u64, u64)>,
    #[serde(default)]
    range: Option<(u64, u64)>,
    #[serde(flatten)]
    pub(crate) details: Details,
    #[serde(default)]
    pub(crate) filters: Option<Filters>,
}

/// Which rooms a list has. What is absent is not asked for.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
#[serde(default)]
pub(crate) struct Filters {
    pub(crate) is_dm: Option<bool>,
    pub(crate) is_encrypted: Option<bool>,
    #[serde(alias = "is_invited")]
    pub(crate) is_invite: Option<bool>,
    /// Types of rooms; `None` is a room without a type.
    pub(crate) room_types: Option<Vec<Option<String>>>,
    pub(crate) not_room_types: Option<Vec<Option<String>>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) not_tags: Option<Vec<String>>,
    /// Spaces: rooms that one of them names as its own.
    pub(crate) spaces: Option<Vec<String>>,
}

/// What is wanted beside rooms.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
#[serde(default)]
pub(crate) struct Extensions {
    pub(crate) to_device: ToDevice,
    pub(crate) e2ee: Switch,
    pub(crate) account_data: Scoped,
    pub(crate) receipts: Scoped,
    pub(crate) typing: Scoped,
    #[serde(rename = "io.element.msc4308.thread_subscriptions", alias = "thread_subscriptions")]
    pub(crate) threads: Threads,
}

/// Subscriptions to threads.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
#[serde(default)]
pub(crate) struct Threads {
    enabled: Option<bool>,
    /// How many of the newest changes are told.
    pub(crate) limit: Option<u64>,
}

/// Messages to the device.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
#[serde(default)]
pub(crate) struct ToDevice {
    pub(crate) enabled: Option<bool>,
    pub(crate) since: Option<String>,
    /// The most messages in one answer.
    pub(crate) limit: Option<u64>,
}

/// On or off.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
#[serde(default)]
pub(crate) struct Switch {
    enabled: Option<bool>,
}

/// On or off, and for which rooms: those of all lists and subscriptions, where nothing is said.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
#[serde(default)]
pub(crate) struct Scoped {
    enabled: Option<bool>,
    pub(crate) lists: Option<Vec<String>>,
    pub(crate) rooms: Option<Vec<String>>,
}

impl Filters {
    fn are_long(&self) -> bool {
        let types = [&self.room_types, &self.not_room_types];
        let tags = [&self.tags, &self.not_tags];
        types.iter().any(|types| types.as_ref().is_some_and(|types| types.len() > MOST_ENTRIES))
            || tags.iter().any(|tags| tags.as_ref().is_some_and(|tags| tags.len() > MOST_ENTRIES))
    }
}

impl Switch {
    pub(crate) fn is_on(&self) -> bool {
        self.enabled == Some(true)
    }
}

impl Threads {
    pub(crate) fn is_on(&self) -> bool {
        self.enabled == Some(true)
    }
}

impl ToDevice {
    pub(crate) fn is_on(&self) -> bool {
        self.enabled == Some(true)
    }
}

impl Scoped {
    pub(crate) fn is_on(&self) -> bool {
        self.enabled == Some(true)
    }

    /// Whether the rooms of a list are meant.
    pub(crate) fn has_list(&self, name: &str) -> bool {
        self.lists.as_ref().is_none_or(|lists| lists.iter().any(|list| list == "*" || list == name))
    }

    /// Whether a room that is subscribed to is meant.
    pub(crate) fn has_room(&self, room: &str) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|named| named == "*" || named == room))
    }
}

impl Details {
    pub(crate) fn limit(&self) -> u16 {
        u16::try_from(self.timeline_limit.min(MOST_EVENTS)).unwrap_or(u16::MAX)
    }

    pub(crate) fn required(&self, request: &SlidingRequest) -> Required {
        Required::new(&self.required_state, &request.user)
    }
}

impl List {
    /// The places in the list that are asked for, both ends included; `None` is all.
    pub(crate) fn windows(&self) -> Option<Vec<(u64, u64)>> {
        let windows: Vec<_> = self.ranges.iter().copied().chain(self.range).collect();
        (!windows.is_empty()).then_some(windows)
    }
}

impl SlidingRequest {
    /// The name of the connection.
    pub(crate) fn connection(&self) -> &str {
        self.body.conn_id.as_deref().unwrap_or("")
    }

    /// Whether rooms are asked for at all.
    pub(crate) fn has_rooms(&self) -> bool {
        !(self.body.lists.is_empty() && self.body.room_subscriptions.is_empty())
    }

    /// A number for what is asked of rooms: two that ask alike have the same.
    pub(crate) fn wishes(&self) -> u64 {
        let Body { lists, room_subscriptions, extensions, .. } = &self.body;
        let mut hasher = DefaultHasher::new();
        (lists, room_subscriptions).hash(&mut hasher);
        (&extensions.account_data, &extensions.receipts, &extensions.typing).hash(&mut hasher);
        hasher.finish()
    }

    /// Refuses what is more than is taken.
    ///
    /// # Errors
    /// [`Error::BadRequest`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refused = |what: &str| Err(Error::BadRequest(what.to_owned()));
        let Body { lists, room_subscriptions, extensions, .. } = &self.body;
        if lists.len() > MOST_LISTS {
            return refused("there are too many `lists`");
        }
        if room_subscriptions.len() > MOST_SUBSCRIPTIONS {
            return refused("there are too many `room_subscriptions`");
        }
        if self.connection().len() > LONGEST_NAME || lists.keys().any(|name| name.len() > LONGEST_NAME) {
            return refused("a name of a connection or list is too long");
        }
        let of_lists = lists.values().map(|list| &list.details);
        let mut details = of_lists.chain(room_subscriptions.values());
        let is_long = |(kind, key): &(String, String)| kind.len() > LONGEST_KEY || key.len() > LONGEST_KEY;
        let is_much = |details: &Details| {
            details.required_state.len() > MOST_ENTRIES || details.required_state.iter().any(is_long)
        };
        if details.any(is_much) {
            return refused("there is too much in `required_state`");
        }
        if lists.values().map(|list| list.details.required_state.len()).sum::<usize>() > MOST_PAIRS {
            return refused("there is too much in `required_state`");
        }
        let kinds = lists.values().map(|list| &list.details).chain(room_subscriptions.values());
        if kinds.map(|details| &details.required_state).collect::<BTreeSet<_>>().len() > MOST_WISHES {
            return refused("there are too many different `required_state`");
        }
        if lists.values().filter_map(|list| list.filters.as_ref()).any(Filters::are_long) {
            return refused("there is too much in `filters`");
        }
        let filters = lists.values().filter_map(|list| list.filters.as_ref());
        if filters.filter_map(|filters| filters.spaces.as_ref()).map(Vec::len).sum::<usize>() > MOST_SPACES {
            return refused("there are too many `spaces`");
        }
        for list in lists.values() {
            if list.windows().is_some_and(|windows| windows.len() > MOST_ENTRIES) {
                return refused("there are too many `ranges`");
            }
            if list.windows().is_some_and(|windows| windows.iter().any(|(first, last)| first > last)) {
                return refused("a range ends before it begins");
            }
        }
        let scoped = [&extensions.account_data, &extensions.receipts, &extensions.typing];
        let is_long =
            |names: &Option<Vec<String>>| names.as_ref().is_some_and(|names| names.len() > MOST_ENTRIES);
        if scoped.iter().any(|scoped| is_long(&scoped.lists) || is_long(&scoped.rooms)) {
            return refused("an extension names too many lists or rooms");
        }
        Ok(())
    }
}
