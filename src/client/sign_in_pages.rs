//! Signing in on a page: for an app that is handed a login token (SSO), and for one that knows no way to log in.
//!
//! Neither page remembers anybody. Name and password are sent with the form, so another site's form gets nobody in who
//! could not get in there himself.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#sso-client-loginauthentication>,
//! <https://spec.matrix.org/v1.19/client-server-api/#login-fallback>

use std::sync::Arc;

use account::{Credentials, LogIn};
use pages::{Form, Page, PageError, Visit, html};
use web::{ApiError, HeaderMap, Open, RawCall, Response, header};

use crate::{
    ClientApi, fallback::name_and_password, for_app::for_app, login::SessionAnswer, passkeys::in_browser,
    second_step::step,
};

/// The one provider of this way: the authority itself, by password.
const PROVIDER: &str = "password";

const REDIRECT: &str = "/_matrix/client/v3/login/sso/redirect";
const LOGIN_PAGE: &str = "/_matrix/static/client/login/";

/// Longest URI that a browser is led back to, in bytes.
const LONGEST_URI: usize = 2_048;

/// Schemes that make a browser run or show something instead of going to an app.
const NO_APPS: [&str; 8] =
    ["javascript", "data", "vbscript", "file", "about", "blob", "filesystem", "view-source"];

/// Hands the session to the app that opened the page, as the specification writes it.
const HAND_OVER: &str = "var session = JSON.parse(document.getElementById(\"session\").dataset.session); \
                         if (window.matrixLogin && window.matrixLogin.onLogin) { window.matrixLogin.onLogin(session); } \
                         else if (window.onLogin) { window.onLogin(session); }";

/// A URI of an app, to which a login token is brought.
pub(crate) struct Target {
    pub(crate) uri: String,
    /// How the page names it: the host, or the scheme of an app on this machine.
    pub(crate) shown: String,
}

impl Target {
    /// A URI that a client has given.
    pub(crate) fn of(uri: &str) -> Result<Target, ApiError> {
        let bad = || ApiError::invalid_param("`redirectUrl` is no URL that an app can be reached by");
        if uri.is_empty() {
            return Err(ApiError::missing_param("`redirectUrl` is missing"));
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte);
        if uri.len() > LONGEST_URI || !uri.bytes().all(is_plain) {
            return Err(bad());
        }
        let (scheme, rest) = uri.split_once(':').ok_or_else(bad)?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme || NO_APPS.contains(&scheme.as_str()) {
            return Err(bad());
        }
        if !matches!(scheme.as_str(), "http" | "https") {
            return Ok(Target { uri: uri.to_owned(), shown: format!("{scheme}:") });
        }
        let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
        let authority = authority.filter(|authority| !authority.is_empty()).ok_or_else(bad)?;
        // `https://city.example.jp@evil.example/` looks like another host; what is in brackets no policy can name.
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if !authority.bytes().all(is_host) {
            return Err(bad());
        }
        Ok(Target { uri: uri.to_owned(), shown: format!("{scheme}://{authority}") })
    }

    /// The URI with a login token, and with no other.
    pub(crate) fn with_token(&self, token: &str) -> String {
        let (before, fragment) = match self.uri.split_once('#') {
            Some((before, fragment)) => (before, format!("#{fragment}")),
            None => (self.uri.as_str(), String::new()),
        };
        let (path, query) = before.split_once('?').unwrap_or((before, ""));
        let kept = query.split('&').filter(|pair| {
            !pair.is_empty() && pair.split('=').next().is_some_and(|name| name != "loginToken")
        });
        let query: Vec<&str> = kept.collect();
        let joined = if query.is_empty() { String::new() } else { format!("{}&", query.join("&")) };
        format!("{path}?{joined}loginToken={token}{fragment}")
    }
}

