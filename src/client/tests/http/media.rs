//! Uploads and downloads, as clients and browsers see them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use account::Actor;
use base::{ByteSize, Clock};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use room::{Denial, FileFacts, FileReader, Policy};
use ruma::{ServerName, UserId};
use serde_json::Value;
use web::Body;

use crate::town::{Person, Town};

const UPLOAD: &str = "/_matrix/media/v3/upload";
const CREATE: &str = "/_matrix/media/v1/create";

struct Shown {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Shown {
    async fn of(response: Response<Body>) -> Shown {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Shown { status: head.status.as_u16(), headers: head.headers, body }
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    #[track_caller]
    fn fails(&self, status: u16, errcode: &str) {
        assert_eq!(
            (self.status, self.json()["errcode"].as_str()),
            (status, Some(errcode)),
            "{:?}",
            self.body
        );
    }
}

/// A request with further headers; `Host` and a token may be among them.
async fn send(
    town: &Town,
    person: Option<&Person<'_>>,
    method: &str,
    path: &str,
    headers: &[(header::HeaderName, &str)],
    body: Body,
) -> Shown {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", person.map_or("hs1", |person| person.host));
    if let Some(person) = person {
        request = request.header("authorization", format!("Bearer {}", person.token));
    }
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    Shown::of(town.respond(request.body(body).unwrap()).await).await
}

async fn get(town: &Town, person: &Person<'_>, path: &str, headers: &[(header::HeaderName, &str)]) -> Shown {
    send(town, Some(person), "GET", path, headers, Body::empty()).await
}

/// Uploads a file and gives its server and id, with a slash between.
async fn upload(town: &Town, person: &Person<'_>, name: &str, kind: &str, body: &[u8]) -> String {
    let path = format!("{UPLOAD}?filename={}", percent(name));
    let kind = [(header::CONTENT_TYPE, kind)];
    let answer = send(
        town,
        Some(person),
        "POST",
        &path,
        &kind[..usize::from(!kind[0].1.is_empty())],
        Body::from(body.to_vec()),
    )
    .await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    id_in(&answer)
}

fn id_in(answer: &Shown) -> String {
    answer.json()["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn download(id: &str) -> String {
    format!("/_matrix/client/v1/media/download/{id}")
}

/// Between two looks at files, of which nobody tells when they change.
async fn look_again() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// All files below a directory.
fn files_in(directory: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![directory];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_with_headers_that_keep_a_browser_from_running_it() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let page = b"<script>alert(1)</script>";
    let id = upload(&town, &anna, "seite.html", "text/html", page).await;
    let shown = get(&town, &anna, &download(&id), &[]).await;
    assert_eq!((shown.status, &shown.body[..]), (200, &page[..]));
    assert_eq!(shown.header("content-type"), "text/html");
    assert_eq!(shown.header("content-disposition"), r#"attachment; filename="seite.html""#);
    assert!(
        shown
            .header("content-security-policy")
            .starts_with("sandbox; default-src 'none'; script-src 'none';")
    );
    assert_eq!(shown.header("cross-origin-resource-policy"), "cross-origin");
    assert_eq!(shown.header("x-content-type-options"), "nosniff");
    assert!(shown.header("cache-control").starts_with("private"));
    assert_eq!(shown.header("content-length"), page.len().to_string());
    // By another name, for another browser that has it already.
    let named = get(&town, &anna, &format!("{}/{}", download(&id), percent("字;a.html")), &[]).await;
    assert_eq!(named.header("content-disposition"), "attachment; filename*=utf-8''%E5%AD%97%3Ba.html");
    let tag = shown.header("etag").to_owned();
    let again = get(&town, &anna, &download(&id), &[(header::IF_NONE_MATCH, &tag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    // Without a token, and by another authority's.
    send(&town, None, "GET", &download(&id), &[], Body::empty()).await.fails(401, "M_MISSING_TOKEN");
    let other = town.user_at("hs2", "bert").await;
    assert_eq!(&get(&town, &other, &download(&id), &[]).await.body[..], page);
}

#[tokio::test]
async fn a_name_in_japanese_is_told_encoded_and_a_listed_type_is_shown() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let id = upload(&town, &anna, "申請 \"1\".png", "image/png", b"png").await;
    let shown = get(&town, &anna, &download(&id), &[]).await;
    let encoded = "inline; filename*=utf-8''%E7%94%B3%E8%AB%8B%20%221%22.png";
    assert_eq!((shown.header("content-type"), shown.header("content-disposition")), ("image/png", encoded));
}

#[tokio::test]
async fn what_has_no_type_or_no_good_one_is_bytes_and_saved() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    for kind in ["", "nonsense", "a/b;\u{1}"] {
        let kind = if kind.contains('\u{1}') { "text/html, image/png" } else { kind };
        let id = upload(&town, &anna, "", kind, b"x").await;
        let shown = get(&town, &anna, &download(&id), &[]).await;
        assert_eq!(shown.header("content-type"), "application/octet-stream", "{kind}");
        assert_eq!(shown.header("content-disposition"), "attachment");
    }
}

#[tokio::test]
async fn a_part_is_given_to_who_asks_for_it() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let whole: Vec<u8> = (0..200_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let id = upload(&town, &anna, "", "video/mp4", &whole).await;
    for (range, first, last) in
        [("bytes=0-9", 0, 9), ("bytes=100000-", 100_000, 199_999), ("bytes=-5", 199_995, 199_999)]
    {
        let shown = get(&town, &anna, &download(&id), &[(header::RANGE, range)]).await;
        assert_eq!((shown.status, &shown.body[..]), (206, &whole[first..=last]));
        assert_eq!(shown.header("content-range"), format!("bytes {first}-{last}/200000"));
        assert_eq!(shown.header("content-length"), (last - first + 1).to_string());
    }
    let outside = get(&town, &anna, &download(&id), &[(header::RANGE, "bytes=200000-")]).await;
    assert_eq!((outside.status, outside.header("content-range")), (416, "bytes */200000"));
    // Of another file than the one that the client has a part of, it wants all.
    let other = [(header::RANGE, "bytes=0-9"), (header::IF_RANGE, "\"other\"")];
    assert_eq!(get(&town, &anna, &download(&id), &other).await.body.len(), 200_000);
    let empty = upload(&town, &anna, "", "", b"").await;
    let shown = get(&town, &anna, &download(&empty), &[]).await;
    assert_eq!((shown.status, shown.body.len(), shown.header("content-length")), (200, 0, "0"));
}

#[tokio::test]
async fn equal_files_are_kept_once_and_each_has_its_own_id_and_name() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let bert = town.user_at("hs2", "bert").await;
    let one = upload(&town, &anna, "one", "text/plain", b"equal").await;
    let two = upload(&town, &bert, "two", "image/png", b"equal").await;
    assert_eq!(files_in(town.directory.path().join("files")).len(), 1);
    let shown = get(&town, &anna, &download(&two), &[]).await;
    assert_eq!((shown.header("content-type"), &shown.body[..]), ("image/png", &b"equal"[..]));
    // The last id takes the file with it.
    let parts = |id: &str| id.split_once('/').map(|(server, id)| (server.to_owned(), id.to_owned())).unwrap();
    for (count, id) in [(1, &one), (0, &two)] {
        let (server, media) = parts(id);
        assert!(town.media.remove(<&ServerName>::try_from(server.as_str()).unwrap(), &media).await.unwrap());
        assert_eq!(files_in(town.directory.path().join("files")).len(), count);
        get(&town, &anna, &download(id), &[]).await.fails(404, "M_NOT_FOUND");
    }
    // And it comes again.
    let again = upload(&town, &anna, "", "", b"equal").await;
    assert_eq!(&get(&town, &anna, &download(&again), &[]).await.body[..], b"equal");
}

#[tokio::test]
async fn many_equal_uploads_at_once_all_count() {
    let town = Town::new().await;
    let mut people = Vec::new();
    for number in 0..4 {
        people.push(town.user(&format!("p{number}")).await);
    }
    let uploads = people.iter().flat_map(|person| (0..4).map(|_| upload(&town, person, "", "", b"same")));
    let ids = futures_util::future::join_all(uploads.collect::<Vec<_>>()).await;
    assert_eq!(files_in(town.directory.path().join("files")).len(), 1);
    for (left, id) in (0..ids.len()).rev().zip(&ids) {
        let (server, media) = id.split_once('/').unwrap();
        town.media.remove(<&ServerName>::try_from(server).unwrap(), media).await.unwrap();
        assert_eq!(files_in(town.directory.path().join("files")).len(), usize::from(left > 0));
    }
}

#[tokio::test]
async fn a_lost_file_is_an_error_until_somebody_uploads_it_again() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let id = upload(&town, &anna, "", "", b"lost").await;
    for file in files_in(town.directory.path().join("files")) {
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!(get(&town, &anna, &download(&id), &[]).await.status, 500);
    upload(&town, &anna, "", "", b"lost").await;
    assert_eq!(&get(&town, &anna, &download(&id), &[]).await.body[..], b"lost");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let parts = [Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("the line broke"))];
    let broken = Body::from_stream(stream::iter(parts));
    send(&town, Some(&anna), "POST", UPLOAD, &[], broken).await.fails(400, "M_UNKNOWN");
    assert!(files_in(town.directory.path().to_owned()).is_empty());
    // So does one whose client goes away.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let endless = stream::unfold(receiver, |mut parts| async {
        Some((Ok::<_, std::io::Error>(parts.recv().await?), parts))
    });
    let path = town.directory.path().to_owned();
    let request = Box::pin(send(&town, Some(&anna), "POST", UPLOAD, &[], Body::from_stream(endless)));
    tokio::select! {
        _ = request => unreachable!("it has no end"),
        () = async {
            sender.send(Bytes::from_static(b"begun")).await.unwrap();
            while files_in(path.clone()).iter().all(|file| std::fs::metadata(file).unwrap().len() == 0) {
                look_again().await;
            }
        } => {}
    }
    assert!(files_in(path).is_empty());
}

#[tokio::test]
async fn too_large_a_file_is_refused_whether_or_not_it_says_so() {
    let config = media::Config { largest_upload: ByteSize::kib(100), ..media::Config::default() };
    let town = Town::keeping(config, false).await;
    let anna = town.user("anna").await;
    let told = get(&town, &anna, "/_matrix/client/v1/media/config", &[]).await;
    assert_eq!(told.json()["m.upload.size"], 102_400);
    assert_eq!(get(&town, &anna, "/_matrix/media/v3/config", &[]).await.json()["m.upload.size"], 102_400);
    let said = [(header::CONTENT_LENGTH, "102401")];
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    send(&town, Some(&anna), "POST", UPLOAD, &said, never).await.fails(413, "M_TOO_LARGE");
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![0; 10_000])));
    send(&town, Some(&anna), "POST", UPLOAD, &[], Body::from_stream(endless)).await.fails(413, "M_TOO_LARGE");
    assert!(files_in(town.directory.path().to_owned()).is_empty());
    upload(&town, &anna, "", "", &[0; 102_400]).await;
}

