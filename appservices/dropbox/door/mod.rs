//! The page for people outside, and what its script speaks: tus 1.0 (core, creation, termination), and one step more.
//!
//! An upload ends with `POST …/done`, which carries the hash that the browser computed: by it both sides know that the bytes are the
//! same. `GET` changes nothing, so whoever looks at links before the recipient does (scanners of mail) uses nothing up; where a
//! link has a code, it sees a field for the code and nothing else.
//!
//! Spec: <https://tus.io/protocols/resumable-upload>

mod form;
mod hand;
mod held;
mod page;
mod slots;
#[cfg(test)]
mod tests;
mod upload;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Path, State},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use base::{Address, AddressBuckets, Rate, Timestamp};
use bot_kit::Homeserver;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header, request::Parts};
use maud::Markup;
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};
use tracing::error;

use self::slots::Slots;
use crate::{
    drops::{Drops, Error, why_over},
    files::Files,
    language::Language,
    rows::{Link, LinkState, Refused},
    secret::Token,
    words,
};

/// Requests from one address: so many a second in the long run, so many at once.
const REQUESTS: Rate = Rate { per_second: 10.0, burst: 300 };

/// Links from one address that are none.
const STRAYS: Rate = Rate { per_second: 0.1, burst: 30 };

/// Bytes of a body that is no file.
const SMALL: usize = 4_096;

/// Time for such a body.
const SMALL_TIME: Duration = Duration::from_secs(20);

/// Forms with files that are taken at a time.
const FORMS: usize = 4;

/// Of those by one link, and from one address: slow ones are no reason to refuse others'.
const FORMS_PER_LINK: u32 = 1;
const FORMS_PER_ADDRESS: u32 = 2;

/// The cookie of a browser that told the code.
const COOKIE: &str = "dropbox-pass";

/// Nothing runs that is not ours, nothing comes from elsewhere, nobody frames it, a form ends here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

/// What answers people outside.
pub(crate) struct Door {
    drops: Drops,
    files: Files,
    requests: AddressBuckets,
    strays: AddressBuckets,
    slots: Arc<Slots>,
    slots_of_forms: Arc<Slots>,
    /// Forms that are taken at a time; each is held in memory.
    forms: Semaphore,
    /// What paths begin with, as people outside see them.
    prefix: String,
    /// Where files are fetched that go out.
    source: Option<Source>,
}

/// Where files come from that go out.
pub(crate) struct Source {
    /// Whom it is asked what a room shows.
    pub(crate) rooms: Homeserver,
    /// The listener whose zone says in which form they come.
    pub(crate) media: Homeserver,
}

impl Door {
    pub(crate) fn new(drops: Drops, files: Files, source: Option<Source>) -> Arc<Self> {
        let settings = drops.settings();
        let slots = Slots::new(settings.uploads_per_link, settings.uploads_per_address);
        let prefix = settings.public_url.path().trim_end_matches('/').to_owned();
        let (requests, strays) = (AddressBuckets::new(REQUESTS), AddressBuckets::new(STRAYS));
        let slots_of_forms = Slots::new(FORMS_PER_LINK, FORMS_PER_ADDRESS);
        let forms = Semaphore::new(FORMS);
        Arc::new(Self { drops, files, requests, strays, slots, slots_of_forms, forms, prefix, source })
    }

    /// Its routes, whether or not who stands in front of it takes the prefix of the public URL away.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        let prefix = self.prefix.clone();
        let routes = Router::new()
            .route("/r/{token}", get(show))
            // As some mailers write it; and as programs for uploads are often told where to begin them.
            .route("/r/{token}/", get(show))
            .route("/r/{token}/files/", post(upload::create))
            .route("/r/{token}/code", post(enter))
            .route("/r/{token}/form", post(form::take))
            .route("/r/{token}/files", post(upload::create))
            .route(
                "/r/{token}/files/{id}",
                patch(upload::append).head(upload::offset).delete(upload::take_back),
            )
            .route("/r/{token}/files/{id}/done", post(upload::done))
            .route("/h/{token}", get(hand::show))
            .route("/h/{token}/", get(hand::show))
            .route("/h/{token}/code", post(hand::enter))
            .route("/h/{token}/file", post(hand::fetch))
            .route("/look.css", get(|| async { page::asset("text/css; charset=utf-8", page::LOOK) }))
            .route("/send.js", get(|| async { page::asset("text/javascript; charset=utf-8", page::SCRIPT) }))
            .route("/robots.txt", get(|| async { page::asset("text/plain", "User-agent: *\nDisallow: /\n") }))
            .with_state(self.clone());
        let nested =
            if prefix.is_empty() { Router::new() } else { Router::new().nest(&prefix, routes.clone()) };
        nested.merge(routes).fallback(move |request: Request<Body>| async move {
            let visit = Visit::of(&self, &request.into_parts().0);
            visit.answer_page(StatusCode::NOT_FOUND, page::nothing(visit.language))
        })
    }
}

