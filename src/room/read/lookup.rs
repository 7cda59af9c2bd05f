//! Looking up single pieces of state in snapshots, many at a time.

use std::{collections::HashMap, sync::Arc};

use base::{Cache, Caches};

use crate::{
    Error, EventSerial, RoomSerial, Rooms, Root, StateKeySerial, read::event::StoredEvent, snapshot::Query,
    tables::STATE_KEYS,
};

/// One piece of state of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct StateQuery<'a> {
    /// The room.
    pub room: RoomSerial,
    /// The snapshot.
    pub root: Root,
    /// Event type.
    pub kind: &'a str,
    /// State key.
    pub key: &'a str,
}

/// Serials of pairs of event type and state key; once given they never change.
#[derive(Debug)]
pub(crate) struct KeyCache(Cache<KeyName, StateKeySerial>);

type KeyName = (RoomSerial, Box<str>, Box<str>);

/// A key name that was not copied.
#[derive(Hash)]
struct KeyNameRef<'a>(RoomSerial, &'a str, &'a str);

impl base::cache::Equivalent<KeyName> for KeyNameRef<'_> {
    fn equivalent(&self, (room, kind, key): &KeyName) -> bool {
        self.0 == *room && self.1 == &**kind && self.2 == &**key
    }
}

impl KeyCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |(_, kind, key): &KeyName, _: &StateKeySerial| kind.len() + key.len();
        Self(Cache::new(caches, "room_state_keys", bytes, owned))
    }
}

impl Rooms {
    /// The serials of state keys, in the order of `names`; `None` for one that the room has never had.
    ///
    /// Of rooms that have a head, or get one with what is made of the answer: of others they may go, and those given
    /// later would be others.
    pub async fn state_keys(
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
    pub async fn state_serials(&self, queries: &[StateQuery<'_>]) -> Result<Vec<Option<EventSerial>>, Error> {
        // An empty state holds nothing, and of a room that has no other one no keys are remembered.
        let has_state = |query: &StateQuery<'_>| query.root != Root::EMPTY;
        let asked = queries.iter().filter(|query| has_state(query));
        let names: Vec<_> = asked.map(|query| (query.room, query.kind, query.key)).collect();
        let mut keys = self.state_keys(&names).await?.into_iter();
        let keys = queries.iter().map(|query| if has_state(query) { keys.next().flatten() } else { None });
        // One visit to each snapshot.
        let mut visits: Vec<(RoomSerial, Root, Vec<StateKeySerial>)> = Vec::new();
        let mut visit_of: HashMap<(RoomSerial, Root), usize> = HashMap::new();
        let places: Vec<Option<(usize, usize)>> = queries
            .iter()
            .zip(keys)
            .map(|(query, key)| {
                let key = key?;
                let visit = *visit_of.entry((query.room, query.root)).or_insert_with(|| {
                    visits.push((query.room, query.root, Vec::new()));
                    visits.len() - 1
                });
                visits[visit].2.push(key);
                Some((visit, visits[visit].2.len() - 1))
            })
            .collect();
        let wanted: Vec<_> =
            visits.iter().map(|(room, root, keys)| Query { room: *room, root: *root, keys }).collect();
        let found = self.snapshots().get_many(&wanted).await?;
        Ok(places.into_iter().map(|place| place.and_then(|(visit, key)| found[visit][key])).collect())
    }

    /// These pieces of state, in the order of `queries`.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn state_events(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_keys_are_charged_what_they_take() {
        let (cache, in_use) = meter::kept(|| {
            let cache = KeyCache::new(&Caches::new(), 1 << 22);
            for n in 0..2_000 {
                let key = format!("@shokuin{n}:kanazawa.example.jp");
                cache.0.insert((RoomSerial(n), "m.room.member".into(), key.into()), StateKeySerial(n));
            }
            cache
        });
        meter::assert_charged("state keys", cache.0.bytes(), in_use);
    }
}
