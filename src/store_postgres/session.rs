//! One connection with its prepared statements.

use std::{pin::pin, time::Duration};

use base::Tasks;
use futures_util::future::{Either, select, try_join_all};
use store::{Error, Tuning};
use tokio_postgres::{
    Client, Config, Statement,
    error::{DbError, Severity, SqlState},
};

use crate::{
    schema,
    settings::{Durability, Settings},
    tls::Way,
};

/// How long it may take until a server's address answers.
const CONNECT: Duration = Duration::from_secs(5);

/// How long it may take until a connection can be used: a server that takes it and says nothing has an end, too.
pub(crate) const REACH: Duration = Duration::from_secs(10);

/// How long tables and statements may take to be there after that; another process may be making the tables.
const PREPARE: Duration = Duration::from_secs(30);

/// Nothing is said for so long before it is asked, so often and so many times, whether the other side is there.
const SILENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;

/// A connection that works, until it is closed.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) statements: Statements,
}

/// What is said to the server again and again.
pub(crate) struct Statements {
    rows: Vec<RowStatements>,
    pub(crate) lock_clock: Statement,
    pub(crate) read_clock: Statement,
    pub(crate) set_clock: Statement,
    pub(crate) add_entries: Statement,
    pub(crate) add_group: Statement,
    pub(crate) find_group: Statement,
    pub(crate) forget_groups: Statement,
    pub(crate) forget_ephemeral: Statement,
    pub(crate) notify: Statement,
    pub(crate) trim_log: Statement,
    pub(crate) changes: Statement,
    pub(crate) touched: Statement,
}

/// The statements on one table of rows.
pub(crate) struct RowStatements {
    pub(crate) get: Statement,
    pub(crate) scan_up: Statement,
    pub(crate) scan_down: Statement,
    pub(crate) put: Statement,
    pub(crate) delete: Statement,
    pub(crate) delete_ranges: Statement,
}

impl Session {
    /// Whether an error means that the connection has ended or is about to.
    pub(crate) fn is_lost(&self, error: &tokio_postgres::Error) -> bool {
        let ending =
            |error: &DbError| matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        self.client.is_closed() || error.is_closed() || error.as_db_error().is_none_or(ending)
    }
}

/// What an error means to the store: there is no room, it may pass, or it is of this request alone.
pub(crate) fn meaning(doing: &'static str, error: tokio_postgres::Error, is_lost: bool) -> Error {
    let code = error.code().map(SqlState::code).unwrap_or_default();
    if error.code() == Some(&SqlState::DISK_FULL) {
        return Error::Full(error.as_db_error().map_or_else(String::new, ToString::to_string));
    }
    // Resources, the operator, the connection, the system below; a server that is to be read only.
    let passing = ["53", "57", "08", "58"].iter().any(|class| code.starts_with(class));
    let is_lost = is_lost || error.as_db_error().is_none();
    if is_lost || passing || error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
        return Error::unavailable(doing, error);
    }
    Error::backend(doing, error)
}

impl Statements {
    pub(crate) fn rows(&self, tuning: Tuning) -> &RowStatements {
        let at = Tuning::ALL.iter().position(|one| *one == tuning).unwrap_or(0);
        &self.rows[at]
    }

    async fn prepare(client: &Client, settings: &Settings) -> Result<Self, tokio_postgres::Error> {
        let schema = &settings.schema;
        let rows = try_join_all(
            Tuning::ALL.map(|tuning| RowStatements::prepare(client, schema, schema::name(tuning))),
        );
        let texts = [
            format!("SELECT position, last_entry FROM {schema}.clock FOR UPDATE"),
            format!("SELECT position FROM {schema}.clock"),
            format!("UPDATE {schema}.clock SET position = $1, last_entry = $2"),
            format!(
                "INSERT INTO {schema}.log (position, kind, entry)
                 SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bytea[])"
            ),
            format!("INSERT INTO {schema}.groups (id) VALUES ($1)"),
            format!("SELECT 1 FROM {schema}.groups WHERE id = $1"),
            format!("DELETE FROM {schema}.groups WHERE made_at < now() - interval '1 hour'"),
            format!("DELETE FROM {schema}.log WHERE kind = 0 AND position < $1"),
            "SELECT pg_notify($1, $2)".to_owned(),
            format!("DELETE FROM {schema}.log WHERE position > $1 AND position <= $2"),
            format!(
                "SELECT position, entry FROM {schema}.log
                 WHERE position > $1 AND kind <> 0 ORDER BY position LIMIT $2"
            ),
            format!(
                "SELECT position, entry FROM {schema}.log WHERE position > $1 ORDER BY position LIMIT $2"
            ),
        ];
        let others = try_join_all(texts.iter().map(|text| client.prepare(text)));
        let (rows, others) = futures_util::try_join!(rows, others)?;
        let mut others = others.into_iter();
        let mut next = || others.next().expect("as many statements as texts");
        Ok(Self {
            rows,
            lock_clock: next(),
            read_clock: next(),
            set_clock: next(),
            add_entries: next(),
            add_group: next(),
            find_group: next(),
            forget_groups: next(),
            forget_ephemeral: next(),
            notify: next(),
            trim_log: next(),
            changes: next(),
            touched: next(),
        })
    }
}

