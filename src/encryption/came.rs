//! Users of ours who come into rooms, for whoever tells other servers of their devices.
//!
//! A server that shared no room with somebody was told nothing of his devices until now. So with each such event a row is
//! written, in its own batch; what is made of it (which servers, which devices) is found when it is read, and then it goes.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use std::{collections::BTreeMap, sync::Arc};

use engine::{Brought, Projection, Rows, Shown};
use pdu::Authorities;
use room::{RoomSerial, tables::Membership};
use ruma::{OwnedUserId, UserId};
use serde_json::json;
use store::{Batch, Order, Position, Range};

use crate::{
    Encryption, Error, Unit, Wanted, lists_moved,
    tables::{CAME, CameRow},
};

/// Devices of one user that servers are told of when he comes: who is told of one asks for all.
const MOST_TOLD: usize = 20;

/// Rows that are taken away at a time.
const GO_AT_ONCE: usize = 500;

/// Somebody of ours who came into a room.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// By the event at this position.
    pub position: Position,
    /// Who.
    pub user: OwnedUserId,
    /// Where.
    pub room: RoomSerial,
}

/// Notes who comes into rooms, in the batches of the events: for `Engine::open`.
pub fn arrivals(authorities: Arc<Authorities>) -> Arc<dyn Projection> {
    Arc::new(Arrivals(authorities))
}

struct Arrivals(Arc<Authorities>);

impl Projection for Arrivals {
    fn show(&self, shown: &Shown<'_>, rows: &mut Rows<'_>) {
        let event = shown.event;
        if event.membership() != Some(Membership::Join) || !shown.is_news() {
            return;
        }
        let Some(user) = event.state_key().and_then(|user| UserId::parse(user).ok()) else { return };
        if !self.0.is_ours(user.server_name()) {
            return;
        }
        // Whoever was in the room has another name now.
        let own = shown.changes.iter().find(|change| {
            change.name.kind == "m.room.member" && change.name.key == user.as_str() && change.new.is_some()
        });
        let was_in = |change: &engine::StateChange| {
            let old = change.old.as_ref().and_then(|old| old.membership());
            !shown.came_in && old == Some(Membership::Join)
        };
        if own.is_some_and(|change| !was_in(change)) {
            rows.append(&CAME, &(), &CameRow { user, room: shown.room.serial });
            rows.touch(lists_moved());
        }
    }

    fn bring(&self, _brought: &Brought<'_>, _rows: &mut Rows<'_>) {}
}

impl Encryption {
    /// Users of ours who came into rooms in which it is told whose devices changed, after a position and in order: of at most
    /// so many rows that are looked at. And up to where nobody was left out.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Room`].
    pub async fn arrivals(&self, after: Position, limit: usize) -> Result<(Vec<Arrival>, Position), Error> {
        let store = &self.inner.store;
        // Before the read: what is behind it is found next time.
        let head = store.head();
        if after >= head {
            return Ok((Vec::new(), after));
        }
        let range = Range::all().after(&after).through(&head);
        let rows = store.scan(&CAME, range, Order::Ascending, limit).await?;
        let through = match rows.last() {
            Some((last, _)) if rows.len() >= limit => *last,
            _ => head,
        };
        let told = self.inner.lists.told(rows.iter().map(|(_, row)| row.room)).await?;
        let arrival = |(position, CameRow { user, room }): (Position, CameRow)| {
            told.contains(&room).then_some(Arrival { position, user, room })
        };
        Ok((rows.into_iter().filter_map(arrival).collect(), through))
    }

    /// What other servers are told of the devices of those who came, as they are now. Each is told of once.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Account`].
    pub async fn units_of_arrivals(&self, arrivals: &[Arrival]) -> Result<Vec<(OwnedUserId, Unit)>, Error> {
        let last: BTreeMap<&OwnedUserId, Position> =
            arrivals.iter().map(|arrival| (&arrival.user, arrival.position)).collect();
        let mut units = Vec::new();
        for (user, position) in last {
            let wanted = Wanted::from([(user.clone(), Vec::new())]);
            let keys = self.own_keys(None, &wanted).await?.remove(user).unwrap_or_default();
            let previous = self.list_number(user).await?;
            // Also those without keys: that there are none is what others find when they ask.
            for device in self.inner.accounts.devices(user).await?.into_iter().take(MOST_TOLD) {
                let mut content = json!({
                    "user_id": user,
                    "device_id": device.device_id,
                    "stream_id": position.0,
                    "prev_id": Some(previous).filter(|previous| *previous > 0).into_iter().collect::<Vec<_>>(),
                });
                if let Some(keys) = keys.devices.get(&device.device_id) {
                    content["keys"] = json!(keys);
                }
                if let Some(name) = device.display_name.filter(|_| self.inner.tells_names) {
                    content["device_display_name"] = json!(name);
                }
                units.push((user.clone(), ("m.device_list_update", content)));
            }
        }
        Ok(units)
    }

    /// Adds to a batch that of those who came up to a position, everybody was told who has to be.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn put_arrivals_told(&self, batch: &mut Batch, through: Position) -> Result<(), Error> {
        let range = Range::all().through(&through);
        for (position, _) in self.inner.store.scan(&CAME, range, Order::Ascending, GO_AT_ONCE).await? {
            batch.delete(&CAME, &position);
        }
        Ok(())
    }
}
