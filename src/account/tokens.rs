//! Tokens: how they look and how they are kept.

use base::Random;
use sha2::{Digest, Sha256};

use crate::tables::TokenHash;

/// Letters and digits of chance in a token: 62^40 is more than 2^238.
const TOKEN_CHARS: usize = 40;

/// A new token, `prefix_…`. The prefix tells people and secret scanners what leaked.
pub(crate) fn new_token(random: &Random, prefix: &str) -> String {
    format!("{prefix}_{}", random.token(TOKEN_CHARS))
}

/// What is kept of a token. Tokens are long and random, so a plain fast hash is enough.
pub(crate) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}
