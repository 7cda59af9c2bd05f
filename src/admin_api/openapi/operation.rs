//! One method of one path.

use super::schema::{Field, Schema};

/// What a request carries.
pub(super) enum Body {
    None,
    /// Nothing stands for an empty object.
    Wanted(Schema),
    Needed(Schema),
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Administrator,
    Anybody,
}

/// A request that can be made, and what it is answered with.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Its name for programs.
    pub(super) id: &'static str,
    /// In a few words, Japanese and English.
    pub(super) summary: (&'static str, &'static str),
    /// What besides has to be known.
    pub(super) note: &'static str,
    pub(super) asker: Asker,
    pub(super) query: &'static [Field],
    pub(super) body: Body,
    /// The statuses of success.
    pub(super) statuses: &'static [u16],
    pub(super) answer: Schema,
}

impl Operation {
    const fn new(
        method: &'static str,
        (path, id): (&'static str, &'static str),
        summary: (&'static str, &'static str),
        answer: Schema,
    ) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            note: "",
            asker: Asker::Administrator,
            query: &[],
            body: Body::None,
            statuses: &[200],
            answer,
        }
    }

    pub(super) const fn get(
        at: (&'static str, &'static str),
        summary: (&'static str, &'static str),
        answer: Schema,
    ) -> Self {
        Self::new("get", at, summary, answer)
    }

    pub(super) const fn put(
        at: (&'static str, &'static str),
        summary: (&'static str, &'static str),
        answer: Schema,
    ) -> Self {
        Self::new("put", at, summary, answer)
    }

    pub(super) const fn post(
        at: (&'static str, &'static str),
        summary: (&'static str, &'static str),
        answer: Schema,
    ) -> Self {
        Self::new("post", at, summary, answer)
    }

    pub(super) const fn delete(
        at: (&'static str, &'static str),
        summary: (&'static str, &'static str),
        answer: Schema,
    ) -> Self {
        Self::new("delete", at, summary, answer)
    }

    pub(super) const fn asking(mut self, query: &'static [Field]) -> Self {
        self.query = query;
        self
    }

    pub(super) const fn taking(mut self, body: Schema) -> Self {
        self.body = Body::Needed(body);
        self
    }

    pub(super) const fn taking_if_any(mut self, body: Schema) -> Self {
        self.body = Body::Wanted(body);
        self
    }

    pub(super) const fn noting(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    pub(super) const fn for_anybody(mut self) -> Self {
        self.asker = Asker::Anybody;
        self
    }

    pub(super) const fn answering(mut self, statuses: &'static [u16]) -> Self {
        self.statuses = statuses;
        self
    }

    /// The variables of its path.
    pub(super) fn variables(&self) -> impl Iterator<Item = &'static str> {
        let segments = self.path.split('/');
        segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}
