//! Change sets as they are stored: proposed, looked at, decided, taken back.
//!
//! The batch that a caller hands over begins with what belongs into the same commit, as the row of the audit log does.

use std::time::Duration;

use base::Timestamp;
use intake::Date;
use ruma::ServerName;
use store::{Batch, Order, Range};

use crate::{
    compare::Draft,
    error::Error,
    ids::{Ids, SetId},
    item::Kind,
    limits::{MAX_CHANGES, MAX_ITEMS, MAX_RECORDS, MAX_WAITING, SLICE},
    organisations::{Known, Organisations, advance},
    set::{Approval, ChangeSet, Refusal, State, minute},
    tables::{Head, ITEMS, ItemRow, ItemState, SETS},
};

/// After so long a set that is still being written belongs to a process that is gone.
const GATHERING: Duration = Duration::from_secs(60 * 60);

/// What is said of a set when it is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The source whose file it comes from; none if somebody wrote it here.
    pub source: Option<String>,
    /// The day as of which it speaks.
    pub day: Date,
    /// The moment at which it is to be applied; the begin of its minute counts.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// When it is made.
    pub now: Timestamp,
}

impl Organisations {
    /// Stores a draft, for people to look at. `known` is what it was made from, and `ids` what it left of its numbers. The set
    /// can be seen when all of it is stored.
    ///
    /// # Errors
    /// [`Error::Changed`] when somebody else has proposed or changed something since: compare again.
    pub async fn propose(
        &self,
        authority: &ServerName,
        known: &Known,
        mut ids: Ids,
        draft: Draft,
        proposal: Proposal,
        deed: Batch,
    ) -> Result<SetId, Error> {
        let new: usize = draft.items.iter().map(|item| item.changes.len()).sum();
        if draft.items.len() > MAX_ITEMS || draft.items.iter().any(|item| item.changes.len() > MAX_CHANGES) {
            return Err(Error::TooLarge(
                "変更案の行か、一行の変更が多すぎます",
                "the change set has too many items, or one of them too many changes",
            ));
        }
        if known.organisation.len() + new > MAX_RECORDS {
            return Err(Error::TooLarge(
                "組織の記録が多すぎます",
                "the organisation would have too many records",
            ));
        }
        if known.head.waiting.len() >= MAX_WAITING {
            return Err(Error::TooLarge(
                "承認や適用を待つ変更案が多すぎます。先にいくつか取り下げてください",
                "too many change sets wait; withdraw some first",
            ));
        }
        let id = SetId(ids.take());
        let counts = Kind::ALL.map(|kind| (kind, u32::try_from(draft.count(kind)).unwrap_or(u32::MAX)));
        let set = ChangeSet {
            source: proposal.source,
            day: proposal.day,
            at: minute(proposal.at),
            made_by: proposal.by,
            made_at: proposal.now,
            state: State::Gathering,
            items: u32::try_from(draft.items.len()).unwrap_or(u32::MAX),
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            guards: draft.guards,
            approvals: Vec::new(),
            stale: Vec::new(),
            ended_by: None,
        };
        let key = (authority.as_str(), id);
        let mut batch = Batch::new();
        let mut head = Head { next_id: ids.next(), ..known.head.clone() };
        head.waiting.push(id);
        advance(&mut batch, authority, known.is_stored.then_some(&known.head), &head);
        batch.insert(&SETS, &key, &set);
        self.store.commit(batch).await?;

        let mut batch = Batch::new();
        let mut size = 0;
        for (number, item) in (0..).zip(draft.items) {
            size += 1 + item.changes.len();
            let row = ItemRow { item, state: ItemState::Waiting };
            batch.put(&ITEMS, &(authority.as_str(), id, number), &row);
            if size >= SLICE {
                size = 0;
                // Whoever tidies up behind us took the set away with its items.
                batch.require(&SETS, &key, Some(&set));
                self.store.commit(std::mem::take(&mut batch)).await?;
            }
        }
        batch.require(&SETS, &key, Some(&set));
        self.store.commit(batch).await?;

        let mut batch = deed;
        let shown = ChangeSet { state: State::Preview, ..set.clone() };
        batch.replace(&SETS, &key, &set, &shown);
        self.store.commit(batch).await?;
        Ok(id)
    }

