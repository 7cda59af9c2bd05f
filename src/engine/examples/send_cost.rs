//! What sending costs without disk and network: `cargo run --release -p engine --example send_cost`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::{sync::Arc, time::Instant};

use base::{Clock, Metrics, Random, Tasks};
use engine::{Config, CreateRoom, Engine, Joining, NoRemote, Preset, Txn};
use pdu::{Authorities, Authority, Draft};
use room::AllowAll;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, events::TimelineEventType};
use serde_json::json;
use store::{MemoryBackend, Options, Store};

const MEMBERS: usize = 50;
const MESSAGES: usize = 8_000;

/// CPU time of this process so far, in µs.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let store =
        Store::open(Arc::new(MemoryBackend::new()), Options::default(), &tasks, &metrics).await.unwrap();
    let name = OwnedServerName::try_from("bench.test").unwrap();
    let authority = Authority::new(name, "1", &[1; 32]).unwrap();
    let engine = Engine::open(engine::Parts {
        store,
        config: Config::default(),
        authorities: Arc::new(Authorities::new([authority])),
        clock: Clock::system(),
        random: Random::os(),
        policy: Arc::new(AllowAll),
        projections: Vec::new(),
        remote: Arc::new(NoRemote),
        keys: Arc::new(NoRemote),
        tasks: &tasks,
        metrics: &metrics,
    })
    .await
    .unwrap();
    let users: Vec<OwnedUserId> =
        (0..MEMBERS).map(|index| OwnedUserId::try_from(format!("@u{index}:bench.test")).unwrap()).collect();
    let wishes = CreateRoom { preset: Preset::PublicChat, ..CreateRoom::default() };
    let room = engine.create(&users[0], wishes).await.unwrap();
    for user in &users[1..] {
        engine.join(user, &room, &[], Joining::default()).await.unwrap();
    }
    for senders in [1, 8, 32] {
        let (began, cpu) = (Instant::now(), cpu_us());
        send(&engine, &room, &users[..senders]).await;
        let (time, cpu) = (began.elapsed(), cpu_us() - cpu);
        println!(
            "{senders:>2} senders: {:>6.0} messages/s, {:>4} µs CPU each",
            MESSAGES as f64 / time.as_secs_f64(),
            cpu / MESSAGES as u64
        );
    }
}

async fn send(engine: &Engine, room: &OwnedRoomId, users: &[OwnedUserId]) {
    let each = MESSAGES / users.len();
    let mut running = Vec::new();
    for user in users {
        let (engine, room, user) = (engine.clone(), room.clone(), user.clone());
        let senders = users.len();
        running.push(tokio::spawn(async move {
            for index in 0..each {
                let content = json!({ "msgtype": "m.text", "body": format!("避難所を開設しました {index}") });
                let draft = Draft::message(&user, TimelineEventType::RoomMessage, &content).unwrap();
                let txn = Txn { device: "DEVICE".into(), id: format!("{senders}-{index}").into() };
                engine.send(&room, draft, Some(&txn)).await.unwrap();
            }
        }));
    }
    for one in running {
        one.await.unwrap();
    }
}
