//! The state of a room that is being entered: the serials of its keys, its snapshot, its projections.

use std::{collections::HashMap, sync::Arc};

use pdu::Pdu;
use room::{
    Error, RemoteError,
    attempts::Attempts,
    ids::{EventSerial, Root, StateKeySerial},
    read::{
        event::{Keep, StoredEvent},
        room::RoomInfo,
    },
    snapshot::{Change, in_tree_order},
    tables::{STATE_KEY_NAMES, STATE_KEYS, StateKeyName, Verdict},
};
use ruma::{EventId, OwnedEventId, ServerName};
use serde::Deserialize;
use store::Batch;

use super::{
    SLICE,
    permit::Permit,
    tables::{BROUGHT, BroughtRow},
};
use crate::{
    Engine,
    head::Guard,
    inbound::receive::deciding_names,
    pipeline::{LoadedState, Stage, find_in},
    projections::{self, Step},
    view::Fresh,
};

/// Events, or keys, that are read at a time.
const AT_ONCE: usize = 1_000;

/// A state as it was told, of events that are stored.
pub(crate) struct ToldState {
    /// Later ones over earlier ones, without rejected ones.
    entries: HashMap<StateKeyName, EventSerial>,
    /// Those that decide whether the state allows the join.
    pub(crate) deciding: Vec<(StateKeyName, Arc<StoredEvent>)>,
}

/// What is brought of a state, and what the join's own batch has to bring.
pub(crate) struct Rest {
    /// What the projections describe.
    projected: Root,
    /// The row that says so, where the room has no head.
    row: Option<BroughtRow>,
    /// How the told state differs from that.
    changes: Vec<(StateKeyName, Option<EventSerial>)>,
    /// Serials of the keys of these, as far as they have one.
    keys: Vec<(StateKeyName, StateKeySerial)>,
}

impl ToldState {
    /// The state must hold the create event of the room that was asked for, and allow the join that stands on it. Returns
    /// the join's auth events.
    ///
    /// # Errors
    /// [`Error::Remote`]: it is not a state for this join; [`Error::Forbidden`]: nor is any.
    pub(crate) fn check_join(
        &self,
        room: &RoomInfo,
        server: &ServerName,
        join: &Pdu,
    ) -> Result<Vec<EventSerial>, Error> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(default)]
            room_version: Option<String>,
        }
        let bad = |cause: String| Error::Remote(RemoteError::BadAnswer { server: server.to_owned(), cause });
        let is_create = |(name, _): &&(StateKeyName, Arc<StoredEvent>)| {
            name.kind == "m.room.create" && name.key.is_empty()
        };
        let (_, create) = (self.deciding.iter().find(is_create))
            .ok_or_else(|| bad("no create event in the state".to_owned()))?;
        let content = create.pdu().content_as::<Content>();
        let version = content.ok().and_then(|content| content.room_version);
        if version.as_deref().unwrap_or("1") != room.version.as_str() {
            return Err(bad("the create event names another room version".to_owned()));
        }
        let names = deciding_names(join).map_err(Error::Forbidden)?;
        let loaded: LoadedState = (self.deciding.iter())
            .filter(|(name, _)| names.contains(name))
            .map(|(name, event)| (name.clone(), event.pdu().clone()))
            .collect();
        pdu::check_auth(join, &|kind, key| find_in(&loaded, kind, key))
            .map_err(|failure| bad(format!("the state does not allow the join: {failure}")))?;
        let is_auth = |id: &EventId| join.auth_events().contains(id);
        let auth = self.deciding.iter().filter(|(_, event)| is_auth(event.event_id()));
        Ok(auth.map(|(_, event)| event.serial()).collect())
    }
}

