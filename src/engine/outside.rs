//! Engine that we are not in: what users of ours are invited to, or knock at.
//!
//! Nothing of such a room has its place in a graph of ours. That a user is invited, or knocks, lives in
//! [`MEMBERSHIPS`], what he is told of the room in [`INVITES`], until he comes in or it ends; and who
//! knows the room, in [`HELPERS`].

use std::{sync::Arc, time::Duration};

use pdu::Pdu;
use room::{
    Error,
    attempts::Attempts,
    log::{Entry, MembershipEntry},
    read::{
        event::StoredEvent,
        room::{RoomInfo, bind},
    },
    tables::{EVENT_IDS, EventPlace, INVITES, InviteRow, MEMBERSHIPS, Membership, MembershipRow, Verdict},
};
use ruma::{OwnedServerName, ServerName, UserId};
use store::{Batch, Order, Range, Topic};

use crate::{
    Engine,
    tables::{FAREWELLS, FarewellRow, HELPERS, HelperRow, WITHDRAWALS},
    view::Fresh,
    withdrawals::Kept,
};

/// So many servers are remembered for a room.
const MAX_HELPERS: usize = 8;
/// How long another server may take to answer what is asked beside something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a user is invited, and had not knocked: then the inviter is the only one that we know of.
pub(crate) fn is_plain_invite(row: &MembershipRow) -> bool {
    row.membership == Membership::Invite && row.previous != Some(Membership::Knock)
}

/// A user's out-of-room membership that is to be written.
pub(crate) struct OutsideChange<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) membership: Membership,
    pub(crate) sender: &'a UserId,
    pub(crate) event: Option<&'a Pdu>,
    /// What to keep for the user; nothing: what was kept goes.
    pub(crate) kept: Option<InviteRow>,
    /// A server that knows the room.
    pub(crate) helper: Option<&'a ServerName>,
    /// A leave that nobody in the room knows of yet.
    pub(crate) farewell: Option<FarewellRow>,
}

/// What is under way about rooms that we are not in.
#[derive(Default)]
pub(crate) struct Outside {
    /// A leave waits to be told.
    pub(crate) bidden: tokio::sync::Notify,
    /// A withdrawal waits to be confirmed.
    pub(crate) withdrawn: tokio::sync::Notify,
    /// A join or knock was sent, or came to nothing.
    pub(crate) half_way: tokio::sync::Notify,
    /// Whose withdrawals wait.
    pub(crate) kept: Kept,
}

impl Engine {
    /// Takes an event of a room that we are not in: only one that ends the invite or knock of a user of
    /// ours means anything to us.
    pub(crate) async fn receive_from_outside(
        &self,
        origin: &ServerName,
        room: &Arc<RoomInfo>,
        pdu: Pdu,
    ) -> Result<(), Error> {
        let refused = || Error::NoRoom(room.room_id.clone());
        let Some((user, membership)) = crate::pipeline::member_change(&pdu) else { return Err(refused()) };
        let waits = self.store().get(&INVITES, &(room.serial, user.as_str())).await?.is_some();
        let ends = matches!(membership, Membership::Leave | Membership::Ban);
        if !waits || !ends || !self.is_local(&user) || pdu.sender().server_name() != origin {
            return Err(refused());
        }
        let event = self.verify_all(vec![pdu]).await?.pop().flatten().ok_or_else(refused)?;
        let outside = self.store().get(&MEMBERSHIPS, &(user.as_str(), room.serial)).await?;
        // Of the inviter we know that he has the power for that; of nobody who ends a knock.
        let invite = outside.map(|row| row.value).filter(is_plain_invite);
        if invite.as_ref().is_some_and(|invite| invite.sender == *event.pdu().sender()) {
            return self.end_outside(room, &user, membership, event.pdu()).await;
        }
        self.keep_withdrawal(room, &user, event.pdu(), invite.is_some()).await
    }

    /// Whether a user of ours is invited by another server than this one. The first invite stands until its
    /// server, or the user, ends it: a later one may come from somebody who is not in the room at all.
    pub(crate) async fn is_invited_by_another(
        &self,
        origin: &ServerName,
        room: &RoomInfo,
        user: &UserId,
    ) -> Result<bool, Error> {
        let row = self.store().get(&MEMBERSHIPS, &(user.as_str(), room.serial)).await?;
        Ok(row.is_some_and(|row| {
            row.value.membership == Membership::Invite && row.value.sender.server_name() != origin
        }))
    }

    /// Remembers a server that says it knows a room that we are not in.
    pub(crate) async fn keep_helper(&self, room: &RoomInfo, helper: &ServerName) -> Result<(), Error> {
        let mut batch = Batch::new();
        self.note_helper(&mut batch, room, helper).await?;
        self.store().commit(batch).await.map_err(Error::Commit)?;
        Ok(())
    }

