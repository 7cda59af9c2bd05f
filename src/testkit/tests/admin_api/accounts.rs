//! Users, their devices, and registration tokens.

use http::Method;
use serde_json::{Value, json};
use testkit::{Net, Preset};

use crate::{V1, V2, administrator, ask, ask_with_more, escaped, get, must, refused};

fn names(answer: &Value) -> Vec<&str> {
    let users = answer["users"].as_array().unwrap().iter();
    users.map(|user| user["name"].as_str().unwrap().split(':').next().unwrap()).collect()
}

#[tokio::test]
async fn a_list_of_users_is_paged_ordered_and_filtered() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    for name in ["cc", "aa", "bb"] {
        let user = server.user_of("kanazawa.test", name).await;
        let shown = json!({ "displayname": format!("{}なまえ", name.to_uppercase()) });
        user.call(
            Method::PUT,
            &format!("/profile/{}/displayname", escaped(user.id().as_str())),
            Some(&shown),
        )
        .await;
    }
    server.user_of("wajima.test", "elsewhere").await;
    let guest = server.guest().await;
    let list = async |query: &str| get(&admin, &format!("{V2}/users?{query}")).await;

    let first = list("from=0&limit=2&guests=false").await;
    assert_eq!((names(&first), &first["total"]), (vec!["@aa", "@admin"], &json!(4)));
    assert_eq!(first["next_token"], "2");
    let second = list("from=2&limit=2&guests=false").await;
    assert_eq!((names(&second), second.get("next_token")), (vec!["@bb", "@cc"], None));
    assert_eq!(names(&list("dir=b&guests=false").await), ["@cc", "@bb", "@admin", "@aa"]);
    assert_eq!(names(&list("order_by=displayname&dir=b&limit=2&guests=false").await).len(), 2);
    assert_eq!(
        names(&list(&format!("name={}&order_by=displayname", escaped("なまえ"))).await),
        ["@aa", "@bb", "@cc"]
    );
    assert_eq!(names(&list("user_id=%40a&guests=false").await), ["@aa", "@admin"]);
    assert_eq!(names(&list("admins=true").await), ["@admin"]);
    assert!(names(&list("").await).contains(&guest.id().as_str().split(':').next().unwrap()));
    assert_eq!(first["users"][0]["displayname"], "AAなまえ");
    assert_eq!(names(&list("user_id=%40AA&guests=false").await), ["@aa"]);
    assert!(first["users"][0].get("last_seen_ts").is_some());
    assert_eq!(names(&list("order_by=last_seen_ts&guests=false").await).len(), 4);

    let path = |id: &str| format!("{V2}/users/{}", escaped(id));
    must(&admin, Method::PUT, &path("@aa:kanazawa.test"), Some(json!({ "locked": true }))).await;
    must(&admin, Method::PUT, &path("@bb:kanazawa.test"), Some(json!({ "deactivated": true }))).await;
    assert_eq!(names(&list("guests=false").await), ["@admin", "@cc"]);
    assert_eq!(names(&list("guests=false&locked=true&deactivated=true").await).len(), 4);
    let closed = get(&admin, "/_synapse/admin/v3/users?deactivated=true").await;
    assert_eq!(names(&closed), ["@bb"]);

    for bad in ["limit=-1", "from=x", "order_by=nothing", "dir=x", &format!("name={}", "a".repeat(300))] {
        refused(&admin, Method::GET, &format!("{V2}/users?{bad}"), None, (400, "M_INVALID_PARAM")).await;
    }
}

