//! A server in memory, and clients that sync with it.

use std::{sync::Arc, time::Duration};

use account::{Accounts, PasswordCost, PresenceConfig, State};
use base::{Clock, ManualClock, Metrics, Random, Tasks};
use encryption::{Encryption, NoPeers};
use engine::{CreateRoom, Engine, Joining, NoRemote, Preset, Profile, Txn};
use pdu::{Authorities, Authority, Draft};
use push::Push;
use room::{
    AllowAll, Rooms,
    read::token::{Rest, Token},
};
use ruma::{
    OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedTransactionId, OwnedUserId, RoomId,
    UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, json};
use store::{Backend, MemoryBackend, MemoryDisk, Options, Store};
use to_device::{NoContacts, ToDevice};

use crate::{StateAfter, SyncFilter, SyncRequest, Syncs};

pub(crate) struct Town {
    pub(crate) engine: Engine,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) encryption: Encryption,
    pub(crate) store: Store,
    pub(crate) to_device: ToDevice,
    pub(crate) syncs: Syncs,
    pub(crate) clock: ManualClock,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
}

/// A client with its token.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    pub(crate) since: Option<String>,
    pub(crate) filter: Value,
    pub(crate) full_state: bool,
    pub(crate) presence: Option<State>,
    pub(crate) state_after: StateAfter,
    pub(crate) timeout: Duration,
}

pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:kanazawa.test")).unwrap()
}

pub(crate) fn client(name: &str) -> Client {
    Client {
        user: user(name),
        device: OwnedDeviceId::from("PHONE"),
        since: None,
        filter: json!({}),
        full_state: false,
        presence: None,
        state_after: StateAfter::default(),
        timeout: Duration::ZERO,
    }
}

impl Client {
    pub(crate) fn with_filter(mut self, filter: Value) -> Self {
        self.filter = filter;
        self
    }

    pub(crate) fn on(mut self, device: &str) -> Self {
        self.device = OwnedDeviceId::from(device);
        self
    }

    pub(crate) fn request(&self) -> SyncRequest {
        SyncRequest {
            user: self.user.clone(),
            device: self.device.clone(),
            since: self.since.as_ref().map(|since| since.parse::<Token>().unwrap().position()),
            rest: self.since.as_deref().map(Rest::of).unwrap_or_default(),
            timeout: self.timeout,
            full_state: self.full_state,
            presence: self.presence,
            state_after: self.state_after,
            filter: Arc::new(SyncFilter::parse(self.filter.to_string().as_bytes()).unwrap()),
        }
    }

    /// Syncs and goes on from there.
    pub(crate) async fn sync(&mut self, town: &Town) -> Value {
        let answer = town.syncs.sync(self.request()).await.unwrap().gather().await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        self.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
        answer
    }
}

pub(crate) async fn town() -> Town {
    town_on(&MemoryDisk::default()).await
}

pub(crate) async fn town_on(disk: &MemoryDisk) -> Town {
    town_over(Arc::new(MemoryBackend::open(disk))).await
}

pub(crate) async fn town_over(backend: Arc<dyn Backend>) -> Town {
    town_with(backend, None).await
}

/// One in which it is told who comes and goes in rooms of at most so many.
pub(crate) async fn town_with(backend: Arc<dyn Backend>, presence: Option<PresenceConfig>) -> Town {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let (clock, manual) = Clock::manual(1_800_000_000_000);
    let random = Random::seeded(7);
    let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
    let name = OwnedServerName::try_from("kanazawa.test").unwrap();
    let authorities = Arc::new(Authorities::new([Authority::new(name, "1", &[7; 32]).unwrap()]));
    let engine = Engine::open(engine::Parts {
        store: store.clone(),
        config: engine::Config::default(),
        authorities: authorities.clone(),
        clock: clock.clone(),
        random: random.clone(),
        policy: Arc::new(AllowAll),
        projections: Vec::new(),
        remote: Arc::new(NoRemote),
        keys: Arc::new(NoRemote),
        tasks: &tasks,
        metrics: &metrics,
    })
    .await
    .unwrap();
    let config =
        account::Config { password: PasswordCost::cheapest(), presence, ..account::Config::default() };
    let accounts = Accounts::open(
        store.clone(),
        engine.clone(),
        config,
        clock.clone(),
        random.clone(),
        &tasks,
        &metrics,
    )
    .await
    .unwrap();
    let to_device = ToDevice::open(to_device::Parts {
        store: store.clone(),
        accounts: accounts.clone(),
        authorities,
        contacts: Arc::new(NoContacts),
        kept: std::time::Duration::from_secs(90 * 24 * 60 * 60),
        memory: base::ByteSize::mib(1),
        clock: clock.clone(),
        random,
        tasks: &tasks,
        metrics: &metrics,
    });
    let (rooms, memory) = (engine.rooms().clone(), base::ByteSize::mib(8));
    let push = Push::new(rooms, accounts.clone(), store.clone(), memory, clock.clone(), &metrics);
    let encryption = Encryption::open(encryption::Parts {
        tells_names: false,
        store: store.clone(),
        rooms: engine.rooms().clone(),
        accounts: accounts.clone(),
        peers: Arc::new(NoPeers),
        clock: clock.clone(),
        random: Random::seeded(8),
        memory: base::ByteSize::mib(1),
        metrics: &metrics,
    });
    let syncs = Syncs::new(
        engine.rooms().clone(),
        accounts.clone(),
        to_device.clone(),
        push,
        encryption.clone(),
        store.clone(),
        clock,
        base::ByteSize::mib(32),
        &tasks,
        &metrics,
    );
    let rooms = engine.rooms().clone();
    Town { rooms, engine, accounts, encryption, store, to_device, syncs, clock: manual, tasks, metrics }
}

