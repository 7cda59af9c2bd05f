//! What a client sends to devices, here and elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use account::Standing;
use base::Attempts;
use bytes::Bytes;
use pdu::json::{Numbers, canonicalize};
use ruma::{DeviceId, OwnedDeviceId, OwnedServerName, OwnedUserId, ServerName, UserId};
use serde_json::value::RawValue;
use store::{Batch, CommitError};

use crate::{
    Error, ToDevice,
    inbox::wake,
    outbox::{self, Outgoing},
    shares::Fit,
    tables::{MessageRow, NameHash, SERVED},
};

/// Devices that one request names, and so many that it reaches here, where it says `*`.
pub(crate) const MOST_NAMED: usize = 5_000;
const MOST_REACHED: usize = 10_000;

/// Bytes that one request may come to, counted for each device.
const MOST_BYTES: usize = 16 << 20;

/// The largest content of a message, as large as a unit between servers may be.
pub(crate) const LARGEST_CONTENT: usize = 64 * 1024;

/// Levels of a content that readers elsewhere, with what is around it, do not choke on.
const DEEPEST_CONTENT: usize = 100;

/// The longest type of messages, and name of a request.
pub(crate) const LONGEST_NAME: usize = 255;

/// All devices of a user.
const ALL: &str = "*";

/// The content of messages by user and device; `*` stands for all devices of the user.
pub type Messages = BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>;

/// A request of a client.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// Who sends.
    pub user: &'a UserId,
    /// With which device.
    pub device: &'a DeviceId,
    /// The type of the messages.
    pub kind: &'a str,
    /// What the device calls the request: one of this name and type is served once.
    pub txn: &'a str,
    /// What is sent to whom.
    pub messages: &'a Messages,
}

/// A message for a device of ours, or for all of a user, as it was said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Of which unit.
    pub(crate) unit: usize,
    pub(crate) user: &'a UserId,
    pub(crate) device: &'a str,
    pub(crate) content: &'a RawValue,
}

/// A message for a device that is there.
pub(crate) struct Reached<'a> {
    pub(crate) unit: usize,
    pub(crate) standing: Standing,
    pub(crate) content: &'a RawValue,
}

/// Whether these are not more than one request may reach.
pub(crate) fn are_few(reached: &[Reached<'_>]) -> bool {
    let bytes: usize = reached.iter().map(|reached| reached.content.get().len()).sum();
    reached.len() <= MOST_REACHED && bytes <= MOST_BYTES
}

/// A request that was looked at.
struct Checked<'a> {
    sending: Sending<'a>,
    name: NameHash,
    /// What goes to devices of ours.
    ours: Vec<Wanted<'a>>,
    /// What goes to other servers.
    others: BTreeMap<OwnedServerName, Vec<Bytes>>,
}

impl ToDevice {
    /// Sends messages to devices. On return they are on stable storage: here in the inboxes of those devices that
    /// are there, for other servers in the outboxes. A request that was served before is not served again, also
    /// after a restart or with another token of the device.
    ///
    /// Devices of ours that are not there get nothing, nor do servers with which we exchange nothing or of which the user has
    /// named too many that nobody knows; whom too many others have sent too much neither. All of that is counted and no error.
    ///
    /// # Errors
    /// [`Error::BadMessage`], [`Error::InvalidParam`], [`Error::TooLarge`]; [`Error::ShareFull`], [`Error::Contended`],
    /// [`Error::Account`], [`Error::Store`], [`Error::Commit`], after which it may be tried again.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid>
    pub async fn send(&self, sending: Sending<'_>) -> Result<(), Error> {
        let checked = self.check(sending)?;
        let mut attempts = Attempts::default();
        loop {
            if self.was_served(&checked).await? {
                return Ok(());
            }
            match self.try_to_send(&checked).await {
                // It was served meanwhile, or devices of it have changed.
                Err(Error::Commit(CommitError::Conflict { .. })) => {
                    if !attempts.again(&self.inner.random).await {
                        return Err(Error::Contended);
                    }
                }
                // The answer of the store was lost.
                Err(Error::Commit(CommitError::Unknown)) if self.was_served(&checked).await? => return Ok(()),
                done => return done,
            }
        }
    }

