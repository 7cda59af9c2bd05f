//! What `/sync` costs over a store in memory: a wake-up of many readers, and a first answer.
//!
//! `cargo run --release -p sync --example sync_cost`
//!
//! `MANY_ROOMS=1500` measures sliding sync and `/sync` for somebody in so many rooms instead: the first window, all rooms, and
//! calls that find nothing new or one message.
//!
//! `ROOMS_EACH` gives each reader so many rooms of his own, `READERS` and `ROUNDS` say how many readers are woken how
//! often; with any of them nothing but wake-ups is measured. What grows with the rooms of a reader shows on a machine
//! that is not quiet as well, in the misses of a simulated cache: the difference between few rounds and many of
//! `valgrind --tool=cachegrind --cache-sim=yes --LL=1048576,16,64`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

use std::{sync::Arc, time::Duration, time::Instant};

use account::{Accounts, PasswordCost};
use base::{Clock, Metrics, Random, Tasks};
use engine::{CreateRoom, Engine, Joining, NoRemote, Preset};
use pdu::{Authorities, Authority, Draft};
use push::Push;
use room::AllowAll;
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::TimelineEventType};
use store::{MemoryBackend, MemoryDisk, Options, Store};
use sync::{SlidingRequest, StateAfter, SyncFilter, SyncRequest, Syncs};
use to_device::{NoContacts, ToDevice};

const ROOMS: usize = 200;
const MESSAGES: usize = 50;

struct Server {
    engine: Engine,
    syncs: Syncs,
    store: Store,
}

async fn server(disk: &MemoryDisk) -> Server {
    let (metrics, clock, random) = (Metrics::new(), Clock::system(), Random::os());
    let tasks = Tasks::new(&metrics);
    let store =
        Store::open(Arc::new(MemoryBackend::open(disk)), Options::default(), &tasks, &metrics).await.unwrap();
    let authority = Authority::new("a.test".try_into().unwrap(), "1", &[7; 32]).unwrap();
    let authorities = Arc::new(Authorities::new([authority]));
    let engine = Engine::open(engine::Parts {
        store: store.clone(),
        config: engine::Config::default(),
        authorities: authorities.clone(),
        clock: clock.clone(),
        random: random.clone(),
        policy: Arc::new(AllowAll),
        projections: Vec::new(),
        remote: Arc::new(NoRemote),
        keys: Arc::new(NoRemote),
        tasks: &tasks,
        metrics: &metrics,
    })
    .await
    .unwrap();
    let config = account::Config { password: PasswordCost::cheapest(), ..account::Config::default() };
    let accounts = Accounts::open(
        store.clone(),
        engine.clone(),
        config,
        clock.clone(),
        random.clone(),
        &tasks,
        &metrics,
    )
    .await
    .unwrap();
    let to_device = ToDevice::open(to_device::Parts {
        store: store.clone(),
        accounts: accounts.clone(),
        authorities,
        contacts: Arc::new(NoContacts),
        kept: std::time::Duration::from_secs(90 * 24 * 60 * 60),
        memory: base::ByteSize::mib(1),
        clock: clock.clone(),
        random,
        tasks: &tasks,
        metrics: &metrics,
    });
    let (rooms, memory) = (engine.rooms().clone(), base::ByteSize::mib(8));
    let push = Push::new(rooms, accounts.clone(), store.clone(), memory, clock.clone(), &metrics);
    let encryption = encryption::Encryption::open(encryption::Parts {
        tells_names: false,
        store: store.clone(),
        rooms: engine.rooms().clone(),
        accounts: accounts.clone(),
        peers: Arc::new(encryption::NoPeers),
        clock: clock.clone(),
        random: Random::seeded(8),
        memory: base::ByteSize::mib(1),
        metrics: &metrics,
    });
    let syncs = Syncs::new(
        engine.rooms().clone(),
        accounts,
        to_device,
        push,
        encryption,
        store.clone(),
        clock,
        base::ByteSize::mib(32),
        &tasks,
        &metrics,
    );
    Server { engine, syncs, store }
}

fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:a.test")).unwrap()
}

fn request(user: &UserId, filter: &Arc<SyncFilter>) -> SyncRequest {
    SyncRequest {
        user: user.to_owned(),
        device: "PHONE".into(),
        since: None,
        rest: room::read::token::Rest::default(),
        timeout: Duration::from_secs(30),
        full_state: false,
        presence: None,
        state_after: StateAfter::default(),
        filter: filter.clone(),
    }
}

fn token(answer: &[u8]) -> store::Position {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    answer["next_batch"].as_str().unwrap().parse::<room::read::token::Token>().unwrap().position()
}

async fn room(server: &Server, creator: &UserId) -> OwnedRoomId {
    let wishes =
        CreateRoom { preset: Preset::PublicChat, name: Some("連絡".to_owned()), ..CreateRoom::default() };
    server.engine.create(creator, wishes).await.unwrap()
}

