//! Joining a room through another server.
//!
//! Another server gives a template, we complete and sign it, and get the room's state back. Each event
//! of it is verified and judged by its auth events; what fails is left out. The join itself must
//! be allowed by what remains. Auth and state events become outliers; the join is the first event of
//! our timeline.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::sync::Arc;

use pdu::{Pdu, RoomVersion, Verified};
use room::{
    Error, RemoteError,
    attempts::Attempts,
    read::{event::name_of, room::RoomInfo},
    tables::{INVITES, MEMBERSHIPS, Membership, Verdict},
};
use ruma::{
    OwnedEventId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId, events::TimelineEventType,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tracing::info;

use crate::{
    Engine,
    draft::raw,
    inbound::receive::{Arrival, Received, deciding_names},
    membership::{Joining, Refusals, nobody},
    pipeline::{Stage, name, timestamp},
    place::Placement,
    ports::{Joined, Template},
    profile::GRANTING,
    tables::HalfWay,
    under_way::{ASKING, Counted},
};

/// Servers that may be asked for help with one room.
const MAX_HELPERS: usize = 50;

impl Engine {
    /// Joins a room with the help of one of these servers, or of others that we know of; to the end, also where nobody
    /// waits for that any more ([`crate::under_way`]).
    ///
    /// # Errors
    /// [`Error::Busy`] when too many joins are under way; else as the last server, or we, refuse it.
    pub(crate) async fn join_through(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        joining: Joining,
    ) -> Result<(), Error> {
        let counted = Counted::new(&self.0.under_way, user).ok_or(Error::Busy)?;
        let (engine, user) = (self.clone(), user.to_owned());
        let (room_id, via) = (room_id.to_owned(), via.to_vec());
        let stop = self.0.tasks.shutdown_token();
        let join = self.0.tasks.spawn("join", async move {
            let _counted = counted;
            let join = engine.join_by_one_of(&user, &room_id, &via, joining);
            stop.run_until_cancelled(join).await.unwrap_or(Err(Error::Interrupted))
        });
        join.await.map_err(|_| Error::Interrupted)?
    }

    /// As [`Engine::join_through`], as long as somebody waits.
    pub(crate) async fn join_by_one_of(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        joining: Joining,
    ) -> Result<(), Error> {
        let servers = self.helpers(user, room_id, via).await?;
        let _mark = self.mark_joining(room_id);
        let mut half_way = HalfWay::default();
        let mut outcome = Err(nobody(room_id));
        let mut refusals = Refusals::default();
        let began = self.0.clock.instant();
        for server in servers.iter().take(self.0.config.join_attempts) {
            if self.0.clock.instant().since(began) > ASKING {
                break;
            }
            outcome = self.join_by(user, room_id, server, &joining, &mut half_way).await;
            match &outcome {
                Ok(()) => break,
                Err(Error::Remote(error)) if refusals.is_final(error) => break,
                Err(error) => {
                    info!(%room_id, destination = %server, %error, "a server did not help to join");
                }
            }
        }
        if outcome.is_err() {
            self.void_half_way(user, half_way).await?;
        }
        refusals.conclude(outcome)
    }

    /// Whom to ask for help: those named, and who invited us; where none is named, also the room's creator and
    /// who was in it. None of them is ours, and there are at most 50.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn helpers(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
    ) -> Result<Vec<OwnedServerName>, Error> {
        // Who is named is a stranger's choice, so it is bounded before it is looked through.
        let mut servers: Vec<OwnedServerName> = via.iter().take(MAX_HELPERS).cloned().collect();
        let creator = room_id.server_name().filter(|_| via.is_empty()).map(ToOwned::to_owned);
        if let Some(room) = self.rooms().room(room_id).await? {
            let membership = self.store().get(&MEMBERSHIPS, &(user.as_str(), room.serial)).await?;
            if let Some(row) = membership
                && matches!(row.value.membership, Membership::Invite | Membership::Knock)
            {
                servers.push(row.value.sender.server_name().to_owned());
            }
            servers.extend(self.helpers_of(&room).await?);
            servers.extend(creator);
            if via.is_empty() {
                servers.extend(self.servers_in(&room).await?);
            }
        } else {
            servers.extend(creator);
        }
        let mut unique: Vec<OwnedServerName> = Vec::new();
        for server in servers {
            if unique.len() == MAX_HELPERS {
                break;
            }
            if !self.is_ours(&server) && !unique.contains(&server) {
                unique.push(server);
            }
        }
        Ok(unique)
    }

    /// Joins with the help of one server.
    async fn join_by(
        &self,
        user: &UserId,
        room_id: &RoomId,
        server: &ServerName,
        joining: &Joining,
        half_way: &mut HalfWay,
    ) -> Result<(), Error> {
        let authority = self.authority_of(user)?.clone();
        let versions: Vec<RoomVersionId> =
            RoomVersion::SUPPORTED.iter().map(|version| version.id()).collect();
        let template = self.0.remote.make_join(authority.name(), server, room_id, user, &versions).await?;
        let (version, mut template) = open_template(server, template, room_id, user, Membership::Join)?;

        let mut content = joining.content();
        if let Some(granting) = granting_in(&template.draft.content) {
            content.insert(GRANTING.to_owned(), granting.into());
        }
        template.draft.content = raw(&Value::Object(content));
        let own = self.complete_template(version, &template, &authority)?;
        let room = self.ensure_room(room_id, version).await?;

        self.wait_for_telling(&room, user).await?;
        let _place = self.0.under_way.place(&self.0.clock).await?;
        // Before it is sent: from then on the user may be in the room there.
        self.note_half_way(&room, server, &own, half_way).await?;
        let answer = self
            .0
            .remote
            .send_join(authority.name(), server, room_id, own.event_id(), &own.to_raw(), false)
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.note_refusal(user, &error, half_way).await?;
                return Err(error.into());
            }
        };
        let event = self.signed_join(&room, server, own, &answer).await?;
        self.import_join(&room, user, server, event, answer).await
    }

    /// Gives a template our time and signature; a join may need another one before it is worth something.
    pub(crate) fn complete_template(
        &self,
        version: RoomVersion,
        template: &pdu::Template,
        authority: &pdu::Authority,
    ) -> Result<Pdu, Error> {
        let unsigned = pdu::build(
            version,
            &template.draft,
            Some(&template.room_id),
            &template.prev_events,
            &template.auth_events,
            template.depth,
            timestamp(self.now()),
        )?;
        Ok(pdu::sign_part(unsigned, authority)?)
    }

    /// The join event as the room gets it: with the signature of the server of the one who vouches for it,
    /// where the join needs that.
    async fn signed_join(
        &self,
        room: &RoomInfo,
        server: &ServerName,
        own: Pdu,
        answer: &Joined,
    ) -> Result<Verified, Error> {
        let needed = pdu::required_servers(&own).into_iter().find(|needed| !self.is_ours(needed));
        let Some(signer) = needed else {
            // Nothing that another server could add is needed.
            return self.verify_own(own).await;
        };
        let returned = answer.event.as_ref();
        let returned =
            returned.ok_or_else(|| bad_answer(server, "the join came back without a signature"))?;
        self.verify_returned(room, server, &signer, &own, returned).await
    }

    /// Makes the room ours: its state as another server gave it, and the join on top.
    async fn import_join(
        &self,
        room: &Arc<RoomInfo>,
        user: &UserId,
        server: &ServerName,
        join: Verified,
        answer: Joined,
    ) -> Result<(), Error> {
        let mut permit = self.permit(room).await?;
        let Joined { state, mut auth_chain, members_omitted, servers_in_room, .. } = answer;
        let is_state = auth_chain.len();
        auth_chain.extend(state);
        let ids = self.bring_events(room, &mut permit, auth_chain).await?;
        let mut ids: Vec<OwnedEventId> = ids.into_iter().skip(is_state).flatten().collect();
        if members_omitted {
            // Those members on whom the join stands are in the state all the same.
            ids.splice(0..0, join.pdu().auth_events().to_vec());
        }
        let via = match members_omitted {
            true => Some(self.bring_told_servers(room, &mut permit, server, servers_in_room).await?),
            false => None,
        };
        let names = deciding_names(join.pdu()).map_err(Error::Forbidden)?;
        let told = self.told_state(room, &ids, &names, &join.pdu().auth_events().to_vec()).await?;
        drop(ids);
        let auth = told.check_join(room, server, join.pdu())?;
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(room).await?;
            // What is under way may be the join of another user of ours, which ours must not undo.
            if guard.land(self).await.is_err() {
                attempts.again(self.rooms()).await?;
                continue;
            }
            if self.rooms().is_resident(room).await? {
                drop(guard);
                self.join_beside(room, server, join).await?;
                return self.end_half_way(room, user).await;
            }
            if !permit.fits(guard.live()?.head.is_some()) {
                return Err(Error::Contended);
            }
            // Nobody waits for the lock: whoever has to do with the room joins it too.
            let rest = match self.bring_state(&mut guard, &mut permit, &told).await {
                Err(Error::Contended) => {
                    drop(guard);
                    attempts.again(self.rooms()).await?;
                    self.renew(room, &mut permit).await?;
                    continue;
                }
                brought => brought?,
            };
            let mut stage = Stage::new(self, room, guard.live()?);
            let known = stage.view().events_by_id(&[join.pdu().event_id().to_owned()]).await?.pop().flatten();
            if known.as_ref().is_some_and(|event| event.meta().is_placed()) {
                return self.end_half_way(room, user).await;
            }
            let prev = join.pdu().prev_events();
            let stored = self.stored(room, &prev.to_vec()).await?;
            let missing = prev.iter().filter(|id| !stored.get(*id).is_some_and(|placed| *placed));
            let missing: Vec<OwnedEventId> = missing.map(ToOwned::to_owned).collect();
            let own = name(join.pdu().kind(), join.pdu().state_key().unwrap_or_default());
            let before = stage.stand_on_told(&permit, rest, &own).await?;
            stage.head.since_depth = join.pdu().depth();
            let mut placement = Placement::ours(join.pdu().clone(), before, auth.clone());
            placement.outgoing = false;
            placement.missing = missing;
            placement.past = true;
            placement.known_as = known.map(|event| event.serial());
            if via.is_some() {
                let serial = match placement.known_as {
                    Some(serial) => serial,
                    None => stage.new_serial(join.pdu().event_id()).await?,
                };
                stage.lack_members(serial);
            }
            let placed = stage.place(placement).await?;
            if let Some(via) = &via {
                stage.note_lacking(&placed, via.clone());
            }
            stage.batch().delete(&INVITES, &(room.serial, user.as_str()));
            self.stage_arrival(stage.batch(), room, user).await?;
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if self.landed(landing, &join.pdu().event_id().to_owned(), &mut attempts).await? {
                return Ok(());
            }
            self.renew(room, &mut permit).await?;
        }
    }

    /// Another user of ours got in meanwhile: the room is here, and this join is one more event of it.
    async fn join_beside(
        &self,
        room: &Arc<RoomInfo>,
        server: &ServerName,
        join: Verified,
    ) -> Result<(), Error> {
        let arrivals = self.complete(room, vec![Arrival::new(join, server.to_owned())]).await?;
        let placed = self.place_arrivals(room, &arrivals).await?.pop();
        match placed.as_ref().and_then(Received::event) {
            Some(event) if event.meta().verdict == Verdict::Accepted => Ok(()),
            _ => Err(Error::NotAllowed("the room does not allow it".to_owned())),
        }
    }
}

