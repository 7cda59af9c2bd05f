//! The crate's one handle.

use std::{collections::BTreeMap, fmt, sync::Arc};

use account::{Identity, ProviderLogin};
use base::{Clock, Random};
use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ruma::{OwnedServerName, ServerName, UserId};
use serde_json::{Map, Value};
use store::Position;
use url::{Url, form_urlencoded};

use crate::{
    Error, Hears, Purpose, Question, Settings, Staff, StaffClaims, Web,
    attempt::{Attempt, LONGEST_BACK, state_key},
    bounds::Bounds,
    claims, id_token,
    jws::Unverified,
    provider::{Known, Provider},
};

/// Longest code and state that are looked at, in bytes.
const LONGEST: usize = 8 << 10;
/// Longest word of an error that is repeated.
const LONGEST_WORD: usize = 64;

/// The identity providers of all authorities that have one. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    providers: Arc<BTreeMap<OwnedServerName, (Settings, Provider)>>,
    secret: [u8; 32],
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) clock: Clock,
    random: Random,
    hears: Option<Arc<dyn Hears>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}

/// A browser that is to be sent to a provider.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Our address to which it comes back.
    pub callback: &'a str,
    /// What the browser alone knows.
    pub key: &'a [u8; 32],
    /// What for.
    pub purpose: Purpose,
    /// The position up to which all is known at this moment; see [`account::Accounts::login_begins`].
    pub since: Position,
    /// Where it is to go in the end.
    pub back: &'a str,
    /// The language of its user, as the provider may go by it.
    pub language: &'a str,
}

/// What a browser brings back.
#[derive(Clone, Copy, Debug)]
pub struct Returned<'a> {
    /// Our address to which it came.
    pub callback: &'a str,
    /// What the browser alone knows.
    pub key: &'a [u8; 32],
    /// The state.
    pub state: &'a str,
    /// The code, if there is one.
    pub code: Option<&'a str>,
    /// Who says so.
    pub issuer: Option<&'a str>,
    /// The error, if there is one.
    pub error: Option<&'a str>,
}

/// Somebody who has signed in at a provider.
#[derive(Debug)]
pub struct Finished {
    /// Who it is, by the provider's word.
    pub identity: Identity,
    /// What for.
    pub purpose: Purpose,
    /// Where the browser is to go.
    pub back: String,
    /// What is said of him as staff, if something is.
    pub staff: Option<Staff>,
}

impl Upstream {
    /// These providers, to which there is this way; attempts are marked by a secret that all processes share
    /// ([`account::Accounts::attempt_secret`]).
    pub fn new(
        settings: BTreeMap<OwnedServerName, Settings>,
        web: Arc<dyn Web>,
        secret: [u8; 32],
        clock: Clock,
        random: Random,
    ) -> Upstream {
        let provider = |settings: &Settings| {
            Provider::new(settings.issuer.clone(), web.clone(), clock.clone(), random.clone())
        };
        let providers = settings.into_iter().map(|(name, settings)| {
            let provider = provider(&settings);
            (name, (settings, provider))
        });
        Upstream {
            providers: Arc::new(providers.collect()),
            secret,
            bounds: Arc::new(Bounds::new()),
            clock,
            random,
            hears: None,
        }
    }

    /// The same, with somebody who hears what providers say of people as staff.
    #[must_use]
    pub fn heard_by(self, hears: Arc<dyn Hears>) -> Upstream {
        Upstream { hears: Some(hears), ..self }
    }

    /// Tells what a provider has said of a user of ours, once he is known to be the one.
    pub async fn tell(&self, user: &UserId, staff: Option<&Staff>) {
        if let (Some(hears), Some(staff)) = (&self.hears, staff) {
            hears.hear(user, staff).await;
        }
    }

    /// What is set about the provider of an authority, if it has one.
    pub fn settings(&self, authority: &ServerName) -> Option<&Settings> {
        self.providers.get(authority).map(|(settings, _)| settings)
    }

    pub(crate) fn find(&self, authority: &ServerName) -> Option<&(Settings, Provider)> {
        self.providers.get(authority)
    }

