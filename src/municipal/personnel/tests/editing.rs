//! What somebody does by hand: acts become a change set, each may name what those before it have made, and what cannot be
//! done is refused with the act that it is.

use super::*;
use crate::{Act, Edit, MOST_ACTS, Tried};

const TWO_SECTIONS: &str = "\
00001,山田　花子,,総務部　庶務係,係長,R2.4.1\r\n\
00002,髙橋 一郎,,税務部　庶務係,係長,R2.4.1\r\n\
00003,鈴木 次郎,,総務部　人事課,課長,R2.4.1\r\n\
00004,佐藤 三郎,,総務部　人事課,主事,R2.4.1\r\n";

fn acts(json: &str) -> Vec<Act> {
    serde_json::from_str(json).unwrap()
}

fn edit(json: &str, on: &str) -> Box<Edit> {
    Box::new(Edit { acts: acts(json), day: Some(day(on)), at: None, within: None })
}

impl Town {
    async fn tried(&self, json: &str, on: &str) -> Result<Tried, Error> {
        match self.ask(Order::Try(edit(json, on))).await? {
            Answer::Tried(tried) => Ok(tried),
            other => panic!("{other:?}"),
        }
    }

    /// Makes a change set of acts, approves and applies it.
    async fn done(&self, json: &str, on: &str) -> SetId {
        let Answer::Set(id, set) = self.ask(Order::Edit(edit(json, on))).await.unwrap() else { panic!() };
        assert_eq!((set.source.as_deref(), set.state), (None, State::Preview));
        self.approve(id).await;
        let applied = self.set_after(Order::Apply { id }).await.unwrap();
        assert_eq!(applied.state, State::Applied);
        id
    }
}

