//! Records that were kept long enough go, and nothing else does.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use async_trait::async_trait;
use store::{Order, Position, Range, Value};

use super::*;
use crate::{
    Class, Elsewhere, Fault, Filter, Record, Retention, Retirer, RetirerParts, Years, chained,
    gone::{KEPT, STUBS},
    hold, list, release, retention,
    tables::{CHAINS, ChainRow, LINKS, LinkRow, RECORDS},
};

/// A log server that has the log through a number.
#[derive(Default)]
pub(super) struct Server(AtomicU64);

impl Server {
    fn with_all() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(u64::MAX)))
    }
}

#[async_trait]
impl Elsewhere for Server {
    async fn has_through(&self, _: &ServerName) -> Result<Option<u64>, store::Error> {
        Ok(Some(self.0.load(SeqCst)))
    }
}

/// Of each class one, and one that is kept for good.
pub(super) const DEEDS: [Action; 7] = [
    Action::SignIn,
    Action::ReadRoom,
    Action::LockAccount,
    Action::PurgeRoom,
    Action::GiveDuty,
    Action::ApproveCase,
    Action::BackUp,
];

impl Office {
    pub(super) async fn deeds(&self, deeds: &[Action]) {
        for deed in deeds {
            self.hand.advance(Duration::from_millis(1));
            let by = Actor::user(user_id!("@hanako:kanazawa.test"), true, None);
            let mut batch = Batch::new();
            Deed::new(*deed, &by, "@taro:kanazawa.test", self.clock.now()).write(&mut batch, kanazawa());
            self.store.commit(batch).await.unwrap();
        }
    }

    pub(super) fn retirer_of(&self, years: Years, elsewhere: Arc<Server>) -> Retirer {
        Retirer::new(RetirerParts {
            store: self.store.clone(),
            authorities: self.authorities.clone(),
            years: BTreeMap::from([(kanazawa().to_owned(), years)]),
            elsewhere,
            clock: self.clock.clone(),
        })
    }

    pub(super) fn retirer(&self) -> Retirer {
        self.retirer_of(Years::FIRST, Server::with_all())
    }

    /// Goes on to 1 April of a year, and through as many days as it takes until things may go.
    pub(super) async fn on_to(&mut self, year: u32) {
        let begin = Day::april(year).begin() + Duration::from_secs(60);
        self.hand.advance(begin.since(self.clock.now()));
        for _ in 0..7 {
            self.deeds(&[Action::BackUp]).await;
            self.follow().await;
            self.hand.advance(A_DAY);
            self.follow().await;
        }
    }

    pub(super) async fn records(&self) -> Vec<Record> {
        let page = list(&self.store, kanazawa(), &Filter::default(), Position::START).await.unwrap();
        page.found.into_iter().map(|row| row.record.unwrap()).collect()
    }

    async fn words(&self) -> Vec<String> {
        let words = self.records().await.into_iter().map(|record| record.what);
        words.filter(|word| !word.starts_with("audit.") && word != "data.back_up").collect()
    }

    /// Lets everything go that is to go, and looks that the log is right after each step.
    pub(super) async fn retire(&mut self, retirer: &Retirer) {
        while retirer.step().await {
            let found = self.verify(kanazawa()).await;
            assert_eq!(found.wrong, None);
        }
        self.follow().await;
        assert_eq!(self.verify(kanazawa()).await.wrong, None);
    }

    async fn retention(&self, years: &Years, elsewhere: Option<u64>) -> Retention {
        retention(&self.store, kanazawa(), years, elsewhere, self.clock.now()).await.unwrap()
    }
}

