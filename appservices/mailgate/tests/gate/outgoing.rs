//! Mail out of rooms: the bot's own process between a server with its users and a mail server, which the test plays.

use http::Method;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::User;

use crate::{
    post::{BOT, Town, body, count, hears, lines},
    sink::Sink,
};

/// A town whose mails go to a mail server that the test has in hand.
async fn town(more: &str) -> (Town, Sink) {
    let sink = Sink::new().await;
    let town = Town::new(&format!("{more}\n{}", sink.settings())).await;
    (town, sink)
}

async fn send(user: &User, room: &RoomId, txn: &str, content: &Value) -> String {
    let path = format!("/rooms/{room}/send/m.room.message/{txn}").replace('!', "%21");
    user.call(Method::PUT, &path, Some(content)).await["event_id"].as_str().unwrap().to_owned()
}

/// Writes a text as a reply to an event.
async fn reply(user: &User, room: &RoomId, txn: &str, to: &Value, text: &str) -> String {
    let relation = json!({ "m.in_reply_to": { "event_id": to["event_id"] } });
    send(user, room, txn, &json!({ "msgtype": "m.text", "body": text, "m.relates_to": relation })).await
}

async fn redact(user: &User, room: &RoomId, event: &str) {
    let path = format!("/rooms/{room}/redact/{event}/r").replace('!', "%21").replace('$', "%24");
    user.call(Method::PUT, &path, Some(&json!({}))).await;
}

