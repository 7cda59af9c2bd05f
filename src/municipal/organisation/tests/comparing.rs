//! What a personnel file changes.

use super::*;
use crate::{GuardKind, Which};

#[test]
fn the_first_file_makes_units_posts_and_people() {
    let mut town = Town::new();
    let draft = town.import(
        "00123,山田 花子,ヤマダ ハナコ,総務部 防災課,課長,,2020-04-01,\n\
         00124,田中 太郎,タナカ タロウ,総務部 防災課,主事,,2021-04-01,\n\
         00125,鈴木 一郎,スズキ イチロウ,総務部,部長,,2019-04-01,\n",
        "2026-04-01",
    );
    let kinds = [Kind::New, Kind::Wrong].map(|kind| draft.count(kind));
    // Two units, three posts, three people.
    assert_eq!(kinds, [8, 0]);
    assert!(draft.guards.is_empty(), "{:?}", draft.guards);
    let (bosai, today) = (town.unit("防災課", "2026-04-01"), day("2026-04-01"));
    let path: Vec<_> = town.known.path(bosai, today).iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(path, ["総務部", "防災課"]);
    let heads: Vec<_> = town.known.heads(bosai, today).iter().map(|holder| holder.person.called()).collect();
    assert_eq!(heads, ["山田 花子"]);
    let members: Vec<_> =
        town.known.members(bosai, today).iter().map(|one| one.person.number.as_str()).collect();
    assert_eq!(members, ["00123", "00124"]);
    // Nobody was there before the day that his row says.
    assert_eq!(town.posts("00124", "2021-03-31"), Vec::<String>::new());
    assert_eq!(town.posts("00124", "2021-04-01"), ["防災課 主事"]);
}

#[test]
fn the_same_file_again_changes_nothing() {
    let rows = "1,山田 花子,ヤマダ ハナコ,総務部 防災課,課長,,2020-04-01,\n\
                2,田中 太郎,,総務部 防災課,主事,,2021-04-01,2027-03-31\n\
                2,田中 太郎,,総務部,主事,兼務,2022-04-01,\n";
    let mut town = Town::with(rows);
    let before = town.known.clone();
    let draft = town.import(rows, "2026-04-01");
    assert_eq!(draft.count(Kind::Unchanged), 2, "{draft:#?}");
    assert_eq!((draft.items.len(), town.known), (2, before));
}

#[test]
fn who_moves_is_where_he_was_until_the_day_before() {
    let mut town =
        Town::with("1,山田 花子,,防災課,主査,,2020-04-01,\n2,田中 太郎,,総務課,主事,,2020-04-01,\n");
    let draft = town.import(
        "1,山田 花子,,総務課,係長,,2026-04-01,\n2,田中 太郎,,総務課,主事,,2020-04-01,\n",
        // The file comes in March; it speaks of April by its rows.
        "2026-03-20",
    );
    let told = "総務課 係長(令和8年4月1日から) / 防災課 主査は令和8年3月31日まで";
    assert_eq!(of(&draft, "1 "), (Kind::Moved, told.to_owned()));
    assert_eq!(of(&draft, "2 ").0, Kind::Unchanged);
    assert_eq!(town.posts("1", "2026-03-31"), ["防災課 主査"]);
    assert_eq!(town.posts("1", "2026-04-01"), ["総務課 係長"]);
}

#[test]
fn a_day_of_employment_in_the_column_of_days_makes_no_past_anew() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,2001-04-01,\n");
    town.import("1,山田 花子,,総務課,主査,,2001-04-01,\n", "2023-04-01");
    town.import("1,山田 花子,,税務課,主査,,2001-04-01,\n", "2026-04-01");
    assert_eq!(town.posts("1", "2023-03-31"), ["防災課 主査"]);
    assert_eq!(town.posts("1", "2026-03-31"), ["総務課 主査"]);
    assert_eq!(town.posts("1", "2026-04-01"), ["税務課 主査"]);
}

