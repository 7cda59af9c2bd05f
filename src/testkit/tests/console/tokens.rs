//! Registration tokens on the console: made, used, changed, taken away.

use http::{Method, StatusCode};
use serde_json::json;
use testkit::Net;

use crate::{PASSWORD, administrator, field_of, rows};

const TOKENS: &str = "/_yakuba/console/tokens";
const TOKEN: &str = "/_yakuba/console/token";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_made_with_bounds_changed_and_taken_away_and_its_word_is_in_no_address_and_no_row() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let fields = [("token", "sakura-2026"), ("uses", "2"), ("at", "2099-03-31T17:15")];
    let answer = browser.post(TOKENS, TOKENS, &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let here = answer.location.unwrap();
    assert!(!here.contains("sakura"), "{here}");
    let page = browser.open(&here).await;
    assert!(page.contains("sakura-2026") && page.contains("登録トークンを作りました"), "{page}");
    let id = field_of(Some(&here), "id");
    // The admin API shows and takes it as well.
    let path = "/_synapse/admin/v1/registration_tokens/sakura-2026";
    let (status, text) = chief.ask(Method::GET, path, None).await;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(status == StatusCode::OK && told["uses_allowed"] == json!(2), "{text}");
    assert_eq!(told["expiry_time"], json!(4_078_628_100_000_u64), "17:15 in Japan");

    // What the form had before stays as it is.
    let fields = [("do", "change"), ("id", &*id), ("uses", ""), ("at", "2099-03-31T17:15")];
    assert_eq!(browser.post(&here, TOKEN, &fields).await.status, StatusCode::SEE_OTHER);
    let page = browser.open(&format!("{TOKEN}?id={id}")).await;
    assert!(page.contains("無制限") && page.contains("2099-03-31T17:15"), "{page}");
    let wrong = [("do", "delete"), ("id", &*id), ("password", "wrong")];
    let answer = browser.post(&here, TOKEN, &wrong).await;
    assert!(answer.status == StatusCode::FORBIDDEN && answer.text.contains("パスワードが違います"));
    let right = [("do", "delete"), ("id", &*id), ("password", PASSWORD)];
    let answer = browser.post(&here, TOKEN, &right).await;
    assert_eq!(answer.location.as_deref(), Some("/_yakuba/console/tokens?done=delete"), "{}", answer.text);
    assert_eq!(browser.get(&here).await.status, StatusCode::NOT_FOUND);
    assert_eq!(chief.ask(Method::GET, path, None).await.0, StatusCode::NOT_FOUND);

    let (put, removed) = (
        rows(&server, server.name(), "registration_token.put").await,
        rows(&server, server.name(), "registration_token.remove").await,
    );
    assert_eq!((put.len(), removed.len()), (2, 1));
    assert!(put.iter().chain(&removed).all(|row| !format!("{row:?}").contains("sakura")), "{put:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_typed_before_somebody_signed_in_anew_stands_on_the_page_and_is_sent_from_there() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut tab) = administrator(&server, "kanazawa.test", "chief").await;
    let old = tab.proof_at(TOKENS).await;
    let late = [("token", "sakura-2026"), ("uses", "2"), ("at", "2099-03-31T17:15"), ("proof", old.as_str())];
    // In another tab he signs out.
    let out = tab.proof_at(TOKENS).await;
    tab.post_as_is("/_yakuba/sign-out", &[("proof", &out)]).await;
    let body = ruma::exports::serde_html_form::to_string(late).unwrap();
    let kind = Some("application/x-www-form-urlencoded");
    let send = async |tab: &mut crate::browser::Browser, site| {
        tab.ask_from(site, Method::POST, TOKENS, kind, body.clone().into()).await
    };
    let answer = send(&mut tab, Some("same-origin")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    for text in ["sakura-2026", "2099-03-31T17:15", "サインイン（別のタブ）", "この内容で送信する"]
    {
        assert!(answer.text.contains(text), "{text}: {}", answer.text);
    }
    // And in again: what is sent from the tab of before is shown once more, and nothing is done yet.
    tab.sign_in("chief").await;
    let answer = send(&mut tab, Some("same-origin")).await;
    assert!(answer.status == StatusCode::FORBIDDEN && answer.text.contains("sakura-2026"), "{}", answer.text);
    assert_eq!(rows(&server, server.name(), "registration_token.put").await, []);
    let at = answer.text.find(r#"<form class="card""#).unwrap();
    let fresh = answer.text[at..].split(r#"name="proof" value=""#).nth(1).unwrap().split('"').next().unwrap();
    let again: Vec<_> = late[..3].iter().copied().chain([("proof", fresh)]).collect();
    assert_eq!(tab.post_as_is(TOKENS, &again).await.status, StatusCode::SEE_OTHER);
    // Another site, and a browser that does not say who sends it, have nothing put before anybody.
    for site in [Some("cross-site"), Some("same-site"), Some("none"), None] {
        let answer = send(&mut tab, site).await;
        assert!(
            answer.status.is_client_error() && !answer.text.contains("sakura"),
            "{site:?} {}",
            answer.text
        );
    }
    // A password is never on a page.
    let removed = [("do", "delete"), ("id", "1"), ("password", PASSWORD), ("proof", old.as_str())];
    let body = ruma::exports::serde_html_form::to_string(removed).unwrap();
    let answer = tab.ask_from(Some("same-origin"), Method::POST, TOKEN, kind, body.into()).await;
    assert!(answer.status == StatusCode::FORBIDDEN && !answer.text.contains(PASSWORD), "{}", answer.text);
    assert!(answer.text.contains("type=\"password\""), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_cannot_be_is_refused_and_what_was_typed_is_there_again() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    for (fields, told) in [
        (vec![("token", "さくら"), ("uses", "7")], "このトークンは使えません"),
        (vec![("token", "a"), ("uses", "-7")], "0 以上の整数"),
        (vec![("token", "a"), ("uses", "7"), ("at", "2001-01-01T00:00")], "これから先の日時"),
        (vec![("token", "a"), ("uses", "7"), ("at", "tomorrow")], "日本時間の時刻"),
    ] {
        let answer = browser.post(TOKENS, TOKENS, &fields).await;
        assert!(answer.status == StatusCode::BAD_REQUEST && answer.text.contains(told), "{}", answer.text);
        assert!(answer.text.contains("7\""), "what was typed: {}", answer.text);
    }
    assert_eq!(browser.post(TOKENS, TOKENS, &[("token", "twice")]).await.status, StatusCode::SEE_OTHER);
    let answer = browser.post(TOKENS, TOKENS, &[("token", "twice")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    // One that nobody typed is made up.
    let answer = browser.post(TOKENS, TOKENS, &[("token", " ")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(rows(&server, server.name(), "registration_token.put").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tokens_are_paged_and_a_file_of_them_is_a_deed() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut browser) = administrator(&server, "kanazawa.test", "chief").await;
    let accounts = server.look(|house| house.accounts.clone());
    let by = audit::Actor::operator("test");
    for number in 0..205 {
        let token = account::RegistrationToken {
            token: format!("word-{number:03}"),
            uses_allowed: (number % 2 == 0).then_some(0),
            used: 0,
            expires: None,
        };
        accounts.add_registration_token(server.name(), token, &by).await.unwrap();
    }
    let (mut seen, mut path) = (Vec::new(), TOKENS.to_owned());
    loop {
        let page = browser.open(&path).await;
        let words = page.match_indices("word-").map(|(at, _)| page[at..at + 8].to_owned());
        seen.extend(words);
        let Some(next) =
            page.split("href=\"").find(|rest| rest.contains("&amp;after=") || rest.contains("?after="))
        else {
            break;
        };
        path = next.split('"').next().unwrap().replace("&amp;", "&");
    }
    assert_eq!(seen, (0..205).map(|number| format!("word-{number:03}")).collect::<Vec<_>>());
    assert!(browser.open(&format!("{TOKENS}?state=over")).await.contains("103 件"));
    let file = browser.get(&format!("{TOKENS}?state=valid&as=csv")).await;
    assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(file.text.lines().count(), 1 + 102);
    let exports = rows(&server, server.name(), "table.export").await;
    assert_eq!(exports[0].after, [("what".to_owned(), "registration tokens".to_owned())]);
}
