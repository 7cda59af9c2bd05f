//! Tests of accounts over the store in memory.

#![expect(clippy::unwrap_used, reason = "tests")]

mod audit;
mod data;
mod disk;
mod factors;
mod given;
mod interactive;
mod meanwhile;
mod register;
mod reopening;
mod rooms;
mod sessions;
mod sign_outs;
mod ways_in;

use std::{sync::Arc, time::Duration};

use base::{Address, Clock, ManualClock, Metrics, Random, Tasks};
use bytes::Bytes;
use engine::{CreateRoom, Engine, NoRemote};
use pdu::{Authorities, Authority};
use room::{AllowAll, Rooms};
use ruma::{
    OwnedUserId, RoomId, ServerName, UserId,
    api::client::uiaa::{AuthData, AuthType, Dummy, MatrixUserIdentifier, Password, UserIdentifier},
    room_id, server_name,
};
use serde_json::{Value, json};
use store::{Position, Store};

use crate::{
    Accounts, Actor, Asked, Config, Credentials, Error, LogIn, NewUser, PasswordCost, Registration,
    RegistrationToken, Session, SessionTokens, Settings, SharedSecretRegister,
};

#[global_allocator]
static COUNTING: meter::Counting = meter::Counting;

const PASSWORD: &str = "correct horse";

struct Town {
    accounts: Accounts,
    engine: Engine,
    rooms: Rooms,
    store: Store,
    disk: Arc<disk::Disk>,
    clock: ManualClock,
    _tasks: Tasks,
}

async fn town(settings: Settings) -> Town {
    town_at(settings, PasswordCost { concurrent: 1, ..PasswordCost::cheapest() }).await
}

async fn town_at(settings: Settings, password: PasswordCost) -> Town {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let (clock, manual) = Clock::manual(1_700_000_000_000);
    let random = Random::seeded(7);
    let disk = Arc::new(disk::Disk::default());
    let store = Store::open(disk.clone(), Default::default(), &tasks, &metrics).await.unwrap();
    let engine = engine(&store, &clock, &random, &tasks, &metrics).await;
    let config = Config { password, settings, ..Config::default() };
    let accounts =
        Accounts::open(store.clone(), engine.clone(), config, clock, random, &tasks, &metrics).await.unwrap();
    Town { accounts, rooms: engine.rooms().clone(), engine, store, disk, clock: manual, _tasks: tasks }
}

async fn open_town() -> Town {
    town(Settings { registration: Registration::Open, ..Settings::default() }).await
}

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

/// A user of ours, for itself.
fn itself(user: &UserId) -> Actor {
    Actor::user(user, false, None)
}

fn operator() -> Actor {
    Actor::operator("uid 0")
}

fn dummy() -> AuthData {
    AuthData::Dummy(Dummy::new())
}

fn password(user: &UserId, password: &str) -> AuthData {
    let identifier = UserIdentifier::Matrix(MatrixUserIdentifier::new(user.to_string()));
    AuthData::Password(Password::new(identifier, password.to_owned()))
}

/// A request that needs proof, with what is shown.
fn asked(request: Value, auth: Option<AuthData>) -> Asked {
    let Value::Object(request) = request else { panic!("{request}") };
    let session = auth.as_ref().and_then(AuthData::session).map(str::to_owned);
    Asked { session, auth, request, from: None, agent: None }
}

/// The same in a session, showing nothing.
fn asked_in(session: &str, request: Value) -> Asked {
    Asked { session: Some(session.to_owned()), ..asked(request, None) }
}

/// The session that an answer names.
fn session_of(answer: Result<impl std::fmt::Debug, Error>) -> String {
    match answer {
        Err(Error::Interactive(info)) => info.session.unwrap(),
        other => panic!("{other:?}"),
    }
}

impl Town {
    /// The accounts of another process, or of this one after a restart.
    async fn restarted(&self, settings: Settings) -> Accounts {
        let (metrics, clock) = (Metrics::new(), self.accounts.inner.clock.clone());
        let tasks = Tasks::new(&metrics);
        let config = Config { password: PasswordCost::cheapest(), settings, ..Config::default() };
        let (store, engine) = (self.store.clone(), self.engine.clone());
        Accounts::open(store, engine, config, clock, Random::seeded(8), &tasks, &metrics).await.unwrap()
    }

    async fn register(&self, name: &str, refresh: bool) -> (OwnedUserId, SessionTokens) {
        let request = json!({ "username": name, "password": PASSWORD, "refresh_token": refresh });
        let registered = self.accounts.register(kanazawa(), asked(request, Some(dummy()))).await.unwrap();
        (registered.user_id, registered.session.unwrap().1)
    }

    async fn log_in(&self, name: &str, word: &str, device: Option<&str>) -> Result<SessionTokens, Error> {
        self.log_in_from(None, name, word, device).await
    }

    async fn log_in_from(
        &self,
        from: Option<Address>,
        name: &str,
        word: &str,
        device: Option<&str>,
    ) -> Result<SessionTokens, Error> {
        Ok(self.accounts.log_in(kanazawa(), log_in_request(from, name, word, device)).await?.2)
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

fn log_in_request(from: Option<Address>, name: &str, word: &str, device: Option<&str>) -> LogIn {
    LogIn {
        credentials: Credentials::NameAndPassword { name: name.to_owned(), password: word.to_owned() },
        device_id: device.map(Into::into),
        device_name: None,
        refresh: false,
        from,
        agent: None,
    }
}

/// Waits until something is so, letting the others work.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// Whether a session is refused that can be had again with its device.
fn is_passing(result: Result<impl Sized, Error>) -> bool {
    matches!(result, Err(Error::UnknownToken { soft_logout: true }))
}

fn is_unknown(result: Result<impl Sized, Error>) -> bool {
    matches!(result, Err(Error::UnknownToken { soft_logout: false }))
}

async fn engine(store: &Store, clock: &Clock, random: &Random, tasks: &Tasks, metrics: &Metrics) -> Engine {
    let authority = Authority::generate(kanazawa().to_owned(), "1", &mut |seed| random.fill(seed)).unwrap();
    let (policy, nobody) = (Arc::new(AllowAll), Arc::new(NoRemote));
    Engine::open(engine::Parts {
        store: store.clone(),
        config: engine::Config::default(),
        authorities: Arc::new(Authorities::new([authority])),
        clock: clock.clone(),
        random: random.clone(),
        policy,
        projections: Vec::new(),
        remote: nobody.clone(),
        keys: nobody,
        tasks,
        metrics,
    })
    .await
    .unwrap()
}
