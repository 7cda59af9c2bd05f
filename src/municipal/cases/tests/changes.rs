//! Change sets of the organisation, which a 人事担当 and a 全体管理者 agree to.

use std::collections::BTreeSet;

use audit::Actor;
use duties::Duty;
use organisation::{GuardKind, Organisations, Role, SetId, State as SetState};
use personnel::{Act, Answer as DeskAnswer, Edit, FileBytes, Import, Order as DeskOrder};

use super::*;
use crate::{Fields, Meant, State, Who, tests::town::day};

/// 14:00 on 2 March 2026 in Japan; it is noon of the first.
const LATER: &str = "2026-03-02T14:00";

fn ask(set: SetId, at: &str) -> Order {
    ask_meaning(set, at, &[])
}

fn ask_meaning(set: SetId, at: &str, means: &[&str]) -> Order {
    Order::Ask {
        kind: "changes".to_owned(),
        fields: vec![("set".to_owned(), set.0.to_string()), ("at".to_owned(), at.to_owned())],
        reason: "四月の異動".to_owned(),
        means: means.iter().map(|word| (*word).to_owned()).collect(),
    }
}

impl Town {
    /// A set by which a unit is renamed today.
    async fn renaming(&self, unit: &str, name: &str) -> SetId {
        let acts = vec![Act::RenameUnit { unit: unit.to_owned(), name: name.to_owned() }];
        let edit = Edit { acts, day: Some(day("2026-03-01")), at: None, within: None };
        match self
            .desk
            .carry_out(kanazawa(), DeskOrder::Edit(Box::new(edit)), &Actor::operator("uid 1000"))
            .await
        {
            Ok(DeskAnswer::Set(id, _)) => id,
            other => panic!("{other:?}"),
        }
    }

    /// A set of a file of which somebody has to say that it is meant: nearly everybody leaves.
    async fn ending(&self) -> SetId {
        let import = Import {
            file: FileBytes::new("職員番号,氏名,所属,職名,発令日\n1,部長 一,総務部,部長,2020-04-01\n".into()),
            how: Default::default(),
            mapping: None,
            source: "人事".to_owned(),
            body: Some("首長部局".to_owned()),
            makes_new: true,
            day: Some(day("2026-03-01")),
            at: None,
            same: Vec::new(),
            other: Vec::new(),
            is_part: false,
        };
        let order = DeskOrder::Import(Box::new(import));
        match self.desk.carry_out(kanazawa(), order, &Actor::operator("uid 1000")).await {
            Ok(DeskAnswer::Imported(imported)) => imported.set.unwrap().0,
            other => panic!("{other:?}"),
        }
    }

    async fn set_state(&self, set: SetId) -> SetState {
        Organisations::new(&self.store).change_set(kanazawa(), set).await.unwrap().state
    }
}

#[tokio::test]
async fn who_is_a_personnel_officer_agrees_by_asking_and_an_administrator_by_approving() {
    let town = Town::with_people().await;
    let set = town.renaming("防災課", "危機管理課").await;
    let id = town.ask("p", ask(set, "")).await;
    assert_eq!(town.deciders(id).await, ["a", "b", "c"], "administrators, and one of them");
    assert_eq!(town.look(id).await.missing, 1);
    assert_eq!(town.set_state(set).await, SetState::Preview);
    town.of("a", approve(id, None)).await.unwrap();
    assert_eq!((town.state(id).await, town.set_state(set).await), (State::Done, SetState::Approved));
    let decided = Organisations::new(&town.store).change_set(kanazawa(), set).await.unwrap();
    let by: Vec<_> = decided.approvals.iter().map(|one| (one.account.as_str(), one.role)).collect();
    assert_eq!(by, [("p", Role::Personnel), ("a", Role::Administrator)]);
    let rows = town.rows("organisation.approve").await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    let fact =
        |name: &str| row.after.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((row.whom.as_str(), fact("case")), (&*set.0.to_string(), Some(&*id.0.to_string())));
    assert_eq!(fact("approved_by"), Some("p (personnel), a (administrator)"));
}

