//! The stored form of log entries, the same in every back end that stores bytes.
//!
//! An entry names its predecessor, so that a missing entry is found although ephemeral positions
//! leave holes in the numbers, and so that who reads on from where the log was trimmed notices it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    backend::{Change, RawSlot},
    error::{CodecError, Error},
    position::{Position, Topic},
    table::{RawTable, TableId, Tuning},
    value::decode_row,
};

/// Where a back end that keeps the log like a table has it: keys are positions, big-endian.
pub const LOG: RawTable = RawTable { id: TableId(1), tuning: Tuning::Append };

const SCHEMA: u8 = 1;

#[derive(Serialize)]
struct Row<'a> {
    previous: Position,
    kind: u8,
    topics: &'a [Topic],
    payload: &'a [u8],
}

#[derive(Deserialize)]
struct OwnedRow {
    previous: Position,
    kind: u8,
    topics: Vec<Topic>,
    payload: Vec<u8>,
}

/// Encodes the entry that follows the one at `previous` (0: it is the first).
#[must_use]
pub fn encode_entry(previous: Position, slot: &RawSlot) -> Bytes {
    let row = Row { previous, kind: slot.kind, topics: &slot.topics, payload: &slot.payload };
    crate::value::encode_row(SCHEMA, &row)
}

/// Decodes an entry and the position of its predecessor.
///
/// # Errors
/// When the bytes are not an entry.
pub fn decode_entry(position: Position, bytes: &[u8]) -> Result<(Position, Change), CodecError> {
    match bytes.first() {
        Some(&SCHEMA) => {}
        Some(found) => return Err(CodecError::NewerSchema { found: *found, known: SCHEMA }),
        None => return Err(CodecError::TooShort),
    }
    let row: OwnedRow = decode_row(bytes)?;
    let change = Change { position, kind: row.kind, payload: Bytes::from(row.payload), topics: row.topics };
    Ok((row.previous, change))
}

/// Decodes what a back end has of the log after a position, oldest first and without a hole.
///
/// # Errors
/// [`Error::Trimmed`] when the first entry does not follow on what the reader has read, [`Error::Corrupt`] when one
/// cannot be read.
pub fn decode_page<B: AsRef<[u8]>>(
    after: Position,
    rows: impl Iterator<Item = (Position, B)>,
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for (position, bytes) in rows {
        let (previous, change) =
            decode_entry(position, bytes.as_ref()).map_err(|cause| Error::Corrupt { table: "log", cause })?;
        // The one before it is among these or at or before `after`, where it was read; or it is gone.
        if changes.is_empty() && previous > after {
            return Err(Error::Trimmed { after, through: previous });
        }
        changes.push(change);
    }
    Ok(changes)
}
