//! Rooms over HTTP.

use std::collections::BTreeSet;

use engine::Joining;
use room::read::list::PART;
use ruma::{RoomId, UserId};
use serde_json::{Value, json};

use crate::town::Town;

#[tokio::test]
async fn lists_of_a_large_room_come_in_parts_that_are_one_answer() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let small = hanako.get(&format!("/rooms/{room}/members")).await;
    assert_eq!((small.parts, small.ok()["chunk"].as_array().unwrap().len()), (1, 1));
    let id = RoomId::parse(&room).unwrap();
    let everybody: BTreeSet<String> =
        (0..PART).map(|number| format!("@shokuin{number}:hs1")).chain([hanako.id.clone()]).collect();
    for user in everybody.iter().filter(|user| **user != hanako.id) {
        town.engine.join(&UserId::parse(user).unwrap(), &id, &[], Joining::default()).await.unwrap();
    }
    let keys = |events: &Value, kind: &str| -> Vec<String> {
        let events = events.as_array().unwrap().iter().filter(|event| event["type"] == kind);
        events.map(|event| event["state_key"].as_str().unwrap().to_owned()).collect()
    };
    let set = |keys: Vec<String>| {
        let set: BTreeSet<String> = keys.iter().cloned().collect();
        assert_eq!(set.len(), keys.len(), "each once");
        set
    };

    let members = hanako.get(&format!("/rooms/{room}/members")).await;
    assert_eq!(members.parts, 2);
    let members = members.ok();
    assert_eq!(set(keys(&members["chunk"], "m.room.member")), everybody);
    assert_eq!(members["chunk"][0]["room_id"], room);
    let others = hanako.get(&format!("/rooms/{room}/members?not_membership=join")).await;
    assert_eq!((others.parts, &others.body), (1, &json!({ "chunk": [] })));

    let state = hanako.get(&format!("/rooms/{room}/state")).await;
    assert_eq!(state.parts, 2);
    let state = state.ok();
    assert_eq!(set(keys(&state, "m.room.member")), everybody);
    assert_eq!(keys(&state, "m.room.create").len(), 1);
    assert!(state.as_array().unwrap().len() > everybody.len() + 3, "and all else");

    let joined = hanako.get(&format!("/rooms/{room}/joined_members")).await;
    assert_eq!(joined.parts, 2);
    let joined = joined.ok();
    assert_eq!(joined["joined"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>(), everybody);
    assert_eq!(joined["joined"]["@shokuin7:hs1"], json!({ "display_name": null, "avatar_url": null }));
}

#[tokio::test]
async fn a_page_that_a_filter_chose_has_an_end_and_the_one_after_it_has_none() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    hanako.say(&room, "1", "地図を送ります").await;
    let file = json!({ "msgtype": "m.file", "body": "地図.png", "url": "mxc://hs1/map" });
    hanako.put(&format!("/rooms/{room}/send/m.room.message/2"), file).await.ok();

    let with_url = "%7B%22contains_url%22%3Atrue%7D";
    let page = hanako.get(&format!("/rooms/{room}/messages?dir=b&filter={with_url}")).await.ok();
    assert_eq!(page["chunk"].as_array().map(Vec::len), Some(1));
    let end = page["end"].as_str().unwrap();
    let next = hanako.get(&format!("/rooms/{room}/messages?dir=b&from={end}&filter={with_url}")).await.ok();
    assert_eq!((&next["chunk"], &next["end"]), (&json!([]), &Value::Null));
    let whole = hanako.get(&format!("/rooms/{room}/messages?dir=b&limit=100")).await.ok();
    assert_eq!(whole["end"], Value::Null, "the room's beginning is the end of what there is");
}

