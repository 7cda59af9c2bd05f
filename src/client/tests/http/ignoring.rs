//! What is answered to who ignores somebody.

use serde_json::json;

use super::{relations::relate, town::Town};

#[tokio::test]
async fn what_an_ignored_user_says_stands_in_no_answer_with_events_of_a_room() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    let root = hanako.say(&room, "1", "calm").await;
    relate(&hanako, &room, "calm", ("m.thread", &root)).await;
    relate(&taro, &room, "noise", ("m.thread", &root)).await;
    let noise = taro.say(&room, "2", "noise").await;
    relate(&hanako, &room, "calmer", ("m.thread", &noise)).await;

    let of_room = format!("/_matrix/client/v1/rooms/{room}");
    let paths = [
        format!("/rooms/{room}/messages?dir=b&limit=50"),
        format!("/rooms/{room}/context/{root}?limit=50"),
        // With what is told of its thread.
        format!("/rooms/{room}/event/{root}"),
        format!("{of_room}/relations/{root}"),
        format!("{of_room}/relations/{root}/m.thread"),
        format!("{of_room}/relations/{root}/m.thread/m.room.message"),
        format!("{of_room}/threads"),
    ];
    let said = async |path: &str, word: &str| {
        let answer = hanako.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.text.contains(word)
    };
    for path in &paths {
        assert!(said(path, "calm").await && said(path, "noise").await, "{path}");
    }
    hanako.get(&format!("/rooms/{room}/event/{noise}")).await.ok();

    let list = json!({ "ignored_users": { &taro.id: {} } });
    hanako.put(&format!("/user/{}/account_data/m.ignored_user_list", hanako.id), list).await.ok();

    for path in &paths {
        assert!(said(path, "calm").await && !said(path, "noise").await, "{path}");
    }
    hanako.get(&format!("/rooms/{room}/event/{noise}")).await.fails(404, "M_NOT_FOUND");
    hanako.get(&format!("/rooms/{room}/context/{noise}")).await.fails(404, "M_NOT_FOUND");
    let state = format!("/rooms/{room}/messages?dir=b&limit=50");
    assert!(said(&state, &taro.id).await, "his joining is state");
}
