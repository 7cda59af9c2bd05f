//! What comes of cases with time: reminders, expiry, the end of what they did, and what a crash has cut.
//!
//! Of several processes over one store each looks; what one does replaces the row as it was, so it is done once.

use std::{sync::Arc, time::Duration};

use audit::{Action, Actor};
use ruma::ServerName;
use store::{Batch, CommitError, Order, Range};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{
    case::{Case, Deed, State},
    cases::{By, Cases, Change},
    error::Error,
    ids::CaseId,
    tables::{DUE, Why},
};

/// How often is looked for what another process was told, or left half way.
const LOOK: Duration = Duration::from_secs(20);

/// Cases of an authority that are seen to at a look.
const AT_A_LOOK: usize = 200;

impl Cases {
    /// Sees to what is due, reminds people, and tells them of approved change sets that fit no more, until the tasks are stopped:
    /// tasks of their own, so that whoever is told slowly keeps no duty from ending. `applied` is told when change sets have come
    /// to their end.
    pub fn start(&self, applied: Arc<Notify>) {
        let (due, told, void) = (self.clone(), self.clone(), self.clone());
        let token = || self.inner.tasks.shutdown_token();
        let (stop, also, third) = (token(), token(), token());
        self.inner.tasks.spawn_restarting("void change sets", move || {
            let (cases, stop, applied) = (void.clone(), third.clone(), applied.clone());
            async move {
                stop.run_until_cancelled(cases.keep_telling_of_void(&applied)).await;
            }
        });
        // The loops never end by themselves.
        self.inner.tasks.spawn_restarting("cases due", move || {
            let (cases, stop) = (due.clone(), stop.clone());
            async move {
                stop.run_until_cancelled(cases.keep_seeing_to()).await;
            }
        });
        self.inner.tasks.spawn_restarting("case reminders", move || {
            let (cases, stop) = (told.clone(), also.clone());
            async move {
                stop.run_until_cancelled(cases.keep_telling()).await;
            }
        });
    }

    async fn keep_seeing_to(&self) {
        loop {
            self.see_to_all().await;
            tokio::select! {
                () = self.inner.look.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }

    async fn keep_telling(&self) {
        loop {
            self.tell_everybody().await;
            tokio::select! {
                () = self.inner.tell.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Sees to what is due now in all authorities.
    pub(crate) async fn see_to_all(&self) {
        for authority in self.inner.authorities.keys() {
            match self.see_to_due(authority).await {
                Ok(0) => {}
                Ok(count) => {
                    info!(%authority, count, "cases were seen to");
                    self.inner.tell.notify_one();
                }
                Err(error) => {
                    warn!(%authority, %error, "cases could not be seen to, it is tried again later")
                }
            }
        }
    }

    /// Tells people in all authorities what they have still to be told: some of each in turn, so that one that has thousands to
    /// tell holds up no other.
    pub(crate) async fn tell_everybody(&self) {
        let mut left: Vec<_> = self.inner.authorities.keys().map(|authority| (authority, None)).collect();
        while !left.is_empty() {
            let mut more = Vec::with_capacity(left.len());
            for (authority, after) in left {
                match self.tell_some(authority, after).await {
                    Ok(None) => {}
                    Ok(last) => more.push((authority, last)),
                    Err(error) => {
                        warn!(%authority, %error, "people could not be reminded, it is tried again later");
                    }
                }
            }
            left = more;
        }
    }

    async fn see_to_due(&self, authority: &ServerName) -> Result<usize, Error> {
        let now = self.inner.clock.now();
        let range =
            Range::prefix(authority.as_str()).before(&(authority.as_str(), now.millis() + 1, CaseId(0)));
        let rows = self.inner.store.scan(&DUE, range, Order::Ascending, AT_A_LOOK).await?;
        let mut done = 0;
        for ((_, at, id), ()) in rows {
            match self.see_to(authority, id, at).await {
                Ok(()) => done += 1,
                // Somebody else is at it, or a person was faster.
                Err(Error::Changed | Error::Commit(CommitError::Conflict { .. })) => {}
                Err(error) => {
                    warn!(%authority, case = id.0, %error, "a case could not be seen to, it is tried again later");
                    // Lest it stands in front of all others.
                    let case = self.get(authority, id).await?;
                    self.try_later(authority, id, &case).await?;
                }
            }
        }
        Ok(done)
    }

    async fn see_to(&self, authority: &ServerName, id: CaseId, at: u64) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let case = self.get(authority, id).await?;
        if case.due.is_none_or(|due| due.millis() != at || due > now) {
            return Ok(());
        }
        match &case.state {
            State::Asked | State::Returned | State::Failed(_) if case.expires <= now => {
                let new = Case { state: State::Expired, approvals: Vec::new(), ..case.clone() };
                self.end(authority, (id, &case), new, (Deed::Expired, Action::ExpireCase)).await
            }
            State::Asked => self.see_to_asked(authority, id, &case).await,
            State::Approved => self.carry_on(authority, id).await,
            State::Done => {
                let by = By { actor: Actor::server(), user: None };
                let ending = (State::Ended, Deed::Ended, Action::EndCase);
                match self.take_back(authority, (id, &case), ending, ("", &by)).await {
                    // There is nothing left that could be taken back.
                    Err(Error::Refused(why)) => {
                        warn!(%authority, case = id.0, why = %why.en, "what a case did was not there to be ended");
                        let new = Case { state: State::Ended, ..case.clone() };
                        self.end(authority, (id, &case), new, (Deed::Ended, Action::EndCase)).await
                    }
                    done => done,
                }
            }
            // Looked at early, or nothing to do any more: its row says when, if ever.
            _ => {
                let mut batch = Batch::new();
                let change = Change {
                    id,
                    old: Some(&case),
                    new: case.clone(),
                    events: Vec::new(),
                    tells: None,
                    again_at: None,
                };
                self.write(&mut batch, authority, change);
                self.inner.store.commit(batch).await?;
                Ok(())
            }
        }
    }

    /// Takes out what counts no more, so that whom it waits for anew is told; else reminds whom it waits for, when it is time.
    async fn see_to_asked(&self, authority: &ServerName, id: CaseId, case: &Case) -> Result<(), Error> {
        let demands = self.demands(authority, case, None).await?;
        let context = self.context(authority, &[case], &[]).await?;
        let mut new = case.clone();
        let events = self.void(&context, &mut new);
        let is_time = case.reminds_at().is_some_and(|at| at <= context.now);
        let mut batch = Batch::new();
        let tells = match (events.is_empty(), is_time) {
            (false, _) => {
                demands.iter().for_each(|demand| demand(&mut batch));
                self.voided(id, case, &events).iter().for_each(|deed| deed.write(&mut batch, authority));
                Some(Why::Waits)
            }
            (true, true) => {
                new.reminded = true;
                Some(Why::StillWaits)
            }
            (true, false) => None,
        };
        let change = Change { id, old: Some(case), new, events, tells, again_at: None };
        self.write(&mut batch, authority, change);
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    async fn end(
        &self,
        authority: &ServerName,
        (id, old): (CaseId, &Case),
        new: Case,
        (deed, action): (Deed, Action),
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        self.deed(action, &Actor::server(), id, &new).write(&mut batch, authority);
        let by = By { actor: Actor::server(), user: None };
        let events = vec![self.event(&by, deed, "")];
        let change = Change { id, old: Some(old), new, events, tells: Some(Why::Asker), again_at: None };
        self.write(&mut batch, authority, change);
        self.inner.store.commit(batch).await?;
        Ok(())
    }
}
