//! Sending a delayed event: in its time, or because somebody asks for it.

use pdu::Draft;
use room::{Error, attempts::Attempts, read::room::RoomInfo};
use ruma::{OwnedUserId, RoomId, events::TimelineEventType};
use serde_json::value::RawValue;
use store::Batch;

use crate::{
    Engine,
    delays::tables::{DELAYED, DELAYS, DelayRow, DelayedRow, Ending},
    pipeline::{Sending, Stage, name},
    send::{Outcome, stage_draft},
};

/// What became of a delayed event that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is in the room, or the room's state said so already.
    Said,
    /// Somebody else has set that piece of state since it was scheduled: it is gone.
    Overtaken,
    /// It is none any more.
    Gone,
    /// It was restarted, and is not due.
    NotDue,
}

/// Why it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its time has come.
    Due,
    /// Somebody asks for it.
    Asked,
}

impl Engine {
    /// Sends a delayed event now. One that was sent already is as good as sent now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::DelayEnded`] when it was cancelled; otherwise as [`Engine::send`], and
    /// then it stays scheduled.
    pub async fn send_delayed(&self, delay_id: &str) -> Result<(), Error> {
        let sent = match self.find_delay_row(delay_id).await? {
            Some(_) => self.try_send_delayed(delay_id, Why::Asked).await?,
            None => Sent::Gone,
        };
        match sent {
            Sent::Said | Sent::NotDue => Ok(()),
            Sent::Overtaken | Sent::Gone => self.must_have_ended(delay_id, Ending::Sent).await,
        }
    }

    /// What can be said of a delayed event without the room's lock.
    pub(super) async fn check_delayed(&self, room_id: &RoomId, draft: &mut Draft) -> Result<(), Error> {
        self.check_draft(room_id, draft).await?;
        match self.foreign_invitee(draft) {
            Some(_) => Err(Error::Invalid("an invite of a user of another server cannot wait".to_owned())),
            None => Ok(()),
        }
    }

    /// Sends a delayed event: its rows go in the event's batch, which demands that they are there as they were read.
    pub(super) async fn try_send_delayed(&self, id: &str, why: Why) -> Result<Sent, Error> {
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = self.store().get(&DELAYS, id).await? else { return Ok(Sent::Gone) };
            if why == Why::Due && row.due() > self.now() {
                return Ok(Sent::NotDue);
            }
            let said = self.store().get(&DELAYED, &(row.room, id)).await?;
            let room = self.rooms().room_infos(&[row.room]).await?.pop().flatten();
            let (Some(said), Some(room)) = (said, room) else {
                // The room was purged.
                self.drop_delayed(id, &row, Ending::Cancelled).await?;
                return Ok(Sent::Gone);
            };
            match self.send_delayed_once(id, &row, said, &room).await? {
                Some(sent) => return Ok(sent),
                None => attempts.again(self.rooms()).await?,
            }
        }
    }

    /// One try; `None`: something has changed meanwhile.
    async fn send_delayed_once(
        &self,
        id: &str,
        row: &DelayRow,
        said: DelayedRow,
        room: &std::sync::Arc<RoomInfo>,
    ) -> Result<Option<Sent>, Error> {
        let mut draft = draft_of(row, &said)?;
        // Policy may have changed, and what an alias leads to.
        self.check_delayed(&room.room_id, &mut draft).await?;
        let mut guard = self.lock(room).await?;
        guard.head()?;
        if let Some(redacts) = &draft.redacts
            && guard.live()?.fresh.holds(redacts)
            && guard.land(self).await.is_err()
        {
            return Ok(None);
        }
        if draft.state_key.is_none() {
            guard.look_for_others(self).await?;
        }
        let mut stage = Stage::new(self, room, guard.live()?);
        if is_overtaken(&mut stage, &draft, &said).await? {
            if !guard.is_current(self).await? {
                return Ok(None);
            }
            drop(guard);
            self.drop_delayed(id, row, Ending::Cancelled).await?;
            return Ok(Some(Sent::Overtaken));
        }
        match stage_draft(&mut stage, &draft, Sending::default()).await {
            Ok(Outcome::Placed(event_id)) => {
                let batch = stage.batch();
                batch.require(&DELAYS, id, Some(row));
                row.end(batch, id, Ending::Sent);
                let staged = stage.finish();
                let landing = guard.submit(self, staged, None);
                drop(guard);
                let mut attempts = Attempts::default();
                let landed = self.landed(landing, &event_id, &mut attempts).await?;
                if landed {
                    self.0.metrics.sent.inc();
                }
                Ok(landed.then_some(Sent::Said))
            }
            outcome => {
                if !guard.is_current(self).await? {
                    return Ok(None);
                }
                drop(guard);
                outcome?;
                // The state says so already.
                self.drop_delayed(id, row, Ending::Sent).await?;
                Ok(Some(Sent::Said))
            }
        }
    }

    /// Takes a delayed event away, if it is as it was.
    pub(super) async fn drop_delayed(&self, id: &str, row: &DelayRow, ending: Ending) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.require(&DELAYS, id, Some(row));
        row.end(&mut batch, id, ending);
        match self.store().commit(batch).await {
            Ok(_) | Err(store::CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(Error::Commit(error)),
        }
    }
}

fn draft_of(row: &DelayRow, said: &DelayedRow) -> Result<Draft, Error> {
    let sender = OwnedUserId::try_from(row.user.as_str());
    let content = RawValue::from_string(said.content.clone());
    let (Ok(sender), Ok(content)) = (sender, content) else {
        return Err(Error::Inconsistent("a delayed event cannot be read"));
    };
    let kind = TimelineEventType::from(row.kind.as_str());
    Ok(Draft { kind, state_key: row.state_key.clone(), content, sender, redacts: said.redacts.clone() })
}

/// Whether somebody else has set the piece of state since the event was scheduled.
async fn is_overtaken(stage: &mut Stage<'_>, draft: &Draft, said: &DelayedRow) -> Result<bool, Error> {
    let Some(key) = &draft.state_key else { return Ok(false) };
    let current = stage.current_one(name(&draft.kind, key.as_str())).await?;
    Ok(current.is_some_and(|current| {
        current.sender() != draft.sender && said.was.as_deref() != Some(current.event_id())
    }))
}
