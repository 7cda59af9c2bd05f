//! The authorisation rules.

use pdu::{AuthFailure, Pdu, RoomPower, RoomVersion, auth_types, check_auth, check_auth_independent};
use proptest::prelude::*;
use ruma::{
    Int,
    events::{StateEventType, TimelineEventType, room::power_levels::UserPowerLevel},
};
use serde_json::{Value, json};

use crate::world::{HANAKO, JIRO, Room, TARO, draft, user};

fn member(membership: &str) -> Value {
    json!({ "membership": membership })
}

const MEMBER: &str = "m.room.member";

#[test]
fn a_room_can_be_made_joined_and_used_in_every_version() {
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::new(version);
        room.join(TARO);
        room.put(TARO, "m.room.message", None, json!({ "body": "着きました" }));
        room.put(TARO, MEMBER, Some(TARO), member("leave"));
        let after = room.try_send(TARO, "m.room.message", None, json!({}));
        assert_eq!(after.unwrap_err(), AuthFailure::NotJoined, "{version}");
    }
}

#[test]
fn membership_changes_follow_the_table() {
    // Per row: Taro's membership, who acts, what on Taro, whether a public room allows it.
    let rows = [
        ("", TARO, "join", true),
        ("", TARO, "leave", false),
        ("", HANAKO, "invite", true),
        ("", HANAKO, "ban", true),
        ("", HANAKO, "join", false),
        ("", JIRO, "invite", true),
        ("", JIRO, "ban", false),
        ("invite", TARO, "join", true),
        ("invite", TARO, "leave", true),
        ("invite", HANAKO, "leave", true),
        ("invite", JIRO, "leave", false),
        ("join", TARO, "leave", true),
        ("join", HANAKO, "invite", false),
        ("join", HANAKO, "leave", true),
        ("join", JIRO, "leave", false),
        ("join", HANAKO, "ban", true),
        ("ban", TARO, "join", false),
        ("ban", TARO, "leave", false),
        ("ban", HANAKO, "invite", false),
        ("ban", HANAKO, "leave", true),
        ("ban", JIRO, "leave", false),
        ("join", HANAKO, "other", false),
    ];
    for version in RoomVersion::SUPPORTED {
        for (before, sender, change, allowed) in rows {
            let mut room = Room::new(version);
            room.join(JIRO);
            match before {
                "join" => drop(room.join(TARO)),
                "" => {}
                _ => drop(room.put(HANAKO, MEMBER, Some(TARO), member(before))),
            }
            let result = room.try_send(sender, MEMBER, Some(TARO), member(change));
            assert_eq!(result.is_ok(), allowed, "{version}: {before} → {change} by {sender}: {result:?}");
        }
    }
}

#[test]
fn join_rules_decide_who_may_join() {
    for version in RoomVersion::SUPPORTED {
        let number: u8 = version.as_str().parse().unwrap();
        for (rule, may_join, knocks_from) in [
            ("invite", false, 99),
            ("knock", false, 7),
            ("knock_restricted", false, 10),
            ("public", true, 99),
        ] {
            let mut room = Room::new(version);
            room.put(HANAKO, "m.room.join_rules", Some(""), json!({ "join_rule": rule }));
            assert_eq!(room.clone().try_send(TARO, MEMBER, Some(TARO), member("join")).is_ok(), may_join);
            let knock = room.try_send(TARO, MEMBER, Some(TARO), member("knock"));
            assert_eq!(knock.is_ok(), number >= knocks_from, "{version} {rule}");
        }
        let mut room = Room::new(version);
        room.put(HANAKO, "m.room.join_rules", Some(""), json!({ "join_rule": "restricted", "allow": [] }));
        let vouched = json!({ "membership": "join", "join_authorised_via_users_server": HANAKO });
        assert_eq!(room.try_send(TARO, MEMBER, Some(TARO), vouched).is_ok(), number >= 8, "{version}");
    }
}

