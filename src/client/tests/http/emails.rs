//! E-mail addresses: proving, having, losing them, and what they are good for.

use std::time::Duration;

use account::{Credentials, EmailAtRegistration, MailSettings, Registration, Settings, Terms, TermsText};
use base::{Clock, ManualClock};
use ruma::server_name;
use serde_json::{Value, json};
use store::{MemoryDisk, Position};

use crate::town::{Answer, PASSWORD, Person, Town, open_registration};

const LOGIN: &str = "/_matrix/client/v3/login";
const REGISTER: &str = "/_matrix/client/v3/register";
const TO_REGISTER: &str = "/_matrix/client/v3/register/email/requestToken";
const TO_RESET: &str = "/_matrix/client/v3/account/password/email/requestToken";
const TO_ADD: &str = "/_matrix/client/v3/account/3pid/email/requestToken";
const PASSWORD_PATH: &str = "/_matrix/client/v3/account/password";
const SUBMIT: &str = "/_yakuba/client/email/submit_token";

pub(crate) fn mail_settings() -> MailSettings {
    MailSettings {
        base_url: "https://hs1.example".to_owned(),
        at_registration: EmailAtRegistration::Optional,
        domains: Vec::new(),
        hides_who_is_known: true,
        next_hosts: vec!["app.example".to_owned()],
    }
}

async fn town_with(change: impl FnOnce(&mut Settings, &mut MailSettings)) -> (Town, ManualClock) {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let (mut settings, mut mail) = (open_registration(), mail_settings());
    change(&mut settings, &mut mail);
    settings.mail = Some(mail);
    (Town::posting(clock, settings).await, hand)
}

async fn town() -> (Town, ManualClock) {
    town_with(|_, _| {}).await
}

fn request(email: &str, secret: &str, attempt: u64) -> Value {
    json!({ "email": email, "client_secret": secret, "send_attempt": attempt })
}

/// What the link of the next mail shows: the session's id and the word.
async fn word_of(town: &Town) -> (String, String) {
    let letter = town.letter().await;
    let link = letter.text.split("?sid=").nth(1).unwrap();
    let (sid, rest) = link.split_once("&word=").unwrap();
    (sid.to_owned(), rest.split_whitespace().next().unwrap().to_owned())
}

async fn submit(town: &Town, sid: &str, word: &str) -> Answer {
    town.ask("POST", SUBMIT, json!({ "sid": sid, "token": word })).await
}

/// An address that is proved for what a path is for: the credentials that are shown.
async fn proved(town: &Town, path: &str, email: &str, secret: &str) -> Value {
    let sid = town.ask("POST", path, request(email, secret, 1)).await.ok()["sid"].clone();
    let (told, word) = word_of(town).await;
    assert_eq!(sid, told.as_str());
    submit(town, &told, &word).await.ok();
    json!({ "sid": sid, "client_secret": secret })
}

fn by_email(email: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password", "password": password,
        "identifier": { "type": "m.id.thirdparty", "medium": "email", "address": email },
    })
}

async fn add(person: &Person<'_>, shown: &Value) -> Answer {
    let mut body = shown.clone();
    body["auth"] = person.proof(PASSWORD);
    person.post("/account/3pid/add", body).await
}

