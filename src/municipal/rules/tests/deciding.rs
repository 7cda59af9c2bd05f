//! What people say of rules, and what is refused.

use super::*;
use crate::{Actual, Days};

fn come_in(actual: &mut Actual, name: &str) {
    actual.members.insert(user(name), Presence::Joined);
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_told_and_nothing_is_written() {
    let town = Town::with(FIVE).await;
    let with = |path: &str, value: Value| {
        let mut wish = sections();
        *wish.pointer_mut(path).unwrap() = value;
        wish
    };
    for (wish, part) in [
        (with("/title", json!("")), "規則の名前"),
        (with("/units", json!({ "named": ["防*課"] })), "防*課"),
        (with("/units", json!({ "depth": [2, 1] })), "逆"),
        (with("/units", json!({ "body": "議会" })), "議会"),
        (with("/hand_over_days", json!(4_000)), "引き継ぎ"),
        (with("/rooms", json!([])), "ひな形"),
        (with("/rooms/0/name", json!("{課}")), "{課}"),
        (with("/rooms/0/key", json!("Main")), "Main"),
        (with("/rooms", json!([sections()["rooms"][0], sections()["rooms"][0]])), "重複"),
        (with("/rooms/0", json!({ "key": "a", "name": "a", "levels": { "moderators": 100 } })), "1〜99"),
        (with("/rooms/0", json!({ "key": "a", "name": "a", "levels": { "invite": -1 } })), "0〜100"),
    ] {
        let order = |wish| Order::Set { rule: None, wish: Box::new(parse(wish)), from: None, until: None };
        let told = refusal(town.ask(order(&wish)).await);
        assert!(told.contains(part), "{told}");
    }
    let unknown = serde_json::from_value::<Wish>(json!({ "title": "a", "rooms": [], "mebers": "unit" }));
    assert!(unknown.is_err(), "a word that is not known is no word that is left out");
    let wish = Box::new(parse(&sections()));
    let (from, until) = (Some(day("2026-04-01")), Some(day("2026-03-01")));
    let told = refusal(town.ask(Order::Set { rule: None, wish, from, until }).await);
    assert!(told.contains("終わりの日"), "{told}");
    let told = refusal(town.ask(Order::End { rule: RuleId(9), from: None }).await);
    assert_eq!(told, "規則 9 はありません。");
    assert!(town.rules.book(kanazawa()).await.unwrap().0.is_empty());
    assert!(town.log("rules.").await.is_empty());
}

#[tokio::test]
async fn rules_are_shown_with_their_rooms() {
    let town = Town::with(FIVE).await;
    let rule = town.set(&sections()).await;
    town.run().await;
    let Answer::Shown(shown) = town.ask(Order::Show { day: None }).await.unwrap() else { panic!() };
    assert_eq!(shown.rules.len(), 1);
    assert!(shown.rules[0].holds && shown.rules[0].id == rule);
    let units: Vec<_> = shown.rooms.iter().map(|room| room.unit.as_deref().unwrap()).collect();
    assert_eq!(units.len(), 2);
    // What is shown can be sent and read again.
    let sent = serde_json::to_value(Answer::Shown(shown)).unwrap();
    assert!(serde_json::from_value::<Answer>(sent).is_ok());
    let order = Order::Set { rule: None, wish: Box::new(parse(&sections())), from: None, until: None };
    assert!(serde_json::from_value::<Order>(serde_json::to_value(order).unwrap()).is_ok());
    assert_eq!(town.log("rules.set").await, ["rules.set 1"]);
}

#[tokio::test]
async fn a_preview_of_a_rule_that_is_not_there_yet_tells_what_it_would_do_and_writes_nothing() {
    let town = Town::with(FIVE).await;
    let order = Order::Preview { wish: Some((None, Box::new(parse(&sections())))), day: None };
    let Answer::Previewed(previewed) = town.ask(order).await.unwrap() else { panic!() };
    assert_eq!((previewed.makes, previewed.joins), (2, 4));
    assert!(previewed.told.iter().any(|told| told.room == "防災課 連絡" && told.what.ja == "部屋を作る"));
    assert!(town.rules.book(kanazawa()).await.unwrap().0.is_empty());
    assert!(town.run().await.is_nothing());
}

#[tokio::test]
async fn a_room_made_by_hand_is_put_under_a_rule_and_keeps_who_was_in_it() {
    let town = Town::with(FIVE).await;
    // From tomorrow on, so that no room is made before.
    let rule = town.set_from(&sections(), None, Some("2026-03-02")).await;
    let room: OwnedRoomId = "!hand:kanazawa.test".try_into().unwrap();
    let adopt = |unit: &str, room: &OwnedRoomId| {
        let key = "main".to_owned();
        Order::Adopt { room: room.clone(), rule, unit: unit.to_owned(), key }
    };
    let told = refusal(town.ask(adopt("防災課", &room)).await);
    assert!(told.contains("このサーバーにありません"), "{told}");
    town.rooms.by_hand(&room, |actual| come_in(actual, "bosai"));
    // Nobody of ours may (X8).
    let told = refusal(town.ask(adopt("防災課", &room)).await);
    assert!(told.contains("断られました"), "{told}");
    assert!(town.rules.places(kanazawa()).await.unwrap().is_empty());

    town.rooms.by_hand(&room, |actual| come_in(actual, "maker"));
    assert!(refusal(town.ask(adopt("総務部", &room)).await).contains("求めていません"));
    town.ask(adopt("防災課", &room)).await.unwrap();
    let told = refusal(town.ask(adopt("人事課", &room)).await);
    assert!(told.contains("すでに規則による部屋"), "{told}");
    assert_eq!(town.log("rules.adopt").await, [format!("rules.adopt {room}")]);

    assert!(town.run().await.is_nothing(), "nothing happens before the rule begins");
    town.at("2026-03-02");
    let done = town.run().await;
    assert_eq!((done.makes, done.joins), (1, 3));
    assert_eq!(town.room("防災課 連絡"), room);
    assert_eq!(town.members("防災課 連絡"), ["bosai", "bosai-cho!", "maker"]);
    // Who was there before the rule is by rule from now on, if it wants him.
    let brought = town.rules.brought(kanazawa(), &room).await.unwrap();
    assert_eq!(brought, BTreeSet::from([user("bosai"), user("bosai-cho")]));
}

/// On which of these days the rule holds.
async fn holds_on(town: &Town, days: [&str; 5]) -> [bool; 5] {
    let (book, _) = town.rules.book(kanazawa()).await.unwrap();
    days.map(|on| book.on(day(on)).count() == 1)
}

#[tokio::test]
async fn a_rule_holds_on_the_days_that_were_decided_and_on_those_behind_them_no_more() {
    let town = Town::with(FIVE).await;
    let rule = town.set_from(&sections(), None, Some("2026-02-01")).await;
    let days = ["2026-03-01", "2026-03-31", "2026-04-01", "2026-04-30", "2026-05-01"];
    assert_eq!(holds_on(&town, days).await, [true; 5]);
    let by = Actor::operator("uid 1000");
    let said = async |days| town.rules.batch_of_days(kanazawa(), rule, days, &by, ("case", "7")).await;
    let holds = Days::Holds { from: day("2026-04-01"), until: Some(day("2026-05-01")) };
    let (one, other) = (said(holds).await.unwrap(), said(holds).await.unwrap());
    assert_eq!(holds_on(&town, days).await, [true; 5], "nothing is written yet");
    town.store.commit(one).await.unwrap();
    assert_eq!(holds_on(&town, days).await, [true, true, true, true, false]);
    let late = town.store.commit(other).await;
    assert!(matches!(late, Err(store::CommitError::Conflict { .. })), "the book is another one by now");
    town.store.commit(said(Days::Ends { from: day("2026-03-31") }).await.unwrap()).await.unwrap();
    assert_eq!(holds_on(&town, days).await, [true, false, false, false, false]);
    // Once more as it was said last, for good.
    let again = Days::Holds { from: day("2026-04-01"), until: None };
    town.store.commit(said(again).await.unwrap()).await.unwrap();
    assert_eq!(holds_on(&town, days).await, [true, false, true, true, true]);
    assert_eq!(town.log("rules.").await, ["rules.set 1", "rules.set 1", "rules.end 1", "rules.set 1"]);
    let none = town.rules.check_days(kanazawa(), RuleId(9), again).await;
    assert!(matches!(none, Err(Error::Refused(_))));
    let wrong = Days::Holds { from: day("2026-05-01"), until: Some(day("2026-04-01")) };
    assert!(matches!(town.rules.check_days(kanazawa(), rule, wrong).await, Err(Error::Refused(_))));
}
