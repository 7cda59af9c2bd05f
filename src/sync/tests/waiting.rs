//! Long polling: nobody waits in vain, nothing is missed.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use room::read::receipts::ReceiptKind;
use ruma::{EventId, RoomId};
use serde_json::{Value, value::RawValue};

use super::town::{Client, Town, client, joined, message, said, town, user};

/// Starts a sync and lets it come to its wait.
async fn start(town: &Town, client: &Client) -> tokio::task::JoinHandle<Value> {
    let (syncs, request) = (town.syncs.clone(), client.request());
    let sleepers = town.clock.sleepers();
    let waiting = tokio::spawn(async move {
        let answer = syncs.sync(request).await.unwrap().gather().await;
        serde_json::from_slice(&answer).unwrap()
    });
    while town.clock.sleepers() == sleepers && !waiting.is_finished() {
        tokio::task::yield_now().await;
    }
    waiting
}

fn patient(name: &str) -> Client {
    Client { timeout: Duration::from_secs(30), ..client(name) }
}

#[tokio::test]
async fn a_waiting_client_is_woken_by_a_message() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut hanako = patient("hanako");
    hanako.sync(&town).await;
    let waiting = start(&town, &hanako).await;
    assert!(!waiting.is_finished());
    town.say("hanako", &room, "起").await;
    assert_eq!(said(&joined(&waiting.await.unwrap(), &room)["timeline"]["events"]), ["起"]);
}

#[tokio::test]
async fn a_wait_ends_empty_handed_when_its_time_is_over() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.room("taro").await;
    let mut hanako = patient("hanako");
    hanako.sync(&town).await;
    let waiting = start(&town, &hanako).await;
    town.room("taro").await;
    town.clock.advance(Duration::from_secs(30));
    let answer = waiting.await.unwrap();
    assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
    town.say("hanako", &room, "後").await;
    hanako.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
    assert_eq!(said(&joined(&hanako.sync(&town).await, &room)["timeline"]["events"]), ["後"]);
}

#[tokio::test]
async fn a_waiting_client_hears_of_a_room_that_it_joins_meanwhile_and_of_an_invite() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut taro = patient("taro");
    taro.sync(&town).await;
    let waiting = start(&town, &taro).await;
    town.invite("hanako", &room, "taro").await;
    let answer = waiting.await.unwrap();
    assert!(answer["rooms"]["invite"].get(room.as_str()).is_some());
    taro.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
    let waiting = start(&town, &taro).await;
    town.join("taro", &room).await;
    assert!(waiting.await.unwrap()["rooms"]["join"].get(room.as_str()).is_some());
}

#[tokio::test]
async fn a_stopping_server_answers_those_who_wait() {
    let town = town().await;
    town.room("hanako").await;
    let mut hanako = patient("hanako");
    hanako.sync(&town).await;
    let waiting = start(&town, &hanako).await;
    town.tasks.shutdown_token().cancel();
    assert!(waiting.await.unwrap()["next_batch"].is_string());
}

/// A room of so many that what is of the moment is gathered for them, all of whom wait.
async fn crowd(town: &Town, room: &RoomId) -> Vec<tokio::task::JoinHandle<Value>> {
    let mut waiting = Vec::new();
    // Some who are in it as well, and do not.
    for name in ["clerk1", "clerk2", "clerk3"] {
        town.join(name, room).await;
    }
    for number in 0..70 {
        let name = format!("reader{number}");
        town.join(&name, room).await;
    }
    for number in 0..70 {
        let mut reader = patient(&format!("reader{number}"));
        reader.sync(town).await;
        waiting.push(start(town, &reader).await);
    }
    waiting
}

async fn read(town: &Town, name: &str, room: &RoomId, event: &EventId) {
    town.rooms.set_receipt(&user(name), room, ReceiptKind::Public, None, event).await.unwrap();
}

