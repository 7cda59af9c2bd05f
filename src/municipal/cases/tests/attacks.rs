//! What is tried against cases: one person as two, replays, races, too much of everything.

use duties::Duty;

use super::*;
use crate::{
    State,
    tests::{effects::deed, town::PEOPLE},
};

#[tokio::test]
async fn nobody_decides_what_he_asks_for_or_what_is_about_him_by_whatever_account() {
    let town = Town::with_people().await;
    town.take(&format!("{PEOPLE}7,主査 七,総務部　人事課,主査,,2020-04-01,a\n"), "2026-03-01").await;
    let id = town.ask("a", duty_for("a", "reading")).await;
    assert!(refusal(town.of("a", approve(id, None)).await).contains("自分"));
    town.of("b", approve(id, None)).await.unwrap();
    assert!(refusal(town.of("b", approve(id, None)).await).contains("一人で二つ"));
    assert!(!town.has("a", Duty::Reading).await);
    // About him, asked by somebody else.
    let id = town.ask("p", duty_for("b", "reading")).await;
    assert_eq!(town.deciders(id).await, ["a", "c"]);
    assert!(refusal(town.of("b", approve(id, None)).await).contains("自分"));
    // Who only administers, or only has the duty to approve, decides nothing.
    town.account("shadow", Some((true, true))).await;
    assert!(town.of("shadow", approve(id, None)).await.is_err());
    town.set_duty("taro", Duty::Approval, true).await;
    assert!(town.of("taro", approve(id, None)).await.is_err());
    assert!(refusal(town.by_operator(approve(id, None)).await).contains("--user"));
    // Nobody but who sees to it asks for others.
    assert!(refusal(town.of("hanako", duty_for("taro", "reading")).await).contains("全体管理者か人事担当"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_clicks_and_two_people_at_once_decide_once() {
    let town = Town::with_people().await;
    for _ in 0..10 {
        let id = town.ask("hanako", duty_for("hanako", "reading")).await;
        let click = |name: &'static str| town.of(name, approve(id, Some(1)));
        let done = tokio::join!(click("a"), click("a"), click("a"), click("a"), click("a"));
        for one in [done.0, done.1, done.2, done.3, done.4] {
            let shown = shown(one.unwrap());
            assert_eq!((shown.case.approvals.len(), shown.missing), (1, 1));
        }
        let refuse = Order::Refuse { id, text: "だめ".to_owned(), seen: Some(2) };
        let (yes, no) = tokio::join!(town.of("b", approve(id, Some(2))), town.of("c", refuse));
        assert!(yes.is_ok() != no.is_ok(), "{yes:?} {no:?}");
        let case = town.look(id).await;
        assert_eq!(case.case.state == State::Done, yes.is_ok());
        assert_eq!(town.has("hanako", Duty::Reading).await, yes.is_ok());
        if yes.is_ok() {
            town.of("hanako", Order::Undo { id, text: "x".to_owned(), seen: None }).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_withdrawing_and_the_last_approval_at_once_one_happens() {
    let town = Town::with_people().await;
    for _ in 0..20 {
        let id = town.ask("hanako", duty_for("hanako", "reading")).await;
        town.of("a", approve(id, None)).await.unwrap();
        let withdraw = Order::Withdraw { id, text: String::new(), seen: None };
        let (back, yes) = tokio::join!(town.of("hanako", withdraw), town.of("b", approve(id, None)));
        assert!(back.is_ok() != yes.is_ok(), "{back:?} {yes:?}");
        assert_eq!(town.has("hanako", Duty::Reading).await, yes.is_ok());
        let state = town.state(id).await;
        assert_eq!(state, if yes.is_ok() { State::Done } else { State::Withdrawn });
        if yes.is_ok() {
            town.of("hanako", Order::Undo { id, text: "x".to_owned(), seen: None }).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_approval_counts_only_while_its_giver_may_decide() {
    let town = Town::with_people().await;
    for lose in ["duty", "administration", "lock", "close"] {
        let id = town.ask("hanako", duty_for("hanako", "reading")).await;
        town.of("a", approve(id, None)).await.unwrap();
        match lose {
            "duty" => town.set_duty("a", Duty::Approval, false).await,
            "administration" => town.account("a", Some((false, true))).await,
            "lock" => town.account("a", Some((true, false))).await,
            _ => town.account("a", None).await,
        }
        assert_eq!(town.look(id).await.missing, 2, "{lose}");
        town.of("b", approve(id, None)).await.unwrap();
        assert_eq!(town.state(id).await, State::Asked, "{lose}");
        assert!(!town.has("hanako", Duty::Reading).await, "{lose}");
        town.of("c", approve(id, None)).await.unwrap();
        assert!(town.has("hanako", Duty::Reading).await, "{lose}");
        town.of("hanako", Order::Undo { id, text: "x".to_owned(), seen: None }).await.unwrap();
        town.account("a", Some((true, true))).await;
        town.set_duty("a", Duty::Approval, true).await;
    }
    assert_eq!(town.log("case.void_approval").await.len(), 4);
}

#[tokio::test]
async fn what_is_typed_is_bounded_and_what_cannot_be_seen_is_refused() {
    let town = Town::with_people().await;
    let long = "あ".repeat(1_001);
    let ask = |reason: &str, fields: &[(&str, &str)]| Order::Ask {
        kind: "duty".to_owned(),
        fields: fields.iter().map(|(word, value)| ((*word).to_owned(), (*value).to_owned())).collect(),
        reason: reason.to_owned(),
        means: Default::default(),
    };
    let good = [("account", "hanako"), ("duty", "audit"), ("until", "2026-12-31")];
    for (reason, fields) in [
        ("", good),
        (long.as_str(), good),
        ("a\u{0}b", good),
        ("a\u{202e}b", good),
        ("x", [("account", "@hanako:nonoichi.test"), good[1], good[2]]),
        ("x", [("account", "root"), good[1], good[2]]),
        ("x", [("account", "HANAKO "), ("duty", "everything"), good[2]]),
        ("x", [good[0], ("duty", ""), good[2]]),
        ("x", [good[0], good[1], ("until", "2026-02-28")]),
        ("x", [good[0], good[1], ("until", "2036-12-31")]),
        ("x", [good[0], good[1], ("until", "明日")]),
    ] {
        refusal(town.of("hanako", ask(reason, &fields)).await);
    }
    let many: Vec<_> = (0..30).map(|_| ("account", "hanako")).collect();
    refusal(town.of("hanako", ask("x", &many)).await);
    assert_eq!(town.log("case.").await, Vec::<String>::new());
    // Lines stay, and what is around it goes.
    let id = town.ask("hanako", ask(" 一行目\r\n二行目 ", &good)).await;
    assert_eq!(town.look(id).await.case.reason, "一行目\n二行目");
    let approve = Order::Approve { id, text: long, seen: None, means: Default::default() };
    assert!(refusal(town.of("a", approve).await).contains("1000 文字まで"));
}

#[tokio::test]
async fn nobody_has_more_than_so_many_cases_open_or_asks_for_more_in_a_day() {
    let town = Town::with_people().await;
    for _ in 0..2 {
        let mut ids = Vec::new();
        for n in 0..20 {
            ids.push(town.ask("hanako", deed("deed", "防災課", &n.to_string())).await);
        }
        assert!(refusal(town.of("hanako", deed("deed", "防災課", "x")).await).contains("20 件まで"));
        for id in ids {
            town.of("hanako", Order::Withdraw { id, text: String::new(), seen: None }).await.unwrap();
        }
    }
    assert!(refusal(town.of("hanako", deed("deed", "防災課", "x")).await).contains("40 件まで"));
    town.ask("taro", deed("deed", "防災課", "x")).await;
    town.noon_of("2026-03-03");
    town.ask("hanako", deed("deed", "防災課", "x")).await;
}

#[tokio::test]
async fn the_case_of_somebody_who_has_left_is_not_decided_and_ends() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    town.account("hanako", None).await;
    assert!(refusal(town.of("bosai-cho", approve(id, None)).await).contains("申請者のアカウント"));
    assert!(town.of("hanako", Order::Case { id }).await.is_err(), "he may nothing any more");
    assert_eq!(town.deciders(id).await, ["bosai-cho"], "it is shown where it stands");
    town.noon_of("2026-03-20");
    town.see_to().await;
    assert_eq!(town.state(id).await, State::Expired);
    // Whom it is about has left when it is decided: that is said, and nothing is given.
    let id = town.ask("p", duty_for("taro", "reading")).await;
    town.of("a", approve(id, None)).await.unwrap();
    town.account("taro", None).await;
    town.of("b", approve(id, None)).await.unwrap();
    assert!(matches!(town.state(id).await, State::Failed(_)));
    assert!(!town.has("taro", Duty::Reading).await);
}
