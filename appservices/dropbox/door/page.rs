//! What people outside see: one page with a form, which its script makes better.
//!
//! Nothing is loaded from elsewhere. Of the room it shows nothing: the authority, what the maker called the link, and its limits.

use axum::response::{IntoResponse, Response};
use base::Timestamp;
use http::{HeaderValue, header};
use maud::{DOCTYPE, Markup, html};

use super::{Visit, upload};
use crate::{
    language::Language,
    moment,
    rows::{Link, Upload, UploadState},
    secret::Token,
    words,
};

pub(super) const LOOK: &str = include_str!("look.css");
pub(super) const SCRIPT: &str = include_str!("send.js");

/// A file of the page. It is asked for anew after an hour.
pub(super) fn asset(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

struct Frame<'a> {
    language: Language,
    place: &'a str,
    prefix: &'a str,
    title: &'a str,
    script: bool,
}

fn page(frame: &Frame<'_>, body: &Markup) -> Markup {
    let (language, other) = match frame.language {
        Language::Japanese => (Language::Japanese, Language::English),
        Language::English => (Language::English, Language::Japanese),
    };
    html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex, nofollow";
                title { (frame.title) @if !frame.place.is_empty() { " – " (frame.place) } }
                link rel="stylesheet" href={ (frame.prefix) "/look.css" };
                @if frame.script { script src={ (frame.prefix) "/send.js" } defer {} }
            }
            body {
                header {
                    strong { (frame.place) }
                    // Relative, so that it stays on this page.
                    a href={ "?lang=" (other.code()) } lang=(other.code()) hreflang=(other.code()) {
                        (other.pick("日本語", "English"))
                    }
                }
                main {
                    h1 { (frame.title) }
                    (body)
                }
                footer { "Yakuba" }
            }
        }
    }
}

impl Visit {
    fn frame<'a>(&'a self, title: &'a str) -> Frame<'a> {
        Frame {
            language: self.language,
            place: &self.door.drops.settings().place,
            prefix: &self.door.prefix,
            title,
            script: false,
        }
    }
}

/// Where nothing is. It does not say whose server this is.
pub(super) fn nothing(language: Language) -> Markup {
    let title = language.pick("ページがありません", "No such page");
    let frame = Frame { language, place: "", prefix: "", title, script: false };
    page(
        &frame,
        &html! { p { (language.pick("URLをもう一度お確かめください。", "Please check the address.")) } },
    )
}

/// Any page without a script.
pub(super) fn plain(visit: &Visit, title: &str, body: &Markup) -> Markup {
    page(&visit.frame(title), body)
}

/// A sentence.
pub(super) fn message(text: &str, visit: &Visit) -> Markup {
    let title = visit.language.pick("お知らせ", "Notice");
    page(&visit.frame(title), &html! { p.problem role="alert" { (text) } })
}

/// The code was tried too often.
pub(super) fn locked(visit: &Visit) -> Markup {
    message(&words::for_senders(&crate::drops::Error::Locked, visit.language), visit)
}

/// A field for the code, and nothing of what the link is for.
pub(super) fn code(visit: &Visit, at: &str, problem: Option<&str>) -> Markup {
    let language = visit.language;
    let action = format!("{at}/code?lang={}", language.code());
    let title = language.pick("合言葉を入力してください", "Please enter the code");
    let body = html! {
        @if let Some(problem) = problem {
            p.problem role="alert" { (problem) }
        }
        form.card method="post" action=(action) {
            p { (language.pick(
                "URLとは別に伝えられた8桁の数字を入力します。",
                "The eight digits were told to you apart from the address.",
            )) }
            label for="code" { (language.pick("合言葉（8桁の数字）", "Code (eight digits)")) }
            input.code #code name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="20" required autofocus;
            div.actions { button type="submit" { (language.pick("進む", "Continue")) } }
        }
    };
    page(&visit.frame(title), &body)
}

