//! A server that means harm among whole servers, and calendars that are set.

use std::time::Duration;

use serde_json::json;
use testkit::{Conduct, Net, Preset, Wire};

#[tokio::test]
async fn a_million_entries_from_a_hostile_server_hold_up_nobody() {
    let net = Net::with(Wire::Tls, 3);
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let mallory = net.hostile("mallory.test").await;
    let room = hanako.create_room(Preset::PublicChat).await;
    let mut joined = mallory.join(&net.outside(), "kanazawa.test", &room, "eve").await;
    hanako.sync_until(|seen| seen.room(&room).membership("@eve:mallory.test") == Some("join")).await;

    let events = |n: u64| json!({ "type": "m.room.message", "depth": n }).to_string();
    mallory.on("/get_missing_events/", Conduct::list(r#"{"events":["#, 1_000_000, events, "]}"));
    let ids = |n: u64| format!("\"$invented{n}\"");
    mallory.on("/state_ids/", Conduct::list(r#"{"auth_chain_ids":[],"pdu_ids":["#, 1_000_000, ids, "]}"));
    joined.message("eve", "never sent");
    let after_a_gap = joined.message("eve", "after a gap");
    let answer = mallory.send(&net.outside(), "kanazawa.test", &[after_a_gap.json]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let asked = mallory.until_asked("/get_missing_events/", 1);
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it is asked for what is missing");

    hanako.send(&room, "私たちはここにいます").await;
    hanako.sync_until(|seen| seen.has_message(&room, "私たちはここにいます")).await;
}

#[tokio::test]
async fn messages_leave_and_arrive_however_the_calendar_is_set() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let room = hanako.create_room(Preset::PublicChat).await;
    taro.join(&room, "kanazawa.test").await;
    let (hour, year) = (Duration::from_secs(3_600), Duration::from_secs(365 * 24 * 3_600));
    let steps: [&dyn Fn(); 4] = [
        &|| net.set_back(Duration::from_secs(20)),
        &|| net.set_back(hour),
        &|| net.set_forward(year),
        &|| net.set_back(hour),
    ];
    for (number, set) in steps.into_iter().enumerate() {
        set();
        let began = net.now();
        for (from, to, name) in [(&hanako, &taro, "花子"), (&taro, &hanako, "太郎")] {
            let text = format!("{name} {number}");
            from.send(&room, &text).await;
            to.sync_until(|seen| seen.has_message(&room, &text)).await;
        }
        let elapsed = net.now().since(began);
        assert!(elapsed < Duration::from_secs(60), "it took {elapsed:?}");
    }
}
