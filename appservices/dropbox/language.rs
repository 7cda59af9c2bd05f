//! [`Language`]: in which people are spoken to.

use serde::{Deserialize, Serialize};

/// Japanese, or English.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Language {
    #[default]
    #[serde(rename = "ja")]
    Japanese,
    #[serde(rename = "en")]
    English,
}

impl Language {
    /// The text in this language.
    pub(crate) fn pick<'a>(self, ja: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Japanese => ja,
            Self::English => en,
        }
    }

    /// Its code.
    pub(crate) fn code(self) -> &'static str {
        self.pick("ja", "en")
    }

    /// By what a browser asks for: the address first, then its own languages, the first of ours that it names.
    pub(crate) fn asked(query: Option<&str>, accepts: Option<&str>) -> Self {
        let known = |code: &str| match code.trim().get(..2) {
            Some("ja") => Some(Self::Japanese),
            Some("en") => Some(Self::English),
            _ => None,
        };
        let by_query =
            query.unwrap_or_default().split('&').find_map(|pair| known(pair.strip_prefix("lang=")?));
        by_query.or_else(|| accepts?.split(',').find_map(known)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_decides_before_the_browser_and_japanese_where_neither_does() {
        assert_eq!(Language::asked(Some("lang=en"), Some("ja")), Language::English);
        assert_eq!(Language::asked(None, Some("fr, en-GB;q=0.8, ja;q=0.5")), Language::English);
        assert_eq!(Language::asked(Some("lang=xx"), Some("日本")), Language::Japanese);
        assert_eq!(Language::asked(None, None), Language::Japanese);
    }
}
