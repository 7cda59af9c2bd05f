//! The crate's one handle.

use std::{collections::BTreeSet, sync::Arc};

use audit::{Action, Actor, Deed};
use base::{Clock, Crowded, Tasks, Turns, lane_of};
use intake::Date;
use organisation::{ItemRow, Organisation, Organisations, Scope, SetId, UnitId, calendar::day_of};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use store::Store;
use tokio::{runtime::Handle, sync::Notify};

use crate::{act::MOST_ACTS, answer::Answer, by::By, error::Error, names::Names, order::Order, words::words};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The authorities of this process.
    pub authorities: Vec<OwnedServerName>,
    /// Whose the names of users are.
    pub names: Arc<dyn Names>,
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
    pub(crate) names: Arc<dyn Names>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// Told when a set is decided, or was left half way, so that nobody waits for the next look.
    pub(crate) look: Notify,
    /// Told when change sets came to their end: one for each who follows.
    pub(crate) applied: parking_lot::Mutex<Vec<Arc<Notify>>>,
    /// Whose turn it is to have a file compared, which takes up to some hundred megabytes; a lane for each authority, so that
    /// one delays another by no more than what is under way.
    files: Turns<()>,
    /// Whose turn it is to have a whole organisation looked through.
    looks: Turns<()>,
}

impl Personnel {
    /// Over a store. Nothing is applied by itself before [`Personnel::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, authorities, names, clock, tasks } = parts;
        let inner = Inner {
            organisations: Organisations::new(&store),
            store,
            authorities,
            names,
            clock,
            tasks: tasks.clone(),
            look: Notify::new(),
            applied: parking_lot::Mutex::default(),
            files: Turns::new(1, MOST_WAITING),
            looks: Turns::new(LOOKS, MOST_WAITING),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Has nobody wait for the next look who sees to what is due: a set was decided.
    pub fn wake(&self) {
        self.inner.look.notify_one();
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
        self.carry_out_for(authority, order, by.clone().into()).await
    }

    /// The same for who may want it for as long as what his batches demand stands.
    ///
    /// What has begun is brought to its end also where whoever wanted it has gone, and keeps its turn until then.
    ///
    /// # Errors
    /// As [`Personnel::carry_out`].
    pub async fn carry_out_for(&self, authority: &ServerName, order: Order, by: By) -> Result<Answer, Error> {
        let authority = self.inner.authorities.iter().find(|ours| **ours == *authority);
        let authority = authority.ok_or(Error::NoAuthority)?.clone();
        let turns = match order {
            Order::Import(_) | Order::ImportTold(_) | Order::Columns { .. } => Some(&self.inner.files),
            Order::Known | Order::Find { .. } | Order::Show { .. } | Order::Edit(_) | Order::Try(_) => {
                Some(&self.inner.looks)
            }
            _ => None,
        };
        // Who sees to a part alone waits behind himself, and not before those who see to the whole.
        let lane = if order.is_within() { by.name() } else { authority.as_str() };
        let turn = match turns {
            Some(turns) => Some(turns.wait(lane_of(lane)).await.map_err(|Crowded(_)| Error::Crowded)?),
            None => None,
        };
        let personnel = self.clone();
        let work = async move {
            let _turn = turn;
            personnel.answer(&authority, order, &by).await
        };
        self.aside(work).await
    }

    /// The units of a part of the organisation on a day, today where none is said.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn units_of(
        &self,
        authority: &ServerName,
        scope: Scope,
        day: Option<Date>,
    ) -> Result<BTreeSet<UnitId>, Error> {
        let units = move |known: &Organisation, today| known.units_of(&scope, day.unwrap_or(today));
        self.looked(authority, authority.as_str(), units).await
    }

