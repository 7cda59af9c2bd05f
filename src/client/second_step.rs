//! The page where somebody who signs in shows a second factor, or sets up the one that he has to have.
//!
//! Every page that takes a password leads here. What goes along is the ticket that the first step gave, which is good in this
//! browser alone; nothing else is remembered.

use account::{Error, InBrowser, SignedIn, Unfinished, Wants};
use factor::{Factors, Secret, in_base32, link_for_app, svg_of};
use pages::{Form, Markup, Page, PageError, Pages, PreEscaped, Visit, html};
use ruma::UserId;
use web::Response;

/// Where people sign in.
pub(crate) const SIGN_IN: &str = "/_yakuba/sign-in";
/// Where the code of a factor goes.
pub(crate) const SECOND_STEP: &str = "/_yakuba/sign-in/second";
/// Where the first code of an app goes that somebody sets up to get in.
pub(crate) const FIRST_APP: &str = "/_yakuba/sign-in/app";

/// What a browser's key is for, by which a ticket is its own.
const KEY: &str = "second step of signing in";

/// The browser in which somebody signs in.
pub(crate) fn in_browser<'a>(visit: &Visit, agent: Option<&'a str>) -> InBrowser<'a> {
    InBrowser { key: visit.key(KEY), from: visit.address(), agent }
}

/// Goes on with somebody who has signed in as far as this: to where he wanted, or to the step that is missing.
pub(crate) async fn arrive(
    pages: &Pages,
    mut visit: Visit,
    signed_in: SignedIn,
    back: &str,
) -> Result<Response, PageError> {
    match signed_in {
        SignedIn::Done(_, secret) => {
            visit.begin(pages, secret).await?;
            Ok(visit.redirect(back))
        }
        SignedIn::Unfinished(unfinished) => Ok(visit.page(step(&visit, &unfinished, back))),
    }
}

/// The page of the step that is missing.
pub(crate) fn step(visit: &Visit, unfinished: &Unfinished, back: &str) -> Page {
    let Unfinished { user_id, wants, ticket } = unfinished;
    match wants {
        Wants::Factor { recovered } => code_page(visit, (ticket, back, *recovered), None),
        Wants::App(secret) => {
            let app = NewApp { user: user_id, secret, ticket, name: "" };
            first_app_page(visit, &app, back, None)
        }
    }
}

/// What a form is shown with once more. With a ticket that is none any more nothing helps but to begin again, nor do our own
/// errors go by another try.
pub(crate) fn worth_another_try(error: Error) -> Result<PageError, PageError> {
    let is_over = matches!(error, Error::Stale);
    let error = PageError::from(error);
    if is_over || error.status().is_server_error() { Err(error) } else { Ok(error) }
}

/// What an app is to be called by the form that sets it up.
pub(crate) fn name_of(visit: &Visit, form: &Form) -> Result<String, PageError> {
    match form.find("name").map(str::trim).filter(|name| !name.is_empty()) {
        None => Ok(visit.say("認証アプリ", "Authenticator app").to_owned()),
        Some(name) => Factors::name(name).map_err(|_| {
            PageError::bad_request("名前は 64 文字までです。", "A name has at most 64 letters.")
        }),
    }
}

fn again_at(back: &str) -> String {
    format!("{SIGN_IN}?back={}", Form::escape(back))
}

/// Asks for a code.
pub(crate) fn code_page(
    visit: &Visit,
    (ticket, back, recovered): (&str, &str, bool),
    error: Option<&PageError>,
) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        form.card method="post" action=(SECOND_STEP) {
            (visit.proof())
            input type="hidden" name="back" value=(back);
            input type="hidden" name="ticket" value=(ticket);
            @if recovered {
                input type="hidden" name="recovered" value="yes";
                p { (say(
                    "二要素認証の再設定が認められました。担当者から受け取ったコードを入力してください。",
                    "Your second factor is set up anew. Please enter the code that you were given.",
                )) }
            } @else {
                p { (say(
                    "認証アプリに表示されている 6 桁のコードを入力してください。",
                    "Please enter the six digits that your authenticator app shows.",
                )) }
            }
            label for="code" { (say("確認コード", "Code")) }
            input.code id="code" name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck="false"
                required maxlength="64" autofocus;
            div.actions { button { (say("続ける", "Go on")) } }
        }
        @if !recovered {
            p.note { (say(
                "アプリを使えないときは、控えておいた回復コードを入力してください。それもないときは、管理者に再設定を依頼してください。",
                "Without your app, enter one of the recovery codes that you noted. If you have none, ask your administrators to recover your account.",
            )) }
        }
        p { a href=(again_at(back)) { (say("はじめからやり直す", "Start again")) } }
    };
    let title = say("二要素認証", "Second step");
    Page::new(title, body).status_of(error).again_at(again_at(back))
}