    /// Where the browser of a state was to go that is not believed, so that its user may be led there: the state says so alone.
    pub fn alleged_back(state: &str) -> Option<String> {
        Attempt::back_of(state).filter(|_| state.len() <= LONGEST)
    }

    fn provider(&self, authority: &ServerName) -> Result<&(Settings, Provider), Error> {
        self.find(authority).ok_or(Error::NotOffered)
    }

    /// The address at the provider to which a browser is to be sent.
    ///
    /// # Errors
    /// [`Error::NotOffered`], [`Error::Unavailable`], [`Error::Untrusted`].
    pub async fn begin(&self, authority: &ServerName, sent: Sent<'_>) -> Result<String, Error> {
        let (settings, provider) = self.provider(authority)?;
        let known = provider.get().await?;
        let mut number = [0; 16];
        self.random.fill(&mut number);
        let back = if sent.back.len() <= LONGEST_BACK { sent.back } else { "" };
        let began_ms = self.clock.now().millis();
        let (purpose, since, back) = (sent.purpose, sent.since.0, back.to_owned());
        let attempt = Attempt { number, began_ms, purpose, since, back };
        let mut url = Url::parse(&known.metadata.authorization_endpoint)
            .map_err(|_| Error::Untrusted("its authorization_endpoint is no URL"))?;
        let scope = ["openid"].into_iter().chain(settings.scopes.iter().map(String::as_str));
        let scope: Vec<&str> = scope.collect();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", sent.callback)
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", &attempt.state(&state_key(&self.secret, sent.key), authority))
            .append_pair("nonce", &attempt.nonce(sent.key))
            .append_pair("code_challenge", &attempt.challenge(sent.key))
            .append_pair("code_challenge_method", "S256")
            .append_pair("ui_locales", sent.language);
        if !settings.acr_values.is_empty() {
            url.query_pairs_mut().append_pair("acr_values", &settings.acr_values.join(" "));
        }
        Ok(url.into())
    }

    /// Who has come back from the provider.
    ///
    /// # Errors
    /// All but [`Error::MissingClaim`]: which claims are needed shows once it is known whether there is an account.
    pub async fn finish(&self, authority: &ServerName, returned: Returned<'_>) -> Result<Finished, Error> {
        let (settings, provider) = self.provider(authority)?;
        if returned.state.len() > LONGEST {
            return Err(Error::NotOurs);
        }
        let now_ms = self.clock.now().millis();
        let key = state_key(&self.secret, returned.key);
        let attempt = Attempt::of_state(returned.state, &key, authority, now_ms);
        let attempt = attempt.ok_or(Error::NotOurs)?;
        let known = provider.get().await?;
        // Before anything else is believed: an answer of another provider is none (RFC 9207).
        match returned.issuer {
            Some(issuer) if issuer != settings.issuer => {
                return Err(Error::Untrusted("another issuer answered"));
            }
            None if known.metadata.says_issuer => {
                return Err(Error::Untrusted("the answer does not say who answered"));
            }
            _ => {}
        }
        if let Some(code) = returned.error {
            let may_stand = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
            let code = code.chars().filter(may_stand).take(LONGEST_WORD).collect();
            return Err(Error::Refused { code });
        }
        let code = returned.code.filter(|code| code.len() <= LONGEST);
        let code = code.ok_or(Error::Untrusted("the answer holds no code"))?;
        let (id_token, access) = trade(settings, provider, &known, &attempt, &returned, code).await?;

        let unverified = Unverified::parse(&id_token)?;
        let keys = provider.keys_for(&unverified).await?;
        let said = unverified.verify(&keys).ok_or(Error::Untrusted("the ID token is not signed by it"))?;
        let nonce = attempt.nonce(returned.key);
        let about = id_token::check(said, settings, &nonce, now_ms / 1_000)?;

        let mut said = said.clone();
        if let (Some(endpoint), Some(access)) = (&known.metadata.userinfo_endpoint, access)
            && !is_enough(settings, &said)
        {
            add_userinfo(provider, endpoint, &access, &about.subject, &mut said).await?;
        }
        let fill = |template: &Option<crate::Template>| {
            template.as_ref().and_then(|template| template.fill(&said).ok())
        };
        let is_verified = said.get("email_verified") == Some(&Value::Bool(true));
        let identity = Identity {
            issuer: settings.issuer.clone(),
            subject: about.person,
            localpart: settings.localpart.fill(&said).map_err(|error| match error {
                Error::MissingClaim { claim } => claim,
                other => other.to_string(),
            }),
            display_name: fill(&settings.display_name),
            email: fill(&settings.email).filter(|_| is_verified),
            login: ProviderLogin::new(
                &settings.issuer,
                &about.subject,
                about.session.as_deref(),
                Position(attempt.since),
            ),
            acr: about.acr,
            amr: about.amr,
        };
        let staff = settings.staff.as_ref().and_then(|claims| claims.said(&said));
        Ok(Finished { identity, purpose: attempt.purpose, back: attempt.back, staff })
    }
}

