//! The crate's one handle, and the search for colleagues.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use account::Accounts;
use base::{Caches, Clock, Crowded, Tasks, Turns, cache::Holder, lane_of};
use organisation::{BodyId, Directory, Organisations, Seen, calendar::day_of};
use room::Policy;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use store::Store;
use tokio::{runtime::Handle, sync::Mutex};

use crate::{
    consent::Consent,
    directory::Made,
    error::Error,
    name::{Shown, Template, told_apart},
    shelf::{Looked, Print, Shelf},
};

/// So many searches go through directories at once; each keeps a processor busy for some milliseconds at most.
const SEARCHES_AT_ONCE: usize = 2;

/// So many may wait for that, in turn among those who search: one who asks for many delays others by one.
const MOST_WAITING: usize = 256;

/// Most letters of what is looked for: more than a few words nobody types.
const LONGEST_TEXT: usize = 2_048;

/// Of so many people whom the words mean it is looked whether their accounts are open, so many at a time.
const LOOKED_AT: usize = 500;
const LOOKED_AT_ONCE: usize = 100;

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// Accounts and their profiles.
    pub accounts: Accounts,
    /// Who may find whom.
    pub policy: Arc<dyn Policy>,
    /// The authorities of this process, each with the template that gives its people names, if the organisation gives any.
    pub authorities: BTreeMap<OwnedServerName, Option<Template>>,
    /// Whose people are found by staff of other authorities as well.
    pub consent: Arc<dyn Consent>,
    /// Time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
    /// Who knows what is held in memory.
    pub caches: &'a Caches,
}

/// The staff of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Staff {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    organisations: Organisations,
    pub(crate) accounts: Accounts,
    policy: Arc<dyn Policy>,
    pub(crate) authorities: BTreeMap<OwnedServerName, Authority>,
    consent: Arc<dyn Consent>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    shelf: Arc<Shelf>,
    searching: Turns<()>,
    /// What was looked at last, of each authority; held by who has profiles follow, one at a time.
    pub(crate) looked: Mutex<BTreeMap<OwnedServerName, Looked>>,
}

/// An authority of this process.
pub(crate) struct Authority {
    pub(crate) template: Option<Template>,
    /// Held by who makes its directory, so that it is made once for all who wait for it.
    making: Arc<Mutex<()>>,
}

/// Somebody whom a search has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Colleague {
    /// His user.
    pub user_id: OwnedUserId,
    /// What tells him from the others whom the search has found.
    pub display_name: String,
}

/// Whom a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the order in which they are shown.
    pub people: Vec<Colleague>,
    /// Whether there may be more.
    pub limited: bool,
}

