//! What somebody wants of the cases of an authority.

use std::collections::BTreeSet;

use intake::Date;
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::ids::CaseId;

/// What somebody wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// What can be asked for.
    Kinds,
    /// What he has asked for himself, the newest first.
    Mine {
        /// Those before this one.
        before: Option<CaseId>,
        /// At most so many.
        limit: usize,
    },
    /// What waits for his decision, the oldest first.
    Waiting {
        /// Those after this one.
        after: Option<CaseId>,
    },
    /// All cases, for those who may see them, the newest first.
    All {
        /// Of this kind alone.
        kind: Option<String>,
        /// In this state alone, by its word.
        state: Option<String>,
        /// That have this in their title, who asked, or their number.
        text: String,
        /// Those before this one.
        before: Option<CaseId>,
        /// At most so many.
        limit: usize,
    },
    /// A case.
    Case {
        /// Which.
        id: CaseId,
    },
    /// To ask for something.
    Ask {
        /// The kind, by its word.
        kind: String,
        /// What is typed, by the words of the fields.
        fields: Vec<(String, String)>,
        /// Why.
        reason: String,
        /// What he says that he means.
        #[serde(default)]
        means: BTreeSet<String>,
    },
    /// The kind of a case of one's own, be it one that one could ask for anew or not.
    KindOf {
        /// Which case.
        id: CaseId,
    },
    /// To be told what who asks for this has to say that he means.
    Meant {
        /// The kind, by its word.
        kind: String,
        /// What is typed.
        fields: Vec<(String, String)>,
    },
    /// To ask again, differently, for what was returned.
    AskAgain {
        /// For which.
        id: CaseId,
        /// What is typed.
        fields: Vec<(String, String)>,
        /// Why.
        reason: String,
        /// The version that he has seen.
        seen: Option<u32>,
        /// What he says that he means.
        #[serde(default)]
        means: BTreeSet<String>,
    },
    /// To agree.
    Approve {
        /// To which.
        id: CaseId,
        /// A remark; may be empty.
        text: String,
        /// The version that he has seen.
        seen: Option<u32>,
        /// What he says that he means.
        #[serde(default)]
        means: BTreeSet<String>,
    },
    /// To give it back to who asked.
    Return {
        /// Which.
        id: CaseId,
        /// What is to be different.
        text: String,
        /// The version that he has seen.
        seen: Option<u32>,
    },
    /// To refuse it.
    Refuse {
        /// Which.
        id: CaseId,
        /// Why.
        text: String,
        /// The version that he has seen.
        seen: Option<u32>,
    },
    /// To take back what one has asked for.
    Withdraw {
        /// Which.
        id: CaseId,
        /// Why; may be empty.
        text: String,
        /// The version that he has seen.
        seen: Option<u32>,
    },
    /// To try again what could not be done.
    Retry {
        /// Which.
        id: CaseId,
        /// The version that he has seen.
        seen: Option<u32>,
    },
    /// To undo what was done.
    Undo {
        /// Which.
        id: CaseId,
        /// Why.
        text: String,
        /// The version that he has seen.
        seen: Option<u32>,
    },
    /// Who decides for him, and for whom he does.
    Deputies,
    /// That somebody decides for him for some days, by his posts.
    NameDeputy {
        /// Who, by his account.
        deputy: String,
        /// From this day on.
        from: Date,
        /// Until this day, the last one.
        until: Date,
    },
    /// That somebody decides for him no more.
    EndDeputy {
        /// Who.
        deputy: OwnedUserId,
    },
}
