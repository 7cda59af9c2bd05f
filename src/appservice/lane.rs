//! Lanes: each service is told by a task of its own, one transaction at a time.
//!
//! A transaction is written down before it is sent for the first time, by its id and the last event in it; so whoever sends it again, after a
//! failure or a crash, sends the same. What a service has taken goes in the same commit in which the next is written down.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use account::{AppService, ServiceAddress};
use base::{Backoff, Instant};
use bytes::Bytes;
use parking_lot::Mutex;
use room::{
    EventSerial, RoomSerial,
    read::{
        event::{Keep, StoredEvent},
        view::{Form, Look},
    },
};
use ruma::{OwnedUserId, UserId};
use store::{Batch, Order, Position, Range, Term};
use tracing::{debug, error, info, warn};

use crate::{
    AppServices, Error, Question, Verb,
    extras::{Extras, LARGEST, MOST_DEVICES, Wanted},
    moments::{Devices, Moments},
    services::{Bells, PAGE},
    tables::{Due, ItemRow, LISTS, SENDING, SendingRow, WAITING},
};

/// Events of a transaction.
const MOST_EVENTS: usize = 100;

/// No transaction is made smaller than this for a service that finds it too large.
const SMALLEST: usize = 4 << 10;

/// Where a service takes no more bytes than this, nothing goes along with events.
const TIGHT: usize = 128 << 10;

/// Events that wait for a service at most: three years of a thousand a day. What comes then is not told to it, and the log says so.
const MOST_WAITING: u64 = 1_000_000;

/// Time for a service to take a transaction.
const DEADLINE: Duration = Duration::from_secs(60);

/// Under which a transaction names those senders of its events whom other services have to themselves, or registered: what they say comes
/// from somewhere else. Ours alone; our bots obey none of them.
const OF_SERVICES: &str = "jp.yakuba.services";

/// Waits after failures of a service.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// No service is left alone for longer, whatever it asks for.
const LONGEST_REST: Duration = Duration::from_secs(10 * 60);

/// After so many failures in a row somebody has to look.
const ALARM: u32 = 8;

/// How often it is looked whose devices changed, for services that have devices.
const LOOK: Duration = Duration::from_secs(2);

/// Topics that are looked at for what came to devices; when more were touched, all devices are looked at.
const MOVES_LOOKED_AT: usize = 4_096;

/// How often it is measured how long events wait.
const MEASURE: Duration = Duration::from_secs(10);

/// What is told in a term.
pub(crate) struct Round {
    services: AppServices,
    term: Term,
    lanes: Vec<Lane>,
}

/// What waits for a service.
struct Lane {
    service: Arc<AppService>,
    bells: Arc<Bells>,
    begun: Position,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Fewer bytes than others have, where the service has found a transaction too large.
    takes: Option<usize>,
    waiting: u64,
    /// When the oldest began to wait, in milliseconds.
    oldest: Option<u64>,
    is_full: bool,
    moments: Moments,
    devices: Devices,
}

/// A transaction.
struct Transaction {
    id: String,
    /// The rows of its events.
    keys: Vec<u64>,
    body: Bytes,
    is_empty: bool,
    extras: Extras,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Taken,
    /// It is too large for the service, or for what stands before it, and can be told in smaller ones.
    TooLarge,
}

/// What of a transaction that was taken has still to be written.
#[derive(Default)]
struct Taken {
    keys: Vec<u64>,
    /// Up to where it was told whose devices changed, if that has moved.
    lists: Option<Position>,
    /// The one under way was too large: what it had is told by other ones.
    is_split: bool,
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.lists.is_none()
    }
}

impl Round {
    /// Takes up what other terms left waiting.
    pub(crate) async fn open(
        services: &AppServices,
        term: &Term,
        begun: Vec<Position>,
    ) -> Result<Arc<Self>, Error> {
        let mut lanes = Vec::new();
        for ((service, bells), begun) in services.0.told.iter().zip(begun) {
            let mut state = count(services, service.id()).await?;
            let lists = services.0.store.get(&LISTS, service.id()).await?;
            // Of what was before it had devices that need it nothing is told.
            state.devices.lists = lists.map_or(services.0.head, Position);
            let state = Mutex::new(state);
            lanes.push(Lane { service: service.clone(), bells: bells.clone(), begun, state });
        }
        let round = Self { services: services.clone(), term: term.clone(), lanes };
        round.lanes.iter().for_each(|lane| round.measure(lane));
        Ok(Arc::new(round))
    }

    pub(crate) fn term(&self) -> &Term {
        &self.term
    }

