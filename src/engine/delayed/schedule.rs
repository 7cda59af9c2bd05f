//! Scheduling, listing, restarting and cancelling.

use std::time::Duration;

use pdu::{Draft, MAX_PDU_BYTES};
use room::{Error, attempts::Attempts, ids::RoomSerial, read::room::RoomInfo, tables::Membership};
use ruma::{RoomId, UserId, events::TimelineEventType};
use serde_json::value::RawValue;
use store::{Batch, CommitError, Order, Range};

use super::DelayedEvent;
use crate::{
    Engine,
    delays::tables::{
        DELAY_TXNS, DELAYED, DELAYED_STATE, DELAYS, DELAYS_DUE, DELAYS_ENDED, DelayRow, DelayTxnRow,
        DelayedRow, Ending, USER_DELAYS, delayed_state_added, delays_added,
    },
    request::{Txn, TxnKey},
};

/// Letters and digits of an id: whoever knows one needs no other proof, so nobody guesses it.
const ID_LENGTH: usize = 32;

/// State by which somebody says that he is in a call.
const CALL_MEMBERS: [&str; 4] =
    ["m.call.member", "org.matrix.msc3401.call.member", "m.rtc.member", "org.matrix.msc4143.rtc.member"];

/// How many of a user are taken away in one commit.
const AT_ONCE: usize = 100;

impl Engine {
    /// Schedules what a user of ours who is in the room wants to say later; gives its id.
    ///
    /// When it returns, it is on stable storage. A repeated `txn` gets the first id, whatever became of the event.
    /// Whether the room allows the event is found out when it is sent.
    ///
    /// # Errors
    /// [`Error::DelayTooLong`], [`Error::TooManyDelays`]; [`Error::NotJoined`], [`Error::TooLarge`], and otherwise as
    /// [`Engine::send`] before a room is asked. [`Error::Invalid`] for invites of users of other servers, since they
    /// need an answer from there.
    pub async fn delay(
        &self,
        room_id: &RoomId,
        mut draft: Draft,
        delay: Duration,
        txn: Option<&Txn>,
    ) -> Result<String, Error> {
        let room = self.rooms().get_room(room_id).await?;
        if let Some(txn) = txn
            && let Some(delay_id) = self.find_delay_txn(&txn.key(room.serial, &draft)).await?
        {
            return Ok(delay_id);
        }
        let limits = self.0.config.delays;
        if delay > limits.longest {
            return Err(Error::DelayTooLong(limits.longest));
        }
        if draft.content.get().len() + draft.state_key.as_ref().map_or(0, String::len) > MAX_PDU_BYTES {
            return Err(Error::TooLarge);
        }
        if self.rooms().membership_in(&room, &draft.sender).await? != Some(Membership::Join) {
            return Err(Error::NotJoined { user: draft.sender, room: room_id.to_owned() });
        }
        self.check_delayed(room_id, &mut draft).await?;
        self.write_delay(&room, draft, delay, txn).await
    }

    async fn write_delay(
        &self,
        room: &RoomInfo,
        draft: Draft,
        delay: Duration,
        txn: Option<&Txn>,
    ) -> Result<String, Error> {
        let key = txn.map(|txn| txn.key(room.serial, &draft));
        let user = draft.sender.to_string();
        let most = self.0.config.delays.most_of_user;
        let range = Range::prefix(user.as_str());
        let waiting = self.store().scan(&USER_DELAYS, range, Order::Ascending, most).await?;
        if waiting.len() >= most {
            let ids: Vec<String> = waiting.into_iter().map(|((_, id), ())| id).collect();
            let rows = self.store().get_many(&DELAYS, &ids).await?;
            let next = rows.iter().flatten().map(DelayRow::due).min();
            let retry_after = next.map(|next| Duration::from_millis(next.saturating_sub(self.now())));
            return Err(Error::TooManyDelays(retry_after));
        }
        let id = self.0.random.token(ID_LENGTH);
        let row = DelayRow {
            room: room.serial,
            kind: draft.kind.to_string(),
            state_key: draft.state_key.clone(),
            user,
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            since: self.now(),
            number: 0,
        };
        let was = self.state_at(room, &draft).await?;
        let content = draft.content.get().to_owned();
        let mut batch = Batch::new();
        batch.insert(&DELAYS, id.as_str(), &row);
        batch.put(
            &DELAYED,
            &(room.serial, id.as_str()),
            &DelayedRow { content, redacts: draft.redacts, was },
        );
        batch.put(&DELAYS_DUE, &(row.due(), id.clone()), &());
        batch.put(&USER_DELAYS, &(row.user.as_str(), id.as_str()), &());
        batch.touch([delays_added()]);
        if let Some(state) = row.state_row(&id) {
            batch.put(&DELAYED_STATE, &state, &());
            batch.touch([delayed_state_added()]);
        }
        if let Some(key) = &key {
            batch.insert(&DELAY_TXNS, key, &DelayTxnRow { delay_id: id.clone(), at: row.since });
        }
        match (self.store().commit(batch).await, key) {
            (Ok(_), _) => Ok(id),
            // The same request came twice at once, or it is not known whether this one was served.
            (Err(CommitError::Conflict { .. } | CommitError::Unknown), Some(key)) => {
                self.find_delay_txn(&key).await?.ok_or(Error::Contended)
            }
            (Err(error), _) => Err(Error::Commit(error)),
        }
    }

