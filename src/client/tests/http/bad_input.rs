//! Whatever is sent: a proper error, never a 500.

use serde_json::{Value, json};

use crate::town::Town;

#[tokio::test]
async fn malformed_bodies_are_named_as_what_they_are() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "room_version": "6" })).await;
    let send = format!("/rooms/{room}/send/complement.dummy");
    let not_utf8 = b"{ \"test\":\"a\x81\" }".to_vec();
    town.raw("hs1", "POST", "/_matrix/client/v3/register", None, not_utf8).await.fails(400, "M_NOT_JSON");
    for (index, body) in
        [r#"{"body": 9007199254740992}"#, r#"{"body": -9007199254740992}"#, r#"{"body": 1.1}"#]
            .iter()
            .enumerate()
    {
        hanako
            .send("PUT", &format!("{send}/{index}"), body.as_bytes().to_vec())
            .await
            .fails(400, "M_BAD_JSON");
    }
    for body in [r#"{"body": NaN}"#, "{", "", "nonsense"] {
        hanako.send("PUT", &format!("{send}/x"), body.as_bytes().to_vec()).await.fails(400, "M_NOT_JSON");
    }
    for body in ["[]", "3", "null", r#""text""#] {
        hanako.send("PUT", &format!("{send}/y"), body.as_bytes().to_vec()).await.fails(400, "M_BAD_JSON");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    hanako.send("PUT", &format!("{send}/z"), deep.into_bytes()).await.fails(400, "M_BAD_JSON");
}

#[tokio::test]
async fn events_over_64_kib_are_too_large() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let content = json!({ "msgtype": "m.text", "body": "and they dont stop coming ".repeat(2_700) });
    let message = hanako.put(&format!("/rooms/{room}/send/m.room.message/1"), content.clone()).await;
    message.fails(413, "M_TOO_LARGE");
    hanako.put(&format!("/rooms/{room}/state/marvel.universe.fate"), content).await.fails(413, "M_TOO_LARGE");
}

#[tokio::test]
async fn a_login_of_any_shape_is_answered() {
    let town = Town::new().await;
    let login = async |body: Value| town.ask("POST", "/_matrix/client/v3/login", body).await;
    login(json!({})).await.fails(400, "M_BAD_JSON");
    login(json!([])).await.fails(400, "M_BAD_JSON");
    login(json!({ "type": "m.login.password" })).await.fails(400, "M_MISSING_PARAM");
    login(json!({ "type": "m.login.password", "password": "x" })).await.fails(400, "M_MISSING_PARAM");
    login(json!({ "type": "m.login.wonder" })).await.fails(400, "M_UNKNOWN");
    let phone = json!({ "type": "m.id.phone", "country": "JP", "phone": "1" });
    let phone = json!({ "type": "m.login.password", "password": "x", "identifier": phone });
    login(phone).await.fails(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn every_endpoint_answers_nonsense_without_a_fault() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let paths = [
        "/rooms/x/state",
        "/rooms/!r:hs1/event/nonsense",
        "/rooms/!r:hs1/context/$x?limit=-1",
        "/rooms/!r:hs1/messages?dir=x",
        "/rooms/!r:hs1/messages?dir=b&from=nonsense",
        "/rooms/!r:hs1/messages?dir=b&filter=[",
        "/rooms/!r:hs1/members?at=nonsense",
        "/user/nonsense/filter/1",
        "/profile/nonsense",
        "/profile/@x:hs1:http",
        "/directory/room/nonsense",
        "/directory/list/room/!r:hs1",
        "/join/nonsense",
        "/rooms/!r:hs1/join",
        "/rooms/!r:hs1/invite",
        "/rooms/!r:hs1/receipt/m.none/$x",
        "/rooms/!r:hs1/read_markers",
        "/rooms/!r:hs1/typing/@hanako:hs1",
        "/rooms/!r:hs1/state/m.room.member/%ff",
        "/createRoom",
        "/devices/%00",
        "/delete_devices",
        "/account/password",
        "/account/deactivate",
        "/pushrules/global/none/x",
        "/pushrules/global/content/.m.rule.master",
        "/presence/@hanako:hs1/status",
        "/publicRooms?since=nonsense",
        "/user_directory/search",
        "/search",
        "/search?next_batch=nonsense",
        "/rooms/!r:hs1/redact/$x/1",
        "/rooms/!r:hs1/report/$x",
        "/rooms/!r:hs1/forget",
        "/rooms/!r:hs1/kick",
        "/rooms/!r:hs1/leave",
        "/rooms/!r:hs1/aliases",
        "/register",
        "/login",
        "/refresh",
    ];
    let bodies =
        [Value::Null, json!({}), json!([]), json!({ "user_id": 3 }), json!({ "auth": 3 }), json!("x")];
    for path in paths {
        for method in ["GET", "PUT", "POST", "DELETE"] {
            for body in &bodies {
                let answer = hanako.ask(method, path, body.clone()).await;
                assert!(answer.status < 500, "{method} {path} {body}: {answer:?}");
                assert!(answer.status == 200 || answer.status == 401 || answer.body["errcode"].is_string());
            }
        }
    }
}

#[tokio::test]
async fn a_list_is_taken_for_no_object_by_the_order_of_its_elements() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let event = hanako.get(&format!("/rooms/{room}/messages?dir=b&limit=1")).await.ok();
    let event = event["chunk"][0]["event_id"].as_str().unwrap();
    for (method, path, body) in [
        ("PUT", format!("/rooms/{room}/redact/{event}/1"), json!(["reason"])),
        ("PUT", "/pushrules/global/override/arr".to_owned(), json!([[], []])),
        ("PUT", format!("/rooms/{room}/typing/{}", hanako.id), json!([true, 3_000])),
        ("POST", "/search".to_owned(), json!([{}])),
        ("POST", format!("/rooms/{room}/invite"), json!(["@taro:hs1"])),
        ("POST", "/createRoom".to_owned(), json!([])),
        ("PUT", format!("/rooms/{room}/send/m.room.message/t"), json!([])),
        ("PUT", format!("/rooms/{room}/state/m.room.topic"), json!([])),
    ] {
        hanako.ask(method, &path, body).await.fails(400, "M_BAD_JSON");
    }
    let path = format!("/rooms/{room}/typing/{}", hanako.id);
    let broken = hanako.send("PUT", &path, b" [1,".to_vec()).await;
    broken.fails(400, "M_NOT_JSON");
}

#[tokio::test]
async fn what_is_not_built_is_not_recognized() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    hanako.get("/_matrix/client/unknown").await.fails(404, "M_UNRECOGNIZED");
    hanako.get("/_matrix/client/v3/room/unknown").await.fails(404, "M_UNRECOGNIZED");
    hanako.put("/_matrix/client/v3/login", json!({})).await.fails(405, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn a_number_that_clients_cannot_hold_is_refused_in_account_data() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let path = format!("/user/{}/account_data/org.example", hanako.id);
    for number in ["1e400", "-1e400", "9007199254740992", "-9007199254740992", &"9".repeat(5_000)] {
        for body in [format!(r#"{{"a":{number}}}"#), format!(r#"{{"a":["\"",{{"b":[0,{number}]}}]}}"#)] {
            hanako.send("PUT", &path, body.into_bytes()).await.fails(400, "M_BAD_JSON");
        }
    }
    let fine = r#"{"order":0.25,"n":[1e3,-9007199254740991,9007199254740991,-0],"text":"1e400 \" 99999999999999999999"}"#;
    hanako.send("PUT", &path, fine.as_bytes().to_vec()).await.ok();
    hanako.get(&path).await.ok();
}
