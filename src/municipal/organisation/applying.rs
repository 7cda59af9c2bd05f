//! Change sets as they are applied and undone, slice by slice.
//!
//! The first batch says that the set is under way, which keeps every other one out; each further one writes the history
//! of some items, what became of them and how far it has come; the last one lets others in. Each demands the head of the organisation
//! and the set as they were. So after a crash, or when another process takes over, whoever goes on begins where
//! the last batch ended: nothing is left out and nothing done twice. An item is never done by half.

use std::collections::BTreeSet;

use base::Timestamp;
use ruma::ServerName;
use store::{Batch, CommitError};

use crate::{
    edit::breaches,
    error::Error,
    ids::SetId,
    item::Change,
    laws::Breach,
    limits::SLICE,
    organisation::Organisation,
    organisations::{Organisations, advance},
    set::{ChangeSet, Refusal, State},
    statement::Statement,
    tables::{Entry, HISTORY, Head, ITEMS, ItemRow, ItemState, SETS},
};

/// How many items that do not fit are noted.
const MOST_STALE: usize = 100;

/// How often somebody else may be faster before it is left to him.
const MOST_CONFLICTS: usize = 100;

/// Most items that are read at a time.
const PAGE: usize = 1_000;

/// The same, as items are numbered.
const PAGE_ITEMS: u32 = 1_000;

/// In which direction a set is gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Applying,
    Undoing,
}

impl Organisations {
    /// Does what is to be done for an authority now: goes on with the set that is under way, then applies those whose
    /// minute has come, in the order of their minutes. Answers with those that came to their end: applied, undone or found
    /// to be [stale](State::Stale). `deed` begins the batch in which one begins to be applied or is found stale, as it is
    /// then: the row of the audit log belongs into it.
    ///
    /// # Errors
    /// When the store cannot be read or written; call it again. Nothing is lost.
    pub async fn apply_due(
        &self,
        authority: &ServerName,
        now: Timestamp,
        deed: &(dyn Fn(SetId, &ChangeSet) -> Batch + Sync),
    ) -> Result<Vec<SetId>, Error> {
        let mut ended = Vec::new();
        if let Some(id) = self.head(authority).await?.unwrap_or_default().under_way {
            self.go_on(authority, id, now).await?;
            ended.push(id);
        }
        self.tidy(authority, now).await?;
        let head = self.head(authority).await?.unwrap_or_default();
        let mut due = self.waiting(authority, &head).await?;
        due.retain(|(_, set)| set.is_due(now));
        due.sort_by_key(|(id, set)| (set.at, *id));
        for (id, _) in due {
            if self.begin(authority, id, deed).await? {
                self.go_on(authority, id, now).await?;
            }
            ended.push(id);
        }
        Ok(ended)
    }

    /// Begins to apply a set, if it still fits what stands; else notes that it does not.
    async fn begin(
        &self,
        authority: &ServerName,
        id: SetId,
        deed: &(dyn Fn(SetId, &ChangeSet) -> Batch + Sync),
    ) -> Result<bool, Error> {
        let known = self.load(authority).await?;
        let set = self.change_set(authority, id).await?;
        if known.head.under_way.is_some() || set.state != State::Approved {
            return Err(Error::Changed);
        }
        let (mut after, mut changes, mut stale) = (known.organisation, Vec::new(), Vec::new());
        let mut from = 0;
        loop {
            let items = self.items(authority, id, from, PAGE).await?;
            let Some((last, _)) = items.last() else { break };
            from = last.saturating_add(1);
            for (number, row) in items {
                if fits(&mut after, &row.item.changes, Direction::Forward) {
                    changes.extend(row.item.changes);
                } else if stale.len() < MOST_STALE {
                    stale.push(number);
                }
            }
        }
        let is_stale = !stale.is_empty() || !breaches(&after, &changes).is_empty();
        let state = if is_stale { State::Stale } else { State::Applying { done: 0 } };
        let begun = ChangeSet { state, stale, ..set.clone() };
        let mut batch = deed(id, &begun);
        batch.replace(&SETS, &(authority.as_str(), id), &set, &begun);
        let under_way = (!is_stale).then_some(id);
        let mut head = Head { under_way, ..known.head.clone() };
        if is_stale {
            head.waits_no_more(id);
        }
        advance(&mut batch, authority, known.is_stored.then_some(&known.head), &head);
        self.store.commit(batch).await?;
        Ok(!is_stale)
    }

