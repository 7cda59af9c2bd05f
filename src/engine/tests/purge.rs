//! Engine are purged: everything goes, nothing else does, whatever happens meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use audit::Actor;
use base::{Metrics, Tasks};
use bytes::Bytes;
use room::{
    Error, EventSerial, RoomSerial,
    purge::tables::{EMPTIED, PURGES, Phase, PurgeRow},
    read::{directory::DirectoryQuery, receipts::ReceiptKind},
    tables::{EVENT_META, HEADS, MEMBERS, MEMBERSHIPS, Membership, ROOMS},
};
use ruma::{OwnedRoomId, RoomAliasId, RoomId, UserId, server_name};
use serde_json::json;
use store::{
    Backend, Batch, CommitError, Interposed, MemoryBackend, MemoryDisk, Options, Order, Position, Range,
    RawBatch, RawCommitted, RawOp, RawRange, RawRow, RawTable, Store, TableId, Tuning, Value,
};

use super::net::{Net, Server, message, state, user};
use crate::{
    Debts, NoDebts,
    purge::slices::{swaths, tests::DEALT_WITH},
};

const HANAKO: &str = "@hanako:a.test";
const JIRO: &str = "@jiro:aa.test";
const TARO: &str = "@taro:b.test";
const SHIRO: &str = "@shiro:a.test";

fn operator() -> Actor {
    Actor::operator("uid 1000")
}

/// A room in which there is something in every table that has anything of a room; 花子, 次郎 and, elsewhere, 太郎 are
/// in it, 四郎 is asked in.
async fn busy_room(a: &Server, b: &Server) -> OwnedRoomId {
    let (hanako, jiro, taro) = (user(HANAKO), user(JIRO), user(TARO));
    let room = a.public_room(&hanako).await;
    a.join(&jiro, &room, "a.test").await.unwrap();
    b.join(&taro, &room, "a.test").await.unwrap();
    a.invite(&hanako, &room, &user(SHIRO)).await.unwrap();
    let alias = RoomAliasId::parse(format!("#{}:a.test", room.as_str().len())).unwrap();
    // Of several rooms, the first has it.
    a.engine.create_alias(&hanako, &alias, &room, &operator()).await.ok();
    a.rooms.set_published(&hanako, &room, true, &operator()).await.unwrap();
    let said = a.say(&hanako, &room, "訓練です").await;
    let mut answer = message(&jiro, "了解");
    answer.content = serde_json::value::to_raw_value(&json!({
        "msgtype": "m.text", "body": "了解", "m.relates_to": { "rel_type": "m.thread", "event_id": said },
    }))
    .unwrap();
    a.engine.send(&room, answer, None).await.unwrap();
    a.rooms.set_receipt(&jiro, &room, ReceiptKind::Public, None, &said).await.unwrap();
    a.engine.send(&room, state(&hanako, "m.room.topic", "", &json!({ "topic": "題" })), None).await.unwrap();
    a.engine.reclaim_state(&room).await.unwrap();
    room
}

/// Lets a server carry purges out.
fn purging(server: &Server) {
    server.engine.start_purging(Arc::new(NoDebts), &Metrics::new());
}

async fn serial(server: &Server, room: &RoomId) -> RoomSerial {
    server.rooms.room(room).await.unwrap().unwrap().serial
}

