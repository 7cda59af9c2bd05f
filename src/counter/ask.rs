//! Asking for something, and asking again for what was returned.

use std::sync::Arc;

use ::account::Browser;
use cases::{Answer, CaseId, Field, FieldKind, KindTold, Order, Shown, limits::LONGEST_TEXT};
use pages::{Form, Markup, PageError, Visit, field, html, of_password, password_field};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    counter::{ASK, Counter, case_of, id, unexpected},
    frame::{asked_to_mean, means, page, path_of, said, signed_out},
};

/// What can be asked for.
pub(crate) async fn kinds(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser| {
        let Answer::Kinds(kinds) = counter.order(&visit, &browser, Order::Kinds).await? else {
            return Err(unexpected());
        };
        let body = html! {
            @for kind in &kinds {
                section.card {
                    h2 { a href={ (ASK) "/" (kind.word) } { (said(&visit, &kind.name)) } }
                    p { (said(&visit, &kind.about)) }
                }
            }
        };
        Ok(visit.page(page(&visit, visit.say("申請する", "Ask for something"), body)))
    };
    counter.answer(call, handler).await
}

pub(crate) async fn show(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser| {
        let kind = kind(&counter, &visit, &browser, &kind_of_path(&visit)?).await?;
        let typed = visit.query()?;
        let path = format!("{ASK}/{}", kind.word);
        form(&counter, &visit, &browser, (&kind, &path, None), &typed, None).await
    };
    counter.answer(call, handler).await
}

pub(crate) async fn send(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let word = kind_of_path(&visit)?;
        let path = format!("{ASK}/{word}");
        let Some(browser) = visit.browser().cloned() else { return signed_out(&visit, &path) };
        let kind = kind(&counter, &visit, &browser, &word).await?;
        let (typed, done) = match visit.form() {
            Ok(typed) => {
                let (fields, reason) = said_in(&typed, &kind);
                let order = Order::Ask { kind: word, fields, reason, means: means(&typed) };
                let done = give(&counter, &visit, &browser, (&kind, &typed), order).await;
                (typed, done)
            }
            // Whoever has signed in anew meanwhile looks at what he typed once more.
            Err(error) => (visit.typed().ok_or_else(PageError::not_found)?, Err(error)),
        };
        match done {
            Ok(answer) => Ok(visit.redirect(&path_of(case_of(answer)?.id))),
            Err(error) if error.status().is_server_error() => Err(error),
            Err(error) => form(&counter, &visit, &browser, (&kind, &path, None), &typed, Some(&error)).await,
        }
    };
    counter.pages.answer(call, answer).await
}

pub(crate) async fn show_again(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser| {
        let (kind, shown, path) = returned(&counter, &visit, &browser).await?;
        let mut typed: Vec<(String, String)> = vec![("reason".to_owned(), shown.case.reason.clone())];
        typed.extend(
            shown
                .case
                .fields
                .iter()
                .map(|(word, _)| (format!("field-{word}"), typed_of(&kind, &shown, word))),
        );
        let query = pages::link(
            "",
            &typed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(),
        );
        let typed = Form::of_query(query.strip_prefix('?'))?;
        let seen = Some(shown.case.version);
        form(&counter, &visit, &browser, (&kind, &path, seen), &typed, None).await
    };
    counter.answer(call, handler).await
}

pub(crate) async fn send_again(counter: Arc<Counter>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: Visit| {
        let id = id(&visit)?;
        let path = format!("{}/again", path_of(id));
        let Some(browser) = visit.browser().cloned() else { return signed_out(&visit, &path) };
        let (kind, shown, path) = returned(&counter, &visit, &browser).await?;
        let (typed, done) = match visit.form() {
            Ok(typed) => {
                let ((fields, reason), seen) = (said_in(&typed, &kind), typed.get("seen").parse().ok());
                let order = Order::AskAgain { id, fields, reason, seen, means: means(&typed) };
                let done = give(&counter, &visit, &browser, (&kind, &typed), order).await;
                (typed, done)
            }
            Err(error) => (visit.typed().ok_or_else(PageError::not_found)?, Err(error)),
        };
        match done {
            Ok(_) => Ok(visit.redirect(&path_of(id))),
            Err(error) if error.status().is_server_error() => Err(error),
            Err(error) => {
                let seen = Some(shown.case.version);
                form(&counter, &visit, &browser, (&kind, &path, seen), &typed, Some(&error)).await
            }
        }
    };
    counter.pages.answer(call, answer).await
}

/// Gives an order; who agrees by asking shows once more that it is he.
async fn give(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
    (kind, typed): (&KindTold, &Form),
    order: Order,
) -> Result<Answer, PageError> {
    if kind.asking_agrees
        && let Err(error) =
            counter.accounts.confirm_own(browser, typed.get("password"), visit.address()).await
    {
        return Err(of_password(error)?);
    }
    counter.order(visit, browser, order).await
}

