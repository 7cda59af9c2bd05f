//! Pushers: where a user's devices want to be told of notifications. They are kept for the devices that set them, and go
//! with these; but those that send mails are the account's, and go with the address: who has signed out everywhere is whom a
//! mail is for. What they are told is `delivery`'s work, which hears by the log of each that comes or goes.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset>

use std::{sync::Arc, time::Duration};

use account::DeviceEnds;
use async_trait::async_trait;
use mail::EmailAddress;
use ruma::{
    DeviceId, OwnedDeviceId, UserId,
    api::client::push::{Pusher, PusherIds, PusherKind},
};
use serde::{Deserialize, Serialize};
use store::{Batch, CommitError, Order, Range, Reads, Store, Table, TableCheck, Topic, Tuning, Value as _};

use crate::{
    Error, Push, mailed, seal,
    waiting::{self, Key, TOLD},
};

/// Pushers; key: user id, device id, app id, push key. Those that send mails are of no device; older ones name the one that set
/// them.
static PUSHERS: Table<Key, PusherRow> = Table::new(170, "push.pushers", Tuning::Small);

/// The same by what tells them apart elsewhere; key: app id, push key, user id, device id.
static PUSH_KEYS: Table<Key, ()> = Table::new(171, "push.push_keys", Tuning::Small);

/// When a push key was given, in milliseconds; key: as in [`PUSHERS`].
static SINCE: Table<Key, u64> = Table::new(172, "push.since", Tuning::Small);

/// How long a gateway has refused all that a pusher was to be told; key: as in [`PUSHERS`].
static REFUSED: Table<Key, RefusedRow> = Table::new(176, "push.refused", Tuning::Small);

/// A user's pushers changed: an entry of the log, with [`PushersEntry`].
pub(crate) const PUSHERS_MOVED: u8 = 170;

/// Payload of [`PUSHERS_MOVED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushersEntry {
    /// Whose pushers.
    pub(crate) user: String,
}
store::row!(PushersEntry, schema = 1);

/// A pusher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PusherRow {
    /// As clients are told it, as JSON.
    json: String,
}
store::row!(PusherRow, schema = 1);

/// What a gateway refused of a pusher's since it took something, or since the pusher was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RefusedRow {
    /// When it did so first, in milliseconds.
    first: u64,
    /// How often.
    count: u32,
}
store::row!(RefusedRow, schema = 1);

/// A pusher whose gateway has refused so often, and for so long, everything that it was to be told is given up: its app is
/// gone, or was never there. Not sooner, as whoever runs the gateway may have to come back from a long weekend to mend it; and
/// not after less, as one may have nothing to be told in between.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const GIVEN_UP_AFTER_COUNT: u32 = 20;

/// The app of all pushers that send mails, and of no other.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset>
const MAIL_APP: &str = "m.email";

/// The device of pushers that are of the account.
const NO_DEVICE: &str = "";

/// Most pushers of a user.
const MOST: usize = 50;

/// Most users of an authority who have a pusher in common, as far as they are looked at.
const MOST_IN_COMMON: usize = 100;

/// Longest push key, app id and address of a gateway in bytes; largest pusher in all.
const MAX_KEY_BYTES: usize = 512;
const MAX_APP_BYTES: usize = 64;
const MAX_URL_BYTES: usize = 2_048;
const MAX_BYTES: usize = 16 * 1024;

/// The one path of a push gateway.
const GATEWAY_PATH: &str = "/_matrix/push/v1/notify";

/// So often a change is made anew that others raced with.
const ATTEMPTS: usize = 8;

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    let mut checks = vec![PUSHERS.check(), PUSH_KEYS.check(), SINCE.check(), REFUSED.check()];
    checks.extend(waiting::checks());
    checks.extend(mailed::checks());
    checks.extend(seal::checks());
    checks
}

