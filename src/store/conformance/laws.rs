//! The single laws, each by example.

use std::time::Duration;

use super::{COUNTERS, NUMBERS, Opened, Place, QUEUE, STAMPS, WORDS};
use crate::{
    Batch, CommitError, Counter, Error, Moved, Options, Order, Position, Range, Reads, Stamped, Store, Topic,
};
use bytes::Bytes;

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn logging(kind: u8) -> Batch {
    let mut batch = Batch::new();
    batch.log(kind, Bytes::new(), [Topic::room("!a")]);
    batch
}

fn numbers(rows: &[(u64, Bytes)]) -> Vec<u64> {
    rows.iter().map(|(key, _)| *key).collect()
}

/// Preconditions look at the state before their batch, with the effects of the batches before it
/// in the same group; rows, counters, appended and stamped rows alike.
pub async fn a_group_is_decided_batch_by_batch(place: &dyn Place) {
    let Opened { store, .. } = &Opened::at(place).await;
    let mut batches = Vec::new();
    let mut build = |fill: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        fill(&mut batch);
        batches.push(batch);
    };
    build(&|batch| {
        batch.insert(&NUMBERS, &1, &text("one"));
    });
    build(&|batch| {
        batch.insert(&NUMBERS, &1, &text("again"));
    });
    build(&|batch| {
        batch.replace(&NUMBERS, &1, &text("one"), &text("two"));
    });
    build(&|batch| {
        // Both look at the state before the batch, so the batch's own delete does not matter.
        batch.delete(&NUMBERS, &1);
        batch.require(&NUMBERS, &1, Some(&text("two")));
        batch.put(&NUMBERS, &2, &text("kept"));
    });
    build(&|batch| {
        batch.insert(&NUMBERS, &1, &text("three"));
    });
    build(&|batch| batch.add(&COUNTERS, &1, 5));
    build(&|batch| {
        batch.require(&COUNTERS, &1, Some(&Counter(5)));
        batch.add(&COUNTERS, &1, -5);
    });
    build(&|batch| {
        batch.require(&COUNTERS, &1, None);
    });
    build(&|batch| {
        batch.put(&WORDS, &(1, "a"), &text("x"));
        batch.put(&WORDS, &(2, "a"), &text("y"));
        batch.delete_prefix(&WORDS, &1);
    });
    build(&|batch| {
        batch.require(&WORDS, &(1, "a"), None);
        batch.require(&WORDS, &(2, "a"), Some(&text("y")));
    });
    let first = store.head().plus(1);
    build(&|batch| {
        let slot = batch.log(1, Bytes::new(), []);
        batch.append(&QUEUE, &7, slot, &text("queued"));
        batch.put_stamped(&STAMPS, &7, slot, &text("stamped"));
    });
    build(&move |batch| {
        batch.require(&QUEUE, &(7, first), Some(&text("queued")));
        batch.require(&STAMPS, &7, Some(&Stamped { position: first, value: text("stamped") }));
    });

    let receipts: Vec<_> = batches.into_iter().map(|batch| store.submit(batch)).collect();
    let mut results = Vec::new();
    for receipt in receipts {
        results.push(receipt.await.is_ok());
    }
    let mut expected = [true; 12];
    expected[1] = false;
    assert_eq!(results, expected);

    let mut reads = Reads::new();
    let (one, two) = (reads.get(&NUMBERS, &1), reads.get(&NUMBERS, &2));
    let words = reads.get_many(&WORDS, &[(1, "a"), (2, "a")]);
    let counter = reads.get(&COUNTERS, &1);
    let mut found = store.read(reads).await.expect("reads");
    assert_eq!(found.take(one).expect("one"), Some(text("three")));
    assert_eq!(found.take(two).expect("two"), Some(text("kept")));
    assert_eq!(found.take_many(words).expect("words"), [None, Some(text("y"))]);
    assert_eq!(found.take(counter).expect("counter"), None);
}

