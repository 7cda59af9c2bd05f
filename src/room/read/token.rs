//! Tokens: a place between two events of a room's timeline, as clients carry it about.
//!
//! A token is one number with a format version, `s1_<number>`. The number is the timeline order of
//! the last event before the place, moved so that live orders are commit positions (`s1_4711`) and
//! backfilled ones are negative (`s1_-3`). So a `next_batch` of `/sync` is at once a place in every
//! room's timeline, and tokens outlive restarts: nothing about them is kept anywhere.
//!
//! Behind it there may be what concerns `/sync` alone ([`Rest`]), as `s1_4711~300.4650*4700*1800000000000!5`; for a place in
//! a timeline it means nothing.

use std::{fmt, str::FromStr};

use base::Timestamp;
use store::Position;

use crate::{Error, Order, RoomSerial, Rooms};

/// The version of the token format written by this server.
const PREFIX: &str = "s1_";

/// How the `pos` of a sliding sync begins; its position follows, and `_`.
pub const POS_PREFIX: &str = "p1_";

/// What concerns `/sync` alone follows these.
const PRESENT: char = '~';
const DEVICE: char = '.';
const GATHERING: char = '*';
const TYPING: char = '!';

/// Rooms that are named in a token.
const MOST_TYPING: usize = 8;

/// What `/sync` has to know of a client besides the place up to which it was told everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Up to where it was told who came and went, if that is less.
    pub present: Option<Position>,
    /// Up to where it was told what was sent to its device, if that is less.
    pub device: Option<Position>,
    /// Which receipts it was not told yet, if there are any.
    pub gathering: Option<Gathering>,
    /// Rooms of which it was told last that somebody types, some of them.
    pub typing: Vec<RoomSerial>,
}

/// Receipts that are told together, so as not to tell each of a crowd of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// Up to where they were told.
    pub after: Position,
    /// When they are told.
    pub until: Timestamp,
}

impl Rest {
    /// By the text of a token; of one that is none, something.
    pub fn of(token: &str) -> Self {
        let (text, typing) = token.split_once(TYPING).unwrap_or((token, ""));
        let (text, gathering) = text.split_once(GATHERING).unwrap_or((text, ""));
        let (text, device) = text.split_once(DEVICE).unwrap_or((text, ""));
        let present = text.split_once(PRESENT).and_then(|(_, digits)| digits.parse().ok());
        let gathering = gathering.split_once(GATHERING).and_then(|(after, until)| {
            Some(Gathering { after: Position(after.parse().ok()?), until: Timestamp(until.parse().ok()?) })
        });
        let typing = typing.split(TYPING).filter_map(|digits| digits.parse().ok()).map(RoomSerial);
        Self {
            present: present.map(Position),
            device: device.parse().ok().map(Position),
            gathering,
            typing: typing.take(MOST_TYPING).collect(),
        }
    }

    /// With these rooms, as far as there is room for them.
    #[must_use]
    pub fn typing(self, rooms: impl IntoIterator<Item = RoomSerial>) -> Self {
        Self { typing: rooms.into_iter().take(MOST_TYPING).collect(), ..self }
    }
}

/// Live events begin here; backfilled ones lie below.
const LIVE: u64 = 1 << 63;

/// A place in a timeline: everything up to and including this order lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub Order);

/// The text is not a token that this server gave out.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a token of this server")]
pub struct BadToken;

impl Token {
    /// The place after everything that was committed up to `position`.
    pub fn after(position: Position) -> Self {
        Self(Order::live(position))
    }

    /// The place just before the event of this order.
    pub fn before(order: Order) -> Self {
        Self(Order(order.0.saturating_sub(1)))
    }

    /// The text of a token for `/sync`.
    pub fn with_rest(self, rest: &Rest) -> String {
        let mut text = self.to_string();
        if let Some(Position(present)) = rest.present {
            text.push(PRESENT);
            text.push_str(&present.to_string());
        }
        if let Some(Position(device)) = rest.device {
            text.push(DEVICE);
            text.push_str(&device.to_string());
        }
        if let Some(Gathering { after, until }) = rest.gathering {
            text.push_str(&format!("{GATHERING}{after}{GATHERING}{until}"));
        }
        for room in &rest.typing {
            text.push(TYPING);
            text.push_str(&room.0.to_string());
        }
        text
    }

    /// The place before everything.
    pub const START: Self = Self(Order(0));

    /// Reads a token, or the `pos` of a sliding sync: the place up to which that told.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn of_sync(text: &str) -> Result<Self, BadToken> {
        let Some(pos) = text.strip_prefix(POS_PREFIX) else { return text.parse() };
        let number = pos.split_once('_').map(|(number, _)| number);
        let number = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let position: u64 = number.and_then(|number| number.parse().ok()).ok_or(BadToken)?;
        LIVE.checked_add(position).map(|order| Self(Order(order))).ok_or(BadToken)
    }

    /// The place after everything that can ever be.
    pub const END: Self = Self(Order(u64::MAX));

    /// The commit position that the place stands for; places among backfilled events are before everything live.
    pub fn position(self) -> Position {
        Position(self.0.0.saturating_sub(LIVE))
    }
}

