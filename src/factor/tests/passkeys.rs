//! Passkeys: what is believed of an authenticator, and what is not.

use base::Random;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::signature::KeyPair;
use store::{Batch, CommitError, Store};

use super::{
    NOW,
    authenticator::{Authenticator, USUAL},
    commit, hanako, store,
};
use crate::{Asserted, Change, Factors, Kind, Made, Party, Refused, find_owner, handle_of, put_answered};

const CHALLENGE: [u8; 32] = [3; 32];
const ORIGIN: &str = "https://matrix.kanazawa.test";
const ID: &str = "matrix.kanazawa.test";

fn party() -> Party {
    Party::of_url("https://matrix.kanazawa.test/").unwrap()
}

fn asked(what: &str) -> Vec<u8> {
    Authenticator::client_data(what, &BASE64_URL_SAFE_NO_PAD.encode(CHALLENGE), ORIGIN)
}

fn make(factors: &Factors, client_data: &[u8], attestation: &[u8]) -> Result<(Change, Vec<String>), Refused> {
    let made = Made { client_data, attestation };
    factors.with_passkey("鍵", (&party(), &CHALLENGE), &made, NOW, &Random::seeded(4))
}

fn show(factors: &Factors, key: &Authenticator, client_data: &[u8], data: &[u8]) -> Result<Change, Refused> {
    let signature = key.sign(data, client_data);
    let shown = Asserted {
        credential: &key.credential,
        client_data,
        authenticator_data: data,
        signature: &signature,
        user_handle: Some(&handle_of(hanako())),
    };
    factors.try_passkey((&party(), &CHALLENGE), &shown)
}

async fn with_passkey(store: &Store, key: &Authenticator) -> Factors {
    let none = Factors::read(store, hanako()).await.unwrap();
    let (change, codes) = make(&none, &asked("create"), &key.attestation(ID)).unwrap();
    assert_eq!(codes.len(), 10);
    commit(store, change).await
}

#[tokio::test]
async fn a_passkey_is_made_and_shown_and_counts_where_its_authenticator_does() {
    let store = store().await;
    let mut key = Authenticator::new(b"credential");
    let mut factors = with_passkey(&store, &key).await;
    assert_eq!(factors.list()[0].kind, Kind::Passkey);
    assert_eq!(
        find_owner(&store, hanako().server_name(), b"credential").await.unwrap().as_deref(),
        Some(hanako())
    );
    // One that is copied among devices says 0 always.
    for _ in 0..3 {
        factors = commit(&store, show(&factors, &key, &asked("get"), &key.data(ID)).unwrap()).await;
    }
    for (counter, is_taken) in [(5, true), (5, false), (4, false), (0, false), (6, true)] {
        key.counter = counter;
        match show(&factors, &key, &asked("get"), &key.data(ID)) {
            Ok(change) if is_taken => factors = commit(&store, change).await,
            Err(Refused::Copied) if !is_taken => {}
            other => panic!("{counter} {other:?}"),
        }
    }
    let id = factors.list()[0].id;
    let factors = commit(&store, factors.without(id).unwrap().0).await;
    assert!(!factors.is_any() && factors.codes_left() == 0);
    assert_eq!(find_owner(&store, hanako().server_name(), b"credential").await.unwrap(), None);
}

#[tokio::test]
async fn a_user_who_was_not_verified_has_shown_nothing_whatever_the_browser_was_asked() {
    let store = store().await;
    let mut key = Authenticator::new(b"credential");
    let none = Factors::read(&store, hanako()).await.unwrap();
    for flags in [0x00, 0x01, 0x04, 0x01 | 0x10] {
        key.flags = flags;
        assert_eq!(
            make(&none, &asked("create"), &key.attestation(ID)).unwrap_err(),
            Refused::Wrong,
            "{flags}"
        );
    }
    key.flags = USUAL;
    let factors = with_passkey(&store, &key).await;
    for flags in [0x00, 0x01, 0x04, USUAL | 0x10, USUAL | 0x08, USUAL | 0x40, USUAL | 0x80] {
        key.flags = flags;
        assert_eq!(
            show(&factors, &key, &asked("get"), &key.data(ID)).unwrap_err(),
            Refused::Wrong,
            "{flags}"
        );
    }
}

