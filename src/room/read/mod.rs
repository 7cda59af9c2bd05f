//! Reading rooms: events, timelines, state, members, and who may see what.
//!
//! Readers see what is committed and nothing else; they take no locks of the write side. Whatever is
//! asked for is asked for in plural and read in as few rounds as it takes. Immutable things are
//! cached without invalidation, tips of timelines by the store's knowledge of what has moved.
//!
//! Reading order: [`event`] (an event and the cache), [`view`] (its client format for one reader),
//! [`visibility`] (who may see it), [`erasure`] (who sees it redacted), [`token`] and [`timeline`] (the order of events), then the
//! answers: [`messages`], [`relations`], [`state`], [`members`], [`membership`], [`federation`], [`state_answers`]; and
//! beside the event graph [`receipts`], [`typing`], [`aliases`], [`directory`], [`open`] and
//! [`space`]. What others tell of rooms is [`bounded`].

pub mod aggregations;
pub mod aliases;
pub mod bounded;
pub mod directory;
pub mod erasure;
pub mod event;
pub mod federation;
pub mod filter;
mod history;
pub mod list;
pub(crate) mod lookup;
pub mod members;
pub mod membership;
pub mod messages;
pub mod open;
pub mod receipts;
pub mod relations;
pub mod room;
pub mod servers;
pub mod space;
pub mod state;
pub mod state_answers;
pub mod stripped;
pub mod summary;
pub mod threads;
pub mod timeline;
pub mod token;
pub mod typing;
pub mod view;
pub mod visibility;

use crate::{Config, purge::known::Closed};

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
    pub(crate) typing: typing::Typing,
    pub(crate) erasures: erasure::Erasures,
    pub(crate) closed: Closed,
}

impl Reader {
    /// Empty caches of the configured sizes.
    pub(crate) fn new(config: &Config) -> Self {
        let rooms = config.live_rooms.max(64);
        Self {
            events: event::EventCache::new(config.event_cache_bytes),
            rooms: room::RoomCache::new(rooms),
            keys: lookup::KeyCache::new(64 * 1024),
            visibility: visibility::VisibilityCache::new(16 * 1024),
            user_rooms: membership::UserRoomsCache::new(rooms),
            tails: timeline::TailCache::new(rooms),
            receipts: receipts::TailCache::new(config.receipt_cache_bytes),
            namings: summary::NamingCache::new(rooms),
            typing: typing::Typing::default(),
            erasures: erasure::Erasures::default(),
            closed: Closed::default(),
        }
    }
}
