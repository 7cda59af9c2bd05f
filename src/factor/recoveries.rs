//! Recoveries: somebody has lost all that he would show, one administrator asks to let him in again, and another one agrees.
//!
//! Between the two there is a row, for a day. What the second one's agreement does is [`crate::Factors::recovered`].

use std::time::Duration;

use base::Timestamp;
use ruma::{ServerName, UserId};
use store::{Batch, CommitError, Order, Range, Store};

use crate::tables::{RECOVERIES, RecoveryRow};

/// How long somebody may take to agree.
const WAITS: Duration = Duration::from_secs(24 * 60 * 60);

/// Recoveries that are listed.
const MOST_LISTED: usize = 100;

/// Rows that are read at a time.
const PAGE: usize = 200;

/// A recovery that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// By whom.
    pub asked_by: String,
    /// When.
    pub asked: Timestamp,
    row: RecoveryRow,
}

fn key(user: &UserId) -> (&str, &str) {
    (user.server_name().as_str(), user.as_str())
}

/// Whether somebody may still agree.
fn waits(row: &RecoveryRow, now: Timestamp) -> bool {
    // In either direction: a calendar that was set back must not keep one for years.
    let most = u64::try_from(WAITS.as_millis()).unwrap_or(u64::MAX);
    now.millis().abs_diff(row.asked_ms) < most
}

/// The users of an authority whose recovery waits for somebody to agree: the first hundred. Those that nobody agreed to in time
/// hide none, however many there are.
///
/// # Errors
/// When the store cannot be read.
pub async fn list_recoveries(
    store: &Store,
    authority: &ServerName,
    now: Timestamp,
) -> Result<Vec<String>, store::Error> {
    let (mut found, mut rest) = (Vec::new(), Range::prefix(authority.as_str()));
    loop {
        let rows = store.scan(&RECOVERIES, rest, Order::Ascending, PAGE).await?;
        let next = rows.get(PAGE - 1).map(|(last, _)| Range::prefix(authority.as_str()).after(last));
        found.extend(rows.into_iter().filter(|(_, row)| waits(row, now)).map(|((_, user), _)| user));
        match next {
            Some(next) if found.len() < MOST_LISTED => rest = next,
            _ => break,
        }
    }
    found.truncate(MOST_LISTED);
    Ok(found)
}

/// The recovery of a user that waits for somebody to agree.
///
/// # Errors
/// When the store cannot be read.
pub async fn find_recovery(
    store: &Store,
    user: &UserId,
    now: Timestamp,
) -> Result<Option<Recovery>, store::Error> {
    let row = store.get(&RECOVERIES, &key(user)).await?;
    let row = row.filter(|row| waits(row, now));
    Ok(row.map(|row| Recovery { asked_by: row.asked_by.clone(), asked: Timestamp(row.asked_ms), row }))
}

/// Adds to a batch that somebody asks for the recovery of a user; it takes the place of one that was asked for before.
pub fn put_recovery(batch: &mut Batch, user: &UserId, asked_by: &UserId, now: Timestamp) {
    let row = RecoveryRow { asked_by: asked_by.to_string(), asked_ms: now.millis() };
    batch.put(&RECOVERIES, &key(user), &row);
}

/// Adds to a batch that a recovery is no more asked for; with it, the batch fails where that changed meanwhile.
pub fn put_no_recovery(batch: &mut Batch, user: &UserId, recovery: Option<&Recovery>) {
    if let Some(recovery) = recovery {
        batch.require(&RECOVERIES, &key(user), Some(&recovery.row));
    }
    batch.delete(&RECOVERIES, &key(user));
}

/// Forgets recoveries that nobody agreed to in time; how many.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn sweep_recoveries(store: &Store, now: Timestamp) -> Result<usize, store::Error> {
    let (mut count, mut rest) = (0, Range::all());
    loop {
        let rows = store.scan(&RECOVERIES, rest, Order::Ascending, PAGE).await?;
        let next = rows.get(PAGE - 1).map(|(last, _)| Range::all().after(last));
        let mut batch = Batch::new();
        let over = rows.iter().filter(|(_, row)| !waits(row, now));
        let over = over.inspect(|(key, row)| {
            // One that is asked for again meanwhile stays.
            batch.require(&RECOVERIES, key, Some(row));
            batch.delete(&RECOVERIES, key);
        });
        let over = over.count();
        if over > 0 {
            match store.commit(batch).await {
                Ok(_) => count += over,
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into_error()),
            }
        }
        match next {
            Some(next) => rest = next,
            None => return Ok(count),
        }
    }
}
