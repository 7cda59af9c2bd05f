//! Rooms.

use http::Method;
use ruma::RoomId;
use serde_json::{Value, json};
use testkit::{Net, Preset, User};

use crate::{V1, V2, administrator, ask, escaped, get, must, open_room, refused, rows, until};

fn at(version: &str, room: &RoomId, what: &str) -> String {
    format!("{version}/rooms/{}{what}", escaped(room.as_str()))
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_str().unwrap()).collect()
}

/// What a user is in a room, as his own server says.
async fn is_in(user: &User, room: &RoomId) -> bool {
    let rooms = user.call(Method::GET, "/joined_rooms", None).await;
    rooms["joined_rooms"].as_array().unwrap().iter().any(|one| one == room.as_str())
}

#[tokio::test]
async fn a_list_of_rooms_is_paged_ordered_and_searched_and_shows_what_each_is() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let alias =
        json!({ "preset": "public_chat", "name": "広場", "room_alias_name": "hiroba", "topic": "話" });
    let square = hanako.create_room_with(&alias).await;
    let quiet = hanako.create_room(Preset::PrivateChat).await;
    taro.join(&square, "kanazawa.test").await;
    let list = async |query: &str| get(&admin, &format!("{V1}/rooms?{query}")).await;

    let all = list("").await;
    assert_eq!((ids(&all).len(), &all["total_rooms"], &all["offset"]), (2, &json!(2), &json!(0)));
    let first = list("limit=1&order_by=size").await;
    assert_eq!((ids(&first), &first["next_batch"]), (vec![square.as_str()], &json!(1)));
    let second = list("limit=1&order_by=size&from=1").await;
    assert_eq!((ids(&second), &second["prev_batch"]), (vec![quiet.as_str()], &json!(0)));
    assert_eq!(ids(&list(&format!("search_term={}", escaped("広"))).await), [square.as_str()]);
    assert_eq!(ids(&list("search_term=HIRO").await), [square.as_str()]);
    assert_eq!(ids(&list(&format!("search_term={}", escaped(quiet.as_str()))).await), [quiet.as_str()]);
    assert_eq!(ids(&list("empty_rooms=true").await).len(), 0);
    for by in [
        "name",
        "canonical_alias",
        "joined_members",
        "joined_local_members",
        "version",
        "creator",
        "encryption",
        "federatable",
        "public",
        "join_rules",
        "guest_access",
        "history_visibility",
        "state_events",
    ] {
        assert_eq!(ids(&list(&format!("order_by={by}&dir=b")).await).len(), 2, "{by}");
    }
    refused(&admin, Method::GET, &format!("{V1}/rooms?order_by=x"), None, (400, "M_INVALID_PARAM")).await;

    let shown = get(&admin, &at(V1, &square, "")).await;
    assert_eq!(
        (&shown["name"], &shown["topic"], &shown["joined_members"]),
        (&json!("広場"), &json!("話"), &json!(2))
    );
    assert_eq!(
        (&shown["joined_local_devices"], &shown["canonical_alias"]),
        (&json!(2), &json!("#hiroba:kanazawa.test"))
    );
    assert_eq!((&shown["creator"], &shown["tombstoned"]), (&json!(hanako.id()), &json!(false)));
    let members = get(&admin, &at(V1, &square, "/members")).await;
    assert_eq!(members, json!({ "members": [hanako.id(), taro.id()], "total": 2 }));
    let state = get(&admin, &at(V1, &square, "/state")).await;
    assert_eq!(state["state"].as_array().unwrap().len() as u64, shown["state_events"].as_u64().unwrap());
    let names = get(&admin, &at(V1, &square, "/state?type=m.room.name")).await;
    assert_eq!(names["state"][0]["content"]["name"], "広場");
    assert_eq!(get(&admin, &at(V1, &square, "/forward_extremities")).await["count"], 1);
    refused(
        &admin,
        Method::GET,
        &at(V1, RoomId::parse("!no:kanazawa.test").unwrap().as_ref(), ""),
        None,
        (404, "M_NOT_FOUND"),
    )
    .await;
}

