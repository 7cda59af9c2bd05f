//! Filters on room events, as clients give them to `/sync`, `/messages` and `/context`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use std::collections::HashSet;

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::filter::{LazyLoadOptions, RoomEventFilter, UrlFilter},
};
use serde::Deserialize;

use super::event::{Relation, StoredEvent};

/// A [`RoomEventFilter`] made ready for many events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    types: Option<Vec<Pattern>>,
    not_types: Vec<Pattern>,
    senders: Option<HashSet<OwnedUserId>>,
    not_senders: HashSet<OwnedUserId>,
    rooms: Option<HashSet<OwnedRoomId>>,
    not_rooms: HashSet<OwnedRoomId>,
    contains_url: Option<bool>,
    rel_types: Option<Vec<String>>,
    not_rel_types: Vec<String>,
    not_redacted: bool,
    /// How many events are wanted at most.
    pub limit: Option<usize>,
    /// Whether and how members are loaded lazily.
    pub lazy: LazyMembers,
}

/// The part of a filter that is about relations. ruma's filters do not have it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RelationFilter {
    /// Only events with one of these `rel_type`s.
    #[serde(rename = "org.matrix.msc3874.rel_types")]
    rel_types: Option<Vec<String>>,
    /// No events with one of these.
    #[serde(rename = "org.matrix.msc3874.not_rel_types", default)]
    not_rel_types: Vec<String>,
}

/// What the caller wants to hear of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LazyMembers {
    /// All members, like any other state.
    #[default]
    Off,
    /// Only members that matter for the events of the answer, and not again what was sent before.
    On,
    /// Only members that matter for the events of the answer, always.
    Redundant,
}

/// A type name in which `*` stands for any run of characters.
#[derive(Clone, Debug)]
struct Pattern(String);

impl EventFilter {
    /// Prepares what a client sent.
    pub fn new(filter: &RoomEventFilter) -> Self {
        let patterns = |types: &[String]| types.iter().cloned().map(Pattern).collect::<Vec<_>>();
        Self {
            types: filter.types.as_deref().map(patterns),
            not_types: patterns(&filter.not_types),
            senders: filter.senders.as_ref().map(|list| list.iter().cloned().collect()),
            not_senders: filter.not_senders.iter().cloned().collect(),
            rooms: filter.rooms.as_ref().map(|list| list.iter().cloned().collect()),
            not_rooms: filter.not_rooms.iter().cloned().collect(),
            contains_url: filter.url_filter.map(|wanted| matches!(wanted, UrlFilter::EventsWithUrl)),
            limit: filter.limit.map(|limit| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)),
            rel_types: None,
            not_rel_types: Vec::new(),
            not_redacted: false,
            lazy: match filter.lazy_load_options {
                LazyLoadOptions::Disabled => LazyMembers::Off,
                LazyLoadOptions::Enabled { include_redundant_members: false } => LazyMembers::On,
                LazyLoadOptions::Enabled { include_redundant_members: true } => LazyMembers::Redundant,
            },
        }
    }

    /// Lets through only events that relate to another one in one of these ways, or not in one of
    /// those: what a filter on relations asks.
    ///
    /// Spec: <https://github.com/matrix-org/matrix-spec-proposals/pull/3874>
    #[must_use]
    pub fn with_relations(mut self, filter: RelationFilter) -> Self {
        self.rel_types = filter.rel_types;
        self.not_rel_types = filter.not_rel_types;
        self
    }

    /// Lets through only events that were not redacted.
    #[must_use]
    pub fn without_redacted(mut self) -> Self {
        self.not_redacted = true;
        self
    }

    /// Whether every event passes, so that none needs to be looked at.
    pub fn passes_all(&self) -> bool {
        self.types.is_none()
            && self.not_types.is_empty()
            && self.senders.is_none()
            && self.not_senders.is_empty()
            && self.contains_url.is_none()
            && self.rel_types.is_none()
            && self.not_rel_types.is_empty()
            && !self.not_redacted
    }

    /// Whether no event can pass.
    pub fn passes_none(&self) -> bool {
        self.is_off() || self.limit == Some(0)
    }

    /// Whether no event can pass, however many are wanted.
    pub fn is_off(&self) -> bool {
        self.types.as_ref().is_some_and(Vec::is_empty)
            || self.senders.as_ref().is_some_and(HashSet::is_empty)
            || self.rooms.as_ref().is_some_and(HashSet::is_empty)
    }

    /// Whether events of this room may pass.
    pub fn passes_room(&self, room: &RoomId) -> bool {
        !self.not_rooms.contains(room) && self.rooms.as_ref().is_none_or(|rooms| rooms.contains(room))
    }

    /// Whether events of this type may pass.
    pub fn passes_type(&self, kind: &str) -> bool {
        !self.not_types.iter().any(|pattern| pattern.matches(kind))
            && self.types.as_ref().is_none_or(|types| types.iter().any(|pattern| pattern.matches(kind)))
    }

    /// Whether events of this sender may pass.
    pub fn passes_sender(&self, sender: &UserId) -> bool {
        !self.not_senders.contains(sender)
            && self.senders.as_ref().is_none_or(|senders| senders.contains(sender))
    }

    /// Whether the event passes; the room is not asked about again.
    pub fn passes(&self, event: &StoredEvent) -> bool {
        self.passes_all()
            || (!(self.not_redacted && event.meta().redacted_by.is_some())
                && self.passes_type(event.kind())
                && self.passes_sender(event.sender())
                && self.contains_url.is_none_or(|wanted| wanted == event.has_url())
                && self.passes_relation(event))
    }

    fn passes_relation(&self, event: &StoredEvent) -> bool {
        if self.rel_types.is_none() && self.not_rel_types.is_empty() {
            return true;
        }
        match event.relation() {
            None => self.rel_types.is_none(),
            Some(Relation { rel_type, .. }) => {
                self.rel_types.as_ref().is_none_or(|wanted| wanted.contains(&rel_type))
                    && !self.not_rel_types.contains(&rel_type)
            }
        }
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.len() >= last.len() && rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let table = [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.*", "m.room.message", true),
            ("*", "", true),
            ("*", "anything", true),
            ("m.*.member", "m.room.member", true),
            ("m.*.member", "m.member", false),
            ("*room*", "m.room.member", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("", "", true),
            ("", "x", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Pattern(pattern.to_owned()).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        let mut filter = RoomEventFilter::default();
        filter.types = Some(vec!["m.*".to_owned()]);
        filter.not_types = vec!["m.room.member".to_owned()];
        let filter = EventFilter::new(&filter);
        assert!(filter.passes_type("m.room.message"));
        assert!(!filter.passes_type("m.room.member"));
        assert!(!filter.passes_type("org.example"));
    }
}
