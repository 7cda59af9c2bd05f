//! What a member that hangs, lies and floods in many rooms at once costs the others, with figures.
//!
//! The long one: `cargo test --release -p federation --test flood -- --ignored --nocapture forty_rooms`.

use std::time::{Duration, Instant};

use hostile::{Conduct, Hostile};
use serde_json::json;

use crate::{
    meter::Meter,
    net::{Net, Node},
};

const A: &str = "kanazawa.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";
const ENTRIES: u64 = 1_000_000;

/// What it came to.
struct Figures {
    /// How long the slowest event of an honest server took.
    slowest: Duration,
    /// How much memory was taken.
    grown_mib: usize,
    /// How often the hostile server was asked for something.
    asked: usize,
}

/// An id that no event has.
fn invented(number: u64) -> String {
    format!("${number:0>43}")
}

/// Everything that it is asked for is a flood, in lists of countless items or in one item without an end.
fn flood(mallory: &Hostile) {
    let objects = |before, after| Conduct::list(before, ENTRIES, |_| "{}".to_owned(), after);
    let nested = |before, after| Conduct::list(before, ENTRIES, |_| "[0]".to_owned(), after);
    mallory.on("/get_missing_events/", objects(r#"{"events":["#, "]}"));
    mallory.on("/event_auth/", nested(r#"{"auth_chain":[{"content":["#, "]}]}"));
    mallory.on("/state/", nested(r#"{"auth_chain":[],"pdus":[{"content":["#, "]}]}"));
    mallory.on("/state_ids/", nested(r#"{"auth_chain_ids":[],"pdu_ids":[["#, "]]}"));
    mallory.on("/event/", Conduct::Hang);
}

async fn flooded(meter: &Meter, count: usize) -> Figures {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &["wajima.test"]).await);
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let honest = a.create_room(ALICE).await;
    b.join(BOB, &honest, A).await;
    let mut rooms = Vec::new();
    for _ in 0..count {
        let room = a.create_room(ALICE).await;
        rooms.push(mallory.join(&net, A, &room, "eve").await);
    }
    flood(&mallory);

    let work = async {
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
        for number in 1..=20 {
            let began = Instant::now();
            b.say(BOB, &honest, &format!("honest {number}")).await;
            a.until(&honest, async || a.said(&honest).await.len() == number).await;
            slowest = slowest.max(began.elapsed());
        }
        mallory.until_asked("/state_ids/", 1).await;
        slowest
    };
    let (slowest, grown) = meter.peak(work).await;
    let endpoints = ["/get_missing_events/", "/event_auth/", "/state_ids/", "/state/", "/event/"];
    let asked = endpoints.iter().map(|endpoint| mallory.asked(endpoint).len()).sum();
    Figures { slowest, grown_mib: grown >> 20, asked }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_rooms_of_a_member_that_hangs_lies_and_floods_delay_nobody_and_cost_little() {
    let meter = Meter::alone().await;
    let Figures { slowest, grown_mib, .. } = flooded(&meter, 4).await;
    // Whoever waited for one of the requests that hang would wait 15 seconds.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    // A few answers of some MiB at a time; a tree of one of them would take forty times as much.
    assert!(grown_mib < 100, "{grown_mib} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "its figures are what it is run for")]
#[ignore = "takes long where it is not optimised, and its time means something on an idle machine only"]
async fn forty_rooms_of_a_member_that_hangs_lies_and_floods_delay_nobody_and_cost_little() {
    let meter = Meter::alone().await;
    let Figures { slowest, grown_mib, asked } = flooded(&meter, 40).await;
    println!(
        "slowest honest event {slowest:?}, memory +{grown_mib} MiB, {asked} requests to the hostile member"
    );
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(grown_mib < 100, "{grown_mib} MiB");
}
