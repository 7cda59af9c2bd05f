//! Passkeys over HTTP: made on a page, shown beside a password and alone, and in no other way.

use account::{Actor, FactorsFor};
use ruma::{server_name, user_id};
use serde_json::Value;

use crate::{
    authenticator::Authenticator,
    factors::{PAGE, SECOND, Steered},
    oauth::Browser,
    town::PASSWORD,
};

const ACCOUNT: &str = "/_yakuba/account";
const FIRST: &str = "/_yakuba/sign-in/first";
const SIGN_IN: &str = "/_yakuba/sign-in?back=/_yakuba/account";
const ORIGIN: &str = "https://hs1";

/// What the page asks the browser.
fn asked(page: &str) -> Value {
    let text = page.split("data-asked=\"").nth(1).unwrap_or_else(|| panic!("no passkey: {page}"));
    serde_json::from_str(&text.split('"').next().unwrap().replace("&quot;", "\"")).unwrap()
}

fn written(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The form of the passkey alone, as the page has it.
fn form_alone(browser: &mut Browser<'_>) {
    let form = browser.page.split("<form").find(|form| form.contains("id=\"passkey\"")).unwrap();
    browser.page = format!("<form{}", form.split("</form>").next().unwrap());
}

/// Does what the script does where somebody makes a passkey.
async fn make(browser: &mut Browser<'_>, key: &Authenticator, action: &str) {
    let asked = asked(&browser.page);
    assert_eq!((&asked["rp"]["id"], &asked["attestation"]), (&"hs1".into(), &"none".into()));
    let client_data = Authenticator::client_data("create", asked["challenge"].as_str().unwrap(), ORIGIN);
    form_alone(browser);
    clear(browser);
    let fields = [
        ("credential", written(&key.credential)),
        ("client_data", written(&client_data)),
        ("attestation", written(&key.attestation("hs1"))),
        ("name", "会社の鍵".to_owned()),
    ];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.send(action, &fields).await;
}

/// The empty fields that the script fills in are sent once, as it has filled them.
fn clear(browser: &mut Browser<'_>) {
    for name in ["credential", "client_data", "authenticator_data", "signature", "user_handle", "attestation"]
    {
        let input = format!("<input type=\"hidden\" name=\"{name}\" value=\"\">");
        browser.page = browser.page.replace(&input, "");
    }
}

/// What a passkey answers to the page.
fn answer(page: &str, key: &Authenticator) -> Vec<(&'static str, String)> {
    let asked = asked(page);
    assert_eq!(asked["userVerification"], "required");
    let client_data = Authenticator::client_data("get", asked["challenge"].as_str().unwrap(), ORIGIN);
    let data = key.data("hs1");
    let signature = key.sign(&data, &client_data);
    vec![
        ("credential", written(&key.credential)),
        ("client_data", written(&client_data)),
        ("authenticator_data", written(&data)),
        ("signature", written(&signature)),
        ("user_handle", written(&factor::handle_of(user_id!("@hanako:hs1")))),
    ]
}

/// Sends an answer with the form of the page.
async fn send(browser: &mut Browser<'_>, answer: &[(&'static str, String)]) {
    form_alone(browser);
    clear(browser);
    let fields: Vec<_> = answer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.send(SECOND, &fields).await;
}

/// Hanako with a passkey, set up on her page.
async fn with_passkey(steered: &Steered) -> Authenticator {
    steered.has_account("hanako", false).await;
    let key = Authenticator::new(b"hanako's key");
    let mut browser = Browser::new(&steered.town);
    browser.open(PAGE).await;
    browser.sign_in("hanako", PASSWORD).await;
    browser.send_with("begin_factor", &[("do", "begin_factor")]).await;
    assert!(browser.policy.contains("script-src 'sha256-"), "{}", browser.policy);
    make(&mut browser, &key, ACCOUNT).await;
    assert!(
        browser.page.contains("It is set up") && browser.page.contains("id=\"codes\""),
        "{}",
        browser.page
    );
    browser.open(PAGE).await;
    assert!(browser.page.contains("会社の鍵"), "{}", browser.page);
    key
}

