//! Deleting rooms, as one authority may: its users are made to leave, and where no other authority of the process has, or had,
//! anybody in the room, all that is stored of it is purged. What is stored is shared; to another authority the room stays as it
//! is, and nothing tells the administrator of it.
//!
//! Where that is wished, a room is made in its place to which they are brought, and which tells them why. Aliases are not moved.
//!
//! What was ordered is kept, a thousand orders of an authority, so that how far it is can be asked. A purge goes on by itself
//! after a stop. Who was still to leave a room that is not purged does not: then it is told that the order was broken off, and
//! giving it again does what was left.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/rooms.html#delete-room-api>

use std::{sync::Arc, time::Duration};

use audit::{Action, Actor, Deed};
use base::{Attempts, Timestamp};
use engine::{CreateRoom, Joining, Preset};
use pdu::Draft;
use room::read::room::RoomInfo;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, events::TimelineEventType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Batch, CommitError, Order, Range, Table, Tuning};
use tracing::warn;
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    own::{room_id_in, word_in},
};

/// What was ordered; key: authority, the order's id, which begins with its time.
pub(crate) static DELETIONS: Table<(String, String), DeletionRow> =
    Table::new(295, "admin_api.deletions", Tuning::Small);

/// Orders of an authority that are kept.
const MOST_KEPT: usize = 1_000;

/// Users who are named of one order.
const MOST_NAMED: usize = 1_000;

/// Letters of chance in an order's id.
const CHANCE: usize = 12;

/// How long the older form of the request waits for the end, and how often it looks.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A room that was ordered to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletionRow {
    room: String,
    by: String,
    since_ms: u64,
    /// Whether all that is stored of it goes.
    purges: bool,
    /// Whether everybody has left; of a purge, how far it is is known elsewhere.
    left: bool,
    /// Who was in it, the first of them.
    members: Vec<String>,
    /// Who could not be made to leave.
    failed: Vec<String>,
    /// The room that was made in its place.
    new_room: Option<String>,
}
store::row!(DeletionRow, schema = 1);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wish {
    block: bool,
    purge: Option<bool>,
    /// Who makes another room in its place, to which the users of the authority are brought.
    new_room_user_id: Option<String>,
    /// What that room is called.
    room_name: Option<String>,
    /// What its maker says there.
    message: Option<String>,
}

/// An order that was given.
struct Ordered {
    id: String,
    authority: OwnedServerName,
    room: Arc<RoomInfo>,
    members: Vec<OwnedUserId>,
    by: Actor,
    row: DeletionRow,
}

/// `DELETE /_synapse/admin/v2/rooms/{room}`: the answer comes at once. A room that is not the authority's can be closed to its
/// users so, and nothing else.
pub(crate) async fn delete(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let (room_id, wish) = asked(&call)?;
    let _one_at_a_time = api.ordering.lock().await;
    if let Some((id, _)) = api.going_on(call.caller.authority(), &room_id).await? {
        return Ok(json_response(StatusCode::OK, &json!({ "delete_id": id })));
    }
    let id = match order(&api, &call, &room_id, &wish).await {
        Err(error) if wish.block && error.status() == StatusCode::NOT_FOUND => {
            close_unknown(&api, &call, &room_id).await?.0
        }
        ordered => {
            let ordered = ordered?;
            let id = ordered.id.clone();
            api.start(ordered);
            id
        }
    };
    Ok(json_response(StatusCode::OK, &json!({ "delete_id": id })))
}

/// `DELETE /_synapse/admin/v1/rooms/{room}`, and `POST …/delete`: the answer comes when it is done, or goes on after a minute.
pub(crate) async fn delete_and_wait(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let (room_id, wish) = asked(&call)?;
    let one_at_a_time = api.ordering.lock().await;
    if let Some((_, row)) = api.going_on(call.caller.authority(), &room_id).await? {
        return Ok(json_response(StatusCode::OK, &shut_down(&row)));
    }
    let ordered = match order(&api, &call, &room_id, &wish).await {
        Err(error) if wish.block && error.status() == StatusCode::NOT_FOUND => {
            return Ok(json_response(
                StatusCode::OK,
                &shut_down(&close_unknown(&api, &call, &room_id).await?.1),
            ));
        }
        ordered => ordered?,
    };
    let (authority, id) = (ordered.authority.clone(), ordered.id.clone());
    api.start(ordered);
    drop(one_at_a_time);
    let began = api.clock.instant();
    loop {
        let Some(row) = api.deletion(&authority, &id).await? else { break };
        if api.state_of(&id, &row).await?.0 != "active" || api.clock.instant().since(began) > LONGEST_WAIT {
            return Ok(json_response(StatusCode::OK, &shut_down(&row)));
        }
        api.clock.sleep(LOOK_EVERY).await;
    }
    Err(ApiError::not_found("The order is not kept any more"))
}

