//! A town: its people, their accounts, a clock, and kinds that only tests have.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use audit::{Actor, Filter, Record};
use base::{Clock, ManualClock, Metrics, Random, Tasks, Timestamp};
use duties::{Duties, Duty};
use intake::{Date, How};
use organisation::{
    Draft, Item, Organisations, Proposal, Reorganisation, SetId, State as SetState, UnitId, What,
};
use parking_lot::Mutex;
use personnel::{Answer as DeskAnswer, FileBytes, Import, Order as DeskOrder, Personnel};
use ruma::{OwnedUserId, ServerName, UserId, server_name};
use store::{Backend, Batch, Counter, MemoryBackend, MemoryDisk, Position, Store, Table, Tuning, row};

use crate::{
    Answer, ApplyChanges, By, CaseId, Cases, Demand, Error, GiveDuty, Kind, Message, Order, Parts, People,
    PortError, Shown, SpeaksOfUnits, Standing, State,
    kind::KindError,
    tests::{effects::Trial, shown},
};

/// 2026-03-31T15:00:00Z, when 1 April begins in Japan.
pub(crate) const MIDNIGHT: u64 = 1_774_969_200_000;

pub(crate) fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

pub(crate) fn day(text: &str) -> Date {
    text.parse().unwrap()
}

pub(crate) fn user(name: &str) -> OwnedUserId {
    format!("@{name}:kanazawa.test").try_into().unwrap()
}

/// Accounts that are made up; key: user.
static ACCOUNTS: Table<String, AccountRow> = Table::new(991, "cases_tests.accounts", Tuning::Small);

/// How often something was done that takes a batch of its own.
pub(crate) static DEEDS: Table<String, Counter> = Table::new(992, "cases_tests.deeds", Tuning::Small);

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct AccountRow {
    administers: bool,
    can_act: bool,
}
row!(AccountRow, schema = 1);

/// Accounts of a store, and what their users were told.
pub(crate) struct Accounts {
    store: Store,
    /// By user and name of the message.
    pub(crate) told: Mutex<BTreeMap<(String, String), String>>,
    /// How often somebody was told something that he knew.
    pub(crate) again: Mutex<usize>,
    /// Whether nobody can be told anything now.
    pub(crate) is_down: Mutex<bool>,
}

#[async_trait]
impl People for Accounts {
    async fn standing(&self, users: &[&UserId]) -> Result<Vec<Option<Standing>>, PortError> {
        let keys: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let rows =
            self.store.get_many(&ACCOUNTS, &keys).await.map_err(|error| PortError(error.to_string()))?;
        let standing = |row: AccountRow| Standing { administers: row.administers, can_act: row.can_act };
        Ok(rows.into_iter().map(|row| row.map(standing)).collect())
    }

    async fn demand(&self, user: &UserId) -> Result<Demand, PortError> {
        let row =
            self.store.get(&ACCOUNTS, user.as_str()).await.map_err(|error| PortError(error.to_string()))?;
        let row = row.ok_or_else(|| PortError("no such account".to_owned()))?;
        let user = user.to_owned();
        Ok(Arc::new(move |batch: &mut Batch| {
            batch.require(&ACCOUNTS, user.as_str(), Some(&row));
        }))
    }

    async fn tell(&self, user: &UserId, message: &Message) -> Result<(), PortError> {
        if *self.is_down.lock() {
            return Err(PortError("rooms cannot be written".to_owned()));
        }
        let key = (user.localpart().to_owned(), message.name.clone());
        if self.told.lock().insert(key, format!("{} {}", message.text.ja, message.path)).is_some() {
            *self.again.lock() += 1;
        }
        Ok(())
    }
}

const HEADER: &str = "職員番号,氏名,所属,職名,兼務,発令日,アカウント\n";

/// 総務部 with 防災課 and 人事課: who heads them, and some more.
pub(crate) const PEOPLE: &str = "\
1,部長 一,総務部,部長,,2020-04-01,bucho\n\
2,課長 二,総務部　防災課,課長,,2020-04-01,bosai-cho\n\
3,主査 三,総務部　防災課,主査,,2020-04-01,hanako\n\
4,課長 四,総務部　人事課,課長,,2020-04-01,jinji-cho\n\
5,主査 五,総務部　人事課,主査,,2020-04-01,taro\n\
6,主査 六,総務部　人事課,主査,,2020-04-01,jiro\n";

/// One rule that names every unit.
struct RuleOfUnits;

#[async_trait]
impl SpeaksOfUnits for RuleOfUnits {
    async fn speaking_of(&self, _: &ServerName, _: UnitId) -> Result<Vec<String>, KindError> {
        Ok(vec!["課の連絡".to_owned()])
    }
}

