//! The page where users see to their second factors.

use ::account::{Browser, Error, NewFactor, Unfinished};
use factor::{Factor, Kind, MOST_APPS, MOST_PASSKEYS};
use pages::{Form, Markup, Page, PageError, Visit, html};
use web::Response;

use super::{
    account_parts::{FACTORS, others},
    api::{ACCOUNT, OAuthApi, SIGN_IN},
};
use crate::{
    passkeys::{SCRIPT, Sent, in_browser, party},
    second_step::{codes_page, name_of, new_factor, recovery_codes, worth_another_try},
};

/// How the page is asked for.
pub(super) const ACTION: &str = "factors";

/// Where the page is.
fn here() -> String {
    format!("{ACCOUNT}{FACTORS}")
}

/// Shows what there is.
pub(super) async fn page(
    api: &OAuthApi,
    visit: &Visit,
    browser: &Browser,
    error: Option<&PageError>,
) -> Result<Page, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let factors = api.accounts.factors(&browser.user_id).await?;
    let is_fresh = api.accounts.is_fresh(browser);
    let list = factors.list();
    let body = html! {
        (visit.problem(error))
        @if list.is_empty() {
            p { (say(
                "二要素認証は設定されていません。設定すると、サインインのときにパスワードに加えて、認証アプリに表示されるコードまたはパスキー（指紋、顔、PIN）が必要になります。",
                "You have no second factor. With one, signing in takes your password and a code that an app shows, or a passkey (finger, face, PIN).",
            )) }
        } @else {
            @for factor in &list { (one(visit, factor, is_fresh)) }
            p id="codes-left" { (say("残りの回復コード：", "Recovery codes left: ")) (factors.codes_left()) }
        }
        @if !is_fresh {
            div.card {
                p { (say(
                    "設定を変えるには、もう一度サインインしてください。サインインから 5 分間、変更できます。",
                    "To change anything, please sign in again. You can change it for five minutes.",
                )) }
                p { a.button href=(format!("{SIGN_IN}?back={}", Form::escape(&here()))) {
                    (say("もう一度サインイン", "Sign in again"))
                } }
            }
        } @else {
            @if list.len() < MOST_APPS + MOST_PASSKEYS {
                form method="post" action=(ACCOUNT) {
                    (visit.proof())
                    button name="do" value="begin_factor" {
                        (say("認証アプリまたはパスキーを登録する", "Set up an app or a passkey"))
                    }
                }
            }
            @if factors.has_one() {
                form method="post" action=(ACCOUNT) {
                    (visit.proof())
                    button.second name="do" value="renew_codes" {
                        (say("回復コードを作り直す", "Make new recovery codes"))
                    }
                }
            }
        }
        (others(visit))
    };
    Ok(Page::new(title(visit), body).status_of(error).again_at(here()))
}

fn title(visit: &Visit) -> &'static str {
    visit.say("二要素認証", "Second factors")
}

fn one(visit: &Visit, factor: &Factor, is_fresh: bool) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let field = format!("name-{}", factor.id);
    let kind = match factor.kind {
        Kind::App => say("認証アプリ", "Authenticator app"),
        Kind::Passkey => say("パスキー", "Passkey"),
    };
    html! {
        form.card method="post" action=(ACCOUNT) {
            (visit.proof())
            input type="hidden" name="factor" value=(factor.id);
            dl {
                dt { (say("種類", "Kind")) } dd { (kind) }
                dt { (say("登録", "Set up")) }
                dd { (audit::written(factor.added).get(..16).unwrap_or_default().replace('T', " ")) }
            }
            label for=(field) { (say("名前", "Name")) }
            input id=(field) name="name" value=(factor.name) maxlength="64" autocomplete="off" disabled[!is_fresh];
            @if is_fresh { div.actions {
                button.second name="do" value="rename_factor" { (say("名前を変える", "Rename it")) }
                button.danger name="do" value="remove_factor" { (say("削除する", "Remove it")) }
            } }
        }
    }
}

