//! What the audit log tells of accounts.

use ::audit::{Action, Filter, Record, list};
use store::Value;

use super::*;
use crate::failures::Attempt;

impl Town {
    /// All rows of the audit log.
    pub(super) async fn rows(&self) -> Vec<Record> {
        let (mut found, mut after) = (Vec::new(), Position::START);
        loop {
            let page = list(&self.store, kanazawa(), &Filter::default(), after).await.unwrap();
            found.extend(page.found.into_iter().map(|row| row.record.unwrap()));
            match page.next {
                Some(next) => after = next,
                None => return found,
            }
        }
    }

    /// The rows that were written since `seen` of them were there: what was done, by whom, as what, to whom.
    pub(super) async fn new_rows(&self, seen: &mut usize) -> Vec<String> {
        let rows = self.rows().await.split_off(*seen);
        *seen += rows.len();
        rows.into_iter().map(|row| format!("{} {} {} {}", row.what, row.who, row.role, row.whom)).collect()
    }
}

fn fact<'a>(facts: &'a [(String, String)], name: &str) -> Option<&'a str> {
    facts.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn here() -> Option<Address> {
    "192.0.2.1".parse().ok().map(Address::of)
}

#[tokio::test]
async fn each_deed_leaves_exactly_one_row() {
    let settings = Settings { shared_secret: Some("s".to_owned()), ..Settings::default() };
    let town = town(Settings { registration: Registration::Open, ..settings }).await;
    let (accounts, seen) = (&town.accounts, &mut 0);
    let (user, tokens) = town.register("hanako", true).await;
    let (me, own) = (user.as_str(), town.session(&tokens).await.unwrap().device_id);
    assert_eq!(town.new_rows(seen).await, [format!("account.register  stranger {me}")]);

    // What is no deed leaves none.
    accounts.refresh(kanazawa(), tokens.refresh.as_ref().unwrap()).await.unwrap();
    accounts.request_openid_token(&user).await.unwrap();
    accounts.write_last_seen().await.unwrap();
    assert!(
        accounts
            .change_password(&user, &own, asked(json!({ "new_password": "another word" }), None))
            .await
            .is_err()
    );
    assert_eq!(town.new_rows(seen).await, [""; 0]);

    for device in ["A", "B", "C", "D"] {
        town.log_in("hanako", PASSWORD, Some(device)).await.unwrap();
        assert_eq!(town.new_rows(seen).await, [format!("session.sign_in {me} user {me}")]);
    }
    accounts.log_out(&user, "A".into(), &itself(&user)).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("session.sign_out {me} user {me}")]);
    let proof = || Some(password(&user, PASSWORD));
    accounts.remove_device(&user, &own, "B".into(), asked(json!({}), proof())).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("device.remove {me} user {me}")]);
    let two = json!({ "devices": ["C", "D", "NONE"] });
    accounts.remove_devices(&user, &own, asked(two, proof())).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("device.remove {me} user {me}")]);
    accounts.remove_device(&user, &own, "NONE".into(), asked(json!({}), proof())).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [""; 0]);
    let change = json!({ "new_password": "another word", "logout_devices": false });
    accounts.change_password(&user, &own, asked(change, proof())).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("password.change {me} user {me}")]);
    accounts.log_out_everywhere(&user, &itself(&user)).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("session.sign_out_everywhere {me} user {me}")]);
    accounts.set_password(&user, "one more word", &operator()).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("password.set uid 0 operator {me}")]);
    accounts.close_account(&user, &operator()).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("account.close uid 0 operator {me}")]);

    let taro = NewUser {
        localpart: "taro".to_owned(),
        admin: true,
        password: Some(PASSWORD.to_owned()),
        ..NewUser::default()
    };
    let taro = accounts.create_user(kanazawa(), taro, &operator()).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("account.create uid 0 operator {taro}")]);
    town.log_in("taro", PASSWORD, None).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("session.sign_in {taro} administrator {taro}")]);
    let erase = asked(json!({ "erase": true }), Some(password(&taro, PASSWORD)));
    accounts.deactivate(&taro, "X".into(), erase).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("account.close {taro} administrator {taro}")]);

    let token =
        RegistrationToken { token: "sakura".to_owned(), uses_allowed: Some(2), used: 0, expires: None };
    accounts.put_registration_token(kanazawa(), token, &operator()).await.unwrap();
    accounts.remove_registration_token(kanazawa(), "sakura", &operator()).await.unwrap();
    let tokens = ["put", "remove"].map(|verb| format!("registration_token.{verb} uid 0 operator "));
    assert_eq!(town.new_rows(seen).await, tokens);

    let jiro = NewUser { localpart: "jiro".to_owned(), ..NewUser::default() };
    let jiro = accounts.create_user(kanazawa(), jiro, &operator()).await.unwrap();
    assert_eq!(town.new_rows(seen).await, [format!("account.create uid 0 operator {jiro}")]);
    for (administers, verb) in [(true, "grant"), (false, "revoke")] {
        accounts.set_administrator(&jiro, administers, &operator()).await.unwrap();
        let row = format!("account.{verb}_administration uid 0 operator {jiro}");
        assert_eq!(town.new_rows(seen).await, [row]);
        accounts.set_administrator(&jiro, administers, &operator()).await.unwrap();
        assert_eq!(town.new_rows(seen).await, [""; 0]);
    }

    assert_eq!(town.disk.lonely_rows(), 0, "a row that is written apart from its deed");
    for row in town.rows().await {
        let bytes = row.encode();
        let text = String::from_utf8_lossy(&bytes);
        for secret in [PASSWORD, "another word", "one more word", "sakura", "yat_", "yrt_", "$argon2"] {
            assert!(!text.contains(secret), "{row:?}");
        }
    }
}

