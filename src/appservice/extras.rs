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
use room::read::receipts::ReceiptKind;
use ruma::OwnedUserId;
use serde_json::{Map, Value, json, value::RawValue};
use store::{Moved, Position, Topic};

use crate::{
    AppServices, Error,
    moments::{Called, DeviceKey, Looked, Moments, ToldCounts},
};

/// Messages to devices in a transaction.
const MOST_MESSAGES: usize = 100;

/// Devices of which something is told in a transaction.
pub(crate) const MOST_DEVICES: usize = 100;

/// Users of a service for whom it is looked whose devices changed, in a transaction; for the others in the next ones.
const MOST_READERS: usize = 50;

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
}

/// What goes into a transaction, and what has been told when it is taken.
#[derive(Default)]
pub(crate) struct Extras {
    fields: Vec<(&'static str, Value)>,
    /// Up to where devices were told their messages.
    pub(crate) had: Vec<(DeviceKey, Position)>,
    /// Devices for which there is more.
    pub(crate) again: Vec<DeviceKey>,
    /// How many keys devices have.
    pub(crate) counts: Vec<(DeviceKey, ToldCounts)>,
    pub(crate) lists: Position,
    pub(crate) looked: Option<Looked>,
}

impl Extras {
    /// Nothing, where it was told up to here whose devices changed, and looked behind it for some.
    pub(crate) fn none(lists: Position, looked: Option<Looked>) -> Self {
        Self { lists, looked, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Writes the fields behind those that are there.
    pub(crate) fn write(&self, body: &mut Vec<u8>) {
        for (name, value) in &self.fields {
            body.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
    }

    fn put(&mut self, names: [&'static str; 2], value: &Value) {
        self.fields.extend(names.map(|name| (name, value.clone())));
    }
}

impl AppServices {
    /// Finds what goes into a transaction besides events.
    pub(crate) async fn extras(&self, service: &AppService, wanted: Wanted) -> Result<Extras, Error> {
        let mut extras = Extras::none(wanted.lists, wanted.looked.clone());
        let ephemeral = self.ephemeral(&wanted.moments).await?;
        if !ephemeral.is_empty() {
            extras.put(["ephemeral", "de.sorunome.msc2409.ephemeral"], &Value::Array(ephemeral));
        }
        self.messages(&wanted.devices, &mut extras).await?;
        if service.told().devices {
            self.counts(&wanted.devices, &mut extras).await?;
            self.lists(&wanted, &mut extras).await?;
        }
        Ok(extras)
    }

    async fn ephemeral(&self, moments: &Moments) -> Result<Vec<Value>, Error> {
        let mut told = Vec::new();
        for (room_id, users) in &moments.typing {
            told.push(json!({ "type": "m.typing", "room_id": room_id, "content": { "user_ids": users } }));
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
            told.push(json!({ "type": "m.receipt", "room_id": room_id, "content": content }));
        }
        let presence = self.0.accounts.presence();
        for (_, seen) in presence.find_all(moments.present.iter().map(|user| &**user)) {
            let ago = u64::try_from(seen.active_ago.as_millis()).unwrap_or(u64::MAX);
            let mut content = json!({ "presence": seen.state.name(), "last_active_ago": ago,
                "currently_active": seen.is_active });
            if let Some(status) = &seen.status {
                content["status_msg"] = status.as_str().into();
            }
            told.push(json!({ "type": "m.presence", "sender": seen.user, "content": content }));
        }
        Ok(told)
    }

    /// Messages to devices. Those that a device was told are taken away when it is told the next ones.
    async fn messages(&self, devices: &[Called], extras: &mut Extras) -> Result<(), Error> {
        let mut told = Vec::new();
        for (place, Called { device, had, .. }) in devices.iter().enumerate() {
            let left = MOST_MESSAGES.saturating_sub(told.len());
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
            extras.had.push((device.clone(), page.rest.unwrap_or(head)));
            extras.again.push(device.clone());
            for message in page.messages {
                let content: Option<Box<RawValue>> = serde_json::from_slice(&message.content).ok();
                told.push(json!({ "type": message.kind, "sender": message.sender, "content": content,
                    "to_user_id": user, "to_device_id": name }));
            }
        }
        if !told.is_empty() {
            extras.put(["to_device", "de.sorunome.msc2409.to_device"], &Value::Array(told));
        }
        Ok(())
    }

    /// How many keys devices have of which something may have changed.
    async fn counts(&self, devices: &[Called], extras: &mut Extras) -> Result<(), Error> {
        let (mut one_time, mut fallback) = (json!({}), json!({}));
        for Called { device: key, counts: last, .. } in devices.iter().take(MOST_DEVICES) {
            let (user, device) = key;
            // Before the read: what comes after it is told next time.
            let as_of = self.0.store.head();
            let keys = Topic::device_keys(user.as_str(), device.as_str());
            if last.as_ref().is_some_and(|told| self.0.store.moved(keys, told.as_of) == Moved::No) {
                continue;
            }
            let counts = self.0.encryption.key_counts(user, device).await?;
            extras.counts.push((key.clone(), ToldCounts { counts: counts.clone(), as_of }));
            one_time[user.as_str()][device.as_str()] = json!(counts.one_time);
            fallback[user.as_str()][device.as_str()] = json!(counts.unused_fallback);
        }
        if !extras.counts.is_empty() {
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
        let (through, after) = match &wanted.looked {
            Some(looked) => (looked.through, Bound::Excluded(&looked.last)),
            None => (self.0.store.head(), Bound::Unbounded),
        };
        let mut readers = wanted.readers.range::<OwnedUserId, _>((after, Bound::Unbounded));
        let mut all = encryption::ListChanges::default();
        let mut last = None;
        for reader in readers.by_ref().take(MOST_READERS) {
            let changes = self.0.encryption.list_changes_between(reader, wanted.lists, through).await?;
            all.changed.extend(changes.changed);
            all.left.extend(changes.left);
            last = Some(reader.clone());
        }
        // Whom one of them sees still has left for none.
        all.left.retain(|user| !all.changed.contains(user));
        // It has been told up to there when it has been for all of them.
        extras.looked = last.filter(|_| readers.next().is_some()).map(|last| Looked { through, last });
        if extras.looked.is_none() {
            extras.lists = through;
        }
        if !all.is_empty() {
            let lists = json!({ "changed": all.changed, "left": all.left });
            extras.put(["device_lists", "org.matrix.msc3202.device_lists"], &lists);
        }
        Ok(())
    }
}
