//! Which threads users are subscribed to (MSC4306).
//!
//! There is a row for each thread that a user has ever subscribed to. It stays when he leaves the thread: by when that
//! was it is decided whether a client of his may subscribe him once more without being told to.
//!
//! With the first subscription the rules about threads come to stand among the user's push rules. Until then threads ring as
//! ever: whose clients know nothing of subscriptions would hear of no thread any more.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>

use base::Attempts;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};
use store::{Batch, Counter, Order, Position, Range, Reads, Stamped, Topic};

use crate::{
    Accounts, Error,
    data::{PUSH_RULES, THREADS, put_global},
    log::{Change, log_change},
    tables::{self, ThreadLogRow, ThreadRow},
    thread_rules,
    users::refuse_closed,
};

/// So many threads a user may have had to do with.
const MOST_THREADS: i64 = 10_000;

/// How a user is subscribed to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadSubscription {
    /// By his own choice.
    Manual,
    /// By a client of his, since something in the thread concerns him.
    Automatic,
}

/// Why somebody is to be subscribed to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadCause {
    /// He chose so.
    Choice,
    /// A client of his found an event in the thread that concerns him; with when we got it, if that was as it was sent.
    Event(Option<Position>),
}

/// A thread to which a user subscribed, or is subscribed no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadChange {
    /// The room.
    pub room_id: OwnedRoomId,
    /// What the thread begins with.
    pub thread: OwnedEventId,
    /// What it is now.
    pub subscription: Option<ThreadSubscription>,
    /// Since when.
    pub position: Position,
}

/// What touches a user's subscriptions to threads in a room.
pub fn thread_subscriptions_in(user: &UserId, room_id: &RoomId) -> Topic {
    Topic::new(60, &format!("{user} {room_id}"))
}

impl ThreadRow {
    fn subscription(self) -> Option<ThreadSubscription> {
        match self {
            Self::Left => None,
            Self::Manual => Some(ThreadSubscription::Manual),
            Self::Automatic => Some(ThreadSubscription::Automatic),
        }
    }
}

