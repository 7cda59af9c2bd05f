//! Keys: values whose encodings sort as the values do.
//!
//! An encoding is self-delimiting, so a tuple is the concatenation of its elements and the
//! encoding of leading elements is a prefix that can be scanned. Integers are big-endian (signed
//! ones with the sign bit flipped); strings and byte strings escape `0x00` as `0x00 0xff` and end
//! with `0x00 0x01`, so that `"a"` sorts before `"a\0"` and before `"ab"`.
//!
//! Reading order: [`Key`], then [`AsKey`] (what may stand for a key in a look-up), [`PrefixOf`]
//! (what may be scanned) and [`AppendKey`] (what ends with a position).

use bytes::Bytes;

use crate::{error::CodecError, position::Position};

/// A value that can be the key of a row, or a leading part of one.
pub trait Key: Sized {
    /// Adds the order-preserving, self-delimiting encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one value from the front of `input`.
    ///
    /// # Errors
    /// When the bytes are not the encoding of a value.
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError>;
}

/// Encodes a whole key.
pub fn encode_key<K: Key, Q: AsKey<K> + ?Sized>(key: &Q) -> Bytes {
    let mut out = Vec::with_capacity(32);
    key.encode_as(&mut out);
    Bytes::from(out)
}

/// Decodes a whole key; nothing may be left over.
///
/// # Errors
/// When the bytes are not exactly one key.
pub fn decode_key<K: Key>(mut bytes: &[u8]) -> Result<K, CodecError> {
    let key = K::decode(&mut bytes)?;
    if bytes.is_empty() { Ok(key) } else { Err(CodecError::Trailing(bytes.len())) }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], CodecError> {
    let (taken, rest) = input.split_at_checked(count).ok_or(CodecError::TooShort)?;
    *input = rest;
    Ok(taken)
}

fn take_array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], CodecError> {
    let (taken, rest) = input.split_first_chunk::<N>().ok_or(CodecError::TooShort)?;
    *input = rest;
    Ok(*taken)
}

macro_rules! unsigned_keys {
    ($($int:ty),*) => {$(
        impl Key for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
                Ok(Self::from_be_bytes(take_array(input)?))
            }
        }
    )*};
}
unsigned_keys!(u8, u16, u32, u64, u128);

impl Key for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = self.to_be_bytes();
        bytes[0] ^= 0x80;
        out.extend_from_slice(&bytes);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let mut bytes: [u8; 8] = take_array(input)?;
        bytes[0] ^= 0x80;
        Ok(Self::from_be_bytes(bytes))
    }
}

impl Key for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        match take(input, 1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(CodecError::Invalid("neither false nor true")),
        }
    }
}

impl Key for Position {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        u64::decode(input).map(Self)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        take_array(input)
    }
}

fn encode_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    for part in bytes.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.last() == Some(&0) {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

fn decode_escaped(input: &mut &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    loop {
        let zero = input.iter().position(|byte| *byte == 0).ok_or(CodecError::TooShort)?;
        out.extend_from_slice(take(input, zero)?);
        match take(input, 2)? {
            [0, 1] => return Ok(out),
            [0, 0xff] => out.push(0),
            _ => return Err(CodecError::Invalid("unknown escape in a string")),
        }
    }
}

impl Key for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_escaped(self, out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        decode_escaped(input)
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_escaped(self.as_bytes(), out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Self::from_utf8(decode_escaped(input)?).map_err(|_| CodecError::Invalid("not UTF-8"))
    }
}

/// The empty key: of a table with one row, and the prefix of everything.
impl Key for () {
    fn encode(&self, _out: &mut Vec<u8>) {}
    fn decode(_input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(())
    }
}

macro_rules! tuple_keys {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: Key),+> Key for ($($name,)+) {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }
            fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
                Ok(($($name::decode(input)?,)+))
            }
        }
    )*};
}
tuple_keys! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// What may stand for a key `K` in a look-up: `K` itself, or the same with `&str` for `String`.
pub trait AsKey<K: Key> {
    /// Adds what `K::encode` would add.
    fn encode_as(&self, out: &mut Vec<u8>);
}