/// One request: whose it is, and in which language it is answered.
struct Visit {
    door: Arc<Door>,
    language: Language,
    ip: IpAddr,
    pass: Option<String>,
    wants_json: bool,
}

/// Why a request is not done as asked.
enum Trouble {
    /// As the link or the file is.
    Drops(Error),
    /// There is no such link, or the request says what none of ours says.
    Stray,
    /// Too often, or too many at once.
    TooOften(Duration),
    /// A browser that has not told the code.
    Code,
    /// The file has so many bytes.
    Offset(u64),
    TooLarge(u64),
    /// More files in a form than so many.
    TooMany(usize),
    /// Who sends says no name.
    Nameless,
    /// The file of this name has no bytes.
    Empty(String),
    /// The request makes no sense.
    Bad(&'static str),
    /// Another site's page sent it.
    Foreign,
    /// It speaks another version of the protocol.
    Version,
    /// Its body is of another type than bytes that are appended.
    Type,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            // It is gone on with from there.
            Error::Lacking(offset) => Self::Offset(offset),
            error => Self::Drops(error),
        }
    }
}

impl From<bot_kit::StoreError> for Trouble {
    fn from(error: bot_kit::StoreError) -> Self {
        Self::Drops(error.into())
    }
}

impl Visit {
    fn of(door: &Arc<Door>, parts: &Parts) -> Self {
        let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let language = Language::asked(parts.uri.query(), text(header::ACCEPT_LANGUAGE));
        let wants_json = parts.headers.contains_key("tus-resumable");
        Self { door: door.clone(), language, ip: door.address(parts), pass: pass(&parts.headers), wants_json }
    }

    /// Counts the request.
    fn count(&self) -> Result<(), Trouble> {
        let (address, now) = (Address::of(self.ip), self.door.drops.clock().instant());
        self.door.requests.take(&"any", address, now).map_err(Trouble::TooOften)
    }

