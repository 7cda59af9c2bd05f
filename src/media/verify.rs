//! Whether all files are there that rows lead to.

use store::{Order, Range, Store};

use crate::{Error, Files, tables};

/// Rows that are read at a time.
const PAGE: usize = 1_000;
/// So many missing files are named.
const MOST_NAMED: usize = 100;

/// Files that rows lead to and that are not there with their size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub count: u64,
    /// The first of them, by their places.
    pub places: Vec<String>,
}

/// Looks for each file that a row leads to. What they hold is not read.
///
/// # Errors
/// [`Error::Store`], [`Error::Files`].
pub async fn missing_files(store: &Store, files: &Files) -> Result<Missing, Error> {
    let mut missing = Missing::default();
    let mut range = Range::all();
    loop {
        let rows = store.scan(&tables::BLOBS, range, Order::Ascending, PAGE).await?;
        for (_, blob) in &rows {
            if !files.is_there(&blob.place, blob.size).await? {
                missing.count += 1;
                if missing.places.len() < MOST_NAMED {
                    missing.places.push(blob.place.clone());
                }
            }
        }
        let Some((last, _)) = rows.last().filter(|_| rows.len() == PAGE) else { return Ok(missing) };
        range = Range::all().after(last);
    }
}
