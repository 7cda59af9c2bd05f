//! What the caches of `/sync` charge is what they take.

use base::Caches;
use room::{EventSerial, RoomSerial};
use ruma::{OwnedDeviceId, OwnedUserId};
use store::Position;

use super::town::{town, user};
use crate::{lazy::LazyMemory, watches::Watches};

#[tokio::test]
async fn watches_are_charged_what_they_take() {
    let town = town().await;
    // So many that the least that a table has says nothing.
    for _ in 0..200 {
        town.room("hanako").await;
    }
    let rooms = town.rooms.memberships(&user("hanako")).await.unwrap();
    let (caches, held) = (Caches::new(), |caches: &Caches| caches.held()[0].1.bytes);
    let (watches, in_use) = meter::kept(|| {
        let watches = Watches::new(&caches, 1 << 24);
        let _alone = watches.watch(&town.store, &user("hanako"), &rooms, false, None);
        watches
    });
    meter::assert_charged("of one", held(&caches), in_use);
    // In a crowd the topics themselves are shared.
    let ((), in_use) = meter::kept(|| {
        for n in 0..100 {
            watches.watch(&town.store, &user(&format!("shokuin{n}")), &rooms, false, None);
        }
    });
    assert!(held(&caches) > in_use / 10 * 7, "{} charged, {in_use} in use", held(&caches));
}

#[test]
fn members_that_were_sent_are_charged_what_they_take() {
    for members in [1, 10, 1_000] {
        let caches = Caches::new();
        let (_memory, in_use) = meter::kept(|| {
            let memory = LazyMemory::new(&caches, 1 << 26);
            for n in 0..200 {
                let user = OwnedUserId::try_from(format!("@shokuin{n}:kanazawa.example.jp")).unwrap();
                let known =
                    memory.of((user, OwnedDeviceId::from("DESKTOP"), RoomSerial(n)), Some(Position(1)));
                known.note((0..members).map(EventSerial).collect(), Position(2));
            }
            memory
        });
        meter::assert_charged(&format!("{members} members"), caches.held()[0].1.bytes, in_use);
    }
}
