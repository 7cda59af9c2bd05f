//! Delivery: devices that are not there just now are told by push gateways.
//!
//! One process reads the log behind those who send, finds who in a room has pushers (`index`) and whom of them the event
//! notifies (`judge`), and writes down in one batch with its cursor what each pusher has still to be told (`crate::waiting`). So
//! nothing is lost, whoever crashes or does not answer, and what waits is bounded: of a room only the newest. What is
//! told is found out when it is sent (`send`): what was read meanwhile is not told any more, and the number is right.
//! Each gateway has a lane of its own (`lanes`), and so have mails (`mails`), which wait until it is time for one.
//!
//! Spec: <https://spec.matrix.org/v1.19/push-gateway-api/>

mod follow;
mod gateway;
mod index;
mod judge;
mod lanes;
mod mail_texts;
mod mails;
mod notification;
mod send;

use std::{collections::HashSet, sync::Arc};

use base::{Clock, CounterFamily, Gauge, Histogram, Metrics, Random, Tasks};
use parking_lot::Mutex;
use ruma::api::client::push::{Pusher, PusherKind};
use store::{Consumer, Position};

pub use self::{
    gateway::{Answer, Gateways, Unreached},
    mails::{MailFace, MailParts},
};
use crate::Push;

/// The reader's name.
const NAME: &str = "push";

/// So many gateways have metrics of their own, those that were met first; the others share one. Users name gateways.
const MOST_NAMED: usize = 32;

/// What delivery stands on.
pub struct DeliveryParts<'a> {
    /// Rules, counts and pushers.
    pub push: Push,
    /// The way to gateways.
    pub gateways: Arc<dyn Gateways>,
    /// What users are mailed by.
    pub mails: MailParts,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Who runs it.
    pub tasks: &'a Tasks,
    /// Where it is measured.
    pub metrics: &'a Metrics,
}

/// Tells push gateways. Cheap to clone.
#[derive(Clone)]
pub struct Delivery(Arc<Inner>);

struct Inner {
    push: Push,
    gateways: Arc<dyn Gateways>,
    mails: MailParts,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    consumer: Consumer,
    /// Where the log was when this process began.
    head: Position,
    waiting: Gauge,
    outcomes: CounterFamily,
    seconds: Histogram,
    named: Mutex<HashSet<String>>,
}

impl Delivery {
    /// Over these. Nothing is sent before [`Delivery::start`].
    pub fn new(parts: DeliveryParts<'_>) -> Self {
        let DeliveryParts { push, gateways, mails, clock, random, tasks, metrics } = parts;
        let consumer = Consumer::new(push.store(), NAME, &clock, metrics);
        let head = push.store().head();
        Self(Arc::new(Inner {
            push,
            gateways,
            mails,
            clock,
            random,
            tasks: tasks.clone(),
            consumer,
            head,
            waiting: metrics.gauge("yakuba_push_waiting", "Pushers that have still to be told something"),
            outcomes: metrics.counter_family(
                "yakuba_push_notifications",
                "Requests to push gateways, by gateway (the first 32 by name) and outcome",
            ),
            seconds: metrics.histogram(
                "yakuba_push_delay_seconds",
                "Time from an event's coming to a gateway's answer that it was taken",
                &[0.02, 0.05, 0.1, 0.2, 0.5, 2.0, 10.0, 60.0, 600.0],
            ),
            named: Mutex::default(),
        }))
    }

    /// Delivers, as long as no other process does.
    pub fn start(&self) {
        let delivery = self.clone();
        self.0.tasks.spawn_restarting("push", move || {
            let delivery = delivery.clone();
            async move {
                let stop = delivery.0.tasks.shutdown_token();
                delivery.0.consumer.run(stop, |term| delivery.clone().keep_up(term)).await;
            }
        });
    }

    /// The lane of a pusher: that of its gateway, if the way to gateways knows of no other, or that of all mails.
    fn lane_of(&self, pusher: &Pusher) -> Option<Arc<str>> {
        if let PusherKind::Email(_) = &pusher.kind {
            return Some(mails::LANE.into());
        }
        let gateway = index::gateway_of(pusher)?;
        let lane = self.0.gateways.lane_of(pusher).unwrap_or(gateway);
        Some(lane.into())
    }

    /// Counts what became of a request.
    fn count(&self, gateway: &str, outcome: &'static str) {
        let mut named = self.0.named.lock();
        let is_named =
            named.contains(gateway) || (named.len() < MOST_NAMED && named.insert(gateway.to_owned()));
        let gateway = if is_named { gateway } else { "other" };
        self.0.outcomes.with(&[("gateway", gateway), ("outcome", outcome)]).inc();
    }
}
