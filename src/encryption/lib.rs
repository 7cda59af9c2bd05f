//! What the server does for end-to-end encryption: keys of devices and users, their signatures, one-time keys, backups of
//! keys, and who has to hear that somebody's devices changed. The server reads no message and has no private key.
//!
//! Nothing here knows HTTP: the handlers of the client and server interfaces call the verbs of [`Encryption`].
//!
//! Reading order: [`Encryption`], `device_keys`, `one_time`, `changes` (who is told of what), `cross_signing`, `query`,
//! `backup`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption>

mod backup;
mod came;
mod changes;
mod cross_signing;
mod dehydrated;
mod device_keys;
mod encryption;
mod ends;
mod error;
mod fallbacks;
mod one_time;
mod others;
mod peers;
mod query;
mod remote;
mod signatures;
mod signed;
mod tables;
#[cfg(test)]
mod tests;
mod updates;

pub use backup::{BackupKey, BackupKeys, BackupPage, BackupState, BackupVersion, Removed};
pub use came::{Arrival, arrivals};
pub use changes::{Between, ListChanges, ListQuery, lists_moved};
pub use dehydrated::Dehydrating;
pub use device_keys::KeyUpload;
pub use encryption::{Encryption, Parts};
pub use error::Error;
pub use one_time::{Claimed, Claims, KeyCounts};
pub use peers::{NoPeers, Peers};
pub use query::{Queried, UserKeys, Wanted};
pub use signatures::{SignatureFailure, Signed};
pub use tables::checks;
pub use updates::{ListUpdate, Unit};