    /// Writes that an invite or knock of a user of ours was ended by somebody else.
    pub(crate) async fn end_outside(
        &self,
        room: &Arc<RoomInfo>,
        user: &UserId,
        membership: Membership,
        event: &Pdu,
    ) -> Result<(), Error> {
        let change = OutsideChange {
            user,
            membership,
            sender: event.sender(),
            event: Some(event),
            kept: None,
            helper: None,
            farewell: None,
        };
        self.write_outside(room, change).await
    }

    /// Writes the membership of a user of ours in a room that we are not in.
    pub(crate) async fn write_outside(
        &self,
        room: &Arc<RoomInfo>,
        change: OutsideChange<'_>,
    ) -> Result<(), Error> {
        let key = (change.user.as_str(), room.serial);
        let mut attempts = Attempts::default();
        loop {
            let old = self.store().get(&MEMBERSHIPS, &key).await?;
            if old.as_ref().is_some_and(|old| old.value.membership == Membership::Join)
                && self.rooms().is_resident(room).await?
            {
                // He has come in meanwhile, and the room itself says what he is in it.
                return Ok(());
            }
            let mut batch = Batch::new();
            let serial = match change.event {
                None => None,
                Some(pdu) => Some(self.keep_outside(&mut batch, room, pdu).await?.serial()),
            };
            let row = MembershipRow {
                room_id: room.room_id.clone(),
                membership: change.membership,
                previous: old.as_ref().map(|old| old.value.membership),
                event: serial,
                sender: change.sender.to_owned(),
                forgotten: false,
                current: room::Root::EMPTY,
            };
            let entry = Entry::Membership(MembershipEntry {
                room: room.serial,
                room_id: room.room_id.clone(),
                user_id: change.user.to_owned(),
                membership: change.membership,
            });
            let (kind, payload) = entry.encode();
            let slot = batch.log(kind, payload, [Topic::memberships(change.user.as_str())]);
            // The room is neither purged meanwhile nor of another version.
            bind(&mut batch, room);
            batch.require(&MEMBERSHIPS, &key, old.as_ref());
            batch.put_stamped(&MEMBERSHIPS, &key, slot, &row);
            let kept_key = (room.serial, change.user.as_str());
            match &change.kept {
                Some(kept) => batch.put(&INVITES, &kept_key, kept),
                None => batch.delete(&INVITES, &kept_key),
            }
            match &change.farewell {
                Some(farewell) => batch.put(&FAREWELLS, &kept_key, farewell),
                None => batch.delete(&FAREWELLS, &kept_key),
            }
            batch.delete(&WITHDRAWALS, &kept_key);
            if let Some(helper) = change.helper {
                self.note_helper(&mut batch, room, helper).await?;
            }
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                self.0.outside.kept.forget(room.serial, change.user.as_str());
                return Ok(());
            }
        }
    }

    /// Notes whom to ask about a room that we are not in; of many, the latest.
    async fn note_helper(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        helper: &ServerName,
    ) -> Result<(), Error> {
        let range = Range::prefix(&room.serial);
        let mut known = self.store().scan(&HELPERS, range, Order::Ascending, 2 * MAX_HELPERS).await?;
        known.retain(|((_, server), _)| server != helper.as_str());
        known.sort_by_key(|(_, row)| row.at);
        for ((_, server), _) in known.iter().take((known.len() + 1).saturating_sub(MAX_HELPERS)) {
            batch.delete(&HELPERS, &(room.serial, server.as_str()));
        }
        batch.put(&HELPERS, &(room.serial, helper.as_str()), &HelperRow { at: self.now() });
        Ok(())
    }

    /// The servers that are known to know a room that we are not in, the latest first.
    pub(crate) async fn helpers_of(&self, room: &RoomInfo) -> Result<Vec<OwnedServerName>, Error> {
        let range = Range::prefix(&room.serial);
        let mut rows = self.store().scan(&HELPERS, range, Order::Ascending, 2 * MAX_HELPERS).await?;
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.at));
        Ok(rows.into_iter().filter_map(|((_, server), _)| OwnedServerName::try_from(server).ok()).collect())
    }

    /// The stored form of a member event from outside, added to the batch if it is not there yet.
    async fn keep_outside(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        pdu: &Pdu,
    ) -> Result<Arc<StoredEvent>, Error> {
        let nothing = Fresh::default();
        let view = self.stored_view(room, &nothing);
        if let Some(known) = view.events_by_id(&[pdu.event_id().to_owned()]).await?.pop().flatten() {
            // What is left of a join goes, but for what is named.
            let place = EventPlace { room: room.serial, event: known.serial() };
            batch.require(&EVENT_IDS, pdu.event_id().as_str(), Some(&place));
            return Ok(known);
        }
        self.stage_outlier(batch, room, pdu, Verdict::Outlier, Vec::new()).await
    }
}
