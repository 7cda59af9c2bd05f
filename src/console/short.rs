//! A change set in a few words, and where it is.

use organisation::{ChangeSet, SetId};
use pages::{PageError, Visit};

use ::account::Browser;

use crate::{
    console::{CHANGES, Console, actor},
    frame::{moment, say},
    powers::Powers,
    told::told,
};

/// Change sets of his own that somebody sees at once who sees to a part alone.
const MOST_SEEN: usize = 51;

impl Console {
    /// Whether somebody may see a change set: whoever sees to a part of the organisation alone sees those that he has made, as long
    /// as they are of his part.
    pub(crate) async fn may_see(
        &self,
        visit: &Visit,
        visitor: (&Browser, &Powers),
        (id, set): (SetId, &ChangeSet),
    ) -> Result<bool, PageError> {
        Ok(visitor.1.reads_organisation() || self.is_own(visit, visitor, (id, set)).await?)
    }

    /// Whether somebody has made a change set by hand, and it is of his part of the organisation.
    pub(crate) async fn is_own(
        &self,
        visit: &Visit,
        (browser, powers): (&Browser, &Powers),
        (id, set): (SetId, &ChangeSet),
    ) -> Result<bool, PageError> {
        if !has_made(visit, (browser, powers), set) {
            return Ok(false);
        }
        let within = self.personnel.sets_within(&browser.user_id, &[id], powers.scope()).await;
        Ok(within.map_err(told)?.contains(&id))
    }

    /// Leaves of some change sets those that somebody may see.
    pub(crate) async fn retain_seen(
        &self,
        visit: &Visit,
        (browser, powers): (&Browser, &Powers),
        sets: &mut Vec<(SetId, ChangeSet)>,
    ) -> Result<(), PageError> {
        if powers.reads_organisation() {
            return Ok(());
        }
        sets.retain(|(_, set)| has_made(visit, (browser, powers), set));
        sets.truncate(MOST_SEEN);
        let ids: Vec<_> = sets.iter().map(|(id, _)| *id).collect();
        let within =
            self.personnel.sets_within(&browser.user_id, &ids, powers.scope()).await.map_err(told)?;
        sets.retain(|(id, _)| within.contains(id));
        Ok(())
    }
}

/// Whether somebody who sees to a part has made a change set by hand.
fn has_made(visit: &Visit, (browser, powers): (&Browser, &Powers), set: &ChangeSet) -> bool {
    powers.sees_to_a_part() && set.source.is_none() && set.made_by == actor(visit, browser, powers).name()
}

/// Where a change set is shown.
pub(crate) fn path_of(id: SetId) -> String {
    format!("{CHANGES}/{}", id.0)
}

/// How many lines there are of which kind.
pub(crate) fn in_short(visit: &Visit, set: &ChangeSet) -> String {
    let counts = set.counts.iter().map(|(kind, count)| format!("{} {count}", say(visit, kind.words())));
    counts.collect::<Vec<_>>().join(visit.say("、", ", "))
}

/// When a set is applied: as soon as it is approved, where its hour was past already when it was made.
pub(crate) fn hour(visit: &Visit, set: &ChangeSet) -> String {
    if set.waits() && set.at <= set.made_at {
        return visit.say("承認されしだい", "as soon as it is approved").to_owned();
    }
    moment(visit, set.at)
}
