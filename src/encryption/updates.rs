//! Changes of lists of devices, from server to server.
//!
//! Of a user other servers are told the last change; who has missed one before it sees that by the numbers, and asks for the
//! whole list. Here nothing is made of the change itself: those who share a room with its user are told, and what is kept of him
//! (`others`) goes in the same commit. So there is no list that could be out of date because a change before it was missed; the
//! next one who wants to know asks for all of it, as often as it takes until the other server answers.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use std::collections::{BTreeMap, BTreeSet};

use base::Attempts;
use room::RoomSerial;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde_json::{Value, json};
use store::{Batch, Order, Position, Range};

use crate::{
    Encryption, Error, Wanted,
    changes::Changed,
    tables::{CHANGES, ChangeRow},
};

/// A change of a user of ours.
#[derive(Clone, Debug)]
pub struct ListUpdate {
    /// Where it is.
    pub position: Position,
    /// Whose.
    pub user: OwnedUserId,
    /// The rooms in which it is told.
    pub rooms: Vec<RoomSerial>,
    devices: Vec<OwnedDeviceId>,
    cross_signing: bool,
    previous: Option<Position>,
}

/// An ephemeral unit that tells of a change: its type and content.
pub type Unit = (&'static str, Value);

impl Encryption {
    /// The last changes of users of ours after a position, in their order: of at most so many rows that are looked at. And up
    /// to where nothing was left out.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list_updates(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<ListUpdate>, Position), Error> {
        let store = &self.inner.store;
        // Before the read: what is behind it is found next time.
        let head = store.head();
        if after >= head {
            return Ok((Vec::new(), after));
        }
        let range = Range::all().after(&after).through(&head);
        let rows = store.scan(&CHANGES, range, Order::Ascending, limit).await?;
        let through = match rows.last() {
            Some((last, _)) if rows.len() >= limit => *last,
            _ => head,
        };
        let own = rows.into_iter().filter(|(_, row)| self.inner.rooms.is_local(&row.user));
        let update = |(position, row): (Position, ChangeRow)| ListUpdate {
            position,
            user: row.user,
            rooms: row.rooms.into_iter().map(RoomSerial).collect(),
            devices: row.devices,
            cross_signing: row.cross_signing,
            previous: row.previous,
        };
        Ok((own.map(update).collect(), through))
    }

    /// What other servers are told of changes, with the keys as they are now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn units_of(&self, updates: &[ListUpdate]) -> Result<Vec<(OwnedUserId, Unit)>, Error> {
        let wanted: Wanted = updates.iter().map(|update| (update.user.clone(), Vec::new())).collect();
        let mut known = BTreeMap::new();
        let wanted: Vec<_> = wanted.into_iter().collect();
        // Each has room in an answer of its own.
        for some in wanted.chunks(4) {
            known.extend(self.own_keys(None, &some.iter().cloned().collect()).await?);
        }
        let mut units = Vec::new();
        for update in updates {
            let ListUpdate { user, position, previous, devices, cross_signing, .. } = update;
            let Some(keys) = known.get(user) else { continue };
            for device in devices {
                let mut content = json!({
                    "user_id": user,
                    "device_id": device,
                    "stream_id": position.0,
                    "prev_id": previous.iter().map(|previous| previous.0).collect::<Vec<_>>(),
                });
                match keys.devices.get(device) {
                    Some(keys) => {
                        content["keys"] = json!(keys);
                        if let Some(name) = content["keys"]["unsigned"].get("device_display_name").cloned() {
                            content["device_display_name"] = name;
                        }
                    }
                    None => content["deleted"] = json!(true),
                }
                units.push((user.clone(), ("m.device_list_update", content)));
            }
            if *cross_signing {
                let mut content = json!({ "user_id": user });
                for (name, key) in [("master_key", &keys.master), ("self_signing_key", &keys.self_signing)] {
                    if let Some(key) = key {
                        content[name] = json!(key);
                    }
                }
                // The older name is all that some servers read.
                units.push((user.clone(), ("m.signing_key_update", content.clone())));
                units.push((user.clone(), ("org.matrix.signing_key_update", content)));
            }
        }
        Ok(units)
    }

    /// Another server says that devices or keys of users of its own changed: those who share a room with them are told. Who
    /// shares none with anybody here is nobody's business.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`], [`Error::Commit`]; then the other server is to say so again.
    pub async fn receive_updates(&self, users: BTreeSet<OwnedUserId>) -> Result<(), Error> {
        let lists = &self.inner.lists;
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            for user in &users {
                self.put_end_of_kept(&mut batch, user).await?;
                let rooms = lists.rooms_of_other(user).await?;
                if !rooms.is_empty() {
                    lists.put_change_in(&mut batch, user, Changed::default(), &rooms).await?;
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(drop),
            }
        }
    }
}
