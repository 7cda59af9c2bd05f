//! Sessions of user-interactive authentication: what somebody began to ask for.
//!
//! The first answer to a request that needs proof names a session. It belongs to that request: to its
//! operation, to who asks, and to its parameters, which the client need not say again. One rule holds
//! for all such endpoints: a request in a session either repeats the session's parameters or leaves them
//! all out; another set is refused, so nothing is done that is a mixture of two requests or that another
//! request was meant for. A session without parameters takes those that come first.
//!
//! Sessions are rows, so that a restart or another process goes on with them. What a client said is sealed
//! with the session's id, which is not kept: a stolen store tells no password that somebody was about
//! to set. They run out, and both a user and the strangers who register at an authority have only so
//! many. Of a request only the parameters that its operation knows are kept and compared.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>

use std::{fmt, sync::atomic::Ordering::Relaxed, time::Duration};

use base::{Address, Attempts};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::Aead};
use ruma::api::client::uiaa::AuthData;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::{Batch, Order, Range};

use crate::{
    Accounts, Confirms, Error,
    tables::{self, DoneRow, InteractiveRow, RegisteredRow, TokenHash, millis},
    tokens,
};

/// How long a session lives.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Longest session id that is looked up; ours are shorter.
const LONGEST_ID: usize = 64;

/// Sessions of one user.
const MOST_OF_USER: usize = 16;

/// Sessions of those who register, at all authorities; the oldest go when there are more.
const MOST_OF_STRANGERS: usize = 10_000;

/// After so many new sessions, those that have run out are looked for.
const TIDY_EVERY: u32 = 256;

/// Largest request that a session keeps, of a user and of somebody who registers: there it holds a name, a
/// password and a device, and there are many sessions.
const LARGEST_REQUEST: usize = 16 << 10;
const LARGEST_OF_STRANGER: usize = 2 << 10;

/// Sessions that are read at a time, where all of them are: at most half a MiB.
const PAGE: usize = 32;

/// A request that needs user-interactive authentication.
#[derive(Default)]
pub struct Asked {
    /// What the client shows, if it shows something.
    pub auth: Option<AuthData>,
    /// The session that it names.
    pub session: Option<String>,
    /// The rest of the body.
    pub request: Map<String, Value>,
    /// Where the client is, if that is known.
    pub from: Option<Address>,
    /// What the client calls itself.
    pub agent: Option<String>,
}

impl fmt::Debug for Asked {
    /// Passwords do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

/// A request with what its session says.
pub(crate) struct Settled {
    pub(crate) owner: String,
    pub(crate) operation: String,
    pub(crate) session: Option<Session>,
    pub(crate) auth: Option<AuthData>,
    /// What is asked: in this request, or in the one that began the session.
    pub(crate) request: Map<String, Value>,
    /// Whether the request says itself what is asked.
    pub(crate) said: bool,
    /// Why what was shown does not count, though it may be good.
    pub(crate) lost: Option<&'static str>,
    /// Where the client is, if that is known.
    pub(crate) from: Option<Address>,
    /// What the client calls itself.
    pub(crate) agent: Option<String>,
}

/// A session that is known.
pub(crate) struct Session {
    id: String,
    row: InteractiveRow,
}

impl Session {
    pub(crate) fn registered(&self) -> Option<&RegisteredRow> {
        self.row.registered.as_ref()
    }
}

impl Settled {
    /// What its session has shown so far.
    pub(crate) fn done(&self) -> &[DoneRow] {
        self.session.as_ref().map_or(&[], |session| &session.row.done)
    }

    /// What is asked, as this type.
    ///
    /// # Errors
    /// [`Error::BadRequest`].
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(Value::Object(self.request.clone()))
            .map_err(|error| Error::BadRequest(error.to_string()))
    }

    /// Whether the client only looks what it would have to show.
    pub(crate) fn only_looks(&self) -> bool {
        self.request.is_empty() && self.auth.is_none()
    }

    /// Adds to a batch that the session is over.
    pub(crate) fn end(&self, batch: &mut Batch) {
        if let Some(session) = &self.session {
            batch.delete(&tables::INTERACTIVE, &(self.owner.as_str(), tokens::hash(&session.id)));
        }
    }

