//! Keys of users of other servers.
//!
//! Servers are asked side by side, each for all of its users at once. One that does not answer holds up nobody for longer than
//! the request says, and is not asked again until its back-off ends: clients ask again after every sync.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use base::{Backoff, Clock, Instant, Random};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use pdu::lenient;
use room::RemoteError;
use ruma::{CanonicalJsonObject, OwnedDeviceId, OwnedServerName, OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tracing::debug;

use crate::{
    Claimed, Claims, Encryption, Error, Queried, UserKeys, Wanted,
    others::{Known, of_wanted, whole},
    query::{Left, MOST_DEVICES, MOST_USER_BYTES, MOST_USERS},
    signed,
};

/// Servers that are asked at a time for one request.
const SERVERS_AT_ONCE: usize = 32;

/// How long a request may wait for other servers.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Back-off of servers that do not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Servers whose back-off is remembered.
const MOST_SILENT: usize = 5_000;

/// Servers that did not answer lately.
#[derive(Debug, Default)]
pub(crate) struct Silent(Mutex<HashMap<OwnedServerName, (Backoff, Instant)>>);

impl Silent {
    fn is_silent(&self, server: &ServerName, now: Instant) -> bool {
        self.0.lock().get(server).is_some_and(|(_, until)| *until > now)
    }

    fn answered(&self, server: &ServerName) {
        self.0.lock().remove(server);
    }

    fn failed(&self, server: &ServerName, clock: &Clock, random: &Random) {
        let now = clock.instant();
        let mut silent = self.0.lock();
        if silent.len() >= MOST_SILENT && !silent.contains_key(server) {
            silent.retain(|_, (_, until)| *until > now);
            if silent.len() >= MOST_SILENT {
                return;
            }
        }
        let new = || (Backoff::new(FIRST_PAUSE, LONGEST_PAUSE), now);
        let (backoff, until) = silent.entry(server.to_owned()).or_insert_with(new);
        *until = now + backoff.next(random);
    }
}

/// What another server answers to a query. Each device and key is read by itself, so that one that makes no sense costs no
/// other.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(deserialize_with = "lenient::map")]
    device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Box<RawValue>>>,
    #[serde(deserialize_with = "lenient::map")]
    master_keys: BTreeMap<OwnedUserId, Box<RawValue>>,
    #[serde(deserialize_with = "lenient::map")]
    self_signing_keys: BTreeMap<OwnedUserId, Box<RawValue>>,
}

/// What another server answers to a claim.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Given {
    #[serde(deserialize_with = "lenient::map")]
    one_time_keys: Claimed,
}

impl Encryption {
    /// Keys of users, ours and others, as a user of ours may see them. Servers that do not answer in time are named; of
    /// their users nothing is told.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than 1,000 users or 16 MiB of keys; [`Error::Store`], [`Error::Account`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>
    pub async fn query_keys(
        &self,
        reader: &UserId,
        wanted: Wanted,
        timeout: Duration,
    ) -> Result<Queried, Error> {
        if wanted.len() > MOST_USERS || wanted.values().any(|only| only.len() > MOST_DEVICES) {
            return Err(Error::TooLarge("keys of too many users or devices are asked for at once"));
        }
        let (ours, mut others) = self.by_server(wanted);
        let users: Vec<OwnedUserId> = others.values().flatten().map(|(user, _)| user.clone()).collect();
        let left = Left::default();
        let Known { fresh, mut old } = self.kept(&users, &left).await?;
        let mut queried = Queried::default();
        for wanted in others.values_mut() {
            wanted.retain(|user, only| match fresh.get(user) {
                Some(keys) => {
                    queried.users.insert(user.clone(), of_wanted(keys.clone(), only));
                    false
                }
                None => true,
            });
        }
        others.retain(|_, wanted| !wanted.is_empty());
        let users: Vec<OwnedUserId> = others.values().flatten().map(|(user, _)| user.clone()).collect();
        let keeping = self.keeping(reader, &users).await?;
        let asking: BTreeMap<OwnedServerName, Wanted> =
            others.iter().map(|(server, wanted)| (server.clone(), whole(wanted))).collect();
        let own = self.own_keys_within(Some(reader), &ours, &left);
        let of_answer = &left;
        let asked = self.ask_all(asking, timeout, |server, wanted| async move {
            let told = self.inner.peers.query_keys(reader.server_name(), &server, &wanted).await?;
            let told = told_keys(&server, &wanted, &told)?;
            // What does not fit goes at once, however many servers answer.
            Ok(of_answer.take(told.values().map(UserKeys::size).sum()).then_some(told))
        });
        let (own, asked) = tokio::join!(own, asked);
        queried.users.extend(own?);
        let (mut told, mut as_before) = (BTreeMap::new(), BTreeMap::new());
        for (server, answer) in asked {
            match answer {
                Ok(Some(users)) => told.extend(users),
                Ok(None) => {
                    let reason = "the keys of all come to more than one answer has room for".to_owned();
                    queried.failures.insert(server, reason);
                }
                Err(reason) => {
                    let of_server = others.get(&server).into_iter().flatten();
                    as_before.extend(of_server.filter_map(|(user, _)| old.remove_entry(user)));
                    queried.failures.insert(server, reason);
                }
            }
        }
        self.keep(keeping, &told).await;
        told.append(&mut as_before);
        let only: BTreeMap<&OwnedUserId, &Vec<OwnedDeviceId>> = others.values().flatten().collect();
        let wanted = |user: &OwnedUserId| only.get(user).map(|only| only.as_slice()).unwrap_or_default();
        queried.users.extend(told.into_iter().map(|(user, keys)| {
            let keys = of_wanted(keys, wanted(&user));
            (user, keys)
        }));
        self.add_own_signatures(reader, &mut queried.users).await?;
        Ok(queried)
    }

