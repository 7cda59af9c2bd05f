//! Forms that are forged, sent five times, sent late, or sent about what is somebody else's.

use duties::Duty;
use http::{Method, StatusCode};
use testkit::Net;

use super::{ASK, HOME, REASON, approve, ask, chiefs, has, seen, staff, wish};
use crate::{PASSWORD, administrator, browser::Browser, changes, holder, rows, set_duty};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_clicks_agree_once_and_each_shows_how_things_stand() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, ..] = chiefs(&server).await;
    let mut hanako = staff(&server, "hanako").await;
    let case = ask(&mut hanako, ASK, &wish("hanako", "audit")).await;
    let (proof, version) = (chief.proof_at(&case).await, seen(&mut chief, &case).await);
    let fields =
        [("do", "approve"), ("password", PASSWORD), ("seen", version.as_str()), ("proof", proof.as_str())];
    let mut clicks = [chief.clone(), chief.clone(), chief.clone(), chief.clone(), chief.clone()];
    let [a, b, c, d, e] = &mut clicks;
    let done = tokio::join!(
        a.post_as_is(&case, &fields),
        b.post_as_is(&case, &fields),
        c.post_as_is(&case, &fields),
        d.post_as_is(&case, &fields),
        e.post_as_is(&case, &fields),
    );
    for answer in [done.0, done.1, done.2, done.3, done.4] {
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        assert_eq!(answer.location.as_deref(), Some(case.as_str()));
    }
    assert_eq!(rows(&server, server.name(), "case.approve").await.len(), 1);
    assert!(!has(&server, "hanako", Duty::Audit).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_signed_in_anew_while_he_typed_keeps_what_he_typed() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    chiefs(&server).await;
    let mut tab = staff(&server, "hanako").await;
    let old = tab.proof_at(ASK).await;
    let late: Vec<_> = wish("hanako", "audit").into_iter().chain([("proof", old.as_str())]).collect();
    // In the other tab he signs out: the form comes back with a way to sign in.
    let out = tab.proof_at(ASK).await;
    tab.post_as_is("/_yakuba/sign-out", &[("proof", &out)]).await;
    let answer = tab.post_as_is(ASK, &late).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text.contains(REASON) && answer.text.contains("/_yakuba/sign-in"), "{}", answer.text);
    assert!(!answer.text.contains(PASSWORD));
    // He signs in there and sends what is in this tab: it is shown once more, and nothing is done yet.
    tab.sign_in("hanako").await;
    let answer = tab.post_as_is(ASK, &late).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    for text in [REASON, "value=\"hanako\"", "value=\"audit\" selected", "2027-03-31"] {
        assert!(answer.text.contains(text), "{text}: {}", answer.text);
    }
    assert_eq!(rows(&server, server.name(), "case.ask").await, []);
    let at = answer.text.find(r#"<form class="card""#).unwrap();
    let at =
        at + answer.text[at..].find(r#"name="proof" value=""#).unwrap() + r#"name="proof" value=""#.len();
    let fresh = answer.text[at..].split('"').next().unwrap();
    let again: Vec<_> = wish("hanako", "audit").into_iter().chain([("proof", fresh)]).collect();
    assert_eq!(tab.post_as_is(ASK, &again).await.status, StatusCode::SEE_OTHER);
    // Another site gets nothing of that: it would put its own words before somebody.
    let body = ruma::exports::serde_html_form::to_string(&late).unwrap();
    let kind = Some("application/x-www-form-urlencoded");
    let answer = tab.ask_from(Some("cross-site"), Method::POST, ASK, kind, body.into()).await;
    assert!(answer.status.is_client_error() && !answer.text.contains(REASON), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_deed_is_done_for_who_may_not_or_by_a_form_that_is_not_ours() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let [mut chief, mut second, _] = chiefs(&server).await;
    let (mut hanako, mut taro) = (staff(&server, "hanako").await, staff(&server, "taro").await);
    let (_, mut theirs) = administrator(&server, "nonoichi.test", "chief").await;
    let (other, mut other_second) = administrator(&server, "nonoichi.test", "second").await;
    let case = ask(&mut hanako, ASK, &wish("hanako", "audit")).await;
    let again = format!("{case}/again");
    // Nobody of another authority, nor of this one without a part in it, sees or moves it.
    for stranger in [&mut taro, &mut theirs, &mut other_second] {
        assert_eq!(stranger.get(&case).await.status, StatusCode::NOT_FOUND);
        assert_eq!(stranger.get(&again).await.status, StatusCode::NOT_FOUND);
        for what in ["approve", "return", "refuse", "withdraw", "undo", "retry"] {
            let fields = [("do", what), ("text", "x"), ("password", PASSWORD), ("seen", "1")];
            let answer = stranger.post(HOME_WITH_FORM, &case, &fields).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}: {}", answer.text);
        }
        let answer = stranger.post(HOME_WITH_FORM, &again, &wish("taro", "audit")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(!stranger.open(HOME).await.contains(&case));
    }
    assert_eq!(taro.get("/_yakuba/console/cases").await.status, StatusCode::FORBIDDEN);
    assert!(!theirs.open("/_yakuba/console/cases").await.contains("hanako"));
    assert_eq!(other.id().server_name(), "nonoichi.test");
    // Nobody asks for another authority's account.
    let answer = theirs.post(ASK, ASK, &wish("@hanako:kanazawa.test", "audit")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    // Who may is refused without the proof, with another browser's, and from another site.
    let others = second.proof_at(&case).await;
    let good = chief.proof_at(&case).await;
    let kind = Some("application/x-www-form-urlencoded");
    for proof in [None, Some(""), Some("a"), Some(others.as_str())] {
        let mut fields = vec![("do", "approve"), ("password", PASSWORD), ("seen", "1")];
        fields.extend(proof.map(|proof| ("proof", proof)));
        assert_eq!(chief.post_as_is(&case, &fields).await.status, StatusCode::FORBIDDEN, "{proof:?}");
    }
    for site in ["cross-site", "same-site"] {
        let fields = [("do", "approve"), ("password", PASSWORD), ("seen", "1"), ("proof", good.as_str())];
        let body = ruma::exports::serde_html_form::to_string(fields).unwrap();
        let answer = chief.ask_from(Some(site), Method::POST, &case, kind, body.into()).await;
        assert!(answer.status.is_client_error(), "{site}: {}", answer.status);
    }
    let mut stranger = Browser::stranger(&server);
    assert_eq!(stranger.get(&case).await.status, StatusCode::SEE_OTHER);
    let answer = stranger.post_as_is(&case, &[("do", "approve"), ("password", PASSWORD)]).await;
    assert!(answer.status.is_client_error());
    assert_eq!(rows(&server, server.name(), "case.approve").await, []);
    // An older version than there is: he is told, and looks once more.
    let form = [("do", "return"), ("text", "短く")];
    assert_eq!(second.post(&case, &case, &form).await.status, StatusCode::SEE_OTHER);
    assert_eq!(hanako.post(&again, &again, &wish("hanako", "approval")).await.status, StatusCode::SEE_OTHER);
    let old = [("do", "approve"), ("password", PASSWORD), ("seen", "1")];
    let answer = chief.post(&case, &case, &old).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
    // Whose approval counts no more when the next one agrees.
    assert_eq!(approve(&mut chief, &case).await.status, StatusCode::SEE_OTHER);
    let user = ruma::user_id!("@chief:kanazawa.test");
    set_duty(&server, user, Duty::Approval, false).await;
    assert_eq!(approve(&mut second, &case).await.status, StatusCode::SEE_OTHER);
    assert!(!has(&server, "hanako", Duty::Approval).await);
    assert!(hanako.open(&case).await.contains("あと 1 人"));
}

/// A page whose form everybody gets: that to sign out.
const HOME_WITH_FORM: &str = HOME;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_a_fault_of_ours() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, ..] = chiefs(&server).await;
    let mut hanako = staff(&server, "hanako").await;
    let case = ask(&mut hanako, ASK, &wish("hanako", "audit")).await;
    let random = base::Random::seeded(20_261_130);
    let pick = |count: usize| usize::try_from(random.range(0..count as u64)).unwrap();
    let values = [
        "",
        " ",
        "0",
        "-1",
        "1",
        "99999999999999999999",
        "2026-02-30",
        "9999-12-31",
        "%00",
        "@a:b",
        "'\"><script>alert(1)</script>",
        "山田",
        "approve",
        "＝1",
    ];
    let names = [
        "do",
        "text",
        "seen",
        "before",
        "q",
        "kind",
        "state",
        "deputy",
        "from",
        "until",
        "end",
        "reason",
        "field-account",
        "field-duty",
        "field-until",
        "field-room",
    ];
    let again = format!("{case}/again");
    let paths = [
        HOME,
        "/_yakuba/counter/cases",
        "/_yakuba/counter/ask",
        ASK,
        "/_yakuba/counter/ask/adopt_room",
        "/_yakuba/counter/ask/x",
        "/_yakuba/counter/cases/x",
        "/_yakuba/counter/cases/18446744073709551615",
        "/_yakuba/counter/deputies",
        &case,
        &again,
        "/_yakuba/console/cases",
    ];
    let proof = chief.proof_at(HOME).await;
    for _ in 0..400 {
        let mut fields: Vec<_> =
            (0..pick(5)).map(|_| (names[pick(names.len())], values[pick(values.len())])).collect();
        let path = paths[pick(paths.len())];
        let answer = if pick(2) == 0 {
            let query = ruma::exports::serde_html_form::to_string(&fields).unwrap();
            chief.get(&format!("{path}?{query}")).await
        } else {
            fields.push(("proof", &proof));
            chief.post_as_is(path, &fields).await
        };
        assert!(!answer.status.is_server_error(), "{path} {fields:?}: {} {}", answer.status, answer.text);
        assert!(!answer.text.contains("<script>alert"), "{path} {fields:?}");
    }
    assert!(
        chief.open(&case).await.contains("承認待ち")
            || chief.open(&case).await.contains("差し戻し")
            || chief.open(&case).await.contains("却下")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_finds_a_browser_open_names_nobody_who_decides_in_its_owners_place() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, ..] = chiefs(&server).await;
    let mut officer = crate::holder(&server, "jinji", Duty::Personnel).await.1;
    let (mut hanako, _) = (staff(&server, "hanako").await, staff(&server, "taro").await);
    crate::changes::apply(&server, (&mut officer, &mut chief), crate::changes::FILE).await;
    let place = "/_yakuba/counter/deputies";
    let name = [("deputy", "taro"), ("from", "2026-04-01"), ("until", "2026-04-30")];
    for password in [None, Some(""), Some("wrong")] {
        let mut fields = name.to_vec();
        fields.extend(password.map(|password| ("password", password)));
        let answer = hanako.post(place, place, &fields).await;
        assert!(answer.status.is_client_error(), "{password:?}: {}", answer.status);
        assert!(answer.text.contains("value=\"taro\""), "what was typed stays: {}", answer.text);
    }
    assert_eq!(rows(&server, server.name(), "deputy.name").await, []);
    let fields = [name.as_slice(), &[("password", PASSWORD)]].concat();
    assert_eq!(hanako.post(place, place, &fields).await.status, StatusCode::SEE_OTHER);
    assert_eq!(rows(&server, server.name(), "deputy.name").await.len(), 1);
    // Taking it back needs none: it gives nobody anything.
    assert_eq!(
        hanako.post(place, place, &[("end", "@taro:kanazawa.test")]).await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_to_another_authority_takes_nothing_of_the_first_along() {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let [mut chief, ..] = chiefs(&server).await;
    let (_, mut theirs) = administrator(&server, "nonoichi.test", "chief").await;
    let mut hanako = staff(&server, "hanako").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    changes::apply(&server, (&mut officer, &mut chief), changes::FILE).await;
    let case = ask(&mut hanako, ASK, &wish("hanako", "audit")).await;
    // 出向: the same person, by number and name, is in the other's file from now on.
    let moved = server.user_of("nonoichi.test", "hanako").await;
    let mut there = Browser::of(&server, &moved).await;
    changes::propose(&mut theirs, &changes::FIRST, changes::FILE).await;
    for (is_his, path) in [
        (true, HOME),
        (true, "/_yakuba/counter/cases"),
        (false, "/_yakuba/console/cases"),
        (false, "/_yakuba/console/audit?q=hanako"),
        (false, "/_yakuba/console/people?q=%E5%B1%B1%E7%94%B0"),
    ] {
        let browser = if is_his { &mut there } else { &mut theirs };
        let page = browser.get(path).await.text;
        for text in [REASON, "kanazawa.test", "防災課"] {
            assert!(!page.contains(text), "{path} {text}: {page}");
        }
    }
    assert_eq!(there.get(&case).await.status, StatusCode::NOT_FOUND);
    assert_eq!(theirs.get(&case).await.status, StatusCode::NOT_FOUND);
    assert!(hanako.open(&case).await.contains(REASON), "and the first still has it");
}