#[tokio::test]
async fn a_user_and_an_authority_keep_no_more_than_they_may() {
    let config = media::Config {
        of_user: Some(ByteSize::bytes(10)),
        of_authority: Some(ByteSize::bytes(15)),
        ..media::Config::default()
    };
    let town = Town::keeping(config, false).await;
    let anna = town.user("anna").await;
    let id = upload(&town, &anna, "", "", b"1234567890").await;
    let post = async |person: &Person<'_>, body: &'static str| {
        send(&town, Some(person), "POST", UPLOAD, &[], Body::from(body)).await
    };
    post(&anna, "1").await.fails(403, "M_FORBIDDEN");
    let bert = town.user("bert").await;
    post(&bert, "123456").await.fails(403, "M_FORBIDDEN");
    assert_eq!(post(&bert, "12345").await.status, 200);
    assert_eq!(post(&town.user_at("hs2", "carla").await, "123456").await.status, 200);
    let (server, media) = id.split_once('/').unwrap();
    town.media.remove(<&ServerName>::try_from(server).unwrap(), media).await.unwrap();
    assert_eq!(post(&anna, "1").await.status, 200);
}

#[tokio::test]
async fn one_user_uploads_a_few_files_at_once_more_wait_in_turn_and_what_is_too_much_is_refused() {
    let config = media::Config { uploads_of_user: 2, ..media::Config::default() };
    let town = Town::keeping(config, false).await;
    let (anna, bert) = (town.user("anna").await, town.user("bert").await);
    let hanging = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let mut first = Box::pin(send(&town, Some(&anna), "POST", UPLOAD, &[], hanging()));
    let mut second = Box::pin(send(&town, Some(&anna), "POST", UPLOAD, &[], hanging()));
    let begun = async {
        while files_in(town.directory.path().to_owned()).len() < 2 {
            look_again().await;
        }
    };
    tokio::select! { _ = &mut first => {}, _ = &mut second => {}, () = begun => {} }
    let more = (0..25).map(|_| send(&town, Some(&anna), "POST", UPLOAD, &[], Body::from("x")));
    let mut more: FuturesUnordered<_> = more.collect();
    let refused = more.next().await.unwrap();
    refused.fails(429, "M_LIMIT_EXCEEDED");
    assert_eq!(refused.json()["limit"], "uploads_of_user");
    upload(&town, &bert, "", "", b"x").await;
    drop(first);
    while let Some(in_turn) = more.next().await {
        assert_eq!(in_turn.status, 200);
    }
    upload(&town, &anna, "", "", b"x").await;
}

