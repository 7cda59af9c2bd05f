//! Whose invites users take, as the specification and Complement's tests of MSC4155 take their steps.

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
