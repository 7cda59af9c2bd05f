//! Searching what was said, over HTTP: the steps of Complement's `TestSearch`, what users of other servers reported, and who
//! may find what. Each is asked while nothing is indexed yet, and again of the index.

use std::time::Duration;

use serde_json::{Value, json};

use super::town::{Person, Town};

/// Results of a page as they are looked at: the ids of the events.
fn ids(results: &Value) -> Vec<&str> {
    let results = results["results"].as_array().unwrap();
    results.iter().map(|hit| hit["result"]["event_id"].as_str().unwrap()).collect()
}

/// Searches with these criteria.
async fn search(person: &Person<'_>, term: &str, criteria: Value) -> Value {
    search_from(person, term, criteria, "").await
}

async fn search_from(person: &Person<'_>, term: &str, mut criteria: Value, from: &str) -> Value {
    criteria["search_term"] = term.into();
    let body = json!({ "search_categories": { "room_events": criteria } });
    let answer = person.post(&format!("/search?next_batch={from}"), body).await.ok();
    answer["search_categories"]["room_events"].clone()
}

/// Ids of what is found, newest first.
async fn find(person: &Person<'_>, term: &str) -> Vec<String> {
    let found = search(person, term, json!({ "order_by": "recent", "filter": { "limit": 100 } })).await;
    let ids: Vec<String> = ids(&found).into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(found["count"], ids.len(), "{found}");
    ids
}

/// Waits until all that was said is in the index.
async fn indexed(town: &Town) {
    town.search.start_indexing();
    let all = async {
        loop {
            let progress = town.search.progress().await.unwrap();
            if progress.done && progress.behind == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("it is never indexed");
}

async fn next_millisecond() {
    let clock = base::Clock::system();
    let now = clock.now();
    while clock.now() == now {
        tokio::task::yield_now().await;
    }
}

async fn edit(person: &Person<'_>, room: &str, txn: &str, of: &str, body: &str) -> String {
    let content = json!({
        "msgtype": "m.text", "body": format!("* {body}"),
        "m.new_content": { "msgtype": "m.text", "body": body },
        "m.relates_to": { "rel_type": "m.replace", "event_id": of },
    });
    let path = format!("/rooms/{room}/send/m.room.message/{txn}");
    person.put(&path, content).await.ok()["event_id"].as_str().unwrap().to_owned()
}

async fn redact(person: &Person<'_>, room: &str, event: &str) {
    let path = format!("/rooms/{room}/redact/{event}/r{}", &event[1..9]);
    person.put(&path, json!({ "reason": "testing" })).await.ok();
}

#[tokio::test]
async fn what_was_said_is_found_however_it_is_written() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako
        .create_room(json!({ "preset": "private_chat", "name": "防災ルーム", "topic": "髙﨑市と連絡" }))
        .await;
    let insects = hanako.say(&room, "insects", "ﾊﾞｯﾀと鈴虫の観察会").await;
    let server = hanako.say(&room, "server", "サーバの入替は３月です").await;
    let hello = hanako.say(&room, "hello", "hello, world").await;
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        for (term, wanted) in [
            ("バッタ", vec![&insects]),
            ("ばった", vec![&insects]),
            ("と鈴", vec![&insects]),
            ("虫", vec![&insects]),
            ("観察会　鈴虫", vec![&insects]),
            ("サーバー", vec![&server]),
            ("3月", vec![&server]),
            ("HELLO", vec![&hello]),
            ("wor", vec![&hello]),
            ("orld", vec![]),
            ("鈴虫 hello", vec![]),
            ("。", vec![]),
        ] {
            assert_eq!(
                find(&hanako, term).await,
                wanted.into_iter().cloned().collect::<Vec<_>>(),
                "{term} {is_indexed}"
            );
        }
        // Names and topics by their keys.
        assert_eq!(find(&hanako, "防災").await.len(), 1);
        assert_eq!(find(&hanako, "高崎").await.len(), 1);
        for (key, term, count) in [
            ("content.name", "防災", 1),
            ("content.body", "防災", 0),
            ("content.topic", "高崎", 1),
            ("content.topic", "鈴虫", 0),
            ("content.unknown", "鈴虫", 0),
        ] {
            let found = search(&hanako, term, json!({ "keys": [key] })).await;
            assert_eq!((&found["count"], ids(&found).len()), (&json!(count), count), "{key} {term}");
        }
        let found = search(&hanako, "ばった", json!({})).await;
        assert_eq!(found["highlights"], json!(["ﾊﾞｯﾀ"]));
        assert!(found["results"][0]["rank"].as_f64().unwrap() > 0.0);
        assert_eq!(found["results"][0]["result"]["room_id"], room);
        assert!(found["results"][0].get("context").is_none());
    }
}