fn asked(call: &RawCall<Administrator>) -> Result<(OwnedRoomId, Wish), ApiError> {
    let room_id = room_id_in(call, 0)?;
    // A body that is not there is none that asks for nothing: whoever deletes says so.
    let wish: Wish = call.json()?;
    Ok((room_id, wish))
}

/// Closes a room to the users of the authority who have never been in it; as an order that is carried out.
async fn close_unknown(
    api: &AdminApi,
    call: &RawCall<Administrator>,
    room_id: &RoomId,
) -> Result<(String, DeletionRow), ApiError> {
    let (authority, by) = (call.caller.authority(), call.caller.actor(call.address));
    api.engine.set_blocked(authority, room_id, true, &by).await?;
    let now = api.clock.now();
    let row = DeletionRow {
        room: room_id.to_string(),
        by: by.name().to_owned(),
        since_ms: now.millis(),
        purges: false,
        left: true,
        members: Vec::new(),
        failed: Vec::new(),
        new_room: None,
    };
    let id = api.new_id(now);
    let mut batch = Batch::new();
    batch.insert(&DELETIONS, &(authority.as_str(), id.as_str()), &row);
    api.put_trimmed(&mut batch, authority).await?;
    api.store.commit(batch).await?;
    Ok((id, row))
}

/// Writes down what is to be done. On return it is on disk.
async fn order(
    api: &AdminApi,
    call: &RawCall<Administrator>,
    room_id: &RoomId,
    wish: &Wish,
) -> Result<Ordered, ApiError> {
    let (caller, by) = (&call.caller, call.caller.actor(call.address));
    let authority = caller.authority();
    let (room, _) = api.room(caller, room_id).await?;
    api.refuse_own_room(caller, &room).await?;
    let new_room = match wish.new_room_user_id.as_deref().filter(|user| !user.is_empty()) {
        Some(user) => Some(api.make_successor(caller, user, wish, &by).await?),
        None => None,
    };
    // Before anybody leaves, so that nobody comes back in.
    if wish.block {
        api.engine.set_blocked(authority, room_id, true, &by).await?;
    }
    let members = api.own_members(caller, room.serial).await?;
    let purges = wish.purge != Some(false) && api.engine.is_room_of(authority, &room).await?;
    let purges = purges
        && match api.engine.purge_own(authority, room_id, &by).await {
            Ok(()) => true,
            // Somebody of another authority came in between.
            Err(room::Error::NotAllowed(_)) => false,
            // By an order of the operator, or one of a moment ago.
            Err(room::Error::BeingPurged(_)) => {
                return Err(ApiError::bad_request("This room is being deleted already"));
            }
            Err(error) => return Err(error.into()),
        };
    let now = api.clock.now();
    let row = DeletionRow {
        room: room_id.to_string(),
        by: by.name().to_owned(),
        since_ms: now.millis(),
        purges,
        left: purges,
        members: members.iter().take(MOST_NAMED).map(ToString::to_string).collect(),
        failed: Vec::new(),
        new_room: new_room.map(Into::into),
    };
    let id = api.new_id(now);
    let mut batch = Batch::new();
    batch.insert(&DELETIONS, &(authority.as_str(), id.as_str()), &row);
    api.put_trimmed(&mut batch, authority).await?;
    if !purges {
        // Of a purge the row came with its order.
        Deed::new(Action::EmptyRoom, &by, room_id.as_str(), now).write(&mut batch, authority);
    }
    api.store.commit(batch).await?;
    Ok(Ordered { id, authority: authority.to_owned(), room, members, by, row })
}

impl AdminApi {
    /// The id of a new order.
    fn new_id(&self, now: Timestamp) -> String {
        format!("{:012x}{}", now.millis(), self.random.token(CHANCE))
    }

    /// Takes the oldest orders away where there are too many.
    async fn put_trimmed(&self, batch: &mut Batch, authority: &ServerName) -> Result<(), ApiError> {
        let range = Range::prefix(authority.as_str());
        let rows = self.store.scan(&DELETIONS, range, Order::Ascending, MOST_KEPT + 1).await?;
        for (key, _) in rows.iter().take((rows.len() + 1).saturating_sub(MOST_KEPT)) {
            batch.delete(&DELETIONS, key);
        }
        Ok(())
    }

