//! What follows in rooms.

use ruma::OwnedRoomId;

use super::*;

#[tokio::test]
async fn a_new_name_is_shown_in_the_users_rooms() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let profile = town.accounts.member_profile(&user).await.unwrap();
    let wishes = CreateRoom { profile, ..CreateRoom::default() };
    let room_id = town.engine.create(&user, wishes).await.unwrap();
    let mut watch = town.store.watch(vec![store::Topic::room(room_id.as_str())]);

    let name = serde_json::value::to_raw_value("花子").unwrap();
    town.accounts.set_profile_field(&user, "displayname", &name).await.unwrap();

    watch.changed().await;
    assert_eq!(town.shown_name(&user, &room_id).await.as_deref(), Some("花子"));
}

#[tokio::test]
async fn a_closed_account_leaves_its_rooms() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let mut watches = Vec::new();
    for room_id in town.some_rooms(&user).await {
        watches.push(town.store.watch(vec![store::Topic::room(room_id.as_str())]));
    }

    town.accounts.close_account(&user, &operator()).await.unwrap();

    for mut watch in watches {
        watch.changed().await;
    }
    assert!(town.rooms.joined_rooms(&user).await.unwrap().is_empty());
}

impl Town {
    async fn some_rooms(&self, user: &UserId) -> Vec<OwnedRoomId> {
        let mut rooms = Vec::new();
        for _ in 0..5 {
            rooms.push(self.engine.create(user, CreateRoom::default()).await.unwrap());
            // Rooms are named after what begins them, so they must not begin alike.
            self.clock.advance(Duration::from_millis(1));
        }
        rooms
    }

    /// Leaves no room on the disk for what follows in the rooms, until it was tried in vain: it waits, or is
    /// given up.
    async fn fill_for_a_while(&self) {
        let waiting = self.clock.sleepers();
        self.disk.fill(true);
        until(|| self.clock.sleepers() > waiting || self.accounts.inner.working.lock().is_empty()).await;
        self.disk.fill(false);
    }

    /// Lets time pass, for the committer too, until something is so.
    async fn some_time_until(&self, is_so: impl AsyncFn() -> bool) {
        tokio::time::pause();
        for _ in 0..10_000 {
            if is_so().await {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        panic!("it was never so");
    }
}

#[tokio::test]
async fn a_closed_account_leaves_the_rooms_that_it_could_not_leave_while_the_disk_was_full() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    town.some_rooms(&user).await;

    // Nobody else has worked yet when this returns.
    town.accounts.close_account(&user, &operator()).await.unwrap();
    town.fill_for_a_while().await;

    town.some_time_until(async || town.rooms.joined_rooms(&user).await.unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_closed_account_leaves_the_room_that_alone_it_could_not_leave_at_first() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    town.some_rooms(&user).await;

    town.accounts.close_account(&user, &operator()).await.unwrap();
    town.disk.fail_next();

    town.some_time_until(async || town.rooms.joined_rooms(&user).await.unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_new_name_is_shown_in_the_rooms_that_could_not_show_it_while_the_disk_was_full() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room_id = town.engine.create(&user, CreateRoom::default()).await.unwrap();

    let name = serde_json::value::to_raw_value("花子").unwrap();
    town.accounts.set_profile_field(&user, "displayname", &name).await.unwrap();
    town.fill_for_a_while().await;

    town.some_time_until(async || town.shown_name(&user, &room_id).await.as_deref() == Some("花子")).await;
}
