//! The built-in push gateway: what homeservers tell it reaches browsers (WebPush) and phones (UnifiedPush, FCM, APNs) over
//! their push services.
//!
//! For networks from which no gateway of an app's maker is reached, and where none is to learn who is told what when. It takes
//! what the Push Gateway API says, from our own process or from others, for the apps that are set ([`App`]). It keeps
//! nothing: what a push service does not take at the moment is refused, and the homeserver tells it again.
//!
//! This crate decides what is sent; how it gets there is behind the port [`Services`].
//!
//! Reading order: [`Gateway::notify`], `notification` (what is told), `webpush` (RFC 8291) and `vapid` (RFC 8292);
//! `fcm`; `apns` and `payload`.
//!
//! Spec: <https://spec.matrix.org/v1.19/push-gateway-api/>

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "tests"))]

mod apns;
mod fcm;
mod gateway;
mod notification;
mod payload;
mod services;
mod settings;
#[cfg(test)]
mod tests;
mod vapid;
mod webpush;

pub use self::{
    apns::{ApnsApp, ApnsKey, PRODUCTION, SANDBOX},
    fcm::FcmAccount,
    gateway::{Gateway, MARK, Outcome, Parts},
    services::{Answer, Post, Protocol, Services, Unreached},
    settings::{App, Kind, Settings},
    vapid::{KeyError, VapidKey},
};
