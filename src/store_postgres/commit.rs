//! One group of batches in one transaction.
//!
//! The first round trip begins, locks the clock row and reads what decides; the second writes
//! everything and commits. When the connection dies in the second, a look at the group's id,
//! under the clock's lock, says whether it was committed: the lock is free only when the old
//! transaction has ended one way or the other.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use store::{
    CommitError, EPHEMERAL, Error, Position, RawBatch, RawCommitted, RowKey, Tuning, encode_entry,
    stage::{Needs, Staged, Write},
};
use tokio_postgres::{Client, Statement, types::ToSql};

use crate::{
    pool::Pool,
    schema::{stored_key, table_end},
    session::{Session, meaning},
};

pub(crate) type Results = Vec<Result<RawCommitted, CommitError>>;

/// A transaction that takes longer counts as lost.
const TRANSACTION: Duration = Duration::from_secs(30);

/// How often a group is begun anew after its connection was lost before it could commit.
const ATTEMPTS: usize = 5;

/// Every so many groups, what is no longer needed is deleted.
const HOUSEKEEPING: u64 = 1_024;

/// Entries of ephemeral positions are kept this far back, for replicas that lag.
const EPHEMERAL_KEPT: i64 = 100_000;

/// A key behind those of all tables, and how much is written there to see whether it can be.
const PROBE_KEY: [u8; 3] = [0xff; 3];
const PROBE_WORDS: u64 = 32_768;

/// How far a group came before its transaction ended badly.
enum Failure {
    /// It cannot have been committed; the connection is of no more use.
    Lost(Error),
    /// It was not committed, and trying again would not help.
    Refused(Error),
    /// The commit was sent; these are its results if it arrived.
    Perhaps(Results, Error),
}

/// Commits a group; `number` is unlike that of any other group of this process.
pub(crate) async fn commit(pool: &Pool, batches: &[RawBatch], id: &[u8], number: u64) -> Results {
    let all = |error: CommitError| vec![Err(error); batches.len()];
    let mut last = Error::Closed;
    for _ in 0..ATTEMPTS {
        let session = match pool.take_writer().await {
            Ok(session) => session,
            Err(error) => return all(error.into()),
        };
        let tried = tokio::time::timeout(TRANSACTION, transaction(&session, pool, batches, id, number));
        match tried.await.unwrap_or_else(|_| Err(Failure::Perhaps(all(CommitError::Unknown), Error::Closed)))
        {
            Ok(results) => {
                pool.return_writer(session).await;
                return results;
            }
            Err(Failure::Refused(error)) => return all(error.into()),
            Err(Failure::Lost(error)) => last = error,
            Err(Failure::Perhaps(results, error)) => {
                drop(session);
                tracing::warn!(error = ?error, "a commit's answer was lost; looking whether it happened");
                match was_committed(pool, id).await {
                    Ok(true) => return results,
                    Ok(false) => last = error,
                    Err(error) => {
                        tracing::error!(error = ?error, "it cannot be found out whether a commit happened");
                        return all(CommitError::Unknown);
                    }
                }
            }
        }
    }
    all(last.into())
}

async fn was_committed(pool: &Pool, id: &[u8]) -> Result<bool, Error> {
    let mut last = Error::Closed;
    for _ in 0..ATTEMPTS {
        let session = pool.take_writer().await?;
        let Ok(looked) = tokio::time::timeout(TRANSACTION, find_group(&session, id)).await else {
            last = Error::unavailable("look for a commit", "PostgreSQL does not answer");
            continue;
        };
        match looked {
            Ok(found) => {
                pool.return_writer(session).await;
                return Ok(found);
            }
            // This connection may be cut as well.
            Err(error) if session.is_lost(&error) => last = meaning("look for a commit", error, true),
            Err(error) => return Err(meaning("look for a commit", error, false)),
        }
    }
    Err(last)
}

