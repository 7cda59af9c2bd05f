//! Change sets in the store: proposed, approved, applied at their minute, undone.

use std::{sync::Arc, time::Duration};

use base::{Metrics, Tasks, Timestamp};
use ruma::{ServerName, server_name};
use store::{Backend, Batch, MemoryBackend, MemoryDisk, Store};

use super::*;
use crate::{
    Approval, Error, ItemState, Organisations, Proposal, Refusal, Role, SetId, State, Tenure,
    calendar::begin_of,
};

pub(super) fn kanazawa() -> &'static ServerName {
    server_name!("kanazawa.test")
}

/// Organisations over a store in memory.
pub(super) struct Office {
    pub(super) all: Organisations,
    pub(super) store: Store,
    pub(super) disk: MemoryDisk,
    pub(super) body: BodyId,
    _tasks: Tasks,
}

impl Office {
    pub(super) async fn new() -> Self {
        let mut office = Self::at(&MemoryDisk::default()).await;
        let known = office.all.load(kanazawa()).await.unwrap();
        let mut ids = known.ids();
        let mut by_hand = Reorganisation::of(&known.organisation, day("2020-04-01"), &mut ids);
        let (body, item) = by_hand.make_body("首長部局").unwrap();
        let set = office.propose_draft(&known, ids, Draft::of(vec![item]), "2020-04-01").await.unwrap();
        office.apply(set, "2020-04-01").await;
        office.body = body;
        office
    }

    pub(super) async fn at(disk: &MemoryDisk) -> Self {
        Self::over(Arc::new(MemoryBackend::open(disk)), disk).await
    }

    pub(super) async fn over(backend: Arc<dyn Backend>, disk: &MemoryDisk) -> Self {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let all = Organisations::new(&store);
        Self { all, store, disk: disk.clone(), body: BodyId(1), _tasks: tasks }
    }

    pub(super) async fn known(&self) -> Organisation {
        self.all.load(kanazawa()).await.unwrap().organisation
    }

    pub(super) async fn propose_draft(
        &self,
        known: &crate::Known,
        ids: Ids,
        draft: Draft,
        on: &str,
    ) -> Result<SetId, Error> {
        let at = begin_of(day(on)).unwrap();
        let now = Timestamp(at.millis() - 3_600_000);
        let proposal = Proposal { source: None, day: day(on), at, by: "hana".to_owned(), now };
        self.all.propose(kanazawa(), known, ids, draft, proposal, Batch::new()).await
    }

    pub(super) async fn propose(&self, rows: &str, on: &str) -> SetId {
        let known = self.all.load(kanazawa()).await.unwrap();
        let mut ids = known.ids();
        let intake = read(&format!("{HEADER}{rows}"));
        let source = Source { name: "人事給与".to_owned(), body: self.body };
        let draft = compare(&known.organisation, &source, &intake, &Town::terms(on), &mut ids);
        self.propose_draft(&known, ids, draft, on).await.unwrap()
    }

    pub(super) async fn approve(&self, set: SetId) {
        let both = [("hana", Role::Personnel), ("taro", Role::Administrator)].map(|(account, role)| {
            Approval { role, account: account.to_owned(), person: None, at: Timestamp(1) }
        });
        let at = self.all.change_set(kanazawa(), set).await.unwrap().at;
        let batch = self.all.decided(kanazawa(), set, both.into(), at).await.unwrap();
        self.store.commit(batch).await.unwrap();
    }

    /// The sets that wait, as whoever looks for one that is due finds them.
    async fn waiting(&self) -> Vec<SetId> {
        self.all.load(kanazawa()).await.unwrap().head.waiting
    }

    pub(super) async fn state(&self, set: SetId) -> State {
        self.all.change_set(kanazawa(), set).await.unwrap().state
    }