/// An app that is being set up.
pub(crate) struct NewApp<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) secret: &'a Secret,
    pub(crate) ticket: &'a str,
    /// What was typed of its name.
    pub(crate) name: &'a str,
}

impl NewApp<'_> {
    /// What is scanned, and the fields of the form that sets it up.
    pub(crate) fn fields(&self, visit: &Visit) -> Markup {
        let say = |japanese, english| visit.say(japanese, english);
        let link = link_for_app(self.user, self.secret);
        let typed = in_base32(self.secret);
        let groups: Vec<&str> = (0..typed.len()).step_by(4).filter_map(|at| typed.get(at..at + 4)).collect();
        html! {
            input type="hidden" name="ticket" value=(self.ticket);
            ol {
                li { (say(
                    "認証アプリ（Google Authenticator、Microsoft Authenticator など）で、この QR コードを読み取ってください。",
                    "Scan this QR code with an authenticator app (Google Authenticator, Microsoft Authenticator or another one).",
                )) }
                li { (say(
                    "アプリに表示された 6 桁のコードを入力してください。",
                    "Enter the six digits that the app shows.",
                )) }
            }
            @if let Some(picture) = svg_of(&link) {
                div role="img" aria-label=(say("QR コード", "QR code")) { (PreEscaped(picture)) }
            }
            p.note { (say("読み取れないときは、このキーをアプリに入力してください：", "If you cannot scan it, type this key into the app:")) }
            p.id id="secret" { (groups.join(" ")) }
            label for="code" { (say("確認コード", "Code")) }
            input.code id="code" name="code" autocomplete="one-time-code" inputmode="numeric" spellcheck="false"
                required maxlength="64";
            label for="name" { (say("名前（任意）", "Name (optional)")) }
            input id="name" name="name" value=(self.name) maxlength="64" autocomplete="off" aria-describedby="name-use";
            small id="name-use" { (say("どの端末のアプリか分かるように。", "So that you know which device it is on.")) }
        }
    }
}

/// Asks somebody to set up an app who gets in with it alone.
pub(crate) fn first_app_page(visit: &Visit, app: &NewApp<'_>, back: &str, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        p { (say(
            "このアカウントには二要素認証が必要です。次からはパスワードに加えて、アプリに表示されるコードでサインインします。",
            "This account needs a second factor: from now on you sign in with your password and the code that an app shows.",
        )) }
        form.card method="post" action=(FIRST_APP) {
            (visit.proof())
            input type="hidden" name="back" value=(back);
            dl { dt { (say("アカウント", "Account")) } dd.id { (app.user) } }
            (app.fields(visit))
            div.actions { button { (say("登録してサインインする", "Set it up and sign in")) } }
        }
    };
    let title = say("二要素認証の設定", "Set up a second factor");
    Page::new(title, body).status_of(error).again_at(again_at(back))
}

/// Shows codes for once, once.
pub(crate) fn codes_page(visit: &Visit, codes: &[String], back: &str) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        p role="status" { (say("二要素認証を設定しました。", "Your second factor is set up.")) }
        @if !codes.is_empty() { (recovery_codes(visit, codes)) }
        p { a.button href=(back) { (say("続ける", "Go on")) } }
    };
    Page::new(say("設定しました", "It is set up"), body).again_at(back.to_owned())
}

/// Codes for once, which are never shown again.
pub(crate) fn recovery_codes(visit: &Visit, codes: &[String]) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        div.card {
            p { (say(
                "回復コードを印刷するか書き写して、安全な場所に保管してください。アプリを使えなくなったとき、一つにつき一度だけ、確認コードの代わりに使えます。この画面を閉じると二度と表示されません。",
                "Print or copy these recovery codes and keep them in a safe place. Each signs you in once in the place of a code of your app. They are never shown again.",
            )) }
            ul.plain id="codes" { @for code in codes { li.id { (code) } } }
        }
    }
}
