//! Servers that talk to each other: rooms across them, outages, crashes, and what strangers may ask.

#![expect(clippy::unwrap_used, reason = "tests")]

mod fan_out;
mod files;
mod forgeries;
mod hostile;
mod lenient;
mod net;
mod outages;
mod pages;
mod rooms;
mod shared;
mod strange_names;
mod strangers;
mod third_party;
mod tls;
mod to_device;
mod walk;
