//! Sessions: access and refresh tokens, and the check that every request begins with.
//!
//! [`Accounts::authenticate`] answers from a cache. An entry remembers the position at which it was
//! read; anything that ends or changes a session touches the topic of its device, so an entry is
//! good as long as nothing touched that topic since. That also covers a look-up that races with a
//! log-out, and other processes on the same store.

use std::{collections::HashSet, sync::Arc, time::Duration};

use audit::{Action, Actor};
use base::{Address, Attempts, ByteSize, Cache, Counter, Instant, Metrics, Timestamp};
use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, ServerName, UserId};
use store::{Batch, Range, Reads, Topic, UpTo};

use crate::{
    Accounts, AppService, Barred, Error, Moderation,
    barred::Shown,
    log::{Change, log_change},
    provider_tables::DEVICE,
    seen::Seen,
    tables::{self, AccessRow, RefreshRow, Replaced, TokenHash, TokenKindRow, millis},
    tokens::{self, NewPair},
};

/// Who is asking: the user and device that an access token stands for.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// Whether the user administers the server.
    pub admin: bool,
    /// Whether the user is a guest, who may what the specification lists and nothing else.
    pub guest: bool,
    /// What the user is kept from.
    pub moderation: Moderation,
    /// When the token runs out.
    pub expires: Option<Timestamp>,
    /// Whether it has: then the session may be ended and used for nothing else.
    pub is_expired: bool,
    /// The application service that acts as the user; where it does so on none of his devices, `device_id` is empty.
    pub service: Option<Arc<AppService>>,
    /// Why it is not used from where it is: then it may be ended and used for nothing else.
    pub barred: Option<Box<Barred>>,
}

/// New tokens for a device.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionTokens {
    /// The access token; it is kept only as a hash.
    pub access: String,
    /// The refresh token, if the client asked for one.
    pub refresh: Option<String>,
    /// How long the access token lives; `None` is until log-out.
    pub expires_in: Option<Duration>,
}

/// Sessions that were looked up lately.
pub(crate) struct SessionCache {
    entries: Cache<TokenHash, Arc<Entry>>,
    misses: Counter,
}

pub(crate) struct Entry {
    pub(crate) session: Session,
    /// [`Session::expires`] by the stopwatch.
    ends: Option<Instant>,
    seen: Seen,
    up_to: UpTo,
    /// Whether an application service began it, which no factor of the user's was for.
    pub(crate) is_by_service: bool,
    /// Whether who began it has shown a factor, and up to where that is known, once it was asked.
    pub(crate) shown: Mutex<Option<(Shown, UpTo)>>,
}

impl Entry {
    /// Of a session that has no end of its own.
    pub(crate) fn lasting(session: Session, up_to: UpTo) -> Self {
        Self {
            session,
            ends: None,
            seen: Seen::default(),
            up_to,
            is_by_service: true,
            shown: Mutex::default(),
        }
    }
}

impl SessionCache {
    pub(crate) fn new(memory: ByteSize, metrics: &Metrics) -> Self {
        let owned = |_: &TokenHash, entry: &Arc<Entry>| {
            let Session { user_id, device_id, .. } = &entry.session;
            size_of::<Entry>() + 16 + user_id.as_str().len() + device_id.as_str().len()
        };
        Self {
            entries: Cache::new(metrics.caches(), "account_sessions", memory.as_u64(), owned).borrowing(),
            misses: metrics.counter(
                "yakuba_account_session_misses",
                "Requests whose session had to be read from the store",
            ),
        }
    }
}

impl Accounts {
    /// Who holds this access token at this authority. Reads the store only the first time.
    ///
    /// # Errors
    /// [`Error::UnknownToken`] when it is not a token of this authority or has run out,
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens>
    pub async fn authenticate(&self, authority: &ServerName, token: &str) -> Result<Session, Error> {
        match self.find_session(authority, token, None).await? {
            Session { is_expired: true, .. } => Err(Error::UnknownToken { soft_logout: true }),
            session => Ok(session),
        }
    }

