//! State resolution and the walks over the graph of auth events.

use std::collections::{HashMap, HashSet};

use pdu::{
    Pdu, RoomVersion,
    resolve::{
        AuthGraph, Preload, StateMap, auth_chain, auth_difference, conflicted_subgraph, resolve, resolve_part,
    },
};
use proptest::prelude::*;
use ruma::{EventId, OwnedEventId, events::StateEventType};
use serde_json::json;

use crate::world::{HANAKO, JIRO, Room, TARO};

/// A graph without events: only who refers to whom.
struct Edges(HashMap<OwnedEventId, Vec<OwnedEventId>>);

fn id(name: &str) -> OwnedEventId {
    EventId::parse(format!("${name}")).unwrap()
}

impl Edges {
    fn new(edges: &[(&str, &[&str])]) -> Self {
        Self(edges.iter().map(|(from, to)| (id(from), to.iter().map(|to| id(to)).collect())).collect())
    }
}

impl AuthGraph for Edges {
    fn event(&self, _: &EventId) -> Option<Pdu> {
        None
    }

    fn auth_events(&self, id: &EventId) -> Vec<OwnedEventId> {
        self.0.get(id).cloned().unwrap_or_default()
    }
}

fn ids(names: &[&str]) -> HashSet<OwnedEventId> {
    names.iter().map(|name| id(name)).collect()
}

fn state(entries: &[(&str, &str)]) -> StateMap {
    entries.iter().map(|(key, event)| ((StateEventType::from("x"), (*key).to_owned()), id(event))).collect()
}

#[test]
fn auth_chains_are_followed_to_the_end() {
    let graph = Edges::new(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &["e"]), ("x", &["e"])]);
    assert_eq!(auth_chain([id("a")], &graph), ids(&["b", "c", "d", "e"]));
    assert_eq!(auth_chain([id("a"), id("b")], &graph), ids(&["b", "c", "d", "e"]));
    assert_eq!(auth_chain([id("x"), id("e")], &graph), ids(&["e"]));
    assert_eq!(auth_chain([id("unknown")], &graph), ids(&[]));
}

#[test]
fn the_auth_difference_is_what_not_every_chain_has() {
    let graph =
        Edges::new(&[("a", &["p", "q"]), ("b", &["q", "r"]), ("u", &["p"]), ("q", &["z"]), ("r", &["z"])]);
    let left = state(&[("k", "a"), ("same", "u")]);
    let right = state(&[("k", "b"), ("same", "u")]);
    // p is in the chain of u, which both have.
    assert_eq!(auth_difference(&[left.clone(), right.clone()], &graph), ids(&["r"]));
    let right = state(&[("k", "b")]);
    assert_eq!(auth_difference(&[left.clone(), right], &graph), ids(&["p", "r"]));
    assert_eq!(auth_difference(&[left.clone(), left], &graph), ids(&[]));
    assert_eq!(auth_difference(&[], &graph), ids(&[]));
}

#[test]
fn the_conflicted_subgraph_lies_between_conflicted_events() {
    // top → m → low → root, and side → low; n hangs beside the way, w leads nowhere conflicted.
    let graph = Edges::new(&[
        ("top", &["m", "w"]),
        ("m", &["low"]),
        ("low", &["root"]),
        ("side", &["low"]),
        ("w", &["root"]),
    ]);
    assert_eq!(conflicted_subgraph([id("top"), id("low")], &graph), ids(&["top", "m", "low"]));
    assert_eq!(conflicted_subgraph([id("top"), id("side")], &graph), ids(&["top", "side"]));
    assert_eq!(conflicted_subgraph([id("top"), id("root")], &graph), ids(&["top", "m", "low", "root", "w"]));
}

/// Loads as a store would, in rounds; returns the rounds that it took.
fn preload(states: &[StateMap], events: &HashMap<OwnedEventId, Pdu>) -> (Preload, usize) {
    let mut preload = Preload::new(states);
    let mut rounds = 0;
    loop {
        let needs = preload.needs();
        if needs.is_empty() {
            return (preload, rounds);
        }
        rounds += 1;
        preload.supply(needs.iter().filter_map(|id| events.get(id).cloned()));
    }
}

fn resolved(version: RoomVersion, rooms: &[&Room]) -> StateMap {
    let mut events = HashMap::new();
    for room in rooms {
        events.extend(room.events.clone());
    }
    let states: Vec<_> = rooms.iter().map(|room| room.state.clone()).collect();
    let (preload, _) = preload(&states, &events);
    let result = resolve(version, &states, &preload).unwrap();
    assert_eq!(result, resolve(version, &states, &events).unwrap(), "what was preloaded suffices");
    let mirrored: Vec<_> = states.into_iter().rev().collect();
    assert_eq!(result, resolve(version, &mirrored, &events).unwrap(), "the order does not matter");
    result
}

fn key(kind: &str, state_key: &str) -> (StateEventType, String) {
    (kind.into(), state_key.to_owned())
}

