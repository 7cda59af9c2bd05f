//! The crate's one handle.

use std::collections::BTreeSet;

use audit::{Action, Actor, Deed};
use base::{Attempts, Clock, Random};
use ruma::{ServerName, UserId};
use store::{Batch, CommitError, Order, Range, Store};

use crate::{
    duty::Duty,
    error::Error,
    part::Part,
    role::{Held, Role},
    tables::{HOLDERS, HolderRow},
};

/// Accounts of an authority that may have a duty, or see to a part of it.
pub const MOST_HOLDERS: usize = 1_000;

/// Parts that one account may see to.
pub const MOST_PARTS: usize = 20;

/// The duties of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Duties {
    store: Store,
    clock: Clock,
    random: Random,
}

impl Duties {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store, clock: Clock, random: Random) -> Self {
        Self { store, clock, random }
    }

    /// What a user does for its authority. It is read each time, so that what is taken away is gone at once, at every
    /// process.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn of(&self, user: &UserId) -> Result<BTreeSet<Duty>, Error> {
        Ok(self.held(user).await?.duties)
    }

    /// The same with the parts that it sees to.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn held(&self, user: &UserId) -> Result<Held, Error> {
        let row = self.store.get(&HOLDERS, &(user.server_name().as_str(), user.as_str())).await?;
        Ok(row.map(|row| row.held()).unwrap_or_default())
    }

    /// The same, with what a batch demands that is to be written only while that stands.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn demand(
        &self,
        user: &UserId,
    ) -> Result<(Held, impl Fn(&mut Batch) + Send + Sync + use<>), Error> {
        let (authority, user) = (user.server_name().to_owned(), user.to_owned());
        let row = self.store.get(&HOLDERS, &(authority.as_str(), user.as_str())).await?;
        let held = row.as_ref().map(HolderRow::held).unwrap_or_default();
        let demand = move |batch: &mut Batch| {
            batch.require(&HOLDERS, &(authority.as_str(), user.as_str()), row.as_ref());
        };
        Ok((held, demand))
    }

    /// Gives a duty or a part to a user, or takes it away; whether that changed anything, and only then there is a row in the audit
    /// log. Whoever calls has made sure that the user has an account, and that `by` may do this.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set(
        &self,
        user: &UserId,
        role: impl Into<Role>,
        has: bool,
        by: &Actor,
    ) -> Result<bool, Error> {
        let role = role.into();
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            if !self.add(&mut batch, (user, role, has), by, None).await? {
                return Ok(false);
            }
            match self.store.commit(batch).await {
                Ok(_) => return Ok(true),
                Err(CommitError::Conflict { .. } | CommitError::Unknown)
                    if attempts.again(&self.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The same as a part of a batch of somebody else's, whose row in the audit log says by what (`because`): whether it
    /// changes anything. What it was found by is demanded.
    ///
    /// # Errors
    /// [`Error::TooMany`], [`Error::TooManyParts`], [`Error::Store`].
    pub async fn write(
        &self,
        batch: &mut Batch,
        wish: (&UserId, Role, bool),
        by: &Actor,
        because: (&'static str, &str),
    ) -> Result<bool, Error> {
        self.add(batch, wish, by, Some(because)).await
    }

    async fn add(
        &self,
        batch: &mut Batch,
        (user, role, has): (&UserId, Role, bool),
        by: &Actor,
        because: Option<(&'static str, &str)>,
    ) -> Result<bool, Error> {
        let authority = user.server_name();
        let key = (authority.as_str(), user.as_str());
        let before = self.store.get(&HOLDERS, &key).await?;
        let mut words = before.as_ref().map(|row| row.duties.clone()).unwrap_or_default();
        batch.require(&HOLDERS, &key, before.as_ref());
        let word = role.word();
        if words.contains(&word) == has {
            return Ok(false);
        }
        if has && matches!(role, Role::Part(_)) && Held::of(&words).parts.len() >= MOST_PARTS {
            return Err(Error::TooManyParts(MOST_PARTS));
        }
        if has && before.is_none() && self.holders(authority).await?.len() >= MOST_HOLDERS {
            return Err(Error::TooMany(MOST_HOLDERS));
        }
        match has {
            true => words.push(word.clone()),
            false => words.retain(|other| *other != word),
        }
        let action = if has { Action::GiveDuty } else { Action::TakeDuty };
        let mut deed = Deed::new(action, by, user.as_str(), self.clock.now());
        let what = match role {
            Role::Duty(_) => "duty",
            Role::Part(_) => Part::WORD,
        };
        deed = if has { deed.after(what, word) } else { deed.before(what, word) };
        if let Some((what, which)) = because {
            deed = deed.after(what, which);
        }
        deed.write(batch, authority);
        if words.is_empty() {
            batch.delete(&HOLDERS, &key);
        } else {
            batch.put(&HOLDERS, &key, &HolderRow { duties: words });
        }
        Ok(true)
    }

    /// Who of an authority has duties or parts, by user ids.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn holders(&self, authority: &ServerName) -> Result<Vec<(String, Held)>, Error> {
        let range = Range::prefix(authority.as_str());
        let rows = self.store.scan(&HOLDERS, range, Order::Ascending, MOST_HOLDERS).await?;
        Ok(rows.into_iter().map(|((_, user), row)| (user, row.held())).collect())
    }
}

/// Whether a user has no duty; where he has none, a batch is to demand that it stays so. Who sees to a part alone decides nothing
/// that takes two, so that is none; what a newer program has given is one.
///
/// # Errors
/// [`Error::Store`].
pub async fn has_none(store: &Store, batch: &mut Batch, user: &UserId) -> Result<bool, Error> {
    let key = (user.server_name().as_str(), user.as_str());
    let row = store.get(&HOLDERS, &key).await?;
    let is_part = |word: &String| Part::of_word(word).is_some();
    if row.as_ref().is_some_and(|row| !row.duties.iter().all(is_part)) {
        return Ok(false);
    }
    batch.require(&HOLDERS, &key, row.as_ref());
    Ok(true)
}

/// Whether a user has any duty, or sees to any part.
///
/// # Errors
/// [`Error::Store`].
pub async fn has_any(store: &Store, user: &UserId) -> Result<bool, Error> {
    Ok(store.get(&HOLDERS, &(user.server_name().as_str(), user.as_str())).await?.is_some())
}

impl HolderRow {
    fn held(&self) -> Held {
        Held::of(&self.duties)
    }
}
