//! What waits for other servers, until they have it.

use std::collections::BTreeMap;

use base::Random;
use bytes::Bytes;
use pdu::json::write_string;
use ruma::{OwnedServerName, ServerName, UserId};
use store::{Batch, Order, Position, Range, Reads, Topic};
use tracing::warn;

use crate::{
    Error, ToDevice,
    tables::{BYTES, COUNT, OUTBOX, OUTBOX_USE, counted},
    to_device::Counts,
};

/// So much waits for one server; what comes then is not kept.
const MOST_WAITING: i64 = 50_000;
const MOST_WAITING_BYTES: i64 = 256 << 20;

/// The largest unit in canonical JSON, as it is proposed for the specification (MSC4514).
const LARGEST_UNIT: usize = 64 * 1024;

/// Letters and digits in the name of a unit; it may have 32.
const NAME_CHARS: usize = 24;

/// The kind of log entries that tell for which servers something was put into outboxes. Topic: the destination `*`.
pub const OUTGOING: u8 = 150;

/// A unit that waits for another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its place among all that waits for that server.
    pub position: Position,
    /// The whole EDU in canonical JSON.
    pub json: Bytes,
}

/// One of ours, and a server for which something of it waits.
pub type Due = (OwnedServerName, OwnedServerName);

/// For whom something was put into outboxes, by an entry of the log of the kind [`OUTGOING`].
pub fn destinations_of(payload: &[u8]) -> Vec<Due> {
    serde_json::from_slice(payload).unwrap_or_else(|error| {
        warn!(%error, "an entry of the log cannot be read");
        Vec::new()
    })
}

/// What goes to one server.
#[derive(Debug, Default)]
pub(crate) struct Outgoing<'a>(Vec<(&'a UserId, &'a str, String)>);

impl<'a> Outgoing<'a> {
    /// Adds a message, with its content in canonical JSON. Messages come in the order of users and devices.
    pub(crate) fn push(&mut self, user: &'a UserId, device: &'a str, content: String) {
        self.0.push((user, device, content));
    }

    /// As units that are not too large, as few as can be.
    pub(crate) fn units(self, sender: &UserId, kind: &str, random: &Random) -> Result<Vec<Bytes>, Error> {
        let mut units = Vec::new();
        let mut unit = Writer::new(random);
        for (user, device, content) in &self.0 {
            if unit.length_with(user, device, content) + around(sender, kind) > LARGEST_UNIT
                && !unit.is_empty()
            {
                units.push(std::mem::replace(&mut unit, Writer::new(random)).finish(sender, kind));
            }
            unit.push(user, device, content);
        }
        units.push(unit.finish(sender, kind));
        match units.iter().any(|unit| unit.len() > LARGEST_UNIT) {
            true => Err(Error::TooLarge("a message to a device of another server has at most 64 KiB")),
            false => Ok(units),
        }
    }
}

/// Bytes around the messages of a unit, at most.
fn around(sender: &UserId, kind: &str) -> usize {
    // What has to be escaped takes six bytes at most.
    160 + NAME_CHARS + 6 * (sender.as_str().len() + kind.len())
}

/// A unit in the making.
struct Writer<'a> {
    json: String,
    user: Option<&'a UserId>,
}

impl<'a> Writer<'a> {
    fn new(random: &Random) -> Self {
        let mut json = String::from("{\"content\":{\"message_id\":");
        write_string(&random.token(NAME_CHARS), &mut json);
        json.push_str(",\"messages\":{");
        Self { json, user: None }
    }

    fn is_empty(&self) -> bool {
        self.user.is_none()
    }

    /// How long it would be, at most.
    fn length_with(&self, user: &UserId, device: &str, content: &str) -> usize {
        self.json.len() + 6 * (user.as_str().len() + device.len()) + content.len() + 16
    }

    fn push(&mut self, user: &'a UserId, device: &str, content: &str) {
        if self.user == Some(user) {
            self.json.push(',');
        } else {
            if self.user.replace(user).is_some() {
                self.json.push_str("},");
            }
            write_string(user.as_str(), &mut self.json);
            self.json.push_str(":{");
        }
        write_string(device, &mut self.json);
        self.json.push(':');
        self.json.push_str(content);
    }

