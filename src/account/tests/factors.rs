//! Second factors: two processes, what the audit log tells of wrong ones, and the user's own places.

use ::audit::{Filter, Record, list};
use factor::Factors;

use super::*;
use crate::{BrowserSecret, InBrowser, SignedIn};

/// The code of an app at a moment.
pub(super) fn code_at(secret: &factor::Secret, ms: u64) -> String {
    factor::code_at(secret, base::Timestamp(ms))
}

pub(super) fn at(ip: &str) -> InBrowser<'static> {
    InBrowser { key: [5; 32], from: ip.parse().ok().map(Address::of), agent: None }
}

impl Town {
    pub(super) fn now_ms(&self) -> u64 {
        self.accounts.now_ms()
    }

    /// Gives a user an app; its secret.
    pub(super) async fn with_app(&self, user: &UserId) -> [u8; 20] {
        let secret = [9; 20];
        let now = self.accounts.inner.clock.now();
        let factors = Factors::read(&self.store, user).await.unwrap();
        let code = code_at(&secret, now.millis());
        let set_up = factors.with_app("電話", &secret, &code, now, &Random::seeded(2)).unwrap();
        let mut batch = store::Batch::new();
        set_up.0.put(&mut batch);
        self.store.commit(batch).await.unwrap();
        self.clock.advance(Duration::from_secs(30));
        secret
    }

    pub(super) async fn audit_rows(&self) -> Vec<Record> {
        let page = list(&self.store, kanazawa(), &Filter::default(), Position::START).await.unwrap();
        page.found.into_iter().map(|row| row.record.unwrap()).collect()
    }
}

/// The ticket that a password gives.
pub(super) async fn ticket(accounts: &Accounts, way: &InBrowser<'_>) -> String {
    let credentials =
        Credentials::NameAndPassword { name: "hanako".to_owned(), password: PASSWORD.to_owned() };
    match accounts.sign_in_browser(kanazawa(), &credentials, way).await.unwrap() {
        SignedIn::Unfinished(unfinished) => unfinished.ticket,
        SignedIn::Done(..) => panic!("she has a factor"),
    }
}

pub(super) async fn show(
    accounts: &Accounts,
    code: &str,
    way: &InBrowser<'_>,
) -> Result<BrowserSecret, Error> {
    let ticket = ticket(accounts, way).await;
    let shown = accounts.show_code(kanazawa(), &ticket, code, way).await?;
    Ok(shown.done().unwrap().1)
}

#[tokio::test]
async fn of_two_who_show_one_code_at_two_processes_one_gets_in_and_any_takes_the_second_step() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let secret = town.with_app(&user).await;
    let other = town.restarted(Settings::default()).await;
    let way = at("192.0.2.1");
    for _ in 0..10 {
        let code = code_at(&secret, town.now_ms());
        // Begun at one, ended at both.
        let ticket = ticket(&town.accounts, &way).await;
        let one = town.accounts.show_code(kanazawa(), &ticket, &code, &way);
        let two = other.show_code(kanazawa(), &ticket, &code, &way);
        let (one, two) = tokio::join!(one, two);
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        town.clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn wrong_codes_are_in_the_audit_log_without_what_was_shown() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let secret = town.with_app(&user).await;
    let way = at("192.0.2.1");
    let code = code_at(&secret, town.now_ms());
    let browser = show(&town.accounts, &code, &way).await.unwrap();
    assert!(town.accounts.find_browser(kanazawa(), &browser.0, None).await.unwrap().unwrap().strong);
    for (wrong, times) in [("271828", 2), (code.as_str(), 2), ("aaaa-bbbb-cccc-dddd", 1)] {
        for _ in 0..times {
            assert!(matches!(show(&town.accounts, wrong, &way).await, Err(Error::Factor(_))));
        }
    }
    assert!(matches!(show(&town.accounts, "271828", &way).await, Err(Error::Limited { .. })));
    let by_client = town.log_in_from(way.from, "hanako", PASSWORD, None).await;
    assert!(matches!(by_client, Err(Error::FactorNeeded { .. })));
    town.accounts.write_failures().await.unwrap();

    let rows = town.audit_rows().await;
    let failed = rows.iter().filter(|row| row.what == "session.sign_in_failed");
    let fact = |row: &Record, name: &str| {
        row.after.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap()
    };
    let mut told: Vec<_> = failed.map(|row| (fact(row, "reason"), fact(row, "times"))).collect();
    told.sort_unstable();
    let told: Vec<_> = told.iter().map(|(reason, times)| (reason.as_str(), times.as_str())).collect();
    let expected =
        [("code_used_again", "2"), ("factor_needed", "1"), ("too_often", "1"), ("wrong_code", "3")];
    assert_eq!(told, expected);
    let all = format!("{rows:?}");
    for secret in [code.as_str(), "271828", "aaaa", PASSWORD, &factor::in_base32(&secret), &browser.0] {
        assert!(!all.contains(secret), "{secret} {all}");
    }
}

#[tokio::test]
async fn where_strangers_have_guessed_too_often_the_owner_gets_in_from_where_she_was_before_at_any_process() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let secret = town.with_app(&user).await;
    let home = at("203.0.113.7");
    // At another process.
    let other = town.restarted(Settings::default()).await;
    show(&other, &code_at(&secret, town.now_ms()), &home).await.unwrap();
    for n in 0..60 {
        let way = at(&format!("192.0.2.{n}"));
        assert!(show(&town.accounts, "000000", &way).await.is_err());
    }
    town.clock.advance(Duration::from_secs(30));
    let code = code_at(&secret, town.now_ms());
    assert!(matches!(show(&town.accounts, &code, &at("198.51.100.1")).await, Err(Error::Limited { .. })));
    assert!(show(&town.accounts, &code, &home).await.is_ok());
}
