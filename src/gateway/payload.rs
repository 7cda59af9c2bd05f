//! What an app is told over Apple's push service.
//!
//! As `matrix-org/sygnal` tells it, so that Element's and other apps work with either: what their pusher has as
//! `default_payload` (`mutable-content` stands there, with which they look at the event before it is shown), beside it ids
//! and the number; where more than ids is told, the names of texts that they have in their languages (`loc-key`).
//!
//! See <https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification>

use serde_json::{Map, Value, json};

use crate::notification::{Device, Notification};

/// Most that an app is told, in bytes.
const MOST_PAYLOAD: usize = 4_096;

/// Longest name of a person or a room in a text that is shown, in characters.
const MOST_NAME: usize = 256;

/// What is posted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) text: Vec<u8>,
    /// Whether its user sees or hears of it.
    pub(crate) is_shown: bool,
    /// Whether it is to come at once, though that costs power.
    pub(crate) is_urgent: bool,
}

impl Notification {
    /// What an app is told: as much as there is room for, and less for a service that takes less; the one to try first at the
    /// end. Nothing where there is nothing to tell.
    pub(crate) fn payloads_for(&self, device: &Device) -> Vec<Payload> {
        if self.event_id().is_none() {
            return self.badge().map(number).into_iter().collect();
        }
        let mut payloads = vec![self.ids_payload(device)];
        for with_body in [false, true] {
            let Some(payload) = self.whole_payload(device, with_body) else { continue };
            if payload.text.len() <= MOST_PAYLOAD && !payloads.contains(&payload) {
                payloads.push(payload);
            }
        }
        payloads
    }

    /// By ids, with what its pusher has where there is room for it.
    fn ids_payload(&self, device: &Device) -> Payload {
        let begun = device.data.default_payload.clone().unwrap_or_default();
        // What shows something is kept longest: a silent message may never come.
        let shown: Map<String, Value> =
            begun.get("aps").map(|aps| ("aps".to_owned(), aps.clone())).into_iter().collect();
        for begun in [begun, shown] {
            let payload = self.payload(self.with_ids(begun));
            if payload.text.len() <= MOST_PAYLOAD {
                return payload;
            }
        }
        let payload = self.payload(self.with_ids(Map::new()));
        // Ids have 255 bytes, but strangers may call anything an id.
        match payload.text.len() <= MOST_PAYLOAD {
            true => payload,
            false => number(self.badge().unwrap_or_default()),
        }
    }

    fn with_ids(&self, mut payload: Map<String, Value>) -> Value {
        let counts = self.counts.as_ref();
        let told = [
            ("room_id", self.room_id().map(Value::from)),
            ("event_id", self.event_id().map(Value::from)),
            ("unread_count", counts.and_then(|counts| counts.unread).map(Value::from)),
            ("missed_calls", counts.and_then(|counts| counts.missed_calls).map(Value::from)),
        ];
        for (name, value) in told {
            if let Some(value) = value {
                payload.insert(name.to_owned(), value);
            }
        }
        let mut aps = aps_of(&mut payload);
        // One that was to wake the app alone stays so.
        if is_shown(&aps)
            && let Some(badge) = self.badge()
        {
            aps.insert("badge".to_owned(), badge.into());
        }
        payload.insert("aps".to_owned(), Value::Object(aps));
        Value::Object(payload)
    }

    /// With a text that the app has in its user's language, and what was said or without that; nothing where no more than ids is told.
    fn whole_payload(&self, device: &Device, with_body: bool) -> Option<Payload> {
        let (key, arguments) = self.text_shown(with_body)?;
        let mut payload = device.data.default_payload.clone().unwrap_or_default();
        let mut aps = aps_of(&mut payload);
        let mut alert = match aps.remove("alert") {
            Some(Value::Object(alert)) => alert,
            _ => Map::new(),
        };
        alert.insert("loc-key".to_owned(), json!(key));
        alert.insert("loc-args".to_owned(), json!(arguments));
        aps.insert("alert".to_owned(), Value::Object(alert));
        if let Some(sound) = &device.tweaks.sound {
            aps.entry("sound").or_insert_with(|| json!(sound));
        }
        payload.insert("aps".to_owned(), Value::Object(aps));
        Some(self.payload(self.with_ids(payload)))
    }

