//! What one person decides about a change set: that it is not meant, that it was a mistake. That it is applied others agree to as
//! well, as to a case.

use audit::Action;
use organisation::SetId;
use ruma::ServerName;

use crate::{
    answer::{Answer, Line},
    by::By,
    error::Error,
    personnel::Personnel,
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
