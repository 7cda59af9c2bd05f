//! Sign-outs at a provider, of which it tells by a logout token.
//!
//! First what it has ended is noted, then what has come of that so far is looked up and ends: no session can be made of
//! an older login between the two, as whoever makes one demands that nothing is noted. In the batch with which the last one
//! ends, the token is spent; so a crash between leaves a token that is good still, and nobody is told that all is done.

use std::collections::{BTreeMap, BTreeSet};

use audit::{Action, Actor, Deed};
use base::{Address, Attempts};
use ruma::{ServerName, UserId};
use store::{Batch, Order, Range, Table, Value};

use crate::{
    Accounts, Error, ProviderLogin,
    browsers::delete_browser,
    failures::Attempt,
    identities::shortened,
    provider_tables::{Called, ENDED, LOGINS, LOGINS_CALLED, Name, SPENT, SessionName},
    sessions::parse_user,
    tables::{self, TokenHash},
};

/// Sessions that end in one batch.
const AT_ONCE: usize = 200;
/// Rows that a batch removes at once.
const SWEPT_AT_ONCE: usize = 1_000;
/// How long it is remembered what a provider has ended, in milliseconds: longer than anything half done is worth
/// something (an attempt at the provider, then the code of a device: a quarter of an hour each).
const REMEMBERED: u64 = 60 * 60 * 1_000;

/// What a provider says of a sign-out there.
#[derive(Clone, Copy)]
pub struct ProviderSignOut<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// Of whom, by its `sub`. Without a login: in all of his.
    pub subject: Option<&'a str>,
    /// Of which login (`sid`), and of no other.
    pub session: Option<&'a str>,
    /// The id of the token that says so (`jti`).
    pub token: &'a str,
    /// Until when a token of this id might be accepted, in milliseconds since 1970.
    pub until_ms: u64,
}

impl ProviderSignOut<'_> {
    /// What has ended.
    fn names(&self) -> Vec<Called> {
        let names = match (self.subject, self.session) {
            (subject, Some(session)) => {
                // A login that we were told no name of may be this one.
                let unnamed = subject.map(Name::PersonInUnnamed);
                [Name::Login(session)].into_iter().chain(unnamed).collect()
            }
            (Some(subject), None) => vec![Name::Person(subject)],
            (None, None) => Vec::new(),
        };
        names.into_iter().map(|name| name.hash(self.issuer)).collect()
    }
}

impl std::fmt::Debug for ProviderSignOut<'_> {
    /// What people are called does not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderSignOut").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Sessions that ended logins have led to, by user.
#[derive(Default)]
struct Found {
    sessions: BTreeMap<String, BTreeSet<String>>,
    /// Whether there may be more.
    has_more: bool,
}

impl Accounts {
    /// Ends what has come of a login at the provider of an authority, or of all of somebody's: sessions of devices with
    /// their tokens and pushers, browsers, and whatever is half done. All of it is on disk when this returns. How many sessions;
    /// `None` for a token that was acted on before, which changes nothing.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`]; then the token is good for another try.
    pub async fn end_provider_logins(
        &self,
        authority: &ServerName,
        told: &ProviderSignOut<'_>,
        from: Option<Address>,
    ) -> Result<Option<usize>, Error> {
        let spent = Name::Token(told.token).hash(told.issuer);
        let spent = (authority.as_str(), spent);
        if self.inner.store.get(&SPENT, &spent).await?.is_some() {
            return Ok(None);
        }
        let names = told.names();
        let mut batch = Batch::new();
        let slot = batch.mark([]);
        for called in &names {
            batch.put_stamped(&ENDED, &(authority.as_str(), *called), slot, &self.now_ms());
        }
        self.commit(batch).await?;

        let by = Actor::source(shortened(told.issuer), from);
        let (mut count, mut attempts) = (0, Attempts::default());
        loop {
            let found = self.come_of(authority, &names, told).await?;
            let mut batch = Batch::new();
            let (ended, tokens) = self.put_sign_out(&mut batch, authority, told, &found, &by).await?;
            if !found.has_more {
                batch.insert(&SPENT, &spent, &told.until_ms);
            }
            match self.commit(batch).await {
                Err(Error::Contended) => {
                    if self.inner.store.get(&SPENT, &spent).await?.is_some() {
                        return Ok(None);
                    }
                    self.again(&mut attempts).await?;
                    continue;
                }
                done => done?,
            }
            self.forget_tokens(&tokens);
            count += ended;
            if !found.has_more {
                break;
            }
        }
        let counts = &self.inner.provider_sign_outs;
        counts.taken.inc();
        counts.ended.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        tracing::info!(%authority, issuer = told.issuer, count, "somebody signed out at the identity provider");
        Ok(Some(count))
    }

