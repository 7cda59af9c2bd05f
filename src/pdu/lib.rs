//! The pure rules of Matrix room events: no input or output, no clock, no tasks.
//!
//! What goes out: a [`Draft`] is [built](build) into an unsigned event, [signed](sign) by an
//! [`Authority`] and so [`Verified`]. What comes in: bytes are [parsed](Pdu::parse) into a [`Pdu`], which is
//! [verified](verify) against a [`KeyRing`]. Both are then judged: [`check_auth_independent`], then
//! [`check_auth`] against states; where states contradict each other, [`resolve`] chooses.
//!
//! Everything depends on the [`RoomVersion`]. Hashes and signatures are made over bytes, so a [`Pdu`] keeps its
//! canonical bytes and cuts from them instead of writing JSON anew.
//!
//! The authorisation rules and the resolution algorithm themselves are ruma's (`ruma::state_res`);
//! parsing, hashing, signing, redaction and the graph walks are here.

mod auth;
mod authority;
mod client;
mod draft;
mod error;
mod event;
mod float;
mod hash;
pub mod json;
mod keys;
pub mod lenient;
mod members;
mod named;
mod power;
mod redact;
pub mod resolve;
mod verify;
mod version;

pub use auth::{AuthFailure, auth_types, auth_types_of_draft, check_auth, check_auth_independent};
pub use authority::{Authorities, Authority, KeyFileError, OldKey};
pub use client::{client_event, open_client_event, stripped, with_unsigned};
pub use draft::{
    Draft, SignError, Template, Unsigned, add_signature, build, countersign, sign, sign_part, sign_together,
};
pub use error::FormatError;
pub use event::{MAX_AUTH_EVENTS, MAX_ID_BYTES, MAX_PDU_BYTES, MAX_PREV_EVENTS, Pdu};
pub use keys::{InvalidKey, KeyRing, MAX_VALIDITY_MS, VerifyKey};
pub use named::{Ids, Named};
pub use power::{PowerLevels, RoomPower};
pub use redact::{redact, redact_content};
pub use verify::{
    Verified, VerifyError, required_keys, required_keys_with, required_servers, verify, verify_json,
    verify_signed_by,
};
pub use version::{RoomVersion, UnsupportedVersion};
