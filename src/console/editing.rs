//! The organisation is changed by hand: units are made, renamed, moved, merged, split and closed, somebody is away or goes by
//! another name, it is said who is responsible for what. Acts are gathered one after another, each tried on what those before
//! it leave, until they become a change set. Nothing is kept of them before that: they are in the form.

use std::sync::Arc;

use ::account::Browser;
use pages::{Form, Markup, PageError, Visit, html};
use personnel::{Act, Answer, Edit, Order, Tried};
use web::{ApiError, Open, RawCall, Response};

use crate::{
    acts::{Deed, named},
    asked::{asked_day, asked_minute},
    console::{Console, EDIT, unexpected},
    frame::{day, field, page, said, say},
    powers::Powers,
    short::path_of,
};

/// What stands before the number of an act that a form carries from page to page.
const CARRIED: &str = "act-";

/// So many acts a form can carry beside its other fields.
const MOST_CARRIED: usize = 450;

/// What was gathered so far, and what is typed for the next act.
struct Gathered<'a> {
    acts: Vec<Act>,
    deed: Option<Deed>,
    typed: &'a Form,
}

/// The first page: nothing is gathered yet.
pub(crate) async fn ask(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let query = visit.query()?;
        let deed = Deed::of_word(query.get("deed"))
            .filter(|deed| powers.changes_organisation() || Deed::OF_A_PART.contains(deed));
        let gathered = Gathered { acts: Vec::new(), deed, typed: &query };
        show(&console, &visit, (&browser, &powers), &gathered, None).await
    };
    console.answer(call, Powers::changes_a_part, handler).await
}

/// Adds an act to those that were gathered, takes one out again, or makes a change set of them.
pub(crate) async fn gather(console: Arc<Console>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let handler = async |visit: Visit, browser: Browser, powers: Powers| {
        let visitor = (&browser, &powers);
        let form = match visit.form() {
            Ok(form) => form,
            // Whoever has signed in anew meanwhile finds what he had gathered.
            Err(error) => {
                let Some(typed) = visit.typed() else { return Err(error) };
                let deed = Deed::of_word(typed.get("deed"));
                let gathered = Gathered { acts: acts(&typed)?, deed, typed: &typed };
                return show(&console, &visit, visitor, &gathered, Some(&error)).await;
            }
        };
        let mut gathered = Gathered { acts: acts(&form)?, deed: None, typed: &form };
        let word = form.get("do");
        if let Some(deed) = word.strip_prefix("deed:") {
            gathered.deed = Deed::of_word(deed);
            return show(&console, &visit, visitor, &gathered, None).await;
        }
        if let Some(place) = word.strip_prefix("remove:") {
            let place: usize = place.parse().map_err(|_| PageError::not_found())?;
            if place < gathered.acts.len() {
                gathered.acts.remove(place);
            }
            return show(&console, &visit, visitor, &gathered, None).await;
        }
        match word {
            "day" => show(&console, &visit, visitor, &gathered, None).await,
            "add" => {
                let deed = Deed::of_word(form.get("deed")).ok_or_else(PageError::not_found)?;
                gathered.deed = Some(deed);
                match add(&console, &visit, visitor, &gathered).await {
                    Ok(acts) => {
                        let none = Form::default();
                        let more = Gathered { acts, deed: None, typed: &none };
                        let day = asked_day(&form)?;
                        answer(&console, &visit, visitor, (&more, day), None).await
                    }
                    Err(error) if error.status().is_server_error() => Err(error),
                    Err(error) => show(&console, &visit, visitor, &gathered, Some(&error)).await,
                }
            }
            "propose" => match propose(&console, &visit, visitor, &gathered).await {
                Ok(response) => Ok(response),
                Err(error) if error.status().is_server_error() => Err(error),
                Err(error) => show(&console, &visit, visitor, &gathered, Some(&error)).await,
            },
            _ => Err(PageError::not_found()),
        }
    };
    console.answer(call, Powers::changes_a_part, handler).await
}

