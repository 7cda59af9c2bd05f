//! What is given to an account, and what it has.

use std::collections::BTreeSet;

use organisation::Scope;

use crate::{Duty, Part};

/// What is given to an account or taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A duty for the whole authority.
    Duty(Duty),
    /// To see to a part of it.
    Part(Part),
}

impl Role {
    /// Its word for rows.
    pub(crate) fn word(self) -> String {
        match self {
            Self::Duty(duty) => duty.word().to_owned(),
            Self::Part(part) => part.to_string(),
        }
    }
}

impl From<Duty> for Role {
    fn from(duty: Duty) -> Self {
        Self::Duty(duty)
    }
}

impl From<Part> for Role {
    fn from(part: Part) -> Self {
        Self::Part(part)
    }
}

/// What an account has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its duties.
    pub duties: BTreeSet<Duty>,
    /// The parts that it sees to.
    pub parts: BTreeSet<Part>,
    /// Whether a newer program has given it something that is not known here, and opens nothing.
    pub has_more: bool,
}

impl Held {
    pub(crate) fn of(words: &[String]) -> Self {
        let duties = words.iter().filter_map(|word| Duty::of_word(word)).collect();
        let parts = words.iter().filter_map(|word| Part::of_word(word)).collect();
        let is_known = |word: &String| Duty::of_word(word).is_some() || Part::of_word(word).is_some();
        Self { duties, parts, has_more: !words.iter().all(is_known) }
    }

    /// All of it, by words: those of the duties, and one if there is any part.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let part = (!self.parts.is_empty()).then_some(Part::WORD);
        self.duties.iter().map(|duty| duty.word()).chain(part)
    }

    /// Whether nothing is known here of it that would open anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.duties.is_empty() && self.parts.is_empty()
    }

    /// All its parts together.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let mut scope = Scope::default();
        for part in self.parts.iter().map(|part| part.scope()) {
            scope.bodies.extend(part.bodies);
            scope.units.extend(part.units);
        }
        scope
    }
}
