//! Whose words are obeyed, and which.

use http::Method;
use serde_json::json;
use testkit::User;

use crate::{
    people::{direct_room, hears, memo_room, send},
    stage,
};

async fn redact(user: &User, room: &ruma::RoomId, event: &str) {
    let path = format!("/rooms/{room}/redact/{event}/redact-{}", event.trim_start_matches('$'));
    user.call(Method::PUT, &path, Some(&json!({}))).await;
}

#[tokio::test]
async fn a_command_that_was_taken_back_or_edited_before_the_bot_got_to_it_deletes_nothing() {
    let stage = stage("most = 3").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    hanako.send(&room, "大事なメモ").await;
    hanako.send(&room, "一覧").await;
    hears(&hanako, &room, |text| text.contains("メモ1件")).await;

    stage.kill_bot();
    let command = hanako.send(&room, "消す 全部").await;
    redact(&hanako, &room, command.as_str()).await;
    let command = hanako.send(&room, "消す 1").await;
    let edit = json!({
        "msgtype": "m.text", "body": "* 消す 9", "m.new_content": { "msgtype": "m.text", "body": "消す 9" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": command },
    });
    send(&hanako, &room, "edit", &edit).await;
    stage.start_bot().await;
    hears(&hanako, &room, |text| text.starts_with("書き直されたため")).await;
    hanako.send(&room, "二つめ").await;
    hanako.send(&room, "三つめ").await;
    hanako.send(&room, "一覧").await;
    hears(&hanako, &room, |text| text.contains("メモ3件") && text.contains("大事なメモ")).await;

    // A memo that was taken back makes no other go either.
    stage.kill_bot();
    let memo = hanako.send(&room, "まちがい").await;
    redact(&hanako, &room, memo.as_str()).await;
    stage.start_bot().await;
    hanako.send(&room, "一覧 20").await;
    let wanted = |text: &str| text.contains("メモ3件のうち新しい3件") && text.contains("大事なメモ");
    hears(&hanako, &room, wanted).await;
}

#[tokio::test]
async fn what_is_no_text_of_the_user_or_a_programs_is_a_memo_and_no_command() {
    let stage = stage("").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    hanako.send(&room, "大事なメモ").await;
    for (txn, content) in [
        ("notice", json!({ "msgtype": "m.notice", "body": "消す 全部" })),
        ("emote", json!({ "msgtype": "m.emote", "body": "消す 全部" })),
        (
            "program",
            json!({ "msgtype": "m.text", "body": "消す 全部", "org.matrix.msc1767.automated": true }),
        ),
    ] {
        send(&hanako, &room, txn, &content).await;
    }
    hanako.send(&room, "一覧").await;
    let list = hears(&hanako, &room, |text| text.contains("メモ4件")).await;
    assert_eq!(list.matches("消す 全部").count(), 3, "{list}");
}

#[tokio::test]
async fn who_left_before_the_bot_got_to_his_command_finds_his_memos_again() {
    let stage = stage("").await;
    let hanako = stage.server.user("hanako").await;
    let room = memo_room(&hanako).await;
    hanako.send(&room, "大事なメモ").await;
    hanako.send(&room, "一覧").await;
    hears(&hanako, &room, |text| text.contains("大事なメモ")).await;
    stage.kill_bot();
    hanako.send(&room, "消す 全部").await;
    hanako.leave(&room).await;
    hanako.sync_until(|seen| seen.room(&room).section == "leave").await;
    stage.start_bot().await;
    direct_room(&hanako).await;
    hanako.sync_until(|seen| seen.is_invited(&room)).await;
    hanako.join(&room, "kanazawa.test").await;
    hanako.send(&room, "一覧 5").await;
    hears(&hanako, &room, |text| text.contains("メモ1件のうち新しい1件")).await;
    assert!(hanako.history(&room).await.contains(&"大事なメモ".to_owned()));
}
