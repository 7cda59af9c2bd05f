//! The organisation is changed by hand on the page: acts are gathered, taken out, become a change set.

use duties::Duty;
use http::StatusCode;
use testkit::Net;

use crate::{
    administrator,
    browser::Browser,
    changes::{FILE, FIRST, applied, propose},
    holder, rows,
};

pub(crate) const EDIT: &str = "/_yakuba/console/organisation/edit";

/// The acts that a page carries, as its first form does.
fn carried(page: &str) -> Vec<(String, String)> {
    let form = page.split("<form").find(|form| form.contains(&format!("action=\"{EDIT}\""))).unwrap();
    let acts = form.split("name=\"act-").skip(1).map(|rest| {
        let (number, rest) = rest.split_once("\" value=\"").unwrap();
        let value = rest.split('"').next().unwrap().replace("&quot;", "\"").replace("&amp;", "&");
        (format!("act-{number}"), value)
    });
    acts.collect()
}

/// A form with these acts and fields.
fn with<'a>(acts: &'a [(String, String)], fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let acts = acts.iter().map(|(name, act)| (name.as_str(), act.as_str()));
    fields.iter().copied().chain([("day", "2026-04-01")]).chain(acts).collect()
}

/// Adds an act to what a page carries; the page after it.
async fn add(browser: &mut Browser, page: &str, fields: &[(&str, &str)]) -> String {
    let acts = carried(page);
    let mut all = with(&acts, fields);
    all.push(("do", "add"));
    let answer = browser.post(EDIT, EDIT, &all).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_are_gathered_one_by_one_become_a_set_and_are_applied() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut chief) = administrator(&server, "kanazawa.test", "chief").await;
    let set = propose(&mut officer, &FIRST, FILE).await;
    applied(&server, (&mut officer, &mut chief), &set).await;

    // From a unit's own page the form is filled in already.
    let unit = officer.open("/_yakuba/console/organisation?unit=%E9%98%B2%E7%81%BD%E8%AA%B2").await;
    let link = unit.split("href=\"").find(|rest| rest.contains("deed=rename_unit")).unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let page = officer.open(&link).await;
    assert!(page.contains("name=\"unit\" value=\"unit:") && page.contains("新しい名称"), "{page}");
    assert!(page.contains("<option value=\"総務部/防災課\">"), "units can be chosen: {page}");

    let fields = [("deed", "rename_unit"), ("unit", "総務部/防災課"), ("name", "危機管理課")];
    let page = add(&mut officer, &page, &fields).await;
    assert!(page.contains("「防災課」→「危機管理課」"), "{page}");
    // The next one names what the one before has made.
    let matters = ("matters", "避難所\r\n備蓄、防災無線");
    let fields = [("deed", "charge"), ("unit", "危機管理課"), ("title", ""), matters];
    let page = add(&mut officer, &page, &fields).await;
    assert!(page.contains("避難所、備蓄、防災無線"), "{page}");
    let fields = [("deed", "make_unit"), ("name", "消した課"), ("parent", "総務部")];
    let page = add(&mut officer, &page, &fields).await;
    assert_eq!(page.matches("value=\"remove:").count(), 3);

    // What cannot be done is told, with what was typed, and what was gathered stays.
    let acts = carried(&page);
    assert_eq!(acts.len(), 3);
    let fields = with(&acts, &[("do", "add"), ("deed", "close_unit"), ("unit", "危機管理課")]);
    let answer = officer.post(EDIT, EDIT, &fields).await;
    let text = &answer.text;
    assert!(answer.status.is_client_error() && text.contains("職員がいるため廃止できません"), "{text}");
    assert!(text.contains("name=\"unit\" value=\"危機管理課\""), "{text}");
    assert_eq!(carried(text), acts);

    let answer = officer.post(EDIT, EDIT, &with(&acts, &[("do", "remove:2")])).await;
    assert!(!answer.text.contains("消した課"), "{}", answer.text);
    let proposed = rows(&server, server.name(), "organisation.propose").await;
    assert_eq!(proposed.len(), 1, "nothing is stored yet");
    let acts = carried(&answer.text);
    let answer = officer.post(EDIT, EDIT, &with(&acts, &[("do", "propose")])).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let set = answer.location.unwrap();
    applied(&server, (&mut officer, &mut chief), &set).await;

    let page = officer.open("/_yakuba/console/people?q=%E5%82%99%E8%93%84").await;
    assert!(page.contains("2 人見つかりました") && page.contains("危機管理課"), "by 備蓄: {page}");
    assert!(officer.open("/_yakuba/console/organisation").await.contains("危機管理課"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_form_carries_is_read_with_care_and_by_who_may_change_the_organisation() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut officer) = holder(&server, "jinji", Duty::Personnel).await;
    let (_, mut reader) = holder(&server, "eturan", Duty::Reading).await;
    assert_eq!(reader.get(EDIT).await.status, StatusCode::FORBIDDEN);
    let page = reader.open("/_yakuba/console/organisation").await;
    assert!(!page.contains(EDIT), "no link leads where one may not go");

    let back = r#"{"back":{"person":"1"}}"#;
    let one = |act: &str| vec![("act-0".to_owned(), act.to_owned())];
    let many = (0..451).map(|number| (format!("act-{number}"), back.to_owned())).collect();
    let mixed = vec![("act-0".to_owned(), back.to_owned()), ("act-x".to_owned(), "x".to_owned())];
    let more = one(r#"{"back":{"person":"1","more":1}}"#);
    for acts in [one("x"), one("[]"), one("1"), one(r#"{"drop":{}}"#), one(""), more, mixed, many] {
        for what in ["day", "propose", "remove:0", "deed:away"] {
            let answer = officer.post(EDIT, EDIT, &with(&acts, &[("do", what)])).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {}", answer.text);
            assert!(answer.text.contains("変更の一覧を読み取れない"), "{}", answer.text);
        }
    }
    // What could be done when it was gathered, and cannot be now, is shown and can be taken out.
    let gone = one(r#"{"close_unit":{"unit":"<b>無い課"}}"#);
    let answer = officer.post(EDIT, EDIT, &with(&gone, &[("do", "day")])).await;
    let text = &answer.text;
    assert!(answer.status.is_client_error() && text.contains("value=\"remove:0\""), "{text}");
    assert!(text.contains("&lt;b&gt;無い課") && !text.contains("<b>無い課"), "{text}");
    for fields in [
        vec![("do", "propose")],
        vec![("do", "add"), ("deed", "away"), ("person", "1"), ("why", "nothing")],
        vec![("do", "add"), ("deed", "split_unit"), ("unit", "x"), ("goes", "00001")],
        vec![("do", "add"), ("deed", "drop")],
        vec![("do", "remove:x")],
        vec![("do", "")],
    ] {
        for acts in [&gone[..], &[]] {
            let answer = officer.post(EDIT, EDIT, &with(acts, &fields)).await;
            assert!(answer.status.is_client_error(), "{fields:?}: {} {}", answer.status, answer.text);
        }
    }
    let answer = officer.post(EDIT, EDIT, &[("do", "day"), ("day", "32.13.2026")]).await;
    assert!(answer.status.is_client_error(), "{}", answer.text);
    assert_eq!(rows(&server, server.name(), "organisation.propose").await, []);
    let answer = reader.post("/_yakuba/console", EDIT, &with(&gone, &[("do", "propose")])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}
