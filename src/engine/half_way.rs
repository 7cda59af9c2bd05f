//! Joins and knocks that another server may have taken, and that came to no end here.
//!
//! Whoever takes a join has our user in the room from then on; and its answer may be lost, be of no use to us, or find
//! us dead. So a row is written before a join or knock is sent, [`HALF_WAY`], and goes with the commit that makes it
//! ours. Where that does not come, the servers that it was sent to are told that the user leaves: after a while in which
//! he may try again, and only where what we sent is what he is in the room by. A server that never got it still has him
//! invited, and shall.
//!
//! Who tells claims the row before. From then on no join that it was written for gets in here, however long that
//! took, in whichever process; and a new one waits until they have been told.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use pdu::Pdu;
use room::{
    Error, RemoteError, RoomSerial,
    attempts::Attempts,
    read::room::RoomInfo,
    tables::{MEMBERSHIPS, Membership},
};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use store::{Batch, CommitError, Order, Range};
use tracing::info;

use crate::{
    Engine,
    farewells::{LONGEST_PAUSE, ROUND, pause},
    outside::PATIENCE,
    pipeline::member_change,
    tables::{HALF_WAY, HalfWay, HalfWayRow, Sent},
};

/// After so long nothing is under way any more, or it is given up.
const UNDER_WAY: Duration = Duration::from_secs(10 * 60);
/// For how long it is tried to tell.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest that it takes to tell all servers of one row. They are told one after the other; whoever is not reached
/// by then is told the next time.
const TELLING: Duration = Duration::from_secs(60);
/// So often a join that waits for that looks whether it is over.
const LOOK: Duration = Duration::from_secs(1);
/// So much that was sent is remembered, the latest.
const MOST_SENT: usize = 8;
/// So often a server says that it has not taken what was sent before it is believed: it may be at it still.
const SAYINGS: u32 = 3;

impl HalfWayRow {
    /// Whether servers are being told that it is void; by a calendar that may have been set back.
    fn is_being_told(&self, now: Timestamp) -> bool {
        self.telling_until > now.millis() && self.telling_until <= (now + TELLING).millis()
    }
}

/// Whether a server has surely not taken what it was sent.
fn is_refusal(error: &RemoteError) -> bool {
    match error {
        RemoteError::Refused { status, .. } => (400..500).contains(status) && !matches!(status, 408 | 429),
        RemoteError::Off => true,
        RemoteError::Unreachable { .. } | RemoteError::BadAnswer { .. } => false,
    }
}

impl Engine {
    /// Waits while servers are being told that an earlier join (or knock) is void: a later one must come behind that.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn wait_for_telling(&self, room: &RoomInfo, user: &UserId) -> Result<(), Error> {
        let began = self.0.clock.instant();
        while self.0.clock.instant().since(began) < TELLING + LOOK {
            let row = self.store().get(&HALF_WAY, &(room.serial, user.as_str())).await?;
            if !row.is_some_and(|row| row.is_being_told(self.0.clock.now())) {
                break;
            }
            self.0.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    /// Writes that a join (or knock) is sent to a server, before it is.
    ///
    /// # Errors
    /// [`Error::Busy`] when servers are just told that an earlier one is void; [`Error::Store`], [`Error::Commit`].
    pub(crate) async fn note_half_way(
        &self,
        room: &RoomInfo,
        server: &ServerName,
        event: &Pdu,
        half_way: &mut HalfWay,
    ) -> Result<(), Error> {
        let key = (room.serial, event.state_key().unwrap_or_default());
        let is_knock = member_change(event).is_some_and(|(_, membership)| membership == Membership::Knock);
        let mut attempts = Attempts::default();
        loop {
            let old = self.store().get(&HALF_WAY, &key).await?;
            let now = self.0.clock.now();
            if old.as_ref().is_some_and(|row| row.is_being_told(now)) {
                return Err(Error::Busy);
            }
            let mut sent = old.as_ref().map(|row| row.sent.clone()).unwrap_or_default();
            sent.push(Sent { server: server.to_string(), event_id: event.event_id().to_owned() });
            sent.drain(..sent.len().saturating_sub(MOST_SENT));
            let row = HalfWayRow {
                sent,
                is_knock,
                since: now.millis(),
                tries: 0,
                next_at: (now + UNDER_WAY).millis(),
                telling_until: 0,
            };
            let mut batch = Batch::new();
            batch.require(&HALF_WAY, &key, old.as_ref());
            batch.put(&HALF_WAY, &key, &row);
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                *half_way = Some((room.serial, row));
                // Should it never end, it is seen to all the same.
                self.0.outside.half_way.notify_one();
                return Ok(());
            }
        }
    }

