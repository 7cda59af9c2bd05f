//! What readers know of rooms that are being purged, and what is stored of that. Who purges them stands above.

pub mod known;
pub mod tables;