#[tokio::test]
async fn records_go_on_the_first_of_april_after_the_years_of_their_class_and_their_links_stay() {
    let mut office = Office::new().await;
    office.deeds(&DEEDS).await;
    office.follow().await;
    let noted = office.verify(kanazawa()).await.chain;
    office.on_to(2029).await;
    let retirer = office.retirer();
    office.retire(&retirer).await;
    assert_eq!(office.verify(kanazawa()).await.gone, 0, "they are of fiscal 2026");
    let next = office.retention(&Years::FIRST, None).await.classes;
    assert_eq!(next[0].next.map(|day| day.to_string()).as_deref(), Some("2030-04-01"));
    assert_eq!((next[0].class, next[0].due, next[0].gone), (Class::SignIns, 0, 0));

    let mut gone = Vec::new();
    for (year, left) in [(2030, 4), (2032, 2), (2037, 0)] {
        office.on_to(year).await;
        office.retire(&retirer).await;
        assert_eq!(office.words().await.len(), left, "{year}");
        let found = office.verify_noted(kanazawa(), Some(noted)).await;
        gone.push((found.gone, found.wrong));
    }
    assert_eq!(gone, [(2, None), (4, None), (6, None)]);
    let claims: Vec<Record> =
        office.records().await.into_iter().filter(|record| record.what == "audit.retired").collect();
    assert_eq!(claims.len(), 6);
    assert_eq!((&*claims[0].role, &*claims[0].whom), ("server", "sign_ins"));
    let said: Vec<String> =
        claims[0].after[..6].iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(said, ["slice=1", "first=1", "last=1", "rows=1", "day=2026-04-01", "years=3"]);
    let kept = office.retention(&Years::FIRST, None).await.classes;
    assert_eq!((kept[0].gone, kept[0].due), (1, 0));
    assert_eq!(kept[0].gone_through.map(Day::fiscal_year), Some(2032));
    // Nothing of another authority's.
    assert_eq!(office.verify(wajima()).await.rows, 0);
}

#[tokio::test]
async fn whoever_reads_passes_over_what_has_gone_and_a_new_log_server_is_told_of_it() {
    let mut office = Office::new().await;
    office.deeds(&DEEDS).await;
    office.on_to(2030).await;
    let retirer = office.retirer();
    office.retire(&retirer).await;
    let records = office.records().await;
    assert!(records.iter().all(|record| record.what != "session.sign_in"));
    let text = Filter { text: Some("taro".into()), ..Filter::default() };
    let found = list(&office.store, kanazawa(), &text, Position::START).await.unwrap().found;
    assert!(
        found.iter().all(|row| row.record.as_ref().is_some_and(|record| record.what != "session.sign_in"))
    );
    let newest = crate::list_newest(&office.store, kanazawa(), &Filter::default(), None).await.unwrap();
    assert_eq!(newest.found.len(), records.len());

    let rows = chained(&office.store, kanazawa(), 0, 500).await.unwrap();
    let whole = office.verify(kanazawa()).await.rows;
    assert_eq!(rows.len() as u64, whole);
    assert_eq!(rows[0].gone.as_deref(), Some("session.sign_in"));
    let line = rows[0].in_json(kanazawa());
    assert_eq!(
        line,
        r#"{"authority":"kanazawa.test","gone":true,"position":1,"what":"session.sign_in"}"#
            .replace("1,", &format!("{},", rows[0].row.position))
    );
    assert!(rows[2].gone.is_none() && rows[2].row.record.is_some());
}

