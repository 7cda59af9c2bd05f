//! [`Command`]: what a member asks of the bot.

use crate::smtp;

/// Longest command's line, in bytes. What is to be sent may be longer.
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
    /// A mail is to go out.
    Send(Wish),
}

/// A mail that a member asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To whoever wrote the mail to which the command is a reply.
    Answer {
        text: String,
    },
    New {
        to: String,
        subject: String,
        text: String,
    },
}

/// Who may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    Everybody,
    Nobody,
    /// Those of a domain, or with this address.
    These(String),
    /// What can be neither.
    Unclear(String),
}

/// Longest name of a domain.
const LONGEST_DOMAIN: usize = 253;

impl Writers {
    /// As people write it, who also write `@` before a domain and `*` for whatever it may be.
    fn parse(text: &str) -> Self {
        // Letters and marks of full width, as Japanese keyboards give them.
        let narrow = |mark: char| match u32::from(mark) {
            code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(mark),
            _ => mark,
        };
        let whom: String = text.chars().map(narrow).collect::<String>().to_ascii_lowercase();
        match &*whom {
            "全員" | "all" | "*" | "*@*" => return Self::Everybody,
            "なし" | "none" => return Self::Nobody,
            _ => {}
        }
        let domain = whom.strip_prefix("*@").or_else(|| whom.strip_prefix('@')).unwrap_or(&whom);
        let is_name = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_domain =
            domain.len() <= LONGEST_DOMAIN && domain.contains('.') && domain.split('.').all(is_name);
        if is_domain {
            return Self::These(domain.to_owned());
        }
        smtp::recipient(&whom).map_or_else(|| Self::Unclear(text.to_owned()), Self::These)
    }
}

impl Command {
    /// Reads a message; none: it is not for the bot.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(wish) = Wish::parse(text) {
            return Some(Self::Send(wish));
        }
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
            ["許可" | "allow", whom] => Self::Allow(Writers::parse(whom)),
            // Whatever else is asked of it.
            _ => Self::Help,
        })
    }
}

impl Wish {
    /// `!返信` and a text; `!メール 送信`, an address, a subject, and the text in further lines.
    fn parse(text: &str) -> Option<Self> {
        let (first, text) = text.split_once('\n').unwrap_or((text, ""));
        let mut words = first.splitn(2, char::is_whitespace);
        let (mark, rest) = (words.next()?, words.next().unwrap_or_default().trim());
        if matches!(mark, "!返信" | "！返信" | "!reply") {
            let text = if rest.is_empty() { text.trim_end().to_owned() } else { format!("{rest}\n{text}") };
            return Some(Self::Answer { text: text.trim_end().to_owned() });
        }
        if !matches!(mark, "!メール" | "！メール" | "!mail") || first.len() > LONGEST {
            return None;
        }
        let mut words = rest.splitn(2, char::is_whitespace);
        if !matches!(words.next(), Some("送信" | "send")) {
            return None;
        }
        let (to, subject) = words.next()?.trim().split_once(char::is_whitespace)?;
        let text = text.trim_end().to_owned();
        Some(Self::New { to: to.to_owned(), subject: subject.trim().to_owned(), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_sent_is_read_with_its_lines() {
        let answer = |text: &str| Some(Command::Send(Wish::Answer { text: text.to_owned() }));
        assert_eq!(Command::parse("!返信 はい\n\n 以上"), answer("はい\n\n 以上"));
        assert_eq!(Command::parse("！返信\n  字下げ\n"), answer("  字下げ"));
        assert_eq!(Command::parse("!reply"), answer(""));
        assert_eq!(Command::parse("!返信します"), None);
        let long = "長い文".repeat(2_000);
        assert_eq!(Command::parse(&format!("!返信 {long}")), answer(&long));
        let new =
            Wish::New { to: "a@b.jp".into(), subject: "橋 の件".into(), text: "本文\n続き".into() };
        assert_eq!(Command::parse("!メール 送信 a@b.jp 橋 の件\n本文\n続き"), Some(Command::Send(new)));
        assert_eq!(Command::parse("!mail send a@b.jp"), Some(Command::Help));
    }

    #[test]
    fn who_may_write_is_read_as_people_write_it_and_what_names_nobody_is_none() {
        let these = |whom: &str| Writers::These(whom.to_owned());
        for (text, writers) in [
            ("*", Writers::Everybody),
            ("ALL", Writers::Everybody),
            ("none", Writers::Nobody),
            ("@Example.co.jp", these("example.co.jp")),
            ("*@example.co.jp", these("example.co.jp")),
            ("ｅｘａｍｐｌｅ．co.jp", these("example.co.jp")),
            ("taro＠example.co.jp", these("taro@example.co.jp")),
            ("xn--r8jz45g.jp", these("xn--r8jz45g.jp")),
        ] {
            assert_eq!(Writers::parse(text), writers, "{text}");
        }
        for text in [".", "@", "*.", "example", "*.example.co.jp", "a..jp", "例え.jp", "a b@c.jp", "@a@b.jp"]
        {
            assert_eq!(Writers::parse(text), Writers::Unclear(text.to_owned()));
        }
    }

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
