//! Transactions of other servers.
//!
//! An event or unit that cannot be used is answered for by itself; it never fails the others. Where
//! nothing can be kept at the moment the whole transaction fails, so that it is sent again. A transaction that comes again gets the same answer and is not worked on again: in memory for the
//! recent ones, and because all that is in it is idempotent for those from before a crash.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#transactions>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use account::{PresenceUpdate, State};
use base::Instant;
use bytes::Bytes;
use parking_lot::Mutex;
use pdu::lenient;
use room::read::receipts::{NewReceipt, ReceiptKind};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use to_device::{Incoming, Outcome};
use tokio::sync::{OnceCell, Semaphore};
use tracing::debug;
use web::{ApiError, Origin, RawCall, Response};

use super::{
    FederationApi,
    json::{Object, json_answer, object_body},
};
use crate::{bounded::AtMost, resolver::make_room};

const MOST_PDUS: usize = 50;
const MOST_EDUS: usize = 100;

/// The largest EDU. What is proposed for the specification is 64 KiB of canonical JSON (MSC4514); as for events, others
/// may spell it with more.
const LARGEST_EDU: usize = 256 * 1024;

/// Rooms and receipts of one transaction that are looked at; the rest is left out. Honest servers send some hundred.
const MOST_RECEIPT_ROOMS: usize = 1_000;
const MOST_RECEIPTS: usize = 10_000;

/// Users whose presence one transaction tells of; the rest is left out.
const MOST_PRESENT: usize = 500;

/// Answers that are remembered: in all, of one server, and for how long.
const MOST_ANSWERS: usize = 4_000;
const MOST_ANSWERS_OF_ONE: usize = 32;
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// Transactions of one server that are worked on at a time; honest servers send one after the other.
const AT_ONCE: usize = 4;

/// A transaction that has to wait longer for its turn is refused for now.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Servers whose places are remembered while nobody uses them.
const MOST_SERVERS: usize = 20_000;

/// Longer names of transactions are refused: they are kept, and nobody needs them.
const LONGEST_ID: usize = 255;

type Answer = Arc<OnceCell<Bytes>>;

/// What names a transaction: its id is the sender's, for one destination; several of them may be ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    destination: OwnedServerName,
    id: String,
}

/// Recent transactions and their answers, and who is being served.
#[derive(Default)]
pub(super) struct Served {
    answers: Mutex<Answers>,
    places: Mutex<HashMap<OwnedServerName, Arc<Semaphore>>>,
}

/// The last answers to each server, and the servers in the order in which they came.
#[derive(Default)]
struct Answers {
    by_origin: HashMap<OwnedServerName, OfOrigin>,
    count: usize,
}

#[derive(Default)]
struct OfOrigin {
    /// Oldest first.
    answers: VecDeque<(Name, Answer, Instant)>,
}

impl Answers {
    fn expire(&mut self, now: Instant) {
        self.by_origin.retain(|_, of_origin| {
            of_origin.answers.retain(|(_, _, at)| now.since(*at) < KEPT_FOR);
            !of_origin.answers.is_empty()
        });
        self.count = self.by_origin.values().map(|of_origin| of_origin.answers.len()).sum();
    }

    /// Forgets the oldest answer of all.
    fn drop_oldest(&mut self) {
        let oldest = self
            .by_origin
            .iter()
            .filter_map(|(origin, of_origin)| Some((of_origin.answers.front()?.2, origin.clone())))
            .min_by_key(|(at, _)| *at);
        let Some((_, origin)) = oldest else { return };
        if let Some(of_origin) = self.by_origin.get_mut(&origin) {
            of_origin.answers.pop_front();
            self.count -= 1;
            if of_origin.answers.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
    }
}

impl Served {
    /// The place of this transaction's answer. Who comes while the first one is worked on waits for it.
    fn answer(&self, origin: &ServerName, name: &Name, now: Instant) -> Answer {
        let mut answers = self.answers.lock();
        if let Some(of_origin) = answers.by_origin.get(origin)
            && let Some((_, known, at)) = of_origin.answers.iter().find(|(known, ..)| known == name)
            && now.since(*at) < KEPT_FOR
        {
            return known.clone();
        }
        if answers.count >= MOST_ANSWERS {
            answers.expire(now);
        }
        if answers.count >= MOST_ANSWERS {
            answers.drop_oldest();
        }
        let new = Answer::default();
        let of_origin = answers.by_origin.entry(origin.to_owned()).or_default();
        let before = of_origin.answers.len();
        of_origin.answers.retain(|(known, ..)| known != name);
        while of_origin.answers.len() >= MOST_ANSWERS_OF_ONE {
            of_origin.answers.pop_front();
        }
        of_origin.answers.push_back((name.clone(), new.clone(), now));
        let after = of_origin.answers.len();
        answers.count = answers.count + after - before;
        new
    }