/// Waits until no purge is under way, and no space is to be given back.
async fn purged(store: &Store) {
    loop {
        let purges = store.scan(&PURGES, Range::all(), Order::Ascending, 1).await.unwrap();
        if purges.is_empty()
            && store.scan(&EMPTIED, Range::all(), Order::Ascending, 1).await.unwrap().is_empty()
        {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The rows of a room that lie together, by table.
async fn rows_of(store: &Store, room: RoomSerial) -> BTreeMap<&'static str, Vec<RawRow>> {
    let mut all = BTreeMap::new();
    for swath in swaths(room) {
        let rows = store.rows_of(&swath, None, usize::MAX).await.unwrap();
        if !rows.is_empty() {
            all.insert(swath.table(), rows);
        }
    }
    all
}

/// All rows of a disk, whatever the tables.
async fn everything(disk: &MemoryDisk) -> Vec<(u16, Bytes, Bytes)> {
    let backend = MemoryBackend::open(disk);
    let mut all = Vec::new();
    for id in 20..300 {
        let table = RawTable { id: TableId(id), tuning: Tuning::Small };
        let range = RawRange { table, start: Bytes::new(), end: None };
        let rows = backend.scan(&[range], Order::Ascending, usize::MAX).await.unwrap().pop().unwrap();
        all.extend(rows.into_iter().map(|(key, value)| (id, key, value)));
    }
    all
}

/// Nothing names the room's old serial any more, be it in the beginning or at the end of a key.
async fn assert_nothing_is_left(server: &Server, room: RoomSerial, room_id: &RoomId) {
    let serial = room.0.to_be_bytes();
    for (table, key, value) in everything(&server.disk).await {
        let has_it = match table {
            // Tables that are ordered by the room, or by who looks at it and the room.
            20..=99 => {
                let is_of_id = matches!(table, 20 | 23 | 62);
                (!is_of_id && (key.starts_with(&serial) || key.ends_with(&serial)))
                    || (table == 23 && room::tables::EventPlace::decode(&value).unwrap().room == room)
            }
            _ => false,
        };
        // The numbers of sequences are small: an event's may be the same as the room's.
        let is_other = key.len() == 16 && !key.starts_with(&serial);
        assert!(!has_it || is_other, "a row of table {table} is left: {key:02x?}");
    }
    assert!(server.rooms.find_alias(&alias_of(room_id)).await.unwrap().is_none());
}

fn alias_of(room_id: &RoomId) -> ruma::OwnedRoomAliasId {
    RoomAliasId::parse(format!("#{}:a.test", room_id.as_str().len())).unwrap()
}

async fn all_leave(server: &Server, room: &RoomId) {
    for one in [HANAKO, JIRO] {
        server.engine.leave(&user(one), room, None).await.unwrap();
    }
}

async fn wanted(server: &Server, room: &RoomId, who: &UserId) -> Option<Membership> {
    server.rooms.membership(who, room).await.unwrap().map(|row| row.membership)
}

#[test]
fn every_table_of_rooms_is_dealt_with() {
    let dealt_with: BTreeSet<&str> =
        swaths(RoomSerial(1)).iter().map(store::Swath::table).chain(DEALT_WITH).collect();
    let all: BTreeSet<&str> =
        room::checks().iter().chain(&crate::checks()).map(store::TableCheck::table).collect();
    assert_eq!(all.difference(&dealt_with).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn rows_of_purges_are_stored_as_ever() {
    let row = PurgeRow {
        room: RoomSerial(300),
        force: true,
        by: "u".to_owned(),
        since: 5,
        phase: Phase::Telling { through: Position(7), since: 9 },
        after: Some(Bytes::from_static(b"k")),
        rows: 3,
    };
    assert_eq!(&row.encode()[..], b"\x01\xac\x02\x01\x01u\x05\x01\x07\x09\x01\x01k\x03");
    assert_eq!(PurgeRow::decode(&row.encode()).unwrap(), row);
    let last = row.in_phase(Phase::Again(4));
    assert_eq!(&last.encode()[..], b"\x01\xac\x02\x01\x01u\x05\x08\x04\x00\x03");
}

#[tokio::test]
async fn a_purged_room_leaves_nothing_but_that_its_members_left_and_others_keep_all() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test", "aa.test"]).await, net.server(&["b.test"]).await);
    let room = busy_room(&a, &b).await;
    let other = a.public_room(&user(HANAKO)).await;
    a.join(&user(JIRO), &other, "a.test").await.unwrap();
    a.say(&user(HANAKO), &other, "ここは残る").await;
    let (old, stays) = (serial(&a, &room).await, serial(&a, &other).await);
    assert!(matches!(a.engine.purge(&room, false, &operator()).await, Err(Error::NotAllowed(_))));
    all_leave(&a, &room).await;
    a.deliver(&b).await;
    let before = rows_of(&a.store, stays).await;
    assert!(rows_of(&a.store, old).await.len() >= 12);

    purging(&a);
    a.engine.purge(&room, false, &operator()).await.unwrap();
    purged(&a.store).await;

    assert_nothing_is_left(&a, old, &room).await;
    assert_eq!(rows_of(&a.store, stays).await, before);
    assert_eq!(a.bodies(&other).await, ["ここは残る"]);
    // Who was asked in hears that it came to nothing; those who left keep that.
    for one in [HANAKO, JIRO, SHIRO] {
        assert_eq!(wanted(&a, &room, &user(one)).await, Some(Membership::Leave), "{one}");
    }
    let listed = a.rooms.public_rooms(server_name!("a.test"), &DirectoryQuery::default()).await.unwrap();
    assert_eq!(listed.total, 0);
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    assert!(matches!(a.rooms.get_head(&info).await, Err(Error::NoRoom(_))));
    a.engine.forget(&user(HANAKO), &room).await.unwrap();
    for (authority, what) in
        [("a.test", "room.order_purge"), ("aa.test", "room.order_purge"), ("aa.test", "room.purge")]
    {
        let filter = audit::Filter { what: Some(what.to_owned()), ..audit::Filter::default() };
        let page =
            audit::list(&a.store, authority.try_into().unwrap(), &filter, Position::START).await.unwrap();
        assert_eq!(page.found.len(), 1, "{authority} {what}");
    }
}

#[tokio::test]
async fn whoever_is_left_is_made_to_leave_and_other_servers_hear_of_it() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test", "aa.test"]).await, net.server(&["b.test"]).await);
    let room = busy_room(&a, &b).await;
    let old = serial(&a, &room).await;
    a.deliver(&b).await;
    // A reader of the log who has not come so far yet.
    read_up_to(&a, Position(1)).await;
    purging(&a);
    a.engine.purge(&room, true, &operator()).await.unwrap();
    let telling = async |server: &Server| server.engine.purges().await.unwrap()[0].phase == "telling";
    while !telling(&a).await {
        tokio::task::yield_now().await;
    }

    a.deliver(&b).await;
    for one in [HANAKO, JIRO] {
        assert_eq!(b.membership(&user(one), &room).await, Some(Membership::Leave), "{one}");
    }
    // Until then, nothing goes; and nobody comes in, by whatever way. Who never was in it hears nothing of it.
    let refused = a.join(&user(HANAKO), &room, "b.test").await;
    assert!(matches!(refused, Err(Error::BeingPurged(_))), "{refused:?}");
    let refused = a.join(&user("@goro:a.test"), &room, "b.test").await;
    assert!(matches!(refused, Err(Error::NoRoom(_))), "{refused:?}");
    let join = state(&user(JIRO), "m.room.member", JIRO, &json!({ "membership": "join" }));
    let refused = a.engine.send(&room, join, None).await;
    assert!(matches!(refused, Err(Error::Contended)), "{refused:?}");
    assert!(telling(&a).await && a.store.get(&HEADS, &old).await.unwrap().is_some());
    assert!(rows_of(&a.store, old).await.len() >= 12);

    read_up_to(&a, a.store.head()).await;
    purged(&a.store).await;
    assert_nothing_is_left(&a, old, &room).await;
}

/// Servers that cannot be reached, so many.
struct Unreached(AtomicUsize);

#[async_trait]
impl Debts for Unreached {
    async fn owed(&self, _: &RoomId) -> Result<usize, store::Error> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_room_stays_until_servers_that_were_away_have_heard_that_we_left() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = (net.server(&["a.test", "aa.test"]).await, net.server(&["b.test"]).await);
    let room = busy_room(&a, &b).await;
    let old = serial(&a, &room).await;
    let away = Arc::new(Unreached(AtomicUsize::new(1)));
    a.engine.start_purging(away.clone(), &Metrics::new());
    a.engine.purge(&room, true, &operator()).await.unwrap();
    let pass = async |seconds: u32| {
        for _ in 0..seconds {
            hand.advance(std::time::Duration::from_secs(1));
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
    };
    pass(600).await;
    assert_eq!(a.engine.purges().await.unwrap()[0].phase, "telling");
    assert!(a.store.get(&HEADS, &old).await.unwrap().is_some());
    away.0.store(0, Ordering::SeqCst);
    tokio::select! {
        () = purged(&a.store) => {}
        () = async { loop { pass(1).await } } => {}
    }
    assert_nothing_is_left(&a, old, &room).await;
}

/// The table of what was found out about events, as damage shows it.
static DAMAGED: store::Table<(RoomSerial, EventSerial), Bytes> =
    store::Table::new(25, "room.event_meta", Tuning::Point);

#[tokio::test]
async fn what_no_table_of_the_room_names_goes_too_and_so_does_what_is_damaged() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test", "aa.test"]).await, net.server(&["b.test"]).await);
    let room = busy_room(&a, &b).await;
    let old = serial(&a, &room).await;
    all_leave(&a, &room).await;
    let metas = a.store.scan(&EVENT_META, Range::prefix(&old), Order::Ascending, 4).await.unwrap();
    let mut batch = Batch::new();
    // As after a resolution that took the member event away.
    batch.delete(&MEMBERS, &(old, SHIRO));
    batch.put(&DAMAGED, &metas[3].0, &Bytes::from_static(b"?"));
    a.store.commit(batch).await.unwrap();
    purging(&a);
    a.engine.purge(&room, false, &operator()).await.unwrap();
    purged(&a.store).await;

    assert_nothing_is_left(&a, old, &room).await;
    assert_eq!(wanted(&a, &room, &user(SHIRO)).await, Some(Membership::Leave));
}

/// Writes how far a reader of the log has come.
async fn read_up_to(server: &Server, position: Position) {
    let mut batch = Batch::new();
    batch.set_cursor("a reader", position);
    server.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn after_it_the_room_is_joined_as_one_that_nobody_was_ever_in() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test", "aa.test"]).await, net.server(&["b.test"]).await);
    let room = busy_room(&a, &b).await;
    a.deliver(&b).await;
    b.say(&user(TARO), &room, "前の話").await;
    b.deliver(&a).await;
    all_leave(&a, &room).await;
    a.deliver(&b).await;
    purging(&a);
    a.engine.purge(&room, false, &operator()).await.unwrap();
    purged(&a.store).await;

    a.join(&user(JIRO), &room, "b.test").await.unwrap();
    let said = b.say(&user(TARO), &room, "おかえり").await;
    b.deliver(&a).await;
    assert_eq!(a.bodies(&room).await, ["おかえり"]);
    assert_eq!(wanted(&a, &room, &user(JIRO)).await, Some(Membership::Join));
    let rooms = a.rooms.memberships(&user(JIRO)).await.unwrap();
    assert_eq!(rooms.rooms.iter().filter(|row| row.room_id == room).count(), 1);
    a.say(&user(JIRO), &room, "ただいま").await;
    a.rooms.set_receipt(&user(JIRO), &room, ReceiptKind::Public, None, &said).await.unwrap();
    a.engine.verify_state(&room).await.unwrap();

    // And it can be purged again.
    let old = serial(&a, &room).await;
    a.engine.purge(&room, true, &operator()).await.unwrap();
    purged(&a.store).await;
    assert_nothing_is_left(&a, old, &room).await;
}

#[tokio::test]
async fn another_process_over_the_same_data_forgets_the_room() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let beside = net.server_over(&["a.test"], &a.disk, a.store.clone()).await;
    let b = net.server(&["b.test"]).await;
    let hanako = user(HANAKO);
    let room = a.public_room(&hanako).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    beside.say(&hanako, &room, "訓練です").await;
    assert_eq!(beside.rooms.joined_rooms(&hanako).await.unwrap(), std::slice::from_ref(&room));
    let old = serial(&beside, &room).await;
    purging(&a);
    a.engine.purge(&room, true, &operator()).await.unwrap();
    purged(&a.store).await;

    assert_ne!(serial(&beside, &room).await, old);
    assert!(matches!(beside.engine.send(&room, message(&hanako, "まだ"), None).await, Err(Error::NoRoom(_))));
    let rooms = beside.rooms.memberships(&hanako).await.unwrap();
    assert_eq!(rooms.rooms.len(), 1);
    assert_eq!(rooms.rooms[0].membership, Membership::Leave);
    assert_ne!(rooms.rooms[0].room, old);
    assert!(rooms.rooms[0].departure.is_none());
}

#[tokio::test]
async fn of_a_closed_room_its_former_members_see_nothing_while_it_goes() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test", "aa.test"]).await, net.server(&["b.test"]).await);
    let room = busy_room(&a, &b).await;
    all_leave(&a, &room).await;
    let old = serial(&a, &room).await;
    let left = a.rooms.memberships(&user(JIRO)).await.unwrap().find(old).cloned().unwrap();
    assert!(left.departure.is_some());
    // As it is between the slices: closed, and all rows still there.
    let row = PurgeRow {
        room: old,
        force: false,
        by: String::new(),
        since: 0,
        phase: Phase::Members(0),
        after: Some(Bytes::from_static(&[0xff; 40])),
        rows: 0,
    };
    let closed = async |row: &PurgeRow| {
        let mut batch = Batch::new();
        batch.put(&PURGES, "!elsewhere:a.test", row);
        batch.touch([room::purge::known::purges_moved()]);
        a.store.commit(batch).await.unwrap();
    };
    closed(&row).await;
    let rooms = a.rooms.memberships(&user(JIRO)).await.unwrap();
    let seen = rooms.find(old).unwrap();
    assert_eq!((seen.membership, &seen.departure, seen.event), (Membership::Leave, &None, None));
    assert_eq!(seen.position, left.position);
}