#[test]
fn a_contract_that_is_renewed_is_no_end() {
    let mut town = Town::with(
        "1,山田 花子,,防災課,事務補助,,2025-04-01,2026-03-31\n2,田中 太郎,,防災課,課長,,2020-04-01,\n",
    );
    let boss = "2,田中 太郎,,防災課,課長,,2020-04-01,\n";
    // Both contracts in one file, the new one alone, and the new one some days late: all the same.
    for (rows, on) in [
        (
            "1,山田 花子,,防災課,事務補助,,2025-04-01,2026-03-31\n1,山田 花子,,防災課,事務補助,,2026-04-01,2027-03-31\n",
            "2026-03-20",
        ),
        ("1,山田 花子,,防災課,事務補助,,2026-04-01,2027-03-31\n", "2026-04-01"),
        ("1,山田 花子,,防災課,事務補助,,2026-04-01,2027-03-31\n", "2026-04-05"),
    ] {
        let before = town.known.clone();
        let draft = town.import(&format!("{rows}{boss}"), on);
        assert_eq!(
            of(&draft, "1 "),
            (Kind::Changed, "防災課 事務補助: 令和9年3月31日まで".to_owned()),
            "{on}"
        );
        let posts = town.known.posts_of(town.person("1", "2026-04-01"), day("2026-04-01"));
        // One appointment, from the first day of the first contract.
        assert_eq!(posts[0].span.from(), Some(day("2025-04-01")), "{on}");
        town.known = before;
    }
    // To another post it is a transfer, and no end either.
    let draft =
        town.import(&format!("1,山田 花子,,税務課,事務補助,,2026-04-01,2027-03-31\n{boss}"), "2026-04-01");
    assert_eq!(of(&draft, "1 ").0, Kind::Moved);
}

#[test]
fn an_additional_post_comes_and_goes_with_its_days() {
    let main = "1,山田 花子,,防災課,主査,,2020-04-01,\n";
    let mut town = Town::with(main);
    let draft = town.import(&format!("{main}1,山田 花子,,税務課,主査,兼務,2026-04-01,\n"), "2026-04-01");
    assert_eq!(of(&draft, "1 "), (Kind::Moved, "兼務 税務課 主査(令和8年4月1日から)".to_owned()));
    town.import(main, "2026-10-01");
    assert_eq!(town.posts("1", "2026-03-31"), ["防災課 主査"]);
    assert_eq!(town.posts("1", "2026-09-30"), ["防災課 主査", "+税務課 主査"]);
    assert_eq!(town.posts("1", "2026-10-01"), ["防災課 主査"]);
}

#[test]
fn who_is_no_more_in_the_file_ends_and_who_was_refused_does_not() {
    let mut town =
        Town::with("1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,,\n3,鈴木 一郎,,防災課,主事,,,\n");
    // 2 is there with a day that is none, and 3 is gone.
    let draft =
        town.import("1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,2026-02-30,\n", "2026-04-01");
    assert_eq!(of(&draft, "3 "), (Kind::Ended, "防災課 主事は令和8年3月31日まで".to_owned()));
    assert_eq!(of(&draft, "2").0, Kind::Wrong);
    assert_eq!(town.posts("2", "2026-04-01"), ["防災課 主事"]);
    assert_eq!(town.posts("3", "2026-03-31"), ["防災課 主事"]);
    assert!(!town.known.serves_from(town.person("3", "2026-04-01"), day("2026-04-01")));
}

#[test]
fn while_a_row_has_no_number_nobody_ends() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,,\n");
    let draft = town.import("1,山田 花子,,防災課,主査,,,\n,田中 太郎,,防災課,主事,,,\n", "2026-04-01");
    assert_eq!(draft.count(Kind::Ended), 0);
    assert_eq!(draft.guards.iter().map(|guard| guard.kind).collect::<Vec<_>>(), [GuardKind::Unread]);
    assert_eq!(town.posts("2", "2026-04-01"), ["防災課 主事"]);
}

#[test]
fn another_source_and_what_was_written_here_are_left_alone() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,,\n");
    let staff = town.source.clone();
    town.source.name = "臨時職員名簿".to_owned();
    town.import("900,佐藤 次郎,,防災課,事務補助,,,\n", "2026-04-01");
    assert_eq!(town.posts("1", "2026-04-01"), ["防災課 主査"]);
    town.source = staff;
    let draft = town.import("1,山田 花子,,防災課,主査,,,\n", "2026-05-01");
    assert_eq!(
        (draft.count(Kind::Ended), town.posts("900", "2026-05-01")),
        (0, vec!["防災課 事務補助".to_owned()])
    );

    // Nor does a file of one end what the other says of the same person.
    let staff = std::mem::replace(&mut town.source.name, "併任名簿".to_owned());
    town.import("1,山田 花子,,税務課,主査,兼務,2026-06-01,\n", "2026-06-01");
    town.source.name = staff;
    town.import("1,山田 花子,,総務課,主査,,2026-07-01,\n", "2026-07-01");
    assert_eq!(town.posts("1", "2026-07-01"), ["総務課 主査", "+税務課 主査"]);
}