    /// Adds to a batch that the session has made this account; the batch fails if another request of
    /// the session was faster. From now on the session belongs to what was asked in the end.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(crate) fn note_registered(
        &self,
        batch: &mut Batch,
        registered: RegisteredRow,
        accounts: &Accounts,
    ) -> Result<(), Error> {
        if let Some(session) = &self.session {
            let key = (self.owner.as_str(), tokens::hash(&session.id));
            let mut noted = InteractiveRow { registered: Some(registered), ..session.row.clone() };
            if noted.request.is_empty() {
                noted.request = self.seal(&session.id, accounts)?;
            }
            batch.replace(&tables::INTERACTIVE, &key, &session.row, &noted);
        }
        Ok(())
    }

    /// What is asked, for the session's row: nothing for an empty request, so that each id seals once at most.
    fn seal(&self, id: &str, accounts: &Accounts) -> Result<Vec<u8>, Error> {
        if self.request.is_empty() {
            return Ok(Vec::new());
        }
        let text = serde_json::to_vec(&self.request).map_err(|error| Error::BadRequest(error.to_string()))?;
        let largest = if is_user(&self.owner) { LARGEST_REQUEST } else { LARGEST_OF_STRANGER };
        if text.len() > largest {
            return Err(Error::TooLarge("the request is too large"));
        }
        let mut nonce = [0; 12];
        accounts.inner.random.fill(&mut nonce);
        let sealed = cipher(id).encrypt(&nonce.into(), text.as_slice());
        let sealed = sealed.map_err(|_too_large| Error::TooLarge("the request is too large"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }
}

impl Accounts {
    /// Puts a request together with the session that it names. `owner` is the user who asks, or the
    /// authority that is asked by somebody who is no user yet; `known` are the parameters of the operation.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the session was begun for something else, [`Error::Store`].
    pub(crate) async fn settle(
        &self,
        owner: &str,
        operation: &str,
        known: &[&str],
        asked: Asked,
    ) -> Result<Settled, Error> {
        let Asked { auth, session: id, mut request, from, agent } = asked;
        request.retain(|name, _| known.contains(&name.as_str()));
        let (owner, operation) = (owner.to_owned(), operation.to_owned());
        let said = !request.is_empty();
        let mut settled =
            Settled { owner, operation, session: None, auth, request, said, lost: None, from, agent };
        let Some(id) = id else { return Ok(settled) };
        let Some(row) = self.find_interactive(&settled.owner, &id).await? else {
            settled.lost = Some("this session is over; begin again");
            return Ok(settled);
        };
        if row.operation != settled.operation {
            return Err(Error::Forbidden("this session was begun for another request"));
        }
        let kept = open(&id, &row.request);
        if settled.request.is_empty() {
            settled.request = kept;
        } else if !kept.is_empty() && kept != settled.request {
            return Err(Error::Forbidden("this session was begun with other parameters"));
        }
        settled.session = Some(Session { id, row });
        Ok(settled)
    }

    pub(crate) async fn find_interactive(
        &self,
        owner: &str,
        id: &str,
    ) -> Result<Option<InteractiveRow>, Error> {
        if id.is_empty() || id.len() > LONGEST_ID {
            return Ok(None);
        }
        let row = self.inner.store.get(&tables::INTERACTIVE, &(owner, tokens::hash(id))).await?;
        Ok(row.filter(|row| !self.is_over(row)))
    }

    /// The id of the request's session, which is kept now if it was not, with what is asked and what was shown.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    pub(crate) async fn keep_interactive(
        &self,
        settled: &Settled,
        done: &[DoneRow],
    ) -> Result<String, Error> {
        let Some(Session { id, row }) = &settled.session else {
            let id = new_id(&self.inner.random, &settled.owner, &settled.operation);
            let row = InteractiveRow {
                operation: settled.operation.clone(),
                request: settled.seal(&id, self)?,
                began_ms: self.now_ms(),
                registered: None,
                done: done.to_vec(),
            };
            let mut batch = Batch::new();
            self.make_room_for(&mut batch, &settled.owner).await?;
            batch.put(&tables::INTERACTIVE, &(settled.owner.as_str(), tokens::hash(&id)), &row);
            self.commit(batch).await?;
            return Ok(id);
        };
        let mut row = row.clone();
        let mut attempts = Attempts::default();
        loop {
            let mut kept = row.clone();
            if kept.request.is_empty() && !settled.request.is_empty() {
                kept.request = settled.seal(id, self)?;
            }
            add_done(&mut kept, done);
            if kept == row {
                return Ok(id.clone());
            }
            let mut batch = Batch::new();
            let key = (settled.owner.as_str(), tokens::hash(id));
            batch.replace(&tables::INTERACTIVE, &key, &row, &kept);
            match self.commit(batch).await {
                // Another request of the session was faster; what it asked holds, and what both have shown.
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| id.clone()),
            }
            match self.find_interactive(&settled.owner, id).await? {
                Some(newer) => row = newer,
                None => return Ok(id.clone()),
            }
        }
    }

    /// Adds to a session of this owner what was shown on a page of ours; whether there is such a session.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub(crate) async fn note_done(&self, owner: &str, id: &str, done: DoneRow) -> Result<bool, Error> {
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = self.find_interactive(owner, id).await? else { return Ok(false) };
            let mut kept = row.clone();
            add_done(&mut kept, std::slice::from_ref(&done));
            if kept == row {
                return Ok(true);
            }
            let mut batch = Batch::new();
            batch.replace(&tables::INTERACTIVE, &(owner, tokens::hash(id)), &row, &kept);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| true),
            }
        }
    }

    fn is_over(&self, row: &InteractiveRow) -> bool {
        // In either direction: a calendar that was set back must not keep a session for years.
        self.now_ms().abs_diff(row.began_ms) >= millis(LIFETIME)
    }

    /// Removes sessions that one more would be too many for.
    async fn make_room_for(&self, batch: &mut Batch, owner: &str) -> Result<(), Error> {
        if is_user(owner) {
            let (store, range) = (&self.inner.store, Range::prefix(owner));
            let rows = store.scan(&tables::INTERACTIVE, range, Order::Ascending, PAGE).await?;
            let sessions = rows.into_iter().map(|(key, row)| (row.began_ms, key)).collect();
            remove_oldest(batch, sessions, MOST_OF_USER - 1);
        }
        let count = self.inner.interactive_begun.fetch_add(1, Relaxed);
        if count.is_multiple_of(TIDY_EVERY) { self.tidy(batch).await } else { Ok(()) }
    }

    /// Removes the sessions that have run out, and the oldest of strangers when those are too many.
    async fn tidy(&self, batch: &mut Batch) -> Result<(), Error> {
        let mut of_strangers = Vec::new();
        let mut rest = Range::all();
        loop {
            let page = self.inner.store.scan(&tables::INTERACTIVE, rest, Order::Ascending, PAGE).await?;
            let next = page.get(PAGE - 1).map(|(last, _)| Range::all().after(last));
            for (key, row) in page {
                if self.is_over(&row) {
                    batch.delete(&tables::INTERACTIVE, &key);
                } else if !is_user(&key.0) {
                    of_strangers.push((row.began_ms, key));
                }
            }
            match next {
                Some(next) => rest = next,
                None => break,
            }
        }
        remove_oldest(batch, of_strangers, MOST_OF_STRANGERS);
        Ok(())
    }
}

