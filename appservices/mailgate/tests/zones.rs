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
use post::{Town, body, hears, lines, own, winmail};
use serde_json::Value;
use testkit::{Seen, User};

fn main() -> ExitCode {
    zones::run("on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent", async {
        on_lgwan_a_mail_is_text_and_its_files_are_sanitised_or_absent().await;
        on_lgwan_files_are_judged_by_the_names_that_odd_headers_give_them_and_wherever_they_lie().await;
    })
}

/// D7, MA13
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

/// D7, MA10, MA12
async fn on_lgwan_files_are_judged_by_the_names_that_odd_headers_give_them_and_wherever_they_lie() {
    let net = zones::net();
    let town = Town::in_net(&net, "").await;
    town.stage.start_bot().await;
    let server = &town.stage.server;
    let (lgwan, internet) = (server.listen_in(Some("lgwan")).await, server.listen_in(Some("internet")).await);
    let hanako = server.user("hanako").await;
    let (phone, desk) = (hanako.through(internet), hanako.another_device().await.through(lgwan));
    let (room, address) = town.room(&phone, "example.co.jp").await;

    let photo = zones::photo();
    let part = |disposition: &str, bytes: &[u8]| {
        format!(
            "--x\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; {disposition}\n\n{}\n",
            BASE64_STANDARD.encode(bytes)
        )
    };
    let script = b"dir c:\\\r\n";
    let mail = |subject: &str, parts: &[String]| {
        lines(&format!(
            "From: taro@example.co.jp\nSubject: {subject}\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n{subject}\n{}--x--\n",
            parts.concat()
        ))
    };
    let parts = [
        part("filename*0*=\"''attached%2E\"; filename*1*=%62; filename*2=at", script),
        part("filename*0*=\"''attached%2E\"; filename*1*=%74; filename*2=xt", script),
        part("filename*0*=UTF-8''%E5%B7%A5; filename*1*=%E4%BA%8B.jpg", &photo),
        part("filename=winmail.dat", &winmail("\u{3042}.jpg", &photo)),
        part("filename=WINMAIL.DAT", &winmail("tool.txt.bat", script)),
    ];
    assert!(town.hand_over(&address, &mail("files", &parts)).await.starts_with("250"));
    hears(&desk, &room, "tool.txt.bat").await;
    let seen = desk.sync(std::time::Duration::ZERO).await;
    let said = own(&seen, &room);
    let of = |name: &str| said.iter().find(|event| body(event) == name).unwrap();
    // The same bytes: it is the name that counts, as programs of mail and Windows read it.
    for name in ["attached.bat", "tool.txt.bat"] {
        assert_eq!(download(&desk, of(name)).await.0, StatusCode::FORBIDDEN, "{name}");
        assert_eq!(download(&phone, of(name)).await, (StatusCode::OK, script.to_vec()), "{name}");
    }
    assert_eq!(download(&desk, of("attached.txt")).await.0, StatusCode::OK);
    for name in ["工事.jpg", "あ.jpg"] {
        let (status, on_lgwan) = download(&desk, of(name)).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        zones::assert_sanitised(&on_lgwan);
        assert_eq!(download(&phone, of(name)).await, (StatusCode::OK, photo.clone()), "{name}");
    }
    assert!(said.iter().all(|event| !body(event).eq_ignore_ascii_case("winmail.dat")), "{said:#?}");

    // One that cannot be opened is said to be so, and leaves to nobody on LGWAN.
    let mut cut = winmail("\u{3042}.jpg", &photo);
    cut.truncate(cut.len() - 100);
    let sealed = mail("sealed", &[part("filename=winmail.dat", &cut)]);
    assert!(town.hand_over(&address, &sealed).await.starts_with("250"));
    let file = |seen: &Seen| own(seen, &room).into_iter().find(|event| body(event) == "winmail.dat");
    let seen = desk.sync_until(|seen| file(seen).is_some()).await;
    let told = own(&seen, &room).into_iter().find(|event| body(event).contains("sealed")).unwrap();
    assert!(body(&told).contains("winmail.dat の中の添付は取り出せません"), "{told}");
    assert_eq!(download(&desk, &file(&seen).unwrap()).await.0, StatusCode::FORBIDDEN);
}

async fn download(user: &User, event: &Value) -> (StatusCode, Vec<u8>) {
    zones::download(user, event["content"]["url"].as_str().unwrap()).await
}
