//! An organisation while it is changed: each change is tried on a copy, noted with what stood before, and can be taken back.

use std::{collections::BTreeMap, mem::take};

use intake::Date;

use crate::{
    ids::{Ids, RecordId},
    item::Change,
    laws::{Breach, Touched},
    organisation::Organisation,
    span::Span,
    statement::{Statement, What},
};

/// Changes in the making.
pub(crate) struct Edit<'a> {
    /// The organisation with all changes so far.
    pub(crate) next: Organisation,
    ids: &'a mut Ids,
    /// Those since the last [`Edit::take`].
    changes: BTreeMap<RecordId, Change>,
}

impl<'a> Edit<'a> {
    pub(crate) fn of(known: &Organisation, ids: &'a mut Ids) -> Self {
        Self { next: known.clone(), ids, changes: BTreeMap::new() }
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.ids.take()
    }

    /// Lets a record say something else, or nothing.
    pub(crate) fn say(&mut self, record: RecordId, after: Option<Statement>) {
        let before = self.next.find(record).cloned();
        if before == after {
            return;
        }
        self.next.say(record, after.clone());
        let change = Change { record, before, after };
        let change = match self.changes.remove(&record) {
            Some(earlier) => Change { before: earlier.before, ..change },
            None => change,
        };
        if change.before != change.after {
            self.changes.insert(record, change);
        }
    }

    /// A new record.
    pub(crate) fn add(&mut self, span: Span, what: What) -> RecordId {
        let record = self.ids.record();
        self.say(record, Some(Statement { span, what }));
        record
    }

    /// Lets a record hold only until a day; it is taken back whole if it was to begin then or later.
    pub(crate) fn end(&mut self, record: RecordId, day: Date) {
        let Some(said) = self.next.find(record).cloned() else { return };
        let rest = said.span.before(day).map(|span| Statement { span, what: said.what });
        self.say(record, rest);
    }

    /// Lets what a record says be something else from a day on, until it would have ended.
    pub(crate) fn turn(&mut self, record: RecordId, day: Date, what: What) {
        let Some(said) = self.next.find(record).cloned() else { return };
        let Some(after) = said.span.after(day) else { return };
        if said.what == what {
            return;
        }
        if said.span.before(day).is_none() {
            self.say(record, Some(Statement { span: said.span, what }));
        } else {
            self.end(record, day);
            self.add(after, what);
        }
    }

    /// The changes since the last call.
    ///
    /// # Errors
    /// What does not go together with them; then they are taken back.
    pub(crate) fn take(&mut self) -> Result<Vec<Change>, Vec<Breach>> {
        let changes: Vec<_> = self.changes.values().cloned().collect();
        let breaches = breaches(&self.next, &changes);
        if !breaches.is_empty() {
            self.take_back();
            return Err(breaches);
        }
        self.changes.clear();
        Ok(changes)
    }

    /// Takes back the changes since the last [`Edit::take`].
    pub(crate) fn take_back(&mut self) {
        for change in take(&mut self.changes).into_values() {
            self.next.say(change.record, change.before);
        }
    }
}

/// What is wrong with an organisation after these changes.
pub(crate) fn breaches(after: &Organisation, changes: &[Change]) -> Vec<Breach> {
    let mut touched = Touched::default();
    let statements = changes.iter().flat_map(|change| [&change.before, &change.after]);
    statements.flatten().for_each(|statement| touched.add(statement));
    after.breaches_of(&touched)
}
