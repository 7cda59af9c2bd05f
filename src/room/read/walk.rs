//! A walk over all events with a place: for steps of the data's schema that note something of them.

use store::{Batch, CommitError, Order, Range, Store};

use crate::{
    ids::{EventSerial, RoomSerial},
    tables::{EVENTS, TIMELINE},
};

/// Events that are looked at in one round, and whose rows go into one batch.
const ROUND: usize = 1_000;

/// Shows each event that has a place in a timeline, as its JSON, and writes what is added to the batch.
///
/// # Errors
/// When the store cannot be read or written; then it is begun anew by the next start, so rows must not mind that.
pub async fn walk_events(
    store: &Store,
    mut see: impl FnMut((RoomSerial, EventSerial), &[u8], &mut Batch) + Send,
) -> Result<(), store::Error> {
    let mut range = Range::all();
    loop {
        let rows = store.scan(&TIMELINE, range, Order::Ascending, ROUND).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = Range::all().after(last);
        let keys: Vec<_> = rows.iter().map(|((room, _), row)| (*room, row.event)).collect();
        let mut batch = Batch::new();
        for (key, json) in keys.iter().zip(store.get_many(&EVENTS, &keys).await?) {
            if let Some(json) = json {
                see(*key, &json, &mut batch);
            }
        }
        if !batch.is_empty() {
            store.commit(batch).await.map_err(CommitError::into_error)?;
        }
    }
}
