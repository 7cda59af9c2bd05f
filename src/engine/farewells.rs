//! Leaving rooms that we are not in: refusing an invite, taking back a knock.
//!
//! Another server has to be told, and may not answer now. The user is rid of the room all the same; the
//! leave waits in [`FAREWELLS`] and is told again, at growing intervals, for a week.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use futures_util::{StreamExt, stream};
use pdu::Pdu;
use room::{
    Error, RemoteError, RoomSerial,
    read::room::RoomInfo,
    tables::{INVITES, MEMBERSHIPS, Membership},
};
use ruma::{OwnedUserId, ServerName, UserId, events::StateEventType};
use serde_json::Value;
use store::{Batch, Order, Range};
use tracing::{error, info};

use crate::{
    Engine,
    draft::draft,
    inbound::peers::Size,
    join::{bad_answer, open_template},
    outside::{OutsideChange, PATIENCE},
    pipeline::MAX_DEPTH,
    profile::{Profile, member_content},
    tables::{FAREWELLS, FarewellRow},
};

/// How long the user waits for others to hear of it.
const WAIT: Duration = Duration::from_secs(8);
/// For how long a leave is told again.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest pause between two tries.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How many are seen to in one round, and how many of them at the same time. A server that does not answer is
/// asked by few of them, then left alone.
pub(crate) const ROUND: usize = 10_000;
const PARALLEL: usize = 64;

/// What waits for other servers, each with a task of its own.
#[derive(Clone, Copy, Debug)]
enum What {
    Farewells,
    /// See [`crate::withdrawals`].
    Withdrawals,
    /// See [`crate::half_way`].
    HalfWay,
}

/// What other servers know of a leave.
enum Farewell {
    /// One of them took it.
    Told(Pdu),
    /// Those that answered know nothing that could be left.
    Refused,
    /// None answered.
    Untold,
}

/// The pause after so many tries.
pub(crate) fn pause(tries: u32) -> Duration {
    Duration::from_secs(30).saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE)
}

impl Engine {
    /// Refuses an invite (or takes back a knock) to a room that we are not in.
    pub(crate) async fn leave_from_outside(
        &self,
        user: &UserId,
        room: &Arc<RoomInfo>,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let told = self.0.clock.timeout(WAIT, self.tell_farewell(user, room, reason)).await;
        let told = told.unwrap_or(Ok(Farewell::Untold))?;
        let farewell = matches!(told, Farewell::Untold).then(|| {
            let now = self.0.clock.now();
            let reason = reason.map(ToOwned::to_owned);
            FarewellRow { reason, since: now.millis(), tries: 0, next_at: (now + pause(0)).millis() }
        });
        let is_untold = farewell.is_some();
        // The user's other devices learn of it by an event, also where no other server knows that.
        let event = match told {
            Farewell::Told(event) => Some(event),
            Farewell::Refused | Farewell::Untold => self.leave_alone(user, room, reason).await?,
        };
        let change = OutsideChange {
            user,
            membership: Membership::Leave,
            sender: user,
            event: event.as_ref(),
            kept: None,
            helper: None,
            farewell,
        };
        self.write_outside(room, change).await?;
        if is_untold {
            self.0.outside.bidden.notify_one();
        }
        Ok(())
    }

    /// Tells servers of the room of a leave, until one of them knows.
    #[crate::boxed]
    async fn tell_farewell(
        &self,
        user: &UserId,
        room: &Arc<RoomInfo>,
        reason: Option<&str>,
    ) -> Result<Farewell, Error> {
        let mut outcome = Farewell::Untold;
        for server in self.helpers(user, &room.room_id, &[]).await? {
            match self.0.clock.timeout(PATIENCE, self.leave_by(user, room, &server, reason)).await {
                Ok(Ok(event)) => return Ok(Farewell::Told(event)),
                // For that server there is nothing to leave.
                Ok(Err(Error::Remote(RemoteError::Refused { status: 403 | 404, .. }))) => {
                    outcome = Farewell::Refused;
                }
                Ok(Err(error)) => {
                    info!(room_id = %room.room_id, destination = %server, %error, "a leave could not be told there");
                }
                Err(elapsed) => {
                    info!(room_id = %room.room_id, destination = %server, error = %elapsed, "a leave could not be told there");
                }
            }
        }
        Ok(outcome)
    }

