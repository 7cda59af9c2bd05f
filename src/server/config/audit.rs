//! Keys about the audit log.

use audit::Years;
use serde::{Deserialize, Serialize};

use super::{AuthorityConfig, Config, found::Found};
use crate::texts::tr;

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
    fn years(&self) -> Years {
        let Self { sign_ins, reads, accounts, rooms, organisation, cases } = *self;
        Years { sign_ins, reads, accounts, rooms, organisation, cases }
    }
}

/// What is wrong with the years of the authority of this number.
pub(super) fn check_audit(authority: &AuthorityConfig, index: usize, found: &mut Found) {
    for (class, years) in authority.audit.iter().flat_map(|config| config.years().each()) {
        if !(Years::LEAST..=Years::MOST).contains(&years) {
            found.wrong(
                format!("authorities.{index}.audit.{}", class.word()),
                tr!(
                    "監査ログの保存年数は {least} から {most} までです。監査ログは少なくとも一年は保存しなければなりません",
                    "rows of the audit log are kept for {least} to {most} years: not less than one",
                    least = Years::LEAST,
                    most = Years::MOST
                ),
            );
        }
    }
}

impl Config {
    /// For how many years the audit log of an authority is kept.
    pub fn audit_years(&self, name: &ruma::ServerName) -> Years {
        let authority = self.authorities.iter().find(|authority| authority.name == name);
        authority.and_then(|authority| authority.audit.as_ref()).map(AuditConfig::years).unwrap_or_default()
    }
}
