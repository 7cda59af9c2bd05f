//! What people decide, what the audit log tells of it, and what the server does at the hour and after a crash.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use async_trait::async_trait;
use store::{CommitError, Error as StoreError, RawBatch, RawCommitted};

use super::*;

const MOVED: &str = "\
00001,山田　花子,ﾔﾏﾀﾞ ﾊﾅｺ,総務部　人事課,課長,R8.4.1\r\n\
00002,髙橋 一郎,ﾀｶﾊｼ ｲﾁﾛｳ,総務部　税務課,主査,R8.4.1\r\n";

#[tokio::test]
async fn nothing_is_applied_before_it_is_decided_nor_before_its_hour() {
    let town = Town::new().await;
    let (id, _) = town.import(file(THREE), "2026-04-01").await.unwrap().unwrap();
    assert!(refusal(town.set_after(Order::Apply { id }).await).contains("まだ承認されていません"));
    town.approve(id).await;
    assert!(refusal(town.set_after(Order::Apply { id }).await).contains("令和8年4月1日 0:00 に適用されます"));
    assert_eq!(town.people("2026-04-01").await, [""; 0]);
    assert_eq!(town.set_after(Order::Withdraw { id }).await.unwrap().state, State::Withdrawn);
}

#[tokio::test]
async fn undoing_brings_back_the_same_organisation_whole_or_by_line() {
    let town = Town::new().await;
    town.take(file(THREE), "2026-04-01").await;
    let before = (town.show("2026-03-31").await, town.show("2027-01-01").await);
    let as_told = |shown: &Shown| serde_json::to_string(shown).unwrap();
    let id = town.take(file(MOVED), "2026-04-01").await;
    let moved = ["人事課 課長 山田 花子", "税務課 主査 髙橋 一郎"];
    assert_eq!(town.people("2027-01-01").await, moved);

    let lines = town.lines(id).await;
    let ended = lines.iter().find(|line| line.about.starts_with("00003")).unwrap();
    assert_eq!(ended.kind, Kind::Ended);
    let line = Some(ended.number);
    town.set_after(Order::Undo { id, line }).await.unwrap();
    let back = town.people("2027-01-01").await;
    assert_eq!(back, ["人事課 係長 鈴木 次郎", "人事課 課長 山田 花子", "税務課 主査 髙橋 一郎"]);
    assert!(refusal(town.set_after(Order::Undo { id, line }).await).contains("元に戻すものがありません"));

    assert_eq!(town.set_after(Order::Undo { id, line: None }).await.unwrap().state, State::Undone);
    let after = (town.show("2026-03-31").await, town.show("2027-01-01").await);
    assert_eq!((as_told(&after.0), as_told(&after.1)), (as_told(&before.0), as_told(&before.1)));
    let nothing = Order::Undo { id, line: Some(4_000_000_000) };
    assert!(town.set_after(nothing).await.is_err());
}

#[tokio::test]
async fn each_deed_is_in_the_audit_log_with_who_did_it_and_a_refused_one_is_not() {
    let town = Town::new().await;
    let id = town.take(file(THREE), "2026-04-01").await;
    town.set_after(Order::Withdraw { id }).await.unwrap_err();
    town.set_after(Order::Undo { id, line: None }).await.unwrap();
    let (other, _) = town.import(file(THREE), "2026-04-01").await.unwrap().unwrap();
    town.set_after(Order::Withdraw { id: other }).await.unwrap();

    let log = town.log(kanazawa()).await;
    let told: Vec<_> =
        log.iter().map(|row| (row.what.as_str(), row.whom.as_str(), row.who.as_str())).collect();
    let (id, other) = (id.0.to_string(), other.0.to_string());
    let by = "uid 1000";
    assert_eq!(
        told,
        [
            ("organisation.propose", id.as_str(), by),
            ("organisation.apply", id.as_str(), by),
            ("organisation.undo", id.as_str(), by),
            ("organisation.propose", other.as_str(), by),
            ("organisation.withdraw", other.as_str(), by),
        ]
    );
    let fact = |row: &Record, name: &str| {
        row.after.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap()
    };
    assert_eq!((fact(&log[0], "body"), fact(&log[0], "day")), ("首長部局".into(), "2026-04-01".into()));
    assert_eq!(fact(&log[1], "approved_by"), "hana (personnel), taro (administrator)");
}

/// Waits until a set has come so far, on real threads that a clock does not steer.
async fn until(town: &Town, id: SetId, is_there: impl Fn(State) -> bool) {
    while !is_there(town.set_after(Order::Set { id }).await.unwrap().state) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_server_applies_what_is_approved_when_its_minute_comes_by_itself() {
    let town = Town::new().await;
    town.desk.start();
    let (id, _) = town.import(file(THREE), "2026-04-01").await.unwrap().unwrap();
    town.approve(id).await;
    assert_eq!(town.set_after(Order::Set { id }).await.unwrap().state, State::Approved);
    town.hand.set_forward(Duration::from_secs(3_600));
    while town.set_after(Order::Set { id }).await.unwrap().state != State::Applied {
        town.hand.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let log = town.log(kanazawa()).await;
    let last = log.last().unwrap();
    assert_eq!((last.what.as_str(), last.role.as_str()), ("organisation.apply", "server"));
    town.tasks.stop(Duration::from_secs(10)).await;
}

/// A disk that takes so many commits and then none.
struct Dying {
    memory: MemoryBackend,
    left: AtomicI64,
}

#[async_trait]
impl Interposed for Dying {
    fn behind(&self) -> &dyn Backend {
        &self.memory
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        if self.left.fetch_sub(1, SeqCst) > 0 {
            return self.memory.commit(batches).await;
        }
        let dead = || StoreError::backend("commit", "the process is dead");
        batches.iter().map(|_| Err(CommitError::Store(dead()))).collect()
    }
}

#[tokio::test]
async fn the_next_process_goes_on_with_what_was_begun_and_tells_the_log_of_it_once() {
    let disk = MemoryDisk::default();
    let rows: String =
        (1..=1_500).map(|n| format!("{n:05},山田 花子,ﾔﾏﾀﾞ ﾊﾅｺ,防災課,主事,R2.4.1\r\n")).collect();
    let town = Town::at(&disk, MIDNIGHT).await;
    let (id, _) = town.import(file(&rows), "2026-04-01").await.unwrap().unwrap();
    town.approve(id).await;
    town.store.close().await.unwrap();

    // It begins, does a slice, and dies.
    let dying = Dying { memory: MemoryBackend::open(&disk), left: AtomicI64::new(2) };
    let town = Town::over(Arc::new(dying), MIDNIGHT).await;
    assert!(town.set_after(Order::Apply { id }).await.is_err());
    let state = town.set_after(Order::Set { id }).await.unwrap().state;
    assert!(matches!(state, State::Applying { done } if done > 0), "{state:?}");
    town.store.close().await.ok();

    let town = Town::at(&disk, MIDNIGHT).await;
    town.desk.start();
    until(&town, id, |state| state == State::Applied).await;
    assert_eq!(town.people("2026-04-01").await.len(), 1_500);
    let log = town.log(kanazawa()).await;
    assert_eq!(log.iter().filter(|row| row.what == "organisation.apply").count(), 1);
    town.tasks.stop(Duration::from_secs(10)).await;
}
