//! What those who follow a room find in memory of what was just said.

use std::sync::Arc;

use base::{Metrics, Tasks};
use futures_util::FutureExt;
use room::{
    ids::{EventSerial, Root},
    read::{
        room::RoomInfo,
        timeline::{Direction, RecentQuery, Stretch},
        token::Token,
    },
    tables::{TIMELINE, TimelineRow},
};
use store::{Batch, MemoryDisk, Options, Position, Store, Topic};
use tokio::sync::Barrier;

use super::{
    counting::{Count, Counting},
    net::{Net, Server, user},
};

async fn counted(net: &Net) -> (Server, Count) {
    let disk = MemoryDisk::default();
    let (metrics, (backend, count)) = (Metrics::new(), Counting::open(&disk));
    let tasks = Tasks::new(&metrics);
    let store = Store::open(Arc::new(backend), Options::default(), &tasks, &metrics).await.unwrap();
    (net.server_over(&["a.test"], &disk, store).await, count)
}

/// The bodies of what came after a position, and up to where that was read.
async fn said_since(server: &Server, room: &RoomInfo, after: Position) -> (Vec<String>, Position) {
    let through = server.store.head();
    let query = RecentQuery { room: room.serial, room_id: &room.room_id, after, through, limit: 20 };
    let recent = server.engine.rooms().recent(&[query]).await.unwrap().remove(0);
    let rows: Vec<_> = recent.entries.iter().map(|entry| (room.serial, *entry)).collect();
    let events = server.engine.rooms().events_of(&rows).await.unwrap();
    assert!(events.iter().zip(&recent.entries).all(|(event, entry)| event.order() == Some(entry.order)));
    let body = |event: &Arc<room::read::event::StoredEvent>| {
        let content: serde_json::Value = event.pdu().content_as().unwrap();
        content["body"].as_str().unwrap_or_default().to_owned()
    };
    (events.iter().map(body).collect(), through)
}

#[tokio::test]
async fn whoever_follows_a_room_finds_in_memory_what_was_just_said() {
    let net = Net::default();
    let (a, count) = counted(&net).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let info = a.engine.rooms().room(&room).await.unwrap().unwrap();
    let (_, mut seen) = said_since(&a, &info, Position::START).await;
    for index in 0..200 {
        let mut watch = a.store.watch(vec![Topic::room(room.as_str())]);
        // Somebody who waits is woken when all is in memory, not before.
        let body = index.to_string();
        tokio::join!(watch.changed(), a.say(&hanako, &room, &body));
        let ((bodies, through), cost) = count.of(said_since(&a, &info, seen)).await;
        assert_eq!((bodies, cost.calls), (vec![body], 0));
        seen = through;
    }
    // What is in memory is what is stored.
    let stretch = Stretch { room: info.serial, after: Token::START, through: Token::after(seen) };
    let mut stored = a.engine.rooms().timeline(stretch, Direction::Backward, 100).await.unwrap();
    stored.reverse();
    let query =
        RecentQuery { room: info.serial, room_id: &room, after: Position::START, through: seen, limit: 100 };
    assert_eq!(a.engine.rooms().recent(&[query]).await.unwrap()[0].entries, stored);
}

#[tokio::test]
async fn what_came_while_a_tail_was_read_is_no_gap_in_it() {
    let net = Net::default();
    let (a, count) = counted(&net).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let info = a.engine.rooms().room(&room).await.unwrap().unwrap();
    let start = a.store.head();
    let shut = count.shut(TIMELINE.raw().id).await;
    let reads = said_since(&a, &info, start);
    let speaks = async {
        while count.came_for_graph() == 0 {
            tokio::task::yield_now().await;
        }
        a.say(&hanako, &room, "一").await;
        drop(shut);
    };
    let ((before, _), ()) = tokio::join!(reads, speaks);
    assert!(before.is_empty());
    // The tail that was just read ends before what was said meanwhile.
    a.say(&hanako, &room, "二").await;
    assert_eq!(said_since(&a, &info, start).await.0, ["一", "二"]);
}

