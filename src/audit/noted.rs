//! What somebody noted of a log, elsewhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{chain::hex, tables::Hash};

/// How far a chain had come, and its value there. Whoever keeps it where nobody reaches who may write the storage can
/// tell later whether the log is still the same up to there.
///
/// It is written `4711:5891b5…`, as a check prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    pub(crate) number: u64,
    pub(crate) hash: Hash,
}

/// What was given is no such note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a note such as 4711:5891b5b522d5df08…, with 64 digits")]
pub struct NotANote;

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, hex(&self.hash))
    }
}

impl FromStr for Noted {
    type Err = NotANote;

    fn from_str(text: &str) -> Result<Self, NotANote> {
        let (number, value) = text.trim().split_once(':').ok_or(NotANote)?;
        let mut hash = Hash::default();
        if value.len() != 2 * hash.len() || !value.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotANote);
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            let pair = value.get(2 * at..2 * at + 2).ok_or(NotANote)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotANote)?;
        }
        Ok(Self { number: number.parse().map_err(|_| NotANote)?, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_is_written() {
        let noted = Noted { number: 4711, hash: std::array::from_fn(|at| (at * 7) as u8) };
        assert_eq!(noted.to_string().parse(), Ok(noted));
        assert_eq!(format!(" {}\n", noted.to_string().to_uppercase()).parse(), Ok(noted));
        let text = noted.to_string();
        let long = format!("{text}0");
        for wrong in
            ["", "4711", "4711:", &text[..text.len() - 1], &long, &text[1..].replace('7', "x"), &text[4..]]
        {
            assert_eq!(wrong.parse::<Noted>(), Err(NotANote), "{wrong}");
        }
        assert!(format!("1:{}", "é".repeat(32)).parse::<Noted>().is_err());
    }
}
