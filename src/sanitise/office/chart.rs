//! Charts that take their numbers from another book: the numbers that they show stay, as numbers of their own.
//!
//! Format: ECMA-376 part 1, 21.2.2 (`numRef` and its like hold a formula and the values found by it; `numLit` and `strLit` hold
//! values alone).

use std::ops::Range;

use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};

use super::{
    formula::calls_out,
    part::{Cleaner, text_of},
};
use crate::verdict::Refusal;

/// The space of drawings, in which a title's letters are.
const DRAWING: &str = "http://schemas.openxmlformats.org/drawingml/2006/main";

impl<'a> Cleaner<'a, '_, '_> {
    /// Whether the formula of a reference leads out of the book, or is none.
    pub(super) fn names_other_book(&self, at: usize) -> bool {
        let Some(formula) = self.child(self.inside(at), "f") else { return false };
        let inside = self.inside(formula);
        let is_mixed = inside.clone().any(|at| matches!(self.events[at], Event::Start(_) | Event::Empty(_)));
        is_mixed || calls_out(&text_of(&self.events[inside]), self.grammar())
    }

    /// Writes the values of a reference in its place.
    pub(super) fn keep_values(
        &mut self,
        at: usize,
        local: &str,
        element: &BytesStart<'_>,
    ) -> Result<(), Refusal> {
        let prefix =
            element.name().prefix().map(|prefix| format!("{}:", String::from_utf8_lossy(prefix.as_ref())));
        let prefix = prefix.unwrap_or_default();
        let name = |local: &str| format!("{prefix}{local}");
        let begin = |local: &str| {
            BytesStart::new(name(local)).with_attributes(element.attributes().flatten()).into_owned()
        };
        let cache = match local {
            "numRef" => "numCache",
            "strRef" => "strCache",
            _ => "multiLvlStrCache",
        };
        let cache = self.child(self.inside(at), cache).map_or(at..at, |cache| self.inside(cache));
        if local == "strRef" && self.is_of_text(at) {
            let letters = self.find(cache, "v").map(|at| text_of(&self.events[self.inside(at)]));
            let letters = Event::Text(BytesText::new(&letters.unwrap_or_default()).into_owned());
            if self.is_of_series(at) {
                self.keep(at, Event::Start(begin("v")))?;
                self.keep(at, letters)?;
                return self.keep(at, Event::End(BytesEnd::new(name("v"))));
            }
            let mut rich = begin("rich");
            rich.push_attribute(("xmlns:a", DRAWING));
            self.keep(at, Event::Start(rich))?;
            self.keep(at, Event::Empty(BytesStart::new("a:bodyPr")))?;
            for name in ["a:p", "a:r", "a:t"] {
                self.keep(at, Event::Start(BytesStart::new(name)))?;
            }
            self.keep(at, letters)?;
            for name in ["a:t", "a:r", "a:p"] {
                self.keep(at, Event::End(BytesEnd::new(name)))?;
            }
            return self.keep(at, Event::End(BytesEnd::new(name("rich"))));
        }
        let values = if local == "numRef" { "numLit" } else { "strLit" };
        self.keep(at, Event::Start(begin(values)))?;
        if local == "multiLvlStrRef" {
            // Of names on several levels the nearest: there are no values of several.
            let count = self.child(cache.clone(), "ptCount").map_or(at..at, |count| count..self.ends[count]);
            self.run(count)?;
            let level = self.child(cache, "lvl").map_or(at..at, |level| self.inside(level));
            self.run(level)?;
        } else {
            self.run(cache)?;
        }
        self.keep(at, Event::End(BytesEnd::new(name(values))))
    }

    /// What stands between an element's begin and its end.
    fn inside(&self, at: usize) -> Range<usize> {
        match self.events[at] {
            Event::Start(_) => at + 1..self.ends[at] - 1,
            _ => at + 1..at + 1,
        }
    }

    fn is(&self, at: usize, local: &str) -> bool {
        match &self.events[at] {
            Event::Start(element) | Event::Empty(element) => {
                element.local_name().as_ref() == local.as_bytes()
            }
            _ => false,
        }
    }

    /// The first element of a name in a range.
    fn find(&self, range: Range<usize>, local: &str) -> Option<usize> {
        range.clone().find(|at| self.is(*at, local))
    }

    /// The same of those that are in no other.
    fn child(&self, range: Range<usize>, local: &str) -> Option<usize> {
        let mut at = range.start;
        while at < range.end {
            if self.is(at, local) {
                return Some(at);
            }
            at = self.ends[at];
        }
        None
    }

    /// The event before one, but for blanks between.
    fn before(&self, at: usize) -> Option<usize> {
        (0..at).rev().find(|at| !matches!(self.events[*at], Event::Text(_) | Event::Comment(_)))
    }

    /// Whether a reference is that of a name or a title: nothing else is beside it there.
    fn is_of_text(&self, at: usize) -> bool {
        self.before(at).is_some_and(|parent| self.is(parent, "tx"))
    }

    /// Whether that is the name of a row of numbers: it stands behind its place in their order.
    fn is_of_series(&self, at: usize) -> bool {
        let parent = self.before(at);
        let before = parent.and_then(|parent| self.before(parent));
        before.is_some_and(|at| match &self.events[at] {
            Event::End(element) => element.local_name().as_ref() == b"order",
            _ => self.is(at, "order"),
        })
    }
}
