//! Registration: making accounts.

use std::time::Duration;

use audit::{Action, Actor, Role};
use base::{Attempts, Timestamp};
use bytes::Bytes;
use room::FactorRule;
use ruma::{OwnedDeviceId, OwnedUserId, ServerName, UserId, events::GlobalAccountDataEventType};
use serde::Deserialize;
use store::{Batch, CommitError};

use crate::{
    Accounts, Asked, Error, FactorsFor, Moderation, SessionTokens, Ways,
    data::put_global,
    devices::check_device_id,
    error::ContactError,
    interactive::{Session, Settled, stamp_of},
    login::signed_in,
    profile::{AVATAR_URL, DISPLAY_NAME, shown_as, text_field},
    push_defaults::default_push_rules,
    reserved,
    sessions::{Ended, parse_user},
    tables::{self, GuestRow, NoticesRow, RegisteredRow, UserRow, millis},
    uia::Admission,
};

/// Letters of a device id that we make up.
const DEVICE_ID_CHARS: usize = 10;

/// How long after a registration its repetition is answered the same again.
const REPEATABLE: Duration = Duration::from_secs(5 * 60);

/// Longest user id, with its sigil and server name.
const MAX_USER_ID_BYTES: usize = 255;

/// The parameters of a registration, one for each field of [`Wish`].
const PARAMETERS: &[&str] = &[
    "username",
    "password",
    "device_id",
    "initial_device_display_name",
    "inhibit_login",
    "refresh_token",
    "guest_access_token",
];

/// What somebody who registers over the client interface wishes.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wish {
    /// The localpart; without one the server makes one up.
    pub(crate) username: Option<String>,
    /// The password; without one the account can only be used in this first session.
    password: Option<String>,
    /// The device id.
    pub(crate) device_id: Option<OwnedDeviceId>,
    /// The device's name.
    pub(crate) initial_device_display_name: Option<String>,
    /// Whether to register without logging in.
    pub(crate) inhibit_login: bool,
    /// Whether the client can refresh tokens.
    pub(crate) refresh_token: bool,
    /// The token of a guest that becomes this account.
    guest_access_token: Option<String>,
}

/// Who becomes an account.
#[derive(Clone, Copy)]
struct New<'a> {
    user_id: &'a UserId,
    /// What is kept of it as a guest, if it is one.
    guest: Option<(&'a UserRow, &'a GuestRow)>,
}

/// A new account.
#[derive(Debug)]
pub struct Registered {
    /// The user.
    pub user_id: OwnedUserId,
    /// Device and tokens, unless log-in was inhibited.
    pub session: Option<(OwnedDeviceId, SessionTokens)>,
}

/// An account that an administrator, the command line or a test makes.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// The localpart.
    pub localpart: String,
    /// The password, if the user is to log in with one.
    pub password: Option<String>,
    /// The display name; without one it is the localpart.
    pub display_name: Option<String>,
    /// Whether the user administers the server.
    pub admin: bool,
}

/// How an account that an administrator makes begins, besides.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// The address of the picture.
    pub avatar_url: Option<String>,
    /// Whether it is locked.
    pub locked: bool,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether it is closed for good: nobody else can have its name.
    pub closed: bool,
    /// By what it is found, and how its user signs in besides.
    pub ways: Ways,
}

