//! Replacing rooms over HTTP.

use serde_json::{Value, json};

use crate::town::{Person, Town};

async fn upgrade(person: &Person<'_>, room: &str, version: &str) -> String {
    let answer = person.post(&format!("/rooms/{room}/upgrade"), json!({ "new_version": version })).await.ok();
    answer["replacement_room"].as_str().unwrap().to_owned()
}

async fn state(person: &Person<'_>, room: &str, kind: &str) -> Value {
    person.get(&format!("/rooms/{room}/state/{kind}")).await.ok()
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

        let new =
            hanako.post(&upgrade, wish.clone()).await.ok()["replacement_room"].as_str().unwrap().to_owned();
        let again = hanako.post(&upgrade, wish).await.ok();
        assert_eq!(again["replacement_room"], new, "asked for again, nothing more happens");

        let state = async |room: &str, kind: &str| state(&hanako, room, kind).await;
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

#[tokio::test]
async fn a_version_12_room_goes_back_to_11_with_its_creators_power() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let wishes = json!({ "preset": "public_chat", "room_version": "12", "name": "old",
        "creation_content": { "additional_creators": [taro.id] } });
    let old = hanako.create_room(wishes).await;
    let new = upgrade(&hanako, &old, "11").await;

    let levels = state(&hanako, &new, "m.room.power_levels").await;
    // Replacing the room needed 150 there, so that is what all power is as a number.
    assert_eq!(levels["users"], json!({ &hanako.id: 150, &taro.id: 150 }));
    assert_eq!(state(&hanako, &new, "m.room.name").await["name"], "old");
    let create = state(&hanako, &new, "m.room.create").await;
    assert!(create.get("additional_creators").is_none());
    assert_eq!(state(&hanako, &old, "m.room.tombstone").await["replacement_room"], new);
}

#[tokio::test]
async fn levels_that_are_strings_are_numbers_in_the_new_room() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let old = hanako.create_room(json!({ "preset": "public_chat", "room_version": "9" })).await;
    let mut levels = state(&hanako, &old, "m.room.power_levels").await;
    levels["users"] = json!({ &hanako.id: "100", &taro.id: " 50 " });
    levels["ban"] = json!("60");
    levels["events"]["m.room.name"] = json!("75");
    hanako.put(&format!("/rooms/{old}/state/m.room.power_levels"), levels).await.ok();

    for version in ["10", "12"] {
        let new = upgrade(&hanako, &old, version).await;
        let levels = state(&hanako, &new, "m.room.power_levels").await;
        assert_eq!((&levels["ban"], &levels["users"][&taro.id]), (&json!(60), &json!(50)), "{version}");
        assert_eq!(levels["events"]["m.room.name"], 75);
    }
}

#[tokio::test]
async fn a_moderator_who_may_replaces_a_room_and_stays_a_moderator() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let old =
        hanako.create_room(json!({ "preset": "public_chat", "room_version": "10", "name": "old" })).await;
    taro.post(&format!("/join/{old}"), json!({})).await.ok();
    let mut levels = state(&hanako, &old, "m.room.power_levels").await;
    levels["users"] = json!({ &hanako.id: 100, &taro.id: 50 });
    levels["events"]["m.room.tombstone"] = json!(50);
    hanako.put(&format!("/rooms/{old}/state/m.room.power_levels"), levels).await.ok();
    let acl = json!({ "allow": ["*"], "deny": ["bad.test"] });
    hanako.put(&format!("/rooms/{old}/state/m.room.server_acl"), acl.clone()).await.ok();

    let new = upgrade(&taro, &old, "11").await;

    assert_eq!(
        state(&taro, &new, "m.room.power_levels").await["users"],
        json!({ &hanako.id: 100, &taro.id: 50 })
    );
    assert_eq!(state(&taro, &new, "m.room.server_acl").await, acl);
    taro.put(&format!("/rooms/{new}/state/m.room.server_acl"), json!({ "allow": ["*"] }))
        .await
        .fails(403, "M_FORBIDDEN");
    hanako.post(&format!("/join/{new}"), json!({})).await.ok();
    hanako.put(&format!("/rooms/{new}/state/m.room.server_acl"), json!({ "allow": ["*"] })).await.ok();
}

