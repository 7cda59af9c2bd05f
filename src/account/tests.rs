//! Tests of accounts over the store in memory.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use base::{Clock, ManualClock, Metrics, Random, Tasks};
use bytes::Bytes;
use pdu::{Authorities, Authority};
use room::{AllowAll, CreateRoom, NoRemote, Rooms};
use ruma::{
    OwnedUserId, RoomId, ServerName, UserId,
    api::client::uiaa::{AuthData, AuthType, Dummy, MatrixUserIdentifier, Password, UserIdentifier},
    room_id, server_name,
};
use store::{MemoryBackend, Position, Store};

use crate::{
    Accounts, Config, Credentials, Error, LogIn, NewUser, PasswordCost, Register, Registration,
    RegistrationToken, Session, SessionTokens, Settings, SharedSecretRegister,
};

const PASSWORD: &str = "correct horse";

struct Town {
    accounts: Accounts,
    rooms: Rooms,
    store: Store,
    clock: ManualClock,
    _tasks: Tasks,
}

async fn town(settings: Settings) -> Town {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let (clock, manual) = Clock::manual(1_700_000_000_000);
    let random = Random::seeded(7);
    let store =
        Store::open(Arc::new(MemoryBackend::default()), Default::default(), &tasks, &metrics).await.unwrap();
    let rooms = rooms(&store, &clock, &random, &tasks, &metrics).await;
    let config = Config { password: PasswordCost::cheapest(), settings, ..Config::default() };
    let accounts =
        Accounts::open(store.clone(), rooms.clone(), config, clock, random, &tasks, &metrics).await.unwrap();
    Town { accounts, rooms, store, clock: manual, _tasks: tasks }
}

async fn open_town() -> Town {
    town(Settings { registration: Registration::Open, ..Settings::default() }).await
}

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

fn dummy() -> AuthData {
    AuthData::Dummy(Dummy::new())
}

fn password(user: &UserId, password: &str) -> AuthData {
    let identifier = UserIdentifier::Matrix(MatrixUserIdentifier::new(user.to_string()));
    AuthData::Password(Password::new(identifier, password.to_owned()))
}

impl Town {
    async fn register(&self, name: &str, refresh: bool) -> (OwnedUserId, SessionTokens) {
        let request = Register {
            username: Some(name.to_owned()),
            password: Some(PASSWORD.to_owned()),
            refresh,
            ..Register::default()
        };
        let registered = self.accounts.register(kanazawa(), request, Some(&dummy())).await.unwrap();
        (registered.user_id, registered.session.unwrap().1)
    }

    async fn log_in(&self, name: &str, word: &str, device: Option<&str>) -> Result<SessionTokens, Error> {
        let request = LogIn {
            credentials: Credentials::NameAndPassword { name: name.to_owned(), password: word.to_owned() },
            device_id: device.map(Into::into),
            device_name: None,
            refresh: false,
        };
        Ok(self.accounts.log_in(kanazawa(), request).await?.2)
    }

    async fn shown_name(&self, user: &UserId, room_id: &RoomId) -> Option<String> {
        let room = self.rooms.room(room_id).await.unwrap().unwrap();
        let members = self.rooms.joined_profiles(&room).await.unwrap();
        members.into_iter().find(|member| member.user_id == user).unwrap().displayname
    }

    async fn session(&self, tokens: &SessionTokens) -> Result<Session, Error> {
        self.accounts.authenticate(kanazawa(), &tokens.access).await
    }
}

fn is_unknown(result: Result<impl Sized, Error>) -> bool {
    matches!(result, Err(Error::UnknownToken { soft_logout: false }))
}

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
    let request = Register { username: Some("hanako".to_owned()), ..Register::default() };
    let answer = town.accounts.register(kanazawa(), request, None).await;

    let Err(Error::Interactive(info)) = answer else { panic!("{answer:?}") };
    assert_eq!(info.flows[0].stages, [AuthType::Dummy]);
    assert!(info.session.is_some() && info.params.is_some() && info.auth_error.is_none());
}

#[tokio::test]
async fn closed_registration_registers_nobody() {
    let town = town(Settings::default()).await;
    let answer = town.accounts.register(kanazawa(), Register::default(), Some(&dummy())).await;
    assert!(matches!(answer, Err(Error::RegistrationClosed)));
}

