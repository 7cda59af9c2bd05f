//! Whatever is done to a log from which records have gone is found, and nobody makes others go as if the server had done it.

use bytes::Bytes;
use store::{Order, Position, Range, Value};

use super::{retiring::DEEDS, *};
use crate::{
    Class, Fault, Record, Wrong, Years,
    chain::Essence,
    claims::Slice,
    gone::{STUBS, StubRow},
    tables::{LINKS, LinkRow, RECORDS},
};

fn key<K>(rest: K) -> (&'static str, K) {
    (kanazawa().as_str(), rest)
}

/// A log of which sign-ins and what was read have gone.
struct Log {
    office: Office,
    records: Vec<(Position, Bytes)>,
    links: Vec<(u64, Bytes)>,
    stubs: Vec<(u64, Bytes)>,
}

impl Log {
    async fn new() -> Self {
        let mut office = Office::new().await;
        office.deeds(&DEEDS).await;
        office.hand.advance(A_DAY);
        office.follow().await;
        office.deeds(&[Action::SignIn, Action::SignIn, Action::GiveDuty, Action::SignIn]).await;
        office.on_to(2030).await;
        let retirer = office.retirer();
        office.retire(&retirer).await;
        // The row about it is sealed as well.
        office.hand.advance(A_DAY);
        office.follow().await;
        Self::of(office).await
    }

    async fn of(office: Office) -> Self {
        let (order, name, store) = (Order::Ascending, kanazawa().as_str(), &office.store);
        let records = store.scan(&RECORDS, Range::prefix(name), order, 1_000).await.unwrap();
        let links = store.scan(&LINKS, Range::prefix(name), order, 1_000).await.unwrap();
        let stubs = store.scan(&STUBS, Range::prefix(name), order, 1_000).await.unwrap();
        Self {
            records: records.into_iter().map(|((_, position), record)| (position, record)).collect(),
            links: links.into_iter().map(|((_, number), link)| (number, link)).collect(),
            stubs: stubs.into_iter().map(|((_, number), stub)| (number, stub)).collect(),
            office,
        }
    }

    fn link(&self, number: u64) -> LinkRow {
        LinkRow::decode(&self.links.iter().find(|(known, _)| *known == number).unwrap().1).unwrap()
    }

    async fn after(&self, damage: impl FnOnce(&mut Batch)) -> Option<Wrong> {
        let mut batch = Batch::new();
        damage(&mut batch);
        self.office.store.commit(batch).await.unwrap();
        let wrong = self.office.verify(kanazawa()).await.wrong;
        self.restore().await;
        wrong
    }

    async fn restore(&self) {
        let mut batch = Batch::new();
        batch.delete_prefix(&STUBS, kanazawa().as_str());
        batch.delete_prefix(&RECORDS, kanazawa().as_str());
        for (position, record) in &self.records {
            batch.put(&RECORDS, &key(*position), record);
        }
        for (number, link) in &self.links {
            batch.put(&LINKS, &key(*number), link);
        }
        for (number, stub) in &self.stubs {
            batch.put(&STUBS, &key(*number), stub);
        }
        self.office.store.commit(batch).await.unwrap();
        assert_eq!(self.office.verify(kanazawa()).await.wrong, None);
    }
}

fn with_flip(bytes: &Bytes, at: usize, bit: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    Bytes::from(bytes)
}

#[tokio::test]
async fn every_byte_of_what_stays_counts_and_its_place_is_named() {
    let log = Log::new().await;
    assert_eq!(log.stubs.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 8, 9, 11]);
    for (number, stub) in &log.stubs {
        for (at, bit) in (0..stub.len()).flat_map(|at| [(at, 0), (at, 7)]) {
            let changed = with_flip(stub, at, bit);
            let wrong = log.after(|batch| batch.put(&STUBS, &key(*number), &changed)).await;
            let (fault, place) = wrong.map(|wrong| (wrong.fault, wrong.number)).unwrap();
            // The slice that it went with and the form of its link are proven by the row that tells of it alone.
            let is_told_of = at > stub.len() - 3;
            assert!(place == *number || is_told_of, "byte {at} of {number}: {fault:?} at {place}");
        }
        let link = &log.links[usize::try_from(*number).unwrap() - 1].1;
        for at in 0..link.len() {
            let changed = with_flip(link, at, 0);
            let wrong = log.after(|batch| batch.put(&LINKS, &key(*number), &changed)).await;
            assert_eq!(wrong.map(|wrong| wrong.number), Some(*number), "byte {at}");
        }
    }
    let told = log
        .records
        .iter()
        .filter(|(_, record)| Record::decode(record).is_ok_and(|record| record.what == "audit.retired"));
    for (position, record) in told {
        for at in 0..record.len() {
            let changed = with_flip(record, at, 0);
            let wrong = log.after(|batch| batch.put(&RECORDS, &key(*position), &changed)).await;
            let wrong = wrong.map(|wrong| (wrong.fault, wrong.position));
            assert_eq!(wrong, Some((Fault::RowChanged, Some(*position))), "byte {at}");
        }
    }
}

