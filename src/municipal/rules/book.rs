//! The book of rules: what was ever said of each, on which days it holds, and since when that is known.
//!
//! Nothing is overwritten: of the entries of a rule whose days hold a day, the last one counts on it. So a rule that changes
//! on 1 April has one entry from then on, which leaves the days before as they were.

use std::collections::BTreeMap;

use base::Timestamp;
use intake::Date;
use organisation::Span;

use crate::rule::Rule;

store::key_newtype!(
    /// A rule, through all that was said of it.
    RuleId(u64)
);

/// What was said of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was written.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// On which days it holds.
    pub span: Span,
    /// What the rule is on them; nothing if there is none.
    pub says: Option<Rule>,
}

/// All that was ever said of the rules of an authority, in the order in which it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    rules: BTreeMap<RuleId, Vec<Entry>>,
}

impl Book {
    /// Adds what was said of a rule after all else.
    pub fn say(&mut self, rule: RuleId, entry: Entry) {
        self.rules.entry(rule).or_default().push(entry);
    }

    /// The rules that hold on a day, in their order.
    pub fn on(&self, day: Date) -> impl Iterator<Item = (RuleId, &Rule)> {
        let holds = move |entries: &'_ Vec<Entry>| entries.iter().rposition(|entry| entry.span.holds(day));
        self.rules
            .iter()
            .filter_map(move |(rule, entries)| Some((*rule, entries.get(holds(entries)?)?.says.as_ref()?)))
    }

    /// A rule on a day, or else as it was last: what becomes of the rooms of one that holds no more follows from it.
    #[must_use]
    pub fn last(&self, rule: RuleId) -> Option<&Rule> {
        self.rules.get(&rule)?.iter().rev().find_map(|entry| entry.says.as_ref())
    }

    /// From which day on a rule holds that does not on this day, but will.
    #[must_use]
    pub fn begins(&self, rule: RuleId, day: Date) -> Option<Date> {
        let entries = self.rules.get(&rule)?;
        let last = entries.iter().rev().find(|entry| entry.says.is_some())?;
        let holds = self.on(day).any(|(id, _)| id == rule);
        last.span.from().filter(|from| *from > day && !holds)
    }

    /// The same as it was known at a moment.
    #[must_use]
    pub fn as_known(&self, at: Timestamp) -> Self {
        let known = |entries: &Vec<Entry>| entries.iter().filter(|entry| entry.at <= at).cloned().collect();
        let rules = self.rules.iter().map(|(rule, entries)| (*rule, known(entries)));
        Self { rules: rules.filter(|(_, entries): &(_, Vec<Entry>)| !entries.is_empty()).collect() }
    }

    /// What was ever said of a rule, the oldest first.
    #[must_use]
    pub fn history(&self, rule: RuleId) -> &[Entry] {
        self.rules.get(&rule).map_or(&[], Vec::as_slice)
    }

    /// All rules of which something was ever said.
    pub fn rules(&self) -> impl Iterator<Item = RuleId> {
        self.rules.keys().copied()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.values().map(Vec::len).sum()
    }

    /// Whether nothing was ever said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
