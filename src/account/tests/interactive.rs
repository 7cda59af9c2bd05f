//! User-interactive authentication: one rule for all that need it.

use super::*;
use crate::tables;

pub(super) async fn begin_to_register(town: &Town, request: Value) -> String {
    session_of(town.accounts.register(kanazawa(), asked(request, None)).await)
}

/// Shows the stage of open registration in a session.
fn dummy_in(session: &str, request: Value) -> Asked {
    Asked { auth: Some(dummy()), ..asked_in(session, request) }
}

#[tokio::test]
async fn a_session_remembers_what_its_first_request_wished() {
    let town = open_town().await;
    let wish = json!({
        "username": "hanako", "password": PASSWORD, "device_id": "PHONE",
        "initial_device_display_name": "花子の電話",
    });
    let session = begin_to_register(&town, wish).await;

    let registered = town.accounts.register(kanazawa(), dummy_in(&session, json!({}))).await.unwrap();

    assert_eq!(registered.user_id, "@hanako:kanazawa.test");
    assert_eq!(registered.session.unwrap().0, "PHONE");
    let device = town.accounts.device(&registered.user_id, "PHONE".into()).await.unwrap();
    assert_eq!(device.display_name.as_deref(), Some("花子の電話"));
    town.log_in("hanako", PASSWORD, None).await.unwrap();

    let quiet = begin_to_register(&town, json!({ "username": "taro", "inhibit_login": true })).await;
    let taro = town.accounts.register(kanazawa(), dummy_in(&quiet, json!({}))).await.unwrap();
    assert!(taro.session.is_none());
    assert!(town.accounts.devices(&taro.user_id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_retry_in_the_same_session_gets_the_same_account() {
    let town = open_town().await;
    for wish in [json!({}), json!({ "username": "hanako" })] {
        let session = begin_to_register(&town, wish.clone()).await;
        let register = || town.accounts.register(kanazawa(), dummy_in(&session, wish.clone()));
        let (one, two) = tokio::join!(register(), register());
        let (one, two, three) = (one.unwrap(), two.unwrap(), register().await.unwrap());
        assert_eq!([&one.user_id, &two.user_id], [&three.user_id; 2]);
        let (device, tokens) = three.session.unwrap();
        assert_eq!(one.session.unwrap().0, device);
        assert_eq!(town.session(&tokens).await.unwrap().device_id, device);
        assert_eq!(town.accounts.devices(&three.user_id).await.unwrap().len(), 1);

        town.accounts.set_password(&three.user_id, "another word", &operator()).await.unwrap();
        assert!(matches!(register().await, Err(Error::Forbidden(_))));
    }
    let users = town.store.scan(&tables::USERS, store::Range::all(), store::Order::Ascending, 10).await;
    assert_eq!(users.unwrap().len(), 2);
}

/// Registers in a session that was begun with `first`, finishing it with `last`.
async fn registered_by(town: &Town, first: &Value, last: &Value) -> (String, crate::Registered) {
    let session = begin_to_register(town, first.clone()).await;
    let finish = dummy_in(&session, last.clone());
    let registered = town.accounts.register(kanazawa(), finish).await.unwrap();
    (session, registered)
}

#[tokio::test]
async fn a_registration_is_repeated_by_the_very_same_request_only() {
    let town = open_town().await;
    let wish = json!({ "username": "hanako", "password": PASSWORD });
    for (first, last) in [(wish.clone(), wish.clone()), (json!({}), wish.clone()), (wish.clone(), json!({}))]
    {
        let (session, registered) = registered_by(&town, &first, &last).await;
        let ask = |asked| town.accounts.register(kanazawa(), asked);
        let others = [
            asked_in(&session, json!({})),
            asked_in(&session, last.clone()),
            dummy_in(&session, json!({ "username": "hanako", "password": "a guess of it" })),
            dummy_in(&session, if last == wish { json!({}) } else { wish.clone() }),
        ];
        for other in others {
            let answer = ask(other).await;
            assert!(matches!(answer, Err(Error::Forbidden(_))), "{first} {last}: {answer:?}");
        }
        let again = ask(dummy_in(&session, last)).await.unwrap();
        assert_eq!(again.user_id, registered.user_id);
        town.accounts.close_account(&registered.user_id, &operator()).await.unwrap();
        let row = town.accounts.find_user(&registered.user_id).await.unwrap().unwrap();
        assert!(row.deactivated);
        let mut batch = store::Batch::new();
        batch.delete(&tables::USERS, registered.user_id.as_str());
        town.store.commit(batch).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_has_made_an_account_is_no_key_to_it() {
    let wish = json!({ "username": "hanako", "password": PASSWORD, "device_id": "KIOSK" });
    for end in
        ["time", "use", "log-out", "log-out and in", "everywhere", "device", "password", "closed", "nothing"]
    {
        let town = open_town().await;
        let accounts = &town.accounts;
        let (session, registered) = registered_by(&town, &wish, &wish).await;
        let (user, (device, tokens)) = (&registered.user_id, registered.session.unwrap());
        town.clock.advance(Duration::from_secs(1));
        match end {
            "time" => town.clock.advance(Duration::from_secs(300)),
            "use" => drop(town.session(&tokens).await.unwrap()),
            "log-out" => accounts.log_out(user, &device, &itself(user)).await.unwrap(),
            "log-out and in" => {
                accounts.log_out(user, &device, &itself(user)).await.unwrap();
                town.log_in("hanako", PASSWORD, Some("KIOSK")).await.unwrap();
            }
            "everywhere" => accounts.log_out_everywhere(user, &itself(user)).await.unwrap(),
            "device" => {
                let proof = asked(json!({}), Some(password(user, PASSWORD)));
                accounts.remove_device(user, "OTHER".into(), &device, proof).await.unwrap();
            }
            "password" => accounts.set_password(user, "another word", &operator()).await.unwrap(),
            "closed" => accounts.close_account(user, &operator()).await.unwrap(),
            _ => {}
        }
        let before = accounts.devices(user).await.unwrap().len();
        let again = accounts.register(kanazawa(), dummy_in(&session, wish.clone())).await;
        match end {
            "nothing" => assert_eq!(again.unwrap().user_id, *user),
            _ => assert!(matches!(again, Err(Error::Forbidden(_))), "{end}: {again:?}"),
        }
        assert_eq!(accounts.devices(user).await.unwrap().len(), before, "{end}");
    }
}

#[tokio::test]
async fn a_session_is_finished_for_nothing_but_what_it_was_begun_for() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let own = town.session(&tokens).await.unwrap().device_id;
    let (accounts, own) = (&town.accounts, &*own);
    let proof = |session: &str, request| Asked {
        auth: Some(password(&user, PASSWORD)),
        ..asked_in(session, request)
    };
    town.log_in("hanako", PASSWORD, Some("PHONE")).await.unwrap();
    town.log_in("hanako", PASSWORD, Some("DESKTOP")).await.unwrap();

    let phone = session_of(accounts.remove_device(&user, own, "PHONE".into(), Asked::default()).await);
    let other = accounts.remove_device(&user, own, "DESKTOP".into(), proof(&phone, json!({}))).await;
    assert!(matches!(other, Err(Error::Forbidden(_))));
    let other = accounts.deactivate(&user, own, proof(&phone, json!({}))).await;
    assert!(matches!(other, Err(Error::Forbidden(_))));
    let other =
        accounts.change_password(&user, own, proof(&phone, json!({ "new_password": "another word" })));
    assert!(matches!(other.await, Err(Error::Forbidden(_))));
    assert_eq!(accounts.devices(&user).await.unwrap().len(), 3);

    let many = asked(json!({ "devices": ["PHONE"] }), None);
    let many = session_of(accounts.remove_devices(&user, own, many).await);
    let mixed = accounts.remove_devices(&user, own, proof(&many, json!({ "devices": ["DESKTOP"] }))).await;
    assert!(matches!(mixed, Err(Error::Forbidden(_))));
    accounts.remove_devices(&user, own, proof(&many, json!({}))).await.unwrap();
    accounts.device(&user, "DESKTOP".into()).await.unwrap();
    assert!(accounts.device(&user, "PHONE".into()).await.is_err());

    // Nor by somebody else, nor where somebody registers.
    let (taro, _) = town.register("taro", false).await;
    let theirs = Asked { auth: Some(password(&taro, PASSWORD)), ..asked_in(&phone, json!({})) };
    assert!(matches!(
        accounts.remove_device(&taro, "X".into(), "PHONE".into(), theirs).await,
        Err(Error::Interactive(_))
    ));
    let register = accounts.register(kanazawa(), dummy_in(&phone, json!({}))).await;
    assert!(matches!(register, Err(Error::Interactive(_))));
}

#[tokio::test]
async fn parameters_that_differ_from_the_sessions_are_refused_and_the_first_ones_bind_it() {
    let town = open_town().await;
    let bound = begin_to_register(&town, json!({ "username": "hanako" })).await;
    let other = town.accounts.register(kanazawa(), dummy_in(&bound, json!({ "username": "taro" }))).await;
    assert!(matches!(other, Err(Error::Forbidden(_))));

    // Clients look first what they will have to show, and say what they want after it.
    let looked = begin_to_register(&town, json!({})).await;
    let again = asked_in(&looked, json!({ "username": "jiro" }));
    assert_eq!(session_of(town.accounts.register(kanazawa(), again).await), looked);
    let other = town.accounts.register(kanazawa(), dummy_in(&looked, json!({ "username": "taro" }))).await;
    assert!(matches!(other, Err(Error::Forbidden(_))));
    let jiro = town.accounts.register(kanazawa(), dummy_in(&looked, json!({}))).await.unwrap();
    assert_eq!(jiro.user_id, "@jiro:kanazawa.test");
}

#[tokio::test]
async fn a_session_that_is_over_or_never_was_makes_no_account_of_a_made_up_name() {
    let town = open_town().await;
    let session = begin_to_register(&town, json!({ "username": "hanako" })).await;
    town.clock.advance(Duration::from_secs(3_600));
    for lost in [session.as_str(), "never-was", "", &"x".repeat(10_000)] {
        let answer = town.accounts.register(kanazawa(), dummy_in(lost, json!({}))).await;
        let Err(Error::Interactive(info)) = answer else { panic!("{answer:?}") };
        assert!(info.auth_error.is_some() && info.session.as_deref() != Some(lost));
    }
}

#[tokio::test]
async fn what_a_session_keeps_tells_a_thief_of_the_store_nothing_and_is_bounded() {
    let town = open_town().await;
    let wish = json!({ "username": "hanako", "password": PASSWORD });
    let id = begin_to_register(&town, wish).await;
    let all = || town.store.scan(&tables::INTERACTIVE, store::Range::all(), store::Order::Ascending, 100);
    let rows = all().await.unwrap();
    let text = format!("{rows:?}");
    let bytes = rows[0].1.request.as_slice();
    assert!(!text.contains(&id) && !bytes.windows(6).any(|part| part == b"hanako"));
    let large = json!({ "username": "a", "initial_device_display_name": "x".repeat(3_000) });
    let large = town.accounts.register(kanazawa(), asked(large, None)).await;
    assert!(matches!(large, Err(Error::TooLarge(_))));

    let (user, _) = town.register("taro", false).await;
    for n in 0..40_u64 {
        let device = format!("D{n}");
        let begun =
            town.accounts.remove_device(&user, "OWN".into(), device.as_str().into(), Asked::default());
        session_of(begun.await);
    }
    assert_eq!(all().await.unwrap().len(), 1 + 16);
}

#[tokio::test]
async fn of_a_request_only_what_its_operation_knows_is_kept_and_compared() {
    let town = open_town().await;
    let padded = |padding: &str| json!({ "username": "hanako", "org.example": padding.repeat(15_000) });
    let session = begin_to_register(&town, padded("x")).await;
    let all = town.store.scan(&tables::INTERACTIVE, store::Range::all(), store::Order::Ascending, 9);
    assert!(all.await.unwrap()[0].1.request.len() < 100);
    let finish = dummy_in(&session, padded("y"));
    let registered = town.accounts.register(kanazawa(), finish).await.unwrap();
    assert_eq!(registered.user_id, "@hanako:kanazawa.test");
}

#[tokio::test]
async fn many_large_sessions_are_tidied_without_being_in_memory_at_once() {
    let town = open_town().await;
    // As many as it takes until those that have run out are looked for; half of them are 2 MiB.
    for number in 0..16 {
        let (user, _) = town.register(&format!("u{number}"), false).await;
        let device = "x".repeat(if number < 8 { 16_000 } else { 1 });
        for _ in 0..16 {
            let asked = asked(json!({ "devices": [device] }), None);
            session_of(town.accounts.remove_devices(&user, "OWN".into(), asked).await);
        }
    }
    town.clock.advance(Duration::from_secs(3_600));

    begin_to_register(&town, json!({ "username": "hanako" })).await;

    assert!(town.disk.take_largest_scan() < 1 << 20);
    let all = town.store.scan(&tables::INTERACTIVE, store::Range::all(), store::Order::Ascending, 9_999);
    assert_eq!(all.await.unwrap().len(), 1);
}

#[tokio::test]
async fn erasing_takes_what_clients_kept_and_closing_leaves_it() {
    let town = open_town().await;
    for (name, erase) in [("hanako", true), ("taro", false)] {
        let (user, tokens) = town.register(name, false).await;
        let own = town.session(&tokens).await.unwrap().device_id;
        let accounts = &town.accounts;
        accounts.set_account_data(&user, "test.note", Bytes::from_static(br#"{"a":1}"#)).await.unwrap();
        let in_room = room_id!("!a:kanazawa.test");
        accounts
            .set_room_account_data(&user, in_room, "test.note", Bytes::from_static(br#"{"a":1}"#))
            .await
            .unwrap();

        // Said when it was begun, and not repeated.
        let begun = accounts.deactivate(&user, &own, asked(json!({ "erase": erase }), None)).await;
        let session = session_of(begun);
        let proof = Asked { auth: Some(password(&user, PASSWORD)), ..asked_in(&session, json!({})) };
        accounts.deactivate(&user, &own, proof).await.unwrap();

        assert!(matches!(accounts.profile(&user).await, Err(Error::NotFound(_))));
        assert_eq!(accounts.account_data(&user, "test.note").await.is_err(), erase);
        assert_eq!(accounts.room_account_data(&user, in_room, "test.note").await.is_err(), erase);
        let kept = accounts.account_data_since(&user, Position::START).await.unwrap();
        assert_eq!(kept.is_empty(), erase);
    }
}

/// C63.
#[tokio::test]
async fn a_session_goes_on_after_a_restart_between_two_steps() {
    let terms = crate::Terms { id: "terms".to_owned(), version: "1".to_owned(), texts: Vec::new() };
    let settings = Settings {
        registration: Registration::Token,
        registration_tokens: vec!["sakura".to_owned()],
        terms: vec![terms],
        ..Settings::default()
    };
    let town = town(settings.clone()).await;
    let session = begin_to_register(&town, json!({ "username": "hanako", "password": PASSWORD })).await;
    let token = ruma::api::client::uiaa::RegistrationToken::new("sakura".to_owned());
    let first = Asked { auth: Some(AuthData::RegistrationToken(token)), ..asked_in(&session, json!({})) };
    let Err(Error::Interactive(told)) = town.accounts.register(kanazawa(), first).await else { panic!() };
    assert_eq!(
        (told.completed.as_slice(), told.auth_error.is_none()),
        (&[AuthType::RegistrationToken][..], true)
    );

    let restarted = town.restarted(settings).await;

    let accept = AuthData::Terms(ruma::api::client::uiaa::Terms::new());
    let last = Asked { auth: Some(accept), ..asked_in(&session, json!({})) };
    let registered = restarted.register(kanazawa(), last).await.unwrap();
    assert_eq!(registered.user_id, "@hanako:kanazawa.test");
}

#[tokio::test]
async fn what_a_session_has_shown_counts_as_long_as_it_holds() {
    let terms = crate::Terms { id: "terms".to_owned(), version: "1".to_owned(), texts: Vec::new() };
    let settings = Settings { registration: Registration::Token, terms: vec![terms], ..Settings::default() };
    let town = town(settings).await;
    let once =
        RegistrationToken { token: "sakura".to_owned(), uses_allowed: Some(1), used: 0, expires: None };
    town.accounts.put_registration_token(kanazawa(), once, &operator()).await.unwrap();
    let token =
        || AuthData::RegistrationToken(ruma::api::client::uiaa::RegistrationToken::new("sakura".to_owned()));
    let accept = || AuthData::Terms(ruma::api::client::uiaa::Terms::new());
    let mut sessions = Vec::new();
    for name in ["hanako", "taro"] {
        let session = begin_to_register(&town, json!({ "username": name })).await;
        let first = Asked { auth: Some(token()), ..asked_in(&session, json!({})) };
        session_of(town.accounts.register(kanazawa(), first).await);
        sessions.push(session);
    }
    let finish = |session: &str| {
        let last = Asked { auth: Some(accept()), ..asked_in(session, json!({})) };
        let accounts = town.accounts.clone();
        async move { accounts.register(kanazawa(), last).await }
    };
    let (one, two) = tokio::join!(finish(&sessions[0]), finish(&sessions[1]));
    // The token makes one account, whoever of the two is faster.
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "{one:?} {two:?}");
    let Err(Error::Interactive(told)) = (if one.is_ok() { two } else { one }) else { panic!() };
    assert_eq!(told.completed, [AuthType::Terms]);
}
