//! Errands: what the bot does for somebody that may take long, beside the events that asked for it.
//!
//! An errand waits in a lane of whoever it is for, and of its kind. Of each lane one is done at a time, and both errands and
//! lanes rest longer and longer after failures; so what one user heaps up, or what some server makes of it, delays nobody
//! else. An errand is written down in the same commit as the note that its event is done, and is done again after a crash.
//!
//! Reading order: [`Errand`], [`note`], [`run`], then `turn`; [`Turns`] says whose turn it is, `verdicts` and `invites` do them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bot_kit::{Batch, Event, Failure, StoreError, Table, now_ms, ruma::OwnedEventId};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tracing::{debug, error, warn};

use crate::{
    bot::{Memo, millis},
    invites,
    turns::{Outcome, Turns},
    verdicts::{self, File},
};

/// What is to be done; key: the kind, a slash, whose it is, a slash, when it is due in milliseconds in twenty digits, a slash,
/// event id.
const ERRANDS: Table<Errand> = Table::new("errands");

/// Time for one try.
const TIME: Duration = Duration::from_secs(60);

/// The pause before an errand is tried again; twice as long after each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// What could not be done for so long is given up.
const PATIENCE_MS: u64 = 86_400_000;

/// It is looked again after this at the latest.
const PAUSE: Duration = Duration::from_secs(60);

/// Kinds of errands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The verdict on a file that lies here is to be heard.
    Here,
    /// The same of a file of another server, which may hang.
    Elsewhere,
    /// A user of this authority asked the bot into a room.
    Invite,
    /// Somebody else did.
    Stranger,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Here, Self::Elsewhere, Self::Invite, Self::Stranger];

    fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Elsewhere => "elsewhere",
            Self::Invite => "invite",
            Self::Stranger => "stranger",
        }
    }

    /// Lanes that are served at a time. Of files fewer than the homeserver judges at a time for one who asks.
    fn at_once(self) -> usize {
        match self {
            Self::Here | Self::Invite => 8,
            Self::Elsewhere | Self::Stranger => 4,
        }
    }

    /// Errands that wait in a lane. More are not taken on: whoever opens a file is told then, and an invite stays open.
    fn most(self) -> usize {
        match self {
            Self::Here => 1_000,
            Self::Elsewhere => 20,
            Self::Invite | Self::Stranger => 100,
        }
    }

    /// Errands that wait in all its lanes: of strangers there may be any number.
    fn most_of_all(self) -> usize {
        match self {
            Self::Stranger => 10_000,
            Self::Here | Self::Elsewhere | Self::Invite => usize::MAX,
        }
    }
}

/// Errands of one kind for one user or, of strangers, one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Lane {
    pub(crate) kind: Kind,
    pub(crate) whose: String,
}

impl Lane {
    /// All keys of it begin so: no server name has a slash.
    fn prefix(&self) -> String {
        format!("{}/{}/", self.kind.name(), self.whose)
    }
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Errand {
    lane: Lane,
    pub(crate) event: OwnedEventId,
    at_ms: u64,
    /// 0: at once.
    due_ms: u64,
    tries: u32,
    pub(crate) what: What,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// A file's verdict is to be heard.
    File(File),
    /// An invite is to be answered.
    Invite(Event),
}

impl Errand {
    fn key(&self) -> String {
        format!("{}{:020}/{}", self.lane.prefix(), self.due_ms, self.event)
    }

    /// The same of which something else is known.
    pub(crate) fn with(&self, what: What) -> Self {
        Self { what, ..self.clone() }
    }

