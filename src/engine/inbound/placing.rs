//! Placing judged events: beside the room's lock where states have to be resolved, else under it.
//!
//! Resolving grows with the room, and whoever wants to speak in it waits for its lock. So where the graph forks, a batch
//! is made on a copy of the tip, and submitted if that is still the room's very tip ([`Live::is_still`]). If it is not,
//! it is made over again, with the serials of the first time ([`Given`]): once more beside the lock, then with the lock
//! held. What was said meanwhile may be a branch of its own the first time, and then there is more to resolve; but who
//! speaks ties the branches together, so that as long as the state does not move, what is resolved the second time is
//! all that is needed the third time.

use std::sync::Arc;

use room::{
    Error,
    attempts::Attempts,
    ids::Root,
    read::room::RoomInfo,
    tables::{Head, Verdict},
};
use tracing::debug;

use super::receive::{Arrival, Received};
use crate::{
    Engine,
    head::{Given, Guard, Landing, Live, Staged},
    pipeline::Stage,
};

/// How often a batch is made beside the lock before it is made under it.
const BESIDE: usize = 2;

/// Events on their way to disk.
pub(crate) struct Submitted {
    landing: Landing,
    received: Vec<Received>,
}

/// A batch, and what it makes of the events.
pub(crate) type Made = (Staged, Vec<Received>);

impl Engine {
    /// Judges and places events in order, as one batch where that is possible.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many resolve states; [`Error::NoRoom`], [`Error::Store`], [`Error::Contended`] and others.
    pub(crate) async fn place_arrivals(
        &self,
        room: &Arc<RoomInfo>,
        arrivals: &[Arrival],
    ) -> Result<Vec<Received>, Error> {
        let mut done: Vec<Received> = Vec::with_capacity(arrivals.len());
        let mut attempts = Attempts::default();
        let mut beside = 0;
        let mut given = Given::default();
        while done.len() < arrivals.len() {
            let rest = &arrivals[done.len()..];
            let mut guard = self.lock(room).await?;
            guard.head()?;
            let submitted = if beside < BESIDE && guard.live()?.can_be_copied() && forks(guard.head()?, rest)
            {
                drop(guard);
                beside += 1;
                match self.submit_beside(room, rest, std::mem::take(&mut given)).await? {
                    Ok(submitted) => Some(submitted),
                    Err(unused) => {
                        given = unused;
                        None
                    }
                }
            } else {
                // A batch that fails may be on disk all the same: its serials are not used again.
                let submitted = self.submit_on(&mut guard, rest, std::mem::take(&mut given)).await?;
                if submitted.is_none() && guard.land(self).await.is_err() {
                    attempts.again(self.rooms()).await?;
                }
                submitted
            };
            let Some(Submitted { landing, mut received }) = submitted else { continue };
            if attempts.judge(self.rooms(), landing.await).await?.is_some() {
                self.count_received(&received);
                self.release_landed(room, rest, &received);
                self.arrived(room, received.iter().filter_map(Received::event));
                done.append(&mut received);
                beside = 0;
            }
        }
        Ok(done)
    }

    /// Judges and places one event.
    pub(crate) async fn place_arrival(
        &self,
        room: &Arc<RoomInfo>,
        arrival: Arrival,
    ) -> Result<Received, Error> {
        let received = self.place_arrivals(room, std::slice::from_ref(&arrival)).await?.pop();
        received.ok_or(Error::Inconsistent("an arrival without an outcome"))
    }

    /// Makes a batch beside the lock and submits it. `Err` in the answer: the tip is not the room's any more, or
    /// something must be on disk first, or nothing could be made of that tip; then it is for who holds the lock, with
    /// these serials.
    async fn submit_beside(
        &self,
        room: &Arc<RoomInfo>,
        arrivals: &[Arrival],
        given: Given,
    ) -> Result<Result<Submitted, Given>, Error> {
        let _seat = self.0.seats.take(&self.0.clock, room.serial).await?;
        let tip = {
            let guard = self.lock(room).await?;
            if !guard.live()?.can_be_copied() {
                return Ok(Err(given));
            }
            guard.live()?.copy()
        };
        match self.make_batch(room, &tip, arrivals, given).await {
            Ok(Some(made)) => self.submit_made(room, &tip, made).await,
            Ok(None) => Ok(Err(Given::default())),
            Err(cause) if cause.is_passing() => Err(cause),
            Err(cause) => {
                debug!(room_id = %room.room_id, error = %cause, "events could not be placed beside the lock");
                Ok(Err(Given::default()))
            }
        }
    }

    /// Submits what was made of a tip, if that is still the room's.
    pub(crate) async fn submit_made(
        &self,
        room: &Arc<RoomInfo>,
        tip: &Live,
        (staged, received): Made,
    ) -> Result<Result<Submitted, Given>, Error> {
        let mut guard = self.lock(room).await?;
        if !guard.live()?.is_still(tip) {
            return Ok(Err(staged.given));
        }
        Ok(Ok(Submitted { landing: guard.submit(self, staged, None), received }))
    }

    /// Submits events on a locked room's tip. `None`: something must be on disk first.
    async fn submit_on(
        &self,
        guard: &mut Guard,
        arrivals: &[Arrival],
        given: Given,
    ) -> Result<Option<Submitted>, Error> {
        let room = guard.room.clone();
        let made = self.make_batch(&room, guard.live()?, arrivals, given).await?;
        let submit = |(staged, received)| Submitted { landing: guard.submit(self, staged, None), received };
        Ok(made.map(submit))
    }

    /// Makes a batch of as many events as one can hold. `None`: not even the first can go before something is on disk.
    pub(crate) async fn make_batch(
        &self,
        room: &RoomInfo,
        tip: &Live,
        arrivals: &[Arrival],
        given: Given,
    ) -> Result<Option<Made>, Error> {
        let mut stage = Stage::new(self, room, tip);
        stage.given = given;
        let mut received = Vec::new();
        for arrival in arrivals {
            // What a redaction empties must be on disk, for its place is written anew; and so must one
            // that waits for this event.
            let pdu = arrival.event.pdu();
            if pdu.redacts().is_some_and(|id| stage.is_fresh(id)) || stage.is_awaited_fresh(pdu.event_id()) {
                break;
            }
            received.push(stage.receive(arrival).await?);
        }
        Ok((!received.is_empty()).then(|| (stage.finish(), received)))
    }

    fn count_received(&self, received: &[Received]) {
        for one in received {
            let verdict = match one {
                Received::Known(_) => "known",
                Received::Refused => "rejected",
                Received::Unjudged => "unjudged",
                Received::Placed(event) => match event.meta().verdict {
                    Verdict::Accepted => "accepted",
                    Verdict::SoftFailed => "soft_failed",
                    Verdict::Rejected => "rejected",
                    Verdict::Outlier => "outlier",
                },
            };
            self.0.metrics.received.with(&[("verdict", verdict)]).inc();
        }
    }
}

/// Whether events do anything but go on, one after the other, from a single tip.
fn forks(head: &Head, arrivals: &[Arrival]) -> bool {
    let [tip] = &head.extremities[..] else { return true };
    let mut tip = &*tip.event_id;
    for arrival in arrivals {
        if arrival.event.pdu().prev_events().iter().any(|id| id != tip) || head.beside != Root::EMPTY {
            return true;
        }
        tip = arrival.id();
    }
    false
}