    /// As [`Accounts::authenticate`], also where the token has run out ([`Session::is_expired`]) or is not used from this address
    /// ([`Session::barred`]): whoever asks has to look.
    ///
    /// # Errors
    /// [`Error::UnknownToken`] when it is not a token of this authority, [`Error::Store`].
    pub async fn find_session(
        &self,
        authority: &ServerName,
        token: &str,
        from: Option<Address>,
    ) -> Result<Session, Error> {
        let hash = tokens::hash(token);
        let entry = match self.find_cached(&hash) {
            Some(entry) => entry,
            None => self.read_session(hash).await?,
        };
        // Towards another authority of this process the token does not exist.
        if entry.session.user_id.server_name() != authority {
            return Err(Error::UnknownToken { soft_logout: false });
        }
        let clock = &self.inner.clock;
        if entry.ends.is_some_and(|ends| ends <= clock.instant()) {
            return Ok(Session { is_expired: true, ..entry.session.clone() });
        }
        let barred = self.barred(&entry, from).await?;
        if barred.is_some() {
            return Ok(Session { barred, ..entry.session.clone() });
        }
        self.note_seen(&entry.session, &entry.seen, clock.now(), from);
        Ok(entry.session.clone())
    }

    /// How many sessions were read from the store so far.
    #[cfg(test)]
    pub(crate) fn session_misses(&self) -> u64 {
        self.inner.sessions.misses.get()
    }

    pub(crate) fn find_cached(&self, hash: &TokenHash) -> Option<Arc<Entry>> {
        let entry = self.inner.sessions.entries.get(hash)?;
        entry.up_to.holds(&self.inner.store, [device_topic(&entry.session)]).then_some(entry)
    }

    pub(crate) fn keep_session(&self, hash: TokenHash, entry: Entry) {
        self.inner.sessions.entries.insert(hash, Arc::new(entry));
    }

    async fn read_session(&self, hash: TokenHash) -> Result<Arc<Entry>, Error> {
        self.inner.sessions.misses.inc();
        // Before the reads: a change after this position makes the entry stale.
        let up_to = UpTo::new(self.inner.store.head());
        let unknown = || Error::UnknownToken { soft_logout: false };
        let store = &self.inner.store;

        let row = store.get(&tables::ACCESS, &hash).await?.ok_or_else(unknown)?;
        let user_id = parse_user(&row.user)?;
        let mut reads = Reads::new();
        let user = reads.get(&tables::USERS, row.user.as_str());
        let device = reads.get(&tables::DEVICES, &(row.user.as_str(), row.device.as_str()));
        let moderation = reads.get(&tables::MODERATION, row.user.as_str());
        let guest = reads.get(&tables::GUESTS, &tables::guest_key(&user_id));
        let by_service = reads.get(&tables::SERVICE_DEVICES, &(row.user.as_str(), row.device.as_str()));
        let mut found = store.read(reads).await?;
        let user = found.take(user)?.filter(|user| !user.deactivated).ok_or_else(unknown)?;
        // Whatever became of its user since: a service has not that power.
        let is_by_service = found.take(by_service)?.is_some();
        let admin = user.admin && !is_by_service && self.may_administer(&row.user, &row.device).await?;
        // A refresh that ran while the device logged out may leave tokens without one: they are dead.
        found.take(device)?.ok_or_else(unknown)?;
        let is_settled = match row.replaces {
            Some(replaced) => self.end_replaced(hash, &row, replaced).await,
            None => true,
        };

        let session = Session {
            user_id,
            device_id: row.device.as_str().into(),
            admin,
            guest: found.take(guest)?.is_some(),
            moderation: found.take(moderation)?.unwrap_or_default(),
            expires: row.expires_ms.map(Timestamp),
            is_expired: false,
            service: None,
            barred: None,
        };
        let lifetime = self.settings(session.user_id.server_name()).access_token_lifetime;
        let ends = session.expires.map(|expires| self.inner.clock.instant_of(expires, lifetime));
        let (seen, shown) = (Seen::default(), Mutex::default());
        let entry = Arc::new(Entry { session, ends, seen, up_to, is_by_service, shown });
        // Not kept before the old pair has ended, so that every use is another chance to end it.
        if is_settled {
            self.inner.sessions.entries.insert(hash, entry.clone());
        }
        Ok(entry)
    }

