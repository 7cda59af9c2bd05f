//! Waiting for commits: who is woken by what, and which topics moved since a position.
//!
//! What a commit tells is heard first; then its topics are noted as moved, then the head moves, then whoever committed is
//! answered (over shared data last of all), then waiters are woken. So a reader that creates its [`Watch`], takes the
//! head and reads, misses nothing: what came later wakes the watch.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch as signal};

use crate::{
    moves::{Moved, Moves},
    position::{Position, Topic},
    tell::{Ear, unframed},
    waiters::{CROWD, Kinds, Signalled, Waiter, Waiters, Wakes},
};

const SHARDS: usize = 16;

/// The head, the waiters and the recent moves of one store.
pub(crate) struct Hub {
    head: AtomicU64,
    advancing: Mutex<()>,
    advanced: Notify,
    moves: Mutex<Moves>,
    /// The waiters of each topic, by the topic's id: those of one name have the same, whatever their kind.
    shards: [Mutex<HashMap<u64, Waiters>>; SHARDS],
    next_waiter: AtomicU64,
    ears: RwLock<Vec<(u8, Arc<dyn Ear>)>>,
}

impl Hub {
    /// A hub that knows nothing of what was before `head`; it remembers the moves of at least
    /// `remembered` topics.
    pub(crate) fn new(head: Position, remembered: usize) -> Arc<Self> {
        Arc::new(Self {
            head: AtomicU64::new(head.0),
            advancing: Mutex::new(()),
            advanced: Notify::new(),
            moves: Mutex::new(Moves::new(head, remembered)),
            shards: std::array::from_fn(|_| Mutex::default()),
            next_waiter: AtomicU64::new(0),
            ears: RwLock::default(),
        })
    }

    pub(crate) fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    /// Waits until everything up to a position is visible.
    pub(crate) async fn reached(&self, position: Position) {
        loop {
            let mut advanced = std::pin::pin!(self.advanced.notified());
            // Before the look: an advance in between must not be missed.
            advanced.as_mut().enable();
            if self.head() >= position {
                return;
            }
            advanced.await;
        }
    }

    /// Makes everything up to `head` visible and wakes those who wait for the topics.
    ///
    /// Calls may overlap and repeat; the head never goes back.
    pub(crate) fn advance<'a>(
        &self,
        touched: impl Iterator<Item = (Position, &'a [Topic])> + Clone,
        told: impl Iterator<Item = (Position, &'a [u8])>,
        head: Position,
    ) {
        self.reveal(touched.clone(), told, head);
        self.wake_all(touched);
    }

    /// The first half of [`Hub::advance`]: makes everything up to `head` visible. Those who wait for the topics have to be
    /// woken after it.
    pub(crate) fn reveal<'a>(
        &self,
        touched: impl Iterator<Item = (Position, &'a [Topic])>,
        told: impl Iterator<Item = (Position, &'a [u8])>,
        head: Position,
    ) {
        {
            let _one_at_a_time = self.advancing.lock();
            // What comes again is heard no second time: calls that overlap tell the same.
            let known = self.head();
            told.filter(|(position, _)| *position > known)
                .for_each(|(position, told)| self.hear(position, told));
            let mut moves = self.moves.lock();
            for (position, topics) in touched {
                for topic in topics {
                    moves.note(*topic, position);
                }
            }
            drop(moves);
            self.head.fetch_max(head.0, Ordering::AcqRel);
        }
        self.advanced.notify_waiters();
    }

    /// Wakes those who wait for what was touched, or for anything.
    pub(crate) fn wake_all<'a>(&self, touched: impl Iterator<Item = (Position, &'a [Topic])>) {
        for (_, topics) in touched {
            for topic in topics {
                self.wake(*topic);
            }
        }
        self.wake(Topic::ANY);
    }

    /// Makes everything up to `head` visible although it is not known what was touched: of no topic it is said that it
    /// rests since before that, and everybody is woken.
    pub(crate) fn advance_blindly(&self, head: Position) {
        {
            let _one_at_a_time = self.advancing.lock();
            self.moves.lock().forget(head);
            self.head.fetch_max(head.0, Ordering::AcqRel);
        }
        self.advanced.notify_waiters();
        for shard in &self.shards {
            shard.lock().values().for_each(|waiters| waiters.wake(Kinds::ALL));
        }
    }

