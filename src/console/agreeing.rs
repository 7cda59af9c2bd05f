//! Recovery of an account whose owner has lost every second factor: asked for by one, agreed to by another.

use std::sync::Arc;

use ::account::{Browser, Error as AccountError};
use pages::{PageError, Visit, html};
use store::Batch;
use web::{ApiError, Open, RawCall, Response};

use crate::{
    accounts::{meant, one},
    console::{ACCOUNT, Console, actor},
    frame::{link, page},
    powers::Powers,
    told::of_password,
};

/// Asks, agrees, or takes back.
pub(crate) async fn change(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let form = visit.form()?;
        let user = meant(&visit, form.get("user"))?;
        let (accounts, by) = (&console.accounts, actor(&visit, &browser, &powers));
        let shown = accounts.confirm_own(&browser, form.get("password"), visit.address()).await;
        if let Err(error) = shown {
            let error = of_password(error)?;
            return one(&console, &visit, (&browser, &powers), &user, "", Some(&error)).await;
        }
        let done = match form.get("do") {
            "ask" => accounts.ask_for_recovery(&user, &browser.user_id, &by).await.map(|()| None),
            "withdraw" => accounts.withdraw_recovery(&user, &by).await.map(|()| None),
            "agree" => {
                let (_, demand) = console.demand(&browser, &Powers::agrees_to_recoveries).await?;
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
