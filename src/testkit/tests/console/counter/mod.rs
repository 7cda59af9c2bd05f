//! The counter over HTTP: asking, deciding, deputies; who sees what; forms that are sent twice, late, by others or from elsewhere.

mod attacks;
mod pages;
mod rooms;
mod rule_days;
mod rule_says;

use duties::Duty;
use http::StatusCode;
use testkit::Server;

use crate::{PASSWORD, administrator, browser::Browser, set_duty};

pub(crate) const HOME: &str = "/_yakuba/counter";
const ASK: &str = "/_yakuba/counter/ask/duty";
const REASON: &str = "監査を引き継ぐため";

/// What is typed for a duty.
pub(crate) fn wish<'a>(account: &'a str, duty: &'a str) -> [(&'a str, &'a str); 4] {
    [("field-account", account), ("field-duty", duty), ("field-until", "2027-03-31"), ("reason", REASON)]
}

/// Asks for something; where the case is shown.
async fn ask(browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> String {
    let answer = browser.post(path, path, fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    answer.location.unwrap()
}

/// The version of a case that its page carries.
async fn seen(browser: &mut Browser, case: &str) -> String {
    let page = browser.open(case).await;
    let at = page.find(r#"name="seen" value=""#).unwrap_or_else(|| panic!("no form: {page}"));
    page[at + r#"name="seen" value=""#.len()..].split('"').next().unwrap().to_owned()
}

/// Three who may agree to duties, in browsers.
async fn chiefs(server: &Server) -> [Browser; 3] {
    let one = async |name: &str| administrator(server, "kanazawa.test", name).await.1;
    [one("chief").await, one("second").await, one("third").await]
}

/// Somebody in a browser.
async fn staff(server: &Server, name: &str) -> Browser {
    let user = server.user(name).await;
    Browser::of(server, &user).await
}

async fn approve(browser: &mut Browser, case: &str) -> crate::browser::Answer {
    let version = seen(browser, case).await;
    let fields = [("do", "approve"), ("text", ""), ("password", PASSWORD), ("seen", version.as_str())];
    browser.post(case, case, &fields).await
}

async fn has(server: &Server, name: &str, duty: Duty) -> bool {
    let duties = server.look(|house| house.duties.clone());
    let user = ruma::UserId::parse(format!("@{name}:kanazawa.test")).unwrap();
    duties.of(&user).await.unwrap().contains(&duty)
}

/// An auditor, who sees all cases.
async fn auditor(server: &Server) -> Browser {
    let user = server.user("kansa").await;
    set_duty(server, user.id(), Duty::Audit, true).await;
    Browser::of(server, &user).await
}
