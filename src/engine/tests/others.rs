//! What is said where nobody else is does not go into the log as news for other servers.

use std::sync::Arc;

use async_trait::async_trait;
use base::{Metrics, Tasks};
use room::{
    read::timeline::RecentQuery,
    tables::{Membership, SERVERS},
};
use ruma::OwnedRoomId;
use serde_json::json;
use store::{
    Backend, Interposed, MemoryBackend, MemoryDisk, Moved, Options, Order, Position, RawRange, RawRow, Store,
    Topic,
};
use tokio::sync::oneshot;

use super::{
    entering::TARO,
    lacking::partly,
    net::{Net, Server, message, state, user},
};

/// Whether something happened for other servers since a position.
fn moved(server: &Server, since: Position) -> Moved {
    server.store.moved(Topic::destination("*"), since)
}

/// Whether what is said now in a room is news for other servers.
async fn is_news(server: &Server, room: &OwnedRoomId, who: &str) -> bool {
    let before = server.store.head();
    server.say(&user(who), room, "訓練です").await;
    moved(server, before) == Moved::Maybe
}

#[tokio::test]
async fn what_is_said_among_us_is_no_news_for_others_until_somebody_of_them_comes() {
    let net = Net::default();
    let a = net.server(&["a.test", "aa.test"]).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, jiro, taro) = (user("@hanako:a.test"), user("@jiro:aa.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    assert_eq!(moved(&a, Position::START), Moved::No);
    assert!(!is_news(&a, &room, "@hanako:a.test").await);
    // Another authority of ours is no other server, and state that is of us alone changes nothing.
    a.join(&jiro, &room, "a.test").await.unwrap();
    let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": "題" }));
    a.engine.send(&room, topic, None).await.unwrap();
    assert!(!is_news(&a, &room, "@jiro:aa.test").await);
    // Nor is who was invited and has not come there.
    a.invite(&hanako, &room, &taro).await.unwrap();
    assert!(!is_news(&a, &room, "@jiro:aa.test").await);
    b.join(&taro, &room, "a.test").await.unwrap();
    assert!(is_news(&a, &room, "@hanako:a.test").await);
    assert!(is_news(&b, &room, "@taro:b.test").await);
    a.deliver(&b).await;
    b.deliver(&a).await;
    assert!(a.bodies(&room).await.ends_with(&b.bodies(&room).await));

    // Once he has left, nobody needs to hear what is said; that is noticed when the room is read anew.
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    let again = net.server_over(&["a.test", "aa.test"], &a.disk, a.store.clone()).await;
    assert!(!is_news(&again, &room, "@hanako:a.test").await);
    b.join(&taro, &room, "a.test").await.unwrap();
    assert!(is_news(&a, &room, "@hanako:a.test").await);
}

#[tokio::test]
async fn what_is_said_while_others_come_in_reaches_them() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    for _ in 0..20 {
        let room = a.public_room(&hanako).await;
        a.say(&hanako, &room, "前").await;
        let say = async {
            let mut said = Vec::new();
            for index in 0..20 {
                let id = a.engine.send(&room, message(&hanako, &index.to_string()), None).await.unwrap();
                said.push(id);
            }
            said
        };
        let (joined, said) = tokio::join!(b.join(&taro, &room, "a.test"), say);
        joined.unwrap();
        let (head, info) = (a.store.head(), a.engine.rooms().room(&room).await.unwrap().unwrap());
        // All that stands behind his join in the log.
        let log = a.store.changes(Position::START, usize::MAX).await.unwrap();
        let mut has_come = false;
        let mut heard = 0;
        for change in log.iter().filter(|change| change.position <= head) {
            let entry = room::log::Entry::decode(change.kind, &change.payload).unwrap();
            let Some(room::log::Entry::Event(entry)) = entry else { continue };
            if entry.room != info.serial {
                continue;
            }
            if entry.member.is_some_and(|(user, _)| user == taro) {
                has_come = true;
            } else if has_come {
                assert!(entry.outgoing);
                heard += 1;
            }
        }
        assert!(has_come && heard <= said.len());
        assert!(is_news(&a, &room, "@hanako:a.test").await);
    }
}

