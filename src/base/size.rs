//! Sizes in bytes, as people write them in a configuration.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::tr;

/// A number of bytes; written `"64 KiB"`, `"512 MiB"`, or as a plain number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", tr!(
    "`{text}` はサイズではありません。たとえば 65536、\"64 KiB\"、\"512 MiB\"、\"2 GiB\" と書きます",
    "`{text}` is no size; write for instance 65536, \"64 KiB\", \"512 MiB\" or \"2 GiB\"",
    text = .0
))]
pub struct SizeError(String);

const UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(kib: u64) -> ByteSize {
        ByteSize(kib.saturating_mul(1 << 10))
    }

    /// So many times 1,048,576 bytes.
    pub const fn mib(mib: u64) -> ByteSize {
        ByteSize(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes as this machine counts memory; the largest number if it is smaller.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in &UNITS[..3] {
            if self.0 >= *factor && self.0.is_multiple_of(*factor) {
                return write!(f, "{} {unit}", self.0 / factor);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<ByteSize, SizeError> {
        let error = || SizeError(text.to_owned());
        let trimmed = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| trimmed.strip_suffix(unit).map(|number| (number, *factor)))
            .unwrap_or((trimmed, 1));
        let number: u64 = number.trim().replace('_', "").parse().map_err(|_| error())?;
        number.checked_mul(factor).map(ByteSize).ok_or_else(error)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&tr!(
                    "\"64 KiB\" のようなサイズ、またはバイト数",
                    "a size such as \"64 KiB\", or a number of bytes"
                ))
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
