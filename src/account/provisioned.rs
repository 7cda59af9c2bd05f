//! Accounts that follow the word of somebody else: of an identity system that says who is there.
//!
//! Whoever hears that word keeps rows of his own about it. So what follows for the account is added to his batch, with its rows in
//! the audit log, and is on disk together with them or not at all. [`Accounts::commit_provisioned`] commits it.

use audit::{Action, Actor};
use bytes::Bytes;
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, CommitError, Precondition, Topic};

use crate::{
    AccountChange, Accounts, Error, Moderation, NewUser,
    changes::Done,
    chores::Chore,
    log::{Change, log_change},
    profile::{DISPLAY_NAME, MAX_DISPLAY_NAME_BYTES, shown_as},
    service,
    sessions::Ended,
    tables::{self, UserRow},
    users::refuse_closed,
};

/// An account to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewProvisioned<'a> {
    /// The localpart.
    pub localpart: &'a str,
    /// The name to show.
    pub display_name: &'a str,
    /// Its address, by a word that is believed.
    pub email: Option<&'a str>,
    /// What the identity provider knows its user by: issuer and subject.
    pub identity: Option<(&'a str, &'a str)>,
    /// Whether it is locked from the beginning.
    pub locked: bool,
}

/// What an account is to follow; what is not named stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Following<'a> {
    /// The name to show.
    pub display_name: Option<&'a str>,
    /// An address that it had by the same word, and has no more.
    pub lost_email: Option<&'a str>,
    /// An address that it has by that word.
    pub email: Option<&'a str>,
    /// What the identity provider knew its user by, by the same word, and does no more: whoever that is opens it no longer, and
    /// its sessions end.
    pub lost_identity: Option<(&'a str, &'a str)>,
    /// What the identity provider knows its user by.
    pub identity: Option<(&'a str, &'a str)>,
    /// Whether nobody is to use it: it is locked, and all its sessions end. Or whether it is no longer locked.
    pub lock: Option<bool>,
    /// Whether its user administers the authority. Whoever takes that from somebody asks first
    /// [`Accounts::put_another_administrator`].
    pub administers: Option<bool>,
}

/// What a batch does to an account, worth something once that is committed.
#[must_use = "sessions that end are forgotten with `Accounts::commit_provisioned`"]
pub struct PutProvisioned {
    /// The account.
    pub user_id: OwnedUserId,
    /// Whether the batch changes the account.
    pub changes: bool,
    taken: Option<Precondition>,
    ended: Ended,
    chores: Vec<Chore>,
}

