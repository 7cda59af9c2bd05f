//! Passwords: hashing and checking them, away from the async threads and only so many at a time.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base::{Random, Tasks};

use crate::{
    Error, PasswordCost,
    turns::{Crowded, Turns},
};

/// The name of the limit on password checks that wait.
const PASSWORD_CHECKS: &str = "password_checks";

/// Longest password, in bytes. argon2 takes more, but nobody types more.
pub(crate) const LONGEST_PASSWORD: usize = 1_024;

/// Hashes and checks passwords with argon2id.
#[derive(Clone)]
pub(crate) struct Passwords {
    inner: Arc<Inner>,
}

struct Inner {
    argon: Argon2<'static>,
    random: Random,
    tasks: Tasks,
    turns: Turns,
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
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
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
        self.compute(lane, move |inner| hash_now(&inner.argon, &inner.random, &password)).await?
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
        self.compute(lane, move |inner| {
            let Some(hash) = hash else {
                // Hashed for nothing, so that time does not tell who exists.
                return hash_now(&inner.argon, &inner.random, &password).map(|_| false);
            };
            Ok(inner.argon.verify_password(password.as_bytes(), hash.as_str()).is_ok())
        })
        .await?
    }

    /// Whose turn it is to hash.
    #[cfg(test)]
    pub(crate) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    async fn compute<T, W>(&self, lane: &impl Hash, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(&Inner) -> T + Send + 'static,
    {
        let lane = self.inner.hasher.hash_one(lane);
        let turn = self.inner.turns.wait(lane).await.map_err(|crowded| self.inner.crowded(&crowded))?;
        let inner = self.inner.clone();
        let done = self.inner.tasks.spawn_blocking("account.password", move || {
            // Held by the work and not by who waits for it, who may go away.
            let _turn = turn;
            let begun = Instant::now();
            let done = work(&inner);
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
}

fn hash_now(argon: &Argon2<'_>, random: &Random, password: &str) -> Result<String, Error> {
    let mut salt = [0; 16];
    random.fill(&mut salt);
    argon
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|cause| Error::InvalidParam(format!("password: {cause}")))
}
