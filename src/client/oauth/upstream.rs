//! Signing in at the identity provider of an authority.
//!
//! A browser is sent to the provider and comes back ([`come_back`]); from then on it is signed in to our pages as if a password
//! had been given, and goes on where it came from. An app that knows no OAuth 2.0 is handed a login token ([`ask_for_app`]):
//! not before the user has pressed a button, since any page may lead a signed-in browser there.

use std::sync::Arc;

use ::account::{Actor, Error as AccountError, Stranger};
use ::upstream::{Error, Finished, Label, Purpose, Returned, Sent, Upstream};
use pages::{Form, Markup, Page, PageError, Visit, html};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use super::api::{ACCOUNT, OAuthApi, SIGN_IN, UPSTREAM, UPSTREAM_CALLBACK, sign_in_first};
use crate::{for_app::FOR_APP, passkeys::in_browser, second_step::arrive, sign_in_pages::Target};

/// What a browser's key to attempts is for.
const KEY: &str = "attempts to sign in at a provider";

/// The button that leads to the provider.
pub(crate) fn by_provider(visit: &Visit, label: &Label, back: &str) -> Markup {
    html! {
        div.card {
            a.button id="provider" href=(format!("{UPSTREAM}?back={}", Form::escape(back))) {
                (visit.say(label.japanese.as_str(), label.english.as_str()))
            }
        }
    }
}

/// Sends a browser to the provider.
pub(crate) async fn begin(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let query = visit.query()?;
        match way(&api, &visit, Purpose::SignIn, visit.way_back(query.find("back"))).await? {
            Ok(uri) => Ok(visit.redirect(&uri)),
            Err(error) => Ok(problem(&visit, told(error))),
        }
    };
    api.pages.answer(call, answer).await
}

/// The way to the provider, from where a browser comes back for this purpose.
async fn way(
    api: &OAuthApi,
    visit: &Visit,
    purpose: Purpose,
    back: &str,
) -> Result<Result<String, Error>, PageError> {
    let (callback, key) = (callback(api, visit)?, visit.key(KEY));
    let language = visit.language().code();
    let since = api.accounts.login_begins();
    let sent = Sent { callback: &callback, key: &key, purpose, since, back, language };
    Ok(api.upstream.begin(visit.authority(), sent).await)
}

/// Has whoever has confirmed that go to the provider, to have his account linked. By a link and not at once: how a form ends
/// is bounded by the page that held it, and a provider may lead on to others.
pub(crate) async fn link(api: &OAuthApi, visit: &Visit) -> Result<Response, PageError> {
    let uri = match way(api, visit, Purpose::Link, ACCOUNT).await? {
        Ok(uri) => uri,
        Err(error) => return Ok(problem(visit, told(error))),
    };
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        p { (say(
            "認証基盤でサインインすると、そのアカウントがあなたのアカウントと結び付けられます。",
            "Sign in at the identity provider: what it knows you by will belong to your account.",
        )) }
        div.actions { a.button id="provider" href=(uri) { (say("認証基盤へ進む", "Go to the provider")) } }
    };
    Ok(visit.page(Page::new(say("認証基盤との結び付け", "Link with the identity provider"), body)))
}

fn callback(api: &OAuthApi, visit: &Visit) -> Result<String, PageError> {
    let base = api.pages.base_url(visit.authority()).ok_or_else(PageError::not_found)?;
    Ok(format!("{base}{UPSTREAM_CALLBACK}"))
}

