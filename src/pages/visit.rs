//! Who visits a page, and the answers to him.

use std::{collections::BTreeMap, fmt, future::Future};

use account::{Accounts, Browser, BrowserSecret};
use base::{Address, Random};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use maud::{Markup, html};
use ruma::{OwnedServerName, ServerName};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use web::{ApiError, Body, HeaderValue, LateCall, Open, RawCall, Response, StatusCode, header};

use crate::{Form, Language, Page, PageError, Upload, cookies, kept::Kept, page::Frame};

/// The field of a form with the proof that it was given to this browser.
const PROOF: &str = "proof";

/// Letters of the secret of a browser in which nobody is signed in.
const SECRET_CHARS: usize = 40;

/// Longest path and query that a page remembers to come back to, in bytes.
const LONGEST_BACK: usize = 8 << 10;

/// What all pages of a process share.
pub struct Pages {
    pub(crate) accounts: Accounts,
    random: Random,
    base_urls: BTreeMap<OwnedServerName, String>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("base_urls", &self.base_urls).finish_non_exhaustive()
    }
}

impl Pages {
    /// Pages of these authorities, at these addresses. Where one begins with `https`, cookies go over TLS only.
    pub fn new(accounts: Accounts, random: Random, base_urls: BTreeMap<OwnedServerName, String>) -> Pages {
        let trimmed = |url: String| url.trim_end_matches('/').to_owned();
        let base_urls = base_urls.into_iter().map(|(name, url)| (name, trimmed(url))).collect();
        Pages { accounts, random, base_urls }
    }

    /// The address at which browsers reach an authority, without a slash at its end.
    pub fn base_url(&self, authority: &ServerName) -> Option<&str> {
        self.base_urls.get(authority).map(String::as_str)
    }