impl RowStatements {
    async fn prepare(client: &Client, schema: &str, table: &str) -> Result<Self, tokio_postgres::Error> {
        let scan = |direction: &str| {
            format!(
                "SELECT key, value FROM {schema}.{table} WHERE key >= $1 AND key < $2
                 ORDER BY key {direction} LIMIT $3"
            )
        };
        let texts = [
            format!("SELECT key, value FROM {schema}.{table} WHERE key = ANY($1)"),
            scan("ASC"),
            scan("DESC"),
            format!(
                "INSERT INTO {schema}.{table} (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[])
                 ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"
            ),
            format!("DELETE FROM {schema}.{table} WHERE key = ANY($1)"),
            format!(
                "DELETE FROM {schema}.{table} t USING unnest($1::bytea[], $2::bytea[]) AS r (low, high)
                 WHERE t.key >= r.low AND t.key < r.high"
            ),
        ];
        let mut prepared = try_join_all(texts.iter().map(|text| client.prepare(text))).await?.into_iter();
        let mut next = || prepared.next().expect("as many statements as texts");
        Ok(Self {
            get: next(),
            scan_up: next(),
            scan_down: next(),
            put: next(),
            delete: next(),
            delete_ranges: next(),
        })
    }
}

/// What a connection is to be, so that one whose other side is gone comes to an end.
pub(crate) fn config(settings: &Settings) -> Result<Config, Error> {
    let mut config: Config =
        settings.url.parse().map_err(|error| Error::backend("read the address", error))?;
    config
        .application_name("yakuba")
        .connect_timeout(CONNECT)
        .keepalives(true)
        .keepalives_idle(SILENCE)
        .keepalives_interval(ASK_EVERY)
        .keepalives_retries(ASK_TIMES)
        .tcp_user_timeout(Duration::from_secs(30));
    Ok(config)
}

/// What the server is told of a session. One whose process was stopped, or whose machine is lost, in the middle of a
/// transaction holds the clock, for which all others wait: the server ends it.
fn manners(settings: &Settings) -> String {
    let durable = if settings.durability == Durability::Fsync { "on" } else { "off" };
    format!(
        "SET synchronous_commit = {durable}; SET default_transaction_isolation = 'read committed';
         SET idle_in_transaction_session_timeout = '10s'; SET tcp_keepalives_idle = {};
         SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {ASK_TIMES}",
        SILENCE.as_secs(),
        ASK_EVERY.as_secs(),
    )
}

/// Connects for as long as it takes to see whether the tables are there.
pub(crate) async fn is_begun(settings: &Settings) -> Result<bool, Error> {
    let way = Way::to(settings)?;
    let look = async {
        let failed = |error| Error::unavailable("reach PostgreSQL", error);
        let (client, connection) = way.connect().await?;
        let (looking, connection) = (pin!(schema::is_begun(&client, settings)), pin!(connection));
        match select(looking, connection).await {
            Either::Left((begun, _)) => begun,
            Either::Right((Err(error), _)) => Err(failed(error)),
            Either::Right((Ok(()), looking)) => looking.await,
        }
    };
    let late = |error| Error::unavailable("reach PostgreSQL", error);
    tokio::time::timeout(REACH, look).await.map_err(late)?
}

/// Connects, makes the tables if asked to, and prepares the statements.
pub(crate) async fn connect(
    way: &Way,
    settings: &Settings,
    tasks: &Tasks,
    make_tables: bool,
) -> Result<Session, Error> {
    let (client, connection) = way.connect().await?;
    tasks.spawn("postgres connection", async move {
        if let Err(error) = connection.await {
            tracing::warn!(error = %error, "a connection to PostgreSQL ended");
        }
    });
    let failed = |error| Error::unavailable("reach PostgreSQL", error);
    let prepare = async {
        client.batch_execute(&manners(settings)).await.map_err(failed)?;
        if make_tables {
            schema::prepare(&client, settings).await?;
        }
        Statements::prepare(&client, settings).await.map_err(failed)
    };
    let late = |error| Error::unavailable("reach PostgreSQL", error);
    let statements = tokio::time::timeout(PREPARE, prepare).await.map_err(late)??;
    Ok(Session { client, statements })
}
