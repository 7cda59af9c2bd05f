//! Two processes of one server over the same data: what one does the other knows, and one of them sends.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use engine::tables::{INBOX, InboxRow};
use http::{Method, StatusCode};
use room::{
    InboxSerial, RoomSerial,
    tables::{HEADS, SERVERS},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use store::{Batch, Order, Range};
use testkit::{Conduct, Hosted, Hostile, Net, Preset, Server, User};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Brings a process up to what another has committed.
async fn follow(behind: &Server, ahead: &Server) {
    let head = ahead.look(|house| house.store.head());
    let store = behind.look(|house| house.store.clone());
    assert!(store.reach(head).await.unwrap() >= head);
}

#[tokio::test]
async fn a_redaction_through_one_replica_is_gone_at_the_other() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let desk = replicas[0].user("mio").await;
    let phone = desk.device_at(&replicas[1]).await;
    let room = desk.create_room(Preset::PrivateChat).await;
    let said = desk.send(&room, "失言").await;
    desk.send(&room, "発言").await;
    phone.sync_until(|seen| seen.has_message(&room, "発言")).await;
    assert!(phone.history(&room).await.contains(&"失言".to_owned()), "it is in that one's memory");

    let path = format!("/rooms/{room}/redact/{said}/1");
    desk.call(Method::PUT, &path, Some(&json!({}))).await;
    follow(&replicas[1], &replicas[0]).await;

    let event = phone.call(Method::GET, &format!("/rooms/{room}/event/{said}"), None).await;
    assert_eq!(event["content"], json!({}), "{event}");
    assert_eq!(phone.history(&room).await, ["発言"]);
}

#[tokio::test]
async fn a_session_that_ends_through_one_replica_is_refused_at_the_other() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let desk = replicas[0].user("mio").await;
    let phone = desk.device_at(&replicas[1]).await;
    phone.call(Method::GET, "/account/whoami", None).await;

    desk.call(Method::POST, "/logout/all", Some(&json!({}))).await;
    follow(&replicas[1], &replicas[0]).await;

    let refused = phone.try_call(Method::GET, "/account/whoami", None).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"));
}

/// The texts of a room in an answer to `/sync`, and the token after it.
fn told(sync: &Value, room: &RoomId) -> (Vec<String>, String) {
    let timeline = &sync["rooms"]["join"][room.as_str()]["timeline"];
    assert_ne!(timeline["limited"], true, "{sync}");
    let events = timeline["events"].as_array().cloned().unwrap_or_default();
    let texts = events.iter().filter_map(|event| event["content"]["body"].as_str()).map(str::to_owned);
    (texts.collect(), sync["next_batch"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_client_that_changes_replica_with_every_sync_neither_loses_nor_repeats() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let here = replicas[0].user("mio").await;
    let there = here.at(&replicas[1]);
    let room = here.create_room(Preset::PrivateChat).await;
    let (_, mut since) = told(&here.call(Method::GET, "/sync", None).await, &room);
    // What one has not written itself it hears of by the client's token alone.
    replicas.iter().for_each(|replica| replica.hear_of_others(false));
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let (one, other) = if round % 2 == 0 { (&here, &there) } else { (&there, &here) };
        for part in 0..3 {
            let text = format!("{round}-{part}");
            one.send(&room, &text).await;
            said.push(text);
        }
        for user in [one, other] {
            let sync = user.call(Method::GET, &format!("/sync?timeout=0&since={since}"), None).await;
            let (texts, next) = told(&sync, &room);
            heard.extend(texts);
            since = next;
        }
    }
    assert_eq!(heard, said);
}

#[tokio::test]
async fn a_room_that_is_upgraded_through_both_replicas_at_once_gets_one_successor() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let desk = replicas[0].user("mio").await;
    let phone = desk.device_at(&replicas[1]).await;
    let room = desk.create_room(Preset::PublicChat).await;
    follow(&replicas[1], &replicas[0]).await;
    replicas.iter().for_each(|replica| replica.hear_of_others(false));

    let (path, wish) = (format!("/rooms/{room}/upgrade"), json!({ "new_version": "12" }));
    let upgrade = |user: &User| {
        let (user, path, wish) = (user.clone(), path.clone(), wish.clone());
        async move { user.call(Method::POST, &path, Some(&wish)).await["replacement_room"].to_string() }
    };
    let made = tokio::join!(upgrade(&desk), upgrade(&phone), upgrade(&desk), upgrade(&phone));

    let made = BTreeSet::from(<[String; 4]>::from(made));
    assert_eq!(made.len(), 1, "{made:?}");
}