#[tokio::test]
async fn a_tail_that_is_read_between_two_batches_of_a_group_is_not_gone_on_with_by_the_second() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let info = a.engine.rooms().room(&room).await.unwrap().unwrap();
    let start = a.store.head();
    fn query(info: &RoomInfo, after: Position, through: Position) -> RecentQuery<'_> {
        RecentQuery { room: info.serial, room_id: &info.room_id, after, through, limit: 20 }
    }
    let submit = |number: u64, first: bool| {
        let row = TimelineRow { event: EventSerial(number), current: Root::EMPTY, gap: false };
        let mut batch = Batch::new();
        let slot = batch.mark([Topic::room(room.as_str())]);
        batch.append(&TIMELINE, &info.serial, slot, &row);
        let (rooms, info) = (a.engine.rooms().clone(), info.clone());
        a.store.submit_with(batch, move |committed| {
            if !first {
                // Somebody reads, as far as he can see.
                let read = rooms.recent(&[query(&info, start, start)]).now_or_never().unwrap().unwrap();
                assert!(read[0].entries.is_empty());
            }
            rooms.extend_tail(&info, &[(slot, row)], committed);
        })
    };
    let receipts = [submit(1_000, true), submit(1_001, false)];
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let read = a.engine.rooms().recent(&[query(&info, start, a.store.head())]).await.unwrap();
    let events: Vec<u64> = read[0].entries.iter().map(|entry| entry.event.0).collect();
    assert_eq!(events, [1_000, 1_001]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_follows_rooms_while_many_speak_misses_nothing_and_hears_nothing_twice() {
    const SPEAKERS: usize = 4;
    const SAID: usize = 60;
    let net = Net::default();
    let a = Arc::new(net.server(&["a.test"]).await);
    let hanako = user("@hanako:a.test");
    let mut infos = Vec::new();
    for _ in 0..2 {
        let room = a.public_room(&hanako).await;
        infos.push(a.engine.rooms().room(&room).await.unwrap().unwrap());
    }
    let start = Arc::new(Barrier::new(2 * SPEAKERS));
    let mut speakers = Vec::new();
    let mut followers = Vec::new();
    for number in 0..SPEAKERS {
        let (a, infos, start, hanako) = (a.clone(), infos.clone(), start.clone(), hanako.clone());
        speakers.push(tokio::spawn(async move {
            start.wait().await;
            for index in 0..SAID {
                a.say(&hanako, &infos[index % 2].room_id, &format!("{number}:{index}")).await;
            }
        }));
    }
    for number in 0..SPEAKERS {
        let (a, infos, start) = (a.clone(), infos.clone(), start.clone());
        followers.push(tokio::spawn(async move {
            let room = &infos[number % 2];
            let mut seen = a.store.head();
            let mut heard: Vec<EventSerial> = Vec::new();
            start.wait().await;
            while heard.len() < SPEAKERS * SAID / 2 {
                let mut watch = a.store.watch(vec![Topic::room(room.room_id.as_str())]);
                let through = a.store.head();
                let query = RecentQuery {
                    room: room.serial,
                    room_id: &room.room_id,
                    after: seen,
                    through,
                    limit: 500,
                };
                let recent = a.engine.rooms().recent(&[query]).await.unwrap().remove(0);
                let is_quiet = recent.entries.is_empty();
                heard.extend(recent.entries.iter().map(|entry| entry.event));
                seen = through;
                if is_quiet && heard.len() < SPEAKERS * SAID / 2 {
                    watch.changed().await;
                }
            }
            heard
        }));
    }
    for speaker in speakers {
        speaker.await.unwrap();
    }
    for (number, follower) in followers.into_iter().enumerate() {
        let heard = follower.await.unwrap();
        let stretch = Stretch {
            room: infos[number % 2].serial,
            after: Token::START,
            through: Token::after(a.store.head()),
        };
        let mut rows = a.engine.rooms().timeline(stretch, Direction::Backward, heard.len()).await.unwrap();
        rows.reverse();
        assert_eq!(heard, rows.iter().map(|row| row.event).collect::<Vec<_>>());
    }
}