async fn find_group(session: &Session, id: &[u8]) -> Result<bool, tokio_postgres::Error> {
    let Session { client, statements } = session;
    client.batch_execute("BEGIN").await?;
    client.query_one(&statements.lock_clock, &[]).await?;
    let found = client.query_opt(&statements.find_group, &[&id]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(found.is_some())
}

/// Writes a row as large as many, and removes it: whether the server takes writes.
pub(crate) async fn probe(pool: &Pool) -> Result<(), Error> {
    let session = pool.take_writer().await?;
    let rows = session.statements.rows(Tuning::Large);
    let keys = vec![PROBE_KEY.to_vec()];
    // Noise, which the server cannot store in less.
    let noise =
        (0..PROBE_WORDS).flat_map(|at: u64| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let values = vec![noise.collect::<Vec<u8>>()];
    let write = async {
        session.client.batch_execute("BEGIN").await?;
        session.client.execute(&rows.put, &[&keys, &values]).await?;
        session.client.execute(&rows.delete, &[&keys]).await?;
        session.client.batch_execute("COMMIT").await
    };
    match tokio::time::timeout(TRANSACTION, write).await {
        Ok(Ok(())) => {
            pool.return_writer(session).await;
            Ok(())
        }
        Ok(Err(error)) => {
            let lost = session.is_lost(&error);
            Err(meaning("write", error, lost))
        }
        Err(late) => Err(Error::unavailable("write", late)),
    }
}

async fn transaction(
    session: &Session,
    pool: &Pool,
    batches: &[RawBatch],
    id: &[u8],
    number: u64,
) -> Result<Results, Failure> {
    let failed = |error: tokio_postgres::Error| {
        // A connection on which a statement failed is in a broken transaction: both let it go.
        let gone = session.is_lost(&error);
        let error = meaning("commit", error, gone);
        if gone { Failure::Lost(error) } else { Failure::Refused(error) }
    };
    let needs = Needs::of(batches);
    let begin = session.client.batch_execute("BEGIN");
    let clock = session.client.query_one(&session.statements.lock_clock, &[]);
    let rows = get_rows(session, needs.keys());
    // In one round trip: the server takes them one after the other, so the reads see what the
    // last holder of the lock has written.
    let (_, clock, found) = futures_util::try_join!(begin, clock, rows).map_err(failed)?;
    let (head, last_entry) = (position(clock.get(0)), position(clock.get(1)));
    let staged = needs.stage(found, head, last_entry);

    if staged.writes.is_empty() && staged.head == head {
        session.client.batch_execute("ROLLBACK").await.map_err(failed)?;
        return Ok(staged.results);
    }
    match write(session, pool, batches, &staged, id, number).await {
        Ok(()) => Ok(staged.results),
        Err(error) if session.is_lost(&error) => {
            Err(Failure::Perhaps(staged.results, meaning("commit", error, true)))
        }
        Err(error) => Err(Failure::Refused(meaning("commit", error, false))),
    }
}

type Request<'a> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'a>>;

/// Writes a decided group and commits, in one round trip.
async fn write(
    session: &Session,
    pool: &Pool,
    batches: &[RawBatch],
    staged: &Staged<'_>,
    id: &[u8],
    number: u64,
) -> Result<(), tokio_postgres::Error> {
    let tables = Tables::of(staged);
    let log = LogRows::of(batches, staged);
    let head = signed(staged.head);
    let last_entry = signed(staged.last_entry);
    let (channel, hint) = (pool.settings.channel(), staged.head.to_string());
    let statements = &session.statements;
    let forget_before = head - EPHEMERAL_KEPT;

    // Requests are sent in the order of the list.
    let mut requests: Vec<Request<'_>> = Vec::with_capacity(24);
    let client = &session.client;
    for (after, through) in &tables.trimmed {
        requests.push(execute(client, &statements.trim_log, vec![after, through]));
    }
    for (tuning, table) in &tables.written {
        let rows = statements.rows(*tuning);
        if !table.lows.is_empty() {
            requests.push(execute(client, &rows.delete_ranges, vec![&table.lows, &table.highs]));
        }
        if !table.deleted.is_empty() {
            requests.push(execute(client, &rows.delete, vec![&table.deleted]));
        }
        if !table.keys.is_empty() {
            requests.push(execute(client, &rows.put, vec![&table.keys, &table.values]));
        }
    }
    if !log.positions.is_empty() {
        requests.push(execute(
            client,
            &statements.add_entries,
            vec![&log.positions, &log.kinds, &log.entries],
        ));
    }
    if number.is_multiple_of(HOUSEKEEPING) {
        requests.push(execute(client, &statements.forget_groups, vec![]));
        requests.push(execute(client, &statements.forget_ephemeral, vec![&forget_before]));
    }
    requests.push(execute(client, &statements.set_clock, vec![&head, &last_entry]));
    requests.push(execute(client, &statements.add_group, vec![&id]));
    requests.push(execute(client, &statements.notify, vec![&channel, &hint]));
    requests.push(Box::pin(async { client.batch_execute("COMMIT").await.map(|()| 0) }));
    try_join_all(requests).await.map(drop)
}

fn execute<'a>(
    client: &'a Client,
    statement: &'a Statement,
    parameters: Vec<&'a (dyn ToSql + Sync)>,
) -> Request<'a> {
    Box::pin(async move { client.execute(statement, &parameters).await })
}