    fn check<'a>(&self, sending: Sending<'a>) -> Result<Checked<'a>, Error> {
        if sending.kind.is_empty() || sending.kind.len() > LONGEST_NAME {
            return Err(Error::InvalidParam("the type of a message has 1 to 255 bytes"));
        }
        if sending.txn.len() > LONGEST_NAME {
            return Err(Error::InvalidParam("a transaction id has at most 255 bytes"));
        }
        if sending.messages.values().map(BTreeMap::len).sum::<usize>() > MOST_NAMED {
            return Err(Error::TooLarge("one request names at most 5,000 devices"));
        }
        let (mut ours, mut outgoing) = (Vec::new(), BTreeMap::<OwnedServerName, Outgoing>::new());
        let (mut admitted, mut not_contacted) = (BTreeMap::new(), 0);
        for (user, devices) in sending.messages {
            let server = user.server_name();
            let is_ours = self.inner.authorities.is_ours(server);
            for (device, content) in devices {
                check_content(content)?;
                if is_ours {
                    ours.push(Wanted { unit: 0, user, device, content });
                } else if *admitted.entry(server).or_insert_with(|| self.admits(sending.user, server)) {
                    let content = canonicalize(content.get().as_bytes(), Numbers::Strict)
                        .map_err(|error| Error::BadMessage(format!("the content for {user}: {error}")))?;
                    let server = outgoing.entry(user.server_name().to_owned()).or_default();
                    server.push(user, device, content);
                } else {
                    not_contacted += 1;
                }
            }
        }
        self.inner.counts.add("not contacted", not_contacted);
        let mut others = BTreeMap::new();
        let mut bytes = 0;
        for (server, outgoing) in outgoing {
            let units = outgoing.units(sending.user, sending.kind, &self.inner.random)?;
            bytes += units.iter().map(Bytes::len).sum::<usize>();
            others.insert(server, units);
        }
        if bytes > MOST_BYTES {
            return Err(Error::TooLarge("one request comes to 16 MiB at most"));
        }
        Ok(Checked { name: name_of(&sending), sending, ours, others })
    }

    /// Whether what a user sends to a server is kept for it.
    fn admits(&self, user: &UserId, server: &ServerName) -> bool {
        let contacts = &self.inner.contacts;
        let may_try = || self.inner.strangers.take(&user.as_str(), self.inner.clock.instant()).is_ok();
        contacts.may_contact(server) && (contacts.is_known(server) || may_try())
    }

    async fn was_served(&self, checked: &Checked<'_>) -> Result<bool, Error> {
        let Sending { user, device, .. } = checked.sending;
        let key = (user.as_str(), device.as_str(), checked.name);
        Ok(self.inner.store.get(&SERVED, &key).await?.is_some())
    }

    async fn try_to_send(&self, checked: &Checked<'_>) -> Result<(), Error> {
        let Sending { user, device, kind, .. } = checked.sending;
        let reached = self.reached(&checked.ours).await?;
        if !are_few(&reached) {
            return Err(Error::TooLarge("one request reaches 10,000 devices and comes to 16 MiB at most"));
        }
        let mut room = self.room_of(user, reached.iter().map(|reached| &reached.standing)).await?;
        let from = user.server_name();
        let (mut batch, mut stored, mut full) = (Batch::new(), 0, 0);
        batch.insert(&SERVED, &(user.as_str(), device.as_str(), checked.name), &self.now_ms());
        if !reached.is_empty() {
            let slot = batch.mark([]);
            let mut woken = BTreeSet::new();
            for Reached { standing, content, .. } in &reached {
                standing.require(&mut batch);
                let content = Bytes::copy_from_slice(content.get().as_bytes());
                let row = MessageRow { sender: user.to_string(), kind: kind.to_owned(), content };
                match self.put_message(&mut batch, slot, &mut room, standing, &row) {
                    Fit::Fits => {
                        stored += 1;
                        woken.insert(standing.user());
                    }
                    Fit::ShareFull => {
                        self.inner.counts.add("refused", 1);
                        return Err(Error::ShareFull);
                    }
                    Fit::Full => full += 1,
                }
            }
            wake(&mut batch, slot, &woken);
        }
        let outgoing = self.put_outgoing(&mut batch, from, &checked.others).await?;
        if stored > 0 || outgoing.is_any() {
            self.inner.store.commit(batch).await?;
        }
        // Else there is nothing that could be done twice, and nothing is kept of it.
        self.inner.counts.add("stored", stored);
        self.inner.counts.add("full", full);
        outbox::count(&self.inner.counts, outgoing);
        Ok(())
    }

    /// The devices of ours that messages go to, each once for every unit. One that is named gets what is for it, and not
    /// what is for all. They come in the order of units.
    pub(crate) async fn reached<'a>(&self, wanted: &[Wanted<'a>]) -> Result<Vec<Reached<'a>>, Error> {
        let (all, named): (Vec<&Wanted<'a>>, Vec<&Wanted<'a>>) =
            wanted.iter().partition(|wanted| wanted.device == ALL);
        // No device has another name, and it need not be looked for.
        let named: Vec<(&Wanted<'a>, OwnedDeviceId)> = named
            .into_iter()
            .filter(|wanted| (1..=LONGEST_NAME).contains(&wanted.device.len()))
            .map(|wanted| (wanted, OwnedDeviceId::from(wanted.device)))
            .collect();
        let names: Vec<(&UserId, &DeviceId)> =
            named.iter().map(|(wanted, device)| (wanted.user, &**device)).collect();
        let standing = self.inner.accounts.standing(&names).await?;
        let missing = standing.iter().filter(|standing| standing.is_none()).count();
        self.inner.counts.add("no device", missing as u64);
        let mut reached = BTreeMap::new();
        let key = |unit: usize, standing: &Standing| {
            (unit, standing.user().to_owned(), standing.device().to_owned())
        };
        for (standing, (wanted, _)) in standing.into_iter().zip(&named) {
            if let Some(standing) = standing {
                let Wanted { unit, content, .. } = **wanted;
                reached.insert(key(unit, &standing), Reached { unit, standing, content });
            }
        }
        let users: BTreeSet<&UserId> = all.iter().map(|wanted| wanted.user).collect();
        let users: Vec<&UserId> = users.into_iter().collect();
        let mut devices: BTreeMap<OwnedUserId, Vec<Standing>> = BTreeMap::new();
        for standing in self.inner.accounts.standing_of(&users, MOST_REACHED).await? {
            devices.entry(standing.user().to_owned()).or_default().push(standing);
        }
        for Wanted { unit, user, content, .. } in all {
            for standing in devices.get(*user).into_iter().flatten() {
                let new = Reached { unit: *unit, standing: standing.clone(), content };
                reached.entry(key(*unit, standing)).or_insert(new);
            }
        }
        Ok(reached.into_values().collect())
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.clock.now().millis()
    }
}

