//! Events that are wrong in every way and yet rightly signed: none enters a room, none hurts a server.

use http::StatusCode;
use ruma::{
    CanonicalJsonValue,
    canonical_json::try_from_json_map,
    room_version_rules::RoomVersionRules,
    signatures::{Ed25519KeyPair, hash_and_sign_event},
};
use serde_json::{Value, json};

use crate::{
    net::seed,
    strangers::{ask, two},
};

const A: &str = "kanazawa.test";
const B: &str = "wajima.test";
const BOB: &str = "@bob:wajima.test";
const EVE: &str = "@eve:wajima.test";

/// Values that fit nowhere, or only where they are not meant to.
fn values() -> Vec<Value> {
    let mut nested = json!([]);
    for _ in 0..90 {
        nested = json!([nested]);
    }
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(9_007_199_254_740_992_u64),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("\u{0}"),
        json!("!none:wajima.test"),
        json!("$none"),
        json!("@eve:wajima.test:http"),
        json!("m.room.create"),
        json!("m.room.power_levels"),
        json!("あ".repeat(100)),
        json!("x".repeat(66_000)),
        json!([]),
        json!([null]),
        json!([["$none", {}]]),
        json!(vec!["$none"; 21]),
        json!({}),
        json!({ "sha256": 1 }),
        json!({ "wajima.test": { "ed25519:1": "AAAA" } }),
        json!({ "membership": "join", "users": { "@eve:wajima.test": 100 } }),
        nested,
    ]
}

/// `event` with each of its members, and some it lacks, taken away or made into something else.
fn variants(event: &Value) -> Vec<Value> {
    let mut found = vec![json!([event]), json!({}), json!("event")];
    let own = event.as_object().unwrap().keys().map(String::as_str);
    for key in own.chain(["state_key", "redacts", "event_id", "unsigned", "origin", "policy"]) {
        let mut without = event.clone();
        without.as_object_mut().unwrap().remove(key);
        found.push(without);
        for value in values() {
            let mut other = event.clone();
            other[key] = value;
            found.push(other);
        }
    }
    // A state event of somebody who may not, of each kind that decides something.
    for kind in
        ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.redaction"]
    {
        for state_key in [json!(""), json!(EVE), json!("@alice:kanazawa.test"), json!(7)] {
            for content in
                [json!({}), json!({ "membership": "join" }), json!({ "join_rule": 1, "users": [] })]
            {
                let mut other = event.clone();
                other["type"] = json!(kind);
                other["state_key"] = state_key.clone();
                other["content"] = content;
                found.push(other);
            }
        }
    }
    found
}

/// The key of `wajima.test` for ruma, which signs what our own types refuse to hold.
fn key_pair() -> Ed25519KeyPair {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend(seed(B));
    Ed25519KeyPair::from_der(&der, "1".to_owned()).unwrap()
}

/// Hashed and signed anew where that is possible at all, else as it was.
fn signed(event: Value, keys: &Ed25519KeyPair) -> Value {
    let RoomVersionRules { redaction, .. } = RoomVersionRules::V12;
    let Some(Ok(mut object)) = event.as_object().cloned().map(try_from_json_map) else { return event };
    match hash_and_sign_event(B, keys, &mut object, &redaction) {
        Ok(()) => serde_json::to_value(CanonicalJsonValue::Object(object)).unwrap(),
        Err(_) => event,
    }
}

fn ids(events: &[std::sync::Arc<room::read::event::StoredEvent>]) -> Vec<String> {
    events.iter().map(|event| event.event_id().to_string()).collect()
}

#[tokio::test]
async fn no_wrong_event_enters_a_room_or_stops_it() {
    let (net, a, b, room) = two().await;
    a.until(&room, async || a.membership(&room, BOB).await.is_some()).await;
    net.cut(A);
    b.say(BOB, &room, "good").await;
    let good: Value = serde_json::from_str(b.events(&room).await.pop().unwrap().pdu().json_str()).unwrap();
    net.mend(A);
    let before = ids(&a.events(&room).await);

    let mut of_eve = good.clone();
    of_eve["sender"] = json!(EVE);
    let keys = key_pair();
    assert_eq!(signed(good.clone(), &keys), good, "this is how wajima.test signs");
    let wrong: Vec<Value> = variants(&of_eve).into_iter().map(|event| signed(event, &keys)).collect();
    for (number, pdus) in wrong.chunks(50).enumerate() {
        let uri = format!("/_matrix/federation/v1/send/wrong{number}");
        let (status, answer) = ask(&net, "PUT", &uri, Some(&json!({ "pdus": pdus }).to_string())).await;
        assert!(status == StatusCode::OK || status.is_client_error(), "{status} {answer}");
    }
    for (number, event) in wrong.iter().step_by(7).enumerate() {
        for door in ["v2/send_join", "v2/send_leave", "v1/send_knock", "v1/send_join", "v1/send_leave"] {
            let uri =
                format!("/_matrix/federation/{door}/{}/%24wrong{number}", room.as_str().replace('!', "%21"));
            let (status, answer) = ask(&net, "PUT", &uri, Some(&event.to_string())).await;
            assert!(status.is_client_error(), "{uri} {event}: {status} {answer}");
            assert!(answer["errcode"].as_str().is_some_and(|code| code.starts_with("M_")), "{answer}");
        }
        let invite = json!({ "room_version": "12", "event": event, "invite_room_state": [] });
        let uri =
            format!("/_matrix/federation/v2/invite/{}/%24wrong{number}", room.as_str().replace('!', "%21"));
        let (status, answer) = ask(&net, "PUT", &uri, Some(&invite.to_string())).await;
        assert!(status.is_client_error(), "{uri} {event}: {status} {answer}");
    }

    // The room's queue is worked off in order: the good event comes last.
    let (status, answer) =
        ask(&net, "PUT", "/_matrix/federation/v1/send/good", Some(&json!({ "pdus": [good] }).to_string()))
            .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    a.until_said(&room, &["good"]).await;
    let after = ids(&a.events(&room).await);
    assert_eq!(after[..after.len() - 1], before, "something else has come in");
    assert_eq!(a.membership(&room, EVE).await, None);
    assert!(wrong.len() > 300, "{}", wrong.len());
}
