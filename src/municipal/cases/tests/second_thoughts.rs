//! What was found by attacking cases once more: deadlines, deputies, retries, and reminders that are late or stale.

use std::time::Duration;

use organisation::Absence;

use super::*;
use crate::{
    State,
    limits::{MOST_LINES, MOST_OPEN_OF_ONE},
    tables::{TOLD, TellRow, Why},
    tests::{
        effects::{deed, done},
        town::day,
    },
};

fn name(deputy: &str) -> Order {
    Order::NameDeputy { deputy: deputy.to_owned(), from: day("2026-03-01"), until: day("2026-06-30") }
}

fn told(town: &Town) -> Vec<String> {
    town.people.told.lock().iter().map(|((user, _), text)| format!("{user}: {text}")).collect()
}

async fn away(town: &Town, name: &str) {
    let all = organisation::Organisations::new(&town.store);
    let person = all.load(kanazawa()).await.unwrap().organisation.owner(name).unwrap();
    town.by_hand("2026-03-01", |by_hand, _| by_hand.away(person, Absence::Leave, None).unwrap()).await;
}

#[tokio::test]
async fn what_has_expired_is_decided_by_nobody_though_nobody_has_seen_to_it_yet() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    let returned = town.ask("hanako", deed("deed", "防災課", "y")).await;
    let back = Order::Return { id: returned, text: "短く".to_owned(), seen: None };
    town.of("bosai-cho", back).await.unwrap();
    let failed = town.ask("hanako", deed("deed", "防災課", "refused")).await;
    town.of("bosai-cho", approve(failed, None)).await.unwrap();
    town.of("p", approve(failed, None)).await.unwrap();
    town.noon_of("2026-03-20");
    for order in [
        approve(id, None),
        Order::Refuse { id, text: "だめ".to_owned(), seen: None },
        Order::Return { id, text: "短く".to_owned(), seen: None },
    ] {
        assert!(refusal(town.of("bosai-cho", order).await).contains("期限"));
    }
    let Answer::List { lines, .. } = town.of("bosai-cho", Order::Waiting { after: None }).await.unwrap()
    else {
        panic!()
    };
    assert!(lines.is_empty(), "{lines:?}");
    let Order::Ask { fields, reason, .. } = deed("deed", "防災課", "y") else { panic!() };
    let again = Order::AskAgain { id: returned, fields, reason, seen: None, means: Default::default() };
    assert!(refusal(town.of("hanako", again).await).contains("期限"));
    let retry = Order::Retry { id: failed, seen: None };
    assert!(refusal(town.of("hanako", retry).await).contains("期限"));
    town.see_to().await;
    for id in [id, returned, failed] {
        assert_eq!(town.state(id).await, State::Expired);
    }
    assert_eq!(done(&town, "x", id).await, 0);
}

#[tokio::test]
async fn what_fails_is_not_tried_without_end_by_one_person() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "refused")).await;
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    town.of("p", approve(id, None)).await.unwrap();
    let mut last = Ok(Answer::Done);
    for _ in 0..MOST_LINES {
        last = town.of("hanako", Order::Retry { id, seen: None }).await;
        if last.is_err() {
            break;
        }
    }
    assert!(refusal(last).contains("多すぎます"));
    let lines = town.look(id).await.history.len();
    assert!(lines <= MOST_LINES as usize + 2, "{lines}");
    town.of("hanako", Order::Withdraw { id, text: String::new(), seen: None }).await.unwrap();
}

