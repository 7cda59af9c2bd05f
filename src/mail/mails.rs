//! The crate's one handle: what waits to be sent.

use std::{sync::Arc, time::Duration};

use base::{Clock, Counter, CounterFamily, Metrics, Random, Tasks};
use store::{Batch, Store, Topic};

use crate::{
    Carrier, EmailAddress,
    tables::{self, MailRow},
};

/// Mails of one authority that may wait. They are some kilobytes each, and a server that is away for a day must not fill
/// the disk.
const MOST_WAITING: i64 = 2_000;

/// Of these, so many may be news that somebody subscribed to: a flood of them must not keep out who waits for the word that
/// lets him in.
const MOST_NEWS: i64 = MOST_WAITING / 2;

/// Largest mail, in bytes, with its HTML: ours are shorter.
const LARGEST: usize = 64 << 10;

/// Longest link in a mail's head, in bytes. It cannot be folded, and a line has 998 (RFC 5322, 2.1.1) with what is around it.
const LONGEST_LINK: usize = 900;

/// A mail to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// To whom.
    pub to: EmailAddress,
    /// What it is about: one line.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// The same for programs that show HTML.
    pub html: Option<String>,
    /// Where its reader ends that more such mails come, if it is one of many that were subscribed to: an address that a POST
    /// suffices at.
    ///
    /// See RFC 8058.
    pub unsubscribe: Option<String>,
    /// How long it is worth sending.
    pub good_for: Duration,
}

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// So many wait that no more are taken at the moment.
    #[error("too many mails wait to be sent")]
    Full,
    /// It is too large.
    #[error("the mail is too large")]
    TooLarge,
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
}

/// What mails are made of.
pub struct Parts<'a> {
    /// Where they wait.
    pub store: Store,
    /// Who takes them out.
    pub carrier: Arc<dyn Carrier>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Who runs the task that sends them.
    pub tasks: &'a Tasks,
    /// Where they are counted.
    pub metrics: &'a Metrics,
}

/// Mails that wait to be sent. Cheap to clone.
#[derive(Clone)]
pub struct Mails {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    pub(crate) outcomes: Outcomes,
}

/// Mails by what became of them.
pub(crate) struct Outcomes {
    pub(crate) sent: Counter,
    pub(crate) put_off: Counter,
    pub(crate) given_up: Counter,
}

impl Outcomes {
    fn of(family: &CounterFamily) -> Self {
        let of = |outcome| family.with(&[("outcome", outcome)]);
        Self { sent: of("sent"), put_off: of("put_off"), given_up: of("given_up") }
    }
}

impl std::fmt::Debug for Mails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mails").finish_non_exhaustive()
    }
}

impl Mails {
    /// The mails in a store. None is sent before [`Mails::start_sending`].
    pub fn open(parts: Parts<'_>) -> Self {
        let Parts { store, carrier, clock, random, tasks, metrics } = parts;
        let family = metrics.counter_family("yakuba_mail_attempts", "Mails that were tried to be sent");
        let (tasks, outcomes) = (tasks.clone(), Outcomes::of(&family));
        Self { inner: Arc::new(Inner { store, carrier, clock, random, tasks, outcomes }) }
    }

    /// Whether mails of this authority can be sent.
    pub fn serves(&self, authority: &str) -> bool {
        self.inner.carrier.serves(authority)
    }

    /// Whether another mail of this authority may wait: also for who will put none, so that nobody learns from a full queue
    /// whether there is somebody to write to.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`].
    pub async fn check_room(&self, authority: &str) -> Result<(), Error> {
        self.check_waiting(authority, MOST_WAITING).await
    }

    /// How many mails of an authority wait to be sent.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self, authority: &str) -> Result<u64, store::Error> {
        let waiting = self.inner.store.get(&tables::COUNTS, authority).await?.unwrap_or_default();
        Ok(u64::try_from(waiting.0).unwrap_or_default())
    }

    async fn check_waiting(&self, authority: &str, most: i64) -> Result<(), Error> {
        // Not demanded of a batch: a few more do no harm, and who asks at the same time is not held up.
        let waiting = self.inner.store.get(&tables::COUNTS, authority).await?.unwrap_or_default();
        if waiting.0 >= most { Err(Error::Full) } else { Ok(()) }
    }

    /// How many mails in a row that an authority's users subscribed to were refused for good at an address.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refusals(&self, authority: &str, to: &EmailAddress) -> Result<u32, store::Error> {
        let row = self.inner.store.get(&tables::REFUSED, &(authority, to.as_str())).await?;
        Ok(row.map_or(0, |row| row.count))
    }

    /// Adds to a batch that nothing is known of refusals at an address any more.
    pub fn forget_refusals(&self, batch: &mut Batch, authority: &str, to: &EmailAddress) {
        batch.delete(&tables::REFUSED, &(authority, to.as_str()));
    }

    /// Adds a mail of an authority to a batch: it is sent once that is on disk.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`], [`Error::Store`].
    pub async fn put(&self, batch: &mut Batch, authority: &str, mail: &Mail) -> Result<(), Error> {
        let html = mail.html.as_ref().map_or(0, String::len);
        let link = mail.unsubscribe.as_ref().map_or(0, String::len);
        if mail.subject.len() + mail.text.len() + html > LARGEST || link > LONGEST_LINK {
            return Err(Error::TooLarge);
        }
        let is_news = mail.unsubscribe.is_some();
        self.check_waiting(authority, if is_news { MOST_NEWS } else { MOST_WAITING }).await?;
        let now = self.inner.clock.now().millis();
        let good_for = u64::try_from(mail.good_for.as_millis()).unwrap_or(u64::MAX);
        let row = MailRow {
            to: mail.to.to_string(),
            subject: mail.subject.clone(),
            text: mail.text.clone(),
            html: mail.html.clone(),
            unsubscribe: mail.unsubscribe.clone(),
            put_ms: now,
            until_ms: now.saturating_add(good_for),
            tries: 0,
        };
        batch.put(&tables::WAITING, &(authority, now, self.inner.random.u64()), &row);
        batch.add(&tables::COUNTS, authority, 1);
        batch.touch([waiting_topic(authority)]);
        Ok(())
    }
}

/// What wakes who sends the mails of an authority.
pub(crate) fn waiting_topic(authority: &str) -> Topic {
    Topic::new(56, authority)
}
