//! What somebody may see and do on the console.

use ::account::Browser;
use duties::{Duty, Held};
use organisation::Scope;

/// What somebody may see and do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Powers {
    administers: bool,
    held: Held,
}

impl Powers {
    /// Whoever is suspended reads only what everybody reads, so he may nothing here.
    pub(crate) fn of(browser: &Browser, held: Held) -> Powers {
        if browser.suspended {
            return Powers::default();
        }
        Powers { administers: browser.admin, held }
    }

    /// His duties, as words.
    pub(crate) fn duties(&self) -> impl Iterator<Item = &'static str> {
        self.held.words()
    }

    /// Whether he may anything at all.
    pub(crate) fn is_any(&self) -> bool {
        self.administers || !self.held.is_empty()
    }

    fn has(&self, duty: Duty) -> bool {
        self.held.duties.contains(&duty)
    }

    fn has_part(&self) -> bool {
        !self.held.parts.is_empty()
    }

    /// Sees accounts and what is done to them, and who has which duty.
    pub(crate) fn administers(&self) -> bool {
        self.administers
    }

    /// Sees accounts, if only those of people of his part.
    pub(crate) fn sees_accounts(&self) -> bool {
        self.administers || self.has_part()
    }

    /// Sees the whole organisation and all change sets.
    pub(crate) fn reads_organisation(&self) -> bool {
        self.changes_organisation() || self.has(Duty::Reading)
    }

    /// Sees the organisation, if only a part of it.
    pub(crate) fn reads_a_part(&self) -> bool {
        self.reads_organisation() || self.has_part()
    }

    /// Brings in files, and decides about change sets.
    pub(crate) fn changes_organisation(&self) -> bool {
        self.administers || self.has(Duty::Personnel)
    }

    /// Puts changes forward, if only of a part of the organisation.
    pub(crate) fn changes_a_part(&self) -> bool {
        self.changes_organisation() || self.has_part()
    }

    /// The part that alone he sees; none where he sees all.
    pub(crate) fn reads_within(&self) -> Option<Scope> {
        (!self.reads_organisation()).then(|| self.scope())
    }

    /// The part that alone he changes; none where he changes all.
    pub(crate) fn changes_within(&self) -> Option<Scope> {
        (!self.changes_organisation()).then(|| self.scope())
    }

    /// What he sees to as 部局管理者.
    pub(crate) fn scope(&self) -> Scope {
        self.held.scope()
    }

    /// Sees to a part of the organisation, whatever else he may.
    pub(crate) fn sees_to_a_part(&self) -> bool {
        self.has_part()
    }

    /// Reads the audit log.
    pub(crate) fn reads_audit(&self) -> bool {
        self.administers || self.has(Duty::Audit)
    }

    /// Says that nothing of the audit log is removed, or that it may be again.
    pub(crate) fn holds_audit(&self) -> bool {
        self.administers && self.has(Duty::Audit)
    }

    /// Agrees that somebody is let in again who has lost every factor, if another administrator asked for it.
    pub(crate) fn agrees_to_recoveries(&self) -> bool {
        self.administers && (self.has(Duty::Personnel) || self.has(Duty::Approval))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use duties::Part;
    use organisation::{BodyId, UnitId};
    use ruma::owned_user_id;

    use super::*;

    fn browser(admin: bool, suspended: bool) -> Browser {
        let user_id = owned_user_id!("@hanako:kanazawa.test");
        let began = base::Timestamp(0);
        Browser { user_id, admin, suspended, began, login: None, strong: false, stamp: [0; 32] }
    }

    fn powers(admin: bool, duties: &[Duty]) -> Powers {
        let held = Held { duties: duties.iter().copied().collect(), ..Held::default() };
        Powers::of(&browser(admin, false), held)
    }

    fn of_part() -> Held {
        Held { parts: BTreeSet::from([Part::Unit(12), Part::Body(1)]), ..Held::default() }
    }

    #[test]
    fn each_duty_opens_its_own_pages_and_no_others() {
        let may = |powers: &Powers| {
            [
                powers.is_any(),
                powers.administers(),
                powers.reads_organisation(),
                powers.changes_organisation(),
                powers.reads_audit(),
                powers.reads_a_part(),
                powers.changes_a_part(),
                powers.sees_accounts(),
            ]
        };
        assert_eq!(may(&powers(false, &[])), [false; 8]);
        assert_eq!(may(&powers(true, &[])), [true; 8]);
        let officer = [true, false, true, true, false, true, true, false];
        assert_eq!(may(&powers(false, &[Duty::Personnel])), officer);
        let auditor = [true, false, false, false, true, false, false, false];
        assert_eq!(may(&powers(false, &[Duty::Audit])), auditor);
        let reader = [true, false, true, false, false, true, false, false];
        assert_eq!(may(&powers(false, &[Duty::Reading])), reader);
        let of_part = Powers::of(&browser(false, false), of_part());
        assert_eq!(may(&of_part), [true, false, false, false, false, true, true, true]);
    }

    #[test]
    fn who_sees_to_a_part_is_kept_to_it_but_for_what_a_duty_opens() {
        let alone = Powers::of(&browser(false, false), of_part());
        let scope = Scope { bodies: BTreeSet::from([BodyId(1)]), units: BTreeSet::from([UnitId(12)]) };
        assert_eq!(
            (alone.reads_within(), alone.changes_within()),
            (Some(scope.clone()), Some(scope.clone()))
        );
        let reads = Held { duties: BTreeSet::from([Duty::Reading]), ..of_part() };
        let reads = Powers::of(&browser(false, false), reads);
        assert_eq!((reads.reads_within(), reads.changes_within()), (None, Some(scope)));
        let officer = Held { duties: BTreeSet::from([Duty::Personnel]), ..of_part() };
        let officer = Powers::of(&browser(false, false), officer);
        assert_eq!((officer.reads_within(), officer.changes_within()), (None, None));
        // Who sees to nothing is kept to nothing, and not to all.
        assert_eq!(powers(false, &[Duty::Audit]).reads_within(), Some(Scope::default()));
    }

    #[test]
    fn who_agrees_to_a_recovery_administers_and_was_given_a_duty() {
        let agrees = |admin, duties: &[Duty]| powers(admin, duties).agrees_to_recoveries();
        assert!(agrees(true, &[Duty::Approval]) && agrees(true, &[Duty::Personnel]));
        assert!(!agrees(true, &[]) && !agrees(true, &[Duty::Audit]) && !agrees(false, &[Duty::Personnel]));
    }

    #[test]
    fn who_holds_the_audit_log_administers_and_was_given_the_duty_for_it() {
        let holds = |admin, duties: &[Duty]| powers(admin, duties).holds_audit();
        assert!(holds(true, &[Duty::Audit]) && !holds(true, &[]) && !holds(false, &[Duty::Audit]));
    }

    #[test]
    fn who_is_suspended_may_nothing() {
        let held = Held { duties: Duty::ALL.into(), ..of_part() };
        assert_eq!(Powers::of(&browser(true, true), held), Powers::default());
    }
}