/// The first failing precondition is named.
async fn names_the_precondition(store: &Store) {
    let mut batch = Batch::new();
    batch.require(&NUMBERS, &99, None);
    let which = batch.require(&NUMBERS, &98, Some(&text("there")));
    match store.commit(batch).await {
        Err(CommitError::Conflict { which: named, table }) => {
            assert_eq!((named, table), (which, NUMBERS.raw().id));
        }
        other => panic!("{other:?}"),
    }
}

/// A refused batch takes no position, so those around it are consecutive.
pub async fn failed_batches_leave_no_gap_in_the_positions(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    names_the_precondition(store).await;
    let start = store.head();
    let receipts: Vec<_> = (0..20)
        .map(|number| {
            let mut batch = logging(1);
            batch.log(2, Bytes::new(), []);
            if number % 3 == 1 {
                batch.require(&NUMBERS, &1, Some(&text("not so")));
            }
            store.submit(batch)
        })
        .collect();
    let mut next = start.plus(1);
    for (number, receipt) in receipts.into_iter().enumerate() {
        match receipt.await {
            Ok(committed) => {
                assert_eq!(committed.last(), next.plus(1));
                next = next.plus(2);
            }
            Err(error) => assert!(number % 3 == 1 && matches!(error, CommitError::Conflict { .. })),
        }
    }
    let entries = store.changes(start, 1_000).await.expect("the log");
    let positions: Vec<_> = entries.iter().map(|entry| entry.position).collect();
    assert_eq!(positions, (start.0 + 1..next.0).map(Position).collect::<Vec<_>>());
    opened.close().await;
}

/// Batches submitted one on another without waiting stand and fall together.
pub async fn a_pipeline_on_a_failed_batch_fails_with_it(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let chain = |from: u64, to: u64, broken: Option<u64>| {
        let receipts: Vec<_> = (from..to)
            .map(|step| {
                let (old, new) = (step.to_be_bytes().to_vec(), (step + 1).to_be_bytes().to_vec());
                let mut batch = logging(1);
                match step {
                    0 => batch.insert(&NUMBERS, &5, &new.into()),
                    _ => batch.replace(&NUMBERS, &5, &old.into(), &new.into()),
                };
                if broken == Some(step) {
                    batch.require(&NUMBERS, &6, Some(&text("absent")));
                }
                store.submit(batch)
            })
            .collect();
        receipts
    };
    for receipt in chain(0, 50, None) {
        receipt.await.expect("the chain holds");
    }
    let mut outcomes = Vec::new();
    for receipt in chain(50, 60, Some(55)) {
        outcomes.push(receipt.await.is_ok());
    }
    assert_eq!(outcomes, [true, true, true, true, true, false, false, false, false, false]);
    opened.close().await;
}

/// A scan gives the rows of its range, sorted, up to its limit, from the right end.
pub async fn scans_follow_order_bounds_and_limit(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let mut batch = Batch::new();
    for number in [0, 1, 5, 255, 256, 70_000, u64::MAX] {
        batch.put(&NUMBERS, &number, &text("n"));
    }
    for first in [0_u8, 1, 254, 255] {
        for second in ["", "a", "a\0", "ab", "b"] {
            batch.put(&WORDS, &(first, second), &text("w"));
        }
    }
    store.commit(batch).await.expect("committed");

    let scan = async |range: Range<u64>, order, limit| {
        numbers(&store.scan(&NUMBERS, range, order, limit).await.expect("scan"))
    };
    let (up, down) = (Order::Ascending, Order::Descending);
    assert_eq!(scan(Range::all(), up, 100).await, [0, 1, 5, 255, 256, 70_000, u64::MAX]);
    assert_eq!(scan(Range::all(), down, 3).await, [u64::MAX, 70_000, 256]);
    assert_eq!(scan(Range::all().after(&5), up, 2).await, [255, 256]);
    assert_eq!(scan(Range::all().from(&5), up, 2).await, [5, 255]);
    assert_eq!(scan(Range::all().before(&256), down, 2).await, [255, 5]);
    assert_eq!(scan(Range::all().through(&256), down, 2).await, [256, 255]);
    assert_eq!(scan(Range::all().after(&1).before(&256), up, 100).await, [5, 255]);
    assert_eq!(scan(Range::all().after(&256).before(&5), up, 100).await, [0_u64; 0]);
    assert_eq!(scan(Range::all(), up, 0).await, [0_u64; 0]);

    let ranges = vec![Range::prefix(&255), Range::prefix(&2), Range::prefix(&0).after(&(0, "a"))];
    let found = store.scan_many(&WORDS, ranges, down, 2).await.expect("scans");
    let found: Vec<Vec<_>> =
        found.iter().map(|rows| rows.iter().map(|(key, _)| (key.0, key.1.as_str())).collect()).collect();
    assert_eq!(found, [vec![(255, "b"), (255, "ab")], vec![], vec![(0, "b"), (0, "ab")]]);
    let all = store.scan(&WORDS, Range::prefix(&254), up, 100).await.expect("scan");
    let all: Vec<_> = all.iter().map(|(key, _)| key.1.as_str()).collect();
    assert_eq!(all, ["", "a", "a\0", "ab", "b"]);
    opened.close().await;
}

