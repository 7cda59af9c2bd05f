//! Signing in on a page: for an app that is handed a login token (SSO), and for one that knows no way to log in.
//!
//! Neither page remembers anybody. Name and password are sent with the form, so another site's form gets nobody in who
//! could not get in there himself.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#sso-client-loginauthentication>,
//! <https://spec.matrix.org/v1.19/client-server-api/#login-fallback>

use std::sync::Arc;

use account::{Credentials, LogIn};
use maud::{Markup, html};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{
    ClientApi,
    for_app::for_app,
    html::{Fields, Page, both, problem, redirect, say},
    login::SessionAnswer,
};

const TITLE: (&str, &str) = ("サインイン", "Sign in");

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
    /// How a content security policy names it.
    source: String,
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
            let (shown, source) = (format!("{scheme}:"), format!("{scheme}:"));
            return Ok(Target { uri: uri.to_owned(), shown, source });
        }
        let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
        let authority = authority.filter(|authority| !authority.is_empty()).ok_or_else(bad)?;
        // `https://city.example.jp@evil.example/` looks like another host; what is in brackets no policy can name.
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if !authority.bytes().all(is_host) {
            return Err(bad());
        }
        let source = format!("{scheme}://{authority}");
        Ok(Target { uri: uri.to_owned(), shown: source.clone(), source })
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
    must_be_offered(&api, &call)?;
    let target = Target::of(Fields::of_query(&call)?.get("redirectUrl"))?;
    if api.config.providers.contains(call.face.server_name()) {
        // There people sign in to our pages first, at the provider or with a password.
        return redirect(&for_app(&target.uri));
    }
    Ok(sso_page(&call, &target, None))
}

/// `GET /_matrix/client/v3/login/sso/redirect/{idpId}`: the same by one provider.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3loginssoredirectidpid>
pub(crate) async fn show_sso_of(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    if call.args.get::<String>(0)? != PROVIDER {
        return Err(ApiError::not_found("There is no such identity provider here"));
    }
    show_sso(api, call).await
}

/// An authority that does not offer the page has none: it gives a session to whatever the URI names.
fn must_be_offered(api: &ClientApi, call: &RawCall<Open>) -> Result<(), ApiError> {
    let authority = call.face.server_name();
    match api.config.sign_in_pages.contains(authority) || api.config.providers.contains(authority) {
        true => Ok(()),
        false => Err(ApiError::not_found("Nobody signs in by a page here")),
    }
}

/// `POST /_matrix/client/v3/login/sso/redirect`: somebody signs in; the app gets a login token.
pub(crate) async fn sign_in_for_app(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    must_be_offered(&api, &call)?;
    if api.config.providers.contains(call.face.server_name()) {
        return Err(ApiError::not_found("Nobody signs in by this page here"));
    }
    let fields = Fields::of_form(&call)?;
    let target = Target::of(fields.get("redirectUrl"))?;
    let (shown, authority) = (credentials(&fields), call.face.server_name());
    let given = api.accounts.sign_in_for_token(authority, &shown, call.address, call.user_agent());
    match given.await {
        Ok(token) => redirect(&target.with_token(&token.token)),
        Err(error) => Ok(sso_page(&call, &target, Some(refused(error)?))),
    }
}

/// `GET /_matrix/static/client/login/`: the page on which somebody logs in whose app knows no other way.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#login-fallback>
pub(crate) async fn show_login(_api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let fields = Fields::of_query(&call)?;
    Ok(login_page(&call, &fields, None))
}

/// `POST /_matrix/static/client/login/`: somebody logs in; the page hands the session to the app.
pub(crate) async fn log_in(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let fields = Fields::of_form(&call)?;
    let named = |name: &str| Some(fields.get(name)).filter(|value| !value.is_empty());
    let request = LogIn {
        credentials: credentials(&fields),
        device_id: named("device_id").map(Into::into),
        device_name: named("initial_device_display_name").map(str::to_owned),
        refresh: named("refresh_token") == Some("true"),
        from: call.address,
        agent: call.user_agent(),
    };
    match api.accounts.log_in(call.face.server_name(), request).await {
        Ok((user_id, device_id, tokens)) => {
            let session = serde_json::to_string(&SessionAnswer::new(&user_id, &device_id, &tokens));
            let session = session.map_err(ApiError::internal)?;
            let body = html! {
                (say("サインインしました。この画面を閉じて、アプリに戻ってください。", "You are signed in. Close this page and go back to your app."))
                div id="session" data-session=(session) {}
            };
            Ok(Page::new(TITLE.0, TITLE.1, body)
                .script(HAND_OVER)
                .into_response(call.face.server_name().as_str()))
        }
        Err(error) => Ok(login_page(&call, &fields, Some(refused(error)?))),
    }
}

fn credentials(fields: &Fields) -> Credentials {
    Credentials::NameAndPassword {
        name: fields.get("name").to_owned(),
        password: fields.get("password").to_owned(),
    }
}

fn sso_page(call: &RawCall<Open>, target: &Target, wrong: Option<(StatusCode, Markup)>) -> Response {
    let (status, wrong) = wrong.unzip();
    let body = html! {
        @if let Some(wrong) = wrong { (wrong) }
        (say("サインインすると、次のアプリがあなたとして使えるようになります。", "If you sign in, this app may act as you:"))
        p { code { (target.shown) } }
        form method="post" action=(REDIRECT) {
            input type="hidden" name="redirectUrl" value=(target.uri);
            (name_and_password())
        }
        (say("このアプリに心当たりがなければ、入力せずに画面を閉じてください。", "If you do not know this app, close this page."))
    };
    let page = Page::new(TITLE.0, TITLE.1, body).status(status.unwrap_or(StatusCode::OK));
    page.form_ends_at(target.source.clone()).into_response(call.face.server_name().as_str())
}

fn login_page(call: &RawCall<Open>, fields: &Fields, wrong: Option<(StatusCode, Markup)>) -> Response {
    let (status, wrong) = wrong.unzip();
    let body = html! {
        @if let Some(wrong) = wrong { (wrong) }
        form method="post" action=(LOGIN_PAGE) {
            @for name in ["device_id", "initial_device_display_name", "refresh_token"] {
                @if !fields.get(name).is_empty() { input type="hidden" name=(name) value=(fields.get(name)); }
            }
            (name_and_password())
        }
    };
    let page = Page::new(TITLE.0, TITLE.1, body).status(status.unwrap_or(StatusCode::OK));
    page.into_response(call.face.server_name().as_str())
}

fn name_and_password() -> Markup {
    html! {
        label for="name" { (both("ユーザー名", "User name")) }
        input id="name" name="name" autocomplete="username" required;
        label for="password" { (both("パスワード", "Password")) }
        input id="password" name="password" type="password" autocomplete="current-password" required;
        button { (both("サインイン", "Sign in")) }
    }
}

/// What the page says of an error that another attempt may not meet.
fn refused(error: account::Error) -> Result<(StatusCode, Markup), ApiError> {
    let error = ApiError::from(error);
    let status = error.status();
    let told = match error.errcode() {
        _ if status.is_server_error() => return Err(error),
        "M_LIMIT_EXCEEDED" => problem(
            "回数が多すぎます。しばらく待ってから、もう一度お試しください。",
            "Too many attempts. Please wait a while and try again.",
        ),
        "M_USER_LOCKED" | "M_USER_DEACTIVATED" => problem(
            "このアカウントは使えません。管理者にお問い合わせください。",
            "This account cannot be used. Please ask your administrator.",
        ),
        _ => problem("ユーザー名またはパスワードが違います。", "The user name or the password is wrong."),
    };
    Ok((status, told))
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
