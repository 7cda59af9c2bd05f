//! People are found among many others, by what tells them apart, whoever else is called what.

use std::sync::Arc;

use base::Term;
use room::{
    Policy,
    people::{DUE, ELSEWHERE, NameRow, PEOPLE, PersonRow, WALKS, WORDS, WordRow},
};
use ruma::UserId;
use serde_json::json;
use store::{Batch, Order, Range};

use super::{
    net::{Net, state, user},
    people::{HANAKO, JIRO, TARO, all_listed, called, closed_room, find, listed, town, with_taro, words},
};
use crate::people::Gone;

#[tokio::test]
async fn rooms_that_nobody_of_ours_is_in_any_more_hide_nobody_who_is_in_others() {
    let (_net, a, b) = town().await;
    for _ in 0..6 {
        let room = b.public_room(&user(TARO)).await;
        a.join(&user(HANAKO), &room, "b.test").await.unwrap();
        a.engine.leave(&user(HANAKO), &room, None).await.unwrap();
    }
    listed(&a).await;
    assert!(find(&a, JIRO, "taro").await.is_empty());
    let room = a.public_room(&user(HANAKO)).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    b.deliver(&a).await;
    all_listed(&a.store).await;
    assert_eq!(find(&a, JIRO, "taro").await, [TARO]);
}

#[tokio::test]
async fn who_is_called_like_hundreds_at_first_is_found_by_the_rest() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    for number in 0..300 {
        let who = format!("@kanazawa-city-{number:05}:a.test");
        called(&a, &who, &format!("金沢市役所危機管理課防災係 山田{number:05}")).await;
    }
    let room = closed_room(&a, HANAKO).await;
    let last = "@kanazawa-city-00299:a.test";
    a.invite(&user(HANAKO), &room, &user(last)).await.unwrap();
    a.join(&user(last), &room, "a.test").await.unwrap();
    for term in [
        "kanazawa-city-00299",
        "@kanazawa-city-00299",
        last,
        "金沢市役所危機管理課防災係 山田00299",
        "山田00299",
    ] {
        assert_eq!(find(&a, HANAKO, term).await, [last], "{term}");
    }
}

#[tokio::test]
async fn few_people_who_write_one_name_again_and_again_hide_nobody() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let again: String = (0..21_u8).map(|number| format!("山田{}", char::from(b'!' + number))).collect();
    for number in 0..20 {
        called(&a, &format!("@evil{number}:a.test"), &again).await;
    }
    called(&a, JIRO, "山田次郎").await;
    let room = closed_room(&a, HANAKO).await;
    a.invite(&user(HANAKO), &room, &user(JIRO)).await.unwrap();
    a.join(&user(JIRO), &room, "a.test").await.unwrap();
    assert_eq!(find(&a, HANAKO, "山田").await, [JIRO]);
}

struct OnlyJiro;

impl Policy for OnlyJiro {
    fn find(&self, _: &UserId, found: &UserId) -> bool {
        found == JIRO
    }
}

#[tokio::test]
async fn whom_the_policy_hides_takes_the_place_of_nobody() {
    let net = Net::default();
    net.set_policy(Arc::new(OnlyJiro));
    let a = net.server(&["a.test"]).await;
    let room = a.public_room(&user(HANAKO)).await;
    for number in 0..80 {
        let who = format!("@a{number}:a.test");
        called(&a, &who, "山田").await;
        a.join(&user(&who), &room, "a.test").await.unwrap();
    }
    called(&a, JIRO, "山田").await;
    a.join(&user(JIRO), &room, "a.test").await.unwrap();
    assert_eq!(find(&a, HANAKO, "山田").await, [JIRO]);
}

#[tokio::test]
async fn who_was_put_out_of_some_rooms_a_moment_ago_is_found_by_another_one() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    called(&a, JIRO, "山田次郎").await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        let room = closed_room(&a, HANAKO).await;
        a.invite(&user(HANAKO), &room, &user(JIRO)).await.unwrap();
        a.join(&user(JIRO), &room, "a.test").await.unwrap();
        rooms.push((a.engine.rooms().room(&room).await.unwrap().unwrap().serial, room));
    }
    // As it is listed, by one who then looks after nobody for a while.
    let mut batch = Batch::new();
    batch.delete_all(&DUE);
    let rooms_of = rooms.iter().map(|(serial, _)| *serial).collect();
    let person = PersonRow { names: vec![NameRow { name: String::new(), rooms: rooms_of }] };
    batch.put(&PEOPLE, JIRO, &person);
    a.store.commit(batch).await.unwrap();
    for (_, room) in &rooms[..2] {
        a.engine.kick(&user(HANAKO), room, &user(JIRO), None).await.unwrap();
    }
    assert_eq!(find(&a, HANAKO, "次郎").await, [JIRO]);
}

