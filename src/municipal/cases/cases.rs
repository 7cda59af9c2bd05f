//! The crate's one handle.

use std::{collections::BTreeMap, sync::Arc};

use audit::{Action, Actor, Deed as AuditDeed};
use base::{Clock, Crowded, Random, Tasks, Turns, cache::Holder, lane_of};
use duties::Duties;
use organisation::Organisations;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use store::{Batch, Store};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify},
};

use crate::{
    answer::Answer,
    case::{Case, Event, State},
    error::Error,
    ids::CaseId,
    kind::Kind,
    order::Order,
    people::People,
    shelf::Shelf,
    tables::{CASES, COUNTS, DUE, HISTORY, OPEN, TOLD, TellRow, Why},
    words::words,
};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The authorities of this process, and whether people are reminded there.
    pub authorities: Vec<(OwnedServerName, bool)>,
    /// What can be asked for.
    pub kinds: Vec<Arc<dyn Kind>>,
    /// Accounts.
    pub people: Arc<dyn People>,
    /// Who has which duty.
    pub duties: Duties,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
    /// Who knows what is held in memory.
    pub caches: &'a base::cache::Caches,
}

/// The cases of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Cases {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) authorities: BTreeMap<OwnedServerName, bool>,
    pub(crate) kinds: Vec<Arc<dyn Kind>>,
    pub(crate) people: Arc<dyn People>,
    pub(crate) duties: Duties,
    pub(crate) organisations: Organisations,
    pub(crate) shelf: Arc<Shelf>,
    /// Held by who reads an organisation.
    pub(crate) reading: Mutex<()>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    /// Told when something is due, so that nobody waits for the next look.
    pub(crate) look: Notify,
    /// Told when people have to be told something.
    pub(crate) tell: Notify,
    /// Whose turn it is; a lane for each authority.
    turns: Turns<()>,
}

/// Orders that are carried out at once.
const AT_ONCE: usize = 4;

/// Orders that may wait for their turn, of all authorities.
const MOST_WAITING: usize = 256;

/// Who wants something.
#[derive(Clone, Debug)]
pub struct By {
    /// Whose name is in the audit log.
    pub actor: Actor,
    /// The account whose wish it is; none for whoever has the machine.
    pub user: Option<OwnedUserId>,
}

impl By {
    /// Somebody who has shown that an account is his.
    #[must_use]
    pub fn user(user: &UserId, actor: Actor) -> Self {
        Self { actor, user: Some(user.to_owned()) }
    }

    /// Whoever has the machine.
    #[must_use]
    pub fn operator(actor: Actor) -> Self {
        Self { actor, user: None }
    }

    /// The account whose wish it is.
    pub(crate) fn account(&self) -> Result<&UserId, Error> {
        let nobody = || {
            Error::Refused(words!(
                "だれの操作かを示してください(コマンドでは --user と --password-file)。",
                "Please say whose wish it is (--user and --password-file at the command line)."
            ))
        };
        self.user.as_deref().ok_or_else(nobody)
    }

    /// His name in the history.
    pub(crate) fn name(&self) -> String {
        self.user.as_ref().map_or_else(|| self.actor.name().to_owned(), ToString::to_string)
    }
}

/// What a commit does to a case.
pub(crate) struct Change<'a> {
    pub(crate) id: CaseId,
    pub(crate) old: Option<&'a Case>,
    pub(crate) new: Case,
    pub(crate) events: Vec<Event>,
    pub(crate) tells: Option<Why>,
    /// When it is looked at again, where that is another moment than follows from how it stands.
    pub(crate) again_at: Option<base::Timestamp>,
}

