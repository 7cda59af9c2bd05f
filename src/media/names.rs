//! Names that events give files.
//!
//! A client saves a file under the name that the event gives which leads to it. Most upload files without one, so that name
//! is the only one there is, and whoever sends it has chosen it. So it counts as the file's own where a zone demands that
//! files are sanitised, for all who may have seen the event: who are in its room, or were. One by which a file is run refuses
//! it to them, and one of a table has it judged as a table. Nobody can take a file from those who do not see what he says of it.
//!
//! What an event says is noted in its own batch ([`Naming`]), for each file that it leads to, and goes with what it said when
//! it is redacted. Only the few names that change how a file leaves are noted, and of those only what they say: so an event
//! leaves few rows for each file in it, and one without such a name none. A row says nothing of its room but two
//! numbers, which nobody has any more once that is purged.
//!
//! A file to which an event gives a key is something else with it: whatever it is as it lies there, it was not looked into.
//! What is said in encrypted events is not seen. Who looks into a room that is open to the world without coming in is in none:
//! for him names count no more than for those who never heard of the room.

use std::collections::BTreeSet;

use engine::{Brought, Emptied, Projection, Rows, Shown};
use percent_encoding::percent_decode_str;
use room::{
    EventSerial, FileReader, RoomSerial,
    tables::{DEPARTURES, MEMBERSHIPS, Membership},
};
use ruma::{ServerName, UserId};
use sanitise::{is_run_by_caption, is_run_by_name};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use store::{Batch, CommitError, Order, Range, Store};

use crate::{Error, Media, download::is_id, plan::Hint, tables::NAMED};

/// What a name says of how its file leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// It is run, or followed, when it is opened.
    Run = 1,
    /// It is opened as a table.
    Table = 2,
    /// It is encrypted, and this is the key.
    Encrypted = 3,
}

impl Said {
    const ALL: [Self; 3] = [Self::Run, Self::Table, Self::Encrypted];
}

/// What the names say that events give a file which a reader may have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Called {
    /// By one of them it is run.
    pub(crate) run: bool,
    /// By one of them it is a table.
    pub(crate) table: bool,
    /// One gives a key to it.
    pub(crate) encrypted: bool,
}

/// Notes in events' own batches what their names say of files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naming;

impl Projection for Naming {
    fn show(&self, shown: &Shown<'_>, rows: &mut Rows<'_>) {
        let event = shown.event;
        for key in keys(event.pdu().content_str(), (event.room(), event.serial())) {
            rows.put(&NAMED, &key, &());
        }
    }

    fn bring(&self, _brought: &Brought<'_>, _rows: &mut Rows<'_>) {}

    fn empty(&self, emptied: &Emptied<'_>, rows: &mut Rows<'_>) {
        let event = emptied.before;
        for key in keys(event.pdu().content_str(), (event.room(), event.serial())) {
            rows.delete(&NAMED, &key);
        }
    }
}

/// Notes it for the events of before it was noted, or was in another way: a step of the data's schema.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn note_names(store: &Store) -> Result<(), store::Error> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let mut old = Batch::new();
    old.delete_all(&NAMED);
    store.commit(old).await.map_err(CommitError::into_error)?;
    let noted = room::walk_events(store, |at, json, batch| {
        // What cannot be read is told by `verify`.
        if let Ok(Event { content }) = serde_json::from_slice::<Event<'_>>(json) {
            for key in keys(content.get(), at) {
                batch.put(&NAMED, &key, &());
            }
        }
    });
    noted.await
}

/// Names of a file that are looked at one by one. Where there are more, the reader's rooms are.
const MOST_NAMES: usize = 100;

/// Rooms of a reader that are looked through at once.
const ROOMS_AT_ONCE: usize = 500;

impl Media {
    /// What the names say that events give a file which the reader may have seen. Of readers who are no users of ours nobody
    /// knows what they see: for them all count.
    pub(crate) async fn called(
        &self,
        reader: FileReader<'_>,
        server: &ServerName,
        id: &str,
    ) -> Result<Called, Error> {
        let file = (server.as_str().to_owned(), id.to_owned());
        let ranges = Said::ALL.map(|said| Range::prefix(&(file.0.clone(), file.1.clone(), said as u8)));
        let found = self.inner.store.scan_many(&NAMED, ranges.into(), Order::Ascending, MOST_NAMES).await?;
        let mut called = Called::default();
        for (said, rows) in Said::ALL.into_iter().zip(found) {
            let rooms: BTreeSet<RoomSerial> = rows.iter().map(|((.., (room, _)), ())| *room).collect();
            let counts = match reader {
                FileReader::User(user) => {
                    self.may_see_one(user, &rooms).await?
                        || rows.len() == MOST_NAMES && self.is_said_where_seen(user, &file, said).await?
                }
                FileReader::Server(_) | FileReader::Anybody => !rooms.is_empty(),
            };
            match said {
                Said::Run => called.run = counts,
                Said::Table => called.table = counts,
                Said::Encrypted => called.encrypted = counts,
            }
        }
        Ok(called)
    }

