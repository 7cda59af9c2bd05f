//! The page and the uploads, by the router that serves them, without a homeserver.

#![expect(clippy::unwrap_used, reason = "tests")]

mod guards;
mod links;
mod uploads;

use std::{collections::BTreeSet, time::Duration};

use axum::body::to_bytes;
use base::{Clock, ManualClock};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bot_kit::Store;
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::{
    command::Wish,
    drops::Made,
    kind::Group,
    record::{Scribe, verify},
    rows::{Refused, UploadState},
    secret::{Key, hex},
    settings::Settings,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A beginning that is a picture's.
const PICTURE: &[u8] = b"\xff\xd8\xff\xe0 a picture, as far as its beginning tells";

struct Place {
    directory: TempDir,
    drops: Drops,
    files: Files,
    router: Router,
    hand: ManualClock,
}

/// Everything anew over what is on the disk.
fn open(directory: TempDir, clock: Clock, hand: ManualClock, settings: Settings) -> Place {
    let store = Store::open(&directory.path().join("store")).unwrap();
    let drops = Drops::new(store, clock, settings, Key::of("as-token"));
    let files = Files::open(directory.path().join("files"), drops.clone()).unwrap();
    let router = Door::new(drops.clone(), files.clone(), None).router();
    Place { directory, drops, files, router, hand }
}

fn place_with(change: impl FnOnce(&mut Settings)) -> Place {
    let (clock, hand) = Clock::manual(1_796_443_200_000);
    let mut settings = Settings::for_tests();
    change(&mut settings);
    open(tempfile::tempdir().unwrap(), clock, hand, settings)
}

fn place() -> Place {
    place_with(|_| {})
}

fn wish() -> Wish {
    Wish {
        title: "工事写真".to_owned(),
        lasts: 24 * HOUR,
        files: 2,
        bytes: 1_000_000,
        groups: BTreeSet::new(),
        with_code: false,
        remind: HOUR,
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Place {
    fn restart(self) -> Self {
        let Self { directory, drops, files, router, hand } = self;
        let (clock, settings) = (drops.clock().clone(), drops.settings().clone());
        drop((drops, files, router));
        open(directory, clock, hand, settings)
    }

    async fn make(&self, wish: Wish) -> Made {
        self.make_by("$command", wish).await
    }

    async fn make_by(&self, event: &str, wish: Wish) -> Made {
        let room = "!room:kanazawa.test".try_into().unwrap();
        let (maker, event) = ("@hanako:kanazawa.test".try_into().unwrap(), event.try_into().unwrap());
        self.drops.make(room, maker, event, Language::Japanese, wish).await.unwrap()
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4000))));
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let text = String::from_utf8_lossy(&to_bytes(body, 1 << 20).await.unwrap()).into_owned();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, made: &Made) -> Answer {
        self.ask(Method::GET, &path(made), &[], Body::empty()).await
    }

    async fn create(&self, made: &Made, name: &str, length: usize) -> Answer {
        let metadata =
            format!("filename {},name {}", BASE64_STANDARD.encode(name), BASE64_STANDARD.encode("能登 次郎"));
        let headers = [("upload-length", &*length.to_string()), ("upload-metadata", &*metadata)];
        self.ask(Method::POST, &format!("{}/files", path(made)), &headers, Body::empty()).await
    }

    async fn patch(&self, at: &str, offset: usize, body: impl Into<Body>) -> Answer {
        let headers =
            [("upload-offset", &*offset.to_string()), ("content-type", "application/offset+octet-stream")];
        self.ask(Method::PATCH, at, &headers, body).await
    }

    async fn head(&self, at: &str) -> Answer {
        self.ask(Method::HEAD, at, &[], Body::empty()).await
    }

    async fn done(&self, at: &str, bytes: &[u8]) -> Answer {
        let body = json!({ "sha256": hex(&Sha256::digest(bytes)) }).to_string();
        self.ask(Method::POST, &format!("{at}/done"), &[], body).await
    }

    async fn send(&self, made: &Made, name: &str, bytes: &[u8]) -> Answer {
        let created = self.create(made, name, bytes.len()).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
        let at = created.header("location").to_owned();
        assert_eq!(self.patch(&at, 0, bytes.to_vec()).await.status, StatusCode::NO_CONTENT);
        self.done(&at, bytes).await
    }

    fn on_disk(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("files")).unwrap().count()
    }
}