#[tokio::test]
async fn a_row_says_where_from_and_which_device() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let named = LogIn {
        device_name: Some("電話".to_owned()),
        agent: Some("Element/1.0 ".repeat(100)),
        ..log_in_request(here(), "hanako", PASSWORD, Some("PHONE"))
    };
    town.accounts.log_in(kanazawa(), named).await.unwrap();
    town.accounts.log_out(&user, "PHONE".into(), &Actor::user(&user, false, here())).await.unwrap();
    let rows = town.rows().await;
    let [_, sign_in, sign_out] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((sign_in.from.as_deref(), sign_in.at.millis()), (Some("192.0.2.1"), 1_700_000_000_000));
    assert_eq!(fact(&sign_in.after, "device"), Some("PHONE"));
    assert_eq!(fact(&sign_in.after, "device_name"), Some("電話"));
    let agent = fact(&sign_in.after, "user_agent").unwrap();
    assert!(agent.starts_with("Element/1.0 ") && agent.len() == 256, "{agent}");
    assert_eq!(
        (sign_out.from.as_deref(), fact(&sign_out.before, "devices")),
        (Some("192.0.2.1"), Some("PHONE"))
    );
}

#[tokio::test]
async fn a_deed_writes_one_row_more_and_reads_nothing_for_it() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    assert_eq!(town.disk.take_audit(), (0, 1));
    for _ in 0..20 {
        town.log_in("hanako", PASSWORD, Some("PHONE")).await.unwrap();
        assert_eq!(town.disk.take_audit(), (0, 1));
    }
    town.accounts.log_out(&user, "PHONE".into(), &itself(&user)).await.unwrap();
    assert_eq!(town.disk.take_audit(), (0, 1));
    town.accounts.close_account(&user, &operator()).await.unwrap();
    assert_eq!(town.disk.take_audit(), (0, 1));
}