#[tokio::test]
async fn a_registration_token_makes_as_many_accounts_as_it_allows() {
    let town = town(Settings { registration: Registration::Token, ..Settings::default() }).await;
    let token =
        RegistrationToken { token: "sakura".to_owned(), uses_allowed: Some(1), used: 0, expires: None };
    town.accounts.put_registration_token(kanazawa(), token).await.unwrap();
    let with = |word: &str| {
        AuthData::RegistrationToken(ruma::api::client::uiaa::RegistrationToken::new(word.to_owned()))
    };
    let register = |auth: AuthData| {
        let accounts = town.accounts.clone();
        async move { accounts.register(kanazawa(), Register::default(), Some(&auth)).await }
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
    let (one, two) = tokio::join!(
        town.accounts.create_user(kanazawa(), new.clone()),
        town.accounts.create_user(kanazawa(), new),
    );
    assert_eq!([&one, &two].iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!([one, two].iter().any(|answer| matches!(answer, Err(Error::UserInUse))));
}

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
async fn guessing_passwords_ends_after_ten_wrong_ones() {
    let town = open_town().await;
    town.register("hanako", false).await;
    for _ in 0..10 {
        assert!(matches!(town.log_in("hanako", "wrong", None).await, Err(Error::WrongCredentials)));
    }
    assert!(matches!(town.log_in("hanako", PASSWORD, None).await, Err(Error::Overloaded)));
    town.clock.advance(Duration::from_secs(10));
    town.log_in("hanako", PASSWORD, None).await.unwrap();
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

    town.accounts.log_out(&session.user_id, &session.device_id).await.unwrap();

    assert!(is_unknown(town.session(&tokens).await));
    assert_eq!(town.accounts.devices(&user).await.unwrap().len(), 1);
    let session = town.session(&other).await.unwrap();
    town.accounts.log_out_everywhere(&session.user_id).await.unwrap();
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
    assert!(is_unknown(town.session(&lost).await));
    town.session(&second).await.unwrap();

    assert!(is_unknown(refresh(&first).await));
    assert!(is_unknown(town.session(&first).await));

    // Using the new refresh token counts as using the pair.
    let third = refresh(&second).await.unwrap();
    let fourth = refresh(&third).await.unwrap();
    assert!(is_unknown(refresh(&second).await));
    assert!(is_unknown(town.session(&second).await));
    town.session(&fourth).await.unwrap();
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
            accounts.change_password(&session.user_id, &session.device_id, word, true, auth.as_ref()).await
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
        town.accounts.remove_devices(&session.user_id, std::slice::from_ref(&device), Some(&auth)).await;
    assert!(matches!(answer, Err(Error::Forbidden(_))));
    town.session(&tokens).await.unwrap();

    let auth = password(&session.user_id, PASSWORD);
    town.accounts.remove_devices(&session.user_id, &[device], Some(&auth)).await.unwrap();
    assert!(is_unknown(town.session(&tokens).await));
}

#[tokio::test]
async fn a_closed_account_lets_nobody_in_and_keeps_its_name() {
    let town = open_town().await;
    let (user, tokens) = town.register("hanako", false).await;
    let session = town.session(&tokens).await.unwrap();

    town.accounts.deactivate(&session.user_id, Some(&password(&user, PASSWORD))).await.unwrap();

    assert!(is_unknown(town.session(&tokens).await));
    assert!(matches!(town.log_in("hanako", PASSWORD, None).await, Err(Error::Deactivated(_))));
    assert!(matches!(town.accounts.profile(&user).await, Err(Error::NotFound(_))));
    let again = town.accounts.check_available(kanazawa(), "hanako").await;
    assert!(matches!(again, Err(Error::UserInUse)));
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
async fn account_data_is_kept_and_logged() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let before = town.store.head();

    town.accounts.set_account_data(&user, "org.example", Bytes::from_static(br#"{"a":1}"#)).await.unwrap();
    town.accounts
        .set_room_account_data(&user, room, "org.example", Bytes::from_static(br#"{"b":2}"#))
        .await
        .unwrap();

    let kept = town.accounts.room_account_data(&user, room, "org.example").await.unwrap();
    assert_eq!(&kept[..], br#"{"b":2}"#);
    let changes = town.accounts.account_data_since(&user, before).await.unwrap();
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(|change| change.position > before && change.kind == "org.example"));
    assert_eq!(changes.iter().filter(|change| change.room_id.as_deref() == Some(room)).count(), 1);
    let since_then = town.accounts.account_data_since(&user, town.store.head()).await.unwrap();
    assert!(since_then.is_empty());
    let all = town.accounts.account_data_since(&user, Position::START).await.unwrap();
    assert!(all.iter().any(|change| change.kind == "m.push_rules"));

    let logged = town.store.changes(before, 10).await.unwrap();
    let logged: Vec<_> = logged
        .iter()
        .map(|entry| (entry.kind, crate::log::Change::decode(&entry.payload).unwrap()))
        .collect();
    assert_eq!(logged.len(), 2);
    assert!(logged.iter().all(|(kind, change)| *kind == change.kind()));
}

#[tokio::test]
async fn managed_account_data_is_not_set_directly() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    for kind in ["m.fully_read", "m.push_rules"] {
        let answer = town.accounts.set_account_data(&user, kind, Bytes::from_static(b"{}")).await;
        assert!(matches!(answer, Err(Error::Managed(_))), "{kind}");
    }
    let no_object = town.accounts.set_account_data(&user, "org.example", Bytes::from_static(b"[]")).await;
    assert!(matches!(no_object, Err(Error::InvalidParam(_))));
}

#[tokio::test]
async fn tags_set_at_the_same_time_are_all_kept() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room = room_id!("!room:kanazawa.test");
    let tag = |name: &'static str| town.accounts.set_room_tag(&user, room, name.into(), Default::default());

    let (one, two, three) = tokio::join!(tag("m.favourite"), tag("u.work"), tag("u.play"));

    one.and(two).and(three).unwrap();
    assert_eq!(town.accounts.room_tags(&user, room).await.unwrap().len(), 3);
    town.accounts.remove_room_tag(&user, room, &"u.play".into()).await.unwrap();
    assert_eq!(town.accounts.room_tags(&user, room).await.unwrap().len(), 2);
}

#[tokio::test]
async fn profiles_hold_any_fields_within_their_size() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let json = |text: String| serde_json::value::RawValue::from_string(text).unwrap();
    let accounts = &town.accounts;

    accounts.set_profile_field(&user, "m.tz", &json(r#""Asia/Tokyo""#.to_owned())).await.unwrap();
    accounts.set_profile_field(&user, "displayname", &json(r#""花子""#.to_owned())).await.unwrap();

    let profile = accounts.profile(&user).await.unwrap();
    assert_eq!(profile.display_name().as_deref(), Some("花子"));
    assert_eq!(profile.0["m.tz"].get(), r#""Asia/Tokyo""#);
    let number = accounts.set_profile_field(&user, "displayname", &json("4".to_owned())).await;
    assert!(matches!(number, Err(Error::InvalidParam(_))));
    let large = json(format!("\"{}\"", "x".repeat(65_536)));
    let large = accounts.set_profile_field(&user, "org.example", &large).await;
    assert!(matches!(large, Err(Error::ProfileTooLarge)));
    accounts.remove_profile_field(&user, "m.tz").await.unwrap();
    assert!(matches!(accounts.profile_field(&user, "m.tz").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn equal_filters_are_one_and_belong_to_their_user() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let (other, _) = town.register("taro", false).await;
    let filter = Bytes::from_static(br#"{"room":{"timeline":{"limit":5}}}"#);

    let id = town.accounts.put_filter(&user, filter.clone()).await.unwrap();

    assert_eq!(town.accounts.put_filter(&user, filter.clone()).await.unwrap(), id);
    assert_eq!(town.accounts.filter(&user, &id).await.unwrap(), filter);
    assert!(matches!(town.accounts.filter(&other, &id).await, Err(Error::NotFound(_))));
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
async fn push_rules_start_with_the_defaults_and_can_be_changed() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let before = town.accounts.push_rules(&user).await.unwrap();
    assert!(before.override_.iter().any(|rule| rule.rule_id == ".m.rule.master"));

    town.accounts
        .change_push_rules(&user, |rules| {
            rules.set_enabled(ruma::push::RuleKind::Override, ".m.rule.master", true).unwrap();
            Ok(())
        })
        .await
        .unwrap();

    let after = town.accounts.push_rules(&user).await.unwrap();
    assert!(after.override_.iter().any(|rule| rule.rule_id == ".m.rule.master" && rule.enabled));
}

async fn rooms(store: &Store, clock: &Clock, random: &Random, tasks: &Tasks, metrics: &Metrics) -> Rooms {
    let authority = Authority::generate(kanazawa().to_owned(), "1", &mut |seed| random.fill(seed)).unwrap();
    let (policy, nobody) = (Arc::new(AllowAll), Arc::new(NoRemote));
    Rooms::open(
        store.clone(),
        room::Config::default(),
        Arc::new(Authorities::new([authority])),
        clock.clone(),
        random.clone(),
        policy,
        nobody.clone(),
        nobody,
        tasks,
        metrics,
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_new_name_is_shown_in_the_users_rooms() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let profile = town.accounts.member_profile(&user).await.unwrap();
    let wishes = CreateRoom { profile, ..CreateRoom::default() };
    let room_id = town.rooms.create(&user, wishes).await.unwrap();
    let mut watch = town.store.watch(vec![store::Topic::room(room_id.as_str())]);

    let name = serde_json::value::to_raw_value("花子").unwrap();
    town.accounts.set_profile_field(&user, "displayname", &name).await.unwrap();

    watch.changed().await;
    assert_eq!(town.shown_name(&user, &room_id).await.as_deref(), Some("花子"));
}

#[tokio::test]
async fn a_closed_account_leaves_its_rooms() {
    let town = open_town().await;
    let (user, _) = town.register("hanako", false).await;
    let room_id = town.rooms.create(&user, CreateRoom::default()).await.unwrap();
    let mut watch = town.store.watch(vec![store::Topic::room(room_id.as_str())]);

    town.accounts.close_account(&user).await.unwrap();

    watch.changed().await;
    assert!(town.rooms.joined_rooms(&user).await.unwrap().is_empty());
}
