//! The row of a browser's session at our own pages.

use serde::{Deserialize, Serialize};
use store::row;

/// A session of a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BrowserRow {
    /// Whose it is.
    pub(crate) user: String,
    /// When the user proved who it is, in milliseconds since 1970.
    pub(crate) began_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub(crate) ends_ms: u64,
    /// SHA-256 of the user's row: the session is worth nothing once that has changed.
    pub(crate) stamp: [u8; 32],
    /// Whether the user has shown a second factor, here or at an identity provider of which that is demanded.
    pub(crate) strong: bool,
}
row!(BrowserRow, schema = 2, older = { 1 => BrowserRowV1 });

/// A session that began before anybody was asked for a second factor.
#[derive(Deserialize)]
pub(crate) struct BrowserRowV1 {
    user: String,
    began_ms: u64,
    ends_ms: u64,
    stamp: [u8; 32],
}

impl From<BrowserRowV1> for BrowserRow {
    fn from(old: BrowserRowV1) -> Self {
        let BrowserRowV1 { user, began_ms, ends_ms, stamp } = old;
        Self { user, began_ms, ends_ms, stamp, strong: false }
    }
}
