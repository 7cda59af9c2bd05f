//! To the letter: units of times, pages, words, lists that replace lists, as tools that were written for Synapse read and send them.

use std::time::Duration;

use account::NewUser;
use audit::Actor;
use http::Method;
use ruma::{OwnedUserId, ServerName};
use serde_json::{Value, json};
use testkit::{Net, Server, User};

use crate::{V1, V2, administrator, escaped, get, must, open_room, refused, rows, until};

fn user_at(id: &str) -> String {
    format!("{V2}/users/{}", escaped(id))
}

fn names(answer: &Value) -> Vec<&str> {
    answer["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect()
}

fn entry<'a>(answer: &'a Value, id: &str) -> &'a Value {
    answer["users"].as_array().unwrap().iter().find(|user| user["name"] == id).unwrap()
}

/// Accounts without a password, as an operator makes them.
async fn accounts(server: &Server, count: usize, shown: &str) -> Vec<OwnedUserId> {
    let accounts = server.look(|house| house.accounts.clone());
    let authority = <&ServerName>::try_from("kanazawa.test").unwrap();
    let mut made = Vec::new();
    for number in 0..count {
        let new = NewUser {
            localpart: format!("u{number:03}"),
            display_name: Some(shown.to_owned()),
            ..NewUser::default()
        };
        made.push(accounts.create_user(authority, new, &Actor::operator("test")).await.unwrap());
    }
    made
}

/// D1.
#[tokio::test]
async fn when_an_account_was_made_is_in_seconds_of_one_and_in_milliseconds_in_a_list() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    net.advance(Duration::from_millis(1_234));
    let before = net.now().millis();
    must(&admin, Method::PUT, &user_at("@taro:kanazawa.test"), Some(json!({}))).await;
    let after = net.now().millis();
    let one = get(&admin, &user_at("@taro:kanazawa.test")).await;
    let list = get(&admin, &format!("{V2}/users?name=taro")).await;
    let (seconds, millis) =
        (one["creation_ts"].as_u64().unwrap(), list["users"][0]["creation_ts"].as_u64().unwrap());
    assert!((before..=after).contains(&millis), "{before} {millis} {after}");
    assert_eq!(seconds, millis / 1_000);
    // Nobody consents to anything here, and nothing else is in its place.
    assert_eq!(one["consent_ts"], Value::Null);
}

/// D2 and D7.
#[tokio::test]
async fn who_is_locked_or_suspended_is_so_in_lists_and_alone() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    must(&admin, Method::PUT, &user_at(hanako.id().as_str()), Some(json!({ "locked": true }))).await;
    let list = get(&admin, &format!("{V2}/users?guests=false")).await;
    assert_eq!(names(&list), [admin.id().as_str(), taro.id().as_str()]);
    assert_eq!(get(&admin, &format!("{V2}/users?guests=false&locked=false")).await, list);
    let list = get(&admin, &format!("{V2}/users?guests=false&locked=true")).await;
    assert_eq!(list["total"], 3);
    let locked = |id: &str| entry(&list, id)["locked"].clone();
    assert_eq!((locked(hanako.id().as_str()), locked(taro.id().as_str())), (json!(true), json!(false)));
    let alone = get(&admin, &user_at(hanako.id().as_str())).await;
    assert_eq!((&alone["locked"], &alone["deactivated"]), (&json!(true), &json!(false)));

    let suspend = format!("{V1}/suspend/{}", escaped(taro.id().as_str()));
    for is in [true, false] {
        must(&admin, Method::PUT, &suspend, Some(json!({ "suspend": is }))).await;
        assert_eq!(get(&admin, &user_at(taro.id().as_str())).await["suspended"], is);
        let list = get(&admin, &format!("{V2}/users?guests=false")).await;
        assert_eq!(entry(&list, taro.id().as_str())["suspended"], is);
        assert_eq!(entry(&list, admin.id().as_str())["suspended"], false);
    }
}

