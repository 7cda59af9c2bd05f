//! Consent for a device without a browser: it shows a code, the user types it elsewhere.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#device-authorisation-flow>

use std::{sync::Arc, time::Duration};

use account::Browser;
use base::{Address, Attempts};
use bytes::Bytes;
use parking_lot::Mutex;
use ruma::{ServerName, UserId};
use store::Batch;

use crate::{
    Code, Error, Granted, OAuth, Registered, Scope,
    codes::{Agreed, hash},
    kinds::Passing,
    metadata::DEVICE_CODE,
    polls::Poll,
    tables::{DEVICE_CODES, Decision, DeviceCodeRow, Hash, USER_CODES},
};

/// Letters of user codes: no vowels, so that they make no words, and none that is taken for another.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// So many of them: 25,600,000,000 codes.
const LETTERS_OF_CODE: usize = 8;
/// Letters of a device code.
const CODE_CHARS: usize = 40;

/// How long a device waits between two questions, and how much longer once it was too quick.
const INTERVAL: Duration = Duration::from_secs(5);
/// Networks and clocks are not exact: so much too early is in time.
const TOLERANCE: Duration = Duration::from_millis(500);
/// The longest interval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// What a device gets to wait with.
#[derive(Clone, Debug)]
pub struct NewDeviceCode {
    /// What it shows us.
    pub device_code: String,
    /// What it shows the user: `WDJB-MJHT`.
    pub user_code: String,
    /// How long both are good.
    pub expires_in: Duration,
    /// How long it waits between two questions.
    pub interval: Duration,
}

/// What a device asks a user for.
#[derive(Clone, Debug)]
pub struct DeviceRequest {
    /// Its client.
    pub client: Registered,
    /// For what.
    pub scope: Scope,
    /// As the device shows it.
    pub user_code: String,
    /// Where it asked from.
    pub from: Option<String>,
    key: Hash,
    row: DeviceCodeRow,
}

