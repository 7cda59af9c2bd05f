//! Duties over a store in memory, with the audit log that tells of them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, sync::Arc};

use audit::{Actor, Filter};
use base::{Clock, Metrics, Random, Tasks};
use ruma::{OwnedUserId, ServerName, server_name};
use store::{MemoryBackend, MemoryDisk, Position, Store};

use crate::{Duties, Duty, Error, Held, MOST_PARTS, Part, has_any, has_none};

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

fn user(name: &str) -> OwnedUserId {
    format!("@{name}:kanazawa.test").try_into().unwrap()
}

async fn open() -> (Duties, Store) {
    let metrics = Metrics::new();
    let backend = Arc::new(MemoryBackend::open(&MemoryDisk::default()));
    let store = Store::open(backend, Default::default(), &Tasks::new(&metrics), &metrics).await.unwrap();
    let (clock, _) = Clock::manual(1_774_969_200_000);
    (Duties::new(store.clone(), clock, Random::seeded(7)), store)
}

async fn rows(store: &Store) -> Vec<(String, String)> {
    let page = audit::list(store, kanazawa(), &Filter::default(), Position::START).await.unwrap();
    let rows = page.found.into_iter().map(|listed| listed.record.unwrap());
    rows.map(|record| (record.what, record.whom)).collect()
}

#[tokio::test]
async fn a_duty_is_given_and_taken_once_each_with_one_row() {
    let (duties, store) = open().await;
    let (by, hanako) = (Actor::operator("root"), user("hanako"));
    assert!(duties.set(&hanako, Duty::Personnel, true, &by).await.unwrap());
    assert!(!duties.set(&hanako, Duty::Personnel, true, &by).await.unwrap());
    assert!(duties.set(&hanako, Duty::Audit, true, &by).await.unwrap());
    assert_eq!(duties.of(&hanako).await.unwrap(), BTreeSet::from([Duty::Personnel, Duty::Audit]));
    assert_eq!(duties.of(&user("taro")).await.unwrap(), BTreeSet::new());
    assert!(duties.set(&hanako, Duty::Personnel, false, &by).await.unwrap());
    assert!(!duties.set(&user("taro"), Duty::Personnel, false, &by).await.unwrap());
    let holders = duties.holders(kanazawa()).await.unwrap();
    let held = Held { duties: BTreeSet::from([Duty::Audit]), ..Held::default() };
    assert_eq!(holders, [(hanako.to_string(), held)]);
    assert!(duties.set(&hanako, Duty::Audit, false, &by).await.unwrap());
    assert_eq!(duties.holders(kanazawa()).await.unwrap(), []);
    let whom = hanako.to_string();
    let row = |what: &str| (what.to_owned(), whom.clone());
    let (given, taken) = (row("duty.give"), row("duty.take"));
    assert_eq!(rows(&store).await, [given.clone(), given, taken.clone(), taken]);
}

#[tokio::test]
async fn two_that_are_given_at_once_are_both_there() {
    let (duties, _store) = open().await;
    let (by, hanako) = (Actor::operator("root"), user("hanako"));
    let give = |duty| duties.set(&hanako, duty, true, &by);
    let (one, two, three) = tokio::join!(give(Duty::Personnel), give(Duty::Audit), give(Duty::Reading));
    assert!(one.unwrap() && two.unwrap() && three.unwrap());
    assert_eq!(
        duties.of(&hanako).await.unwrap(),
        BTreeSet::from([Duty::Personnel, Duty::Audit, Duty::Reading])
    );
}

#[tokio::test]
async fn the_duties_of_one_authority_are_not_anothers() {
    let (duties, _store) = open().await;
    let by = Actor::operator("root");
    let other: OwnedUserId = "@hanako:nonoichi.test".try_into().unwrap();
    duties.set(&user("hanako"), Duty::Audit, true, &by).await.unwrap();
    assert_eq!(duties.of(&other).await.unwrap(), BTreeSet::new());
    assert_eq!(duties.holders(other.server_name()).await.unwrap(), []);
}

#[tokio::test]
async fn a_part_goes_beside_duties_and_is_no_duty() {
    let (duties, store) = open().await;
    let (by, hanako) = (Actor::operator("root"), user("hanako"));
    let parts = [Part::Unit(12), Part::Body(12)];
    for part in parts {
        assert!(duties.set(&hanako, part, true, &by).await.unwrap());
        assert!(!duties.set(&hanako, part, true, &by).await.unwrap());
    }
    assert_eq!(duties.of(&hanako).await.unwrap(), BTreeSet::new());
    assert!(has_none(&store, &mut store::Batch::new(), &hanako).await.unwrap(), "he decides nothing");
    assert!(has_any(&store, &hanako).await.unwrap() && !has_any(&store, &user("taro")).await.unwrap());
    duties.set(&hanako, Duty::Audit, true, &by).await.unwrap();
    assert!(!has_none(&store, &mut store::Batch::new(), &hanako).await.unwrap());
    let held = duties.held(&hanako).await.unwrap();
    assert_eq!((held.parts, held.duties), (BTreeSet::from(parts), BTreeSet::from([Duty::Audit])));
    assert!(duties.set(&hanako, Part::Unit(12), false, &by).await.unwrap());
    assert_eq!(duties.held(&hanako).await.unwrap().parts, BTreeSet::from([Part::Body(12)]));
    let taro = user("taro");
    for number in 0..MOST_PARTS as u64 {
        duties.set(&taro, Part::Unit(number), true, &by).await.unwrap();
    }
    let refused = duties.set(&taro, Part::Unit(99), true, &by).await;
    assert!(matches!(refused, Err(Error::TooManyParts(_))), "{refused:?}");
}

#[tokio::test]
async fn what_is_demanded_of_who_has_no_duty_is_that_his_parts_stay() {
    let (duties, store) = open().await;
    let (by, hanako) = (Actor::operator("root"), user("hanako"));
    duties.set(&hanako, Part::Unit(1), true, &by).await.unwrap();
    let mut batch = store::Batch::new();
    assert!(has_none(&store, &mut batch, &hanako).await.unwrap());
    duties.set(&hanako, Duty::Approval, true, &by).await.unwrap();
    assert!(store.commit(batch).await.is_err());
}

#[test]
fn a_part_has_one_word() {
    for (word, part) in [
        ("unit:12", Some(Part::Unit(12))),
        ("body:3", Some(Part::Body(3))),
        ("unit:012", None),
        ("unit:+1", None),
        ("unit:-1", None),
        ("unit:", None),
        ("unit:18446744073709551616", None),
        ("post:1", None),
        ("audit", None),
        ("", None),
    ] {
        assert_eq!(Part::of_word(word), part, "{word}");
    }
}
