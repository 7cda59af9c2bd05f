//! Giving back what states took that nothing refers to any more.

use std::time::Duration;

use room::{
    ids::{EventSerial, Root, StateKeySerial},
    snapshot::Change,
    tables::TIMELINE,
};

use super::{
    chains::{counting, info},
    net::{Net, state, user},
};

#[tokio::test]
async fn who_speaks_does_not_wait_while_state_is_reclaimed_and_what_he_says_keeps_its_state() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let serial = info(&a, &room).await.serial;
    // States that nobody names.
    for part in 0..3_u64 {
        let many: Vec<Change> = (0..400)
            .map(|key| (StateKeySerial(1_000_000 + key), Some(EventSerial(2_000_000 + 1_000 * part + key))))
            .collect();
        let mut batch = store::Batch::new();
        a.engine.snapshots().apply(serial, Root::EMPTY, &many, &mut batch).await.unwrap();
        a.store.commit(batch).await.unwrap();
    }
    let disk = a.crash().await;
    let (a, count) = counting(&net, "a.test", &disk).await;
    a.say(&hanako, &room, "前").await;
    let before = a.engine.verify_state(&room).await.unwrap();

    let shut = count.shut(TIMELINE.raw().id).await;
    let reclaiming = tokio::spawn({
        let (engine, room) = (a.engine.clone(), room.clone());
        async move { engine.reclaim_state(&room).await }
    });
    let meanwhile = async {
        while count.came_for_graph() == 0 {
            tokio::task::yield_now().await;
        }
        let topic = state(&hanako, "m.room.topic", "", &serde_json::json!({ "topic": "避難所" }));
        a.engine.send(&room, topic, None).await.unwrap();
        a.say(&hanako, &room, "中").await
    };
    // Real time, for a test that fails.
    let said = tokio::time::timeout(Duration::from_secs(30), meanwhile).await.expect("it waits");
    drop(shut);
    let done = reclaiming.await.unwrap().unwrap();

    assert!(count.came_for_graph() > 1, "it was looked again");
    assert!(done.deleted > 30, "{done:?}");
    let after = a.engine.verify_state(&room).await.unwrap();
    assert!(after.broken.is_empty() && after.chunks > before.chunks, "{after:?}");
    assert_eq!(done.kept, after.chunks);
    a.say(&hanako, &room, "後").await;
    assert_eq!(a.bodies(&room).await, ["前", "中", "後"]);
    assert!(a.engine.rooms().event(&room, &said).await.unwrap().is_some());
    assert_eq!(a.engine.reclaim_state(&room).await.unwrap().deleted, 0);
}