impl Accounts {
    /// Registers a user of an authority, as that authority's settings allow.
    ///
    /// The account, its default profile and push rules, its first session and the use of its
    /// registration token are on disk together when this returns. A session of user-interactive
    /// authentication makes one account: who asks the very same again in it, since the answer was lost, gets
    /// the same one, with new tokens. That holds for five minutes, and as long as nobody has used the tokens,
    /// signed the device out or changed the account: a session is no key to an account that is in use.
    ///
    /// # Errors
    /// [`Error::RegistrationClosed`], [`Error::InvalidUsername`], [`Error::UserInUse`], [`Error::Exclusive`],
    /// [`Error::WeakPassword`], [`Error::Interactive`], [`Error::BadRequest`], [`Error::Forbidden`],
    /// [`Error::FactorNeeded`] where everybody has to have a factor, unless no session is wished; [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>
    pub async fn register(&self, authority: &ServerName, asked: Asked) -> Result<Registered, Error> {
        let mut hash = None;
        let mut attempts = Attempts::default();
        loop {
            let again = Asked {
                auth: asked.auth.clone(),
                session: asked.session.clone(),
                request: asked.request.clone(),
                from: asked.from,
                agent: asked.agent.clone(),
            };
            let settled = self.settle(authority.as_str(), "register", PARAMETERS, again).await?;
            let wish: Wish = settled.parse()?;
            let settings = self.settings(authority);
            if settings.factors == FactorsFor::Everybody && !wish.inhibit_login {
                // The session would be one without a factor.
                return Err(Error::FactorNeeded { page: settings.account_page.clone() });
            }
            if let Some(registered) = settled.session.as_ref().and_then(Session::registered) {
                match self.register_again(authority, &wish, &settled, registered).await {
                    Err(Error::Contended) => {
                        self.again(&mut attempts).await?;
                        continue;
                    }
                    done => return done,
                }
            }
            // Before the proof is asked for: a user who cannot have the name should hear so first.
            let guest = match &wish.guest_access_token {
                Some(token) => {
                    if wish.password.is_none() {
                        return Err(Error::MissingParam("a guest is registered with a password"));
                    }
                    Some(self.guest_to_register(authority, token, wish.username.as_deref()).await?)
                }
                None => None,
            };
            let user_id = match (&guest, &wish.username) {
                (Some((guest, ..)), _) => guest.clone(),
                (None, Some(name)) => self.check_available(authority, name).await?,
                (None, None) => self.make_up_user_id(authority)?,
            };
            let policy = self.inner.rooms.policy();
            policy.register(&user_id, asked.from).map_err(room::Error::from)?;
            if !wish.inhibit_login && policy.factor(&user_id, asked.from) != FactorRule::Free {
                return Err(Error::FactorNeeded { page: settings.account_page.clone() });
            }
            if let Some(password) = &wish.password {
                self.check_password_rules(authority, password)?;
            }
            if let Some(device) = &wish.device_id {
                check_device_id(device)?;
            }
            let admission = self.admit(authority, &settled).await?;
            if let Some(proved) = &admission.email
                && self.find_email_owner(authority, proved.email()).await?.is_some()
            {
                return Err(ContactError::InUse.into());
            }
            if let (None, Some(password)) = (&hash, &wish.password) {
                let hashed = match &asked.from {
                    Some(address) => self.inner.passwords.hash(password, address).await,
                    None => self.inner.passwords.hash(password, &user_id).await,
                };
                hash = Some(hashed?);
            }
            let new = New { user_id: &user_id, guest: guest.as_ref().map(|(_, row, guest)| (row, guest)) };
            match self.try_to_register(authority, new, &wish, &settled, &admission, hash.clone()).await {
                // Somebody else used the same registration token, or another request of the session was
                // faster: look again.
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(Error::UserInUse) if settled.session.is_some() => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_register(
        &self,
        authority: &ServerName,
        new: New<'_>,
        wish: &Wish,
        settled: &Settled,
        admission: &Admission,
        password_hash: Option<String>,
    ) -> Result<Registered, Error> {
        let user_id = new.user_id;
        let mut batch = Batch::new();
        if let Some(token) = &admission.token {
            token.count(&mut batch);
        }
        if let Some(proved) = &admission.email {
            self.put_email(&mut batch, user_id, proved);
        }
        let by = Actor::stranger(settled.from);
        let mut deed = self.deed(Action::Register, &by, user_id).after("proof", admission.words());
        let (taken, row, ended) = match new.guest {
            None => {
                let (taken, row) = self.put_user(&mut batch, user_id, &NewUser::default(), password_hash);
                (Some(taken), row, Ended::default())
            }
            Some((row, guest)) => {
                deed = deed.before("role", "guest");
                let keeps = wish.device_id.as_deref().filter(|_| !wish.inhibit_login);
                let (row, ended) =
                    self.put_registered_guest(&mut batch, user_id, row, guest, password_hash, keeps).await?;
                (None, row, ended)
            }
        };
        let mut device_row = None;
        let session = if wish.inhibit_login {
            None
        } else {
            self.inner.rooms.policy().sign_in(user_id, settled.from).map_err(room::Error::from)?;
            let device = wish.device_id.clone().unwrap_or_else(|| self.new_device_id());
            let name = wish.initial_device_display_name.clone();
            let known = self.put_device(&mut batch, user_id, &device, name, None).await?;
            deed = signed_in(deed, &device, &known, settled.agent.as_deref());
            device_row = Some(known);
            let issued = self.put_log_in(&mut batch, user_id, device.as_str(), wish.refresh_token);
            Some((device, issued))
        };
        settled.note_registered(
            &mut batch,
            RegisteredRow {
                user: user_id.to_string(),
                device: session.as_ref().map(|(device, _)| device.to_string()),
                stamp: stamp_of(&row, device_row.as_ref(), settled.said),
            },
            self,
        )?;
        deed.write(&mut batch, authority);
        match taken {
            Some(taken) => self.commit_new_user(batch, taken).await?,
            None => self.commit_end(batch, &ended).await?,
        }
        tracing::info!(user_id = %user_id, "registered");
        Ok(Registered { user_id: user_id.to_owned(), session })
    }

    /// The account that a session has made, with new tokens for its device.
    async fn register_again(
        &self,
        authority: &ServerName,
        wish: &Wish,
        settled: &Settled,
        registered: &RegisteredRow,
    ) -> Result<Registered, Error> {
        let over = Error::Forbidden("this session has made its account and is over; log in");
        let user_id = parse_user(&registered.user)?;
        let row = self.get_user_row(&user_id).await?;
        // In either direction: a calendar that was set back must not keep a session for years.
        if settled.auth.is_none() || self.now_ms().abs_diff(row.created_ms) >= millis(REPEATABLE) {
            return Err(over);
        }
        let device_row = match &registered.device {
            Some(device) => {
                self.inner.store.get(&tables::DEVICES, &(user_id.as_str(), device.as_str())).await?
            }
            None => None,
        };
        if stamp_of(&row, device_row.as_ref(), settled.said) != registered.stamp {
            return Err(over);
        }
        let (Some(device), Some(device_row)) = (&registered.device, device_row) else {
            return Ok(Registered { user_id, session: None });
        };
        if self.device(&user_id, device.as_str().into()).await?.last_seen.is_some() {
            // Who uses his tokens has got them.
            return Err(over);
        }
        self.inner.rooms.policy().sign_in(&user_id, settled.from).map_err(room::Error::from)?;
        let mut batch = Batch::new();
        batch.require(&tables::USERS, user_id.as_str(), Some(&row));
        batch.require(&tables::DEVICES, &(user_id.as_str(), device.as_str()), Some(&device_row));
        let factors = self.factors(&user_id).await?;
        factors.require(&mut batch);
        if factors.is_any() || self.factor_rule(&user_id, &row, settled.from).await? != FactorRule::Free {
            // Its owner has signed in by another way since, and is asked for more by now.
            return Err(over);
        }
        let ended = self.end_tokens(&mut batch, &user_id, |ended| ended == device).await?;
        let device_id: OwnedDeviceId = device.as_str().into();
        let issued = self.put_log_in(&mut batch, &user_id, device, wish.refresh_token);
        batch.touch([store::Topic::device(user_id.as_str(), device)]);
        let by = Actor::stranger(settled.from);
        let deed = self.deed(Action::SignIn, &by, &user_id);
        signed_in(deed, &device_id, &device_row, settled.agent.as_deref())
            .after("proof", "registration_repeated")
            .write(&mut batch, authority);
        self.commit(batch).await?;
        self.forget_tokens(&ended);
        Ok(Registered { user_id, session: Some((device_id, issued)) })
    }

    /// Makes an account without asking: for the command line, administrators and tests, as `by` is one.
    ///
    /// # Errors
    /// [`Error::InvalidUsername`], [`Error::UserInUse`], [`Error::Store`].
    pub async fn create_user(
        &self,
        authority: &ServerName,
        new: NewUser,
        by: &Actor,
    ) -> Result<OwnedUserId, Error> {
        self.create_account(authority, new, Beginning::default(), by).await
    }

    /// The same, for an account that begins in some other way than usual; in one commit.
    ///
    /// # Errors
    /// As [`Accounts::create_user`]; [`Error::Forbidden`] for an administrator who would be locked or suspended;
    /// [`Error::InvalidParam`] for a name or an address of a picture that is too long, or a wrong way to it; [`Error::Contact`],
    /// [`Error::TooLarge`].
    pub async fn create_account(
        &self,
        authority: &ServerName,
        new: NewUser,
        beginning: Beginning,
        by: &Actor,
    ) -> Result<OwnedUserId, Error> {
        let user_id = self.check_available(authority, &new.localpart).await?;
        let kept_from =
            Moderation { locked: beginning.locked, suspended: beginning.suspended, by_source: false };
        if new.admin && kept_from != Moderation::default() {
            return Err(Error::Forbidden("Administrators are not locked or suspended"));
        }
        text_field(DISPLAY_NAME, new.display_name.as_deref())?;
        let picture = text_field(AVATAR_URL, beginning.avatar_url.as_deref())?;
        self.inner.rooms.policy().register(&user_id, by.from()).map_err(room::Error::from)?;
        if let Some(password) = &new.password {
            self.check_password_rules(authority, password)?;
        }
        let password_hash = match &new.password {
            Some(password) => Some(self.inner.passwords.hash(password, &user_id).await?),
            None => None,
        };
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            self.put_still_administers(&mut batch, &user_id, by).await?;
            let role = if new.admin { Role::Administrator } else { Role::User };
            self.deed(Action::CreateAccount, by, &user_id)
                .after("role", role.word())
                .write(&mut batch, authority);
            let mut deeds = Vec::new();
            let taken = if beginning.closed {
                deeds.push(Action::CloseAccount);
                let Timestamp(created_ms) = self.inner.clock.now();
                let row = UserRow { password: None, created_ms, admin: false, deactivated: true };
                batch.insert(&tables::USERS, user_id.as_str(), &row)
            } else {
                let (taken, _) = self.put_user(&mut batch, &user_id, &new, password_hash.clone());
                if let Some(picture) = &picture {
                    let picture = Bytes::copy_from_slice(picture.get().as_bytes());
                    batch.put(&tables::PROFILES, &(user_id.as_str(), AVATAR_URL), &picture);
                }
                if kept_from != Moderation::default() {
                    batch.put(&tables::MODERATION, user_id.as_str(), &kept_from);
                    deeds.extend(kept_from.locked.then_some(Action::LockAccount));
                    deeds.extend(kept_from.suspended.then_some(Action::SuspendAccount));
                }
                self.put_ways(&mut batch, &user_id, &beginning.ways, by).await?;
                taken
            };
            for action in deeds {
                self.deed(action, by, &user_id).write(&mut batch, authority);
            }
            match self.commit_new_user(batch, taken).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => break done?,
            }
        }
        tracing::info!(user_id = %user_id, admin = new.admin, "made an account");
        Ok(user_id)
    }

    /// Makes an account of the server's own, which writes server notices or makes rooms: nobody logs in to it.
    ///
    /// # Errors
    /// [`Error::UserInUse`], [`Error::Store`].
    pub(crate) async fn create_own(&self, user: &UserId, new: &NewUser, by: &Actor) -> Result<(), Error> {
        let mut batch = Batch::new();
        let (taken, _) = self.put_user(&mut batch, user, new, None);
        batch.put(&tables::NOTICES, user.as_str(), &NoticesRow { room: None });
        let deed = self.deed(Action::CreateAccount, by, user).after("role", Role::User.word());
        deed.write(&mut batch, user.server_name());
        self.commit_new_user(batch, taken).await
    }

    /// Whether a user name can be registered by who is no application service, and the user id that it gives.
    ///
    /// # Errors
    /// [`Error::InvalidUsername`], [`Error::UserInUse`], [`Error::Exclusive`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable>
    pub async fn check_available(&self, authority: &ServerName, name: &str) -> Result<OwnedUserId, Error> {
        let user_id = parse_new_user_id(name, authority)?;
        self.check_user_namespaces(None, &user_id)?;
        match self.find_user_row(&user_id).await? {
            Some(_) => Err(Error::UserInUse),
            None => Ok(user_id),
        }
    }

    pub(crate) fn new_device_id(&self) -> OwnedDeviceId {
        self.inner.random.token(DEVICE_ID_CHARS).to_uppercase().into()
    }

    pub(crate) fn make_up_user_id(&self, authority: &ServerName) -> Result<OwnedUserId, Error> {
        let user_id = parse_new_user_id(&self.inner.random.token(16).to_lowercase(), authority)?;
        self.check_user_namespaces(None, &user_id)?;
        Ok(user_id)
    }

    /// Adds a user with the default profile and push rules to a batch. Of `new` only the name to show
    /// and the role are read.
    pub(crate) fn put_user(
        &self,
        batch: &mut Batch,
        user: &UserId,
        new: &NewUser,
        password: Option<String>,
    ) -> (store::Precondition, UserRow) {
        let Timestamp(created_ms) = self.inner.clock.now();
        let row = UserRow { password, created_ms, admin: new.admin, deactivated: false };
        let taken = batch.insert(&tables::USERS, user.as_str(), &row);

        let name = new.display_name.as_deref().unwrap_or(user.localpart());
        if let Ok(name) = serde_json::to_vec(name) {
            let name = Bytes::from(name);
            batch.put(&tables::PROFILES, &(user.as_str(), DISPLAY_NAME), &name);
            room::note_account(batch, user, None, Some(&shown_as(Some(&name))));
        }
        // Kept from the start, so that clients find them in their first sync.
        let rules = serde_json::json!({ "global": default_push_rules(user) });
        let kind = GlobalAccountDataEventType::PushRules;
        put_global(batch, user, &kind.to_string(), Bytes::from(rules.to_string()), None);
        (taken, row)
    }

    pub(crate) async fn commit_new_user(
        &self,
        batch: Batch,
        taken: store::Precondition,
    ) -> Result<(), Error> {
        match self.inner.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict { which, .. }) if which == taken => Err(Error::UserInUse),
            Err(cause) => Err(cause.into()),
        }
    }
}

