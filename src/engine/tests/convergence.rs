//! Servers that hear of the same events agree on the state, in whatever order they hear of them.
//!
//! Random rooms: several users of several servers act at the same time on different tips of the
//! graph, with kicks, bans and changes of power levels and join rules against each other. Three
//! servers under test join, get all events each in an order of its own, and must come to the state
//! of the plain model, before every single event.

use std::{collections::BTreeSet, sync::Arc};

use base::{Clock, Metrics, Random, Tasks};
use parking_lot::Mutex;
use pdu::{Authorities, Draft, Pdu, RoomVersion, resolve::StateMap};
use proptest::prelude::*;
use room::{
    AllowAll, RoomSerial, Root,
    tables::{EVENTS, Verdict},
};
use ruma::{
    OwnedEventId, OwnedServerName, OwnedUserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, json};
use store::{MemoryBackend, Options, Order, Range, Store};

use super::model::{Federation, World, authority, raw, user};
use crate::{Config, Engine, membership::Joining};

const SERVERS: [&str; 3] = ["kanazawa.test", "wajima.test", "hakusan.test"];
const OBSERVERS: [&str; 3] = ["kyoto.test", "osaka.test", "nara.test"];
const STEPS: u64 = 48;
/// So many tips a wide graph has at least.
const WIDE: usize = 24;

/// What the graph looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Few tips, and depths that are so.
    Narrow,
    /// More tips than an event can name, and depths that servers make up.
    Wide,
}

impl Shape {
    /// So many tips the graph may have.
    const fn max_tips(self) -> usize {
        match self {
            Self::Narrow => 5,
            Self::Wide => usize::MAX,
        }
    }
}

/// In which order a server gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// Each event after those that it names as previous.
    ParentsFirst,
    /// Any order; missing events have to be fetched.
    Shuffled,
}

struct Server {
    engine: Engine,
    world: Federation,
    _tasks: Tasks,
}

impl Server {
    async fn new(name: &str, world: &Federation, seed: u64) -> Self {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store =
            Store::open(Arc::new(MemoryBackend::new()), Options::default(), &tasks, &metrics).await.unwrap();
        let (clock, _) = Clock::manual(1_700_000_000_000);
        let world = world.clone();
        let engine = Engine::open(crate::Parts {
            store,
            config: Config::default(),
            authorities: Arc::new(Authorities::new([authority(name)])),
            clock,
            random: Random::seeded(seed),
            policy: Arc::new(AllowAll),
            projections: Vec::new(),
            remote: Arc::new(world.clone()),
            keys: Arc::new(world.clone()),
            tasks: &tasks,
            metrics: &metrics,
        });
        Self { engine: engine.await.unwrap(), world, _tasks: tasks }
    }

    async fn join(&self, observer: &OwnedUserId) {
        let room_id = self.world.0.lock().room_id.clone();
        let via = [OwnedServerName::try_from(SERVERS[0]).unwrap()];
        self.engine.join(observer, &room_id, &via, Joining::default()).await.unwrap();
    }

    async fn deliver(&self, pdus: &[Pdu]) {
        let Some(first) = pdus.first() else { return };
        let raws: Vec<_> = pdus.iter().map(raw).collect();
        let answers = self.engine.receive_transaction(first.sender().server_name(), &raws).await.unwrap();
        for answer in answers {
            answer.result.unwrap();
        }
    }

    /// Waits until all that was delivered has its place.
    async fn settle(&self) {
        super::net::settled(self.engine.store()).await;
    }

    /// The events of this server by which it tied extremities together, parents first.
    async fn merges(&self) -> Vec<Pdu> {
        let rows =
            self.engine.store().scan(&EVENTS, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
        let version = self.world.0.lock().version;
        let pdus = rows.iter().map(|(_, json)| Pdu::parse(version, json).unwrap());
        pdus.filter(|pdu| {
            *pdu.kind() == TimelineEventType::from("org.matrix.dummy_event")
                && self.engine.is_local(pdu.sender())
        })
        .collect()
    }

    async fn state(&self, room: RoomSerial, root: Root) -> BTreeSet<OwnedEventId> {
        let state = self.engine.rooms().all_state(room, root).await.unwrap();
        state.iter().map(|event| event.event_id().to_owned()).collect()
    }
}

fn ids(state: &StateMap) -> BTreeSet<OwnedEventId> {
    state.values().cloned().collect()
}

fn pick<'a, T>(random: &Random, items: &'a [T]) -> &'a T {
    &items[random.range(0..items.len() as u64) as usize]
}

