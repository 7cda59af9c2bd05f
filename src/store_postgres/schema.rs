//! The tables: one per tuning profile, the log, the clock, the groups lately committed.

use store::{Error, RawTable, Tuning};
use tokio_postgres::Client;

use crate::{session::meaning, settings::Settings};

/// The version of the layout made here.
const LAYOUT: i32 = 1;

/// The table that rows of a profile are in.
pub(crate) fn name(tuning: Tuning) -> &'static str {
    match tuning {
        Tuning::Point => "point",
        Tuning::Append => "append",
        Tuning::Large => "large",
        Tuning::Queue => "queue",
        Tuning::Small => "small",
    }
}

/// The stored key of a row: its table's number and its key.
pub(crate) fn stored_key(table: RawTable, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + key.len());
    out.extend_from_slice(&table.id.0.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// The stored key of the first thing behind a table.
pub(crate) fn table_end(table: RawTable) -> Vec<u8> {
    match table.id.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 3],
    }
}

/// Whether the tables are there; looks only.
pub(crate) async fn is_begun(client: &Client, settings: &Settings) -> Result<bool, Error> {
    let clock = format!("{}.clock", settings.schema);
    let found = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&clock]).await;
    Ok(found.map_err(|error| meaning("look for the tables", error, false))?.get(0))
}

/// Makes what is not there yet, if it may, and refuses what a newer program has made.
pub(crate) async fn prepare(client: &Client, settings: &Settings) -> Result<(), Error> {
    if !settings.begin && !is_begun(client, settings).await? {
        return Err(Error::Refused("there are no tables in the database".to_owned()));
    }
    let schema = &settings.schema;
    let rows: String = Tuning::ALL
        .into_iter()
        .map(|tuning| {
            let table = name(tuning);
            format!(
                "CREATE TABLE IF NOT EXISTS {schema}.{table} (key bytea PRIMARY KEY, value bytea NOT NULL);"
            )
        })
        .collect();
    // Two processes may open a new database at once: the lock lets one make the tables.
    let statements = format!(
        "BEGIN;
         SELECT pg_advisory_xact_lock(hashtext('yakuba'), hashtext('{schema}'));
         CREATE SCHEMA IF NOT EXISTS {schema};
         {rows}
         ALTER TABLE {schema}.queue SET (autovacuum_vacuum_scale_factor = 0.02);
         CREATE TABLE IF NOT EXISTS {schema}.log
             (position bigint PRIMARY KEY, kind smallint NOT NULL, entry bytea NOT NULL);
         ALTER TABLE {schema}.log SET (autovacuum_vacuum_scale_factor = 0.02);
         CREATE INDEX IF NOT EXISTS log_ephemeral ON {schema}.log (position) WHERE kind = 0;
         CREATE TABLE IF NOT EXISTS {schema}.groups
             (id bytea PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT now());
         CREATE INDEX IF NOT EXISTS groups_made_at ON {schema}.groups (made_at);
         CREATE TABLE IF NOT EXISTS {schema}.clock
             (one boolean PRIMARY KEY DEFAULT true CHECK (one), layout int NOT NULL,
              position bigint NOT NULL, last_entry bigint NOT NULL);
         INSERT INTO {schema}.clock (layout, position, last_entry) VALUES ({LAYOUT}, 0, 0)
             ON CONFLICT DO NOTHING;
         COMMIT;"
    );
    client.batch_execute(&statements).await.map_err(|error| meaning("make the tables", error, false))?;
    let found = client.query_one(&format!("SELECT layout FROM {schema}.clock"), &[]).await;
    let found: i32 = found.map_err(|error| meaning("read the layout", error, false))?.get(0);
    if found > LAYOUT {
        let short = |version| u32::try_from(version).unwrap_or(0);
        return Err(Error::NewerSchema { found: short(found), known: short(LAYOUT) });
    }
    Ok(())
}
