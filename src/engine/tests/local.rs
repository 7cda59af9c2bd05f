//! Engine of one server.

use std::sync::Arc;

use pdu::RoomVersion;
use room::{
    Error,
    read::view::Viewer,
    tables::{HEADS, Membership},
};
use ruma::{OwnedDeviceId, OwnedTransactionId};
use serde_json::{Value, json};

use super::net::{Net, message, state, user};
use crate::{CreateRoom, InitialState, Invitee, Preset, Profile, ProfileChange, Txn};

fn txn(id: &str) -> Txn {
    Txn { device: OwnedDeviceId::from("PHONE"), id: OwnedTransactionId::from(id) }
}

#[tokio::test]
async fn a_room_of_every_version_is_created_in_one_commit() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    for version in RoomVersion::SUPPORTED {
        let wishes = CreateRoom {
            version: Some(version),
            name: Some("名".to_owned()),
            topic: Some("題".to_owned()),
            invite: vec![Invitee { user_id: user("@taro:a.test"), profile: Profile::default() }],
            ..CreateRoom::default()
        };
        let before = server.store.head();
        let room = server.engine.create(&hanako, wishes).await.unwrap();
        let kinds: Vec<String> =
            server.timeline(&room).await.iter().map(|event| event.kind().to_owned()).collect();
        assert_eq!(
            kinds,
            [
                "m.room.create",
                "m.room.member",
                "m.room.power_levels",
                "m.room.join_rules",
                "m.room.history_visibility",
                "m.room.guest_access",
                "m.room.name",
                "m.room.topic",
                "m.room.member"
            ]
        );
        let info = server.rooms.room(&room).await.unwrap().unwrap();
        let head = server.store.get(&HEADS, &info.serial).await.unwrap().unwrap();
        assert_eq!(head.generation, 1, "one batch for version {version}");
        assert!(server.store.head() > before);
        assert_eq!(server.membership(&hanako, &room).await, Some(Membership::Join));
        assert_eq!(server.membership(&user("@taro:a.test"), &room).await, Some(Membership::Invite));
        server.say(&hanako, &room, "やあ").await;
    }
}

#[tokio::test]
async fn what_no_room_accepts_is_a_fault_of_the_request() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    for version in [RoomVersion::V11, RoomVersion::V12] {
        let room = server.room_of(&hanako, version).await;
        let create = state(&hanako, "m.room.create", "", &json!({ "room_version": version.as_str() }));
        let sent = server.engine.send(&room, create, None).await;
        assert!(matches!(sent, Err(Error::Invalid(_))), "version {version}");
    }
    let room = server.room_of(&hanako, RoomVersion::V12).await;
    let levels = state(&hanako, "m.room.power_levels", "", &json!({ "users": { "@hanako:a.test": 100 } }));
    assert!(matches!(server.engine.send(&room, levels, None).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn who_grants_a_join_is_for_the_server_to_say() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let content = json!({
        "membership": "join", "displayname": "花", "join_authorised_via_users_server": "unused",
    });
    let member = state(&hanako, "m.room.member", hanako.as_str(), &content);
    let event_id = server.engine.send(&room, member, None).await.unwrap();
    let event = server.rooms.get_event(&room, &event_id).await.unwrap();
    assert!(!event.pdu().content_str().contains("join_authorised_via_users_server"));
}

#[tokio::test]
async fn an_event_that_is_not_here_is_redacted_by_who_may_redact_everybodys() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let unknown = ruma::event_id!("$unknown");
    server.engine.redact(&hanako, &room, unknown, None, None).await.unwrap();
    let refused = server.engine.redact(&taro, &room, unknown, None, None).await;
    assert!(matches!(refused, Err(Error::NoEvent(_))));
}

