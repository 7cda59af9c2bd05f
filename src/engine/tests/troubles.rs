//! What comes from outside, while the store has troubles that pass.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{ManualClock, Metrics, Tasks};
use bytes::Bytes;
use parking_lot::Mutex;
use room::{
    ids::InboxSerial,
    tables::{EVENT_IDS, HEADS, SERVERS, STATE_KEYS},
};
use ruma::{OwnedRoomId, server_name};
use serde_json::json;
use store::{
    Backend, CommitError, Interposed, MemoryBackend, MemoryDisk, Options, Order, RawBatch, RawCommitted,
    RawOp, RowKey, Store, TableId,
};
use tokio::sync::oneshot;

use super::{
    net::{Net, Server, state, user},
    outside::{invite_event, invite_of},
};
use crate::{
    InboxTotals,
    pipeline::{Sending, Stage, name},
    tables::{INBOX, InboxRow, WAITING, WITHDRAWALS},
};

/// A store in memory that fails as told.
struct Troubled {
    inner: MemoryBackend,
    troubles: Arc<Troubles>,
}

#[derive(Default)]
pub(super) struct Troubles {
    /// Once this table was written to, the next read of that one fails.
    read_after_write: Mutex<Option<(TableId, TableId)>>,
    reads: Mutex<Option<TableId>>,
    /// This write to this table fails, counted down.
    pub(super) write: Mutex<Option<(TableId, usize, CommitError)>>,
    /// The next read of this table waits.
    held: Mutex<Option<Held>>,
}

/// The table, what is told when the read is there, and what it waits for.
type Held = (TableId, oneshot::Sender<()>, oneshot::Receiver<()>);

pub(super) fn id<K, V>(table: &store::Table<K, V>) -> TableId {
    table.raw().id
}

pub(super) fn broken() -> store::Error {
    store::Error::backend("be read", std::io::Error::other("the connection was cut"))
}

fn writes(batches: &[RawBatch], table: TableId) -> bool {
    batches.iter().flat_map(|batch| &batch.ops).any(|op| match op {
        RawOp::Put { table: of, .. } | RawOp::Delete { table: of, .. } => of.id == table,
        _ => false,
    })
}

#[async_trait]
impl Interposed for Troubled {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, store::Error> {
        let reads = |table: TableId| keys.iter().any(|row| row.table.id == table);
        if self.troubles.reads.lock().take_if(|table| reads(*table)).is_some() {
            return Err(broken());
        }
        let held = self.troubles.held.lock().take_if(|(table, ..)| reads(*table));
        if let Some((_, arrived, go)) = held {
            arrived.send(()).unwrap();
            go.await.unwrap();
        }
        self.inner.get(keys).await
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        let failure = {
            let mut write = self.troubles.write.lock();
            if let Some((_, left, _)) = write.as_mut().filter(|(table, ..)| writes(&batches, *table)) {
                *left -= 1;
            }
            write.take_if(|(_, left, _)| *left == 0)
        };
        if let Some((.., error)) = failure {
            return batches.iter().map(|_| Err(error.clone())).collect();
        }
        if let Some((_, read)) =
            self.troubles.read_after_write.lock().take_if(|(written, _)| writes(&batches, *written))
        {
            *self.troubles.reads.lock() = Some(read);
        }
        self.inner.commit(batches).await
    }
}

/// A server over a store with troubles.
pub(super) async fn troubled(net: &Net, name: &'static str) -> (Server, Arc<Troubles>) {
    let disk = MemoryDisk::default();
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let troubles: Arc<Troubles> = Arc::default();
    let backend = Troubled { inner: MemoryBackend::open(&disk), troubles: troubles.clone() };
    let store = Store::open(Arc::new(backend), Options::default(), &tasks, &metrics).await.unwrap();
    (net.server_over(&[name], &disk, store).await, troubles)
}

/// 花子 (a.test, whose store has troubles) and 太郎 (b.test) in a room.
async fn in_one_room(net: &Net) -> (Server, Arc<Troubles>, Server, OwnedRoomId) {
    let (a, troubles) = troubled(net, "a.test").await;
    let b = net.server(&["b.test"]).await;
    let room = a.public_room(&user("@hanako:a.test")).await;
    b.join(&user("@taro:b.test"), &room, "a.test").await.unwrap();
    (a, troubles, b, room)
}

