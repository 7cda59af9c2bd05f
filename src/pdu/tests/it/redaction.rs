//! Redaction, version by version.

use pdu::{Pdu, RoomVersion, redact, redact_content};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{HANAKO, JIRO, Room, TARO, draft};

fn content(version: RoomVersion, kind: &str, content: Value) -> Value {
    serde_json::from_str(&redact_content(version, kind, &content.to_string())).unwrap()
}

/// A type, its whole content, what always stays, and what stays from which version on.
type Row = (&'static str, Value, Value, Vec<(u8, Value)>);

fn table() -> Vec<Row> {
    vec![
        ("m.room.message", json!({ "body": "x", "membership": "x" }), json!({}), vec![]),
        (
            "m.room.member",
            json!({ "membership": "join", "displayname": "x", "join_authorised_via_users_server": "@a:b",
                "third_party_invite": { "display_name": "x", "signed": { "token": "t" } } }),
            json!({ "membership": "join" }),
            vec![
                (9, json!({ "join_authorised_via_users_server": "@a:b" })),
                (11, json!({ "third_party_invite": { "signed": { "token": "t" } } })),
            ],
        ),
        (
            "m.room.create",
            json!({ "creator": "@a:b", "room_version": "1", "m.federate": false }),
            json!({ "creator": "@a:b" }),
            vec![(11, json!({ "room_version": "1", "m.federate": false }))],
        ),
        (
            "m.room.join_rules",
            json!({ "join_rule": "restricted", "allow": [], "x": 1 }),
            json!({ "join_rule": "restricted" }),
            vec![(8, json!({ "allow": [] }))],
        ),
        (
            "m.room.power_levels",
            json!({ "ban": 1, "events": { "a": 1 }, "events_default": 2, "kick": 3, "redact": 4,
                "state_default": 5, "users": {}, "users_default": 6, "invite": 7, "notifications": {} }),
            json!({ "ban": 1, "events": { "a": 1 }, "events_default": 2, "kick": 3, "redact": 4,
                "state_default": 5, "users": {}, "users_default": 6 }),
            vec![(11, json!({ "invite": 7 }))],
        ),
        (
            "m.room.history_visibility",
            json!({ "history_visibility": "shared", "x": 1 }),
            json!({ "history_visibility": "shared" }),
            vec![],
        ),
        (
            "m.room.redaction",
            json!({ "redacts": "$x", "reason": "y" }),
            json!({}),
            vec![(11, json!({ "redacts": "$x" }))],
        ),
    ]
}

#[test]
fn each_version_keeps_what_it_must() {
    for version in RoomVersion::SUPPORTED {
        let number: u8 = version.as_str().parse().unwrap();
        for (kind, whole, always, since) in table() {
            let mut expected = always;
            for (_, more) in since.into_iter().filter(|(first, _)| *first <= number) {
                expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            }
            assert_eq!(content(version, kind, whole), expected, "{kind} in version {version}");
        }
        let aliases = content(version, "m.room.aliases", json!({ "aliases": ["#a:b"], "x": 1 }));
        assert_eq!(aliases, if number < 6 { json!({ "aliases": ["#a:b"] }) } else { json!({}) });
    }
}

#[test]
fn ruma_redacts_alike() {
    for version in RoomVersion::SUPPORTED {
        for (kind, whole, _, _) in table() {
            let mut object = serde_json::from_value(whole.clone()).unwrap();
            ruma::canonical_json::redact_content_in_place(&mut object, &version.rules().redaction, kind);
            assert_eq!(content(version, kind, whole), serde_json::to_value(object).unwrap());
        }
    }
}

#[test]
fn the_top_level_is_cut_and_id_and_signatures_stay() {
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        let made = room.make(&draft(HANAKO, "m.room.topic", Some(""), &json!({ "topic": "x" })));
        let mut json: Value = serde_json::from_slice(made.json()).unwrap();
        for extra in ["origin", "membership", "prev_state", "other"] {
            json[extra] = "x".into();
        }
        let pdu = Pdu::parse(version, json.to_string().as_bytes()).unwrap();
        let redacted = redact(&pdu).unwrap();
        let kept: Value = serde_json::from_slice(redacted.json()).unwrap();
        for extra in ["origin", "membership", "prev_state"] {
            assert_eq!(kept.get(extra).is_some(), version < RoomVersion::V11, "{version} {extra}");
        }
        assert_eq!((kept.get("other"), &kept["content"]), (None, &json!({})));
        assert_eq!(kept["signatures"], json["signatures"]);
        assert_eq!(redacted.event_id(), pdu.event_id());
        assert_eq!(Pdu::parse(version, redacted.json()).unwrap().event_id(), pdu.event_id());
    }
}

proptest! {
    #[test]
    fn redaction_twice_is_redaction_once(
        version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()),
        row in 0..7_usize,
        extra in any::<String>(),
        odd in prop::sample::select(vec![json!(null), json!(5), json!({ "signed": 1, "x": 2 }), json!(["x"])]),
        replaced in any::<prop::sample::Index>(),
    ) {
        let (kind, mut whole, _, _) = table().swap_remove(row);
        let object = whole.as_object_mut().unwrap();
        let key = object.keys().nth(replaced.index(object.len())).unwrap().clone();
        object.insert(key, odd);
        object.insert(extra.clone(), extra.into());

        let once = content(version, kind, whole.clone());
        prop_assert_eq!(content(version, kind, once.clone()), once.clone());
        let mut object = serde_json::from_value(whole).unwrap();
        ruma::canonical_json::redact_content_in_place(&mut object, &version.rules().redaction, kind);
        prop_assert_eq!(once, serde_json::to_value(object).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whole_events_too(version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()), name in any::<String>()) {
        let mut room = Room::new(version);
        room.join(TARO);
        room.put(JIRO, "m.room.member", Some(JIRO), json!({ "membership": "join", "displayname": name }));
        for pdu in room.events.values() {
            let once = redact(pdu).unwrap();
            prop_assert_eq!(redact(&once).unwrap(), once);
        }
    }
}
