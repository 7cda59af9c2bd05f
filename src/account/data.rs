//! Account data: what clients keep with us for a user, for all rooms or for one.
//!
//! Every change writes the row and a log entry in one batch, so that the user's other devices hear
//! of it in `/sync`. Read markers, tags and push rules are account data with verbs of their own.
//!
//! How much a user may keep is bounded: in one piece, in one room, and in all. What is kept in all is counted in
//! the batch of each change; the push rules, which have a bound of their own, are not counted.

use std::collections::{BTreeMap, HashSet};

use base::Attempts;
use bytes::Bytes;
use ruma::{EventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, de::IgnoredAny};
use store::{Batch, CommitError, Key, Position, Range, Reads, Slot, Stamped, Store, Table, Topic};

use crate::{
    Accounts, Error, InviteRules,
    log::{Change, log_change},
    push_ruleset::PushRules,
    tables::{self, DataLogRow},
    users::refuse_closed,
};

/// Type of the read marker in a room's account data.
pub const FULLY_READ: &str = "m.fully_read";
/// Type of the push rules in the global account data.
pub const PUSH_RULES: &str = "m.push_rules";
/// Type of the list of ignored users in the global account data.
const IGNORED_USERS: &str = "m.ignored_user_list";
/// Types that end with the id of the device that they are about.
const OF_DEVICES: [&str; 2] =
    ["m.local_notification_settings.", "org.matrix.msc3890.local_notification_settings."];
