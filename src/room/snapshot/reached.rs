//! [`Reached`]: the chunks that some snapshots are made of, in bounded memory.

use std::collections::HashSet;

use super::node::ChunkHash;

/// So many chunks are known exactly. With more, a few of those that are not reached are taken for reached.
const EXACT: usize = 1 << 16;

/// Bits of the sieve for more chunks, 4 MiB: of two million it takes one in three hundred for reached that is not, of eight
/// million one in six.
const SIEVE_BITS: u64 = 1 << 25;

/// So many snapshots are remembered as looked at.
const RECENT: usize = 8_192;

/// The chunks that some snapshots are made of ([`Snapshots::reach`](super::Snapshots::reach)).
///
/// However many there are, it takes about 5 MiB at most. What it costs is that of very many chunks it holds some for
/// reached that are not; one that is reached is never missing.
#[derive(Debug)]
pub struct Reached {
    chunks: Chunks,
    /// Snapshots that were begun with; some of them are forgotten, and looked at again.
    recent: HashSet<ChunkHash>,
    /// The snapshot that was named last.
    pub(super) last: Option<ChunkHash>,
}

#[derive(Debug)]
enum Chunks {
    Exact(HashSet<ChunkHash>),
    /// A Bloom filter: hashes are evenly spread as they are.
    Sieve(Vec<u64>),
}

impl Default for Reached {
    fn default() -> Self {
        Self { chunks: Chunks::Exact(HashSet::new()), recent: HashSet::new(), last: None }
    }
}

impl Reached {
    /// Notes the top of a snapshot. False: that was looked at before.
    pub(super) fn begin(&mut self, top: ChunkHash) -> bool {
        if self.recent.contains(&top) {
            return false;
        }
        if self.recent.len() >= RECENT {
            self.recent.clear();
        }
        self.recent.insert(top);
        self.add(top);
        true
    }

    pub(super) fn add(&mut self, chunk: ChunkHash) {
        match &mut self.chunks {
            Chunks::Exact(chunks) => {
                chunks.insert(chunk);
                if chunks.len() > EXACT {
                    let words = usize::try_from(SIEVE_BITS / 64).unwrap_or(usize::MAX);
                    let mut sieve = vec![0; words];
                    chunks.iter().for_each(|chunk| mark(&mut sieve, *chunk));
                    self.chunks = Chunks::Sieve(sieve);
                }
            }
            Chunks::Sieve(sieve) => mark(sieve, chunk),
        }
    }

    /// Whether a chunk is reached; perhaps also of one that is not.
    pub fn contains(&self, chunk: ChunkHash) -> bool {
        match &self.chunks {
            Chunks::Exact(chunks) => chunks.contains(&chunk),
            Chunks::Sieve(sieve) => {
                places(chunk).all(|(word, bit)| sieve.get(word).is_some_and(|word| word & bit != 0))
            }
        }
    }
}

fn mark(sieve: &mut [u64], chunk: ChunkHash) {
    for (word, bit) in places(chunk) {
        if let Some(word) = sieve.get_mut(word) {
            *word |= bit;
        }
    }
}

/// Where a chunk is noted in the sieve: words and bits of them.
fn places(ChunkHash(hash): ChunkHash) -> impl Iterator<Item = (usize, u64)> {
    let whole = u128::from_le_bytes(hash);
    (0..4).map(move |part| {
        let place = (whole >> (32 * part)) as u64 % SIEVE_BITS;
        (usize::try_from(place / 64).unwrap_or(usize::MAX), 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u64) -> ChunkHash {
        ChunkHash::of(&number.to_le_bytes())
    }

    #[test]
    fn of_many_chunks_none_that_is_reached_is_missing_and_few_others_are_held_for_it() {
        let (mut reached, count) = (Reached::default(), 4 * EXACT as u64);
        for number in 0..count {
            reached.add(chunk(number));
            assert!(number % 997 > 0 || reached.contains(chunk(number / 2)), "{number}");
        }
        assert!((0..count).all(|number| reached.contains(chunk(number))));
        let others = (count..2 * count).filter(|number| reached.contains(chunk(*number))).count();
        assert!(others < 100, "{others}");
    }

    #[test]
    fn it_takes_bounded_memory() {
        let mut reached = Reached::default();
        for number in 0..4 * EXACT as u64 {
            reached.begin(chunk(number));
        }
        assert!(reached.recent.len() <= RECENT);
        assert!(matches!(&reached.chunks, Chunks::Sieve(words) if words.len() as u64 * 64 == SIEVE_BITS));
    }
}
