//! Sign-outs at an identity provider: what ends by them, and what is half done.

use store::{Order, Range};

use super::{factors::code_at, *};
use crate::{
    Browser, Identity, InBrowser, NewGrant, NewSession, ProviderLogin, ProviderSignOut, SignedIn, Stranger,
    Upstream,
    provider_tables::{ENDED, LOGINS, LOGINS_CALLED, SPENT},
};

const ISSUER: &str = "https://id.example.jp";
const NOW: u64 = 1_700_000_000_000;

async fn town_with_provider() -> Town {
    let upstream = Some(Upstream { makes_accounts: true, demands_way: false });
    town(Settings { registration: Registration::Open, upstream, ..Settings::default() }).await
}

/// Somebody whom the provider calls so, who signs in in this login; his browser is sent away now.
fn identity(town: &Town, name: &str, login: Option<&str>) -> Identity {
    Identity {
        issuer: ISSUER.to_owned(),
        subject: name.to_owned(),
        localpart: Ok(name.to_owned()),
        display_name: None,
        email: None,
        acr: None,
        amr: Vec::new(),
        login: ProviderLogin::new(ISSUER, name, login, town.accounts.login_begins()),
    }
}

fn nowhere() -> InBrowser<'static> {
    InBrowser { key: [0; 32], from: None, agent: None }
}

fn sign_out<'a>(subject: Option<&'a str>, session: Option<&'a str>, token: &'a str) -> ProviderSignOut<'a> {
    ProviderSignOut { issuer: ISSUER, subject, session, token, until_ms: NOW + 600_000 }
}

impl Town {
    async fn browser_of(&self, identity: &Identity) -> Browser {
        let secret = self.accounts.sign_in_with_identity(kanazawa(), identity, &nowhere()).await.unwrap();
        let (_, secret) = secret.unwrap().done().unwrap();
        self.accounts.find_browser(kanazawa(), &secret.0, None).await.unwrap().unwrap()
    }

    async fn browsers_of(&self, user: &UserId) -> usize {
        self.accounts.browsers_of(user).await.unwrap().len()
    }

    /// A session by a login token of a browser.
    async fn session_of(&self, browser: &Browser, device: &str) -> SessionTokens {
        let token = self.accounts.token_for_browser(browser, None, None).await.unwrap();
        self.log_in_by(&token.token, device).await.unwrap()
    }

    async fn log_in_by(&self, token: &str, device: &str) -> Result<SessionTokens, Error> {
        let session = NewSession { device_id: Some(device.into()), refresh: true, ..NewSession::default() };
        Ok(self.accounts.log_in_with_token(kanazawa(), token, session).await?.2)
    }

    /// A session by OAuth 2.0.
    async fn grant_of(&self, browser: &Browser, device: &str) -> Result<SessionTokens, Error> {
        let mut batch = store::Batch::new();
        let new = NewGrant {
            user: &browser.user_id,
            device: device.into(),
            client: "c",
            client_name: None,
            client_uri: "https://app.example.jp/",
            administers: false,
            login: browser.login.as_ref(),
            from: None,
            agent: None,
        };
        let put = self.accounts.put_grant(&mut batch, &new).await?;
        self.accounts.commit(batch).await?;
        Ok(self.accounts.granted(put))
    }

    async fn end(&self, told: &ProviderSignOut<'_>) -> Option<usize> {
        self.accounts.end_provider_logins(kanazawa(), told, None).await.unwrap()
    }

    async fn logins(&self) -> (usize, usize) {
        let logins = self.store.scan(&LOGINS, Range::all(), Order::Ascending, 9_999).await.unwrap();
        let called = self.store.scan(&LOGINS_CALLED, Range::all(), Order::Ascending, 9_999).await.unwrap();
        (logins.len(), called.len())
    }
}

