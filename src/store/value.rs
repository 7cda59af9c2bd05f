//! Values: what a row holds, as bytes.
//!
//! A row type is declared with [`row!`](crate::row): a schema byte, then the fields in postcard's
//! format. Changing the fields needs a new schema number and a conversion from the older type.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use crate::{error::CodecError, position::Position};

/// A value that can be stored in a row.
pub trait Value: Sized {
    /// The bytes to store.
    fn encode(&self) -> Bytes;

    /// Reads stored bytes.
    ///
    /// # Errors
    /// When the bytes are not the encoding of a value.
    fn decode(bytes: &Bytes) -> Result<Self, CodecError>;
}

impl Value for Bytes {
    fn encode(&self) -> Bytes {
        self.clone()
    }
    fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        Ok(bytes.clone())
    }
}

impl Value for () {
    fn encode(&self) -> Bytes {
        Bytes::new()
    }
    fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        if bytes.is_empty() { Ok(()) } else { Err(CodecError::Trailing(bytes.len())) }
    }
}

impl Value for u64 {
    fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.to_be_bytes())
    }
    fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        let array = bytes.as_ref().try_into().map_err(|_| CodecError::Invalid("not eight bytes"))?;
        Ok(Self::from_be_bytes(array))
    }
}

impl Value for String {
    fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
    fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(CodecError::Invalid("not UTF-8")),
        }
    }
}

impl Value for Position {
    fn encode(&self) -> Bytes {
        self.0.encode()
    }
    fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        u64::decode(bytes).map(Self)
    }
}

/// A number that batches add to; see [`crate::Batch::add`]. A counter at zero has no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(pub i64);

impl Value for Counter {
    fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }
    fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        let array = bytes.as_ref().try_into().map_err(|_| CodecError::Invalid("not eight bytes"))?;
        Ok(Self(i64::from_be_bytes(array)))
    }
}

/// A value with the position of the commit that wrote it; see [`crate::Batch::put_stamped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped<V> {
    /// Of the log entry named when it was written.
    pub position: Position,
    /// What was written.
    pub value: V,
}

impl<V: Value> Value for Stamped<V> {
    fn encode(&self) -> Bytes {
        let value = self.value.encode();
        let mut out = BytesMut::with_capacity(8 + value.len());
        out.put_u64(self.position.0);
        out.put_slice(&value);
        out.freeze()
    }
    fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        let (position, _) = bytes.split_first_chunk::<8>().ok_or(CodecError::TooShort)?;
        let position = Position(u64::from_be_bytes(*position));
        Ok(Self { position, value: V::decode(&bytes.slice(8..))? })
    }
}

/// Encodes a row: its schema byte, then its fields. Use [`row!`](crate::row).
///
/// # Panics
/// When the type cannot be serialised at all (it says so itself, or a sequence hides its length).
pub fn encode_row<T: Serialize>(schema: u8, row: &T) -> Bytes {
    let mut out = Vec::with_capacity(64);
    out.push(schema);
    Bytes::from(postcard::to_extend(row, out).expect("a row type is serialisable"))
}

/// Decodes the fields of a row whose schema byte is `schema`. Use [`row!`](crate::row).
///
/// # Errors
/// When the bytes are not such a row.
pub fn decode_row<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let fields = bytes.get(1..).ok_or(CodecError::TooShort)?;
    let (row, rest) = postcard::take_from_bytes(fields).map_err(CodecError::Row)?;
    if rest.is_empty() { Ok(row) } else { Err(CodecError::Trailing(rest.len())) }
}

/// Makes a serde type a row: `row!(Head, schema = 1);`.
///
/// When fields change, keep the old type, give the new one the next number and convert:
/// `row!(Head, schema = 2, older = { 1 => HeadV1 });` with `impl From<HeadV1> for Head`.
#[macro_export]
macro_rules! row {
    ($type:ty, schema = $schema:literal $(, older = { $($old:literal => $old_type:ty),+ $(,)? })?) => {
        impl $crate::Value for $type {
            fn encode(&self) -> $crate::reexport::Bytes {
                $crate::encode_row($schema, self)
            }
            fn decode(bytes: &$crate::reexport::Bytes) -> Result<Self, $crate::CodecError> {
                match bytes.first() {
                    Some($schema) => $crate::decode_row(bytes),
                    $($(Some($old) => $crate::decode_row::<$old_type>(bytes).map(Into::into),)+)?
                    Some(found) => Err($crate::CodecError::NewerSchema { found: *found, known: $schema }),
                    None => Err($crate::CodecError::TooShort),
                }
            }
        }
    };
}