#[tokio::test]
async fn what_was_said_is_read_and_the_log_tells_who_read_it() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user("hanako").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    let mut events = Vec::new();
    for word in ["一", "二", "三"] {
        events.push(hanako.send(&room, word).await);
    }
    let words = |chunk: &Value| -> Vec<String> {
        let bodies = chunk.as_array().unwrap().iter().filter_map(|event| event["content"]["body"].as_str());
        bodies.map(ToOwned::to_owned).collect()
    };
    let (_, before) = rows(&server, "kanazawa.test", store::Position::START).await;
    let page = get(&admin, &at(V1, &room, "/messages?dir=b&limit=2")).await;
    assert_eq!(words(&page["chunk"]), ["三", "二"]);
    let rest = get(
        &admin,
        &at(V1, &room, &format!("/messages?dir=b&limit=50&from={}", page["end"].as_str().unwrap())),
    )
    .await;
    assert_eq!((words(&rest["chunk"]), rest.get("end")), (vec!["一".to_owned()], None));
    let context =
        get(&admin, &at(V1, &room, &format!("/context/{}?limit=2", escaped(events[1].as_str())))).await;
    assert_eq!(
        (words(&context["events_before"]), words(&context["events_after"])),
        (vec!["一".to_owned()], vec!["三".to_owned()])
    );
    assert_eq!(context["event"]["content"]["body"], "二");
    let (read, _) = rows(&server, "kanazawa.test", before).await;
    let read: Vec<_> =
        read.iter().map(|row| (row.what.as_str(), row.who.as_str(), row.whom.as_str())).collect();
    assert_eq!(read, [("room.read", admin.id().as_str(), room.as_str()); 3]);
}

#[tokio::test]
async fn a_room_that_is_deleted_is_purged_where_nobody_else_has_to_do_with_it() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = open_room(&hanako, "広場").await;
    taro.join(&room, "kanazawa.test").await;
    let answer =
        must(&admin, Method::DELETE, &at(V2, &room, ""), Some(json!({ "block": true, "purge": true }))).await;
    let id = answer["delete_id"].as_str().unwrap();
    let status = format!("{V2}/rooms/delete_status/{id}");
    let done = until(&admin, &status, |_, answer| answer["status"] != "active").await;
    assert_eq!((&done["status"], &done["room_id"]), (&json!("complete"), &json!(room)), "{done}");
    let kicked = done["shutdown_room"]["kicked_users"].as_array().unwrap();
    assert_eq!(kicked.len(), 2);
    assert_eq!(get(&admin, &at(V2, &room, "/delete_status")).await["results"][0]["delete_id"], id);
    assert!(!is_in(&hanako, &room).await && !is_in(&taro, &room).await);
    refused(&admin, Method::GET, &at(V1, &room, ""), None, (404, "M_NOT_FOUND")).await;
    assert_eq!(get(&admin, &at(V1, &room, "/block")).await, json!({ "block": true, "user_id": admin.id() }));
    refused(&admin, Method::DELETE, &at(V2, &room, ""), Some(json!({})), (404, "M_NOT_FOUND")).await;
    refused(
        &admin,
        Method::GET,
        &at(V2, RoomId::parse("!no:kanazawa.test").unwrap().as_ref(), "/delete_status"),
        None,
        (404, "M_NOT_FOUND"),
    )
    .await;
}

