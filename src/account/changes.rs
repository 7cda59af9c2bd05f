//! What an administrator changes of an account: all that he wishes in one commit, or nothing.
//!
//! A wish is looked at together with the account that it meets: whoever administers is not locked, guests do not administer. So
//! neither an order of the parts nor a stop between two of them leaves an account that nobody wished for.

use std::collections::{BTreeMap, BTreeSet};

use audit::{Action, Actor};
use base::Attempts;
use mail::EmailAddress;
use ruma::UserId;
use store::{Batch, Order, Range, Topic};

use crate::{
    AccountChange, Accounts, Error, Moderation, Ways,
    chores::Chore,
    email_tokens::parse_email,
    emails::{MOST_OF_USER as MOST_EMAILS, put_no_email},
    error::ContactError,
    identities::{LONGEST_IDENTITY, MOST_OF_USER as MOST_IDENTITIES, shortened},
    profile::{AVATAR_URL, DISPLAY_NAME, text_field},
    service,
    sessions::Ended,
    tables::{self, UserRow, guest_key},
    users::refuse_closed,
};

/// What is done in a batch besides its rows.
#[derive(Default)]
pub(crate) struct Done {
    ended: Ended,
    pub(crate) chores: Vec<Chore>,
}

impl Accounts {
    /// Changes an account as an administrator wishes, as `by` is one; what is so already is not changed.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such account, or none any more ([`Error::Deactivated`] where a password is given to
    /// one that is closed); [`Error::Forbidden`] for the server's own users, where an administrator would be locked or suspended
    /// or somebody who is, or a guest, would administer, and where who takes an administrator's power has none any more;
    /// [`Error::WeakPassword`], [`Error::InvalidParam`], [`Error::ProfileTooLarge`], [`Error::Contact`], [`Error::TooLarge`],
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn change_account(
        &self,
        user: &UserId,
        change: &AccountChange,
        by: &Actor,
    ) -> Result<(), Error> {
        self.change_account_while(user, change, by, &|_| {}).await
    }