    /// A leave after an invite (or knock) that is known to us only. It is shown to the user and sent to nobody.
    async fn leave_alone(
        &self,
        user: &UserId,
        room: &RoomInfo,
        reason: Option<&str>,
    ) -> Result<Option<Pdu>, Error> {
        let Some(kept) = self.store().get(&INVITES, &(room.serial, user.as_str())).await? else {
            return Ok(None);
        };
        let Ok(before) = Pdu::parse(room.version, &kept.event) else { return Ok(None) };
        let mut auth = before.auth_events().to_vec();
        auth.truncate(pdu::MAX_AUTH_EVENTS - 1);
        auth.push(before.event_id().to_owned());
        let content = member_content(Membership::Leave, &Profile::default(), reason);
        let template = pdu::Template {
            draft: draft(user, StateEventType::RoomMember, user.as_str(), &Value::Object(content)),
            room_id: room.room_id.clone(),
            prev_events: vec![before.event_id().to_owned()],
            auth_events: auth,
            depth: before.depth().saturating_add(1).min(MAX_DEPTH),
        };
        self.complete_template(room.version, &template, self.authority_of(user)?).map(Some)
    }

    async fn leave_by(
        &self,
        user: &UserId,
        room: &RoomInfo,
        server: &ServerName,
        reason: Option<&str>,
    ) -> Result<Pdu, Error> {
        let template = self.leave_template(user, room, server).await?;
        self.send_leave(user, room, server, template, reason).await
    }

    /// What a server proposes for a user's leave.
    pub(crate) async fn leave_template(
        &self,
        user: &UserId,
        room: &RoomInfo,
        server: &ServerName,
    ) -> Result<pdu::Template, Error> {
        let authority = self.authority_of(user)?.clone();
        let asked = self.0.remote.make_leave(authority.name(), server, &room.room_id, user);
        let template = self.ask(server, Size::Small, asked).await?;
        let (version, template) = open_template(server, template, &room.room_id, user, Membership::Leave)?;
        if version != room.version {
            // By the other version's rules its id is another one than its row would be read by.
            return Err(bad_answer(server, "the template is of another room version"));
        }
        Ok(template)
    }

    /// Completes what a server proposed for a user's leave, and sends it there.
    pub(crate) async fn send_leave(
        &self,
        user: &UserId,
        room: &RoomInfo,
        server: &ServerName,
        mut template: pdu::Template,
        reason: Option<&str>,
    ) -> Result<Pdu, Error> {
        let authority = self.authority_of(user)?.clone();
        // The place is theirs to propose; what we sign as said by our user is our word only.
        let content = member_content(Membership::Leave, &Profile::default(), reason);
        template.draft.content = crate::draft::raw(&Value::Object(content));
        let pdu = self.complete_template(room.version, &template, &authority)?;
        self.0
            .remote
            .send_leave(authority.name(), server, &room.room_id, pdu.event_id(), &pdu.to_raw())
            .await?;
        Ok(pdu)
    }

    /// Starts the tasks that tell again what could not be told, and ask for what is to be confirmed.
    pub(crate) fn start_telling(&self) {
        let all = [
            ("farewells", What::Farewells),
            ("withdrawals", What::Withdrawals),
            ("half-way joins", What::HalfWay),
        ];
        for (name, what) in all {
            let engine = self.clone();
            let shutdown = self.0.tasks.shutdown_token();
            self.0.tasks.spawn_restarting(name, move || {
                let (engine, shutdown) = (engine.clone(), shutdown.clone());
                async move {
                    shutdown.run_until_cancelled(engine.keep_seeing_to(what)).await;
                }
            });
        }
    }

    async fn keep_seeing_to(&self, what: What) {
        loop {
            // Before the read: one that is written meanwhile must not be missed.
            let bidden = match what {
                What::Farewells => self.0.outside.bidden.notified(),
                What::Withdrawals => self.0.outside.withdrawn.notified(),
                What::HalfWay => self.0.outside.half_way.notified(),
            };
            let next = match self.see_to(what).await {
                Ok(next) => next,
                Err(error) => {
                    error!(%error, ?what, "what waits for other servers could not be seen to");
                    Some(pause(0))
                }
            };
            match next {
                None => bidden.await,
                Some(wait) => {
                    tokio::select! {
                        () = bidden => {}
                        () = self.0.clock.sleep(wait) => {}
                    }
                }
            }
        }
    }

