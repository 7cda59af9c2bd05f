//! The page that a mail's link leads to.
//!
//! It shows what is to be confirmed and asks for a press of a button: whoever looks through mails and opens what is in
//! them, as many programs do, confirms nothing.

use std::sync::Arc;

use account::{EmailPurpose, EmailSession, NotConfirmed};
use maud::{Markup, html};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{
    ClientApi,
    html::{Fields, Page, both, problem, redirect, say},
};

const TITLE: (&str, &str) = ("メールアドレスの確認", "Confirm your address");

/// `GET /_yakuba/client/email`: what is to be confirmed.
pub(crate) async fn show(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let fields = Fields::of_query(&call)?;
    answer(&api, &call, &fields, None).await
}

/// `POST /_yakuba/client/email`: it is confirmed.
pub(crate) async fn confirm(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let fields = Fields::of_form(&call)?;
    let authority = call.face.server_name();
    match api.accounts.confirm_email(authority, fields.get("sid"), fields.get("word")).await? {
        Ok(EmailSession { next_link: Some(link), .. }) => redirect(&link),
        Ok(session) => {
            let body = html! {
                (say("確認しました。", "The address is confirmed."))
                (after(session.purpose))
            };
            Ok(Page::new(TITLE.0, TITLE.1, body).into_response(authority.as_str()))
        }
        Err(NotConfirmed::Over) => Ok(over(authority.as_str())),
        Err(NotConfirmed::WrongWord) => {
            let wrong = problem(
                "コードが違います。もう一度入力してください。",
                "The code is wrong. Please try again.",
            );
            answer(&api, &call, &fields, Some(wrong)).await
        }
    }
}

async fn answer(
    api: &ClientApi,
    call: &RawCall<Open>,
    fields: &Fields,
    wrong: Option<Markup>,
) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    let session = api.accounts.find_email_session(authority, fields.get("sid")).await?;
    let Some(session) = session else { return Ok(over(authority.as_str())) };
    let status = if wrong.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    // A word that was wrong is typed again, and not sent again.
    let word = if wrong.is_some() { "" } else { fields.get("word") };
    let body = html! {
        @if let Some(wrong) = wrong { (wrong) }
        p { code { (session.email) } }
        (asked(session.purpose))
        form method="post" action="/_yakuba/client/email" {
            input type="hidden" name="sid" value=(fields.get("sid"));
            label for="word" { (both("メールのコード", "Code of the mail")) }
            input id="word" name="word" value=(word) autocomplete="off" required;
            button { (both("確認する", "Confirm")) }
        }
        (say(
            "心当たりがなければ、この画面を閉じてください。何も変わりません。",
            "If you did not ask for this, close this page: nothing will change.",
        ))
    };
    Ok(Page::new(TITLE.0, TITLE.1, body).status(status).into_response(authority.as_str()))
}

fn asked(purpose: EmailPurpose) -> Markup {
    match purpose {
        EmailPurpose::Register => say(
            "このメールアドレスでアカウントを登録します。",
            "An account will be registered with this address.",
        ),
        EmailPurpose::Add => say(
            "このメールアドレスを、申し込んだ人のアカウントに追加します。",
            "This address will be added to the account of whoever asked.",
        ),
        EmailPurpose::ResetPassword => problem(
            "続けると、申し込んだ人がこのメールアドレスのアカウントの新しいパスワードを決めます。ご自身で申し込んだ場合だけ続けてください。",
            "If you go on, whoever asked chooses a new password for the account with this address. Go on only if that was you.",
        ),
    }
}

fn after(purpose: EmailPurpose) -> Markup {
    match purpose {
        EmailPurpose::Register | EmailPurpose::Add => {
            say("この画面を閉じて、アプリに戻ってください。", "Close this page and go back to your app.")
        }
        EmailPurpose::ResetPassword => say(
            "この画面を閉じて、アプリで新しいパスワードを設定してください。",
            "Close this page and choose the new password in your app.",
        ),
    }
}

/// C83: what a link says that was used, or is too old.
fn over(place: &str) -> Response {
    let body = html! {
        (problem(
            "このリンクはすでに使われたか、有効期限（24時間）が過ぎています。",
            "This link was used already, or is older than 24 hours.",
        ))
        (say(
            "確認が済んでいれば、何もする必要はありません。済んでいなければ、アプリからもう一度お申し込みください。",
            "If your address was confirmed, there is nothing to do. If not, please ask for another mail in your app.",
        ))
    };
    Page::new(TITLE.0, TITLE.1, body).status(StatusCode::NOT_FOUND).into_response(place)
}