    /// As it waits on, not before such a pause; none if it waited long enough.
    pub(crate) fn later(&self, least: Duration) -> Option<Self> {
        let now = now_ms();
        if now.saturating_sub(self.at_ms) > PATIENCE_MS {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.tries.min(20)).max(least).min(LONGEST_PAUSE);
        let due_ms = now.saturating_add(millis(pause));
        Some(Self { due_ms, tries: self.tries.saturating_add(1), ..self.clone() })
    }
}

/// What came of a try.
pub(crate) struct Step {
    /// As it waits on.
    pub(crate) again: Option<Errand>,
    pub(crate) has_failed: bool,
}

impl Step {
    pub(crate) const DONE: Self = Self { again: None, has_failed: false };
}

/// By which those who do errands learn that there are some.
#[derive(Default)]
pub(crate) struct Bell {
    /// Keys that are to be on the disk soon.
    noted: Mutex<BTreeMap<String, Lane>>,
    ring: Notify,
}

impl Bell {
    fn noted(&self) -> MutexGuard<'_, BTreeMap<String, Lane>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was written down.
    pub(crate) fn ring(&self) {
        self.ring.notify_one();
    }
}

/// Notes an errand that an event asked for.
///
/// # Errors
/// [`StoreError`]
pub(crate) async fn note(
    bot: &Memo,
    lane: Lane,
    event: OwnedEventId,
    at_ms: u64,
    what: What,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let (store, kind) = (&bot.host.store, lane.kind);
    let is_full = store.count(&ERRANDS, &lane.prefix()).await? >= kind.most()
        || kind.most_of_all() < usize::MAX
            && store.count(&ERRANDS, &format!("{}/", kind.name())).await? >= kind.most_of_all();
    if is_full {
        debug!(whose = lane.whose, kind = kind.name(), event_id = %event, "too much waits for one; this is left out");
        return Ok(());
    }
    let errand = Errand { lane: lane.clone(), event, at_ms, due_ms: 0, tries: 0, what };
    batch.put(&ERRANDS, &errand.key(), &errand);
    bot.errands.noted().insert(errand.key(), lane);
    Ok(())
}

/// Writes down what is to be known of an errand before its next step.
///
/// # Errors
/// [`StoreError`]
pub(crate) async fn update(bot: &Memo, errand: &Errand) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.put(&ERRANDS, &errand.key(), errand);
    bot.host.store.commit(batch).await
}

/// Those who wait.
struct Lanes(BTreeMap<Kind, Turns<String>>);

impl Lanes {
    fn of(&mut self, kind: Kind) -> &mut Turns<String> {
        self.0.entry(kind).or_insert_with(|| Turns::new(kind.at_once()))
    }

    fn wake(&mut self, lane: &Lane) {
        self.of(lane.kind).wake(&lane.whose);
    }

    fn next(&mut self, now: Duration) -> Option<Lane> {
        Kind::ALL.into_iter().find_map(|kind| self.of(kind).next(now).map(|whose| Lane { kind, whose }))
    }

    fn earliest(&self) -> Option<Duration> {
        self.0.values().filter_map(Turns::earliest).min()
    }
}

/// Does errands until it is cut.
pub(crate) async fn run(bot: &Arc<Memo>) {
    let mut lanes = Lanes(BTreeMap::new());
    while let Err(error) = find(bot, &mut lanes).await {
        warn!(%error, "errands cannot be read");
        sleep(PAUSE).await;
    }
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    let mut whose: HashMap<Id, Lane> = HashMap::new();
    loop {
        // Before the look: what comes meanwhile must wake us.
        let ring = bot.errands.ring.notified();
        if let Err(error) = wake(bot, &mut lanes).await {
            warn!(%error, "errands cannot be read");
        }
        while let Some(lane) = lanes.next(began.elapsed()) {
            let (bot, own) = (bot.clone(), lane.clone());
            let id = under_way.spawn(async move { turn(&bot, &own).await }).id();
            whose.insert(id, lane);
        }
        let wait = lanes.earliest().map_or(PAUSE, |at| at.saturating_sub(began.elapsed()));
        tokio::select! {
            Some(ended) = under_way.join_next_with_id() => {
                let (id, outcome) = outcome_of(ended);
                if let Some(lane) = whose.remove(&id) {
                    lanes.of(lane.kind).end(&lane.whose, outcome, began.elapsed());
                }
            }
            () = ring => {}
            () = sleep(wait) => {}
        }
    }
}

fn outcome_of(ended: Result<(Id, Result<Outcome, StoreError>), JoinError>) -> (Id, Outcome) {
    let failed = Outcome { next: Some(PAUSE), has_failed: true };
    match ended {
        Ok((id, Ok(outcome))) => (id, outcome),
        Ok((id, Err(error))) => {
            warn!(%error, "what came of an errand could not be kept");
            (id, failed)
        }
        Err(error) => {
            error!(%error, "an errand was left in the middle");
            (error.id(), failed)
        }
    }
}

/// Finds the lanes that are on the disk.
async fn find(bot: &Memo, lanes: &mut Lanes) -> Result<(), StoreError> {
    verdicts::take_over(bot).await?;
    let mut after: Option<String> = None;
    while let Some((_, errand)) = bot.host.store.scan(&ERRANDS, "", after.as_deref(), 1).await?.pop() {
        lanes.wake(&errand.lane);
        // On behind all of the same lane.
        after = Some(format!("{}{}", errand.lane.prefix(), char::MAX));
    }
    Ok(())
}

