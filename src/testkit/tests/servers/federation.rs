//! People of several authorities in one room.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use http::{Method, StatusCode};
use room::{Order, RoomSerial, tables::TIMELINE};
use ruma::OwnedRoomId;
use serde_json::json;
use store::{Batch, Missed, Range, Table, Tuning};
use testkit::{Fault, Net, Preset, Seen, Server, User, Wire};

/// Two authorities with a person each, in one room that the first one made.
struct Towns {
    net: Net,
    kanazawa: Server,
    wajima: Server,
    hanako: User,
    taro: User,
    room: OwnedRoomId,
}

impl Towns {
    async fn over(wire: Wire) -> Self {
        let net = Net::with(wire, 7);
        let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
        let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
        let room = hanako.create_room(Preset::PrivateChat).await;
        hanako.invite(&room, taro.id()).await;
        taro.sync_until(|seen| seen.is_invited(&room)).await;
        taro.join(&room, "kanazawa.test").await;
        hanako.sync_until(|seen| seen.room(&room).membership(taro.id().as_str()) == Some("join")).await;
        Self { net, kanazawa, wajima, hanako, taro, room }
    }

    async fn new() -> Self {
        Self::over(Wire::Memory).await
    }

    async fn both_see(&self, text: &str) -> (Seen, Seen) {
        let see = |user: &User| {
            let (user, room, text) = (user.clone(), self.room.clone(), text.to_owned());
            async move { user.sync_until(|seen| seen.has_message(&room, &text)).await }
        };
        tokio::join!(see(&self.hanako), see(&self.taro))
    }

    /// Both people have the same messages in the same room, each once.
    async fn agree(&self, texts: &[String]) {
        for user in [&self.hanako, &self.taro] {
            let mut history = user.history(&self.room).await;
            history.sort();
            let mut expected = texts.to_vec();
            expected.sort();
            assert_eq!(history, expected, "{}", user.id());
        }
    }
}

#[tokio::test]
async fn people_of_two_authorities_chat_both_ways() {
    let towns = Towns::new().await;

    towns.hanako.send(&towns.room, "断水しています").await;
    towns.both_see("断水しています").await;
    towns.taro.send(&towns.room, "給水車を出します").await;
    let (hanako, taro) = towns.both_see("給水車を出します").await;

    let expected = ["断水しています", "給水車を出します"];
    assert_eq!(hanako.room(&towns.room).messages(), expected);
    assert_eq!(taro.room(&towns.room).messages(), expected);
    assert_eq!(towns.taro.history(&towns.room).await, expected);
}

#[tokio::test]
async fn people_of_two_authorities_chat_over_real_tls() {
    let towns = Towns::over(Wire::Tls).await;
    towns.hanako.send(&towns.room, "聞こえますか").await;
    towns.both_see("聞こえますか").await;
    towns.taro.send(&towns.room, "聞こえます").await;
    towns.both_see("聞こえます").await;
}

#[tokio::test]
async fn what_was_said_while_the_link_was_cut_arrives_when_it_is_healed() {
    let towns = Towns::new().await;
    let link = towns.net.link(&towns.kanazawa, &towns.wajima);
    link.cut();
    let mut texts = Vec::new();
    for number in 0..20 {
        let (one, other) = (format!("金沢 {number}"), format!("輪島 {number}"));
        towns.hanako.send(&towns.room, &one).await;
        towns.taro.send(&towns.room, &other).await;
        texts.extend([one, other]);
    }
    link.heal();
    towns.net.advance(Duration::from_secs(3_600));

    towns.hanako.sync_until(|seen| seen.has_message(&towns.room, "輪島 19")).await;
    towns.taro.sync_until(|seen| seen.has_message(&towns.room, "金沢 19")).await;
    towns.agree(&texts).await;
}

#[tokio::test]
async fn lost_answers_and_overtaking_requests_double_nothing() {
    let towns = Towns::new().await;
    let way = towns.net.way(&towns.kanazawa, &towns.wajima);
    let mut texts = Vec::new();
    for (number, fault) in
        (0..).zip([Fault::AnswersLost, Fault::Reorder(Duration::from_millis(50)), Fault::None])
    {
        way.set(fault);
        for part in 0..5 {
            let text = format!("{number}-{part}");
            towns.hanako.send(&towns.room, &text).await;
            texts.push(text);
        }
        towns.net.advance(Duration::from_secs(60));
    }
    towns.net.advance(Duration::from_secs(3_600));
    towns.both_see("2-4").await;
    towns.agree(&texts).await;
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let towns = Towns::new().await;
    let mut texts = Vec::new();
    for round in 0..3 {
        for part in 0..5 {
            let text = format!("金沢 {round}-{part}");
            towns.hanako.send(&towns.room, &text).await;
            texts.push(text);
        }
        // Killed with transactions on their way out and in.
        towns.wajima.crash().await;
        let text = format!("独り言 {round}");
        towns.hanako.send(&towns.room, &text).await;
        texts.push(text);
        towns.kanazawa.crash_and_restart().await;
        towns.wajima.start().await;
        let text = format!("輪島 {round}");
        towns.taro.send(&towns.room, &text).await;
        texts.push(text.clone());
        towns.net.advance(Duration::from_secs(3_600));
        towns.both_see(&text).await;
    }
    towns.both_see("独り言 2").await;
    towns.agree(&texts).await;
}