    fn finish(mut self, sender: &UserId, kind: &str) -> Bytes {
        self.json.push_str("}},\"sender\":");
        write_string(sender.as_str(), &mut self.json);
        self.json.push_str(",\"type\":");
        write_string(kind, &mut self.json);
        self.json.push_str("},\"edu_type\":\"m.direct_to_device\"}");
        Bytes::from(self.json)
    }
}

/// Units that a batch puts into outboxes, and those for which there was no room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Put {
    queued: u64,
    full: u64,
}

impl Put {
    pub(crate) fn is_any(self) -> bool {
        self.queued > 0
    }
}

/// Counts them once they are written.
pub(crate) fn count(counts: &Counts, put: Put) {
    counts.add("queued", put.queued);
    counts.add("outbox full", put.full);
}

impl ToDevice {
    /// Adds units for other servers to a batch, and tells the sender of them.
    pub(crate) async fn put_outgoing(
        &self,
        batch: &mut Batch,
        from: &ServerName,
        others: &BTreeMap<OwnedServerName, Vec<Bytes>>,
    ) -> Result<Put, Error> {
        let mut put = Put::default();
        if others.is_empty() {
            return Ok(put);
        }
        let mut reads = Reads::new();
        let of = |what: u8| -> Vec<(&str, &str, u8)> {
            others.keys().map(|server| (from.as_str(), server.as_str(), what)).collect()
        };
        let counts = reads.get_many(&OUTBOX_USE, &of(COUNT));
        let bytes = reads.get_many(&OUTBOX_USE, &of(BYTES));
        let mut found = self.inner.store.read(reads).await?;
        let used: Vec<_> = found.take_many(counts)?.into_iter().zip(found.take_many(bytes)?).collect();
        let mut due: Vec<(&ServerName, &ServerName)> = Vec::new();
        for ((server, units), (count, bytes)) in others.iter().zip(used) {
            let (mut count, mut bytes) = (count.unwrap_or_default().0, bytes.unwrap_or_default().0);
            let names = (from.as_str(), server.as_str());
            for unit in units {
                let size = counted(unit.len() as u64);
                if count >= MOST_WAITING || bytes.saturating_add(size) > MOST_WAITING_BYTES {
                    put.full += 1;
                    continue;
                }
                (count, bytes) = (count + 1, bytes + size);
                let slot = batch.mark([]);
                batch.append(&OUTBOX, &names, slot, unit);
                batch.add(&OUTBOX_USE, &(names.0, names.1, COUNT), 1);
                batch.add(&OUTBOX_USE, &(names.0, names.1, BYTES), size);
                put.queued += 1;
            }
            due.push((from, server));
        }
        if put.queued > 0 {
            // Names of servers are always JSON.
            let payload = serde_json::to_vec(&due).map(Bytes::from).unwrap_or_default();
            batch.log(OUTGOING, payload, [Topic::destination("*")]);
        }
        Ok(put)
    }

