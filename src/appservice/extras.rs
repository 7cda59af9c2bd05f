//! What goes into a transaction besides events.
//!
//! Names of today stand beside those of the proposals, which bridges still read; who knows both reads the one of today.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#pushing-ephemeral-data>,
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/3202>

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use account::AppService;
use encryption::ListChanges;
use room::read::receipts::ReceiptKind;
use ruma::{DeviceId, OwnedUserId, UserId};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};
use store::{Moved, Position, Topic};

use crate::{
    AppServices, Error,
    moments::{Called, DeviceKey, Looked, Moments, ToldCounts},
};

/// Bytes of a transaction. What proxies in front of services take by default is a MiB at the least (nginx's
/// `client_max_body_size`; Apache, HAProxy, Caddy and Traefik take more), and one that is refused there is repeated for ever; so it
/// is three quarters of that. An event that is larger goes alone: it has less than 64 KiB, and with what it redacts or replaces
/// beside it not four times as much.
pub(crate) const LARGEST: usize = 768 << 10;

/// Messages to devices in a transaction.
const MOST_MESSAGES: usize = 100;

/// Devices of which something is told in a transaction.
pub(crate) const MOST_DEVICES: usize = 100;

/// Users of a service for whom it is looked whose devices changed, in a transaction; for the others in the next ones.
const MOST_READERS: usize = 50;

/// Bytes of a transaction in what is of the moment, in messages to devices, in numbers of keys and in whose devices changed. Each
/// stands under two names or more, so these come to half a MiB of what a transaction has ([`LARGEST`]). What is of the moment
/// and goes beyond is told no more, and all else in the next ones; a message that is larger goes alone.
const MOMENTS_BYTES: usize = 64 << 10;
const MESSAGES_BYTES: usize = 96 << 10;
const COUNTS_BYTES: usize = 24 << 10;
const LISTS_BYTES: usize = 32 << 10;
/// No part is smaller, so that each has room for something.
const LEAST: usize = 512;

/// What is told of devices from where on.
pub(crate) struct Wanted {
    pub(crate) moments: Moments,
    /// Devices for which something may have come.
    pub(crate) devices: Vec<Called>,
    /// Users who have devices.
    pub(crate) readers: BTreeSet<OwnedUserId>,
    /// Up to where it was told whose devices changed.
    pub(crate) lists: Position,
    /// For whom it was looked behind that already.
    pub(crate) looked: Option<Looked>,
    /// Bytes that the whole transaction may have.
    pub(crate) most: usize,
}

impl Wanted {
    /// The part of a transaction that something has which comes to `bytes` in the largest.
    fn part(&self, bytes: usize) -> usize {
        (bytes * self.most.min(LARGEST) / LARGEST).max(LEAST)
    }
}

/// What goes into a transaction, and what has been told when it is taken.
#[derive(Default)]
pub(crate) struct Extras {
    /// Names with JSON.
    fields: Vec<(&'static str, String)>,
    /// Up to where devices were told their messages.
    pub(crate) had: Vec<(DeviceKey, Position)>,
    /// Devices for which there is more.
    pub(crate) again: Vec<DeviceKey>,
    /// How many keys devices have.
    pub(crate) counts: Vec<(DeviceKey, ToldCounts)>,
    pub(crate) lists: Position,
    pub(crate) looked: Option<Looked>,
    /// How many pieces there are, of which each can be told alone.
    pub(crate) pieces: usize,
}

/// A message to a device, as a service is told it. What its sender wrote stands as it is.
#[derive(Serialize)]
struct ToldMessage<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    sender: &'a str,
    content: Option<Box<RawValue>>,
    to_user_id: &'a UserId,
    to_device_id: &'a DeviceId,
}

/// A list in JSON that has an end.
struct List {
    json: String,
    most: usize,
}

impl List {
    fn new(most: usize) -> Self {
        Self { json: "[".to_owned(), most }
    }

    fn is_empty(&self) -> bool {
        self.json.len() == 1
    }

    /// Adds an entry if it fits, or is the first. Whether it was added.
    fn push(&mut self, entry: &str) -> bool {
        if !self.is_empty() {
            if self.json.len() + entry.len() > self.most {
                return false;
            }
            self.json.push(',');
        }
        self.json.push_str(entry);
        true
    }

    fn end(mut self) -> String {
        self.json.push(']');
        self.json
    }
}

