//! Every route that changes something leaves its row in the audit log; and 1,000 generated requests (10,000 by
//! `--include-ignored`) by who runs one authority see and change nothing of another of the same process.

use std::collections::{BTreeMap, BTreeSet};

use audit::{Filter, Record};
use base::Random;
use duties::Duty;
use http::{Method, StatusCode};
use serde_json::json;
use server::config::Serves;
use store::Position;
use testkit::{Net, PASSWORD, Server};

use crate::{
    administer, administrator,
    browser::Browser,
    changes::{FILE, FIRST, agree, asked, propose},
    domains::{DOMAIN, DOMAINS, PEOPLE, SAYS, registered},
    download,
    editing::EDIT,
    federation::{in_common, until},
    field_of, holder,
    recovery::with_app,
    report, upload,
};

const TOKENS: &str = "/_yakuba/console/tokens";
const TOKEN: &str = "/_yakuba/console/token";
const OWN_FILES: &str = "/_yakuba/console/files/user";
const ONE_FILE: &str = "/_yakuba/console/file";
const PEER: &str = "/_yakuba/console/federation/server";
const IMPORT: &str = "/_yakuba/console/import";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_that_changes_something_leaves_a_row_for_each_of_its_deeds() {
    let net = Net::new();
    net.name_mail_domain(DOMAIN);
    net.publish("_yakuba.city.kanazawa.test", &[SAYS]);
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut deputy) = administrator(&server, "kanazawa.test", "deputy").await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let (kansa, mut auditor) = holder(&server, "kansa", Duty::Audit).await;
    administer(&server, kansa.id()).await;
    // What an account may has changed, so its browsers are signed out.
    auditor.sign_in("kansa").await;
    let (hanako, kenji) = (server.user("hanako").await, server.user("kenji").await);
    let password = ("password", PASSWORD);
    let account = |what| (vec![("do", what), ("user", hanako.id().as_str()), password], ());
    let lines = server.look(|house| house.routes(&[Serves::Console]).endpoints());
    // Those of the counter are walked in `counter`.
    let is_ours = |path: &str| path.starts_with("/_yakuba/console");
    let lines = lines.into_iter().filter(|(method, path)| *method != Method::GET && is_ours(path));
    let posts: BTreeSet<String> = lines.map(|(_, path)| path).collect();
    let mut walked = BTreeSet::new();
    // What is used before is made before: signing in leaves rows as well.
    let reported = report(&server, "kanazawa.test", ("広場", "言葉", "不適切")).await;
    let uri = upload(&hanako, "a.txt", "あ").await;
    let room = in_common(&net, &server, &kenji, "suzu.test").await;
    let taro = registered(&server, "taro.t", "taro@city.kanazawa.test").await;
    officer.post(DOMAINS, DOMAINS, &[("check", DOMAIN)]).await;
    let mut last = all_rows(&server, Position::START).await.1;
    // The row of the deed, and whatever else people did since the deed before it: nothing is left over.
    let mut seen = async |path: &str, what: &str, more: &[&str]| {
        walked.insert(path.to_owned());
        let (new, end) = all_rows(&server, last).await;
        last = end;
        assert_eq!(new.iter().filter(|row| row.what == what).count(), 1, "{path}: {what} in {new:?}");
        let others = new.iter().filter(|row| row.role != "server" && row.what != what);
        assert_eq!(others.map(|row| row.what.as_str()).collect::<Vec<_>>(), more, "{path}: {new:?}");
        for row in new.iter().filter(|row| row.role != "server") {
            let duty = match &row.who {
                who if who.starts_with("@jinji:") => "personnel",
                who if who.starts_with("@kansa:") => "audit",
                _ => "approval",
            };
            assert_eq!(row.duty.as_deref(), Some(duty), "{path}: {row:?}");
        }
    };

    let set = propose(&mut officer, &FIRST, PEOPLE).await;
    seen(IMPORT, "organisation.propose", &[]).await;
    let act = r#"{"make_body":{"name":"議会"}}"#;
    let answer = officer.post(EDIT, EDIT, &[("do", "propose"), ("act-0", act)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    seen(EDIT, "organisation.propose", &[]).await;
    let base = serde_json::to_string(&intake::Mapping::default()).unwrap();
    let fields = [
        ("base", base.as_str()),
        ("name", "様式"),
        ("header-1", "番号"),
        ("column-1", "0"),
        ("header-2", "名前"),
        ("column-2", "1"),
    ];
    let answer = officer.post(IMPORT, "/_yakuba/console/mappings", &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    seen("/_yakuba/console/mappings", "organisation.save_mapping", &[]).await;

    // What two agree to is asked for at the counter, whose routes are walked there.
    let case = asked(&mut officer, &set).await;
    agree(&mut chief, &case).await;
    while !chief.open(&set).await.contains("適用済み") {
        // By its hour, or by the button, whichever comes first.
        chief.post("/_yakuba/console", &set, &[("do", "apply")]).await;
    }
    let others = ["case.ask", "organisation.approve", "case.approve", "case.carry_out"];
    seen("/_yakuba/console/changes/{id}", "organisation.apply", &others).await;
    let answer = officer.post(DOMAINS, DOMAINS, &[("user-0", taro.id().as_str())]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    seen(DOMAINS, "domains.put_forward", &["organisation.propose"]).await;
    let undo = format!("{set}/undo");
    assert_eq!(officer.post(&undo, &undo, &[password]).await.status, StatusCode::SEE_OTHER);
    seen("/_yakuba/console/changes/{id}/undo", "organisation.undo", &[]).await;
    let another = propose(&mut officer, &FIRST, FILE).await;
    officer.post(&another, &another, &[("do", "withdraw")]).await;
    seen("/_yakuba/console/changes/{id}", "organisation.withdraw", &["organisation.propose"]).await;

    let here = format!("/_yakuba/console/account?user={}", hanako.id());
    for (what, row) in [
        ("suspend", "account.suspend"),
        ("resume", "account.resume"),
        ("sign_out", "session.sign_out_everywhere"),
        ("lock", "account.lock"),
        ("unlock", "account.unlock"),
    ] {
        let answer = chief.post(&here, "/_yakuba/console/account", &account(what).0).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{what}: {}", answer.text);
        // The form is on a page that shows an account, which is read.
        seen("/_yakuba/console/account", row, &["account.read"]).await;
    }
    with_app(&server, &hanako).await;
    let recovery = "/_yakuba/console/recovery";
    for (what, row) in [("ask", "factor.ask_recovery"), ("withdraw", "factor.withdraw_recovery")] {
        chief.post(&here, recovery, &account(what).0).await;
        seen(recovery, row, &["account.read"]).await;
    }
    chief.post(&here, recovery, &account("ask").0).await;
    seen(recovery, "factor.ask_recovery", &["account.read"]).await;
    deputy.post(&here, recovery, &account("agree").0).await;
    seen(recovery, "factor.recover", &["account.read"]).await;
    chief.post("/_yakuba/console/audit", "/_yakuba/console/audit/file", &[("as", "csv")]).await;
    seen("/_yakuba/console/audit/file", "audit.export", &[]).await;
    let hold = "/_yakuba/console/audit/hold";
    for (fields, row) in [
        (vec![("do", "hold"), ("reason", "住民訴訟")], "audit.hold"),
        (vec![("do", "release"), password], "audit.release"),
    ] {
        let answer = auditor.post("/_yakuba/console/audit", hold, &fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        seen(hold, row, &[]).await;
    }

    // The proof is on every page.
    let home = "/_yakuba/console";
    let made = chief.post(home, TOKENS, &[("token", "sakura"), ("uses", "3")]).await;
    let id = field_of(made.location.as_deref(), "id");
    seen(TOKENS, "registration_token.put", &[]).await;
    chief.post(home, TOKEN, &[("do", "change"), ("id", &id), ("uses", "4")]).await;
    seen(TOKEN, "registration_token.put", &[]).await;
    chief.post(home, TOKEN, &[("do", "delete"), ("id", &id), password]).await;
    seen(TOKEN, "registration_token.remove", &[]).await;
    let path = format!("{home}/reports/{}", reported.id);
    chief.open(&path).await;
    seen("/_yakuba/console/reports/{id}", "room.read", &[]).await;
    chief.post(home, &path, &[("do", "delete"), password]).await;
    seen("/_yakuba/console/reports/{id}", "report.remove", &[]).await;
    for (what, row) in [
        ("withhold", "media.withhold"),
        ("release", "media.release"),
        ("protect", "media.protect"),
        ("unprotect", "media.unprotect"),
    ] {
        chief.post(home, ONE_FILE, &[("do", what), ("uri", &uri)]).await;
        seen(ONE_FILE, row, &[]).await;
    }
    chief.post(home, OWN_FILES, &[("do", "withhold"), ("user", hanako.id().as_str()), password]).await;
    seen(OWN_FILES, "media.withhold", &[]).await;
    chief.post(home, ONE_FILE, &[("do", "delete"), ("uri", &uri), password]).await;
    seen(ONE_FILE, "media.remove", &[]).await;
    kenji.send(&room, "聞こえますか").await;
    until(&mut chief, &format!("{PEER}?server=suzu.test"), "から届いていません").await;
    chief.post(home, PEER, &[("do", "retry"), ("server", "suzu.test")]).await;
    seen(PEER, "federation.retry", &[]).await;
    assert_eq!(walked, posts, "a route that changes something is not walked here");
}

/// The rows behind a position, and where they end.
async fn all_rows(server: &Server, after: Position) -> (Vec<Record>, Position) {
    let store = server.look(|house| house.store.clone());
    let page = audit::list(&store, server.name(), &Filter::default(), after).await.unwrap();
    let end = page.found.last().map_or(after, |listed| listed.position);
    (page.found.into_iter().filter_map(|listed| listed.record).collect(), end)
}

/// All rows of the audit log of an authority, by their kind.
async fn counts(server: &Server, authority: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let name = authority.try_into().unwrap();
    let store = server.look(|house| house.store.clone());
    let page = audit::list(&store, name, &audit::Filter::default(), store::Position::START).await.unwrap();
    for listed in page.found {
        *counts.entry(listed.record.unwrap().what).or_default() += 1;
    }
    counts
}

async fn walk(cases: usize) {
    let net = Net::new();
    let server = net.process(&["kanazawa.test", "nonoichi.test"]).await;
    let (_, mut ours) = administrator(&server, "kanazawa.test", "chief").await;
    let (theirs, mut their_browser) = administrator(&server, "nonoichi.test", "umechan").await;
    let victim = server.user_of("nonoichi.test", "tsubaki").await;
    // What is theirs, and never asked for by its name.
    let secrets = ["粟貫", "秘匿室", "kakushi", "梅谷", "sakurako", "himitsu", "内緒話", "隠し部屋"];
    let secret = FILE.replace("山田 花子", "粟貫 一").replace("防災課", "秘匿室");
    let kakushi = server.user_of("nonoichi.test", "kakushi").await;
    let name = json!({ "displayname": "梅谷 秘書" });
    for user in [&theirs, &kakushi] {
        let path = format!("/profile/{}/displayname", user.id());
        user.call(Method::PUT, &path, Some(&name)).await;
    }
    with_app(&server, &victim).await;
    their_browser.post("/_yakuba/console", TOKENS, &[("token", "sakurako")]).await;
    let tokens = their_browser.open(TOKENS).await;
    let token = tokens.split("token?id=").nth(1).unwrap().split('"').next().unwrap();
    let reported = report(&server, "nonoichi.test", ("隠し部屋", "内緒話", "himitsu")).await;
    let their_report = format!("/_yakuba/console/reports/{}", reported.id);
    let their_file = upload(&victim, "himitsu.txt", "内緒").await;
    let their_set = propose(&mut their_browser, &FIRST, &secret).await;
    let own_set = propose(&mut ours, &FIRST, FILE).await;
    let before = counts(&server, "nonoichi.test").await;
    let random = Random::seeded(20_261_130);
    let pick = |count: usize| usize::try_from(random.range(0..count as u64)).unwrap();
    let undo = |set: &str| format!("{set}/undo");
    let (their_undo, own_undo) = (undo(&their_set), undo(&own_set));
    let ids = [
        theirs.id().as_str(),
        victim.id().as_str(),
        "umechan",
        "tsubaki",
        "椿",
        "椿課",
        "野々市 椿",
        "nonoichi.test",
        "",
        token,
        their_file.as_str(),
        "delete",
        "withhold",
    ];
    let gets = [
        &*their_set,
        &their_undo,
        &own_set,
        &own_undo,
        "/_yakuba/console",
        "/_yakuba/console/organisation",
        EDIT,
        "/_yakuba/console/people",
        "/_yakuba/console/changes",
        "/_yakuba/console/rooms",
        IMPORT,
        "/_yakuba/console/accounts",
        "/_yakuba/console/account",
        "/_yakuba/console/audit",
        "/_yakuba/console/duties",
        TOKENS,
        TOKEN,
        "/_yakuba/console/reports",
        &their_report,
        "/_yakuba/console/files",
        OWN_FILES,
        ONE_FILE,
        "/_yakuba/console/federation",
        PEER,
        "/_yakuba/console/storage",
        DOMAINS,
    ];
    let posts = [
        &*their_set,
        &their_undo,
        "/_yakuba/console/account",
        "/_yakuba/console/recovery",
        "/_yakuba/console/mappings",
        "/_yakuba/console/audit/file",
        TOKENS,
        TOKEN,
        &their_report,
        OWN_FILES,
        ONE_FILE,
        PEER,
        EDIT,
        DOMAINS,
    ];
    let names = [
        "q", "unit", "user", "who", "text", "what", "state", "before", "from", "as", "day", "line", "id",
        "uri", "server", "after", "person", "parent", "deed",
    ];
    let deeds = [
        "approve",
        "withdraw",
        "time",
        "apply",
        "undo",
        "lock",
        "suspend",
        "sign_out",
        "csv",
        "lines",
        "ask",
        "agree",
        "change",
        "delete",
        "withhold",
        "release",
        "protect",
        "retry",
        "add",
        "propose",
        "deed:move_unit",
    ];
    let number = their_set.rsplit('/').next().unwrap();
    let proof = ours.proof_at("/_yakuba/console").await;
    for case in 0..cases {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for _ in 0..pick(4) {
            let value = if pick(3) == 0 { number } else { ids[pick(ids.len())] };
            fields.insert(names[pick(names.len())], value);
        }
        let answer = if pick(3) > 0 {
            let query = ruma::exports::serde_html_form::to_string(&fields).unwrap();
            ours.get(&format!("{}?{query}", gets[pick(gets.len())])).await
        } else {
            let deed = deeds[pick(deeds.len())];
            fields.extend([("do", deed), ("as", deed), ("role", "administrator"), ("password", PASSWORD)]);
            // What is theirs by its name, more often than by chance.
            fields.extend([("id", token), ("uri", &their_file), ("user", victim.id().as_str())]);
            fields.insert("proof", &proof);
            let all: Vec<_> = fields.iter().map(|(name, value)| (*name, *value)).collect();
            ours.post_as_is(posts[pick(posts.len())], &all).await
        };
        assert!(!answer.status.is_server_error(), "{case}: {}", answer.text);
        for secret in secrets {
            assert!(!answer.text.contains(secret), "{case} {fields:?}: {}", answer.text);
        }
    }
    assert_eq!(counts(&server, "nonoichi.test").await, before, "nothing was done there");
    assert!(their_browser.open(&their_set).await.contains("承認待ち"));
    assert!(their_browser.open(TOKENS).await.contains("sakurako"));
    assert!(their_browser.open(&their_report).await.contains("内緒話"));
    assert_eq!(download(&victim, &their_file).await, 200);
    let mut stranger = Browser::stranger(&server);
    assert_eq!(stranger.get(&their_set).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_see_and_change_nothing_of_another_authority() {
    walk(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "some minutes"]
async fn ten_thousand_requests_see_and_change_nothing_of_another_authority() {
    walk(10_000).await;
}