impl Push {
    /// A user's pushers.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn pushers(&self, user: &UserId) -> Result<Vec<Pusher>, Error> {
        let rows = rows_of(self.store(), user).await?;
        // One that another version of us wrote and that cannot be read costs itself alone.
        Ok(rows.into_iter().filter_map(|(_, row)| serde_json::from_str(&row.json).ok()).collect())
    }

    /// Sets a pusher for a device, or for the account where it sends mails, in the place of the user's own with the same ids. Others of his authority lose theirs
    /// with these, unless it is to be added to them: a phone that changes hands tells its new owner only.
    ///
    /// Mails go to an address that is the user's own alone, as he has proved; so nobody takes another's pusher away by
    /// naming his address.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::TooLarge`], [`account::Error::UnknownToken`] when the device has ended,
    /// [`account::Error::Contact`] for an address that is not the user's or where no mails are sent,
    /// [`account::Error::Contended`], [`Error::Store`].
    pub async fn set_pusher(
        &self,
        user: &UserId,
        device: &DeviceId,
        pusher: &Pusher,
        append: bool,
    ) -> Result<(), Error> {
        let now = self.clock().now();
        let mut pusher = pusher.clone();
        let address = check(&pusher)?;
        if let Some(address) = &address {
            pusher.ids.pushkey = address.to_string();
        }
        let pusher = &pusher;
        let json = serde_json::to_string(pusher).map_err(|_| Error::Invalid("the pusher cannot be kept"))?;
        if json.len() > MAX_BYTES {
            return Err(Error::TooLarge("a pusher has at most 16 KiB"));
        }
        let (app, push_key) = (&pusher.ids.app_id, &pusher.ids.pushkey);
        let of_device = if address.is_some() { NO_DEVICE } else { device.as_str() };
        let key: Key = (user.to_string(), of_device.to_owned(), app.clone(), push_key.clone());
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::new();
            self.accounts().require_device(&mut batch, user, device).await?;
            if let Some(address) = &address {
                self.accounts().require_email(&mut batch, user, address).await?;
            }
            let own = rows_of(self.store(), user).await?;
            let old = own.iter().find(|(known, _)| *known == key).map(|(_, row)| row);
            if old.is_none() && own.len() >= MOST {
                return Err(Error::TooLarge("a user has at most 50 pushers"));
            }
            let with_ids = Range::prefix(&(app.as_str(), push_key.as_str()));
            let named = self.store().scan(&PUSH_KEYS, with_ids, Order::Ascending, MOST_IN_COMMON).await?;
            for ((_, _, other, of_device), ()) in named {
                let is_same_authority =
                    UserId::parse(&*other).is_ok_and(|other| other.server_name() == user.server_name());
                let goes =
                    if other == user.as_str() { of_device != key.1 } else { !append && is_same_authority };
                if goes {
                    delete(&mut batch, &(other, of_device, app.clone(), push_key.clone()));
                }
            }
            batch.require(&PUSHERS, &key, old);
            batch.put(&PUSHERS, &key, &PusherRow { json: json.clone() });
            batch.put(&PUSH_KEYS, &(app.clone(), push_key.clone(), key.0.clone(), key.1.clone()), &());
            batch.put(&SINCE, &key, &now.millis());
            batch.delete(&REFUSED, &key);
            note(&mut batch, user.as_str());
            match self.store().commit(batch).await {
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(Error::Account(error.into())),
                Ok(_) => return Ok(()),
            }
        }
        Err(Error::Account(account::Error::Contended))
    }

    /// Removes the pushers of a user that have these ids.
    ///
    /// # Errors
    /// [`account::Error::Commit`], [`Error::Store`].
    pub async fn remove_pusher(&self, user: &UserId, ids: &PusherIds) -> Result<(), Error> {
        let mut batch = Batch::new();
        let address = (ids.app_id == MAIL_APP).then(|| ids.pushkey.parse::<EmailAddress>().ok()).flatten();
        let push_key = address.as_ref().map_or(&*ids.pushkey, EmailAddress::as_str);
        for (key, _) in rows_of(self.store(), user).await? {
            if key.2 == ids.app_id && key.3 == push_key {
                delete(&mut batch, &key);
            }
        }
        if !batch.is_empty() {
            self.store().commit(batch).await.map_err(account::Error::from)?;
        }
        Ok(())
    }

    /// What takes pushers away with their devices, for [`account::Accounts::add_device_ends`].
    pub fn device_ends(&self) -> Arc<dyn DeviceEnds> {
        Arc::new(PusherEnds { store: self.store().clone() })
    }
}

/// Whether a pusher sends mails, to the address that its push key is.
pub(crate) fn is_of_mails(key: &Key) -> bool {
    key.2 == MAIL_APP
}

async fn rows_of(store: &Store, user: &UserId) -> Result<Vec<(Key, PusherRow)>, store::Error> {
    // So many that none of them is missed who may have set some more at once.
    store.scan(&PUSHERS, Range::prefix(user.as_str()), Order::Ascending, 2 * MOST).await
}