async fn say(server: &Server, sender: &UserId, room: &OwnedRoomId, number: usize) {
    let content = serde_json::json!({ "msgtype": "m.text", "body": format!("本日の連絡 {number}") });
    let draft = Draft::message(sender, TimelineEventType::RoomMessage, &content).unwrap();
    server.engine.send(room, draft, None).await.unwrap();
}

/// CPU time of this process so far, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

#[tokio::main]
async fn main() {
    let disk = MemoryDisk::default();
    let server = Arc::new(server(&disk).await);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(rooms) = number("MANY_ROOMS") {
        return many_rooms(&server, rooms).await;
    }
    let chosen = [number("READERS"), number("ROUNDS"), number("ROOMS_EACH")];
    if std::env::var_os("COLD").is_none() {
        let [readers, rounds, rooms] = chosen;
        wake_ups(&server, readers.unwrap_or(50), rounds.unwrap_or(400), rooms.unwrap_or(0)).await;
    }
    if chosen.iter().any(Option::is_some) {
        return;
    }
    first_answers(&disk, server).await;
}

async fn wake_ups(server: &Arc<Server>, count: usize, rounds: usize, rooms_each: usize) {
    let hanako = user("hanako");
    let shared = room(server, &hanako).await;
    let filter = Arc::new(SyncFilter::parse(b"{}").unwrap());
    let mut readers = Vec::new();
    for reader in 0..count {
        let reader = user(&format!("reader{reader}"));
        for _ in 0..rooms_each {
            // Two rooms that one user makes in one moment are the same room.
            tokio::time::sleep(Duration::from_millis(1)).await;
            room(server, &reader).await;
        }
        server.engine.join(&reader, &shared, &[], Joining::default()).await.unwrap();
        let mut request = request(&reader, &filter);
        request.since = Some(token(&server.syncs.sync(request.clone()).await.unwrap().gather().await));
        readers.push(request);
    }

    // What sending alone costs.
    let before = cpu();
    for number in 0..rounds {
        say(server, &hanako, &shared, number).await;
    }
    let sending = cpu() - before;
    for reader in &mut readers {
        reader.since = Some(server.store.head());
    }

    // Each reader waits in a long poll for each message.
    let (told, mut heard) = tokio::sync::mpsc::channel(count);
    for mut request in readers {
        let (server, told) = (server.clone(), told.clone());
        tokio::spawn(async move {
            for _ in 0..rounds {
                let answer = server.syncs.sync(request.clone()).await.unwrap().gather().await;
                request.since = Some(token(&answer));
                told.send(Instant::now()).await.unwrap();
            }
        });
    }
    let before = cpu();
    let mut delays = Vec::new();
    for number in 0..rounds {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let sent = Instant::now();
        say(server, &hanako, &shared, number).await;
        for _ in 0..count {
            delays.push(heard.recv().await.unwrap().duration_since(sent));
        }
    }
    let reading = cpu() - before - sending;
    delays.sort_unstable();
    let answers = (count * rounds) as f64;
    println!(
        "wake-up: {:.3} ms CPU an answer ({count} readers of one room); delivered in {:.2} ms (p50), {:.2} ms (p99); sending {:.3} ms CPU",
        reading * 1_000.0 / answers,
        delays[delays.len() / 2].as_secs_f64() * 1_000.0,
        delays[delays.len() * 99 / 100].as_secs_f64() * 1_000.0,
        sending * 1_000.0 / rounds as f64,
    );
}

/// A request of a client that shows a list of rooms as Element X does, from the most recent one to this.
fn sliding(user: &UserId, last: usize) -> SlidingRequest {
    let required = serde_json::json!([
        ["m.room.member", "$LAZY"],
        ["m.room.member", "$ME"],
        ["m.room.name", ""],
        ["m.room.encryption", ""],
        ["m.room.avatar", ""],
        ["m.room.topic", ""],
        ["m.room.canonical_alias", ""],
        ["m.room.power_levels", ""],
    ]);
    let body = serde_json::json!({
        "conn_id": "room-list",
        "lists": { "all_rooms": { "ranges": [[0, last]], "timeline_limit": 1, "required_state": required } },
        "extensions": {
            "account_data": { "enabled": true }, "receipts": { "enabled": true }, "typing": { "enabled": true },
        },
    });
    SlidingRequest {
        user: user.to_owned(),
        device: "PHONE".into(),
        pos: None,
        timeout: Duration::ZERO,
        presence: None,
        body: serde_json::from_value(body).unwrap(),
    }
}

/// Asks and goes on from there; how many bytes were told.
async fn slide(server: &Server, request: &mut SlidingRequest) -> usize {
    let answer = server.syncs.slide(request).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    request.pos = Some(told["pos"].as_str().unwrap().to_owned());
    answer.len()
}

