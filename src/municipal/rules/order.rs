//! What somebody wants of the rules of an authority.

use intake::Date;
use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};

use crate::{book::RuleId, rule::Wish};

/// What somebody wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To be told the rules and their rooms.
    Show {
        /// As of which day; today where none is said.
        day: Option<Date>,
    },
    /// A rule, new or in the place of what was said of it.
    Set {
        /// Which; a new one where none is said.
        rule: Option<RuleId>,
        /// What it says.
        wish: Box<Wish>,
        /// From which day on; from today where none is said.
        from: Option<Date>,
        /// The first day on which it holds no more.
        until: Option<Date>,
    },
    /// That a rule holds no more.
    End {
        /// Which.
        rule: RuleId,
        /// From which day on; from today where none is said.
        from: Option<Date>,
    },
    /// To be told what would be done.
    Preview {
        /// With this rule beside those that there are, or in the place of one.
        wish: Option<(Option<RuleId>, Box<Wish>)>,
        /// As of which day; today where none is said.
        day: Option<Date>,
    },
    /// That a room that somebody made is the one of a unit.
    Adopt {
        /// The room.
        room: OwnedRoomId,
        /// By which rule.
        rule: RuleId,
        /// Of which unit, by code or name.
        unit: String,
        /// As which of the rule's rooms.
        key: String,
    },
    /// That what is to be done is done now.
    Run,
}
