//! The page where somebody signs in with a password.

use std::sync::Arc;

use ::account::Credentials;
use pages::{Form, Page, PageError, Visit, html};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use super::{
    api::{OAuthApi, SIGN_IN, SIGN_UP},
    upstream::by_provider,
};
use crate::{
    passkeys::{self, SCRIPT, in_browser, party},
    second_step::{SECOND_STEP, arrive},
};

/// Asks for name and password.
pub(crate) async fn ask(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let query = visit.query()?;
        let back = visit.way_back(query.find("back"));
        Ok(visit.page(form(&api, &visit, back, query.get("hint"), None)))
    };
    api.pages.answer(call, answer).await
}

/// Takes them.
pub(crate) async fn sign_in(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let form = visit.form()?;
        let name = form.get("name").trim().to_owned();
        let credentials =
            Credentials::NameAndPassword { name: name.clone(), password: form.get("password").to_owned() };
        let agent = visit.call.user_agent();
        let browser = in_browser(&visit, agent.as_deref());
        let done = api.accounts.sign_in_browser(visit.authority(), &credentials, &browser).await;
        let back = visit.way_back(form.find("back")).to_owned();
        match done {
            Ok(signed_in) => arrive(&api.pages, visit, signed_in, &back).await,
            Err(error) => {
                let error = match error {
                    // No user can have this name.
                    ::account::Error::InvalidParam(_) => ::account::Error::WrongCredentials,
                    error => error,
                };
                let error = PageError::from(error);
                if error.status().is_server_error() {
                    return Err(error);
                }
                Ok(visit.page(self::form(&api, &visit, &back, &name, Some(&error))))
            }
        }
    };
    api.pages.answer(call, answer).await
}

fn form(api: &OAuthApi, visit: &Visit, back: &str, name: &str, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let is_open = api.lets_register(visit.authority());
    let by_password = api.accounts.settings(visit.authority()).passwords;
    let browser = in_browser(visit, None);
    let by_passkey = party(&api.pages, visit.authority()).filter(|_| by_password).and_then(|party| {
        let (challenge, ticket) = api.accounts.begin_with_passkey(visit.authority(), &browser).ok()?;
        Some(passkeys::alone(visit, (&party, &challenge, &ticket), (SECOND_STEP, back)))
    });
    let body = html! {
        @if let Some(error) = error {
            p.problem role="alert" { (error.text(visit.language())) }
        }
        @if let Some(settings) = api.upstream.settings(visit.authority()) {
            (by_provider(visit, &settings.label, back))
        }
        @if by_password { form.card method="post" action=(SIGN_IN) {
            (visit.proof())
            input type="hidden" name="back" value=(back);
            label for="name" { (say("ユーザー名", "User name")) }
            input id="name" name="name" value=(name) autocomplete="username" autocapitalize="none"
                spellcheck="false" required maxlength="255";
            label for="password" { (say("パスワード", "Password")) }
            input id="password" name="password" type="password" autocomplete="current-password" required
                maxlength="1024";
            div.actions { button { (say("サインイン", "Sign in")) } }
        } }
        @if let Some(form) = by_passkey { (form) }
        @if is_open {
            p { a href=(format!("{SIGN_UP}?back={}", Form::escape(back))) {
                (say("アカウントを作る", "Make an account"))
            } }
        }
    };
    let status = error.map_or(StatusCode::OK, PageError::status);
    Page::new(say("サインイン", "Sign in"), body).status(status).script(SCRIPT)
}
