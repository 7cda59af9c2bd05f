//! The tip of a room in memory: the lock that writers take, and what they find under it.
//!
//! A writer holds the room's lock while it builds, signs, checks and *submits*, not while the batch
//! goes to disk. So [`Live`] describes the room after all batches submitted so far, some of which
//! are still on their way ([`Flight`]). When one of them fails, everything after it fails too (each
//! batch demands the head row that the one before wrote), and the next writer starts again from the
//! store. So several processes over one store stay correct without knowing of each other.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{Cache, Caches};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use room::{
    Error,
    ids::{EventSerial, RoomSerial, Root, StateKeySerial},
    read::{
        event::{StoredEvent, touch_changed},
        room::RoomInfo,
    },
    snapshot::Hold,
    tables::{Extremity, HEADS, Head, SUMMARIES, StateKeyName, Summary, TimelineRow},
};
use ruma::OwnedEventId;
use store::{Batch, CommitError, Committed, Slot};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{Engine, request::TxnKey, view::Fresh};

/// State events of a room's current state, by type and key; `None` where the room has none.
pub(crate) type KnownState = HashMap<StateKeyName, Option<Arc<StoredEvent>>>;

/// The outcome of a submitted batch, for any number of those who wait for it.
pub(crate) type Landing = Shared<BoxFuture<'static, Result<Committed, CommitError>>>;

/// How many entries of the current state are kept in memory for a room, and how many bytes of them.
const KNOWN_STATE_LIMIT: usize = 4_096;
const KNOWN_STATE_BYTES: usize = 256 << 10;

/// How much may be on its way to disk for one room before writers wait, in things and in bytes.
const FRESH_LIMIT: usize = 4_096;
const FRESH_BYTES: usize = 16 << 20;

/// How much of what is on its way to disk is copied for one who works beside the lock.
const COPIED_LIMIT: usize = 256;

/// An entry of the known state beside its names and its event, with what is free in the table.
const KNOWN_BYTES: usize = size_of::<(StateKeyName, Option<Arc<StoredEvent>>)>() * 3 / 2;
const EXTREMITY_BYTES: usize = size_of::<Extremity>() + 48;

/// A batch on its way to disk.
pub(crate) struct Flight {
    pub(crate) landing: Landing,
    /// The request it serves.
    pub(crate) txn: Option<TxnKey>,
}

/// Serials of what is new in a batch.
///
/// Who makes a batch over again that was never submitted takes them over: so equal states have equal roots in both, and
/// what was resolved for the one is known to the other.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) events: HashMap<OwnedEventId, EventSerial>,
    pub(crate) keys: HashMap<StateKeyName, StateKeySerial>,
}

/// A finished batch, and what the room is when it is submitted.
pub(crate) struct Staged {
    pub(crate) batch: Batch,
    pub(crate) head: Head,
    pub(crate) summary: Summary,
    pub(crate) state: KnownState,
    pub(crate) forget_state: bool,
    pub(crate) fresh: Fresh,
    /// The events of the batch, with their log entries.
    pub(crate) placed: Vec<(Arc<StoredEvent>, Option<Slot>)>,
    /// What the batch appends to the timeline.
    pub(crate) shown: Vec<(Slot, TimelineRow)>,
    /// Events stored before whose rows the batch changes.
    pub(crate) changed: Vec<EventSerial>,
    pub(crate) given: Given,
    /// To be kept until the batch is submitted.
    pub(crate) hold: Hold,
}

/// A room's tip.
pub(crate) struct Live {
    /// The head row as of the last submitted batch; `None` while the room has none.
    pub(crate) head: Option<Head>,
    pub(crate) summary: Summary,
    pub(crate) state: KnownState,
    pub(crate) fresh: Fresh,
    pub(crate) flights: VecDeque<Flight>,
    /// Whether others than our servers take part in the room, and the state in which that was looked up.
    concerns_others: Option<(Root, bool)>,
    /// Which reading of the room from the store it goes back to. A head can come again: when a batch fails, another
    /// may make the same of the one before, and yet what the first one added is nowhere.
    epoch: u64,
    /// What the known state takes, in bytes.
    state_bytes: usize,
    /// What the cache was told last.
    charged: usize,
}