#[tokio::test]
async fn a_room_that_is_deleted_without_purging_loses_its_users_and_keeps_what_was_said() {
    let net = Net::new();
    let (server, other) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, jiro) = (server.user("hanako").await, other.user("jiro").await);
    let room = open_room(&hanako, "広場").await;
    jiro.join(&room, "kanazawa.test").await;
    let answer = must(&admin, Method::DELETE, &at(V1, &room, ""), Some(json!({ "purge": false }))).await;
    assert_eq!(answer["kicked_users"], json!([hanako.id()]));
    assert!(!is_in(&hanako, &room).await);
    assert!(is_in(&jiro, &room).await);
    // Whoever deletes says so.
    let (status, _) = ask(&admin, Method::DELETE, &at(V2, &room, ""), None).await;
    assert_eq!(status.as_u16(), 400);
    // An unknown room can be closed so.
    let unknown = RoomId::parse("!unknown:elsewhere.test").unwrap();
    must(&admin, Method::POST, &at(V1, &unknown, "/delete"), Some(json!({ "block": true }))).await;
    assert_eq!(get(&admin, &at(V1, &unknown, "/block")).await["block"], true);
    let other = RoomId::parse("!other:elsewhere.test").unwrap();
    let ordered = must(&admin, Method::DELETE, &at(V2, &other, ""), Some(json!({ "block": true }))).await;
    let status = format!("{V2}/rooms/delete_status/{}", ordered["delete_id"].as_str().unwrap());
    assert_eq!(get(&admin, &status).await["status"], "complete");
    assert_eq!(get(&admin, &at(V1, &other, "/block")).await["block"], true);
    // What everybody has left is still the authority's, to be seen and purged.
    assert_eq!(ids(&get(&admin, &format!("{V1}/rooms?empty_rooms=true")).await), [room.as_str()]);
    assert_eq!(ids(&get(&admin, &format!("{V1}/rooms?empty_rooms=false")).await), [""; 0]);
    must(&admin, Method::DELETE, &at(V1, &room, ""), Some(json!({}))).await;
    assert_eq!(ids(&get(&admin, &format!("{V1}/rooms")).await), [""; 0]);
    refused(&admin, Method::GET, &at(V1, &room, ""), None, (404, "M_NOT_FOUND")).await;
}

#[tokio::test]
async fn who_was_in_a_room_that_is_deleted_is_told_why_in_another_one() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    for purge in [true, false] {
        let room = open_room(&hanako, "広場").await;
        taro.join(&room, "kanazawa.test").await;
        let body = json!({
            "new_room_user_id": admin.id(), "room_name": "閉鎖", "message": "規則に反しました", "purge": purge, "block": true,
        });
        let done = must(&admin, Method::DELETE, &at(V1, &room, ""), Some(body)).await;
        let new_room = ruma::OwnedRoomId::try_from(done["new_room_id"].as_str().unwrap()).unwrap();
        assert!(
            !is_in(&taro, &room).await && is_in(&taro, &new_room).await && is_in(&hanako, &new_room).await
        );
        assert_eq!(taro.history(&new_room).await, ["規則に反しました"]);
        assert!(taro.try_send(&new_room, "異議").await.is_err());
        assert_eq!(get(&admin, &at(V1, &new_room, "")).await["name"], "閉鎖");
    }
    let room = open_room(&hanako, "広場").await;
    for (maker, as_said) in [
        ("@nobody:kanazawa.test", (400, "M_INVALID_PARAM")),
        ("@a:wajima.test", (400, "M_UNKNOWN")),
        ("x", (400, "M_INVALID_PARAM")),
    ] {
        let body = json!({ "new_room_user_id": maker, "block": true });
        refused(&admin, Method::DELETE, &at(V2, &room, ""), Some(body), as_said).await;
        assert_eq!(get(&admin, &at(V1, &room, "/block")).await["block"], false);
    }
}

