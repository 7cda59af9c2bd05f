//! Files between servers.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};
use testkit::{Conduct, Hostile, Net, Raw, Server, User, Wire};

const DOWNLOAD: &str = "/media/download/";

async fn upload(user: &User, name: &str, kind: &str, body: impl Into<Bytes>) -> String {
    let path = format!("/_matrix/media/v3/upload?filename={name}");
    let answer = user.ask_bytes(Method::POST, &path, &[("content-type", kind)], body.into()).await;
    let json: Value = serde_json::from_slice(answer.body()).unwrap();
    json["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned()
}

async fn get(user: &User, path: &str) -> Response<Bytes> {
    user.ask_bytes(Method::GET, path, &[], Bytes::new()).await
}

async fn download(user: &User, id: &str) -> Response<Bytes> {
    get(user, &format!("/_matrix/client/v1/media/download/{id}")).await
}

fn header<'a>(answer: &'a Response<Bytes>, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[track_caller]
fn fails(answer: &Response<Bytes>, status: u16, errcode: &str) {
    let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    assert_eq!((answer.status().as_u16(), json["errcode"].as_str()), (status, Some(errcode)), "{json}");
}

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(800, 400).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn a_file_of_another_server_comes_whole_with_its_type_and_name_and_stays_as_a_copy() {
    for wire in [Wire::Memory, Wire::Tls] {
        let net = Net::with(wire, 5);
        let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
        let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
        let large: Vec<u8> = (0..3_000_000_u32).map(|at| u8::try_from(at % 253).unwrap()).collect();
        let id = upload(&hanako, "%F0%9F%90%94", "img/png", large.clone()).await;
        let empty = upload(&hanako, "", "text/plain", "").await;
        let shown = download(&taro, &id).await;
        assert_eq!((shown.status().as_u16(), shown.body() == &large), (200, true));
        assert_eq!(header(&shown, "content-type"), "img/png");
        assert_eq!(header(&shown, "content-disposition"), "attachment; filename*=utf-8''%F0%9F%90%94");
        assert_eq!(download(&taro, &empty).await.body().len(), 0);

        let picture_id = upload(&hanako, "p.png", "image/png", picture()).await;
        let path = format!("/_matrix/client/v1/media/thumbnail/{picture_id}?width=64&height=64&method=scale");
        let small = image::load_from_memory(get(&taro, &path).await.body()).unwrap();
        assert_eq!((small.width(), small.height()), (320, 160));
        // One that is wanted larger than the picture is the picture itself.
        for size in ["width=1000&height=900&method=scale", "width=9000&height=8000&method=scale"] {
            let path = format!("/_matrix/client/v1/media/thumbnail/{picture_id}?{size}");
            assert!(get(&taro, &path).await.body() == &picture(), "{size}");
        }
        // What is cropped has the shape that is wanted.
        let path =
            format!("/_matrix/client/v1/media/thumbnail/{picture_id}?width=640&height=640&method=crop");
        let square = image::load_from_memory(get(&taro, &path).await.body()).unwrap();
        assert_eq!((square.width(), square.height()), (400, 400));

        kanazawa.stop().await;
        assert_eq!(download(&taro, &id).await.body(), &large);
        fails(&download(&taro, "kanazawa.test/other").await, 502, "M_UNKNOWN");
    }
}

#[tokio::test]
async fn what_is_not_there_or_still_to_come_is_told_across_servers() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    fails(&download(&taro, "kanazawa.test/nothing").await, 404, "M_NOT_FOUND");
    fails(&download(&taro, "kanazawa.test/..%2Fx").await, 404, "M_NOT_FOUND");
    let made = hanako.ask_bytes(Method::POST, "/_matrix/media/v1/create", &[], Bytes::new()).await;
    let made: Value = serde_json::from_slice(made.body()).unwrap();
    let id = made["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    let asked = download(&taro, id);
    let put = async {
        let path = format!("/_matrix/media/v3/upload/{id}");
        hanako.ask_bytes(Method::PUT, &path, &[("content-type", "text/plain")], "late".into()).await
    };
    let (shown, put) = tokio::join!(asked, put);
    assert_eq!((put.status().as_u16(), &shown.body()[..]), (200, &b"late"[..]));
}

async fn pair() -> (Net, Server, User, Hostile) {
    pair_over(Wire::Memory).await
}

async fn pair_over(wire: Wire) -> (Net, Server, User, Hostile) {
    let net = Net::with(wire, 3);
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let mallory = net.hostile("mallory.test").await;
    (net, kanazawa, hanako, mallory)
}

fn parts(body: impl Into<Bytes>) -> Raw {
    let headers = vec![("content-type", "multipart/mixed; boundary=XX".to_owned())];
    Raw { headers, body: body.into(), is_endless: false }
}

fn in_parts(head: &str, body: &str) -> Raw {
    parts(format!(
        "--XX\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--XX\r\n{head}\r\n\r\n{body}\r\n--XX--"
    ))
}

#[tokio::test]
async fn another_servers_answer_is_read_however_it_is_written() {
    let (_net, _kanazawa, hanako, mallory) = pair().await;
    let bad = "Content-Type: image/png\r\nContent-Disposition: \u{7f}\u{e9};;filename=;x";
    for (number, (raw, kind)) in [
        (in_parts("Content-Type: image/png", "file"), "image/png"),
        (in_parts(bad, "file"), "image/png"),
        (in_parts("X: y", "file"), "application/octet-stream"),
        (in_parts("Content-Type: text/html\u{1}", "file"), "application/octet-stream"),
    ]
    .into_iter()
    .enumerate()
    {
        mallory.on(DOWNLOAD, Conduct::Raw(raw));
        let shown = download(&hanako, &format!("mallory.test/f{number}")).await;
        assert_eq!((shown.status().as_u16(), &shown.body()[..]), (200, &b"file"[..]), "{number}");
        assert_eq!(header(&shown, "content-type"), kind);
        assert!(!header(&shown, "content-disposition").contains("name"));
    }
    assert!(mallory.asked(DOWNLOAD)[0].uri.starts_with("/_matrix/federation/v1/media/download/f0"));
}

#[tokio::test]
async fn an_answer_that_is_cut_short_or_no_file_is_kept_by_nobody() {
    let (_net, kanazawa, hanako, mallory) = pair().await;
    let whole = in_parts("Content-Type: image/png", "file").body;
    let cut = [
        parts(whole.slice(..whole.len() - 10)),
        parts(whole.slice(..60)),
        parts(""),
        Raw {
            headers: vec![("content-type", "image/png".to_owned())],
            body: "file".into(),
            is_endless: false,
        },
    ];
    for (number, raw) in cut.into_iter().enumerate() {
        mallory.on(DOWNLOAD, Conduct::Raw(raw));
        fails(&download(&hanako, &format!("mallory.test/f{number}")).await, 502, "M_UNKNOWN");
    }
    mallory.on(DOWNLOAD, Conduct::say(json!({ "x": 1 })));
    fails(&download(&hanako, "mallory.test/json").await, 502, "M_UNKNOWN");
    mallory.on(DOWNLOAD, Conduct::refuse(404, "M_NOT_FOUND"));
    fails(&download(&hanako, "mallory.test/none").await, 404, "M_NOT_FOUND");
    assert!(mallory.asked("/media/v3/download/").is_empty());
    let missing = kanazawa.look(|house| (house.store.clone(), house.media.files().clone()));
    assert_eq!(media::missing_files(&missing.0, &missing.1).await.unwrap().count, 0);
    // What was refused may come later.
    mallory.on(DOWNLOAD, Conduct::Raw(in_parts("Content-Type: image/png", "file")));
    assert_eq!(&download(&hanako, "mallory.test/f0").await.body()[..], b"file");
}

#[tokio::test]
async fn a_server_that_knows_the_old_paths_only_is_asked_there() {
    let (_net, _kanazawa, hanako, mallory) = pair().await;
    let path = "/federation/v1/media/download/";
    mallory.on(path, Conduct::refuse(404, "M_UNRECOGNIZED"));
    let headers = vec![
        ("content-type", "text/plain".to_owned()),
        ("content-disposition", "inline; filename=a.txt".to_owned()),
    ];
    mallory.on("/media/v3/download/", Conduct::Raw(Raw { headers, body: "old".into(), is_endless: false }));
    let shown = download(&hanako, "mallory.test/f").await;
    assert_eq!((&shown.body()[..], header(&shown, "content-type")), (&b"old"[..], "text/plain"));
    assert_eq!(header(&shown, "content-disposition"), "inline; filename=\"a.txt\"");
    let asked = mallory.asked("/media/v3/download/");
    assert_eq!(asked[0].uri, "/_matrix/media/v3/download/mallory.test/f?allow_remote=false");
    mallory.on(path, Conduct::Say(http::StatusCode::BAD_REQUEST, json!("no Matrix")));
    assert_eq!(&download(&hanako, "mallory.test/g").await.body()[..], b"old");
}

#[tokio::test]
async fn an_endless_file_is_given_up_at_the_bound_and_holds_up_nobody() {
    let (_net, _kanazawa, hanako, mallory) = pair_over(Wire::Tls).await;
    let mut endless = in_parts("Content-Type: image/png", "file");
    endless.body = endless.body.slice(..endless.body.len() - 8);
    endless.is_endless = true;
    mallory.on(DOWNLOAD, Conduct::Raw(endless));
    let flood = download(&hanako, "mallory.test/endless");
    let other = async {
        let id = upload(&hanako, "", "", "mine").await;
        download(&hanako, &id).await
    };
    let (flood, other) = tokio::join!(flood, other);
    fails(&flood, 502, "M_TOO_LARGE");
    assert_eq!(&other.body()[..], b"mine");
    // Nobody has us fetch as much again.
    fails(&download(&hanako, "mallory.test/endless").await, 502, "M_TOO_LARGE");
    assert_eq!(mallory.asked(DOWNLOAD).len(), 1);
}

#[tokio::test]
async fn whoever_asks_at_the_same_time_waits_for_one_fetch_and_a_hanging_server_ends_for_all() {
    let (net, _kanazawa, hanako, mallory) = pair().await;
    mallory.on(DOWNLOAD, Conduct::Hang);
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let hanako = hanako.clone();
            tokio::spawn(async move { download(&hanako, "mallory.test/hangs").await })
        })
        .collect();
    mallory.until_asked(DOWNLOAD, 1).await;
    // Another file is no part of that.
    let other = mallory.until_asked("other", 1);
    let begun = tokio::spawn({
        let hanako = hanako.clone();
        async move { download(&hanako, "mallory.test/other").await }
    });
    other.await;
    net.advance(Duration::from_secs(301));
    for asked in asked {
        fails(&asked.await.unwrap(), 502, "M_UNKNOWN");
    }
    fails(&begun.await.unwrap(), 502, "M_UNKNOWN");
    assert_eq!(mallory.asked("/media/download/hangs").len(), 1);
}

