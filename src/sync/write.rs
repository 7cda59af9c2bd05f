//! The answer's JSON, written straight into bytes.
//!
//! Events are spliced in as they were made once for everybody; only what frames them, and each
//! reader's `unsigned`, is written here.

use std::{cmp::Reverse, sync::Arc};

use account::Seen;
use base::Timestamp;
use bytes::Bytes;
use encryption::{KeyCounts, ListChanges};
use room::read::{
    event::StoredEvent,
    receipts::{Receipt, ReceiptKind},
    summary::RoomNaming,
    view::{Form, Look, write_number, write_str},
};
use ruma::{OwnedUserId, UserId};
use to_device::Message;

use crate::{
    data::Items,
    joined::RoomPart,
    left::StrippedPart,
    rooms::{Extent, Scene},
};

/// JSON in the making.
#[derive(Debug, Default)]
pub(crate) struct Out(Vec<u8>);

impl Out {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn raw(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    pub(crate) fn bytes(&mut self, json: &[u8]) {
        self.0.extend_from_slice(json);
    }

    pub(crate) fn string(&mut self, text: &str) {
        write_str(&mut self.0, text);
    }

    /// A comma, unless an object or list was just opened.
    pub(crate) fn comma(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b',')) {
            self.0.push(b',');
        }
    }

    pub(crate) fn key(&mut self, key: &str) {
        self.comma();
        self.string(key);
        self.0.push(b':');
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.0)
    }

    /// The opening brace, the token and the global account data.
    pub(crate) fn head(&mut self, token: &str, data: &Items) {
        self.raw("{");
        self.key("next_batch");
        self.string(token);
        if !data.is_empty() {
            self.account_data(data);
        }
    }

    /// Who came and went; nothing if nobody did.
    pub(crate) fn presence(&mut self, present: &[Seen]) {
        if present.is_empty() {
            return;
        }
        self.key("presence");
        self.raw("{\"events\":[");
        for seen in present {
            self.comma();
            self.raw("{\"type\":\"m.presence\"");
            self.key("sender");
            self.string(seen.user.as_str());
            self.open("content");
            self.key("presence");
            self.string(seen.state.name());
            self.key("last_active_ago");
            write_number(&mut self.0, u64::try_from(seen.active_ago.as_millis()).unwrap_or(u64::MAX));
            self.key("currently_active");
            self.raw(if seen.is_active { "true" } else { "false" });
            if let Some(status) = &seen.status {
                self.key("status_msg");
                self.string(status);
            }
            self.raw("}}");
        }
        self.raw("]}");
    }

    /// What was sent to the device; nothing if nothing was.
    pub(crate) fn device_messages(&mut self, messages: &[Message]) {
        if messages.is_empty() {
            return;
        }
        self.open("to_device");
        self.key("events");
        self.messages(messages);
        self.raw("}");
    }

    /// A list of messages to a device.
    pub(crate) fn messages(&mut self, messages: &[Message]) {
        self.raw("[");
        for Message { sender, kind, content, .. } in messages {
            self.comma();
            self.raw("{");
            self.key("type");
            self.string(kind);
            self.key("sender");
            self.string(sender);
            self.key("content");
            self.bytes(content);
            self.raw("}");
        }
        self.raw("]");
    }

    /// Whose devices changed, and who is shared no room with any more; nothing if nobody is.
    pub(crate) fn device_lists(&mut self, lists: &ListChanges) {
        if lists.is_empty() {
            return;
        }
        self.open("device_lists");
        for (name, users) in [("changed", &lists.changed), ("left", &lists.left)] {
            self.key(name);
            self.raw("[");
            for user in users {
                self.comma();
                self.string(user.as_str());
            }
            self.raw("]");
        }
        self.raw("}");
    }

    /// How many keys the device has left: always, for by their absence clients would know that we keep none.
    pub(crate) fn key_counts(&mut self, counts: &KeyCounts) {
        self.open("device_one_time_keys_count");
        for (algorithm, count) in &counts.one_time {
            self.key(algorithm);
            write_number(&mut self.0, *count);
        }
        self.raw("}");
        self.key("device_unused_fallback_key_types");
        self.raw("[");
        for algorithm in &counts.unused_fallback {
            self.comma();
            self.string(algorithm);
        }
        self.raw("]");
    }

    fn account_data(&mut self, data: &Items) {
        self.open("account_data");
        self.key("events");
        self.items(data);
        self.raw("}");
    }

    /// A list of account data.
    pub(crate) fn items(&mut self, data: &Items) {
        self.raw("[");
        for (kind, content) in data {
            self.comma();
            self.raw("{");
            self.key("type");
            self.string(kind);
            self.key("content");
            self.bytes(content);
            self.raw("}");
        }
        self.raw("]");
    }

    /// Rooms that the user is invited to (`invite`, `invite_state`) or knocks at (`knock`, `knock_state`).
    pub(crate) fn stripped(&mut self, section: &str, state: &str, parts: &[StrippedPart]) {
        if parts.is_empty() {
            return;
        }
        self.key(section);
        self.raw("{");
        for part in parts {
            self.key(part.room_id.as_str());
            self.raw("{");
            self.key(state);
            self.raw("{\"events\":");
            self.bytes(&part.events);
            self.raw("}}");
        }
        self.raw("}");
    }

    /// Rooms that were left.
    pub(crate) fn left(&mut self, scene: &Scene<'_>, parts: &[RoomPart], now: Timestamp) {
        if parts.is_empty() {
            return;
        }
        self.key("leave");
        self.raw("{");
        for part in parts {
            self.key(part.room_id.as_str());
            self.raw("{");
            self.state(scene, &part.state, now);
            self.timeline(scene, part, now);
            if !part.data.is_empty() {
                self.account_data(&part.data);
            }
            self.raw("}");
        }
        self.raw("}");
    }

    /// One joined room; `join` must be open.
    pub(crate) fn joined(&mut self, scene: &Scene<'_>, part: &RoomPart, now: Timestamp) {
        self.key(part.room_id.as_str());
        self.raw("{");
        if let Some(naming) = &part.naming {
            self.summary(scene.user(), naming);
        }
        if let Some(unread) = &part.unread {
            self.unread(unread, scene.request.filter.threads);
        }
        if part.extent != Extent::DataOnly {
            self.state(scene, &part.state, now);
            self.timeline(scene, part, now);
        }
        // A room told of for the first time says so too when nobody types and nobody has read anything.
        if !part.receipts.is_empty() || part.typing.is_some() || part.extent == Extent::Whole {
            self.ephemeral(&part.receipts, part.typing.as_deref());
        }
        if !part.data.is_empty() || part.extent == Extent::Whole {
            self.account_data(&part.data);
        }
        self.raw("}");
    }

    fn summary(&mut self, user: &UserId, naming: &Arc<RoomNaming>) {
        self.key("summary");
        self.raw("{");
        if !naming.named {
            self.key("m.heroes");
            self.raw("[");
            for (hero, _) in naming.heroes(user) {
                self.comma();
                self.string(hero.as_str());
            }
            self.raw("]");
        }
        self.key("m.invited_member_count");
        write_number(&mut self.0, naming.counts.invited);
        self.key("m.joined_member_count");
        write_number(&mut self.0, naming.counts.joined);
        self.raw("}");
    }

    fn state(&mut self, scene: &Scene<'_>, state: &[Arc<StoredEvent>], now: Timestamp) {
        let after = scene.request.state_after;
        if !after.is_wanted() {
            if !state.is_empty() {
                self.events(scene, "state", state, now);
            }
            return;
        }
        // Required even if it is empty: by its presence the client knows that it was understood.
        if after.stable {
            self.events(scene, "state_after", state, now);
        }
        if after.unstable {
            self.events(scene, "org.matrix.msc4222.state_after", state, now);
        }
    }

    fn events(&mut self, scene: &Scene<'_>, key: &str, events: &[Arc<StoredEvent>], now: Timestamp) {
        self.key(key);
        self.raw("{\"events\":[");
        for event in events {
            self.comma();
            scene.request.filter.shape.write(&mut self.0, &Look::bare(event.clone()), now);
        }
        self.raw("]}");
    }

    fn timeline(&mut self, scene: &Scene<'_>, part: &RoomPart, now: Timestamp) {
        if part.timeline.is_empty() && !part.limited {
            return;
        }
        self.key("timeline");
        self.raw("{\"events\":[");
        for look in &part.timeline {
            self.comma();
            scene.request.filter.shape.write(&mut self.0, look, now);
        }
        self.raw("]");
        self.key("limited");
        self.raw(if part.limited { "true" } else { "false" });
        self.key("prev_batch");
        self.string(&part.prev_batch.to_string());
        self.raw("}");
    }

    fn ephemeral(&mut self, receipts: &[Arc<Receipt>], typing: Option<&[OwnedUserId]>) {
        self.key("ephemeral");
        self.raw("{\"events\":[");
        if !receipts.is_empty() {
            self.receipts(receipts);
        }
        if let Some(users) = typing {
            self.comma();
            self.typing_event(users);
        }
        self.raw("]}");
    }

    /// Who types.
    pub(crate) fn typing_event(&mut self, users: &[OwnedUserId]) {
        self.raw("{\"type\":\"m.typing\",\"content\":{\"user_ids\":[");
        for user in users {
            self.comma();
            self.string(user.as_str());
        }
        self.raw("]}}");
    }

    fn receipts(&mut self, receipts: &[Arc<Receipt>]) {
        // JSON holds one receipt of a user on an event, and one may have several, one per thread; so each thread has an
        // event of its own. Those on one event lie beside each other mostly, which leaves little to sort.
        let mut sorted: Vec<&Receipt> = receipts.iter().map(|receipt| &**receipt).collect();
        sorted.sort_by(|left, right| place_of(left).cmp(&place_of(right)));
        for of_thread in sorted.chunk_by(|left, right| left.thread == right.thread) {
            self.comma();
            self.receipts_in_order(of_thread);
        }
    }

    /// An event of all these receipts. JSON holds one of a user on an event: that in no thread, which says most, or else
    /// the newest.
    pub(crate) fn receipt_event(&mut self, receipts: &[Arc<Receipt>]) {
        let mut sorted: Vec<&Receipt> = receipts.iter().map(|receipt| &**receipt).collect();
        sorted.sort_by_key(|receipt| {
            let place = (&receipt.event_id, receipt.kind, &receipt.user_id);
            (place, receipt.thread.is_some(), Reverse(receipt.position))
        });
        sorted.dedup_by_key(|receipt| (&receipt.event_id, receipt.kind, &receipt.user_id));
        self.receipts_in_order(&sorted);
    }

    /// An event of receipts, which are in the order of their events and kinds.
    fn receipts_in_order(&mut self, receipts: &[&Receipt]) {
        self.raw("{\"type\":\"m.receipt\",\"content\":{");
        for of_event in receipts.chunk_by(|left, right| left.event_id == right.event_id) {
            self.open(of_event[0].event_id.as_str());
            for of_kind in of_event.chunk_by(|left, right| left.kind == right.kind) {
                self.open(of_kind[0].kind.as_str());
                for receipt in of_kind {
                    self.comma();
                    self.raw(receipt.json());
                }
                self.raw("}");
            }
            self.raw("}");
        }
        self.raw("}}");
    }

    /// An event.
    pub(crate) fn look(&mut self, look: &Look, form: Form, now: Timestamp) {
        look.write(&mut self.0, form, now);
    }

    /// A number.
    pub(crate) fn long(&mut self, number: u64) {
        write_number(&mut self.0, number);
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A number under a key.
    pub(crate) fn number(&mut self, key: &str, number: u32) {
        self.key(key);
        write_number(&mut self.0, u64::from(number));
    }

    /// Opens an object under a key.
    pub(crate) fn open(&mut self, key: &str) {
        self.key(key);
        self.raw("{");
    }
}

/// Where a receipt stands in an answer.
fn place_of(receipt: &Receipt) -> (Option<&str>, &str, ReceiptKind) {
    (receipt.thread.as_deref(), receipt.event_id.as_str(), receipt.kind)
}
