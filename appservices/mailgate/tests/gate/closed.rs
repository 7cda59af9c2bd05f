//! Rooms that take no mail: encrypted ones, those in which the bot may not speak, and those that it is not in.

use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::User;

use crate::post::{BOT, Town, body, count, hears, lines, own};

fn mail(number: u32, text: &str) -> Vec<u8> {
    lines(&format!("From: taro@example.co.jp\nSubject: x\nMessage-ID: <{number}@x>\n\n{text}"))
}

async fn encrypt(user: &User, room: &RoomId) {
    user.set_state(room, "m.room.encryption", "", &json!({ "algorithm": "m.megolm.v1.aes-sha2" })).await;
}

/// Says what a user needs for messages.
async fn let_speak_from(user: &User, room: &RoomId, level: i64) {
    let state = user.state(room).await;
    let levels = state.iter().find(|event| event["type"] == "m.room.power_levels").unwrap();
    let mut levels = levels["content"].clone();
    levels["events_default"] = json!(level);
    user.set_state(room, "m.room.power_levels", "", &levels).await;
}

/// The room in which the bot tells somebody alone, once he is asked into it; he goes in.
async fn private_room(user: &User) -> OwnedRoomId {
    let invite = |seen: &testkit::Seen| {
        seen.rooms.iter().find(|(_, room)| room.section == "invite").map(|(room, _)| room.clone())
    };
    let room = invite(&user.sync_until(|seen| invite(seen).is_some()).await).unwrap();
    let room: OwnedRoomId = room.try_into().unwrap();
    user.join(&room, "kanazawa.test").await;
    room
}

/// Takes a mail while the homeserver is away, and what comes in the room before the bot is back.
async fn with_a_mail_waiting(town: &mut Town, address: &str, meanwhile: impl AsyncFnOnce()) {
    town.stage.server.stop().await;
    assert!(town.hand_over(address, &mail(1, "what waited")).await.starts_with("250"));
    town.stage.kill_bot();
    town.server_is_back().await;
    meanwhile().await;
    town.stage.start_bot().await;
}

#[tokio::test]
async fn somebody_outside_who_speaks_by_a_user_of_another_service_does_not_bring_the_bot_in() {
    let town = Town::new("").await;
    let ghost = town.stage.ghost("taro").await;
    let room = ghost.create_room_with(&json!({ "preset": "private_chat", "invite": [BOT] })).await;
    ghost.sync_until(|seen| seen.room(&room).membership(BOT) == Some("leave")).await;
    town.stage.until_log("an invite is refused").await;
}

#[tokio::test]
async fn an_encrypted_room_takes_no_mail_whatever_the_bot_calls_itself() {
    let town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    encrypt(&hanako, &room).await;
    hears(&hanako, &room, "この部屋は暗号化されたため").await;
    assert!(town.hand_over(&address, &mail(1, "of a secret")).await.starts_with("451"));

    // A new name is a join as well, of one who was there.
    town.restart_bot_with("display_name = \"別の名前\"").await;
    let name = |seen: &testkit::Seen| {
        seen.room(&room).state("m.room.member", BOT)?["displayname"].as_str().map(str::to_owned)
    };
    hanako.sync_until(|seen| name(seen).as_deref() == Some("別の名前")).await;
    // What comes in a room is done in its order.
    hanako.send(&room, "!メール 一覧").await;
    hears(&hanako, &room, " … ").await;
    assert!(town.hand_over(&address, &mail(2, "of a secret")).await.starts_with("451"));
    hanako.send(&room, "!メール 開設 other").await;
    hears(&hanako, &room, "この部屋は暗号化されているため").await;
    assert_eq!(count(&hanako, &room, "of a secret").await, 0);
}

#[tokio::test]
async fn into_a_room_that_was_encrypted_before_comes_no_mail_and_the_bot_says_why() {
    let town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let encryption = json!({ "type": "m.room.encryption", "state_key": "", "content": { "algorithm": "m.megolm.v1.aes-sha2" } });
    let wishes = json!({ "preset": "private_chat", "invite": [BOT], "initial_state": [encryption] });
    let room = hanako.create_room_with(&wishes).await;
    hears(&hanako, &room, "この部屋は暗号化されているため").await;
    hanako.send(&room, "!メール 開設 kouji").await;
    hanako.send(&room, "!メール 一覧").await;
    hears(&hanako, &room, "アドレスはありません").await;
    assert_eq!(count(&hanako, &room, "開設しました").await, 0);
}

#[tokio::test]
async fn what_waited_when_encryption_came_is_held_and_that_is_said() {
    let mut town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    with_a_mail_waiting(&mut town, &address, async || encrypt(&hanako, &room).await).await;
    let told = hears(&hanako, &room, "保管場所に移しました").await;
    assert!(body(&told).contains(&address), "{told}");
    let held: Vec<_> = std::fs::read_dir(town.stage.directory.path().join("held")).unwrap().collect();
    let [Ok(held)] = &held[..] else { unreachable!("one mail") };
    assert!(body(&told).contains(held.file_name().to_str().unwrap()), "{told}");
    assert!(std::fs::read_to_string(held.path()).unwrap().contains("what waited"));
    assert!(town.hand_over(&address, &mail(2, "x")).await.starts_with("451"));
    assert_eq!(count(&hanako, &room, "what waited").await, 0);
}

#[tokio::test]
async fn where_the_bot_may_not_speak_mail_waits_and_who_opened_the_address_is_told() {
    let mut town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    with_a_mail_waiting(&mut town, &address, async || let_speak_from(&hanako, &room, 50).await).await;
    let private = private_room(&hanako).await;
    let told = hears(&hanako, &private, "届いたメールを書き込めません").await;
    assert!(body(&told).contains(&address) && body(&told).contains("権限がありません"), "{told}");
    assert!(town.hand_over(&address, &mail(2, "kept by the mail server")).await.starts_with("451"));

    let_speak_from(&hanako, &room, 0).await;
    hears(&hanako, &room, "what waited").await;
    assert!(town.hand_over(&address, &mail(2, "kept by the mail server")).await.starts_with("250"));
    hears(&hanako, &room, "kept by the mail server").await;
    let said = own(&hanako.sync(std::time::Duration::ZERO).await, &private);
    let is_of_it = |event: &&Value| body(event).contains("書き込めません");
    assert_eq!(said.iter().filter(is_of_it).count(), 1, "once: {said:#?}");
}
