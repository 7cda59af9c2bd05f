//! Domains are looked at: each hour by itself, and when somebody wants it who has just published what is wanted.
//!
//! A domain that was proven stays so while its DNS and its web server cannot be asked, for a week; where both say that it is not
//! (any more), it ends with the third time in a row: a record that is moved is away for an hour.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use ruma::ServerName;
use store::{Batch, CommitError};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::{
    domain::MailDomain,
    domains::Domains,
    error::Error,
    proof::{How, Problem, judged},
    tables::{PROOFS, ProofRow},
};

/// How often a domain is looked at.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// How often somebody may want that.
const WANTED_EVERY: Duration = Duration::from_secs(30);

/// How often is looked whether one is due, and whether somebody is to be told.
const LOOK: Duration = Duration::from_secs(60);

/// For so long what was proven stands while nobody can be asked.
const STANDS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// So often in a row it has to be seen that it is not.
const MOST_MISSES: u8 = 3;

/// How it stands with a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub domain: MailDomain,
    /// When it was proven last and by what, if it counts as proven.
    pub proven: Option<(Timestamp, How)>,
    /// When it was looked at last; never, if none.
    pub checked: Option<Timestamp>,
    /// Why it was not proven then.
    pub problem: Option<Problem>,
}

impl Standing {
    fn of(domain: &MailDomain, row: Option<ProofRow>, now: Timestamp) -> Self {
        let stands = |(at, _): &(u64, How)| now.since(Timestamp(*at)) <= STANDS;
        let proven = row.as_ref().and_then(|row| row.proven).filter(stands);
        Self {
            domain: domain.clone(),
            proven: proven.map(|(at, how)| (Timestamp(at), how)),
            checked: row.as_ref().map(|row| Timestamp(row.checked_ms)),
            problem: row.and_then(|row| row.problem),
        }
    }
}

/// What is known of a domain once it was looked at.
fn followed(before: Option<&ProofRow>, found: Result<How, Problem>, now_ms: u64) -> ProofRow {
    let proven = before.and_then(|row| row.proven);
    let misses = before.map_or(0, |row| row.misses);
    match found {
        Ok(how) => ProofRow { proven: Some((now_ms, how)), checked_ms: now_ms, problem: None, misses: 0 },
        // It is not known to be otherwise: neither a miss nor the end of a row of them.
        Err(Problem::Unreached) => {
            ProofRow { proven, checked_ms: now_ms, problem: Some(Problem::Unreached), misses }
        }
        Err(problem) => {
            let misses = misses.saturating_add(1).min(MOST_MISSES);
            let proven = proven.filter(|_| misses < MOST_MISSES);
            ProofRow { proven, checked_ms: now_ms, problem: Some(problem), misses }
        }
    }
}

