//! Invites to rooms that we are not in, taken back by somebody else than who invited; and knocks ended by others.
//!
//! We cannot see what power others have in such a room, so the inviter's server is asked whether the invite
//! stands; of a knock, those servers that helped with it. It may learn of the withdrawal after us, or not answer
//! now: the question waits in [`WITHDRAWALS`] and is asked again, at growing intervals. What it says holds; without
//! any answer the invite stays.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base::Timestamp;
use parking_lot::Mutex;
use pdu::Pdu;
use room::{
    Error, RemoteError, RoomSerial,
    read::room::RoomInfo,
    tables::{MEMBERSHIPS, Membership},
};
use ruma::{OwnedUserId, ServerName, UserId};
use store::{Batch, Order, Range};
use tracing::{info, warn};

use crate::{
    Engine,
    farewells::ROUND,
    inbound::peers::Size,
    outside::is_plain_invite,
    tables::{WITHDRAWALS, WithdrawalRow},
};

/// The pauses before the questions: the first one lets the withdrawal reach the inviter's server, too.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300), Duration::from_secs(3600)];
/// The pause after those, as long as no answer comes.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// For how long it is asked.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many of one sending server wait.
const KEPT_OF_ONE: usize = 32;
/// Larger ones are not kept: what they say to the user is a reason of some words.
const LARGEST: usize = 8 << 10;

/// How many servers are asked about a knock.
const ASKED: usize = 4;

/// What a server says of an invite (or knock).
enum Invite {
    Stands,
    IsGone,
    /// Nothing that helps.
    Unknown,
}

fn pause(tries: u32) -> Duration {
    usize::try_from(tries).ok().and_then(|tries| PAUSES.get(tries)).copied().unwrap_or(LONGEST_PAUSE)
}

/// Whose withdrawals wait, in memory, so that one more costs no look at all of them. The rows are the truth: each
/// round over them makes this anew.
#[derive(Default)]
pub(crate) struct Kept(Mutex<BTreeMap<String, BTreeSet<Place>>>);

/// Since when one waits, and its row's key.
type Place = (u64, RoomSerial, String);

impl Kept {
    fn note(&self, server: &str, since: u64, room: RoomSerial, user: &str) {
        let place = (since, room, user.to_owned());
        self.0.lock().entry(server.to_owned()).or_default().insert(place);
    }

    /// Its row is gone.
    pub(crate) fn forget(&self, room: RoomSerial, user: &str) {
        self.0.lock().retain(|_, places| {
            places.retain(|(_, of_room, of_user)| (*of_room, of_user.as_str()) != (room, user));
            !places.is_empty()
        });
    }

    fn learn(&self, rows: &[((RoomSerial, String), WithdrawalRow)]) {
        let mut kept: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
        for ((room, user), row) in rows {
            kept.entry(row.origin.clone()).or_default().insert((row.since, *room, user.clone()));
        }
        *self.0.lock() = kept;
    }

    fn count_of(&self, server: &str) -> usize {
        self.0.lock().get(server).map_or(0, BTreeSet::len)
    }

    /// Where as many wait as may: the oldest of the server with the most. So whoever fills the table pushes out
    /// his own.
    fn surplus(&self, most: usize) -> Option<(RoomSerial, String)> {
        let kept = self.0.lock();
        if kept.values().map(BTreeSet::len).sum::<usize>() < most {
            return None;
        }
        let fullest = kept.values().max_by_key(|places| (places.len(), Reverse(places.first())))?;
        fullest.first().map(|(_, room, user)| (*room, user.clone()))
    }
}

impl Engine {
    /// Keeps a withdrawal until it is confirmed: that of an invite, or the end of a knock, which those that
    /// helped with it know as soon as anybody. One that waits already stays as it is.
    pub(crate) async fn keep_withdrawal(
        &self,
        room: &RoomInfo,
        user: &UserId,
        event: &Pdu,
        of_invite: bool,
    ) -> Result<(), Error> {
        let key = (room.serial, user.as_str());
        let origin = event.sender().server_name().as_str();
        if self.store().get(&WITHDRAWALS, &key).await?.is_some() {
            return Ok(());
        }
        if event.json().len() > LARGEST {
            return Err(Error::TooLarge);
        }
        let kept = &self.0.outside.kept;
        if kept.count_of(origin) >= KEPT_OF_ONE {
            return Err(Error::NotAllowed("too many withdrawals of this server wait".to_owned()));
        }
        let crowded_out = kept.surplus(self.0.config.inbox_limits.withdrawals);
        let now = self.0.clock.now();
        let row = WithdrawalRow {
            origin: origin.to_owned(),
            event: event.json().clone(),
            since: now.millis(),
            tries: 0,
            next_at: if of_invite { now + pause(0) } else { now }.millis(),
        };
        let mut batch = Batch::new();
        batch.require(&WITHDRAWALS, &key, None);
        batch.put(&WITHDRAWALS, &key, &row);
        if let Some((room, user)) = &crowded_out {
            warn!(room = room.0, user, "a withdrawn invite will not be confirmed: too many others wait");
            batch.delete(&WITHDRAWALS, &(*room, user.as_str()));
        }
        match self.store().commit(batch).await {
            Ok(_) => {
                if let Some((room, user)) = crowded_out {
                    kept.forget(room, &user);
                }
                kept.note(origin, row.since, room.serial, user.as_str());
                self.0.outside.withdrawn.notify_one();
            }
            // Another one came first.
            Err(store::CommitError::Conflict { .. }) => {}
            // It may not be kept, so it must come again.
            Err(error) => return Err(Error::Commit(error)),
        }
        Ok(())
    }