    /// For whom something waits.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn due(&self) -> Result<Vec<Due>, store::Error> {
        let mut due = Vec::new();
        let mut range = Range::all();
        loop {
            const AT_ONCE: usize = 1_000;
            let rows = self.inner.store.scan(&OUTBOX_USE, range, Order::Ascending, AT_ONCE).await?;
            let Some((last, _)) = rows.last() else { return Ok(due) };
            range = Range::all().after(last);
            for ((from, to, what), _) in rows {
                // Written by us from names, so they read back as names.
                if let (COUNT, Ok(from), Ok(to)) = (what, ServerName::parse(from), ServerName::parse(to)) {
                    due.push((from, to));
                }
            }
        }
    }

    /// The first units that wait for a server after a place, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn units(
        &self,
        from: &ServerName,
        to: &ServerName,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Unit>, store::Error> {
        let names = (from.as_str(), to.as_str());
        let range = Range::prefix(&names).after(&(names.0, names.1, after));
        let rows = self.inner.store.scan(&OUTBOX, range, Order::Ascending, limit).await?;
        Ok(rows.into_iter().map(|((.., position), json)| Unit { position, json }).collect())
    }

    /// Adds to a batch that the server has these units. It fails where they are gone already.
    pub fn put_delivered(&self, batch: &mut Batch, from: &ServerName, to: &ServerName, units: &[Unit]) {
        let names = (from.as_str(), to.as_str());
        let Some(first) = units.first() else { return };
        batch.require(&OUTBOX, &(names.0, names.1, first.position), Some(&first.json));
        let mut bytes = 0;
        for unit in units {
            batch.delete(&OUTBOX, &(names.0, names.1, unit.position));
            bytes += counted(unit.json.len() as u64);
        }
        batch.add(&OUTBOX_USE, &(names.0, names.1, COUNT), -counted(units.len() as u64));
        batch.add(&OUTBOX_USE, &(names.0, names.1, BYTES), -bytes);
    }

    /// Adds to a batch that nothing waits for a server any more.
    pub fn put_forgotten(batch: &mut Batch, from: &ServerName, to: &ServerName) {
        let names = (from.as_str(), to.as_str());
        batch.delete_prefix(&OUTBOX, &names);
        batch.delete_prefix(&OUTBOX_USE, &names);
    }

    /// Counts units that another server has, or will never have.
    pub fn count_sent(&self, outcome: &'static str, count: usize) {
        self.inner.counts.add(outcome, count as u64);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use pdu::json::{Numbers, canonicalize};
    use ruma::{OwnedUserId, user_id};

    use super::*;

    fn units(contents: &[(&str, &str, String)]) -> Vec<Bytes> {
        let users: Vec<OwnedUserId> =
            contents.iter().map(|(user, ..)| UserId::parse(*user).unwrap()).collect();
        let mut outgoing = Outgoing::default();
        for ((_, device, content), user) in contents.iter().zip(&users) {
            outgoing.push(user, device, content.clone());
        }
        outgoing.units(user_id!("@hanako:a.test"), "t\"", &Random::seeded(1)).unwrap()
    }

    #[test]
    fn a_unit_is_canonical_and_has_a_name_of_its_own() {
        let units = units(&[
            ("@a:b", "D", "{}".into()),
            ("@a:b", "E\"", "{\"x\":1}".into()),
            ("@c:b", "*", "{}".into()),
        ]);
        let text = std::str::from_utf8(&units[0]).unwrap();
        assert_eq!(canonicalize(&units[0], Numbers::Strict).unwrap(), text);
        let name = text.split('"').nth(5).unwrap();
        assert_eq!((units.len(), name.len()), (1, NAME_CHARS));
        let rest = r#","messages":{"@a:b":{"D":{},"E\"":{"x":1}},"@c:b":{"*":{}}},"sender":"@hanako:a.test","type":"t\""},"edu_type":"m.direct_to_device"}"#;
        assert!(text.ends_with(rest), "{text}");
    }

    #[test]
    fn the_devices_of_one_user_are_spread_over_units_as_well() {
        let content = format!("{{\"x\":\"{}\"}}", "y".repeat(3_000));
        let devices: Vec<String> = (0..100).map(|number| format!("DEVICE{number:02}")).collect();
        let all: Vec<_> = devices.iter().map(|device| ("@a:b", device.as_str(), content.clone())).collect();
        let units = units(&all);
        let named = |unit: &Bytes| {
            let unit: serde_json::Value = serde_json::from_slice(unit).unwrap();
            unit["content"]["messages"]["@a:b"].as_object().unwrap().len()
        };
        assert!(units.len() > 1 && units.iter().all(|unit| unit.len() <= LARGEST_UNIT));
        assert_eq!(units.iter().map(named).sum::<usize>(), 100);
    }

    #[test]
    fn many_messages_are_spread_over_units_of_bounded_size() {
        let content = format!("{{\"x\":\"{}\"}}", "y".repeat(20_000));
        let users: Vec<String> = (0..10).map(|number| format!("@u{number}:b")).collect();
        let all: Vec<_> = users.iter().map(|user| (user.as_str(), "D", content.clone())).collect();
        let units = units(&all);
        assert_eq!(units.len(), 4);
        assert!(units.iter().all(|unit| unit.len() <= LARGEST_UNIT));
        let mut named = 0;
        for unit in &units {
            let unit: serde_json::Value = serde_json::from_slice(unit).unwrap();
            named += unit["content"]["messages"].as_object().unwrap().len();
        }
        assert_eq!(named, 10, "each is in one of them");
    }
}
