//! Patterns: of names that are looked for, and of names that are made.

use crate::{
    limits::MAX_NAME,
    words::{Words, words},
};

/// Whether a name is the one of a pattern, in which a `*` at either end stands for whatever is there.
pub(crate) fn is_named(pattern: &str, name: &str) -> bool {
    let (before, pattern) = pattern.strip_prefix('*').map_or((false, pattern), |rest| (true, rest));
    let (after, pattern) = pattern.strip_suffix('*').map_or((false, pattern), |rest| (true, rest));
    match (before, after) {
        (false, false) => name == pattern,
        (true, false) => name.ends_with(pattern),
        (false, true) => name.starts_with(pattern),
        (true, true) => name.contains(pattern),
    }
}

/// What is wrong with a pattern of names that are looked for.
pub(crate) fn check_named(pattern: &str) -> Result<(), Words> {
    let inner = pattern.strip_prefix('*').unwrap_or(pattern);
    let inner = inner.strip_suffix('*').unwrap_or(inner);
    if pattern.is_empty() || pattern.chars().count() > MAX_NAME || inner.contains('*') {
        return Err(words!(
            "「{pattern}」は名前のパターンとして使えません(* は先頭と末尾にだけ書けます)。",
            "\"{pattern}\" is no pattern of names; a * stands at its ends only."
        ));
    }
    Ok(())
}

/// What a unit is called, for names that are made of it.
pub(crate) struct Names<'a> {
    /// Its own name.
    pub(crate) unit: &'a str,
    /// That of the unit above it; its own, at the top.
    pub(crate) parent: &'a str,
    /// The names from the top down to it.
    pub(crate) path: &'a [&'a str],
    /// That of its body.
    pub(crate) body: &'a str,
    /// 所属コード, or nothing.
    pub(crate) code: &'a str,
}

/// The words in braces that a pattern may have.
const KNOWN: [&str; 5] = ["unit", "parent", "path", "body", "code"];

/// A name, made by a pattern: `{unit}連絡`. It has so many letters at most.
pub(crate) fn made_of(pattern: &str, names: &Names<'_>, most: usize) -> String {
    let mut made = String::new();
    for part in Parts(pattern) {
        match part {
            Part::Text(text) => made.push_str(text),
            Part::Word("unit") => made.push_str(names.unit),
            Part::Word("parent") => made.push_str(names.parent),
            Part::Word("path") => made.push_str(&names.path.join(" ")),
            Part::Word("body") => made.push_str(names.body),
            Part::Word("code") => made.push_str(names.code),
            Part::Word(_) => {}
        }
    }
    made.trim().chars().take(most).collect()
}

/// What is wrong with a pattern of names that are made.
pub(crate) fn check_made(pattern: &str, most: usize) -> Result<(), Words> {
    if pattern.chars().count() > most || pattern.chars().any(char::is_control) {
        return Err(words!(
            "名前のパターンは改行を含まない {most} 文字までです。",
            "A pattern of names has {most} letters at most, and no line breaks."
        ));
    }
    for part in Parts(pattern) {
        if let Part::Word(word) = part
            && !KNOWN.contains(&word)
        {
            return Err(words!(
                "「{{{word}}}」という差し込みはありません。{{unit}} {{parent}} {{path}} {{body}} {{code}} を使えます。",
                "There is no {{{word}}}; there are {{unit}}, {{parent}}, {{path}}, {{body}} and {{code}}."
            ));
        }
    }
    Ok(())
}

enum Part<'a> {
    Text(&'a str),
    /// What stands in braces.
    Word(&'a str),
}

/// The parts of a pattern from the first on.
struct Parts<'a>(&'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.0.is_empty() {
            return None;
        }
        if let Some((word, rest)) = self.0.strip_prefix('{').and_then(|open| open.split_once('}')) {
            self.0 = rest;
            return Some(Part::Word(word));
        }
        // A brace that nobody closes is text.
        let end = self.0.char_indices().skip(1).find(|(_, letter)| *letter == '{').map(|(at, _)| at);
        let (text, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        Some(Part::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_what_is_there() {
        for (pattern, name, so) in [
            ("*課", "防災課", true),
            ("*課", "課長室", false),
            ("総務*", "総務部", true),
            ("*支所*", "北支所総務係", true),
            ("防災課", "防災課", true),
            ("防災", "防災課", false),
            ("*", "", true),
        ] {
            assert_eq!(is_named(pattern, name), so, "{pattern} {name}");
        }
        assert!(check_named("*課*").is_ok());
        assert!(check_named("防*課").is_err() && check_named("").is_err());
    }

    #[test]
    fn names_are_made_of_the_units() {
        let path = ["総務部", "防災課"];
        let names =
            Names { unit: "防災課", parent: "総務部", path: &path, body: "首長部局", code: "0102" };
        assert_eq!(made_of("{unit} 連絡", &names, 200), "防災課 連絡");
        assert_eq!(made_of("{body}/{path} [{code}] {", &names, 200), "首長部局/総務部 防災課 [0102] {");
        assert_eq!(made_of("{unit}{unit}", &names, 4), "防災課防");
        assert!(check_made("{unit}の{どこか}", 200).is_err());
        assert!(check_made("{unit}\n", 200).is_err());
        assert!(check_made("{unit}{", 200).is_ok());
    }
}