/// The acts that a form carries, each in a field of its own, in their order.
fn acts(form: &Form) -> Result<Vec<Act>, PageError> {
    let carried = form.fields().filter(|(name, _)| name.starts_with(CARRIED));
    let acts: Option<Vec<Act>> = carried.map(|(_, act)| serde_json::from_str(act).ok()).collect();
    acts.filter(|acts| acts.len() <= MOST_CARRIED).ok_or_else(|| {
        PageError::bad_request(
            format!("変更の一覧を読み取れないか、{MOST_CARRIED} 件を超えています。"),
            format!("The acts cannot be read, or there are more than {MOST_CARRIED}."),
        )
    })
}

/// The acts with the one that is typed, if that can be done after them.
async fn add(
    console: &Console,
    visit: &Visit,
    visitor: (&Browser, &Powers),
    gathered: &Gathered<'_>,
) -> Result<Vec<Act>, PageError> {
    let act = gathered.deed.map(|deed| deed.act(gathered.typed)).transpose()?;
    let mut acts = gathered.acts.clone();
    acts.extend(act);
    tried(console, visit, visitor, (&acts, asked_day(gathered.typed)?)).await?;
    Ok(acts)
}

async fn tried(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    (acts, day): (&[Act], Option<intake::Date>),
) -> Result<Tried, PageError> {
    let edit = Edit { acts: acts.to_vec(), day, at: None, within: powers.changes_within() };
    match console.ask(visit, browser, Order::Try(Box::new(edit))).await? {
        Answer::Tried(tried) => Ok(tried),
        _ => Err(unexpected()),
    }
}

async fn propose(
    console: &Console,
    visit: &Visit,
    (browser, powers): (&Browser, &Powers),
    gathered: &Gathered<'_>,
) -> Result<Response, PageError> {
    let form = gathered.typed;
    let within = powers.changes_within();
    let (day, at) = (asked_day(form)?, asked_minute(form)?);
    let edit = Edit { acts: gathered.acts.clone(), day, at, within: within.clone() };
    // As much as it was looked at for, or all.
    let may = |powers: &Powers| {
        powers.changes_a_part() && powers.changes_within().is_none_or(|now| Some(now) == within)
    };
    match console.order(visit, browser, may, Order::Edit(Box::new(edit))).await? {
        Answer::Set(id, _) => Ok(visit.redirect(&path_of(id))),
        _ => Err(unexpected()),
    }
}

async fn show(
    console: &Console,
    visit: &Visit,
    visitor: (&Browser, &Powers),
    gathered: &Gathered<'_>,
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    // A day that cannot be read is no reason to lose what was gathered.
    let (day, wrong) = match asked_day(gathered.typed) {
        Ok(day) => (day, None),
        Err(wrong) => (None, Some(wrong)),
    };
    answer(console, visit, visitor, (gathered, day), error.or(wrong.as_ref())).await
}

/// The page: what was gathered, what can be added, and the form of the act that is being typed.
async fn answer(
    console: &Console,
    visit: &Visit,
    visitor: (&Browser, &Powers),
    (gathered, day): (&Gathered<'_>, Option<intake::Date>),
    error: Option<&PageError>,
) -> Result<Response, PageError> {
    // What could be done when it was gathered may not be by now, as the organisation has changed: it can be taken out.
    let (tried, cannot) = match tried(console, visit, visitor, (&gathered.acts, day)).await {
        Ok(tried) => (tried, None),
        Err(cannot) if cannot.status().is_server_error() => return Err(cannot),
        Err(cannot) => (self::tried(console, visit, visitor, (&[], day)).await?, Some(cannot)),
    };
    let acts: Result<Vec<String>, _> = gathered.acts.iter().map(serde_json::to_string).collect();
    let form = Hidden { acts: acts.map_err(|_| unexpected())?, tried: &tried };
    let say = |japanese, english| visit.say(japanese, english);
    let problem = error.or(cannot.as_ref());
    let powers = visitor.1;
    let deeds = if powers.changes_organisation() { &Deed::ALL[..] } else { &Deed::OF_A_PART };
    let body = html! {
        (visit.problem(problem))
        p { (say(
            "組織を手で変えます。変更を一つずつ加え、最後に変更案にします。二人が承認したあと、指定した日時に適用されます。",
            "The organisation is changed by hand. Acts are added one after another and become a change set, which two people approve, and which is applied at its hour.",
        )) }
        @if !powers.changes_organisation() {
            p.note { (say(
                "部局管理者として変えられるのは、担当部局の担当業務・宛先と、そこを本務とする職員の休職等・氏名(旧姓)です。",
                "As a department administrator you say what your units are responsible for and reached by, and who of those whose main post is there is away or uses another name.",
            )) }
        }
        (list(visit, gathered, deeds, &form))
        @if let Some(deed) = gathered.deed { (typing(visit, deed, gathered.typed, &form)) }
        @if !gathered.acts.is_empty() && cannot.is_none() { (ending(visit, gathered.typed, &form)) }
        datalist id="units" { @for unit in &tried.units { option value=(unit) {} } }
        datalist id="bodies" { @for body in &tried.bodies { option value=(body) {} } }
    };
    let page = page(visit, powers, say("組織を手で変える", "Change the organisation by hand"), body);
    Ok(visit.page(page.status_of(problem).again_at(EDIT.to_owned())))
}

/// What each form carries along.
struct Hidden<'a> {
    acts: Vec<String>,
    tried: &'a Tried,
}

