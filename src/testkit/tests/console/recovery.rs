//! Recovery of an account: two people, what ends, and who may not.

use base::Clock;
use duties::Duty;
use factor::Factors;
use http::{Method, StatusCode};
use testkit::{Net, Server, User};

use crate::{PASSWORD, administer, administrator, browser::Browser, holder, rows, set_duty};

const ACCOUNT: &str = "/_yakuba/console/account";
const RECOVERY: &str = "/_yakuba/console/recovery";

/// Gives a user an app, as his own page does.
pub(crate) async fn with_app(server: &Server, user: &User) {
    let (accounts, store) = server.look(|house| (house.accounts.clone(), house.store.clone()));
    let (random, clock) = (base::Random::seeded(1), Clock::system());
    let secret = Factors::new_secret(&random);
    let factors = accounts.factors(user.id()).await.unwrap();
    let code = factor::code_at(&secret, clock.now());
    let (change, _) = factors.with_app("電話", &secret, &code, clock.now(), &random).unwrap();
    let mut batch = store::Batch::new();
    change.put(&mut batch);
    store.commit(batch).await.unwrap();
}

async fn whoami(user: &User) -> StatusCode {
    user.ask(Method::GET, "/_matrix/client/v3/account/whoami", None).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_administrator_asks_another_person_agrees_and_all_that_was_ends() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (chief, mut asks) = administrator(&server, "kanazawa.test", "chief").await;
    let (deputy, mut agrees) = administrator(&server, "kanazawa.test", "deputy").await;
    let hanako = server.user("hanako").await;
    let here = format!("{ACCOUNT}?user={}", hanako.id());
    let deed = |what, password| [("do", what), ("user", hanako.id().as_str()), ("password", password)];
    // There is nothing to recover.
    let answer = asks.post(&here, RECOVERY, &deed("ask", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    with_app(&server, &hanako).await;

    let answer = asks.post(&here, RECOVERY, &deed("ask", "wrong")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let answer = agrees.post(&here, RECOVERY, &deed("agree", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "nobody has asked: {}", answer.text);
    let answer = asks.post(&here, RECOVERY, &deed("ask", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(whoami(&hanako).await, StatusCode::OK, "nothing is done yet");
    assert!(agrees.open("/_yakuba/console").await.contains(hanako.id().as_str()));

    let answer = asks.post(&here, RECOVERY, &deed("agree", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "by himself: {}", answer.text);
    // An administrator whom another one has made is nobody to agree.
    let made = server.user("made").await;
    administer(&server, made.id()).await;
    let mut made = Browser::of(&server, &made).await;
    let answer = made.post(&here, RECOVERY, &deed("agree", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert_eq!(whoami(&hanako).await, StatusCode::OK);

    let answer = agrees.post(&here, RECOVERY, &deed("agree", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let code = answer.text.split("id=\"code\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(code.len(), 19);
    assert_eq!(whoami(&hanako).await, StatusCode::UNAUTHORIZED);
    let again = agrees.post(&here, RECOVERY, &deed("agree", PASSWORD)).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "once: {}", again.text);
    let accounts = server.look(|house| house.accounts.clone());
    assert!(accounts.factors(hanako.id()).await.unwrap().is_recovered());

    let asked = rows(&server, server.name(), "factor.ask_recovery").await;
    let done = rows(&server, server.name(), "factor.recover").await;
    assert_eq!((asked.len(), done.len()), (1, 1));
    assert_eq!((&*asked[0].who, &*asked[0].whom), (chief.id().as_str(), hanako.id().as_str()));
    assert_eq!((&*done[0].who, &*done[0].whom), (deputy.id().as_str(), hanako.id().as_str()));
    assert!(done[0].before.contains(&("asked_by".to_owned(), chief.id().to_string())));
    assert!(!format!("{done:?}").contains(&code));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_duty_is_recovered_at_the_command_line_alone() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut asks) = administrator(&server, "kanazawa.test", "chief").await;
    let (kansa, _) = holder(&server, "kansa", Duty::Audit).await;
    with_app(&server, &kansa).await;
    let here = format!("{ACCOUNT}?user={}", kansa.id());
    let fields = [("do", "ask"), ("user", kansa.id().as_str()), ("password", PASSWORD)];
    let answer = asks.post(&here, RECOVERY, &fields).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert!(answer.text.contains("yakuba user factors reset"));
    let accounts = server.look(|house| house.accounts.clone());
    accounts.reset_factors(kansa.id(), &audit::Actor::operator("test")).await.unwrap();
    assert_eq!(whoami(&kansa).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duty_that_was_taken_away_since_agrees_to_nothing_and_a_request_can_be_taken_back() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (_, mut asks) = administrator(&server, "kanazawa.test", "chief").await;
    let (deputy, mut agrees) = administrator(&server, "kanazawa.test", "deputy").await;
    let hanako = server.user("hanako").await;
    with_app(&server, &hanako).await;
    let here = format!("{ACCOUNT}?user={}", hanako.id());
    let deed = |what| [("do", what), ("user", hanako.id().as_str()), ("password", PASSWORD)];
    asks.post(&here, RECOVERY, &deed("ask")).await;
    set_duty(&server, deputy.id(), Duty::Approval, false).await;
    assert_eq!(agrees.post(&here, RECOVERY, &deed("agree")).await.status, StatusCode::FORBIDDEN);
    set_duty(&server, deputy.id(), Duty::Approval, true).await;
    assert_eq!(asks.post(&here, RECOVERY, &deed("withdraw")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(agrees.post(&here, RECOVERY, &deed("agree")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(whoami(&hanako).await, StatusCode::OK);
}
