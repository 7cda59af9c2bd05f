//! Registration.

use super::*;

#[tokio::test]
async fn dummy_authentication_in_the_first_request_registers_where_registration_is_open() {
    let town = open_town().await;
    let (user, tokens) = town.register("Hanako", false).await;

    assert_eq!(user, "@hanako:kanazawa.test");
    let session = town.session(&tokens).await.unwrap();
    assert_eq!(session.user_id, user);
    assert!(!session.admin);
    assert_eq!(session.device_id.as_str().len(), 10);
    assert_eq!(town.accounts.profile(&user).await.unwrap().display_name().as_deref(), Some("hanako"));
}

#[tokio::test]
async fn without_proof_registration_answers_with_the_flows_and_a_session() {
    let town = open_town().await;
    let request = asked(json!({ "username": "hanako" }), None);
    let answer = town.accounts.register(kanazawa(), request).await;

    let Err(Error::Interactive(info)) = answer else { panic!("{answer:?}") };
    assert_eq!(info.flows[0].stages, [AuthType::Dummy]);
    assert!(info.session.is_some() && info.params.is_some() && info.auth_error.is_none());
}

#[tokio::test]
async fn closed_registration_registers_nobody() {
    let town = town(Settings::default()).await;
    let answer = town.accounts.register(kanazawa(), asked(json!({}), Some(dummy()))).await;
    assert!(matches!(answer, Err(Error::RegistrationClosed)));
}

#[tokio::test]
async fn a_registration_token_makes_as_many_accounts_as_it_allows() {
    let town = town(Settings { registration: Registration::Token, ..Settings::default() }).await;
    let token =
        RegistrationToken { token: "sakura".to_owned(), uses_allowed: Some(1), used: 0, expires: None };
    town.accounts.put_registration_token(kanazawa(), token, &operator()).await.unwrap();
    let with = |word: &str| {
        AuthData::RegistrationToken(ruma::api::client::uiaa::RegistrationToken::new(word.to_owned()))
    };
    let register = |auth: AuthData| {
        let accounts = town.accounts.clone();
        async move { accounts.register(kanazawa(), asked(json!({}), Some(auth))).await }
    };

    let wrong = register(with("momiji")).await;
    let Err(Error::Interactive(info)) = wrong else { panic!("{wrong:?}") };
    assert_eq!(info.flows[0].stages, [AuthType::RegistrationToken]);
    assert!(info.auth_error.is_some());
    assert!(matches!(register(dummy()).await, Err(Error::Interactive(_))));

    assert!(town.accounts.registration_token_is_valid(kanazawa(), "sakura").await.unwrap());
    register(with("sakura")).await.unwrap();
    assert!(!town.accounts.registration_token_is_valid(kanazawa(), "sakura").await.unwrap());
    assert!(matches!(register(with("sakura")).await, Err(Error::Interactive(_))));
    assert_eq!(town.accounts.registration_tokens(kanazawa()).await.unwrap()[0].used, 1);
}

#[tokio::test]
async fn user_names_follow_the_grammar() {
    let town = open_town().await;
    let long = "a".repeat(250);
    for name in ["", "us,er", "user:x", "u ser", "gebäude", "user!", "user\n", "日本", &long] {
        let answer = town.accounts.check_available(kanazawa(), name).await;
        assert!(matches!(answer, Err(Error::InvalidUsername(_))), "{name:?}: {answer:?}");
    }
    for name in ["q3._=-/+", "A"] {
        town.accounts.check_available(kanazawa(), name).await.unwrap();
    }
}