#[tokio::test]
async fn an_upgrade_carries_over_bans_invites_children_parents_pins_and_policies() {
    let town = Town::new().await;
    let (hanako, taro, jiro) = (town.user("hanako").await, town.user("taro").await, town.user("jiro").await);
    let wishes = json!({ "preset": "private_chat", "room_version": "10", "invite": [jiro.id],
        "creation_content": { "type": "m.space" } });
    let old = hanako.create_room(wishes).await;
    let put = async |kind: &str, content: Value| {
        hanako.put(&format!("/rooms/{old}/state/{kind}"), content).await.ok()
    };
    let via = json!({ "via": ["hs1"] });
    put("m.space.child/!child:hs1", via.clone()).await;
    put("m.space.child/!gone:hs1", json!({})).await;
    put("m.space.parent/!parent:hs1", via.clone()).await;
    put("m.room.pinned_events", json!({ "pinned": ["$one"] })).await;
    let rule = json!({ "entity": "bad.test", "reason": "spam", "recommendation": "m.ban" });
    put("m.policy.rule.server/rule", rule.clone()).await;
    for (user, reason) in [(taro.id.as_str(), "noise"), ("@eve:hs3", "spam")] {
        let ban = json!({ "user_id": user, "reason": reason });
        hanako.post(&format!("/rooms/{old}/ban"), ban).await.ok();
    }

    let new = upgrade(&hanako, &old, "11").await;

    assert_eq!(state(&hanako, &new, "m.space.child/!child:hs1").await, via);
    hanako.get(&format!("/rooms/{new}/state/m.space.child/!gone:hs1")).await.fails(404, "M_NOT_FOUND");
    assert_eq!(state(&hanako, &new, "m.space.parent/!parent:hs1").await, via);
    assert_eq!(state(&hanako, &new, "m.room.pinned_events").await["pinned"], json!(["$one"]));
    assert_eq!(state(&hanako, &new, "m.policy.rule.server/rule").await, rule);
    for (user, reason) in [(taro.id.as_str(), "noise"), ("@eve:hs3", "spam")] {
        let member = state(&hanako, &new, &format!("m.room.member/{user}")).await;
        assert_eq!((&member["membership"], &member["reason"]), (&json!("ban"), &json!(reason)));
    }
    assert_eq!(state(&hanako, &new, &format!("m.room.member/{}", jiro.id)).await["membership"], "invite");
    jiro.post(&format!("/join/{new}"), json!({})).await.ok();
    taro.post(&format!("/join/{new}"), json!({})).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_room_that_is_made_in_the_place_of_another_has_its_tags() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let old = hanako.create_room(json!({})).await;
    let tags = |room: &str| format!("/user/{}/rooms/{room}/tags", hanako.id);
    hanako.put(&format!("{}/u.work", tags(&old)), json!({ "order": 0.5 })).await.ok();
    let place = json!({ "creation_content": { "predecessor": { "room_id": old } } });
    for (wishes, wanted) in [(place, json!({ "u.work": { "order": 0.5 } })), (json!({}), json!({}))] {
        let new = hanako.create_room(wishes).await;
        assert_eq!(hanako.get(&tags(&new)).await.ok()["tags"], wanted);
    }
}

#[tokio::test]
async fn aliases_of_another_server_lead_to_the_new_room_once_somebody_of_it_is_there() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user_at("hs2", "taro").await);
    let saburo = town.user_at("hs2", "saburo").await;
    let old = hanako.create_room(json!({ "preset": "public_chat", "room_version": "10" })).await;
    for person in [&taro, &saburo] {
        person.post(&format!("/join/{old}?via=hs1"), json!({})).await.ok();
    }
    let alias = "/directory/room/%23works:hs2";
    taro.put(alias, json!({ "room_id": old })).await.ok();
    let new = upgrade(&hanako, &old, "11").await;
    assert_eq!(saburo.get(alias).await.ok()["room_id"], json!(old));
    saburo.post(&format!("/join/{new}?via=hs1"), json!({})).await.ok();
    assert_eq!(saburo.get(alias).await.ok()["room_id"], json!(new));
    // Whose it is has not changed.
    taro.ask("DELETE", alias, Value::Null).await.ok();
}