impl Hidden<'_> {
    fn fields(&self, visit: &Visit, with_day: bool) -> Markup {
        html! {
            (visit.proof())
            @for (place, act) in self.acts.iter().enumerate() {
                input type="hidden" name={ (CARRIED) (place) } value=(act);
            }
            @if with_day { input type="hidden" name="day" value=(self.tried.day); }
        }
    }
}

/// The acts that were gathered, and what can be added.
fn list(visit: &Visit, gathered: &Gathered<'_>, deeds: &[Deed], form: &Hidden<'_>) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let language = visit.language();
    let lines = &form.tried.lines;
    html! {
        form.card method="post" action=(EDIT) {
            (form.fields(visit, false))
            (field("day", say("いつから", "From which day on"), "", html! {
                input id="day" name="day" type="date" value=(form.tried.day) required;
            }))
            div.actions { button.second name="do" value="day" { (say("この日にする", "Take this day")) } }
            @if gathered.acts.is_empty() {
                p { (say("変更はまだありません。", "Nothing is gathered yet.")) }
            } @else {
                h2 { (say("加えた変更", "What was gathered")) }
                ol { @for (place, act) in gathered.acts.iter().enumerate() {
                    li {
                        // What was tried is told as it will stand in the change set.
                        @if let Some(line) = lines.get(place) {
                            (self::say(visit, line.kind.words())) " " (line.about)
                            @for told in &line.told { div { (said(language, told)) } }
                        } @else { (named(visit, act)) }
                        " " button.second name="do" value={ "remove:" (place) }
                            aria-label={ (say("取り除く: ", "Take out: ")) (named(visit, act)) } { (say("取り除く", "Take out")) }
                    }
                } }
            }
            fieldset {
                legend { (say("変更を加える", "Add")) }
                div.actions { @for deed in deeds {
                    button.second name="do" value={ "deed:" (deed.word()) } { (deed.name(visit)) }
                } }
            }
        }
    }
}

/// The fields of the act that is being typed.
fn typing(visit: &Visit, deed: Deed, typed: &Form, form: &Hidden<'_>) -> Markup {
    html! {
        form.card method="post" action=(EDIT) {
            (form.fields(visit, true))
            input type="hidden" name="deed" value=(deed.word());
            h2 { (deed.name(visit)) }
            (deed.fields(visit, typed, form.tried.bodies.len() > 1))
            div.actions { button name="do" value="add" { (visit.say("加える", "Add")) } }
        }
    }
}

/// That all of it becomes a change set.
fn ending(visit: &Visit, typed: &Form, form: &Hidden<'_>) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let begins = day(visit, form.tried.day);
    html! {
        form.card method="post" action=(EDIT) {
            (form.fields(visit, true))
            (field(
                "at",
                say("適用する日時（日本時間）", "When it is applied (in Japan)"),
                &visit.say(
                    format!("空欄のときは、{begins} 0:00(過ぎていれば承認されしだい)。"),
                    format!("Left empty: when {begins} begins, or as soon as it is approved."),
                ),
                html! { input id="at" name="at" type="datetime-local" value=[typed.find("at")] aria-describedby="at-remark"; },
            ))
            div.actions { button name="do" value="propose" { (say("変更案を作る", "Make a change set")) } }
        }
    }
}