impl Cases {
    /// Over a store. Nothing is done by itself before [`Cases::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, authorities, kinds, people, duties, clock, random, tasks, caches } = parts;
        let shelf = Arc::new(Shelf::default());
        let holder: Arc<dyn Holder> = shelf.clone();
        caches.add("case_organisations", Arc::downgrade(&holder));
        let inner = Inner {
            organisations: Organisations::new(&store),
            store,
            authorities: authorities.into_iter().collect(),
            kinds,
            people,
            duties,
            shelf,
            reading: Mutex::new(()),
            clock,
            random,
            tasks: tasks.clone(),
            look: Notify::new(),
            tell: Notify::new(),
            turns: Turns::new(AT_ONCE, MOST_WAITING),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Does what somebody wants, if he may: that is found out here, and stands when it is written.
    ///
    /// What it writes is on disk when it returns, with a row in the audit log of the authority in the same commit.
    ///
    /// # Errors
    /// [`Error`]; what people are told of it is [`Error::words`].
    pub async fn carry_out(&self, authority: &ServerName, order: Order, by: By) -> Result<Answer, Error> {
        let Some((authority, _)) = self.inner.authorities.get_key_value(authority) else {
            return Err(Error::NoAuthority);
        };
        if by.user.as_ref().is_some_and(|user| user.server_name() != authority) {
            return Err(Error::NoAuthority);
        }
        let turn = self.inner.turns.wait(lane_of(authority.as_str())).await;
        let turn = turn.map_err(|Crowded(_)| Error::Crowded)?;
        let (cases, authority) = (self.clone(), authority.clone());
        // What has begun is brought to its end also where whoever wanted it has gone.
        let work = async move {
            let _turn = turn;
            cases.answer(&authority, order, &by).await
        };
        // Away from the async threads: a long list of cases and a large organisation keep a processor busy.
        let (runtime, stop) = (Handle::current(), self.inner.tasks.shutdown_token());
        let work = move || runtime.block_on(stop.run_until_cancelled(work));
        self.inner.tasks.spawn_blocking("cases", work).await?.unwrap_or(Err(Error::Stopping))
    }

    async fn answer(&self, authority: &ServerName, order: Order, by: &By) -> Result<Answer, Error> {
        self.must_act(by).await?;
        let by = &self.with_duties(by).await?;
        match order {
            Order::Kinds => self.list_kinds(authority, by).await,
            Order::Mine { before, limit } => self.list_own(authority, by, before, limit).await,
            Order::Waiting { after } => self.list_waiting(authority, by, after).await,
            Order::All { kind, state, text, before, limit } => {
                self.search(authority, by, (kind, state, &text), before, limit).await
            }
            Order::Case { id } => self.show(authority, id, by).await,
            Order::Ask { kind, fields, reason, means } => {
                self.ask(authority, &kind, (&fields, &reason, &means), by).await
            }
            Order::KindOf { id } => self.kind_of(authority, id, by).await,
            Order::Meant { kind, fields } => self.list_meant(authority, &kind, &fields, by).await,
            Order::AskAgain { id, fields, reason, seen, means } => {
                self.ask_again(authority, id, (&fields, &reason, &means), seen, by).await
            }
            Order::Approve { id, text, seen, means } => {
                self.approve(authority, id, (&text, seen), &means, by).await
            }
            Order::Return { id, text, seen } => self.give_back(authority, id, (&text, seen), by).await,
            Order::Refuse { id, text, seen } => self.refuse(authority, id, (&text, seen), by).await,
            Order::Withdraw { id, text, seen } => self.withdraw(authority, id, (&text, seen), by).await,
            Order::Retry { id, seen } => self.retry(authority, id, seen, by).await,
            Order::Undo { id, text, seen } => self.undo(authority, id, (&text, seen), by).await,
            Order::Deputies => self.list_deputies(authority, by).await,
            Order::NameDeputy { deputy, from, until } => {
                self.name_deputy(authority, &deputy, (from, until), by).await
            }
            Order::EndDeputy { deputy } => self.end_deputy(authority, &deputy, by).await,
        }
    }

    /// The same with the duties that he has now, for the audit log.
    async fn with_duties(&self, by: &By) -> Result<By, Error> {
        let Some(user) = by.user.as_deref() else { return Ok(by.clone()) };
        let held = self.inner.duties.held(user).await?;
        let actor = by.actor.clone().having(held.words());
        Ok(By { actor, user: by.user.clone() })
    }

    /// Refuses whose account is closed, locked or suspended, guests, and the server's own.
    async fn must_act(&self, by: &By) -> Result<(), Error> {
        let Some(user) = by.user.as_deref() else { return Ok(()) };
        let standing = self.inner.people.standing(&[user]).await?.pop().flatten();
        match standing.is_some_and(|standing| standing.can_act) {
            true => Ok(()),
            false => Err(Error::Refused(words!(
                "このアカウントでは窓口を利用できません。",
                "This account may do nothing at the counter."
            ))),
        }
    }

    /// Has nobody wait who sees to what is due, or tells people.
    pub(crate) fn wake(&self) {
        self.inner.look.notify_one();
        self.inner.tell.notify_one();
    }

    /// The kind of a word.
    pub(crate) fn kind(&self, word: &str) -> Option<&Arc<dyn Kind>> {
        self.inner.kinds.iter().find(|kind| kind.word() == word)
    }

    /// A case, whoever asks.
    pub(crate) async fn get(&self, authority: &ServerName, id: CaseId) -> Result<Case, Error> {
        self.inner.store.get(&CASES, &(authority.as_str(), id)).await?.ok_or(Error::NoCase)
    }

    /// What is done to a case, for the audit log.
    pub(crate) fn deed(&self, what: Action, by: &Actor, id: CaseId, case: &Case) -> AuditDeed {
        AuditDeed::new(what, by, &id.0.to_string(), self.inner.clock.now())
            .after("kind", &case.kind)
            .after("title", &case.title.ja)
    }

    /// Writes what is done to a case: its row as it was is demanded, its history is added to, its places in lists follow.
    pub(crate) fn write(&self, batch: &mut Batch, authority: &ServerName, change: Change<'_>) {
        let (name, now) = (authority.as_str(), self.inner.clock.now());
        let Change { id, old, mut new, events, tells, again_at } = change;
        let first = old.map_or(0, |old| old.version);
        let lines = (first..).zip(&events);
        let mut last = first;
        for (number, event) in lines {
            batch.insert(&HISTORY, &(name, id, number), event);
            last = number;
        }
        new.version = first.saturating_add(u32::try_from(events.len()).unwrap_or(u32::MAX));
        new.due = again_at.or_else(|| new.next_due(now));
        let (was_open, is_open) = (old.is_some_and(|old| old.state.is_open()), new.state.is_open());
        match old {
            Some(old) => batch.replace(&CASES, &(name, id), old, &new),
            None => batch.insert(&CASES, &(name, id), &new),
        };
        if let Some(due) = old.and_then(|old| old.due) {
            batch.delete(&DUE, &(name, due.millis(), id));
        }
        if let Some(due) = new.due {
            batch.put(&DUE, &(name, due.millis(), id), &());
        }
        match is_open {
            true => batch.put(&OPEN, &(name, id), &()),
            false => batch.delete(&OPEN, &(name, id)),
        }
        if was_open != is_open {
            batch.add(&COUNTS, name, if is_open { 1 } else { -1 });
        }
        let reminds = self.inner.authorities.get(authority).is_some_and(|reminds| *reminds);
        if let Some(why) = tells.filter(|_| reminds) {
            batch.put(&TOLD, &(name, id, last), &TellRow { why, to: None, not_before: now, tries: 0 });
        }
    }

    /// A line of a history.
    pub(crate) fn event(&self, by: &By, deed: crate::case::Deed, text: &str) -> Event {
        Event {
            at: self.inner.clock.now(),
            by: by.name(),
            for_whom: None,
            deed,
            step: None,
            text: text.to_owned(),
            fields: Vec::new(),
        }
    }

    /// Its time is over, though it was not seen to yet.
    pub(crate) fn expired() -> Error {
        Error::Refused(words!(
            "この案件は期限が過ぎました。必要なときは、新しい案件として申請してください。",
            "The time of this case is over; please ask in a new case if it is needed still."
        ))
    }

    /// The state of a case, where it has to be another one for what is wanted.
    pub(crate) fn not_now(state: &State) -> Error {
        let told = state.words();
        let (ja, en) = (told.ja, told.en);
        Error::Refused(words!(
            "この案件は「{ja}」のため、その操作はできません。",
            "That cannot be done to this case as it is now ({en})."
        ))
    }
}
