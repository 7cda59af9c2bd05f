//! Giving back what states took that nothing refers to any more, whatever happens meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base::Metrics;
use pdu::RoomVersion;
use room::{
    Error, RoomSerial,
    ids::{EventSerial, Root, StateKeySerial},
    read::room::RoomInfo,
    snapshot::{CHUNKS, Change},
    tables::{HEADS, TIMELINE},
};
use ruma::{OwnedServerName, OwnedUserId, RoomId, events::StateEventType};
use serde_json::json;
use store::{MemoryDisk, Order, Range, Store};

use super::{
    chains::{counting, info},
    entering::{assert_whole, large_room, member, watched},
    inbound::{auth_of, forge, invented},
    lacking::{fill, partly},
    net::{Net, Server, message, state, user},
};
use crate::{
    as_of::AsOf,
    inbound::receive::{Arrival, Received},
    pipeline::name,
    tables::{SWEEPS, SweepRow},
};

/// States that nobody names.
async fn litter(server: &Server, room: RoomSerial) {
    for part in 0..3_u64 {
        let many: Vec<Change> = (0..400)
            .map(|key| (StateKeySerial(1_000_000 + key), Some(EventSerial(2_000_000 + 1_000 * part + key))))
            .collect();
        let mut batch = store::Batch::new();
        server.engine.snapshots().apply(room, Root::EMPTY, &many, &mut batch).await.unwrap();
        server.store.commit(batch).await.unwrap();
    }
}

/// How many chunks a room has in the store.
async fn chunks(store: &Store, room: RoomSerial) -> u64 {
    let rows = store.scan(&CHUNKS, Range::prefix(&room), Order::Ascending, usize::MAX).await.unwrap();
    rows.len() as u64
}

async fn sweep(store: &Store, room: RoomSerial) -> Option<SweepRow> {
    store.get(&SWEEPS, &room).await.unwrap()
}

/// Nothing that a row of the room leads to is missing.
async fn assert_sound(server: &Server, room: &RoomId) {
    let report = server.engine.verify_state(room).await.unwrap();
    assert!(report.broken.is_empty(), "{report:?}");
}

#[tokio::test]
async fn who_speaks_does_not_wait_while_state_is_reclaimed_and_what_he_says_keeps_its_state() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let serial = info(&a, &room).await.serial;
    litter(&a, serial).await;
    let disk = a.crash().await;
    let (a, count) = counting(&net, "a.test", &disk).await;
    a.say(&hanako, &room, "前").await;
    let before = a.engine.verify_state(&room).await.unwrap();

    let shut = count.shut(TIMELINE.raw().id).await;
    let reclaiming = tokio::spawn({
        let (engine, room) = (a.engine.clone(), room.clone());
        async move { engine.reclaim_state(&room).await }
    });
    let meanwhile = async {
        while count.came_for_graph() == 0 {
            tokio::task::yield_now().await;
        }
        let topic = state(&hanako, "m.room.topic", "", &serde_json::json!({ "topic": "避難所" }));
        a.engine.send(&room, topic, None).await.unwrap();
        a.say(&hanako, &room, "中").await
    };
    // Real time, for a test that fails.
    let said = tokio::time::timeout(Duration::from_secs(30), meanwhile).await.expect("it waits");
    drop(shut);
    let done = reclaiming.await.unwrap().unwrap();

    assert!(count.came_for_graph() > 1, "it was looked again");
    assert!(done.deleted > 30, "{done:?}");
    let after = a.engine.verify_state(&room).await.unwrap();
    assert!(after.broken.is_empty() && after.chunks > before.chunks, "{after:?}");
    assert_eq!(done.kept, after.chunks);
    a.say(&hanako, &room, "後").await;
    assert_eq!(a.bodies(&room).await, ["前", "中", "後"]);
    assert!(a.engine.rooms().event(&room, &said).await.unwrap().is_some());
    assert_eq!(a.engine.reclaim_state(&room).await.unwrap().deleted, 0);
}

