//! Guests in rooms of other servers, which know nothing of who is one: our own server sees to it.
#![expect(clippy::unwrap_used, reason = "tests")]

use http::{Method, StatusCode};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::{Net, Server, User};

async fn room(owner: &User, guest_access: &str) -> OwnedRoomId {
    let access = json!({ "type": "m.room.guest_access", "content": { "guest_access": guest_access } });
    owner.create_room_with(&json!({ "preset": "private_chat", "initial_state": [access] })).await
}

async fn join(guest: &User, room: &RoomId) -> (StatusCode, Value) {
    let (status, text) =
        guest.ask(Method::POST, &format!("/_matrix/client/v3/rooms/{room}/join"), Some(&json!({}))).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// Waits until the room's own server sees this membership.
async fn until(owner: &User, room: &RoomId, user: &User, membership: &str) {
    let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/{}", user.id());
    loop {
        let (_, text) = owner.ask(Method::GET, &path, None).await;
        let content: Value = serde_json::from_str(&text).unwrap();
        if content["membership"] == membership {
            return;
        }
        owner.sync(std::time::Duration::from_secs(1)).await;
    }
}

async fn two() -> (Net, Server, Server) {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    (net, kanazawa, wajima)
}

/// C79.
#[tokio::test]
async fn a_guest_joins_a_room_of_another_server_where_nobody_of_ours_is_if_it_takes_guests() {
    let (_net, kanazawa, wajima) = two().await;
    let (owner, guest) = (kanazawa.user("hanako").await, wajima.guest().await);
    let open = room(&owner, "can_join").await;
    owner.invite(&open, guest.id()).await;
    guest.sync_until(|seen| seen.is_invited(&open)).await;
    let (status, answer) = join(&guest, &open).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    until(&owner, &open, &guest, "join").await;
}

#[tokio::test]
async fn a_guest_is_in_no_room_of_another_server_that_takes_none_and_leaves_one_that_takes_no_more() {
    let (_net, kanazawa, wajima) = two().await;
    let (owner, guest, taro) =
        (kanazawa.user("hanako").await, wajima.guest().await, wajima.user("taro").await);
    let closed = room(&owner, "forbidden").await;
    owner.invite(&closed, guest.id()).await;
    guest.sync_until(|seen| seen.is_invited(&closed)).await;
    let (status, answer) = join(&guest, &closed).await;
    assert_eq!((status, &answer["errcode"]), (StatusCode::FORBIDDEN, &json!("M_GUEST_ACCESS_FORBIDDEN")));
    until(&owner, &closed, &guest, "leave").await;

    let open = room(&owner, "can_join").await;
    for user in [&guest, &taro] {
        owner.invite(&open, user.id()).await;
        user.sync_until(|seen| seen.is_invited(&open)).await;
        assert_eq!(join(user, &open).await.0, StatusCode::OK);
    }
    owner.set_state(&open, "m.room.guest_access", "", &json!({ "guest_access": "forbidden" })).await;
    until(&owner, &open, &guest, "leave").await;
    until(&owner, &open, &taro, "join").await;
}

#[tokio::test]
async fn a_guest_whose_server_was_off_leaves_once_that_hears_of_it() {
    let (net, kanazawa, wajima) = two().await;
    let (owner, guest) = (kanazawa.user("hanako").await, wajima.guest().await);
    let open = room(&owner, "can_join").await;
    owner.invite(&open, guest.id()).await;
    guest.sync_until(|seen| seen.is_invited(&open)).await;
    assert_eq!(join(&guest, &open).await.0, StatusCode::OK);
    wajima.stop().await;
    owner.set_state(&open, "m.room.guest_access", "", &json!({ "guest_access": "forbidden" })).await;
    wajima.start().await;
    until(&owner, &open, &guest, "leave").await;
    drop(net);
}
