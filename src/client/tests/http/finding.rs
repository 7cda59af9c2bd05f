//! Finding people and rooms.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Colleagues, FoundColleagues, Unanswered};
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json};

use crate::town::{PASSWORD, Person, Town};

async fn people(person: &Person<'_>, term: &str) -> Vec<String> {
    let answer = person.post("/user_directory/search", json!({ "search_term": term })).await.ok();
    let results = answer["results"].as_array().unwrap();
    results.iter().map(|user| user["user_id"].as_str().unwrap().to_owned()).collect()
}

async fn call_oneself(person: &Person<'_>, name: &str) {
    let path = format!("/profile/{}/displayname", person.id);
    person.put(&path, json!({ "displayname": name })).await.ok();
}

async fn rooms(person: &Person<'_>, term: &str) -> usize {
    let body = json!({ "filter": { "generic_search_term": term } });
    person.post("/publicRooms", body).await.ok()["chunk"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_user_directory_finds_names_however_they_are_written() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "invite": [taro.id] })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    for (name, terms) in [
        ("山田　ガク", &["か\u{3099}く", "がく", "ｶﾞｸ", "山田が"][..]),
        ("防災 ボウサイ係", &["ﾎﾞｳｻｲ", "ぼうさい"]),
        ("AB課", &["ＡＢ", "ａｂ課"]),
        ("髙橋 龍ヶ崎", &["高橋", "龍ケ崎"]),
    ] {
        call_oneself(&taro, name).await;
        for term in terms {
            assert_eq!(people(&hanako, term).await, [taro.id.as_str()], "{name} {term}");
        }
        assert!(people(&hanako, "西田").await.is_empty());
    }
    let profile = hanako.get(&format!("/profile/{}/displayname", taro.id)).await.ok();
    assert_eq!(profile["displayname"], "髙橋 龍ヶ崎", "what is stored stays as it was written");
}

#[tokio::test]
async fn the_room_directory_finds_names_however_they_are_written() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let wishes = json!({ "visibility": "public", "name": "ボウサイ会議", "topic": "ＡＢＣサーバー" });
    hanako.create_room(wishes).await;
    for term in ["ﾎﾞｳｻｲ", "ぼうさい", "か\u{3099}", "abc", "サ‐バ", ""] {
        let expected = usize::from(!term.contains('か'));
        assert_eq!(rooms(&hanako, term).await, expected, "{term}");
    }
}

#[tokio::test]
async fn people_in_public_rooms_that_no_directory_lists_are_found() {
    let town = Town::new().await;
    let (hanako, taro, jiro) = (town.user("hanako").await, town.user("taro").await, town.user("jiro").await);
    let closed = jiro.create_room(json!({})).await;
    assert!(people(&hanako, "taro").await.is_empty());
    let room = taro.create_room(json!({ "preset": "public_chat", "visibility": "private" })).await;
    assert_eq!(people(&hanako, "taro").await, [taro.id.as_str()]);
    let rules = |rule: &str| json!({ "join_rule": rule });
    taro.put(&format!("/rooms/{room}/state/m.room.join_rules"), rules("invite")).await.ok();
    assert!(people(&hanako, "taro").await.is_empty());
    let readable = json!({ "history_visibility": "world_readable" });
    taro.put(&format!("/rooms/{room}/state/m.room.history_visibility"), readable).await.ok();
    assert_eq!(people(&hanako, "taro").await, [taro.id.as_str()]);
    assert!(people(&hanako, "jiro").await.is_empty(), "{closed} is closed");
}

#[tokio::test]
async fn people_in_ones_250th_room_are_found() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    for _ in 0..250 {
        hanako.create_room(json!({})).await;
    }
    let last = hanako.create_room(json!({ "invite": [taro.id] })).await;
    assert!(people(&hanako, "taro").await.is_empty());
    taro.post(&format!("/join/{last}"), json!({})).await.ok();
    assert_eq!(people(&hanako, "taro").await, [taro.id.as_str()]);
}

