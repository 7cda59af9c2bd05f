//! Tests of messages to devices over the store in memory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ages;
mod elsewhere;
mod messages;
mod model;
mod shares;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use account::{Accounts, Actor, Config, Credentials, LogIn, NewUser, PasswordCost};
use base::{ByteSize, Clock, ManualClock, Metrics, Random, Tasks};
use engine::{Engine, NoRemote};
use pdu::{Authorities, Authority};
use room::AllowAll;
use ruma::{DeviceId, OwnedServerName, OwnedUserId, ServerName, UserId};
use serde_json::value::RawValue;
use store::{MemoryBackend, MemoryDisk, Position, Store};

use crate::{Contacts, Error, Messages, Page, Parts, Sending, ToDevice};

const PASSWORD: &str = "correct horse";

/// A process with two authorities, `kanazawa.test` and `nanao.test`.
struct Town {
    store: Store,
    accounts: Accounts,
    to_device: ToDevice,
    metrics: Metrics,
    clock: ManualClock,
    _tasks: Tasks,
}

/// All but one server.
struct AllBut(&'static str);

impl Contacts for AllBut {
    fn may_contact(&self, server: &ServerName) -> bool {
        server != self.0
    }

    fn is_known(&self, server: &ServerName) -> bool {
        !server.as_str().starts_with("invented")
    }
}

async fn town() -> Town {
    town_on(&MemoryDisk::default()).await
}

async fn town_on(disk: &MemoryDisk) -> Town {
    town_keeping(disk, Duration::from_secs(90 * 24 * 60 * 60)).await
}

async fn town_keeping(disk: &MemoryDisk, kept: Duration) -> Town {
    let (metrics, random) = (Metrics::new(), Random::seeded(7));
    let tasks = Tasks::new(&metrics);
    let (clock, manual) = Clock::manual(1_800_000_000_000);
    let backend = Arc::new(MemoryBackend::open(disk));
    let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
    let authority = |name: &str| {
        Authority::new(OwnedServerName::try_from(name.to_owned()).unwrap(), "1", &[7; 32]).unwrap()
    };
    let authorities = Arc::new(Authorities::new(["kanazawa.test", "nanao.test"].map(authority)));
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
    });
    let config = Config { password: PasswordCost::cheapest(), ..Config::default() };
    let (engine, again) = (engine.await.unwrap(), random.clone());
    let accounts = Accounts::open(store.clone(), engine, config, clock.clone(), again, &tasks, &metrics);
    let accounts = accounts.await.unwrap();
    let to_device = ToDevice::open(Parts {
        store: store.clone(),
        accounts: accounts.clone(),
        authorities,
        contacts: Arc::new(AllBut("hostile.test")),
        kept,
        memory: ByteSize::mib(1),
        clock,
        random,
        tasks: &tasks,
        metrics: &metrics,
    });
    Town { store, accounts, to_device, metrics, clock: manual, _tasks: tasks }
}

fn user(id: &str) -> OwnedUserId {
    let id = if id.contains(':') { id.to_owned() } else { format!("@{id}:kanazawa.test") };
    UserId::parse(id).unwrap()
}

fn content(text: &str) -> Box<RawValue> {
    RawValue::from_string(format!("{{\"text\":\"{text}\"}}")).unwrap()
}

/// One content for these devices, `user/device` each.
fn to(devices: &[&str], text: &str) -> Messages {
    let mut messages = Messages::new();
    for name in devices {
        let (name, device) = name.split_once('/').unwrap();
        let devices: &mut BTreeMap<_, _> = messages.entry(user(name)).or_default();
        devices.insert(device.to_owned(), content(text));
    }
    messages
}

impl Town {
    async fn sign_up(&self, id: &str) {
        let id = user(id);
        let new = NewUser {
            localpart: id.localpart().to_owned(),
            password: Some(PASSWORD.to_owned()),
            ..NewUser::default()
        };
        self.accounts.create_user(id.server_name(), new, &Actor::operator("test")).await.unwrap();
    }

    async fn log_in(&self, id: &str, device: &str) {
        let id = user(id);
        let request = LogIn {
            credentials: Credentials::NameAndPassword {
                name: id.localpart().to_owned(),
                password: PASSWORD.to_owned(),
            },
            device_id: Some(device.into()),
            device_name: None,
            refresh: false,
            from: None,
            agent: None,
        };
        self.accounts.log_in(id.server_name(), request).await.unwrap();
    }

    async fn log_out(&self, id: &str, device: &str) {
        self.accounts.log_out(&user(id), device.into(), &Actor::operator("test")).await.unwrap();
    }

    async fn send(&self, txn: &str, messages: &Messages) -> Result<(), Error> {
        self.send_as("hanako", txn, messages).await
    }

    async fn send_as(&self, sender: &str, txn: &str, messages: &Messages) -> Result<(), Error> {
        let (user, device) = (user(sender), <&DeviceId>::from("PHONE"));
        self.to_device.send(Sending { user: &user, device, kind: "test", txn, messages }).await
    }

    /// What a device is told that has everything up to a place, and where it is then.
    async fn news(&self, id: &str, device: &str, after: Position) -> (Page, Position) {
        let head = self.store.head();
        let page =
            self.to_device.news(&user(id), device.into(), after, head, crate::inbox::PAGE).await.unwrap();
        let place = page.rest.unwrap_or(head);
        (page, place)
    }

    /// The texts that a device is told after a place, and where it is then.
    async fn told(&self, id: &str, device: &str, after: Position) -> (Vec<String>, Position) {
        let (page, place) = self.news(id, device, after).await;
        (texts(&page), place)
    }

    fn counted(&self, outcome: &str) -> u64 {
        let name = format!("yakuba_to_device_messages_total{{outcome=\"{outcome}\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }
}

fn texts(page: &Page) -> Vec<String> {
    let text = |message: &crate::Message| {
        let content: serde_json::Value = serde_json::from_slice(&message.content).unwrap();
        content["text"].as_str().unwrap().to_owned()
    };
    page.messages.iter().map(text).collect()
}

#[global_allocator]
static COUNTING: meter::Counting = meter::Counting;
