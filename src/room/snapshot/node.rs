//! Chunks: the nodes of the tree, their bytes and their hashes.
//!
//! A leaf lists entries, sorted by key. A branch names up to eight chunks, one for each value of the
//! next three bits of the key's [`place`]. What is a leaf and what a branch depends on nothing but
//! the number of entries below ([`MAX_LEAF_ENTRIES`]), so equal maps are equal trees.
//!
//! The bytes are what is stored; changing them, the mixing of keys or the limits changes every root.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::{EventSerial, Root, StateKeySerial};

/// A subtree of more entries is a branch. Chosen by measurement: `examples/snapshot_cost.rs`.
pub(super) const MAX_LEAF_ENTRIES: usize = 64;
/// Chunks below a branch.
pub(super) const FANOUT: usize = 8;
/// Branches lie at depths below this; there, all bits of a key's place are used up.
pub(super) const MAX_DEPTH: u32 = 22;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;

/// Before the bytes of a chunk that is condemned (see `upkeep`): no chunk begins with it.
const CONDEMNED: u8 = 0xff;

/// The bytes of a chunk as they are stored once it is condemned.
pub(super) fn condemned(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + bytes.len());
    out.put_u8(CONDEMNED);
    out.put_slice(bytes);
    out.freeze()
}

/// A chunk's own bytes, if what is stored says that it is condemned.
pub(super) fn pardoned(stored: &Bytes) -> Option<Bytes> {
    (stored.first() == Some(&CONDEMNED)).then(|| stored.slice(1..))
}

/// An entry of the map: the event that is the state for a key.
pub type Entry = (StateKeySerial, EventSerial);

/// Hash of a chunk's bytes: the first 16 bytes of BLAKE3. The one of the top chunk is the [`Root`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkHash(pub [u8; 16]);

impl ChunkHash {
    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        Self(short)
    }

    /// The top chunk of a map; none for the empty one.
    pub(super) fn top(root: Root) -> Option<Self> {
        (root != Root::EMPTY).then_some(Self(root.0))
    }
}

/// A chunk as its parent knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    /// Where it is.
    pub(super) hash: ChunkHash,
    /// Entries in it and below it.
    pub(super) count: u64,
}

/// The chunks below a branch, by slot.
pub(super) type Children = [Option<Child>; FANOUT];

/// A chunk, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Entries, sorted by key.
    Leaf(Vec<Entry>),
    /// Chunks below.
    Branch(Box<Children>),
}

/// Why bytes are not a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    /// The bytes end too early, or something follows the chunk.
    #[error("the chunk has the wrong length")]
    Length,
    /// The first byte is none that we write.
    #[error("a chunk of kind {0} is not known")]
    Kind(u8),
    /// Keys are not ascending, a count is impossible, or a number too large.
    #[error("the chunk contradicts itself")]
    Content,
    /// The bytes are not those that were named by the hash.
    #[error("the chunk's bytes do not have its hash")]
    Hash,
    /// It is named but not there.
    #[error("the chunk is missing")]
    Missing,
    /// It lies where it cannot lie: too deep, or its entries belong elsewhere.
    #[error("the chunk is in the wrong place")]
    Place,
}

