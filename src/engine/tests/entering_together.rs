//! Several joins at once, and joins that nobody waits for any more.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Metrics, Tasks};
use bytes::Bytes;
use room::{Error, tables::Membership};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;
use store::{
    Backend, CommitError, Interposed, MemoryBackend, MemoryDisk, Options, Order, RawBatch, RawCommitted,
    RawRange, RawRow, RowKey, Store,
};

use super::{
    entering::{asked, assert_whole, watched},
    net::{Net, Server, state, user},
};
use crate::entering::SLICE;

const HANAKO: &str = "@hanako:a.test";
const TARO: &str = "@taro:b.test";

/// Waits until something is so.
pub(super) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it never is");
}

async fn members_of_b(a: &Server, room: &RoomId) -> usize {
    let room = a.rooms.room(room).await.unwrap().unwrap();
    let users = a.rooms.joined_users_of(&[room.serial]).await.unwrap().remove(0);
    users.iter().filter(|user| user.server_name() == "b.test").count()
}

#[tokio::test]
async fn who_gives_up_waiting_for_his_join_is_in_the_room_all_the_same() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let b = net.server(&["b.test"]).await;
    let taro = user(TARO);
    let held = net.hold_joins().await;
    tokio::select! {
        joined = b.join(&taro, &room, "a.test") => panic!("{joined:?}"),
        () = until(async || a.membership(&taro, &room).await == Some(Membership::Join)) => {}
    }
    // He tries again, while the first one goes on.
    let again = b.join(&taro, &room, "a.test");
    let done = async {
        drop(held);
        until(async || b.membership(&taro, &room).await == Some(Membership::Join)).await;
    };
    let (again, ()) = tokio::join!(again, done);
    again.unwrap();
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn few_answers_are_asked_for_at_once_and_who_has_many_joins_under_way_begins_no_more() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let room = a.public_room(&user(HANAKO)).await;
    let mut rooms: Vec<OwnedRoomId> = Vec::new();
    for _ in 0..5 {
        rooms.push(a.public_room(&user(HANAKO)).await);
    }
    let b = net.server(&["b.test"]).await;
    let held = net.hold_joins().await;
    let join = |who: String, room: &RoomId| {
        let (engine, room) = (b.engine.clone(), room.to_owned());
        let via = [ruma::server_name!("a.test").to_owned()];
        tokio::spawn(async move { engine.join(&user(&who), &room, &via, crate::Joining::default()).await })
    };
    let mut joins: Vec<_> = (0..12).map(|number| join(format!("@shokuin{number}:b.test"), &room)).collect();
    until(async || members_of_b(&a, &room).await == 8).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(members_of_b(&a, &room).await, 8);
    let mut last = None;
    for room in &rooms {
        let join = join(TARO.to_owned(), room);
        tokio::task::yield_now().await;
        joins.extend(last.replace(join));
    }
    let refused = last.unwrap().await.unwrap();
    assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
    drop(held);
    for join in joins {
        join.await.unwrap().unwrap();
    }
    b.join(&user(TARO), rooms.last().unwrap(), "a.test").await.unwrap();
}

/// A store that takes its time for what is written, and gives way to others before what is read: both processes are in the
/// middle of it all the time.
struct Slow(MemoryBackend);

impl Slow {
    async fn wait() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[async_trait]
impl Interposed for Slow {
    fn behind(&self) -> &dyn Backend {
        &self.0
    }

    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, store::Error> {
        tokio::task::yield_now().await;
        self.0.get(keys).await
    }

    async fn scan(
        &self,
        ranges: &[RawRange],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Vec<RawRow>>, store::Error> {
        tokio::task::yield_now().await;
        self.0.scan(ranges, order, limit).await
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        Self::wait().await;
        self.0.commit(batches).await
    }
}

#[tokio::test]
async fn two_processes_that_bring_a_very_large_room_in_at_once_both_come_to_an_end() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let hanako = user(HANAKO);
    for number in 0..30 * SLICE {
        let place = state(&hanako, "x.yakusho", &number.to_string(), &json!({ "floor": number }));
        a.engine.send(&room, place, None).await.unwrap();
    }
    let (metrics, disk) = (Metrics::new(), MemoryDisk::default());
    let tasks = Tasks::new(&metrics);
    let backend = Arc::new(Slow(MemoryBackend::open(&disk)));
    let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
    let b = net.server_over(&["b.test"], &disk, store.clone()).await;
    let other = net.server_over(&["b.test"], &disk, store).await;
    let (jiro, taro) = (user("@jiro:b.test"), user(TARO));
    let came = tokio::join!(b.join(&taro, &room, "a.test"), other.join(&jiro, &room, "a.test"));
    came.0.and(came.1).unwrap();
    a.deliver(&b).await;
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn a_stranger_sees_nothing_of_what_is_brought_in_for_a_join_of_another() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let (hanako, taro, jiro) = (user(HANAKO), user(TARO), user("@jiro:b.test"));
    let visible = |how: &str| {
        let content = json!({ "history_visibility": how });
        a.engine.send(&room, state(&hanako, "m.room.history_visibility", "", &content), None)
    };
    visible("world_readable").await.unwrap();
    let disk = MemoryDisk::default();
    let b = net.server_on(&["b.test"], &disk).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    let open = b.state(&room).await;
    b.crash().await;

    visible("joined").await.unwrap();
    for number in 0..3 * SLICE {
        let place = state(&hanako, "x.himitsu", &number.to_string(), &json!({ "floor": number }));
        a.engine.send(&room, place, None).await.unwrap();
    }
    let mut is_joined = false;
    for most in 1.. {
        let (b, _) = watched(&net, &disk, most).await;
        is_joined |= b.join(&taro, &room, "a.test").await.is_ok();
        let info = b.rooms.room(&room).await.unwrap().unwrap();
        let seen = b.rooms.standpoint(&jiro, &info).await;
        if is_joined {
            assert!(matches!(seen, Err(Error::NotJoined { .. })), "{seen:?}");
            break;
        }
        let seen = b.rooms.all_state(info.serial, seen.unwrap().root).await.unwrap();
        let mut seen: Vec<_> = seen
            .iter()
            .map(|event| {
                let key = event.state_key().unwrap().to_owned();
                (event.kind().to_owned(), key, event.event_id().to_owned())
            })
            .collect();
        seen.sort();
        assert!(seen == open, "after {most} batches");
        b.crash().await;
    }
    assert!(is_joined);
}