/// A prefix delete removes its prefix and nothing else, before and after later writes.
pub async fn prefix_deletes_stop_at_the_prefix(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let mut batch = Batch::new();
    for first in [0_u8, 1, 254, 255] {
        for second in ["", "a", "\u{10ffff}"] {
            batch.put(&WORDS, &(first, second), &text("w"));
        }
    }
    batch.put(&NUMBERS, &0xff, &text("another table"));
    store.commit(batch).await.expect("committed");

    let mut batch = Batch::new();
    batch.delete_prefix(&WORDS, &255);
    batch.delete_prefix(&WORDS, &0);
    batch.put(&WORDS, &(0, "after"), &text("w"));
    store.commit(batch).await.expect("committed");

    let left = store.scan(&WORDS, Range::all(), Order::Ascending, 100).await.expect("scan");
    let left: Vec<_> = left.iter().map(|(key, _)| (key.0, key.1.as_str())).collect();
    let rest = [(1, ""), (1, "a"), (1, "\u{10ffff}"), (254, ""), (254, "a"), (254, "\u{10ffff}")];
    assert_eq!(left, [[(0, "after")].as_slice(), rest.as_slice()].concat());
    assert_eq!(store.get(&NUMBERS, &0xff).await.expect("read"), Some(text("another table")));

    let mut batch = Batch::new();
    batch.delete_prefix(&WORDS, &1);
    batch.delete_all(&NUMBERS);
    store.commit(batch).await.expect("committed");
    assert_eq!(store.scan(&WORDS, Range::prefix(&1), Order::Descending, 9).await.expect("scan"), []);
    assert_eq!(store.scan(&NUMBERS, Range::all(), Order::Descending, 9).await.expect("scan"), []);
    opened.close().await;
}

/// Empty and large values come back as they were, one by one and many at once, in any order.
pub async fn rows_of_any_size_come_back(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let sizes = [0_usize, 1, 1_000, 4_096, 70_000, 2_000_000];
    let value = |size: usize| Bytes::from((0..size).map(|at| (at % 251) as u8).collect::<Vec<_>>());
    let mut batch = Batch::new();
    for size in sizes {
        batch.put(&NUMBERS, &(size as u64), &value(size));
    }
    store.commit(batch).await.expect("committed");
    let keys = [70_000_u64, 7, 0, 2_000_000, 1, 70_000];
    let found = store.get_many(&NUMBERS, &keys).await.expect("reads");
    let expected = keys.map(|key| (key != 7).then(|| value(usize::try_from(key).expect("small"))));
    assert!(found == expected);
    opened.close().await;
}

