//! The life of a case: asked, agreed to, carried out, ended; returned, refused, withdrawn, expired.

use duties::Duty;

use super::*;
use crate::{Deed, State};

#[tokio::test]
async fn a_duty_is_given_with_the_second_approval_and_ends_with_its_day() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", duty_until("hanako", "reading", "2026-03-31")).await;
    assert_eq!(id, CaseId(1));
    assert_eq!(town.deciders(id).await, ["a", "b", "c"]);
    let first = shown(town.of("a", approve(id, Some(1))).await.unwrap());
    assert_eq!((&first.case.state, first.missing, first.decided), (&State::Asked, 1, true));
    assert!(!town.has("hanako", Duty::Reading).await);
    let second = shown(town.of("c", approve(id, Some(1))).await.unwrap());
    assert_eq!(second.case.state, State::Done);
    assert!(town.has("hanako", Duty::Reading).await);
    town.see_to().await;
    assert!(town.has("hanako", Duty::Reading).await);
    town.noon_of("2026-03-31");
    town.see_to().await;
    assert!(town.has("hanako", Duty::Reading).await, "until the end of that day");
    town.noon_of("2026-04-01");
    town.see_to().await;
    assert!(!town.has("hanako", Duty::Reading).await);
    assert_eq!(town.state(id).await, State::Ended);
    let rows = ["case.ask hanako", "case.approve a", "case.approve c", "case.carry_out c", "case.end "];
    assert_eq!(town.log("case.").await, rows);
    assert_eq!(town.log("duty.").await[5..], ["duty.give c", "duty.take "]);
    let history: Vec<_> = town.look(id).await.history.into_iter().map(|event| event.deed).collect();
    let wanted = [Deed::Asked, Deed::Approved, Deed::Approved, Deed::CarriedOut, Deed::Ended];
    assert_eq!(history, wanted);
}

#[tokio::test]
async fn what_was_given_is_undone_by_one_and_taken_by_the_operator_is_not_missed() {
    let town = Town::with_people().await;
    for (name, undoes) in [("hanako", "hanako"), ("taro", "b"), ("jiro", "root")] {
        let id = town.ask("p", duty_for(name, "audit")).await;
        town.of("a", approve(id, None)).await.unwrap();
        town.of("b", approve(id, None)).await.unwrap();
        assert!(town.has(name, Duty::Audit).await);
        let undo = |text: &str| Order::Undo { id, text: text.to_owned(), seen: None };
        assert!(town.of("nobody", undo("x")).await.is_err());
        assert!(refusal(town.of("a", undo(" ")).await).contains("理由"));
        if undoes == "root" {
            town.set_duty(name, Duty::Audit, false).await;
            town.by_operator(undo("やめます")).await.unwrap();
        } else {
            town.of(undoes, undo("やめます")).await.unwrap();
        }
        assert!(!town.has(name, Duty::Audit).await);
        assert_eq!(town.state(id).await, State::Undone);
        assert!(refusal(town.of("a", undo("x")).await).contains("取り消し済み"));
    }
}