/// A page of all pushers, in the order of their keys.
pub(crate) async fn page(
    store: &Store,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<Placed>, store::Error> {
    let range = after.map_or_else(Range::all, |after| Range::all().after(after));
    let rows = store.scan(&PUSHERS, range, Order::Ascending, limit).await?;
    Ok(rows.into_iter().map(|(key, row)| (serde_json::from_str(&row.json).ok(), key)).collect())
}

/// A pusher, unless it cannot be read, and its key.
pub(crate) type Placed = (Option<Pusher>, Key);

/// A user's pushers with their keys.
pub(crate) async fn of_user(store: &Store, user: &UserId) -> Result<Vec<Placed>, store::Error> {
    let rows = rows_of(store, user).await?;
    Ok(rows.into_iter().map(|(key, row)| (serde_json::from_str(&row.json).ok(), key)).collect())
}

/// A pusher as it is kept, and what decides whether it is told something.
pub(crate) struct Found {
    pub(crate) pusher: Pusher,
    /// Since when, in milliseconds.
    pub(crate) since: Option<u64>,
    /// The number that it was told last.
    pub(crate) told: u64,
    /// Whether its user's account is locked.
    pub(crate) is_locked: bool,
    refused: Option<RefusedRow>,
    row: PusherRow,
}

/// The pusher of a key, unless it cannot be read: all of it at once.
pub(crate) async fn find(push: &Push, key: &Key) -> Result<Option<Found>, store::Error> {
    let mut reads = Reads::new();
    let (row, since) = (reads.get(&PUSHERS, key), reads.get(&SINCE, key));
    let (told, refused) = (reads.get(&TOLD, key), reads.get(&REFUSED, key));
    let moderation = push.accounts().read_moderation(&mut reads, &key.0);
    let mut found = push.store().read(reads).await?;
    let (row, since) = (found.take(row)?, found.take(since)?);
    let (told, refused) = (found.take(told)?.unwrap_or_default(), found.take(refused)?);
    let is_locked = found.take(moderation)?.unwrap_or_default().locked;
    let Some(row) = row else { return Ok(None) };
    let Ok(pusher) = serde_json::from_str(&row.json) else { return Ok(None) };
    Ok(Some(Found { pusher, since, told, is_locked, refused, row }))
}

impl Found {
    /// Adds to a batch that its gateway refused something now; or, if that has gone on for too long, that the pusher goes.
    /// Tells which. The batch fails if it was set anew since it was found.
    pub(crate) fn put_refused(&self, batch: &mut Batch, key: &Key, now: u64) -> Refused {
        let RefusedRow { first, count } = self.refused.unwrap_or(RefusedRow { first: now, count: 0 });
        let row = RefusedRow { first, count: count.saturating_add(1) };
        let lasted = Duration::from_millis(now.saturating_sub(first));
        if lasted >= GIVEN_UP_AFTER && row.count >= GIVEN_UP_AFTER_COUNT {
            delete_found(batch, key, self);
            return Refused::GivenUp;
        }
        batch.require(&PUSHERS, key, Some(&self.row));
        batch.put(&REFUSED, key, &row);
        Refused::Once
    }

    /// Adds to a batch that its gateway took something.
    pub(crate) fn put_taken(&self, batch: &mut Batch, key: &Key) {
        if self.refused.is_some() {
            batch.delete(&REFUSED, key);
        }
    }
}

/// What comes of a gateway's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The pusher stays.
    Once,
    /// The pusher goes.
    GivenUp,
}

/// As [`delete`], if it was not set anew since it was found.
pub(crate) fn delete_found(batch: &mut Batch, key: &Key, found: &Found) {
    batch.require(&PUSHERS, key, Some(&found.row));
    delete(batch, key);
}

/// Notes in the log that a user's pushers changed.
fn note(batch: &mut Batch, user: &str) {
    let entry = PushersEntry { user: user.to_owned() };
    batch.log(PUSHERS_MOVED, entry.encode(), [Topic::new(61, user)]);
}

pub(crate) fn delete(batch: &mut Batch, key: &Key) {
    let (user, device, app, push_key) = key.clone();
    note(batch, &user);
    batch.delete(&PUSHERS, key);
    batch.delete(&SINCE, key);
    batch.delete(&REFUSED, key);
    batch.delete(&mailed::MAILED, key);
    waiting::delete(batch, key);
    batch.delete(&PUSH_KEYS, &(app, push_key, user, device));
}

struct PusherEnds {
    store: Store,
}

