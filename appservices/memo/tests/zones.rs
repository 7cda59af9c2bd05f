//! A photo goes from the phone on the internet's side to the desk on LGWAN's, by way of the memo room, and arrives
//! sanitised.
//!
//! This program is the server's worker as well, which takes files apart in a process of its own.

#![expect(clippy::unwrap_used, reason = "tests")]

mod people;

use std::process::ExitCode;

use bot_testing::{Stage, zones};
use bytes::Bytes;
use http::{Method, StatusCode};
use people::{hears, memo_room, send};
use serde_json::{Value, json};
use testkit::User;

fn main() -> ExitCode {
    zones::run(
        "a_photo_of_the_phone_is_on_lgwan_without_what_it_tells",
        a_photo_of_the_phone_is_on_lgwan_without_what_it_tells(),
    )
}

async fn a_photo_of_the_phone_is_on_lgwan_without_what_it_tells() {
    let net = zones::net();
    let stage = Stage::without_bot(&net, "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-memo"), "").await;
    let lgwan = stage.server.listen_in(Some("lgwan")).await;
    let internet = stage.server.listen_in(Some("internet")).await;
    stage.set(&format!("lgwan_url = \"http://{lgwan}\""));
    stage.start_bot().await;
    let hanako = stage.server.user("hanako").await;
    let (phone, desk) = (hanako.through(internet), hanako.another_device().await.through(lgwan));
    let room = memo_room(&phone).await;

    let photo = zones::photo();
    let uri = upload(&phone, "現場.jpg", "image/jpeg", &photo).await;
    let message =
        json!({ "msgtype": "m.image", "body": "現場.jpg", "url": uri, "info": { "mimetype": "image/jpeg" } });
    send(&phone, &room, "photo", &message).await;

    let seen = desk.sync_until(|seen| seen.has_message(&room, "現場.jpg")).await;
    let shown = seen
        .room(&room)
        .timeline
        .iter()
        .find_map(|event| event["content"]["url"].as_str().map(str::to_owned));
    let shown = shown.unwrap();
    let (status, on_lgwan) = zones::download(&desk, &shown).await;
    assert_eq!(status, StatusCode::OK);
    assert!(zones::holds(&photo, zones::PLACE));
    zones::assert_sanitised(&on_lgwan);
    assert_eq!(zones::download(&phone, &shown).await, (StatusCode::OK, photo));

    // The other way round: an address of a mail on LGWAN's side, for the phone.
    desk.send(&room, "https://www.city.kanazawa.lg.jp/").await;
    phone.sync_until(|seen| seen.has_message(&room, "https://www.city.kanazawa.lg.jp/")).await;

    // What does not leave to LGWAN, the bot says, with the homeserver's reason.
    let uri = upload(&phone, "tool.exe", "application/octet-stream", b"MZ\x90\0\x03\0\0\0 and so on").await;
    send(&phone, &room, "tool", &json!({ "msgtype": "m.file", "body": "tool.exe", "url": uri })).await;
    let notice = hears(&desk, &room, |text| text.contains("tool.exe")).await;
    assert!(notice.contains("LGWAN 側には渡りません"), "{notice}");
    assert_eq!(zones::download(&desk, &uri).await.0, StatusCode::FORBIDDEN);
}

async fn upload(user: &User, name: &str, kind: &str, bytes: &[u8]) -> String {
    let name: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/_matrix/media/v3/upload?filename={name}");
    let answer =
        user.ask_bytes(Method::POST, &path, &[("content-type", kind)], Bytes::copy_from_slice(bytes)).await;
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    answer["content_uri"].as_str().unwrap().to_owned()
}
