//! Names of things inside the store: serial numbers, the order of a timeline, snapshot roots.
//!
//! Serial numbers come from the store's sequences, are known before a commit and never reused. A
//! place in a room's timeline ([`Order`]) is known only when the commit has happened.

use serde::{Deserialize, Serialize};
use store::{CodecError, Key, Position, PositionKey};

store::key_newtype!(
    /// A room, in the keys of all tables of the room engine.
    RoomSerial(u64)
);
store::key_newtype!(
    /// An event, unique over all rooms.
    EventSerial(u64)
);
store::key_newtype!(
    /// A pair of event type and state key, within its room.
    StateKeySerial(u64)
);
store::key_newtype!(
    /// A PDU waiting in a room's inbox; later arrivals have greater numbers.
    InboxSerial(u64)
);

store::row!(EventSerial, schema = 1);
store::row!(StateKeySerial, schema = 1);

/// The root of a state snapshot: equal roots are equal states of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Root(pub [u8; 16]);

impl Root {
    /// The state of a room in which nothing has happened yet.
    pub const EMPTY: Self = Self([0; 16]);
}

/// A place in a room's timeline. Greater is later.
///
/// Live events have 2^63 + their position; events of the time before we came, fetched later, lie
/// below 2^63 and count down. So `/messages` tokens are one number, and the place of a live event
/// and its position in the log are the same thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Order(pub u64);

impl Order {
    /// Before everything.
    pub const FIRST: Self = Self(0);
    /// After everything.
    pub const LAST: Self = Self(u64::MAX);
    const LIVE_BIT: u64 = 1 << 63;

    /// The place of an event that was committed at this position.
    pub const fn live(position: Position) -> Self {
        Self(position.0 | Self::LIVE_BIT)
    }

    /// The place of a backfilled event; `place` counts down from 2^63 - 1.
    pub const fn history(place: u64) -> Self {
        Self(place & !Self::LIVE_BIT)
    }

    /// The position at which the event was committed, for a live event.
    pub const fn position(self) -> Option<Position> {
        if self.0 & Self::LIVE_BIT == 0 { None } else { Some(Position(self.0 & !Self::LIVE_BIT)) }
    }
}

impl Key for Order {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        u64::decode(input).map(Self)
    }
}

impl PositionKey for Order {
    const OFFSET: u64 = Self::LIVE_BIT;
}

impl Key for Root {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        <[u8; 16]>::decode(input).map(Self)
    }
}
