//! Building, signing, countersigning and verifying.

use pdu::{
    KeyRing, Pdu, RoomVersion, Template, VerifyError, VerifyKey, add_signature, build, countersign,
    required_keys, required_keys_with, required_servers, sign, sign_together, verify, verify_signed_by,
};
use ruma::{MilliSecondsSinceUnixEpoch, UInt};
use serde_json::{Value, json};

use crate::world::{HANAKO, Room, TARO, authority, draft, keys};

const KANAZAWA: &str = "kanazawa.test";
const WAJIMA: &str = "wajima.test";

/// The event with its JSON changed by `change` and read again.
fn changed(pdu: &Pdu, change: impl FnOnce(&mut Value)) -> Pdu {
    let mut json: Value = serde_json::from_slice(pdu.json()).unwrap();
    change(&mut json);
    Pdu::parse(pdu.version(), json.to_string().as_bytes()).unwrap()
}

#[test]
fn what_was_signed_verifies_in_every_version_and_survives_parsing() {
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        for pdu in room.events.values() {
            let parsed = Pdu::parse(version, pdu.json()).unwrap();
            assert_eq!(&parsed, pdu);
            assert_eq!(parsed.event_id(), pdu.event_id());
            let verified = verify(parsed, &keys(&[KANAZAWA])).unwrap();
            assert!(!verified.is_redacted());
        }
    }
}

#[test]
fn ruma_agrees_on_hashes_signatures_and_ids() {
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::new(version);
        room.join(TARO);
        for pdu in room.events.values() {
            let object = serde_json::from_slice(pdu.json()).unwrap();
            let hash = ruma::signatures::reference_hash(&object, version.rules()).unwrap();
            assert_eq!(pdu.event_id().as_str(), format!("${hash}"));
            let public = [KANAZAWA, WAJIMA].map(|name| {
                let key = ruma::serde::Base64::new(authority(name).public_key().to_vec());
                (name.to_owned(), [("ed25519:k1".to_owned(), key)].into())
            });
            let verified = ruma::signatures::verify_event(&public.into(), &object, version.rules()).unwrap();
            assert_eq!(verified, ruma::signatures::Verified::All);
            assert!(ruma::state_res::check_pdu_format(&object, &version.rules().event_format).is_ok());
        }
    }
}

#[test]
fn changed_content_leaves_the_redacted_form() {
    let room = Room::new(RoomVersion::V11);
    let pdu = room.make(&draft(HANAKO, "m.room.message", None, &json!({ "body": "本物" })));
    let forged = changed(&pdu, |json| json["content"]["body"] = "偽物".into());
    assert_eq!(forged.event_id(), pdu.event_id());
    let verified = verify(forged, &keys(&[KANAZAWA])).unwrap();
    assert!(verified.is_redacted());
    assert_eq!(verified.pdu().content_str(), "{}");
    assert_eq!(verified.pdu().event_id(), pdu.event_id());

    let without_hash = changed(&pdu, |json| json["hashes"] = json!({ "md5": "x" }));
    // The hashes are signed, so this is another event, with a wrong signature.
    assert!(matches!(verify(without_hash, &keys(&[KANAZAWA])), Err(VerifyError::WrongSignature { .. })));
}

#[test]
fn changed_signed_fields_are_refused() {
    let room = Room::new(RoomVersion::V10);
    let pdu = room.make(&draft(HANAKO, "m.room.message", None, &json!({ "body": "a" })));
    let changes: [fn(&mut Value); 5] = [
        |json| json["depth"] = 99.into(),
        |json| json["sender"] = "@mallory:kanazawa.test".into(),
        |json| json["origin_server_ts"] = 1.into(),
        |json| json["prev_events"] = json!([]),
        |json| json["type"] = "m.room.topic".into(),
    ];
    for change in changes {
        let forged = changed(&pdu, change);
        assert_ne!(forged.event_id(), pdu.event_id());
        assert!(matches!(verify(forged, &keys(&[KANAZAWA])), Err(VerifyError::WrongSignature { .. })));
    }
}

#[test]
fn missing_signatures_and_keys_are_told_apart() {
    let room = Room::new(RoomVersion::V12);
    let pdu = room.make(&draft(HANAKO, "m.room.message", None, &json!({ "body": "a" })));
    assert_eq!(required_keys(&pdu).len(), 1);
    assert_eq!(required_keys(&pdu)[0].1.as_str(), "ed25519:k1");
    assert!(matches!(verify(pdu.clone(), &KeyRing::new()), Err(VerifyError::KeyUnknown { .. })));

    for signatures in [
        json!({}),
        json!({ KANAZAWA: {} }),
        json!({ KANAZAWA: "x" }),
        json!({ KANAZAWA: { "rsa:1": "x" } }),
        json!({ WAJIMA: { "ed25519:k1": "x" } }),
    ] {
        let unsigned = changed(&pdu, |json| json["signatures"] = signatures);
        assert!(required_keys(&unsigned).is_empty());
        assert!(matches!(verify(unsigned, &keys(&[KANAZAWA])), Err(VerifyError::NotSigned { .. })));
    }
    for signature in [json!(5), json!(""), json!("!"), json!("QUJD"), json!({})] {
        let broken = changed(&pdu, |json| json["signatures"][KANAZAWA]["ed25519:k1"] = signature);
        assert!(matches!(verify(broken, &keys(&[KANAZAWA])), Err(VerifyError::WrongSignature { .. })));
    }
}

