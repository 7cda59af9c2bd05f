//! The watches of those who wait, kept from one request of a user to the next: a user in a thousand rooms is
//! registered for a thousand topics once, not with every request.

use std::{
    cell::RefCell,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base::Instant;
use parking_lot::Mutex;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use room::{RoomSerial, read::membership::UserRooms, tables::Membership};
use ruma::{OwnedUserId, UserId};
use store::{Store, Topic, Watch};

/// Topics of all watches that are kept; each takes some 80 bytes, what is kept beside them counts as [`BESIDE`] more.
const MOST_TOPICS: u64 = 400_000;
const BESIDE: u64 = 8;

/// A user of more rooms than a part of the cache can hold would never be kept.
const PARTS: usize = 4;

/// A watch that nobody has asked for during one such time is let go by the end of the next: every commit to its
/// rooms would go on waking it.
const KEPT: Duration = Duration::from_secs(60);

/// Watches of users' rooms.
pub(crate) struct Watches {
    kept: Cache<OwnedUserId, Arc<Kept>, ByTopics>,
    swept: Mutex<Instant>,
}

struct Kept {
    /// The list that was asked with last, to know it again.
    rooms: Weak<UserRooms>,
    joined: Vec<RoomSerial>,
    watch: Watch,
    topics: u64,
    used: AtomicBool,
}

#[derive(Clone)]
struct ByTopics;

impl Weighter<OwnedUserId, Arc<Kept>> for ByTopics {
    fn weight(&self, _user: &OwnedUserId, kept: &Arc<Kept>) -> u64 {
        kept.topics + BESIDE
    }
}

impl Watches {
    pub(crate) fn new(now: Instant) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(4_096)
            .weight_capacity(MOST_TOPICS)
            .shards(PARTS)
            .build();
        // All that has no default is set above.
        let kept = match options {
            Ok(options) => Cache::with_options(
                options,
                ByTopics,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(4_096, MOST_TOPICS, ByTopics),
        };
        Self { kept, swept: Mutex::new(now) }
    }

    /// Watches the rooms that a user is in, and what else there is to tell him, from now on.
    pub(crate) fn watch(&self, store: &Store, user: &UserId, rooms: &Arc<UserRooms>, now: Instant) -> Watch {
        self.sweep(now);
        let joined = || rooms.with(Membership::Join).map(|row| row.room);
        let is_so = |kept: &Arc<Kept>| {
            // A list that is gone is never another's: its place is not given again while this knows of it.
            Weak::as_ptr(&kept.rooms) == Arc::as_ptr(rooms) || kept.joined.iter().copied().eq(joined())
        };
        if let Some(kept) = self.kept.get(user).filter(is_so) {
            kept.used.store(true, Ordering::Relaxed);
            return kept.watch.clone();
        }
        let (urgent, patient) = topics(user, rooms);
        let topics = urgent.len() as u64 + patient.len() as u64;
        let watch = store.watch_patiently(urgent, patient);
        let kept = Kept {
            rooms: Arc::downgrade(rooms),
            joined: joined().collect(),
            watch: watch.clone(),
            topics,
            used: AtomicBool::new(true),
        };
        self.kept.insert(user.to_owned(), Arc::new(kept));
        watch
    }

    /// Lets go what nobody has asked for since the last time.
    fn sweep(&self, now: Instant) {
        let mut swept = self.swept.lock();
        if now.since(*swept) >= KEPT {
            *swept = now;
            drop(swept);
            let gone = RefCell::new(Vec::new());
            self.kept.retain(|_, kept| {
                let is_used = kept.used.swap(false, Ordering::Relaxed);
                if !is_used {
                    gone.borrow_mut().push(kept.clone());
                }
                is_used
            });
            // Only now: each leaves all its topics, and others want the cache meanwhile.
            drop(gone);
        }
    }
}

/// The topics that a waiting client watches urgently, and patiently.
fn topics(user: &UserId, rooms: &UserRooms) -> (Vec<Topic>, Vec<Topic>) {
    let joined = || rooms.with(Membership::Join).map(|room| room.room_id.as_str());
    let user = user.as_str();
    let own = [Topic::memberships(user), Topic::account_data(user), Topic::own_receipts(user)];
    (joined().map(Topic::room).chain(own).collect(), joined().map(Topic::ephemeral).collect())
}

/// For how long a reader in a crowd lets receipts and typing gather: each would wake all others of the crowd as
/// well. Not the same for all, so that they do not come back all at once.
pub(crate) fn gathering(user: &UserId) -> Duration {
    Duration::from_millis(1_000 + Topic::memberships(user.as_str()).id % 1_000)
}

/// Whether the same rooms are joined in both.
pub(crate) fn same_joined(left: &Arc<UserRooms>, right: &Arc<UserRooms>) -> bool {
    Arc::ptr_eq(left, right)
        || left
            .with(Membership::Join)
            .map(|row| row.room)
            .eq(right.with(Membership::Join).map(|row| row.room))
}