#[tokio::test]
async fn another_process_over_the_same_store_that_lets_somebody_in_is_noticed() {
    let net = Net::default();
    let one = net.server(&["a.test"]).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = one.public_room(&hanako).await;
    assert!(!is_news(&one, &room, "@hanako:a.test").await);
    // Made last, it is the one that others reach.
    let two = net.server_over(&["a.test"], &one.disk, one.store.clone()).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    assert!(is_news(&one, &room, "@hanako:a.test").await);
    assert!(is_news(&two, &room, "@hanako:a.test").await);
}

/// Demands of all that was said in a room and is no news for others that none of them was there, before it or after it.
async fn nothing_was_kept_from_others(a: &Server, room: &OwnedRoomId) -> usize {
    let info = a.rooms.room(room).await.unwrap().unwrap();
    let through = a.store.head();
    let query =
        RecentQuery { room: info.serial, room_id: room, after: Position::START, through, limit: 100_000 };
    let rows = a.rooms.recent(&[query]).await.unwrap().pop().unwrap().entries;
    let mut kept = 0;
    for change in a.store.changes(Position::START, usize::MAX).await.unwrap() {
        let entry = room::log::Entry::decode(change.kind, &change.payload).unwrap();
        let Some(room::log::Entry::Event(entry)) = entry else { continue };
        if entry.room != info.serial || entry.outgoing {
            continue;
        }
        let Some(at) = rows.iter().position(|row| row.order == room::Order::live(change.position)) else {
            continue;
        };
        let event = a.rooms.events_of(&[(info.serial, rows[at])]).await.unwrap().pop().unwrap();
        if !a.rooms.is_local(event.sender()) {
            continue;
        }
        for row in &rows[at.saturating_sub(1)..=at] {
            let state =
                a.rooms.full_states(&[(info.serial, row.current)], true).await.unwrap().pop().unwrap();
            let there = state.iter().filter(|event| event.membership() == Some(Membership::Join));
            let others = there.filter(|event| !a.rooms.is_local(event.sender())).count();
            assert_eq!(others, 0, "{}", event.pdu().content_str());
        }
        kept += 1;
    }
    kept
}

/// Some write in a room while others come and go, with one process or two.
async fn write_while_others_come_and_go(processes: usize) {
    let net = Net::default();
    let one = net.server(&["a.test", "aa.test"]).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, jiro, taro) = (user("@hanako:a.test"), user("@jiro:aa.test"), user("@taro:b.test"));
    // Made last, it is the one that others reach.
    let other = match processes {
        1 => None,
        _ => Some(net.server_over(&["a.test", "aa.test"], &one.disk, one.store.clone()).await),
    };
    let two = other.as_ref().unwrap_or(&one);
    for round in 0..12_u32 {
        let room = one.public_room(&hanako).await;
        let say = async {
            for index in 0..30 {
                let (by, text) = (if index % 3 == 0 { two } else { &one }, index.to_string());
                by.engine.send(&room, message(&hanako, &text), None).await.unwrap();
            }
        };
        let change = async {
            for index in 0..6 {
                let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": index }));
                two.engine.send(&room, topic, None).await.unwrap();
            }
            one.join(&jiro, &room, "a.test").await.unwrap();
        };
        let come_and_go = async {
            for index in 0..3 {
                if (round + index) % 3 == 0 {
                    one.invite(&hanako, &room, &taro).await.unwrap();
                }
                b.join(&taro, &room, "a.test").await.unwrap();
                // While he is there, on one tip.
                for text in ["お疲れさまです", "はい", "では"] {
                    one.say(&hanako, &room, text).await;
                }
                match (round + index) % 3 {
                    0 => one.engine.kick(&hanako, &room, &taro, None).await.unwrap(),
                    _ => b.engine.leave(&taro, &room, None).await.unwrap(),
                }
                b.deliver(two).await;
                one.deliver(&b).await;
            }
        };
        one.say(&hanako, &room, "始").await;
        tokio::join!(say, change, come_and_go);
        assert!(nothing_was_kept_from_others(&one, &room).await > 0);
        nothing_was_kept_from_others(two, &room).await;
    }
}

#[tokio::test]
async fn nothing_is_kept_from_others_in_whatever_order_they_come_and_go() {
    write_while_others_come_and_go(1).await;
    write_while_others_come_and_go(2).await;
}

/// What somebody waits for who reads which servers are in a room, once: he says that he is there, and is told to go on.
type Gate = (oneshot::Sender<()>, oneshot::Receiver<()>);

