//! Rows in the order of their chain, with their numbers and links: for who keeps them elsewhere as well.

use std::collections::BTreeMap;

use ruma::ServerName;
use serde_json::json;
use store::{Order, Position, Range, Store, Topic, Value};

use crate::{
    chain::hex,
    deed::Record,
    gone::{STUBS, StubRow},
    list::Listed,
    tables::{CHAINS, ChainRow, LINKS, LinkRow, RECORDS, decode},
    words::in_json,
};

/// A row that has its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chained {
    /// Its number in the chain, from 1.
    pub number: u64,
    /// The value of the chain there, in hexadecimal: whoever keeps number and value can tell later whether the log is still the
    /// same up to it ([`Noted`](crate::Noted)).
    pub chain: String,
    /// The row and its place in the order of commits. Of one that is damaged or gone there is no record.
    pub row: Listed,
    /// What was done, where the record went since it was kept long enough; see [`Action::word`](crate::Action::word).
    pub gone: Option<String>,
}

impl Chained {
    /// The row as a line of JSON; see [`in_json`].
    #[must_use]
    pub fn in_json(&self, authority: &ServerName) -> String {
        let Some(what) = &self.gone else { return in_json(authority, &self.row) };
        let position = self.row.position;
        json!({ "authority": authority, "position": position, "what": what, "gone": true }).to_string()
    }
}

/// What moves when rows of an authority get their links.
#[must_use]
pub fn chained_topic(authority: &ServerName) -> Topic {
    Topic::new(33, authority.as_str())
}

/// The next rows of an authority behind a number, at most so many: two reads, however many they are, and one more where some have
/// gone. Where a link is gone the
/// numbers have a hole; what that is about [`verify`](crate::verify()) tells.
///
/// # Errors
/// When the store cannot be read.
pub async fn chained(
    store: &Store,
    authority: &ServerName,
    after: u64,
    limit: usize,
) -> Result<Vec<Chained>, store::Error> {
    let name = authority.as_str();
    let links = Range::prefix(name).after(&(name, after));
    let links = store.scan(&LINKS, links, Order::Ascending, limit).await?;
    let links: Vec<(u64, LinkRow)> = links
        .iter()
        .map(|((_, number), link)| {
            // Of a link that cannot be read the row is not known: it is told of as one that is damaged.
            let link =
                decode::<LinkRow>(link).unwrap_or(LinkRow { position: Position::START, hash: [0; 32] });
            (*number, link)
        })
        .collect();
    let places: Vec<(&str, Position)> = links.iter().map(|(_, link)| (name, link.position)).collect();
    let records = store.get_many(&RECORDS, &places).await?;
    let lacking = links.iter().zip(&records).filter(|(_, record)| record.is_none());
    let lacking: Vec<(&str, u64)> = lacking.map(|((number, _), _)| (name, *number)).collect();
    let mut stubs = BTreeMap::new();
    if !lacking.is_empty() {
        for ((_, number), stub) in lacking.iter().zip(store.get_many(&STUBS, &lacking).await?) {
            stubs.extend(stub.as_ref().and_then(decode::<StubRow>).map(|stub| (*number, stub.what)));
        }
    }
    let rows = links.into_iter().zip(records).map(|((number, link), record)| {
        let record = record.and_then(|bytes| Record::decode(&bytes).ok());
        let (row, gone) = (Listed { position: link.position, record }, stubs.remove(&number));
        Chained { number, chain: hex(&link.hash), row, gone }
    });
    Ok(rows.collect())
}

/// How many rows of an authority have their links.
///
/// # Errors
/// When the store cannot be read.
pub async fn chained_count(store: &Store, authority: &ServerName) -> Result<u64, store::Error> {
    let end = store.get(&CHAINS, authority.as_str()).await?;
    Ok(end.as_ref().and_then(decode::<ChainRow>).map_or(0, |end| end.number))
}