#[tokio::test]
async fn a_name_that_is_redacted_while_it_is_listed_is_listed_anew() {
    let (_net, a, b) = town().await;
    let room = with_taro(&a, &b, HANAKO, "秘密の会計").await;
    let serial = a.engine.rooms().room(&room).await.unwrap().unwrap().serial;
    let mut batch = Batch::new();
    batch.delete_all(&WALKS);
    a.store.commit(batch).await.unwrap();
    let late = a.engine.stage_due(&[(TARO.to_owned(), [serial].into())].into()).await.unwrap();
    let member =
        a.state(&room).await.into_iter().find(|(kind, key, _)| kind == "m.room.member" && key == TARO);
    a.engine.redact(&user(HANAKO), &room, &member.unwrap().2, None, None).await.unwrap();
    drop(a.store.commit(late).await);
    listed(&a).await;
    assert!(words(&a, "秘密").await.is_empty());
    assert_eq!(find(&a, HANAKO, "taro").await, [TARO]);
}

#[tokio::test]
async fn who_is_listed_while_a_room_is_purged_is_taken_out_of_it_all_the_same() {
    let (_net, a, b) = town().await;
    let room = with_taro(&a, &b, HANAKO, "山田太郎").await;
    let other = with_taro(&a, &b, HANAKO, "鈴木太郎").await;
    let serial = a.engine.rooms().room(&room).await.unwrap().unwrap().serial;
    let users = [TARO.to_owned()];
    // The first time he has no row, then one without the room.
    for listed_before in [None, Some(a.engine.rooms().room(&other).await.unwrap().unwrap().serial)] {
        if let Some(listed) = listed_before {
            let mut batch = Batch::new();
            batch.delete(&PEOPLE, TARO);
            a.store.commit(batch).await.unwrap();
            let due = [(TARO.to_owned(), [listed].into())].into();
            a.store.commit(a.engine.stage_due(&due).await.unwrap()).await.unwrap();
        }
        let mut purge = Batch::new();
        a.engine.stage_people_gone(&mut purge, Gone { room: serial, users: &users }).await.unwrap();
        let due = [(TARO.to_owned(), [serial].into())].into();
        a.store.commit(a.engine.stage_due(&due).await.unwrap()).await.unwrap();
        assert!(a.store.commit(purge).await.is_err(), "{listed_before:?}");
    }
}

#[tokio::test]
async fn whom_nobody_may_see_is_not_told_by_how_many_there_are() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let mut batch = Batch::new();
    let word = WordRow { begin: room::people::Begin::Text };
    for number in 0..300 {
        batch.put(&WORDS, &(ELSEWHERE, "秘密の会計", format!("@a{number}:evil.test").as_str()), &word);
    }
    a.store.commit(batch).await.unwrap();
    let found = a.engine.rooms().find_people(&user(HANAKO), &Term::new("秘密"), 10).await.unwrap();
    assert!(found.people.is_empty());
    assert!(!found.limited);
}

#[tokio::test]
async fn what_is_noted_of_an_odd_name_is_little_and_nobody_else_is_hurt() {
    let (_net, a, b) = town().await;
    let room = with_taro(&a, &b, HANAKO, "山田太郎").await;
    listed(&a).await;
    for name in
        ["\u{10ffff}", "\u{202e}\u{200b}", &"\u{fdfa}".repeat(20_000), "\u{301}\u{301}", "a\u{0}b", ":"]
    {
        let content = json!({ "membership": "join", "displayname": name });
        b.engine.send(&room, state(&user(TARO), "m.room.member", TARO, &content), None).await.unwrap();
        b.deliver(&a).await;
        all_listed(&a.store).await;
        assert_eq!(find(&a, HANAKO, "taro").await.len(), 1, "{name:.9}");
        let rows = a.store.scan(&WORDS, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
        assert!(rows.len() < 99);
    }
}

#[tokio::test]
async fn a_colleague_who_bears_the_name_of_thousands_of_strangers_is_found_by_it() {
    let (_net, a, b) = town().await;
    with_taro(&a, &b, HANAKO, "山田太郎").await;
    let mut batch = Batch::new();
    let word = WordRow { begin: room::people::Begin::Text };
    for number in 0..4_000 {
        let stranger = format!("@a{number:05}:evil{}.test", number / 2_000);
        batch.put(&WORDS, &(ELSEWHERE, "山田太郎", stranger.as_str()), &word);
        let rooms = vec![room::RoomSerial(u64::MAX)];
        let names = vec![NameRow { name: "山田太郎".to_owned(), rooms }];
        batch.put(&PEOPLE, stranger.as_str(), &PersonRow { names });
    }
    a.store.commit(batch).await.unwrap();
    listed(&a).await;
    assert_eq!(find(&a, HANAKO, "山田太郎").await, [format!("{TARO} 山田太郎")]);
    assert!(find(&a, JIRO, "山田太郎").await.is_empty(), "who shares no room with him does not find him");
}
