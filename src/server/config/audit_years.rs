//! For how many years audit logs are kept: what is wrong with that, and what removes their rows needs.

use audit::Years;

use super::{AuditConfig, AuthorityConfig, Config, found::Found};
use crate::texts::tr;

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