#[tokio::test]
async fn the_place_of_a_sliding_sync_begins_a_page_like_that_of_a_sync() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let message = json!({ "msgtype": "m.text", "body": "一" });
    let root = hanako.put(&format!("/rooms/{room}/send/m.room.message/1"), message.clone()).await.ok();
    let root = root["event_id"].as_str().unwrap().to_owned();
    let relation = json!({ "rel_type": "m.thread", "event_id": root });
    let reply = json!({ "msgtype": "m.text", "body": "二", "m.relates_to": relation });
    hanako.put(&format!("/rooms/{room}/send/m.room.message/2"), reply).await.ok();
    let path = format!("/rooms/{room}/messages?dir=b&limit=1");
    let start = hanako.get(&path).await.ok()["start"].as_str().unwrap().to_owned();
    let head = start.strip_prefix("s1_").unwrap();
    // What is said after it is not in the page.
    hanako.put(&format!("/rooms/{room}/send/m.room.message/3"), message).await.ok();
    let pos = format!("p1_{head}_5_1_deadbeef");
    let page = hanako.get(&format!("{path}&from={pos}")).await.ok();
    assert_eq!(page["chunk"][0]["content"]["body"], "二");
    let related = format!("/_matrix/client/v1/rooms/{room}/relations/{root}?dir=b&from={pos}");
    assert_eq!(hanako.get(&related).await.ok()["chunk"][0]["content"]["body"], "二");
    hanako.get(&format!("{path}&from=p1_x_5_1_a")).await.fails(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn a_room_is_made_as_wished() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako
        .create_room(json!({
            "preset": "public_chat", "visibility": "public", "name": "災害連絡", "topic": "Test Room",
            "room_alias_name": "saigai", "creation_content": { "m.federate": false, "room_version": "x" },
            "initial_state": [{ "type": "m.room.guest_access", "content": { "guest_access": "forbidden" } }],
        }))
        .await;
    let state = |path: &'static str| {
        let path = format!("/rooms/{room}/state/{path}");
        async { path }
    };
    let get = async |path: &'static str| hanako.get(&state(path).await).await.ok();

    assert_eq!(get("m.room.name").await["name"], "災害連絡");
    assert_eq!(get("m.room.topic/").await["m.topic"]["m.text"][0]["body"], "Test Room");
    assert_eq!(get("m.room.create").await["m.federate"], false);
    assert_eq!(get("m.room.create").await["room_version"], "12");
    assert_eq!(get("m.room.canonical_alias").await["alias"], "#saigai:hs1");
    assert_eq!(get("m.room.guest_access").await["guest_access"], "forbidden");
    let levels = get("m.room.power_levels").await;
    for key in
        ["ban", "kick", "redact", "users_default", "state_default", "events_default", "users", "events"]
    {
        assert!(levels.get(key).is_some(), "{key}");
    }
    let member =
        hanako.get(&format!("/rooms/{room}/state/m.room.member/{}?format=event", hanako.id)).await.ok();
    assert_eq!((&member["sender"], &member["room_id"]), (&json!(hanako.id), &json!(room)));
    assert_eq!(member["content"], json!({ "membership": "join", "displayname": "hanako" }));
    let all = hanako.get(&format!("/rooms/{room}/state")).await.ok();
    assert!(all.as_array().unwrap().iter().any(|event| event["type"] == "m.room.join_rules"));
    let found = town.ask("GET", "/_matrix/client/v3/directory/room/%23saigai:hs1", Value::Null).await.ok();
    assert_eq!((&found["room_id"], &found["servers"]), (&json!(room), &json!(["hs1"])));
    let listed = town.ask("GET", "/_matrix/client/v3/publicRooms", Value::Null).await.ok();
    assert_eq!(listed["chunk"][0]["room_id"], room);
    let searched = json!({ "filter": { "generic_search_term": "災害" } });
    assert_eq!(hanako.post("/publicRooms", searched).await.ok()["total_room_count_estimate"], 1);
    assert_eq!(hanako.get("/joined_rooms").await.ok()["joined_rooms"], json!([room]));
}

#[tokio::test]
async fn impossible_rooms_are_refused() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    hanako.post("/createRoom", json!({ "room_version": 1 })).await.fails(400, "M_BAD_JSON");
    let unknown = json!({ "room_version": "ahfgwjyerhgiuveisbruvybseyrugvi" });
    hanako.post("/createRoom", unknown).await.fails(400, "M_UNSUPPORTED_ROOM_VERSION");
    hanako.create_room(json!({ "room_alias_name": "a" })).await;
    let taken = hanako.post("/createRoom", json!({ "room_alias_name": "a" })).await;
    taken.fails(400, "M_ROOM_IN_USE");
}