#[tokio::test]
async fn what_nobody_names_of_a_busy_room_goes_and_nothing_else_does() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let (room, other) = (a.public_room(&hanako).await, a.public_room(&hanako).await);
    let serial = info(&a, &room).await.serial;
    litter(&a, serial).await;
    let done = Arc::new(AtomicBool::new(false));
    let busy = |room: &RoomId| {
        let (engine, hanako, room, done) = (a.engine.clone(), hanako.clone(), room.to_owned(), done.clone());
        tokio::spawn(async move {
            let mut said = 0;
            while !done.load(Ordering::SeqCst) {
                // Each of them makes chunks; some of them the very same again.
                let place =
                    state(&hanako, "x.madoguchi", &(said % 150).to_string(), &json!({ "floor": said % 2 }));
                engine.send(&room, place, None).await.unwrap();
                engine.send(&room, message(&hanako, "訓練"), None).await.unwrap();
                said += 1;
            }
            said
        })
    };
    let (one, two) = (busy(&room), busy(&other));
    let mut deleted = 0;
    for _ in 0..12 {
        deleted += a.engine.reclaim_state(&room).await.unwrap().deleted;
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::SeqCst);
    assert!(one.await.unwrap() > 10 && two.await.unwrap() > 10);
    assert!(deleted > 30, "{deleted}");
    for room in [&room, &other] {
        assert_sound(&a, room).await;
    }
    let whole = a.engine.verify_state(&room).await.unwrap();
    a.engine.reclaim_state(&room).await.unwrap();
    assert_eq!(a.engine.verify_state(&room).await.unwrap(), whole);
    assert_eq!(chunks(&a.store, serial).await, whole.chunks);
    // All of it can be read by who has nothing in memory.
    let a = net.server_on(&["a.test"], &a.crash().await).await;
    a.engine.send(&room, state(&hanako, "m.room.topic", "", &json!({ "topic": "後" })), None).await.unwrap();
    assert_sound(&a, &room).await;
}