impl Extras {
    /// Nothing, where it was told up to here whose devices changed, and looked behind it for some.
    pub(crate) fn none(lists: Position, looked: Option<Looked>) -> Self {
        Self { lists, looked, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Bytes of the fields.
    pub(crate) fn len(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
    }

    /// Writes the fields behind those that are there.
    pub(crate) fn write(&self, body: &mut Vec<u8>) {
        for (name, value) in &self.fields {
            body.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
    }

    fn put(&mut self, names: [&'static str; 2], json: &str) {
        self.fields.extend(names.map(|name| (name, json.to_owned())));
    }
}

impl AppServices {
    /// Finds what goes into a transaction besides events.
    pub(crate) async fn extras(&self, service: &AppService, wanted: Wanted) -> Result<Extras, Error> {
        let mut extras = Extras::none(wanted.lists, wanted.looked.clone());
        let ephemeral = self.ephemeral(&wanted.moments, wanted.part(MOMENTS_BYTES)).await?;
        if !ephemeral.is_empty() {
            extras.pieces += 1;
            extras.put(["ephemeral", "de.sorunome.msc2409.ephemeral"], &ephemeral.end());
        }
        self.messages(&wanted.devices, wanted.part(MESSAGES_BYTES), &mut extras).await?;
        if service.told().devices {
            self.counts(&wanted.devices, wanted.part(COUNTS_BYTES), &mut extras).await?;
            self.lists(&wanted, &mut extras).await?;
        }
        Ok(extras)
    }

    async fn ephemeral(&self, moments: &Moments, most: usize) -> Result<List, Error> {
        let mut told = List::new(most);
        for (room_id, users) in &moments.typing {
            let typing = json!({ "type": "m.typing", "room_id": room_id, "content": { "user_ids": users } });
            told.push(&typing.to_string());
        }
        let keys: Vec<_> = moments.receipts.keys().cloned().collect();
        let receipts = self.0.rooms.public_receipts(&keys).await?;
        let mut of_rooms: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for (room_id, receipt) in moments.receipts.values().zip(&receipts) {
            let Some(receipt) = receipt else { continue };
            // As a member of the object of an event's receipts.
            let member = format!("{{{}}}", receipt.json());
            let Ok(Value::Object(member)) = serde_json::from_str(&member) else { continue };
            let events = of_rooms.entry(room_id.as_str()).or_default();
            let event = events.entry(receipt.event_id.as_str()).or_insert_with(|| json!({}));
            let kinds = &mut event[ReceiptKind::Public.as_str()];
            match kinds {
                Value::Object(users) => users.extend(member),
                _ => *kinds = Value::Object(member),
            }
        }
        for (room_id, content) in of_rooms {
            told.push(&json!({ "type": "m.receipt", "room_id": room_id, "content": content }).to_string());
        }
        let presence = self.0.accounts.presence();
        for (_, seen) in presence.find_all(moments.present.iter().map(|user| &**user)) {
            let ago = u64::try_from(seen.active_ago.as_millis()).unwrap_or(u64::MAX);
            let mut content = json!({ "presence": seen.state.name(), "last_active_ago": ago,
                "currently_active": seen.is_active });
            if let Some(status) = &seen.status {
                content["status_msg"] = status.as_str().into();
            }
            told.push(&json!({ "type": "m.presence", "sender": seen.user, "content": content }).to_string());
        }
        Ok(told)
    }

    /// Messages to devices. Those that a device was told are taken away when it is told the next ones.
    async fn messages(&self, devices: &[Called], most: usize, extras: &mut Extras) -> Result<(), Error> {
        let (mut told, mut count) = (List::new(most), 0);
        for (place, Called { device, had, .. }) in devices.iter().enumerate() {
            let left = MOST_MESSAGES.saturating_sub(count);
            if left == 0 || place >= MOST_DEVICES {
                extras.again.extend(devices.iter().skip(place).map(|called| called.device.clone()));
                break;
            }
            let (user, name) = device;
            // Before the read: what comes after it is told next time.
            let head = self.0.store.head();
            let page = self.0.to_device.news(user, name, *had, head, left).await?;
            if page.messages.is_empty() {
                continue;
            }
            extras.again.push(device.clone());
            let (mut last, mut is_full) = (None, false);
            for message in &page.messages {
                let written = ToldMessage {
                    kind: &message.kind,
                    sender: &message.sender,
                    content: serde_json::from_slice(&message.content).ok(),
                    to_user_id: user,
                    to_device_id: name,
                };
                is_full = serde_json::to_string(&written).is_ok_and(|written| !told.push(&written));
                if is_full {
                    break;
                }
                (last, count) = (Some(message.position), count + 1);
            }
            if is_full {
                extras.had.extend(last.map(|last| (device.clone(), last)));
                let others = devices.iter().skip(place + 1);
                extras.again.extend(others.map(|called| called.device.clone()));
                break;
            }
            extras.had.push((device.clone(), page.rest.unwrap_or(head)));
        }
        if !told.is_empty() {
            extras.pieces += count;
            extras.put(["to_device", "de.sorunome.msc2409.to_device"], &told.end());
        }
        Ok(())
    }

    /// How many keys devices have of which something may have changed.
    async fn counts(&self, devices: &[Called], most: usize, extras: &mut Extras) -> Result<(), Error> {
        let (mut one_time, mut fallback) = (json!({}), json!({}));
        let mut bytes = 0;
        for (place, Called { device: key, counts: last, .. }) in devices.iter().take(MOST_DEVICES).enumerate()
        {
            let (user, device) = key;
            // Before the read: what comes after it is told next time.
            let as_of = self.0.store.head();
            let keys = Topic::device_keys(user.as_str(), device.as_str());
            if last.as_ref().is_some_and(|told| self.0.store.moved(keys, told.as_of) == Moved::No) {
                continue;
            }
            let counts = self.0.encryption.key_counts(user, device).await?;
            let (of_one_time, of_fallback) = (json!(counts.one_time), json!(counts.unused_fallback));
            let around = user.as_str().len() + device.as_str().len() + 8;
            bytes += around + of_one_time.to_string().len().max(of_fallback.to_string().len());
            if bytes > most && !extras.counts.is_empty() {
                extras.again.extend(devices.iter().skip(place).map(|called| called.device.clone()));
                break;
            }
            extras.counts.push((key.clone(), ToldCounts { counts: counts.clone(), as_of }));
            one_time[user.as_str()][device.as_str()] = of_one_time;
            fallback[user.as_str()][device.as_str()] = of_fallback;
        }
        if !extras.counts.is_empty() {
            extras.pieces += extras.counts.len();
            let (one_time, fallback) = (one_time.to_string(), fallback.to_string());
            let names = ["device_one_time_keys_count", "org.matrix.msc3202.device_one_time_keys_count"];
            extras.put(names, &one_time);
            // The proposal had another name at first, which older versions of matrix-bot-sdk read.
            extras.fields.push(("org.matrix.msc3202.device_one_time_key_counts", one_time));
            let names =
                ["device_unused_fallback_key_types", "org.matrix.msc3202.device_unused_fallback_key_types"];
            extras.put(names, &fallback);
        }
        Ok(())
    }

    /// Whose devices changed, for users of the service who have devices themselves.
    async fn lists(&self, wanted: &Wanted, extras: &mut Extras) -> Result<(), Error> {
        let mut looked = match &wanted.looked {
            // First what was found already and did not fit.
            Some(looked) if !looked.rest.is_empty() => looked.clone(),
            looked => self.look_whose_devices_changed(wanted, looked.as_ref()).await?,
        };
        let told = first_of(&mut looked.rest, wanted.part(LISTS_BYTES));
        // It has been told up to there when all has been told that was found for all of them.
        if looked.last.is_none() && looked.rest.is_empty() {
            extras.lists = looked.through;
            extras.looked = None;
        } else {
            extras.looked = Some(looked);
        }
        if !told.is_empty() {
            extras.pieces += told.changed.len() + told.left.len();
            let lists = json!({ "changed": told.changed, "left": told.left });
            extras.put(["device_lists", "org.matrix.msc3202.device_lists"], &lists.to_string());
        }
        Ok(())
    }

    /// Looks whose devices changed for some more of the service's users.
    async fn look_whose_devices_changed(
        &self,
        wanted: &Wanted,
        looked: Option<&Looked>,
    ) -> Result<Looked, Error> {
        let through = looked.map_or_else(|| self.0.store.head(), |looked| looked.through);
        let after = looked.and_then(|looked| looked.last.as_ref()).map_or(Bound::Unbounded, Bound::Excluded);
        let mut readers = wanted.readers.range::<OwnedUserId, _>((after, Bound::Unbounded));
        let mut rest = ListChanges::default();
        let mut last = None;
        for reader in readers.by_ref().take(MOST_READERS) {
            let changes = self.0.encryption.list_changes_between(reader, wanted.lists, through).await?;
            rest.changed.extend(changes.changed);
            rest.left.extend(changes.left);
            last = Some(reader.clone());
        }
        // Whom one of them sees still has left for none.
        rest.left.retain(|user| !rest.changed.contains(user));
        Ok(Looked { through, last: last.filter(|_| readers.next().is_some()), rest })
    }
}

/// Takes as many of these as have about so many bytes.
fn first_of(all: &mut ListChanges, most: usize) -> ListChanges {
    let mut bytes = 0;
    let mut take = |from: &mut BTreeSet<OwnedUserId>| {
        let mut taken = BTreeSet::new();
        while let Some(user) = from.first() {
            // With quotes and a comma.
            bytes += user.as_str().len() + 3;
            if bytes > most {
                break;
            }
            taken.extend(from.pop_first());
        }
        taken
    };
    let changed = take(&mut all.changed);
    let left = take(&mut all.left);
    ListChanges { changed, left }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_before_it_is_too_large_and_has_what_is_larger_alone() {
        let mut list = List::new(10);
        assert!(list.is_empty());
        assert!(list.push("\"larger than that\"") && !list.push("1"));
        assert_eq!(list.end(), "[\"larger than that\"]");
        let mut list = List::new(10);
        assert!(list.push("1234") && list.push("5678") && !list.push("9"));
        assert_eq!(list.end(), "[1234,5678]");
    }

    #[test]
    fn whose_devices_changed_is_told_in_parts_and_each_once() {
        let user = |number: usize| OwnedUserId::try_from(format!("@{number:04}:a.test")).unwrap();
        let mut all =
            ListChanges { changed: (0..100).map(user).collect(), left: (100..150).map(user).collect() };
        let (whole, mut told, mut parts) = (all.clone(), ListChanges::default(), 0);
        while !all.is_empty() {
            let part = first_of(&mut all, 300);
            assert!(!part.is_empty() && part.changed.len() + part.left.len() <= 20);
            told.changed.extend(part.changed);
            told.left.extend(part.left);
            parts += 1;
        }
        assert_eq!((told, parts), (whole, 8));
    }
}
