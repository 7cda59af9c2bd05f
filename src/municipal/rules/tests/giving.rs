//! What rules want of an organisation.

use super::*;
use crate::Standing::{Member, Moderator, Predecessor};

#[tokio::test]
async fn a_unit_of_the_kind_has_its_room_with_who_has_a_post_in_it() {
    let town = Town::with(FIVE).await;
    town.set(&sections()).await;
    let wanted = town.wanted("2026-03-01").await;
    assert_eq!(names(&wanted), ["人事課 連絡", "防災課 連絡"]);
    assert_eq!(wanted.rooms[1].topic.as_deref(), Some("総務部 防災課"));
    let bosai = BTreeMap::from([("bosai".to_owned(), Member), ("bosai-cho".to_owned(), Moderator)]);
    assert_eq!(people(&wanted, "防災課 連絡"), bosai);
    assert_eq!(wanted.rooms[0].parent, None);
}

#[tokio::test]
async fn who_is_below_is_in_the_room_above_and_rooms_are_found_in_the_space_of_their_unit_or_the_next_above()
{
    let town = Town::with(FIVE).await;
    let rule = town.set(&sections()).await;
    let above = town.set(&departments()).await;
    let wanted = town.wanted("2026-03-01").await;
    assert_eq!(names(&wanted), ["総務部", "人事課 連絡", "防災課 連絡"]);
    assert_eq!(people(&wanted, "総務部").len(), 5);
    assert_eq!(people(&wanted, "総務部")["bosai-cho"], Member);
    assert_eq!(people(&wanted, "総務部")["bucho"], Moderator);
    let space = &wanted.rooms[0].place;
    assert_eq!((space.rule, wanted.rooms[1].place.rule), (above, rule));
    assert_eq!(wanted.rooms[1].parent.as_ref(), Some(space));
    assert_eq!(wanted.rooms[0].parent, None);
}

#[tokio::test]
async fn units_are_chosen_by_depth_name_body_and_what_is_above_them() {
    let town = Town::with(FIVE).await;
    let names_of = async |units: Value| {
        let town = &town;
        let wish = json!({ "title": "t", "units": units, "rooms": [{ "key": "a", "name": "{unit}" }] });
        let organisation = town.organisation().await;
        let mut book = crate::Book::default();
        let says = parse(&wish).resolve(&organisation, day("2026-03-01")).map_err(|words| words.ja)?;
        let span = organisation::Span::ALWAYS;
        book.say(RuleId(1), crate::Entry { at: Timestamp(1), by: String::new(), span, says: Some(says) });
        let wanted = wanted(&organisation, &book, &accounts(&organisation), day("2026-03-01"));
        Ok::<_, String>(wanted.rooms.into_iter().map(|room| room.name).collect::<Vec<_>>())
    };
    assert_eq!(names_of(json!({})).await.unwrap(), ["総務部", "人事課", "防災課"]);
    assert_eq!(names_of(json!({ "depth": [1, 16] })).await.unwrap(), ["人事課", "防災課"]);
    assert_eq!(names_of(json!({ "named": ["防災*", "*部"] })).await.unwrap(), ["総務部", "防災課"]);
    assert_eq!(names_of(json!({ "body": "首長部局", "below": "人事課" })).await.unwrap(), ["人事課"]);
    assert!(names_of(json!({ "body": "教育委員会" })).await.unwrap_err().contains("教育委員会"));
    assert!(names_of(json!({ "below": "消防課" })).await.unwrap_err().contains("消防課"));
}

#[tokio::test]
async fn moderators_are_by_title_and_where_nobody_has_the_post_the_unit_above_is_asked() {
    // 人事課 has nobody who heads it, and 防災課 an additional post of who heads another.
    let rows = "\
1,部長 一,総務部,部長,,2020-04-01,bucho\n\
2,課長 二,総務部　防災課,課長,,2020-04-01,bosai-cho\n\
3,主査 三,総務部　防災課,主査,,2020-04-01,bosai\n\
5,主査 五,総務部　人事課,主査,,2020-04-01,jinji\n\
5,主査 五,総務部　防災課,主査,○,2020-04-01,jinji\n";
    let town = Town::with(rows).await;
    let mut by_title = sections();
    by_title["moderators"] = json!({ "heads": false, "titles": ["主*"] });
    town.set(&by_title).await;
    let wanted = town.wanted("2026-03-01").await;
    let is = |name: &str| people(&wanted, name);
    // 兼務 counts as the main post does: in both rooms (T4).
    assert_eq!(is("防災課 連絡")["jinji"], Moderator);
    assert_eq!(is("防災課 連絡")["bosai-cho"], Member);

    let town = Town::with(rows).await;
    town.set(&sections()).await;
    let wanted = town.wanted("2026-03-01").await;
    let jinji = BTreeMap::from([("bucho".to_owned(), Moderator), ("jinji".to_owned(), Member)]);
    assert_eq!(people(&wanted, "人事課 連絡"), jinji);
}

