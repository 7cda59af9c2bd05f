//! What other servers may ask, and what they are told when it makes no sense.

use bytes::Bytes;
use engine::InboxLimits;
use hostile::Hostile;
use http::{Request, StatusCode, header};
use pdu::{Draft, json::Numbers};
use ruma::{RoomId, events::TimelineEventType};
use serde_json::{Value, json};

use crate::net::{Net, Node, authority, user};

const A: &str = "kanazawa.test";
const B: &str = "wajima.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";

/// How `wajima.test` would sign a request to `destination`.
fn authorization(destination: &str, method: &str, uri: &str, body: Option<&str>) -> String {
    let content = body.map(|body| pdu::json::canonicalize(body.as_bytes(), Numbers::Lax).unwrap_or_default());
    let mut message = String::from("{");
    if let Some(content) = &content {
        message.push_str(&format!("\"content\":{content},"));
    }
    message.push_str(&format!(
        "\"destination\":\"{destination}\",\"method\":\"{method}\",\"origin\":\"{B}\",\"uri\":\"{uri}\"}}"
    ));
    let signer = authority(B);
    let signature = signer.sign_bytes(message.as_bytes());
    format!(
        "X-Matrix origin={B},destination=\"{destination}\",key=\"{}\",sig=\"{signature}\"",
        signer.key_id()
    )
}

/// A request with this `Authorization` to the machine of `kanazawa.test`.
async fn ask_with(
    net: &Net,
    authorization: &str,
    method: &str,
    uri: &str,
    body: Option<&str>,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::AUTHORIZATION, authorization)
        .body(Bytes::from(body.unwrap_or_default().to_owned()))
        .unwrap();
    let answer = net.request(A, request).await.unwrap();
    let json = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
    (answer.status(), json)
}

/// A request of `wajima.test` to `destination` as it would sign it, sent to the machine of `kanazawa.test`.
async fn ask_as(
    net: &Net,
    destination: &str,
    method: &str,
    uri: &str,
    body: Option<&str>,
) -> (StatusCode, Value) {
    ask_with(net, &authorization(destination, method, uri, body), method, uri, body).await
}

pub(crate) async fn ask(net: &Net, method: &str, uri: &str, body: Option<&str>) -> (StatusCode, Value) {
    ask_as(net, A, method, uri, body).await
}

