//! Auth chains: the same as a plain walk finds, in few reads, whatever the graph looks like; and what is answered
//! without reading events.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use base::{Metrics, Random, Tasks};
use pdu::{Pdu, RoomVersion};
use room::{
    EventSerial, RoomSerial,
    read::room::RoomInfo,
    tables::{EVENT_META, EVENTS},
};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, ServerName};
use serde_json::{json, value::RawValue};
use store::{Batch, MemoryDisk, Options, Order, Range, Store};

use super::{
    counting::{Cost, Count, Counting},
    inbound::{auth_of, forge},
    net::{Net, Server, state, user},
};
use crate::{
    graph::{AUTH, AuthGraph, AuthRow, index_auth},
    head::Given,
    inbound::receive::Arrival,
    view::{Fresh, View},
};

type Edges = HashMap<EventSerial, Vec<EventSerial>>;

/// A server over a disk, with nothing in memory, that counts what it reads.
pub(super) async fn counting(net: &Net, name: &'static str, disk: &MemoryDisk) -> (Server, Count) {
    let metrics = Metrics::new();
    let (backend, count) = Counting::open(disk);
    let store = Store::open(Arc::new(backend), Options::default(), &Tasks::new(&metrics), &metrics).await;
    (net.server_over(&[name], disk, store.unwrap()).await, count)
}

pub(super) async fn info(server: &Server, room: &RoomId) -> Arc<RoomInfo> {
    server.rooms.room(room).await.unwrap().unwrap()
}

async fn chain(server: &Server, room: &RoomInfo, of: &[EventSerial]) -> HashSet<EventSerial> {
    let nothing = Fresh::default();
    let view = View { engine: &server.engine, room, layers: [&nothing, &nothing] };
    view.auth_chain(&mut AuthGraph::default(), of).await.unwrap()
}

fn plain_chain(edges: &Edges, of: &[EventSerial]) -> HashSet<EventSerial> {
    let auth = |event: &EventSerial| edges.get(event).cloned().unwrap_or_default();
    let mut chain = HashSet::new();
    let mut pending: Vec<EventSerial> = of.iter().flat_map(auth).collect();
    while let Some(event) = pending.pop() {
        if chain.insert(event) {
            pending.extend(auth(&event));
        }
    }
    chain
}

async fn put(server: &Server, room: &RoomInfo, edges: &Edges) {
    let mut batch = Batch::new();
    for (event, auth) in edges {
        batch.put(&AUTH, &(room.serial, *event), &AuthRow { auth: auth.clone() });
    }
    server.store.commit(batch).await.unwrap();
}

/// A server with an empty room of which it knows nothing.
async fn bare() -> (Server, Arc<RoomInfo>, Count) {
    let net = Net::default();
    let (server, count) = counting(&net, "a.test", &MemoryDisk::default()).await;
    let room_id = OwnedRoomId::try_from("!bare:b.test").unwrap();
    let room = server.engine.ensure_room(&room_id, RoomVersion::V11).await.unwrap();
    (server, room, count)
}

#[tokio::test]
async fn a_chain_is_what_a_plain_walk_finds_whatever_is_claimed() {
    for seed in 0..40 {
        let random = Random::seeded(seed);
        let (server, room, _) = bare().await;
        let count = 1 + random.range(0..400);
        // Some of them are not here. Circles and the same event twice, which honest servers do not make.
        let one = || EventSerial(1_000 + random.range(0..count) * 7);
        let mut edges = Edges::new();
        for _ in 0..count {
            edges.insert(one(), (0..random.range(0..11)).map(|_| one()).collect());
        }
        put(&server, &room, &edges).await;
        for _ in 0..4 {
            let of: Vec<_> = (0..=random.range(0..3)).map(|_| one()).collect();
            assert_eq!(chain(&server, &room, &of).await, plain_chain(&edges, &of), "seed {seed}");
        }
    }
}

/// Which serial stands at a place of a line.
type Serials = fn(u64) -> u64;

/// A line of events, each of which refers to the next one and to one before the line.
fn line(length: u64, serial: impl Fn(u64) -> u64) -> Edges {
    let event = |place| EventSerial(100_000 + serial(place));
    let mut edges: Edges =
        (0..length).map(|place| (event(place), vec![event(place + 1), EventSerial(1)])).collect();
    edges.insert(event(length), Vec::new());
    edges.insert(EventSerial(1), Vec::new());
    edges
}