    /// Begins to tell.
    pub(crate) fn start(self: &Arc<Self>) {
        for place in 0..self.lanes.len() {
            let round = self.clone();
            self.services.0.tasks.spawn_restarting("appservice lane", move || {
                let round = round.clone();
                async move {
                    let stop = round.term.ended().clone();
                    while !stop.is_cancelled() {
                        let Some(outcome) = stop.run_until_cancelled(round.run(place)).await else { return };
                        let id = round.lanes.get(place).map(|lane| lane.service.id());
                        if let Err(error) = outcome {
                            warn!(service = id, %error, "an application service could not be told, trying again");
                        }
                        stop.run_until_cancelled(round.services.0.clock.sleep(FIRST_WAIT)).await;
                    }
                }
            });
        }
    }

    /// Writes down what services have to be told, with what else is in the batch, and has it sent.
    pub(crate) async fn put(&self, mut batch: Batch, due: Vec<Due>) -> Result<(), Error> {
        let mut added: HashMap<usize, (u64, u64)> = HashMap::new();
        for Due { place, position, item } in due {
            let Some(lane) = self.lanes.get(place).filter(|lane| position > lane.begun) else { continue };
            let (count, oldest) = added.entry(place).or_insert((0, item.since));
            if lane.state.lock().waiting + *count >= MOST_WAITING {
                self.note_full(lane);
                continue;
            }
            *count += 1;
            *oldest = item.since.min(*oldest);
            batch.put(&WAITING, &(lane.service.id(), position.0), &item);
        }
        self.term.commit(batch).await?;
        for (place, (count, oldest)) in added {
            let Some(lane) = self.lanes.get(place) else { continue };
            {
                let mut state = lane.state.lock();
                state.waiting += count;
                state.oldest.get_or_insert(oldest);
            }
            self.measure(lane);
            lane.bells.more.notify_one();
        }
        Ok(())
    }

    /// Learns which devices the services have made for a user, or for all.
    pub(crate) async fn learn_devices(&self, user: Option<&UserId>) -> Result<(), Error> {
        let wants = |lane: &&Lane| {
            let told = lane.service.told();
            (told.ephemeral || told.devices) && user.is_none_or(|user| lane.service.covers_user(user))
        };
        if !self.lanes.iter().any(|lane| wants(&lane)) {
            return Ok(());
        }
        let all = self.services.0.accounts.devices_of_services(user).await?;
        for lane in self.lanes.iter().filter(wants) {
            let own = all
                .iter()
                .filter(|device| user.is_none_or(|user| *user == *device.user))
                .filter(|device| self.services.0.accounts.is_device_of(&lane.service, device))
                .map(|device| (device.user.clone(), device.device.clone()))
                .collect();
            lane.state.lock().devices.set(user, own);
            lane.bells.more.notify_one();
        }
        Ok(())
    }

    /// Has devices looked at for which something came after a position.
    pub(crate) fn call_devices(&self, since: Position) {
        let with_devices: Vec<&Lane> =
            self.lanes.iter().filter(|lane| !lane.state.lock().devices.is_empty()).collect();
        if with_devices.is_empty() {
            return;
        }
        let moved = self.services.0.store.moved_since(since, MOVES_LOOKED_AT);
        for lane in with_devices {
            if lane.state.lock().devices.touch(moved.as_deref()) {
                lane.bells.more.notify_one();
            }
        }
    }

    /// Has a service told what is of the moment.
    pub(crate) fn tell(&self, place: usize, moments: Moments) {
        let Some(lane) = self.lanes.get(place).filter(|lane| lane.service.told().ephemeral) else { return };
        if !moments.is_empty() {
            lane.state.lock().moments.add(moments);
            lane.bells.more.notify_one();
        }
    }

    fn note_full(&self, lane: &Lane) {
        let mut state = lane.state.lock();
        if !state.is_full {
            state.is_full = true;
            error!(
                service = lane.service.id(),
                count = MOST_WAITING,
                "too much waits for an application service; it will not be told what happens now"
            );
        }
    }

    fn measure(&self, lane: &Lane) {
        let inner = &self.services.0;
        let id = [("service", lane.service.id())];
        let state = lane.state.lock();
        inner.waiting.with(&id).set(i64::try_from(state.waiting).unwrap_or(i64::MAX));
        let behind = state.oldest.map_or(0, |since| inner.clock.now().millis().saturating_sub(since) / 1_000);
        inner.lag.with(&id).set(i64::try_from(behind).unwrap_or(i64::MAX));
    }

