//! Endpoints and pages of OAuth 2.0, asked with everything that is wrong.

use web::Body;

use crate::town::Town;

const PATHS: &[(&str, &str)] = &[
    ("POST", "/_yakuba/oauth2/register"),
    ("POST", "/_yakuba/oauth2/token"),
    ("POST", "/_yakuba/oauth2/revoke"),
    ("POST", "/_yakuba/oauth2/device"),
    ("GET", "/_yakuba/oauth2/authorize"),
    ("POST", "/_yakuba/oauth2/authorize"),
    ("GET", "/_yakuba/link"),
    ("POST", "/_yakuba/link"),
    ("GET", "/_yakuba/sign-in"),
    ("POST", "/_yakuba/sign-in"),
    ("GET", "/_yakuba/sign-up"),
    ("POST", "/_yakuba/sign-up"),
    ("GET", "/_yakuba/account"),
    ("POST", "/_yakuba/account"),
    ("POST", "/_yakuba/sign-out"),
    ("GET", "/_yakuba/language/%ff"),
    ("GET", "/_yakuba/language/en"),
    ("POST", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"),
    ("GET", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/%F0%9F%98%80"),
    ("PUT", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/%00"),
    ("DELETE", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/x"),
];

const QUERIES: &[&str] = &[
    "",
    "?",
    "?a&&&=&%",
    "?%ff=%ff",
    "?client_id=%00",
    "?client_id=a&client_id=b",
    "?back=https%3A%2F%2Fevil.test%2F&hint=%3Cscript%3E%22",
    "?back=//evil.test&lang=xx&action=%3Cscript%3E&device_id=%3Cscript%3E%22",
    "?user_code=%E5%BD%B9%E5%A0%B4%00",
    "?response_type=code&client_id=x&redirect_uri=javascript%3Aalert(1)&state=%0d%0aX%3Ay",
];

const BODIES: &[&[u8]] = &[
    b"",
    b"{",
    b"[]",
    b"{\"client_uri\":{},\"redirect_uris\":{\"a\":1}}",
    b"{\"client_uri\":\"https://a\",\"redirect_uris\":[\"https://a/\",3,null]}",
    b"grant_type=authorization_code&client_id=%00&code=x&redirect_uri=x&code_verifier=x",
    b"grant_type=refresh_token&client_id=x&refresh_token=ygr_x_y",
    b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=x&device_code=%ff",
    b"grant_type=a&grant_type=b",
    b"token=%ff&client_id=x&scope=%00",
    b"\xff\xfe=\x00",
    b"proof=x&decision=agree&do=close&password=x",
];

#[tokio::test]
async fn whatever_is_sent_is_no_error_of_ours_and_leads_nowhere_else() {
    let town = Town::new().await;
    let types =
        ["", "application/x-www-form-urlencoded", "application/json", "text/plain", "text/plain; \u{7f}x"];
    let long = "x".repeat(60_000);
    let long_field = format!("client_id={}&token=x", "x".repeat(20_000));
    let many: String = (0..100).map(|n| format!("a{n}=b&")).collect();
    let more: [&[u8]; 3] = [long.as_bytes(), long_field.as_bytes(), many.as_bytes()];
    let mut asked = 0;
    for (method, path) in PATHS {
        for query in QUERIES {
            for body in BODIES.iter().copied().chain(more) {
                // A form of each, and one of the other types in turn.
                for kind in ["application/x-www-form-urlencoded", types[asked % types.len()]] {
                    let mut request = http::Request::builder().method(*method).uri(format!("{path}{query}"));
                    request = request
                        .header("host", "hs1")
                        .header("cookie", "__Host-yakuba=abc; yakuba-language=en");
                    if let Ok(kind) = http::HeaderValue::from_str(kind) {
                        request = request.header("content-type", kind);
                    }
                    request = request.header("if-match", "W/\"").header("if-none-match", "*");
                    let answer = town.respond(request.body(Body::from(body.to_vec())).unwrap()).await;
                    let status = answer.status().as_u16();
                    assert!(status < 500, "{method} {path}{query} {}", String::from_utf8_lossy(body));
                    let to = answer.headers().get("location").map_or("/", |to| to.to_str().unwrap());
                    assert!(to.starts_with('/') && !to.starts_with("//"), "{path}{query} leads to {to}");
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 4_000, "{asked}");
}
