//! Deputies (代理・代決): who decides for somebody while he is away, by what follows from his posts.
//!
//! Duties are not handed on: they were given to one person, by whoever has the machine or by two people who are asked each
//! time. A deputy serves in the organisation himself, so that nobody makes himself two people by an account that nobody knows.

use audit::{Action, Deed};
use base::Attempts;
use intake::Date;
use organisation::calendar::begin_of;
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, CommitError, Order, Range};

use crate::{
    answer::Answer,
    cases::{By, Cases},
    error::Error,
    limits::{LONGEST_DEPUTY_DAYS, MOST_DEPUTIES},
    shelf::account,
    tables::{DEPUTIES, DeputiesRow, Deputy, REPRESENTS},
    words::words,
};

/// People for whom one decides that are told.
const MOST_OF_ONE: usize = 200;

impl Cases {
    pub(crate) async fn list_deputies(&self, authority: &ServerName, by: &By) -> Result<Answer, Error> {
        let (user, name, now) = (by.account()?, authority.as_str(), self.inner.clock.now());
        let mut own = self.deputies_of(authority, user).await?;
        own.retain(|deputy| deputy.until > now);
        let range = Range::prefix(&(name, user.as_str()));
        let rows = self.inner.store.scan(&REPRESENTS, range, Order::Ascending, MOST_OF_ONE).await?;
        let keys: Vec<(&str, &str)> = rows.iter().map(|((_, _, of), ())| (name, of.as_str())).collect();
        let all = self.inner.store.get_many(&DEPUTIES, &keys).await?;
        let mut of = Vec::new();
        for ((_, whose), row) in keys.iter().zip(all) {
            let Ok(whose) = OwnedUserId::try_from(*whose) else { continue };
            let his = row.unwrap_or_default().deputies.into_iter();
            let his = his.filter(|deputy| deputy.user == user && deputy.until > now);
            of.extend(his.map(|deputy| (whose.clone(), deputy)));
        }
        Ok(Answer::Deputies { own, of })
    }

    pub(crate) async fn deputies_of(
        &self,
        authority: &ServerName,
        user: &UserId,
    ) -> Result<Vec<Deputy>, Error> {
        let row = self.inner.store.get(&DEPUTIES, &(authority.as_str(), user.as_str())).await?;
        Ok(row.unwrap_or_default().deputies)
    }

    pub(crate) async fn name_deputy(
        &self,
        authority: &ServerName,
        deputy: &str,
        (from, until): (Date, Date),
        by: &By,
    ) -> Result<Answer, Error> {
        let user = by.account()?;
        let wrong =
            || Error::Refused(words!("代理者のアカウントが見つかりません。", "There is no such account."));
        let deputy = account(deputy.trim().trim_start_matches('@'), authority)
            .or_else(|| account(deputy.trim(), authority))
            .ok_or_else(wrong)?;
        let no_days = || {
            Error::Refused(words!(
                "期間が正しくありません。今日以降の終わりの日を、{LONGEST_DEPUTY_DAYS} 日以内で指定してください。",
                "These are no days: the last one is today or later, and at most {LONGEST_DEPUTY_DAYS} days after the first."
            ))
        };
        let begin = begin_of(from).ok_or_else(no_days)?;
        let end = until.next().and_then(begin_of).ok_or_else(no_days)?;
        if end <= begin || end.since(begin).as_secs() / 86_400 > LONGEST_DEPUTY_DAYS {
            return Err(no_days());
        }
        let mut attempts = Attempts::default();
        loop {
            let demand = self.inner.people.demand(user).await?;
            let context = self.context(authority, &[], &[user, &deputy]).await?;
            if end <= context.now {
                return Err(no_days());
            }
            let (own, his) = (context.known.owner(user), context.known.owner(&deputy));
            let serves = |person| context.known.organisation.serves(person, context.day);
            if !own.is_some_and(serves) {
                return Err(Error::Refused(words!(
                    "代理者を指定できるのは、組織に登録された職にある人だけです。",
                    "Only who has a post in the organisation names a deputy."
                )));
            }
            if !context.can_act(&deputy) || !his.is_some_and(serves) {
                return Err(Error::Refused(words!(
                    "代理者には、組織に登録された職にある人を指定してください。",
                    "A deputy has a post in the organisation himself, and an account that can be used."
                )));
            }
            if own == his || deputy == user {
                return Err(Error::Refused(words!(
                    "自分を代理者にはできません。",
                    "Nobody is his own deputy."
                )));
            }
            let key = (authority.as_str(), user.as_str());
            let old = self.inner.store.get(&DEPUTIES, &key).await?;
            let mut new = old.clone().unwrap_or_default();
            let (over, mut kept): (Vec<_>, Vec<_>) =
                new.deputies.into_iter().partition(|one| one.until <= context.now || one.user == deputy);
            if kept.len() >= MOST_DEPUTIES {
                return Err(Error::Refused(words!(
                    "代理者は {MOST_DEPUTIES} 人までです。",
                    "At most {MOST_DEPUTIES} deputies at a time."
                )));
            }
            kept.push(Deputy { user: deputy.clone(), from: begin, until: end, by: by.name() });
            new = DeputiesRow { deputies: kept };
            let mut batch = Batch::new();
            demand(&mut batch);
            let deed = Deed::new(Action::NameDeputy, &by.actor, user.as_str(), context.now)
                .after("deputy", &deputy)
                .after("from", from.to_string())
                .after("until", until.to_string());
            deed.write(&mut batch, authority);
            for one in &over {
                batch.delete(&REPRESENTS, &(authority.as_str(), one.user.as_str(), user.as_str()));
            }
            batch.require(&DEPUTIES, &key, old.as_ref());
            batch.put(&DEPUTIES, &key, &new);
            batch.put(&REPRESENTS, &(authority.as_str(), deputy.as_str(), user.as_str()), &());
            match self.inner.store.commit(batch).await {
                Ok(_) => return Ok(Answer::Done),
                Err(CommitError::Conflict { .. } | CommitError::Unknown)
                    if attempts.again(&self.inner.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) async fn end_deputy(
        &self,
        authority: &ServerName,
        deputy: &UserId,
        by: &By,
    ) -> Result<Answer, Error> {
        let user = by.account()?;
        let key = (authority.as_str(), user.as_str());
        let mut attempts = Attempts::default();
        loop {
            let Some(old) = self.inner.store.get(&DEPUTIES, &key).await? else { return Ok(Answer::Done) };
            let mut new = old.clone();
            new.deputies.retain(|one| one.user != deputy);
            if new == old {
                return Ok(Answer::Done);
            }
            let mut batch = Batch::new();
            let deed = Deed::new(Action::EndDeputy, &by.actor, user.as_str(), self.inner.clock.now());
            deed.before("deputy", deputy).write(&mut batch, authority);
            batch.require(&DEPUTIES, &key, Some(&old));
            if new.deputies.is_empty() {
                batch.delete(&DEPUTIES, &key);
            } else {
                batch.put(&DEPUTIES, &key, &new);
            }
            batch.delete(&REPRESENTS, &(authority.as_str(), deputy.as_str(), user.as_str()));
            match self.inner.store.commit(batch).await {
                Ok(_) => return Ok(Answer::Done),
                Err(CommitError::Conflict { .. } | CommitError::Unknown)
                    if attempts.again(&self.inner.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