impl std::fmt::Debug for PutProvisioned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutProvisioned").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Adds an account without a password to a batch.
    ///
    /// # Errors
    /// [`Error::InvalidUsername`], [`Error::UserInUse`], [`Error::Exclusive`], a refusal of the policy, [`Error::Store`].
    pub async fn put_provisioned(
        &self,
        batch: &mut Batch,
        authority: &ServerName,
        new: &NewProvisioned<'_>,
        by: &Actor,
    ) -> Result<PutProvisioned, Error> {
        let user = self.check_available(authority, new.localpart).await?;
        self.inner.rooms.policy().register(&user, by.from()).map_err(room::Error::from)?;
        let name = Some(shortened(new.display_name).to_owned()).filter(|name| !name.is_empty());
        let made = NewUser { display_name: name, ..NewUser::default() };
        let (taken, _) = self.put_user(batch, &user, &made, None);
        if let Some(email) = new.email {
            self.put_told_email(batch, &user, email).await?;
        }
        if let Some((issuer, subject)) = new.identity {
            self.put_identity(batch, &user, issuer, subject);
        }
        self.deed(Action::CreateAccount, by, &user).after("role", "user").write(batch, authority);
        if new.locked {
            let locked = Moderation { locked: true, suspended: false, by_source: true };
            batch.put(&tables::MODERATION, user.as_str(), &locked);
            self.deed(Action::LockAccount, by, &user).write(batch, authority);
        }
        Ok(PutProvisioned {
            user_id: user,
            changes: true,
            taken: Some(taken),
            ended: Ended::default(),
            chores: Vec::new(),
        })
    }

    /// Adds to a batch that an account follows. The batch fails if the account is changed or somebody signs in to it meanwhile.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deactivated`] for an account that is closed; [`Error::Forbidden`] for the server's own
    /// users, where an administrator's account would be locked, and where a guest or somebody who is locked or suspended would
    /// administer; [`Error::Store`].
    pub async fn put_following(
        &self,
        batch: &mut Batch,
        user: &UserId,
        follows: &Following<'_>,
        by: &Actor,
    ) -> Result<PutProvisioned, Error> {
        self.refuse_own(user).await?;
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        batch.require(&tables::USERS, user.as_str(), Some(&row));
        if follows.email.is_some() || follows.identity.is_some() {
            self.put_several(batch, user).await?;
        }
        let mut put = PutProvisioned {
            user_id: user.to_owned(),
            changes: false,
            taken: None,
            ended: Ended::default(),
            chores: Vec::new(),
        };
        match follows.lock {
            Some(true) => self.put_end(batch, user, &row, by, &mut put).await?,
            Some(false) => self.put_back(batch, user, by, &mut put).await?,
            None => {}
        }
        if let Some(admin) = follows.administers
            && admin != row.admin
        {
            let change = AccountChange { admin: Some(admin), ..AccountChange::default() };
            let mut done = Done::default();
            self.put_standing(batch, user, &row, &change, by, &mut done).await?;
            put.chores.extend(done.chores);
            batch.put(&tables::USERS, user.as_str(), &UserRow { admin, ..row.clone() });
            put.changes = true;
        }
        if let Some(name) = follows.display_name {
            self.put_name(batch, user, name, &mut put).await?;
        }
        if let Some(lost) = follows.lost_email
            && let Some(email) = crate::emails::typed(lost)
            && self.inner.store.get(&tables::EMAILS, &(user.as_str(), email.as_str())).await?.is_some()
        {
            crate::emails::put_no_email(batch, user, email.as_str());
            for ends in self.device_ends() {
                ends.put_address_ends(batch, user, &email).await?;
            }
            self.deed(Action::RemoveAddress, by, user).write(batch, user.server_name());
            put.changes = true;
        }
        if let Some(email) = follows.email
            && self.put_told_email(batch, user, email).await?
        {
            self.deed(Action::AddAddress, by, user).write(batch, user.server_name());
            put.changes = true;
        }
        if let Some((issuer, subject)) = follows.lost_identity
            && self.put_no_identity(batch, user, issuer, subject).await?
        {
            if follows.lock != Some(true) {
                put.ended = self.end_devices(batch, user, |_| true).await?;
                self.put_browsers_end(batch, user).await?;
                batch.touch([Topic::devices(user.as_str())]);
            }
            self.deed(Action::UnlinkIdentity, by, user)
                .before("devices", put.ended.names())
                .write(batch, user.server_name());
            put.changes = true;
        }
        if let Some((issuer, subject)) = follows.identity
            && self.find_identity(user.server_name(), issuer, subject).await?.is_none()
        {
            self.put_identity(batch, user, issuer, subject);
            self.deed(Action::LinkIdentity, by, user).write(batch, user.server_name());
            put.changes = true;
        }
        Ok(put)
    }

    /// Adds to a batch that every session of an account ends, and that its user can sign in again: for one whom a source would end
    /// and may not. The batch fails if the account is changed or somebody signs in to it meanwhile.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deactivated`] for an account that is closed; [`Error::Forbidden`] for the server's own
    /// users, [`Error::Store`].
    pub async fn put_signed_out(
        &self,
        batch: &mut Batch,
        user: &UserId,
        by: &Actor,
    ) -> Result<PutProvisioned, Error> {
        self.refuse_own(user).await?;
        let row = self.get_user_row(user).await?;
        refuse_closed(user, Some(&row))?;
        batch.require(&tables::USERS, user.as_str(), Some(&row));
        let ended = self.end_devices(batch, user, |_| true).await?;
        self.put_browsers_end(batch, user).await?;
        batch.touch([Topic::devices(user.as_str())]);
        if !ended.devices.is_empty() {
            let deed = self.deed(Action::SignOutEverywhere, by, user).before("devices", ended.names());
            deed.write(batch, user.server_name());
        }
        let user_id = user.to_owned();
        Ok(PutProvisioned { user_id, changes: true, taken: None, ended, chores: Vec::new() })
    }

    /// Commits a batch with what was put about an account.
    ///
    /// # Errors
    /// [`Error::UserInUse`] when somebody else took the name meanwhile; [`Error::Contended`], [`Error::Store`].
    pub async fn commit_provisioned(&self, batch: Batch, put: PutProvisioned) -> Result<(), Error> {
        match self.inner.store.commit(batch).await {
            Ok(_) => {}
            Err(CommitError::Conflict { which, .. }) if Some(which) == put.taken => {
                return Err(Error::UserInUse);
            }
            Err(cause) => return Err(cause.into()),
        }
        self.forget_tokens(&put.ended.tokens);
        for chore in put.chores {
            self.start_chore(&put.user_id, chore);
        }
        Ok(())
    }

    /// Locks the account, and ends every session of it. The device that keeps keys for the next one stays, so that who comes
    /// back reads what was said before.
    async fn put_end(
        &self,
        batch: &mut Batch,
        user: &UserId,
        row: &UserRow,
        by: &Actor,
        put: &mut PutProvisioned,
    ) -> Result<(), Error> {
        if row.admin {
            return Err(Error::Forbidden("Administrators are not locked or suspended"));
        }
        let key = user.as_str();
        let stored = self.inner.store.get(&tables::MODERATION, key).await?;
        let before = stored.unwrap_or_default();
        batch.require(&tables::MODERATION, key, stored.as_ref());
        let ended = self.end_devices(batch, user, |_| true).await?;
        if before.locked && ended.devices.is_empty() {
            return Ok(());
        }
        self.put_browsers_end(batch, user).await?;
        // An administrator's lock stays his.
        let by_source = before.by_source || !before.locked;
        batch.put(&tables::MODERATION, key, &Moderation { locked: true, by_source, ..before });
        batch.touch([Topic::devices(key)]);
        service::touch_acting(batch, user);
        self.put_chore(batch, user, Chore::Silence);
        put.chores.push(Chore::Silence);
        self.deed(Action::LockAccount, by, user)
            .before("devices", ended.names())
            .write(batch, user.server_name());
        put.ended = ended;
        put.changes = true;
        Ok(())
    }

    /// Takes away the lock that a source has set, and no administrator since.
    async fn put_back(
        &self,
        batch: &mut Batch,
        user: &UserId,
        by: &Actor,
        put: &mut PutProvisioned,
    ) -> Result<(), Error> {
        let key = user.as_str();
        let stored = self.inner.store.get(&tables::MODERATION, key).await?;
        let Some(before) = stored.filter(|before| before.locked && before.by_source) else { return Ok(()) };
        batch.require(&tables::MODERATION, key, Some(&before));
        let after = Moderation { locked: false, by_source: false, ..before };
        match after == Moderation::default() {
            true => batch.delete(&tables::MODERATION, key),
            false => batch.put(&tables::MODERATION, key, &after),
        }
        batch.touch([Topic::devices(key)]);
        service::touch_acting(batch, user);
        self.deed(Action::UnlockAccount, by, user).write(batch, user.server_name());
        put.changes = true;
        Ok(())
    }

    /// What a profile may hold is not looked at: a user who has filled his own must not keep his name.
    async fn put_name(
        &self,
        batch: &mut Batch,
        user: &UserId,
        name: &str,
        put: &mut PutProvisioned,
    ) -> Result<(), Error> {
        let name = shortened(name);
        let key = (user.as_str(), DISPLAY_NAME);
        let was = self.inner.store.get(&tables::PROFILES, &key).await?;
        let is = Bytes::from(serde_json::Value::from(name).to_string());
        if name.is_empty() || was.as_ref() == Some(&is) {
            return Ok(());
        }
        // Where the organisation names people, what it says stands before what an identity system does.
        if self.is_given(user).await? {
            return Ok(());
        }
        batch.require(&tables::GIVEN, &tables::given_key(user), None);
        batch.require(&tables::PROFILES, &key, was.as_ref());
        batch.put(&tables::PROFILES, &key, &is);
        room::note_account(batch, user, Some(&shown_as(was.as_ref())), Some(&shown_as(Some(&is))));
        let change = Change::Profile { user_id: user.to_owned(), field: DISPLAY_NAME.to_owned() };
        log_change(batch, &change, [Topic::profile(user.as_str())]);
        self.put_chore(batch, user, Chore::SpreadName);
        put.chores.push(Chore::SpreadName);
        put.changes = true;
        Ok(())
    }

    /// Adds an address to a batch, where the authority takes such and nobody has it; whether it did.
    async fn put_told_email(&self, batch: &mut Batch, user: &UserId, email: &str) -> Result<bool, Error> {
        let authority = user.server_name();
        let Some(email) = crate::emails::typed(email).filter(|_| self.takes_emails(authority)) else {
            return Ok(false);
        };
        if self.find_email_owner(authority, email.as_str()).await?.is_some() {
            return Ok(false);
        }
        self.put_verified_email(batch, user, email.as_str());
        Ok(true)
    }
}

/// As much of a name as one may have.
pub(crate) fn shortened(name: &str) -> &str {
    let mut end = name.len().min(MAX_DISPLAY_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default().trim()
}