    /// Approves a set and applies it at the begin of a day.
    pub(super) async fn apply(&self, set: SetId, on: &str) {
        self.approve(set).await;
        let ended = self.all.apply_due(kanazawa(), begin_of(day(on)).unwrap(), &unsaid).await.unwrap();
        assert_eq!(ended, [set]);
        assert_eq!(self.state(set).await, State::Applied);
    }

    pub(super) async fn import(&self, rows: &str, on: &str) -> SetId {
        let set = self.propose(rows, on).await;
        self.apply(set, on).await;
        set
    }

    async fn undo(&self, set: SetId) -> Result<(), Error> {
        self.all.undo(kanazawa(), set, "hana", Timestamp(5), Batch::new()).await
    }

    async fn undo_item(&self, set: SetId, about: &str) -> Result<(), Error> {
        let items = self.all.items(kanazawa(), set, 0, 1_000).await.unwrap();
        let (number, _) = items.iter().find(|(_, row)| row.item.about.starts_with(about)).unwrap();
        self.all.undo_item(kanazawa(), set, *number, "hana", Timestamp(5), Batch::new()).await
    }
}

/// Where somebody is on a day.
fn posts(known: &Organisation, body: BodyId, number: &str, on: &str) -> Vec<String> {
    let Some(person) = known.numbered(body, number, day(on)) else { return Vec::new() };
    let posts = known.posts_of(person.person, day(on));
    assert!(posts.iter().filter(|post| post.tenure == Tenure::Main).count() <= 1);
    posts.iter().map(|one| known.unit(one.post.unit, day(on)).unwrap().name.clone()).collect()
}

pub(super) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

const TWO: &str = "1,山田 花子,,防災課,主査,,2020-04-01,\n2,田中 太郎,,総務課,主事,,2020-04-01,\n";
const MOVED: &str = "1,山田 花子,,総務課,係長,,2026-04-01,\n2,田中 太郎,,税務課,主事,,2026-04-01,\n";

#[tokio::test]
async fn a_set_is_applied_at_its_minute_once_two_have_approved_it_and_not_before() {
    let office = Office::new().await;
    let set = office.propose(TWO, "2026-04-01").await;
    assert_eq!(office.waiting().await, [set]);
    let midnight = begin_of(day("2026-04-01")).unwrap();
    assert_eq!(office.all.apply_due(kanazawa(), midnight, &unsaid).await.unwrap(), []);
    assert_eq!(office.state(set).await, State::Preview);

    office.approve(set).await;
    let before = Timestamp(midnight.millis() - 1);
    assert_eq!(office.all.apply_due(kanazawa(), before, &unsaid).await.unwrap(), []);
    assert!(posts(&office.known().await, office.body, "1", "2026-04-01").is_empty());

    assert_eq!(office.all.apply_due(kanazawa(), midnight, &unsaid).await.unwrap(), [set]);
    assert_eq!(office.all.apply_due(kanazawa(), midnight, &unsaid).await.unwrap(), []);
    assert_eq!(office.waiting().await, []);
    assert_eq!(posts(&office.known().await, office.body, "1", "2026-04-01"), ["防災課"]);
    let items = office.all.items(kanazawa(), set, 0, 100).await.unwrap();
    assert!(items.iter().all(|(_, row)| row.state == ItemState::Applied));
}