fn path(made: &Made) -> String {
    format!("/r/{}", made.token.as_str())
}

/// A body that breaks after these bytes.
fn broken(bytes: &[u8]) -> Body {
    let parts = [Ok(Bytes::copy_from_slice(bytes)), Err(std::io::Error::other("the line is cut"))];
    Body::from_stream(stream::iter(parts))
}

/// D1
#[tokio::test]
async fn an_upload_that_was_cut_goes_on_from_the_last_byte_also_after_a_restart() {
    let place = place();
    let made = place.make(wish()).await;
    let bytes: Vec<u8> = PICTURE.iter().copied().cycle().take(300_000).collect();
    let at = place.create(&made, "a.jpg", bytes.len()).await.header("location").to_owned();

    let cut = place.patch(&at, 0, broken(&bytes[..120_000])).await;
    assert_eq!((cut.status, cut.header("upload-offset")), (StatusCode::CONFLICT, "120000"));
    // What a crash left behind that nobody was told of.
    let id = at.rsplit('/').next().unwrap();
    let file = place.files.path(&made.token.hash(), id);
    let mut more = std::fs::read(&file).unwrap();
    more.extend_from_slice(&[b'?'; 500_000]);
    std::fs::write(&file, more).unwrap();

    let place = place.restart();
    assert_eq!(place.head(&at).await.header("upload-offset"), "120000");
    let rest = place.patch(&at, 120_000, bytes[120_000..].to_vec()).await;
    assert_eq!((rest.status, rest.header("upload-offset")), (StatusCode::NO_CONTENT, "300000"));
    let done = place.done(&at, &bytes).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(place.done(&at, &bytes).await.status, StatusCode::OK, "told twice");
}

/// UP2, and D1: a gap is never filled by a guess, nor are other bytes taken for those that were sent.
#[tokio::test]
async fn bytes_at_another_place_or_of_another_hash_are_refused() {
    let place = place();
    let made = place.make(wish()).await;
    let at = place.create(&made, "a.jpg", PICTURE.len()).await.header("location").to_owned();
    assert_eq!(place.patch(&at, 5, PICTURE.to_vec()).await.header("upload-offset"), "0");
    assert_eq!(place.done(&at, PICTURE).await.status, StatusCode::CONFLICT, "bytes are lacking");
    let more = [PICTURE, b"x"].concat();
    assert_eq!(place.patch(&at, 0, more).await.status, StatusCode::BAD_REQUEST, "more than was said");
    assert_eq!(place.head(&at).await.header("upload-offset"), "0");
    assert_eq!(place.patch(&at, 0, PICTURE.to_vec()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(place.done(&at, b"others").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(place.on_disk(), 0);
    // Its place is free again.
    for name in ["b.jpg", "c.jpg"] {
        assert_eq!(place.send(&made, name, PICTURE).await.status, StatusCode::OK);
    }
}

/// UP3
#[tokio::test]
async fn a_newer_request_ends_one_whose_line_is_dead() {
    let place = place();
    let made = place.make(wish()).await;
    let at = place.create(&made, "a.jpg", PICTURE.len()).await.header("location").to_owned();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    }));
    let dead = place.patch(&at, 0, body);
    let again = async {
        // When the second part is taken out of the channel, the first one was written.
        for part in [&PICTURE[..10], &PICTURE[10..20]] {
            sender.send(Ok(Bytes::copy_from_slice(part))).await.unwrap();
        }
        sender.reserve().await.unwrap();
        let offset: usize = place.head(&at).await.header("upload-offset").parse().unwrap();
        assert!(offset >= 10);
        place.patch(&at, offset, PICTURE[offset..].to_vec()).await
    };
    let (dead, again) = tokio::join!(dead, again);
    assert_eq!((dead.status, again.status), (StatusCode::CONFLICT, StatusCode::NO_CONTENT));
    assert_eq!(place.done(&at, PICTURE).await.status, StatusCode::OK);
}