/// D3.
#[tokio::test]
async fn a_page_of_users_says_how_many_there_are_and_where_the_next_one_begins_as_a_text() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    accounts(&server, 149, "職員").await;
    let list = async |query: &str| get(&admin, &format!("{V2}/users?{query}")).await;
    let first = list("from=0").await;
    assert_eq!((names(&first).len(), &first["total"]), (100, &json!(150)));
    assert_eq!(first["next_token"], json!("100"));
    let last = list("from=100").await;
    assert_eq!((names(&last).len(), &last["total"], last.get("next_token")), (50, &json!(150), None));
    let mut all = [names(&first), names(&last)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 150);
    let beyond = list("from=150").await;
    assert_eq!((names(&beyond).len(), &beyond["total"], beyond.get("next_token")), (0, &json!(150), None));
    // What an answer calls it is no parameter of the next question, and does nothing there.
    let (status, text) = admin.ask(Method::GET, &format!("{V2}/users?from=0&next_token=7"), None).await;
    assert_eq!((status.as_u16(), serde_json::from_str::<Value>(&text).unwrap()), (200, first));
}

/// D4.
#[tokio::test]
async fn a_list_is_ordered_by_the_words_that_there_are_and_others_are_told_which() {
    const WORDS: [&str; 11] = [
        "name",
        "is_guest",
        "admin",
        "user_type",
        "deactivated",
        "shadow_banned",
        "displayname",
        "avatar_url",
        "creation_ts",
        "last_seen_ts",
        "locked",
    ];
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    accounts(&server, 3, "職員").await;
    for word in WORDS {
        for direction in ["f", "b"] {
            let list = get(&admin, &format!("{V2}/users?order_by={word}&dir={direction}")).await;
            assert_eq!(names(&list).len(), 4, "{word} {direction}");
        }
    }
    for word in ["id", "is_encrypted", "Name", ""] {
        let path = format!("{V2}/users?order_by={word}");
        let (status, text) = admin.ask(Method::GET, &path, None).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status.as_u16(), &answer["errcode"]),
            (400, &json!("M_INVALID_PARAM")),
            "{word} {answer}"
        );
        let error = answer["error"].as_str().unwrap();
        assert!(WORDS.iter().all(|word| error.contains(word)), "{error}");
    }
}

/// W8: where all are alike, the order is the same from page to page and from reading to reading.
#[tokio::test]
async fn pages_of_those_who_are_alike_hold_each_once_and_are_the_same_when_they_are_read_again() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let mut made: Vec<String> =
        accounts(&server, 20, "山田 花子").await.into_iter().map(Into::into).collect();
    made.sort();
    for order in ["name", "displayname", "creation_ts", "last_seen_ts", "admin", "locked", "avatar_url"] {
        for direction in ["f", "b"] {
            let read = async || {
                let mut all = Vec::new();
                for from in [0, 10] {
                    let query = format!("name={}&order_by={order}&dir={direction}", escaped("山田"));
                    let page = get(&admin, &format!("{V2}/users?{query}&limit=10&from={from}")).await;
                    assert_eq!((names(&page).len(), &page["total"]), (10, &json!(20)));
                    all.extend(names(&page).into_iter().map(ToOwned::to_owned));
                }
                all
            };
            let (first, second) = (read().await, read().await);
            assert_eq!(first, second, "{order} {direction}");
            let mut each = first.clone();
            each.sort();
            assert_eq!(each, made, "{order} {direction}");
        }
    }
}

