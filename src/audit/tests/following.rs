//! Writing rows, carrying on the chain, sealing days.

use std::sync::atomic::{AtomicBool, Ordering};

use store::{CommitError, Order, Position, Range, Table, Tuning};

use super::*;
use crate::{
    Fault, LastSeal, chained, follow,
    tables::{CHAINS, RECORDS},
};

static OTHER: Table<u64, u64> = Table::new(209, "test.other", Tuning::Small);

async fn count(office: &Office) -> usize {
    office.store.scan(&RECORDS, Range::all(), Order::Ascending, 10_000).await.unwrap().len()
}

#[tokio::test]
async fn a_deed_that_is_done_has_its_row_and_one_that_fails_has_none() {
    let office = Office::new().await;
    for (expected, rows) in [(None, 1), (None, 1), (Some(1), 2)] {
        let mut batch = Batch::new();
        batch.require(&OTHER, &1, expected.as_ref());
        batch.put(&OTHER, &1, &1);
        office.sign_in().write(&mut batch, kanazawa());
        let done = office.store.commit(batch).await;
        let is_refused = matches!(done, Err(CommitError::Conflict { .. }));
        assert_eq!((count(&office).await, is_refused), (rows, rows == 1 && done.is_err()));
    }
}

#[tokio::test]
async fn rows_of_one_batch_are_two_rows_and_each_authority_has_a_chain_of_its_own() {
    let mut office = Office::new().await;
    let mut batch = Batch::new();
    for name in [kanazawa(), kanazawa(), wajima()] {
        office.sign_in().write(&mut batch, name);
    }
    office.store.commit(batch).await.unwrap();
    assert_eq!(office.verify(kanazawa()).await.waiting, 2);
    office.follow().await;
    let (ours, theirs) = (office.verify(kanazawa()).await, office.verify(wajima()).await);
    assert_eq!((ours.rows, ours.waiting, ours.wrong.clone()), (2, 0, None));
    assert_eq!((theirs.rows, theirs.waiting, theirs.wrong), (1, 0, None));
    assert_ne!(ours.chain, theirs.chain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_race_with_each_other_and_with_writers_make_one_chain() {
    let office = Office::new().await;
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, deed) = (office.store.clone(), office.sign_in());
            tokio::spawn(async move {
                for _ in 0..200 {
                    let mut batch = Batch::new();
                    deed.write(&mut batch, kanazawa());
                    store.commit(batch).await.unwrap();
                }
            })
        })
        .collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..3)
        .map(|_| {
            let mut follower = Follower::new(&office.store, &office.authorities, &office.clock);
            let is_over = is_over.clone();
            tokio::spawn(async move {
                while !is_over.load(Ordering::Acquire) {
                    follower.catch_up().await.unwrap();
                    tokio::task::yield_now().await;
                }
                follower.catch_up().await.unwrap();
            })
        })
        .collect();
    while writers.iter().any(|writer| !writer.is_finished()) {
        // At no time has the end of the chain gone back behind its links.
        assert_eq!(office.verify(kanazawa()).await.wrong, None);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    is_over.store(true, Ordering::Release);
    for follower in followers {
        follower.await.unwrap();
    }
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.rows, found.waiting, found.wrong), (800, 0, None));
}

#[tokio::test]
async fn a_follower_that_was_held_up_takes_nothing_back_that_another_has_chained() {
    let shaky = Arc::new(shaky::Shaky::default());
    let mut office = Office::over(shaky.clone(), MIDNIGHT + 1, MemoryDisk::default()).await;
    office.rows(kanazawa(), 5).await;
    office.follow().await;
    office.rows(kanazawa(), 5).await;
    let (reached, go_on) = shaky.hold_next();
    let mut late = Follower::new(&office.store, &office.authorities, &office.clock);
    let late = tokio::spawn(async move { late.catch_up().await.unwrap() });
    reached.await.unwrap();
    office.hand.advance(A_DAY);
    office.rows(kanazawa(), 5).await;
    office.follow().await;
    let before = office.verify(kanazawa()).await;
    assert_eq!((before.rows, before.seals, &before.wrong), (15, 1, &None));

    go_on.send(()).unwrap();
    late.await.unwrap();

    assert_eq!(office.verify(kanazawa()).await, before);
}