#[tokio::test]
async fn a_name_is_given_once() {
    let town = open_town().await;
    town.register("hanako", false).await;
    let again = town.accounts.check_available(kanazawa(), "hanako").await;
    assert!(matches!(again, Err(Error::UserInUse)));

    // Two at the same moment: the store decides.
    let new = NewUser { localpart: "taro".to_owned(), ..NewUser::default() };
    let by = operator();
    let (one, two) = tokio::join!(
        town.accounts.create_user(kanazawa(), new.clone(), &by),
        town.accounts.create_user(kanazawa(), new, &by),
    );
    assert_eq!([&one, &two].iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!([one, two].iter().any(|answer| matches!(answer, Err(Error::UserInUse))));
}

#[tokio::test]
async fn the_shared_secret_registers_administrators() {
    let settings = Settings { shared_secret: Some("complement".to_owned()), ..Settings::default() };
    let town = town(settings).await;
    let nonce = town.accounts.shared_secret_nonce(kanazawa()).unwrap();
    let request = SharedSecretRegister {
        mac: sign("complement", &format!("{nonce}\0Adminuser\0sUp3rs3kr1t\0admin")),
        nonce,
        username: "Adminuser".to_owned(),
        displayname: None,
        password: "sUp3rs3kr1t".to_owned(),
        admin: true,
        user_type: None,
        from: None,
    };

    let user = town.accounts.register_with_shared_secret(kanazawa(), request.clone()).await.unwrap();

    assert_eq!(user, "@adminuser:kanazawa.test");
    assert!(town.accounts.find_user(&user).await.unwrap().unwrap().admin);
    let replay = town.accounts.register_with_shared_secret(kanazawa(), request.clone()).await;
    assert!(matches!(replay, Err(Error::InvalidParam(_))));
    let nonce = town.accounts.shared_secret_nonce(kanazawa()).unwrap();
    let forged = SharedSecretRegister { nonce, ..request };
    let forged = town.accounts.register_with_shared_secret(kanazawa(), forged).await;
    assert!(matches!(forged, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn without_a_secret_nobody_registers_by_it() {
    let town = open_town().await;
    assert!(town.accounts.shared_secret_nonce(kanazawa()).is_none());
}

fn sign(secret: &str, text: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn all_who_use_a_token_at_the_same_time_get_in_and_are_counted() {
    let town = town(Settings { registration: Registration::Token, ..Settings::default() }).await;
    let token =
        RegistrationToken { token: "sakura".to_owned(), uses_allowed: Some(40), used: 0, expires: None };
    town.accounts.put_registration_token(kanazawa(), token, &operator()).await.unwrap();
    let word = ruma::api::client::uiaa::RegistrationToken::new("sakura".to_owned());
    let auth = AuthData::RegistrationToken(word);
    let register = || town.accounts.register(kanazawa(), asked(json!({}), Some(auth.clone())));

    futures_util::future::try_join_all((0..40).map(|_| register())).await.unwrap();

    assert_eq!(town.accounts.registration_tokens(kanazawa()).await.unwrap()[0].used, 40);
    assert!(matches!(register().await, Err(Error::Interactive(_))));
}

/// A service that has these users for itself, or shares them.
fn service(id: &str, users: &str, is_exclusive: bool) -> std::sync::Arc<crate::AppService> {
    std::sync::Arc::new(crate::AppService::new(crate::NewAppService {
        id: id.to_owned(),
        sender: format!("@_{id}:kanazawa.test").try_into().unwrap(),
        as_token: format!("token of {id}"),
        users: vec![crate::Namespace::new(users, is_exclusive).unwrap()],
        aliases: Vec::new(),
        limits_users: false,
        told: Default::default(),
    }))
}

#[tokio::test]
async fn whom_a_service_registered_before_that_was_noted_the_audit_log_tells_once() {
    let town = open_town().await;
    let (irc, sms) = (service("irc", "@staff_.*", false), service("sms", "@staff_.*", false));
    let accounts = &town.accounts;
    let ghost = json!({ "username": "staff_ghost", "inhibit_login": true });
    let ghost = accounts.register_for_service(&sms, asked(ghost, None)).await.unwrap().user_id;
    let person = town.register("staff_hanako", false).await.0;
    let noted = async || {
        let both = [ghost.clone(), person.clone()].into();
        accounts.registered_by_others(&irc, both).await.unwrap().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(noted().await, std::slice::from_ref(&ghost));

    // As the data of a release are that did not note it.
    let forget = async || {
        let mut batch = store::Batch::new();
        batch.delete(&crate::tables::SERVICE_USERS, ghost.as_str());
        town.store.commit(batch).await.unwrap();
        assert!(noted().await.is_empty());
    };
    forget().await;
    accounts.find_service_users(kanazawa(), &[]).await.unwrap();
    assert!(noted().await.is_empty(), "nobody asks yet");
    let services = [irc.clone(), sms.clone()];
    accounts.find_service_users(kanazawa(), &services).await.unwrap();
    assert_eq!(noted().await, std::slice::from_ref(&ghost));
    // By the service that did it: to that he is none of another's.
    let own = accounts.registered_by_others(&sms, [ghost.clone()].into()).await.unwrap();
    assert!(own.is_empty(), "{own:?}");
    forget().await;
    accounts.find_service_users(kanazawa(), &services).await.unwrap();
    assert!(noted().await.is_empty(), "the log is read once");
}

#[tokio::test]
async fn a_service_is_told_that_capitals_make_no_new_name() {
    let service = service("irc", "@my_.*", true);
    let town = open_town().await;
    let register = async |name: &str| {
        let wish = json!({ "username": name, "inhibit_login": true });
        town.accounts.register_for_service(&service, asked(wish, None)).await
    };
    let refused = register("my_Upper").await;
    let Err(Error::InvalidUsername(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("capitals"), "{why}");
    // Nobody was made of it in silence.
    assert_eq!(register("my_upper").await.unwrap().user_id, "@my_upper:kanazawa.test");
}
