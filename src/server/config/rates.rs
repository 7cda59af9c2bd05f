//! Reading rates: either half may be left out, and is then the default of the class.

use serde::{Deserialize, Deserializer};
use web::Class;

use super::types::RateSetting;

/// A rate as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    per_second: Option<f64>,
    burst: Option<u32>,
}

fn read_as<'de, D: Deserializer<'de>>(class: Class, reader: D) -> Result<RateSetting, D::Error> {
    let written = Written::deserialize(reader)?;
    let default = RateSetting::default_of(class);
    Ok(RateSetting {
        per_second: written.per_second.unwrap_or(default.per_second),
        burst: written.burst.unwrap_or(default.burst),
    })
}

/// One reader for each key of `[limits]`, as serde wants them.
macro_rules! readers {
    ($($key:ident: $class:ident),* $(,)?) => {$(
        pub(super) fn $key<'de, D: Deserializer<'de>>(reader: D) -> Result<RateSetting, D::Error> {
            read_as(Class::$class, reader)
        }
    )*};
}

readers! {
    login: Login,
    registration: Registration,
    open: Open,
    send: Send,
    delays: Delays,
    to_device: ToDevice,
    membership: Membership,
    search: Search,
    directory: Directory,
    sync: Sync,
    write: Write,
    read: Read,
    peer_unproven: PeerUnproven,
    peer_keys: PeerKeys,
    peer_transactions: PeerTransactions,
    peer_membership: PeerMembership,
    peer_state: PeerState,
    peer_queries: PeerQueries,
}