/// D5, and D10 of addresses.
#[tokio::test]
async fn a_list_of_addresses_replaces_the_whole_list_and_what_is_free_is_another_ones() {
    // Where mails are sent addresses are taken; none is sent of these.
    let net = Net::with_mail(1);
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let theirs = administrator(&server, "wajima.test", "theirs").await;
    let taro = server.user_of("kanazawa.test", "taro").await;
    let jiro = server.user_of("kanazawa.test", "jiro").await;
    let of = |all: &[&str]| -> Value {
        all.iter().map(|address| json!({ "medium": "email", "address": address })).collect()
    };
    let shown = |account: &Value| -> Vec<String> {
        let all = account["threepids"].as_array().unwrap();
        let mut all: Vec<String> = all.iter().map(|of| of["address"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    };
    let put = async |who: &User, body: Value| {
        shown(&must(&admin, Method::PUT, &user_at(who.id().as_str()), Some(body)).await)
    };
    let owner = |address: &str| format!("{V1}/threepid/email/users/{}", escaped(address));
    let (one, two) = ("taro@kanazawa.lg.jp", "taro.home@example.jp");
    assert_eq!(put(&taro, json!({ "threepids": of(&[one, two]) })).await, [two, one]);
    for address in [one, two] {
        assert_eq!(get(&admin, &owner(address)).await, json!({ "user_id": taro.id() }));
        refused(&theirs, Method::GET, &owner(address), None, (404, "M_NOT_FOUND")).await;
    }
    // What is his is not given to another one meanwhile.
    let same = json!({ "threepids": of(&[one]) });
    let (status, answer) =
        crate::ask(&admin, Method::PUT, &user_at(jiro.id().as_str()), Some(same.clone())).await;
    assert!(status.is_client_error(), "{status} {answer}");

    assert_eq!(put(&taro, json!({ "threepids": of(&[two]) })).await, [two]);
    refused(&admin, Method::GET, &owner(one), None, (404, "M_NOT_FOUND")).await;
    assert_eq!(put(&taro, json!({ "displayname": "太郎" })).await, [two]);
    assert_eq!(put(&jiro, same).await, [one]);
    assert_eq!(get(&admin, &owner(one)).await, json!({ "user_id": jiro.id() }));
    assert!(put(&taro, json!({ "threepids": [] })).await.is_empty());
    refused(&admin, Method::GET, &owner(two), None, (404, "M_NOT_FOUND")).await;
    refused(&admin, Method::GET, &owner("nobody@example.jp"), None, (404, "M_NOT_FOUND")).await;
    let telephone = format!("{V1}/threepid/msisdn/users/81762201111");
    refused(&admin, Method::GET, &telephone, None, (404, "M_NOT_FOUND")).await;
}

/// D10 of identities.
#[tokio::test]
async fn an_identity_with_a_slash_and_japanese_is_found_by_its_name_decoded_once() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let theirs = administrator(&server, "wajima.test", "theirs").await;
    let taro = server.user_of("kanazawa.test", "taro").await;
    let identity = json!({ "auth_provider": "https://id.test", "external_id": "職員/1" });
    must(&admin, Method::PUT, &user_at(taro.id().as_str()), Some(json!({ "external_ids": [identity] })))
        .await;
    let at = |provider: &str, id: &str| format!("{V1}/auth_providers/{provider}/users/{id}");
    let provider = escaped("https://id.test");
    let once = escaped("職員/1");
    assert_eq!(once, "%E8%81%B7%E5%93%A1%2F1");
    assert_eq!(get(&admin, &at(&provider, &once)).await, json!({ "user_id": taro.id() }));
    for wrong in [escaped(&once), escaped("職員/2"), escaped("職員")] {
        refused(&admin, Method::GET, &at(&provider, &wrong), None, (404, "M_NOT_FOUND")).await;
    }
    refused(&admin, Method::GET, &at(&escaped(&provider), &once), None, (404, "M_NOT_FOUND")).await;
    refused(&theirs, Method::GET, &at(&provider, &once), None, (404, "M_NOT_FOUND")).await;
}

/// D9.
#[tokio::test]
async fn a_token_is_for_no_uses_or_for_any_number_and_never_for_fewer_than_none() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (new, one) = (format!("{V1}/registration_tokens/new"), format!("{V1}/registration_tokens/none"));
    for (token, allowed) in [("none", json!(0)), ("any", Value::Null)] {
        let body = json!({ "token": token, "uses_allowed": allowed, "expiry_time": null });
        assert_eq!(must(&admin, Method::POST, &new, Some(body)).await["uses_allowed"], allowed);
    }
    let now = net.now().millis();
    for body in [
        json!({ "uses_allowed": -1 }),
        json!({ "uses_allowed": 4_294_967_296_u64 }),
        // In seconds, which is 1970.
        json!({ "expiry_time": now / 1_000 + 86_400 }),
        json!({ "expiry_time": now - 1 }),
        json!({ "expiry_time": -1 }),
    ] {
        let mut named = body.clone();
        named["token"] = json!("fewer");
        refused(&admin, Method::POST, &new, Some(named), (400, "M_INVALID_PARAM")).await;
        refused(&admin, Method::PUT, &one, Some(body), (400, "M_INVALID_PARAM")).await;
    }
    let later = json!({ "expiry_time": now + 86_400_000 });
    assert_eq!(must(&admin, Method::PUT, &one, Some(later)).await["expiry_time"], now + 86_400_000);
    refused(&admin, Method::GET, &format!("{V1}/registration_tokens/fewer"), None, (404, "M_NOT_FOUND"))
        .await;
}