    /// Claims keys of devices of users, ours and others. Of devices whose server does not answer in time, those whose fallback
    /// key is known get that; a server is named if there is one whose is not.
    ///
    /// # Errors
    /// As [`Encryption::claim_own`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim>
    pub async fn claim_keys(
        &self,
        reader: &UserId,
        wanted: Claims,
        timeout: Duration,
    ) -> Result<(Claimed, BTreeMap<OwnedServerName, String>), Error> {
        let (ours, others) = self.by_server(wanted);
        let devices = |claims: &Claims| claims.values().map(BTreeMap::len).sum::<usize>();
        if devices(&ours) + others.values().map(devices).sum::<usize>() > crate::one_time::MOST_CLAIMS {
            return Err(Error::TooLarge("keys of too many devices are claimed at once"));
        }
        let own = self.claim_own(ours);
        let asked = self.ask_all(others.clone(), timeout, |server, wanted| async move {
            let given = self.inner.peers.claim_keys(reader.server_name(), &server, &wanted).await?;
            given_keys(&server, &wanted, &given)
        });
        let (own, asked) = tokio::join!(own, asked);
        let (mut claimed, mut failures) = (own?, BTreeMap::new());
        let (mut told, mut kept) = (Claimed::new(), Claimed::new());
        for (server, answer) in asked {
            match answer {
                Ok(given) => told.extend(given),
                Err(reason) => {
                    let Some(wanted) = others.get(&server) else { continue };
                    let known = self.kept_fallbacks(wanted).await?;
                    if known.values().map(BTreeMap::len).sum::<usize>() < devices(wanted) {
                        failures.insert(server, reason);
                    }
                    kept.extend(known);
                }
            }
        }
        self.keep_fallbacks(&told).await;
        claimed.extend(told);
        claimed.extend(kept);
        Ok((claimed, failures))
    }

    /// What concerns users of ours, and what other servers are asked.
    fn by_server<T>(
        &self,
        wanted: BTreeMap<OwnedUserId, T>,
    ) -> (BTreeMap<OwnedUserId, T>, BTreeMap<OwnedServerName, BTreeMap<OwnedUserId, T>>) {
        let (mut ours, mut others) = (BTreeMap::new(), BTreeMap::<_, BTreeMap<_, _>>::new());
        for (user, wanted) in wanted {
            if self.inner.rooms.is_local(&user) {
                ours.insert(user, wanted);
            } else {
                others.entry(user.server_name().to_owned()).or_default().insert(user, wanted);
            }
        }
        (ours, others)
    }

    /// Asks servers side by side, but for those that did not answer lately.
    async fn ask_all<W, T, F>(
        &self,
        others: BTreeMap<OwnedServerName, W>,
        timeout: Duration,
        ask: impl Fn(OwnedServerName, W) -> F,
    ) -> Vec<(OwnedServerName, Result<T, String>)>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let (ask, clock) = (&ask, &self.inner.clock);
        let deadline = clock.instant() + timeout.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        stream::iter(others)
            .map(|(server, wanted)| async move {
                let silent = &self.inner.silent;
                if silent.is_silent(&server, clock.instant()) {
                    return (server, Err("the server did not answer a moment ago".to_owned()));
                }
                // All together: it is the client that waits.
                let left = deadline.since(clock.instant());
                if left.is_zero() {
                    return (server, Err("the server could not be asked in time".to_owned()));
                }
                let answer = match clock.timeout(left, ask(server.clone(), wanted)).await {
                    Ok(answer) => answer.map_err(|error| {
                        debug!(destination = %server, %error, "keys could not be asked for");
                        "the server does not answer".to_owned()
                    }),
                    Err(_) => Err("the server does not answer in time".to_owned()),
                };
                match &answer {
                    Ok(_) => silent.answered(&server),
                    Err(_) => silent.failed(&server, clock, &self.inner.random),
                }
                (server, answer)
            })
            .buffer_unordered(SERVERS_AT_ONCE)
            .collect()
            .await
    }
}

