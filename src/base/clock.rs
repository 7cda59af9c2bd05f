//! Time: the machine's clock, or one that a test moves by hand.
//!
//! There are two times. The calendar's, a [`Timestamp`], is what people and other servers mean and what goes
//! to disk; somebody may set it, so it jumps, in both directions. How long something takes, and when
//! it is due, is measured with an [`Instant`], which only ever runs forward and means nothing to
//! another process. Who waits, backs off, caches or limits asks for instants; where a wait has to
//! survive a restart, its end is stored as a [`Timestamp`] and read back with [`Clock::instant_of`].

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    ops::Add,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A moment: milliseconds since the beginning of 1970, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Milliseconds since the beginning of 1970.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The time that has passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` before this one, or the beginning of time.
    pub fn before(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(to_millis(duration)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(to_millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A reading of the stopwatch: a moment that can be compared with others of the same clock and
/// process, and with nothing else. Setting the calendar does not touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(std::time::Instant);

/// No wait is longer: what is added to an [`Instant`] beyond it counts as this.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The shortest rest of [`Clock::rest_since`].
pub const SHORTEST_REST: Duration = Duration::from_millis(2);

/// The longest one: a step that took very long, since the machine slept, say, does not stop the work for as long.
pub const LONGEST_REST: Duration = Duration::from_secs(5);

impl Instant {
    /// The time that has passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.checked_add(duration.min(FOR_EVER)).unwrap_or(self.0))
    }
}

/// The wait of [`Clock::timeout`] was over before the work was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time allowed is over")]
pub struct Elapsed;

/// Where time comes from. Cheap to clone; clones share the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(ManualClock),
}

impl Clock {
    /// The clock of the machine.
    pub const fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands still at `start_ms` until its handle moves it.
    pub fn manual(start_ms: u64) -> (Clock, ManualClock) {
        let manual = Manual {
            calendar: start_ms,
            began: std::time::Instant::now(),
            passed: 0,
            next_sleeper: 0,
            sleepers: BTreeMap::new(),
        };
        let manual = ManualClock { inner: Arc::new(Mutex::new(manual)) };
        (Clock(Source::Manual(manual.clone())), manual)
    }

    /// This moment by the calendar. Not for durations: the calendar may be set while they run.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(to_millis(since_1970))
            }
            Source::Manual(manual) => Timestamp(manual.inner.lock().calendar),
        }
    }

    /// This moment by the stopwatch.
    pub fn instant(&self) -> Instant {
        match &self.0 {
            Source::System => Instant(std::time::Instant::now()),
            Source::Manual(manual) => manual.inner.lock().instant(),
        }
    }

    /// The end of a wait that was stored as a moment of the calendar, perhaps by an earlier process.
    ///
    /// The calendar may have been set since it was stored, and nobody can tell by how much. So the wait
    /// is never longer than `longest`, the longest for which it can have been begun.
    pub fn instant_of(&self, stored: Timestamp, longest: Duration) -> Instant {
        self.instant() + stored.since(self.now()).min(longest)
    }

    /// Waits until `duration` has passed on this clock. Dropping the future ends the wait.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(duration).await,
            Source::Manual(manual) => manual.sleep(duration).await,
        }
    }

    /// Rests after a step that began at `began`, for so many times as long as it took, but for [`SHORTEST_REST`] at
    /// least and [`LONGEST_REST`] at most. Dropping the future ends the rest.
    ///
    /// For work that nobody waits for: whoever does something meanwhile has the disk and the processor for the rest. Where
    /// those are busy, steps take longer, and with them rests.
    pub async fn rest_since(&self, began: Instant, times: u32) {
        let took = self.instant().since(began);
        self.sleep(took.saturating_mul(times).clamp(SHORTEST_REST, LONGEST_REST)).await;
    }

    /// Waits for `work`, at most for `duration`; unfinished work is dropped.
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over first.
    pub async fn timeout<F: Future>(&self, duration: Duration, work: F) -> Result<F::Output, Elapsed> {
        match &self.0 {
            Source::System => tokio::time::timeout(duration, work).await.map_err(|_| Elapsed),
            Source::Manual(manual) => match select(pin!(work), pin!(manual.sleep(duration))).await {
                Either::Left((output, _)) => Ok(output),
                Either::Right(_) => Err(Elapsed),
            },
        }
    }
}

/// The hand that moves a manual clock: [`ManualClock::advance`] lets time pass, the others set the calendar
/// as an administrator or a time server does.
#[derive(Clone)]
pub struct ManualClock {
    inner: Arc<Mutex<Manual>>,
}

struct Manual {
    /// Milliseconds since 1970, as the calendar is set.
    calendar: u64,
    began: std::time::Instant,
    /// Milliseconds that have passed since the clock began, whatever the calendar says.
    passed: u64,
    next_sleeper: u64,
    /// Who waits, by the moment to wake at; the second number keeps equal moments apart.
    sleepers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
}

impl Manual {
    fn instant(&self) -> Instant {
        Instant(self.began) + Duration::from_millis(self.passed)
    }
}

impl ManualClock {
    /// Lets time pass and wakes every sleeper whose moment has come, earliest first.
    pub fn advance(&self, duration: Duration) {
        let mut inner = self.inner.lock();
        let millis = to_millis(duration);
        inner.calendar = inner.calendar.saturating_add(millis);
        inner.passed = inner.passed.saturating_add(millis);
        let later = match inner.passed.checked_add(1) {
            Some(next) => inner.sleepers.split_off(&(next, 0)),
            None => BTreeMap::new(),
        };
        for (_, sleeper) in std::mem::replace(&mut inner.sleepers, later) {
            // A sleeper that was dropped meanwhile needs no waking.
            sleeper.send(()).ok();
        }
    }

    /// Sets the calendar forward. No time passes: nobody wakes.
    pub fn set_forward(&self, duration: Duration) {
        let mut inner = self.inner.lock();
        inner.calendar = inner.calendar.saturating_add(to_millis(duration));
    }

    /// Sets the calendar back. No time passes.
    pub fn set_back(&self, duration: Duration) {
        let mut inner = self.inner.lock();
        inner.calendar = inner.calendar.saturating_sub(to_millis(duration));
    }

    /// How many futures wait on this clock now; lets a test know that somebody has gone to sleep.
    pub fn sleepers(&self) -> usize {
        self.inner.lock().sleepers.len()
    }

    async fn sleep(&self, duration: Duration) {
        let millis = to_millis(duration);
        if millis == 0 {
            return tokio::task::yield_now().await;
        }
        let (key, woken) = {
            let mut inner = self.inner.lock();
            let key = (inner.passed.saturating_add(millis), inner.next_sleeper);
            inner.next_sleeper += 1;
            let (sender, receiver) = oneshot::channel();
            inner.sleepers.insert(key, sender);
            (key, receiver)
        };
        let _guard = Sleeping { clock: self, key };
        // The sender lives in the map until it is used, so an error means woken as well.
        woken.await.ok();
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("calendar", &self.inner.lock().calendar).finish_non_exhaustive()
    }
}

/// Takes a sleeper off the list when its future is dropped.
struct Sleeping<'a> {
    clock: &'a ManualClock,
    key: (u64, u64),
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        self.clock.inner.lock().sleepers.remove(&self.key);
    }
}