/// Whether claims hold all that the templates name.
fn is_enough(settings: &Settings, said: &Map<String, Value>) -> bool {
    let named = [Some(&settings.localpart), settings.display_name.as_ref(), settings.email.as_ref()];
    let of_staff = settings.staff.iter().flat_map(StaffClaims::needed);
    named.into_iter().flatten().chain(of_staff).all(|template| template.is_filled_by(said))
}

/// Trades a code for an ID token, and an access token if there is one.
async fn trade(
    settings: &Settings,
    provider: &Provider,
    known: &Known,
    attempt: &Attempt,
    returned: &Returned<'_>,
    code: &str,
) -> Result<(String, Option<String>), Error> {
    let question = question(settings, known, attempt, returned, code);
    let answer = provider.ask_whatever(question).await?;
    let told: Map<String, Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
    match answer.status {
        200 => {}
        400..500 => {
            // Our fault or the code's: the word is the provider's, for the log.
            let word = claims::text(&told, "error").unwrap_or("no reason");
            tracing::warn!(
                issuer = settings.issuer,
                status = answer.status,
                error = word,
                "a code was not traded"
            );
            return Err(Error::Untrusted("it does not take its own code"));
        }
        status => return Err(Error::Unavailable(format!("the answer is {status}"))),
    }
    let id_token = claims::text(&told, "id_token").ok_or(Error::Untrusted("it gives no ID token"))?;
    Ok((id_token.to_owned(), claims::text(&told, "access_token").map(str::to_owned)))
}

/// What is asked of a provider to trade a code.
fn question(
    settings: &Settings,
    known: &Known,
    attempt: &Attempt,
    returned: &Returned<'_>,
    code: &str,
) -> Question {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", returned.callback)
        .append_pair("code_verifier", &attempt.verifier(returned.key));
    let authorization = match &settings.client_secret {
        Some(secret) if known.metadata.secret_in_form => {
            form.append_pair("client_id", &settings.client_id).append_pair("client_secret", secret);
            None
        }
        Some(secret) => {
            let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let pair = format!("{}:{}", escaped(&settings.client_id), escaped(secret));
            Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        }
        None => {
            form.append_pair("client_id", &settings.client_id);
            None
        }
    };
    Question { url: known.metadata.token_endpoint.clone(), authorization, form: Some(form.finish()) }
}

/// Adds what the provider tells besides. It may not say who somebody is: that is the ID token's.
async fn add_userinfo(
    provider: &Provider,
    endpoint: &str,
    access: &str,
    subject: &str,
    said: &mut Map<String, Value>,
) -> Result<(), Error> {
    let authorization = Some(format!("Bearer {access}"));
    let question = Question { url: endpoint.to_owned(), authorization, form: None };
    let body = provider.ask(question).await?;
    let told: Map<String, Value> =
        serde_json::from_slice(&body).map_err(|_| Error::Untrusted("its userinfo is no JSON"))?;
    if claims::text(&told, "sub") != Some(subject) {
        return Err(Error::Untrusted("its userinfo is about somebody else"));
    }
    for (name, value) in told {
        said.entry(name).or_insert(value);
    }
    Ok(())
}
