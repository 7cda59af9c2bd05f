//! The page where somebody who signs in shows a second factor, or sets up the one that he has to have.
//!
//! Every page that takes a password leads here. What goes along is the ticket that the first step gave, which is good in this
//! browser alone; nothing else is remembered.

use account::{Error, SignedIn, Unfinished, Wants};
use factor::{Factors, Party, in_base32, link_for_app, svg_of};
use pages::{Form, Markup, Page, PageError, Pages, PreEscaped, Visit, html};
use web::Response;

use crate::passkeys::{self, SCRIPT, party, to_make, to_show};

/// Where people sign in.
pub(crate) const SIGN_IN: &str = "/_yakuba/sign-in";
/// Where a factor goes.
pub(crate) const SECOND_STEP: &str = "/_yakuba/sign-in/second";
/// Where a factor goes that somebody sets up to get in.
pub(crate) const FIRST_FACTOR: &str = "/_yakuba/sign-in/first";

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
        SignedIn::Unfinished(unfinished) => Ok(visit.page(step(pages, &visit, &unfinished, back, None))),
    }
}

/// The page of the step that is missing.
pub(crate) fn step(
    pages: &Pages,
    visit: &Visit,
    unfinished: &Unfinished,
    back: &str,
    error: Option<&PageError>,
) -> Page {
    let party = party(pages, visit.authority());
    let say = |japanese, english| visit.say(japanese, english);
    let (title, body) = match &unfinished.wants {
        Wants::Factor { recovered, app, passkeys } => {
            let keys = party.filter(|_| !passkeys.is_empty());
            let fields = carried(unfinished, back);
            let by_passkey = keys.map(|party| {
                let asked = to_show(&party, &unfinished.challenge, passkeys);
                passkeys::form(visit, SECOND_STEP, &asked, &fields, say("パスキーを使う", "Use a passkey"))
            });
            let body = html! {
                @if let Some(form) = by_passkey { (form) }
                (code_form(visit, &fields, *recovered, *app))
            };
            (say("二要素認証", "Second step"), body)
        }
        Wants::New { .. } => {
            let fields = carried(unfinished, back);
            let body = html! {
                p { (say(
                    "このアカウントには二要素認証が必要です。次からはパスワードに加えて、ここで登録する認証アプリのコードまたはパスキーでサインインします。",
                    "This account needs a second factor: from now on you sign in with your password and with what you set up here, a code of an app or a passkey.",
                )) }
                dl { dt { (say("アカウント", "Account")) } dd.id { (unfinished.user_id) } }
                (new_factor(visit, party.as_ref(), unfinished, FIRST_FACTOR, &fields))
            };
            (say("二要素認証の設定", "Set up a second factor"), body)
        }
    };
    let again = format!("{SIGN_IN}?back={}", Form::escape(back));
    let body = html! {
        (visit.problem(error))
        (body)
        p { a href=(again) { (say("はじめからやり直す", "Start again")) } }
    };
    Page::new(title, body).status_of(error).again_at(again).script(SCRIPT)
}

fn carried(unfinished: &Unfinished, back: &str) -> Markup {
    html! {
        input type="hidden" name="back" value=(back);
        input type="hidden" name="ticket" value=(unfinished.ticket);
    }
}

fn code_form(visit: &Visit, fields: &Markup, recovered: bool, app: bool) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let text = match (recovered, app) {
        (true, _) => say(
            "二要素認証の再設定が認められました。担当者から受け取ったコードを入力してください。",
            "Your second factor is set up anew. Please enter the code that you were given.",
        ),
        (false, true) => say(
            "認証アプリに表示されている 6 桁のコードを入力してください。",
            "Please enter the six digits that your authenticator app shows.",
        ),
        (false, false) => say(
            "パスキーを使えないときは、控えておいた回復コードを入力してください。",
            "If you cannot use your passkey, enter one of the recovery codes that you noted.",
        ),
    };
    html! {
        form.card method="post" action=(SECOND_STEP) {
            (visit.proof())
            (fields)
            p { (text) }
            label for="code" { (say("確認コード", "Code")) }
            input.code id="code" name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck="false"
                required maxlength="64";
            div.actions { button { (say("続ける", "Go on")) } }
        }
        @if !recovered {
            p.note { (say(
                "アプリを使えないときは、控えておいた回復コードを入力してください。それもないときは、管理者に再設定を依頼してください。",
                "Without your app, enter one of the recovery codes that you noted. If you have none, ask your administrators to recover your account.",
            )) }
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

/// What a factor is to be called by the form that sets it up.
pub(crate) fn name_of(visit: &Visit, form: &Form) -> Result<String, PageError> {
    let is_passkey = form.find("attestation").is_some();
    match form.find("name").map(str::trim).filter(|name| !name.is_empty()) {
        None if is_passkey => Ok(visit.say("パスキー", "Passkey").to_owned()),
        None => Ok(visit.say("認証アプリ", "Authenticator app").to_owned()),
        Some(name) => Factors::name(name).map_err(|_| {
            PageError::bad_request("名前は 64 文字までです。", "A name has at most 64 letters.")
        }),
    }
}

/// The forms by which a factor is set up: what an app scans, with its first code, and a passkey where browsers know them. The
/// page runs [`SCRIPT`].
pub(crate) fn new_factor(
    visit: &Visit,
    party: Option<&Party>,
    unfinished: &Unfinished,
    action: &str,
    fields: &Markup,
) -> Markup {
    let Wants::New { secret, passkeys } = &unfinished.wants else { return html! {} };
    let say = |japanese, english| visit.say(japanese, english);
    let user = &unfinished.user_id;
    let link = link_for_app(user, secret);
    let typed = in_base32(secret);
    let groups: Vec<&str> = (0..typed.len()).step_by(4).filter_map(|at| typed.get(at..at + 4)).collect();
    let by_passkey = party.map(|party| {
        let asked = to_make(party, &unfinished.challenge, user, passkeys);
        let fields = html! {
            (fields)
            h2 { (say("パスキー", "Passkey")) }
            p { (say(
                "この端末やスマートフォンの指紋、顔、PIN でサインインします。",
                "You sign in with the finger, face or PIN of this device or of your telephone.",
            )) }
            label for="passkey-name" { (say("名前（任意）", "Name (optional)")) }
            input id="passkey-name" name="name" maxlength="64" autocomplete="off";
        };
        passkeys::form(visit, action, &asked, &fields, say("パスキーを登録する", "Set up a passkey"))
    });
    html! {
        form.card method="post" action=(action) {
            (visit.proof())
            (fields)
            h2 { (say("認証アプリ", "Authenticator app")) }
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
            input id="name" name="name" maxlength="64" autocomplete="off" aria-describedby="name-use";
            small id="name-use" { (say("どの端末のアプリか分かるように。", "So that you know which device it is on.")) }
            div.actions { button { (say("アプリを登録する", "Set up the app")) } }
        }
        @if let Some(form) = by_passkey { (form) }
    }
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
                "回復コードを印刷するか書き写して、安全な場所に保管してください。アプリやパスキーを使えなくなったとき、一つにつき一度だけ、確認コードの代わりに使えます。この画面を閉じると二度と表示されません。",
                "Print or copy these recovery codes and keep them in a safe place. Each signs you in once in the place of your app or passkey. They are never shown again.",
            )) }
            ul.plain id="codes" { @for code in codes { li.id { (code) } } }
        }
    }
}
