//! Who may act for himself in what an authority decides: people whose accounts are open and free.

use ruma::UserId;
use store::Reads;

use crate::{
    Accounts, Error,
    invite_rules::{InviteRules, InviteVerdict},
    tables::{GUESTS, MODERATION, NOTICES, USERS, guest_key},
};

/// How an open account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acting {
    /// Whether it administers its authority.
    pub administers: bool,
    /// Whether it may act: neither locked nor suspended, no guest's, none of the server's own.
    pub can_act: bool,
}

impl Accounts {
    /// How accounts of ours stand, in the order of `users`; nothing is said of accounts that are closed or not there. One read
    /// for all.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn acting(&self, users: &[&UserId]) -> Result<Vec<Option<Acting>>, Error> {
        let ids: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let guests: Vec<(&str, &str)> = users.iter().map(|user| guest_key(user)).collect();
        let mut reads = Reads::new();
        let (rows, kept) = (reads.get_many(&USERS, &ids), reads.get_many(&MODERATION, &ids));
        let (guests, notices) = (reads.get_many(&GUESTS, &guests), reads.get_many(&NOTICES, &ids));
        let mut read = self.inner.store.read(reads).await?;
        let (rows, kept) = (read.take_many(rows)?, read.take_many(kept)?);
        let (guests, notices) = (read.take_many(guests)?, read.take_many(notices)?);
        let all = users.iter().zip(rows).zip(kept).zip(guests).zip(notices);
        let acting = all.map(|((((_, row), kept), guest), notices)| {
            let row = row.filter(|row| !row.deactivated)?;
            let kept = kept.unwrap_or_default();
            let is_own = notices.is_some_and(|row| row.room.is_none());
            let can_act = !kept.locked && !kept.suspended && guest.is_none() && !is_own;
            Some(Acting { administers: row.admin, can_act })
        });
        Ok(acting.collect())
    }

    /// Whether a user of ours takes invites of somebody.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn takes_invites(&self, user: &UserId, from: &UserId) -> Result<bool, Error> {
        let rules = InviteRules::read(&self.inner.store, user).await?;
        Ok(rules.verdict(from) != InviteVerdict::Block)
    }
}
