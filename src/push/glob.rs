//! Patterns: `*` is any letters, `?` is one, everything else is itself, in whatever case.
//!
//! Matching goes once over the text with all places of the pattern at once, so no pattern makes it go back; what it costs
//! is the product of both lengths, and comes out of a [`Budget`].
//!
//! Spec: <https://spec.matrix.org/v1.19/appendices/#glob-style-matching>

/// What may still be spent on looking through one event for one user, in steps of a few nanoseconds.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    /// As much as is spent on one event at most: about a tenth of a millisecond. A text of 8 KiB is looked through for
    /// sixty words, a message of three lines for a thousand.
    pub(crate) fn of_event() -> Self {
        Self(64_000)
    }

    /// Whether there is as much left; what is not, nothing can be found with.
    fn spend(&mut self, steps: usize) -> bool {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// A pattern, folded as the texts are that it is held against.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Glob {
    Literal(Box<str>),
    Pieces(Box<[Piece]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Letter(char),
    One,
    Any,
}

/// A text without the difference of capitals.
pub(crate) fn fold(text: &str) -> String {
    text.to_lowercase()
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        let folded = fold(pattern);
        if !folded.contains(['*', '?']) {
            return Self::Literal(folded.into());
        }
        let piece = |letter| match letter {
            '*' => Piece::Any,
            '?' => Piece::One,
            other => Piece::Letter(other),
        };
        Self::Pieces(folded.chars().map(piece).collect())
    }

    /// What it owns in memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Pieces(pieces) => size_of_val::<[Piece]>(pieces),
        }
    }

    /// Whether it matches a folded text from beginning to end.
    pub(crate) fn matches(&self, text: &str, budget: &mut Budget) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Pieces(pieces) => run(pieces, text, false, budget),
        }
    }

    /// Whether it matches a part of a folded text that begins and ends between words.
    pub(crate) fn matches_words(&self, text: &str, budget: &mut Budget) -> bool {
        match self {
            Self::Literal(literal) => has_words(text, literal, budget),
            Self::Pieces(pieces) => run(pieces, text, true, budget),
        }
    }
}

/// Whether a folded text has this folded part between words; an empty one it has not.
pub(crate) fn has_words(text: &str, part: &str, budget: &mut Budget) -> bool {
    let Some(first) = part.chars().next() else { return false };
    if !budget.spend(text.len() / 8 + 1) {
        return false;
    }
    let last = part.chars().next_back();
    text.match_indices(part).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + part.len()..].chars().next();
        is_between(before, Some(first)) && is_between(last, after)
    })
}

/// Whether words end and begin between two letters.
fn is_between(before: Option<char>, after: Option<char>) -> bool {
    let is_of_word = |letter: Option<char>| letter.is_some_and(|it| it.is_ascii_alphanumeric() || it == '_');
    !(is_of_word(before) && is_of_word(after))
}

fn run(pieces: &[Piece], text: &str, of_words: bool, budget: &mut Budget) -> bool {
    // Whether the text so far ends with what the pieces before this place match.
    let mut now = vec![false; pieces.len() + 1];
    let mut next = now.clone();
    let mut letters = text.chars();
    let mut before = None;
    loop {
        let after = letters.clone().next();
        let may_turn = if of_words { is_between(before, after) } else { before.is_none() };
        now[0] |= may_turn;
        for (place, piece) in pieces.iter().enumerate() {
            if *piece == Piece::Any && now[place] {
                now[place + 1] = true;
            }
        }
        let may_end = if of_words { may_turn } else { after.is_none() };
        if may_end && now[pieces.len()] {
            return true;
        }
        let Some(letter) = letters.next() else { return false };
        if !budget.spend(pieces.len() + 1) {
            return false;
        }
        next.fill(false);
        for (place, piece) in pieces.iter().enumerate().filter(|(place, _)| now[*place]) {
            match piece {
                Piece::Letter(wanted) if *wanted != letter => {}
                Piece::Letter(_) | Piece::One => next[place + 1] = true,
                Piece::Any => next[place] = true,
            }
        }
        std::mem::swap(&mut now, &mut next);
        before = Some(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_specification_says() {
        let whole =
            |pattern: &str, text: &str| Glob::new(pattern).matches(&fold(text), &mut Budget::of_event());
        for text in ["Lunch plans", "LUNCH"] {
            assert!(whole("lunc?*", text), "{text}");
        }
        for text in [" lunch", "lunc", ""] {
            assert!(!whole("lunc?*", text), "{text}");
        }
        assert!(whole("*", "") && whole("", "") && !whole("", "a") && !whole("?", "") && whole("?", "髙"));
        assert!(whole("a*b*c", "aXbXbc") && !whole("a*b*c", "aXbXcb") && whole("**", "x"));

        let words = |pattern: &str, text: &str| {
            Glob::new(pattern).matches_words(&fold(text), &mut Budget::of_event())
        };
        for text in ["An example event.", "exple", "An exciting triple-whammy"] {
            assert!(words("ex*ple", text), "{text}");
        }
        for (pattern, text, is_there) in [
            ("ex*ple", "anexample", false),
            ("cake", "Cake!", true),
            ("cake", "cakes", false),
            ("cake", "cup_cake", false),
            ("cake", "pancake cake", true),
            ("foo?", "a foot b", true),
            ("foo?", "a footy b", false),
            ("@room", "to @room: x", true),
            ("災害", "石川県災害連絡", true),
            ("", "anything", false),
            ("hanako", "ねえhanakoさん", true),
            ("*", "anything", true),
        ] {
            assert_eq!(words(pattern, text), is_there, "{pattern} in {text}");
        }
    }

    #[test]
    fn what_costs_too_much_matches_nothing() {
        let text = "a".repeat(8_000);
        let mut budget = Budget::of_event();
        let glob = Glob::new(&format!("{}b", "a*".repeat(250)));
        assert!(!glob.matches_words(&text, &mut budget));
        assert!(!Glob::new("?*").matches(&text, &mut budget), "nothing is left");
        assert!(!Glob::new("a").matches_words(&text, &mut Budget(10)));
    }
}
