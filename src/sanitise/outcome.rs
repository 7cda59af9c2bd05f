//! What the engine says of a file.

use crate::{
    kind::Kind,
    verdict::{Photo, Refusal, Removed},
};

/// What has become of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What it is by its content; nothing where that could not be told.
    pub kind: Option<Kind>,
    /// What may be done with it.
    pub verdict: Verdict,
    /// Time and place that a photograph told, for the record only: no sanitised file holds them.
    pub photo: Option<Photo>,
}

/// What may be done with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The file may be given on as it is.
    Clean,
    /// These bytes may be given on in the file's place.
    Rebuilt {
        /// The new file.
        bytes: Vec<u8>,
        /// What the new file lacks; empty where it was only written anew.
        removed: Vec<Removed>,
    },
    /// Nothing of the file may be given on.
    Refused(Refusal),
}
