//! Steps of user-interactive authentication as pages, for clients that do not know them.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#fallback>

use std::sync::Arc;

use account::{AuthStage, StageOutcome, StageProof, Terms};
use pages::{Form, Markup, Page, PageError, Visit, html};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{ClientApi, confirms::deed};

/// Tells the client that opened the page that it may go on, as the specification writes it.
const DONE: &str = "if (window.onAuthDone) { window.onAuthDone(); } \
                    else if (window.opener && window.opener.postMessage) { window.opener.postMessage(\"authDone\", \"*\"); }";

/// A step of a session.
struct Step<'a> {
    stage: AuthStage,
    session: &'a str,
}

/// `GET /_matrix/client/v3/auth/{authType}/fallback/web`: the page of a step.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#fallback>
pub(crate) async fn show(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        if let Some(page) = leading_on(&api, &visit)? {
            return Ok(visit.page(page));
        }
        let query = visit.query()?;
        let Some(step) = step(&api, &visit, &query).await? else { return Ok(visit.page(over(&visit))) };
        Ok(visit.page(step.page(&api, &visit, None, None)))
    };
    api.pages.answer(call, answer).await
}

/// `POST /_matrix/client/v3/auth/{authType}/fallback/web`: what was shown there.
pub(crate) async fn submit(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        if let Some(page) = leading_on(&api, &visit)? {
            return Ok(visit.page(page));
        }
        let form = visit.open_form()?;
        let page = match step(&api, &visit, &form).await? {
            Some(step) => step.take(&api, &visit, &form).await?,
            None => over(&visit),
        };
        Ok(visit.page(page))
    };
    api.pages.answer(call, answer).await
}

/// The page of a step that is gone through on the page for one's account, whatever session it belongs to: it leads there.
fn leading_on(api: &ClientApi, visit: &Visit) -> Result<Option<Page>, PageError> {
    let named: String = visit.call.args.get(0)?;
    let Some(to) = api.accounts.page_of_stage(visit.authority(), &named) else { return Ok(None) };
    let text = visit.say(
        "この確認は、アカウントのページで行います。許可したあと、アプリに戻って続けてください。",
        "This is confirmed on the page for your account. Once you have agreed there, go back to your app.",
    );
    let body = html! {
        p { (text) }
        p { a href=(to) { (visit.say("アカウントのページを開く", "Open the page for your account")) } }
    };
    Ok(Some(Page::new(title(visit), body)))
}

/// The step that a visit is about; nothing where its session is over.
async fn step<'a>(api: &ClientApi, visit: &Visit, fields: &'a Form) -> Result<Option<Step<'a>>, PageError> {
    let named: String = visit.call.args.get(0)?;
    let stage = AuthStage::of_name(&named).ok_or_else(PageError::not_found)?;
    let session = fields.find("session").ok_or_else(|| {
        PageError::bad_request("セッションの指定がありません。", "The address names no session.")
    })?;
    let may = api.accounts.may_show_stage(visit.authority(), session, stage).await?;
    Ok(may.then_some(Step { stage, session }))
}