impl Accounts {
    /// Subscribes a user to a thread, which the caller has seen to be there. What he chose himself no client takes back.
    ///
    /// # Errors
    /// [`Error::UnsubscribedSince`] when the event is from before he left the thread; [`Error::TooLarge`] when he has had to do
    /// with too many; [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    pub async fn subscribe_to_thread(
        &self,
        user: &UserId,
        room: &RoomId,
        thread: &EventId,
        cause: ThreadCause,
    ) -> Result<(), Error> {
        let change = |old: Option<&Stamped<ThreadRow>>| match (old.map(|old| old.value), cause) {
            (Some(ThreadRow::Manual), _) | (Some(ThreadRow::Automatic), ThreadCause::Event(_)) => Ok(None),
            (_, ThreadCause::Choice) => Ok(Some(ThreadRow::Manual)),
            (_, ThreadCause::Event(came)) => match old {
                Some(left) if came.is_none_or(|came| came <= left.position) => Err(Error::UnsubscribedSince),
                _ => Ok(Some(ThreadRow::Automatic)),
            },
        };
        self.change_thread(user, room, thread, change).await
    }

    /// Ends a user's subscription to a thread, if there is one.
    ///
    /// # Errors
    /// [`Error::Deactivated`], [`Error::Contended`], [`Error::Store`].
    pub async fn unsubscribe_from_thread(
        &self,
        user: &UserId,
        room: &RoomId,
        thread: &EventId,
    ) -> Result<(), Error> {
        let change = |old: Option<&Stamped<ThreadRow>>| {
            let is_there = old.is_some_and(|old| old.value != ThreadRow::Left);
            Ok(is_there.then_some(ThreadRow::Left))
        };
        self.change_thread(user, room, thread, change).await
    }

    /// A user's subscription to a thread.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn thread_subscription(
        &self,
        user: &UserId,
        room: &RoomId,
        thread: &EventId,
    ) -> Result<Option<ThreadSubscription>, Error> {
        let key = (user.as_str(), room.as_str(), thread.as_str());
        let row = self.inner.store.get(&tables::THREAD_SUBSCRIPTIONS, &key).await?;
        Ok(row.and_then(|row| row.value.subscription()))
    }

    /// Whether a user is subscribed to each of these threads. One read.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn are_subscribed(
        &self,
        user: &UserId,
        threads: &[(&RoomId, &EventId)],
    ) -> Result<Vec<bool>, Error> {
        let keys: Vec<_> =
            threads.iter().map(|(room, thread)| (user.as_str(), room.as_str(), thread.as_str())).collect();
        let rows = self.inner.store.get_many(&tables::THREAD_SUBSCRIPTIONS, &keys).await?;
        let is_so =
            |row: Option<Stamped<ThreadRow>>| row.is_some_and(|row| row.value.subscription().is_some());
        Ok(rows.into_iter().map(is_so).collect())
    }

    /// What changed of a user's subscriptions after a position and up to another, the newest first, at most `limit`; and
    /// where the last of them stands, if there are more. Each thread is named once, as it is now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn thread_changes(
        &self,
        user: &UserId,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<(Vec<ThreadChange>, Option<Position>), Error> {
        let range = Range::prefix(user.as_str()).after(&(user.as_str(), after));
        let range = range.through(&(user.as_str(), through));
        let store = &self.inner.store;
        let mut listed =
            store.scan(&tables::THREAD_LOG, range, Order::Descending, limit.saturating_add(1)).await?;
        let has_more = listed.len() > limit;
        listed.truncate(limit);
        let last = listed.last().map(|((_, position), _)| *position).filter(|_| has_more);
        let keys: Vec<_> =
            listed.iter().map(|(_, row)| (user.as_str(), row.room.as_str(), row.thread.as_str())).collect();
        let rows = store.get_many(&tables::THREAD_SUBSCRIPTIONS, &keys).await?;
        let change = |((_, position), listed): &((String, Position), ThreadLogRow),
                      row: Option<Stamped<_>>| {
            // What has changed once more meanwhile is listed further on.
            let row: Stamped<ThreadRow> = row.filter(|row: &Stamped<_>| row.position == *position)?;
            Some(ThreadChange {
                room_id: OwnedRoomId::try_from(listed.room.as_str()).ok()?,
                thread: OwnedEventId::try_from(listed.thread.as_str()).ok()?,
                subscription: row.value.subscription(),
                position: row.position,
            })
        };
        Ok((listed.iter().zip(rows).filter_map(|(listed, row)| change(listed, row)).collect(), last))
    }

    /// Changes what a thread is to a user. `change` gets the old row and may run several times; nothing is written where it
    /// says nothing.
    async fn change_thread(
        &self,
        user: &UserId,
        room: &RoomId,
        thread: &EventId,
        change: impl Fn(Option<&Stamped<ThreadRow>>) -> Result<Option<ThreadRow>, Error>,
    ) -> Result<(), Error> {
        let (store, user_id) = (&self.inner.store, user.as_str());
        let key = (user_id, room.as_str(), thread.as_str());
        let rules_key = (user_id, PUSH_RULES);
        let mut attempts = Attempts::default();
        loop {
            let mut reads = Reads::new();
            let row = reads.get(&tables::USERS, user_id);
            let old = reads.get(&tables::THREAD_SUBSCRIPTIONS, &key);
            let rules = reads.get(&tables::DATA, &rules_key);
            let used = reads.get(&tables::DATA_USE, &(user_id, THREADS));
            let mut found = store.read(reads).await?;
            let (row, old, rules) = (found.take(row)?, found.take(old)?, found.take(rules)?);
            let used = found.take(used)?.map_or(0, |Counter(used)| used);
            refuse_closed(user, row.as_ref())?;
            let Some(new) = change(old.as_ref())? else { return Ok(()) };
            if old.is_none() && used >= MOST_THREADS {
                return Err(Error::TooLarge("a user subscribes to at most 10,000 threads"));
            }

            let mut batch = Batch::new();
            batch.require(&tables::USERS, user_id, row.as_ref());
            batch.require(&tables::THREAD_SUBSCRIPTIONS, &key, old.as_ref());
            if let Some(content) = thread_rules::added(rules.as_ref().map(|rules| &rules.value), user)? {
                batch.require(&tables::DATA, &rules_key, rules.as_ref());
                put_global(&mut batch, user, PUSH_RULES, content, rules.as_ref());
            }
            let told = Change::Thread {
                user_id: user.to_owned(),
                room_id: room.to_owned(),
                thread: thread.to_owned(),
            };
            let topics = [Topic::account_data(user_id), thread_subscriptions_in(user, room)];
            let slot = log_change(&mut batch, &told, topics);
            batch.put_stamped(&tables::THREAD_SUBSCRIPTIONS, &key, slot, &new);
            match &old {
                Some(old) => batch.delete(&tables::THREAD_LOG, &(user_id, old.position)),
                None => batch.add(&tables::DATA_USE, &(user_id, THREADS), 1),
            }
            let listed = ThreadLogRow { room: room.to_string(), thread: thread.to_string() };
            batch.append(&tables::THREAD_LOG, user_id, slot, &listed);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }
}
