//! Bodies and answers of a shape that is cheap to send and dear to build: lists in lists, countless small things.
//!
//! A list in a list takes four bytes on the wire and some 160 as a tree. The bounds here are multiples of what was
//! sent: few enough copies of it, and far below what any tree of it would take.

use bytes::Bytes;
use engine::Joining;
use engine::Remote as _;
use hostile::{Conduct, Hostile};
use http::{Request, StatusCode, header};
use ruma::{EventId, OwnedRoomId};
use serde_json::{Value, json};

use crate::{
    meter::Meter,
    net::{Net, Node, name, user},
};

const A: &str = "kanazawa.test";
const ALICE: &str = "@alice:kanazawa.test";
const MIB: usize = 1 << 20;

/// A server, a hostile one whose key it knows, and a room with both.
async fn member() -> (Net, Node, Hostile, OwnedRoomId) {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    mallory.join(&net, A, &room, "eve").await;
    (net, a, mallory, room)
}

/// JSON of about so many bytes: an item again and again, in a list.
fn list_of(item: &str, bytes: usize) -> String {
    format!("[{item}{}]", format!(",{item}").repeat(bytes / (item.len() + 1)))
}

/// A transaction of `mallory` to `kanazawa.test`, signed as if its body were `signed`.
fn transaction(mallory: &Hostile, id: &str, body: String, signed: &str) -> Request<Bytes> {
    let uri = format!("/_matrix/federation/v1/send/{id}");
    Request::put(&uri)
        .header(header::AUTHORIZATION, mallory.authorization(A, "PUT", &uri, signed.as_bytes()))
        .body(Bytes::from(body))
        .unwrap()
}

