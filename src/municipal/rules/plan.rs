//! From a room as it is to the room as it ought to be: the steps, in the order in which they are taken.
//!
//! A pure function. Steps follow from what is, so whoever goes on after a crash finds those that are left, and undoing is
//! nothing but the steps to what was wanted before. Whoever is to moderate comes in and is given power before others lose
//! theirs or leave, so that no room is without a moderator between two steps.

use std::collections::BTreeSet;

use intake::Date;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Value, json};

use crate::{
    actual::{Actual, Piece, Presence},
    levels::levels,
    rule::Template,
    tables::PlaceRow,
    wanted::{People, Standing, WantedRoom},
};

/// The type of the state event that says a room's label.
pub const LABEL: &str = "jp.yakuba.room.label";

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The room is used again.
    Reopen,
    /// Somebody comes in.
    Join(OwnedUserId, Standing),
    /// Somebody who is in it already is there by rule from now on.
    Note(OwnedUserId),
    /// A piece of the room's state says something else.
    State(Piece, Value),
    /// A space leads to the room, or no more.
    Child(OwnedRoomId, Value),
    /// That this space leads to it is known.
    Under(Option<OwnedRoomId>),
    /// Somebody who was there by rule leaves.
    Leave(OwnedUserId),
    /// Somebody is there by rule no more, who is not in it.
    Drop(OwnedUserId),
    /// Nobody speaks in the room any more, from this day on.
    Close(Date),
}

/// What is known of a room beside what it says itself.
pub(crate) struct Known<'a> {
    pub(crate) authority: &'a ServerName,
    pub(crate) steward: &'a UserId,
    pub(crate) row: &'a PlaceRow,
    /// Whom rules brought in.
    pub(crate) brought: &'a BTreeSet<OwnedUserId>,
    /// What the wanted space, and the one that leads to it so far, say of it.
    pub(crate) spaces: Spaces<'a>,
}

/// The spaces of a room.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spaces<'a> {
    /// The one in which it is to be found, and what that says of it.
    pub(crate) wanted: Option<(&'a RoomId, Option<&'a Value>)>,
    /// The one that leads to it so far, if that is another one.
    pub(crate) old: Option<&'a RoomId>,
}

/// The pieces of state of a room that are looked at.
pub(crate) fn pieces(spaces: &Spaces<'_>) -> Vec<Piece> {
    let own = [
        "m.room.name",
        "m.room.topic",
        "m.room.history_visibility",
        "m.room.join_rules",
        "m.room.power_levels",
        LABEL,
    ];
    let mut pieces: Vec<Piece> = own.iter().map(|kind| ((*kind).to_owned(), String::new())).collect();
    let parents = spaces.wanted.map(|(room, _)| room).into_iter().chain(spaces.old);
    pieces.extend(parents.map(|room| ("m.space.parent".to_owned(), room.to_string())));
    pieces
}

/// The state that a rule's room has from the beginning, beside its name, its topic and its levels.
pub(crate) fn first_state(template: &Template) -> Vec<(Piece, Value)> {
    let mut state = vec![
        (single("m.room.join_rules"), closed_door()),
        (single("m.room.history_visibility"), json!({ "history_visibility": template.history.word() })),
        (single("m.room.guest_access"), json!({ "guest_access": "forbidden" })),
    ];
    state.extend(template.label.as_deref().map(|label| (single(LABEL), json!({ "label": label }))));
    state
}

/// Nobody comes in by himself, and the steward may let people in without an invite that would notify each of them.
fn closed_door() -> Value {
    json!({ "join_rule": "restricted", "allow": [] })
}

fn single(kind: &str) -> Piece {
    (kind.to_owned(), String::new())
}

