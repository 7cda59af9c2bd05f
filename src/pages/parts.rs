//! What pages are put together from: tables, fields, links, the password asked again.

use account::{Accounts, Browser, Error};
use maud::{Markup, html};

use crate::{Form, PageError, Visit};

/// A table that stands as one for screen readers, and as cards on a phone. Each cell is named by the heading of its column.
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<Markup>>) -> Markup {
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
pub fn text(text: impl AsRef<str>) -> Markup {
    html! { (text.as_ref()) }
}

/// The password again, for those who have one: for what cannot be taken back by a click.
///
/// # Errors
/// When it is not known whether there is one.
pub async fn password_field(
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
pub fn field(name: &str, label: &str, remark: &str, input: Markup) -> Markup {
    html! {
        label for=(name) { (label) }
        (input)
        @if !remark.is_empty() { small id={ (name) "-remark" } { (remark) } }
    }
}

/// What to do, and where: a query string of these fields that are not empty.
pub fn link(path: &str, fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().filter(|(_, value)| !value.is_empty());
    let query: Vec<_> = fields.map(|(name, value)| format!("{name}={}", Form::escape(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// What a form that asks for the password again is shown with once more.
///
/// # Errors
/// Our own, which are not.
pub fn of_password(error: Error) -> Result<PageError, PageError> {
    let error = match error {
        Error::WrongCredentials => PageError::forbidden("パスワードが違います。", "The password is wrong."),
        Error::Forbidden(_) => PageError::forbidden(
            "サインインし直して、5 分以内にもう一度お試しください。",
            "Please sign in again, and confirm this within five minutes.",
        ),
        other => other.into(),
    };
    if error.status().is_server_error() { Err(error) } else { Ok(error) }
}
