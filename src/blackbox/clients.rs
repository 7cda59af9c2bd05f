//! Real clients against real servers: matrix-sdk, the engine of Element X, on two authorities that
//! federate over TLS, each in a process of its own with its own keys and store.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared module")]

mod demo;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use matrix_sdk::{
    Client, Room,
    config::{RequestConfig, SyncSettings},
    room::MessagesOptions,
    ruma::{
        OwnedUserId, RoomId, UInt,
        api::client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        events::room::message::RoomMessageEventContent,
    },
};

use crate::demo::{Account, Demo};

const PATIENCE: Duration = Duration::from_secs(60);

/// A person with a client that remembers each message it was shown, in order.
struct Person {
    client: Client,
    shown: Vec<(String, String)>,
}

impl Person {
    async fn log_in(account: &Account) -> Self {
        let client = Client::builder()
            .homeserver_url(&account.client_url)
            .request_config(RequestConfig::new().timeout(Duration::from_secs(30)))
            .build()
            .await
            .unwrap();
        client.matrix_auth().login_username(&account.user_id, &account.password).send().await.unwrap();
        let mut person = Self { client, shown: Vec::new() };
        person.sync().await;
        person
    }

    fn id(&self) -> OwnedUserId {
        self.client.user_id().unwrap().to_owned()
    }

    fn room(&self, room: &RoomId) -> Room {
        self.client.get_room(room).unwrap()
    }

    /// One `/sync` of up to a second; what it shows of rooms is remembered.
    async fn sync(&mut self) {
        let answer = self.client.sync_once(SyncSettings::new().timeout(Duration::from_secs(1))).await;
        // A server that is down refuses; the client asks again from the same token.
        let Ok(answer) = answer else { return tokio::time::sleep(Duration::from_millis(50)).await };
        for (room, update) in &answer.rooms.joined {
            if let Some(from) = update.timeline.prev_batch.clone().filter(|_| update.timeline.limited) {
                self.fill_gap(room, from).await;
            }
            for event in &update.timeline.events {
                self.shown.extend(message(event.raw().json().get()));
            }
        }
    }

    /// What a `limited` timeline left out, read backwards until something known or the beginning.
    async fn fill_gap(&mut self, room: &RoomId, from: String) {
        let mut missed = Vec::new();
        let mut from = Some(from);
        while from.is_some() {
            let mut options = MessagesOptions::backward();
            options.from = from;
            let page = self.room(room).messages(options).await.unwrap();
            let found: Vec<_> =
                page.chunk.iter().filter_map(|event| message(event.raw().json().get())).collect();
            let new: Vec<_> = found.iter().filter(|found| !self.shown.contains(found)).cloned().collect();
            from = page.end.filter(|_| new.len() == found.len());
            missed.extend(new);
        }
        missed.reverse();
        self.shown.extend(missed);
    }

    async fn sync_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} still waits for: {what}; saw {:?}",
                self.id(),
                self.bodies()
            );
            self.sync().await;
        }
    }

    async fn say(&self, room: &RoomId, body: &str) {
        self.room(room).send(RoomMessageEventContent::text_plain(body)).await.unwrap();
    }

    fn bodies(&self) -> Vec<&str> {
        self.shown.iter().map(|(_, body)| body.as_str()).collect()
    }

    fn has_all(&self, wanted: &[String]) -> bool {
        wanted.iter().all(|body| self.shown.iter().any(|(_, shown)| shown == body))
    }

    /// The whole history as `/messages` gives it, page by page, oldest first.
    async fn history(&self, room: &RoomId) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let mut options = MessagesOptions::backward();
            options.limit = UInt::from(7_u32);
            options.from = from;
            let page = self.room(room).messages(options).await.unwrap();
            for event in &page.chunk {
                found.extend(message(event.raw().json().get()));
            }
            from = page.end;
            if from.is_none() || page.chunk.is_empty() {
                break;
            }
        }
        found.reverse();
        found
    }
}

