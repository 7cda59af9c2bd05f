//! Rooms in which the authority has members: lists of them, what is known of one, and what is done to it.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/rooms.html>,
//! <https://element-hq.github.io/synapse/latest/admin_api/room_membership.html>

use std::{cmp::Ordering, sync::Arc};

use audit::{Action, Deed};
use engine::Joining;
use room::{
    RoomSerial,
    read::{administration::AuthorityRoom, members::MemberCounts, room::RoomInfo},
    tables::{Membership, Summary},
};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    list::{Dir, Part},
    own::{room_id_in, word_in},
};

/// Longest text that is looked for.
const LONGEST_SEARCH: usize = 255;

/// Rooms of which is read together what lists show.
const AT_A_TIME: usize = 500;

/// What lists show of a room.
struct Shown {
    room: AuthorityRoom,
    summary: Summary,
    counts: MemberCounts,
    published: bool,
    states: u64,
}

impl Shown {
    fn told(&self, version: &str) -> Value {
        let Self { room, summary, counts, published, states } = self;
        json!({
            "room_id": room.room_id,
            "name": summary.name,
            "canonical_alias": summary.canonical_alias,
            "joined_members": counts.joined,
            "joined_local_members": room.members,
            "version": version,
            "creator": summary.creator,
            "encryption": summary.encryption,
            "federatable": summary.federate,
            "public": published,
            "join_rules": summary.join_rule,
            "guest_access": summary.guest_access,
            "history_visibility": summary.history_visibility,
            "state_events": states,
            "room_type": summary.room_type,
        })
    }

