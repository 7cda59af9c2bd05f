//! A photo goes from the phone on the internet's side to the desk on LGWAN's, by way of the memo room, and arrives
//! sanitised.
//!
//! This program is the server's worker as well, which takes files apart in a process of its own.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod people;

use std::{collections::BTreeMap, io::Cursor, process::ExitCode};

use bot_testing::Stage;
use bytes::Bytes;
use http::{Method, StatusCode};
use people::{hears, memo_room, send};
use serde_json::{Value, json};
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
    runtime.block_on(a_photo_of_the_phone_is_on_lgwan_without_what_it_tells());
    println!("a_photo_of_the_phone_is_on_lgwan_without_what_it_tells ... ok");
    ExitCode::SUCCESS
}

async fn a_photo_of_the_phone_is_on_lgwan_without_what_it_tells() {
    let of = [("lgwan", FilesSetting::Sanitised), ("internet", FilesSetting::Originals)];
    let of = of.map(|(name, files)| (name.to_owned(), ZoneConfig { files, ..ZoneConfig::default() }));
    let net = Net::with_zones(Zones {
        of: BTreeMap::from(of),
        worker: std::env::current_exe().unwrap(),
        arguments: vec![WORKER.to_owned()],
    });
    let stage = Stage::without_bot(&net, "kanazawa.test", env!("CARGO_BIN_EXE_yakuba-memo"), "").await;
    let lgwan = stage.server.listen_in(Some("lgwan")).await;
    let internet = stage.server.listen_in(Some("internet")).await;
    stage.set(&format!("lgwan_url = \"http://{lgwan}\""));
    stage.start_bot().await;
    let hanako = stage.server.user("hanako").await;
    let (phone, desk) = (hanako.through(internet), hanako.another_device().await.through(lgwan));
    let room = memo_room(&phone).await;

    let photo = photo();
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
    let (status, on_lgwan) = download(&desk, &shown).await;
    assert_eq!(status, StatusCode::OK);
    assert!(holds(&photo, PLACE) && !holds(&on_lgwan, PLACE) && !holds(&on_lgwan, b"Exif"));
    assert_eq!(image::load_from_memory(&on_lgwan).unwrap().width(), 60);
    assert_eq!(download(&phone, &shown).await, (StatusCode::OK, photo));

    // The other way round: an address of a mail on LGWAN's side, for the phone.
    desk.send(&room, "https://www.city.kanazawa.lg.jp/").await;
    phone.sync_until(|seen| seen.has_message(&room, "https://www.city.kanazawa.lg.jp/")).await;

    // What does not leave to LGWAN, the bot says, with the homeserver's reason.
    let uri = upload(&phone, "tool.exe", "application/octet-stream", b"MZ\x90\0\x03\0\0\0 and so on").await;
    send(&phone, &room, "tool", &json!({ "msgtype": "m.file", "body": "tool.exe", "url": uri })).await;
    let notice = hears(&desk, &room, |text| text.contains("tool.exe")).await;
    assert!(notice.contains("LGWAN 側には渡りません"), "{notice}");
    assert_eq!(download(&desk, &uri).await.0, StatusCode::FORBIDDEN);
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

async fn upload(user: &User, name: &str, kind: &str, bytes: &[u8]) -> String {
    let name: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/_matrix/media/v3/upload?filename={name}");
    let answer =
        user.ask_bytes(Method::POST, &path, &[("content-type", kind)], Bytes::copy_from_slice(bytes)).await;
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    answer["content_uri"].as_str().unwrap().to_owned()
}

async fn download(user: &User, uri: &str) -> (StatusCode, Vec<u8>) {
    let path = format!("/_matrix/client/v1/media/download/{}", uri.strip_prefix("mxc://").unwrap());
    let answer = user.ask_bytes(Method::GET, &path, &[], Bytes::new()).await;
    (answer.status(), answer.body().to_vec())
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
