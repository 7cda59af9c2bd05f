//! [`Horizon`]: how far back somebody reads.

use store::Position;

use crate::Order;

/// How far back somebody reads: what is from before it is shown to him on no way, as what was said before he came into a room.
///
/// Two things tell how old an event is. What it says of that itself (`origin_server_ts`) is its sender's word, exact if he is
/// honest; whoever dates a text into the future would have it read for ever. When it came here nobody chooses, but it is
/// known by the hour alone, and not of what is from before we came into a room. So an event is behind the horizon if *either*
/// says so, and a lie about its time makes it be read for an hour longer at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// What says that it was sent before this, in ms since 1970, is behind it.
    pub sent_ms: u64,
    /// So is what came here up to this position. [`Position::START`]: nothing is known of when things came.
    pub came: Position,
}

impl Horizon {
    /// Whether an event is behind it, by its place and the time that it claims. Of one without a place among what came here
    /// its claim alone is looked at.
    #[must_use]
    pub fn hides(&self, order: Option<Order>, sent_ms: u64) -> bool {
        sent_ms < self.sent_ms
            || order.and_then(Order::position).is_some_and(|position| position <= self.came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_by_its_word_or_by_when_it_came_is_behind_it() {
        let horizon = Horizon { sent_ms: 1_000, came: Position(50) };
        let live = |position| Some(Order::live(Position(position)));
        for (order, sent_ms, is_hidden) in [
            (live(51), 1_000, false),
            (live(51), 999, true),
            // Dated into the future.
            (live(50), u64::MAX, true),
            (live(1), 1_000, true),
            (Some(Order::history(7)), 1_000, false),
            (Some(Order::history(7)), 999, true),
            (None, 1_000, false),
        ] {
            assert_eq!(horizon.hides(order, sent_ms), is_hidden, "{order:?} {sent_ms}");
        }
        let unknown = Horizon { came: Position::START, ..horizon };
        assert!(!unknown.hides(live(1), 1_000));
    }
}