/// A store that writes so many more slices of purges, and then nothing of them any more.
struct Ending {
    inner: MemoryBackend,
    slices: Arc<AtomicUsize>,
}

#[async_trait]
impl Interposed for Ending {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        let of_purge = |op: &RawOp| match op {
            RawOp::Put { table, .. } | RawOp::Delete { table, .. } => {
                [PURGES.raw().id, EMPTIED.raw().id].contains(&table.id)
            }
            _ => false,
        };
        if batches.iter().flat_map(|batch| &batch.ops).any(of_purge) {
            let left =
                self.slices.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_err() {
                return batches.iter().map(|_| Err(CommitError::Unknown)).collect();
            }
        }
        self.inner.commit(batches).await
    }
}

#[tokio::test]
async fn a_purge_that_crashes_after_every_slice_comes_to_the_same_end() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test", "aa.test"]).await, net.server(&["b.test"]).await);
    let room = busy_room(&a, &b).await;
    let old = serial(&a, &room).await;
    let mut disk = a.crash().await;
    let mut phases = BTreeSet::new();
    let mut crashes = 0;
    loop {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let slices = Arc::new(AtomicUsize::new(1));
        let backend = Ending { inner: MemoryBackend::open(&disk), slices: slices.clone() };
        let store = Store::open(Arc::new(backend), Options::default(), &tasks, &metrics).await.unwrap();
        let server = net.server_over(&["a.test", "aa.test"], &disk, store).await;
        purging(&server);
        if crashes == 0 {
            server.engine.purge(&room, true, &operator()).await.unwrap();
        }
        // One slice is written, of the next one it is tried in vain; or nothing is left to be done.
        let is_over = loop {
            let purges = server.engine.purges().await.unwrap();
            let emptied = server.store.scan(&EMPTIED, Range::all(), Order::Ascending, 1).await.unwrap();
            if purges.is_empty() && emptied.is_empty() && crashes > 0 {
                break true;
            }
            if slices.load(Ordering::SeqCst) == 0 {
                phases.extend(purges.first().map(|purge| purge.phase));
                break false;
            }
            tokio::task::yield_now().await;
        };
        // The room is there as ever or not at all.
        let is_known = server.rooms.room(&room).await.unwrap().unwrap().serial == old;
        let is_closed =
            server.store.get(&PURGES, room.as_str()).await.unwrap().is_none_or(|row| row.phase.is_closed());
        assert_eq!(is_known, !is_closed);
        if is_over {
            assert_nothing_is_left(&server, old, &room).await;
            let row = server.store.get(&ROOMS, room.as_str()).await.unwrap().unwrap();
            for one in [HANAKO, JIRO, SHIRO] {
                let kept = server.store.get(&MEMBERSHIPS, &(one, row.serial)).await.unwrap().unwrap();
                assert_eq!(kept.value.membership, Membership::Leave);
            }
            break;
        }
        crashes += 1;
        disk = server.crash().await;
    }
    assert!(crashes > 20, "{crashes}");
    let all = ["leaving", "telling", "aliases", "members", "strays", "inbox", "events", "rest", "again"];
    assert_eq!(phases, BTreeSet::from(all));
}