#[test]
fn states_that_agree_need_no_events() {
    let room = Room::new(RoomVersion::V12);
    let states = [room.state.clone(), room.state.clone()];
    let (preload, rounds) = preload(&states, &HashMap::new());
    assert_eq!((rounds, preload.len(), preload.is_empty()), (0, 0, true));
    assert_eq!(resolve(RoomVersion::V12, &states, &preload).unwrap(), room.state);
}

#[test]
fn what_only_one_side_has_is_added_if_the_rules_allow() {
    for version in RoomVersion::SUPPORTED {
        let mut left = Room::new(version);
        left.join(TARO);
        let mut right = left.clone();
        left.put(HANAKO, "m.room.topic", Some(""), json!({ "topic": "左" }));
        right.at(2_000_000).join(JIRO);
        let state = resolved(version, &[&left, &right]);
        assert_eq!(state.len(), left.state.len() + 1);
        assert!(state.contains_key(&key("m.room.member", JIRO)), "{version}");
        assert!(state.contains_key(&key("m.room.topic", "")));
    }
}

#[test]
fn a_ban_wins_over_what_the_banned_one_did_meanwhile() {
    for version in RoomVersion::SUPPORTED {
        let mut left = Room::new(version);
        left.join(TARO);
        let hanako =
            if version < RoomVersion::V12 { json!({ HANAKO: 100, TARO: 50 }) } else { json!({ TARO: 50 }) };
        left.put(HANAKO, "m.room.power_levels", Some(""), json!({ "users": hanako }));
        let mut right = left.clone();
        let ban = left.at(3_000_000).put(HANAKO, "m.room.member", Some(TARO), json!({ "membership": "ban" }));
        right.at(2_000_000).put(TARO, "m.room.topic", Some(""), json!({ "topic": "乗っ取り" }));
        right.put(TARO, "m.room.join_rules", Some(""), json!({ "join_rule": "invite" }));
        let state = resolved(version, &[&left, &right]);
        assert_eq!(state[&key("m.room.member", TARO)], ban.event_id(), "{version}");
        assert_eq!(state.get(&key("m.room.topic", "")), None, "{version}");
        assert_eq!(state[&key("m.room.join_rules", "")], left.state[&key("m.room.join_rules", "")]);
    }
}

#[test]
fn the_later_of_two_equal_changes_stands() {
    for version in RoomVersion::SUPPORTED {
        let mut left = Room::new(version);
        let mut right = left.clone();
        left.at(2_000_000).put(HANAKO, "m.room.topic", Some(""), json!({ "topic": "先" }));
        let later = right.at(2_000_001).put(HANAKO, "m.room.topic", Some(""), json!({ "topic": "後" }));
        let state = resolved(version, &[&left, &right]);
        assert_eq!(state[&key("m.room.topic", "")], later.event_id(), "{version}");
    }
}

#[test]
fn events_that_the_store_lacks_are_not_asked_for_twice() {
    let mut left = Room::new(RoomVersion::V11);
    let right = left.clone();
    left.join(TARO);
    let states = [left.state.clone(), right.state.clone()];
    let mut events = left.events.clone();
    let levels = left.state[&key("m.room.power_levels", "")].clone();
    events.remove(&levels);
    let (preload, rounds) = preload(&states, &events);
    assert!(rounds <= 3, "{rounds}");
    assert!(preload.event(&levels).is_none());
}

#[test]
fn supplying_a_whole_chain_at_once_needs_one_round() {
    let mut left = Room::new(RoomVersion::V12);
    for topic in 0..20 {
        let levels = json!({ "users": {}, "ban": topic });
        left.put(HANAKO, "m.room.power_levels", Some(""), levels);
    }
    let mut right = left.clone();
    left.join(TARO);
    right.join(JIRO);
    let states = [left.state.clone(), right.state.clone()];
    let mut events = left.events.clone();
    events.extend(right.events.clone());
    let (_, rounds) = preload(&states, &events);
    assert!(rounds > 10, "one round for each link: {rounds}");
    let mut at_once = Preload::new(&states);
    at_once.supply(events.values().cloned());
    assert_eq!(at_once.needs(), Vec::<OwnedEventId>::new());
    let one = resolve(RoomVersion::V12, &states, &at_once).unwrap();
    assert_eq!(one, resolve(RoomVersion::V12, &states, &events).unwrap());
}

#[test]
fn the_create_event_of_version_12_is_loaded_though_no_auth_event_names_it() {
    let mut room = Room::new(RoomVersion::V12);
    let topic = room.put(HANAKO, "m.room.topic", Some(""), json!({ "topic": "x" }));
    let mut chain = Preload::of_chains([topic.event_id().to_owned()]);
    while !chain.needs().is_empty() {
        let needs = chain.needs();
        chain.supply(needs.iter().filter_map(|id| room.events.get(id).cloned()));
    }
    assert!(chain.event(&room.state[&key("m.room.create", "")]).is_some());
}

/// One step of a random fork: who does what.
fn any_step() -> impl Strategy<Value = (usize, u8, u32)> {
    (0..3_usize, 0..9_u8, 0..5_u32)
}

