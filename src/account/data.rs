//! Account data: what clients keep with us for a user, for all rooms or for one.
//!
//! Every change writes the row and a log entry in one batch, so that the user's other devices hear
//! of it in `/sync`. Read markers, tags and push rules are account data with verbs of their own.

use std::collections::HashSet;

use bytes::Bytes;
use ruma::{
    EventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::tag::{TagEventContent, TagInfo, TagName, Tags},
};
use serde_json::Value;
use store::{Batch, Position, Range, Stamped, Topic};

use crate::{Accounts, Error, accounts::log_change, log::Change, tables};

/// Type of the read marker in a room's account data.
pub const FULLY_READ: &str = "m.fully_read";
/// Type of the push rules in the global account data.
pub const PUSH_RULES: &str = "m.push_rules";
/// Type of a room's tags in its account data.
const TAG: &str = "m.tag";
/// How often a change that others raced with is tried.
pub(crate) const ATTEMPTS: usize = 8;

/// Account data as `/sync` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChange {
    /// The room, or `None` for global data.
    pub room_id: Option<OwnedRoomId>,
    /// The type.
    pub kind: String,
    /// The content's JSON.
    pub content: Bytes,
    /// When it was set.
    pub position: Position,
}

impl Accounts {
    /// Sets global account data.
    ///
    /// # Errors
    /// [`Error::Managed`] for types that the server keeps, [`Error::InvalidParam`] when the content is
    /// not an object, [`Error::Store`].
    pub async fn set_account_data(&self, user: &UserId, kind: &str, content: Bytes) -> Result<(), Error> {
        check_settable(kind, &content)?;
        let mut batch = Batch::new();
        put_global(&mut batch, user, kind, content);
        self.commit(batch).await
    }

