//! All factors of an account as a value, and what is done to them.

use std::time::Duration;

use base::{Address, Random, Timestamp};
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, Found, Order, Range, Reads, Store, Ticket};
use subtle::ConstantTimeEq;

use crate::{
    codes::{self, CODES, Hash},
    error::{BadName, Refused},
    passkey::{self, Asserted, Challenge, Made, Party},
    tables::{ANSWERED, AppRow, CREDENTIALS, FACTORS, FactorsRow, HandedRow, PasskeyRow, SECRET, Secret},
    totp::{self, Judged, step_of},
};

/// Authenticator apps of an account.
pub const MOST_APPS: usize = 5;

/// Passkeys of an account.
pub const MOST_PASSKEYS: usize = 10;

/// Longest name of a factor, in letters.
const LONGEST_NAME: usize = 64;

/// Answered challenges of a user that are looked at; whoever signs in so often within minutes has none to answer twice.
const MOST_ANSWERED: usize = 1_000;

/// How long the code of a recovery is good.
const HANDED_FOR: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// What an account is asked for beside its password, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Factors {
    user: OwnedUserId,
    stored: Option<FactorsRow>,
}

impl std::fmt::Debug for Factors {
    /// Secrets do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factors").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Factors that are being read together with other rows.
pub struct Shown(OwnedUserId, Ticket<FactorsRow>);

/// What kind of factor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An authenticator app.
    App,
    /// A passkey.
    Passkey,
}

impl Kind {
    /// The word for rows of the audit log, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::App => "totp",
            Self::Passkey => "passkey",
        }
    }
}

/// One factor, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Its number.
    pub id: u32,
    /// Its kind.
    pub kind: Kind,
    /// What its owner calls it.
    pub name: String,
    /// When it was set up.
    pub added: Timestamp,
}

/// By what somebody was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// A code of an authenticator app.
    App,
    /// A passkey, by somebody whom its authenticator has verified.
    Passkey,
    /// A code for once of his own.
    Code,
    /// The code of a recovery: he is to set up a factor now, and the code stays good until he has.
    Handed,
}

impl Used {
    /// The word for rows of the audit log, which never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::App => "totp",
            Self::Passkey => "passkey",
            Self::Code => "recovery_code",
            Self::Handed => "recovery",
        }
    }
}

