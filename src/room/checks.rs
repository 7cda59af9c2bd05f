//! The checks of all tables of this crate.

use store::TableCheck;

use crate::{
    people::{DUE, PEOPLE, WALKS, WORDS},
    purge::tables::{EMPTIED, PURGES},
    read::{
        aliases::{ALIASES, ROOM_ALIASES},
        directory::{NETWORKS, PUBLISHED},
        erasure::ERASED,
        lacking::{LACKING, TOLD_SERVERS, UNSETTLED},
        open::OPEN_ROOMS,
        receipts::{RECEIPT_LOG, RECEIPTS},
        recency::{ACTIVITY, RECENCY},
        times::TIMES,
    },
    snapshot::CHUNKS,
    tables::{
        DEPARTURES, EVENT_IDS, EVENT_META, EVENTS, GAPS, HEADS, INVITES, LOCAL_MEMBERS, MEMBER_COUNTS,
        MEMBERS, MEMBERSHIPS, RELATIONS, ROOM_IDS, ROOMS, SERVERS, STATE_KEY_NAMES, STATE_KEYS, SUMMARIES,
        THREAD_SENDERS, THREADS, TIMELINE,
    },
};

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![
        ROOMS.check(),
        HEADS.check(),
        ROOM_IDS.check(),
        EVENT_IDS.check(),
        EVENTS.check(),
        EVENT_META.check(),
        TIMELINE.check(),
        TIMES.check(),
        GAPS.check(),
        STATE_KEYS.check(),
        STATE_KEY_NAMES.check(),
        MEMBERSHIPS.check(),
        DEPARTURES.check(),
        MEMBERS.check(),
        LOCAL_MEMBERS.check(),
        PEOPLE.check(),
        DUE.check(),
        WALKS.check(),
        WORDS.check(),
        SERVERS.check(),
        MEMBER_COUNTS.check(),
        SUMMARIES.check(),
        RELATIONS.check(),
        THREADS.check(),
        THREAD_SENDERS.check(),
        INVITES.check(),
        ALIASES.check(),
        ROOM_ALIASES.check(),
        PUBLISHED.check(),
        NETWORKS.check(),
        OPEN_ROOMS.check(),
        ERASED.check(),
        RECEIPTS.check(),
        RECEIPT_LOG.check(),
        RECENCY.check(),
        ACTIVITY.check(),
        LACKING.check(),
        TOLD_SERVERS.check(),
        UNSETTLED.check(),
        CHUNKS.check(),
        PURGES.check(),
        EMPTIED.check(),
    ]
}
