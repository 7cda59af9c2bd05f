//! Messages from device to device, past all rooms: what clients exchange keys with.
//!
//! A message waits in the *inbox* of its device until the device's `/sync` says that it has it: the token of an answer
//! names the place up to which messages were told, and only the client's next request with that token takes them away.
//! So nothing is lost with an answer, and two requests with one token are told the same. Messages come in the order of
//! their commits, after the position that they got there.
//!
//! What goes to devices of another server waits in the *outbox* for it, one row for each unit (an EDU), written in the
//! batch that acknowledges the client, and goes when that server has taken it. It is sent again as it was, under its
//! `message_id`, by which the other server knows it.
//!
//! Everything has a bound. Of an inbox each sender, and each other server, has a share (`shares`): a user of ours whose own is
//! full is told so, and what another server sends beyond its share is not kept. Nor is, the newest first, what is beyond the
//! bound of an inbox or outbox: whoever floods a device puts nothing out that waits there. All of that is counted
//! (`yakuba_to_device_messages`). What nobody fetches goes with time (`ages`).
//!
//! Nothing here knows HTTP. Reading order: [`ToDevice`], `send`, `inbox`, `shares`, `outbox`, `receive`, `forget`, `ages`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

mod ages;
mod error;
mod forget;
mod inbox;
mod outbox;
mod receive;
mod send;
mod shares;
mod tables;
#[cfg(test)]
mod tests;
mod to_device;

pub use self::{
    error::Error,
    inbox::{Message, PAGE, Page, Waiting},
    outbox::{Due, OUTGOING, Unit, destinations_of},
    receive::{Incoming, Outcome},
    send::{Messages, Sending},
    shares::count_shares,
    tables::checks,
    to_device::{Contacts, NoContacts, Parts, ToDevice},
};