    /// Whether a text is in its name or the local part of its alias, capitals or not, or in its id.
    fn is_found_by(&self, term: &str) -> bool {
        let small = term.to_lowercase();
        let name = self.summary.name.as_ref().map(|name| name.to_lowercase());
        let alias = self.summary.canonical_alias.as_deref();
        let alias = alias.and_then(|alias| alias.split_once(':')).map(|(local, _)| local.to_lowercase());
        name.is_some_and(|name| name.contains(&small))
            || alias.is_some_and(|alias| alias.contains(&small))
            || self.room.room_id.as_str().contains(term)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    #[serde(alias = "alphabetical")]
    Name,
    CanonicalAlias,
    #[serde(alias = "size")]
    JoinedMembers,
    JoinedLocalMembers,
    Version,
    Creator,
    Encryption,
    Federatable,
    Public,
    JoinRules,
    GuestAccess,
    HistoryVisibility,
    StateEvents,
}

impl By {
    /// Numbers go from the largest to the smallest.
    fn compare(self, (one, of_one): (&Shown, &str), (other, of_other): (&Shown, &str)) -> Ordering {
        let version = |version: &str| version.parse::<u32>().unwrap_or_default();
        let (a, b) = (&one.summary, &other.summary);
        match self {
            Self::Name => a.name.cmp(&b.name),
            Self::CanonicalAlias => a.canonical_alias.cmp(&b.canonical_alias),
            Self::JoinedMembers => other.counts.joined.cmp(&one.counts.joined),
            Self::JoinedLocalMembers => other.room.members.cmp(&one.room.members),
            Self::Version => version(of_other).cmp(&version(of_one)),
            Self::Creator => a.creator.cmp(&b.creator),
            Self::Encryption => a.encryption.cmp(&b.encryption),
            Self::Federatable => a.federate.cmp(&b.federate),
            Self::Public => one.published.cmp(&other.published),
            Self::JoinRules => a.join_rule.cmp(&b.join_rule),
            Self::GuestAccess => a.guest_access.cmp(&b.guest_access),
            Self::HistoryVisibility => a.history_visibility.cmp(&b.history_visibility),
            Self::StateEvents => other.states.cmp(&one.states),
        }
    }
}

#[derive(Deserialize)]
struct ListQuery {
    from: Option<usize>,
    limit: Option<usize>,
    order_by: Option<By>,
    #[serde(default)]
    dir: Dir,
    search_term: Option<String>,
    public_rooms: Option<bool>,
    empty_rooms: Option<bool>,
}

impl AdminApi {
    /// What lists show of rooms, with their versions; rooms that went meanwhile are left out.
    async fn shown(
        &self,
        caller: &Administrator,
        rooms: Vec<AuthorityRoom>,
    ) -> Result<Vec<(Shown, String)>, ApiError> {
        let serials: Vec<RoomSerial> = rooms.iter().map(|room| room.serial).collect();
        let infos = self.rooms.room_infos(&serials).await?;
        let summaries = self.rooms.summaries(&serials).await?;
        let counts = self.rooms.member_counts(&serials).await?;
        let published = self.rooms.are_published(caller.authority(), &serials).await?;
        let states = self.rooms.state_counts(&serials).await?;
        let mut shown = Vec::with_capacity(rooms.len());
        for (((((room, info), summary), counts), published), states) in
            rooms.into_iter().zip(infos).zip(summaries).zip(counts).zip(published).zip(states)
        {
            if let Some(info) = info {
                let version = info.version.as_str().to_owned();
                shown.push((Shown { room, summary, counts, published, states }, version));
            }
        }
        Ok(shown)
    }
}

/// `GET /_synapse/admin/v1/rooms`
pub(crate) async fn list(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let query: ListQuery = call.query()?;
    let part = Part::of(query.from, query.limit);
    let term = query.search_term.filter(|term| !term.is_empty());
    if term.as_ref().is_some_and(|term| term.len() > LONGEST_SEARCH) {
        return Err(ApiError::invalid_param("This is too long to be looked for"));
    }
    let (by, backward) = (query.order_by.unwrap_or(By::Name), query.dir.is_backward());
    let mut found = {
        let _turn = api.turn(call.caller.authority()).await?;
        let mut found = Vec::new();
        let mut rooms = match query.empty_rooms {
            Some(true) => Vec::new(),
            _ => api.rooms.rooms_of_authority(call.caller.authority()).await?,
        };
        if query.empty_rooms != Some(false) {
            rooms.extend(api.engine.rooms_left_by(call.caller.authority()).await?);
        }
        while !rooms.is_empty() {
            let rest = rooms.split_off(rooms.len().min(AT_A_TIME));
            found.extend(api.shown(&call.caller, std::mem::replace(&mut rooms, rest)).await?);
        }
        found
    };
    found.retain(|(room, _)| {
        term.as_ref().is_none_or(|term| room.is_found_by(term))
            && query.public_rooms.is_none_or(|wanted| room.published == wanted)
    });
    found.sort_by(|(one, of_one), (other, of_other)| {
        let order = by.compare((one, of_one.as_str()), (other, of_other.as_str()));
        let order = if backward { order.reverse() } else { order };
        order.then_with(|| one.room.room_id.cmp(&other.room.room_id))
    });
    let total = found.len();
    let rooms: Vec<Value> = part.of_list(found).iter().map(|(room, version)| room.told(version)).collect();
    let next = part.next(rooms.len(), total);
    let mut answer = json!({ "rooms": rooms, "offset": part.from, "total_rooms": total });
    if let Some(next) = next {
        answer["next_batch"] = json!(next);
    }
    if part.from > 0 {
        answer["prev_batch"] = json!(part.from.saturating_sub(part.limit));
    }
    Ok(json_response(StatusCode::OK, &answer))
}

/// `GET /_synapse/admin/v1/rooms/{room}`
pub(crate) async fn get(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let (info, members) = api.room(&call.caller, &room_id).await?;
    let room = AuthorityRoom { serial: info.serial, room_id, members };
    let (shown, version) = api
        .shown(&call.caller, vec![room])
        .await?
        .pop()
        .ok_or_else(|| ApiError::not_found("Room not found"))?;
    let mut told = shown.told(&version);
    let summary = &shown.summary;
    told["topic"] = json!(summary.topic);
    told["avatar"] = json!(summary.avatar);
    told["joined_local_devices"] = json!(api.devices_in(&call.caller, info.serial).await?);
    told["forgotten"] = json!(false);
    let tombstone = api.rooms.current_state_event(&info, "m.room.tombstone", "").await?;
    told["tombstoned"] = json!(tombstone.is_some());
    told["replacement_room"] = json!(summary.replacement);
    Ok(json_response(StatusCode::OK, &told))
}

impl AdminApi {
    /// Refuses what would take a room from the server's own users: one by rule, which only the rules change, or one in which
    /// somebody is told notices.
    pub(crate) async fn refuse_own_room(
        &self,
        caller: &Administrator,
        room: &RoomInfo,
    ) -> Result<(), ApiError> {
        for member in self.own_members(caller, room.serial).await? {
            if self.accounts.keeps_rooms(&member).await? {
                return Err(ApiError::forbidden(
                    "サーバー自身のルームです（規則で作られたルームは規則で変えます） / This is a room of the server's own: rooms by rule are changed by rules",
                ));
            }
        }
        Ok(())
    }

