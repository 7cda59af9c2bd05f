//! Whatever is done to a log behind the server's back is found, and its place named.

use bytes::Bytes;
use proptest::prelude::*;
use store::{Order, Position, Range, Value};

use super::*;
use crate::{
    Fault, LateSeal, Noted, Record, Wrong,
    chain::hex,
    tables::{CHAINS, ChainRow, LINKS, LinkRow, RECORDS, SEALS, SealRow},
};

/// A log as it lies in the store.
struct Log {
    office: Office,
    records: Vec<(Position, Bytes)>,
    links: Vec<Bytes>,
    seals: Vec<(Day, Bytes)>,
    end: Bytes,
}

fn key<K>(rest: K) -> (&'static str, K) {
    (kanazawa().as_str(), rest)
}

impl Log {
    /// One with so many rows on each day, of which all days but the last are sealed.
    async fn of(days: &[usize]) -> Self {
        let mut office = Office::new().await;
        for (at, rows) in days.iter().enumerate() {
            if at > 0 {
                office.hand.advance(A_DAY);
            }
            office.rows(kanazawa(), *rows).await;
            office.rows(wajima(), 1).await;
            office.follow().await;
        }
        let store = &office.store;
        let (order, name) = (Order::Ascending, kanazawa().as_str());
        let records = store.scan(&RECORDS, Range::prefix(name), order, usize::MAX).await.unwrap();
        let links = store.scan(&LINKS, Range::prefix(name), order, usize::MAX).await.unwrap();
        let seals = store.scan(&SEALS, Range::prefix(name), order, usize::MAX).await.unwrap();
        let end = store.get(&CHAINS, name).await.unwrap().unwrap();
        let log = Self {
            records: records.into_iter().map(|((_, position), record)| (position, record)).collect(),
            links: links.into_iter().map(|(_, link)| link).collect(),
            seals: seals.into_iter().map(|((_, day), seal)| (day, seal)).collect(),
            end,
            office,
        };
        assert_eq!((log.links.len(), log.seals.len()), (log.records.len(), days.len() - 1));
        assert_eq!(log.office.verify(kanazawa()).await.wrong, None);
        log
    }

    /// Does something to the store behind everybody's back, and gives what the check says then.
    async fn after(&self, damage: impl FnOnce(&mut Batch)) -> Option<Wrong> {
        let mut batch = Batch::new();
        damage(&mut batch);
        self.office.store.commit(batch).await.unwrap();
        assert_eq!(self.office.verify(wajima()).await.wrong, None, "others' logs are others'");
        self.office.verify(kanazawa()).await.wrong
    }
}

fn with_flip(bytes: &Bytes, at: usize, bit: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = at % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
    Bytes::from(bytes)
}

/// Something that somebody does to a log.
#[derive(Clone, Copy, Debug)]
enum Damage {
    FlipRecord(usize, u8),
    FlipLink(usize, u8),
    FlipSeal(usize, u8),
    FlipEnd(usize, u8),
    MoveRecord(u8),
    MoveLink(u8),
    MoveSeal(u8),
    DropRecord,
    DropLink,
    DropSeal,
    DropEnd,
    DropRow,
    Swap,
    Add,
}

fn damages() -> impl Strategy<Value = Damage> {
    use Damage::*;
    prop_oneof![
        8 => (any::<usize>(), any::<u8>()).prop_map(|(at, bit)| FlipRecord(at, bit)),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, bit)| FlipLink(at, bit)),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(at, bit)| FlipSeal(at, bit)),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, bit)| FlipEnd(at, bit)),
        2 => (0_u8..64).prop_map(MoveRecord),
        2 => (0_u8..64).prop_map(MoveLink),
        2 => (0_u8..32).prop_map(MoveSeal),
        1 => Just(DropRecord),
        1 => Just(DropLink),
        1 => Just(DropSeal),
        1 => Just(DropEnd),
        1 => Just(DropRow),
        1 => Just(Swap),
        1 => Just(Add),
    ]
}

