//! Coming into large rooms: in slices, whatever happens between two of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base::{Metrics, Tasks};
use bytes::Bytes;
use room::{
    Error, EventSerial, RoomSerial, Root,
    read::lookup::StateQuery,
    tables::{
        EVENT_IDS, EVENT_META, HEADS, LOCAL_MEMBERS, MEMBER_COUNTS, MEMBERS, Membership, SERVERS,
        STATE_KEY_NAMES, STATE_KEYS,
    },
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde_json::{json, value::RawValue};
use store::{
    Backend, Batch, CommitError, Interposed, MemoryBackend, MemoryDisk, Options, Order, Range, RawBatch,
    RawCommitted, RawOp, Store, TableId, Value,
};

use super::{
    net::{Net, Server, state, user},
    projections::{KINDS, Words},
    troubles::broken,
};
use crate::{
    entering::{
        SLICE,
        tables::{BROUGHT, BroughtRow, ENTERINGS, EnteringRow},
    },
    purge::slices::swaths,
    tables::HALF_WAY,
};

pub(super) const HANAKO: &str = "@hanako:a.test";
pub(super) const TARO: &str = "@taro:b.test";
pub(super) const JIRO: &str = "@jiro:b.test";
pub(super) const SABURO: &str = "@saburo:b.test";

/// No batch does more than so many things.
pub(super) const MOST: usize = 8 * SLICE;

/// A store that says how large batches were, and breaks down after so many.
struct Watched {
    inner: MemoryBackend,
    watch: Arc<Watch>,
}

#[derive(Default)]
pub(super) struct Watch {
    /// How many things each batch did that wrote of a room.
    pub(super) batches: parking_lot::Mutex<Vec<usize>>,
    /// Those after so many fail.
    pub(super) most: AtomicUsize,
}

impl Watch {
    /// How many batches of rooms there were.
    pub(super) fn batches(&self) -> usize {
        self.batches.lock().len()
    }

    pub(super) fn largest(&self) -> usize {
        self.batches.lock().iter().copied().max().unwrap_or(0)
    }

    fn takes(&self, batches: &[RawBatch]) -> bool {
        let of_room = |table: TableId| (20..100).contains(&table.0);
        for batch in batches {
            let writes = batch.ops.iter().any(|op| match op {
                RawOp::Put { table, .. }
                | RawOp::Delete { table, .. }
                | RawOp::Add { table, .. }
                | RawOp::PutStamped { table, .. }
                | RawOp::Append { table, .. } => of_room(table.id),
                RawOp::DeleteRange { .. } => true,
                RawOp::TrimLog { .. } => false,
            });
            if writes {
                self.batches.lock().push(batch.ops.len() + batch.requires.len());
            }
        }
        self.batches.lock().len() <= self.most.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Interposed for Watched {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        if !self.watch.takes(&batches) {
            return batches.iter().map(|_| Err(CommitError::Store(broken()))).collect();
        }
        self.inner.commit(batches).await
    }
}

/// A server over a disk that takes so many more batches of rooms.
pub(super) async fn watched(net: &Net, disk: &MemoryDisk, most: usize) -> (Server, Arc<Watch>) {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let watch = Arc::new(Watch { most: AtomicUsize::new(most), ..Watch::default() });
    let backend = Watched { inner: MemoryBackend::open(disk), watch: watch.clone() };
    let store = Store::open(Arc::new(backend), Options::default(), &tasks, &metrics).await.unwrap();
    (net.server_over(&["b.test"], disk, store).await, watch)
}

pub(super) fn member(number: usize) -> OwnedUserId {
    user(&format!("@shokuin{number}:{}", if number.is_multiple_of(3) { "aa.test" } else { "a.test" }))
}

/// A room of members and other state, of more than four slices; 次郎 was asked in, 三郎 is kept out.
pub(super) async fn large_room(a: &Server) -> OwnedRoomId {
    let hanako = user(HANAKO);
    let room = a.public_room(&hanako).await;
    for number in 0..3 * SLICE {
        a.join(&member(number), &room, "a.test").await.unwrap();
    }
    for number in 0..2 * SLICE {
        let place = state(&hanako, "x.madoguchi", &number.to_string(), &json!({ "floor": number }));
        a.engine.send(&room, place, None).await.unwrap();
    }
    a.engine.ban(&hanako, &room, &user(SABURO), None).await.unwrap();
    room
}

/// How many joins and knocks have no end here.
pub(super) async fn half_way(server: &Server) -> usize {
    server.store.scan(&HALF_WAY, Range::all(), Order::Ascending, 9).await.unwrap().len()
}

pub(super) async fn serial(server: &Server, room: &RoomId) -> RoomSerial {
    server.engine.rooms().room(room).await.unwrap().unwrap().serial
}

/// What is projected of a room: members, members of each server, of each kind, pieces of state of each type.
pub(super) type Projected =
    (BTreeMap<String, Membership>, Vec<(String, i64)>, Vec<(u8, i64)>, Vec<(String, i64)>);

pub(super) async fn projected(server: &Server, room: &RoomId) -> Projected {
    let (store, room) = (&server.store, serial(server, room).await);
    let members = store.scan(&MEMBERS, Range::prefix(&room), Order::Ascending, usize::MAX).await.unwrap();
    let servers = store.scan(&SERVERS, Range::prefix(&room), Order::Ascending, usize::MAX).await.unwrap();
    let counts = store.scan(&MEMBER_COUNTS, Range::prefix(&room), Order::Ascending, 99).await.unwrap();
    let kinds = store.scan(&KINDS, Range::prefix(&room), Order::Ascending, 99).await.unwrap();
    (
        members.into_iter().map(|((_, user), row)| (user, row.membership)).collect(),
        servers.into_iter().map(|((_, server), count)| (server, count.0)).collect(),
        counts.into_iter().map(|((_, membership), count)| (membership, count.0)).collect(),
        kinds.into_iter().map(|((_, kind), count)| (kind, count.0)).collect(),
    )
}

/// The room is at `b` what it is at `a`, and nothing beside it is left.
pub(super) async fn assert_whole(a: &Server, b: &Server, room: &RoomId) {
    assert_eq!(b.state(room).await, a.state(room).await);
    assert_eq!(projected(b, room).await, projected(a, room).await);
    let (info, other) = (
        b.engine.rooms().room(room).await.unwrap().unwrap(),
        a.engine.rooms().room(room).await.unwrap().unwrap(),
    );
    let summaries = [(b, &info), (a, &other)];
    let mut named = Vec::new();
    for (server, info) in summaries {
        named.push(server.store.get(&room::tables::SUMMARIES, &info.serial).await.unwrap());
    }
    assert!(named[0].is_some() && named[0] == named[1]);
    assert!(b.engine.verify_state(room).await.unwrap().broken.is_empty());
    assert_nothing_is_entered(&b.store).await;
    let ours = b.store.scan(&LOCAL_MEMBERS, Range::prefix(&info.serial), Order::Ascending, 99).await.unwrap();
    let joined = projected(b, room).await.0;
    let joined: BTreeSet<&String> = joined
        .iter()
        .filter(|(user, membership)| user.ends_with(":b.test") && **membership == Membership::Join)
        .map(|(user, _)| user)
        .collect();
    assert_eq!(ours.iter().map(|((_, user), ())| user).collect::<BTreeSet<_>>(), joined);
    // Of each event and each key, all rows or none.
    let metas = b.store.scan(&EVENT_META, Range::prefix(&info.serial), Order::Ascending, usize::MAX);
    let ids = b.store.scan(&EVENT_IDS, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    let of_room = ids.iter().filter(|(_, place)| place.room == info.serial).count();
    assert_eq!(metas.await.unwrap().len(), of_room);
    let keys = b.store.scan(&STATE_KEYS, Range::prefix(&info.serial), Order::Ascending, usize::MAX);
    let names = b.store.scan(&STATE_KEY_NAMES, Range::prefix(&info.serial), Order::Ascending, usize::MAX);
    let (keys, names) = (keys.await.unwrap(), names.await.unwrap());
    assert_eq!(keys.len(), names.len());
    assert_eq!(keys.len(), b.state(room).await.len());
}

pub(super) async fn assert_nothing_is_entered(store: &Store) {
    assert!(store.scan(&ENTERINGS, Range::all(), Order::Ascending, 1).await.unwrap().is_empty());
    assert!(store.scan(&BROUGHT, Range::all(), Order::Ascending, 1).await.unwrap().is_empty());
}

pub(super) async fn asked(net: &Net) -> (Server, OwnedRoomId) {
    net.add_projection(Arc::new(Words));
    let a = net.server(&["a.test", "aa.test"]).await;
    let room = large_room(&a).await;
    (a, room)
}

#[tokio::test]
async fn no_batch_holds_all_of_a_large_room_that_is_come_into_or_left() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let (b, watch) = watched(&net, &MemoryDisk::default(), usize::MAX).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    assert_whole(&a, &b, &room).await;
    assert!(watch.largest() <= MOST, "{:?}", watch.batches.lock());
    assert!(watch.batches.lock().len() > 3 * 5, "outliers, keys and the state itself each come in slices");
    // Whoever makes a tree slice by slice leaves little behind of those before the last one.
    let chunks = b.engine.reclaim_state(&room).await.unwrap();
    assert!(chunks.deleted < 2 * chunks.kept, "{chunks:?}");

    watch.batches.lock().clear();
    b.engine.leave(&user(TARO), &room, None).await.unwrap();
    assert!(watch.largest() < 2 * SLICE, "{:?}", watch.batches.lock());
}

#[tokio::test]
async fn a_crash_between_any_two_batches_leaves_no_room_and_the_next_join_goes_on() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let (mut crashes, mut number) = (0, 0);
    for most in 1.. {
        let disk = MemoryDisk::default();
        let (b, watch) = watched(&net, &disk, most).await;
        let joined = b.join(&user(TARO), &room, "a.test").await;
        if joined.is_ok() {
            assert_whole(&a, &b, &room).await;
            break;
        }
        crashes += 1;
        assert!(watch.largest() <= MOST);
        b.crash().await;
        // What is told next is another state.
        a.engine.leave(&member(number), &room, None).await.unwrap();
        number += 1;

        let b = net.server_on(&["b.test"], &disk).await;
        assert!(b.store.scan(&HEADS, Range::all(), Order::Ascending, 1).await.unwrap().is_empty());
        assert_eq!(b.engine.rooms().joined_rooms(&user(TARO)).await.unwrap(), Vec::<OwnedRoomId>::new());
        b.join(&user(TARO), &room, "a.test").await.unwrap();
        assert_whole(&a, &b, &room).await;
        b.crash().await;
    }
    assert!(crashes > 15, "{crashes}");
}

#[tokio::test]
async fn what_a_crash_left_goes_when_nobody_joins_again_but_not_what_somebody_was_asked() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, room) = asked(&net).await;
    let taro = user(TARO);
    for most in [5, 10, 15, 19] {
        let disk = MemoryDisk::default();
        let (b, _) = watched(&net, &disk, most).await;
        a.invite(&user(HANAKO), &room, &taro).await.unwrap();
        b.join(&user(JIRO), &room, "a.test").await.unwrap_err();
        b.crash().await;

        let b = net.server_on(&["b.test"], &disk).await;
        let old = serial(&b, &room).await;
        b.engine.void_what_is_left().await.unwrap();
        assert_eq!(named(&b, old, Root::EMPTY).await, None);
        assert!(!b.store.scan(&ENTERINGS, Range::all(), Order::Ascending, 1).await.unwrap().is_empty());
        hand.advance(Duration::from_secs(3_600));
        loop {
            b.engine.void_what_is_left().await.unwrap();
            let is_void =
                b.store.scan(&ENTERINGS, Range::all(), Order::Ascending, 1).await.unwrap().is_empty();
            // The other server is told by then that he is not in there.
            if is_void && half_way(&b).await == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_nothing_is_entered(&b.store).await;
        let mut left = BTreeMap::new();
        for swath in swaths(old) {
            let rows = b.store.rows_of(&swath, None, usize::MAX).await.unwrap().len();
            left.extend((rows > 0).then(|| (swath.table(), rows)));
        }
        let of_invite =
            [("room.event_meta", 1), ("room.events", 1), ("room.helpers", 1), ("room.invites", 1)];
        assert_eq!(left, BTreeMap::from(of_invite));
        let kinds = b.store.scan(&KINDS, Range::prefix(&old), Order::Ascending, 9).await.unwrap();
        assert_eq!(kinds, []);
        assert_eq!(b.store.scan(&EVENT_IDS, Range::all(), Order::Ascending, 9).await.unwrap().len(), 1);
        let asked = b.engine.rooms().membership(&taro, &room).await.unwrap().unwrap();
        assert_eq!(asked.membership, Membership::Invite);

        b.join(&taro, &room, "a.test").await.unwrap();
        assert_whole(&a, &b, &room).await;
        // By a key that was given anew.
        let head = b.store.get(&HEADS, &old).await.unwrap().unwrap();
        assert!(named(&b, old, head.current).await.is_some());
        b.engine.leave(&taro, &room, None).await.unwrap();
        b.deliver(&a).await;
        b.crash().await;
    }
}

