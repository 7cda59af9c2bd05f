//! What people change by hand, and the questions with a day in them.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{Absence, NewUnit, Refused};

const PEOPLE: &str = "1,山田 花子,,総務部 防災課,課長,,,\n\
                      2,田中 太郎,,総務部 防災課,主事,,,2027-03-31\n\
                      3,鈴木 一郎,,総務部 交通課,課長,,,\n\
                      4,佐藤 次郎,,総務部 交通課,主事,,,\n\
                      5,高橋 三郎,,総務部,部長,,,\n";

const APRIL: &str = "2026-04-01";
const MARCH: &str = "2026-03-31";

fn new_unit(town: &Town, name: &str) -> NewUnit {
    let parent = Some(town.unit("総務部", APRIL));
    NewUnit { body: town.body(), parent, code: None, name: name.to_owned(), order: 0 }
}

fn names(holders: &[crate::Holder<'_>]) -> Vec<String> {
    holders.iter().map(|holder| holder.person.called().to_owned()).collect()
}

#[test]
fn a_merger_takes_people_and_posts_along_and_is_followed_from_both_sides() {
    let mut town = Town::with(PEOPLE);
    let (bosai, kotsu) = (town.unit("防災課", MARCH), town.unit("交通課", MARCH));
    let new = new_unit(&town, "くらし安全課");
    let merged =
        town.by_hand(APRIL, |by_hand| by_hand.merge_units(&BTreeSet::from([bosai, kotsu]), new).unwrap());
    let known = &town.known;
    assert_eq!(names(&known.members(bosai, day(MARCH))), ["山田 花子", "田中 太郎"]);
    assert_eq!(names(&known.members(merged, day(APRIL))).len(), 4);
    assert_eq!(names(&known.heads(merged, day(APRIL))).len(), 2, "both 課長");
    assert!(known.unit(bosai, day(APRIL)).is_none() && known.members(merged, day(MARCH)).is_empty());
    for old in [bosai, kotsu] {
        assert_eq!(known.successors(old, day(APRIL)), [merged]);
        assert_eq!(known.successors(old, day(MARCH)), [old]);
    }
    assert_eq!(known.predecessors(merged).len(), 2);
    // The contract still ends when it did.
    assert!(!known.serves_from(town.person("2", APRIL), day("2027-04-01")));
    // A file that does not know of it yet is told what became of the unit.
    let draft = town.import(PEOPLE, APRIL);
    let (kind, told) = of(&draft, "1 ");
    assert!(kind == Kind::Wrong && told.contains("後継: くらし安全課"), "{told}");
    assert_eq!(town.posts("1", APRIL), ["くらし安全課 課長"]);
}

#[test]
fn a_split_asks_where_everybody_goes() {
    let mut town = Town::with(PEOPLE);
    let bosai = town.unit("防災課", MARCH);
    let parts = vec![new_unit(&town, "防災企画課"), new_unit(&town, "防災対策課")];
    let (hanako, taro) = (town.person("1", MARCH), town.person("2", MARCH));
    let mut by_hand = Reorganisation::of(&town.known, day(APRIL), &mut town.ids);
    let nobody = by_hand.split_unit(bosai, parts.clone(), &BTreeMap::from([(hanako, 0)]));
    assert_eq!(nobody, Err(Refused::NotAssigned { people: vec!["2 田中 太郎".to_owned()] }));

    let goes = BTreeMap::from([(hanako, 0), (taro, 1)]);
    let made = town.by_hand(APRIL, |by_hand| by_hand.split_unit(bosai, parts, &goes).unwrap());
    assert_eq!(town.known.successors(bosai, day(APRIL)), made);
    assert_eq!(names(&town.known.members(made[0], day(APRIL))), ["山田 花子"]);
    assert_eq!(names(&town.known.members(made[1], day(APRIL))), ["田中 太郎"]);
    // Nobody heads the second, so who heads the one above answers for it.
    assert!(town.known.heads(made[1], day(APRIL)).is_empty());
    assert_eq!(names(&town.known.responsible(made[1], day(APRIL))), ["高橋 三郎"]);
}

#[test]
fn a_unit_with_people_or_units_in_it_cannot_be_closed() {
    let mut town = Town::with(PEOPLE);
    let (bosai, soumu) = (town.unit("防災課", MARCH), town.unit("総務部", MARCH));
    let mut by_hand = Reorganisation::of(&town.known, day(APRIL), &mut town.ids);
    let people = vec!["1 山田 花子".to_owned(), "2 田中 太郎".to_owned()];
    assert_eq!(by_hand.close_unit(bosai), Err(Refused::InUse { people }));
    town.import("3,鈴木 一郎,,総務部 交通課,課長,,,\n", MARCH);
    let mut by_hand = Reorganisation::of(&town.known, day(APRIL), &mut town.ids);
    assert!(matches!(by_hand.close_unit(soumu), Err(Refused::Named { units }) if units.len() == 2));
    town.by_hand(APRIL, |by_hand| ((), by_hand.close_unit(bosai).unwrap()));
    assert!(town.known.unit(bosai, day(MARCH)).is_some() && town.known.unit(bosai, day(APRIL)).is_none());
}

#[test]
fn a_unit_keeps_its_number_through_names_and_places() {
    let mut town = Town::with(PEOPLE);
    let (bosai, kotsu, soumu) =
        (town.unit("防災課", MARCH), town.unit("交通課", MARCH), town.unit("総務部", MARCH));
    town.by_hand(APRIL, |by_hand| ((), by_hand.rename_unit(bosai, "危機管理課").unwrap()));
    town.by_hand("2026-10-01", |by_hand| ((), by_hand.move_unit(kotsu, Some(bosai)).unwrap()));
    let names = |on: &str| {
        let subtree = town.known.subtree(soumu, day(on));
        subtree.iter().map(|unit| unit.name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(MARCH), "総務部 交通課 防災課");
    assert_eq!(names(APRIL), "総務部 交通課 危機管理課");
    assert_eq!(names("2026-10-01"), "総務部 危機管理課 交通課");
    let below: Vec<_> = town.known.subtree(bosai, day("2026-10-01")).iter().map(|unit| unit.unit).collect();
    assert_eq!(below, [bosai, kotsu]);
    // Nothing goes below itself.
    let mut by_hand = Reorganisation::of(&town.known, day("2026-11-01"), &mut town.ids);
    assert!(matches!(by_hand.move_unit(bosai, Some(kotsu)), Err(Refused::Breaches(_))));
    assert_eq!(by_hand.known(), &town.known, "and what was refused is not done");
}

#[test]
fn who_is_away_keeps_his_post_and_does_not_head_it() {
    let mut town = Town::with(PEOPLE);
    let (bosai, hanako) = (town.unit("防災課", MARCH), town.person("1", MARCH));
    let until = Some(day("2026-10-01"));
    let why = Absence::Seconded { to: "石川県".to_owned() };
    town.by_hand(APRIL, |by_hand| ((), by_hand.away(hanako, why.clone(), until).unwrap()));
    let known = &town.known;
    assert_eq!(known.absence(hanako, day(APRIL)), Some(&why));
    assert!(known.serves(hanako, day(APRIL)) && town.posts("1", APRIL) == ["防災課 課長"]);
    assert!(known.heads(bosai, day(APRIL)).is_empty());
    assert_eq!(names(&known.responsible(bosai, day(APRIL))), ["高橋 三郎"]);
    assert_eq!(names(&known.heads(bosai, day(MARCH))), ["山田 花子"]);
    assert_eq!(names(&known.heads(bosai, day("2026-10-01"))), ["山田 花子"]);
    town.by_hand("2026-06-01", |by_hand| ((), by_hand.back(hanako).unwrap()));
    assert_eq!(names(&town.known.heads(bosai, day("2026-06-01"))), ["山田 花子"]);
    assert_eq!(town.known.absence(hanako, day("2026-05-31")), Some(&why), "the months before stay");
}

#[test]
fn bodies_have_directories_of_their_own() {
    let mut town = Town::with("1,山田 花子,,教育総務課,課長,,,\n");
    let board = town.by_hand("2020-04-01", |by_hand| by_hand.make_body("教育委員会").unwrap());
    let staff = std::mem::replace(&mut town.source, Source { name: "教委".to_owned(), body: board });
    // The same number and the same name of a unit: another person and another unit.
    let draft = town.import("1,田中 太郎,,教育総務課,課長,,,\n", APRIL);
    assert_eq!(of(&draft, "1 ").0, Kind::New);
    let names = |body| {
        town.known.people(body, day(APRIL)).iter().map(|one| one.called().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(staff.body), names(board)),
        (vec!["山田 花子".to_owned()], vec!["田中 太郎".to_owned()])
    );
    assert_eq!(town.known.bodies(day(APRIL)).count(), 2);
}

#[test]
fn an_item_that_others_lean_on_is_told_of() {
    let mut town = Town::with(PEOPLE);
    let soumu = town.unit("総務部", MARCH);
    let new = new_unit(&town, "新課");
    let unit = town.by_hand(APRIL, |by_hand| by_hand.make_unit(new).unwrap());
    let mut by_hand = Reorganisation::of(&town.known, day("2026-03-01"), &mut town.ids);
    // A unit below one that is not there yet.
    let early =
        NewUnit { body: town.source.body, parent: Some(unit), code: None, name: "係".to_owned(), order: 0 };
    assert!(matches!(by_hand.make_unit(early), Err(Refused::Breaches(_))));
    // Names have a bound.
    assert!(matches!(by_hand.rename_unit(soumu, &"課".repeat(101)), Err(Refused::Breaches(_))));
    assert!(matches!(by_hand.rename_unit(soumu, " "), Err(Refused::Breaches(_))));
}

#[test]
fn an_account_is_given_to_who_has_none_and_is_nobody_elses() {
    let mut town = Town::with(PEOPLE);
    let (hanako, taro) = (town.person("1", APRIL), town.person("2", APRIL));
    town.by_hand(APRIL, |by_hand| ((), by_hand.give_account(hanako, "hanako").unwrap()));
    let account = |town: &Town, on| town.known.person(hanako, day(on)).unwrap().account.clone();
    assert_eq!((account(&town, MARCH), account(&town, APRIL)), (None, Some("hanako".to_owned())));
    assert_eq!(town.known.owner("hanako"), Some(hanako));
    let mut by_hand = Reorganisation::of(&town.known, day(APRIL), &mut town.ids);
    let other = Refused::HasAccount { account: "hanako".to_owned() };
    assert_eq!(by_hand.give_account(hanako, "other"), Err(other));
    assert!(matches!(by_hand.give_account(taro, "hanako"), Err(Refused::Breaches(_))));
    // A file that says nothing of accounts takes none away.
    town.import(PEOPLE, "2026-05-01");
    assert_eq!(account(&town, "2026-05-02"), Some("hanako".to_owned()));
}