    /// What parts of the organisation are called today, each by the bodies and units that it has; none where it has none any
    /// more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn called(
        &self,
        authority: &ServerName,
        scopes: Vec<Scope>,
    ) -> Result<Vec<Option<String>>, Error> {
        let called = move |known: &Organisation, today| {
            scopes.iter().map(|scope| known.scope_called(scope, today)).collect()
        };
        self.looked(authority, authority.as_str(), called).await
    }

    /// The part of the organisation that is called so today: a body, or a unit.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is none, or several.
    pub async fn scope_named(&self, authority: &ServerName, name: String) -> Result<Scope, Error> {
        let named = move |known: &Organisation, today| known.scope_named(&name, today);
        self.looked(authority, authority.as_str(), named).await?.map_err(Error::Refused)
    }

    /// The bodies' and units' own places of a part today, without what is below them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tops_of(&self, authority: &ServerName, scope: Scope) -> Result<BTreeSet<UnitId>, Error> {
        let tops = move |known: &Organisation, today| known.tops_of(&scope, today);
        self.looked(authority, authority.as_str(), tops).await
    }

    /// Whether somebody has a post in a part of the organisation today, be it his main one or not; of several people at once,
    /// each with parts. `asker` is whose lane it waits in.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn serve_in(
        &self,
        authority: &ServerName,
        asker: &str,
        all: Vec<(OwnedUserId, Scope)>,
    ) -> Result<Vec<bool>, Error> {
        let serve = move |known: &Organisation, today| {
            let serves =
                |(user, scope): &(OwnedUserId, Scope)| known.serves_in(user.localpart(), scope, today);
            all.iter().map(serves).collect()
        };
        self.looked(authority, asker, serve).await
    }

    /// Whether somebody's account is of who has his main post in a part of the organisation today.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn is_within(&self, user: &UserId, scope: Scope) -> Result<bool, Error> {
        let account = user.localpart().to_owned();
        let is_within = move |known: &Organisation, today| {
            let units = known.units_of(&scope, today);
            known.owner(&account).is_some_and(|person| known.is_mainly_in(person, &units, today))
        };
        self.looked(user.server_name(), user.as_str(), is_within).await
    }

    /// Those of some change sets of which all that they do is about a part of the organisation as it is today.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sets_within(
        &self,
        user: &UserId,
        ids: &[SetId],
        scope: Scope,
    ) -> Result<BTreeSet<SetId>, Error> {
        let authority = user.server_name();
        let mut sets = Vec::new();
        for id in ids {
            // What is put forward by hand has no more lines; what has is no department's.
            let items = self.inner.organisations.items(authority, *id, 0, MOST_ACTS + 1).await?;
            if items.len() <= MOST_ACTS {
                sets.push((*id, items));
            }
        }
        if sets.is_empty() {
            return Ok(BTreeSet::new());
        }
        let within = move |known: &Organisation, today| {
            let units = known.units_of(&scope, today);
            let is_within = |items: &[(u32, ItemRow)]| {
                let mut changes = items.iter().flat_map(|(_, row)| &row.item.changes);
                changes.all(|change| known.is_about(change, &units, today))
            };
            sets.into_iter().filter(|(_, items)| is_within(items)).map(|(id, _)| id).collect()
        };
        self.looked(authority, user.as_str(), within).await
    }

    /// Looks at an organisation as it is today, in turn; whoever has a lane of his own keeps nobody else waiting for long.
    async fn looked<T: Send + 'static>(
        &self,
        authority: &ServerName,
        lane: &str,
        look: impl FnOnce(&Organisation, Date) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.inner.looks.wait(lane_of(lane)).await;
        let turn = turn.map_err(|Crowded(_)| Error::Crowded)?;
        let (personnel, authority) = (self.clone(), authority.to_owned());
        let work = async move {
            let _turn = turn;
            let known = personnel.inner.organisations.load(&authority).await?.organisation;
            Ok(look(&known, personnel.today()?))
        };
        self.aside(work).await
    }

    async fn answer(&self, authority: &ServerName, order: Order, by: &By) -> Result<Answer, Error> {
        let organisations = &self.inner.organisations;
        match order {
            Order::Columns { file, how } => self.columns(authority, file.as_bytes(), how).await,
            Order::SaveMapping { name, mapping } => self.save_mapping(authority, &name, &mapping, by).await,
            Order::Import(import) => self.import(authority, &import, by).await,
            Order::ImportTold(import) => self.import_told(authority, *import, by).await,
            Order::Edit(edit) => self.edit(authority, &edit, by).await,
            Order::Try(edit) => self.try_edit(authority, &edit).await,
            Order::List { before, limit } => {
                let limit = limit.min(MOST_LISTED);
                Ok(Answer::List(organisations.change_sets(authority, before, limit).await?))
            }
            Order::Waiting => {
                let mut sets = organisations.waiting_sets(authority).await?;
                sets.reverse();
                Ok(Answer::List(sets))
            }
            Order::Set { id } => {
                Ok(Answer::Set(id, Box::new(organisations.change_set(authority, id).await?)))
            }
            Order::Lines { id, from, briefly } => self.lines(authority, id, from, briefly).await,
            Order::Withdraw { id } => self.withdraw(authority, id, by).await,
            Order::Apply { id } => self.apply(authority, id, by).await,
            Order::Undo { id, line } => self.undo(authority, id, line, by).await,
            Order::Known => self.known(authority).await,
            Order::Find { text, within } => self.find(authority, &text, within.as_ref()).await,
            Order::Show { day, unit, within } => {
                self.show(authority, (day, unit.as_deref()), within.as_ref()).await
            }
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
    pub(crate) fn deed(&self, what: Action, by: &By, id: SetId) -> Deed {
        Deed::new(what, by, &id.0.to_string(), self.inner.clock.now())
    }
}

/// Organisations that are looked through at once.
const LOOKS: usize = 2;

/// Orders that may wait for their turn, of all authorities.
const MOST_WAITING: usize = 64;

/// Most change sets that are told at once.
const MOST_LISTED: usize = 1_000;