    /// Tells a service, until something of ours fails.
    async fn run(&self, place: usize) -> Result<(), Error> {
        let Some(lane) = self.lanes.get(place) else { return Ok(()) };
        let Some(address) = lane.service.address() else { return std::future::pending().await };
        let clock = &self.services.0.clock;
        let mut taken = Taken::default();
        // Whatever was on its way to devices when something failed.
        lane.state.lock().devices.touch(None);
        loop {
            // Before the look: what comes meanwhile must wake us.
            let woken = lane.bells.more.notified();
            let Some(transaction) = self.next(lane, &mut taken).await? else {
                let has_readers = lane.service.told().devices && !lane.state.lock().devices.is_empty();
                let pause = if has_readers { LOOK } else { MEASURE };
                if clock.timeout(pause, woken).await.is_err() {
                    self.measure(lane);
                }
                continue;
            };
            if !transaction.is_empty && self.send(lane, address, &transaction).await == Sent::TooLarge {
                // Nobody has seen it: a new one may have another id and less of it.
                lane.takes_less_than(transaction.body.len());
                taken = Taken { is_split: true, ..Taken::default() };
                continue;
            }
            let Transaction { keys, extras, .. } = transaction;
            taken = Taken { keys, lists: lane.has_told(extras), is_split: false };
        }
    }

    /// The next transaction, written down together with what of the last one is not needed any more.
    async fn next(&self, lane: &Lane, taken: &mut Taken) -> Result<Option<Transaction>, Error> {
        let inner = &self.services.0;
        let id = lane.service.id();
        let after = taken.keys.last().copied();
        let range = match after {
            Some(last) => Range::prefix(&id).after(&(id.to_owned(), last)),
            None => Range::prefix(&id),
        };
        let rows = inner.store.scan(&WAITING, range, Order::Ascending, MOST_EVENTS).await?;
        let sending = match after {
            // That is the one that was taken.
            Some(_) => None,
            // And that the one that was too large.
            None if taken.is_split => None,
            None => inner.store.get(&SENDING, id).await?,
        };
        let through = sending.as_ref().map_or(u64::MAX, |sending| sending.through);
        let items: Vec<(u64, ItemRow)> = rows
            .into_iter()
            .map(|((_, position), item)| (position, item))
            .filter(|(position, _)| *position <= through)
            .collect();
        let takes = lane.state.lock().takes.unwrap_or(LARGEST);
        let extras = match sending {
            Some(_) => lane.no_extras(),
            None if takes < TIGHT && !items.is_empty() => lane.no_extras(),
            None => self.services.extras(&lane.service, lane.wanted(!items.is_empty(), takes)).await?,
        };
        if items.is_empty() && sending.is_none() && taken.is_empty() && extras.is_empty() {
            lane.state.lock().oldest = None;
            lane.has_told(extras);
            return Ok(None);
        }
        // All that was written down, whatever its size is by now.
        let largest = if sending.is_some() { usize::MAX } else { takes.saturating_sub(extras.len()) };
        let (keys, body, is_empty) = self.render(&lane.service, &items, largest, &extras).await?;
        let count = keys.len();
        let mut batch = Batch::new();
        for position in &taken.keys {
            batch.delete(&WAITING, &(id, *position));
        }
        if let Some(lists) = taken.lists {
            batch.put(&LISTS, id, &lists.0);
        }
        let new_id = || format!("{:016x}", inner.random.u64());
        let transaction_id = match (sending, keys.last()) {
            (Some(sending), Some(_)) => Some(sending.id),
            (None, Some(last)) => {
                let row = SendingRow { id: new_id(), through: *last };
                batch.put(&SENDING, id, &row);
                Some(row.id)
            }
            (sending, None) => {
                if sending.is_some() || taken.is_split || !taken.keys.is_empty() {
                    batch.delete(&SENDING, id);
                }
                // What is of the moment is not written down.
                (!extras.is_empty()).then(new_id)
            }
        };
        if !batch.is_empty() {
            self.term.commit(batch).await?;
        }
        {
            let mut state = lane.state.lock();
            state.waiting = state.waiting.saturating_sub(taken.keys.len() as u64);
            state.oldest = items.first().map(|(_, item)| item.since);
            state.is_full &= state.waiting >= MOST_WAITING;
        }
        *taken = Taken::default();
        self.measure(lane);
        debug!(service = id, count, "a transaction");
        if transaction_id.is_none() {
            lane.has_told(extras);
            return Ok(None);
        }
        Ok(transaction_id.map(|id| Transaction { id, keys, body, is_empty, extras }))
    }

