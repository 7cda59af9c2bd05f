//! Accounts as the administrators of their authority see them; `moderation` and `users` have what else they do to them.
//!
//! Who administers is a fact of the account's row. It is given and taken by operators and by other administrators, each time
//! with a row in the audit log, and every session of the account knows it from that commit on.

use std::collections::HashMap;

use audit::Actor;
use base::{Term, Timestamp};
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, Order, Range, Reads};

use crate::{
    AccountChange, Accounts, Error, Moderation,
    tables::{self, UserRow, guest_key},
};

/// Users that are read at a time.
const PAGE: usize = 1_000;

/// An account, as an administrator of its authority sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose it is.
    pub user_id: OwnedUserId,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the user administers the authority.
    pub admin: bool,
    /// Whether it is closed for good.
    pub deactivated: bool,
    /// Whether the user is a guest.
    pub guest: bool,
    /// What the user is kept from.
    pub moderation: Moderation,
    /// How the user appears.
    pub profile: engine::Profile,
    /// When the user was seen last, on any device or in a browser.
    pub seen: Option<Timestamp>,
}

/// By what a list of accounts is ordered; where it is equal, by user ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountOrder {
    /// The user id.
    #[default]
    Name,
    /// Guests last.
    Guest,
    /// Administrators last.
    Admin,
    /// Closed accounts last.
    Deactivated,
    /// Locked accounts last.
    Locked,
    /// The name to show.
    DisplayName,
    /// The address of the picture.
    Avatar,
    /// When it was made.
    Created,
    /// When its user was seen last.
    Seen,
}

impl AccountOrder {
    const fn needs_profiles(self) -> bool {
        matches!(self, Self::DisplayName | Self::Avatar)
    }
}

/// Which accounts of an authority are wanted.
#[derive(Clone, Debug, Default)]
pub struct AccountQuery {
    /// How many are passed over.
    pub from: usize,
    /// At most this many.
    pub limit: usize,
    /// In which order.
    pub order: AccountOrder,
    /// The other way round.
    pub backward: bool,
    /// Whose user name or name to show contains this, capitals or not.
    pub name: Option<String>,
    /// Whose user id contains this.
    pub user_id: Option<String>,
    /// Guests, or all others.
    pub guests: Option<bool>,
    /// Administrators, or all others.
    pub admins: Option<bool>,
    /// Closed accounts, or all others.
    pub deactivated: Option<bool>,
    /// Locked accounts, or all others.
    pub locked: Option<bool>,
    /// Suspended accounts, or all others.
    pub suspended: Option<bool>,
    /// People who have not been seen since then; who never was is as old as his account. Guests, the server's own users and those
    /// that services keep for themselves are nobody who might have gone.
    pub unseen_since: Option<Timestamp>,
}

impl AccountQuery {
    fn wants(&self, account: &Account) -> bool {
        let fits = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        fits(self.guests, account.guest)
            && fits(self.admins, account.admin)
            && fits(self.deactivated, account.deactivated)
            && fits(self.locked, account.moderation.locked)
            && fits(self.suspended, account.moderation.suspended)
    }

    fn names(&self, account: &Account) -> bool {
        if let Some(name) = &self.name {
            // Folded as all searches are: 髙橋 is found as 高橋, and ﾔﾏﾀﾞ as やまだ.
            let name = Term::new(name);
            let shown = account.profile.displayname.as_deref();
            return name.is_in(account.user_id.localpart()) || shown.is_some_and(|shown| name.is_in(shown));
        }
        // User ids have no capitals, but for old ones.
        let id = account.user_id.as_str().to_lowercase();
        self.user_id.as_ref().is_none_or(|part| id.contains(&part.to_lowercase()))
    }

    fn sort(&self, accounts: &mut [Account]) {
        use AccountOrder as By;
        accounts.sort_by(|one, other| {
            let first = match self.order {
                By::Name => one.user_id.cmp(&other.user_id),
                By::Guest => one.guest.cmp(&other.guest),
                By::Admin => one.admin.cmp(&other.admin),
                By::Deactivated => one.deactivated.cmp(&other.deactivated),
                By::Locked => one.moderation.locked.cmp(&other.moderation.locked),
                By::DisplayName => one.profile.displayname.cmp(&other.profile.displayname),
                By::Avatar => one.profile.avatar_url.cmp(&other.profile.avatar_url),
                By::Created => one.created.millis().cmp(&other.created.millis()),
                By::Seen => one.seen.map(Timestamp::millis).cmp(&other.seen.map(Timestamp::millis)),
            };
            let first = if self.backward { first.reverse() } else { first };
            first.then_with(|| one.user_id.cmp(&other.user_id))
        });
    }
}