/// Where a key lies in the tree: a fixed permutation of 64-bit numbers that spreads neighbours.
///
/// As it is a permutation, two keys never share a place, and the tree has an end.
const fn place(key: StateKeySerial) -> u64 {
    // The finaliser of SplitMix64.
    let mut mixed = key.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The child of a branch at `depth` that a key belongs to.
pub(super) const fn slot(key: StateKeySerial, depth: u32) -> usize {
    let used = 3 * depth;
    let bits = if used <= 61 { place(key) >> (61 - used) } else { place(key) };
    let mask = if used <= 61 { 7 } else { 1 };
    (bits & mask) as usize
}

/// The bits of a key's place that lead to a chunk at `depth`.
pub(super) const fn path(key: StateKeySerial, depth: u32) -> u64 {
    match 3 * depth {
        0 => 0,
        used if used < 64 => place(key) >> (64 - used),
        _ => place(key),
    }
}

impl Node {
    /// The bytes to store. Equal nodes have equal bytes.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.guess_size());
        match self {
            Self::Leaf(entries) => {
                out.put_u8(LEAF);
                put_number(&mut out, entries.len() as u64);
                let mut before = (0, 0);
                for (key, event) in entries {
                    put_number(&mut out, key.0.wrapping_sub(before.0));
                    put_number(&mut out, zigzag(event.0.wrapping_sub(before.1)));
                    before = (key.0, event.0);
                }
            }
            Self::Branch(children) => {
                out.put_u8(BRANCH);
                let present = (0..FANOUT).filter(|slot| children[*slot].is_some());
                out.put_u8(present.fold(0, |bits, slot| bits | 1 << slot));
                for child in children.iter().flatten() {
                    out.put_slice(&child.hash.0);
                    put_number(&mut out, child.count);
                }
            }
        }
        out.freeze()
    }

    /// Reads stored bytes, whose hash the caller has compared.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadChunk> {
        let (kind, mut rest) = bytes.split_first().ok_or(BadChunk::Length)?;
        let node = match *kind {
            LEAF => Self::Leaf(decode_leaf(&mut rest)?),
            BRANCH => Self::Branch(decode_branch(&mut rest)?),
            other => return Err(BadChunk::Kind(other)),
        };
        if rest.is_empty() { Ok(node) } else { Err(BadChunk::Length) }
    }

    /// Entries in it and below it.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Leaf(entries) => entries.len() as u64,
            Self::Branch(children) => children.iter().flatten().map(|child| child.count).sum(),
        }
    }

    /// The chunks that it names.
    pub(super) fn children(&self) -> impl Iterator<Item = Child> + '_ {
        let children: &[Option<Child>] = match self {
            Self::Leaf(_) => &[],
            Self::Branch(children) => children.as_slice(),
        };
        children.iter().flatten().copied()
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let content = match self {
            Self::Leaf(entries) => size_of::<Entry>() * entries.capacity(),
            Self::Branch(_) => size_of::<Children>(),
        };
        content + size_of::<Self>() + 64
    }

    fn guess_size(&self) -> usize {
        match self {
            Self::Leaf(entries) => 8 + 8 * entries.len(),
            Self::Branch(_) => 2 + 20 * FANOUT,
        }
    }
}

fn decode_leaf(rest: &mut &[u8]) -> Result<Vec<Entry>, BadChunk> {
    let count = usize::try_from(take_number(rest)?).map_err(|_| BadChunk::Content)?;
    // An entry is at least two bytes.
    if count == 0 || count > rest.len() / 2 {
        return Err(BadChunk::Content);
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut before = (0_u64, 0_u64);
    for _ in 0..count {
        let step = take_number(rest)?;
        if step == 0 && !entries.is_empty() {
            return Err(BadChunk::Content);
        }
        let key = before.0.checked_add(step).ok_or(BadChunk::Content)?;
        let event = before.1.wrapping_add(unzigzag(take_number(rest)?));
        entries.push((StateKeySerial(key), EventSerial(event)));
        before = (key, event);
    }
    Ok(entries)
}

fn decode_branch(rest: &mut &[u8]) -> Result<Box<Children>, BadChunk> {
    let (present, tail) = rest.split_first().ok_or(BadChunk::Length)?;
    *rest = tail;
    let mut children = Box::new([None; FANOUT]);
    let mut total = 0_u64;
    for (slot, child) in children.iter_mut().enumerate() {
        if present & (1 << slot) == 0 {
            continue;
        }
        let (hash, tail) = rest.split_first_chunk::<16>().ok_or(BadChunk::Length)?;
        *rest = tail;
        let count = take_number(rest)?;
        total = total.checked_add(count).filter(|_| count > 0).ok_or(BadChunk::Content)?;
        *child = Some(Child { hash: ChunkHash(*hash), count });
    }
    if total > MAX_LEAF_ENTRIES as u64 { Ok(children) } else { Err(BadChunk::Content) }
}

const fn zigzag(difference: u64) -> u64 {
    let signed = difference.cast_signed();
    ((signed << 1) ^ (signed >> 63)).cast_unsigned()
}

const fn unzigzag(coded: u64) -> u64 {
    (coded >> 1) ^ (coded & 1).wrapping_neg()
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn put_number(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Result<u64, BadChunk> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(BadChunk::Length)?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(BadChunk::Content);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BadChunk::Content)
}

/// A chunk that was made: its hash, its bytes and itself.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) hash: ChunkHash,
    pub(super) bytes: Bytes,
    pub(super) node: Arc<Node>,
}

