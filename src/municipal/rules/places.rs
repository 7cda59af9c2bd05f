//! Which room is whose: wanted places and the rooms that there are, put together.
//!
//! A room is a place's by its row. Where one unit alone became another one alone (機構改革), the room of the first follows it,
//! with all that was said in it; where several become one, each of their rooms is closed and the new unit has one of its
//! own, since what was said among some is not for all to read. What nobody wants any more is closed.

use std::collections::{BTreeMap, BTreeSet};

use intake::Date;
use organisation::{Organisation, UnitId};

use crate::{
    tables::PlaceRow,
    wanted::{Place, Wanted},
};

/// The rooms that there are.
pub(crate) type Places = BTreeMap<Place, PlaceRow>;

/// What becomes of the rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Places whose room is another one's so far: from where it comes.
    pub(crate) follows: BTreeMap<Place, Place>,
    /// Places that nobody wants any more.
    pub(crate) unwanted: Vec<Place>,
}

/// Puts wanted places and rooms together.
pub(crate) fn settle(wanted: &Wanted, places: &Places, organisation: &Organisation, day: Date) -> Settled {
    let names: BTreeSet<&Place> = wanted.rooms.iter().map(|room| &room.place).collect();
    let mut settled = Settled::default();
    let mut free: BTreeSet<&Place> = places.keys().filter(|place| !names.contains(place)).collect();
    // Those whose unit was another's before that was undone.
    let mut came_from: BTreeMap<Place, &Place> = BTreeMap::new();
    for place in &free {
        let before = places.get(*place).and_then(|row| row.came_from);
        if let Some(unit) = before {
            came_from.insert(Place { unit, ..(*place).clone() }, place);
        }
    }
    for room in &wanted.rooms {
        let place = &room.place;
        if places.contains_key(place) {
            continue;
        }
        let before = sole_predecessor(organisation, place.unit, day);
        let before = before.map(|unit| Place { unit, ..place.clone() });
        let found = before.as_ref().or_else(|| came_from.get(place).copied());
        if let Some(from) = found.and_then(|from| free.take(from)) {
            settled.follows.insert(place.clone(), from.clone());
        }
    }
    settled.unwanted = free.into_iter().cloned().collect();
    settled
}

/// The unit that became this one, if it alone did and became nothing else.
fn sole_predecessor(organisation: &Organisation, unit: UnitId, day: Date) -> Option<UnitId> {
    let before = organisation.predecessors(unit);
    let [only] = before[..] else { return None };
    let is_gone = organisation.unit(only, day).is_none();
    (is_gone && organisation.successors(only, day) == [unit]).then_some(only)
}
