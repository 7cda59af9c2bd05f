//! The kinds of what is there for minutes, and its bounds.

use std::time::Duration;

/// What is there for minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Passing {
    /// A code that a client trades for tokens.
    Code,
    /// A request of a device.
    DeviceCode,
    /// A letterbox.
    Rendezvous,
}

impl Passing {
    /// How long it is worth something.
    pub(crate) const fn lifetime(self) -> Duration {
        match self {
            // Clients fetch at once.
            Passing::Code => Duration::from_secs(2 * 60),
            // Somebody has to walk to another device and sign in there.
            Passing::DeviceCode => Duration::from_secs(15 * 60),
            Passing::Rendezvous => Duration::from_secs(10 * 60),
        }
    }

    /// How many there may be in the whole store.
    pub(crate) const fn most(self) -> i64 {
        match self {
            Passing::Code => 10_000,
            Passing::DeviceCode => 2_000,
            Passing::Rendezvous => 1_000,
        }
    }

    /// How long its row is kept. A code that was spent is known a while longer, so that a thief who comes late ends
    /// what was got with it.
    pub(crate) const fn kept(self) -> Duration {
        match self {
            Passing::Code => Duration::from_secs(60 * 60),
            Passing::DeviceCode | Passing::Rendezvous => self.lifetime(),
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Passing::Code => 1,
            Passing::DeviceCode => 2,
            Passing::Rendezvous => 3,
        }
    }
}
