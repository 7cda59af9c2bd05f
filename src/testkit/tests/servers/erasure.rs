//! Closing an account with `erase`, as clients and other servers meet it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;

use http::Method;
use serde_json::json;
use testkit::{Net, Preset, User};

/// In everything that the erased user says.
const WORD: &str = "himitsu";

/// Closes the account and asks for erasure.
async fn erase(user: &User) {
    let path = "/account/deactivate";
    let wish = json!({ "erase": true });
    let session = user.try_call(Method::POST, path, Some(&wish)).await.unwrap_err().answer;
    let auth = json!({
        "type": "m.login.password", "session": session["session"], "password": "秘密の合言葉123",
        "identifier": { "type": "m.id.user", "user": user.id() },
    });
    user.call(Method::POST, path, Some(&json!({ "erase": true, "auth": auth }))).await;
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "%{byte:02X}").unwrap();
        out
    })
}

#[tokio::test]
async fn who_joins_after_an_erasure_is_served_redacted_copies_by_every_replica_and_to_every_server() {
    let net = Net::new();
    let replicas = net.replicas("nanao.test", 2).await;
    let (other, later) = (net.server("wajima.test").await, net.server("suzu.test").await);
    let (hanako, taro) = (replicas[0].user("hanako").await, replicas[0].user("taro").await);
    let jiro = replicas[1].user("jiro").await;
    let (ken, mio) = (other.user("ken").await, later.user("mio").await);
    let room = taro.create_room(Preset::PublicChat).await;
    for user in [&hanako, &ken] {
        user.join(&room, "nanao.test").await;
    }
    let said = hanako.send(&room, WORD).await;
    let (in_path, event) = (escaped(room.as_str()), escaped(said.as_str()));
    let sees = |user: &User| {
        let user = user.clone();
        let (in_path, event, room) = (in_path.clone(), event.clone(), room.clone());
        async move {
            let filter = json!({ "room": { "timeline": { "limit": 100 } } }).to_string();
            let path = format!("/sync?timeout=0&filter={}", escaped(&filter));
            let sync = user.call(Method::GET, &path, None).await;
            let part = sync["rooms"]["join"][room.as_str()].to_string();
            let mut found = vec![("/sync".to_owned(), part.contains(WORD))];
            let of_event = [format!("event/{event}"), format!("context/{event}")];
            for path in ["messages?dir=b&limit=100".to_owned()].into_iter().chain(of_event) {
                let answer = user.call(Method::GET, &format!("/rooms/{in_path}/{path}"), None).await;
                found.push((path, answer.to_string().contains(WORD)));
            }
            found
        }
    };
    ken.sync_until(|seen| seen.has_message(&room, WORD)).await;

    erase(&hanako).await;
    taro.sync_until(|seen| seen.room(&room).membership(hanako.id().as_str()) == Some("leave")).await;
    jiro.join(&room, "nanao.test").await;
    let check = async |user: &User, whole: bool| {
        for (way, seen) in sees(user).await {
            assert_eq!(seen, whole, "{} in {way}", user.id());
        }
    };
    check(&taro, true).await;
    check(&ken, true).await;
    check(&jiro, false).await;

    // An erasure is not told to other servers: one that has the events whole would give them whole.
    other.stop().await;
    mio.join(&room, "nanao.test").await;
    // What was before he came, his server fetches.
    mio.call(Method::GET, &format!("/rooms/{in_path}/messages?dir=b&limit=100"), None).await;
    check(&mio, false).await;
}

/// X3.
#[tokio::test]
async fn who_is_erased_leaves_each_of_his_rooms_once_and_is_brought_back_into_none() {
    const ROOMS: usize = 30;
    let net = Net::new();
    let server = net.server("nanao.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let found = async || {
        let wish = json!({ "search_term": "hanako" });
        let answer = taro.call(Method::POST, "/user_directory/search", Some(&wish)).await;
        answer["results"].as_array().unwrap().len()
    };
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        // Half of them are hers, and nobody else has power there.
        let (owner, guest) = if number % 2 == 0 { (&hanako, &taro) } else { (&taro, &hanako) };
        let room = owner.create_room(Preset::PublicChat).await;
        guest.join(&room, "nanao.test").await;
        rooms.push(room);
    }
    assert_eq!(found().await, 1);
    let of_hanako = async |room: &ruma::RoomId| -> Vec<String> {
        let mut said = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/rooms/{}/messages?dir=b&limit=100{from}", escaped(room.as_str()));
            let page = taro.call(Method::GET, &path, None).await;
            for event in page["chunk"].as_array().unwrap() {
                if event["type"] == "m.room.member" && event["state_key"] == hanako.id().as_str() {
                    said.push(event["content"]["membership"].as_str().unwrap().to_owned());
                }
            }
            match page["end"].as_str() {
                Some(end) => from = format!("&from={}", escaped(end)),
                None => break,
            }
        }
        said.reverse();
        said
    };
    // Another name shortly before is still being told to the rooms when she goes.
    let shown = format!("/profile/{}/displayname", escaped(hanako.id().as_str()));
    hanako.call(Method::PUT, &shown, Some(&json!({ "displayname": "花子" }))).await;

    erase(&hanako).await;

    for room in &rooms {
        taro.sync_until(|seen| seen.room(room).membership(hanako.id().as_str()) == Some("leave")).await;
    }
    assert_eq!(found().await, 0);
    // Nothing that was to be done later, and no restart, brings her back or has her leave anew.
    net.advance(std::time::Duration::from_secs(60 * 60));
    server.crash_and_restart().await;
    net.advance(std::time::Duration::from_secs(24 * 60 * 60));
    taro.send(&rooms[0], "まだいますか").await;
    for room in &rooms {
        let said = of_hanako(room).await;
        assert_eq!(said.iter().filter(|word| *word == "leave").count(), 1, "{room} {said:?}");
        assert_eq!(said.last().unwrap(), "leave", "{room} {said:?}");
    }
    assert_eq!(found().await, 0);
}
