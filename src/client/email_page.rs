//! The page that a mail's link leads to.
//!
//! It shows what is to be confirmed and asks for a press of a button: whoever looks through mails and opens what is in
//! them, as many programs do, confirms nothing.

use std::sync::Arc;

use account::{EmailPurpose, EmailSession, NotConfirmed};
use pages::{Form, Markup, Page, PageError, Visit, html};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::ClientApi;

const PATH: &str = "/_yakuba/client/email";

/// `GET /_yakuba/client/email`: what is to be confirmed.
pub(crate) async fn show(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let page = page(&api, &visit, &visit.query()?, None).await?;
        Ok(visit.page(page))
    };
    api.pages.answer(call, answer).await
}

/// `POST /_yakuba/client/email`: it is confirmed.
pub(crate) async fn confirm(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let form = visit.open_form()?;
        let page =
            match api.accounts.confirm_email(visit.authority(), form.get("sid"), form.get("word")).await? {
                Ok(EmailSession { next_link: Some(link), .. }) => return Ok(visit.redirect(&link)),
                Ok(session) => {
                    let text = visit.say("確認しました。", "The address is confirmed.");
                    Page::new(
                        title(&visit),
                        html! { p role="status" { (text) } p { (after(&visit, session.purpose)) } },
                    )
                }
                Err(NotConfirmed::Over) => over(&visit),
                Err(NotConfirmed::WrongWord) => {
                    let wrong = PageError::bad_request(
                        "コードが違います。もう一度入力してください。",
                        "The code is wrong. Please try again.",
                    );
                    page(&api, &visit, &form, Some(&wrong)).await?
                }
            };
        Ok(visit.page(page))
    };
    api.pages.answer(call, answer).await
}

async fn page(
    api: &ClientApi,
    visit: &Visit,
    fields: &Form,
    error: Option<&PageError>,
) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let sid = fields.get("sid");
    let session = api.accounts.find_email_session(visit.authority(), sid).await?;
    let Some(session) = session else { return Ok(over(visit)) };
    // A word that was wrong is typed again, and not sent again.
    let word = if error.is_some() { "" } else { fields.get("word") };
    let body = html! {
        (visit.problem(error))
        (asked(visit, session.purpose))
        form.card method="post" action=(PATH) {
            dl { dt { (say("メールアドレス", "E-mail address")) } dd.id { (session.email) } }
            input type="hidden" name="sid" value=(sid);
            label for="word" { (say("メールのコード", "Code of the mail")) }
            input.code id="word" name="word" value=(word) autocomplete="off" autocapitalize="characters"
                spellcheck="false" required;
            div.actions { button { (say("確認する", "Confirm")) } }
        }
        p.note { (say(
            "心当たりがなければ、この画面を閉じてください。何も変わりません。",
            "If you did not ask for this, close this page: nothing will change.",
        )) }
    };
    let again = format!("{PATH}?sid={}&word={}", Form::escape(sid), Form::escape(word));
    Ok(Page::new(title(visit), body).status_of(error).again_at(again))
}

fn title(visit: &Visit) -> &'static str {
    visit.say("メールアドレスの確認", "Confirm your address")
}

fn asked(visit: &Visit, purpose: EmailPurpose) -> Markup {
    let (is_grave, text) = match purpose {
        EmailPurpose::Register => (
            false,
            visit.say(
                "このメールアドレスでアカウントを登録します。",
                "An account will be registered with this address.",
            ),
        ),
        EmailPurpose::Add => (
            false,
            visit.say(
                "このメールアドレスを、申し込んだ人のアカウントに追加します。",
                "This address will be added to the account of whoever asked.",
            ),
        ),
        EmailPurpose::ResetPassword => (
            true,
            visit.say(
                "続けると、申し込んだ人がこのメールアドレスのアカウントの新しいパスワードを決めます。ご自身で申し込んだ場合だけ続けてください。",
                "If you go on, whoever asked chooses a new password for the account with this address. Go on only if that was you.",
            ),
        ),
    };
    html! { p.problem[is_grave] { (text) } }
}

fn after(visit: &Visit, purpose: EmailPurpose) -> &'static str {
    match purpose {
        EmailPurpose::Register | EmailPurpose::Add => visit
            .say("この画面を閉じて、アプリに戻ってください。", "Close this page and go back to your app."),
        EmailPurpose::ResetPassword => visit.say(
            "この画面を閉じて、アプリで新しいパスワードを設定してください。",
            "Close this page and choose the new password in your app.",
        ),
    }
}

/// C83: what a link says that was used, or is too old.
fn over(visit: &Visit) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        p.problem role="alert" { (say(
            "このリンクはすでに使われたか、有効期限（24時間）が過ぎています。",
            "This link was used already, or is older than 24 hours.",
        )) }
        p { (say(
            "確認が済んでいれば、何もする必要はありません。済んでいなければ、アプリからもう一度お申し込みください。",
            "If your address was confirmed, there is nothing to do. If not, please ask for another mail in your app.",
        )) }
    };
    Page::new(title(visit), body).status(StatusCode::NOT_FOUND)
}