#[tokio::test]
async fn a_case_is_returned_asked_again_refused_or_withdrawn() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", duty_for("hanako", "audit")).await;
    town.of("a", approve(id, None)).await.unwrap();
    let give_back = |text: &str| Order::Return { id, text: text.to_owned(), seen: None };
    assert!(refusal(town.of("b", give_back("")).await).contains("理由"));
    town.of("b", give_back("期限を短くしてください")).await.unwrap();
    let returned = town.look(id).await;
    assert_eq!((&returned.case.state, returned.case.approvals.len()), (&State::Returned, 0));
    assert!(refusal(town.of("c", approve(id, None)).await).contains("差し戻し"));
    let Order::Ask { fields, reason, .. } = duty_until("hanako", "audit", "2026-04-30") else { panic!() };
    let again = Order::AskAgain { id, fields, reason, seen: None, means: Default::default() };
    assert!(town.of("taro", again.clone()).await.is_err());
    town.of("hanako", again).await.unwrap();
    town.of("a", approve(id, None)).await.unwrap();
    assert_eq!(town.look(id).await.missing, 1, "who agreed before is asked anew");
    let refuse = Order::Refuse { id, text: "必要ありません".to_owned(), seen: None };
    town.of("c", refuse).await.unwrap();
    assert_eq!(town.state(id).await, State::Refused);
    assert!(refusal(town.of("b", approve(id, None)).await).contains("却下"));

    let id = town.ask("hanako", duty_for("hanako", "audit")).await;
    let withdraw = Order::Withdraw { id, text: String::new(), seen: None };
    assert!(refusal(town.of("taro", withdraw.clone()).await).contains("ありません"));
    assert!(town.of("a", withdraw.clone()).await.is_err(), "who decides does not take it back");
    town.of("hanako", withdraw.clone()).await.unwrap();
    assert!(refusal(town.of("hanako", withdraw).await).contains("取り下げ"));
    assert_eq!(town.state(id).await, State::Withdrawn);

    let id = town.ask("hanako", duty_for("hanako", "audit")).await;
    town.noon_of("2026-03-30");
    town.see_to().await;
    assert_eq!(town.state(id).await, State::Asked);
    town.noon_of("2026-04-01");
    town.see_to().await;
    assert_eq!(town.state(id).await, State::Expired);
    assert!(!town.has("hanako", Duty::Audit).await);
}

#[tokio::test]
async fn who_sees_a_case_has_a_part_in_it_or_a_duty_to_see_all() {
    let town = Town::with_people().await;
    let id = town.ask("p", duty_for("hanako", "reading")).await;
    let see = Order::Case { id };
    for (name, may) in
        [("p", true), ("hanako", true), ("a", true), ("k", true), ("taro", false), ("bucho", false)]
    {
        assert_eq!(town.of(name, see.clone()).await.is_ok(), may, "{name}");
        let all = Order::All { kind: None, state: None, text: String::new(), before: None, limit: 10 };
        assert_eq!(town.of(name, all).await.is_ok(), ["a", "k"].contains(&name), "{name}");
    }
    let Answer::List { lines, .. } = town.of("hanako", Order::Waiting { after: None }).await.unwrap() else {
        panic!()
    };
    assert!(lines.is_empty());
    let Answer::List { lines, .. } = town.of("b", Order::Waiting { after: None }).await.unwrap() else {
        panic!()
    };
    assert_eq!(lines.len(), 1);
    let search = |text: &str, state: Option<&str>| Order::All {
        kind: Some("duty".to_owned()),
        state: state.map(str::to_owned),
        text: text.to_owned(),
        before: None,
        limit: 10,
    };
    for (text, state, found) in [
        ("hanako", None, 1),
        ("#1", None, 1),
        ("閲覧", Some("asked"), 1),
        ("閲覧", Some("done"), 0),
        ("jiro", None, 0),
    ] {
        let Answer::List { lines, .. } = town.of("k", search(text, state)).await.unwrap() else { panic!() };
        assert_eq!(lines.len(), found, "{text}");
    }
    // Another authority of the process has a case of the same number, and its people see their own.
    let other: ruma::OwnedUserId = "@a:nonoichi.test".try_into().unwrap();
    let by = || crate::By::user(&other, audit::Actor::user(&other, true, None));
    let done = town.cases.carry_out(kanazawa(), see.clone(), by()).await;
    assert!(matches!(done, Err(Error::NoAuthority)));
    assert!(town.cases.carry_out(other.server_name(), see, by()).await.is_err());
}

#[tokio::test]
async fn pages_of_own_cases_follow_each_other() {
    let town = Town::with_people().await;
    for duty in ["reading", "audit", "personnel", "approval", "reading"] {
        town.ask("hanako", duty_for("hanako", duty)).await;
    }
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let mine = town.of("hanako", Order::Mine { before, limit: 2 }).await.unwrap();
        let Answer::List { lines, before: next } = mine else { panic!() };
        seen.extend(lines.iter().map(|line| line.id.0));
        before = next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}
