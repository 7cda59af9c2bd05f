//! The port over one PostgreSQL database.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use base::{Random, Tasks};
use bytes::Bytes;
use futures_util::future::try_join_all;
use store::{
    Backend, Change, CommitError, EPHEMERAL, Error, Order, Position, RawBatch, RawCommitted, RawRange,
    RawRow, Report, RowKey, TableId, Touched, Tuning, decode_entry, decode_page,
};
use tokio::sync::watch;

use crate::{
    commit::{self, get_rows, position, signed},
    follow,
    pool::Pool,
    schema::{stored_key, table_end},
    session::{self, Session},
    settings::Settings,
    tls::Way,
};

/// How many rows a check of everything reads at once.
const PAGE: i64 = 2_000;

/// A PostgreSQL database, which other processes may use as well.
pub struct PostgresBackend {
    pool: Arc<Pool>,
    hints: watch::Receiver<Position>,
    open: parking_lot::Mutex<Option<watch::Sender<()>>>,
    process: u64,
    groups: AtomicU64,
    /// Set when a group could not be written; then it is tried out whether one can be.
    failed: AtomicBool,
}

impl PostgresBackend {
    /// Connects, and makes the tables in a new database if that may be begun.
    ///
    /// # Errors
    /// When the server cannot be reached in some attempts, or a newer program made the tables;
    /// [`Error::Refused`] when there are none and none may be made.
    pub async fn open(settings: Settings, tasks: &Tasks) -> Result<Self, Error> {
        settings.check()?;
        // An address that is none gets no better by trying again.
        let way = Way::to(&settings)?;
        let pool = Arc::new(Pool::new(settings, way, tasks.clone()));
        let writer = pool.take_writer().await?;
        pool.return_writer(writer).await;
        let (hint, hints) = watch::channel(Position::START);
        let (open, is_open) = watch::channel(());
        tasks.spawn("postgres listener", follow::listen(pool.clone(), hint, is_open));
        // Names this process's groups; two that start at once must not be alike.
        let process = Random::os().u64();
        Ok(Self {
            pool,
            hints,
            open: parking_lot::Mutex::new(Some(open)),
            process,
            groups: AtomicU64::new(1),
            failed: AtomicBool::new(false),
        })
    }

    /// Whether there are tables in the database. Looks once, and changes nothing.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not answer within some seconds.
    pub async fn is_begun(settings: &Settings) -> Result<bool, Error> {
        settings.check()?;
        session::is_begun(settings).await
    }

    fn next_group(&self) -> (u64, Vec<u8>) {
        let number = self.groups.fetch_add(1, Ordering::Relaxed);
        (number, [self.process.to_be_bytes(), number.to_be_bytes()].concat())
    }
}