    /// The delayed event that the same request made before, if it was served: asked with what a repeated request may
    /// come without, a delay and a content.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_delay(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        kind: &TimelineEventType,
        txn: &Txn,
    ) -> Result<Option<String>, Error> {
        let Some(room) = self.rooms().room(room_id).await? else { return Ok(None) };
        self.find_delay_txn(&txn.key_of(room.serial, sender, kind)).await
    }

    async fn find_delay_txn(&self, key: &TxnKey) -> Result<Option<String>, Error> {
        Ok(self.store().get(&DELAY_TXNS, key).await?.map(|row| row.delay_id))
    }

    /// The id of the state event whose place a draft would take.
    async fn state_at(&self, room: &RoomInfo, draft: &Draft) -> Result<Option<ruma::OwnedEventId>, Error> {
        let Some(key) = &draft.state_key else { return Ok(None) };
        let current = self.rooms().current_state_event(room, &draft.kind.to_string(), key).await?;
        Ok(current.map(|event| event.event_id().to_owned()))
    }

    /// A user's delayed events, those that were scheduled or restarted longest ago first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delayed_of(&self, user: &UserId) -> Result<Vec<DelayedEvent>, Error> {
        // More than he may have: some may have come at the same moment.
        let most = self.0.config.delays.most_of_user.saturating_mul(4);
        let range = Range::prefix(user.as_str());
        let rows = self.store().scan(&USER_DELAYS, range, Order::Ascending, most).await?;
        let ids: Vec<String> = rows.into_iter().map(|((_, id), ())| id).collect();
        let mut events = self.load_delayed(&ids).await?;
        events.sort_by(|one, other| {
            (one.running_since, &one.delay_id).cmp(&(other.running_since, &other.delay_id))
        });
        Ok(events)
    }

    /// One of a user's delayed events.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is somebody else's, or none any more.
    pub async fn delayed_event(&self, user: &UserId, delay_id: &str) -> Result<DelayedEvent, Error> {
        let id = delay_id.to_owned();
        let is_his = self.store().get(&USER_DELAYS, &(user.as_str(), delay_id)).await?.is_some();
        let event = if is_his { self.load_delayed(&[id]).await?.pop() } else { None };
        event.ok_or_else(no_such_delay)
    }

    async fn load_delayed(&self, ids: &[String]) -> Result<Vec<DelayedEvent>, Error> {
        let rows = self.store().get_many(&DELAYS, ids).await?;
        let rows: Vec<(&String, DelayRow)> =
            ids.iter().zip(rows).filter_map(|(id, row)| Some((id, row?))).collect();
        let keys: Vec<_> = rows.iter().map(|(id, row)| (row.room, (*id).clone())).collect();
        let serials: Vec<_> = rows.iter().map(|(_, row)| row.room).collect();
        let said = self.store().get_many(&DELAYED, &keys).await?;
        let rooms = self.rooms().room_infos(&serials).await?;
        let events = rows.into_iter().zip(said).zip(rooms).filter_map(|(((id, row), said), room)| {
            Some(DelayedEvent {
                delay_id: id.clone(),
                room_id: room?.room_id.clone(),
                delay: row.delay(),
                running_since: row.since,
                kind: row.kind,
                state_key: row.state_key,
                content: RawValue::from_string(said?.content).ok()?,
            })
        });
        Ok(events.collect())
    }

    /// Lets a delayed event wait for its whole delay anew.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::DelayEnded`] when it is none any more.
    pub async fn restart_delayed(&self, delay_id: &str) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = self.find_delay_row(delay_id).await? else {
                return Err(self
                    .how_ended(delay_id)
                    .await?
                    .map_or_else(no_such_delay, |_| Error::DelayEnded));
            };
            let new = DelayRow { since: self.now(), number: row.number.wrapping_add(1), ..row.clone() };
            let mut batch = Batch::new();
            batch.replace(&DELAYS, delay_id, &row, &new);
            batch.delete(&DELAYS_DUE, &(row.due(), delay_id.to_owned()));
            batch.put(&DELAYS_DUE, &(new.due(), delay_id.to_owned()), &());
            if new.due() < row.due() {
                // The calendar was set back.
                batch.touch([delays_added()]);
            }
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Takes a delayed event away. One that was cancelled already is as good as cancelled now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::DelayEnded`] when it was sent.
    pub async fn cancel_delayed(&self, delay_id: &str) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = self.find_delay_row(delay_id).await? else {
                return self.must_have_ended(delay_id, Ending::Cancelled).await;
            };
            let mut batch = Batch::new();
            batch.require(&DELAYS, delay_id, Some(&row));
            row.end(&mut batch, delay_id, Ending::Cancelled);
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Takes all delayed events of a user away, whose account is closed.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn cancel_all_delayed(&self, user: &UserId) -> Result<(), Error> {
        self.cancel_where(user, |_, _| true).await
    }

    /// Takes those delayed events of a user away by which he would say something, as his account is locked or suspended.
    /// The end of his part in a call stays, which is state without content.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn silence_delayed(&self, user: &UserId) -> Result<(), Error> {
        let takes_back = |row: &DelayRow, said: &DelayedRow| {
            row.state_key.is_some()
                && CALL_MEMBERS.contains(&&*row.kind)
                && said.content.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
        };
        self.cancel_where(user, |row, said| said.is_none_or(|said| !takes_back(row, said))).await
    }

    async fn cancel_where(
        &self,
        user: &UserId,
        goes: impl Fn(&DelayRow, Option<&DelayedRow>) -> bool,
    ) -> Result<(), Error> {
        let mut range = Range::prefix(user.as_str());
        loop {
            let rows = self.store().scan(&USER_DELAYS, range.clone(), Order::Ascending, AT_ONCE).await?;
            let Some((last, ())) = rows.last() else { return Ok(()) };
            range = range.after(last);
            let ids: Vec<String> = rows.into_iter().map(|((_, id), ())| id).collect();
            let rows = self.store().get_many(&DELAYS, &ids).await?;
            let room_of = |row: &Option<DelayRow>| row.as_ref().map_or(RoomSerial(0), |row| row.room);
            let keys: Vec<_> = rows.iter().zip(&ids).map(|(row, id)| (room_of(row), id.as_str())).collect();
            let said = self.store().get_many(&DELAYED, &keys).await?;
            let mut batch = Batch::new();
            for ((id, row), said) in ids.iter().zip(rows).zip(said) {
                match row {
                    Some(row) if !goes(&row, said.as_ref()) => continue,
                    Some(row) => row.end(&mut batch, id, Ending::Cancelled),
                    None => {}
                }
                batch.delete(&USER_DELAYS, &(user.as_str(), id.as_str()));
            }
            if !batch.is_empty() {
                self.store().commit(batch).await.map_err(Error::Commit)?;
            }
        }
    }

    pub(super) async fn find_delay_row(&self, delay_id: &str) -> Result<Option<DelayRow>, Error> {
        // No id of ours is longer, and a key of any length is nothing that the store has to see.
        let is_one = delay_id.len() == ID_LENGTH;
        Ok(if is_one { self.store().get(&DELAYS, delay_id).await? } else { None })
    }

    /// How a delayed event ended, as long as that is known.
    async fn how_ended(&self, delay_id: &str) -> Result<Option<Ending>, Error> {
        let is_one = delay_id.len() == ID_LENGTH;
        let row = if is_one { self.store().get(&DELAYS_ENDED, delay_id).await? } else { None };
        Ok(row.map(|row| if row.was_sent { Ending::Sent } else { Ending::Cancelled }))
    }

    /// Of a delayed event that is none any more: that it ended as somebody wants.
    ///
    /// # Errors
    /// [`Error::DelayEnded`] when it did otherwise, [`Error::NotFound`] when nobody knows.
    pub(super) async fn must_have_ended(&self, delay_id: &str, wanted: Ending) -> Result<(), Error> {
        match self.how_ended(delay_id).await? {
            Some(ending) if ending == wanted => Ok(()),
            Some(_) => Err(Error::DelayEnded),
            None => Err(no_such_delay()),
        }
    }
}

fn no_such_delay() -> Error {
    Error::NotFound("There is no such delayed event, or not any more".to_owned())
}
