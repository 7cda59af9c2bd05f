//! What a provider says of itself.
//!
//! Spec: <https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata>

use serde_json::{Map, Value};
use url::{Host, Url};

use crate::{Error, claims};

/// Longest address of a provider, in bytes.
const LONGEST: usize = 2_048;

/// Where a provider is asked what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) userinfo_endpoint: Option<String>,
    pub(crate) jwks_uri: String,
    /// Whether our secret goes into the form, since the provider does not take it otherwise.
    pub(crate) secret_in_form: bool,
    /// Whether what comes back always says who sent it.
    pub(crate) says_issuer: bool,
}

/// Where a provider's metadata are.
pub(crate) fn address(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

impl Metadata {
    /// Reads the metadata of this issuer.
    ///
    /// # Errors
    /// [`Error::Untrusted`] where something is missing, or they are another's.
    pub(crate) fn parse(bytes: &[u8], issuer: &str) -> Result<Metadata, Error> {
        let all: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| Error::Untrusted("its metadata are no JSON"))?;
        // Another's metadata would send codes for us to another (mix-up).
        if claims::text(&all, "issuer") != Some(issuer) {
            return Err(Error::Untrusted("its metadata are another issuer's"));
        }
        let endpoint = |name: &str| -> Option<String> {
            claims::text(&all, name).filter(|url| is_safe(url)).map(str::to_owned)
        };
        let missing = Error::Untrusted;
        let ways = claims::texts(&all, "token_endpoint_auth_methods_supported", 32);
        let says_issuer =
            all.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true));
        Ok(Metadata {
            authorization_endpoint: endpoint("authorization_endpoint")
                .ok_or(missing("its metadata name no safe authorization_endpoint"))?,
            token_endpoint: endpoint("token_endpoint")
                .ok_or(missing("its metadata name no safe token_endpoint"))?,
            jwks_uri: endpoint("jwks_uri").ok_or(missing("its metadata name no safe jwks_uri"))?,
            userinfo_endpoint: endpoint("userinfo_endpoint"),
            secret_in_form: !ways.is_empty()
                && !ways.iter().any(|way| way == "client_secret_basic")
                && ways.iter().any(|way| way == "client_secret_post"),
            says_issuer,
        })
    }
}

/// Whether nobody on the way reads what goes to this address: over TLS, or on this machine.
pub(crate) fn is_safe(url: &str) -> bool {
    let Some(parsed) = Url::parse(url).ok().filter(|_| url.len() <= LONGEST) else { return false };
    let is_here = match parsed.host() {
        Some(Host::Domain(host)) => host == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return false,
    };
    parsed.scheme() == "https" || parsed.scheme() == "http" && is_here
}