    /// Counts a request that changes something, and sees that a page of ours sent it, or a program.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Trouble> {
        self.count()?;
        is_ours(headers)
    }

    /// The link of a path, for whoever may see it.
    async fn link(&self, token: &str) -> Result<(Token, Link), Trouble> {
        let token = self.token(token)?;
        let link = self.found(self.door.drops.find(&token).await)?;
        Ok((token, link))
    }

    /// The token of a path.
    fn token(&self, text: &str) -> Result<Token, Trouble> {
        Token::read(text).ok_or_else(|| self.stray())
    }

    /// What a token leads to; who asks for links that are none is counted.
    fn found<T>(&self, found: Result<T, Error>) -> Result<T, Trouble> {
        found.map_err(|error| match error {
            Error::NoLink => self.stray(),
            error => error.into(),
        })
    }

    fn stray(&self) -> Trouble {
        let (address, now) = (Address::of(self.ip), self.door.drops.clock().instant());
        self.door.strays.take(&"stray", address, now).map_or_else(Trouble::TooOften, |()| Trouble::Stray)
    }

    /// The link of a path, for a browser that may use it.
    async fn open_link(&self, token: &str) -> Result<(Token, Link), Trouble> {
        let (token, link) = self.link(token).await?;
        let grace = self.door.drops.settings().grace.0;
        let now = self.door.drops.clock().now();
        if link.state == LinkState::Ended || now >= link.ends + grace {
            return Err(why_over(&link, now).into());
        }
        if !self.door.drops.may_pass(&token, &link, self.pass.as_deref()) {
            return Err(Trouble::Code);
        }
        Ok((token, link))
    }

    fn answer_page(&self, status: StatusCode, page: Markup) -> Response {
        let mut response = (status, page.into_string()).into_response();
        decorate(response.headers_mut(), self.language);
        response
    }

    /// The status and the sentence by which a trouble is told.
    fn say(&self, trouble: &Trouble) -> (StatusCode, String) {
        let language = self.language;
        match trouble {
            Trouble::Drops(error) => {
                let status = match error {
                    Error::NoLink | Error::NoUpload => StatusCode::NOT_FOUND,
                    Error::Over | Error::Cancelled(_) | Error::UsedUp(_) => StatusCode::GONE,
                    Error::NoCode => StatusCode::BAD_REQUEST,
                    Error::Locked | Error::WrongCode(_) => StatusCode::FORBIDDEN,
                    Error::Files | Error::Received | Error::Lacking(_) => StatusCode::CONFLICT,
                    Error::Bytes(_) => StatusCode::PAYLOAD_TOO_LARGE,
                    Error::Full | Error::Closed | Error::Links | Error::LinksOfRoom(_) => {
                        StatusCode::SERVICE_UNAVAILABLE
                    }
                    // As of what is there no more.
                    Error::Refused(Refused::TakenBack | Refused::GivenUp) => StatusCode::GONE,
                    Error::Refused(Refused::Kind | Refused::Hash) => StatusCode::UNPROCESSABLE_ENTITY,
                    Error::Store(_) | Error::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
                };
                if status == StatusCode::INTERNAL_SERVER_ERROR {
                    error!(error = %error, cause = ?std::error::Error::source(error), "a request failed");
                }
                (status, words::for_senders(error, language))
            }
            Trouble::Stray => (StatusCode::NOT_FOUND, words::no_such_link(language)),
            Trouble::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, words::too_often(language)),
            Trouble::Code => (StatusCode::FORBIDDEN, words::code_wanted(language)),
            Trouble::Offset(_) => (StatusCode::CONFLICT, words::another_offset(language)),
            Trouble::TooLarge(most) => (StatusCode::PAYLOAD_TOO_LARGE, words::too_large(*most, language)),
            Trouble::TooMany(most) => (StatusCode::BAD_REQUEST, words::too_many_in_form(*most, language)),
            Trouble::Nameless => (StatusCode::BAD_REQUEST, words::nameless(language)),
            Trouble::Empty(name) => (StatusCode::BAD_REQUEST, words::empty(name, language)),
            Trouble::Bad(what) => (StatusCode::BAD_REQUEST, words::bad_request(what, language)),
            Trouble::Foreign => (StatusCode::FORBIDDEN, words::foreign(language)),
            Trouble::Version => {
                (StatusCode::PRECONDITION_FAILED, words::bad_request("Tus-Resumable", language))
            }
            Trouble::Type => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, words::bad_request("Content-Type", language))
            }
        }
    }

    fn trouble(&self, trouble: Trouble) -> Response {
        let (status, message) = self.say(&trouble);
        let extra = match trouble {
            Trouble::TooOften(wait) => {
                Some((header::RETRY_AFTER, wait.as_secs().saturating_add(1).to_string()))
            }
            Trouble::Offset(offset) => Some((upload::OFFSET, offset.to_string())),
            Trouble::Version => Some(upload::spoken()),
            _ => None,
        };
        let mut response = if self.wants_json {
            let body = json!({ "message": message }).to_string();
            let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
            upload::resumable(response.headers_mut());
            response
        } else {
            self.answer_page(status, page::message(&message, self))
        };
        if let Some((name, value)) = extra
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Door {
    /// Whose request it is, which one of our proxies may say.
    fn address(&self, parts: &Parts) -> IpAddr {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
        self.drops.settings().proxies.sender(peer, &parts.headers)
    }
}

/// Whether a page of ours sent it, or a program; browsers say so of pages.
fn is_ours(headers: &HeaderMap) -> Result<(), Trouble> {
    let is_ours = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    if is_ours { Ok(()) } else { Err(Trouble::Foreign) }
}

/// What our cookie says.
fn pass(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|list| list.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then(|| value.to_owned())
    })
}

fn decorate(headers: &mut HeaderMap, language: Language) {
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_LANGUAGE, language.code()),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // The token stands in the address of the page.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::VARY, "accept-language, cookie"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
}

