//! Steps of user-interactive authentication as pages, for clients that do not know them.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#fallback>

use std::sync::Arc;

use account::{AuthStage, StageOutcome, StageProof};
use maud::{Markup, html};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{
    ClientApi,
    confirms::deed,
    html::{Fields, Page, both, problem, say},
};

const TITLE: (&str, &str) = ("本人確認", "Authentication");

/// Tells the client that opened the page that it may go on, as the specification writes it.
const DONE: &str = "if (window.onAuthDone) { window.onAuthDone(); } \
                    else if (window.opener && window.opener.postMessage) { window.opener.postMessage(\"authDone\", \"*\"); }";

/// A visit to the page of a step.
struct Visit<'a> {
    place: &'a str,
    stage: AuthStage,
    session: &'a str,
}

/// `GET /_matrix/client/v3/auth/{authType}/fallback/web`: the page of a step.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#fallback>
pub(crate) async fn show(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let fields = Fields::of_query(&call)?;
    let visit = match visit(&api, &call, fields.get("session")).await? {
        Ok(visit) => visit,
        Err(page) => return Ok(page),
    };
    Ok(visit.page(visit.form(&api, &call, None), None))
}

/// `POST /_matrix/client/v3/auth/{authType}/fallback/web`: what was shown there.
pub(crate) async fn submit(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let fields = Fields::of_form(&call)?;
    let visit = match visit(&api, &call, fields.get("session")).await? {
        Ok(visit) => visit,
        Err(page) => return Ok(page),
    };
    let authority = call.face.server_name();
    let proof = match visit.stage {
        AuthStage::Dummy => StageProof::Dummy,
        AuthStage::Terms => StageProof::Terms,
        AuthStage::RegistrationToken => StageProof::RegistrationToken(fields.get("token")),
        AuthStage::Password => {
            StageProof::Password { name: fields.get("name"), password: fields.get("password") }
        }
        AuthStage::Email if fields.get("sid").is_empty() => {
            let sent =
                api.accounts.mail_for_stage(authority, visit.session, fields.get("email"), call.address);
            return match sent.await {
                Ok(Some(sid)) => Ok(visit.page(visit.form(&api, &call, Some(&sid)), None)),
                Ok(None) => Ok(over(visit.place)),
                Err(error) => {
                    let refused = visit.refused(error)?;
                    Ok(visit.page(visit.form(&api, &call, None), Some(refused)))
                }
            };
        }
        AuthStage::Email => StageProof::Word { sid: fields.get("sid"), word: fields.get("word") },
    };
    let sid = Some(fields.get("sid")).filter(|sid| !sid.is_empty());
    match api.accounts.show_stage(authority, visit.session, proof, call.address).await {
        Ok(StageOutcome::Done) => Ok(visit.done()),
        Ok(StageOutcome::Over) => Ok(over(visit.place)),
        Ok(StageOutcome::Wrong) => {
            let wrong = problem("違います。もう一度お試しください。", "That is not right. Please try again.");
            Ok(visit.page(visit.form(&api, &call, sid), Some((StatusCode::FORBIDDEN, wrong))))
        }
        Err(error) => {
            let refused = visit.refused(error)?;
            Ok(visit.page(visit.form(&api, &call, sid), Some(refused)))
        }
    }
}

async fn visit<'a>(
    api: &ClientApi,
    call: &'a RawCall<Open>,
    session: &'a str,
) -> Result<Result<Visit<'a>, Response>, ApiError> {
    let place = call.face.server_name().as_str();
    let named: String = call.args.get(0)?;
    let Some(stage) = AuthStage::of_name(&named) else {
        return Err(ApiError::not_found("There is no page for this kind of authentication"));
    };
    if session.is_empty() {
        return Err(ApiError::missing_param("`session` is missing"));
    }
    if !api.accounts.may_show_stage(call.face.server_name(), session, stage).await? {
        return Ok(Err(over(place)));
    }
    Ok(Ok(Visit { place, stage, session }))
}

