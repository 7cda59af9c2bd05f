//! Recovery of an account whose owner has lost every second factor: asked for by one, agreed to by another.
//!
//! Any administrator asks. Whoever agrees administers as well and has a duty to approve, as with change sets: one administrator
//! makes another, who would be nobody else.

use std::sync::Arc;

use ::account::{Account, Browser, Error as AccountError};
use pages::{Markup, PageError, Visit, html};
use store::Batch;
use web::{ApiError, Open, RawCall, Response};

use crate::{
    accounts::{meant, one},
    console::{ACCOUNT, Console, RECOVERY, actor},
    frame::{link, moment, page, password_field},
    powers::Powers,
    told::of_password,
};

/// What is told of an account's factors, and what may be done about them.
pub(crate) async fn section(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    account: &Account,
) -> Result<Markup, PageError> {
    let say = |japanese, english| visit.say(japanese, english);
    let factors = console.accounts.factors(&account.user_id).await?;
    let recovery = console.accounts.find_recovery(&account.user_id).await?;
    let state = match (factors.is_recovered(), factors.list().len()) {
        (true, _) => say("再設定待ち", "waits to be set up anew").to_owned(),
        (false, 0) => say("設定なし", "none").to_owned(),
        (false, count) => format!("{count}"),
    };
    let is_own = *account.user_id == *browser.user_id;
    let choices: Vec<(&str, &str)> = match &recovery {
        None if factors.is_any() => vec![("ask", say("再設定を申請する", "Ask for a recovery"))],
        None => Vec::new(),
        Some(recovery) => {
            let may_agree = recovery.asked_by != browser.user_id.as_str() && powers.agrees_to_recoveries();
            let agree = may_agree.then_some((
                "agree",
                say(
                    "承認し、すべて解除する（端末もサインアウトされます）",
                    "Agree: all factors and devices end",
                ),
            ));
            agree.into_iter().chain([("withdraw", say("申請を取り下げる", "Take it back"))]).collect()
        }
    };
    Ok(html! {
        h2 { (say("二要素認証", "Second factors")) }
        div.card { dl {
            dt { (say("登録", "Set up")) } dd { (state) }
            @if let Some(recovery) = &recovery {
                dt { (say("再設定の申請", "Recovery asked for by")) } dd.id { (recovery.asked_by) }
                dt { (say("申請日時", "At")) } dd { (moment(visit, recovery.asked)) }
            }
        } }
        @if !is_own && !account.deactivated && !choices.is_empty() {
            form.card method="post" action=(RECOVERY) {
                (visit.proof())
                input type="hidden" name="user" value=(account.user_id);
                p { (say(
                    "本人がすべての二要素認証を失ったときに使います。別の人が承認すると、登録済みの要素、回復コード、すべての端末とブラウザーのサインインが無効になり、本人に渡すコードが一度だけ表示されます。",
                    "For somebody who has lost all of them. Once another person agrees, all factors, codes, devices and browsers of the account end, and a code to hand over is shown once.",
                )) }
                (password_field(&console.accounts, visit, browser).await?)
                div.actions { @for (word, name) in &choices {
                    button.danger[*word == "agree"].second[*word != "agree"] name="do" value=(word) { (name) }
                } }
            }
        }
    })
}

/// The accounts whose recovery waits for somebody to agree.
pub(crate) async fn waiting(console: &Console, visit: &Visit) -> Result<Markup, PageError> {
    let waiting = console.accounts.recoveries(visit.authority()).await?;
    Ok(html! { @if !waiting.is_empty() {
        h2 { (visit.say("承認を待つ二要素認証の再設定", "Recoveries that wait for somebody to agree")) }
        ul { @for user in &waiting {
            li { a.id href=(link(ACCOUNT, &[("user", user)])) { (user) } }
        } }
    } })
}

/// Asks, agrees, or takes back.
pub(crate) async fn change(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let user = meant(&visit, form.get("user"))?;
        let (accounts, by) = (&console.accounts, actor(&visit, &browser));
        let shown = accounts.confirm_own(&browser, form.get("password"), visit.address()).await;
        if let Err(error) = shown {
            let error = of_password(error)?;
            return one(&console, &visit, (&browser, &powers), &user, "", Some(&error)).await;
        }
        let done = match form.get("do") {
            "ask" => accounts.ask_for_recovery(&user, &browser.user_id, &by).await.map(|()| None),
            "withdraw" => accounts.withdraw_recovery(&user, &by).await.map(|()| None),
            "agree" => {
                let demand = console.demand(&browser, &Powers::agrees_to_recoveries).await?;
                let demand: &(dyn Fn(&mut Batch) + Send + Sync) = &demand;
                accounts.agree_to_recovery(&user, &browser.user_id, &by, demand).await.map(Some)
            }
            _ => return Err(PageError::not_found()),
        };
        match done {
            Ok(None) => Ok(visit.redirect(&link(ACCOUNT, &[("user", user.as_str())]))),
            Ok(Some(code)) => Ok(code_page(&visit, &powers, user.as_str(), &code)),
            Err(error) => {
                let error = told(error);
                if error.status().is_server_error() {
                    return Err(error);
                }
                one(&console, &visit, (&browser, &powers), &user, "", Some(&error)).await
            }
        }
    };
    console.answer(call, Powers::administers, handler).await
}

fn code_page(visit: &Visit, powers: &Powers, user: &str, code: &str) -> Response {
    let say = |japanese, english| visit.say(japanese, english);
    let here = link(ACCOUNT, &[("user", user)]);
    let body = html! {
        p role="status" { (say(
            "すべての二要素認証とサインインを無効にしました。",
            "All second factors and sessions of the account have ended.",
        )) }
        div.card {
            dl { dt { (say("アカウント", "Account")) } dd.id { (user) } }
            p { (say(
                "次のコードを、本人であることを確かめてから直接渡してください。3 日以内に、本人がパスワードとこのコードでサインインし、新しく設定します。この画面を閉じると二度と表示されません。",
                "Hand this code over in person. Within three days its owner signs in with the password and this code, and sets up another factor. It is never shown again.",
            )) }
            p.shown-code id="code" { (code) }
        }
        p { a.button href=(here) { (say("アカウントに戻る", "Back to the account")) } }
    };
    visit.page(page(visit, powers, say("再設定のコード", "Code to hand over"), body).again_at(here.clone()))
}

fn told(error: AccountError) -> PageError {
    match error {
        AccountError::Forbidden(_) => PageError::forbidden(
            "行えません。申請した人以外の承認が必要です。役割のある人のアカウントは、サーバーのコマンド（yakuba user factors reset）で再設定してください。",
            "This cannot be done: somebody else than who asked has to agree, and accounts of people with a duty are recovered at the command line (yakuba user factors reset).",
        ),
        AccountError::NotFound(_) => PageError::bad_request(
            "対象がありません。申請が取り下げられたか、期限が切れたか、二要素認証が設定されていません。",
            "There is nothing to do: it was taken back or has run out, or the account has no second factor.",
        ),
        other => other.into(),
    }
}
