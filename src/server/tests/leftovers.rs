//! What nothing in a room's state leads to goes beside those who write, on the back ends that keep data, also where who does
//! it is killed again and again.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
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
    commands::{data::verify_here, init::write_key},
    config::Config,
    house::{Foundation, House},
    storage::{self, Data},
};

fn config(directory: &Path, store: &str) -> Config {
    let key = directory.join("kanazawa.key");
    if !key.exists() {
        write_key(&key, ruma::server_name!("kanazawa.test")).unwrap();
    }
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
async fn litter(house: &House, room: &RoomId, states: u64) {
    let rooms = house.engine.rooms();
    let serial = rooms.room(room).await.unwrap().unwrap().serial;
    for part in 0..states {
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
    litter(first, &room, 3).await;
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

/// Where the child finds its data, and the room.
const CHILD: &str = "YAKUBA_RECLAIMING_CHILD";

/// So many of the states that nobody names are more chunks than are dealt with in one batch.
const MANY: u64 = 12;

async fn on_disk(directory: &Path) -> (Config, House) {
    let config = config(directory, "path = \"data\"");
    let house = House::open(&config, Foundation::of(&config, Data::MayBegin).await.unwrap()).await.unwrap();
    (config, house)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is begun by the test that kills it"]
#[expect(clippy::print_stdout, reason = "it tells that test how far it is")]
async fn child_that_reclaims_until_it_is_killed() {
    let said = std::env::var(CHILD).unwrap();
    let (room, directory) = said.split_once(' ').unwrap();
    let room = OwnedRoomId::try_from(room).unwrap();
    let (_, house) = on_disk(Path::new(directory)).await;
    tokio::spawn(be_busy(house.engine.clone(), room.clone(), Arc::default()));
    println!("begun");
    loop {
        litter(&house, &room, MANY).await;
        let done = house.engine.reclaim_state(&room).await.unwrap();
        println!("gone {}", done.deleted);
    }
}

/// `KILLS=100 cargo test -p server --lib leftovers` is the long run; without it there are 8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_while_he_takes_away_what_nobody_names_leaves_every_room_whole() {
    let kills: u64 = std::env::var("KILLS").map_or(8, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (config, house) = on_disk(directory.path()).await;
    let room = house.engine.create(&hanako(), CreateRoom::default()).await.unwrap();
    house.close(Duration::from_secs(10)).await;
    // A fixed walk, so that a failure can be repeated.
    let mut chance: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut gone = 0;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::leftovers::child_that_reclaims_until_it_is_killed", "--ignored"])
            .arg("--nocapture")
            .env(CHILD, format!("{room} {}", directory.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = |word: &str| {
            loop {
                let line = lines.next().expect("the child goes on").unwrap();
                if let Some(rest) = line.strip_prefix(word) {
                    return rest.trim().to_owned();
                }
            }
        };
        next("begun");
        // Every other one has gone through the room before.
        if kill % 2 == 1 {
            gone += next("gone").parse::<u64>().unwrap();
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis((chance >> 33) % 400)).await;
        child.kill().unwrap();
        child.wait().unwrap();

        let findings = verify_here(&config).await.unwrap();
        assert_eq!(findings.problem_count, 0, "{:?}", findings.problems);
        let (_, house) = on_disk(directory.path()).await;
        let report = house.engine.verify_state(&room).await.unwrap();
        assert!(report.broken.is_empty(), "after {} kills: {report:?}", kill + 1);
        let topic =
            Draft::state(&hanako(), StateEventType::RoomTopic, "", &json!({ "topic": "無事" })).unwrap();
        house.engine.send(&room, topic, None).await.unwrap();
        house.close(Duration::from_secs(10)).await;
    }
    assert!(gone > 0 || kills < 2, "nothing was taken away");
    let (_, house) = on_disk(directory.path()).await;
    house.engine.reclaim_state(&room).await.unwrap();
    let whole = house.engine.verify_state(&room).await.unwrap();
    assert!(whole.broken.is_empty(), "{whole:?}");
    assert_eq!(house.engine.reclaim_state(&room).await.unwrap().kept, whole.chunks);
    house.close(Duration::from_secs(10)).await;
}
