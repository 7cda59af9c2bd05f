//! What people do at the counter, from the wish to the end.

use std::collections::{BTreeMap, BTreeSet};

use duties::Duty;
use http::{Method, StatusCode};
use server::config::Serves;
use testkit::Net;

use super::{ASK, HOME, REASON, approve, ask, auditor, chiefs, has, seen, staff, wish};
use crate::{PASSWORD, changes, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duty_is_asked_for_agreed_to_by_two_and_given_up() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, mut second, _] = chiefs(&server).await;
    let mut hanako = staff(&server, "hanako").await;
    assert!(hanako.open("/_yakuba/counter/ask").await.contains("役割の付与"));
    let case = ask(&mut hanako, ASK, &wish("hanako", "audit")).await;
    assert_eq!(case, "/_yakuba/counter/cases/1");
    let page = hanako.open(&case).await;
    for text in ["承認待ち", "監査担当", "令和9年3月31日", REASON, "あと 2 人", "@second:kanazawa.test"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("value=\"approve\"") && page.contains("value=\"withdraw\""));
    assert!(chief.open(HOME).await.contains(&case) && hanako.open(HOME).await.contains(&case));

    // A wrong password decides nothing, and what was typed stays.
    let version = seen(&mut chief, &case).await;
    let fields =
        [("do", "approve"), ("text", "了解しました"), ("password", "wrong"), ("seen", version.as_str())];
    let answer = chief.post(&case, &case, &fields).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("パスワードが違います") && answer.text.contains("了解しました"));
    assert_eq!(approve(&mut chief, &case).await.status, StatusCode::SEE_OTHER);
    assert!(!chief.open(HOME).await.contains("value=\"approve\""));
    assert!(!has(&server, "hanako", Duty::Audit).await);
    assert_eq!(approve(&mut second, &case).await.status, StatusCode::SEE_OTHER);
    assert!(has(&server, "hanako", Duty::Audit).await);
    assert!(hanako.open(&case).await.contains("実施済み"));
    // The console has it for who sees all of them.
    let mut kansa = auditor(&server).await;
    for query in ["", "?q=hanako", "?q=1", "?kind=duty&state=done"] {
        assert!(kansa.open(&format!("/_yakuba/console/cases{query}")).await.contains(&case), "{query}");
    }
    assert!(!kansa.open("/_yakuba/console/cases?state=asked").await.contains(&case));
    assert!(kansa.open(&case).await.contains("@second:kanazawa.test"));

    let undo = [("do", "undo"), ("text", "異動のため"), ("password", PASSWORD)];
    assert_eq!(hanako.post(&case, &case, &undo).await.status, StatusCode::SEE_OTHER);
    assert!(!has(&server, "hanako", Duty::Audit).await);
    assert!(hanako.open(&case).await.contains("取り消し済み"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_that_changes_something_leaves_a_row_for_each_of_its_deeds() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let [mut chief, ..] = chiefs(&server).await;
    let mut officer = crate::holder(&server, "jinji", Duty::Personnel).await.1;
    changes::apply(&server, (&mut officer, &mut chief), changes::FILE).await;
    let (mut hanako, mut taro) = (staff(&server, "hanako").await, staff(&server, "taro").await);
    let lines = server.look(|house| house.routes(&[Serves::Counter]).endpoints());
    let posts: BTreeSet<String> = lines
        .into_iter()
        .filter(|(method, path)| *method != Method::GET && path.starts_with(HOME))
        .map(|(_, path)| path)
        .collect();
    let mut walked = BTreeSet::new();
    let mut before = BTreeMap::new();
    for what in ["case.ask", "case.approve"] {
        before.insert(what, rows(&server, server.name(), what).await.len());
    }
    let mut row = async |path: &str, what: &str| {
        walked.insert(path.to_owned());
        let before = before.get(what).copied().unwrap_or(0);
        assert_eq!(rows(&server, server.name(), what).await.len(), before + 1, "{path}: {what}");
    };
    let case = ask(&mut hanako, ASK, &wish("hanako", "audit")).await;
    row("/_yakuba/counter/ask/{kind}", "case.ask").await;
    approve(&mut chief, &case).await;
    row("/_yakuba/counter/cases/{id}", "case.approve").await;
    let decide = async |browser: &mut crate::browser::Browser, case: &str, what: &str| {
        let answer = browser.post(case, case, &[("do", what), ("text", "理由")]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{what}: {}", answer.text);
    };
    let again = format!("{case}/again");
    // Who has agreed does not give it back as well: the next one does.
    let mut third = crate::administrator(&server, "kanazawa.test", "fourth").await.1;
    decide(&mut third, &case, "return").await;
    row("/_yakuba/counter/cases/{id}", "case.return").await;
    let page = hanako.open(&again).await;
    assert!(page.contains(REASON) && page.contains("value=\"audit\" selected"), "{page}");
    let answer = hanako.post(&again, &again, &wish("hanako", "reading")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    row("/_yakuba/counter/cases/{id}/again", "case.ask_again").await;
    decide(&mut chief, &case, "refuse").await;
    row("/_yakuba/counter/cases/{id}", "case.refuse").await;
    let another = ask(&mut hanako, ASK, &wish("hanako", "reading")).await;
    decide(&mut hanako, &another, "withdraw").await;
    row("/_yakuba/counter/cases/{id}", "case.withdraw").await;

    let deputies = "/_yakuba/counter/deputies";
    let fields =
        [("deputy", "taro"), ("from", "2026-04-01"), ("until", "2026-04-30"), ("password", PASSWORD)];
    let answer = hanako.post(deputies, deputies, &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    row(deputies, "deputy.name").await;
    assert!(hanako.open(deputies).await.contains("@taro:kanazawa.test"));
    assert!(taro.open(deputies).await.contains("@hanako:kanazawa.test"));
    let answer = hanako.post(deputies, deputies, &[("end", "@taro:kanazawa.test")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    row(deputies, "deputy.end").await;
    let answer = hanako.post(deputies, deputies, &[("deputy", "nobody"), ("from", "x"), ("until", "")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("value=\"nobody\""), "what was typed stays");
    assert_eq!(walked, posts, "a route that changes something is not walked here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_in_a_room_of_their_own_and_of_nothing_but_title_and_place() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, _) = crate::administrator(&server, "kanazawa.test", "chief").await;
    let mut hanako = staff(&server, "hanako").await;
    let case = ask(&mut hanako, ASK, &wish("hanako", "audit")).await;
    let invited = async {
        loop {
            let sync = chief.call(Method::GET, "/sync", None).await;
            if let Some(room) = sync["rooms"]["invite"].as_object().and_then(|rooms| rooms.keys().next()) {
                return ruma::OwnedRoomId::try_from(room.as_str()).unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let room = tokio::time::timeout(std::time::Duration::from_secs(60), invited).await.unwrap();
    chief.join(&room, "kanazawa.test").await;
    let told = async {
        loop {
            let said = chief.history(&room).await;
            if said.iter().any(|text| text.contains(&case)) {
                return said;
            }
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(60), told).await.unwrap();
    assert!(told.iter().all(|text| !text.contains(REASON)), "{told:?}");
    server.crash_and_restart().await;
    let mut second = crate::administrator(&server, "kanazawa.test", "second").await.1;
    assert!(second.open(HOME).await.contains(&case));
    let said = chief.history(&room).await;
    assert_eq!(said.iter().filter(|text| text.contains(&case)).count(), 1, "{said:?}");
}
