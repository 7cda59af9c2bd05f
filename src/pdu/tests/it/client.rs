//! The forms for clients.

use pdu::{RoomVersion, client_event, open_client_event, redact, stripped, with_unsigned};
use serde_json::{Value, json};

use crate::world::{HANAKO, Room, draft};

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn a_client_event_has_the_clients_fields_and_takes_unsigned() {
    let room = Room::new(RoomVersion::V12);
    let pdu = room.make(&draft(HANAKO, "m.room.message", None, &json!({ "body": "避難\"所" })));
    let expected = json!({
        "content": { "body": "避難\"所" },
        "event_id": pdu.event_id(),
        "origin_server_ts": pdu.origin_server_ts(),
        "room_id": pdu.room_id(),
        "sender": HANAKO,
        "type": "m.room.message",
    });
    let event = client_event(&pdu);
    assert_eq!(value(&event), expected);

    let mut with_age = expected.clone();
    with_age["unsigned"] = json!({ "age": 5 });
    assert_eq!(value(&with_unsigned(&event, r#"{"age":5}"#)), with_age);

    let mut in_sync = expected;
    in_sync.as_object_mut().unwrap().remove("room_id");
    let mut open = Vec::new();
    open_client_event(&pdu, false, &mut open);
    open.push(b'}');
    assert_eq!(value(&open), in_sync);
}

#[test]
fn the_create_event_of_version_12_has_a_room_for_clients() {
    let room = Room::new(RoomVersion::V12);
    let create = room.find(&"m.room.create".into(), "").unwrap();
    assert_eq!(value(&client_event(&create))["room_id"], create.event_id().as_str().replace('$', "!"));
    assert_eq!(value(&client_event(&create))["state_key"], "");
}

#[test]
fn what_is_redacted_stands_in_both_places() {
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        let target = room.find(&"m.room.join_rules".into(), "").unwrap().event_id().to_owned();
        let mut redaction = draft(HANAKO, "m.room.redaction", None, &json!({ "reason": "誤り" }));
        redaction.redacts = Some(target.clone());
        let pdu = room.make(&redaction);
        assert_eq!(pdu.redacts(), Some(&*target));
        let inside = value(pdu.json())["content"].get("redacts").is_some();
        assert_eq!(inside, version >= RoomVersion::V11, "{version}");

        let event = value(&client_event(&pdu));
        assert_eq!(event["redacts"], target.as_str());
        assert_eq!(event["content"], json!({ "reason": "誤り", "redacts": target }));

        // Version 11 keeps it when the redaction is itself redacted.
        let event = value(&client_event(&redact(&pdu).unwrap()));
        assert_eq!(event.get("redacts").is_some(), version >= RoomVersion::V11, "{version}");
    }
}

#[test]
fn stripped_state_has_four_fields() {
    let room = Room::new(RoomVersion::V12);
    let rules = room.find(&"m.room.join_rules".into(), "").unwrap();
    let expected = json!({
        "content": { "join_rule": "public" },
        "sender": HANAKO,
        "state_key": "",
        "type": "m.room.join_rules",
    });
    assert_eq!(value(stripped(&rules).get().as_bytes()), expected);
    assert_eq!(rules.to_raw().get(), rules.json_str());
}
