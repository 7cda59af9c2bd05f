//! E-mail addresses of users: by them who forgot his password gets another one, and signs in.
//!
//! An address belongs to one account of an authority at most; the row by which its owner is found ([`tables::EMAIL_OWNERS`])
//! is demanded absent by the batch that gives it.

use audit::{Action, Actor};
use base::{Attempts, Timestamp};
use mail::EmailAddress;
use ruma::{DeviceId, OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use store::{Batch, Order, Precondition, Range, Reads, Ticket, Value};

use crate::{
    Accounts, Asked, EmailPurpose, Error,
    email_tokens::{Proved, parse_email},
    error::ContactError,
    new_password::NewPassword,
    password::DEAR_ATTEMPTS,
    sessions::{Ended, parse_user},
    tables::{self, EmailRow},
    users::{refuse_closed, replace_password},
};

/// Rows that are looked at together for addresses of a domain.
const LOOKED_AT: usize = 1_000;

/// Addresses of one account.
pub(crate) const MOST_OF_USER: usize = 10;

/// An address of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The address.
    pub email: String,
    /// When it was proved that its mails are read.
    pub validated: Timestamp,
    /// Since when it belongs to the account.
    pub added: Timestamp,
}

/// What a client shows to use an address that was proved.
#[derive(Deserialize)]
pub(crate) struct EmailCredentials {
    pub(crate) sid: String,
    pub(crate) client_secret: String,
}