    /// The first use of a refreshed access token: the pair that it replaces ends. Whether it has: what only
    /// reads goes on while nothing can be written.
    async fn end_replaced(&self, hash: TokenHash, row: &AccessRow, replaced: Replaced) -> bool {
        let mut batch = Batch::new();
        let settled = AccessRow { replaces: None, ..row.clone() };
        batch.replace(&tables::ACCESS, &hash, row, &settled);
        delete_pair(&mut batch, &row.user, &row.device, replaced);
        batch.touch([Topic::device(&row.user, &row.device)]);
        match self.commit(batch).await {
            // Another request with the same token did it.
            Ok(()) | Err(Error::Contended) => {}
            Err(error) => {
                tracing::debug!(user_id = %row.user, device_id = %row.device, %error, "the replaced tokens stay for now");
                return false;
            }
        }
        self.inner.sessions.entries.remove(&replaced.access);
        true
    }

    /// Ends the session of a device and removes the device, as `by` wishes.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>
    pub async fn log_out(&self, user: &UserId, device: &DeviceId, by: &Actor) -> Result<(), Error> {
        self.end_sessions(user, Action::SignOut, by, |ended| ended == device.as_str(), &|_| {}).await
    }

    /// Ends all sessions of a user and removes all devices, as `by` wishes.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>
    pub async fn log_out_everywhere(&self, user: &UserId, by: &Actor) -> Result<(), Error> {
        self.log_out_everywhere_while(user, by, &|_| {}).await
    }

    /// The same for who may do it for as long as stands what `demand` puts into the batch.
    ///
    /// # Errors
    /// [`Error::Contended`] where it stands no more; [`Error::Store`].
    pub async fn log_out_everywhere_while(
        &self,
        user: &UserId,
        by: &Actor,
        demand: &(dyn Fn(&mut Batch) + Send + Sync),
    ) -> Result<(), Error> {
        self.end_sessions(user, Action::SignOutEverywhere, by, |_| true, demand).await
    }

