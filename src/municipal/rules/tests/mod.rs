//! Rules over a store in memory and rooms that are made up: what is wanted of an organisation, and how rooms come to it.
//!
//! People come from personnel files, over the desk, as they do in life.

#![expect(clippy::unwrap_used, reason = "tests")]

mod deciding;
mod following;
mod giving;
mod rooms;
mod size;
mod transfers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use audit::{Actor, Filter, Record};
use base::{Clock, ManualClock, Metrics, Tasks, Timestamp};
use intake::{Date, How};
use organisation::{Organisation, Organisations, SetId, State, UnitId};
use personnel::{Answer as DeskAnswer, FileBytes, Import, Order as DeskOrder, Personnel};
use ruma::{OwnedRoomId, OwnedUserId, ServerName, server_name};
use serde_json::{Value, json};
use store::{MemoryBackend, MemoryDisk, Position, Store};

use crate::{
    Account, Accounts, Answer, Done, Error, Order, Parts, Presence, Previewed, RuleId, Rules, Standing,
    Wanted, Wish, tests::rooms::MadeUp, wanted,
};

/// 2026-03-31T15:00:00Z, when 1 April begins in Japan.
const MIDNIGHT: u64 = 1_774_969_200_000;

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn user(name: &str) -> OwnedUserId {
    format!("@{name}:kanazawa.test").try_into().unwrap()
}

const HEADER: &str = "職員番号,氏名,所属,職名,兼務,発令日,アカウント\n";

/// 総務部 with 防災課 and 人事課: who heads them, and one more in each.
const FIVE: &str = "\
1,部長 一,総務部,部長,,2020-04-01,bucho\n\
2,課長 二,総務部　防災課,課長,,2020-04-01,bosai-cho\n\
3,主査 三,総務部　防災課,主査,,2020-04-01,bosai\n\
4,課長 四,総務部　人事課,課長,,2020-04-01,jinji-cho\n\
5,主査 五,総務部　人事課,主査,,2020-04-01,jinji\n";

/// An authority at noon of 1 March 2026, with rooms that are made up.
struct Town {
    desk: Personnel,
    rules: Rules,
    rooms: Arc<MadeUp>,
    store: Store,
    hand: ManualClock,
    clock: Clock,
    tasks: Tasks,
}

impl Town {
    async fn new() -> Self {
        let (clock, hand) = Clock::manual(MIDNIGHT - 31 * 86_400_000 + 43_200_000);
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(MemoryBackend::open(&MemoryDisk::default()));
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let rooms = Arc::new(MadeUp::new(&store));
        let authorities = || vec![kanazawa().to_owned()];
        let parts = personnel::Parts {
            store: store.clone(),
            authorities: authorities(),
            names: Arc::new(()),
            clock: clock.clone(),
            tasks: &tasks,
        };
        let desk = Personnel::new(parts);
        let rules = Rules::new(Parts {
            store: store.clone(),
            authorities: authorities(),
            rooms: rooms.clone(),
            clock: clock.clone(),
            tasks: &tasks,
            metrics: &metrics,
        });
        Self { desk, rules, rooms, store, hand, clock, tasks }
    }

    async fn with(rows: &str) -> Self {
        let town = Self::new().await;
        town.take(rows, "2020-04-01").await;
        town
    }

    /// What begins again after a crash: nothing of it but the store and the rooms.
    fn again(&mut self) {
        self.rules = Rules::new(Parts {
            store: self.store.clone(),
            authorities: vec![kanazawa().to_owned()],
            rooms: self.rooms.clone(),
            clock: self.clock.clone(),
            tasks: &self.tasks,
            metrics: &Metrics::new(),
        });
    }

    /// Lets it be noon of a day.
    fn at(&self, on: &str) {
        let noon = organisation::calendar::begin_of(day(on)).unwrap().millis() + 43_200_000;
        let now = self.clock.now();
        assert!(Timestamp(noon) >= now, "time goes on");
        self.hand.advance(Timestamp(noon).since(now));
    }

    /// A personnel file becomes a set that is approved and applied at once.
    async fn take(&self, rows: &str, on: &str) -> SetId {
        self.take_file(&format!("{HEADER}{rows}"), on).await
    }

    async fn take_file(&self, file: &str, on: &str) -> SetId {
        let import = Import {
            file: FileBytes::new(file.as_bytes().to_vec()),
            how: How::default(),
            mapping: None,
            source: "人事".to_owned(),
            body: Some("首長部局".to_owned()),
            makes_new: true,
            day: Some(day(on)),
            at: None,
            same: Vec::new(),
            other: Vec::new(),
            is_part: false,
        };
        let DeskAnswer::Imported(imported) = self.desk(DeskOrder::Import(Box::new(import))).await else {
            panic!("no import")
        };
        let (id, set) = imported.set.unwrap();
        assert!(set.at <= self.clock.now(), "its minute has come");
        self.decide(id).await;
        match self.desk(DeskOrder::Apply { id }).await {
            DeskAnswer::Set(_, set) => assert_eq!(set.state, State::Applied),
            other => panic!("{other:?}"),
        }
        id
    }

