//! The crate's one handle.

use std::sync::Arc;

use audit::{Action, Actor, Deed};
use base::{Clock, Tasks};
use intake::Date;
use organisation::{Organisations, SetId, calendar::day_of};
use ruma::{OwnedServerName, ServerName};
use store::{Batch, Store};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify},
};

use crate::{answer::Answer, error::Error, order::Order, words::words};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The authorities of this process.
    pub authorities: Vec<OwnedServerName>,
    /// Time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
}

/// The personnel desk of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Personnel {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) organisations: Organisations,
    pub(crate) store: Store,
    pub(crate) authorities: Vec<OwnedServerName>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// Told when a set is approved, or was left half way, so that nobody waits for the next look.
    pub(crate) look: Notify,
    /// Told when change sets came to their end: one for each who follows.
    pub(crate) applied: parking_lot::Mutex<Vec<Arc<Notify>>>,
    /// Held by who reads a file: one takes up to some hundred megabytes while it is compared.
    reading: Mutex<()>,
}

impl Personnel {
    /// Over a store. Nothing is applied by itself before [`Personnel::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, authorities, clock, tasks } = parts;
        let inner = Inner {
            organisations: Organisations::new(&store),
            store,
            authorities,
            clock,
            tasks: tasks.clone(),
            look: Notify::new(),
            applied: parking_lot::Mutex::default(),
            reading: Mutex::new(()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is told when change sets were applied or undone, so that whoever follows the organisation need not wait for his
    /// next look. Whoever follows asks for one of his own, once.
    #[must_use]
    pub fn applied(&self) -> Arc<Notify> {
        let applied = Arc::new(Notify::new());
        self.inner.applied.lock().push(applied.clone());
        applied
    }

    /// Tells all who follow that an organisation has changed.
    pub(crate) fn tell_applied(&self) {
        self.inner.applied.lock().iter().for_each(|applied| applied.notify_one());
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
        let reads_a_file = matches!(order, Order::Import(_) | Order::Columns { .. });
        let _turn = if reads_a_file { Some(self.inner.reading.lock().await) } else { None };
        let (personnel, by) = (self.clone(), by.clone());
        self.aside(async move { personnel.answer(&authority, order, &by).await }).await
    }

    async fn answer(&self, authority: &ServerName, order: Order, by: &Actor) -> Result<Answer, Error> {
        let organisations = &self.inner.organisations;
        match order {
            Order::Columns { file, how } => Self::columns(file.as_bytes(), how),
            Order::SaveMapping { name, mapping } => self.save_mapping(authority, &name, &mapping, by).await,
            Order::Import(import) => self.import(authority, &import, by).await,
            Order::List { before, limit } => {
                let limit = limit.min(MOST_LISTED);
                Ok(Answer::List(organisations.change_sets(authority, before, limit).await?))
            }
            Order::Set { id } => {
                Ok(Answer::Set(id, Box::new(organisations.change_set(authority, id).await?)))
            }
            Order::Lines { id, from } => self.lines(authority, id, from).await,
            Order::Approve { id, role, person, means } => {
                self.approve(authority, id, (role, &person), &means, by).await
            }
            Order::SetTime { id, at } => self.set_time(authority, id, at, by).await,
            Order::Withdraw { id } => self.withdraw(authority, id, by).await,
            Order::Apply { id } => self.apply(authority, id, by).await,
            Order::Undo { id, line } => self.undo(authority, id, line, by).await,
            Order::Show { day, unit } => self.show(authority, day, unit.as_deref()).await,
        }
    }

    /// Runs what keeps a processor busy away from the async threads. When the process is to end it stops between two
    /// commits, as after a crash.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (runtime, stop) = (Handle::current(), self.inner.tasks.shutdown_token());
        let work = move || runtime.block_on(stop.run_until_cancelled(work));
        let done = self.inner.tasks.spawn_blocking("change sets", work).await?;
        done.unwrap_or(Err(Error::Stopping))
    }

    /// The day that it is in Japan.
    pub(crate) fn today(&self) -> Result<Date, Error> {
        let none = || Error::Refused(words!("時計の日付を読めません。", "The clock shows no day."));
        day_of(self.inner.clock.now()).ok_or_else(none)
    }

    /// What is done to a change set, for the audit log.
    pub(crate) fn deed(&self, what: Action, by: &Actor, id: SetId) -> Deed {
        Deed::new(what, by, &id.0.to_string(), self.inner.clock.now())
    }
}

/// Most change sets that are told at once.
const MOST_LISTED: usize = 1_000;

/// A batch that begins with the row of a deed.
pub(crate) fn written(deed: &Deed, authority: &ServerName) -> Batch {
    let mut batch = Batch::new();
    deed.write(&mut batch, authority);
    batch
}