#[tokio::test]
async fn an_id_that_was_made_first_gets_its_file_once_from_its_owner() {
    let (clock, hand) = Clock::manual(1_000_000);
    let town = Town::at(clock).await;
    let (anna, bert) = (town.user("anna").await, town.user("bert").await);
    let make = async || {
        let made = send(&town, Some(&anna), "POST", CREATE, &[], Body::empty()).await;
        assert_eq!(made.json()["unused_expires_at"], 1_000_000 + 24 * 60 * 60 * 1_000);
        id_in(&made)
    };
    let put = async |person: &Person<'_>, id: &str| {
        send(
            &town,
            Some(person),
            "PUT",
            &format!("{UPLOAD}/{id}"),
            &[(header::CONTENT_TYPE, "image/png")],
            Body::from("png"),
        )
        .await
    };
    let id = make().await;
    let soon = format!("{}?timeout_ms=0", download(&id));
    get(&town, &bert, &soon, &[]).await.fails(504, "M_NOT_YET_UPLOADED");
    put(&bert, &id).await.fails(403, "M_FORBIDDEN");
    put(&anna, "hs2/x").await.fails(403, "M_FORBIDDEN");
    put(&anna, "hs1/never").await.fails(404, "M_NOT_FOUND");
    // Who waits is told when it comes.
    let path = format!("{}?timeout_ms=10000", download(&id));
    let waits = get(&town, &bert, &path, &[]);
    let (waited, put_first) = futures_util::future::join(waits, put(&anna, &id)).await;
    assert_eq!((put_first.status, waited.status, &waited.body[..]), (200, 200, &b"png"[..]));
    put(&anna, &id).await.fails(409, "M_CANNOT_OVERWRITE_MEDIA");
    let late = make().await;
    // C94: and so is who waits in vain, when his time is over.
    let path = format!("{}?timeout_ms=10000", download(&make().await));
    let sleepers = hand.sleepers();
    let mut waits = std::pin::pin!(get(&town, &bert, &path, &[]));
    while hand.sleepers() == sleepers {
        assert!(futures_util::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    hand.advance(Duration::from_millis(9_900));
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut waits).is_pending(), "before its time");
        tokio::task::yield_now().await;
    }
    hand.advance(Duration::from_millis(100));
    waits.await.fails(504, "M_NOT_YET_UPLOADED");

    hand.advance(Duration::from_secs(24 * 60 * 60 + 1));
    put(&anna, &late).await.fails(404, "M_NOT_FOUND");
    get(&town, &bert, &format!("{}?timeout_ms=0", download(&late)), &[]).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn only_so_many_ids_of_one_user_wait_for_their_files() {
    let config = media::Config { most_reserved: 2, ..media::Config::default() };
    let town = Town::keeping(config, false).await;
    let anna = town.user("anna").await;
    let make = async || send(&town, Some(&anna), "POST", CREATE, &[], Body::empty()).await;
    let first = id_in(&make().await);
    make().await;
    make().await.fails(429, "M_LIMIT_EXCEEDED");
    let put = send(&town, Some(&anna), "PUT", &format!("{UPLOAD}/{first}"), &[], Body::from("x")).await;
    assert_eq!(put.status, 200);
    assert_eq!(make().await.status, 200);
}