async fn ask(net: &Net, request: Request<Bytes>) -> (StatusCode, Value) {
    let answer = net.request(A, request).await.unwrap();
    (answer.status(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_body_that_nobody_signed_costs_a_few_times_its_size() {
    let meter = Meter::alone().await;
    let (net, _a, mallory, _room) = member().await;
    let shapes = [
        list_of("[[0]]", 8 * MIB),
        list_of(r#"{"b":0,"a":0}"#, 8 * MIB),
        // Every fourth key is out of order.
        format!("{{{}\"\":0}}", (0..MIB / 2).map(|n| format!("\"{}\":0,", n ^ 3)).collect::<String>()),
    ];
    for (number, body) in shapes.into_iter().enumerate() {
        let size = body.len();
        let request = transaction(&mallory, &number.to_string(), body, "{}");

        let ((status, answer), peak) = meter.peak(ask(&net, request)).await;

        assert_eq!((status, answer["errcode"].as_str()), (StatusCode::UNAUTHORIZED, Some("M_UNAUTHORIZED")));
        assert!(peak < 6 * size, "shape {number}: {peak} bytes for {size}");
    }
}

#[tokio::test]
async fn a_transaction_of_countless_small_things_is_refused_where_the_bound_is_passed() {
    let meter = Meter::alone().await;
    let (net, _a, mallory, _room) = member().await;
    for (id, field) in [("pdus", "pdus"), ("edus", "edus")] {
        let body = format!(r#"{{"{field}":{}}}"#, list_of("{}", 8 * MIB));
        let size = body.len();
        let request = transaction(&mallory, id, body.clone(), &body);
        drop(body);

        let ((status, answer), peak) = meter.peak(ask(&net, request)).await;

        assert_eq!((status, answer["errcode"].as_str()), (StatusCode::BAD_REQUEST, Some("M_BAD_JSON")));
        // The canonical form, and the message that is signed; the boxes would be ten times the body.
        assert!(peak < 4 * size, "{peak} bytes for {size}");
    }
}

#[tokio::test]
async fn an_event_of_megabytes_in_a_transaction_is_dropped_unread() {
    let meter = Meter::alone().await;
    let (net, _a, mallory, room) = member().await;
    let event = format!(r#"{{"room_id":"{room}","type":"x","content":{{"x":{}}}}}"#, list_of("[0]", 8 * MIB));
    let body = format!(r#"{{"pdus":[{event}]}}"#);
    drop(event);
    let size = body.len();
    let request = transaction(&mallory, "huge", body.clone(), &body);
    drop(body);

    let ((status, answer), peak) = meter.peak(ask(&net, request)).await;

    assert_eq!((status, answer), (StatusCode::OK, json!({ "pdus": {} })));
    assert!(peak < 4 * size, "{peak} bytes for {size}");
}

/// Lets `mallory` answer a join with the state of its room and an event of megabytes among it.
fn answer_with(mallory: &Hostile, state: Vec<Value>, chain: &[Value], huge: String) {
    let mut events: Vec<String> = state.iter().map(Value::to_string).collect();
    events.push(huge);
    let after = format!(r#"],"auth_chain":{}}}"#, json!(chain));
    let count = u64::try_from(events.len()).unwrap();
    // The last entry ends the list, for what follows it is not known before.
    let entry = move |number| {
        let event = &events[usize::try_from(number).unwrap()];
        if number + 1 == count { format!("{event}{after}") } else { event.clone() }
    };
    mallory.on("/send_join/", Conduct::list(r#"{"state":["#, count, entry, ""));
}

#[tokio::test]
async fn an_event_of_megabytes_in_the_state_of_a_room_is_left_out_unread() {
    let meter = Meter::alone().await;
    let (net, a, mallory, _) = member().await;
    let room = mallory.found("eve", "12");
    let huge = format!(r#"{{"room_id":"{}","type":"x","content":{}}}"#, room.id, list_of("[0]", 12 * MIB));
    let size = huge.len();
    answer_with(&mallory, room.state_events(), &room.auth_chain, huge);
    let (alice, via) = (user(ALICE), [name("mallory.test")]);

    let join = a.engine.join(&alice, &room.id, &via, Joining::default());
    let (joined, peak) = meter.peak(join).await;

    assert!(joined.is_ok(), "{joined:?}");
    assert!(peak < 8 * size, "{peak} bytes for {size}");
    drop(net);
}

#[tokio::test]
async fn a_room_whose_first_event_has_megabytes_is_not_joined() {
    let _meter = Meter::alone().await;
    let (_net, a, mallory, _) = member().await;
    let room = mallory.found("eve", "12");
    let is_first = |event: &Value| event["type"] == "m.room.create";
    let (first, rest): (Vec<Value>, Vec<Value>) = room.state_events().into_iter().partition(is_first);
    let huge = first[0].to_string().replacen('{', &format!(r#"{{"x":{},"#, list_of("[0]", MIB)), 1);
    let chain: Vec<Value> = room.auth_chain.iter().filter(|event| !is_first(event)).cloned().collect();
    answer_with(&mallory, rest, &chain, huge);

    let joined = a.engine.join(&user(ALICE), &room.id, &[name("mallory.test")], Joining::default()).await;

    let Err(room::Error::Remote(room::RemoteError::BadAnswer { server, .. })) = joined else {
        panic!("{joined:?}")
    };
    assert_eq!(server, "mallory.test");
}

#[tokio::test]
async fn an_item_of_megabytes_among_ids_is_left_out_unread() {
    let meter = Meter::alone().await;
    let (_net, a, mallory, room) = member().await;
    let size = 6 * MIB;
    let huge = list_of("[0]", size);
    let entry = move |number| if number == 0 { "\"$an-event\"".to_owned() } else { huge.clone() };
    mallory.on("/state_ids/", Conduct::list(r#"{"auth_chain_ids":[],"pdu_ids":["#, 2, entry, "]}"));
    let (from, to, event) = (name(A), name("mallory.test"), EventId::parse("$an-event").unwrap());

    let (ids, peak) = meter.peak(a.peering.state_ids(&from, &to, &room, &event)).await;

    assert_eq!(ids.unwrap().state, [event]);
    assert!(peak < 6 * size, "{peak} bytes for {size}");
}

#[tokio::test]
async fn a_profile_of_megabytes_is_not_read() {
    let meter = Meter::alone().await;
    let (_net, a, mallory, _room) = member().await;
    let entry = |_| "[0]".to_owned();
    mallory.on("/query/profile", Conduct::list(r#"{"x":["#, 1_000_000, entry, "]}"));

    let eve = mallory.user("eve");
    let (told, peak) = meter.peak(a.peering.query_profile(&name(A), &eve, None)).await;

    assert!(matches!(told, Err(room::RemoteError::BadAnswer { .. })), "{told:?}");
    // What the sender, who is in this process, holds of it counts too; the whole has 4 MiB.
    assert!(peak < 2 * MIB, "{peak} bytes");
}

/// What was wrong with an answer.
fn fault<T>(answer: Result<T, room::RemoteError>) -> String {
    match answer {
        Err(room::RemoteError::BadAnswer { cause, .. }) => cause,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[tokio::test]
async fn a_state_is_read_as_far_as_its_bound_in_bytes() {
    let meter = Meter::alone().await;
    let (_net, a, mallory, room) = member().await;
    // As many as there may be, and far too large: 37 MiB of ids, 95 MiB of events.
    let id = |number| format!("\"${number:0>254}\"");
    mallory.on("/state_ids/", Conduct::list(r#"{"auth_chain_ids":[],"pdu_ids":["#, 150_000, id, "]}"));
    let event = |number| format!(r#"{{"x":"{number:0>2000}"}}"#);
    mallory.on("/state/", Conduct::list(r#"{"auth_chain":[],"pdus":["#, 50_000, event, "]}"));
    let (from, to, event) = (name(A), name("mallory.test"), EventId::parse("$an-event").unwrap());

    let (ids, peak_of_ids) = meter.peak(a.peering.state_ids(&from, &to, &room, &event)).await;
    let (events, peak_of_events) = meter.peak(a.peering.state(&from, &to, &room, &event)).await;

    assert_eq!(fault(ids), "the answer is larger than 8 MiB");
    assert_eq!(fault(events), "the answer is larger than 24 MiB");
    assert!(peak_of_ids < 3 * 8 * MIB, "{peak_of_ids} bytes");
    assert!(peak_of_events < 3 * 24 * MIB, "{peak_of_events} bytes");
}

#[tokio::test]
async fn a_state_is_read_as_far_as_its_bound_in_items() {
    let _meter = Meter::alone().await;
    let (_net, a, mallory, room) = member().await;
    let (from, to, event) = (name(A), name("mallory.test"), EventId::parse("$an-event").unwrap());
    for (ids, events) in [
        (r#"{"auth_chain_ids":[],"pdu_ids":["#, r#"{"auth_chain":[],"pdus":["#),
        (r#"{"pdu_ids":[],"auth_chain_ids":["#, r#"{"pdus":[],"auth_chain":["#),
    ] {
        mallory.on("/state_ids/", Conduct::list(ids, 150_001, |number| format!("\"${number}\""), "]}"));
        mallory.on("/state/", Conduct::list(events, 50_001, |_| "{}".to_owned(), "]}"));

        let ids = fault(a.peering.state_ids(&from, &to, &room, &event).await);
        let events = fault(a.peering.state(&from, &to, &room, &event).await);

        assert!(ids.contains("at most 150000 items"), "{ids}");
        assert!(events.contains("at most 50000 items"), "{events}");
    }
}
