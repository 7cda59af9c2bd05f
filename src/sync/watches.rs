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

/// A user's watch, to wait with.
pub(crate) struct Watched {
    pub(crate) watch: Watch,
    kept: Arc<Kept>,
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
    ///
    /// `before` is what this request waited with so far. While many wait, others may have pushed theirs out of the cache:
    /// it is there anyway, and is put in again instead of being made anew for all at once when they are woken.
    pub(crate) fn watch(
        &self,
        store: &Store,
        user: &UserId,
        rooms: &Arc<UserRooms>,
        with_presence: bool,
        before: Option<Watched>,
    ) -> Watched {
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
        let again = || {
            let kept = before?.kept;
            is_so(&kept).then(|| {
                self.users.insert(user.to_owned(), kept.clone());
                kept
            })
        };
        if let Some(kept) = self.users.get(user).filter(is_so).or_else(again) {
            return Watched { watch: kept.watch.clone(), kept };
        }
        let (urgent, mut patient) = topics(user, rooms);
        if with_presence {
            patient.extend(joined().map(Presence::topic));
        }
        let watch = store.watch_patiently(urgent, patient);
        let kept = Arc::new(Kept { rooms: Arc::downgrade(rooms), joined: hashed(), watch: watch.clone() });
        self.users.insert(user.to_owned(), kept.clone());
        Watched { watch, kept }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::tests::town::{town, user};

    #[tokio::test]
    async fn the_watch_of_who_waits_is_put_in_again_when_it_was_pushed_out_meanwhile() {
        let town = town().await;
        town.room("hanako").await;
        let rooms = town.rooms.memberships(&user("hanako")).await.unwrap();
        let watches = Watches::new(&Caches::new(), 1 << 20);
        let watch = |before| watches.watch(&town.store, &user("hanako"), &rooms, false, before);
        let first = watch(None);
        let kept = first.kept.clone();
        watches.users.clear();
        assert!(Arc::ptr_eq(&watch(Some(first)).kept, &kept));
        assert!(Arc::ptr_eq(&watch(None).kept, &kept), "for the next request too");

        town.room("hanako").await;
        let more = town.rooms.memberships(&user("hanako")).await.unwrap();
        watches.users.clear();
        let of_less = Watched { watch: kept.watch.clone(), kept: kept.clone() };
        let of_all = watches.watch(&town.store, &user("hanako"), &more, false, Some(of_less));
        assert!(!Arc::ptr_eq(&of_all.kept, &kept), "he is in another room too");
    }
}
