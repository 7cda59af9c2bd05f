//! What an authority tells its users, and the room in which it does.

use room::tables::Membership;
use ruma::UserId;
use serde_json::{Value, json};

use super::town::{PASSWORD, Person, Town};

const SEND: &str = "/_synapse/admin/v1/send_server_notice";

fn to(person: &Person<'_>, text: &str) -> Value {
    json!({ "user_id": person.id, "content": { "msgtype": "m.text", "body": text } })
}

fn id_of(answer: &Value) -> String {
    answer["event_id"].as_str().unwrap().to_owned()
}

/// The rooms that somebody is in so.
async fn rooms(town: &Town, person: &Person<'_>, membership: Membership) -> Vec<String> {
    let user = UserId::parse(&person.id).unwrap();
    let rooms = town.engine.rooms().memberships(&user).await.unwrap();
    rooms.with(membership).map(|row| row.room_id.to_string()).collect()
}

#[tokio::test]
async fn a_notice_comes_in_a_room_of_its_own_whose_invite_cannot_be_refused() {
    let town = Town::new().await;
    let (somu, hanako, taro) = (town.admin("somu").await, town.user("hanako").await, town.user("taro").await);
    hanako.ask("POST", SEND, Value::Null).await.fails(403, "M_FORBIDDEN");
    hanako.post(SEND, to(&taro, "x")).await.fails(403, "M_FORBIDDEN");
    let told = id_of(&somu.post(SEND, to(&hanako, "点検のお知らせ")).await.ok());

    let invited = rooms(&town, &hanako, Membership::Invite).await;
    let [room] = &invited[..] else { panic!("{invited:?}") };
    let tags = hanako.get(&format!("/user/{}/rooms/{room}/tags", hanako.id)).await.ok();
    assert_eq!(tags["tags"], json!({ "m.server_notice": {} }));
    let kept = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM";
    let (leave, itself) = (json!({ "membership": "leave" }), json!({ "user_id": hanako.id }));
    let member = format!("/rooms/{room}/state/m.room.member/{}", hanako.id);
    hanako.post(&format!("/rooms/{room}/leave"), json!({})).await.fails(403, kept);
    hanako.put(&member, leave).await.fails(403, kept);
    hanako.post(&format!("/rooms/{room}/kick"), itself).await.fails(403, kept);

    hanako.post(&format!("/join/{room}"), json!({})).await.ok();
    let event = hanako.get(&format!("/rooms/{room}/event/{told}")).await.ok();
    assert_eq!(
        (&event["sender"], &event["content"]["body"]),
        (&json!("@_server:hs1"), &json!("点検のお知らせ"))
    );
    let said = format!("/rooms/{room}/send/m.room.message/1");
    hanako.put(&said, json!({ "body": "はい" })).await.fails(403, "M_FORBIDDEN");
    hanako.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();

    // Whoever has left, or blocks whom he can, is told the next thing in the same room.
    let block = json!({ "default_action": "block" });
    let settings = format!("/user/{}/account_data/m.invite_permission_config", hanako.id);
    hanako.put(&settings, block).await.ok();
    hanako.post(&format!("/rooms/{room}/forget"), json!({})).await.ok();
    somu.post(SEND, to(&hanako, "もう一度")).await.ok();
    assert_eq!(rooms(&town, &hanako, Membership::Invite).await, [room.as_str()]);
    assert!(rooms(&town, &taro, Membership::Invite).await.is_empty());
}

#[tokio::test]
async fn a_notice_is_told_once_and_only_to_users_of_the_administrators_authority() {
    let town = Town::new().await;
    let (somu, joho) = (town.admin("somu").await, town.admin("joho").await);
    let (hanako, jiro) = (town.user("hanako").await, town.user_at("hs2", "jiro").await);
    let once = format!("{SEND}/1");
    let first = id_of(&somu.put(&once, to(&hanako, "a")).await.ok());
    assert_eq!(id_of(&somu.put(&once, to(&hanako, "b")).await.ok()), first);
    assert_ne!(id_of(&joho.put(&once, to(&hanako, "c")).await.ok()), first, "another administrator's");
    assert_eq!(rooms(&town, &hanako, Membership::Invite).await.len(), 1);

    somu.post(SEND, to(&jiro, "x")).await.fails(400, "M_INVALID_PARAM");
    let nobody = json!({ "user_id": "@nobody:hs1", "content": {} });
    somu.post(SEND, nobody).await.fails(404, "M_NOT_FOUND");
    let writer = json!({ "user_id": "@_server:hs1", "content": {} });
    somu.post(SEND, writer).await.fails(400, "M_INVALID_PARAM");
    let state = json!({ "user_id": hanako.id, "content": {}, "type": "m.room.name", "state_key": "" });
    somu.post(SEND, state).await.fails(400, "M_INVALID_PARAM");
    somu.post(SEND, json!({ "user_id": hanako.id })).await.fails(400, "M_BAD_JSON");

    // Nobody else gets the name, before or after the first notice.
    for host in ["hs1", "hs2"] {
        let wish =
            json!({ "auth": { "type": "m.login.dummy" }, "username": "_server", "password": PASSWORD });
        let answer =
            town.raw(host, "POST", "/_matrix/client/v3/register", None, wish.to_string().into_bytes());
        answer.await.fails(400, "M_INVALID_USERNAME");
    }
}

#[tokio::test]
async fn many_notices_at_once_come_in_one_room_and_a_closed_account_leaves_it() {
    let town = Town::new().await;
    let (somu, hanako) = (town.admin("somu").await, town.user("hanako").await);
    let bodies = ["a", "b", "c", "d"].map(|text| to(&hanako, text));
    let told = futures_util::future::join_all(bodies.into_iter().map(|body| somu.post(SEND, body))).await;
    told.into_iter().for_each(|answer| drop(answer.ok()));
    assert_eq!(rooms(&town, &hanako, Membership::Invite).await.len(), 1);

    let close = json!({ "auth": hanako.proof(PASSWORD) });
    hanako.post("/account/deactivate", close).await.ok();
    while !rooms(&town, &hanako, Membership::Invite).await.is_empty() {
        tokio::task::yield_now().await;
    }
}