    /// Ends the sessions of some devices of a user and removes these, without asking the user: for administrators, as `by` is
    /// one. Those that are not there are as good as removed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn remove_devices_of(
        &self,
        user: &UserId,
        devices: &HashSet<String>,
        by: &Actor,
    ) -> Result<(), Error> {
        self.end_sessions(user, Action::RemoveDevices, by, |ended| devices.contains(ended), &|_| {}).await
    }

    pub(crate) async fn end_sessions(
        &self,
        user: &UserId,
        what: Action,
        by: &Actor,
        ends: impl Fn(&str) -> bool,
        demand: &(dyn Fn(&mut Batch) + Send + Sync),
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            demand(&mut batch);
            self.put_still_administers(&mut batch, user, by).await?;
            let ended = self.end_devices(&mut batch, user, &ends).await?;
            if what == Action::SignOutEverywhere {
                self.put_browsers_end(&mut batch, user).await?;
            }
            if !ended.devices.is_empty() {
                let deed = self.deed(what, by, user).before("devices", ended.names());
                deed.write(&mut batch, user.server_name());
            }
            match self.commit_end(batch, &ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        self.close_left_guest(user).await;
        Ok(())
    }

    /// Commits a batch that ends these tokens.
    pub(crate) async fn commit_end(&self, batch: Batch, ended: &Ended) -> Result<(), Error> {
        self.commit(batch).await?;
        self.forget_tokens(&ended.tokens);
        Ok(())
    }

    /// Adds the end of some devices to a batch: their tokens, their rows, a log entry for each.
    /// Answers with what ends, for [`Accounts::commit_end`]. The batch fails with [`Error::Contended`] when
    /// somebody logs in before it is committed; then it is to be made anew. The dehydrated device stays.
    pub(crate) async fn end_devices(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ends: impl Fn(&str) -> bool,
    ) -> Result<Ended, Error> {
        let dehydrated = self.dehydrated_device(user).await?;
        let stays = |device: &str| dehydrated.as_ref().is_some_and(|it| it.as_str() == device);
        self.end_every(batch, user, |device| ends(device) && !stays(device)).await
    }

    /// The same with the dehydrated device among them.
    pub(crate) async fn end_every(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ends: impl Fn(&str) -> bool,
    ) -> Result<Ended, Error> {
        let dehydrated = self.inner.store.get(&tables::DEHYDRATED, user.as_str()).await?;
        batch.require(&tables::DEHYDRATED, user.as_str(), dehydrated.as_ref());
        if dehydrated.as_ref().is_some_and(|device| ends(device)) {
            batch.delete(&tables::DEHYDRATED, user.as_str());
        }
        let user_key = user.as_str();
        // Before the scans: who logs in after this may be missed by them.
        let log_ins = self.inner.store.get(&tables::LOG_INS, user_key).await?;
        batch.require(&tables::LOG_INS, user_key, log_ins.as_ref());
        let devices = self.inner.store.scan(
            &tables::DEVICES,
            Range::prefix(user_key),
            store::Order::Ascending,
            usize::MAX,
        );
        let mut ended = Vec::new();
        for ((_, device), _) in devices.await? {
            if !ends(&device) {
                continue;
            }
            batch.delete(&tables::DEVICES, &(user_key, device.as_str()));
            batch.delete(&tables::SEEN, &(user_key, device.as_str()));
            batch.delete(&tables::SERVICE_DEVICES, &(user_key, device.as_str()));
            batch.delete(&tables::UNPROVED, &(user_key, device.as_str()));
            let change = Change::Devices {
                user_id: user.to_owned(),
                device_id: device.as_str().into(),
                removed: true,
            };
            log_change(batch, &change, [Topic::devices(user_key), Topic::device(user_key, &device)]);
            ended.push(device);
        }
        self.put_last_used(batch, user, &ended).await?;
        self.put_device_ends(batch, user, &ended).await?;
        Ok(Ended { devices: ended, tokens: self.end_tokens(batch, user, ends).await? })
    }

    /// Adds the end of the tokens of some devices to a batch; by what these were signed in, if by a provider, is forgotten.
    pub(crate) async fn end_tokens(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ends: impl Fn(&str) -> bool,
    ) -> Result<Vec<TokenHash>, Error> {
        let range = Range::prefix(user.as_str());
        let rows =
            self.inner.store.scan(&tables::TOKENS_OF, range, store::Order::Ascending, usize::MAX).await?;
        let (mut ended, mut grants) = (Vec::new(), Vec::new());
        for (key, kind) in rows {
            if !ends(&key.1) {
                continue;
            }
            match kind {
                TokenKindRow::Access => batch.delete(&tables::ACCESS, &key.2),
                TokenKindRow::Refresh => batch.delete(&tables::REFRESH, &key.2),
                TokenKindRow::Grant => grants.push(key.2),
                TokenKindRow::LogIn => batch.delete(&tables::LOG_IN_NAMES, &key.2),
            }
            batch.delete(&tables::TOKENS_OF, &key);
            ended.push(key.2);
        }
        self.put_grants_end(batch, user, &grants).await?;
        let of_device = |session: &str| session.strip_prefix(DEVICE).is_some_and(&ends);
        self.put_no_logins(batch, user, of_device).await?;
        Ok(ended)
    }

    /// Drops sessions from the cache at once. The topics of the batch would do it as well.
    pub(crate) fn forget_tokens(&self, ended: &[TokenHash]) {
        for hash in ended {
            self.inner.sessions.entries.remove(hash);
        }
    }

    /// Adds new tokens for a device to a batch.
    pub(crate) fn put_tokens(
        &self,
        batch: &mut Batch,
        authority: &ServerName,
        user: &str,
        device: &str,
        pair: NewPair,
        replaces: Option<Replaced>,
    ) -> SessionTokens {
        let NewPair { access, refresh } = pair;
        let expires_in = refresh.is_some().then(|| self.settings(authority).access_token_lifetime);
        let hash = self.put_access(batch, (user, device), &access, expires_in, replaces);
        if let Some(refresh) = &refresh {
            let refresh = tokens::hash(refresh);
            let (user_name, device_name) = (user.to_owned(), device.to_owned());
            let row =
                RefreshRow { user: user_name, device: device_name, access: hash, replaces, traded_for: None };
            batch.put(&tables::REFRESH, &refresh, &row);
            batch.put(&tables::TOKENS_OF, &(user, device, refresh), &TokenKindRow::Refresh);
        }
        SessionTokens { access, refresh, expires_in }
    }

    /// Adds a new access token for a device to a batch; its hash.
    pub(crate) fn put_access(
        &self,
        batch: &mut Batch,
        (user, device): (&str, &str),
        access: &str,
        expires_in: Option<Duration>,
        replaces: Option<Replaced>,
    ) -> TokenHash {
        let hash = tokens::hash(access);
        let expires_ms = expires_in.map(|lifetime| self.now_ms().saturating_add(millis(lifetime)));
        let row = AccessRow { user: user.to_owned(), device: device.to_owned(), expires_ms, replaces };
        batch.put(&tables::ACCESS, &hash, &row);
        batch.put(&tables::TOKENS_OF, &(user, device, hash), &TokenKindRow::Access);
        hash
    }
}

