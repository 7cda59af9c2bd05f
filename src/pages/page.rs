//! A page and what goes with each.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use web::{Body, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    Language,
    look::{CSS_PATH, ICON_PATH},
};

/// A page in the making: its title and what stands below it.
#[derive(Debug)]
#[must_use = "a page is shown once a `Visit` has made an answer of it"]
pub struct Page {
    title: String,
    body: Markup,
    nav: Option<Markup>,
    status: StatusCode,
    is_wide: bool,
    form_targets: Vec<String>,
    script: Option<&'static str>,
    pub(crate) again_at: Option<String>,
}

/// What the frame of a page shows besides.
pub(crate) struct Frame<'a> {
    pub(crate) language: Language,
    pub(crate) place: &'a str,
    /// Where the other language is had.
    pub(crate) other_language: &'a str,
    /// Who is signed in, and the form's proof with which to sign out.
    pub(crate) signed_in: Option<(&'a str, &'a Markup)>,
}

impl Page {
    /// A page of this title, which is its heading as well.
    pub fn new(title: impl Into<String>, body: Markup) -> Page {
        Page {
            title: title.into(),
            body,
            nav: None,
            status: StatusCode::OK,
            is_wide: false,
            form_targets: Vec::new(),
            script: None,
            again_at: None,
        }
    }

    /// With another status than 200.
    pub fn status(mut self, status: StatusCode) -> Page {
        self.status = status;
        self
    }

    /// For tables: as broad as the window, within reason.
    pub fn wide(mut self) -> Page {
        self.is_wide = true;
        self
    }

    /// With these links above its heading, to what belongs together with it.
    pub fn nav(mut self, nav: Markup) -> Page {
        self.nav = Some(nav);
        self
    }

    /// A form of this page may end at this URI, also by way of redirects; without it, it ends with us.
    pub fn form_ends_at(mut self, uri: &str) -> Page {
        self.form_targets.extend(form_source(uri));
        self
    }

    /// This path of ours shows the page again, or where it begins: for the answer to a form, so that whoever chooses the
    /// other language comes back there.
    pub fn again_at(mut self, path: String) -> Page {
        self.again_at = Some(path);
        self
    }

    /// Runs this script, which is of the program and holds nothing of others, when the page is shown.
    pub fn script(mut self, script: &'static str) -> Page {
        self.script = Some(script);
        self
    }

    pub(crate) fn into_response(self, frame: &Frame<'_>) -> Response {
        let policy = self.policy();
        let mut response = Response::new(Body::from(self.markup(frame).into_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(header::CONTENT_TYPE, "text/html; charset=utf-8");
        set(header::CONTENT_LANGUAGE, frame.language.code());
        set(header::CONTENT_SECURITY_POLICY, &policy);
        set(header::CACHE_CONTROL, "no-store");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::X_FRAME_OPTIONS, "DENY");
        // Not `no-referrer`: that would also hide from ourselves where a form comes from.
        set(header::REFERRER_POLICY, "same-origin");
        response
    }

    /// What the browser may load, run and send, and who may frame it.
    fn policy(&self) -> String {
        let mut policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                          frame-ancestors 'none'; form-action 'self'"
            .to_owned();
        for target in &self.form_targets {
            policy.push(' ');
            policy.push_str(target);
        }
        if let Some(script) = self.script {
            let hash = BASE64_STANDARD.encode(Sha256::digest(script.as_bytes()));
            policy.push_str(&format!("; script-src 'sha256-{hash}'"));
        }
        policy
    }

    fn markup(&self, frame: &Frame<'_>) -> Markup {
        let (language, title) = (frame.language, self.title.as_str());
        html! {
            (DOCTYPE)
            html lang=(language.code()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (title) " – " (frame.place) }
                    link rel="icon" type="image/svg+xml" href=(ICON_PATH);
                    link rel="stylesheet" href=(*CSS_PATH);
                }
                body {
                    header {
                        strong { (frame.place) }
                        @if let Some((user, proof)) = frame.signed_in {
                            form method="post" action="/_yakuba/sign-out" {
                                (proof)
                                small { (user) " " }
                                button.link { (language.pick("サインアウト", "Sign out")) }
                            }
                        }
                    }
                    @if let Some(nav) = &self.nav { (nav) }
                    main.wide[self.is_wide] {
                        h1 { (title) }
                        (self.body)
                    }
                    footer {
                        span { "Yakuba" }
                        a href=(frame.other_language) lang=(language.pick("en", "ja")) {
                            (language.pick("English", "日本語"))
                        }
                    }
                    @if let Some(script) = self.script {
                        script { (PreEscaped(script)) }
                    }
                }
            }
        }
    }
}

/// How a content security policy names where a form may end: an origin or a scheme.
fn form_source(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return None;
    }
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
    match authority {
        // An address in brackets is no source that the grammar knows.
        Some(authority)
            if matches!(scheme, "http" | "https")
                && !authority.is_empty()
                && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b)) =>
        {
            Some(format!("{scheme}://{authority}"))
        }
        _ => Some(format!("{scheme}:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_ends_at_an_origin_or_a_scheme() {
        let source = |uri| form_source(uri).unwrap_or_default();
        assert_eq!(source("https://app.example.jp:8443/callback?a=b"), "https://app.example.jp:8443");
        assert_eq!(source("http://localhost:1234/x"), "http://localhost:1234");
        assert_eq!(source("http://[::1]:1234/x"), "http:");
        assert_eq!(source("io.element.app:/callback"), "io.element.app:");
        assert_eq!(source("https://a;script-src *"), "https:");
        assert_eq!(form_source("; script-src *:"), None);
    }
}