#[tokio::test]
async fn after_a_crash_the_chain_goes_on_where_it_was() {
    let mut office = Office::new().await;
    office.rows(kanazawa(), 1_200).await;
    office.follow().await;
    let before = office.verify(kanazawa()).await;
    assert_eq!((before.rows, &before.wrong), (1_200, &None));
    office.rows(kanazawa(), 3).await;

    let mut office = office.crash().await;
    assert_eq!(office.verify(kanazawa()).await.waiting, 3);
    office.rows(kanazawa(), 2).await;
    office.follow().await;

    let after = office.verify(kanazawa()).await;
    assert_eq!((after.rows, after.waiting, after.wrong), (1_205, 0, None));
}

#[tokio::test]
async fn a_day_is_sealed_when_it_is_over_whether_or_not_anybody_does_anything() {
    let mut office = Office::new().await;
    let first = office.today();
    office.rows(kanazawa(), 2).await;
    office.follow().await;
    assert_eq!(office.verify(kanazawa()).await.last_seal, None);

    office.hand.advance(A_DAY);
    office.follow().await;
    let seal = LastSeal { day: first, number: 2 };
    assert_eq!(office.verify(kanazawa()).await.last_seal, Some(seal));

    // What comes late belongs to the next day, and days on which nothing happens have no seal.
    office.hand.set_back(A_DAY);
    office.rows(kanazawa(), 1).await;
    office.hand.set_forward(10 * A_DAY);
    office.rows(kanazawa(), 1).await;
    office.follow().await;
    office.hand.advance(A_DAY);
    office.follow().await;
    office.hand.advance(A_DAY);
    office.follow().await;
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.seals, found.wrong), (3, None));
    assert_eq!(found.last_seal, Some(LastSeal { day: Day(first.0 + 10), number: 4 }));
    assert_eq!(office.verify(wajima()).await.seals, 0);
}

#[tokio::test]
async fn a_calendar_that_was_ahead_for_a_moment_keeps_no_seals_away() {
    let mut office = Office::new().await;
    let first = office.today();
    office.hand.set_forward(1_000 * A_DAY);
    office.rows(kanazawa(), 1).await;
    office.follow().await;
    office.hand.set_back(1_000 * A_DAY);
    for sealed in [1, 2, 3] {
        office.rows(kanazawa(), 2).await;
        office.follow().await;
        office.rows(kanazawa(), 1).await;
        office.follow().await;
        let found = office.verify(kanazawa()).await;
        assert_eq!((found.seals, found.rows, found.wrong), (sealed, 1 + 3 * sealed, None));
        office.hand.advance(A_DAY);
    }
    assert!(office.verify(kanazawa()).await.last_seal.unwrap().day > Day(first.0 + 1_000));

    // Another machine's calendar that is a day behind makes no seals of its own.
    office.follow().await;
    office.rows(kanazawa(), 1).await;
    let before = office.verify(kanazawa()).await.seals;
    office.hand.set_back(A_DAY);
    office.follow().await;
    assert_eq!(office.verify(kanazawa()).await.seals, before);
}

#[tokio::test]
async fn what_cannot_be_read_of_one_authority_holds_up_no_other_and_its_place_is_named() {
    // A key that is none, behind that of a row.
    static ODD: Table<(String, Position, u64), u64> = Table::new(200, "audit.records", Tuning::Append);
    let mut office = Office::new().await;
    office.rows(kanazawa(), 1_000).await;
    office.follow().await;
    office.rows(kanazawa(), 3).await;
    office.rows(wajima(), 1).await;
    let records = office.store.scan(&RECORDS, Range::all(), Order::Ascending, 2_000).await.unwrap();
    let spoil = async |row: usize| {
        let mut batch = Batch::new();
        batch.put(&ODD, &(kanazawa().as_str(), records[row - 1].0.1, 1), &1);
        office.store.commit(batch).await.unwrap();
    };
    spoil(1_002).await;
    let follower = &mut Follower::new(&office.store, &office.authorities, &office.clock);
    assert!(matches!(follower.catch_up().await, Err(crate::Error::Store(_))));
    let found = office.verify(wajima()).await;
    assert_eq!((found.rows, found.waiting, found.wrong), (1, 0, None));

    for (spoilt, rows) in [(1_002, 1_000), (701, 701)] {
        spoil(spoilt).await;
        let found = office.verify(kanazawa()).await;
        let wrong = found.wrong.unwrap();
        assert_eq!((found.rows, wrong.fault, wrong.number), (rows, Fault::Unreadable, rows + 1));
        assert!(wrong.cause.unwrap().contains("audit.records"));
    }
}

