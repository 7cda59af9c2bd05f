//! Whose invites users take, as the specification and Complement's tests of MSC4155 take their steps.

use base::Random;
use pdu::Authority;
use ruma::{CanonicalJsonObject, server_name};
use serde_json::{Value, json};

use crate::town::{Person, Town};

const PERMISSION: &str = "m.invite_permission_config";
const FILTER: &str = "org.matrix.msc4155.invite_permission_config";

impl Person<'_> {
    async fn set(&self, kind: &str, content: Value) {
        self.put(&format!("/user/{}/account_data/{kind}", self.id), content).await.ok();
    }

    /// Invites in each way that there is, and says with which errcode that failed.
    async fn invites(&self, whom: &Person<'_>) -> Vec<Option<String>> {
        let room = self.create_room(json!({ "preset": "private_chat" })).await;
        let state = format!("/rooms/{room}/state/m.room.member/{}", whom.id);
        let by_state = self.put(&state, json!({ "membership": "invite" })).await;
        let room = self.create_room(json!({ "preset": "private_chat" })).await;
        let by_verb = self.post(&format!("/rooms/{room}/invite"), json!({ "user_id": whom.id })).await;
        let with_room = self.post("/createRoom", json!({ "invite": [whom.id] })).await;
        [by_state, by_verb, with_room]
            .into_iter()
            .map(|answer| {
                let errcode = answer.body["errcode"].as_str().map(str::to_owned);
                assert_eq!(answer.status, if errcode.is_some() { 403 } else { 200 }, "{}", answer.body);
                errcode
            })
            .collect()
    }
}

fn blocked() -> Vec<Option<String>> {
    vec![Some("M_INVITE_BLOCKED".to_owned()); 3]
}

const TAKEN: [Option<String>; 3] = [None, None, None];

#[tokio::test]
async fn who_takes_no_invites_gets_none_until_he_takes_them_again() {
    let town = Town::new().await;
    let (alice, bob) = (town.user("alice").await, town.user("bob").await);
    assert_eq!(bob.invites(&alice).await, TAKEN);
    alice.set(PERMISSION, json!({ "default_action": "block" })).await;
    let before = bob.get("/joined_rooms").await.ok()["joined_rooms"].as_array().unwrap().len();
    assert_eq!(bob.invites(&alice).await, blocked());
    let after = bob.get("/joined_rooms").await.ok()["joined_rooms"].as_array().unwrap().len();
    assert_eq!(after, before + 2, "no room is made for whom cannot be invited");
    assert_eq!(alice.invites(&bob).await, TAKEN, "he may invite others");
    for odd in [json!({}), json!({ "default_action": "allow" }), json!({ "default_action": 5 })] {
        alice.set(PERMISSION, odd).await;
        assert_eq!(bob.invites(&alice).await, TAKEN);
    }
}

#[tokio::test]
async fn people_and_servers_are_blocked_each_as_the_filter_says() {
    let town = Town::new().await;
    let (alice, evil_alice) = (town.user("alice").await, town.user("evil_alice").await);
    let (bob, evil_bob) = (town.user_at("hs2", "bob").await, town.user_at("hs2", "evil_bob").await);
    let (bob_id, evil_id) = (bob.id.clone(), evil_bob.id.clone());
    for (filter, [takes_bob, takes_evil_bob, takes_evil_alice]) in [
        (json!({}), [true, true, true]),
        (json!({ "blocked_users": [bob_id] }), [false, true, true]),
        (json!({ "ignored_users": [bob_id] }), [true, true, true]),
        (json!({ "blocked_servers": ["hs2"] }), [false, false, true]),
        (json!({ "blocked_servers": ["hs*"] }), [false, false, false]),
        (json!({ "blocked_users": ["@evil?*"] }), [true, false, false]),
        (json!({ "allowed_users": [bob_id], "blocked_servers": ["hs2"] }), [true, false, true]),
        (json!({ "blocked_users": [evil_id], "allowed_servers": ["hs2"] }), [true, false, true]),
        (json!({ "blocked_users": null, "blocked_servers": null }), [true, true, true]),
    ] {
        alice.set(FILTER, filter.clone()).await;
        for (who, is_taken) in
            [(&bob, takes_bob), (&evil_bob, takes_evil_bob), (&evil_alice, takes_evil_alice)]
        {
            let expected = if is_taken { TAKEN.to_vec() } else { blocked() };
            assert_eq!(who.invites(&alice).await, expected, "{} {filter}", who.id);
        }
    }
    let versions = town.ask("GET", "/_matrix/client/versions", Value::Null).await.ok();
    for flag in ["org.matrix.msc4155", "org.matrix.msc4380.stable", "org.matrix.msc4143"] {
        assert_eq!(versions["unstable_features"][flag], true);
    }
}

