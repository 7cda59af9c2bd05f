//! Logging in, sessions, devices, passwords.

use super::*;

#[tokio::test]
async fn log_in_takes_localparts_and_full_ids_in_any_case() {
    let town = open_town().await;
    town.register("hanako", false).await;
    for name in ["hanako", "@hanako:kanazawa.test", "@HANAKO:kanazawa.test"] {
        let tokens = town.log_in(name, PASSWORD, None).await.unwrap();
        assert_eq!(town.session(&tokens).await.unwrap().user_id, "@hanako:kanazawa.test");
    }
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_get_the_same_answer() {
    let town = open_town().await;
    town.register("hanako", false).await;
    for (name, word) in [("hanako", "wrong"), ("nobody", PASSWORD), ("@hanako:wajima.test", PASSWORD)] {
        let answer = town.log_in(name, word, None).await;
        assert!(matches!(answer, Err(Error::WrongCredentials)), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn guessing_passwords_at_one_address_ends_after_ten_wrong_ones() {
    let (town, here) = (open_town().await, at("192.0.2.1"));
    town.register("hanako", false).await;
    for _ in 0..10 {
        let wrong = town.log_in_from(here, "hanako", "wrong", None).await;
        assert!(matches!(wrong, Err(Error::WrongCredentials)));
    }
    let refused = town.log_in_from(here, "hanako", PASSWORD, None).await;
    assert!(matches!(refused, Err(Error::Limited { .. })));
    town.clock.advance(Duration::from_secs(10));
    town.log_in_from(here, "hanako", PASSWORD, None).await.unwrap();
}

#[tokio::test]
async fn where_no_address_is_known_ten_wrong_guesses_of_somebody_lock_the_owner_out_of_nothing() {
    let town = open_town().await;
    town.register("hanako", false).await;
    for _ in 0..99 {
        assert!(matches!(town.log_in("hanako", "wrong", None).await, Err(Error::WrongCredentials)));
    }
    town.log_in("hanako", PASSWORD, None).await.unwrap();
    // Guessing has an end there as well.
    assert!(matches!(town.log_in("hanako", "wrong", None).await, Err(Error::WrongCredentials)));
    assert!(matches!(town.log_in("hanako", PASSWORD, None).await, Err(Error::Limited { .. })));
}

#[tokio::test]
async fn logging_in_to_a_device_again_ends_its_old_session_and_keeps_its_name() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let first = town.log_in("hanako", PASSWORD, Some("PHONE")).await.unwrap();
    town.accounts.rename_device(&user, "PHONE".into(), Some("電話".to_owned())).await.unwrap();
    town.session(&first).await.unwrap();

    let second = town.log_in("hanako", PASSWORD, Some("PHONE")).await.unwrap();

    assert!(is_unknown(town.session(&first).await));
    town.session(&second).await.unwrap();
    let device = town.accounts.device(&user, "PHONE".into()).await.unwrap();
    assert_eq!(device.display_name.as_deref(), Some("電話"));
}

#[tokio::test]
async fn a_token_of_one_authority_is_unknown_at_another() {
    let town = open_town().await;
    let (_, tokens) = town.register("hanako", false).await;
    town.session(&tokens).await.unwrap();
    let elsewhere = town.accounts.authenticate(server_name!("wajima.test"), &tokens.access).await;
    assert!(is_unknown(elsewhere));
}

#[tokio::test]
async fn the_second_look_at_a_token_reads_nothing() {
    let town = open_town().await;
    let (_, tokens) = town.register("hanako", false).await;
    town.session(&tokens).await.unwrap();
    let misses = town.accounts.session_misses();
    for _ in 0..10 {
        town.session(&tokens).await.unwrap();
    }
    assert_eq!(town.accounts.session_misses(), misses);
}

#[tokio::test]
async fn logging_out_ends_the_session_and_removes_the_device() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let other = town.log_in("hanako", PASSWORD, None).await.unwrap();
    let session = town.session(&tokens).await.unwrap();

    town.accounts.log_out(&session.user_id, &session.device_id, &itself(&session.user_id)).await.unwrap();

    assert!(is_unknown(town.session(&tokens).await));
    assert_eq!(town.accounts.devices(&user).await.unwrap().len(), 1);
    let session = town.session(&other).await.unwrap();
    town.accounts.log_out_everywhere(&session.user_id, &itself(&session.user_id)).await.unwrap();
    assert!(is_unknown(town.session(&other).await));
    assert!(town.accounts.devices(&user).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_expired_token_is_a_soft_log_out_and_can_be_refreshed() {
    let town = open_town().await;
    let (_, old) = town.register("hanako", true).await;
    town.session(&old).await.unwrap();
    town.clock.advance(old.expires_in.unwrap() + Duration::from_secs(1));
    assert!(matches!(town.session(&old).await, Err(Error::UnknownToken { soft_logout: true })));

    let new = town.accounts.refresh(kanazawa(), old.refresh.as_ref().unwrap()).await.unwrap();
    town.session(&new).await.unwrap();
    assert!(is_unknown(town.session(&old).await));
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_was_promised_however_the_calendar_is_set() {
    let town = open_town().await;
    let (_, tokens) = town.register("hanako", true).await;
    let lifetime = tokens.expires_in.unwrap();
    town.session(&tokens).await.unwrap();
    town.clock.set_forward(Duration::from_secs(365 * 24 * 3_600));
    town.session(&tokens).await.unwrap();
    town.clock.set_back(Duration::from_secs(366 * 24 * 3_600));
    town.session(&tokens).await.unwrap();
    town.clock.advance(lifetime);
    assert!(matches!(town.session(&tokens).await, Err(Error::UnknownToken { soft_logout: true })));
}

#[tokio::test]
async fn an_old_refresh_token_is_good_until_the_new_pair_is_used() {
    let town = open_town().await;
    let (_, first) = town.register("hanako", true).await;
    let refresh = |tokens: &SessionTokens| {
        let token = tokens.refresh.clone().unwrap();
        let accounts = town.accounts.clone();
        async move { accounts.refresh(kanazawa(), &token).await }
    };

    let lost = refresh(&first).await.unwrap();
    town.session(&first).await.unwrap();
    let second = refresh(&first).await.unwrap();
    assert_eq!((&lost.access, &lost.refresh), (&second.access, &second.refresh));
    town.session(&second).await.unwrap();

    assert!(is_unknown(town.session(&first).await));

    // Using the new refresh token counts as using the pair.
    let third = refresh(&second).await.unwrap();
    let fourth = refresh(&third).await.unwrap();
    assert!(is_unknown(town.session(&second).await));
    town.session(&fourth).await.unwrap();

    // Another program of the same client comes late with the first one: it has to log in to its device again, and the
    // session goes on where the newer pair is.
    for old in [&first, &second] {
        assert!(is_passing(refresh(old).await));
    }
    town.session(&fourth).await.unwrap();
    let fifth = refresh(&fourth).await.unwrap();
    town.session(&fifth).await.unwrap();
    // The device is gone, and nothing may be kept for it.
    let session = town.session(&fifth).await.unwrap();
    town.accounts.log_out(&session.user_id, &session.device_id, &itself(&session.user_id)).await.unwrap();
    assert!(is_unknown(refresh(&first).await));
    assert!(is_unknown(refresh(&fifth).await));
}

#[tokio::test]
async fn what_only_looks_like_a_refresh_token_tells_nothing_of_the_session() {
    let town = open_town().await;
    let (_, first) = town.register("hanako", true).await;
    let refresh = async |token: &str| town.accounts.refresh(kanazawa(), token).await;
    let old = first.refresh.clone().unwrap();
    let second = refresh(&old).await.unwrap();
    town.session(&second).await.unwrap();
    let (name, word) = old.rsplit_once('_').unwrap();
    let other = |at: usize| {
        let mut letters: Vec<char> = word.chars().collect();
        letters[at] = if letters[at] == 'a' { 'b' } else { 'a' };
        format!("{name}_{}", letters.into_iter().collect::<String>())
    };
    let wrong = [
        format!("{name}_anything"),
        format!("{name}_"),
        format!("{name}_{}", "x".repeat(56)),
        word[..40].to_owned(),
    ];
    for wrong in
        wrong.into_iter().chain([format!("{name}_{}", &word[..40]), other(0), other(55), format!("{old}x")])
    {
        assert!(is_unknown(refresh(&wrong).await), "{wrong}");
        town.session(&second).await.unwrap();
    }
    // One that was given out once is known, and after a restart as well.
    let restarted = town.restarted(Settings::default()).await;
    assert!(is_passing(restarted.refresh(kanazawa(), &old).await));
    town.session(&second).await.unwrap();
}

#[tokio::test]
async fn a_session_that_a_service_began_has_no_power_that_its_user_gets_later() {
    let service = crate::AppService::new(crate::NewAppService {
        id: "staff".to_owned(),
        sender: "@_staff:kanazawa.test".try_into().unwrap(),
        as_token: "a token".to_owned(),
        users: vec![crate::Namespace::new("@hanako", false).unwrap()],
        aliases: Vec::new(),
        limits_users: false,
        told: Default::default(),
    });
    let town = open_town().await;
    let (user, own) = town.register("hanako", false).await;
    let begin = async |device: &str| {
        let session = crate::NewSession { device_id: Some(device.into()), ..Default::default() };
        town.accounts.log_in_for_service(&service, "hanako", session).await.unwrap().2
    };
    let (first, second) = (begin("SERVICE").await, begin("OTHER").await);
    let row = town.store.get(&crate::tables::USERS, user.as_str()).await.unwrap().unwrap();
    let mut batch = store::Batch::new();
    batch.put(&crate::tables::USERS, user.as_str(), &crate::tables::UserRow { admin: true, ..row });
    town.store.commit(batch).await.unwrap();
    let is_admin = async |tokens: &SessionTokens| {
        let accounts = town.restarted(Settings::default()).await;
        accounts.authenticate(kanazawa(), &tokens.access).await.unwrap().admin
    };
    assert!(is_admin(&own).await && !is_admin(&first).await && !is_admin(&second).await);
    // The user's own session on that device is his.
    let taken = town.log_in("hanako", PASSWORD, Some("OTHER")).await.unwrap();
    assert!(is_admin(&taken).await && !is_admin(&first).await);
}

#[tokio::test]
async fn two_refreshes_at_once_get_one_pair_that_works() {
    let town = open_town().await;
    let (_, first) = town.register("hanako", true).await;
    let token = first.refresh.clone().unwrap();
    let one = || town.accounts.refresh(kanazawa(), &token);
    let all = futures_util::future::join_all([one(), one(), one(), one()]).await;
    for told in all {
        let told = told.unwrap();
        town.session(&told).await.unwrap();
    }
}

#[tokio::test]
async fn who_asks_again_late_gets_an_access_token_that_lives_and_takes_nobodys_refresh_token() {
    let town = open_town().await;
    let (_, first) = town.register("hanako", true).await;
    let refresh = async |tokens: &SessionTokens| {
        town.accounts.refresh(kanazawa(), tokens.refresh.as_ref().unwrap()).await
    };
    let lifetime = first.expires_in.unwrap();
    let early = refresh(&first).await.unwrap();
    town.clock.advance(lifetime / 4);
    let again = refresh(&first).await.unwrap();
    assert_eq!((&again.access, again.expires_in), (&early.access, Some(lifetime * 3 / 4)));
    town.clock.advance(lifetime);
    let late = refresh(&first).await.unwrap();
    assert!(late.access != early.access && late.refresh == early.refresh);
    assert_eq!(late.expires_in, Some(lifetime));
    // Whoever was told first and slept until now goes on.
    assert!(is_unknown(town.session(&early).await));
    let next = refresh(&early).await.unwrap();
    town.session(&next).await.unwrap();
    assert!(is_unknown(town.session(&late).await));
}

#[tokio::test]
async fn changing_the_password_takes_the_old_one_and_ends_other_sessions() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let other = town.log_in("hanako", PASSWORD, None).await.unwrap();
    let session = town.session(&tokens).await.unwrap();
    town.session(&other).await.unwrap();
    let change = |word: &'static str, auth: Option<AuthData>| {
        let (accounts, session) = (town.accounts.clone(), session.clone());
        async move {
            let asked = asked(json!({ "new_password": word }), auth);
            accounts.change_password(&session.user_id, &session.device_id, asked).await
        }
    };

    assert!(matches!(change("another word", None).await, Err(Error::Interactive(_))));
    let wrong = change("another word", Some(password(&user, "wrong"))).await;
    assert!(matches!(wrong, Err(Error::Interactive(info)) if info.auth_error.is_some()));
    let weak = change("short", Some(password(&user, PASSWORD))).await;
    assert!(matches!(weak, Err(Error::WeakPassword(_))));
    change("another word", Some(password(&user, PASSWORD))).await.unwrap();

    town.session(&tokens).await.unwrap();
    assert!(is_unknown(town.session(&other).await));
    assert!(matches!(town.log_in("hanako", PASSWORD, None).await, Err(Error::WrongCredentials)));
    town.log_in("hanako", "another word", None).await.unwrap();
}

#[tokio::test]
async fn nobody_confirms_with_somebody_elses_password() {
    let town = open_town().await;
    let (_, tokens) = town.register("hanako", false).await;
    let (taro, _) = town.register("taro", false).await;
    let session = town.session(&tokens).await.unwrap();
    let device = session.device_id.clone();

    let auth = password(&taro, PASSWORD);
    let answer =
        town.accounts.remove_device(&session.user_id, &device, &device, asked(json!({}), Some(auth))).await;
    assert!(matches!(answer, Err(Error::Forbidden(_))));
    town.session(&tokens).await.unwrap();

    let auth = password(&session.user_id, PASSWORD);
    let own = asked(json!({}), Some(auth));
    town.accounts.remove_device(&session.user_id, &device, &device, own).await.unwrap();
    assert!(is_unknown(town.session(&tokens).await));
}

#[tokio::test]
async fn a_closed_account_lets_nobody_in_and_keeps_its_name() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let session = town.session(&tokens).await.unwrap();

    let auth = password(&user, PASSWORD);
    let auth = asked(json!({}), Some(auth));
    town.accounts.deactivate(&session.user_id, &session.device_id, auth).await.unwrap();

    assert!(is_unknown(town.session(&tokens).await));
    assert!(matches!(town.log_in("hanako", PASSWORD, None).await, Err(Error::Deactivated(_))));
    assert!(matches!(town.accounts.profile(&user).await, Err(Error::NotFound(_))));
    let again = town.accounts.check_available(kanazawa(), "hanako").await;
    assert!(matches!(again, Err(Error::UserInUse)));
}

#[tokio::test]
async fn devices_show_when_they_were_last_seen_before_and_after_it_is_written() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let session = town.session(&tokens).await.unwrap();
    let seen = || async { town.accounts.device(&user, &session.device_id).await.unwrap().last_seen.unwrap() };
    assert_eq!(seen().await.millis(), 1_700_000_000_000);
    town.accounts.write_last_seen().await.unwrap();
    assert_eq!(seen().await.millis(), 1_700_000_000_000);
}

#[tokio::test]
async fn devices_show_from_where_they_were_last_seen() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let use_from = async |ip: &str| {
        let token = &tokens.access;
        town.accounts.find_session(kanazawa(), token, at(ip)).await.unwrap().device_id
    };
    let device = use_from("192.0.2.7").await;
    let shown = async || town.accounts.device(&user, &device).await.unwrap().last_seen_ip;
    assert_eq!(shown().await.as_deref(), Some("192.0.2.7"));
    town.accounts.write_last_seen().await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("192.0.2.7"));
    // Within a minute it is noted once.
    use_from("2001:db8::1").await;
    assert_eq!(shown().await.as_deref(), Some("192.0.2.7"));
    town.clock.advance(Duration::from_secs(61));
    use_from("2001:db8::1").await;
    for _ in 0..2 {
        assert_eq!(shown().await.as_deref(), Some("2001:db8::/64"));
        town.accounts.write_last_seen().await.unwrap();
    }
    // What is not known is not what was.
    town.clock.advance(Duration::from_secs(61));
    town.accounts.find_session(kanazawa(), &tokens.access, None).await.unwrap();
    assert_eq!(shown().await, None);
}

