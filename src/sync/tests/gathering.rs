//! What gathers for a crowd is told in the end, whatever happens meanwhile.

use std::{collections::BTreeMap, time::Duration};

use room::read::receipts::ReceiptKind;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::{Value, json};
use store::{MemoryDisk, Topic};

use super::town::{Client, Town, client, town_on, user};

/// Chance, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Whose receipt: room, kind, user, thread.
type Whose = (OwnedRoomId, &'static str, OwnedUserId, Option<String>);

/// A client with all that it was told of receipts.
#[derive(Clone)]
struct Reader {
    client: Client,
    told: BTreeMap<Whose, String>,
}

impl Reader {
    fn hear(&mut self, answer: &Value) {
        let parts = answer["rooms"]["join"].as_object().cloned().unwrap_or_default();
        for (room, part) in parts {
            let room = OwnedRoomId::try_from(room).unwrap();
            for event in part["ephemeral"]["events"].as_array().into_iter().flatten() {
                if event["type"] != "m.receipt" {
                    continue;
                }
                for (event_id, kinds) in event["content"].as_object().unwrap() {
                    for (kind, users) in kinds.as_object().unwrap() {
                        let kind = ReceiptKind::parse(kind).unwrap().as_str();
                        for (of, receipt) in users.as_object().unwrap() {
                            let of = OwnedUserId::try_from(of.as_str()).unwrap();
                            let thread = receipt["thread_id"].as_str().map(str::to_owned);
                            self.told.insert((room.clone(), kind, of, thread), event_id.clone());
                        }
                    }
                }
            }
        }
        self.client.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
    }

    /// Syncs; time passes while it waits.
    async fn sync(&mut self, town: &Town, step: Duration) {
        let (syncs, request) = (town.syncs.clone(), self.client.request());
        let waiting = tokio::spawn(async move {
            let answer = syncs.sync(request).await.unwrap().gather().await;
            serde_json::from_slice::<Value>(&answer).unwrap()
        });
        while !waiting.is_finished() {
            if town.clock.sleepers() > 0 {
                town.clock.advance(step);
            }
            tokio::task::yield_now().await;
        }
        self.hear(&waiting.await.unwrap());
    }
}

/// Has so many wait for a room that they are a crowd.
async fn gather_crowd(town: &Town, room: &OwnedRoomId) {
    for number in 0..70 {
        let mut reader = Client { timeout: Duration::from_secs(1), ..client(&format!("reader{number}")) };
        reader.sync(town).await;
        let (syncs, request) = (town.syncs.clone(), reader.request());
        let waiting = tokio::spawn(async move { syncs.sync(request).await.map(drop) });
        let sleepers = town.clock.sleepers();
        while town.clock.sleepers() == sleepers && !waiting.is_finished() {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        // Its watch stays.
        waiting.await.ok();
    }
    assert!(town.store.crowd(Topic::ephemeral(room.as_str())) > 64);
}

#[tokio::test]
async fn every_receipt_is_told_in_the_end_whatever_happens_meanwhile() {
    for seed in 1..=6 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 + seed);
        let disk = MemoryDisk::default();
        let mut town = town_on(&disk).await;
        let (large, small) = (town.room("hanako").await, town.room("hanako").await);
        for number in 0..70 {
            town.join(&format!("reader{number}"), &large).await;
        }
        town.join("reader1", &small).await;
        town.join("reader2", &small).await;
        gather_crowd(&town, &large).await;
        let rooms = [large.clone(), small.clone()];
        let mut said: Vec<Vec<OwnedEventId>> = Vec::new();
        for room in &rooms {
            said.push(vec![town.say("hanako", room, "始").await]);
        }
        let reader = |filter: Value, device: &str| Reader {
            client: client("reader1").with_filter(filter).on(device),
            told: BTreeMap::new(),
        };
        let quiet = json!({ "room": { "timeline": { "not_types": ["m.room.message"] } } });
        let mut readers = [reader(json!({}), "PHONE"), reader(quiet, "DESKTOP")];
        for reader in &mut readers {
            reader.sync(&town, Duration::ZERO).await;
        }
        let mut earlier = readers[0].clone();
        let mut noted: Vec<Whose> = Vec::new();
        for _ in 0..120 {
            match dice.below(14) {
                0..=1 => {
                    let room = dice.below(2);
                    said[room].push(town.say("hanako", &rooms[room], "報").await);
                }
                2..=6 => {
                    let room = usize::from(dice.below(4) == 0);
                    let name = match (room, dice.below(4)) {
                        (_, 0) => "reader1".to_owned(),
                        (0, _) => format!("reader{}", 2 + dice.below(12)),
                        _ => "reader2".to_owned(),
                    };
                    let event = dice.one(&said[room]).clone();
                    let thread = match dice.below(4) {
                        0 => Some("main".to_owned()),
                        1 => Some(event.to_string()),
                        _ => None,
                    };
                    let kind = *dice.one(&[ReceiptKind::Public, ReceiptKind::Public, ReceiptKind::Private]);
                    let of = user(&name);
                    if kind == ReceiptKind::Public || name == "reader1" {
                        noted.push((rooms[room].clone(), kind.as_str(), of.clone(), thread.clone()));
                    }
                    town.rooms.set_receipt(&of, &rooms[room], kind, thread.as_deref(), &event).await.unwrap();
                }
                7..=9 => {
                    let reader = &mut readers[dice.below(2)];
                    reader.client.timeout = Duration::from_millis(*dice.one(&[0, 1, 700, 30_000]));
                    reader.client.full_state = dice.below(6) == 0;
                    let step = Duration::from_millis(*dice.one(&[1, 50, 400, 3_000]));
                    reader.sync(&town, step).await;
                    reader.client.full_state = false;
                }
                10 => town.clock.advance(Duration::from_millis(dice.below(3_000) as u64)),
                11 => match dice.below(4) {
                    0 => town.clock.set_back(Duration::from_millis(dice.below(20_000) as u64)),
                    1 => town.clock.set_forward(Duration::from_millis(dice.below(20_000) as u64)),
                    // The answer was lost, or the client was put back.
                    2 => readers[0] = earlier.clone(),
                    _ => earlier = readers[0].clone(),
                },
                12 => {
                    let room = dice.below(2);
                    town.leave("reader1", &rooms[room]).await;
                    if dice.below(2) == 0 {
                        readers[0].sync(&town, Duration::from_millis(50)).await;
                    }
                    town.join("reader1", &rooms[room]).await;
                }
                _ if dice.below(8) == 0 => {
                    town.tasks.stop(Duration::ZERO).await;
                    town = town_on(&disk).await;
                    if dice.below(2) == 0 {
                        gather_crowd(&town, &large).await;
                    }
                }
                _ => {}
            }
        }
        for reader in &mut readers {
            reader.client.timeout = Duration::from_secs(10);
            for _ in 0..3 {
                reader.sync(&town, Duration::from_millis(100)).await;
            }
            for whose @ (room, kind, of, thread) in &noted {
                let serial = town.rooms.room(room).await.unwrap().unwrap().serial;
                let kind = ReceiptKind::parse(kind).unwrap();
                let Some(last) = town.rooms.receipt(serial, of, kind, thread.as_deref()).await.unwrap()
                else {
                    continue;
                };
                let told = reader.told.get(whose).map(String::as_str);
                assert_eq!(told, Some(last.event_id.as_str()), "{seed}: {whose:?} {}", reader.client.device);
            }
        }
    }
}