#[tokio::test]
async fn the_old_paths_give_nothing_unless_that_is_set() {
    let old = |id: &str| format!("/_matrix/media/v3/download/{id}");
    for (open, path) in [(false, "v3"), (true, "v3"), (true, "r0")] {
        let town = Town::keeping(media::Config::default(), open).await;
        let anna = town.user("anna").await;
        let id = upload(&town, &anna, "", "image/png", b"png").await;
        let path = old(&id).replace("v3", path);
        let shown = send(&town, None, "GET", &path, &[], Body::empty()).await;
        if open {
            assert_eq!((shown.status, &shown.body[..]), (200, &b"png"[..]));
        } else {
            shown.fails(404, "M_NOT_FOUND");
        }
        assert_eq!(get(&town, &anna, &download(&id), &[]).await.status, 200);
    }
}

#[tokio::test]
async fn what_is_withheld_is_shown_to_nobody_however_it_is_uploaded_again() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let id = upload(&town, &anna, "", "", b"bad").await;
    let (server, media) = id.split_once('/').unwrap();
    let server = <&ServerName>::try_from(server).unwrap();
    assert!(town.media.withhold(server, media, true, &Actor::operator("test")).await.unwrap());
    get(&town, &anna, &download(&id), &[]).await.fails(404, "M_NOT_FOUND");
    town.media.remove(server, media).await.unwrap();
    let again = upload(&town, &anna, "", "", b"bad").await;
    get(&town, &anna, &download(&again), &[]).await.fails(404, "M_NOT_FOUND");
}

