//! X-Matrix: the signature that every request between servers carries.
//!
//! What is signed is a JSON object of method, target, both server names and the body. The target is
//! taken byte for byte as it stands in the request line: decoding and encoding it again would not
//! give the same bytes.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use http::HeaderValue;
use pdu::{
    Authority, VerifyKey,
    json::{JsonError, Numbers, canonicalize, write_string},
};
use ruma::{OwnedServerName, OwnedServerSigningKeyId, ServerName, ServerSigningKeyId};

/// Signs and checks nothing itself; this is what is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Method, in capitals.
    pub(crate) method: &'a str,
    /// Path and query as they stand in the request line.
    pub(crate) uri: &'a str,
    /// Who asks.
    pub(crate) origin: &'a ServerName,
    /// Who is asked: its server name, whatever name its machine has.
    pub(crate) destination: &'a ServerName,
    /// The body in canonical JSON; none when it is empty.
    pub(crate) content: Option<&'a str>,
}

impl Target<'_> {
    /// The bytes that are signed: canonical JSON of the whole.
    pub(crate) fn message(&self) -> String {
        let mut out = String::with_capacity(self.content.map_or(0, str::len) + self.uri.len() + 256);
        out.push('{');
        // The keys stand in the order that canonical JSON demands.
        if let Some(content) = self.content {
            out.push_str("\"content\":");
            out.push_str(content);
            out.push(',');
        }
        let rest = [
            ("\"destination\":", self.destination.as_str()),
            (",\"method\":", self.method),
            (",\"origin\":", self.origin.as_str()),
            (",\"uri\":", self.uri),
        ];
        for (key, value) in rest {
            out.push_str(key);
            write_string(value, &mut out);
        }
        out.push('}');
        out
    }

    /// The `Authorization` header with the signature of `authority`, who must be the origin.
    pub(crate) fn authorization(&self, authority: &Authority) -> Option<HeaderValue> {
        let signature = authority.sign_bytes(self.message().as_bytes());
        // In the form that the oldest servers read: one space, quotes, no space after commas.
        let header = format!(
            "X-Matrix origin=\"{}\",destination=\"{}\",key=\"{}\",sig=\"{signature}\"",
            self.origin,
            self.destination,
            authority.key_id(),
        );
        HeaderValue::try_from(header).ok()
    }
}

/// A body in the form that is signed; none for an empty one.
///
/// Bodies may hold events of room versions that allow any number, so those are accepted here.
///
/// # Errors
/// When it is not JSON.
pub(crate) fn canonical_body(body: &[u8]) -> Result<Option<String>, JsonError> {
    if body.is_empty() {
        return Ok(None);
    }
    canonicalize(body, Numbers::Lax).map(Some)
}

/// What one `Authorization` header claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Who says to have signed.
    pub(crate) origin: OwnedServerName,
    /// For whom; old servers leave it out.
    pub(crate) destination: Option<OwnedServerName>,
    /// With which key.
    pub(crate) key_id: OwnedServerSigningKeyId,
    /// The signature in base64.
    pub(crate) signature: String,
}

impl Claim {
    /// Whether `key` has made this signature of `message`.
    pub(crate) fn holds(&self, message: &str, key: &VerifyKey) -> bool {
        key.has_signed_base64(message.as_bytes(), &self.signature)
    }
}