/// Does it to the row at `which` and, for a swap, `other`; gives the numbers that may be named, if they are certain.
fn apply(log: &Log, damage: Damage, which: usize, other: usize, batch: &mut Batch) -> Option<(u64, u64)> {
    let at = which % log.records.len();
    let number = at as u64 + 1;
    let (position, record) = &log.records[at];
    let (day, seal) = &log.seals[which % log.seals.len()];
    match damage {
        Damage::FlipRecord(byte, bit) => {
            batch.put(&RECORDS, &key(*position), &with_flip(record, byte, bit));
            Some((number, number))
        }
        Damage::FlipLink(byte, bit) => {
            batch.put(&LINKS, &key(number), &with_flip(&log.links[at], byte, bit));
            Some((number, number))
        }
        Damage::FlipSeal(byte, bit) => {
            batch.put(&SEALS, &key(*day), &with_flip(seal, byte, bit));
            None
        }
        Damage::FlipEnd(byte, bit) => {
            batch.put(&CHAINS, kanazawa().as_str(), &with_flip(&log.end, byte, bit));
            None
        }
        Damage::MoveRecord(bit) => {
            batch.delete(&RECORDS, &key(*position));
            batch.put(&RECORDS, &key(Position(position.0 ^ (1 << bit))), record);
            Some((1, number))
        }
        Damage::MoveLink(bit) => {
            batch.delete(&LINKS, &key(number));
            batch.put(&LINKS, &key(number ^ (1 << bit)), &log.links[at]);
            Some((1, number))
        }
        Damage::MoveSeal(bit) => {
            batch.delete(&SEALS, &key(*day));
            batch.put(&SEALS, &key(Day(day.0 ^ (1 << bit))), seal);
            None
        }
        Damage::DropRecord => {
            batch.delete(&RECORDS, &key(*position));
            Some((number, number))
        }
        Damage::DropLink => {
            batch.delete(&LINKS, &key(number));
            Some((number, number))
        }
        Damage::DropSeal => {
            batch.delete(&SEALS, &key(*day));
            None
        }
        Damage::DropEnd => {
            batch.delete(&CHAINS, kanazawa().as_str());
            None
        }
        Damage::DropRow => {
            batch.delete(&RECORDS, &key(*position));
            batch.delete(&LINKS, &key(number));
            Some((number, number))
        }
        Damage::Swap => {
            let other = if other % log.records.len() == at {
                (at + 1) % log.records.len()
            } else {
                other % log.records.len()
            };
            batch.put(&RECORDS, &key(*position), &log.records[other].1);
            batch.put(&RECORDS, &key(log.records[other].0), record);
            let first = at.min(other) as u64 + 1;
            Some((first, first))
        }
        Damage::Add => {
            let mut free = (0..position.0).rev().map(Position);
            let free = free.find(|free| log.records.iter().all(|(taken, _)| taken != free));
            batch.put(&RECORDS, &key(free.unwrap()), record);
            Some((1, number))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_changed_is_found_and_its_place_named(
        days in proptest::collection::vec(1_usize..6, 2..5),
        damage in damages(),
        which: usize,
        other: usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let log = Log::of(&days).await;
            let mut certain = None;
            let wrong = log.after(|batch| certain = apply(&log, damage, which, other, batch)).await;
            let wrong = wrong.ok_or_else(|| TestCaseError::fail("nothing was found"))?;
            if let Some((first, last)) = certain {
                prop_assert!((first..=last).contains(&wrong.number), "{wrong:?}");
                prop_assert!(wrong.day.is_none(), "{wrong:?}");
            }
            if matches!(damage, Damage::FlipSeal(..) | Damage::DropSeal) {
                let day = log.seals[which % log.seals.len()].0;
                prop_assert_eq!(wrong.day, Some(day));
            }
            if matches!(damage, Damage::FlipRecord(..)) {
                let position = log.records[which % log.records.len()].0;
                prop_assert_eq!((wrong.fault, wrong.position), (Fault::RowChanged, Some(position)));
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn every_byte_of_a_log_counts() {
    let log = Log::of(&[2, 1, 1]).await;
    let restore = |batch: &mut Batch| {
        for (position, record) in &log.records {
            batch.put(&RECORDS, &key(*position), record);
        }
        for (number, link) in (1_u64..).zip(&log.links) {
            batch.put(&LINKS, &key(number), link);
        }
        for (day, seal) in &log.seals {
            batch.put(&SEALS, &key(*day), seal);
        }
        batch.put(&CHAINS, kanazawa().as_str(), &log.end);
    };
    for bit in [0, 7] {
        for at in 0..log.records[1].1.len() {
            let changed = with_flip(&log.records[1].1, at, bit);
            let wrong = log.after(|batch| batch.put(&RECORDS, &key(log.records[1].0), &changed)).await;
            assert_eq!(
                wrong.map(|wrong| (wrong.fault, wrong.number)),
                Some((Fault::RowChanged, 2)),
                "byte {at}"
            );
            assert_eq!(log.after(restore).await, None);
        }
        for at in 0..log.links[2].len() {
            let changed = with_flip(&log.links[2], at, bit);
            let wrong = log.after(|batch| batch.put(&LINKS, &key(3_u64), &changed)).await;
            assert_eq!(wrong.map(|wrong| wrong.number), Some(3), "byte {at}");
            assert_eq!(log.after(restore).await, None);
        }
        for (day, seal) in &log.seals {
            for at in 0..seal.len() {
                let changed = with_flip(seal, at, bit);
                let wrong = log.after(|batch| batch.put(&SEALS, &key(*day), &changed)).await;
                assert_eq!(wrong.and_then(|wrong| wrong.day), Some(*day), "byte {at}");
                assert_eq!(log.after(restore).await, None);
            }
        }
        for at in 0..log.end.len() {
            let changed = with_flip(&log.end, at, bit);
            let wrong = log.after(|batch| batch.put(&CHAINS, kanazawa().as_str(), &changed)).await;
            assert!(wrong.is_some(), "byte {at}");
            assert_eq!(log.after(restore).await, None);
        }
    }
}

/// Takes the newest rows away, with all that says that they were there but the seals.
fn cut(log: &Log, keep: usize, batch: &mut Batch) {
    let mut chain = ChainRow::start();
    for (position, record) in &log.records[..keep] {
        chain.take(kanazawa(), *position, record);
    }
    let sealed = log.seals.iter().map(|(day, seal)| (*day, SealRow::decode(seal).unwrap()));
    if let Some((day, seal)) = sealed.filter(|(_, seal)| seal.last <= keep as u64).last() {
        (chain.sealed, chain.day) = (seal.last, day.next());
    }
    for (at, (position, _)) in log.records.iter().enumerate().skip(keep) {
        batch.delete(&RECORDS, &key(*position));
        batch.delete(&LINKS, &key(at as u64 + 1));
    }
    batch.put(&CHAINS, kanazawa().as_str(), &chain.encode());
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_shown_by_the_seal_that_knows_more() {
    let log = Log::of(&[3, 3, 2]).await;
    // As much as no seal knows.
    assert_eq!(log.after(|batch| cut(&log, 6, batch)).await, None);
    let wrong = log.after(|batch| cut(&log, 5, batch)).await;
    let (day, number) = (Some(log.seals[1].0), 5);
    assert_eq!(wrong, Some(Wrong { fault: Fault::CutOff, number, position: None, day, cause: None }));
}

/// Somebody who may write the storage computes all links anew, as if one row had always been another.
#[tokio::test]
async fn a_chain_that_was_computed_anew_is_shown_by_the_seals() {
    let log = Log::of(&[3, 3, 2]).await;
    let mut other = Record::decode(&log.records[4].1).unwrap();
    other.whom = "@taro:kanazawa.test".to_owned();
    let other = other.encode();

    let anew = |changed: usize, batch: &mut Batch| {
        let mut chain = ChainRow::start();
        for (at, (position, record)) in log.records.iter().enumerate() {
            let record = if at == changed { &other } else { record };
            batch.put(&RECORDS, &key(*position), record);
            let link: LinkRow = chain.take(kanazawa(), *position, record);
            batch.put(&LINKS, &key(chain.number), &link.encode());
        }
        let end = ChainRow::decode(&log.end).unwrap();
        let end = ChainRow { hash: chain.hash, ..end };
        batch.put(&CHAINS, kanazawa().as_str(), &end.encode());
    };
    let wrong = log.after(|batch| anew(4, batch)).await.unwrap();
    assert_eq!((wrong.fault, wrong.number, wrong.day), (Fault::SealOfOthers, 6, Some(log.seals[1].0)));

    // With a key of his own he cannot seal it as the authority.
    let theirs = authority(kanazawa(), "1", 77);
    let wrong = log
        .after(|batch| {
            let mut chain = ChainRow::start();
            let sealed: Vec<u64> =
                log.seals.iter().map(|(_, seal)| SealRow::decode(seal).unwrap().last).collect();
            for (at, (position, record)) in log.records.iter().enumerate() {
                chain.take(kanazawa(), *position, if at == 4 { &other } else { record });
                if sealed.contains(&chain.number) {
                    let seal = crate::seal::seal(&theirs, &chain, Timestamp(MIDNIGHT));
                    batch.put(&SEALS, &key(chain.day), &seal.encode());
                    chain.close_day();
                }
            }
        })
        .await
        .unwrap();
    assert_eq!((wrong.fault, wrong.number), (Fault::SealKeyUnknown, 3));
}

/// The text that is signed is the one that the documentation shows.
#[tokio::test]
async fn a_seal_can_be_checked_with_other_tools() {
    let log = Log::of(&[3, 1]).await;
    let (day, seal) = &log.seals[0];
    let seal = SealRow::decode(seal).unwrap();
    let text = format!(
        "yakuba audit seal 1\nauthority kanazawa.test\nday {day}\nrows 1 to 3\nchain {}\nkey ed25519:1 {}\nmade {}\n",
        hex(&LinkRow::decode(&log.links[2]).unwrap().hash),
        hex(&authority(kanazawa(), "1", 1).public_key()),
        seal.made,
    );
    let key = pdu::VerifyKey::old(&seal.public_key, 0).unwrap();
    assert!(key.has_signed(text.as_bytes(), &seal.signature));
}

/// Whoever has the key as well can make everything anew, or take the newest rows away: only what was noted elsewhere
/// shows that.
#[tokio::test]
async fn a_note_kept_elsewhere_shows_what_the_log_itself_cannot() {
    let log = Log::of(&[3, 3, 2]).await;
    let noted = |rows: usize| {
        let link = LinkRow::decode(&log.links[rows - 1]).unwrap();
        Some(Noted { number: rows as u64, hash: link.hash })
    };
    for rows in [1, 3, 7, 8] {
        assert_eq!(log.office.verify_noted(kanazawa(), noted(rows)).await.wrong, None);
    }
    assert_eq!(log.office.verify(kanazawa()).await.chain, noted(8).unwrap());
    let other = Noted { number: 4, ..noted(3).unwrap() };
    let wrong = log.office.verify_noted(kanazawa(), Some(other)).await.wrong.unwrap();
    assert_eq!((wrong.fault, wrong.number), (Fault::NotAsNoted, 4));

    // The rows that no seal covers yet are gone, and all that told of them.
    assert_eq!(log.after(|batch| cut(&log, 6, batch)).await, None);
    let wrong = log.office.verify_noted(kanazawa(), noted(7)).await.wrong.unwrap();
    assert_eq!((wrong.fault, wrong.number), (Fault::CutOff, 7));

    // Everything is gone.
    let mut batch = Batch::new();
    batch.delete_prefix(&RECORDS, kanazawa().as_str());
    batch.delete_prefix(&LINKS, kanazawa().as_str());
    batch.delete_prefix(&SEALS, kanazawa().as_str());
    batch.delete(&CHAINS, kanazawa().as_str());
    log.office.store.commit(batch).await.unwrap();
    assert_eq!(log.office.verify(kanazawa()).await.wrong, None);
    let wrong = log.office.verify_noted(kanazawa(), noted(1)).await.wrong.unwrap();
    assert_eq!((wrong.fault, wrong.number), (Fault::CutOff, 1));
}

/// Whoever may write the storage changes a row and takes away all that speaks against it, so that the server itself makes
/// links and seals anew.
#[tokio::test]
async fn a_follower_makes_nothing_anew_that_it_has_seen_and_seals_made_anew_are_told_as_late() {
    let mut log = Log::of(&[3, 3, 2, 1, 1]).await;
    let of = |found: crate::Findings| (found.rows, found.seals, found.late_count, found.waiting);
    assert_eq!(of(log.office.verify(kanazawa()).await), (10, 4, 0, 0));
    let mut other = Record::decode(&log.records[1].1).unwrap();
    other.whom = "@taro:kanazawa.test".to_owned();
    let mut batch = Batch::new();
    batch.put(&RECORDS, &key(log.records[1].0), &other.encode());
    batch.delete_prefix(&LINKS, kanazawa().as_str());
    batch.delete_prefix(&SEALS, kanazawa().as_str());
    batch.delete(&CHAINS, kanazawa().as_str());
    log.office.store.commit(batch).await.unwrap();

    log.office.rows(kanazawa(), 1).await;
    for _ in 0..2 {
        log.office.follow().await;
        assert_eq!(of(log.office.verify(kanazawa()).await), (0, 0, 0, 11));
        log.office.rows(wajima(), 1).await;
    }
    assert_eq!(log.office.verify(wajima()).await.waiting, 1);

    // One that starts anew knows of nothing.
    let mut follower = Follower::new(&log.office.store, &log.office.authorities, &log.office.clock);
    follower.catch_up().await.unwrap();
    let found = log.office.verify(kanazawa()).await;
    let made = log.office.clock.now();
    let late = [0, 1].map(|at: usize| LateSeal { day: log.seals[at].0, made });
    assert_eq!(found.late, late);
    assert_eq!((found.wrong.clone(), of(found)), (None, (11, 4, 2, 0)));
}

/// What the chain says if the newest row had always been another, with so many rows behind it.
fn newest_anew(log: &Log, more: &[(Position, Bytes)], batch: &mut Batch) {
    let (at, mut chain) = (log.records.len() - 1, ChainRow::start());
    let mut other = Record::decode(&log.records[at].1).unwrap();
    other.whom = "@taro:kanazawa.test".to_owned();
    let other = (log.records[at].0, other.encode());
    batch.put(&RECORDS, &key(other.0), &other.1);
    for (position, record) in log.records[..at].iter().chain([&other]).chain(more) {
        let link = chain.take(kanazawa(), *position, record);
        batch.put(&LINKS, &key(chain.number), &link.encode());
    }
    let end = ChainRow::decode(&log.end).unwrap();
    let end = ChainRow { hash: chain.hash, number: chain.number, position: chain.position, ..end };
    batch.put(&CHAINS, kanazawa().as_str(), &end.encode());
}

/// Rows that no seal covers are changed and all links computed anew: whoever has seen the chain does not go on from it.
#[tokio::test]
async fn a_follower_goes_on_only_from_the_end_that_it_has_seen() {
    for more in [0, 1] {
        let mut log = Log::of(&[3, 3, 2]).await;
        log.office.rows(kanazawa(), more).await;
        let prefix = Range::prefix(kanazawa().as_str());
        let rows = log.office.store.scan(&RECORDS, prefix, Order::Ascending, 100).await.unwrap();
        let rows: Vec<_> = rows.into_iter().map(|((_, position), row)| (position, row)).collect();
        let mut batch = Batch::new();
        newest_anew(&log, &rows[8..], &mut batch);
        log.office.store.commit(batch).await.unwrap();

        log.office.rows(kanazawa(), 1).await;
        log.office.hand.advance(A_DAY);
        log.office.follow().await;

        let found = log.office.verify(kanazawa()).await;
        assert_eq!((found.rows, found.waiting, found.seals), (8 + more as u64, 1, 2), "{more}");
    }
}

/// Whatever is there of a chain whose end is gone or was set back, nobody writes over it.
#[tokio::test]
async fn links_and_seals_that_are_there_are_never_made_anew() {
    let log = Log::of(&[3, 3, 2]).await;
    let start = |chain: &mut ChainRow, rows: usize| {
        for (position, record) in &log.records[..rows] {
            chain.take(kanazawa(), *position, record);
        }
    };
    let (mut short, mut unsealed) = (ChainRow::start(), ChainRow::start());
    start(&mut short, 2);
    start(&mut unsealed, 8);
    unsealed.day = log.seals[1].0;
    for end in [None, Some(short), Some(unsealed)] {
        let mut batch = Batch::new();
        match &end {
            None => batch.delete(&CHAINS, kanazawa().as_str()),
            Some(end) => batch.put(&CHAINS, kanazawa().as_str(), &end.encode()),
        }
        log.office.store.commit(batch).await.unwrap();
        log.office.hand.advance(A_DAY);
        let mut follower = Follower::new(&log.office.store, &log.office.authorities, &log.office.clock);
        follower.catch_up().await.unwrap();

        let (order, name) = (Order::Ascending, kanazawa().as_str());
        let store = &log.office.store;
        let links = store.scan(&LINKS, Range::prefix(name), order, usize::MAX).await.unwrap();
        let seals = store.scan(&SEALS, Range::prefix(name), order, usize::MAX).await.unwrap();
        assert!(links.into_iter().map(|(_, link)| link).eq(log.links.iter().cloned()), "{end:?}");
        assert!(
            seals.into_iter().map(|((_, day), seal)| (day, seal)).eq(log.seals.iter().cloned()),
            "{end:?}"
        );
        let left = store.get(&CHAINS, name).await.unwrap();
        assert_eq!(left, end.map(|end| end.encode()));
    }
}

/// The newest seal is taken away and the end says that there was none, so that it would be made anew.
#[tokio::test]
async fn a_seal_that_was_seen_is_not_made_again() {
    let mut log = Log::of(&[3, 3]).await;
    log.office.hand.advance(A_DAY);
    log.office.follow().await;
    let mut end =
        ChainRow::decode(&log.office.store.get(&CHAINS, kanazawa().as_str()).await.unwrap().unwrap())
            .unwrap();
    assert_eq!(end.sealed, 6);
    (end.sealed, end.day) = (3, Day(end.day.0 - 1));
    let mut batch = Batch::new();
    batch.delete(&SEALS, &key(end.day));
    batch.put(&CHAINS, kanazawa().as_str(), &end.encode());
    log.office.store.commit(batch).await.unwrap();
    log.office.hand.advance(A_DAY);
    log.office.follow().await;
    assert_eq!(log.office.verify(kanazawa()).await.seals, 1);
}

/// Whatever is left of a log whose end is gone is no beginning.
#[tokio::test]
async fn no_chain_is_begun_where_links_or_seals_are_left() {
    for left in ["link", "seal"] {
        let log = Log::of(&[2, 2]).await;
        let mut batch = Batch::new();
        batch.delete_prefix(&LINKS, kanazawa().as_str());
        batch.delete_prefix(&SEALS, kanazawa().as_str());
        batch.delete(&CHAINS, kanazawa().as_str());
        match left {
            "link" => batch.put(&LINKS, &key(1_000_u64), &log.links[0]),
            _ => batch.put(&SEALS, &key(Day(1)), &log.seals[0].1),
        }
        log.office.store.commit(batch).await.unwrap();
        let mut follower = Follower::new(&log.office.store, &log.office.authorities, &log.office.clock);
        follower.catch_up().await.unwrap();
        assert_eq!(log.office.store.get(&CHAINS, kanazawa().as_str()).await.unwrap(), None, "{left}");
    }
}

/// One that was given up has no keys in the configuration; its log is checked all the same.
#[tokio::test]
async fn the_log_of_an_authority_without_configuration_is_checked_and_its_keys_are_told() {
    let log = Log::of(&[3, 3, 2]).await;
    let found = verify(&log.office.store, kanazawa(), None, None).await.unwrap();
    let key = hex(&authority(kanazawa(), "1", 1).public_key());
    assert_eq!((found.rows, found.seals, found.wrong), (8, 2, None));
    assert_eq!(found.unknown_keys, [format!("ed25519:1 {key}")]);
    assert!(log.office.verify(kanazawa()).await.unknown_keys.is_empty());
    let wrong = log.after(|batch| batch.delete(&RECORDS, &self::key(log.records[4].0))).await.unwrap();
    let found = verify(&log.office.store, kanazawa(), None, None).await.unwrap();
    assert_eq!((found.rows, found.wrong), (4, Some(wrong)));
}

#[tokio::test]
async fn a_log_that_is_gone_as_a_whole_or_lacks_its_last_two_of_five_rows_is_found_by_what_was_noted_of_it() {
    let log = Log::of(&[5]).await;
    let noted = log.office.verify(kanazawa()).await.chain;
    let found =
        async || log.office.verify_noted(kanazawa(), Some(noted)).await.wrong.map(|wrong| wrong.fault);
    assert_eq!(found().await, None);
    log.after(|batch| cut(&log, 3, batch)).await;
    assert_eq!(found().await, Some(Fault::CutOff));
    log.after(|batch| {
        cut(&log, 0, batch);
        batch.delete(&CHAINS, kanazawa().as_str());
        for (day, _) in &log.seals {
            batch.delete(&SEALS, &key(*day));
        }
    })
    .await;
    assert_eq!(found().await, Some(Fault::CutOff));
}
