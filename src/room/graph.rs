//! Walking the auth graph of a room.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{Error, ids::EventSerial, read::event::StoredEvent, view::View};

impl View<'_> {
    /// The auth chain of some events: all events that they refer to as auth events, and so on. The
    /// events themselves are in it only where another one refers to them.
    ///
    /// One round of reads per step of depth; events of the chain that are not stored are left out.
    pub(crate) async fn auth_chain(
        &self,
        of: &[Arc<StoredEvent>],
    ) -> Result<HashMap<EventSerial, Arc<StoredEvent>>, Error> {
        let mut chain: HashMap<EventSerial, Arc<StoredEvent>> = HashMap::new();
        let mut next: HashSet<EventSerial> = of.iter().flat_map(|event| event.meta().auth.clone()).collect();
        while !next.is_empty() {
            let wanted: Vec<EventSerial> = next.drain().collect();
            let events: Vec<_> = self.events(&wanted).await?.into_iter().flatten().collect();
            for event in &events {
                chain.insert(event.serial(), event.clone());
            }
            next = events
                .iter()
                .flat_map(|event| event.meta().auth.iter().copied())
                .filter(|serial| !chain.contains_key(serial))
                .collect();
        }
        Ok(chain)
    }
}
