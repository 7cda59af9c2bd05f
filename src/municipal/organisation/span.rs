//! Spans of days: from one day on, up to another on which it holds no more.

use intake::Date;
use serde::{Deserialize, Serialize};

/// From when until when something holds. Half open: on the day `until` it holds no more, so what ends on 31 March and
/// what begins on 1 April touch and have no day in common. A span has one day at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    from: Option<Date>,
    until: Option<Date>,
}

impl Span {
    /// As long as anybody knows, and without an end.
    pub const ALWAYS: Self = Self { from: None, until: None };

    /// The span, if it has a day.
    #[must_use]
    pub fn new(from: Option<Date>, until: Option<Date>) -> Option<Self> {
        let is_empty = from.zip(until).is_some_and(|(from, until)| until <= from);
        (!is_empty).then_some(Self { from, until })
    }

    /// From a day on, without an end.
    #[must_use]
    pub fn since(from: Date) -> Self {
        Self { from: Some(from), until: None }
    }

    /// The first day; none if it was so before anything was written down.
    #[must_use]
    pub fn from(self) -> Option<Date> {
        self.from
    }

    /// The first day on which it holds no more; none if there is no end.
    #[must_use]
    pub fn until(self) -> Option<Date> {
        self.until
    }

    /// Whether it holds on a day.
    #[must_use]
    pub fn holds(self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && !self.is_over(day)
    }

    /// Whether it holds neither on a day nor on any after it.
    #[must_use]
    pub fn is_over(self, day: Date) -> bool {
        self.until.is_some_and(|until| until <= day)
    }

    /// Whether it begins after a day.
    #[must_use]
    pub fn is_to_come(self, day: Date) -> bool {
        self.from.is_some_and(|from| from > day)
    }

    /// Whether both hold on some day.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.begins_before_end_of(other, |from, until| from < until)
            && other.begins_before_end_of(self, |from, until| from < until)
    }

    /// Whether both overlap, or one begins on the day on which the other ends.
    #[must_use]
    pub fn touches(self, other: Self) -> bool {
        self.begins_before_end_of(other, |from, until| from <= until)
            && other.begins_before_end_of(self, |from, until| from <= until)
    }

    fn begins_before_end_of(self, other: Self, is_before: impl Fn(Date, Date) -> bool) -> bool {
        self.from.zip(other.until).is_none_or(|(from, until)| is_before(from, until))
    }

    /// The part before a day, if there is one.
    #[must_use]
    pub fn before(self, day: Date) -> Option<Self> {
        let until = self.until.map_or(day, |until| until.min(day));
        Self::new(self.from, Some(until))
    }

    /// The part from a day on, if there is one.
    #[must_use]
    pub fn after(self, day: Date) -> Option<Self> {
        let from = self.from.map_or(day, |from| from.max(day));
        Self::new(Some(from), self.until)
    }

    /// The same with another end, if a day is left.
    #[must_use]
    pub fn ending(self, until: Option<Date>) -> Option<Self> {
        Self::new(self.from, until)
    }

    /// Whether each day of it is in one of `spans`.
    #[must_use]
    pub fn is_covered_by(self, spans: &[Self]) -> bool {
        let mut spans: Vec<_> = spans.iter().filter(|span| span.overlaps(self)).collect();
        spans.sort();
        let Some((first, rest)) = spans.split_first() else { return false };
        // None of both is the earliest of beginnings.
        if first.from > self.from {
            return false;
        }
        let mut reached = first.until;
        for span in rest {
            let Some(so_far) = reached else { return true };
            if span.from.is_some_and(|from| from > so_far) {
                break;
            }
            reached = span.until.map(|until| until.max(so_far));
        }
        match (reached, self.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(reached), Some(until)) => reached >= until,
        }
    }
}
