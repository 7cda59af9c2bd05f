//! Cookies: reading those of ours and setting them.

use web::{HeaderMap, HeaderValue, header};

/// The browser's secret. Over HTTPS its name forbids that a neighbouring host sets it.
const SECRET: &str = "yakuba";
const SECRET_OVER_TLS: &str = "__Host-yakuba";
/// The language that was chosen.
pub(crate) const LANGUAGE: &str = "yakuba-language";

/// Longest value that is looked at.
const LONGEST: usize = 128;
const YEAR_SECS: u32 = 31_536_000;

/// The cookie of this name, if it has a value as we give them.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(named, _)| *named == name)?;
    let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    ((1..=LONGEST).contains(&value.len()) && value.bytes().all(is_ours)).then_some(value)
}

/// The name of the cookie with the browser's secret.
pub(crate) fn secret_name(is_secure: bool) -> &'static str {
    if is_secure { SECRET_OVER_TLS } else { SECRET }
}

/// Sets the browser's secret, for as long as the browser runs.
pub(crate) fn set_secret(secret: &str, is_secure: bool) -> Option<HeaderValue> {
    let attributes = if is_secure { "; Secure" } else { "" };
    let name = secret_name(is_secure);
    // `Lax`: whoever comes here from an app or another page is still signed in.
    HeaderValue::from_str(&format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax{attributes}")).ok()
}

/// Sets the language for a year.
pub(crate) fn set_language(code: &str) -> Option<HeaderValue> {
    let text = format!("{LANGUAGE}={code}; Path=/; HttpOnly; SameSite=Lax; Max-Age={YEAR_SECS}");
    HeaderValue::from_str(&text).ok()
}