    /// Has an ear hear what is told to it from now on, instead of the one before it.
    pub(crate) fn listen(&self, kind: u8, ear: Arc<dyn Ear>) {
        let mut ears = self.ears.write();
        ears.retain(|(other, _)| *other != kind);
        ears.push((kind, ear));
    }

    fn hear(&self, position: Position, told: &[u8]) {
        let Some((kind, told)) = unframed(told) else { return };
        let ears = self.ears.read();
        ears.iter().filter(|(ear, _)| *ear == kind).for_each(|(_, ear)| ear.hear(position, told));
    }

    pub(crate) fn moved(&self, topic: Topic, since: Position) -> Moved {
        self.moves.lock().moved(topic, since)
    }

    pub(crate) fn moved_of(&self, topics: impl Iterator<Item = Topic>, since: Position) -> Vec<Moved> {
        let moves = self.moves.lock();
        topics.map(|topic| moves.moved(topic, since)).collect()
    }

    pub(crate) fn moved_since(&self, since: Position, limit: usize) -> Option<Vec<Topic>> {
        self.moves.lock().since(since, limit)
    }

    pub(crate) fn crowd(&self, topic: Topic) -> usize {
        let shard = self.shard(topic.id).lock();
        let waiters = shard.get(&topic.id).map_or(0, |waiters| waiters.count(Kinds::of(topic.kind)));
        if waiters > CROWD { waiters } else { 0 }
    }

    pub(crate) fn watched(&self) -> usize {
        let of = |waiters: &Waiters| waiters.all().iter().map(|waiter| waiter.kinds().count()).sum::<usize>();
        self.shards.iter().map(|shard| shard.lock().values().map(of).sum::<usize>()).sum()
    }

    fn wake(&self, topic: Topic) {
        if let Some(waiters) = self.shard(topic.id).lock().get(&topic.id) {
            waiters.wake(Kinds::of(topic.kind));
        }
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Waiters>> {
        let index = usize::try_from(id % (SHARDS as u64)).unwrap_or(0);
        &self.shards[index]
    }

    pub(crate) fn watch(self: &Arc<Self>, urgent: Vec<Topic>, patient: Vec<Topic>) -> Watch {
        let urgent = urgent.into_iter().map(|topic| (topic.id, Kinds::of(topic.kind), Kinds::default()));
        let patient = patient.into_iter().map(|topic| (topic.id, Kinds::default(), Kinds::of(topic.kind)));
        let mut topics: Vec<(u64, Kinds, Kinds)> = urgent.chain(patient).collect();
        topics.sort_unstable_by_key(|(id, ..)| *id);
        topics.dedup_by(|(other, urgent, patient), (id, all_urgent, all_patient)| {
            let is_same = other == id;
            if is_same {
                *all_urgent = all_urgent.and(*urgent);
                *all_patient = all_patient.and(*patient);
            }
            is_same
        });
        let number = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        let (sender, wakes) = signal::channel(Wakes::default());
        let mut kinds: Vec<(Kinds, Kinds)> = Vec::new();
        let which: Vec<u16> = topics
            .iter()
            .map(|(_, urgent, patient)| {
                let pair = (*urgent, *patient);
                let place = kinds.iter().position(|known| *known == pair).unwrap_or_else(|| {
                    kinds.push(pair);
                    kinds.len() - 1
                });
                // There are as many as there are ways to watch a name, which are few.
                u16::try_from(place).unwrap_or(0)
            })
            .collect();
        let impatient = AtomicUsize::new(0);
        let signalled = Arc::new(Signalled { number, kinds: kinds.into(), wakes: sender, impatient });
        for ((id, ..), which) in topics.iter().zip(which) {
            let waiter = Waiter { signalled: signalled.clone(), which };
            let mut shard = self.shard(*id).lock();
            let waiters = match shard.remove(id) {
                None => Waiters::One(waiter),
                Some(others) => others.with(waiter),
            };
            shard.insert(*id, waiters);
        }
        let ids = topics.into_iter().map(|(id, ..)| id).collect();
        let registration = Arc::new(Registration { hub: self.clone(), number, ids });
        Watch { registration, signalled, wakes, seen: Wakes::default() }
    }
}

/// A standing wait for commits that touch one of some topics; see [`crate::Store::watch`].
///
/// A clone costs no further registration, however many the topics are, and waits for what comes after it was
/// made.
pub struct Watch {
    registration: Arc<Registration>,
    signalled: Arc<Signalled>,
    wakes: signal::Receiver<Wakes>,
    /// Those that have been seen.
    seen: Wakes,
}

struct Registration {
    hub: Arc<Hub>,
    number: u64,
    /// Of the topics, in their order.
    ids: Box<[u64]>,
}

/// A table of waiters of no more places than this does not shrink.
const LEAST_CAPACITY: usize = 256;

/// What the topics of an id take: a place in the registration, and one among the waiters, where most are alone.
const ID_BYTES: usize = size_of::<u64>() + (size_of::<(u64, Waiters)>() + 1) * 3 / 2;

impl Watch {
    /// What it takes in memory with its registration, which clones share, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let channel = 256;
        size_of::<Registration>() + 16 + channel + self.registration.ids.len() * ID_BYTES
    }