/// Lets time pass until nothing waits any more. It looks at memory only: what the store fails to read or write is
/// the server's.
async fn worked_off(server: &Server, hand: &ManualClock) {
    let wait = async {
        while server.engine.inbox_totals() != InboxTotals::default() {
            hand.advance(Duration::from_secs(1));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("something waits still");
}

#[tokio::test]
async fn an_event_that_was_moved_aside_is_looked_after_though_the_store_fails_then() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, troubles, b, room) = in_one_room(&net).await;
    let taro = user("@taro:b.test");
    b.say(&taro, &room, "一").await;
    b.say(&taro, &room, "二").await;
    let pdus = b.outgoing("a.test").await;
    *troubles.read_after_write.lock() = Some((id(&WAITING), id(&EVENT_IDS)));
    a.engine.receive_transaction(server_name!("b.test"), &pdus[1..]).await.unwrap();
    worked_off(&a, &hand).await;
    assert!(troubles.read_after_write.lock().is_none() && troubles.reads.lock().is_none());
    assert_eq!(a.bodies(&room).await, ["一", "二"]);
}

#[tokio::test]
async fn what_landed_before_a_write_failed_is_counted_no_more() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, troubles, b, room) = in_one_room(&net).await;
    let taro = user("@taro:b.test");
    let said = b.say(&taro, &room, "消します").await;
    b.engine.redact(&taro, &room, &said, None, None).await.unwrap();
    b.say(&taro, &room, "後").await;
    let pdus = b.outgoing("a.test").await;
    // The transaction, then the message, then what must come after it.
    *troubles.write.lock() = Some((id(&INBOX), 3, CommitError::Store(broken())));
    a.engine.receive_transaction(server_name!("b.test"), &pdus).await.unwrap();
    worked_off(&a, &hand).await;
    assert!(troubles.write.lock().is_none());
    assert_eq!(a.bodies(&room).await, ["", "後"]);
}

#[tokio::test]
async fn a_withdrawal_that_may_not_have_been_kept_is_asked_for_again() {
    for trouble in [CommitError::Busy, CommitError::Unknown, CommitError::Store(broken())] {
        let net = Net::default();
        let _hand = net.steer_clock();
        let (b, troubles) = troubled(&net, "b.test").await;
        let a = net.server(&["a.test"]).await;
        let (hanako, jiro, taro) = (user("@hanako:a.test"), user("@jiro:a.test"), user("@taro:b.test"));
        let room = a.public_room(&jiro).await;
        a.join(&hanako, &room, "a.test").await.unwrap();
        let levels = json!({ "users": { "@jiro:a.test": 100, "@hanako:a.test": 50 } });
        a.engine.send(&room, state(&jiro, "m.room.power_levels", "", &levels), None).await.unwrap();
        a.invite(&hanako, &room, &taro).await.unwrap();
        a.engine.kick(&jiro, &room, &taro, None).await.unwrap();
        let kick = [a.outgoing("b.test").await.pop().unwrap()];

        *troubles.write.lock() = Some((id(&WITHDRAWALS), 1, trouble));
        let refused = b.engine.receive_transaction(server_name!("a.test"), &kick).await;
        assert!(matches!(&refused, Err(error) if error.is_passing()), "{refused:?}");
        let again = async {
            // After a write of unknown outcome the store looks at what it did first.
            loop {
                match b.engine.receive_transaction(server_name!("a.test"), &kick).await {
                    Ok(answers) => break answers,
                    Err(error) => assert!(error.is_passing(), "{error:?}"),
                }
                tokio::task::yield_now().await;
            }
        };
        let answers = tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
        answers[0].result.as_ref().unwrap();
        let rows = b.store.scan(&WITHDRAWALS, store::Range::all(), Order::Ascending, 9).await.unwrap();
        assert_eq!(rows.len(), 1);
    }
}

#[tokio::test]
async fn what_comes_for_a_join_outlives_the_sweep_after_an_earlier_one() {
    let net = Net::default();
    let (b, troubles) = troubled(&net, "b.test").await;
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    a.say(&hanako, &room, "届いた").await;
    let said = a.timeline(&room).await.pop().unwrap();
    let info = b.engine.ensure_room(&room, pdu::RoomVersion::V11).await.unwrap();
    let mut batch = store::Batch::new();
    let old = InboxRow { origin: "a.test".to_owned(), pdu: said.pdu().json().clone() };
    batch.put(&INBOX, &(info.serial, InboxSerial(0)), &old);
    b.store.commit(batch).await.unwrap();

    let ((arrived, has_looked), (go, gate)) = (oneshot::channel(), oneshot::channel());
    *troubles.held.lock() = Some((id(&SERVERS), arrived, gate));
    let meanwhile = async {
        has_looked.await.unwrap();
        let mark = b.engine.mark_joining(&room);
        b.engine.receive_transaction(server_name!("a.test"), &[said.pdu().to_raw()]).await.unwrap();
        go.send(()).unwrap();
        mark
    };
    let (swept, _mark) = tokio::join!(b.engine.settle_after_join(&info), meanwhile);
    swept.unwrap();
    let rows = b.store.scan(&INBOX, store::Range::all(), Order::Ascending, 9).await.unwrap();
    assert_eq!(rows.len(), 1, "the one of the later join");
}

