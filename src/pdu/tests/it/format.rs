//! The form of events: what is read, what is refused, and that nothing panics.

use pdu::{
    Draft, FormatError, MAX_PDU_BYTES, Pdu, RoomVersion, SignError, Template, build,
    json::{JsonFault, MAX_NESTING, MAX_OWN_NESTING},
    sign, verify,
};
use proptest::prelude::*;
use ruma::{MilliSecondsSinceUnixEpoch, UInt, room_id};
use serde_json::{Value, json};

use crate::world::{HANAKO, Room, authority, draft, keys};

/// An event that is right in every version.
fn message(version: RoomVersion) -> Value {
    let room = if version.has_hashed_room_id() { "!x" } else { "!x:kanazawa.test" };
    json!({
        "auth_events": ["$a"],
        "content": { "body": "hello" },
        "depth": 12,
        "hashes": { "sha256": "" },
        "origin_server_ts": 1000,
        "prev_events": ["$b", "$c"],
        "room_id": room,
        "sender": HANAKO,
        "signatures": { "kanazawa.test": { "ed25519:1": "" } },
        "type": "m.room.message",
    })
}

fn parse(version: RoomVersion, value: &Value) -> Result<Pdu, FormatError> {
    Pdu::parse(version, value.to_string().as_bytes())
}

