//! What is said in the log about records that have gone: how the chore says it, and how the check judges it. Pure.
//!
//! Records go in slices, of one class each. A slice leaves a row in the log ([`Claim`]) with the first and last number of
//! what went, how many, the class and its years, the day whose seal covers the last, and a hash over what stays of them. So
//! nobody has to believe the storage that a record was old: its place and what it was about are proven by its link, its age by
//! the seal over it, and that the server removed it by the row, which is linked and sealed itself.

use std::collections::{BTreeMap, HashMap};

use base::Timestamp;
use ruma::ServerName;
use sha2::{Digest, Sha256};

use crate::{
    chain::hex,
    class::{Class, Years, due},
    day::Day,
    deed::{Action, Actor, Deed, Record},
    gone::StubRow,
    tables::LinkRow,
};

/// So many seals have to be made on or after the day on which something is kept long enough: a calendar that was set forward for
/// some days takes nothing away.
pub(crate) const SEALS_AFTER: usize = 7;

/// Most slices of which the check has not seen the row yet: 500 million records, or somebody who makes them up.
const MOST_OPEN: usize = 1_000_000;

/// What a slice says of what went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) slice: u64,
    pub(crate) class: Class,
    pub(crate) years: u16,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) rows: u64,
    /// The day whose seal covers the last.
    pub(crate) day: Day,
    /// A hash over what stays of them, in hexadecimal.
    pub(crate) sum: String,
}

impl Claim {
    /// The row about it.
    pub(crate) fn deed(&self, at: Timestamp) -> Deed {
        let Self { slice, class, years, first, last, rows, day, sum } = self;
        Deed::new(Action::RetireRows, &Actor::server(), class.word(), at)
            .after("slice", slice.to_string())
            .after("first", first.to_string())
            .after("last", last.to_string())
            .after("rows", rows.to_string())
            .after("day", day.to_string())
            .after("years", years.to_string())
            .after("sum", sum)
    }

    /// Reads such a row; nothing where it is none.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Some(Self {
            slice: fact(record, "slice")?,
            class: Class::of_word(&record.whom)?,
            years: fact(record, "years")?,
            first: fact(record, "first")?,
            last: fact(record, "last")?,
            rows: fact(record, "rows")?,
            day: fact(record, "day")?,
            sum: fact(record, "sum")?,
        })
    }
}

fn fact<T: std::str::FromStr>(record: &Record, name: &str) -> Option<T> {
    let (_, value) = record.after.iter().find(|(known, _)| known == name)?;
    value.parse().ok()
}

/// The row that says that classes are kept for other numbers of years from now on.
pub(crate) fn setting(authority: &ServerName, before: &Years, after: &Years, at: Timestamp) -> Deed {
    let deed = Deed::new(Action::SetRetention, &Actor::server(), authority.as_str(), at);
    let deed = before
        .each()
        .into_iter()
        .fold(deed, |deed, (class, years)| deed.before(class.word(), years.to_string()));
    after.each().into_iter().fold(deed, |deed, (class, years)| deed.after(class.word(), years.to_string()))
}

/// A slice in the making.
pub(crate) struct Slice {
    class: Class,
    first: u64,
    last: u64,
    rows: u64,
    sum: Sha256,
}

impl Slice {
    pub(crate) fn new(class: Class) -> Self {
        let sum = Sha256::new_with_prefix("yakuba audit retired 1\n");
        Self { class, first: 0, last: 0, rows: 0, sum }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds what stays of a record.
    pub(crate) fn add(&mut self, number: u64, link: &LinkRow, stub: &StubRow) {
        if self.rows == 0 {
            self.first = number;
        }
        self.last = number;
        self.rows += 1;
        self.sum.update(number.to_be_bytes());
        self.sum.update(link.position.0.to_be_bytes());
        self.sum.update(link.hash);
        self.sum.update([u8::from(stub.is_former)]);
        self.sum.update((stub.what.len() as u64).to_be_bytes());
        self.sum.update(&stub.what);
        self.sum.update(stub.digest);
    }

    /// What it says of what went.
    pub(crate) fn claim(&self, slice: u64, years: u16, day: Day) -> Claim {
        let Self { class, first, last, rows, ref sum } = *self;
        Claim { slice, class, years, first, last, rows, day, sum: hex(&sum.clone().finalize()) }
    }
}

/// What the check knows of records that have gone, on its way along the chain.
pub(crate) struct Claims {
    /// For how long classes are kept, as the log has told last.
    years: Years,
    /// Whether nothing may go.
    is_held: bool,
    /// How many seals were made in each fiscal year.
    made: BTreeMap<u32, usize>,
    /// Slices whose row has not come yet, with the day whose seal covers their last record.
    open: HashMap<u64, (Slice, Day)>,
    /// How many records have gone.
    pub(crate) gone: u64,
}

impl Claims {
    pub(crate) fn new() -> Self {
        let (made, open) = (BTreeMap::new(), HashMap::new());
        Self { years: Years::FIRST, is_held: false, made, open, gone: 0 }
    }

    /// A seal was made on this day.
    pub(crate) fn seal(&mut self, made: Day) {
        *self.made.entry(made.fiscal_year()).or_default() += 1;
    }

    /// The record of this number has gone, and the seal that covers it is of this day. Whether one like it may have gone with the
    /// others of its slice.
    pub(crate) fn stub(&mut self, number: u64, link: &LinkRow, stub: &StubRow, day: Day) -> bool {
        let Some(class) = Class::of_link(&stub.what, stub.is_former) else { return false };
        if !self.open.contains_key(&stub.slice) && self.open.len() >= MOST_OPEN {
            return false;
        }
        let (slice, last) = self.open.entry(stub.slice).or_insert_with(|| (Slice::new(class), day));
        *last = day.max(*last);
        self.gone += 1;
        slice.add(number, link, stub);
        slice.class == class
    }

    /// Looks at a record that is there: whether what it says of others that have gone is true. One that came after the check began
    /// may tell of records that it has still seen.
    pub(crate) fn record(&mut self, record: &Record, is_new: bool) -> bool {
        match Action::of_word(&record.what) {
            Some(Action::SetRetention) => {
                let Some(years) = Years::told(|class| fact(record, class.word())) else { return false };
                self.years = years;
                true
            }
            Some(Action::HoldRows) => {
                self.is_held = true;
                true
            }
            Some(Action::ReleaseRows) => {
                self.is_held = false;
                true
            }
            Some(Action::RetireRows) => {
                let Some(claim) = Claim::of(record) else { return false };
                let found = self.open.remove(&claim.slice);
                is_new || found.is_some_and(|(slice, day)| self.is_true(&claim, &slice, day, record.at))
            }
            _ => true,
        }
    }

    fn is_true(&self, claim: &Claim, slice: &Slice, day: Day, at: Timestamp) -> bool {
        let kept_until = due(day, claim.years);
        let seals: usize = self.made.range(kept_until.fiscal_year()..).map(|(_, count)| count).sum();
        *claim == slice.claim(claim.slice, self.years.of(slice.class), day)
            && !self.is_held
            && kept_until <= Day::of(at)
            && seals >= SEALS_AFTER
    }

    /// The first record that has gone without a row about it.
    pub(crate) fn first_unclaimed(&self) -> Option<u64> {
        self.open.values().map(|(slice, _)| slice.first).min()
    }
}