    /// The joined members of a room who are of the administrator's authority.
    pub(crate) async fn own_members(
        &self,
        caller: &Administrator,
        room: RoomSerial,
    ) -> Result<Vec<OwnedUserId>, ApiError> {
        let mut members = self.rooms.local_members_of(&[room]).await?.pop().unwrap_or_default();
        members.retain(|member| member.server_name() == caller.authority());
        Ok(members)
    }

    /// How many devices they have; of each no more are counted than anybody has.
    async fn devices_in(&self, caller: &Administrator, room: RoomSerial) -> Result<usize, ApiError> {
        const MOST_OF_USER: usize = 100;
        let members = self.own_members(caller, room).await?;
        let mut count = 0;
        for some in members.chunks(AT_A_TIME) {
            let some: Vec<&UserId> = some.iter().map(|member| &**member).collect();
            count += self.accounts.standing_of(&some, MOST_OF_USER).await?.len();
        }
        Ok(count)
    }
}

/// `GET /_synapse/admin/v1/rooms/{room}/members`: the joined members, of all servers.
pub(crate) async fn members(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let (room, _) = api.room(&call.caller, &room_id).await?;
    let members = api.rooms.joined_users(&room).await?;
    let total = members.len();
    Ok(json_response(StatusCode::OK, &json!({ "members": members, "total": total })))
}

/// `GET /_synapse/admin/v1/rooms/{room}/forward_extremities`. There are never more than twenty, so nobody takes them away.
pub(crate) async fn forward_extremities(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let named = word_in(&call, 0)?;
    let (room, _) = api.room_or_alias(&call.caller, &named).await?;
    let head = api.rooms.get_head(&room).await?;
    let ids: Vec<_> = head.extremities.iter().map(|extremity| extremity.event_id.clone()).collect();
    let events = api.rooms.events_by_id(&ids).await?;
    let results: Vec<Value> = head
        .extremities
        .iter()
        .zip(events)
        .map(|(extremity, event)| {
            json!({
                "event_id": extremity.event_id,
                "depth": extremity.depth,
                // When it came is not kept; when it was sent, it says itself.
                "received_ts": event.map(|event| event.pdu().origin_server_ts()),
                // There are no groups of states here.
                "state_group": null,
            })
        })
        .collect();
    let count = results.len();
    Ok(json_response(StatusCode::OK, &json!({ "count": count, "results": results })))
}

/// `GET /_synapse/admin/v1/rooms/{room}/block`: whether users of the authority are kept from coming in, also of a room that
/// nobody knows.
pub(crate) async fn is_blocked(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let answer = match api.engine.find_block(call.caller.authority(), &room_id).await? {
        Some(blocked) => json!({ "block": true, "user_id": blocked.by }),
        None => json!({ "block": false }),
    };
    Ok(json_response(StatusCode::OK, &answer))
}

/// `PUT /_synapse/admin/v1/rooms/{room}/block`
pub(crate) async fn block(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        block: bool,
    }
    let room_id = room_id_in(&call, 0)?;
    let Body { block } = call.json()?;
    let by = call.caller.actor(call.address);
    api.engine.set_blocked(call.caller.authority(), &room_id, block, &by).await?;
    Ok(json_response(StatusCode::OK, &json!({ "block": block })))
}