/// `GET /_matrix/client/v3/login/sso/redirect`: the page on which somebody signs in for an app.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3loginssoredirect>
pub(crate) async fn show_sso(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        must_be_offered(&api, &visit)?;
        let target = Target::of(visit.query()?.get("redirectUrl"))?;
        if api.config.providers.contains(visit.authority()) {
            // There people sign in to our pages first, at the provider or with a password.
            return Ok(visit.redirect(&for_app(&target.uri)));
        }
        Ok(visit.page(sso_page(&visit, &target, None)))
    };
    api.pages.answer(call, answer).await
}

/// `GET /_matrix/client/v3/login/sso/redirect/{idpId}`: the same by one provider.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3loginssoredirectidpid>
pub(crate) async fn show_sso_of(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    if call.args.get::<String>(0)? == PROVIDER {
        return show_sso(api, call).await;
    }
    // A browser is shown a page; what is no browser reads no page.
    if !is_browser(&call.parts.headers) {
        return Err(ApiError::not_found("no such identity provider"));
    }
    api.pages.answer(call, async |_visit| Err(PageError::not_found())).await
}

fn is_browser(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// An authority that does not offer the page has none: it gives a session to whatever the URI names.
fn must_be_offered(api: &ClientApi, visit: &Visit) -> Result<(), PageError> {
    let authority = visit.authority();
    match api.config.sign_in_pages.contains(authority) || api.config.providers.contains(authority) {
        true => Ok(()),
        false => Err(PageError::not_found()),
    }
}

/// `POST /_matrix/client/v3/login/sso/redirect`: somebody signs in; the app gets a login token.
pub(crate) async fn sign_in_for_app(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        must_be_offered(&api, &visit)?;
        if api.config.providers.contains(visit.authority()) {
            return Err(PageError::not_found());
        }
        let form = visit.open_form()?;
        let target = Target::of(form.get("redirectUrl"))?;
        let (shown, agent) = (credentials(&form), visit.call.user_agent());
        let browser = in_browser(&visit, agent.as_deref());
        match api.accounts.sign_in_for_token(visit.authority(), &shown, &browser).await {
            Ok(Ok(token)) => Ok(visit.redirect(&target.with_token(&token.token))),
            // From there he comes to the page that gives whoever is signed in a token for this app.
            Ok(Err(unfinished)) => {
                let back = for_app(&target.uri);
                Ok(visit.page(step(&api.pages, &visit, &unfinished, &back, None)))
            }
            Err(error) => Ok(visit.page(sso_page(&visit, &target, Some(&refused(error)?)))),
        }
    };
    api.pages.answer(call, answer).await
}

/// `GET /_matrix/static/client/login/`: the page on which somebody logs in whose app knows no other way.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#login-fallback>
pub(crate) async fn show_login(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| Ok(visit.page(login_page(&visit, &visit.query()?, None)));
    api.pages.answer(call, answer).await
}

/// `POST /_matrix/static/client/login/`: somebody logs in; the page hands the session to the app.
pub(crate) async fn log_in(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let form = visit.open_form()?;
        let request = LogIn {
            credentials: credentials(&form),
            device_id: form.find("device_id").map(Into::into),
            device_name: form.find("initial_device_display_name").map(str::to_owned),
            refresh: form.get("refresh_token") == "true",
            from: visit.address(),
            agent: visit.call.user_agent(),
        };
        let page = match api.accounts.log_in(visit.authority(), request).await {
            Ok((user_id, device_id, tokens)) => {
                let session = serde_json::to_string(&SessionAnswer::new(&user_id, &device_id, &tokens));
                let session = session.map_err(ApiError::internal)?;
                let text = visit.say(
                    "サインインしました。この画面を閉じて、アプリに戻ってください。",
                    "You are signed in. Close this page and go back to your app.",
                );
                let body = html! {
                    p role="status" { (text) }
                    div id="session" data-session=(session) {}
                };
                Page::new(title(&visit), body).script(HAND_OVER).again_at(LOGIN_PAGE.to_owned())
            }
            Err(error) => login_page(&visit, &form, Some(&refused(error)?)),
        };
        Ok(visit.page(page))
    };
    api.pages.answer(call, answer).await
}

fn credentials(form: &Form) -> Credentials {
    Credentials::NameAndPassword {
        name: form.get("name").to_owned(),
        password: form.get("password").to_owned(),
    }
}

