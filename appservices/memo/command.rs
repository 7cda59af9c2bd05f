//! [`Command`]: what a user asks of the bot. Whatever is no command is a memo.

use std::time::Duration;

use unicode_normalization::UnicodeNormalization;

/// Memos that one command names at most.
const MOST_NAMED: usize = 50;

/// Memos of a list.
const LISTED: usize = 10;
const MOST_LISTED: usize = 50;

/// A user's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// How it is used.
    Help,
    /// The last memos.
    List(usize),
    /// Memos are to go.
    Delete(Which),
}

/// Which memos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// It is not said: the one that is answered to, if there is one.
    Unsaid,
    All,
    /// By their numbers.
    These(Vec<u64>),
    /// Those that are older.
    Before(Duration),
}

impl Command {
    /// Reads a message: full-width or half-width, Japanese or English, with a mark in front or without.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // What is longer than any command is no command; it is not looked at further.
        if text.len() > 1_000 {
            return None;
        }
        let text = text.nfkc().collect::<String>().to_lowercase();
        let text = text.trim();
        let text = text.strip_prefix(['!', '/']).unwrap_or(text);
        let mut words = text.split_whitespace();
        let word = words.next()?;
        let rest: Vec<&str> = words.collect();
        match word {
            "ヘルプ" | "使い方" | "help" | "?" => rest.is_empty().then_some(Self::Help),
            "一覧" | "リスト" | "list" => match rest[..] {
                [] => Some(Self::List(LISTED)),
                [count] => {
                    let count = usize::try_from(number(count)?).unwrap_or(MOST_LISTED);
                    Some(Self::List(count.clamp(1, MOST_LISTED)))
                }
                _ => None,
            },
            "消す" | "削除" | "delete" => Which::parse(&rest).map(Self::Delete),
            _ => None,
        }
    }
}

impl Which {
    fn parse(words: &[&str]) -> Option<Self> {
        match words {
            [] => return Some(Self::Unsaid),
            ["全部" | "すべて" | "全て" | "all"] => return Some(Self::All),
            [days] => {
                let days = days.strip_suffix('前').unwrap_or(days);
                if let Some(days) = days.strip_suffix('日').or_else(|| days.strip_suffix('d')) {
                    return Some(Self::Before(Duration::from_secs(number(days)?.min(36_500) * 86_400)));
                }
            }
            _ => {}
        }
        let numbers: Option<Vec<u64>> = words.iter().map(|word| number(word)).collect();
        let mut numbers = numbers.filter(|numbers| numbers.len() <= MOST_NAMED)?;
        // One that is named twice is one memo.
        numbers.sort_unstable();
        numbers.dedup();
        Some(Self::These(numbers))
    }
}

fn number(word: &str) -> Option<u64> {
    word.strip_prefix('#').unwrap_or(word).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_both_languages_and_widths() {
        let delete = |which| Some(Command::Delete(which));
        for (text, command) in [
            ("ヘルプ", Some(Command::Help)),
            (" !ﾍﾙﾌﾟ\n", Some(Command::Help)),
            ("ＨＥＬＰ", Some(Command::Help)),
            ("一覧", Some(Command::List(10))),
            ("list 99", Some(Command::List(50))),
            ("一覧 ０", Some(Command::List(1))),
            ("消す", delete(Which::Unsaid)),
            ("消す 全部", delete(Which::All)),
            ("消す　#１２ 13", delete(Which::These(vec![12, 13]))),
            ("delete 7d", delete(Which::Before(Duration::from_secs(7 * 86_400)))),
            ("消す 7日前", delete(Which::Before(Duration::from_secs(7 * 86_400)))),
        ] {
            assert_eq!(Command::parse(text), command, "{text}");
        }
    }

    #[test]
    fn whatever_is_no_command_is_a_memo() {
        for text in [
            "",
            "消すべき書類",
            "消す 契約書の件",
            "help me",
            "一覧 表",
            "delete 1 x",
            "list 1 2",
            "https://example.jp/",
        ] {
            assert_eq!(Command::parse(text), None, "{text}");
        }
        assert_eq!(Command::parse(&format!("消す {}", "1 ".repeat(51))), None);
        assert_eq!(Command::parse("消す 99999999999999999999"), None);
        // Fifty may be named, and a text that is longer than any command is none.
        let named = |text: &str| Command::parse(text) == Some(Command::Delete(Which::These(vec![1, 2])));
        assert!(named(&format!("消す 2 {}", "1 ".repeat(49))) && named("消す 1 ２ #1"));
        assert_eq!(Command::parse(&format!("一覧{}", " ".repeat(1_000))), None);
        // However many days: it is no more than a hundred years.
        let century = Duration::from_secs(36_500 * 86_400);
        assert_eq!(
            Command::parse("消す 18446744073709551615日"),
            Some(Command::Delete(Which::Before(century)))
        );
    }
}
