//! Who decides for somebody who is away, and who does not.

use organisation::Absence;

use super::*;
use crate::{
    State,
    tests::{effects::deed, town::day},
};

fn name(deputy: &str, from: &str, until: &str) -> Order {
    Order::NameDeputy { deputy: deputy.to_owned(), from: day(from), until: day(until) }
}

#[tokio::test]
async fn a_deputy_decides_for_the_days_that_were_named_and_it_says_for_whom() {
    let town = Town::with_people().await;
    town.of("bosai-cho", name("taro", "2026-03-02", "2026-03-04")).await.unwrap();
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    assert_eq!(town.deciders(id).await, ["bosai-cho"]);
    town.noon_of("2026-03-02");
    assert_eq!(town.deciders(id).await, ["bosai-cho", "taro for bosai-cho"]);
    let Answer::List { lines, .. } = town.of("taro", Order::Waiting { after: None }).await.unwrap() else {
        panic!()
    };
    assert_eq!(lines[0].for_whom, Some(user("bosai-cho")));
    let done = shown(town.of("taro", approve(id, None)).await.unwrap());
    assert_eq!(done.case.approvals[0].for_whom, Some(user("bosai-cho")));
    assert_eq!(done.history[1].for_whom, Some(user("bosai-cho")));
    town.of("p", approve(id, None)).await.unwrap();
    assert_eq!(town.state(id).await, State::Done);
    // After the last day he does no more, nor does what he agreed to count that is not done by then.
    let id = town.ask("hanako", deed("deed", "防災課", "y")).await;
    town.of("taro", approve(id, None)).await.unwrap();
    town.noon_of("2026-03-05");
    assert!(town.of("p", approve(id, None)).await.is_err());
    assert_eq!(town.deciders(id).await, ["bosai-cho"]);
    assert_eq!(town.log("deputy.").await, ["deputy.name bosai-cho"]);
}

#[tokio::test]
async fn while_the_head_is_away_her_deputy_decides_and_else_who_is_above() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    let person = {
        let all = organisation::Organisations::new(&town.store);
        all.load(kanazawa()).await.unwrap().organisation.owner("bosai-cho").unwrap()
    };
    town.by_hand("2026-03-01", |by_hand, _| by_hand.away(person, Absence::Leave, None).unwrap()).await;
    assert_eq!(town.deciders(id).await, ["bucho"]);
    town.of("bosai-cho", name("jiro", "2026-03-01", "2026-03-31")).await.unwrap();
    assert_eq!(town.deciders(id).await, ["jiro for bosai-cho"]);
    // Nobody decides for a deputy.
    town.of("jiro", name("taro", "2026-03-01", "2026-03-31")).await.unwrap();
    assert_eq!(town.deciders(id).await, ["jiro for bosai-cho"]);
    assert!(town.of("taro", approve(id, None)).await.is_err());
    town.of("bosai-cho", Order::EndDeputy { deputy: user("jiro") }).await.unwrap();
    assert_eq!(town.deciders(id).await, ["bucho"]);
    assert!(town.of("jiro", approve(id, None)).await.is_err());
}

#[tokio::test]
async fn nobody_agrees_to_his_own_case_by_a_deputy_nor_twice() {
    let town = Town::with_people().await;
    town.of("bosai-cho", name("hanako", "2026-03-01", "2026-03-31")).await.unwrap();
    town.of("bucho", name("hanako", "2026-03-01", "2026-03-31")).await.unwrap();
    // The head asks: neither she nor who decides for her; it goes to who is above, and to his deputy.
    let id = town.ask("bosai-cho", deed("deed", "防災課", "x")).await;
    assert_eq!(town.deciders(id).await, ["bucho", "hanako for bucho"]);
    // The deputy asks: not he.
    let id = town.ask("hanako", deed("deed", "防災課", "y")).await;
    assert_eq!(town.deciders(id).await, ["bosai-cho"]);
    // An account that nobody knows is nobody's deputy, nor does one that has no post name any.
    for wrong in ["nobody", "a", "root", "bosai-cho", "@x:nonoichi.test"] {
        refusal(town.of("bosai-cho", name(wrong, "2026-03-01", "2026-03-31")).await);
    }
    refusal(town.of("nobody", name("hanako", "2026-03-01", "2026-03-31")).await);
    // Days that are none, over, or too many.
    for (from, until) in
        [("2026-03-05", "2026-03-04"), ("2026-01-01", "2026-02-01"), ("2026-03-01", "2027-03-01")]
    {
        refusal(town.of("bosai-cho", name("taro", from, until)).await);
    }
    // A duty is not handed on.
    town.of("jinji-cho", name("taro", "2026-03-01", "2026-03-31")).await.unwrap();
    town.set_duty("jinji-cho", duties::Duty::Personnel, true).await;
    town.set_duty("p", duties::Duty::Personnel, false).await;
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    assert_eq!(town.deciders(id).await, ["jinji-cho"]);
    // Who has decided as a deputy does not decide for himself in the next step, nor does she for whom he did.
    let id = town.ask("taro", deed("deed", "人事課", "z")).await;
    assert_eq!(town.deciders(id).await, ["jinji-cho"]);
    town.of("jinji-cho", approve(id, None)).await.unwrap();
    assert_eq!(town.deciders(id).await, ["a", "b", "c"], "she alone has the duty, and has decided");
}