#[tokio::test]
async fn the_servers_own_users_and_their_rooms_are_nobodys_to_take() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user("hanako").await;
    let notice = json!({ "user_id": hanako.id(), "content": { "msgtype": "m.text", "body": "停電" } });
    must(&admin, Method::POST, &format!("{V1}/send_server_notice"), Some(notice)).await;
    let rooms = get(&admin, &format!("{V1}/rooms")).await;
    let told = ruma::OwnedRoomId::try_from(ids(&rooms)[0]).unwrap();
    let square = open_room(&hanako, "広場").await;
    let own = json!({ "user_id": "@_server:kanazawa.test" });
    let path = format!("{V1}/join/{}", escaped(square.as_str()));
    refused(&admin, Method::POST, &path, Some(own.clone()), (403, "M_FORBIDDEN")).await;
    refused(&admin, Method::POST, &at(V1, &square, "/make_room_admin"), Some(own), (403, "M_FORBIDDEN"))
        .await;
    for (method, path) in [
        (Method::POST, at(V1, &told, "/make_room_admin")),
        (Method::DELETE, at(V1, &told, "")),
        (Method::DELETE, at(V2, &told, "")),
    ] {
        refused(&admin, method, &path, Some(json!({ "block": true })), (403, "M_FORBIDDEN")).await;
    }
    assert_eq!(get(&admin, &at(V1, &told, "/block")).await["block"], false);
}

#[tokio::test]
async fn power_that_could_not_be_used_is_not_given() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user("hanako").await;
    let levels = json!({ "preset": "private_chat", "room_version": "11", "power_level_content_override": { "invite": 101 } });
    let room = hanako.create_room_with(&levels).await;
    let power = at(V1, &room, "/state?type=m.room.power_levels");
    let before = get(&admin, &power).await;
    refused(&admin, Method::POST, &at(V1, &room, "/make_room_admin"), Some(json!({})), (400, "M_UNKNOWN"))
        .await;
    assert_eq!(get(&admin, &power).await["state"][0]["event_id"], before["state"][0]["event_id"]);
}

#[tokio::test]
async fn who_is_closed_while_he_is_brought_into_a_room_is_in_none() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user("hanako").await;
    let room = open_room(&hanako, "広場").await;
    let join = format!("{V1}/join/{}", escaped(room.as_str()));
    for number in 0..10 {
        let user = server.user(&format!("u{number}")).await;
        let close = format!("{V1}/deactivate/{}", escaped(user.id().as_str()));
        let body = json!({ "user_id": user.id() });
        tokio::join!(
            ask(&admin, Method::POST, &close, Some(json!({}))),
            ask(&admin, Method::POST, &join, Some(body.clone())),
            ask(&admin, Method::POST, &join, Some(body)),
        );
    }
    until(&admin, &at(V1, &room, "/members"), |_, answer| answer["total"] == 1).await;
}

#[tokio::test]
async fn nobody_of_the_authority_comes_into_a_room_that_is_closed_to_it_and_who_is_in_stays() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) =
        (server.user_of("kanazawa.test", "hanako").await, server.user_of("kanazawa.test", "taro").await);
    let jiro = server.user_of("wajima.test", "jiro").await;
    let room = open_room(&hanako, "広場").await;
    let block = async |block: bool| {
        must(&admin, Method::PUT, &at(V1, &room, "/block"), Some(json!({ "block": block }))).await
    };
    assert_eq!(get(&admin, &at(V1, &room, "/block")).await, json!({ "block": false }));
    block(true).await;
    assert!(taro.try_join(&room, "kanazawa.test").await.is_err());
    let state =
        format!("/rooms/{}/state/m.room.member/{}", escaped(room.as_str()), escaped(taro.id().as_str()));
    assert!(taro.try_call(Method::PUT, &state, Some(&json!({ "membership": "join" }))).await.is_err());
    // Nor is anybody asked into it, by whomever.
    let invite = format!("/rooms/{}/invite", escaped(room.as_str()));
    let asked = json!({ "membership": "invite" });
    assert!(hanako.try_call(Method::POST, &invite, Some(&json!({ "user_id": taro.id() }))).await.is_err());
    assert!(hanako.try_call(Method::PUT, &state, Some(&asked)).await.is_err());
    hanako.send(&room, "まだいる").await;
    jiro.join(&room, "kanazawa.test").await;
    assert!(jiro.try_call(Method::POST, &invite, Some(&json!({ "user_id": taro.id() }))).await.is_err());
    assert!(jiro.try_call(Method::PUT, &state, Some(&asked)).await.is_err());
    block(false).await;
    taro.join(&room, "kanazawa.test").await;
}