/// Why an `Authorization` header of this scheme cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    /// It is not a list of `name=value`.
    #[error("the Authorization header is malformed")]
    Form,
    /// A parameter is missing.
    #[error("the Authorization header has no `{0}`")]
    Missing(&'static str),
    /// A parameter is there twice.
    #[error("the Authorization header has `{0}` twice")]
    Twice(&'static str),
    /// A parameter's value is not what it must be.
    #[error("`{0}` of the Authorization header is not valid")]
    Value(&'static str),
}

/// Reads an `Authorization` header; `None` when it is of another scheme.
///
/// # Errors
/// [`ClaimError`] when it is of this scheme and cannot be read.
pub(crate) fn parse(header: &str) -> Result<Option<Claim>, ClaimError> {
    let header = header.trim();
    let (scheme, parameters) = header.split_once([' ', '\t']).unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("X-Matrix") {
        return Ok(None);
    }
    let mut found: [(&'static str, Option<String>); 4] =
        [("origin", None), ("destination", None), ("key", None), ("sig", None)];
    let mut rest = parameters.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(ClaimError::Form)?;
        let name = name.trim();
        let (value, after) = value(after.trim_start())?;
        if let Some((known, slot)) = found.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name))
            && slot.replace(value).is_some()
        {
            return Err(ClaimError::Twice(known));
        }
        rest = match after.trim_start() {
            "" => "",
            after => after.strip_prefix(',').ok_or(ClaimError::Form)?.trim_start_matches([' ', '\t', ',']),
        };
    }
    let [(_, origin), (_, destination), (_, key), (_, signature)] = found;
    let origin = origin.ok_or(ClaimError::Missing("origin"))?;
    let key = key.ok_or(ClaimError::Missing("key"))?;
    let destination = destination.map(ServerName::parse).transpose();
    Ok(Some(Claim {
        origin: ServerName::parse(origin).map_err(|_| ClaimError::Value("origin"))?,
        destination: destination.map_err(|_| ClaimError::Value("destination"))?,
        key_id: ServerSigningKeyId::parse(key).map_err(|_| ClaimError::Value("key"))?,
        signature: signature.ok_or(ClaimError::Missing("sig"))?,
    }))
}

/// One value and what follows it. Quoted values may have escapes; bare ones may, for old servers,
/// hold everything but commas and spaces.
fn value(text: &str) -> Result<(String, &str), ClaimError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return if value.is_empty() { Err(ClaimError::Form) } else { Ok((value.to_owned(), after)) };
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next().ok_or(ClaimError::Form)?.1),
            char => value.push(char),
        }
    }
    Err(ClaimError::Form)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::{owned_server_name, server_name};

    use super::*;

    /// The key of the specification's test vectors.
    fn authority() -> Authority {
        let key = "ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
        Authority::from_key_file(owned_server_name!("origin.test"), key).unwrap()
    }

    fn target<'a>(content: Option<&'a str>) -> Target<'a> {
        Target {
            method: "GET",
            uri: "/_matrix/federation/v1/query/directory?room_alias=%23a%3Ab%2Btest",
            origin: server_name!("origin.test"),
            destination: server_name!("destination.test:8448"),
            content,
        }
    }

    fn ring(authority: &Authority) -> VerifyKey {
        VerifyKey::current(&authority.public_key(), u64::MAX, u64::MAX - 1).unwrap()
    }

    #[test]
    fn what_is_signed_is_canonical_json_with_the_target_untouched() {
        assert_eq!(
            target(None).message(),
            r#"{"destination":"destination.test:8448","method":"GET","origin":"origin.test","uri":"/_matrix/federation/v1/query/directory?room_alias=%23a%3Ab%2Btest"}"#
        );
        assert_eq!(
            target(Some(r#"{"a":1}"#)).message(),
            r#"{"content":{"a":1},"destination":"destination.test:8448","method":"GET","origin":"origin.test","uri":"/_matrix/federation/v1/query/directory?room_alias=%23a%3Ab%2Btest"}"#
        );
    }

    #[test]
    fn a_message_is_the_same_as_the_one_that_other_implementations_sign() {
        let request = http::Request::builder()
            .method("GET")
            .uri(target(None).uri)
            .body(r#"{"b":[1,{"z":"é","a":null}],"a":"\u0041"}"#)
            .unwrap();
        let theirs = ruma::api::federation::authentication::XMatrix::request_object(
            &request,
            server_name!("origin.test"),
            server_name!("destination.test:8448"),
        )
        .unwrap();
        let content = canonical_body(request.body().as_bytes()).unwrap();
        assert_eq!(target(content.as_deref()).message(), serde_json::to_string(&theirs).unwrap());
    }

    #[test]
    fn a_header_of_ours_is_read_and_its_signature_holds() {
        let authority = authority();
        let header = target(None).authorization(&authority).unwrap();
        let claim = parse(header.to_str().unwrap()).unwrap().unwrap();
        assert_eq!(claim.origin, "origin.test");
        assert_eq!(claim.destination.as_deref(), Some(server_name!("destination.test:8448")));
        assert_eq!(claim.key_id, "ed25519:1");
        assert!(claim.holds(&target(None).message(), &ring(&authority)));

        let mut other = target(None);
        other.uri = "/_matrix/federation/v1/query/directory?room_alias=%23a%3ab%2Btest";
        assert!(!claim.holds(&other.message(), &ring(&authority)));
        assert!(!claim.holds(&target(Some("{}")).message(), &ring(&authority)));
    }

    #[test]
    fn headers_are_read_in_every_form_that_servers_send() {
        let expected = Claim {
            origin: owned_server_name!("a.test:80"),
            destination: Some(owned_server_name!("b.test")),
            key_id: ServerSigningKeyId::parse("ed25519:k_1").unwrap(),
            signature: "AB+/cd".to_owned(),
        };
        for header in [
            r#"X-Matrix origin="a.test:80",destination="b.test",key="ed25519:k_1",sig="AB+/cd""#,
            r#"X-Matrix   origin="a.test:80" , destination="b.test",	key="ed25519:k_1",  sig="AB+/cd"  "#,
            "X-Matrix origin=a.test:80,destination=b.test,key=ed25519:k_1,sig=AB+/cd",
            r#"x-matrix SIG="AB+/cd",Key="ed25519:k_1",new="a=b,c",ORIGIN="a.test:80",destination=b.test"#,
            r#"X-Matrix origin="a\.test\:80",destination="b.test",key="ed25519:k_1",sig="AB\+/cd""#,
            r#"X-Matrix origin="a.test:80",,destination="b.test", ,key="ed25519:k_1",sig="AB+/cd","#,
        ] {
            assert_eq!(parse(header), Ok(Some(expected.clone())), "{header}");
        }
        let without = parse("X-Matrix origin=a.test:80,key=ed25519:k_1,sig=AB+/cd").unwrap().unwrap();
        assert_eq!(without.destination, None);
    }

    #[test]
    fn headers_that_make_no_sense_are_refused() {
        assert_eq!(parse("Bearer abc"), Ok(None));
        assert_eq!(parse(""), Ok(None));
        for (header, error) in [
            ("X-Matrix", ClaimError::Missing("origin")),
            ("X-Matrix origin", ClaimError::Form),
            ("X-Matrix origin=", ClaimError::Form),
            (r#"X-Matrix origin="a.test"#, ClaimError::Form),
            (r#"X-Matrix origin="a.test" key=k"#, ClaimError::Form),
            ("X-Matrix origin=a.test,origin=a.test", ClaimError::Twice("origin")),
            ("X-Matrix origin=a.test,sig=b", ClaimError::Missing("key")),
            ("X-Matrix origin=a.test,key=ed25519:1", ClaimError::Missing("sig")),
            ("X-Matrix origin=a/b,key=ed25519:1,sig=b", ClaimError::Value("origin")),
            ("X-Matrix origin=a.test,key=1,sig=b", ClaimError::Value("key")),
            ("X-Matrix origin=a.test,destination=@,key=ed25519:1,sig=b", ClaimError::Value("destination")),
        ] {
            assert_eq!(parse(header), Err(error), "{header}");
        }
    }
}
