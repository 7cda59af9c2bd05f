//! The pages that clients open in a browser: one frame, Japanese first and English beside.
//!
//! A page loads nothing, runs nothing but a script of ours that it names by its hash, is in no frame of another site and
//! in no cache. Forms carry all that they need, and nobody is signed in: there is nothing that another site's form could
//! use.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use web::{ApiError, Body, HeaderValue, RawCall, Response, StatusCode, header};

/// Longest value of a field.
const LONGEST: usize = 4 << 10;
/// Fields that are read.
const MOST_FIELDS: usize = 16;

const STYLE: &str = "body{font-family:sans-serif;line-height:1.6;max-width:32rem;margin:2rem auto;padding:0 1rem}\
label,input,button{display:block;width:100%;box-sizing:border-box;font-size:1rem}\
input,button{padding:.6rem;margin:.3rem 0 1rem}[lang=en]{color:#555;font-size:.9rem}\
.problem{border-left:.3rem solid #b00;padding-left:.8rem}code{font-size:1.1rem;word-break:break-all}";

/// A sentence in both languages.
pub(crate) fn say(japanese: &str, english: &str) -> Markup {
    html! { p { (japanese) br; span lang="en" { (english) } } }
}

/// A sentence about what went wrong.
pub(crate) fn problem(japanese: &str, english: &str) -> Markup {
    html! { div.problem role="alert" { (say(japanese, english)) } }
}

/// The words on a button or beside a field.
pub(crate) fn both(japanese: &str, english: &str) -> Markup {
    html! { (japanese) " / " span lang="en" { (english) } }
}

/// A page in the making.
pub(crate) struct Page {
    title: (&'static str, &'static str),
    body: Markup,
    status: StatusCode,
    script: Option<&'static str>,
    /// Where forms may end besides here.
    form_ends_at: Option<String>,
}

impl Page {
    pub(crate) fn new(japanese: &'static str, english: &'static str, body: Markup) -> Page {
        Page { title: (japanese, english), body, status: StatusCode::OK, script: None, form_ends_at: None }
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Page {
        self.status = status;
        self
    }

    /// Runs this script, which is of the program and holds nothing of others.
    pub(crate) fn script(mut self, script: &'static str) -> Page {
        self.script = Some(script);
        self
    }

    /// A form may end at this origin, by way of a redirect.
    pub(crate) fn form_ends_at(mut self, origin: String) -> Page {
        self.form_ends_at = Some(origin);
        self
    }

    pub(crate) fn into_response(self, place: &str) -> Response {
        let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
        let script = self.script.map(|script| format!("; script-src 'sha256-{}'", hash(script)));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'{}{}",
            hash(STYLE),
            self.form_ends_at.map(|origin| format!(" {origin}")).unwrap_or_default(),
            script.unwrap_or_default(),
        );
        let (japanese, english) = self.title;
        let text = html! {
            (DOCTYPE)
            html lang="ja" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (japanese) " – " (place) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    p { strong { (place) } }
                    h1 { (japanese) }
                    p lang="en" { (english) }
                    (self.body)
                    @if let Some(script) = self.script {
                        script { (PreEscaped(script)) }
                    }
                }
            }
        };
        let mut response = Response::new(Body::from(text.into_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, policy.as_str()),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            // Origins are checked before they get here; one that is no text of a header would cost the page its form.
            match HeaderValue::from_str(value) {
                Ok(value) => headers.insert(name, value),
                Err(_) => headers.insert(name, HeaderValue::from_static("default-src 'none'")),
            };
        }
        response
    }
}

/// Leads a browser elsewhere, by GET.
pub(crate) fn redirect(to: &str) -> Result<Response, ApiError> {
    let to = HeaderValue::from_str(to).map_err(|_| ApiError::invalid_param("This cannot be gone to"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, to);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// The fields of a form or a query string, each named once.
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The fields of the form that was sent.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn of_form<C>(call: &RawCall<C>) -> Result<Fields, ApiError> {
        Fields::read(&call.body)
    }

    /// The fields of the query string.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn of_query<C>(call: &RawCall<C>) -> Result<Fields, ApiError> {
        Fields::read(call.parts.uri.query().unwrap_or_default().as_bytes())
    }

    fn read(text: &[u8]) -> Result<Fields, ApiError> {
        let bad = || ApiError::invalid_param("The form cannot be read");
        let pairs: Vec<(String, String)> =
            ruma::exports::serde_html_form::from_bytes(text).map_err(|_| bad())?;
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            let is_fine = value.len() <= LONGEST && !value.contains('\0') && fields.len() < MOST_FIELDS;
            // Whoever reads the first of two would not agree with whoever reads the last.
            if !is_fine || fields.insert(name, value).is_some() {
                return Err(bad());
            }
        }
        Ok(Fields(fields))
    }

    /// The value of a field; empty where there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}