/// Two replicas and a peer that counts what it gets of a room.
struct Sending {
    net: Net,
    replicas: Vec<Server>,
    users: Vec<User>,
    peer: Hostile,
    joined: Hosted,
    room: OwnedRoomId,
}

impl Sending {
    async fn new() -> Self {
        let net = Net::new();
        let replicas = net.replicas("nanao.test", 2).await;
        let peer = net.hostile("mallory.test").await;
        let desk = replicas[0].user("mio").await;
        let users = vec![desk.clone(), desk.device_at(&replicas[1]).await];
        let room = desk.create_room(Preset::PublicChat).await;
        let joined = peer.join(&net.outside(), "nanao.test", &room, "eve").await;
        for user in &users {
            user.sync_until(|seen| seen.room(&room).membership("@eve:mallory.test") == Some("join")).await;
        }
        let sending = Self { net, replicas, users, peer, joined, room };
        sending.sender().await;
        sending
    }

    /// The replica that sends, once there is one. Nobody has to wait for the clock.
    async fn sender(&self) -> usize {
        let find = async {
            loop {
                let at_work =
                    |replica: &usize| self.replicas[*replica].look(|house| house.sender.is_at_work());
                let up = (0..2).filter(|replica| self.replicas[*replica].is_up());
                if let Some(found) = up.into_iter().find(at_work) {
                    return found;
                }
                self.net.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("one of them sends")
    }

    /// Waits until the peer has got so many different texts.
    async fn until_heard(&self, texts: &[String]) {
        let wanted: BTreeSet<&str> = texts.iter().map(String::as_str).collect();
        let all = async {
            let mut asked = 0;
            loop {
                let heard = self.peer.until_asked("/send/", asked).await;
                let heard: Vec<_> = heard.iter().flat_map(|asked| texts_of(&asked.body)).collect();
                if wanted.iter().all(|text| heard.iter().any(|heard| heard == text)) {
                    return;
                }
                asked = self.peer.asked("/send/").len() + 1;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the peer hears all");
    }

    /// The texts that the peer got, each once for every transaction that has it. A transaction that came again is the
    /// same one to a peer, and has to be the same.
    fn heard(&self) -> Vec<String> {
        let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
        for asked in self.peer.asked("/send/") {
            let first = by_id.entry(asked.uri).or_insert_with(|| asked.body.clone());
            assert_eq!(*first, asked.body, "what comes again is what came");
        }
        sorted(by_id.values().flat_map(texts_of).collect())
    }
}

fn texts_of(transaction: &Value) -> Vec<String> {
    let pdus = transaction["pdus"].as_array().cloned().unwrap_or_default();
    pdus.iter().filter_map(|pdu| pdu["content"]["body"].as_str()).map(str::to_owned).collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[tokio::test]
async fn one_of_two_replicas_sends_what_is_said_through_both() {
    let sending = Sending::new().await;
    let mut said = Vec::new();
    for round in 0..10 {
        for (user, name) in sending.users.iter().zip(["机", "電話"]) {
            let text = format!("{name} {round}");
            user.send(&sending.room, &text).await;
            said.push(text);
        }
    }
    sending.until_heard(&said).await;
    assert_eq!(sending.heard(), sorted(said));
    let at_work: Vec<bool> =
        sending.replicas.iter().map(|replica| replica.look(|house| house.sender.is_at_work())).collect();
    assert_eq!(at_work.iter().filter(|works| **works).count(), 1, "{at_work:?}");
}

#[tokio::test]
async fn when_the_replica_that_sends_dies_the_other_goes_on_and_repeats_nothing() {
    let sending = Sending::new().await;
    let sender = sending.sender().await;
    let user = &sending.users[1 - sender];
    let mut said: Vec<String> = (0..5).map(|number| format!("前 {number}")).collect();
    for text in &said {
        user.send(&sending.room, text).await;
    }
    sending.until_heard(&said).await;
    // The peer gets this one and dies of it, as far as the sender can tell, which dies itself.
    sending.peer.on("/send/", Conduct::Hang);
    said.push("途中".to_owned());
    user.send(&sending.room, "途中").await;
    sending.until_heard(&said).await;
    sending.replicas[sender].crash().await;
    sending.peer.on("/send/", Conduct::Honest);

    for number in 0..5 {
        let text = format!("後 {number}");
        user.send(&sending.room, &text).await;
        said.push(text);
    }
    assert_eq!(sending.sender().await, 1 - sender);
    sending.until_heard(&said).await;
    assert_eq!(sending.heard(), sorted(said));
    let again = sending.peer.asked("/send/");
    let again = again.iter().filter(|asked| texts_of(&asked.body) == ["途中"]).count();
    assert!(again >= 2, "what may not have arrived is sent again");
}

#[tokio::test]
async fn a_replica_that_stops_in_order_leaves_nothing_to_be_sent_again() {
    let sending = Sending::new().await;
    let mut said = Vec::new();
    for round in 0..4 {
        let sender = sending.sender().await;
        let text = format!("話 {round}");
        sending.users[1 - sender].send(&sending.room, &text).await;
        said.push(text);
        sending.until_heard(&said).await;
        sending.replicas[sender].stop().await;
        assert_eq!(sending.sender().await, 1 - sender);
        sending.replicas[sender].start().await;
    }
    assert_eq!(sending.heard(), sorted(said.clone()));
    let events: usize = sending.peer.asked("/send/").iter().map(|asked| texts_of(&asked.body).len()).sum();
    assert_eq!(events, said.len(), "nor in the same transaction");
}

/// Puts an event into the inbox of a room as one has put it away that died then: nobody who runs has heard of it.
async fn leave_in_inbox(sending: &Sending, room: RoomSerial, number: u64, event: &Value) {
    let row = InboxRow { origin: sending.peer.name().to_string(), pdu: event.to_string().into() };
    let mut batch = Batch::new();
    batch.put(&INBOX, &(room, InboxSerial((1 << 40) + number)), &row);
    sending.replicas[0].look(|house| house.store.clone()).commit(batch).await.unwrap();
}

/// Lets time pass until somebody has placed this.
async fn until_placed(sending: &Sending, text: &str) {
    let time = async {
        loop {
            sending.net.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = sending.users[1].sync_until(|seen| seen.has_message(&sending.room, text)) => {}
        () = time => {}
    }
}

#[tokio::test]
async fn what_a_replica_has_taken_that_is_gone_the_others_place() {
    let mut sending = Sending::new().await;
    let event = sending.joined.message("eve", "置き土産");
    let rooms = sending.replicas[0].look(|house| house.engine.rooms().clone());
    let serial = rooms.room(&sending.room).await.unwrap().unwrap().serial;
    leave_in_inbox(&sending, serial, 0, &event.json).await;
    until_placed(&sending, "置き土産").await;
}

#[tokio::test]
async fn what_waits_for_a_room_that_one_replica_is_joining_the_others_leave() {
    let mut sending = Sending::new().await;
    let (store, rooms) =
        sending.replicas[0].look(|house| (house.store.clone(), house.engine.rooms().clone()));
    let serial = rooms.room(&sending.room).await.unwrap().unwrap().serial;
    let taro = sending.replicas[0].user("taro").await;
    let joining = taro.create_room(Preset::PublicChat).await;
    let joining = rooms.room(&joining).await.unwrap().unwrap().serial;
    // As it is until a join has landed.
    let mut batch = Batch::new();
    batch.delete(&HEADS, &joining);
    batch.delete(&SERVERS, &(joining, "nanao.test".to_owned()));
    store.commit(batch).await.unwrap();
    // Both are looked at at the same times; after the second of these the first has been done with whatever is done.
    for (number, text) in [(1, "一"), (2, "二")] {
        let event = sending.joined.message("eve", text);
        leave_in_inbox(&sending, joining, number, &event.json).await;
        leave_in_inbox(&sending, serial, number, &event.json).await;
        until_placed(&sending, text).await;
    }
    let rows = store.scan(&INBOX, Range::prefix(&joining), Order::Ascending, 9).await.unwrap();
    assert_eq!(rows.len(), 2, "whoever joins needs them");
}

/// Who types in a room by an answer to `/sync`, if it says so, and the token after it.
fn typing(sync: &Value, room: &RoomId) -> (Option<Vec<String>>, String) {
    let events = sync["rooms"]["join"][room.as_str()]["ephemeral"]["events"].as_array().cloned();
    let typing = events.unwrap_or_default().into_iter().find(|event| event["type"] == "m.typing");
    let users = typing.map(|event| event["content"]["user_ids"].as_array().cloned().unwrap_or_default());
    let names =
        |users: Vec<Value>| users.iter().filter_map(|user| user.as_str().map(str::to_owned)).collect();
    (users.map(names), sync["next_batch"].as_str().unwrap().to_owned())
}

async fn set_typing(user: &User, room: &RoomId, typing: bool) {
    let path = format!("/rooms/{room}/typing/{}", user.id());
    let body = if typing { json!({ "typing": true, "timeout": 60_000 }) } else { json!({ "typing": false }) };
    user.call(Method::PUT, &path, Some(&body)).await;
}

#[tokio::test]
async fn who_types_at_one_replica_is_seen_at_the_other_by_one_who_waits_there() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let mio = replicas[0].user("mio").await;
    let ren = replicas[1].user("ren").await;
    let room = mio.create_room(Preset::PublicChat).await;
    ren.join(&room, "nanao.test").await;
    let (_, mut since) = typing(&ren.call(Method::GET, "/sync", None).await, &room);
    for is_typing in [true, false] {
        set_typing(&mio, &room, is_typing).await;
        let wanted = if is_typing { vec![mio.id().to_string()] } else { Vec::new() };
        loop {
            let sync = ren.call(Method::GET, &format!("/sync?timeout=30000&since={since}"), None).await;
            let (users, next) = typing(&sync, &room);
            since = next;
            if users.as_ref() == Some(&wanted) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn who_types_is_told_once_to_a_client_that_changes_replica_with_every_sync() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let mio = replicas[0].user("mio").await;
    let ren = replicas[1].user("ren").await;
    let room = mio.create_room(Preset::PublicChat).await;
    ren.join(&room, "nanao.test").await;
    follow(&replicas[0], &replicas[1]).await;
    let places = [ren.clone(), ren.at(&replicas[0])];
    let (_, mut since) = typing(&ren.call(Method::GET, "/sync", None).await, &room);
    // What one has not told itself it hears of by the client's token alone.
    replicas.iter().for_each(|replica| replica.hear_of_others(false));
    let mut told = Vec::new();
    for round in 0..12 {
        // At one replica, then at the other, each time by one who has not heard of it.
        let typist = if round % 2 == 0 { mio.clone() } else { mio.at(&replicas[1]) };
        set_typing(&typist, &room, round % 4 < 2).await;
        let (first, second) = (round % 2, (round + 1) % 2);
        for place in [first, second, first] {
            let sync = places[place].call(Method::GET, &format!("/sync?timeout=0&since={since}"), None).await;
            let (users, next) = typing(&sync, &room);
            told.extend(users.map(|users| users.len()));
            since = next;
        }
    }
    // He goes on in the second round of two, and has ceased in the fourth.
    assert_eq!(told, [1, 0, 1, 0, 1, 0]);
}

#[tokio::test]
async fn a_peer_hears_who_types_at_the_replica_that_stands_by() {
    let sending = Sending::new().await;
    let sender = sending.sender().await;
    let standby = &sending.users[1 - sender];
    set_typing(standby, &sending.room, true).await;
    let heard = async {
        let mut asked = 0;
        loop {
            let heard = sending.peer.until_asked("/send/", asked).await;
            let edus =
                heard.iter().flat_map(|asked| asked.body["edus"].as_array().cloned().unwrap_or_default());
            let mut typing = edus.filter(|edu| edu["edu_type"] == "m.typing");
            if typing.any(|edu| edu["content"]["user_id"] == standby.id().as_str()) {
                return;
            }
            asked = sending.peer.asked("/send/").len() + 1;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the peer hears it");
}
