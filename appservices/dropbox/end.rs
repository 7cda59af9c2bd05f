//! [`End`]: that a link ended before its time, and why.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rows::{Hand, Link};

/// An end before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) why: Why,
    pub(crate) at: Timestamp,
}

/// Why a link ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// A member cancelled it by a command.
    Cancelled,
    /// It could be told to nobody.
    Untold,
    /// Its code could be told to nobody.
    CodeUntold,
    /// The bot was put out of its room.
    PutOut,
    /// Its room was encrypted.
    Encrypted,
    /// The file that was to go out was changed or deleted.
    FileChanged,
    /// Who asked for it took that back, or left.
    TakenBack,
    /// Who agreed to it took that back.
    Withdrawn,
    /// It ended in a release that did not note why.
    Unnoted,
}

impl Why {
    /// As the record has it.
    pub(crate) fn recorded(self) -> &'static str {
        match self {
            Self::Cancelled => "by a command",
            Self::Untold => "could be told to nobody",
            Self::CodeUntold => "its code could be told to nobody",
            Self::PutOut => "the bot was put out of the room",
            Self::Encrypted => "the room was encrypted",
            Self::FileChanged => "its file was changed or deleted",
            Self::TakenBack => "who asked took that back or left",
            Self::Withdrawn => "who agreed took that back",
            Self::Unnoted => "",
        }
    }
}

impl Link {
    /// Why it ended before its time, if it did.
    pub(crate) fn why_ended(&self) -> Why {
        self.end.map_or(Why::Unnoted, |end| end.why)
    }
}

impl Hand {
    /// The same. Of rows of before this was noted, the one reason that can be told from them: it ended by the very event that agreed.
    pub(crate) fn why_ended(&self) -> Why {
        let is_code = self.closed_by.is_some() && self.closed_by == self.agreement;
        let noted = self.end.map(|end| end.why);
        noted.unwrap_or(if is_code { Why::CodeUntold } else { Why::Unnoted })
    }
}

/// A link that ended before its time, as a list names it.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) end: End,
}