/// D2
#[tokio::test]
async fn whoever_looks_at_a_link_uses_nothing_up_and_sees_nothing_of_the_room() {
    let place = place();
    let open = place.make(wish()).await;
    let closed = place.make_by("$other", Wish { with_code: true, ..wish() }).await;
    for _ in 0..50 {
        assert_eq!(place.get(&closed).await.status, StatusCode::OK);
        place.head(&path(&closed)).await;
    }
    let page = place.get(&open).await;
    assert!(page.text.contains("工事写真") && page.text.contains("2件"), "{}", page.text);
    let page_of_code = place.get(&closed).await;
    assert!(!page_of_code.text.contains("工事写真"), "{}", page_of_code.text);
    for text in [&page.text, &page_of_code.text] {
        assert!(!text.contains("room:") && !text.contains("hanako"), "{text}");
        assert!(!text.contains("://"), "nothing comes from elsewhere: {text}");
    }
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let link = place.drops.find(&closed.token).await.unwrap();
    assert_eq!((link.files, link.code.unwrap().passes), (0, 0));
    assert_eq!(place.create(&closed, "a.jpg", 5).await.status, StatusCode::FORBIDDEN, "without the code");
}

#[tokio::test]
async fn a_code_lets_a_browser_in_and_is_guessed_ten_times_at_most() {
    let place = place();
    let made = place.make(Wish { with_code: true, ..wish() }).await;
    let code = made.code.clone().unwrap();
    let enter = async |code: &str| {
        let body = format!("code={}", code.replace(' ', "+"));
        place.ask(Method::POST, &format!("{}/code", path(&made)), &[], body).await
    };
    assert!(enter("11111111").await.text.contains("あと9回"));
    let entered = enter(&code).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.text);
    let cookie = entered.header("set-cookie").to_owned();
    assert!(
        cookie.contains("HttpOnly; SameSite=Lax; Secure")
            && cookie.contains(&format!("Path={}", path(&made)))
    );
    let cookie = cookie.split(';').next().unwrap();
    let page = place.ask(Method::GET, &path(&made), &[("cookie", cookie)], Body::empty()).await;
    assert!(page.text.contains("工事写真"));

    for _ in 0..9 {
        enter("22222222").await;
    }
    assert_eq!(enter(&code).await.status, StatusCode::FORBIDDEN, "locked");
    let page = place.ask(Method::GET, &path(&made), &[("cookie", cookie)], Body::empty()).await;
    assert!(page.text.contains("工事写真"), "who is in stays in");
}