/// The event that names a room, in a state of it.
async fn named(server: &Server, room: RoomSerial, root: Root) -> Option<EventSerial> {
    let query = StateQuery { room, root, kind: "m.room.name", key: "" };
    server.engine.rooms().state_serials(&[query]).await.unwrap().remove(0)
}

#[tokio::test]
async fn who_comes_back_to_a_room_that_is_another_by_now_brings_the_difference_in_slices() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let disk = MemoryDisk::default();
    let b = net.server_on(&["b.test"], &disk).await;
    let (hanako, taro) = (user(HANAKO), user(TARO));
    let mut number = 0;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    b.crash().await;
    for most in 1.. {
        for _ in 0..SLICE + 2 {
            // Who went comes again, so that there are always others.
            let (one, other) = (member(number % (3 * SLICE)), member((number + SLICE) % (3 * SLICE)));
            if a.membership(&one, &room).await == Some(Membership::Join) {
                a.engine.leave(&one, &room, None).await.unwrap();
            }
            if a.membership(&other, &room).await != Some(Membership::Join) {
                a.join(&other, &room, "a.test").await.unwrap();
            }
            number += 1;
        }
        let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": number.to_string() }));
        a.engine.send(&room, topic, None).await.unwrap();

        let (b, watch) = watched(&net, &disk, most).await;
        let joined = b.join(&taro, &room, "a.test").await;
        assert!(watch.largest() <= MOST);
        if joined.is_ok() {
            assert!(most > 6, "{:?}", watch.batches.lock());
            assert_whole(&a, &b, &room).await;
            break;
        }
        b.crash().await;
        let b = net.server_on(&["b.test"], &disk).await;
        assert_eq!(b.engine.rooms().joined_rooms(&taro).await.unwrap(), Vec::<OwnedRoomId>::new());
        if most % 2 == 0 {
            b.join(&taro, &room, "a.test").await.unwrap();
            assert_whole(&a, &b, &room).await;
            b.engine.leave(&taro, &room, None).await.unwrap();
            b.deliver(&a).await;
        }
        b.crash().await;
    }
}

