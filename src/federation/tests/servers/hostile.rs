//! A server that means harm, among honest ones.

use engine::Joining;
use hostile::{Conduct, Hostile};
use room::read::receipts::ReceiptKind;
use ruma::{OwnedServerName, RoomAliasId, RoomId, UserId};
use serde_json::{Value, json};

use crate::net::{Net, Node, name, user};

const A: &str = "kanazawa.test";
const ALICE: &str = "@alice:kanazawa.test";

#[tokio::test]
async fn what_a_hostile_member_says_rightly_is_taken_and_what_it_tampers_with_is_not() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;

    let mut joined = mallory.join(&net, A, &room, "eve").await;
    let first = joined.message("eve", "hello");
    let second = joined.message("eve", "again");
    let tampered = mallory.tamper(&joined, &first, |event| event["sender"] = json!("@admin:mallory.test"));
    let answer = mallory.send(&net, A, &[first.json, tampered.json, second.json]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    a.until_said(&room, &["hello", "again"]).await;

    // What happens in the room reaches it, like every member.
    a.say(ALICE, &room, "welcome").await;
    let told = mallory.until_asked("/send/", 1).await;
    assert!(told.iter().any(|asked| asked.body.to_string().contains("welcome")), "{told:?}");
}

#[tokio::test]
async fn a_member_that_hangs_does_not_hold_up_the_others() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &["wajima.test"]).await);
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    mallory.join(&net, A, &room, "eve").await;
    b.join("@bob:wajima.test", &room, A).await;
    mallory.on("/send/", Conduct::Hang);

    a.say(ALICE, &room, "is anybody there?").await;
    mallory.until_asked("/send/", 1).await;
    b.until_said(&room, &["is anybody there?"]).await;
}

#[tokio::test]
async fn a_room_whose_first_event_names_another_version_than_the_template_is_not_joined() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let eve = mallory.user("eve");
    for (named, is_right) in [("10", false), ("11", true)] {
        let id = RoomId::parse(format!("!names-{named}:mallory.test")).unwrap();
        let mut room = mallory.learn(&id, "11", &[]);
        let creator = json!({ "room_version": named, "creator": eve });
        room.event("eve", "m.room.create", Some(""), creator);
        room.event("eve", "m.room.member", Some(eve.as_str()), json!({ "membership": "join" }));
        room.event("eve", "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        room.auth_chain = room.state_events();
        mallory.host(&room);

        let joined = a.engine.join(&user(ALICE), &id, &[name("mallory.test")], Joining::default()).await;

        let is_bad = matches!(joined, Err(room::Error::Remote(room::RemoteError::BadAnswer { .. })));
        assert_eq!((joined.is_ok(), is_bad), (is_right, !is_right), "{joined:?}");
        assert_eq!(a.events(&id).await.is_empty(), !is_right);
        assert_eq!(a.membership(&id, ALICE).await.is_some(), is_right);
    }
}

#[tokio::test]
async fn an_alias_with_countless_servers_costs_a_few_of_them() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let servers: Vec<String> = (0..100_000).map(|number| format!("s{number}.mallory.test")).collect();
    let lie = json!({ "room_id": "!none:mallory.test", "servers": servers });
    mallory.on("/query/directory", Conduct::say(lie));
    let alias = RoomAliasId::parse("#x:mallory.test").unwrap();
    let alice = UserId::parse(ALICE).unwrap();

    let answer = a.engine.resolve_alias(Some(&alice), &alias).await.unwrap();
    assert_eq!(answer.servers.len(), 50);

    // Whoever names the servers: a few are tried.
    let servers: Vec<OwnedServerName> =
        servers.iter().map(|server| OwnedServerName::try_from(server.as_str()).unwrap()).collect();
    let join = a.engine.join(&alice, &answer.room_id, &servers, Joining::default());
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(20), join).await;
    assert!(outcome.is_ok_and(|joined| joined.is_err()), "the join ends, and soon");
}

#[tokio::test]
async fn receipts_for_countless_rooms_cost_few_reads() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    mallory.join(&net, A, &room, "eve").await;
    let rooms = |from: usize, count: usize| {
        let rooms: serde_json::Map<String, Value> =
            (from..from + count).map(|number| (format!("!{number}:b.test"), json!({}))).collect();
        json!({ "edu_type": "m.receipt", "content": rooms })
    };
    let (one, many) =
        (vec![rooms(0, 100_000)], (0..100).map(|number| rooms(number * 1_000, 1_000)).collect());
    for units in [one, many] {
        let before = a.reads();

        let answer = mallory.transaction(&net, A, &[], &units).await;

        assert_eq!(answer.status, 200, "{}", answer.text);
        let reads = a.reads() - before;
        assert!(reads < 5_000, "{reads} rows were read");
    }
    // What an honest server sends is taken.
    let last = a.events(&room).await.pop().unwrap();
    let receipt = json!({ "event_ids": [last.event_id()], "data": { "ts": 1 } });
    let content = json!({ room.as_str(): { "m.read": { "@eve:mallory.test": receipt } } });
    let unit = json!({ "edu_type": "m.receipt", "content": content });
    let answer = mallory.transaction(&net, A, &[], &[unit]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let kind = ReceiptKind::Public;
    assert!(a.rooms.receipt(info.serial, &user("@eve:mallory.test"), kind, None).await.unwrap().is_some());
}
