//! Keys of made-up servers over a made-up network.

#![expect(clippy::unwrap_used, reason = "tests")]

use base::ManualClock;
use http::{Request, Response};
use pdu::{Authorities, OldKey};
use ruma::{ServerSigningKeyId, owned_server_name, server_name};
use store::{MemoryBackend, MemoryDisk, Options};
use tokio::sync::Notify;

use super::*;
use crate::{
    config::Peers,
    contacts::Contacts,
    reach::Reach,
    transport::{Transport, TransportError},
};

const DAY: u64 = 24 * 60 * 60 * 1000;
const START: u64 = 100 * DAY;

/// Servers that publish documents, as they stand.
#[derive(Default)]
struct Net {
    documents: Mutex<HashMap<String, Bytes>>,
    asked: Mutex<Vec<String>>,
    /// If there, answers wait for it.
    gate: Option<Arc<Notify>>,
}

#[async_trait]
impl Transport for Net {
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        self.asked.lock().push(format!("{destination}{}", request.uri().path()));
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        let key = match request.uri().path() {
            "/_matrix/key/v2/query" => format!("notary {destination}"),
            _ => destination.to_string(),
        };
        match self.documents.lock().get(&key).cloned() {
            Some(document) => Ok(Response::new(document)),
            None => Err(TransportError::Connect("refused".to_owned())),
        }
    }
}

fn peer(name: &str, version: &str) -> Authority {
    Authority::new(ServerName::parse(name).unwrap(), version, &[version.as_bytes()[0]; 32]).unwrap()
}

struct World {
    keys: Keys,
    net: Arc<Net>,
    clock: ManualClock,
    disk: MemoryDisk,
}

async fn world(net: Net, notaries: Vec<OwnedServerName>) -> World {
    open(Arc::new(net), MemoryDisk::default(), START, notaries).await
}

async fn open(net: Arc<Net>, disk: MemoryDisk, start: u64, notaries: Vec<OwnedServerName>) -> World {
    let (clock, manual) = Clock::manual(start);
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let backend = Arc::new(MemoryBackend::open(&disk));
    let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
    let authorities = Arc::new(Authorities::new([peer("here.test", "own")]));
    let client = Client::new(
        net.clone(),
        authorities,
        Reach::of(Peers::Everybody),
        Arc::new(Contacts::new(clock.clone())),
    );
    let config = KeyConfig { notaries, ..KeyConfig::default() };
    let keys = Keys::new(store, client, config, clock, Random::seeded(1), tasks, &metrics);
    World { keys, net, clock: manual, disk }
}

impl World {
    fn publishes(&self, authority: &Authority, valid_until: u64) {
        let document = publish(authority, Timestamp(valid_until));
        self.net.documents.lock().insert(authority.name().to_string(), document);
    }

    async fn ring(&self, wanted: &[(&str, &str)], at: u64) -> KeyRing {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(server, id)| {
                (ServerName::parse(*server).unwrap(), ServerSigningKeyId::parse(*id).unwrap())
            })
            .collect();
        self.keys.keys(&wanted, Timestamp(at)).await
    }

    async fn request_key(&self, server: &str, id: &str) -> Option<VerifyKey> {
        let server = ServerName::parse(server).unwrap();
        self.keys.find_request_key(&server, &ServerSigningKeyId::parse(id).unwrap()).await.unwrap()
    }

    fn asked(&self) -> usize {
        self.net.asked.lock().len()
    }
}

#[tokio::test]
async fn our_document_is_one_that_others_believe() {
    let world = world(Net::default(), vec![]).await;
    let old = OldKey {
        key_id: ServerSigningKeyId::parse("ed25519:old").unwrap(),
        public_key: peer("x", "o").public_key(),
        expired_ts: 5,
    };
    let authority = peer("here.test", "own").with_old_key(old);
    let document = world.keys.own_document(&authority);
    let read = Document::read(server_name!("here.test"), &document, Timestamp(START)).unwrap();
    assert_eq!(read.valid_until, START + DAY);
    assert_eq!(read.keys.get("ed25519:own").unwrap().public_key, authority.public_key());
    assert_eq!(read.keys.get("ed25519:old").unwrap().expired, Some(5));
    let theirs: ruma::api::federation::discovery::ServerSigningKeys =
        serde_json::from_slice(&document).unwrap();
    assert_eq!(theirs.server_name, "here.test");
}

