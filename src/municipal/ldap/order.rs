//! What somebody at the command line wants, and what he is told.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::Report;

/// What somebody wants of the sources of an authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To know how they are.
    Status,
    /// To have one read now, and followed.
    Run {
        /// Its name; the only one without it.
        source: Option<String>,
        /// How many endings are meant, where there are more than may be.
        accept_endings: Option<usize>,
    },
    /// To see what would be done.
    Preview {
        /// Its name; the only one without it.
        source: Option<String>,
    },
}

/// What he is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How the sources are.
    Status(Vec<Status>),
    /// How a run went.
    Ran(Box<Report>),
}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub source: String,
    /// Where its directory is.
    pub place: String,
    /// People whose accounts follow it.
    pub people: usize,
    /// Those among them who are not to come in.
    pub ended: usize,
    /// Those who administer since the source said so.
    #[serde(default)]
    pub administrators: usize,
    /// How the last run went. Where nothing changes it is a while ago, as it is not written each time.
    pub last: Option<Report>,
    /// When a run was last followed; where runs told nothing new since, it may have been ten minutes later.
    pub last_good: Option<Timestamp>,
}
