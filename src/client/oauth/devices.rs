//! The page where a user agrees that a device gets a session which has no browser.

use std::sync::Arc;

use ::oauth::DeviceRequest;
use pages::{Page, PageError, Visit, html};
use web::{ApiError, Open, RawCall, Response};

use super::{
    api::{LINK, OAuthApi, sign_in_first, told},
    consent::{room_for, somebody_else, too_many_devices, who_asks},
};

/// Asks for the code that the device shows, and then for consent. A code that comes with the path is not typed again.
pub(crate) async fn ask(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        api.base_url(visit.authority())?;
        let query = visit.query()?;
        let Some(browser) = visit.browser() else { return Ok(sign_in_first(&visit, visit.here(), None)) };
        let Some(code) = query.find("user_code") else { return Ok(visit.page(ask_for_code(&visit, None))) };
        match api.oauth.device_request(&browser.user_id, code).await {
            Ok(request) => match room_for(&api, browser, &request.scope.device_id).await? {
                Some(full) => Ok(too_many_devices(&visit, &full)),
                None => consent(&visit, &request),
            },
            Err(error) => {
                let error = unknown(error);
                match error.status().is_server_error() {
                    true => Err(error),
                    false => Ok(visit.page(ask_for_code(&visit, Some(&error)))),
                }
            }
        }
    };
    api.pages.answer(call, answer).await
}

/// Takes the user's answer.
pub(crate) async fn decide(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let form = visit.form()?;
        let browser = visit.signed_in()?;
        let user = &browser.user_id;
        let request = api.oauth.device_request(user, form.get("user_code")).await.map_err(unknown)?;
        let agrees = form.get("decision") == "agree";
        if agrees && let Some(full) = room_for(&api, browser, &request.scope.device_id).await? {
            return Ok(too_many_devices(&visit, &full));
        }
        api.oauth.decide(&request, browser, agrees).await.map_err(unknown)?;
        let (title, text) = match agrees {
            true => (
                visit.say("許可しました", "Allowed"),
                visit.say("端末の画面に戻ってください。", "Please go back to your device."),
            ),
            false => (
                visit.say("許可しませんでした", "Not allowed"),
                visit.say("この画面は閉じてかまいません。", "You can close this page."),
            ),
        };
        Ok(visit.page(Page::new(title, html! { p { (text) } })))
    };
    api.pages.answer(call, answer).await
}

fn unknown(error: ::oauth::Error) -> PageError {
    match error {
        ::oauth::Error::Refused { code: ::oauth::Code::InvalidScope, .. } => PageError::bad_request(
            "この端末は、別の方法ですでにサインインしています。端末でサインアウトしてから、もう一度つないでください。",
            "This device is signed in already, in another way. Please sign out on it and connect it again.",
        ),
        ::oauth::Error::Refused { .. } | ::oauth::Error::Contended => PageError::bad_request(
            "このコードを待っている端末はありません。コードを確かめて、もう一度入力してください。",
            "No device waits with this code. Please check it and type it again.",
        ),
        other => told(other),
    }
}

fn ask_for_code(visit: &Visit, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        @if let Some(error) = error {
            p.problem role="alert" { (error.text(visit.language())) }
        }
        form.card method="get" action=(LINK) {
            label for="user_code" { (say("端末に表示されているコード", "The code that your device shows")) }
            input.code id="user_code" name="user_code" required maxlength="20" autocomplete="off"
                autocapitalize="characters" spellcheck="false" placeholder="BCDF-GHJK";
            div.actions { button { (say("次へ", "Next")) } }
        }
    };
    let page = Page::new(say("端末をつなぐ", "Connect a device"), body);
    match error {
        Some(error) => page.status(error.status()),
        None => page,
    }
}

fn consent(visit: &Visit, request: &DeviceRequest) -> Result<Response, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        div.card {
            p { (say("端末に表示されているコード：", "The code that your device shows:")) }
            p.shown-code { strong { (request.user_code) } }
            @if let Some(from) = &request.from {
                p.note { (say("端末の接続元：", "The device is at ")) (from) }
            }
        }
        p.problem { (say(
            "あなた自身が今、手元の端末で始めた操作で、コードが一致する場合だけ許可してください。電話やメールで頼まれた場合は詐欺です。",
            "Allow this only if you started it yourself, just now, on a device before you that shows this code. If somebody asked you to, it is a fraud.",
        )) }
        (who_asks(visit, &request.client, None, request.scope.administers)?)
        form method="post" action=(LINK) {
            (visit.proof())
            input type="hidden" name="user_code" value=(request.user_code);
            div.actions {
                button name="decision" value="agree" { (say("許可する", "Allow")) }
                button.second name="decision" value="refuse" { (say("許可しない", "Do not allow")) }
            }
        }
        (somebody_else(visit))
    };
    Ok(visit.page(Page::new(say("端末をつなぐ", "Connect a device"), body)))
}
