//! Reading the audit log of one authority.

use base::{Term, Timestamp};
use ruma::ServerName;
use serde::{Deserialize, Serialize};
use store::{Order, Position, Range, Store, Value};

use crate::{
    day::Day,
    deed::{Action, Record},
    tables::{LINKS, LinkRow, RECORDS, SEALS, SealRow, decode},
};

/// Rows that are read at a time, and at most for one answer.
const PAGE: usize = 500;
const MOST_READ: usize = 10_000;

/// Which rows are wanted; what is not said is not asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// By or to this name.
    pub who: Option<String>,
    /// This action, or those whose words begin with this and a dot.
    pub what: Option<String>,
    /// In which this stands anywhere: in a name, in a fact, in what people call the deed; folded as all searches are.
    #[serde(default)]
    pub text: Option<String>,
}

/// What is looked for, prepared once for many rows.
struct Wanted<'a> {
    filter: &'a Filter,
    text: Option<Term>,
}

impl Wanted<'_> {
    fn is(&self, record: &Record) -> bool {
        self.filter.wants(record) && self.text.as_ref().is_none_or(|text| is_in(text, record))
    }
}

fn is_in(text: &Term, record: &Record) -> bool {
    let facts = record.before.iter().chain(&record.after).map(|(_, value)| value.as_str());
    let names = Action::of_word(&record.what).map(Action::names);
    let names = names.into_iter().flat_map(|(ja, en)| [ja, en]);
    let of_place = [&record.zone, &record.device].into_iter().flatten();
    [&record.who, &record.whom]
        .into_iter()
        .chain(of_place)
        .map(String::as_str)
        .chain(facts)
        .chain(names)
        .any(|one| text.is_in(one))
}

impl Filter {
    fn prepared(&self) -> Wanted<'_> {
        Wanted { filter: self, text: self.text.as_deref().map(Term::new) }
    }

    fn wants(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && self.who.as_ref().is_none_or(|who| record.who == *who || record.whom == *who)
            && self.what.as_ref().is_none_or(|what| is_kind_of(&record.what, what))
    }
}

fn is_kind_of(word: &str, wanted: &str) -> bool {
    word.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its place in the order of commits.
    pub position: Position,
    /// What it says; nothing where it is damaged.
    pub record: Option<Record>,
}

/// A part of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order of their commits.
    pub found: Vec<Listed>,
    /// After which position to go on; nothing at the end.
    pub next: Option<Position>,
}

/// Reads the rows of an authority, and of no other, that lie after a position. A page looks at some 10,000
/// rows at most and may hold none; damaged rows are in each.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(
    store: &Store,
    authority: &ServerName,
    filter: &Filter,
    after: Position,
) -> Result<Page, store::Error> {
    let mut last = match filter.since {
        Some(since) if after == Position::START => first_of(store, authority, since).await?,
        _ => after,
    };
    let wanted = filter.prepared();
    let (mut page, mut read) = (Page::default(), 0);
    while read < MOST_READ && page.found.len() < PAGE {
        let range = Range::prefix(authority.as_str()).after(&(authority.as_str(), last));
        let rows = store.scan(&RECORDS, range, Order::Ascending, PAGE).await?;
        read += PAGE;
        let is_end = rows.len() < PAGE;
        for ((_, position), bytes) in rows {
            last = position;
            let record = Record::decode(&bytes).ok();
            if record.as_ref().is_none_or(|record| wanted.is(record)) {
                page.found.push(Listed { position, record });
            }
        }
        if is_end {
            return Ok(page);
        }
    }
    page.next = Some(last);
    Ok(page)
}

/// The same with the newest rows first, those before a position, or all of them; [`Page::next`] is before which to go on.
///
/// # Errors
/// When the store cannot be read.
pub async fn list_newest(
    store: &Store,
    authority: &ServerName,
    filter: &Filter,
    before: Option<Position>,
) -> Result<Page, store::Error> {
    let first = match filter.since {
        Some(since) => first_of(store, authority, since).await?,
        None => Position::START,
    };
    let wanted = filter.prepared();
    let (mut page, mut read, mut last) = (Page::default(), 0, before);
    while read < MOST_READ && page.found.len() < PAGE {
        let range = Range::prefix(authority.as_str()).after(&(authority.as_str(), first));
        let range = match last {
            Some(last) => range.before(&(authority.as_str(), last)),
            None => range,
        };
        let rows = store.scan(&RECORDS, range, Order::Descending, PAGE).await?;
        read += PAGE;
        let is_end = rows.len() < PAGE;
        for ((_, position), bytes) in rows {
            last = Some(position);
            let record = Record::decode(&bytes).ok();
            if record.as_ref().is_none_or(|record| wanted.is(record)) {
                page.found.push(Listed { position, record });
            }
        }
        if is_end {
            return Ok(page);
        }
    }
    page.next = last;
    Ok(page)
}

/// A position before all rows of a moment and later ones: where the seal of the last day before it ends. The
/// rows that a seal covers are of its day or earlier.
async fn first_of(store: &Store, authority: &ServerName, since: Timestamp) -> Result<Position, store::Error> {
    let name = authority.as_str();
    let before = Range::prefix(name).before(&(name, Day::of(since)));
    let seals = store.scan(&SEALS, before, Order::Descending, 1).await?;
    let Some(seal) = seals.first().and_then(|(_, seal)| decode::<SealRow>(seal)) else {
        return Ok(Position::START);
    };
    let link = store.get(&LINKS, &(name, seal.last)).await?;
    Ok(link.and_then(|link| decode::<LinkRow>(&link)).map_or(Position::START, |link| link.position))
}
