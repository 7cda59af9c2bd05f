//! What answers do not tell to those whom it does not concern, and what is out of their reach.

use serde_json::{Value, json};

use crate::{others::Others, town::Town};

#[tokio::test]
async fn a_report_does_not_tell_whether_a_room_or_a_user_exists() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({})).await;
    let reason = json!({ "reason": "spam" });
    for path in [
        format!("/rooms/{room}/report"),
        "/rooms/!none:hs1/report".to_owned(),
        format!("/users/{}/report", hanako.id),
        "/users/@nobody:hs1/report".to_owned(),
        "/users/@nobody:hs3/report".to_owned(),
    ] {
        let path = format!("/_matrix/client/v3{path}");
        assert_eq!(taro.post(&path, reason.clone()).await.ok(), json!({}), "{path}");
    }
}

#[tokio::test]
async fn a_report_of_a_hidden_event_is_answered_like_that_of_no_event() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let visibility =
        json!({ "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } });
    let wishes = json!({ "preset": "public_chat", "initial_state": [visibility] });
    let room = hanako.create_room(wishes).await;
    let before = hanako.say(&room, "1", "before").await;
    let report = async |room: &str, event: &str| {
        taro.post(&format!("/rooms/{room}/report/{event}"), json!({ "reason": "spam" })).await
    };
    let outside = report(&room, &before).await.fails(404, "M_NOT_FOUND");
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    let after = hanako.say(&room, "2", "after").await;

    let hidden = report(&room, &before).await.fails(404, "M_NOT_FOUND");
    assert_eq!(hidden, report(&room, "$none").await.fails(404, "M_NOT_FOUND"));
    assert_eq!(hidden, outside);
    assert_eq!(hidden, report("!none:hs1", "$none").await.fails(404, "M_NOT_FOUND"));
    report(&room, &after).await.ok();
}

#[tokio::test]
async fn power_in_a_room_does_not_reach_aliases_of_another_authority() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let jiro = town.user_at("hs2", "jiro").await;
    let wishes = json!({ "preset": "public_chat", "room_alias_name": "open", "room_version": "11",
        "power_level_content_override": { "users": { &hanako.id: 100, &jiro.id: 100 } } });
    let room = hanako.create_room(wishes).await;
    jiro.post(&format!("/join/{room}"), json!({})).await.ok();
    jiro.put("/directory/room/%23open:hs2", json!({ "room_id": room })).await.ok();

    jiro.ask("DELETE", "/directory/room/%23open:hs1", json!({})).await.fails(403, "M_FORBIDDEN");
    hanako.ask("DELETE", "/directory/room/%23open:hs2", json!({})).await.fails(403, "M_FORBIDDEN");
    // Whether it exists is not told either.
    jiro.ask("DELETE", "/directory/room/%23none:hs1", json!({})).await.fails(403, "M_FORBIDDEN");
    hanako.ask("DELETE", "/directory/room/%23open:hs1", json!({})).await.ok();
    jiro.ask("DELETE", "/directory/room/%23open:hs2", json!({})).await.ok();
}

#[tokio::test]
async fn upgrades_and_the_directory_do_not_tell_whether_a_room_exists() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({})).await;
    let list = |room: &str| format!("/directory/list/room/{room}");
    let ask = async |room: &str| {
        let upgrade = taro.post(&format!("/rooms/{room}/upgrade"), json!({ "new_version": "12" })).await;
        let publish = taro.put(&list(room), json!({ "visibility": "public" })).await;
        [
            upgrade.fails(403, "M_FORBIDDEN"),
            publish.fails(403, "M_FORBIDDEN"),
            taro.get(&list(room)).await.ok(),
        ]
    };
    assert_eq!(ask(&room).await, ask("!none:hs1").await);
}

#[tokio::test]
async fn a_stranger_makes_us_ask_no_other_server_but_for_a_profile_and_a_user_does() {
    let others = Others::silent();
    let town = Town::beside(others.clone()).await;
    let hanako = town.user("hanako").await;
    let strange = [
        ("/publicRooms?server=evil.test", 401, "M_MISSING_TOKEN"),
        ("/directory/room/%23x:evil.test", 404, "M_NOT_FOUND"),
    ];
    for (path, status, errcode) in strange {
        let path = format!("/_matrix/client/v3{path}");
        town.ask("GET", &path, Value::Null).await.fails(status, errcode);
    }
    let summary = "/_matrix/client/v1/room_summary/%23x:evil.test";
    town.ask("GET", summary, Value::Null).await.fails(404, "M_NOT_FOUND");
    assert_eq!(others.asked(), 0);

    hanako.get(strange[0].0).await;
    assert_eq!(others.asked(), 1);
    // Profiles are open to everybody by the specification.
    town.ask("GET", "/_matrix/client/v3/profile/@x:evil.test", Value::Null).await;
    assert_eq!(others.asked(), 2);
    // This one is asked for on the way of the rooms, which is off here and says so.
    let answer = hanako.get(strange[1].0).await;
    assert_ne!(answer.status, 404, "{answer:?}");
    // What is ours is open.
    for path in ["/publicRooms", "/publicRooms?server=hs2", &format!("/profile/{}", hanako.id)] {
        town.ask("GET", &format!("/_matrix/client/v3{path}"), Value::Null).await.ok();
    }
}