#[tokio::test]
async fn a_version_12_room_has_its_creators_above_all_levels() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let wishes = CreateRoom {
        version: Some(RoomVersion::V12),
        preset: Preset::TrustedPrivateChat,
        invite: vec![Invitee { user_id: taro.clone(), profile: Profile::default() }],
        ..CreateRoom::default()
    };
    let room = server.engine.create(&hanako, wishes).await.unwrap();
    let create = server.timeline(&room).await.remove(0);
    assert_eq!(create.event_id().as_str()[1..], room.as_str()[1..]);
    server.join(&taro, &room, "a.test").await.unwrap();
    // 150 is needed for a tombstone: creators only.
    let draft = state(&taro, "m.room.tombstone", "", &json!({ "body": "", "replacement_room": "!x:y" }));
    server.engine.send(&room, draft, None).await.unwrap();

    let mut levels = serde_json::Map::new();
    levels.insert("users".to_owned(), json!({ "@hanako:a.test": 100 }));
    let wishes = CreateRoom {
        version: Some(RoomVersion::V12),
        power_level_content_override: levels,
        ..CreateRoom::default()
    };
    assert!(matches!(server.engine.create(&hanako, wishes).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn wishes_that_the_rules_refuse_create_nothing() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let content = json!({ "users": { "@hanako:a.test": 0 } });
    let Value::Object(levels) = content else { unreachable!() };
    let wishes = CreateRoom {
        version: Some(RoomVersion::V11),
        power_level_content_override: levels,
        name: Some("x".to_owned()),
        ..CreateRoom::default()
    };
    assert!(matches!(server.engine.create(&hanako, wishes).await, Err(Error::BadRoomState(_))));
    assert_eq!(server.rooms.joined_rooms(&hanako).await.unwrap(), [] as [ruma::OwnedRoomId; 0]);
}

#[tokio::test]
async fn initial_state_takes_the_place_of_the_presets() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let wishes = CreateRoom {
        initial_state: vec![InitialState {
            kind: "m.room.history_visibility".into(),
            state_key: String::new(),
            content: crate::draft::raw(&json!({ "history_visibility": "joined" })),
        }],
        ..CreateRoom::default()
    };
    let room = server.engine.create(&hanako, wishes).await.unwrap();
    let set = server.timeline(&room).await;
    assert_eq!(set.iter().filter(|event| event.kind() == "m.room.history_visibility").count(), 1);
}

#[tokio::test]
async fn a_repeated_transaction_gets_the_first_answer() {
    let net = Net::default();
    let server = net.server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let first = server.engine.send(&room, message(&hanako, "一"), Some(&txn("1"))).await.unwrap();
    let again = server.engine.send(&room, message(&hanako, "一"), Some(&txn("1"))).await.unwrap();
    assert_eq!(first, again);
    let other = server.engine.send(&room, message(&hanako, "一"), Some(&txn("2"))).await.unwrap();
    assert_ne!(first, other);

    let restarted = net.server_on(&["a.test"], &server.disk).await;
    let after = restarted.engine.send(&room, message(&hanako, "一"), Some(&txn("1"))).await.unwrap();
    assert_eq!(first, after);
    assert_eq!(restarted.bodies(&room).await, ["一", "一"]);
}

#[tokio::test]
async fn the_same_request_many_times_at_once_makes_one_event() {
    let server = Arc::new(Net::default().server(&["a.test"]).await);
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let tries = (0..16).map(|_| {
        let (server, room, hanako) = (server.clone(), room.clone(), hanako.clone());
        tokio::spawn(async move {
            server.engine.send(&room, message(&hanako, "一"), Some(&txn("1"))).await.unwrap()
        })
    });
    let ids = futures_util::future::join_all(tries).await;
    let ids: Vec<_> = ids.into_iter().map(Result::unwrap).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(server.bodies(&room).await, ["一"]);
}

