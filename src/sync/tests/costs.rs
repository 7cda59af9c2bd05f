//! What a sync reads: as much as moved, not as there is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use account::PresenceConfig;
use async_trait::async_trait;
use bytes::Bytes;
use room::read::{list::PART, receipts::ReceiptKind};
use ruma::{
    OwnedRoomId,
    push::{NewPushRule, NewSimplePushRule},
};
use serde_json::{Value, json, value::RawValue};
use store::{Backend, Error, Interposed, MemoryBackend, MemoryDisk, Order, RawRange, RawRow, RowKey};

use super::{
    to_device,
    town::{Client, Town, client, joined, members, said, town_on, town_over, town_with, user},
};
use crate::unread::MOST_RECOUNTED;

/// A store in memory that counts how often it is asked and the rows that are asked for and found, and finds none for
/// a while.
struct Counting {
    inner: MemoryBackend,
    rounds: Arc<AtomicUsize>,
    rows: Arc<AtomicUsize>,
    is_away: Arc<AtomicBool>,
}

impl Counting {
    fn over(disk: &MemoryDisk) -> Self {
        let inner = MemoryBackend::open(disk);
        Self { inner, rounds: Arc::default(), rows: Arc::default(), is_away: Arc::default() }
    }

    fn check(&self) -> Result<(), Error> {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("read", "the connection is lost")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Interposed for Counting {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        self.check()?;
        self.rows.fetch_add(keys.len(), Ordering::Relaxed);
        self.inner.get(keys).await
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        self.check()?;
        let found = self.inner.scan(ranges, order, limit).await?;
        self.rows.fetch_add(ranges.len() + found.iter().map(Vec::len).sum::<usize>(), Ordering::Relaxed);
        Ok(found)
    }
}

/// 花子, who is in many rooms and has synced, and what her syncs read.
pub(super) struct Busy {
    pub(super) town: Town,
    rows: Arc<AtomicUsize>,
    is_away: Arc<AtomicBool>,
    pub(super) rooms: Vec<OwnedRoomId>,
    hanako: Client,
}

pub(super) async fn in_rooms(count: usize) -> Busy {
    in_rooms_of(count, None).await
}

/// The same where it is told who comes and goes.
async fn in_rooms_of(count: usize, presence: Option<PresenceConfig>) -> Busy {
    let backend = Counting::over(&MemoryDisk::default());
    let (rows, is_away) = (backend.rows.clone(), backend.is_away.clone());
    let town = town_with(Arc::new(backend), presence).await;
    let mut rooms = Vec::with_capacity(count);
    for _ in 0..count {
        let room = town.room("hanako").await;
        set_tag(&town, &room, "u.work").await;
        rooms.push(room);
    }
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    hanako.sync(&town).await;
    Busy { town, rows, is_away, rooms, hanako }
}

async fn set_tag(town: &Town, room: &OwnedRoomId, tag: &str) {
    let details = RawValue::from_string("{}".to_owned()).unwrap();
    town.accounts.set_room_tag(&user("hanako"), room, tag, &details).await.unwrap();
}

impl Busy {
    /// So many rows were read so far.
    pub(super) fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// The answer to the next sync, and how many rows it read.
    async fn sync(&mut self) -> (Value, usize) {
        let before = self.rows.load(Ordering::Relaxed);
        let answer = self.hanako.sync(&self.town).await;
        (answer, self.rows.load(Ordering::Relaxed) - before)
    }

    /// What a sync reads after nothing, a message, a tag, another name in one room, and a receipt that only its
    /// user is told of.
    async fn costs(&mut self) -> Vec<usize> {
        let room = self.rooms[self.rooms.len() / 2].clone();
        let mut costs = Vec::new();

        let (answer, cost) = self.sync().await;
        assert!(answer.get("rooms").is_none() && answer.get("account_data").is_none(), "{answer}");
        costs.push(cost);

        let event = self.town.say("hanako", &room, "一件").await;
        let (answer, cost) = self.sync().await;
        assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
        assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["一件"]);
        costs.push(cost);

        set_tag(&self.town, &room, "m.favourite").await;
        let (answer, cost) = self.sync().await;
        assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
        let tags = &joined(&answer, &room)["account_data"]["events"][0]["content"]["tags"];
        assert_eq!(tags, &json!({ "m.favourite": {}, "u.work": {} }));
        costs.push(cost);

        let named = json!({ "membership": "join", "displayname": "花子" });
        self.town.set_of("hanako", &room, "m.room.member", user("hanako").as_str(), named).await;
        let (answer, cost) = self.sync().await;
        assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
        assert_eq!(joined(&answer, &room)["timeline"]["events"][0]["content"]["displayname"], "花子");
        costs.push(cost);

        let kind = ReceiptKind::Private;
        self.town.rooms.set_receipt(&user("hanako"), &room, kind, None, &event).await.unwrap();
        let (answer, cost) = self.sync().await;
        assert_eq!(joined(&answer, &room)["ephemeral"]["events"][0]["type"], "m.receipt");
        costs.push(cost);
        costs
    }
}