    /// The same for who may do it for as long as stands what `demand` puts into the batch.
    ///
    /// # Errors
    /// As [`Accounts::change_account`]; [`Error::Contended`] where it stands no more.
    pub async fn change_account_while(
        &self,
        user: &UserId,
        change: &AccountChange,
        by: &Actor,
        demand: &(dyn Fn(&mut Batch) + Send + Sync),
    ) -> Result<(), Error> {
        self.refuse_own(user).await?;
        if let Some(secret) = &change.password {
            self.check_password_rules(user.server_name(), &secret.text)?;
            refuse_closed(user, Some(&self.get_user_row(user).await?))?;
        }
        let fields = [(DISPLAY_NAME, &change.display_name), (AVATAR_URL, &change.avatar_url)];
        for (field, text) in fields {
            text_field(field, text.as_ref().and_then(Option::as_deref))?;
        }
        let hash = match &change.password {
            Some(secret) => Some(self.inner.passwords.hash(&secret.text, &user).await?),
            None => None,
        };
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            let Some(done) = self.put_change(&mut batch, user, (change, hash.as_deref()), by).await? else {
                return Ok(());
            };
            demand(&mut batch);
            match self.commit_end(batch, &done.ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) => {
                    done.chores.into_iter().for_each(|chore| self.start_chore(user, chore));
                    return Ok(());
                }
            }
        }
    }

    /// Refuses an administrator who would get into the account of somebody with a duty: he would be two people where two
    /// have to agree. The operator may, and everybody to himself.
    async fn refuse_ways_in(
        &self,
        batch: &mut Batch,
        user: &UserId,
        change: &AccountChange,
        by: &Actor,
    ) -> Result<(), Error> {
        let ways =
            change.password.is_some() || change.ways.emails.is_some() || change.ways.identities.is_some();
        let is_others = by.administrator().is_some_and(|administrator| administrator != user.as_str());
        if !ways || !is_others {
            return Ok(());
        }
        self.refuse_strong_identity(batch, user, change).await?;
        if self.put_no_duty(batch, user).await? {
            return Ok(());
        }
        Err(Error::Forbidden(
            "the ways into the account of somebody with a duty are changed at the command line only",
        ))
    }

    /// Whether a user has no duty, which the batch demands then.
    pub(crate) async fn put_no_duty(&self, batch: &mut Batch, user: &UserId) -> Result<bool, Error> {
        duties::has_none(&self.inner.store, batch, user).await.map_err(|error| match error {
            duties::Error::Store(error) => Error::from(error),
            duties::Error::TooMany(_) | duties::Error::TooManyParts(_) | duties::Error::Commit(_) => {
                Error::Contended
            }
        })
    }

    /// Refuses an identity that would open an account without the second factor that it has: to let somebody in without it takes
    /// two administrators, as a recovery does.
    async fn refuse_strong_identity(
        &self,
        batch: &mut Batch,
        user: &UserId,
        change: &AccountChange,
    ) -> Result<(), Error> {
        let is_enough =
            self.settings(user.server_name()).upstream.is_some_and(|upstream| upstream.demands_way);
        let Some(wished) = change.ways.identities.as_ref().filter(|_| is_enough) else { return Ok(()) };
        let factors = self.factors(user).await?;
        factors.require(batch);
        if !factors.is_any() {
            return Ok(());
        }
        let known = self.identities_of(user).await?;
        match wished.iter().all(|identity| known.contains(identity)) {
            true => Ok(()),
            false => Err(Error::Forbidden(
                "whoever has a second factor links an identity himself, or it is linked at the command line",
            )),
        }
    }

    /// Adds a change to a batch; nothing where all is so already.
    async fn put_change(
        &self,
        batch: &mut Batch,
        user: &UserId,
        (change, hash): (&AccountChange, Option<&str>),
        by: &Actor,
    ) -> Result<Option<Done>, Error> {
        let row = self.find_user_row(user).await?.filter(|row| !row.deactivated);
        let row = row.ok_or(Error::NotFound("no such account"))?;
        self.put_still_administers(batch, user, by).await?;
        if by.administrator() == Some(user.as_str()) && !row.admin {
            // Who has lost it meanwhile does not give it to himself; the row is demanded below.
            return Err(Error::Forbidden("You are not a server admin"));
        }
        self.refuse_ways_in(batch, user, change, by).await?;
        let mut done = Done::default();
        let mut is_changed = self.put_standing(batch, user, &row, change, by, &mut done).await?;
        let admin = change.admin.unwrap_or(row.admin);
        let after =
            UserRow { admin, password: hash.map(str::to_owned).or(row.password.clone()), ..row.clone() };
        batch.replace(&tables::USERS, user.as_str(), &row, &after);
        if let Some(secret) = &change.password {
            let guest = self.inner.store.get(&tables::GUESTS, &guest_key(user)).await?;
            if guest.is_some() {
                return Err(Error::Forbidden("guests have no passwords"));
            }
            // What was agreed to with the password before, perhaps by whoever had stolen it.
            batch.delete(&tables::RESETS, user.as_str());
            if !secret.keeps_devices {
                done.ended = self.end_every(batch, user, |_| true).await?;
            }
            let deed = self.deed(Action::SetPassword, by, user).before("devices", done.ended.names());
            deed.write(batch, user.server_name());
            is_changed = true;
        }
        is_changed |= self.put_appearance(batch, user, change, by, &mut done).await?;
        is_changed |= self.put_ways(batch, user, &change.ways, by).await?;
        Ok(is_changed.then_some(done))
    }

    /// Who administers, and who is kept from what; whether that changes. Each session knows it from the commit on.
    pub(crate) async fn put_standing(
        &self,
        batch: &mut Batch,
        user: &UserId,
        row: &UserRow,
        change: &AccountChange,
        by: &Actor,
        done: &mut Done,
    ) -> Result<bool, Error> {
        let key = user.as_str();
        let stored = self.inner.store.get(&tables::MODERATION, key).await?;
        let before = stored.unwrap_or_default();
        let after = change.moderation(before);
        let admin = change.admin.unwrap_or(row.admin);
        if admin == row.admin && after == before {
            return Ok(false);
        }
        let guest = self.inner.store.get(&tables::GUESTS, &guest_key(user)).await?;
        if admin && (after.locked || after.suspended) {
            return Err(Error::Forbidden(match row.admin {
                true => "Administrators are not locked or suspended",
                false => "who is locked or suspended does not administer",
            }));
        }
        if admin && guest.is_some() {
            return Err(Error::Forbidden("guests do not administer"));
        }
        batch.require(&tables::MODERATION, key, stored.as_ref());
        batch.require(&tables::GUESTS, &guest_key(user), guest.as_ref());
        // Before the scan: who logs in after this may be missed by it.
        let log_ins = self.inner.store.get(&tables::LOG_INS, key).await?;
        batch.require(&tables::LOG_INS, key, log_ins.as_ref());
        let devices = Range::prefix(key);
        let devices = self.inner.store.scan(&tables::DEVICES, devices, Order::Ascending, usize::MAX).await?;
        // Who waits on one of them looks again whether he may.
        batch.touch([Topic::devices(key)]);
        for ((_, device), _) in devices {
            batch.touch([Topic::device(key, &device)]);
        }
        service::touch_acting(batch, user);
        if after == Moderation::default() {
            batch.delete(&tables::MODERATION, key);
        } else {
            batch.put(&tables::MODERATION, key, &after);
        }
        let mut deeds = Vec::new();
        if admin != row.admin {
            deeds.push(if admin { Action::GrantAdministration } else { Action::RevokeAdministration });
        }
        // Also of a lock that an identity system had set: from now on it is an administrator's.
        if (after.locked, after.by_source) != (before.locked, before.by_source) {
            deeds.push(if after.locked { Action::LockAccount } else { Action::UnlockAccount });
        }
        if after.suspended != before.suspended {
            deeds.push(if after.suspended { Action::SuspendAccount } else { Action::ResumeAccount });
        }
        if (after.locked && !before.locked) || (after.suspended && !before.suspended) {
            self.put_chore(batch, user, Chore::Silence);
            done.chores.push(Chore::Silence);
        }
        for action in deeds {
            self.deed(action, by, user).write(batch, user.server_name());
        }
        Ok(true)
    }

    /// How the user appears; whether that changes.
    async fn put_appearance(
        &self,
        batch: &mut Batch,
        user: &UserId,
        change: &AccountChange,
        by: &Actor,
        done: &mut Done,
    ) -> Result<bool, Error> {
        let fields = [(DISPLAY_NAME, &change.display_name), (AVATAR_URL, &change.avatar_url)];
        if fields.iter().all(|(_, text)| text.is_none()) {
            return Ok(false);
        }
        let mut profile = self.read_profile(user).await?;
        let mut is_changed = false;
        for (field, text) in fields {
            let Some(text) = text else { continue };
            let text = text.as_deref().filter(|text| !text.is_empty());
            if profile.text(field).as_deref() == text {
                continue;
            }
            self.refuse_given(batch, user, field, true).await?;
            let value = text_field(field, text)?;
            done.chores.extend(self.put_field(batch, user, &mut profile, field, value)?);
            // A name is what somebody is called: the log says that it was changed, the rooms say to what.
            let deed = self.deed(Action::ChangeProfile, by, user).after("field", field);
            deed.write(batch, user.server_name());
            is_changed = true;
        }
        Ok(is_changed)
    }

    /// The addresses and identities of an account, as they are wished; whether any of them changes.
    ///
    /// # Errors
    /// [`Error::Contact`] for an address that is somebody else's, or where the authority takes none; [`Error::InvalidParam`] for an
    /// identity that is somebody else's, or can be nobody's; [`Error::TooLarge`], [`Error::Store`].
    pub(crate) async fn put_ways(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ways: &Ways,
        by: &Actor,
    ) -> Result<bool, Error> {
        let mut is_changed = false;
        if ways.emails.is_some() || ways.identities.is_some() {
            self.put_several(batch, user).await?;
        }
        if let Some(wished) = &ways.emails {
            is_changed |= self.put_emails(batch, user, wished, by).await?;
        }
        if let Some(wished) = &ways.identities {
            is_changed |= self.put_identities(batch, user, wished, by).await?;
        }
        Ok(is_changed)
    }

    /// Demands in a batch that nothing came meanwhile to what an account has several of, and that is read in it: for who adds to
    /// it, or replaces it, as a whole.
    pub(crate) async fn put_several(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        let count = self.inner.store.get(&tables::LOG_INS, user.as_str()).await?;
        batch.require(&tables::LOG_INS, user.as_str(), count.as_ref());
        batch.add(&tables::LOG_INS, user.as_str(), 1);
        Ok(())
    }

    async fn put_emails(
        &self,
        batch: &mut Batch,
        user: &UserId,
        wished: &[String],
        by: &Actor,
    ) -> Result<bool, Error> {
        let authority = user.server_name();
        let wished: Vec<EmailAddress> =
            wished.iter().map(|email| parse_email(email)).collect::<Result<_, _>>()?;
        let wished: BTreeMap<&str, &EmailAddress> =
            wished.iter().map(|email| (email.as_str(), email)).collect();
        if wished.len() > MOST_EMAILS {
            return Err(Error::TooLarge("an account has at most ten addresses"));
        }
        let known = self.emails(user).await?;
        let known: BTreeSet<&str> = known.iter().map(|known| known.email.as_str()).collect();
        for email in known.iter().filter(|email| !wished.contains_key(**email)) {
            let key = (user.as_str(), *email);
            let row = self.inner.store.get(&tables::EMAILS, &key).await?;
            batch.require(&tables::EMAILS, &key, row.as_ref());
            put_no_email(batch, user, email);
            for ends in self.device_ends() {
                ends.put_address_ends(batch, user, &parse_email(email)?).await?;
            }
            self.deed(Action::RemoveAddress, by, user).write(batch, authority);
        }
        for email in wished.keys().filter(|email| !known.contains(**email)) {
            if !self.takes_emails(authority) {
                return Err(ContactError::NotSupported.into());
            }
            if self.find_email_owner(authority, email).await?.is_some() {
                return Err(ContactError::InUse.into());
            }
            self.put_verified_email(batch, user, email);
            self.deed(Action::AddAddress, by, user).write(batch, authority);
        }
        Ok(!wished.keys().copied().eq(known.iter().copied()))
    }

    async fn put_identities(
        &self,
        batch: &mut Batch,
        user: &UserId,
        wished: &[(String, String)],
        by: &Actor,
    ) -> Result<bool, Error> {
        let authority = user.server_name();
        let wished: BTreeSet<&(String, String)> = wished.iter().collect();
        if wished.len() > MOST_IDENTITIES {
            return Err(Error::TooLarge("an account has at most ten identities"));
        }
        let is_name = |word: &str| (1..=LONGEST_IDENTITY).contains(&word.len());
        if !wished.iter().all(|(issuer, subject)| is_name(issuer) && is_name(subject)) {
            return Err(Error::InvalidParam(
                "an identity has an issuer and a subject, of 255 bytes each".to_owned(),
            ));
        }
        let known = self.identities_of(user).await?;
        let known: BTreeSet<&(String, String)> = known.iter().collect();
        for (issuer, subject) in known.difference(&wished) {
            if self.put_no_identity(batch, user, issuer, subject).await? {
                self.deed(Action::UnlinkIdentity, by, user).write(batch, authority);
            }
        }
        for (issuer, subject) in wished.difference(&known) {
            if self.find_identity(authority, issuer, subject).await?.is_some() {
                return Err(Error::InvalidParam("the identity is another account's".to_owned()));
            }
            self.put_identity(batch, user, issuer, subject);
            let deed = self.deed(Action::LinkIdentity, by, user).after("issuer", shortened(issuer));
            deed.write(batch, authority);
        }
        Ok(wished != known)
    }

    /// Demands in a batch that an administrator who does something to somebody else administers still: of two who take it from
    /// each other one succeeds, and whoever lost it meanwhile does nothing more with it.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub(crate) async fn put_still_administers(
        &self,
        batch: &mut Batch,
        whom: &UserId,
        by: &Actor,
    ) -> Result<(), Error> {
        let Some(user) = by.administrator().filter(|user| *user != whom.as_str()) else { return Ok(()) };
        let row = self.inner.store.get(&tables::USERS, user).await?;
        let row = row.filter(|row| row.admin && !row.deactivated);
        let row = row.ok_or(Error::Forbidden("You are not a server admin"))?;
        batch.require(&tables::USERS, user, Some(&row));
        Ok(())
    }
}