#[tokio::test]
async fn a_passkey_lets_in_beside_the_password_once_for_each_challenge() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let key = with_passkey(&steered).await;
    let mut browser = steered.at_second_step().await;
    assert_eq!(asked(&browser.page)["allowCredentials"][0]["id"], written(&key.credential));
    let (page, answer) = (browser.page.clone(), answer(&browser.page, &key));
    send(&mut browser, &answer).await;
    assert!(browser.status == 200 && browser.page.contains("会社の鍵"), "{}", browser.page);
    // The same answer once more, with the form of then: it is bound to the browser as it was, and was answered.
    let mut thief = steered.at_second_step().await;
    thief.page = page;
    send(&mut thief, &answer).await;
    assert_eq!(thief.status, 403, "{}", thief.page);
    let rows = steered.audit().await;
    assert!(rows.contains("\"factor\":\"passkey\"") && rows.contains("\"kind\":\"passkey\""), "{rows}");
}

#[tokio::test]
async fn of_two_who_show_the_same_answer_at_the_same_moment_one_gets_in() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let key = with_passkey(&steered).await;
    let browser = steered.at_second_step().await;
    let answer = answer(&browser.page, &key);
    let (mut one, mut other) = (browser.clone(), browser);
    tokio::join!(send(&mut one, &answer), send(&mut other, &answer));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403], "{} {}", one.page, other.page);
}