#[tokio::test]
async fn what_is_undone_stands_as_before_and_the_history_has_all_of_it() {
    let office = Office::new().await;
    office.import(TWO, "2020-04-01").await;
    let before = office.known().await;
    let set = office.import(MOVED, "2026-04-01").await;
    let after = office.known().await;
    assert_eq!(posts(&after, office.body, "1", "2026-04-01"), ["総務課"]);

    office.undo(set).await.unwrap();
    assert_eq!(office.state(set).await, State::Undone);
    assert_eq!(office.known().await, before);
    assert!(matches!(refusal(office.undo(set).await), Refusal::State(State::Undone)));

    // What was said in between is still there: of each record that changed, before, after, and before again.
    let items = office.all.items(kanazawa(), set, 0, 100).await.unwrap();
    for change in items.iter().flat_map(|(_, row)| &row.item.changes) {
        let said = office.all.history(kanazawa(), change.record).await.unwrap();
        let said: Vec<_> = said.into_iter().map(|entry| entry.says).collect();
        assert!(said.ends_with(&[change.after.clone(), change.before.clone()]), "{said:?}");
    }
    // And what was known on 2 April is what was known then.
    let then = begin_of(day("2026-04-02")).unwrap();
    let as_known = office.all.load_as_known(kanazawa(), then).await.unwrap();
    // The undoing has an early moment in this test, so it counts; what was known before the move does too.
    assert_eq!(as_known, before);
    let earlier = begin_of(day("2026-03-31")).unwrap();
    assert_eq!(office.all.load_as_known(kanazawa(), earlier).await.unwrap().len(), before.len());
}

#[tokio::test]
async fn one_item_is_undone_alone_and_the_rest_later() {
    let office = Office::new().await;
    office.import(TWO, "2020-04-01").await;
    let before = office.known().await;
    let set = office.import(MOVED, "2026-04-01").await;
    office.undo_item(set, "1 ").await.unwrap();
    let known = office.known().await;
    assert_eq!(posts(&known, office.body, "1", "2026-04-01"), ["防災課"]);
    assert_eq!(posts(&known, office.body, "2", "2026-04-01"), ["税務課"]);
    assert_eq!(known.breaches(), []);
    assert_eq!(refusal(office.undo_item(set, "1 ").await), Refusal::NothingToUndo);
    // The unit that 2 went to was made for him: it cannot go alone.
    assert!(matches!(refusal(office.undo_item(set, "税務課").await), Refusal::LeantOn(_)));
    office.undo(set).await.unwrap();
    assert_eq!(office.known().await, before);
}

#[tokio::test]
async fn what_others_changed_since_is_not_undone() {
    let office = Office::new().await;
    office.import(TWO, "2020-04-01").await;
    let set = office.import(MOVED, "2026-04-01").await;
    office
        .import(
            "1,山田 花子,,総務課,係長,,2026-04-01,\n2,田中 太郎,,防災課,主事,,2026-10-01,\n",
            "2026-10-01",
        )
        .await;
    let before = office.known().await;
    assert!(matches!(refusal(office.undo(set).await), Refusal::ChangedSince(items) if items.len() == 1));
    assert!(matches!(refusal(office.undo_item(set, "2 ").await), Refusal::ChangedSince(_)));
    assert_eq!((office.known().await, office.state(set).await), (before, State::Applied));
    office.undo_item(set, "1 ").await.unwrap();
}

#[tokio::test]
async fn a_set_that_does_not_fit_any_more_does_nothing() {
    let office = Office::new().await;
    office.import(TWO, "2020-04-01").await;
    let late = office.propose(MOVED, "2026-04-01").await;
    office.approve(late).await;
    office
        .import(
            "1,山田 花子,,防災課,課長,,2026-02-01,\n2,田中 太郎,,総務課,主事,,2020-04-01,\n",
            "2026-02-01",
        )
        .await;
    let before = office.known().await;
    let midnight = begin_of(day("2026-04-01")).unwrap();
    assert_eq!(office.all.apply_due(kanazawa(), midnight, &unsaid).await.unwrap(), [late]);
    let set = office.all.change_set(kanazawa(), late).await.unwrap();
    assert_eq!((set.state, set.stale.len()), (State::Stale, 1));
    assert_eq!(office.known().await, before);
    assert_eq!(office.waiting().await, []);
    // Others go on.
    office.import(MOVED, "2026-04-02").await;
}

#[tokio::test]
async fn a_draft_made_from_an_older_state_is_compared_again() {
    let office = Office::new().await;
    let known = office.all.load(kanazawa()).await.unwrap();
    office.propose(TWO, "2026-04-01").await;
    let late = office.propose_draft(&known, known.ids(), Draft::default(), "2026-04-01").await;
    assert!(matches!(late, Err(Error::Changed)), "{late:?}");
}

