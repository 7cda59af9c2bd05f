//! What searching costs: `cargo run --release -p search --example search_cost -- [MESSAGES] [ROOMS] [DIRECTORY]` (1,000,000 and
//! 1,000).
//!
//! The messages are written as rows, not sent: what is measured is the index behind them, and who searches it. One user
//! is in all rooms, of which a few have most of the messages. The store is RocksDB on a disk; in a directory that is named it stays,
//! and is searched as it is the next time.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base::{ByteSize, Clock, Metrics, Random, Tasks};
use bytes::Bytes;
use engine::{CreateRoom, Engine, NoRemote};
use pdu::{Authorities, Authority, Draft};
use room::{
    AllowAll,
    ids::EventSerial,
    log::{Entry, EventEntry},
    read::{event::StoredEvent, filter::EventFilter, view::Viewer},
    tables::{EVENT_META, EVENTS, TIMELINE, TimelineRow},
};
use ruma::{OwnedServerName, OwnedUserId, events::TimelineEventType, user_id};
use search::{Asked, Emptying, Field, Order, Place, Query, Search};
use serde_json::json;
use store::{Batch, Options, Store};

/// Messages that are written at once.
const BATCH: usize = 2_000;
/// Searches of each kind.
const SEARCHES: usize = 60;

struct Words {
    random: Random,
    words: Vec<String>,
}

impl Words {
    fn new() -> Self {
        let random = Random::seeded(7);
        let kanji: Vec<char> = (0x4e00..0x4e00 + 1_500).filter_map(char::from_u32).collect();
        let kana: Vec<char> =
            "アイウカキクケコサシスタチツテトナニハヒフマミメモラリルレロンー".chars().collect();
        let some = |from: &[char], most: u64| -> String {
            let count = 2 + random.u64() % most;
            (0..count).map(|_| from[usize::try_from(random.u64()).unwrap_or(0) % from.len()]).collect()
        };
        let mut words: Vec<String> = Vec::new();
        for number in 0..20_000 {
            words.push(match number % 10 {
                0 => some(&kana, 4),
                1 => format!("word{number} "),
                _ => some(&kanji, 2),
            });
        }
        Self { random, words }
    }

    /// A word; the first ones are met most often, about as by Zipf's law.
    fn word(&self) -> &str {
        let spread = f64::from(u32::try_from(self.random.u64() >> 32).unwrap()) / f64::from(u32::MAX);
        let place = f64::powf(20_000.0, spread) - 1.0;
        &self.words[format!("{place:.0}").parse::<usize>().unwrap().min(self.words.len() - 1)]
    }

