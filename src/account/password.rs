//! Passwords: hashing and checking them, away from the async threads and only so many at a time.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHash, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, Salt},
    },
};
use base::{Crowded, Random, Tasks, Turns};

use crate::{Error, PasswordCost};

/// How often a change is tried that hashes a password each time.
pub(crate) const DEAR_ATTEMPTS: u32 = 8;

/// The name of the limit on password checks that wait.
pub(crate) const PASSWORD_CHECKS: &str = "password_checks";

/// Longest password, in bytes. argon2 takes more, but nobody types more.
pub(crate) const LONGEST_PASSWORD: usize = 1_024;

const ALGORITHM: Algorithm = Algorithm::Argon2id;
const VERSION: Version = Version::V0x13;

/// Hashes and checks passwords with argon2id.
#[derive(Clone)]
pub(crate) struct Passwords {
    inner: Arc<Inner>,
}

/// What argon2 works in. Who waits takes it over, since to get 19 MiB anew costs 6 % of the work.
pub(crate) type Memory = Vec<Block>;

struct Inner {
    argon: Argon2<'static>,
    random: Random,
    tasks: Tasks,
    turns: Turns<Memory>,
    hasher: RandomState,
    concurrent: usize,
    /// What the last one took, in microseconds.
    took: AtomicU64,
}

impl Passwords {
    /// A hasher of this cost.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] when argon2 does not allow these parameters.
    pub(crate) fn new(cost: PasswordCost, random: &Random, tasks: &Tasks) -> Result<Self, Error> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None)
            .map_err(|cause| Error::InvalidParam(format!("password cost: {cause}")))?;
        let argon = Argon2::new(ALGORITHM, VERSION, params);
        Ok(Self {
            inner: Arc::new(Inner {
                argon,
                random: random.clone(),
                tasks: tasks.clone(),
                turns: Turns::new(cost.concurrent, cost.waiting),
                hasher: RandomState::new(),
                concurrent: cost.concurrent.max(1),
                took: AtomicU64::new(0),
            }),
        })
    }

    /// The PHC string that is kept of a password. `lane` is who waits for it: see [`Turns`].
    pub(crate) async fn hash(&self, password: &str, lane: &impl Hash) -> Result<String, Error> {
        let password = password.to_owned();
        self.compute(lane, move |inner, memory| inner.hash(memory, &password)).await?
    }

    /// Whether this is the password. Without a hash the answer is no, after the same time.
    pub(crate) async fn check(
        &self,
        password: &str,
        hash: Option<&str>,
        lane: &impl Hash,
    ) -> Result<bool, Error> {
        // Nothing longer was ever set; hashing it would only be work.
        if password.len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let password = password.to_owned();
        let hash = hash.map(str::to_owned);
        self.compute(lane, move |inner, memory| {
            let Some(hash) = hash else {
                // Hashed for nothing, so that time does not tell who exists.
                return inner.hash(memory, &password).map(|_| false);
            };
            Ok(is_hash_of(memory, &hash, &password).unwrap_or(false))
        })
        .await?
    }

    /// Whose turn it is to hash.
    #[cfg(test)]
    pub(crate) fn turns(&self) -> &Turns<Memory> {
        &self.inner.turns
    }

    async fn compute<T, W>(&self, lane: &impl Hash, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(&Inner, &mut Memory) -> T + Send + 'static,
    {
        let lane = self.inner.hasher.hash_one(lane);
        let mut turn = self.inner.turns.wait(lane).await.map_err(|crowded| self.inner.crowded(&crowded))?;
        let inner = self.inner.clone();
        let done = self.inner.tasks.spawn_blocking("account.password", move || {
            // The turn is held by the work and not by who waits for it, who may go away.
            let begun = Instant::now();
            let done = work(&inner, &mut turn.inherited);
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            inner.took.store(took, Ordering::Relaxed);
            done
        });
        done.await
            .map_err(|_failed| Error::Limited { limit: PASSWORD_CHECKS, retry_after: Duration::from_secs(1) })
    }
}

