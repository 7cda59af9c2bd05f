//! Keys sort as their values do; the bytes of stored forms stay what they are.
#![expect(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use store::{
    AsKey, CodecError, Counter, Key, Position, RawSlot, Stamped, Topic, Value, decode_entry, decode_key,
    encode_entry, encode_key, key_newtype, row,
};

key_newtype!(
    /// A room's number.
    RoomSerial(u64)
);

fn encoded<K: Key>(key: &K) -> Bytes {
    encode_key(key)
}

fn sorts_and_comes_back<K: Key + Ord + std::fmt::Debug>(one: K, other: K) -> Result<(), TestCaseError> {
    let (left, right) = (encoded(&one), encoded(&other));
    prop_assert_eq!(one.cmp(&other), left.cmp(&right));
    prop_assert!(one == other || !right.starts_with(&left), "a key is not the beginning of another");
    prop_assert_eq!(decode_key::<K>(&left).unwrap(), one);
    Ok(())
}

/// Strings that differ where escaping could go wrong.
fn tricky() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(
            prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('\u{ff}'), any::<char>()],
            0..6
        )
        .prop_map(|letters| letters.into_iter().collect::<String>()),
        any::<String>(),
    ]
}

fn tricky_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xff), any::<u8>()], 0..8)
}

proptest! {
    #[test]
    fn numbers_sort_as_keys(a: u64, b: u64, c: i64, d: i64, e: (u8, u16, u32), f: (u8, u16, u32)) {
        sorts_and_comes_back(a, b)?;
        sorts_and_comes_back(c, d)?;
        sorts_and_comes_back(e, f)?;
        sorts_and_comes_back((RoomSerial(a), Position(b)), (RoomSerial(b), Position(a)))?;
    }

    #[test]
    fn strings_sort_as_keys(a in tricky(), b in tricky(), c in tricky_bytes(), d in tricky_bytes()) {
        sorts_and_comes_back(a, b)?;
        sorts_and_comes_back(c, d)?;
    }

    #[test]
    fn tuples_sort_as_keys(
        a in (tricky(), any::<bool>(), tricky_bytes(), any::<[u8; 3]>(), any::<i64>(), tricky()),
        b in (tricky(), any::<bool>(), tricky_bytes(), any::<[u8; 3]>(), any::<i64>(), tricky()),
    ) {
        sorts_and_comes_back(a, b)?;
    }

    #[test]
    fn tuples_with_equal_beginnings_sort_as_keys(a in tricky(), b in tricky(), c in tricky()) {
        sorts_and_comes_back((a.clone(), b.clone()), (a.clone(), c.clone()))?;
        sorts_and_comes_back((a.clone(), 1_u8, b), (a, 1_u8, c))?;
    }

    #[test]
    fn borrowed_keys_encode_as_owned_ones(a in tricky(), b in tricky(), n: u64) {
        let borrowed: Bytes = encode_key::<(String, u64, String), _>(&(a.as_str(), n, b.as_str()));
        prop_assert_eq!(borrowed, encoded(&(a, n, b)));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        // No panic, and what decodes encodes to the same again.
        if let Ok(key) = decode_key::<(String, u16, Vec<u8>)>(&bytes) {
            prop_assert_eq!(encoded(&key), bytes.clone());
        }
        decode_entry(Position(1), &bytes).ok();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_hex<K: Key>(key: &impl AsKey<K>) -> String {
    hex(&encode_key::<K, _>(key))
}

#[test]
fn the_bytes_of_keys_stay() {
    assert_eq!(key_hex::<u64>(&1_u64), "0000000000000001");
    assert_eq!(key_hex::<i64>(&-1_i64), "7fffffffffffffff");
    assert_eq!(key_hex::<(bool, String)>(&(true, "a\0b")), "016100ff620001");
    assert_eq!(
        key_hex::<(RoomSerial, Position)>(&(RoomSerial(2), Position(3))),
        "00000000000000020000000000000003"
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct HeadV1 {
    depth: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    depth: u64,
    name: Option<String>,
}

impl From<HeadV1> for Head {
    fn from(old: HeadV1) -> Self {
        Self { depth: old.depth, name: None }
    }
}

row!(HeadV1, schema = 1);
row!(Head, schema = 2, older = { 1 => HeadV1 });

#[test]
fn the_bytes_of_values_stay() {
    let head = Head { depth: 300, name: Some("町".to_owned()) };
    assert_eq!(hex(&head.encode()), "02ac020103e794ba");
    assert_eq!(hex(&Counter(-2).encode()), "fffffffffffffffe");
    assert_eq!(
        hex(&Stamped { position: Position(5), value: 7_u64 }.encode()),
        "00000000000000050000000000000007"
    );
}

#[test]
fn an_older_row_is_read_as_the_newer_type_and_a_newer_one_is_refused() {
    let old = HeadV1 { depth: 300 }.encode();
    assert_eq!(Head::decode(&old).unwrap(), Head { depth: 300, name: None });
    let newer = Head { depth: 1, name: None }.encode();
    assert_eq!(HeadV1::decode(&newer), Err(CodecError::NewerSchema { found: 2, known: 1 }));
    assert_eq!(HeadV1::decode(&Bytes::from_static(&[1, 5, 9])), Err(CodecError::Trailing(1)));
}

#[test]
fn the_bytes_of_log_entries_and_topics_stay() {
    let topics = vec![Topic::room("!a:b"), Topic::device("@a:b", "D")];
    let slot = RawSlot { kind: 7, payload: Bytes::from_static(b"xy"), topics };
    let bytes = encode_entry(Position(300), &slot);
    assert_eq!(hex(&bytes), "01ac02070201f4819b94f694e8ebc30103fbb8b8aa9ba7e49eff01027879");
    let (previous, change) = decode_entry(Position(301), &bytes).unwrap();
    assert_eq!((previous, change.kind, change.topics), (Position(300), 7, slot.topics));
}
