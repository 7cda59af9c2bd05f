//! What is unread, in rooms and threads.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use base::{ByteSize, Metrics};
use bytes::Bytes;
use pdu::Draft;
use push::{Asked, Push};
use room::read::receipts::ReceiptKind;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, RoomId,
    events::TimelineEventType,
    push::{NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule, RuleKind},
};
use serde_json::{Value, json};

use super::town::{Client, Town, client, joined, said, town, user};

fn by_thread(name: &str) -> Client {
    client(name).with_filter(json!({ "room": { "timeline": { "unread_thread_notifications": true } } }))
}

/// Counts as a first answer tells them: in all or in no thread (notifications, highlights), and of threads.
async fn counts(town: &Town, client: Client, room: &RoomId) -> (u64, u64, Value) {
    let answer = client.clone().sync(town).await;
    counts_in(&answer, room)
}

fn counts_in(answer: &Value, room: &RoomId) -> (u64, u64, Value) {
    let room = joined(answer, room);
    let number = |name: &str| room["unread_notifications"][name].as_u64().unwrap();
    (number("notification_count"), number("highlight_count"), room["unread_thread_notifications"].clone())
}

impl Town {
    async fn send(&self, name: &str, room: &RoomId, kind: &str, content: Value) -> OwnedEventId {
        let draft = Draft::message(&user(name), TimelineEventType::from(kind), &content).unwrap();
        self.engine.send(room, draft, None).await.unwrap()
    }

    async fn related(&self, room: &RoomId, how: &str, to: &EventId, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body,
            "m.relates_to": { "rel_type": how, "event_id": to } });
        self.send("alice", room, "m.room.message", content).await
    }

    async fn read(&self, name: &str, room: &RoomId, thread: Option<&str>, event: &EventId) {
        let kind = ReceiptKind::Public;
        self.rooms.set_receipt(&user(name), room, kind, thread, event).await.unwrap();
    }

    async fn room_of_two(&self) -> OwnedRoomId {
        let room = self.room("alice").await;
        self.join("bob", &room).await;
        room
    }
}

/// The steps of Complement's TestThreadedReceipts.
#[tokio::test]
async fn receipts_of_threads_and_of_none_read_what_they_are_for() {
    let town = town().await;
    let room = town.room_of_two().await;
    let (mut plain, mut threaded) = (client("bob"), by_thread("bob"));
    plain.sync(&town).await;
    threaded.sync(&town).await;
    let (since, since_threaded) = (plain.clone(), threaded.clone());
    let a = town.say("alice", &room, "Hello world!").await;
    let b = town.related(&room, "m.thread", &a, "Start thread!").await;
    town.related(&room, "m.thread", &a, "Thread response @bob:kanazawa.test!").await;
    let d = town.say("alice", &room, "Hello @bob:kanazawa.test!").await;
    town.related(&room, "m.thread", &a, "End thread").await;
    let f = town.related(&room, "m.reference", &a, "Reference!").await;
    let content = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": f, "key": "test" } });
    let g = town.send("alice", &room, "m.room.reaction", content).await;

    let expect = async |all: (u64, u64), main: (u64, u64), thread: Option<(u64, u64)>| {
        for plain in [client("bob"), since.clone()] {
            assert_eq!(counts(&town, plain, &room).await, (all.0, all.1, Value::Null));
        }
        let thread = match thread {
            Some((unread, loud)) => {
                json!({ a.as_str(): { "notification_count": unread, "highlight_count": loud } })
            }
            None => Value::Null,
        };
        for threaded in [by_thread("bob"), since_threaded.clone()] {
            assert_eq!(counts(&town, threaded, &room).await, (main.0, main.1, thread.clone()));
        }
    };
    expect((6, 2), (3, 1), Some((3, 1))).await;
    town.read("bob", &room, Some("main"), &a).await;
    expect((5, 2), (2, 1), Some((3, 1))).await;
    town.read("bob", &room, Some(a.as_str()), &b).await;
    expect((4, 2), (2, 1), Some((2, 1))).await;
    town.read("bob", &room, None, &d).await;
    expect((2, 0), (1, 0), Some((1, 0))).await;
    town.read("bob", &room, Some(a.as_str()), &g).await;
    expect((1, 0), (1, 0), None).await;
    town.read("bob", &room, Some("main"), &g).await;
    expect((0, 0), (0, 0), None).await;
}