/// Does a step if the room's rules allow it.
fn step(room: &mut Room, (who, what, value): (usize, u8, u32)) {
    let people = [HANAKO, TARO, JIRO];
    let (me, other) = (people[who], people[(who + 1) % 3]);
    let member = |membership: &str| json!({ "membership": membership, "n": value });
    let (kind, state_key, content) = match what {
        0 => ("m.room.topic", "", json!({ "topic": value })),
        1 => ("m.room.name", "", json!({ "name": value })),
        2 => ("m.room.join_rules", "", json!({ "join_rule": if value < 3 { "public" } else { "invite" } })),
        3 => {
            let mut users = serde_json::Map::new();
            if room.version < RoomVersion::V12 {
                users.insert(HANAKO.to_owned(), 100.into());
            }
            users.insert(TARO.to_owned(), (value * 25).into());
            users.insert(JIRO.to_owned(), 50.into());
            ("m.room.power_levels", "", json!({ "users": users }))
        }
        4 => ("m.room.member", me, member("leave")),
        5 => ("m.room.member", other, member("leave")),
        6 => ("m.room.member", other, member("ban")),
        7 => ("m.room.member", other, member("invite")),
        _ => ("m.room.member", me, member("join")),
    };
    room.try_send(me, kind, Some(state_key), content).ok();
}

type StateKey = (StateEventType, String);

/// The states, cut down to what [`resolve_part`] must be given.
fn without_bystanders(states: &[StateMap], graph: &impl AuthGraph) -> (HashSet<StateKey>, Vec<StateMap>) {
    let agreed = |key: &StateKey| states.iter().all(|state| state.get(key) == states[0].get(key));
    let conflicted = states.iter().flatten().filter(|(key, _)| !agreed(key)).map(|(_, id)| id.clone());
    let conflicted: Vec<OwnedEventId> = conflicted.collect();
    let mut full = auth_difference(states, graph);
    full.extend(conflicted_subgraph(conflicted, graph));
    let mut needed: HashSet<StateKey> = [key("m.room.create", ""), key("m.room.power_levels", "")].into();
    for pdu in full.iter().filter_map(|id| graph.event(id)) {
        needed.insert((pdu.kind().to_string().into(), pdu.state_key().unwrap().to_owned()));
        needed.extend(pdu::auth_types(&pdu).unwrap());
    }
    let cut = |state: &StateMap| {
        let mut state = state.clone();
        state.retain(|key, _| needed.contains(key));
        state
    };
    let parts = states.iter().map(cut).collect();
    (needed, parts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Servers see forks in any order, and several at a time; all must end at the same state.
    #[test]
    fn resolution_does_not_mind_the_order_of_its_inputs(
        version in prop::sample::select(vec![RoomVersion::V3, RoomVersion::V6, RoomVersion::V10, RoomVersion::V11, RoomVersion::V12]),
        common in prop::collection::vec(any_step(), 0..5),
        forks in prop::collection::vec(prop::collection::vec(any_step(), 1..7), 2..5),
        clocks in prop::collection::vec(2_000_000..2_000_010_u32, 5),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let mut trunk = Room::new(version);
        trunk.join(TARO);
        trunk.join(JIRO);
        for one in common {
            step(&mut trunk, one);
        }
        let mut events = trunk.events.clone();
        let mut states = Vec::new();
        for (steps, clock) in forks.into_iter().zip(clocks) {
            let mut room = trunk.clone();
            room.at(clock);
            for one in steps {
                step(&mut room, one);
            }
            events.extend(room.events);
            states.push(room.state);
        }
        let (loaded, _) = preload(&states, &events);
        let result = resolve(version, &states, &loaded).unwrap();
        // The loaded part is enough, and maps iterate in another order in each run.
        prop_assert_eq!(&result, &resolve(version, &states, &events).unwrap());
        let by = shuffle.index(states.len());
        states.rotate_left(by);
        prop_assert_eq!(&result, &resolve(version, &states, &loaded).unwrap());
        states.reverse();
        prop_assert_eq!(&result, &resolve(version, &states, &loaded).unwrap());
        // A state given twice is no other vote than given once.
        states.push(states[0].clone());
        prop_assert_eq!(&result, &resolve(version, &states, &loaded).unwrap());
        // Leaving out what all agree on and nothing is checked against leaves the same out of the answer.
        let (needed, parts) = without_bystanders(&states, &loaded);
        let part = resolve_part(version, &parts, auth_difference(&states, &loaded), &loaded).unwrap();
        let mut expected = result.clone();
        expected.retain(|key, _| needed.contains(key));
        prop_assert_eq!(&expected, &part);
        // What is resolved stood in one of the states, or was displaced by what did not hold.
        let difference = auth_difference(&states, &loaded);
        let between = conflicted_subgraph(states.iter().flat_map(|state| state.values().cloned()), &loaded);
        for (key, id) in &result {
            let stood = states.iter().any(|state| state.get(key) == Some(id));
            prop_assert!(stood || difference.contains(id) || between.contains(id));
        }
    }
}
