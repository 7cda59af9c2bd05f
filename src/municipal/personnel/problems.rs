//! What is wrong with the rows of a file, told where the people are shown whom it is about.

use std::collections::BTreeMap;

use intake::{Intake, Reason, Severity};
use organisation::{Draft, Item, Kind};

use crate::words::words;

/// Adds to a draft what is wrong with which value in which row and column. What concerns nobody who is in the draft
/// becomes a line of its own.
pub(crate) fn tell(draft: &mut Draft, intake: &Intake) {
    // Units and posts come before the people of the same rows, who are to be told.
    let by_row =
        draft.items.iter().enumerate().flat_map(|(at, item)| item.rows.iter().map(move |row| (*row, at)));
    let by_row: BTreeMap<u32, usize> = by_row.collect();
    for problem in &intake.problems {
        let row = problem.place.row;
        let cause = match problem.reason {
            // This row is well written; its person is shown with the one that is not.
            Reason::HeldBack(cause) => by_row.get(&cause),
            _ => None,
        };
        let item = by_row.get(&row).or(cause).and_then(|at| draft.items.get_mut(*at));
        let told = problem.words().into();
        match item {
            Some(item) => {
                item.told.push(told);
                if !item.rows.contains(&row) {
                    item.rows.push(row);
                }
            }
            None => {
                let refuses = problem.severity() == Severity::Refuses;
                let kind = if refuses { Kind::Wrong } else { Kind::Unchanged };
                let about = NOBODY.to_owned();
                draft.items.push(Item {
                    kind,
                    about,
                    rows: vec![row],
                    told: vec![told],
                    changes: Vec::new(),
                });
            }
        }
    }
    let more = intake.problems_left_out;
    if more > 0 {
        let told = words!("ほかに {more} 件の指摘があります。", "There are {more} more remarks.").into();
        let about = NOBODY.to_owned();
        draft.items.push(Item {
            kind: Kind::Wrong,
            about,
            rows: Vec::new(),
            told: vec![told],
            changes: Vec::new(),
        });
    }
}

/// About whom a line is whose person is not known.
const NOBODY: &str = "—";