impl Visit<'_> {
    /// The form of the step; `sid` is there once a mail was sent.
    fn form(&self, api: &ClientApi, call: &RawCall<Open>, sid: Option<&str>) -> Markup {
        let authority = call.face.server_name();
        html! {
            form method="post" action={ "/_matrix/client/v3/auth/" (self.stage.name()) "/fallback/web" } {
                input type="hidden" name="session" value=(self.session);
                @match self.stage {
                    AuthStage::Dummy => (say("「続ける」を押してください。", "Please press the button.")),
                    AuthStage::Password => {
                        @let (japanese, english) = deed(self.session);
                        p { strong id="deed" { (both(japanese, english)) } }
                        label for="name" { (both("ユーザー名", "User name")) }
                        input id="name" name="name" autocomplete="username" required;
                        label for="password" { (both("パスワード", "Password")) }
                        input id="password" name="password" type="password" autocomplete="current-password" required;
                    }
                    AuthStage::RegistrationToken => {
                        label for="token" { (both("登録トークン", "Registration token")) }
                        input id="token" name="token" autocomplete="off" required;
                    }
                    AuthStage::Terms => {
                        (say("次の文書をお読みください。続けると、同意したことになります。",
                            "Please read these documents. If you go on, you accept them."))
                        ul { @for terms in api.accounts.terms(authority) { @for text in &terms.texts {
                            li { a href=(text.url) lang=(text.language) rel="noreferrer" target="_blank" { (text.name) }
                                " (" (terms.version) ")" }
                        } } }
                    }
                    AuthStage::Email => { @match sid {
                        None => {
                            label for="email" { (both("メールアドレス", "E-mail address")) }
                            input id="email" name="email" type="email" autocomplete="email" required;
                        }
                        Some(sid) => {
                            (say("メールを送りました。届いたコードを入力してください。",
                                "A mail was sent. Please enter the code that it tells."))
                            input type="hidden" name="sid" value=(sid);
                            label for="word" { (both("メールのコード", "Code of the mail")) }
                            input id="word" name="word" autocomplete="one-time-code" required;
                        }
                    } }
                }
                button { (both("続ける", "Go on")) }
            }
            @if sid.is_some() {
                p { a href={ "/_matrix/client/v3/auth/" (self.stage.name()) "/fallback/web?session=" (escaped(self.session)) } {
                    (both("別のアドレスを使う、またはもう一度送る", "Use another address, or send it again"))
                } }
            }
        }
    }

    fn page(&self, form: Markup, wrong: Option<(StatusCode, Markup)>) -> Response {
        let (status, wrong) = wrong.unzip();
        let body = html! { @if let Some(wrong) = wrong { (wrong) } (form) };
        let page = Page::new(TITLE.0, TITLE.1, body).status(status.unwrap_or(StatusCode::OK));
        page.into_response(self.place)
    }

    fn done(&self) -> Response {
        let body = say(
            "確認しました。この画面を閉じて、アプリに戻ってください。",
            "Done. Close this page and go back to your app.",
        );
        Page::new(TITLE.0, TITLE.1, body).script(DONE).into_response(self.place)
    }

    /// What the page says of an error that another attempt may not meet.
    ///
    /// # Errors
    /// One of ours.
    fn refused(&self, error: account::Error) -> Result<(StatusCode, Markup), ApiError> {
        let error = ApiError::from(error);
        let status = error.status();
        match status {
            StatusCode::TOO_MANY_REQUESTS => Ok((
                status,
                problem(
                    "回数が多すぎます。しばらく待ってから、もう一度お試しください。",
                    "Too many attempts. Please wait a while and try again.",
                ),
            )),
            status if status.is_server_error() => Err(error),
            status => {
                Ok((status, problem("お受けできませんでした。もう一度お試しください。", error.message())))
            }
        }
    }
}

fn escaped(value: &str) -> String {
    let pair = ruma::exports::serde_html_form::to_string([("", value)]).unwrap_or_default();
    pair.trim_start_matches('=').to_owned()
}

/// What a page says whose session is over.
fn over(place: &str) -> Response {
    let body = problem(
        "この手続きは終わっているか、有効期限が過ぎています。アプリからもう一度始めてください。",
        "This is over already, or too old. Please begin again in your app.",
    );
    Page::new(TITLE.0, TITLE.1, body).status(StatusCode::NOT_FOUND).into_response(place)
}
