//! What users do with the bot.

use http::Method;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::{Seen, User};

/// The bot of every server in these tests.
pub(crate) const BOT: &str = "@memo:kanazawa.test";

/// Rooms into which a user is asked.
fn invites(seen: &Seen) -> Vec<OwnedRoomId> {
    let rooms = seen.rooms.iter().filter(|(_, room)| room.section == "invite");
    rooms.map(|(id, _)| RoomId::parse(id).unwrap()).collect()
}

/// A direct room into which a user asks the bot.
pub(crate) async fn direct_room(user: &User) -> OwnedRoomId {
    let wishes = json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [BOT] });
    user.create_room_with(&wishes).await
}

/// A user asks the bot into a direct room and goes where it asks him.
pub(crate) async fn memo_room(user: &User) -> OwnedRoomId {
    direct_room(user).await;
    let seen = user.sync_until(|seen| !invites(seen).is_empty()).await;
    let room = invites(&seen).remove(0);
    user.join(&room, "kanazawa.test").await;
    user.sync_until(|seen| seen.is_joined(&room)).await;
    room
}

/// Waits for a text of the bot that is as wanted, behind what it said before.
pub(crate) async fn hears(user: &User, room: &RoomId, wanted: impl Fn(&str) -> bool) -> String {
    let last = |seen: &Seen| said(seen, room).into_iter().rev().find(|text| wanted(text));
    let seen = user.sync_until(|seen| last(seen).is_some()).await;
    last(&seen).unwrap()
}

/// What the bot said in a room, oldest first.
fn said(seen: &Seen, room: &RoomId) -> Vec<String> {
    let room = seen.room(room);
    let own =
        room.timeline.iter().filter(|event| event["sender"] == BOT && event["type"] == "m.room.message");
    own.filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())).collect()
}

/// Sends a message of any content.
pub(crate) async fn send(user: &User, room: &RoomId, txn: &str, content: &Value) -> String {
    let path = format!("/rooms/{room}/send/m.room.message/{txn}");
    let answer = user.call(Method::PUT, &path, Some(content)).await;
    answer["event_id"].as_str().unwrap().to_owned()
}