#[test]
fn a_marriage_renames_and_keeps_the_name_of_before_on_its_days() {
    let mut town = Town::with("1,山田 花子,ヤマダ ハナコ,防災課,主査,,,\n");
    let draft = town.import("1,佐藤 花子,サトウ ハナコ,防災課,主査,,,\n", "2026-06-01");
    assert_eq!(
        of(&draft, "1 "),
        (
            Kind::Renamed,
            "氏名「山田 花子」→「佐藤 花子」 / フリガナ「ヤマダ ハナコ」→「サトウ ハナコ」".to_owned()
        )
    );
    let person = town.person("1", "2026-06-01");
    assert_eq!(town.person("1", "2026-05-31"), person);
    let called = |on| town.known.person(person, day(on)).unwrap().called().to_owned();
    assert_eq!(
        (called("2026-05-31"), called("2026-06-01")),
        ("山田 花子".to_owned(), "佐藤 花子".to_owned())
    );
}

#[test]
fn a_file_by_the_name_used_at_work_leaves_the_legal_one() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,,\n");
    town.import("1,佐藤 花子,,防災課,主査,,,\n", "2026-06-01");
    let person = town.person("1", "2026-06-01");
    town.by_hand("2026-07-01", |by_hand| ((), by_hand.use_name(person, Some("山田 花子")).unwrap()));
    let draft = town.import("1,山田 花子,,防災課,主査,,,\n", "2026-08-01");
    assert_eq!(of(&draft, "1 ").0, Kind::Unchanged);
    let name = |on| {
        let person = town.known.person(person, day(on)).unwrap();
        (person.name.clone(), person.called().to_owned())
    };
    assert_eq!(name("2026-07-01"), ("佐藤 花子".to_owned(), "山田 花子".to_owned()));
    assert_eq!(name("2026-06-30"), ("佐藤 花子".to_owned(), "佐藤 花子".to_owned()));
    // Taken back, it holds until the day before.
    town.by_hand("2026-10-01", |by_hand| ((), by_hand.use_name(person, None).unwrap()));
    let name = |on| {
        let person = town.known.person(person, day(on)).unwrap();
        (person.name.clone(), person.called().to_owned())
    };
    assert_eq!(name("2026-09-30"), ("佐藤 花子".to_owned(), "山田 花子".to_owned()));
    assert_eq!(name("2026-10-01"), ("佐藤 花子".to_owned(), "佐藤 花子".to_owned()));
}

#[test]
fn a_number_with_another_name_waits_for_somebody_to_say_whose_it_is() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,,\n");
    let first = town.person("2", "2026-01-01");
    let rows = "1,山田 花子,,防災課,主査,,,\n2,鈴木 一郎,,防災課,主事,,,\n";
    let draft = town.import(rows, "2026-04-01");
    let (kind, told) = of(&draft, "2 ");
    assert!(kind == Kind::Wrong && told.contains("「田中 太郎」"), "{told}");
    assert_eq!(town.posts("2", "2026-04-01"), ["防災課 主事"], "he who has it stays");

    // While he is there it cannot be another's.
    let mut terms = Town::terms("2026-04-01");
    terms.which.insert("2".to_owned(), Which::Other);
    assert!(of(&town.compare(rows, &terms), "2 ").1.contains("まだ在職中"));
    town.import("1,山田 花子,,防災課,主査,,,\n", "2026-04-01");
    terms.day = day("2026-10-01");
    assert_eq!(of(&town.import_on(rows, &terms), "2 ").0, Kind::New);
    let second = town.person("2", "2026-10-01");
    assert!(second != first && town.person("2", "2026-09-30") == first);

    // The same person it is if somebody says so.
    let mut town = Town::with("2,田中 太郎,,防災課,主事,,,\n");
    let mut terms = Town::terms("2026-04-01");
    terms.which.insert("2".to_owned(), Which::Same);
    assert_eq!(of(&town.import_on("2,鈴木 一郎,,防災課,主事,,,\n", &terms), "2 ").0, Kind::Renamed);
}

#[test]
fn who_comes_back_with_his_number_and_name_is_himself() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,,\n");
    let person = town.person("2", "2026-01-01");
    town.import("1,山田 花子,,防災課,主査,,,\n", "2025-04-01");
    let draft = town.import("1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,,\n", "2026-04-01");
    assert_eq!(of(&draft, "2 ").0, Kind::Returned);
    assert_eq!(town.person("2", "2026-04-01"), person);
    assert_eq!(town.posts("2", "2025-10-01"), Vec::<String>::new(), "the year between stays empty");
}