/// The log gives entries with all they were given, oldest first, page by page.
pub async fn the_log_is_read_in_order_and_in_pages(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let start = store.head();
    for number in 0..25_u8 {
        let mut batch = Batch::new();
        batch.log(1 + number % 3, Bytes::from(vec![number; usize::from(number)]), [Topic::room("!a")]);
        batch.touch([Topic::account_data("@a:b")]);
        store.commit(batch).await.expect("committed");
        if number % 5 == 0 {
            store.publish([Topic::room("!b")]).await.expect("published");
        }
    }
    let (mut after, mut seen) = (start, 0_u8);
    loop {
        let page = store.changes(after, 10).await.expect("a page");
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 10);
        after = last.position;
        for entry in page {
            assert_eq!((entry.kind, &entry.payload[..]), (1 + seen % 3, &vec![seen; usize::from(seen)][..]));
            assert_eq!(entry.topics, [Topic::room("!a"), Topic::account_data("@a:b")]);
            seen += 1;
        }
    }
    assert_eq!(seen, 25);
    opened.close().await;
}

/// A reader that follows the log while others write sees every entry once, in order, and finds
/// the rows of what it sees.
pub async fn readers_of_the_log_see_each_entry_once_while_writers_race(place: &dyn Place) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 40;
    let opened = Opened::at(place).await;
    let topic = Topic::room("!busy");
    let start = opened.store.head();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = opened.store.clone();
            tokio::spawn(async move {
                for step in 0..EACH {
                    let key = writer * EACH + step;
                    let mut batch = Batch::new();
                    batch.put(&NUMBERS, &key, &text("row"));
                    batch.log(1, Bytes::copy_from_slice(&key.to_be_bytes()), [topic]);
                    store.commit(batch).await.expect("committed");
                }
            })
        })
        .collect();
    let (mut after, mut seen) = (start, Vec::new());
    let mut watch = opened.store.watch(vec![topic]);
    while seen.len() < usize::try_from(WRITERS * EACH).expect("small") {
        let page = opened.store.changes(after, 7).await.expect("a page");
        if page.is_empty() {
            tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("woken");
            continue;
        }
        for entry in page {
            assert_eq!(entry.position, after.plus(1), "nothing is passed over");
            after = entry.position;
            let key = u64::from_be_bytes(entry.payload.as_ref().try_into().expect("eight bytes"));
            assert!(opened.store.get(&NUMBERS, &key).await.expect("read").is_some());
            seen.push(key);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..WRITERS * EACH).collect::<Vec<_>>());
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    opened.close().await;
}

/// While somebody writes, a read that begins after a head was taken finds everything up to it; and
/// a position met in a row is reached: the head, the log and the moves then cover it.
pub async fn rows_are_never_behind_the_head_and_the_head_reaches_them(place: &dyn Place) {
    let opened = Opened::at(place).await;
    rows_lead_the_head(&opened.store, &opened.store).await;
    opened.close().await;
}

/// The law above, of a reader on one store and a writer on the same or another over the same data.
pub(super) async fn rows_lead_the_head(writer: &Store, reader: &Store) {
    const ROWS: u64 = 150;
    let topic = Topic::room("!a");
    let start = reader.head();
    let writing = {
        let writer = writer.clone();
        tokio::spawn(async move {
            for number in 0..ROWS {
                let mut batch = Batch::new();
                let slot = batch.log(1, Bytes::copy_from_slice(&number.to_be_bytes()), [topic]);
                batch.append(&QUEUE, &1, slot, &text("row"));
                writer.commit(batch).await.expect("committed");
            }
        })
    };
    let mut newest = start;
    while newest < start.plus(ROWS) {
        let head = reader.head();
        let rows = reader.scan(&QUEUE, Range::prefix(&1), Order::Descending, 1).await.expect("scan");
        let met = rows.first().map_or(start, |((_, position), _)| *position);
        assert!(met >= head, "the head is {head}, the newest row of {met}");
        if met > newest {
            assert!(reader.reach(met).await.expect("reached") >= met);
            assert!(reader.head() >= met);
            assert_eq!(reader.moved(topic, newest), Moved::Maybe);
            let log = reader.changes(newest, 1_000).await.expect("the log");
            let positions: Vec<_> =
                log.iter().map(|entry| entry.position).take_while(|at| *at <= met).collect();
            assert_eq!(positions, (newest.0 + 1..=met.0).map(Position).collect::<Vec<_>>());
            newest = met;
        }
        // Reads that need no disk let nobody else run.
        tokio::task::yield_now().await;
    }
    writing.await.expect("the writer ends");
    let never_given = newest.plus(1_000);
    assert_eq!(reader.reach(never_given).await.expect("an answer"), newest, "it is not waited for");
}

