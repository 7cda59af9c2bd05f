//! Making an account on a page that asks for all that the authority asks for.

use account::{EmailAtRegistration, MailSettings, Registration, Settings, Terms, TermsText};
use base::Clock;
use serde_json::json;

use crate::{
    oauth::Browser,
    town::{PASSWORD, Town, open_registration},
};

const SIGN_UP: &str = "/_yakuba/sign-up";

async fn town(email: EmailAtRegistration, change: impl FnOnce(&mut Settings)) -> Town {
    let text = |language: &str, name: &str| TermsText {
        language: language.to_owned(),
        name: name.to_owned(),
        url: format!("https://a/{language}"),
    };
    let texts = vec![text("ja", "利用規約"), text("en", "Terms")];
    let mut settings = open_registration();
    settings.terms = vec![Terms { id: "terms".to_owned(), version: "1.0".to_owned(), texts }];
    settings.mail = Some(MailSettings {
        base_url: "https://hs1.example".to_owned(),
        at_registration: email,
        domains: vec!["example.jp".to_owned()],
        hides_who_is_known: true,
        next_hosts: Vec::new(),
    });
    change(&mut settings);
    Town::posting(Clock::manual(1_700_000_000_000).0, settings).await
}

async fn word(town: &Town) -> String {
    let letter = town.letter().await;
    letter.text.split("&word=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// The fields of the form with some instead.
fn fields<'a>(instead: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("name", "taro"),
        ("password", PASSWORD),
        ("again", PASSWORD),
        ("email", "taro@example.jp"),
        ("terms", "yes"),
        ("token", "sakura"),
    ];
    for (name, value) in instead {
        fields.retain(|(known, _)| known != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    fields
}

#[tokio::test]
async fn terms_a_token_and_an_address_are_asked_for_where_they_are_for_clients_too() {
    let town = town(EmailAtRegistration::Required, |settings| {
        settings.registration = Registration::Token;
        settings.registration_tokens = vec!["sakura".to_owned()];
    })
    .await;
    let mut browser = Browser::new(&town);
    for instead in [
        [("terms", "")].as_slice(),
        &[("email", "")],
        &[("email", "taro@elsewhere.jp")],
        &[("email", "no address")],
        &[("token", "momiji")],
        &[("token", "")],
        &[("again", "other")],
    ] {
        browser.open(SIGN_UP).await;
        // In the language of the page alone.
        assert!(browser.page.contains(">Terms<") && !browser.page.contains("利用規約"), "{}", browser.page);
        browser.send(SIGN_UP, &fields(instead)).await;
        assert!(
            browser.status == 400 && browser.page.contains(r#"name="password""#),
            "{instead:?}: {}",
            browser.page
        );
    }
    assert!(town.has_no_letter());

    browser.open(SIGN_UP).await;
    browser.send(SIGN_UP, &fields(&[])).await;
    assert!(browser.status == 200 && !browser.page.contains(PASSWORD), "{}", browser.page);
    let asked = browser.page.clone();
    browser.send(SIGN_UP, &[("word", "AAAA")]).await;
    assert!(browser.status == 400 && browser.page.contains(r#"name="word""#), "{}", browser.page);
    let available = town.ask("GET", "/_matrix/client/v3/register/available?username=taro", json!(null)).await;
    assert_eq!(available.status, 200, "nothing is made before the address is proved");
    let word = word(&town).await;
    browser.send(SIGN_UP, &[("word", &word)]).await;
    assert!(browser.page.contains("@taro:hs1"), "{}", browser.page);

    let who = json!({ "type": "m.id.thirdparty", "medium": "email", "address": "taro@example.jp" });
    let login = json!({ "type": "m.login.password", "identifier": who, "password": PASSWORD });
    let session = town.ask("POST", "/_matrix/client/v3/login", login).await.ok();
    assert_eq!(session["user_id"], "@taro:hs1");
    let known = town.person("hs1", &session).get("/account/3pid").await.ok();
    assert_eq!(known["threepids"][0]["address"], "taro@example.jp");

    // Going back and sending it again makes no second account, and gets nobody in.
    let mut again = Browser::new(&town);
    again.open(SIGN_UP).await;
    again.page = asked;
    again.send(SIGN_UP, &[("word", &word)]).await;
    assert_eq!(again.status, 403, "a form of another browser");
}

#[tokio::test]
async fn an_address_that_is_optional_is_the_accounts_where_it_is_given_and_proved() {
    let town = town(EmailAtRegistration::Optional, |_| {}).await;
    let mut browser = Browser::new(&town);
    browser.open(SIGN_UP).await;
    browser.send(SIGN_UP, &fields(&[("email", "")])).await;
    assert!(browser.page.contains("@taro:hs1") && town.has_no_letter(), "{}", browser.page);

    let mut browser = Browser::new(&town);
    browser.open(SIGN_UP).await;
    browser.send(SIGN_UP, &fields(&[("name", "jiro")])).await;
    assert!(browser.page.contains(r#"name="word""#), "{}", browser.page);
    browser.send(SIGN_UP, &[("word", &word(&town).await)]).await;
    assert!(browser.page.contains("@jiro:hs1"), "{}", browser.page);
}