    /// The places for transactions of this server.
    fn places(&self, origin: &ServerName) -> Arc<Semaphore> {
        let mut places = self.places.lock();
        if !places.contains_key(origin) {
            make_room(&mut places, MOST_SERVERS, |places| Arc::strong_count(places) > 1);
        }
        places.entry(origin.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
    }
}

#[derive(Deserialize)]
struct Transaction {
    #[serde(default)]
    pdus: AtMost<Box<RawValue>, MOST_PDUS>,
    #[serde(default)]
    edus: AtMost<Box<RawValue>, MOST_EDUS>,
}

/// What the receipts of one transaction may still cost: each room and each receipt is looked up in the store.
struct Allowance {
    rooms: usize,
    receipts: usize,
    present: usize,
    /// Users whose devices or keys changed.
    lists: BTreeSet<OwnedUserId>,
}

/// `PUT /send/{txnId}`
pub(super) async fn send(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let id: String = call.args.get(0)?;
    if id.len() > LONGEST_ID {
        return Err(ApiError::invalid_param(format!(
            "The id of a transaction may have {LONGEST_ID} bytes, not more"
        )));
    }
    let origin = &call.caller.server;
    let places = api.served.places(origin);
    let turn = api.clock.timeout(LONGEST_WAIT, places.acquire()).await;
    let Ok(Ok(_place)) = turn else { return Err(ApiError::limited(Duration::from_secs(1))) };
    let name = Name { destination: call.caller.destination.clone(), id };
    let answer = api.served.answer(origin, &name, api.clock.instant());
    let body = answer.get_or_try_init(|| work(&api, &call)).await?;
    Ok(json_answer(body.clone()))
}

async fn work(api: &FederationApi, call: &RawCall<Origin>) -> Result<Bytes, ApiError> {
    let Transaction { pdus: AtMost(pdus), edus: AtMost(edus) } = object_body(call)?;
    let origin = &call.caller.server;
    // First what may be refused as a whole: the sender repeats all of it then.
    let received = api.engine.receive_transaction(origin, &pdus).await?;
    api.receive_edus(origin, &call.caller.destination, &edus).await?;
    let dropped = pdus.len().saturating_sub(received.len());
    api.count("pdu", "dropped", dropped);

    let mut verdicts = Object::new();
    for answer in &received {
        let mut verdict = Object::new();
        let outcome = match &answer.result {
            Ok(()) => "taken",
            Err(error) => {
                debug!(%origin, event_id = %answer.event_id, %error, "a PDU was not taken");
                verdict = verdict.string("error", &public_reason(error));
                "refused"
            }
        };
        api.count("pdu", outcome, 1);
        verdicts = verdicts.json(answer.event_id.as_str(), &verdict.finish());
    }
    Ok(Bytes::from(Object::new().json("pdus", &verdicts.finish()).finish()))
}

/// What another server is told of an event that was not taken: nothing of our own troubles.
fn public_reason(error: &room::Error) -> String {
    match error {
        room::Error::Store(_) | room::Error::Commit(_) | room::Error::Inconsistent(_) => {
            "The server has a problem".to_owned()
        }
        room::Error::Denied(denial) => denial.public.clone(),
        error => error.to_string(),
    }
}

#[derive(Deserialize)]
struct Edu {
    edu_type: String,
    content: Box<RawValue>,
}

#[derive(Deserialize)]
struct Typing {
    room_id: OwnedRoomId,
    user_id: OwnedUserId,
    typing: bool,
}

/// Messages to devices. One that makes no sense costs no other.
#[derive(Deserialize)]
struct DirectToDevice {
    sender: OwnedUserId,
    #[serde(rename = "type")]
    kind: String,
    message_id: String,
    #[serde(default, deserialize_with = "lenient::map")]
    messages: BTreeMap<OwnedUserId, ToDevices>,
}

/// By device.
#[derive(Deserialize)]
#[serde(transparent)]
struct ToDevices(#[serde(deserialize_with = "lenient::map")] BTreeMap<String, Box<RawValue>>);

impl From<DirectToDevice> for Incoming {
    fn from(unit: DirectToDevice) -> Self {
        let DirectToDevice { sender, kind, message_id, messages } = unit;
        let messages = messages.into_iter().map(|(user, ToDevices(devices))| (user, devices)).collect();
        Self { sender, kind, message_id, messages }
    }
}

/// Whose devices or keys changed; what they are now is asked for by whoever wants to know.
#[derive(Deserialize)]
struct ListChange {
    user_id: OwnedUserId,
}

/// Who came or went.
#[derive(Deserialize)]
struct Present {
    #[serde(default, deserialize_with = "lenient::list")]
    push: Vec<PresentUser>,
}

#[derive(Deserialize)]
struct PresentUser {
    user_id: OwnedUserId,
    presence: String,
    #[serde(default, deserialize_with = "lenient::field")]
    status_msg: Option<String>,
    #[serde(default, deserialize_with = "lenient::field")]
    last_active_ago: u64,
}

/// The receipts of a room; those that clients are not shown are left out.
#[derive(Deserialize)]
struct Receipts {
    #[serde(rename = "m.read", default, deserialize_with = "lenient::map")]
    read: ReadReceipts,
}

/// By user. Each is read by itself, so that one that makes no sense costs no other.
type ReadReceipts = BTreeMap<OwnedUserId, ReadReceipt>;

#[derive(Deserialize)]
struct ReadReceipt {
    #[serde(default)]
    data: ReceiptData,
    #[serde(default, deserialize_with = "lenient::list")]
    event_ids: Vec<OwnedEventId>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReceiptData {
    #[serde(deserialize_with = "lenient::field")]
    ts: u64,
    /// Without a thread it would be a receipt for the whole room, so this one is not read leniently.
    thread_id: Option<String>,
}

/// Why a unit was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("it is larger than {LARGEST_EDU} bytes")]
    TooLarge,
    #[error("it has a key that is kept for a reader of JSON")]
    PrivateKey,
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    #[error(transparent)]
    Refused(#[from] room::Error),
}

impl FederationApi {
    fn count(&self, unit: &str, outcome: &str, count: usize) {
        self.received.with(&[("unit", unit), ("outcome", outcome)]).inc_by(count as u64);
    }

    /// Takes the units that make sense; fails only where this server cannot keep any at the moment.
    async fn receive_edus(
        &self,
        origin: &ServerName,
        destination: &ServerName,
        edus: &[Box<RawValue>],
    ) -> Result<(), ApiError> {
        let mut left = Allowance {
            rooms: MOST_RECEIPT_ROOMS,
            receipts: MOST_RECEIPTS,
            present: MOST_PRESENT,
            lists: BTreeSet::new(),
        };
        let mut to_devices = Vec::new();
        for raw in edus {
            let outcome = match self.receive_edu(origin, raw, &mut left, &mut to_devices).await {
                Ok(outcome) => outcome,
                Err(NotTaken::Refused(error)) if error.is_passing() => return Err(error.into()),
                Err(error) => {
                    debug!(%origin, %error, "an EDU was not taken");
                    "refused"
                }
            };
            self.count("edu", outcome, 1);
        }
        if !to_devices.is_empty() {
            let outcomes = self.to_device.receive(origin, destination, &to_devices).await?;
            for outcome in outcomes {
                let outcome = match outcome {
                    Outcome::Taken => "taken",
                    Outcome::Duplicate => "duplicate",
                    Outcome::Refused => "refused",
                };
                self.count("to_device", outcome, 1);
            }
        }
        // Together: a server that was away tells of many.
        let error = match self.encryption.receive_updates(left.lists).await {
            Ok(()) => return Ok(()),
            Err(encryption::Error::Room(error)) => error,
            Err(encryption::Error::Store(error)) => error.into(),
            Err(encryption::Error::Commit(error)) => room::Error::Commit(error),
            Err(_) => room::Error::Contended,
        };
        if error.is_passing() {
            return Err(error.into());
        }
        debug!(%origin, %error, "nobody is told whose devices changed");
        Ok(())
    }

    async fn receive_edu(
        &self,
        origin: &ServerName,
        raw: &RawValue,
        left: &mut Allowance,
        to_devices: &mut Vec<Incoming>,
    ) -> Result<&'static str, NotTaken> {
        if raw.get().len() > LARGEST_EDU {
            return Err(NotTaken::TooLarge);
        }
        if web::has_private_key(raw.get().as_bytes()) {
            return Err(NotTaken::PrivateKey);
        }
        let edu: Edu = serde_json::from_str(raw.get())?;
        match edu.edu_type.as_str() {
            "m.typing" => {
                let typing: Typing = serde_json::from_str(edu.content.get())?;
                self.receive_typing(origin, &typing).await?;
            }
            "m.receipt" => {
                let content = &mut serde_json::Deserializer::from_str(edu.content.get());
                let rooms: BTreeMap<OwnedRoomId, Receipts> = lenient::map(content)?;
                for (room_id, Receipts { read }) in rooms {
                    if left.rooms == 0 || left.receipts == 0 {
                        break;
                    }
                    left.rooms -= 1;
                    self.receive_receipts(origin, &room_id, read, left).await?;
                }
            }
            "m.presence" if self.accounts.presence().is_on() => {
                let present: Present = serde_json::from_str(edu.content.get())?;
                self.receive_presence(origin, present, left);
            }
            // They are taken together, when all are known.
            "m.direct_to_device" => {
                to_devices.push(serde_json::from_str::<DirectToDevice>(edu.content.get())?.into());
            }
            "m.device_list_update" | "m.signing_key_update" | "org.matrix.signing_key_update" => {
                let ListChange { user_id } = serde_json::from_str(edu.content.get())?;
                if user_id.server_name() != origin {
                    return Ok("refused");
                }
                left.lists.insert(user_id);
            }
            _ => return Ok("ignored"),
        }
        Ok("taken")
    }

    async fn receive_typing(&self, origin: &ServerName, typing: &Typing) -> Result<(), room::Error> {
        if self.is_kept_out(origin, &typing.room_id).await? {
            return Ok(());
        }
        self.rooms.receive_typing(origin, &typing.room_id, &typing.user_id, typing.typing).await
    }

    fn receive_presence(&self, origin: &ServerName, present: Present, left: &mut Allowance) {
        let update = |user: PresentUser| {
            Some(PresenceUpdate {
                // States that the specification may come to have are as good as there.
                state: State::named(&user.presence).unwrap_or(State::Online),
                user: user.user_id,
                status: user.status_msg,
                active_ago: Duration::from_millis(user.last_active_ago),
            })
        };
        let updates: Vec<_> = present.push.into_iter().take(left.present).filter_map(update).collect();
        left.present -= updates.len();
        self.accounts.presence().receive(origin, updates);
    }

    async fn receive_receipts(
        &self,
        origin: &ServerName,
        room_id: &OwnedRoomId,
        read: ReadReceipts,
        left: &mut Allowance,
    ) -> Result<(), room::Error> {
        if self.is_kept_out(origin, room_id).await? {
            return Ok(());
        }
        let receipts = read.into_iter().filter_map(|(user_id, receipt)| {
            // One event is named; a server that names several means the last.
            let event_id = receipt.event_ids.into_iter().next_back()?;
            let ReceiptData { ts, thread_id } = receipt.data;
            Some(NewReceipt { user_id, kind: ReceiptKind::Public, thread: thread_id, event_id, ts })
        });
        let receipts: Vec<NewReceipt> = receipts.take(left.receipts).collect();
        left.receipts -= receipts.len();
        self.rooms.receive_receipts(origin, room_id, receipts).await
    }

    /// Whether we are not in the room, or its server ACL keeps the server out.
    async fn is_kept_out(&self, server: &ServerName, room_id: &OwnedRoomId) -> Result<bool, room::Error> {
        let Some(room) = self.rooms.room(room_id).await? else { return Ok(true) };
        Ok(!self.rooms.is_admitted(server, &room).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use base::Clock;
    use ruma::{OwnedServerName, server_name};

    use super::{KEPT_FOR, MOST_ANSWERS, MOST_ANSWERS_OF_ONE, Name, Served};

    fn named(destination: &OwnedServerName, id: usize) -> Name {
        Name { destination: destination.clone(), id: id.to_string() }
    }

    #[test]
    fn one_server_does_not_push_out_the_answers_to_others() {
        let (clock, hand) = Clock::manual(0);
        let (served, ours) = (Served::default(), server_name!("ours.test").to_owned());
        let (honest, flood) = (server_name!("honest.test"), server_name!("flood.test"));
        let kept = served.answer(honest, &named(&ours, 1), clock.instant());
        for id in 0..MOST_ANSWERS * 2 {
            served.answer(flood, &named(&ours, id), clock.instant());
        }
        assert!(Arc::ptr_eq(&kept, &served.answer(honest, &named(&ours, 1), clock.instant())));
        assert_eq!(served.answers.lock().count, MOST_ANSWERS_OF_ONE + 1);
        hand.advance(KEPT_FOR + Duration::from_secs(1));
        assert!(!Arc::ptr_eq(&kept, &served.answer(honest, &named(&ours, 1), clock.instant())));
    }

    #[test]
    fn many_servers_together_are_bounded() {
        let (clock, hand) = Clock::manual(0);
        let (served, ours) = (Served::default(), server_name!("ours.test").to_owned());
        for id in 0..MOST_ANSWERS + 100 {
            let origin = OwnedServerName::try_from(format!("s{id}.test")).unwrap_or_else(|_| ours.clone());
            served.answer(&origin, &named(&ours, 1), clock.instant());
            hand.advance(Duration::from_millis(1));
        }
        assert_eq!(served.answers.lock().count, MOST_ANSWERS);
    }
}
