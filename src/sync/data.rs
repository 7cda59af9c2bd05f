//! Account data: what a user keeps with us, whom he ignores, and which rooms he has said to be direct.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use account::DataChange;
use base::{Cache, Caches};
use bytes::Bytes;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::Deserialize;
use store::{Moved, Position, Topic, UpTo};

use crate::{Error, Syncs};

const PUSH_RULES: &str = "m.push_rules";
const IGNORED_USERS: &str = "m.ignored_user_list";
const DIRECT: &str = "m.direct";

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

impl NewData {
    /// Whether by these an event may notify the user that did not before, or none any more.
    pub(crate) fn moves_counts(&self) -> bool {
        self.global.iter().any(|(kind, _)| [PUSH_RULES, IGNORED_USERS].contains(&&**kind))
    }

    /// The rooms that his push rules name, if they are among these.
    pub(crate) fn rooms_of_rules(&self) -> HashSet<&str> {
        let rules = self.global.iter().filter(|(kind, _)| kind == PUSH_RULES);
        let texts = rules.filter_map(|(_, content)| std::str::from_utf8(content).ok());
        texts.flat_map(|text| text.split('"')).filter(|text| text.starts_with('!')).collect()
    }
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
        // Each answer to each of those who wait asks for theirs.
        Self(Cache::new(caches, "sync_ignored", bytes, owned).borrowing())
    }
}

/// Direct rooms of users.
#[derive(Debug)]
pub(crate) struct DirectsCache(Cache<OwnedUserId, Arc<Directs>>);

#[derive(Debug)]
struct Directs {
    up_to: UpTo,
    rooms: Arc<HashSet<OwnedRoomId>>,
}

impl DirectsCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |user: &OwnedUserId, directs: &Arc<Directs>| {
            let table = directs.rooms.capacity() * 8 / 7 * (size_of::<OwnedRoomId>() + 1);
            let names = directs.rooms.iter().map(|room| room.as_str().len()).sum::<usize>();
            let set = size_of::<HashSet<OwnedRoomId>>() + 32;
            user.as_str().len() + size_of::<Directs>() + set + table + names
        };
        Self(Cache::new(caches, "sync_directs", bytes, owned))
    }
}

/// One user's rooms: what is no list of them is none.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Rooms(#[serde(deserialize_with = "pdu::lenient::list")] Vec<OwnedRoomId>);

#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Content(#[serde(deserialize_with = "pdu::lenient::map")] BTreeMap<String, Rooms>);

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
            new.global.push((PUSH_RULES.to_owned(), rules.content()));
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

    /// The rooms that a user has said to be direct.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#direct-messaging>
    pub(crate) async fn directs(&self, user: &UserId) -> Result<Arc<HashSet<OwnedRoomId>>, Error> {
        if let Some(known) = self.directs_cache().0.get(user)
            && known.up_to.holds(self.store(), [Topic::account_data(user.as_str())])
        {
            return Ok(known.rooms.clone());
        }
        let up_to = UpTo::new(self.store().head());
        let content = match self.accounts().account_data(user, DIRECT).await {
            Ok(content) => serde_json::from_slice::<Content>(&content).unwrap_or_default(),
            Err(account::Error::NotFound(_)) => Content::default(),
            Err(error) => return Err(error.into()),
        };
        let rooms: HashSet<OwnedRoomId> = content.0.into_values().flat_map(|rooms| rooms.0).collect();
        let rooms = Arc::new(rooms);
        let directs = Directs { up_to, rooms: rooms.clone() };
        self.directs_cache().0.insert(user.to_owned(), Arc::new(directs));
        Ok(rooms)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_in_the_list_costs_nothing_else() {
        let text = r#"{"@a:x":["!a:x",5,"nonsense"],"@b:x":7,"c":["!b:x"]}"#;
        let content: Content = serde_json::from_str(text).unwrap();
        let rooms: Vec<String> =
            content.0.into_values().flat_map(|rooms| rooms.0).map(|room| room.to_string()).collect();
        assert!(rooms.contains(&"!a:x".to_owned()) && rooms.contains(&"!b:x".to_owned()), "{rooms:?}");
        for broken in ["5", "[]", "\"x\"", "null"] {
            let content: Content = serde_json::from_str(broken).unwrap_or_default();
            assert!(content.0.is_empty());
        }
    }
}