/// Keys that another server told of users of its own who were asked about.
pub(crate) fn told_keys(
    server: &ServerName,
    wanted: &Wanted,
    told: &RawValue,
) -> Result<BTreeMap<OwnedUserId, UserKeys>, RemoteError> {
    let bad = |error: serde_json::Error| RemoteError::BadAnswer {
        server: server.to_owned(),
        cause: error.to_string(),
    };
    let mut told: Told = serde_json::from_str(told.get()).map_err(bad)?;
    let mut users = BTreeMap::new();
    for (user, only) in wanted {
        let (mut keys, mut bytes) = (UserKeys::default(), 0);
        for (device, json) in told.device_keys.remove(user).unwrap_or_default() {
            if keys.devices.len() < MOST_DEVICES
                && bytes + json.get().len() <= MOST_USER_BYTES
                && (only.is_empty() || only.contains(&device))
                && let Some(told) = told_device(user, &device, &json).as_ref().and_then(signed::raw)
            {
                bytes += told.get().len();
                keys.devices.insert(device, told);
            }
        }
        keys.master = told.master_keys.get(user).and_then(|json| told_key(user, json));
        keys.self_signing = told.self_signing_keys.get(user).and_then(|json| told_key(user, json));
        users.insert(user.clone(), keys);
    }
    Ok(users)
}

/// A device of another server's user, if it is one; with the name that it has there.
pub(crate) fn told_device(
    user: &UserId,
    device: &OwnedDeviceId,
    json: &RawValue,
) -> Option<CanonicalJsonObject> {
    let mut value: Value = serde_json::from_str(json.get()).ok()?;
    let name = value.get_mut("unsigned").and_then(|unsigned| unsigned.get_mut("device_display_name"));
    let name = name.map(Value::take).and_then(|name| ruma::CanonicalJsonValue::try_from(name).ok());
    let mut object = signed::object(value).ok()?;
    let is_so = |field, is: &str| signed::text(&object, field) == Some(is);
    if !is_so("user_id", user.as_str())
        || !is_so("device_id", device.as_str())
        || object.get("keys").is_none_or(|keys| keys.as_object().is_none())
        || signed::has_weak_key(&object, device.as_str())
        || device.as_str().len() > 255
    {
        return None;
    }
    if let Some(name @ ruma::CanonicalJsonValue::String(_)) = name {
        let unsigned = [("device_display_name".to_owned(), name)];
        object.insert("unsigned".to_owned(), ruma::CanonicalJsonValue::Object(unsigned.into()));
    }
    Some(object)
}

/// A cross-signing key of another server's user, if it is one.
pub(crate) fn told_key(user: &UserId, json: &RawValue) -> Option<CanonicalJsonObject> {
    let object = signed::object(serde_json::from_str(json.get()).ok()?).ok()?;
    let is_his = signed::text(&object, "user_id") == Some(user.as_str());
    (is_his && signed::public_part(&object).is_some()).then_some(object)
}

/// Keys that another server gave, of what was asked for.
fn given_keys(server: &ServerName, wanted: &Claims, given: &RawValue) -> Result<Claimed, RemoteError> {
    let bad = |error: serde_json::Error| RemoteError::BadAnswer {
        server: server.to_owned(),
        cause: error.to_string(),
    };
    let mut given: Given = serde_json::from_str(given.get()).map_err(bad)?;
    let mut claimed = Claimed::new();
    for (user, devices) in wanted {
        let Some(mut of_user) = given.one_time_keys.remove(user) else { continue };
        for (device, algorithm) in devices {
            let Some(keys) = of_user.remove(device) else { continue };
            let is_asked = |id: &str| id.split_once(':').is_some_and(|(of, _)| of == algorithm);
            let key = keys.into_iter().find(|(id, key)| is_asked(id) && key.get().len() <= 16 << 10);
            if let Some((id, key)) = key {
                let of_user = claimed.entry(user.clone()).or_default();
                of_user.insert(device.clone(), BTreeMap::from([(id, key)]));
            }
        }
    }
    Ok(claimed)
}
