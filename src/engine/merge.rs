//! Tying a fraying graph together.
//!
//! Who sends events on old ones makes the graph fork, and every fork is one more state to resolve.
//! When there are many, an event of ours that nobody sees names them all as previous. Its state is
//! the resolution of theirs, for every server alike.

use pdu::Draft;
use room::Error;
use ruma::events::TimelineEventType;
use tracing::warn;

use crate::pipeline::{Sending, Stage};

/// With more forward extremities than this, they are merged by an event of ours.
const MANY_EXTREMITIES: usize = 10;

impl Stage<'_> {
    /// Merges the extremities when there are many, if somebody of ours may speak in the room.
    #[crate::boxed]
    pub(crate) async fn merge_extremities(&mut self) -> Result<(), Error> {
        if self.mute || self.head.extremities.len() <= MANY_EXTREMITIES {
            return Ok(());
        }
        let kind = TimelineEventType::from("org.matrix.dummy_event");
        let power = self.power().await?;
        let may_speak = |user: &ruma::UserId| power.may_send(user, &kind, false);
        // Looked for once in a batch: where nobody may speak, a flood must not cost a search for each event.
        let Some(sender) = self.engine.find_local_member(self, may_speak).await? else {
            self.mute = true;
            return Ok(());
        };
        let content = crate::draft::raw(&serde_json::json!({}));
        let draft = Draft { kind, state_key: None, content, sender, redacts: None };
        match self.send(&draft, Sending { hidden: true, ..Sending::default() }).await {
            Ok(_) => {}
            Err(cause @ (Error::Forbidden(_) | Error::Format(_) | Error::NotOurs(_))) => {
                warn!(room_id = %self.room.room_id, error = %cause, "extremities could not be merged");
                self.mute = true;
            }
            Err(cause) => return Err(cause),
        }
        Ok(())
    }
}