    /// Has a handler answer a visit; what goes wrong becomes a page as well.
    ///
    /// # Errors
    /// Never so far; the type is that of handlers.
    pub async fn answer<F>(
        &self,
        call: RawCall<Open>,
        handler: impl FnOnce(Visit) -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Response, PageError>>,
    {
        let visit = match self.visit(call).await {
            Ok(visit) => visit,
            Err((stranger, error)) => return Ok(stranger.page(error.into_page(stranger.language, None))),
        };
        let (face, sent) = (visit.face.clone(), Kept::of(&visit.call));
        Ok(match handler(visit).await {
            Ok(response) => response,
            Err(error) => {
                let again = sent.and_then(|sent| sent.again(&error, face.language, &face.proof_field()));
                face.page(error.into_page(face.language, again.as_ref()))
            }
        })
    }

    /// The same of a visit with a large form, of which nothing is read before `door` has said that whoever is signed in may
    /// send one. It is asked again once all is here: whoever keeps a server waiting may lose meanwhile what he may.
    ///
    /// # Errors
    /// Never so far; the type is that of handlers.
    pub async fn answer_late<F>(
        &self,
        late: LateCall,
        door: &impl Door,
        handler: impl FnOnce(Visit) -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Response, PageError>>,
    {
        let mut visit = match self.visit(late.call).await {
            Ok(visit) => visit,
            Err((stranger, error)) => return Ok(stranger.page(error.into_page(stranger.language, None))),
        };
        let face = visit.face.clone();
        let answer = async {
            let user = visit.signed_in()?.user_id.clone();
            door.admit(&visit).await?;
            let body = late.body.read_as(&user).await?;
            visit.call.body = body.bytes.clone();
            visit.browser =
                self.accounts.find_browser(visit.authority(), &visit.face.secret, visit.address()).await?;
            door.admit(&visit).await?;
            handler(visit).await
        };
        Ok(match answer.await {
            Ok(response) => response,
            Err(error) => face.page(error.into_page(face.language, None)),
        })
    }

    /// Who visits. Where that cannot be found out, a stranger hears of it.
    async fn visit(&self, call: RawCall<Open>) -> Result<Visit, (Visitor, PageError)> {
        let headers = &call.parts.headers;
        let authority = call.face.server_name();
        let is_secure = self.base_url(authority).is_some_and(|url| url.starts_with("https://"));
        let shown = cookies::find(headers, cookies::secret_name(is_secure));
        let chosen = cookies::find(headers, cookies::LANGUAGE).and_then(Language::of_code);
        let language = chosen.unwrap_or_else(|| Language::accepted(headers));
        let path = call.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let can_return = call.parts.method == web::Method::GET && is_local(path);
        let mut face = Visitor {
            place: authority.to_string(),
            language,
            back: if can_return { path.to_owned() } else { "/_yakuba/account".to_owned() },
            secret: shown.map_or_else(|| self.random.token(SECRET_CHARS), str::to_owned),
            is_new: shown.is_none(),
            is_secure,
            user: None,
        };
        let browser = match shown {
            Some(secret) => self.accounts.find_browser(authority, secret, call.address).await,
            None => Ok(None),
        };
        match browser {
            Ok(browser) => {
                face.user = browser.as_ref().map(|browser| browser.user_id.to_string());
                Ok(Visit { face, browser, call })
            }
            Err(error) => Err((face, error.into())),
        }
    }
}

/// What an answer needs of its visitor.
#[derive(Clone)]
struct Visitor {
    place: String,
    language: Language,
    /// Where to come back to.
    back: String,
    secret: String,
    /// Whether the browser has still to be given the secret.
    is_new: bool,
    is_secure: bool,
    user: Option<String>,
}

impl Visitor {
    fn page(&self, page: Page) -> Response {
        let other = self.language.pick(Language::English, Language::Japanese);
        let back = Form::escape(page.again_at.as_deref().filter(|path| is_local(path)).unwrap_or(&self.back));
        let proof = self.proof_field();
        let frame = Frame {
            language: self.language,
            place: &self.place,
            other_language: &format!("/_yakuba/language/{}?back={back}", other.code()),
            signed_in: self.user.as_deref().map(|user| (user, &proof)),
        };
        self.finish(page.into_response(&frame))
    }

    fn redirect(&self, to: &str) -> Response {
        let mut response = Response::new(Body::empty());
        let Ok(to) = HeaderValue::from_str(to) else {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, to);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        self.finish(response)
    }

    fn finish(&self, mut response: Response) -> Response {
        let cookie = self.is_new.then(|| cookies::set_secret(&self.secret, self.is_secure)).flatten();
        if let Some(cookie) = cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }

    /// What only this browser knows, of its secret: whoever reads it in a page learns no secret.
    fn proof(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.derived("yakuba form"))
    }

    /// What follows from the secret for one purpose.
    fn derived(&self, purpose: &str) -> [u8; 32] {
        let mut mac = match Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn proof_field(&self) -> Markup {
        html! { input type="hidden" name=(PROOF) value=(self.proof()); }
    }
}

/// Who may send a large form, asked before anything of it is read.
pub trait Door: Send + Sync {
    /// Refuses whom the form is not for.
    fn admit<'a>(&'a self, visit: &'a Visit) -> BoxFuture<'a, Result<(), PageError>>;
}

/// One request of a browser for a page.
pub struct Visit {
    face: Visitor,
    browser: Option<Browser>,
    /// The request.
    pub call: RawCall<Open>,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("browser", &self.browser).finish_non_exhaustive()
    }
}

impl Visit {
    /// Which authority's page is visited.
    pub fn authority(&self) -> &ServerName {
        self.call.face.server_name()
    }

    /// The language of the answer.
    pub fn language(&self) -> Language {
        self.face.language
    }

    /// The one of two texts that is in the visitor's language.
    pub fn say<T>(&self, japanese: T, english: T) -> T {
        self.face.language.pick(japanese, english)
    }

    /// Who is signed in in this browser, if anybody is.
    pub fn browser(&self) -> Option<&Browser> {
        self.browser.as_ref()
    }

    /// Who is signed in in this browser.
    ///
    /// # Errors
    /// 401 when nobody is.
    pub fn signed_in(&self) -> Result<&Browser, PageError> {
        self.browser.as_ref().ok_or_else(PageError::signed_out)
    }

    /// Where the visitor is, as far as that can be believed.
    pub fn address(&self) -> Option<Address> {
        self.call.address
    }

    /// The path and query of this page, to come back to; that of the account pages where it cannot be opened again.
    pub fn here(&self) -> &str {
        &self.face.back
    }

    /// The fields of the query string.
    ///
    /// # Errors
    /// 400.
    pub fn query(&self) -> Result<Form, PageError> {
        Ok(Form::of_query(self.call.parts.uri.query())?)
    }

    /// The fields of a form that was sent, which must carry what [`Visit::proof`] gave to this browser.
    ///
    /// # Errors
    /// 400, and 403 for a form that another site sends, or that was made before somebody else signed in.
    pub fn form(&self) -> Result<Form, PageError> {
        self.refuse_other_sites()?;
        let form = Form::of_body(&self.call.parts.headers, &self.call.body)?;
        self.must_prove(&form)?;
        Ok(form)
    }

