//! The directory: who is found by which letters, and in which order.

use super::*;
use crate::{Absence, Directory, limits::MAX_FOUND};

const APRIL: &str = "2026-04-01";

const PEOPLE: &str = "1,髙橋 花子,ﾀｶﾊｼ ﾊﾅｺ,総務部 防災課,主査,,,\n\
                      2,高橋 一郎,タカハシ イチロウ,総務部 防災課,課長,,,\n\
                      3,山田 花子,ヤマダ ハナコ,龍ヶ崎支所,主事,,,\n\
                      4,山田 花子,ヤマダ ハナコ,関が原支所,主事,,,\n\
                      5,葛󠄀城 神,カツラギ ジン,総務部,部長,,,\n";

fn directory(town: &Town) -> Directory {
    Directory::of(&town.known, &[town.body()], day(APRIL))
}

/// Whom a search finds, with the lowest unit of each.
fn found(directory: &Directory, text: &str) -> Vec<String> {
    let found = directory.search(text).people;
    found.iter().map(|one| format!("{} {}", one.called, one.posts[0].path.last().unwrap())).collect()
}

#[test]
fn people_are_found_by_whatever_letters_stand_for_theirs() {
    let town = Town::with(PEOPLE);
    let directory = directory(&town);
    let both = ["高橋 一郎 防災課", "髙橋 花子 防災課"];
    // Of those whose name begins so the higher post comes first.
    for text in ["高橋", "髙橋", "ﾀｶﾊｼ", "たかはし", "タカハシ", "防災課 高橋", "高橋　防災"]
    {
        assert_eq!(found(&directory, text), both, "{text}");
    }
    for text in ["髙橋花子", "高橋 花子", "花子 高橋", "たかはしはなこ", "高橋 主査"] {
        assert_eq!(found(&directory, text), ["髙橋 花子 防災課"], "{text}");
    }
    for text in ["龍ケ崎", "龍ヶ崎", "竜ケ崎", "龍ｹ崎", "竜が崎"] {
        assert_eq!(found(&directory, text), ["山田 花子 龍ヶ崎支所"], "{text}");
    }
    for text in ["関ケ原", "関ヶ原", "関が原"] {
        assert_eq!(found(&directory, text), ["山田 花子 関が原支所"], "{text}");
    }
    for text in ["葛城", "葛\u{e0101}城", "\u{845b}城 \u{fa19}"] {
        assert_eq!(found(&directory, text), ["葛\u{e0100}城 神 総務部"], "{text}");
    }
    for text in ["", " \u{3000}", "佐藤", "高橋 佐藤", "\u{200b}"] {
        assert_eq!(found(&directory, text), Vec::<String>::new(), "{text:?}");
    }
}

#[test]
fn who_is_in_a_unit_is_found_by_it_the_higher_first() {
    let town = Town::with(PEOPLE);
    let directory = directory(&town);
    let wanted = ["葛\u{e0100}城 神 総務部", "高橋 一郎 防災課", "髙橋 花子 防災課"];
    assert_eq!(found(&directory, "総務部"), wanted);
    assert_eq!(found(&directory, "総務部防災課"), wanted[1..]);
    // Two of one name are two, told apart by their units.
    assert_eq!(found(&directory, "やまだ"), ["山田 花子 龍ヶ崎支所", "山田 花子 関が原支所"]);
    // Who is called so comes before who is in a unit that is, be his post the higher.
    let town = Town::with("1,佐藤 次郎,,山田支所,支所長,,,\n2,山田 花子,,防災課,主事,,,\n");
    let directory = Directory::of(&town.known, &[town.body()], day(APRIL));
    assert_eq!(found(&directory, "山田"), ["山田 花子 防災課", "佐藤 次郎 山田支所"]);
}

#[test]
fn a_legal_name_that_is_not_used_finds_nobody_and_who_left_is_not_listed() {
    let mut town = Town::with(PEOPLE);
    let hanako = town.person("1", APRIL);
    town.by_hand("2026-03-01", |by_hand| ((), by_hand.use_name(hanako, Some("鈴木 花子")).unwrap()));
    let why = Absence::Suspended;
    town.by_hand("2026-03-02", |by_hand| ((), by_hand.away(hanako, why.clone(), None).unwrap()));
    let here = directory(&town);
    assert_eq!(found(&here, "髙橋 主査"), Vec::<String>::new());
    assert_eq!(here.search("鈴木").people[0].away, Some(why));
    assert_eq!(here.people().count(), 5);

    town.import("2,高橋 一郎,タカハシ イチロウ,総務部 防災課,課長,,,\n", "2026-03-31");
    assert_eq!(directory(&town).people().count(), 1);
}

#[test]
fn a_directory_has_the_people_of_its_bodies_and_an_answer_its_bound() {
    let mut town =
        Town::with(&(0..60).map(|n| format!("{n},山田 花子{n},,防災課,主事,,,\n")).collect::<String>());
    let council = town.by_hand("2020-04-01", |by_hand| by_hand.make_body("議会").unwrap());
    let staff = std::mem::replace(&mut town.source, Source { name: "議員名簿".to_owned(), body: council });
    town.import("1,佐藤 次郎,,議会,議員,,,\n", "2020-04-01");
    let directory = |bodies: &[BodyId]| Directory::of(&town.known, bodies, day(APRIL));
    assert_eq!(found(&directory(&[staff.body]), "佐藤"), Vec::<String>::new());
    assert_eq!(found(&directory(&[council]), "佐藤"), ["佐藤 次郎 議会"]);
    let both = directory(&[council, staff.body, council]);
    assert_eq!(both.people().count(), 61);
    let many = both.search("山田");
    assert_eq!((many.people.len(), many.more), (MAX_FOUND, 10));
}
