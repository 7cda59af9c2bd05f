//! Servers that talk to each other: rooms across them, outages, crashes, and what strangers may ask.

#![expect(clippy::unwrap_used, reason = "tests")]

mod fan_out;
mod forgeries;
mod hostile;
mod lenient;
mod net;
mod outages;
mod rooms;
mod strange_names;
mod strangers;
mod tls;
mod to_device;
mod third_party;
mod walk;
