//! Limits: how often each kind of request is answered.
//!
//! Every endpoint belongs to a [`Class`]; the class says who is counted: a user, a device, an address or
//! another server. Whoever goes over his rate gets a 429 that names the limit and the time to wait. Users
//! and servers are counted only once they have shown who they are, so that nobody uses up another's
//! share; strangers are counted by their address. Where a proxy does not tell whose it is, all of them are
//! counted together and have more.
//!
//! Reading order: [`Class`], [`Limits::admit`]; which endpoint is in which class stands in `classes`.

use std::time::Duration;

use base::{Address, Buckets, Clock, Counter, Instant, Metrics, Rate};
use parking_lot::Mutex;
use tracing::{debug, info};

use crate::{ApiError, Standing};

/// A limit that is reached is logged at most so often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// So many times what one address may do, all may do together whose address is not known: an office and the
/// strangers behind a proxy that does not tell them apart.
const TOGETHER: u32 = 10;

/// A kind of requests with a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Log-ins, by address.
    Login,
    /// Registrations, and looking whether a registration token holds, by address.
    Registration,
    /// Whatever needs no proof of who asks, and tokens that do not hold, by address.
    Open,
    /// Messages, state and redactions, by user.
    Send,
    /// Sending, restarting and cancelling delayed events, by address: their ids are all the proof that is asked for.
    Delays,
    /// Messages to devices, by user: who brings a key to many devices takes nothing from his messages.
    ToDevice,
    /// Making, joining and leaving rooms, inviting and putting out, by user.
    Membership,
    /// Searching people and rooms, by user.
    Search,
    /// Aliases and what directories show, which the audit log tells of, by user.
    Directory,
    /// `/sync`, by device.
    Sync,
    /// Everything else that changes something, by user.
    Write,
    /// Everything else that is read, by user.
    Read,
    /// Requests that a server says to have signed, as long as it is not shown that it has, by address.
    PeerUnproven,
    /// Questions for keys of other servers, by address.
    PeerKeys,
    /// Transactions, by server.
    PeerTransactions,
    /// Joins, knocks, invites and leaves, by server.
    PeerMembership,
    /// Whole states of rooms, by server.
    PeerState,
    /// Everything else that a server asks, by server.
    PeerQueries,
}

impl Class {
    /// All classes.
    pub const ALL: [Class; 18] = [
        Class::Login,
        Class::Registration,
        Class::Open,
        Class::Send,
        Class::Delays,
        Class::ToDevice,
        Class::Membership,
        Class::Search,
        Class::Directory,
        Class::Sync,
        Class::Write,
        Class::Read,
        Class::PeerUnproven,
        Class::PeerKeys,
        Class::PeerTransactions,
        Class::PeerMembership,
        Class::PeerState,
        Class::PeerQueries,
    ];