#[tokio::test]
async fn an_openid_token_names_its_user_for_an_hour() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let token = town.accounts.request_openid_token(&user).await.unwrap();
    assert_eq!(town.accounts.openid_user(kanazawa(), &token.token).await.unwrap(), user);
    assert!(is_unknown(town.accounts.openid_user(server_name!("wajima.test"), &token.token).await));
    town.clock.advance(token.expires_in);
    assert!(is_unknown(town.accounts.openid_user(kanazawa(), &token.token).await));
}

fn at(ip: &str) -> Option<Address> {
    Some(Address::of(ip.parse().unwrap()))
}

#[tokio::test]
async fn ten_wrong_guesses_from_elsewhere_lock_the_owner_out_of_nothing() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let session = town.session(&tokens).await.unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        match town.log_in_from(at("192.0.2.66"), "hanako", "wrong", None).await {
            Err(Error::WrongCredentials) => {}
            Err(Error::Limited { limit, retry_after }) => {
                assert_eq!(limit, "wrong_passwords");
                assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(10));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 10);
    town.log_in_from(at("203.0.113.1"), "hanako", PASSWORD, None).await.unwrap();
    // Nor out of confirming what a session asks for.
    let auth = password(&user, PASSWORD);
    let (accounts, own) = (&town.accounts, &session.device_id);
    accounts.remove_device(&user, own, "NONE".into(), asked(json!({}), Some(auth))).await.unwrap();
}

