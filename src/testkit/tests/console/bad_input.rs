//! Senseless requests: each gets an error that says so, in Japanese, and none is a fault of ours.

use base::Random;
use duties::Duty;
use http::{Method, StatusCode};
use testkit::Net;

use crate::{
    administrator,
    browser::Browser,
    changes::{FILE, FIRST, propose},
    holder,
};

const VALUES: [&str; 28] = [
    "",
    " ",
    "0",
    "-1",
    "1",
    "99999999999999999999",
    "4294967296",
    "18446744073709551615",
    "2026-02-30",
    "0000-00-00",
    "9999-12-31",
    "2026-04-01T25:00",
    "../../etc/passwd",
    "%00",
    "%ff%fe",
    "yes",
    "@a:kanazawa.test",
    "@:",
    "approve",
    "山田",
    "'\"><script>alert(1)</script>",
    "＝1＋1",
    "mxc://kanazawa.test/a",
    "mxc://suzu.test/a",
    "mxc://",
    "suzu.test",
    "withhold",
    "delete",
];

const NAMES: [&str; 34] = [
    "q", "day", "unit", "as", "before", "from", "all", "line", "user", "do", "state", "since", "until",
    "who", "what", "text", "at", "role", "password", "base", "column-1", "header-1", "token", "uses", "id",
    "uri", "server", "after", "order", "done", "act-0", "deed", "person", "parts",
];

fn check(what: &str, answer: &crate::browser::Answer) {
    assert!(!answer.status.is_server_error(), "{what}: {} {}", answer.status, answer.text);
    assert!(!answer.text.contains("<script>alert"), "{what} is put into the page as it is");
    if answer.headers.get("content-type").is_some_and(|kind| kind.to_str().unwrap().starts_with("text/html"))
    {
        assert_eq!(answer.headers["x-frame-options"], "DENY", "{what}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{what}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
        assert!(answer.text.contains("<html lang=\"ja\">"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_a_fault_of_ours() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let set = propose(&mut officer, &FIRST, FILE).await;
    let random = Random::seeded(20_261_129);
    let pick = |count: usize| usize::try_from(random.range(0..count as u64)).unwrap();
    let pages = [
        "",
        "/organisation",
        "/organisation/edit",
        "/people",
        "/changes",
        "/rooms",
        "/import",
        "/accounts",
        "/account",
        "/audit",
        "/duties",
        "/tokens",
        "/token",
        "/reports",
        "/reports/1",
        "/files",
        "/files/user",
        "/file",
        "/federation",
        "/federation/server",
        "/storage",
    ];
    let pages: Vec<_> = pages.iter().map(|page| format!("/_yakuba/console{page}")).collect();
    let posts = [
        "/mappings",
        "/organisation/edit",
        "/account",
        "/tokens",
        "/token",
        "/reports/1",
        "/reports/a",
        "/files/user",
        "/file",
        "/federation/server",
    ];
    let posts = posts.iter().map(|page| format!("/_yakuba/console{page}"));
    let deeds: Vec<_> = [set.clone(), format!("{set}/undo")].into_iter().chain(posts).collect();
    let proof = chief.proof_at("/_yakuba/console").await;
    for _ in 0..600 {
        let fields: Vec<_> =
            (0..pick(4)).map(|_| (NAMES[pick(NAMES.len())], VALUES[pick(VALUES.len())])).collect();
        let page = match pick(2 * pages.len()) {
            0 => set.clone(),
            1 => format!("{set}/undo"),
            2 => format!("/_yakuba/console/changes/{}", VALUES[pick(9)].replace(' ', "+")),
            number => pages[number % pages.len()].clone(),
        };
        let query = ruma::exports::serde_html_form::to_string(&fields).unwrap();
        check(&format!("{page}?{query}"), &chief.get(&format!("{page}?{query}")).await);
        let all: Vec<_> = fields.iter().copied().chain([("proof", &*proof)]).collect();
        for _ in 0..4 {
            let path = &deeds[pick(deeds.len())];
            check(&format!("{path} {fields:?}"), &chief.post_as_is(path, &all).await);
        }
        let upload: Vec<_> = all.iter().copied().filter(|(name, _)| *name != "do").collect();
        let file = VALUES[pick(VALUES.len())].as_bytes();
        check(
            &format!("upload {fields:?}"),
            &chief.upload_as_is("/_yakuba/console/import", &upload, file).await,
        );
    }
    assert!(officer.open(&set).await.contains("承認待ち") || officer.open(&set).await.contains("取り下げ"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_none_are_refused_in_japanese_and_change_nothing() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let import = "/_yakuba/console/import";
    let large = vec![b'a'; 17 << 20];
    for (file, status) in [
        (&b""[..], StatusCode::BAD_REQUEST),
        (b"\0\0\0\0", StatusCode::BAD_REQUEST),
        (b"PK\x03\x04 an Excel file", StatusCode::BAD_REQUEST),
        (b"a,b,c\n1,2,3\n", StatusCode::BAD_REQUEST),
        (&large, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = officer.upload(import, &FIRST, file).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.text.contains("class=\"problem\""), "{}", answer.text);
        check("a file", &answer);
    }
    let proof = officer.proof_at(import).await;
    let body = format!("--x\r\nContent-Disposition: form-data; name=\"proof\"\r\n\r\n{proof}\r\n--x--\r\n");
    let kind = Some("multipart/form-data; boundary=x");
    let answer = officer.ask(Method::POST, import, kind, body.into()).await;
    assert!(answer.status == StatusCode::BAD_REQUEST && answer.text.contains("ファイルを選んでください"));
    for (kind, body) in [
        (Some("multipart/form-data"), "--x--"),
        (
            Some("multipart/form-data; boundary=x"),
            "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncut",
        ),
        (Some("application/json"), "{}"),
        (None, ""),
    ] {
        let answer = officer.ask(Method::POST, import, kind, body.to_owned().into()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{kind:?}: {}", answer.text);
        check("a form", &answer);
    }
    assert!(officer.open("/_yakuba/console/changes").await.contains("変更案はありません"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_has_another_secret_once_somebody_signs_in_and_is_led_to_our_pages_only() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, _) = administrator(&server, "kanazawa.test", "chief").await;
    let mut browser = Browser::stranger(&server);
    browser.get("/_yakuba/sign-in").await;
    let before = browser.cookie.clone();
    browser.sign_in(chief.id().localpart()).await;
    let after = browser.cookie.clone();
    assert_ne!(before, after);
    browser.cookie = before;
    assert_eq!(
        browser.get("/_yakuba/console").await.status,
        StatusCode::SEE_OTHER,
        "the one from before is nobody's"
    );
    // Whoever signs in once more in the same browser ends the session that it had.
    browser.cookie = after.clone();
    browser.sign_in(chief.id().localpart()).await;
    browser.open("/_yakuba/console").await;
    browser.cookie = after;
    assert_eq!(browser.get("/_yakuba/console").await.status, StatusCode::SEE_OTHER, "that has ended");
    for back in [
        "//evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "https:evil.example",
        "https://evil.example/",
    ] {
        let mut browser = Browser::stranger(&server);
        let proof = browser.proof_at("/_yakuba/sign-in").await;
        let fields = [("name", "chief"), ("password", crate::PASSWORD), ("back", back), ("proof", &*proof)];
        let answer = browser.post_as_is("/_yakuba/sign-in", &fields).await;
        assert_eq!(answer.location.as_deref(), Some("/_yakuba/account"), "{back}");
    }
}
