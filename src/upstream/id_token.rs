//! What an ID token has to say before it is believed.
//!
//! Spec: <https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation>

use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use crate::{Error, Settings, claims};

/// How far the provider's clock and ours may be apart, in seconds.
pub(crate) const SKEW: u64 = 120;
/// How long ago a token may have been made, in seconds: it was made for the code that was just traded.
pub(crate) const OLDEST: u64 = 600;
/// Longest name of somebody at a provider, in bytes.
pub(crate) const LONGEST_SUBJECT: usize = 255;
/// Longest name of a login at a provider (`sid`), in bytes.
pub(crate) const LONGEST_SESSION: usize = 1_024;
/// Audiences, and methods of authentication, that are read.
pub(crate) const MOST: usize = 32;

/// Who an ID token is about.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) subject: String,
    /// By what the person is known here: the subject, or another claim if the settings name one.
    pub(crate) person: String,
    /// How he was authenticated, by the provider's own word.
    pub(crate) acr: Option<String>,
    /// By which methods.
    pub(crate) amr: Vec<String>,
    /// What the provider calls the login, if it does.
    pub(crate) session: Option<String>,
}

/// Looks at the claims of a token whose signature is good; `nonce` is what was sent, `now` is in seconds since 1970.
///
/// # Errors
/// [`Error::Untrusted`], [`Error::TooWeak`].
pub(crate) fn check(
    all: &Map<String, Value>,
    settings: &Settings,
    nonce: &str,
    now: u64,
) -> Result<Subject, Error> {
    let no = Error::Untrusted;
    if claims::text(all, "iss") != Some(settings.issuer.as_str()) {
        return Err(no("the ID token is another issuer's"));
    }
    let audiences = claims::texts(all, "aud", MOST);
    if !audiences.contains(&settings.client_id) {
        return Err(no("the ID token is for another client"));
    }
    let party = claims::text(all, "azp");
    if party.is_some_and(|party| party != settings.client_id) || (audiences.len() > 1 && party.is_none()) {
        return Err(no("the ID token was given to another client"));
    }
    let expires = claims::seconds(all, "exp").ok_or(no("the ID token does not say when it ends"))?;
    if expires.saturating_add(SKEW) <= now {
        return Err(no("the ID token has run out"));
    }
    let made = claims::seconds(all, "iat").ok_or(no("the ID token does not say when it was made"))?;
    if made > now.saturating_add(SKEW) || made.saturating_add(OLDEST) < now {
        return Err(no("the ID token was not made now; look at the clocks"));
    }
    if claims::seconds(all, "nbf").is_some_and(|from| from > now.saturating_add(SKEW)) {
        return Err(no("the ID token is not good yet"));
    }
    let said = claims::text(all, "nonce").unwrap_or_default();
    if !bool::from(said.as_bytes().ct_eq(nonce.as_bytes())) {
        return Err(no("the ID token belongs to another sign-in"));
    }
    let name = |claim| claims::text(all, claim).filter(|name| (1..=LONGEST_SUBJECT).contains(&name.len()));
    let subject = name("sub").ok_or(no("the ID token does not say who it is about"))?;
    let person =
        name(&settings.subject).ok_or(no("the ID token lacks the claim by which people are known"))?;
    let acr = claims::text(all, "acr").map(str::to_owned);
    // To have asked proves nothing.
    if !settings.acr_values.is_empty() && !acr.as_ref().is_some_and(|acr| settings.acr_values.contains(acr)) {
        return Err(Error::TooWeak { claim: "acr", is_told: acr.is_some() });
    }
    let amr = claims::texts(all, "amr", MOST);
    let has_all =
        |methods: &String| methods.split_whitespace().all(|method| amr.iter().any(|has| has == method));
    if !settings.required_amr.is_empty() && !settings.required_amr.iter().any(has_all) {
        return Err(Error::TooWeak { claim: "amr", is_told: !amr.is_empty() });
    }
    // By a name that was cut off no login would be found again.
    let session = claims::text(all, "sid").filter(|session| !session.is_empty()).map(str::to_owned);
    if session.as_ref().is_some_and(|session| session.len() > LONGEST_SESSION) {
        return Err(no("the ID token has a name of its login that is too long"));
    }
    let (subject, person) = (subject.to_owned(), person.to_owned());
    Ok(Subject { subject, person, acr, amr, session })
}
