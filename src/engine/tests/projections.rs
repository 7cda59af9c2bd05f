//! An index of somebody else's, kept in the events' own batches.

use std::sync::Arc;

use room::RoomSerial;
use serde_json::json;
use store::{Counter, Order, Position, Range, Stamped, Table, Tuning};

use super::net::{Net, Server, state, user};
use crate::{Brought, Emptied, Projection, Rows, Shown, StateChange};

/// What was said, by position; and the last name that anybody has taken.
static SAID: Table<(RoomSerial, Position), String> = Table::new(901, "test.said", Tuning::Small);
static OF_EVENTS: Table<(RoomSerial, String), String> = Table::new(902, "test.of_events", Tuning::Small);
pub(super) static KINDS: Table<(RoomSerial, String), Counter> = Table::new(904, "test.kinds", Tuning::Small);
static NAMES: Table<(RoomSerial, String), Stamped<String>> = Table::new(903, "test.names", Tuning::Small);

pub(super) struct Words;

impl Projection for Words {
    fn show(&self, shown: &Shown<'_>, rows: &mut Rows<'_>) {
        let room = shown.room.serial;
        if let Ok(said) = shown.event.pdu().content_as::<Said>() {
            let key = (room, shown.event.event_id().as_str());
            rows.put(&OF_EVENTS, &key, &said.body);
            assert_eq!(rows.append(&SAID, &room, &said.body), shown.is_news());
        }
        note_kinds(room, shown.changes, rows);
        for change in shown.changes.iter().filter(|change| change.name.kind == "m.room.name") {
            match &change.new {
                Some(event) => {
                    rows.put_stamped(&NAMES, &(room, "name"), &event.pdu().content_str().to_owned())
                }
                None => {
                    rows.delete(&NAMES, &(room, "name"));
                    true
                }
            };
        }
    }

    fn bring(&self, brought: &Brought<'_>, rows: &mut Rows<'_>) {
        note_kinds(brought.room.serial, brought.changes, rows);
    }

    fn swaths(&self, room: RoomSerial) -> Vec<store::Swath> {
        vec![KINDS.swath(&room)]
    }

    fn empty(&self, emptied: &Emptied<'_>, rows: &mut Rows<'_>) {
        assert!(emptied.before.pdu().content_as::<Said>().is_ok());
        assert!(emptied.emptied.pdu().content_as::<Said>().is_err());
        rows.delete(&OF_EVENTS, &(emptied.room.serial, emptied.before.event_id().as_str()));
    }
}

/// Counts what the state has of each type.
fn note_kinds(room: RoomSerial, changes: &[StateChange], rows: &mut Rows<'_>) {
    for change in changes {
        let more = i64::from(change.new.is_some()) - i64::from(change.old.is_some());
        rows.add(&KINDS, &(room, change.name.kind.as_str()), more);
    }
}

#[derive(serde::Deserialize)]
struct Said {
    body: String,
}

async fn indexed(server: &Server) -> (Vec<String>, Vec<String>, Vec<String>) {
    let store = &server.store;
    let said = store.scan(&SAID, Range::all(), Order::Ascending, 99).await.unwrap();
    let mut of_events = store.scan(&OF_EVENTS, Range::all(), Order::Ascending, 99).await.unwrap();
    of_events.sort_by(|one, other| one.1.cmp(&other.1));
    let names = store.scan(&NAMES, Range::all(), Order::Ascending, 99).await.unwrap();
    (
        said.into_iter().map(|(_, said)| said).collect(),
        of_events.into_iter().map(|(_, said)| said).collect(),
        names.into_iter().map(|(_, name)| name.value).collect(),
    )
}

/// What is indexed of events.
pub(super) async fn words_of(server: &Server) -> Vec<String> {
    indexed(server).await.1
}

#[tokio::test]
async fn an_index_of_others_is_written_with_the_event_and_emptied_with_it() {
    let net = Net::default();
    net.add_projection(Arc::new(Words));
    let a = net.server(&["a.test"]).await;
    let b = net.server(&["b.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    a.say(&hanako, &room, "一").await;
    let second = a.say(&hanako, &room, "二").await;
    a.deliver(&b).await;
    b.say(&taro, &room, "三").await;
    b.deliver(&a).await;
    let name = json!({ "name": "防災" });
    a.engine.send(&room, state(&hanako, "m.room.name", "", &name), None).await.unwrap();
    a.deliver(&b).await;
    for server in [&a, &b] {
        let (said, of_events, names) = indexed(server).await;
        assert_eq!(said, ["一", "二", "三"]);
        assert_eq!(of_events, ["一", "三", "二"]);
        assert_eq!(names, [name.to_string()]);
    }

    a.engine.redact(&hanako, &room, &second, None, None).await.unwrap();
    a.deliver(&b).await;
    for server in [&a, &b] {
        assert_eq!(indexed(server).await.1, ["一", "三"]);
    }
}
