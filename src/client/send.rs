//! Saying something in a room.
//!
//! Content is taken as it was sent: it is not read into types and written again, so the hot path
//! of a message parses its JSON once, where the event is built.

use std::{collections::BTreeSet, sync::Arc};

use pdu::Draft;
use room::{Txn, read::event::Relation};
use ruma::{
    EventId, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomAliasId,
    RoomId, UserId, api::client::redact::redact_event, events::TimelineEventType,
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, api::viewer};

/// `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`: sends a message event.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>
pub(crate) async fn message(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let kind: String = call.args.get(1)?;
    let txn: String = call.args.get(2)?;
    let content: Box<RawValue> = call.json()?;
    check_thread(&api, &call.caller, &room_id, &content).await?;
    let User { user_id, device_id, .. } = call.caller;

    let txn = Txn { device: device_id, id: OwnedTransactionId::from(txn) };
    let redacts = if kind == "m.room.redaction" { redacted_by(&content)? } else { None };
    let draft = Draft { kind: kind.into(), state_key: None, content, sender: user_id, redacts };

    let event_id = api.rooms.send(&room_id, draft, Some(&txn)).await.map_err(hide_room)?;

    Ok(answer(&event_id))
}

/// A thread cannot begin with an event that relates to another one itself.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#validation-of-mthread-relationships>
async fn check_thread(
    api: &ClientApi,
    caller: &User,
    room_id: &RoomId,
    content: &RawValue,
) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: Relation,
    }
    let Ok(Content { relates_to }) = serde_json::from_str::<Content>(content.get()) else { return Ok(()) };
    if !relates_to.is_thread() {
        return Ok(());
    }
    match api.rooms.event_for(&viewer(caller), room_id, &relates_to.event_id).await {
        Ok(root) if root.event.relation().is_some() => {
            Err(ApiError::bad_request("A thread cannot begin with an event that relates to another one"))
        }
        // What we do not know may be right.
        Ok(_) | Err(room::Error::NoEvent(_) | room::Error::NoRoom(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What a redaction that is sent as a plain event redacts.
fn redacted_by(content: &RawValue) -> Result<Option<OwnedEventId>, ApiError> {
    #[derive(Deserialize)]
    struct Content {
        redacts: Option<OwnedEventId>,
    }
    let content: Content = serde_json::from_str(content.get())
        .map_err(|_| ApiError::bad_json("`redacts` is to be an event id"))?;
    Ok(content.redacts)
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: sets a piece of state.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>
pub(crate) async fn state(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let kind: String = call.args.get(1)?;
    let state_key: String = call.args.get(2)?;
    let content: Box<RawValue> = call.json()?;
    if kind == "m.room.canonical_alias" && state_key.is_empty() {
        check_canonical_alias(&api, &call.caller.user_id, &room_id, &content).await?;
    }
    let sender = call.caller.user_id;
    let draft = Draft { kind: kind.into(), state_key: Some(state_key), content, sender, redacts: None };

    let event_id = api.rooms.send(&room_id, draft, None).await.map_err(hide_room)?;

    Ok(answer(&event_id))
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`: takes the content of an event away.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>
pub(crate) async fn redact(
    api: Arc<ClientApi>,
    call: Call<redact_event::v3::Request, User>,
) -> Result<redact_event::v3::Response, ApiError> {
    let redact_event::v3::Request { room_id, event_id, txn_id, reason, .. } = call.request;
    let User { user_id, device_id, .. } = call.caller;
    let content = match reason {
        Some(reason) => json!({ "reason": reason }),
        None => json!({}),
    };
    let draft = Draft {
        kind: TimelineEventType::RoomRedaction,
        state_key: None,
        content: serde_json::value::to_raw_value(&content).map_err(ApiError::internal)?,
        sender: user_id,
        redacts: Some(event_id),
    };
    let txn = Txn { device: device_id, id: txn_id };

    let event_id = api.rooms.send(&room_id, draft, Some(&txn)).await.map_err(hide_room)?;

    Ok(redact_event::v3::Response::new(event_id))
}

fn answer(event_id: &EventId) -> Response {
    json_response(StatusCode::OK, &json!({ "event_id": event_id }))
}

/// Aliases of other servers that one event may add: each is a request to its server.
const MOST_NEW_ALIASES: usize = 10;

/// Every alias that a room calls its own must be one, and lead to it. Aliases that stand there
/// already are not asked for again: their server may be gone.
///
/// Servers are asked for one who may set the aliases only, and for few aliases at a time: the names are
/// the caller's, and each would be a request of ours.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>
async fn check_canonical_alias(
    api: &ClientApi,
    sender: &UserId,
    room_id: &RoomId,
    content: &RawValue,
) -> Result<(), ApiError> {
    let wanted = Aliases::parse(content)?;
    let Some(room) = api.rooms.room(room_id).await? else { return Ok(()) };
    let known = match api.rooms.current_state_event(&room, "m.room.canonical_alias", "").await {
        Ok(Some(event)) => Aliases::standing(event.pdu().content_str()),
        Ok(None) | Err(room::Error::NoRoom(_)) => Aliases::default(),
        Err(error) => return Err(error.into()),
    };
    let new: BTreeSet<_> = wanted.all().filter(|alias| !known.all().any(|known| known == *alias)).collect();
    if new.is_empty() || !api.rooms.may_set_state(sender, room_id, "m.room.canonical_alias").await? {
        // Sending says why not.
        return Ok(());
    }
    let foreign = new.iter().filter(|alias| !api.rooms.is_ours(alias.server_name())).count();
    if foreign > MOST_NEW_ALIASES {
        return Err(ApiError::invalid_param(format!(
            "At most {MOST_NEW_ALIASES} aliases of other servers can be added at a time"
        )));
    }
    for alias in new {
        let leads_here = match api.rooms.resolve_alias(Some(sender), alias).await {
            Ok(answer) => answer.room_id == room_id,
            Err(room::Error::Store(cause)) => return Err(cause.into()),
            Err(_) => false,
        };
        if !leads_here {
            return Err(bad_alias(alias));
        }
    }
    Ok(())
}

/// The answer to a wish for an alias that is not the room's.
pub(crate) fn bad_alias(alias: &RoomAliasId) -> ApiError {
    let message = format!("The alias {alias} does not lead to this room");
    ApiError::new(StatusCode::BAD_REQUEST, "M_BAD_ALIAS", message)
}

/// The aliases that a room calls its own.
#[derive(Default)]
pub(crate) struct Aliases {
    main: Option<OwnedRoomAliasId>,
    others: Vec<OwnedRoomAliasId>,
}

impl Aliases {
    pub(crate) fn parse(content: &RawValue) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Content {
            alias: Option<String>,
            #[serde(default)]
            alt_aliases: Vec<String>,
        }
        let content: Content = serde_json::from_str(content.get())
            .map_err(|error| ApiError::bad_json(format!("These are no aliases: {error}")))?;
        let parse = |text: &String| {
            OwnedRoomAliasId::try_from(text.as_str())
                .map_err(|_| ApiError::invalid_param(format!("`{text}` is not an alias")))
        };
        Ok(Self {
            main: content.alias.as_ref().filter(|alias| !alias.is_empty()).map(parse).transpose()?,
            others: content.alt_aliases.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// Those of an event that is there already, as far as they are aliases.
    fn standing(content: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Content {
            #[serde(deserialize_with = "pdu::lenient::field")]
            alias: Option<OwnedRoomAliasId>,
            #[serde(deserialize_with = "pdu::lenient::list")]
            alt_aliases: Vec<OwnedRoomAliasId>,
        }
        let Content { alias, alt_aliases } = pdu::lenient::read(content);
        Self { main: alias, others: alt_aliases }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &OwnedRoomAliasId> {
        self.main.iter().chain(&self.others)
    }
}

/// Takes an alias that was deleted out of the room's own list of aliases, if the user may. That
/// the user may not is no error: the alias is gone all the same.
pub(crate) async fn drop_canonical_alias(
    api: &ClientApi,
    sender: &OwnedUserId,
    room_id: &RoomId,
    alias: &OwnedRoomAliasId,
) -> Result<(), ApiError> {
    let Some(room) = api.rooms.room(room_id).await? else { return Ok(()) };
    let current = match api.rooms.current_state_event(&room, "m.room.canonical_alias", "").await {
        Ok(Some(event)) => event,
        Ok(None) | Err(room::Error::NoRoom(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let Some(content) = without_alias(current.pdu().content_str(), alias) else { return Ok(()) };
    let draft = Draft {
        kind: TimelineEventType::RoomCanonicalAlias,
        state_key: Some(String::new()),
        content: serde_json::value::to_raw_value(&content).map_err(ApiError::internal)?,
        sender: sender.clone(),
        redacts: None,
    };
    match api.rooms.send(room_id, draft, None).await {
        Ok(_) | Err(room::Error::Forbidden(_) | room::Error::NotJoined { .. } | room::Error::Denied(_)) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The content of an `m.room.canonical_alias` without an alias, and otherwise as it was; nothing when it does not
/// name it.
fn without_alias(content: &str, alias: &RoomAliasId) -> Option<Map<String, Value>> {
    let mut content: Map<String, Value> = serde_json::from_str(content).ok()?;
    let is_it = |value: &Value| value.as_str() == Some(alias.as_str());
    let mut found = false;
    if content.get("alias").is_some_and(is_it) {
        content.remove("alias");
        found = true;
    }
    if let Some(Value::Array(others)) = content.get_mut("alt_aliases") {
        found |= others.iter().any(is_it);
        others.retain(|other| !is_it(other));
        if others.is_empty() {
            content.remove("alt_aliases");
        }
    }
    found.then_some(content)
}

/// To somebody who is not in it, a room that we do not know and one that is closed look the same.
pub(crate) fn hide_room(error: room::Error) -> ApiError {
    match error {
        room::Error::NoRoom(_) => ApiError::forbidden("You are not in this room"),
        error => error.into(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ruma::room_alias_id;

    use super::*;

    #[test]
    fn taking_an_alias_out_keeps_everything_else_of_the_event() {
        let alias = room_alias_id!("#a:b");
        let content = r##"{"alias":"#a:b","alt_aliases":["#c:d",5,"#a:b"],"org.example":1}"##;
        let left = Value::Object(without_alias(content, alias).unwrap());
        assert_eq!(left, json!({ "alt_aliases": ["#c:d", 5], "org.example": 1 }));
        assert!(without_alias(r##"{"alias":"#x:y"}"##, alias).is_none());
        assert_eq!(Aliases::standing(content).all().count(), 3);
        assert_eq!(Aliases::standing(r##"{"alias":7,"alt_aliases":["#c:d"]}"##).all().count(), 1);
    }
}
