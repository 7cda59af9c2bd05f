//! Second factors of an account, and its recovery where they are lost: what is shown of it. `agreeing` does it.
//!
//! Any administrator asks. Whoever agrees administers as well and has a duty to approve, as with change sets: one administrator
//! makes another, who would be nobody else.

use ::account::{Account, Browser};
use pages::{Markup, PageError, Visit, html};

use crate::{
    console::{ACCOUNT, Console, RECOVERY},
    frame::{link, moment, password_field},
    powers::Powers,
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
