//! What the steps of one message cost: `cargo run --release -p pdu --example cost`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::{
    collections::HashMap,
    hint::black_box,
    time::{Duration, Instant},
};

use pdu::{
    Authority, Draft, KeyRing, Pdu, RoomVersion, build, check_auth, check_auth_independent, client_event,
    redact, sign, verify,
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, UInt,
    events::{StateEventType, TimelineEventType},
    owned_server_name, owned_user_id,
};
use serde_json::json;

/// Prints the mean, and that of the best hundred: what it costs when nothing else runs.
fn measure(name: &str, mut step: impl FnMut()) {
    let started = Instant::now();
    let mut best = Duration::MAX;
    let mut rounds = 0_u32;
    while started.elapsed() < Duration::from_millis(300) {
        let batch = Instant::now();
        for _ in 0..100 {
            step();
        }
        best = best.min(batch.elapsed());
        rounds += 100;
    }
    let mean = started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
    println!("{name:<42} {:>9.2} {mean:>9.2}", best.as_secs_f64() * 1e4);
}

fn at(ts: u32) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::from(ts))
}

fn main() {
    let version = RoomVersion::V12;
    let authority = Authority::new(owned_server_name!("kanazawa.test"), "a1", &[7; 32]).unwrap();
    let hanako = owned_user_id!("@hanako:kanazawa.test");
    let mut keys = KeyRing::new();
    keys.insert_authority(&authority);

    let say = |room: Option<&Pdu>, kind: &str, key: Option<&str>, content, prev: &[&Pdu], auth: &[&Pdu]| {
        let draft = Draft {
            kind: TimelineEventType::from(kind),
            state_key: key.map(str::to_owned),
            content: serde_json::value::to_raw_value(&content).unwrap(),
            sender: hanako.clone(),
            redacts: None,
        };
        let ids = |events: &[&Pdu]| -> Vec<OwnedEventId> {
            events.iter().map(|pdu| pdu.event_id().to_owned()).collect()
        };
        let room_id = room.map(Pdu::room_id);
        let unsigned = build(version, &draft, room_id, &ids(prev), &ids(auth), 5, at(1_700_000)).unwrap();
        sign(unsigned, &authority).unwrap().into_pdu()
    };
    let users: HashMap<OwnedUserId, i32> =
        (0..500).map(|n| (OwnedUserId::try_from(format!("@user{n}:kanazawa.test")).unwrap(), 50)).collect();
    let create = say(None, "m.room.create", Some(""), json!({ "room_version": "12" }), &[], &[]);
    let room = Some(&create);
    let member =
        say(room, "m.room.member", Some(hanako.as_str()), json!({ "membership": "join" }), &[&create], &[]);
    let levels =
        say(room, "m.room.power_levels", Some(""), json!({ "users": users }), &[&member], &[&member]);
    let content = json!({ "msgtype": "m.text", "body": "避難所の開設状況を共有します。".repeat(4) });
    let message =
        say(room, "m.room.message", None, content.clone(), &[&levels, &member], &[&levels, &member]);

    let draft = Draft::message(&hanako, TimelineEventType::RoomMessage, &content).unwrap();
    let refs = [levels.event_id().to_owned(), member.event_id().to_owned()];
    let room_id = create.room_id();
    println!("a message of {} bytes, power levels with 500 users", message.json().len());
    println!("{:<42} {:>9} {:>9}", "µs each", "best", "mean");
    measure("build", || {
        black_box(build(version, &draft, Some(room_id), &refs, &refs, 5, at(1)).unwrap());
    });
    measure("build + hash + sign + id", || {
        let unsigned = build(version, &draft, Some(room_id), &refs, &refs, 5, at(1)).unwrap();
        black_box(sign(unsigned, &authority).unwrap());
    });
    measure("parse (canonicalise, check, id)", || {
        black_box(Pdu::parse(version, message.json()).unwrap());
    });
    measure("from_stored", || {
        black_box(Pdu::from_stored(version, message.json().clone(), message.event_id().to_owned()).unwrap());
    });
    measure("verify (one signature, content hash)", || {
        black_box(verify(message.clone(), &keys).unwrap());
    });
    let events = [&create, &member, &levels];
    let state = |kind: &StateEventType, key: &str| {
        events.iter().find(|pdu| pdu.is_state(&kind.clone().into(), key)).map(|pdu| (*pdu).clone())
    };
    measure("check_auth of a message", || check_auth(black_box(&message), &state).unwrap());
    let fetch = |id: &ruma::EventId| events.iter().find(|pdu| pdu.event_id() == id).map(|pdu| (*pdu).clone());
    measure("check_auth_independent of a message", || {
        check_auth_independent(black_box(&message), fetch).unwrap();
    });
    measure("check_auth of a membership", || check_auth(black_box(&member), &state).unwrap());
    measure("client_event", || {
        black_box(client_event(&message));
    });
    measure("redact", || {
        black_box(redact(&message).unwrap());
    });
}
