//! Lists of users and groups: filters, pages, bounds.
//!
//! Most questions of sources are for one user by his name or one resource by the source's own id, and are answered by an index. All
//! others look through the rows of the source, which are bounded.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use store::{Order, Range, Table};

use crate::{
    error::{Error, Wrong},
    filter::{Filter, Place},
    groups,
    name::Name,
    schema::{Type, USERS as USER_TYPE},
    scim::{Asking, Kept, Scim, Told, whole},
    shown::Shown,
    tables::{
        COUNT_GROUPS, COUNT_USERS, COUNTS, EXTERNAL_IDS, GROUPS, GROUPS_OF, MEMBERS, USER_NAMES, USERS,
    },
    users::{folded, put_groups},
};

/// Resources of an answer, where nothing is said, and at most.
const PAGE: usize = 100;
pub(crate) const LONGEST_PAGE: usize = 200;
/// Rows that are read at a time.
const ROWS: usize = 500;
/// Members that an answer tells of, in all its groups; and bytes of all its users. What is beyond comes with the next page.
const MOST_MEMBERS_TOLD: usize = 20_000;
const MOST_BYTES: usize = 4 << 20;
/// Groups whose members may be read to find out whether a filter fits.
const MOST_LOOKED_INTO: usize = 50;
/// Resources that an index may lead to.
const MOST_FOUND: usize = 20_000;

/// What is wanted of a list.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) filter: Option<Filter>,
    /// From which one on, counted from 1.
    pub(crate) start: usize,
    pub(crate) count: usize,
    pub(crate) shown: Shown,
}

impl Query {
    /// Of what a request says.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn of(of: &'static Type, said: &Said) -> Result<Self, Error> {
        let filter = said.filter.as_deref().filter(|text| !text.trim().is_empty());
        let start = said.start_index.unwrap_or(1).max(1);
        let count = said.count.map_or(PAGE, |count| usize::try_from(count.max(0)).unwrap_or(LONGEST_PAGE));
        Ok(Self {
            filter: filter.map(|text| Filter::parse(of, text)).transpose()?,
            start: usize::try_from(start).unwrap_or(usize::MAX),
            count: count.min(LONGEST_PAGE),
            shown: Shown::parse(of, said.attributes.as_deref(), said.excluded_attributes.as_deref())?,
        })
    }
}

/// What a request says about what it wants, as it says it.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) filter: Option<String>,
    pub(crate) start_index: Option<i64>,
    pub(crate) count: Option<i64>,
    pub(crate) attributes: Option<String>,
    pub(crate) excluded_attributes: Option<String>,
}

/// Which rows are looked at.
enum Candidates {
    All,
    These(BTreeSet<String>),
}

/// A list in the making.
struct Listing {
    total: usize,
    found: Vec<Value>,
    size: usize,
    is_full: bool,
}

impl Listing {
    fn new() -> Self {
        Self { total: 0, found: Vec::new(), size: 0, is_full: false }
    }

    /// Counts one that fits; whether it is to be told.
    fn takes(&mut self, query: &Query) -> bool {
        self.total += 1;
        self.total >= query.start && self.found.len() < query.count && !self.is_full
    }

    /// Whether no row that is still to come would be told.
    fn has_all(&self, query: &Query) -> bool {
        self.found.len() >= query.count || self.is_full
    }

    /// Adds one, unless the answer is large enough; whether it did. The first one always has room.
    fn push(&mut self, told: Told, size: usize, most: usize) -> bool {
        if !self.found.is_empty() && self.size + size > most {
            self.is_full = true;
            return false;
        }
        self.size += size;
        self.found.push(Value::Object(told.body));
        true
    }

    fn answer(self, query: &Query) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": self.total,
            "startIndex": query.start,
            "itemsPerPage": self.found.len(),
            "Resources": self.found,
        })
    }
}

impl Scim {
    /// Lists resources of a type.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a filter that would have too much looked at, [`Error::Store`].
    pub(crate) async fn list(
        &self,
        asking: &Asking<'_>,
        of: &'static Type,
        query: &Query,
    ) -> Result<Value, Error> {
        let candidates = self.candidates(asking, of, query.filter.as_ref()).await?;
        let listing = match std::ptr::eq(of, &USER_TYPE) {
            true => self.list_users(asking, query, candidates).await?,
            false => self.list_groups(asking, query, candidates).await?,
        };
        Ok(listing.answer(query))
    }