impl Engine {
    /// The state that stored events make, and those of it that are wanted or have one of these names.
    pub(crate) async fn told_state(
        &self,
        room: &RoomInfo,
        ids: &[OwnedEventId],
        names: &[StateKeyName],
        wanted: &[OwnedEventId],
    ) -> Result<ToldState, Error> {
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        let mut entries: HashMap<StateKeyName, EventSerial> = HashMap::new();
        let mut deciding: HashMap<StateKeyName, Arc<StoredEvent>> = HashMap::new();
        // In parts: of all the events of a large state, only what is kept of them is in memory together.
        for part in ids.chunks(AT_ONCE) {
            let serials: Vec<_> = view.find_serials(part).await?.into_iter().flatten().collect();
            let keys: Vec<_> = serials.into_iter().map(|serial| (room.serial, serial)).collect();
            for event in self.rooms().find_events(&keys, Keep::Known).await?.into_iter().flatten() {
                let Some(key) = event.state_key().filter(|_| event.meta().verdict != Verdict::Rejected)
                else {
                    continue;
                };
                let name = StateKeyName { kind: event.kind().to_owned(), key: key.to_owned() };
                deciding.remove(&name);
                if names.contains(&name) || wanted.iter().any(|id| id == event.event_id()) {
                    deciding.insert(name.clone(), event.clone());
                }
                entries.insert(name, event.serial());
            }
        }
        Ok(ToldState { entries, deciding: deciding.into_iter().collect() })
    }

    /// Brings a state as far into the store as can be done before a join that stands on it: all of it but what waits for
    /// the join ([`projections::waits_for_join`]), in slices; nothing, where it is so little that the join's own batch
    /// holds it.
    ///
    /// # Errors
    /// [`Error::Contended`] when somebody else has written of the room: begin again.
    #[crate::boxed]
    pub(crate) async fn bring_state(
        &self,
        guard: &mut Guard,
        permit: &mut Permit,
        told: &ToldState,
    ) -> Result<Rest, Error> {
        let room = guard.room.clone();
        let row = match permit.is_unseen() {
            true => self.store().get(&BROUGHT, &room.serial).await?,
            false => None,
        };
        let projected = match permit.is_unseen() {
            true => row.map_or(Root::EMPTY, |row| row.projected),
            false => guard.head()?.current,
        };
        let mut brought = Rest { projected, row, changes: Vec::new(), keys: Vec::new() };
        let names: Vec<StateKeyName> = told.entries.keys().cloned().collect();
        if projected == Root::EMPTY && names.len() <= SLICE {
            brought.keys = self.known_keys(&room, &names).await?;
            brought.changes = told.entries.iter().map(|(name, event)| (name.clone(), Some(*event))).collect();
            return Ok(brought);
        }
        let keys = self.name_keys(&room, permit, names).await?;
        let differences = self.told_differences(&room, projected, told, keys).await?;
        let waits = |name: &StateKeyName| projections::waits_for_join(self.authorities(), name);
        let (waiting, mut beforehand): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(|(name, _)| waits(name));
        let mut rest = waiting;
        if beforehand.len() <= SLICE {
            rest.append(&mut beforehand);
        }
        let mut beforehand: Vec<Change> = beforehand.into_iter().map(|(_, change)| change).collect();
        // Whoever changes what lies together rewrites no chunk again and again.
        in_tree_order(&mut beforehand);
        for slice in beforehand.chunks(SLICE) {
            self.bring_slice(guard, permit, &mut brought, slice).await?;
        }
        brought.keys = rest.iter().map(|(name, (key, _))| (name.clone(), *key)).collect();
        brought.changes = rest.into_iter().map(|(name, (_, event))| (name, event)).collect();
        Ok(brought)
    }