#[tokio::test]
async fn whoever_approved_a_set_that_fits_no_more_at_its_hour_is_told_once() {
    let town = Town::with_people().await;
    let (first, second) =
        (town.renaming("防災課", "危機管理課").await, town.renaming("防災課", "防災対策課").await);
    for (set, at) in [(first, ""), (second, LATER)] {
        let id = town.ask("p", ask(set, at)).await;
        town.of("a", approve(id, None)).await.unwrap();
    }
    let by = Actor::operator("uid 1000");
    town.desk.carry_out(kanazawa(), DeskOrder::Apply { id: first }, &by).await.unwrap();
    let mut told = BTreeSet::new();
    town.cases.tell_of_void(kanazawa(), &mut told).await.unwrap();
    assert!(told.is_empty(), "its hour has not come");
    town.noon_of("2026-03-03");
    town.desk.carry_out(kanazawa(), DeskOrder::Apply { id: second }, &by).await.unwrap();
    assert_eq!(town.set_state(second).await, SetState::Stale);
    // Who cannot be told now is told by the next look, and nobody twice.
    *town.people.is_down.lock() = true;
    town.cases.tell_of_void(kanazawa(), &mut told).await.unwrap_err();
    *town.people.is_down.lock() = false;
    for _ in 0..2 {
        town.cases.tell_of_void(kanazawa(), &mut told).await.unwrap();
    }
    let name = format!("set-{}-void", second.0);
    let heard: Vec<_> = town
        .people
        .told
        .lock()
        .iter()
        .filter(|((_, one), _)| *one == name)
        .map(|((user, _), _)| user.clone())
        .collect();
    assert_eq!((heard, *town.people.again.lock()), (vec!["a".to_owned(), "p".to_owned()], 0));
    // After some days it is no news, whoever asks anew.
    town.noon_of("2026-03-12");
    town.people.told.lock().clear();
    town.cases.tell_of_void(kanazawa(), &mut BTreeSet::new()).await.unwrap();
    assert!(town.people.told.lock().keys().all(|(_, one)| *one != name));
}

#[tokio::test]
async fn what_speaks_of_a_unit_that_is_closed_is_told_and_meant_by_whoever_asks_and_agrees() {
    let town = Town::with_people().await;
    let unit = |name: &str| Act::MakeUnit {
        name: name.to_owned(),
        code: None,
        parent: Some("総務部".to_owned()),
        body: None,
    };
    let edit = |acts, on: &str| Edit { acts, day: Some(day(on)), at: None, within: None };
    let make = async |edit: Edit| {
        let (order, by) = (DeskOrder::Edit(Box::new(edit)), Actor::operator("uid 1000"));
        match town.desk.carry_out(kanazawa(), order, &by).await {
            Ok(DeskAnswer::Set(id, _)) => id,
            other => panic!("{other:?}"),
        }
    };
    let agreed = async |set: SetId, means: &[&str]| {
        let id = town.ask("p", ask_meaning(set, "", means)).await;
        let means = means.iter().map(|word| (*word).to_owned()).collect();
        town.of("a", Order::Approve { id, text: String::new(), seen: None, means }).await.unwrap();
        town.desk
            .carry_out(kanazawa(), DeskOrder::Apply { id: set }, &Actor::operator("uid 1000"))
            .await
            .unwrap();
    };
    let new = unit("臨時給付金課");
    let address =
        Act::Address { name: "kyufu".to_owned(), unit: Some("臨時給付金課".to_owned()), title: None };
    agreed(make(edit(vec![new, address], "2026-03-01")).await, &[]).await;

    let set = make(edit(vec![Act::CloseUnit { unit: "臨時給付金課".to_owned() }], "2026-03-01")).await;
    let closing = Organisations::new(&town.store).closing(kanazawa(), set).await.unwrap();
    let [closing] = &closing[..] else { panic!("{closing:?}") };
    assert_eq!((closing.name.as_str(), &closing.addresses[..]), ("臨時給付金課", &["kyufu".to_owned()][..]));
    let told = refusal(town.of("p", ask(set, "")).await);
    assert!(told.contains("「課の連絡」") && told.contains("@kyufu"), "{told}");
    let word = format!("closes_{}", closing.unit.0);
    agreed(set, &[&word]).await;

    // What takes its place is spoken of by what named the one before.
    let new = unit("物価高対策課");
    agreed(make(edit(vec![new], "2026-03-01")).await, &[]).await;
    let merge = Act::MergeUnits {
        units: vec!["物価高対策課".to_owned(), "人事課".to_owned()],
        name: "人事給付課".to_owned(),
        code: None,
    };
    let set = make(edit(vec![merge], "2026-03-01")).await;
    assert_eq!(Organisations::new(&town.store).closing(kanazawa(), set).await.unwrap(), []);
}