#[test]
fn power_decides_what_may_be_sent() {
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::new(version);
        room.join(TARO);
        room.join(JIRO);
        let users =
            if version < RoomVersion::V12 { json!({ HANAKO: 100, TARO: 50 }) } else { json!({ TARO: 50 }) };
        let levels = json!({ "users": users, "events": { "m.room.message": 10, "m.room.topic": 60 } });
        room.put(HANAKO, "m.room.power_levels", Some(""), levels.clone());

        for (sender, kind, key, allowed) in [
            (JIRO, "m.room.message", None, false),
            (JIRO, "m.reaction", None, true),
            (JIRO, "m.room.name", Some(""), false),
            (TARO, "m.room.message", None, true),
            (TARO, "m.room.name", Some(""), true),
            (TARO, "m.room.topic", Some(""), false),
            (TARO, "org.example.seat", Some(TARO), true),
            (TARO, "org.example.seat", Some(JIRO), false),
            (HANAKO, "m.room.topic", Some(""), true),
        ] {
            let result = room.clone().try_send(sender, kind, key, json!({}));
            assert_eq!(result.is_ok(), allowed, "{version}: {kind} by {sender}: {result:?}");
        }
        let error = room.clone().try_send(JIRO, "m.room.message", None, json!({})).unwrap_err();
        assert!(matches!(error, AuthFailure::NotEnoughPower { .. }));
        assert!(error.public().contains("power"));

        // Nobody raises himself above himself, nor takes from those above him.
        for (change, allowed) in [
            (json!({ TARO: 51 }), false),
            (json!({ TARO: 50, JIRO: 50 }), true),
            (json!({ TARO: 50, JIRO: 51 }), false),
            (json!({ TARO: 0 }), true),
        ] {
            let mut levels = levels.clone();
            levels["users"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let result = room.clone().try_send(TARO, "m.room.power_levels", Some(""), levels);
            assert_eq!(result.is_ok(), allowed, "{version} {change}: {result:?}");
        }
    }
}

#[test]
fn power_levels_must_be_integers_from_version_10() {
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::new(version);
        let users =
            if version < RoomVersion::V12 { json!({ HANAKO: "100" }) } else { json!({ TARO: "100" }) };
        let result = room.try_send(HANAKO, "m.room.power_levels", Some(""), json!({ "users": users }));
        assert_eq!(result.is_ok(), version < RoomVersion::V10, "{version}");
        if let Ok(levels) = result {
            assert_eq!(levels.power_levels().unwrap().user(user(HANAKO)), Int::from(100));
            room.put(HANAKO, "m.room.name", Some(""), json!({}));
        }
    }
}

