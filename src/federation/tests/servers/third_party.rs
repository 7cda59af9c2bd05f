//! Invites of e-mail addresses over HTTP: what an identity server reports comes to the room, and nothing else does.

use bytes::Bytes;
use http::{Request, StatusCode};
use pdu::Draft;
use room::tables::Membership;
use ruma::{CanonicalJsonObject, CanonicalJsonValue, events::StateEventType};
use serde_json::{Value, json};

use crate::{
    net::{Net, authority, user},
    strangers::{ask, two},
};

const ALICE: &str = "@alice:kanazawa.test";
const CAROL: &str = "@carol:wajima.test";
const DAVE: &str = "@dave:wajima.test";

fn signed(owner: &str) -> Value {
    let text = |text: &str| CanonicalJsonValue::String(text.to_owned());
    let mut proof: CanonicalJsonObject =
        [("mxid".to_owned(), text(owner)), ("token".to_owned(), text("abc"))].into();
    authority("id.test").sign_json(&mut proof);
    json!(proof)
}

/// What an identity server, or somebody who says to be one, reports to a server of ours.
async fn report(net: &Net, server: &str, body: &Value) -> (StatusCode, Value) {
    let request =
        Request::put("/_matrix/federation/v1/3pid/onbind").body(Bytes::from(body.to_string())).unwrap();
    let answer = net.request(server, request).await.unwrap();
    (answer.status(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_reported_owner_of_an_invited_address_is_invited_through_the_inviters_server() {
    let (net, a, b, room) = two().await;
    b.make_account(CAROL).await;
    let key = authority("id.test").public_key_base64();
    let content = json!({ "display_name": "c...@w...", "public_key": key, "key_validity_url": "https://id.test/",
        "public_keys": [{ "public_key": key }] });
    let kind = StateEventType::RoomThirdPartyInvite;
    let pending = Draft::state(&user(ALICE), kind, "abc", &content).unwrap();
    a.engine.send(&room, pending, None).await.unwrap();

    let bound = |owner: &str, proof: Value| {
        json!({ "medium": "email", "address": "carol@wajima.test", "mxid": owner,
            "invites": [5, { "room_id": room, "sender": ALICE, "mxid": owner, "medium": "email",
                "address": "carol@wajima.test", "signed": proof }] })
    };
    // Nobody hears what becomes of it, also where nothing does.
    for (owner, proof) in
        [(CAROL, signed("@bob:wajima.test")), ("@nobody:wajima.test", signed("@nobody:wajima.test"))]
    {
        assert_eq!(report(&net, "wajima.test", &bound(owner, proof)).await, (StatusCode::OK, json!({})));
        assert_eq!(a.membership(&room, owner).await, None);
    }
    assert_eq!(report(&net, "wajima.test", &json!({})).await.0, StatusCode::BAD_REQUEST);

    let answer = report(&net, "wajima.test", &bound(CAROL, signed(CAROL))).await;
    assert_eq!(answer, (StatusCode::OK, json!({})));
    a.until(&room, async || a.membership(&room, CAROL).await == Some(Membership::Invite)).await;

    // The next one at once, before the first one's has come back by the room.
    b.make_account(DAVE).await;
    let answer = report(&net, "wajima.test", &bound(DAVE, signed(DAVE))).await;
    assert_eq!(answer, (StatusCode::OK, json!({})));
    a.until(&room, async || a.membership(&room, DAVE).await == Some(Membership::Invite)).await;
}

#[tokio::test]
async fn invites_of_rooms_of_the_first_versions_and_queries_of_unknown_types_are_answered() {
    let (net, _a, _b, room) = two().await;
    let uri = "/_matrix/federation/v1/invite/%21x%3Awajima.test/%24x%3Awajima.test";
    let (status, body) = ask(&net, "PUT", uri, Some("{}")).await;
    assert_eq!(
        (status.as_u16(), &body["errcode"], &body["room_version"]),
        (400, &json!("M_INCOMPATIBLE_ROOM_VERSION"), &json!("1"))
    );
    let (status, body) = ask(&net, "GET", "/_matrix/federation/v1/query/weather", None).await;
    assert_eq!((status.as_u16(), &body["errcode"]), (404, &json!("M_NOT_FOUND")));

    // Who was not invited does not hear whether there is such a room.
    let exchange = |room: &str| {
        json!({ "type": "m.room.member", "room_id": room, "sender": ALICE, "state_key": CAROL, "content": {
            "membership": "invite", "third_party_invite": { "display_name": "c", "signed": signed(CAROL) } } })
    };
    let mut answers = Vec::new();
    for room in [room.as_str(), "!none:kanazawa.test"] {
        let path = room.replace('!', "%21").replace(':', "%3A");
        let uri = format!("/_matrix/federation/v1/exchange_third_party_invite/{path}");
        answers.push(ask(&net, "PUT", &uri, Some(&exchange(room).to_string())).await);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!((answers[0].0.as_u16(), &answers[0].1["errcode"]), (403, &json!("M_FORBIDDEN")));
}