#[tokio::test]
async fn a_set_that_was_never_written_to_its_end_is_not_seen_and_goes() {
    let office = Office::new().await;
    let set = office.propose(TWO, "2026-04-01").await;
    // As a process that died would have left it.
    let key = (kanazawa().as_str(), set);
    let shown = office.all.change_set(kanazawa(), set).await.unwrap();
    let mut batch = Batch::new();
    batch.put(&crate::tables::SETS, &key, &crate::ChangeSet { state: State::Gathering, ..shown.clone() });
    office.store.commit(batch).await.unwrap();
    assert!(matches!(office.all.change_set(kanazawa(), set).await, Err(Error::NoSet)));

    let soon = shown.made_at + Duration::from_secs(3_600);
    office.all.apply_due(kanazawa(), soon, &unsaid).await.unwrap();
    assert!(!office.all.items(kanazawa(), set, 0, 1).await.unwrap().is_empty(), "somebody may be writing it");
    office.all.apply_due(kanazawa(), soon + Duration::from_secs(1), &unsaid).await.unwrap();
    assert!(office.all.items(kanazawa(), set, 0, 1).await.unwrap().is_empty());
    assert_eq!(office.waiting().await, []);
}

#[tokio::test]
async fn another_authority_has_another_organisation() {
    let office = Office::new().await;
    office.import(TWO, "2026-04-01").await;
    for other in [server_name!("wajima.test"), server_name!("kanazawa.tes")] {
        let known = office.all.load(other).await.unwrap();
        assert!(
            known.organisation.is_empty()
                && office.all.change_sets(other, None, 10).await.unwrap().is_empty()
        );
    }
}

#[tokio::test]
async fn what_belongs_to_a_deed_is_in_its_commit() {
    static NOTES: store::Table<u64, u64> = store::Table::new(990, "test.notes", store::Tuning::Point);
    let note = |number: u64| {
        let mut batch = Batch::new();
        batch.insert(&NOTES, &number, &1);
        batch
    };
    let office = Office::new().await;
    let set = office.propose(TWO, "2026-04-01").await;
    office.all.withdraw(kanazawa(), set, "hana", Timestamp(2), note(3)).await.unwrap();
    assert_eq!(office.store.get(&NOTES, &3).await.unwrap(), Some(1));
    assert_eq!((office.state(set).await, office.waiting().await), (State::Withdrawn, Vec::new()));
    // Refused, so not noted.
    office.all.withdraw(kanazawa(), set, "hana", Timestamp(2), note(2)).await.unwrap_err();
    assert_eq!(office.store.get(&NOTES, &2).await.unwrap(), None);
    // The list has the newest first, and goes on before one of them.
    let next = office.propose(TWO, "2026-05-01").await;
    let all = office.all.change_sets(kanazawa(), None, 2).await.unwrap();
    assert_eq!(all.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [next, set]);
    let rest = office.all.change_sets(kanazawa(), Some(set), 10).await.unwrap();
    assert_eq!(rest.len(), 1);
}

#[tokio::test]
async fn what_is_written_while_somebody_reads_does_not_count_by_half() {
    let office = Office::new().await;
    office.import(TWO, "2026-04-01").await;
    let known = office.all.load(kanazawa()).await.unwrap();
    // A row of a commit that comes after the head was read.
    let (record, _) = known.organisation.records().next().unwrap();
    let entry = crate::Entry { at: Timestamp(1), set: SetId(1), item: 0, says: None };
    let mut batch = Batch::new();
    batch.put(&crate::tables::HISTORY, &(kanazawa().as_str(), record, known.head.entries), &entry);
    office.store.commit(batch).await.unwrap();
    assert_eq!(office.known().await, known.organisation);
}