/// The moment so many days before another one.
#[must_use]
pub fn days_before(now: Timestamp, days: u32) -> Timestamp {
    Timestamp(now.millis().saturating_sub(u64::from(days) * 24 * 60 * 60 * 1_000))
}

/// A part of a list of accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// How many there are in all.
    pub total: usize,
}

impl Accounts {
    /// Accounts of an authority.
    ///
    /// Users lie by their ids, in which the authority stands last, and there is no index by authority: all users of the
    /// process are looked at, a thousand at a time, and the ids of those of this authority that fit are held. So whoever
    /// lets others ask for this lets few do so at once.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list_accounts(
        &self,
        authority: &ServerName,
        query: &AccountQuery,
    ) -> Result<AccountPage, Error> {
        let mut found = Vec::new();
        let mut rest = Range::all();
        loop {
            let rows = self.inner.store.scan(&tables::USERS, rest, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { break };
            let (is_last, last) = (rows.len() < PAGE, last.clone());
            let of_authority = rows.into_iter().filter_map(|(id, row)| {
                let user = OwnedUserId::try_from(id).ok()?;
                (user.server_name() == authority).then_some((user, row))
            });
            let mut accounts = self.accounts_of_rows(of_authority.collect()).await?;
            accounts.retain(|account| query.wants(account));
            if query.name.is_some() || query.order.needs_profiles() {
                self.show_profiles(&mut accounts).await?;
            }
            accounts.retain(|account| query.names(account));
            if query.order == AccountOrder::Seen || query.unseen_since.is_some() {
                self.show_seen(&mut accounts).await?;
            }
            if let Some(since) = query.unseen_since {
                accounts.retain(|account| account.seen.unwrap_or(account.created) < since);
                self.keep_people(&mut accounts).await?;
            }
            found.extend(accounts);
            if is_last {
                break;
            }
            rest = Range::all().after(last.as_str());
        }
        query.sort(&mut found);
        let total = found.len();
        let mut accounts: Vec<Account> = found.into_iter().skip(query.from).take(query.limit).collect();
        self.show_profiles(&mut accounts).await?;
        self.show_seen(&mut accounts).await?;
        Ok(AccountPage { accounts, total })
    }

    /// One account, also where it is closed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_account(&self, user: &UserId) -> Result<Option<Account>, Error> {
        let Some(row) = self.find_user_row(user).await? else { return Ok(None) };
        let mut found = self.accounts_of_rows(vec![(user.to_owned(), row)]).await?;
        self.show_profiles(&mut found).await?;
        self.show_seen(&mut found).await?;
        Ok(found.pop())
    }

    async fn accounts_of_rows(&self, rows: Vec<(OwnedUserId, UserRow)>) -> Result<Vec<Account>, Error> {
        let ids: Vec<&str> = rows.iter().map(|(user, _)| user.as_str()).collect();
        let guests: Vec<(&str, &str)> = rows.iter().map(|(user, _)| guest_key(user)).collect();
        let mut reads = Reads::new();
        let moderation = reads.get_many(&tables::MODERATION, &ids);
        let guests = reads.get_many(&tables::GUESTS, &guests);
        let mut read = self.inner.store.read(reads).await?;
        let (moderation, guests) = (read.take_many(moderation)?, read.take_many(guests)?);
        let accounts = rows.into_iter().zip(moderation).zip(guests);
        Ok(accounts
            .map(|(((user_id, row), moderation), guest)| Account {
                user_id,
                created: Timestamp(row.created_ms),
                admin: row.admin,
                deactivated: row.deactivated,
                guest: guest.is_some(),
                moderation: moderation.unwrap_or_default(),
                profile: engine::Profile::default(),
                seen: None,
            })
            .collect())
    }

    async fn show_profiles(&self, accounts: &mut [Account]) -> Result<(), Error> {
        let users: Vec<OwnedUserId> = accounts.iter().map(|account| account.user_id.clone()).collect();
        let users: Vec<&UserId> = users.iter().map(|user| &**user).collect();
        let profiles = self.member_profiles(&users).await?;
        accounts.iter_mut().zip(profiles).for_each(|(account, profile)| account.profile = profile);
        Ok(())
    }

    async fn show_seen(&self, accounts: &mut [Account]) -> Result<(), Error> {
        let users = accounts.iter().map(|account| Range::prefix(account.user_id.as_str())).collect();
        let rows = self.inner.store.scan_many(&tables::SEEN, users, Order::Ascending, usize::MAX).await?;
        let ids: Vec<&str> = accounts.iter().map(|account| account.user_id.as_str()).collect();
        let used = self.inner.store.get_many(&tables::LAST_USED, &ids).await?;
        let mut noted: HashMap<String, u64> = HashMap::new();
        for ((user, _), note) in &*self.inner.seen_notes.lock() {
            let last = noted.entry(user.clone()).or_default();
            *last = (*last).max(note.at_ms);
        }
        for ((account, rows), used) in accounts.iter_mut().zip(rows).zip(used) {
            let noted = noted.get(account.user_id.as_str()).copied();
            let all = rows.iter().map(|(_, row)| row.at_ms).chain(used).chain(noted);
            account.seen = all.max().map(Timestamp);
        }
        Ok(())
    }

    /// Leaves out those that nobody sits at.
    async fn keep_people(&self, accounts: &mut Vec<Account>) -> Result<(), Error> {
        let ids: Vec<&str> = accounts.iter().map(|account| account.user_id.as_str()).collect();
        let own = self.inner.store.get_many(&tables::NOTICES, &ids).await?;
        let mut own = own.into_iter().map(|row| row.is_some());
        accounts.retain(|account| {
            let is_own = own.next().unwrap_or_default();
            !is_own && !account.guest && !account.deactivated && !self.is_exclusive(&account.user_id)
        });
        Ok(())
    }

    /// Demands in a batch that somebody else administers the authority of a user and can sign in: of two who lose it at once one
    /// keeps it. Whether anybody does; nothing is demanded where nobody does.
    ///
    /// Whoever has neither a password nor an identity that is linked cannot sign in, nor can who is locked.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn put_another_administrator(&self, batch: &mut Batch, user: &UserId) -> Result<bool, Error> {
        let Some((other, row, moderation)) = self.others_who_administer(user, 1).await?.pop() else {
            return Ok(false);
        };
        batch.require(&tables::USERS, other.as_str(), Some(&row));
        batch.require(&tables::MODERATION, other.as_str(), moderation.as_ref());
        Ok(true)
    }

    /// Who else administers the authority of a user and can sign in, as for [`Accounts::put_another_administrator`]; so many at
    /// most.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn other_administrators(&self, user: &UserId, most: usize) -> Result<Vec<OwnedUserId>, Error> {
        let others = self.others_who_administer(user, most).await?;
        Ok(others.into_iter().map(|(user_id, ..)| user_id).collect())
    }

    async fn others_who_administer(
        &self,
        user: &UserId,
        most: usize,
    ) -> Result<Vec<(OwnedUserId, UserRow, Option<Moderation>)>, Error> {
        let query = AccountQuery {
            limit: usize::MAX,
            admins: Some(true),
            deactivated: Some(false),
            locked: Some(false),
            ..AccountQuery::default()
        };
        let others = self.list_accounts(user.server_name(), &query).await?.accounts;
        let mut found = Vec::new();
        for Account { user_id, .. } in others.into_iter().filter(|other| other.user_id != user) {
            if found.len() >= most {
                break;
            }
            let mut reads = Reads::new();
            let row = reads.get(&tables::USERS, user_id.as_str());
            let moderation = reads.get(&tables::MODERATION, user_id.as_str());
            let mut read = self.inner.store.read(reads).await?;
            let (row, moderation) = (read.take(row)?, read.take(moderation)?);
            let Some(row) = row.filter(|row| row.admin && !row.deactivated) else { continue };
            let is_locked = moderation.as_ref().is_some_and(|moderation| moderation.locked);
            if is_locked || row.password.is_none() && self.identities(&user_id).await?.is_empty() {
                continue;
            }
            found.push((user_id, row, moderation));
        }
        Ok(found)
    }

    /// Has a user administer his authority, or no more; as it is already, nothing changes.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such account, or none any more; [`Error::Forbidden`] for guests, and for accounts
    /// that are locked or suspended; [`Error::Contended`], [`Error::Store`].
    pub async fn set_administrator(&self, user: &UserId, administers: bool, by: &Actor) -> Result<(), Error> {
        let change = AccountChange { admin: Some(administers), ..AccountChange::default() };
        self.change_account(user, &change, by).await
    }
}