    /// Notes that a set is decided, without a case.
    async fn decide(&self, set: SetId) {
        let all = Organisations::new(&self.store);
        let at = all.change_set(kanazawa(), set).await.unwrap().at;
        let batch = all.decided(kanazawa(), set, Vec::new(), at).await.unwrap();
        self.store.commit(batch).await.unwrap();
    }

    async fn desk(&self, order: DeskOrder) -> DeskAnswer {
        self.desk.carry_out(kanazawa(), order, &Actor::operator("uid 1000")).await.unwrap()
    }

    async fn ask(&self, order: Order) -> Result<Answer, Error> {
        self.rules.carry_out(kanazawa(), order, &Actor::operator("uid 1000")).await
    }

    async fn set(&self, wish: &Value) -> RuleId {
        self.set_from(wish, None, None).await
    }

    async fn set_from(&self, wish: &Value, rule: Option<RuleId>, from: Option<&str>) -> RuleId {
        let wish = Box::new(parse(wish));
        match self.ask(Order::Set { rule, wish, from: from.map(day), until: None }).await.unwrap() {
            Answer::Rule(id) => id,
            other => panic!("{other:?}"),
        }
    }

    async fn run(&self) -> Done {
        match self.ask(Order::Run).await.unwrap() {
            Answer::Done(done) => done,
            other => panic!("{other:?}"),
        }
    }

    async fn preview(&self) -> Previewed {
        match self.ask(Order::Preview { wish: None, day: None }).await.unwrap() {
            Answer::Previewed(previewed) => previewed,
            other => panic!("{other:?}"),
        }
    }

    async fn organisation(&self) -> Organisation {
        Organisations::new(&self.store).load(kanazawa()).await.unwrap().organisation
    }

    /// What is wanted on a day.
    async fn wanted(&self, on: &str) -> Wanted {
        let (book, _) = self.rules.book(kanazawa()).await.unwrap();
        let organisation = self.organisation().await;
        wanted(&organisation, &book, &accounts(&organisation), day(on))
    }

    /// The rows of the audit log of one kind, as `what whom`.
    async fn log(&self, what: &str) -> Vec<String> {
        let page = audit::list(&self.store, kanazawa(), &Filter::default(), Position::START).await.unwrap();
        let rows = page.found.into_iter().filter_map(|row| row.record);
        let rows = rows.filter(|row: &Record| row.what.starts_with(what));
        rows.map(|row| format!("{} {}", row.what, row.whom)).collect()
    }

    /// The room that has this name.
    fn room(&self, name: &str) -> OwnedRoomId {
        self.rooms.named(name).unwrap_or_else(|| panic!("no room {name}: {:?}", self.rooms.names()))
    }

    /// Who is in the room of this name: `bosai`, moderators with `!`, who may not speak with `-`.
    fn members(&self, name: &str) -> Vec<String> {
        self.rooms.members(&self.room(name))
    }
}

/// Everybody's account, all of them open.
fn accounts(organisation: &Organisation) -> Accounts {
    let people = organisation.records().filter_map(|(_, said)| match &said.what {
        organisation::What::Person(person) => {
            let account = Account { user: user(person.account.as_deref()?), can_act: true };
            Some((person.person, account))
        }
        _ => None,
    });
    people.collect()
}

fn parse(wish: &Value) -> Wish {
    serde_json::from_value(wish.clone()).unwrap()
}

/// A room for each 課, and one space for each 部, with a month to hand over.
fn sections() -> Value {
    json!({
        "title": "課の部屋",
        "units": { "named": ["*課"] },
        "hand_over_days": 30,
        "rooms": [{ "key": "main", "name": "{unit} 連絡", "topic": "{path}", "label": "2" }],
    })
}

fn departments() -> Value {
    json!({
        "title": "部",
        "units": { "depth": [0, 0] },
        "members": "below",
        "rooms": [{ "key": "space", "space": true, "name": "{unit}" }],
    })
}

/// Who is wanted in a room, as `name standing`.
fn people(wanted: &Wanted, name: &str) -> BTreeMap<String, Standing> {
    let room = wanted.rooms.iter().find(|room| room.name == name);
    let room = room.unwrap_or_else(|| panic!("no room {name}: {wanted:#?}"));
    room.people.iter().map(|(user, standing)| (user.localpart().to_owned(), *standing)).collect()
}

fn names(wanted: &Wanted) -> Vec<&str> {
    wanted.rooms.iter().map(|room| room.name.as_str()).collect()
}

/// What somebody is told who is refused, in Japanese.
fn refusal<T: std::fmt::Debug>(done: Result<T, Error>) -> String {
    let words = done.unwrap_err().words().unwrap();
    assert!(!words.en.is_empty(), "{words}");
    words.ja
}

const A_MINUTE: Duration = Duration::from_secs(60);
