//! Who decides for the visitor, and for whom he does.

use std::sync::Arc;

use ::account::Browser;
use cases::{Answer, Deputy, Order};
use intake::Date;
use organisation::calendar::{before, day_of};
use pages::{Form, PageError, Visit, field, html, of_password, password_field, table, text};
use ruma::UserId;
use web::{ApiError, Open, RawCall, Response};

use crate::{
    counter::{Counter, DEPUTIES, unexpected},
    frame::{page, signed_out},
};

pub(crate) async fn show(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler =
        async |visit: Visit, browser: Browser| one(&counter, &visit, &browser, &Form::default(), None).await;
    counter.answer(call, handler).await
}

/// Names a deputy, or ends that.
pub(crate) async fn change(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let Some(browser) = visit.browser().cloned() else { return signed_out(&visit, DEPUTIES) };
        let (typed, done) = match visit.form() {
            Ok(form) => {
                let done = carry_out(&counter, &visit, &browser, &form).await;
                (form, done)
            }
            Err(error) => (visit.typed().ok_or_else(PageError::not_found)?, Err(error)),
        };
        match done {
            Ok(()) => Ok(visit.redirect(DEPUTIES)),
            Err(error) if error.status().is_server_error() => Err(error),
            Err(error) => one(&counter, &visit, &browser, &typed, Some(&error)).await,
        }
    };
    counter.pages.answer(call, answer).await
}

async fn carry_out(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
    form: &Form,
) -> Result<(), PageError> {
    let no_day = || {
        PageError::bad_request(
            "2026-04-01 のような日付を入力してください。",
            "Please type a day such as 2026-04-01.",
        )
    };
    // Agreeing asks for the password: so does saying who may agree in one's place. Taking that back gives nobody anything.
    let order = match form.find("end") {
        Some(deputy) => Order::EndDeputy { deputy: UserId::parse(deputy).map_err(|_| no_day())? },
        None => {
            let day = |name: &str| -> Result<Date, PageError> {
                form.get(name).trim().parse().map_err(|_| no_day())
            };
            let (deputy, from, until) = (form.get("deputy").to_owned(), day("from")?, day("until")?);
            let confirmed =
                counter.accounts.confirm_own(browser, form.get("password"), visit.address()).await;
            if let Err(error) = confirmed {
                return Err(of_password(error)?);
            }
            Order::NameDeputy { deputy, from, until }
        }
    };
    counter.order(visit, browser, order).await.map(drop)
}

async fn one(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
    typed: &Form,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let Answer::Deputies { own, of } = counter.order(visit, browser, Order::Deputies).await? else {
        return Err(unexpected());
    };
    let say = |japanese, english| visit.say(japanese, english);
    let password = password_field(&counter.accounts, visit, browser).await?;
    let day = |day: Option<Date>| {
        day.map_or_else(String::new, |day| visit.language().pick(day.in_era(), day.to_string()))
    };
    let days = |deputy: &Deputy| {
        let (from, until) = (day(day_of(deputy.from)), day(day_of(deputy.until).and_then(before)));
        format!("{from} – {until}")
    };
    let heads = [say("アカウント", "Account"), say("期間", "Days"), ""];
    let rows = own.iter().map(|deputy| {
        vec![
            html! { small.id { (deputy.user) } },
            text(days(deputy)),
            html! { form method="post" action=(DEPUTIES) {
                (visit.proof())
                input type="hidden" name="end" value=(deputy.user);
                button.second { (say("終える", "End it")) }
            } },
        ]
    });
    let today = day_of(counter.clock.now()).as_ref().map(Date::to_string).unwrap_or_default();
    let body = html! {
        (visit.problem(error))
        p { (say(
            "不在の間、あなたの職によって決める案件を、代理者が決められます。役割（人事担当など）による承認は代理できません。",
            "While you are away your deputy decides what you decide by your post. What you decide by a duty is not handed on.",
        )) }
        h2 { (say("あなたの代理者", "Who decides for you")) }
        @if own.is_empty() { p { (say("いません。", "Nobody.")) } } @else { (table(&heads, rows)) }
        form.card method="post" action=(DEPUTIES) {
            (visit.proof())
            (field("deputy", say("代理者のアカウント", "Account of the deputy"), "", html! {
                input id="deputy" name="deputy" value=(typed.get("deputy")) required maxlength="255" autocapitalize="none"
                    spellcheck="false";
            }))
            (field("from", say("いつから", "From"), "", html! {
                input id="from" name="from" type="date" required value=(typed.find("from").unwrap_or(&today));
            }))
            (field("until", say("いつまで（この日を含む）", "Until (the last day)"), "", html! {
                input id="until" name="until" type="date" required value=(typed.get("until"));
            }))
            (password)
            div.actions { button { (say("代理者を指定する", "Name the deputy")) } }
        }
        h2 { (say("あなたが代理している人", "For whom you decide")) }
        @if of.is_empty() { p { (say("いません。", "Nobody.")) } } @else {
            (table(&heads[..2], of.iter().map(|(whose, deputy)| {
                vec![html! { small.id { (whose) } }, text(days(deputy))]
            })))
        }
    };
    Ok(visit.page(page(visit, say("代理", "Deputies"), body).status_of(error).again_at(DEPUTIES.to_owned())))
}
