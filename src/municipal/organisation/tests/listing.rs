//! The directory: who is found by which letters, and in which order.

use std::collections::BTreeSet;

use super::*;
use crate::{
    Absence, Appointment, Directory, Listed, Post, PostId, RecordId, Seen, Span, Statement, Unit, What,
    limits::MAX_FOUND,
};

const APRIL: &str = "2026-04-01";

const PEOPLE: &str = "1,髙橋 花子,ﾀｶﾊｼ ﾊﾅｺ,総務部 防災課,主査,,,\n\
                      2,高橋 一郎,タカハシ イチロウ,総務部 防災課,課長,,,\n\
                      3,山田 花子,ヤマダ ハナコ,龍ヶ崎支所,主事,,,\n\
                      4,山田 花子,ヤマダ ハナコ,関が原支所,主事,,,\n\
                      5,葛󠄀城 神,カツラギ ジン,総務部,部長,,,\n";

fn directory(town: &Town) -> Directory {
    Directory::of(&town.known, day(APRIL))
}

/// All bodies that somebody of the directory is of.
fn all(directory: &Directory) -> BTreeSet<BodyId> {
    directory.people().flat_map(|listed| directory.bodies_of(listed)).collect()
}

/// Whom a search finds, with the lowest unit of each.
fn found(directory: &Directory, text: &str) -> Vec<String> {
    found_in(directory, text, &all(directory))
}

/// The same, by one who may see these bodies.
fn found_in(directory: &Directory, text: &str, bodies: &BTreeSet<BodyId>) -> Vec<String> {
    let unit = |listed: &Listed| {
        let mut posts = directory.posts(listed, Some(Seen::Bodies(bodies)));
        posts.next().map_or("", |post| post.unit_name()).to_owned()
    };
    let found = directory.search(text, Seen::Bodies(bodies), MAX_FOUND).people;
    found.iter().map(|(_, one)| format!("{} {}", one.called, unit(one))).collect()
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
    let others = self::directory(&town);
    assert_eq!(found(&others, "山田"), ["山田 花子 防災課", "佐藤 次郎 山田支所"]);
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
    assert_eq!(here.search("鈴木", Seen::Bodies(&all(&here)), 1).people[0].1.away, Some(why));
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
    let directory = directory(&town);
    let (of_staff, of_council) = (BTreeSet::from([staff.body]), BTreeSet::from([council]));
    assert_eq!(found_in(&directory, "佐藤", &of_staff), Vec::<String>::new());
    assert_eq!(found_in(&directory, "佐藤", &of_council), ["佐藤 次郎 議会"]);
    assert_eq!(found_in(&directory, "山田", &of_council), Vec::<String>::new());
    assert_eq!(directory.people().count(), 61);
    let many = directory.search("山田", Seen::Bodies(&of_staff), MAX_FOUND);
    assert_eq!((many.people.len(), many.more), (MAX_FOUND, 10));
    let few = directory.search("防災", Seen::Bodies(&of_staff), 3).people;
    assert_eq!(
        few.iter().map(|(_, one)| &*one.called).collect::<Vec<_>>(),
        ["山田 花子0", "山田 花子1", "山田 花子10"]
    );
}

#[test]
fn of_a_body_that_one_may_not_see_neither_people_nor_posts_are_found_or_counted() {
    let mut town = Town::with(
        "1,山田 花子,ヤマダ ハナコ,総務部 防災課,課長,,,\n2,田中 太郎,タナカ タロウ,総務部 人事課,主査,,,\n",
    );
    let hanako = town.person("1", APRIL);
    let brigade = town.by_hand("2020-04-01", |by_hand| by_hand.make_body("消防団").unwrap());
    let always = |what: What| Some(Statement { span: Span::ALWAYS, what });
    let (unit, post) = (UnitId(9_001), PostId(9_002));
    let squad =
        Unit { unit, body: brigade, parent: None, code: None, name: "第一分団".to_owned(), order: 1 };
    town.known.say(RecordId(9_003), always(What::Unit(squad)));
    let head = Post { post, unit, title: "分団長".to_owned(), rank: None, heads: true, order: 1 };
    town.known.say(RecordId(9_004), always(What::Post(head)));
    let beside = Appointment { person: hanako, post, tenure: Tenure::Additional, source: None };
    town.known.say(RecordId(9_005), always(What::Appointment(beside)));
    let directory = directory(&town);
    let (of_staff, of_brigade) = (BTreeSet::from([town.body()]), BTreeSet::from([brigade]));
    // Whoever is with her in the brigade knows her as what she is there, and not what else she is.
    assert_eq!(found_in(&directory, "やまだ", &of_brigade), ["山田 花子 第一分団"]);
    for text in ["防災課", "課長", "山田 総務部", "田中"] {
        assert_eq!(directory.search(text, Seen::Bodies(&of_brigade), 0).more, 0, "{text}");
    }
    assert_eq!(found_in(&directory, "山田 課長", &of_staff), ["山田 花子 防災課"]);
    assert_eq!(found_in(&directory, "分団長", &of_staff), Vec::<String>::new());
    assert_eq!(directory.search("山田", Seen::Bodies(&BTreeSet::new()), MAX_FOUND).people, []);
}

#[test]
fn a_list_is_by_reading_and_who_has_none_stands_at_its_end() {
    let town = Town::with(
        "1,作花 一,サッカ ハジメ,防災課,主事,,,\n2,夏目 二,ナツメ ジ,防災課,主事,,,\n3,岩本 三,イワモト サン,防災課,主事,,,\n\
         4,高見 四,タカミ シ,防災課,主事,,,\n5,青木 五,,防災課,主事,,,\n",
    );
    let names: Vec<_> = directory(&town).people().map(|listed| listed.called.clone()).collect();
    assert_eq!(names, ["岩本 三", "作花 一", "高見 四", "夏目 二", "青木 五"]);
    let wanted = ["岩本 三 防災課", "作花 一 防災課", "高見 四 防災課", "夏目 二 防災課", "青木 五 防災課"];
    assert_eq!(found(&directory(&town), "防災課"), wanted);
}
