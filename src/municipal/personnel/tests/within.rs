//! Who sees to a part of the organisation is told of that alone, and changes nothing else.

use organisation::{Scope, UnitId};

use super::*;
use crate::{Act, Edit, Tried};

const PEOPLE: &str = "\
00001,山田　花子,,総務部　防災課,課長,R2.4.1\r\n\
00002,髙橋 一郎,,総務部　防災課,主査,R2.4.1\r\n\
00003,鈴木 次郎,,税務部　庶務係,係長,R2.4.1\r\n\
00004,佐藤 三郎,,税務部,部長,R2.4.1\r\n";

const TODAY: &str = "2026-03-31";

impl Town {
    /// With these people, and the part that a unit is.
    async fn of(unit: &str) -> (Self, Scope) {
        let town = Self::new().await;
        town.take(file(PEOPLE), TODAY).await;
        let scope = town.desk.scope_named(kanazawa(), unit.to_owned()).await.unwrap();
        (town, scope)
    }

    async fn tried_within(&self, scope: &Scope, json: &str, on: &str) -> Result<Tried, Error> {
        let acts: Vec<Act> = serde_json::from_str(json).unwrap();
        let edit = Edit { acts, day: Some(day(on)), at: None, within: Some(scope.clone()) };
        // What is tried is what would be done.
        let done = self.ask(Order::Try(Box::new(edit.clone()))).await;
        if done.is_err() {
            let sets = self.sets().await;
            assert!(self.ask(Order::Edit(Box::new(edit))).await.is_err(), "{json}");
            assert_eq!(self.sets().await, sets, "{json}");
        }
        match done? {
            Answer::Tried(tried) => Ok(tried),
            other => panic!("{other:?}"),
        }
    }

    async fn sets(&self) -> usize {
        match self.ask(Order::List { before: None, limit: 100 }).await.unwrap() {
            Answer::List(sets) => sets.len(),
            other => panic!("{other:?}"),
        }
    }

    /// Has acts without any bound done.
    async fn does(&self, json: &str, on: &str) {
        let edit =
            Edit { acts: serde_json::from_str(json).unwrap(), day: Some(day(on)), at: None, within: None };
        let Answer::Set(id, _) = self.ask(Order::Edit(Box::new(edit))).await.unwrap() else { panic!() };
        self.approve(id).await;
        self.set_after(Order::Apply { id }).await.unwrap();
    }
}

#[tokio::test]
async fn a_part_is_shown_and_searched_as_if_there_were_nothing_else() {
    let (town, scope) = Town::of("総務部").await;
    let show = async |unit: Option<&str>| {
        let order = Order::Show { day: None, unit: unit.map(str::to_owned), within: Some(scope.clone()) };
        town.ask(order).await
    };
    let Answer::Shown(all) = show(None).await.unwrap() else { panic!() };
    assert_eq!(people(&all), ["防災課 主査 髙橋 一郎", "防災課 課長 山田 花子"]);
    for unit in ["税務部", "庶務係", "unit:99"] {
        assert!(refusal(show(Some(unit)).await).contains("所属はありません"), "{unit}");
    }
    let find = async |text: &str| {
        let order = Order::Find { text: text.to_owned(), within: Some(scope.clone()) };
        let Answer::Found { people, more: 0 } = town.ask(order).await.unwrap() else { panic!() };
        people.into_iter().map(|person| person.called).collect::<Vec<_>>()
    };
    assert_eq!(find("課長").await, ["山田 花子"]);
    assert!(find("鈴木").await.is_empty() && find("税務部").await.is_empty());
    // Nothing is not everything.
    let order = Order::Show { day: None, unit: None, within: Some(Scope::default()) };
    assert!(matches!(town.ask(order).await.unwrap(), Answer::Shown(shown) if shown.bodies.is_empty()));
    let order = Order::Find { text: "山田".to_owned(), within: Some(Scope::default()) };
    assert!(matches!(town.ask(order).await.unwrap(), Answer::Found { people, more: 0 } if people.is_empty()));
}