/// Checks that a template is what was asked for.
pub(crate) fn open_template(
    server: &ServerName,
    template: Template,
    room_id: &RoomId,
    user: &UserId,
    membership: Membership,
) -> Result<(RoomVersion, pdu::Template), Error> {
    let version = template.version.as_ref().map_or("1", |version| version.as_str());
    let version = RoomVersion::parse(version).map_err(|_| Error::UnsupportedVersion(version.to_owned()))?;
    let parsed = pdu::Template::parse(version, &template.event)
        .map_err(|error| bad_answer(server, &format!("malformed template: {error}")))?;
    let draft = &parsed.draft;
    let right = draft.kind == TimelineEventType::RoomMember
        && draft.sender == user
        && draft.state_key.as_deref() == Some(user.as_str())
        && parsed.room_id == room_id
        && room::read::event::membership_in(&draft.content) == Some(membership);
    if !right {
        let cause = format!("the template is not one of our {}", name_of(membership));
        return Err(bad_answer(server, &cause));
    }
    Ok((version, parsed))
}

/// Who grants a restricted join, by the template.
fn granting_in(content: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        join_authorised_via_users_server: Option<String>,
    }
    serde_json::from_str::<Content>(content.get()).ok()?.join_authorised_via_users_server
}

pub(crate) fn bad_answer(server: &ServerName, cause: &str) -> Error {
    Error::Remote(RemoteError::BadAnswer { server: server.to_owned(), cause: cause.to_owned() })
}
