//! What nothing in a room's state leads to goes beside those who write, on the back ends that keep data.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engine::{CreateRoom, Engine};
use pdu::Draft;
use room::{
    ids::{EventSerial, Root, StateKeySerial},
    snapshot::Change,
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, events::StateEventType};
use serde_json::json;

use super::cluster::Cluster;
use crate::{
    commands::init::write_key,
    config::Config,
    house::{Foundation, House},
    storage::{self, Data},
};

fn config(directory: &Path, store: &str) -> Config {
    write_key(&directory.join("kanazawa.key"), ruma::server_name!("kanazawa.test")).unwrap();
    let text = format!(
        r#"
        [[authorities]]
        name = "kanazawa.test"
        key_file = "kanazawa.key"
        [[listeners]]
        address = "127.0.0.1:0"
        serves = ["client"]
        [store]
        {store}
        "#
    );
    Config::parse(&text, [], directory).unwrap()
}

fn hanako() -> OwnedUserId {
    OwnedUserId::try_from("@hanako:kanazawa.test").unwrap()
}

/// States that nobody names.
async fn litter(house: &House, room: &RoomId) {
    let rooms = house.engine.rooms();
    let serial = rooms.room(room).await.unwrap().unwrap().serial;
    for part in 0..3_u64 {
        let many: Vec<Change> = (0..400)
            .map(|key| (StateKeySerial(1_000_000 + key), Some(EventSerial(2_000_000 + 1_000 * part + key))))
            .collect();
        let mut batch = store::Batch::new();
        rooms.snapshots().apply(serial, Root::EMPTY, &many, &mut batch).await.unwrap();
        house.store.commit(batch).await.unwrap();
    }
}

/// Says things that change the state, some of them the very same again, until it is told to stop.
async fn be_busy(engine: Engine, room: OwnedRoomId, stop: Arc<AtomicBool>) -> usize {
    let mut said = 0;
    while !stop.load(Ordering::SeqCst) {
        let kind = StateEventType::from("x.madoguchi");
        let floor = json!({ "floor": said % 2 });
        let place = Draft::state(&hanako(), kind, &(said % 100).to_string(), &floor).unwrap();
        engine.send(&room, place, None).await.unwrap();
        said += 1;
    }
    said
}

/// Each of these processes over the same data writes, the first one reclaims.
async fn all_is_kept_but_what_nobody_names(houses: &[House]) {
    let first = &houses[0];
    let room = first.engine.create(&hanako(), CreateRoom::default()).await.unwrap();
    litter(first, &room).await;
    let head = first.store.head();
    let stop = Arc::new(AtomicBool::new(false));
    let mut busy = Vec::new();
    for house in houses {
        house.store.reach(head).await.unwrap();
        busy.push(tokio::spawn(be_busy(house.engine.clone(), room.clone(), stop.clone())));
    }
    let mut deleted = 0;
    for _ in 0..10 {
        deleted += first.engine.reclaim_state(&room).await.unwrap().deleted;
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    for one in busy {
        assert!(one.await.unwrap() > 0);
    }
    assert!(deleted > 20, "{deleted}");
    for house in houses {
        let report = house.engine.verify_state(&room).await.unwrap();
        assert!(report.broken.is_empty(), "{report:?}");
    }
    let whole = first.engine.verify_state(&room).await.unwrap().chunks;
    first.engine.reclaim_state(&room).await.unwrap();
    assert_eq!(first.engine.reclaim_state(&room).await.unwrap().kept, whole);
    // Also who has deleted chunks in memory stands on what is there.
    for house in houses {
        let topic = StateEventType::RoomTopic;
        let draft = Draft::state(&hanako(), topic, "", &json!({ "topic": "無事" })).unwrap();
        house.engine.send(&room, draft, None).await.unwrap();
        assert!(house.engine.verify_state(&room).await.unwrap().broken.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_names_goes_while_others_write_on_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "path = \"data\"");
    let house = House::open(&config, Foundation::of(&config, Data::MayBegin).await.unwrap()).await.unwrap();
    let houses = [house];
    all_is_kept_but_what_nobody_names(&houses).await;
    for house in houses {
        house.close(Duration::from_secs(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_names_goes_while_two_processes_over_one_database_write() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let config = config(directory.path(), &format!("backend = \"postgres\"\nurl = \"{}\"", cluster.url()));
    storage::begin(&config).await.unwrap();
    let mut houses = Vec::new();
    for _ in 0..2 {
        let foundation = Foundation::of(&config, Data::MustExist).await.unwrap();
        houses.push(House::open(&config, foundation).await.unwrap());
    }
    all_is_kept_but_what_nobody_names(&houses).await;
    for house in houses {
        house.close(Duration::from_secs(10)).await;
    }
}