/// Lets the time of a test go on until something is so.
async fn until(hand: &base::ManualClock, step: Duration, what: impl AsyncFn() -> bool) {
    let wait = async {
        while !what().await {
            hand.advance(step);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it never was so");
}

#[tokio::test]
async fn rooms_are_looked_through_by_themselves_and_who_reads_has_an_hour() {
    let net = Net::default();
    let hand = net.steer_clock();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let (room, clean) = (a.public_room(&hanako).await, a.public_room(&hanako).await);
    let (serial, clean) = (info(&a, &room).await.serial, info(&a, &clean).await.serial);
    litter(&a, serial).await;
    let before = chunks(&a.store, serial).await;
    let metrics = Metrics::new();
    a.engine.start_reclaiming(&metrics);

    until(&hand, Duration::from_secs(1), async || sweep(&a.store, clean).await.is_some()).await;
    let condemned = sweep(&a.store, serial).await.unwrap();
    assert!(condemned.has_condemned && !sweep(&a.store, clean).await.unwrap().has_condemned);
    assert_eq!(chunks(&a.store, serial).await, before, "for an hour it can be read");

    until(&hand, Duration::from_secs(60), async || {
        sweep(&a.store, serial).await.is_some_and(|row| !row.has_condemned)
    })
    .await;
    let swept = sweep(&a.store, serial).await.unwrap();
    assert!(swept.since - condemned.since >= 60 * 60 * 1_000);
    let whole = a.engine.verify_state(&room).await.unwrap();
    assert!(whole.broken.is_empty());
    assert_eq!(chunks(&a.store, serial).await, whole.chunks);

    // In a week, the one to which something was written; the other one is as it was.
    litter(&a, serial).await;
    a.say(&hanako, &room, "次").await;
    let resting = sweep(&a.store, clean).await;
    until(&hand, Duration::from_secs(600), async || {
        sweep(&a.store, serial).await.is_some_and(|row| row.number >= swept.number + 3)
    })
    .await;
    assert!(sweep(&a.store, serial).await.unwrap().since - swept.since >= 7 * 24 * 60 * 60 * 1_000);
    assert_eq!(chunks(&a.store, serial).await, a.engine.verify_state(&room).await.unwrap().chunks);
    assert_eq!(sweep(&a.store, clean).await, resting);
}

#[tokio::test]
async fn a_process_that_dies_between_any_two_batches_leaves_what_the_next_one_goes_on_with() {
    let net = Net::default();
    let disk = MemoryDisk::default();
    let taro = user("@taro:b.test");
    let (room, serial) = {
        let (b, _) = watched(&net, &disk, usize::MAX).await;
        let room = b.public_room(&taro).await;
        let serial = info(&b, &room).await.serial;
        for _ in 0..2 {
            litter(&b, serial).await;
        }
        // More than a page of chunks.
        for part in 0..40_u64 {
            let many: Vec<Change> =
                (0..900).map(|key| (StateKeySerial(1_000_000 + key), Some(EventSerial(part)))).collect();
            let mut batch = store::Batch::new();
            b.engine.snapshots().apply(serial, Root::EMPTY, &many, &mut batch).await.unwrap();
            b.store.commit(batch).await.unwrap();
        }
        b.crash().await;
        (room, serial)
    };
    let mut crashes = 0;
    loop {
        // So few that it gets on only if what is done is not done again.
        let (b, watch) = watched(&net, &disk, usize::MAX).await;
        assert_sound(&b, &room).await;
        watch.most.store(watch.batches() + 3, Ordering::SeqCst);
        let done = b.engine.reclaim_state(&room).await;
        let is_over = done.is_ok();
        b.crash().await;
        if is_over {
            break;
        }
        crashes += 1;
        assert!(crashes < 50, "it does not get on");
    }
    assert!(crashes > 1, "{crashes}");
    let (b, _) = watched(&net, &disk, usize::MAX).await;
    let whole = b.engine.verify_state(&room).await.unwrap();
    assert!(whole.broken.is_empty());
    b.engine.reclaim_state(&room).await.unwrap();
    assert_eq!(chunks(&b.store, serial).await, whole.chunks);
    b.say(&taro, &room, "無事").await;
}

#[tokio::test]
async fn what_the_states_of_a_room_took_while_it_lacked_members_goes_once_it_has_them() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    let taro = user("@taro:b.test");
    let serial = info(&b, &room).await.serial;
    for number in 0..30 {
        b.say(&taro, &room, &number.to_string()).await;
        b.engine.send(&room, state(&taro, "x.place", "", &json!({ "floor": number })), None).await.ok();
    }
    assert!(
        matches!(b.engine.reclaim_state(&room).await, Err(Error::MembersLacking(_))),
        "not while they come"
    );
    net.tell_members();
    fill(&b, &room).await;
    b.deliver(&a).await;
    assert_whole(&a, &b, &room).await;
    let (before, whole) = (chunks(&b.store, serial).await, b.engine.verify_state(&room).await.unwrap());
    assert!(before > whole.chunks + 10, "{before} {whole:?}");

    b.engine.start_reclaiming(&Metrics::new());
    until(&hand, Duration::from_secs(60), async || {
        sweep(&b.store, serial).await.is_some_and(|row| row.number > 1 && !row.has_condemned)
    })
    .await;
    assert_eq!(chunks(&b.store, serial).await, whole.chunks);
    assert_eq!(b.engine.verify_state(&room).await.unwrap(), whole);
    // By who has nothing in memory.
    let b = net.server_on(&["b.test"], &b.crash().await).await;
    assert_whole(&a, &b, &room).await;
    b.say(&taro, &room, "続き").await;
    assert_sound(&b, &room).await;
}

/// A state that another server could have told: all of it but the name; and what a batch that names it has to demand.
async fn told(a: &Server, room: &Arc<RoomInfo>) -> (Root, AsOf) {
    let as_of = AsOf::now(&a.store, room.serial).await.unwrap();
    let state = a.state(&room.room_id).await;
    let ids: Vec<_> =
        state.iter().filter(|(kind, ..)| kind != "x.left_out").map(|(.., id)| id.clone()).collect();
    let create = name(StateEventType::RoomCreate, "");
    let told = a.engine.told_state(room, &ids, &[create], &[]).await.unwrap();
    (a.engine.snapshot_of_told(room, &told).await.unwrap(), as_of)
}

/// Places an event of 太郎 on a told state.
async fn place(a: &Server, room: &Arc<RoomInfo>, what: &str, told: (Root, AsOf)) -> Result<Received, Error> {
    let taro = user("@taro:b.test");
    let auth = auth_of(a, &room.room_id, taro.as_str()).await;
    let pdu = forge(RoomVersion::V11, &room.room_id, &message(&taro, what), &[invented(what)], &auth);
    let event = a.engine.verify_raw(room, &[pdu.to_raw()]).await.unwrap().pop().unwrap();
    let mut arrival = Arrival::new(event, OwnedServerName::try_from("b.test").unwrap());
    arrival.before = Some(told.0);
    arrival.note_told(told.1);
    a.engine.place_arrival(room, arrival).await
}

#[tokio::test]
async fn a_state_that_was_told_is_there_when_an_event_gets_its_place_on_it() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro): (OwnedUserId, OwnedUserId) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room_id = a.public_room(&hanako).await;
    b.join(&taro, &room_id, "a.test").await.unwrap();
    for part in 0..3 {
        let left_out = state(&hanako, "x.left_out", &part.to_string(), &json!({}));
        a.engine.send(&room_id, left_out, None).await.unwrap();
    }
    let room = info(&a, &room_id).await;

    // In time: nothing of it goes.
    let early = told(&a, &room).await;
    assert!(matches!(place(&a, &room, "early", early).await.unwrap(), Received::Placed(_)));
    a.engine.reclaim_state(&room_id).await.unwrap();
    assert_sound(&a, &room_id).await;

    // Too late: it is told again.
    let text = state(&hanako, "x.told", "", &json!({}));
    a.engine.send(&room_id, text, None).await.unwrap();
    let late = told(&a, &room).await;
    assert!(a.engine.reclaim_state(&room_id).await.unwrap().deleted > 0);
    assert!(matches!(place(&a, &room, "late", late).await, Err(Error::Contended)));
    assert_sound(&a, &room_id).await;
    let again = told(&a, &room).await;
    let (root, _) = again;
    assert!(matches!(place(&a, &room, "late", again).await.unwrap(), Received::Placed(_)));
    // After that the event is no extremity any more.
    a.say(&hanako, &room_id, "結").await;
    a.engine.reclaim_state(&room_id).await.unwrap();
    assert_sound(&a, &room_id).await;
    // That it is in use is said by the event's own row alone.
    let a = net.server_on(&["a.test"], &a.crash().await).await;
    let state = a.engine.rooms().all_state(room.serial, root).await.unwrap();
    assert_eq!(state.len(), a.state(&room_id).await.len() - 3);
}