    /// Which rows a filter can mean, as far as an index tells.
    async fn candidates(
        &self,
        asking: &Asking<'_>,
        of: &'static Type,
        filter: Option<&Filter>,
    ) -> Result<Candidates, Error> {
        let Some(filter) = filter else { return Ok(Candidates::All) };
        let scope = asking.source.scope.as_str();
        let is_users = std::ptr::eq(of, &USER_TYPE);
        let mut found = Candidates::All;
        for (place, text) in filter.demands() {
            let Place::Resource(name) = place else { continue };
            if name.extension.is_some() {
                continue;
            }
            let part = name.part.map(|part| part.name);
            let ids: BTreeSet<String> = match (name.attribute.name, part) {
                ("id", None) => BTreeSet::from([text.to_owned()]),
                ("userName", None) if is_users => {
                    self.store.get(&USER_NAMES, &(scope, folded(text).as_str())).await?.into_iter().collect()
                }
                ("externalId", None) => self.third(&EXTERNAL_IDS, scope, text).await?,
                ("members", None | Some("value")) if !is_users => self.third(&GROUPS_OF, scope, text).await?,
                ("groups", None | Some("value")) if is_users => self.third(&MEMBERS, scope, text).await?,
                _ => continue,
            };
            found = Candidates::These(match found {
                Candidates::All => ids,
                Candidates::These(others) => others.intersection(&ids).cloned().collect(),
            });
        }
        let by_others = if is_users { "groups" } else { "members" };
        if matches!(found, Candidates::All) && filter.looks_at(by_others) > 0 {
            return Err(Error::invalid(
                Wrong::TooMany,
                format!("a filter for {by_others} names one of them, or the resource, by `eq`"),
            ));
        }
        Ok(found)
    }

    /// The last parts of the keys that begin so.
    async fn third(
        &self,
        table: &'static Table<(String, String, String), ()>,
        scope: &str,
        second: &str,
    ) -> Result<BTreeSet<String>, Error> {
        let range = Range::prefix(&(scope, second));
        let rows = self.store.scan(table, range, Order::Ascending, MOST_FOUND).await?;
        Ok(rows.into_iter().map(|((_, _, third), ())| third).collect())
    }

    /// The next rows of those that are looked at, in the order of their ids; at the end none.
    async fn next_rows<R: store::Value>(
        &self,
        table: &'static Table<(String, String), R>,
        scope: &str,
        candidates: &Candidates,
        last: Option<&str>,
    ) -> Result<Vec<(String, R)>, Error> {
        let ids = match candidates {
            Candidates::All => {
                let range = match last {
                    Some(last) => Range::prefix(scope).after(&(scope, last)),
                    None => Range::prefix(scope),
                };
                let rows = self.store.scan(table, range, Order::Ascending, ROWS).await?;
                return Ok(rows.into_iter().map(|((_, id), row)| (id, row)).collect());
            }
            Candidates::These(ids) => ids,
        };
        let mut rest = ids.iter().filter(|id| last.is_none_or(|last| id.as_str() > last));
        loop {
            let page: Vec<&String> = rest.by_ref().take(ROWS).collect();
            if page.is_empty() {
                return Ok(Vec::new());
            }
            let keys: Vec<(&str, &str)> = page.iter().map(|id| (scope, id.as_str())).collect();
            let rows = self.store.get_many(table, &keys).await?;
            let there: Vec<(String, R)> =
                page.into_iter().zip(rows).filter_map(|(id, row)| Some((id.clone(), row?))).collect();
            if !there.is_empty() {
                return Ok(there);
            }
        }
    }

    async fn list_users(
        &self,
        asking: &Asking<'_>,
        query: &Query,
        candidates: Candidates,
    ) -> Result<Listing, Error> {
        let scope = asking.source.scope.as_str();
        let asks_groups = query.filter.as_ref().is_some_and(|filter| filter.looks_at("groups") > 0);
        let (mut listing, mut last) = (Listing::new(), None::<String>);
        loop {
            if query.filter.is_none() && listing.has_all(query) {
                return self.counted(listing, scope, COUNT_USERS).await;
            }
            let rows = self.next_rows(&USERS, scope, &candidates, last.as_deref()).await?;
            let Some((end, _)) = rows.last() else { return Ok(listing) };
            last = Some(end.clone());
            // Whoever else waits for this thread has a turn between two looks at rows.
            tokio::task::yield_now().await;
            let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
            let mut groups = match asks_groups {
                true => self.groups_of(asking, &ids).await?,
                false => Vec::new(),
            };
            let mut chosen = Vec::new();
            for (place, (id, row)) in rows.iter().enumerate() {
                if query.filter.is_none() && !listing.takes(query) {
                    continue;
                }
                let mut told = whole(&USER_TYPE, &asking.base, id, row)?;
                if let Some(groups) = groups.get_mut(place) {
                    put_groups(&mut told.body, std::mem::take(groups));
                }
                let fits = |filter: &Filter| filter.matches(&told.body);
                if query.filter.as_ref().is_some_and(|filter| !fits(filter) || !listing.takes(query)) {
                    continue;
                }
                if listing.push(told, row.says().len(), MOST_BYTES) {
                    chosen.push(id.as_str());
                }
            }
            self.finish_users(asking, query, &mut listing, &chosen, asks_groups).await?;
        }
    }

