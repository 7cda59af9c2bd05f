//! What comes of a case that is decided: in the batch of the last approval, or after it, once. And undoing it.

use std::sync::Arc;

use audit::{Action, Actor};
use base::Attempts;
use ruma::{ServerName, UserId};
use store::{Batch, CommitError};
use tracing::warn;

use crate::{
    answer::Answer,
    case::{Case, Deed, Event, State, after},
    cases::{By, Cases, Change},
    error::Error,
    field::text,
    ids::CaseId,
    kind::{Beside, Effect, It, KindError},
    limits::{AGAIN_AFTER, FAILED_STAYS, LONGEST_TEXT, MOST_LINES},
    people::Demand,
    tables::Why,
    words::{Told, words},
};

/// How often somebody else may be faster before it is tried again later.
const MOST_ATTEMPTS: usize = 10;

impl Cases {
    /// Commits a case that is decided together with what it is about, or notes that this has still to be done. `begin` writes
    /// what is demanded, and the row of the deed that decided it.
    pub(crate) async fn settle(
        &self,
        authority: &ServerName,
        (id, old): (CaseId, &Case),
        (mut new, mut events): (Case, Vec<Event>),
        begin: &(dyn Fn(&mut Batch) + Send + Sync),
        by: &Actor,
    ) -> Result<(), Error> {
        let effect = self.effect(authority, (id, &new), by).await;
        let mut batch = Batch::new();
        match effect {
            Ok(Effect::Written(written)) => {
                batch = *written;
                begin(&mut batch);
                events.push(self.done(&mut new, by));
                self.deed(Action::CarryOutCase, by, id, &new).write(&mut batch, authority);
                let change =
                    Change { id, old: Some(old), new, events, tells: Some(Why::Asker), again_at: None };
                self.write(&mut batch, authority, change);
                self.inner.store.commit(batch).await?;
                self.settled(&old.kind);
                Ok(())
            }
            Ok(Effect::After(_)) => {
                begin(&mut batch);
                new.state = State::Approved;
                let change = Change { id, old: Some(old), new, events, tells: None, again_at: None };
                self.write(&mut batch, authority, change);
                self.inner.store.commit(batch).await?;
                // Whatever becomes of it now: it is noted, and is looked after.
                if let Err(error) = self.carry_on(authority, id).await {
                    warn!(%authority, case = id.0, %error, "a case is carried out later");
                    self.wake();
                }
                Ok(())
            }
            Err(KindError::Refused(why)) => {
                begin(&mut batch);
                events.push(self.failed(&mut new, &why));
                self.deed(Action::FailCase, by, id, &new).after("why", &why.ja).write(&mut batch, authority);
                let change =
                    Change { id, old: Some(old), new, events, tells: Some(Why::Asker), again_at: None };
                self.write(&mut batch, authority, change);
                self.inner.store.commit(batch).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn effect(
        &self,
        authority: &ServerName,
        (id, case): (CaseId, &Case),
        by: &Actor,
    ) -> Result<Effect, KindError> {
        let now = self.inner.clock.now();
        if case.until.is_some_and(|until| until <= now) {
            return Err(KindError::Refused(words!(
                "期間がすでに過ぎています。",
                "The time for which it was asked is over."
            )));
        }
        let none = || {
            KindError::Refused(words!(
                "この種類の案件は扱われていません。",
                "There is no such kind any more."
            ))
        };
        let kind = self.kind(&case.kind).ok_or_else(none)?;
        kind.carry_out(It { authority, id, case, by, now }).await
    }

    fn settled(&self, kind: &str) {
        if let Some(kind) = self.kind(kind) {
            kind.settled();
        }
    }

    fn done(&self, case: &mut Case, by: &Actor) -> Event {
        case.state = State::Done;
        self.event(&By { actor: by.clone(), user: None }, Deed::CarriedOut, "")
    }

    fn failed(&self, case: &mut Case, why: &Told) -> Event {
        let now = self.inner.clock.now();
        case.state = State::Failed(why.clone());
        case.expires = case.expires.max(after(now, FAILED_STAYS));
        self.event(
            &By { actor: Actor::server(), user: None },
            Deed::Failed,
            &format!("{} / {}", why.ja, why.en),
        )
    }

    /// Carries out what is decided and not done yet. Whoever does so again, or in another process, does it once: each way to
    /// its end replaces the case's row as it was.
    pub(crate) async fn carry_on(&self, authority: &ServerName, id: CaseId) -> Result<(), Error> {
        for _ in 0..MOST_ATTEMPTS {
            let old = self.get(authority, id).await?;
            if old.state != State::Approved {
                return Ok(());
            }
            match self.carry_on_once(authority, id, &old).await {
                Ok(()) => return Ok(()),
                Err(Error::Changed | Error::Commit(CommitError::Conflict { .. })) => {}
                Err(error) => {
                    self.try_later(authority, id, &old).await?;
                    return Err(error);
                }
            }
        }
        Err(Error::Changed)
    }

    async fn carry_on_once(&self, authority: &ServerName, id: CaseId, old: &Case) -> Result<(), Error> {
        let demands = self.demands(authority, old, None).await?;
        let context = self.context(authority, &[old], &[]).await?;
        let mut new = old.clone();
        let mut events = self.void(&context, &mut new);
        // In the name of who decided last.
        let by = old.approvals.last().map_or_else(Actor::server, |last| Actor::user(&last.user, false, None));
        if new.step().is_some() {
            new.state = State::Asked;
            let mut batch = Batch::new();
            demands.iter().for_each(|demand| demand(&mut batch));
            self.voided(id, old, &events).iter().for_each(|deed| deed.write(&mut batch, authority));
            let change = Change { id, old: Some(old), new, events, tells: Some(Why::Waits), again_at: None };
            self.write(&mut batch, authority, change);
            self.inner.store.commit(batch).await?;
            return Ok(());
        }
        match self.effect(authority, (id, &new), &by).await {
            Ok(Effect::Written(written)) => {
                let mut batch = *written;
                demands.iter().for_each(|demand| demand(&mut batch));
                events.push(self.done(&mut new, &by));
                self.deed(Action::CarryOutCase, &by, id, &new).write(&mut batch, authority);
                let change =
                    Change { id, old: Some(old), new, events, tells: Some(Why::Asker), again_at: None };
                self.write(&mut batch, authority, change);
                self.inner.store.commit(batch).await?;
                self.settled(&old.kind);
                Ok(())
            }
            Ok(Effect::After(act)) => {
                let beside = self.end_beside(authority, (id, old), (new, events), demands, by);
                match act(beside.clone()).await {
                    Ok(()) => self.close_by_itself(authority, (id, old), &beside).await,
                    Err(KindError::Refused(why)) => self.note_failure(authority, (id, old), &why).await,
                    Err(error) => Err(error.into()),
                }
            }
            Err(KindError::Refused(why)) => self.note_failure(authority, (id, old), &why).await,
            Err(error) => Err(error.into()),
        }
    }

    /// What a case adds to the batch of what it is about.
    fn end_beside(
        &self,
        authority: &ServerName,
        (id, old): (CaseId, &Case),
        (mut new, mut events): (Case, Vec<Event>),
        demands: Vec<Demand>,
        by: Actor,
    ) -> Beside {
        events.push(self.done(&mut new, &by));
        let deed = self.deed(Action::CarryOutCase, &by, id, &new);
        let (cases, authority, old) = (self.clone(), authority.to_owned(), old.clone());
        Arc::new(move |batch: &mut Batch| {
            demands.iter().for_each(|demand| demand(batch));
            deed.write(batch, &authority);
            let change = Change {
                id,
                old: Some(&old),
                new: new.clone(),
                events: events.clone(),
                tells: Some(Why::Asker),
                again_at: None,
            };
            cases.write(batch, &authority, change);
        })
    }

    /// Where what was done could not hold the case's rows they follow now.
    async fn close_by_itself(
        &self,
        authority: &ServerName,
        (id, old): (CaseId, &Case),
        beside: &Beside,
    ) -> Result<(), Error> {
        if self.get(authority, id).await? != *old {
            self.wake();
            return Ok(());
        }
        let mut batch = Batch::new();
        beside(&mut batch);
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    async fn note_failure(
        &self,
        authority: &ServerName,
        (id, old): (CaseId, &Case),
        why: &Told,
    ) -> Result<(), Error> {
        let mut new = old.clone();
        let events = vec![self.failed(&mut new, why)];
        let mut batch = Batch::new();
        let deed = self.deed(Action::FailCase, &Actor::server(), id, &new).after("why", &why.ja);
        deed.write(&mut batch, authority);
        let change = Change { id, old: Some(old), new, events, tells: Some(Why::Asker), again_at: None };
        self.write(&mut batch, authority, change);
        self.inner.store.commit(batch).await?;
        self.wake();
        Ok(())
    }

    /// Notes that what failed for now is tried again, in a while.
    pub(crate) async fn try_later(
        &self,
        authority: &ServerName,
        id: CaseId,
        old: &Case,
    ) -> Result<(), Error> {
        let again_at = Some(after(self.inner.clock.now(), AGAIN_AFTER));
        let mut batch = Batch::new();
        let change =
            Change { id, old: Some(old), new: old.clone(), events: Vec::new(), tells: None, again_at };
        self.write(&mut batch, authority, change);
        match self.inner.store.commit(batch).await {
            // Somebody else has done something about it.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tries again what could not be done.
    pub(crate) async fn retry(
        &self,
        authority: &ServerName,
        id: CaseId,
        seen: Option<u32>,
        by: &By,
    ) -> Result<Answer, Error> {
        let old = self.get(authority, id).await?;
        if !self.may_end(authority, &old, by).await? {
            return Err(self.hidden_or(authority, id, &old, by, Error::NotYours).await?);
        }
        if self.was_done(authority, (id, &old), (seen, Deed::Retried), by).await? {
            return self.show(authority, id, by).await;
        }
        if !matches!(old.state, State::Failed(_)) {
            return Err(Self::not_now(&old.state));
        }
        if old.expires <= self.inner.clock.now() {
            return Err(Self::expired());
        }
        if old.version >= MOST_LINES {
            return Err(Error::Refused(words!(
                "この案件は、やり直しの回数が多すぎます。取り下げて、新しい案件として申請してください。",
                "It was tried too often; please withdraw it and ask in a new case."
            )));
        }
        let new = Case { state: State::Approved, ..old.clone() };
        let mut batch = Batch::new();
        self.deed(Action::RetryCase, &by.actor, id, &new).write(&mut batch, authority);
        let events = vec![self.event(by, Deed::Retried, "")];
        let change = Change { id, old: Some(&old), new, events, tells: None, again_at: None };
        self.write(&mut batch, authority, change);
        match self.inner.store.commit(batch).await {
            Ok(_) => {}
            Err(CommitError::Conflict { .. }) => return Err(Error::Changed),
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = self.carry_on(authority, id).await {
            warn!(%authority, case = id.0, %error, "a case is carried out later");
            self.wake();
        }
        self.show(authority, id, by).await
    }

    /// Undoes what a case did.
    pub(crate) async fn undo(
        &self,
        authority: &ServerName,
        id: CaseId,
        (why, seen): (&str, Option<u32>),
        by: &By,
    ) -> Result<Answer, Error> {
        let why = text(why, LONGEST_TEXT, true).map_err(Error::Refused)?;
        let (mut seen, mut attempts) = (seen, Attempts::default());
        loop {
            let old = self.get(authority, id).await?;
            // What is not known to be written is found here the next time.
            seen.get_or_insert(old.version);
            if !self.may_end(authority, &old, by).await? {
                return Err(self.hidden_or(authority, id, &old, by, Error::NotYours).await?);
            }
            if self.was_done(authority, (id, &old), (seen, Deed::Undone), by).await? {
                return self.show(authority, id, by).await;
            }
            if old.state != State::Done {
                return Err(Self::not_now(&old.state));
            }
            if why.is_empty() {
                return Err(Error::Refused(words!("理由を入力してください。", "Please say why.")));
            }
            let ending = (State::Undone, Deed::Undone, Action::UndoCase);
            match self.take_back(authority, (id, &old), ending, (&why, by)).await {
                Ok(()) => {
                    self.wake();
                    return self.show(authority, id, by).await;
                }
                Err(Error::Changed | Error::Commit(CommitError::Conflict { .. } | CommitError::Unknown))
                    if attempts.again(&self.inner.random).await => {}
                Err(Error::Commit(CommitError::Conflict { .. })) => return Err(Error::Changed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes back what a case did, with the rows of the case, in one commit.
    pub(crate) async fn take_back(
        &self,
        authority: &ServerName,
        (id, old): (CaseId, &Case),
        (state, deed, action): (State, Deed, Action),
        (why, by): (&str, &By),
    ) -> Result<(), Error> {
        let none = || {
            Error::Refused(words!("この種類の案件は扱われていません。", "There is no such kind any more."))
        };
        let kind = self.kind(&old.kind).ok_or_else(none)?;
        let now = self.inner.clock.now();
        let mut batch = kind.take_back(It { authority, id, case: old, by: &by.actor, now }).await?;
        if let Some(user) = by.user.as_deref() {
            self.inner.people.demand(user).await?(&mut batch);
        }
        let new = Case { state, ..old.clone() };
        self.deed(action, &by.actor, id, &new).write(&mut batch, authority);
        let events = vec![self.event(by, deed, why)];
        let change = Change { id, old: Some(old), new, events, tells: Some(Why::Asker), again_at: None };
        self.write(&mut batch, authority, change);
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    /// Whether somebody may undo what a case did, or have it tried again: who asked, whom it is about, who might decide any
    /// of its steps today, and whoever has the machine. It takes one person to give something up, however many to get it.
    pub(crate) async fn may_end(&self, authority: &ServerName, case: &Case, by: &By) -> Result<bool, Error> {
        let Some(user) = by.user.as_deref() else { return Ok(true) };
        if case.asker == user || case.subjects.iter().any(|subject| subject == user) {
            return Ok(true);
        }
        Ok(!self.steps_of(authority, case, user).await?.is_empty())
    }

    /// The steps of a case that somebody might decide today, had nobody decided yet.
    pub(crate) async fn steps_of(
        &self,
        authority: &ServerName,
        case: &Case,
        user: &UserId,
    ) -> Result<Vec<usize>, Error> {
        let undecided = Case { approvals: Vec::new(), ..case.clone() };
        let mut found = Vec::new();
        for at in 0..undecided.steps.len() {
            // A case of this step alone, so that its deputies are read.
            let one = Case { steps: undecided.steps[at..=at].to_vec(), ..undecided.clone() };
            let context = self.context(authority, &[&one], &[user]).await?;
            if context.deciders(&one, 0, None).find(user).is_some() {
                found.push(at);
            }
        }
        Ok(found)
    }
}
