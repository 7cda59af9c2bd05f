//! Reminders: what the server tells people of cases in their own rooms.
//!
//! What has to be told is a row that is written with what it follows from. Whom it concerns is found out when its turn comes,
//! and noted; each is told under a name of its own, so whoever goes on after a crash tells nobody twice. Nobody is told more than
//! what a case is called and where it is.

use base::Timestamp;
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, CommitError, Order, Range};
use tracing::warn;

use crate::{
    case::{Case, State, after},
    cases::Cases,
    error::Error,
    ids::CaseId,
    limits::{AGAIN_AFTER, BETWEEN_REMINDERS, MOST_REMINDED},
    people::Message,
    tables::{CASES, TOLD, TellRow, Why},
    words::{Told, words},
};

/// How often somebody is tried to be told: for as many minutes.
const MOST_TRIES: u8 = 20;

/// Rows of an authority that have their turn at once: a minute or two at most.
const PAGE: usize = 10;

/// Where a row is: authority, case, line of its history.
pub(crate) type TellKey = (String, CaseId, u32);

impl Cases {
    /// Tells of a page of rows behind one; the last of them, where more may follow. Those who are told later must neither hide
    /// the others nor be asked for without a pause: so it goes page by page to the end.
    pub(crate) async fn tell_some(
        &self,
        authority: &ServerName,
        after: Option<TellKey>,
    ) -> Result<Option<TellKey>, Error> {
        let mut range = Range::prefix(authority.as_str());
        if let Some(after) = &after {
            range = range.after(after);
        }
        let rows = self.inner.store.scan(&TOLD, range, Order::Ascending, PAGE).await?;
        let last = rows.last().map(|(key, _)| key.clone()).filter(|_| rows.len() == PAGE);
        for ((_, id, line), row) in rows {
            if row.not_before > self.inner.clock.now() {
                continue;
            }
            self.tell_one(authority, (id, line), &row).await?;
        }
        Ok(last)
    }

    async fn tell_one(
        &self,
        authority: &ServerName,
        (id, line): (CaseId, u32),
        row: &TellRow,
    ) -> Result<(), Error> {
        let key = (authority.as_str(), id, line);
        let Some(case) = self.inner.store.get(&CASES, &(authority.as_str(), id)).await? else {
            return self.forget(authority, (id, line), row).await;
        };
        let Some(mut to) = row.to.clone() else {
            // Who is told is noted before anybody is: whoever goes on tells the same people.
            let to = self.recipients(authority, (id, line), &case, row.why).await?;
            let found = TellRow { to: Some(to), not_before: Timestamp(0), ..row.clone() };
            let mut batch = Batch::new();
            batch.replace(&TOLD, &key, row, &found);
            if self.commit_unless_moved(batch).await? {
                return Box::pin(self.tell_one(authority, (id, line), &found)).await;
            }
            return Ok(());
        };
        if row.tries > 0 {
            // Some minutes have passed: whom it does not wait for any more is not told that it does.
            let still = self.recipients(authority, (id, line), &case, row.why).await?;
            to.retain(|user| still.contains(user));
        }
        let mut left = Vec::new();
        for user in &to {
            let message = Message {
                text: text(row.why, id, &case),
                path: format!("/_yakuba/counter/cases/{}", id.0),
                name: format!("case-{}-{line}-{}", id.0, word(row.why)),
            };
            if let Err(error) = self.inner.people.tell(user, &message).await {
                warn!(%authority, case = id.0, user_id = %user, %error, "somebody is reminded later");
                left.push(user.clone());
            }
            // Real time on purpose: a steered clock must not hold up what others wait for.
            tokio::time::sleep(BETWEEN_REMINDERS).await;
        }
        if left.is_empty() || row.tries >= MOST_TRIES {
            return self.forget(authority, (id, line), row).await;
        }
        let not_before = after(self.inner.clock.now(), AGAIN_AFTER);
        let later = TellRow { to: Some(left), not_before, tries: row.tries.saturating_add(1), ..row.clone() };
        let mut batch = Batch::new();
        batch.replace(&TOLD, &key, row, &later);
        self.commit_unless_moved(batch).await.map(drop)
    }

    async fn forget(
        &self,
        authority: &ServerName,
        (id, line): (CaseId, u32),
        row: &TellRow,
    ) -> Result<(), Error> {
        let key = (authority.as_str(), id, line);
        let mut batch = Batch::new();
        batch.require(&TOLD, &key, Some(row));
        batch.delete(&TOLD, &key);
        self.commit_unless_moved(batch).await.map(drop)
    }

    /// Whether a batch was written; another process may have been faster.
    async fn commit_unless_moved(&self, batch: Batch) -> Result<bool, Error> {
        match self.inner.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whom it concerns now. A case that has moved on waits for nobody by an older line.
    async fn recipients(
        &self,
        authority: &ServerName,
        (id, line): (CaseId, u32),
        case: &Case,
        why: Why,
    ) -> Result<Vec<OwnedUserId>, Error> {
        if why == Why::Asker {
            let standing = self.inner.people.standing(&[&case.asker]).await?.pop().flatten();
            return Ok(standing.map(|_| case.asker.clone()).into_iter().collect());
        }
        if case.state != State::Asked {
            return Ok(Vec::new());
        }
        // Whoever it began to wait for since is told by the row of that.
        let name = authority.as_str();
        let range = Range::prefix(&(name, id)).after(&(name, id, line));
        let later = self.inner.store.scan(&TOLD, range, Order::Ascending, PAGE).await?;
        if later.iter().any(|(_, later)| later.why == Why::Waits) {
            return Ok(Vec::new());
        }
        let context = self.context(authority, &[case], &[] as &[&UserId]).await?;
        let mut case = case.clone();
        self.void(&context, &mut case);
        let Some(at) = case.step() else { return Ok(Vec::new()) };
        let mut users: Vec<_> =
            context.deciders(&case, at, None).people.into_iter().map(|decider| decider.user).collect();
        users.dedup();
        users.truncate(MOST_REMINDED);
        Ok(users)
    }
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Waits => "waits",
        Why::StillWaits => "still-waits",
        Why::Asker => "asker",
    }
}

fn text(why: Why, CaseId(id): CaseId, case: &Case) -> Told {
    let (ja, en) = (&case.title.ja, &case.title.en);
    match why {
        Why::Waits => {
            words!(
                "案件 {id}「{ja}」があなたの承認を待っています。",
                "Case {id}, \"{en}\", waits for your approval."
            )
        }
        Why::StillWaits => words!(
            "案件 {id}「{ja}」が、まだあなたの承認を待っています。",
            "Case {id}, \"{en}\", still waits for your approval."
        ),
        Why::Asker => {
            let state = case.state.words();
            let (state_ja, state_en) = (state.ja, state.en);
            words!(
                "あなたが申請した案件 {id}「{ja}」: {state_ja}",
                "Case {id}, \"{en}\", which you asked for: {state_en}"
            )
        }
    }
}
