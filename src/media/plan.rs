//! How files are judged for a zone, and by which name that is known.

use std::time::Duration;

use room::Gives;
use sanitise::{Address, Scanner, ends_of_name};
use sha2::{Digest, Sha256};

use crate::{ZoneFiles, kinds};

/// What becomes of files on their way to a zone, with the recipe that it is.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) files: ZoneFiles,
    /// Names all of it but what differs from file to file.
    recipe: String,
}

/// What a file's name and type say of its text: the only thing of them that a verdict depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing: the engine tells tables by their lines.
    None,
    /// It has a name, of no table.
    Text,
    /// A table, which a double click opens in Excel.
    Table,
}

/// What a double click opens as a table, whatever it holds.
const TABLES: [&str; 14] =
    ["csv", "dbf", "dif", "ods", "prn", "tab", "tsv", "xls", "xlsb", "xlsm", "xlsx", "xlt", "xltx", "xlw"];

impl Hint {
    pub(crate) fn of(kind: &str, name: Option<&str>) -> Self {
        let ends: Vec<_> = name.into_iter().flat_map(ends_of_name).collect();
        let is_table = matches!(
            kinds::essence(kind).to_ascii_lowercase().as_str(),
            "text/csv" | "text/tab-separated-values" | "application/csv" | "application/vnd.ms-excel"
        );
        match &*ends {
            _ if is_table => Self::Table,
            ends if ends.iter().any(|end| TABLES.contains(&end.as_str())) => Self::Table,
            [] => Self::None,
            _ => Self::Text,
        }
    }

    /// A name that says the same to the engine.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Text => Some("file.txt"),
            Self::Table => Some("file.csv"),
        }
    }
}

impl Plan {
    pub(crate) fn of(files: &ZoneFiles) -> Self {
        let clamd = files.clamd.as_ref().map(|clamd| match &clamd.address {
            Address::Unix(path) => format!("unix:{}", path.display()),
            Address::Tcp(address) => address.clone(),
        });
        let icap = files.icap.as_ref().map(|icap| format!("{}/{}", icap.address, icap.service));
        // Debug and not JSON: nothing of it can fail, and it is read by nobody.
        let recipe = format!("{:?} {clamd:?} {icap:?}", files.settings);
        Self { files: files.clone(), recipe }
    }

    /// The number of the recipe by which a file with this hint is judged: equal for equal recipes only, as far as 64 bits of
    /// a hash tell them apart.
    pub(crate) fn recipe(&self, gives: Gives, hint: Hint) -> u64 {
        let whole = format!("{} {gives:?} {hint:?} {}", sanitise::VERSION, self.recipe);
        let hash: [u8; 32] = Sha256::digest(whole).into();
        hash[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Whether a verdict of that time holds now: one of the engine alone does for ever, one of scanners for a day, after which
    /// they have other signatures. A clock that was set back or forth makes none hold longer.
    pub(crate) fn believes(&self, judged_ms: u64, now_ms: u64) -> bool {
        let day = u64::try_from(SIGNATURES.as_millis()).unwrap_or(u64::MAX);
        self.scanners().next().is_none() || judged_ms.abs_diff(now_ms) < day
    }

    /// Whoever looks at a file, in turn.
    pub(crate) fn scanners(&self) -> impl Iterator<Item = &dyn Scanner> {
        let clamd = self.files.clamd.iter().map(|clamd| -> &dyn Scanner { clamd });
        clamd.chain(self.files.icap.iter().map(|icap| -> &dyn Scanner { icap }))
    }
}

/// So long the signatures of scanners are taken for the newest. What a scanner has loaded is told by no protocol that all of
/// them speak; most fetch new ones several times a day.
const SIGNATURES: Duration = Duration::from_secs(24 * 60 * 60);

/// For so long no new judgement is made of a file over which the worker died or that took it too long: it would cost as
/// much again.
pub(crate) const PAUSE: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use sanitise::{Clamd, Settings};

    use super::*;

    #[test]
    fn names_and_types_say_whether_a_text_is_a_table() {
        for (kind, name, hint) in [
            ("text/plain", Some("表.CSV"), Hint::Table),
            ("text/csv; charset=utf-8", Some("a.txt"), Hint::Table),
            ("text/plain", Some("a.txt"), Hint::Text),
            ("text/plain", Some("表.xlsb\u{3000}"), Hint::Table),
            ("text/plain", Some("表.c\u{200b}sv"), Hint::Table),
            ("text/plain", Some("a"), Hint::None),
            ("text/plain", None, Hint::None),
        ] {
            assert_eq!(Hint::of(kind, name), hint, "{kind} {name:?}");
        }
    }

    #[test]
    fn what_may_change_a_verdict_changes_the_recipe() {
        let plan = Plan::of(&ZoneFiles::default());
        let clamd = Clamd {
            address: Address::Tcp("127.0.0.1:1".to_owned()),
            time: Duration::ZERO,
            patience: Duration::ZERO,
        };
        let scanned = Plan::of(&ZoneFiles { clamd: Some(clamd), ..ZoneFiles::default() });
        let other = Settings { cells: sanitise::Cells::Kept, ..Settings::default() };
        let other = Plan::of(&ZoneFiles { settings: other, ..ZoneFiles::default() });
        let recipes = [
            plan.recipe(Gives::Sanitised, Hint::None),
            plan.recipe(Gives::Sanitised, Hint::Text),
            plan.recipe(Gives::Scanned, Hint::None),
            scanned.recipe(Gives::Sanitised, Hint::None),
            other.recipe(Gives::Sanitised, Hint::None),
        ];
        let different: std::collections::BTreeSet<_> = recipes.iter().collect();
        assert_eq!(different.len(), recipes.len());
        assert_eq!(plan.recipe(Gives::Sanitised, Hint::None), recipes[0]);
    }
}