/// D3
#[tokio::test]
async fn what_was_begun_before_the_end_may_come_to_its_own_end_and_nothing_else() {
    let place = place();
    let made = place.make(wish()).await;
    let at = place.create(&made, "a.jpg", PICTURE.len()).await.header("location").to_owned();
    place.patch(&at, 0, PICTURE[..10].to_vec()).await;
    place.hand.advance(24 * HOUR);

    assert!(place.get(&made).await.text.contains("途中のファイルは続けられます"));
    let refused = place.create(&made, "b.jpg", 5).await;
    assert_eq!(refused.status, StatusCode::GONE);
    assert!(refused.text.contains("期限"), "{}", refused.text);
    place.drops.expired(&made.token.hash()).await.unwrap();
    assert_eq!(place.patch(&at, 10, PICTURE[10..].to_vec()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(place.done(&at, PICTURE).await.status, StatusCode::OK);

    place.hand.advance(6 * HOUR);
    place.drops.close(&made.token.hash()).await.unwrap();
    assert_eq!(place.get(&made).await.status, StatusCode::GONE);
}

/// D3
#[tokio::test]
async fn the_number_of_files_their_bytes_and_the_disk_are_told_before_anything_is_sent() {
    let place = place_with(|settings| settings.disk_budget = base::ByteSize::bytes(1_500_000));
    let made = place.make(wish()).await;
    let too_large = place.create(&made, "a.jpg", 1_000_001).await;
    assert_eq!(too_large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(too_large.text.contains("1 MB"), "{}", too_large.text);
    for _ in 0..2 {
        assert_eq!(place.create(&made, "a.jpg", 400_000).await.status, StatusCode::CREATED);
    }
    let third = place.create(&made, "a.jpg", 1).await;
    assert_eq!(third.status, StatusCode::CONFLICT);
    assert!(third.text.contains("件数"), "{}", third.text);
    assert!(place.get(&made).await.text.contains("これ以上は送れません"));

    let other = place.make_by("$other", wish()).await;
    assert_eq!(place.create(&other, "a.jpg", 800_000).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let begun = place.drops.uploads_of(&made.token.hash()).await.unwrap();
    let at = format!("{}/files/{}", path(&made), begun[0].0);
    assert_eq!(place.ask(Method::DELETE, &at, &[], Body::empty()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(place.create(&other, "a.jpg", 800_000).await.status, StatusCode::CREATED, "it is free again");
}

/// D4
#[tokio::test]
async fn a_harmful_name_is_made_harmless_and_kept_in_the_record() {
    let place = place();
    let made = place.make(wish()).await;
    let name = format!("../{}\u{202e}\0gpj.exe", "長".repeat(300));
    let done = place.send(&made, &name, PICTURE).await;
    let receipt: serde_json::Value = serde_json::from_str(&done.text).unwrap();
    let harmless = receipt["name"].as_str().unwrap();
    assert!(harmless.chars().count() < 90 && harmless.ends_with(".exe.jpg"), "{harmless}");
    assert!(!harmless.contains(['/', '\0', '\u{202e}']));
    let uploads = place.drops.uploads_of(&made.token.hash()).await.unwrap();
    assert_eq!(uploads[0].1.original_name, name);
}

#[tokio::test]
async fn the_kind_is_told_by_content_early_and_again_at_the_end() {
    let place = place();
    let made = place.make(Wish { groups: BTreeSet::from([Group::Picture]), ..wish() }).await;
    let bytes = [b"%PDF-1.7 ".as_slice(), &[b' '; 100_000]].concat();
    let at = place.create(&made, "a.jpg", bytes.len()).await.header("location").to_owned();
    let early = place.patch(&at, 0, bytes[..5_000].to_vec()).await;
    assert_eq!(early.status, StatusCode::UNPROCESSABLE_ENTITY, "long before all of it came");
    assert!(early.text.contains("種類"), "{}", early.text);
    assert_eq!((place.on_disk(), place.head(&at).await.status), (0, StatusCode::UNPROCESSABLE_ENTITY));

    // An archive may be a document until its end tells that it is none.
    let archive = b"PK\x03\x04 and so on".to_vec();
    let at = place.create(&made, "a.docx", archive.len()).await.header("location").to_owned();
    assert_eq!(place.patch(&at, 0, archive.clone()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(place.done(&at, &archive).await.status, StatusCode::UNPROCESSABLE_ENTITY);

    let any = place.make_by("$other", wish()).await;
    let at = place.create(&any, "a.jpg", 2).await.header("location").to_owned();
    assert_eq!(
        place.patch(&at, 0, b"MZ".to_vec()).await.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "a program"
    );
    // A script is a text like others; a picture gets the name of one.
    for (name, bytes, status) in [
        ("a.ps1", &b"Get-Date"[..], StatusCode::UNPROCESSABLE_ENTITY),
        ("a.hta. ", b"<script>1</script>", StatusCode::UNPROCESSABLE_ENTITY),
        ("b.exe", b"\x01\x02", StatusCode::UNPROCESSABLE_ENTITY),
        ("a.txt", b"Get-Date", StatusCode::NO_CONTENT),
        ("c.exe", PICTURE, StatusCode::NO_CONTENT),
    ] {
        let at = place.create(&any, name, bytes.len()).await.header("location").to_owned();
        assert_eq!(place.patch(&at, 0, bytes.to_vec()).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn a_form_is_enough_for_small_files_and_another_site_cannot_send_it() {
    let place = place_with(|settings| settings.form_bytes = base::ByteSize::kib(1));
    let made = place.make(wish()).await;
    let form = |bytes: &[u8]| {
        let mut form = Vec::new();
        for part in [
            "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\n能登 次郎\r\n--b\r\n".as_bytes(),
            "Content-Disposition: form-data; name=\"files\"; filename=\"写真.jpg\"\r\n\r\n".as_bytes(),
            bytes,
            b"\r\n--b--\r\n",
        ] {
            form.extend_from_slice(part);
        }
        form
    };
    let (at, kind) = (format!("{}/form", path(&made)), ("content-type", "multipart/form-data; boundary=b"));
    let foreign =
        place.ask(Method::POST, &at, &[kind, ("sec-fetch-site", "cross-site")], form(PICTURE)).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let large = place.ask(Method::POST, &at, &[kind], form(&[0xff; 2_000])).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let taken = place.ask(Method::POST, &at, &[kind, ("sec-fetch-site", "same-origin")], form(PICTURE)).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text);
    assert!(taken.text.contains("写真.jpg") && taken.text.contains(&hex(&Sha256::digest(PICTURE))));
    let uploads = place.drops.uploads_of(&made.token.hash()).await.unwrap();
    assert_eq!((uploads.len(), uploads[0].1.sender.name.as_str()), (1, "能登 次郎"));
    assert!(matches!(uploads[0].1.state, UploadState::Whole { .. }));
}

#[tokio::test]
async fn who_says_no_name_and_what_has_no_bytes_is_told_so_before_anything_is_taken() {
    let place = place();
    let made = place.make(wish()).await;
    // By the script: a name of blanks, of any width, and an empty file.
    let create = async |name: &str, length: &str| {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let metadata = format!("filename {},name {}", encoded("写真.jpg"), encoded(name));
        let headers = [("upload-length", length), ("upload-metadata", &*metadata), ("accept-language", "ja")];
        place.ask(Method::POST, &format!("{}/files", path(&made)), &headers, Body::empty()).await
    };
    for (name, length, words) in [
        (" \u{3000}\u{200b}", "5", "お名前を入力してください"),
        ("", "5", "お名前を入力してください"),
        ("次郎", "0", "「写真.jpg」は空のファイル（0バイト）"),
    ] {
        let refused = create(name, length).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    // By the form, as browsers without a script send it.
    let form = async |name: &str, files: &[(&str, &str)]| {
        let field = |name: &str, more: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n")
        };
        let mut form = field("name", "", name);
        for (file, bytes) in files {
            form += &field("files", &format!("; filename=\"{file}\""), bytes);
        }
        form += "--b--\r\n";
        let headers = [("content-type", "multipart/form-data; boundary=b"), ("accept-language", "ja")];
        place.ask(Method::POST, &format!("{}/form", path(&made)), &headers, form).await
    };
    let picture = ("a.pdf", "%PDF-1.7 as far as its beginning tells");
    let nameless = form("\u{3000}", &[picture]).await;
    assert_eq!(nameless.status, StatusCode::BAD_REQUEST);
    assert!(nameless.text.contains("お名前を入力してください"), "{}", nameless.text);
    let empty = form("次郎", &[("空.pdf", "")]).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    assert!(empty.text.contains("「空.pdf」は空のファイル（0バイト）"), "{}", empty.text);
    assert!(place.drops.uploads_of(&made.token.hash()).await.unwrap().is_empty());
    // Of several the others are taken, and the page says which were not.
    let some = form("次郎", &[("空.pdf", ""), picture]).await;
    assert_eq!(some.status, StatusCode::OK);
    assert!(some.text.contains("「空.pdf」は空の") && some.text.contains("a.pdf"), "{}", some.text);
    assert_eq!(place.drops.uploads_of(&made.token.hash()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn links_cannot_be_tried_out() {
    let place = place();
    let mut statuses = Vec::new();
    for number in 0..40 {
        let made_up = Key::of("guess").token(format!("${number}").as_str().try_into().unwrap());
        let answer = place.ask(Method::GET, &format!("/r/{}", made_up.as_str()), &[], Body::empty()).await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses[0], StatusCode::NOT_FOUND);
    assert_eq!(statuses[39], StatusCode::TOO_MANY_REQUESTS);
    let made = place.make(wish()).await;
    assert_eq!(place.get(&made).await.status, StatusCode::OK, "a link that is there is still open");
}

#[tokio::test]
async fn whose_request_it_is_a_proxy_says_and_nobody_else() {
    let proxied =
        place_with(|settings| settings.proxies = [IpAddr::from([192, 0, 2, 1])].into_iter().collect());
    for (place, address) in [(place(), "192.0.2.1"), (proxied, "203.0.113.9")] {
        let made = place.make(wish()).await;
        let name = format!("name {}", BASE64_STANDARD.encode("次郎"));
        let headers = [
            ("upload-length", "5"),
            ("upload-metadata", &*name),
            ("x-forwarded-for", "198.51.100.1, 203.0.113.9, 192.0.2.1"),
        ];
        place.ask(Method::POST, &format!("{}/files", path(&made)), &headers, Body::empty()).await;
        let uploads = place.drops.uploads_of(&made.token.hash()).await.unwrap();
        assert_eq!(uploads[0].1.sender.address, address);
    }
}

#[tokio::test]
async fn what_is_not_gone_on_with_is_given_up_and_what_no_row_leads_to_goes() {
    let place = place();
    let made = place.make(Wish { lasts: 100 * 24 * HOUR, ..wish() }).await;
    let at = place.create(&made, "a.jpg", 500).await.header("location").to_owned();
    place.send(&made, "b.jpg", PICTURE).await;
    std::fs::write(place.directory.path().join("files").join("a.b"), "stray").unwrap();
    place.files.tidy().await.unwrap();
    assert_eq!(place.on_disk(), 2);
    place.hand.advance(73 * HOUR);
    place.files.tidy().await.unwrap();
    assert_eq!((place.on_disk(), place.head(&at).await.status), (1, StatusCode::GONE));
    let reasons = place.drops.uploads_of(&made.token.hash()).await.unwrap();
    assert!(
        reasons.iter().any(|(_, upload)| upload.state == UploadState::Refused { reason: Refused::GivenUp })
    );
}

#[tokio::test]
async fn the_record_tells_each_deed_once_and_shows_when_it_was_changed() {
    let place = place();
    let made = place.make(Wish { with_code: true, ..wish() }).await;
    place.make(wish()).await; // The same event again, after a crash say.
    let enter = format!("{}/code", path(&made));
    place.ask(Method::POST, &enter, &[], "code=11111111").await;
    place.drops.revoke(&made.link.room, 1, made.link.maker.clone()).await.unwrap();
    let path = place.directory.path().join("audit.jsonl");
    let write = async || {
        let stop = CancellationToken::new();
        stop.cancel();
        Scribe::open(&path, place.drops.clone()).unwrap().work(stop).await;
    };
    write().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let whats: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["what"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(whats, ["link_made", "code_wrong", "link_cancelled"]);
    assert!(!text.contains(made.token.as_str()) && !text.contains(made.code.as_ref().unwrap()));

    // A line that was cut by a crash goes, and is written again.
    std::fs::write(&path, format!("{text}{{\"number\":3")).unwrap();
    place.make_by("$third", wish()).await;
    write().await;
    assert_eq!(verify(&path).unwrap().next, 4);
    let mut table = Vec::new();
    crate::record::export(&path, true, &mut table).unwrap();
    assert_eq!(String::from_utf8(table).unwrap().lines().count(), 5);

    let changed = std::fs::read_to_string(&path).unwrap().replace("code_wrong", "code_right");
    std::fs::write(&path, changed).unwrap();
    verify(&path).unwrap_err();
}

#[tokio::test]
async fn a_form_says_what_was_taken_and_what_not_and_sent_again_it_doubles_nothing() {
    let place = place();
    let made = place.make(Wish { files: 4, ..wish() }).await;
    let form = async |files: &[(&str, &[u8])]| {
        let mut form = b"--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nJiro\r\n".to_vec();
        for (name, bytes) in files {
            let head =
                format!("--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\r\n");
            form.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        }
        form.extend(b"--b--\r\n");
        let headers = [("content-type", "multipart/form-data; boundary=b"), ("accept-language", "ja")];
        place.ask(Method::POST, &format!("{}/form", path(&made)), &headers, form).await
    };
    let (ok, program, last) =
        (("ok.jpg", PICTURE), ("bad.exe", &b"MZ program"[..]), ("last.txt", &b"text"[..]));
    let some = form(&[ok, program, last]).await;
    assert_eq!(some.status, StatusCode::OK, "{}", some.text);
    for words in ["ok.jpg", "last.txt", "「bad.exe」は受け取っていません", "この種類のファイルは"]
    {
        assert!(some.text.contains(words), "{words}: {}", some.text);
    }
    let received = async || {
        let uploads = place.drops.uploads_of(&made.token.hash()).await.unwrap();
        let whole = uploads.iter().filter(|(_, upload)| matches!(upload.state, UploadState::Whole { .. }));
        whole.count()
    };
    assert_eq!(received().await, 2);
    let again = form(&[ok, program, last]).await;
    assert!(again.text.contains("ok.jpg") && again.text.contains("「bad.exe」"), "{}", again.text);
    assert_eq!(received().await, 2, "nothing came twice");
    // Another file of the same name is another one.
    assert_eq!(form(&[("ok.jpg", b"\xff\xd8\xff another")]).await.status, StatusCode::OK);
    assert_eq!(received().await, 3);
    let alone = form(&[program]).await;
    assert_eq!(alone.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(form(&[("fourth.txt", b"the last")]).await.status, StatusCode::OK);
    let full = form(&[("a.txt", b"more"), ("b.txt", b"and more")]).await;
    assert_eq!(full.status, StatusCode::CONFLICT);
    assert!(
        full.text.contains("「a.txt」は受け取っていません") && full.text.contains("「b.txt」"),
        "{}",
        full.text
    );
}

#[tokio::test]
async fn a_place_that_a_browser_left_behind_is_given_to_the_next() {
    let place = place();
    let made = place.make(Wish { files: 1, ..wish() }).await;
    let left = place.create(&made, "a.jpg", 900_000).await.header("location").to_owned();
    assert_eq!(place.create(&made, "a.jpg", 900_000).await.status, StatusCode::CONFLICT, "it may go on yet");
    assert!(place.get(&made).await.text.contains("data-left=\"0\""));
    place.hand.advance(upload::IDLE);
    let page = place.get(&made).await.text;
    assert!(page.contains("data-left=\"1\"") && page.contains("data-bytes=\"1000000\""), "{page}");
    let next = place.create(&made, "a.jpg", 900_000).await;
    assert_eq!(next.status, StatusCode::CREATED, "{}", next.text);
    assert_eq!(place.head(&left).await.status, StatusCode::GONE);
    assert_eq!(place.on_disk(), 1);
    // What came whole keeps its place.
    let at = next.header("location").to_owned();
    let bytes: Vec<u8> = PICTURE.iter().copied().cycle().take(900_000).collect();
    place.patch(&at, 0, bytes.clone()).await;
    assert_eq!(place.done(&at, &bytes).await.status, StatusCode::OK);
    place.hand.advance(2 * upload::IDLE);
    assert_eq!(place.create(&made, "b.jpg", 5).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_is_not_acknowledged_stays_on_no_disk() {
    let place = place();
    let made = place.make(wish()).await;
    let at = place.create(&made, "a.jpg", 300_000).await.header("location").to_owned();
    let parts = [PICTURE, &[0; 200_000], &[0; 200_000]]
        .map(|part| Ok::<_, std::io::Error>(Bytes::copy_from_slice(part)));
    let more = place.patch(&at, 0, Body::from_stream(stream::iter(parts))).await;
    assert_eq!(more.status, StatusCode::BAD_REQUEST, "more than it was to have");
    let file = place.files.path(&made.token.hash(), at.rsplit('/').next().unwrap());
    assert_eq!(std::fs::metadata(file).unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_announced_and_does_not_come_keeps_the_disk_from_nobody_for_long() {
    let place = place_with(|settings| settings.disk_budget = base::ByteSize::bytes(1_000_000));
    let (made, other) = (place.make(wish()).await, place.make_by("$other", wish()).await);
    assert_eq!(place.create(&made, "a.jpg", 900_000).await.status, StatusCode::CREATED);
    assert_eq!(place.create(&other, "b.jpg", 500_000).await.status, StatusCode::SERVICE_UNAVAILABLE);
    place.hand.advance(upload::IDLE);
    let begun = place.create(&other, "b.jpg", 500_000).await;
    assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.text);
    // What has begun to come stays.
    place.patch(begun.header("location"), 0, PICTURE).await;
    place.hand.advance(upload::IDLE);
    assert_eq!(place.create(&made, "a.jpg", 900_000).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_is_no_hash_costs_no_upload_and_a_cut_form_is_not_called_too_large() {
    let place = place();
    let made = place.make(wish()).await;
    let at = place.create(&made, "a.jpg", PICTURE.len()).await.header("location").to_owned();
    place.patch(&at, 0, PICTURE).await;
    let odd = place.ask(Method::POST, &format!("{at}/done"), &[], r#"{"sha256":""}"#).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
    assert_eq!(place.done(&at, PICTURE).await.status, StatusCode::OK);
    let cut = "--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a\"\r\n\r\nx";
    let headers = [("content-type", "multipart/form-data; boundary=b"), ("accept-language", "ja")];
    let told = place.ask(Method::POST, &format!("{}/form", path(&made)), &headers, cut).await;
    assert_eq!(told.status, StatusCode::BAD_REQUEST, "{}", told.text);
}