#[tokio::test]
async fn it_goes_on_after_a_crash_between_any_two_slices_and_the_log_is_right_at_every_stop() {
    let mut office = Office::new().await;
    office.rows(kanazawa(), 1_700).await;
    office.deeds(&DEEDS).await;
    office.on_to(2030).await;
    let mut steps = 0;
    let done = loop {
        let is_left = office.retirer().step().await;
        let found = office.verify(kanazawa()).await;
        assert_eq!(found.wrong, None, "after {steps}");
        if !is_left {
            break found.gone;
        }
        steps += 1;
        office = office.crash().await;
        // A link that was not made before it is made after it.
        if steps % 2 == 0 {
            office.follow().await;
        }
        assert_eq!(office.verify(kanazawa()).await.wrong, None);
    };
    assert!((5..50).contains(&steps), "{steps}");
    assert_eq!(done, 1_702);
    let sizes: Vec<u64> = office
        .records()
        .await
        .iter()
        .filter(|record| record.what == "audit.retired")
        .map(|record| record.after[3].1.parse().unwrap())
        .collect();
    assert_eq!((sizes.iter().sum::<u64>(), sizes.iter().max()), (1_702, Some(&500)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_remove_records_remove_each_once_and_whoever_checks_meanwhile_finds_no_fault() {
    let mut office = Office::new().await;
    office.rows(kanazawa(), 3_000).await;
    office.on_to(2030).await;
    let both: Vec<_> = (0..2)
        .map(|_| {
            let retirer = office.retirer();
            tokio::spawn(async move { while retirer.step().await {} })
        })
        .collect();
    while both.iter().any(|one| !one.is_finished()) {
        assert_eq!(office.verify(kanazawa()).await.wrong, None);
        office.follow().await;
    }
    for one in both {
        one.await.unwrap();
    }
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.gone, found.wrong), (3_000, None));
    let claims = office.records().await.into_iter().filter(|record| record.what == "audit.retired");
    assert_eq!(claims.count(), 6);
}

#[tokio::test]
async fn what_a_log_server_does_not_have_yet_stays() {
    let mut office = Office::new().await;
    office.rows(kanazawa(), 10).await;
    office.on_to(2030).await;
    let server = Arc::new(Server::default());
    let retirer = office.retirer_of(Years::FIRST, server.clone());
    for (has, gone) in [(0, 0), (4, 4), (4, 4), (u64::MAX, 10)] {
        server.0.store(has, SeqCst);
        let due = &office.retention(&Years::FIRST, Some(has)).await.classes[0];
        assert_eq!((due.due > 0, due.waits), (true, has != u64::MAX));
        office.retire(&retirer).await;
        assert_eq!(office.verify(kanazawa()).await.gone, gone);
    }
}

#[tokio::test]
async fn nothing_goes_while_somebody_has_said_so_and_both_are_in_the_log() {
    let mut office = Office::new().await;
    office.rows(kanazawa(), 3).await;
    office.on_to(2030).await;
    let by = Actor::operator("uid 0");
    let say = |reason| hold(&office.store, kanazawa(), reason, (&by, &|_| {}), office.clock.now());
    assert!(say("住民訴訟 令和8年(行ウ)第1号").await.unwrap());
    assert!(!say("もう一つ").await.unwrap());
    let retirer = office.retirer();
    assert!(!retirer.step().await);
    assert_eq!(office.verify(kanazawa()).await.gone, 0);
    let held = office.retention(&Years::FIRST, None).await.hold.unwrap();
    assert_eq!((&*held.by, &*held.reason), ("uid 0", "住民訴訟 令和8年(行ウ)第1号"));

    assert!(release(&office.store, kanazawa(), (&by, &|_| {}), office.clock.now()).await.unwrap());
    assert!(!release(&office.store, kanazawa(), (&by, &|_| {}), office.clock.now()).await.unwrap());
    office.retire(&retirer).await;
    assert_eq!(office.verify(kanazawa()).await.gone, 3);
    let words: Vec<String> = office
        .records()
        .await
        .into_iter()
        .map(|record| record.what)
        .filter(|word| word.starts_with("audit."))
        .collect();
    assert_eq!(words, ["audit.hold", "audit.release", "audit.retired"]);
}

#[tokio::test]
async fn another_number_of_years_is_told_in_the_log_and_a_shorter_one_counts_a_week_later() {
    let mut office = Office::new().await;
    office.deeds(&DEEDS).await;
    office.on_to(2028).await;
    let years = Years { accounts: 1, ..Years::FIRST };
    let retirer = office.retirer_of(years, Server::with_all());
    assert!(!retirer.step().await);
    let told = office.records().await.pop().unwrap();
    assert_eq!((&*told.what, &*told.role), ("audit.set_retention", "server"));
    let of =
        |facts: &[(String, String)]| facts.iter().find(|(name, _)| name == "accounts").unwrap().1.clone();
    assert_eq!((of(&told.before), of(&told.after)), ("5".to_owned(), "1".to_owned()));
    assert!(!retirer.step().await, "it is told once");
    office.on_to(2028).await;
    office.retire(&retirer).await;
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.gone, office.words().await.contains(&"account.lock".to_owned())), (1, false));
    assert_eq!(office.records().await.iter().filter(|row| row.what == "audit.set_retention").count(), 1);
}