/// Does what a form of the page asks for.
pub(super) async fn change(
    api: &OAuthApi,
    visit: Visit,
    browser: &Browser,
    form: &Form,
) -> Result<Response, PageError> {
    let accounts = &api.accounts;
    let (from, agent) = (visit.address(), visit.call.user_agent());
    let way = in_browser(&visit, agent.as_deref());
    let id = || form.get("factor").parse::<u32>().map_err(|_| PageError::not_found());
    let done = match form.get("do") {
        "begin_factor" => match accounts.begin_factor(browser, &way).await {
            Ok(unfinished) => return Ok(visit.page(new_page(api, &visit, &unfinished, None))),
            Err(error) => Err(error),
        },
        "add_factor" => return add(api, visit, browser, form).await,
        "rename_factor" => {
            let name = name_of(&visit, form)?;
            accounts.rename_factor(browser, id()?, &name, from).await
        }
        "remove_factor" => accounts.remove_factor(browser, id()?, from).await,
        "renew_codes" => match accounts.renew_codes(browser, from).await {
            Ok(codes) => {
                let body = html! {
                    (recovery_codes(&visit, &codes))
                    p { a.button href=(here()) { (visit.say("続ける", "Go on")) } }
                };
                let title = visit.say("新しい回復コード", "New recovery codes");
                return Ok(visit.page(Page::new(title, body).again_at(here())));
            }
            Err(error) => Err(error),
        },
        _ => return Err(PageError::not_found()),
    };
    match done {
        Ok(()) => Ok(visit.redirect(&here())),
        Err(error) => {
            let error = told(error)?;
            let page = page(api, &visit, browser, Some(&error)).await?;
            Ok(visit.page(page))
        }
    }
}

async fn add(
    api: &OAuthApi,
    mut visit: Visit,
    browser: &Browser,
    form: &Form,
) -> Result<Response, PageError> {
    let (ticket, agent) = (form.get("ticket"), visit.call.user_agent());
    let way = in_browser(&visit, agent.as_deref());
    let (sent, party) = (Sent::of(form)?, party(&api.pages, visit.authority()));
    let new = match (&sent, &party) {
        (Some(sent), Some(party)) => sent.made(party),
        _ => NewFactor::App { code: form.get("code") },
    };
    let done = match name_of(&visit, form) {
        Ok(name) => {
            let done = api.accounts.add_factor(browser, ticket, (&name, new), &way).await;
            done.map_err(worth_another_try)
        }
        Err(error) => Err(Ok(error)),
    };
    match done {
        Ok((secret, codes)) => {
            if let Some(secret) = secret {
                visit.begin(&api.pages, secret).await?;
            }
            Ok(visit.page(codes_page(&visit, &codes, &here())))
        }
        Err(error) => {
            let error = error?;
            let unfinished = api.accounts.unfinished(visit.authority(), ticket, &way).await?;
            Ok(visit.page(new_page(api, &visit, &unfinished, Some(&error))))
        }
    }
}

fn new_page(api: &OAuthApi, visit: &Visit, unfinished: &Unfinished, error: Option<&PageError>) -> Page {
    let say = |japanese, english| visit.say(japanese, english);
    let fields = html! {
        input type="hidden" name="do" value="add_factor";
        input type="hidden" name="ticket" value=(unfinished.ticket);
    };
    let party = party(&api.pages, visit.authority());
    let body = html! {
        (visit.problem(error))
        (new_factor(visit, party.as_ref(), unfinished, ACCOUNT, &fields))
        p { a href=(here()) { (say("やめる", "Cancel")) } }
    };
    let title = say("二要素認証の登録", "Set up a second factor");
    Page::new(title, body).status_of(error).again_at(here()).script(SCRIPT)
}

fn told(error: Error) -> Result<PageError, PageError> {
    let error = match error {
        Error::Forbidden(_) => PageError::forbidden(
            "サインインし直して、5 分以内にもう一度お試しください。",
            "Please sign in again, and do this within five minutes.",
        ),
        Error::FactorNeeded { .. } => PageError::forbidden(
            "このアカウントには二要素認証が必要です。先に別の認証アプリを登録してください。",
            "This account needs a second factor. Please set up another one first.",
        ),
        other => other.into(),
    };
    if error.status().is_server_error() { Err(error) } else { Ok(error) }
}
