//! A process, or several over one store, with users, their devices and their keys.

use std::sync::Arc;

use account::{Accounts, Asked, PasswordCost, Registration, Settings};
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use ed25519_dalek::{Signer, SigningKey};
use engine::{Engine, NoRemote};
use pdu::{Authorities, Authority};
use room::AllowAll;
use ruma::{
    CanonicalJsonObject, OwnedDeviceId, OwnedServerName, OwnedUserId, UserId,
    api::client::uiaa::{AuthData, Dummy, MatrixUserIdentifier, Password, UserIdentifier},
    server_name,
};
use serde_json::{Map, Value, json};
use store::{MemoryBackend, Store};

use crate::{Claims, Encryption, KeyUpload, NoPeers, Parts, signed};

pub(super) const PASSWORD: &str = "correct horse";

pub(super) struct Town {
    pub(super) accounts: Accounts,
    pub(super) engine: Engine,
    pub(super) encryption: Encryption,
    pub(super) store: Store,
    _tasks: Tasks,
}

/// A user on a device.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
}

impl Town {
    pub(super) async fn new() -> Self {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store = Store::open(Arc::new(MemoryBackend::new()), Default::default(), &tasks, &metrics);
        let store = store.await.unwrap();
        let (clock, random) = (Clock::system(), Random::seeded(5));
        let name = OwnedServerName::try_from("kanazawa.test").unwrap();
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: engine::Config::default(),
            authorities: Arc::new(Authorities::new([Authority::new(name, "1", &[7; 32]).unwrap()])),
            clock: clock.clone(),
            random: random.clone(),
            policy: Arc::new(AllowAll),
            projections: Vec::new(),
            remote: Arc::new(NoRemote),
            keys: Arc::new(NoRemote),
            tasks: &tasks,
            metrics: &metrics,
        });
        let engine = engine.await.unwrap();
        let settings = Settings { registration: Registration::Open, ..Settings::default() };
        let config =
            account::Config { password: PasswordCost::cheapest(), settings, ..account::Config::default() };
        let accounts = Accounts::open(
            store.clone(),
            engine.clone(),
            config,
            clock.clone(),
            random.clone(),
            &tasks,
            &metrics,
        );
        let accounts = accounts.await.unwrap();
        let encryption = Encryption::open(Parts {
            tells_names: false,
            store: store.clone(),
            rooms: engine.rooms().clone(),
            accounts: accounts.clone(),
            peers: Arc::new(NoPeers),
            clock,
            random,
            memory: ByteSize::mib(1),
            metrics: &metrics,
        });
        Self { accounts, engine, encryption, store, _tasks: tasks }
    }

    /// The keys as another process over the same data has them: it knows nothing of what this one is doing.
    pub(super) fn beside(&self) -> Encryption {
        let rooms = self.engine.rooms().clone();
        let (peers, random, memory) = (Arc::new(NoPeers), Random::seeded(9), ByteSize::mib(1));
        let (store, accounts) = (self.store.clone(), self.accounts.clone());
        Encryption::open(Parts {
            tells_names: false,
            store,
            rooms,
            accounts,
            peers,
            clock: Clock::system(),
            random,
            memory,
            metrics: &Metrics::new(),
        })
    }

    pub(super) async fn person(&self, name: &str) -> Person {
        let request = json!({ "username": name, "password": PASSWORD, "device_id": "PHONE" });
        let asked = asked(request, Some(AuthData::Dummy(Dummy::new())));
        let registered = self.accounts.register(server_name!("kanazawa.test"), asked).await.unwrap();
        Person { user: registered.user_id, device: "PHONE".into() }
    }

    pub(super) async fn upload(&self, person: &Person, upload: KeyUpload) -> crate::KeyCounts {
        self.encryption.upload_keys(&person.user, &person.device, upload).await.unwrap()
    }
}

pub(super) fn asked(request: Value, auth: Option<AuthData>) -> Asked {
    let Value::Object(request) = request else { panic!("{request}") };
    Asked { auth, request, ..Asked::default() }
}

pub(super) fn password(user: &UserId) -> AuthData {
    let identifier = UserIdentifier::Matrix(MatrixUserIdentifier::new(user.to_string()));
    AuthData::Password(Password::new(identifier, PASSWORD.to_owned()))
}

/// One-time keys with these numbers.
pub(super) fn one_time(numbers: impl IntoIterator<Item = usize>) -> Map<String, Value> {
    let key = |number| (format!("signed_curve25519:{number:06}"), json!({ "key": format!("k{number}") }));
    numbers.into_iter().map(key).collect()
}

impl Person {
    pub(super) fn claim(&self) -> Claims {
        let device = [(self.device.clone(), "signed_curve25519".to_owned())];
        Claims::from([(self.user.clone(), device.into())])
    }

    /// Identity keys of the device, which these numbers tell from others.
    pub(super) fn identity(&self, seed: u8) -> Value {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let keys = json!({
            "user_id": self.user,
            "device_id": self.device,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": { format!("ed25519:{}", self.device): base64(key.verifying_key().as_bytes()) },
            "signatures": {},
        });
        sign(keys, &self.user, self.device.as_str(), &key)
    }
}

/// A cross-signing key.
pub(super) struct CrossKey {
    pub(super) key: SigningKey,
    pub(super) public: String,
}

impl CrossKey {
    pub(super) fn new(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = base64(key.verifying_key().as_bytes());
        Self { key, public }
    }

    pub(super) fn object(&self, user: &UserId, usage: &str) -> Value {
        let id = format!("ed25519:{}", self.public);
        json!({ "user_id": user, "usage": [usage], "keys": { id: self.public } })
    }

    pub(super) fn sign(&self, object: Value, user: &UserId) -> Value {
        sign(object, user, &self.public, &self.key)
    }
}

pub(super) fn sign(mut object: Value, user: &UserId, key_id: &str, key: &SigningKey) -> Value {
    let canonical: CanonicalJsonObject = serde_json::from_value(object.clone()).unwrap();
    let signature = base64(&key.sign(&signed::message(&canonical)).to_bytes());
    object["signatures"][user.as_str()][format!("ed25519:{key_id}")] = json!(signature);
    object
}

pub(super) fn base64(bytes: &[u8]) -> String {
    ruma::serde::Base64::<ruma::serde::base64::Standard, &[u8]>::new(bytes).encode()
}
