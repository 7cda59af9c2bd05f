//! The names by which a file goes: that of its upload, and all that events give it.

use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use ruma::RoomId;
use serde_json::{Value, json};
use testkit::{Preset, User};

use super::{World, download, get, header, is_refused, said};

const TEXT: &str = "案内です\r\n";

/// A file without a name, as Element's clients upload all of them.
async fn upload(user: &User, text: &str) -> String {
    let kind = [("content-type", "text/plain")];
    let body = text.to_owned().into_bytes().into();
    let answer = user.ask_bytes(Method::POST, "/_matrix/media/v3/upload", &kind, body).await;
    said(&answer)["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned()
}

/// One that nobody used.
fn transaction() -> u32 {
    static TRANSACTIONS: AtomicU32 = AtomicU32::new(0);
    TRANSACTIONS.fetch_add(1, Ordering::Relaxed)
}

async fn say(user: &User, room: &RoomId, kind: &str, content: Value) -> String {
    let path = format!("/rooms/{room}/send/{kind}/names{}", transaction());
    user.call(Method::PUT, &path, Some(&content)).await["event_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_an_event_calls_a_file_is_its_name_in_whatever_form_it_is_said() {
    let world = World::new().await;
    let lgwan = world.in_zone("lgwan").await;
    let hanako = &world.hanako;
    let room = hanako.create_room(Preset::PrivateChat).await;
    let first = hanako.send(&room, "案内").await;
    let message = "m.room.message";
    type Content<'a> = Box<dyn Fn(&str) -> Value + 'a>;
    let forms: Vec<(&str, Content<'_>)> = vec![
        (message, Box::new(|url| json!({ "msgtype": "m.file", "body": "run.bat", "url": url }))),
        (
            message,
            Box::new(
                |url| json!({ "msgtype": "m.image", "body": "ご覧ください", "filename": "a.HTA", "url": url }),
            ),
        ),
        ("m.sticker", Box::new(|url| json!({ "body": "run.vbs", "info": {}, "url": url }))),
        (
            message,
            Box::new(|url| {
                json!({ "msgtype": "m.file", "body": "* a", "url": url,
                    "m.new_content": { "msgtype": "m.file", "body": "a", "filename": "run.cmd", "url": url },
                    "m.relates_to": { "rel_type": "m.replace", "event_id": first } })
            }),
        ),
        (
            message,
            Box::new(|url| {
                json!({ "msgtype": "m.file", "body": "run.ps1", "url": url,
                    "m.relates_to": { "rel_type": "m.thread", "event_id": first } })
            }),
        ),
        (
            message,
            Box::new(|url| {
                json!({ "msgtype": "m.file", "body": "a", "url": "mxc://kanazawa.test/none",
                    "org.matrix.msc1767.file": { "url": url, "name": "run.js", "mimetype": "text/plain" } })
            }),
        ),
    ];
    for (kind, content) in forms {
        let id = upload(hanako, TEXT).await;
        let content = content(&format!("mxc://{id}"));
        assert_eq!(download(&lgwan, &id).await.body(), TEXT.as_bytes(), "{content}");
        let event = say(hanako, &room, kind, content).await;
        is_refused(&download(&lgwan, &id).await, "program");
        let small = format!("/_matrix/client/v1/media/thumbnail/{id}?width=32&height=32");
        is_refused(&get(&lgwan, &small).await, "program");
        assert_eq!(download(hanako, &id).await.body(), TEXT.as_bytes(), "elsewhere it is what it was");
        // Who took it back has called it nothing.
        let path = format!("/rooms/{room}/redact/{event}/names{}", transaction());
        hanako.call(Method::PUT, &path, Some(&json!({}))).await;
        assert_eq!(download(&lgwan, &id).await.status(), 200);
    }
    let id = upload(hanako, TEXT).await;
    let content = json!({ "msgtype": "m.file", "body": "案内.txt", "url": format!("mxc://{id}") });
    say(hanako, &room, message, content).await;
    assert_eq!(download(&lgwan, &id).await.status(), 200);
}

#[tokio::test]
async fn a_text_that_an_event_calls_a_table_is_judged_as_one() {
    let world = World::new().await;
    let lgwan = world.in_zone("lgwan").await;
    let room = world.hanako.create_room(Preset::PrivateChat).await;
    let id = upload(&world.hanako, "=1+1\n").await;
    assert_eq!(header(&download(&lgwan, &id).await, "x-yakuba-sanitised"), "clean");
    let content =
        json!({ "msgtype": "m.file", "body": "表", "filename": "表.csv", "url": format!("mxc://{id}") });
    say(&world.hanako, &room, "m.room.message", content).await;
    let shown = download(&lgwan, &id).await;
    assert_eq!(shown.body(), "'=1+1\n".as_bytes());
    assert_eq!(download(&world.hanako, &id).await.body(), "=1+1\n".as_bytes());
}

#[tokio::test]
async fn what_other_servers_call_a_file_and_what_it_is_called_there_counts_as_well() {
    let world = World::new().await;
    let wajima = world.net.server("wajima.test").await;
    let taro = wajima.user("taro").await;
    let door = wajima.listen_in(Some("lgwan")).await;
    let lgwan = world.in_zone("lgwan").await;
    let room = world.hanako.create_room(Preset::PublicChat).await;
    taro.join(&room, "kanazawa.test").await;

    let ours = upload(&world.hanako, TEXT).await;
    assert_eq!(download(&taro.through(door), &ours).await.body(), TEXT.as_bytes());
    let content = json!({ "msgtype": "m.file", "body": "run.bat", "url": format!("mxc://{ours}") });
    say(&taro, &room, "m.room.message", content).await;
    world.hanako.sync_until(|seen| seen.has_message(&room, "run.bat")).await;
    is_refused(&download(&lgwan, &ours).await, "program");
    // A copy of it there, which was judged before.
    is_refused(&download(&taro.through(door), &ours).await, "program");

    let another = upload(&world.hanako, TEXT).await;
    let content = json!({ "msgtype": "m.file", "body": "go.bat", "url": format!("mxc://{another}") });
    say(&world.hanako, &room, "m.room.message", content).await;
    taro.sync_until(|seen| seen.has_message(&room, "go.bat")).await;
    is_refused(&download(&taro.through(door), &another).await, "program");
}

#[tokio::test]
async fn a_name_counts_for_those_who_may_have_seen_it_and_takes_the_file_from_nobody_else() {
    let world = World::new().await;
    let door = world.kanazawa.listen_in(Some("lgwan")).await;
    let (hanako, jiro) = (&world.hanako, world.kanazawa.user("jiro").await);
    let mallory = world.kanazawa.user("mallory").await;
    let asks = |user: &User, id: &str| {
        let (user, id) = (user.through(door), id.to_owned());
        async move { download(&user, &id).await }
    };
    let id = upload(hanako, TEXT).await;
    let content = json!({ "msgtype": "m.file", "body": "run.bat", "url": format!("mxc://{id}") });
    let room = mallory.create_room(Preset::PublicChat).await;
    say(&mallory, &room, "m.room.message", content.clone()).await;
    assert_eq!(asks(hanako, &id).await.status(), 200, "she knows nothing of that room");
    mallory.invite(&room, hanako.id()).await;
    assert_eq!(asks(hanako, &id).await.status(), 200, "nor of what is said in it");
    is_refused(&asks(&mallory, &id).await, "program");

    jiro.join(&room, "kanazawa.test").await;
    is_refused(&asks(&jiro, &id).await, "program");
    jiro.leave(&room).await;
    is_refused(&asks(&jiro, &id).await, "program");

    // However many rooms call it so, hers is found.
    for _ in 0..110 {
        say(&mallory, &room, "m.room.message", content.clone()).await;
    }
    assert_eq!(asks(hanako, &id).await.status(), 200);
    let own = hanako.create_room(Preset::PrivateChat).await;
    let event = say(hanako, &own, "m.room.message", content.clone()).await;
    is_refused(&asks(hanako, &id).await, "program");
    let path = format!("/rooms/{own}/redact/{event}/names{}", transaction());
    hanako.call(Method::PUT, &path, Some(&json!({}))).await;
    assert_eq!(asks(hanako, &id).await.status(), 200);
    hanako.set_state(&own, "jp.example.file", "", &content).await;
    is_refused(&asks(hanako, &id).await, "program");
}

#[tokio::test]
async fn what_an_event_gives_the_key_to_is_withheld_with_that_reason() {
    let world = World::new().await;
    let lgwan = world.in_zone("lgwan").await;
    let room = world.hanako.create_room(Preset::PrivateChat).await;
    let id = upload(&world.hanako, TEXT).await;
    assert_eq!(download(&lgwan, &id).await.status(), 200);
    let content = json!({ "msgtype": "m.file", "body": "案内.txt", "file": {
        "url": format!("mxc://{id}"), "v": "v2", "iv": "AAAAAAAAAAAAAAAAAAAAAA", "hashes": {},
        "key": { "kty": "oct", "alg": "A256CTR", "ext": true, "key_ops": ["decrypt"], "k": "AA" },
    } });
    say(&world.hanako, &room, "m.room.message", content).await;
    is_refused(&download(&lgwan, &id).await, "ciphertext");
    assert_eq!(download(&world.hanako, &id).await.body(), TEXT.as_bytes());
}
