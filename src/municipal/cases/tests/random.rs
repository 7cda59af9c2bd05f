//! Random deeds of random people, beside a model of what may come of them.

use std::collections::BTreeMap;

use base::Random;
use duties::Duty;
use store::{MemoryDisk, Order as Direction, Range};

use super::*;
use crate::{
    Deed, State,
    tables::{COUNTS, DUE, OPEN},
    tests::effects::{deed, done},
};

const PEOPLE: [&str; 10] = ["a", "b", "c", "p", "k", "bucho", "bosai-cho", "hanako", "jinji-cho", "taro"];

/// What has to hold of a case, whatever was done.
async fn check(town: &Town, id: CaseId) {
    let shown = town.look(id).await;
    let (case, history) = (&shown.case, &shown.history);
    assert_eq!(usize::try_from(case.version).unwrap(), history.len());
    let count = |deed| history.iter().filter(|event| event.deed == deed).count();
    let is_duty = case.kind == "duty";
    if matches!(case.state, State::Done | State::Undone) {
        assert_eq!(count(Deed::CarriedOut), 1, "{history:?}");
        assert_eq!(case.approvals.len(), 2);
        let mut users: Vec<_> = case.approvals.iter().map(|approval| &approval.user).collect();
        users.extend(case.approvals.iter().filter_map(|approval| approval.for_whom.as_ref()));
        users.push(&case.asker);
        users.extend(case.subjects.iter().filter(|subject| **subject != case.asker));
        let all = users.len();
        users.sort();
        users.dedup();
        assert_eq!(users.len(), all, "as many people as are asked for: {case:?}");
    } else {
        assert_eq!(count(Deed::CarriedOut), 0, "{history:?}");
    }
    if !is_duty {
        let wanted = i64::from(count(Deed::CarriedOut) == 1);
        assert_eq!(done(town, "x", id).await, wanted, "{history:?}");
    }
}

/// Lists and counts say what the cases say.
async fn check_lists(town: &Town, cases: u64) {
    let name = kanazawa().as_str();
    let rows = town.store.scan(&OPEN, Range::prefix(name), Direction::Ascending, 10_000).await.unwrap();
    let open: Vec<u64> = rows.into_iter().map(|((_, id), ())| id.0).collect();
    let rows = town.store.scan(&DUE, Range::prefix(name), Direction::Ascending, 10_000).await.unwrap();
    let due: BTreeMap<u64, u64> = rows.iter().map(|((_, at, id), ())| (id.0, *at)).collect();
    assert_eq!(due.len(), rows.len(), "one row for each case");
    let mut wanted = (Vec::new(), BTreeMap::new());
    for id in 1..=cases {
        let case = town.look(CaseId(id)).await.case;
        wanted.0.extend(case.state.is_open().then_some(id));
        wanted.1.extend(case.due.map(|due| (id, due.millis())));
    }
    assert_eq!((open, due), wanted);
    let count = town.store.get(&COUNTS, name).await.unwrap().map_or(0, |count| count.0);
    assert_eq!(usize::try_from(count).unwrap(), wanted.0.len());
}

/// How many cases were carried out.
async fn walk(seed: u64, steps: usize) -> usize {
    let town = Town::at(&MemoryDisk::default(), false).await;
    town.fill().await;
    let random = Random::seeded(seed);
    let pick = |count: usize| usize::try_from(random.range(0..count as u64)).unwrap();
    let mut cases: u64 = 0;
    for step in 0..steps {
        let id = CaseId(cases.saturating_sub(random.range(0..4)));
        let mut name = PEOPLE[pick(PEOPLE.len())];
        if (1..=cases).contains(&id.0) && pick(2) == 0 {
            let deciders = town.deciders(id).await;
            let first = |told: &String| told.split(' ').next().unwrap().to_owned();
            let some: Vec<_> = deciders.iter().map(first).collect();
            name = PEOPLE.into_iter().find(|name| some.iter().any(|one| one == name)).unwrap_or(name);
        }
        let seen = (pick(2) == 0).then(|| u32::try_from(random.range(1..4)).unwrap());
        let text = "理由".to_owned();
        let order = match pick(14) {
            0 | 1 => duty_for(PEOPLE[pick(PEOPLE.len())], ["reading", "audit", "personnel"][pick(3)]),
            2 => deed(["deed", "deed_alone"][pick(2)], ["防災課", "人事課", "総務部"][pick(3)], "x"),
            3..=8 => Order::Approve { id, text, seen, means: Default::default() },
            9 => Order::Return { id, text, seen },
            10 => Order::Withdraw { id, text, seen },
            11 => Order::Refuse { id, text, seen },
            12 => Order::Undo { id, text, seen },
            _ => {
                match pick(4) {
                    0 => town.set_duty("b", Duty::Approval, pick(2) == 0).await,
                    1 => town.account("c", Some((pick(2) == 0, pick(4) > 0))).await,
                    2 => {
                        let deputy = PEOPLE[pick(PEOPLE.len())].to_owned();
                        let (from, until) = ("2026-03-01".parse().unwrap(), "2026-05-01".parse().unwrap());
                        town.of(name, Order::NameDeputy { deputy, from, until }).await.ok();
                    }
                    _ => {
                        town.hand.advance(std::time::Duration::from_secs(random.range(0..86_400)));
                        town.see_to().await;
                    }
                }
                continue;
            }
        };
        let (other, second) = (PEOPLE[pick(PEOPLE.len())], order.clone());
        // Sometimes two people at once.
        let done = match pick(4) {
            0 => {
                let (one, two) = tokio::join!(town.of(name, order), town.of(other, second));
                vec![one, two]
            }
            _ => vec![town.of(name, order).await],
        };
        for one in done {
            match one {
                Ok(answer) => cases = cases.max(shown(answer).id.0),
                Err(error) => assert!(error.words().is_some(), "{seed} {step}: {error}"),
            }
        }
        if (1..=cases).contains(&id.0) {
            check(&town, id).await;
        }
    }
    for id in 1..=cases {
        check(&town, CaseId(id)).await;
    }
    check_lists(&town, cases).await;
    town.log("case.carry_out").await.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_people_do_each_deed_has_as_many_people_as_are_asked_for_and_is_done_once() {
    let mut done = 0;
    for seed in 0..4 {
        done += walk(seed, 400).await;
    }
    assert!(done > 20, "only {done} came to something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "some minutes"]
async fn the_same_for_many_more_walks() {
    for seed in 100..160 {
        walk(seed, 800).await;
    }
}