#[tokio::test]
async fn people_invite_join_talk_and_leave() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let room = hanako.create_room(json!({ "preset": "private_chat" })).await;

    taro.post(&format!("/join/{room}"), json!({})).await.fails(403, "M_FORBIDDEN");
    hanako.post(&format!("/rooms/{room}/invite"), json!({ "user_id": taro.id })).await.ok();
    hanako
        .post(&format!("/rooms/{room}/invite"), json!({ "user_id": hanako.id }))
        .await
        .fails(403, "M_FORBIDDEN");
    let joined = taro.post(&format!("/rooms/{room}/join"), Value::Null).await.ok();
    assert_eq!(joined["room_id"], room);
    let members = hanako.get(&format!("/rooms/{room}/joined_members")).await.ok();
    assert_eq!(members["joined"][&taro.id], json!({ "display_name": "taro", "avatar_url": null }));

    let first = taro.say(&room, "1", "こんにちは").await;
    assert_eq!(taro.say(&room, "1", "another text").await, first, "the transaction was served");
    let event = hanako.get(&format!("/rooms/{room}/event/{first}")).await.ok();
    assert_eq!(event["content"]["body"], "こんにちは");
    assert_eq!(event["unsigned"].get("transaction_id"), None);
    let own = taro.get(&format!("/rooms/{room}/event/{first}")).await.ok();
    assert_eq!(own["unsigned"]["transaction_id"], "1");
    let page = hanako.get(&format!("/rooms/{room}/messages?dir=b&limit=2")).await.ok();
    assert_eq!(page["chunk"][0]["event_id"], first);
    assert!(page["end"].is_string() && page["start"].is_string());
    let context = hanako.get(&format!("/rooms/{room}/context/{first}")).await.ok();
    assert_eq!(context["event"]["event_id"], first);

    let redact = format!("/rooms/{room}/redact/{first}/r1");
    taro.put(&redact, json!({ "reason": "typo" })).await.ok();
    let redacted = hanako.get(&format!("/rooms/{room}/event/{first}")).await.ok();
    assert_eq!(redacted["content"], json!({}));
    assert_eq!(redacted["unsigned"]["redacted_because"]["sender"], taro.id);

    taro.post(&format!("/rooms/{room}/forget"), json!({})).await.fails(400, "M_UNKNOWN");
    taro.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
    taro.get(&format!("/rooms/{room}/joined_members")).await.fails(403, "M_FORBIDDEN");
    for odd in ["membership=bogus", "not_membership=Leave", "membership="] {
        hanako.get(&format!("/rooms/{room}/members?{odd}")).await.fails(400, "M_INVALID_PARAM");
    }
    hanako.post("/createRoom", json!({ "visibility": "x" })).await.fails(400, "M_INVALID_PARAM");
    let members = hanako.get(&format!("/rooms/{room}/members?not_membership=leave")).await.ok();
    assert_eq!(members["chunk"].as_array().unwrap().len(), 1);
    taro.post(&format!("/rooms/{room}/forget"), json!({})).await.ok();
    taro.get(&format!("/rooms/{room}/messages?dir=b")).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn the_context_of_an_event_names_its_lists_also_when_nothing_is_in_them() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let last = hanako.say(&room, "1", "終").await;
    let around = hanako.get(&format!("/rooms/{room}/context/{last}")).await.ok();
    assert_eq!(around["events_after"], json!([]), "nothing is newer");
    assert!(!around["events_before"].as_array().unwrap().is_empty());
    let alone = hanako.get(&format!("/rooms/{room}/context/{last}?limit=0")).await.ok();
    assert_eq!((&alone["events_before"], &alone["events_after"]), (&json!([]), &json!([])));
    assert!(alone["state"].is_array(), "{alone}");
}

