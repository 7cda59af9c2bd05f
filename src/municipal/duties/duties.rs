//! The crate's one handle.

use std::collections::BTreeSet;

use audit::{Action, Actor, Deed};
use base::{Attempts, Clock, Random};
use ruma::{ServerName, UserId};
use store::{Batch, CommitError, Order, Range, Store};

use crate::{
    duty::Duty,
    error::Error,
    tables::{HOLDERS, HolderRow},
};

/// Accounts of an authority that may have a duty.
pub const MOST_HOLDERS: usize = 1_000;

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
        let row = self.store.get(&HOLDERS, &(user.server_name().as_str(), user.as_str())).await?;
        Ok(row.map(|row| duties(&row)).unwrap_or_default())
    }

    /// The same, with what a batch demands that is to be written only while that stands.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn demand(
        &self,
        user: &UserId,
    ) -> Result<(BTreeSet<Duty>, impl Fn(&mut Batch) + Send + Sync + use<>), Error> {
        let (authority, user) = (user.server_name().to_owned(), user.to_owned());
        let row = self.store.get(&HOLDERS, &(authority.as_str(), user.as_str())).await?;
        let held = row.as_ref().map(duties).unwrap_or_default();
        let demand = move |batch: &mut Batch| {
            batch.require(&HOLDERS, &(authority.as_str(), user.as_str()), row.as_ref());
        };
        Ok((held, demand))
    }

    /// Gives a duty to a user, or takes it away; whether that changed anything, and only then there is a row in the audit
    /// log. Whoever calls has made sure that the user has an account, and that `by` may do this.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set(&self, user: &UserId, duty: Duty, has: bool, by: &Actor) -> Result<bool, Error> {
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            if !self.add(&mut batch, (user, duty, has), by, None).await? {
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
    /// [`Error::TooMany`], [`Error::Store`].
    pub async fn write(
        &self,
        batch: &mut Batch,
        wish: (&UserId, Duty, bool),
        by: &Actor,
        because: (&'static str, &str),
    ) -> Result<bool, Error> {
        self.add(batch, wish, by, Some(because)).await
    }

    async fn add(
        &self,
        batch: &mut Batch,
        (user, duty, has): (&UserId, Duty, bool),
        by: &Actor,
        because: Option<(&'static str, &str)>,
    ) -> Result<bool, Error> {
        let authority = user.server_name();
        let key = (authority.as_str(), user.as_str());
        let before = self.store.get(&HOLDERS, &key).await?;
        let mut words = before.as_ref().map(|row| row.duties.clone()).unwrap_or_default();
        batch.require(&HOLDERS, &key, before.as_ref());
        if words.iter().any(|word| word == duty.word()) == has {
            return Ok(false);
        }
        if has && before.is_none() && self.holders(authority).await?.len() >= MOST_HOLDERS {
            return Err(Error::TooMany(MOST_HOLDERS));
        }
        words.retain(|word| word != duty.word());
        if has {
            words.push(duty.word().to_owned());
        }
        let action = if has { Action::GiveDuty } else { Action::TakeDuty };
        let mut deed = Deed::new(action, by, user.as_str(), self.clock.now());
        deed = if has { deed.after("duty", duty.word()) } else { deed.before("duty", duty.word()) };
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

    /// Who of an authority has duties, by user ids.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn holders(&self, authority: &ServerName) -> Result<Vec<(String, BTreeSet<Duty>)>, Error> {
        let range = Range::prefix(authority.as_str());
        let rows = self.store.scan(&HOLDERS, range, Order::Ascending, MOST_HOLDERS).await?;
        Ok(rows.into_iter().map(|((_, user), row)| (user, duties(&row))).collect())
    }
}

/// Whether a user has any duty; where he has none, a batch is to demand that it stays so.
///
/// # Errors
/// [`Error::Store`].
pub async fn has_none(store: &Store, batch: &mut Batch, user: &UserId) -> Result<bool, Error> {
    let key = (user.server_name().as_str(), user.as_str());
    if store.get(&HOLDERS, &key).await?.is_some() {
        return Ok(false);
    }
    batch.require(&HOLDERS, &key, None);
    Ok(true)
}

fn duties(row: &HolderRow) -> BTreeSet<Duty> {
    row.duties.iter().filter_map(|word| Duty::of_word(word)).collect()
}