#[tokio::test]
async fn what_is_around_a_result_is_told_with_who_said_it() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "private_chat", "invite": [taro.id] })).await;
    taro.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
    for number in 1..=7 {
        hanako.say(&room, &number.to_string(), &format!("Message number {number}")).await;
    }
    let gone = taro.say(&room, "gone", "taken back").await;
    redact(&hanako, &room, &gone).await;
    let criteria = json!({
        "keys": ["content.body"], "order_by": "recent", "include_state": true,
        "filter": { "limit": 1, "rooms": [room] },
        "event_context": { "before_limit": 2, "after_limit": 2, "include_profile": true },
    });
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        let found = search(&hanako, "Message 4", criteria.clone()).await;
        assert_eq!(found["count"], 1);
        assert!(found["next_batch"].is_string(), "a full page has one: {found}");
        let hit = &found["results"][0];
        assert_eq!(hit["result"]["content"]["body"], "Message number 4");
        let said = |side: &str| -> Vec<String> {
            let events = hit["context"][side].as_array().unwrap();
            events.iter().map(|event| event["content"]["body"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(said("events_before"), ["Message number 3", "Message number 2"]);
        assert_eq!(said("events_after"), ["Message number 5", "Message number 6"]);
        assert_eq!(hit["context"]["profile_info"][&hanako.id]["displayname"], "hanako");
        assert!(hit["context"]["profile_info"].get(&taro.id).is_none());
        let state = found["state"][&room].as_array().unwrap();
        assert!(state.iter().any(|event| event["type"] == "m.room.create"));
        assert!(state.iter().any(|event| event["state_key"] == hanako.id));
        // What was redacted is around nothing.
        let last = search(&hanako, "Message 7", criteria.clone()).await;
        let after = last["results"][0]["context"]["events_after"].as_array().unwrap();
        assert!(after.iter().all(|event| event["event_id"] != gone), "{after:?}");
        // A page goes on where it says.
        let context = &hit["context"];
        let path =
            format!("/rooms/{room}/messages?dir=b&limit=1&from={}", context["start"].as_str().unwrap());
        let page = hanako.get(&path).await.ok();
        assert_eq!(page["chunk"][0]["content"]["body"], "Message number 1");
    }
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end_in_both_orders() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "private_chat" })).await;
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.push(hanako.say(&room, &number.to_string(), &format!("Message number {number}")).await);
    }
    sent.reverse();
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        for order in ["recent", "rank"] {
            let criteria = json!({
                "keys": ["content.body"], "order_by": order, "filter": { "limit": 10, "rooms": [room] },
            });
            let (mut from, mut all) = (String::new(), Vec::new());
            for page in 0..3 {
                let found = search_from(&hanako, "Message", criteria.clone(), &from).await;
                assert_eq!(found["count"], 20, "{order} {page}");
                let ids: Vec<String> = ids(&found).into_iter().map(ToOwned::to_owned).collect();
                assert_eq!(ids.len(), if page < 2 { 10 } else { 0 }, "{order} {page} {is_indexed}");
                all.extend(ids);
                match found["next_batch"].as_str() {
                    Some(next) => from = next.to_owned(),
                    None => assert_eq!(page, 2),
                }
                // What comes meanwhile is on no page.
                if page == 0 && !is_indexed {
                    hanako.say(&room, &format!("later-{order}"), "nothing of that").await;
                }
            }
            if order == "recent" {
                assert_eq!(all, sent);
            }
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 20, "{order}");
        }
    }
    for bad in ["abc", "q1_", "s1_5", "q1_1_2_3"] {
        let body = json!({ "search_categories": { "room_events": { "search_term": "x" } } });
        hanako.post(&format!("/search?next_batch={bad}"), body).await.fails(400, "M_INVALID_PARAM");
    }
    let body = json!({ "search_categories": { "room_events": { "search_term": "x", "order_by": "size" } } });
    hanako.post("/search", body).await.fails(400, "M_INVALID_PARAM");
    let nothing = hanako.post("/search", json!({ "search_categories": {} })).await.ok();
    assert_eq!(nothing, json!({ "search_categories": {} }));
    hanako.post("/search", json!({})).await.fails(400, "M_BAD_JSON");
}