#[tokio::test]
async fn a_login_that_ends_takes_what_came_of_it_and_nothing_else() {
    let town = town_with_provider().await;
    let first = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    let second = town.browser_of(&identity(&town, "hanako", Some("s-2"))).await;
    let others = town.browser_of(&identity(&town, "taro", Some("s-3"))).await;
    let user = first.user_id.clone();
    let by_token = town.session_of(&first, "A").await;
    let granted = town.grant_of(&first, "B").await.unwrap();
    let stays = town.session_of(&second, "C").await;
    let his = town.session_of(&others, "A").await;
    town.accounts.set_password(&user, PASSWORD, &operator()).await.unwrap();
    // With another password all of that is over; so begin again, and a session by the password beside it.
    let (first, second) = (
        town.browser_of(&identity(&town, "hanako", Some("s-1"))).await,
        town.browser_of(&identity(&town, "hanako", Some("s-2"))).await,
    );
    assert!(is_unknown(town.session(&by_token).await) && is_unknown(town.session(&granted).await));
    assert!(is_unknown(town.session(&stays).await));
    let by_token = town.session_of(&first, "A").await;
    let granted = town.grant_of(&first, "B").await.unwrap();
    let stays = town.session_of(&second, "C").await;
    let by_password = town.log_in("hanako", PASSWORD, Some("D")).await.unwrap();
    let by_password_in_browser =
        Credentials::NameAndPassword { name: "hanako".into(), password: PASSWORD.into() };
    town.accounts.sign_in_browser(kanazawa(), &by_password_in_browser, &nowhere()).await.unwrap();
    assert_eq!(town.browsers_of(&user).await, 3 + 2, "{:?}", town.logins().await);

    assert_eq!(town.end(&sign_out(Some("hanako"), Some("s-1"), "t-1")).await, Some(2 + 2));

    for ended in [&by_token, &granted] {
        assert!(is_unknown(town.session(ended).await));
        let refresh = ended.refresh.as_deref().unwrap();
        assert!(is_unknown(town.accounts.refresh(kanazawa(), refresh).await));
        assert!(is_unknown(town.accounts.refresh_grant(kanazawa(), "c", refresh, None).await));
    }
    for left in [&stays, &by_password, &his] {
        town.session(left).await.unwrap();
    }
    assert_eq!(town.browsers_of(&user).await, 3);
    // The same token once more ends nothing, not even what is new.
    let again = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    let later = town.session_of(&again, "A").await;
    assert_eq!(town.end(&sign_out(Some("hanako"), Some("s-1"), "t-1")).await, None);
    town.session(&later).await.unwrap();

    // All that came of the provider, and what did not stays.
    assert_eq!(town.end(&sign_out(Some("hanako"), None, "t-2")).await, Some(2 + 3));
    assert!(is_unknown(town.session(&stays).await) && is_unknown(town.session(&later).await));
    town.session(&by_password).await.unwrap();
    town.session(&his).await.unwrap();
    assert_eq!(town.browsers_of(&user).await, 1);
    assert_eq!(town.logins().await, (2, 4), "only his");
}

#[tokio::test]
async fn a_login_is_found_by_its_name_alone_by_its_person_alone_and_by_both_where_both_fit() {
    let town = town_with_provider().await;
    let ends = async |login: Option<&str>, subject, session, token: &str| {
        let browser = town.browser_of(&identity(&town, "hanako", login)).await;
        let tokens = town.session_of(&browser, "A").await;
        town.end(&sign_out(subject, session, token)).await.unwrap();
        is_unknown(town.session(&tokens).await)
    };
    assert!(ends(Some("s-1"), None, Some("s-1"), "1").await);
    assert!(ends(Some("s-1"), Some("hanako"), None, "2").await);
    assert!(ends(None, Some("hanako"), None, "3").await);
    assert!(!ends(Some("s-1"), None, Some("s-2"), "4").await);
    assert!(!ends(Some("s-1"), Some("taro"), None, "5").await);
    assert!(!ends(Some("s-1"), Some("taro"), Some("s-1"), "6").await);
    assert!(!ends(Some("s-1"), Some("hanako"), Some("s-2"), "7").await);
    // Of which login we were told no name, it may be this one.
    assert!(ends(None, Some("hanako"), Some("s-2"), "8").await);
    assert!(!ends(None, None, Some("s-2"), "9").await);
}