impl Live {
    /// A room that has no head row yet.
    fn empty(epoch: u64) -> Self {
        Self {
            epoch,
            head: None,
            summary: Summary { federate: true, ..Summary::default() },
            state: KnownState::new(),
            fresh: Fresh::default(),
            flights: VecDeque::new(),
            concerns_others: None,
            state_bytes: 0,
            charged: 0,
        }
    }

    /// The same tip for one who works beside the lock. What is known of the state is left out: that is for speed only.
    pub(crate) fn copy(&self) -> Self {
        Self {
            epoch: self.epoch,
            head: self.head.clone(),
            summary: self.summary.clone(),
            state: KnownState::new(),
            fresh: self.fresh.clone(),
            flights: VecDeque::new(),
            concerns_others: self.concerns_others,
            state_bytes: 0,
            charged: 0,
        }
    }

    /// Whether it is the very tip that was copied: nothing was submitted since, and nothing of it has failed.
    pub(crate) fn is_still(&self, copied: &Self) -> bool {
        self.epoch == copied.epoch && self.head == copied.head
    }

    /// Whether what is said in this state of the room, and changes nothing of it, concerns other servers than ours.
    /// Where that was not looked up it does.
    pub(crate) fn concerns_others(&self, root: Root) -> bool {
        self.concerns_others != Some((root, false))
    }

    /// Whether so little is on its way to disk that a copy costs little.
    pub(crate) fn can_be_copied(&self) -> bool {
        self.fresh.len() <= COPIED_LIMIT
    }

    /// Notes what state events a batch has set, and lets go what there was before if that is to be forgotten or
    /// has become much.
    fn learn(&mut self, state: KnownState, forget: bool) {
        let is_much =
            self.state.len() + state.len() > KNOWN_STATE_LIMIT || self.state_bytes > KNOWN_STATE_BYTES;
        if forget || is_much {
            self.state = KnownState::new();
            self.state_bytes = 0;
        }
        if state.len() > KNOWN_STATE_LIMIT {
            // With a join all state of the room is new: of a large one, that is too much to keep.
            return;
        }
        for (name, event) in state {
            let names = name.kind.len() + name.key.len();
            let own =
                |event: &Option<Arc<StoredEvent>>| event.as_ref().map_or(0, |event| event.memory_bytes());
            self.state_bytes += own(&event);
            match self.state.insert(name, event) {
                Some(before) => self.state_bytes = self.state_bytes.saturating_sub(own(&before)),
                None => self.state_bytes += names + KNOWN_BYTES,
            }
        }
    }

    /// Whether so much is on its way to disk that writers wait.
    fn has_much_on_its_way(&self) -> bool {
        self.fresh.len() > FRESH_LIMIT || self.fresh.memory_bytes() > FRESH_BYTES
    }

    /// What it keeps in memory, in bytes. Events that the cache of events has too are counted: they are kept by both. What
    /// is on its way to disk is not: it is bounded and gone in a moment, and whoever says much at once is not to put the tips of other
    /// rooms out.
    fn memory_bytes(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |head| head.extremities.len() * EXTREMITY_BYTES);
        size_of::<Self>() + self.summary.memory_bytes() + head + self.state_bytes
    }

    /// Takes landed batches off the list. False: one failed, and this tip is not the room's.
    fn settle(&mut self) -> bool {
        while let Some(flight) = self.flights.front() {
            match flight.landing.clone().now_or_never() {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(_)) => {
                    self.flights.pop_front();
                }
            }
        }
        self.fresh = Fresh::default();
        true
    }

    /// Waits until everything submitted is on disk. False: something failed.
    async fn land(&mut self) -> bool {
        while let Some(flight) = self.flights.front() {
            if flight.landing.clone().await.is_err() {
                return false;
            }
            self.flights.pop_front();
        }
        self.fresh = Fresh::default();
        true
    }
}

/// The tips of recently written rooms.
pub(crate) struct Lives {
    rooms: Cache<RoomSerial, Tip>,
    /// No tip is charged more. One that the cache would not keep would be loaded anew for each writer, who would not
    /// see what is on its way; and what is much of it is only until it has landed.
    most_of_one: usize,
    /// How often any room was read.
    epochs: AtomicU64,
}

