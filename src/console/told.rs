//! What goes wrong beneath a page, as whoever opened it is told.

use intake::Words;
use pages::PageError;
use web::{ApiError, StatusCode};

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

/// What a form is shown with once more.
///
/// # Errors
/// Our own, which are not.
pub(crate) fn refused(error: PageError) -> Result<PageError, PageError> {
    if error.status().is_server_error() { Err(error) } else { Ok(error) }
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

impl Tell for domains::Error {
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
            duties::Error::TooManyParts(most) => PageError::bad_request(
                format!("一人が担当できる部局は {most} 件までです。"),
                format!("Nobody sees to more than {most} departments."),
            ),
            duties::Error::Store(error) => ApiError::from(error).into(),
            duties::Error::Commit(error) => ApiError::from(error).into(),
        }
    }
}

impl Tell for audit::Error {
    fn tell(self) -> PageError {
        match self {
            audit::Error::Moving => PageError::new(
                StatusCode::CONFLICT,
                "ほかの操作と重なりました。もう一度お試しください。",
                "Somebody else was at it meanwhile; please try again.",
            ),
            error => ApiError::from(error).into(),
        }
    }
}

impl Tell for oversight::Error {
    fn tell(self) -> PageError {
        match self {
            oversight::Error::NoServer => PageError::not_found(),
            oversight::Error::NotFailing => PageError::new(
                StatusCode::CONFLICT,
                "このサーバーには問題なく届いています。再接続は必要ありません。",
                "That server answers; there is nothing to be tried again.",
            ),
            error => ApiError::from(error).into(),
        }
    }
}

impl Tell for media::Error {
    fn tell(self) -> PageError {
        match self {
            media::Error::TooManyWithheld => PageError::bad_request(
                "非公開にできる他サーバーのファイルの上限に達しています。不要なものを公開に戻してください。",
                "As many files of other servers are withheld as can be; please show some again first.",
            ),
            error => ApiError::from(error).into(),
        }
    }
}

impl Tell for room::Error {
    fn tell(self) -> PageError {
        ApiError::from(self).into()
    }
}

impl Tell for store::Error {
    fn tell(self) -> PageError {
        ApiError::from(self).into()
    }
}