#[test]
fn the_head_is_read_in_every_version() {
    for version in RoomVersion::SUPPORTED {
        let mut value = message(version);
        value["unsigned"] = json!({ "age": 5 });
        value["state_key"] = "鍵\n".into();
        value["org.example.extra"] = json!([1]);
        let pdu = parse(version, &value).unwrap();
        assert_eq!(pdu.version(), version);
        assert_eq!(pdu.sender(), HANAKO);
        assert_eq!(pdu.kind().to_string(), "m.room.message");
        assert_eq!(pdu.state_key(), Some("鍵\n"));
        assert_eq!(pdu.depth(), 12);
        assert_eq!(u64::from(pdu.origin_server_ts().get()), 1000);
        assert_eq!(pdu.prev_events().to_vec(), ["$b", "$c"]);
        assert_eq!(pdu.auth_events().to_vec(), ["$a"]);
        assert_eq!(pdu.content().get(), r#"{"body":"hello"}"#);
        assert_eq!(pdu.room_id().as_str(), value["room_id"]);
        assert_eq!(pdu.event_id().as_str().len(), 44);
        let url_safe = !pdu.event_id().as_str().contains(['+', '/']);
        assert!(url_safe || version == RoomVersion::V3);
        // What is not known stays, what is ours to add does not.
        assert!(pdu.json_str().contains(r#""org.example.extra":[1]"#));
        assert!(!pdu.json_str().contains("unsigned"));

        let again = Pdu::from_stored(version, pdu.json().clone(), pdu.event_id().to_owned()).unwrap();
        assert_eq!((&again, again.room_id(), again.depth()), (&pdu, pdu.room_id(), 12));
        assert_eq!(Pdu::parse(version, pdu.json()).unwrap(), pdu);
    }
}

#[test]
fn wrong_types_and_missing_fields_are_refused_in_every_version() {
    let long = "x".repeat(256);
    let fields = [
        (
            "auth_events",
            vec![json!(1), json!({}), json!([1]), json!(["a"]), json!([["$a", {}]]), json!([""])],
        ),
        ("content", vec![json!(1), json!("{}"), json!([]), Value::Null]),
        ("depth", vec![json!("1"), json!(-1), json!({}), Value::Null]),
        ("hashes", vec![json!(1), json!("{}"), json!([])]),
        ("origin_server_ts", vec![json!("1"), json!(-1), json!([]), Value::Null]),
        ("prev_events", vec![json!(1), json!("$a"), json!([{}]), json!([format!("${long}")])]),
        ("room_id", vec![json!(1), json!("x"), json!("#x:y"), json!(format!("!{long}:y")), Value::Null]),
        ("sender", vec![json!(1), json!("hanako"), json!("@x"), json!(format!("@{long}:y")), Value::Null]),
        ("signatures", vec![json!(1), json!("{}"), json!([])]),
        ("type", vec![json!(1), json!([]), json!(long), Value::Null]),
    ];
    for version in RoomVersion::SUPPORTED {
        for (field, wrong) in &fields {
            let mut value = message(version);
            value.as_object_mut().unwrap().remove(*field);
            assert!(matches!(parse(version, &value), Err(FormatError::Missing { .. })), "{field}");
            for wrong in wrong {
                value[*field] = wrong.clone();
                assert!(parse(version, &value).is_err(), "{version} {field} {wrong}");
            }
        }
        for (field, wrong) in
            [("state_key", json!(1)), ("state_key", Value::Null), ("state_key", json!(long))]
        {
            let mut value = message(version);
            value[field] = wrong;
            assert!(parse(version, &value).is_err(), "{field}");
        }
        for (field, limit) in [("prev_events", 20), ("auth_events", 10)] {
            let mut value = message(version);
            value[field] = (0..limit).map(|n| format!("$x{n}")).collect();
            assert!(parse(version, &value).is_ok());
            value[field] = (0..=limit).map(|n| format!("$x{n}")).collect();
            assert_eq!(parse(version, &value), Err(FormatError::TooMany { field, limit }));
            assert!(id_of_overfull(version, &value).is_some());
        }
    }
}

fn id_of_overfull(version: RoomVersion, value: &Value) -> Option<ruma::OwnedEventId> {
    Pdu::id_of_overfull(version, &serde_json::value::to_raw_value(value).unwrap())
}

#[test]
fn only_what_the_hash_covers_proves_that_an_id_is_of_no_event() {
    for version in RoomVersion::SUPPORTED {
        let whole = message(version);
        assert_eq!(id_of_overfull(version, &whole), None);
        for (field, wrong) in [
            ("signatures", Value::Null),
            ("content", json!([])),
            ("content", json!({ "body": "x".repeat(70_000) })),
            ("unsigned", json!([1])),
            ("prev_events", json!("x".repeat(100))),
        ] {
            let mut value = whole.clone();
            value[field] = wrong;
            assert_eq!(id_of_overfull(version, &value), None, "{field}");
        }
        // Who adds content to a true event has the same id, and who adds previous events another one.
        let mut value = whole.clone();
        value["prev_events"] = (0..=20).map(|n| format!("$x{n}")).collect();
        let id = id_of_overfull(version, &value);
        assert_ne!(id.as_deref(), Some(parse(version, &whole).unwrap().event_id()));
        value["content"] = json!([]);
        value["signatures"] = Value::Null;
        assert!(id_of_overfull(version, &value).is_some());
    }
}

#[test]
fn what_is_too_large_in_any_spelling_is_refused_before_it_is_read() {
    for version in RoomVersion::SUPPORTED {
        let text = format!(r#"{{"x":[{}0]}}"#, "[0],".repeat(256 * 1024));
        assert_eq!(
            Pdu::parse(version, text.as_bytes()),
            Err(FormatError::TooLarge { size_bytes: text.len() })
        );
        let raw = serde_json::value::RawValue::from_string(text.clone()).unwrap();
        let template = Template::parse(version, &raw);
        assert!(matches!(template, Err(FormatError::TooLarge { size_bytes }) if size_bytes == text.len()));
        // It is not even looked at: this is no JSON.
        assert!(matches!(
            Pdu::parse(version, "[".repeat(1 << 20).as_bytes()),
            Err(FormatError::TooLarge { .. })
        ));
    }
}

#[test]
fn what_is_large_by_its_spelling_or_its_unsigned_part_alone_is_read() {
    for version in RoomVersion::SUPPORTED {
        let mut value = message(version);
        value["content"] = json!({ "body": "役".repeat(20_000) });
        value["unsigned"] = json!({ "prev_content": { "body": "役".repeat(10_000) } });
        let text = value.to_string().replace('役', "\\u5f79");
        assert!(text.len() > 2 * MAX_PDU_BYTES);
        assert!(Pdu::parse(version, text.as_bytes()).is_ok());
    }
}

#[test]
fn types_and_state_keys_may_have_255_bytes_and_in_old_rooms_as_many_characters() {
    for version in RoomVersion::SUPPORTED {
        let mut value = message(version);
        value["type"] = "t".repeat(255).into();
        value["state_key"] = "語".repeat(85).into();
        assert!(parse(version, &value).is_ok());
        value["state_key"] = ("語".repeat(85) + "x").into();
        let longer = parse(version, &value);
        if version >= RoomVersion::V11 {
            assert_eq!(longer, Err(FormatError::TooLong { field: "state_key" }));
            continue;
        }
        // Older rooms have such events, from when servers counted characters.
        assert!(longer.is_ok());
        value["state_key"] = "語".repeat(256).into();
        assert_eq!(parse(version, &value), Err(FormatError::TooLong { field: "state_key" }));
    }
}

#[test]
fn numbers_are_strict_from_version_6() {
    for version in RoomVersion::SUPPORTED {
        for number in ["1.5", "1e3", "9007199254740992", "-0"] {
            let text = message(version).to_string().replace("\"hello\"", number);
            let result = Pdu::parse(version, text.as_bytes());
            assert_eq!(result.is_ok(), version < RoomVersion::V6, "{version} {number}");
        }
        for depth in ["1.0", "9223372036854775808", "1e2"] {
            let text = message(version).to_string().replace("\"depth\":12", &format!("\"depth\":{depth}"));
            assert!(Pdu::parse(version, text.as_bytes()).is_err(), "{version} {depth}");
        }
    }
}

#[test]
fn duplicate_keys_and_deep_nesting_are_refused() {
    for version in RoomVersion::SUPPORTED {
        let fault = |text: String| match Pdu::parse(version, text.as_bytes()) {
            Err(FormatError::Json(error)) => error.fault,
            other => panic!("{other:?}"),
        };
        let text = message(version).to_string();
        let double = text.replace("\"depth\":12", "\"depth\":12,\"depth\":12");
        assert_eq!(fault(double), JsonFault::DuplicateKey);
        let inside = text.replace("\"hello\"", "{\"a\":1,\"\\u0061\":2}");
        assert_eq!(fault(inside), JsonFault::DuplicateKey);
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let deep = text.replace("\"hello\"", &nested(MAX_NESTING - 1));
        assert_eq!(fault(deep), JsonFault::Nesting);
        let fits = text.replace("\"hello\"", &nested(MAX_NESTING - 2));
        assert!(Pdu::parse(version, fits.as_bytes()).is_ok());
    }
}

#[test]
fn an_event_may_have_65536_bytes_without_unsigned() {
    let version = RoomVersion::V12;
    let mut value = message(version);
    let missing = MAX_PDU_BYTES - parse(version, &value).unwrap().json().len();
    value["content"]["body"] = ("hello".to_owned() + &"x".repeat(missing)).into();
    value["unsigned"] = json!({ "age": 5 });
    assert_eq!(parse(version, &value).unwrap().json().len(), MAX_PDU_BYTES);
    value["content"]["body"] = ("hello".to_owned() + &"x".repeat(missing + 1)).into();
    assert_eq!(parse(version, &value), Err(FormatError::TooLarge { size_bytes: MAX_PDU_BYTES + 1 }));
}

#[test]
fn version_12_names_the_room_after_its_create_event() {
    let version = RoomVersion::V12;
    let mut create = message(version);
    create["type"] = "m.room.create".into();
    create["state_key"] = "".into();
    assert_eq!(parse(version, &create), Err(FormatError::Unexpected { field: "room_id" }));
    assert!(parse(RoomVersion::V11, &create).is_ok());
    create.as_object_mut().unwrap().remove("room_id");
    let pdu = parse(version, &create).unwrap();
    assert_eq!(pdu.room_id().as_str()[1..], pdu.event_id().as_str()[1..]);
    assert!(!pdu.json_str().contains("room_id"));
    assert_eq!(parse(RoomVersion::V11, &create), Err(FormatError::Missing { field: "room_id" }));

    // That the create event may not stand among the auth events is for the auth rules to say: such an
    // event is rejected, not unknown.
    let mut other = message(version);
    other["room_id"] = "!a".into();
    assert!(parse(version, &other).is_ok());
}

#[test]
fn redacts_is_read_where_the_version_puts_it() {
    for version in RoomVersion::SUPPORTED {
        let in_content = version >= RoomVersion::V11;
        let mut value = message(version);
        value["type"] = "m.room.redaction".into();
        value["redacts"] = "$beside".into();
        value["content"]["redacts"] = "$inside".into();
        let expected = if in_content { "$inside" } else { "$beside" };
        assert_eq!(parse(version, &value).unwrap().redacts().unwrap(), expected);
        for wrong in [json!(5), json!("x"), json!({}), Value::Null] {
            value["redacts"] = wrong.clone();
            value["content"]["redacts"] = wrong;
            assert_eq!(parse(version, &value).unwrap().redacts(), None);
        }
        let mut value = message(version);
        value["redacts"] = "$beside".into();
        assert_eq!(parse(version, &value).unwrap().redacts(), None);
    }
}

#[test]
fn events_of_others_may_be_nested_deeper_than_ours() {
    for version in [RoomVersion::V4, RoomVersion::V11] {
        let event = message(version).to_string();
        let (before, after) = event.split_once(r#""content":{"#).unwrap();
        let nested = |depth: usize| {
            format!(r#"{before}"content":{{"deep":{}{},{after}"#, "[".repeat(depth), "]".repeat(depth))
        };
        for depth in [120, 300, MAX_NESTING - 2] {
            let pdu = Pdu::parse(version, nested(depth).as_bytes()).unwrap();
            // What is done with an event later must bear it too.
            assert!(pdu::redact(&pdu).unwrap().json().len() < pdu.json().len());
            assert!(pdu::client_event(&pdu).len() > 2 * depth);
        }
        assert!(Pdu::parse(version, nested(MAX_NESTING - 1).as_bytes()).is_err());
    }
}

#[test]
fn drafts_that_cannot_be_events_are_refused() {
    let room_id = room_id!("!x:kanazawa.test");
    let at = MilliSecondsSinceUnixEpoch(UInt::from(1_u32));
    let make = |draft: &Draft| build(RoomVersion::V11, draft, Some(room_id), &[], &[], 1, at);
    let with = |content: &str| {
        let mut draft = draft(HANAKO, "m.room.message", None, &json!({}));
        draft.content = serde_json::value::RawValue::from_string(content.to_owned()).unwrap();
        make(&draft)
    };
    for content in ["[]", "null", "1", "\"x\"", r#"{"a":1.5}"#, r#"{"a":1,"a":2}"#, r#"{"a":"\ud800"}"#] {
        assert!(with(content).is_err(), "{content}");
    }
    // What we say must not be too deep for others once it stands in an event.
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let deepest = sign(with(&nested(MAX_OWN_NESTING - 2)).unwrap(), &authority("kanazawa.test")).unwrap();
    assert!(Pdu::parse(RoomVersion::V11, deepest.pdu().json()).is_ok());
    assert!(with(&nested(MAX_OWN_NESTING - 1)).is_err());
    let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_PDU_BYTES));
    assert!(matches!(with(&huge), Err(FormatError::TooLarge { .. })));
    // Room is left for the head, but not for hash and signature.
    let nearly = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_PDU_BYTES - 250));
    let unsigned = with(&nearly).unwrap();
    let signed = sign(unsigned, &authority("kanazawa.test"));
    assert!(matches!(signed, Err(SignError::Format(FormatError::TooLarge { .. }))));

    let long = "x".repeat(256);
    assert!(make(&draft(HANAKO, &long, None, &json!({}))).is_err());
    assert!(make(&draft(HANAKO, "x", Some(&long), &json!({}))).is_err());
    let message = draft(HANAKO, "x", None, &json!({}));
    let ids: Vec<_> = (0..21).map(|n| ruma::EventId::parse(format!("$x{n}")).unwrap()).collect();
    let room = Some(room_id);
    assert!(build(RoomVersion::V11, &message, room, &ids, &[], 1, at).is_err());
    assert!(build(RoomVersion::V11, &message, room, &[], &ids[..11], 1, at).is_err());
    assert!(build(RoomVersion::V11, &message, room, &[], &[], 1 << 53, at).is_err());
    assert!(build(RoomVersion::V11, &message, None, &[], &[], 1, at).is_err());
    let create = draft(HANAKO, "m.room.create", Some(""), &json!({}));
    assert!(build(RoomVersion::V12, &create, room, &[], &[], 1, at).is_err());
    assert!(build(RoomVersion::V12, &create, None, &[], &[], 1, at).is_ok());
}

#[test]
fn damaged_bytes_of_the_store_are_an_error() {
    let room = Room::new(RoomVersion::V12);
    let pdu = room.find(&"m.room.join_rules".into(), "").unwrap();
    let id = pdu.event_id().to_owned();
    for end in 0..pdu.json().len() {
        // Signatures and type come last: without them the event is not whole.
        let cut = pdu.json().slice(..end);
        if let Ok(cut) = Pdu::from_stored(RoomVersion::V12, cut, id.clone()) {
            assert!(cut.json_str().contains("\"type\":\"m.room.join_rules\""));
        }
    }
    assert!(Pdu::from_stored(RoomVersion::V12, vec![0xff, 0xfe].into(), id).is_err());
}

/// Uses everything that a server does with an event that it does not know yet.
fn use_all(pdu: Pdu) {
    let (version, id) = (pdu.version(), pdu.event_id().to_owned());
    let stored = Pdu::from_stored(version, pdu.json().clone(), id.clone()).unwrap();
    assert_eq!(Pdu::parse(version, stored.json()).unwrap().event_id(), &*id);
    let redacted = pdu::redact(&pdu).unwrap();
    assert_eq!(Pdu::parse(version, redacted.json()).unwrap().event_id(), &*id);
    assert!(serde_json::from_slice::<Value>(&pdu::client_event(&pdu)).is_ok());
    assert!(serde_json::from_str::<Value>(pdu::stripped(&pdu).get()).is_ok());
    let _: Option<_> = pdu::auth_types(&pdu).ok();
    let _: Option<_> = pdu::check_auth(&pdu, &|_, _| Some(pdu.clone())).ok();
    let _: Option<_> = pdu::check_auth_independent(&pdu, |_| Some(pdu.clone())).ok();
    let _: Option<_> = pdu.membership();
    let _: Option<_> = pdu.power_levels().ok();
    let _: Vec<_> = pdu::required_keys(&pdu);
    let _: Option<_> = verify(pdu, &keys(&["kanazawa.test"])).ok();
}

/// Texts that have broken readers of Matrix events before, to be put in the place of any value.
const NASTY: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "9007199254740991",
    "-9223372036854775808",
    "\"\"",
    "\"@\"",
    "\"@:\"",
    "\"!\"",
    "\"$\"",
    "\"\\u0000\"",
    "\"@a:b:c:d\"",
    "\"@a:[::1]:99999\"",
    "\"\u{202e}\u{0}\"",
    "[]",
    "[[]]",
    "[null]",
    "[\"$a\",\"$a\"]",
    "{}",
    "{\"\":{}}",
    "{\"membership\":5}",
    "{\"membership\":\"join\",\"third_party_invite\":5}",
    "{\"membership\":\"invite\",\"third_party_invite\":{\"signed\":5}}",
    "{\"membership\":\"invite\",\"third_party_invite\":{\"signed\":{\"mxid\":5,\"token\":[],\"signatures\":{}}}}",
    "{\"membership\":\"join\",\"join_authorised_via_users_server\":\"x\"}",
    "{\"users\":5}",
    "{\"users\":{\"x\":\"y\"},\"events\":[],\"ban\":\"5\",\"kick\":null}",
    "{\"join_rule\":[]}",
    "{\"room_version\":12,\"additional_creators\":[5],\"creator\":5,\"m.federate\":\"no\"}",
];

#[test]
fn nasty_values_in_any_place_do_no_harm() {
    let kinds = [
        "m.room.message",
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.redaction",
        "m.room.third_party_invite",
        "m.room.aliases",
    ];
    let mut read = 0;
    for version in [RoomVersion::V3, RoomVersion::V6, RoomVersion::V10, RoomVersion::V12] {
        for kind in kinds {
            let mut base = message(version);
            base["type"] = kind.into();
            base["state_key"] = HANAKO.into();
            if kind == "m.room.create" && version.has_hashed_room_id() {
                base.as_object_mut().unwrap().remove("room_id");
            }
            let fields: Vec<String> = base.as_object().unwrap().keys().cloned().collect();
            for field in fields.iter().map(String::as_str).chain(["redacts", "unsigned", "event_id"]) {
                let mut value = base.clone();
                value[field] = "@@HERE@@".into();
                let text = value.to_string();
                for nasty in NASTY {
                    let text = text.replace("\"@@HERE@@\"", nasty);
                    if let Ok(pdu) = Pdu::parse(version, text.as_bytes()) {
                        read += 1;
                        use_all(pdu);
                    }
                }
            }
        }
    }
    assert!(read > 1_000, "{read} were events");
}

fn any_version() -> impl Strategy<Value = RoomVersion> {
    prop::sample::select(RoomVersion::SUPPORTED.to_vec())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        version in any_version(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let _: Option<_> = Pdu::parse(version, &bytes).ok();
        let id = ruma::EventId::parse("$x").unwrap();
        let _: Option<_> = Pdu::from_stored(version, bytes.into(), id).ok();
    }

    #[test]
    fn mutated_events_never_panic(
        version in any_version(),
        kind in prop::sample::select(vec!["m.room.member", "m.room.power_levels", "m.room.create", "x"]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let mut value = message(version);
        value["type"] = kind.into();
        value["content"] = json!({ "membership": "join", "users": { HANAKO: 100 }, "creator": HANAKO });
        let mut bytes = value.to_string().into_bytes();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.insert(at, br#""\{}[]:,"#[usize::from(byte) % 8]),
            }
        }
        if let Ok(pdu) = Pdu::parse(version, &bytes) {
            use_all(pdu);
        }
        let id = ruma::EventId::parse("$x").unwrap();
        let _: Option<_> = Pdu::from_stored(version, bytes.into(), id).ok();
    }

    #[test]
    fn parsing_what_was_parsed_changes_nothing(version in any_version(), body in any::<String>(), key in any::<String>()) {
        let mut value = message(version);
        value["content"] = json!({ "body": body, key: [body] });
        let pdu = parse(version, &value).unwrap();
        let again = Pdu::parse(version, pdu.json()).unwrap();
        prop_assert_eq!(&again, &pdu);
        prop_assert_eq!(pdu.content_as::<Value>().unwrap(), value["content"].clone());
    }
}