#[async_trait]
impl Backend for PostgresBackend {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        self.pool.read("read rows", |session| async move { get_rows(&session, keys).await }).await
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        let scan = |session: Arc<Session>| async move {
            let session = &session;
            try_join_all(ranges.iter().map(|range| scan_rows(session, range, order, limit))).await
        };
        self.pool.read("scan rows", scan).await
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        let (number, id) = self.next_group();
        let results = commit::commit(&self.pool, &batches, &id, number).await;
        let failed = results.iter().any(|result| match result {
            Err(CommitError::Unknown) => true,
            Err(CommitError::Store(error)) => error.stops_writes(),
            Ok(_) | Err(_) => false,
        });
        self.failed.fetch_or(failed, Ordering::Relaxed);
        results
    }

    async fn heal(&self) -> Result<Touched, Error> {
        if self.failed.load(Ordering::Relaxed) {
            commit::probe(&self.pool).await?;
            self.failed.store(false, Ordering::Relaxed);
        }
        // What a group of unknown outcome has written is read from the log, like that of others.
        Ok(Touched::nothing(Position::START))
    }

    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = |session: Arc<Session>| async move {
            session.client.query(&session.statements.changes, &[&signed(after), &limit]).await
        };
        let rows = self.pool.read("read the log", read).await?;
        decode_page(after, rows.iter().map(|row| (position(row.get(0)), row.get::<_, &[u8]>(1))))
    }

    async fn head(&self) -> Result<Position, Error> {
        let read = |session: Arc<Session>| async move {
            session.client.query_one(&session.statements.read_clock, &[]).await
        };
        Ok(position(self.pool.read("read the clock", read).await?.get(0)))
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn touched(&self, after: Position, limit: usize) -> Result<Touched, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = |session: Arc<Session>| async move {
            session.client.query(&session.statements.touched, &[&signed(after), &limit]).await
        };
        let rows = self.pool.read("read the log", read).await?;
        // Every position has a row until long after, so the last row is how far this goes; and one that is missing
        // went before it was read here.
        let mut touched = Touched::nothing(after);
        for row in &rows {
            let at = position(row.get(0));
            let Change { kind, payload, topics, .. } = change(at, row.get(1))?;
            touched.positions.push((at, topics));
            if kind == EPHEMERAL && !payload.is_empty() {
                touched.told.push((at, payload));
            }
            touched.has_holes |= at != touched.through.plus(1);
            touched.through = at;
        }
        Ok(touched)
    }

    async fn moved_on(&self, after: Position) -> Result<(), Error> {
        let mut hints = self.hints.clone();
        loop {
            if *hints.borrow_and_update() > after {
                return Ok(());
            }
            match tokio::time::timeout(follow::POLL, hints.changed()).await {
                Ok(Ok(())) => {}
                // The listener is gone with the back end.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => match self.head().await {
                    Ok(head) if head > after => return Ok(()),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(error = ?error, "the clock cannot be read; will try again"),
                },
            }
        }
    }

    async fn verify(&self, mut report: Report) -> Result<Report, Error> {
        for tuning in Tuning::ALL {
            let mut start = Vec::new();
            while let Some(next) = self.verify_page(tuning, &start, &mut report).await? {
                start = next;
            }
        }
        let mut after = 0_i64;
        loop {
            let read = |session: Arc<Session>| async move {
                session.client.query(&session.statements.changes, &[&after, &PAGE]).await
            };
            let rows = self.pool.read("read the log", read).await?;
            let Some(last) = rows.last() else { return Ok(report) };
            after = last.get(0);
            rows.iter().for_each(|row| report.entry(position(row.get(0)), row.get(1)));
        }
    }

    async fn close(&self) -> Result<(), Error> {
        self.open.lock().take();
        self.pool.close().await;
        Ok(())
    }
}

impl PostgresBackend {
    /// Notes a page of a table; gives where the next one starts.
    async fn verify_page(
        &self,
        tuning: Tuning,
        start: &[u8],
        report: &mut Report,
    ) -> Result<Option<Vec<u8>>, Error> {
        let read = |session: Arc<Session>| async move {
            let end = vec![0xff_u8; 4];
            session.client.query(&session.statements.rows(tuning).scan_up, &[&start, &end, &PAGE]).await
        };
        let rows = self.pool.read("read rows", read).await?;
        for row in &rows {
            let key: &[u8] = row.get(0);
            match key.split_first_chunk::<2>() {
                Some((id, key)) => report.row(TableId(u16::from_be_bytes(*id)), key, row.get(1)),
                None => report.problem(format!("the key {key:02x?} is too short")),
            }
        }
        Ok(rows.last().map(|row| [row.get::<_, &[u8]>(0), &[0]].concat()))
    }
}

async fn scan_rows(
    session: &Session,
    range: &RawRange,
    order: Order,
    limit: usize,
) -> Result<Vec<RawRow>, tokio_postgres::Error> {
    let start = stored_key(range.table, &range.start);
    let end = range.end.as_ref().map_or_else(|| table_end(range.table), |end| stored_key(range.table, end));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = session.statements.rows(range.table.tuning);
    let statement = match order {
        Order::Ascending => &rows.scan_up,
        Order::Descending => &rows.scan_down,
    };
    let found = session.client.query(statement, &[&start, &end, &limit]).await?;
    let row = |row: &tokio_postgres::Row| {
        let key: &[u8] = row.get(0);
        (Bytes::copy_from_slice(key.get(2..).unwrap_or_default()), Bytes::copy_from_slice(row.get(1)))
    };
    Ok(found.iter().map(row).collect())
}

fn change(at: Position, bytes: &[u8]) -> Result<Change, Error> {
    let entry = decode_entry(at, bytes).map_err(|cause| Error::Corrupt { table: "log", cause })?;
    Ok(entry.1)
}