#[tokio::test]
async fn many_senders_make_one_unforked_room() {
    let server = Arc::new(Net::default().server(&["a.test", "b.test"]).await);
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let mut senders = vec![hanako];
    for index in 0..16 {
        let sender = user(&format!("@u{index}:{}", if index % 2 == 0 { "a.test" } else { "b.test" }));
        server.join(&sender, &room, "a.test").await.unwrap();
        senders.push(sender);
    }
    let tasks = senders.into_iter().map(|sender| {
        let (server, room) = (server.clone(), room.clone());
        tokio::spawn(async move {
            for index in 0..20 {
                server.say(&sender, &room, &format!("{sender} {index}")).await;
            }
        })
    });
    for task in futures_util::future::join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(server.bodies(&room).await.len(), 17 * 20);
    let timeline = server.timeline(&room).await;
    for pair in timeline.windows(2) {
        assert_eq!(pair[1].pdu().prev_events().to_vec(), [pair[0].event_id().to_owned()]);
        assert!(pair[0].order() < pair[1].order());
    }
}

#[tokio::test]
async fn two_processes_on_one_store_write_one_room() {
    let net = Net::default();
    let one = Arc::new(net.server(&["a.test"]).await);
    let two = Arc::new(net.server_over(&["a.test"], &one.disk, one.store.clone()).await);
    let hanako = user("@hanako:a.test");
    let room = one.public_room(&hanako).await;
    let run = |server: Arc<super::net::Server>, name: &'static str| {
        let (room, hanako) = (room.clone(), hanako.clone());
        tokio::spawn(async move {
            for index in 0..30 {
                server.say(&hanako, &room, &format!("{name} {index}")).await;
            }
        })
    };
    let (first, second) = tokio::join!(run(one.clone(), "one"), run(two.clone(), "two"));
    first.unwrap();
    second.unwrap();
    assert_eq!(one.bodies(&room).await.len(), 60);
    let info = one.rooms.room(&room).await.unwrap().unwrap();
    let head = one.store.get(&HEADS, &info.serial).await.unwrap().unwrap();
    assert_eq!(head.extremities.len(), 1);
}

#[tokio::test]
async fn state_that_changes_nothing_makes_no_event() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let topic = |text: &str| state(&hanako, "m.room.topic", "", &json!({ "topic": text }));
    let first = server.engine.send(&room, topic("一"), None).await.unwrap();
    assert_eq!(server.engine.send(&room, topic("一"), None).await.unwrap(), first);
    assert_ne!(server.engine.send(&room, topic("二"), None).await.unwrap(), first);
    let summary =
        &server.rooms.summaries(&[server.rooms.room(&room).await.unwrap().unwrap().serial]).await.unwrap()[0];
    assert_eq!(summary.topic.as_deref(), Some("二"));
}

#[tokio::test]
async fn memberships_follow_the_rules() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:a.test"), user("@jiro:a.test"));
    let room = server.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    assert!(matches!(server.join(&taro, &room, "a.test").await, Err(Error::Forbidden(_))));
    server.invite(&hanako, &room, &taro).await.unwrap();
    assert_eq!(server.membership(&taro, &room).await, Some(Membership::Invite));
    server.join(&taro, &room, "a.test").await.unwrap();
    server.join(&taro, &room, "a.test").await.unwrap();
    assert!(matches!(server.engine.kick(&taro, &room, &hanako, None).await, Err(Error::Forbidden(_))));
    assert!(matches!(server.engine.kick(&hanako, &room, &jiro, None).await, Err(Error::NotAllowed(_))));
    server.engine.kick(&hanako, &room, &taro, Some("静かに")).await.unwrap();
    assert_eq!(server.membership(&taro, &room).await, Some(Membership::Leave));
    server.engine.ban(&hanako, &room, &taro, None).await.unwrap();
    assert!(server.invite(&hanako, &room, &taro).await.is_err());
    assert!(matches!(server.engine.unban(&hanako, &room, &jiro, None).await, Err(Error::NotAllowed(_))));
    server.engine.unban(&hanako, &room, &taro, None).await.unwrap();
    server.invite(&hanako, &room, &taro).await.unwrap();
    server.engine.leave(&taro, &room, None).await.unwrap();
    assert_eq!(server.membership(&taro, &room).await, Some(Membership::Leave));
    assert!(server.engine.forget(&hanako, &room).await.is_err());
    server.engine.forget(&taro, &room).await.unwrap();
    assert!(matches!(server.engine.leave(&jiro, &room, None).await, Err(Error::NotJoined { .. })));
}