#[tokio::test]
async fn a_document_is_believed_only_if_it_is_signed_with_what_it_names() {
    let name = server_name!("peer.test");
    let document = publish(&peer("peer.test", "a"), Timestamp(START));
    let text = std::str::from_utf8(&document).unwrap();
    let read = |text: &str| Document::read(name, text.as_bytes(), Timestamp(START));
    assert!(read(text).is_ok());
    assert!(
        read(&text.replace(
            "old_verify_keys\":{}",
            "old_verify_keys\":{\"ed25519:z\":{\"expired_ts\":1,\"key\":\"AA\"}}"
        ))
        .is_err()
    );
    assert!(read(&text.replace("\"signatures\"", "\"other\"")).is_err());
    assert!(read(&text.replace("ed25519:a\":{\"key\":\"", "ed25519:a\":{\"key\":\"A")).is_err());
    for nonsense in ["", "{}", "[]", "{\"server_name\":\"peer.test\"}", "\u{0}"] {
        assert!(matches!(read(nonsense), Err(document::DocumentError::Form(_))), "{nonsense}");
    }
    let other = publish(&peer("other.test", "a"), Timestamp(START));
    assert!(matches!(
        Document::read(name, &other, Timestamp(START)),
        Err(document::DocumentError::OfAnother(_))
    ));
}

#[tokio::test]
async fn a_key_is_fetched_once_and_survives_a_restart_without_its_server() {
    let world = world(Net::default(), vec![]).await;
    let peer = peer("peer.test", "a");
    world.publishes(&peer, START + 2 * DAY);
    for _ in 0..3 {
        let ring = world.ring(&[("peer.test", "ed25519:a")], START).await;
        assert_eq!(ring.find(peer.name(), "ed25519:a").unwrap().public_key(), peer.public_key());
    }
    assert_eq!(world.asked(), 1);

    let later = open(Arc::new(Net::default()), world.disk.clone(), START + 400 * DAY, vec![]).await;
    let ring = later.ring(&[("peer.test", "ed25519:a")], START).await;
    assert_eq!(ring.find(peer.name(), "ed25519:a").unwrap().valid_until_ts(), START + 2 * DAY);
}

#[tokio::test]
async fn a_claim_to_be_valid_for_ever_is_believed_for_seven_days() {
    let world = world(Net::default(), vec![]).await;
    world.publishes(&peer("peer.test", "a"), START + 1_000 * DAY);
    let ring = world.ring(&[("peer.test", "ed25519:a")], START).await;
    let key = ring.find(server_name!("peer.test"), "ed25519:a").unwrap();
    assert!(key.is_valid_at(START + 7 * DAY));
    assert!(!key.is_valid_at(START + 7 * DAY + 1));
}

#[tokio::test]
async fn a_key_that_was_given_up_verifies_old_events_and_no_requests() {
    let world = world(Net::default(), vec![]).await;
    let first = peer("peer.test", "a");
    world.publishes(&first, START + DAY);
    assert!(world.request_key("peer.test", "ed25519:a").await.is_some());

    let old =
        OldKey { key_id: first.key_id().to_owned(), public_key: first.public_key(), expired_ts: START - 10 };
    world.publishes(&peer("peer.test", "b").with_old_key(old), START + DAY);
    assert!(
        world.request_key("peer.test", "ed25519:b").await.is_some(),
        "the new key is fetched when it is met"
    );
    assert!(world.request_key("peer.test", "ed25519:a").await.is_none());
    let ring = world.ring(&[("peer.test", "ed25519:a"), ("peer.test", "ed25519:b")], START).await;
    let key = ring.find(server_name!("peer.test"), "ed25519:a").unwrap();
    assert!(key.is_valid_at(START - 10) && !key.is_valid_at(START - 9));
}

#[tokio::test]
async fn a_key_that_its_server_does_not_name_any_more_still_verifies_old_events() {
    let world = world(Net::default(), vec![]).await;
    world.publishes(&peer("peer.test", "a"), START + DAY);
    world.ring(&[("peer.test", "ed25519:a")], START).await;
    world.publishes(&peer("peer.test", "b"), START + DAY);
    world.ring(&[("peer.test", "ed25519:b")], START).await;
    let ring = world.ring(&[("peer.test", "ed25519:a")], START).await;
    let key = ring.find(server_name!("peer.test"), "ed25519:a").unwrap();
    assert!(key.is_valid_at(START) && !key.is_valid_at(START + 1));
}