#[tokio::test]
async fn an_address_that_was_proved_becomes_its_users_who_signs_in_by_it() {
    let (town, hand) = town().await;
    let hanako = town.user("hanako").await;
    let shown = proved(&town, TO_ADD, "Hanako@Example.jp", "s3cret").await;
    let asked = hanako.post("/account/3pid/add", shown.clone()).await;
    assert_eq!((asked.status, &asked.body["flows"]), (401, &json!([{ "stages": ["m.login.password"] }])));
    let foreign = json!({ "sid": shown["sid"], "client_secret": "another", "auth": hanako.proof(PASSWORD) });
    hanako.post("/account/3pid/add", foreign).await.fails(400, "M_THREEPID_AUTH_FAILED");
    hand.advance(Duration::from_secs(1));

    add(&hanako, &shown).await.ok();

    let listed = hanako.get("/account/3pid").await.ok();
    let (added, validated) = (1_700_000_001_000_u64, 1_700_000_000_000_u64);
    let entry = json!({ "medium": "email", "address": "hanako@example.jp", "added_at": added, "validated_at": validated });
    assert_eq!(listed, json!({ "threepids": [entry] }));
    let session = town.ask("POST", LOGIN, by_email("HANAKO@example.jp", PASSWORD)).await.ok();
    assert_eq!(session["user_id"], "@hanako:hs1");
    // So does who signs in on a page.
    let browser = account::InBrowser { key: [0; 32], from: None, agent: None };
    let on_page = async |name: &str| {
        let credentials =
            Credentials::NameAndPassword { name: name.to_owned(), password: PASSWORD.to_owned() };
        let done = town.accounts.sign_in_browser(server_name!("hs1"), &credentials, &browser).await;
        done.map(|signed_in| signed_in.done().unwrap().0.to_string())
    };
    assert_eq!(on_page("Hanako@EXAMPLE.jp").await.unwrap(), "@hanako:hs1");
    assert_eq!(on_page("@hanako:hs1").await.unwrap(), "@hanako:hs1");
    assert!(matches!(on_page("taro@example.jp").await, Err(account::Error::WrongCredentials)));
    // The proof is used.
    add(&hanako, &shown).await.fails(400, "M_THREEPID_AUTH_FAILED");

    let gone = json!({ "medium": "email", "address": "hanako@EXAMPLE.jp" });
    let told = hanako.post("/account/3pid/delete", gone).await.ok();
    assert_eq!(told["id_server_unbind_result"], "no-support");
    assert_eq!(hanako.get("/account/3pid").await.ok(), json!({ "threepids": [] }));
    town.ask("POST", LOGIN, by_email("hanako@example.jp", PASSWORD)).await.fails(403, "M_FORBIDDEN");
}

/// C86.
#[tokio::test]
async fn an_address_that_nobody_has_is_refused_as_a_wrong_password_is_and_counted_alike() {
    let (town, _hand) = town().await;
    let hanako = town.user("hanako").await;
    let shown = proved(&town, TO_ADD, "hanako@example.jp", "s3cret").await;
    add(&hanako, &shown).await.ok();
    let wrong =
        town.ask("POST", LOGIN, by_email("hanako@example.jp", "wrong")).await.fails(403, "M_FORBIDDEN");
    for nobody in ["taro@example.jp", "no address at all"] {
        let unknown = town.ask("POST", LOGIN, by_email(nobody, "wrong")).await.fails(403, "M_FORBIDDEN");
        assert_eq!(unknown, wrong);
    }
    for address in ["hanako@example.jp", "taro@example.jp"] {
        let mut refused = None;
        for _ in 0..200 {
            let answer = town.ask_from("192.0.2.9", "POST", LOGIN, by_email(address, "wrong")).await;
            if answer.status == 429 {
                refused = Some(answer.body["limit"].clone());
                break;
            }
        }
        assert_eq!(refused, Some(json!("wrong_passwords")), "{address}");
    }
}