/// A room's tip with its lock, and what the tip took when it was last unlocked.
#[derive(Clone, Default)]
struct Tip {
    live: Arc<Mutex<Option<Live>>>,
    bytes: usize,
}

impl Lives {
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |_: &RoomSerial, tip: &Tip| size_of::<Mutex<Option<Live>>>() + tip.bytes;
        let most_of_one = usize::try_from(bytes / 8).unwrap_or(usize::MAX);
        Self {
            rooms: Cache::of_large(caches, "room_tips", bytes, owned),
            most_of_one,
            epochs: AtomicU64::new(0),
        }
    }

    /// An evicted tip that somebody still uses costs a conflict and a retry, nothing else.
    fn entry(&self, room: RoomSerial) -> Arc<Mutex<Option<Live>>> {
        self.rooms.get_or_insert_with(&room, Tip::default).live
    }

    /// Charges a room's tip anew, if it has become much more or less.
    fn charge(&self, room: RoomSerial, guard: &mut OwnedMutexGuard<Option<Live>>) {
        let Some(live) = guard.as_mut() else { return };
        let bytes = live.memory_bytes().min(self.most_of_one);
        if bytes > live.charged + live.charged / 4 || bytes < live.charged / 2 {
            live.charged = bytes;
            let live = OwnedMutexGuard::mutex(guard).clone();
            // One that was evicted is its last users' own.
            if self.rooms.get(&room).is_some_and(|tip| Arc::ptr_eq(&tip.live, &live)) {
                self.rooms.insert(room, Tip { live, bytes });
            }
        }
    }
}

/// A locked room.
pub(crate) struct Guard {
    pub(crate) room: Arc<RoomInfo>,
    live: OwnedMutexGuard<Option<Live>>,
}

impl Engine {
    /// Locks a room and makes sure that its tip is in memory.
    pub(crate) async fn lock(&self, room: &Arc<RoomInfo>) -> Result<Guard, Error> {
        // Before the lock: who waits for the disk must not hold up the room.
        self.store().ready().await;
        let live = self.0.lives.entry(room.serial).lock_owned().await;
        let mut guard = Guard { room: room.clone(), live };
        let current = match guard.live.as_mut() {
            // Somebody else may have come in since.
            None | Some(Live { head: None, .. }) => false,
            Some(live) if live.has_much_on_its_way() => live.land().await,
            Some(live) => live.settle(),
        };
        if !current {
            guard.reload(self).await?;
        }
        Ok(guard)
    }
}

impl Engine {
    /// As [`Engine::lock`], with a tip that was the room's a moment ago: for what is decided without a
    /// batch of its own.
    pub(crate) async fn lock_current(&self, room: &Arc<RoomInfo>) -> Result<Guard, Error> {
        let mut guard = self.lock(room).await?;
        guard.is_current(self).await?;
        Ok(guard)
    }
}

impl Guard {
    /// The tip. Loaded by [`Engine::lock`]; gone only after a failed [`Guard::land`] whose error was ignored.
    pub(crate) fn live(&self) -> Result<&Live, Error> {
        self.live.as_ref().ok_or(Error::Contended)
    }

    /// The head row.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when we take no part in the room.
    pub(crate) fn head(&self) -> Result<&Head, Error> {
        self.live()?.head.as_ref().ok_or_else(|| Error::NoRoom(self.room.room_id.clone()))
    }

    /// Waits until everything submitted is on disk, so that the store alone tells all of the room.
    ///
    /// # Errors
    /// [`Error::Contended`] when something failed; the tip has been loaded anew then.
    pub(crate) async fn land(&mut self, engine: &Engine) -> Result<(), Error> {
        let landed = match self.live.as_mut() {
            Some(live) => live.land().await,
            None => false,
        };
        if landed {
            return Ok(());
        }
        self.reload(engine).await?;
        Err(Error::Contended)
    }