async fn ask_unsigned(net: &Net, uri: &str) -> (StatusCode, Value) {
    let answer = net.request(A, Request::get(uri).body(Bytes::new()).unwrap()).await.unwrap();
    (answer.status(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

fn encoded(id: &str) -> String {
    id.replace('!', "%21").replace(':', "%3A").replace('$', "%24").replace('@', "%40").replace('#', "%23")
}

/// Two servers in one room.
pub(crate) async fn two() -> (Net, Node, Node, ruma::OwnedRoomId) {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    (net, a, b, room)
}

#[tokio::test]
async fn a_transaction_that_comes_again_gets_the_same_answer_and_has_no_second_effect() {
    let (net, a, b, room) = two().await;
    net.cut(A);
    b.say(BOB, &room, "once").await;
    let event = b.events(&room).await.pop().unwrap();
    net.mend(A);
    let body = format!("{{\"origin\":\"{B}\",\"origin_server_ts\":1,\"pdus\":[{}]}}", event.pdu().json_str());
    let uri = "/_matrix/federation/v1/send/again";
    let first = ask(&net, "PUT", uri, Some(&body)).await;
    assert_eq!(first, (StatusCode::OK, json!({ "pdus": { event.event_id().as_str(): {} } })));
    assert_eq!(ask(&net, "PUT", uri, Some(&body)).await, first);
    let other = "/_matrix/federation/v1/send/other";
    assert_eq!(ask(&net, "PUT", other, Some(&body)).await, first);
    a.until_said(&room, &["once"]).await;
    b.until(&room, async || b.sender.is_idle()).await;
    assert_eq!(a.said(&room).await, ["once"]);
}

#[tokio::test]
async fn one_bad_event_does_not_fail_the_others() {
    let (net, a, b, room) = two().await;
    net.cut(A);
    b.say(BOB, &room, "good").await;
    let event = b.events(&room).await.pop().unwrap();
    net.mend(A);
    let pdus = [
        "{}".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        r#"{"room_id":"!unknown:wajima.test"}"#.to_owned(),
        format!(r#"{{"room_id":"{room}","type":"m.room.message"}}"#),
        event.pdu().json_str().replace(&b.names[0].to_string(), "else.test"),
        event.pdu().json_str().to_owned(),
    ];
    let edus = [
        r#"{"edu_type":"m.typing"}"#,
        r#"{"edu_type":"m.typing","content":{"room_id":1}}"#,
        r#"{"edu_type":"m.receipt","content":{"!x:y":{"m.read":[]}}}"#,
        r#"{"edu_type":"org.unknown","content":{}}"#,
        "7",
    ];
    let body = format!("{{\"pdus\":[{}],\"edus\":[{}]}}", pdus.join(","), edus.join(","));
    let (status, answer) = ask(&net, "PUT", "/_matrix/federation/v1/send/mixed", Some(&body)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["pdus"][event.event_id().as_str()], json!({}));
    a.until_said(&room, &["good"]).await;
}

#[tokio::test]
async fn transactions_have_bounds() {
    let (net, ..) = two().await;
    let of = |pdus: usize, edus: usize| {
        let list = |count: usize, item: &str| vec![item; count].join(",");
        format!(
            "{{\"pdus\":[{}],\"edus\":[{}]}}",
            list(pdus, "{}"),
            list(edus, r#"{"edu_type":"x","content":{}}"#)
        )
    };
    for (id, pdus, edus, expected) in [
        ("a", 50, 100, StatusCode::OK),
        ("b", 51, 0, StatusCode::BAD_REQUEST),
        ("c", 0, 101, StatusCode::BAD_REQUEST),
    ] {
        let uri = format!("/_matrix/federation/v1/send/{id}");
        let (status, answer) = ask(&net, "PUT", &uri, Some(&of(pdus, edus))).await;
        assert_eq!(status, expected, "{answer}");
    }
}

#[tokio::test]
async fn requests_that_prove_nothing_are_refused() {
    let (net, _a, _b, room) = two().await;
    let uri = format!(
        "/_matrix/federation/v1/make_join/{}/{}",
        encoded(room.as_str()),
        encoded("@eve:wajima.test")
    );
    let (status, answer) = ask_unsigned(&net, &uri).await;
    assert_eq!((status, answer["errcode"].as_str()), (StatusCode::UNAUTHORIZED, Some("M_UNAUTHORIZED")));
    let good = authorization(A, "GET", &uri, None);
    let bad = [
        authorization("elsewhere.test", "GET", &uri, None),
        authorization(A, "GET", "/_matrix/federation/v1/version", None),
        authorization(A, "PUT", &uri, None),
        authorization(A, "GET", &uri, Some("{}")),
        good.replace(&format!("origin={B}"), "origin=noto.test"),
        good.replace("ed25519:1", "ed25519:2"),
        good.replace("ed25519:1", "curve25519:1"),
        good.replace("sig=\"", "sig=\"A"),
        good.replace("X-Matrix", "Bearer"),
        "X-Matrix".to_owned(),
        "X-Matrix origin=,destination=,key=,sig=".to_owned(),
        format!("X-Matrix origin=\"{}\",key=\"ed25519:1\",sig=\"AAAA\"", "x".repeat(5_000)),
    ];
    for authorization in bad {
        let (status, answer) = ask_with(&net, &authorization, "GET", &uri, None).await;
        let code = answer["errcode"].as_str();
        assert_eq!((status, code), (StatusCode::UNAUTHORIZED, Some("M_UNAUTHORIZED")), "{authorization}");
    }
    let (status, answer) = ask_with(&net, &good, "GET", &format!("{uri}?ver=12"), None).await;
    assert_eq!((status, answer["errcode"].as_str()), (StatusCode::UNAUTHORIZED, Some("M_UNAUTHORIZED")));
    let (status, answer) = ask(&net, "PUT", "/_matrix/federation/v1/send/x", Some("{\"pdus\":")).await;
    assert_eq!((status, answer["errcode"].as_str()), (StatusCode::BAD_REQUEST, Some("M_NOT_JSON")));
    let (status, answer) = ask(&net, "GET", "/_matrix/federation/v1/nothing", None).await;
    assert_eq!((status, answer["errcode"].as_str()), (StatusCode::NOT_FOUND, Some("M_UNRECOGNIZED")));
}

#[tokio::test]
async fn malformed_questions_get_a_matrix_error_and_never_a_500() {
    let (net, _a, _b, room) = two().await;
    let room = encoded(room.as_str());
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let cases: Vec<(&str, String, Option<&str>)> = vec![
        ("GET", "/_matrix/federation/v1/event/nonsense".into(), None),
        ("GET", "/_matrix/federation/v1/event/%24unknown".into(), None),
        ("GET", "/_matrix/federation/v1/event/%FF%FE".into(), None),
        ("GET", format!("/_matrix/federation/v1/state/{room}"), None),
        ("GET", format!("/_matrix/federation/v1/state/{room}?event_id=x"), None),
        ("GET", format!("/_matrix/federation/v1/state_ids/{room}?event_id=%24x"), None),
        ("GET", "/_matrix/federation/v1/state_ids/%21unknown%3Ax.test?event_id=%24x".into(), None),
        ("GET", format!("/_matrix/federation/v1/backfill/{room}"), None),
        ("GET", format!("/_matrix/federation/v1/backfill/{room}?v=%24x&limit=many"), None),
        ("GET", format!("/_matrix/federation/v1/event_auth/{room}/%24x"), None),
        ("GET", format!("/_matrix/federation/v1/timestamp_to_event/{room}"), None),
        ("GET", format!("/_matrix/federation/v1/timestamp_to_event/{room}?ts=-1&dir=f"), None),
        ("GET", format!("/_matrix/federation/v1/timestamp_to_event/{room}?ts=1&dir=x"), None),
        ("GET", format!("/_matrix/federation/v1/make_join/{room}/nobody"), None),
        ("GET", format!("/_matrix/federation/v1/make_join/{room}/%40eve%3Aelse.test?ver=12"), None),
        ("GET", format!("/_matrix/federation/v1/make_join/{room}/%40eve%3Awajima.test?ver=strange"), None),
        ("GET", "/_matrix/federation/v1/make_leave/%21no%3Ax.test/%40eve%3Awajima.test".into(), None),
        ("PUT", format!("/_matrix/federation/v2/send_join/{room}/%24x"), Some("{}")),
        ("PUT", format!("/_matrix/federation/v2/send_join/{room}/%24x"), Some("[1]")),
        ("PUT", format!("/_matrix/federation/v2/send_leave/{room}/%24x"), Some("null")),
        ("PUT", format!("/_matrix/federation/v2/invite/{room}/%24x"), Some("{}")),
        (
            "PUT",
            format!("/_matrix/federation/v2/invite/{room}/%24x"),
            Some(r#"{"room_version":"99","event":{},"invite_room_state":[]}"#),
        ),
        ("POST", format!("/_matrix/federation/v1/get_missing_events/{room}"), Some("{}")),
        ("POST", format!("/_matrix/federation/v1/get_missing_events/{room}"), Some(&deep)),
        ("GET", "/_matrix/federation/v1/query/profile?user_id=%40user1%3Alocalhost%3Ahttp".into(), None),
        ("GET", "/_matrix/federation/v1/query/profile?user_id=%40nobody%3Akanazawa.test".into(), None),
        ("GET", "/_matrix/federation/v1/query/profile".into(), None),
        ("GET", "/_matrix/federation/v1/query/directory?room_alias=%23none%3Akanazawa.test".into(), None),
        ("GET", "/_matrix/federation/v1/query/directory?room_alias=none".into(), None),
        ("GET", "/_matrix/federation/v1/user/devices/%40nobody%3Akanazawa.test".into(), None),
        ("PUT", "/_matrix/federation/v1/send/x".into(), Some("[]")),
        ("PUT", "/_matrix/federation/v1/send/y".into(), Some(r#"{"pdus":7}"#)),
        ("POST", "/_matrix/federation/v1/publicRooms".into(), Some(r#"{"limit":"x"}"#)),
        ("POST", "/_matrix/key/v2/query".into(), Some(r#"{"server_keys":[]}"#)),
        ("GET", "/_matrix/key/v2/query/not%20a%20name".into(), None),
        ("GET", "/_matrix/federation/v1/openid/userinfo?access_token=x".into(), None),
        ("DELETE", "/_matrix/federation/v1/version".into(), None),
    ];
    for (method, uri, body) in cases {
        let (status, answer) = ask(&net, method, &uri, body).await;
        assert!(status.is_client_error(), "{method} {uri}: {status} {answer}");
        assert!(
            answer["errcode"].as_str().is_some_and(|code| code.starts_with("M_")),
            "{method} {uri}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_room_version_that_the_joining_server_does_not_know_is_named() {
    let (net, _a, _b, room) = two().await;
    let uri = format!(
        "/_matrix/federation/v1/make_join/{}/%40eve%3Awajima.test?ver=1&ver=2",
        encoded(room.as_str())
    );
    let (status, answer) = ask(&net, "GET", &uri, None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["errcode"], "M_INCOMPATIBLE_ROOM_VERSION");
    assert_eq!(answer["room_version"], "12");
}

#[tokio::test]
async fn open_questions_need_no_signature() {
    let (net, a, ..) = two().await;
    let (status, version) = ask_unsigned(&net, "/_matrix/federation/v1/version").await;
    assert_eq!((status, &version["server"]["name"]), (StatusCode::OK, &json!("Yakuba")));
    for uri in ["/_matrix/key/v2/server", "/_matrix/key/v2/server/ed25519%3A1"] {
        let (status, keys) = ask_unsigned(&net, uri).await;
        assert_eq!((status, &keys["server_name"]), (StatusCode::OK, &json!(A)));
    }
    let (status, keys) = ask_unsigned(&net, "/_matrix/key/v2/query/wajima.test").await;
    assert_eq!(status, StatusCode::OK);
    let signatures = keys["server_keys"][0]["signatures"].as_object().unwrap();
    assert!(signatures.contains_key(A) && signatures.contains_key(B));
    let text = a.metrics.render();
    assert!(text.contains("yakuba_federation_signatures_checked"), "{text}");
}

#[tokio::test]
async fn events_state_and_history_are_given_to_servers_in_the_room_only() {
    let (net, a, b, room) = two().await;
    a.say(ALICE, &room, "one").await;
    b.until_said(&room, &["one"]).await;
    let event = a.events(&room).await.pop().unwrap();
    let id = encoded(event.event_id().as_str());
    let path = encoded(room.as_str());

    let (_, answer) = ask(&net, "GET", &format!("/_matrix/federation/v1/event/{id}"), None).await;
    assert_eq!(answer["origin"], A);
    assert_eq!(answer["pdus"][0]["content"]["body"], "one");
    let (_, state) =
        ask(&net, "GET", &format!("/_matrix/federation/v1/state/{path}?event_id={id}"), None).await;
    let (_, ids) =
        ask(&net, "GET", &format!("/_matrix/federation/v1/state_ids/{path}?event_id={id}"), None).await;
    let count = |answer: &Value, key: &str| answer[key].as_array().map_or(0, Vec::len);
    assert!(count(&state, "pdus") >= 6, "{state}");
    assert_eq!(count(&state, "pdus"), count(&ids, "pdu_ids"));
    assert_eq!(count(&state, "auth_chain"), count(&ids, "auth_chain_ids"));
    let (_, chain) = ask(&net, "GET", &format!("/_matrix/federation/v1/event_auth/{path}/{id}"), None).await;
    // Power levels and the sender's join; the create event is named by the room id in this version.
    assert!(count(&chain, "auth_chain") >= 2, "{chain}");
    let (_, history) =
        ask(&net, "GET", &format!("/_matrix/federation/v1/backfill/{path}?v={id}&limit=3"), None).await;
    assert_eq!(count(&history, "pdus"), 3);
    let question =
        json!({ "earliest_events": [], "latest_events": [event.event_id()], "limit": 2, "min_depth": 0 });
    let uri = format!("/_matrix/federation/v1/get_missing_events/{path}");
    let (_, missing) = ask(&net, "POST", &uri, Some(&question.to_string())).await;
    assert_eq!(count(&missing, "events"), 2);

    let uri = format!("/_matrix/federation/v1/timestamp_to_event/{path}?ts=9007199254740991&dir=b");
    let (_, latest) = ask(&net, "GET", &uri, None).await;
    let said_at: u64 = event.pdu().origin_server_ts().get().into();
    assert_eq!(latest, json!({ "event_id": event.event_id(), "origin_server_ts": said_at }));
    let (status, nothing) = ask(&net, "GET", &uri.replace("dir=b", "dir=f"), None).await;
    assert_eq!((status, &nothing["errcode"]), (StatusCode::NOT_FOUND, &json!("M_NOT_FOUND")));

    let hidden = a.create_room(ALICE).await;
    a.say(ALICE, &hidden, "secret").await;
    let secret = a.events(&hidden).await.pop().unwrap();
    let id = encoded(secret.event_id().as_str());
    for uri in [
        format!("/_matrix/federation/v1/event/{id}"),
        format!("/_matrix/federation/v1/state/{}?event_id={id}", encoded(hidden.as_str())),
        format!("/_matrix/federation/v1/backfill/{}?v={id}&limit=3", encoded(hidden.as_str())),
        format!("/_matrix/federation/v1/timestamp_to_event/{}?ts=0&dir=f", encoded(hidden.as_str())),
    ] {
        let (status, answer) = ask(&net, "GET", &uri, None).await;
        assert_eq!((status, &answer["errcode"]), (StatusCode::FORBIDDEN, &json!("M_FORBIDDEN")), "{uri}");
    }
}

pub(crate) async fn set_state(node: &Node, room: &RoomId, kind: &str, content: &Value) {
    let content = serde_json::value::to_raw_value(content).unwrap();
    let draft = Draft {
        kind: TimelineEventType::from(kind),
        state_key: Some(String::new()),
        content,
        sender: user(ALICE),
        redacts: None,
    };
    node.engine.send(room, draft, None).await.unwrap();
}

#[tokio::test]
async fn a_server_acl_shuts_every_door_of_the_room() {
    let (net, a, b, room) = two().await;
    let acl = json!({ "allow": ["*"], "deny": [B], "allow_ip_literals": false });
    set_state(&a, &room, "m.room.server_acl", &acl).await;
    let event = a.events(&room).await.pop().unwrap();
    let (path, id) = (encoded(room.as_str()), encoded(event.event_id().as_str()));
    for uri in [
        format!("/_matrix/federation/v1/make_join/{path}/%40eve%3Awajima.test?ver=12"),
        format!("/_matrix/federation/v1/make_leave/{path}/%40bob%3Awajima.test"),
        format!("/_matrix/federation/v1/state/{path}?event_id={id}"),
        format!("/_matrix/federation/v1/state_ids/{path}?event_id={id}"),
        format!("/_matrix/federation/v1/backfill/{path}?v={id}&limit=3"),
        format!("/_matrix/federation/v1/event_auth/{path}/{id}"),
    ] {
        let (status, answer) = ask(&net, "GET", &uri, None).await;
        assert_eq!((status, &answer["errcode"]), (StatusCode::FORBIDDEN, &json!("M_FORBIDDEN")), "{uri}");
    }
    let typing = json!({ "edus": [{
        "edu_type": "m.typing",
        "content": { "room_id": room, "user_id": BOB, "typing": true },
    }] });
    let (status, _) = ask(&net, "PUT", "/_matrix/federation/v1/send/t", Some(&typing.to_string())).await;
    assert_eq!(status, StatusCode::OK);
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    assert!(a.rooms.typing_in(info.serial).is_empty());
    b.until(&room, async || !b.said(&room).await.is_empty() || b.sender.is_idle()).await;
}

#[tokio::test]
async fn profiles_and_the_directory_are_told() {
    let (net, a, _b, room) = two().await;
    let new = account::NewUser { localpart: "hanako".to_owned(), ..account::NewUser::default() };
    a.accounts.create_user(&crate::net::name(A), new, &account::Actor::operator("test")).await.unwrap();
    let hanako = user("@hanako:kanazawa.test");
    let name = serde_json::value::to_raw_value("花子").unwrap();
    a.accounts.set_profile_field(&hanako, "displayname", &name).await.unwrap();
    let uri = "/_matrix/federation/v1/query/profile?user_id=%40hanako%3Akanazawa.test";
    let (status, profile) = ask(&net, "GET", uri, None).await;
    assert_eq!((status, &profile["displayname"]), (StatusCode::OK, &json!("花子")));
    let (_, field) = ask(&net, "GET", &format!("{uri}&field=displayname"), None).await;
    assert_eq!(field, json!({ "displayname": "花子" }));

    let by = account::Actor::user(&user(ALICE), false, None);
    a.rooms.set_published(&user(ALICE), &room, true, &by).await.unwrap();
    let (_, rooms) = ask(&net, "GET", "/_matrix/federation/v1/publicRooms?limit=10", None).await;
    assert_eq!(rooms["chunk"][0]["room_id"], room.as_str());
    let (_, rooms) = ask(
        &net,
        "POST",
        "/_matrix/federation/v1/publicRooms",
        Some(r#"{"filter":{"generic_search_term":"no such room"}}"#),
    )
    .await;
    assert_eq!(rooms["chunk"], json!([]));
}

/// A transaction with one message of `wajima.test` that has not been delivered.
async fn undelivered(net: &Net, b: &Node, room: &RoomId, text: &str) -> String {
    net.cut(A);
    b.say(BOB, room, text).await;
    let event = b.events(room).await.pop().unwrap();
    net.mend(A);
    format!("{{\"origin\":\"{B}\",\"origin_server_ts\":1,\"pdus\":[{}]}}", event.pdu().json_str())
}

#[tokio::test]
async fn the_id_of_a_transaction_counts_for_its_destination_only() {
    const BESIDE: &str = "hakui.test";
    let net = Net::default();
    let a = Node::start(&net, &[A, BESIDE]).await;
    let b = Node::start(&net, &[B]).await;
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    let uri = "/_matrix/federation/v1/send/same";
    let nothing = r#"{"pdus":[]}"#;
    let (status, _) = ask_as(&net, A, "PUT", uri, Some(nothing)).await;
    assert_eq!(status, StatusCode::OK);
    let body = undelivered(&net, &b, &room, "to the other").await;
    let (status, answer) = ask_as(&net, BESIDE, "PUT", uri, Some(&body)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["pdus"].as_object().map(serde_json::Map::len), Some(1), "{answer}");
    a.until_said(&room, &["to the other"]).await;
}

#[tokio::test]
async fn ids_of_transactions_are_bounded() {
    let (net, _a, _b, _room) = two().await;
    for (length, expected) in [(255, StatusCode::OK), (256, StatusCode::BAD_REQUEST)] {
        let uri = format!("/_matrix/federation/v1/send/{}", "t".repeat(length));
        let (status, answer) = ask(&net, "PUT", &uri, Some(r#"{"pdus":[]}"#)).await;
        assert_eq!(status, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_transaction_for_which_there_is_no_room_is_told_when_to_come_again() {
    let net = Net::default();
    let a = Node::with_inbox(&net, A, InboxLimits { peer_in_room: 2, ..InboxLimits::default() }).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    let mut joined = mallory.join(&net, A, &room, "eve").await;
    let said = ["one", "two", "three"].map(|text| joined.message("eve", text).json);

    let refused = mallory.send(&net, A, &said).await;

    assert_eq!((refused.status, refused.errcode()), (429, Some("M_LIMIT_EXCEEDED")), "{}", refused.text);
    assert!(refused.json["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{}", refused.text);
    // What is named there counts as delivered.
    assert_eq!(refused.json["pdus"], Value::Null);
    let taken = mallory.send(&net, A, &said[..2]).await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    a.until_said(&room, &["one", "two"]).await;
}