    /// Whether a user of ours is in one of these rooms, or was.
    async fn may_see_one(&self, user: &UserId, rooms: &BTreeSet<RoomSerial>) -> Result<bool, Error> {
        let keys: Vec<_> = rooms.iter().map(|room| (user.as_str(), *room)).collect();
        let store = &self.inner.store;
        // Before the departures: who leaves meanwhile is in one of them.
        let is_in = store.get_many(&MEMBERSHIPS, &keys).await?.into_iter().flatten().any(|row| {
            // The change itself may be the departure, in rows from before those were kept apart.
            row.value.membership == Membership::Join || row.value.previous == Some(Membership::Join)
        });
        Ok(is_in || store.get_many(&DEPARTURES, &keys).await?.iter().any(Option::is_some))
    }

    /// Whether this is said of a file in any room of a user of ours, however many others say it.
    async fn is_said_where_seen(
        &self,
        user: &UserId,
        (server, id): &(String, String),
        said: Said,
    ) -> Result<bool, Error> {
        let store = &self.inner.store;
        let mut seen = Vec::new();
        for row in
            store.scan(&MEMBERSHIPS, Range::prefix(user.as_str()), Order::Ascending, usize::MAX).await?
        {
            let ((_, room), row) = row;
            if row.value.membership == Membership::Join || row.value.previous == Some(Membership::Join) {
                seen.push(room);
            }
        }
        let left =
            store.scan(&DEPARTURES, Range::prefix(user.as_str()), Order::Ascending, usize::MAX).await?;
        seen.extend(left.into_iter().map(|((_, room), _)| room));
        for rooms in seen.chunks(ROOMS_AT_ONCE) {
            let key = |room: RoomSerial, event| {
                (server.clone(), id.clone(), said as u8, (room, EventSerial(event)))
            };
            let in_room =
                |room: &RoomSerial| Range::all().from(&key(*room, 0)).through(&key(*room, u64::MAX));
            let ranges = rooms.iter().map(in_room).collect();
            let found = store.scan_many(&NAMED, ranges, Order::Ascending, 1).await?;
            if found.iter().any(|rows| !rows.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

type Key = (String, String, u8, (RoomSerial, EventSerial));

/// The rows of an event with this content.
fn keys(content: &str, at: (RoomSerial, EventSerial)) -> BTreeSet<Key> {
    // Canonical JSON spells this in no other way, and most events have none.
    if !content.contains("mxc://") {
        return BTreeSet::new();
    }
    let mut found = Found::default();
    // What is nested deeper than is read is passed over; nothing else can be wrong with what is stored.
    found.read(content);
    let is_run = found.names.iter().any(|name| is_run_by_name(name))
        || found.captions.iter().any(|caption| is_run_by_caption(caption));
    let mut names = found.names.iter().chain(&found.captions);
    let is_table = names.any(|name| Hint::of("", Some(name)) == Hint::Table);
    let of = |uris: &[String], said: Said| {
        let files: Vec<_> = uris.iter().flat_map(|uri| files_in(uri)).collect();
        files.into_iter().map(move |(server, id)| (server, id, said as u8, at))
    };
    let mut keys: BTreeSet<Key> = of(&found.encrypted, Said::Encrypted).collect();
    if is_run {
        keys.extend(of(&found.uris, Said::Run));
    }
    if is_table {
        keys.extend(of(&found.uris, Said::Table));
    }
    keys
}

/// The names and files of a content, wherever in it they stand: of a message, its edit, a sticker, the forms of extensible
/// events, and whatever else a client may make a file of. Each name counts for each file: which of them a client takes is
/// its own affair.
#[derive(Debug, Default)]
struct Found {
    names: Vec<String>,
    /// What stands beside a name, which clients of before there were captions take for one.
    captions: Vec<String>,
    uris: Vec<String>,
    /// Of these the key is told.
    encrypted: Vec<String>,
}

/// Objects and lists in each other that are looked into: no client looks for a file below that.
const DEEPEST: u8 = 16;

impl Found {
    fn read(&mut self, content: &str) {
        let mut json = serde_json::Deserializer::from_str(content);
        // Canonical JSON is JSON.
        Walk { found: self, depth: 0 }.deserialize(&mut json).ok();
    }
}

/// Looks through one value without making a tree of it; gives its text, if it is one.
struct Walk<'a> {
    found: &'a mut Found,
    depth: u8,
}

impl Walk<'_> {
    fn inside(&mut self) -> Walk<'_> {
        Walk { found: self.found, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        if self.depth >= DEEPEST {
            return IgnoredAny::deserialize(json).map(|_| None);
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<String>;

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        if text.starts_with("mxc://") {
            self.found.uris.push(text.to_owned());
        }
        Ok(Some(text.to_owned()))
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<Self::Value, S::Error> {
        while list.next_element_seed(self.inside())?.is_some() {}
        Ok(None)
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut object: M) -> Result<Self::Value, M::Error> {
        let (mut bodies, mut names, mut urls) = (Vec::new(), Vec::new(), Vec::new());
        let (mut has_filename, mut has_key, mut is_said) = (false, false, false);
        while let Some(key) = object.next_key::<String>()? {
            let text = object.next_value_seed(self.inside())?;
            match key.as_str() {
                "body" => bodies.extend(text),
                "filename" => {
                    has_filename |= text.as_ref().is_some_and(|name| !name.trim().is_empty());
                    names.extend(text);
                }
                "name" => names.extend(text),
                "url" => urls.extend(text),
                "key" | "iv" => has_key = true,
                "msgtype" => {
                    is_said = matches!(text.as_deref(), Some("m.text" | "m.notice" | "m.emote"));
                }
                _ => {}
            }
        }
        if has_key {
            self.found.encrypted.extend(urls.into_iter().filter(|url| url.starts_with("mxc://")));
        }
        self.found.names.extend(names);
        match (is_said, has_filename) {
            // What is said is no name of anything.
            (true, _) => {}
            (false, true) => self.found.captions.extend(bodies),
            (false, false) => self.found.names.extend(bodies),
        }
        Ok(None)
    }
}

/// The files that a client may ask for by an `mxc` URI: one, as it is to be; and as clients put it into a path, and browsers
/// read that, those that it can lead to: where the path ends in a file, or in a file and its name.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#matrix-content-mxc-uris>
fn files_in(uri: &str) -> BTreeSet<(String, String)> {
    let path = uri.strip_prefix("mxc://").unwrap_or(uri);
    let path = path.split(['?', '#']).next().unwrap_or(path);
    // What browsers leave out of addresses, and take for a slash.
    let path: String = path.chars().filter(|letter| !matches!(letter, '\t' | '\n' | '\r')).collect();
    let mut parts: Vec<String> = Vec::new();
    for part in path.split(['/', '\\']) {
        match &*percent_decode_str(part).decode_utf8_lossy() {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.to_owned()),
        }
    }
    let pairs = parts.windows(2);
    let last = pairs.len().saturating_sub(2);
    let pairs = pairs.enumerate().filter(|(at, pair)| {
        (*at == 0 || *at >= last) && <&ServerName>::try_from(pair[0].as_str()).is_ok() && is_id(&pair[1])
    });
    pairs.map(|(_, pair)| (pair[0].clone(), pair[1].clone())).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use base::{Metrics, Tasks};
    use room::{
        Order as Place,
        tables::{EVENTS, TIMELINE, TimelineRow},
    };
    use serde_json::{Value, json};
    use store::{Batch, MemoryBackend};

    use super::*;

    fn said(content: &Value) -> Vec<(String, String, u8)> {
        let at = (RoomSerial(1), EventSerial(2));
        keys(&content.to_string(), at).into_iter().map(|(server, id, said, _)| (server, id, said)).collect()
    }

    fn run(id: &str) -> (String, String, u8) {
        ("a.test".to_owned(), id.to_owned(), Said::Run as u8)
    }

    #[test]
    fn whatever_names_a_file_in_an_event_counts() {
        let url = "mxc://a.test/x";
        for content in [
            json!({ "msgtype": "m.file", "body": "run.bat", "url": url }),
            json!({ "msgtype": "m.file", "body": "a.txt", "filename": "run.bat", "url": url }),
            json!({ "msgtype": "m.image", "body": "run.bat", "filename": "a.png", "url": url }),
            json!({ "msgtype": "m.image", "body": "手順は こちら", "filename": "RUN.BAT ", "url": url }),
            json!({ "body": "run.bat", "info": { "thumbnail_url": url } }),
            json!({ "body": "* a.txt", "url": "mxc://a.test/y", "m.new_content": { "body": "a.bat", "url": url } }),
            json!({ "body": "a.bat", "url": url,
                "m.relates_to": { "rel_type": "m.thread", "event_id": "$a", "m.in_reply_to": { "event_id": "$b" } } }),
            json!({ "m.file": { "name": "a.bat", "url": url } }),
            json!({ "org.matrix.msc1767.file": { "name": "a.bat", "url": url, "size": 5 }, "body": "a" }),
            json!({ "itemtypes": [{ "filename": "a.bat", "url": url }] }),
            json!({ "body": "a.bat", "file": { "url": url, "v": "v2" } }),
            json!({ "msgtype": "m.file", "body": "手順 run.bat", "filename": "a.txt", "url": url }),
            json!({ "msgtype": "m.file", "body": "ご覧ください run.com", "name": "a.txt", "url": url }),
            json!({ "body": "表示\nrun.bat", "filename": "a.txt", "url": url }),
            json!({ "body": 5, "filename": "", "name": "a.bat", "url": url, "x": [1.5, null, true, -1] }),
            json!({ "$serde_json::private::RawValue": "x", "body": "a.bat", "url": url }),
            json!({ "a": nested(90), "body": "a.bat", "url": url }),
        ] {
            assert!(said(&content).contains(&run("x")), "{content}");
        }
        for content in [
            json!({ "body": "run.bat" }),
            json!({ "body": "a.txt", "url": url }),
            json!({ "body": "run.bat", "url": "https://a.test/x" }),
            json!({ "body": "run.bat", "url": "mxc://a.test" }),
            json!({ "body": "問い合わせは info@example.com", "filename": "a.txt", "url": url }),
            json!({ "body": "run.bat", "url": nested(90) }),
            json!({ "msgtype": "m.text", "body": "使い方は run.bat", "x": { "url": url } }),
            json!({ "msgtype": "m.file", "body": "詳しくは https://www.example.com", "filename": "a.txt", "url": url }),
        ] {
            assert!(said(&content).is_empty(), "{content}");
        }
        let encrypted = json!({ "body": "a.txt", "file": { "url": url, "iv": "x", "key": { "k": "y" } }, "url": "mxc://a.test/z" });
        assert_eq!(said(&encrypted), [("a.test".to_owned(), "x".to_owned(), Said::Encrypted as u8)]);
        let table = json!({ "body": "名簿.CSV", "url": url, "info": { "thumbnail_url": "mxc://b.test/y" } });
        let row = |server: &str, id: &str| (server.to_owned(), id.to_owned(), Said::Table as u8);
        assert_eq!(said(&table), [row("a.test", "x"), row("b.test", "y")]);
    }

    fn nested(depth: u8) -> Value {
        (0..depth).fold(json!("mxc://a.test/x"), |inside, _| json!([inside]))
    }

    #[test]
    fn what_clients_make_of_a_uri_leads_to_the_same_file() {
        for uri in [
            "mxc://a.test/x",
            "mxc://a.test/x#auto",
            "mxc://a.test/x?a=b/c",
            "mxc://a.test/x/run.txt",
            "mxc://a.test/%78",
            "mxc://a.t\nest/x",
            r"mxc://a.test\x",
            "mxc://b.test/../a.test/x",
            "mxc://a.test/y/%2e%2E/x",
            "mxc://../thumbnail/a.test/./x",
            "mxc://../../../../_matrix/client/v1/media/download/a.test/x/run.txt",
        ] {
            assert!(files_in(uri).contains(&("a.test".to_owned(), "x".to_owned())), "{uri:?}");
        }
        assert!(files_in(&format!("mxc://{}", "a.test/".repeat(5_000))).len() <= 3);
        for uri in ["mxc://", "mxc://a.test", "mxc://a.test/字", "mxc:///x", "mxc://a test/x"] {
            assert!(files_in(uri).is_empty(), "{uri:?}");
        }
    }

    #[tokio::test]
    async fn what_was_said_before_it_was_noted_is_noted_by_the_step() {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(MemoryBackend::default());
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let mut batch = Batch::new();
        let content = json!({ "body": "run.bat", "url": "mxc://a.test/x" });
        let event = |state: Option<&str>| match state {
            Some(key) => json!({ "type": "x", "state_key": key, "content": content }),
            None => json!({ "type": "m.room.message", "content": content }),
        };
        for (serial, event) in [(1, event(Some(""))), (2, event(None)), (3, json!("damaged"))] {
            let at = (RoomSerial(7), EventSerial(serial));
            batch.put(&EVENTS, &at, &event.to_string().into());
            let row = TimelineRow { event: at.1, current: Default::default(), gap: false };
            batch.put(&TIMELINE, &(at.0, Place(serial)), &row);
        }
        batch.put(&NAMED, &("a.test".to_owned(), "y".to_owned(), 1, (RoomSerial(7), EventSerial(2))), &());
        store.commit(batch).await.unwrap();
        note_names(&store).await.unwrap();
        let rows = store.scan(&NAMED, Range::all(), Order::Ascending, 10).await.unwrap();
        let (server, id, said) = run("x");
        let row = |event| ((server.clone(), id.clone(), said, (RoomSerial(7), EventSerial(event))), ());
        assert_eq!(rows, [row(1), row(2)], "what was noted in another way is gone");
    }
}