#[test]
fn numbers_that_lost_their_zeros_end_nobody_and_make_nobody_new() {
    let mut town = Town::with("00123,山田 花子,,防災課,主査,,,\n00124,田中 太郎,,防災課,主事,,,\n");
    let draft = town.import("123,山田 花子,,防災課,主査,,,\n124,田中 太郎,,防災課,主事,,,\n", "2026-04-01");
    assert_eq!((draft.count(Kind::Wrong), draft.items.len()), (2, 2));
    assert!(of(&draft, "123 ").1.contains("00123 は 山田 花子 さんの番号"));
}

#[test]
fn an_empty_or_much_too_short_file_has_guards() {
    let everybody: String = (1..=50).map(|n| format!("{n},山田 花子{n},,防災課,主事,,,\n")).collect();
    let mut town = Town::with(&everybody);
    let two_less = everybody.lines().take(48).map(|row| format!("{row}\n")).collect::<String>();
    let terms = Town::terms("2026-04-01");
    assert!(town.compare(&two_less, &terms).guards.is_empty());
    let three_less = everybody.lines().take(47).map(|row| format!("{row}\n")).collect::<String>();
    let kinds = |draft: &Draft| draft.guards.iter().map(|guard| guard.kind).collect::<Vec<_>>();
    let draft = town.compare(&three_less, &terms);
    assert_eq!(kinds(&draft), [GuardKind::ManyEnd]);
    assert!(draft.guards[0].told.ja.contains("50 人のうち 3 人"), "{}", draft.guards[0].told.ja);
    let intake = Intake { rows: Vec::new(), ..read(&format!("{HEADER}{everybody}")) };
    let draft = compare(&town.known, &town.source, &intake, &terms, &mut town.ids);
    assert_eq!(kinds(&draft), [GuardKind::Empty, GuardKind::ManyEnd, GuardKind::UnitEmptied]);
}

#[test]
fn of_twelve_thousand_rows_with_one_stray_quote_one_is_wrong_and_nobody_ends() {
    let row = |number: u32| format!("{number:05},山田 花子,,防災課,主事,,,\n");
    let rows = |quoted: u32| -> String {
        (1..=12_000)
            .map(|n| if n == quoted { format!("{n:05},\"山田 花子,,防災課,主事,,,\n") } else { row(n) })
            .collect()
    };
    let mut town = Town::with(&rows(0));
    // Of the second row of the table on, where the header is the first.
    let intake = read(&format!("{HEADER}{}", rows(2_339)));
    assert_eq!((intake.rows.len(), intake.problems.len(), intake.problems[0].place.row), (11_999, 1, 2_340));
    assert!(intake.rows.iter().all(|row| row.name == "山田 花子"));
    let before = town.known.clone();
    let draft = town.compare(&rows(2_339), &Town::terms("2026-04-01"));
    // Whose row it is cannot be known, so nobody is taken for gone.
    assert_eq!((draft.count(Kind::Ended), draft.count(Kind::New)), (0, 0));
    assert_eq!(draft.guards.iter().map(|guard| guard.kind).collect::<Vec<_>>(), [GuardKind::Unread]);
    assert_eq!(town.posts("02339", "2026-04-01"), ["防災課 主事"]);
    assert_eq!(town.known.records().count(), before.records().count(), "until somebody agrees");
}

#[test]
fn a_kanji_with_a_selector_and_one_without_are_the_same_persons_name() {
    let mut town = Town::with("1,葛城 花子,,防災課,主査,,,\n2,田中 太郎,,税務課,主査,,,\n");
    let person = town.person("1", "2026-01-01");
    for (name, on) in [
        ("葛\u{e0100}城 花子", "2026-04-01"),
        ("葛\u{e0101}城 花子", "2026-05-01"),
        ("葛城 花子", "2026-06-01"),
    ] {
        let draft = town.import(&format!("1,{name},,防災課,主査,,,\n2,田中 太郎,,税務課,主査,,,\n"), on);
        assert_eq!(
            (draft.count(Kind::Wrong), draft.count(Kind::New), draft.count(Kind::Ended)),
            (0, 0, 0),
            "{name}"
        );
        assert_eq!(town.person("1", on), person);
    }
    // Another source of the same people says it with the selector.
    let staff = std::mem::replace(&mut town.source.name, "併任名簿".to_owned());
    let draft = town.import("1,葛\u{e0100}城 花子,,税務課,主査,兼務,2026-07-01,\n", "2026-07-01");
    assert_eq!((draft.count(Kind::Wrong), draft.count(Kind::New)), (0, 0), "{draft:#?}");
    town.source.name = staff;
    assert_eq!(town.person("1", "2026-07-01"), person);
}

