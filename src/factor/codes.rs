//! Codes that are good once: those by which a user gets in who has lost his app, and the one that a recovery hands over.

use base::Random;
use ruma::UserId;
use sha2::{Digest, Sha256};

/// Codes that a user gets at once.
pub const CODES: usize = 10;

/// Letters of a code: of 31, none of which is taken for another. So it has 79 bits, and a plain hash of it is enough.
const LETTERS: usize = 16;
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Letters of what is typed that are looked at.
const LONGEST: usize = 64;

/// A code's hash, as it is kept.
pub(crate) type Hash = [u8; 32];

/// A new code, as it is shown: in groups of four.
pub(crate) fn new_code(random: &Random) -> String {
    let count = ALPHABET.len() as u64;
    let letter = |_| {
        let place = usize::try_from(random.range(0..count)).unwrap_or_default();
        char::from(ALPHABET[place % ALPHABET.len()])
    };
    let letters: Vec<char> = (0..LETTERS).map(letter).collect();
    letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-")
}

/// What somebody typed, as codes are compared: in small letters of half width, without what stands between them.
pub(crate) fn plain(typed: &str) -> String {
    let half_width = |letter: char| {
        let code = u32::from(letter);
        let half = (0xff01..=0xff5e).contains(&code).then(|| char::from_u32(code - 0xfee0)).flatten();
        half.unwrap_or(letter)
    };
    let letters = typed.chars().take(LONGEST).map(half_width);
    letters.filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Whether a text can be a code.
pub(crate) fn is_code(plain: &str) -> bool {
    plain.len() == LETTERS && plain.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// The hash of a code, which is of its user.
pub(crate) fn hash(user: &UserId, code: &str) -> Hash {
    let mut hash = Sha256::new_with_prefix(b"a code for once of ");
    hash.update(user.as_bytes());
    hash.update(b" ");
    hash.update(plain(code).as_bytes());
    hash.finalize().into()
}