#[tokio::test]
async fn what_is_removed_or_put_there_by_hand_is_found() {
    let log = Log::new().await;
    let fault = |wrong: Option<Wrong>| wrong.map(|wrong| (wrong.fault, wrong.number));
    // Each record that is there, and each stub.
    for (position, record) in &log.records {
        let number = log.links.iter().find(|(number, _)| log.link(*number).position == *position).unwrap().0;
        let wrong = log.after(|batch| batch.delete(&RECORDS, &key(*position))).await;
        assert_eq!(fault(wrong), Some((Fault::RowMissing, number)), "{record:?}");
    }
    for (number, _) in &log.stubs {
        let wrong = log.after(|batch| batch.delete(&STUBS, &key(*number))).await;
        assert_eq!(fault(wrong), Some((Fault::RowMissing, *number)));
    }
    // A record put back where it has gone, or beside it; stubs of what is there, and of what never was.
    let (some, stub) = (&log.records[0].1, &log.stubs[0].1);
    let back = log.after(|batch| batch.put(&RECORDS, &key(log.link(1).position), some)).await;
    assert_eq!(back.map(|wrong| wrong.fault), Some(Fault::RowAdded));
    let on_it = log.after(|batch| batch.put(&STUBS, &key(3_u64), stub)).await;
    assert_eq!(fault(on_it), Some((Fault::RowChanged, 3)));
    for number in [0, log.links.len() as u64 + 1] {
        let wrong = log.after(|batch| batch.put(&STUBS, &key(number), stub)).await;
        assert_eq!(wrong.map(|wrong| wrong.fault), Some(Fault::GoneWrongly), "{number}");
    }
    // The row that tells of a slice, with its link, as if it had been the last: the seal knows it.
    let last = log.links.len() as u64;
    let wrong = log
        .after(|batch| {
            batch.delete(&RECORDS, &key(log.link(last).position));
            batch.delete(&LINKS, &key(last));
        })
        .await;
    assert!(wrong.is_some());
}

/// What somebody says who may write the storage and makes a record go as the server would.
struct Lie {
    number: u64,
    class: Class,
    years: u16,
    day: &'static str,
    is_former: bool,
    what: Option<&'static str>,
}

/// That a row of its own says that a record was of another class, or old enough, is not believed; nor is one without a record.
#[tokio::test]
async fn whoever_removes_a_record_and_writes_the_row_himself_is_found() {
    let mut log = Log::new().await;
    // 5: GiveDuty on 2026-04-01; 3: LockAccount then; the last: on 2030-04-08, when the others were told of.
    let lie = Lie {
        number: 5,
        class: Class::Organisation,
        years: 10,
        day: "2026-04-01",
        is_former: false,
        what: None,
    };
    let lies = [
        // Its years are not over.
        Lie { ..lie },
        // Its years are others than the log has told.
        Lie { years: 1, ..lie },
        Lie { years: 3, ..lie },
        // It was of another class, of another kind, or linked in the first form.
        Lie { class: Class::SignIns, years: 3, ..lie },
        Lie { class: Class::SignIns, years: 3, what: Some("session.sign_in"), ..lie },
        Lie { class: Class::Former, years: 10, is_former: true, ..lie },
        Lie { class: Class::Former, years: 3, is_former: true, what: Some("session.sign_in"), ..lie },
        // It was older than its seal says.
        Lie { day: "2015-04-01", ..lie },
        Lie { number: 3, class: Class::Accounts, years: 5, ..lie },
        // It is kept for good.
        Lie { number: 7, class: Class::Organisation, years: 10, ..lie },
    ];
    for (at, lie) in lies.iter().enumerate() {
        for is_linked in [false, true] {
            let mut slice = Slice::new(lie.class);
            let link = log.link(lie.number);
            let (_, record) = log.records.iter().find(|(position, _)| *position == link.position).unwrap();
            let Essence { what, digest } = Essence::of(record);
            let what = lie.what.map_or(what, str::to_owned);
            let stub = StubRow { what, digest, is_former: lie.is_former, slice: 77 };
            slice.add(lie.number, &link, &stub);
            let claim = slice.claim(77, lie.years, lie.day.parse().unwrap());
            let mut batch = Batch::new();
            batch.delete(&RECORDS, &key(link.position));
            batch.put(&STUBS, &key(lie.number), &stub.encode());
            claim.deed(log.office.clock.now()).write(&mut batch, kanazawa());
            log.office.store.commit(batch).await.unwrap();
            if is_linked {
                log.office.follow().await;
            }
            let wrong = log.office.verify(kanazawa()).await.wrong;
            assert!(wrong.is_some(), "lie {at}");
            let fault = wrong.map(|wrong| wrong.fault);
            assert!(matches!(fault, Some(Fault::GoneWrongly | Fault::RowChanged)), "lie {at}: {fault:?}");
            log = Log::new().await;
        }
    }
    // A row about nothing.
    let nothing = Slice::new(Class::SignIns).claim(77, Years::FIRST.sign_ins, "2026-04-01".parse().unwrap());
    let mut batch = Batch::new();
    nothing.deed(log.office.clock.now()).write(&mut batch, kanazawa());
    log.office.store.commit(batch).await.unwrap();
    let fault = log.office.verify(kanazawa()).await.wrong.map(|wrong| wrong.fault);
    assert_eq!(fault, Some(Fault::GoneWrongly));
}

/// The hash over what went is in rows on disk for ever.
#[test]
fn a_slice_has_the_hash_that_is_on_disk() {
    let mut slice = Slice::new(Class::SignIns);
    let stub = StubRow { what: "session.sign_in".into(), digest: [7; 32], is_former: false, slice: 1 };
    slice.add(3, &LinkRow { position: Position(300), hash: [8; 32] }, &stub);
    slice.add(9, &LinkRow { position: Position(900), hash: [9; 32] }, &StubRow { is_former: true, ..stub });
    let claim = slice.claim(1, 3, Day(20_000));
    assert_eq!((claim.first, claim.last, claim.rows), (3, 9, 2));
    assert_eq!(claim.sum, "2f85bd6d027b0bf016d5d560a5c31af8b4e0441c2244be1f2db9f2c8cd881d32");
}
