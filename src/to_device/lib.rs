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
//! Everything has a bound. What is beyond that of an inbox or outbox is *not kept*, the newest first: whoever
//! floods a device puts nothing out that waits there. It is counted (`yakuba_to_device_messages`); the sender is not
//! told, for a request goes to many devices, and one that is never used any more must not keep it from the others.
//!
//! Nothing here knows HTTP. Reading order: [`ToDevice`], `send`, `inbox`, `outbox`, `receive`, `forget`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

mod error;
mod forget;
mod inbox;
mod outbox;
mod receive;
mod send;
mod tables;
#[cfg(test)]
mod tests;
mod to_device;

pub use self::{
    error::Error,
    inbox::{Message, Page},
    outbox::{Due, OUTGOING, Unit, destinations_of},
    receive::{Incoming, Outcome},
    send::{Messages, Sending},
    tables::checks,
    to_device::{Contacts, NoContacts, Parts, ToDevice},
};