    /// What takes a state of a room that has a head on to one that is told, in tree order. What is `known` of that stands
    /// over what was told.
    pub(crate) async fn changes_to_told(
        &self,
        room: &RoomInfo,
        from: Root,
        mut told: ToldState,
        known: Root,
    ) -> Result<Vec<Change>, Error> {
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        for part in self.snapshots().all(room.serial, known).await?.chunks(AT_ONCE) {
            let keys: Vec<StateKeySerial> = part.iter().map(|(key, _)| *key).collect();
            let names = view.key_names(&keys).await?;
            told.entries.extend(names.into_iter().zip(part.iter().map(|(_, event)| *event)));
        }
        let names: Vec<StateKeyName> = told.entries.keys().cloned().collect();
        let keys = self.name_keys(room, &mut Permit::in_room(), names).await?;
        let differences = self.told_differences(room, from, &told, keys).await?;
        let mut changes: Vec<Change> = differences.into_iter().map(|(_, change)| change).collect();
        in_tree_order(&mut changes);
        Ok(changes)
    }

    /// The snapshot of a told state of a room that has a head. Where many keys are new, they get their serials in slices.
    pub(crate) async fn snapshot_of_told(
        &self,
        room: &Arc<RoomInfo>,
        told: &ToldState,
    ) -> Result<Root, Error> {
        let names: Vec<StateKeyName> = told.entries.keys().cloned().collect();
        let keys = self.name_keys(room, &mut Permit::in_room(), names).await?;
        let changes: Vec<Change> =
            keys.into_iter().map(|(name, key)| (key, told.entries.get(&name).copied())).collect();
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, room, guard.live()?);
            let root = self.snapshots().apply(room.serial, Root::EMPTY, &changes, &mut stage.batch).await?;
            let landing = {
                let staged = stage.finish();
                guard.submit(self, staged, None)
            };
            drop(guard);
            if attempts.judge(self.rooms(), landing.await).await?.is_some() {
                return Ok(root);
            }
        }
    }

    /// How a told state differs from one that the room has: names with changes.
    async fn told_differences(
        &self,
        room: &RoomInfo,
        projected: Root,
        told: &ToldState,
        keys: Vec<(StateKeyName, StateKeySerial)>,
    ) -> Result<Vec<(StateKeyName, Change)>, Error> {
        let entries = self.snapshots().all(room.serial, projected).await?;
        let mut before: HashMap<StateKeySerial, EventSerial> = entries.into_iter().collect();
        let mut differences = Vec::new();
        for (name, key) in keys {
            let event = told.entries.get(&name).copied();
            if before.remove(&key) != event {
                differences.push((name, (key, event)));
            }
        }
        let gone: Vec<StateKeySerial> = before.into_keys().collect();
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        for part in gone.chunks(AT_ONCE) {
            let names = view.key_names(part).await?;
            differences.extend(names.into_iter().zip(part.iter().map(|key| (*key, None))));
        }
        Ok(differences)
    }

    /// Takes the snapshot and the projections some entries on, in one batch.
    async fn bring_slice(
        &self,
        guard: &mut Guard,
        permit: &mut Permit,
        brought: &mut Rest,
        slice: &[Change],
    ) -> Result<(), Error> {
        let room = guard.room.clone();
        let mut attempts = Attempts::default();
        loop {
            let mut stage = Stage::new(self, &room, guard.live()?);
            let snapshots = self.snapshots();
            let next = snapshots.apply(room.serial, brought.projected, slice, &mut stage.batch).await?;
            let changes = stage.view().changes_between(brought.projected, next).await?;
            projections::bring(&mut Step {
                others: &self.0.projections,
                room: &room,
                authorities: self.authorities(),
                batch: &mut stage.batch,
                slot: None,
                came_in: true,
                current: next,
                changes: &changes,
            });
            drop(changes);
            if !permit.is_unseen() {
                permit.demand(&mut stage.batch, &room);
                stage.head.current = next;
                stage.forget_state = true;
                let landing = {
                    let staged = stage.finish();
                    guard.submit(self, staged, None)
                };
                if attempts.judge(self.rooms(), landing.await).await?.is_none() {
                    return Err(Error::Contended);
                }
                brought.projected = next;
                return Ok(());
            }
            permit.demand(&mut stage.batch, &room);
            let slices = brought.row.map_or(0, |row| row.slices);
            let row = BroughtRow { projected: next, slices: slices + 1 };
            stage.batch.require(&BROUGHT, &room.serial, brought.row.as_ref());
            stage.batch.put(&BROUGHT, &room.serial, &row);
            // The stage holds the new chunks until it is known what has become of them.
            let batch = std::mem::take(&mut stage.batch);
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                (brought.projected, brought.row) = (next, Some(row));
                return Ok(());
            }
            self.renew(&room, permit).await?;
            if self.store().get(&BROUGHT, &room.serial).await? != brought.row || !permit.is_unseen() {
                return Err(Error::Contended);
            }
        }
    }

    /// The serials of state keys, given now to those that have none.
    async fn name_keys(
        &self,
        room: &RoomInfo,
        permit: &mut Permit,
        names: Vec<StateKeyName>,
    ) -> Result<Vec<(StateKeyName, StateKeySerial)>, Error> {
        let mut named = Vec::with_capacity(names.len());
        for part in names.chunks(SLICE) {
            let mut attempts = Attempts::default();
            loop {
                let known: HashMap<_, _> = self.known_keys(room, part).await?.into_iter().collect();
                let mut batch = Batch::new();
                let mut keys = Vec::with_capacity(part.len());
                for name in part {
                    let key = match known.get(name) {
                        Some(key) => *key,
                        None => {
                            let key = self.new_state_key_serial().await?;
                            batch.insert(
                                &STATE_KEYS,
                                &(room.serial, name.kind.as_str(), name.key.as_str()),
                                &key,
                            );
                            batch.put(&STATE_KEY_NAMES, &(room.serial, key), name);
                            key
                        }
                    };
                    keys.push((name.clone(), key));
                }
                if !batch.is_empty() {
                    permit.demand(&mut batch, room);
                    if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_none() {
                        self.renew(room, permit).await?;
                        continue;
                    }
                }
                named.extend(keys);
                break;
            }
        }
        Ok(named)
    }

    /// The serials of state keys that have one, as stored: what is remembered of them is of rooms whose keys stay.
    async fn known_keys(
        &self,
        room: &RoomInfo,
        names: &[StateKeyName],
    ) -> Result<Vec<(StateKeyName, StateKeySerial)>, Error> {
        let keys: Vec<_> =
            names.iter().map(|name| (room.serial, name.kind.as_str(), name.key.as_str())).collect();
        let found = self.store().get_many(&STATE_KEYS, &keys).await?;
        Ok(names.iter().zip(found).filter_map(|(name, key)| Some((name.clone(), key?))).collect())
    }
}

