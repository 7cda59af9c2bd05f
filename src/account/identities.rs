//! Identities: who the identity provider of an authority says somebody is, and which account that is.
//!
//! An identity is an issuer with what it calls somebody, and nothing else: neither a name nor an e-mail address makes an
//! account somebody's (OpenID Connect Core, 5.7). So an identity that is not known makes a new account, where the
//! authority lets it, or is linked by whoever is signed in to one; what others have is never taken over.

use audit::{Action, Actor};
use base::{Address, Attempts};
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, Order, Range};

use crate::{
    Accounts, Error, InBrowser, NewUser, ProviderLogin,
    sessions::parse_user,
    signing_in::{Proof, SignedIn},
    tables::{self, IdentityRow},
    users::refuse_closed,
};

/// Identities of one account.
pub(crate) const MOST_OF_USER: usize = 10;

/// Longest issuer or subject that an administrator names, in bytes.
pub(crate) const LONGEST_IDENTITY: usize = 255;

/// Methods of authentication that a row of the audit log names.
const MOST_METHODS: usize = 8;
/// Longest word of a provider that a row of the audit log repeats, in bytes.
const LONGEST_WORD: usize = 100;

/// Who a provider says somebody is.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// What it calls him.
    pub subject: String,
    /// The localpart that a new account would have, or why it would have none, which the configuration's author understands.
    pub localpart: Result<String, String>,
    /// The name that a new account would show.
    pub display_name: Option<String>,
    /// An e-mail address that the provider has verified.
    pub email: Option<String>,
    /// How he was authenticated, by the provider's word.
    pub acr: Option<String>,
    /// By which methods.
    pub amr: Vec<String>,
    /// In which login there.
    pub login: ProviderLogin,
}

impl std::fmt::Debug for Identity {
    /// What people are called does not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Why an identity is nobody's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// None is linked with it, and no account is made for it.
    NotLinked,
    /// There is an account of the name that it would have: somebody else's, as far as we know.
    NameTaken(String),
    /// The name that it would have can be nobody's.
    BadName(String),
    /// It would have none.
    NoName(String),
}

impl Accounts {
    /// Signs somebody in to our pages who has signed in at the provider of an authority: with the account that the identity
    /// is linked with, or a new one; as far as that goes.
    ///
    /// # Errors
    /// [`Error::Deactivated`], [`Error::Locked`], [`Error::EndedAtProvider`], a refusal of the policy, [`Error::Contended`],
    /// [`Error::Store`].
    pub async fn sign_in_with_identity(
        &self,
        authority: &ServerName,
        identity: &Identity,
        browser: &InBrowser<'_>,
    ) -> Result<Result<SignedIn, Stranger>, Error> {
        // Nor is an account made for a login that is over.
        self.require_standing_login(&mut Batch::new(), authority, &identity.login).await?;
        let mut attempts = Attempts::default();
        let user = loop {
            match self.find_or_make(authority, identity, browser.from).await {
                // Two browsers of a new user at once: the other one has made the account.
                Err(Error::Contended | Error::UserInUse) => self.again(&mut attempts).await?,
                done => match done? {
                    Ok(user) => break user,
                    Err(stranger) => return Ok(Err(stranger)),
                },
            }
        };
        let methods = identity.amr.iter().take(MOST_METHODS).map(|method| shortened(method));
        let methods = methods.collect::<Vec<_>>().join(" ");
        let proof = Proof {
            by: "identity_provider".to_owned(),
            issuer: shortened(&identity.issuer).to_owned(),
            acr: identity.acr.as_deref().map_or("", shortened).to_owned(),
            amr: methods,
            factor: String::new(),
            login: Some(identity.login.clone()),
        };
        // Where a way of authentication is demanded, nobody comes back from there without it (`upstream`).
        let strong = self.settings(authority).upstream.is_some_and(|upstream| upstream.demands_way);
        self.begin_proved_browser(&user, &proof, strong, browser).await.map(Ok)
    }

    async fn find_or_make(
        &self,
        authority: &ServerName,
        identity: &Identity,
        from: Option<Address>,
    ) -> Result<Result<OwnedUserId, Stranger>, Error> {
        let (issuer, subject) = (identity.issuer.as_str(), identity.subject.as_str());
        if let Some(user) = self.find_identity(authority, issuer, subject).await? {
            return Ok(Ok(user));
        }
        if !self.settings(authority).upstream.is_some_and(|upstream| upstream.makes_accounts) {
            return Ok(Err(Stranger::NotLinked));
        }
        let localpart = match &identity.localpart {
            Ok(localpart) => localpart,
            Err(reason) => return Ok(Err(Stranger::NoName(reason.clone()))),
        };
        let user = match self.check_available(authority, localpart).await {
            Ok(user) => user,
            Err(Error::UserInUse) => {
                // Made by another browser of his a moment ago?
                return Ok(match self.find_identity(authority, issuer, subject).await? {
                    Some(user) => Ok(user),
                    None => Err(Stranger::NameTaken(localpart.clone())),
                });
            }
            Err(Error::Exclusive) => return Ok(Err(Stranger::NameTaken(localpart.clone()))),
            Err(Error::InvalidUsername(_)) => return Ok(Err(Stranger::BadName(localpart.clone()))),
            Err(error) => return Err(error),
        };
        self.inner.rooms.policy().register(&user, from).map_err(room::Error::from)?;
        let new = NewUser { display_name: identity.display_name.clone(), ..NewUser::default() };
        let mut batch = Batch::new();
        let (taken, _) = self.put_user(&mut batch, &user, &new, None);
        self.put_identity(&mut batch, &user, issuer, subject);
        self.put_identity_email(&mut batch, &user, identity).await?;
        self.deed(Action::Register, &Actor::stranger(from), &user)
            .after("proof", "identity_provider")
            .after("issuer", shortened(&identity.issuer))
            .write(&mut batch, authority);
        self.commit_new_user(batch, taken).await?;
        tracing::info!(user_id = %user, issuer = identity.issuer, "an account was made for an identity");
        Ok(Ok(user))
    }

