//! Reminders: each once, in the room of whom it concerns, and nothing but what it is called and where it is.

use store::MemoryDisk;

use super::*;
use crate::{
    tables::{TOLD, TellRow, Why},
    tests::effects::deed,
};

fn told(town: &Town) -> Vec<String> {
    town.people.told.lock().iter().map(|((user, _), text)| format!("{user}: {text}")).collect()
}

#[tokio::test(start_paused = true)]
async fn each_is_told_once_when_it_waits_when_it_still_does_and_at_the_end() {
    let town = Town::with_people().await;
    let id = town.ask("hanako", deed("deed", "防災課", "x")).await;
    town.see_to().await;
    assert_eq!(
        told(&town),
        ["bosai-cho: 案件 1「x」があなたの承認を待っています。 /_yakuba/counter/cases/1"]
    );
    town.see_to().await;
    town.noon_of("2026-03-02");
    town.see_to().await;
    town.see_to().await;
    assert_eq!(told(&town).len(), 2);
    assert!(told(&town).iter().any(|told| told.contains("まだ")), "{:?}", told(&town));
    town.noon_of("2026-03-04");
    town.see_to().await;
    assert_eq!(told(&town).len(), 2, "once for a step");
    town.of("bosai-cho", approve(id, None)).await.unwrap();
    town.see_to().await;
    town.of("p", approve(id, None)).await.unwrap();
    town.see_to().await;
    let all = told(&town);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().any(|told| told.starts_with("p: ")));
    assert!(
        all.iter()
            .any(|told| told == "hanako: あなたが申請した案件 1「x」: 実施済み /_yakuba/counter/cases/1")
    );
    assert!(all.iter().all(|told| !told.contains("試すため")), "no reasons, no remarks");
    assert_eq!(*town.people.again.lock(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_told_now_is_told_later_and_nobody_else_again() {
    let town = Town::with_people().await;
    town.ask("hanako", duty_for("hanako", "audit")).await;
    *town.people.is_down.lock() = true;
    town.see_to().await;
    assert_eq!(told(&town).len(), 0);
    *town.people.is_down.lock() = false;
    town.see_to().await;
    assert_eq!(told(&town).len(), 0, "not at once");
    town.hand.advance(std::time::Duration::from_secs(61));
    town.see_to().await;
    assert_eq!(told(&town).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_behind_a_hundred_who_are_told_later_is_told_now() {
    let town = Town::with_people().await;
    let later = TellRow { why: Why::Waits, to: None, not_before: base::Timestamp(u64::MAX), tries: 0 };
    let mut batch = store::Batch::new();
    for line in 0..100 {
        batch.put(&TOLD, &(kanazawa().as_str(), CaseId(0), line), &later);
    }
    town.store.commit(batch).await.unwrap();
    town.ask("hanako", deed("deed", "防災課", "x")).await;
    town.see_to().await;
    assert_eq!(told(&town).len(), 1);
}

#[tokio::test]
async fn nobody_is_told_where_that_is_switched_off() {
    let town = Town::at(&MemoryDisk::default(), false).await;
    town.fill().await;
    town.ask("hanako", duty_for("hanako", "audit")).await;
    town.see_to().await;
    assert_eq!(told(&town).len(), 0);
}
