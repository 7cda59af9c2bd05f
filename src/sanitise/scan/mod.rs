//! Scanners of others: ClamAV by clamd's socket ([`Clamd`]), and any product that speaks ICAP ([`Icap`]).
//!
//! Whatever does not clearly say that a file is clean is [`Scan::NotScanned`], or [`Scan::TooLarge`] where asking again changes
//! nothing: a scanner that is down, slow, over its own limit, or that breaks off never lets a file pass.

mod clamd;
mod icap;

use async_trait::async_trait;
use tokio::io::AsyncRead;

pub use self::{
    clamd::{Address, Clamd},
    icap::Icap,
};

/// What a scanner says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// It found nothing.
    Clean,
    /// It found this; nothing of the file may be given on.
    Infected(String),
    /// It gave other bytes in the file's place, which are still to be sanitised.
    Replaced(Vec<u8>),
    /// It did not say; nothing of the file may be given on until it does.
    NotScanned(String),
    /// It cannot look into it: it has a password. Only where the scanner is set up to say so.
    Encrypted(String),
    /// It looks at no file so large, or that unpacks to so much, and never will as it is set up.
    TooLarge(String),
}

/// A step that looks at a whole file.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// Has a file looked at, to its end.
    async fn scan(&self, input: &mut (dyn AsyncRead + Unpin + Send)) -> Scan;
}

/// How much of a file is read and sent at a time, in bytes.
const PART: usize = 64 << 10;