#[tokio::test]
async fn an_account_is_made_changed_and_closed() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let path = format!("{V2}/users/{}", escaped("@taro:kanazawa.test"));
    let made = json!({ "password": "long enough words", "displayname": "太郎", "admin": false });
    let (status, answer) = ask(&admin, Method::PUT, &path, Some(made)).await;
    assert_eq!((status.as_u16(), &answer["displayname"]), (201, &json!("太郎")), "{answer}");
    assert_eq!((&answer["admin"], &answer["deactivated"]), (&json!(false), &json!(false)));
    let log_in = json!({
        "type": "m.login.password", "password": "long enough words",
        "identifier": { "type": "m.id.user", "user": "taro" },
    });
    admin.call(Method::POST, "/login", Some(&log_in)).await;

    // What a tool has read, it sends back whole, with what it changes.
    let mut whole = get(&admin, &path).await;
    whole["displayname"] = json!("たろう");
    whole["avatar_url"] = json!("mxc://kanazawa.test/picture");
    // Tools send back all that they were told.
    let (_, changed) = ask_with_more(&admin, Method::PUT, &path, Some(whole)).await;
    assert_eq!(
        (&changed["displayname"], changed["name"].as_str().unwrap()),
        (&json!("たろう"), "@taro:kanazawa.test")
    );
    assert_eq!(changed["avatar_url"], "mxc://kanazawa.test/picture");
    let gone = must(&admin, Method::PUT, &path, Some(json!({ "displayname": "", "avatar_url": "" }))).await;
    assert_eq!((&gone["displayname"], &gone["avatar_url"]), (&Value::Null, &Value::Null));

    must(&admin, Method::PUT, &path, Some(json!({ "admin": true }))).await;
    assert_eq!(
        get(&admin, &format!("{V1}/users/{}/admin", escaped("@taro:kanazawa.test"))).await["admin"],
        true
    );
    for body in [
        json!({ "locked": true }),
        json!({ "user_type": "bot" }),
        json!({ "threepids": [{ "medium": "msisdn", "address": "81300000000" }] }),
        json!({ "external_ids": [{ "auth_provider": "a", "external_id": "" }] }),
        json!({ "avatar_url": "https://example.org/" }),
    ] {
        refused(&admin, Method::PUT, &path, Some(body), (400, "M_INVALID_PARAM")).await;
    }
    refused(&admin, Method::PUT, &path, Some(json!({ "password": "short" })), (400, "M_WEAK_PASSWORD")).await;
    let own = format!("{V2}/users/{}", escaped(admin.id().as_str()));
    refused(&admin, Method::PUT, &own, Some(json!({ "admin": false })), (400, "M_UNKNOWN")).await;

    let close = format!("{V1}/deactivate/{}", escaped("@taro:kanazawa.test"));
    let answer = must(&admin, Method::POST, &close, Some(json!({ "erase": true }))).await;
    assert_eq!(answer, json!({ "id_server_unbind_result": "success" }));
    let closed = get(&admin, &path).await;
    assert_eq!((&closed["deactivated"], &closed["erased"]), (&json!(true), &json!(true)));
    let listed = get(&admin, &format!("{V2}/users?deactivated=true&name=taro")).await;
    assert_eq!(listed["users"][0]["erased"], true);
    // What was erased stays closed.
    let open = json!({ "deactivated": false });
    refused(&admin, Method::PUT, &path, Some(open), (403, "M_USER_DEACTIVATED")).await;
    let other = format!("{V2}/users/{}", escaped("@Taro2:kanazawa.test"));
    must(&admin, Method::PUT, &format!("{V2}/users/{}", escaped("@taro2:kanazawa.test")), Some(json!({})))
        .await;
    refused(&admin, Method::GET, &other, None, (404, "M_NOT_FOUND")).await;
    refused(&admin, Method::PUT, &other, Some(json!({})), (400, "M_INVALID_USERNAME")).await;
}

#[tokio::test]
async fn a_password_that_is_set_ends_sessions_unless_they_are_to_stay() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let taro = server.user("taro").await;
    let path = format!("{V1}/reset_password/{}", escaped(taro.id().as_str()));
    let stay = json!({ "new_password": "another long word", "logout_devices": false });
    must(&admin, Method::POST, &path, Some(stay)).await;
    taro.call(Method::GET, "/account/whoami", None).await;
    must(&admin, Method::POST, &path, Some(json!({ "new_password": "a third long word" }))).await;
    assert!(taro.try_call(Method::GET, "/account/whoami", None).await.is_err());
}

