//! Looking up single pieces of state in snapshots, many at a time.

use std::{collections::HashMap, sync::Arc};

use quick_cache::sync::Cache;

use crate::{
    Error, EventSerial, RoomSerial, Rooms, Root, StateKeySerial, read::event::StoredEvent, tables::STATE_KEYS,
};

/// One piece of state of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateQuery<'a> {
    /// The room.
    pub(crate) room: RoomSerial,
    /// The snapshot.
    pub(crate) root: Root,
    /// Event type.
    pub(crate) kind: &'a str,
    /// State key.
    pub(crate) key: &'a str,
}

/// Serials of pairs of event type and state key; once given they never change.
#[derive(Debug)]
pub(crate) struct KeyCache(Cache<KeyName, StateKeySerial>);

type KeyName = (RoomSerial, Box<str>, Box<str>);

/// A key name that was not copied.
#[derive(Hash)]
struct KeyNameRef<'a>(RoomSerial, &'a str, &'a str);

impl quick_cache::Equivalent<KeyName> for KeyNameRef<'_> {
    fn equivalent(&self, (room, kind, key): &KeyName) -> bool {
        self.0 == *room && self.1 == &**kind && self.2 == &**key
    }
}

impl KeyCache {
    pub(crate) fn new(items: usize) -> Self {
        Self(Cache::new(items))
    }
}

impl Rooms {
    /// The serials of state keys, in the order of `names`; `None` for one that the room has never had.
    pub(crate) async fn state_keys(
        &self,
        names: &[(RoomSerial, &str, &str)],
    ) -> Result<Vec<Option<StateKeySerial>>, Error> {
        let cache = &self.reader().keys.0;
        let mut found: Vec<_> =
            names.iter().map(|(room, kind, key)| cache.get(&KeyNameRef(*room, kind, key))).collect();
        let missing: Vec<usize> =
            found.iter().enumerate().filter(|(_, serial)| serial.is_none()).map(|(index, _)| index).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let keys: Vec<_> = missing.iter().map(|index| names[*index]).collect();
        for (index, serial) in missing.into_iter().zip(self.store().get_many(&STATE_KEYS, &keys).await?) {
            if let Some(serial) = serial {
                let (room, kind, key) = names[index];
                cache.insert((room, kind.into(), key.into()), serial);
                found[index] = Some(serial);
            }
        }
        Ok(found)
    }

    /// Which events are these pieces of state, in the order of `queries`.
    pub(crate) async fn state_serials(
        &self,
        queries: &[StateQuery<'_>],
    ) -> Result<Vec<Option<EventSerial>>, Error> {
        let names: Vec<_> = queries.iter().map(|query| (query.room, query.kind, query.key)).collect();
        let keys = self.state_keys(&names).await?;
        let mut wanted = Vec::new();
        let mut places = HashMap::new();
        for (query, key) in queries.iter().zip(&keys) {
            if let Some(key) = key
                && query.root != Root::EMPTY
            {
                places.entry((query.room, query.root, *key)).or_insert_with(|| {
                    wanted.push((query.room, query.root, *key));
                    wanted.len() - 1
                });
            }
        }
        let found = self.snapshots().get_many(&wanted).await?;
        Ok(queries
            .iter()
            .zip(keys)
            .map(|(query, key)| found[*places.get(&(query.room, query.root, key?))?])
            .collect())
    }

    /// These pieces of state, in the order of `queries`.
    pub(crate) async fn state_events(
        &self,
        queries: &[StateQuery<'_>],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let serials = self.state_serials(queries).await?;
        let mut wanted = Vec::new();
        for (query, serial) in queries.iter().zip(&serials) {
            if let Some(serial) = serial {
                wanted.push((query.room, *serial));
            }
        }
        let mut events = self.load_events(&wanted).await?.into_iter();
        serials
            .into_iter()
            .map(|serial| match serial {
                None => Ok(None),
                Some(_) => match events.next().flatten() {
                    Some(event) => Ok(Some(event)),
                    None => Err(Error::Inconsistent("an event of a snapshot is not there")),
                },
            })
            .collect()
    }
}