    /// A server answered what it was sent last with an error. If that says that it did not take it, it need not be
    /// told anything.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub(crate) async fn note_refusal(
        &self,
        user: &UserId,
        error: &RemoteError,
        half_way: &mut HalfWay,
    ) -> Result<(), Error> {
        if !is_refusal(error) {
            return Ok(());
        }
        let Some((room, row)) = half_way.take() else { return Ok(()) };
        let mut rest = row.clone();
        rest.sent.pop();
        let rest = (!rest.sent.is_empty()).then_some(rest);
        if self.change_half_way((room, user.as_str()), &row, rest.as_ref()).await? {
            *half_way = rest.map(|rest| (room, rest));
        }
        Ok(())
    }

    /// What was sent came to nothing: whoever may have taken it is told soon.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`]; then they are told later.
    pub(crate) async fn void_half_way(&self, user: &UserId, half_way: HalfWay) -> Result<(), Error> {
        let Some((room, row)) = half_way else { return Ok(()) };
        let next = HalfWayRow { next_at: (self.0.clock.now() + pause(0)).millis(), ..row.clone() };
        // Where it is another one by now, whoever wrote that sees to it.
        self.change_half_way((room, user.as_str()), &row, Some(&next)).await?;
        self.0.outside.half_way.notify_one();
        Ok(())
    }

    /// What was sent is ours by now.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`]; then it is found out later.
    pub(crate) async fn end_half_way(&self, room: &RoomInfo, user: &UserId) -> Result<(), Error> {
        let key = (room.serial, user.as_str());
        let row = self.store().get(&HALF_WAY, &key).await?.filter(|row| row.tries == 0);
        if let Some(row) = row {
            self.change_half_way(key, &row, None).await?;
        }
        Ok(())
    }

    /// Puts into the batch by which a join gets in that it is no longer half-way.
    ///
    /// # Errors
    /// [`Error::Contended`] when other servers are told, or were told, that the user leaves; [`Error::Store`].
    pub(crate) async fn stage_arrival(
        &self,
        batch: &mut Batch,
        room: &RoomInfo,
        user: &UserId,
    ) -> Result<(), Error> {
        let key = (room.serial, user.as_str());
        let row = self.store().get(&HALF_WAY, &key).await?.filter(|row| row.tries == 0);
        let row = row.ok_or(Error::Contended)?;
        batch.require(&HALF_WAY, &key, Some(&row));
        batch.delete(&HALF_WAY, &key);
        Ok(())
    }

    /// Tells those of which it is time; answers how long the others wait.
    pub(crate) async fn tell_half_way_due(&self) -> Result<Option<Duration>, Error> {
        let rows = self.store().scan(&HALF_WAY, Range::all(), Order::Ascending, ROUND).await?;
        let next_at = |row: &HalfWayRow| row.next_at;
        let tell = |room, user, row| self.tell_half_way(room, user, row);
        self.see_to_due(rows, next_at, (pause(0), LONGEST_PAUSE), tell).await
    }

    async fn tell_half_way(&self, room: RoomSerial, user: String, row: HalfWayRow) -> Result<(), Error> {
        let key = (room, user.as_str());
        let now = self.0.clock.now();
        let tries = row.tries.saturating_add(1);
        let claimed = HalfWayRow {
            tries,
            next_at: (now + pause(tries)).millis(),
            telling_until: (now + TELLING).millis(),
            ..row.clone()
        };
        if !self.change_half_way(key, &row, Some(&claimed)).await? {
            return Ok(());
        }
        let known = self.rooms().room_infos(&[room]).await?.pop().flatten();
        let rest = match (OwnedUserId::try_from(user.as_str()), known) {
            (Ok(user), Some(room)) if self.came_to_nothing(&room, &user, &row).await? => {
                self.tell_servers(&room, &user, &row.sent, tries).await?
            }
            _ => Vec::new(),
        };
        let is_over = rest.is_empty() || self.0.clock.now().since(Timestamp(row.since)) >= KEPT;
        let next = HalfWayRow { sent: rest, telling_until: 0, ..claimed.clone() };
        self.change_half_way(key, &claimed, (!is_over).then_some(&next)).await?;
        Ok(())
    }

    /// Whether the user did not come in (or does not knock).
    async fn came_to_nothing(
        &self,
        room: &Arc<RoomInfo>,
        user: &UserId,
        row: &HalfWayRow,
    ) -> Result<bool, Error> {
        if !self.is_local(user) {
            return Ok(false);
        }
        Ok(match self.outside_of(room, user).await? {
            Some(Membership::Join) => !self.rooms().is_resident(room).await?,
            Some(Membership::Knock) => !row.is_knock,
            Some(Membership::Invite | Membership::Leave | Membership::Ban) | None => true,
        })
    }

    /// Tells servers that a user leaves, one after the other; answers which have still to be told.
    async fn tell_servers(
        &self,
        room: &Arc<RoomInfo>,
        user: &UserId,
        sent: &[Sent],
        tries: u32,
    ) -> Result<Vec<Sent>, Error> {
        let began = self.0.clock.instant();
        let mut rest = Vec::new();
        let mut told: Option<(&str, Pdu)> = None;
        // The latest is what he is there by, if it was taken.
        for one in sent.iter().rev() {
            if told.as_ref().is_some_and(|(server, _)| *server == one.server) {
                continue;
            }
            let left = TELLING.saturating_sub(self.0.clock.instant().since(began));
            let leave = self.end_there(room, user, one);
            match self.0.clock.timeout(PATIENCE.min(left), leave).await {
                Ok(Ok(Some(event))) => told = Some((one.server.as_str(), event)),
                Ok(Ok(None)) if tries >= SAYINGS => {}
                Ok(Ok(None)) | Err(_) => rest.push(one.clone()),
                Ok(Err(error)) => {
                    info!(room_id = %room.room_id, user_id = %user, destination = one.server, %error, "a join that failed here could not be ended there");
                    rest.push(one.clone());
                }
            }
        }
        rest.retain(|one: &Sent| told.as_ref().is_none_or(|(server, _)| *server != one.server));
        rest.reverse();
        if let Some((_, event)) = told {
            info!(room_id = %room.room_id, user_id = %user, "a join that failed here was ended where it was taken");
            self.end_invite(room, user, &event).await?;
        }
        Ok(rest)
    }

    /// Has a user leave where he is in the room by what was sent; nothing: he is not.
    async fn end_there(&self, room: &RoomInfo, user: &UserId, sent: &Sent) -> Result<Option<Pdu>, Error> {
        let Ok(server) = OwnedServerName::try_from(sent.server.as_str()) else { return Ok(None) };
        let template = match self.leave_template(user, room, &server).await {
            Err(Error::Remote(RemoteError::Refused { status: 403 | 404, .. })) => return Ok(None),
            template => template?,
        };
        // A leave stands on what the user is in the room.
        if !template.auth_events.contains(&sent.event_id) {
            return Ok(None);
        }
        self.send_leave(user, room, &server, template, None).await.map(Some)
    }

    /// An invite (or knock) by which a user came ends with the leave that was told.
    async fn end_invite(&self, room: &Arc<RoomInfo>, user: &UserId, leave: &Pdu) -> Result<(), Error> {
        let is_open =
            matches!(self.outside_of(room, user).await?, Some(Membership::Invite | Membership::Knock));
        if is_open && !self.rooms().is_resident(room).await? {
            self.end_outside(room, user, Membership::Leave, leave).await?;
        }
        Ok(())
    }

    async fn outside_of(&self, room: &RoomInfo, user: &UserId) -> Result<Option<Membership>, Error> {
        let row = self.store().get(&MEMBERSHIPS, &(user.as_str(), room.serial)).await?;
        Ok(row.map(|row| row.value.membership))
    }

    /// Writes another row in the place of one, or none; whether it was still that one.
    async fn change_half_way(
        &self,
        key: (RoomSerial, &str),
        row: &HalfWayRow,
        next: Option<&HalfWayRow>,
    ) -> Result<bool, Error> {
        let mut batch = Batch::new();
        batch.require(&HALF_WAY, &key, Some(row));
        match next {
            Some(next) => batch.put(&HALF_WAY, &key, next),
            None => batch.delete(&HALF_WAY, &key),
        }
        match self.store().commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(Error::Commit(error)),
        }
    }
}