async fn many_rooms(server: &Arc<Server>, count: usize) {
    let jiro = user("jiro");
    let mut rooms = Vec::new();
    for _ in 0..count {
        // Two rooms that one user makes in one moment are the same room.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let room = room(server, &jiro).await;
        say(server, &jiro, &room, 0).await;
        rooms.push(room);
    }
    let mut client = sliding(&jiro, 19);
    let (start, before) = (Instant::now(), cpu());
    let bytes = slide(server, &mut client).await;
    println!(
        "sliding sync, {count} rooms: the first 20 in {:.1} ms, {:.0} ms CPU, {} KiB",
        start.elapsed().as_secs_f64() * 1_000.0,
        (cpu() - before) * 1_000.0,
        bytes / 1024
    );
    const CALLS: usize = 2_000;
    for (name, last) in [("20 rooms", 19), ("all rooms", 100_000)] {
        client.body = sliding(&jiro, last).body;
        let (start, before) = (Instant::now(), cpu());
        while slide(server, &mut client).await > 4 * 1024 {}
        let elapsed = start.elapsed().as_secs_f64() * 1_000.0;
        println!("  a window of {name}: {elapsed:.1} ms, {:.0} ms CPU", (cpu() - before) * 1_000.0);
        let before = cpu();
        for _ in 0..CALLS {
            slide(server, &mut client).await;
        }
        let each = (cpu() - before) * 1_000_000.0 / CALLS as f64;
        println!("  nothing new in a window of {name}: {each:.1} µs CPU a call");
        let (mut sending, mut telling) = (0.0, 0.0);
        for number in 0..CALLS {
            let before = cpu();
            say(server, &jiro, &rooms[number % rooms.len().min(20)], number).await;
            let between = cpu();
            slide(server, &mut client).await;
            sending += between - before;
            telling += cpu() - between;
        }
        let per_call = |seconds: f64| seconds * 1_000_000.0 / CALLS as f64;
        println!(
            "  one message in a window of {name}: {:.0} µs CPU a call (sending it {:.0} µs)",
            per_call(telling),
            per_call(sending)
        );
    }
    let filter = Arc::new(SyncFilter::parse(b"{}").unwrap());
    let mut request = SyncRequest { timeout: Duration::ZERO, ..request(&jiro, &filter) };
    let (start, before) = (Instant::now(), cpu());
    let answer = server.syncs.sync(request.clone()).await.unwrap().gather().await;
    println!(
        "/sync, {count} rooms: all in {:.1} ms, {:.0} ms CPU, {} KiB",
        start.elapsed().as_secs_f64() * 1_000.0,
        (cpu() - before) * 1_000.0,
        answer.len() / 1024
    );
    request.since = Some(token(&answer));
    let before = cpu();
    for _ in 0..CALLS {
        let answer = server.syncs.sync(request.clone()).await.unwrap().gather().await;
        request.since = Some(token(&answer));
    }
    println!("  nothing new: {:.1} µs CPU a call", (cpu() - before) * 1_000_000.0 / CALLS as f64);
}

async fn first_answers(disk: &MemoryDisk, server: Arc<Server>) {
    let taro = user("taro");
    for _ in 0..ROOMS {
        let room = room(&server, &taro).await;
        for number in 0..MESSAGES {
            say(&server, &taro, &room, number).await;
        }
    }
    for (filter, name) in [
        (&br#"{"room":{"timeline":{"limit":50}}}"#[..], "limit 50"),
        (&br#"{"room":{"timeline":{"limit":50},"state":{"lazy_load_members":true}}}"#[..], "limit 50, lazy"),
        (&b"{}"[..], "default limit"),
    ] {
        let filter = Arc::new(SyncFilter::parse(filter).unwrap());
        for round in 0..4 {
            let (start, before) = (Instant::now(), cpu());
            let answer = server.syncs.sync(request(&taro, &filter)).await.unwrap().gather().await;
            println!(
                "first sync of {ROOMS} rooms x {MESSAGES} ({name}), round {round}: {:.1} ms, {:.0} ms CPU, {} KiB",
                start.elapsed().as_secs_f64() * 1_000.0,
                (cpu() - before) * 1_000.0,
                answer.len() / 1024,
            );
        }
    }
    server.store.close().await.unwrap();
    let again = self::server(disk).await;
    let filter = Arc::new(SyncFilter::parse(br#"{"room":{"timeline":{"limit":50}}}"#).unwrap());
    let start = Instant::now();
    again.syncs.sync(request(&taro, &filter)).await.unwrap().gather().await;
    if std::env::var_os("COLD").is_some() {
        again.store.close().await.unwrap();
        for _ in 0..40 {
            let again = self::server(disk).await;
            let start = Instant::now();
            again.syncs.sync(request(&taro, &filter)).await.unwrap().gather().await;
            println!("cold {:.1}", start.elapsed().as_secs_f64() * 1_000.0);
            again.store.close().await.unwrap();
        }
    }
    println!("the same with nothing in any cache: {:.1} ms", start.elapsed().as_secs_f64() * 1_000.0);
}
