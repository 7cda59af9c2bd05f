//! What somebody wants of the organisation of an authority.

use base::Timestamp;
use intake::{Date, How, Mapping};
use organisation::{Scope, SetId};
use ruma::serde::{Base64, base64::Standard};
use serde::{Deserialize, Serialize};

use crate::act::Act;

/// A file as it lies on somebody's disk; in base64 where it is sent as JSON.
pub type FileBytes = Base64<Standard, Vec<u8>>;

/// What somebody wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To be told what the columns of a file probably mean.
    Columns {
        /// The file.
        file: FileBytes,
        /// How it is read.
        #[serde(default)]
        how: How,
    },
    /// That what the columns of a source's files mean is kept under a name.
    SaveMapping {
        /// The name.
        name: String,
        /// What they mean.
        mapping: Box<Mapping>,
    },
    /// A change set of a file.
    Import(Box<Import>),
    /// A change set of what an identity provider has said of people; the file, and how it is read, is nothing.
    ImportTold(Box<Import>),
    /// A change set of what somebody does by hand.
    Edit(Box<Edit>),
    /// To be told what that would do; nothing is stored.
    Try(Box<Edit>),
    /// The change sets, the newest first.
    List {
        /// Those before this one.
        before: Option<SetId>,
        /// At most so many.
        limit: usize,
    },
    /// The change sets that wait for somebody or for their hour, the newest first.
    Waiting,
    /// A change set.
    Set {
        /// Which.
        id: SetId,
    },
    /// The lines of a change set: a page of them.
    Lines {
        /// Of which.
        id: SetId,
        /// From this one on.
        from: u32,
        /// Those alone of which somebody wants to read who wants no more than he must: what changes, and what is told of.
        #[serde(default)]
        briefly: bool,
    },
    /// To take a change set back that is not applied yet.
    Withdraw {
        /// Which.
        id: SetId,
    },
    /// That a change set which is approved, and whose minute has come, is applied now.
    Apply {
        /// Which.
        id: SetId,
    },
    /// To undo a change set, or one line of it.
    Undo {
        /// Which.
        id: SetId,
        /// Which line; all of them where none is said.
        line: Option<u32>,
    },
    /// What an import can name: the bodies of today, and the mappings that are saved.
    Known,
    /// People by name, reading, unit or post, today.
    Find {
        /// A few words, each of which has to be met.
        text: String,
        /// Of a part of the organisation alone.
        #[serde(default)]
        within: Option<Scope>,
    },
    /// Who is where.
    Show {
        /// On which day; today where none is said.
        day: Option<Date>,
        /// In which unit and those below it, by name or code; everywhere where none is said.
        unit: Option<String>,
        /// In a part of the organisation alone.
        #[serde(default)]
        within: Option<Scope>,
    },
}

impl Order {
    /// Whether it is of a part of the organisation alone.
    pub(crate) fn is_within(&self) -> bool {
        match self {
            Self::Edit(edit) | Self::Try(edit) => edit.within.is_some(),
            Self::Find { within, .. } | Self::Show { within, .. } => within.is_some(),
            _ => false,
        }
    }
}

/// What somebody does to the organisation by hand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Edit {
    /// What, one after another: each may name what those before it have made. At most [`crate::MOST_ACTS`].
    pub acts: Vec<Act>,
    /// From which day on it holds; today where none is said.
    pub day: Option<Date>,
    /// When it is applied; else when that day begins, or as soon as it is approved.
    pub at: Option<Timestamp>,
    /// The part of the organisation that alone is changed, and that as who sees to it may.
    #[serde(default)]
    pub within: Option<Scope>,
}

/// A personnel file of which a change set is to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Import {
    /// The file.
    pub file: FileBytes,
    /// How it is read, as far as that is said; else as its mapping says, else it is found.
    #[serde(default)]
    pub how: How,
    /// By which saved mapping; guessed where none is said.
    pub mapping: Option<String>,
    /// Who sends it: what one source told of, another one does not end.
    pub source: String,
    /// Of whose people it tells; of the only body's where none is said.
    pub body: Option<String>,
    /// Whether units that are not known, and the body if it is not, are made.
    pub makes_new: bool,
    /// The day as of which it speaks; today where none is said.
    pub day: Option<Date>,
    /// When it is applied; else when that day begins, or as soon as it is approved.
    pub at: Option<Timestamp>,
    /// Numbers whose new names are those of the same people.
    pub same: Vec<String>,
    /// Numbers that are other people's now.
    pub other: Vec<String>,
    /// Whether it tells of some people alone: nobody ends by not being in it.
    #[serde(default)]
    pub is_part: bool,
}
