//! Parts of an organisation: which units are of one on which day, and what is found among them.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{Directory, NewUnit, Scope, Seen, UnitNames};

const PEOPLE: &str = "1,山田 花子,,総務部 防災課,課長,,,\n\
                      2,田中 太郎,,総務部 防災課 計画係,主事,,,\n\
                      3,鈴木 一郎,,税務部 交通課,課長,,,\n\
                      4,佐藤 次郎,,税務部,部長,,,\n\
                      4,佐藤 次郎,,総務部 防災課,参事,兼務,,\n";

const APRIL: &str = "2026-04-01";
const MARCH: &str = "2026-03-31";

impl Town {
    fn scope(&self, units: &[&str]) -> Scope {
        Scope { units: units.iter().map(|name| self.unit(name, MARCH)).collect(), ..Scope::default() }
    }

    /// The names of the units of a scope on a day.
    fn units_of(&self, scope: &Scope, on: &str) -> BTreeSet<String> {
        let units = self.known.units_of(scope, day(on)).into_iter();
        units.map(|unit| self.known.unit(unit, day(on)).unwrap().name.clone()).collect()
    }

    fn new_unit(&self, name: &str, below: &str) -> NewUnit {
        let parent = Some(self.unit(below, MARCH));
        NewUnit { body: self.body(), parent, code: None, name: name.to_owned(), order: 0 }
    }
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_unit_or_a_body_is_with_all_below_it_and_nothing_else() {
    let town = Town::with(PEOPLE);
    assert_eq!(town.units_of(&town.scope(&["防災課"]), MARCH), names(&["防災課", "計画係"]));
    assert_eq!(town.units_of(&town.scope(&["総務部"]), MARCH), names(&["総務部", "防災課", "計画係"]));
    let all = Scope { bodies: BTreeSet::from([town.body()]), ..Scope::default() };
    assert_eq!(town.units_of(&all, MARCH).len(), 5);
    assert_eq!(town.units_of(&Scope::default(), MARCH), names(&[]), "nothing is not all");
    let strange = Scope { bodies: BTreeSet::from([BodyId(99)]), units: BTreeSet::from([UnitId(99)]) };
    assert_eq!(town.units_of(&strange, MARCH), names(&[]));
    assert_eq!(town.known.scope_called(&strange, day(MARCH)), None);
    assert_eq!(town.known.scope_called(&town.scope(&["防災課"]), day(MARCH)).unwrap(), "総務部 防災課");
}

#[test]
fn what_became_of_a_unit_alone_is_in_its_place_and_what_was_merged_with_others_is_not() {
    let mut town = Town::with(PEOPLE);
    let (scope, other) = (town.scope(&["防災課"]), town.unit("交通課", MARCH));
    let bosai = town.unit("防災課", MARCH);
    let new = town.new_unit("くらし安全課", "総務部");
    let before = (town.known.clone(), town.ids);
    town.by_hand(APRIL, |by_hand| by_hand.merge_units(&BTreeSet::from([bosai, other]), new.clone()).unwrap());
    assert_eq!(town.units_of(&scope, MARCH), names(&["防災課", "計画係"]));
    assert_eq!(town.units_of(&scope, APRIL), names(&[]), "others are in it now");
    assert_eq!(town.known.scope_called(&scope, day(APRIL)), None);
    let both = town.scope(&["防災課", "交通課"]);
    assert!(town.units_of(&both, APRIL).contains("くらし安全課"), "both are his");
    // Split, it is his in all its parts.
    (town.known, town.ids) = before;
    let parts = vec![town.new_unit("防災企画課", "総務部"), town.new_unit("防災対策課", "総務部")];
    let goes = BTreeMap::from([(town.person("1", MARCH), 0), (town.person("4", MARCH), 1)]);
    town.by_hand(APRIL, |by_hand| by_hand.split_unit(bosai, parts, &goes).unwrap());
    let now = town.units_of(&scope, APRIL);
    assert!(now.contains("防災企画課") && now.contains("防災対策課"), "{now:?}");
    assert!(!now.contains("総務部") && !now.contains("交通課"));
}

#[test]
fn who_sees_some_units_finds_nobody_by_what_is_elsewhere() {
    let town = Town::with(PEOPLE);
    let directory = Directory::of(&town.known, day(MARCH));
    let units = town.known.units_of(&town.scope(&["総務部"]), day(MARCH));
    let find = |words: &str| {
        let found = directory.search(words, Seen::Units(&units), 50);
        assert_eq!(found.more, 0);
        let posts = |listed| {
            let posts = directory.posts(listed, Some(Seen::Units(&units)));
            posts.map(|post| format!("{} {}", post.unit_name(), post.title)).collect::<Vec<_>>().join("・")
        };
        found.people.iter().map(|(_, one)| format!("{} {}", one.called, posts(one))).collect::<Vec<_>>()
    };
    assert_eq!(find("計画係"), ["田中 太郎 計画係 主事"]);
    assert_eq!(find("佐藤"), ["佐藤 次郎 防災課 参事"], "by the post that is here, and it alone");
    for words in ["税務部", "部長", "鈴木", "交通課", "佐藤 税務部"] {
        assert_eq!(find(words), [""; 0], "{words}");
    }
}

#[test]
fn a_unit_is_called_among_those_that_may_be_meant_as_if_there_were_no_others() {
    let town = Town::with("1,山田 花子,,総務部 庶務係,係長,,,\n2,田中 太郎,,税務部 庶務係,係長,,,\n");
    let all = UnitNames::of(&town.known, None, day(MARCH));
    assert!(all.find("庶務係").is_err(), "which one?");
    let units = town.known.units_of(&town.scope(&["税務部"]), day(MARCH));
    let own = UnitNames::of(&town.known, None, day(MARCH)).among(&units);
    assert_eq!(own.paths(), ["税務部", "税務部/庶務係"]);
    assert!(units.contains(&own.find("庶務係").unwrap().unit));
    for name in ["総務部", "総務部/庶務係", &format!("unit:{}", town.unit("総務部", MARCH).0)] {
        let refused = own.find(name).unwrap_err();
        assert!(refused.ja.contains("所属はありません"), "{refused}");
    }
    let named = |name| town.known.scope_named(name, day(MARCH));
    assert_eq!(
        named("首長部局").unwrap(),
        Scope { bodies: BTreeSet::from([town.body()]), ..Scope::default() }
    );
    assert_eq!(named("税務部").unwrap(), town.scope(&["税務部"]));
    assert!(named("庶務係").is_err() && named("無い課").is_err() && named("").is_err());
}

#[test]
fn units_of_one_name_in_two_bodies_are_told_apart_by_these() {
    let mut town = Town::with("1,山田 花子,,総務部 庶務係,係長,,,\n");
    let other = town.by_hand(MARCH, |by_hand| by_hand.make_body("水道局").unwrap());
    let new = |name: &str| NewUnit { body: other, parent: None, code: None, name: name.to_owned(), order: 0 };
    let theirs = town.by_hand(MARCH, |by_hand| by_hand.make_unit(new("総務部")).unwrap());
    let same = town.by_hand(MARCH, |by_hand| by_hand.make_unit(new("水道局")).unwrap());
    let names = UnitNames::of(&town.known, None, day(MARCH));
    assert_eq!(names.paths(), ["首長部局/総務部", "総務部/庶務係", "水道局", "水道局/総務部"]);
    let refused = names.find("総務部").unwrap_err();
    assert!(refused.ja.contains("首長部局/総務部、水道局/総務部"), "{refused}");
    assert_eq!(names.find("水道局/総務部").unwrap().unit, theirs);
    assert_eq!(names.find("首長部局/総務部").unwrap().body, town.body());
    assert_eq!(names.find("首長部局/総務部/庶務係").unwrap().name, "庶務係");
    assert!(names.find("教育委員会/総務部").is_err());
    // A body and a unit of one name are not taken for each other.
    let refused = town.known.scope_named("水道局", day(MARCH)).unwrap_err();
    let (body, unit) = (format!("body:{}", other.0), format!("unit:{}", same.0));
    assert!(refused.ja.contains(&body) && refused.en.contains(&unit), "{refused}");
    assert_eq!(town.known.scope_named("水道局/総務部", day(MARCH)).unwrap().units, BTreeSet::from([theirs]));
}

#[test]
fn somebody_without_a_main_post_is_mainly_nowhere() {
    let mut town = Town::with(PEOPLE);
    // What is left once the main one has ended.
    town.import("4,佐藤 次郎,,総務部 防災課,参事,兼務,,\n1,山田 花子,,総務部 防災課,課長,,,\n", APRIL);
    let sato = town.person("4", APRIL);
    let units = town.known.units_of(&town.scope(&["総務部"]), day(APRIL));
    assert!(!town.known.is_mainly_in(sato, &units, day(APRIL)));
    assert!(town.known.is_mainly_in(town.person("1", APRIL), &units, day(APRIL)));
}