#[tokio::test]
async fn who_is_made_administrator_or_is_no_more_is_so_in_every_session_at_once() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let taro = server.user("taro").await;
    let version = format!("{V1}/registration_tokens");
    refused(&taro, Method::GET, &version, None, (403, "M_FORBIDDEN")).await;
    let path = format!("{V1}/users/{}/admin", escaped(taro.id().as_str()));
    must(&admin, Method::PUT, &path, Some(json!({ "admin": true }))).await;
    get(&taro, &version).await;
    // Who administers is not locked, and who is locked does not administer.
    let suspend = format!("{V1}/suspend/{}", escaped(taro.id().as_str()));
    refused(&admin, Method::PUT, &suspend, Some(json!({ "suspend": true })), (403, "M_FORBIDDEN")).await;
    must(&admin, Method::PUT, &path, Some(json!({ "admin": false }))).await;
    refused(&taro, Method::GET, &version, None, (403, "M_FORBIDDEN")).await;
    must(&admin, Method::PUT, &suspend, Some(json!({ "suspend": true }))).await;
    refused(&admin, Method::PUT, &path, Some(json!({ "admin": true })), (403, "M_FORBIDDEN")).await;
    let own = format!("{V1}/users/{}/admin", escaped(admin.id().as_str()));
    refused(&admin, Method::PUT, &own, Some(json!({ "admin": false })), (400, "M_UNKNOWN")).await;
}

#[tokio::test]
async fn what_is_known_of_a_user_is_shown() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let taro = server.user("taro").await;
    let room = crate::open_room(&taro, "広場").await;
    let left = crate::open_room(&taro, "前の広場").await;
    taro.leave(&left).await;
    taro.set_tag(&room, "m.favourite").await;
    let user = escaped(taro.id().as_str());
    let of = async |what: &str| get(&admin, &format!("{V1}/users/{user}/{what}")).await;
    assert_eq!(of("joined_rooms").await, json!({ "joined_rooms": [room], "total": 1 }));
    let memberships = of("memberships").await;
    assert_eq!(memberships["memberships"][room.as_str()], "join");
    assert_eq!(memberships["memberships"][left.as_str()], "leave");
    let data = of("accountdata").await;
    assert!(data["account_data"]["global"]["m.push_rules"].is_object());
    assert!(data["account_data"]["rooms"][room.as_str()]["m.tag"].is_object());
    assert_eq!(of("pushers").await, json!({ "pushers": [], "total": 0 }));
    let whois = get(&admin, &format!("{V1}/whois/{user}")).await;
    assert!(whois["devices"][""]["sessions"][0]["connections"].is_array());
    let available = async |name: &str| {
        ask(&admin, Method::GET, &format!("{V1}/username_available?username={name}"), None).await
    };
    assert_eq!(available("jiro").await.1, json!({ "available": true }));
    assert_eq!(available("taro").await.1["errcode"], "M_USER_IN_USE");

    let devices = format!("{V2}/users/{user}/devices");
    taro.another_device().await;
    let third = taro.another_device().await;
    assert_eq!(get(&admin, &devices).await["total"], 3);
    let one = format!("{devices}/{}", taro.device_id());
    must(&admin, Method::PUT, &one, Some(json!({ "display_name": "窓口の端末" }))).await;
    assert_eq!(get(&admin, &one).await["display_name"], "窓口の端末");
    must(&admin, Method::DELETE, &one, None).await;
    assert!(taro.try_call(Method::GET, "/account/whoami", None).await.is_err());
    refused(&admin, Method::GET, &one, None, (404, "M_NOT_FOUND")).await;
    let both = json!({ "devices": [third.device_id(), "NONE"] });
    must(&admin, Method::POST, &format!("{V2}/users/{user}/delete_devices"), Some(both)).await;
    assert_eq!(get(&admin, &devices).await["total"], 1);
}