#[tokio::test]
async fn a_stolen_session_guesses_a_few_times_and_the_owners_own_confirms_all_the_same() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let remove = |own: &'static str, word: &'static str| {
        let (accounts, user) = (town.accounts.clone(), user.clone());
        async move {
            let auth = password(&user, word);
            accounts.remove_device(&user, own.into(), "NONE".into(), asked(json!({}), Some(auth))).await
        }
    };
    for _ in 0..10 {
        assert!(matches!(remove("STOLEN", "wrong").await, Err(Error::Interactive(_))));
    }
    assert!(matches!(remove("STOLEN", PASSWORD).await, Err(Error::Limited { .. })));
    remove("PHONE", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn five_hundred_people_behind_one_address_log_in_within_a_minute() {
    let town = open_town().await;
    let office = at("203.0.113.1");
    for n in 0..500 {
        let new =
            NewUser { localpart: format!("u{n}"), password: Some(PASSWORD.to_owned()), ..NewUser::default() };
        town.accounts.create_user(kanazawa(), new, &operator()).await.unwrap();
    }
    // One in five gets it wrong at first; all at the same moment.
    let all = (0..500).map(|n| {
        let town = &town;
        async move {
            let name = format!("u{n}");
            if n % 5 == 0 {
                let wrong = town.log_in_from(office, &name, "wrong", None).await;
                assert!(matches!(wrong, Err(Error::WrongCredentials)), "{wrong:?}");
            }
            town.log_in_from(office, &name, PASSWORD, None).await.unwrap();
        }
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_log_in_waits_one_turn_behind_a_flood_from_another_address() {
    let town = open_town().await;
    town.register("hanako", false).await;
    let turn = town.accounts.inner.passwords.turns().wait(0).await.unwrap();
    let log_in = |from, name: &str| {
        let (accounts, request) = (town.accounts.clone(), log_in_request(from, name, PASSWORD, None));
        tokio::spawn(async move { accounts.log_in(kanazawa(), request).await })
    };
    for n in 0..20 {
        log_in(at("192.0.2.66"), &format!("u{n}"));
    }
    town.queued(20).await;
    let hanako = log_in(at("203.0.113.1"), "hanako");
    town.queued(21).await;
    let next = town.queue(21).await;

    drop(turn);

    // Whoever comes after her has his turn when one of the flood and she have had theirs.
    let _turn = next.await.unwrap();
    assert_eq!(town.accounts.inner.passwords.turns().waiting(), 19);
    hanako.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_password_set_by_an_administrator_ends_all_sessions() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", true).await;
    town.session(&tokens).await.unwrap();

    town.accounts.set_password(&user, "another word", &operator()).await.unwrap();

    assert!(is_unknown(town.session(&tokens).await));
    assert!(is_unknown(town.accounts.refresh(kanazawa(), tokens.refresh.as_ref().unwrap()).await));
    assert!(town.accounts.devices(&user).await.unwrap().is_empty());
    town.log_in("hanako", "another word", None).await.unwrap();
}