#[tokio::test]
async fn receipts_gather_for_a_crowd_and_come_within_two_seconds() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "通達").await;
    let waiting = crowd(&town, &room).await;

    for clerk in ["clerk1", "clerk2", "clerk3"] {
        read(&town, clerk, &room, &event).await;
        town.clock.advance(Duration::from_millis(100));
    }
    assert!(waiting.iter().all(|reader| !reader.is_finished()));
    town.clock.advance(Duration::from_millis(1_900));

    for reader in waiting {
        let answer = reader.await.unwrap();
        let receipts = &joined(&answer, &room)["ephemeral"]["events"][0]["content"][event.as_str()]["m.read"];
        assert_eq!(receipts.as_object().unwrap().len(), 3, "{answer}");
    }
    // Also for one who comes back to find some.
    let mut late = patient("reader0");
    late.sync(&town).await;
    read(&town, "reader4", &room, &event).await;
    let late = start(&town, &late).await;
    assert!(!late.is_finished());
    town.clock.advance(Duration::from_millis(2_000));
    assert!(joined(&late.await.unwrap(), &room)["ephemeral"].is_object());
}

#[tokio::test]
async fn nothing_else_waits_for_what_gathers_for_a_crowd() {
    let town = town().await;
    let (room, small) = (town.room("hanako").await, town.room("hanako").await);
    town.join("reader0", &small).await;
    let event = town.say("hanako", &room, "通達").await;
    let among_few = town.say("hanako", &small, "一").await;
    let mut crowd = crowd(&town, &room).await;
    crowd.remove(0).abort();

    let cases =
        ["message", "message elsewhere", "invite", "tag", "global data", "receipt among few", "no time"];
    for (number, case) in (1..).zip(cases) {
        let mut reader = patient("reader0");
        reader.sync(&town).await;
        read(&town, &format!("reader{number}"), &room, &event).await;
        let of_reader = user("reader0");
        match case {
            "message" => _ = town.say("hanako", &room, "至急").await,
            "message elsewhere" => _ = town.say("hanako", &small, "至急").await,
            "invite" => town.invite("hanako", &town.room("hanako").await, "reader0").await,
            "tag" => {
                let details = RawValue::from_string("{}".to_owned()).unwrap();
                town.accounts.set_room_tag(&of_reader, &room, "u.work", &details).await.unwrap();
            }
            "global data" => {
                let content = Bytes::from_static(b"{}");
                town.accounts.set_account_data(&of_reader, "jp.lg.note", content).await.unwrap();
            }
            "receipt among few" => read(&town, "hanako", &small, &among_few).await,
            _ => reader.timeout = Duration::ZERO,
        }
        let (syncs, request) = (town.syncs.clone(), reader.request());
        let answer = tokio::spawn(async move { syncs.sync(request).await.unwrap().gather().await });
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(answer.is_finished(), "{case}");
    }
}

#[tokio::test]
async fn how_far_he_has_read_himself_is_told_a_user_at_once_also_in_a_crowd() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "通達").await;
    let mut waiting = crowd(&town, &room).await;

    read(&town, "clerk1", &room, &event).await;
    for (number, kind) in [(1, ReceiptKind::Private), (2, ReceiptKind::Public)] {
        let name = format!("reader{number}");
        let own = waiting.remove(1);
        town.rooms.set_receipt(&user(&name), &room, kind, None, &event).await.unwrap();

        let answer = own.await.unwrap();
        let told = &joined(&answer, &room)["ephemeral"]["events"][0]["content"][event.as_str()];
        let of_kind = told[kind.as_str()].as_object().unwrap();
        assert_eq!((told.as_object().unwrap().len(), of_kind.len()), (1, 1), "of others later: {told}");
        assert!(of_kind.contains_key(user(&name).as_str()));
        assert!(waiting.iter().all(|reader| !reader.is_finished()));

        let mut next = patient(&name);
        next.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
        let next = start(&town, &next).await;
        assert!(!next.is_finished());
        if kind == ReceiptKind::Public {
            town.clock.advance(Duration::from_millis(2_000));
            assert_eq!(receipts(&next.await.unwrap(), &room), ["clerk1"], "his own once");
        }
    }
}