impl Town {
    /// A public room.
    pub(crate) async fn room(&self, creator: &str) -> OwnedRoomId {
        // A room's id is the hash of its first event, so two of one moment would be the same room.
        self.clock.advance(Duration::from_millis(1));
        let wishes = CreateRoom {
            preset: Preset::PublicChat,
            name: Some("石川県 災害連絡".to_owned()),
            ..CreateRoom::default()
        };
        self.engine.create(&user(creator), wishes).await.unwrap()
    }

    pub(crate) async fn join(&self, name: &str, room: &RoomId) {
        self.engine.join(&user(name), room, &[], Joining::default()).await.unwrap();
    }

    pub(crate) async fn invite(&self, sender: &str, room: &RoomId, target: &str) {
        self.engine.invite(&user(sender), room, &user(target), &Profile::default(), None).await.unwrap();
    }

    pub(crate) async fn leave(&self, name: &str, room: &RoomId) {
        self.engine.leave(&user(name), room, None).await.unwrap();
    }

    pub(crate) async fn say(&self, name: &str, room: &RoomId, body: &str) -> OwnedEventId {
        self.engine.send(room, message(name, body), None).await.unwrap()
    }

    pub(crate) async fn say_as(&self, name: &str, device: &str, txn: &str, room: &RoomId) -> OwnedEventId {
        let txn = Txn { device: OwnedDeviceId::from(device), id: OwnedTransactionId::from(txn) };
        self.engine.send(room, message(name, "txn"), Some(&txn)).await.unwrap()
    }

    pub(crate) async fn set(&self, name: &str, room: &RoomId, kind: &str, content: Value) -> OwnedEventId {
        self.set_of(name, room, kind, "", content).await
    }

    pub(crate) async fn set_of(
        &self,
        name: &str,
        room: &RoomId,
        kind: &str,
        state_key: &str,
        content: Value,
    ) -> OwnedEventId {
        let draft = Draft::state(&user(name), StateEventType::from(kind), state_key, &content).unwrap();
        self.engine.send(room, draft, None).await.unwrap()
    }
}

pub(crate) fn message(name: &str, body: &str) -> Draft {
    let content = json!({ "msgtype": "m.text", "body": body });
    Draft::message(&user(name), TimelineEventType::RoomMessage, &content).unwrap()
}

/// A joined room of an answer.
pub(crate) fn joined<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"]["join"][room.as_str()]
}

/// Bodies of messages, and types of other events, of a list of events.
pub(crate) fn said(events: &Value) -> Vec<String> {
    let empty = Vec::new();
    let events = events.as_array().unwrap_or(&empty);
    events
        .iter()
        .map(|event| match event["content"]["body"].as_str() {
            Some(body) => body.to_owned(),
            None => event["type"].as_str().unwrap().to_owned(),
        })
        .collect()
}

/// Who is a member by these events, sorted.
pub(crate) fn members(events: &Value) -> Vec<String> {
    let empty = Vec::new();
    let events = events.as_array().unwrap_or(&empty);
    let mut members: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "m.room.member")
        .map(|event| event["state_key"].as_str().unwrap()[1..].split(':').next().unwrap().to_owned())
        .collect();
    members.sort();
    members
}