#[tokio::test]
async fn a_chain_that_another_process_carries_on_or_seals_is_gone_on_from() {
    let mut office = Office::new().await;
    let mut other = Follower::new(&office.store, &office.authorities, &office.clock);
    office.rows(kanazawa(), 2).await;
    office.follow().await;
    office.hand.advance(A_DAY);
    // The same rows, and a seal.
    other.catch_up().await.unwrap();
    office.rows(kanazawa(), 1).await;
    office.follow().await;
    assert_eq!(office.verify(kanazawa()).await.rows, 3);
    // More rows, and a seal.
    office.rows(kanazawa(), 1).await;
    office.hand.advance(A_DAY);
    other.catch_up().await.unwrap();
    office.rows(kanazawa(), 1).await;
    office.follow().await;
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.rows, found.waiting, found.seals, found.wrong), (5, 0, 2, None));
}

#[tokio::test]
async fn damage_of_one_authority_slows_no_other_down() {
    let office = Office::new().await;
    let mut batch = Batch::new();
    batch.put(&CHAINS, kanazawa().as_str(), &bytes::Bytes::from_static(b"?"));
    static ODD: Table<(String, Position, u64), u64> = Table::new(200, "audit.records", Tuning::Append);
    batch.put(&ODD, &(kanazawa().as_str(), Position(1), 1), &1);
    office.store.commit(batch).await.unwrap();
    for is_end_there in [true, false] {
        if !is_end_there {
            let mut batch = Batch::new();
            batch.delete(&CHAINS, kanazawa().as_str());
            office.store.commit(batch).await.unwrap();
        }
        let edges = Tasks::new(&Metrics::new());
        follow(&office.store, &office.authorities, &office.clock, &Random::seeded(1), &edges);
        for _ in 0..20 {
            let (began, before) = (office.clock.instant(), office.verify(wajima()).await.rows);
            office.rows(kanazawa(), 1).await;
            office.rows(wajima(), 1).await;
            while office.verify(wajima()).await.rows == before {
                office.hand.advance(Duration::from_millis(100));
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
            let took = office.clock.instant().since(began);
            assert!(took < Duration::from_secs(5), "{took:?}");
            office.hand.advance(Duration::from_secs(7));
        }
        edges.stop(Duration::from_secs(10)).await;
    }
}

/// Sign-ins never wait for the follower, so it may be far behind.
#[tokio::test]
async fn a_follower_that_is_far_behind_catches_up_in_pages() {
    let mut office = Office::new().await;
    let mut batch = Batch::new();
    for _ in 0..10_000 {
        office.sign_in().write(&mut batch, kanazawa());
    }
    office.store.commit(batch).await.unwrap();
    office.follow().await;
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.rows, found.waiting, found.wrong), (10_000, 0, None));
}

#[tokio::test]
async fn days_that_nobody_followed_are_sealed_one_by_one() {
    let mut office = Office::new().await;
    for _ in 0..5 {
        office.rows(kanazawa(), 300).await;
        office.hand.advance(A_DAY);
    }
    office.follow().await;
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.rows, found.seals, found.wrong), (1_500, 5, None));
}