#[tokio::test]
async fn what_is_of_the_part_can_be_put_forward() {
    let (town, scope) = Town::of("総務部").await;
    let acts = r#"[
        {"charge": {"unit": "防災課", "matters": ["避難所"]}},
        {"address": {"name": "bousai", "unit": "防災課", "title": "課長"}},
        {"away": {"person": "00002", "why": "leave"}},
        {"back": {"person": "00002"}},
        {"use_name": {"person": "00001", "name": "旧姓 花子"}}
    ]"#;
    let tried = town.tried_within(&scope, acts, "2026-04-01").await.unwrap();
    assert_eq!((tried.lines.len(), tried.bodies.len()), (5, 0));
    assert_eq!(tried.units, ["総務部", "総務部/防災課"], "only these can be chosen");
}

#[tokio::test]
async fn nothing_of_another_part_and_no_unit_is_changed() {
    let (town, scope) = Town::of("総務部").await;
    for unit in ["税務部", "庶務係", "税務部/庶務係"] {
        let charge = format!(r#"[{{"charge": {{"unit": "{unit}", "matters": ["a"]}}}}]"#);
        let refused = refusal(town.tried_within(&scope, &charge, TODAY).await);
        assert!(refused.contains("所属はありません"), "{refused}");
        let address = format!(r#"[{{"address": {{"name": "a", "unit": "{unit}"}}}}]"#);
        assert!(refusal(town.tried_within(&scope, &address, TODAY).await).contains("所属はありません"));
    }
    for person in ["00003", "00004", "person:9999"] {
        for act in [
            format!(r#"[{{"away": {{"person": "{person}", "why": "leave"}}}}]"#),
            format!(r#"[{{"back": {{"person": "{person}"}}}}]"#),
            format!(r#"[{{"use_name": {{"person": "{person}", "name": "a"}}}}]"#),
        ] {
            let refused = refusal(town.tried_within(&scope, &act, TODAY).await);
            assert!(refused.contains("職員はいません"), "{act}: {refused}");
        }
    }
    for act in [
        r#"{"make_body": {"name": "議会"}}"#,
        r#"{"make_unit": {"name": "新課", "parent": "総務部"}}"#,
        r#"{"rename_unit": {"unit": "防災課", "name": "危機管理課"}}"#,
        r#"{"move_unit": {"unit": "防災課"}}"#,
        r#"{"merge_units": {"units": ["防災課"], "name": "新課"}}"#,
        r#"{"split_unit": {"unit": "防災課", "parts": ["あ"], "goes": {}}}"#,
        r#"{"close_unit": {"unit": "防災課"}}"#,
        r#"{"give_account": {"person": "00001", "account": "hanako"}}"#,
    ] {
        let acts = format!(r#"[{{"charge": {{"unit": "防災課", "matters": ["避難所"]}}}}, {act}]"#);
        let refused = refusal(town.tried_within(&scope, &acts, TODAY).await);
        assert!(refused.starts_with("2 件目: 部局管理者が変えられるのは"), "{refused}");
    }
}

#[tokio::test]
async fn addresses_of_others_are_neither_turned_nor_ended() {
    let (town, scope) = Town::of("総務部").await;
    town.does(r#"[{"address": {"name": "zeimu", "unit": "税務部"}}, {"address": {"name": "bousai", "unit": "防災課"}}]"#, TODAY)
        .await;
    // One that is another's from a later day on.
    town.does(r#"[{"address": {"name": "later", "unit": "税務部"}}]"#, "2026-03-31").await;
    for act in [
        r#"[{"address": {"name": "zeimu", "unit": "防災課"}}]"#,
        r#"[{"address": {"name": "@zeimu:kanazawa.test", "unit": "防災課"}}]"#,
        r#"[{"address": {"name": "zeimu"}}]"#,
        r#"[{"address": {"name": "later"}}]"#,
    ] {
        let refused = refusal(town.tried_within(&scope, act, TODAY).await);
        assert!(refused.contains("担当部局のものではありません"), "{act}: {refused}");
    }
    // Also on a day before it was another's.
    let early = r#"[{"address": {"name": "zeimu", "unit": "防災課"}}]"#;
    assert!(town.tried_within(&scope, early, "2025-04-01").await.is_err());
    let own = r#"[{"address": {"name": "bousai", "unit": "総務部"}}, {"address": {"name": "new", "unit": "防災課"}}]"#;
    assert_eq!(town.tried_within(&scope, own, TODAY).await.unwrap().lines.len(), 2);
    let end = r#"[{"address": {"name": "bousai"}}]"#;
    town.tried_within(&scope, end, TODAY).await.unwrap();
}

#[tokio::test]
async fn who_has_gone_to_another_part_is_not_changed_on_a_day_before_that() {
    let (town, scope) = Town::of("総務部").await;
    let moved = PEOPLE.replace("総務部　防災課,主査,R2.4.1", "税務部　庶務係,主査,R8.3.1");
    town.take(file(&moved), TODAY).await;
    let away = r#"[{"away": {"person": "00002", "why": "leave"}}]"#;
    for on in [TODAY, "2025-04-01", "2026-04-01"] {
        let refused = refusal(town.tried_within(&scope, away, on).await);
        assert!(refused.contains("職員はいません"), "{on}: {refused}");
    }
    let stays = r#"[{"away": {"person": "00001", "why": "leave"}}]"#;
    town.tried_within(&scope, stays, "2025-04-01").await.unwrap();
}

#[tokio::test]
async fn what_is_yet_to_be_is_neither_shown_nor_changed() {
    let (town, scope) = Town::of("総務部").await;
    // On 1 May another department's unit comes below it, with its people.
    town.does(r#"[{"address": {"name": "shomu", "unit": "庶務係"}}]"#, TODAY).await;
    let edit = Edit {
        acts: serde_json::from_str(r#"[{"move_unit": {"unit": "庶務係", "parent": "総務部"}}]"#).unwrap(),
        day: Some(day("2026-05-01")),
        at: Some(Timestamp(1)),
        within: None,
    };
    let Answer::Set(id, _) = town.ask(Order::Edit(Box::new(edit))).await.unwrap() else { panic!() };
    town.approve(id).await;
    town.set_after(Order::Apply { id }).await.unwrap();
    let show = Order::Show { day: Some(day("2026-05-01")), unit: None, within: Some(scope.clone()) };
    assert!(refusal(town.ask(show).await).contains("先の日付"));
    for act in [
        r#"[{"charge": {"unit": "庶務係", "matters": ["a"]}}]"#,
        r#"[{"away": {"person": "00003", "why": "leave"}}]"#,
        r#"[{"address": {"name": "shomu"}}]"#,
        r#"[{"address": {"name": "shomu", "unit": "防災課"}}]"#,
    ] {
        for on in ["2026-05-01", "2026-05-02"] {
            assert!(town.tried_within(&scope, act, on).await.is_err(), "{act} on {on}");
        }
    }
    // What is his on both days can be put forward for the later one.
    let own = r#"[{"charge": {"unit": "防災課", "matters": ["避難所"]}}]"#;
    town.tried_within(&scope, own, "2026-05-01").await.unwrap();
}

#[tokio::test]
async fn a_legal_name_behind_the_one_at_work_is_not_told() {
    let (town, scope) = Town::of("総務部").await;
    town.does(r#"[{"use_name": {"person": "00001", "name": "旧姓 花子"}}]"#, TODAY).await;
    for act in
        [r#"[{"use_name": {"person": "00001"}}]"#, r#"[{"use_name": {"person": "00001", "name": " "}}]"#]
    {
        let refused = refusal(town.tried_within(&scope, act, TODAY).await);
        assert!(refused.contains("人事担当に依頼") && !refused.contains("山田"), "{refused}");
    }
    let other = r#"[{"use_name": {"person": "00001", "name": "花子"}}]"#;
    let tried = town.tried_within(&scope, other, TODAY).await.unwrap();
    assert!(!format!("{:?}", tried.lines).contains("山田"), "{tried:?}");
}

#[tokio::test]
async fn an_own_address_that_ended_is_taken_up_again() {
    let (town, scope) = Town::of("総務部").await;
    town.does(r#"[{"address": {"name": "bousai", "unit": "防災課"}}]"#, "2025-04-01").await;
    town.does(r#"[{"address": {"name": "bousai"}}]"#, "2025-05-01").await;
    let again = r#"[{"address": {"name": "bousai", "unit": "防災課"}}]"#;
    town.tried_within(&scope, again, TODAY).await.unwrap();
    // One that was another's since is not ended on a day before that either.
    town.does(r#"[{"address": {"name": "bousai", "unit": "税務部"}}]"#, "2025-06-01").await;
    assert!(town.tried_within(&scope, r#"[{"address": {"name": "bousai"}}]"#, "2025-04-15").await.is_err());
}

#[tokio::test]
async fn one_who_sees_to_a_part_leaves_room_for_those_who_see_to_the_whole() {
    let (town, scope) = Town::of("総務部").await;
    let put = async |name: &str, within: Option<&Scope>| {
        let json = r#"[{"charge": {"unit": "防災課", "matters": ["避難所"]}}]"#;
        let acts = serde_json::from_str(json).unwrap();
        let edit = Edit { acts, day: Some(day("2026-04-01")), at: None, within: within.cloned() };
        town.desk.carry_out(kanazawa(), Order::Edit(Box::new(edit)), &Actor::operator(name)).await
    };
    for _ in 0..5 {
        put("uid 7", Some(&scope)).await.unwrap();
    }
    assert!(refusal(put("uid 7", Some(&scope)).await).contains("一人 5 件まで"));
    put("uid 8", Some(&scope)).await.unwrap();
    put("uid 7", None).await.unwrap();
    // However many others have put forward and taken back: one makes so many a day.
    let mut made = 5;
    loop {
        let Answer::List(sets) = town.ask(Order::Waiting).await.unwrap() else { panic!() };
        for (id, _) in sets.iter().filter(|(_, set)| set.made_by == "uid 7") {
            town.ask(Order::Withdraw { id: *id }).await.unwrap();
        }
        match put("uid 7", Some(&scope)).await {
            Ok(_) => made += 1,
            refused => {
                assert!(refusal(refused).contains("一日に作れる変更案は 40 件まで"));
                break;
            }
        }
    }
    // That which is of the whole counts as well.
    assert_eq!(made, 39);
}

#[tokio::test]
async fn a_set_is_of_a_part_by_all_its_lines() {
    let (town, scope) = Town::of("総務部").await;
    let set = async |json: &str| {
        let acts = serde_json::from_str(json).unwrap();
        let edit = Edit { acts, day: Some(day(TODAY)), at: None, within: None };
        let Answer::Set(id, _) = town.ask(Order::Edit(Box::new(edit))).await.unwrap() else { panic!() };
        let user = user_id!("@hanako:kanazawa.test");
        !town.desk.sets_within(user, &[id], scope.clone()).await.unwrap().is_empty()
    };
    let own = r#"{"charge": {"unit": "防災課", "matters": ["避難所"]}}, {"away": {"person": "00001", "why": "leave"}}"#;
    assert!(set(&format!("[{own}]")).await);
    for other in [
        r#"{"charge": {"unit": "税務部", "matters": ["a"]}}"#,
        r#"{"address": {"name": "zei", "unit": "税務部"}}"#,
        r#"{"away": {"person": "00003", "why": "leave"}}"#,
        r#"{"use_name": {"person": "00004", "name": "a"}}"#,
        r#"{"rename_unit": {"unit": "防災課", "name": "危機管理課"}}"#,
        r#"{"make_unit": {"name": "新課", "parent": "総務部"}}"#,
    ] {
        assert!(!set(&format!("[{own}, {other}]")).await, "{other}");
    }
}

#[tokio::test]
async fn an_account_is_within_by_the_main_post_of_today() {
    let (town, scope) = Town::of("総務部").await;
    let accounts = r#"[{"give_account": {"person": "00001", "account": "hanako"}},
        {"give_account": {"person": "00003", "account": "jiro"}}]"#;
    town.does(accounts, TODAY).await;
    let is_within = async |user: &ruma::UserId| town.desk.is_within(user, scope.clone()).await.unwrap();
    assert!(is_within(user_id!("@hanako:kanazawa.test")).await);
    for user in [user_id!("@jiro:kanazawa.test"), user_id!("@nobody:kanazawa.test")] {
        assert!(!is_within(user).await, "{user}");
    }
    // The same name at another authority is somebody else.
    assert!(!is_within(user_id!("@hanako:kanazawa.test.example")).await);
    assert!(!town.desk.is_within(user_id!("@hanako:kanazawa.test"), Scope::default()).await.unwrap());
    let called = town.desk.called(kanazawa(), vec![scope.clone(), Scope::default()]).await.unwrap();
    assert_eq!(called, [Some("総務部".to_owned()), None]);
    let strange = Scope { units: [UnitId(9_999)].into(), ..Scope::default() };
    assert_eq!(town.desk.units_of(kanazawa(), strange, None).await.unwrap().len(), 0);
}
