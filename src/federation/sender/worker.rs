//! Serving one peer: one transaction at a time, in order, until there is nothing left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::Timestamp;
use http::{Method, StatusCode};
use room::RemoteError;
use ruma::OwnedServerName;
use store::Batch;
use tracing::{debug, info, warn};

use super::{
    BEHIND_AFTER, Destination, Failing, Inner,
    lane::{Lane, Refused, Together, Work},
    transaction::{Content, Transaction},
};
use crate::{
    client::{self, Body, Outgoing, is_success},
    path::Path,
    tables::LAST_SENT,
    transport::{Budget, Cause},
};

/// Bounds of a transaction: the peer answers once it has put the events away.
const BUDGET: Budget = Budget { deadline: Duration::from_secs(60), response: base::ByteSize::mib(1) };

/// The same for a server that never answered: somebody else waits for its place.
const STRANGERS_BUDGET: Budget = Budget { deadline: Duration::from_secs(20), ..BUDGET };

/// The pause before what is to be sent is noted again.
const NOTE_AGAIN: Duration = Duration::from_secs(1);

/// How an attempt ended.
pub(super) enum Outcome {
    /// The peer has it.
    Delivered,
    /// The peer will never take it as it is.
    Refused,
    /// It may work later.
    Failed {
        /// The peer asked for this wait.
        wait: Option<Duration>,
    },
}

impl Inner {
    /// Makes sure that somebody serves this peer.
    pub(super) fn serve(self: &Arc<Self>, destination: &Arc<Destination>) {
        {
            let mut state = destination.state.lock();
            if state.is_served || self.term.ended().is_cancelled() {
                return;
            }
            state.is_served = true;
        }
        let (sender, destination) = (self.clone(), destination.clone());
        let starts = AtomicUsize::new(0);
        // Started again after a fault, or that would end all traffic to a peer until the next start.
        self.tasks.spawn_restarting("federation worker", move || {
            if starts.fetch_add(1, Ordering::Relaxed) > 0 {
                // What was in memory may be what it failed on: it is read from the store instead.
                destination.state.lock().lanes.values_mut().for_each(Lane::fall_behind);
            }
            let (sender, destination) = (sender.clone(), destination.clone());
            async move {
                let ended = sender.term.ended();
                // Boxed: what it is wrapped into would have room for it several times over, and moves it about.
                ended.run_until_cancelled(Box::pin(sender.work(&destination))).await;
            }
        });
    }

    /// Returns, with the place freed, once there is nothing to do.
    async fn work(&self, destination: &Destination) {
        loop {
            self.wait_for_turn(destination).await;
            if !self.read_outboxes(destination).await {
                continue;
            }
            let Some((from, work)) = self.next_work(destination) else { return };
            match work {
                Work::Send(transaction) => {
                    let outcome = self.attempt(destination, &from, &transaction).await;
                    self.settle(destination, &from, &transaction, &outcome);
                }
                Work::CatchUp(room, owed) => self.catch_up(destination, &from, room, owed).await,
                Work::Rest => {}
            }
        }
    }