    /// The body of a transaction with as many of these events as it takes: their places, and whether there is nothing in it.
    async fn render(
        &self,
        service: &AppService,
        items: &[(u64, ItemRow)],
        largest: usize,
        extras: &Extras,
    ) -> Result<(Vec<u64>, Bytes, bool), Error> {
        let inner = &self.services.0;
        let wanted: Vec<_> = items.iter().map(|(_, item)| (item.room, item.event)).collect();
        // What waits for one service alone puts nothing else out of the cache.
        let events = inner.rooms.find_events(&wanted, Keep::Known).await?;
        let around: Vec<(RoomSerial, EventSerial)> = events
            .iter()
            .flatten()
            .flat_map(|event| {
                let meta = event.meta();
                [meta.replaces, meta.redacted_by].into_iter().flatten().map(|other| (event.room(), other))
            })
            .collect();
        let found = inner.rooms.find_events(&around, Keep::Known).await?;
        let around: HashMap<_, Arc<StoredEvent>> =
            around.into_iter().zip(found).filter_map(|(key, event)| Some((key.1, event?))).collect();
        let now = inner.clock.now();
        let (mut keys, mut body, mut is_empty) = (Vec::new(), b"{\"events\":[".to_vec(), true);
        let mut senders = BTreeSet::new();
        for ((position, _), event) in items.iter().zip(events) {
            // Of a room that is purged meanwhile nothing is told.
            let Some(event) = event else {
                keys.push(*position);
                continue;
            };
            let (sender, before) = (event.sender().to_owned(), body.len());
            let find = |other: Option<EventSerial>| other.and_then(|other| around.get(&other)).cloned();
            let (replaced, redaction) = (find(event.meta().replaces), find(event.meta().redacted_by));
            let replaces = replaced.as_ref().map(|replaced| replaced.event_id().to_owned());
            let look = Look { replaced, redaction, replaces, ..Look::bare(event) };
            if !is_empty {
                body.push(b',');
            }
            look.write(&mut body, Form::Full, now);
            if !is_empty && body.len() > largest {
                body.truncate(before);
                break;
            }
            keys.push(*position);
            senders.insert(sender);
            is_empty = false;
        }
        body.push(b']');
        let others = || inner.accounts.services().filter(|other| other.id() != service.id());
        // Where a namespace is shared, those whom a service registered: a colleague whom a bridge of his own speaks for is one still.
        let is_shared = |sender: &&OwnedUserId| {
            !others().any(|other| other.keeps_user(sender)) && others().any(|other| other.covers_user(sender))
        };
        let shared = senders.iter().filter(is_shared).cloned().collect();
        let registered = inner.accounts.registered_by_others(service, shared).await?;
        senders
            .retain(|sender| others().any(|other| other.keeps_user(sender)) || registered.contains(sender));
        if !senders.is_empty() {
            let senders = serde_json::to_string(&senders).unwrap_or_else(|_| "[]".to_owned());
            body.extend_from_slice(format!(",\"{OF_SERVICES}\":{senders}").as_bytes());
        }
        extras.write(&mut body);
        body.push(b'}');
        Ok((keys, body.into(), is_empty && extras.is_empty()))
    }

    /// Sends a transaction until it is taken, or known to be too large.
    async fn send(&self, lane: &Lane, address: &ServiceAddress, transaction: &Transaction) -> Sent {
        let inner = &self.services.0;
        let service = lane.service.id();
        let (mut backoff, mut failures) = (Backoff::new(FIRST_WAIT, LONGEST_WAIT), 0_u32);
        let failing = inner.failing.with(&[("service", service)]);
        let began = inner.clock.instant();
        loop {
            let question = Question {
                verb: Verb::Put(transaction.body.clone()),
                url: format!("{}/_matrix/app/v1/transactions/{}", address.url, transaction.id),
                token: address.hs_token.clone(),
                deadline: DEADLINE,
            };
            // Before it is asked: that it speaks while an older request of ours fails must not be missed.
            let speaks = lane.bells.back.notified();
            let answer = inner.clock.timeout(DEADLINE, inner.carrier.ask(question)).await;
            let mut wish = None;
            let (outcome, cause) = match answer {
                Ok(Ok(answer)) if (200..300).contains(&answer.status) => ("taken", String::new()),
                Ok(Ok(answer)) => {
                    if answer.status == 413 && transaction.can_be_split() {
                        inner.outcomes.with(&[("service", service), ("outcome", "too_large")]).inc();
                        let size_bytes = transaction.body.len();
                        info!(service, size_bytes, "a transaction is too large for an application service");
                        return Sent::TooLarge;
                    }
                    if answer.status == 413 && transaction.keys.is_empty() {
                        // One message to a device, from anybody, that the service never takes: all else would wait for ever.
                        inner.outcomes.with(&[("service", service), ("outcome", "given_up")]).inc();
                        let size_bytes = transaction.body.len();
                        error!(
                            service,
                            size_bytes,
                            "what a device is to be told alone is too large for its application service; it is not told"
                        );
                        return Sent::Taken;
                    }
                    wish = answer.retry_after.filter(|_| matches!(answer.status, 429 | 503));
                    ("refused", format!("status {}", answer.status))
                }
                Ok(Err(crate::Unreached::Late)) | Err(_) => ("late", "no answer in time".to_owned()),
                Ok(Err(error)) => ("unreached", error.to_string()),
            };
            inner.outcomes.with(&[("service", service), ("outcome", outcome)]).inc();
            if outcome == "taken" {
                if failures >= ALARM {
                    info!(
                        service,
                        txn_id = transaction.id,
                        "the application service takes transactions again"
                    );
                }
                failing.set(0);
                return Sent::Taken;
            }
            let wait = backoff.next(&inner.random).max(wish.unwrap_or_default().min(LONGEST_REST));
            // Counted beside the waits, which begin anew: who speaks and takes nothing is to be looked at as well.
            failures = failures.saturating_add(1);
            self.complain(service, &transaction.id, &cause, failures, began);
            if failures >= ALARM {
                failing.set(1);
            }
            self.measure(lane);
            // A service that speaks is there: then it is tried at once, and soon again.
            if inner.clock.timeout(wait, speaks).await.is_ok() {
                backoff.reset();
                debug!(service, "the application service speaks again");
            }
        }
    }

