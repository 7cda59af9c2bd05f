//! The crate's one handle and what its verbs share.

use std::sync::{Arc, OnceLock, atomic::AtomicU32};

use audit::{Action, Actor, Deed};
use base::{Attempts, Clock, Metrics, Random, Tasks};
use engine::Engine;
use mail::Mails;
use parking_lot::RwLock;
use room::Rooms;
use ruma::{ServerName, UserId};
use store::Store;

use crate::{
    Config, DeviceEnds, Error, Presence, Settings,
    chores::Working,
    failures::Failures,
    guesses::{Guesses, of_codes},
    invite_rules::AsTheySay,
    mail_rates::MailRates,
    nonces::Nonces,
    password::Passwords,
    refusals::Refusals,
    seen::SeenNotes,
    sessions::SessionCache,
    sign_out_counts::SignOutCounts,
    tables::{self, Seed},
};

/// The accounts of all authorities of this process. Cheap to clone; its verbs are spread over the
/// files of this crate by subject.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) rooms: Rooms,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    pub(crate) passwords: Passwords,
    pub(crate) sessions: SessionCache,
    pub(crate) provider_sign_outs: SignOutCounts,
    pub(crate) guesses: Guesses,
    /// The same of second factors.
    pub(crate) code_guesses: Guesses,
    pub(crate) failures: Failures,
    pub(crate) refusals: Refusals,
    pub(crate) nonces: Nonces,
    pub(crate) seen_notes: SeenNotes,
    pub(crate) working: Working,
    pub(crate) presence: Presence,
    /// Rooms of server notices are made one after the other.
    pub(crate) making_notices: tokio::sync::Mutex<()>,
    /// Held by who makes a guest, from counting the others on.
    pub(crate) making_guests: tokio::sync::Mutex<()>,
    /// What refresh tokens are marked with.
    pub(crate) token_key: Seed,
    /// Who else keeps something that goes with devices.
    pub(crate) device_ends: RwLock<Vec<Arc<dyn DeviceEnds>>>,
    /// Sessions of user-interactive authentication that were begun.
    pub(crate) interactive_begun: AtomicU32,
    /// What sends mails, once that is known.
    pub(crate) mails: OnceLock<Mails>,
    pub(crate) mail_rates: MailRates,
}

impl Accounts {
    /// Opens the accounts in a store, starts the task that writes when devices were last seen and which
    /// attempts failed, and takes up what was left to do in rooms at the last stop.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] when the password cost cannot be used, [`Error::Store`].
    pub async fn open(
        store: Store,
        engine: Engine,
        config: Config,
        clock: Clock,
        random: Random,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let passwords = Passwords::new(config.password, &random, tasks)?;
        let guesses = Guesses::new(config.guesses, &clock);
        let code_guesses = Guesses::new(config.guesses.map(|_| of_codes()), &clock);
        let failures = Failures::new(&clock);
        let refusals = Refusals::new(&clock);
        let mail_rates = MailRates::new(&clock);
        let sessions = SessionCache::new(config.memory, metrics);
        let presence = match config.presence {
            Some(config) => Presence::open(config, &store, engine.rooms(), &clock, &random, tasks),
            None => Presence::off(),
        };
        let token_key = token_key(&store, &random).await?;
        engine.ask_before_invites(Arc::new(AsTheySay(store.clone())));
        let accounts = Self {
            inner: Arc::new(Inner {
                store,
                rooms: engine.rooms().clone(),
                engine,
                config,
                clock,
                random,
                token_key,
                tasks: tasks.clone(),
                passwords,
                sessions,
                provider_sign_outs: SignOutCounts::new(metrics),
                guesses,
                code_guesses,
                failures,
                refusals,
                nonces: Nonces::new(),
                seen_notes: SeenNotes::default(),
                working: Working::default(),
                presence,
                making_notices: tokio::sync::Mutex::default(),
                making_guests: tokio::sync::Mutex::default(),
                device_ends: RwLock::default(),
                interactive_begun: AtomicU32::new(0),
                mails: OnceLock::new(),
                mail_rates,
            }),
        };
        accounts.start_writing_notes();
        accounts.start_sweeping_tokens();
        accounts.start_seeing_to_guests();
        accounts.resume_chores().await?;
        Ok(accounts)
    }

    /// The settings of an authority's accounts.
    pub fn settings(&self, authority: &ServerName) -> &Settings {
        self.inner.config.settings(authority)
    }

    /// Who is there.
    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// A deed at this moment, for the audit log.
    pub(crate) fn deed(&self, what: Action, by: &Actor, whom: &UserId) -> Deed {
        Deed::new(what, by, whom.as_str(), self.inner.clock.now())
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.clock.now().millis()
    }

    /// Counts another try of a change that others raced with.
    pub(crate) async fn again(&self, attempts: &mut Attempts) -> Result<(), Error> {
        match attempts.again(&self.inner.random).await {
            true => Ok(()),
            false => Err(Error::Contended),
        }
    }
}

/// What refresh tokens are marked with: the same in every process over a store, and for ever.
async fn token_key(store: &Store, random: &Random) -> Result<Seed, Error> {
    loop {
        if let Some(kept) = store.get(&tables::TOKEN_KEY, "").await? {
            return kept
                .as_ref()
                .try_into()
                .map_err(|_| Error::InvalidParam("the key of tokens is damaged".to_owned()));
        }
        let mut key = Seed::default();
        random.fill(&mut key);
        let mut batch = store::Batch::new();
        batch.insert(&tables::TOKEN_KEY, "", &bytes::Bytes::copy_from_slice(&key));
        match store.commit(batch).await {
            // Another process was faster, or it is not known: look.
            Ok(_) | Err(store::CommitError::Conflict { .. } | store::CommitError::Unknown) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
