//! Seals: once a day the authority's signing key says how far its chain has come.
//!
//! What is signed is a text, so that it can be checked with any tool for Ed25519:
//!
//! ```text
//! yakuba audit seal 1
//! authority kanazawa.test
//! day 2026-04-01
//! rows 4212 to 4711
//! chain 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
//! key ed25519:a_1 9f2c…
//! made 1775055600000
//! ```
//!
//! The key is kept with it. By itself that proves only that the rows are as they were when the holder of that
//! key sealed them; that it was the authority's, its configuration says, which names old keys too.

use base::Timestamp;
use pdu::{Authority, VerifyKey};
use ruma::ServerName;
use serde::{Deserialize, Serialize};

use crate::{
    chain::hex,
    day::Day,
    tables::{ChainRow, SealRow},
};

/// How far seals reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeal {
    /// The day that was sealed last.
    pub day: Day,
    /// The number of the last row that is sealed.
    pub number: u64,
}

/// The seal of the chain's open day.
pub(crate) fn seal(authority: &Authority, chain: &ChainRow, made: Timestamp) -> SealRow {
    let mut seal = SealRow {
        first: chain.sealed + 1,
        last: chain.number,
        hash: chain.hash,
        made,
        key_id: authority.key_id().to_string(),
        public_key: authority.public_key(),
        signature: Vec::new(),
    };
    seal.signature = authority.sign(text(authority.name(), chain.day, &seal).as_bytes()).to_vec();
    seal
}

/// Whether the key that the seal names has made it, for this authority and day.
pub(crate) fn is_genuine(name: &ServerName, day: Day, seal: &SealRow) -> bool {
    let Ok(key) = VerifyKey::old(&seal.public_key, 0) else { return false };
    key.has_signed(text(name, day, seal).as_bytes(), &seal.signature)
}

/// Whether the seal's key is, or was, the authority's.
pub(crate) fn is_key_of(authority: &Authority, seal: &SealRow) -> bool {
    let present = (authority.key_id().as_str(), authority.public_key());
    let old = authority.old_keys().iter().map(|old| (old.key_id.as_str(), old.public_key));
    std::iter::once(present).chain(old).any(|key| key == (seal.key_id.as_str(), seal.public_key))
}

fn text(name: &ServerName, day: Day, seal: &SealRow) -> String {
    let SealRow { first, last, hash, made, key_id, public_key, signature: _ } = seal;
    let (hash, public_key) = (hex(hash), hex(public_key));
    format!(
        "yakuba audit seal 1\nauthority {name}\nday {day}\nrows {first} to {last}\nchain {hash}\n\
         key {key_id} {public_key}\nmade {made}\n"
    )
}