    /// Change sets of an authority that can be looked at, the newest first: at most `limit` of those before one, or of all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn change_sets(
        &self,
        authority: &ServerName,
        before: Option<SetId>,
        limit: usize,
    ) -> Result<Vec<(SetId, ChangeSet)>, Error> {
        let range = Range::prefix(authority.as_str());
        let range = match before {
            Some(id) => range.before(&(authority.as_str(), id)),
            None => range,
        };
        let rows = self.store.scan(&SETS, range, Order::Descending, limit).await?;
        let shown = rows.into_iter().filter(|(_, set)| set.state != State::Gathering);
        Ok(shown.map(|((_, id), set)| (id, set)).collect())
    }

    /// The sets that wait for somebody or for their minute, the oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn waiting_sets(&self, authority: &ServerName) -> Result<Vec<(SetId, ChangeSet)>, Error> {
        let Some(head) = self.head(authority).await? else { return Ok(Vec::new()) };
        let mut sets = self.waiting(authority, &head).await?;
        sets.retain(|(_, set)| set.waits());
        Ok(sets)
    }

    /// The sets that wait, or are being written.
    pub(crate) async fn waiting(
        &self,
        authority: &ServerName,
        head: &Head,
    ) -> Result<Vec<(SetId, ChangeSet)>, Error> {
        let keys: Vec<_> = head.waiting.iter().map(|id| (authority.as_str(), *id)).collect();
        let sets = self.store.get_many(&SETS, &keys).await?;
        Ok(head.waiting.iter().zip(sets).filter_map(|(id, set)| Some((*id, set?))).collect())
    }

    /// A change set.
    ///
    /// # Errors
    /// [`Error::NoSet`] where there is none.
    pub async fn change_set(&self, authority: &ServerName, id: SetId) -> Result<ChangeSet, Error> {
        let set = self.store.get(&SETS, &(authority.as_str(), id)).await?;
        set.filter(|set| set.state != State::Gathering).ok_or(Error::NoSet)
    }

    /// Items of a change set from a number on, at most `limit`, with their numbers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn items(
        &self,
        authority: &ServerName,
        id: SetId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<(u32, ItemRow)>, Error> {
        let range = Range::prefix(&(authority.as_str(), id)).from(&(authority.as_str(), id, from));
        let rows = self.store.scan(&ITEMS, range, Order::Ascending, limit).await?;
        Ok(rows.into_iter().map(|((.., number), row)| (number, row)).collect())
    }

    /// What a batch writes by which a set is decided: by whom, and when it is applied.
    ///
    /// # Errors
    /// [`Error::Refused`] where it does not wait for that.
    pub async fn decided(
        &self,
        authority: &ServerName,
        id: SetId,
        approvals: Vec<Approval>,
        at: Timestamp,
    ) -> Result<Batch, Error> {
        self.changing(authority, id, Batch::new(), |set| set.decide(approvals, at))
            .await
            .map(|(batch, _)| batch)
    }

    /// What a batch writes by which a set is decided no more.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is applied by now.
    pub async fn undecided(&self, authority: &ServerName, id: SetId) -> Result<Batch, Error> {
        self.changing(authority, id, Batch::new(), ChangeSet::undecide).await.map(|(batch, _)| batch)
    }

    /// Takes a set back that is not applied yet.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason; [`Error::Changed`] when somebody else did something at once.
    pub async fn withdraw(
        &self,
        authority: &ServerName,
        id: SetId,
        by: &str,
        now: Timestamp,
        deed: Batch,
    ) -> Result<ChangeSet, Error> {
        let old = self.head(authority).await?.ok_or(Error::NoSet)?;
        let mut head = old.clone();
        head.waits_no_more(id);
        let mut batch = deed;
        advance(&mut batch, authority, Some(&old), &head);
        let (batch, set) = self.changing(authority, id, batch, |set| set.withdraw(by, now)).await?;
        self.store.commit(batch).await?;
        Ok(set)
    }

    /// A batch that changes a set as well, and the set as it is then.
    async fn changing(
        &self,
        authority: &ServerName,
        id: SetId,
        mut batch: Batch,
        change: impl FnOnce(&mut ChangeSet) -> Result<(), Refusal>,
    ) -> Result<(Batch, ChangeSet), Error> {
        let old = self.change_set(authority, id).await?;
        let mut new = old.clone();
        change(&mut new)?;
        batch.replace(&SETS, &(authority.as_str(), id), &old, &new);
        Ok((batch, new))
    }

    /// Takes away sets that were never written to their end.
    pub(crate) async fn tidy(&self, authority: &ServerName, now: Timestamp) -> Result<(), Error> {
        let Some(mut old) = self.head(authority).await? else { return Ok(()) };
        for (id, set) in self.waiting(authority, &old).await? {
            if set.state == State::Gathering && now.since(set.made_at) > GATHERING {
                let key = (authority.as_str(), id);
                let mut batch = Batch::new();
                batch.require(&SETS, &key, Some(&set));
                batch.delete(&SETS, &key);
                batch.delete_prefix(&ITEMS, &key);
                let mut head = old.clone();
                head.waits_no_more(id);
                advance(&mut batch, authority, Some(&old), &head);
                self.store.commit(batch).await?;
                old = head;
            }
        }
        Ok(())
    }
}