#[tokio::test]
async fn a_room_that_is_come_into_in_slices_lacks_nothing_though_it_is_reclaimed_all_the_time() {
    let net = Net::default();
    net.add_projection(Arc::new(super::projections::Words));
    let a = net.server(&["a.test", "aa.test"]).await;
    let room = large_room(&a).await;
    let b = net.server(&["b.test"]).await;
    let taro = user("@taro:b.test");
    let done = Arc::new(AtomicBool::new(false));
    let reclaiming = tokio::spawn({
        let (engine, room, done) = (b.engine.clone(), room.clone(), done.clone());
        async move {
            let mut swept = 0;
            while !done.load(Ordering::SeqCst) {
                match engine.reclaim_state(&room).await {
                    Ok(_) => swept += 1,
                    Err(Error::NoRoom(_) | Error::Contended) => {}
                    Err(error) => panic!("{error:?}"),
                }
                tokio::task::yield_now().await;
            }
            swept
        }
    });
    for round in 0..3 {
        b.join(&taro, &room, "a.test").await.unwrap();
        assert_whole(&a, &b, &room).await;
        b.engine.leave(&taro, &room, None).await.unwrap();
        b.deliver(&a).await;
        // A large difference for who comes again.
        for number in 0..60 {
            a.engine.leave(&member(60 * round + number), &room, None).await.ok();
        }
    }
    b.join(&taro, &room, "a.test").await.unwrap();
    done.store(true, Ordering::SeqCst);
    assert!(reclaiming.await.unwrap() > 3);
    assert_whole(&a, &b, &room).await;
    b.engine.reclaim_state(&room).await.unwrap();
    assert_whole(&a, &b, &room).await;
    let serial = info(&b, &room).await.serial;
    assert!(b.store.get(&HEADS, &serial).await.unwrap().is_some());
    assert_eq!(chunks(&b.store, serial).await, b.engine.verify_state(&room).await.unwrap().chunks);
}

#[tokio::test]
async fn who_looks_through_a_room_that_is_purged_meanwhile_writes_nothing_of_it() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room_id = a.public_room(&hanako).await;
    let serial = info(&a, &room_id).await.serial;
    litter(&a, serial).await;
    let disk = a.crash().await;
    let (a, count) = counting(&net, "a.test", &disk).await;
    let shut = count.shut(TIMELINE.raw().id).await;
    let sweeping = tokio::spawn({
        let (engine, room) = (a.engine.clone(), room_id.clone());
        async move { engine.reclaim_state(&room).await }
    });
    while count.came_for_graph() == 0 {
        tokio::task::yield_now().await;
    }
    // As a purge does, but that the chunks are left here for the sweep to find.
    let room = info(&a, &room_id).await;
    let head = a.store.get(&HEADS, &serial).await.unwrap().unwrap();
    let mut batch = store::Batch::new();
    batch.require(&HEADS, &serial, Some(&head));
    batch.delete(&HEADS, &serial);
    let other = room::tables::RoomRow { serial: RoomSerial(9_999), ..room.row() };
    batch.replace(&room::tables::ROOMS, room_id.as_str(), &room.row(), &other);
    a.store.commit(batch).await.unwrap();
    drop(shut);
    assert!(matches!(sweeping.await.unwrap(), Err(Error::Contended)));
    assert_eq!(sweep(&a.store, serial).await, None);
    let rows = a.store.scan(&CHUNKS, Range::prefix(&serial), Order::Ascending, usize::MAX).await.unwrap();
    assert!(rows.iter().all(|(_, bytes)| bytes[0] != 0xff), "none is condemned");
}