/// Bytes of devices' names in a row of the audit log, which has room for 256 with what is added to them.
const MOST_NAMES: usize = 224;

/// What a batch ends.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) devices: Vec<String>,
    pub(crate) tokens: Vec<TokenHash>,
}

impl Ended {
    /// The devices, for the audit log: where a row has no room for all, the first of them and how many there were.
    pub(crate) fn names(&self) -> String {
        let all = self.devices.join(" ");
        if all.len() <= MOST_NAMES {
            return all;
        }
        let mut some = String::new();
        for name in &self.devices {
            if some.len() + name.len() >= MOST_NAMES {
                break;
            }
            some.push_str(name);
            some.push(' ');
        }
        format!("{some}… ({})", self.devices.len())
    }
}

/// Adds to a batch that a pair of tokens ends.
pub(crate) fn delete_pair(batch: &mut Batch, user: &str, device: &str, pair: Replaced) {
    batch.delete(&tables::ACCESS, &pair.access);
    batch.delete(&tables::REFRESH, &pair.refresh);
    batch.delete(&tables::TOKENS_OF, &(user, device, pair.access));
    batch.delete(&tables::TOKENS_OF, &(user, device, pair.refresh));
}

fn device_topic(session: &Session) -> Topic {
    Topic::device(session.user_id.as_str(), session.device_id.as_str())
}

pub(crate) fn parse_user(stored: &str) -> Result<OwnedUserId, Error> {
    OwnedUserId::try_from(stored).map_err(|_invalid| Error::UnknownToken { soft_logout: false })
}

impl std::fmt::Debug for SessionTokens {
    /// Tokens do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionTokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn sessions_are_charged_what_they_take() {
        let metrics = Metrics::new();
        let (cache, in_use) = meter::kept(|| {
            let cache = SessionCache::new(ByteSize::mib(8), &metrics);
            for n in 0..2_000 {
                let user_id = OwnedUserId::try_from(format!("@shokuin{n}:kanazawa.example.jp")).unwrap();
                let session = Session {
                    user_id,
                    device_id: "ABCDEFGHIJ".into(),
                    admin: false,
                    guest: false,
                    moderation: Moderation::default(),
                    expires: None,
                    is_expired: false,
                    service: None,
                    barred: None,
                };
                let entry = Entry {
                    session,
                    ends: None,
                    seen: Seen::default(),
                    up_to: UpTo::new(store::Position(1)),
                    is_by_service: false,
                    shown: Mutex::default(),
                };
                cache.entries.insert(tokens::hash(&n.to_string()), Arc::new(entry));
            }
            cache
        });
        meter::assert_charged("sessions", cache.entries.bytes(), in_use);
    }
}
