//! Push: which events users are notified of, and how many of these they have not read.
//!
//! Nothing is written where an event is sent. Whether it notifies somebody follows from the event, his rules and his
//! receipts, so it is found out when he is told of it: what the rules look at in an event is made once for all who are
//! told, and what was counted for a user in a room is kept, and goes on with each new event.
//!
//! Push rules as users keep them are account data, with their verbs in `account`.
//!
//! Threads ring as their subscriptions say (`threads`), for those who have any.
//!
//! What devices are told that are not there just now goes out behind the log ([`Delivery`]), and what users are mailed.
//!
//! Reading order: [`Push::unread`], then `rules` (what a user's rules say of an event), `facts` (what they look at) and
//! `glob`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#push-notifications>

mod counted;
mod delivery;
mod error;
mod facts;
mod glob;
mod mailed;
mod notifications;
mod push;
mod pushers;
mod rules;
mod seal;
mod threads;
mod unread;
mod unreads;
mod unsubscribe;
mod waiting;

pub use self::{
    counted::{Count, Counts},
    delivery::{Answer, Delivery, DeliveryParts, Gateways, MailFace, MailParts, Unreached},
    error::Error,
    mailed::MailPace,
    notifications::{NotificationQuery, NotificationToken, Notifications, Notified},
    push::Push,
    pushers::checks,
    unread::Asked,
};
