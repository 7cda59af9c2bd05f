//! Who sees which page, and that nothing is another's.

use duties::Duty;
use http::{Method, StatusCode};
use testkit::Net;

use crate::{
    PASSWORD, administer, administrator,
    browser::Browser,
    changes::{FILE, FIRST, agree, asked, propose},
    editing::EDIT,
    holder, rows, set_duty,
};

/// The pages, and who may see them: administrators, personnel officers, auditors, readers.
const PAGES: [(&str, [bool; 4]); 19] = [
    ("/_yakuba/console", [true, true, true, true]),
    ("/_yakuba/console/organisation", [true, true, false, true]),
    ("/_yakuba/console/people?q=a", [true, true, false, true]),
    ("/_yakuba/console/changes", [true, true, false, true]),
    ("/_yakuba/console/rooms?do=preview", [true, true, false, true]),
    ("/_yakuba/console/import", [true, true, false, false]),
    ("/_yakuba/console/organisation/edit", [true, true, false, false]),
    ("/_yakuba/console/domains", [true, true, false, false]),
    ("/_yakuba/console/accounts", [true, false, false, false]),
    ("/_yakuba/console/account?user=@chief:kanazawa.test", [true, false, false, false]),
    ("/_yakuba/console/duties", [true, false, false, false]),
    ("/_yakuba/console/tokens", [true, false, false, false]),
    ("/_yakuba/console/reports", [true, false, false, false]),
    ("/_yakuba/console/files", [true, false, false, false]),
    ("/_yakuba/console/files/user?user=@chief:kanazawa.test", [true, false, false, false]),
    ("/_yakuba/console/federation", [true, false, false, false]),
    ("/_yakuba/console/storage", [true, false, false, false]),
    ("/_yakuba/console/audit", [true, false, true, false]),
    ("/_yakuba/console/cases", [true, false, true, false]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_is_for_its_duties_and_links_lead_to_no_other() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let mut browsers = vec![administrator(&server, "kanazawa.test", "chief").await.1];
    for (name, duty) in [("jinji", Duty::Personnel), ("kansa", Duty::Audit), ("yomu", Duty::Reading)] {
        browsers.push(holder(&server, name, duty).await.1);
    }
    let nobody = server.user("nobody").await;
    let mut nobody = Browser::of(&server, &nobody).await;
    let mut stranger = Browser::stranger(&server);
    for (path, may) in PAGES {
        for (browser, may) in browsers.iter_mut().zip(may) {
            let answer = browser.get(path).await;
            assert_eq!(answer.status == StatusCode::OK, may, "{path}: {}", answer.text);
            assert!(may || answer.status == StatusCode::FORBIDDEN, "{path}");
            let home = browser.open("/_yakuba/console").await;
            let bare = path.split('?').next().unwrap();
            let is_linked = home.contains(&format!("href=\"{bare}\""));
            assert!(!is_linked || may, "{bare} is linked for who may not see it");
        }
        assert_eq!(nobody.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
        let answer = stranger.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.location.unwrap().starts_with("/_yakuba/sign-in?back=%2F_yakuba%2Fconsole"), "{path}");
    }
}

type Fields = Vec<(&'static str, &'static str)>;

/// Every route that changes something, with a form that would.
fn deeds(set: &str) -> Vec<(String, Fields, [bool; 4])> {
    let lock = vec![("do", "lock"), ("user", "@victim:kanazawa.test"), ("password", PASSWORD)];
    let all_files = vec![("do", "withhold"), ("user", "@victim:kanazawa.test"), ("password", PASSWORD)];
    let administrators = [true, false, false, false];
    vec![
        (EDIT.to_owned(), vec![("do", "propose")], [true, true, false, false]),
        (set.to_owned(), vec![("do", "withdraw")], [true, true, false, false]),
        (format!("{set}/undo"), vec![("password", PASSWORD)], [true, true, false, false]),
        ("/_yakuba/console/mappings".to_owned(), vec![("name", "a")], [true, true, false, false]),
        ("/_yakuba/console/account".to_owned(), lock, [true, false, false, false]),
        ("/_yakuba/console/audit/file".to_owned(), vec![("as", "csv")], [true, false, true, false]),
        ("/_yakuba/console/tokens".to_owned(), vec![("token", "sakura")], administrators),
        ("/_yakuba/console/token".to_owned(), vec![("do", "delete"), ("id", "a")], administrators),
        ("/_yakuba/console/reports/1".to_owned(), vec![("do", "delete")], administrators),
        ("/_yakuba/console/files/user".to_owned(), all_files, administrators),
        (
            "/_yakuba/console/file".to_owned(),
            vec![("do", "delete"), ("uri", "mxc://kanazawa.test/a")],
            administrators,
        ),
        (
            "/_yakuba/console/federation/server".to_owned(),
            vec![("do", "retry"), ("server", "suzu.test")],
            administrators,
        ),
        (
            "/_yakuba/console/domains".to_owned(),
            vec![("user-0", "@victim:kanazawa.test")],
            [true, true, false, false],
        ),
        // Who administers and watches over the audit log as well: neither alone.
        ("/_yakuba/console/audit/hold".to_owned(), vec![("do", "hold"), ("reason", "a")], administrators),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_deed_is_done_for_who_may_not_or_by_a_form_that_is_not_ours() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    server.user("victim").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let set = propose(&mut officer, &FIRST, FILE).await;
    let (_, mut reader) = holder(&server, "yomu", Duty::Reading).await;
    let (_, mut auditor) = holder(&server, "kansa", Duty::Audit).await;
    let (watches, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    set_duty(&server, watches.id(), Duty::Audit, true).await;
    let nobody = server.user("nobody").await;
    let mut nobody = Browser::of(&server, &nobody).await;
    let strangers_proof = Browser::stranger(&server).proof_at("/_yakuba/sign-in").await;
    for (path, fields, may) in deeds(&set) {
        // Whoever may not is refused with a good form of his own (each page of his has one: that to sign out).
        for (browser, may) in [(&mut auditor, may[2]), (&mut reader, may[3]), (&mut nobody, false)] {
            if !may {
                let answer = browser.post("/_yakuba/console", &path, &fields).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.text);
            }
        }
        // Whoever may is refused without the proof, with another browser's, and from another site.
        let good = chief.proof_at("/_yakuba/console").await;
        let others = officer.proof_at("/_yakuba/console").await;
        for proof in [None, Some(""), Some("a"), Some(&*others), Some(&*strangers_proof)] {
            let all: Vec<_> = fields.iter().copied().chain(proof.map(|proof| ("proof", proof))).collect();
            let answer = chief.post_as_is(&path, &all).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {proof:?}: {}", answer.text);
        }
        for site in ["cross-site", "same-site"] {
            let all: Vec<_> = fields.iter().copied().chain([("proof", &*good)]).collect();
            let body = ruma::exports::serde_html_form::to_string(all).unwrap();
            let kind = Some("application/x-www-form-urlencoded");
            let answer = chief.ask_from(Some(site), Method::POST, &path, kind, body.into()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} from {site}");
        }
        let mut stranger = Browser::stranger(&server);
        let answer = stranger.post_as_is(&path, &fields).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
    }
    // Uploads: nothing is read of who may not send one.
    let import = "/_yakuba/console/import";
    for browser in [&mut auditor, &mut reader, &mut nobody] {
        let proof = browser.proof_at("/_yakuba/console").await;
        let fields: Vec<_> = FIRST.into_iter().chain([("proof", &*proof)]).collect();
        let answer = browser.upload_as_is(import, &fields, FILE.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    let answer = Browser::stranger(&server).upload_as_is(import, &FIRST, FILE.as_bytes()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let answer = chief.upload_as_is(import, &FIRST, FILE.as_bytes()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "without the proof");

    assert!(chief.open(&set).await.contains("承認待ち"), "nothing was decided");
    // Who tried what is for others has rows of it, with the route and not with what he sent; a form that is not ours is nobody's try.
    let tries = rows(&server, server.name(), "power.refused").await;
    let of = |name: &str| {
        let of_him = tries.iter().filter(|row| row.who == format!("@{name}:kanazawa.test"));
        of_him.map(|row| (row.after[0].1.as_str(), row.duty.as_deref())).collect::<Vec<_>>()
    };
    let (set_route, undo_route) =
        ("POST /_yakuba/console/changes/{id}", "POST /_yakuba/console/changes/{id}/undo");
    let (mappings, account, file) = (
        "POST /_yakuba/console/mappings",
        "POST /_yakuba/console/account",
        "POST /_yakuba/console/audit/file",
    );
    let edit = "POST /_yakuba/console/organisation/edit";
    // Of each who tries there are ten rows an hour.
    let more =
        ["POST /_yakuba/console/tokens", "POST /_yakuba/console/token", "POST /_yakuba/console/reports/{id}"];
    let first = [edit, set_route, undo_route, mappings, account, file];
    let routes: Vec<_> =
        first.iter().chain(&more).copied().chain(["POST /_yakuba/console/files/user"]).collect();
    assert_eq!(of("nobody"), routes.iter().map(|route| (*route, None)).collect::<Vec<_>>());
    assert_eq!(of("yomu"), routes.iter().map(|route| (*route, Some("reading"))).collect::<Vec<_>>());
    let but_the_file: Vec<_> = first[..5].iter().chain(&more).copied().collect();
    let kansas = of("kansa");
    assert_eq!(kansas[..8], but_the_file.iter().map(|route| (*route, Some("audit"))).collect::<Vec<_>>());
    assert_eq!(of("chief"), []);
    // However often he tries, ten rows an hour.
    for _ in 0..20 {
        nobody.post("/_yakuba/console", "/_yakuba/console/mappings", &[("name", "a")]).await;
    }
    let tries = rows(&server, server.name(), "power.refused").await;
    assert_eq!(tries.iter().filter(|row| row.who.starts_with("@nobody:")).count(), 10);
    for what in [
        "organisation.approve",
        "organisation.withdraw",
        "organisation.save_mapping",
        "account.lock",
        "audit.export",
        "audit.hold",
        "registration_token.put",
        "media.withhold",
        "media.remove",
        "federation.retry",
    ] {
        assert_eq!(rows(&server, server.name(), what).await, [], "{what}");
    }
    assert_eq!(rows(&server, server.name(), "organisation.propose").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_is_gone_with_the_next_request() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (officer, mut browser) = holder(&server, "jinji", Duty::Personnel).await;
    browser.open("/_yakuba/console/changes").await;
    set_duty(&server, officer.id(), Duty::Personnel, false).await;
    assert_eq!(browser.get("/_yakuba/console/changes").await.status, StatusCode::FORBIDDEN);
    administer(&server, officer.id()).await;
    // What an account may has changed, so its browsers are signed out.
    browser.sign_in("jinji").await;
    browser.open("/_yakuba/console/accounts").await;
    let accounts = server.look(|house| house.accounts.clone());
    let operator = audit::Actor::operator("test");
    accounts.set_administrator(officer.id(), false, &operator).await.unwrap();
    assert_eq!(browser.get("/_yakuba/console/accounts").await.status, StatusCode::SEE_OTHER);
    browser.sign_in("jinji").await;
    assert_eq!(browser.get("/_yakuba/console/accounts").await.status, StatusCode::FORBIDDEN);
    set_duty(&server, officer.id(), Duty::Reading, true).await;
    accounts.set_suspended(officer.id(), true, &operator).await.unwrap();
    assert_eq!(browser.get("/_yakuba/console").await.status, StatusCode::FORBIDDEN, "who is suspended");
    accounts.set_locked(officer.id(), true, &operator).await.unwrap();
    let answer = browser.get("/_yakuba/console").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "who is locked is signed in nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_authority_sees_and_changes_nothing_of_another_of_the_same_process() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let (_, mut ours) = administrator(&server, "kanazawa.test", "chief").await;
    let (theirs, mut their_browser) = administrator(&server, "nonoichi.test", "chief").await;
    let victim = server.user_of("nonoichi.test", "victim").await;
    let their_set = propose(&mut their_browser, &FIRST, FILE).await;
    assert!(their_browser.open(&their_set).await.contains("山田 花子"));

    assert_eq!(ours.get(&their_set).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ours.get(&format!("{their_set}/undo")).await.status, StatusCode::NOT_FOUND);
    let answer = ours.post("/_yakuba/console", &their_set, &[("do", "withdraw")]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(ours.open("/_yakuba/console/changes").await.contains("変更案はありません"));
    assert!(!ours.open("/_yakuba/console/accounts").await.contains("nonoichi.test"));
    assert!(!ours.open("/_yakuba/console/duties").await.contains("nonoichi.test"));
    assert!(!ours.open("/_yakuba/console/audit").await.contains("nonoichi.test"));
    for user in [victim.id().as_str(), theirs.id().as_str()] {
        let path = format!("/_yakuba/console/account?user={user}");
        assert_eq!(ours.get(&path).await.status, StatusCode::NOT_FOUND, "{user}");
        let fields = [("do", "lock"), ("user", user), ("password", PASSWORD)];
        let answer = ours.post("/_yakuba/console", "/_yakuba/console/account", &fields).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{user}");
    }
    assert_eq!(rows(&server, theirs.id().server_name(), "account.lock").await, []);
    // The cookie of one is nobody's at the other.
    let cookie = ours.cookie.clone();
    their_browser.cookie = cookie;
    assert_eq!(their_browser.get("/_yakuba/console").await.status, StatusCode::SEE_OTHER);
    // Nor does it sign anybody out there.
    let proof = their_browser.proof_at("/_yakuba/sign-in").await;
    their_browser.post_as_is("/_yakuba/sign-out", &[("proof", &proof)]).await;
    ours.open("/_yakuba/console").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_administrator_is_not_two_people() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (chief, _) = administrator(&server, "kanazawa.test", "chief").await;
    let set = propose(&mut officer, &FIRST, FILE).await;
    // Whom he makes an administrator administers, and approves nothing.
    let shadow = server.user("shadow").await;
    let body = serde_json::json!({ "admin": true });
    let path = format!("/_synapse/admin/v2/users/{}", shadow.id());
    let (status, text) = chief.ask(Method::PUT, &path, Some(&body)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let mut shadow = Browser::of(&server, &shadow).await;
    shadow.open("/_yakuba/console/accounts").await;
    let case = asked(&mut officer, &set).await;
    assert!(!shadow.open(&case).await.contains("value=\"approve\""));
    let answer = agree(&mut shadow, &case).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert!(officer.open(&set).await.contains("承認待ち"));
    // Nor does he get into the account of who has a duty.
    for (method, path, body) in [
        (
            Method::POST,
            "/_synapse/admin/v1/reset_password/@jinji:kanazawa.test",
            serde_json::json!({ "new_password": "by the chief 1" }),
        ),
        (
            Method::PUT,
            "/_synapse/admin/v2/users/@jinji:kanazawa.test",
            serde_json::json!({ "password": "by the chief 1" }),
        ),
        (
            Method::PUT,
            "/_synapse/admin/v2/users/@jinji:kanazawa.test",
            serde_json::json!({ "external_ids": [] }),
        ),
    ] {
        let (status, text) = chief.ask(method, path, Some(&body)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {text}");
    }
    officer.open(&set).await;
}