    /// Its name in the configuration, in logs and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Login => "login",
            Class::Registration => "registration",
            Class::Open => "open",
            Class::Send => "send",
            Class::Delays => "delays",
            Class::ToDevice => "to_device",
            Class::Membership => "membership",
            Class::Search => "search",
            Class::Directory => "directory",
            Class::Sync => "sync",
            Class::Write => "write",
            Class::Read => "read",
            Class::PeerUnproven => "peer_unproven",
            Class::PeerKeys => "peer_keys",
            Class::PeerTransactions => "peer_transactions",
            Class::PeerMembership => "peer_membership",
            Class::PeerState => "peer_state",
            Class::PeerQueries => "peer_queries",
        }
    }

    /// What an office of 500 behind one address needs in its busiest minute, what one person's clients
    /// need when they start, and what a busy server sends.
    pub const fn default_rate(self) -> Rate {
        let (per_second, burst) = match self {
            Class::Login => (10.0, 600),
            Class::Registration => (1.0, 100),
            Class::Open => (50.0, 1_500),
            Class::Send => (20.0, 300),
            // Whoever is in a call restarts one every few seconds.
            Class::Delays => (200.0, 2_000),
            // Clients name twenty devices in each: a key for 10,000 of them at once.
            Class::ToDevice => (20.0, 500),
            Class::Membership => (5.0, 200),
            Class::Search => (10.0, 100),
            // Five a minute.
            Class::Directory => (5.0 / 60.0, 100),
            Class::Sync => (10.0, 100),
            Class::Write => (20.0, 300),
            Class::Read => (50.0, 1_000),
            Class::PeerUnproven => (20.0, 400),
            Class::PeerKeys => (10.0, 100),
            Class::PeerTransactions => (50.0, 500),
            Class::PeerMembership => (10.0, 300),
            Class::PeerState => (5.0, 100),
            Class::PeerQueries => (50.0, 1_000),
        };
        Rate { per_second, burst }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

fn together(rate: Rate) -> Rate {
    Rate { per_second: rate.per_second * f64::from(TOGETHER), burst: rate.burst.saturating_mul(TOGETHER) }
}

/// Who is counted.
#[derive(Hash)]
enum Who<'a> {
    Address(Address),
    User(&'a str),
    Device(&'a str, &'a str),
    Server(&'a str),
}

/// The limits of a process.
pub struct Limits {
    clock: Clock,
    /// In the order of [`Class::ALL`].
    classes: Vec<OfClass>,
}

struct OfClass {
    buckets: Buckets,
    /// One bucket: of all whose address is not known.
    nameless: Buckets,
    refused: Counter,
    /// When it was logged last, and how many were refused since.
    told: Mutex<(Option<Instant>, u64)>,
}

impl Limits {
    /// Limits with these rates.
    pub fn new(rate: impl Fn(Class) -> Rate, clock: &Clock, metrics: &Metrics) -> Limits {
        let family = metrics.counter_family("yakuba_web_limited", "Requests refused by a limit");
        let classes = Class::ALL.map(|class| OfClass {
            buckets: Buckets::new(rate(class)),
            nameless: Buckets::at_most(together(rate(class)), 1),
            refused: family.with(&[("limit", class.name())]),
            told: Mutex::default(),
        });
        Limits { clock: clock.clone(), classes: classes.into() }
    }

    /// No limits at all.
    pub fn off(clock: &Clock, metrics: &Metrics) -> Limits {
        Limits::new(|_| Rate::UNLIMITED, clock, metrics)
    }

    /// Counts a request of somebody whom its head has shown.
    ///
    /// A server is not counted yet, since anybody can write its name: it is only looked whether it has
    /// used up its share, which [`Limits::count_server`] does once it is proved.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn admit(
        &self,
        class: Option<Class>,
        standing: &Standing,
        address: Option<Address>,
    ) -> Result<(), ApiError> {
        let Some(class) = class else { return Ok(()) };
        match (standing, class) {
            (Standing::Stranger, Class::Login | Class::Registration | Class::Delays | Class::PeerKeys) => {
                self.count_stranger(class, address)
            }
            (Standing::Stranger, _) => self.count_stranger(Class::Open, address),
            (Standing::Unlimited(_) | Standing::Operator | Standing::Source(_), _) => Ok(()),
            (Standing::User(user, device), Class::Sync) => {
                self.take(class, &Who::Device(user.as_str(), device.as_str()), user.as_str())
            }
            (Standing::User(user, _), _) => self.take(class, &Who::User(user.as_str()), user.as_str()),
            (Standing::Claims(server), _) => {
                let who = Who::Server(server.as_str());
                let checked = self.of(class).buckets.check(&who, self.clock.instant());
                checked.map_err(|wait| self.refuse(class, server.as_str(), wait))
            }
        }
    }

    /// Counts a request of a server that has proved to be it.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn count_server(&self, class: Option<Class>, server: &str) -> Result<(), ApiError> {
        match class {
            Some(class) => self.take(class, &Who::Server(server), server),
            None => Ok(()),
        }
    }

    /// Counts a request that proves nothing.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn count_stranger(&self, class: Class, address: Option<Address>) -> Result<(), ApiError> {
        match address {
            Some(address) => self.take(class, &Who::Address(address), "a stranger"),
            None => {
                let taken = self.of(class).nameless.take(&(), self.clock.instant());
                taken.map_err(|wait| self.refuse(class, "strangers whose address is not known", wait))
            }
        }
    }

    /// Takes a request back that [`Limits::count_stranger`] counted: it was no stranger's.
    pub(crate) fn uncount_stranger(&self, class: Class, address: Option<Address>) {
        let (of_class, now) = (self.of(class), self.clock.instant());
        match address {
            Some(address) => of_class.buckets.put_back(&Who::Address(address), now),
            None => of_class.nameless.put_back(&(), now),
        }
    }

    /// Counts a request of a user that changed nothing as one that reads, in the place of its own class, as long as he has
    /// something of that left.
    pub(crate) fn count_as_read(&self, class: Class, user: &str) {
        let (who, now) = (Who::User(user), self.clock.instant());
        if self.of(Class::Read).buckets.take(&who, now).is_ok() {
            self.of(class).buckets.put_back(&who, now);
        }
    }

    fn of(&self, class: Class) -> &OfClass {
        // One for each class, in their order.
        &self.classes[class.index()]
    }

    fn take(&self, class: Class, who: &Who<'_>, name: &str) -> Result<(), ApiError> {
        let taken = self.of(class).buckets.take(who, self.clock.instant());
        taken.map_err(|wait| self.refuse(class, name, wait))
    }

    /// Names are of users and servers; addresses of people do not belong in logs.
    fn refuse(&self, class: Class, name: &str, wait: Duration) -> ApiError {
        let of_class = self.of(class);
        of_class.refused.inc();
        let limit = class.name();
        debug!(limit, by = name, retry_in_ms = wait.as_millis(), "over a limit");
        let now = self.clock.instant();
        let count = {
            let (told, count) = &mut *of_class.told.lock();
            *count += 1;
            match told {
                Some(last) if now.since(*last) < LOG_EVERY => None,
                _ => {
                    *told = Some(now);
                    Some(std::mem::take(count))
                }
            }
        };
        if let Some(count) = count {
            info!(limit, by = name, count, "requests are refused by a limit");
        }
        ApiError::over(limit, wait)
    }
}