#[tokio::test]
async fn a_registration_token_is_made_changed_and_removed() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let other = administrator(&server, "wajima.test", "other").await;
    let new = format!("{V1}/registration_tokens/new");
    let sakura = format!("{V1}/registration_tokens/sakura");
    let made = must(&admin, Method::POST, &new, Some(json!({ "token": "sakura", "uses_allowed": 2 }))).await;
    let shown =
        json!({ "token": "sakura", "uses_allowed": 2, "pending": 0, "completed": 0, "expiry_time": null });
    assert_eq!(made, shown);
    assert_eq!(get(&admin, &sakura).await, shown);
    let chosen = must(&admin, Method::POST, &new, Some(json!({ "length": 20 }))).await;
    assert_eq!(chosen["token"].as_str().unwrap().len(), 20);
    for body in [
        json!({ "token": "sakura" }),
        json!({ "token": "さくら" }),
        json!({ "length": 65 }),
        json!({ "expiry_time": 1 }),
        json!({ "expiry_time": 9_007_199_254_740_991_u64 }),
    ] {
        refused(&admin, Method::POST, &new, Some(body), (400, "M_INVALID_PARAM")).await;
    }
    let changed = must(&admin, Method::PUT, &sakura, Some(json!({ "uses_allowed": 0 }))).await;
    assert_eq!(changed["uses_allowed"], 0);
    let valid = get(&admin, &format!("{V1}/registration_tokens?valid=false")).await;
    assert_eq!(valid["registration_tokens"][0]["token"], "sakura");
    let unlimited = must(&admin, Method::PUT, &sakura, Some(json!({ "uses_allowed": null }))).await;
    assert_eq!(unlimited["uses_allowed"], Value::Null);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        refused(&other, method, &sakura, Some(json!({})), (404, "M_NOT_FOUND")).await;
    }
    must(&admin, Method::DELETE, &sakura, None).await;
    refused(&admin, Method::GET, &sakura, None, (404, "M_NOT_FOUND")).await;
}

#[tokio::test]
async fn what_is_wished_of_an_account_is_done_as_a_whole_or_not_at_all() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let taro = server.user("taro").await;
    let path = format!("{V2}/users/{}", escaped(taro.id().as_str()));
    let before = get(&admin, &path).await;
    for (body, as_said) in [
        (json!({ "displayname": "別人", "locked": true, "password": "short" }), (400, "M_WEAK_PASSWORD")),
        (json!({ "displayname": "別人", "admin": true, "suspended": true }), (400, "M_INVALID_PARAM")),
        (json!({ "suspended": true, "displayname": "長".repeat(400) }), (400, "M_INVALID_PARAM")),
        (
            json!({ "suspended": true, "threepids": [{ "medium": "email", "address": "no address" }] }),
            (400, "M_INVALID_PARAM"),
        ),
        (
            json!({ "locked": true, "external_ids": vec![json!({ "auth_provider": "a", "external_id": "" })] }),
            (400, "M_INVALID_PARAM"),
        ),
    ] {
        refused(&admin, Method::PUT, &path, Some(body), as_said).await;
        assert_eq!(get(&admin, &path).await, before);
    }
    let all = json!({
        "displayname": "太郎", "suspended": true, "password": "quite another word", "logout_devices": false,
        "external_ids": [{ "auth_provider": "https://id.test", "external_id": "職員/1" }],
    });
    let after = must(&admin, Method::PUT, &path, Some(all)).await;
    assert_eq!((&after["displayname"], &after["suspended"]), (&json!("太郎"), &json!(true)));
    assert_eq!(after["external_ids"][0]["external_id"], "職員/1");
    taro.call(Method::GET, "/account/whoami", None).await;
    // Who is locked comes to power by the same wish that unlocks him.
    must(&admin, Method::PUT, &path, Some(json!({ "locked": true }))).await;
    let risen = json!({ "locked": false, "suspended": false, "admin": true });
    assert_eq!(must(&admin, Method::PUT, &path, Some(risen)).await["admin"], true);

    // Of guests there is no password.
    let guest = format!("{V2}/users/{}", escaped(server.guest().await.id().as_str()));
    let password = json!({ "password": "long enough words" });
    refused(&admin, Method::PUT, &guest, Some(password), (403, "M_FORBIDDEN")).await;
}

