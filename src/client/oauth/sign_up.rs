//! The page where somebody makes an account, where the authority lets them.

use std::sync::Arc;

use ::account::{Asked, Error, Registration};
use pages::{Form, Page, PageError, Visit, html};
use ruma::api::client::uiaa::{AuthData, Dummy, RegistrationToken};
use serde_json::{Map, Value, json};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use super::api::{OAuthApi, SIGN_IN, SIGN_UP};

/// Asks for what an account needs.
pub(crate) async fn ask(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let query = visit.query()?;
        Ok(visit.page(form(&visit, kind(&api, &visit)?, visit.way_back(query.find("back")), "", None)))
    };
    api.pages.answer(call, answer).await
}

/// Makes the account and signs its user in.
pub(crate) async fn sign_up(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |mut visit: Visit| {
        let kind = kind(&api, &visit)?;
        let sent = visit.form()?;
        let (back, name) = (visit.way_back(sent.find("back")), sent.get("name").trim().to_owned());
        match make(&api, &visit, kind, &sent).await {
            Ok(secret) => {
                visit.begin(secret);
                Ok(visit.redirect(back))
            }
            Err(error) if error.status().is_server_error() => Err(error),
            Err(error) => Ok(visit.page(form(&visit, kind, back, &name, Some(&error)))),
        }
    };
    api.pages.answer(call, answer).await
}

fn kind(api: &OAuthApi, visit: &Visit) -> Result<Registration, PageError> {
    match api.accounts.settings(visit.authority()).registration {
        Registration::Closed => Err(PageError::from(Error::RegistrationClosed)),
        open => Ok(open),
    }
}

async fn make(
    api: &OAuthApi,
    visit: &Visit,
    kind: Registration,
    sent: &Form,
) -> Result<::account::BrowserSecret, PageError> {
    let password = sent.get("password");
    if password != sent.get("again") {
        return Err(PageError::bad_request("二つのパスワードが一致しません。", "The two passwords differ."));
    }
    let mut request: Map<String, Value> = Map::new();
    request.insert("username".to_owned(), json!(sent.get("name").trim()));
    request.insert("password".to_owned(), json!(password));
    request.insert("inhibit_login".to_owned(), json!(true));
    let auth = match kind {
        Registration::Token => {
            AuthData::RegistrationToken(RegistrationToken::new(sent.get("token").to_owned()))
        }
        Registration::Open | Registration::Closed => AuthData::Dummy(Dummy::new()),
    };
    let (from, agent) = (visit.address(), visit.call.user_agent());
    let asked = Asked { auth: Some(auth), session: None, request, from, agent: agent.clone() };
    let made = api.accounts.register(visit.authority(), asked).await.map_err(told)?;
    Ok(api.accounts.begin_browser(&made.user_id, "registration", from, agent.as_deref()).await?)
}

fn told(error: Error) -> PageError {
    let refused = |japanese: &str, english: &str| PageError::bad_request(japanese, english);
    match error {
        Error::UserInUse => refused("そのユーザー名は使われています。", "This user name is taken."),
        Error::InvalidUsername(_) => refused(
            "ユーザー名には a-z、0-9、. _ = - / + だけが使えます。",
            "User names are made of a-z, 0-9 and . _ = - / +.",
        ),
        Error::WeakPassword(_) => {
            refused("パスワードが短すぎるか、長すぎます。", "The password is too short or too long.")
        }
        Error::Interactive(info) if info.auth_error.is_some() => {
            refused("登録トークンが正しくありません。", "The registration token is not valid.")
        }
        Error::Interactive(_) => refused(
            "このサーバーでは、この画面からアカウントを作れません。クライアントから登録してください。",
            "This server asks for more than this page can; please register with a client.",
        ),
        other => other.into(),
    }
}

fn form(visit: &Visit, kind: Registration, back: &str, name: &str, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        @if let Some(error) = error {
            p.problem role="alert" { (error.text(visit.language())) }
        }
        form.card method="post" action=(SIGN_UP) {
            (visit.proof())
            input type="hidden" name="back" value=(back);
            label for="name" { (say("ユーザー名", "User name")) }
            input id="name" name="name" value=(name) autocomplete="username" autocapitalize="none"
                spellcheck="false" required maxlength="255" aria-describedby="name-rule";
            small id="name-rule" { "a-z 0-9 . _ = - / +" }
            label for="password" { (say("パスワード", "Password")) }
            input id="password" name="password" type="password" autocomplete="new-password" required
                maxlength="1024";
            label for="again" { (say("パスワード（もう一度）", "Password, once more")) }
            input id="again" name="again" type="password" autocomplete="new-password" required maxlength="1024";
            @if kind == Registration::Token {
                label for="token" { (say("登録トークン", "Registration token")) }
                input id="token" name="token" required maxlength="255" autocomplete="off";
            }
            div.actions { button { (say("アカウントを作る", "Make the account")) } }
        }
        p { a href=(format!("{SIGN_IN}?back={}", Form::escape(back))) {
            (say("アカウントをお持ちの方はサインイン", "I have an account"))
        } }
    };
    let status = error.map_or(StatusCode::OK, PageError::status);
    Page::new(say("アカウントを作る", "Make an account"), body).status(status)
}