impl Staff {
    /// Over a store. No profile follows by itself before [`Staff::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, accounts, policy, authorities, consent, clock, tasks, caches } = parts;
        let shelf = Arc::new(Shelf::default());
        let holder: Arc<dyn Holder> = shelf.clone();
        caches.add("staff_directories", Arc::downgrade(&holder));
        let authorities = authorities
            .into_iter()
            .map(|(name, template)| (name, Authority { template, making: Arc::default() }))
            .collect();
        let inner = Inner {
            organisations: Organisations::new(&store),
            accounts,
            policy,
            authorities,
            consent,
            clock,
            tasks: tasks.clone(),
            shelf,
            searching: Turns::new(SEARCHES_AT_ONCE, MOST_WAITING),
            looked: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Those of the caller's colleagues whom some words mean: of the same authority, in a body of which the caller is today by
    /// a post, or by his number while he has one; and after them those of authorities that have consented to it
    /// ([`Consent`]), of all their bodies. Each word is in the name, the reading, the account's name, a unit, one above
    /// it or a title. Nobody, for who has no post. Whose account is closed or locked, or is not there, is not found.
    ///
    /// Reads one row of the organisation, and of accounts at most 500, however many people there are; the rest is in memory.
    ///
    /// # Errors
    /// [`Error::Crowded`] when too many search at once; others of [`Error`].
    pub async fn find(&self, caller: &UserId, text: &str, most: usize) -> Result<Found, Error> {
        let authority = caller.server_name();
        let Some(made) = self.directory(authority).await? else { return Ok(Found::default()) };
        let Some(listed) = made.person_of(caller) else { return Ok(Found::default()) };
        let bodies = made.directory.bodies_of(listed);
        let text: String = text.chars().take(LONGEST_TEXT).collect();
        let mut found = self.find_in(caller, (authority, &made, bodies), &text, most).await?;
        for other in self.inner.consent.open_to(authority) {
            let left = most.saturating_sub(found.people.len());
            if found.limited || *other == *authority {
                continue;
            }
            let Some(made) = self.directory(&other).await? else { continue };
            let all = made.directory.bodies();
            let theirs = self.find_in(caller, (&other, &made, all), &text, left).await?;
            found.people.extend(theirs.people);
            found.limited |= theirs.limited;
        }
        Ok(found)
    }

    /// Those in a directory whom some words mean, in these bodies.
    async fn find_in(
        &self,
        caller: &UserId,
        (authority, made, bodies): (&ServerName, &Arc<Made>, BTreeSet<BodyId>),
        text: &str,
        most: usize,
    ) -> Result<Found, Error> {
        let text = text.to_owned();
        // The turn ends with the work and not with the request: one that is given up costs as much.
        let turn =
            self.inner.searching.wait(lane_of(caller.as_str())).await.map_err(|Crowded(_)| Error::Crowded)?;
        let (inside, of_caller) = (made.clone(), bodies.clone());
        let work = move || {
            let _turn = turn;
            let found = inside.directory.search(&text, Seen::Bodies(&of_caller), LOOKED_AT);
            (found.people.into_iter().map(|(place, _)| place).collect::<Vec<_>>(), found.more > 0)
        };
        let (places, mut limited) = self.inner.tasks.spawn_blocking("search for colleagues", work).await?;
        let mut found: Vec<(&OwnedUserId, usize)> = Vec::new();
        let candidates: Vec<(&OwnedUserId, usize)> =
            places.into_iter().filter_map(|place| Some((made.user_at(place)?, place))).collect();
        for some in candidates.chunks(LOOKED_AT_ONCE) {
            if found.len() > most {
                break;
            }
            let users: Vec<&UserId> = some.iter().map(|(user, _)| &***user).collect();
            let open = self.inner.accounts.open_accounts(&users).await?;
            let is_there = open.into_iter().map(|kept| kept.is_some_and(|kept| !kept.locked));
            let shown = some
                .iter()
                .zip(is_there)
                .filter(|((user, _), is_there)| *is_there && self.inner.policy.find(caller, user));
            found.extend(shown.map(|(one, _)| *one));
        }
        limited |= found.len() > most;
        found.truncate(most);
        let shown: Vec<Shown<'_>> = found
            .iter()
            .filter_map(|(user, place)| {
                let listed = made.directory.person(*place)?;
                let post = made.main_post(listed, Some(&bodies));
                Some(Shown { called: &listed.called, post, account: user.localpart() })
            })
            .collect();
        let usual = Template::default();
        let template = self.inner.authorities.get(authority).and_then(|known| known.template.as_ref());
        let names = told_apart(&shown, template.unwrap_or(&usual));
        let people = found.into_iter().zip(names);
        let people =
            people.map(|((user, _), display_name)| Colleague { user_id: user.clone(), display_name });
        Ok(Found { people: people.collect(), limited })
    }

    /// What the directory of today follows from.
    pub(crate) async fn print(&self, authority: &ServerName) -> Result<Print, Error> {
        let organisation = self.inner.organisations.progress(authority).await?;
        Ok(Print { organisation, day: day_of(self.inner.clock.now()).ok_or(Error::NoDay)? })
    }

    /// The directory of today; none for an authority that is not of this process, or has no organisation.
    pub(crate) async fn directory(&self, authority: &ServerName) -> Result<Option<Arc<Made>>, Error> {
        let Some(known) = self.inner.authorities.get(authority) else { return Ok(None) };
        let print = self.print(authority).await?;
        if print.organisation == 0 {
            return Ok(None);
        }
        if let Some(made) = self.inner.shelf.find(authority, print) {
            return Ok(Some(made));
        }
        let turn = known.making.clone().lock_owned().await;
        // Before the organisation is read: what comes in between makes another one, and is not missed.
        let print = self.print(authority).await?;
        if let Some(made) = self.inner.shelf.find(authority, print) {
            return Ok(Some(made));
        }
        let (staff, authority) = (self.clone(), authority.to_owned());
        let work = async move {
            // With the work and not with the request: who gives up and asks again does not make a second one beside it.
            let _turn = turn;
            let known = staff.inner.organisations.load(&authority).await?;
            let made = Made::of(Directory::of(&known.organisation, print.day), &authority);
            let made = Arc::new(made);
            staff.inner.shelf.put(&authority, print, made.clone());
            Ok(made)
        };
        self.aside(work).await.map(Some)
    }

    /// Runs what keeps a processor busy away from the async threads. When the process is to end it stops where it waits.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (runtime, stop) = (Handle::current(), self.inner.tasks.shutdown_token());
        let work = move || runtime.block_on(stop.run_until_cancelled(work));
        let done = self.inner.tasks.spawn_blocking("staff", work).await?;
        done.unwrap_or(Err(Error::Stopping))
    }
}
