//! A mail with files, read on LGWAN's side: its text as it is, its files sanitised or not at all.
//!
//! This program is the server's worker as well, which takes files apart in a process of its own.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests")]

#[expect(dead_code, reason = "other tests need more")]
mod post;

use std::{collections::BTreeMap, io::Cursor, process::ExitCode};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use post::{Town, body, hears, lines, own};
use serde_json::Value;
use server::config::{FilesSetting, ZoneConfig};
use testkit::{Net, User, Zones};

/// What tells the program that it is the worker.
const WORKER: &str = "worker";

/// What a photo says of where it was taken.
const PLACE: &[u8] = b"GPS 36.5611 N 136.6564 E";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        return sanitise::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent());
    println!("on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent ... ok");
    ExitCode::SUCCESS
}

async fn on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent() {
    let of = [("lgwan", FilesSetting::Sanitised), ("internet", FilesSetting::Originals)];
    let of = of.map(|(name, files)| (name.to_owned(), ZoneConfig { files, ..ZoneConfig::default() }));
    let net = Net::with_zones(Zones {
        of: BTreeMap::from(of),
        worker: std::env::current_exe().unwrap(),
        arguments: vec![WORKER.to_owned()],
    });
    let town = Town::in_net(&net, "").await;
    town.stage.start_bot().await;
    let server = &town.stage.server;
    let (lgwan, internet) = (server.listen_in(Some("lgwan")).await, server.listen_in(Some("internet")).await);
    let hanako = server.user("hanako").await;
    let (phone, desk) = (hanako.through(internet), hanako.another_device().await.through(lgwan));
    let (room, address) = town.room(&phone, "example.co.jp").await;

    let photo = photo();
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
    assert!(holds(&photo, PLACE) && !holds(&on_lgwan, PLACE) && !holds(&on_lgwan, b"Exif"));
    assert_eq!(image::load_from_memory(&on_lgwan).unwrap().width(), 60);
    assert_eq!(download(&phone, of("photo.jpg")).await, (StatusCode::OK, photo));
    assert_eq!(download(&desk, of("tool.exe")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(download(&phone, of("tool.exe")).await.0, StatusCode::OK);

    // Of a mail within, its text goes on, and its files are files like others.
    let (status, text) = download(&desk, of("forwarded.txt")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(holds(&text, "元の文".as_bytes()) && holds(&text, "件名 / Subject: 転送元".as_bytes()));
    assert!(!holds(&text, BASE64_STANDARD.encode(program).as_bytes()));
    assert_eq!(download(&desk, of("inner.exe")).await.0, StatusCode::FORBIDDEN);
    assert!(said.iter().all(|event| !body(event).ends_with(".eml")), "{said:#?}");
}

/// A JPEG with a segment of EXIF.
fn photo() -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::RgbImage::from_fn(60, 40, |x, y| {
        image::Rgb([x, y, 22].map(|shade| shade.to_le_bytes()[0] * 4))
    });
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    // A block of EXIF with the place as the maker's name.
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02".to_vec();
    exif.extend(u32::try_from(PLACE.len()).unwrap().to_be_bytes());
    exif.extend(26_u32.to_be_bytes());
    exif.extend(0_u32.to_be_bytes());
    exif.extend(PLACE);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&bytes[..2], b"\xff\xe1", &length, &exif, &bytes[2..]].concat()
}

async fn download(user: &User, event: &Value) -> (StatusCode, Vec<u8>) {
    let uri = event["content"]["url"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    let path = format!("/_matrix/client/v1/media/download/{uri}");
    let answer = user.ask_bytes(Method::GET, &path, &[], Bytes::new()).await;
    (answer.status(), answer.body().to_vec())
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