/// A store of which it can be said when the servers of a room are read.
struct Gated {
    inner: MemoryBackend,
    gate: Arc<parking_lot::Mutex<Option<Gate>>>,
}

#[async_trait]
impl Interposed for Gated {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn scan(
        &self,
        ranges: &[RawRange],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Vec<RawRow>>, store::Error> {
        if ranges.iter().any(|range| range.table.id == SERVERS.raw().id) {
            let gate = self.gate.lock().take();
            if let Some((reached, go_on)) = gate {
                reached.send(()).unwrap();
                go_on.await.unwrap();
            }
        }
        self.inner.scan(ranges, order, limit).await
    }
}

#[tokio::test]
async fn of_a_state_that_is_not_that_of_the_store_all_the_while_nothing_is_found_out() {
    let net = Net::default();
    let (metrics, disk) = (Metrics::new(), MemoryDisk::default());
    let gate = Arc::default();
    let backend = Arc::new(Gated { inner: MemoryBackend::open(&disk), gate: Arc::clone(&gate) });
    let store = Store::open(backend, Options::default(), &Tasks::new(&metrics), &metrics).await.unwrap();
    let a = net.server_over(&["a.test"], &disk, store).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user(TARO));
    let room = a.public_room(&hanako).await;
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let root = async || a.rooms.get_head(&info).await.unwrap().current;
    let ask = |root| a.rooms.concerns_others(info.serial, root);

    let alone = root().await;
    assert_eq!(ask(alone).await.unwrap(), Some(false));
    b.join(&taro, &room, "a.test").await.unwrap();
    let together = root().await;
    assert_eq!((ask(alone).await.unwrap(), ask(together).await.unwrap()), (None, Some(true)));

    // He goes between the first look at the state and that at the servers.
    let ((reached, is_reached), (go_on, goes_on)) = (oneshot::channel(), oneshot::channel());
    *gate.lock() = Some((reached, goes_on));
    let leave = async {
        is_reached.await.unwrap();
        b.engine.leave(&taro, &room, None).await.unwrap();
        b.deliver(&a).await;
        go_on.send(()).unwrap();
    };
    let (found, ()) = tokio::join!(ask(together), leave);
    assert_eq!(found.unwrap(), None);
    assert_eq!((ask(together).await.unwrap(), ask(root().await).await.unwrap()), (None, Some(false)));
}

#[tokio::test]
async fn who_was_asked_to_come_hears_that_he_is_not_any_more() {
    let net = Net::default();
    let (a, _b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user(TARO));
    let room = a.public_room(&hanako).await;
    for bans in [false, true] {
        a.invite(&hanako, &room, &taro).await.unwrap();
        assert!(!is_news(&a, &room, "@hanako:a.test").await);
        let before = a.store.head();
        match bans {
            true => a.engine.ban(&hanako, &room, &taro, None).await.unwrap(),
            false => a.engine.kick(&hanako, &room, &taro, None).await.unwrap(),
        };
        assert_eq!(moved(&a, before), Moved::Maybe);
        assert!(!is_news(&a, &room, "@hanako:a.test").await);
    }
}

#[tokio::test]
async fn behind_many_servers_of_ours_there_may_be_another() {
    let net = Net::default();
    let ours = [
        "a0.test", "a1.test", "a2.test", "a3.test", "a4.test", "a5.test", "a6.test", "a7.test", "a8.test",
        "a9.test", "b0.test", "b1.test", "b2.test", "b3.test", "b4.test", "b5.test", "b6.test",
    ];
    let (a, z) = (net.server(&ours).await, net.server(&["z.test"]).await);
    let room = a.public_room(&user("@hanako:a0.test")).await;
    for name in &ours[1..] {
        a.join(&user(&format!("@jiro:{name}")), &room, "a0.test").await.unwrap();
    }
    z.join(&user("@taro:z.test"), &room, "a0.test").await.unwrap();
    let again = net.server_over(&ours, &a.disk, a.store.clone()).await;
    assert!(is_news(&again, &room, "@hanako:a0.test").await);
}

#[tokio::test]
async fn in_a_room_that_lacks_members_there_may_be_others() {
    let net = Net::default();
    let (_a, b, room) = partly(&net).await;
    assert!(is_news(&b, &room, TARO).await);
    let again = net.server_over(&["b.test"], &b.disk, b.store.clone()).await;
    assert!(is_news(&again, &room, TARO).await);
}
