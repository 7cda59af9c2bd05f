//! Who may redact what, through us and from elsewhere, and when others see it.

use pdu::Draft;
use room::{Error, tables::Verdict};
use ruma::{EventId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::TimelineEventType};
use serde_json::{Value, json, value::RawValue};

use super::net::{Net, Server, state, user};
use crate::pipeline::Stage;

/// 花子 (a.test) has a room with 太郎 and 次郎 (b.test).
struct Scene {
    a: Server,
    b: Server,
    room: OwnedRoomId,
    hanako: OwnedUserId,
    taro: OwnedUserId,
    jiro: OwnedUserId,
}

impl Scene {
    async fn new() -> Self {
        let net = Net::default();
        let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
        let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
        let room = a.public_room(&hanako).await;
        b.join(&taro, &room, "a.test").await.unwrap();
        b.join(&jiro, &room, "a.test").await.unwrap();
        b.deliver(&a).await;
        a.deliver(&b).await;
        Self { a, b, room, hanako, taro, jiro }
    }
}

/// A redaction made by the rules of form, whatever the sender may.
async fn redaction(server: &Server, room: &RoomId, sender: &UserId, target: &EventId) -> Box<RawValue> {
    let info = server.rooms.room(room).await.unwrap().unwrap();
    let guard = server.engine.lock(&info).await.unwrap();
    let mut stage = Stage::new(&server.engine, &info, guard.live().unwrap());
    let draft = Draft {
        kind: TimelineEventType::RoomRedaction,
        state_key: None,
        content: RawValue::from_string("{}".to_owned()).unwrap(),
        sender: sender.to_owned(),
        redacts: Some(target.to_owned()),
    };
    stage.author(&draft, None, None).await.unwrap().event.pdu().to_raw()
}

async fn redactions_shown(server: &Server, room: &RoomId) -> usize {
    let timeline = server.timeline(room).await;
    timeline.iter().filter(|event| event.kind() == "m.room.redaction").count()
}

#[tokio::test]
async fn users_of_one_server_do_not_redact_each_others_events() {
    let scene = Scene::new().await;
    let Scene { b, room, taro, jiro, .. } = &scene;
    let said = b.say(taro, room, "太郎の").await;
    let refused = b.engine.redact(jiro, room, &said, None, None).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    // Nor by an event that only is one in its content.
    let content = json!({ "redacts": said });
    let plain = Draft::message(jiro, TimelineEventType::RoomRedaction, &content).unwrap();
    assert!(matches!(b.engine.send(room, plain, None).await, Err(Error::Forbidden(_))));
    assert_eq!(b.bodies(room).await, ["太郎の"]);
    b.engine.redact(taro, room, &said, None, None).await.unwrap();
    assert_eq!(b.bodies(room).await, [""]);
}

