//! The rows of the auth graph: what is written of an event, and of those from before there were such rows.

use std::collections::HashSet;

use bytes::Bytes;
use room::{
    ids::{EventSerial, RoomSerial},
    read::event::StoredEvent,
    tables::{EVENT_META, EVENTS, EventMeta, Verdict},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use store::{Batch, CommitError, Order, Range, Store, Table, Tuning};

/// What an event refers to as its auth events, for each that others may rightly refer to and all of whose
/// auth events are here.
pub(crate) static AUTH: Table<(RoomSerial, EventSerial), AuthRow> =
    Table::new(41, "room.auth", Tuning::Point);

/// Row of [`AUTH`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthRow {
    /// The auth events.
    pub(crate) auth: Vec<EventSerial>,
}
store::row!(AuthRow, schema = 1);

/// Whether others may refer to an event: it is a state event, and not refused.
fn is_referable(meta: &EventMeta) -> bool {
    meta.verdict == Verdict::Outlier || meta.after != meta.before
}

/// Whether all auth events that an event names were here when it was stored.
pub(super) fn names_what_is_here(event: &StoredEvent) -> bool {
    event.meta().auth.len() == event.pdu().auth_events().len()
}

/// Notes in an event's batch what it refers to.
pub(crate) fn note_auth(batch: &mut Batch, event: &StoredEvent) {
    let meta = event.meta();
    if is_referable(meta) && names_what_is_here(event) {
        batch.put(&AUTH, &(event.room(), event.serial()), &AuthRow { auth: meta.auth.clone() });
    }
}

/// Notes what the events refer to that were stored before that was noted: a step of the data's schema.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn index_auth(store: &Store) -> Result<(), store::Error> {
    const ROWS: usize = 2_000;
    let mut range = Range::all();
    loop {
        let rows = store.scan(&EVENT_META, range, Order::Ascending, ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = Range::all().after(last);
        let metas = rows.into_iter().map(|(key, meta)| (key, meta.value));
        let metas: Vec<_> = metas.filter(|(_, meta)| is_referable(meta)).collect();
        let lacking = lacking(store, &metas).await?;
        let mut batch = Batch::new();
        for (key, meta) in metas.into_iter().filter(|(key, _)| !lacking.contains(key)) {
            batch.put(&AUTH, &key, &AuthRow { auth: meta.auth });
        }
        match store.commit(batch).await {
            Ok(_) => {}
            Err(CommitError::Store(error)) => return Err(error),
            Err(error) => return Err(store::Error::Refused(error.to_string())),
        }
    }
}

type Key = (RoomSerial, EventSerial);

/// Those of these events that name auth events and of which none is known: invites from before we came.
async fn lacking(store: &Store, metas: &[(Key, EventMeta)]) -> Result<HashSet<Key>, store::Error> {
    #[derive(Deserialize)]
    struct Event {
        auth_events: Vec<IgnoredAny>,
    }
    let bare: Vec<Key> = metas.iter().filter(|(_, meta)| meta.auth.is_empty()).map(|(key, _)| *key).collect();
    let jsons = store.get_many(&EVENTS, &bare).await?;
    let names_none = |json: Option<Bytes>| {
        let event = json.and_then(|json| serde_json::from_slice::<Event>(&json).ok());
        event.is_some_and(|event| event.auth_events.is_empty())
    };
    Ok(bare
        .into_iter()
        .zip(jsons)
        .filter(|(_, json)| !names_none(json.clone()))
        .map(|(key, _)| key)
        .collect())
}
