//! A process in memory with rooms and an index of what is said in them.

use std::{sync::Arc, time::Duration};

use base::{Clock, Metrics, Random, Tasks};
use engine::{CreateRoom, Engine, NoRemote};
use pdu::{Authorities, Authority, Draft};
use room::{
    AllowAll,
    ids::EventSerial,
    read::{filter::EventFilter, view::Viewer},
};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, UserId, events::TimelineEventType, user_id,
};
use serde_json::json;
use store::{MemoryBackend, Order as Sorted, Range, Store};

use crate::{
    Asked, Emptying, Field, Found, Order, Place, Query, Search,
    segment::read_documents,
    tables::{DOCUMENTS, EMPTIED_EVENTS},
};

pub(super) fn hanako() -> &'static UserId {
    user_id!("@hanako:kanazawa.test")
}

pub(super) struct Town {
    pub(super) engine: Engine,
    pub(super) search: Search,
    pub(super) store: Store,
    tasks: Tasks,
    core: Tasks,
}

impl Town {
    pub(super) async fn new() -> Self {
        let metrics = Metrics::new();
        let core = Tasks::new(&metrics);
        let store = Store::open(Arc::new(MemoryBackend::new()), Default::default(), &core, &metrics);
        Self::over(store.await.unwrap(), core).await
    }

    /// Another process over the same data, after this one.
    pub(super) async fn restarted(self) -> Self {
        self.tasks.stop(Duration::from_secs(5)).await;
        Self::over(self.store, self.core).await
    }

    async fn over(store: Store, core: Tasks) -> Self {
        let (metrics, clock) = (Metrics::new(), Clock::system());
        let tasks = Tasks::new(&metrics);
        let name = OwnedServerName::try_from("kanazawa.test").unwrap();
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: engine::Config::default(),
            authorities: Arc::new(Authorities::new([Authority::new(name, "1", &[7; 32]).unwrap()])),
            clock: clock.clone(),
            random: Random::seeded(5),
            policy: Arc::new(AllowAll),
            projections: vec![Arc::new(Emptying)],
            remote: Arc::new(NoRemote),
            keys: Arc::new(NoRemote),
            tasks: &tasks,
            metrics: &metrics,
        });
        let engine = engine.await.unwrap();
        let search = Search::new(engine.rooms().clone(), store.clone(), clock, &tasks, &metrics);
        Self { engine, search, store, tasks, core }
    }

    pub(super) async fn room(&self) -> OwnedRoomId {
        self.engine.create(hanako(), CreateRoom::default()).await.unwrap()
    }

    pub(super) async fn say(&self, room: &RoomId, text: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": text });
        let draft = Draft::message(hanako(), TimelineEventType::RoomMessage, &content).unwrap();
        self.engine.send(room, draft, None).await.unwrap()
    }

    pub(super) async fn redact(&self, room: &RoomId, event: &EventId) {
        self.engine.redact(hanako(), room, event, None, None).await.unwrap();
    }

    /// Waits until the index is whole and nothing is left to be done.
    pub(super) async fn indexed(&self) {
        let all = async {
            loop {
                let progress = self.search.progress().await.unwrap();
                let emptied =
                    self.store.scan(&EMPTIED_EVENTS, Range::all(), Sorted::Ascending, 1).await.unwrap();
                if progress.done && progress.behind == 0 && emptied.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("it is never indexed");
    }

    pub(super) async fn page(&self, term: &str, order: Order, limit: usize, from: Option<&Place>) -> Found {
        let asked = Asked {
            viewer: &Viewer::user(hanako()),
            query: &Query::new(term),
            fields: &[Field::Body, Field::Name, Field::Topic],
            filter: &EventFilter::default(),
            rooms: None,
            not_rooms: &[],
            senders: None,
            order,
            limit,
            from,
        };
        self.search.find(&asked).await.unwrap()
    }

    /// Ids of all that is found, newest first.
    pub(super) async fn find(&self, term: &str) -> Vec<OwnedEventId> {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let found = self.page(term, Order::Recent, 100, from.as_ref()).await;
            all.extend(found.hits.iter().map(|hit| hit.look.event.event_id().to_owned()));
            from = found.next;
            if from.is_none() {
                return all;
            }
        }
    }

    /// The events that are in the index.
    pub(super) async fn documents(&self) -> Vec<EventSerial> {
        let rows = self.store.scan(&DOCUMENTS, Range::all(), Sorted::Ascending, usize::MAX).await.unwrap();
        let mut all: Vec<EventSerial> =
            rows.iter().flat_map(|(_, row)| read_documents(row)).map(|(_, event)| event).collect();
        all.sort_unstable();
        all
    }
}