/// The steps to a room that is wanted.
pub(crate) fn to_wanted(wanted: &WantedRoom, actual: &Actual, known: &Known<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    if known.row.closed.is_some() {
        steps.push(Step::Reopen);
    }
    let mut people: Vec<&(OwnedUserId, Standing)> = wanted.people.iter().collect();
    // The highest first.
    people.sort_by_key(|(_, standing)| std::cmp::Reverse(*standing));
    for (user, standing) in people {
        match actual.presence(user) {
            Some(Presence::Joined) if known.brought.contains(user) => {}
            Some(Presence::Joined) => steps.push(Step::Note(user.clone())),
            // Who was put out for good was so by somebody who decided that.
            Some(Presence::Banned) => {}
            // A predecessor who has gone by himself is not fetched back.
            None if *standing == Standing::Predecessor => {}
            Some(Presence::Waiting) | None => steps.push(Step::Join(user.clone(), *standing)),
        }
    }
    let template = &wanted.template;
    let levels = levels(template, &wanted.people, Some(actual), known.steward, false);
    let mut say = |kind: &str, key: &str, content: Value| {
        if actual.content(kind, key) != Some(&content) {
            steps.push(Step::State((kind.to_owned(), key.to_owned()), content));
        }
    };
    say("m.room.power_levels", "", levels);
    if !known.row.is_adopted {
        say("m.room.join_rules", "", closed_door());
    }
    say("m.room.history_visibility", "", json!({ "history_visibility": template.history.word() }));
    say("m.room.name", "", json!({ "name": wanted.name }));
    let said = |kind| actual.content(kind, "");
    if text(said("m.room.topic"), "topic") != wanted.topic.as_deref().unwrap_or_default() {
        let topic = wanted.topic.as_deref().unwrap_or_default();
        say("m.room.topic", "", json!({ "topic": topic, "m.topic": { "m.text": [{ "body": topic }] } }));
    }
    if text(said(LABEL), "label") != template.label.as_deref().unwrap_or_default() {
        let content = template.label.as_deref().map_or_else(|| json!({}), |label| json!({ "label": label }));
        say(LABEL, "", content);
    }
    steps.extend(links(actual, known));
    steps.extend(farewells(&wanted.people, actual, known));
    steps
}

fn text<'a>(content: Option<&'a Value>, field: &str) -> &'a str {
    content.and_then(|content| content.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// The steps by which the wanted space leads to a room, and no other one that did by rule.
fn links(actual: &Actual, known: &Known<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let via = || json!([known.authority]);
    if let Some(old) = known.spaces.old {
        steps.push(Step::Child(old.to_owned(), json!({})));
        let parent = ("m.space.parent", old.as_str());
        if actual.content(parent.0, parent.1).is_some_and(leads) {
            steps.push(Step::State((parent.0.to_owned(), parent.1.to_owned()), json!({})));
        }
    }
    if let Some((space, said)) = known.spaces.wanted {
        if !said.is_some_and(leads) {
            steps.push(Step::Child(space.to_owned(), json!({ "via": via() })));
        }
        if !actual.content("m.space.parent", space.as_str()).is_some_and(leads) {
            let content = json!({ "via": via(), "canonical": true });
            steps.push(Step::State(("m.space.parent".to_owned(), space.to_string()), content));
        }
    }
    let under = known.spaces.wanted.map(|(space, _)| space);
    if known.row.parent.as_deref() != under.map(RoomId::as_str) {
        steps.push(Step::Under(under.map(ToOwned::to_owned)));
    }
    steps
}

/// Whether what is said of a child or parent leads anywhere.
fn leads(content: &Value) -> bool {
    content.get("via").and_then(Value::as_array).is_some_and(|via| !via.is_empty())
}

/// Whom rules brought in and want no more.
fn farewells(people: &People, actual: &Actual, known: &Known<'_>) -> Vec<Step> {
    let wanted: BTreeSet<&OwnedUserId> = people.iter().map(|(user, _)| user).collect();
    let gone = known.brought.iter().filter(|user| !wanted.contains(user));
    let (mut leaves, mut drops) = (Vec::new(), Vec::new());
    for user in gone {
        match actual.presence(user) {
            Some(Presence::Joined | Presence::Waiting) => leaves.push(Step::Leave(user.clone())),
            Some(Presence::Banned) | None => drops.push(Step::Drop(user.clone())),
        }
    }
    leaves.extend(drops);
    leaves
}

/// The steps to a room that nobody wants any more: it is closed at once, and whom rules brought in stays for the days of
/// the hand-over to read. What was said in it stays.
pub(crate) fn to_closed(
    template: &Template,
    actual: &Actual,
    known: &Known<'_>,
    (day, last): (Date, Date),
) -> Vec<Step> {
    let mut steps = Vec::new();
    let nobody = People::new();
    let levels = levels(template, &nobody, Some(actual), known.steward, true);
    if actual.content("m.room.power_levels", "") != Some(&levels) {
        steps.push(Step::State(single("m.room.power_levels"), levels));
    }
    steps.extend(links(actual, known));
    if known.row.closed.is_none() {
        steps.push(Step::Close(day));
    }
    // `last` is the day whose closed rooms are left.
    if known.row.closed.unwrap_or(day) <= last {
        steps.extend(farewells(&nobody, actual, known));
    }
    steps
}