impl Step<'_> {
    /// Takes what was shown.
    async fn take(&self, api: &ClientApi, visit: &Visit, form: &Form) -> Result<Page, PageError> {
        let (authority, from) = (visit.authority(), visit.address());
        let sid = form.find("sid");
        let proof = match (self.stage, sid) {
            (AuthStage::Dummy, _) => StageProof::Dummy,
            (AuthStage::Terms, _) => StageProof::Terms,
            (AuthStage::RegistrationToken, _) => StageProof::RegistrationToken(form.get("token")),
            (AuthStage::Password, _) => {
                StageProof::Password { name: form.get("name"), password: form.get("password") }
            }
            (AuthStage::Email, None) => {
                let email = form.get("email");
                return match api.accounts.mail_for_stage(authority, self.session, email, from).await {
                    Ok(Some(sid)) => Ok(self.page(api, visit, Some(&sid), None)),
                    Ok(None) => Ok(over(visit)),
                    Err(error) => Ok(self.page(api, visit, None, Some(&worth_another_try(error)?))),
                };
            }
            (AuthStage::Email, Some(sid)) => StageProof::Word { sid, word: form.get("word") },
        };
        match api.accounts.show_stage(authority, self.session, proof, from).await {
            Ok(StageOutcome::Done) => Ok(done(visit)),
            Ok(StageOutcome::Over) => Ok(over(visit)),
            Ok(StageOutcome::Wrong) => {
                let wrong = PageError::forbidden(
                    "違います。もう一度お試しください。",
                    "That is not right. Please try again.",
                );
                Ok(self.page(api, visit, sid, Some(&wrong)))
            }
            Err(error) => Ok(self.page(api, visit, sid, Some(&worth_another_try(error)?))),
        }
    }

    /// The page of the step; `sid` is there once a mail was sent.
    fn page(&self, api: &ClientApi, visit: &Visit, sid: Option<&str>, error: Option<&PageError>) -> Page {
        let here = format!("/_matrix/client/v3/auth/{}/fallback/web", self.stage.name());
        let begin = format!("{here}?session={}", Form::escape(self.session));
        let body = html! {
            (visit.problem(error))
            form.card method="post" action=(here) {
                input type="hidden" name="session" value=(self.session);
                (self.fields(api, visit, sid))
                div.actions { button { (visit.say("続ける", "Go on")) } }
            }
            @if sid.is_some() {
                p { a href=(begin) {
                    (visit.say("別のアドレスを使う、またはもう一度送る", "Use another address, or send it again"))
                } }
            }
        };
        Page::new(title(visit), body).status_of(error).again_at(begin)
    }

    fn fields(&self, api: &ClientApi, visit: &Visit, sid: Option<&str>) -> Markup {
        let say = |japanese, english| visit.say(japanese, english);
        html! { @match (self.stage, sid) {
            (AuthStage::Dummy, _) => {
                p { (say("「続ける」を押してください。", "Please press the button.")) }
            }
            (AuthStage::Password, _) => {
                @let (japanese, english) = deed(self.session);
                p { (say("確認する操作：", "This confirms: ")) strong id="deed" { (say(japanese, english)) } }
                (name_and_password(visit))
            }
            (AuthStage::RegistrationToken, _) => {
                label for="token" { (say("登録トークン", "Registration token")) }
                input id="token" name="token" autocomplete="off" autocapitalize="none" spellcheck="false" required;
            }
            (AuthStage::Terms, _) => {
                p { (say("次の文書をお読みください。続けると、同意したことになります。",
                    "Please read these documents. If you go on, you accept them.")) }
                (documents(visit, api.accounts.terms(visit.authority())))
            }
            (AuthStage::Email, None) => {
                label for="email" { (say("メールアドレス", "E-mail address")) }
                input id="email" name="email" type="email" autocomplete="email" required;
            }
            (AuthStage::Email, Some(sid)) => {
                p { (say("メールを送りました。届いたコードを入力してください。",
                    "A mail was sent. Please enter the code that it tells.")) }
                input type="hidden" name="sid" value=(sid);
                label for="word" { (say("メールのコード", "Code of the mail")) }
                input.code id="word" name="word" autocomplete="one-time-code" autocapitalize="characters"
                    spellcheck="false" required;
            }
        } }
    }
}

/// The fields of whoever signs in.
pub(crate) fn name_and_password(visit: &Visit) -> Markup {
    html! {
        label for="name" { (visit.say("ユーザー名", "User name")) }
        input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required
            maxlength="255";
        label for="password" { (visit.say("パスワード", "Password")) }
        input id="password" name="password" type="password" autocomplete="current-password" required
            maxlength="1024";
    }
}

/// Links to an authority's documents: each in the language of the page, or in all that it is in.
pub(crate) fn documents(visit: &Visit, terms: &[Terms]) -> Markup {
    let code = visit.language().code();
    html! {
        ul { @for document in terms {
            @let has_own = document.texts.iter().any(|text| text.language == code);
            @for text in document.texts.iter().filter(|text| !has_own || text.language == code) {
                li { a href=(text.url) lang=(text.language) rel="noopener noreferrer" target="_blank" { (text.name) }
                    " (" (document.version) ")" }
            }
        } }
    }
}

fn title(visit: &Visit) -> &'static str {
    visit.say("本人確認", "Authentication")
}

/// What a form is shown with once more; our own errors are not.
fn worth_another_try(error: account::Error) -> Result<PageError, PageError> {
    let error = PageError::from(error);
    if error.status().is_server_error() { Err(error) } else { Ok(error) }
}

fn done(visit: &Visit) -> Page {
    let text = visit.say(
        "確認しました。この画面を閉じて、アプリに戻ってください。",
        "Done. Close this page and go back to your app.",
    );
    Page::new(title(visit), html! { p role="status" { (text) } }).script(DONE)
}

/// What a page says whose session is over.
fn over(visit: &Visit) -> Page {
    let text = visit.say(
        "この手続きは終わっているか、有効期限が過ぎています。アプリからもう一度始めてください。",
        "This is over already, or too old. Please begin again in your app.",
    );
    Page::new(title(visit), html! { p.problem role="alert" { (text) } }).status(StatusCode::NOT_FOUND)
}