#[tokio::test]
async fn who_has_forgotten_the_password_gets_another_one_by_mail() {
    let (town, _hand) = town().await;
    let hanako = town.user("hanako").await;
    let shown = proved(&town, TO_ADD, "hanako@example.jp", "s3cret").await;
    add(&hanako, &shown).await.ok();

    let asked = town.ask("POST", PASSWORD_PATH, json!({ "new_password": "another word" })).await;
    assert_eq!(
        (asked.status, &asked.body["flows"]),
        (401, &json!([{ "stages": ["m.login.email.identity"] }]))
    );
    let session = asked.body["session"].clone();
    let sid = town.ask("POST", TO_RESET, request("hanako@example.jp", "own", 1)).await.ok()["sid"].clone();
    let auth = |creds: Value| json!({ "auth": { "type": "m.login.email.identity", "session": session, "threepid_creds": creds } });
    let creds = json!({ "sid": sid, "client_secret": "own" });
    // Not before the mail was read; clients ask again and again.
    town.ask("POST", PASSWORD_PATH, auth(creds.clone())).await.fails(401, "M_UNAUTHORIZED");
    let (told, word) = word_of(&town).await;
    assert_eq!(submit(&town, &told, "AAAAAAAAAAAA").await.fails(400, "M_INVALID_PARAM")["success"], false);
    assert_eq!(submit(&town, &told, &word.to_lowercase()).await.ok()["success"], true);
    // Whoever reads the mail alone has nothing of it, nor is it good for anything else.
    let thief = json!({ "sid": sid, "client_secret": "guessed" });
    town.ask("POST", PASSWORD_PATH, auth(thief)).await.fails(401, "M_UNAUTHORIZED");
    add(&hanako, &creds).await.fails(400, "M_THREEPID_AUTH_FAILED");

    town.ask("POST", PASSWORD_PATH, auth(creds.clone())).await.ok();

    hanako.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    let login = |word: &str| json!({ "type": "m.login.password", "user": "hanako", "password": word });
    town.ask("POST", LOGIN, login(PASSWORD)).await.fails(403, "M_FORBIDDEN");
    town.ask("POST", LOGIN, login("another word")).await.ok();
    let again = json!({
        "new_password": "a third word", "auth": { "type": "m.login.email.identity", "threepid_creds": creds },
    });
    town.ask("POST", PASSWORD_PATH, again).await.fails(401, "M_UNAUTHORIZED");
    // C83.
    submit(&town, &told, &word).await.fails(400, "M_INVALID_PARAM");

    // Nobody has signed in for it, and it has its row all the same; with no word that was shown or chosen.
    let all = audit::Filter::default();
    let page = audit::list(&town.store, server_name!("hs1"), &all, Position::START).await.unwrap();
    let rows: Vec<_> = page.found.into_iter().filter_map(|row| row.record).collect();
    let resets: Vec<_> = rows.iter().filter(|row| row.what == "password.reset").collect();
    assert_eq!(resets.len(), 1, "{rows:?}");
    assert_eq!((resets[0].role.as_str(), resets[0].whom.as_str()), ("stranger", "@hanako:hs1"));
    let told = format!("{rows:?}");
    for secret in [PASSWORD, "another word", "a third word", "s3cret", &word] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn what_was_proved_of_an_address_is_worth_nothing_once_it_is_somebody_elses() {
    let (town, hand) = town().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    add(&hanako, &proved(&town, TO_ADD, "bousai@example.jp", "first").await).await.ok();
    hand.advance(Duration::from_secs(600));
    let mine = proved(&town, TO_RESET, "bousai@example.jp", "kept").await;
    let gone = json!({ "medium": "email", "address": "bousai@example.jp" });
    hanako.post("/account/3pid/delete", gone).await.ok();
    hand.advance(Duration::from_secs(600));
    add(&taro, &proved(&town, TO_ADD, "bousai@example.jp", "second").await).await.ok();
    let reset = json!({
        "new_password": "of hanako's", "auth": { "type": "m.login.email.identity", "threepid_creds": mine },
    });
    town.ask("POST", PASSWORD_PATH, reset).await.fails(400, "M_THREEPID_NOT_FOUND");
    taro.get("/account/whoami").await.ok();
    let login = json!({ "type": "m.login.password", "user": "taro", "password": PASSWORD });
    town.ask("POST", LOGIN, login).await.ok();
}

/// C85.
#[tokio::test]
async fn who_is_known_is_told_to_the_owner_of_the_address_alone_unless_it_is_set_otherwise() {
    for tells in [false, true] {
        let (town, _hand) = town_with(|_, mail| mail.hides_who_is_known = !tells).await;
        let hanako = town.user("hanako").await;
        let shown = proved(&town, TO_ADD, "hanako@example.jp", "s3cret").await;
        add(&hanako, &shown).await.ok();

        let unknown = town.ask("POST", TO_RESET, request("taro@example.jp", "a", 1)).await;
        let register = town.ask("POST", TO_REGISTER, request("hanako@example.jp", "a", 1)).await;
        let more = town.ask("POST", TO_ADD, request("hanako@example.jp", "a", 1)).await;
        if tells {
            unknown.fails(400, "M_THREEPID_NOT_FOUND");
            register.fails(400, "M_THREEPID_IN_USE");
            more.fails(400, "M_THREEPID_IN_USE");
            assert!(town.has_no_letter());
            continue;
        }
        assert!(unknown.ok()["sid"].is_string());
        for answer in [register, more] {
            let sid = answer.ok()["sid"].as_str().unwrap().to_owned();
            let letter = town.letter().await;
            assert_eq!(letter.to, "hanako@example.jp");
            assert!(letter.text.contains("登録されています") && !letter.text.contains("word="));
            submit(&town, &sid, "AAAAAAAAAAAA").await.fails(400, "M_INVALID_PARAM");
        }
        assert!(town.has_no_letter());
    }
}

#[tokio::test]
async fn an_address_is_one_accounts_and_free_again_when_that_is_closed() {
    let (town, _hand) = town().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    // Both prove it before one of them has it.
    let first = proved(&town, TO_ADD, "soumu@example.jp", "one").await;
    let second = proved(&town, TO_ADD, "soumu@example.jp", "two").await;
    let (one, two) = tokio::join!(add(&hanako, &first), add(&taro, &second));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    let owner = if one.status == 200 { &hanako } else { &taro };
    let other = if one.status == 200 { &taro } else { &hanako };
    owner.post("/account/deactivate", json!({ "auth": owner.proof(PASSWORD) })).await.ok();
    town.ask("POST", LOGIN, by_email("soumu@example.jp", PASSWORD)).await.fails(403, "M_FORBIDDEN");

    let shown = proved(&town, TO_ADD, "soumu@example.jp", "three").await;
    add(other, &shown).await.ok();
}

#[tokio::test]
async fn registration_with_an_address_and_terms_goes_step_by_step_and_survives_what_is_repeated() {
    let terms = Terms {
        id: "terms_of_use".to_owned(),
        version: "1.0".to_owned(),
        texts: vec![TermsText {
            language: "ja".to_owned(),
            name: "利用規約".to_owned(),
            url: "https://a/t".to_owned(),
        }],
    };
    let (town, _hand) = town_with(|settings, mail| {
        settings.registration = Registration::Token;
        settings.registration_tokens = vec!["sakura".to_owned()];
        settings.terms = vec![terms];
        mail.at_registration = EmailAtRegistration::Required;
    })
    .await;
    let asked = town.ask("POST", REGISTER, json!({ "username": "hanako", "password": PASSWORD })).await;
    let stages = ["m.login.email.identity", "m.login.registration_token", "m.login.terms"];
    assert_eq!((asked.status, &asked.body["flows"]), (401, &json!([{ "stages": stages }])));
    let policy = json!({ "version": "1.0", "ja": { "name": "利用規約", "url": "https://a/t" } });
    assert_eq!(asked.body["params"], json!({ "m.login.terms": { "policies": { "terms_of_use": policy } } }));
    let session = asked.body["session"].clone();
    let step = |mut auth: Value| {
        auth["session"] = session.clone();
        town.ask("POST", REGISTER, json!({ "auth": auth }))
    };

    let wrong = step(json!({ "type": "m.login.registration_token", "token": "momiji" })).await;
    wrong.fails(401, "M_FORBIDDEN");
    let told = step(json!({ "type": "m.login.registration_token", "token": "sakura" })).await;
    assert_eq!((told.status, &told.body["completed"]), (401, &json!(["m.login.registration_token"])));
    assert!(told.body.get("errcode").is_none());
    step(json!({ "type": "m.login.dummy" })).await.fails(401, "M_FORBIDDEN");
    let accepted = step(json!({ "type": "m.login.terms" })).await;
    assert_eq!(accepted.body["completed"], json!(["m.login.registration_token", "m.login.terms"]));
    // C62: what the session has shown stays.
    let looked = town.ask("POST", REGISTER, json!({ "auth": { "session": session } })).await;
    assert_eq!((looked.status, &looked.body["completed"]), (401, &accepted.body["completed"]));
    assert_eq!(looked.body["session"], session);
    let creds = proved(&town, TO_REGISTER, "hanako@example.jp", "s3cret").await;

    let made = step(json!({ "type": "m.login.email.identity", "threepid_creds": creds })).await.ok();

    assert_eq!(made["user_id"], "@hanako:hs1");
    let listed = town.person("hs1", &made).get("/account/3pid").await.ok();
    assert_eq!(listed["threepids"][0]["address"], "hanako@example.jp");
    town.ask("POST", LOGIN, by_email("hanako@example.jp", PASSWORD)).await.ok();
}

#[tokio::test]
async fn where_an_address_may_be_given_it_is_another_way_to_register() {
    let (town, _hand) = town().await;
    let asked = town.ask("POST", REGISTER, json!({})).await;
    let flows = json!([{ "stages": ["m.login.dummy"] }, { "stages": ["m.login.email.identity"] }]);
    assert_eq!(asked.body["flows"], flows);
    town.user("hanako").await;
    let creds = proved(&town, TO_REGISTER, "taro@example.jp", "s3cret").await;
    let auth = json!({ "type": "m.login.email.identity", "threepid_creds": creds });
    let made =
        town.ask("POST", REGISTER, json!({ "username": "taro", "password": PASSWORD, "auth": auth })).await;
    assert_eq!(made.ok()["user_id"], "@taro:hs1");
}

// C84
#[tokio::test]
async fn who_has_an_address_that_is_not_taken_any_more_still_resets_the_password_by_it() {
    let disk = MemoryDisk::default();
    let begin = async |domains: &[&str]| {
        let (clock, _hand) = Clock::manual(1_700_000_000_000);
        let domains = domains.iter().map(|&domain| domain.to_owned()).collect();
        let mail = Some(MailSettings { domains, ..mail_settings() });
        Town::posting_over(&disk, clock, Settings { mail, ..open_registration() }).await
    };
    let town = begin(&[]).await;
    let shown = proved(&town, TO_ADD, "hanako@example.jp", "s3cret").await;
    add(&town.user("hanako").await, &shown).await.ok();
    town.stop().await;

    let town = begin(&["city.example.jp"]).await;
    town.ask("POST", TO_ADD, request("taro@example.jp", "s", 1)).await.fails(403, "M_THREEPID_DENIED");
    let shown = proved(&town, TO_RESET, "hanako@example.jp", "s4cret").await;
    let auth = json!({ "type": "m.login.email.identity", "threepid_creds": shown });
    let body = json!({ "new_password": "battery staple", "auth": auth });
    town.ask("POST", PASSWORD_PATH, body).await.ok();
    town.ask("POST", LOGIN, by_email("hanako@example.jp", "battery staple")).await.ok();
}

/// C84.
#[tokio::test]
async fn which_addresses_are_taken_is_a_matter_of_new_ones() {
    let (town, _hand) = town_with(|_, mail| mail.domains = vec!["city.example.jp".to_owned()]).await;
    let hanako = town.user("hanako").await;
    for path in [TO_ADD, TO_REGISTER] {
        town.ask("POST", path, request("a@example.jp", "s", 1)).await.fails(403, "M_THREEPID_DENIED");
        town.ask("POST", path, request("a@sub.city.example.jp", "s", 1))
            .await
            .fails(403, "M_THREEPID_DENIED");
    }
    let shown = proved(&town, TO_ADD, "hanako@city.example.jp", "s3cret").await;
    add(&hanako, &shown).await.ok();
    town.ask("POST", TO_RESET, request("taro@example.jp", "s", 1)).await.ok();
}

#[tokio::test]
async fn a_mail_is_sent_once_for_each_attempt_and_mails_to_one_address_have_a_limit() {
    let (town, _hand) = town().await;
    let ask = |attempt| town.ask("POST", TO_REGISTER, request("hanako@example.jp", "s3cret", attempt));
    let sid = ask(1).await.ok()["sid"].clone();
    assert_eq!(ask(1).await.ok()["sid"], sid);
    let (_, old) = word_of(&town).await;
    assert_eq!(ask(2).await.ok()["sid"], sid);
    let (told, word) = word_of(&town).await;
    assert_ne!(old, word);
    submit(&town, &told, &old).await.fails(400, "M_INVALID_PARAM");
    submit(&town, &told, &word).await.ok();
    assert!(town.has_no_letter());

    let mut limited = None;
    for number in 0..10 {
        let secret = format!("other{number}");
        let answer = town.ask("POST", TO_REGISTER, request("HANAKO@example.jp", &secret, 1)).await;
        if answer.status == 429 {
            limited = Some((number, answer.fails(429, "M_LIMIT_EXCEEDED")["limit"].clone()));
            break;
        }
        town.letter().await;
    }
    assert_eq!(limited, Some((3, json!("mails_to_address"))));
    town.ask("POST", TO_REGISTER, request("taro@example.jp", "s3cret", 1)).await.ok();
}

#[tokio::test]
async fn a_word_is_guessed_at_ten_times_and_good_for_a_day() {
    let (town, hand) = town().await;
    let ask = |attempt| town.ask("POST", TO_REGISTER, request("hanako@example.jp", "s3cret", attempt));
    ask(1).await.ok();
    let (sid, word) = word_of(&town).await;
    for _ in 0..10 {
        submit(&town, &sid, "AAAAAAAAAAAA").await.fails(400, "M_INVALID_PARAM");
    }
    submit(&town, &sid, &word).await.fails(400, "M_INVALID_PARAM");
    ask(2).await.ok();
    let (_, word) = word_of(&town).await;
    hand.advance(Duration::from_secs(24 * 60 * 60));
    submit(&town, &sid, &word).await.fails(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn where_no_mails_are_sent_and_for_telephones_it_is_said_so() {
    let (town, _hand) = town().await;
    for path in [
        "/_matrix/client/v3/register/msisdn/requestToken",
        "/_matrix/client/v3/account/password/msisdn/requestToken",
        "/_matrix/client/v3/account/3pid/msisdn/requestToken",
    ] {
        let body =
            json!({ "client_secret": "a", "country": "JP", "phone_number": "0762202111", "send_attempt": 1 });
        town.ask("POST", path, body).await.fails(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED");
    }
    // The other authority of this process sends none.
    let body = request("a@example.jp", "s", 1).to_string().into_bytes();
    let elsewhere = town.raw("hs2", "POST", TO_REGISTER, None, body).await;
    elsewhere.fails(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED");
    let reset = json!({ "new_password": "another word" }).to_string().into_bytes();
    town.raw("hs2", "POST", PASSWORD_PATH, None, reset).await.fails(401, "M_MISSING_TOKEN");

    let hanako = town.user("hanako").await;
    let able = hanako.get("/capabilities").await.ok();
    assert_eq!(able["capabilities"]["m.3pid_changes"]["enabled"], true);
    let bind = json!({ "id_server": "a", "id_access_token": "b", "client_secret": "c", "sid": "d" });
    hanako.post("/account/3pid/bind", bind).await.fails(403, "M_SERVER_NOT_TRUSTED");
    let named = json!({ "medium": "email", "address": "a@example.jp" });
    let told = hanako.post("/account/3pid/unbind", named).await.ok();
    assert_eq!(told["id_server_unbind_result"], "no-support");
    for bad in [
        json!({ "email": "no address", "client_secret": "a", "send_attempt": 1 }),
        json!({ "email": "a@example.jp\r\nBcc: b@example.jp", "client_secret": "a", "send_attempt": 1 }),
        json!({ "email": "a@example.jp", "client_secret": "a b", "send_attempt": 1 }),
        json!({ "email": "a@example.jp", "client_secret": "x".repeat(256), "send_attempt": 1 }),
    ] {
        town.ask("POST", TO_REGISTER, bad).await.fails(400, "M_INVALID_PARAM");
    }
    assert!(town.has_no_letter());
}

#[tokio::test]
async fn a_queue_that_is_full_tells_nobody_who_is_known() {
    let (town, _hand) = town().await;
    let hanako = town.user("hanako").await;
    add(&hanako, &proved(&town, TO_ADD, "hanako@example.jp", "s3cret").await).await.ok();
    town.close_letterbox();
    let mut batch = store::Batch::new();
    let mail = mail::Mail {
        to: "somebody@example.jp".parse().unwrap(),
        subject: String::new(),
        text: String::new(),
        html: None,
        unsubscribe: None,
        good_for: Duration::from_secs(3_600),
    };
    for _ in 0..2_000 {
        town.mails.put(&mut batch, "hs1", &mail).await.unwrap();
    }
    town.store.commit(batch).await.unwrap();
    for email in ["hanako@example.jp", "nobody@example.jp"] {
        let refused = town.ask("POST", TO_RESET, request(email, "s3cret", 1)).await;
        refused.fails(429, "M_LIMIT_EXCEEDED");
    }
}

// C60
#[tokio::test]
async fn the_address_that_is_added_is_the_one_that_was_asked_for_first() {
    let (town, _hand) = town().await;
    let hanako = town.user("hanako").await;
    let one = proved(&town, TO_ADD, "one@example.jp", "s3cret").await;
    let mut other = proved(&town, TO_ADD, "other@example.jp", "s4cret").await;
    let asked = hanako.post("/account/3pid/add", one).await;
    assert_eq!(asked.status, 401, "{}", asked.body);
    let mut proof = hanako.proof(PASSWORD);
    proof["session"] = asked.body["session"].clone();
    other["auth"] = proof.clone();
    hanako.post("/account/3pid/add", other).await.fails(403, "M_FORBIDDEN");
    hanako.post("/account/3pid/add", json!({ "auth": proof })).await.ok();
    let listed = hanako.get("/account/3pid").await.ok();
    assert_eq!(listed["threepids"].as_array().unwrap().len(), 1);
    assert_eq!(listed["threepids"][0]["address"], "one@example.jp");
}

fn mail_pusher(address: &str) -> Value {
    json!({ "kind": "email", "app_id": "m.email", "pushkey": address, "app_display_name": "Mails",
        "device_display_name": "hanako", "lang": "ja", "data": { "brand": "金沢" } })
}

async fn mailed(person: &Person<'_>) -> Vec<String> {
    let told = person.get("/pushers").await.ok();
    let pushers = told["pushers"].as_array().unwrap().iter();
    pushers.map(|pusher| pusher["pushkey"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn messages_are_mailed_to_whose_address_it_is_alone() {
    let (town, _hand) = town().await;
    let (hanako, mallory) = (town.user("hanako").await, town.user("mallory").await);
    let shown = proved(&town, TO_ADD, "hanako@example.jp", "s3cret").await;
    hanako.post("/pushers/set", mail_pusher("hanako@example.jp")).await.fails(400, "M_THREEPID_NOT_FOUND");
    add(&hanako, &shown).await.ok();

    hanako.post("/pushers/set", mail_pusher("Hanako@Example.jp")).await.ok();

    assert_eq!(hanako.get("/pushers").await.ok()["pushers"], json!([mail_pusher("hanako@example.jp")]));
    // Whoever knows the address takes nothing away by it.
    for append in [false, true] {
        let mut theirs = mail_pusher("hanako@example.jp");
        theirs["append"] = json!(append);
        mallory.post("/pushers/set", theirs.clone()).await.fails(400, "M_THREEPID_NOT_FOUND");
        theirs["kind"] = json!("http");
        theirs["data"] = json!({ "url": "https://push.example.org/_matrix/push/v1/notify" });
        mallory.post("/pushers/set", theirs).await.fails(400, "M_INVALID_PARAM");
    }
    let gone = json!({ "kind": null, "app_id": "m.email", "pushkey": "hanako@example.jp" });
    mallory.post("/pushers/set", gone.clone()).await.ok();
    assert_eq!(mailed(&hanako).await, ["hanako@example.jp"]);
    for (key, value) in [("app_id", "jp.example.app"), ("pushkey", "hanako"), ("pushkey", "")] {
        let mut odd = mail_pusher("hanako@example.jp");
        odd[key] = json!(value);
        hanako.post("/pushers/set", odd).await.fails(400, "M_INVALID_PARAM");
    }
    // Where no mails are sent from.
    let far = town.user_at("hs2", "jiro").await;
    far.post("/pushers/set", mail_pusher("jiro@example.jp"))
        .await
        .fails(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED");

    hanako
        .post("/pushers/set", json!({ "kind": null, "app_id": "m.email", "pushkey": "HANAKO@example.jp" }))
        .await
        .ok();
    assert_eq!(mailed(&hanako).await, [""; 0]);
    hanako.post("/pushers/set", mail_pusher("hanako@example.jp")).await.ok();
    let lost = json!({ "medium": "email", "address": "hanako@example.jp" });
    hanako.post("/account/3pid/delete", lost).await.ok();
    assert_eq!(mailed(&hanako).await, [""; 0], "it goes with the address");
}
