//! Change sets that were approved and fit no more when their hour came: whoever approved them is told, who would believe them
//! applied.
//!
//! What is told has a name that holds the set's number, so it is told once, whichever process does it and however often it is
//! looked for; what a crash has cut is told by the next look.

use std::{collections::BTreeSet, time::Duration};

use organisation::{ChangeSet, SetId, State, user_named};
use ruma::{OwnedServerName, ServerName};
use tokio::sync::Notify;
use tracing::warn;

use crate::{cases::Cases, error::Error, people::Message, words::words};

/// Sets of an authority that are looked at: more do not come to their hour within the days in which it is told.
const NEWEST: usize = 50;

/// So long after its hour it is told that a set was void.
const TOLD_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Sets of which it is known that all have heard; of others it is asked once more.
const MOST_KNOWN: usize = 10_000;

/// How often is looked for what another process was told.
const LOOK: Duration = Duration::from_secs(3_600);

impl Cases {
    /// Tells of them until the tasks are stopped. `applied` is told when sets have come to their end.
    pub(crate) async fn keep_telling_of_void(&self, applied: &Notify) {
        let mut told = BTreeSet::new();
        loop {
            for authority in self.inner.authorities.keys() {
                if let Err(error) = self.tell_of_void(authority, &mut told).await {
                    warn!(%authority, %error, "who approved a void change set is told later");
                }
            }
            tokio::select! {
                () = applied.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Tells of the sets of an authority that were found void lately; `told` are those of which all have heard.
    pub(crate) async fn tell_of_void(
        &self,
        authority: &ServerName,
        told: &mut BTreeSet<(OwnedServerName, SetId)>,
    ) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let is_late = |set: &ChangeSet| now.since(set.at) < TOLD_FOR && set.at <= now;
        let mut known =
            told.iter().filter(|(of, _)| of == authority).map(|(_, id)| *id).collect::<BTreeSet<_>>();
        for (id, set) in self.inner.organisations.change_sets(authority, None, NEWEST).await? {
            if set.state != State::Stale || !is_late(&set) || !known.insert(id) {
                continue;
            }
            let approvers = set.approvals.iter().filter_map(|one| user_named(&one.account, authority));
            for user in approvers.collect::<BTreeSet<_>>() {
                self.inner.people.tell(&user, &message(id)).await?;
            }
            told.insert((authority.to_owned(), id));
        }
        // What is told no more need not be known either.
        while told.len() > MOST_KNOWN {
            told.pop_first();
        }
        Ok(())
    }
}

fn message(SetId(id): SetId) -> Message {
    Message {
        text: words!(
            "承認された変更案 {id} は、適用の時刻に現在の組織と合わなくなっていたため、適用されませんでした。内容を確認し、作り直してください。",
            "Change set {id}, which was approved, did not fit the organisation any more when its hour came, and was not applied. Please look at it and make it anew."
        ),
        path: format!("/_yakuba/console/changes/{id}"),
        name: format!("set-{id}-void"),
    }
}