#[tokio::test]
async fn who_may_try_again_what_failed_sees_it_and_is_shown_what_came_of_it() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "refused")).await;
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    town.of("p", approve(id, None)).await.unwrap();
    assert!(town.of("bucho", Order::Case { id }).await.is_err());
    assert!(town.of("bucho", Order::Retry { id, seen: None }).await.is_err());
    // She who agreed is there no more: it is his who heads the unit above.
    town.account("bosai-cho", None).await;
    let case = shown(town.of("bucho", Order::Case { id }).await.unwrap());
    assert!(case.may.contains(&"retry".to_owned()), "{:?}", case.may);
    let case = shown(town.of("bucho", Order::Retry { id, seen: None }).await.unwrap());
    assert_eq!(case.case.state, State::Asked, "her approval counts no more");
    assert!(town.of("taro", Order::Case { id }).await.is_err());
}

#[tokio::test]
async fn who_is_away_decides_for_nobody_else_either() {
    let town = Town::with_people().await;
    town.of("bosai-cho", name("taro")).await.unwrap();
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    assert_eq!(town.deciders(id).await, ["bosai-cho", "taro for bosai-cho"]);
    away(&town, "taro").await;
    assert_eq!(town.deciders(id).await, ["bosai-cho"]);
    assert!(town.of("taro", approve(id, None)).await.is_err());
}

#[tokio::test]
async fn what_a_deputy_agreed_to_counts_for_whom_it_was_given_and_not_for_another_one() {
    let town = Town::with_people().await;
    town.of("bosai-cho", name("taro")).await.unwrap();
    town.of("bucho", name("taro")).await.unwrap();
    away(&town, "bosai-cho").await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    assert_eq!(town.deciders(id).await, ["taro for bosai-cho"]);
    town.of("taro", approve(id, None)).await.unwrap();
    assert_eq!(town.deciders(id).await, ["p"]);
    // She takes it from him. He is another one's deputy still, who has not been asked.
    town.of("bosai-cho", Order::EndDeputy { deputy: user("taro") }).await.unwrap();
    assert!(town.of("p", approve(id, None)).await.is_err());
    assert_eq!(town.deciders(id).await, ["bucho", "taro for bucho"]);
    assert_eq!(done(&town, "x", id).await, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_in_the_second_step_is_told_once_however_late_the_first_is_told() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    town.see_to().await;
    assert_eq!(told(&town), ["p: 案件 1「x」があなたの承認を待っています。 /_yakuba/counter/cases/1"]);
    // Who could not be told in time is not told of what waits for him no more.
    let id = town.ask("taro", deed("deed", "防災課", "y")).await;
    *town.people.is_down.lock() = true;
    town.see_to().await;
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    *town.people.is_down.lock() = false;
    town.hand.advance(Duration::from_secs(61));
    town.see_to().await;
    let all = told(&town);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().all(|told| told.starts_with("p: ")), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn where_an_approval_counts_no_more_whoever_is_asked_anew_hears_of_it_by_himself() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    town.see_to().await;
    town.noon_of("2026-03-03");
    town.see_to().await;
    assert_eq!(told(&town).len(), 2, "p, and once more");
    town.account("bosai-cho", Some((false, false))).await;
    town.noon_of("2026-03-05");
    town.see_to().await;
    let all = told(&town);
    assert!(all.iter().any(|told| told.starts_with("bucho: ")), "{all:?}");
    assert_eq!(town.log("case.void_approval").await.len(), 1);
    town.see_to().await;
    assert_eq!(told(&town).len(), all.len());
    town.of("bucho", approve(id, None)).await.unwrap();
    town.of("p", approve(id, None)).await.unwrap();
    assert_eq!(town.state(id).await, State::Done);
}

#[tokio::test(start_paused = true)]
async fn an_authority_with_thousands_to_tell_holds_up_no_other() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    let many: Vec<_> = (0..30).map(|n| user(&format!("n{n}"))).collect();
    let row = |to: &[ruma::OwnedUserId]| TellRow {
        why: Why::Asker,
        to: Some(to.to_vec()),
        not_before: base::Timestamp(0),
        tries: 0,
    };
    let case = town.look(id).await.case;
    let mut batch = store::Batch::new();
    for line in 1..1_000 {
        batch.put(&TOLD, &(kanazawa().as_str(), id, line), &row(&many));
    }
    let theirs: ruma::OwnedUserId = "@theirs:nonoichi.test".try_into().unwrap();
    batch.put(&crate::tables::CASES, &("nonoichi.test", CaseId(1)), &case);
    batch.put(&TOLD, &("nonoichi.test", CaseId(1), 0), &row(std::slice::from_ref(&theirs)));
    town.store.commit(batch).await.unwrap();
    let telling = town.cases.tell_everybody();
    let waited = tokio::time::timeout(Duration::from_secs(600), telling).await;
    assert!(waited.is_err(), "it takes longer");
    assert!(told(&town).iter().any(|told| told.starts_with("theirs: ")));
}