    /// Adds groups to the users that were added last, and leaves of them what is wanted.
    async fn finish_users(
        &self,
        asking: &Asking<'_>,
        query: &Query,
        listing: &mut Listing,
        chosen: &[&str],
        has_groups: bool,
    ) -> Result<(), Error> {
        let begin = listing.found.len().saturating_sub(chosen.len());
        let groups = match has_groups || !query.shown.has("groups") {
            true => vec![Vec::new(); chosen.len()],
            false => self.groups_of(asking, chosen).await?,
        };
        for (value, groups) in listing.found[begin..].iter_mut().zip(groups) {
            if let Value::Object(body) = value {
                put_groups(body, groups);
                *body = query.shown.of(std::mem::take(body));
            }
        }
        Ok(())
    }

    async fn list_groups(
        &self,
        asking: &Asking<'_>,
        query: &Query,
        candidates: Candidates,
    ) -> Result<Listing, Error> {
        let scope = asking.source.scope.as_str();
        let known = query.filter.as_ref().map(members_looked_at).unwrap_or_default();
        if matches!((&known, &candidates), (Known::Not, Candidates::These(ids)) if ids.len() > MOST_LOOKED_INTO)
        {
            return Err(Error::invalid(Wrong::TooMany, "the filter looks at the members of too many groups"));
        }
        let (mut listing, mut last) = (Listing::new(), None::<String>);
        loop {
            if query.filter.is_none() && listing.has_all(query) {
                return self.counted(listing, scope, COUNT_GROUPS).await;
            }
            let rows = self.next_rows(&GROUPS, scope, &candidates, last.as_deref()).await?;
            let Some((end, _)) = rows.last() else { return Ok(listing) };
            last = Some(end.clone());
            tokio::task::yield_now().await;
            for (id, row) in &rows {
                if let Some(filter) = &query.filter {
                    let told = match &known {
                        Known::These(members) => groups::tell(asking, id, row, members)?,
                        Known::Not => groups::tell(asking, id, row, &self.members(asking, id).await?)?,
                    };
                    if !filter.matches(&told.body) {
                        continue;
                    }
                }
                if !listing.takes(query) {
                    continue;
                }
                let members = match query.shown.has("members") {
                    true => self.members(asking, id).await?,
                    false => BTreeSet::new(),
                };
                let told = groups::tell(asking, id, row, &members)?.shown(&query.shown);
                listing.push(told, members.len(), MOST_MEMBERS_TOLD);
            }
        }
    }

    /// The same list with the number of all that there are.
    async fn counted(&self, listing: Listing, scope: &str, what: u8) -> Result<Listing, Error> {
        let count = self.store.get(&COUNTS, &(scope, what)).await?.unwrap_or_default();
        Ok(Listing { total: usize::try_from(count.0).unwrap_or_default(), ..listing })
    }
}

/// What of a group's members is known before they are read.
enum Known {
    /// These, and no others are asked for.
    These(BTreeSet<String>),
    /// Not enough.
    Not,
}

impl Default for Known {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

/// The members that every group has which an index found for this filter, if it looks at no others.
fn members_looked_at(filter: &Filter) -> Known {
    let demands = filter.demands();
    let of_members = demands.iter().filter_map(|(place, text)| match place {
        Place::Resource(name) if name.attribute.name == "members" && is_value(name) => {
            Some((*text).to_owned())
        }
        Place::Resource(_) | Place::Part(_) | Place::Extension(_) | Place::Nowhere => None,
    });
    let of_members: Vec<String> = of_members.collect();
    match of_members.len() == filter.looks_at("members") {
        true => Known::These(of_members.into_iter().collect()),
        false => Known::Not,
    }
}

/// Whether a name means the value of a complex attribute.
fn is_value(name: &Name) -> bool {
    name.part.is_none_or(|part| part.name == "value")
}

/// An answer that lists what never changes.
pub(crate) fn fixed(all: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": all.len(),
        "startIndex": 1,
        "itemsPerPage": all.len(),
        "Resources": all,
    })
}

/// What a search request says, which is a query in a body.
///
/// # Errors
/// [`Error::Invalid`].
pub(crate) fn said_in_body(body: &Map<String, Value>) -> Result<Said, Error> {
    let wrong = |key: &str| Error::invalid(Wrong::Syntax, format!("{key} is not as it has to be"));
    let field = |name: &str| {
        let found = body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        found.filter(|value| !value.is_null())
    };
    let number = |key: &str| field(key).map(|value| value.as_i64().ok_or_else(|| wrong(key))).transpose();
    let names = |key: &str| match field(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(all)) => {
            let all: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
            all.map(|all| Some(all.join(","))).ok_or_else(|| wrong(key))
        }
        Some(_) => Err(wrong(key)),
    };
    let filter =
        field("filter").map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wrong("filter")));
    Ok(Said {
        filter: filter.transpose()?,
        start_index: number("startIndex")?,
        count: number("count")?,
        attributes: names("attributes")?,
        excluded_attributes: names("excludedAttributes")?,
    })
}