/// The page that files are sent from.
///
/// `spare` are files and bytes of those that were begun and are not gone on with: there is place for others in their stead.
pub(super) fn drop_zone(
    visit: &Visit,
    token: &Token,
    link: &Link,
    spare: (u32, u64),
    now: Timestamp,
) -> Markup {
    let (language, settings) = (visit.language, visit.door.drops.settings());
    let base = format!("{}/r/{}", visit.door.prefix, token.as_str());
    let is_good = link.is_good(now);
    let files = if is_good { link.most_files.saturating_sub(link.files.saturating_sub(spare.0)) } else { 0 };
    let bytes = link.most_bytes.saturating_sub(link.bytes.saturating_sub(spare.1));
    let accepts: Vec<&str> = link.groups.iter().map(|group| group.accepts()).collect();
    let body = html! {
        p { (words::what_this_is(&settings.place, language)) }
        dl.card {
            dt { (language.pick("期限", "Until")) } dd { (moment::written(link.ends, language)) }
            dt { (language.pick("送れる残り", "Left")) } dd #left { (words::left(files, bytes, language)) }
            dt { (language.pick("ファイルの種類", "Types")) } dd { (words::groups(&link.groups, language)) }
        }
        @if files == 0 {
            p.problem #full role="status" { (words::nothing_more(is_good, language)) }
        }
        form.card #send method="post" action={ (base) "/form?lang=" (language.code()) } enctype="multipart/form-data"
            data-files={ (base) "/files" } data-language=(language.code()) data-left=(files) data-bytes=(bytes)
        {
            label for="company" { (language.pick("会社・団体名", "Company or organisation")) }
            input #company name="company" autocomplete="organization" maxlength=(upload::LETTERS);
            label for="name" { (language.pick("お名前", "Your name")) " " small { (language.pick("必須", "required")) } }
            input #name name="name" autocomplete="name" maxlength=(upload::LETTERS) required;
            label for="note" { (language.pick("ひとこと", "Note")) }
            input #note name="note" maxlength=(upload::LETTERS_OF_NOTE);
            label for="files" { (language.pick("ファイル", "Files")) }
            input #files type="file" name="files" multiple required accept=[(!accepts.is_empty()).then(|| accepts.join(","))];
            noscript {
                p.note { (words::without_script(settings.form_bytes.as_u64(), language)) }
            }
            div.note #resume hidden {}
            div.actions { button #go type="submit" disabled[files == 0 && is_good] { (language.pick("送る", "Send")) } }
            p #status role="status" aria-live="polite" {}
            ol #list {}
        }
        p.note { (words::what_is_kept(language)) }
    };
    page(&Frame { script: true, ..visit.frame(&link.title) }, &body)
}

/// What a form brought, and what of it was not taken.
pub(super) fn received(visit: &Visit, token: &Token, uploads: &[Upload], problems: &[String]) -> Markup {
    let language = visit.language;
    let back = format!("{}/r/{}?lang={}", visit.door.prefix, token.as_str(), language.code());
    let body = html! {
        @for problem in problems {
            p.problem role="alert" { (problem) }
        }
        @if !uploads.is_empty() && !problems.is_empty() {
            p { (language.pick("次のファイルは受け取りました。", "These files were received.")) }
        }
        ul.card hidden[uploads.is_empty()] {
            @for upload in uploads {
                li {
                    strong { (upload.name) } " " (moment::size(upload.length))
                    @if let UploadState::Whole { sha256, .. } | UploadState::Sent { sha256, .. } = &upload.state {
                        br; small { "SHA-256 " code { (sha256) } }
                    }
                }
            }
        }
        p { a href=(back) { (language.pick("続けて送る", "Send more")) } }
    };
    let title = match (uploads.is_empty(), problems.is_empty()) {
        (true, _) => language.pick("受け取れませんでした", "Nothing was received"),
        (false, true) => language.pick("受け取りました", "Received"),
        (false, false) => language.pick("一部を受け取りました", "Some were received"),
    };
    page(&visit.frame(title), &body)
}
