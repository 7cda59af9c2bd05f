//! Ways around a second factor: by what was given before there was one, and beside a recovery.

use super::{
    factors::{at, code_at, show, ticket},
    interactive::begin_to_register,
    *,
};
use crate::{
    AccountChange, Browser, BrowserSecret, Identity, InBrowser, NewFactor, NewSession, ProviderLogin,
    SignedIn, Unfinished, Upstream, Wants, Ways,
};

const ISSUER: &str = "https://id.example.jp";

fn credentials() -> Credentials {
    Credentials::NameAndPassword { name: "hanako".to_owned(), password: PASSWORD.to_owned() }
}

fn identity(town: &Town) -> Identity {
    Identity {
        issuer: ISSUER.to_owned(),
        subject: "sub-1".to_owned(),
        localpart: Err("none".to_owned()),
        display_name: None,
        email: None,
        acr: Some("phr".to_owned()),
        amr: Vec::new(),
        login: ProviderLogin::new(ISSUER, "sub-1", None, town.accounts.login_begins()),
    }
}

impl Town {
    async fn find(&self, secret: &BrowserSecret) -> Option<Browser> {
        self.accounts.find_browser(kanazawa(), &secret.0, None).await.unwrap()
    }

    /// A browser by the password alone.
    async fn by_password(&self, way: &InBrowser<'_>) -> BrowserSecret {
        let signed_in = self.accounts.sign_in_browser(kanazawa(), &credentials(), way).await.unwrap();
        signed_in.done().unwrap().1
    }

    /// Sets up an app in a browser; the secret that the browser has from then on, if it has another one.
    pub(super) async fn set_up(&self, browser: &Browser, way: &InBrowser<'_>) -> Option<BrowserSecret> {
        let Unfinished { wants, ticket, .. } = self.accounts.begin_factor(browser, way).await.unwrap();
        let Wants::New { secret, .. } = wants else { panic!("an app is set up") };
        let code = code_at(&secret, self.now_ms());
        let new = ("電話", NewFactor::App { code: &code });
        self.accounts.add_factor(browser, &ticket, new, way).await.unwrap().0
    }

    async fn spend(&self, token: &str) -> Result<(), Error> {
        let session = NewSession::default();
        self.accounts.log_in_with_token(kanazawa(), token, session).await.map(drop)
    }
}

#[tokio::test]
async fn what_was_given_before_the_first_factor_lets_nobody_in_after_it() {
    let town = open_town().await;
    town.register("hanako", false).await;
    let (thief, home) = (at("192.0.2.1"), at("203.0.113.7"));
    let stolen = town.by_password(&thief).await;
    let stolen = town.find(&stolen).await.unwrap();
    let by_browser = town.accounts.token_for_browser(&stolen, None, None).await.unwrap();
    let by_password = town.accounts.sign_in_for_token(kanazawa(), &credentials(), &thief).await.unwrap();
    let by_password = by_password.unwrap();

    let own = town.by_password(&home).await;
    let own = town.find(&own).await.unwrap();
    let begun = town.accounts.stamp(&own.user_id).await.unwrap();
    assert_eq!(begun, stolen.stamp, "else codes of OAuth 2.0 would be worth nothing");
    assert!(town.set_up(&own, &home).await.is_some());

    for token in [by_browser, by_password] {
        let refused = town.spend(&token.token).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
    // By that codes and requests of devices are known which were agreed to.
    assert_ne!(town.accounts.stamp(&own.user_id).await.unwrap(), stolen.stamp);
    let late = town.accounts.token_for_browser(&stolen, None, None).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
}

#[tokio::test]
async fn what_a_factor_was_shown_for_is_good_also_once_there_is_another_one() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let secret = town.with_app(&user).await;
    let home = at("203.0.113.7");
    let own = show(&town.accounts, &code_at(&secret, town.now_ms()), &home).await.unwrap();
    let own = town.find(&own).await.unwrap();
    let token = town.accounts.token_for_browser(&own, None, None).await.unwrap();
    assert!(town.set_up(&own, &home).await.is_none());
    assert!(town.spend(&token.token).await.is_ok());
    assert_eq!(town.accounts.stamp(&user).await.unwrap(), own.stamp);
}

