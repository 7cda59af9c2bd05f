//! What a room tells, and what is known of it once the client has that.

use std::{collections::BTreeMap, sync::Arc};

use push::Counts;
use room::{
    EventSerial,
    read::{event::StoredEvent, summary::RoomNaming, token::Token, view::Look},
    tables::Membership,
};
use ruma::OwnedUserId;
use serde::Deserialize;
use store::Position;

use super::plan::Telling;
use crate::connections::Told;

/// A text of a room's state that may have been taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Field {
    /// It is as it was.
    #[default]
    Unchanged,
    Gone,
    Is(String),
}

/// Somebody after whom a room without a name is called.
#[derive(Clone, Debug)]
pub(super) struct Hero {
    pub(super) user: OwnedUserId,
    pub(super) name: Option<String>,
    pub(super) avatar: Option<String>,
}

/// What a room tells.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) membership: Membership,
    /// The client does not know the room, or forgets what it knows.
    pub(super) initial: bool,
    /// There are events that it was told before.
    pub(super) expanded: bool,
    pub(super) is_dm: Option<bool>,
    pub(super) timeline: Vec<Look>,
    pub(super) limited: bool,
    pub(super) prev_batch: Option<Token>,
    /// So many of the last events are from since the client last asked.
    pub(super) live: usize,
    pub(super) state: Vec<Arc<StoredEvent>>,
    pub(super) name: Field,
    pub(super) avatar: Field,
    pub(super) naming: Option<Arc<RoomNaming>>,
    pub(super) heroes: Vec<Hero>,
    pub(super) unread: Option<Counts>,
    pub(super) bump: Position,
    /// Of a room that the user is invited to, or knocks at: a JSON array of stripped events.
    pub(super) stripped: Option<bytes::Bytes>,
    /// Member events that are told because they matter.
    pub(super) members: Vec<EventSerial>,
    /// Whether it has the room's timeline from its beginning.
    pub(super) is_whole: bool,
    /// Whether the client is told of it: there may be nothing to tell.
    pub(super) is_told: bool,
}

impl Part {
    pub(super) fn of(telling: &Telling<'_>, bump: Position) -> Self {
        Self {
            membership: telling.row.membership,
            initial: telling.since.is_none(),
            expanded: false,
            is_dm: telling.tells_direct().then_some(telling.is_dm),
            timeline: Vec::new(),
            limited: false,
            prev_batch: None,
            live: 0,
            state: Vec::new(),
            name: Field::Unchanged,
            avatar: Field::Unchanged,
            naming: None,
            heroes: Vec::new(),
            unread: None,
            bump,
            stripped: None,
            members: Vec::new(),
            is_whole: false,
            is_told: false,
        }
    }

    /// Whether it tells nothing, so that it need not be sent.
    pub(super) fn is_empty(&self, telling: &Telling<'_>) -> bool {
        let has_been_read =
            || self.unread.as_ref().zip(telling.since).is_some_and(|(unread, since)| unread.read_at > since);
        !self.initial
            && self.is_dm.is_none()
            && self.timeline.is_empty()
            && !self.limited
            && self.state.is_empty()
            && self.name == Field::Unchanged
            && self.avatar == Field::Unchanged
            && self.naming.is_none()
            && self.stripped.is_none()
            && !telling.is_recounted
            && !has_been_read()
    }

    /// How many of the newest events the client has without a hole, once it has this.
    pub(super) fn events(&self, telling: &Telling<'_>) -> u16 {
        let limit = telling.wanted.limit;
        if limit == 0 {
            // It was told none of what is new.
            return 0;
        }
        let before = telling.told.filter(|_| !self.initial).map(|told| told.events);
        match (self.is_whole, self.limited) {
            (true, _) => u16::MAX,
            (false, true) => limit,
            (false, false) => before.map_or(limit, |before| before.max(limit)),
        }
    }
}

/// A text in the content of a piece of state, as far as it is new to the client.
pub(super) fn field_of(
    telling: &Telling<'_>,
    changes: &[Arc<StoredEvent>],
    full: &[Arc<StoredEvent>],
    kind: &str,
    field: &str,
) -> Field {
    let is_it = |event: &&Arc<StoredEvent>| event.kind() == kind && event.state_key() == Some("");
    let event = match telling.since {
        None => full.iter().find(is_it),
        Some(_) => changes.iter().find(is_it),
    };
    let Some(event) = event else { return Field::Unchanged };
    match text_in(event, field) {
        Some(text) => Field::Is(text),
        // To a client that knows nothing what is absent is not there.
        None if telling.since.is_none() => Field::Unchanged,
        None => Field::Gone,
    }
}

/// A text in an event's content, unless it is empty or no text.
fn text_in(event: &StoredEvent, field: &str) -> Option<String> {
    let content: BTreeMap<String, serde_json::Value> = event.pdu().content_as().ok()?;
    let text = content.get(field)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn hero(user: OwnedUserId, event: Option<&StoredEvent>) -> Hero {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Content {
        #[serde(deserialize_with = "pdu::lenient::field")]
        displayname: Option<String>,
        #[serde(deserialize_with = "pdu::lenient::field")]
        avatar_url: Option<String>,
    }
    let content: Content = event.and_then(|event| event.pdu().content_as().ok()).unwrap_or_default();
    Hero { user, name: content.displayname, avatar: content.avatar_url }
}

/// What is known of a room once the client has what it is told.
pub(super) fn told_with(telling: &Telling<'_>, part: &Part, wish: u8) -> Told {
    Told {
        room: telling.row.room,
        until: Told::ALL,
        events: part.events(telling),
        wish,
        user_is: telling.user_is,
        is_dm: telling.is_dm,
        heard: telling.told.filter(|_| telling.since.is_some()).map(|told| told.heard).unwrap_or_default(),
    }
}