    async fn see_to(&self, what: What) -> Result<Option<Duration>, Error> {
        match what {
            What::Farewells => self.tell_due().await,
            What::Withdrawals => self.confirm_due().await,
            What::HalfWay => self.tell_half_way_due().await,
        }
    }

    /// Tells the leaves whose time has come; answers how long the others wait.
    async fn tell_due(&self) -> Result<Option<Duration>, Error> {
        let rows = self.store().scan(&FAREWELLS, Range::all(), Order::Ascending, ROUND).await?;
        let next_at = |row: &FarewellRow| row.next_at;
        let tell = |room, user, row| self.tell_again(room, user, row);
        self.see_to_due(rows, next_at, (pause(0), LONGEST_PAUSE), tell).await
    }

    /// Sees to the rows whose time has come, some at the same time; answers how long the next one waits, given
    /// the shortest and the longest pause. One that fails does not hold up the others.
    pub(crate) async fn see_to_due<Row, Work: Future<Output = Result<(), Error>>>(
        &self,
        rows: Vec<((RoomSerial, String), Row)>,
        next_at: impl Fn(&Row) -> u64,
        (shortest, longest): (Duration, Duration),
        see_to: impl Fn(RoomSerial, String, Row) -> Work,
    ) -> Result<Option<Duration>, Error> {
        let now = self.0.clock.now();
        let mut next: Option<Duration> = None;
        let mut due = Vec::new();
        for ((room, user), row) in rows {
            let at = next_at(&row);
            // A clock that was set back must not hold them up.
            let is_due = at <= now.millis() || at > (now + longest).millis();
            let wait = if is_due { shortest } else { Timestamp(at).since(now) };
            next = Some(next.map_or(wait, |next| next.min(wait)));
            if is_due {
                due.push(see_to(room, user, row));
            }
        }
        let outcomes: Vec<Result<(), Error>> = stream::iter(due).buffer_unordered(PARALLEL).collect().await;
        outcomes.into_iter().collect::<Result<Vec<()>, Error>>()?;
        Ok(next.map(|wait| wait.max(Duration::from_secs(1))))
    }

    pub(crate) async fn tell_again(
        &self,
        room: RoomSerial,
        user: String,
        row: FarewellRow,
    ) -> Result<(), Error> {
        let told = match OwnedUserId::try_from(user.as_str()) {
            Ok(user) => self.tell_once_more(room, &user, &row).await?,
            Err(_) => true,
        };
        let now = self.0.clock.now();
        let key = (room, user.as_str());
        let mut batch = Batch::new();
        if told || now.since(Timestamp(row.since)) >= KEPT {
            batch.require(&FAREWELLS, &key, Some(&row));
            batch.delete(&FAREWELLS, &key);
        } else {
            let tries = row.tries.saturating_add(1);
            let next_at = (now + pause(tries)).millis();
            batch.replace(&FAREWELLS, &key, &row, &FarewellRow { tries, next_at, ..row.clone() });
        }
        match self.store().commit(batch).await {
            Err(error @ store::CommitError::Store(_)) => Err(Error::Commit(error)),
            // It was left anew, or told by another process.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether a leave is told now, or has not to be told any more.
    async fn tell_once_more(
        &self,
        room: RoomSerial,
        user: &UserId,
        row: &FarewellRow,
    ) -> Result<bool, Error> {
        let Some(room) = self.rooms().room_infos(&[room]).await?.pop().flatten() else { return Ok(true) };
        let membership = self.store().get(&MEMBERSHIPS, &(user.as_str(), room.serial)).await?;
        let is_out = membership.is_some_and(|row| row.value.membership == Membership::Leave);
        if !is_out || !self.is_local(user) || self.rooms().is_resident(&room).await? {
            return Ok(true);
        }
        let told = self.tell_farewell(user, &room, row.reason.as_deref()).await?;
        Ok(!matches!(told, Farewell::Untold))
    }
}
