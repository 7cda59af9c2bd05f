//! The stored form of log entries, the same in every back end that stores bytes.
//!
//! An entry names its predecessor, so that a missing entry is found although ephemeral positions
//! leave holes in the numbers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    backend::{Change, RawSlot},
    error::CodecError,
    position::{Position, Topic},
    value::decode_row,
};

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
