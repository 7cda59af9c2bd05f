//! Tokens: where a search goes on.
//!
//! `q1_`, then parts with `_` between: the place before which is searched on (`order.event`), by rank also the last that was given
//! (`score.order.event`), how many there were in all when it began, and for one group of results its key. `-` is nothing.
//! Nothing is kept of a search.

use std::{fmt, str::FromStr};

use room::ids::{EventSerial, Order};
use ruma::{OwnedRoomId, OwnedUserId};

use crate::Error;

const PREFIX: &str = "q1_";
const NOTHING: &str = "-";

/// Where a document stands among all: later is greater.
pub(crate) type Key = (Order, EventSerial);

/// Where a search goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What comes next is before this.
    pub(crate) before: Option<Key>,
    /// By rank: what comes next is behind this.
    pub(crate) mark: Option<(u64, Key)>,
    /// How many there were when the search began.
    pub(crate) count: Option<u64>,
    /// Only results of this group.
    pub(crate) group: Option<Group>,
}

/// A group of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// Those of a room.
    Room(OwnedRoomId),
    /// Those of a sender.
    Sender(OwnedUserId),
}

impl Place {
    /// The same in one group of the results, which is counted by itself.
    #[must_use]
    pub fn in_group(&self, group: Group) -> Self {
        Self { group: Some(group), count: None, ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(PREFIX)?;
        match self.before {
            Some((order, event)) => write!(out, "{}.{}_", order.0, event.0)?,
            None => write!(out, "{NOTHING}_")?,
        }
        match self.mark {
            Some((score, (order, event))) => write!(out, "{score}.{}.{}_", order.0, event.0)?,
            None => write!(out, "{NOTHING}_")?,
        }
        match self.count {
            Some(count) => write!(out, "{count}")?,
            None => out.write_str(NOTHING)?,
        }
        match &self.group {
            Some(Group::Room(room)) => write!(out, "_r{room}"),
            Some(Group::Sender(sender)) => write!(out, "_s{sender}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.strip_prefix(PREFIX).ok_or(Error::BadToken)?.splitn(4, '_');
        let mut part = || parts.next().ok_or(Error::BadToken);
        let before = match part()? {
            NOTHING => None,
            text => {
                let [order, event] = numbers(text)?;
                Some((Order(order), EventSerial(event)))
            }
        };
        let mark = match part()? {
            NOTHING => None,
            text => {
                let [score, order, event] = numbers(text)?;
                Some((score, (Order(order), EventSerial(event))))
            }
        };
        let count = match part()? {
            NOTHING => None,
            text => Some(numbers::<1>(text)?[0]),
        };
        let bad = |_| Error::BadToken;
        let group = match parts.next() {
            None => None,
            Some(text) => Some(match text.split_at_checked(1).ok_or(Error::BadToken)? {
                ("r", room) => Group::Room(room.try_into().map_err(bad)?),
                ("s", sender) => Group::Sender(sender.try_into().map_err(bad)?),
                _ => return Err(Error::BadToken),
            }),
        };
        Ok(Self { before, mark, count, group })
    }
}

/// As many numbers as there are to be, with dots between.
fn numbers<const N: usize>(text: &str) -> Result<[u64; N], Error> {
    let number = |text: &str| {
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok())
    };
    let numbers: Option<Vec<u64>> = text.split('.').map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or(Error::BadToken)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let key = (Order(1 << 63 | 5), EventSerial(7));
        let room = Group::Room(ruma::owned_room_id!("!a_b.c:x.test"));
        let sender = Group::Sender(ruma::owned_user_id!("@a_b:x.test"));
        for place in [
            Place::default(),
            Place { before: Some(key), count: Some(20), ..Place::default() },
            Place { mark: Some((3.5_f64.to_bits(), key)), count: Some(20), ..Place::default() },
            Place { before: Some(key), group: Some(room), ..Place::default() },
            Place { before: Some(key), mark: Some((1, key)), count: Some(0), group: Some(sender) },
        ] {
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
        for text in [
            "",
            "abc",
            "q1_",
            "q1_-_-",
            "q1_1_-_-",
            "q1_1.2.3_-_-",
            "q1_1.+2_-_-",
            "q1_-_-_-_",
            "q1_-_-_-_x",
            "q1_-_-_-_rabc",
            "q1_-_1.2_-",
            "s1_4",
            "q1_99999999999999999999.1_-_-",
            "q1_-_-_-_あ",
        ] {
            assert!(matches!(text.parse::<Place>(), Err(Error::BadToken)), "{text}");
        }
    }
}