#[tokio::test]
async fn people_of_two_authorities_of_one_process_share_a_room() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let jiro = town.user_at("hs2", "jiro").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    jiro.post(&format!("/join/{room}"), json!({ "foo": "bar" })).await.ok();
    let member = hanako.get(&format!("/rooms/{room}/state/m.room.member/{}", jiro.id)).await.ok();
    assert_eq!((&member["membership"], &member["foo"]), (&json!("join"), &json!("bar")));
    let event = jiro.say(&room, "1", "やあ").await;
    hanako.get(&format!("/rooms/{room}/event/{event}")).await.ok();
}

#[tokio::test]
async fn powers_are_checked() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let jiro = town.user("jiro").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let name = format!("/rooms/{room}/state/m.room.name");
    taro.put(&name, json!({ "name": "x" })).await.fails(403, "M_FORBIDDEN");
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    taro.put(&name, json!({ "name": "x" })).await.fails(403, "M_FORBIDDEN");
    let kick = |user: &str| json!({ "user_id": user, "reason": "testing" });
    hanako.post(&format!("/rooms/{room}/kick"), kick(&jiro.id)).await.fails(403, "M_FORBIDDEN");
    hanako.post(&format!("/rooms/{room}/ban"), kick(&taro.id)).await.ok();
    taro.post(&format!("/join/{room}"), json!({})).await.fails(403, "M_FORBIDDEN");
    hanako.post(&format!("/rooms/{room}/unban"), kick(&taro.id)).await.ok();
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    hanako.post(&format!("/rooms/{room}/kick"), kick(&taro.id)).await.ok();
}

#[tokio::test]
async fn setting_the_same_state_twice_is_one_event() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let path = format!("/rooms/{room}/state/a.test/");
    let first = hanako.put(&path, json!({ "a": 1 })).await.ok();
    assert_eq!(hanako.put(&path, json!({ "a": 1 })).await.ok(), first);
    assert_ne!(hanako.put(&path, json!({ "a": 2 })).await.ok(), first);
    hanako.get(&format!("/rooms/{room}/state/none")).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn aliases_lead_to_their_room_and_go_with_their_maker() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let alias = "/directory/room/%23one:hs1";

    taro.put(alias, json!({ "room_id": room })).await.fails(403, "M_FORBIDDEN");
    hanako.put(alias, json!({ "room_id": room })).await.ok();
    hanako.put(alias, json!({ "room_id": room })).await.fails(409, "M_UNKNOWN");
    let listed = hanako.get(&format!("/rooms/{room}/aliases")).await.ok();
    assert_eq!(listed["aliases"], json!(["#one:hs1"]));
    taro.get(&format!("/rooms/{room}/aliases")).await.fails(403, "M_FORBIDDEN");

    let canonical = format!("/rooms/{room}/state/m.room.canonical_alias");
    hanako.put(&canonical, json!({ "alias": "#two:hs1" })).await.fails(400, "M_BAD_ALIAS");
    hanako.put(&canonical, json!({ "alias": "%one:hs1" })).await.fails(400, "M_INVALID_PARAM");
    hanako
        .put(&canonical, json!({ "alias": "#one:hs1", "alt_aliases": ["#two:hs1"] }))
        .await
        .fails(400, "M_BAD_ALIAS");
    hanako.put(&canonical, json!({ "alias": "#one:hs1", "alt_aliases": ["#one:hs1"] })).await.ok();

    taro.ask("DELETE", alias, Value::Null).await.fails(403, "M_FORBIDDEN");
    hanako.ask("DELETE", alias, Value::Null).await.ok();
    assert_eq!(hanako.get(&canonical).await.ok(), json!({}));
    hanako.ask("DELETE", alias, Value::Null).await.fails(404, "M_NOT_FOUND");
    hanako.get(alias).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn names_of_aliases_make_no_requests_for_who_may_not_set_them_and_few_for_who_may() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let canonical = format!("/rooms/{room}/state/m.room.canonical_alias");
    let aliases = |count: usize| -> Value {
        json!({ "alt_aliases": (0..count).map(|n| format!("#a:s{n}.test")).collect::<Vec<_>>() })
    };
    // A server that was asked would have said that the alias is bad: nobody is there.
    taro.put(&canonical, aliases(1_000)).await.fails(403, "M_FORBIDDEN");
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    taro.put(&canonical, aliases(1_000)).await.fails(403, "M_FORBIDDEN");
    hanako.put(&canonical, aliases(1_000)).await.fails(400, "M_INVALID_PARAM");
    hanako.put(&canonical, aliases(1)).await.fails(400, "M_BAD_ALIAS");
}

