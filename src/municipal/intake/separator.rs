//! What stands between cells.

use serde::{Deserialize, Serialize};

use crate::{
    split::{Splitter, is_empty},
    words::{Words, words},
};

/// What stands between the cells of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    /// `,`
    Comma,
    /// A tab, as in what Excel calls Unicode text.
    Tab,
    /// `;`
    Semicolon,
}

/// How many rows are looked at to find the separator.
const LOOKED_AT: usize = 200;

impl Separator {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Tab => b'\t',
            Self::Semicolon => b';',
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Comma => words!("カンマ", "comma"),
            Self::Tab => words!("タブ", "tab"),
            Self::Semicolon => words!("セミコロン", "semicolon"),
        }
    }

    /// The separator that Excel's line `sep=;` at the top of a text names, and how long that line is.
    pub(crate) fn named(text: &str) -> Option<(Self, usize)> {
        let end = text.find(['\r', '\n']).unwrap_or(text.len());
        let line = &text[..end];
        let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
        let start = line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep="))?;
        let separator = match line[start.len()..].chars().next()? {
            ',' => Self::Comma,
            '\t' => Self::Tab,
            ';' => Self::Semicolon,
            _ => return None,
        };
        let line_end = if text[end..].starts_with("\r\n") { 2 } else { usize::from(end < text.len()) };
        Some((separator, end + line_end))
    }

    /// The separator by which most of the first rows have the same number of cells, and more than one; a comma where
    /// none does.
    pub(crate) fn of(text: &str) -> Self {
        let all = [Self::Comma, Self::Tab, Self::Semicolon];
        let of_each = all.into_iter().map(|separator| (separator.agreement(text), separator));
        let best = of_each.max_by_key(|(agreement, separator)| (*agreement, *separator == Self::Comma));
        best.filter(|((rows, _), _)| *rows > 0).map_or(Self::Comma, |(_, separator)| separator)
    }

    /// How many rows have the most usual number of cells, and that number; nothing where that is one.
    fn agreement(self, text: &str) -> (usize, usize) {
        let records = Splitter::new(text, self.byte(), 1).take(LOOKED_AT);
        let mut lengths: Vec<_> =
            records.filter(|record| record.cells().any(|cell| !is_empty(cell))).map(|r| r.len()).collect();
        lengths.sort_unstable();
        let usual = lengths.chunk_by(|a, b| a == b).map(|alike| (alike.len(), alike[0]));
        usual.filter(|(_, length)| *length > 1).max().unwrap_or((0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_the_one_that_makes_rows_alike() {
        let cases = [
            ("職員番号\t氏名\n1\t山田,花子\n", Separator::Tab),
            ("職員番号;氏名\n1;山田 花子\n", Separator::Semicolon),
            ("職員番号,氏名\n1,\"山田;花子\"\n2,\"a\tb\"\n", Separator::Comma),
            ("令和8年4月1日付 人事異動\n\na;b;c\n1;2;3\n4;5,6;7\n", Separator::Semicolon),
            ("氏名\n山田\n", Separator::Comma),
            ("", Separator::Comma),
        ];
        for (text, wanted) in cases {
            assert_eq!(Separator::of(text), wanted, "{text}");
        }
    }

    #[test]
    fn excels_line_names_it() {
        assert_eq!(Separator::named("sep=;\r\na;b"), Some((Separator::Semicolon, 7)));
        assert_eq!(Separator::named("\"SEP=\t\"\na\tb"), Some((Separator::Tab, 8)));
        assert_eq!(Separator::named("sep=,"), Some((Separator::Comma, 5)));
        assert_eq!(Separator::named("sep=x\na"), None);
        assert_eq!(Separator::named("氏名,sep=,"), None);
    }
}