#[tokio::test]
async fn a_user_is_brought_into_a_room_and_given_power_there_as_far_as_the_room_allows() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let open = open_room(&hanako, "広場").await;
    let join = async |room: &RoomId| {
        let path = format!("{V1}/join/{}", escaped(room.as_str()));
        ask(&admin, Method::POST, &path, Some(json!({ "user_id": taro.id() }))).await
    };
    assert_eq!(join(&open).await.1, json!({ "room_id": open }));
    assert!(is_in(&taro, &open).await);

    let closed = hanako.create_room(Preset::PrivateChat).await;
    assert_eq!(join(&closed).await.0, 403);
    let promote = at(V1, &closed, "/make_room_admin");
    must(&admin, Method::POST, &promote, Some(json!({}))).await;
    let levels = get(&admin, &at(V1, &closed, "/state?type=m.room.power_levels")).await;
    assert_eq!(levels["state"][0]["content"]["users"][admin.id().as_str()], 100);
    admin.join(&closed, "kanazawa.test").await;
    // Now he may invite.
    assert_eq!(join(&closed).await.0, 200);
    assert!(is_in(&taro, &closed).await);
    must(&admin, Method::POST, &promote, Some(json!({ "user_id": taro.id() }))).await;
    let strangers = json!({ "user_id": "@jiro:wajima.test" });
    refused(&admin, Method::POST, &promote, Some(strangers), (400, "M_UNKNOWN")).await;
}

#[tokio::test]
async fn servers_in_the_rooms_are_listed_and_one_that_does_not_answer_is_tried_again() {
    let net = Net::new();
    let (server, other) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let (hanako, jiro) = (server.user("hanako").await, other.user("jiro").await);
    let room = open_room(&hanako, "広場").await;
    jiro.join(&room, "kanazawa.test").await;
    let list = get(&admin, &format!("{V1}/federation/destinations")).await;
    assert_eq!((&list["total"], &list["destinations"][0]["destination"]), (&json!(1), &json!("wajima.test")));
    let one = format!("{V1}/federation/destinations/wajima.test");
    assert_eq!(get(&admin, &one).await["failure_ts"], Value::Null);
    let rooms = get(&admin, &format!("{one}/rooms")).await;
    assert_eq!((&rooms["rooms"][0]["room_id"], &rooms["total"]), (&json!(room), &json!(1)));
    refused(
        &admin,
        Method::GET,
        &format!("{V1}/federation/destinations/nowhere.test"),
        None,
        (404, "M_NOT_FOUND"),
    )
    .await;
    let retry = format!("{one}/reset_connection");
    refused(&admin, Method::POST, &retry, Some(json!({})), (400, "M_UNKNOWN")).await;
    other.stop().await;
    hanako.send(&room, "聞こえますか").await;
    until(&admin, &one, |_, answer| answer["failure_ts"].is_u64()).await;
    let (_, before) = rows(&server, "kanazawa.test", store::Position::START).await;
    must(&admin, Method::POST, &retry, Some(json!({}))).await;
    let (new, _) = rows(&server, "kanazawa.test", before).await;
    assert_eq!(new.iter().map(|row| row.what.as_str()).collect::<Vec<_>>(), ["federation.retry"]);
    other.start().await;
    until(&admin, &one, |_, answer| answer["failure_ts"].is_null()).await;
}