#[tokio::test]
async fn whoever_has_no_account_or_a_closed_one_is_nowhere_and_moderates_nothing() {
    let town = Town::with(&FIVE.replace("bosai-cho", "")).await;
    town.set(&sections()).await;
    let wanted = town.wanted("2026-03-01").await;
    let bosai = BTreeMap::from([("bosai".to_owned(), Member), ("bucho".to_owned(), Moderator)]);
    assert_eq!(people(&wanted, "防災課 連絡"), bosai);
}

#[tokio::test]
async fn a_day_has_its_rules_and_its_people_and_the_days_before_stay_as_they_were() {
    let town = Town::with(FIVE).await;
    let rule = town.set(&sections()).await;
    let mut later = sections();
    later["rooms"][0]["name"] = json!("{unit}の部屋");
    town.set_from(&later, Some(rule), Some("2026-06-01")).await;
    let moved = FIVE
        .replace("3,主査 三,総務部　防災課,主査,,2020-04-01", "3,主査 三,総務部　人事課,主査,,2026-04-01");
    town.at("2026-04-01");
    town.take(&moved, "2026-04-01").await;

    let before = town.wanted("2026-03-31").await;
    assert_eq!(people(&before, "防災課 連絡")["bosai"], Member);
    assert!(!people(&before, "人事課 連絡").contains_key("bosai"));
    let after = town.wanted("2026-04-01").await;
    assert_eq!(people(&after, "防災課 連絡")["bosai"], Predecessor);
    assert_eq!(people(&after, "人事課 連絡")["bosai"], Member);
    // The thirtieth day is the last.
    assert_eq!(people(&town.wanted("2026-04-30").await, "防災課 連絡")["bosai"], Predecessor);
    assert!(!people(&town.wanted("2026-05-01").await, "防災課 連絡").contains_key("bosai"));
    assert_eq!(names(&town.wanted("2026-06-01").await), ["人事課の部屋", "防災課の部屋"]);
    assert_eq!(names(&town.wanted("2026-05-31").await), ["人事課 連絡", "防災課 連絡"]);

    let (book, _) = town.rules.book(kanazawa()).await.unwrap();
    assert_eq!(book.history(rule).len(), 2);
    assert!(book.as_known(Timestamp(0)).is_empty());
}

#[tokio::test]
async fn a_contract_that_goes_on_is_no_hand_over() {
    // 会計年度任用 (T1): one row ends on 31 March, the next begins on 1 April.
    let town = Town::new().await;
    let file = |from: &str, until: &str| {
        let header = HEADER.trim_end();
        format!(
            "{header},任期満了日,任用区分\n3,主査 三,総務部　防災課,主査,,{from},bosai,{until},会計年度任用職員\n"
        )
    };
    town.take_file(&file("2025-04-01", "2026-03-31"), "2026-03-01").await;
    town.set(&sections()).await;
    town.at("2026-04-01");
    town.take_file(&file("2026-04-01", "2027-03-31"), "2026-04-01").await;
    for on in ["2026-03-31", "2026-04-01"] {
        assert_eq!(people(&town.wanted(on).await, "防災課 連絡")["bosai"], Member, "{on}");
    }
}

#[tokio::test]
async fn who_leaves_for_good_hands_nothing_over() {
    let town = Town::with(FIVE).await;
    town.set(&sections()).await;
    let rest: String =
        FIVE.lines().filter(|row| !row.starts_with("3,")).map(|row| format!("{row}\n")).collect();
    town.at("2026-04-01");
    town.take(&rest, "2026-04-01").await;
    assert!(!people(&town.wanted("2026-04-01").await, "防災課 連絡").contains_key("bosai"));
}