#[tokio::test]
async fn the_count_comes_with_the_event_and_with_what_reads_it() {
    let town = town().await;
    let room = town.room_of_two().await;
    let mut bob = client("bob");
    bob.sync(&town).await;
    let poll = json!({ "org.matrix.msc3381.poll.start": {} });
    let poll = town.send("alice", &room, "org.matrix.msc3381.poll.start", poll).await;
    assert_eq!(counts_in(&bob.sync(&town).await, &room).0, 1, "a poll");
    town.say("alice", &room, "一").await;
    assert_eq!(counts_in(&bob.sync(&town).await, &room).0, 2);
    let answer = json!({ "m.relates_to": { "rel_type": "m.reference", "event_id": poll } });
    town.send("alice", &room, "org.matrix.msc3381.poll.response", answer).await;
    let last = town.say("alice", &room, "二").await;
    let answer = bob.sync(&town).await;
    assert_eq!(counts_in(&answer, &room), (3, 0, Value::Null));
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]).len(), 2);

    // Another device reads, also where this one asks for no receipts; alice is not told anew what she has not read.
    let filter = json!({ "room": { "ephemeral": { "not_types": ["*"] } } });
    let mut silent = client("bob").on("TABLET").with_filter(filter);
    silent.sync(&town).await;
    town.rooms.set_receipt(&user("bob"), &room, ReceiptKind::Private, None, &last).await.unwrap();
    assert_eq!(counts_in(&bob.sync(&town).await, &room).0, 0);
    assert_eq!(counts_in(&silent.sync(&town).await, &room).0, 0);
    assert!(silent.sync(&town).await.get("rooms").is_none(), "once");
}

#[tokio::test]
async fn what_one_says_oneself_is_read_and_reads_what_came_before_it() {
    let town = town().await;
    let room = town.room_of_two().await;
    let first = town.say("alice", &room, "一").await;
    town.related(&room, "m.thread", &first, "二").await;
    let filter = by_thread("bob");
    assert_eq!(counts(&town, filter.clone(), &room).await.0, 1);
    town.say("bob", &room, "三").await;
    let thread = json!({ first.as_str(): { "notification_count": 1, "highlight_count": 0 } });
    assert_eq!(counts(&town, filter.clone(), &room).await, (0, 0, thread));
    // A name, a reaction and an edit say nothing of what was read.
    town.say("alice", &room, "四").await;
    let named = json!({ "membership": "join", "displayname": "Robert" });
    town.set_of("bob", &room, "m.room.member", user("bob").as_str(), named).await;
    let content = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": first, "key": "x" } });
    town.send("bob", &room, "m.reaction", content).await;
    assert_eq!(counts(&town, filter.clone(), &room).await.0, 1);
    town.say("alice", &room, "Robert?").await;
    assert_eq!(counts(&town, filter, &room).await.1, 1, "by the new name");
}

#[tokio::test]
async fn nothing_counts_from_before_one_is_in_a_room_nor_in_one_that_one_is_out_of() {
    let town = town().await;
    let room = town.room("alice").await;
    town.say("alice", &room, "以前").await;
    town.join("bob", &room).await;
    for name in ["a", "b"] {
        let named = json!({ "membership": "join", "displayname": name });
        town.set_of("bob", &room, "m.room.member", user("bob").as_str(), named).await;
        assert_eq!(counts(&town, client("bob"), &room).await.0, 0);
    }
    town.say("alice", &room, "以後").await;
    assert_eq!(counts(&town, client("bob"), &room).await.0, 1);
    town.leave("bob", &room).await;
    town.say("alice", &room, "留守").await;
    town.join("bob", &room).await;
    town.say("alice", &room, "また").await;
    assert_eq!(counts(&town, client("bob"), &room).await.0, 1, "since he is back");
    town.leave("bob", &room).await;
    let left = client("bob").with_filter(json!({ "room": { "include_leave": true } })).sync(&town).await;
    assert!(left["rooms"]["leave"][room.as_str()].get("unread_notifications").is_none());
}

