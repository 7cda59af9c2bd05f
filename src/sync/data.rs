//! Account data: what a user keeps with us, and whom he ignores.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use account::DataChange;
use base::{Cache, Caches};
use bytes::Bytes;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use store::{Moved, Position, Topic};

use crate::{Error, Syncs};

const PUSH_RULES: &str = "m.push_rules";

/// Account data to be sent: type and content.
pub(crate) type Items = Vec<(String, Bytes)>;

/// Account data that is new to a client.
#[derive(Debug, Default)]
pub(crate) struct NewData {
    /// Not of a room.
    pub(crate) global: Items,
    /// Of rooms.
    pub(crate) rooms: BTreeMap<OwnedRoomId, Items>,
}

/// Whom users ignore, with the position for which that is known.
#[derive(Debug)]
pub(crate) struct IgnoredCache(Cache<OwnedUserId, (Position, Arc<HashSet<OwnedUserId>>)>);

impl IgnoredCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |user: &OwnedUserId, (_, ignored): &(Position, Arc<HashSet<OwnedUserId>>)| {
            let table = ignored.capacity() * 8 / 7 * (size_of::<OwnedUserId>() + 1);
            let names = ignored.iter().map(|user| user.as_str().len()).sum::<usize>();
            user.as_str().len() + size_of::<HashSet<OwnedUserId>>() + 16 + table + names
        };
        Self(Cache::new(caches, "sync_ignored", bytes, owned))
    }
}

impl Syncs {
    /// Account data set after a position; all of it for a first sync, push rules of the beginning included.
    pub(crate) async fn new_data(&self, user: &UserId, since: Option<Position>) -> Result<NewData, Error> {
        let after = since.unwrap_or(Position::START);
        if since.is_some() && self.store().moved(Topic::account_data(user.as_str()), after) == Moved::No {
            return Ok(NewData::default());
        }
        let mut new = NewData::default();
        for DataChange { room_id, kind, content, .. } in
            self.accounts().account_data_since(user, after).await?
        {
            match room_id {
                None => new.global.push((kind, content)),
                Some(room) => new.rooms.entry(room).or_default().push((kind, content)),
            }
        }
        if since.is_none() && !new.global.iter().any(|(kind, _)| kind == PUSH_RULES) {
            let rules = self.accounts().push_rules(user).await?;
            let content = serde_json::json!({ "global": rules });
            new.global.push((PUSH_RULES.to_owned(), Bytes::from(content.to_string())));
        }
        Ok(new)
    }

    /// Whom a user ignores: nothing that they say is sent to him.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>
    pub(crate) async fn ignored(&self, user: &UserId) -> Result<Arc<HashSet<OwnedUserId>>, Error> {
        if let Some((as_of, ignored)) = self.ignored_cache().0.get(user)
            && self.store().moved(Topic::account_data(user.as_str()), as_of) == Moved::No
        {
            return Ok(ignored);
        }
        let as_of = self.store().head();
        let ignored = Arc::new(self.accounts().ignored_users(user).await?);
        self.ignored_cache().0.insert(user.to_owned(), (as_of, ignored.clone()));
        Ok(ignored)
    }
}
