//! The audit log at the log servers of its authority, by syslog (RFC 5424) over TLS (RFC 5425).
//!
//! A *destination* is a log server that the configuration names. It is sent every row of the authority's audit log, from the
//! first to the newest, in the order of the chain and with the number and value that the row has there: so whoever holds the log server
//! holds what [`audit::verify`] needs to find a log that was made anew or cut off.
//!
//! Nothing is queued. The rows are in the store and stay there; a destination is a number, up to which it has them. That is
//! kept ([`tables`]), so an outage of days costs nothing but the time to send what came meanwhile.
//!
//! Syslog has no acknowledgement: what was written to a connection may be lost with the peer. So a row counts as sent once the
//! connection has stood for a while after it was written ([`Bounds::settle`]); the system is told to end a connection on which what was
//! sent is not confirmed for less than that. What was written last on one that ended is sent again on the next, with the same
//! number and value, by which the receiver drops it. What it confirmed to the network and lost before it kept it, later than
//! that, nobody can know of here.
//!
//! Of several processes one sends, for all destinations, in a term of its own.
//!
//! Rows that a destination does not have yet stay, however old they are ([`audit::Elsewhere`]). One that is named later gets of rows
//! that have gone their number and value of the chain, and what was done.
//!
//! Reading order: [`frame`](mod@frame), [`Settings`], `wire`, `sending`, [`Forwarder`].

mod fault;
mod forwarder;
mod frame;
mod sending;
mod settings;
mod tables;
#[cfg(test)]
mod tests;
mod wire;

pub use self::{
    fault::{Fault, Words},
    forwarder::{Forwarder, Parts, Status, has_through, status},
    frame::{APP_NAME, EXAMPLE_NUMBER, LONGEST_MSGID, frame},
    settings::{Bounds, NoPlace, Place, Settings},
    tables::checks,
    wire::look,
};