#[tokio::test]
async fn what_was_asked_by_somebody_else_or_for_something_else_is_worth_nothing() {
    let store = store().await;
    let key = Authenticator::new(b"credential");
    let factors = with_passkey(&store, &key).await;
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(CHALLENGE);
    let data =
        |what: &str, challenge: &str, origin: &str| Authenticator::client_data(what, challenge, origin);
    let framed = String::from_utf8(asked("get")).unwrap().replace("false", "true").into_bytes();
    for client_data in [
        data("create", &challenge, ORIGIN),
        data("get", &BASE64_URL_SAFE_NO_PAD.encode([4; 32]), ORIGIN),
        data("get", "", ORIGIN),
        data("get", &challenge, "https://evil.test"),
        data("get", &challenge, "https://matrix.kanazawa.test:8443"),
        data("get", &challenge, "http://matrix.kanazawa.test"),
        framed,
        b"{}".to_vec(),
        b"[".to_vec(),
    ] {
        assert_eq!(show(&factors, &key, &client_data, &key.data(ID)).unwrap_err(), Refused::Wrong);
    }
    assert_eq!(show(&factors, &key, &asked("get"), &key.data("evil.test")).unwrap_err(), Refused::Wrong);
    let other = Authenticator::new(b"credential");
    assert_eq!(
        show(&factors, &other, &asked("get"), &other.data(ID)).unwrap_err(),
        Refused::Wrong,
        "its key"
    );
    let other = Authenticator::new(b"another");
    assert_eq!(show(&factors, &other, &asked("get"), &other.data(ID)).unwrap_err(), Refused::Wrong);
    let (client_data, data) = (asked("get"), key.data(ID));
    let signature = key.sign(&data, &client_data);
    let of_somebody_else = Asserted {
        credential: &key.credential,
        client_data: &client_data,
        authenticator_data: &data,
        signature: &signature,
        user_handle: Some(b"taro"),
    };
    assert_eq!(factors.try_passkey((&party(), &CHALLENGE), &of_somebody_else).unwrap_err(), Refused::Wrong);
}

#[tokio::test]
async fn a_passkey_is_one_accounts_and_there_once() {
    let store = store().await;
    let key = Authenticator::new(b"credential");
    let factors = with_passkey(&store, &key).await;
    let again = make(&factors, &asked("create"), &key.attestation(ID));
    assert_eq!(again.unwrap_err(), Refused::Known, "it does not take the place of the first");
    let taro = ruma::user_id!("@taro:kanazawa.test");
    let his = Factors::read(&store, taro).await.unwrap();
    let (change, _) = make(&his, &asked("create"), &key.attestation(ID)).unwrap();
    assert!(!change.is_free(&store).await.unwrap());
    let mut batch = Batch::new();
    change.put(&mut batch);
    assert!(matches!(store.commit(batch).await, Err(CommitError::Conflict { .. })));
}

#[tokio::test]
async fn a_challenge_is_answered_once() {
    let store = store().await;
    let answer = async |now: base::Timestamp| {
        let mut batch = Batch::new();
        let whose = (hanako(), &CHALLENGE);
        let is_new = put_answered(&store, &mut batch, whose, (now, 900_000)).await.unwrap();
        (is_new, store.commit(batch).await.is_ok())
    };
    let mut two = [Batch::new(), Batch::new()];
    for batch in &mut two {
        assert!(put_answered(&store, batch, (hanako(), &CHALLENGE), (NOW, 900_000)).await.unwrap());
    }
    let [one, other] = two;
    store.commit(one).await.unwrap();
    assert!(store.commit(other).await.is_err(), "at the same moment");
    assert!(!answer(NOW).await.0);
}

