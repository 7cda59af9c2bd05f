//! Asking for something, asking again for what was returned, taking it back.

use std::{collections::BTreeSet, time::Duration};

use audit::Action;
use base::Attempts;
use organisation::UnitId;
use ruma::{ServerName, UserId};
use store::{Batch, CommitError, Order as Direction, Range};

use crate::{
    answer::Answer,
    case::{Case, Deed, State, after},
    cases::{By, Cases, Change},
    deciders::Context,
    error::Error,
    field::{FieldKind, Fields, text},
    ids::CaseId,
    kind::{Asked, Kind, Plan},
    limits::{
        LONGEST_TEXT, MOST_A_DAY, MOST_FIELDS, MOST_LINES, MOST_OF_A_STEP, MOST_OPEN, MOST_OPEN_OF_ONE,
        MOST_STEPS, RESERVED,
    },
    tables::{ASKED, CASES, COUNTS, HEADS, HeadRow, OPEN, THINGS, ThingRow, Why},
    words::words,
};

/// What was typed: fields, reason, and what is meant.
type Typed<'a> = (&'a [(String, String)], &'a str, &'a BTreeSet<String>);

impl Cases {
    /// Makes a case of what somebody asks for.
    pub(crate) async fn ask(
        &self,
        authority: &ServerName,
        kind: &str,
        typed: Typed<'_>,
        by: &By,
    ) -> Result<Answer, Error> {
        let user = by.account()?;
        let none =
            || Error::Refused(words!("その種類の案件はありません。", "There is no such kind of case."));
        let kind = self.kind(kind).ok_or_else(none)?.clone();
        let mut attempts = Attempts::default();
        loop {
            let demand = self.inner.people.demand(user).await?;
            let context = self.context(authority, &[], &[user]).await?;
            let (fields, reason, plan) = self.planned(&*kind, &context, user, typed).await?;
            let thing = self.one_about(authority, &*kind, &fields).await?;
            let head = self.inner.store.get(&HEADS, authority.as_str()).await?;
            let open = self.inner.store.get(&COUNTS, authority.as_str()).await?.map_or(0, |count| count.0);
            // Wishes of many do not keep those from asking who see to the authority.
            let most = if kind.asking_agrees() { MOST_OPEN + RESERVED } else { MOST_OPEN };
            if usize::try_from(open).unwrap_or(0) >= most {
                return Err(Error::Refused(words!(
                    "処理中の案件が多すぎます。しばらくしてから申請してください。",
                    "Too many cases are open; please ask again later."
                )));
            }
            self.must_have_room(authority, user).await?;
            let next = HeadRow { last: head.as_ref().map_or(0, |head| head.last).saturating_add(1) };
            let id = CaseId(next.last);
            let now = self.inner.clock.now();
            let case = Case {
                kind: kind.word().to_owned(),
                title: plan.title,
                asker: user.to_owned(),
                asker_person: context.known.owner(user),
                subjects: plan.subjects,
                fields: fields.kept(),
                reason: reason.clone(),
                asked_at: now,
                steps: plan.steps,
                approvals: Vec::new(),
                state: State::Asked,
                waits_since: now,
                reminded: false,
                expires: after(now, plan.expires_in),
                until: plan.until,
                due: None,
                version: 0,
            };
            let mut event = self.event(by, Deed::Asked, &reason);
            event.fields = fields.kept();
            let mut batch = Batch::new();
            demand(&mut batch);
            self.deed(Action::AskCase, &by.actor, id, &case).write(&mut batch, authority);
            match &head {
                Some(head) => batch.replace(&HEADS, authority.as_str(), head, &next),
                None => batch.insert(&HEADS, authority.as_str(), &next),
            };
            batch.put(&ASKED, &(authority.as_str(), user.as_str(), id), &());
            Self::put_thing(&mut batch, authority, (&*kind, id), thing.as_ref());
            let change = Change {
                id,
                old: None,
                new: case,
                events: vec![event],
                tells: Some(Why::Waits),
                again_at: None,
            };
            self.write(&mut batch, authority, change);
            match self.inner.store.commit(batch).await {
                Ok(_) => {
                    self.wake();
                    return self.show(authority, id, by).await;
                }
                // What is perhaps written is not asked for twice.
                Err(CommitError::Conflict { .. }) if attempts.again(&self.inner.random).await => {}
                Err(CommitError::Conflict { .. }) => return Err(Error::Changed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks again for what was returned: whoever agreed before is asked anew.
    pub(crate) async fn ask_again(
        &self,
        authority: &ServerName,
        id: CaseId,
        typed: Typed<'_>,
        seen: Option<u32>,
        by: &By,
    ) -> Result<Answer, Error> {
        let user = by.account()?;
        let (mut seen, mut attempts) = (seen, Attempts::default());
        loop {
            let old = self.get(authority, id).await?;
            // What is not known to be written is found here the next time.
            seen.get_or_insert(old.version);
            if old.asker != user {
                return Err(self.hidden_or(authority, id, &old, by, Error::NotYours).await?);
            }
            if self.was_done(authority, (id, &old), (seen, Deed::AskedAgain), by).await? {
                return self.show(authority, id, by).await;
            }
            if old.state != State::Returned {
                return Err(Self::not_now(&old.state));
            }
            if old.expires <= self.inner.clock.now() {
                return Err(Self::expired());
            }
            if old.version >= MOST_LINES {
                return Err(Error::Refused(words!(
                    "差し戻しの回数が多すぎます。取り下げて、新しい案件として申請してください。",
                    "It was returned too often; please withdraw it and ask in a new case."
                )));
            }
            let none = || {
                Error::Refused(words!(
                    "この種類の案件は扱われていません。",
                    "There is no such kind of case any more."
                ))
            };
            let kind = self.kind(&old.kind).ok_or_else(none)?.clone();
            let demand = self.inner.people.demand(user).await?;
            let context = self.context(authority, &[], &[user]).await?;
            let (fields, reason, plan) = self.planned(&*kind, &context, user, typed).await?;
            // What was returned may come back about something else: another change set in the place of the first.
            let thing = match kind.thing(&fields) == kind.thing(&Fields::of(&old.fields)) {
                true => None,
                false => self.one_about(authority, &*kind, &fields).await?,
            };
            let now = self.inner.clock.now();
            let new = Case {
                title: plan.title,
                asker_person: context.known.owner(user),
                subjects: plan.subjects,
                fields: fields.kept(),
                reason: reason.clone(),
                steps: plan.steps,
                approvals: Vec::new(),
                state: State::Asked,
                waits_since: now,
                reminded: false,
                expires: after(now, plan.expires_in),
                until: plan.until,
                ..old.clone()
            };
            let mut event = self.event(by, Deed::AskedAgain, &reason);
            event.fields = fields.kept();
            let mut batch = Batch::new();
            demand(&mut batch);
            self.deed(Action::AskCaseAgain, &by.actor, id, &new).write(&mut batch, authority);
            Self::put_thing(&mut batch, authority, (&*kind, id), thing.as_ref());
            let change = Change {
                id,
                old: Some(&old),
                new,
                events: vec![event],
                tells: Some(Why::Waits),
                again_at: None,
            };
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

    /// Takes back what one has asked for, or what anybody has, at the command line.
    pub(crate) async fn withdraw(
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
            if by.user.as_ref().is_some_and(|user| *user != old.asker) {
                return Err(self.hidden_or(authority, id, &old, by, Error::NotYours).await?);
            }
            if self.was_done(authority, (id, &old), (seen, Deed::Withdrawn), by).await? {
                return self.show(authority, id, by).await;
            }
            // What is being carried out is not taken back under whoever does it.
            if !matches!(old.state, State::Asked | State::Returned | State::Failed(_)) {
                return Err(Self::not_now(&old.state));
            }
            let new = Case { state: State::Withdrawn, ..old.clone() };
            let mut batch = Batch::new();
            self.deed(Action::WithdrawCase, &by.actor, id, &new).write(&mut batch, authority);
            let events = vec![self.event(by, Deed::Withdrawn, &why)];
            let change = Change { id, old: Some(&old), new, events, tells: None, again_at: None };
            self.write(&mut batch, authority, change);
            match self.inner.store.commit(batch).await {
                Ok(_) => return self.show(authority, id, by).await,
                Err(CommitError::Conflict { .. } | CommitError::Unknown)
                    if attempts.again(&self.inner.random).await => {}
                Err(CommitError::Conflict { .. }) => return Err(Error::Changed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what was typed, and asks the kind what becomes of it.
    async fn planned(
        &self,
        kind: &dyn Kind,
        context: &Context,
        user: &UserId,
        (typed, reason, means): Typed<'_>,
    ) -> Result<(Fields, String, Plan), Error> {
        let authority = &*context.authority;
        let all = kind.fields(authority).await?;
        if typed.len() > MOST_FIELDS || all.len() > MOST_FIELDS {
            return Err(Error::Refused(words!("項目が多すぎます。", "There are too many fields.")));
        }
        let organisation = &context.known.organisation;
        let fields =
            Fields::read(typed, &all, (authority, organisation, context.day)).map_err(Error::Refused)?;
        let people = all.iter().filter(|field| field.kind == FieldKind::Person);
        let people: Vec<_> = people.filter_map(|field| fields.user(&field.word)).collect();
        let users: Vec<&UserId> = people.iter().map(|user| &**user).collect();
        let standing = self.inner.people.standing(&users).await?;
        if standing.iter().any(|standing| !standing.is_some_and(|standing| standing.can_act)) {
            return Err(Error::Refused(words!(
                "そのアカウントは利用できません(ない、閉鎖・ロック済み、ゲストなど)。",
                "There is no such account that can be used."
            )));
        }
        let reason = text(reason, LONGEST_TEXT, true).map_err(Error::Refused)?;
        if reason.is_empty() {
            return Err(Error::Refused(words!("理由を入力してください。", "Please say why.")));
        }
        let Some(standing) = context.standing.get(user).copied() else { return Err(Error::NotYours) };
        let asked = Asked {
            authority,
            asker: user,
            standing,
            duties: context.duties(user),
            unit: main_unit(context, user),
            fields: &fields,
            organisation,
            day: context.day,
            now: context.now,
        };
        let plan = kind.plan(&asked).await?;
        self.must_mean(kind, authority, &fields, means).await?;
        let is_sound = |count: u8| count > 0 && count <= MOST_OF_A_STEP;
        if plan.steps.is_empty()
            || plan.steps.len() > MOST_STEPS
            || !plan.steps.iter().all(|step| is_sound(step.count) && !step.who.is_empty())
        {
            return Err(Error::Refused(words!(
                "この案件を決められる人が決まりません。",
                "Nobody is said to decide this."
            )));
        }
        Ok((fields, reason, plan))
    }

    /// Refuses who does not say of all that has to be meant that it is.
    pub(crate) async fn must_mean(
        &self,
        kind: &dyn Kind,
        authority: &ServerName,
        fields: &Fields,
        means: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let all = kind.meant(authority, fields).await?.into_iter();
        let left = all.filter(|(word, _)| !means.contains(word)).map(|(word, told)| (word, told.ja, told.en));
        let left: Vec<_> = left.collect();
        if left.is_empty() {
            return Ok(());
        }
        let told: Vec<_> = left.iter().map(|(word, ja, _)| format!("{ja}({word})")).collect();
        let told_en: Vec<_> = left.iter().map(|(word, _, en)| format!("{en} ({word})")).collect();
        let (told, told_en) = (told.join(" "), told_en.join(" "));
        Err(Error::Refused(words!(
            "確認が必要な警告があります。内容を読み、それぞれ承知したうえで印を付けてください(コマンドでは --meant): {told}",
            "There are warnings; please read each of them and say that it is meant (--meant at the command line): {told_en}"
        )))
    }

    /// What there may be one open case about, with the last one about it.
    ///
    /// # Errors
    /// [`Error::Refused`] where that is open.
    async fn one_about(
        &self,
        authority: &ServerName,
        kind: &dyn Kind,
        fields: &Fields,
    ) -> Result<Option<(String, Option<ThingRow>)>, Error> {
        let Some(thing) = kind.thing(fields) else { return Ok(None) };
        let last = self.inner.store.get(&THINGS, &(authority.as_str(), kind.word(), thing.as_str())).await?;
        if let Some(ThingRow { case: id }) = &last
            && self.get(authority, *id).await?.state.is_open()
        {
            let number = id.0;
            return Err(Error::Refused(words!(
                "これについては、案件 {number} がまだ終わっていません。",
                "Case {number} about this is still open."
            )));
        }
        Ok(Some((thing, last)))
    }

    /// Notes that a case is the last one about a thing, if nobody else has noted another one meanwhile.
    fn put_thing(
        batch: &mut Batch,
        authority: &ServerName,
        (kind, id): (&dyn Kind, CaseId),
        thing: Option<&(String, Option<ThingRow>)>,
    ) {
        let Some((thing, last)) = thing else { return };
        let (key, row) = ((authority.as_str(), kind.word(), thing.as_str()), ThingRow { case: id });
        match last {
            Some(last) => batch.replace(&THINGS, &key, last, &row),
            None => batch.insert(&THINGS, &key, &row),
        };
    }

    /// The last case of a kind about a thing, and how far it has come: for pages that show the thing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn last_about(
        &self,
        authority: &ServerName,
        kind: &str,
        thing: &str,
    ) -> Result<Option<(CaseId, State)>, Error> {
        let Some(ThingRow { case }) =
            self.inner.store.get(&THINGS, &(authority.as_str(), kind, thing)).await?
        else {
            return Ok(None);
        };
        Ok(Some((case, self.get(authority, case).await?.state)))
    }

    /// Whether somebody may ask for one more.
    async fn must_have_room(&self, authority: &ServerName, user: &UserId) -> Result<(), Error> {
        let (store, name) = (&self.inner.store, authority.as_str());
        // All that are open are looked through: what he has asked for since hides none.
        let rows = store.scan(&OPEN, Range::prefix(name), Direction::Ascending, MOST_OPEN + RESERVED).await?;
        let keys: Vec<_> = rows.iter().map(|((_, id), ())| (name, user.as_str(), *id)).collect();
        let open = store.get_many(&ASKED, &keys).await?.into_iter().flatten().count();
        let range = Range::prefix(&(name, user.as_str()));
        let rows = store.scan(&ASKED, range, Direction::Descending, MOST_A_DAY).await?;
        let keys: Vec<_> = rows.iter().map(|((_, _, id), ())| (name, *id)).collect();
        let since = self.inner.clock.now().before(Duration::from_secs(86_400));
        let cases = store.get_many(&CASES, &keys).await?.into_iter().flatten();
        let of_late = cases.filter(|case| case.asked_at > since).count();
        if open >= MOST_OPEN_OF_ONE || of_late >= MOST_A_DAY {
            return Err(Error::Refused(words!(
                "申請中の案件は {MOST_OPEN_OF_ONE} 件まで、一日の申請は {MOST_A_DAY} 件までです。",
                "At most {MOST_OPEN_OF_ONE} cases of one person are open, and {MOST_A_DAY} are asked for in a day."
            )));
        }
        Ok(())
    }
}

/// The unit of somebody's main post today.
fn main_unit(context: &Context, user: &UserId) -> Option<UnitId> {
    let person = context.known.owner(user)?;
    let posts = context.known.organisation.posts_of(person, context.day);
    posts.first().map(|holder| holder.post.unit)
}
