//! A room with an address is upgraded: the address and its threads go on in the new one, and nowhere else.

use http::Method;
use ruma::{OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde_json::{Value, json};
use testkit::User;

use crate::{
    post::{BOT, Town, body, count, hears, lines},
    sink::Sink,
};

fn mail(number: u32, before: &str, text: &str) -> Vec<u8> {
    lines(&format!(
        "From: taro@example.co.jp\nSubject: 橋\nMessage-ID: <{number}@x>\nReferences: {before}\n\n{text}"
    ))
}

fn bot() -> &'static UserId {
    BOT.try_into().unwrap()
}

fn root(event: &Value) -> &Value {
    &event["content"]["m.relates_to"]["event_id"]
}

async fn upgrade(user: &User, room: &RoomId) -> OwnedRoomId {
    upgrade_to("12", user, room).await
}

async fn upgrade_to(version: &str, user: &User, room: &RoomId) -> OwnedRoomId {
    let path = format!("/rooms/{room}/upgrade").replace('!', "%21");
    let answer = user.call(Method::POST, &path, Some(&json!({ "new_version": version }))).await;
    answer["replacement_room"].as_str().unwrap().try_into().unwrap()
}

#[tokio::test]
async fn an_address_and_its_threads_go_on_in_the_room_that_takes_the_others_place() {
    let mut sink = Sink::new().await;
    let town = Town::new(&format!("delay = \"0s\"\n{}", sink.settings())).await;
    let hanako = town.stage.server.user("hanako").await;
    let (old, address) = town.room(&hanako, "example.co.jp").await;
    assert!(town.hand_over(&address, &mail(1, "", "first text")).await.starts_with("250"));
    let first = hears(&hanako, &old, "first text").await;
    let relation = json!({ "m.in_reply_to": { "event_id": first["event_id"] } });
    let command = json!({ "msgtype": "m.text", "body": "!返信 はい", "m.relates_to": relation });
    let path = format!("/rooms/{old}/send/m.room.message/a").replace('!', "%21");
    hanako.call(Method::PUT, &path, Some(&command)).await;
    let ours = sink.next().await.id();
    hears(&hanako, &old, "送りました").await;

    let new = upgrade(&hanako, &old).await;
    // In the old room the bot may say nothing any more: what comes waits, here or at the mail server.
    let meanwhile = mail(2, "<1@x>", "meanwhile");
    while !town.hand_over(&address, &meanwhile).await.starts_with("451") {
        tokio::task::yield_now().await;
    }
    hanako.invite(&new, bot()).await;
    let told = hears(&hanako, &new, "引き継ぎました").await;
    assert!(body(&told).contains(&address), "{told}");
    // As a mail server does, until it is taken: the bot may look at the new room once more.
    while !town.hand_over(&address, &meanwhile).await.starts_with("250") {
        tokio::task::yield_now().await;
    }
    let meanwhile = hears(&hanako, &new, "meanwhile").await;
    let event: OwnedEventId = first["event_id"].as_str().unwrap().try_into().unwrap();
    let link = old.matrix_to_event_uri(event);
    assert!(body(&meanwhile).contains(&link.to_string()), "{meanwhile}");
    assert_eq!(root(&meanwhile), &Value::Null);

    // Whoever answers the mails of before finds the thread, whose first event here is that one.
    town.restart_bot().await;
    for (number, before) in [(3, "<1@x>"), (4, "<2@x>"), (5, &*format!("<{ours}>"))] {
        let text = format!("number {number}");
        assert!(town.hand_over(&address, &mail(number, before, &text)).await.starts_with("250"));
        assert_eq!(root(&hears(&hanako, &new, &text).await), &meanwhile["event_id"], "{number}");
    }
    let bounce = format!(
        "From: mailer-daemon@mx.test\nContent-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\n\
         Action: failed\nStatus: 5.1.1\n\n--x\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{ours}>\n\n--x--\n"
    );
    assert!(town.hand_over_of("<>", &address, &lines(&bounce)).await.starts_with("250"));
    assert_eq!(root(&hears(&hanako, &new, "届きませんでした").await), &meanwhile["event_id"]);
    assert_eq!(count(&hanako, &new, "引き継ぎました").await, 1);
    // Commands are obeyed where the address is now.
    assert_eq!(town.open(&hanako, &new, "hashi").await.split('-').next(), Some("hashi"));
    hanako.send(&new, "!メール 一覧").await;
    hears(&hanako, &new, &format!("{address} … 送れる人")).await;
}