/// A position given to something ephemeral is not given to anything else, whatever happens.
pub async fn ephemeral_positions_are_not_given_again(place: &dyn Place) {
    let mut highest = Position::START;
    for round in 0..4 {
        let opened = Opened::at(place).await;
        let store = &opened.store;
        for step in 0..3 {
            let given = store.publish([Topic::room("!typing")]).await.expect("published");
            assert!(given > highest, "{given} was given before");
            highest = given;
            assert_eq!(store.head(), given);
            if step == round {
                let committed = store.commit(logging(1)).await.expect("committed");
                assert_eq!(committed.last(), given.plus(1));
                highest = committed.last();
            }
        }
        opened.crash(place).await;
    }
}

/// Rows that carry a position without an entry in the log all stay, in order, whatever crashes in between.
pub async fn rows_at_marked_positions_are_never_written_over(place: &dyn Place) {
    let mut expected = Vec::new();
    for round in 0..4_u8 {
        let opened = Opened::at(place).await;
        let store = &opened.store;
        for step in 0..3_u8 {
            let (mut batch, value) = (Batch::new(), Bytes::copy_from_slice(&[round, step]));
            let slot = batch.mark([Topic::room("!a")]);
            batch.append(&QUEUE, &1, slot, &value);
            let committed = store.commit(batch).await.expect("committed");
            expected.push(((1, committed.position(slot)), value));
        }
        let rows = store.scan(&QUEUE, Range::all(), Order::Ascending, 100).await.expect("read");
        assert_eq!(rows, expected);
        assert!(store.changes(Position::START, 10).await.expect("the log").is_empty());
        opened.crash(place).await;
    }

    // Beside an entry of the log, what is touched besides is the entry's: a mark leaves nothing that tells of it.
    let opened = Opened::at(place).await;
    let mut batch = Batch::new();
    batch.log(1, Bytes::new(), [Topic::room("!a")]);
    batch.mark([Topic::room("!b")]);
    batch.touch([Topic::room("!c")]);
    opened.store.commit(batch).await.expect("committed");
    let log = opened.store.changes(Position::START, 10).await.expect("the log");
    assert_eq!(
        log.iter().map(|entry| &entry.topics[..]).collect::<Vec<_>>(),
        [[Topic::room("!a"), Topic::room("!c")]]
    );
}

/// Cursors come back as set; sequences never repeat a number, also across a crash.
pub async fn cursors_and_sequences_survive(place: &dyn Place) {
    let mut given = std::collections::BTreeSet::new();
    for round in 0..3_u64 {
        let opened = Opened::at(place).await;
        let store = &opened.store;
        assert_eq!(store.cursor("reader").await.expect("a cursor"), Position(round * 10));
        let mut batch = logging(1);
        batch.set_cursor("reader", Position((round + 1) * 10));
        store.commit(batch).await.expect("committed");

        let (one, other) = (store.sequence("rooms"), store.sequence("events"));
        assert_eq!(round == 0, other.next().await.expect("a number") == 1);
        let racing: Vec<_> = (0..4)
            .map(|_| {
                let sequence = one.clone();
                tokio::spawn(async move {
                    let mut numbers = Vec::new();
                    for _ in 0..400 {
                        numbers.push(sequence.next().await.expect("a number"));
                    }
                    numbers
                })
            })
            .collect();
        for numbers in racing {
            for number in numbers.await.expect("the task ends") {
                assert!(given.insert(number), "{number} was given before");
            }
        }
        drop((one, other));
        opened.crash(place).await;
    }
}