#[test]
fn creators_of_version_12_stand_above_all_levels() {
    let mut room = Room::empty(RoomVersion::V12);
    let create = json!({ "room_version": "12", "additional_creators": [TARO] });
    room.put(HANAKO, "m.room.create", Some(""), create);
    room.put(HANAKO, MEMBER, Some(HANAKO), member("join"));
    let named = json!({ "users": { TARO: 100 } });
    assert!(room.try_send(HANAKO, "m.room.power_levels", Some(""), named).is_err());
    room.put(
        HANAKO,
        "m.room.power_levels",
        Some(""),
        json!({ "users": { JIRO: 100 }, "state_default": 100 }),
    );
    room.put(HANAKO, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
    room.join(TARO);
    room.join(JIRO);
    room.put(TARO, "m.room.name", Some(""), json!({ "name": "石川県 災害連絡" }));
    assert!(room.try_send(JIRO, MEMBER, Some(TARO), member("leave")).is_err());
    room.put(TARO, MEMBER, Some(JIRO), member("leave"));

    let power = RoomPower::new(
        room.find(&StateEventType::RoomCreate, "").unwrap(),
        room.find(&StateEventType::RoomPowerLevels, ""),
    )
    .unwrap();
    assert_eq!(power.user(user(TARO)), UserPowerLevel::Infinite);
    assert_eq!(power.user(user(JIRO)), Int::from(100));
    assert_eq!(power.creators(), [user(HANAKO), user(TARO)]);
    assert!(power.may_kick(user(TARO), user(JIRO)) && !power.may_kick(user(JIRO), user(TARO)));
    assert!(power.may_redact(user(JIRO)) && power.may_invite(user("@new:a.test")));
}

#[test]
fn without_power_levels_only_the_creator_rules() {
    for version in [RoomVersion::V6, RoomVersion::V11, RoomVersion::V12] {
        let mut room = Room::new(version);
        room.state.remove(&(StateEventType::RoomPowerLevels, String::new()));
        room.join(TARO);
        room.put(TARO, "m.room.message", None, json!({}));
        assert!(room.try_send(TARO, "m.room.name", Some(""), json!({})).is_err());
        room.put(HANAKO, "m.room.name", Some(""), json!({}));
    }
}

#[test]
fn a_closed_room_takes_nothing_from_other_servers() {
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::empty(version);
        let create = json!({ "room_version": version.as_str(), "creator": HANAKO, "m.federate": false });
        room.put(HANAKO, "m.room.create", Some(""), create);
        room.put(HANAKO, MEMBER, Some(HANAKO), member("join"));
        room.put(HANAKO, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        assert!(room.try_send(TARO, MEMBER, Some(TARO), member("join")).is_err());
        room.join("@saburo:kanazawa.test");
        let message = room.make(&draft(TARO, "m.room.message", None, &json!({})));
        assert_eq!(room.judge(&message), Err(AuthFailure::NotFederated));
    }
}

/// The event with its JSON changed; signatures no longer matter here.
fn changed(pdu: &Pdu, change: impl FnOnce(&mut Value)) -> Pdu {
    let mut json: Value = serde_json::from_slice(pdu.json()).unwrap();
    change(&mut json);
    Pdu::parse(pdu.version(), json.to_string().as_bytes()).unwrap()
}

#[test]
fn auth_events_must_be_known_accepted_wanted_once_and_of_the_room() {
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::new(version);
        room.join(TARO);
        let other = {
            let mut other = Room::empty(version);
            let create = json!({ "room_version": version.as_str(), "creator": HANAKO, "other": true });
            other.put(HANAKO, "m.room.create", Some(""), create);
            other.put(HANAKO, MEMBER, Some(HANAKO), member("join"));
            let joined = other.find(&StateEventType::RoomMember, HANAKO).unwrap();
            if version < RoomVersion::V12 {
                changed(&joined, |json| json["room_id"] = "!another:kanazawa.test".into())
            } else {
                joined
            }
        };
        let message = room.make(&draft(HANAKO, "m.room.message", None, &json!({})));
        let id = |kind: StateEventType, key: &str| room.find(&kind, key).unwrap().event_id().to_string();
        let auth = |ids: Vec<String>| changed(&message, |json| json["auth_events"] = ids.into());
        let mut right = vec![id(StateEventType::RoomPowerLevels, ""), id(StateEventType::RoomMember, HANAKO)];
        if version < RoomVersion::V12 {
            right.push(id(StateEventType::RoomCreate, ""));
        }
        let judge = |pdu: &Pdu, rejected: &str| {
            check_auth_independent(pdu, |wanted| {
                let found = room.events.get(wanted).cloned();
                let found = found.or_else(|| (other.event_id() == wanted).then(|| other.clone()));
                found.map(|pdu| pdu.with_rejected(wanted == rejected))
            })
        };
        assert_eq!(judge(&auth(right.clone()), ""), Ok(()), "{version}");
        assert!(judge(&auth(right.clone()), &right[1]).is_err(), "a rejected auth event");
        let with = |id: String| auth([right.clone(), vec![id]].concat());
        assert!(judge(&with("$unknown".to_owned()), "").is_err());
        assert!(judge(&with(right[0].clone()), "").is_err(), "twice");
        assert!(judge(&with(id(StateEventType::RoomJoinRules, "")), "").is_err(), "not wanted");
        assert!(judge(&with(id(StateEventType::RoomMember, TARO)), "").is_err(), "not the sender's");
        let swapped = auth(vec![right[0].clone(), other.event_id().to_string()]);
        assert!(judge(&swapped, "").is_err(), "of another room");
        if version < RoomVersion::V12 {
            assert!(judge(&auth(right[..2].to_vec()), "").is_err(), "without the create event");
        } else {
            let create = room.find(&StateEventType::RoomCreate, "").unwrap();
            assert!(judge(&auth(right.clone()), create.event_id().as_str()).is_err(), "the room is rejected");
        }
    }
}

#[test]
fn create_events_are_judged_by_version() {
    for version in RoomVersion::SUPPORTED {
        let judge = |content: Value, change: &dyn Fn(&mut Value)| {
            let room = Room::empty(version);
            let pdu = room.make(&draft(HANAKO, "m.room.create", Some(""), &content));
            check_auth_independent(&changed(&pdu, change), |_| None).is_ok()
        };
        let nothing = |_: &mut Value| {};
        let good = json!({ "room_version": version.as_str(), "creator": HANAKO });
        assert!(judge(good.clone(), &nothing));
        assert!(!judge(json!({ "room_version": "99", "creator": HANAKO }), &nothing));
        assert!(!judge(json!({ "creator": HANAKO }), &nothing), "that would be version 1");
        assert!(!judge(json!({ "room_version": 5, "creator": HANAKO }), &nothing));
        assert!(!judge(good.clone(), &|json| json["prev_events"] = json!(["$x"])));
        assert!(!judge(good.clone(), &|json| json["state_key"] = "x".into()));
        let without_creator = judge(json!({ "room_version": version.as_str() }), &nothing);
        assert_eq!(without_creator, version >= RoomVersion::V11);
        if version < RoomVersion::V12 {
            assert!(!judge(good.clone(), &|json| json["room_id"] = "!x:elsewhere.test".into()));
        } else {
            let additional = json!({ "room_version": "12", "additional_creators": ["nobody"] });
            assert!(!judge(additional, &nothing));
        }
    }
}