#[tokio::test]
async fn a_reform_of_several_acts_is_one_set_that_is_applied_and_undone() {
    let town = Town::new().await;
    town.take(file(TWO_SECTIONS), "2026-03-31").await;
    let before = town.people("2026-03-31").await;
    let reform = r#"[
        {"make_unit": {"name": "危機管理監", "code": "0900"}},
        {"merge_units": {"units": ["総務部/庶務係", "税務部／庶務係"], "name": "総合庶務係"}},
        {"move_unit": {"unit": "総合庶務係", "parent": "0900"}},
        {"rename_unit": {"unit": "人事課", "name": "職員課"}},
        {"split_unit": {"unit": "職員課", "parts": ["人事係", "給与係"], "goes": {"00003": "人事係", "00004": "給与係"}}},
        {"charge": {"unit": "給与係", "title": "主事", "matters": ["年末調整"]}},
        {"use_name": {"person": "00001", "name": "旧姓 花子"}},
        {"away": {"person": "00002", "why": "leave", "until": "2026-10-01"}}
    ]"#;
    // It is looked at first, and nothing is stored.
    let tried = town.tried(reform, "2026-03-31").await.unwrap();
    assert_eq!(tried.lines.len(), 8);
    assert!(tried.units.contains(&"危機管理監/総合庶務係".to_owned()), "{:?}", tried.units);
    assert!(
        matches!(town.ask(Order::List { before: None, limit: 9 }).await.unwrap(), Answer::List(sets) if sets.len() == 1)
    );

    let id = town.done(reform, "2026-03-31").await;
    let people = town.people("2026-03-31").await;
    assert_eq!(
        people,
        [
            "人事係 課長 鈴木 次郎",
            "給与係 主事 佐藤 三郎",
            "総合庶務係 係長 旧姓 花子",
            "総合庶務係 係長 髙橋 一郎"
        ]
    );
    let Answer::Found { people, .. } =
        town.ask(Order::Find { text: "年末調整".to_owned(), within: None }).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(people.iter().map(|person| person.called.as_str()).collect::<Vec<_>>(), ["佐藤 三郎"]);
    assert_eq!(people[0].charges, ["年末調整"]);
    let row = town.log(kanazawa()).await.into_iter().rfind(|row| row.what == "organisation.propose").unwrap();
    let after = serde_json::to_string(&row.after).unwrap();
    assert!(after.contains("reorganised") && !after.contains("source"), "{after}");

    assert_eq!(town.set_after(Order::Undo { id, line: None }).await.unwrap().state, State::Undone);
    assert_eq!(town.people("2026-03-31").await, before);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_the_act_and_nothing_is_stored() {
    let town = Town::new().await;
    town.take(file(TWO_SECTIONS), "2026-03-31").await;
    let made = r#"{"make_unit": {"name": "危機管理監"}}"#;
    for (act, why) in [
        (r#"{"rename_unit": {"unit": "庶務係", "name": "x"}}"#, "複数あります"),
        (r#"{"rename_unit": {"unit": "防災課", "name": "x"}}"#, "「防災課」という所属はありません"),
        (r#"{"rename_unit": {"unit": "務部/庶務係", "name": "x"}}"#, "という所属はありません"),
        (r#"{"rename_unit": {"unit": "unit:4000000000", "name": "x"}}"#, "という所属はありません"),
        (r#"{"rename_unit": {"unit": "/", "name": "x"}}"#, "という所属はありません"),
        (r#"{"rename_unit": {"unit": "人事課", "name": "  "}}"#, "名前として使えません"),
        (r#"{"rename_unit": {"unit": "人事課", "name": "人\u202e事課"}}"#, "U+202E"),
        (r#"{"charge": {"unit": "人事課", "matters": ["\u0007"]}}"#, "U+0007"),
        (r#"{"close_unit": {"unit": "人事課"}}"#, "職員がいるため廃止できません"),
        (r#"{"rename_unit": {"unit": "人事課", "name": "庶務係"}}"#, "「庶務係」がすでにあります"),
        (r#"{"make_unit": {"name": "総務部"}}"#, "「総務部」がすでにあります"),
        (r#"{"move_unit": {"unit": "税務部/庶務係", "parent": "総務部"}}"#, "「庶務係」がすでにあります"),
        (
            r#"{"split_unit": {"unit": "人事課", "parts": ["a", "a"], "goes": {"00003": "a", "00004": "a"}}}"#,
            "「a」がすでにあります",
        ),
        (r#"{"move_unit": {"unit": "総務部", "parent": "人事課"}}"#, "循環"),
        (r#"{"merge_units": {"units": [], "name": "x"}}"#, "統合する所属を選んでください"),
        (r#"{"split_unit": {"unit": "人事課", "parts": ["a", "b"], "goes": {"00003": "a"}}}"#, "佐藤 三郎"),
        (
            r#"{"split_unit": {"unit": "人事課", "parts": ["a", "b"], "goes": {"00003": "c"}}}"#,
            "「c」はありません",
        ),
        (r#"{"away": {"person": "99999", "why": "leave"}}"#, "「99999」という職員番号"),
        (
            r#"{"charge": {"unit": "人事課", "title": "部長", "matters": ["x"]}}"#,
            "「部長」という職はありません",
        ),
        (r#"{"make_unit": {"name": "x", "body": "議会", "parent": null}}"#, "機関を選んでください"),
    ] {
        let both = format!("[{made}, {act}]");
        let refused = refusal(town.ask(Order::Edit(edit(&both, "2026-04-01"))).await);
        assert!(refused.contains(why) && refused.contains("2 件目"), "{act}: {refused}");
        assert!(refusal(town.tried(&both, "2026-04-01").await).contains(why));
        // Alone, nobody has to be told which one it is.
        let alone = refusal(town.tried(&format!("[{act}]"), "2026-04-01").await);
        assert!(alone.contains(why) && !alone.contains("件目"), "{alone}");
    }
    assert!(refusal(town.ask(Order::Edit(edit("[]", "2026-04-01"))).await).contains("ありません"));
    let many = Edit {
        acts: vec![acts(&format!("[{made}]")).remove(0); MOST_ACTS + 1],
        day: None,
        at: None,
        within: None,
    };
    assert!(refusal(town.ask(Order::Try(Box::new(many))).await).contains("500 件"));
    let long = format!(r#"[{{"rename_unit": {{"unit": "{}", "name": "x"}}}}]"#, "長/".repeat(1_000_000));
    assert!(refusal(town.tried(&long, "2026-04-01").await).len() < 10_000, "what is told has a bound");
    assert!(
        matches!(town.ask(Order::List { before: None, limit: 9 }).await.unwrap(), Answer::List(sets) if sets.len() == 1)
    );
}

#[tokio::test]
async fn two_sets_by_hand_for_one_day_are_both_applied_where_they_do_not_meet() {
    let town = Town::new().await;
    town.take(file(TWO_SECTIONS), "2026-03-31").await;
    let one = r#"[{"rename_unit": {"unit": "人事課", "name": "職員課"}}]"#;
    let other = r#"[{"rename_unit": {"unit": "税務部", "name": "財務部"}}]"#;
    let same = r#"[{"rename_unit": {"unit": "人事課", "name": "人材課"}}]"#;
    let mut ids = Vec::new();
    for json in [one, other, same] {
        let Answer::Set(id, _) = town.ask(Order::Edit(edit(json, "2026-03-31"))).await.unwrap() else {
            panic!()
        };
        town.approve(id).await;
        ids.push(id);
    }
    let states = async {
        let mut states = Vec::new();
        for id in &ids {
            states.push(town.set_after(Order::Apply { id: *id }).await.unwrap().state);
        }
        states
    };
    // The third speaks of what the first has changed.
    assert_eq!(states.await, [State::Applied, State::Applied, State::Stale]);
    assert!(town.people("2026-03-31").await.iter().any(|person| person.starts_with("職員課")));
}
