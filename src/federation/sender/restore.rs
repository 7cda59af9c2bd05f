//! Going on where the last term ended: what peers were owed, and what was under way to them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use base::Timestamp;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use store::{Order, Position, Range};
use tracing::warn;

use super::{
    Inner,
    lane::Lane,
    transaction::Item,
    transaction::{Content, Transaction, build},
};
use crate::tables::{LAST_SENT, LastSentRow, OWED, SentRow};

impl Inner {
    /// Takes up what peers were owed and sent when the last term ended.
    pub(super) async fn restore(self: &Arc<Self>) -> Result<(), store::Error> {
        // By peer: one that was given up to make room must not come back with its next lane.
        let mut peers: BTreeMap<String, BTreeMap<String, Lane>> = BTreeMap::new();
        for ((from, to), rooms) in self.owed().await? {
            let lane = Lane::restored(rooms, self.term.cursor());
            peers.entry(to).or_default().insert(from, lane);
        }
        let rows = self.store.scan(&LAST_SENT, Range::all(), Order::Ascending, usize::MAX).await?;
        for ((from, to), row) in rows {
            let lane = peers.entry(to.clone()).or_default().entry(from.clone()).or_default();
            self.resume(lane, &from, &to, row).await?;
        }
        for (from, to) in self.to_device.due().await? {
            let lanes = peers.entry(to.to_string()).or_default();
            lanes.entry(from.to_string()).or_default().outbox.put_in();
        }
        for (to, lanes) in peers {
            let Some(to) = ServerName::parse(to).ok().filter(|to| self.client.may_contact(to)) else {
                continue;
            };
            let lanes: Vec<(OwnedServerName, Lane)> = lanes
                .into_iter()
                .filter_map(|(from, lane)| {
                    let from = ServerName::parse(from).ok()?;
                    self.client.authorities().is_ours(&from).then_some((from, lane))
                })
                .collect();
            if lanes.is_empty() {
                continue;
            }
            let is_behind = lanes.iter().any(|(_, lane)| lane.is_behind() || !lane.outbox.is_empty());
            let destination = self.with_destination(&to, |state| state.lanes.extend(lanes));
            // Who was served when the last term ended is served at once.
            if is_behind { self.serve_later(&destination) } else { self.serve(&destination) }
        }
        Ok(())
    }

    /// What peers that are behind are owed, by authority and peer.
    async fn owed(
        &self,
    ) -> Result<BTreeMap<(String, String), BTreeMap<OwnedRoomId, Position>>, store::Error> {
        let mut owed: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        let rows = self.store.scan(&OWED, Range::all(), Order::Ascending, usize::MAX).await?;
        for ((from, to, room), after) in rows {
            // Written by us from ids, so they read back as ids.
            if let Ok(room) = RoomId::parse(room) {
                owed.entry((from, to)).or_default().insert(room, after);
            }
        }
        Ok(owed)
    }

    /// Takes up what was sent last in a lane. A transaction of which something is gone (its room was purged) is not
    /// sent again; what is left of it is found in the log, or is owed.
    async fn resume(
        &self,
        lane: &mut Lane,
        from: &str,
        to: &str,
        row: LastSentRow,
    ) -> Result<(), store::Error> {
        let LastSentRow { through, under_way } = row;
        let Some(sent) = under_way else {
            lane.resume(through, None);
            return Ok(());
        };
        let first = sent.pdus.first().map_or(through, |(.., position)| *position);
        let before = Position(first.0.saturating_sub(1));
        let through_if_gone = if sent.room.is_some() { through } else { before.min(through) };
        match self.sent_again(from, to, sent).await {
            Ok(Some(again)) => lane.resume(through, Some(again)),
            Ok(None) => lane.resume(through_if_gone, None),
            Err(room::Error::Store(error)) => return Err(error),
            Err(error) => {
                warn!(%error, "what was sent last cannot be read");
                lane.resume(through_if_gone, None);
            }
        }
        Ok(())
    }

    /// A transaction as it was, with its events. What the peer may not see any more, or not whole, it is not sent
    /// again either; the transaction has another id then, for one with this id it may have already.
    async fn sent_again(
        &self,
        from: &str,
        to: &str,
        sent: SentRow,
    ) -> Result<Option<(Arc<Transaction>, Vec<Item>)>, room::Error> {
        let (Ok(from), Ok(to)) = (ServerName::parse(from), ServerName::parse(to)) else { return Ok(None) };
        let keys: Vec<_> = sent.pdus.iter().map(|(room, event, _)| (*room, *event)).collect();
        let found = self.rooms.load_events(&keys).await?;
        let Some(mut events) = found.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let room = sent.room.as_deref().and_then(|room| RoomId::parse(room).ok());
        if let (Some(_), Some((serial, _))) = (&room, keys.first()) {
            events = self.permitted(&to, *serial, events).await?;
        }
        let positions: HashMap<_, _> =
            sent.pdus.iter().map(|(_, event, position)| (*event, *position)).collect();
        let items = events.into_iter().filter_map(|event| {
            let position = *positions.get(&event.serial())?;
            Some(Item { position, room_id: event.room_id().to_owned(), event })
        });
        let items: Vec<Item> = items.collect();
        if items.is_empty() {
            return Ok(None);
        }
        let pdus: Vec<&Item> = items.iter().collect();
        let content =
            Content { origin: &from, room: room.as_ref(), pdus: &pdus, edus: &sent.edus, units: &[] };
        Ok(Some((Arc::new(build(&content, Timestamp(sent.ts))), items)))
    }
}
