//! Letterboxes by which devices meet (MSC4108).

use std::time::Duration;

use base::Clock;
use http::Response;
use http_body_util::BodyExt;
use web::Body;

use crate::town::Town;

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous";

struct Seen {
    status: u16,
    head: http::HeaderMap,
    text: String,
}

impl Seen {
    fn header(&self, name: &str) -> String {
        self.head.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
    }

    #[track_caller]
    fn fails(&self, status: u16, errcode: &str) {
        assert!(self.status == status && self.text.contains(errcode), "{} {}", self.status, self.text);
    }
}

async fn ask(town: &Town, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Seen {
    let path = path.strip_prefix("https://hs1").unwrap_or(path);
    let mut request = http::Request::builder().method(method).uri(path).header("host", "hs1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response: Response<Body> = town.respond(request.body(Body::from(body.to_owned())).unwrap()).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Seen { status: parts.status.as_u16(), head: parts.headers, text }
}

async fn put_up(town: &Town, letter: &str) -> (String, Seen) {
    let made = ask(town, "POST", PATH, &[("content-type", "text/plain")], letter).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let url =
        serde_json::from_str::<serde_json::Value>(&made.text).unwrap()["url"].as_str().unwrap().to_owned();
    (url, made)
}

#[tokio::test]
async fn two_devices_write_in_turn_and_whoever_has_not_read_the_last_letter_is_refused() {
    let town = Town::new().await;
    let (url, made) = put_up(&town, "hello").await;
    for name in ["etag", "expires", "last-modified"] {
        assert!(!made.header(name).is_empty(), "{name}");
    }
    let read = ask(&town, "GET", &url, &[], "").await;
    assert_eq!(
        (read.status, read.text.as_str(), read.header("content-type").as_str()),
        (200, "hello", "text/plain")
    );
    assert_eq!(read.header("etag"), made.header("etag"));
    assert!(read.header("cache-control").contains("no-transform"));
    let tag = read.header("etag");
    let again = ask(&town, "GET", &url, &[("if-none-match", &tag)], "").await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));

    let text = ("content-type", "text/plain");
    let written = ask(&town, "PUT", &url, &[text, ("if-match", &tag)], "world").await;
    assert_eq!(written.status, 202, "{}", written.text);
    assert_ne!(written.header("etag"), tag);
    let late = ask(&town, "PUT", &url, &[text, ("if-match", &tag)], "late").await;
    late.fails(412, "M_CONCURRENT_WRITE");
    assert_eq!(late.header("etag"), written.header("etag"));
    assert_eq!(ask(&town, "GET", &url, &[("if-none-match", &tag)], "").await.text, "world");

    assert_eq!(ask(&town, "DELETE", &url, &[], "").await.status, 204);
    ask(&town, "GET", &url, &[], "").await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_tag_that_proxies_have_changed_is_the_same_tag() {
    let town = Town::new().await;
    let (url, made) = put_up(&town, "0").await;
    let mut tag = made.header("etag").trim_matches('"').to_owned();
    for spelling in ["W/\"{}\"", "\"{}-gzip\"", "W/\"{};br\"", "{}"] {
        let shown = spelling.replace("{}", &tag);
        let headers = [("content-type", "text/plain"), ("if-match", shown.as_str())];
        let written = ask(&town, "PUT", &url, &headers, spelling).await;
        assert_eq!(written.status, 202, "{spelling} {}", written.text);
        tag = written.header("etag").trim_matches('"').to_owned();
    }
}

#[tokio::test]
async fn a_browser_elsewhere_may_send_and_read_the_tag() {
    let town = Town::new().await;
    let asked = [("origin", "https://app.example.jp"), ("access-control-request-headers", "if-match")];
    let preflight = ask(&town, "OPTIONS", PATH, &asked, "").await;
    assert!(preflight.header("access-control-allow-headers").contains("If-Match"));
    let (_, made) = put_up(&town, "hello").await;
    assert!(made.header("access-control-expose-headers").contains("ETag"));
}

#[tokio::test]
async fn letterboxes_run_out_are_small_text_and_few() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    let text = ("content-type", "text/plain");
    let (url, made) = put_up(&town, "hello").await;
    ask(&town, "PUT", &url, &[text], "x").await.fails(400, "M_MISSING_PARAM");
    let large = "x".repeat(4_097);
    ask(&town, "POST", PATH, &[text], &large).await.fails(413, "M_TOO_LARGE");
    let tag = made.header("etag");
    ask(&town, "PUT", &url, &[text, ("if-match", &tag)], &large).await.fails(413, "M_TOO_LARGE");
    ask(&town, "POST", PATH, &[], "x").await.fails(400, "M_MISSING_PARAM");
    ask(&town, "POST", PATH, &[("content-type", "text/html")], "x").await.fails(400, "M_INVALID_PARAM");
    hand.advance(Duration::from_secs(600));
    ask(&town, "GET", &url, &[], "").await.fails(404, "M_NOT_FOUND");
    ask(&town, "PUT", &url, &[text, ("if-match", &tag)], "x").await.fails(404, "M_NOT_FOUND");
    ask(&town, "DELETE", &url, &[], "").await.fails(404, "M_NOT_FOUND");
    ask(&town, "GET", &format!("{PATH}/unknown"), &[], "").await.fails(404, "M_NOT_FOUND");

    let mut last = String::new();
    for _ in 0..1_000 {
        last = put_up(&town, "x").await.0;
    }
    ask(&town, "POST", PATH, &[text], "x").await.fails(429, "M_LIMIT_EXCEEDED");
    // Taking one down makes room.
    assert_eq!(ask(&town, "DELETE", &last, &[], "").await.status, 204);
    put_up(&town, "x").await;
}

#[tokio::test]
async fn what_strangers_put_up_at_one_authority_uses_up_nothing_of_anothers() {
    let town = Town::new().await;
    let put_up = async |authority: &str| {
        let authority = <&ruma::ServerName>::try_from(authority).unwrap();
        town.oauth.put_up_rendezvous(authority, "x".into(), "text/plain", None).await
    };
    for _ in 0..1_000 {
        put_up("hs1").await.unwrap();
    }
    assert!(matches!(put_up("hs1").await, Err(::oauth::Error::Full)));
    put_up("hs2").await.unwrap();
}

#[tokio::test]
async fn one_address_does_not_use_up_what_all_have() {
    let town = Town::new().await;
    let put_up = async |address: &str| {
        let request = http::Request::builder().method("POST").uri(PATH).header("host", "hs1");
        let request = request.header("content-type", "text/plain").header("x-forwarded-for", address);
        let mut request = request.body(Body::from("x")).unwrap();
        request.extensions_mut().insert(web::Peer("127.0.0.1:1".parse().unwrap()));
        town.respond(request).await.status().as_u16()
    };
    for _ in 0..30 {
        assert_eq!(put_up("192.0.2.1").await, 201);
    }
    assert_eq!(put_up("192.0.2.1").await, 429);
    assert_eq!(put_up("192.0.2.2").await, 201);
}
