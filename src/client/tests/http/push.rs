//! Push rules, notifications, pushers, and settings that go with devices.

use pdu::Draft;
use ruma::{RoomId, UserId, events::TimelineEventType};
use serde_json::{Value, json};

use super::town::{PASSWORD, Person, Town};

fn order_of(rules: &Value, kind: &str) -> Vec<String> {
    let of_kind = rules["global"][kind].as_array().unwrap().iter();
    let own = of_kind.filter(|rule| rule["default"] == false);
    own.map(|rule| rule["rule_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_rule_without_conditions_always_matches_and_what_makes_no_rule_is_refused() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    for kind in ["override", "underride"] {
        let path = format!("/pushrules/global/{kind}/mine");
        hanako.put(&path, json!({ "actions": ["notify"] })).await.ok();
        let rule = hanako.get(&path).await.ok();
        assert_eq!((&rule["conditions"], &rule["actions"]), (&json!([]), &json!(["notify"])), "{kind}");
    }
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    let notice = json!({ "msgtype": "m.notice", "body": "報" });
    taro.put(&format!("/rooms/{room}/send/m.room.message/t"), notice).await.ok();
    let told = hanako.get("/notifications").await.ok();
    assert_eq!(
        told["notifications"][0]["event"]["content"]["body"], "報",
        "no notice rings otherwise: {told}"
    );

    let put = async |path: &str, body: Value| hanako.put(&format!("/pushrules/global/{path}"), body).await;
    let large: Value = serde_json::from_str("9007199254740993").unwrap();
    let condition = json!({ "kind": "org.example", "value": large });
    for (path, body) in [
        ("override/x", json!({})),
        ("override/x", json!({ "actions": "notify" })),
        ("override/x", json!({ "actions": [], "conditions": 1 })),
        ("override/x", json!({ "actions": [], "conditions": [condition] })),
        ("content/x", json!({ "actions": [] })),
        ("override/x", json!([[], []])),
    ] {
        put(path, body).await.fails(400, "M_BAD_JSON");
    }
    for path in ["none/x", "room/x", "sender/x", "override/.x"] {
        assert_eq!(put(path, json!({ "actions": [] })).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn rules_that_are_not_there_are_not_changed_and_neighbours_have_to_be_there() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let before = hanako.get("/pushrules/").await.ok();
    for path in ["override/.not.a.default.rule", "room/!a:hs1", "content/x", "sender/@a:hs1", "underride/x"] {
        let path = format!("/pushrules/global/{path}");
        for (what, body) in [("enabled", json!({ "enabled": true })), ("actions", json!({ "actions": [] }))] {
            hanako.put(&format!("{path}/{what}"), body).await.fails(404, "M_NOT_FOUND");
            hanako.get(&format!("{path}/{what}")).await.fails(404, "M_NOT_FOUND");
        }
        hanako.ask("DELETE", &path, Value::Null).await.fails(404, "M_NOT_FOUND");
        hanako.get(&path).await.fails(404, "M_NOT_FOUND");
    }
    assert_eq!(hanako.get("/pushrules/").await.ok(), before, "nothing is remembered");
    let data = format!("/user/{}/account_data/m.push_rules", hanako.id);
    assert_eq!(hanako.get(&data).await.ok(), before);

    let put = async |id: &str, place: &str| {
        let path = format!("/pushrules/global/content/{id}{place}");
        hanako.put(&path, json!({ "pattern": id, "actions": ["notify"] })).await
    };
    for (id, place, expected) in [
        ("a", "", vec!["a"]),
        ("b", "", vec!["b", "a"]),
        ("c", "?after=b", vec!["b", "c", "a"]),
        ("d", "?before=a&after=b", vec!["b", "c", "d", "a"]),
        ("b", "?after=a", vec!["c", "d", "a", "b"]),
    ] {
        put(id, place).await.ok();
        assert_eq!(order_of(&hanako.get("/pushrules/").await.ok(), "content"), expected, "{id}{place}");
    }
    put("e", "?before=x").await.fails(404, "M_NOT_FOUND");
    put("e", "?after=x&before=a").await.fails(404, "M_NOT_FOUND");
    put("e", "?after=.m.rule.contains_user_name").await.fails(400, "M_INVALID_PARAM");
    put(".e", "").await.fails(400, "M_INVALID_PARAM");
    put("a", "?after=a").await.fails(400, "M_INVALID_PARAM");
    // The last of its kind behind the last: no place is behind that.
    for room in ["!a:hs1", "!b:hs1"] {
        hanako.put(&format!("/pushrules/global/room/{room}"), json!({ "actions": [] })).await.ok();
    }
    hanako.put("/pushrules/global/room/!b:hs1?after=!a:hs1", json!({ "actions": [] })).await.ok();
    assert_eq!(order_of(&hanako.get("/pushrules/").await.ok(), "room"), ["!a:hs1", "!b:hs1"]);
}

#[tokio::test]
async fn rules_for_mentions_have_what_clients_need_and_nothing_else() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let rule = hanako.get("/pushrules/global/override/.m.rule.is_user_mention").await.ok();
    assert_eq!(
        rule,
        json!({
            "rule_id": ".m.rule.is_user_mention", "default": true, "enabled": true,
            "conditions": [{ "kind": "event_property_contains", "key": r"content.m\.mentions.user_ids",
                "value": hanako.id }],
            "actions": ["notify", { "set_tweak": "sound", "value": "default" }, { "set_tweak": "highlight" }],
        })
    );
    // C43: among all rules it is the same.
    let all = hanako.get("/pushrules/").await.ok();
    let mut listed = all["global"]["override"].as_array().unwrap().iter();
    assert_eq!(listed.find(|listed| listed["rule_id"] == rule["rule_id"]), Some(&rule));
    let poll =
        hanako.get("/pushrules/global/underride/.org.matrix.msc3930.rule.poll_start_one_to_one").await.ok();
    assert_eq!(
        poll["conditions"],
        json!([{ "kind": "room_member_count", "is": "2" },
            { "kind": "event_match", "key": "type", "pattern": "org.matrix.msc3381.poll.start" }])
    );
}

/// What is listed: texts, and whether they were read.
async fn listed(person: &Person<'_>, query: &str) -> (Vec<(String, bool)>, Option<String>) {
    let page = person.get(&format!("/notifications?{query}")).await.ok();
    let of = page["notifications"].as_array().unwrap().iter().map(|notified| {
        let body = notified["event"]["content"]["body"].as_str().unwrap().to_owned();
        assert!(notified["ts"].is_u64() && notified["room_id"].is_string(), "{notified}");
        assert!(notified["actions"][0] == "notify" && notified["event"]["event_id"].is_string());
        (body, notified["read"].as_bool().unwrap())
    });
    (of.collect(), page["next_token"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn notifications_are_listed_newest_first_over_all_rooms_and_page_on_without_repeats() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    assert_eq!(listed(&taro, "").await, (Vec::new(), None));
    let mut rooms = Vec::new();
    for _ in 0..3 {
        let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
        hanako.say(&room, "early", "以前").await;
        taro.post(&format!("/join/{room}"), json!({})).await.ok();
        rooms.push(room);
    }
    let mut expected = Vec::new();
    let (mut last, mut mention) = (String::new(), String::new());
    for number in 0..130 {
        let text = if number % 40 == 7 { format!("{number} taro") } else { number.to_string() };
        last = hanako.say(&rooms[number % 3], &number.to_string(), &text).await;
        if number == 127 {
            mention.clone_from(&last);
        }
        taro.say(&rooms[(number + 1) % 3], &format!("t{number}"), "mine").await;
        expected.insert(0, (text, false));
    }
    let mut found = Vec::new();
    let mut query = "limit=17".to_owned();
    loop {
        let (page, next) = listed(&taro, &query).await;
        assert!(page.len() <= 17);
        found.extend(page);
        let Some(next) = next else { break };
        query = format!("limit=17&from={next}");
    }
    assert_eq!(found, expected);

    let receipt = format!("/rooms/{}/receipt/m.read/{last}", rooms[129 % 3]);
    taro.post(&receipt, json!({})).await.ok();
    let (page, _) = listed(&taro, "limit=3").await;
    assert_eq!(page.iter().map(|(_, read)| *read).collect::<Vec<_>>(), [true, false, false]);
    let loud = listed(&taro, "only=highlight").await.0;
    let texts: Vec<_> = loud.iter().map(|(text, _)| &**text).collect();
    assert_eq!(texts, ["127 taro", "87 taro", "47 taro", "7 taro"]);
    // C49: what was read is told of these as well.
    taro.post(&format!("/rooms/{}/receipt/m.read/{mention}", rooms[127 % 3]), json!({})).await.ok();
    let loud = listed(&taro, "only=highlight").await.0;
    assert_eq!(loud.iter().map(|(_, read)| *read).collect::<Vec<_>>(), [true, true, false, true]);

    for from in ["abc", "n1_x", "s1_5"] {
        taro.get(&format!("/notifications?from={from}")).await.fails(400, "M_INVALID_PARAM");
    }
    let redact = format!("/rooms/{}/redact/{last}/r", rooms[129 % 3]);
    hanako.put(&redact, json!({})).await.ok();
    assert_eq!(listed(&taro, "limit=1").await.0, [("128".to_owned(), false)]);
    let list = json!({ "ignored_users": { &hanako.id: {} } });
    taro.put(&format!("/user/{}/account_data/m.ignored_user_list", taro.id), list).await.ok();
    assert_eq!(listed(&taro, "").await.0, []);
}

// C49
#[tokio::test]
async fn what_was_said_loudly_long_ago_is_found_behind_all_that_was_said_since() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    hanako.say(&room, "loud", "taro").await;
    let sender: &UserId = hanako.id.as_str().try_into().unwrap();
    let id: &RoomId = room.as_str().try_into().unwrap();
    for _ in 0..3_100 {
        let content = json!({ "msgtype": "m.text", "body": "x" });
        let draft = Draft::message(sender, TimelineEventType::RoomMessage, &content).unwrap();
        town.engine.send(id, draft, None).await.unwrap();
    }
    let (first, next) = listed(&taro, "only=highlight").await;
    assert_eq!(first, [], "one page looks at so much and no more");
    let (second, next) = listed(&taro, &format!("only=highlight&from={}", next.unwrap())).await;
    assert_eq!((second, next), (vec![("taro".to_owned(), false)], None));
}

fn pusher(key: &str) -> Value {
    json!({
        "pushkey": key, "kind": "http", "app_id": "jp.example.app", "app_display_name": "App",
        "device_display_name": "Phone", "lang": "ja", "profile_tag": "x",
        "data": { "url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only", "own": [1] },
    })
}

async fn keys_of(person: &Person<'_>) -> Vec<String> {
    let pushers = person.get("/pushers").await.ok();
    let pushers = pushers["pushers"].as_array().unwrap().iter();
    pushers.map(|pusher| pusher["pushkey"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pushers_are_kept_and_go_with_their_device() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let far = town.user_at("hs2", "jiro").await;
    let set = async |person: &Person<'_>, pusher: Value| person.post("/pushers/set", pusher).await;
    set(&hanako, pusher("one")).await.ok();
    assert_eq!(hanako.get("/pushers").await.ok(), json!({ "pushers": [pusher("one")] }));
    for missing in ["kind", "app_id", "pushkey"] {
        let mut less = pusher("one");
        less.as_object_mut().unwrap().remove(missing);
        set(&hanako, less).await.fails(400, "M_MISSING_PARAM");
    }
    assert_eq!(keys_of(&hanako).await, ["one"]);

    let body = json!({ "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": "hanako" } });
    let session = town.ask("POST", "/_matrix/client/v3/login", body).await.ok();
    let tablet = town.person("hs1", &session);
    set(&tablet, pusher("two")).await.ok();
    set(&tablet, pusher("one")).await.ok();
    assert_eq!(keys_of(&hanako).await, ["one", "two"], "one moves to the tablet");

    // Somebody else has the phone now, or has it too; at another authority nobody's business.
    set(&far, pusher("two")).await.ok();
    let with = |mut pusher: Value, key: &str, value: Value| {
        pusher[key] = value;
        pusher
    };
    set(&taro, with(pusher("two"), "append", json!(true))).await.ok();
    assert_eq!(keys_of(&hanako).await, ["one", "two"]);
    set(&taro, pusher("two")).await.ok();
    assert_eq!(keys_of(&hanako).await, ["one"]);
    assert_eq!((keys_of(&taro).await, keys_of(&far).await), (vec!["two".to_owned()], vec!["two".to_owned()]));

    tablet.post("/logout", json!({})).await.ok();
    assert_eq!(keys_of(&hanako).await, [""; 0]);
    // What is taken away is that of one app, though another has the same key.
    let other = with(pusher("two"), "app_id", json!("jp.example.other"));
    set(&taro, other.clone()).await.ok();
    set(&taro, with(pusher("two"), "kind", Value::Null)).await.ok();
    assert_eq!(taro.get("/pushers").await.ok(), json!({ "pushers": [other] }));
    set(&taro, with(other, "kind", Value::Null)).await.ok();
    assert_eq!(keys_of(&taro).await, [""; 0]);

    for (key, value) in [
        ("pushkey", json!("x".repeat(513))),
        ("app_id", json!("x".repeat(65))),
        ("lang", json!("x".repeat(20_000))),
    ] {
        set(&taro, with(pusher("x"), key, value)).await.fails(413, "M_TOO_LARGE");
    }
    let data = json!({ "url": "https://push.example.org/other" });
    for (key, value) in [("data", data), ("kind", json!("carrier-pigeon")), ("pushkey", json!(""))] {
        set(&taro, with(pusher("x"), key, value)).await.fails(400, "M_INVALID_PARAM");
    }
    for number in 0..50 {
        set(&taro, pusher(&number.to_string())).await.ok();
    }
    set(&taro, pusher("50")).await.fails(413, "M_TOO_LARGE");
    set(&taro, pusher("49")).await.ok();
}

/// The steps of Complement's packages msc3391 and msc3890.
#[tokio::test]
async fn account_data_is_taken_away_by_its_user_alone_and_with_the_device_that_it_is_about() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({})).await;
    for place in ["", &format!("/rooms/{room}")] {
        let data = format!("/user/{}{place}/account_data/org.example.test", hanako.id);
        hanako.put(&data, json!({ "test_data": 1 })).await.ok();
        let path = format!("/_matrix/client/unstable/org.matrix.msc3391{data}");
        taro.ask("DELETE", &path, Value::Null).await.fails(403, "M_FORBIDDEN");
        hanako.get(&data).await.ok();
        hanako.ask("DELETE", &path, Value::Null).await.ok();
        hanako.get(&data).await.fails(404, "M_NOT_FOUND");
        hanako.put(&data, json!({ "test_data": 1 })).await.ok();
        hanako.put(&data, json!({})).await.ok();
        hanako.get(&data).await.fails(404, "M_NOT_FOUND");
        let managed = format!("/_matrix/client/unstable/org.matrix.msc3391/user/{}/account_data", hanako.id);
        hanako.ask("DELETE", &format!("{managed}/m.push_rules"), Value::Null).await.fails(405, "M_BAD_JSON");
    }

    let kind = "org.matrix.msc3890.local_notification_settings";
    let body = json!({ "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": "hanako" } });
    let session = town.ask("POST", "/_matrix/client/v3/login", body).await.ok();
    let other = town.person("hs1", &session);
    let data = format!("/user/{}/account_data/{kind}.{}", hanako.id, other.device);
    hanako.put(&data, json!({ "is_silenced": true })).await.ok();
    hanako.get(&data).await.ok();
    other.post("/logout", json!({})).await.ok();
    hanako.get(&data).await.fails(404, "M_NOT_FOUND");
}