#[tokio::test]
async fn nobody_takes_an_address_away_by_a_room_of_his_own() {
    let town = Town::new("").await;
    let (hanako, jiro) = (town.stage.server.user("hanako").await, town.stage.server.user("jiro").await);
    let (old, address) = town.room(&hanako, "example.co.jp").await;
    hanako.invite(&old, jiro.id()).await;
    jiro.join(&old, "kanazawa.test").await;
    let made = |user: &User, of: &RoomId| {
        let wishes = json!({ "preset": "public_chat", "invite": [BOT],
            "creation_content": { "predecessor": { "room_id": of, "event_id": "$last" } } });
        let user = user.clone();
        async move {
            let room = user.create_room_with(&wishes).await;
            user.sync_until(|seen| seen.room(&room).membership(BOT) == Some("join")).await;
            room
        }
    };
    // The answer to a command follows upon what came into the room before it.
    let is_still_here = async |word: &str| {
        hanako.send(&old, &format!("!メール 許可 {word}.example.jp")).await;
        hears(&hanako, &old, &format!("{word}.example.jp")).await;
        let mail = lines(&format!("From: a@example.co.jp\n\nto {word}"));
        assert!(town.hand_over(&address, &mail).await.starts_with("250"));
        hears(&hanako, &old, &format!("to {word}")).await;
    };
    // Neither has the old room a tombstone, whoever made them.
    let begun = made(&hanako, &old).await;
    let claimed = made(&jiro, &old).await;
    for (user, room) in [(&hanako, &begun), (&jiro, &claimed)] {
        user.send(room, "!メール 一覧").await;
        hears(user, room, "アドレスはありません").await;
    }
    is_still_here("no-tombstone").await;

    // It has one, by mistake or by trickery; but he who made the new room has no power in the old one.
    let tombstone = |room: &RoomId| json!({ "body": "moved", "replacement_room": room });
    hanako.set_state(&old, "m.room.tombstone", "", &tombstone(&claimed)).await;
    is_still_here("of-another").await;
    // His own rooms may not be the successor of two.
    let other = made(&hanako, &claimed).await;
    hanako.set_state(&old, "m.room.tombstone", "", &tombstone(&other)).await;
    is_still_here("came-of-another").await;
    for room in [&claimed, &other] {
        assert_eq!(count(&hanako_in(&hanako, room).await, room, "引き継ぎました").await, 0);
    }

    let successor = made(&hanako, &old).await;
    hanako.set_state(&old, "m.room.tombstone", "", &tombstone(&successor)).await;
    hears(&hanako, &successor, "引き継ぎました").await;
}

/// Somebody in a room that is open to all.
async fn hanako_in(user: &User, room: &RoomId) -> User {
    user.join(room, "kanazawa.test").await;
    user.clone()
}

async fn set_levels(user: &User, room: &RoomId, change: impl Fn(&mut Value)) {
    let state = user.state(room).await;
    let levels = state.iter().find(|event| event["type"] == "m.room.power_levels").unwrap();
    let mut levels = levels["content"].clone();
    change(&mut levels);
    user.set_state(room, "m.room.power_levels", "", &levels).await;
}

