//! Tokens of links and their codes.
//!
//! A token follows from the event that asked for the link and from a key that only the service has, so that a link that is told
//! again after a crash is the same one, though nothing but its hash is kept. The hash of a code takes the token in: who reads
//! the store cannot try a hundred million codes against it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
pub(crate) use bot_kit::hex;
use bot_kit::ruma::{EventId, UserId};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;

use crate::name::is_unseen;

/// Bytes of a token.
const TOKEN: usize = 16;

/// Digits of a code.
const DIGITS: usize = 8;

/// Letters that are looked at of what somebody enters as a code.
const ENTERED: usize = 64;

/// What makes tokens.
#[derive(Clone)]
pub(crate) struct Key {
    own: bot_kit::Key,
    of_passes: bot_kit::Key,
}

impl Key {
    /// From what only this service and its homeserver know.
    pub(crate) fn of(secret: &str) -> Self {
        let bytes = Sha256::digest(secret.as_bytes());
        Self { own: bot_kit::Key::of(bytes), of_passes: bot_kit::Key::of(hex(&bytes)) }
    }

    /// By what the alias of a user's own room is known to nobody else: his id is no secret.
    pub(crate) fn room_of(&self, user: &UserId) -> String {
        hex(&self.own.derive("room", user.as_bytes())[..TOKEN])
    }

    /// The token of the link that this event asked for.
    pub(crate) fn token(&self, cause: &EventId) -> Token {
        let all = self.own.derive("token", cause.as_bytes());
        Token(URL_SAFE_NO_PAD.encode(&all[..TOKEN]))
    }

    /// The code of that link: eight digits.
    pub(crate) fn code(&self, cause: &EventId) -> String {
        let all = self.own.derive("code", cause.as_bytes());
        let number = u64::from_be_bytes([0, 0, all[0], all[1], all[2], all[3], all[4], all[5]]);
        // Of 2^48 numbers none of a hundred million is likelier by more than one in two million.
        let code = number % 100_000_000;
        format!("{:04} {:04}", code / 10_000, code % 10_000)
    }
}

/// What stands in a link.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// A text that may be one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == TOKEN).then(|| Self(text.to_owned()))
    }

    /// As it stands in a path.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }

    /// What is kept of a code that is good together with it.
    pub(crate) fn hash_of_code(&self, code: &str) -> String {
        let digits: String = code.chars().filter(char::is_ascii_digit).collect();
        hex(&bot_kit::Key::of(&self.0).derive("code", digits.as_bytes()))
    }

    /// The same of what somebody enters, in digits of any width, however they are grouped; none of what can be no code.
    pub(crate) fn hash_of_entered(&self, text: &str) -> Option<String> {
        let is_between = |letter: &char| {
            letter.is_whitespace()
                || is_unseen(*letter)
                || matches!(letter, '-' | '.' | 'ー' | '\u{2010}'..='\u{2015}' | '\u{2212}')
        };
        let digits: String = text.chars().take(ENTERED).nfkc().filter(|letter| !is_between(letter)).collect();
        let may_be_one = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        may_be_one.then(|| self.hash_of_code(&digits))
    }

    /// What a browser is given once it told the code, so many times so far.
    pub(crate) fn pass(&self, key: &Key, number: u8) -> String {
        hex(&key.of_passes.derive(&self.0, number.to_string().as_bytes()))
    }
}

// It opens the link: it belongs into no log.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_token_is_the_same_again_and_another_for_another_event() {
        let (key, event) = (Key::of("as-token"), <&EventId>::try_from("$a").unwrap());
        let token = key.token(event);
        assert_eq!(token.as_str(), key.token(event).as_str());
        assert_eq!(Token::read(token.as_str()), Some(token.clone()));
        assert_ne!(token.as_str(), key.token(<&EventId>::try_from("$b").unwrap()).as_str());
        assert_ne!(token.as_str(), Key::of("another").token(event).as_str());
        // Links, codes and cookies that are out there stay good.
        let kept = [token.as_str(), &key.code(event), &token.hash_of_code("1234 5678"), &token.pass(&key, 3)];
        let wanted = [
            "bilo_0vqoDNegTPXTFYFmw",
            "4024 9891",
            "1ae6fec02388d461b338569287f27d603b64c15328e45410f61b213d4d2d4e53",
            "df07738eea21abccf05ab309002b99197fdc9c37a72c0d2b32c7b8cd3f8beaa7",
        ];
        assert_eq!(kept, wanted);
        assert!(Token::read("short").is_none() && Token::read("../../../../../../etc").is_none());
    }

    #[test]
    fn a_code_is_good_with_its_token_alone_however_it_is_written() {
        let (key, event) = (Key::of("as-token"), <&EventId>::try_from("$a").unwrap());
        let (token, code) = (key.token(event), key.code(event));
        assert_eq!(code.len(), 9);
        assert_eq!(token.hash_of_code(&code), token.hash_of_code(&code.replace(' ', "-")));
        let other = key.token(<&EventId>::try_from("$b").unwrap());
        assert_ne!(token.hash_of_code(&code), other.hash_of_code(&code));
        let wide = |letter: char| {
            letter.to_digit(10).map_or('\u{3000}', |digit| {
                ['０', '１', '２', '３', '４', '５', '６', '７', '８', '９'][digit as usize]
            })
        };
        let wide: String = code.chars().map(wide).collect();
        let typed = [
            code.clone(),
            code.replace(' ', ""),
            code.replace(' ', "ー"),
            code.replace(' ', "－"),
            format!(" {wide}\u{200b}\n"),
        ];
        for typed in typed {
            assert_eq!(token.hash_of_entered(&typed), Some(token.hash_of_code(&code)), "{typed}");
        }
        for no_code in ["", "1234", "123456789", "1234567a", "合言葉", "①②③④⑤⑥⑦", &"1".repeat(5_000)]
        {
            assert_eq!(token.hash_of_entered(no_code), None, "{no_code}");
        }
    }
}
