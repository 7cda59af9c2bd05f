//! What goes wrong with a page, as whoever opened it is told.

use maud::{Markup, html};
use web::{ApiError, StatusCode};

use crate::{BadForm, Language, Page};

/// Why there is no page: a status and a sentence in both languages.
#[derive(Debug)]
pub struct PageError {
    status: StatusCode,
    japanese: String,
    english: String,
    /// For the log: it is our fault.
    cause: Option<ApiError>,
    /// Whether signing in helps.
    needs_sign_in: bool,
    /// Whether what was sent is good, but for who is signed in.
    can_be_sent_again: bool,
}

/// Where people sign in.
pub(crate) const SIGN_IN: &str = "/_yakuba/sign-in";

impl PageError {
    /// An error of this status, told in both languages.
    pub fn new(status: StatusCode, japanese: impl Into<String>, english: impl Into<String>) -> PageError {
        PageError {
            status,
            japanese: japanese.into(),
            english: english.into(),
            cause: None,
            needs_sign_in: false,
            can_be_sent_again: false,
        }
    }

    /// 400: what was sent makes no sense.
    pub fn bad_request(japanese: impl Into<String>, english: impl Into<String>) -> PageError {
        PageError::new(StatusCode::BAD_REQUEST, japanese, english)
    }

    /// 403.
    pub fn forbidden(japanese: impl Into<String>, english: impl Into<String>) -> PageError {
        PageError::new(StatusCode::FORBIDDEN, japanese, english)
    }

    /// 404.
    pub fn not_found() -> PageError {
        PageError::new(StatusCode::NOT_FOUND, "ページが見つかりません。", "There is no such page.")
    }

    /// 403: the form was not made for this browser, or for whom it shows now.
    pub(crate) fn stale() -> PageError {
        let error = PageError::forbidden(
            "この画面は古くなりました。前の画面に戻り、読み込み直してから、もう一度お試しください。",
            "This page is out of date. Please go back, reload it and try again.",
        );
        PageError { can_be_sent_again: true, ..error }
    }

    /// 401: nobody is signed in.
    pub(crate) fn signed_out() -> PageError {
        let error = PageError::new(
            StatusCode::UNAUTHORIZED,
            "サインインしていません。別のタブでサインインしてからこの画面に戻ると、入力した内容が残っていることがあります。",
            "You are not signed in. If you sign in in another tab and come back here, what you typed may still be there.",
        );
        PageError { needs_sign_in: true, can_be_sent_again: true, ..error }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether what was sent is good, but for who is signed in.
    pub(crate) fn can_be_sent_again(&self) -> bool {
        self.can_be_sent_again
    }

    /// What is told, for a page that shows it beside a form.
    pub fn text(&self, language: Language) -> &str {
        language.pick(&self.japanese, &self.english)
    }

    /// The page that tells it, with what was typed and can be sent `again`. An error of ours is logged here, once.
    pub(crate) fn into_page(self, language: Language, again: Option<&Markup>) -> Page {
        if let Some(cause) = self.cause.filter(|_| self.status.is_server_error()) {
            tracing::error!(status = self.status.as_u16(), error = ?cause, "page failed");
        }
        let title = language.pick("エラー", "Something went wrong");
        let text = language.pick(self.japanese, self.english);
        let body = html! {
            p.problem role="alert" { (text) }
            @if self.needs_sign_in {
                // What was typed stands below: the way to sign in leads nobody away from it.
                @if again.is_some() {
                    p { a.button href=(SIGN_IN) target="_blank" {
                        (language.pick("サインイン（別のタブ）", "Sign in (another tab)"))
                    } }
                } @else {
                    p { a.button href=(SIGN_IN) { (language.pick("サインイン", "Sign in")) } }
                }
            }
            @if let Some(again) = again { (again) }
        };
        Page::new(title, body).status(self.status)
    }
}

impl Page {
    /// With the status of what went wrong, if something did.
    pub fn status_of(self, error: Option<&PageError>) -> Page {
        match error {
            Some(error) => self.status(error.status()),
            None => self,
        }
    }
}

impl From<BadForm> for PageError {
    fn from(bad: BadForm) -> PageError {
        PageError::bad_request("送信された内容を読み取れませんでした。", format!("Bad request: {bad}."))
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> PageError {
        let status = error.status();
        let (japanese, english) = match status {
            StatusCode::TOO_MANY_REQUESTS => (
                "回数が多すぎます。しばらく待ってから、もう一度お試しください。".to_owned(),
                "Too many attempts. Please wait a while and try again.".to_owned(),
            ),
            StatusCode::SERVICE_UNAVAILABLE => (
                "ただいま処理できません。しばらく待ってから、もう一度お試しください。".to_owned(),
                "The server cannot do this at the moment. Please try again in a while.".to_owned(),
            ),
            status if status.is_server_error() => {
                ("サーバーでエラーが起きました。".to_owned(), "An error occurred on the server.".to_owned())
            }
            _ => (
                format!("お受けできませんでした（{}）。", error.message()),
                format!("This was refused ({}).", error.message()),
            ),
        };
        PageError {
            status,
            japanese,
            english,
            cause: Some(error),
            needs_sign_in: false,
            can_be_sent_again: false,
        }
    }
}

impl From<account::Error> for PageError {
    fn from(error: account::Error) -> PageError {
        match error {
            account::Error::WrongCredentials => PageError::forbidden(
                "ユーザー名またはパスワードが違います。",
                "The user name or the password is wrong.",
            ),
            account::Error::Deactivated(_) => {
                PageError::forbidden("このアカウントは閉鎖されています。", "This account is closed.")
            }
            account::Error::Locked => {
                PageError::forbidden("このアカウントはロックされています。", "This account is locked.")
            }
            account::Error::EndedAtProvider => PageError::forbidden(
                "認証基盤でサインアウトされたため、このサインインは無効になりました。もう一度サインインしてください。",
                "You have signed out at the identity provider, so this sign-in is over. Please sign in once more.",
            ),
            account::Error::Factor(why) => {
                let (japanese, english) = web::refused_factor(why);
                PageError::forbidden(japanese, english)
            }
            account::Error::Stale => PageError::forbidden(
                "時間がたちすぎたか、アカウントの設定が変わりました。もう一度はじめからお試しください。",
                "This took too long, or the account has changed meanwhile. Please begin again.",
            ),
            account::Error::FactorNeeded { .. } => PageError::forbidden(
                "このアカウントには二要素認証が必要です。",
                "This account needs a second factor.",
            ),
            account::Error::FactorElsewhere => {
                let (japanese, english) = web::FACTOR_ELSEWHERE;
                PageError::forbidden(japanese, english)
            }
            account::Error::TooManyDevices { denial, .. } => {
                // Its two sentences stand in two lines.
                let (japanese, english) =
                    denial.public.split_once('\n').unwrap_or((&denial.public, &denial.public));
                PageError::forbidden(japanese, english)
            }
            other => ApiError::from(other).into(),
        }
    }
}
