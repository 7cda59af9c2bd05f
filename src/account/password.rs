//! Passwords: hashing and checking them, away from the async threads and only so many at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base::{Random, Tasks};
use tokio::sync::Semaphore;

use crate::{Error, PasswordCost};

/// Hashes and checks passwords with argon2id.
#[derive(Clone)]
pub(crate) struct Passwords {
    inner: Arc<Inner>,
}

struct Inner {
    argon: Argon2<'static>,
    random: Random,
    tasks: Tasks,
    permits: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
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
                permits: Semaphore::new(cost.concurrent.max(1)),
                waiting: AtomicUsize::new(0),
                most_waiting: cost.waiting,
            }),
        })
    }

    /// The PHC string that is kept of a password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.compute(move |inner| hash_now(&inner.argon, &inner.random, &password)).await?
    }

    /// Whether this is the password. Without a hash the answer is no, after the same time.
    pub(crate) async fn check(&self, password: &str, hash: Option<&str>) -> Result<bool, Error> {
        let password = password.to_owned();
        let hash = hash.map(str::to_owned);
        self.compute(move |inner| {
            let Some(hash) = hash else {
                // Hashed for nothing, so that time does not tell who exists.
                return hash_now(&inner.argon, &inner.random, &password).map(|_| false);
            };
            Ok(inner.argon.verify_password(password.as_bytes(), hash.as_str()).is_ok())
        })
        .await?
    }

    async fn compute<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(&Inner) -> T + Send + 'static,
    {
        let _place = Place::take(&self.inner)?;
        let Ok(_permit) = self.inner.permits.acquire().await else {
            return Err(Error::Overloaded);
        };
        let inner = self.inner.clone();
        let done = self.inner.tasks.spawn_blocking("account.password", move || work(&inner)).await;
        done.map_err(|_failed| Error::Overloaded)
    }
}

/// A place in the queue for the permits, given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(inner: &'a Inner) -> Result<Self, Error> {
        let place = Self(&inner.waiting);
        let before = inner.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= inner.most_waiting { Err(Error::Overloaded) } else { Ok(place) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
