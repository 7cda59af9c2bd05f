//! [`Memos`]: what was written, by number.

use bot_kit::{
    Batch, Event, Failure, Homeserver, Store, StoreError, Table, TxnId,
    ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId},
};
use serde::{Deserialize, Serialize};

use crate::texts;

/// Who has which memos; key: user, a slash, the number in ten digits, value: the memo.
const MEMOS: Table<Memo> = Table::new("memos");
/// Which memo an event is of; key: event id, value: the key of the memo.
const OF_EVENT: Table<String> = Table::new("memo of event");
/// When memos were written; key: milliseconds in twenty digits, a slash, the key of the memo, value: that key.
const AGES: Table<String> = Table::new("memos by age");
/// The number that a user's next memo has; key: user.
const NEXT: Table<u64> = Table::new("next number");
/// What the bot said that shows memos, and goes when one of them does; key: user, a slash, event id.
const SHOWN: Table<()> = Table::new("shown");
/// What the bot said of a memo alone, and goes with it; key: event id of the memo, a blank, event id.
const NOTICES: Table<()> = Table::new("notices");

/// Letters of a memo in a list.
const PREVIEW: usize = 40;

/// Events of a memo: itself and how it was edited.
const MOST_EVENTS: usize = 1_000;

/// What the bot keeps of a memo: enough to list it and to delete it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memo {
    pub(crate) number: u64,
    pub(crate) room: OwnedRoomId,
    /// Itself first, then its edits.
    pub(crate) events: Vec<OwnedEventId>,
    pub(crate) kind: Kind,
    pub(crate) preview: String,
    pub(crate) at_ms: u64,
}

/// What a memo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Text,
    Picture,
    Video,
    Audio,
    File,
    Place,
}

impl Kind {
    /// Of a message of this type.
    pub(crate) fn of(msgtype: &str) -> Self {
        match msgtype {
            "m.image" => Self::Picture,
            "m.video" => Self::Video,
            "m.audio" => Self::Audio,
            "m.file" => Self::File,
            "m.location" => Self::Place,
            _ => Self::Text,
        }
    }
}

/// The memos of all users.
#[derive(Clone)]
pub(crate) struct Memos {
    pub(crate) store: Store,
    pub(crate) homeserver: Homeserver,
}

fn key(user: &UserId, number: u64) -> String {
    format!("{user}/{number:010}")
}

/// All keys of a user's begin so: no server name has a slash.
fn prefix(user: &UserId) -> String {
    format!("{user}/")
}

fn age(memo: &Memo, key: &str) -> String {
    format!("{:020}/{key}", memo.at_ms)
}

/// The beginning of what was written, on one line.
pub(crate) fn preview(event: &Event) -> String {
    let text = event.text("filename").map(Into::into).or_else(|| event.said());
    // What a program says is said by nobody, and is a memo all the same.
    let text = text.or_else(|| event.text("body").map(Into::into)).unwrap_or_default();
    let line = text.trim().lines().next().unwrap_or_default();
    let mut letters = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut preview: String = letters.by_ref().take(PREVIEW).collect();
    if letters.next().is_some() || text.trim().lines().nth(1).is_some() {
        preview.push('…');
    }
    preview
}

impl Memos {
    /// Adds what a user wrote, unless it is there.
    pub(crate) async fn add(
        &self,
        user: &UserId,
        event: &Event,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if self.store.get(&OF_EVENT, event.event_id.as_str()).await?.is_some() {
            return Ok(());
        }
        let number = self.store.get(&NEXT, user.as_str()).await?.unwrap_or(1);
        let memo = Memo {
            number,
            room: event.room_id.clone(),
            events: vec![event.event_id.clone()],
            kind: Kind::of(event.text("msgtype").unwrap_or_default()),
            preview: preview(event),
            at_ms: event.received_ms,
        };
        let key = key(user, number);
        batch
            .put(&NEXT, user.as_str(), &(number + 1))
            .put(&AGES, &age(&memo, &key), &key)
            .put(&OF_EVENT, event.event_id.as_str(), &key)
            .put(&MEMOS, &key, &memo);
        Ok(())
    }