#[test]
fn one_right_signature_of_a_server_suffices() {
    let room = Room::new(RoomVersion::V12);
    let pdu = room.make(&draft(HANAKO, "m.room.message", None, &json!({ "body": "a" })));
    let pdu = changed(&pdu, |json| json["signatures"][KANAZAWA]["ed25519:gone"] = "QUJD".into());
    assert_eq!(required_keys(&pdu).len(), 2);
    assert!(verify(pdu, &keys(&[KANAZAWA])).is_ok());
}

#[test]
fn a_key_counts_only_for_its_time_from_version_5_on() {
    let kanazawa = authority(KANAZAWA);
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::new(version);
        let pdu = room.at(2_000_000).make(&draft(HANAKO, "m.room.message", None, &json!({ "body": "a" })));
        let verdict = |key: VerifyKey| {
            let mut keys = KeyRing::new();
            keys.insert(kanazawa.name().to_owned(), kanazawa.key_id().to_owned(), key);
            verify(pdu.clone(), &keys).is_ok()
        };
        let public = kanazawa.public_key();
        let enforced = version >= RoomVersion::V5;
        assert!(verdict(VerifyKey::current(&public, 2_000_000, 1_999_999).unwrap()));
        assert!(verdict(VerifyKey::old(&public, 2_000_000).unwrap()));
        assert_eq!(verdict(VerifyKey::current(&public, 1_999_999, 1_000_000).unwrap()), !enforced);
        assert_eq!(verdict(VerifyKey::old(&public, 1_999_999).unwrap()), !enforced);
    }
}

#[test]
fn a_restricted_join_needs_the_signature_of_the_one_who_vouches() {
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        let content = json!({ "membership": "join", "join_authorised_via_users_server": HANAKO });
        let pdu = room.make(&draft(TARO, "m.room.member", Some(TARO), &content));
        let needed = version >= RoomVersion::V8;
        assert_eq!(required_servers(&pdu).len(), if needed { 2 } else { 1 });
        let both = keys(&[KANAZAWA, WAJIMA]);
        let verified = verify(pdu.clone(), &both);
        assert_eq!(verified.is_err(), needed, "{version}");

        let signed = add_signature(&pdu, &authority(KANAZAWA)).unwrap();
        assert_eq!(signed.event_id(), pdu.event_id());
        assert!(verify(signed, &both).is_ok());

        // Nor do we take it for signed when we make it ourselves.
        let unsigned = || room.build(&draft(TARO, "m.room.member", Some(TARO), &content));
        let alone = sign(unsigned(), &authority(WAJIMA));
        assert_eq!(alone.is_err(), needed, "{version}");
        let together = sign_together(unsigned(), &authority(WAJIMA), Some(&authority(KANAZAWA))).unwrap();
        assert!(verify(together.into_pdu(), &both).is_ok());
    }
}

#[test]
fn an_invite_is_verified_with_the_signature_of_the_invited_users_server() {
    let room = Room::new(RoomVersion::V11);
    let pdu = room.make(&draft(HANAKO, "m.room.member", Some(TARO), &json!({ "membership": "invite" })));
    let (both, wajima) = (keys(&[KANAZAWA, WAJIMA]), authority(WAJIMA));
    assert!(verify(pdu.clone(), &both).is_ok());
    let alone = verify_signed_by(pdu.clone(), wajima.name(), &both);
    assert!(matches!(alone, Err(VerifyError::NotSigned { server }) if server == wajima.name()));
    let verified = verify(pdu.clone(), &both).unwrap();
    let signed = countersign(&verified, &wajima).unwrap().into_pdu();
    assert_eq!(required_keys_with(&signed, wajima.name()).len(), 2);
    assert!(verify_signed_by(signed.clone(), wajima.name(), &both).is_ok());
    // One signature does not stand for the other.
    assert!(verify_signed_by(signed, wajima.name(), &keys(&[WAJIMA])).is_err());
}

#[test]
fn an_invitation_by_third_party_needs_no_signature_of_its_sender() {
    let room = Room::new(RoomVersion::V11);
    let content = json!({ "membership": "invite", "third_party_invite": { "signed": { "token": "t" } } });
    let pdu = room.make(&draft(HANAKO, "m.room.member", Some(TARO), &content));
    assert!(required_servers(&pdu).is_empty());
    assert!(verify(pdu, &KeyRing::new()).is_ok());
}

#[test]
fn a_template_of_another_server_becomes_our_event() {
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        let auth: Vec<_> = [("m.room.power_levels", ""), ("m.room.join_rules", "")]
            .map(|(kind, key)| room.find(&kind.into(), key).unwrap().event_id().to_owned())
            .into();
        let at = MilliSecondsSinceUnixEpoch(UInt::from(5_u32));
        let join = draft(TARO, "m.room.member", Some(TARO), &json!({ "membership": "join" }));
        let room_id = room.find(&"m.room.create".into(), "").unwrap().room_id().to_owned();
        let made = build(version, &join, Some(&room_id), &auth[..1], &auth, 9, at).unwrap();

        let template = Template::parse(version, &made.to_raw()).unwrap();
        assert_eq!(template.room_id, room_id);
        assert_eq!((template.prev_events.as_slice(), template.depth), (&auth[..1], 9));
        let again = build(
            version,
            &template.draft,
            Some(&template.room_id),
            &template.prev_events,
            &template.auth_events,
            template.depth,
            at,
        );
        let ours = sign(again.unwrap(), &authority(WAJIMA)).unwrap();
        assert!(verify(ours.into_pdu(), &keys(&[WAJIMA])).is_ok());
    }
}