impl Made {
    /// Encodes and hashes a node.
    pub(super) fn new(node: Node) -> Self {
        let bytes = node.encode();
        Self { hash: ChunkHash::of(&bytes), bytes, node: Arc::new(node) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut out = BytesMut::new();
            put_number(&mut out, number);
            assert_eq!(take_number(&mut &out[..]), Ok(number));
            assert_eq!(unzigzag(zigzag(number)), number);
        }
    }

    #[test]
    fn the_bytes_of_a_leaf_are_pinned() {
        let leaf = Node::Leaf(vec![
            (StateKeySerial(3), EventSerial(1_000)),
            (StateKeySerial(200), EventSerial(990)),
        ]);
        let bytes = leaf.encode();
        assert_eq!(bytes[..], [1, 2, 3, 0xd0, 0x0f, 0xc5, 0x01, 0x13]);
        assert_eq!(Node::decode(&bytes), Ok(leaf));
        assert_eq!(
            ChunkHash::of(&bytes).0,
            blake3::hash(&[1, 2, 3, 0xd0, 0x0f, 0xc5, 0x01, 0x13]).as_bytes()[..16]
        );
    }

    #[test]
    fn the_bytes_of_a_branch_are_pinned() {
        let mut children = [None; FANOUT];
        children[0] = Some(Child { hash: ChunkHash([7; 16]), count: 300 });
        children[6] = Some(Child { hash: ChunkHash([9; 16]), count: 1 });
        let branch = Node::Branch(Box::new(children));
        let bytes = branch.encode();
        let expected = [&[2, 0b0100_0001][..], &[7; 16], &[0xac, 0x02], &[9; 16], &[1]].concat();
        assert_eq!(bytes[..], expected);
        assert_eq!(Node::decode(&bytes), Ok(branch));
    }

    #[test]
    fn the_place_of_keys_is_pinned() {
        assert_eq!(place(StateKeySerial(0)), 0xe220_a839_7b1d_cdaf);
        assert_eq!(place(StateKeySerial(1)), 0x910a_2dec_8902_5cc1);
    }

    #[test]
    fn all_bits_of_a_place_choose_a_slot_once() {
        let key = StateKeySerial(77);
        let mut bits = 0_u64;
        for depth in 0..MAX_DEPTH - 1 {
            bits = bits << 3 | slot(key, depth) as u64;
        }
        bits = bits << 1 | slot(key, MAX_DEPTH - 1) as u64;
        assert_eq!(bits, place(key));
    }

    #[test]
    fn broken_bytes_are_refused() {
        for bytes in [
            &[][..],
            &[3],
            &[LEAF],
            &[LEAF, 0],
            &[LEAF, 1, 5],
            &[LEAF, 1, 5, 6, 7],
            &[LEAF, 2, 5, 6, 0, 6],
            &[LEAF, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1],
            &[BRANCH, 1, 0, 0],
            &[BRANCH, 0],
        ] {
            assert!(Node::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
