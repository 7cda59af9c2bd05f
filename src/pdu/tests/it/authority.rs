//! Our own keys.

use pdu::{Authorities, Authority, KeyFileError, KeyRing, OldKey, VerifyKey, verify_json};
use ruma::{owned_server_name, server_name};

use crate::world::authority;

#[test]
fn a_key_file_reads_back() {
    let mut next = 0;
    let mut fill = |bytes: &mut [u8]| {
        for byte in bytes {
            next += 1;
            *byte = next;
        }
    };
    let made = Authority::generate(owned_server_name!("wajima.test"), "a_B3", &mut fill).unwrap();
    let file = format!("# a comment\n\n{}", made.to_key_file());
    let read = Authority::from_key_file(owned_server_name!("wajima.test"), &file).unwrap();
    assert_eq!(read.public_key(), made.public_key());
    assert_eq!(read.key_id().as_str(), "ed25519:a_B3");
    assert!(!format!("{read:?}").contains(file.split_whitespace().last().unwrap()));
}

#[test]
fn a_broken_key_file_says_what_is_wrong() {
    let seed = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
    for (file, error) in [
        (String::new(), KeyFileError::Form),
        ("# nothing".to_owned(), KeyFileError::Form),
        (format!("rsa 1 {seed}"), KeyFileError::Form),
        (format!("ed25519 {seed}"), KeyFileError::Form),
        (format!("ed25519 1 {seed} more"), KeyFileError::Form),
        (format!("ed25519 1:2 {seed}"), KeyFileError::Version),
        (format!("ed25519 鍵 {seed}"), KeyFileError::Version),
        ("ed25519 1 YJDBA9X".to_owned(), KeyFileError::Seed),
        ("ed25519 1 !!!".to_owned(), KeyFileError::Seed),
    ] {
        let result = Authority::from_key_file(owned_server_name!("wajima.test"), &file);
        assert_eq!(result.unwrap_err(), error, "{file}");
    }
}

#[test]
fn ours_are_found_by_name() {
    let ours = Authorities::new([authority("kanazawa.test"), authority("wajima.test:8448")]);
    assert!(ours.is_ours(server_name!("wajima.test:8448")));
    assert!(!ours.is_ours(server_name!("wajima.test")));
    assert_eq!(ours.find(server_name!("kanazawa.test")).unwrap().name(), "kanazawa.test");
    assert_eq!((ours.len(), ours.is_empty(), ours.iter().count()), (2, false, 2));
}

#[test]
fn signed_json_is_believed_while_the_key_is_valid_and_the_content_unchanged() {
    let wajima = authority("wajima.test").with_old_key(OldKey {
        key_id: "ed25519:old".try_into().unwrap(),
        public_key: authority("nowhere.test").public_key(),
        expired_ts: 5,
    });
    let mut object = serde_json::from_str(
        r#"{"a":1,"b":{"z":[true,null,"語"]},"signatures":{"other":{"ed25519:x":"y"}},"unsigned":{}}"#,
    )
    .unwrap();
    wajima.sign_json(&mut object);
    let mut keys = KeyRing::new();
    let key = VerifyKey::current(&wajima.public_key(), 2_000, 1_000).unwrap();
    keys.insert(wajima.name().to_owned(), wajima.key_id().to_owned(), key);
    let name = server_name!("wajima.test");

    assert_eq!(verify_json(&object, name, &keys, 2_000), Ok(()));
    object.insert("unsigned".to_owned(), "changed".into());
    assert_eq!(verify_json(&object, name, &keys, 2_000), Ok(()));
    assert!(verify_json(&object, name, &keys, 2_001).is_err());
    assert!(verify_json(&object, server_name!("other"), &keys, 2_000).is_err());
    object.insert("a".to_owned(), true.into());
    assert!(verify_json(&object, name, &keys, 2_000).is_err());

    let mut ours = KeyRing::new();
    ours.insert_authority(&wajima);
    assert_eq!(ours.of_server(name).count(), 2);
    assert_eq!(ours.find(name, "ed25519:old").unwrap().expired_ts(), Some(5));
}

#[test]
fn validity_is_capped_at_seven_days_and_bad_keys_are_refused() {
    let key = VerifyKey::current(&authority("a.test").public_key(), u64::MAX, 1_000).unwrap();
    assert_eq!(key.valid_until_ts(), 1_000 + pdu::MAX_VALIDITY_MS);
    assert!(VerifyKey::current(&[1; 31], 1, 1).is_err());
    assert!(VerifyKey::decode("AAAA").is_err());
    assert_eq!(
        VerifyKey::decode(&authority("a.test").public_key_base64()).unwrap(),
        authority("a.test").public_key()
    );
}