#[tokio::test]
async fn who_changes_his_only_app_signs_out_whoever_came_between_the_two() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let secret = town.with_app(&user).await;
    let (thief, home) = (at("192.0.2.1"), at("203.0.113.7"));
    let own = show(&town.accounts, &code_at(&secret, town.now_ms()), &home).await.unwrap();
    let only = |factors: factor::Factors| factors.list()[0].id;
    let id = only(town.accounts.factors(&user).await.unwrap());
    town.accounts.remove_factor(&town.find(&own).await.unwrap(), id, None).await.unwrap();
    let stolen = town.by_password(&thief).await;
    assert!(town.find(&stolen).await.is_some());

    let own = town.set_up(&town.find(&own).await.unwrap(), &home).await.unwrap_or(own);
    assert!(town.find(&stolen).await.is_none());
    let id = only(town.accounts.factors(&user).await.unwrap());
    town.accounts.remove_factor(&town.find(&own).await.unwrap(), id, None).await.unwrap();
    assert!(town.find(&stolen).await.is_none(), "it was hidden, and has come back");
}

#[tokio::test]
async fn what_a_browser_had_begun_is_worth_nothing_once_the_account_was_recovered() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let secret = town.with_app(&user).await;
    let thief = at("192.0.2.1");
    let stolen = show(&town.accounts, &code_at(&secret, town.now_ms()), &thief).await.unwrap();
    // Found for a request that is under way when the recovery comes.
    let stolen = town.find(&stolen).await.unwrap();
    town.accounts.reset_factors(&user, &operator()).await.unwrap();

    let other = "another horse";
    let changed = town.accounts.change_own_password(&stolen, PASSWORD, other, false, None).await;
    assert!(matches!(changed, Err(Error::Stale)), "{changed:?}");
    let renewed = town.accounts.renew_browser((&stolen, stolen.stamp), "password", &thief).await;
    assert!(matches!(renewed, Err(Error::Stale)), "{renewed:?}");
    let agreed = town.accounts.agree_to_reset(&stolen, PASSWORD, None).await;
    assert!(matches!(agreed, Err(Error::Stale)), "{agreed:?}");
    let closed = town.accounts.close_own(&stolen, PASSWORD, true, None).await;
    assert!(matches!(closed, Err(Error::Stale)), "{closed:?}");
    let confirmed = town.accounts.confirm_own(&stolen, PASSWORD, None).await;
    assert!(matches!(confirmed, Err(Error::Stale)), "{confirmed:?}");
}

#[tokio::test]
async fn who_was_recovered_shows_the_code_of_it_also_where_the_providers_word_is_enough() {
    let upstream = Some(Upstream { makes_accounts: false, demands_way: true });
    let town = town(Settings { registration: Registration::Open, upstream, ..Settings::default() }).await;
    let (user, _) = town.register("hanako", false).await;
    town.with_app(&user).await;
    town.accounts.link_identity(&user, (ISSUER, "sub-1"), &operator()).await.unwrap();
    let way = at("192.0.2.1");
    let sign_in = async || town.accounts.sign_in_with_identity(kanazawa(), &identity(&town), &way).await;
    assert!(matches!(sign_in().await, Ok(Ok(SignedIn::Done(..)))));

    let code = town.accounts.reset_factors(&user, &operator()).await.unwrap();
    let Ok(Ok(SignedIn::Unfinished(step))) = sign_in().await else { panic!("nothing else gets in") };
    let shown = town.accounts.show_code(kanazawa(), &step.ticket, &code, &way).await.unwrap();
    let SignedIn::Unfinished(Unfinished { wants: Wants::New { secret, .. }, ticket, .. }) = shown else {
        panic!("she sets up a factor now")
    };
    let code = code_at(&secret, town.now_ms());
    let new = ("電話", NewFactor::App { code: &code });
    town.accounts.set_up_first(kanazawa(), &ticket, new, &way).await.unwrap();
    // What she is known by at the provider may have been linked by whoever it was to shut out.
    let Ok(Ok(SignedIn::Unfinished(step))) = sign_in().await else {
        panic!("she has a factor, and shows it")
    };
    town.clock.advance(Duration::from_secs(30));
    let code = code_at(&secret, town.now_ms());
    let shown = town.accounts.show_code(kanazawa(), &step.ticket, &code, &way).await.unwrap();
    let browser = town.find(&shown.done().unwrap().1).await.unwrap();
    // And shows it once.
    let stamp = town.accounts.change_own_password(&browser, PASSWORD, "another horse", false, None).await;
    let renewed = town.accounts.renew_browser((&browser, stamp.unwrap()), "password", &way).await.unwrap();
    assert!(town.find(&renewed.done().unwrap().1).await.unwrap().strong);
}

