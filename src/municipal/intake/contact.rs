//! Addresses of mail and names of accounts.

use std::fmt;

use crate::{
    letters::half_width,
    words::{Words, words},
};

/// Most letters of an address (RFC 5321, 4.5.3.1.3).
const MAX_ADDRESS: usize = 254;

/// Most letters of the part of a Matrix user id that names the account, so that the whole with a server's name stays below 255.
const MAX_ACCOUNT: usize = 64;

/// Why something is no address or account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No address of mail.
    Address,
    /// No name that an account can have.
    Account,
}

impl Fault {
    /// The sentence for whoever sent the file.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Address => words!(
                "メールアドレスとして正しくありません。空欄として扱います。",
                "This is no mail address; it is left out."
            ),
            Self::Account => words!(
                "アカウント名に使えるのは半角の英小文字・数字と「. _ - = / +」だけで、{MAX_ACCOUNT} 文字までです。",
                "The name of an account has letters a to z, digits and . _ - = / + only, {MAX_ACCOUNT} at most."
            ),
        }
    }
}

/// An address of mail: of the form, whether or not anybody reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailAddress(String);

impl MailAddress {
    /// Full-width letters are taken for ASCII; the domain becomes lower case.
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        let text = half_width(text);
        let (local, domain) = text.rsplit_once('@').ok_or(Fault::Address)?;
        let domain = domain.to_ascii_lowercase();
        let is_label = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
        };
        let is_local = !local.is_empty()
            && local
                .chars()
                .all(|letter| letter.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(letter));
        let is_whole = domain.contains('.') && domain.split('.').all(is_label) && text.len() <= MAX_ADDRESS;
        if is_local && is_whole { Ok(Self(format!("{local}@{domain}"))) } else { Err(Fault::Address) }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name that somebody's account is to have: the local part of his Matrix user id.
///
/// Spec: <https://spec.matrix.org/v1.19/appendices/#user-identifiers>
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(String);

impl AccountName {
    /// Full-width letters are taken for ASCII, and capitals for small ones.
    ///
    /// # Errors
    /// [`Fault::Account`] where an account cannot be called so.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let name = half_width(text).to_ascii_lowercase();
        let belongs = |letter: char| {
            letter.is_ascii_lowercase() || letter.is_ascii_digit() || "._-=/+".contains(letter)
        };
        if name.is_empty() || name.len() > MAX_ACCOUNT || !name.chars().all(belongs) {
            return Err(Fault::Account);
        }
        Ok(Self(name))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_form() {
        let read = |text| MailAddress::read(text).map(|address| address.to_string());
        assert_eq!(read("Hanako.Y@City.Kanazawa.Example"), Ok("Hanako.Y@city.kanazawa.example".into()));
        assert_eq!(read("ｈａｎａｋｏ＠ｃｉｔｙ．ｅｘａｍｐｌｅ"), Ok("hanako@city.example".into()));
        for wrong in [
            "hanako",
            "@city.example",
            "a@b",
            "a b@city.example",
            "a@city..example",
            "a@-x.example",
            "=1@a.b ",
        ] {
            assert_eq!(read(wrong), Err(Fault::Address), "{wrong}");
        }
    }

    #[test]
    fn accounts_have_letters_that_matrix_knows() {
        let read = |text| AccountName::read(text).map(|name| name.to_string());
        assert_eq!(read("Yamada.H"), Ok("yamada.h".into()));
        assert_eq!(read("ｙａｍａｄａ"), Ok("yamada".into()));
        for wrong in ["", "山田", "a b", "@yamada:city.example"] {
            assert_eq!(read(wrong), Err(Fault::Account), "{wrong}");
        }
    }
}
