//! What the pages of accounts have in common.

use pages::{Markup, PageError, Visit, html};

use super::api::ACCOUNT;

/// Where the page to choose another password is, from that of the account.
pub(super) const PASSWORD: &str = "?action=password";

/// Where the page of second factors is, from that of the account.
pub(super) const FACTORS: &str = "?action=factors";

/// What a form is shown with once more; our own errors are not.
pub(super) fn worth_another_try(error: ::account::Error) -> Result<PageError, PageError> {
    let error = match error {
        ::account::Error::WrongCredentials => {
            PageError::forbidden("パスワードが違います。", "The password is wrong.")
        }
        ::account::Error::Forbidden(_) => PageError::forbidden(
            "サインインし直して、5 分以内にもう一度お試しください。",
            "Please sign in again, and confirm this within five minutes.",
        ),
        other => other.into(),
    };
    if error.status().is_server_error() { Err(error) } else { Ok(error) }
}

/// Where the other parts are.
pub(super) fn others(visit: &Visit) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let parts = [
        ("", say("プロフィール", "Profile")),
        ("?action=org.matrix.devices_list", say("端末", "Devices")),
        (PASSWORD, say("パスワードの変更", "Change the password")),
        (FACTORS, say("二要素認証", "Second factors")),
        (
            "?action=org.matrix.cross_signing_reset",
            say("暗号化の本人確認のリセット", "Reset your encryption identity"),
        ),
        ("?action=org.matrix.account_deactivate", say("アカウントの閉鎖", "Close the account")),
    ];
    html! {
        nav aria-label=(say("アカウントのページ", "Pages of your account")) {
            ul.plain { @for (query, name) in parts { li { a href={ (ACCOUNT) (query) } { (name) } } } }
        }
    }
}