    /// Waits for a commit, after the watch was made or after this last returned, that touched one
    /// of the topics. May return in vain.
    pub async fn changed(&mut self) {
        let signalled = self.signalled.clone();
        let _impatient = Impatient::new(&signalled);
        self.woken(|wakes, seen| wakes.all != seen.all).await;
    }

    /// The same, but does not return for what touched only topics for which a crowd waits
    /// [patiently](crate::Store::watch_patiently).
    pub async fn changed_urgently(&mut self) {
        self.woken(|wakes, seen| wakes.urgent != seen.urgent).await;
    }

    async fn woken(&mut self, is_enough: impl Fn(&Wakes, &Wakes) -> bool) {
        loop {
            // Also what nobody was woken for.
            let wakes = *self.wakes.borrow_and_update();
            if is_enough(&wakes, &self.seen) {
                self.seen = wakes;
                return;
            }
            if self.wakes.changed().await.is_err() {
                // Cannot be, for the other end is held here as well; nobody would be left who could touch a topic.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// One who waits for whatever it is, for as long as he does.
struct Impatient<'a>(&'a Signalled);

impl<'a> Impatient<'a> {
    /// Before the look at what there was: whoever touches a topic after that look finds this.
    fn new(signalled: &'a Signalled) -> Self {
        signalled.impatient.fetch_add(1, Ordering::SeqCst);
        Self(signalled)
    }
}

impl Drop for Impatient<'_> {
    fn drop(&mut self) {
        self.0.impatient.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        let mut wakes = self.wakes.clone();
        let seen = *wakes.borrow_and_update();
        Self { registration: self.registration.clone(), signalled: self.signalled.clone(), wakes, seen }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for id in &self.ids {
            let mut shard = self.hub.shard(*id).lock();
            if let Some(left) = shard.remove(id).and_then(|waiters| waiters.without(self.number)) {
                shard.insert(*id, left);
            }
            // A night after a day of many: the table follows those who are left.
            if shard.capacity() > LEAST_CAPACITY && shard.len() < shard.capacity() / 8 {
                let half = shard.len() * 2;
                shard.shrink_to(half);
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("ids", &self.registration.ids).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn topic(id: u64) -> Topic {
        Topic { kind: 1, id }
    }

    /// A commit at a position touches a topic.
    fn touch(hub: &Hub, at: u64, topic: Topic) {
        hub.advance([(Position(at), [topic].as_slice())].into_iter(), std::iter::empty(), Position(at));
    }

    #[tokio::test]
    async fn a_clone_of_a_watch_is_woken_too_and_only_by_what_comes_after_it() {
        let hub = Hub::new(Position(0), 10);
        let touch = |at: u64| touch(&hub, at, topic(1));
        let mut first = hub.watch(vec![topic(1), topic(2)], Vec::new());
        touch(1);
        let mut second = first.clone();
        first.changed().await;
        tokio::select! {
            biased;
            _ = second.changed() => panic!("woken by what came before"),
            () = std::future::ready(()) => {}
        }
        touch(2);
        first.changed().await;
        second.changed().await;
        assert_eq!(hub.shard(1).lock()[&1].all().len(), 1);
        drop(first);
        touch(3);
        second.changed().await;
        drop(second);
        assert!(hub.shard(1).lock().is_empty());
    }

    #[tokio::test]
    async fn what_a_crowd_waits_for_patiently_wakes_nobody_who_waits_for_what_is_urgent() {
        let hub = Hub::new(Position(0), 10);
        let touch = |at: u64, id| touch(&hub, at, topic(id));
        let is_woken = async |watch: &mut Watch| {
            tokio::select! {
                biased;
                () = watch.changed_urgently() => true,
                () = std::future::ready(()) => false,
            }
        };
        let mut watches: Vec<Watch> = (0..CROWD).map(|_| hub.watch(vec![topic(1)], vec![topic(2)])).collect();
        assert_eq!(hub.crowd(topic(2)), 0);
        touch(1, 2);
        assert!(is_woken(&mut watches[0]).await, "a few need not be patient");
        watches.push(hub.watch(vec![topic(1)], vec![topic(2)]));
        assert_eq!(hub.crowd(topic(2)), CROWD + 1);
        touch(2, 2);
        assert!(!is_woken(&mut watches[0]).await);
        touch(3, 2);
        watches[0].changed().await;
        touch(4, 2);
        touch(5, 1);
        assert!(is_woken(&mut watches[0]).await, "also among others");
    }

    /// How often a task was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn whoever_of_a_crowd_is_patient_sleeps_through_what_is_not_urgent_and_misses_none_of_it() {
        let hub = Hub::new(Position(0), 10);
        let touch = |at: u64, id| touch(&hub, at, topic(id));
        let watches: Vec<Watch> = (0..=CROWD).map(|_| hub.watch(vec![topic(1)], vec![topic(2)])).collect();
        let (mut patient, mut other) = (watches[0].clone(), watches[0].clone());
        let woken = Arc::new(Woken::default());
        let waker = std::task::Waker::from(woken.clone());
        let mut context = std::task::Context::from_waker(&waker);
        let wakes = || woken.0.load(Ordering::SeqCst);
        {
            let mut sleep = std::pin::pin!(patient.changed_urgently());
            assert!(sleep.as_mut().poll(&mut context).is_pending());
            (1..100).for_each(|at| touch(at, 2));
            assert_eq!(wakes(), 0);
            touch(100, 1);
            assert!(wakes() > 0 && sleep.as_mut().poll(&mut context).is_ready());
        }
        // One of the same registration who is not patient is woken, and only for as long as he waits.
        assert!(std::pin::pin!(other.changed()).poll(&mut context).is_ready());
        let before = wakes();
        {
            let mut wait = std::pin::pin!(other.changed());
            assert!(wait.as_mut().poll(&mut context).is_pending());
            touch(101, 2);
            assert!(wakes() > before && wait.as_mut().poll(&mut context).is_ready());
        }
        let before = wakes();
        assert!(std::pin::pin!(patient.changed_urgently()).poll(&mut context).is_pending());
        touch(102, 2);
        assert_eq!(wakes(), before);
        // What came meanwhile is there for whoever asks for all.
        assert!(std::pin::pin!(patient.changed()).poll(&mut context).is_ready());
        assert!(std::pin::pin!(patient.changed()).poll(&mut context).is_pending());
    }

    #[tokio::test]
    async fn who_knows_that_something_is_missing_wakes_everybody_and_says_of_no_topic_that_it_rests() {
        let hub = Hub::new(Position(0), 10);
        let mut watches = [hub.watch(vec![topic(1)], Vec::new()), hub.watch(vec![Topic::ANY], Vec::new())];
        touch(&hub, 1, topic(2));
        hub.advance_blindly(Position(9));
        for watch in &mut watches {
            watch.changed().await;
        }
        assert_eq!(hub.head(), Position(9));
        let said = |since| (hub.moved(topic(1), since), hub.moved_since(since, 10));
        assert_eq!(said(Position(8)), (Moved::Maybe, None));
        assert_eq!(said(Position(9)), (Moved::No, Some(Vec::new())));
    }

    #[tokio::test]
    async fn a_watch_remembers_a_wake_up_that_came_before_the_wait() {
        let hub = Hub::new(Position(0), 10);
        let mut watch = hub.watch(vec![topic(1), topic(1), topic(2)], vec![topic(2)]);
        touch(&hub, 1, topic(1));
        watch.changed().await;
        assert_eq!(hub.head(), Position(1));
    }

    #[tokio::test]
    async fn topics_of_one_name_are_kept_together_and_told_apart() {
        let hub = Hub::new(Position(0), 10);
        let of = |kind| Topic { kind, id: 1 };
        let is_woken = async |watch: &mut Watch| {
            tokio::select! {
                biased;
                () = watch.changed_urgently() => true,
                () = std::future::ready(()) => false,
            }
        };
        let mut both = hub.watch(vec![of(1)], vec![of(2)]);
        let mut one: Vec<Watch> = (0..CROWD).map(|_| hub.watch(vec![of(1)], Vec::new())).collect();
        assert_eq!(hub.watched(), CROWD + 2);
        assert_eq!((hub.crowd(of(1)), hub.crowd(of(2)), hub.crowd(of(3))), (CROWD + 1, 0, 0));
        let touch = |at, kind| touch(&hub, at, of(kind));
        touch(1, 2);
        assert!(is_woken(&mut both).await, "alone with the second kind, so it need not be patient");
        assert!(!is_woken(&mut one[0]).await);
        touch(2, 3);
        assert!(!is_woken(&mut both).await);
        touch(3, 1);
        assert!(is_woken(&mut both).await && is_woken(&mut one[0]).await);
    }

    #[test]
    fn of_each_kind_a_crowd_is_as_large_as_those_who_wait_for_it() {
        let hub = Hub::new(Position(0), 10);
        let of = |kind| Topic { kind, id: 1 };
        let crowds = || [of(1), of(2), of(200)].map(|topic| hub.crowd(topic));
        let mut first: Vec<Watch> = (0..100).map(|_| hub.watch(vec![of(1)], vec![of(2)])).collect();
        let mut second: Vec<Watch> = (0..80).map(|_| hub.watch(vec![of(2)], vec![of(200)])).collect();
        assert_eq!(crowds(), [100, 180, 80]);
        first.truncate(70);
        assert_eq!(crowds(), [70, 150, 80]);
        second.clear();
        assert_eq!(crowds(), [70, 70, 0]);
        first.truncate(CROWD);
        assert_eq!(crowds(), [0, 0, 0]);
        second.extend((0..80).map(|_| hub.watch(vec![of(2)], Vec::new())));
        assert_eq!(crowds(), [0, CROWD + 80, 0]);
    }

    /// Each step wakes all before the next one, so each is another race of those who touch with those who begin to wait,
    /// give up, and come and go around the size of a crowd.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_sleeps_through_what_he_waits_for_while_others_come_and_go() {
        const STEPS: u64 = 300;
        let hub = Hub::new(Position(0), 10);
        let seen: Arc<[AtomicU64]> = (0..CROWD + 6).map(|_| AtomicU64::new(0)).collect();
        let readers = (0..CROWD + 6).map(|number| {
            let (hub, seen) = (hub.clone(), seen.clone());
            tokio::spawn(async move {
                let mut kept = hub.watch(vec![topic(1)], vec![topic(2)]);
                for round in 0_usize.. {
                    if number % 4 == 0 {
                        kept = hub.watch(vec![topic(1)], vec![topic(2)]);
                    }
                    let mut watch = kept.clone();
                    let head = hub.head().0;
                    seen[number].store(head, Ordering::SeqCst);
                    if head == STEPS {
                        return;
                    }
                    // Odd steps touch what is patient, even ones what is urgent.
                    let is_urgent = number % 3 == 0 && head % 2 == 1;
                    let wait = async {
                        if is_urgent { watch.changed_urgently().await } else { watch.changed().await }
                    };
                    if number % 5 == 0 && round % 2 == 0 {
                        tokio::select! {
                            biased;
                            () = wait => {}
                            () = tokio::task::yield_now() => {}
                        }
                    } else {
                        wait.await;
                    }
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        let steps = async {
            for step in 1..=STEPS {
                let touched = [topic(2 - (step + 1) % 2)];
                hub.advance([(Position(step), &touched[..])].into_iter(), std::iter::empty(), Position(step));
                while seen.iter().any(|seen| seen.load(Ordering::SeqCst) < step) {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), steps).await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
        assert!(hub.shards.iter().all(|shard| shard.lock().is_empty()));
    }

    #[test]
    fn the_tables_follow_those_who_are_left() {
        let hub = Hub::new(Position(0), 10);
        let _left = hub.watch((0..100).map(topic).collect(), Vec::new());
        drop(hub.watch((0..50_000).map(topic).collect(), Vec::new()));
        assert_eq!(hub.watched(), 100);
        let largest = hub.shards.iter().map(|shard| shard.lock().capacity()).max().unwrap();
        assert!(largest <= 2 * LEAST_CAPACITY, "{largest} places for a few");
    }

    #[test]
    fn a_dropped_watch_leaves_nothing_behind() {
        let hub = Hub::new(Position(0), 10);
        let first = hub.watch(vec![topic(1)], vec![topic(2)]);
        let second = hub.watch(vec![topic(2)], Vec::new());
        drop(first);
        assert!(hub.shard(1).lock().is_empty());
        assert_eq!(hub.shard(2).lock()[&2].all().len(), 1);
        drop(second);
        assert!(hub.shard(2).lock().is_empty());
    }
}
