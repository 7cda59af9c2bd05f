//! What the pages of the counter have in common.

use std::collections::BTreeSet;

use base::Timestamp;
use cases::{CaseId, Line, Meant, Named};
use organisation::Told;
use pages::{Form, Markup, Page, PageError, Visit, html, table, text};
use web::Response;

use crate::counter::{ASK, CASES, DEPUTIES, HOME, RIGHTS, SIGN_IN};

/// A page with the links to the others.
pub(crate) fn page(visit: &Visit, title: &str, body: Markup) -> Page {
    let here = visit.call.parts.uri.path();
    let links = [
        (HOME, visit.say("窓口", "Counter")),
        (ASK, visit.say("申請する", "Ask for something")),
        (CASES, visit.say("自分の案件", "My cases")),
        (DEPUTIES, visit.say("代理", "Deputies")),
        (RIGHTS, visit.say("私の権限", "What I may")),
        ("/_yakuba/account", visit.say("アカウント", "My account")),
    ];
    let nav = html! {
        nav.top aria-label=(visit.say("窓口のページ", "Pages of the counter")) {
            ul.plain { @for (path, name) in &links {
                li { a href=(path) aria-current=[(*path == here).then_some("page")] { (name) } }
            } }
        }
    };
    Page::new(title, body).wide().nav(nav)
}

/// The one of both that is in the visitor's language.
pub(crate) fn said<'a>(visit: &Visit, told: &'a Told) -> &'a str {
    visit.language().pick(&told.ja, &told.en)
}

/// A moment in Japan.
pub(crate) fn moment(visit: &Visit, at: Timestamp) -> String {
    said(visit, &cases::moment(at)).to_owned()
}

/// Where a case is.
pub(crate) fn path_of(id: CaseId) -> String {
    format!("{CASES}/{}", id.0)
}

/// Somebody with his unit and name, if they are known, and for whom he is.
pub(crate) fn person(visit: &Visit, named: &Named) -> Markup {
    html! {
        @if let Some(name) = &named.name { (name) " " }
        small.id { (named.user) }
        @if let Some(of) = &named.for_whom { " " (deputy(visit, of.as_str())) }
    }
}

/// That somebody is there for another one.
pub(crate) fn deputy(visit: &Visit, of: &str) -> Markup {
    html! { strong { (visit.say("代理", "deputy")) } " " small.id { (of) } }
}

/// Cases in a table.
pub(crate) fn listed(visit: &Visit, lines: &[Line]) -> Markup {
    let say = |japanese, english| visit.say(japanese, english);
    let heads = [
        say("案件", "Case"),
        say("種類", "Kind"),
        say("内容", "About"),
        say("申請者", "Asked by"),
        say("状態", "State"),
        say("申請", "Asked at"),
    ];
    let rows = lines.iter().map(|line| {
        vec![
            html! { a href=(path_of(line.id)) { (say("案件", "Case")) " " (line.id.0) } },
            text(said(visit, &line.kind)),
            text(said(visit, &line.title)),
            html! { small.id { (line.asker) } },
            html! {
                (said(visit, &line.state.words()))
                @if let Some(of) = &line.for_whom { " " (deputy(visit, of.as_str())) }
            },
            text(moment(visit, line.asked_at)),
        ]
    });
    table(&heads, rows)
}

/// The answer to a form whose sender is not signed in any more: what he typed, to be sent again once he is.
pub(crate) fn signed_out(visit: &Visit, path: &str) -> Result<Response, PageError> {
    let Some(typed) = visit.typed() else { return visit.signed_in().map(|_| visit.redirect(HOME)) };
    let error = match visit.signed_in() {
        Ok(_) => return Ok(visit.redirect(path)),
        Err(error) => error,
    };
    let say = |japanese, english| visit.say(japanese, english);
    let fields = typed.fields().filter(|(name, _)| !matches!(*name, "proof" | "password"));
    let body = html! {
        (visit.problem(Some(&error)))
        p { (say(
            "入力した内容は、この画面に残っています。別のタブでサインインしてから、下のボタンを押してください。",
            "What you typed is kept on this page. Please sign in in another tab, and press the button below then.",
        )) }
        p { a.button href=(SIGN_IN) target="_blank" { (say("サインイン（別のタブ）", "Sign in (another tab)")) } }
        form.card method="post" action=(path) {
            @for (name, value) in fields {
                @if name.starts_with("field-") || name == "reason" || name == "text" {
                    p { small { (value) } }
                }
                input type="hidden" name=(name) value=(value);
            }
            div.actions { button { (say("続ける", "Go on")) } }
        }
    };
    let page = Page::new(say("サインインしてください", "Please sign in"), body);
    Ok(visit.page(page.status_of(Some(&error)).again_at(HOME.to_owned())))
}

/// Checkboxes for what somebody has to say that he means.
pub(crate) fn asked_to_mean(visit: &Visit, meant: &[Meant], typed: &Form) -> Markup {
    html! {
        @if !meant.is_empty() { p { (visit.say(
            "次の警告をすべて確認し、承知のうえであれば印を付けてください。",
            "Please read all of these warnings, and mark them if they are meant so.",
        )) } }
        @for one in meant {
            @let name = format!("{MEANS}{}", one.word);
            label.check { input type="checkbox" name=(name) value="yes" checked[typed.get(&name) == "yes"];
                span { (said(visit, &one.told)) " " strong { (visit.say("確認しました", "This is meant")) } } }
        }
    }
}

/// What stands before the word of what is meant, in the names of fields.
const MEANS: &str = "means-";

/// What a form says that is meant.
pub(crate) fn means(form: &Form) -> BTreeSet<String> {
    let meant = form.fields().filter(|(_, value)| *value == "yes");
    meant.filter_map(|(name, _)| name.strip_prefix(MEANS).map(str::to_owned)).collect()
}