    /// Undoes all that a set did, as far as it is not undone yet: later statements take the place of its own, and the
    /// history keeps both. One person may order it, so that a wrong transfer does not stand while a second one is looked for.
    ///
    /// # Errors
    /// [`Error::Refused`] when others have changed something since; then nothing is undone.
    pub async fn undo(
        &self,
        authority: &ServerName,
        id: SetId,
        by: &str,
        now: Timestamp,
        deed: Batch,
    ) -> Result<(), Error> {
        let known = self.load(authority).await?;
        let set = self.change_set(authority, id).await?;
        if known.head.under_way.is_some() {
            return Err(Refusal::Busy.into());
        }
        if set.state != State::Applied {
            return Err(Refusal::State(set.state).into());
        }
        let (mut after, mut changes, mut changed) = (known.organisation, Vec::new(), Vec::new());
        let mut until = set.items;
        while until > 0 {
            let from = until.saturating_sub(PAGE_ITEMS);
            let items = self.items(authority, id, from, PAGE).await?;
            for (number, row) in items.into_iter().rev().filter(|(number, _)| *number < until) {
                if row.state != ItemState::Applied {
                    continue;
                }
                if fits(&mut after, &row.item.changes, Direction::Back) {
                    changes.extend(row.item.changes);
                } else if changed.len() < MOST_STALE {
                    changed.push(number);
                }
            }
            until = from;
        }
        if !changed.is_empty() {
            return Err(Refusal::ChangedSince(changed).into());
        }
        let breaches = breaches(&after, &changes);
        if !breaches.is_empty() {
            return Err(Refusal::LeantOn(breaches.iter().map(Breach::words).collect()).into());
        }
        let mut batch = deed;
        let undoing = ChangeSet {
            state: State::Undoing { left: set.items },
            ended_by: Some((by.to_owned(), now)),
            ..set.clone()
        };
        batch.replace(&SETS, &(authority.as_str(), id), &set, &undoing);
        advance(
            &mut batch,
            authority,
            Some(&known.head),
            &Head { under_way: Some(id), ..known.head.clone() },
        );
        self.store.commit(batch).await?;
        self.go_on(authority, id, now).await
    }

    /// Undoes one item of a set.
    ///
    /// # Errors
    /// [`Error::Refused`] when it was changed since, or when others lean on it; then nothing is undone.
    pub async fn undo_item(
        &self,
        authority: &ServerName,
        id: SetId,
        number: u32,
        by: &str,
        now: Timestamp,
        deed: Batch,
    ) -> Result<(), Error> {
        let known = self.load(authority).await?;
        let set = self.change_set(authority, id).await?;
        if known.head.under_way.is_some() {
            return Err(Refusal::Busy.into());
        }
        if set.state != State::Applied {
            return Err(Refusal::State(set.state).into());
        }
        let row = self.store.get(&ITEMS, &(authority.as_str(), id, number)).await?;
        let row = row.filter(|row| row.state == ItemState::Applied).ok_or(Refusal::NothingToUndo)?;
        let mut after = known.organisation;
        if !fits(&mut after, &row.item.changes, Direction::Back) {
            return Err(Refusal::ChangedSince(vec![number]).into());
        }
        let breaches = breaches(&after, &row.item.changes);
        if !breaches.is_empty() {
            return Err(Refusal::LeantOn(breaches.iter().map(Breach::words).collect()).into());
        }
        let mut slice = Slice { authority, id, batch: deed, head: known.head.clone(), now };
        slice.undo(number, &row, by);
        let Slice { mut batch, head, .. } = slice;
        batch.require(&SETS, &(authority.as_str(), id), Some(&set));
        advance(&mut batch, authority, Some(&known.head), &head);
        self.store.commit(batch).await?;
        Ok(())
    }

