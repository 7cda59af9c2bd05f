//! Who is where on a day, in one look at the whole organisation: units in the order of their trees, each with who has a post
//! in it and who had one.
//!
//! The questions of `organisation` look up one unit or person each; for all rooms of an authority they would be asked some
//! hundred thousand times.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use intake::Date;
use organisation::{
    BodyId, Organisation, PersonId, Post, PostId, Unit, UnitId, What,
    calendar::{begin_of, day_of},
};
use ruma::OwnedUserId;

/// The accounts of people: of each at most one, and it is open.
pub type Accounts = BTreeMap<PersonId, Account>;

/// An open account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose it is.
    pub user: OwnedUserId,
    /// Whether he can do something with it: it is neither locked nor suspended.
    pub can_act: bool,
}

/// Somebody with an account in a post on the day.
pub(crate) struct Holding<'a> {
    pub(crate) account: &'a OwnedUserId,
    pub(crate) post: &'a Post,
    /// Whether he cannot do now what the post is for.
    pub(crate) is_away: bool,
}

/// Somebody with an account who had a post in the unit, and has one somewhere on the day.
pub(crate) struct Former<'a> {
    pub(crate) account: &'a OwnedUserId,
    /// The first day on which he had it no more.
    pub(crate) until: Date,
}

/// A unit on the day.
pub(crate) struct Seat<'a> {
    pub(crate) unit: &'a Unit,
    /// The place of the unit above it.
    pub(crate) parent: Option<usize>,
    pub(crate) depth: u8,
    /// The place behind the last of those below it, which follow it.
    pub(crate) end: usize,
    pub(crate) holdings: Vec<Holding<'a>>,
    pub(crate) formers: Vec<Former<'a>>,
}

/// All units on a day, each before those below it.
pub(crate) struct Roster<'a> {
    pub(crate) seats: Vec<Seat<'a>>,
    pub(crate) bodies: BTreeMap<BodyId, &'a str>,
}

impl<'a> Roster<'a> {
    /// As of a day. Who lost a post before `since` counts nowhere any more.
    pub(crate) fn of(organisation: &'a Organisation, accounts: &'a Accounts, day: Date, since: Date) -> Self {
        let (mut units, mut bodies) = (HashMap::new(), BTreeMap::new());
        let (mut posts, mut ever, mut away) = (HashMap::new(), HashMap::new(), HashSet::new());
        for (_, said) in organisation.records() {
            let holds = said.span.holds(day);
            match &said.what {
                What::Body(body) if holds => drop(bodies.insert(body.body, body.name.as_str())),
                What::Unit(unit) if holds => drop(units.insert(unit.unit, unit)),
                What::Post(post) => {
                    ever.insert(post.post, post.unit);
                    if holds {
                        posts.insert(post.post, post);
                    }
                }
                What::Away(one) if holds => drop(away.insert(one.person)),
                _ => {}
            }
        }
        let mut seats = seats(&units);
        let place: HashMap<UnitId, usize> =
            seats.iter().enumerate().map(|(at, seat)| (seat.unit.unit, at)).collect();
        let seat_of = |posts: &HashMap<PostId, &'a Post>, post: PostId| {
            let post = *posts.get(&post)?;
            Some((post, *place.get(&post.unit)?))
        };
        let mut serving = HashSet::new();
        let mut formers: Vec<(PersonId, PostId, Date)> = Vec::new();
        for (_, said) in organisation.records() {
            let What::Appointment(appointment) = &said.what else { continue };
            let person = appointment.person;
            if said.span.holds(day) {
                serving.insert(person);
                if let Some(Account { user: account, can_act }) = accounts.get(&person)
                    && let Some((post, at)) = seat_of(&posts, appointment.post)
                    && let Some(seat) = seats.get_mut(at)
                {
                    let is_away = away.contains(&person) || !can_act;
                    seat.holdings.push(Holding { account, post, is_away });
                }
            } else if let Some(until) = said.span.until().filter(|until| *until <= day && *until > since) {
                formers.push((person, appointment.post, until));
            }
        }
        for (person, post, until) in formers {
            let seat = ever.get(&post).and_then(|unit| place.get(unit)).and_then(|at| seats.get_mut(*at));
            // Who has left for good has nothing to hand over any more, and reads nothing.
            if let (Some(seat), Some(Account { user: account, .. })) = (seat, accounts.get(&person))
                && serving.contains(&person)
            {
                seat.formers.push(Former { account, until });
            }
        }
        Self { seats, bodies }
    }

    /// The units from the top down to one, itself the last.
    pub(crate) fn path(&self, at: usize) -> Vec<usize> {
        let mut path = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next {
            path.push(at);
            next = self.seats.get(at).and_then(|seat| seat.parent);
        }
        path.reverse();
        path
    }
}

/// The units in the order of their trees.
fn seats<'a>(units: &HashMap<UnitId, &'a Unit>) -> Vec<Seat<'a>> {
    let mut below: HashMap<Option<UnitId>, Vec<&'a Unit>> = HashMap::new();
    for unit in units.values() {
        // A unit whose parent is not there is at the top; the laws of an organisation know none.
        below.entry(unit.parent.filter(|parent| units.contains_key(parent))).or_default().push(unit);
    }
    for sisters in below.values_mut() {
        sisters.sort_by_key(|unit| (unit.body, unit.order, unit.code.as_deref(), &unit.name, unit.unit));
    }
    let mut seats: Vec<Seat<'a>> = Vec::with_capacity(units.len());
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<(&'a Unit, Option<usize>)> = Vec::new();
    waiting.extend(below.get(&None).into_iter().flatten().rev().map(|unit| (*unit, None)));
    while let Some((unit, parent)) = waiting.pop() {
        if !seen.insert(unit.unit) {
            continue;
        }
        let depth = parent.and_then(|at| seats.get(at)).map_or(0, |above| above.depth.saturating_add(1));
        let at = seats.len();
        let (holdings, formers) = (Vec::new(), Vec::new());
        seats.push(Seat { unit, parent, depth, end: at + 1, holdings, formers });
        waiting.extend(below.get(&Some(unit.unit)).into_iter().flatten().rev().map(|unit| (*unit, Some(at))));
    }
    // What is below a unit follows it: its end is that of the last of them.
    for at in (0..seats.len()).rev() {
        let (parent, end) = (seats[at].parent, seats[at].end);
        if let Some(above) = parent.and_then(|above| seats.get_mut(above)) {
            above.end = above.end.max(end);
        }
    }
    seats
}

/// So many days before a day; the first one that there is, if there are no more.
pub(crate) fn days_before(day: Date, days: u16) -> Date {
    let begin = begin_of(day).map_or(0, |begin| begin.millis());
    let back = u64::from(days).saturating_mul(24 * 60 * 60 * 1_000);
    // Days before 1970 are of no use to anybody who hands something over.
    day_of(base::Timestamp(begin.saturating_sub(back))).unwrap_or(day)
}