/// Refuses what is no content.
pub(crate) fn check_content(content: &RawValue) -> Result<(), Error> {
    let json = content.get();
    if !json.starts_with('{') {
        return Err(Error::BadMessage("the content of a message is an object".to_owned()));
    }
    if json.len() > LARGEST_CONTENT {
        return Err(Error::TooLarge("the content of a message has at most 64 KiB"));
    }
    if depth(json) > DEEPEST_CONTENT {
        return Err(Error::BadMessage("the content of a message is nested too deeply".to_owned()));
    }
    // Numbers that are none for most readers would have a client fail at each of its syncs, since it never says that it has
    // read one.
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(_) => Ok(()),
        Err(why) => Err(Error::BadMessage(format!("the content of a message cannot be read: {why}"))),
    }
}

/// How many levels of objects and lists valid JSON has.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What names a request among those of its device.
fn name_of(sending: &Sending<'_>) -> NameHash {
    let mut hash = blake3::Hasher::new();
    // Neither holds a byte that is no UTF-8.
    hash.update(sending.kind.as_bytes()).update(&[0xff]).update(sending.txn.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn numbers_that_readers_cannot_hold_are_no_content() {
        let is_fine = |json: String| check_content(&RawValue::from_string(json).unwrap()).is_ok();
        assert!(is_fine(r#"{"a":1.5,"b":-9007199254740991,"c":"1e999"}"#.to_owned()));
        assert!(!is_fine(r#"{"a":1e999}"#.to_owned()));
        assert!(!is_fine(format!("{{\"a\":[-1{}]}}", "0".repeat(5_000))));
    }

    #[test]
    fn levels_are_counted_outside_of_strings() {
        for (json, levels) in [("{}", 1), (r#"{"a":"[[[\"{{"}"#, 1), (r#"{"a":[{},[[]]]}"#, 4)] {
            assert_eq!(depth(json), levels, "{json}");
        }
    }
}