impl Inner {
    /// Those who wait will be through by then.
    fn crowded(&self, crowded: &Crowded) -> Error {
        let each = Duration::from_micros(self.took.load(Ordering::Relaxed));
        let all = each.saturating_mul(u32::try_from(crowded.0 / self.concurrent).unwrap_or(u32::MAX));
        let retry_after = all.clamp(Duration::from_secs(1), Duration::from_secs(60));
        Error::Limited { limit: PASSWORD_CHECKS, retry_after }
    }

    /// The PHC string of a password with a salt of its own.
    fn hash(&self, memory: &mut Memory, password: &str) -> Result<String, Error> {
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        self.random.fill(&mut salt);
        self.phc(memory, &salt, password)
            .map(|hash| hash.to_string())
            .map_err(|cause| Error::InvalidParam(format!("password: {cause}")))
    }

    fn phc(
        &self,
        memory: &mut Memory,
        salt: &[u8],
        password: &str,
    ) -> Result<PasswordHash, password_hash::Error> {
        Ok(PasswordHash {
            algorithm: ALGORITHM.ident(),
            version: Some(VERSION.into()),
            params: ParamsString::try_from(self.argon.params())?,
            salt: Some(Salt::new(salt)?),
            hash: Some(output(&self.argon, memory, salt, password, Params::DEFAULT_OUTPUT_LEN)?),
        })
    }
}

/// Whether a PHC string, whatever its parameters, is that of the password.
fn is_hash_of(memory: &mut Memory, hash: &str, password: &str) -> Result<bool, password_hash::Error> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
    let version = hash.version.map_or(Ok(VERSION), Version::try_from)?;
    let argon = Argon2::new(Algorithm::try_from(hash.algorithm.as_str())?, version, Params::try_from(&hash)?);
    // Compared in the same time wherever they differ, as the library says of this type.
    Ok(output(&argon, memory, salt, password, expected.len())? == *expected)
}

fn output(
    argon: &Argon2<'_>,
    memory: &mut Memory,
    salt: &[u8],
    password: &str,
    length: usize,
) -> Result<Output, password_hash::Error> {
    let blocks = argon.params().block_count();
    if memory.len() != blocks {
        *memory = Memory::new();
        memory.try_reserve_exact(blocks).map_err(|_| password_hash::Error::OutOfMemory)?;
        memory.resize(blocks, Block::new());
    }
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..length).ok_or(password_hash::Error::OutputSize)?;
    argon.hash_password_into_with_memory(password.as_bytes(), salt, output, memory)?;
    Ok(Output::new(output)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn memory_that_another_has_left_changes_no_hash() {
        let mut memory = Memory::new();
        for (kib, passes, lanes) in [(64, 2, 1), (256, 1, 2), (8, 3, 1)] {
            let argon = Argon2::new(ALGORITHM, VERSION, Params::new(kib, passes, lanes, None).unwrap());
            let salt = [7; Salt::RECOMMENDED_LENGTH];
            let hash: PasswordHash = argon.hash_password_with_salt(b"secret", &salt).unwrap();
            let ours = output(&argon, &mut memory, &salt, "secret", Params::DEFAULT_OUTPUT_LEN).unwrap();
            assert_eq!(Some(ours), hash.hash);
            let hash = hash.to_string();
            assert!(is_hash_of(&mut memory, &hash, "secret").unwrap());
            assert!(!is_hash_of(&mut memory, &hash, "Secret").unwrap());
        }
        for nothing in [
            "",
            "$argon2id$v=19$m=8,t=1,p=1",
            "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA",
            "$scrypt$AAAAAAAAAAA$AAAAAAAAAAAAAA",
        ] {
            assert!(!is_hash_of(&mut memory, nothing, "").unwrap_or(false));
        }
    }

    #[test]
    fn what_is_kept_can_be_read_by_the_library() {
        let (random, tasks) = (Random::os(), Tasks::new(&base::Metrics::new()));
        let cost = PasswordCost { memory_kib: 64, passes: 1, ..PasswordCost::default() };
        let passwords = Passwords::new(cost, &random, &tasks).unwrap();
        let hash = passwords.inner.hash(&mut Memory::new(), "secret").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert!(Argon2::default().verify_password(b"secret", hash.as_str()).is_ok());
    }
}
