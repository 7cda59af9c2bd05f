//! A case: what was asked, how far it has come, and what the visitor may do with it.

use std::sync::Arc;

use ::account::Browser;
use cases::{CaseId, Event, Order, Shown, State, limits::LONGEST_TEXT};
use pages::{Form, Markup, PageError, Visit, field, html, of_password, password_field, table, text};
use web::{ApiError, Open, RawCall, Response, StatusCode};

use crate::{
    counter::{Counter, id},
    frame::{asked_to_mean, deputy, means, moment, page, path_of, person, said, signed_out},
};

pub(crate) async fn show(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser| {
        let id = id(&visit)?;
        one(&counter, &visit, &browser, id, &Form::default(), None).await
    };
    counter.answer(call, handler).await
}

/// Does what the visitor chose.
pub(crate) async fn decide(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let id = id(&visit)?;
        let Some(browser) = visit.browser().cloned() else { return signed_out(&visit, &path_of(id)) };
        let (typed, done) = match visit.form() {
            Ok(form) => {
                let done = carry_out(&counter, &visit, &browser, id, &form).await;
                (form, done)
            }
            // Whoever has signed in anew meanwhile looks at what he typed once more.
            Err(error) => (visit.typed().ok_or_else(PageError::not_found)?, Err(error)),
        };
        match done {
            Ok(()) => Ok(visit.redirect(&path_of(id))),
            Err(error) if error.status().is_server_error() || error.status() == StatusCode::NOT_FOUND => {
                Err(error)
            }
            Err(error) => one(&counter, &visit, &browser, id, &typed, Some(&error)).await,
        }
    };
    counter.pages.answer(call, answer).await
}

async fn carry_out(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
    id: CaseId,
    form: &Form,
) -> Result<(), PageError> {
    let (text, seen) = (form.get("text").to_owned(), form.get("seen").parse().ok());
    let order = match form.get("do") {
        "approve" => Order::Approve { id, text, seen, means: means(form) },
        "return" => Order::Return { id, text, seen },
        "refuse" => Order::Refuse { id, text, seen },
        "withdraw" => Order::Withdraw { id, text, seen },
        "undo" => Order::Undo { id, text, seen },
        "retry" => Order::Retry { id, seen },
        _ => {
            return Err(PageError::bad_request(
                "送信された内容を読み取れませんでした。",
                "What was sent could not be read.",
            ));
        }
    };
    if matches!(order, Order::Approve { .. } | Order::Undo { .. }) {
        // First whether there is such a case for him: nobody is asked for a password to learn that.
        counter.case(visit, browser, id).await?;
        let confirmed = counter.accounts.confirm_own(browser, form.get("password"), visit.address()).await;
        if let Err(error) = confirmed {
            return Err(of_password(error)?);
        }
    }
    counter.order(visit, browser, order).await.map(drop)
}

/// The page; why nothing was done, where it was not.
async fn one(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
    id: CaseId,
    typed: &Form,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let shown = counter.case(visit, browser, id).await?;
    let say = |japanese, english| visit.say(japanese, english);
    let (case, password) = (&shown.case, password_field(&counter.accounts, visit, browser).await?);
    let body = html! {
        (visit.problem(error))
        section.card {
            dl {
                dt { (say("種類", "Kind")) } dd { (said(visit, &shown.kind)) }
                dt { (say("状態", "State")) } dd { strong { (said(visit, &case.state.words())) } }
                @if let Some(since) = &shown.since { dt { (say("その後", "Since then")) } dd { (said(visit, since)) } }
                @if let State::Failed(why) = &case.state { dt { (say("理由", "Why")) } dd { (said(visit, why)) } }
                dt { (say("申請者", "Asked by")) } dd { (person(visit, &shown.asker)) }
                dt { (say("申請", "Asked at")) } dd { (moment(visit, case.asked_at)) }
                @for field in &shown.fields {
                    dt { (said(visit, &field.label)) } dd { (said(visit, &field.shown)) }
                }
                dt { (say("申請の理由", "Reason")) } dd { (lines(&case.reason)) }
                @if let (State::Done, Some(until)) = (&case.state, case.until) {
                    dt { (say("終了", "Ends at")) } dd { (moment(visit, until)) }
                }
            }
        }
        @if let Some(page) = &shown.page {
            p { a href=(page) { (say("内容を詳しく見る", "Look at it in detail")) } }
        }
        (waits_for(visit, &shown))
        (forms(visit, &shown, typed, &password))
        h2 { (say("経過", "History")) }
        (history(visit, &shown.history))
    };
    let title = format!("{} {}: {}", say("案件", "Case"), id.0, said(visit, &case.title));
    Ok(visit.page(page(visit, &title, body).status_of(error).again_at(path_of(id))))
}

