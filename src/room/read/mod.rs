//! Reading rooms: events, timelines, state, members, and who may see what.
//!
//! Readers see what is committed and nothing else; they take no locks of the write side. Whatever is
//! asked for is asked for in plural and read in as few rounds as it takes. Immutable things are
//! cached without invalidation, tips of timelines by the store's knowledge of what has moved.
//!
//! Reading order: [`event`] (an event and the cache), [`view`] (its client format for one reader),
//! [`visibility`] (who may see it), `horizon` (how far back), [`erasure`] (who sees it redacted), [`token`] and [`timeline`] (the order of events), [`times`] (by date), then the
//! answers: [`messages`], [`relations`], [`state`], [`members`], [`membership`], [`federation`]; and
//! beside the event graph [`receipts`], [`typing`], [`aliases`], [`directory`], [`open`] and
//! [`space`]. What others tell of rooms is [`bounded`].

pub mod administration;
pub mod aggregations;
pub mod aliases;
pub mod bounded;
pub mod directory;
pub mod erasure;
pub mod event;
pub mod federation;
pub mod filter;
mod history;
mod horizon;
pub mod lacking;
pub mod list;
pub mod lookup;
pub mod members;
pub mod membership;
pub mod messages;
pub mod open;
pub mod receipts;
pub mod recency;
pub mod relations;
pub mod room;
pub mod servers;
pub mod space;
pub mod state;
pub mod stripped;
pub mod summary;
pub mod threads;
pub mod timeline;
pub mod times;
pub mod token;
pub mod typing;
pub mod view;
mod viewer;
pub mod visibility;
pub mod walk;

use std::sync::Arc;

use base::Caches;

use crate::{memory::Shares, purge::known::Closed};

/// Caches of the read side.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) events: event::EventCache,
    pub(crate) rooms: room::RoomCache,
    pub(crate) keys: lookup::KeyCache,
    pub(crate) visibility: visibility::VisibilityCache,
    pub(crate) user_rooms: membership::UserRoomsCache,
    pub(crate) tails: timeline::TailCache,
    pub(crate) receipts: receipts::TailCache,
    pub(crate) namings: summary::NamingCache,
    pub(crate) typing: Arc<typing::Typing>,
    pub(crate) erasures: erasure::Erasures,
    pub(crate) closed: Closed,
    pub(crate) open: open::OpenRooms,
    pub(crate) lacking: lacking::KnownLacking,
}

impl Reader {
    /// Empty caches that share the engine's memory.
    pub(crate) fn new(caches: &Caches, shares: &Shares, typing: Arc<typing::Typing>) -> Self {
        Self {
            events: event::EventCache::new(caches, shares.events),
            rooms: room::RoomCache::new(caches, shares.rooms),
            keys: lookup::KeyCache::new(caches, shares.state_keys),
            visibility: visibility::VisibilityCache::new(caches, shares.visibility),
            user_rooms: membership::UserRoomsCache::new(caches, shares.user_rooms),
            tails: timeline::TailCache::new(caches, shares.tails),
            receipts: receipts::TailCache::new(caches, shares.receipts),
            namings: summary::NamingCache::new(caches, shares.namings),
            typing,
            erasures: erasure::Erasures::default(),
            closed: Closed::default(),
            open: open::OpenRooms::default(),
            lacking: lacking::KnownLacking::default(),
        }
    }
}