/// What a user might do next; whether the room allows it is another question.
fn act(random: &Random, world: &World, state: &StateMap, users: &[OwnedUserId]) -> Draft {
    let sender = pick(random, users);
    // The administrator stays and stays in power, so that somebody can always speak.
    let target = pick(random, &users[1..]);
    let text = random.token(6);
    let set = |kind: &str, key: &str, content: Value| {
        Draft::state(sender, StateEventType::from(kind), key, &content).unwrap()
    };
    match random.range(0..14) {
        0..2 => set("m.room.topic", "", json!({ "topic": text })),
        2 => set("m.room.name", "", json!({ "name": text })),
        3..5 => {
            let membership =
                if sender == &users[0] { "join" } else { *pick(random, &["join", "join", "leave"]) };
            set("m.room.member", sender.as_str(), json!({ "membership": membership, "displayname": text }))
        }
        5..9 => {
            let membership = *pick(random, &["leave", "leave", "ban", "ban", "invite"]);
            set("m.room.member", target.as_str(), json!({ "membership": membership, "reason": text }))
        }
        9..11 => {
            let key = (StateEventType::RoomPowerLevels, String::new());
            let mut levels: Value = state
                .get(&key)
                .and_then(|id| serde_json::from_str(world.events[id].pdu.content().get()).ok())
                .unwrap_or_default();
            match random.range(0..4) {
                0..2 => levels["users"][target.as_str()] = (*pick(random, &[0, 25, 50, 75])).into(),
                2 => levels["events"]["m.room.topic"] = (*pick(random, &[0, 50, 75])).into(),
                _ => levels["ban"] = (*pick(random, &[25, 50, 75])).into(),
            }
            set("m.room.power_levels", "", levels)
        }
        11 => set("m.room.join_rules", "", json!({ "join_rule": *pick(random, &["public", "invite"]) })),
        _ => Draft::message(
            sender,
            TimelineEventType::RoomMessage,
            &json!({"msgtype": "m.text", "body": text}),
        )
        .unwrap(),
    }
}

/// Grows the room by concurrent acts; answers the events that the rules forbid.
///
/// All of it stands on the last observer's join: on a fork from before it the room may become closed, and
/// that observer, put out of it, would rightly refuse what is delivered.
fn grow(random: &Random, world: &mut World, users: &[OwnedUserId], shape: Shape) -> Vec<Pdu> {
    let mut forbidden = Vec::new();
    let begun = world.order.len() - 1;
    for _ in 0..STEPS {
        let mut prev: BTreeSet<OwnedEventId> = BTreeSet::new();
        if world.tips.len() >= shape.max_tips() {
            prev.extend(world.tips.iter().take(3).cloned());
        } else if shape == Shape::Wide && random.range(0..4) > 0 {
            // Somebody who has heard of nothing for long.
            let early = &world.order[begun..world.order.len().min(begun + 4)];
            prev.insert(pick(random, early).clone());
        } else {
            let recent = &world.order[world.order.len().saturating_sub(6).max(begun)..];
            for _ in 0..=random.range(0..3) {
                prev.insert(pick(random, recent).clone());
            }
        }
        let prev: Vec<_> = prev.into_iter().collect();
        let state = world.state_after(&prev);
        let draft = act(random, world, &state, users);
        let (pdu, before) = world.say(&draft, &prev, random);
        if world.add(pdu.clone(), before).is_none() && random.range(0..4) == 0 {
            forbidden.push(pdu);
        }
    }
    while shape == Shape::Wide && world.tips.len() <= WIDE {
        // What the administrator says on an early event is always allowed.
        let topic = json!({ "topic": random.token(6) });
        let draft = Draft::state(&users[0], StateEventType::RoomTopic, "", &topic).unwrap();
        let (pdu, before) = world.say(&draft, &world.order[begun..=begun], random);
        world.add(pdu, before).expect("the administrator may set the topic");
    }
    forbidden
}

