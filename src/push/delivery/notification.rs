//! What a gateway is told, as JSON.
//!
//! Spec: <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>

use std::sync::Arc;

use bytes::Bytes;
use room::read::{bounded, event::StoredEvent};
use ruma::{
    UserId,
    api::client::push::{Pusher, PusherKind},
    push::{Action, PushFormat, Tweak},
};
use serde_json::{Map, Value, json};

/// A content that is larger is left out: push services take some thousand bytes, and clients fetch it.
const MOST_CONTENT_BYTES: usize = 16 * 1024;

const ENCRYPTED: &str = "m.room.encrypted";

/// An event as a device is told of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) event: Arc<StoredEvent>,
    pub(super) actions: Vec<Action>,
    pub(super) sender_name: Option<String>,
    pub(super) room_name: Option<String>,
    pub(super) room_alias: Option<String>,
}

/// The body of a request: of an event, or of the number alone.
pub(super) fn body(
    user: &UserId,
    pusher: &Pusher,
    since: Option<u64>,
    unread: u64,
    told: Option<&Told>,
) -> Bytes {
    let PusherKind::Http(data) = &pusher.kind else { return Bytes::new() };
    let mut of_device = match serde_json::to_value(data) {
        Ok(Value::Object(data)) => data,
        _ => Map::new(),
    };
    of_device.remove("url");
    let mut device = Map::new();
    device.insert("app_id".to_owned(), json!(pusher.ids.app_id));
    device.insert("pushkey".to_owned(), json!(pusher.ids.pushkey));
    device.insert("data".to_owned(), Value::Object(of_device));
    if let Some(since) = since {
        device.insert("pushkey_ts".to_owned(), json!(since / 1_000));
    }
    let mut notification = Map::new();
    // Here the number is told whatever it is: zero takes the mark away that a device shows.
    notification.insert("counts".to_owned(), json!({ "unread": unread }));
    if let Some(told) = told {
        let event = &told.event;
        notification.insert("event_id".to_owned(), json!(event.event_id()));
        notification.insert("room_id".to_owned(), json!(event.room_id()));
        notification.insert("prio".to_owned(), json!(priority(told)));
        if data.format != Some(PushFormat::EventIdOnly) {
            fill(&mut notification, user, told);
            device.insert("tweaks".to_owned(), tweaks(&told.actions));
        }
    }
    notification.insert("devices".to_owned(), json!([device]));
    Bytes::from(json!({ "notification": notification }).to_string())
}

fn fill(notification: &mut Map<String, Value>, user: &UserId, told: &Told) {
    let event = &told.event;
    notification.insert("type".to_owned(), json!(event.kind()));
    notification.insert("sender".to_owned(), json!(event.sender()));
    for (name, value) in [
        ("sender_display_name", &told.sender_name),
        ("room_name", &told.room_name),
        ("room_alias", &told.room_alias),
    ] {
        if let Some(value) = value {
            notification.insert(name.to_owned(), json!(bounded::name(value)));
        }
    }
    if event.kind() == "m.room.member" {
        notification.insert("user_is_target".to_owned(), json!(event.state_key() == Some(user.as_str())));
    }
    let content = event.pdu().content_str();
    if event.kind() != ENCRYPTED
        && content.len() <= MOST_CONTENT_BYTES
        && let Ok(content) = serde_json::from_str::<Value>(content)
    {
        notification.insert("content".to_owned(), content);
    }
}

/// Whether a phone is to be woken: for what makes a sound or is for the user himself, and for what only his clients can
/// judge as it is encrypted.
fn priority(told: &Told) -> &'static str {
    let is_loud = |action: &Action| action.is_highlight() || action.sound().is_some();
    let is_high = told.event.kind() == ENCRYPTED || told.actions.iter().any(is_loud);
    if is_high { "high" } else { "low" }
}

fn tweaks(actions: &[Action]) -> Value {
    let mut tweaks = Map::new();
    for action in actions {
        if let Action::SetTweak(tweak) = action {
            match tweak {
                Tweak::Sound(_) => {
                    tweaks.insert("sound".to_owned(), json!(action.sound()));
                }
                Tweak::Highlight(_) => {
                    tweaks.insert("highlight".to_owned(), json!(action.is_highlight()));
                }
                _ => {}
            }
        }
    }
    Value::Object(tweaks)
}