/// Wakes the lanes of what was noted and is on the disk by now.
async fn wake(bot: &Memo, lanes: &mut Lanes) -> Result<(), StoreError> {
    let noted: Vec<_> = bot.errands.noted().iter().map(|(key, lane)| (key.clone(), lane.clone())).collect();
    for (key, lane) in noted {
        if bot.host.store.get(&ERRANDS, &key).await?.is_some() {
            bot.errands.noted().remove(&key);
            lanes.wake(&lane);
        }
    }
    Ok(())
}

/// Sees to the errand of a lane that is due first.
async fn turn(bot: &Memo, lane: &Lane) -> Result<Outcome, StoreError> {
    let store = &bot.host.store;
    let Some((key, errand)) = store.scan(&ERRANDS, &lane.prefix(), None, 1).await?.pop() else {
        return Ok(Outcome { next: None, has_failed: false });
    };
    bot.errands.noted().remove(&key);
    let wait = Duration::from_millis(errand.due_ms.saturating_sub(now_ms())).min(LONGEST_PAUSE);
    if !wait.is_zero() {
        return Ok(Outcome { next: Some(wait), has_failed: false });
    }
    let mut batch = Batch::new();
    let tried = async {
        match &errand.what {
            What::File(file) => verdicts::step(bot, &errand, file, &mut batch).await,
            What::Invite(event) => invites::step(bot, event).await,
        }
    };
    let failed = Failure::Passing { cause: "it took too long".to_owned(), after: None, status: None };
    let Step { again, has_failed } = match timeout(TIME, tried).await.unwrap_or(Err(failed)) {
        Ok(step) => step,
        Err(Failure::Store(error)) => return Err(error),
        Err(failure) => {
            warn!(event_id = %errand.event, error = %failure, "an errand is not done yet");
            // What is not there any more has nothing to wait for.
            let again = errand.later(Duration::ZERO).filter(|_| failure.may_pass());
            Step { again, has_failed: true }
        }
    };
    batch.delete(&ERRANDS, &key);
    if let Some(again) = &again {
        batch.put(&ERRANDS, &again.key(), again);
    }
    store.commit(batch).await?;
    if let What::File(file) = &errand.what {
        bot.memos.take_back_orphans(&errand.event, &file.room).await?;
    }
    Ok(Outcome { next: Some(Duration::ZERO), has_failed })
}

#[cfg(test)]
mod tests {
    use bot_kit::ruma::{event_id, room_id};

    use super::*;

    fn errand(kind: Kind, whose: &str) -> Errand {
        let file = File::new(room_id!("!r:a"), "mxc://a/b", "現場.jpg");
        Errand {
            lane: Lane { kind, whose: whose.to_owned() },
            event: event_id!("$a/b").to_owned(),
            at_ms: now_ms(),
            due_ms: 0,
            tries: 0,
            what: What::File(file),
        }
    }

    #[test]
    fn a_lane_holds_its_own_errands_and_the_first_one_is_due_first() {
        let of = |whose| errand(Kind::Here, whose).lane.prefix();
        let key = errand(Kind::Here, "@a:x").key();
        assert!(key.starts_with(&of("@a:x")));
        for other in
            [of("@a:x:8448"), of("@a/b:x"), of("@a:xy"), errand(Kind::Elsewhere, "@a:x").lane.prefix()]
        {
            assert!(!key.starts_with(&other), "{other}");
        }
        let later = errand(Kind::Here, "@a:x").later(Duration::ZERO).expect("there is time");
        assert!(key < later.key() && later.key() < Errand { due_ms: u64::MAX, ..later.clone() }.key());
    }

    #[test]
    fn an_errand_is_tried_more_and_more_seldom_and_not_for_ever() {
        let mut errand = errand(Kind::Here, "@a:x");
        let (mut waited, mut times) = (0, 0);
        while waited < PATIENCE_MS {
            let later = errand.later(Duration::ZERO).expect("there is time");
            let pause = later.due_ms.saturating_sub(now_ms());
            assert!(pause <= millis(LONGEST_PAUSE) && later.tries == errand.tries + 1);
            (waited, times, errand) = (waited + pause, times + 1, later);
        }
        assert!((10..20).contains(&times), "{times}");
        errand.at_ms -= PATIENCE_MS + 1;
        assert!(errand.later(Duration::ZERO).is_none());
    }
}
