//! What somebody may see and do on the console.

use std::collections::BTreeSet;

use ::account::Browser;
use duties::Duty;

/// What somebody may see and do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Powers {
    administers: bool,
    duties: BTreeSet<Duty>,
}

impl Powers {
    /// Whoever is suspended reads only what everybody reads, so he may nothing here.
    pub(crate) fn of(browser: &Browser, duties: BTreeSet<Duty>) -> Powers {
        if browser.suspended {
            return Powers::default();
        }
        Powers { administers: browser.admin, duties }
    }

    /// His duties, as words.
    pub(crate) fn duties(&self) -> impl Iterator<Item = &'static str> {
        self.duties.iter().map(|duty| duty.word())
    }

    /// Whether he may anything at all.
    pub(crate) fn is_any(&self) -> bool {
        self.administers || !self.duties.is_empty()
    }

    /// Sees accounts and what is done to them, and who has which duty.
    pub(crate) fn administers(&self) -> bool {
        self.administers
    }

    /// Sees the organisation and change sets.
    pub(crate) fn reads_organisation(&self) -> bool {
        self.changes_organisation() || self.duties.contains(&Duty::Reading)
    }

    /// Brings in files, and decides about change sets.
    pub(crate) fn changes_organisation(&self) -> bool {
        self.administers || self.duties.contains(&Duty::Personnel)
    }

    /// Reads the audit log.
    pub(crate) fn reads_audit(&self) -> bool {
        self.administers || self.duties.contains(&Duty::Audit)
    }

    /// Says that nothing of the audit log is removed, or that it may be again.
    pub(crate) fn holds_audit(&self) -> bool {
        self.administers && self.duties.contains(&Duty::Audit)
    }

    /// Agrees that somebody is let in again who has lost every factor, if another administrator asked for it.
    pub(crate) fn agrees_to_recoveries(&self) -> bool {
        self.administers && (self.duties.contains(&Duty::Personnel) || self.duties.contains(&Duty::Approval))
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_user_id;

    use super::*;

    fn browser(admin: bool, suspended: bool) -> Browser {
        let user_id = owned_user_id!("@hanako:kanazawa.test");
        let began = base::Timestamp(0);
        Browser { user_id, admin, suspended, began, login: None, strong: false, stamp: [0; 32] }
    }

    #[test]
    fn each_duty_opens_its_own_pages_and_no_others() {
        let may = |admin, duties: &[Duty]| {
            let powers = Powers::of(&browser(admin, false), duties.iter().copied().collect());
            [
                powers.is_any(),
                powers.administers(),
                powers.reads_organisation(),
                powers.changes_organisation(),
                powers.reads_audit(),
            ]
        };
        assert_eq!(may(false, &[]), [false; 5]);
        assert_eq!(may(true, &[]), [true; 5]);
        assert_eq!(may(false, &[Duty::Personnel]), [true, false, true, true, false]);
        assert_eq!(may(false, &[Duty::Audit]), [true, false, false, false, true]);
        assert_eq!(may(false, &[Duty::Reading]), [true, false, true, false, false]);
    }

    #[test]
    fn who_agrees_to_a_recovery_administers_and_was_given_a_duty() {
        let agrees = |admin, duties: &[Duty]| {
            Powers::of(&browser(admin, false), duties.iter().copied().collect()).agrees_to_recoveries()
        };
        assert!(agrees(true, &[Duty::Approval]) && agrees(true, &[Duty::Personnel]));
        assert!(!agrees(true, &[]) && !agrees(true, &[Duty::Audit]) && !agrees(false, &[Duty::Personnel]));
    }

    #[test]
    fn who_holds_the_audit_log_administers_and_was_given_the_duty_for_it() {
        let holds = |admin, duties: &[Duty]| {
            Powers::of(&browser(admin, false), duties.iter().copied().collect()).holds_audit()
        };
        assert!(holds(true, &[Duty::Audit]) && !holds(true, &[]) && !holds(false, &[Duty::Audit]));
    }

    #[test]
    fn who_is_suspended_may_nothing() {
        assert_eq!(Powers::of(&browser(true, true), Duty::ALL.into()), Powers::default());
    }
}