#[tokio::test]
async fn numbers_that_are_made_up_keep_nothing_back() {
    let town = town_on(&MemoryDisk::default()).await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "通達").await;
    for number in 0..70 {
        town.join(&format!("reader{number}"), &room).await;
    }
    gather_crowd(&town, &room).await;
    let mut known = Reader { client: client("reader1"), told: BTreeMap::new() };
    known.sync(&town, Duration::ZERO).await;
    town.rooms.set_receipt(&user("reader2"), &room, ReceiptKind::Public, None, &event).await.unwrap();
    let (since, most, now) = (known.client.since.unwrap(), u64::MAX, 1_800_000_000_000_u64);
    for rest in [
        format!("~{most}*{most}*{most}!{most}"),
        format!("*0*{most}"),
        "*0*0".to_owned(),
        format!("*{most}*{}", now + 8_000),
        format!("~0*1*{}!0!0!0!{most}", now + 7_000),
    ] {
        let mut reader = Reader { client: client("reader1"), told: BTreeMap::new() };
        reader.client.timeout = Duration::from_secs(30);
        reader.client.since = Some(format!("{since}{rest}"));
        reader.sync(&town, Duration::from_millis(100)).await;
        let whose = (room.clone(), ReceiptKind::Public.as_str(), user("reader2"), None);
        assert_eq!(reader.told.get(&whose).map(String::as_str), Some(event.as_str()), "{rest}");
        let next = reader.client.since.unwrap();
        assert!(!next.contains(['~', '*', '!']), "{rest}: {next}");
    }
}