    /// The fields of a form that was sent, whatever it proves: to be shown once more to whoever typed them, where
    /// [`Visit::form`] does not take it since somebody has signed in anew meanwhile. Nothing is done by them. Nothing of a form
    /// that another site sends.
    #[must_use]
    pub fn typed(&self) -> Option<Form> {
        let site = self.call.parts.headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
        if matches!(site, Some("cross-site" | "same-site")) {
            return None;
        }
        Form::of_body(&self.call.parts.headers, &self.call.body).ok()
    }

    /// As [`Visit::form`], of a form with files.
    ///
    /// # Errors
    /// As [`Visit::form`].
    pub async fn upload(&self) -> Result<Upload, PageError> {
        self.refuse_other_sites()?;
        let upload = Upload::of_body(&self.call.parts.headers, &self.call.body).await?;
        self.must_prove(&upload.form)?;
        Ok(upload)
    }

    fn refuse_other_sites(&self) -> Result<(), PageError> {
        let site = self.call.parts.headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
        if matches!(site, Some("cross-site" | "same-site")) || self.face.is_new {
            return Err(PageError::stale());
        }
        Ok(())
    }

    fn must_prove(&self, form: &Form) -> Result<(), PageError> {
        let is_ours: bool = form.get(PROOF).as_bytes().ct_eq(self.face.proof().as_bytes()).into();
        if is_ours { Ok(()) } else { Err(PageError::stale()) }
    }

    /// A key for this purpose that this browser alone has given to it: what is bound to it is worth nothing in another one.
    pub fn key(&self, purpose: &str) -> [u8; 32] {
        self.face.derived(purpose)
    }

    /// The fields of a form that was sent and that needs no proof: it carries all that its deed takes, such as a name
    /// with its password or the word of a mail, and whoever is signed in in this browser has no part in it. So a
    /// browser without cookies, as some apps have inside, can send it as well.
    ///
    /// # Errors
    /// 400.
    pub fn open_form(&self) -> Result<Form, PageError> {
        Ok(Form::of_body(&self.call.parts.headers, &self.call.body)?)
    }

    /// What stands above a form that is shown once more: why it was not taken.
    pub fn problem(&self, error: Option<&PageError>) -> Markup {
        html! {
            @if let Some(error) = error { p.problem role="alert" { (error.text(self.language())) } }
        }
    }

    /// The hidden field that each form of a page needs.
    pub fn proof(&self) -> Markup {
        self.face.proof_field()
    }

    /// Gives this browser the secret of somebody who has signed in; the one before is worth nothing, and whoever was signed
    /// in with it is so no more.
    ///
    /// # Errors
    /// 500 and 503.
    pub async fn begin(&mut self, pages: &Pages, secret: BrowserSecret) -> Result<(), PageError> {
        if self.browser.is_some() {
            pages.accounts.end_browser(self.authority(), &self.face.secret, self.call.address).await?;
        }
        self.face.secret = secret.0;
        self.face.is_new = true;
        Ok(())
    }

    /// Whoever is signed in in this browser is so no more; what it was shown before is worth nothing.
    ///
    /// # Errors
    /// 500 and 503.
    pub async fn end(&mut self, pages: &Pages) -> Result<(), PageError> {
        pages.accounts.end_browser(self.authority(), &self.face.secret, self.call.address).await?;
        self.face.secret = pages.random.token(SECRET_CHARS);
        self.face.is_new = true;
        self.face.user = None;
        self.browser = None;
        Ok(())
    }

    /// The answer that shows a page.
    pub fn page(&self, page: Page) -> Response {
        self.face.page(page)
    }

    /// The answer that saves a text as a file under a name of ours, in ASCII.
    pub fn file(&self, name: &str, kind: &'static str, text: String) -> Response {
        let mut response = Response::new(Body::from(text));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers
            .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
        if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
        self.face.finish(response)
    }

    /// The answer that leads elsewhere: a path of ours, or a URI that somebody has checked. It is gone to by GET.
    pub fn redirect(&self, to: &str) -> Response {
        self.face.redirect(to)
    }

    /// A path of ours that a visitor brings along to be led back to; the account pages where it is none.
    pub fn way_back<'a>(&self, path: Option<&'a str>) -> &'a str {
        path.filter(|path| is_local(path)).unwrap_or("/_yakuba/account")
    }
}

/// Whether this is a path of our pages, and can be nothing else to any browser.
fn is_local(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    path.len() <= LONGEST_BACK
        && (path.starts_with("/_yakuba/") || path.starts_with("/_matrix/"))
        && path.bytes().all(is_plain)
}