#[tokio::test]
async fn a_chain_of_any_depth_takes_few_reads() {
    const LENGTH: u64 = 10_000;
    // As they come, the other way round, and as two processes with numbers of their own write them.
    let shapes: [(&str, Serials); 3] = [
        ("as they come", |place| LENGTH - place),
        ("the other way round", |place| place),
        ("by turns", |place| (LENGTH - place) / 2 + (place % 2) * 50_000),
    ];
    for (name, serial) in shapes {
        let (server, room, count) = bare().await;
        let edges = line(LENGTH, serial);
        put(&server, &room, &edges).await;
        let first = EventSerial(100_000 + serial(0));
        let (found, cost) = count.of(chain(&server, &room, &[first])).await;
        assert_eq!(found.len() as u64, LENGTH + 1, "{name}");
        assert!(cost.calls <= 20, "{name}: {cost:?}");
        let (again, cost) = count.of(chain(&server, &room, &[first])).await;
        assert_eq!((again.len(), cost.calls), (found.len(), 0), "{name}");
    }
}

#[tokio::test]
async fn a_graph_of_a_hundred_thousand_events_is_read_by_pages_and_kept_within_its_memory() {
    const LENGTH: u64 = 100_000;
    let (server, room, count) = bare().await;
    put(&server, &room, &line(LENGTH, |place| LENGTH - place)).await;
    let first = [EventSerial(100_000 + LENGTH)];
    let nothing = Fresh::default();
    let view = View { engine: &server.engine, room: &room, layers: [&nothing, &nothing] };
    let mut graph = AuthGraph::default();
    let (found, cost) = count.of(view.auth_chain(&mut graph, &first)).await;
    assert_eq!(found.unwrap().len() as u64, LENGTH + 1);
    assert!(cost.calls <= 40, "{cost:?}");
    let kept = &server.engine.0.auth_kept;
    assert!((LENGTH..12 << 20).contains(&kept.bytes()), "{}", kept.bytes());

    // Who comes next finds it in memory; and who resolves reads it once, however little memory there is.
    let (_, cost) = count.of(chain(&server, &room, &first)).await;
    assert_eq!(cost.calls, 0);
    kept.clear();
    let (_, cost) = count.of(view.auth_chain(&mut graph, &first)).await;
    assert_eq!(cost.calls, 0);
    // Of a large graph no more is read than is around where the walk goes.
    let (_, cost) = count.of(chain(&server, &room, &[EventSerial(100_002)])).await;
    assert!(cost.calls <= 4 && kept.bytes() < 2_000, "{cost:?}, {} bytes", kept.bytes());
}

#[tokio::test]
async fn a_wide_chain_takes_few_reads() {
    let (server, room, count) = bare().await;
    let members = 30_000;
    let mut edges = line(20, |place| 20 - place);
    for member in 0..members {
        let invite = EventSerial(200_000 + member);
        edges.insert(invite, vec![EventSerial(100_020), EventSerial(1)]);
        edges.insert(EventSerial(300_000 + member), vec![invite, EventSerial(100_020 - member % 20)]);
    }
    put(&server, &room, &edges).await;
    let joins: Vec<_> = (0..members).map(|member| EventSerial(300_000 + member)).collect();
    let (found, cost) = count.of(chain(&server, &room, &joins)).await;
    assert_eq!(found, plain_chain(&edges, &joins));
    assert!(cost.calls <= 60, "{cost:?}");
}

/// The auth chain of all state of a room, by the ids that the events name.
async fn named_chain(server: &Server, room: &RoomId) -> HashSet<OwnedEventId> {
    let rows =
        server.store.scan(&EVENTS, Range::prefix(&info(server, room).await.serial), Order::Ascending, 9_999);
    let pdus = rows.await.unwrap().into_iter().map(|(_, json)| Pdu::parse(RoomVersion::V11, &json).unwrap());
    let pdus: HashMap<_, _> = pdus.map(|pdu| (pdu.event_id().to_owned(), pdu)).collect();
    let state = server.state(room).await;
    pdu::resolve::auth_chain(state.into_iter().map(|(.., id)| id), &pdus)
}