#[tokio::test]
async fn whoever_is_neither_waits_for_both_and_one_person_is_not_both() {
    let town = Town::with_people().await;
    // Who administers alone is neither; who has both duties is one of them.
    town.account("shadow", Some((true, true))).await;
    let set = town.renaming("防災課", "危機管理課").await;
    let id = town.ask("shadow", ask(set, "")).await;
    assert_eq!(town.look(id).await.case.steps.len(), 2);
    town.set_duty("a", Duty::Personnel, true).await;
    assert_eq!(town.deciders(id).await, ["a", "p"]);
    town.of("a", approve(id, None)).await.unwrap();
    assert_eq!(town.deciders(id).await, ["b", "c"], "not a, who has agreed as a personnel officer");
    assert!(refusal(town.of("a", approve(id, None)).await).contains("一人で二つ"));
    town.of("b", approve(id, None)).await.unwrap();
    assert_eq!(town.set_state(set).await, SetState::Approved);

    // An administrator who asks has agreed as that.
    let set = town.renaming("人事課", "職員課").await;
    let id = town.ask("b", ask(set, "")).await;
    let steps = town.look(id).await.case.steps;
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].who, [Who::Duty("personnel".to_owned())]);
    // Nobody else asks: not who heads the unit, nor who approves and does not administer.
    town.set_duty("taro", Duty::Approval, true).await;
    for name in ["bosai-cho", "taro", "k", "nobody"] {
        let other = town.renaming("総務部", "総務企画部").await;
        assert!(refusal(town.of(name, ask(other, "")).await).contains("人事担当か全体管理者"), "{name}");
        let Answer::Kinds(kinds) = town.of(name, Order::Kinds).await.unwrap() else { panic!() };
        assert!(kinds.iter().all(|kind| kind.word != "changes"), "and it is not offered to {name}");
    }
}

#[tokio::test]
async fn each_who_agrees_says_of_each_warning_that_it_is_meant() {
    let town = Town::with_people().await;
    let set = town.ending().await;
    let refused = refusal(town.of("p", ask(set, "")).await);
    assert!(refused.contains("警告") && refused.contains("many_end"), "{refused}");
    let order = ask(set, "");
    let Order::Ask { kind, fields, .. } = order else { panic!() };
    let Answer::Meant(meant) = town.of("p", Order::Meant { kind, fields }).await.unwrap() else { panic!() };
    let words: Vec<&str> = meant.iter().map(|Meant { word, .. }| word.as_str()).collect();
    assert!(words.contains(&"many_end"), "{words:?}");
    let Order::Ask { kind, fields, .. } = ask(set, "") else { panic!() };
    let Answer::Meant(none) = town.of("nobody", Order::Meant { kind, fields }).await.unwrap() else {
        panic!()
    };
    assert!(none.is_empty(), "who may not ask for it learns nothing of it");
    let some: Vec<&str> = words.iter().copied().skip(1).collect();
    if !some.is_empty() {
        assert!(refusal(town.of("p", ask_meaning(set, "", &some)).await).contains("警告"), "all of them");
    }
    let id = town.ask("p", ask_meaning(set, "", &words)).await;

    assert!(refusal(town.of("a", approve(id, None)).await).contains("警告"));
    let shown = shown(town.of("a", Order::Case { id }).await.unwrap());
    assert_eq!(shown.meant.len(), words.len());
    let means: BTreeSet<String> = GuardKind::ALL.iter().map(|kind| kind.word().to_owned()).collect();
    town.of("a", Order::Approve { id, text: String::new(), seen: None, means }).await.unwrap();
    assert_eq!(town.set_state(set).await, SetState::Approved);
}

