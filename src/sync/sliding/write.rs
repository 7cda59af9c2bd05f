//! The answer's JSON.

use base::Timestamp;
use room::{
    read::{
        event::name_of,
        view::{Form, Look},
    },
    tables::Membership,
};
use store::Position;

use super::{
    extensions::Extras,
    part::{Field, Part},
};
use crate::write::Out;

impl Out {
    /// One room; `rooms` must be open.
    pub(super) fn sliding_room(&mut self, room_id: &str, part: &Part, now: Timestamp) {
        self.open(room_id);
        if part.initial {
            self.flag("initial", true);
        }
        if part.expanded {
            // As clients know it.
            self.flag("unstable_expanded_timeline", true);
            self.flag("expanded_timeline", true);
        }
        if part.initial || part.membership != Membership::Join {
            self.key("membership");
            self.string(name_of(part.membership));
        }
        self.key("bump_stamp");
        self.long(part.bump.0);
        if let Some(stripped) = &part.stripped {
            self.key("invite_state");
            self.bytes(stripped);
            self.raw("}");
            return;
        }
        self.field("name", &part.name);
        self.field("avatar", &part.avatar);
        if let Some(is_dm) = part.is_dm {
            self.flag("is_dm", is_dm);
        }
        if let Some(naming) = &part.naming {
            self.key("joined_count");
            self.long(naming.counts.joined);
            self.key("invited_count");
            self.long(naming.counts.invited);
        }
        self.heroes(part);
        if let Some(unread) = &part.unread {
            let all = unread.all();
            self.number("notification_count", all.notifications);
            self.number("highlight_count", all.highlights);
        }
        self.list_of_events("required_state", part.state.iter().map(|event| Look::bare(event.clone())), now);
        if let Some(prev_batch) = part.prev_batch {
            self.key("prev_batch");
            self.string(&prev_batch.to_string());
        }
        if part.limited {
            self.flag("limited", true);
        }
        if !part.timeline.is_empty() {
            self.list_of_events("timeline", part.timeline.iter().cloned(), now);
            self.key("num_live");
            self.long(part.live as u64);
        }
        self.raw("}");
    }

    fn heroes(&mut self, part: &Part) {
        if part.heroes.is_empty() {
            return;
        }
        self.key("heroes");
        self.raw("[");
        for hero in &part.heroes {
            self.comma();
            self.raw("{");
            self.key("user_id");
            self.string(hero.user.as_str());
            for (key, text) in [("displayname", &hero.name), ("avatar_url", &hero.avatar)] {
                if let Some(text) = text {
                    self.key(key);
                    self.string(text);
                }
            }
            self.raw("}");
        }
        self.raw("]");
    }

    fn list_of_events(&mut self, key: &str, looks: impl ExactSizeIterator<Item = Look>, now: Timestamp) {
        if looks.len() == 0 {
            return;
        }
        self.key(key);
        self.raw("[");
        for look in looks {
            self.comma();
            self.look(&look, Form::InRoom, now);
        }
        self.raw("]");
    }

    fn field(&mut self, key: &str, field: &Field) {
        match field {
            Field::Unchanged => {}
            Field::Gone => {
                self.key(key);
                self.raw("null");
            }
            Field::Is(text) => {
                self.key(key);
                self.string(text);
            }
        }
    }

    fn flag(&mut self, key: &str, is: bool) {
        self.key(key);
        self.raw(if is { "true" } else { "false" });
    }

    /// How many rooms lists have.
    pub(super) fn list_counts<'a>(&mut self, counts: impl Iterator<Item = (&'a str, usize)>) {
        self.open("lists");
        for (name, count) in counts {
            self.open(name);
            self.key("count");
            self.long(count as u64);
            self.raw("}");
        }
        self.raw("}");
    }

    /// What is told beside rooms.
    pub(super) fn extensions(&mut self, extras: &Extras, has_data: bool) {
        self.open("extensions");
        if let Some((page, Position(next))) = &extras.messages {
            self.open("to_device");
            self.key("next_batch");
            self.string(&next.to_string());
            self.key("events");
            self.messages(&page.messages);
            self.raw("}");
        }
        if let Some((lists, counts)) = &extras.keys {
            self.open("e2ee");
            self.device_lists(lists);
            self.key_counts(counts);
            self.raw("}");
        }
        if !extras.threads.is_empty() {
            self.key("io.element.msc4308.thread_subscriptions");
            self.raw(&extras.threads.told("prev_batch").to_string());
        }
        if has_data && !(extras.global.is_empty() && extras.data.is_empty()) {
            self.open("account_data");
            self.key("global");
            self.items(&extras.global);
            self.open("rooms");
            for (room, items) in &extras.data {
                self.key(room.as_str());
                self.items(items);
            }
            self.raw("}}");
        }
        if !extras.receipts.is_empty() {
            self.open("receipts");
            self.open("rooms");
            for (room, receipts) in &extras.receipts {
                self.key(room.as_str());
                self.receipt_event(receipts);
            }
            self.raw("}}");
        }
        if !extras.typing.is_empty() {
            self.open("typing");
            self.open("rooms");
            for (room, users) in &extras.typing {
                self.key(room.as_str());
                self.typing_event(users);
            }
            self.raw("}}");
        }
        self.raw("}");
    }
}
