//! One odd field, and what it must not cost; how much of a space other servers are told.

use engine::{CreateRoom, InitialState, Joining, Preset, Profile, Remote as _};
use hostile::{Conduct, Hostile};
use http::StatusCode;
use room::{
    RemoteError,
    read::{receipts::ReceiptKind, space::SpaceAnswer},
    tables::Membership,
};
use ruma::{OwnedRoomId, event_id, events::StateEventType, room_id};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    net::{Net, Node, name, user},
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
    node.engine.create(&user(ALICE), wishes).await.unwrap()
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
        let joined = b.engine.join(&user(BOB), &room, &[name(A)], Default::default()).await;
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
async fn a_private_room_is_described_to_a_server_whose_user_is_invited() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room =
        room_with(&a, None, vec![first("m.room.join_rules", "", &json!({ "join_rule": "invite" }))]).await;
    let uri = format!("/_matrix/federation/v1/hierarchy/{}", room.as_str().replace('!', "%21"));
    let look = async || ask(&net, "GET", &uri, None).await.0;

    assert_eq!(look().await, StatusCode::NOT_FOUND);
    b.make_account(BOB).await;
    let invited = a.engine.invite(&user(ALICE), &room, &user(BOB), &Profile::default(), None).await;
    invited.unwrap();
    assert_eq!(look().await, StatusCode::OK);
    b.engine.leave(&user(BOB), &room, None).await.unwrap();
    a.until(&room, async || a.membership(&room, BOB).await == Some(Membership::Leave)).await;
    assert_eq!(look().await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_space_with_fat_children_is_told_in_an_answer_that_can_be_read() {
    let net = Net::default();
    let (a, _b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let fat = json!({ "via": [A], "fat": "x".repeat(60_000) });
    let mut named: Vec<InitialState> =
        (0..500).map(|number| first("m.space.child", &format!("!{number}:kanazawa.test"), &fat)).collect();
    named.push(first("m.space.child", "!lean:kanazawa.test", &json!({ "via": [A] })));
    let space = room_with(&a, Some("m.space"), named).await;

    let uri = format!("/_matrix/federation/v1/hierarchy/{}", space.as_str().replace('!', "%21"));
    let (status, answer) = ask(&net, "GET", &uri, None).await;

    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer.to_string().len() < 8 << 20);
    let read: SpaceAnswer = serde_json::from_value(answer).unwrap();
    let children = read.room.children_state.unwrap();
    assert_eq!(children.len(), 1, "those that the other server would leave out are not sent");
    assert!(children[0].get().contains("!lean:kanazawa.test"));
}

#[tokio::test]
async fn a_refusal_with_odd_fields_is_told_for_what_it_is() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = mallory.found("eve", "12");
    let odd = json!({ "errcode": "M_FORBIDDEN", "error": null, "room_version": 7 });
    mallory.on("/make_join/", Conduct::Say(StatusCode::FORBIDDEN, odd));

    let refused = a.engine.join(&user(ALICE), &room.id, &[name("mallory.test")], Joining::default()).await;

    let Err(room::Error::Remote(RemoteError::Refused { status, code, message, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((status, code.as_str(), message.as_str()), (403, "M_FORBIDDEN", ""));
}

#[tokio::test]
async fn an_odd_list_of_servers_does_not_fail_a_join() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let many: Vec<String> = (0..25_000).map(|number| format!("s{number}.mallory.test")).collect();
    for (version, servers) in [("11", Value::Null), ("12", json!(many)), ("10", json!(["x.test", 5, {}]))] {
        let room = mallory.found("eve", version);
        let lie = servers.clone();
        mallory.on("/send_join/", Conduct::alter(move |answer| answer["servers_in_room"] = lie.clone()));

        let joined = a.engine.join(&user(ALICE), &room.id, &[name("mallory.test")], Joining::default()).await;

        assert!(joined.is_ok(), "{version}: {joined:?}");
    }
}

#[tokio::test]
async fn an_odd_item_among_the_ids_of_a_state_is_left_out() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let odd = json!({ "pdu_ids": ["$a", 5, [["$b"]], "b", {}, "$c"], "auth_chain_ids": [null] });
    mallory.on("/state_ids/", Conduct::say(odd));
    let (from, to) = (name(A), name("mallory.test"));
    let (room, event) = (room_id!("!x:mallory.test"), event_id!("$x"));

    let ids = a.peering.state_ids(&from, &to, room, event).await.unwrap();

    assert_eq!(ids.state, ["$a", "$c"]);
    assert!(ids.auth_chain.is_empty());
}

#[tokio::test]
async fn one_odd_key_or_signature_takes_nothing_from_the_others() {
    let net = Net::default();
    let _a = Node::start(&net, &[A]).await;
    let odd_keys: fn(&mut Value) = |document| {
        document["verify_keys"]["ed25519:odd"] = json!({ "key": 5 });
        document["old_verify_keys"] = json!({ "ed25519:old": { "key": "AAAA" }, "ed25519:older": null });
    };
    let no_old_keys: fn(&mut Value) = |document| document["old_verify_keys"] = Value::Null;
    for (server, change) in [("mallory.test", odd_keys), ("milly.test", no_old_keys)] {
        let mallory = Hostile::new(server);
        net.add(&mallory);
        let mut document = mallory.key_document(4_000_000_000_000);
        document.as_object_mut().unwrap().remove("signatures");
        change(&mut document);
        let mut document = mallory.signed(&document);
        document["signatures"][server]["ed25519:odd"] = json!(5);
        document["signatures"]["noto.test"] = json!("signed");
        mallory.on("/key/v2/server", Conduct::say(document));

        let uri = "/_matrix/federation/v1/query/profile?user_id=%40nobody%3Akanazawa.test";
        let answer = mallory.ask(&net, A, "GET", uri, None).await;

        assert_eq!((answer.status, answer.errcode()), (404, Some("M_NOT_FOUND")), "{}", answer.text);
    }
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
