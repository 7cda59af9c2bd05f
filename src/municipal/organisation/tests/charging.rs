//! Who is responsible for what (事務分掌): it has days, goes where units and posts go, and people are found by it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{Breach, Charged, Directory, NewUnit, Refused, Seen};

const PEOPLE: &str = "1,山田 花子,,総務部 防災課,課長,,,\n\
                      2,田中 太郎,,総務部 防災課,主事,,,\n\
                      3,鈴木 一郎,,総務部 住宅課,課長,,,\n\
                      4,佐藤 次郎,,総務部 住宅課,主事,,,\n";

const APRIL: &str = "2026-04-01";
const MARCH: &str = "2026-03-31";

fn matters(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Town {
    fn charge(&mut self, of: Charged, words: &[&str], on: &str) {
        self.by_hand(on, |by_hand| ((), by_hand.charge(of, &matters(words)).unwrap()));
    }

    /// The post of this title in a unit.
    fn post(&self, unit: UnitId, title: &str, on: &str) -> Charged {
        let posts = self.known.posts(unit, day(on));
        Charged::Post(posts.iter().find(|post| post.title == title).unwrap().post)
    }

    /// Whom some words mean.
    fn found(&self, words: &str, on: &str) -> Vec<String> {
        let directory = Directory::of(&self.known, day(on));
        let bodies = BTreeSet::from([self.body()]);
        let found = directory.search(words, Seen::Bodies(&bodies), 50);
        let mut names: Vec<_> = found.people.iter().map(|(_, listed)| listed.called.clone()).collect();
        names.sort();
        names
    }
}

#[test]
fn people_are_found_by_what_their_unit_or_post_is_responsible_for_on_that_day() {
    let mut town = Town::with(PEOPLE);
    let jutaku = town.unit("住宅課", MARCH);
    let clerk = town.post(jutaku, "主事", MARCH);
    town.charge(Charged::Unit(jutaku), &["公営住宅"], APRIL);
    town.charge(clerk, &["空き家対策", "耐震診断"], APRIL);
    assert_eq!(town.found("公営住宅", APRIL), ["佐藤 次郎", "鈴木 一郎"]);
    assert_eq!(town.found("空き家", APRIL), ["佐藤 次郎"], "a part of the word, and the post alone");
    assert_eq!(town.found("空き家 住宅課 佐藤", APRIL), ["佐藤 次郎"]);
    assert_eq!(town.found("耐震 空き家", APRIL), ["佐藤 次郎"]);
    // No word goes over the end of one.
    assert!(town.found("対策耐震", APRIL).is_empty());
    assert!(town.found("公営住宅", MARCH).is_empty(), "not the day before");
    // Who is transferred is responsible for it no more; who comes is.
    let moved = PEOPLE.replace("佐藤 次郎,,総務部 住宅課", "佐藤 次郎,,総務部 防災課");
    let moved = moved.replace("田中 太郎,,総務部 防災課", "田中 太郎,,総務部 住宅課");
    town.import(&moved, "2027-04-01");
    assert_eq!(town.found("空き家", "2027-04-01"), ["田中 太郎"]);

    let directory = Directory::of(&town.known, day("2027-04-01"));
    let listed = directory.people().find(|listed| listed.called == "田中 太郎").unwrap();
    let posts: Vec<_> = directory.posts(listed, None).map(|post| post.charges.concat()).collect();
    assert_eq!(posts, [matters(&["空き家対策", "耐震診断", "公営住宅"])]);
}

#[test]
fn what_was_said_before_stays_and_what_is_planned_begins_on_its_day() {
    let mut town = Town::with(PEOPLE);
    let bosai = Charged::Unit(town.unit("防災課", MARCH));
    town.charge(bosai, &["備蓄"], "2027-04-01");
    town.charge(bosai, &["避難所"], APRIL);
    town.charge(bosai, &["避難所", "防災無線"], "2026-10-01");
    let on = |town: &Town, on: &str| town.known.charges(bosai, day(on)).join(" ");
    let days = [MARCH, APRIL, "2026-09-30", "2026-10-01", "2027-03-31", "2027-04-01"];
    let all: Vec<_> = days.iter().map(|day| on(&town, day)).collect();
    assert_eq!(all, ["", "避難所", "避難所", "避難所 防災無線", "避難所 防災無線", "備蓄"]);
    town.charge(bosai, &[], "2026-12-01");
    assert_eq!([on(&town, "2026-11-30"), on(&town, "2026-12-01")], ["避難所 防災無線", ""]);
    assert_eq!(on(&town, "2027-04-01"), "備蓄", "what is planned stays");
}

#[test]
fn whoever_takes_the_place_of_units_and_posts_is_responsible_for_what_they_were() {
    let mut town = Town::with(PEOPLE);
    let (bosai, jutaku) = (town.unit("防災課", MARCH), town.unit("住宅課", MARCH));
    town.charge(Charged::Unit(bosai), &["避難所", "庶務"], MARCH);
    town.charge(Charged::Unit(jutaku), &["庶務", "公営住宅"], MARCH);
    town.charge(town.post(jutaku, "主事", MARCH), &["空き家対策"], MARCH);
    let into = NewUnit {
        body: town.body(),
        parent: Some(town.unit("総務部", MARCH)),
        code: None,
        name: "くらし安全課".to_owned(),
        order: 0,
    };
    let merged = town.by_hand(APRIL, |by_hand| {
        by_hand.merge_units(&BTreeSet::from([bosai, jutaku]), into.clone()).unwrap()
    });
    let mut all = town.known.charges(Charged::Unit(merged), day(APRIL)).to_vec();
    all.sort();
    assert_eq!(all, matters(&["公営住宅", "庶務", "避難所"]), "once each");
    // Both 主事 have one post now.
    assert_eq!(town.found("空き家", APRIL), ["佐藤 次郎", "田中 太郎"]);
    assert_eq!(town.found("空き家", MARCH), ["佐藤 次郎"]);

    let people = ["1", "2", "3", "4"].map(|number| town.person(number, APRIL));
    let goes: BTreeMap<_, _> = people.into_iter().zip([0, 0, 1, 1]).collect();
    let parts = vec![NewUnit { name: "安全課".to_owned(), ..into.clone() }, into];
    let made = town.by_hand("2027-04-01", |by_hand| by_hand.split_unit(merged, parts, &goes).unwrap());
    let first = town.known.charges(Charged::Unit(made[0]), day("2027-04-01"));
    assert_eq!(first.len(), 3, "the first part, as units below go there");
    assert_eq!(town.known.charges(Charged::Unit(made[1]), day("2027-04-01")), [] as [String; 0]);
    assert_eq!(town.found("空き家", "2027-04-01").len(), 2, "posts go with those who have them");
}

#[test]
fn too_many_matters_and_what_is_not_there_are_refused() {
    let mut town = Town::with(PEOPLE);
    let bosai = town.unit("防災課", MARCH);
    let many: Vec<_> = (0..31).map(|number| format!("業務{number}")).collect();
    let before = town.known.clone();
    let mut by_hand = Reorganisation::of(&town.known, day(APRIL), &mut town.ids);
    let refused = by_hand.charge(Charged::Unit(bosai), &many);
    assert_eq!(refused, Err(Refused::Breaches(vec![Breach::ManyCharges])));
    let long = by_hand.charge(Charged::Unit(bosai), &["長".repeat(101)]);
    assert!(matches!(long, Err(Refused::Breaches(_))));
    assert_eq!(by_hand.charge(Charged::Unit(UnitId(999)), &[]), Err(Refused::NoUnit));
    assert_eq!(by_hand.known(), &before, "what was refused is not done");
    assert!(by_hand.charge(Charged::Unit(bosai), &many[..30]).is_ok());
}

#[test]
fn an_address_reaches_who_has_the_post_on_that_day_and_goes_on_with_what_takes_its_place() {
    let mut town = Town::with(PEOPLE);
    let (bosai, jutaku) = (town.unit("防災課", MARCH), town.unit("住宅課", MARCH));
    let head = town.post(bosai, "課長", MARCH);
    let address = |town: &mut Town, name: &str, of: Charged, on: &str| {
        town.by_hand(on, |by_hand| ((), by_hand.address(name, of).unwrap()));
    };
    address(&mut town, "bousai", head, MARCH);
    address(&mut town, "jutaku", Charged::Unit(jutaku), MARCH);
    let reached = |town: &Town, name: &str, on: &str| {
        let of = town.known.addresses(day(on)).get(name).copied().flatten();
        let people = of.map(|of| town.known.reached(of, day(on))).unwrap_or_default();
        let mut names: Vec<_> = people.iter().map(|holder| holder.person.called().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(reached(&town, "bousai", MARCH), ["山田 花子"]);
    assert_eq!(reached(&town, "jutaku", MARCH), ["佐藤 次郎", "鈴木 一郎"]);
    assert!(reached(&town, "bousai", "2026-03-30").is_empty(), "not the day before");

    // Nobody has the post: who answers for the unit.
    let into = NewUnit {
        body: town.body(),
        parent: Some(town.unit("総務部", MARCH)),
        code: None,
        name: "くらし安全課".to_owned(),
        order: 0,
    };
    town.by_hand(APRIL, |by_hand| by_hand.merge_units(&BTreeSet::from([bosai, jutaku]), into).unwrap());
    assert_eq!(reached(&town, "bousai", APRIL), ["山田 花子", "鈴木 一郎"], "both 課長 have one post now");
    assert_eq!(reached(&town, "jutaku", APRIL).len(), 4, "all of the unit that it became");
    assert_eq!(reached(&town, "bousai", MARCH), ["山田 花子"]);
    town.by_hand("2026-10-01", |by_hand| ((), by_hand.end_address("bousai").unwrap()));
    assert!(reached(&town, "bousai", "2026-10-01").is_empty());
    assert!(town.known.addresses(day("2026-10-01")).contains_key("bousai"), "and is known still");
}

#[test]
fn an_address_is_one_things_and_no_persons() {
    let mut town = Town::with(PEOPLE);
    let (bosai, jutaku) = (town.unit("防災課", MARCH), town.unit("住宅課", MARCH));
    let mut by_hand = Reorganisation::of(&town.known, day(APRIL), &mut town.ids);
    for wrong in ["", "Bousai", "防災", "_bousai", "a b", "a:b", "@a", &"a".repeat(65)] {
        let refused = by_hand.address(wrong, Charged::Unit(bosai));
        assert!(matches!(refused, Err(Refused::Breaches(_))), "{wrong}: {refused:?}");
    }
    assert!(by_hand.address("bousai", Charged::Unit(bosai)).is_ok());
    // Said of another, it is that one's from then on.
    assert!(by_hand.address("bousai", Charged::Unit(jutaku)).is_ok());
    let reached = by_hand.known().addresses(day(APRIL))["bousai"];
    assert_eq!(reached, Some(Charged::Unit(jutaku)));
    assert_eq!(by_hand.end_address("kocho"), Err(Refused::NoAddress));
}

#[test]
fn an_address_of_a_post_reaches_who_comes_to_it_by_a_personnel_file() {
    let mut town = Town::with(PEOPLE);
    let head = town.post(town.unit("防災課", MARCH), "課長", MARCH);
    town.by_hand(APRIL, |by_hand| ((), by_hand.address("bousai", head).unwrap()));
    let after = PEOPLE.replace("1,山田 花子,,総務部 防災課,課長", "1,山田 花子,,総務部 住宅課,主幹");
    let after = after.replace("2,田中 太郎,,総務部 防災課,主事", "2,田中 太郎,,総務部 防災課,課長");
    town.import(&after, APRIL);
    let reached = town.known.reached(head, day(APRIL));
    assert_eq!(reached.iter().map(|holder| holder.person.called()).collect::<Vec<_>>(), ["田中 太郎"]);
}