/// Hands a mail over until the answer begins so, as a mail server does.
async fn until(town: &Town, address: &str, mail: &[u8], answer: &str) {
    while !town.hand_over(address, mail).await.starts_with(answer) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn mail_for_a_room_that_was_upgraded_waits_though_the_bot_may_still_speak_there() {
    let town = Town::new("").await;
    let hanako = town.stage.server.user("hanako").await;
    let (old, address) = town.room(&hanako, "example.co.jp").await;
    set_levels(&hanako, &old, |levels| levels["users"][BOT] = json!(50)).await;
    let new = upgrade(&hanako, &old).await;
    until(&town, &address, &mail(1, "", "unread"), "451").await;
    hears(&hanako, &old, "新しい部屋にこの窓口を招くと").await;
    hanako.invite(&new, bot()).await;
    hears(&hanako, &new, "引き継ぎました").await;
    until(&town, &address, &mail(1, "", "unread"), "250").await;
    hears(&hanako, &new, "unread").await;
    assert_eq!(count(&hanako, &old, "unread").await, 0);
}

#[tokio::test]
async fn a_tombstone_stops_mail_by_who_could_close_the_address_and_until_it_is_taken_back() {
    let town = Town::new("").await;
    let (hanako, jiro) = (town.stage.server.user("hanako").await, town.stage.server.user("jiro").await);
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    set_levels(&hanako, &room, |levels| levels["events"]["m.room.tombstone"] = json!(0)).await;
    let unseen = jiro.create_room(testkit::Preset::PrivateChat).await;
    let tombstone = json!({ "body": "moved", "replacement_room": unseen });
    jiro.set_state(&room, "m.room.tombstone", "", &tombstone).await;
    // The answer to a command follows upon what came into the room before it.
    hanako.send(&room, "!メール 許可 other.example.jp").await;
    hears(&hanako, &room, "other.example.jp").await;
    assert!(town.hand_over(&address, &mail(1, "", "first")).await.starts_with("250"));
    hears(&hanako, &room, "first").await;

    hanako.set_state(&room, "m.room.tombstone", "", &tombstone).await;
    until(&town, &address, &mail(2, "", "second"), "451").await;
    hanako.set_state(&room, "m.room.tombstone", "", &json!({})).await;
    until(&town, &address, &mail(2, "", "second"), "250").await;
    hears(&hanako, &room, "second").await;

    // As clients offer it: by a redaction.
    let again = hanako.set_state(&room, "m.room.tombstone", "", &tombstone).await;
    hanako.send(&room, "!メール 許可 third.example.jp").await;
    hears(&hanako, &room, "third.example.jp").await;
    assert!(town.hand_over(&address, &mail(3, "", "third")).await.starts_with("451"));
    let path = format!("/rooms/{room}/redact/{again}/back").replace('!', "%21").replace('$', "%24");
    hanako.call(Method::PUT, &path, Some(&json!({}))).await;
    until(&town, &address, &mail(3, "", "third"), "250").await;
    hears(&hanako, &room, "third").await;
}

#[tokio::test]
async fn a_tombstone_counts_after_who_sent_it_has_lost_his_power() {
    let town = Town::new("").await;
    let (hanako, jiro) = (town.stage.server.user("hanako").await, town.stage.server.user("jiro").await);
    let (old, address) = town.room(&hanako, "example.co.jp").await;
    hanako.invite(&old, jiro.id()).await;
    jiro.join(&old, "kanazawa.test").await;
    set_levels(&hanako, &old, |levels| {
        levels["users"][BOT] = json!(50);
        levels["users"][jiro.id().as_str()] = json!(100);
        levels["events"]["m.room.tombstone"] = json!(100);
    })
    .await;
    let new = upgrade_to("11", &jiro, &old).await;
    until(&town, &address, &mail(1, "", "unread"), "451").await;
    // In April he is on another post.
    set_levels(&hanako, &old, |levels| levels["users"][jiro.id().as_str()] = json!(0)).await;
    // The answer to a command follows upon what came into the room before it.
    hanako.send(&old, "!メール 許可 other.example.jp").await;
    hears(&hanako, &old, "other.example.jp").await;
    assert!(town.hand_over(&address, &mail(1, "", "unread")).await.starts_with("451"));
    jiro.invite(&new, bot()).await;
    hears(&jiro, &new, "引き継ぎました").await;
    until(&town, &address, &mail(1, "", "unread"), "250").await;
    hears(&jiro, &new, "unread").await;
    assert_eq!(count(&hanako, &old, "unread").await, 0);
}

#[tokio::test]
async fn addresses_go_to_the_last_of_several_rooms_in_whatever_order_the_bot_is_asked_in() {
    let town = Town::new("").await;
    let (hanako, jiro) = (town.stage.server.user("hanako").await, town.stage.server.user("jiro").await);
    for (number, order) in [&[1, 2][..], &[2, 1], &[2]].into_iter().enumerate() {
        let (first, address) = town.room(&hanako, "example.co.jp").await;
        let second = upgrade_to("11", &hanako, &first).await;
        let rooms = [first, second.clone(), upgrade_to("11", &hanako, &second).await];
        for place in order {
            hanako.invite(&rooms[*place], bot()).await;
            hanako.sync_until(|seen| seen.room(&rooms[*place]).membership(BOT) == Some("join")).await;
        }
        hears(&hanako, &rooms[2], "引き継ぎました").await;
        let number = u32::try_from(number).unwrap();
        until(&town, &address, &mail(number, "", "to the last"), "250").await;
        hears(&hanako, &rooms[2], "to the last").await;
    }

    // Who has no power in the first room leads nothing by the second one, which the bot has to see.
    let (first, address) = town.room(&hanako, "example.co.jp").await;
    let second = upgrade_to("11", &hanako, &first).await;
    hanako.invite(&second, jiro.id()).await;
    jiro.join(&second, "kanazawa.test").await;
    set_levels(&hanako, &second, |levels| {
        levels["users"][jiro.id().as_str()] = json!(100);
        levels["events"]["m.room.tombstone"] = json!(100);
    })
    .await;
    let third = upgrade_to("11", &jiro, &second).await;
    jiro.invite(&third, bot()).await;
    jiro.sync_until(|seen| seen.room(&third).membership(BOT) == Some("join")).await;
    jiro.send(&third, "!メール 一覧").await;
    hears(&jiro, &third, "アドレスはありません").await;
    hanako.invite(&second, bot()).await;
    hears(&jiro, &third, "引き継ぎました").await;
    until(&town, &address, &mail(9, "", "to the third"), "250").await;
    hears(&jiro, &third, "to the third").await;
}