/// What a field of a case was typed as: a unit by the names that it is shown with.
fn typed_of(kind: &KindTold, shown: &Shown, word: &str) -> String {
    let is_unit = kind.fields.iter().any(|field| field.word == word && field.kind == FieldKind::Unit);
    let field = shown.fields.iter().find(|field| field.word == word);
    field.map(|field| if is_unit { field.shown.ja.clone() } else { field.value.clone() }).unwrap_or_default()
}

/// The case of a path, which its visitor may see, with its kind.
async fn returned(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
) -> Result<(KindTold, Shown, String), PageError> {
    let CaseId(number) = id(visit)?;
    let shown = counter.case(visit, browser, CaseId(number)).await?;
    if shown.case.asker != browser.user_id {
        return Err(PageError::not_found());
    }
    let Answer::Kinds(kinds) = counter.order(visit, browser, Order::KindOf { id: shown.id }).await? else {
        return Err(unexpected());
    };
    let kind = kinds.into_iter().next().ok_or_else(PageError::not_found)?;
    let path = format!("{}/again", path_of(shown.id));
    Ok((kind, shown, path))
}

fn kind_of_path(visit: &Visit) -> Result<String, PageError> {
    Ok(visit.call.args.get(0)?)
}

async fn kind(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
    word: &str,
) -> Result<KindTold, PageError> {
    let Answer::Kinds(kinds) = counter.order(visit, browser, Order::Kinds).await? else {
        return Err(unexpected());
    };
    kinds.into_iter().find(|kind| kind.word == word).ok_or_else(PageError::not_found)
}

fn said_in(form: &Form, kind: &KindTold) -> (Vec<(String, String)>, String) {
    let fields = kind.fields.iter().map(|field| {
        let value = form.get(&format!("field-{}", field.word)).to_owned();
        (field.word.clone(), value)
    });
    (fields.collect(), form.get("reason").to_owned())
}

/// The form, with what was typed before; why it was not taken, where it was not.
async fn form(
    counter: &Counter,
    visit: &Visit,
    browser: &Browser,
    (kind, path, seen): (&KindTold, &str, Option<u32>),
    typed: &Form,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    let (fields, _) = said_in(typed, kind);
    let order = Order::Meant { kind: kind.word.clone(), fields };
    let Answer::Meant(meant) = counter.order(visit, browser, order).await? else { return Err(unexpected()) };
    let password = match kind.asking_agrees {
        true => password_field(&counter.accounts, visit, browser).await?,
        false => html! {},
    };
    let say = |japanese, english| visit.say(japanese, english);
    let body = html! {
        (visit.problem(error))
        p { (said(visit, &kind.about)) }
        form.card method="post" action=(path) {
            (visit.proof())
            @if let Some(seen) = seen { input type="hidden" name="seen" value=(seen); }
            @for one in &kind.fields {
                @let name = format!("field-{}", one.word);
                @let value = typed.get(&name);
                (field(&name, said(visit, &one.label), said(visit, &one.remark), input(visit, one, &name, value)))
            }
            (field("reason", say("理由", "Reason"), say("承認する人が読みます。", "Those who decide read it."), html! {
                textarea id="reason" name="reason" rows="4" required maxlength=(LONGEST_TEXT)
                    aria-describedby="reason-remark" { (typed.get("reason")) }
            }))
            (asked_to_mean(visit, &meant, typed))
            (password)
            div.actions { button { (say("申請する", "Ask for it")) } }
        }
    };
    let page = page(visit, said(visit, &kind.name), body);
    Ok(visit.page(page.status_of(error).again_at(path.to_owned())))
}

fn input(visit: &Visit, field: &Field, name: &str, value: &str) -> Markup {
    let described = (!field.remark.ja.is_empty()).then(|| format!("{name}-remark"));
    let required = !field.optional;
    match &field.kind {
        FieldKind::Text { most, lines: true } => html! {
            textarea id=(name) name=(name) rows="4" required[required] maxlength=(most) aria-describedby=[described] { (value) }
        },
        FieldKind::Text { most, lines: false } => html! {
            input id=(name) name=(name) value=(value) required[required] maxlength=(most) aria-describedby=[described];
        },
        FieldKind::Person => html! {
            input id=(name) name=(name) value=(value) required[required] maxlength="255" autocapitalize="none"
                spellcheck="false" aria-describedby=[described];
        },
        FieldKind::Unit | FieldKind::Room => html! {
            input id=(name) name=(name) value=(value) required[required] maxlength="255" aria-describedby=[described];
        },
        FieldKind::Date { .. } => html! {
            input id=(name) name=(name) type="date" value=(value) required[required] aria-describedby=[described];
        },
        FieldKind::Minute => html! {
            input id=(name) name=(name) type="datetime-local" value=(value) required[required] aria-describedby=[described];
        },
        FieldKind::Number { least, most } => html! {
            input id=(name) name=(name) type="number" min=(least) max=(most) value=(value) required[required]
                aria-describedby=[described];
        },
        FieldKind::Choice(all) => html! {
            select id=(name) name=(name) required[required] aria-describedby=[described] {
                option value="" { (visit.say("選んでください", "Please choose")) }
                @for (word, told) in all {
                    option value=(word) selected[word == value] { (said(visit, told)) }
                }
            }
        },
    }
}