#[test]
fn a_wave_dash_and_a_wide_tilde_are_one_units_name() {
    let mut town = Town::with("1,山田 花子,,学び\u{301c}ん課,主査,,,\n");
    let draft = town.import("1,山田 花子,,学び\u{ff5e}ん課,主査,,,\n", "2026-04-01");
    assert_eq!(
        (draft.count(Kind::New), draft.count(Kind::Moved), draft.count(Kind::Wrong)),
        (0, 0, 0),
        "{draft:#?}"
    );
    assert_eq!(town.known.top_units(town.body(), day("2026-04-01")).len(), 1);
}

#[test]
fn a_unit_of_several_that_is_gone_from_a_file_has_a_guard_and_its_people_are_not_lost() {
    let unit = |unit: u32| -> String {
        (1..=12).map(|n| format!("{},山田 花子,,第{unit}課,主事,,,\n", unit * 100 + n)).collect()
    };
    let all: String = (1..=30).map(unit).collect();
    let mut town = Town::with(&all);
    let without: String = (1..=29).map(unit).collect();
    let draft = town.compare(&without, &Town::terms("2026-04-01"));
    let emptied: Vec<_> = draft.guards.iter().filter(|guard| guard.kind == GuardKind::UnitEmptied).collect();
    assert!(emptied.len() == 1 && emptied[0].told.ja.contains("第30課"), "{:#?}", draft.guards);
    // Where its people are in another unit's rows, they are there, and nobody is without.
    let moved = all.replace("第30課", "第1課");
    town.import(&moved, "2026-04-01");
    for number in 3_001..=3_012 {
        assert_eq!(town.posts(&number.to_string(), "2026-04-01"), ["第1課 主事"]);
    }
}

#[test]
fn numbers_that_are_two_peoples_are_told_and_change_nothing() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,,\n");
    let rows = "1,山田 花子,,防災課,主査,,,\n2,田中 太郎,,防災課,主事,,,\n2,鈴木 一郎,,税務課,主事,,,\n";
    let draft = town.import(rows, "2026-04-01");
    assert!(draft.guards.iter().any(|guard| guard.kind == GuardKind::Duplicates));
    assert_eq!(
        (of(&draft, "2").0, town.posts("2", "2026-04-01")),
        (Kind::Wrong, vec!["防災課 主事".to_owned()])
    );
}

#[test]
fn a_unit_that_is_not_known_is_made_only_where_that_is_wished() {
    let mut town = Town::with("1,山田 花子,,総務部 防災課,主査,,,\n");
    let terms = Terms::of(day("2026-04-01"));
    let draft = town.import_on("1,山田 花子,,総務部 防災科,主査,,,\n", &terms);
    assert!(of(&draft, "1 ").1.contains("「総務部 防災科」という所属はまだありません"));
    assert_eq!(town.posts("1", "2026-04-01"), ["防災課 主査"], "nothing is done, and nobody ends");
}

#[test]
fn of_units_with_one_name_the_row_has_to_say_which() {
    let mut town = Town::with("1,山田 花子,,総務部 庶務係,係長,,,\n2,田中 太郎,,建設部 庶務係,係長,,,\n");
    let draft =
        town.import("1,山田 花子,,庶務係,主査,,,\n2,田中 太郎,,建設部 庶務係,係長,,,\n", "2026-04-01");
    assert!(of(&draft, "1 ").1.contains("「庶務係」という所属が複数あります"));
}

