//! Second factors: what an account is asked for beside its password, and the rules by which an answer is right.
//!
//! All that an account has is one row ([`Factors`]): authenticator apps (TOTP, RFC 6238), passkeys (WebAuthn), the codes by which its owner gets in
//! without them, each good once, and the code that a recovery hands over. So whatever is shown is judged over the row as it
//! was read, and the row that comes of it replaces that one in the batch that lets somebody in: of two who show the same
//! code at the same moment, at whatever process, one gets in.
//!
//! Secrets of apps are kept as they are. A code can be computed from nothing less, and a key to seal them with would lie
//! in the same store, or beside it, where whoever copies the one copies the other. Codes for once are long enough
//! to be kept as hashes. Nothing here reaches a log or a row of the audit log.
//!
//! Who asks for a factor, at which way in, is for `account` to say.
//!
//! Reading order: [`Factors`], `totp`, `passkey`, `codes`, `recoveries`.

mod codes;
mod error;
mod factors;
mod passkey;
mod qr;
mod recoveries;
mod tables;
#[cfg(test)]
mod tests;
mod totp;

pub use codes::CODES;
pub use error::{BadName, Refused};
pub use factors::{
    Change, Factor, Factors, Kind, MOST_APPS, MOST_PASSKEYS, NotTaken, Shown, Used, find_owner, put_answered,
};
pub use passkey::{Asserted, CHALLENGE, Challenge, Made, Party, handle_of};
pub use qr::{in_base32, link_for_app, svg_of};
pub use recoveries::{
    Recovery, find_recovery, list_recoveries, put_no_recovery, put_recovery, sweep_recoveries,
};
pub use tables::{SECRET, Secret, checks};
pub use totp::code_at;