#[tokio::test]
async fn a_registration_that_is_repeated_gives_no_session_of_an_account_with_a_factor() {
    let town = open_town().await;
    let wish = json!({ "username": "hanako", "password": PASSWORD });
    let session = begin_to_register(&town, wish.clone()).await;
    let register = || {
        let mut auth = Dummy::new();
        auth.session = Some(session.clone());
        town.accounts.register(kanazawa(), asked(wish.clone(), Some(AuthData::Dummy(auth))))
    };
    let made = register().await.unwrap();
    assert!(register().await.unwrap().session.is_some(), "the answer was lost");
    town.with_app(&made.user_id).await;
    let repeated = register().await;
    assert!(matches!(repeated, Err(Error::Forbidden(_) | Error::FactorNeeded { .. })), "{repeated:?}");
}

#[tokio::test]
async fn one_administrator_opens_no_account_with_a_factor_by_an_identity_whose_word_is_enough() {
    for demands_way in [true, false] {
        let upstream = Some(Upstream { makes_accounts: false, demands_way });
        let town = town(Settings { registration: Registration::Open, upstream, ..Settings::default() }).await;
        let (user, _) = town.register("hanako", false).await;
        let (boss, _) = town.register("boss", false).await;
        town.accounts.set_administrator(&boss, true, &operator()).await.unwrap();
        let by = Actor::user(&boss, true, None);
        let wish = |names: &[&str]| AccountChange {
            ways: Ways {
                identities: Some(names.iter().map(|name| (ISSUER.to_owned(), (*name).to_owned())).collect()),
                ..Ways::default()
            },
            ..AccountChange::default()
        };
        let change = async |names: &[&str]| town.accounts.change_account(&user, &wish(names), &by).await;
        assert!(change(&["own", "older"]).await.is_ok());
        town.with_app(&user).await;
        let linked = change(&["own", "older", "sub-1"]).await;
        match demands_way {
            true => assert!(matches!(linked, Err(Error::Forbidden(_))), "{linked:?}"),
            // There the factor is asked for besides.
            false => assert!(linked.is_ok(), "{linked:?}"),
        }
        // What it is known by may be taken away, and nothing is asked of the operator.
        assert!(change(&["own"]).await.is_ok());
        town.accounts.change_account(&user, &wish(&["own", "sub-2"]), &operator()).await.unwrap();
        assert!(ticket(&town.accounts, &at("192.0.2.1")).await.len() > 8);
    }
}

#[tokio::test]
async fn a_login_from_before_a_factor_was_demanded_of_the_provider_has_shown_none() {
    let upstream = Some(Upstream { makes_accounts: false, demands_way: true });
    let town = town(Settings { upstream, registration: Registration::Open, ..Settings::default() }).await;
    let (user, _) = town.register("hanako", false).await;
    let login = |since| crate::ProviderLogin::new("https://id.test", "1", None, since);
    let before = login(town.store.head());
    assert!(town.accounts.was_asked_there(&user, Some(&before)).await.unwrap());
    town.register("taro", false).await;
    town.accounts.note_demands(&[kanazawa()]).await.unwrap();
    let after = login(town.store.head());
    // Noted once, whichever process starts.
    town.register("jiro", false).await;
    town.accounts.note_demands(&[kanazawa()]).await.unwrap();
    assert!(!town.accounts.was_asked_there(&user, Some(&before)).await.unwrap());
    assert!(town.accounts.was_asked_there(&user, Some(&after)).await.unwrap());
    assert!(!town.accounts.was_asked_there(&user, None).await.unwrap());
}