/// Longest type, and largest content of one type, in bytes.
const MAX_TYPE_BYTES: usize = 255;
const MAX_CONTENT_BYTES: usize = 512 * 1024;
/// Most types of a user, and of a user in one room.
const MAX_TYPES: usize = 1_000;
const MAX_TYPES_OF_ROOM: usize = 100;
/// Most that a user keeps in all: pieces, and bytes of types and contents.
const MAX_ROWS: i64 = 20_000;
const MAX_BYTES: i64 = 32 << 20;
/// What the rows of [`tables::DATA_USE`] count.
pub(crate) const ROWS: u8 = 1;
const BYTES: u8 = 2;
pub(crate) const THREADS: u8 = 3;

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
    /// not an object, [`Error::TooLarge`] when it is too much, [`Error::Contended`], [`Error::Store`].
    pub async fn set_account_data(&self, user: &UserId, kind: &str, content: Bytes) -> Result<(), Error> {
        check_settable(kind, &content)?;
        self.change_data(user, None, kind, |_| Ok(content.clone())).await
    }

    /// Takes global account data away. The user's other clients are told that it is an empty object, as what is set to
    /// that is no more there either.
    ///
    /// # Errors
    /// As [`Accounts::set_account_data`]; nothing for what is not there.
    ///
    /// Source: <https://github.com/matrix-org/matrix-spec-proposals/pull/3391>
    pub async fn remove_account_data(&self, user: &UserId, kind: &str) -> Result<(), Error> {
        check_settable(kind, NOTHING)?;
        match self.account_data(user, kind).await {
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => self.change_data(user, None, kind, |_| Ok(Bytes::from_static(NOTHING))).await,
        }
    }

    /// Takes account data of a room away, as [`Accounts::remove_account_data`].
    ///
    /// # Errors
    /// As [`Accounts::remove_account_data`].
    pub async fn remove_room_account_data(
        &self,
        user: &UserId,
        room: &RoomId,
        kind: &str,
    ) -> Result<(), Error> {
        check_settable(kind, NOTHING)?;
        match self.room_account_data(user, room, kind).await {
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => self.change_data(user, Some(room), kind, |_| Ok(Bytes::from_static(NOTHING))).await,
        }
    }

    /// Global account data of a type.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn account_data(&self, user: &UserId, kind: &str) -> Result<Bytes, Error> {
        let row = self.inner.store.get(&tables::DATA, &(user.as_str(), kind)).await?;
        let content = row.map(|row| row.value).filter(|content| !is_nothing(content));
        let content = content.ok_or(Error::NotFound("no account data of this type"))?;
        Ok(as_told(user, kind, content))
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
        self.change_data(user, Some(room), kind, |_| Ok(content.clone())).await
    }

    /// Account data of a room, of a type.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn room_account_data(&self, user: &UserId, room: &RoomId, kind: &str) -> Result<Bytes, Error> {
        let key = (user.as_str(), room.as_str(), kind);
        let row = self.inner.store.get(&tables::ROOM_DATA, &key).await?;
        let content = row.map(|row| row.value).filter(|content| !is_nothing(content));
        content.ok_or(Error::NotFound("no account data of this type"))
    }

    /// All account data of a user that was set after a position, global and of rooms, in no order.
    /// After [`Position::START`] that is all there is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn account_data_since(&self, user: &UserId, after: Position) -> Result<Vec<DataChange>, Error> {
        if after != Position::START {
            return self.account_data_changed(user, after).await;
        }
        let store = &self.inner.store;
        let ascending = store::Order::Ascending;
        let global = store.scan(&tables::DATA, Range::prefix(user.as_str()), ascending, usize::MAX);
        let of_rooms = store.scan(&tables::ROOM_DATA, Range::prefix(user.as_str()), ascending, usize::MAX);
        let (global, of_rooms) = tokio::try_join!(global, of_rooms)?;
        let mut changes = Vec::new();
        for ((_, kind), Stamped { position, value }) in global {
            if !is_nothing(&value) {
                let content = as_told(user, &kind, value);
                changes.push(DataChange { room_id: None, kind, content, position });
            }
        }
        for ((_, room, kind), Stamped { position, value }) in of_rooms {
            if is_nothing(&value) {
                continue;
            }
            if let Ok(room_id) = OwnedRoomId::try_from(room) {
                changes.push(DataChange { room_id: Some(room_id), kind, content: value, position });
            }
        }
        Ok(changes)
    }

    /// The same by what was set since: as many reads as that is.
    async fn account_data_changed(&self, user: &UserId, after: Position) -> Result<Vec<DataChange>, Error> {
        let store = &self.inner.store;
        let since = Range::prefix(user.as_str()).after(&(user.as_str(), after));
        let set = store.scan(&tables::DATA_LOG, since, store::Order::Ascending, usize::MAX).await?;
        let (of_rooms, global): (Vec<_>, Vec<_>) =
            set.into_iter().map(|(_, row)| (row.room, row.kind)).partition(|(room, _)| room.is_some());
        let of_rooms: Vec<(String, String)> =
            of_rooms.into_iter().filter_map(|(room, kind)| Some((room?, kind))).collect();
        let room_keys: Vec<_> =
            of_rooms.iter().map(|(room, kind)| (user.as_str(), room.as_str(), kind.as_str())).collect();
        let keys: Vec<_> = global.iter().map(|(_, kind)| (user.as_str(), kind.as_str())).collect();
        let (rows, room_rows) = tokio::try_join!(
            store.get_many(&tables::DATA, &keys),
            store.get_many(&tables::ROOM_DATA, &room_keys)
        )?;
        let mut changes = Vec::with_capacity(rows.len() + room_rows.len());
        for ((_, kind), row) in global.into_iter().zip(rows) {
            if let Some(Stamped { position, value }) = row {
                let content = as_told(user, &kind, value);
                changes.push(DataChange { room_id: None, kind, content, position });
            }
        }
        for ((room, kind), row) in of_rooms.into_iter().zip(room_rows) {
            if let (Some(Stamped { position, value }), Ok(room_id)) = (row, OwnedRoomId::try_from(room)) {
                changes.push(DataChange { room_id: Some(room_id), kind, content: value, position });
            }
        }
        // What was set once more meanwhile may stand in the list twice.
        changes.sort_unstable_by_key(|change| change.position);
        changes.dedup_by_key(|change| change.position);
        Ok(changes)
    }

    /// Moves a user's read marker in a room.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    pub async fn set_fully_read(&self, user: &UserId, room: &RoomId, event: &EventId) -> Result<(), Error> {
        let content = Bytes::from(serde_json::json!({ "event_id": event }).to_string());
        self.change_data(user, Some(room), FULLY_READ, |_| Ok(content.clone())).await
    }

    /// Changes one piece of account data, of a room or of none. `change` gets the old content and may run several
    /// times.
    ///
    /// # Errors
    /// What `change` says; [`Error::TooLarge`] when the user would keep too much; [`Error::Deactivated`],
    /// [`Error::Contended`], [`Error::Store`].
    pub(crate) async fn change_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
        change: impl Fn(Option<&Bytes>) -> Result<Bytes, Error>,
    ) -> Result<(), Error> {
        let (store, user_id) = (&self.inner.store, user.as_str());
        let of_room = room.map(|room| (user_id, room.as_str(), kind));
        let mut attempts = Attempts::default();
        loop {
            let mut reads = Reads::new();
            let row = reads.get(&tables::USERS, user_id);
            let old = match &of_room {
                Some(key) => reads.get(&tables::ROOM_DATA, key),
                None => reads.get(&tables::DATA, &(user_id, kind)),
            };
            let mut found = store.read(reads).await?;
            let (row, old) = (found.take(row)?, found.take(old)?);
            refuse_closed(user, row.as_ref())?;
            let content = change(old.as_ref().map(|old| &old.value))?;
            let size = |content: &Bytes| kind.len() + content.len();
            let growth = Growth::new(old.as_ref().map(|old| size(&old.value)), size(&content));
            self.check_growth(user, room, kind, content.len(), &growth).await?;

            let mut batch = Batch::new();
            batch.require(&tables::USERS, user_id, row.as_ref());
            match (&of_room, room) {
                (Some(key), Some(room)) => {
                    batch.require(&tables::ROOM_DATA, key, old.as_ref());
                    put_of_room(&mut batch, user, room, kind, content, old.as_ref());
                }
                _ => {
                    batch.require(&tables::DATA, &(user_id, kind), old.as_ref());
                    put_global(&mut batch, user, kind, content, old.as_ref());
                }
            }
            batch.add(&tables::DATA_USE, &(user_id, ROWS), growth.rows);
            batch.add(&tables::DATA_USE, &(user_id, BYTES), growth.bytes);
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Refuses what would be too much. Less than before is never too much.
    async fn check_growth(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
        content_bytes: usize,
        growth: &Growth,
    ) -> Result<(), Error> {
        if growth.bytes <= 0 {
            return Ok(());
        }
        if kind.len() > MAX_TYPE_BYTES {
            return Err(Error::TooLarge("a type of account data has at most 255 bytes"));
        }
        if content_bytes > MAX_CONTENT_BYTES {
            return Err(Error::TooLarge("account data of one type has at most 512 KiB"));
        }
        let store = &self.inner.store;
        let keys = [(user.as_str(), ROWS), (user.as_str(), BYTES)];
        let used = store.get_many(&tables::DATA_USE, &keys).await?;
        let after = |index: usize, growth: i64| {
            let used = used.get(index).copied().flatten().map_or(0, |counter: store::Counter| counter.0);
            used.saturating_add(growth)
        };
        if after(0, growth.rows) > MAX_ROWS || after(1, growth.bytes) > MAX_BYTES {
            return Err(Error::TooLarge("a user keeps at most 20,000 pieces of account data, 32 MiB in all"));
        }
        if growth.rows <= 0 {
            return Ok(());
        }
        let ascending = store::Order::Ascending;
        let kinds = match room {
            Some(room) => {
                let range = Range::prefix(&(user.as_str(), room.as_str()));
                store.scan(&tables::ROOM_DATA, range, ascending, MAX_TYPES_OF_ROOM).await?.len()
            }
            None => {
                let range = Range::prefix(user.as_str());
                store.scan(&tables::DATA, range, ascending, MAX_TYPES).await?.len()
            }
        };
        match room {
            Some(_) if kinds >= MAX_TYPES_OF_ROOM => {
                Err(Error::TooLarge("a user keeps account data of at most 100 types for a room"))
            }
            None if kinds >= MAX_TYPES => {
                Err(Error::TooLarge("a user keeps account data of at most 1,000 types"))
            }
            _ => Ok(()),
        }
    }

    /// Adds to a batch that the settings go which a user's clients have kept for devices of his that end.
    ///
    /// Source: <https://github.com/matrix-org/matrix-spec-proposals/pull/3890>
    pub(crate) async fn remove_settings_of(
        &self,
        batch: &mut Batch,
        user: &UserId,
        devices: &[String],
    ) -> Result<(), Error> {
        let kinds: Vec<String> =
            devices.iter().flat_map(|device| OF_DEVICES.map(|prefix| format!("{prefix}{device}"))).collect();
        let keys: Vec<_> = kinds.iter().map(|kind| (user.as_str(), kind.as_str())).collect();
        let rows = self.inner.store.get_many(&tables::DATA, &keys).await?;
        for (key, row) in keys.iter().zip(rows) {
            let Some(old) = row.filter(|row| !is_nothing(&row.value)) else { continue };
            batch.require(&tables::DATA, key, Some(&old));
            put_global(batch, user, key.1, Bytes::from_static(NOTHING), Some(&old));
            let less = i64::try_from(old.value.len().saturating_sub(NOTHING.len())).unwrap_or(0);
            batch.add(&tables::DATA_USE, &(user.as_str(), BYTES), -less);
        }
        Ok(())
    }

    /// Whom a user ignores. Clients may write anything into the list: what is no user id ignores nobody, and takes
    /// nothing from the rest.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>
    pub async fn ignored_users(&self, user: &UserId) -> Result<HashSet<OwnedUserId>, Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Content {
            #[serde(deserialize_with = "pdu::lenient::map")]
            ignored_users: BTreeMap<OwnedUserId, IgnoredAny>,
        }
        let row = self.inner.store.get(&tables::DATA, &(user.as_str(), IGNORED_USERS)).await?;
        let content = row.and_then(|row| serde_json::from_slice::<Content>(&row.value).ok());
        // Who names himself would see nothing of what he says.
        Ok(content.unwrap_or_default().ignored_users.into_keys().filter(|ignored| ignored != user).collect())
    }

    /// Whose invites a user takes.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn invite_rules(&self, user: &UserId) -> Result<InviteRules, Error> {
        Ok(InviteRules::read(&self.inner.store, user).await?)
    }
}