    /// Sessions that have come of what ends.
    async fn come_of(
        &self,
        authority: &ServerName,
        names: &[Called],
        told: &ProviderSignOut<'_>,
    ) -> Result<Found, Error> {
        let (store, mut found, mut keys) = (&self.inner.store, Found::default(), Vec::new());
        for called in names {
            let range = Range::prefix(&(authority.as_str(), *called));
            let rows = store.scan(&LOGINS_CALLED, range, Order::Ascending, AT_ONCE).await?;
            found.has_more |= rows.len() == AT_ONCE;
            keys.extend(rows.into_iter().map(|((_, _, user, session), ())| (user, session)));
        }
        let logins = store.get_many(&LOGINS, &keys).await?;
        for ((user, session), login) in keys.into_iter().zip(logins) {
            // Where both are told, both have to fit.
            let is_of = |login: &ProviderLogin| told.subject.is_none_or(|told| told == login.subject);
            if login.as_ref().is_some_and(is_of) {
                found.sessions.entry(user).or_default().insert(session);
            }
        }
        // Those of somebody else stay in their list, which would else be read for ever.
        found.has_more &= !found.sessions.is_empty();
        Ok(found)
    }

    /// Adds to a batch that these sessions end, with a row of the audit log for each user; one where there are none. How many
    /// they are, and the tokens that end with them.
    async fn put_sign_out(
        &self,
        batch: &mut Batch,
        authority: &ServerName,
        told: &ProviderSignOut<'_>,
        found: &Found,
        by: &Actor,
    ) -> Result<(usize, Vec<TokenHash>), Error> {
        let (mut count, mut tokens) = (0, Vec::new());
        let deed = |whom: &str| {
            Deed::new(Action::SignOutAtProvider, by, whom, self.inner.clock.now())
                .after("of", if told.session.is_some() { "login" } else { "person" })
        };
        for (user, sessions) in &found.sessions {
            let user = parse_user(user)?;
            let is_device = |device: &str| sessions.contains(&SessionName::Device(device).key());
            let ended = self.end_devices(batch, &user, is_device).await?;
            let browsers = self.put_some_browsers_end(batch, &user, sessions).await?;
            self.put_no_logins(batch, &user, |session| sessions.contains(session)).await?;
            deed(user.as_str())
                .before("devices", ended.names())
                .before("browsers", browsers.to_string())
                .write(batch, authority);
            count += ended.devices.len() + browsers;
            tokens.extend(ended.tokens);
        }
        if found.sessions.is_empty() {
            deed("").before("devices", "").write(batch, authority);
        }
        Ok((count, tokens))
    }

    /// Adds to a batch that some browsers of a user are signed in no more; how many.
    async fn put_some_browsers_end(
        &self,
        batch: &mut Batch,
        user: &UserId,
        sessions: &BTreeSet<String>,
    ) -> Result<usize, Error> {
        let mut count = 0;
        for (hash, _) in self.browsers_of(user).await? {
            if sessions.contains(&SessionName::Browser(&hash).key()) {
                delete_browser(batch, user.as_str(), hash);
                count += 1;
            }
        }
        if count > 0 {
            // Nor holds what was agreed to in one.
            batch.delete(&tables::RESETS, user.as_str());
        }
        Ok(count)
    }

    /// Counts a logout token that was not accepted, for the audit log; `reason` is a word that never changes.
    pub fn note_refused_sign_out(&self, authority: &ServerName, from: Option<Address>, reason: &'static str) {
        self.inner.provider_sign_outs.refused.inc();
        let (what, by) = (Action::SignOutRefused, Actor::stranger(from));
        self.note_failure(Attempt { authority: authority.to_owned(), what, by, whom: None, reason });
    }

    /// Forgets what providers ended long ago, and tokens whose time is over.
    pub(crate) async fn sweep_provider_sign_outs(&self) -> Result<(), Error> {
        let now = self.now_ms();
        self.sweep(&ENDED, |ended| ended.value.saturating_add(REMEMBERED) <= now).await?;
        self.sweep(&SPENT, |until| *until <= now).await
    }

    async fn sweep<V: Value>(
        &self,
        table: &Table<(String, Called), V>,
        is_over: impl Fn(&V) -> bool,
    ) -> Result<(), Error> {
        let rows = self.inner.store.scan(table, Range::all(), Order::Ascending, usize::MAX).await?;
        let over: Vec<_> = rows.into_iter().filter(|(_, row)| is_over(row)).map(|(key, _)| key).collect();
        for some in over.chunks(SWEPT_AT_ONCE) {
            let mut batch = Batch::new();
            some.iter().for_each(|key| batch.delete(table, key));
            self.commit(batch).await?;
        }
        Ok(())
    }
}
