//! The desk over a store in memory: files become change sets, people decide, the hour comes.

#![expect(clippy::unwrap_used, reason = "tests")]

mod deciding;
mod editing;
mod importing;
mod mapping;
mod within;

use std::{sync::Arc, time::Duration};

use audit::{Actor, Filter, Record};
use base::{Clock, ManualClock, Metrics, Tasks, Timestamp};
use encoding_rs::SHIFT_JIS;
use intake::{Date, How, Mapping};
use organisation::{Approval, ChangeSet, GuardKind, Kind, Organisations, Role, SetId, State};
use ruma::{ServerName, server_name, user_id};
use store::{Backend, Interposed, MemoryBackend, MemoryDisk, Position, Store};

use crate::{Answer, Error, FileBytes, Import, Line, Order, Parts, Personnel, Shown, Told};

/// 2026-03-31T15:00:00Z, when 1 April begins in Japan.
const MIDNIGHT: u64 = 1_774_969_200_000;

fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

/// An authority whose name begins as the other's does.
fn port() -> &'static ServerName {
    server_name!("kanazawa.test.example")
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

const HEADER: &str = "職員番号,氏名,フリガナ,所属,職名,発令日\r\n";
const THREE: &str = "\
00001,山田　花子,ﾔﾏﾀﾞ ﾊﾅｺ,総務部　防災課,課長,平成31年4月1日\r\n\
00002,髙橋 一郎,ﾀｶﾊｼ ｲﾁﾛｳ,総務部　防災課,主査,R2.4.1\r\n\
00003,鈴木 次郎,ｽｽﾞｷ ｼﾞﾛｳ,総務部　人事課,係長,令和5年10月1日\r\n";

/// The desk of two authorities, an hour before 1 April.
struct Town {
    desk: Personnel,
    store: Store,
    hand: ManualClock,
    tasks: Tasks,
}

impl Town {
    async fn new() -> Self {
        Self::at(&MemoryDisk::default(), MIDNIGHT - 3_600_000).await
    }

    async fn at(disk: &MemoryDisk, now: u64) -> Self {
        Self::over(Arc::new(MemoryBackend::open(disk)), now).await
    }

    async fn over(backend: Arc<dyn Backend>, now: u64) -> Self {
        let (clock, hand) = Clock::manual(now);
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let authorities = vec![kanazawa().to_owned(), port().to_owned()];
        let desk = Personnel::new(Parts {
            store: store.clone(),
            authorities,
            names: Arc::new(()),
            clock,
            tasks: &tasks,
        });
        Self { desk, store, hand, tasks }
    }

    async fn ask(&self, order: Order) -> Result<Answer, Error> {
        self.ask_of(kanazawa(), order).await
    }

    async fn ask_of(&self, authority: &ServerName, order: Order) -> Result<Answer, Error> {
        self.desk.carry_out(authority, order, &Actor::operator("uid 1000")).await
    }

    /// What becomes of a file that is imported as of a day.
    async fn import(&self, file: Vec<u8>, on: &str) -> Result<Option<(SetId, ChangeSet)>, Error> {
        let import = Import { day: Some(day(on)), ..import(file) };
        match self.ask(Order::Import(Box::new(import))).await? {
            Answer::Imported(imported) => Ok(imported.set),
            other => panic!("{other:?}"),
        }
    }

    /// The same, approved and applied at once.
    async fn take(&self, file: Vec<u8>, on: &str) -> SetId {
        let (id, set) = self.import(file, on).await.unwrap().unwrap();
        self.approve(id).await;
        if set.at > Timestamp(MIDNIGHT - 3_600_000) {
            self.hand.set_forward(set.at.since(Timestamp(MIDNIGHT - 3_600_000)));
        }
        let applied = self.set_after(Order::Apply { id }).await.unwrap();
        assert_eq!(applied.state, State::Applied);
        id
    }

    /// Notes that a set is decided, as its case does.
    async fn approve(&self, id: SetId) {
        let both = [("hana", Role::Personnel), ("taro", Role::Administrator)].map(|(account, role)| {
            Approval { role, account: account.to_owned(), person: None, at: Timestamp(1) }
        });
        let organisations = Organisations::new(&self.store);
        let at = organisations.change_set(kanazawa(), id).await.unwrap().at;
        let batch = organisations.decided(kanazawa(), id, both.into(), at).await.unwrap();
        self.store.commit(batch).await.unwrap();
        self.desk.wake();
    }

    async fn set_after(&self, order: Order) -> Result<ChangeSet, Error> {
        match self.ask(order).await? {
            Answer::Set(_, set) => Ok(*set),
            other => panic!("{other:?}"),
        }
    }

    async fn lines(&self, id: SetId) -> Vec<Line> {
        let mut all = Vec::new();
        loop {
            let from = u32::try_from(all.len()).unwrap();
            match self.ask(Order::Lines { id, from, briefly: false }).await.unwrap() {
                Answer::Lines(lines) if lines.is_empty() => return all,
                Answer::Lines(lines) => all.extend(lines),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn show(&self, on: &str) -> Shown {
        match self.ask(Order::Show { day: Some(day(on)), unit: None, within: None }).await.unwrap() {
            Answer::Shown(shown) => shown,
            other => panic!("{other:?}"),
        }
    }

    /// Who is where on a day: `防災課 課長 山田 花子`.
    async fn people(&self, on: &str) -> Vec<String> {
        people(&self.show(on).await)
    }

    /// The rows of the audit log.
    async fn log(&self, authority: &ServerName) -> Vec<Record> {
        let page = audit::list(&self.store, authority, &Filter::default(), Position::START).await.unwrap();
        page.found.into_iter().filter_map(|row| row.record).collect()
    }
}

fn people(shown: &Shown) -> Vec<String> {
    let units = shown.bodies.iter().flat_map(|body| &body.units);
    let told = units.flat_map(|unit| {
        unit.members.iter().map(move |member| format!("{} {} {}", unit.name, member.title, member.called))
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

fn import(file: Vec<u8>) -> Import {
    Import {
        file: FileBytes::new(file),
        how: How::default(),
        mapping: None,
        source: "人事".to_owned(),
        body: Some("首長部局".to_owned()),
        makes_new: true,
        day: None,
        at: None,
        same: Vec::new(),
        other: Vec::new(),
        is_part: false,
    }
}

fn file(rows: &str) -> Vec<u8> {
    format!("{HEADER}{rows}").into_bytes()
}

/// The same as Excel in Japan writes it.
fn shift_jis(rows: &str) -> Vec<u8> {
    let text = format!("{HEADER}{rows}");
    let (bytes, _, has_failed) = SHIFT_JIS.encode(&text);
    assert!(!has_failed);
    bytes.into_owned()
}

/// What somebody is told who is refused, in Japanese.
fn refusal<T: std::fmt::Debug>(done: Result<T, Error>) -> String {
    let words = done.unwrap_err().words().unwrap();
    assert!(!words.en.is_empty(), "{words}");
    words.ja
}
