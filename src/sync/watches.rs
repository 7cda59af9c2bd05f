//! The watches of those who wait, kept from one request of a user to the next: a user in a thousand rooms is
//! registered for a thousand topics once, not with every request.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, Weak},
};

use account::Presence;
use base::{Cache, Caches};
use room::{read::membership::UserRooms, tables::Membership};
use ruma::{OwnedUserId, UserId};
use store::{Store, Topic, Watch};
use to_device::ToDevice;

/// Watches of users' rooms. One that nobody has asked for in a while is let go with what else the cache lets go:
/// every commit to its rooms would go on waking it.
pub(crate) struct Watches {
    users: Cache<OwnedUserId, Arc<Kept>>,
    /// With it rooms are hashed: nobody outside can make two lists alike.
    hasher: RandomState,
}

struct Kept {
    /// The list that was asked with last, to know it again.
    rooms: Weak<UserRooms>,
    /// The rooms in it that are joined, and in their order: how many, and a hash of them.
    joined: (usize, u64),
    watch: Watch,
}

impl Kept {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + 16 + self.watch.memory_bytes()
    }
}

impl Watches {
    /// Watches that take about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |user: &OwnedUserId, kept: &Arc<Kept>| user.as_str().len() + kept.memory_bytes();
        let users = Cache::of_large(caches, "sync_watches", bytes, owned).borrowing();
        Self { users, hasher: RandomState::new() }
    }

    /// Watches the rooms that a user is in, and what else there is to tell him, from now on.
    pub(crate) fn watch(
        &self,
        store: &Store,
        user: &UserId,
        rooms: &Arc<UserRooms>,
        with_presence: bool,
    ) -> Watch {
        let joined = || rooms.with(Membership::Join).map(|row| row.room);
        let hashed = || {
            let mut hasher = self.hasher.build_hasher();
            let count = joined().inspect(|room| room.hash(&mut hasher)).count();
            (count, hasher.finish())
        };
        let is_so = |kept: &Arc<Kept>| {
            // A list that is gone is never another's: its place is not given again while this knows of it.
            Weak::as_ptr(&kept.rooms) == Arc::as_ptr(rooms) || kept.joined == hashed()
        };
        if let Some(kept) = self.users.get(user).filter(is_so) {
            return kept.watch.clone();
        }
        let (urgent, mut patient) = topics(user, rooms);
        if with_presence {
            patient.extend(joined().map(Presence::topic));
        }
        let watch = store.watch_patiently(urgent, patient);
        let kept = Kept { rooms: Arc::downgrade(rooms), joined: hashed(), watch: watch.clone() };
        self.users.insert(user.to_owned(), Arc::new(kept));
        watch
    }
}

/// The topics that a waiting client watches urgently, and patiently.
fn topics(user: &UserId, rooms: &UserRooms) -> (Vec<Topic>, Vec<Topic>) {
    let joined = || rooms.with(Membership::Join).map(|room| room.room_id.as_str());
    let to_devices = ToDevice::topic(user);
    let user = user.as_str();
    let own = [
        to_devices,
        Topic::memberships(user),
        Topic::account_data(user),
        Topic::own_receipts(user),
        // Who is signed out waits no longer.
        Topic::devices(user),
    ];
    (joined().map(Topic::room).chain(own).collect(), joined().map(Topic::ephemeral).collect())
}

/// Whether the same rooms are joined in both.
pub(crate) fn same_joined(left: &Arc<UserRooms>, right: &Arc<UserRooms>) -> bool {
    Arc::ptr_eq(left, right)
        || left
            .with(Membership::Join)
            .map(|row| row.room)
            .eq(right.with(Membership::Join).map(|row| row.room))
}