/// What stands for account data that was taken away.
const NOTHING: &[u8] = b"{}";

/// Whether it was taken away, by whatever spelling of an empty object.
fn is_nothing(content: &[u8]) -> bool {
    let inside = content.trim_ascii().strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// Account data as clients are told it. Of the push rules those that are predefined are not as they were stored.
fn as_told(user: &UserId, kind: &str, content: Bytes) -> Bytes {
    match kind {
        PUSH_RULES => PushRules::read(&content, user).content(),
        _ => content,
    }
}

/// By how much more a user keeps.
struct Growth {
    rows: i64,
    bytes: i64,
}

impl Growth {
    fn new(old: Option<usize>, new: usize) -> Self {
        let bytes = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        Self { rows: i64::from(old.is_none()), bytes: bytes(new).saturating_sub(old.map_or(0, bytes)) }
    }
}

/// Whether global account data of this type decide of what its user is notified.
pub fn decides_what_notifies(kind: &str) -> bool {
    matches!(kind, PUSH_RULES | IGNORED_USERS)
}

/// Adds global account data and its log entry to a batch.
pub(crate) fn put_global(
    batch: &mut Batch,
    user: &UserId,
    kind: &str,
    content: Bytes,
    old: Option<&Stamped<Bytes>>,
) {
    let change = Change::AccountData { user_id: user.to_owned(), room_id: None, kind: kind.to_owned() };
    let slot = log_change(batch, &change, [Topic::account_data(user.as_str())]);
    batch.put_stamped(&tables::DATA, &(user.as_str(), kind), slot, &content);
    put_into_log(batch, user, None, kind, slot, old);
}

fn put_of_room(
    batch: &mut Batch,
    user: &UserId,
    room: &RoomId,
    kind: &str,
    content: Bytes,
    old: Option<&Stamped<Bytes>>,
) {
    let change = Change::AccountData {
        user_id: user.to_owned(),
        room_id: Some(room.to_owned()),
        kind: kind.to_owned(),
    };
    let slot = log_change(batch, &change, [Topic::account_data(user.as_str())]);
    batch.put_stamped(&tables::ROOM_DATA, &(user.as_str(), room.as_str(), kind), slot, &content);
    put_into_log(batch, user, Some(room), kind, slot, old);
}

fn put_into_log(
    batch: &mut Batch,
    user: &UserId,
    room: Option<&RoomId>,
    kind: &str,
    slot: Slot,
    old: Option<&Stamped<Bytes>>,
) {
    if let Some(old) = old {
        batch.delete(&tables::DATA_LOG, &(user.as_str(), old.position));
    }
    let row = DataLogRow { room: room.map(ToString::to_string), kind: kind.to_owned() };
    batch.append(&tables::DATA_LOG, user.as_str(), slot, &row);
}

/// Lists all account data by when it was set, in data that were written before that was done.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn list_data_by_position(store: &Store) -> Result<(), store::Error> {
    list(store, &tables::DATA, |(user, kind), position| {
        ((user.clone(), position), DataLogRow { room: None, kind: kind.clone() })
    })
    .await?;
    list(store, &tables::ROOM_DATA, |(user, room, kind), position| {
        ((user.clone(), position), DataLogRow { room: Some(room.clone()), kind: kind.clone() })
    })
    .await
}

/// Lists what is in a table. What is listed already is the same.
async fn list<K: Key + Clone>(
    store: &Store,
    table: &Table<K, Stamped<Bytes>>,
    listed: impl Fn(&K, Position) -> ((String, Position), DataLogRow),
) -> Result<(), store::Error> {
    // Their contents are read with them, and may be large.
    const ROWS: usize = 40;
    let mut range = Range::all();
    loop {
        let rows = store.scan(table, range.clone(), store::Order::Ascending, ROWS).await?;
        let Some((last, _)) = rows.last().cloned() else { return Ok(()) };
        let mut batch = Batch::new();
        for (key, row) in rows {
            // Another process may be done with this already, and serve: what it has changed since stands.
            batch.require(table, &key, Some(&row));
            let (key, row) = listed(&key, row.position);
            batch.put(&tables::DATA_LOG, &key, &row);
        }
        match store.commit(batch).await {
            Ok(_) => range = Range::all().after(&last),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into_error()),
        }
    }
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