#[test]
fn keys_of_windows_and_of_security_keys_are_taken() {
    let mut ed25519 = vec![0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20];
    ed25519.extend([9; 32]);
    let mut rsa = vec![0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20, 0x59, 0x01, 0x00];
    rsa.extend([0xaa; 256]);
    rsa.extend([0x21, 0x43, 0x01, 0x00, 0x01]);
    let key = Authenticator::new(b"credential");
    let made = |cose: &[u8]| {
        let attestation = Authenticator::attestation_of(&key.data_with_key(ID, cose));
        let client_data = asked("create");
        let made = Made { client_data: &client_data, attestation: &attestation };
        crate::passkey::made(&party(), &CHALLENGE, &made)
    };
    for cose in [&ed25519, &rsa, &key.cose_key()] {
        assert!(made(cose).is_ok());
        assert_eq!(made(&[cose.as_slice(), &[0]].concat()), Err(Refused::Wrong), "something behind it");
        assert_eq!(made(&cose[..cose.len() - 1]), Err(Refused::Wrong), "cut off");
    }
    let mut none = key.cose_key();
    none[4] = 0x00;
    assert_eq!(made(&none), Err(Refused::Wrong), "another algorithm");
}

#[test]
fn signatures_of_ed25519_and_rsa_are_checked() {
    use crate::tables::{KeyRow, PasskeyRow};
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let key = KeyRow::Ed25519(pair.public_key().as_ref().to_vec());
    let passkey = PasskeyRow {
        id: 0,
        name: String::new(),
        added_ms: 0,
        credential: b"c".to_vec(),
        key,
        counter: 0,
        copied: false,
    };
    let (client_data, data) = (asked("get"), Authenticator::new(b"c").data(ID));
    let signed = [&data[..], &crate::passkey::hash_of(&client_data)].concat();
    let signature = pair.sign(&signed);
    let judge = |signature: &[u8], passkey: &PasskeyRow| {
        let shown = Asserted {
            credential: b"c",
            client_data: &client_data,
            authenticator_data: &data,
            signature,
            user_handle: None,
        };
        crate::passkey::asserted(passkey, &party(), &CHALLENGE, &shown)
    };
    assert_eq!(judge(signature.as_ref(), &passkey), Ok(0));
    let rsa = PasskeyRow { key: KeyRow::Rsa(vec![0xaa; 256], vec![1, 0, 1]), ..passkey };
    assert_eq!(judge(signature.as_ref(), &rsa), Err(Refused::Wrong));
}

#[test]
fn a_party_is_a_name_behind_tls() {
    let of = |url| Party::of_url(url).map(|party| (party.id, party.origin));
    let told = |id: &str, origin: &str| Some((id.to_owned(), origin.to_owned()));
    assert_eq!(of("https://Matrix.Example.jp/x"), told("matrix.example.jp", "https://matrix.example.jp"));
    assert_eq!(of("https://a.jp:8443"), told("a.jp", "https://a.jp:8443"));
    assert_eq!(of("https://a.jp:443"), told("a.jp", "https://a.jp"));
    assert_eq!(of("http://localhost:8008"), told("localhost", "http://localhost:8008"));
    for none in ["http://a.jp", "https://192.0.2.1", "https://[::1]", "https://", "a.jp", "https://a@b.jp"] {
        assert_eq!(of(none), None, "{none}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_sent_is_a_fault_of_ours(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        place in 0..200_usize,
        flags in any::<u8>(),
    ) {
        let mut key = Authenticator::new(b"credential");
        key.flags = flags;
        let mut data = key.data_with_key(ID, &bytes);
        let _rest = data.split_off(place.min(data.len()));
        for attestation in [&bytes, &data, &Authenticator::attestation_of(&data)] {
            let client_data = asked("create");
            let made = Made { client_data: &client_data, attestation };
            prop_assert!(crate::passkey::made(&party(), &CHALLENGE, &made).is_err());
            let made = Made { client_data: attestation, attestation };
            prop_assert!(crate::passkey::made(&party(), &CHALLENGE, &made).is_err());
        }
    }
}