#[tokio::test]
async fn a_message_waits_for_nothing_in_a_crowd_not_even_behind_a_receipt() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "通達").await;
    let waiting = crowd(&town, &room).await;

    read(&town, "clerk1", &room, &event).await;
    // What wakes each of them has come; so they look, find it, and go on waiting for what is urgent.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.iter().all(|reader| !reader.is_finished()));
    town.say("hanako", &room, "至急").await;

    for (number, reader) in waiting.into_iter().enumerate() {
        let answer = reader.await.unwrap();
        assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["至急"]);
        // Nor is it made larger by them: they come in their time.
        assert!(joined(&answer, &room)["ephemeral"].is_null(), "{answer}");
        if number == 0 {
            let mut next = patient("reader0");
            next.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
            let next = start(&town, &next).await;
            town.clock.advance(Duration::from_millis(2_000));
            assert_eq!(receipts(&next.await.unwrap(), &room), ["clerk1"]);
        }
    }
}

/// Who has read something, by an answer; sorted.
fn receipts(answer: &Value, room: &RoomId) -> Vec<String> {
    let events = joined(answer, room)["ephemeral"]["events"].as_array().cloned().unwrap_or_default();
    let receipts = events.iter().filter(|event| event["type"] == "m.receipt");
    let of_events = receipts.flat_map(|event| event["content"].as_object().unwrap().values());
    let users = of_events.flat_map(|of_event| of_event["m.read"].as_object().unwrap().keys());
    let mut names: Vec<String> = users.map(|user| user[1..].split(':').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn receipts_come_once_each_and_in_time_however_many_messages_come_before() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "通達").await;
    let crowd = crowd(&town, &room).await;
    let mut reader = patient("reader0");
    reader.sync(&town).await;

    let (mut seen, mut said_to_him) = (Vec::new(), Vec::new());
    // In each second a receipt, and ten messages.
    for second in 1..=12 {
        read(&town, &format!("reader{}", 20 + second), &room, &event).await;
        for message in 0..10 {
            town.say("hanako", &room, &format!("{second}-{message}")).await;
            let answer = reader.sync(&town).await;
            said_to_him.extend(said(&joined(&answer, &room)["timeline"]["events"]));
            seen.extend(receipts(&answer, &room));
            town.clock.advance(Duration::from_millis(100));
        }
        // None is older than two seconds.
        assert!(seen.len() + 2 >= second, "{second}: {seen:?}");
    }
    read(&town, "reader33", &room, &event).await;
    let waiting = start(&town, &reader).await;
    town.clock.advance(Duration::from_millis(2_000));
    seen.extend(receipts(&waiting.await.unwrap(), &room));

    assert_eq!(said_to_him.len(), 120);
    let wanted: Vec<String> = (21..=33).map(|number| format!("reader{number}")).collect();
    assert_eq!(seen, wanted);
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn receipts_that_were_left_for_later_come_with_whatever_is_asked_next() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "通達").await;
    let crowd = crowd(&town, &room).await;
    type Change<'a> = &'a dyn Fn(&mut Client);
    let cases: [(&str, Change<'_>); 5] = [
        ("all state", &|reader| reader.full_state = true),
        ("no time", &|reader| reader.timeout = Duration::ZERO),
        ("a day later", &|_| town.clock.advance(Duration::from_secs(86_400))),
        ("the calendar was set back", &|_| town.clock.set_back(Duration::from_secs(3_600))),
        ("another device", &|reader| reader.device = "DESKTOP".into()),
    ];
    for (number, (case, change)) in (1..).zip(cases) {
        let mut reader = patient("reader0");
        reader.sync(&town).await;
        let name = format!("reader{number}");
        read(&town, &name, &room, &event).await;
        town.say("hanako", &room, case).await;
        let answer = reader.sync(&town).await;
        assert!(receipts(&answer, &room).is_empty(), "{case}: {answer}");

        change(&mut reader);
        let waiting = start(&town, &reader).await;
        town.clock.advance(Duration::from_millis(2_000));
        assert_eq!(receipts(&waiting.await.unwrap(), &room), [name], "{case}");
    }
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Everybody writes and reads at once; each reader must see every message exactly once and in one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_message_is_missed_or_doubled_while_many_write() {
    const WRITERS: usize = 4;
    const MESSAGES: usize = 40;
    let town = std::sync::Arc::new(town().await);
    let rooms = [town.room("hanako").await, town.room("hanako").await];
    for room in &rooms {
        for reader in 0..6 {
            town.join(&format!("reader{reader}"), room).await;
        }
    }
    let mut readers = Vec::new();
    for reader in 0..6 {
        // Readers differ in how much they take at a time, and two wait for no news at all.
        let filter = serde_json::json!({ "room": {
            "timeline": { "limit": if reader % 2 == 0 { 100 } else { 3 } },
            "state": { "lazy_load_members": reader % 3 == 0 },
        } });
        let mut client = Client {
            timeout: if reader < 4 { Duration::from_secs(30) } else { Duration::ZERO },
            ..client(&format!("reader{reader}")).with_filter(filter)
        };
        client.sync(&town).await;
        let (town, rooms) = (town.clone(), rooms.clone());
        readers.push(tokio::spawn(async move {
            let mut seen: Vec<Vec<String>> = vec![Vec::new(); rooms.len()];
            while seen.iter().any(|seen| seen.len() < WRITERS * MESSAGES) {
                let from = client.since.clone();
                let answer = client.sync(&town).await;
                for (room, seen) in rooms.iter().zip(&mut seen) {
                    let timeline = &joined(&answer, room)["timeline"];
                    if timeline["limited"] == true {
                        seen.extend(gap(&town, room, from.as_deref(), timeline).await);
                    }
                    seen.extend(said(&timeline["events"]));
                }
                tokio::task::yield_now().await;
            }
            seen
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (town, rooms) = (town.clone(), rooms.clone());
        writers.push(tokio::spawn(async move {
            for number in 0..MESSAGES {
                for room in &rooms {
                    let draft = message("hanako", &format!("{writer}-{number}"));
                    town.engine.send(room, draft, None).await.unwrap();
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut orders = HashSet::new();
    for reader in readers {
        let seen = reader.await.unwrap();
        for seen in &seen {
            let distinct: HashSet<_> = seen.iter().collect();
            assert_eq!((seen.len(), distinct.len()), (WRITERS * MESSAGES, WRITERS * MESSAGES));
        }
        orders.insert(seen);
    }
    assert_eq!(orders.len(), 1, "all readers saw the same order");
}

/// What a limited timeline left out, as `/messages` gives it.
async fn gap(town: &Town, room: &ruma::RoomId, from: Option<&str>, timeline: &Value) -> Vec<String> {
    let query = room::read::messages::PageQuery {
        from: from.map(|from| from.parse().unwrap()),
        to: Some(timeline["prev_batch"].as_str().unwrap().parse().unwrap()),
        direction: room::read::timeline::Direction::Forward,
        limit: 1_000,
        filter: Default::default(),
    };
    let reader = super::town::user("hanako");
    let viewer = room::read::view::Viewer::user(&reader);
    let page = town.engine.messages(&viewer, room, &query).await.unwrap();
    page.chunk
        .iter()
        .map(|look| serde_json::from_str::<Value>(look.event.pdu().content_str()).unwrap())
        .map(|content| content["body"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_wait_is_as_long_as_it_was_meant_however_the_calendar_is_set() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut hanako = patient("hanako")
        .with_filter(serde_json::json!({ "room": { "timeline": { "not_types": ["m.room.message"] } } }));
    hanako.sync(&town).await;
    let steps: [&dyn Fn(); 2] = [&|| town.clock.set_back(Duration::from_secs(3_600)), &|| {
        town.clock.set_forward(Duration::from_secs(365 * 24 * 3_600))
    }];
    for set in steps {
        let waiting = start(&town, &hanako).await;
        set();
        // Something that wakes the client and is not for it: the rest of the wait is looked at again.
        town.say("hanako", &room, "起").await;
        town.clock.advance(Duration::from_secs(29));
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        town.clock.advance(Duration::from_secs(1));
        waiting.await.unwrap();
    }
}
