//! A change set in a few words, and where it is.

use organisation::{ChangeSet, SetId};
use pages::Visit;

use ::account::Browser;

use crate::{
    console::{CHANGES, actor},
    frame::{moment, say},
    powers::Powers,
};

/// Whether somebody may see a change set: whoever sees to a part of the organisation alone sees those that he has made.
pub(crate) fn may_see(visit: &Visit, visitor: (&Browser, &Powers), set: &ChangeSet) -> bool {
    visitor.1.reads_organisation() || (visitor.1.reads_a_part() && is_own(visit, visitor, set))
}

/// Whether somebody has made a change set, by hand and not of a file.
pub(crate) fn is_own(visit: &Visit, (browser, powers): (&Browser, &Powers), set: &ChangeSet) -> bool {
    set.source.is_none() && set.made_by == actor(visit, browser, powers).name()
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
