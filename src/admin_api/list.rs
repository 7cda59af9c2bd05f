//! Lists that are paged by numbers.

use serde::Deserialize;
use serde_json::{Value, json};

/// Entries of a page where nothing is said, and at most.
const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// Which way a list goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Dir {
    /// Smallest first.
    #[default]
    #[serde(rename = "f")]
    Forward,
    /// The other way round.
    #[serde(rename = "b")]
    Backward,
}

impl Dir {
    pub(crate) fn is_backward(self) -> bool {
        self == Self::Backward
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) from: usize,
    pub(crate) limit: usize,
}

impl Part {
    /// As a query says. A page has at most a thousand entries; whoever asks for more is told where to go on.
    pub(crate) fn of(from: Option<usize>, limit: Option<usize>) -> Self {
        Self { from: from.unwrap_or_default(), limit: limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE) }
    }

    /// The entries of this part.
    pub(crate) fn of_list<T>(self, list: Vec<T>) -> Vec<T> {
        list.into_iter().skip(self.from).take(self.limit).collect()
    }

    /// Where the next part begins, if there is one behind what was shown.
    pub(crate) fn next(self, shown: usize, total: usize) -> Option<usize> {
        let end = self.from.saturating_add(shown);
        (shown > 0 && end < total).then_some(end)
    }

    /// An answer with entries under a name, how many there are, and where to go on.
    pub(crate) fn answer(self, name: &str, entries: Vec<Value>, total: usize) -> Value {
        let next = self.next(entries.len(), total);
        let mut answer = json!({ name: entries, "total": total });
        if let Some(next) = next {
            answer["next_token"] = json!(next);
        }
        answer
    }
}