#[tokio::test]
async fn a_join_does_not_land_on_a_room_that_was_taken_for_one_of_another_version_meanwhile() {
    let net = Net::default();
    let (b, troubles) = troubled(&net, "b.test").await;
    let a = net.server(&["a.test"]).await;
    let taro = user("@taro:b.test");
    let room = a.public_room(&user("@hanako:a.test")).await;
    let wrong = invite_of(&room, "6", &invite_event(&a, &room, &taro).await, &[]);
    let version = async || b.rooms.room(&room).await.unwrap().unwrap().version;

    // The state that came with the join is stored and read; its keys come next.
    let ((arrived, has_read), (go, gate)) = (oneshot::channel(), oneshot::channel());
    *troubles.held.lock() = Some((id(&STATE_KEYS), arrived, gate));
    let meanwhile = async {
        has_read.await.unwrap();
        b.engine.receive_invite(server_name!("a.test"), wrong).await.unwrap();
        assert_eq!(version().await, pdu::RoomVersion::V6);
        go.send(()).unwrap();
    };
    let (joined, ()) = tokio::join!(b.join(&taro, &room, "a.test"), meanwhile);
    if joined.is_err() {
        b.join(&taro, &room, "a.test").await.unwrap();
    }
    assert_eq!(version().await, pdu::RoomVersion::V11);
    assert_eq!(a.state(&room).await, b.state(&room).await);
}

#[tokio::test]
async fn who_types_no_more_is_told_also_when_what_ended_it_is_written_at_the_second_attempt() {
    let net = Net::default();
    let (server, troubles) = troubled(&net, "a.test").await;
    let (hanako, jiro) = (user("@hanako:a.test"), user("@jiro:a.test"));
    let room = server.public_room(&hanako).await;
    server.join(&jiro, &room, "a.test").await.unwrap();
    let serial = server.rooms.room(&room).await.unwrap().unwrap().serial;
    server.rooms.set_typing(&jiro, &room, Some(Duration::from_secs(30))).await.unwrap();
    let since = server.store.head();

    *troubles.write.lock() = Some((id(&HEADS), 1, CommitError::Store(broken())));
    server.engine.leave(&jiro, &room, None).await.unwrap_err();
    server.engine.leave(&jiro, &room, None).await.unwrap();
    server.settled().await;
    let topic = store::Topic::ephemeral(room.as_str());
    assert_eq!(server.store.moved(topic, since), store::Moved::Maybe, "who reads looks");
    assert_eq!(server.rooms.typing_since(serial, since), Some(Vec::new()));
}

#[tokio::test]
async fn what_was_made_of_a_tip_that_failed_is_not_submitted_though_the_same_head_has_come_again() {
    let net = Net::default();
    let (a, troubles, _b, room_id) = in_one_room(&net).await;
    let (engine, room) = (&a.engine, a.rooms.room(&room_id).await.unwrap().unwrap());
    // A batch that gives a state key its serial, and nothing else.
    let key = async |kind: &str| {
        let mut guard = engine.lock(&room).await.unwrap();
        let mut stage = Stage::new(engine, &room, guard.live().unwrap());
        stage.intern(&name(kind, "")).await.unwrap();
        let staged = stage.finish();
        let landing = guard.submit(engine, staged, None);
        (guard.live().unwrap().copy(), landing)
    };
    *troubles.write.lock() = Some((id(&STATE_KEYS), 1, CommitError::Store(broken())));
    let (tip, landing) = key("x.one").await;
    // Somebody begins to work beside the lock now.
    let mut stage = Stage::new(engine, &room, &tip);
    let draft = state(&user("@hanako:a.test"), "x.one", "", &json!({}));
    stage.send(&draft, Sending::default()).await.unwrap();
    let made = (stage.finish(), Vec::new());
    landing.await.unwrap_err();
    let (again, landing) = key("x.two").await;
    landing.await.unwrap();
    assert_eq!(again.head, tip.head);
    assert!(engine.submit_made(&room, &tip, made).await.unwrap().is_err());
}