/// The whole of what an identity server signs is what its key is asked of; most name the inviter in it.
#[tokio::test]
async fn the_link_of_a_third_party_invite_lets_in_whom_it_names_and_nobody_else() {
    let town = Town::new().await;
    let (alice, bob, carol) = (town.user("alice").await, town.user("bob").await, town.user("carol").await);
    let random = Random::os();
    let authority = |name| Authority::generate(name, "0", &mut |seed| random.fill(seed)).unwrap();
    let (identity, liar) =
        (authority(server_name!("id.test").to_owned()), authority(server_name!("liar.test").to_owned()));
    let room = alice.create_room(json!({ "preset": "private_chat" })).await;
    let key = identity.public_key_base64();
    let pending = json!({ "display_name": "b...@y...", "public_key": key, "key_validity_url": "https://id.test/",
        "public_keys": [{ "public_key": key, "key_validity_url": "https://id.test/" }] });
    let signed = |by: &Authority, token: &str, whom: &Person<'_>, more: Value| {
        let mut proof: CanonicalJsonObject =
            serde_json::from_value(json!({ "mxid": whom.id, "token": token, "sender": alice.id })).unwrap();
        proof.extend(serde_json::from_value::<CanonicalJsonObject>(more).unwrap());
        by.sign_json(&mut proof);
        json!(proof)
    };
    for token in ["one", "two"] {
        alice
            .put(&format!("/rooms/{room}/state/m.room.third_party_invite/{token}"), pending.clone())
            .await
            .ok();
    }
    let path = format!("/rooms/{room}/join");
    let proof = signed(&identity, "one", &bob, json!({}));
    let changed = |key: &str, value: Value| {
        let mut proof = proof.clone();
        proof[key] = value;
        proof
    };
    for (whom, proof) in [
        (&bob, signed(&liar, "one", &bob, json!({}))),
        (&carol, proof.clone()),
        (&carol, changed("mxid", json!(carol.id))),
        (&bob, changed("more", json!("not signed"))),
        (&bob, changed("token", json!("two"))),
    ] {
        let answer = whom.post(&path, json!({ "third_party_signed": proof })).await;
        assert!([400, 403].contains(&answer.status), "{answer:?}");
    }
    bob.post(&path, json!({ "third_party_signed": { "mxid": bob.id } })).await.fails(400, "M_BAD_JSON");

    bob.post(&path, json!({ "third_party_signed": proof })).await.ok();
    // Whatever else it signs belongs to it as well.
    let proof = signed(&identity, "two", &carol, json!({ "medium": "email" }));
    carol.post(&path, json!({ "third_party_signed": proof })).await.ok();
    for who in [&bob, &carol] {
        let member = alice.get(&format!("/rooms/{room}/state/m.room.member/{}", who.id)).await.ok();
        assert_eq!(member["membership"], "join");
    }
}

#[tokio::test]
async fn who_closed_his_account_is_invited_by_nobody() {
    let town = Town::new().await;
    let (alice, bob) = (town.user("alice").await, town.user("bob").await);
    let room = alice.create_room(json!({})).await;
    town.close(<&ruma::UserId>::try_from(bob.id.as_str()).unwrap()).await;
    let invite = json!({ "user_id": bob.id });
    alice.post(&format!("/rooms/{room}/invite"), invite).await.fails(403, "M_FORBIDDEN");
    let state = format!("/rooms/{room}/state/m.room.member/{}", bob.id);
    alice.put(&state, json!({ "membership": "invite" })).await.fails(403, "M_FORBIDDEN");
    alice.get(&state).await.fails(404, "M_NOT_FOUND");
}
