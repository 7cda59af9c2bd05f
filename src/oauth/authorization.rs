//! What a client asks a user for, by way of the user's browser.
//!
//! As long as it is not known that the client may be answered at the redirect URI, only the user is told what
//! is wrong; from then on the client is.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#authorisation-code-flow>

use ruma::ServerName;
use url::form_urlencoded;

use crate::{Code, Destination, Error, OAuth, Registered, Scope, metadata::AUTHORIZATION_CODE};

/// Longest state, in bytes: it comes back as it was sent.
const LONGEST_STATE: usize = 2_048;
/// Length of a SHA-256 in base64.
const CHALLENGE_CHARS: usize = 43;

/// Where in the redirect URI the answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query: also where nobody says otherwise.
    Query,
    /// In the fragment, which no web server sees.
    Fragment,
}

/// What the client would have the user asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Whatever is needed.
    Any,
    /// Nothing: an error, where something is needed.
    Nothing,
    /// To sign in, also who has.
    Login,
    /// To make an account.
    Create,
}

/// A request that may be put before a user.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Who asks.
    pub client: Registered,
    /// For what.
    pub scope: Scope,
    /// What is to be asked.
    pub prompt: Prompt,
    /// Whom the client believes to be there: a user id.
    pub login_hint: Option<String>,
    /// Where the answer goes.
    pub answer: AnswerTo,
    /// What the client's secret hashes to.
    pub(crate) challenge: String,
}

/// Where an answer goes.
#[derive(Clone, Debug)]
pub struct AnswerTo {
    pub(crate) redirect_uri: String,
    mode: ResponseMode,
    state: Option<String>,
    issuer: String,
}

/// Why a request is not put before a user.
#[derive(Debug)]
pub enum Refusal {
    /// It is not known where an answer may go: the user is told.
    Here(Error),
    /// The client is told, at this URI. Anybody registers a client and sends people to us, so a browser is not led there
    /// before somebody is signed in in it.
    AtClient {
        /// The URI.
        uri: String,
        /// Where that is.
        to: Destination,
    },
}

impl AnswerTo {
    /// The redirect URI.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Where that leads.
    pub fn destination(&self) -> Destination {
        Destination::of(&self.redirect_uri)
    }

    /// The URI that brings a code to the client.
    pub fn with_code(&self, code: &str) -> String {
        self.with(&[("code", code)])
    }

    /// The URI that brings an error to the client.
    pub fn with_error(&self, code: Code, text: &str) -> String {
        self.with(&[("error", code.word()), ("error_description", text)])
    }

    fn with(&self, pairs: &[(&str, &str)]) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(pairs);
        if let Some(state) = &self.state {
            text.append_pair("state", state);
        }
        // So that a client that knows several servers does not take one's answer for another's (RFC 9207).
        text.append_pair("iss", &self.issuer);
        let text = text.finish();
        let uri = &self.redirect_uri;
        match self.mode {
            ResponseMode::Fragment => format!("{uri}#{text}"),
            ResponseMode::Query if uri.contains('?') => format!("{uri}&{text}"),
            ResponseMode::Query => format!("{uri}?{text}"),
        }
    }
}

impl OAuth {
    /// Reads a client's request; `field` gives its parameters, `issuer` is who answers.
    ///
    /// # Errors
    /// [`Refusal`] says who is to be told.
    pub async fn authorization<'a>(
        &self,
        authority: &ServerName,
        issuer: &str,
        field: impl Fn(&str) -> Option<&'a str> + Send,
    ) -> Result<Authorization, Refusal> {
        let invalid = |text: &'static str| Error::refused(Code::InvalidRequest, text);
        let id = field("client_id").ok_or_else(|| Refusal::Here(invalid("client_id is missing")))?;
        let client = self.client(authority, id).await.map_err(Refusal::Here)?;
        let redirect_uri =
            field("redirect_uri").ok_or_else(|| Refusal::Here(invalid("redirect_uri is missing")))?;
        if !client.client.may_be_answered_at(redirect_uri) {
            return Err(Refusal::Here(invalid("redirect_uri is none that the client registered")));
        }
        let state = field("state").filter(|state| state.len() <= LONGEST_STATE);
        let (mode, mode_known) = match field("response_mode") {
            None | Some("query") => (ResponseMode::Query, true),
            Some("fragment") => (ResponseMode::Fragment, true),
            Some(_) => (ResponseMode::Query, false),
        };
        let answer = AnswerTo {
            redirect_uri: redirect_uri.to_owned(),
            mode,
            state: state.map(str::to_owned),
            issuer: issuer.to_owned(),
        };
        let no = |code, text: &str| Refusal::AtClient {
            uri: answer.with_error(code, text),
            to: answer.destination(),
        };
        if field("state").is_some() && state.is_none() {
            return Err(no(Code::InvalidRequest, "state is too long"));
        }
        if field("request").is_some() || field("request_uri").is_some() {
            return Err(no(Code::RequestNotSupported, "requests are read from the query alone"));
        }
        if !mode_known {
            return Err(no(Code::InvalidRequest, "response_mode is neither query nor fragment"));
        }
        match field("response_type") {
            Some("code") => {}
            None => return Err(no(Code::InvalidRequest, "response_type is missing")),
            Some(_) => return Err(no(Code::UnsupportedResponseType, "response_type has to be code")),
        }
        if !client.client.may(AUTHORIZATION_CODE) {
            return Err(no(Code::UnauthorizedClient, "the client did not register for authorization_code"));
        }
        if field("code_challenge_method") != Some("S256") {
            return Err(no(Code::InvalidRequest, "code_challenge_method has to be S256"));
        }
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let challenge = field("code_challenge")
            .filter(|text| text.len() == CHALLENGE_CHARS && text.bytes().all(is_base64))
            .ok_or_else(|| no(Code::InvalidRequest, "code_challenge is no SHA-256 in base64url"))?
            .to_owned();
        let scope = match Scope::parse(field("scope").unwrap_or_default()) {
            Ok(scope) => scope,
            Err(Error::Refused { code, text }) => return Err(no(code, &text)),
            Err(other) => return Err(Refusal::Here(other)),
        };
        let prompt = match field("prompt") {
            Some("none") => Prompt::Nothing,
            Some("login" | "select_account") => Prompt::Login,
            Some("create") => Prompt::Create,
            _ => Prompt::Any,
        };
        let hint = field("login_hint").and_then(|hint| hint.strip_prefix("mxid:").or(Some(hint)));
        let login_hint = hint.filter(|hint| hint.len() <= 255).map(str::to_owned);
        Ok(Authorization { client, scope, prompt, login_hint, answer, challenge })
    }
}