fn root(event: &Value) -> &str {
    event["content"]["m.relates_to"]["event_id"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_answer_goes_out_once_and_what_is_answered_to_it_comes_back_into_the_thread() {
    let (town, mut sink) = town("delay = \"0s\"\nfrom_name = \"金沢市 道路課\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "taro@example.co.jp").await;
    let first = lines(
        "From: Taro <taro@example.co.jp>\nSubject: 橋\nMessage-ID: <2@x>\nReferences: <1@x>\n\nfirst text",
    );
    assert!(town.hand_over(&address, &first).await.starts_with("250"));
    let mail = hears(&hanako, &room, "first text").await;
    // What members say to each other stays in the room.
    reply(&hanako, &room, "talk", &mail, "どうしましょう").await;
    reply(&hanako, &room, "answer", &mail, "!返信 直します。\n.\n以上").await;
    let got = sink.next().await;
    assert_eq!((&*got.from, &*got.to), (&*address, "taro@example.co.jp"));
    assert_eq!((&*got.subject(), &*got.text()), ("Re: 橋", "直します。\n.\n以上"));
    assert!(got.header("From").ends_with(&format!("<{address}>")), "{}", got.header("From"));
    assert_eq!((&*got.header("In-Reply-To"), &*got.header("References")), ("<2@x>", "<1@x> <2@x>"));
    assert_eq!(got.header("MIME-Version"), "1.0");
    assert_eq!(root(&hears(&hanako, &room, "送りました").await), mail["event_id"]);
    town.restart_bot().await;

    // He answers from another address, which nobody allowed but the mail that he answers.
    let answer = |of: &str| {
        lines(&format!(
            "From: taro@home.test\nSubject: Re: 橋\nMessage-ID: <3@x>\nIn-Reply-To: <{of}>\n\nsecond text"
        ))
    };
    assert!(town.hand_over(&address, &answer("guessed@in.kanazawa.test")).await.starts_with("550"));
    assert!(town.hand_over(&address, &answer(&got.id())).await.starts_with("250"));
    assert_eq!(root(&hears(&hanako, &room, "second text").await), mail["event_id"]);
    // In the thread, the newest mail is meant.
    let relation = json!({
        "rel_type": "m.thread", "event_id": mail["event_id"], "is_falling_back": true,
        "m.in_reply_to": { "event_id": mail["event_id"] },
    });
    send(&hanako, &room, "t", &json!({ "msgtype": "m.text", "body": "!reply ok", "m.relates_to": relation }))
        .await;
    let got = sink.next().await;
    assert_eq!((&*got.to, &*got.header("In-Reply-To")), ("taro@home.test", "<3@x>"));
    hears(&hanako, &room, "送りました / Sent: taro@home.test").await;
    assert!(sink.is_empty());
}

#[tokio::test]
async fn who_names_anothers_mail_gets_neither_its_thread_nor_what_is_said_to_him() {
    let (town, mut sink) = town("delay = \"0s\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "example.co.jp").await;
    let mail = |from: &str, id: u32, more: &str, text: &str| {
        lines(&format!("From: {from}@example.co.jp\nSubject: bridge\nMessage-ID: <{id}@x>\n{more}\n\n{text}"))
    };
    let date = "Date: Sat, 28 Nov 2026 10:00:00 +0900";
    assert!(town.hand_over(&address, &mail("taro", 1, date, "of taro")).await.starts_with("250"));
    let first = hears(&hanako, &room, "of taro").await;
    // By an id that is known to all who were sent a copy.
    let answer = "In-Reply-To: <1@x>";
    assert!(town.hand_over(&address, &mail("evil", 2, answer, "a stranger")).await.starts_with("250"));
    let stranger = hears(&hanako, &room, "a stranger").await;
    assert_eq!(root(&stranger), first["event_id"]);
    assert!(town.hand_over(&address, &mail("evil", 1, "X: y", "the same id")).await.starts_with("250"));
    hears(&hanako, &room, "the same id").await;
    assert!(town.hand_over(&address, &mail("taro", 3, answer, "taro again")).await.starts_with("250"));
    assert_eq!(root(&hears(&hanako, &room, "taro again").await), first["event_id"]);
    assert!(town.hand_over(&address, &mail("evil", 4, answer, "and again")).await.starts_with("250"));
    hears(&hanako, &room, "and again").await;

    let relation = json!({
        "rel_type": "m.thread", "event_id": first["event_id"], "is_falling_back": true,
        "m.in_reply_to": { "event_id": first["event_id"] },
    });
    let said =
        json!({ "msgtype": "m.text", "body": "!reply to whom it began with", "m.relates_to": relation });
    send(&hanako, &room, "t", &said).await;
    let got = sink.next().await;
    assert_eq!((&*got.to, &*got.header("In-Reply-To")), ("taro@example.co.jp", "<3@x>"));
    // Who is meant is named.
    reply(&hanako, &room, "r", &stranger, "!返信 あなたへ").await;
    assert_eq!(sink.next().await.to, "evil@example.co.jp");
}

/// MA1, MA2.
#[tokio::test]
async fn a_bounce_is_told_in_the_thread_of_its_mail_and_nothing_is_answered_to_programs() {
    let (town, mut sink) = town("delay = \"0s\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "なし").await;
    let command = hanako.send(&room, "!メール 送信 jiro@example.net 橋の件\nお知らせします。").await;
    let got = sink.next().await;
    assert_eq!((&*got.to, &*got.subject(), &*got.header("In-Reply-To")), ("jiro@example.net", "橋の件", ""));
    hears(&hanako, &room, "送りました").await;
    let bounce = |id: &str| {
        lines(&format!(
            "From: mailer-daemon@mx.test\nSubject: failure\nAuto-Submitted: auto-replied\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n--x\n\nsorry\n--x\n\
             Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nAction: failed\nStatus: 5.1.1\n\n--x\n\
             Content-Type: text/rfc822-headers\n\nMessage-ID: <{id}>\n\n--x--"
        ))
    };
    assert!(town.hand_over_of("<>", &address, &bounce("forged@in.kanazawa.test")).await.starts_with("550"));
    assert!(town.hand_over_of("<>", &address, &bounce(&got.id())).await.starts_with("250"));
    let told = hears(&hanako, &room, "メールが届きませんでした").await;
    assert_eq!((root(&told), &told["content"]["msgtype"]), (command.as_str(), &json!("m.notice")));
    assert!(body(&told).contains("jiro@example.net\n> 5.1.1") && body(&told).contains("未確認"), "{told}");
    let absent = lines(&format!(
        "From: jiro@example.net\nSubject: absent\nAuto-Submitted: auto-replied\nIn-Reply-To: <{}>\n\nI am away",
        got.id()
    ));
    assert!(town.hand_over_of("<>", &address, &absent).await.starts_with("250"));
    let shown = hears(&hanako, &room, "I am away").await;
    assert!(body(&shown).contains("自動送信") && root(&shown) == command.as_str(), "{shown}");
    assert!(sink.is_empty(), "no program is answered");
}

#[tokio::test]
async fn what_is_redacted_before_it_is_sent_is_not_sent() {
    let (town, mut sink) = town("delay = \"1h\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, _) = town.room(&hanako, "なし").await;
    let command = hanako.send(&room, "!メール 送信 jiro@example.net 件名\n本文").await;
    hears(&hanako, &room, "3600 秒後に送ります").await;
    redact(&hanako, &room, command.as_str()).await;
    hears(&hanako, &room, "送信をやめました").await;
    assert!(sink.is_empty());
}

#[tokio::test]
async fn what_was_redacted_while_the_bot_was_away_is_not_sent_either() {
    let (town, mut sink) = town("delay = \"2s\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, _) = town.room(&hanako, "なし").await;
    let command = hanako.send(&room, "!メール 送信 jiro@example.net 件名\n本文").await;
    hears(&hanako, &room, "2 秒後に送ります").await;
    town.stage.kill_bot();
    redact(&hanako, &room, command.as_str()).await;
    // It is due when the bot starts, before anybody can tell it of the redaction: only the clock brings that about.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    town.stage.start_bot().await;
    hears(&hanako, &room, "送信をやめました").await;
    assert!(sink.is_empty());
}

#[tokio::test]
async fn who_may_not_write_outward_does_not_and_no_address_of_ours_is_written_to() {
    let (town, mut sink) = town("delay = \"0s\"\nhourly_out = 1").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, address) = town.room(&hanako, "なし").await;
    let jiro = town.stage.server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    jiro.send(&room, "!メール 送信 a@b.jp 件名\n本文").await;
    hears(&jiro, &room, "外へ送る権限がありません").await;
    hanako.send(&room, &format!("!メール 送信 {address} 件名\n本文")).await;
    hears(&hanako, &room, "この宛先には送れません").await;
    hanako.send(&room, "!メール 送信 a@b.jp 件名").await;
    hears(&hanako, &room, "本文がありません").await;
    hanako.send(&room, "!返信 本文").await;
    hears(&hanako, &room, "返信するメールの発言に").await;
    // An address that is opened later does not take over.
    town.open(&hanako, &room, "anzen").await;
    hanako.send(&room, "!メール 送信 a@b.jp 一通\n本文").await;
    let got = sink.next().await;
    assert_eq!((&*got.subject(), &*got.from), ("一通", &*address));
    hanako.send(&room, "!メール 送信 a@b.jp 二通\n本文").await;
    hears(&hanako, &room, "送るメールが多すぎます").await;
    assert!(sink.is_empty());
}

#[tokio::test]
async fn nothing_goes_out_for_who_is_put_out_or_may_no_more() {
    let (town, mut sink) = town("delay = \"3s\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, _) = town.room(&hanako, "なし").await;
    let (jiro, saburo) = (town.stage.server.user("jiro").await, town.stage.server.user("saburo").await);
    let of_power = async |level: i64, of_saburo: i64| {
        let state = hanako.state(&room).await;
        let levels = state.iter().find(|event| event["type"] == "m.room.power_levels").unwrap();
        let mut levels = levels["content"].clone();
        levels["users"][jiro.id().as_str()] = json!(level);
        levels["users"][saburo.id().as_str()] = json!(of_saburo);
        hanako.set_state(&room, "m.room.power_levels", "", &levels).await;
    };
    for user in [&jiro, &saburo] {
        hanako.invite(&room, user.id()).await;
        user.join(&room, "kanazawa.test").await;
    }
    of_power(50, 50).await;
    jiro.send(&room, "!メール 送信 one@example.net 件名\n本文").await;
    hears(&hanako, &room, "one@example.net へ 3 秒後に送ります").await;
    hanako.ban(&room, jiro.id()).await;
    hears(&hanako, &room, "送れませんでした / Not sent: one@example.net\n送信を頼んだ人が").await;
    saburo.send(&room, "!メール 送信 two@example.net 件名\n本文").await;
    hears(&hanako, &room, "two@example.net へ 3 秒後に送ります").await;
    of_power(0, 0).await;
    hears(&hanako, &room, "送れませんでした / Not sent: two@example.net\n送信を頼んだ人が").await;

    // The bot itself: it goes on seeing the command, and tells who asked, since the room hears nothing of it any more.
    hanako.send(&room, "!メール 送信 three@example.net 件名\n本文").await;
    hears(&hanako, &room, "three@example.net へ 3 秒後に送ります").await;
    hanako.kick(&room, BOT.try_into().unwrap()).await;
    let invite = |seen: &testkit::Seen| {
        seen.rooms.iter().find(|(_, room)| room.section == "invite").map(|(room, _)| room.clone())
    };
    let private = invite(&hanako.sync_until(|seen| invite(seen).is_some()).await).unwrap();
    let private: OwnedRoomId = private.try_into().unwrap();
    hanako.join(&private, "kanazawa.test").await;
    let told = hears(&hanako, &private, "この窓口が部屋から外されたため").await;
    assert!(body(&told).contains("three@example.net"), "{told}");
    assert!(sink.is_empty());
}

#[tokio::test]
async fn a_mail_whose_bytes_were_on_their_way_at_a_kill_is_told_of_and_never_sent_twice() {
    let (town, mut sink) = town("delay = \"0s\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, _) = town.room(&hanako, "なし").await;
    sink.to_mails.lock().unwrap().push_back("");
    hanako.send(&room, "!メール 送信 jiro@example.net 件名\n本文").await;
    sink.next().await;
    town.restart_bot().await;
    hears(&hanako, &room, "届いたか分かりません").await;
    town.restart_bot().await;
    hanako.send(&room, "!メール 送信 jiro@example.net 次\n本文").await;
    assert_eq!(sink.next().await.subject(), "次");
    hears(&hanako, &room, "送りました").await;
    assert!(sink.is_empty());
    assert_eq!(count(&hanako, &room, "届いたか分かりません").await, 1);
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (town, mut sink) = town("delay = \"0s\"").await;
    let hanako = town.stage.server.user("hanako").await;
    let (room, _) = town.room(&hanako, "なし").await;
    sink.to_recipients.lock().unwrap().push_back("451 later");
    sink.to_mails.lock().unwrap().push_back("452 later");
    hanako.send(&room, "!メール 送信 jiro@example.net 件名\n本文").await;
    let refused = sink.next().await;
    let taken = sink.next().await;
    assert_eq!(taken.id(), refused.id(), "the same mail");
    hears(&hanako, &room, "送りました").await;
    sink.to_recipients.lock().unwrap().push_back("550 no such user");
    hanako.send(&room, "!メール 送信 saburo@example.net 件名\n本文").await;
    let told = hears(&hanako, &room, "送れませんでした").await;
    assert!(body(&told).contains("no such user"), "{told}");
    assert!(sink.is_empty());
    assert_eq!(count(&hanako, &room, "送りました").await, 1);
}