impl Accounts {
    /// The addresses of a user.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn emails(&self, user: &UserId) -> Result<Vec<Email>, Error> {
        let range = Range::prefix(user.as_str());
        let rows = self.inner.store.scan(&tables::EMAILS, range, Order::Ascending, usize::MAX).await?;
        let shown = |((_, email), row): ((String, String), EmailRow)| Email {
            email,
            validated: Timestamp(row.validated_ms),
            added: Timestamp(row.added_ms),
        };
        Ok(rows.into_iter().map(shown).collect())
    }

    /// Demands of a batch that an address is a user's own, to which mails can be sent.
    ///
    /// # Errors
    /// [`Error::Contact`] where it is not his, or his authority sends no mails; [`Error::Store`].
    pub async fn require_email(
        &self,
        batch: &mut Batch,
        user: &UserId,
        email: &EmailAddress,
    ) -> Result<(), Error> {
        self.mails(user.server_name()).ok_or(ContactError::NotSupported)?;
        let key = (user.as_str(), email.as_str());
        let row = self.inner.store.get(&tables::EMAILS, &key).await?.ok_or(ContactError::NotFound)?;
        batch.require(&tables::EMAILS, &key, Some(&row));
        Ok(())
    }

    /// Asks with others whether an address is a user's: something is there if it is.
    pub fn read_email(&self, reads: &mut Reads, user: &UserId, email: &str) -> Ticket<impl Value + use<>> {
        reads.get(&tables::EMAILS, &(user.as_str(), email))
    }

    /// Whose address this is at an authority, if it is the address of an account there that is open.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_email_owner(
        &self,
        authority: &ServerName,
        email: &str,
    ) -> Result<Option<OwnedUserId>, Error> {
        let owner = self.inner.store.get(&tables::EMAIL_OWNERS, &(authority.as_str(), email)).await?;
        owner.map(|owner| parse_user(&owner)).transpose()
    }

    /// The same for an address as somebody has typed it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_owner_of_typed(
        &self,
        authority: &ServerName,
        text: &str,
    ) -> Result<Option<OwnedUserId>, Error> {
        match typed(text) {
            Some(email) => self.find_email_owner(authority, email.as_str()).await,
            None => Ok(None),
        }
    }

    /// The addresses at an authority that their owners have shown to be theirs themselves, of some domains: so many at most, with
    /// the owner of each. Those that an administrator, a directory or an identity provider has told of are not among them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn shown_emails(
        &self,
        authority: &ServerName,
        is_wanted: &(dyn Fn(&str) -> bool + Send + Sync),
        most: usize,
    ) -> Result<Vec<(OwnedUserId, String)>, Error> {
        let store = &self.inner.store;
        let mut shown = Vec::new();
        let mut range = Range::prefix(authority.as_str());
        while shown.len() < most {
            let rows = store.scan(&tables::EMAIL_OWNERS, range, Order::Ascending, LOOKED_AT).await?;
            let Some((last, _)) = rows.last() else { break };
            range = Range::prefix(authority.as_str()).after(last);
            let is_of_domain =
                |email: &str| email.rsplit_once('@').is_some_and(|(_, domain)| is_wanted(domain));
            let keys: Vec<(String, String)> = rows
                .into_iter()
                .filter(|((_, email), _)| is_of_domain(email))
                .map(|((_, email), owner)| (owner, email))
                .collect();
            let found = store.get_many(&tables::EMAILS, &keys).await?;
            for ((owner, email), row) in keys.into_iter().zip(found) {
                if row.is_some_and(|row| row.is_shown_by_owner()) && shown.len() < most {
                    shown.push((parse_user(&owner)?, email));
                }
            }
        }
        Ok(shown)
    }

    /// What a batch demands that is to be written only while an address is a user's, as it was shown.
    ///
    /// # Errors
    /// [`Error::Contact`] where it is not his; [`Error::Store`].
    pub async fn demand_email(
        &self,
        user: &UserId,
        email: &str,
    ) -> Result<impl Fn(&mut Batch) + Send + Sync + use<>, Error> {
        let key = (user.to_string(), email.to_owned());
        let row = self.inner.store.get(&tables::EMAILS, &key).await?;
        let row = row.filter(EmailRow::is_shown_by_owner).ok_or(ContactError::NotFound)?;
        Ok(move |batch: &mut Batch| {
            batch.require(&tables::EMAILS, &key, Some(&row));
        })
    }

    /// Gives a user an address that was proved for that, once the user has given the password on `device`.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given; [`Error::Contact`] when it was not proved, or is somebody's;
    /// [`Error::BadRequest`], [`Error::Forbidden`], [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidadd>
    pub async fn add_email(&self, user: &UserId, device: &DeviceId, asked: Asked) -> Result<(), Error> {
        let authority = user.server_name();
        let settled = self.settle(user.as_str(), "add_email", &["sid", "client_secret"], asked).await?;
        if settled.only_looks() {
            return self.confirm_with_password(user, device, &settled).await.map(drop);
        }
        let shown: EmailCredentials = settled.parse()?;
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let row = self.confirm_with_password(user, device, &settled).await?;
            let (sid, secret) = (&shown.sid, &shown.client_secret);
            let proved = self.find_proved(authority, EmailPurpose::Add, sid, secret).await?;
            let proved = proved.ok_or(ContactError::NotProved)?;
            let mut batch = Batch::new();
            self.put_several(&mut batch, user).await?;
            let own = self.emails(user).await?;
            match self.find_email_owner(authority, proved.email()).await? {
                Some(owner) if owner == user => return Ok(()),
                Some(_) => return Err(ContactError::InUse.into()),
                None if own.len() >= MOST_OF_USER => {
                    return Err(Error::TooLarge("an account has at most ten addresses"));
                }
                None => {}
            }
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            settled.end(&mut batch);
            self.put_email(&mut batch, user, &proved);
            let by = Actor::user(user, row.admin, settled.from);
            self.deed(Action::AddAddress, &by, user).write(&mut batch, authority);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Adds to a batch that a proved address belongs to a user, and that the proof is used. The batch fails if it is
    /// somebody's already.
    pub(crate) fn put_email(&self, batch: &mut Batch, user: &UserId, proved: &Proved) -> Precondition {
        proved.put_use(batch);
        let row = EmailRow { validated_ms: proved.validated_ms(), added_ms: self.now_ms() };
        batch.put(&tables::EMAILS, &(user.as_str(), proved.email()), &row);
        let key = (user.server_name().as_str(), proved.email());
        batch.insert(&tables::EMAIL_OWNERS, &key, &user.to_string())
    }

    /// Adds to a batch that an address belongs to a user, as others say of whom it need not be shown: an identity provider, a
    /// directory, an administrator. Its owner has shown nothing ([`EmailRow::is_shown_by_owner`]). The batch fails if it is
    /// somebody's already.
    pub(crate) fn put_verified_email(&self, batch: &mut Batch, user: &UserId, email: &str) {
        let now = self.now_ms();
        batch.put(&tables::EMAILS, &(user.as_str(), email), &EmailRow { validated_ms: now, added_ms: now });
        batch.insert(&tables::EMAIL_OWNERS, &(user.server_name().as_str(), email), &user.to_string());
    }

    /// Takes an address away from a user, as `by` wishes; one that is not there is as good as taken away.
    ///
    /// # Errors
    /// [`Error::InvalidParam`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3piddelete>
    pub async fn remove_email(&self, user: &UserId, email: &str, by: &Actor) -> Result<(), Error> {
        let email = parse_email(email)?;
        let key = (user.as_str(), email.as_str());
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = self.inner.store.get(&tables::EMAILS, &key).await? else { return Ok(()) };
            let mut batch = Batch::new();
            batch.require(&tables::EMAILS, &key, Some(&row));
            put_no_email(&mut batch, user, email.as_str());
            for ends in self.device_ends() {
                ends.put_address_ends(&mut batch, user, &email).await?;
            }
            self.deed(Action::RemoveAddress, by, user).write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Adds to a batch that a user has no addresses any more.
    pub(crate) async fn put_no_emails(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        for Email { email, .. } in self.emails(user).await? {
            put_no_email(batch, user, &email);
        }
        Ok(())
    }

    /// Gives another password to the user whose address was proved for that: for who is logged in nowhere. What is asked
    /// has a `new_password`, and `logout_devices`, with which (and by default) all devices are logged out.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the address was proved; [`Error::Contact`] where the authority sends no mails;
    /// [`Error::WeakPassword`], [`Error::BadRequest`], [`Error::Forbidden`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>
    pub async fn reset_password(&self, authority: &ServerName, asked: Asked) -> Result<(), Error> {
        self.mails(authority).ok_or(ContactError::NotSupported)?;
        let settled = self.settle(authority.as_str(), "reset_password", NewPassword::KEYS, asked).await?;
        if settled.only_looks() {
            return self.prove_email(authority, &settled).await.map(drop);
        }
        let wish: NewPassword = settled.parse()?;
        self.check_password_rules(authority, &wish.new_password)?;
        let mut hash = None;
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let proved = self.prove_email(authority, &settled).await?;
            let user = self.find_email_owner(authority, proved.email()).await?;
            let user = user.ok_or(ContactError::NotFound)?;
            // What was proved before the address was his says nothing of him.
            let key = (user.as_str(), proved.email());
            let address = self.inner.store.get(&tables::EMAILS, &key).await?;
            if address.is_none_or(|address| address.added_ms > proved.began_ms()) {
                return Err(ContactError::NotFound.into());
            }
            let row = self.get_user_row(&user).await?;
            refuse_closed(&user, Some(&row))?;
            if hash.is_none() {
                hash = Some(self.inner.passwords.hash(&wish.new_password, &user).await?);
            }
            let mut batch = Batch::new();
            settled.end(&mut batch);
            proved.put_use(&mut batch);
            // It is still the address of this account.
            let key = (authority.as_str(), proved.email());
            batch.require(&tables::EMAIL_OWNERS, &key, Some(&user.to_string()));
            replace_password(&mut batch, &user, &row, hash.clone());
            let ended = match wish.logout_devices {
                true => self.end_devices(&mut batch, &user, |_| true).await?,
                false => Ended::default(),
            };
            let by = Actor::stranger(settled.from);
            let deed = self.deed(Action::ResetPassword, &by, &user).before("devices", ended.names());
            deed.write(&mut batch, authority);
            match self.commit_end(batch, &ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }
}

pub(crate) fn put_no_email(batch: &mut Batch, user: &UserId, email: &str) {
    batch.delete(&tables::EMAILS, &(user.as_str(), email));
    batch.delete(&tables::EMAIL_OWNERS, &(user.server_name().as_str(), email));
}

/// The owner of an address is found under its one form, whoever typed it; no address is nobody's.
pub(crate) fn typed(text: &str) -> Option<EmailAddress> {
    text.parse().ok()
}