#[tokio::test]
async fn a_redaction_takes_the_content_out_of_the_store() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    for version in [RoomVersion::V3, RoomVersion::V10, RoomVersion::V11, RoomVersion::V12] {
        let room = server.room_of(&hanako, version).await;
        server.join(&taro, &room, "a.test").await.unwrap();
        let said = server.say(&hanako, &room, "秘密").await;
        server.say(&hanako, &room, "公開").await;
        let refused = server.engine.redact(&taro, &room, &said, None, None).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))));
        server.engine.redact(&hanako, &room, &said, None, None).await.unwrap();
        assert_eq!(server.bodies(&room).await, ["", "公開"], "version {version}");
        let unknown = ruma::EventId::parse("$unknown").unwrap();
        let refused = server.engine.redact(&taro, &room, &unknown, None, None).await;
        assert!(matches!(refused, Err(Error::NoEvent(_))));
    }
}

#[tokio::test]
async fn a_redacted_name_is_gone_from_the_summary() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let draft = state(&hanako, "m.room.name", "", &json!({ "name": "秘密の名" }));
    let named = server.engine.send(&room, draft, None).await.unwrap();
    server.engine.redact(&hanako, &room, &named, None, None).await.unwrap();
    let serial = server.rooms.room(&room).await.unwrap().unwrap().serial;
    assert_eq!(server.rooms.summaries(&[serial]).await.unwrap()[0].name, None);
}

#[tokio::test]
async fn who_is_not_in_the_room_cannot_speak() {
    let server = Net::default().server(&["a.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = server.public_room(&hanako).await;
    let refused = server.engine.send(&room, message(&taro, "やあ"), None).await;
    assert!(matches!(refused, Err(Error::NotJoined { .. })));
    let stranger = server.engine.send(&room, message(&user("@x:far.test"), "やあ"), None).await;
    assert!(matches!(stranger, Err(Error::NotOurs(_))));
    // Neither changed what others see of the room.
    server.say(&hanako, &room, "はい").await;
    assert_eq!(server.bodies(&room).await, ["はい"]);
}

#[tokio::test]
async fn a_restricted_room_lets_members_of_the_other_room_in() {
    let server = Net::default().server(&["a.test", "b.test"]).await;
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
    let lobby = server.public_room(&hanako).await;
    let room = server.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": lobby }],
    });
    server.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rules), None).await.unwrap();
    server.join(&taro, &lobby, "a.test").await.unwrap();
    server.join(&taro, &room, "a.test").await.unwrap();
    assert!(matches!(server.join(&jiro, &room, "a.test").await, Err(Error::Forbidden(_))));
    let joined = server.timeline(&room).await.pop().unwrap();
    let content: Value = serde_json::from_str(joined.pdu().content_str()).unwrap();
    assert_eq!(content["join_authorised_via_users_server"], "@hanako:a.test");
    let event: Value = serde_json::from_str(joined.pdu().json_str()).unwrap();
    assert!(event["signatures"]["a.test"].is_object() && event["signatures"]["b.test"].is_object());
}