    fn sentence(&self) -> String {
        let particles = ["の", "を", "に", "は", "が", "で", "と", "です。", "ます。", "について、"];
        let count = 4 + self.random.u64() % 14;
        let at = |number: u64| particles[usize::try_from(number % 10).unwrap()];
        (0..count).map(|_| format!("{}{}", self.word(), at(self.random.u64()))).collect()
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual| arguments.next().map_or(usual, |text| text.parse::<usize>().unwrap());
    let (messages, rooms) = (number(1_000_000), number(1_000));
    let kept = arguments.next();
    let kept = kept.map(std::path::PathBuf::from);
    runtime.block_on(measure(messages, rooms, kept.as_deref()));
}

async fn measure(messages: usize, rooms: usize, kept: Option<&Path>) {
    let passing = tempfile::tempdir().unwrap();
    let directory = kept.unwrap_or(passing.path());
    let is_there = directory.join("CURRENT").exists();
    let (metrics, clock) = (Metrics::new(), Clock::system());
    let tasks = Tasks::new(&metrics);
    let settings = store_rocksdb::Settings {
        durability: store_rocksdb::Durability::Os,
        memory: ByteSize::mib(100),
        ..store_rocksdb::Settings::at(directory)
    };
    let backend = Arc::new(store_rocksdb::RocksBackend::open(&settings).unwrap());
    let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
    let name = OwnedServerName::try_from("bench.test").unwrap();
    let engine = Engine::open(engine::Parts {
        store: store.clone(),
        config: engine::Config { memory: ByteSize::mib(100), ..engine::Config::default() },
        authorities: Arc::new(Authorities::new([Authority::new(name, "1", &[1; 32]).unwrap()])),
        clock: clock.clone(),
        random: Random::os(),
        policy: Arc::new(AllowAll),
        projections: vec![Arc::new(Emptying)],
        remote: Arc::new(NoRemote),
        keys: Arc::new(NoRemote),
        tasks: &tasks,
        metrics: &metrics,
    })
    .await
    .unwrap();
    let search = Search::new(engine.rooms().clone(), store.clone(), clock, &tasks, &metrics);
    let hanako = user_id!("@hanako:bench.test");
    let words = Words::new();

    if !is_there {
        write_all(&engine, &store, &words, messages, rooms).await;
    }

    let (began, cpu) = (Instant::now(), cpu());
    search.start_indexing();
    loop {
        let progress = search.progress().await.unwrap();
        if progress.done && progress.behind == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (took, worked) = (began.elapsed(), self::cpu() - cpu);
    let rate = as_float(messages) / took.as_secs_f64();
    println!(
        "indexed in {took:?}, {rate:.0} messages/s, {:.3} ms of CPU each",
        worked * 1000.0 / as_float(messages)
    );
    let size = search.size().await.unwrap();
    println!(
        "index: {} rows, {} bytes, {:.0} a message; {} segments",
        size.rows,
        size.bytes,
        as_float(size.bytes) / as_float(messages),
        size.segments
    );

    let sender: OwnedUserId = hanako.to_owned();
    for (what, order, term) in [
        ("a rare word", Order::Recent, 15_000),
        ("a rare word, by rank", Order::Rank, 15_000),
        ("a usual word", Order::Recent, 500),
        ("a usual word, by rank", Order::Rank, 500),
        ("a frequent word", Order::Recent, 5),
        ("a frequent word, by rank", Order::Rank, 5),
    ] {
        let term = |number: usize| words.words[term + number].trim().to_owned();
        report(what, &search, order, (0..SEARCHES).map(term), None).await;
    }
    let two = (0..SEARCHES)
        .map(|number| format!("{} {}", words.words[50 + number].trim(), words.words[90 + number].trim()));
    report("two words", &search, Order::Rank, two, None).await;
    let kanji = (0..SEARCHES).map(|number| words.words[22 + 10 * number].chars().take(1).collect());
    report("one kanji", &search, Order::Recent, kanji, None).await;
    let kana = ["です", "ます", "につ", "いて", "の", "ばった"];
    report(
        "frequent kana",
        &search,
        Order::Recent,
        kana.iter().cycle().take(SEARCHES).map(|it| (*it).to_owned()),
        None,
    )
    .await;
    let nothing = (0..SEARCHES).map(|number| format!("龘{}", words.words[number].trim()));
    report("nothing", &search, Order::Rank, nothing, None).await;
    let of = (0..SEARCHES).map(|number| words.words[100 + number].trim().to_owned());
    report("of a sender", &search, Order::Recent, of, Some(&[sender])).await;
}

/// Makes the rooms and all that is said in them.
async fn write_all(engine: &Engine, store: &Store, words: &Words, messages: usize, rooms: usize) {
    let hanako = user_id!("@hanako:bench.test");
    let mut models: Vec<Arc<StoredEvent>> = Vec::new();
    for _ in 0..rooms {
        let room = engine.create(hanako, CreateRoom::default()).await.unwrap();
        let content = json!({ "msgtype": "m.text", "body": "BODY" });
        let draft = Draft::message(hanako, TimelineEventType::RoomMessage, &content).unwrap();
        let id = engine.send(&room, draft, None).await.unwrap();
        models.push(engine.rooms().event(&room, &id).await.unwrap().unwrap());
    }

    let began = Instant::now();
    let mut text_bytes = 0;
    for from in (0..messages).step_by(BATCH) {
        let mut batch = Batch::new();
        for number in from..(from + BATCH).min(messages) {
            // A tenth of the rooms has nine tenths of what is said.
            let few = (rooms / 10).max(1);
            let room = if number % 10 == 0 { number / 10 % rooms } else { number % few };
            let text = words.sentence();
            text_bytes += text.len();
            write(&mut batch, &models[room], number, &text);
        }
        store.commit(batch).await.unwrap();
    }
    println!(
        "{messages} messages in {rooms} rooms, {text_bytes} bytes of text, written in {:?}",
        began.elapsed()
    );
}

/// Searches, and tells how long that took.
async fn report(
    what: &str,
    search: &Search,
    order: Order,
    terms: impl Iterator<Item = String>,
    senders: Option<&[OwnedUserId]>,
) {
    let (mut times, mut found) = (Vec::new(), 0);
    for term in terms {
        let viewer = Viewer::user(user_id!("@hanako:bench.test"));
        let asked = Asked {
            viewer: &viewer,
            query: &Query::new(&term),
            fields: &[Field::Body, Field::Name, Field::Topic],
            filter: &EventFilter::default(),
            rooms: None,
            not_rooms: &[],
            senders,
            order,
            limit: 10,
            from: None::<&Place>,
        };
        let began = Instant::now();
        found += search.find(&asked).await.unwrap().count;
        times.push(began.elapsed());
    }
    times.sort();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
    let each = found / u64::try_from(times.len()).unwrap();
    println!("{what}: p50 {:.1?}, p95 {:.1?}, longest {:.1?}; {each} found each", at(50), at(95), at(100));
}

/// Writes a message as it would be stored, were it sent.
fn write(batch: &mut Batch, model: &StoredEvent, number: usize, text: &str) {
    let serial = EventSerial((1 << 40) + u64::try_from(number).unwrap());
    let json = String::from_utf8(model.pdu().json().to_vec()).unwrap().replace("BODY", text.trim());
    let mut meta = model.meta().clone();
    meta.event_id = format!("$bench{number:037}").try_into().unwrap();
    let room = model.room();
    let entry = EventEntry {
        room,
        room_id: model.room_id().to_owned(),
        event: serial,
        outgoing: false,
        member: None,
    };
    let (kind, payload) = Entry::Event(entry).encode();
    let slot = batch.log(kind, payload, []);
    batch.put(&EVENTS, &(room, serial), &Bytes::from(json));
    batch.put_stamped(&EVENT_META, &(room, serial), slot, &meta);
    batch.append(&TIMELINE, &room, slot, &TimelineRow { event: serial, current: meta.before, gap: false });
}

fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// CPU time of this process so far, in s.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