/// Takes a browser that comes back from the provider.
pub(crate) async fn come_back(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let (query, callback, key) = (visit.query()?, callback(&api, &visit)?, visit.key(KEY));
        let returned = Returned {
            callback: &callback,
            key: &key,
            state: query.get("state"),
            code: query.find("code"),
            issuer: query.find("iss"),
            error: query.find("error"),
        };
        let Finished { identity, purpose, back, staff } =
            match api.upstream.finish(visit.authority(), returned).await {
                Ok(finished) => finished,
                Err(Error::NotOurs) if visit.browser().is_some() => {
                    return Ok(signed_in_meanwhile(&visit, query.get("state")));
                }
                Err(error) => return Ok(problem(&visit, told(error))),
            };
        let (from, agent) = (visit.address(), visit.call.user_agent());
        if purpose == Purpose::Link {
            let browser = visit.signed_in()?.clone();
            let known_as = (identity.issuer.as_str(), identity.subject.as_str());
            let by = Actor::user(&browser.user_id, browser.admin, from);
            return match api.accounts.link_identity(&browser.user_id, known_as, &by).await {
                Ok(()) => Ok(visit.redirect(ACCOUNT)),
                Err(AccountError::UserInUse) => Ok(problem(
                    &visit,
                    PageError::forbidden(
                        "この認証基盤のアカウントは、すでに別のユーザーに結び付けられています。",
                        "What the identity provider knows you by belongs to another account already.",
                    ),
                )),
                Err(error) => Err(error.into()),
            };
        }
        let browser = in_browser(&visit, agent.as_deref());
        let signed_in = api.accounts.sign_in_with_identity(visit.authority(), &identity, &browser).await;
        let signed_in = match signed_in {
            Err(error @ AccountError::EndedAtProvider) => return Ok(problem(&visit, error.into())),
            done => done?,
        };
        match signed_in {
            Ok(signed_in) => {
                api.upstream.tell(signed_in.user(), staff.as_ref()).await;
                let back = visit.way_back(Some(&back)).to_owned();
                arrive(&api.pages, visit, signed_in, &back).await
            }
            Err(stranger) => Ok(problem(&visit, nobody(stranger))),
        }
    };
    api.pages.answer(call, answer).await
}

/// What is told whose browser was signed in in another tab before this one came back: the attempt was another browser's, so to
/// speak. Whoever it is goes on where this tab was going.
fn signed_in_meanwhile(visit: &Visit, state: &str) -> Response {
    let say = |japanese, english| visit.say(japanese, english);
    let back = Upstream::alleged_back(state);
    let body = html! {
        p { (say(
            "このサインインを終える前に、別のタブなどでサインインしています。そのまま続けられます。",
            "You have signed in meanwhile, in another tab. You can simply go on.",
        )) }
        div.actions { a.button id="go-on" href=(visit.way_back(back.as_deref())) { (say("続ける", "Go on")) } }
    };
    visit.page(Page::new(say("サインイン済みです", "You are signed in"), body))
}

/// What is told of an error, with the way to try once more.
fn problem(visit: &Visit, error: PageError) -> Response {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        p.problem role="alert" { (error.text(visit.language())) }
        p { a href=(SIGN_IN) { (say("サインイン画面に戻る", "Back to signing in")) } }
    };
    visit.page(Page::new(say("サインインできません", "You are not signed in"), body).status(error.status()))
}

fn told(error: Error) -> PageError {
    match error {
        Error::NotOffered => PageError::not_found(),
        Error::NotOurs => PageError::bad_request(
            "このサインインは期限が切れたか、別のブラウザーで始められたものです。もう一度お試しください。",
            "This sign-in is too old, or was begun in another browser. Please try again.",
        ),
        Error::Refused { code } if code == "access_denied" => PageError::forbidden(
            "認証基盤でのサインインが取り消されたか、許可されませんでした。",
            "Signing in at the identity provider was cancelled, or is not allowed to you.",
        ),
        Error::Refused { code } => PageError::forbidden(
            format!("認証基盤がサインインを断りました（{code}）。"),
            format!("The identity provider refused ({code})."),
        ),
        error @ (Error::Unavailable(_) | Error::Busy { .. }) => {
            let cause = error.to_string();
            tracing::warn!(%cause, "somebody could not sign in: the identity provider is away");
            PageError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "認証基盤に接続できません。しばらく待ってから、もう一度お試しください。サインイン済みの端末はそのまま使えます。",
                "The identity provider cannot be reached. Please try again in a while. Devices that are signed in go on working.",
            )
        }
        Error::Untrusted(cause) => {
            tracing::warn!(cause, "what came back from an identity provider is not accepted");
            PageError::new(
                StatusCode::BAD_GATEWAY,
                "認証基盤からの応答を確認できませんでした。もう一度お試しください。続くようであれば管理者にお問い合わせください。",
                "The identity provider's answer could not be verified. Please try again, and ask your administrator if this goes on.",
            )
        }
        Error::TooWeak { claim, is_told: true } => PageError::forbidden(
            format!(
                "認証の強度が足りません（{claim}）。認証基盤で二要素認証などを設定してから、もう一度お試しください。"
            ),
            format!(
                "You were not authenticated strongly enough ({claim}). Please set up a second factor at the identity provider and try again."
            ),
        ),
        Error::TooWeak { claim, is_told: false } => PageError::forbidden(
            format!(
                "どのように認証されたかが認証基盤から届かないため、サインインできません（{claim}）。二要素認証などでサインインし直しても続くようであれば、管理者にお問い合わせください。"
            ),
            format!(
                "The identity provider does not tell how you were authenticated ({claim}), which is demanded here. Please sign in with a second factor, and ask your administrator if this goes on."
            ),
        ),
        Error::MissingClaim { claim } => missing(&claim),
    }
}

