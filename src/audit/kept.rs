//! For how long records are kept, as people see to it: what has gone, what goes next, and that nothing goes (保全).

use base::Timestamp;
use ruma::ServerName;
use serde::{Deserialize, Serialize};
use store::{Batch, Order, Range, Store};

use crate::{
    Error,
    class::{Class, Years, due},
    day::Day,
    deed::{Action, Actor, Deed},
    going::{Kept, commit, plan, ripe},
    gone::HoldRow,
    tables::SEALS,
};

/// Longest reason, in letters.
pub const LONGEST_REASON: usize = 80;

/// How often it is tried again where somebody was faster.
const ATTEMPTS: usize = 5;

/// What a batch demands of whoever wants it.
pub type Demands<'a> = &'a (dyn Fn(&mut Batch) + Send + Sync);

/// How it stands with the records of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// By class.
    pub classes: Vec<KeptClass>,
    /// That nothing goes, if somebody has said so.
    pub hold: Option<Hold>,
}

/// How it stands with the records of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptClass {
    /// Which.
    pub class: Class,
    /// For how many years its records are kept.
    pub years: u16,
    /// How many have gone.
    pub gone: u64,
    /// Those of days through this one have.
    pub gone_through: Option<Day>,
    /// Among how many rows are still some that are to go now.
    pub due: u64,
    /// Whether that waits for whoever keeps the log elsewhere.
    pub waits: bool,
    /// When those of the next day go.
    pub next: Option<Day>,
}

/// That nothing goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// How it stands with the records of an authority that keeps them for so many years. `elsewhere` is the number through which all who
/// keep the log elsewhere have it.
///
/// # Errors
/// When the store cannot be read, or something in it.
pub async fn retention(
    store: &Store,
    name: &ServerName,
    years: &Years,
    elsewhere: Option<u64>,
    now: Timestamp,
) -> Result<Retention, Error> {
    let key = name.as_str();
    let row = Kept::read(store, name).await?.row;
    let ripe = ripe(store, name, None, now, &row).await?;
    let all = plan(store, name, &row, years, ripe, None).await?;
    let ranges = all.iter().map(|due| match due.gone.day {
        Day(0) => Range::prefix(key),
        day => Range::prefix(key).after(&(key, day)),
    });
    let next = store.scan_many(&SEALS, ranges.collect(), Order::Ascending, 1).await?;
    let classes = all.into_iter().zip(next).map(|(of, next)| {
        let through = of.limit.map_or(0, |(through, _)| through);
        let next = next.first().map(|((_, day), _)| due(*day, of.years));
        KeptClass {
            class: of.gone.class,
            years: of.years,
            gone: of.gone.rows,
            gone_through: Some(of.gone.day).filter(|day| *day != Day(0)),
            due: through.saturating_sub(of.gone.through),
            waits: elsewhere.is_some_and(|elsewhere| elsewhere < through && of.gone.through < through),
            next,
        }
    });
    let hold = row.hold.map(|HoldRow { since, by, reason }| Hold { since, by, reason });
    Ok(Retention { classes: classes.collect(), hold })
}

/// Says that no records of an authority go any more, why, and who wants it; false where somebody has said so before.
///
/// # Errors
/// When the store cannot be read or written; [`Error::Moving`] too where `demands` are not met any more.
pub async fn hold(
    store: &Store,
    name: &ServerName,
    reason: &str,
    (by, demands): (&Actor, Demands<'_>),
    now: Timestamp,
) -> Result<bool, Error> {
    let reason: String = reason.trim().chars().take(LONGEST_REASON).collect();
    let said = HoldRow { since: now, by: by.name().to_owned(), reason: reason.clone() };
    set_hold(store, name, (Some(said), demands), |_| {
        Deed::new(Action::HoldRows, by, name.as_str(), now).after("reason", &reason)
    })
    .await
}

/// Says that records may go again; false where nobody had said that they may not.
///
/// # Errors
/// See [`hold`].
pub async fn release(
    store: &Store,
    name: &ServerName,
    (by, demands): (&Actor, Demands<'_>),
    now: Timestamp,
) -> Result<bool, Error> {
    set_hold(store, name, (None, demands), |held| {
        let deed = Deed::new(Action::ReleaseRows, by, name.as_str(), now);
        held.map_or(deed.clone(), |held| deed.before("reason", &held.reason).before("by", &held.by))
    })
    .await
}

async fn set_hold(
    store: &Store,
    name: &ServerName,
    (said, demands): (Option<HoldRow>, Demands<'_>),
    deed: impl Fn(Option<&HoldRow>) -> Deed,
) -> Result<bool, Error> {
    for _ in 0..ATTEMPTS {
        let kept = Kept::read(store, name).await?;
        if kept.row.hold.is_some() == said.is_some() {
            return Ok(false);
        }
        let mut row = kept.row.clone();
        row.hold.clone_from(&said);
        let mut batch = Batch::new();
        demands(&mut batch);
        kept.replace(&mut batch, name, &row);
        deed(kept.row.hold.as_ref()).write(&mut batch, name);
        if commit(store, batch).await? {
            return Ok(true);
        }
    }
    Err(Error::Moving)
}