#[tokio::test]
async fn what_is_half_done_when_its_login_ends_never_becomes_a_session() {
    for (n, (subject, session)) in
        [(Some("hanako"), None), (None, Some("s-1")), (Some("hanako"), Some("s-1"))].into_iter().enumerate()
    {
        let town = town_with_provider().await;
        // At the provider, with an account that is not even made.
        let away = identity(&town, "hanako", Some("s-1"));
        town.end(&sign_out(subject, session, "t-1")).await;
        let refused = town.accounts.sign_in_with_identity(kanazawa(), &away, &nowhere()).await;
        assert!(matches!(refused, Err(Error::EndedAtProvider)), "{n}");
        assert!(town.accounts.find_identity(kanazawa(), ISSUER, "hanako").await.unwrap().is_none());

        // Who begins after that comes in, also in the same breath.
        let away = identity(&town, "hanako", Some("s-1"));
        let browser = town.browser_of(&away).await;
        // With a login token, and with a code that the client has not traded yet, as that carries the browser's login along.
        let token = town.accounts.token_for_browser(&browser, None, None).await.unwrap();
        town.end(&sign_out(subject, session, "t-2")).await;
        assert!(matches!(town.log_in_by(&token.token, "A").await, Err(Error::EndedAtProvider)), "{n}");
        assert!(matches!(town.grant_of(&browser, "B").await, Err(Error::EndedAtProvider)), "{n}");
        assert!(town.accounts.devices(&browser.user_id).await.unwrap().is_empty());
        let again = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
        let tokens = town.session_of(&again, "A").await;
        town.session(&tokens).await.unwrap();
        assert_eq!(again.user_id, browser.user_id);
    }
}

