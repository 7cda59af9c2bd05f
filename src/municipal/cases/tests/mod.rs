//! Cases over a store in memory, with people from personnel files and accounts that are made up.

#![expect(clippy::unwrap_used, reason = "tests")]

mod attacks;
mod changes;
mod crashing;
mod deputies;
mod effects;
mod life;
mod random;
mod second_thoughts;
mod telling;
mod town;

use crate::{
    Answer, CaseId, Error, Order, Shown,
    tests::town::{Town, kanazawa, user},
};

/// The duty of an account, asked for by whoever.
fn duty_for(account: &str, duty: &str) -> Order {
    duty_until(account, duty, "2026-12-31")
}

fn duty_until(account: &str, duty: &str, until: &str) -> Order {
    let field = |word: &str, value: &str| (word.to_owned(), value.to_owned());
    Order::Ask {
        kind: "duty".to_owned(),
        fields: vec![field("account", account), field("duty", duty), field("until", until)],
        reason: "担当になったため".to_owned(),
        means: Default::default(),
    }
}

fn approve(id: CaseId, seen: Option<u32>) -> Order {
    Order::Approve { id, text: String::new(), seen, means: Default::default() }
}

fn shown(answer: Answer) -> Shown {
    match answer {
        Answer::Case(shown) => *shown,
        other => panic!("{other:?}"),
    }
}

/// What somebody is told who is refused, in Japanese.
fn refusal<T: std::fmt::Debug>(done: Result<T, Error>) -> String {
    let told = done.unwrap_err().words().unwrap();
    assert!(!told.en.is_empty(), "{told:?}");
    told.ja
}