#[tokio::test]
async fn a_room_that_names_anothers_as_its_predecessor_takes_nothing_of_it() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let mallory = town.user_at("hs2", "mallory").await;
    let old = hanako.create_room(json!({ "invite": [taro.id], "is_direct": true })).await;
    taro.post(&format!("/join/{old}"), json!({})).await.ok();
    let direct_of = format!("/user/{}/account_data/m.direct", taro.id);
    let direct = json!({ &hanako.id: [old] });
    taro.put(&direct_of, direct.clone()).await.ok();
    taro.put(&format!("/user/{}/rooms/{old}/tags/m.favourite", taro.id), json!({})).await.ok();
    let place = json!({ "creation_content": { "predecessor": { "room_id": old } }, "invite": [taro.id] });
    let new = mallory.create_room(place).await;
    taro.post(&format!("/join/{new}?via=hs2"), json!({})).await.ok();
    assert_eq!(taro.get(&direct_of).await.ok(), direct);
    assert_eq!(taro.get(&format!("/user/{}/rooms/{new}/tags", taro.id)).await.ok()["tags"], json!({}));
    // Once the old room says so too, who comes in then is taken to be at home there.
    let tombstone = json!({ "body": "moved", "replacement_room": new });
    hanako.put(&format!("/rooms/{old}/state/m.room.tombstone"), tombstone).await.ok();
    taro.post(&format!("/rooms/{new}/leave"), json!({})).await.ok();
    mallory.post(&format!("/rooms/{new}/invite"), json!({ "user_id": taro.id })).await.ok();
    taro.post(&format!("/join/{new}?via=hs2"), json!({})).await.ok();
    assert_eq!(taro.get(&direct_of).await.ok(), json!({ &hanako.id: [old, new] }));
}

/// As Element mutes a room: by a rule of the kind that stands above all others.
#[tokio::test]
async fn who_follows_into_the_new_room_finds_it_as_quiet_and_as_direct_as_the_old_one() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user_at("hs2", "taro").await);
    let old = hanako.create_room(json!({ "preset": "public_chat", "room_version": "10" })).await;
    taro.post(&format!("/join/{old}?via=hs1"), json!({})).await.ok();
    let rules = "/pushrules/global";
    let about = |room: &str| json!({ "kind": "event_match", "key": "room_id", "pattern": room });
    let loud = json!({ "kind": "event_match", "key": "content.body", "pattern": "loud" });
    for (person, other) in [(&hanako, &taro), (&taro, &hanako)] {
        let mute = json!({ "conditions": [about(&old)], "actions": [] });
        person.put(&format!("{rules}/override/{old}"), mute).await.ok();
        let mine = json!({ "conditions": [about(&old), loud], "actions": ["notify"] });
        person.put(&format!("{rules}/underride/mine"), mine).await.ok();
        person.put(&format!("{rules}/underride/mine/enabled"), json!({ "enabled": false })).await.ok();
        let elsewhere = json!({ "conditions": [about("!other:hs1")], "actions": [] });
        person.put(&format!("{rules}/override/other"), elsewhere).await.ok();
        let direct = json!({ &other.id: ["!before:hs1", old], "@x:hs3": ["!y:hs3"], "odd": 5 });
        person.put(&format!("/user/{}/account_data/m.direct", person.id), direct).await.ok();
    }

    let new = upgrade(&hanako, &old, "11").await;
    taro.post(&format!("/join/{new}?via=hs1"), json!({})).await.ok();

    for (person, other) in [(&hanako, &taro), (&taro, &hanako)] {
        let all = person.get("/pushrules/").await.ok();
        let ids = |kind: &str| -> Vec<String> {
            let own = all["global"][kind].as_array().unwrap().iter().filter(|rule| rule["default"] == false);
            own.map(|rule| rule["rule_id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(ids("override"), ["other".to_owned(), old.clone(), new.clone()]);
        assert_eq!(ids("underride"), ["mine".to_owned(), format!("mine.{new}")]);
        let muted = person.get(&format!("{rules}/override/{new}")).await.ok();
        assert_eq!((&muted["conditions"], &muted["enabled"]), (&json!([about(&new)]), &json!(true)));
        let mine = person.get(&format!("{rules}/underride/mine.{new}")).await.ok();
        assert_eq!((&mine["conditions"], &mine["enabled"]), (&json!([about(&new), loud]), &json!(false)));
        let direct = person.get(&format!("/user/{}/account_data/m.direct", person.id)).await.ok();
        assert_eq!(direct[&other.id], json!(["!before:hs1", old, new]));
        assert_eq!((&direct["@x:hs3"], &direct["odd"]), (&json!(["!y:hs3"]), &json!(5)));
    }
    // What he changes in the new room stays, also where he asks once more to come in.
    taro.ask("DELETE", &format!("{rules}/override/{new}"), Value::Null).await.ok();
    taro.post(&format!("/join/{new}?via=hs1"), json!({})).await.ok();
    taro.get(&format!("{rules}/override/{new}")).await.fails(404, "M_NOT_FOUND");
}
