//! What is approved is applied at its minute, and what a crash has cut is gone on with.
//!
//! Of several processes over one store each looks; two that apply one set do it once (`organisation`), so nobody has to
//! know of the others.

use std::time::Duration;

use audit::{Action, Actor, Deed};
use organisation::{ChangeSet, Error as OrganisationError, SetId, State};
use ruma::ServerName;
use store::Batch;
use tracing::{info, warn};

use crate::{
    answer::Answer,
    by::By,
    error::Error,
    personnel::Personnel,
    words::{moment, words},
};

/// How often is looked for what another process was told, or left half way.
const LOOK: Duration = Duration::from_secs(10);

/// How often somebody else may be faster before it is told.
const MOST_ATTEMPTS: usize = 20;

impl Personnel {
    /// Applies what is approved at its minute, and goes on with what was begun, until the tasks are stopped.
    pub fn start(&self) {
        let personnel = self.clone();
        let stop = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("change sets", move || {
            let (personnel, stop) = (personnel.clone(), stop.clone());
            async move {
                // The loop never ends by itself.
                stop.run_until_cancelled(personnel.keep_applying()).await;
            }
        });
    }

    async fn keep_applying(&self) {
        loop {
            let personnel = self.clone();
            match self.aside(async move { personnel.apply_all_due().await }).await {
                Ok(()) | Err(Error::Stopping) => {}
                Err(error) => warn!(%error, "change sets could not be looked for, it is tried again later"),
            }
            // Who approves meanwhile is not missed: what he tells is kept until it is heard.
            tokio::select! {
                () = self.inner.look.notified() => {}
                () = self.inner.clock.sleep(self.until_next_look()) => {}
            }
        }
    }

    /// Until the next minute begins, but not longer than until others have to be looked after.
    fn until_next_look(&self) -> Duration {
        let into_minute = self.inner.clock.now().millis() % 60_000;
        Duration::from_millis(60_000 - into_minute).min(LOOK)
    }

    async fn apply_all_due(&self) -> Result<(), Error> {
        let busy = self.inner.organisations.busy(&self.inner.authorities).await?;
        for authority in &busy {
            match self.apply_due(authority, &Actor::server().into()).await {
                Ok(ended) if ended.is_empty() => {}
                Ok(ended) => info!(%authority, count = ended.len(), "change sets came to their end"),
                // Another process or a command is at it, and comes to its end or is looked after the next time.
                Err(Error::Organisation(OrganisationError::Changed)) => {}
                Err(error) => {
                    warn!(%authority, %error, "change sets were not applied, it is tried again later")
                }
            }
        }
        Ok(())
    }

    async fn apply_due(&self, authority: &ServerName, by: &By) -> Result<Vec<SetId>, Error> {
        let now = self.inner.clock.now();
        let deed = |id: SetId, set: &ChangeSet| -> Batch {
            let what = if set.state == State::Stale { Action::VoidChanges } else { Action::ApplyChanges };
            let approved = set.approvals.iter().map(|one| format!("{} ({})", one.account, one.role.word()));
            let deed = Deed::new(what, by, &id.0.to_string(), now)
                .after("day", set.day.to_string())
                .after("lines", set.items.to_string())
                .after("approved_by", approved.collect::<Vec<_>>().join(", "));
            by.written(&deed, authority)
        };
        let ended = self.inner.organisations.apply_due(authority, now, &deed).await?;
        if !ended.is_empty() {
            self.tell_applied();
        }
        Ok(ended)
    }

    /// Has a set applied at once whose minute has come; one that is applied already stays so.
    pub(crate) async fn apply(&self, authority: &ServerName, id: SetId, by: &By) -> Result<Answer, Error> {
        for _ in 0..MOST_ATTEMPTS {
            let set = self.inner.organisations.change_set(authority, id).await?;
            match set.state {
                State::Preview => return Err(not_approved()),
                State::Approved if !set.is_due(self.inner.clock.now()) => return Err(not_yet(&set)),
                State::Approved | State::Applying { .. } | State::Undoing { .. } => {
                    match self.apply_due(authority, by).await {
                        // Its end is looked at, whoever came to it.
                        Ok(_) | Err(Error::Organisation(OrganisationError::Changed)) => {}
                        Err(error) => return Err(error),
                    }
                }
                State::Gathering | State::Applied | State::Undone | State::Withdrawn | State::Stale => {
                    return Ok(Answer::Set(id, Box::new(set)));
                }
            }
        }
        Err(OrganisationError::Changed.into())
    }
}

fn not_approved() -> Error {
    Error::Refused(words!(
        "まだ承認されていません。案件「変更案の適用」として申請し、承認を受けてください。",
        "It is not approved yet; ask for that in a case (\"a change set is applied\")."
    ))
}

fn not_yet(set: &ChangeSet) -> Error {
    let at = moment(set.at);
    let (ja, en) = (at.ja, at.en);
    Error::Refused(words!(
        "{ja} に適用されます。時刻を変えるときは、承認の案件を取り消し、別の時刻で申請し直してください。",
        "It is applied at {en}; for another hour the case that approved it is undone, and asked for anew."
    ))
}
