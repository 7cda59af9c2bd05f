//! What a member that hangs, lies and floods in many rooms at once costs the others, with figures.
//!
//! Memory is the process's, so this runs alone: `cargo test --release -p federation --test servers -- --ignored
//! --nocapture forty_rooms`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hostile::{Conduct, Hostile};
use serde_json::json;

use crate::net::{Net, Node};

const A: &str = "kanazawa.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";
const ROOMS: usize = 40;
const ENTRIES: u64 = 1_000_000;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1_024
}

/// An id that no event has.
fn invented(number: u64) -> String {
    format!("${number:0>43}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "its figures are what it is run for")]
#[ignore = "measures the memory of the whole process, so it runs alone"]
async fn forty_rooms_of_a_member_that_hangs_lies_and_floods_delay_nobody_and_cost_little() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &["wajima.test"]).await);
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let honest = a.create_room(ALICE).await;
    b.join(BOB, &honest, A).await;
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let room = a.create_room(ALICE).await;
        rooms.push(mallory.join(&net, A, &room, "eve").await);
    }
    let objects = |before, after| Conduct::list(before, ENTRIES, |_| "{}".to_owned(), after);
    mallory.on("/get_missing_events/", objects(r#"{"events":["#, "]}"));
    mallory.on("/event_auth/", objects(r#"{"auth_chain":["#, "]}"));
    mallory.on("/state/", objects(r#"{"auth_chain":[],"pdus":["#, "]}"));
    let ids = |number| format!("\"{}\"", invented(number));
    mallory.on("/state_ids/", Conduct::list(r#"{"auth_chain_ids":[],"pdu_ids":["#, ENTRIES, ids, "]}"));
    mallory.on("/event/", Conduct::Hang);

    let before = resident_bytes();
    let (peak, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watcher = {
        let (peak, is_over) = (peak.clone(), is_over.clone());
        std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                peak.fetch_max(resident_bytes(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    for (number, room) in (0..).zip(&mut rooms) {
        for part in 0..5_u64 {
            let message = room.message("eve", "lost");
            let lost = mallory.forge(room, &message, |event| {
                event["prev_events"] = json!([invented(number * 100 + part)]);
            });
            mallory.send(&net, A, &[lost.json]).await;
        }
    }
    mallory.until_asked("/get_missing_events/", 4).await;
    let mut slowest = Duration::ZERO;
    let mut said = Vec::new();
    for number in 0..20 {
        let text = format!("honest {number}");
        let began = Instant::now();
        b.say(BOB, &honest, &text).await;
        said.push(text);
        a.until(&honest, async || a.said(&honest).await.len() == said.len()).await;
        slowest = slowest.max(began.elapsed());
    }
    is_over.store(true, Ordering::SeqCst);
    watcher.join().unwrap();
    let grown = peak.load(Ordering::SeqCst).saturating_sub(before) >> 20;
    let asked: usize = ["/get_missing_events/", "/event_auth/", "/state_ids/", "/state/", "/event/"]
        .iter()
        .map(|endpoint| mallory.asked(endpoint).len())
        .sum();
    println!("slowest honest event {slowest:?}, memory +{grown} MiB, {asked} requests to the hostile member");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(grown < 100, "{grown} MiB");
}
