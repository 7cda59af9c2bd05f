//! [`Command`]: what a member asks of the bot.

/// Longest command, in bytes.
const LONGEST: usize = 500;

/// A member's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    /// An address is wanted; the word that it begins with.
    Open(String),
    List,
    /// An address is to go.
    Close(String),
    /// Who may write to the room.
    Allow(Writers),
}

/// Who may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    Everybody,
    Nobody,
    /// Those of a domain, or with this address.
    These(String),
}

impl Command {
    /// Reads a message; none: it is not for the bot.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > LONGEST {
            return None;
        }
        let mut words = text.split_whitespace();
        if !matches!(words.next()?, "!メール" | "！メール" | "!mail") {
            return None;
        }
        let words: Vec<&str> = words.collect();
        Some(match words[..] {
            ["開設" | "open"] => Self::Open(String::new()),
            ["開設" | "open", label] => Self::Open(label.to_owned()),
            ["一覧" | "list"] => Self::List,
            ["閉鎖" | "close", address] => Self::Close(address.to_ascii_lowercase()),
            ["許可" | "allow", "全員" | "all"] => Self::Allow(Writers::Everybody),
            ["許可" | "allow", "なし" | "none"] => Self::Allow(Writers::Nobody),
            ["許可" | "allow", whom] => Self::Allow(Writers::These(whom.to_ascii_lowercase())),
            // Whatever else is asked of it.
            _ => Self::Help,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_both_languages_and_nothing_else_is_one() {
        for (text, command) in [
            ("!メール 開設 工事", Some(Command::Open("工事".to_owned()))),
            ("！メール　一覧", Some(Command::List)),
            ("!mail close A@b.jp", Some(Command::Close("a@b.jp".to_owned()))),
            ("!メール 許可 Example.co.jp", Some(Command::Allow(Writers::These("example.co.jp".to_owned())))),
            ("!メール 許可 全員", Some(Command::Allow(Writers::Everybody))),
            ("!メール", Some(Command::Help)),
            ("メール 一覧", None),
            ("!メールを見ました", None),
        ] {
            assert_eq!(Command::parse(text), command, "{text}");
        }
    }
}
