//! Bounds of cases, each with the reason for its size.

use std::time::Duration;

/// Open cases of an authority: so many are looked through for what waits for somebody.
pub const MOST_OPEN: usize = 2_000;

/// Open cases that one person has asked for: whoever wants more has to have some decided first.
pub const MOST_OPEN_OF_ONE: usize = 20;

/// Cases that one person asks for within a day, so that nobody fills the rooms of those who decide.
pub const MOST_A_DAY: usize = 40;

/// Lines of a case's history, after which it is neither asked nor tried again: a new case is.
pub const MOST_LINES: u32 = 300;

/// Letters of a reason, a remark or a sentence.
pub const LONGEST_TEXT: usize = 1_000;

/// Fields of a kind.
pub const MOST_FIELDS: usize = 20;

/// Steps of a case.
pub const MOST_STEPS: usize = 8;

/// People whom a step may want.
pub const MOST_OF_A_STEP: u8 = 5;

/// Deputies of one person whose days are not over.
pub const MOST_DEPUTIES: usize = 5;

/// Days for which somebody names a deputy: nobody gives away for good what follows from his post.
pub const LONGEST_DEPUTY_DAYS: u64 = 180;

/// Cases on one page.
pub const MOST_LISTED: usize = 100;

/// Rows that are looked at for one page of a search.
pub const MOST_SEARCHED: usize = 2_000;

/// Lines of a case's history that are told.
pub const MOST_TOLD: usize = 500;

/// People who are reminded of one step.
pub const MOST_REMINDED: usize = 30;

/// Between two reminders that the server writes: five a second, of all authorities.
pub const BETWEEN_REMINDERS: Duration = Duration::from_millis(200);

/// After so long what could not be done for now is tried again.
pub const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// So often it is looked whether what was agreed to counts still, so that whoever has to agree in somebody's place hears of it.
pub const LOOKED_AT_AFTER: Duration = Duration::from_secs(86_400);

/// After a failure so long at least a case stays, for somebody to look at.
pub const FAILED_STAYS: Duration = Duration::from_secs(14 * 86_400);

/// So many more may be open of kinds in which who asks agrees by that: for who has a duty.
pub const RESERVED: usize = 200;