impl<K: Key> AsKey<K> for K {
    fn encode_as(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

impl AsKey<String> for str {
    fn encode_as(&self, out: &mut Vec<u8>) {
        encode_escaped(self.as_bytes(), out);
    }
}

impl AsKey<String> for &str {
    fn encode_as(&self, out: &mut Vec<u8>) {
        encode_escaped(self.as_bytes(), out);
    }
}

macro_rules! borrowed_tuples {
    ($([$($generic:ident),*] ($($owned:ty),+) = ($($borrowed:ty),+) {$($index:tt),+})*) => {$(
        impl<$($generic: Key),*> AsKey<($($owned,)+)> for ($($borrowed,)+) {
            fn encode_as(&self, out: &mut Vec<u8>) {
                $(AsKey::<$owned>::encode_as(&self.$index, out);)+
            }
        }
    )*};
}
borrowed_tuples! {
    [B] (String, B) = (&str, B) {0, 1}
    [A] (A, String) = (A, &str) {0, 1}
    [] (String, String) = (&str, &str) {0, 1}
    [B, C] (String, B, C) = (&str, B, C) {0, 1, 2}
    [A, C] (A, String, C) = (A, &str, C) {0, 1, 2}
    [A, B] (A, B, String) = (A, B, &str) {0, 1, 2}
    [C] (String, String, C) = (&str, &str, C) {0, 1, 2}
    [B] (String, B, String) = (&str, B, &str) {0, 1, 2}
    [A] (A, String, String) = (A, &str, &str) {0, 1, 2}
    [] (String, String, String) = (&str, &str, &str) {0, 1, 2}
}

/// What may be scanned or deleted as a prefix in a table keyed by `K`: leading elements of `K`.
pub trait PrefixOf<K: Key> {
    /// Adds the bytes that every key under this prefix begins with.
    fn encode_prefix(&self, out: &mut Vec<u8>);
}

macro_rules! prefixes {
    ($([$($generic:ident),*] $prefix:ty => $key:ty as $owned:ty;)*) => {$(
        impl<$($generic: Key),*> PrefixOf<$key> for $prefix {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                AsKey::<$owned>::encode_as(self, out);
            }
        }
    )*};
}
prefixes! {
    [A, B] A => (A, B) as A;
    [A, B, C] A => (A, B, C) as A;
    [A, B, C, D] A => (A, B, C, D) as A;
    [A, B, C, D, E] A => (A, B, C, D, E) as A;
    [A, B, C] (A, B) => (A, B, C) as (A, B);
    [A, B, C, D] (A, B) => (A, B, C, D) as (A, B);
    [A, B, C, D, E] (A, B) => (A, B, C, D, E) as (A, B);
    [A, B, C, D] (A, B, C) => (A, B, C, D) as (A, B, C);
    [A, B, C, D, E] (A, B, C) => (A, B, C, D, E) as (A, B, C);
    [A, B, C, D, E] (A, B, C, D) => (A, B, C, D, E) as (A, B, C, D);
    [B] str => (String, B) as String;
    [B, C] str => (String, B, C) as String;
    [B, C, D] str => (String, B, C, D) as String;
    [B] &str => (String, B) as String;
    [B, C] &str => (String, B, C) as String;
    [B, C, D] &str => (String, B, C, D) as String;
    [B, C] (&str, B) => (String, B, C) as (String, B);
    [B, C, D] (&str, B) => (String, B, C, D) as (String, B);
    [A, C] (A, &str) => (A, String, C) as (A, String);
    [A, C, D] (A, &str) => (A, String, C, D) as (A, String);
    [C] (&str, &str) => (String, String, C) as (String, String);
    [C, D] (&str, &str) => (String, String, C, D) as (String, String);
}

/// A key element that a commit fills in: the position plus [`PositionKey::OFFSET`], as `u64`.
///
/// The type's encoding must be that of the `u64`.
pub trait PositionKey: Key {
    /// What is added to the position, for orders that leave room below the first position.
    const OFFSET: u64;
}

impl PositionKey for Position {
    const OFFSET: u64 = 0;
}

/// A key that ends with a position given at commit.
pub trait AppendKey: Key {
    /// The elements before the position.
    type Prefix: Key;
    /// See [`PositionKey::OFFSET`].
    const OFFSET: u64;
}

impl AppendKey for Position {
    type Prefix = ();
    const OFFSET: u64 = 0;
}

impl<A: Key, P: PositionKey> AppendKey for (A, P) {
    type Prefix = A;
    const OFFSET: u64 = P::OFFSET;
}

impl<A: Key, B: Key, P: PositionKey> AppendKey for (A, B, P) {
    type Prefix = (A, B);
    const OFFSET: u64 = P::OFFSET;
}

impl<A: Key, B: Key, C: Key, P: PositionKey> AppendKey for (A, B, C, P) {
    type Prefix = (A, B, C);
    const OFFSET: u64 = P::OFFSET;
}

/// Declares a newtype that is a key: `key_newtype!(/// A room's number. RoomSerial(u64))`.
///
/// It is `Copy`, ordered, hashable and serialisable; for other inner types write the `impl` by hand.
#[macro_export]
macro_rules! key_newtype {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            $crate::reexport::serde::Serialize, $crate::reexport::serde::Deserialize,
        )]
        #[serde(crate = "::store::reexport::serde", transparent)]
        pub struct $name(pub $inner);

        impl $crate::Key for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::Key::encode(&self.0, out);
            }
            fn decode(input: &mut &[u8]) -> Result<Self, $crate::CodecError> {
                <$inner as $crate::Key>::decode(input).map(Self)
            }
        }
    };
}
