//! Spaces, summaries and upgrades over HTTP.

use serde_json::{Value, json};

use crate::town::{Person, Town};

async fn child(person: &Person<'_>, space: &str, room: &str, content: Value) {
    person.put(&format!("/rooms/{space}/state/m.space.child/{room}"), content).await.ok();
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_space_is_walked_depth_first_and_page_by_page() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = json!({ "preset": "public_chat", "creation_content": { "type": "m.space" } });
    let root = hanako.create_room(space.clone()).await;
    let below = hanako.create_room(space).await;
    let open = hanako.create_room(json!({ "preset": "public_chat", "name": "open" })).await;
    let closed = hanako.create_room(json!({ "preset": "private_chat" })).await;
    let via = json!({ "via": ["hs1"] });
    child(&hanako, &root, &below, json!({ "via": ["hs1"], "order": "a" })).await;
    child(&hanako, &root, &closed, json!({ "via": ["hs1"], "order": "b", "suggested": true })).await;
    child(&hanako, &root, "!gone:hs3", via.clone()).await;
    child(&hanako, &below, &open, via.clone()).await;
    child(&hanako, &below, &root, via).await;
    let path = format!("/_matrix/client/v1/rooms/{root}/hierarchy");

    let all = hanako.get(&path).await.ok();
    assert_eq!(ids(&all), [&root, &below, &open, &closed]);
    assert_eq!(all["rooms"][0]["children_state"].as_array().unwrap().len(), 3);
    assert_eq!(all["rooms"][2]["name"], "open");
    assert!(all.get("next_batch").is_none());
    assert_eq!(ids(&taro.get(&path).await.ok()), [&root, &below, &open]);
    assert_eq!(ids(&hanako.get(&format!("{path}?max_depth=1")).await.ok()), [&root, &below, &closed]);
    assert_eq!(ids(&hanako.get(&format!("{path}?suggested_only=true")).await.ok()), [&root, &closed]);
    let first = hanako.get(&format!("{path}?limit=3")).await.ok();
    let next = first["next_batch"].as_str().unwrap();
    assert_eq!(ids(&hanako.get(&format!("{path}?limit=3&from={next}")).await.ok()), [&closed]);
    let closed = format!("/_matrix/client/v1/rooms/{closed}/hierarchy");
    taro.get(&closed).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_summary_is_for_those_who_may_join() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": space }]);
    let rules = json!({ "join_rule": "restricted", "allow": allow });
    let restricted = hanako
        .create_room(json!({ "initial_state": [{ "type": "m.room.join_rules", "content": rules }] }))
        .await;
    let path = format!("/_matrix/client/v1/room_summary/{restricted}");

    let shown = hanako.get(&path).await.ok();
    assert_eq!(shown["allowed_room_ids"], json!([space]));
    assert_eq!((&shown["membership"], &shown["num_joined_members"]), (&json!("join"), &json!(1)));
    taro.get(&path).await.fails(404, "M_NOT_FOUND");
    taro.post(&format!("/join/{space}"), json!({})).await.ok();
    assert_eq!(taro.get(&path).await.ok()["membership"], "leave");
    let open = format!("/_matrix/client/v1/room_summary/{space}");
    let shown = town.ask("GET", &open, Value::Null).await.ok();
    assert!(shown.get("allowed_room_ids").is_none() && shown.get("membership").is_none());
    let old = format!("/_matrix/client/unstable/im.nheko.summary/rooms/{space}/summary");
    assert_eq!(taro.get(&old).await.ok()["room_id"], space);
    let mutual = format!("/_matrix/client/v1/mutual_rooms?user_id={}", hanako.id);
    assert_eq!(taro.get(&mutual).await.ok()["joined"], json!([space]));
}

#[tokio::test]
async fn an_upgraded_room_keeps_its_state_aliases_and_settings() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    for (version, alias) in [("11", "eleven"), ("12", "twelve")] {
        let wishes = json!({
            "preset": "public_chat", "room_version": "10", "name": "old name", "room_alias_name": alias,
            "power_level_content_override": { "users": { &hanako.id: 100, &taro.id: 50 } },
        });
        let old = hanako.create_room(wishes).await;
        taro.post(&format!("/join/{old}"), json!({})).await.ok();
        for person in [&hanako, &taro] {
            let rule = format!("/pushrules/global/room/{old}");
            person.put(&rule, json!({ "actions": ["dont_notify"] })).await.ok();
        }
        let upgrade = format!("/rooms/{old}/upgrade");
        let wish = json!({ "new_version": version });
        taro.post(&upgrade, wish.clone()).await.fails(403, "M_FORBIDDEN");
        hanako.post(&upgrade, json!({ "new_version": "x" })).await.fails(400, "M_UNSUPPORTED_ROOM_VERSION");

        // As an upgrade leaves it that ended as soon as it had made the new room.
        let begun = match version {
            "12" => {
                let content = json!({ "predecessor": { "room_id": old } });
                let wishes = json!({ "preset": "public_chat", "room_version": version, "name": "old name", "creation_content": content,
                    "power_level_content_override": { "users": { &taro.id: 50 } } });
                Some(hanako.create_room(wishes).await)
            }
            _ => None,
        };

        let new =
            hanako.post(&upgrade, wish.clone()).await.ok()["replacement_room"].as_str().unwrap().to_owned();
        assert!(begun.is_none_or(|begun| begun == new), "an upgrade goes on where it ended");
        let again = hanako.post(&upgrade, wish).await.ok();
        assert_eq!(again["replacement_room"], new, "asked for again, nothing more happens");

        let state =
            async |room: &str, kind: &str| hanako.get(&format!("/rooms/{room}/state/{kind}")).await.ok();
        assert_eq!(state(&old, "m.room.tombstone").await["replacement_room"], new);
        assert_eq!(state(&new, "m.room.name").await["name"], "old name");
        let create = state(&new, "m.room.create").await;
        assert_eq!(
            (&create["room_version"], &create["predecessor"]["room_id"]),
            (&json!(version), &json!(old))
        );
        let found =
            town.ask("GET", &format!("/_matrix/client/v3/directory/room/%23{alias}:hs1"), Value::Null).await;
        assert_eq!(found.ok()["room_id"], new);
        assert_eq!(state(&new, "m.room.power_levels").await["users"][&taro.id], 50);
        taro.post(&format!("/join/{new}"), json!({})).await.ok();
        for person in [&hanako, &taro] {
            person.get(&format!("/pushrules/global/room/{new}")).await.ok();
        }
    }
}