/// The user of an authority whose localpart is this one, new or old.
///
/// A localpart that comes from outside is never read as a whole user id: `@mayor:other.test` would be somebody of another
/// authority, perhaps of this process.
#[must_use]
pub fn user_of_localpart(localpart: &str, authority: &ServerName) -> Option<OwnedUserId> {
    let localpart = Some(localpart).filter(|localpart| !localpart.is_empty() && !localpart.starts_with('@'));
    UserId::parse_with_server_name(localpart?, authority).ok()
}

/// The user id that a wished name gives: capitals become small, the rest must fit the grammar.
///
/// Spec: <https://spec.matrix.org/v1.19/appendices/#user-identifiers>
pub(crate) fn parse_new_user_id(name: &str, authority: &ServerName) -> Result<OwnedUserId, Error> {
    let localpart = name.to_ascii_lowercase();
    if localpart.is_empty() {
        return Err(Error::InvalidUsername("the user name is empty"));
    }
    let allowed =
        |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-' | b'/' | b'+');
    if !localpart.bytes().all(allowed) {
        return Err(Error::InvalidUsername("user names are made of a-z, 0-9 and . _ = - / +"));
    }
    if localpart == reserved::NOTICES {
        return Err(Error::InvalidUsername("this user name is kept for server notices"));
    }
    if localpart == reserved::STEWARD {
        return Err(Error::InvalidUsername(
            "this user name is kept for who makes the rooms of the organisation",
        ));
    }
    if localpart.len() + authority.as_str().len() + 2 > MAX_USER_ID_BYTES {
        return Err(Error::InvalidUsername("the user name is too long"));
    }
    UserId::parse_with_server_name(localpart, authority)
        .map_err(|_invalid| Error::InvalidUsername("the user name cannot be used"))
}
