//! The crate's one handle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use account::Accounts;
use base::{Clock, Tasks};
use cases::People;
use intake::Date;
use organisation::{Organisations, calendar::day_of};
use personnel::Personnel;
use ruma::{OwnedServerName, ServerName};
use store::Store;

use crate::{domain::MailDomain, error::Error, proof::Witness};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The accounts, with their addresses.
    pub accounts: Accounts,
    /// Who makes change sets.
    pub personnel: Personnel,
    /// Who tells the owners of accounts.
    pub people: Arc<dyn People>,
    /// Who is asked what domains say.
    pub witness: Arc<dyn Witness>,
    /// The authorities of this process that name domains, each with these.
    pub authorities: BTreeMap<OwnedServerName, BTreeSet<MailDomain>>,
    /// Time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
}

/// The mail domains of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Domains {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) organisations: Organisations,
    pub(crate) accounts: Accounts,
    pub(crate) personnel: Personnel,
    pub(crate) people: Arc<dyn People>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) authorities: BTreeMap<OwnedServerName, BTreeSet<MailDomain>>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl Domains {
    /// Over a store. Nothing is asked and nobody is told before [`Domains::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, accounts, personnel, people, witness, authorities, clock, tasks } = parts;
        let inner = Inner {
            organisations: Organisations::new(&store),
            store,
            accounts,
            personnel,
            people,
            witness,
            authorities: authorities.into_iter().filter(|(_, domains)| !domains.is_empty()).collect(),
            clock,
            tasks: tasks.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The domains that an authority names.
    pub(crate) fn named(&self, authority: &ServerName) -> impl Iterator<Item = &MailDomain> {
        self.inner.authorities.get(authority).into_iter().flatten()
    }

    /// Whether an authority names any.
    #[must_use]
    pub fn are_named(&self, authority: &ServerName) -> bool {
        self.named(authority).next().is_some()
    }

    pub(crate) fn today(&self) -> Result<Date, Error> {
        day_of(self.inner.clock.now()).ok_or(Error::NoDay)
    }
}