/// Rows that lie together are read as they are stored, from a key on, and go one by one; giving back the space that they
/// took changes nothing that is left, also while others write there.
pub async fn a_swath_goes_row_by_row_and_nothing_else(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let mut batch = Batch::new();
    for first in 1..=3_u8 {
        for number in 0..40 {
            batch.put(&WORDS, &(first, format!("{number:02}")), &Bytes::from(vec![first; 300]));
        }
    }
    batch.set_cursor("far", Position(9));
    batch.set_cursor("near", Position(4));
    assert_eq!(store.slowest_cursor().await.expect("cursors"), None);
    store.commit(batch).await.expect("committed");
    assert_eq!(store.slowest_cursor().await.expect("cursors"), Some(Position(4)));

    let swath = WORDS.swath(&2_u8);
    let mut after: Option<Bytes> = None;
    let mut gone = 0;
    loop {
        let rows = store.rows_of(&swath, after.as_deref(), 15).await.expect("read");
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        let mut batch = Batch::new();
        for (key, value) in &rows {
            assert_eq!(value[..], [2; 300]);
            batch.delete_row(&swath, key.clone());
        }
        gone += rows.len();
        store.commit(batch).await.expect("committed");
    }
    assert_eq!(gone, 40);
    let writing = async {
        for number in 40..60 {
            let mut batch = Batch::new();
            batch.put(&WORDS, &(2_u8, format!("{number}")), &text("later"));
            store.commit(batch).await.expect("committed");
        }
    };
    let (given_back, ()) = tokio::join!(store.give_back(&swath), writing);
    given_back.expect("given back");
    for (first, left) in [(1_u8, 40), (2, 20), (3, 40)] {
        let rows = store.scan(&WORDS, Range::prefix(&first), Order::Ascending, 100).await.expect("scanned");
        assert_eq!(rows.len(), left, "of {first}");
    }
    opened.close().await;
}

/// A commit wakes those who wait for its topics, once it is visible; moves are exact.
pub async fn watchers_are_woken_and_moves_are_known(place: &dyn Place) {
    let opened = Opened::with(place, Options { remembered_topics: 4, ..Options::default() }).await;
    let store = &opened.store;
    let (room, user) = (Topic::room("!a"), Topic::account_data("@a"));
    let start = store.head();
    let mut watching = store.watch(vec![room, user]);
    assert_eq!(store.moved(room, start), Moved::No);

    let committed = store.commit(logging(1)).await.expect("committed");
    watching.changed().await;
    assert_eq!(store.head(), committed.last());
    assert_eq!((store.moved(room, start), store.moved(user, start)), (Moved::Maybe, Moved::No));
    assert_eq!(store.moved(room, committed.last()), Moved::No);

    let mut batch = Batch::new();
    batch.put(&NUMBERS, &1, &text("touched only"));
    batch.touch([user]);
    let touched = store.commit(batch).await.expect("committed").last();
    watching.changed().await;
    assert_eq!(store.moved(user, committed.last()), Moved::Maybe);
    assert_eq!(store.moved(user, touched), Moved::No);

    // With an entry that others follow: at its own position.
    let mut batch = Batch::new();
    let slot = batch.log(1, Bytes::new(), []);
    batch.log(1, Bytes::new(), []);
    batch.touch_with(slot, user);
    let first = store.commit(batch).await.expect("committed").position(slot);
    watching.changed().await;
    assert_eq!((store.moved(user, touched), store.moved(user, first)), (Moved::Maybe, Moved::No));

    let mut refused = logging(1);
    refused.insert(&NUMBERS, &1, &text("there already"));
    store.commit(refused).await.expect_err("refused");
    assert_eq!(store.moved(room, touched), Moved::No);

    for number in 0..40 {
        store.publish([Topic::room(&format!("!{number}"))]).await.expect("published");
    }
    assert_eq!(store.moved(Topic::room("!never"), start), Moved::Maybe, "too long ago to know");
    assert_eq!(store.moved(Topic::room("!39"), store.head()), Moved::No);
    opened.close().await;
}

/// After closing, batches are refused and what waited before was written.
pub async fn a_closed_store_refuses(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let receipt = opened.store.submit(logging(1));
    let store = opened.store.clone();
    opened.close().await;
    receipt.await.expect("written before the end");
    match store.commit(logging(1)).await {
        Err(CommitError::Store(Error::Closed)) => {}
        other => panic!("{other:?}"),
    }
}
