//! The bot's own process, beside a server and its users.

#![expect(clippy::unwrap_used, reason = "tests")]

mod people;
mod rights;
mod rooms;
mod verdicts;

use bot_testing::Stage;
use http::{Method, StatusCode};
use people::{BOT, direct_room, hears, memo_room, send};
use ruma::RoomId;
use serde_json::json;
use testkit::{Net, User};

async fn stage(settings: &str) -> Stage {
    Stage::new(&Net::new(), "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-memo"), settings).await
}

async fn membership(user: &User, room: &RoomId, whose: &str) -> String {
    let state = user.state(room).await;
    let found = state.iter().find(|event| event["type"] == "m.room.member" && event["state_key"] == whose);
    found.map(|event| event["content"]["membership"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn who_asks_the_bot_gets_a_room_of_his_own_and_the_same_one_again() {
    let stage = stage("").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    hears(&hanako, &room, |text| text.contains("あなただけのメモ帳") && text.contains("90 days")).await;

    let state = hanako.state(&room).await;
    let content =
        |kind: &str| state.iter().find(|event| event["type"] == kind).map(|event| &event["content"]);
    assert_eq!(content("m.room.name").unwrap()["name"], "メモ帳");
    assert_eq!(content("m.room.history_visibility").unwrap()["history_visibility"], "shared");
    assert_eq!(content("m.room.join_rules").unwrap()["join_rule"], "invite");
    assert!(content("m.room.encryption").is_none());
    let taro = stage.server.user("taro").await;
    for (path, body) in [
        ("invite", json!({ "user_id": taro.id() })),
        ("state/m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
        ("state/m.room.name", json!({ "name": "x" })),
    ] {
        let method = if path == "invite" { Method::POST } else { Method::PUT };
        let refused =
            hanako.try_call(method, &format!("/rooms/{room}/{path}"), Some(&body)).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }

    // Another direct room leads to the same memo room, also after he left that.
    hanako.leave(&room).await;
    hanako.sync_until(|seen| seen.room(&room).section == "leave").await;
    let direct = direct_room(&hanako).await;
    hanako.sync_until(|seen| seen.is_invited(&room)).await;
    hears(&hanako, &direct, |text| text.contains(room.as_str())).await;
    hanako.sync_until(|seen| seen.room(&direct).membership(BOT) == Some("leave")).await;
    hanako.join(&room, "kanazawa.test").await;
    assert_ne!(memo_room(&taro).await, room);
}

#[tokio::test]
async fn nobody_else_stays_in_a_memo_room_and_no_other_authority_is_served() {
    let net = Net::new();
    let stage = Stage::new(&net, "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-memo"), "").await;
    let (hanako, taro) = (stage.server.user("hanako").await, stage.server.user("taro").await);
    let room = memo_room(&hanako).await;
    // By the bot's own token, as who has power over everything may.
    stage.server.service("memo", &stage.as_token()).invite(&room, taro.id()).await;
    // What the bot itself did it does not judge; what comes of it, it does.
    taro.join(&room, "kanazawa.test").await;
    hears(&hanako, &room, |text| text.contains("本人だけの部屋")).await;
    assert_eq!(membership(&hanako, &room, taro.id().as_str()).await, "leave");

    let jiro = net.server("wajima.test").await.user("jiro").await;
    let direct = direct_room(&jiro).await;
    jiro.sync_until(|seen| seen.room(&direct).membership(BOT) == Some("leave")).await;
    assert_eq!(jiro.sync_until(|_| true).await.rooms.len(), 1);

    // Nor is anybody outside who speaks by a user of another service.
    let ghost = stage.ghost("taro").await;
    let direct = direct_room(&ghost).await;
    ghost.sync_until(|seen| seen.room(&direct).membership(BOT) == Some("leave")).await;
    stage.until_log("an invite is refused").await;
    assert_eq!(ghost.sync_until(|_| true).await.rooms.len(), 1);
}

#[tokio::test]
async fn memos_are_listed_and_deleted_with_their_edits_and_with_what_showed_them() {
    let stage = stage("most = 3").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    let first = hanako.send(&room, "橋の写真は後で").await;
    let edit = json!({
        "msgtype": "m.text", "body": "* 橋の図面は後で",
        "m.new_content": { "msgtype": "m.text", "body": "橋の図面は後で" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": first },
    });
    let edit = send(&hanako, &room, "edit", &edit).await;
    hanako.send(&room, "https://example.jp/").await;
    hanako.send(&room, "一覧").await;
    let list = hears(&hanako, &room, |text| text.contains("newest of")).await;
    assert!(list.contains("メモ2件") && list.contains("橋の図面は後で") && list.contains("#2"), "{list}");
    assert!(!list.contains("写真"), "{list}");

    let reply = json!({
        "msgtype": "m.text", "body": "消す", "m.relates_to": { "m.in_reply_to": { "event_id": first } },
    });
    send(&hanako, &room, "reply", &reply).await;
    hears(&hanako, &room, |text| text.starts_with("1件のメモを消しました")).await;
    let left = hanako.history(&room).await.join("\n");
    assert!(!left.contains("橋の") && left.contains("https://example.jp/"), "{left}");
    let (status, edit) =
        hanako.ask(Method::GET, &format!("/_matrix/client/v3/rooms/{room}/event/{edit}"), None).await;
    assert!(status == StatusCode::OK && !edit.contains("橋の"), "{edit}");

    // The oldest one makes room for the fourth.
    for text in ["二", "三", "四"] {
        hanako.send(&room, text).await;
    }
    hanako.send(&room, "list").await;
    let list = hears(&hanako, &room, |text| text.contains("四")).await;
    assert!(list.contains("メモ3件") && !list.contains("example"), "{list}");
    hanako.send(&room, "消す 全部").await;
    hears(&hanako, &room, |text| text.starts_with("3件のメモを消しました")).await;
    hanako.send(&room, "一覧").await;
    hears(&hanako, &room, |text| text.contains("メモはありません")).await;
}

#[tokio::test]
async fn a_memo_goes_when_its_time_is_over() {
    let stage = stage("keep = \"1s\"").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    let memo = hanako.send(&room, "すぐ消えるメモ").await;
    let is_redacted =
        |event: &serde_json::Value| event["type"] == "m.room.redaction" && event["sender"] == BOT;
    let seen = hanako.sync_until(|seen| seen.room(&room).timeline.iter().any(is_redacted)).await;
    let redaction = seen.room(&room).timeline.into_iter().find(is_redacted).unwrap();
    assert_eq!(
        redaction["content"]["redacts"].as_str().or(redaction["redacts"].as_str()),
        Some(memo.as_str())
    );
    assert!(!hanako.history(&room).await.contains(&"すぐ消えるメモ".to_owned()));
}

#[tokio::test]
async fn a_bot_that_is_killed_again_and_again_neither_loses_nor_repeats() {
    let stage = stage("").await;
    let users = ["hanako", "taro", "jiro"];
    let mut rooms = Vec::new();
    for name in users {
        let user = stage.server.user(name).await;
        // Killed while it makes the room.
        direct_room(&user).await;
        stage.kill_bot();
        stage.start_bot().await;
        let invited = |seen: &testkit::Seen| {
            seen.rooms.iter().find(|(_, room)| room.section == "invite").map(|(id, _)| id.clone())
        };
        let seen = user.sync_until(|seen| invited(seen).is_some()).await;
        let room = RoomId::parse(invited(&seen).unwrap()).unwrap();
        user.join(&room, "kanazawa.test").await;
        rooms.push((user, room));
    }
    for number in 0..20 {
        for (user, room) in &rooms {
            user.send(room, &format!("メモ {number}")).await;
            if number % 5 == 4 && number < 19 {
                user.send(room, "一覧 50").await;
            }
        }
        if number % 4 == 3 {
            stage.kill_bot();
            stage.start_bot().await;
        }
    }
    for (user, room) in &rooms {
        user.send(room, "一覧 50").await;
        let list = hears(user, room, |text| text.contains("メモ20件")).await;
        for number in 0..20 {
            let line = format!("メモ {number}");
            assert_eq!(list.lines().filter(|shown| shown.ends_with(&line)).count(), 1, "{line} in {list}");
        }
        // Four lists were asked for, and one welcome is due; each is said once, whatever the bot had to do again.
        let history = user.history(room).await;
        let count = |what: &str| history.iter().filter(|text| text.contains(what)).count();
        assert_eq!((count("newest of"), count("あなただけのメモ帳")), (4, 1), "{history:#?}");
    }
    stage.stop_bot().await;
}