    /// The name of the text, as apps know it from Sygnal, and what stands in it.
    fn text_shown(&self, with_body: bool) -> Option<(&'static str, Vec<String>)> {
        let kind = self.said("type")?;
        let name = |text: &str| text.chars().take(MOST_NAME).collect::<String>();
        let sender = self.said("sender_display_name").or_else(|| self.said("sender"));
        let sender = sender.map_or_else(|| " ".to_owned(), name);
        let room = self.said("room_name").or_else(|| self.said("room_alias")).map(name);
        let in_content = |name: &str| self.rest.get("content")?.get(name)?.as_str();
        let how = in_content("msgtype");
        let body = how.and(in_content("body")).filter(|_| with_body).map(str::to_owned);
        let is_invite = self.said("membership").or_else(|| in_content("membership")) == Some("invite");
        Some(match (kind, room, body) {
            ("m.room.message" | "m.room.encrypted", Some(room), Some(body)) => match how {
                Some("m.image") => ("IMAGE_FROM_USER_IN_ROOM", vec![sender, body, room]),
                Some("m.emote") => ("ACTION_FROM_USER_IN_ROOM", vec![room, sender, body]),
                _ => ("MSG_FROM_USER_IN_ROOM_WITH_CONTENT", vec![sender, room, body]),
            },
            ("m.room.message" | "m.room.encrypted", None, Some(body)) => match how {
                Some("m.image") => ("IMAGE_FROM_USER", vec![sender, body]),
                Some("m.emote") => ("ACTION_FROM_USER", vec![sender, body]),
                _ => ("MSG_FROM_USER_WITH_CONTENT", vec![sender, body]),
            },
            ("m.room.message" | "m.room.encrypted", Some(room), None) => {
                ("MSG_FROM_USER_IN_ROOM", vec![sender, room])
            }
            ("m.call.invite", ..) => ("VOICE_CALL_FROM_USER", vec![sender]),
            ("m.room.member", Some(room), _) if is_invite => {
                ("USER_INVITE_TO_NAMED_ROOM", vec![sender, room])
            }
            ("m.room.member", None, _) if is_invite => ("USER_INVITE_TO_CHAT", vec![sender]),
            _ => ("MSG_FROM_USER", vec![sender]),
        })
    }

    fn badge(&self) -> Option<u64> {
        let counts = self.counts.as_ref()?;
        let (unread, missed) = (counts.unread, counts.missed_calls);
        unread.or(missed)?;
        Some(unread.unwrap_or_default().saturating_add(missed.unwrap_or_default()))
    }

    fn payload(&self, mut payload: Value) -> Payload {
        let shown = payload.get("aps").and_then(Value::as_object).is_some_and(is_shown);
        if !shown {
            // What shows nothing is taken with this alone.
            payload["aps"]["content-available"] = json!(1);
        }
        Payload {
            text: payload.to_string().into_bytes(),
            is_shown: shown,
            // Apple takes nothing at once that shows nothing.
            is_urgent: shown && !self.is_low(),
        }
    }
}

/// The number alone.
fn number(badge: u64) -> Payload {
    let text = json!({ "aps": { "badge": badge } }).to_string().into_bytes();
    Payload { text, is_shown: true, is_urgent: true }
}

/// What stands for Apple in a payload, taken out of it.
fn aps_of(payload: &mut Map<String, Value>) -> Map<String, Value> {
    match payload.remove("aps") {
        Some(Value::Object(aps)) => aps,
        _ => Map::new(),
    }
}

/// Whether its user sees or hears of it.
fn is_shown(aps: &Map<String, Value>) -> bool {
    ["alert", "badge", "sound"].iter().any(|name| aps.get(*name).is_some_and(|value| !value.is_null()))
}