#[tokio::test]
async fn what_is_not_to_be_seen_is_no_reason_and_turns_or_breaks_no_line() {
    let town = Town::with_people().await;
    let ask = |what: &str, reason: &str| {
        let Order::Ask { kind, fields, .. } = deed("deed", "防災課", what) else { panic!() };
        Order::Ask { kind, fields, reason: reason.to_owned(), means: Default::default() }
    };
    for nothing in ["\u{200b}", "\u{feff} \u{2060}", "\u{ad}", "\u{200d}\u{fe0f}", "\u{3164}"] {
        refusal(town.of("hanako", ask("x", nothing)).await);
        refusal(town.of("hanako", ask(nothing, "理由")).await);
    }
    for odd in
        ["a\u{2028}b", "a\u{2029}b", "\u{200f}abc", "a\u{61c}b", "a\u{200e}b", "a\u{e0041}b", "a\u{fffa}b"]
    {
        refusal(town.of("hanako", ask("x", odd)).await);
        refusal(town.of("hanako", ask(odd, "理由")).await);
    }
    // Variants of kanji and joined pictures are letters that people type; what text from elsewhere brings along goes.
    let id =
        town.ask("hanako", ask("葛\u{e0100}城 👩\u{200d}🚒", "辻\u{e0101}\u{200b}さん\u{feff}の件")).await;
    let case = town.look(id).await.case;
    assert_eq!(case.title.ja, "葛\u{e0100}城 👩\u{200d}🚒");
    assert_eq!(case.reason, "辻\u{e0101}さんの件");
}

#[tokio::test]
async fn nobody_has_more_cases_open_for_having_asked_for_many_since() {
    let town = Town::with_people().await;
    let mut asked = 0;
    for n in 1..MOST_OPEN_OF_ONE {
        town.ask("hanako", duty_for("hanako", ["reading", "audit"][n % 2])).await;
        asked += 1;
    }
    for day in 2..16 {
        while asked < 40 {
            let id = town.ask("hanako", duty_for("hanako", "reading")).await;
            town.of("hanako", Order::Withdraw { id, text: String::new(), seen: None }).await.unwrap();
            asked += 1;
        }
        town.noon_of(&format!("2026-03-{day:02}"));
        town.hand.advance(Duration::from_secs(1));
        asked = 0;
    }
    town.ask("hanako", duty_for("hanako", "reading")).await;
    assert!(refusal(town.of("hanako", duty_for("hanako", "reading")).await).contains("20 件まで"));
}

#[tokio::test]
async fn what_waits_behind_a_hundred_others_is_on_the_next_page() {
    let town = Town::with_people().await;
    for name in ["bucho", "hanako", "taro", "jiro", "jinji-cho", "p"] {
        for n in 0..20 {
            town.ask(name, deed("deed", "防災課", &n.to_string())).await;
        }
    }
    let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let waiting = town.of("bosai-cho", Order::Waiting { after }).await.unwrap();
        let Answer::List { lines, before } = waiting else { panic!() };
        seen.extend(lines.iter().map(|line| line.id.0));
        (after, pages) = (before, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), ((1..=120).collect::<Vec<_>>(), 2));
}