/// An authority at noon of 1 March 2026.
pub(crate) struct Town {
    pub(crate) cases: Cases,
    pub(crate) duties: Duties,
    pub(crate) desk: Personnel,
    pub(crate) people: Arc<Accounts>,
    pub(crate) store: Store,
    pub(crate) hand: ManualClock,
    pub(crate) clock: Clock,
    tasks: Tasks,
}

impl Town {
    pub(crate) async fn new() -> Self {
        Self::at(&MemoryDisk::default(), true).await
    }

    /// With 全体管理者 a, b and c, 人事担当 p, 監査担当 k, and the people of the file.
    pub(crate) async fn with_people() -> Self {
        let town = Self::new().await;
        town.fill().await;
        town
    }

    pub(crate) async fn fill(&self) {
        self.take(PEOPLE, "2020-04-01").await;
        for name in ["bucho", "bosai-cho", "hanako", "jinji-cho", "taro", "jiro", "p", "k", "nobody"] {
            self.account(name, Some((false, true))).await;
        }
        for name in ["a", "b", "c"] {
            self.account(name, Some((true, true))).await;
            self.set_duty(name, Duty::Approval, true).await;
        }
        self.set_duty("p", Duty::Personnel, true).await;
        self.set_duty("k", Duty::Audit, true).await;
    }

    pub(crate) async fn at(disk: &MemoryDisk, reminds: bool) -> Self {
        Self::over(Arc::new(MemoryBackend::open(disk)), MIDNIGHT - 31 * 86_400_000 + 43_200_000, reminds)
            .await
    }

    pub(crate) async fn over(backend: Arc<dyn Backend>, now: u64, reminds: bool) -> Self {
        let (clock, hand) = Clock::manual(now);
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let authorities = vec![kanazawa().to_owned(), server_name!("nonoichi.test").to_owned()];
        let parts = personnel::Parts {
            store: store.clone(),
            authorities: authorities.clone(),
            names: Arc::new(()),
            clock: clock.clone(),
            tasks: &tasks,
        };
        let desk = Personnel::new(parts);
        let duties = Duties::new(store.clone(), clock.clone(), Random::seeded(7));
        let people = Arc::new(Accounts {
            store: store.clone(),
            told: Mutex::default(),
            again: Mutex::default(),
            is_down: Mutex::default(),
        });
        let kinds: Vec<Arc<dyn Kind>> = vec![
            Arc::new(GiveDuty { duties: duties.clone(), people: people.clone() }),
            Arc::new(ApplyChanges {
                organisations: Organisations::new(&store),
                personnel: desk.clone(),
                duties: duties.clone(),
                people: people.clone(),
                speaks: Arc::new(RuleOfUnits),
            }),
            Arc::new(Trial { store: store.clone(), adds_rows: true }),
            Arc::new(Trial { store: store.clone(), adds_rows: false }),
        ];
        let cases = Cases::new(Parts {
            store: store.clone(),
            authorities: authorities.into_iter().map(|name| (name, reminds)).collect(),
            kinds,
            people: people.clone(),
            duties: duties.clone(),
            clock: clock.clone(),
            random: Random::seeded(9),
            tasks: &tasks,
            caches: metrics.caches(),
        });
        Self { cases, duties, desk, people, store, hand, clock, tasks }
    }

    /// Makes an account, changes it, or closes it.
    pub(crate) async fn account(&self, name: &str, is: Option<(bool, bool)>) {
        let mut batch = Batch::new();
        match is {
            Some((administers, can_act)) => {
                batch.put(&ACCOUNTS, user(name).as_str(), &AccountRow { administers, can_act });
            }
            None => batch.delete(&ACCOUNTS, user(name).as_str()),
        }
        self.store.commit(batch).await.unwrap();
    }

    pub(crate) async fn set_duty(&self, name: &str, duty: Duty, has: bool) {
        self.duties.set(&user(name), duty, has, &Actor::operator("root")).await.unwrap();
    }

    pub(crate) async fn has(&self, name: &str, duty: Duty) -> bool {
        self.duties.of(&user(name)).await.unwrap().contains(&duty)
    }

    /// Lets it be noon of a day.
    pub(crate) fn noon_of(&self, on: &str) {
        let noon = organisation::calendar::begin_of(day(on)).unwrap().millis() + 43_200_000;
        let now = self.clock.now();
        assert!(Timestamp(noon) >= now, "time goes on");
        self.hand.advance(Timestamp(noon).since(now));
    }

