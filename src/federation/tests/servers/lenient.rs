//! One odd field, and what it must not cost; how much of a space other servers are told.

use http::StatusCode;
use room::{CreateRoom, InitialState, Preset, read::receipts::ReceiptKind};
use ruma::{OwnedRoomId, events::StateEventType};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    net::{Net, Node, user},
    strangers::{ask, two},
};

const A: &str = "kanazawa.test";
const B: &str = "wajima.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";

fn first(kind: &str, key: &str, content: &Value) -> InitialState {
    InitialState {
        kind: StateEventType::from(kind),
        state_key: key.to_owned(),
        content: to_raw_value(content).unwrap(),
    }
}

async fn room_with(node: &Node, room_type: Option<&str>, initial_state: Vec<InitialState>) -> OwnedRoomId {
    let mut creation_content = serde_json::Map::new();
    creation_content.extend(room_type.map(|room_type| ("type".to_owned(), json!(room_type))));
    let wishes =
        CreateRoom { preset: Preset::PublicChat, creation_content, initial_state, ..CreateRoom::default() };
    node.rooms.create(&user(ALICE), wishes).await.unwrap()
}

#[tokio::test]
async fn a_server_acl_with_odd_fields_keeps_out_whom_it_names_and_nobody_else() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    for (content, expected) in [
        (json!({ "allow": ["*"], "deny": ["x", 5], "allow_ip_literals": null }), true),
        (json!({ "allow": ["*", {}], "deny": [null, "wajima.*"] }), false),
    ] {
        let room = room_with(&a, None, vec![first("m.room.server_acl", "", &content)]).await;
        let joined = b.rooms.join(&user(BOB), &room, &[crate::net::name(A)], Default::default()).await;
        assert_eq!(joined.is_ok(), expected, "{content}: {joined:?}");
        if expected {
            b.say(BOB, &room, "here").await;
            a.until_said(&room, &["here"]).await;
        }
    }
}

#[tokio::test]
async fn all_children_of_a_space_are_seen_from_another_server() {
    let net = Net::default();
    let (a, _b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let mut children = Vec::new();
    for _ in 0..120 {
        children.push(room_with(&a, None, Vec::new()).await);
    }
    let via = json!({ "via": [A], "suggested": null });
    let named = children.iter().map(|child| first("m.space.child", child.as_str(), &via)).collect();
    let space = room_with(&a, Some("m.space"), named).await;

    let uri = format!("/_matrix/federation/v1/hierarchy/{}", space.as_str().replace('!', "%21"));
    let (status, answer) = ask(&net, "GET", &uri, None).await;

    assert_eq!(status, StatusCode::OK, "{answer}");
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    assert_eq!((count(&answer["room"]["children_state"]), count(&answer["children"])), (120, 120));
}

#[tokio::test]
async fn an_event_nested_deeply_costs_no_other_event_of_its_transaction() {
    let (net, a, b, room) = two().await;
    net.cut(A);
    b.say(BOB, &room, "plain").await;
    let event = b.events(&room).await.pop().unwrap();
    net.mend(A);
    let nested = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let deep = format!(r#"{{"room_id":"{room}","type":"x","content":{{"a":{nested}}}}}"#);
    let body =
        format!(r#"{{"origin":"{B}","origin_server_ts":1,"pdus":[{deep},{}]}}"#, event.pdu().json_str());

    let (status, answer) = ask(&net, "PUT", "/_matrix/federation/v1/send/deep", Some(&body)).await;

    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["pdus"][event.event_id().as_str()], json!({}), "{answer}");
    a.until_said(&room, &["plain"]).await;
}

#[tokio::test]
async fn an_odd_receipt_costs_no_other() {
    let (net, a, _b, room) = two().await;
    let read = a.events(&room).await.pop().unwrap().event_id().to_owned();
    let odd = json!({ "data": { "ts": "now", "thread_id": null }, "event_ids": [5, read] });
    let content = json!({
        "!other:wajima.test": 7,
        "nonsense": {},
        room.as_str(): { "m.read": { BOB: odd, "nobody": {}, "@eve:wajima.test": [] }, "m.odd": 5 },
    });
    let edu = json!({ "edu_type": "m.receipt", "content": content });
    let body = json!({ "origin": B, "origin_server_ts": 1, "pdus": [], "edus": [edu] }).to_string();

    let (status, answer) = ask(&net, "PUT", "/_matrix/federation/v1/send/odd", Some(&body)).await;

    assert_eq!(status, StatusCode::OK, "{answer}");
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let receipt = a.rooms.receipt(info.serial, &user(BOB), ReceiptKind::Public, None).await.unwrap();
    assert_eq!(receipt.unwrap().event_id, read);
}
