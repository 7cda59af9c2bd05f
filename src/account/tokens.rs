//! Tokens: how they look and how they are kept.

use base::Random;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::tables::{Seed, TokenHash};

/// Letters and digits of chance in a token: 62^40 is more than 2^238.
const TOKEN_CHARS: usize = 40;

/// Letters and digits behind those of a refresh token, by which we know that we gave it out: 62^16 is more than 2^95.
const MARK_CHARS: usize = 16;

/// A new token, `prefix_…`. The prefix tells people and secret scanners what leaked.
pub(crate) fn new_token(random: &Random, prefix: &str) -> String {
    format!("{prefix}_{}", random.token(TOKEN_CHARS))
}

/// Whose refresh token it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshKind<'a> {
    /// Of the log-in of this name.
    Login(&'a str),
    /// Of the grant of this name.
    Grant(&'a str),
}

/// Begins refresh tokens of grants, and of log-ins.
const GRANT_PREFIX: &str = "ygr";
const LOGIN_PREFIX: &str = "yrt";

impl RefreshKind<'_> {
    /// The one with these letters of chance, and our mark.
    fn token(self, word: &str, key: &Seed) -> String {
        let unmarked = match self {
            Self::Login(name) => format!("{LOGIN_PREFIX}_{name}_{word}"),
            Self::Grant(name) => format!("{GRANT_PREFIX}_{name}_{word}"),
        };
        let mark = mark(&unmarked, key);
        unmarked + &mark
    }
}

/// Tokens that a batch is to make valid.
pub(crate) struct NewPair {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
}

impl NewPair {
    /// A new pair; without a kind there is no refresh token.
    pub(crate) fn new(random: &Random, key: &Seed, kind: Option<RefreshKind<'_>>) -> NewPair {
        NewPair {
            access: new_token(random, ACCESS_PREFIX),
            refresh: kind.map(|kind| kind.token(&random.token(TOKEN_CHARS), key)),
        }
    }

    /// The pair that `old` is traded for: the same whenever it is shown, as long as the number of chance that is kept of
    /// the trade is the same. With another `round` only the access token is another.
    ///
    /// It takes both the old token, which is not kept, and the number, which nobody is told: who has an old token and not
    /// the store finds out nothing, nor does who has the store and no token.
    pub(crate) fn traded(old: &str, seed: &Seed, round: u32, kind: RefreshKind<'_>, key: &Seed) -> NewPair {
        let access = derived(old, seed, &[&b"access"[..], &round.to_be_bytes()].concat());
        NewPair {
            access: format!("{ACCESS_PREFIX}_{access}"),
            refresh: Some(kind.token(&derived(old, seed, b"refresh"), key)),
        }
    }
}

/// Begins access tokens.
const ACCESS_PREFIX: &str = "yat";

/// As many letters and digits as a token has, which follow from a secret and a seed (HMAC-SHA-256 with a counter).
fn derived(secret: &str, seed: &Seed, what: &[u8]) -> String {
    let mut word = String::with_capacity(TOKEN_CHARS);
    let mut counter: u32 = 0;
    while word.len() < TOKEN_CHARS {
        let mut mac = match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        mac.update(seed);
        mac.update(what);
        mac.update(&counter.to_be_bytes());
        let block = mac.finalize().into_bytes();
        // 248 = 4 × 62: larger bytes are left out, so that no letter is likelier than another.
        let fair = block.iter().filter(|byte| **byte < 248).map(|byte| usize::from(byte % 62));
        let missing = TOKEN_CHARS - word.len();
        word.extend(fair.filter_map(|at| ALPHANUMERIC.get(at)).take(missing).map(|byte| char::from(*byte)));
        counter += 1;
    }
    word
}

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The name of a new grant or log-in.
pub(crate) fn new_name(random: &Random) -> String {
    random.token(TOKEN_CHARS)
}

/// The name of the grant that a refresh token is, or was, of.
pub(crate) fn grant_of(token: &str) -> Option<&str> {
    name_after(GRANT_PREFIX, token)
}

/// The name of the log-in that a refresh token is, or was, of. A token of before they had names gives its own to what
/// follows from it.
pub(crate) fn login_of(token: &str) -> String {
    let named = name_after(LOGIN_PREFIX, token).map(str::to_owned);
    named.unwrap_or_else(|| derived(token, &[0; 32], b"name"))
}

/// Whether a refresh token was given out by us at some time, as its mark shows. One without a name tells it by the name that
/// follows from it: nobody else has one that leads there. Of before there were marks, none shows it.
pub(crate) fn was_given_out(token: &str, key: &Seed) -> bool {
    if name_after(GRANT_PREFIX, token).or(name_after(LOGIN_PREFIX, token)).is_none() {
        return true;
    }
    let unmarked = token.len().checked_sub(MARK_CHARS).and_then(|at| token.split_at_checked(at));
    unmarked.is_some_and(|(unmarked, shown)| hash(shown) == hash(&mark(unmarked, key)))
}

fn mark(unmarked: &str, key: &Seed) -> String {
    let mut mark = derived(unmarked, key, b"mark");
    mark.truncate(MARK_CHARS);
    mark
}

fn name_after<'a>(prefix: &str, token: &'a str) -> Option<&'a str> {
    let (name, _) = token.strip_prefix(prefix)?.strip_prefix('_')?.split_once('_')?;
    (name.len() == TOKEN_CHARS).then_some(name)
}

/// What is kept of a token. Tokens are long and random, so a plain fast hash is enough.
pub(crate) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traded_pair_follows_from_the_old_token_and_the_kept_number_and_from_nothing_less() {
        let pair = |old: &str, seed: u8, round| {
            NewPair::traded(old, &[seed; 32], round, RefreshKind::Login("n"), &[9; 32])
        };
        let first = pair("yrt_a", 1, 0);
        assert_eq!((first.access.len(), &first.access[..4]), (4 + TOKEN_CHARS, "yat_"));
        assert_eq!(first.refresh.as_deref().map(str::len), Some(6 + TOKEN_CHARS + MARK_CHARS));
        let again = pair("yrt_a", 1, 0);
        assert_eq!((again.access, again.refresh), (first.access.clone(), first.refresh.clone()));
        let later = pair("yrt_a", 1, 1);
        assert_ne!(later.access, first.access);
        assert_eq!(later.refresh, first.refresh);
        for other in [pair("yrt_b", 1, 0), pair("yrt_a", 2, 0)] {
            assert!(other.access != first.access && other.refresh != first.refresh);
        }
        assert_ne!(first.access.get(4..), first.refresh.as_deref().and_then(|token| token.get(6..)));
    }

    #[test]
    fn all_tokens_of_a_log_in_tell_its_name_and_those_of_before_there_were_names_give_one() {
        let random = Random::seeded(3);
        let name = new_name(&random);
        let first =
            NewPair::new(&random, &[9; 32], Some(RefreshKind::Login(&name))).refresh.unwrap_or_default();
        assert_eq!(login_of(&first), name);
        let old = new_token(&random, "yrt");
        let given = login_of(&old);
        let next = NewPair::traded(&old, &[1; 32], 0, RefreshKind::Login(&given), &[9; 32])
            .refresh
            .unwrap_or_default();
        assert_eq!((login_of(&next), login_of(&old)), (given.clone(), given));
        assert!(grant_of(&first).is_none() && grant_of(&old).is_none());
    }
}
