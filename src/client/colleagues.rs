//! Colleagues: whom an organisation knows its people to work with.

use std::{error::Error as StdError, time::Duration};

use async_trait::async_trait;
use ruma::{OwnedUserId, UserId};
use web::ApiError;

/// Who knows which of our users work with whom, though they share no room.
///
/// Whoever answers shows nobody whom the caller is not to see, and counts nobody either.
#[async_trait]
pub trait Colleagues: Send + Sync {
    /// Those of the caller's colleagues whom the words of a text mean, at most so many, in the order in which they are shown.
    ///
    /// # Errors
    /// [`Unanswered`].
    async fn find(&self, caller: &UserId, text: &str, most: usize) -> Result<FoundColleagues, Unanswered>;
}

/// Why a search among colleagues was not answered.
#[derive(Debug)]
pub enum Unanswered {
    /// Too many search at once: the client asks again.
    Crowded,
    /// Something else, for the log.
    Failed(Box<dyn StdError + Send + Sync>),
}

/// After so long who was one too many asks again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl From<Unanswered> for ApiError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Crowded => ApiError::limited(AGAIN_AFTER),
            Unanswered::Failed(cause) => ApiError::internal(cause),
        }
    }
}

/// Whom a search among colleagues has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundColleagues {
    /// Each with the name that tells him from the others.
    pub people: Vec<(OwnedUserId, String)>,
    /// Whether there may be more.
    pub limited: bool,
}

/// No organisation: nobody has colleagues.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoColleagues;

#[async_trait]
impl Colleagues for NoColleagues {
    async fn find(&self, _: &UserId, _: &str, _: usize) -> Result<FoundColleagues, Unanswered> {
        Ok(FoundColleagues::default())
    }
}