    /// Whether the tip is still the room's. Asked before somebody is told no, or that there is nothing to
    /// do: no batch's precondition shows then that another process wrote the room. If it is not, the
    /// tip has been loaded anew, and the decision must be made again.
    pub(crate) async fn is_current(&mut self, engine: &Engine) -> Result<bool, Error> {
        match self.land(engine).await {
            Ok(()) => {}
            Err(Error::Contended) => return Ok(false),
            Err(error) => return Err(error),
        }
        let stored = engine.store().get(&HEADS, &self.room.serial).await?;
        if stored == self.live()?.head {
            return Ok(true);
        }
        self.reload(engine).await?;
        Ok(false)
    }

    /// Looks up whether others than our servers take part in the room, unless that is known of its state as it is.
    ///
    /// In most rooms nobody else does. What is said there is no news for the sender to other servers, which would
    /// read the log, the timeline and the event to find that out.
    pub(crate) async fn look_for_others(&mut self, engine: &Engine) -> Result<(), Error> {
        let root = self.head()?.current;
        if let Some(live) = self.live.as_mut()
            // Where others were, they are taken to be there until the tip is read anew: looking again after each change
            // of a room that federates would cost more than it spares.
            && live.concerns_others.is_none_or(|(known, others)| known != root && !others)
        {
            let found = engine.rooms().concerns_others(self.room.serial, root).await?;
            live.concerns_others = found.map(|found| (root, found));
        }
        Ok(())
    }

    /// A batch in flight that serves this request.
    pub(crate) fn find_flight(&self, txn: &TxnKey) -> Option<Landing> {
        let flights = &self.live.as_ref()?.flights;
        flights.iter().find(|flight| flight.txn.as_ref() == Some(txn)).map(|flight| flight.landing.clone())
    }

    /// Lets the tip go: whoever comes next reads it from the store, and nothing fits that was made beside the lock of what
    /// was.
    pub(crate) fn forget(&mut self) {
        *self.live = None;
    }

    /// Reads the tip from the store.
    async fn reload(&mut self, engine: &Engine) -> Result<(), Error> {
        *self.live = None;
        let mut reads = store::Reads::new();
        let head = reads.get(&HEADS, &self.room.serial);
        let summary = reads.get(&SUMMARIES, &self.room.serial);
        let mut found = engine.store().read(reads).await?;
        let (head, summary) = (found.take(head)?, found.take(summary)?);
        let empty = Live::empty(engine.0.lives.epochs.fetch_add(1, Ordering::Relaxed));
        *self.live = Some(Live { head, summary: summary.unwrap_or(empty.summary.clone()), ..empty });
        Ok(())
    }