/// D8: what became of a deletion is told as long as it is kept; only of one that failed there is a reason.
#[tokio::test]
async fn a_deletion_that_fails_says_why_and_one_that_does_not_says_nothing_and_both_for_days() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user("hanako").await;
    let at = |room: &ruma::RoomId, what: &str| format!("{V2}/rooms/{}{what}", escaped(room.as_str()));
    let (whole, half) = (open_room(&hanako, "全部").await, open_room(&hanako, "半分").await);
    for number in 0..20 {
        server.user(&format!("m{number}")).await.join(&half, "kanazawa.test").await;
    }
    refused(&admin, Method::DELETE, &at(&whole, ""), None, (400, "M_NOT_JSON")).await;
    let stays = json!({ "purge": false });
    let done = must(&admin, Method::DELETE, &at(&whole, ""), Some(stays.clone())).await;
    let status =
        |answer: &Value| format!("{V2}/rooms/delete_status/{}", answer["delete_id"].as_str().unwrap());
    let is_over = |_, answer: &Value| answer["status"] != "active";
    let told = until(&admin, &status(&done), is_over).await;
    assert_eq!((&told["status"], told.get("error")), (&json!("complete"), None));
    assert_eq!(told["shutdown_room"]["kicked_users"], json!([hanako.id()]));
    assert_eq!(told["shutdown_room"]["failed_to_kick_users"], json!([]));

    // The disk is full before all of them have left.
    let failed = must(&admin, Method::DELETE, &at(&half, ""), Some(stays.clone())).await;
    server.fill_disk();
    let why = until(&admin, &status(&failed), is_over).await;
    assert_eq!(why["status"], "failed", "{why}");
    assert!(!why["error"].as_str().unwrap().is_empty());
    assert_eq!(why["shutdown_room"]["kicked_users"], json!([]));
    server.make_room_on_disk().await;
    let again = must(&admin, Method::DELETE, &at(&half, ""), Some(stays)).await;
    assert_ne!(again, failed);
    let second = until(&admin, &status(&again), is_over).await;
    assert_eq!((&second["status"], second.get("error")), (&json!("complete"), None));
    assert!(get(&admin, &format!("{V1}/rooms/{}/members", escaped(half.as_str()))).await["total"] == 0);

    // Synapse forgets after a day; a tool that looks in the next morning is told here all the same.
    net.advance(Duration::from_secs(25 * 60 * 60));
    for (room, orders) in [(&whole, vec![(&done, &told)]), (&half, vec![(&failed, &why), (&again, &second)])]
    {
        let of_room = get(&admin, &at(room, "/delete_status")).await;
        assert_eq!(of_room["results"].as_array().unwrap().len(), orders.len());
        for (place, (known, told)) in orders.into_iter().enumerate() {
            assert_eq!(&get(&admin, &status(known)).await, told);
            assert_eq!(&of_room["results"][place], told);
        }
    }
}

/// X8.
#[tokio::test]
async fn nobody_is_made_moderator_where_nobody_of_ours_could_make_him_one() {
    let net = Net::new();
    let (server, other) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro, jiro) =
        (server.user("hanako").await, server.user("taro").await, other.user("jiro").await);
    let room = open_room(&jiro, "広場").await;
    hanako.join(&room, "wajima.test").await;
    let at = |what: &str| format!("{V1}/rooms/{}{what}", escaped(room.as_str()));
    // By their ids: how old they are is another number each time.
    let state = async || -> Vec<String> {
        let answer = get(&admin, &at("/state")).await;
        let all = answer["state"].as_array().unwrap().iter();
        all.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let before = state().await;
    let (_, after) = rows(&server, "kanazawa.test", store::Position::START).await;
    for user in [&hanako, &taro] {
        let body = json!({ "user_id": user.id() });
        let (status, answer) = crate::ask(&admin, Method::POST, &at("/make_room_admin"), Some(body)).await;
        assert_eq!((status.as_u16(), &answer["errcode"]), (400, &json!("M_UNKNOWN")), "{answer}");
        assert!(
            answer["error"].as_str().unwrap().contains("no user of this server has the power"),
            "{answer}"
        );
    }
    assert_eq!(state().await, before);
    let (new, _) = rows(&server, "kanazawa.test", after).await;
    assert!(!new.iter().any(|row| row.what == "room.grant_power"), "{new:?}");
    let invites = taro.call(Method::GET, "/sync?timeout=0", None).await["rooms"]["invite"].clone();
    assert!(invites.as_object().is_none_or(serde_json::Map::is_empty), "{invites}");
}
