//! What is known of a provider, and asking it.
//!
//! Its metadata and keys are fetched when somebody signs in and they are old, once for all who wait, and never for each
//! request. If that fails, what is there is used on for a day, and the provider is not asked again for a while; so an
//! outage costs nobody more than a page that says so.

use std::{sync::Arc, time::Duration};

use base::{Backoff, Clock, Instant, Random};
use parking_lot::Mutex;

use crate::{
    Error, Question, Web,
    jws::{Keys, Unverified},
    metadata::{self, Metadata},
};

/// How old what is known may grow before it is fetched anew, and how old it may be if that fails.
const FRESH: Duration = Duration::from_secs(60 * 60);
const USABLE: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys are fetched for a token that names an unknown one at most so often.
const ROTATION: Duration = Duration::from_secs(30);
/// The same for a token that anybody may have brought: at first, and where such tokens have been of no use again and again.
const FIRST_FOR_STRANGERS: Duration = Duration::from_secs(60);
const LONGEST_FOR_STRANGERS: Duration = Duration::from_secs(10 * 60);
/// Such tokens that may wait for keys at once, and when whoever finds no place is to come back.
const MOST_STRANGERS: usize = 256;
const STRANGERS_COME_BACK: Duration = Duration::from_secs(5);
/// Questions that may be under way at once.
const MOST_QUESTIONS: usize = 128;
/// Pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// A provider.
pub(crate) struct Provider {
    issuer: String,
    web: Arc<dyn Web>,
    clock: Clock,
    random: Random,
    known: Mutex<Option<Known>>,
    /// How long it wished to be left alone when it failed last.
    wished: Mutex<Option<Duration>>,
    /// So many questions may be under way: whoever makes codes up makes us ask.
    places: tokio::sync::Semaphore,
    /// And so many strangers wait for what is asked.
    strangers: tokio::sync::Semaphore,
    /// Who holds it asks; the others wait for what he finds.
    asking: tokio::sync::Mutex<Asking>,
}

/// What a provider has told.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) metadata: Arc<Metadata>,
    keys: Arc<Keys>,
    at: Instant,
}

struct Asking {
    pauses: Backoff,
    not_before: Option<Instant>,
    keys_not_before: Option<Instant>,
    for_strangers: Backoff,
    strangers_not_before: Option<Instant>,
}

/// Who brings a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bringer {
    /// We, who have got it from the provider.
    We,
    /// Anybody.
    Anybody,
}

impl Provider {
    pub(crate) fn new(issuer: String, web: Arc<dyn Web>, clock: Clock, random: Random) -> Provider {
        let pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let asking = Asking {
            pauses,
            not_before: None,
            keys_not_before: None,
            for_strangers: Backoff::new(FIRST_FOR_STRANGERS, LONGEST_FOR_STRANGERS),
            strangers_not_before: None,
        };
        let (known, asking) = (Mutex::default(), tokio::sync::Mutex::new(asking));
        let places = tokio::sync::Semaphore::new(MOST_QUESTIONS);
        let strangers = tokio::sync::Semaphore::new(MOST_STRANGERS);
        Provider { issuer, web, clock, random, known, wished: Mutex::default(), places, strangers, asking }
    }

    fn known(&self, no_older_than: Duration) -> Option<Known> {
        let now = self.clock.instant();
        self.known.lock().clone().filter(|known| now.since(known.at) < no_older_than)
    }

    /// What the provider says of itself.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Untrusted`].
    pub(crate) async fn get(&self) -> Result<Known, Error> {
        if let Some(known) = self.known(FRESH) {
            return Ok(known);
        }
        let mut asking = self.asking.lock().await;
        if let Some(known) = self.known(FRESH) {
            return Ok(known);
        }
        let now = self.clock.instant();
        let failed = match asking.not_before.filter(|until| *until > now) {
            Some(_) => Error::Unavailable("it failed a moment ago and is not asked yet".to_owned()),
            None => match self.fetch().await {
                Ok(known) => {
                    asking.pauses.reset();
                    asking.not_before = None;
                    *self.known.lock() = Some(known.clone());
                    return Ok(known);
                }
                Err(error) => {
                    let wished = self.wished.lock().take().unwrap_or_default().min(LONGEST_PAUSE);
                    let pause = asking.pauses.next(&self.random).max(wished);
                    asking.not_before = Some(self.clock.instant() + pause);
                    tracing::warn!(issuer = self.issuer, %error, "the identity provider could not be asked");
                    error
                }
            },
        };
        self.known(USABLE).ok_or(failed)
    }