    /// Waits until the next attempt is due; a sign of life of the peer ends the wait.
    async fn wait_for_turn(&self, destination: &Destination) {
        loop {
            let wait = destination.state.lock().not_before.since(self.clock.instant());
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = destination.wake.notified() => {}
            }
        }
    }

    /// What to do next: the lanes take turns. Frees the worker's place when there is nothing.
    fn next_work(&self, destination: &Destination) -> Option<(OwnedServerName, Work)> {
        let mut state = destination.state.lock();
        let now = self.clock.now();
        // Where another process may go on, it sends what is noted of events as it was.
        let together = if self.store.is_shared() { Together::No } else { Together::Yes };
        let turns: Vec<OwnedServerName> = state.lanes.keys().cloned().collect();
        // Whom it was the turn of last is not remembered: who has waited longest is served first.
        let waiting = turns.iter().filter(|from| state.lanes.get(*from).is_some_and(|lane| !lane.is_idle()));
        let longest = waiting.min_by_key(|from| state.lanes.get(*from).and_then(Lane::low_water)).cloned();
        let order = longest.into_iter().chain(turns);
        for from in order {
            let Some(lane) = state.lanes.get_mut(&from) else { continue };
            match lane.next(&from, &self.press, together, now) {
                Work::Rest => {}
                work => {
                    state.greet.remove(&from);
                    return Some((from, work));
                }
            }
        }
        if let Some(from) = state.greet.pop_first() {
            let content = Content { origin: &from, room: None, pdus: &[], edus: &[], units: &[] };
            let greeting = self.press.print(&content, now);
            return Some((from, Work::Send(greeting)));
        }
        if let Some(from) =
            state.lanes.iter().find_map(|(from, lane)| lane.wants_to_read().then(|| from.clone()))
        {
            // Something was put in since it was looked.
            return Some((from, Work::Rest));
        }
        state.is_served = false;
        None
    }

    /// Sends a transaction once.
    pub(super) async fn attempt(
        &self,
        destination: &Destination,
        from: &OwnedServerName,
        transaction: &Transaction,
    ) -> Outcome {
        // Peers that failed last time share few places, so that they cannot take those of the others; and
        // names that never answered fewer still.
        let (places, budget) = {
            let state = destination.state.lock();
            match (state.is_stranger, state.failing_since) {
                (true, _) => (&self.strangers, STRANGERS_BUDGET),
                (false, Some(_)) => (&self.suspect, BUDGET),
                (false, None) => (&self.healthy, BUDGET),
            }
        };
        let Ok(_place) = places.acquire().await else { return Outcome::Failed { wait: None } };
        {
            let mut state = destination.state.lock();
            if state.is_given_up {
                return Outcome::Failed { wait: None };
            }
            state.last_attempt = Some(self.clock.instant());
        }
        if !self.note_sending(destination, from, transaction).await {
            return Outcome::Failed { wait: None };
        }
        let outgoing = Outgoing {
            from,
            to: &destination.name,
            method: Method::PUT,
            path: Path::federation("v1").segment("send").segment(&transaction.id),
            body: Body::Canonical(transaction.body.clone()),
            budget,
            cause: Cause::Ours,
        };
        let answer = self.client.send(outgoing).await;
        let name = &destination.name;
        let (outcome, label) = match answer {
            Ok(answer) if is_success(&answer) => {
                note_refused_events(name, answer.body());
                (Outcome::Delivered, "ok")
            }
            Ok(answer) => match answer.status() {
                status if is_final(status, answer.body()) => (Outcome::Refused, "refused"),
                status => {
                    debug!(destination = %name, txn_id = transaction.id, %status, "transaction not taken");
                    let wait = client::retry_after(answer.headers(), &self.clock);
                    let wait = wait.map(|wait| wait.min(self.config.longest_retry));
                    (Outcome::Failed { wait }, "error")
                }
            },
            Err(error) => {
                debug!(destination = %name, txn_id = transaction.id, %error, "transaction not delivered");
                let label =
                    if matches!(error, RemoteError::BadAnswer { .. }) { "error" } else { "unreachable" };
                (Outcome::Failed { wait: None }, label)
            }
        };
        self.counts.transactions.with(&[("outcome", label)]).inc();
        // Something that is no peer may answer as well, and whatever it likes: only who takes a transaction, or
        // says what is wrong with it, is no stranger any more.
        if matches!(outcome, Outcome::Delivered | Outcome::Refused) {
            destination.state.lock().has_answered(&self.config);
        }
        if matches!(outcome, Outcome::Delivered) {
            self.counts.events.inc_by(transaction.pdus as u64);
        }
        outcome
    }

    /// Notes what is about to be sent, so that whoever goes on after a crash sends the same transaction again and not
    /// its events in another one. It waits until that is on disk, however long that takes: who cannot note it may
    /// not be the one any more who sends. False: the peer was given up meanwhile.
    ///
    /// Where no other process can go on, nothing is noted and nothing waited for: then what was sent in the last
    /// moment before a crash may come again, in other transactions, and the peer knows the events by their ids.
    async fn note_sending(
        &self,
        destination: &Destination,
        from: &OwnedServerName,
        transaction: &Transaction,
    ) -> bool {
        if !self.store.is_shared() {
            return !destination.state.lock().is_given_up;
        }
        loop {
            self.store.ready().await;
            let (submitted, noted) = {
                let _in_order = self.notes.lock();
                let mut batch = Batch::new();
                let mut state = destination.state.lock();
                if state.is_given_up {
                    return false;
                }
                let mut noted = None;
                if let Some(lane) = state.lanes.get_mut(from)
                    && let Some(row) = lane.sending(transaction)
                {
                    batch.put(&LAST_SENT, &(from.to_string(), destination.name.to_string()), &row);
                    let changes = lane.changes();
                    changes.write(&mut batch, from, &destination.name);
                    noted = Some(changes);
                }
                (self.term.submit(self.term.fenced(batch)), noted)
            };
            let Err(error) = submitted.await else { return true };
            if let Some(lane) = destination.state.lock().lanes.get_mut(from) {
                lane.sending_failed(&transaction.id, noted);
            }
            if !error.stops_writes() && !self.term.ended().is_cancelled() {
                warn!(destination = %destination.name, %error, "what is to be sent could not be noted");
            }
            self.clock.sleep(NOTE_AGAIN).await;
        }
    }

    /// Notes how an attempt with a lane's pending transaction ended.
    fn settle(
        &self,
        destination: &Destination,
        from: &OwnedServerName,
        transaction: &Transaction,
        outcome: &Outcome,
    ) {
        self.note(destination, outcome);
        let mut state = destination.state.lock();
        let Some(lane) = state.lanes.get_mut(from) else { return };
        match outcome {
            Outcome::Delivered => {
                lane.delivered(&transaction.id);
                self.to_device.count_sent("sent", transaction.units);
            }
            Outcome::Refused => match lane.refused(&transaction.id) {
                Some(Refused::Event(item)) => warn!(
                    destination = %destination.name, event_id = %item.event.event_id(),
                    "the peer refuses an event for good, it is not sent again"
                ),
                Some(Refused::Unit(unit)) => {
                    self.to_device.count_sent("peer refused", 1);
                    warn!(
                        destination = %destination.name, size_bytes = unit.json.len(),
                        "the peer refuses messages to devices for good, they are not sent again"
                    );
                }
                None => {}
            },
            Outcome::Failed { .. } => lane.failed(),
        }
    }

    /// Keeps the books on how a peer is doing, and sets when it is tried next.
    pub(super) fn note(&self, destination: &Destination, outcome: &Outcome) {
        let now = self.clock.instant();
        let name = &destination.name;
        let mut state = destination.state.lock();
        match outcome {
            Outcome::Delivered | Outcome::Refused => {
                if let Some(failing) = state.failing_since.take() {
                    let elapsed_ms = now.since(failing.since).as_millis() as u64;
                    info!(destination = %name, elapsed_ms, "peer answers again");
                }
                state.backoff.reset();
                state.not_before = now;
                self.contacts.set_troubled(name, false);
                // A transaction that is refused over and over must not become a busy loop.
                if matches!(outcome, Outcome::Refused) {
                    state.not_before = now + self.random.jitter(self.config.first_retry);
                }
            }
            Outcome::Failed { wait } => {
                if state.is_given_up {
                    return;
                }
                let Failing { since, .. } =
                    *state.failing_since.get_or_insert(Failing { at: self.clock.now(), since: now });
                let backoff = state.backoff.next(&self.random);
                let wait = wait.unwrap_or_default().max(backoff);
                state.not_before = now + wait;
                if state.is_stranger && now.since(since) >= self.config.give_up {
                    self.give_up(destination, &mut state);
                    return;
                }
                self.contacts.set_troubled(name, true);
                if now.since(since) >= BEHIND_AFTER {
                    let first = state.lanes.values().any(|lane| !lane.is_behind());
                    state.lanes.values_mut().for_each(Lane::fall_behind);
                    if first {
                        let retry_in_ms = wait.as_millis() as u64;
                        warn!(destination = %name, retry_in_ms, "peer has not answered for a minute, it will have to catch up");
                    }
                }
            }
        }
    }

    /// This moment.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Whether the peer itself says that it will never take this transaction. A 400 of something that
/// stands before the peer does not count.
fn is_final(status: StatusCode, body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Said {
        errcode: String,
    }

    let final_status = matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE);
    let Ok(Said { errcode }) = serde_json::from_slice(body) else { return false };
    final_status
        && matches!(
            errcode.as_str(),
            "M_NOT_JSON" | "M_BAD_JSON" | "M_TOO_LARGE" | "M_INVALID_PARAM" | "M_MISSING_PARAM"
        )
}

/// Logs what a peer says of single events; there is nothing that we could do about it.
fn note_refused_events(destination: &OwnedServerName, body: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(default)]
        pdus: std::collections::BTreeMap<String, Verdict>,
    }
    #[derive(serde::Deserialize)]
    struct Verdict {
        error: Option<String>,
    }

    let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return };
    for (event_id, verdict) in answer.pdus {
        if let Some(error) = verdict.error {
            debug!(%destination, event_id, error, "the peer has not taken an event");
        }
    }
}