    /// Whose account somebody has who is known at a provider.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_identity(
        &self,
        authority: &ServerName,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<OwnedUserId>, Error> {
        let key = (authority.as_str(), issuer, subject);
        let row = self.inner.store.get(&tables::IDENTITIES, &key).await?;
        row.map(|row| parse_user(&row.user)).transpose()
    }

    /// Adds to a batch that an identity is a user's. The batch fails if it is somebody's by then.
    pub(crate) fn put_identity(&self, batch: &mut Batch, user: &UserId, issuer: &str, subject: &str) {
        let row = IdentityRow { user: user.to_string(), linked_ms: self.now_ms() };
        batch.insert(&tables::IDENTITIES, &(user.server_name().as_str(), issuer, subject), &row);
        batch.put(&tables::IDENTITIES_OF, &(user.as_str(), issuer, subject), &());
    }

    /// Adds to a batch that an identity is nobody's; whether it was this user's.
    pub(crate) async fn put_no_identity(
        &self,
        batch: &mut Batch,
        user: &UserId,
        issuer: &str,
        subject: &str,
    ) -> Result<bool, Error> {
        let key = (user.server_name().as_str(), issuer, subject);
        let row = self.inner.store.get(&tables::IDENTITIES, &key).await?;
        let Some(row) = row.filter(|row| row.user == user.as_str()) else { return Ok(false) };
        batch.require(&tables::IDENTITIES, &key, Some(&row));
        batch.delete(&tables::IDENTITIES, &key);
        batch.delete(&tables::IDENTITIES_OF, &(user.as_str(), issuer, subject));
        Ok(true)
    }

    /// Adds the address of a new account to a batch, where nobody has it.
    async fn put_identity_email(
        &self,
        batch: &mut Batch,
        user: &UserId,
        identity: &Identity,
    ) -> Result<(), Error> {
        let authority = user.server_name();
        let email = identity.email.as_deref().and_then(crate::emails::typed);
        if let Some(email) = email
            && self.takes_emails(authority)
            && self.find_email_owner(authority, email.as_str()).await?.is_none()
        {
            self.put_verified_email(batch, user, email.as_str());
        }
        Ok(())
    }

    /// Has what a provider knows somebody by belong to an account, as `by` wishes: its owner, who is signed in to both, or an
    /// operator. Once more does no harm.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::UserInUse`] when it is another account's, [`Error::TooLarge`] where the account has
    /// many, [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    pub async fn link_identity(
        &self,
        user: &UserId,
        (issuer, subject): (&str, &str),
        by: &Actor,
    ) -> Result<(), Error> {
        self.refuse_own(user).await?;
        let mut attempts = Attempts::default();
        loop {
            match self.find_identity(user.server_name(), issuer, subject).await? {
                Some(owner) if owner == *user => return Ok(()),
                Some(_) => return Err(Error::UserInUse),
                None => {}
            }
            let mut batch = Batch::new();
            self.put_several(&mut batch, user).await?;
            let row = self.get_user_row(user).await?;
            refuse_closed(user, Some(&row))?;
            let range = Range::prefix(user.as_str());
            let known = self.inner.store.scan(&tables::IDENTITIES_OF, range, Order::Ascending, MOST_OF_USER);
            if known.await?.len() >= MOST_OF_USER {
                return Err(Error::TooLarge("an account has at most ten identities"));
            }
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            self.put_identity(&mut batch, user, issuer, subject);
            self.deed(Action::LinkIdentity, by, user)
                .after("issuer", shortened(issuer))
                .write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// The providers at which a user is known, and what each calls him.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn identities_of(&self, user: &UserId) -> Result<Vec<(String, String)>, Error> {
        let range = Range::prefix(user.as_str());
        let rows = self.inner.store.scan(&tables::IDENTITIES_OF, range, Order::Ascending, usize::MAX);
        Ok(rows.await?.into_iter().map(|((_, issuer, subject), ())| (issuer, subject)).collect())
    }

    /// The providers at which a user is known.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn identities(&self, user: &UserId) -> Result<Vec<String>, Error> {
        let range = Range::prefix(user.as_str());
        let rows = self.inner.store.scan(&tables::IDENTITIES_OF, range, Order::Ascending, usize::MAX);
        Ok(rows.await?.into_iter().map(|((_, issuer, _), ())| issuer).collect())
    }
}

/// As much of a provider's word as a row of the audit log has room for.
pub(crate) fn shortened(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_WORD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
