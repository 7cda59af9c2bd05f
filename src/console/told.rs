//! What goes wrong beneath a page, as whoever opened it is told.

use intake::Words;
use pages::PageError;
use web::ApiError;

pub(crate) use pages::of_password;

/// What the verbs beneath the pages refuse with.
pub(crate) trait Tell {
    /// The page's error.
    fn tell(self) -> PageError;
}

/// The page's error of one of theirs.
pub(crate) fn told(error: impl Tell) -> PageError {
    error.tell()
}

/// An error that has a sentence for whoever wanted it, by that sentence.
fn in_words(words: Option<Words>, error: ApiError) -> PageError {
    match words {
        Some(words) => PageError::new(error.status(), words.ja, words.en),
        None => error.into(),
    }
}

impl Tell for personnel::Error {
    fn tell(self) -> PageError {
        in_words(self.words(), self.into())
    }
}

impl Tell for rules::Error {
    fn tell(self) -> PageError {
        in_words(self.words(), self.into())
    }
}

impl Tell for cases::Error {
    fn tell(self) -> PageError {
        in_words(self.words().map(|told| Words { ja: told.ja, en: told.en }), self.into())
    }
}

impl Tell for duties::Error {
    fn tell(self) -> PageError {
        match self {
            duties::Error::TooMany(most) => PageError::bad_request(
                format!("役割を持てるアカウントは {most} 件までです。"),
                format!("At most {most} accounts can have a duty."),
            ),
            duties::Error::Store(error) => ApiError::from(error).into(),
            duties::Error::Commit(error) => ApiError::from(error).into(),
        }
    }
}

impl Tell for store::Error {
    fn tell(self) -> PageError {
        ApiError::from(self).into()
    }
}
