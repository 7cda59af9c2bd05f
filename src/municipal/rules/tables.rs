//! Tables of this crate and the rows in them. Keys begin with the authority.

use base::Timestamp;
use intake::Date;
use organisation::{Span, UnitId};
use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

use crate::book::RuleId;

/// How far the book of rules of an authority has come; key: authority. Whatever adds to it replaces this row.
pub(crate) static BOOKS: Table<String, BookRow> = Table::new(325, "rules.books", Tuning::Small);
/// What was ever said of rules; key: authority, rule, number of the entry in the whole book. Nothing changes a row or
/// deletes one.
pub(crate) static ENTRIES: Table<(String, RuleId, u64), EntryRow> =
    Table::new(326, "rules.entries", Tuning::Append);
/// Which room is whose; key: authority, rule, unit, key of the template.
pub(crate) static PLACES: Table<(String, RuleId, UnitId, String), PlaceRow> =
    Table::new(327, "rules.places", Tuning::Small);
/// Where a room stands that is somebody's, so that none is two units'; key: authority, room.
pub(crate) static STANDS: Table<(String, String), StandRow> = Table::new(328, "rules.stands", Tuning::Small);
/// Whom rules brought into a room, and so whom they take out again; key: authority, room, user.
pub(crate) static BROUGHT: Table<(String, String, String), BroughtRow> =
    Table::new(329, "rules.brought", Tuning::Append);

/// How far a book has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BookRow {
    /// The last number that was given to a rule.
    pub(crate) last_rule: u64,
    /// How many entries there are.
    pub(crate) entries: u64,
}
row!(BookRow, schema = 1);

/// What was said of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// By whom.
    pub(crate) by: String,
    /// On which days it holds.
    pub(crate) span: Span,
    /// The rule in JSON, so that what is added to rules later has a default; nothing if there is none.
    pub(crate) json: Option<String>,
}
row!(EntryRow, schema = 1);

/// The room of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRow {
    /// Its id.
    pub room: String,
    /// Since when it is there.
    pub since: Timestamp,
    /// Whether somebody made it by hand.
    pub is_adopted: bool,
    /// Since which day nobody speaks in it any more.
    pub closed: Option<Date>,
    /// The space that leads to it.
    pub parent: Option<String>,
    /// The unit whose it was before that became another one.
    pub came_from: Option<UnitId>,
}
row!(PlaceRow, schema = 1);

/// Where a room stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StandRow {
    pub(crate) rule: RuleId,
    pub(crate) unit: UnitId,
    pub(crate) key: String,
}
row!(StandRow, schema = 1);

/// That a rule brought somebody into a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BroughtRow {
    /// When.
    pub(crate) at: Timestamp,
}
row!(BroughtRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![BOOKS.check(), ENTRIES.check(), PLACES.check(), STANDS.check(), BROUGHT.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let book = BookRow { last_rule: 1, entries: 300 };
        assert_eq!(&book.encode()[..], b"\x01\x01\xac\x02");
        let day: Date = "2026-04-01".parse().unwrap_or_else(|_| panic!("a day"));
        let entry =
            EntryRow { at: Timestamp(1), by: "a".into(), span: Span::since(day), json: Some("{}".into()) };
        assert_eq!(&entry.encode()[..], b"\x01\x01\x01a\x01\x0a2026-04-01\x00\x01\x02{}");
        let place = PlaceRow {
            room: "!a".into(),
            since: Timestamp(1),
            is_adopted: true,
            closed: Some(day),
            parent: Some("!b".into()),
            came_from: Some(UnitId(2)),
        };
        assert_eq!(&place.encode()[..], b"\x01\x02!a\x01\x01\x01\x0a2026-04-01\x01\x02!b\x01\x02");
        let stand = StandRow { rule: RuleId(1), unit: UnitId(2), key: "k".into() };
        assert_eq!(&stand.encode()[..], b"\x01\x01\x02\x01k");
        assert_eq!(&BroughtRow { at: Timestamp(300) }.encode()[..], b"\x01\xac\x02");
    }
}