#[tokio::test]
async fn two_who_come_in_at_the_same_time_through_two_processes_both_get_in() {
    for round in 0..4 {
        let net = Net::default();
        let (a, room) = asked(&net).await;
        let b = net.server(&["b.test"]).await;
        let other = net.server_over(&["b.test"], &b.disk, b.store.clone()).await;
        let come = async |server: &Server, who: &str| {
            loop {
                match server.join(&user(who), &room, "a.test").await {
                    Ok(()) => break,
                    Err(error) => assert!(error.is_passing(), "{error:?}"),
                }
            }
        };
        // In one process, or in two.
        let second = if round == 0 { &b } else { &other };
        tokio::join!(come(&b, TARO), come(second, JIRO));
        a.deliver(&b).await;
        assert_whole(&a, &b, &room).await;
        for who in [TARO, JIRO] {
            assert_eq!(b.engine.rooms().joined_rooms(&user(who)).await.unwrap(), std::slice::from_ref(&room));
        }
    }
}

/// The state before a join of 太郎, with its auth chain, as it is told.
async fn told(a: &Server, room: &RoomId) -> Vec<Box<RawValue>> {
    let last = a.timeline(room).await.pop().unwrap();
    let told = a.engine.state_for_server("b.test".try_into().unwrap(), room, last.event_id()).await.unwrap();
    let raw = |bytes: &Bytes| RawValue::from_string(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
    told.auth_chain.iter().chain(&told.state).map(raw).collect()
}

#[tokio::test]
async fn an_answer_in_the_wrong_order_is_taken_as_in_the_right_one() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let taro = user(TARO);
    let keeper = net.server(&["b.test"]).await;
    keeper.join(&taro, &room, "a.test").await.unwrap();
    keeper.deliver(&a).await;
    let mut answer = told(&a, &room).await;
    assert!(answer.len() > 4 * SLICE);
    for round in 0..2 {
        let b = net.server(&["b.test"]).await;
        let info = b.engine.ensure_room(&room, pdu::RoomVersion::V11).await.unwrap();
        let mut permit = b.engine.permit(&info).await.unwrap();
        let ids = b.engine.bring_events(&info, &mut permit, answer.clone()).await.unwrap();
        assert_eq!(ids.len(), answer.len(), "round {round}");
        let ids: Vec<_> = ids.into_iter().flatten().collect();
        assert_eq!(ids.len(), answer.len());
        let stored = b.engine.stored(&info, &ids).await.unwrap();
        assert!(ids.iter().all(|id| stored.contains_key(id)), "round {round}");
        answer.reverse();
    }
}

