//! One-time keys: each is given once, the oldest first, whoever claims at the same time.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use serde_json::json;

use super::town::{Person, Town, one_time};
use crate::{Claimed, Encryption, Error, KeyUpload};

/// The id of the only key that was given.
fn id_of(claimed: Claimed) -> Option<String> {
    claimed.into_values().flatten().flat_map(|(_, keys)| keys.into_keys()).next()
}

async fn claim(encryption: &Encryption, person: &Person) -> Option<String> {
    id_of(encryption.claim_own(person.claim()).await.unwrap())
}

fn keys(numbers: std::ops::Range<usize>) -> KeyUpload {
    KeyUpload { one_time_keys: one_time(numbers), ..KeyUpload::default() }
}

fn fallback(id: &str) -> KeyUpload {
    let key = (format!("signed_curve25519:{id}"), json!({ "key": id, "fallback": true }));
    KeyUpload { fallback_keys: [key].into_iter().collect(), ..KeyUpload::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_claims_at_once_of_two_processes_get_a_thousand_keys() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    assert_eq!(town.upload(&hanako, keys(0..1_000)).await.one_time["signed_curve25519"], 1_000);
    let processes = [town.encryption.clone(), town.beside()];
    let claims = (0..1_000).map(|number| {
        let (encryption, hanako) = (processes[number % 2].clone(), hanako.clone());
        async move { tokio::spawn(async move { claim(&encryption, &hanako).await }).await.unwrap() }
    });
    let given: Vec<String> =
        stream::iter(claims).buffer_unordered(1_000).filter_map(std::future::ready).collect().await;
    assert_eq!(given.len(), 1_000);
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 1_000, "none is given twice");
    assert_eq!(claim(&town.encryption, &hanako).await, None);
    let counts = town.encryption.key_counts(&hanako.user, &hanako.device).await.unwrap();
    assert_eq!(counts.one_time["signed_curve25519"], 0);
}

#[tokio::test]
async fn once_they_run_out_the_fallback_key_is_given_and_counts_as_used() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let counts = town.encryption.key_counts(&hanako.user, &hanako.device).await.unwrap();
    assert_eq!((counts.one_time["signed_curve25519"], counts.unused_fallback.len()), (0, 0));
    town.upload(&hanako, keys(0..30)).await;
    let counts = town.upload(&hanako, fallback("last")).await;
    assert_eq!(counts.unused_fallback, ["signed_curve25519"]);
    let claims = (0..40).map(|_| claim(&town.encryption, &hanako));
    let given: Vec<Option<String>> = stream::iter(claims).buffer_unordered(40).collect().await;
    let of_fallback = given.iter().filter(|id| id.as_deref() == Some("signed_curve25519:last")).count();
    assert_eq!((of_fallback, given.iter().flatten().collect::<BTreeSet<_>>().len()), (10, 31));
    let counts = town.encryption.key_counts(&hanako.user, &hanako.device).await.unwrap();
    assert!(counts.unused_fallback.is_empty());
    // The same one again is no new one.
    assert!(town.upload(&hanako, fallback("last")).await.unused_fallback.is_empty());
    assert_eq!(town.upload(&hanako, fallback("newer")).await.unused_fallback, ["signed_curve25519"]);
}

#[tokio::test]
async fn a_key_that_is_uploaded_again_counts_once_and_another_under_its_id_is_refused() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    town.upload(&hanako, keys(0..3)).await;
    let with = |key: &str, signature: &str| {
        let key = json!({ "key": key, "signatures": { &hanako.user: { "ed25519:PHONE": signature } } });
        let keys = [("signed_curve25519:000001".to_owned(), key)].into_iter().collect();
        KeyUpload { one_time_keys: keys, ..KeyUpload::default() }
    };
    let counts = town.upload(&hanako, with("k1", "anew")).await;
    assert_eq!(counts.one_time["signed_curve25519"], 3);
    let refused = town.encryption.upload_keys(&hanako.user, &hanako.device, with("other", "x")).await;
    let Err(Error::KeyExists(message)) = refused else { panic!("{refused:?}") };
    assert!(message.contains("signed_curve25519:000001") && message.contains("already exists"), "{message}");
    // C04: clients that repeat it for ever write nothing by that.
    let head = town.store.head();
    for number in 0..100 {
        let refused = with(&number.to_string(), "x");
        town.encryption.upload_keys(&hanako.user, &hanako.device, refused).await.unwrap_err();
    }
    assert_eq!(town.store.head(), head);
    assert_eq!(town.upload(&hanako, KeyUpload::default()).await.one_time["signed_curve25519"], 3);
}

#[tokio::test]
async fn keys_go_with_their_device_in_one_commit() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let upload = KeyUpload { device_keys: Some(hanako.identity(1)), ..keys(0..3) };
    town.upload(&hanako, upload).await;
    town.upload(&hanako, fallback("last")).await;
    let by = account::Actor::user(&hanako.user, false, None);
    town.accounts.log_out(&hanako.user, &hanako.device, &by).await.unwrap();
    assert_eq!(claim(&town.encryption, &hanako).await, None);
    let wanted = crate::Wanted::from([(hanako.user.clone(), Vec::new())]);
    let known = town.encryption.own_keys(Some(&hanako.user), &wanted).await.unwrap();
    assert!(known[&hanako.user].devices.is_empty());
    let again = town.encryption.upload_keys(&hanako.user, &hanako.device, keys(5..6)).await;
    assert!(matches!(again, Err(Error::Account(account::Error::UnknownToken { .. }))), "{again:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is uploaded and claimed in which order, keys come in the order in which they were uploaded.
    #[test]
    fn keys_come_in_the_order_in_which_they_were_uploaded(
        steps in proptest::collection::vec((any::<bool>(), 1_usize..6), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let town = Town::new().await;
            let hanako = town.person("hanako").await;
            let (mut uploaded, mut claimed) = (0, 0);
            for (uploads, count) in steps {
                if uploads {
                    town.upload(&hanako, keys(uploaded..uploaded + count)).await;
                    uploaded += count;
                    continue;
                }
                for _ in 0..count {
                    let expected = (claimed < uploaded).then(|| format!("signed_curve25519:{claimed:06}"));
                    claimed += usize::from(expected.is_some());
                    assert_eq!(claim(&town.encryption, &hanako).await, expected);
                }
            }
        });
    }
}