/// `GET /r/{token}`: the page. Nothing changes.
async fn show(State(door): State<Arc<Door>>, Path(token): Path<String>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    let visit = Visit::of(&door, &parts);
    let shown = async {
        visit.count()?;
        let (token, link) = visit.link(&token).await?;
        let now = door.drops.clock().now();
        if link.state != LinkState::Open || now >= link.ends {
            // What was begun may come to its end: its page stays as long.
            let ends = link.state != LinkState::Ended && now < link.ends + door.drops.settings().grace.0;
            if !ends || !door.drops.may_pass(&token, &link, visit.pass.as_deref()) {
                return Err(why_over(&link, now).into());
            }
        }
        if !door.drops.may_pass(&token, &link, visit.pass.as_deref()) {
            let page = if link.is_locked() {
                page::locked(&visit)
            } else {
                page::code(&visit, &at(&door, &token), None)
            };
            return Ok(visit.answer_page(StatusCode::OK, page));
        }
        let is_all_here = link.files == link.received;
        let idle = if is_all_here { Vec::new() } else { door.idle(&token.hash()).await? };
        let spare =
            idle.iter().fold((0, 0), |(files, bytes), (_, upload)| (files + 1, bytes + upload.length));
        let page = page::drop_zone(&visit, &token, &link, spare, now);
        Ok::<_, Trouble>(visit.answer_page(StatusCode::OK, page))
    };
    shown.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// `POST /r/{token}/code`: lets a browser in that tells the code.
async fn enter(State(door): State<Arc<Door>>, Path(token): Path<String>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&door, &parts);
    let entered = async {
        visit.admit(&parts.headers)?;
        let (token, link) = visit.link(&token).await?;
        let body = small(body).await?;
        match door.drops.enter(&token, &code_in(&body), visit.ip.to_string()).await {
            Ok(pass) => Ok(visit.let_in(
                &at(&door, &token),
                link.ends + door.drops.settings().grace.0,
                &pass,
                &parts.uri,
            )),
            Err(error) => visit.wrong_code(error, &at(&door, &token)),
        }
    };
    entered.await.unwrap_or_else(|trouble| visit.trouble(trouble))
}

/// The path of a link to upload by.
fn at(door: &Door, token: &Token) -> String {
    format!("{}/r/{}", door.prefix, token.as_str())
}

/// A body that is no file.
async fn small(body: Body) -> Result<Bytes, Trouble> {
    let read = timeout(SMALL_TIME, axum::body::to_bytes(body, SMALL)).await;
    read.ok().and_then(Result::ok).ok_or(Trouble::Bad("body"))
}

/// The code of a form.
fn code_in(body: &[u8]) -> String {
    let mut fields = url::form_urlencoded::parse(body);
    fields.find(|(name, _)| name == "code").map(|(_, code)| code.into_owned()).unwrap_or_default()
}

impl Visit {
    /// What is answered to a code that lets nobody in: the field for it once more, while it may be tried.
    fn wrong_code(&self, error: Error, at: &str) -> Result<Response, Trouble> {
        let status = match error {
            Error::WrongCode(0) => return Err(Error::Locked.into()),
            Error::WrongCode(_) => StatusCode::FORBIDDEN,
            Error::NoCode => StatusCode::BAD_REQUEST,
            error => return Err(error.into()),
        };
        let problem = words::for_senders(&error, self.language);
        Ok(self.answer_page(status, page::code(self, at, Some(&problem))))
    }

    /// Gives a browser a cookie for the pages at a path, until then.
    fn let_in(&self, path: &str, until: Timestamp, pass: &str, uri: &Uri) -> Response {
        let settings = self.door.drops.settings();
        let lasts = until.since(self.door.drops.clock().now()).as_secs();
        let secure = if settings.public_url.scheme() == "https" { "; Secure" } else { "" };
        // Lax, not strict: who comes from the mail with the link has it, a form of another site has not.
        let cookie = format!("{COOKIE}={pass}; Path={path}; Max-Age={lasts}; HttpOnly; SameSite=Lax{secure}");
        let query = uri.query().map_or(String::new(), |_| format!("?lang={}", self.language.code()));
        let to = format!("{path}{query}");
        let mut response =
            (StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie)]).into_response();
        decorate(response.headers_mut(), self.language);
        response
    }
}
