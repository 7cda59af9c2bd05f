//! The page where a user agrees that a client gets a session.
//!
//! Nothing is kept between the question and the answer: the form is sent to the same path and query, which are read and
//! checked anew. That the user saw them is shown by the form's proof.

use std::sync::Arc;

use ::account::Browser;
use ::oauth::{Authorization, Code, Destination, Prompt, Refusal, Registered};
use pages::{Form, Markup, Page, PageError, Visit, html};
use ruma::DeviceId;
use web::{ApiError, Open, RawCall, Response, StatusCode};

use super::api::{ACCOUNT, AUTHORIZE, OAuthApi, SIGN_UP, sign_in_first, told};

/// Asks the user, once somebody is signed in.
pub(crate) async fn ask(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let query = visit.query()?;
        let request = match read(&api, &visit, &query).await? {
            Ok(request) => request,
            Err((uri, to)) => return Ok(refused(&visit, &uri, &to)),
        };
        // So that whoever comes back from there is not sent there again.
        let without_prompt = || format!("{AUTHORIZE}?{}", query.query_without("prompt"));
        let hint = request.login_hint.as_deref();
        match (request.prompt, visit.browser()) {
            (Prompt::Nothing, browser) => {
                let (code, text) = match browser {
                    None => (Code::LoginRequired, "nobody is signed in"),
                    Some(_) => (Code::ConsentRequired, "the user has to be asked"),
                };
                Ok(refused(&visit, &request.answer.with_error(code, text), &request.answer.destination()))
            }
            (Prompt::Create, _) if api.lets_register(visit.authority()) => {
                Ok(visit.redirect(&format!("{SIGN_UP}?back={}", Form::escape(&without_prompt()))))
            }
            (Prompt::Login | Prompt::Create, _) => Ok(sign_in_first(&visit, &without_prompt(), hint)),
            (Prompt::Any, None) => Ok(sign_in_first(&visit, visit.here(), hint)),
            (Prompt::Any, Some(browser)) => match room_for(&api, browser, &request.scope.device_id).await? {
                Some(full) => Ok(too_many_devices(&visit, &full)),
                None => consent(&visit, &request),
            },
        }
    };
    api.pages.answer(call, answer).await
}

/// Takes the user's answer to the client.
pub(crate) async fn decide(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let form = visit.form()?;
        let browser = visit.signed_in()?;
        let query = visit.query()?;
        let request = match read(&api, &visit, &query).await? {
            Ok(request) => request,
            Err((uri, to)) => return Ok(refused(&visit, &uri, &to)),
        };
        if form.get("decision") != "agree" {
            let uri = request.answer.with_error(Code::AccessDenied, "the user does not agree");
            return Ok(visit.redirect(&uri));
        }
        if let Some(full) = room_for(&api, browser, &request.scope.device_id).await? {
            return Ok(too_many_devices(&visit, &full));
        }
        let code = api.oauth.agree(&request, browser).await.map_err(told)?;
        Ok(visit.redirect(&request.answer.with_code(&code)))
    };
    api.pages.answer(call, answer).await
}