#[tokio::test]
async fn what_a_room_stands_on_is_not_redacted_through_us() {
    let scene = Scene::new().await;
    let Scene { a, room, hanako, .. } = &scene;
    let acl = json!({ "allow": ["*"], "deny": ["evil.test"] });
    a.engine.send(room, state(hanako, "m.room.server_acl", "", &acl), None).await.unwrap();
    for (kind, _, id) in a.state(room).await {
        let outcome = a.engine.redact(hanako, room, &id, None, None).await;
        let stays = matches!(kind.as_str(), "m.room.create" | "m.room.server_acl");
        assert_eq!(matches!(outcome, Err(Error::NotAllowed(_))), stays, "{kind}");
    }
    assert!(
        a.rooms
            .is_admitted("b.test".try_into().unwrap(), &a.rooms.room(room).await.unwrap().unwrap())
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_redaction_by_somebody_without_power_is_not_shown() {
    let scene = Scene::new().await;
    let Scene { a, b, room, hanako, taro, .. } = &scene;
    let said = a.say(hanako, room, "花子の").await;
    a.deliver(b).await;
    let forged = redaction(b, room, taro, &said).await;
    a.receive("b.test", &[forged]).await;
    assert_eq!(redactions_shown(a, room).await, 0);
    assert_eq!(a.bodies(room).await, ["花子の"]);
    // By one of the same server it is the room's rule that it counts.
    let own = a.engine.redact(hanako, room, &said, None, None).await.unwrap();
    a.deliver(b).await;
    assert_eq!(redactions_shown(b, room).await, 1);
    assert!(b.timeline(room).await.iter().any(|event| event.event_id() == own));
}

#[tokio::test]
async fn a_redaction_of_an_event_of_another_room_is_not_shown() {
    let scene = Scene::new().await;
    let Scene { a, b, room, hanako, taro, .. } = &scene;
    let other = a.public_room(hanako).await;
    b.join(taro, &other, "a.test").await.unwrap();
    let elsewhere = b.say(taro, &other, "他室").await;
    b.deliver(a).await;
    let forged = redaction(b, room, taro, &elsewhere).await;
    a.receive("b.test", &[forged]).await;
    assert_eq!(redactions_shown(a, room).await, 0);
    assert!(a.bodies(&other).await.contains(&"他室".to_owned()));
}

#[tokio::test]
async fn a_redaction_that_comes_before_its_event_is_shown_after_it() {
    let scene = Scene::new().await;
    let Scene { a, b, room, taro, jiro, hanako, .. } = &scene;
    let said = b.say(taro, room, "後").await;
    let late = b.outgoing("a.test").await.pop().unwrap();
    let told: Value = serde_json::from_str(late.get()).unwrap();
    assert_eq!(told["content"]["body"], "後");
    // Somebody of another server says so as well, who may not.
    a.deliver(b).await;
    let levels = json!({ "users": { "@hanako:a.test": 100 }, "redact": 50 });
    a.engine.send(room, state(hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    a.deliver(b).await;
    let redaction = redaction(b, room, jiro, &said).await;
    // It stands on the event that it redacts, and must not bring it along.
    let mut first: Value = serde_json::from_str(redaction.get()).unwrap();
    let tip = b.rooms.get_head(&b.rooms.room(room).await.unwrap().unwrap()).await.unwrap();
    assert!(first["prev_events"].as_array().unwrap().len() == tip.extremities.len());
    let a_tip = a.rooms.get_head(&a.rooms.room(room).await.unwrap().unwrap()).await.unwrap();
    first["prev_events"] = json!([a_tip.extremities[0].event_id]);
    let first = resign(&first);
    let mut both = vec![first];
    a.receive("b.test", &both).await;
    assert_eq!(redactions_shown(a, room).await, 0);
    both.push(late);
    a.receive("b.test", &both[1..]).await;
    assert_eq!(redactions_shown(a, room).await, 1);
    assert_eq!(a.bodies(room).await, [""]);
    let timeline = a.timeline(room).await;
    assert_eq!(timeline.last().unwrap().kind(), "m.room.redaction");
    assert!(timeline.last().unwrap().order().is_some());
}

#[tokio::test]
async fn a_redaction_and_its_event_in_the_wrong_order_in_one_transaction_come_out_right() {
    let scene = Scene::new().await;
    let Scene { a, b, room, taro, .. } = &scene;
    let before = b.rooms.get_head(&b.rooms.room(room).await.unwrap().unwrap()).await.unwrap();
    let said = b.say(taro, room, "後").await;
    let late = b.outgoing("a.test").await.pop().unwrap();
    let redaction = redaction(b, room, taro, &said).await;
    let mut first: Value = serde_json::from_str(redaction.get()).unwrap();
    first["prev_events"] = json!([before.extremities[0].event_id]);
    let first = resign(&first);
    a.receive("b.test", &[first, late]).await;
    assert_eq!(a.bodies(room).await, [""]);
    assert_eq!(redactions_shown(a, room).await, 1);
}

#[tokio::test]
async fn redactions_without_a_right_do_not_take_the_place_of_one_that_waits() {
    let scene = Scene::new().await;
    let Scene { a, b, room, hanako, taro, .. } = &scene;
    let said = a.say(hanako, room, "消える").await;
    let late = a.outgoing("b.test").await.pop().unwrap();
    let tip = b.rooms.get_head(&b.rooms.room(room).await.unwrap().unwrap()).await.unwrap();
    let onto = |event: &RawValue| {
        let mut event: Value = serde_json::from_str(event.get()).unwrap();
        event["prev_events"] = json!([tip.extremities[0].event_id]);
        resign(&event)
    };
    let right = onto(&redaction(a, room, hanako, &said).await);
    let wrong = onto(&redaction(b, room, taro, &said).await);
    b.receive("a.test", &[right]).await;
    b.receive("b.test", &[wrong]).await;
    b.receive("a.test", &[late]).await;
    assert_eq!(b.bodies(room).await, [""]);
    assert_eq!(redactions_shown(b, room).await, 1);
}

#[tokio::test]
async fn what_was_redacted_before_it_had_its_place_stays_empty_when_somebody_sends_the_original() {
    let net = Net::default();
    let (a, c) = (net.server(&["a.test"]).await, net.server(&["c.test"]).await);
    let (hanako, saburo) = (user("@hanako:a.test"), user("@saburo:c.test"));
    let room = a.public_room(&hanako).await;
    let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": "消える" }));
    let topic = a.engine.send(&room, topic, None).await.unwrap();
    let original = a.rooms.event(&room, &topic).await.unwrap().unwrap().pdu().to_raw();
    a.say(&hanako, &room, "次").await;
    // To the one who comes later it is part of the state, no more.
    c.join(&saburo, &room, "a.test").await.unwrap();
    a.outgoing("c.test").await;
    let redaction = a.engine.redact(&hanako, &room, &topic, None, None).await.unwrap();
    a.deliver(&c).await;
    c.receive("a.test", &[original]).await;
    let placed = c.rooms.event(&room, &topic).await.unwrap().unwrap();
    assert!(placed.meta().is_placed());
    assert_eq!(placed.pdu().content_str(), "{}");
    let redaction = c.rooms.event(&room, &redaction).await.unwrap().unwrap();
    assert_eq!(placed.meta().redacted_by, Some(redaction.serial()));
}

#[tokio::test]
async fn the_state_before_a_rejected_event_is_not_told() {
    let scene = Scene::new().await;
    let Scene { a, b, room, taro, .. } = &scene;
    let event = {
        let info = b.rooms.room(room).await.unwrap().unwrap();
        let guard = b.engine.lock(&info).await.unwrap();
        let mut stage = Stage::new(&b.engine, &info, guard.live().unwrap());
        let draft = state(taro, "m.room.name", "", &json!({ "name": "乗っ取り" }));
        let built = stage.build(&draft, None).await.unwrap();
        pdu::sign(built.event, b.engine.authority_of(taro).unwrap()).unwrap()
    };
    a.receive("b.test", &[event.pdu().to_raw()]).await;
    let id = event.pdu().event_id();
    assert_eq!(a.rooms.event(room, id).await.unwrap().unwrap().meta().verdict, Verdict::Rejected);
    let b_test = "b.test".try_into().unwrap();
    assert!(matches!(a.engine.state_for_server(b_test, room, id).await, Err(Error::NoEvent(_))));
    assert!(matches!(a.engine.auth_chain_for_server(b_test, room, id).await, Err(Error::NoEvent(_))));
    assert!(matches!(a.engine.state_ids_for_server(b_test, room, id).await, Err(Error::NoEvent(_))));
}

/// Signs a changed event anew, in the name of its sender's server.
fn resign(event: &Value) -> Box<RawValue> {
    let mut event = event.clone();
    event.as_object_mut().unwrap().remove("hashes");
    event.as_object_mut().unwrap().remove("signatures");
    let sender = user(event["sender"].as_str().unwrap());
    let raw = RawValue::from_string(event.to_string()).unwrap();
    let version = pdu::RoomVersion::V11;
    let template = pdu::Template::parse(version, &raw).unwrap();
    let at = crate::pipeline::timestamp(event["origin_server_ts"].as_u64().unwrap());
    let mut draft = template.draft.clone();
    draft.redacts = event["content"]["redacts"].as_str().map(|id| ruma::OwnedEventId::try_from(id).unwrap());
    let unsigned = pdu::build(
        version,
        &draft,
        Some(&template.room_id),
        &template.prev_events,
        &template.auth_events,
        template.depth,
        at,
    );
    let authority = super::net::authority(sender.server_name().as_str());
    pdu::sign(unsigned.unwrap(), &authority).unwrap().pdu().to_raw()
}