#[tokio::test]
async fn a_sync_reads_as_many_rows_with_many_rooms_as_with_few() {
    let (mut few, mut many) = (in_rooms(3).await, in_rooms(150).await);
    assert_eq!(few.costs().await, many.costs().await);
    assert_eq!(many.sync().await.1, 0, "nothing is read for nothing");
}

#[tokio::test]
async fn other_rules_have_counts_told_of_so_many_rooms_and_of_those_first_that_they_matter_in() {
    let mut costs = Vec::new();
    for count in [MOST_RECOUNTED + 20, 2 * MOST_RECOUNTED] {
        let mut busy = in_rooms(count).await;
        let (unread, muted) = (busy.rooms[count - 1].clone(), busy.rooms[count - 2].clone());
        busy.town.join("taro", &unread).await;
        busy.town.say("taro", &unread, "未読").await;
        busy.sync().await;
        let mute = |rules: &mut ruma::push::Ruleset| {
            let rule = NewPushRule::Room(NewSimplePushRule::new(muted.clone(), Vec::new()));
            account::put_push_rule(rules, rule, None, None)
        };
        busy.town.accounts.change_push_rules(&user("hanako"), mute).await.unwrap();
        let (answer, cost) = busy.sync().await;
        let told = answer["rooms"]["join"].as_object().unwrap();
        assert_eq!(told.len(), MOST_RECOUNTED);
        assert_eq!(told[unread.as_str()]["unread_notifications"]["notification_count"], 1);
        assert_eq!(told[muted.as_str()]["unread_notifications"]["notification_count"], 0);
        assert_eq!(busy.sync().await.1, 0, "and nothing is read for nothing");
        costs.push(cost);
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn of_messages_to_devices_a_sync_reads_what_came_for_its_own_and_nothing_else() {
    let mut busy = in_rooms(3).await;
    to_device::signed_in(&busy.town, "hanako", &["PHONE", "TABLET"]).await;
    busy.sync().await;
    assert_eq!(busy.sync().await.1, 0, "nothing is read for nothing");
    to_device::send(&busy.town, "hanako", "TABLET", "一").await;
    assert_eq!(busy.sync().await.1, 0, "nor for what came for another device");
    to_device::send(&busy.town, "hanako", "PHONE", "二").await;
    let (answer, cost) = busy.sync().await;
    // What it has already, what it has not, and the message.
    assert_eq!((to_device::told(&answer), cost), (vec!["二"], 3));
    // The message that it has now, and what it has not.
    assert_eq!(busy.sync().await.1, 3);
    assert_eq!(busy.sync().await.1, 0);
}

#[tokio::test]
async fn with_presence_a_sync_reads_no_more_and_a_message_has_nothing_to_do_with_it() {
    let mut plain = in_rooms(10).await;
    let mut shown = in_rooms_of(10, Some(PresenceConfig { largest_room: 100 })).await;
    let presence = shown.town.accounts.presence().clone();
    while presence.find(&user("hanako")).is_none() {
        shown.town.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    // He is told of himself.
    assert_eq!(shown.sync().await.0["presence"]["events"][0]["sender"], user("hanako").as_str());
    assert_eq!(shown.sync().await.1, 0, "nothing is read for nothing");
    assert_eq!(shown.costs().await, plain.costs().await);

    let before = shown.town.store.head();
    let room = shown.rooms[0].clone();
    shown.town.say("hanako", &room, "一件").await;
    assert!(!presence.has_moved(before));
    let positions = shown.town.store.head().0 - before.0;
    assert_eq!(positions, 1, "the message alone");
}

/// What a first answer tells 花子 that nothing is cached for, how often it asks the store, and how many rows a second
/// one reads.
async fn first_answer(disk: &MemoryDisk) -> (Value, usize, usize) {
    let backend = Counting::over(disk);
    let (rounds, rows) = (backend.rounds.clone(), backend.rows.clone());
    let town = town_over(Arc::new(backend)).await;
    rounds.store(0, Ordering::Relaxed);
    let answer = client("hanako").sync(&town).await;
    let asked = rounds.load(Ordering::Relaxed);
    rows.store(0, Ordering::Relaxed);
    assert_eq!(client("hanako").sync(&town).await["rooms"], answer["rooms"], "the same again");
    (answer, asked, rows.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_first_answer_asks_as_often_for_many_rooms_as_for_few() {
    let mut asked = Vec::new();
    for count in [2, 40] {
        let disk = MemoryDisk::default();
        let town = town_on(&disk).await;
        for number in 0..count {
            let room = town.room("hanako").await;
            town.join("taro", &room).await;
            for line in 0..12 {
                town.say("taro", &room, &format!("{number} {line}")).await;
            }
        }
        town.store.close().await.unwrap();
        let (answer, rounds, _) = first_answer(&disk).await;
        let rooms = answer["rooms"]["join"].as_object().unwrap();
        assert_eq!(rooms.len(), count);
        assert!(rooms.values().all(|room| said(&room["timeline"]["events"]).len() == 10));
        assert!(rooms.values().all(|room| members(&room["state"]["events"]) == ["hanako", "taro"]));
        asked.push(rounds);
    }
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn the_members_of_a_large_room_do_not_put_everything_else_out_of_the_cache() {
    let disk = MemoryDisk::default();
    let town = town_on(&disk).await;
    let (small, large) = (town.room("hanako").await, town.room("hanako").await);
    let many = PART + 50;
    for number in 0..many {
        town.join(&format!("shokuin{number}"), &large).await;
    }
    town.join("taro", &small).await;
    town.store.close().await.unwrap();
    let (answer, _, again) = first_answer(&disk).await;
    let shown = |room: &OwnedRoomId| {
        let room = joined(&answer, room);
        members(&room["state"]["events"]).len() + members(&room["timeline"]["events"]).len()
    };
    assert_eq!((shown(&small), shown(&large)), (2, many + 1));
    assert!(again > 2 * many - 100, "they are read again: {again}");
    assert!(again < 2 * many + 100, "and nothing else is: {again}");
}

#[tokio::test]
async fn a_receipt_is_read_once_for_all_who_are_told_of_it() {
    let busy = in_rooms(1).await;
    let room = busy.rooms[0].clone();
    let event = busy.town.say("hanako", &room, "通達").await;
    let mut readers: Vec<Client> = (0..10).map(|number| client(&format!("reader{number}"))).collect();
    for reader in &mut readers {
        busy.town.join(reader.user.localpart(), &room).await;
    }
    for reader in &mut readers {
        reader.sync(&busy.town).await;
        // Receipts of other readers are known from here on.
        reader.sync(&busy.town).await;
    }
    let kind = ReceiptKind::Public;
    let mut reads = async |busy: &Busy, who: &str| {
        busy.town.rooms.set_receipt(&user(who), &room, kind, None, &event).await.unwrap();
        let mut costs = Vec::new();
        for reader in &mut readers {
            let before = busy.rows.load(Ordering::Relaxed);
            let answer = reader.sync(&busy.town).await;
            assert_eq!(joined(&answer, &room)["ephemeral"]["events"][0]["type"], "m.receipt");
            costs.push(busy.rows.load(Ordering::Relaxed) - before);
        }
        costs
    };
    reads(&busy, "reader1").await;
    let mut costs = reads(&busy, "reader2").await;
    // Whose it is reads besides how far he has read himself.
    assert_eq!(std::mem::take(&mut costs[2]), 2);
    assert!(costs[0] <= 3 && costs[1..].iter().all(|cost| *cost == 0), "{costs:?}");
}

#[tokio::test]
async fn who_syncs_while_nothing_can_be_read_is_told_so_and_misses_nothing() {
    let mut busy = in_rooms(2).await;
    let room = busy.rooms[0].clone();
    // A message alone is in memory; how many members there are is not.
    busy.town.join("saburo", &room).await;
    busy.town.say("hanako", &room, "至急").await;
    busy.is_away.store(true, Ordering::Relaxed);
    assert!(busy.town.syncs.sync(busy.hanako.request()).await.is_err());
    busy.is_away.store(false, Ordering::Relaxed);
    let (answer, _) = busy.sync().await;
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["m.room.member", "至急"]);
}

#[tokio::test]
async fn what_moved_too_long_ago_to_be_known_in_its_order_is_told_all_the_same() {
    let mut busy = in_rooms(3).await;
    let room = busy.rooms[1].clone();
    busy.town.say("hanako", &room, "前").await;
    for _ in 0..9_000 {
        busy.town.store.publish([store::Topic::room("!other")]).await.unwrap();
    }
    let (answer, _) = busy.sync().await;
    assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["前"]);
}

#[tokio::test]
async fn a_user_is_registered_for_his_rooms_once_and_no_longer_than_he_asks() {
    let mut busy = in_rooms(3).await;
    let watched = |busy: &Busy| busy.town.store.watched();
    // The last two are of the engine, which waits for rooms that lack members, and of those who see guests out.
    let topics = 2 * 3 + 5 + 2;
    assert_eq!(watched(&busy), topics);
    let sleepers = busy.town.clock.sleepers();
    let waiting: Vec<_> = ["DESKTOP", "TABLET"]
        .map(|device| Client { timeout: Duration::from_secs(30), ..busy.hanako.clone().on(device) })
        .into_iter()
        .map(|client| {
            let (syncs, request) = (busy.town.syncs.clone(), client.request());
            tokio::spawn(async move { syncs.sync(request).await.unwrap().gather().await })
        })
        .collect();
    while busy.town.clock.sleepers() < sleepers + waiting.len() {
        tokio::task::yield_now().await;
    }
    assert_eq!(watched(&busy), topics, "all his devices share it");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);

    busy.town.room("hanako").await;
    busy.sync().await;
    assert_eq!(watched(&busy), topics + 2, "the old one is gone with the new one");

    let mut taro = client("taro");
    taro.sync(&busy.town).await;
    for _ in 0..base::cache::RESTS {
        busy.town.metrics.caches().age();
        taro.sync(&busy.town).await;
    }
    assert_eq!(watched(&busy), 5 + 2, "only the one who still asks, and those who always wait");
}