/// Why whoever is signed in cannot have this device as one more, if that is so.
pub(crate) async fn room_for(
    api: &OAuthApi,
    browser: &Browser,
    device: &DeviceId,
) -> Result<Option<PageError>, PageError> {
    match api.accounts.check_room_for_device(&browser.user_id, device).await {
        Ok(()) => Ok(None),
        Err(error @ ::account::Error::TooManyDevices { .. }) => Ok(Some(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// Tells who is signed in on as many devices as he may be where he ends the session of another one, lost ones as well.
pub(crate) fn too_many_devices(visit: &Visit, error: &PageError) -> Response {
    let say = |japanese, english| visit.say(japanese, english);
    let devices = format!("{ACCOUNT}?action=org.matrix.devices_list");
    let body = html! {
        (visit.problem(Some(error)))
        p { (say(
            "使わない端末や紛失した端末は、端末の一覧でサインアウトさせることができます。そのあとで、この画面に戻ってください。",
            "In the list of your devices you can sign out those that you do not use, or have lost. Come back to this page then.",
        )) }
        p { a.button href=(devices) target="_blank" {
            (say("端末の一覧（別のタブ）", "Your devices (another tab)"))
        } }
        @if visit.call.parts.method == web::Method::GET {
            p { a href=(visit.here()) { (say("もう一度試す", "Try again")) } }
        }
    };
    let page = Page::new(say("端末の数が上限です", "As many devices as you may have"), body);
    visit.page(page.status_of(Some(error)))
}

/// Leads a browser to the client, which is told why there is nothing for it. A browser in which nobody is signed in is asked
/// first: else a link to us would lead wherever somebody has registered a client.
fn refused(visit: &Visit, uri: &str, to: &Destination) -> Response {
    if visit.browser().is_some() {
        return visit.redirect(uri);
    }
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        p.problem role="alert" { (say(
            "アプリの要求にお応えできません。アプリでもう一度サインインを始めてください。",
            "The app asked for something that cannot be done. Please begin to sign in again in the app.",
        )) }
        p { a href=(uri) rel="noopener noreferrer" {
            (say("アプリに戻る：", "Go back to the app: ")) (shown(visit, to))
        } }
    };
    let page = Page::new(say("サインインできません", "This sign-in cannot go on"), body);
    visit.page(page.status(StatusCode::BAD_REQUEST))
}

/// Where an answer goes, for people.
fn shown(visit: &Visit, to: &Destination) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        @match to {
            Destination::Site(host) => (host),
            Destination::Loopback => (say("この端末で動いているプログラム", "a program on this machine")),
            Destination::App(scheme) => {
                (say("この端末のアプリ", "an app on this device")) " (" (scheme) ":)"
            }
        }
    }
}

/// The client's request; where it is one that the client is to be told about, the URI that does so.
async fn read(
    api: &OAuthApi,
    visit: &Visit,
    query: &Form,
) -> Result<Result<Authorization, (String, Destination)>, PageError> {
    let issuer = api.issuer(visit.authority()).map_err(PageError::from)?;
    match api.oauth.authorization(visit.authority(), &issuer, |name| query.find(name)).await {
        Ok(request) => Ok(Ok(request)),
        Err(Refusal::AtClient { uri, to }) => Ok(Err((uri, to))),
        Err(Refusal::Here(error)) => Err(told(error)),
    }
}

fn consent(visit: &Visit, request: &Authorization) -> Result<Response, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let device = request.scope.device_id.as_str();
    let body = html! {
        (who_asks(visit, &request.client, Some(&request.answer.destination()), request.scope.administers)?)
        form method="post" action=(visit.here()) {
            (visit.proof())
            p.note { (say("端末 ID：", "Device ID: ")) span.id { (device) } }
            div.actions {
                button name="decision" value="agree" { (say("許可する", "Allow")) }
                button.second name="decision" value="refuse" { (say("許可しない", "Do not allow")) }
            }
        }
        (somebody_else(visit))
    };
    let title = say("サインインの確認", "Allow this app to sign in?");
    Ok(visit.page(Page::new(title, body).form_ends_at(request.answer.redirect_uri())))
}

/// Which client asks whom for what, and whether also to administer. First what is certain: where the answer goes; then what the client says of itself.
pub(crate) fn who_asks(
    visit: &Visit,
    client: &Registered,
    to: Option<&Destination>,
    administers: bool,
) -> Result<Markup, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let said = &client.client;
    let browser = visit.signed_in()?;
    let user = &browser.user_id;
    let host = said.host();
    let japanese = said.client_name_ja.as_deref().or(said.client_name.as_deref());
    let name = visit.say(japanese, said.client_name.as_deref()).unwrap_or(&host);
    Ok(html! {
        div.card {
            dl {
                @if let Some(to) = to {
                    dt { (say("サインインする先", "Signs in at")) } dd.id { strong { (shown(visit, to)) } }
                }
                dt { (say("アプリ（自称）", "App, as it calls itself")) } dd { (name) }
                @if to != Some(&Destination::Site(host.clone())) {
                    dt { (say("提供元（自称・未確認）", "From, as it says (not verified)")) } dd.id { (host) }
                }
                dt { (say("アカウント", "Account")) } dd.id { (user) }
            }
        }
        p { (say(
            "許可すると、このアプリはあなたのアカウントでサインインし、メッセージを読み、送り、設定を変えられるようになります。",
            "If you allow it, this app signs in as you: it can read and send messages and change settings.",
        )) }
        // Of others that is not granted, whatever is asked for.
        @if administers && browser.admin {
            p.problem role="alert" { (say(
                "このアプリは管理者の権限も求めています。許可すると、この機関のアカウント、ルーム、ファイルを管理できるようになります。",
                "This app also asks for your power as an administrator: with it, it can manage the accounts, rooms and files of your authority.",
            )) }
        }
        p.note { (say(
            "アプリの名前と提供元はアプリ自身が名乗ったもので、このサーバーは確かめていません。心当たりがなければ許可しないでください。",
            "The app chose its name and origin itself; this server has not verified them. If you did not expect this question, do not allow it.",
        )) }
        @if said.tos_uri.is_some() || said.policy_uri.is_some() {
            p.note {
                @if let Some(uri) = &said.tos_uri {
                    a href=(uri) rel="noopener noreferrer" target="_blank" { (say("アプリの利用規約", "The app's terms")) } " "
                }
                @if let Some(uri) = &said.policy_uri {
                    a href=(uri) rel="noopener noreferrer" target="_blank" { (say("アプリのプライバシーポリシー", "The app's privacy policy")) }
                }
            }
        }
    })
}

/// Signs out, to come back to this page as somebody else.
pub(crate) fn somebody_else(visit: &Visit) -> Markup {
    html! {
        form method="post" action="/_yakuba/sign-out" {
            (visit.proof())
            input type="hidden" name="back" value=(visit.here());
            button.link { (visit.say("別のアカウントを使う", "Use another account")) }
        }
    }
}