#[tokio::test]
async fn what_a_sender_had_not_sent_when_the_log_was_trimmed_reaches_the_others_all_the_same() {
    let towns = Towns::new().await;
    towns.hanako.send(&towns.room, "開庁").await;
    towns.both_see("開庁").await;
    let link = towns.net.link(&towns.kanazawa, &towns.wajima);
    link.cut();
    let mut texts = vec!["開庁".to_owned()];
    for number in 0..5 {
        texts.push(format!("金沢 {number}"));
        towns.hanako.send(&towns.room, &texts[number + 1]).await;
    }
    // As a log does that has waited for its reader for longer than it has to.
    let store = towns.kanazawa.look(|house| house.store.clone());
    store.trim_log_now(store.head()).await.unwrap();
    let status = store.log_status().await.unwrap();
    assert!(status.readers.iter().any(|reader| reader.is_passed_over), "{status:?}");
    drop(store);

    towns.kanazawa.crash_and_restart().await;
    link.heal();
    towns.net.advance(Duration::from_secs(3_600));

    towns.both_see("金沢 4").await;
    towns.agree(&texts).await;
    let sent = || towns.kanazawa.look(|house| house.store.clone());
    let made_up = async || sent().log_status().await.unwrap().readers.iter().all(|one| !one.is_passed_over);
    assert!(made_up().await, "the log waits for it again");
    let is_done = async {
        while !towns.kanazawa.look(|house| house.sender.is_idle()) {
            towns.net.advance(Duration::from_secs(5));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_done).await.expect("it comes to an end");
    let missed = sent().scan(&MISSED, Range::all(), store::Order::Ascending, 9).await.unwrap();
    assert_eq!(missed, [], "the next sender has nothing to make up for");
}

/// What readers of the log have not made up for.
static MISSED: Table<String, Missed> = Table::new(8, "store.missed", Tuning::Small);

#[tokio::test]
async fn who_was_thrown_out_and_whom_nobody_of_ours_is_with_any_more_hear_of_it_after_a_trim_too() {
    let towns = Towns::new().await;
    let other = towns.hanako.create_room(Preset::PublicChat).await;
    towns.taro.join(&other, "kanazawa.test").await;
    let hanako = towns.hanako.id().to_string();
    towns.taro.sync_until(|seen| seen.room(&other).membership(&hanako) == Some("join")).await;
    let link = towns.net.link(&towns.kanazawa, &towns.wajima);
    link.cut();
    towns.hanako.kick(&towns.room, towns.taro.id()).await;
    towns.hanako.leave(&other).await;
    towns.hanako.create_room(Preset::PrivateChat).await;
    let store = towns.kanazawa.look(|house| house.store.clone());
    store.trim_log_now(store.head()).await.unwrap();
    drop(store);

    towns.kanazawa.crash_and_restart().await;
    link.heal();
    towns.net.advance(Duration::from_secs(3_600));

    towns.taro.sync_until(|seen| seen.room(&towns.room).section == "leave").await;
    towns.taro.sync_until(|seen| seen.room(&other).membership(&hanako) == Some("leave")).await;
}

#[tokio::test]
async fn of_many_rooms_none_is_left_out_when_it_is_made_up_for_a_trimmed_log() {
    let towns = Towns::new().await;
    // More than are looked at together.
    for _ in 0..20 {
        towns.hanako.create_room(Preset::PrivateChat).await;
    }
    let newest = towns.hanako.create_room(Preset::PublicChat).await;
    towns.taro.join(&newest, "kanazawa.test").await;
    let link = towns.net.link(&towns.kanazawa, &towns.wajima);
    link.cut();
    towns.hanako.send(&towns.room, "最古").await;
    towns.hanako.send(&newest, "最新").await;
    // The last entry of a log stays.
    towns.hanako.create_room(Preset::PrivateChat).await;
    let store = towns.kanazawa.look(|house| house.store.clone());
    store.trim_log_now(store.head()).await.unwrap();
    drop(store);

    towns.kanazawa.crash_and_restart().await;
    link.heal();
    towns.net.advance(Duration::from_secs(3_600));

    towns.taro.sync_until(|seen| seen.has_message(&towns.room, "最古")).await;
    towns.taro.sync_until(|seen| seen.has_message(&newest, "最新")).await;
}

#[tokio::test]
async fn who_was_thrown_out_long_before_the_end_hears_of_it_after_a_trim_too() {
    let towns = Towns::new().await;
    let link = towns.net.link(&towns.kanazawa, &towns.wajima);
    // His server is in that one neither before nor after it: the event alone names him.
    let other = towns.hanako.create_room(Preset::PrivateChat).await;
    towns.hanako.invite(&other, towns.taro.id()).await;
    towns.taro.sync_until(|seen| seen.is_invited(&other)).await;
    link.cut();
    towns.hanako.kick(&towns.room, towns.taro.id()).await;
    towns.hanako.kick(&other, towns.taro.id()).await;
    // More than are sent to whoever was away, and than are looked at together.
    for number in 0..520 {
        towns.hanako.send(&towns.room, &number.to_string()).await;
        towns.hanako.send(&other, &number.to_string()).await;
    }
    let store = towns.kanazawa.look(|house| house.store.clone());
    store.trim_log_now(store.head()).await.unwrap();
    drop(store);

    towns.kanazawa.crash_and_restart().await;
    link.heal();
    towns.net.advance(Duration::from_secs(3_600));

    towns.taro.sync_until(|seen| seen.room(&towns.room).section == "leave").await;
    towns.taro.sync_until(|seen| seen.room(&other).section == "leave").await;
}

/// The timelines of rooms, whatever their rows say.
static AS_WORDS: Table<(RoomSerial, Order), String> = Table::new(26, "room.timeline", Tuning::Append);

#[tokio::test]
async fn what_is_said_now_is_sent_while_it_cannot_be_found_what_was_not_sent() {
    let towns = Towns::new().await;
    let jiro = towns.kanazawa.user("jiro").await;
    let damaged = jiro.create_room(Preset::PublicChat).await;
    let link = towns.net.link(&towns.kanazawa, &towns.wajima);
    link.cut();
    jiro.send(&damaged, "独り言").await;
    towns.hanako.send(&towns.room, "停電").await;
    // The last entry of a log stays: it is of a room that can be read.
    towns.hanako.send(&towns.room, "断水").await;
    let (store, rooms) = towns.kanazawa.look(|house| (house.store.clone(), house.engine.rooms().clone()));
    let serial = rooms.room(&damaged).await.unwrap().unwrap().serial;
    let rows = store.scan(&TIMELINE, Range::prefix(&serial), store::Order::Ascending, 99).await.unwrap();
    let mut batch = Batch::new();
    rows.iter().for_each(|(key, _)| batch.put(&AS_WORDS, key, &"?".to_owned()));
    store.commit(batch).await.unwrap();
    store.trim_log_now(store.head()).await.unwrap();
    drop((store, rooms));
    towns.kanazawa.crash_and_restart().await;
    link.heal();
    towns.net.advance(Duration::from_secs(3_600));

    towns.hanako.send(&towns.room, "復旧").await;
    towns.taro.sync_until(|seen| seen.has_message(&towns.room, "復旧")).await;

    let (store, idle) = towns.kanazawa.look(|house| (house.store.clone(), house.sender.is_idle()));
    assert!(!idle, "it goes on trying");
    let mut batch = Batch::new();
    rows.iter().for_each(|(key, row)| batch.put(&TIMELINE, key, row));
    store.commit(batch).await.unwrap();
    let is_done = async {
        while !towns.kanazawa.look(|house| house.sender.is_idle()) {
            towns.net.advance(Duration::from_secs(5));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_done).await.expect("it makes up for it");
    towns.taro.sync_until(|seen| seen.has_message(&towns.room, "停電")).await;
}

#[tokio::test]
async fn a_room_of_two_authorities_of_one_process_needs_no_network() {
    let net = Net::new();
    let host = net.process(&["suzu.test", "noto.test"]).await;
    let (aya, ken) = (host.user_of("suzu.test", "aya").await, host.user_of("noto.test", "ken").await);
    let room = aya.create_room(Preset::PrivateChat).await;
    aya.invite(&room, ken.id()).await;
    ken.sync_until(|seen| seen.is_invited(&room)).await;
    ken.join(&room, "suzu.test").await;
    ken.send(&room, "同じ屋根の下").await;
    let seen = aya.sync_until(|seen| seen.has_message(&room, "同じ屋根の下")).await;
    assert_eq!(seen.room(&room).membership(ken.id().as_str()), Some("join"));
}

#[tokio::test]
async fn what_is_said_through_one_replica_is_heard_through_the_other() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let desk = replicas[0].user("mio").await;
    let phone = desk.device_at(&replicas[1]).await;
    let room = desk.create_room(Preset::PrivateChat).await;
    phone.sync_until(|seen| seen.is_joined(&room)).await;

    desk.send(&room, "机から").await;
    phone.sync_until(|seen| seen.has_message(&room, "机から")).await;
    phone.send(&room, "電話から").await;
    desk.sync_until(|seen| seen.has_message(&room, "電話から")).await;

    replicas[0].crash().await;
    phone.send(&room, "一台でも").await;
    assert!(phone.history(&room).await.contains(&"一台でも".to_owned()));
}

#[tokio::test]
async fn a_token_of_one_replica_repeats_nothing_at_another_that_has_not_heard() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let desk = replicas[0].user("mio").await;
    let phone = desk.device_at(&replicas[1]).await;
    let room = desk.create_room(Preset::PrivateChat).await;
    phone.sync_until(|seen| seen.is_joined(&room)).await;
    replicas[1].hear_of_others(false);
    for text in ["一", "二", "三"] {
        desk.send(&room, text).await;
    }
    let here = desk.call(Method::GET, "/sync?timeout=0", None).await;
    let token = here["next_batch"].as_str().unwrap();

    let there = phone.call(Method::GET, &format!("/sync?timeout=0&since={token}"), None).await;
    assert_eq!(there.get("rooms"), None, "{there}");
    assert_eq!(there["next_batch"], token);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_with_its_reason_and_loses_nothing() {
    let towns = Towns::new().await;
    let Towns { net, kanazawa, hanako, taro, room, .. } = &towns;
    let before = hanako.send(room, "前").await;
    towns.both_see("前").await;
    assert_eq!(kanazawa.health().await.0, StatusCode::OK);

    kanazawa.fill_disk();
    let refused = hanako.try_send(room, "満杯").await.unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "M_RESOURCE_LIMIT_EXCEEDED")
    );
    assert_eq!(refused.answer["admin_contact"], "mailto:postmaster@kanazawa.test");
    let (status, health) = kanazawa.health().await;
    assert_eq!(
        (status, &health["status"], &health["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("read-only"), &json!("full"))
    );
    assert_eq!(hanako.history(room).await, ["前"], "reading goes on");
    hanako.call(Method::GET, "/sync?timeout=0", None).await;
    let path = format!("/rooms/{room}/receipt/m.read/{before}");
    taro.call(Method::POST, &path, Some(&json!({}))).await;
    taro.send(room, "輪島から").await;

    kanazawa.make_room_on_disk().await;
    hanako.send(room, "後").await;
    assert_eq!(kanazawa.health().await.0, StatusCode::OK);
    // The other server's transaction was refused, not taken; it comes again.
    net.advance(Duration::from_secs(3_600));
    towns.both_see("後").await;
    towns.both_see("輪島から").await;
    let has_read = |seen: &Seen| {
        let receipts = seen.room(room).ephemeral.get("m.receipt").cloned().unwrap_or_default();
        receipts[before.as_str()]["m.read"][taro.id().as_str()].is_object()
    };
    hanako.sync_until(has_read).await;
    towns.agree(&["前", "後", "輪島から"].map(str::to_owned)).await;
}

#[tokio::test]
async fn a_token_fresh_from_a_refresh_reads_while_the_disk_is_full_and_ends_the_old_one_when_there_is_room() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    hanako.send(&room, "前").await;
    let (old, new) = hanako.refreshed_device().await;

    kanazawa.fill_disk();
    hanako.try_send(&room, "満杯").await.unwrap_err();
    for _ in 0..2 {
        let sync = new.call(Method::GET, "/sync?timeout=0", None).await;
        assert!(sync.to_string().contains("前"));
    }
    assert_eq!(old.history(&room).await, ["前"], "nothing could end it");

    kanazawa.make_room_on_disk().await;
    new.call(Method::GET, "/account/whoami", None).await;
    let refusal = old.try_call(Method::GET, "/account/whoami", None).await.unwrap_err();
    assert_eq!(refusal.code, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_tag_set_on_one_device_reaches_the_other() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let phone = kanazawa.user("hanako").await;
    let desktop = phone.another_device().await;
    let room = phone.create_room(Preset::PrivateChat).await;

    phone.set_tag(&room, "m.favourite").await;

    let seen = desktop.sync_until(|seen| seen.room(&room).has_account_data("m.tag")).await;
    let tags = &seen.room(&room).account_data["m.tag"];
    assert!(tags["tags"].as_object().unwrap().contains_key("m.favourite"), "{tags}");
}