#[tokio::test]
async fn a_file_that_is_kept_elsewhere_is_fetched_there_without_credentials_and_never_from_within() {
    let (_net, _kanazawa, hanako, mallory) = pair_over(Wire::Tls).await;
    for (number, location) in
        ["http://127.0.1.1/x", "file:///etc/passwd", "https://localhost/x", "nonsense", "https://[::1]/x"]
            .into_iter()
            .enumerate()
    {
        mallory.on(DOWNLOAD, Conduct::Raw(in_parts(&format!("Location: {location}"), "")));
        fails(&download(&hanako, &format!("mallory.test/f{number}")).await, 502, "M_UNKNOWN");
    }
}

#[tokio::test]
async fn a_copy_goes_when_nobody_has_asked_for_long_and_is_fetched_again() {
    let (net, kanazawa, hanako, mallory) = pair().await;
    mallory.on(DOWNLOAD, Conduct::Raw(in_parts("Content-Type: image/png", "file")));
    let own = upload(&hanako, "", "", "own").await;
    download(&hanako, "mallory.test/used").await;
    download(&hanako, "mallory.test/unused").await;
    assert_eq!(mallory.asked(DOWNLOAD).len(), 2);
    net.advance(Duration::from_secs(60 * 24 * 3_600));
    download(&hanako, "mallory.test/used").await;
    net.advance(Duration::from_secs(32 * 24 * 3_600));
    let media = kanazawa.look(|house| house.media.clone());
    while media.has_copy("mallory.test", "unused").await.unwrap() {
        // The sweep that is under way may have looked before.
        net.advance(Duration::from_secs(3_600));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(media.has_copy("mallory.test", "used").await.unwrap());
    assert_eq!(mallory.asked(DOWNLOAD).len(), 2);
    assert_eq!(&download(&hanako, "mallory.test/unused").await.body()[..], b"file");
    assert_eq!(mallory.asked(DOWNLOAD).len(), 3);
    assert_eq!(&download(&hanako, &own).await.body()[..], b"own");
}

#[tokio::test]
async fn a_server_is_given_the_files_of_whom_it_asks_in_parts_that_all_can_read() {
    let net = Net::new();
    let both = net.process(&["kanazawa.test", "nanao.test"]).await;
    let hanako = both.user("hanako").await;
    let mallory = net.hostile("mallory.test").await;
    let id = upload(&hanako, "n.txt", "text/plain", "words").await;
    let id = id.strip_prefix("kanazawa.test/").unwrap();
    let path = format!("/_matrix/federation/v1/media/download/{id}");
    let answer = mallory.ask(&net.outside(), "kanazawa.test", "GET", &path, None).await;
    assert_eq!(answer.status, 200);
    let boundary = answer.text.strip_prefix("\r\n--").unwrap().split("\r\n").next().unwrap().to_owned();
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\nContent-Type: text/plain\r\n\
         Content-Disposition: inline; filename=\"n.txt\"\r\n\r\nwords\r\n--{boundary}--\r\n"
    );
    assert_eq!(answer.text, expected);
    let other = mallory.ask(&net.outside(), "nanao.test", "GET", &path, None).await;
    assert_eq!((other.status, other.errcode()), (404, Some("M_NOT_FOUND")));
    let thumbnail = format!("/_matrix/federation/v1/media/thumbnail/{id}?width=32&height=32");
    let none = mallory.ask(&net.outside(), "kanazawa.test", "GET", &thumbnail, None).await;
    assert_eq!((none.status, none.errcode()), (400, Some("M_UNKNOWN")));
    // Authorities of one process need no network.
    let other = both.user_of("nanao.test", "taro").await;
    assert_eq!(&download(&other, &format!("kanazawa.test/{id}")).await.body()[..], b"words");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_what_was_not_leaves_nothing() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let id = upload(&hanako, "", "text/plain", "kept").await;
    // It breaks while some come.
    let uploads: Vec<_> = (0..8)
        .map(|number| {
            let hanako = hanako.clone();
            tokio::spawn(async move {
                let body = vec![number; 2_000_000];
                let path = "/_matrix/media/v3/upload";
                // Without an answer it panics, which ends this task only.
                hanako.ask_bytes(Method::POST, path, &[], body.into()).await
            })
        })
        .collect();
    kanazawa.crash_and_restart().await;
    for upload in uploads {
        let Ok(answer) = upload.await else { continue };
        let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if let Some(uri) = json["content_uri"].as_str() {
            let shown = download(&hanako, uri.strip_prefix("mxc://").unwrap()).await;
            assert_eq!(shown.body().len(), 2_000_000);
        }
    }
    assert_eq!(&download(&hanako, &id).await.body()[..], b"kept");
    let (store, files) = kanazawa.look(|house| (house.store.clone(), house.media.files().clone()));
    assert_eq!(media::missing_files(&store, &files).await.unwrap().count, 0);
}
