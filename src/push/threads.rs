//! Subscriptions to threads (MSC4306): who subscribes to what, and whether events are in threads that somebody hears of.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>

use std::{collections::HashMap, sync::Arc};

use account::{ThreadCause, ThreadSubscription};
use room::{
    EventSerial,
    read::{event::StoredEvent, view::Viewer},
};
use ruma::{EventId, OwnedEventId, RoomId, UserId};

use crate::{Error, Push};

impl Push {
    /// Subscribes somebody to a thread that he may see; `cause` is the event for which a client of his does so by itself.
    ///
    /// # Errors
    /// [`Error::Room`] when he sees no such thread, [`Error::NotInThread`] when he sees no such event in it; see
    /// [`account::Accounts::subscribe_to_thread`].
    pub async fn subscribe(
        &self,
        viewer: &Viewer<'_>,
        room: &RoomId,
        thread: &EventId,
        cause: Option<&EventId>,
    ) -> Result<(), Error> {
        self.rooms().event_for(viewer, room, thread).await?;
        let cause = match cause {
            None => ThreadCause::Choice,
            Some(cause) => {
                let event = match self.rooms().event_for(viewer, room, cause).await {
                    Ok(look) => look.event,
                    Err(room::Error::NoEvent(_)) => return Err(Error::NotInThread),
                    Err(error) => return Err(error.into()),
                };
                if !event.relation().is_some_and(|it| it.is_thread() && it.event_id == thread) {
                    return Err(Error::NotInThread);
                }
                ThreadCause::Event(event.order().and_then(room::Order::position))
            }
        };
        Ok(self.accounts().subscribe_to_thread(viewer.user, room, thread, cause).await?)
    }

    /// Ends somebody's subscription to a thread that he may see.
    ///
    /// # Errors
    /// [`Error::Room`] when he sees no such thread; [`Error::Account`].
    pub async fn unsubscribe(
        &self,
        viewer: &Viewer<'_>,
        room: &RoomId,
        thread: &EventId,
    ) -> Result<(), Error> {
        self.rooms().event_for(viewer, room, thread).await?;
        Ok(self.accounts().unsubscribe_from_thread(viewer.user, room, thread).await?)
    }

    /// Somebody's subscription to a thread that he may see.
    ///
    /// # Errors
    /// As [`Push::unsubscribe`].
    pub async fn subscription(
        &self,
        viewer: &Viewer<'_>,
        room: &RoomId,
        thread: &EventId,
    ) -> Result<Option<ThreadSubscription>, Error> {
        self.rooms().event_for(viewer, room, thread).await?;
        Ok(self.accounts().thread_subscription(viewer.user, room, thread).await?)
    }

    /// Whether a user is subscribed to the threads that events are in; those that are in none are absent.
    pub(crate) async fn subscribed(
        &self,
        user: &UserId,
        events: &[Arc<StoredEvent>],
    ) -> Result<HashMap<EventSerial, bool>, Error> {
        let related: Vec<Arc<StoredEvent>> =
            events.iter().filter(|event| event.relation().is_some()).cloned().collect();
        if related.is_empty() {
            return Ok(HashMap::new());
        }
        let threads = self.rooms().threads_of(&related).await?;
        let in_threads: Vec<(&Arc<StoredEvent>, OwnedEventId)> =
            related.iter().zip(threads).filter_map(|(event, thread)| Some((event, thread?))).collect();
        let mut named: Vec<(&RoomId, &EventId)> =
            in_threads.iter().map(|(event, thread)| (event.room_id(), &**thread)).collect();
        named.sort_unstable();
        named.dedup();
        let subscribed: HashMap<_, bool> =
            named.iter().copied().zip(self.accounts().are_subscribed(user, &named).await?).collect();
        let is_so = |(event, thread): &(&Arc<StoredEvent>, OwnedEventId)| {
            (event.serial(), subscribed.get(&(event.room_id(), &**thread)).copied().unwrap_or(false))
        };
        Ok(in_threads.iter().map(is_so).collect())
    }
}