    /// Hands a finished batch to the store; from here on the room is what the batch makes of it.
    pub(crate) fn submit(&mut self, engine: &Engine, staged: Staged, txn: Option<TxnKey>) -> Landing {
        let Staged { mut batch, head, summary, state, forget_state, fresh, placed, .. } = staged;
        let Staged { shown, changed, hold, .. } = staged;
        // Before the commit: whoever reads the old form from now on must not cache it. Again after it.
        engine.rooms().forget_cached(changed.iter().copied());
        touch_changed(engine.store(), &mut batch, &changed);
        engine.rooms().end_typing(&self.room, &mut batch, placed.iter().map(|(event, _)| &**event));
        // What the batch brings is in memory before anybody is woken by it: the first of many readers does not read it
        // back for all.
        let (rooms, room) = (engine.rooms().clone(), self.room.clone());
        let receipt = engine.store().submit_with(batch, move |committed| {
            rooms.remember_committed(&placed, committed);
            rooms.forget_cached(changed);
            rooms.extend_tail(&room, &shown, committed);
        });
        drop(hold);
        let landing = receipt.boxed().shared();
        if let Some(live) = self.live.as_mut() {
            live.head = Some(head);
            live.summary = summary;
            live.learn(state, forget_state);
            live.fresh.merge(fresh);
            live.flights.push_back(Flight { landing: landing.clone(), txn });
        }
        engine.0.lives.charge(self.room.serial, &mut self.live);
        landing
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::tests::stored::stored;

    fn known(first: u64, count: u64) -> KnownState {
        let event = |n: u64| {
            let key = format!("@shokuin{n}:kanazawa.example.jp");
            let event = stored(first + n, "m.room.member", Some(&key), r#"{"membership":"join"}"#);
            (StateKeyName { kind: "m.room.member".to_owned(), key }, Some(event))
        };
        (0..count).map(event).collect()
    }

    #[tokio::test]
    async fn tips_are_charged_what_they_take_also_when_they_grow() {
        for count in [1, 10, 500] {
            let (lives, in_use) = meter::kept(|| {
                let lives = Lives::new(&Caches::new(), 1 << 28);
                for room in (0..50).map(RoomSerial) {
                    let mut guard = lives.entry(room).try_lock_owned().unwrap();
                    *guard = Some(Live::empty(0));
                    // What is learnt twice is there once.
                    for state in [known(0, count), known(1_000, count)] {
                        guard.as_mut().unwrap().learn(state, false);
                        lives.charge(room, &mut guard);
                    }
                }
                lives
            });
            assert_eq!(lives.rooms.len(), 50);
            meter::assert_charged(&format!("tips with {count} members"), lives.rooms.bytes(), in_use);
        }
    }

    #[tokio::test]
    async fn a_tip_of_a_room_of_many_members_is_kept_whatever_they_take() {
        let lives = Lives::new(&Caches::new(), 1 << 18);
        let mut guard = lives.entry(RoomSerial(1)).try_lock_owned().unwrap();
        *guard = Some(Live::empty(0));
        for first in 0..40 {
            let state = known(100 * first, 100).into_iter().map(|(mut name, event)| {
                name.key.push_str(&first.to_string());
                (name, event)
            });
            guard.as_mut().unwrap().learn(state.collect(), false);
            lives.charge(RoomSerial(1), &mut guard);
            assert!(guard.as_ref().unwrap().state_bytes < 2 * KNOWN_STATE_BYTES);
        }
        assert!(Arc::ptr_eq(&lives.entry(RoomSerial(1)), OwnedMutexGuard::mutex(&guard)));
    }

    #[tokio::test]
    async fn a_tip_that_was_evicted_is_not_put_back_by_who_still_has_it() {
        let lives = Lives::new(&Caches::new(), 1 << 20);
        let mut old = lives.entry(RoomSerial(1)).try_lock_owned().unwrap();
        lives.rooms.clear();
        let new = lives.entry(RoomSerial(1));
        *old = Some(Live::empty(0));
        old.as_mut().unwrap().learn(known(0, 10), false);
        lives.charge(RoomSerial(1), &mut old);
        assert!(Arc::ptr_eq(&lives.entry(RoomSerial(1)), &new));
    }

    #[tokio::test]
    async fn who_has_much_on_its_way_to_disk_puts_no_other_tip_out_and_waits() {
        let lives = Lives::new(&Caches::new(), 1 << 20);
        let mut busy = Live::empty(0);
        let text = "x".repeat(60_000);
        for serial in 0..400 {
            let content = format!(r#"{{"body":"{text}"}}"#);
            busy.fresh.add_event(stored(serial, "m.room.message", None, &content));
        }
        assert!(busy.has_much_on_its_way() && busy.fresh.len() < FRESH_LIMIT);
        let others: Vec<_> = (1..20).map(|room| lives.entry(RoomSerial(room))).collect();
        let mut guard = lives.entry(RoomSerial(99)).try_lock_owned().unwrap();
        *guard = Some(busy);
        lives.charge(RoomSerial(99), &mut guard);
        for (room, other) in (1..20).zip(&others) {
            assert!(Arc::ptr_eq(&lives.entry(RoomSerial(room)), other), "{room}");
        }
    }

    #[test]
    fn that_nobody_else_takes_part_is_known_of_one_state_alone() {
        let (then, now) = (Root([1; 16]), Root([2; 16]));
        let mut live = Live::empty(0);
        assert!(live.concerns_others(then), "not looked up");
        live.concerns_others = Some((then, false));
        assert!(!live.concerns_others(then) && live.concerns_others(now));
        assert!(!live.copy().concerns_others(then) && live.copy().concerns_others(now));
        live.concerns_others = Some((then, true));
        assert!(live.concerns_others(then) && live.concerns_others(now));
    }
}