#[tokio::test]
async fn what_is_redacted_edited_or_of_ignored_users_does_not_count() {
    let town = town().await;
    let room = town.room_of_two().await;
    town.join("carol", &room).await;
    let mut bob = client("bob");
    bob.sync(&town).await;
    let first = town.say("alice", &room, "bob, 一").await;
    town.say("carol", &room, "二").await;
    assert_eq!(counts_in(&bob.sync(&town).await, &room), (2, 1, Value::Null));
    // An edit counts only for whom it mentions anew.
    let edit = |mentions: Value| {
        json!({ "msgtype": "m.text", "body": "* 三", "m.mentions": mentions, "m.new_content": {},
            "m.relates_to": { "rel_type": "m.replace", "event_id": first } })
    };
    town.send("alice", &room, "m.room.message", edit(json!({}))).await;
    assert_eq!(counts_in(&bob.sync(&town).await, &room), (2, 1, Value::Null));
    let mentions = json!({ "user_ids": ["@bob:kanazawa.test"] });
    town.send("alice", &room, "m.room.message", edit(mentions)).await;
    assert_eq!(counts_in(&bob.sync(&town).await, &room), (3, 2, Value::Null));
    assert_eq!(counts(&town, client("carol"), &room).await, (0, 0, Value::Null), "she has said something");

    town.engine.redact(&user("alice"), &room, &first, None, None).await.unwrap();
    assert_eq!(counts_in(&bob.sync(&town).await, &room), (2, 1, Value::Null));
    assert_eq!(counts(&town, client("bob"), &room).await, (2, 1, Value::Null));

    let ignored = Bytes::from_static(br#"{"ignored_users":{"@carol:kanazawa.test":{}}}"#);
    town.accounts.set_account_data(&user("bob"), "m.ignored_user_list", ignored).await.unwrap();
    assert_eq!(counts(&town, client("bob"), &room).await, (1, 1, Value::Null));
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let town = town().await;
    let room = town.room_of_two().await;
    let (bob, accounts) = (user("bob"), &town.accounts);
    town.say("alice", &room, "bob, 一").await;
    assert_eq!(counts(&town, client("bob"), &room).await, (1, 1, Value::Null));

    // The name is to do nothing, though the room is to ring.
    let notify = || vec![ruma::push::Action::Notify];
    let change = |rules: &mut ruma::push::Ruleset| {
        for (kind, id) in [
            (RuleKind::Override, ".m.rule.contains_display_name"),
            (RuleKind::Content, ".m.rule.contains_user_name"),
        ] {
            rules.set_actions(kind, id, Vec::new()).unwrap();
        }
        let rule = NewPushRule::Room(NewSimplePushRule::new(room.clone(), notify()));
        account::put_push_rule(rules, rule, None, None)
    };
    accounts.change_push_rules(&bob, change).await.unwrap();
    let named = json!({ "membership": "join", "displayname": "Bob" });
    town.set_of("bob", &room, "m.room.member", bob.as_str(), named).await;
    assert_eq!(counts(&town, client("bob"), &room).await.0, 0);
    town.set("alice", &room, "m.room.topic", json!({ "topic": "部屋" })).await;
    assert_eq!(counts(&town, client("bob"), &room).await.0, 1, "by the rule for the room");

    let keyword = |rules: &mut ruma::push::Ruleset| {
        let rule = NewPatternedPushRule::new("cake".to_owned(), "ca?e*".to_owned(), notify());
        account::put_push_rule(rules, NewPushRule::Content(rule), None, None)?;
        let conditions = serde_json::from_value(json!([
            { "kind": "event_property_is", "key": r"content.com\.example.flag", "value": null },
            { "kind": "room_member_count", "is": ">=2" },
        ]));
        let actions = serde_json::from_value(json!(["notify", { "set_tweak": "highlight" }])).unwrap();
        let rule = NewConditionalPushRule::new("flag".to_owned(), conditions.unwrap(), actions);
        account::put_push_rule(rules, NewPushRule::Override(rule), None, None)?;
        let conditions = serde_json::from_value(json!([{ "kind": "org.example.unknown" }])).unwrap();
        let rule = NewConditionalPushRule::new("unknown".to_owned(), conditions, Vec::new());
        account::put_push_rule(rules, NewPushRule::Override(rule), None, None)?;
        rules.set_enabled(RuleKind::Room, room.as_str(), false).unwrap();
        rules.set_actions(RuleKind::Underride, ".m.rule.room_one_to_one", Vec::new()).unwrap();
        Ok(())
    };
    accounts.change_push_rules(&bob, keyword).await.unwrap();
    let last = town.say("alice", &room, "何も").await;
    town.read("bob", &room, None, &last).await;
    town.say("alice", &room, "A Cafe here").await;
    assert_eq!(counts(&town, client("bob"), &room).await, (1, 0, Value::Null));
    let content = json!({ "msgtype": "m.text", "body": "x", "com.example": { "flag": null } });
    town.send("alice", &room, "m.room.message", content).await;
    assert_eq!(counts(&town, client("bob"), &room).await, (2, 1, Value::Null));
    town.say("alice", &room, "何も").await;
    assert_eq!(counts(&town, client("bob"), &room).await.0, 2, "messages in rooms of two do nothing");
    town.join("carol", &room).await;
    town.say("alice", &room, "何も").await;
    assert!(counts(&town, client("bob"), &room).await.0 >= 3, "but in larger ones they do");
}

#[tokio::test]
async fn counts_that_other_rules_or_other_ignored_users_make_come_with_these_on_every_device() {
    let town = town().await;
    let room = town.room_of_two().await;
    town.join("carol", &room).await;
    let mut devices = [client("bob"), client("bob").on("TABLET")];
    let mut glass = super::sliding::glass("bob", super::sliding::all_rooms(1, json!([])));
    for device in &mut devices {
        device.sync(&town).await;
    }
    town.say("alice", &room, "一").await;
    town.say("carol", &room, "二").await;
    glass.look_at_all(&town).await;
    for device in &mut devices {
        assert_eq!(counts_in(&device.sync(&town).await, &room).0, 2);
    }
    let mut expect = async |unread: u64| {
        for device in &mut devices {
            let answer = device.sync(&town).await;
            assert_eq!(counts_in(&answer, &room).0, unread);
            assert!(said(&joined(&answer, &room)["timeline"]["events"]).is_empty(), "{answer}");
            assert!(device.sync(&town).await.get("rooms").is_none(), "once");
        }
        let answer = glass.look(&town).await;
        assert_eq!(super::sliding::of(&answer, &room)["notification_count"], unread, "{answer}");
        assert_eq!(glass.look(&town).await["rooms"], json!({}), "once");
    };
    let bob = user("bob");
    let mute = |rules: &mut ruma::push::Ruleset| {
        let rule = NewPushRule::Room(NewSimplePushRule::new(room.clone(), Vec::new()));
        account::put_push_rule(rules, rule, None, None)
    };
    town.accounts.change_push_rules(&bob, mute).await.unwrap();
    expect(0).await;
    let unmute = |rules: &mut ruma::push::Ruleset| {
        rules.room.clear();
        Ok(())
    };
    town.accounts.change_push_rules(&bob, unmute).await.unwrap();
    expect(2).await;
    for (ignored, unread) in [(r#"{"@carol:kanazawa.test":{}}"#, 1), ("{}", 2)] {
        let ignored = format!(r#"{{"ignored_users":{ignored}}}"#);
        town.accounts.set_account_data(&bob, "m.ignored_user_list", ignored.into()).await.unwrap();
        expect(unread).await;
    }
    town.accounts.set_account_data(&bob, "org.example", "{}".into()).await.unwrap();
    assert!(devices[0].sync(&town).await.get("rooms").is_none(), "nothing else does");
}

#[tokio::test]
async fn who_may_notifies_all() {
    let town = town().await;
    let room = town.room_of_two().await;
    let mention = json!({ "msgtype": "m.text", "body": "x", "m.mentions": { "room": true } });
    town.send("bob", &room, "m.room.message", mention.clone()).await;
    assert_eq!(counts(&town, client("alice"), &room).await, (1, 0, Value::Null));
    town.send("alice", &room, "m.room.message", mention).await;
    assert_eq!(counts(&town, client("bob"), &room).await, (1, 1, Value::Null));
    town.say("alice", &room, "hello @room").await;
    assert_eq!(counts(&town, client("bob"), &room).await, (2, 2, Value::Null));
}

#[tokio::test]
async fn one_who_never_reads_is_told_of_no_more_than_some_hundreds() {
    let town = town().await;
    let room = town.room_of_two().await;
    for number in 0..520 {
        town.say("alice", &room, &number.to_string()).await;
    }
    let mut bob = client("bob");
    assert_eq!(counts_in(&bob.sync(&town).await, &room).0, 500);
    town.say("alice", &room, "もう一件").await;
    assert_eq!(counts_in(&bob.sync(&town).await, &room).0, 500);
    let deep = format!(r#"{{"body":"x","msgtype":"m.text","deep":{}1{}}}"#, "[".repeat(110), "]".repeat(110));
    let deep = serde_json::value::RawValue::from_string(deep).unwrap();
    let draft = Draft::message(&user("alice"), TimelineEventType::RoomMessage, &deep).unwrap();
    let deep = town.engine.send(&room, draft, None).await.unwrap();
    assert_eq!(counts_in(&bob.sync(&town).await, &room).0, 500);
    town.read("bob", &room, Some("main"), &deep).await;
    assert_eq!(counts_in(&bob.sync(&town).await, &room).0, 0);
}

/// What the test itself knows of an event.
struct Known {
    id: OwnedEventId,
    sender: usize,
    /// What it relates to, and whether as part of a thread.
    relation: Option<(usize, bool)>,
    /// Whom it notifies with what: nobody, all, or all and one of them loudly.
    notifies: bool,
    mentions: Option<usize>,
    /// Whether who sends it has read what was before it.
    says: bool,
    redacted: bool,
}

const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

/// What the test itself has of the receipts of somebody.
#[derive(Default)]
struct Read {
    all: usize,
    main: usize,
    threads: HashMap<usize, usize>,
}

fn thread_of(events: &[Known], of: usize) -> Option<usize> {
    let mut at = of;
    for _ in 0..3 {
        let (to, is_thread) = events[at].relation.filter(|_| !events[at].redacted)?;
        if is_thread {
            return Some(to);
        }
        at = to;
    }
    None
}

/// What the test itself has of whom and what somebody wants to hear.
#[derive(Default)]
struct Ears {
    mutes: Option<usize>,
    /// To which threads he is subscribed, once he has subscribed to any.
    threads: Option<HashSet<usize>>,
}

impl Ears {
    fn hear(&self, event: &Known, thread: Option<usize>) -> bool {
        let rings = self.mutes != Some(event.sender);
        let subscribed = self.threads.as_ref().zip(thread).map(|(threads, thread)| threads.contains(&thread));
        event.notifies && subscribed.unwrap_or(rings)
    }
}

/// Counted by looking at everything, for one person; places count from one.
fn recount(events: &[Known], read: &Read, who: usize, ears: &Ears) -> HashMap<Option<usize>, (u64, u64)> {
    let mut said: HashMap<Option<usize>, usize> = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        if event.sender == who && event.says && !event.redacted {
            said.insert(thread_of(events, place), place + 1);
        }
    }
    let mut counts = HashMap::from([(None, (0, 0))]);
    for (place, event) in events.iter().enumerate() {
        let mentioned = event.mentions == Some(who);
        let thread = thread_of(events, place);
        let is_silent = !mentioned && !ears.hear(event, thread);
        if event.redacted || event.sender == who || is_silent {
            continue;
        }
        let own = thread.map_or(read.main, |thread| read.threads.get(&thread).copied().unwrap_or(0));
        let is_beside = matches!(event.relation, Some((_, false)));
        let beside = if is_beside { read.main } else { 0 };
        let up_to = [read.all, own, beside, said.get(&thread).copied().unwrap_or(0)];
        if up_to.iter().all(|up_to| place + 1 > *up_to) {
            let count = counts.entry(thread).or_insert((0, 0));
            *count = (count.0 + 1, count.1 + u64::from(mentioned));
        }
    }
    counts
}

#[tokio::test]
async fn counts_are_what_is_found_by_looking_at_everything() {
    for seed in 0..24_u64 {
        walk(seed).await;
    }
}

async fn walk(seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let town = town().await;
    let room = town.room("alice").await;
    let mut clients: Vec<Client> = Vec::new();
    for name in PEOPLE {
        if name != "alice" {
            town.join(name, &room).await;
        }
        clients.push(by_thread(name));
    }
    let mut events: Vec<Known> = Vec::new();
    let mut read: [Read; 3] = std::array::from_fn(|_| Read::default());
    let mut ears: [Ears; 3] = std::array::from_fn(|_| Ears::default());
    for step in 0..60 {
        let who = random(3);
        let place = if events.is_empty() { 0 } else { random(events.len()) };
        let mentions = Some(random(3)).filter(|other| *other != who && random(3) == 0);
        let mut content = json!({ "msgtype": "m.text", "body": "x",
            "m.mentions": mentions.map_or(json!({}), |it| json!({ "user_ids": [user(PEOPLE[it])] })) });
        let mut event = Known {
            id: ruma::owned_event_id!("$none"),
            sender: who,
            relation: None,
            notifies: true,
            mentions,
            says: true,
            redacted: false,
        };
        let mut relate = |event: &mut Known, how: &str, to: &Known, place: usize| {
            content["m.relates_to"] = json!({ "rel_type": how, "event_id": to.id });
            event.relation = Some((place, how == "m.thread"));
        };
        match random(11) {
            0..3 => {}
            3 | 4 if !events.is_empty() => {
                let root = thread_of(&events, place).unwrap_or(place);
                if events[root].relation.is_some() {
                    continue;
                }
                relate(&mut event, "m.thread", &events[root], root);
            }
            5 if !events.is_empty() => {
                relate(&mut event, "m.replace", &events[place], place);
                (event.notifies, event.says) = (false, false);
            }
            6 if !events.is_empty() => {
                relate(&mut event, "m.reference", &events[place], place);
                event.says = false;
            }
            7 if !events.is_empty() => {
                let alice = user("alice");
                let id = town.engine.redact(&alice, &room, &events[place].id, None, None).await.unwrap();
                events[place].redacted = true;
                // The redaction itself notifies nobody.
                event = Known { id, sender: 0, notifies: false, mentions: None, says: false, ..event };
                events.push(event);
                check(&town, &room, &mut clients, &events, &read, &ears, seed, step).await;
                continue;
            }
            8 if !events.is_empty() => {
                let thread = thread_of(&events, place);
                let name = match (random(2), thread) {
                    (0, _) => None,
                    (_, None) => Some("main".to_owned()),
                    (_, Some(root)) => Some(events[root].id.to_string()),
                };
                let kind = if random(2) == 0 { ReceiptKind::Public } else { ReceiptKind::Private };
                let (reader, id) = (user(PEOPLE[who]), &events[place].id);
                let set = town.rooms.set_receipt(&reader, &room, kind, name.as_deref(), id);
                if set.await.is_err() {
                    continue;
                }
                let of = match (&name, thread) {
                    (None, _) => &mut read[who].all,
                    (_, None) => &mut read[who].main,
                    (_, Some(root)) => read[who].threads.entry(root).or_default(),
                };
                *of = (*of).max(place + 1);
                check(&town, &room, &mut clients, &events, &read, &ears, seed, step).await;
                continue;
            }
            9 => {
                let whom = random(3);
                let change = |rules: &mut ruma::push::Ruleset| {
                    rules.sender.clear();
                    let rule = NewPushRule::Sender(NewSimplePushRule::new(user(PEOPLE[whom]), Vec::new()));
                    account::put_push_rule(rules, rule, None, None)
                };
                town.accounts.change_push_rules(&user(PEOPLE[who]), change).await.unwrap();
                ears[who].mutes = Some(whom);
                check(&town, &room, &mut clients, &events, &read, &ears, seed, step).await;
                continue;
            }
            10 if !events.is_empty() => {
                let root = thread_of(&events, place).unwrap_or(place);
                let (subscriber, id) = (user(PEOPLE[who]), &events[root].id);
                let accounts = &town.accounts;
                if random(3) == 0 {
                    accounts.unsubscribe_from_thread(&subscriber, &room, id).await.unwrap();
                    ears[who].threads.as_mut().map(|threads| threads.remove(&root));
                } else {
                    let cause = account::ThreadCause::Choice;
                    accounts.subscribe_to_thread(&subscriber, &room, id, cause).await.unwrap();
                    ears[who].threads.get_or_insert_default().insert(root);
                }
                check(&town, &room, &mut clients, &events, &read, &ears, seed, step).await;
                continue;
            }
            _ => {}
        }
        event.id = town.send(PEOPLE[who], &room, "m.room.message", content).await;
        events.push(event);
        check(&town, &room, &mut clients, &events, &read, &ears, seed, step).await;
    }
}

#[expect(clippy::too_many_arguments, reason = "all that a walk knows")]
async fn check(
    town: &Town,
    room: &RoomId,
    clients: &mut [Client],
    events: &[Known],
    read: &[Read; 3],
    ears: &[Ears; 3],
    seed: u64,
    step: usize,
) {
    let metrics = Metrics::new();
    let anew = Push::new(
        town.rooms.clone(),
        town.accounts.clone(),
        town.store.clone(),
        ByteSize::mib(1),
        base::Clock::system(),
        &metrics,
    );
    for (who, client) in clients.iter_mut().enumerate() {
        let expected = recount(events, &read[who], who, &ears[who]);
        let rows = town.rooms.memberships(&user(PEOPLE[who])).await.unwrap();
        let row = rows.rooms.iter().find(|row| row.room_id == room).unwrap();
        let asked = [Asked { row, through: town.store.head() }];
        let ignored = Arc::new(HashSet::new());
        let counted = anew.unread(&user(PEOPLE[who]), &ignored, &asked).await.unwrap().remove(0);
        let mut found = HashMap::from([(
            None,
            (u64::from(counted.main.notifications), u64::from(counted.main.highlights)),
        )]);
        for (root, count) in counted.threads {
            let root = events.iter().position(|event| event.id == *root).unwrap();
            found.insert(Some(root), (u64::from(count.notifications), u64::from(count.highlights)));
        }
        assert_eq!(found, expected, "{} anew, seed {seed}, step {step}", PEOPLE[who]);

        // As one who goes on is told, if he is told anything.
        let answer = client.sync(town).await;
        if joined(&answer, room)["unread_notifications"].is_null() {
            continue;
        }
        let (unread, loud, threads) = counts_in(&answer, room);
        let mut found = HashMap::from([(None, (unread, loud))]);
        for (root, count) in threads.as_object().into_iter().flatten() {
            let root = events.iter().position(|event| event.id == *root).unwrap();
            let number = |name: &str| count[name].as_u64().unwrap();
            found.insert(Some(root), (number("notification_count"), number("highlight_count")));
        }
        assert_eq!(found, expected, "{} who goes on, seed {seed}, step {step}", PEOPLE[who]);
    }
}