    fn complain(&self, service: &str, txn_id: &str, cause: &str, failures: u32, began: Instant) {
        let for_seconds = self.services.0.clock.instant().since(began).as_secs();
        match failures {
            1 => warn!(
                service,
                txn_id, cause, "an application service does not take a transaction, trying again"
            ),
            ALARM => error!(
                service,
                txn_id,
                cause,
                for_seconds,
                "an application service takes no transactions; what it has to be told waits"
            ),
            _ => debug!(service, txn_id, cause, "an application service still does not take a transaction"),
        }
    }
}

impl Transaction {
    /// Whether less of it at a time makes it smaller: an event goes alone at the least, and so does anything else.
    fn can_be_split(&self) -> bool {
        match self.keys.len() {
            0 => self.extras.pieces > 1,
            1 => !self.extras.is_empty(),
            _ => true,
        }
    }
}

impl Lane {
    /// Has the next transactions made smaller, as one of so many bytes was too large.
    fn takes_less_than(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.takes = Some(state.takes.unwrap_or(LARGEST).min(bytes / 2).max(SMALLEST));
        // What went along with it was not told.
        state.devices.touch(None);
    }

    /// What is to be told besides events, and with events or without.
    fn wanted(&self, with_events: bool, most: usize) -> Wanted {
        let told = self.service.told();
        let mut state = self.state.lock();
        let mut devices = state.devices.take_called();
        if told.devices && with_events {
            // A bridge may hear that its new device has no keys before it can make any, and answer that it took that:
            // mautrix does. Without keys nobody can write to it, so it is told until it has some.
            state.devices.add_bare(&mut devices, MOST_DEVICES);
        }
        Wanted {
            moments: state.moments.take(),
            devices,
            readers: if told.devices { state.devices.users() } else { BTreeSet::new() },
            lists: state.devices.lists,
            looked: state.devices.looked.clone(),
            most,
        }
    }

    /// Nothing besides events.
    fn no_extras(&self) -> Extras {
        let state = self.state.lock();
        Extras::none(state.devices.lists, state.devices.looked.clone())
    }

    /// Notes what was told. Up to where it was told whose devices changed, if that has moved.
    fn has_told(&self, extras: Extras) -> Option<Position> {
        let Extras { had, again, counts, lists, looked, .. } = extras;
        let mut state = self.state.lock();
        let devices = &mut state.devices;
        devices.had.extend(had);
        devices.called.extend(again);
        devices.counts.extend(counts);
        let has_moved = lists > devices.lists;
        devices.lists = devices.lists.max(lists);
        devices.looked = looked;
        has_moved.then_some(lists)
    }
}

/// How much waits for a service.
async fn count(services: &AppServices, id: &str) -> Result<State, Error> {
    let mut state = State::default();
    let mut range = Range::prefix(&id);
    loop {
        let rows = services.0.store.scan(&WAITING, range, Order::Ascending, PAGE).await?;
        state.waiting += rows.len() as u64;
        if state.oldest.is_none() {
            state.oldest = rows.first().map(|(_, item)| item.since);
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PAGE => range = Range::prefix(&id).after(last),
            _ => return Ok(state),
        }
    }
}
