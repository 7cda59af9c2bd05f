//! The kinds of what is there for minutes, and its bounds.

use std::time::Duration;

/// What is there for minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Passing {
    /// A code that a client trades for tokens.
    Code,
    /// A code that was traded: it is known a while longer, so that a thief who comes late ends what was got with it.
    SpentCode,
    /// A request of a device.
    DeviceCode,
    /// A letterbox.
    Rendezvous,
}

impl Passing {
    /// How long it is worth something, and its row is kept.
    pub(crate) const fn lifetime(self) -> Duration {
        match self {
            // Clients fetch at once.
            Passing::Code => Duration::from_secs(2 * 60),
            Passing::SpentCode => Duration::from_secs(60 * 60),
            // Somebody has to walk to another device and sign in there.
            Passing::DeviceCode => Duration::from_secs(15 * 60),
            Passing::Rendezvous => Duration::from_secs(10 * 60),
        }
    }

    /// How many one authority may have: what strangers make at one uses up nothing of another's.
    pub(crate) const fn most(self) -> i64 {
        match self {
            Passing::Code | Passing::SpentCode => 10_000,
            Passing::DeviceCode => 2_000,
            Passing::Rendezvous => 1_000,
        }
    }

    /// Whether the oldest gives way to a new one where there are too many, and nothing is refused.
    pub(crate) const fn gives_way(self) -> bool {
        matches!(self, Passing::SpentCode)
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Passing::Code => 1,
            Passing::DeviceCode => 2,
            Passing::Rendezvous => 3,
            Passing::SpentCode => 4,
        }
    }
}
