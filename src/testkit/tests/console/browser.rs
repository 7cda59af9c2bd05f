//! A browser, as far as pages without scripts need one: cookies, forms, redirects that are looked at.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use ruma::{OwnedServerName, exports::serde_html_form};
use testkit::{Server, User};

use crate::PASSWORD;

const SIGN_IN: &str = "/_yakuba/sign-in";

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    pub(crate) location: Option<String>,
    pub(crate) headers: http::HeaderMap,
}

/// A browser at one authority.
#[derive(Clone)]
pub(crate) struct Browser {
    server: Server,
    authority: OwnedServerName,
    pub(crate) cookie: Option<String>,
}

impl Browser {
    /// Somebody who is not signed in.
    pub(crate) fn stranger(server: &Server) -> Browser {
        Browser { server: server.clone(), authority: server.name().to_owned(), cookie: None }
    }

    /// One in which a user has signed in.
    pub(crate) async fn of(server: &Server, user: &User) -> Browser {
        let authority = user.id().server_name().to_owned();
        let mut browser = Browser { server: server.clone(), authority, cookie: None };
        browser.sign_in(user.id().localpart()).await;
        browser
    }

    pub(crate) async fn sign_in(&mut self, name: &str) {
        let proof = self.proof_at(SIGN_IN).await;
        let fields =
            [("name", name), ("password", PASSWORD), ("back", "/_yakuba/console"), ("proof", &proof)];
        let answer = self.post_as_is(SIGN_IN, &fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        assert_eq!(answer.location.as_deref(), Some("/_yakuba/console"));
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, None, Bytes::new()).await
    }

    /// Opens a page that is there.
    pub(crate) async fn open(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.text
    }

    /// The proof that the form of a page carries.
    pub(crate) async fn proof_at(&mut self, path: &str) -> String {
        let page = self.get(path).await.text;
        let at = page.find(r#"name="proof" value=""#).unwrap_or_else(|| panic!("{path} has no form: {page}"));
        page[at + r#"name="proof" value=""#.len()..].split('"').next().unwrap().to_owned()
    }

    /// Sends the form of a page.
    pub(crate) async fn post(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let proof = self.proof_at(page).await;
        let all: Vec<_> = fields.iter().copied().chain([("proof", &*proof)]).collect();
        self.post_as_is(path, &all).await
    }

    /// Sends these fields and nothing besides.
    pub(crate) async fn post_as_is(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = serde_html_form::to_string(fields).unwrap();
        self.ask(Method::POST, path, Some("application/x-www-form-urlencoded"), body.into()).await
    }

    /// Sends a form with a file.
    pub(crate) async fn upload(&mut self, path: &str, fields: &[(&str, &str)], file: &[u8]) -> Answer {
        let proof = self.proof_at(path).await;
        let all: Vec<_> = fields.iter().copied().chain([("proof", &*proof)]).collect();
        self.upload_as_is(path, &all, file).await
    }

    pub(crate) async fn upload_as_is(&mut self, path: &str, fields: &[(&str, &str)], file: &[u8]) -> Answer {
        let mut body = Vec::new();
        for (name, value) in fields {
            let part = format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        let head = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"人事.csv\"\r\n\
                    Content-Type: text/csv\r\n\r\n";
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--x--\r\n");
        self.ask(Method::POST, path, Some("multipart/form-data; boundary=x"), body.into()).await
    }

    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> Answer {
        self.ask_from(None, method, path, kind, body).await
    }

    /// The same as a browser says it of a form that a page of this site sends.
    pub(crate) async fn ask_from(
        &mut self,
        site: Option<&str>,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, self.authority.as_str());
        for (name, value) in [
            ("accept-language", Some("ja")),
            ("cookie", self.cookie.as_deref()),
            ("content-type", kind),
            ("sec-fetch-site", site),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = self.server.request(&self.authority, request.body(body).unwrap()).await;
        let headers = answer.headers().clone();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(cookie) = text(header::SET_COOKIE) {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        let location = text(header::LOCATION);
        let status = answer.status();
        Answer { status, text: String::from_utf8_lossy(answer.body()).into_owned(), location, headers }
    }
}