/// A text with its lines.
fn lines(text: &str) -> Markup {
    html! { @for (at, line) in text.lines().enumerate() { @if at > 0 { br; } (line) } }
}

fn waits_for(visit: &Visit, shown: &Shown) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    html! {
        @if shown.missing > 0 {
            h2 { (say("承認を待っている人", "Whom it waits for")) }
            @if shown.fell {
                p.note { (say(
                    "本来決める人がいないため、全体管理者が決めます。",
                    "Administrators decide, since nobody else can.",
                )) }
            }
            p { (say("必要な承認: あと ", "Approvals that are missing: ")) (shown.missing) (say(" 人", ""))
                " " small { (say("期限: ", "until ")) (moment(visit, shown.case.expires)) } }
            @if shown.deciders.len() + shown.more_deciders < shown.missing {
                p.problem { (say(
                    "承認できる人が足りません。役割のある人を増やすか、案件を取り下げてください。",
                    "Too few people can approve this. Somebody else has to get the duty, or the case to be withdrawn.",
                )) }
            }
            ul { @for one in &shown.deciders { li { (person(visit, one)) } } }
            @if shown.more_deciders > 0 { p { (say("ほか ", "and ")) (shown.more_deciders) (say(" 人", " more")) } }
        }
    }
}

fn forms(visit: &Visit, shown: &Shown, typed: &Form, password: &Markup) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let may = |what: &str| shown.may.iter().any(|may| may == what);
    let path = path_of(shown.id);
    let remark = |id: &str, label: &str, remark: &str, required: bool| {
        let described = (!remark.is_empty()).then(|| format!("{id}-remark"));
        field(
            id,
            label,
            remark,
            html! {
                textarea id=(id) name="text" rows="3" required[required] maxlength=(LONGEST_TEXT)
                    aria-describedby=[described] { (typed.get("text")) }
            },
        )
    };
    html! {
        @if may("approve") {
            h2 { (say("承認・差し戻し・却下", "Your decision")) }
            form.card method="post" action=(path) {
                (visit.proof())
                input type="hidden" name="seen" value=(shown.case.version);
                @if let Some(of) = &shown.for_whom { p { (deputy(visit, of.as_str())) } }
                (asked_to_mean(visit, &shown.meant, typed))
                (remark("text", say("一言・理由", "Remark or reason"), say(
                    "差し戻しと却下では必ず入力してください。申請者に伝わります。",
                    "Needed to give it back or refuse it. Who asked reads it.",
                ), false))
                (password)
                div.actions {
                    button name="do" value="approve" { (say("承認する", "Approve")) }
                    button.second name="do" value="return" formnovalidate { (say("差し戻す", "Give it back")) }
                    button.danger name="do" value="refuse" formnovalidate { (say("却下する", "Refuse")) }
                }
            }
        }
        @if may("ask_again") {
            p { a.button href={ (path) "/again" } { (say("修正して申請し直す", "Change it and ask again")) } }
        }
        @if may("withdraw") {
            details.card {
                summary { (say("この案件を取り下げる", "Take this case back")) }
                form method="post" action=(path) {
                    (visit.proof())
                    input type="hidden" name="seen" value=(shown.case.version);
                    (remark("withdraw-text", say("理由（任意）", "Reason, if you like"), "", false))
                    div.actions { button.danger name="do" value="withdraw" { (say("取り下げる", "Take it back")) } }
                }
            }
        }
        @if may("retry") {
            form.card method="post" action=(path) {
                (visit.proof())
                input type="hidden" name="seen" value=(shown.case.version);
                div.actions { button name="do" value="retry" { (say("もう一度実施する", "Try it again")) } }
            }
        }
        @if may("undo") {
            details.card {
                summary { (say("実施した内容を取り消す", "Undo what was done")) }
                form method="post" action=(path) {
                    (visit.proof())
                    input type="hidden" name="seen" value=(shown.case.version);
                    (remark("undo-text", say("理由", "Reason"), "", true))
                    @if !may("approve") { (password) }
                    div.actions { button.danger name="do" value="undo" { (say("取り消す", "Undo it")) } }
                }
            }
        }
    }
}

fn history(visit: &Visit, events: &[Event]) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let heads =
        [say("日時", "When"), say("だれが", "Who"), say("何を", "What"), say("内容", "What was said")];
    let rows = events.iter().map(|event| {
        vec![
            text(moment(visit, event.at)),
            html! {
                @if event.by.is_empty() { (say("サーバー", "the server")) } @else { small.id { (event.by) } }
                @if let Some(of) = &event.for_whom { " " (deputy(visit, of.as_str())) }
            },
            text(said(visit, &event.deed.words())),
            lines(&event.text),
        ]
    });
    table(&heads, rows)
}
