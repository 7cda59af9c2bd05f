//! History that is fetched, from servers that lie and servers that hang.

use std::time::Duration;

use room::{
    log::{Entry, history_came},
    read::{
        filter::EventFilter,
        messages::{Page, PageQuery},
        timeline::Direction,
        token::Token,
        view::Viewer,
    },
    tables::{GAPS, Gap},
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use store::{Moved, Range, Topic};

use super::{
    inbound::{auth_of, forge, invented},
    net::{Net, Server, message, user, within},
};

/// 太郎 (b.test) came into a room of 花子 (a.test) after she had said much.
async fn latecomer(net: &Net, said: i32) -> (Server, Server, OwnedRoomId, OwnedUserId) {
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    for index in 0..said {
        a.say(&hanako, &room, &index.to_string()).await;
    }
    b.join(&taro, &room, "a.test").await.unwrap();
    (a, b, room, taro)
}

async fn page(server: &Server, who: &OwnedUserId, room: &OwnedRoomId, from: Option<Token>) -> Page {
    let filter = EventFilter::default();
    let query = PageQuery { from, to: None, direction: Direction::Backward, limit: 50, filter };
    server.engine.messages(&Viewer::user(who), room, &query).await.unwrap()
}

/// Adds gaps for events that nobody ever made, before all others.
async fn invent_gaps(server: &Server, room: &OwnedRoomId, count: usize) {
    let serial = server.rooms.room(room).await.unwrap().unwrap().serial;
    let real = server.store.scan(&GAPS, Range::prefix(&serial), store::Order::Ascending, 1).await.unwrap();
    let mut batch = store::Batch::new();
    for index in 0..count {
        let id = OwnedEventId::try_from(format!("$!{index:042}")).unwrap();
        batch.put(&GAPS, &(serial, id.as_str()), &Gap { tries: 0, ..real[0].1.clone() });
    }
    server.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn invented_events_do_not_keep_history_away() {
    let net = Net::default();
    let (_a, b, room, _) = latecomer(&net, 12).await;
    invent_gaps(&b, &room, 90).await;
    let mut rounds = 0;
    while b.bodies(&room).await.len() < 12 {
        b.engine.backfill(&room, 50).await.unwrap();
        rounds += 1;
        assert!(rounds < 10, "history stopped");
    }
    assert_eq!(b.timeline(&room).await[0].kind(), "m.room.create");
}

#[tokio::test]
async fn invented_events_that_a_member_names_again_and_again_do_not_keep_history_away() {
    let net = Net::default();
    let (_a, b, room, _) = latecomer(&net, 12).await;
    let hanako = user("@hanako:a.test");
    // What is missing was asked for once already, of servers that said that they have nothing.
    let serial = b.rooms.room(&room).await.unwrap().unwrap().serial;
    let real = b.store.scan(&GAPS, Range::prefix(&serial), store::Order::Ascending, 9).await.unwrap();
    let [(key, gap)] = real.as_slice() else { unreachable!("the join stands on one event") };
    let mut batch = store::Batch::new();
    batch.put(&GAPS, key, &Gap { tries: 1, ..gap.clone() });
    b.store.commit(batch).await.unwrap();

    // More than are asked about at once.
    let inventions: Vec<OwnedEventId> = (0..40).map(|index| invented(&index.to_string())).collect();
    let auth = auth_of(&b, &room, hanako.as_str()).await;
    let told: Vec<OwnedEventId> = b.state(&room).await.into_iter().map(|(.., id)| id).collect();
    let mut rounds = 0;
    while !b.bodies(&room).await.contains(&"0".to_owned()) {
        for names in inventions.chunks(20) {
            let draft = message(&hanako, &format!("again {rounds}"));
            let naming = forge(pdu::RoomVersion::V11, &room, &draft, names, &auth);
            net.tell_state(naming.event_id(), told.clone());
            b.receive("a.test", &[naming.to_raw()]).await;
            assert!(b.rooms.event(&room, naming.event_id()).await.unwrap().is_some(), "it has its place");
        }
        b.engine.backfill(&room, 50).await.unwrap();
        rounds += 1;
        assert!(rounds < 10, "history stopped");
    }
}

#[tokio::test]
async fn a_reader_is_not_kept_waiting_for_what_nobody_has() {
    let net = Net::default();
    let (_a, b, room, taro) = latecomer(&net, 3).await;
    while b.bodies(&room).await.len() < 3 {
        b.engine.backfill(&room, 50).await.unwrap();
    }
    invent_gaps_after_all(&b, &room).await;
    for _ in 0..10 {
        b.engine.backfill(&room, 50).await.unwrap();
    }
    // Nobody would answer, and nobody is asked: the room's beginning is here.
    net.silence("a.test");
    let page = page(&b, &taro, &room, None).await;
    assert_eq!(page.end, None);
}

async fn invent_gaps_after_all(server: &Server, room: &OwnedRoomId) {
    let serial = server.rooms.room(room).await.unwrap().unwrap().serial;
    let mut batch = store::Batch::new();
    let gap =
        Gap { child: room::EventSerial(1), depth: 1, tries: 0, past: true, on_tip: Vec::new(), since: 0 };
    batch.put(&GAPS, &(serial, "$nobody_has_it"), &gap);
    server.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_hung_server_neither_blocks_a_reader_nor_ends_history() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (_a, b, room, taro) = latecomer(&net, 12).await;
    let idle = hand.sleepers();
    net.silence("a.test");
    let read = async |from| within(&hand, idle, 9, page(&b, &taro, &room, from)).await;
    let first = read(None).await;
    assert!(!first.chunk.is_empty());
    let mut end = first.end.expect("history does not end here");
    for _ in 0..3 {
        let next = read(Some(end)).await;
        assert!(next.chunk.is_empty());
        let new = next.end.expect("history does not end here");
        assert_ne!(new, next.start, "clients take the same token for the end");
        end = new;
    }
    // It answers again, when the last question is given up, and all is there.
    while hand.sleepers() > idle {
        hand.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    net.unsilence("a.test");
    let mut said = Vec::new();
    let mut from = Some(end);
    while let Some(place) = from {
        let page = page(&b, &taro, &room, Some(place)).await;
        said.extend(page.chunk.iter().map(|look| look.event.event_id().to_owned()));
        from = page.end;
    }
    assert_eq!(b.bodies(&room).await.len(), 12);
    assert_eq!(said.len(), b.timeline(&room).await.len() - first.chunk.len());
}

#[tokio::test]
async fn what_fills_a_gap_of_later_makes_no_past_of_what_it_names() {
    let net = Net::default();
    let (a, b, room, _) = latecomer(&net, 1).await;
    while b.bodies(&room).await.is_empty() {
        b.engine.backfill(&room, 50).await.unwrap();
    }
    for body in ["一", "二", "三"] {
        a.say(&user("@hanako:a.test"), &room, body).await;
    }
    // The last comes first, and history brings the one before it, but no more.
    let news = a.outgoing("b.test").await;
    let [.., first, _, last] = news.as_slice() else { unreachable!("three were said") };
    net.mute(true);
    b.receive("a.test", std::slice::from_ref(last)).await;
    b.engine.backfill(&room, 1).await.unwrap();
    assert!(b.bodies(&room).await.contains(&"二".to_owned()));
    b.receive("a.test", std::slice::from_ref(first)).await;
    assert!(b.bodies(&room).await.contains(&"一".to_owned()));
}

#[tokio::test]
async fn the_past_is_not_taken_for_news_when_what_was_missed_is_asked_for() {
    let net = Net::default();
    let (a, b, room, taro) = latecomer(&net, 3).await;
    // Some of the past is here already, and b.test has gone on alone, so that a.test cannot tell where to end.
    b.engine.backfill(&room, 2).await.unwrap();
    b.say(&taro, &room, "別").await;
    for body in ["四", "五", "六"] {
        a.say(&user("@hanako:a.test"), &room, body).await;
    }
    let last = a.outgoing("b.test").await.pop().unwrap();
    b.receive("a.test", &[last]).await;
    let timeline = b.timeline(&room).await;
    let joined = timeline.iter().position(|event| event.state_key() == Some(taro.as_str())).unwrap();
    let news: Vec<&str> = timeline[joined + 1..].iter().map(|event| event.pdu().content_str()).collect();
    assert_eq!(news.len(), 4, "{news:?}");
}

#[tokio::test]
async fn history_is_told_to_those_who_ask_for_it_and_wakes_nobody_else() {
    let net = Net::default();
    let (_a, b, room, _) = latecomer(&net, 30).await;
    let before = b.store.head();
    let mut asking = b.store.watch(vec![history_came()]);
    let others = [
        Topic::room(room.as_str()),
        Topic::ephemeral(room.as_str()),
        Topic::destination("*"),
        Topic::memberships("@taro:b.test"),
    ];
    let here = b.timeline(&room).await.len();
    while b.engine.backfill(&room, 10).await.unwrap() > 0 {}
    tokio::time::timeout(Duration::from_secs(10), asking.changed()).await.unwrap();

    let fetched = b.timeline(&room).await.len() - here;
    let mut told = Vec::new();
    let entries = b.store.changes(before, usize::MAX).await.unwrap();
    for change in &entries {
        let Some(Entry::History(entry)) = Entry::decode(change.kind, &change.payload).unwrap() else {
            panic!("nothing else is in the log");
        };
        assert_eq!(change.topics, [history_came()]);
        let rows = b.rooms.timeline(entry.stretch(), Direction::Backward, usize::MAX).await.unwrap();
        // What came last is older than what came first.
        told.extend(rows.into_iter().map(|row| row.event));
    }
    told.reverse();
    let timeline = b.timeline(&room).await;
    let expected: Vec<_> = timeline.iter().take(fetched).map(|event| event.serial()).collect();
    assert_eq!(told, expected);
    assert!(fetched > 30 && entries.len() <= fetched / 5, "{} entries for {fetched} events", entries.len());
    for topic in others {
        assert_eq!(b.store.moved(topic, before), Moved::No, "{topic:?}");
    }
}