#[test]
fn a_unit_is_renamed_by_its_code_if_all_rows_say_so() {
    let with_codes = |rows: &str| read(&format!("職員番号,氏名,所属コード,所属,職名\n{rows}"));
    let mut town = Town::new();
    let terms = Town::terms("2020-04-01");
    let intake = with_codes("1,山田 花子,0101,防災課,課長\n2,田中 太郎,0101,防災課,主事\n");
    let draft = compare(&town.known, &town.source, &intake, &terms, &mut town.ids);
    apply(&mut town.known, &draft.items);
    let unit = town.unit("防災課", "2020-04-01");

    let intake = with_codes("1,山田 花子,0101,危機管理課,課長\n2,田中 太郎,0101,危機管理課,主事\n");
    let draft = compare(&town.known, &town.source, &intake, &Town::terms("2026-04-01"), &mut town.ids);
    assert_eq!((of(&draft, "防災課").0, draft.count(Kind::Unchanged)), (Kind::Renamed, 2));
    apply(&mut town.known, &draft.items);
    assert_eq!(town.unit("危機管理課", "2026-04-01"), unit);
    assert_eq!(town.unit("防災課", "2026-03-31"), unit);

    // Rows that do not agree are wrong, those that name it as it is called are not.
    let intake = with_codes("1,山田 花子,0101,危機管理課,課長\n2,田中 太郎,0101,税務課,主事\n");
    let draft = compare(&town.known, &town.source, &intake, &Town::terms("2026-05-01"), &mut town.ids);
    assert_eq!((of(&draft, "1 ").0, of(&draft, "2 ").0), (Kind::Unchanged, Kind::Wrong));
}

#[test]
fn what_is_planned_stays_until_a_file_speaks_of_later_days() {
    // The contract of 2 makes the column of ends one that says something, and of 1 that there is none.
    let now = "1,山田 花子,,防災課,主査,,2020-04-01,\n2,田中 太郎,,防災課,主事,,2020-04-01,2027-03-31\n";
    let (_, taro) = now.split_once('\n').unwrap();
    let mut town = Town::with(now);
    town.import(&format!("1,山田 花子,,税務課,係長,,2026-04-01,\n{taro}"), "2026-03-01");
    // The nightly file of March knows nothing of April.
    let draft = town.import(now, "2026-03-15");
    assert_eq!(of(&draft, "1 ").0, Kind::Unchanged, "{draft:#?}");
    assert_eq!(town.posts("1", "2026-04-01"), ["税務課 係長"]);
    // Another plan takes the place of the first.
    town.import("1,山田 花子,,総務課,係長,,2026-04-01,\n", "2026-03-20");
    assert_eq!(town.posts("1", "2026-03-31"), ["防災課 主査"]);
    assert_eq!(town.posts("1", "2026-04-01"), ["総務課 係長"]);
}

#[test]
fn an_account_is_kept_and_never_another_persons() {
    let with_accounts = |rows: &str| read(&format!("職員番号,氏名,所属,アカウント名\n{rows}"));
    let mut town = Town::new();
    let intake = with_accounts("1,山田 花子,防災課,hanako\n2,田中 太郎,防災課,taro\n");
    let draft = compare(&town.known, &town.source, &intake, &Town::terms("2020-04-01"), &mut town.ids);
    apply(&mut town.known, &draft.items);
    assert_eq!(town.known.owner("hanako"), Some(town.person("1", "2020-04-01")));
    let intake =
        with_accounts("1,山田 花子,防災課,yamada\n2,田中 太郎,防災課,taro\n3,鈴木 一郎,防災課,ichiro\n");
    let draft = compare(&town.known, &town.source, &intake, &Town::terms("2026-04-01"), &mut town.ids);
    assert!(of(&draft, "1 ").1.contains("hanako から変えられません"));
    // Nor is one that was somebody's given to another.
    let intake = with_accounts("2,田中 太郎,防災課,taro\n3,鈴木 一郎,防災課,hanako\n");
    let draft = compare(&town.known, &town.source, &intake, &Town::terms("2026-04-01"), &mut town.ids);
    let (kind, told) = of(&draft, "3 ");
    assert!(kind == Kind::Wrong && told.contains("「hanako」はほかの職員のもの"), "{told}");
}

#[test]
fn a_file_of_a_later_day_that_comes_twice_ends_nothing_early() {
    let mut town = Town::with("1,山田 花子,,防災課,主査,,2020-04-01,\n");
    let rows = "1,山田 花子,,税務課,係長,,2026-04-01,\n";
    town.import(rows, "2026-03-01");
    assert_eq!(of(&town.import(rows, "2026-03-10"), "1 ").0, Kind::Unchanged);
    assert_eq!(town.posts("1", "2026-03-31"), ["防災課 主査"]);
}

#[test]
fn a_source_with_a_name_beyond_the_bound_does_nothing() {
    let mut town = Town::new();
    town.source.name = "源".repeat(101);
    let draft = town.import("1,山田 花子,,防災課,主査,,,\n", "2026-04-01");
    assert_eq!(of(&draft, "1 ").0, Kind::Wrong);
}
