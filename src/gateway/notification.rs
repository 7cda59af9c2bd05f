//! What a homeserver tells, and what of it a device is told.
//!
//! Browsers are told what `matrix-org/sygnal` tells them, so that apps work with either: the fields of a notification as they
//! are, counts beside them. What is too long for a push service is told by ids alone, and the app fetches it.
//!
//! Spec: <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>

use pdu::lenient::field;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::webpush::MOST_TEXT;

/// The body of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) notification: Notification,
}

/// What happened.
#[derive(Debug, Deserialize)]
pub(crate) struct Notification {
    /// For whom.
    pub(crate) devices: Vec<Device>,
    #[serde(default, deserialize_with = "field")]
    pub(crate) counts: Option<Counts>,
    #[serde(default, deserialize_with = "field")]
    prio: Option<String>,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Counts {
    #[serde(default, deserialize_with = "field")]
    pub(crate) unread: Option<u64>,
    #[serde(default, deserialize_with = "field")]
    pub(crate) missed_calls: Option<u64>,
}

/// A device, as its pusher has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Device {
    pub(crate) app_id: String,
    pub(crate) pushkey: String,
    #[serde(default, deserialize_with = "field")]
    pub(crate) data: Data,
    /// When the key was set, in seconds since 1970.
    #[serde(default, deserialize_with = "field")]
    pub(crate) pushkey_ts: Option<u64>,
    #[serde(default, deserialize_with = "field")]
    pub(crate) tweaks: Tweaks,
}

/// How an event is to be shown.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Tweaks {
    #[serde(default, deserialize_with = "field")]
    pub(crate) sound: Option<String>,
}

/// What an app has put into its pusher.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Data {
    /// Where the push service has the subscription.
    #[serde(default, deserialize_with = "field")]
    pub(crate) endpoint: Option<String>,
    /// The subscription's secret.
    #[serde(default, deserialize_with = "field")]
    pub(crate) auth: Option<String>,
    /// Only events are told: a browser shows something for each message that it is brought.
    #[serde(default, deserialize_with = "field")]
    pub(crate) events_only: Option<bool>,
    /// Of what waits at the push service, the newest of a room stands for all.
    #[serde(default, deserialize_with = "field")]
    pub(crate) only_last_per_room: Option<bool>,
    /// What is told besides each time.
    #[serde(default, deserialize_with = "field")]
    pub(crate) default_payload: Option<Map<String, Value>>,
}

/// What a device is told of an event.
const FIELDS: [&str; 10] = [
    "room_id",
    "room_name",
    "room_alias",
    "membership",
    "event_id",
    "sender",
    "sender_display_name",
    "user_is_target",
    "type",
    "content",
];

/// By these an app fetches the rest.
const IDS: [&str; 2] = ["room_id", "event_id"];

impl Notification {
    /// The event, unless it is the number alone that is told.
    pub(crate) fn event_id(&self) -> Option<&str> {
        self.said("event_id")
    }

    /// A text among what is told.
    pub(crate) fn said(&self, name: &str) -> Option<&str> {
        self.rest.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    pub(crate) fn room_id(&self) -> Option<&str> {
        self.said("room_id")
    }

    pub(crate) fn is_low(&self) -> bool {
        self.prio.as_deref() == Some("low")
    }

    /// What a browser is told: all that there is, or ids and numbers where that is too long.
    pub(crate) fn text_for(&self, device: &Device) -> Vec<u8> {
        let text = self.text(device.data.default_payload.as_ref(), &FIELDS);
        if text.len() <= MOST_TEXT { text } else { self.ids_for(device) }
    }

    /// The same by ids.
    pub(crate) fn ids_for(&self, device: &Device) -> Vec<u8> {
        let text = self.text(device.data.default_payload.as_ref(), &IDS);
        let text = if text.len() <= MOST_TEXT { text } else { self.text(None, &IDS) };
        if text.len() <= MOST_TEXT { text } else { self.text(None, &[]) }
    }

    /// What an app on a phone is told: names with texts alone, as Google's push service brings nothing else. What is in the content
    /// is told by names of its own, and what has no text is left out.
    pub(crate) fn data_for(&self, device: &Device, most: usize) -> Map<String, Value> {
        let mut data = self.data(device.data.default_payload.as_ref(), &FIELDS);
        if let Some(Value::Object(content)) = self.rest.get("content") {
            for (name, value) in content {
                if let Value::String(value) = value {
                    data.insert(format!("content_{name}"), json!(value));
                }
            }
        }
        if size_of(&data) > most {
            data = self.data(device.data.default_payload.as_ref(), &IDS);
        }
        if size_of(&data) > most { self.data(None, &IDS) } else { data }
    }

    fn data(&self, begun: Option<&Map<String, Value>>, fields: &[&str]) -> Map<String, Value> {
        let mut data = Map::new();
        let given = begun.into_iter().flatten().filter(|(name, _)| !is_reserved(name));
        let told = fields.iter().filter_map(|name| Some(((*name).to_owned(), self.rest.get(*name)?)));
        for (name, value) in given.map(|(name, value)| (name.clone(), value)).chain(told) {
            match value {
                Value::String(text) if !text.is_empty() => {
                    data.insert(name, json!(text));
                }
                Value::Bool(_) | Value::Number(_) => {
                    data.insert(name, json!(value.to_string()));
                }
                _ => {}
            }
        }
        let counts = self
            .counts
            .iter()
            .flat_map(|counts| [("unread", counts.unread), ("missed_calls", counts.missed_calls)]);
        for (name, count) in counts {
            if let Some(count) = count {
                data.insert(name.to_owned(), json!(count.to_string()));
            }
        }
        data.insert("prio".to_owned(), json!(if self.is_low() { "low" } else { "high" }));
        data
    }

    fn text(&self, begun: Option<&Map<String, Value>>, fields: &[&str]) -> Vec<u8> {
        let mut text = begun.cloned().unwrap_or_default();
        for name in fields {
            if let Some(value) = self.rest.get(*name).filter(|value| is_something(value)) {
                text.insert((*name).to_owned(), value.clone());
            }
        }
        let counts = self
            .counts
            .iter()
            .flat_map(|counts| [("unread", counts.unread), ("missed_calls", counts.missed_calls)]);
        for (name, count) in counts {
            if let Some(count) = count {
                text.insert(name.to_owned(), json!(count));
            }
        }
        Value::Object(text).to_string().into_bytes()
    }
}

/// The size of what an app is told, as Google's push service counts it.
fn size_of(data: &Map<String, Value>) -> usize {
    data.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum()
}

/// Names that Google's push service keeps for itself: with one of them it takes no message.
fn is_reserved(name: &str) -> bool {
    matches!(name, "from" | "message_type" | "collapse_key")
        || name.starts_with("google")
        || name.starts_with("gcm")
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}