#[async_trait]
impl DeviceEnds for PusherEnds {
    async fn put_ends(
        &self,
        batch: &mut Batch,
        user: &UserId,
        devices: &[OwnedDeviceId],
    ) -> Result<(), account::Error> {
        for (key, _) in rows_of(&self.store, user).await? {
            if !is_of_mails(&key) && devices.iter().any(|device| device.as_str() == key.1) {
                delete(batch, &key);
            }
        }
        Ok(())
    }

    async fn put_address_ends(
        &self,
        batch: &mut Batch,
        user: &UserId,
        email: &EmailAddress,
    ) -> Result<(), account::Error> {
        for (key, _) in rows_of(&self.store, user).await? {
            if is_of_mails(&key) && key.3 == email.as_str() {
                delete(batch, &key);
            }
        }
        Ok(())
    }

    async fn put_close(&self, batch: &mut Batch, user: &UserId) -> Result<(), account::Error> {
        // Those of its devices are among them, which go with these already.
        for (key, _) in rows_of(&self.store, user).await? {
            delete(batch, &key);
        }
        Ok(())
    }
}

/// The address of a pusher that sends mails; nothing for another.
fn check(pusher: &Pusher) -> Result<Option<EmailAddress>, Error> {
    let PusherIds { app_id, pushkey, .. } = &pusher.ids;
    if app_id.is_empty() || pushkey.is_empty() {
        return Err(Error::Invalid("a pusher has an `app_id` and a `pushkey`"));
    }
    if app_id.len() > MAX_APP_BYTES || pushkey.len() > MAX_KEY_BYTES {
        return Err(Error::TooLarge("an `app_id` has at most 64 bytes, a `pushkey` 512"));
    }
    match &pusher.kind {
        PusherKind::Email(_) if app_id == MAIL_APP => {
            let address = pushkey.parse().map_err(|_| Error::Invalid("`pushkey` is no e-mail address"))?;
            Ok(Some(address))
        }
        PusherKind::Email(_) => Err(Error::Invalid("the `app_id` of an `email` pusher is `m.email`")),
        // It would stand where pushers of others are by their addresses.
        PusherKind::Http(_) if app_id == MAIL_APP => {
            Err(Error::Invalid("`m.email` is the `app_id` of `email` pushers alone"))
        }
        PusherKind::Http(data) if is_gateway(&data.url) => Ok(None),
        PusherKind::Http(_) => {
            Err(Error::Invalid("`url` is an HTTP address with the path /_matrix/push/v1/notify"))
        }
        _ => Err(Error::Invalid("`kind` is `http`, `email` or null")),
    }
}

fn is_gateway(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let server = rest.and_then(|rest| rest.strip_suffix(GATEWAY_PATH));
    let is_server = |server: &str| !server.is_empty() && !server.contains(['/', '?', '#', '@', '\\']);
    url.len() <= MAX_URL_BYTES && server.is_some_and(is_server) && url.is_ascii() && !url.contains(' ')
}

#[cfg(test)]
mod tests {
    use store::Value as _;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn refusals_are_read_as_they_were_written() {
        let row = RefusedRow { first: 300, count: 2 };
        assert_eq!(&row.encode()[..], [1, 172, 2, 2]);
        assert_eq!(RefusedRow::decode(&row.encode()).ok(), Some(row));
    }

    #[test]
    fn a_gateway_has_one_path() {
        for url in
            ["https://push.example.org/_matrix/push/v1/notify", "http://[::1]:8080/_matrix/push/v1/notify"]
        {
            assert!(is_gateway(url), "{url}");
        }
        for url in [
            "https:///_matrix/push/v1/notify",
            "ftp://a/_matrix/push/v1/notify",
            "https://a/b/_matrix/push/v1/notify",
            "https://a/?/_matrix/push/v1/notify",
            "https://a@b/_matrix/push/v1/notify",
            "https://a/_matrix/push/v1/notify?x",
            "https://a\\b/_matrix/push/v1/notify",
            "https://a b/_matrix/push/v1/notify",
            "https://役場.test/_matrix/push/v1/notify",
            "/_matrix/push/v1/notify",
        ] {
            assert!(!is_gateway(url), "{url}");
        }
        let long = |length: usize| {
            let rest = length - "https://".len() - GATEWAY_PATH.len();
            format!("https://{}{GATEWAY_PATH}", "a".repeat(rest))
        };
        assert!(is_gateway(&long(MAX_URL_BYTES)) && !is_gateway(&long(MAX_URL_BYTES + 1)));
    }
}
