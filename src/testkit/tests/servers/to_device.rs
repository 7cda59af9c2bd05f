//! Messages between devices of two servers, and of two processes of one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::{Fault, Net, Preset, Server, User};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a text to a device of another user.
async fn send(from: &User, to: &User, text: &str) {
    let content = json!({ "text": text });
    let body = json!({ "messages": { to.id(): { to.device_id(): content } } });
    from.call(Method::PUT, &format!("/sendToDevice/m.test/{text}"), Some(&body)).await;
}

/// A device that syncs, and all that it was told, in order.
struct Device {
    user: User,
    since: Option<String>,
    told: Vec<String>,
}

impl Device {
    async fn of(user: &User) -> Self {
        let mut device = Self { user: user.clone(), since: None, told: Vec::new() };
        device.sync(0).await;
        device
    }

    async fn sync(&mut self, wait_ms: u64) {
        let since = self.since.as_ref().map(|since| format!("&since={since}")).unwrap_or_default();
        let answer = self.user.call(Method::GET, &format!("/sync?timeout={wait_ms}{since}"), None).await;
        let events = answer["to_device"]["events"].as_array().cloned().unwrap_or_default();
        let text = |event: &Value| event["content"]["text"].as_str().unwrap().to_owned();
        self.told.extend(events.iter().map(text));
        self.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
    }

    /// Syncs until it was told so many.
    async fn hears(&mut self, count: usize) {
        let told = self.told.len();
        let all = async {
            while self.told.len() < count {
                self.sync(1_000).await;
            }
        };
        let heard = tokio::time::timeout(PATIENCE, all).await;
        assert!(heard.is_ok(), "{} of {count}, {told} of them before", self.told.len());
    }
}

struct Towns {
    net: Net,
    kanazawa: Server,
    wajima: Server,
    hanako: User,
    taro: User,
}

impl Towns {
    async fn new() -> Self {
        let net = Net::new();
        let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
        let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
        Self { net, kanazawa, wajima, hanako, taro }
    }

    /// The same where both are in a room.
    async fn in_a_room() -> Self {
        let towns = Self::new().await;
        let room = towns.hanako.create_room(Preset::PublicChat).await;
        towns.taro.join(&room, "kanazawa.test").await;
        towns
    }
}

#[tokio::test]
async fn messages_go_both_ways_also_to_who_shares_no_room() {
    let towns = Towns::new().await;
    let (mut hanako, mut taro) = (Device::of(&towns.hanako).await, Device::of(&towns.taro).await);
    send(&towns.hanako, &towns.taro, "1").await;
    taro.hears(1).await;
    send(&towns.taro, &towns.hanako, "2").await;
    send(&towns.taro, &towns.hanako, "3").await;
    hanako.hears(2).await;
    assert_eq!((taro.told, hanako.told), (vec!["1".to_owned()], vec!["2".to_owned(), "3".to_owned()]));
}

#[tokio::test]
async fn what_is_sent_while_a_server_is_off_comes_once_and_in_order_whoever_is_killed_meanwhile() {
    let towns = Towns::in_a_room().await;
    let mut taro = Device::of(&towns.taro).await;
    let mut all: Vec<String> = Vec::new();
    for round in 0..3 {
        towns.wajima.crash().await;
        for number in 0..60 {
            all.push(format!("{round}-{number}"));
            send(&towns.hanako, &towns.taro, &all[all.len() - 1]).await;
        }
        towns.net.advance(Duration::from_secs(600));
        towns.kanazawa.crash_and_restart().await;
        if round != 1 {
            // Else it has to find by itself that something waits.
            all.push(format!("{round}-last"));
            send(&towns.hanako, &towns.taro, &all[all.len() - 1]).await;
        }
        towns.wajima.start().await;
        towns.net.advance(Duration::from_secs(3_600));
        taro.hears(all.len()).await;
        assert_eq!(taro.told, all);
    }
    let to_device = towns.kanazawa.look(|house| house.to_device.clone());
    let all_noted = async {
        while !to_device.due().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_noted).await.expect("what was taken is kept no longer");
    taro.sync(0).await;
    assert_eq!(taro.told, all);
}

#[tokio::test]
async fn an_answer_that_is_lost_doubles_no_message_also_after_a_crash_of_who_took_it() {
    let towns = Towns::in_a_room().await;
    let mut taro = Device::of(&towns.taro).await;
    let way = towns.net.way(&towns.kanazawa, &towns.wajima);
    way.set(Fault::AnswersLost);
    let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for text in &all {
        send(&towns.hanako, &towns.taro, text).await;
    }
    // What has come is remembered on disk.
    taro.hears(1).await;
    towns.wajima.crash_and_restart().await;
    towns.kanazawa.crash_and_restart().await;
    way.set(Fault::None);
    towns.net.advance(Duration::from_secs(3_600));
    taro.hears(all.len()).await;
    send(&towns.hanako, &towns.taro, "after").await;
    taro.hears(all.len() + 1).await;
    assert_eq!(taro.told, [&all[..], &["after".to_owned()]].concat());
}

#[tokio::test]
async fn who_waits_at_one_process_hears_what_is_sent_through_another_and_tells_a_third_that_he_has_it() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let (mio, ken) = (replicas[0].user("mio").await, replicas[1].user("ken").await);
    let mut waiting = Device::of(&mio).await;
    let waits = async {
        while waiting.told.is_empty() {
            waiting.sync(60_000).await;
        }
    };
    let (heard, ()) = tokio::join!(tokio::time::timeout(PATIENCE, waits), send(&ken, &mio, "1"));
    heard.expect("it was told");
    send(&ken, &mio, "2").await;
    // From here on at the other process: it goes on from the token of the first.
    let mut elsewhere = Device { user: mio.at(&replicas[1]), ..waiting };
    elsewhere.hears(2).await;
    elsewhere.sync(0).await;
    let mut back = Device { user: mio, ..elsewhere };
    back.sync(0).await;
    assert_eq!(back.told, ["1", "2"]);
}