/// `POST /_synapse/admin/v1/join/{roomIdOrAlias}`: brings a user of the authority into one of its rooms. Where that takes an
/// invite, the administrator invites him, and has to be in the room and may do that.
pub(crate) async fn join(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        user_id: OwnedUserId,
    }
    let named = word_in(&call, 0)?;
    let Body { user_id } = call.json()?;
    call.caller.must_have(&user_id)?;
    let account = api.account(&user_id).await?;
    api.accounts.refuse_own(&user_id).await?;
    if account.deactivated {
        return Err(ApiError::not_found("User not found"));
    }
    let (room, _) = api.room_or_alias(&call.caller, &named).await?;
    let room_id = &room.room_id;
    let joining = Joining { profile: account.profile.clone(), ..Joining::default() };
    let by = call.caller.actor(call.address);
    let deed = Deed::new(Action::JoinRoom, &by, user_id.as_str(), api.clock.now()).after("room", room_id);
    let deed = (&deed, call.caller.authority());
    let admin = call.caller.user_id();
    let joined = api.engine.join_noted(&user_id, room_id, &joining, deed).await;
    let needs_invite = matches!(joined, Err(room::Error::Forbidden(_)));
    if needs_invite && api.rooms.is_joined(admin, room_id).await? {
        if api.rooms.membership_in(&room, &user_id).await? != Some(Membership::Invite) {
            api.engine.invite(admin, room_id, &user_id, &account.profile, None).await?;
        }
        api.engine.join_noted(&user_id, room_id, &joining, deed).await?;
    } else {
        joined?;
    }
    // Whose account was closed meanwhile has left all rooms, and not this one.
    if api.account(&user_id).await?.deactivated {
        api.engine.leave(&user_id, room_id, None).await?;
        return Err(ApiError::not_found("User not found"));
    }
    Ok(json_response(StatusCode::OK, &json!({ "room_id": room_id })))
}

/// `POST /_synapse/admin/v1/rooms/{roomIdOrAlias}/make_room_admin`: gives a user of the authority, or the administrator
/// himself, as much power as it has in the room, and invites him where he is not in it and could not join.
pub(crate) async fn make_admin(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        user_id: Option<OwnedUserId>,
    }
    let named = word_in(&call, 0)?;
    let Body { user_id } = if call.body.is_empty() { Body::default() } else { call.json()? };
    let user = user_id.unwrap_or_else(|| call.caller.user_id().clone());
    call.caller.must_have(&user)?;
    let account = api.account(&user).await?;
    api.accounts.refuse_own(&user).await?;
    if account.deactivated {
        return Err(ApiError::not_found("User not found"));
    }
    let (room, _) = api.room_or_alias(&call.caller, &named).await?;
    api.refuse_own_room(&call.caller, &room).await?;
    let by = call.caller.actor(call.address);
    let room_id = &room.room_id;
    let deed = Deed::new(Action::GrantRoomPower, &by, user.as_str(), api.clock.now()).after("room", room_id);
    let giver = match api.engine.grant_power(&user, room_id, &deed).await {
        Err(room::Error::NotAllowed(why)) => return Err(ApiError::bad_request(why)),
        giver => giver?,
    };
    if let Some(giver) = giver {
        let membership = api.rooms.membership_in(&room, &user).await?;
        let is_there = matches!(membership, Some(Membership::Join | Membership::Invite));
        let summary = api.rooms.summaries(&[room.serial]).await?.pop().unwrap_or_default();
        if !is_there && summary.join_rule.as_deref() != Some("public") {
            api.engine.invite(&giver, room_id, &user, &account.profile, None).await?;
        }
    }
    Ok(json_response(StatusCode::OK, &json!({})))
}