#[test]
fn rows_of_rooms_being_entered_are_stored_as_ever() {
    let row = EnteringRow { number: 300, since: 5, is_void: true };
    assert_eq!(&row.encode()[..], b"\x01\xac\x02\x05\x01");
    assert_eq!(EnteringRow::decode(&row.encode()).unwrap(), row);
    let row = BroughtRow { projected: Root([7; 16]), slices: 300 };
    assert_eq!(row.encode()[..], [&[1][..], &[7; 16], &[0xac, 2]].concat());
    assert_eq!(BroughtRow::decode(&row.encode()).unwrap(), row);
}

#[tokio::test]
async fn nothing_is_written_by_a_permit_that_was_void() {
    let net = Net::default();
    let b = net.server(&["b.test"]).await;
    let room = RoomId::parse("!r:a.test").unwrap();
    let info = b.engine.ensure_room(&room, pdu::RoomVersion::V11).await.unwrap();
    let mut permit = b.engine.permit(&info).await.unwrap();
    b.engine.void(&info).await.unwrap();
    let write = async |permit: &crate::entering::permit::Permit| {
        let mut batch = Batch::new();
        permit.demand(&mut batch, &info);
        b.store.commit(batch).await
    };
    assert!(matches!(write(&permit).await, Err(CommitError::Conflict { .. })));
    let next = b.engine.permit(&info).await.unwrap();
    // Another one, though the row is there again.
    assert!(matches!(write(&permit).await, Err(CommitError::Conflict { .. })));
    assert!(matches!(b.engine.renew(&info, &mut permit).await, Err(Error::Contended)));
    write(&next).await.unwrap();
}