/// All events but those known already, in an order for one server, some of them twice.
fn delivery(random: &Random, order: Delivery, known: &BTreeSet<OwnedEventId>, events: &[Pdu]) -> Vec<Pdu> {
    let mut left: Vec<Pdu> = events.iter().filter(|pdu| !known.contains(pdu.event_id())).cloned().collect();
    let mut given = known.clone();
    let mut sequence: Vec<Pdu> = Vec::new();
    while !left.is_empty() {
        let is_ready =
            |pdu: &Pdu| order == Delivery::Shuffled || pdu.prev_events().iter().all(|id| given.contains(id));
        let ready: Vec<usize> = (0..left.len()).filter(|index| is_ready(&left[*index])).collect();
        let pdu = left.swap_remove(*pick(random, &ready));
        given.insert(pdu.event_id().to_owned());
        sequence.push(pdu);
        if random.range(0..8) == 0 {
            sequence.push(pick(random, &sequence).clone());
        }
    }
    sequence
}

/// Tells everybody of the events by which servers under test tied the graph together.
async fn hear_of_merges(servers: &[(Server, BTreeSet<OwnedEventId>)], world: &Federation) {
    loop {
        let mut merges = Vec::new();
        for (server, _) in servers {
            merges.extend(server.merges().await);
        }
        let new: Vec<Pdu> = {
            let mut world = world.0.lock();
            merges.retain(|pdu| !world.events.contains_key(pdu.event_id()));
            merges.sort_by_key(|pdu| (pdu.sender().to_owned(), pdu.depth()));
            for pdu in &merges {
                let before = world.state_after(&pdu.prev_events().to_vec());
                world.add(pdu.clone(), before).expect("the room allows what servers do here");
            }
            merges
        };
        if new.is_empty() {
            return;
        }
        for (server, _) in servers {
            for pdu in &new {
                server.deliver(std::slice::from_ref(pdu)).await;
            }
            server.settle().await;
        }
    }
}

/// In the end somebody speaks who has seen everything.
async fn conclude(
    servers: &[(Server, BTreeSet<OwnedEventId>)],
    world: &Federation,
    speaker: &OwnedUserId,
    random: &Random,
) -> OwnedEventId {
    loop {
        let (pdu, is_last) = {
            let mut world = world.0.lock();
            let tips: Vec<OwnedEventId> = world.tips.iter().take(pdu::MAX_PREV_EVENTS).cloned().collect();
            let word = json!({"msgtype": "m.text", "body": "以上"});
            let draft = Draft::message(speaker, TimelineEventType::RoomMessage, &word).unwrap();
            let (pdu, before) = world.say(&draft, &tips, random);
            world.add(pdu.clone(), before).expect("the administrator may speak");
            (pdu, world.tips.len() == 1)
        };
        for (server, _) in servers {
            server.deliver(std::slice::from_ref(&pdu)).await;
            server.settle().await;
        }
        hear_of_merges(servers, world).await;
        if is_last && world.0.lock().tips.len() == 1 {
            return pdu.event_id().to_owned();
        }
    }
}