fn missing(claim: &str) -> PageError {
    PageError::forbidden(
        format!("認証基盤から必要な情報が届きませんでした（{claim}）。管理者にお問い合わせください。"),
        format!(
            "The identity provider did not tell what is needed ({claim}). Please ask your administrator."
        ),
    )
}

fn nobody(stranger: Stranger) -> PageError {
    match stranger {
        Stranger::NotLinked => PageError::forbidden(
            "この認証基盤のアカウントに結び付けられたユーザーがありません。管理者にお問い合わせください。",
            "No account here belongs to what the identity provider knows you by. Please ask your administrator.",
        ),
        Stranger::NameTaken(name) => PageError::forbidden(
            format!(
                "ユーザー名 {name} はすでに使われています。ご自身のものであれば、サインインしてからアカウント画面で認証基盤と結び付けてください。"
            ),
            format!(
                "The user name {name} is taken. If it is yours, sign in to it and link it on your account page."
            ),
        ),
        Stranger::BadName(name) => PageError::forbidden(
            format!("認証基盤から届いた名前 {name} はユーザー名に使えません。管理者にお問い合わせください。"),
            format!(
                "The name {name} that the identity provider tells cannot be a user name. Please ask your administrator."
            ),
        ),
        Stranger::NoName(reason) => PageError::forbidden(
            format!(
                "認証基盤から届いた情報ではユーザー名を決められません（{reason}）。管理者にお問い合わせください。"
            ),
            format!(
                "No user name follows from what the identity provider tells ({reason}). Please ask your administrator."
            ),
        ),
    }
}

/// Asks whoever is signed in whether an app may sign in as him.
pub(crate) async fn ask_for_app(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        must_sign_in_for_apps(&api, &visit)?;
        let target = Target::of(visit.query()?.get("redirectUrl"))?;
        let Some(browser) = visit.browser() else { return Ok(sign_in_first(&visit, visit.here(), None)) };
        let say = |japanese, english| visit.say(japanese, english);
        let body = html! {
            form.card method="post" action=(FOR_APP) {
                (visit.proof())
                input type="hidden" name="redirectUrl" value=(target.uri);
                dl {
                    dt { (say("サインインする先", "Signs in at")) } dd.id { strong { (target.shown) } }
                    dt { (say("アカウント", "Account")) } dd.id { (browser.user_id) }
                }
                div.actions { button { (say("続ける", "Continue")) } }
            }
            p.note { (say(
                "続けると、このアプリがあなたとして使えるようになります。心当たりがなければ画面を閉じてください。",
                "If you go on, this app may act as you. If you do not know it, close this page.",
            )) }
        };
        let page = Page::new(say("サインインの確認", "Allow this app to sign in?"), body);
        Ok(visit.page(page.form_ends_at(&target.uri)))
    };
    api.pages.answer(call, answer).await
}

/// Brings the app a login token.
pub(crate) async fn sign_in_for_app(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        must_sign_in_for_apps(&api, &visit)?;
        let form = visit.form()?;
        let browser = visit.signed_in()?;
        let target = Target::of(form.get("redirectUrl"))?;
        let (from, agent) = (visit.address(), visit.call.user_agent());
        let token = api.accounts.token_for_browser(browser, from, agent.as_deref()).await?;
        Ok(visit.redirect(&target.with_token(&token.token)))
    };
    api.pages.answer(call, answer).await
}

/// An authority that does not offer it has no such page: it gives a session to whatever the URI names.
fn must_sign_in_for_apps(api: &OAuthApi, visit: &Visit) -> Result<(), PageError> {
    let authority = visit.authority();
    match api.upstream.settings(authority).is_some() || api.for_apps_at.contains(authority) {
        true => Ok(()),
        false => Err(PageError::not_found()),
    }
}