#[test]
fn auth_types_name_what_decides() {
    let room = Room::new(RoomVersion::V11);
    let types = |sender: &str, kind: &str, key: Option<&str>, content: Value| {
        let mut types: Vec<String> = auth_types(&room.make(&draft(sender, kind, key, &content)))
            .unwrap()
            .into_iter()
            .map(|(kind, key)| format!("{kind}|{key}"))
            .collect();
        types.sort();
        types
    };
    let taro = format!("m.room.member|{TARO}");
    let hanako = format!("m.room.member|{HANAKO}");
    let (create, levels, rules) = ("m.room.create|", "m.room.power_levels|", "m.room.join_rules|");
    assert_eq!(types(TARO, "m.room.message", None, json!({})), [create, &taro, levels]);
    assert_eq!(types(TARO, MEMBER, Some(TARO), member("join")), [create, rules, &taro, levels]);
    assert_eq!(types(HANAKO, MEMBER, Some(TARO), member("ban")), [create, &hanako, &taro, levels]);
    let vouched = json!({ "membership": "join", "join_authorised_via_users_server": HANAKO });
    assert_eq!(types(TARO, MEMBER, Some(TARO), vouched), [create, rules, &hanako, &taro, levels]);
}

proptest! {
    /// The short way through cached state gives the verdict of the full rules.
    #[test]
    fn the_short_way_agrees_with_the_full_rules(
        version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()),
        sender in prop::sample::select(vec![HANAKO, TARO, JIRO]),
        kind in prop::sample::select(vec!["m.room.message", "m.room.name", "x", "m.room.redaction", "m.room.aliases"]),
        key in prop::sample::select(vec![None, Some(""), Some(HANAKO), Some(TARO), Some("wajima.test")]),
        taro in prop::sample::select(vec!["join", "leave", "ban", "odd", "none"]),
        levels in prop::sample::select(vec![
            json!(null), json!({}), json!({ "users": { TARO: 50, HANAKO: 100 } }), json!({ "users_default": 20 }),
            json!({ "events": { "m.room.message": 30, "x": "40" }, "users": { TARO: "30" } }),
            json!({ "events_default": 1, "state_default": 0, "users": { TARO: -5, JIRO: 1 } }),
            json!({ "users": 5 }), json!({ "events": [] }), json!({ "ban": "x" }), json!({ "notifications": 5 }),
        ]),
        federate in any::<bool>(),
    ) {
        let room = Room::new(version);
        let other = |kind: &str, key: &str, content: Value| room.make(&draft(HANAKO, kind, Some(key), &content));
        let create = room.find(&StateEventType::RoomCreate, "").unwrap();
        let create = changed(&create, |json| {
            if !federate {
                json["content"]["m.federate"] = false.into();
            }
        });
        let levels = (!levels.is_null()).then(|| other("m.room.power_levels", "", levels));
        let hanako = room.find(&StateEventType::RoomMember, HANAKO);
        let taro = match taro {
            "none" => None,
            "odd" => Some(changed(&hanako.clone().unwrap(), |json| json["content"] = json!({ "membership": 5 }))),
            membership => Some(changed(&hanako.clone().unwrap(), |json| json["content"] = member(membership))),
        };
        let state = |kind: &StateEventType, key: &str| match (kind, key) {
            (StateEventType::RoomCreate, "") => Some(create.clone()),
            (StateEventType::RoomPowerLevels, "") => levels.clone(),
            (StateEventType::RoomMember, HANAKO) => hanako.clone(),
            (StateEventType::RoomMember, TARO) => taro.clone(),
            _ => None,
        };
        let pdu = room.make(&draft(sender, kind, key, &json!({})));
        let full = ruma::state_res::check_state_dependent_auth_rules(&version.rules().authorization, &pdu, state);
        let short = check_auth(&pdu, &state);
        prop_assert_eq!(short.is_ok(), full.is_ok(), "{:?} {:?}", short, full);
        prop_assert_eq!(pdu.kind() == &TimelineEventType::from(kind), true);
    }
}