async fn all_servers_agree(seed: u64, version: RoomVersion, order: Delivery, shape: Shape) {
    let random = Random::seeded(seed);
    let users = [
        "@aoi:kanazawa.test",
        "@ren:wajima.test",
        "@mei:hakusan.test",
        "@sho:kanazawa.test",
        "@yui:wajima.test",
    ]
    .map(user);
    let mut world = World::new(version, &SERVERS, &users, &random);
    OBSERVERS.iter().for_each(|name| world.introduce(name));
    let world = Federation(Arc::new(Mutex::new(world)));

    let mut servers = Vec::new();
    for (name, seed) in OBSERVERS.iter().zip(1..) {
        let server = Server::new(name, &world, seed).await;
        server.join(&user(&format!("@watcher:{name}"))).await;
        let known: BTreeSet<OwnedEventId> = world.0.lock().order.iter().cloned().collect();
        servers.push((server, known));
    }
    world.0.lock().lies = shape == Shape::Wide;
    let forbidden = grow(&random, &mut world.0.lock(), &users, shape);
    let mut events: Vec<Pdu> = {
        let world = world.0.lock();
        world.order.iter().map(|id| world.events[id].pdu.clone()).collect()
    };
    events.extend(forbidden.iter().cloned());

    for (server, known) in &servers {
        let mut sequence = &delivery(&random, order, known, &events)[..];
        while !sequence.is_empty() {
            let (some, rest) = sequence.split_at(sequence.len().min(1 + random.range(0..12) as usize));
            server.deliver(some).await;
            sequence = rest;
        }
        server.settle().await;
    }
    hear_of_merges(&servers, &world).await;
    let last = conclude(&servers, &world, &users[0], &random).await;

    let world = world.0.lock().events.clone();
    let room_id = world[&last].pdu.room_id().to_owned();
    for ((server, known), name) in servers.iter().zip(OBSERVERS) {
        let room = server.engine.rooms().room(&room_id).await.unwrap().unwrap();
        for (id, model) in world.iter().filter(|(id, _)| !known.contains(*id)) {
            let event = server.engine.rooms().event(&room_id, id).await.unwrap().expect("delivered");
            let meta = event.meta();
            assert!(
                matches!(meta.verdict, Verdict::Accepted | Verdict::SoftFailed),
                "{name}: {id} {} is {:?}",
                event.kind(),
                meta.verdict
            );
            assert_eq!(
                server.state(room.serial, meta.before).await,
                ids(&model.before),
                "{name} before {id}"
            );
            assert_eq!(server.state(room.serial, meta.after).await, ids(&model.after), "{name} after {id}");
        }
        for pdu in &forbidden {
            if let Some(event) = server.engine.rooms().event(&room_id, pdu.event_id()).await.unwrap() {
                assert_eq!(event.meta().verdict, Verdict::Rejected, "{name}: {}", pdu.event_id());
            }
        }
        let report = server.engine.verify_state(&room_id).await.unwrap();
        assert_eq!(report.broken, [], "{name}");
        let reclaimed = server.engine.reclaim_state(&room_id).await.unwrap();
        assert_eq!(reclaimed.kept, report.chunks, "{name}: {reclaimed:?}");
        assert_eq!(server.engine.verify_state(&room_id).await.unwrap(), report, "{name}");
        let head = server.engine.rooms().get_head(&room).await.unwrap();
        let tips: Vec<_> = head.extremities.iter().map(|tip| tip.event_id.clone()).collect();
        assert_eq!(tips, std::slice::from_ref(&last), "{name}");
        assert_eq!(server.state(room.serial, head.current).await, ids(&world[&last].after), "{name} now");
    }
}

fn run(seed: u64, version: &str, order: Delivery, shape: Shape) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(all_servers_agree(seed, RoomVersion::parse(version).unwrap(), order, shape));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn servers_agree_on_the_state_whatever_order_events_come_in(
        seed: u64, version in prop::sample::select(vec!["6", "10", "11", "12"]),
    ) {
        run(seed, version, Delivery::ParentsFirst, Shape::Narrow);
    }

    #[test]
    fn servers_agree_on_the_state_when_events_come_before_their_ancestors(
        seed: u64, version in prop::sample::select(vec!["6", "10", "11", "12"]),
    ) {
        run(seed, version, Delivery::Shuffled, Shape::Narrow);
    }

    #[test]
    fn servers_agree_where_the_graph_has_more_tips_than_an_event_can_name_and_depths_are_lies(
        seed: u64, version in prop::sample::select(vec!["6", "10", "11", "12"]),
        order in prop::sample::select(vec![Delivery::ParentsFirst, Delivery::Shuffled]),
    ) {
        run(seed, version, order, Shape::Wide);
    }
}

/// Engine in which servers once disagreed.
#[test]
fn servers_agree_where_they_once_did_not() {
    run(13_265_902_582_752_789_450, "10", Delivery::Shuffled, Shape::Narrow);
    run(8_979_228_078_665_337_991, "6", Delivery::Shuffled, Shape::Narrow);
    run(14_149_827_082_534_871_170, "10", Delivery::Shuffled, Shape::Narrow);
    for order in [Delivery::ParentsFirst, Delivery::Shuffled] {
        run(8_535_996_472_543_836_404, "12", order, Shape::Narrow);
        run(3_984_204_995_045_054_445, "12", order, Shape::Narrow);
    }
}
