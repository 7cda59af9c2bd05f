//! Who waits while his device is signed out.

use std::{sync::Arc, time::Duration};

use account::{Actor, Credentials, LogIn, NewUser};
use async_trait::async_trait;
use ruma::OwnedDeviceId;
use store::{
    Backend, CommitError, Interposed, MemoryBackend, Position, RawBatch, RawCommitted, Topic, Touched,
};
use tokio::task::JoinHandle;

use super::town::{Client, Town, client, joined, said, town, town_over, user};
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
    with_hanako_in(town().await).await
}

async fn with_hanako_in(town: Town) -> Town {
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
async fn a_wait_ends_when_the_account_is_locked_and_not_when_it_is_suspended() {
    let town = with_hanako().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let (hanako, by) = (user("hanako"), Actor::operator("test"));
    let waiting = start(&town, &on(&town, "PHONE").await).await;
    town.accounts.set_suspended(&hanako, true, &by).await.unwrap();
    town.say("taro", &room, "読める").await;
    assert_eq!(said(&joined(&waiting.await.unwrap().unwrap(), &room)["timeline"]["events"]), ["読める"]);

    let waiting = start(&town, &on(&town, "PHONE").await).await;
    town.accounts.set_locked(&hanako, true, &by).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(Error::Account(account::Error::Locked))), "{outcome:?}");
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

/// Data of several processes, which hear of each other only when they reach for a position.
struct Shared {
    memory: MemoryBackend,
    touched: tokio::sync::Mutex<Vec<(Position, Vec<Topic>)>>,
}

#[async_trait]
impl Interposed for Shared {
    fn behind(&self) -> &dyn Backend {
        &self.memory
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        let mut touched = self.touched.lock().await;
        let answers = self.memory.commit(batches.clone()).await;
        for (batch, answer) in batches.iter().zip(&answers) {
            let Ok(committed) = answer else { continue };
            let positions = (committed.first.0..).map(Position);
            touched.extend(positions.zip(&batch.slots).map(|(at, slot)| (at, slot.topics.clone())));
        }
        answers
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn touched(&self, after: Position, limit: usize) -> Result<Touched, store::Error> {
        let touched = self.touched.lock().await;
        let positions: Vec<_> = touched.iter().filter(|(at, _)| *at > after).take(limit).cloned().collect();
        let through = positions.last().map_or(after, |(at, _)| *at);
        Ok(Touched { positions, ..Touched::nothing(through) })
    }
}

#[tokio::test]
async fn a_token_that_is_made_up_keeps_no_wait_going_where_another_process_ended_the_session() {
    let shared = Arc::new(Shared { memory: MemoryBackend::new(), touched: Default::default() });
    let one = with_hanako_in(town_over(shared.clone()).await).await;
    let room = one.room("hanako").await;
    one.join("taro", &room).await;
    let mut phone = on(&one, "PHONE").await;
    let two = town_over(shared).await;

    let by = Actor::user(&user("hanako"), false, None);
    one.accounts.log_out(&user("hanako"), &phone.device, &by).await.unwrap();
    // For the other she is still signed in. The next positions are not hard to guess.
    phone.since = Some(format!("s1_{}", one.store.head()));
    assert!(two.store.head() < one.store.head());
    let waiting = start(&two, &phone).await;
    one.say("taro", &room, "秘").await;
    two.store.reach(one.store.head()).await.unwrap();
    let outcome = waiting.await.unwrap();
    assert!(is_refused(&outcome), "{outcome:?}");
}
