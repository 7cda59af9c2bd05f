//! What people decide about a change set: that it is meant, when, that it is not, that it was a mistake.

use std::collections::BTreeSet;

use audit::Action;
use base::Timestamp;
use organisation::{GuardKind, Role, SetId, Signer, State};
use ruma::ServerName;

use crate::{
    answer::{Answer, Line},
    by::By,
    error::Error,
    mappings::named,
    personnel::Personnel,
    words::moment,
};

/// Lines that are told at once.
const PAGE: usize = 500;

impl Personnel {
    /// A page of lines; of a set of which few change, all pages are looked through for these.
    pub(crate) async fn lines(
        &self,
        authority: &ServerName,
        id: SetId,
        from: u32,
        briefly: bool,
    ) -> Result<Answer, Error> {
        self.inner.organisations.change_set(authority, id).await?;
        let (mut lines, mut from) = (Vec::new(), from);
        loop {
            let rows = self.inner.organisations.items(authority, id, from, PAGE).await?;
            let is_last = rows.len() < PAGE;
            from = rows.last().map_or(from, |(number, _)| number.saturating_add(1));
            let some = rows.into_iter().map(|(number, row)| Line {
                number,
                kind: row.item.kind,
                about: row.item.about,
                rows: row.item.rows,
                told: row.item.told,
                changes: row.item.changes.len(),
                state: row.state,
            });
            lines.extend(some.filter(|line| !briefly || line.is_of_interest()));
            if is_last || lines.len() >= PAGE {
                lines.truncate(PAGE);
                return Ok(Answer::Lines(lines));
            }
        }
    }

    pub(crate) async fn approve(
        &self,
        authority: &ServerName,
        id: SetId,
        (role, person, seen): (Role, &str, Option<Timestamp>),
        means: &BTreeSet<GuardKind>,
        by: &By,
    ) -> Result<Answer, Error> {
        let account = named(person)?.to_owned();
        let meant: Vec<_> = means.iter().map(|kind| kind.word()).collect();
        let deed = self
            .deed(Action::ApproveChanges, by, id)
            .after("as", role.word())
            .after("person", &account)
            .after("meant", meant.join(", "));
        let now = self.inner.clock.now();
        let (signer, deed) = (Signer { account, role, seen }, by.written(&deed, authority));
        let set = self.inner.organisations.approve(authority, id, &signer, means, now, deed).await?;
        if set.state == State::Approved {
            self.inner.look.notify_one();
        }
        Ok(Answer::Set(id, Box::new(set)))
    }

    /// Sets another minute. The one that it has already takes no approval away.
    pub(crate) async fn set_time(
        &self,
        authority: &ServerName,
        id: SetId,
        at: Timestamp,
        by: &By,
    ) -> Result<Answer, Error> {
        let old = self.inner.organisations.change_set(authority, id).await?;
        if old.waits() && old.at.millis() / 60_000 == at.millis() / 60_000 {
            return Ok(Answer::Set(id, Box::new(old)));
        }
        let deed =
            self.deed(Action::TimeChanges, by, id).before("at", moment(old.at).en).after("at", moment(at).en);
        let deed = by.written(&deed, authority);
        let set = self.inner.organisations.set_time(authority, id, at, deed).await?;
        Ok(Answer::Set(id, Box::new(set)))
    }

    pub(crate) async fn withdraw(&self, authority: &ServerName, id: SetId, by: &By) -> Result<Answer, Error> {
        let deed = by.written(&self.deed(Action::WithdrawChanges, by, id), authority);
        let now = self.inner.clock.now();
        let set = self.inner.organisations.withdraw(authority, id, by.name(), now, deed).await?;
        Ok(Answer::Set(id, Box::new(set)))
    }

    pub(crate) async fn undo(
        &self,
        authority: &ServerName,
        id: SetId,
        line: Option<u32>,
        by: &By,
    ) -> Result<Answer, Error> {
        let organisations = &self.inner.organisations;
        let now = self.inner.clock.now();
        let deed = self.deed(Action::UndoChanges, by, id);
        let done = match line {
            None => organisations.undo(authority, id, by.name(), now, by.written(&deed, authority)).await,
            Some(line) => {
                let about = organisations.items(authority, id, line, 1).await?;
                let about = about.into_iter().find(|(number, _)| *number == line);
                let about = about.map(|(_, row)| row.item.about).unwrap_or_default();
                // As people count.
                let deed = deed.before("line", (u64::from(line) + 1).to_string()).before("about", about);
                let deed = by.written(&deed, authority);
                organisations.undo_item(authority, id, line, by.name(), now, deed).await
            }
        };
        if done.is_err() {
            // What had begun is gone on with.
            self.inner.look.notify_one();
        }
        done?;
        self.tell_applied();
        Ok(Answer::Set(id, Box::new(organisations.change_set(authority, id).await?)))
    }
}