fn title(visit: &Visit) -> &'static str {
    visit.say("サインイン", "Sign in")
}

fn sso_page(visit: &Visit, target: &Target, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        p { (say("サインインすると、次のアプリがあなたとして使えるようになります。", "If you sign in, this app may act as you:")) }
        p { code { (target.shown) } }
        form.card method="post" action=(REDIRECT) {
            input type="hidden" name="redirectUrl" value=(target.uri);
            (name_and_password(visit))
            div.actions { button { (title(visit)) } }
        }
        p.note { (say("このアプリに心当たりがなければ、入力せずに画面を閉じてください。", "If you do not know this app, close this page.")) }
    };
    let again = format!("{REDIRECT}?redirectUrl={}", Form::escape(&target.uri));
    Page::new(title(visit), body).status_of(error).form_ends_at(&target.shown).again_at(again)
}

/// What the app asks of the session, which goes along with the form.
const WISHES: [&str; 3] = ["device_id", "initial_device_display_name", "refresh_token"];

fn login_page(visit: &Visit, fields: &Form, error: Option<&PageError>) -> Page {
    let wishes: Vec<(&str, &str)> =
        WISHES.iter().filter_map(|name| Some((*name, fields.find(name)?))).collect();
    let body = html! {
        (visit.problem(error))
        form.card method="post" action=(LOGIN_PAGE) {
            @for (name, value) in &wishes { input type="hidden" name=(name) value=(value); }
            (name_and_password(visit))
            div.actions { button { (title(visit)) } }
        }
    };
    let query: Vec<String> =
        wishes.iter().map(|(name, value)| format!("{name}={}", Form::escape(value))).collect();
    let again = format!("{LOGIN_PAGE}?{}", query.join("&"));
    Page::new(title(visit), body).status_of(error).again_at(again)
}

/// What the page says of an error that another attempt may not meet; our own errors are not shown beside a form.
fn refused(error: account::Error) -> Result<PageError, PageError> {
    let error = match error {
        // No user can have this name.
        account::Error::InvalidParam(_) | account::Error::NotFound(_) => account::Error::WrongCredentials,
        error => error,
    };
    let error = PageError::from(error);
    if error.status().is_server_error() { Err(error) } else { Ok(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Option<Target> {
        Target::of(uri).ok()
    }

    #[test]
    fn apps_are_named_so_that_none_is_taken_for_another() {
        for (uri, shown) in [
            ("https://app.example.jp/#/login", "https://app.example.jp"),
            ("http://localhost:8080/x?y=z", "http://localhost:8080"),
            ("element://vector/webapp/?a=b", "element:"),
            ("io.element.app:/callback", "io.element.app:"),
        ] {
            assert_eq!(target(uri).map(|target| target.shown).as_deref(), Some(shown), "{uri}");
        }
        let long = format!("https://a.example/{}", "x".repeat(2_048));
        for uri in [
            "",
            "app.example.jp",
            "//app.example.jp",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "https://",
            "https:///x",
            "https://city.example.jp@evil.example/",
            "https://city.example.jp\\@evil.example/",
            "https://evil.example;script-src *",
            "https://app.example.jp/\r\nSet-Cookie: a=b",
            "https://app.example.jp/ x",
            "https://ａpp.example.jp/",
            &long,
        ] {
            assert!(target(uri).is_none(), "{uri}");
        }
    }

    #[test]
    fn a_token_comes_into_the_query_in_the_place_of_any_other() {
        for (uri, with) in [
            ("https://a.example/", "https://a.example/?loginToken=T"),
            ("https://a.example/?b=c", "https://a.example/?b=c&loginToken=T"),
            (
                "https://a.example/?loginToken=old&b=c&loginToken=x#/d?e",
                "https://a.example/?b=c&loginToken=T#/d?e",
            ),
            ("io.app:/x#y", "io.app:/x?loginToken=T#y"),
        ] {
            assert_eq!(target(uri).map(|target| target.with_token("T")).as_deref(), Some(with));
        }
    }
}
