//! Which language a page speaks.

use web::{HeaderMap, header};

/// A language of our pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// What is spoken where nobody says otherwise.
    #[default]
    Japanese,
    /// For whoever prefers it to Japanese.
    English,
}

/// So many languages of an `Accept-Language` header are looked at.
const MOST_NAMED: usize = 32;

impl Language {
    /// The one of two texts that is in this language.
    pub fn pick<T>(self, japanese: T, english: T) -> T {
        match self {
            Language::Japanese => japanese,
            Language::English => english,
        }
    }

    /// Its code in HTML, cookies and paths.
    pub const fn code(self) -> &'static str {
        match self {
            Language::Japanese => "ja",
            Language::English => "en",
        }
    }

    /// The language of a code, as far as it is spoken here: `ja`, `en-GB`.
    pub fn of_code(code: &str) -> Option<Language> {
        let primary = code.split('-').next().unwrap_or_default();
        [Language::Japanese, Language::English]
            .into_iter()
            .find(|language| primary.eq_ignore_ascii_case(language.code()))
    }

    /// What a browser asks for: the language that it prefers of those that are spoken here.
    pub(crate) fn accepted(headers: &HeaderMap) -> Language {
        let header = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let mut best: Option<(Language, f32)> = None;
        for named in header.unwrap_or_default().split(',').take(MOST_NAMED) {
            let (code, rest) = named.split_once(';').unwrap_or((named, ""));
            let weight = rest.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse().ok());
            let (Some(language), Some(weight)) = (Language::of_code(code.trim()), weight) else { continue };
            // The first of two that are wished for alike.
            if weight > 0.0 && best.is_none_or(|(_, other)| weight > other) {
                best = Some((language, weight));
            }
        }
        best.map_or_else(Language::default, |(language, _)| language)
    }
}
