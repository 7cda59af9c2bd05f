//! A mail with files, read on LGWAN's side: its text as it is, its files sanitised or not at all.
//!
//! This program is the server's worker as well, which takes files apart in a process of its own.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[expect(dead_code, reason = "other tests need more")]
mod post;

use std::process::ExitCode;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bot_testing::zones;
use http::StatusCode;
use post::{Town, body, hears, lines, own};
use serde_json::Value;
use testkit::User;

fn main() -> ExitCode {
    zones::run(
        "on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent",
        on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent(),
    )
}

async fn on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent() {
    let net = zones::net();
    let town = Town::in_net(&net, "").await;
    town.stage.start_bot().await;
    let server = &town.stage.server;
    let (lgwan, internet) = (server.listen_in(Some("lgwan")).await, server.listen_in(Some("internet")).await);
    let hanako = server.user("hanako").await;
    let (phone, desk) = (hanako.through(internet), hanako.another_device().await.through(lgwan));
    let (room, address) = town.room(&phone, "example.co.jp").await;

    let photo = zones::photo();
    let program = b"MZ\x90\0\x03\0\0\0 and so on";
    let mail = format!(
        "From: taro@example.co.jp\nSubject: 現場\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n写真です\n--x\n\
         Content-Type: image/jpeg; name=photo.jpg\nContent-Transfer-Encoding: base64\n\n{}\n--x\n\
         Content-Type: application/octet-stream; name=tool.exe\nContent-Transfer-Encoding: base64\n\n{}\n--x\n\
         Content-Type: message/rfc822; name=forwarded.eml\n\n{}From: jiro@example.co.jp\nSubject: 転送元\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=y\n\n--y\n\n元の文\n--y\n\
         Content-Type: application/octet-stream; name=inner.exe\nContent-Transfer-Encoding: base64\n\n{}\n--y--\n\n--x--\n",
        BASE64_STANDARD.encode(&photo),
        BASE64_STANDARD.encode(program),
        "Received: from mx.example.co.jp (mx.example.co.jp [192.0.2.1]) by relay.example.co.jp with ESMTPS id ABCDEF\n".repeat(30),
        BASE64_STANDARD.encode(program),
    );
    assert!(town.hand_over(&address, &lines(&mail)).await.starts_with("250"));
    hears(&desk, &room, "inner.exe").await;
    let seen = desk.sync(std::time::Duration::ZERO).await;
    let said = own(&seen, &room);
    assert!(said.iter().any(|event| body(event).contains("写真です")), "the text is there: {said:#?}");
    let of = |name: &str| said.iter().find(|event| body(event) == name).unwrap();

    let (status, on_lgwan) = download(&desk, of("photo.jpg")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(zones::holds(&photo, zones::PLACE));
    zones::assert_sanitised(&on_lgwan);
    assert_eq!(download(&phone, of("photo.jpg")).await, (StatusCode::OK, photo));
    assert_eq!(download(&desk, of("tool.exe")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(download(&phone, of("tool.exe")).await.0, StatusCode::OK);

    // Of a mail within, its text goes on, and its files are files like others.
    let (status, text) = download(&desk, of("forwarded.txt")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        zones::holds(&text, "元の文".as_bytes()) && zones::holds(&text, "件名 / Subject: 転送元".as_bytes())
    );
    assert!(!zones::holds(&text, BASE64_STANDARD.encode(program).as_bytes()));
    assert_eq!(download(&desk, of("inner.exe")).await.0, StatusCode::FORBIDDEN);
    assert!(said.iter().all(|event| !body(event).ends_with(".eml")), "{said:#?}");
}

async fn download(user: &User, event: &Value) -> (StatusCode, Vec<u8>) {
    zones::download(user, event["content"]["url"].as_str().unwrap()).await
}
