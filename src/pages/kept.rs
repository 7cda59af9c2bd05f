//! What somebody has typed into a form that is not taken, since he has signed in anew meanwhile or not at all: it stands on the
//! page that says so, and is sent again from there.
//!
//! Nothing is done by it before he presses the button: that sends it as if he had typed it once more. It is kept for no form
//! that another site sends, which a browser says of each; one that does not say it keeps nothing. Passwords are typed again.

use bytes::Bytes;
use maud::{Markup, html};
use web::{HeaderMap, HeaderValue, Method, Open, RawCall, header};

use crate::{Form, Language, PageError};

/// Letters of a field that are shown.
const MOST_SHOWN: usize = 200;

/// A form as it was sent.
pub(crate) struct Kept {
    path: String,
    kind: HeaderValue,
    body: Bytes,
}

impl Kept {
    /// That of a request, if it is one that a page of ours has sent.
    pub(crate) fn of(call: &RawCall<Open>) -> Option<Kept> {
        let parts = &call.parts;
        let is_ours = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
        if parts.method != Method::POST || !is_ours {
            return None;
        }
        let kind = parts.headers.get(header::CONTENT_TYPE)?.clone();
        Some(Kept { path: parts.uri.path_and_query()?.to_string(), kind, body: call.body.clone() })
    }

    /// The form to send it again, where it was not taken for this.
    pub(crate) fn again(&self, error: &PageError, language: Language, proof: &Markup) -> Option<Markup> {
        if !error.can_be_sent_again() {
            return None;
        }
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, self.kind.clone())]);
        let form = Form::of_body(&headers, &self.body).ok()?;
        // What is bound to a browser, or known to its owner alone, is worth nothing or is not to stand on a page.
        if form.fields().any(|(name, _)| BOUND.contains(&name)) {
            return None;
        }
        let fields = || form.fields().filter(|(name, _)| !matches!(*name, "proof" | "password"));
        let typed = fields().filter(|(name, value)| !UNTYPED.contains(name) && !value.is_empty());
        Some(html! {
            p { (language.pick(
                "入力した内容は、まだ送信されていません。次の内容でよければ、下のボタンで送信できます。",
                "What you typed was not sent. If this is what you mean, the button below sends it.",
            )) }
            form.card method="post" action=(self.path) {
                (proof)
                ul.plain { @for (_, value) in typed { li { (value.chars().take(MOST_SHOWN).collect::<String>()) } } }
                @for (name, value) in fields() { input type="hidden" name=(name) value=(value); }
                @if form.find("password").is_some() {
                    label for="password" { (language.pick("あなたのパスワード", "Your password")) }
                    input id="password" name="password" type="password" autocomplete="current-password" required
                        maxlength="1024";
                }
                div.actions { button { (language.pick("この内容で送信する", "Send this")) } }
            }
        })
    }
}

/// Fields that are good in one browser, once, or are secrets.
const BOUND: [&str; 8] =
    ["ticket", "code", "credential", "signature", "client_data", "new", "again", "new_password"];

/// Fields that nobody types.
const UNTYPED: [&str; 4] = ["do", "base", "seen", "id"];
