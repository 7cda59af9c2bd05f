//! People are found by their names, by those who may, and at a cost that is the same for all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{Metrics, Tasks, Term};
use room::{
    RoomSerial, note_account,
    people::{DUE, ELSEWHERE, PEOPLE, WALKS, WORDS, WalkRow, people_due},
    read::open::appearance,
    tables::{EVENTS, MEMBERS, Membership},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;
use store::{Batch, CommitError, MemoryDisk, Options, Order, Range, Store, Table, Tuning};

use super::{
    counting::{Cost, Count, Counting},
    net::{Net, Server, state, user},
};
use crate::{NoDebts, Profile, list_people, unlist_people};

pub(super) const HANAKO: &str = "@hanako:a.test";
pub(super) const JIRO: &str = "@jiro:a.test";
pub(super) const TARO: &str = "@taro:b.test";

/// Lets a server look after the people in its rooms, until nobody is due.
pub(super) async fn listed(server: &Server) {
    server.engine.start_listing_people(&Metrics::new());
    all_listed(&server.store).await;
}

pub(super) async fn all_listed(store: &Store) {
    let all = async {
        loop {
            let due = store.scan(&DUE, Range::all(), Order::Ascending, 1).await.unwrap();
            let walks = store.scan(&WALKS, Range::all(), Order::Ascending, 1).await.unwrap();
            if due.is_empty() && walks.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    // Real time, for a test that fails.
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("somebody is due for ever");
}

#[tokio::test]
async fn who_is_due_gathers_before_anybody_is_looked_at() {
    let net = Net::default();
    let clock = net.steer_clock();
    let a = net.server(&["a.test"]).await;
    a.public_room(&user(HANAKO)).await;
    a.engine.start_listing_people(&Metrics::new());
    let mut passed = Duration::ZERO;
    let is_due = async || !a.store.scan(&DUE, Range::all(), Order::Ascending, 1).await.unwrap().is_empty();
    while is_due().await {
        assert!(passed < Duration::from_secs(60), "somebody is due for ever");
        // Whoever looked at once would have done so by then.
        for _ in 0..200 {
            tokio::task::yield_now().await;
            if !is_due().await {
                break;
            }
        }
        clock.advance(Duration::from_millis(10));
        passed += Duration::from_millis(10);
    }
    assert!(passed >= Duration::from_millis(500), "looked at after {passed:?}");
}

/// Makes an account's name known.
pub(super) async fn called(server: &Server, who: &str, name: &str) {
    let profile = Profile { displayname: Some(name.to_owned()), avatar_url: None };
    let mut batch = Batch::new();
    note_account(&mut batch, &user(who), None, Some(&profile));
    server.store.commit(batch).await.unwrap();
}

/// Somebody calls himself something in a room.
pub(super) async fn call(server: &Server, who: &str, room: &RoomId, name: &str) {
    let content = json!({ "membership": "join", "displayname": name });
    server.engine.send(room, state(&user(who), "m.room.member", who, &content), None).await.unwrap();
}

/// Whom somebody finds, with the names that he is told.
pub(super) async fn find(server: &Server, who: &str, term: &str) -> Vec<String> {
    let found = server.engine.rooms().find_people(&user(who), &Term::new(term), 10).await.unwrap();
    let shown = found.people.into_iter().map(|found| {
        let name = found.appearance.and_then(|appearance| appearance.displayname);
        format!("{} {}", found.user_id, name.unwrap_or_default()).trim().to_owned()
    });
    shown.collect()
}

pub(super) async fn closed_room(server: &Server, creator: &str) -> OwnedRoomId {
    server.engine.create(&user(creator), crate::CreateRoom::default()).await.unwrap()
}

/// 太郎 of another server is in a closed room of somebody's.
pub(super) async fn with_taro(a: &Server, b: &Server, host: &str, name: &str) -> OwnedRoomId {
    let room = closed_room(a, host).await;
    a.invite(&user(host), &room, &user(TARO)).await.unwrap();
    a.deliver(b).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    call(b, TARO, &room, name).await;
    b.deliver(a).await;
    room
}

pub(super) async fn town() -> (Net, Server, Server) {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    (net, a, b)
}

#[tokio::test]
async fn somebody_is_found_by_each_part_of_his_name_however_it_is_written() {
    let (_net, a, b) = town().await;
    let room = with_taro(&a, &b, HANAKO, "山田　太郎").await;
    listed(&a).await;
    for (name, terms) in [
        (
            "山田　太郎",
            &["山田", "太郎", "山田太郎", "田太", "taro", "@taro", "@taro:b.test", "b.test", ""][..],
        ),
        ("ヤマダ ﾀﾛｳ", &["やまだ", "ﾔﾏﾀﾞ", "タロウ"]),
        (
            "髙橋 龍ヶ崎支所長・防災担当・広報担当・秘書担当",
            &["高橋", "龍ケ崎", "防災担当・広報担当・秘書担当"],
        ),
        ("Taro YAMADA", &["yama", "TARO y", "Ｔａｒｏ"]),
    ] {
        call(&b, TARO, &room, name).await;
        b.deliver(&a).await;
        all_listed(&a.store).await;
        for term in terms {
            assert_eq!(find(&a, HANAKO, term).await, [format!("{TARO} {name}")], "{term}");
        }
        for term in ["西", "太郎山田", "防災担当・広報担当・会計担当", "taro:c.test"] {
            assert!(find(&a, HANAKO, term).await.is_empty(), "{term}");
        }
    }
}

#[tokio::test]
async fn what_somebody_is_called_where_the_searcher_is_not_is_neither_found_nor_told() {
    let (_net, a, b) = town().await;
    let ours = with_taro(&a, &b, HANAKO, "山田太郎").await;
    let theirs = with_taro(&a, &b, JIRO, "秘密の会計").await;
    listed(&a).await;
    let (seen, hidden) = (format!("{TARO} 山田太郎"), format!("{TARO} 秘密の会計"));
    assert_eq!(find(&a, HANAKO, "太郎").await, std::slice::from_ref(&seen));
    assert!(find(&a, HANAKO, "秘密").await.is_empty());
    assert_eq!(find(&a, JIRO, "秘密").await, std::slice::from_ref(&hidden));
    assert!(find(&a, JIRO, "山田").await.is_empty());
    // By the id each finds him as he knows him.
    assert_eq!(find(&a, HANAKO, "taro").await, [seen]);
    assert_eq!(find(&a, JIRO, "taro").await, std::slice::from_ref(&hidden));

    // Who is in neither finds nobody; who has left, neither, be it the one or the other.
    assert!(find(&a, "@saburo:a.test", "taro").await.is_empty());
    b.engine.leave(&user(TARO), &ours, None).await.unwrap();
    b.deliver(&a).await;
    assert!(find(&a, HANAKO, "taro").await.is_empty(), "at once");
    all_listed(&a.store).await;
    assert!(find(&a, HANAKO, "太郎").await.is_empty());
    a.engine.leave(&user(JIRO), &theirs, None).await.unwrap();
    assert!(find(&a, JIRO, "taro").await.is_empty());
    // A name that is gone leaves nothing.
    assert!(words(&a, "山田太郎").await.is_empty());
}

/// Who is looked up by these letters, on other servers.
pub(super) async fn words(server: &Server, piece: &str) -> Vec<String> {
    let range = Range::prefix(&(ELSEWHERE, piece));
    let rows = server.store.scan(&WORDS, range, Order::Ascending, 99).await.unwrap();
    rows.into_iter().map(|((_, _, user), _)| user).collect()
}

#[tokio::test]
async fn a_name_that_was_redacted_is_found_by_nobody() {
    let (_net, a, b) = town().await;
    let room = with_taro(&a, &b, HANAKO, "山田太郎").await;
    listed(&a).await;
    let member =
        a.state(&room).await.into_iter().find(|(kind, key, _)| kind == "m.room.member" && key == TARO);
    a.engine.redact(&user(HANAKO), &room, &member.unwrap().2, None, None).await.unwrap();
    assert!(find(&a, HANAKO, "太郎").await.is_empty());
    all_listed(&a.store).await;
    assert!(words(&a, "太郎").await.is_empty());
    assert_eq!(find(&a, HANAKO, "taro").await, [TARO]);
}

#[tokio::test]
async fn people_of_ours_are_found_at_once_and_those_of_the_own_authority_first() {
    let net = Net::default();
    let a = net.server(&["a.test", "aa.test"]).await;
    for (who, name) in [(HANAKO, "花子"), (JIRO, "佐藤次郎"), ("@jiro:aa.test", "次郎")] {
        called(&a, who, name).await;
    }
    let room = closed_room(&a, HANAKO).await;
    assert!(find(&a, HANAKO, "次郎").await.is_empty());
    for who in [JIRO, "@jiro:aa.test"] {
        a.invite(&user(HANAKO), &room, &user(who)).await.unwrap();
        assert!(find(&a, HANAKO, "次郎").await.len() < 2, "who is asked in is not in");
        a.join(&user(who), &room, "a.test").await.unwrap();
    }
    assert_eq!(find(&a, HANAKO, "jiro").await, [JIRO, "@jiro:aa.test"]);
    // Whose name begins so is meant before him in whose name it stands somewhere.
    assert_eq!(find(&a, HANAKO, "次郎").await, ["@jiro:aa.test", JIRO]);
    assert_eq!(find(&a, "@jiro:aa.test", "jiro").await, [JIRO]);
    listed(&a).await;
    assert_eq!(find(&a, HANAKO, "jiro").await, [JIRO, "@jiro:aa.test"]);
    a.engine.kick(&user(HANAKO), &room, &user(JIRO), None).await.unwrap();
    assert_eq!(find(&a, HANAKO, "jiro").await, ["@jiro:aa.test"]);
}

#[tokio::test]
async fn in_rooms_that_are_open_everybody_is_found_while_one_of_ours_is_there() {
    let (_net, a, b) = town().await;
    let room = a.public_room(&user(HANAKO)).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    b.deliver(&a).await;
    listed(&a).await;
    assert_eq!(find(&a, JIRO, "taro").await, [TARO]);
    let rule = state(&user(HANAKO), "m.room.join_rules", "", &json!({ "join_rule": "invite" }));
    a.engine.send(&room, rule, None).await.unwrap();
    assert!(find(&a, JIRO, "taro").await.is_empty());
    let rule = state(&user(HANAKO), "m.room.join_rules", "", &json!({ "join_rule": "public" }));
    a.engine.send(&room, rule, None).await.unwrap();
    assert_eq!(find(&a, JIRO, "taro").await, [TARO]);
    a.engine.leave(&user(HANAKO), &room, None).await.unwrap();
    assert!(find(&a, JIRO, "taro").await.is_empty());
}

/// A server that counts what is read, over data that an earlier one left.
async fn counting(net: &Net, disk: &MemoryDisk) -> (Server, Count) {
    let (metrics, (backend, count)) = (Metrics::new(), Counting::open(disk));
    let tasks = Tasks::new(&metrics);
    let store = Store::open(Arc::new(backend), Options::default(), &tasks, &metrics).await.unwrap();
    (net.server_over(&["a.test"], disk, store).await, count)
}

/// What searches read where 花子 and 太郎 share so many rooms, with so many other people in each.
async fn cost(rooms: usize, others: usize) -> Vec<Cost> {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    called(&a, JIRO, "山田次郎").await;
    for number in 0..rooms {
        let room = a.public_room(&user(HANAKO)).await;
        a.join(&user(JIRO), &room, "a.test").await.unwrap();
        for other in 0..others {
            a.join(&user(&format!("@m{other}:a.test")), &room, "a.test").await.unwrap();
        }
        if number == 0 {
            called(&a, "@m0:a.test", "山田四郎").await;
        }
    }
    listed(&a).await;
    // Nobody else reads meanwhile.
    let (a, count) = counting(&net, &a.crash().await).await;
    let mut costs = Vec::new();
    for term in ["山田", "jiro", "nobody"] {
        // What every sync has in memory.
        find(&a, HANAKO, term).await;
        let (found, cost) = count.of(find(&a, HANAKO, term)).await;
        assert_eq!(found.is_empty(), term == "nobody");
        costs.push(cost);
    }
    costs
}

#[tokio::test]
async fn a_search_reads_as_much_in_150_rooms_as_in_3_and_among_many_as_among_few() {
    let few = cost(3, 1).await;
    assert_eq!(cost(150, 1).await, few);
    assert_eq!(cost(3, 40).await, few);
    assert!(few.iter().all(|cost| cost.calls <= 6 && cost.rows < 20 && cost.events == 0), "{few:?}");
}

#[tokio::test]
async fn however_many_are_called_so_a_bounded_number_is_looked_at_and_ours_are_among_them() {
    let net = Net::default();
    let (a, count) = counting(&net, &MemoryDisk::default()).await;
    called(&a, JIRO, "山田次郎").await;
    let room = closed_room(&a, HANAKO).await;
    a.invite(&user(HANAKO), &room, &user(JIRO)).await.unwrap();
    a.join(&user(JIRO), &room, "a.test").await.unwrap();
    let mut batch = Batch::new();
    let word = room::people::WordRow { begin: room::Begin::Text };
    for number in 0..5_000 {
        batch.put(&WORDS, &(ELSEWHERE, "山田次郎", format!("@a{number}:evil.test").as_str()), &word);
    }
    a.store.commit(batch).await.unwrap();
    let term = Term::new("山田");
    let (found, cost) = count.of(a.engine.rooms().find_people(&user(HANAKO), &term, 10)).await;
    let found = found.unwrap();
    assert_eq!(found.people[0].user_id, user(JIRO));
    assert!(cost.rows < 2_000 && cost.calls < 30, "{cost:?}");
}

#[tokio::test]
async fn one_name_in_many_rooms_is_one_row_a_piece_and_another_name_replaces_it() {
    let (_net, a, b) = town().await;
    let mut rooms = Vec::new();
    for _ in 0..12 {
        rooms.push(with_taro(&a, &b, HANAKO, "山田太郎").await);
    }
    listed(&a).await;
    let person = a.store.get(&PEOPLE, TARO).await.unwrap().unwrap();
    assert_eq!(person.names.len(), 1);
    assert_eq!(person.names[0].rooms.len(), 12);
    let all = async || a.store.scan(&WORDS, Range::all(), Order::Ascending, usize::MAX).await.unwrap().len();
    let before = all().await;
    for room in &rooms {
        call(&b, TARO, room, "鈴木一郎").await;
    }
    b.deliver(&a).await;
    all_listed(&a.store).await;
    assert_eq!(all().await, before);
    assert!(words(&a, "山田太郎").await.is_empty());
    assert_eq!(words(&a, "鈴木一郎").await, [TARO]);
}

/// A room of b.test with so many members, which a.test joins.
async fn joined_large_room(a: &Server, b: &Server, members: usize) -> OwnedRoomId {
    let room = b.public_room(&user(TARO)).await;
    for number in 0..members {
        let who = format!("@m{number:03}:b.test");
        b.join(&user(&who), &room, "b.test").await.unwrap();
        call(b, &who, &room, &format!("山田{number}号")).await;
    }
    a.join(&user(HANAKO), &room, "b.test").await.unwrap();
    room
}

#[tokio::test]
async fn who_comes_into_a_large_room_writes_little_of_its_people_and_finds_them_a_moment_later() {
    let (_net, a, b) = town().await;
    let room = joined_large_room(&a, &b, 230).await;
    let due = a.store.scan(&DUE, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    let serial = a.engine.rooms().room(&room).await.unwrap().unwrap().serial;
    assert_eq!(due, [((HANAKO.to_owned(), serial), ())]);
    assert_eq!(a.store.scan(&WORDS, Range::all(), Order::Ascending, 9).await.unwrap(), []);
    listed(&a).await;
    for number in [0, 99, 100, 229] {
        let wanted = format!("@m{number:03}:b.test 山田{number}号");
        assert_eq!(find(&a, HANAKO, &format!("山田{number}号")).await, [wanted]);
    }
}

/// What the rows of people are to be, by the members of all rooms.
async fn people_by_rooms(server: &Server) -> BTreeMap<String, BTreeMap<RoomSerial, String>> {
    let mut people: BTreeMap<String, BTreeMap<RoomSerial, String>> = BTreeMap::new();
    for ((room, who), row) in
        server.store.scan(&MEMBERS, Range::all(), Order::Ascending, 9_999).await.unwrap()
    {
        if row.membership == Membership::Join {
            let event = server.engine.rooms().load_all(room, &[row.event]).await.unwrap().remove(0);
            let name = appearance(event.pdu().content_str()).displayname.unwrap_or_default();
            let is_ours = server.engine.is_local(&user(&who));
            people.entry(who).or_default().insert(room, if is_ours { String::new() } else { name });
        }
    }
    people
}

async fn people_as_listed(server: &Server) -> BTreeMap<String, BTreeMap<RoomSerial, String>> {
    let rows = server.store.scan(&PEOPLE, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    let rooms = |row: room::people::PersonRow| {
        let named = row.names.into_iter();
        named.flat_map(|known| known.rooms.into_iter().map(move |room| (room, known.name.clone()))).collect()
    };
    rows.into_iter().map(|(who, row)| (who, rooms(row))).collect()
}

#[tokio::test]
async fn whatever_happens_meanwhile_and_by_however_many_processes_the_rows_say_what_the_rooms_say() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let beside = net.server_over(&["a.test"], &a.disk, a.store.clone()).await;
    let b = net.server(&["b.test"]).await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(a.public_room(&user(HANAKO)).await);
    }
    // Two do it at once: here neither is told that the data are another's.
    for server in [&a, &beside] {
        server.engine.start_listing_people(&Metrics::new());
    }
    for round in 0..40 {
        let room = &rooms[round % 3];
        let who = format!("@m{}:b.test", round % 5);
        match round % 7 {
            0..4 => b.join(&user(&who), room, "a.test").await.unwrap(),
            4 | 5 => drop(call_if_in(&b, &who, room, &format!("名{}", round % 4)).await),
            _ => drop(b.engine.leave(&user(&who), room, None).await),
        }
        if round % 2 == 0 {
            b.deliver(&a).await;
        }
        if round % 9 == 0 {
            a.join(&user(JIRO), room, "a.test").await.unwrap();
        }
    }
    b.deliver(&a).await;
    all_listed(&a.store).await;
    assert_eq!(people_as_listed(&a).await, people_by_rooms(&a).await);
    let called: Vec<String> = people_by_rooms(&a)
        .await
        .into_iter()
        .filter(|(who, _)| who.ends_with("b.test"))
        .map(|(who, _)| who)
        .collect();
    assert!(!called.is_empty());
    let found = words_of_ids(&a).await;
    assert_eq!(found, called);
}

async fn call_if_in(server: &Server, who: &str, room: &RoomId, name: &str) -> Result<(), room::Error> {
    let content = json!({ "membership": "join", "displayname": name });
    let event = state(&user(who), "m.room.member", who, &content);
    server.engine.send(room, event, None).await.map(drop)
}

#[tokio::test]
async fn what_was_made_from_what_has_moved_since_is_not_written() {
    let (_net, a, b) = town().await;
    let room = with_taro(&a, &b, HANAKO, "山田太郎").await;
    let serial = a.engine.rooms().room(&room).await.unwrap().unwrap().serial;
    let due = [(TARO.to_owned(), [serial].into())].into();
    let conflict = async |batch: Batch, table: store::TableId| {
        let outcome = a.store.commit(batch).await;
        assert!(
            matches!(outcome, Err(CommitError::Conflict { table: of, .. }) if of == table),
            "{outcome:?}"
        );
    };
    // Another process was faster.
    let (first, second) = (a.engine.stage_due(&due).await.unwrap(), a.engine.stage_due(&due).await.unwrap());
    a.store.commit(first).await.unwrap();
    conflict(second, PEOPLE.raw().id).await;
    // He takes another name, and is due again.
    let late = a.engine.stage_due(&due).await.unwrap();
    call(&b, TARO, &room, "鈴木一郎").await;
    b.deliver(&a).await;
    conflict(late, MEMBERS.raw().id).await;
    assert!(a.store.get(&DUE, &(TARO, serial)).await.unwrap().is_some());
    // That one is redacted: in the members' rows nothing moves.
    let late = a.engine.stage_due(&due).await.unwrap();
    let state = a.state(&room).await;
    let (.., named) =
        state.into_iter().find(|(kind, key, _)| kind == "m.room.member" && key == TARO).unwrap();
    a.engine.redact(&user(HANAKO), &room, &named, None, None).await.unwrap();
    conflict(late, EVENTS.raw().id).await;
    assert!(a.store.get(&DUE, &(TARO, serial)).await.unwrap().is_some());
}

/// Everybody of other servers who is found by his id, once each.
async fn words_of_ids(server: &Server) -> Vec<String> {
    let rows = server.store.scan(&WORDS, Range::prefix("b.test"), Order::Ascending, 999).await.unwrap();
    rows.into_iter().map(|((_, _, who), _)| who).collect()
}

#[tokio::test]
async fn with_a_purged_room_goes_what_was_listed_of_its_people() {
    let (_net, a, b) = town().await;
    let (gone, stays) =
        (with_taro(&a, &b, HANAKO, "山田太郎").await, with_taro(&a, &b, JIRO, "鈴木一郎").await);
    listed(&a).await;
    let serial = a.engine.rooms().room(&gone).await.unwrap().unwrap().serial;
    a.engine.start_purging(Arc::new(NoDebts), &Metrics::new());
    a.engine.purge(&gone, true, &audit::Actor::operator("uid 1000")).await.unwrap();
    while !a.engine.purges().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    all_listed(&a.store).await;
    let people = people_as_listed(&a).await;
    assert!(people.values().all(|rooms| !rooms.contains_key(&serial)), "{people:?}");
    let other = a.engine.rooms().room(&stays).await.unwrap().unwrap().serial;
    assert_eq!(people[TARO], BTreeMap::from([(other, "鈴木一郎".to_owned())]));
    assert!(words(&a, "山田太郎").await.is_empty());
    assert_eq!(find(&a, JIRO, "鈴木").await, [format!("{TARO} 鈴木一郎")]);
}

#[tokio::test]
async fn people_in_data_of_before_they_were_listed_are_found_also_when_that_is_begun_twice() {
    let (_net, a, b) = town().await;
    with_taro(&a, &b, HANAKO, "山田太郎").await;
    joined_large_room(&a, &b, 3).await;
    let mut batch = Batch::new();
    batch.delete_all(&PEOPLE);
    batch.delete_all(&DUE);
    batch.delete_all(&WALKS);
    batch.delete_all(&WORDS);
    a.store.commit(batch).await.unwrap();
    list_people(&a.store).await.unwrap();
    listed(&a).await;
    let listed_once = people_as_listed(&a).await;
    assert_eq!(listed_once, people_by_rooms(&a).await);
    list_people(&a.store).await.unwrap();
    // As another process of the same data would: what is done already is done over in vain.
    let beside = Net::default().server_over(&["a.test"], &a.disk, a.store.clone()).await;
    listed(&beside).await;
    assert_eq!(people_as_listed(&a).await, listed_once);
    assert_eq!(find(&a, HANAKO, "太郎").await, [format!("{TARO} 山田太郎")]);
    assert_eq!(find(&a, HANAKO, "山田1号").await, ["@m001:b.test 山田1号"]);
}

#[tokio::test]
async fn people_listed_as_texts_were_folded_once_are_found_as_they_are_folded_now() {
    let (_net, a, b) = town().await;
    with_taro(&a, &b, HANAKO, "縣廳の鷗外").await;
    listed(&a).await;
    let old = |range| a.store.scan(&WORDS, range, Order::Ascending, 1_000);
    let mut batch = Batch::new();
    for ((scope, piece, user), row) in old(Range::all()).await.unwrap() {
        batch.delete(&WORDS, &(scope.as_str(), piece.as_str(), user.as_str()));
        let before = piece.replace('県', "縣").replace('庁', "廳").replace('鴎', "鷗");
        batch.put(&WORDS, &(scope.as_str(), before.as_str(), user.as_str()), &row);
    }
    a.store.commit(batch).await.unwrap();
    assert!(find(&a, HANAKO, "鴎外").await.is_empty());

    unlist_people(&a.store).await.unwrap();
    list_people(&a.store).await.unwrap();
    all_listed(&a.store).await;
    assert_eq!(find(&a, HANAKO, "鴎外").await, [format!("{TARO} 縣廳の鷗外")]);
    let left = old(Range::all()).await.unwrap();
    assert!(left.iter().all(|((_, piece, _), _)| !piece.contains('鷗')), "{left:?}");
}

/// Rows of people and of members, whatever they say.
static PEOPLE_AS_WORDS: Table<String, String> = Table::new(75, "room.people", Tuning::Point);
static MEMBERS_AS_WORDS: Table<(RoomSerial, String), String> = Table::new(31, "room.members", Tuning::Point);

#[tokio::test]
async fn of_whom_something_is_damaged_keeps_nobody_else_from_being_listed() {
    let (_net, a, b) = town().await;
    let room = with_taro(&a, &b, HANAKO, "太郎").await;
    let shiro = "@shiro:b.test";
    a.invite(&user(HANAKO), &room, &user(shiro)).await.unwrap();
    a.deliver(&b).await;
    b.join(&user(shiro), &room, "a.test").await.unwrap();
    call(&b, shiro, &room, "四郎").await;
    b.deliver(&a).await;
    let mut batch = Batch::new();
    batch.put(&PEOPLE_AS_WORDS, TARO, &"?".to_owned());
    a.store.commit(batch).await.unwrap();
    listed(&a).await;
    assert_eq!(find(&a, HANAKO, "四郎").await, [format!("{shiro} 四郎")]);

    // Also where all members of a room are gone through, and where those cannot be read.
    let serial = a.rooms.room(&room).await.unwrap().unwrap().serial;
    let mut batch = Batch::new();
    batch.delete(&PEOPLE, shiro);
    batch.delete_all(&WORDS);
    batch.put(&WALKS, &serial, &WalkRow::default());
    batch.touch([people_due()]);
    a.store.commit(batch).await.unwrap();
    all_listed(&a.store).await;
    assert_eq!(find(&a, HANAKO, "四郎").await, [format!("{shiro} 四郎")]);
    let mut batch = Batch::new();
    batch.put(&MEMBERS_AS_WORDS, &(serial, shiro), &"?".to_owned());
    batch.put(&WALKS, &serial, &WalkRow::default());
    batch.touch([people_due()]);
    a.store.commit(batch).await.unwrap();
    all_listed(&a.store).await;
}
