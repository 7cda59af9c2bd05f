//! What people outside send by a link, read on LGWAN's side: sanitised.
//!
//! This program is the server's worker as well, which takes files apart in a process of its own.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "rooms/town.rs"]
#[expect(dead_code, reason = "other tests need more")]
mod town;

use std::process::ExitCode;

use bot_testing::zones;
use http::StatusCode;
use town::*;

/// 96 × 64 points with the place where they were taken, and as many that are to be turned.
const PLAIN: &[u8] = include_bytes!("../../../src/sanitise/tests/heic/plain.heic");
const TURNED: &[u8] = include_bytes!("../../../src/sanitise/tests/heic/turned.heic");

fn main() -> ExitCode {
    zones::run(
        "a_phones_heic_is_taken_by_the_page_and_is_an_upright_jpeg_without_its_place_on_lgwan",
        a_phones_heic_is_taken_by_the_page_and_is_an_upright_jpeg_without_its_place_on_lgwan(),
    )
}

/// PH1
async fn a_phones_heic_is_taken_by_the_page_and_is_an_upright_jpeg_without_its_place_on_lgwan() {
    let town = town_in(&zones::net(), "").await;
    let server = &town.stage.server;
    let (lgwan, internet) = (server.listen_in(Some("lgwan")).await, server.listen_in(Some("internet")).await);
    let (hanako, room) = town.member("hanako").await;
    let (phone, desk) =
        (hanako.another_device().await.through(internet), hanako.another_device().await.through(lgwan));
    hanako.send(&room, "!受取 現場写真 種類 画像").await;
    let link = town.link_in(&said(&hanako, &room, "受取URL 1番").await);

    assert!(zones::holds(PLAIN, zones::PLACE));
    for (name, picture, size) in [("IMG_0001.HEIC", PLAIN, (96, 64)), ("IMG_0002.heic", TURNED, (64, 96))] {
        let sent = town.send(&link, name, picture.to_vec()).await;
        town.end(&sent).await;
        said(&hanako, &room, &format!("{name}（")).await;
        let all = messages(&hanako, &room).await;
        let shown = all.iter().find(|event| event["content"]["body"] == name).unwrap();
        let uri = shown["content"]["url"].as_str().unwrap();
        let (status, on_lgwan) = zones::download(&desk, uri).await;
        assert_eq!((status, zones::size_of_jpeg(&on_lgwan)), (StatusCode::OK, size), "{name}");
        assert!(!zones::holds(&on_lgwan, zones::PLACE) && !zones::holds(&on_lgwan, b"Exif"), "{name}");
        assert_eq!(zones::download(&phone, uri).await, (StatusCode::OK, picture.to_vec()), "{name}");
    }
}