#[tokio::test]
async fn a_calendar_that_was_ahead_for_a_moment_takes_nothing_away() {
    let mut office = Office::new().await;
    for _ in 0..10 {
        office.rows(kanazawa(), 1).await;
        office.hand.advance(A_DAY);
        office.follow().await;
    }
    let retirer = office.retirer();
    office.hand.set_forward(4_000 * A_DAY);
    office.rows(kanazawa(), 1).await;
    office.follow().await;
    assert!(!retirer.step().await);
    office.hand.set_back(4_000 * A_DAY);
    for _ in 0..10 {
        office.rows(kanazawa(), 1).await;
        office.hand.advance(A_DAY);
        office.follow().await;
        assert!(!retirer.step().await);
    }
    let found = office.verify(kanazawa()).await;
    assert_eq!((found.gone, found.wrong), (0, None));
}

#[tokio::test]
async fn records_with_links_of_before_go_when_those_of_every_class_would() {
    let mut office = Office::new().await;
    office.deeds(&DEEDS).await;
    let mut chain = ChainRow::start();
    let mut batch = Batch::new();
    let records = office.store.scan(&RECORDS, Range::all(), Order::Ascending, 100).await.unwrap();
    for ((_, position), record) in &records {
        let hash = chain.next(kanazawa(), *position).former_link(record);
        chain.pass(&LinkRow { position: *position, hash }, Some(office.today()));
        let link = LinkRow { position: *position, hash };
        batch.put(&LINKS, &(kanazawa().as_str(), chain.number), &link.encode());
    }
    batch.put(&CHAINS, kanazawa().as_str(), &chain.encode());
    office.store.commit(batch).await.unwrap();
    office.deeds(&DEEDS).await;
    let retirer = office.retirer();
    for (year, gone) in [(2032, 4), (2037, 6 + 6)] {
        office.on_to(year).await;
        office.retire(&retirer).await;
        assert_eq!(office.verify(kanazawa()).await.gone, gone, "{year}");
    }
    // A link in the gap that nothing can be computed from is proven by the row that tells of it.
    let mut link =
        LinkRow::decode(&office.store.get(&LINKS, &(kanazawa().as_str(), 3_u64)).await.unwrap().unwrap())
            .unwrap();
    link.hash[0] ^= 1;
    let mut batch = Batch::new();
    batch.put(&LINKS, &(kanazawa().as_str(), 3_u64), &link.encode());
    office.store.commit(batch).await.unwrap();
    let wrong = office.verify(kanazawa()).await.wrong.unwrap();
    assert_eq!((wrong.fault, wrong.number > 3), (Fault::GoneWrongly, true));
}

#[tokio::test]
async fn what_was_changed_is_not_removed_as_if_nothing_had_been() {
    for damage in 0..3 {
        let mut office = Office::new().await;
        office.rows(kanazawa(), 5).await;
        office.on_to(2030).await;
        let rows = chained(&office.store, kanazawa(), 2, 1).await.unwrap();
        let key = (kanazawa().as_str(), rows[0].row.position);
        let mut batch = Batch::new();
        match damage {
            0 => {
                let mut record = rows[0].row.record.clone().unwrap();
                record.whom = "@jiro:kanazawa.test".to_owned();
                batch.put(&RECORDS, &key, &record.encode());
            }
            1 => batch.delete(&RECORDS, &key),
            _ => batch.delete(&LINKS, &(kanazawa().as_str(), 3_u64)),
        }
        office.store.commit(batch).await.unwrap();
        let before = office.verify(kanazawa()).await.wrong;
        assert!(before.is_some());
        assert!(!office.retirer().step().await);
        assert_eq!(office.verify(kanazawa()).await.wrong, before);
        assert!(office.store.get(&STUBS, &(kanazawa().as_str(), 1_u64)).await.unwrap().is_none());
    }
    let mut office = Office::new().await;
    office.rows(kanazawa(), 5).await;
    office.on_to(2030).await;
    let mut batch = Batch::new();
    batch.put(&KEPT, kanazawa().as_str(), &bytes::Bytes::from_static(b"\x01\x00"));
    office.store.commit(batch).await.unwrap();
    assert!(!office.retirer().step().await);
    assert_eq!(office.verify(kanazawa()).await.gone, 0);
}