    /// Goes on with a set that is under way, to its end.
    async fn go_on(&self, authority: &ServerName, id: SetId, now: Timestamp) -> Result<(), Error> {
        let mut conflicts = 0;
        loop {
            let head = self.head(authority).await?.unwrap_or_default();
            let set = self.change_set(authority, id).await?;
            if head.under_way != Some(id) {
                // Another process came to the end.
                return Ok(());
            }
            let way = match set.state {
                State::Applying { done } => (Way::Applying, done),
                State::Undoing { left } => (Way::Undoing, left),
                // The head was read before somebody's last commit and the set after it.
                _ if conflicts < MOST_CONFLICTS => {
                    conflicts += 1;
                    continue;
                }
                _ => return Err(Error::Changed),
            };
            let batch = self.slice(authority, id, (head, &set), way, now).await?;
            match self.store.commit(batch).await {
                Ok(_) => conflicts = 0,
                // Somebody else goes on with it, or it is not known whether we did: look again.
                Err(CommitError::Conflict { .. } | CommitError::Unknown) if conflicts < MOST_CONFLICTS => {
                    conflicts += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next batch of a set that is under way.
    async fn slice(
        &self,
        authority: &ServerName,
        id: SetId,
        (head, set): (Head, &ChangeSet),
        (way, at): (Way, u32),
        now: Timestamp,
    ) -> Result<Batch, Error> {
        let size = u32::try_from(SLICE).unwrap_or(u32::MAX);
        let mut items = match way {
            Way::Applying => self.items(authority, id, at, SLICE).await?,
            Way::Undoing => self.items(authority, id, at.saturating_sub(size), SLICE).await?,
        };
        if way == Way::Undoing {
            items.retain(|(number, _)| *number < at);
            items.reverse();
        }
        let by = set.ended_by.as_ref().map_or("", |(by, _)| by.as_str());
        let (mut at, mut changes) = (at, 0);
        let mut slice = Slice { authority, id, batch: Batch::new(), head: head.clone(), now };
        for (number, row) in &items {
            if changes > 0 && changes + row.item.changes.len() > SLICE {
                break;
            }
            changes += row.item.changes.len();
            match way {
                Way::Applying => {
                    slice.apply(*number, row);
                    at = number.saturating_add(1);
                }
                Way::Undoing => {
                    if row.state == ItemState::Applied {
                        slice.undo(*number, row, by);
                    }
                    at = *number;
                }
            }
        }
        let Slice { mut batch, head: mut new, .. } = slice;
        let state = match way {
            Way::Applying if at >= set.items || items.is_empty() => State::Applied,
            Way::Applying => State::Applying { done: at },
            Way::Undoing if at == 0 || items.is_empty() => State::Undone,
            Way::Undoing => State::Undoing { left: at },
        };
        if matches!(state, State::Applied | State::Undone) {
            new.under_way = None;
            new.waits_no_more(id);
        }
        batch.replace(&SETS, &(authority.as_str(), id), set, &ChangeSet { state, ..set.clone() });
        advance(&mut batch, authority, Some(&head), &new);
        Ok(batch)
    }
}

/// A batch in the making.
struct Slice<'a> {
    authority: &'a ServerName,
    id: SetId,
    batch: Batch,
    head: Head,
    now: Timestamp,
}

impl Slice<'_> {
    fn apply(&mut self, number: u32, row: &ItemRow) {
        for change in &row.item.changes {
            self.say(number, change, Direction::Forward);
        }
        if !row.item.changes.is_empty() {
            self.put(number, row, ItemState::Applied);
        }
    }

    fn undo(&mut self, number: u32, row: &ItemRow, by: &str) {
        for change in row.item.changes.iter().rev() {
            self.say(number, change, Direction::Back);
        }
        self.put(number, row, ItemState::Undone { by: by.to_owned(), at: self.now });
    }

    fn say(&mut self, item: u32, change: &Change, direction: Direction) {
        let (_, says) = direction.of(change);
        let entry = Entry { at: self.now, set: self.id, item, says: says.cloned() };
        let key = (self.authority.as_str(), change.record, self.head.entries);
        self.batch.insert(&HISTORY, &key, &entry);
        self.head.entries += 1;
    }

    fn put(&mut self, number: u32, row: &ItemRow, state: ItemState) {
        let key = (self.authority.as_str(), self.id, number);
        self.batch.replace(&ITEMS, &key, row, &ItemRow { item: row.item.clone(), state });
    }
}

/// Whether a change is done or taken back.
#[derive(Clone, Copy)]
enum Direction {
    Forward,
    Back,
}

impl Direction {
    /// What has to stand, and what is to.
    fn of(self, change: &Change) -> (Option<&Statement>, Option<&Statement>) {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        match self {
            Self::Forward => (before, after),
            Self::Back => (after, before),
        }
    }
}

/// Does an item's changes to an organisation, if all of them fit what stands; else none.
fn fits(organisation: &mut Organisation, changes: &[Change], direction: Direction) -> bool {
    let stands = |change: &Change| organisation.find(change.record) == direction.of(change).0;
    let once: BTreeSet<_> = changes.iter().map(|change| change.record).collect();
    if once.len() != changes.len() || !changes.iter().all(stands) {
        return false;
    }
    for change in changes {
        organisation.say(change.record, direction.of(change).1.cloned());
    }
    true
}