#[tokio::test]
async fn between_the_provider_and_the_second_step_a_login_ends_too_and_what_comes_of_both_steps_is_of_that_login()
 {
    let town = town_with_provider().await;
    let user = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await.user_id;
    let app = town.with_app(&user).await;
    let ticket_of = async |login: &str| {
        let away = identity(&town, "hanako", Some(login));
        let signed_in = town.accounts.sign_in_with_identity(kanazawa(), &away, &nowhere()).await.unwrap();
        match signed_in.unwrap() {
            SignedIn::Unfinished(step) => step.ticket,
            SignedIn::Done(..) => panic!("she has a factor"),
        }
    };
    let show = async |ticket: &str| {
        let code = code_at(&app, town.now_ms());
        let shown = town.accounts.show_code(kanazawa(), ticket, &code, &nowhere()).await;
        shown.map(|shown| shown.done().unwrap().1)
    };
    let ticket = ticket_of("s-2").await;
    town.end(&sign_out(None, Some("s-2"), "t-1")).await;
    assert!(matches!(show(&ticket).await, Err(Error::EndedAtProvider)));

    town.clock.advance(Duration::from_secs(30));
    let secret = show(&ticket_of("s-3").await).await.unwrap();
    let browser = town.accounts.find_browser(kanazawa(), &secret.0, None).await.unwrap().unwrap();
    let renewed =
        town.accounts.renew_browser((&browser, browser.stamp), "password", &nowhere()).await.unwrap();
    let (_, renewed) = renewed.done().unwrap();
    let tokens = town.session_of(&browser, "A").await;
    town.end(&sign_out(None, Some("s-3"), "t-2")).await;
    assert!(is_unknown(town.session(&tokens).await));
    for secret in [secret, renewed] {
        assert!(town.accounts.find_browser(kanazawa(), &secret.0, None).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn who_comes_in_while_his_login_ends_is_out_as_well() {
    let town = town_with_provider().await;
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    let token = town.accounts.token_for_browser(&browser, None, None).await.unwrap();
    // He has looked, and found that nothing has ended.
    let mut held = town.disk.hold(&ENDED);
    let accounts = town.accounts.clone();
    let coming = tokio::spawn(async move {
        let session = NewSession { device_id: Some("LATE".into()), ..NewSession::default() };
        accounts.log_in_with_token(kanazawa(), &token.token, session).await
    });
    held.reached().await;
    town.end(&sign_out(Some("hanako"), None, "t-1")).await.unwrap();
    held.let_go();
    assert!(matches!(coming.await.unwrap(), Err(Error::EndedAtProvider)));
    assert!(town.accounts.devices(&browser.user_id).await.unwrap().is_empty());

    // The other way round: the sign-out has looked what there is, and one more has come in before it was noted.
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    let token = town.accounts.token_for_browser(&browser, None, None).await.unwrap();
    let mut held = town.disk.hold(&SPENT);
    let accounts = town.accounts.clone();
    let ending = tokio::spawn(async move {
        accounts.end_provider_logins(kanazawa(), &sign_out(Some("hanako"), None, "t-2"), None).await
    });
    held.reached().await;
    let tokens = town.log_in_by(&token.token, "LATE").await.unwrap();
    town.session(&tokens).await.unwrap();
    held.let_go();
    assert_eq!(ending.await.unwrap().unwrap(), Some(2));
    assert!(is_unknown(town.session(&tokens).await));
}

#[tokio::test]
async fn of_two_processes_with_one_token_one_acts_on_it() {
    let town = town_with_provider().await;
    let other = town.restarted(Settings::default()).await;
    for n in 0..20 {
        let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
        let tokens = town.session_of(&browser, "A").await;
        let id = format!("t-{n}");
        let told = sign_out(Some("hanako"), None, &id);
        let (one, two) = tokio::join!(
            town.accounts.end_provider_logins(kanazawa(), &told, None),
            other.end_provider_logins(kanazawa(), &told, None),
        );
        let done = [one.unwrap(), two.unwrap()];
        assert_eq!(done.iter().flatten().count(), 1, "{done:?}");
        assert!(is_unknown(town.session(&tokens).await));
        assert!(is_unknown(other.authenticate(kanazawa(), &tokens.access).await));
    }
}

#[tokio::test]
async fn where_it_cannot_be_written_nobody_is_told_that_it_is_done_and_the_token_stays_good() {
    let town = town_with_provider().await;
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    let tokens = town.session_of(&browser, "A").await;
    let told = sign_out(None, Some("s-1"), "t-1");
    town.disk.fail_next();
    town.accounts.end_provider_logins(kanazawa(), &told, None).await.unwrap_err();
    // The note is there; what was to end is not on disk.
    let mut held = town.disk.hold(&LOGINS_CALLED);
    let accounts = town.accounts.clone();
    let ending = tokio::spawn(async move {
        accounts.end_provider_logins(kanazawa(), &sign_out(None, Some("s-1"), "t-1"), None).await
    });
    held.reached().await;
    town.disk.fail_next();
    held.let_go();
    ending.await.unwrap().unwrap_err();
    town.session(&tokens).await.unwrap();
    assert_eq!(town.end(&told).await, Some(2));
    assert!(is_unknown(town.session(&tokens).await));
}

#[tokio::test]
async fn more_sessions_than_one_batch_has_all_end() {
    let town = town_with_provider().await;
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    for n in 0..450 {
        town.session_of(&browser, &format!("D{n}")).await;
    }
    assert_eq!(town.end(&sign_out(Some("hanako"), None, "t-1")).await, Some(451));
    assert!(town.accounts.devices(&browser.user_id).await.unwrap().is_empty());
    assert_eq!(town.logins().await, (0, 0));
}

#[tokio::test]
async fn what_a_session_hands_on_to_another_device_is_of_its_login() {
    let town = town_with_provider().await;
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    let user = browser.user_id.clone();
    town.accounts.set_password(&user, PASSWORD, &operator()).await.unwrap();
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    town.session_of(&browser, "A").await;
    let handed = asked(json!({}), Some(password(&user, PASSWORD)));
    let token = town.accounts.request_login_token(&user, "A".into(), handed).await.unwrap();
    let on_desktop = town.log_in_by(&token.token, "B").await.unwrap();
    // Who signs in anew to a device, in another way, is there in that way.
    town.session_of(&browser, "C").await;
    let anew = town.log_in("hanako", PASSWORD, Some("C")).await.unwrap();
    town.end(&sign_out(None, Some("s-1"), "t-1")).await.unwrap();
    assert!(is_unknown(town.session(&on_desktop).await));
    town.session(&anew).await.unwrap();
}

#[tokio::test]
async fn another_authoritys_provider_ends_nothing_here_whatever_it_says() {
    let town = town_with_provider().await;
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    let tokens = town.session_of(&browser, "A").await;
    let ended = town
        .accounts
        .end_provider_logins(server_name!("wajima.test"), &sign_out(Some("hanako"), Some("s-1"), "t"), None)
        .await;
    assert_eq!(ended.unwrap(), Some(0));
    let by_another =
        ProviderSignOut { issuer: "https://evil.example", ..sign_out(Some("hanako"), None, "t") };
    assert_eq!(town.end(&by_another).await, Some(0));
    town.session(&tokens).await.unwrap();
    // Nor has either used up the token of the one whose user it is.
    assert_eq!(town.end(&sign_out(Some("hanako"), Some("s-1"), "t")).await, Some(2));
}

#[tokio::test]
async fn of_whom_two_providers_say_the_same_name_there_are_two() {
    let town = town_with_provider().await;
    let first = town.browser_of(&identity(&town, "1001", None)).await;
    let of_another = Identity {
        issuer: "https://other.example".to_owned(),
        localpart: Ok("another".to_owned()),
        login: ProviderLogin::new("https://other.example", "1001", None, Position::START),
        ..identity(&town, "1001", None)
    };
    let second = town.browser_of(&of_another).await;
    assert_ne!(first.user_id, second.user_id);
    let tokens = town.session_of(&second, "A").await;
    town.end(&sign_out(Some("1001"), None, "t")).await.unwrap();
    town.session(&tokens).await.unwrap();
    // And a third one who would have the name of one of them gets neither account.
    let third = Identity { subject: "1002".to_owned(), ..identity(&town, "1001", None) };
    let refused = town.accounts.sign_in_with_identity(kanazawa(), &third, &nowhere()).await.unwrap();
    assert_eq!(refused.unwrap_err(), Stranger::NameTaken("1001".to_owned()));
}

#[tokio::test]
async fn what_was_noted_goes_once_it_can_be_of_no_use() {
    let town = town_with_provider().await;
    town.end(&sign_out(Some("hanako"), None, "t-1")).await;
    let left = async || {
        let ended = town.store.scan(&ENDED, Range::all(), Order::Ascending, 9).await.unwrap().len();
        (ended, town.store.scan(&SPENT, Range::all(), Order::Ascending, 9).await.unwrap().len())
    };
    town.accounts.sweep_provider_sign_outs().await.unwrap();
    assert_eq!(left().await, (1, 1));
    town.clock.advance(Duration::from_secs(600));
    town.accounts.sweep_provider_sign_outs().await.unwrap();
    assert_eq!(left().await, (1, 0));
    town.clock.advance(Duration::from_secs(3_000));
    town.accounts.sweep_provider_sign_outs().await.unwrap();
    assert_eq!(left().await, (0, 0));
}

#[tokio::test]
async fn a_sign_out_leaves_a_row_with_what_ended_and_so_do_those_that_were_not_believed() {
    let town = town_with_provider().await;
    let browser = town.browser_of(&identity(&town, "hanako", Some("s-1"))).await;
    town.session_of(&browser, "A").await;
    let seen = &mut town.rows().await.len();
    town.end(&sign_out(Some("hanako"), None, "t-1")).await;
    town.end(&sign_out(Some("nobody"), None, "t-2")).await;
    for _ in 0..500 {
        town.accounts.note_refused_sign_out(kanazawa(), None, "logout_token_aud");
    }
    town.accounts.write_failures().await.unwrap();
    let rows = town.new_rows(seen).await;
    assert_eq!(
        rows,
        [
            format!("session.sign_out_at_provider {ISSUER} source @hanako:kanazawa.test"),
            format!("session.sign_out_at_provider {ISSUER} source "),
            "session.sign_out_refused  stranger ".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_browser_in_which_a_first_factor_is_set_up_stays_one_of_its_login() {
    let town = town_with_provider().await;
    let hanako = identity(&town, "hanako", Some("s-1"));
    let browser = town.browser_of(&hanako).await;
    let secret = town.set_up(&browser, &nowhere()).await.unwrap();
    let renewed = town.accounts.find_browser(kanazawa(), &secret.0, None).await.unwrap().unwrap();
    assert!(renewed.strong && renewed.login.as_ref() == Some(&hanako.login));
    assert_eq!(town.end(&sign_out(None, Some("s-1"), "t-1")).await, Some(1));
    assert!(town.accounts.find_browser(kanazawa(), &secret.0, None).await.unwrap().is_none());
}
