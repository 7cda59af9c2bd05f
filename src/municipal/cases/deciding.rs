//! Agreeing, giving back, refusing: by whoever may decide the step that a case waits for, once a person.

use std::{collections::BTreeSet, sync::Arc};

use audit::{Action, Actor, Deed as AuditDeed};
use base::Attempts;
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, CommitError};

use crate::{
    answer::Answer,
    case::{Approval, Case, Deed, Event, State},
    cases::{By, Cases, Change},
    deciders::{Context, Decider},
    error::Error,
    field::{Fields, text},
    ids::CaseId,
    limits::LONGEST_TEXT,
    people::Demand,
    tables::{DEPUTIES, Why},
    words::words,
};

/// What is said, and which version of the case was seen.
type Said<'a> = (&'a str, Option<u32>);

/// Why somebody does not decide.
enum No {
    Refused(Error),
    /// Because of what he is: whoever may not see the case does not hear of it.
    NotHis(Error),
}

/// A case that somebody may decide, as it is once what counts no more is taken out of it.
struct Decidable {
    new: Case,
    events: Vec<Event>,
    at: usize,
    decider: Decider,
    demands: Vec<Demand>,
}

impl Cases {
    pub(crate) async fn approve(
        &self,
        authority: &ServerName,
        id: CaseId,
        (remark, seen): Said<'_>,
        means: &BTreeSet<String>,
        by: &By,
    ) -> Result<Answer, Error> {
        let (user, remark) = (by.account()?, text(remark, LONGEST_TEXT, true).map_err(Error::Refused)?);
        let (mut seen, mut attempts) = (seen, Attempts::default());
        loop {
            let old = self.get(authority, id).await?;
            // What is not known to be written is found here the next time.
            seen.get_or_insert(old.version);
            if self.was_done(authority, (id, &old), (seen, Deed::Approved), by).await? {
                return self.show(authority, id, by).await;
            }
            let Decidable { mut new, mut events, at, decider, demands } = match self
                .decidable(authority, &old, user)
                .await?
            {
                Ok(decidable) => decidable,
                Err(No::Refused(error)) => return Err(error),
                Err(No::NotHis(error)) => return Err(self.hidden_or(authority, id, &old, by, error).await?),
            };
            if let Some(kind) = self.kind(&old.kind) {
                self.must_mean(&**kind, authority, &Fields::of(&old.fields), means).await?;
            }
            let now = self.inner.clock.now();
            let step = u8::try_from(at).unwrap_or(u8::MAX);
            let mut event = self.event(by, Deed::Approved, &remark);
            (event.step, event.for_whom) = (Some(step), decider.for_whom.clone());
            events.push(event);
            let Decider { user, person, for_whom } = decider;
            let mut deed =
                self.deed(Action::ApproveCase, &by.actor, id, &old).after("step", (at + 1).to_string());
            if let Some(for_whom) = &for_whom {
                deed = deed.after("for", for_whom);
            }
            new.approvals.push(Approval { step, user, person, for_whom, at: now });
            let voided = self.voided(id, &old, &events);
            let begin = |batch: &mut Batch| {
                demands.iter().for_each(|demand| demand(batch));
                voided.iter().chain([&deed]).for_each(|deed| deed.write(batch, authority));
            };
            let begins_to_wait = new.step() != old.step();
            if begins_to_wait {
                (new.waits_since, new.reminded) = (now, false);
            }
            let done = match new.step() {
                Some(_) => {
                    let tells = begins_to_wait.then_some(Why::Waits);
                    let mut batch = Batch::new();
                    begin(&mut batch);
                    let change = Change { id, old: Some(&old), new, events, tells, again_at: None };
                    self.write(&mut batch, authority, change);
                    self.inner.store.commit(batch).await.map(drop).map_err(Error::from)
                }
                None => self.settle(authority, (id, &old), (new, events), &begin, &by.actor).await,
            };
            match done {
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

    pub(crate) async fn give_back(
        &self,
        authority: &ServerName,
        id: CaseId,
        said: Said<'_>,
        by: &By,
    ) -> Result<Answer, Error> {
        self.end_step(authority, id, said, (State::Returned, Deed::Returned, Action::ReturnCase), by).await
    }

    pub(crate) async fn refuse(
        &self,
        authority: &ServerName,
        id: CaseId,
        said: Said<'_>,
        by: &By,
    ) -> Result<Answer, Error> {
        self.end_step(authority, id, said, (State::Refused, Deed::Refused, Action::RefuseCase), by).await
    }

    async fn end_step(
        &self,
        authority: &ServerName,
        id: CaseId,
        (why, seen): Said<'_>,
        (state, deed, action): (State, Deed, Action),
        by: &By,
    ) -> Result<Answer, Error> {
        let (user, why) = (by.account()?, text(why, LONGEST_TEXT, true).map_err(Error::Refused)?);
        let (mut seen, mut attempts) = (seen, Attempts::default());
        loop {
            let old = self.get(authority, id).await?;
            // What is not known to be written is found here the next time.
            seen.get_or_insert(old.version);
            if self.was_done(authority, (id, &old), (seen, deed), by).await? {
                return self.show(authority, id, by).await;
            }
            let Decidable { mut new, mut events, at, decider, demands } = match self
                .decidable(authority, &old, user)
                .await?
            {
                Ok(decidable) => decidable,
                Err(No::Refused(error)) => return Err(error),
                Err(No::NotHis(error)) => return Err(self.hidden_or(authority, id, &old, by, error).await?),
            };
            if why.is_empty() {
                return Err(Error::Refused(words!(
                    "理由を入力してください(申請者に伝わります)。",
                    "Please say why; who asked reads it."
                )));
            }
            new.state = state.clone();
            new.approvals.clear();
            let mut event = self.event(by, deed, &why);
            (event.step, event.for_whom) = (u8::try_from(at).ok(), decider.for_whom.clone());
            events.push(event);
            let mut batch = Batch::new();
            demands.iter().for_each(|demand| demand(&mut batch));
            let mut row = self.deed(action, &by.actor, id, &old);
            if let Some(for_whom) = &decider.for_whom {
                row = row.after("for", for_whom);
            }
            self.voided(id, &old, &events)
                .iter()
                .chain([&row])
                .for_each(|row| row.write(&mut batch, authority));
            let change = Change { id, old: Some(&old), new, events, tells: Some(Why::Asker), again_at: None };
            self.write(&mut batch, authority, change);
            match self.inner.store.commit(batch).await {
                Ok(_) => {
                    self.wake();
                    return self.show(authority, id, by).await;
                }
                Err(CommitError::Conflict { .. } | CommitError::Unknown)
                    if attempts.again(&self.inner.random).await => {}
                Err(CommitError::Conflict { .. }) => return Err(Error::Changed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A case as somebody may decide it.
    async fn decidable(
        &self,
        authority: &ServerName,
        old: &Case,
        user: &UserId,
    ) -> Result<Result<Decidable, No>, Error> {
        // Before what it follows from is read: what moves in between is met by the commit.
        let mut demands = self.demands(authority, old, Some(user)).await?;
        let context = self.context(authority, &[old], &[user]).await?;
        let (mut new, mut events) = (old.clone(), Vec::new());
        if old.state == State::Asked {
            events = self.void(&context, &mut new);
        }
        let Some(at) = new.step().filter(|_| old.state == State::Asked) else {
            return Ok(Err(No::NotHis(Self::not_now(&old.state))));
        };
        let deciders = context.deciders(&new, at, None);
        let Some(decider) = deciders.find(user).cloned() else {
            return Ok(Err(No::NotHis(why_not(&context, &new, user))));
        };
        if old.expires <= context.now {
            return Ok(Err(No::Refused(Self::expired())));
        }
        if let Some(for_whom) = &decider.for_whom {
            demands.push(self.demand_deputies(authority, for_whom).await?);
            // Read again behind what was demanded: it may have been taken away in between.
            let now_named = self.deputies_of(authority, for_whom).await?;
            let holds = now_named.iter().any(|deputy| deputy.user == user && deputy.holds(context.now));
            if !holds {
                return Ok(Err(No::NotHis(Error::NotYours)));
            }
        }
        if !context.can_act(&old.asker) {
            return Ok(Err(No::Refused(Error::Refused(words!(
                "申請者のアカウントが使えなくなっているため、承認も差し戻しもできません。期限が来ると終了します。",
                "The account of who asked cannot be used any more, so this is not decided; it ends when its time is over."
            )))));
        }
        Ok(Ok(Decidable { new, events, at, decider, demands }))
    }

    /// Takes out of a case what counts no more: approvals by those who may not decide that step now, for whom they did.
    pub(crate) fn void(&self, context: &Context, case: &mut Case) -> Vec<Event> {
        let counts = |(at, approval): (usize, &Approval)| {
            let deciders = context.deciders(case, usize::from(approval.step), Some(at));
            deciders.has(&approval.user, approval.for_whom.as_deref())
        };
        let (kept, gone): (Vec<_>, Vec<_>) =
            case.approvals.iter().enumerate().partition(|(at, approval)| counts((*at, approval)));
        let events = gone.iter().map(|(_, approval)| Event {
            at: context.now,
            by: String::new(),
            for_whom: None,
            deed: Deed::Voided,
            step: Some(approval.step),
            text: approval.user.to_string(),
            fields: Vec::new(),
        });
        let events: Vec<Event> = events.collect();
        let kept: Vec<Approval> = kept.into_iter().map(|(_, approval)| approval.clone()).collect();
        if !events.is_empty() {
            case.approvals = kept;
            (case.waits_since, case.reminded) = (context.now, false);
        }
        events
    }

    /// The rows of the audit log about approvals that count no more.
    pub(crate) fn voided(&self, id: CaseId, case: &Case, events: &[Event]) -> Vec<AuditDeed> {
        let voided = events.iter().filter(|event| event.deed == Deed::Voided);
        let deed = |event: &Event| {
            self.deed(Action::VoidApproval, &Actor::server(), id, case).before("approved_by", &event.text)
        };
        voided.map(deed).collect()
    }

    /// What a batch demands that counts the approvals of a case, and one more: that accounts, duties, deputies and the
    /// organisation are as they are now.
    pub(crate) async fn demands(
        &self,
        authority: &ServerName,
        case: &Case,
        user: Option<&UserId>,
    ) -> Result<Vec<Demand>, Error> {
        let mut users: BTreeSet<OwnedUserId> =
            case.approvals.iter().map(|approval| approval.user.clone()).collect();
        users.extend(user.map(ToOwned::to_owned));
        let mut demands: Vec<Demand> = Vec::new();
        for user in &users {
            // One that is gone has nothing to demand: his approval counts no more anyway.
            if self.inner.people.standing(&[user]).await?.pop().flatten().is_some() {
                demands.push(self.inner.people.demand(user).await?);
            }
            let (_, duties) = self.inner.duties.demand(user).await?;
            demands.push(Arc::new(duties));
        }
        if self.inner.people.standing(&[&case.asker]).await?.pop().flatten().is_some()
            && !users.contains(&case.asker)
        {
            demands.push(self.inner.people.demand(&case.asker).await?);
        }
        for approval in &case.approvals {
            if let Some(for_whom) = &approval.for_whom {
                demands.push(self.demand_deputies(authority, for_whom).await?);
            }
        }
        demands.push(Arc::new(self.inner.organisations.demand(authority).await?));
        Ok(demands)
    }

    async fn demand_deputies(&self, authority: &ServerName, of: &UserId) -> Result<Demand, Error> {
        let row = self.inner.store.get(&DEPUTIES, &(authority.as_str(), of.as_str())).await?;
        let (authority, of) = (authority.to_owned(), of.to_owned());
        Ok(Arc::new(move |batch: &mut Batch| {
            batch.require(&DEPUTIES, &(authority.as_str(), of.as_str()), row.as_ref());
        }))
    }
}

/// Why somebody does not decide a case that he may see.
fn why_not(context: &Context, case: &Case, user: &UserId) -> Error {
    let person = context.known.owner(user);
    let is_same =
        |other: &UserId| other == user || (person.is_some() && context.known.owner(other) == person);
    if is_same(&case.asker) || case.subjects.iter().any(|subject| is_same(subject)) {
        return Error::Refused(words!(
            "自分が申請した案件や、自分についての案件は、自分では決められません。",
            "Nobody decides what he has asked for himself, or what is about him."
        ));
    }
    let decided = |approval: &Approval| {
        is_same(&approval.user) || approval.for_whom.as_ref().is_some_and(|for_whom| is_same(for_whom))
    };
    if case.approvals.iter().any(decided) {
        return Error::Refused(words!(
            "一人で二つの承認はできません。別の人の承認が必要です。",
            "One person cannot approve twice; another one has to."
        ));
    }
    Error::NotYours
}
