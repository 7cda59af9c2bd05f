//! Who waits while his device is signed out.

use std::time::Duration;

use account::{Actor, Credentials, LogIn, NewUser};
use ruma::OwnedDeviceId;
use tokio::task::JoinHandle;

use super::town::{Client, Town, client, joined, said, town, user};
use crate::Error;

type Outcome = Result<serde_json::Value, Error>;

const PASSWORD: &str = "correct horse";

/// Hanako, signed in on this device, who knows all that has happened.
async fn on(town: &Town, device: &str) -> Client {
    log_in(town, device).await;
    let mut hanako = Client { timeout: Duration::from_secs(30), ..client("hanako") }.on(device);
    hanako.sync(town).await;
    hanako
}

async fn log_in(town: &Town, device: &str) {
    let request = LogIn {
        credentials: Credentials::NameAndPassword { name: "hanako".into(), password: PASSWORD.into() },
        device_id: Some(OwnedDeviceId::from(device)),
        device_name: None,
        refresh: false,
        from: None,
        agent: None,
    };
    town.accounts.log_in(user("hanako").server_name(), request).await.unwrap();
}

async fn with_hanako() -> Town {
    let town = town().await;
    let new =
        NewUser { localpart: "hanako".to_owned(), password: Some(PASSWORD.to_owned()), ..NewUser::default() };
    town.accounts.create_user(user("hanako").server_name(), new, &Actor::operator("test")).await.unwrap();
    town
}

/// Starts a sync and lets it come to its wait.
async fn start(town: &Town, client: &Client) -> JoinHandle<Outcome> {
    let (syncs, request) = (town.syncs.clone(), client.request());
    let sleepers = town.clock.sleepers();
    let waiting = tokio::spawn(async move {
        let answer = syncs.sync(request).await?.gather().await;
        Ok(serde_json::from_slice(&answer).unwrap())
    });
    while town.clock.sleepers() == sleepers && !waiting.is_finished() {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    waiting
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Error::Account(account::Error::UnknownToken { soft_logout: false })))
}

#[tokio::test]
async fn a_wait_ends_with_the_session_and_tells_nothing_more() {
    let town = with_hanako().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let (phone, desktop) = (on(&town, "PHONE").await, on(&town, "DESKTOP").await);
    let (lost, kept) = (start(&town, &phone).await, start(&town, &desktop).await);

    let by = Actor::user(&user("hanako"), false, None);
    town.accounts.log_out(&user("hanako"), &OwnedDeviceId::from("PHONE"), &by).await.unwrap();
    // By itself: nothing else happens.
    let lost = tokio::time::timeout(Duration::from_secs(60), lost).await.unwrap().unwrap();
    assert!(is_refused(&lost), "{lost:?}");
    assert!(!kept.is_finished(), "another device waits on");
    town.say("taro", &room, "秘").await;
    assert_eq!(said(&joined(&kept.await.unwrap().unwrap(), &room)["timeline"]["events"]), ["秘"]);

    let closed = start(&town, &on(&town, "TABLET").await).await;
    town.accounts.close_account(&user("hanako"), &Actor::operator("test")).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(60), closed).await.unwrap().unwrap();
    assert!(is_refused(&closed), "{closed:?}");
}

#[tokio::test]
async fn new_tokens_for_a_device_end_no_wait() {
    let town = with_hanako().await;
    let room = town.room("hanako").await;
    let waiting = start(&town, &on(&town, "PHONE").await).await;
    log_in(&town, "PHONE").await;
    town.say("hanako", &room, "次").await;
    assert_eq!(said(&joined(&waiting.await.unwrap().unwrap(), &room)["timeline"]["events"]), ["次"]);
}
