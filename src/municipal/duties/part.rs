//! Parts of an organisation that somebody sees to.

use std::fmt;

use organisation::{BodyId, Scope, UnitId};

/// A part of an organisation that somebody sees to as 部局管理者: a body or a unit with all below it, by the number that the
/// organisation has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A body.
    Body(u64),
    /// A unit.
    Unit(u64),
}

impl Part {
    /// What seeing to a part is called by programs and in the audit log.
    pub const WORD: &'static str = "part";

    /// The same for people, in Japanese and in English.
    pub const NAMES: (&'static str, &'static str) = ("部局管理者", "department administrator");

    /// The part of a word; `None` for what is none.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let (what, number) = word.split_once(':')?;
        let part = match (what, number.parse().ok()?) {
            ("body", number) => Self::Body(number),
            ("unit", number) => Self::Unit(number),
            _ => return None,
        };
        // Each has one word.
        (part.to_string() == word).then_some(part)
    }

    /// The same as the organisation takes it.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::Body(number) => Scope { bodies: [BodyId(number)].into(), ..Scope::default() },
            Self::Unit(number) => Scope { units: [UnitId(number)].into(), ..Scope::default() },
        }
    }
}

impl fmt::Display for Part {
    /// Its word for programs, rows and the audit log, which never changes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(number) => write!(f, "body:{number}"),
            Self::Unit(number) => write!(f, "unit:{number}"),
        }
    }
}