    /// Asks about the withdrawals whose time has come; answers how long the others wait.
    pub(crate) async fn confirm_due(&self) -> Result<Option<Duration>, Error> {
        let rows = self.store().scan(&WITHDRAWALS, Range::all(), Order::Ascending, ROUND).await?;
        self.0.outside.kept.learn(&rows);
        let next_at = |row: &WithdrawalRow| row.next_at;
        let confirm = |room, user, row| self.confirm(room, user, row);
        self.see_to_due(rows, next_at, (pause(0), LONGEST_PAUSE), confirm).await
    }

    async fn confirm(&self, room: RoomSerial, user: String, row: WithdrawalRow) -> Result<(), Error> {
        let key = (room, user.as_str());
        let now = self.0.clock.now();
        let tries = row.tries.saturating_add(1);
        let is_last = tries as usize >= PAUSES.len();
        let is_over = match self.look_into(room, &user, &row).await? {
            // Written with the leave.
            None => return Ok(()),
            Some(Invite::IsGone) => true,
            Some(Invite::Stands) => is_last,
            Some(Invite::Unknown) => now.since(Timestamp(row.since)) >= KEPT,
        };
        let mut batch = Batch::new();
        if is_over {
            batch.require(&WITHDRAWALS, &key, Some(&row));
            batch.delete(&WITHDRAWALS, &key);
        } else {
            let next_at = (now + pause(tries)).millis();
            batch.replace(&WITHDRAWALS, &key, &row, &WithdrawalRow { tries, next_at, ..row.clone() });
        }
        // Any other refusal: it ended meanwhile, or another process saw to it.
        if let Err(error @ store::CommitError::Store(_)) = self.store().commit(batch).await {
            return Err(Error::Commit(error));
        }
        if is_over {
            self.0.outside.kept.forget(room, &user);
        }
        Ok(())
    }

    /// Asks the inviter's server once; nothing: the invite was ended by what it said.
    async fn look_into(
        &self,
        room: RoomSerial,
        user: &str,
        row: &WithdrawalRow,
    ) -> Result<Option<Invite>, Error> {
        let (Ok(user), Some(room)) =
            (OwnedUserId::try_from(user), self.rooms().room_infos(&[room]).await?.pop().flatten())
        else {
            return Ok(Some(Invite::IsGone));
        };
        let key = (user.as_str(), room.serial);
        let before = self.store().get(&MEMBERSHIPS, &key).await?;
        let is_open = |row: &Membership| matches!(row, Membership::Invite | Membership::Knock);
        let Some(before) = before.filter(|row| is_open(&row.value.membership)) else {
            return Ok(Some(Invite::IsGone));
        };
        if !self.is_local(&user) || self.rooms().is_resident(&room).await? {
            return Ok(Some(Invite::IsGone));
        }
        let servers = if is_plain_invite(&before.value) {
            vec![before.value.sender.server_name().to_owned()]
        } else {
            self.helpers(&user, &room.room_id, &[]).await?
        };
        let mut said = Invite::Unknown;
        for server in servers.iter().take(ASKED) {
            match self.ask_of_invite(&room, &user, server).await? {
                // Of several, one that would have the user leave is believed more than those that would not.
                Invite::Stands => return Ok(Some(Invite::Stands)),
                Invite::IsGone => said = Invite::IsGone,
                Invite::Unknown => {}
            }
        }
        if !matches!(said, Invite::IsGone) {
            return Ok(Some(said));
        }
        let Ok(event) = Pdu::parse(room.version, &row.event) else { return Ok(Some(Invite::IsGone)) };
        let Some((_, membership)) = crate::pipeline::member_change(&event) else {
            return Ok(Some(Invite::IsGone));
        };
        if self.store().get(&MEMBERSHIPS, &key).await?.as_ref() != Some(&before) {
            // Another invite, or an answer to this one.
            return Ok(Some(Invite::Unknown));
        }
        self.end_outside(&room, &user, membership, &event).await?;
        Ok(None)
    }

    async fn ask_of_invite(
        &self,
        room: &Arc<RoomInfo>,
        user: &UserId,
        server: &ServerName,
    ) -> Result<Invite, Error> {
        let authority = self.authority_of(user)?.clone();
        // Who is invited still, or knocks, is given a leave to sign. A server that does not answer rests.
        let asked = self.0.remote.make_leave(authority.name(), server, &room.room_id, user);
        Ok(match self.ask(server, Size::Small, asked).await {
            Ok(_) => Invite::Stands,
            Err(RemoteError::Refused { status: 403 | 404, .. }) => Invite::IsGone,
            Err(error) => {
                info!(room_id = %room.room_id, destination = %server, %error, "a withdrawn invite could not be confirmed");
                Invite::Unknown
            }
        })
    }
}