/// C50: a page is of those who are wanted, and the count too, however much newer there is of others.
#[tokio::test]
async fn a_filter_of_senders_fills_its_page_however_much_others_said_since() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "private_chat", "invite": [taro.id] })).await;
    taro.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
    let mut of_taro = Vec::new();
    for number in 0..12 {
        of_taro.push(taro.say(&room, &format!("t{number}"), &format!("避難所の件{number}")).await);
    }
    of_taro.reverse();
    for number in 0..40 {
        hanako.say(&room, &format!("h{number}"), &format!("避難所の返事{number}")).await;
    }
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        let criteria = json!({ "order_by": "recent", "filter": { "limit": 10, "senders": [taro.id] } });
        let found = search(&hanako, "避難所", criteria.clone()).await;
        assert_eq!(
            (ids(&found), &found["count"]),
            (of_taro[..10].iter().map(|it| &**it).collect(), &json!(12))
        );
        let next = found["next_batch"].as_str().unwrap();
        let rest = search_from(&hanako, "避難所", criteria, next).await;
        assert_eq!(
            (ids(&rest), &rest["count"]),
            (of_taro[10..].iter().map(|it| &**it).collect(), &json!(12))
        );
        let others = json!({ "filter": { "not_senders": [taro.id], "limit": 100 } });
        assert_eq!(search(&hanako, "避難所", others).await["count"], 40);
        let by_kind = json!({ "filter": { "types": ["m.room.topic"] } });
        assert_eq!(search(&hanako, "避難所", by_kind).await["count"], 0);

        let groups = json!({
            "order_by": "recent", "filter": { "limit": 45 },
            "groupings": { "group_by": [{ "key": "sender" }, { "key": "room_id" }, { "key": "x" }] },
        });
        let found = search(&hanako, "避難所", groups.clone()).await;
        let of = &found["groups"]["sender"][&taro.id];
        assert_eq!((of["results"].as_array().unwrap().len(), &of["order"]), (5, &json!(1)));
        assert_eq!(found["groups"]["room_id"][&room]["results"].as_array().unwrap().len(), 45);
        let next = of["next_batch"].as_str().unwrap();
        let rest = search_from(&hanako, "避難所", groups, next).await;
        assert_eq!(ids(&rest), of_taro[5..].iter().map(|it| &**it).collect::<Vec<_>>());
    }
}

/// C51, and Complement's step: rooms before a room are searched with it, as far as they are known here.
#[tokio::test]
async fn a_search_in_a_room_goes_on_in_those_whose_place_it_took() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let old = hanako.create_room(json!({ "preset": "private_chat", "room_version": "8" })).await;
    let before = hanako.say(&old, "before", "Message before upgrade").await;
    let new = hanako.post(&format!("/rooms/{old}/upgrade"), json!({ "new_version": "9" })).await.ok();
    let new = new["replacement_room"].as_str().unwrap().to_owned();
    let after = hanako.say(&new, "after", "Message after upgrade").await;
    let unknown = json!({ "predecessor": { "room_id": "!nowhere:elsewhere.test", "event_id": "$x" } });
    let orphan = hanako.create_room(json!({ "room_version": "9", "creation_content": unknown })).await;
    let alone = hanako.say(&orphan, "alone", "Message after upgrade").await;
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        for rooms in [vec![&old, &new], vec![&new]] {
            let criteria = json!({ "order_by": "recent", "filter": { "rooms": rooms } });
            let found = search(&hanako, "upgrade", criteria).await;
            assert_eq!((ids(&found), &found["count"]), (vec![&*after, &*before], &json!(2)), "{rooms:?}");
        }
        let criteria = json!({ "filter": { "rooms": [orphan] } });
        assert_eq!(ids(&search(&hanako, "upgrade", criteria).await), [&*alone]);
        let criteria = json!({ "filter": { "not_rooms": [orphan, old] } });
        assert_eq!(ids(&search(&hanako, "upgrade", criteria).await), [&*after]);
        let criteria = json!({ "filter": { "rooms": ["!other:hs1"] } });
        assert!(ids(&search(&hanako, "upgrade", criteria).await).is_empty());
    }
}

/// C52: by its new words, not by those that are no longer shown.
#[tokio::test]
async fn what_was_edited_is_found_by_what_it_says_now() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "private_chat", "invite": [taro.id] })).await;
    taro.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
    let event = hanako.say(&room, "event", "会議は火曜日").await;
    let first = edit(&hanako, &room, "e1", &event, "会議は水曜日").await;
    // Of two edits of one millisecond the greater id counts, whichever came first.
    next_millisecond().await;
    let second = edit(&hanako, &room, "e2", &event, "会議は金曜日").await;
    // Somebody else's is none.
    edit(&taro, &room, "e3", &event, "会議は土曜日").await;
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        for (term, wanted) in
            [("火曜日", false), ("水曜日", false), ("土曜日", false), ("金曜日", true), ("会議", true)]
        {
            let wanted = if wanted { vec![event.clone()] } else { Vec::new() };
            assert_eq!(find(&hanako, term).await, wanted, "{term} {is_indexed}");
        }
        let found = search(&hanako, "金曜日", json!({})).await;
        let replaced = &found["results"][0]["result"]["unsigned"]["m.relations"]["m.replace"];
        assert_eq!(replaced["event_id"], second, "{found}");
    }
    redact(&hanako, &room, &second).await;
    assert_eq!(find(&hanako, "水曜日").await, [&*event]);
    assert!(find(&hanako, "金曜日").await.is_empty());
    redact(&hanako, &room, &first).await;
    assert_eq!(find(&hanako, "火曜日").await, [&*event]);
}