impl Stage<'_> {
    /// Stands on a state that was brought in for a join of this user; answers it.
    pub(crate) async fn stand_on_told(
        &mut self,
        permit: &Permit,
        rest: Rest,
        user: &StateKeyName,
    ) -> Result<Root, Error> {
        let Rest { projected, row, changes, keys } = rest;
        let room = self.room;
        // As they are stored, not as they are remembered; see `Engine::known_keys`.
        let own = self.engine.known_keys(room, std::slice::from_ref(user)).await?;
        keys.into_iter().chain(own).for_each(|(name, key)| self.fresh.add_key(name, key));
        let (names, events): (Vec<StateKeyName>, Vec<Option<EventSerial>>) = changes.into_iter().unzip();
        let keys = self.intern_all(&names).await?;
        let changes: Vec<Change> = keys.into_iter().zip(events).collect();
        let snapshots = self.engine.snapshots();
        let before = snapshots.apply(room.serial, projected, &changes, &mut self.batch).await?;
        self.projected = projected;
        self.stand_on(before);
        permit.end(&mut self.batch, room);
        if permit.is_unseen() {
            self.batch.require(&BROUGHT, &room.serial, row.as_ref());
            self.batch.delete(&BROUGHT, &room.serial);
        }
        Ok(before)
    }
}