    /// A personnel file becomes a set that is approved and applied at once.
    pub(crate) async fn take(&self, rows: &str, on: &str) {
        let import = Import {
            file: FileBytes::new(format!("{HEADER}{rows}").into_bytes()),
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
        let by = Actor::operator("uid 1000");
        let desk = async |order| self.desk.carry_out(kanazawa(), order, &by).await.unwrap();
        let DeskAnswer::Imported(imported) = desk(DeskOrder::Import(Box::new(import))).await else {
            panic!("no import")
        };
        let (id, _) = imported.set.unwrap();
        self.decide(id).await;
        match desk(DeskOrder::Apply { id }).await {
            DeskAnswer::Set(_, set) => assert_eq!(set.state, SetState::Applied),
            other => panic!("{other:?}"),
        }
    }

    /// Notes that a set is decided, without a case.
    async fn decide(&self, set: SetId) {
        let all = Organisations::new(&self.store);
        let at = all.change_set(kanazawa(), set).await.unwrap().at;
        let batch = all.decided(kanazawa(), set, Vec::new(), at).await.unwrap();
        self.store.commit(batch).await.unwrap();
    }

    /// Does something to the organisation by hand, at once.
    pub(crate) async fn by_hand(
        &self,
        on: &str,
        does: impl FnOnce(&mut Reorganisation<'_>, &dyn Fn(&str) -> UnitId) -> Item,
    ) {
        let all = Organisations::new(&self.store);
        let known = all.load(kanazawa()).await.unwrap();
        let (mut ids, day) = (known.ids(), day(on));
        let unit = |name: &str| {
            let units = known.organisation.records().filter_map(|(_, said)| match &said.what {
                What::Unit(unit) if unit.name == name => Some(unit.unit),
                _ => None,
            });
            units.last().unwrap()
        };
        let item = does(&mut Reorganisation::of(&known.organisation, day, &mut ids), &unit);
        let now = self.clock.now();
        let proposal = Proposal { source: None, day, at: Timestamp(0), by: "root".to_owned(), now };
        let draft = Draft::of(vec![item]);
        let set = all.propose(kanazawa(), &known, ids, draft, proposal, Batch::new()).await.unwrap();
        self.decide(set).await;
        all.apply_due(kanazawa(), now, &|_, _| Batch::new()).await.unwrap();
    }

    /// What an account wants.
    pub(crate) async fn of(&self, name: &str, order: Order) -> Result<Answer, Error> {
        let by = By::user(&user(name), Actor::user(&user(name), false, None));
        self.cases.carry_out(kanazawa(), order, by).await
    }

    pub(crate) async fn by_operator(&self, order: Order) -> Result<Answer, Error> {
        self.cases.carry_out(kanazawa(), order, By::operator(Actor::operator("root"))).await
    }

    pub(crate) async fn ask(&self, name: &str, order: Order) -> CaseId {
        shown(self.of(name, order).await.unwrap()).id
    }

    pub(crate) async fn look(&self, id: CaseId) -> Shown {
        shown(self.by_operator(Order::Case { id }).await.unwrap())
    }

    pub(crate) async fn state(&self, id: CaseId) -> State {
        self.look(id).await.case.state
    }

    /// Who may decide a case now: `bosai-cho`, deputies as `taro for bosai-cho`.
    pub(crate) async fn deciders(&self, id: CaseId) -> Vec<String> {
        let named = self.look(id).await.deciders.into_iter();
        let told = named.map(|one| match one.for_whom {
            Some(for_whom) => format!("{} for {}", one.user.localpart(), for_whom.localpart()),
            None => one.user.localpart().to_owned(),
        });
        told.collect()
    }

    /// The rows of the audit log of a case, as `what who`.
    pub(crate) async fn log(&self, what: &str) -> Vec<String> {
        let rows = self.rows(what).await.into_iter();
        rows.map(|row| format!("{} {}", row.what, row.who.trim_start_matches('@').split(':').next().unwrap()))
            .collect()
    }

    /// The rows of the audit log of such deeds.
    pub(crate) async fn rows(&self, what: &str) -> Vec<Record> {
        let page = audit::list(&self.store, kanazawa(), &Filter::default(), Position::START).await.unwrap();
        let rows = page.found.into_iter().filter_map(|row| row.record);
        rows.filter(|row: &Record| row.what.starts_with(what)).collect()
    }

    /// What is due is seen to, as a process does by itself.
    pub(crate) async fn see_to(&self) {
        self.cases.see_to_all().await;
        self.cases.tell_everybody().await;
    }

    pub(crate) async fn close(self) {
        self.tasks.stop(std::time::Duration::from_secs(5)).await;
        self.store.close().await.ok();
    }
}
