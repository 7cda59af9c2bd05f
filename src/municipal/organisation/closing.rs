//! Which units a change set closes without anything in their place, and by which addresses these are reached: who decides about
//! the set is told, since what names such a unit speaks of nobody from then on.

use std::collections::BTreeSet;

use ruma::ServerName;

use crate::{
    Error, Organisations,
    ids::{SetId, UnitId},
    item::Item,
    organisation::Organisation,
    statement::{Charged, What},
};

/// Items that are read at once.
const PAGE: usize = 500;

/// Items of a set that are looked through: one that is made by hand has no more.
const MOST_ITEMS: usize = 5_000;

/// A unit that a change set closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Which one.
    pub unit: UnitId,
    /// As it was called last.
    pub name: String,
    /// The addresses that reach it or a post in it, and reach nobody then.
    pub addresses: Vec<String>,
}

impl Organisations {
    /// The units that a set closes without a successor. Files close none: only what is done by hand does.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn closing(&self, authority: &ServerName, id: SetId) -> Result<Vec<Closing>, Error> {
        let set = self.change_set(authority, id).await?;
        if set.source.is_some() {
            return Ok(Vec::new());
        }
        let (mut items, mut from) = (Vec::new(), 0);
        while items.len() < MOST_ITEMS {
            let rows = self.items(authority, id, from, PAGE).await?;
            let is_last = rows.len() < PAGE;
            from = rows.last().map_or(from, |(number, _)| number.saturating_add(1));
            items.extend(rows.into_iter().map(|(_, row)| row.item));
            if is_last {
                break;
            }
        }
        let closed = closed(&items);
        if closed.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.load(authority).await?.organisation;
        Ok(closed.into_iter().map(|(unit, name)| of(&known, &set.day, unit, name)).collect())
    }
}

fn of(known: &Organisation, day: &intake::Date, unit: UnitId, name: String) -> Closing {
    let posts: BTreeSet<_> = known.posts(unit, *day).iter().map(|post| post.post).collect();
    let is_there = |of: &Charged| match of {
        Charged::Unit(other) => *other == unit,
        Charged::Post(post) => posts.contains(post),
    };
    let addresses = known.addresses(*day).into_iter();
    let addresses = addresses.filter(|(_, of)| of.as_ref().is_some_and(is_there));
    Closing { unit, name, addresses: addresses.map(|(address, _)| address.to_owned()).collect() }
}

/// The units that end by these items, with neither more said of them nor anything in their place.
fn closed(items: &[Item]) -> Vec<(UnitId, String)> {
    let (mut ended, mut goes_on) = (Vec::new(), BTreeSet::new());
    for change in items.iter().flat_map(|item| &item.changes) {
        if let Some(after) = &change.after {
            match &after.what {
                What::Succession(succession) => drop(goes_on.insert(succession.from)),
                What::Unit(unit) if after.span.until().is_none() => drop(goes_on.insert(unit.unit)),
                _ => {}
            }
        }
        if let Some(before) = &change.before
            && let What::Unit(unit) = &before.what
        {
            ended.push((unit.unit, unit.name.clone()));
        }
    }
    ended.retain(|(unit, _)| !goes_on.contains(unit));
    ended.sort();
    ended.dedup_by_key(|(unit, _)| *unit);
    ended
}