#[tokio::test]
async fn what_did_not_happen_has_no_row() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let rows = town.rows().await.len();
    town.disk.fail_next();
    assert!(town.log_in("hanako", PASSWORD, None).await.is_err());
    town.disk.fail_next();
    assert!(town.accounts.log_out_everywhere(&user, &itself(&user)).await.is_err());
    town.disk.fail_next();
    assert!(town.accounts.close_account(&user, &operator()).await.is_err());
    assert_eq!(town.rows().await.len(), rows);

    town.log_in("hanako", PASSWORD, None).await.unwrap();
    town.accounts.log_out_everywhere(&user, &itself(&user)).await.unwrap();
    town.accounts.close_account(&user, &operator()).await.unwrap();
    assert_eq!(town.rows().await.len(), rows + 3);
    assert_eq!(town.disk.lonely_rows(), 0, "a row that is written apart from its deed");
}

#[tokio::test]
async fn attempts_that_fail_are_gathered_with_their_number_and_reason() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let before = town.rows().await.len();
    for _ in 0..12 {
        assert!(town.log_in_from(here(), "hanako", "wrong", None).await.is_err());
    }
    // A name that nobody has may be a password in the wrong place.
    for name in ["nobody", "hunter2", "@hanako:wajima.test"] {
        assert!(town.log_in(name, "wrong", None).await.is_err());
    }
    let wrong = asked(json!({}), Some(password(&user, "wrong")));
    assert!(town.accounts.remove_device(&user, "X".into(), "Y".into(), wrong).await.is_err());
    assert_eq!(town.rows().await.len(), before, "strangers make no commits");

    town.accounts.write_failures().await.unwrap();
    town.accounts.write_failures().await.unwrap();

    let rows = town.rows().await.split_off(before);
    let mut told: Vec<_> = rows
        .iter()
        .map(|row| {
            let (reason, times) = (fact(&row.after, "reason").unwrap(), fact(&row.after, "times").unwrap());
            (row.what.as_str(), row.role.as_str(), row.whom.as_str(), reason, times)
        })
        .collect();
    told.sort_unstable();
    let hanako = user.as_str();
    assert_eq!(
        told,
        [
            ("session.confirm_failed", "user", hanako, "wrong_password", "1"),
            ("session.sign_in_failed", "stranger", "", "no_such_user", "3"),
            ("session.sign_in_failed", "stranger", hanako, "too_often", "2"),
            ("session.sign_in_failed", "stranger", hanako, "wrong_password", "10"),
        ]
    );
    let of_hanako = rows.iter().filter(|row| row.whom == hanako && row.role == "stranger");
    assert!(of_hanako.into_iter().all(|row| row.from.as_deref() == Some("192.0.2.1")));
}

/// An attempt from one of very many addresses.
fn attempt(n: u32, whom: Option<OwnedUserId>) -> Attempt {
    let from = std::net::Ipv4Addr::from_bits(n);
    Attempt {
        authority: kanazawa().to_owned(),
        what: Action::SignInFailed,
        by: Actor::stranger(Some(Address::of(from.into()))),
        whom,
        reason: "wrong_password",
    }
}

#[tokio::test]
async fn strangers_cannot_fill_the_log_and_every_attempt_is_counted() {
    let town = open_town().await;
    for n in 0..20_000 {
        town.accounts.note_failure(attempt(n, None));
    }
    town.accounts.write_failures().await.unwrap();
    assert_eq!(town.rows().await.len(), 250);
    // What was not told is told as a number as soon as there may be a row for it.
    town.clock.advance(Duration::from_secs(20));
    town.accounts.write_failures().await.unwrap();
    let rows = town.rows().await;
    assert_eq!((rows.len(), fact(&rows[250].after, "times")), (251, Some("19750")));

    // A day of it.
    for n in 0..24 * 60 {
        for m in 0..50 {
            town.accounts.note_failure(attempt(50 * n + m, None));
        }
        town.clock.advance(Duration::from_secs(60));
        town.accounts.write_failures().await.unwrap();
    }
    let rows = town.rows().await;
    let times = rows.iter().map(|row| fact(&row.after, "times").unwrap().parse::<u64>().unwrap());
    assert!(rows.len() < 251 + 4_320 + 10, "{}", rows.len());
    assert!(times.sum::<u64>() > 20_000 + 24 * 60 * 50 - 1_000);
}

