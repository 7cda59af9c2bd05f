//! Telling something of the moment to every process over the same data: what goes by with its position and is kept
//! nowhere.
//!
//! What [`Batch::tell`](crate::Batch::tell) says takes an ephemeral position in its batch. Every process hears it, the
//! one that said it too, in the order of positions and each once, *before* its head covers the position. So whoever
//! keeps what he hears with its position answers "what is new since?" as exactly as the log does, at whichever process
//! he is asked.
//!
//! Who was not there hears nothing of it, nor does who follows so far behind that the back end has forgotten it, or a
//! process whose own write is found only when the back end heals: so nothing may be told that has no end by itself.

use bytes::{BufMut, Bytes, BytesMut};

use crate::position::Position;

/// The longest thing that can be told at once, in bytes.
pub const MOST_TOLD: usize = 16 * 1024;

/// Somebody who hears what is told.
pub trait Ear: Send + Sync {
    /// Takes in what was told at a position, in the order of positions.
    ///
    /// The head waits for this: it must be quick, ask the store for nothing that waits, and believe nothing that it
    /// cannot read. What it notes here is found by whoever sees the position.
    fn hear(&self, position: Position, told: &[u8]);
}

/// What is told, as it goes by: whose ear it is for, then the content.
pub(crate) fn framed(ear: u8, told: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(1 + told.len());
    framed.put_u8(ear);
    framed.put_slice(told);
    framed.freeze()
}

/// Whose ear something is for, and what it is. Nothing, if it is no such thing or too long to be.
pub(crate) fn unframed(payload: &[u8]) -> Option<(u8, &[u8])> {
    let (ear, told) = payload.split_first()?;
    (told.len() <= MOST_TOLD).then_some((*ear, told))
}