    /// The keys that may have signed a token: where it names one that is not known they are fetched anew, not too often.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Untrusted`].
    pub(crate) async fn keys_for(&self, token: &Unverified<'_>) -> Result<Arc<Keys>, Error> {
        self.keys_on_word_of(Bringer::We, token).await
    }

    /// The same for a token that anybody may have brought.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Unavailable`], [`Error::Untrusted`].
    pub(crate) async fn keys_for_stranger(&self, token: &Unverified<'_>) -> Result<Arc<Keys>, Error> {
        let busy = |_| Error::Busy { retry_after: STRANGERS_COME_BACK };
        let _place = self.strangers.try_acquire().map_err(busy)?;
        self.keys_on_word_of(Bringer::Anybody, token).await
    }

    /// The keys that are known, as long as they may be used; nobody is asked. They may be a day old, where nobody has signed in
    /// since: a key that the provider has taken back meanwhile ends sessions at worst.
    pub(crate) fn keys_at_hand(&self) -> Option<Arc<Keys>> {
        self.known(USABLE).map(|known| known.keys)
    }

    /// Whether the key that a token names was among its keys a while ago, so that asking would be of no use.
    pub(crate) fn knows_key_of(&self, token: &Unverified<'_>) -> bool {
        self.known(FRESH).is_some_and(|known| token.names_one_of(&known.keys))
    }

    async fn keys_on_word_of(&self, bringer: Bringer, token: &Unverified<'_>) -> Result<Arc<Keys>, Error> {
        let known = self.get().await?;
        if token.names_one_of(&known.keys) {
            return Ok(known.keys);
        }
        let mut asking = self.asking.lock().await;
        let now = self.clock.instant();
        let strangers_not_before = asking.strangers_not_before.filter(|_| bringer == Bringer::Anybody);
        let not_before = asking.keys_not_before.max(strangers_not_before).filter(|until| *until > now);
        if let Some(known) = self.known(USABLE) {
            if token.names_one_of(&known.keys) {
                return Ok(known.keys);
            }
            match (not_before, bringer) {
                (None, _) => {}
                (Some(_), Bringer::We) => return Ok(known.keys),
                // It may be by a key that is new indeed: that it is bad nobody knows, so it is to come again.
                (Some(until), Bringer::Anybody) => {
                    return Err(Error::Busy { retry_after: until.since(now) });
                }
            }
        }
        asking.keys_not_before = Some(now + ROTATION);
        if bringer == Bringer::Anybody {
            let pause = asking.for_strangers.next(&self.random);
            asking.strangers_not_before = Some(now + pause);
        }
        let keys = Arc::new(self.fetch_keys(&known.metadata).await?);
        if token.names_one_of(&keys) {
            asking.for_strangers.reset();
        }
        *self.known.lock() = Some(Known { keys: keys.clone(), ..known });
        tracing::info!(issuer = self.issuer, "the identity provider has other keys");
        Ok(keys)
    }

    async fn fetch(&self) -> Result<Known, Error> {
        let at = self.clock.instant();
        let said = self.ask(Question::get(metadata::address(&self.issuer))).await?;
        let metadata = Metadata::parse(&said, &self.issuer)?;
        let keys = self.fetch_keys(&metadata).await?;
        Ok(Known { metadata: Arc::new(metadata), keys: Arc::new(keys), at })
    }

    async fn fetch_keys(&self, metadata: &Metadata) -> Result<Keys, Error> {
        Keys::parse(&self.ask(Question::get(&metadata.jwks_uri)).await?)
    }

    /// Asks for something that is there if all is well.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(crate) async fn ask(&self, question: Question) -> Result<bytes::Bytes, Error> {
        let answer = self.ask_whatever(question).await?;
        match answer.status {
            200 => Ok(answer.body),
            status => {
                *self.wished.lock() = answer.retry_after.filter(|_| matches!(status, 429 | 503));
                Err(Error::Unavailable(format!("the answer is {status}")))
            }
        }
    }

    /// Asks for something that may be refused.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(crate) async fn ask_whatever(&self, question: Question) -> Result<crate::Answer, Error> {
        let busy = |_| Error::Unavailable("it is asked too much at the moment".to_owned());
        let _place = self.places.try_acquire().map_err(busy)?;
        self.web.ask(question).await.map_err(|error| Error::Unavailable(error.to_string()))
    }
}