#[tokio::test]
async fn a_flood_of_attempts_on_nobody_hides_none_on_an_account() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    for n in 0..20_000 {
        town.accounts.note_failure(attempt(n, None));
    }
    assert!(town.log_in_from(here(), "hanako", "wrong", None).await.is_err());
    town.accounts.write_failures().await.unwrap();
    let rows = town.rows().await;
    let told: Vec<_> =
        rows.iter().filter(|row| row.what == "session.sign_in_failed" && row.whom == user).collect();
    assert_eq!((told.len(), told[0].from.as_deref()), (1, Some("192.0.2.1")));
}

#[tokio::test]
async fn attempts_from_everywhere_on_many_accounts_are_told_by_account_then_by_address() {
    let town = open_town().await;
    let user = |n: u32| Some(OwnedUserId::try_from(format!("@u{n}:kanazawa.test")).unwrap());
    // As many as there are rows for, then as many accounts as there are rows for.
    for n in 0..250 {
        town.accounts.note_failure(attempt(n, user(0)));
    }
    for n in 1..=250 {
        town.accounts.note_failure(attempt(1_000 + n, user(n)));
        town.accounts.note_failure(attempt(2_000 + n, user(n)));
    }
    for n in 0..300 {
        town.accounts.note_failure(attempt(9_000, user(1_000 + n)));
    }
    town.accounts.note_failure(attempt(9_001, user(2_000)));
    town.accounts.write_failures().await.unwrap();
    let rows = town.rows().await;
    let told = |whom: &str, from: Option<&str>| {
        let row = rows.iter().find(|row| row.whom == whom && row.from.as_deref() == from);
        row.and_then(|row| fact(&row.after, "times")).map(ToOwned::to_owned)
    };
    assert_eq!(rows.len(), 250 + 250 + 2);
    assert_eq!(told("@u0:kanazawa.test", Some("0.0.0.7")).as_deref(), Some("1"));
    assert_eq!(told("@u7:kanazawa.test", None).as_deref(), Some("2"));
    assert_eq!(told("", Some("0.0.35.40")).as_deref(), Some("300"));
    assert_eq!(told("", Some("0.0.35.41")).as_deref(), Some("1"));
}

#[tokio::test]
async fn who_is_turned_away_because_many_others_wait_has_tried_nothing() {
    let cost = PasswordCost { concurrent: 1, waiting: 0, ..PasswordCost::cheapest() };
    let town = town_at(Settings { registration: Registration::Open, ..Settings::default() }, cost).await;
    let _turn = town.accounts.inner.passwords.turns().wait(0).await.unwrap();
    let refused = town.log_in_from(here(), "hanako", PASSWORD, None).await;
    assert!(matches!(refused, Err(Error::Limited { .. })), "{refused:?}");
    town.accounts.write_failures().await.unwrap();
    assert_eq!(town.rows().await.len(), 0);
}

#[test]
fn devices_that_a_row_has_no_room_for_are_counted() {
    let of = |count: usize| {
        let devices = (0..count).map(|n| format!("DEVICE{n:04}")).collect();
        crate::sessions::Ended { devices, ..Default::default() }.names()
    };
    assert_eq!(of(2), "DEVICE0000 DEVICE0001");
    let many = of(12_345);
    assert!(many.len() <= 256 && many.starts_with("DEVICE0000 DEVICE0001 "), "{many}");
    assert!(many.ends_with(" DEVICE0019 … (12345)"), "{many}");
}

#[tokio::test]
async fn attempts_that_could_not_be_written_are_written_later() {
    let town = open_town().await;
    town.log_in("nobody", "wrong", None).await.unwrap_err();
    town.disk.fail_next();
    town.accounts.write_failures().await.unwrap_err();
    town.log_in("nobody", "wrong", None).await.unwrap_err();
    town.accounts.write_failures().await.unwrap();
    let rows = town.rows().await;
    assert_eq!((rows.len(), fact(&rows[0].after, "times")), (1, Some("2")));
}