/// Adds what was shown to a session: of each kind the newest.
fn add_done(row: &mut InteractiveRow, done: &[DoneRow]) {
    for new in done {
        row.done.retain(|old| std::mem::discriminant(old) != std::mem::discriminant(new));
        row.done.push(new.clone());
    }
}

/// A new id. That of a user's session begins with what it is for: a page that knows the id alone says so before it takes a
/// password. Nobody changes that part and has a session still.
fn new_id(random: &base::Random, owner: &str, operation: &str) -> String {
    let word = random.token(24);
    match Confirms::of_operation(operation).filter(|_| is_user(owner)) {
        Some(what) => format!("{}.{word}", what.word()),
        None => word,
    }
}

/// Whether sessions of this owner are a user's, and not those of strangers who register at an authority.
fn is_user(owner: &str) -> bool {
    owner.starts_with('@')
}

/// When a session was begun, and its key.
type Begun = (u64, (String, TokenHash));

fn remove_oldest(batch: &mut Batch, mut sessions: Vec<Begun>, most: usize) {
    let surplus = sessions.len().saturating_sub(most);
    sessions.sort_by_key(|(began_ms, _)| *began_ms);
    for (_, key) in sessions.iter().take(surplus) {
        batch.delete(&tables::INTERACTIVE, key);
    }
}

/// What a session keeps; nothing where its row does not fit its id.
fn open(id: &str, sealed: &[u8]) -> Map<String, Value> {
    let Some((nonce, sealed)) = sealed.split_first_chunk::<12>() else { return Map::new() };
    let text = cipher(id).decrypt(&(*nonce).into(), sealed);
    text.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn cipher(id: &str) -> ChaCha20Poly1305 {
    let mut key = Sha256::new_with_prefix(b"sealed with ");
    key.update(id.as_bytes());
    let key: [u8; 32] = key.finalize().into();
    ChaCha20Poly1305::new(&key.into())
}

impl Accounts {
    /// What tells a user's account from what it is after a change of the password, a recovery or its end.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn stamp(&self, user: &ruma::UserId) -> Result<[u8; 32], Error> {
        Ok(stamp_with(&self.get_user_row(user).await?, &self.factors(user).await?))
    }
}

/// What tells an account from what it is after a change of its row, after a recovery, or with a first factor: what was given
/// while nothing was asked for beside the password is worth nothing from then on.
pub(crate) fn stamp_with(user: &tables::UserRow, factors: &factor::Factors) -> [u8; 32] {
    let row = stamp_of(user, None, false);
    match (factors.recoveries(), factors.is_any()) {
        (0, false) => row,
        (times, is_any) => {
            let stamp = Sha256::new_with_prefix(row).chain_update(times.to_be_bytes());
            stamp.chain_update([u8::from(is_any)]).finalize().into()
        }
    }
}

/// What tells an account from what it is after a change of the password or its end, or after the device was signed
/// out; and whether the request that made it said what was asked, as its repetition has to.
pub(crate) fn stamp_of(user: &tables::UserRow, device: Option<&tables::DeviceRow>, said: bool) -> [u8; 32] {
    let mut stamp = Sha256::new_with_prefix([u8::from(said)]);
    stamp.update(store::Value::encode(user));
    if let Some(device) = device {
        stamp.update(store::Value::encode(device));
    }
    stamp.finalize().into()
}