#[tokio::test]
async fn seals_hold_after_the_key_was_changed_as_long_as_the_configuration_names_the_old_one() {
    let mut office = Office::new().await;
    office.rows(kanazawa(), 2).await;
    office.hand.advance(A_DAY);
    office.follow().await;

    let new = || authority(kanazawa(), "2", 9);
    let old = office.authorities.find(kanazawa()).unwrap();
    let old = OldKey { key_id: old.key_id().to_owned(), public_key: old.public_key(), expired_ts: MIDNIGHT };
    let renewed = Arc::new(Authorities::new([new().with_old_key(old)]));
    office.rows(kanazawa(), 2).await;
    office.hand.advance(A_DAY);
    Follower::new(&office.store, &renewed, &office.clock).catch_up().await.unwrap();

    let found =
        verify(&office.store, kanazawa(), Some(renewed.find(kanazawa()).unwrap()), None).await.unwrap();
    assert_eq!((found.rows, found.seals, found.wrong), (4, 2, None));

    let found = verify(&office.store, kanazawa(), Some(&new()), None).await.unwrap();
    let wrong = found.wrong.unwrap();
    assert_eq!(
        (wrong.fault, wrong.number, wrong.day),
        (Fault::SealKeyUnknown, 2, Some(Day::of(Timestamp(MIDNIGHT))))
    );
}

#[tokio::test]
async fn what_is_written_before_a_stop_has_its_link_after_it() {
    let office = Office::new().await;
    let edges = Tasks::new(&Metrics::new());
    follow(&office.store, &office.authorities, &office.clock, &Random::seeded(1), &edges);
    office.rows(kanazawa(), 3).await;
    assert_eq!(edges.stop(Duration::from_secs(10)).await, 0);
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.rows, found.waiting, found.wrong), (3, 0, None));
}

#[tokio::test]
async fn rows_are_chained_while_the_server_runs() {
    let office = Office::new().await;
    let edges = Tasks::new(&Metrics::new());
    follow(&office.store, &office.authorities, &office.clock, &Random::seeded(1), &edges);
    for rows in [1, 2] {
        office.rows(kanazawa(), 1).await;
        while office.verify(kanazawa()).await.rows < rows {
            office.hand.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    }
    edges.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_follower_that_panics_is_started_again_and_misses_nothing() {
    let shaky = Arc::new(shaky::Shaky::default());
    let office = Office::over(shaky.clone(), MIDNIGHT + 1, MemoryDisk::default()).await;
    let edges = Tasks::new(&Metrics::new());
    office.rows(kanazawa(), 1).await;
    shaky.panic_next();
    follow(&office.store, &office.authorities, &office.clock, &Random::seeded(1), &edges);
    while !shaky.has_panicked() {
        tokio::task::yield_now().await;
    }
    office.rows(kanazawa(), 1).await;
    while office.verify(kanazawa()).await.rows < 2 {
        office.hand.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    edges.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deeds_at_once_on_an_empty_log_and_a_hundred_more_make_one_chain_without_a_fork() {
    let office = Office::new().await;
    for count in [2, 100] {
        let writers: Vec<_> = (0..count)
            .map(|_| {
                let (store, deed) = (office.store.clone(), office.sign_in());
                let mut follower = Follower::new(&office.store, &office.authorities, &office.clock);
                tokio::spawn(async move {
                    let mut batch = Batch::new();
                    deed.write(&mut batch, kanazawa());
                    store.commit(batch).await.unwrap();
                    follower.catch_up().await.unwrap();
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    }
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.rows, found.waiting, found.wrong), (102, 0, None));
    let numbers: Vec<u64> =
        chained(&office.store, kanazawa(), 0, 200).await.unwrap().iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=102).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_clock_that_is_set_back_changes_no_order_and_is_told_with_both_times() {
    let mut office = Office::new().await;
    office.rows(kanazawa(), 3).await;
    let before = office.clock.now();
    office.hand.set_back(Duration::from_secs(600));
    office.rows(kanazawa(), 1).await;
    office.hand.set_forward(Duration::from_secs(601));
    office.rows(kanazawa(), 1).await;
    // As clocks of two machines differ.
    office.hand.set_back(Duration::from_secs(20));
    office.rows(kanazawa(), 1).await;
    office.follow().await;
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.rows, found.wrong, found.set_back_count), (6, None, 1));
    let [back] = found.set_back[..] else { panic!("{:?}", found.set_back) };
    assert_eq!((back.number, back.after), (4, before));
    assert!(back.at < before.before(Duration::from_secs(598)));
}