#[tokio::test]
async fn an_account_can_begin_closed_or_locked_and_with_its_ways_in() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let path = |name: &str| format!("{V2}/users/{}", escaped(&format!("@{name}:kanazawa.test")));
    let log_in = async |name: &str| {
        let user = json!({ "type": "m.id.user", "user": name });
        let body = json!({ "type": "m.login.password", "password": "long enough words", "identifier": user });
        let (status, answer) = ask(&admin, Method::POST, "/_matrix/client/v3/login", Some(body)).await;
        (status.as_u16(), answer["errcode"].as_str().unwrap_or_default().to_owned())
    };
    let closed = json!({ "password": "long enough words", "deactivated": true, "displayname": "閉" });
    let (status, answer) = ask(&admin, Method::PUT, &path("heisa"), Some(closed)).await;
    assert_eq!((status.as_u16(), &answer["deactivated"]), (201, &json!(true)), "{answer}");
    assert_eq!(log_in("heisa").await.0, 403);
    // It was never open.
    let open = json!({ "deactivated": false });
    refused(&admin, Method::PUT, &path("heisa"), Some(open), (403, "M_USER_DEACTIVATED")).await;
    let taken = format!("{V1}/username_available?username=heisa");
    refused(&admin, Method::GET, &taken, None, (400, "M_USER_IN_USE")).await;

    let identity = json!([{ "auth_provider": "https://id.test", "external_id": "1" }]);
    let locked = json!({
        "password": "long enough words", "locked": true, "external_ids": identity,
        "avatar_url": "mxc://kanazawa.test/picture",
    });
    let (status, answer) = ask(&admin, Method::PUT, &path("kagi"), Some(locked)).await;
    assert_eq!((status.as_u16(), &answer["locked"]), (201, &json!(true)), "{answer}");
    assert_eq!(
        (&answer["external_ids"], &answer["avatar_url"]),
        (&identity, &json!("mxc://kanazawa.test/picture"))
    );
    assert_eq!(log_in("kagi").await, (401, "M_USER_LOCKED".to_owned()));
    let owner = format!("{V1}/auth_providers/{}/users/1", escaped("https://id.test"));
    assert_eq!(get(&admin, &owner).await["user_id"], "@kagi:kanazawa.test");

    // What is one's is no other's; and the list is the whole list.
    let stolen = json!({ "external_ids": identity });
    refused(&admin, Method::PUT, &path("other"), Some(stolen), (400, "M_INVALID_PARAM")).await;
    refused(&admin, Method::GET, &path("other"), None, (404, "M_NOT_FOUND")).await;
    let none = must(&admin, Method::PUT, &path("kagi"), Some(json!({ "external_ids": [] }))).await;
    assert_eq!(none["external_ids"], json!([]));
    refused(&admin, Method::GET, &owner, None, (404, "M_NOT_FOUND")).await;
}

#[tokio::test]
async fn a_closed_account_is_opened_again_within_a_week_with_another_password() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = taro.create_room(Preset::PublicChat).await;
    hanako.join(&room, "kanazawa.test").await;
    let path = format!("{V2}/users/{}", escaped(hanako.id().as_str()));
    must(&admin, Method::PUT, &path, Some(json!({ "displayname": "山田 花子" }))).await;
    must(&admin, Method::PUT, &path, Some(json!({ "deactivated": true }))).await;
    // Nothing else comes with it, and nothing is done by half.
    let both = json!({ "deactivated": false, "displayname": "別人" });
    refused(&admin, Method::PUT, &path, Some(both), (400, "M_INVALID_PARAM")).await;
    let open = json!({ "deactivated": false, "password": "another long word" });
    let opened = async {
        loop {
            let (status, answer) = ask(&admin, Method::PUT, &path, Some(open.clone())).await;
            if status.as_u16() == 200 {
                break answer;
            }
            // It is still leaving its rooms.
            assert_eq!(status.as_u16(), 403, "{answer}");
        }
    };
    let opened = tokio::time::timeout(std::time::Duration::from_secs(60), opened).await.unwrap();
    assert_eq!(
        (&opened["deactivated"], &opened["erased"], &opened["displayname"]),
        (&json!(false), &json!(false), &json!("山田 花子"))
    );
    let body = json!({
        "type": "m.login.password", "password": "another long word",
        "identifier": { "type": "m.id.user", "user": "hanako" },
    });
    let (status, session) = ask(&admin, Method::POST, "/_matrix/client/v3/login", Some(body)).await;
    assert_eq!(status.as_u16(), 200, "{session}");
    // Those who are in the room invite her.
    taro.invite(&room, hanako.id()).await;
    let listed = get(&admin, &format!("{V2}/users?user_id=hanako")).await;
    assert_eq!(listed["total"], 1, "{listed}");
    // Of one that is open there is nothing to be opened.
    let again = must(&admin, Method::PUT, &path, Some(json!({ "deactivated": false }))).await;
    assert_eq!(again["deactivated"], json!(false));
}