    /// Notes that a user edited a memo; the edit, with what the memo says by it. None if there is no such memo.
    pub(crate) async fn edit(
        &self,
        user: &UserId,
        original: &EventId,
        event: &Event,
        batch: &mut Batch,
    ) -> Result<Option<Event>, StoreError> {
        let Some(key) = self.key_of(user, original).await? else { return Ok(None) };
        let Some(mut memo) = self.store.get(&MEMOS, &key).await? else { return Ok(None) };
        if memo.events.len() >= MOST_EVENTS || memo.events.contains(&event.event_id) {
            return Ok(None);
        }
        memo.events.push(event.event_id.clone());
        let new = event.content.get("m.new_content").and_then(|content| content.as_object()).cloned();
        let edited = Event { content: new.unwrap_or_default(), ..event.clone() };
        memo.preview = preview(&edited);
        batch.put(&OF_EVENT, event.event_id.as_str(), &key).put(&MEMOS, &key, &memo);
        Ok(Some(edited))
    }

    /// How many a user has.
    pub(crate) async fn count(&self, user: &UserId) -> Result<usize, StoreError> {
        self.store.count(&MEMOS, &prefix(user)).await
    }

    /// Those of a user, oldest first.
    pub(crate) async fn all(&self, user: &UserId) -> Result<Vec<Memo>, StoreError> {
        self.oldest(user, usize::MAX).await
    }

    /// So many of a user, oldest first.
    pub(crate) async fn oldest(&self, user: &UserId, count: usize) -> Result<Vec<Memo>, StoreError> {
        let rows = self.store.scan(&MEMOS, &prefix(user), None, count).await?;
        Ok(rows.into_iter().map(|(_, memo)| memo).collect())
    }

    /// Those with these numbers.
    pub(crate) async fn find(&self, user: &UserId, numbers: &[u64]) -> Result<Vec<Memo>, StoreError> {
        let mut found = Vec::new();
        for number in numbers {
            found.extend(self.store.get(&MEMOS, &key(user, *number)).await?);
        }
        Ok(found)
    }

    /// The memo that an event is of.
    pub(crate) async fn of_event(&self, user: &UserId, event: &EventId) -> Result<Option<Memo>, StoreError> {
        match self.key_of(user, event).await? {
            Some(key) => self.store.get(&MEMOS, &key).await,
            None => Ok(None),
        }
    }

    async fn key_of(&self, user: &UserId, event: &EventId) -> Result<Option<String>, StoreError> {
        let key = self.store.get(&OF_EVENT, event.as_str()).await?;
        Ok(key.filter(|key| key.starts_with(&prefix(user))))
    }

    /// Notes that the bot showed memos in this event.
    pub(crate) fn note_shown(&self, user: &UserId, event: &EventId, batch: &mut Batch) {
        batch.put(&SHOWN, &format!("{}{event}", prefix(user)), &());
    }

    /// Whether an event is of a memo.
    pub(crate) async fn is_known(&self, event: &EventId) -> Result<bool, StoreError> {
        Ok(self.store.get(&OF_EVENT, event.as_str()).await?.is_some())
    }

    /// Notes what the bot said of a memo.
    pub(crate) fn note_notice(&self, memo: &EventId, notice: &EventId, batch: &mut Batch) {
        batch.put(&NOTICES, &format!("{memo} {notice}"), &());
    }