    /// Makes a room in the place of one that is deleted, in which only its maker speaks.
    async fn make_successor(
        &self,
        caller: &Administrator,
        user: &str,
        wish: &Wish,
        by: &Actor,
    ) -> Result<OwnedRoomId, ApiError> {
        const NAME: &str = "お知らせ / Content Violation Notification";
        const MESSAGE: &str = "このルームは管理者によって閉じられました。 / Sharing illegal content on this server is not permitted and rooms in violation will be blocked.";
        let user = OwnedUserId::try_from(user)
            .map_err(|_| ApiError::invalid_param("new_room_user_id is no user id"))?;
        caller.must_have(&user)?;
        if self.accounts.find_account(&user).await?.is_none_or(|account| account.deactivated) {
            return Err(ApiError::invalid_param("new_room_user_id has no account here"));
        }
        self.accounts.refuse_own(&user).await?;
        let wishes = CreateRoom {
            // Its users are brought into it, and are not asked.
            preset: Preset::PublicChat,
            name: Some(wish.room_name.clone().unwrap_or_else(|| NAME.to_owned())),
            power_level_content_override: Map::from_iter([("users_default".to_owned(), json!(-10))]),
            profile: self.accounts.member_profile(&user).await?,
            by: Some(by.clone()),
            ..CreateRoom::default()
        };
        let room_id = self.engine.create(&user, wishes).await?;
        let body = wish.message.as_deref().unwrap_or(MESSAGE);
        let content = json!({ "msgtype": "m.text", "body": body });
        let content = serde_json::value::to_raw_value(&content).map_err(ApiError::internal)?;
        let draft = Draft {
            kind: TimelineEventType::RoomMessage,
            state_key: None,
            content,
            sender: user,
            redacts: None,
        };
        self.engine.send(&room_id, draft, None).await?;
        Ok(room_id)
    }

    /// Brings the users of the authority into the room that was made in the place of theirs.
    async fn bring_over(&self, ordered: &Ordered) -> Result<(), ApiError> {
        let Some(new_room) = ordered.row.new_room.as_deref() else { return Ok(()) };
        let new_room = <&RoomId>::try_from(new_room).map_err(ApiError::internal)?;
        for member in &ordered.members {
            let joining =
                Joining { profile: self.accounts.member_profile(member).await?, ..Joining::default() };
            let deed = Deed::new(Action::JoinRoom, &ordered.by, member.as_str(), self.clock.now());
            let deed = deed.after("room", new_room);
            let joined =
                self.engine.join_noted(member, new_room, &joining, (&deed, &ordered.authority)).await;
            if let Err(error) = joined {
                warn!(user_id = %member, room_id = %new_room, %error, "a user could not be brought into a room");
            }
        }
        Ok(())
    }

    /// Has the users of the authority go over to the other room, and leave one that is not purged.
    fn start(self: &Arc<Self>, ordered: Ordered) {
        if ordered.row.purges && ordered.row.new_room.is_none() {
            return;
        }
        let api = self.clone();
        self.working.lock().insert(ordered.id.clone());
        let stopping = self.tasks.shutdown_token();
        self.tasks.spawn("admin_api.deletion", async move {
            let go = async {
                api.bring_over(&ordered).await?;
                if ordered.row.purges { Ok(()) } else { api.empty(&ordered).await }
            };
            let done = stopping.run_until_cancelled(go).await;
            if let Some(Err(error)) = done {
                warn!(room_id = %ordered.room.room_id, %error, "the users of an authority could not all be made to leave");
            }
            api.working.lock().remove(&ordered.id);
        });
    }