/// Event id and text of an `m.room.message`.
fn message(json: &str) -> Option<(String, String)> {
    let event: serde_json::Value = serde_json::from_str(json).unwrap();
    let body = event["content"]["body"].as_str().filter(|_| event["type"] == "m.room.message")?;
    Some((event["event_id"].as_str()?.to_owned(), body.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_authorities_talk_and_a_kill_loses_and_repeats_nothing() {
    let mut demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let kanazawa = demo.ready.servers.iter().position(|s| s.name.contains("kanazawa")).unwrap();
    let wajima = demo.ready.servers.iter().position(|s| s.name.contains("wajima")).unwrap();
    let mut hanako = Person::log_in(demo.account(&demo.ready.servers[kanazawa].name)).await;
    let mut taro = Person::log_in(demo.account(&demo.ready.servers[wajima].name)).await;

    // Create, invite, join.
    let mut request = CreateRoom::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.name = Some("避難所の調整".to_owned());
    request.invite = vec![taro.id()];
    let room = hanako.client.create_room(request).await.unwrap().room_id().to_owned();
    taro.sync_until("the invitation", |taro| !taro.client.invited_rooms().is_empty()).await;
    assert_eq!(taro.client.invited_rooms()[0].room_id(), room);
    taro.client.join_room_by_id(&room).await.unwrap();
    taro.sync_until("the room", |taro| taro.client.get_room(&room).is_some()).await;
    hanako.sync_until("the room", |hanako| hanako.client.get_room(&room).is_some()).await;

    // Chat both ways.
    let mut said = Vec::new();
    for n in 0..5 {
        let (asked, answered) = (format!("金沢から {n}"), format!("輪島から {n}"));
        hanako.say(&room, &asked).await;
        taro.say(&room, &answered).await;
        said.extend([asked, answered]);
    }
    hanako.sync_until("the chat", |hanako| hanako.has_all(&said)).await;
    taro.sync_until("the chat", |taro| taro.has_all(&said)).await;

    // 輪島市 is killed while both talk; what either server acknowledged counts.
    let (count, mut counted) = tokio::sync::watch::channel(0);
    let sending = {
        let room = taro.room(&room);
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..10_000 {
                let body = format!("切れる前 {n}");
                let config = RequestConfig::new().disable_retry().timeout(Duration::from_secs(5));
                let sent = room.send(RoomMessageEventContent::text_plain(&body)).with_request_config(config);
                if sent.await.is_err() {
                    break;
                }
                acknowledged.push(body);
                count.send_replace(acknowledged.len());
            }
            acknowledged
        })
    };
    counted.wait_for(|count| *count >= 12).await.unwrap();
    demo.kill(wajima);
    said.extend(sending.await.unwrap());
    for n in 0..10 {
        let body = format!("輪島が止まっている間 {n}");
        hanako.say(&room, &body).await;
        said.push(body);
    }
    demo.restart(wajima);
    let begun = Instant::now();
    while taro.room(&room).send(RoomMessageEventContent::text_plain("戻りました")).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "輪島市 does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    said.push("戻りました".to_owned());
    hanako.sync_until("all that was acknowledged", |hanako| hanako.has_all(&said)).await;
    taro.sync_until("all that was acknowledged", |taro| taro.has_all(&said)).await;

    // Nothing twice, nothing missing, the same history on both sides.
    let of_hanako = hanako.history(&room).await;
    let begun = Instant::now();
    let of_taro = loop {
        let found = taro.history(&room).await;
        if as_set(&found) == as_set(&of_hanako) || begun.elapsed() > PATIENCE {
            break found;
        }
        taro.sync().await;
    };
    assert_eq!(as_set(&of_hanako), as_set(&of_taro), "the two sides differ");
    for history in [&of_hanako, &of_taro, &hanako.shown, &taro.shown] {
        assert_eq!(as_set(history).len(), history.len(), "an event came twice");
    }
    let bodies: Vec<&String> = of_hanako.iter().map(|(_, body)| body).collect();
    for body in &said {
        // One that the kill cut off may be there unacknowledged, but nothing acknowledged may be absent.
        assert_eq!(bodies.iter().filter(|found| **found == body).count(), 1, "{body} is not there once");
    }
    assert_eq!(of_hanako.len(), bodies.len());
}

fn as_set(messages: &[(String, String)]) -> BTreeSet<&(String, String)> {
    messages.iter().collect()
}