impl Domains {
    /// How it stands with the domains that an authority names.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn standing(&self, authority: &ServerName) -> Result<Vec<Standing>, Error> {
        let named: Vec<&MailDomain> = self.named(authority).collect();
        let keys: Vec<_> = named.iter().map(|domain| (authority.as_str(), domain.as_str())).collect();
        let rows = self.inner.store.get_many(&PROOFS, &keys).await?;
        let now = self.inner.clock.now();
        Ok(named.into_iter().zip(rows).map(|(domain, row)| Standing::of(domain, row, now)).collect())
    }

    /// Looks at a domain that an authority names, unless somebody has just done so. Nothing, where it names none such.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn check(&self, authority: &ServerName, domain: &str) -> Result<(), Error> {
        match self.named(authority).find(|known| known.as_str() == domain) {
            Some(domain) => self.look_at(authority, domain, WANTED_EVERY).await,
            None => Ok(()),
        }
    }

    /// Looks at a domain that was not for so long.
    async fn look_at(
        &self,
        authority: &ServerName,
        domain: &MailDomain,
        every: Duration,
    ) -> Result<(), Error> {
        let (inner, key) = (&self.inner, (authority.as_str(), domain.as_str()));
        let before = inner.store.get(&PROOFS, &key).await?;
        let now = inner.clock.now();
        // A clock that was set back makes nothing wait for longer.
        let is_fresh = |row: &ProofRow| row.checked_ms.abs_diff(now.millis()) < millis(every);
        if before.as_ref().is_some_and(is_fresh) {
            return Ok(());
        }
        let records = inner.witness.records(&domain.record_name()).await;
        let file = inner.witness.file(&domain.file_url()).await;
        let found = judged(authority, &records, &file);
        if let (Err(error), _) | (_, Err(error)) = (records.as_ref().map(drop), file.as_ref().map(drop)) {
            debug!(%authority, %domain, %error, "a domain could not be asked whose it is");
        }
        let row = followed(before.as_ref(), found, now.millis());
        let (was, is) = (before.as_ref().is_some_and(|row| row.proven.is_some()), row.proven.is_some());
        let mut batch = Batch::new();
        batch.require(&PROOFS, &key, before.as_ref());
        batch.put(&PROOFS, &key, &row);
        match inner.store.commit(batch).await {
            // Another process has looked meanwhile.
            Err(CommitError::Conflict { .. }) => return Ok(()),
            done => done.map(drop)?,
        }
        match (was, is) {
            (false, true) => info!(%authority, %domain, "a domain of mail is proven"),
            (true, false) => warn!(%authority, %domain, "a domain of mail is not proven any more"),
            _ => {}
        }
        Ok(())
    }

    /// Looks at domains and tells owners of accounts until the tasks are stopped. `applied` is told when an organisation has
    /// changed.
    pub fn start(&self, applied: Arc<Notify>) {
        if self.inner.authorities.is_empty() {
            return;
        }
        let domains = self.clone();
        let stop = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("domains of mail", move || {
            let (domains, stop, applied) = (domains.clone(), stop.clone(), applied.clone());
            async move {
                // The loop never ends by itself.
                stop.run_until_cancelled(domains.keep_looking(&applied)).await;
            }
        });
    }

    async fn keep_looking(&self, applied: &Notify) {
        loop {
            for (authority, domains) in &self.inner.authorities {
                for domain in domains {
                    if let Err(error) = self.look_at(authority, domain, EVERY).await {
                        warn!(%authority, %domain, %error, "a domain of mail was not looked at, it is tried again");
                    }
                }
                if let Err(error) = self.tell_owners(authority).await {
                    warn!(%authority, %error, "owners of accounts were not told yet, it is tried again");
                }
            }
            tokio::select! {
                () = applied.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1_000;

    #[test]
    fn what_was_proven_ends_when_it_is_seen_to_be_gone_three_times_or_nobody_says_for_a_week() {
        let domain: MailDomain = "city.test".parse().unwrap();
        let is_proven =
            |row: &ProofRow, now| Standing::of(&domain, Some(row.clone()), Timestamp(now)).proven.is_some();
        let look = |row: &ProofRow, found, hour: u64| followed(Some(row), found, hour * HOUR);
        let never = followed(None, Err(Problem::Absent), 0);
        assert!(!is_proven(&never, 0));
        let mut row = look(&never, Ok(How::Record), 1);
        assert!(is_proven(&row, HOUR));
        for (hour, found, stands) in [
            (2, Err(Problem::Absent), true),
            (3, Err(Problem::Other), true),
            (4, Err(Problem::Unreached), true),
            (5, Err(Problem::Absent), false),
            (6, Ok(How::File), true),
            (7, Err(Problem::Absent), true),
        ] {
            row = look(&row, found, hour);
            assert_eq!(is_proven(&row, hour * HOUR), stands, "{hour}");
        }
        row = look(&row, Err(Problem::Unreached), 6 + 7 * 24);
        assert!(is_proven(&row, (6 + 7 * 24) * HOUR));
        row = look(&row, Err(Problem::Unreached), 7 + 7 * 24);
        assert!(!is_proven(&row, (7 + 7 * 24) * HOUR));
    }
}