impl Rooms {
    /// Brings this process up to the places that a client names: another one may have given them to it.
    pub(super) async fn reach_places(
        &self,
        places: impl IntoIterator<Item = Option<Token>>,
    ) -> Result<(), Error> {
        let last = places.into_iter().flatten().max().map(Token::position);
        self.store().reach(last.unwrap_or_default()).await?;
        Ok(())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0.checked_sub(LIVE) {
            Some(live) => write!(out, "{PREFIX}{live}"),
            None => write!(out, "{PREFIX}-{}", LIVE - self.0.0),
        }
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let number = text.strip_prefix(PREFIX).ok_or(BadToken)?;
        let (below, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number),
        };
        let (digits, typing) = digits.split_once(TYPING).unwrap_or((digits, "0"));
        let (digits, gathering) = digits.split_once(GATHERING).unwrap_or((digits, "0*0"));
        let (digits, device) = digits.split_once(DEVICE).unwrap_or((digits, "0"));
        let (digits, present) = digits.split_once(PRESENT).unwrap_or((digits, "0"));
        let is_number =
            |text: &str| text.parse::<u64>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_gathering = |text: &str| {
            text.split_once(GATHERING).is_some_and(|(after, until)| is_number(after) && is_number(until))
        };
        if !is_number(present)
            || !is_number(device)
            || !is_gathering(gathering)
            || !typing.split(TYPING).all(is_number)
        {
            return Err(BadToken);
        }
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadToken);
        }
        let distance: u64 = digits.parse().map_err(|_| BadToken)?;
        let order = if below { LIVE.checked_sub(distance) } else { LIVE.checked_add(distance) };
        order.map(|order| Self(Order(order))).ok_or(BadToken)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_token_reads_back_as_it_was_written() {
        for order in [0, 1, LIVE - 1, LIVE, LIVE + 1, LIVE + 4711, u64::MAX] {
            let token = Token(Order(order));
            assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        }
        assert_eq!(Token::after(Position(4711)).to_string(), "s1_4711");
        assert_eq!(Token(Order(LIVE - 3)).to_string(), "s1_-3");
    }

    #[test]
    fn a_pos_is_read_where_a_token_is_wanted() {
        let place = Ok(Token::after(Position(4711)));
        assert_eq!(Token::of_sync("p1_4711_5_1_deadbeef"), place);
        assert_eq!(Token::of_sync("s1_4711"), place);
        assert_eq!("p1_4711_5_1_deadbeef".parse::<Token>(), Err(BadToken), "but not for `/sync`");
        for text in ["p1_", "p1_4", "p1_x_1", "p1_+4_1", "p1__1", "p1_18446744073709551615_1", "p2_4_1"] {
            assert_eq!(Token::of_sync(text), Err(BadToken), "{text}");
        }
    }

    #[test]
    fn what_concerns_sync_alone_is_no_part_of_the_place() {
        let place = Token::after(Position(4711));
        let present = Some(Position(300));
        let gathering = Some(Gathering { after: Position(4700), until: Timestamp(1_800_000_000_000) });
        for (rest, wanted) in [
            (Rest::default(), "s1_4711"),
            (Rest { present, ..Rest::default() }, "s1_4711~300"),
            (Rest::default().typing([RoomSerial(5), RoomSerial(9)]), "s1_4711!5!9"),
            (Rest { gathering, ..Rest::default() }, "s1_4711*4700*1800000000000"),
            (Rest { device: Some(Position(4650)), ..Rest::default() }, "s1_4711.4650"),
            (
                Rest { present, device: Some(Position(4650)), gathering, typing: vec![RoomSerial(5)] },
                "s1_4711~300.4650*4700*1800000000000!5",
            ),
        ] {
            assert_eq!(place.with_rest(&rest), wanted);
            assert_eq!(wanted.parse(), Ok(place));
            assert_eq!(Rest::of(wanted), rest);
        }
        assert_eq!(Rest::default().typing((0..99).map(RoomSerial)).typing.len(), MOST_TYPING);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "s1_4~",
            "s1_4~x",
            "s1_4~+5",
            "s1_4~5~6",
            "s1_4.",
            "s1_4.5.6",
            "s1_4.5~6",
            "s1_4.x",
            "s1_~5",
            "s1_4!",
            "s1_4!5!",
            "s1_4!5~6",
            "s1_4*",
            "s1_4*5",
            "s1_4*5*",
            "s1_4*5*6*7",
            "s1_4*5*-6",
            "s1_4*5*6~7",
            "s1_4!-1",
            "s1_4~99999999999999999999",
        ] {
            assert_eq!(text.parse::<Token>(), Err(BadToken), "{text}");
        }
        for text in ["", "s1_", "s2_4", "4", "s1_x", "s1_+4", "s1_--4", "s1_ 4", "s1_99999999999999999999"] {
            assert_eq!(text.parse::<Token>(), Err(BadToken), "{text}");
        }
    }
}