#[tokio::test]
async fn a_key_is_fetched_again_for_a_time_after_its_validity() {
    let world = world(Net::default(), vec![]).await;
    let peer = peer("peer.test", "a");
    world.publishes(&peer, START + DAY);
    world.ring(&[("peer.test", "ed25519:a")], START).await;
    world.publishes(&peer, START + 3 * DAY);
    world.clock.advance(Duration::from_millis(2 * DAY));
    let ring = world.ring(&[("peer.test", "ed25519:a")], START + 2 * DAY).await;
    assert!(ring.find(peer.name(), "ed25519:a").unwrap().is_valid_at(START + 2 * DAY));
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_server_whose_clock_is_a_little_behind_can_still_make_requests() {
    let world = world(Net::default(), vec![]).await;
    world.publishes(&peer("peer.test", "a"), START - 60_000);
    assert!(world.request_key("peer.test", "ed25519:a").await.is_some());
    assert!(world.request_key("peer.test", "ed25519:a").await.is_some());
    assert_eq!(world.asked(), 1, "it is not asked with every request");
}

#[tokio::test]
async fn a_key_of_a_document_that_is_over_signs_no_request() {
    let world = world(Net::default(), vec![]).await;
    world.publishes(&peer("peer.test", "a"), START - DAY);
    for _ in 0..5 {
        assert!(world.request_key("peer.test", "ed25519:a").await.is_none());
    }
    assert_eq!(world.asked(), 1, "it is not asked with every request");
    // It judges the events of its time all the same.
    let ring = world.ring(&[("peer.test", "ed25519:a")], START - 2 * DAY).await;
    assert!(ring.find(server_name!("peer.test"), "ed25519:a").unwrap().is_valid_at(START - DAY));
}

#[tokio::test]
async fn a_key_that_its_server_has_dropped_signs_no_request() {
    let world = world(Net::default(), vec![]).await;
    world.publishes(&peer("peer.test", "a"), START + 3 * DAY);
    assert!(world.request_key("peer.test", "ed25519:a").await.is_some());
    // Stolen, so its server has a new one, and does not even name the old one.
    world.publishes(&peer("peer.test", "b"), START + 3 * DAY);
    assert!(world.request_key("peer.test", "ed25519:b").await.is_some());
    assert!(world.request_key("peer.test", "ed25519:a").await.is_none());

    let again = open(world.net.clone(), world.disk.clone(), START, vec![]).await;
    assert!(again.request_key("peer.test", "ed25519:b").await.is_some());
    assert!(again.request_key("peer.test", "ed25519:a").await.is_none(), "nor after a restart");
    assert_eq!(again.asked(), 4, "one request for each question that memory cannot answer");
}

#[tokio::test]
async fn a_key_is_not_given_up_in_the_future() {
    let world = world(Net::default(), vec![]).await;
    let old = OldKey {
        key_id: ServerSigningKeyId::parse("ed25519:a").unwrap(),
        public_key: peer("peer.test", "a").public_key(),
        expired_ts: START + 1_000 * DAY,
    };
    world.publishes(&peer("peer.test", "b").with_old_key(old), START + DAY);
    let ring = world.ring(&[("peer.test", "ed25519:a")], START).await;
    assert!(!ring.find(server_name!("peer.test"), "ed25519:a").unwrap().is_valid_at(START + 1));
}

#[tokio::test]
async fn a_notary_cannot_bring_back_a_key_that_its_server_gave_up() {
    let notary = peer("notary.test", "n");
    let world = world(Net::default(), vec![owned_server_name!("notary.test")]).await;
    world.publishes(&notary, START + DAY);
    let stolen = publish(&peer("peer.test", "a"), Timestamp(START + DAY));
    world.publishes(&peer("peer.test", "b"), START + 2 * DAY);
    assert!(world.request_key("peer.test", "ed25519:b").await.is_some());
    world.net.documents.lock().remove("peer.test");
    let signed = document::countersign(&stolen, &notary).unwrap();
    let signed = format!("{{\"server_keys\":[{}]}}", ruma::CanonicalJsonValue::Object(signed));
    world.net.documents.lock().insert("notary notary.test".to_owned(), Bytes::from(signed));
    world.clock.advance(UNKNOWN_KEY_WAIT);

    assert!(world.request_key("peer.test", "ed25519:a").await.is_none());
    assert!(world.request_key("peer.test", "ed25519:b").await.is_some());
}

#[tokio::test]
async fn a_key_that_a_notary_has_given_up_vouches_for_nothing() {
    let notary = peer("notary.test", "n");
    let world = world(Net::default(), vec![owned_server_name!("notary.test")]).await;
    world.publishes(&notary, START + 3 * DAY);
    assert!(world.request_key("notary.test", "ed25519:n").await.is_some());
    let given_up =
        OldKey { key_id: notary.key_id().to_owned(), public_key: notary.public_key(), expired_ts: START - 1 };
    let renewed = peer("notary.test", "m").with_old_key(given_up);
    world.publishes(&renewed, START + 3 * DAY);
    assert!(world.request_key("notary.test", "ed25519:m").await.is_some());

    let answer = |signer: &Authority| {
        let document = publish(&peer("dead.test", "a"), Timestamp(START + DAY));
        let signed = document::countersign(&document, signer).unwrap();
        Bytes::from(format!("{{\"server_keys\":[{}]}}", ruma::CanonicalJsonValue::Object(signed)))
    };
    world.net.documents.lock().insert("notary notary.test".to_owned(), answer(&notary));
    assert!(world.request_key("dead.test", "ed25519:a").await.is_none());
    world.net.documents.lock().insert("notary notary.test".to_owned(), answer(&renewed));
    world.clock.advance(FIRST_WAIT);
    assert!(world.request_key("dead.test", "ed25519:a").await.is_some());
}

#[tokio::test]
async fn one_unsigned_question_makes_few_requests_and_many_questions_not_many() {
    let world = world(Net::default(), vec![]).await;
    let us = peer("here.test", "own");
    world.publishes(&peer("known.test", "a"), START + DAY);
    assert!(world.request_key("known.test", "ed25519:a").await.is_some());
    let ask = async |round: u32| {
        let mut question: Question = (0..99)
            .map(|number| (ServerName::parse(format!("s{number}r{round}.test")).unwrap(), BTreeMap::new()))
            .collect();
        question.insert(owned_server_name!("known.test"), BTreeMap::new());
        let before = world.asked();
        let answer = world.keys.answer_as_notary(&us, &question).await.unwrap();
        assert_eq!(answer.len(), 1, "what we know is told");
        world.asked() - before
    };
    assert!(ask(0).await <= 2);
    let mut all = 0;
    for round in 1..100 {
        all += ask(round).await;
    }
    assert!(all <= 20, "{all} requests");
    world.clock.advance(Duration::from_secs(5));
    assert!(ask(100).await > 0, "it comes back with time");
}

#[tokio::test]
async fn keys_are_fetched_again_in_their_time_however_the_calendar_is_set() {
    let world = world(Net::default(), vec![]).await;
    world.publishes(&peer("peer.test", "a"), START + 6 * DAY);
    assert!(world.request_key("peer.test", "ed25519:a").await.is_some());
    // An unknown key is asked for again ten seconds later, not an hour and ten seconds.
    assert!(world.request_key("peer.test", "ed25519:b").await.is_none());
    world.publishes(&peer("peer.test", "b"), START + 6 * DAY);
    world.clock.set_back(Duration::from_secs(3_600));
    world.clock.advance(UNKNOWN_KEY_WAIT);
    assert!(world.request_key("peer.test", "ed25519:b").await.is_some());
    // And a calendar that was set forward a year and back again does no harm.
    world.clock.set_forward(Duration::from_secs(365 * 24 * 3_600));
    assert!(world.request_key("peer.test", "ed25519:b").await.is_none());
    world.clock.set_back(Duration::from_secs(365 * 24 * 3_600));
    assert!(world.request_key("peer.test", "ed25519:b").await.is_some());
}

#[tokio::test]
async fn a_server_that_fails_is_left_alone_for_a_while_and_then_asked_again() {
    let world = world(Net::default(), vec![]).await;
    for _ in 0..5 {
        assert!(world.request_key("peer.test", "ed25519:a").await.is_none());
    }
    assert_eq!(world.asked(), 1);
    world.publishes(&peer("peer.test", "a"), START + DAY);
    world.clock.advance(FIRST_WAIT);
    assert!(world.request_key("peer.test", "ed25519:a").await.is_some());
}

#[tokio::test]
async fn made_up_key_ids_do_not_make_us_ask_with_every_request() {
    let world = world(Net::default(), vec![]).await;
    world.publishes(&peer("peer.test", "a"), START + DAY);
    for _ in 0..5 {
        assert!(world.request_key("peer.test", "ed25519:zz").await.is_none());
    }
    assert_eq!(world.asked(), 1);
    assert!(world.request_key("peer.test", "ed25519:a").await.is_some());
}

#[tokio::test]
async fn many_who_need_one_key_at_once_make_one_request() {
    let gate = Arc::new(Notify::new());
    let world = world(Net { gate: Some(gate.clone()), ..Net::default() }, vec![]).await;
    world.publishes(&peer("peer.test", "a"), START + DAY);
    let asking = (0..20).map(|_| world.request_key("peer.test", "ed25519:a"));
    let open_gate = async {
        // All twenty stand before the gate, or wait for the one who does.
        tokio::task::yield_now().await;
        gate.notify_one();
    };
    let (found, ()) = futures_util::future::join(futures_util::future::join_all(asking), open_gate).await;
    assert!(found.iter().all(Option::is_some));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_notary_helps_where_a_server_does_not_answer() {
    let notary = peer("notary.test", "n");
    let world = world(Net::default(), vec![owned_server_name!("notary.test")]).await;
    world.publishes(&notary, START + DAY);
    let document = publish(&peer("dead.test", "a"), Timestamp(START + DAY));
    let answer = |document: &str| Bytes::from(format!("{{\"server_keys\":[{document}]}}"));
    let unsigned = answer(std::str::from_utf8(&document).unwrap());
    world.net.documents.lock().insert("notary notary.test".to_owned(), unsigned);
    assert!(
        world.request_key("dead.test", "ed25519:a").await.is_none(),
        "not without the notary's signature"
    );

    let signed = document::countersign(&document, &notary).unwrap();
    let signed = answer(&ruma::CanonicalJsonValue::Object(signed).to_string());
    world.net.documents.lock().insert("notary notary.test".to_owned(), signed);
    world.clock.advance(FIRST_WAIT);
    assert!(world.request_key("dead.test", "ed25519:a").await.is_some());
}

#[tokio::test]
async fn as_a_notary_we_countersign_what_we_know_and_leave_out_what_we_do_not() {
    let world = world(Net::default(), vec![]).await;
    let us = peer("here.test", "own");
    let peer = peer("peer.test", "a");
    world.publishes(&peer, START + DAY);
    let question = Question::from([
        (owned_server_name!("peer.test"), BTreeMap::new()),
        (owned_server_name!("unknown.test"), BTreeMap::new()),
        (owned_server_name!("here.test"), BTreeMap::new()),
    ]);
    let documents = world.keys.answer_as_notary(&us, &question).await.unwrap();
    assert_eq!(documents.len(), 2);
    for document in documents {
        let bytes = ruma::CanonicalJsonValue::Object(document).to_string();
        let server = ServerName::parse(Document::server_of(bytes.as_bytes()).unwrap()).unwrap();
        assert!(Document::read(&server, bytes.as_bytes(), Timestamp(START)).is_ok());
        let ours = Document::read(us.name(), &world.keys.own_document(&us), Timestamp(START)).unwrap();
        let find = |id: &str| {
            let row = ours.keys.get(id)?;
            VerifyKey::current(&row.public_key, row.valid_until, row.valid_until).ok()
        };
        assert!(document::check_notary(us.name(), find, bytes.as_bytes()).is_ok());
    }
    // Known already, and good for the time asked for.
    world.keys.answer_as_notary(&us, &question).await.unwrap();
    let of_peer = world.net.asked.lock().iter().filter(|asked| asked.starts_with("peer.test")).count();
    assert_eq!(of_peer, 1);
}