/// A room of a.test that one of b.test has just joined. He was invited when other join rules stood, to which nothing
/// else refers; and b.test, which was not in the room then, knows the invite without what it stands on.
async fn invited(net: &Net) -> (Server, Server, OwnedRoomId) {
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    a.invite(&hanako, &room, &taro).await.unwrap();
    let rules = json!({ "join_rule": "public", "at": "once more" });
    a.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rules), None).await.unwrap();
    b.join(&taro, &room, "a.test").await.unwrap();
    (a, b, room)
}

/// A room of a.test with so many members there, and two of b.test.
async fn town(net: &Net, members: usize) -> (Server, Server, OwnedRoomId) {
    let (a, b, room) = invited(net).await;
    b.join(&user("@saburo:b.test"), &room, "a.test").await.unwrap();
    b.deliver(&a).await;
    for member in 0..members {
        a.join(&user(&format!("@member{member}:a.test")), &room, "a.test").await.unwrap();
    }
    a.deliver(&b).await;
    (a, b, room)
}

type Row = ((RoomSerial, EventSerial), AuthRow);

async fn auth_rows(server: &Server) -> Vec<Row> {
    server.store.scan(&AUTH, Range::all(), Order::Ascending, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn what_lacked_its_auth_events_when_it_came_is_in_the_chain_with_them() {
    let net = Net::default();
    let (a, b, room) = invited(&net).await;
    for server in [&a, &b] {
        let room_info = info(server, &room).await;
        let head = server.rooms.get_head(&room_info).await.unwrap();
        let state = server.rooms.snapshots().all(room_info.serial, head.current).await.unwrap();
        let state: Vec<_> = state.into_iter().map(|(_, event)| event).collect();
        let chain: Vec<_> = chain(server, &room_info, &state).await.into_iter().collect();
        let events = server.rooms.load_all(room_info.serial, &chain).await.unwrap();
        let ids: HashSet<_> = events.iter().map(|event| event.event_id().to_owned()).collect();
        assert_eq!(ids, named_chain(server, &room).await);
    }
}

#[tokio::test]
async fn rooms_from_before_there_were_rows_of_the_graph_get_the_same_rows() {
    let net = Net::default();
    let (a, b, _) = invited(&net).await;
    for server in [&a, &b] {
        let rows = auth_rows(server).await;
        let mut batch = Batch::new();
        rows.iter().for_each(|(key, _)| batch.delete(&AUTH, key));
        server.store.commit(batch).await.unwrap();
        for _ in 0..2 {
            index_auth(&server.store).await.unwrap();
            assert_eq!(auth_rows(server).await, rows);
        }
    }
}

/// What some answers cost in a room with so many members, to a server that has just begun.
async fn costs(members: usize) -> Vec<(&'static str, Cost)> {
    let net = Net::default();
    net.know_key("c.test");
    let (a, _b, room) = town(&net, members).await;
    let said = a.say(&user("@hanako:a.test"), &room, "一").await;
    let ids: Vec<OwnedEventId> = a.state(&room).await.into_iter().map(|(.., id)| id).collect();
    let b_test = <&ServerName>::try_from("b.test").unwrap();
    let disk = a.crash().await;
    let mut costs = Vec::new();

    let (a, count) = counting(&net, "a.test", &disk).await;
    let (found, cost) = count.of(a.engine.state_ids_for_server(b_test, &room, &said)).await;
    assert_eq!(found.unwrap().state.len(), ids.len());
    costs.push(("state_ids", cost));
    let (found, cost) = count.of(a.engine.stored(&*info(&a, &room).await, &ids)).await;
    assert_eq!(found.unwrap().len(), ids.len());
    costs.push(("presence", cost));
    let disk = a.crash().await;

    let (a, count) = counting(&net, "a.test", &disk).await;
    let (joined, cost) = count.of(join_short(&a, &room)).await;
    assert!(joined.members_omitted && joined.state.len() < 20 && joined.auth_chain.len() < 20);
    costs.push(("send_join without members", cost));
    costs
}

/// Another server joins and wants to be told no members.
async fn join_short(a: &Server, room: &RoomId) -> crate::AcceptedJoin {
    let c_test = <&ServerName>::try_from("c.test").unwrap();
    let jiro = user("@jiro:c.test");
    let versions = [RoomVersion::V11.id()];
    let made = a.engine.make_member_template(c_test, room, &jiro, room::tables::Membership::Join, &versions);
    let template = pdu::Template::parse(RoomVersion::V11, &made.await.unwrap().event).unwrap();
    let unsigned = pdu::build(
        RoomVersion::V11,
        &template.draft,
        Some(&template.room_id),
        &template.prev_events,
        &template.auth_events,
        template.depth,
        ruma::MilliSecondsSinceUnixEpoch(1_700_000_000_000_u64.try_into().unwrap()),
    );
    let join = pdu::sign(unsigned.unwrap(), &super::net::authority("c.test")).unwrap().into_pdu();
    a.engine.accept_join(c_test, room, join.event_id(), &join.to_raw(), true).await.unwrap()
}

#[tokio::test]
async fn answers_of_ids_read_no_events_and_short_ones_none_of_members() {
    let (few, many) = (costs(10).await, costs(150).await);
    for ((name, few), (_, many)) in few.iter().zip(&many) {
        assert!(many.events <= few.events, "{name}: {few:?} with 10 members, {many:?} with 150");
        assert!(many.calls <= few.calls + 4, "{name}: {few:?} with 10 members, {many:?} with 150");
    }
    assert!(few[0].1.events <= 3, "only the event that is asked for: {few:?}");
    assert_eq!(few[1].1.events, 0);
}

/// A room with so many members, a server of it that has just begun, and five topics that two of b.test set at the same
/// place.
async fn forked(net: &Net, members: usize) -> (Server, Count, OwnedRoomId, Vec<Box<RawValue>>) {
    let (a, _b, room) = town(net, members).await;
    let hanako = user("@hanako:a.test");
    let senders = ["@taro:b.test", "@saburo:b.test"].map(user);
    let levels = json!({ "users": { "@hanako:a.test": 100, "@taro:b.test": 50, "@saburo:b.test": 50 } });
    a.engine.send(&room, state(&hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    let base = tips(&a, &room).await;
    let mut forks = Vec::new();
    for fork in 0..5 {
        let sender = &senders[fork % 2];
        let auth = auth_of(&a, &room, sender.as_str()).await;
        let draft = state(sender, "m.room.topic", "", &json!({ "topic": format!("{fork}") }));
        forks.push(forge(RoomVersion::V11, &room, &draft, &base, &auth).to_raw());
    }
    let disk = a.crash().await;
    let (a, count) = counting(net, "a.test", &disk).await;
    (a, count, room, forks)
}

async fn tips(server: &Server, room: &RoomId) -> Vec<OwnedEventId> {
    server.rooms.forward_extremities(&*info(server, room).await).await.unwrap()
}

#[tokio::test]
async fn forks_are_resolved_without_looking_at_members() {
    let costs = async |members: usize| {
        let net = Net::default();
        let (a, count, room, forks) = forked(&net, members).await;
        let ((), cost) = count.of(a.receive("b.test", &forks)).await;
        assert_eq!(tips(&a, &room).await.len(), 5);
        cost.events
    };
    let (few, many) = (costs(10).await, costs(150).await);
    assert!(many <= few, "{few} events with 10 members, {many} with 150");
}

#[tokio::test]
async fn who_speaks_does_not_wait_until_forks_are_resolved() {
    let net = Net::default();
    let (a, count, room, forks) = forked(&net, 3).await;
    let shut = count.shut_graph().await;
    let b_test = ruma::OwnedServerName::try_from("b.test").unwrap();
    a.engine.receive_transaction(&b_test, &forks).await.unwrap();
    let meanwhile = async {
        while count.came_for_graph() == 0 {
            tokio::task::yield_now().await;
        }
        a.say(&user("@hanako:a.test"), &room, "一").await
    };
    // Real time, for a test that fails.
    let said = tokio::time::timeout(std::time::Duration::from_secs(30), meanwhile).await;
    let said = said.expect("it waits for the resolution");
    drop(shut);
    a.settled().await;
    // What was made on the tip as it was did not fit any more, and was done over.
    let tips = tips(&a, &room).await;
    assert!(tips.contains(&said) && tips.len() == 6, "{tips:?}");
}

fn resolutions(server: &Server) -> u64 {
    server.engine.0.metrics.resolutions.get()
}

#[tokio::test]
async fn what_is_made_over_again_under_the_lock_is_not_resolved_again() {
    let net = Net::default();
    let (a, _, room_id, forks) = forked(&net, 3).await;
    let (engine, room, hanako) = (&a.engine, info(&a, &room_id).await, user("@hanako:a.test"));
    let origin = ruma::OwnedServerName::try_from("b.test").unwrap();
    let events = engine.verify_raw(&room, &forks).await.unwrap();
    let arrivals: Vec<_> = events.into_iter().map(|event| Arrival::new(event, origin.clone())).collect();
    let tip = async || engine.lock(&room).await.unwrap().live().unwrap().copy();

    // Somebody speaks each time before it can be submitted.
    let mut given = Given::default();
    for text in ["一", "二"] {
        let tip = tip().await;
        let made = engine.make_batch(&room, &tip, &arrivals, given).await.unwrap().unwrap();
        a.say(&hanako, &room_id, text).await;
        given = engine.submit_made(&room, &tip, made).await.unwrap().err().unwrap();
    }
    let before = resolutions(&a);
    assert!(before >= 4, "{before}");
    let tip = tip().await;
    let made = engine.make_batch(&room, &tip, &arrivals, given).await.unwrap().unwrap();
    assert_eq!(resolutions(&a), before);
    assert!(engine.submit_made(&room, &tip, made).await.unwrap().is_ok());
    engine.lock(&room).await.unwrap().land(engine).await.unwrap();
    assert_eq!(tips(&a, &room_id).await.len(), 6);
}

#[tokio::test]
async fn an_answer_with_a_hole_is_no_answer() {
    let net = Net::default();
    let (a, _b, room) = town(&net, 3).await;
    let said = a.say(&user("@hanako:a.test"), &room, "一").await;
    let disk = a.crash().await;
    let (a, _) = counting(&net, "a.test", &disk).await;
    let room_info = info(&a, &room).await;
    let head = a.rooms.get_head(&room_info).await.unwrap();
    let member = crate::pipeline::name("m.room.member", "@member1:a.test");
    let nothing = Fresh::default();
    let member = a.engine.stored_view(&room_info, &nothing).state(head.current, &[member]).await.unwrap();
    let key = (room_info.serial, member[0].as_ref().unwrap().serial());
    let mut batch = Batch::new();
    batch.delete(&EVENTS, &key);
    batch.delete(&EVENT_META, &key);
    a.store.commit(batch).await.unwrap();
    let disk = a.crash().await;
    let (a, _) = counting(&net, "a.test", &disk).await;
    let b_test = <&ServerName>::try_from("b.test").unwrap();
    let ids = a.engine.state_ids_for_server(b_test, &room, &said).await;
    assert!(matches!(ids, Err(room::Error::Inconsistent(_))), "{ids:?}");
    let state = a.engine.state_for_server(b_test, &room, &said).await;
    assert!(matches!(state, Err(room::Error::Inconsistent(_))), "{state:?}");
}

#[tokio::test]
async fn a_short_answer_names_members_though_many_before_them_have_left() {
    let net = Net::default();
    net.know_key("c.test");
    let (a, _b, room) = town(&net, 0).await;
    let unnamed = state(&user("@hanako:a.test"), "m.room.name", "", &json!({}));
    a.engine.send(&room, unnamed, None).await.unwrap();
    for guest in 0..110 {
        let guest = user(&format!("@guest{guest}:a.test"));
        a.join(&guest, &room, "a.test").await.unwrap();
        a.engine.leave(&guest, &room, None).await.unwrap();
    }
    let joined = join_short(&a, &room).await;
    let events: Vec<_> =
        joined.state.iter().map(|text| Pdu::parse(RoomVersion::V11, text).unwrap()).collect();
    let mut members: Vec<_> = events
        .iter()
        .filter(|event| event.is_state(&"m.room.member".into(), event.state_key().unwrap()))
        .map(|event| event.state_key().unwrap())
        .collect();
    members.sort_unstable();
    assert_eq!(members, ["@hanako:a.test", "@saburo:b.test", "@taro:b.test"]);
}