/// Keeps out programs by what they hold, and files of `hs2` from users of `hs1`.
#[derive(Default)]
struct Rule(Mutex<Vec<Option<u64>>>);

impl Policy for Rule {
    fn upload(&self, _: &UserId, file: &FileFacts<'_>) -> Result<(), Denial> {
        self.0.lock().unwrap().push(file.size);
        let is_bad =
            file.kind == "application/x-msdownload" || file.sha256.is_some_and(|sha256| sha256[0] == 0xfc);
        if is_bad { Err(Denial { public: "no programs".into(), private: "rule 7".into() }) } else { Ok(()) }
    }

    fn download(&self, reader: FileReader<'_>, server: &ServerName, _: &FileFacts<'_>) -> Result<(), Denial> {
        match reader {
            FileReader::User(user) if user.server_name() != server => {
                Err(Denial { public: "not here".into(), private: "rule 8".into() })
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn the_policy_is_asked_before_a_file_comes_when_it_is_here_and_when_it_is_read() {
    let rule = Arc::new(Rule::default());
    let town = Town::under(rule.clone()).await;
    let anna = town.user("anna").await;
    let kind = [(header::CONTENT_TYPE, "application/x-msdownload")];
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let refused = send(&town, Some(&anna), "POST", UPLOAD, &kind, never).await;
    refused.fails(403, "M_FORBIDDEN");
    assert_eq!(refused.json()["error"], "no programs");
    // SHA-256 of "bar" begins with fc.
    send(&town, Some(&anna), "POST", UPLOAD, &[], Body::from("bar")).await.fails(403, "M_FORBIDDEN");
    assert!(files_in(town.directory.path().to_owned()).is_empty());
    assert_eq!(*rule.0.lock().unwrap(), [None, None, Some(3)]);
    let id = upload(&town, &anna, "", "", b"foo").await;
    assert_eq!(get(&town, &anna, &download(&id), &[]).await.status, 200);
    let bert = town.user_at("hs2", "bert").await;
    get(&town, &bert, &download(&id), &[]).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn odd_ids_are_not_found() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    for id in ["hs1/..%2F..%2Fetc", "hs1/a%00b", "hs1/%E5%AD%97", "hs1/nothing"] {
        get(&town, &anna, &download(id), &[]).await.fails(404, "M_NOT_FOUND");
    }
    get(&town, &anna, &download("%20/x"), &[]).await.fails(400, "M_INVALID_PARAM");
    // What is not uploaded needs no body that is long to be refused: it is streamed.
    let parts = stream::iter(["a", "b", "c"]).map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
    let answer = send(&town, Some(&anna), "POST", UPLOAD, &[], Body::from_stream(parts)).await;
    assert_eq!(&get(&town, &anna, &download(&id_in(&answer)), &[]).await.body[..], b"abc");
}

fn thumbnail(id: &str, query: &str) -> String {
    format!("/_matrix/client/v1/media/thumbnail/{id}?{query}")
}

fn picture(width: u32, height: u32) -> Vec<u8> {
    let picture =
        image::RgbImage::from_fn(width, height, |x, _| image::Rgb([u8::try_from(x % 256).unwrap(), 9, 9]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn size(shown: &Shown) -> (u32, u32) {
    let picture = image::load_from_memory(&shown.body).unwrap();
    (picture.width(), picture.height())
}

#[tokio::test]
async fn a_thumbnail_is_made_kept_made_again_and_goes_with_its_file() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let id = upload(&town, &anna, "", "image/png", &picture(1_200, 900)).await;
    let directory = town.directory.path().join("files");
    for (query, expected, files) in [
        ("width=648&height=710", (800, 600), 2),
        ("width=648&height=710&method=scale", (800, 600), 2),
        ("width=32&height=32&method=crop", (32, 32), 3),
        ("width=9&height=9&method=scale&animated=true", (320, 240), 4),
    ] {
        let shown = get(&town, &anna, &thumbnail(&id, query), &[]).await;
        assert_eq!((shown.status, size(&shown)), (200, expected), "{query}");
        assert_eq!(shown.header("content-type"), "image/png");
        assert_eq!(shown.header("content-disposition"), r#"inline; filename="thumbnail.png""#);
        assert_eq!(files_in(directory.clone()).len(), files, "{query}");
    }
    // No size is larger than the picture: it is given as it is.
    let shown = get(&town, &anna, &thumbnail(&id, "width=9999&height=9999"), &[]).await;
    assert_eq!((shown.status, &shown.body[..]), (200, &picture(1_200, 900)[..]));
    assert_eq!(files_in(directory.clone()).len(), 4);
    for lost in files_in(directory.clone()) {
        if lost.file_name().unwrap().to_str().unwrap().contains('.') {
            std::fs::remove_file(lost).unwrap();
        }
    }
    let shown = get(&town, &anna, &thumbnail(&id, "width=32&height=32&method=crop"), &[]).await;
    assert_eq!((size(&shown), files_in(directory.clone()).len()), ((32, 32), 2));
    let (server, media) = id.split_once('/').unwrap();
    town.media.remove(<&ServerName>::try_from(server).unwrap(), media).await.unwrap();
    assert!(files_in(directory).is_empty());
}

/// As often as it is small, one colour after another.
fn moving(side: u32, pictures: u8) -> Vec<u8> {
    let mut gif = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new_with_speed(&mut gif, 30);
    encoder.set_repeat(image::codecs::gif::Repeat::Infinite).unwrap();
    let picture = |shade| image::RgbaImage::from_pixel(side, side, image::Rgba([shade, 0, 0, 255]));
    encoder.encode_frames((0..pictures).map(|at| image::Frame::new(picture(at * 50)))).unwrap();
    drop(encoder);
    gif
}

#[tokio::test]
async fn a_thumbnail_moves_where_its_file_does_and_that_is_asked_for() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let gif = moving(400, 3);
    let id = upload(&town, &anna, "", "image/gif", &gif).await;
    let directory = town.directory.path().join("files");
    for _ in 0..2 {
        let shown =
            get(&town, &anna, &thumbnail(&id, "width=96&height=96&method=crop&animated=true"), &[]).await;
        assert_eq!((shown.status, shown.header("content-type")), (200, "image/webp"));
        assert_eq!(shown.header("content-disposition"), r#"inline; filename="thumbnail.webp""#);
        let decoder = image::codecs::webp::WebPDecoder::new(std::io::Cursor::new(&shown.body)).unwrap();
        assert!(decoder.has_animation());
        assert_eq!(size(&shown), (96, 96));
        assert_eq!(files_in(directory.clone()).len(), 2, "it is kept");
    }
    for query in ["", "&animated=false"] {
        let still =
            get(&town, &anna, &thumbnail(&id, &format!("width=96&height=96&method=crop{query}")), &[]).await;
        assert_eq!((still.status, still.header("content-type")), (200, "image/png"));
    }
    // What is small enough is given as it is.
    let small = upload(&town, &anna, "", "image/gif", &moving(90, 2)).await;
    let shown =
        get(&town, &anna, &thumbnail(&small, "width=96&height=96&method=crop&animated=true"), &[]).await;
    assert_eq!((shown.header("content-type"), &shown.body[..]), ("image/gif", &moving(90, 2)[..]));
    // It says to be larger than is made to move: a still one, which is kept as well.
    let mut long = moving(200, 2);
    long[6..10].copy_from_slice(&[0x54, 0x0b, 0x54, 0x0b]);
    let long = upload(&town, &anna, "", "image/gif", &long).await;
    let shown =
        get(&town, &anna, &thumbnail(&long, "width=96&height=96&method=crop&animated=true"), &[]).await;
    assert_eq!((shown.status, shown.header("content-type"), size(&shown)), (200, "image/png", (96, 96)));
}

#[tokio::test]
async fn what_is_no_picture_is_kept_and_has_no_thumbnail() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let webm = ("video/webm", "\u{1a}E\u{df}"); // C89
    for (kind, body) in [webm, ("video/mp4", "mp4"), ("application/zip", "PK"), ("image/png", "\u{7f}bad")] {
        let id = upload(&town, &anna, "", kind, body.as_bytes()).await;
        get(&town, &anna, &thumbnail(&id, "width=32&height=32"), &[]).await.fails(400, "M_UNKNOWN");
        assert_eq!(&get(&town, &anna, &download(&id), &[]).await.body[..], body.as_bytes());
    }
    let id = upload(&town, &anna, "", "image/png", &picture(9, 9)).await;
    for query in ["width=-1&height=5", "width=a&height=5", "width=0&height=0", "width=5&height=5&method=x"] {
        get(&town, &anna, &thumbnail(&id, query), &[]).await.fails(400, "M_INVALID_PARAM");
    }
    get(&town, &anna, &thumbnail(&id, "width=5"), &[]).await.fails(400, "M_MISSING_PARAM");
    let old = format!("/_matrix/media/v3/thumbnail/{id}?width=5&height=5");
    send(&town, None, "GET", &old, &[], Body::empty()).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn many_who_ask_for_one_thumbnail_at_once_get_it() {
    let town = Town::new().await;
    let anna = town.user("anna").await;
    let id = upload(&town, &anna, "", "image/png", &picture(400, 300)).await;
    let path = thumbnail(&id, "width=32&height=32&method=crop");
    let asked = (0..20).map(|_| get(&town, &anna, &path, &[]));
    for shown in futures_util::future::join_all(asked).await {
        assert_eq!((shown.status, size(&shown)), (200, (32, 32)));
    }
}

#[tokio::test]
async fn whoever_is_suspended_sees_files_and_uploads_none_and_whoever_is_locked_neither() {
    let town = Town::new().await;
    let (somu, anna) = (town.admin("somu").await, town.user("anna").await);
    let id = upload(&town, &anna, "", "", b"mine").await;
    let post = async || send(&town, Some(&anna), "POST", UPLOAD, &[], Body::from("x")).await;
    let set = async |verb: &str, body: Value| {
        somu.put(&format!("/_matrix/client/v1/admin/{verb}/{}", anna.id), body).await.ok();
    };
    set("suspend", serde_json::json!({ "suspended": true })).await;
    post().await.fails(403, "M_USER_SUSPENDED");
    assert_eq!(get(&town, &anna, &download(&id), &[]).await.status, 200);
    set("lock", serde_json::json!({ "locked": true })).await;
    post().await.fails(401, "M_USER_LOCKED");
    get(&town, &anna, &download(&id), &[]).await.fails(401, "M_USER_LOCKED");
}