#[tokio::test]
async fn what_users_report_is_listed_for_their_administrators_read_and_removed() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let theirs = administrator(&server, "wajima.test", "theirs").await;
    let hanako = server.user_of("kanazawa.test", "hanako").await;
    let jiro = server.user_of("wajima.test", "jiro").await;
    let room = open_room(&hanako, "広場").await;
    jiro.join(&room, "kanazawa.test").await;
    let said = jiro.send(&room, "悪口").await;
    let report = format!("/rooms/{}/report/{}", escaped(room.as_str()), escaped(said.as_str()));
    for reason in ["一度目", "二度目"] {
        hanako.call(Method::POST, &report, Some(&json!({ "reason": reason }))).await;
    }
    let list = get(&admin, &format!("{V1}/event_reports?limit=1")).await;
    let newest = &list["event_reports"][0];
    assert_eq!((&list["total"], &list["next_token"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&newest["reason"], &newest["sender"], &newest["name"]),
        (&json!("二度目"), &json!(jiro.id()), &json!("広場"))
    );
    let mine = format!("{V1}/event_reports?user_id={}&dir=f", escaped(hanako.id().as_str()));
    assert_eq!(get(&admin, &mine).await["event_reports"][0]["reason"], "一度目");
    let one = format!("{V1}/event_reports/{}", newest["id"]);
    assert_eq!(get(&admin, &one).await["event_json"]["content"]["body"], "悪口");
    // It was told to those of the one who told it, whoever is in the room.
    assert_eq!(get(&theirs, &format!("{V1}/event_reports")).await["total"], 0);
    refused(&theirs, Method::GET, &one, None, (404, "M_NOT_FOUND")).await;
    refused(&theirs, Method::DELETE, &one, None, (404, "M_NOT_FOUND")).await;
    must(&admin, Method::DELETE, &one, None).await;
    refused(&admin, Method::GET, &one, None, (404, "M_NOT_FOUND")).await;
    assert_eq!(get(&admin, &format!("{V1}/event_reports")).await["total"], 1);
}

#[tokio::test]
async fn what_others_said_before_anybody_of_the_authority_came_is_shown_where_the_room_says_so() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "wajima.test"]).await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let jiro = server.user_of("wajima.test", "jiro").await;
    for (history, is_shown) in
        [("shared", true), ("world_readable", true), ("invited", false), ("joined", false)]
    {
        let visibility = json!({ "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": history } });
        let room =
            jiro.create_room_with(&json!({ "preset": "public_chat", "initial_state": [visibility] })).await;
        let before = jiro.send(&room, "内輪の話").await;
        let hanako = server.user_of("kanazawa.test", &format!("hanako-{}", history.replace('_', ""))).await;
        hanako.join(&room, "wajima.test").await;
        let after = jiro.send(&room, "ようこそ").await;
        for dir in ["b", "f"] {
            let page =
                get(&admin, &at(V1, &room, &format!("/messages?dir={dir}&limit=100"))).await.to_string();
            assert_eq!(page.contains("内輪の話"), is_shown, "{history} {dir}");
            assert!(page.contains("ようこそ"), "{history} {dir}");
        }
        let context = |event: &str| at(V1, &room, &format!("/context/{}?limit=20", escaped(event)));
        let around = get(&admin, &context(after.as_str())).await.to_string();
        assert_eq!(around.contains("内輪の話"), is_shown, "{history}");
        let (status, _) = ask(&admin, Method::GET, &context(before.as_str()), None).await;
        assert_eq!(status.is_success(), is_shown, "{history}");
    }
}

#[tokio::test]
async fn a_room_that_is_being_deleted_is_deleted_once() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let admin = administrator(&server, "kanazawa.test", "admin").await;
    let hanako = server.user("hanako").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    let path = at(V2, &room, "");
    let order = async || ask(&admin, Method::DELETE, &path, Some(json!({}))).await;
    let ((first, one), (second, two)) = tokio::join!(order(), order());
    // The later of both is told of the earlier one's, or that there is one, or no such room any more.
    assert!(first.is_success() || second.is_success(), "{one} {two}");
    for (status, answer) in [(first, &one), (second, &two)] {
        assert!([200, 400, 404].contains(&status.as_u16()), "{status} {answer}");
    }
    let status = at(V2, &room, "/delete_status");
    until(&admin, &status, |_, answer| {
        answer["results"].as_array().is_some_and(|all| all.iter().all(|it| it["status"] == "complete"))
    })
    .await;
    let (third, answer) = order().await;
    assert_eq!(third.as_u16(), 404, "{answer}");
}