    /// Global account data of a type.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn account_data(&self, user: &UserId, kind: &str) -> Result<Bytes, Error> {
        let row = self.inner.store.get(&tables::DATA, &(user.as_str(), kind)).await?;
        row.map(|row| row.value).ok_or(Error::NotFound("no account data of this type"))
    }

    /// Sets account data of a room.
    ///
    /// # Errors
    /// As [`Accounts::set_account_data`].
    pub async fn set_room_account_data(
        &self,
        user: &UserId,
        room: &RoomId,
        kind: &str,
        content: Bytes,
    ) -> Result<(), Error> {
        check_settable(kind, &content)?;
        let mut batch = Batch::new();
        put_of_room(&mut batch, user, room, kind, content);
        self.commit(batch).await
    }

    /// Account data of a room, of a type.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn room_account_data(&self, user: &UserId, room: &RoomId, kind: &str) -> Result<Bytes, Error> {
        let key = (user.as_str(), room.as_str(), kind);
        let row = self.inner.store.get(&tables::ROOM_DATA, &key).await?;
        row.map(|row| row.value).ok_or(Error::NotFound("no account data of this type"))
    }

    /// All account data of a user that was set after a position, global and of rooms, in no order.
    /// After [`Position::START`] that is all there is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn account_data_since(&self, user: &UserId, after: Position) -> Result<Vec<DataChange>, Error> {
        let store = &self.inner.store;
        let ascending = store::Order::Ascending;
        let global = store.scan(&tables::DATA, Range::prefix(user.as_str()), ascending, usize::MAX).await?;
        let of_rooms =
            store.scan(&tables::ROOM_DATA, Range::prefix(user.as_str()), ascending, usize::MAX).await?;
        let mut changes = Vec::new();
        for ((_, kind), Stamped { position, value }) in global {
            if position > after {
                changes.push(DataChange { room_id: None, kind, content: value, position });
            }
        }
        for ((_, room, kind), Stamped { position, value }) in of_rooms {
            if position > after
                && let Ok(room_id) = OwnedRoomId::try_from(room)
            {
                changes.push(DataChange { room_id: Some(room_id), kind, content: value, position });
            }
        }
        Ok(changes)
    }

    /// Moves a user's read marker in a room.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn set_fully_read(&self, user: &UserId, room: &RoomId, event: &EventId) -> Result<(), Error> {
        let content = serde_json::json!({ "event_id": event });
        let mut batch = Batch::new();
        put_of_room(&mut batch, user, room, FULLY_READ, Bytes::from(content.to_string()));
        self.commit(batch).await
    }

    /// The tags that a user gave a room.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn room_tags(&self, user: &UserId, room: &RoomId) -> Result<Tags, Error> {
        let row = self.find_tags(user, room).await?;
        Ok(parse_tags(row.as_ref()))
    }

    /// Tags a room.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn set_room_tag(
        &self,
        user: &UserId,
        room: &RoomId,
        tag: TagName,
        info: TagInfo,
    ) -> Result<(), Error> {
        self.change_tags(user, room, |tags| {
            tags.insert(tag.clone(), info.clone());
        })
        .await
    }

    /// Takes a tag off a room.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn remove_room_tag(&self, user: &UserId, room: &RoomId, tag: &TagName) -> Result<(), Error> {
        self.change_tags(user, room, |tags| {
            tags.remove(tag);
        })
        .await
    }

    /// Whom a user ignores. Clients may write anything into the list: what is no user id ignores nobody, and takes
    /// nothing from the rest.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>
    pub async fn ignored_users(&self, user: &UserId) -> Result<HashSet<OwnedUserId>, Error> {
        let row = self.inner.store.get(&tables::DATA, &(user.as_str(), "m.ignored_user_list")).await?;
        let content = row.and_then(|row| serde_json::from_slice::<Value>(&row.value).ok());
        let listed = content.as_ref().and_then(|content| content.get("ignored_users")?.as_object());
        let users = listed.into_iter().flat_map(|listed| listed.keys());
        Ok(users.filter_map(|user| OwnedUserId::try_from(user.as_str()).ok()).collect())
    }

    async fn find_tags(&self, user: &UserId, room: &RoomId) -> Result<Option<Stamped<Bytes>>, Error> {
        Ok(self.inner.store.get(&tables::ROOM_DATA, &(user.as_str(), room.as_str(), TAG)).await?)
    }

    async fn change_tags(
        &self,
        user: &UserId,
        room: &RoomId,
        change: impl Fn(&mut Tags),
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let old = self.find_tags(user, room).await?;
            let mut tags = parse_tags(old.as_ref());
            change(&mut tags);
            let content = serde_json::to_vec(&TagEventContent::new(tags))
                .map_err(|cause| Error::InvalidParam(cause.to_string()))?;

            let mut batch = Batch::new();
            batch.require(&tables::ROOM_DATA, &(user.as_str(), room.as_str(), TAG), old.as_ref());
            put_of_room(&mut batch, user, room, TAG, Bytes::from(content));
            match self.commit(batch).await {
                Err(Error::Contended) => {}
                done => return done,
            }
        }
        Err(Error::Contended)
    }
}

/// Clients may write anything into a room's tags; what is no tags counts as none.
fn parse_tags(row: Option<&Stamped<Bytes>>) -> Tags {
    row.and_then(|row| serde_json::from_slice::<TagEventContent>(&row.value).ok())
        .map(|content| content.tags)
        .unwrap_or_default()
}

/// Adds global account data and its log entry to a batch.
pub(crate) fn put_global(batch: &mut Batch, user: &UserId, kind: &str, content: Bytes) {
    let change = Change::AccountData { user_id: user.to_owned(), room_id: None, kind: kind.to_owned() };
    let slot = log_change(batch, &change, [Topic::user(user.as_str())]);
    batch.put_stamped(&tables::DATA, &(user.as_str(), kind), slot, &content);
}

fn put_of_room(batch: &mut Batch, user: &UserId, room: &RoomId, kind: &str, content: Bytes) {
    let change = Change::AccountData {
        user_id: user.to_owned(),
        room_id: Some(room.to_owned()),
        kind: kind.to_owned(),
    };
    let slot = log_change(batch, &change, [Topic::user(user.as_str())]);
    batch.put_stamped(&tables::ROOM_DATA, &(user.as_str(), room.as_str(), kind), slot, &content);
}

fn check_settable(kind: &str, content: &[u8]) -> Result<(), Error> {
    match kind {
        FULLY_READ => return Err(Error::Managed(FULLY_READ)),
        PUSH_RULES => return Err(Error::Managed(PUSH_RULES)),
        _ => {}
    }
    match content.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        _ => Err(Error::InvalidParam("account data is a JSON object".to_owned())),
    }
}
