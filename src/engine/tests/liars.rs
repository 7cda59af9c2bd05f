//! What other servers answer to our own requests is believed no more than what they send.

use room::{Error, RemoteError, tables::Membership};
use serde_json::{Value, json};

use super::net::{Net, state, user};
use crate::CreateRoom;

fn is_bad_answer<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Remote(RemoteError::BadAnswer { .. })))
}

fn unsigned(event: &mut Value) {
    event["signatures"] = json!({});
}

fn signed_by_one(event: &mut Value) {
    event["signatures"].as_object_mut().unwrap().remove("b.test");
}

fn signed_wrongly(event: &mut Value) {
    let signature = event["signatures"]["a.test"].clone();
    event["signatures"]["b.test"] = signature;
}

fn said_otherwise(event: &mut Value) {
    event["content"]["reason"] = "別".into();
}

#[tokio::test]
async fn an_invite_that_comes_back_without_the_right_signatures_is_not_taken_into_the_room() {
    for forge in [unsigned, signed_by_one, signed_wrongly, said_otherwise] {
        let net = Net::default();
        let (a, _b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
        let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
        let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
        net.forge(forge);
        assert!(is_bad_answer(&a.invite(&hanako, &room, &taro).await));
        assert_eq!(a.membership(&taro, &room).await, None);
    }
}

#[tokio::test]
async fn a_restricted_join_that_comes_back_without_the_voucher_is_not_taken_into_the_room() {
    fn unvouched(event: &mut Value) {
        event["signatures"].as_object_mut().unwrap().remove("a.test");
    }
    for forge in [unsigned, unvouched] {
        let net = Net::default();
        let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
        let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
        let lobby = a.public_room(&hanako).await;
        let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
        let rule = json!({
            "join_rule": "restricted",
            "allow": [{ "type": "m.room_membership", "room_id": lobby }],
        });
        a.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rule), None).await.unwrap();
        b.join(&taro, &lobby, "a.test").await.unwrap();
        net.forge(forge);
        assert!(is_bad_answer(&b.join(&taro, &room, "a.test").await));
        assert_eq!(b.membership(&taro, &room).await, None);
    }
}

#[tokio::test]
async fn a_join_that_needs_no_voucher_stands_whatever_comes_back() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    net.forge(unsigned);
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(b.membership(&taro, &room).await, Some(Membership::Join));
    // The room's own servers get it with its signature all the same.
    let join = b.timeline(&room).await.pop().unwrap();
    assert!(join.pdu().json_str().contains("\"b.test\""));
}
