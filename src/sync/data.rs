//! Account data: what a user keeps with us, and whom he ignores.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use account::DataChange;
use base::{Cache, Caches};
use bytes::Bytes;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use store::{Moved, Position, Topic, UpTo};

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

/// Whom users ignore.
#[derive(Debug)]
pub(crate) struct IgnoredCache(Cache<OwnedUserId, Arc<Ignored>>);

#[derive(Debug)]
struct Ignored {
    up_to: UpTo,
    users: Arc<HashSet<OwnedUserId>>,
}

impl IgnoredCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |user: &OwnedUserId, ignored: &Arc<Ignored>| {
            let table = ignored.users.capacity() * 8 / 7 * (size_of::<OwnedUserId>() + 1);
            let names = ignored.users.iter().map(|user| user.as_str().len()).sum::<usize>();
            user.as_str().len()
                + size_of::<Ignored>()
                + size_of::<HashSet<OwnedUserId>>()
                + 32
                + table
                + names
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
            let content = serde_json::json!({ "global": account::rules_as_told(&rules) });
            new.global.push((PUSH_RULES.to_owned(), Bytes::from(content.to_string())));
        }
        Ok(new)
    }

    /// Whom a user ignores: nothing that they say is sent to him.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>
    pub(crate) async fn ignored(&self, user: &UserId) -> Result<Arc<HashSet<OwnedUserId>>, Error> {
        if let Some(known) = self.ignored_cache().0.get(user)
            && known.up_to.holds(self.store(), [Topic::account_data(user.as_str())])
        {
            return Ok(known.users.clone());
        }
        let up_to = UpTo::new(self.store().head());
        let users = Arc::new(self.accounts().ignored_users(user).await?);
        let ignored = Ignored { up_to, users: users.clone() };
        self.ignored_cache().0.insert(user.to_owned(), Arc::new(ignored));
        Ok(users)
    }
}