/// C53.
#[tokio::test]
async fn what_was_redacted_is_found_in_neither_order_nor_counted_nor_highlighted() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "private_chat" })).await;
    let gone = hanako.say(&room, "gone", "This message is going to be ＲＥＤＡＣＴＥＤ").await;
    let stays = hanako.say(&room, "stays", "This message is not going to be redacted").await;
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        } else {
            redact(&hanako, &room, &gone).await;
        }
        for order in ["rank", "recent"] {
            let found = search(&hanako, "redacted", json!({ "order_by": order, "event_context": {} })).await;
            assert_eq!((ids(&found), &found["count"]), (vec![&*stays], &json!(1)), "{order}");
            assert_eq!(found["highlights"], json!(["redacted"]));
            let before = found["results"][0]["context"]["events_before"].as_array().unwrap();
            assert!(before.iter().all(|event| event["event_id"] != gone), "{before:?}");
        }
    }
    // What was indexed before it was redacted.
    redact(&hanako, &room, &stays).await;
    assert!(find(&hanako, "redacted").await.is_empty());
}

#[tokio::test]
async fn who_may_not_see_a_message_finds_nothing_of_it() {
    let town = Town::new().await;
    let (hanako, taro, jiro) = (town.user("hanako").await, town.user("taro").await, town.user("jiro").await);
    let visibility = |set: &str| {
        json!({
            "preset": "private_chat", "invite": [taro.id],
            "initial_state": [{
                "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": set },
            }],
        })
    };
    let mut found_by_taro = Vec::new();
    for (set, sees_before) in [("joined", 0), ("invited", 1), ("shared", 2)] {
        let room = hanako.create_room(visibility(set)).await;
        taro.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
        let mut said = vec![hanako.say(&room, "1", "秘密の会議").await];
        hanako.post(&format!("/rooms/{room}/invite"), json!({ "user_id": taro.id })).await.ok();
        said.push(hanako.say(&room, "2", "秘密の会議").await);
        taro.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
        said.push(hanako.say(&room, "3", "秘密の会議").await);
        taro.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
        hanako.say(&room, "4", "秘密の会議").await;
        found_by_taro.extend(said.into_iter().skip(2 - sees_before));
    }
    found_by_taro.reverse();
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        // He left; what he could see then he finds.
        assert_eq!(find(&taro, "秘密").await, found_by_taro, "{is_indexed}");
        assert_eq!(find(&hanako, "秘密").await.len(), 12);
        assert!(find(&jiro, "秘密").await.is_empty());
        let rooms = taro.get("/joined_rooms").await.ok();
        assert_eq!(rooms["joined_rooms"], json!([]));
    }
}

#[tokio::test]
async fn rooms_that_were_forgotten_senders_who_are_ignored_and_what_is_encrypted_are_not_found() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "private_chat", "invite": [taro.id] })).await;
    taro.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
    let secret = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "住民票の写し" });
    hanako.put(&format!("/rooms/{room}/send/m.room.encrypted/x"), secret).await.ok();
    let event = hanako.say(&room, "1", "住民票の写し").await;
    for is_indexed in [false, true] {
        if is_indexed {
            indexed(&town).await;
        }
        assert_eq!(find(&taro, "住民票").await, [&*event]);
        let ignored = json!({ "ignored_users": { &hanako.id: {} } });
        let path = format!("/user/{}/account_data/m.ignored_user_list", taro.id);
        taro.put(&path, ignored).await.ok();
        assert!(find(&taro, "住民票").await.is_empty());
        taro.put(&path, json!({ "ignored_users": {} })).await.ok();
        assert_eq!(find(&taro, "住民票").await, [&*event]);
    }
    taro.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
    assert_eq!(find(&taro, "住民票").await, [&*event]);
    taro.post(&format!("/rooms/{room}/forget"), json!({})).await.ok();
    assert!(find(&taro, "住民票").await.is_empty());
}