#[tokio::test]
async fn receipts_markers_and_typing_are_for_members() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let room = hanako.create_room(json!({})).await;
    let event = hanako.say(&room, "1", "hello").await;
    let receipt = format!("/rooms/{room}/receipt/m.read/{event}");
    hanako.post(&receipt, json!({})).await.ok();
    hanako.post(&receipt, json!({ "thread_id": "main" })).await.ok();
    taro.post(&receipt, json!({})).await.fails(403, "M_FORBIDDEN");
    let markers = json!({ "m.fully_read": event, "m.read": event, "m.read.private": event });
    hanako.post(&format!("/rooms/{room}/read_markers"), markers).await.ok();
    let marker = format!("/user/{}/rooms/{room}/account_data/m.fully_read", hanako.id);
    assert_eq!(hanako.get(&marker).await.ok()["event_id"], event);
    let typing = |who: &str| format!("/rooms/{room}/typing/{who}");
    hanako.put(&typing(&hanako.id), json!({ "typing": true, "timeout": 10_000 })).await.ok();
    hanako.put(&typing(&hanako.id), json!({ "typing": false })).await.ok();
    hanako.put(&typing(&taro.id), json!({ "typing": true })).await.fails(403, "M_FORBIDDEN");
    taro.put(&typing(&taro.id), json!({ "typing": true })).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn an_event_is_found_by_its_time() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let event = hanako.say(&room, "1", "hello").await;
    let said_at = hanako.get(&format!("/rooms/{room}/event/{event}")).await.ok()["origin_server_ts"].clone();
    let by_time = |query: String| format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?{query}");

    let found = hanako.get(&by_time(format!("ts={said_at}&dir=b"))).await.ok();
    assert_eq!(found, json!({ "event_id": event, "origin_server_ts": said_at }));
    hanako.get(&by_time("ts=0&dir=b".to_owned())).await.fails(404, "M_NOT_FOUND");
    hanako.get(&by_time("ts=9007199254740991&dir=f".to_owned())).await.fails(404, "M_NOT_FOUND");
    for bad in ["dir=f", "ts=0", "ts=-1&dir=f", "ts=x&dir=f", "ts=99999999999999999999&dir=f", "ts=0&dir=up"]
    {
        let error = hanako.get(&by_time(bad.to_owned())).await;
        assert_eq!(error.status, 400, "{bad}");
    }
    taro.get(&by_time("ts=0&dir=f".to_owned())).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn unknown_rooms_and_closed_rooms_look_the_same() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let closed = hanako.create_room(json!({})).await;
    for room in [closed.as_str(), "!does-not-exist:hs1"] {
        taro.get(&format!("/rooms/{room}/messages")).await.fails(403, "M_FORBIDDEN");
        taro.get(&format!("/rooms/{room}/messages?dir=b")).await.fails(403, "M_FORBIDDEN");
        taro.get(&format!("/rooms/{room}/state")).await.fails(403, "M_FORBIDDEN");
        taro.get(&format!("/rooms/{room}/members")).await.fails(403, "M_FORBIDDEN");
        taro.put(&format!("/rooms/{room}/send/m.room.message/1"), json!({})).await.fails(403, "M_FORBIDDEN");
    }
    hanako.get(&format!("/rooms/{closed}/messages")).await.fails(400, "M_MISSING_PARAM");
}

#[tokio::test]
async fn the_user_directory_knows_profiles_and_not_nicknames_of_rooms() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    let nick = json!({ "membership": "join", "displayname": "Nickname" });
    taro.put(&format!("/rooms/{room}/state/m.room.member/{}", taro.id), nick).await.ok();
    let search = async |term: &str| {
        let answer = hanako.post("/user_directory/search", json!({ "search_term": term })).await.ok();
        answer["results"].as_array().unwrap().len()
    };
    assert_eq!(search("TARO").await, 1);
    assert_eq!(search("nickname").await, 0);
}