#[tokio::test]
async fn counts_and_servers_follow_the_members() {
    let server = Net::default().server(&["a.test", "b.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = server.public_room(&hanako).await;
    let serial = server.rooms.room(&room).await.unwrap().unwrap().serial;
    server.join(&taro, &room, "a.test").await.unwrap();
    let counts = server.rooms.member_counts(&[serial]).await.unwrap()[0];
    assert_eq!((counts.joined, counts.invited), (2, 0));
    assert_eq!(server.rooms.servers_in_room(serial).await.unwrap().len(), 2);
    server.engine.leave(&taro, &room, None).await.unwrap();
    assert_eq!(server.rooms.servers_in_room(serial).await.unwrap(), ["a.test"]);
    let change = ProfileChange::DisplayName(Some("花子".to_owned()));
    server.engine.update_profile(&hanako, &room, &change).await.unwrap();
    assert_eq!(server.rooms.member_counts(&[serial]).await.unwrap()[0].joined, 1);
}

#[tokio::test]
async fn a_new_picture_leaves_the_nickname_of_a_room_alone() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let nick =
        json!({ "membership": "join", "displayname": "会計の花子", "org.example": 1, "reason": "once" });
    server.engine.send(&room, state(&hanako, "m.room.member", hanako.as_str(), &nick), None).await.unwrap();
    let shown = async || {
        let viewer = Viewer::user(&hanako);
        let look = server.rooms.state_event(&viewer, &room, "m.room.member", hanako.as_str()).await;
        serde_json::from_str::<Value>(look.unwrap().event.pdu().content_str()).unwrap()
    };

    let picture = ProfileChange::AvatarUrl(Some("mxc://a.test/1".to_owned()));
    server.engine.update_profile(&hanako, &room, &picture).await.unwrap();

    let expected = json!({ "membership": "join", "displayname": "会計の花子", "avatar_url": "mxc://a.test/1",
        "org.example": 1 });
    assert_eq!(shown().await, expected);
    server.engine.update_profile(&hanako, &room, &ProfileChange::DisplayName(None)).await.unwrap();
    server.engine.update_profile(&hanako, &room, &ProfileChange::AvatarUrl(None)).await.unwrap();
    assert_eq!(shown().await, json!({ "membership": "join", "org.example": 1 }));
}

#[tokio::test]
async fn old_transactions_are_forgotten_and_new_ones_kept() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    let first = server.engine.send(&room, message(&hanako, "一"), Some(&txn("1"))).await.unwrap();
    let a_minute_ago = base::Clock::system().now().before(std::time::Duration::from_secs(60));
    assert_eq!(server.engine.forget_served(a_minute_ago).await.unwrap(), 0);
    let again = server.engine.send(&room, message(&hanako, "一"), Some(&txn("1"))).await.unwrap();
    assert_eq!(first, again);
}

#[tokio::test]
async fn a_refusal_looks_at_what_other_processes_wrote() {
    let net = Net::default();
    let one = net.server(&["a.test"]).await;
    let two = net.server_over(&["a.test"], &one.disk, one.store.clone()).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:a.test"));
    let room = one.public_room(&hanako).await;
    // The second process knows the room from before.
    two.say(&hanako, &room, "一").await;
    one.join(&taro, &room, "a.test").await.unwrap();
    two.say(&taro, &room, "二").await;
    two.engine.kick(&hanako, &room, &taro, None).await.unwrap();
    one.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(two.membership(&taro, &room).await, Some(Membership::Join));
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_room_in_order() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    for index in 0..20 {
        let mut sending = Box::pin(server.engine.send(&room, message(&hanako, &index.to_string()), None));
        // Polled once: handed to the store or not, and dropped.
        assert!(futures_util::poll!(&mut sending).is_pending() || index >= 0);
        drop(sending);
    }
    server.say(&hanako, &room, "最後").await;
    let timeline = server.timeline(&room).await;
    for pair in timeline.windows(2) {
        assert_eq!(pair[1].pdu().prev_events().to_vec(), [pair[0].event_id().to_owned()]);
    }
}

#[tokio::test]
async fn nobody_shuts_his_own_server_out() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room = server.public_room(&hanako).await;
    for content in [json!({}), json!({ "allow": [] }), json!({ "allow": ["*"], "deny": ["a.*"] })] {
        let acl = state(&hanako, "m.room.server_acl", "", &content);
        let refused = server.engine.send(&room, acl, None).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{content}: {refused:?}");
    }
    let acl = state(&hanako, "m.room.server_acl", "", &json!({ "allow": ["*"], "deny": ["b.*"] }));
    server.engine.send(&room, acl, None).await.unwrap();
}
