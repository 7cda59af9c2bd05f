//! [`Zone`]: the network that a request comes from, with what leaves to it.

use std::sync::Arc;

/// The zone of a listener (`lgwan`, `internet`): the network that it stands in. Cheap to clone.
///
/// It is the listener's alone, from the configuration: nothing that a client says chooses it. What comes in where no zone
/// is set meets none of its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(Arc<Rules>);

#[derive(Debug, PartialEq, Eq)]
struct Rules {
    name: String,
    gives: Gives,
}

/// Which form of a file leaves to a zone; the later ones are narrower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gives {
    /// As it was uploaded.
    #[default]
    Originals,
    /// As it was uploaded, once the zone's scanners have found nothing in it.
    Scanned,
    /// Sanitised (無害化) alone: made anew where that is needed, and nothing of what cannot be.
    Sanitised,
}

impl Zone {
    /// A zone of this name.
    pub fn new(name: impl Into<String>, gives: Gives) -> Self {
        Self(Arc::new(Rules { name: name.into(), gives }))
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Which form of a file leaves to it.
    pub fn gives(&self) -> Gives {
        self.0.gives
    }

    /// Whether files are sanitised on their way there. What is encrypted between clients cannot be, so nobody turns
    /// encryption on from there.
    pub fn demands_sanitising(&self) -> bool {
        self.0.gives == Gives::Sanitised
    }
}