#[tokio::test]
async fn of_two_administrators_who_take_it_from_each_other_one_stays() {
    for way in ["demote", "deactivate"] {
        let net = Net::new();
        let server = net.server("kanazawa.test").await;
        let one = administrator(&server, "kanazawa.test", "one").await;
        let two = administrator(&server, "kanazawa.test", "two").await;
        let take = async |by: &testkit::User, from: &testkit::User| {
            let user = escaped(from.id().as_str());
            let (status, _) = match way {
                "demote" => {
                    let path = format!("{V1}/users/{user}/admin");
                    ask(by, Method::PUT, &path, Some(json!({ "admin": false }))).await
                }
                _ => ask(by, Method::POST, &format!("{V1}/deactivate/{user}"), Some(json!({}))).await,
            };
            status.is_success()
        };
        let (first, second) = tokio::join!(take(&one, &two), take(&two, &one));
        assert!(first != second, "{way}: {first} {second}");
        let left = if first { &one } else { &two };
        get(left, &format!("{V1}/registration_tokens")).await;
        // Nobody closes his own here.
        let own = format!("{V1}/deactivate/{}", escaped(left.id().as_str()));
        refused(left, Method::POST, &own, Some(json!({})), (400, "M_UNKNOWN")).await;
        let own = format!("{V2}/users/{}", escaped(left.id().as_str()));
        refused(left, Method::PUT, &own, Some(json!({ "deactivated": true })), (400, "M_UNKNOWN")).await;
    }
}

#[tokio::test]
async fn whoever_loses_what_he_may_while_his_body_comes_does_nothing_with_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let door = server.listen_in(None).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let taro = server.user("taro").await;
    let path = format!("{V1}/users/{}/admin", escaped(taro.id().as_str()));
    must(&admin, Method::PUT, &path, Some(json!({ "admin": true }))).await;
    let room = crate::open_room(&admin, "広場").await;
    let send = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/held", escaped(room.as_str()));
    let message = r#"{"msgtype":"m.text","body":"まだ話せる"}"#;
    for (put, body, lose, status) in [
        (path.clone(), r#"{"admin":true}"#, Some(json!({ "admin": false })), "403"),
        (send, message, None, "401"),
    ] {
        let mut wire = tokio::net::TcpStream::connect(door).await.unwrap();
        let head = format!(
            "PUT {put} HTTP/1.1\r\nhost: kanazawa.test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            taro.token(),
            body.len()
        );
        wire.write_all(head.as_bytes()).await.unwrap();
        // Who he is was looked at once his body is asked for.
        let mut told = [0; 25];
        wire.read_exact(&mut told).await.unwrap();
        assert!(told.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&told));
        match lose {
            Some(body) => drop(must(&admin, Method::PUT, &path, Some(body)).await),
            None => drop(taro.call(Method::POST, "/logout", None).await),
        }
        net.advance(std::time::Duration::from_secs(1));
        wire.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        wire.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    assert_eq!(get(&admin, &path).await["admin"], false);
}

#[tokio::test]
async fn lists_that_are_replaced_at_the_same_moment_leave_nothing_that_is_not_shown() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let taro = server.user("taro").await;
    let path = format!("{V2}/users/{}", escaped(taro.id().as_str()));
    let subject = |of: usize, number: usize| format!("{of}-{number}");
    let put = async |of: usize| {
        let all: Vec<Value> = (0..5)
            .map(|number| json!({ "auth_provider": "https://id.test", "external_id": subject(of, number) }))
            .collect();
        ask(&admin, Method::PUT, &path, Some(json!({ "external_ids": all }))).await.0.is_success()
    };
    let (one, two, three, four) = tokio::join!(put(1), put(2), put(3), put(4));
    assert!(one || two || three || four);
    let shown = get(&admin, &path).await["external_ids"].as_array().unwrap().len();
    assert_eq!(shown, 5);
    let owned = async || {
        let mut owned = 0;
        for of in 1..=4 {
            for number in 0..5 {
                let path = format!(
                    "{V1}/auth_providers/{}/users/{}",
                    escaped("https://id.test"),
                    subject(of, number)
                );
                owned += usize::from(ask(&admin, Method::GET, &path, None).await.0.is_success());
            }
        }
        owned
    };
    assert_eq!(owned().await, shown);
    must(&admin, Method::PUT, &path, Some(json!({ "external_ids": [] }))).await;
    assert_eq!(owned().await, 0);
}
