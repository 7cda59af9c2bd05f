//! The watches of those who wait, kept from one request of a user to the next: a user in a thousand rooms is
//! registered for a thousand topics once, not with every request.

use std::sync::{Arc, Weak};

use account::Presence;
use base::{Cache, Caches};
use room::{RoomSerial, read::membership::UserRooms, tables::Membership};
use ruma::{OwnedUserId, UserId};
use store::{Store, Topic, Watch};
use to_device::ToDevice;

/// Watches of users' rooms. One that nobody has asked for in a while is let go with what else the cache lets go:
/// every commit to its rooms would go on waking it.
pub(crate) struct Watches(Cache<OwnedUserId, Arc<Kept>>);

struct Kept {
    /// The list that was asked with last, to know it again.
    rooms: Weak<UserRooms>,
    joined: Vec<RoomSerial>,
    watch: Watch,
}

impl Kept {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + 16 + self.joined.capacity() * size_of::<RoomSerial>() + self.watch.memory_bytes()
    }
}

impl Watches {
    /// Watches that take about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |user: &OwnedUserId, kept: &Arc<Kept>| user.as_str().len() + kept.memory_bytes();
        Self(Cache::of_large(caches, "sync_watches", bytes, owned).borrowing())
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
        let is_so = |kept: &Arc<Kept>| {
            // A list that is gone is never another's: its place is not given again while this knows of it.
            Weak::as_ptr(&kept.rooms) == Arc::as_ptr(rooms) || kept.joined.iter().copied().eq(joined())
        };
        if let Some(kept) = self.0.get(user).filter(is_so) {
            return kept.watch.clone();
        }
        let (urgent, mut patient) = topics(user, rooms);
        if with_presence {
            patient.extend(joined().map(Presence::topic));
        }
        let watch = store.watch_patiently(urgent, patient);
        let kept = Kept { rooms: Arc::downgrade(rooms), joined: joined().collect(), watch: watch.clone() };
        self.0.insert(user.to_owned(), Arc::new(kept));
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
