//! What the pages of the console have in common: the links above, tables, moments, the password asked again.

use ::account::{Accounts, Browser};
use base::Timestamp;
use intake::{Date, Words};
use organisation::Told;
use pages::{Language, Markup, Page, PageError, Visit, html};

use crate::{
    console::{ACCOUNTS, AUDIT, CHANGES, DUTIES, HOME, IMPORT, ORGANISATION, PEOPLE, ROOMS},
    powers::Powers,
};

/// A page with the links that its visitor may follow.
pub(crate) fn page(visit: &Visit, powers: &Powers, title: &str, body: Markup) -> Page {
    let here = visit.call.parts.uri.path();
    let links = links(visit, powers);
    let nav = html! {
        nav.top aria-label=(visit.say("管理画面のページ", "Pages of the console")) {
            ul.plain { @for (path, name) in &links {
                li { a href=(path) aria-current=[(*path == here).then_some("page")] { (name) } }
            } }
        }
    };
    Page::new(title, body).wide().nav(nav)
}

/// The pages that somebody may see.
pub(crate) fn links(visit: &Visit, powers: &Powers) -> Vec<(&'static str, &'static str)> {
    let all = [
        (true, HOME, visit.say("管理画面", "Console")),
        (powers.reads_organisation(), ORGANISATION, visit.say("組織", "Organisation")),
        (powers.reads_organisation(), PEOPLE, visit.say("職員を探す", "Find people")),
        (powers.reads_organisation(), CHANGES, visit.say("変更案", "Change sets")),
        (
            powers.changes_organisation(),
            IMPORT,
            visit.say("人事ファイルの取り込み", "Bring in a personnel file"),
        ),
        (powers.reads_organisation(), ROOMS, visit.say("ルームの規則", "Rooms by rule")),
        (powers.administers(), ACCOUNTS, visit.say("アカウント", "Accounts")),
        (powers.administers(), DUTIES, visit.say("役割", "Duties")),
        (powers.reads_audit(), AUDIT, visit.say("監査ログ", "Audit log")),
    ];
    all.into_iter().filter(|(may, ..)| *may).map(|(_, path, name)| (path, name)).collect()
}

/// A table that stands as one for screen readers, and as cards on a phone. Each cell is named by the heading of its column.
pub(crate) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<Markup>>) -> Markup {
    html! {
        table role="table" {
            thead role="rowgroup" { tr role="row" {
                @for head in heads { th scope="col" role="columnheader" { (head) } }
            } }
            tbody role="rowgroup" { @for row in rows {
                tr role="row" { @for (head, cell) in heads.iter().zip(row) {
                    td role="cell" data-label=(head) { (cell) }
                } }
            } }
        }
    }
}

/// A text as a cell.
pub(crate) fn text(text: impl AsRef<str>) -> Markup {
    html! { (text.as_ref()) }
}

/// A moment in Japan.
pub(crate) fn moment(visit: &Visit, at: Timestamp) -> String {
    say(visit, personnel::moment(at))
}

/// A day.
pub(crate) fn day(visit: &Visit, day: Date) -> String {
    visit.language().pick(day.in_era(), day.to_string())
}

/// The one of both that is in the visitor's language.
pub(crate) fn say(visit: &Visit, words: Words) -> String {
    visit.language().pick(words.ja, words.en)
}

/// The same of what is kept.
pub(crate) fn said(language: Language, told: &Told) -> &str {
    language.pick(&told.ja, &told.en)
}

/// The password again, for those who have one: for what cannot be taken back by a click.
pub(crate) async fn password_field(
    accounts: &Accounts,
    visit: &Visit,
    browser: &Browser,
) -> Result<Markup, PageError> {
    if !accounts.has_password(&browser.user_id).await? {
        return Ok(html! {});
    }
    Ok(html! {
        label for="password" { (visit.say("あなたのパスワード", "Your password")) }
        input id="password" name="password" type="password" autocomplete="current-password" required
            maxlength="1024";
    })
}

/// A field of a form: its label above it, and a remark below.
pub(crate) fn field(name: &str, label: &str, remark: &str, input: Markup) -> Markup {
    html! {
        label for=(name) { (label) }
        (input)
        @if !remark.is_empty() { small id={ (name) "-remark" } { (remark) } }
    }
}

/// What to do, and where: a query string of these fields that are not empty.
pub(crate) fn link(path: &str, fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().filter(|(_, value)| !value.is_empty());
    let query: Vec<_> =
        fields.map(|(name, value)| format!("{name}={}", pages::Form::escape(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}
