//! The crate's one handle.

use std::{collections::BTreeMap, sync::Arc};

use audit::{Action, Actor, Deed};
use base::{Clock, Instant, Metrics, Tasks};
use intake::Date;
use organisation::{Organisations, calendar::day_of};
use ruma::{OwnedServerName, ServerName};
use store::{Batch, Store};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify},
};

use crate::{answer::Answer, error::Error, meters::Meters, order::Order, verbs::Rooms, words::words};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The authorities of this process.
    pub authorities: Vec<OwnedServerName>,
    /// What can be done to rooms.
    pub rooms: Arc<dyn Rooms>,
    /// Time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
    /// Where it is told how far rooms follow.
    pub metrics: &'a Metrics,
}

/// The rules of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Rules {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) organisations: Organisations,
    pub(crate) store: Store,
    pub(crate) authorities: Vec<OwnedServerName>,
    pub(crate) rooms: Arc<dyn Rooms>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) meters: Meters,
    /// Told when rules change, so that nobody waits for the next look.
    pub(crate) look: Notify,
    /// What was looked at last, of each authority; held by who takes steps, one at a time.
    pub(crate) looked: Mutex<BTreeMap<OwnedServerName, Looked>>,
}

/// From what the last steps were made that were all taken, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) at: Instant,
    pub(crate) print: Print,
}

/// What the wanted rooms follow from: how far the organisation and the book have come, and the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    pub(crate) organisation: u64,
    pub(crate) book: u64,
    pub(crate) day: Date,
}

impl Rules {
    /// Over a store. Nothing is done by itself before [`Rules::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, authorities, rooms, clock, tasks, metrics } = parts;
        let inner = Inner {
            organisations: Organisations::new(&store),
            store,
            authorities,
            rooms,
            clock,
            tasks: tasks.clone(),
            meters: Meters::new(metrics),
            look: Notify::new(),
            looked: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Does what somebody wants. Whoever calls has made sure that `by` may want it.
    ///
    /// What it writes is on disk when it returns, with a row in the audit log of the authority in the same commit.
    ///
    /// # Errors
    /// [`Error`]; what people are told of it is [`Error::words`].
    pub async fn carry_out(&self, authority: &ServerName, order: Order, by: &Actor) -> Result<Answer, Error> {
        let authority = self.inner.authorities.iter().find(|ours| **ours == *authority);
        let authority = authority.ok_or(Error::NoAuthority)?.clone();
        let (rules, by) = (self.clone(), by.clone());
        self.aside(async move { rules.answer(&authority, order, &by).await }).await
    }

    async fn answer(&self, authority: &ServerName, order: Order, by: &Actor) -> Result<Answer, Error> {
        match order {
            Order::Show { day } => self.show(authority, day).await,
            Order::Set { rule, wish, from, until } => {
                self.set(authority, rule, *wish, (from, until), by).await
            }
            Order::End { rule, from } => self.end(authority, rule, from, by).await,
            Order::Preview { wish, day } => {
                let wish = wish.map(|(rule, wish)| (rule, *wish));
                self.preview(authority, wish, day).await
            }
            Order::Adopt { room, rule, unit, key } => {
                self.adopt(authority, &room, rule, (&unit, key), by).await
            }
            Order::Run => Ok(Answer::Done(self.reconcile(authority, by).await?)),
        }
    }

    /// Runs what keeps a processor busy away from the async threads. When the process is to end it stops between two
    /// steps, as after a crash.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (runtime, stop) = (Handle::current(), self.inner.tasks.shutdown_token());
        let work = move || runtime.block_on(stop.run_until_cancelled(work));
        let done = self.inner.tasks.spawn_blocking("rules", work).await?;
        done.unwrap_or(Err(Error::Stopping))
    }

    /// The day that it is in Japan.
    pub(crate) fn today(&self) -> Result<Date, Error> {
        let none = || Error::Refused(words!("時計の日付を読めません。", "The clock shows no day."));
        day_of(self.inner.clock.now()).ok_or_else(none)
    }

    /// What is done to something, for the audit log.
    pub(crate) fn deed(&self, what: Action, by: &Actor, whom: &str) -> Deed {
        Deed::new(what, by, whom, self.inner.clock.now())
    }
}

/// A batch that begins with the row of a deed.
pub(crate) fn written(deed: &Deed, authority: &ServerName) -> Batch {
    let mut batch = Batch::new();
    deed.write(&mut batch, authority);
    batch
}
