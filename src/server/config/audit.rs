//! Keys about the audit log.

use audit::Years;
use serde::{Deserialize, Serialize};

/// For how many years the rows of the audit log are kept, by what they are about; counted from the next 1 April.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Sign-ins, sign-outs, and attempts at them.
    pub sign_ins: u16,
    /// What somebody looked at, took away, or was refused.
    pub reads: u16,
    /// Accounts, and what sources say of them.
    pub accounts: u16,
    /// Rooms and files.
    pub rooms: u16,
    /// The organisation, who administers and who has which duty.
    pub organisation: u16,
    /// Cases and deputies.
    pub cases: u16,
}

impl Default for AuditConfig {
    fn default() -> Self {
        let Years { sign_ins, reads, accounts, rooms, organisation, cases } = Years::FIRST;
        Self { sign_ins, reads, accounts, rooms, organisation, cases }
    }
}

impl AuditConfig {
    /// The same as the audit log takes it.
    pub(super) fn years(&self) -> Years {
        let Self { sign_ins, reads, accounts, rooms, organisation, cases } = *self;
        Years { sign_ins, reads, accounts, rooms, organisation, cases }
    }
}
