//! What a logout token has to say before it is acted on.
//!
//! It looks like an ID token, and neither must be taken for the other: this one has `events` and no `nonce`, that one has the
//! nonce of its attempt.
//!
//! Spec: <https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation>

use account::ProviderSignOut;
use serde_json::{Map, Value};

use crate::{
    BadLogoutToken as Bad, Settings, claims,
    id_token::{LONGEST_SESSION, LONGEST_SUBJECT, MOST, OLDEST, SKEW},
    jws::Unverified,
};

/// The event of a sign-out.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Kinds of tokens (`typ`) that may be one, in small letters; older providers say the second or nothing.
const KINDS: [&str; 2] = ["logout+jwt", "jwt"];
/// Longest id of a token, in bytes.
const LONGEST_ID: usize = 1_024;

/// That somebody has signed out at the provider of an authority.
#[derive(Clone, PartialEq, Eq)]
pub struct LogoutToken {
    issuer: String,
    subject: Option<String>,
    session: Option<String>,
    id: String,
    until_ms: u64,
}

impl LogoutToken {
    /// What it says.
    pub fn sign_out(&self) -> ProviderSignOut<'_> {
        ProviderSignOut {
            issuer: &self.issuer,
            subject: self.subject.as_deref(),
            session: self.session.as_deref(),
            token: &self.id,
            until_ms: self.until_ms,
        }
    }
}

impl std::fmt::Debug for LogoutToken {
    /// What people are called does not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogoutToken").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Looks at all that a token says but its signature; `now` is in seconds since 1970.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(token: &Unverified<'_>, settings: &Settings, now: u64) -> Result<LogoutToken, Bad> {
    if let Some(kind) = token.kind() {
        let kind = kind.to_ascii_lowercase();
        if !KINDS.contains(&kind.strip_prefix("application/").unwrap_or(&kind)) {
            return Err(Bad::Kind);
        }
    }
    let all = token.alleged();
    if claims::text(all, "iss") != Some(settings.issuer.as_str()) {
        return Err(Bad::Issuer);
    }
    if !claims::texts(all, "aud", MOST).contains(&settings.client_id) {
        return Err(Bad::Audience);
    }
    let made = claims::seconds(all, "iat").ok_or(Bad::NotNow)?;
    if made > now.saturating_add(SKEW) || made.saturating_add(OLDEST) < now {
        return Err(Bad::NotNow);
    }
    let expires = claims::seconds(all, "exp").ok_or(Bad::Expired)?;
    if expires.saturating_add(SKEW) <= now {
        return Err(Bad::Expired);
    }
    let events = all.get("events").and_then(Value::as_object).ok_or(Bad::Events)?;
    if !events.get(EVENT).is_some_and(Value::is_object) {
        return Err(Bad::Events);
    }
    if all.contains_key("nonce") {
        return Err(Bad::Nonce);
    }
    let subject = name(all, "sub", LONGEST_SUBJECT).ok_or(Bad::Nobody)?;
    let session = name(all, "sid", LONGEST_SESSION).ok_or(Bad::Nobody)?;
    if subject.is_none() && session.is_none() {
        return Err(Bad::Nobody);
    }
    let id = name(all, "jti", LONGEST_ID).flatten().ok_or(Bad::NoId)?;
    // After the one or the other it is refused for its age, also where our clocks are apart by as much as theirs may be.
    let until = expires.saturating_add(SKEW).min(made.saturating_add(OLDEST)).saturating_add(SKEW);
    Ok(LogoutToken {
        issuer: settings.issuer.clone(),
        subject,
        session,
        id,
        until_ms: until.saturating_mul(1_000),
    })
}

/// A claim that is a name, if it is there; nothing for one that is there and is none.
fn name(all: &Map<String, Value>, claim: &str, longest: usize) -> Option<Option<String>> {
    if !all.contains_key(claim) {
        return Some(None);
    }
    let text = claims::text(all, claim).filter(|name| (1..=longest).contains(&name.len()))?;
    Some(Some(text.to_owned()))
}