    async fn empty(&self, ordered: &Ordered) -> Result<(), ApiError> {
        let mut failed = Vec::new();
        for member in &ordered.members {
            if let Err(error) = self.engine.leave(member, &ordered.room.room_id, None).await {
                warn!(user_id = %member, room_id = %ordered.room.room_id, %error, "a user could not be made to leave");
                if failed.len() < MOST_NAMED {
                    failed.push(member.to_string());
                }
            }
        }
        let key = (ordered.authority.as_str(), ordered.id.as_str());
        let done = DeletionRow { left: true, failed, ..ordered.row.clone() };
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            batch.replace(&DELETIONS, &key, &ordered.row, &done);
            match self.store.commit(batch).await {
                // It was trimmed meanwhile.
                Ok(_) | Err(CommitError::Conflict { .. }) => return Ok(()),
                Err(CommitError::Unknown | CommitError::Busy) if attempts.again(&self.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn deletion(&self, authority: &ServerName, id: &str) -> Result<Option<DeletionRow>, ApiError> {
        Ok(self.store.get(&DELETIONS, &(authority.as_str(), id)).await?)
    }

    /// The order that a room be deleted which is carried out now, if there is one: who gives it again is told of that one.
    async fn going_on(
        &self,
        authority: &ServerName,
        room_id: &RoomId,
    ) -> Result<Option<(String, DeletionRow)>, ApiError> {
        let range = Range::prefix(authority.as_str());
        let rows = self.store.scan(&DELETIONS, range, Order::Descending, MOST_KEPT).await?;
        for ((_, id), row) in rows.into_iter().filter(|(_, row)| row.room == room_id.as_str()) {
            if self.state_of(&id, &row).await?.0 == "active" {
                return Ok(Some((id, row)));
            }
        }
        Ok(None)
    }

    /// How far it is, and why it is no further.
    async fn state_of(
        &self,
        id: &str,
        row: &DeletionRow,
    ) -> Result<(&'static str, Option<&'static str>), ApiError> {
        if self.working.lock().contains(id) {
            return Ok(("active", None));
        }
        if row.purges {
            // At most as many as are purged at a time.
            let purges = self.engine.purges().await?;
            let is_going_on = purges.iter().any(|purge| purge.room_id.as_str() == row.room);
            return Ok((if is_going_on { "active" } else { "complete" }, None));
        }
        Ok(ended_as(row))
    }

    async fn told_deletion(&self, id: &str, row: &DeletionRow) -> Result<Value, ApiError> {
        let (status, error) = self.state_of(id, row).await?;
        let mut told = json!({
            "delete_id": id, "room_id": row.room, "status": status, "shutdown_room": shut_down(row),
        });
        if let Some(error) = error {
            told["error"] = json!(error);
        }
        Ok(told)
    }
}

/// What became of an order on which nobody works any more, and that is no purge.
fn ended_as(row: &DeletionRow) -> (&'static str, Option<&'static str>) {
    match (row.left, row.failed.is_empty()) {
        (true, true) => ("complete", None),
        (true, false) => ("failed", Some("some users could not be made to leave")),
        // Or another process works on it; then it is done soon.
        (false, _) => ("failed", Some("this was broken off; delete the room again")),
    }
}

fn shut_down(row: &DeletionRow) -> Value {
    // Who has left is known once all were made to.
    let has_gone = |member: &&String| row.left && !row.failed.contains(member);
    let gone: Vec<&String> = row.members.iter().filter(has_gone).collect();
    json!({
        "kicked_users": gone,
        "failed_to_kick_users": row.failed,
        // None is moved: they are the old room's, and go with it.
        "local_aliases": [],
        "new_room_id": row.new_room,
    })
}

/// `GET /_synapse/admin/v2/rooms/{room}/delete_status`: all orders of a room that are kept.
pub(crate) async fn status_of_room(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let range = Range::prefix(call.caller.authority().as_str());
    let rows = api.store.scan(&DELETIONS, range, Order::Ascending, MOST_KEPT + 1).await?;
    let mut results = Vec::new();
    for ((_, id), row) in rows.iter().filter(|(_, row)| row.room == room_id.as_str()) {
        results.push(api.told_deletion(id, row).await?);
    }
    if results.is_empty() {
        return Err(ApiError::not_found("No delete task for room_id found"));
    }
    Ok(json_response(StatusCode::OK, &json!({ "results": results })))
}

/// `GET /_synapse/admin/v2/rooms/delete_status/{delete_id}`
pub(crate) async fn status(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let id = word_in(&call, 0)?;
    let row = api.deletion(call.caller.authority(), &id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("delete id not found"))?;
    Ok(json_response(StatusCode::OK, &api.told_deletion(&id, &row).await?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use store::Value;

    use super::*;

    /// D8: of those who could not be made to leave it is told who they are, and that it failed.
    #[test]
    fn who_stayed_is_told_apart_from_who_left_and_nobody_has_left_before_all_were_asked_to() {
        let members = ["@a:b", "@c:b"].map(ToOwned::to_owned).to_vec();
        let row = |left: bool, failed: &[&str]| DeletionRow {
            room: "!a:b".to_owned(),
            by: "@a:b".to_owned(),
            since_ms: 5,
            purges: false,
            left,
            members: members.clone(),
            failed: failed.iter().map(|user| (*user).to_owned()).collect(),
            new_room: None,
        };
        let told = |row: &DeletionRow| {
            let told = shut_down(row);
            let (status, error) = ended_as(row);
            assert_eq!(status == "failed", error.is_some());
            (status, told["kicked_users"].clone(), told["failed_to_kick_users"].clone())
        };
        assert_eq!(told(&row(true, &[])), ("complete", json!(["@a:b", "@c:b"]), json!([])));
        assert_eq!(told(&row(true, &["@c:b"])), ("failed", json!(["@a:b"]), json!(["@c:b"])));
        assert_eq!(told(&row(false, &[])), ("failed", json!([]), json!([])));
    }

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let row = DeletionRow {
            room: "!a:b".to_owned(),
            by: "@a:b".to_owned(),
            since_ms: 5,
            purges: true,
            left: false,
            members: vec!["@c:b".to_owned()],
            failed: Vec::new(),
            new_room: Some("!c:b".to_owned()),
        };
        let bytes = row.encode();
        assert_eq!(&bytes[..], b"\x01\x04!a:b\x04@a:b\x05\x01\x00\x01\x04@c:b\x00\x01\x04!c:b");
        assert_eq!(DeletionRow::decode(&bytes).unwrap(), row);
    }
}
