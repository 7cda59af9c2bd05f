//! The crate's one handle, and who is of which class.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use base::{
    Caches, Clock, Tasks,
    cache::{Held, Holder},
};
use intake::{Class, Date};
use organisation::{Organisation, Organisations, calendar::day_of, user_named};
use parking_lot::RwLock;
use room::Policy;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use store::{Position, Store};

use crate::{
    error::Error,
    marks::{self, Marks},
    rights::Rights,
};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: &'a Store,
    /// The authorities of this process of which something is said, each with what is said of its classes.
    pub authorities: BTreeMap<OwnedServerName, BTreeMap<Class, Rights>>,
    /// The policy behind this one.
    pub behind: Arc<dyn Policy>,
    /// Time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
    /// Who knows what is held in memory.
    pub caches: &'a Caches,
}

/// Who is of which class, and what that means. Cloning gives another handle.
#[derive(Clone)]
pub struct Classes {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    organisations: Organisations,
    pub(crate) authorities: BTreeMap<OwnedServerName, BTreeMap<Class, Arc<Rights>>>,
    pub(crate) behind: Arc<dyn Policy>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    known: RwLock<BTreeMap<OwnedServerName, Known>>,
    store: Store,
    marks: RwLock<Marks>,
    /// The most days that a class reads back; none where none is bound.
    most_days: Option<u64>,
}

/// What a list of people follows from: how far the organisation has come, and the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    organisation: u64,
    day: Date,
}

/// Those of an authority's people who are of a class of which something is said.
struct Known {
    print: Print,
    people: Arc<HashMap<OwnedUserId, Class>>,
}

impl Classes {
    /// Over a store, once it is known who is of which class: nobody is served before that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(parts: Parts<'_>) -> Result<Self, Error> {
        let Parts { store, authorities, behind, clock, tasks, caches } = parts;
        let authorities = authorities.into_iter().filter(|(_, classes)| !classes.is_empty());
        let shared = authorities.map(|(name, classes)| {
            (name, classes.into_iter().map(|(class, rights)| (class, Arc::new(rights))).collect())
        });
        let shared: BTreeMap<OwnedServerName, BTreeMap<Class, Arc<Rights>>> = shared.collect();
        let days = shared.values().flat_map(BTreeMap::values).filter_map(|rights| rights.reads_back);
        let most_days = days.max().map(|days| u64::from(days.get()));
        let marks = match most_days {
            Some(_) => Marks::read(store).await?,
            None => Marks::default(),
        };
        let inner = Arc::new(Inner {
            organisations: Organisations::new(store),
            authorities: shared,
            behind,
            clock,
            tasks: tasks.clone(),
            known: RwLock::default(),
            store: store.clone(),
            marks: RwLock::new(marks),
            most_days,
        });
        let holder: Arc<dyn Holder> = inner.clone();
        caches.add("classes_of_people", Arc::downgrade(&holder));
        let classes = Self { inner };
        for authority in classes.inner.authorities.keys() {
            classes.follow(authority).await?;
        }
        Ok(classes)
    }

    /// The class of a user of ours and what is said of it; nothing where nothing is said, and of whoever is nobody's account.
    pub(crate) fn of(&self, user: &UserId) -> Option<(Class, Arc<Rights>)> {
        let classes = self.inner.authorities.get(user.server_name())?;
        let class = self.inner.known.read().get(user.server_name())?.people.get(user).copied()?;
        Some((class, classes.get(&class)?.clone()))
    }

    /// Up to where all had come here so many days ago, and when that was, in ms since 1970.
    pub(crate) fn days_ago(&self, days: u64) -> (u64, Position) {
        let at = self.inner.clock.now().millis().saturating_sub(days * A_DAY_MS);
        (at, self.inner.marks.read().by(at))
    }

    /// Notes how far the log has come, if nobody has in this hour and some class reads so many days back.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn mark(&self) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let Some(days) = self.inner.most_days.filter(|_| !self.inner.marks.read().has(now)) else {
            return Ok(());
        };
        let (hour, position, keep_from) = marks::mark(&self.inner.store, now, days).await?;
        self.inner.marks.write().take(hour, position, keep_from);
        Ok(())
    }

    /// Has an authority's list be that of today; what it was is kept where it cannot be read. Whether it was made anew.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn follow(&self, authority: &ServerName) -> Result<bool, Error> {
        let Some(classes) = self.inner.authorities.get(authority) else { return Ok(false) };
        // Before the organisation is read: what comes in between makes another list the next time.
        let print = Print {
            organisation: self.inner.organisations.progress(authority).await?,
            day: day_of(self.inner.clock.now()).ok_or(Error::NoDay)?,
        };
        if self.inner.known.read().get(authority).is_some_and(|known| known.print == print) {
            return Ok(false);
        }
        let organisation = match print.organisation {
            0 => Organisation::default(),
            _ => self.inner.organisations.load(authority).await?.organisation,
        };
        let (named, said): (OwnedServerName, Vec<Class>) =
            (authority.to_owned(), classes.keys().copied().collect());
        let work = move || {
            let people = organisation.classes(print.day).into_iter();
            let people = people.filter(|(_, class)| said.contains(class));
            people.filter_map(|(account, class)| Some((user_named(account, &named)?, class))).collect()
        };
        let people = Arc::new(self.inner.tasks.spawn_blocking("who is of which class", work).await?);
        let old = self.inner.known.write().insert(authority.to_owned(), Known { print, people });
        // Not under the lock: dropping thousands of people takes a while.
        drop(old);
        Ok(true)
    }
}

const A_DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl Holder for Inner {
    fn held(&self) -> Held {
        let known = self.known.read();
        let people = || known.values().flat_map(|known| known.people.keys());
        let row = 2 * size_of::<(OwnedUserId, Class)>();
        let marks = self.marks.read().len() * 2 * size_of::<(u64, Position)>();
        let bytes: usize = people().map(|user| user.as_str().len() + row).sum::<usize>() + marks;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Held { bytes, entries: u64::try_from(people().count()).unwrap_or(u64::MAX), most: bytes }
    }

    /// Nothing goes: whoever were not known would be allowed what he may not.
    fn age(&self) -> u64 {
        0
    }
}