#[tokio::test]
async fn the_hour_is_the_one_that_was_asked_for_and_another_one_is_asked_for_anew() {
    let town = Town::with_people().await;
    let set = town.renaming("防災課", "危機管理課").await;
    assert!(refusal(town.of("p", ask(set, "2026-04-01T25:00")).await).contains("時刻"));
    let id = town.ask("p", ask(set, LATER)).await;
    assert!(town.look(id).await.case.title.ja.contains("令和8年3月2日 14:00"));
    town.of("a", approve(id, None)).await.unwrap();
    let decided = Organisations::new(&town.store).change_set(kanazawa(), set).await.unwrap();
    assert_eq!(Some(decided.at), Fields::of(&[("at".to_owned(), LATER.to_owned())]).minute("at"));
    // While it waits for its hour it can be taken back by one person, and asked for with another hour.
    assert!(refusal(town.of("p", ask(set, "")).await).contains("承認済み"));
    town.of("p", Order::Undo { id, text: "時刻を変える".to_owned(), seen: None }).await.unwrap();
    assert_eq!((town.state(id).await, town.set_state(set).await), (State::Undone, SetState::Preview));
    let again = town.ask("p", ask(set, "2026-03-01T12:00")).await;
    town.of("a", approve(again, None)).await.unwrap();
    let order = DeskOrder::Apply { id: set };
    town.desk.carry_out(kanazawa(), order, &Actor::operator("uid 1000")).await.unwrap();
    assert_eq!(town.set_state(set).await, SetState::Applied);
    // What is applied is undone as a set, and not as a case.
    let undo = Order::Undo { id: again, text: "x".to_owned(), seen: None };
    assert!(refusal(town.of("p", undo).await).contains("変更案の画面"));
    assert_eq!((town.state(again).await, town.set_state(set).await), (State::Done, SetState::Applied));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_open_case_about_a_set_also_where_two_ask_at_once() {
    let town = Town::with_people().await;
    town.set_duty("jinji-cho", Duty::Personnel, true).await;
    for number in 0..10 {
        let set = town.renaming("防災課", &format!("防災{number}課")).await;
        let (one, other) = tokio::join!(town.of("p", ask(set, "")), town.of("jinji-cho", ask(set, "")));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let id = shown(one.or(other).unwrap()).id;
        let again = refusal(town.of("p", ask(set, "")).await);
        assert!(again.contains(&format!("案件 {}", id.0)), "{again}");
        let thing = set.0.to_string();
        let last = town.cases.last_about(kanazawa(), "changes", &thing).await.unwrap();
        assert_eq!(last, Some((id, State::Asked)));
        let refuse = Order::Refuse { id, text: "だめ".to_owned(), seen: None };
        town.of("a", refuse).await.unwrap();
        // Once that is over it can be asked for again; what was returned may come back about another set.
        let next = town.ask("p", ask(set, "")).await;
        town.of("a", Order::Return { id: next, text: "別の案を".to_owned(), seen: None }).await.unwrap();
        let other = town.renaming("人事課", &format!("人事{number}課")).await;
        let Order::Ask { fields, reason, means, .. } = ask(other, "") else { panic!() };
        let busy = town.ask("jinji-cho", ask(other, "")).await;
        let elsewhere = Order::AskAgain { id: next, fields, reason, seen: None, means };
        assert!(refusal(town.of("p", elsewhere.clone()).await).contains(&format!("案件 {}", busy.0)));
        town.of("jinji-cho", Order::Withdraw { id: busy, text: String::new(), seen: None }).await.unwrap();
        town.of("p", elsewhere).await.unwrap();
        let thing = other.0.to_string();
        let last = town.cases.last_about(kanazawa(), "changes", &thing).await.unwrap();
        assert_eq!(last, Some((next, State::Asked)));
        town.of("p", Order::Withdraw { id: next, text: String::new(), seen: None }).await.unwrap();
    }
}

#[tokio::test]
async fn what_who_asked_was_counts_while_he_still_is_it() {
    let town = Town::with_people().await;
    let set = town.renaming("防災課", "危機管理課").await;
    let id = town.ask("p", ask(set, "")).await;
    town.set_duty("p", Duty::Personnel, false).await;
    town.of("a", approve(id, None)).await.unwrap();
    assert!(
        matches!(town.state(id).await, State::Failed(why) if why.ja.contains("申請者は、いまは「人事担当」ではありません"))
    );
    assert_eq!(town.set_state(set).await, SetState::Preview);
    // Back in his duty it is done by trying again.
    town.set_duty("p", Duty::Personnel, true).await;
    town.of("p", Order::Retry { id, seen: None }).await.unwrap();
    assert_eq!((town.state(id).await, town.set_state(set).await), (State::Done, SetState::Approved));
}

#[tokio::test]
async fn a_set_that_was_taken_back_or_is_not_there_is_asked_for_in_vain() {
    let town = Town::with_people().await;
    let set = town.renaming("防災課", "危機管理課").await;
    let id = town.ask("p", ask(set, "")).await;
    let withdraw = DeskOrder::Withdraw { id: set };
    town.desk.carry_out(kanazawa(), withdraw, &Actor::operator("uid 1000")).await.unwrap();
    town.of("a", approve(id, None)).await.unwrap();
    assert!(matches!(town.state(id).await, State::Failed(why) if why.ja.contains("取り下げ")));
    assert!(town.look(id).await.since.unwrap().ja.contains("取り下げ"));
    assert_eq!(town.set_state(set).await, SetState::Withdrawn);
    for (number, why) in [
        ("999999", "その番号の変更案はありません"),
        ("0", "数を入力"),
        ("x", "数を入力"),
        ("", "入力してください"),
    ] {
        let order = Order::Ask {
            kind: "changes".to_owned(),
            fields: vec![("set".to_owned(), number.to_owned())],
            reason: "x".to_owned(),
            means: BTreeSet::new(),
        };
        let refused = refusal(town.of("p", order).await);
        assert!(refused.contains(why), "{number}: {refused}");
    }
}
