//! The crate's one handle.

use std::sync::Arc;

use account::{Accounts, AppService};
use base::{Clock, CounterFamily, GaugeFamily, Metrics, Random, Tasks};
use encryption::Encryption;
use room::Rooms;
use store::{Batch, Consumer, Order, Position, Range, Store};
use to_device::ToDevice;
use tokio::sync::Notify;
use tracing::warn;

use crate::{
    Carrier, Error,
    asked::Asked,
    tables::{BEGUN, LISTS, SENDING, WAITING},
};

/// The reader's name.
pub(crate) const NAME: &str = "appservice";

/// Rows that are read at once.
pub(crate) const PAGE: usize = 1_000;

/// What application services stand on.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// Rooms, as they are read.
    pub rooms: Rooms,
    /// Accounts, whose settings name the services.
    pub accounts: Accounts,
    /// Messages to devices.
    pub to_device: ToDevice,
    /// Keys, and whose devices changed.
    pub encryption: Encryption,
    /// The way to services.
    pub carrier: Arc<dyn Carrier>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Who runs it.
    pub tasks: &'a Tasks,
    /// Where it is measured.
    pub metrics: &'a Metrics,
}

/// Tells application services. Cheap to clone.
#[derive(Clone)]
pub struct AppServices(pub(crate) Arc<Inner>);

/// What wakes the lane of a service.
#[derive(Default)]
pub(crate) struct Bells {
    /// Something more waits.
    pub(crate) more: Notify,
    /// The service is there again, as far as can be seen.
    pub(crate) back: Notify,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) to_device: ToDevice,
    pub(crate) encryption: Encryption,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) asked: Asked,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    /// Those that are told something, each with what wakes its lane: they were registered with an address.
    pub(crate) told: Vec<(Arc<AppService>, Arc<Bells>)>,
    consumer: Option<Consumer>,
    /// Where the log was when this process began.
    pub(crate) head: Position,
    pub(crate) waiting: GaugeFamily,
    pub(crate) lag: GaugeFamily,
    pub(crate) failing: GaugeFamily,
    pub(crate) outcomes: CounterFamily,
}

impl AppServices {
    /// Over these. Nothing is sent before [`AppServices::start`].
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, rooms, accounts, to_device, encryption, carrier, clock, random, tasks, metrics } =
            parts;
        let told: Vec<_> = accounts
            .services()
            .filter(|service| service.address().is_some())
            .map(|service| (service.clone(), Arc::default()))
            .collect();
        // The log waits for no reader that nobody needs.
        let consumer = (!told.is_empty()).then(|| Consumer::new(&store, NAME, &clock, metrics));
        let head = store.head();
        Self(Arc::new(Inner {
            store,
            rooms,
            accounts,
            to_device,
            encryption,
            asked: Asked::of(told.iter().map(|(service, _): &(Arc<AppService>, _)| service.id())),
            carrier,
            clock,
            random,
            tasks: tasks.clone(),
            told,
            consumer,
            head,
            waiting: metrics.gauge_family(
                "yakuba_appservice_waiting_events",
                "Events that an application service has still to be told, by service",
            ),
            lag: metrics.gauge_family(
                "yakuba_appservice_lag_seconds",
                "How long the oldest event waits that an application service has not taken, by service",
            ),
            failing: metrics.gauge_family(
                "yakuba_appservice_failing",
                "Whether an application service has not taken a transaction after many tries, by service",
            ),
            outcomes: metrics.counter_family(
                "yakuba_appservice_transactions",
                "Transactions sent to application services, by service and outcome",
            ),
        }))
    }

    /// Tells the services, as long as no other process does.
    pub fn start(&self) {
        let services = self.clone();
        self.0.tasks.spawn_restarting("appservice", move || {
            let services = services.clone();
            async move {
                let stop = services.0.tasks.shutdown_token();
                if let Err(error) = services.forget_others().await {
                    warn!(%error, "what waited for application services that are gone is still there");
                }
                let Some(consumer) = &services.0.consumer else { return };
                consumer.run(stop, |term| services.clone().keep_up(term)).await;
            }
        });
    }

    /// Forgets what is kept for services that are registered no more: should one come back, it begins anew.
    async fn forget_others(&self) -> Result<(), Error> {
        let store = &self.0.store;
        let is_told = |id: &str| self.0.told.iter().any(|(service, _)| service.id() == id);
        let known = store.scan(&BEGUN, Range::all(), Order::Ascending, usize::MAX).await?;
        for (id, _) in known.into_iter().filter(|(id, _)| !is_told(id)) {
            let mut batch = Batch::new();
            batch.delete_prefix(&WAITING, &id.as_str());
            batch.delete(&SENDING, &id);
            batch.delete(&BEGUN, &id);
            batch.delete(&LISTS, &id);
            store.commit(batch).await?;
        }
        Ok(())
    }
}