#[tokio::test]
async fn a_passkey_alone_stands_for_name_and_password() {
    let steered = Steered::new(FactorsFor::Everybody).await;
    steered.has_account("hanako", false).await;
    let key = Authenticator::new(b"hanako's key");
    let mut browser = Browser::new(&steered.town);
    browser.open(ACCOUNT).await;
    browser.sign_in("hanako", PASSWORD).await;
    assert!(browser.page.contains("Set up a second factor"), "{}", browser.page);
    make(&mut browser, &key, FIRST).await;
    assert!(browser.page.contains("It is set up"), "{}", browser.page);

    let mut browser = Browser::new(&steered.town);
    browser.open(SIGN_IN).await;
    assert_eq!(
        asked(&browser.page)["allowCredentials"],
        Value::Array(Vec::new()),
        "nobody is told who has one"
    );
    let (page, answer) = (browser.page.clone(), answer(&browser.page, &key));
    send(&mut browser, &answer).await;
    assert!(browser.status == 200 && browser.page.contains("Display name"), "{}", browser.page);
    // What was asked in one browser is not answered in another.
    let mut thief = Browser::new(&steered.town);
    thief.open(SIGN_IN).await;
    let own = thief.page.clone();
    let ticket = |page: &str| {
        page.split("name=\"ticket\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    thief.page = own.replace(&ticket(&own), &ticket(&page));
    send(&mut thief, &answer).await;
    assert!(thief.status == 403 && thief.page.contains("begin again"), "{}", thief.page);
    thief.open(SIGN_IN).await;
    send(&mut thief, &answer).await;
    assert!(thief.status == 403 && thief.page.contains("is wrong"), "another challenge: {}", thief.page);
    // Nor does it open a locked account.
    steered.town.accounts.set_locked(user_id!("@hanako:hs1"), true, &Actor::operator("test")).await.unwrap();
    let mut browser = Browser::new(&steered.town);
    browser.open(SIGN_IN).await;
    let answer = self::answer(&browser.page, &key);
    send(&mut browser, &answer).await;
    assert!(browser.status == 403 && browser.page.contains("locked"), "{}", browser.page);
}

#[tokio::test]
async fn who_was_not_verified_by_the_authenticator_does_not_get_in() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let mut key = with_passkey(&steered).await;
    for flags in [0x01, 0x04, 0x00] {
        key.flags = flags;
        let mut browser = steered.at_second_step().await;
        let of_page = answer(&browser.page, &key);
        send(&mut browser, &of_page).await;
        assert!(browser.status == 403 && browser.page.contains("is wrong"), "{}", browser.page);
        let mut browser = Browser::new(&steered.town);
        browser.open(SIGN_IN).await;
        let of_page = answer(&browser.page, &key);
        send(&mut browser, &of_page).await;
        assert_eq!(browser.status, 403, "{}", browser.page);
    }
}

#[tokio::test]
async fn a_second_passkey_takes_the_place_of_no_other_and_a_code_gets_in_where_one_is_lost() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let key = with_passkey(&steered).await;
    let mut browser = steered.at_second_step().await;
    let of_page = answer(&browser.page, &key);
    send(&mut browser, &of_page).await;
    browser.send_with("begin_factor", &[("do", "begin_factor")]).await;
    let asked = asked(&browser.page);
    assert_eq!(asked["excludeCredentials"][0]["id"], written(&key.credential));
    let again = Authenticator::new(b"hanako's key");
    make(&mut browser, &again, ACCOUNT).await;
    assert_eq!(browser.status, 403, "{}", browser.page);
    // The first one is what it was.
    let mut browser = steered.at_second_step().await;
    let of_page = answer(&browser.page, &key);
    send(&mut browser, &of_page).await;
    assert_eq!(browser.status, 200, "{}", browser.page);
    browser.send_with("renew_codes", &[("do", "renew_codes")]).await;
    let code = browser.page.split("<li class=\"id\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let mut browser = steered.at_second_step().await;
    browser.page = browser.page.replacen(SECOND, "/elsewhere", 1);
    browser.send(SECOND, &[("code", &code)]).await;
    assert_eq!(browser.status, 200, "{}", browser.page);
}

#[tokio::test]
async fn a_recovery_ends_passkeys_and_another_authority_knows_none() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let key = with_passkey(&steered).await;
    let accounts = &steered.town.accounts;
    // At another authority of the process.
    let way = account::InBrowser { key: [0; 32], from: None, agent: None };
    let party = factor::Party::of_url(ORIGIN).unwrap();
    let (challenge, ticket) = accounts.begin_with_passkey(server_name!("hs2"), &way).unwrap();
    let client_data = Authenticator::client_data("get", &written(&challenge), ORIGIN);
    let data = key.data("hs1");
    let signature = key.sign(&data, &client_data);
    let shown = factor::Asserted {
        credential: &key.credential,
        client_data: &client_data,
        authenticator_data: &data,
        signature: &signature,
        user_handle: None,
    };
    for authority in [server_name!("hs2"), server_name!("hs1")] {
        let done = accounts.show_passkey(authority, (&party, &ticket), &shown, &way).await;
        assert!(done.is_err(), "{authority}");
    }
    // A sign-in that was begun before.
    let mut half_way = Browser::new(&steered.town);
    half_way.open(SIGN_IN).await;
    accounts.reset_factors(user_id!("@hanako:hs1"), &Actor::operator("test")).await.unwrap();
    let of_page = answer(&half_way.page, &key);
    send(&mut half_way, &of_page).await;
    assert!(half_way.status == 403 && half_way.page.contains("is wrong"), "{}", half_way.page);
    // Nor by one that is begun after it.
    let mut fresh = Browser::new(&steered.town);
    fresh.open(SIGN_IN).await;
    let of_page = answer(&fresh.page, &key);
    send(&mut fresh, &of_page).await;
    assert!(fresh.status == 403 && fresh.page.contains("is wrong"), "{}", fresh.page);
    // Beside the password none is asked for.
    fresh.open(crate::factors::PAGE).await;
    fresh.sign_in("hanako", PASSWORD).await;
    assert!(!fresh.page.contains(&written(&key.credential)), "{}", fresh.page);
}

#[tokio::test]
async fn what_is_no_answer_of_an_authenticator_is_refused() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let key = with_passkey(&steered).await;
    for (field, instead) in [
        ("credential", "AAAA"),
        ("credential", "not base64 !"),
        ("client_data", ""),
        ("client_data", "bnVsbA"),
        ("authenticator_data", ""),
        ("signature", "AAAA"),
        ("user_handle", "AAAA"),
    ] {
        let mut browser = steered.at_second_step().await;
        let mut of_page = answer(&browser.page, &key);
        of_page
            .iter_mut()
            .filter(|(name, _)| *name == field)
            .for_each(|(_, value)| *value = instead.to_owned());
        send(&mut browser, &of_page).await;
        assert!(matches!(browser.status, 400 | 403), "{field} {}", browser.page);
    }
}
