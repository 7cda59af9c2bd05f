//! Administrators whom their source says to end.
//!
//! A source ends no administrator: a mistake there, or whoever has its token, could shut everybody out. But what it says is a
//! warning that somebody is not to be there any more, so his sessions end, he keeps the office and can sign in again, the source is
//! told why (409), and the other administrators are told that they have to decide, or he himself where there is none.
//!
//! A source repeats what was refused, each forty minutes or so. So what followed is noted (`REFUSED`), and follows once, until the
//! source says that he is there after all. Who was to be told and was not, as the server ended between, is told with the
//! repetition, by the same name, so that nobody is told twice.

use account::Notice;
use audit::{Action, Actor};
use ruma::{UserId, events::TimelineEventType};
use serde_json::json;
use store::Batch;

use crate::{
    error::Error,
    scim::{Asking, Scim},
    tables::{REFUSED, RefusedRow},
};

/// Administrators who are told.
const MOST_TOLD: usize = 50;

impl Scim {
    /// What follows where a source says to end an administrator; always refused in the end.
    ///
    /// # Errors
    /// [`Error::Kept`] once all has followed; [`Error::Account`], [`Error::Store`].
    pub(crate) async fn refuse_to_end(
        &self,
        asking: &Asking<'_>,
        user: &UserId,
        id: &str,
    ) -> Result<(), Error> {
        let row = match self.store.get(&REFUSED, user.as_str()).await? {
            Some(row) => row,
            None => self.end_sessions(asking, user, id).await?,
        };
        if !row.is_told {
            self.tell_administrators(asking, user, &row).await?;
            let mut batch = Batch::new();
            batch.replace(&REFUSED, user.as_str(), &row, &RefusedRow { is_told: true, ..row.clone() });
            self.store.commit(batch).await.map_err(account::Error::from)?;
        }
        Err(Error::Kept(format!(
            "{user}: 管理者のアカウントは、連携元からは停止できません。最初の要求のときに、セッションはすべて終了しました。停止するには、先に管理者権限を外してください。 / accounts of administrators are not ended by a source; all sessions were ended when this was first asked for; take the administration away first"
        )))
    }

    async fn end_sessions(&self, asking: &Asking<'_>, user: &UserId, id: &str) -> Result<RefusedRow, Error> {
        let row = RefusedRow { at: self.clock.now(), is_told: false };
        let mut batch = Batch::new();
        batch.insert(&REFUSED, user.as_str(), &row);
        let put = self.accounts.put_signed_out(&mut batch, user, &asking.by).await?;
        self.deed(asking, Action::FollowSource, user.as_str(), id)
            .after("active", "no")
            .after("kept", "administrator")
            .write(&mut batch, &asking.source.authority);
        self.accounts.commit_provisioned(batch, put).await?;
        Ok(row)
    }

    async fn tell_administrators(
        &self,
        asking: &Asking<'_>,
        user: &UserId,
        row: &RefusedRow,
    ) -> Result<(), Error> {
        let mut told = self.accounts.other_administrators(user, MOST_TOLD).await?;
        if told.is_empty() {
            told.push(user.to_owned());
        }
        let source = &asking.source.settings.name;
        let body = format!(
            "連携元「{source}」から、管理者 {user} のアカウントを停止するよう求められました。管理者のアカウントは連携元からは停止されないため、セッションだけを終了し、管理者権限とサインインはそのまま残しています。在籍していない場合は、管理者権限を外してからアカウントをロックしてください。\nThe source \"{source}\" asked to end the account of {user}, who administers this authority. A source does not end administrators: the sessions were ended, the administration and the ways to sign in stay. If this person is no longer there, take the administration away and lock the account."
        );
        for to in told {
            let content = serde_json::value::to_raw_value(&json!({ "msgtype": "m.text", "body": body }));
            let notice = Notice {
                kind: TimelineEventType::RoomMessage,
                content: content.map_err(|_| Error::Damaged)?,
                // Of a source that says now this and now that it is told once a day.
                txn: Some(format!("scim.kept/{user}/{}/{to}", row.at.millis() / 86_400_000).into()),
            };
            match self.accounts.send_notice(&to, notice, &Actor::server()).await {
                // Whoever is no longer there is not told.
                Ok(_) | Err(account::Error::NotFound(_) | account::Error::InvalidParam(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Adds to a batch that nothing is noted of an administrator any more, where a change says that he is there, or ends him.
    pub(crate) async fn put_no_refusal(&self, batch: &mut Batch, user: &UserId) -> Result<bool, Error> {
        let Some(row) = self.store.get(&REFUSED, user.as_str()).await? else { return Ok(false) };
        batch.require(&REFUSED, user.as_str(), Some(&row));
        batch.delete(&REFUSED, user.as_str());
        Ok(true)
    }
}