#[tokio::test]
async fn setting_a_picture_leaves_the_nickname_of_a_room_alone() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let (plain, special) = (hanako.create_room(json!({})).await, hanako.create_room(json!({})).await);
    let nick = json!({ "membership": "join", "displayname": "会計" });
    hanako.put(&format!("/rooms/{special}/state/m.room.member/{}", hanako.id), nick).await.ok();
    let path = format!("/profile/{}/avatar_url", hanako.id);
    hanako.put(&path, json!({ "avatar_url": "mxc://hs1/1" })).await.ok();

    // Rooms follow a moment later.
    let shown = async |room: &str| -> Value {
        loop {
            let member = hanako.get(&format!("/rooms/{room}/state/m.room.member/{}", hanako.id)).await.ok();
            if member["avatar_url"] == "mxc://hs1/1" {
                return member["displayname"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(shown(&special).await, "会計");
    assert_ne!(shown(&plain).await, "会計");
}

#[tokio::test]
async fn who_has_closed_the_account_is_found_no_more() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    call_oneself(&taro, "山田太郎").await;
    assert_eq!(people(&hanako, "太郎").await, [taro.id.as_str()]);
    call_oneself(&taro, "鈴木太郎").await;
    assert!(people(&hanako, "山田").await.is_empty());
    taro.post("/account/deactivate", json!({ "auth": taro.proof(PASSWORD) })).await.ok();
    for term in ["太郎", "鈴木", "taro", "hs1", ""] {
        assert!(people(&hanako, term).await.is_empty(), "{term}");
    }
}

#[tokio::test]
async fn of_many_people_the_likeliest_are_given_and_it_is_said_that_there_are_more() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let mut ids = Vec::new();
    for (localpart, name) in [("a", "佐藤山田"), ("b", "山田"), ("c", "佐藤 山田"), ("d", "佐藤")]
    {
        let person = town.user(localpart).await;
        person.post(&format!("/join/{room}"), json!({})).await.ok();
        call_oneself(&person, name).await;
        ids.push(person.id.to_string());
    }
    assert_eq!(people(&hanako, "山田").await, [&ids[1][..], &ids[2], &ids[0]]);
    let body = json!({ "search_term": "山田", "limit": 2 });
    let answer = hanako.post("/user_directory/search", body).await.ok();
    assert_eq!((answer["results"].as_array().unwrap().len(), &answer["limited"]), (2, &json!(true)));
    let body = json!({ "search_term": "山田", "limit": 3 });
    let answer = hanako.post("/user_directory/search", body).await.ok();
    assert_eq!((answer["results"].as_array().unwrap().len(), &answer["limited"]), (3, &json!(false)));
}

/// Everybody of `hs1` has the same colleague and himself; too many look for 「混雑」.
struct SameColleagues;

#[async_trait]
impl Colleagues for SameColleagues {
    async fn find(&self, caller: &UserId, text: &str, most: usize) -> Result<FoundColleagues, Unanswered> {
        match text {
            "混雑" => return Err(Unanswered::Crowded),
            "故障" => return Err(Unanswered::Failed("a reason for the log alone".into())),
            _ => {}
        }
        let jiro: OwnedUserId = "@jiro:hs1".try_into().unwrap();
        let all = [(jiro, "次郎(防災課)".to_owned()), (caller.to_owned(), "自分(防災課)".to_owned())];
        let people = all.into_iter().take(most).collect();
        Ok(FoundColleagues { people, limited: most < 2 })
    }
}

#[tokio::test]
async fn colleagues_come_first_and_whoever_is_found_twice_is_shown_once() {
    let town = Town::with_colleagues(Arc::new(SameColleagues)).await;
    let (hanako, taro, jiro) = (town.user("hanako").await, town.user("taro").await, town.user("jiro").await);
    let room = hanako.create_room(json!({ "invite": [taro.id, jiro.id] })).await;
    for guest in [&taro, &jiro] {
        guest.post(&format!("/join/{room}"), json!({})).await.ok();
        call_oneself(guest, "次郎").await;
    }
    let ask = async |limit: u32| {
        let body = json!({ "search_term": "次郎", "limit": limit });
        let answer = hanako.post("/user_directory/search", body).await.ok();
        let results = answer["results"].as_array().unwrap().clone();
        let shown = results.iter().map(|user| {
            (user["user_id"].as_str().unwrap().to_owned(), user["display_name"].as_str().unwrap().to_owned())
        });
        (shown.collect::<Vec<_>>(), answer["limited"].as_bool().unwrap())
    };
    let said = |id: &str, name: &str| (id.to_owned(), name.to_owned());
    let all =
        [said("@jiro:hs1", "次郎(防災課)"), said("@hanako:hs1", "自分(防災課)"), said("@taro:hs1", "次郎")];
    assert_eq!(ask(50).await, (all.to_vec(), false));
    assert_eq!(ask(2).await, (all[..2].to_vec(), true));
    assert_eq!(ask(1).await, (all[..1].to_vec(), true));
    let search =
        async |text: &str| hanako.post("/user_directory/search", json!({ "search_term": text })).await;
    assert!(search("混雑").await.fails(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].is_u64());
    let failed = search("故障").await.fails(500, "M_UNKNOWN");
    assert!(!failed.to_string().contains("reason"), "{failed}");
}
