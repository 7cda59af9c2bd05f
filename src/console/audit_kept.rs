//! For how long rows of the audit log are kept, and that none are removed (保全).

use std::sync::Arc;

use ::account::Browser;
use audit::{Hold, KeptClass, LONGEST_REASON, Retention, written};
use pages::{Markup, PageError, Visit, html};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    console::{AUDIT, AUDIT_HOLD, Console, actor},
    frame::{field, password_field, table, text},
    powers::Powers,
    told::told,
};

/// The part of the page about that.
///
/// # Errors
/// When it cannot be read whether whoever looks at it has a password.
pub(crate) async fn kept_for(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    kept: &Retention,
) -> Result<Markup, PageError> {
    let form = match powers.holds_audit() {
        true if kept.hold.is_some() => {
            release_form(visit, &password_field(&console.accounts, visit, browser).await?)
        }
        true => hold_form(visit),
        false => html! {},
    };
    let say = |japanese: &'static str, english: &'static str| visit.say(japanese, english);
    let heads = [
        say("種類", "Class"),
        say("保存年数", "Years"),
        say("消去した件数", "Rows gone"),
        say("消去した日付まで", "Gone through"),
        say("状態", "State"),
    ];
    let rows = kept.classes.iter().map(|of| {
        let KeptClass { class, years, gone, gone_through, .. } = of;
        let (ja, en) = class.names();
        let through = gone_through.map(|day| day.to_string()).unwrap_or_default();
        let cells = [say(ja, en).to_owned(), years.to_string(), gone.to_string(), through, state(visit, of)];
        cells.into_iter().map(text).collect::<Vec<_>>()
    });
    Ok(html! {
        h2 { (say("保存期間", "For how long rows are kept")) }
        p { (say(
            "記録は、翌年度の 4 月 1 日から数えて保存年数を過ぎると消去されます。消去された記録の位置と検証用の値は残ります。",
            "Rows go once they were kept for so many years, counted from the next 1 April. Their places and what proves them stay.",
        )) }
        @if let Some(Hold { since, by, reason }) = &kept.hold {
            p.card role="status" {
                (say("消去を止めています（保全）: ", "Nothing is removed: "))
                (reason) " (" (by) ", " (written(*since).get(..10).unwrap_or_default()) ")"
            }
        }
        (table(&heads, rows))
        (form)
    })
}

fn state(visit: &Visit, of: &KeptClass) -> String {
    match (of.due, of.waits, of.next) {
        (0, _, None) => String::new(),
        (0, _, Some(next)) => {
            visit.say(format!("{next} 以降に消去"), format!("The next go on {next} or later"))
        }
        (_, true, _) => visit.say("ログサーバーへの送信待ち", "Due; a log server lacks them").to_owned(),
        (_, false, _) => visit.say("消去の対象あり", "Some are due").to_owned(),
    }
}

fn hold_form(visit: &Visit) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        form.card method="post" action=(AUDIT_HOLD) {
            (visit.proof())
            (field("reason", say("保全の理由", "Why nothing is to be removed"), say(
                "監査ログに残ります。",
                "The audit log tells of it.",
            ), html! {
                input id="reason" name="reason" required maxlength=(LONGEST_REASON) aria-describedby="reason-remark";
            }))
            div.actions { button.second name="do" value="hold" {
                (say("消去を止める（保全）", "Have nothing removed"))
            } }
        }
    }
}

fn release_form(visit: &Visit, password: &Markup) -> Markup {
    html! {
        form.card method="post" action=(AUDIT_HOLD) {
            (visit.proof())
            (password)
            div.actions { button.second name="do" value="release" {
                (visit.say("保全を解除する", "Let rows be removed again"))
            } }
        }
    }
}

/// Has nothing removed any more, or lets it be removed again; that only with the password once more.
pub(crate) async fn hold(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, _: Powers| {
        let form = visit.form()?;
        let (powers, demands) = console.demand(&browser, &Powers::holds_audit).await?;
        let by = actor(&visit, &browser, &powers);
        let (store, authority, now) = (&console.store, visit.authority(), console.clock.now());
        match form.get("do") {
            "hold" => {
                let reason = form.get("reason").trim();
                if reason.is_empty() {
                    return Err(PageError::bad_request(
                        "保全の理由を入力してください。",
                        "Please say why nothing is to be removed.",
                    ));
                }
                audit::hold(store, authority, reason, (&by, &demands), now).await.map_err(told)?;
            }
            "release" => {
                if let Some(refused) = console.unconfirmed(&visit, &browser, &form).await? {
                    return Err(refused);
                }
                audit::release(store, authority, (&by, &demands), now).await.map_err(told)?;
            }
            _ => {
                return Err(PageError::bad_request(
                    "操作が選ばれていません。",
                    "Nothing was chosen to be done.",
                ));
            }
        }
        Ok(visit.redirect(AUDIT))
    };
    console.answer(call, Powers::holds_audit, handler).await
}