/// Another state of an account's factors, worth something once a batch with it is committed.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "nothing has changed before it is in a batch"]
pub struct Change {
    user: OwnedUserId,
    before: Option<FactorsRow>,
    after: FactorsRow,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Places that are remembered of an account.
const MOST_PLACES: usize = 5;

/// What is kept of a place: enough to know it again, and nothing that tells where it is.
fn place_of(user: &UserId, address: Address) -> u64 {
    let hash = passkey::hash_of(format!("{user} at {}", address.written()).as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = hash;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Change {
    /// The same by an owner who is at this address: it is known from then on.
    pub fn shown_at(mut self, address: Option<Address>) -> Self {
        if let Some(address) = address {
            let place = place_of(&self.user, address);
            self.after.places.retain(|known| *known != place);
            self.after.places.insert(0, place);
            self.after.places.truncate(MOST_PLACES);
        }
        self
    }

    /// Whether no passkey that it adds is another account's of the authority.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_free(&self, store: &Store) -> Result<bool, store::Error> {
        let authority = self.user.server_name().as_str();
        let keys: Vec<_> =
            self.after.passkeys.iter().map(|one| (authority, passkey::hash_of(&one.credential))).collect();
        let owners = store.get_many(&CREDENTIALS, &keys).await?;
        Ok(owners.into_iter().flatten().all(|owner| owner == self.user.as_str()))
    }

    /// Adds it to a batch, which fails where the factors are not those that were read.
    pub fn put(&self, batch: &mut Batch) {
        match &self.before {
            None => batch.insert(&FACTORS, self.user.as_str(), &self.after),
            Some(before) => batch.replace(&FACTORS, self.user.as_str(), before, &self.after),
        };
        let key = |passkey: &PasskeyRow| passkey::hash_of(&passkey.credential);
        let authority = self.user.server_name().as_str();
        let before = self.before.as_ref().map(|row| row.passkeys.as_slice()).unwrap_or_default();
        let is_in =
            |all: &[PasskeyRow], one: &PasskeyRow| all.iter().any(|it| it.credential == one.credential);
        for gone in before.iter().filter(|passkey| !is_in(&self.after.passkeys, passkey)) {
            batch.delete(&CREDENTIALS, &(authority, key(gone)));
        }
        for new in self.after.passkeys.iter().filter(|passkey| !is_in(before, passkey)) {
            batch.insert(&CREDENTIALS, &(authority, key(new)), &self.user.to_string());
        }
    }
}

/// Why a code is not taken, and what is to be kept of that, if anything.
pub type NotTaken = (Refused, Option<Box<Change>>);

impl Shown {
    /// Asks for a user's factors among other rows.
    pub fn ask(reads: &mut Reads, user: &UserId) -> Self {
        Self(user.to_owned(), reads.get(&FACTORS, user.as_str()))
    }

    /// Takes them.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub fn take(self, found: &mut Found) -> Result<Factors, store::Error> {
        Ok(Factors { user: self.0, stored: found.take(self.1)? })
    }
}

/// Whose passkey this is at an authority.
///
/// # Errors
/// When the store cannot be read.
pub async fn find_owner(
    store: &Store,
    authority: &ServerName,
    credential: &[u8],
) -> Result<Option<OwnedUserId>, store::Error> {
    let owner = store.get(&CREDENTIALS, &(authority.as_str(), passkey::hash_of(credential))).await?;
    Ok(owner.and_then(|owner| OwnedUserId::try_from(owner).ok()))
}

/// Adds to a batch that a user's passkey has answered a challenge, which no passkey of his answers again; whether none had. What
/// was answered `too_old` milliseconds ago is forgotten with it: such challenges are taken from nobody.
///
/// # Errors
/// When the store cannot be read.
pub async fn put_answered(
    store: &Store,
    batch: &mut Batch,
    (user, challenge): (&UserId, &Challenge),
    (now, too_old): (Timestamp, u64),
) -> Result<bool, store::Error> {
    let hash = passkey::hash_of(challenge);
    let range = Range::prefix(user.as_str());
    for ((_, other), at_ms) in store.scan(&ANSWERED, range, Order::Ascending, MOST_ANSWERED).await? {
        if other == hash {
            return Ok(false);
        }
        // In either direction: a calendar may be set back.
        if now.millis().abs_diff(at_ms) >= too_old {
            batch.delete(&ANSWERED, &(user.as_str(), other));
        }
    }
    batch.insert(&ANSWERED, &(user.as_str(), hash), &now.millis());
    Ok(true)
}

fn handed_for() -> u64 {
    u64::try_from(HANDED_FOR.as_millis()).unwrap_or(u64::MAX)
}

impl Factors {
    /// Reads a user's factors.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read(store: &Store, user: &UserId) -> Result<Self, store::Error> {
        let stored = store.get(&FACTORS, user.as_str()).await?;
        Ok(Self { user: user.to_owned(), stored })
    }

    /// Adds to a batch that there are none, and never were any: the account is closed.
    pub fn put_none(&self, batch: &mut Batch) {
        for passkey in self.stored.iter().flat_map(|row| &row.passkeys) {
            let key = (self.user.server_name().as_str(), passkey::hash_of(&passkey.credential));
            batch.delete(&CREDENTIALS, &key);
        }
        batch.delete(&FACTORS, self.user.as_str());
        batch.delete_prefix(&ANSWERED, self.user.as_str());
        crate::recoveries::put_no_recovery(batch, &self.user, None);
    }