impl OAuth {
    /// A device begins to wait for a user's consent.
    ///
    /// # Errors
    /// [`Code::InvalidClient`], [`Code::UnauthorizedClient`], [`Code::InvalidScope`], [`Error::Full`], [`Error::Store`].
    pub async fn begin_device(
        &self,
        authority: &ServerName,
        client: &str,
        scope: &str,
        from: Option<Address>,
    ) -> Result<NewDeviceCode, Error> {
        let client = self.client(authority, client).await?;
        if !client.client.may(DEVICE_CODE) {
            let text = "the client did not register for the device authorization grant";
            return Err(Error::refused(Code::UnauthorizedClient, text));
        }
        let scope = Scope::parse(scope)?;
        self.count_maker(authority, Passing::DeviceCode.number(), from)?;
        let mut attempts = Attempts::default();
        loop {
            let device_code = format!("yod_{}", self.inner.random.token(CODE_CHARS));
            let letter =
                |_| char::from(LETTERS[usize::try_from(self.inner.random.range(0..20)).unwrap_or(0)]);
            let user_code: String = (0..LETTERS_OF_CODE).map(letter).collect();
            let (key, made_ms) = (hash(&device_code), self.now_ms());
            let row = DeviceCodeRow {
                authority: authority.to_string(),
                client: client.id.clone(),
                user_code: user_code.clone(),
                scope: scope.granted.clone(),
                from: from.map(|from| from.written()),
                made_ms,
                decision: Decision::Pending,
                login: None,
            };
            let mut batch = Batch::new();
            self.put_passing(&mut batch, authority.as_str(), Passing::DeviceCode, made_ms, key).await?;
            batch.insert(&DEVICE_CODES, &key, &row);
            // Another device may have it: then the batch is refused, and another code is made up.
            let by_user = Bytes::copy_from_slice(&key);
            batch.insert(&USER_CODES, &(authority.as_str(), user_code.as_str()), &by_user);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => {
                    done?;
                    let expires_in = Passing::DeviceCode.lifetime();
                    let user_code = shown(&user_code);
                    return Ok(NewDeviceCode { device_code, user_code, expires_in, interval: INTERVAL });
                }
            }
        }
    }

    /// The request of a device by what a signed-in user typed, however it was written. Users type few wrong ones.
    ///
    /// # Errors
    /// [`Code::InvalidGrant`] when there is none that waits, [`account::Error::Limited`], [`Error::Store`].
    pub async fn device_request(&self, user: &UserId, typed: &str) -> Result<DeviceRequest, Error> {
        let now = self.inner.clock.instant();
        self.inner
            .guesses
            .take(&user, now)
            .map_err(|retry_after| account::Error::Limited { limit: "wrong_user_codes", retry_after })?;
        let request = self.find_device_request(user.server_name(), typed).await?;
        self.inner.guesses.put_back(&user, now);
        Ok(request)
    }

    async fn find_device_request(&self, authority: &ServerName, typed: &str) -> Result<DeviceRequest, Error> {
        let none = || Error::refused(Code::InvalidGrant, "no device waits with this code");
        let letters = typed.chars().map(half_width).filter(char::is_ascii_alphabetic);
        let letters = letters.map(|letter| letter.to_ascii_uppercase());
        let code: String = letters.take(LETTERS_OF_CODE + 1).collect();
        let store = &self.inner.store;
        let key = store.get(&USER_CODES, &(authority.as_str(), code.as_str())).await?.ok_or_else(none)?;
        let key: Hash = key.as_ref().try_into().map_err(|_| none())?;
        let row = store.get(&DEVICE_CODES, &key).await?.ok_or_else(none)?;
        if row.decision != Decision::Pending || self.is_over(row.made_ms, Passing::DeviceCode.lifetime()) {
            return Err(none());
        }
        Ok(DeviceRequest {
            client: self.client(authority, &row.client).await?,
            scope: Scope::parse(&row.scope)?,
            user_code: shown(&row.user_code),
            from: row.from.clone(),
            key,
            row,
        })
    }

    /// Whoever is signed in in a browser decides on a request.
    ///
    /// # Errors
    /// [`Error::Contended`] when it was decided already; [`Code::InvalidScope`] when the device that it asks for cannot be given:
    /// then it is told that it was refused, as nothing will come of its waiting; [`account::Error::TooManyDevices`] where it goes
    /// on waiting until there is room; [`Error::Store`].
    pub async fn decide(
        &self,
        request: &DeviceRequest,
        browser: &Browser,
        agrees: bool,
    ) -> Result<(), Error> {
        let user = &*browser.user_id;
        let allowed = match agrees {
            true => self.check_device(user, &request.scope).await,
            false => Ok(()),
        };
        let decision = match &allowed {
            Ok(()) if agrees => Decision::Approved(user.to_string(), browser.stamp),
            Ok(()) | Err(Error::Refused { .. }) => Decision::Denied,
            Err(_) => return allowed,
        };
        let scope = request.scope.granted_by(self.is_administrator(user).await?);
        let decided = DeviceCodeRow { decision, scope, login: browser.login.clone(), ..request.row.clone() };
        let mut batch = Batch::new();
        batch.replace(&DEVICE_CODES, &request.key, &request.row, &decided);
        // The code is of no use any more, also to whoever looked over the user's shoulder.
        batch.delete(&USER_CODES, &(request.row.authority.as_str(), request.row.user_code.as_str()));
        self.commit(batch).await?;
        allowed
    }

    /// A device asks whether the user has decided.
    ///
    /// # Errors
    /// [`Code::AuthorizationPending`], [`Code::SlowDown`], [`Code::AccessDenied`], [`Code::ExpiredToken`],
    /// [`Code::InvalidGrant`], [`Error::Store`].
    pub async fn poll(
        &self,
        authority: &ServerName,
        client: &str,
        device_code: &str,
        from: Option<Address>,
        agent: Option<&str>,
    ) -> Result<Granted, Error> {
        let invalid = || Error::refused(Code::InvalidGrant, "there is no such device code");
        let key = hash(device_code);
        let mut attempts = Attempts::default();
        let mut is_counted = false;
        loop {
            let row = self.inner.store.get(&DEVICE_CODES, &key).await?.ok_or_else(invalid)?;
            if row.authority != authority.as_str() || row.client != client {
                return Err(invalid());
            }
            if self.is_over(row.made_ms, Passing::DeviceCode.lifetime()) {
                return Err(Error::refused(Code::ExpiredToken, "the device code has run out"));
            }
            if !is_counted {
                self.slow_down(key)?;
                is_counted = true;
            }
            let user = match &row.decision {
                Decision::Pending => {
                    return Err(Error::refused(Code::AuthorizationPending, "the user has not decided yet"));
                }
                Decision::Denied => {
                    return Err(Error::refused(Code::AccessDenied, "the user does not agree"));
                }
                // Unlike a code that went through a browser, this one is known to the device alone: it asks twice when
                // an answer is lost, and is not signed out for that (RFC 8628 asks no such thing).
                Decision::Spent(_) => return Err(invalid()),
                Decision::Approved(user, stamp) => (user, stamp),
            };
            let mut batch = Batch::new();
            let (user, stamp) = user;
            let agreed =
                Agreed { user, client: &row.client, scope: &row.scope, stamp, login: row.login.as_ref() };
            let put = self.put_grant(&mut batch, authority, agreed, from, agent).await?;
            let spent = DeviceCodeRow { decision: Decision::Spent(put.grant), ..row.clone() };
            batch.replace(&DEVICE_CODES, &key, &row, &spent);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) => {
                    self.inner.polls.remove(&key);
                    let tokens = self.inner.accounts.granted(put);
                    return Ok(Granted { tokens, scope: Some(row.scope) });
                }
            }
        }
    }

    /// Counts a question. Who comes too early waits five seconds longer from now on.
    fn slow_down(&self, key: Hash) -> Result<(), Error> {
        let now = self.inner.clock.instant();
        let Some(poll) = self.inner.polls.get(&key) else {
            self.inner.polls.insert(key, Arc::new(Mutex::new(Poll { last: now, interval: INTERVAL })));
            return Ok(());
        };
        let mut poll = poll.lock();
        let waited = now.since(poll.last);
        poll.last = now;
        if waited + TOLERANCE >= poll.interval {
            return Ok(());
        }
        poll.interval = (poll.interval + INTERVAL).min(LONGEST_INTERVAL);
        Err(Error::refused(Code::SlowDown, "too early; wait five seconds longer from now on"))
    }
}

/// A letter as it is without a Japanese keyboard, which gives full-width ones.
fn half_width(letter: char) -> char {
    let code = u32::from(letter);
    let half = (0xff01..=0xff5e).contains(&code).then(|| char::from_u32(code - 0xfee0)).flatten();
    half.unwrap_or(letter)
}

/// A user code as people read it.
fn shown(code: &str) -> String {
    let (front, back) = code.split_at(code.len() / 2);
    format!("{front}-{back}")
}