/// The last word on each row, by table.
struct Tables {
    written: Vec<(Tuning, TableWrites)>,
    /// Stretches of the log that go, each after its first position.
    trimmed: Vec<(i64, i64)>,
}

#[derive(Default)]
struct TableWrites {
    lows: Vec<Vec<u8>>,
    highs: Vec<Vec<u8>>,
    deleted: Vec<Vec<u8>>,
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Tables {
    /// Ranges are deleted first; so a row that was written before its range is dropped here.
    fn of(staged: &Staged<'_>) -> Self {
        let mut last: BTreeMap<(usize, Vec<u8>), Option<&[u8]>> = BTreeMap::new();
        let mut ranges: Vec<(usize, Vec<u8>, Vec<u8>)> = Vec::new();
        let mut trimmed = Vec::new();
        let place = |tuning: Tuning| Tuning::ALL.iter().position(|one| *one == tuning).unwrap_or(0);
        for write in &staged.writes {
            match write {
                Write::Put { table, key, value } => {
                    last.insert((place(table.tuning), stored_key(*table, key)), Some(value));
                }
                Write::Delete { table, key } => {
                    last.insert((place(table.tuning), stored_key(*table, key)), None);
                }
                Write::TrimLog { after, through } => trimmed.push((signed(*after), signed(*through))),
                Write::DeleteRange { table, start, end } => {
                    let at = place(table.tuning);
                    let low = stored_key(*table, start);
                    let high = end.map_or_else(|| table_end(*table), |end| stored_key(*table, end));
                    last.retain(|(one, key), _| *one != at || *key < low || *key >= high);
                    ranges.push((at, low, high));
                }
            }
        }
        let mut tables = Tuning::ALL.map(|tuning| (tuning, TableWrites::default()));
        for (at, low, high) in ranges {
            tables[at].1.lows.push(low);
            tables[at].1.highs.push(high);
        }
        for ((at, key), value) in last {
            let table = &mut tables[at].1;
            match value {
                None => table.deleted.push(key),
                Some(value) => {
                    table.keys.push(key);
                    table.values.push(value.to_vec());
                }
            }
        }
        Self { written: tables.into(), trimmed }
    }
}

/// The rows of the log: entries, and what ephemeral positions touched, for the other replicas.
#[derive(Default)]
struct LogRows {
    positions: Vec<i64>,
    kinds: Vec<i16>,
    entries: Vec<Vec<u8>>,
}

impl LogRows {
    fn of(batches: &[RawBatch], staged: &Staged<'_>) -> Self {
        let mut entries = staged.entries.iter();
        let mut log = Self::default();
        for (batch, result) in batches.iter().zip(&staged.results) {
            let Ok(committed) = result else { continue };
            for (at, slot) in (committed.first.0..).map(Position).zip(&batch.slots) {
                let bytes = match slot.kind {
                    EPHEMERAL => encode_entry(Position::START, slot),
                    _ => entries.next().map(|entry| entry.bytes.clone()).unwrap_or_default(),
                };
                log.positions.push(signed(at));
                log.kinds.push(i16::from(slot.kind));
                log.entries.push(bytes.to_vec());
            }
        }
        log
    }
}

/// Reads rows on a connection, one statement per table.
pub(crate) async fn get_rows(
    session: &Session,
    keys: &[RowKey],
) -> Result<Vec<Option<Bytes>>, tokio_postgres::Error> {
    let mut wanted: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for row in keys {
        let at = Tuning::ALL.iter().position(|one| *one == row.table.tuning).unwrap_or(0);
        wanted.entry(at).or_default().push(stored_key(row.table, &row.key));
    }
    let requests = wanted.into_iter().map(|(at, stored)| async move {
        let statement = &session.statements.rows(Tuning::ALL[at]).get;
        session.client.query(statement, &[&stored]).await
    });
    let answers = try_join_all(requests).await?;
    let mut found: HashMap<&[u8], Bytes> = HashMap::with_capacity(keys.len());
    for row in answers.iter().flatten() {
        found.insert(row.get(0), Bytes::copy_from_slice(row.get(1)));
    }
    // Numbers of tables are unique, so a stored key says which table it is of.
    Ok(keys.iter().map(|row| found.get(stored_key(row.table, &row.key).as_slice()).cloned()).collect())
}

/// A position as the database holds it.
pub(crate) fn signed(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

/// A position as the database gives it.
pub(crate) fn position(signed: i64) -> Position {
    Position(u64::try_from(signed).unwrap_or(0))
}