    /// Demands in a batch that they are as they were read.
    pub fn require(&self, batch: &mut Batch) {
        batch.require(&FACTORS, self.user.as_str(), self.stored.as_ref());
    }

    /// Whether there is something to ask for. An account that was recovered is asked for the code of that, also once its time
    /// is over: then it wants another recovery.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.has_one() || self.is_recovered()
    }

    /// Whether the owner has a factor of his own.
    #[must_use]
    pub fn has_one(&self) -> bool {
        self.stored.as_ref().is_some_and(|row| row.count() > 0)
    }

    /// Whether an authenticator app is among them.
    #[must_use]
    pub fn has_app(&self) -> bool {
        self.stored.as_ref().is_some_and(|row| !row.apps.is_empty())
    }

    /// What the owner's passkeys are called between authenticators and us.
    #[must_use]
    pub fn credentials(&self) -> Vec<Vec<u8>> {
        let passkeys = self.stored.iter().flat_map(|row| &row.passkeys);
        passkeys.map(|passkey| passkey.credential.clone()).collect()
    }

    /// Whether the owner is to show the code of a recovery.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.stored.as_ref().is_some_and(|row| row.handed.is_some())
    }

    /// Whether the owner showed a factor at this address, among the last places where that was.
    #[must_use]
    pub fn were_shown_at(&self, address: Address) -> bool {
        let place = place_of(&self.user, address);
        self.stored.as_ref().is_some_and(|row| row.places.contains(&place))
    }

    /// How often the account was recovered.
    #[must_use]
    pub fn recoveries(&self) -> u32 {
        self.stored.as_ref().map_or(0, |row| row.recovered)
    }

    /// Codes for once that were not used yet.
    #[must_use]
    pub fn codes_left(&self) -> usize {
        self.stored.as_ref().map_or(0, |row| row.codes.len())
    }

    /// Each of them, as they were set up.
    #[must_use]
    pub fn list(&self) -> Vec<Factor> {
        let apps = self.stored.iter().flat_map(|row| &row.apps);
        let apps = apps.map(|app| Factor {
            id: app.id,
            kind: Kind::App,
            name: app.name.clone(),
            added: Timestamp(app.added_ms),
        });
        let passkeys = self.stored.iter().flat_map(|row| &row.passkeys);
        let passkeys = passkeys.map(|passkey| Factor {
            id: passkey.id,
            kind: Kind::Passkey,
            name: passkey.name.clone(),
            added: Timestamp(passkey.added_ms),
        });
        apps.chain(passkeys).collect()
    }

    /// Judges a code that somebody typed: of an app, for once, or of a recovery. What comes of it is to be in the batch that
    /// lets him in.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn try_code(&self, typed: &str, now: Timestamp) -> Result<(Used, Change), NotTaken> {
        let row = self.row();
        let code = codes::plain(typed);
        if totp::is_code(&code) {
            return self.try_app(row, &code, step_of(now.millis()));
        }
        if !codes::is_code(&code) {
            return Err((Refused::Wrong, None));
        }
        let hash = codes::hash(&self.user, &code);
        let is_it = |kept: &Hash| -> bool { kept.ct_eq(&hash).into() };
        if let Some(handed) = row.handed.as_ref().filter(|handed| is_it(&handed.code)) {
            // In either direction: a calendar that was set back must not keep a code for years.
            let left = handed.until_ms.checked_sub(now.millis());
            return match left.is_some_and(|left| left > 0 && left <= handed_for()) {
                true => Ok((Used::Handed, self.to(row))),
                false => Err((Refused::Over, None)),
            };
        }
        match row.codes.iter().position(is_it) {
            Some(place) => {
                let mut after = row;
                after.codes.remove(place);
                Ok((Used::Code, self.to(after)))
            }
            None => Err((Refused::Wrong, None)),
        }
    }

    fn try_app(&self, row: FactorsRow, code: &str, now: u64) -> Result<(Used, Change), NotTaken> {
        let with = |place: usize, app: AppRow| {
            let mut after = row.clone();
            if let Some(kept) = after.apps.get_mut(place) {
                *kept = app;
            }
            self.to(after)
        };
        let mut refused = (Refused::Wrong, None);
        for (place, app) in row.apps.iter().enumerate() {
            match app.judge(code, now) {
                Judged::Right(app) => return Ok((Used::App, with(place, app))),
                Judged::Again if refused.1.is_none() => refused = (Refused::Again, None),
                Judged::Off(app) => refused = (Refused::Off, Some(Box::new(with(place, app)))),
                Judged::Again | Judged::Wrong => {}
            }
        }
        Err(refused)
    }

    /// Whether codes were taken that are ahead of this moment: the clock was set back since.
    #[must_use]
    pub fn are_ahead_of(&self, now: Timestamp) -> bool {
        let now = step_of(now.millis());
        self.stored.iter().flat_map(|row| &row.apps).any(|app| app.is_ahead_of(now))
    }

    /// A secret for an app that is to be set up; nothing is kept of it before a code of it was shown.
    #[must_use]
    pub fn new_secret(random: &Random) -> Secret {
        let mut secret = [0; SECRET];
        random.fill(&mut secret);
        secret
    }

    /// Sets up an authenticator app of which a code was shown, and what an earlier recovery has handed over is worth nothing
    /// any more. With the first factor come codes for once, to be shown once.
    ///
    /// # Errors
    /// [`Refused::Wrong`], [`Refused::TooMany`].
    pub fn with_app(
        &self,
        name: &str,
        secret: &Secret,
        typed: &str,
        now: Timestamp,
        random: &Random,
    ) -> Result<(Change, Vec<String>), Refused> {
        let mut after = self.row();
        if after.apps.len() >= MOST_APPS {
            return Err(Refused::TooMany);
        }
        let code = codes::plain(typed);
        let confirmed = totp::is_code(&code).then(|| totp::confirmed(secret, &code, step_of(now.millis())));
        let (last_step, drift) = confirmed.flatten().ok_or(Refused::Wrong)?;
        let is_first = after.count() == 0;
        after.apps.push(AppRow {
            id: after.next,
            name: name.to_owned(),
            added_ms: now.millis(),
            secret: *secret,
            last_step,
            drift,
            expected_after: None,
        });
        after.next = after.next.wrapping_add(1);
        after.handed = None;
        let shown = if is_first { self.new_codes(&mut after, random) } else { Vec::new() };
        Ok((self.to(after), shown))
    }

    /// Takes what an authenticator has made of a challenge as a passkey, with the name. What an earlier recovery has handed over is
    /// worth nothing any more. With the first factor come codes for once, to be shown once.
    ///
    /// # Errors
    /// [`Refused::Wrong`], [`Refused::Known`] for one that there is, [`Refused::TooMany`].
    pub fn with_passkey(
        &self,
        name: &str,
        (party, challenge): (&Party, &Challenge),
        made: &Made<'_>,
        now: Timestamp,
        random: &Random,
    ) -> Result<(Change, Vec<String>), Refused> {
        let mut after = self.row();
        if after.passkeys.len() >= MOST_PASSKEYS {
            return Err(Refused::TooMany);
        }
        let new = passkey::made(party, challenge, made)?;
        if after.passkeys.iter().any(|passkey| passkey.credential == new.credential) {
            return Err(Refused::Known);
        }
        let is_first = after.count() == 0;
        after.passkeys.push(PasskeyRow {
            id: after.next,
            name: name.to_owned(),
            added_ms: now.millis(),
            credential: new.credential,
            key: new.key,
            counter: new.counter,
            copied: new.copied,
        });
        after.next = after.next.wrapping_add(1);
        after.handed = None;
        let shown = if is_first { self.new_codes(&mut after, random) } else { Vec::new() };
        Ok((self.to(after), shown))
    }

    /// Judges what a passkey has signed of a challenge. What comes of it is to be in the batch that lets its owner in.
    ///
    /// # Errors
    /// [`Refused::Wrong`], [`Refused::Copied`].
    pub fn try_passkey(
        &self,
        (party, challenge): (&Party, &Challenge),
        shown: &Asserted<'_>,
    ) -> Result<Change, Refused> {
        let mut after = self.row();
        let passkey = after.passkeys.iter_mut().find(|passkey| passkey.credential == shown.credential);
        let passkey = passkey.ok_or(Refused::Wrong)?;
        if shown.user_handle.is_some_and(|handle| handle != passkey::handle_of(&self.user)) {
            return Err(Refused::Wrong);
        }
        passkey.counter = passkey::asserted(passkey, party, challenge, shown)?;
        Ok(self.to(after))
    }

    /// Other codes for once in the place of all that there are.
    ///
    /// # Errors
    /// [`Refused::NotFound`] where there is no factor beside which they could be used.
    pub fn with_new_codes(&self, random: &Random) -> Result<(Change, Vec<String>), Refused> {
        if !self.has_one() {
            return Err(Refused::NotFound);
        }
        let mut after = self.row();
        let shown = self.new_codes(&mut after, random);
        Ok((self.to(after), shown))
    }

    fn new_codes(&self, row: &mut FactorsRow, random: &Random) -> Vec<String> {
        let shown: Vec<String> = (0..CODES).map(|_| codes::new_code(random)).collect();
        row.codes = shown.iter().map(|code| codes::hash(&self.user, code)).collect();
        shown
    }

    /// With another name for one of them.
    ///
    /// # Errors
    /// [`Refused::NotFound`].
    pub fn renamed(&self, id: u32, name: &str) -> Result<Change, Refused> {
        let mut after = self.row();
        let apps = after.apps.iter_mut().map(|app| (app.id, &mut app.name));
        let passkeys = after.passkeys.iter_mut().map(|passkey| (passkey.id, &mut passkey.name));
        let (_, kept) = apps.chain(passkeys).find(|(known, _)| *known == id).ok_or(Refused::NotFound)?;
        name.clone_into(kept);
        Ok(self.to(after))
    }

    /// Without one of them, and what that was called. With the last one the codes for once go as well.
    ///
    /// # Errors
    /// [`Refused::NotFound`].
    pub fn without(&self, id: u32) -> Result<(Change, Factor), Refused> {
        let removed = self.list().into_iter().find(|factor| factor.id == id).ok_or(Refused::NotFound)?;
        let mut after = self.row();
        after.apps.retain(|app| app.id != id);
        after.passkeys.retain(|passkey| passkey.id != id);
        if after.count() == 0 {
            after.codes.clear();
        }
        Ok((self.to(after), removed))
    }

    /// A recovery: nothing of all that was is good any more, but a code that is to be handed over, with which the owner comes
    /// in to set up a factor anew. The code, to be shown once.
    pub fn recovered(&self, now: Timestamp, random: &Random) -> (Change, String) {
        let before = self.row();
        let code = codes::new_code(random);
        let until_ms = now.millis().saturating_add(handed_for());
        let after = FactorsRow {
            next: before.next,
            recovered: before.recovered.wrapping_add(1),
            apps: Vec::new(),
            passkeys: Vec::new(),
            codes: Vec::new(),
            places: Vec::new(),
            handed: Some(HandedRow { code: codes::hash(&self.user, &code), until_ms }),
        };
        (self.to(after), code)
    }

    /// A name for a factor, without what is around it.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn name(typed: &str) -> Result<String, BadName> {
        let name = typed.trim();
        let is_good =
            (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if is_good { Ok(name.to_owned()) } else { Err(BadName) }
    }

    fn row(&self) -> FactorsRow {
        self.stored.clone().unwrap_or_default()
    }

    fn to(&self, after: FactorsRow) -> Change {
        Change { user: self.user.clone(), before: self.stored.clone(), after }
    }
}