    /// Takes back what was said of a memo that is not there any more: it went while that was said.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn take_back_orphans(&self, memo: &EventId, room: &RoomId) -> Result<(), StoreError> {
        if self.is_known(memo).await? {
            return Ok(());
        }
        let mut batch = Batch::new();
        match self.redact_notices(memo, room, texts::DELETED, &mut batch).await {
            Ok(()) if batch.is_empty() => Ok(()),
            Ok(()) => self.store.commit(batch).await,
            Err(Failure::Store(error)) => Err(error),
            Err(failure) => {
                tracing::warn!(event_id = %memo, error = %failure, "what was said of a memo that is gone stays");
                Ok(())
            }
        }
    }

    async fn redact_notices(
        &self,
        memo: &EventId,
        room: &RoomId,
        reason: &str,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        let prefix = format!("{memo} ");
        for (key, ()) in self.store.scan(&NOTICES, &prefix, None, usize::MAX).await? {
            let notice = key.get(prefix.len()..).and_then(|id| <&EventId>::try_from(id).ok());
            if let Some(notice) = notice {
                self.redact(room, notice, reason).await?;
            }
            batch.delete(&NOTICES, &key);
        }
        Ok(())
    }

    /// Has memos redacted, with all edits, and what showed them. They are forgotten with the batch.
    ///
    /// # Errors
    /// [`Failure`] that may pass; what cannot be redacted any more is forgotten all the same.
    pub(crate) async fn delete(
        &self,
        user: &UserId,
        room: &RoomId,
        memos: &[Memo],
        reason: &str,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        if memos.is_empty() {
            return Ok(());
        }
        for memo in memos {
            for event in &memo.events {
                self.redact(&memo.room, event, reason).await?;
                self.redact_notices(event, &memo.room, reason, batch).await?;
                batch.delete(&OF_EVENT, event.as_str());
            }
            let key = key(user, memo.number);
            batch.delete(&AGES, &age(memo, &key)).delete(&MEMOS, &key);
        }
        for (key, ()) in self.store.scan(&SHOWN, &prefix(user), None, usize::MAX).await? {
            let event = key.get(prefix(user).len()..).and_then(|id| <&EventId>::try_from(id).ok());
            if let Some(event) = event {
                self.redact(room, event, reason).await?;
            }
            batch.delete(&SHOWN, &key);
        }
        Ok(())
    }

    async fn redact(&self, room: &RoomId, event: &EventId, reason: &str) -> Result<(), Failure> {
        // Whoever asks twice, after a crash, redacts once.
        let txn = TxnId::of(&[room.as_str(), event.as_str(), "redact"]);
        match self.homeserver.redact(room, event, &txn, reason).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                tracing::warn!(room_id = %room, event_id = %event, error = %failure, "a memo could not be redacted");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The oldest memos of all users that were written before this moment, with their users; and when the next one was written.
    pub(crate) async fn written_before(
        &self,
        at_ms: u64,
        count: usize,
    ) -> Result<(Vec<(String, Memo)>, Option<u64>), StoreError> {
        let mut due = Vec::new();
        for (age, key) in self.store.scan(&AGES, "", None, count).await? {
            let at: u64 = age.split('/').next().and_then(|digits| digits.parse().ok()).unwrap_or_default();
            if at > at_ms {
                return Ok((due, Some(at)));
            }
            match self.store.get(&MEMOS, &key).await? {
                Some(memo) => due.extend(key.rsplit_once('/').map(|(user, _)| (user.to_owned(), memo))),
                // Left behind by nothing that we know of; it must not be met for ever.
                None => {
                    let mut batch = Batch::new();
                    batch.delete(&AGES, &age);
                    self.store.commit(batch).await?;
                }
            }
        }
        Ok((due, None))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn shown(content: &serde_json::Value) -> String {
        let event = json!({ "event_id": "$a", "room_id": "!a", "sender": "@a:a.test", "type": "m.room.message",
            "content": content });
        preview(&serde_json::from_value(event).unwrap())
    }

    #[test]
    fn of_a_memo_its_first_line_is_listed_as_far_as_it_goes() {
        let text = |body: &str| shown(&json!({ "msgtype": "m.text", "body": body }));
        assert_eq!(text(" 橋の写真 \n"), "橋の写真");
        assert_eq!(text("一行目\n二行目"), "一行目…");
        assert_eq!(text("a\tb\u{7}c"), "a b c");
        assert_eq!(text(&"長".repeat(PREVIEW)), "長".repeat(PREVIEW));
        assert_eq!(text(&"長".repeat(PREVIEW + 1)), format!("{}…", "長".repeat(PREVIEW)));
        assert_eq!(shown(&json!({ "msgtype": "m.file", "body": "x", "filename": "図.pdf" })), "図.pdf");
        assert_eq!(shown(&json!({})), "");
    }
}
