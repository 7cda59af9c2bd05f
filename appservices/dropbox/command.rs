//! [`Command`]: what a member writes into a room, in Japanese or in English.
//!
//! `!受取 工事写真 期限 7日 件数 10 上限 2GB 種類 画像,PDF 合言葉` — words before the first keyword are the title. Full width and half
//! width are the same.

use std::{collections::BTreeSet, time::Duration};

use unicode_normalization::UnicodeNormalization;

use crate::{kind::Group, language::Language, moment, name, settings::Settings};

/// Letters of a command that are looked at.
const LONGEST: usize = 500;

/// Letters of a title.
const LONGEST_TITLE: usize = 60;

/// The shortest time for which a link is good.
const SHORTEST: Duration = Duration::from_secs(600);

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// How commands are written.
    Help,
    /// The room's links that are good now.
    List,
    /// Ends the link of this number.
    Revoke(u32),
    /// A link to upload by.
    Receive(Wish),
    /// A link to download by, for the file that the command answers.
    HandOver(Handing),
    /// The room's links to download by.
    ListHands,
    /// Ends the link to download by of this number.
    EndHand(u32),
    /// How links to download by are written.
    HelpHands,
}

/// What a link to upload by is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) title: String,
    /// For how long it is good.
    pub(crate) lasts: Duration,
    pub(crate) files: u32,
    /// Bytes of all files together.
    pub(crate) bytes: u64,
    /// Which kinds; any, if it is empty.
    pub(crate) groups: BTreeSet<Group>,
    pub(crate) with_code: bool,
    /// So long before its end the maker is told that nothing came.
    pub(crate) remind: Duration,
}

/// What a link to download by is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handing {
    pub(crate) lasts: Duration,
    pub(crate) times: u32,
    pub(crate) with_code: bool,
}

/// A sentence that says what is wrong, in the language of the command.
pub(crate) type Mistake = String;

/// A command with the language that it was written in.
pub(crate) type Parsed = (Language, Result<Command, Mistake>);

/// Takes a message apart; none if it is no command of ours.
pub(crate) fn parse(text: &str, settings: &Settings) -> Option<Parsed> {
    // Of messages that are none, the beginning is looked at and no more.
    if !text.trim_start().starts_with(['!', '！']) {
        return None;
    }
    let plain: String = text.chars().take(LONGEST).collect::<String>().nfkc().collect();
    let mut words = plain.split_whitespace();
    let (language, hands_over) = match words.next()?.to_lowercase().as_str() {
        "!受取" | "!受け取り" | "!受取url" => (Language::Japanese, false),
        "!receive" => (Language::English, false),
        "!渡し" | "!渡す" | "!渡しurl" => (Language::Japanese, true),
        "!handover" => (Language::English, true),
        _ => return None,
    };
    let words: Vec<&str> = words.collect();
    let parser = Parser { language, settings };
    Some((language, if hands_over { parser.hand_over(&words) } else { parser.receive(&words) }))
}

/// A keyword that something is said by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Lasts,
    Files,
    Bytes,
    Groups,
    Code,
    Remind,
    Times,
}

const KEYS: &[(&str, Key)] = &[
    ("期限", Key::Lasts),
    ("件数", Key::Files),
    ("上限", Key::Bytes),
    ("種類", Key::Groups),
    ("合言葉", Key::Code),
    ("催促", Key::Remind),
    ("回数", Key::Times),
    ("expires", Key::Lasts),
    ("files", Key::Files),
    ("max", Key::Bytes),
    ("types", Key::Groups),
    ("code", Key::Code),
    ("remind", Key::Remind),
    ("times", Key::Times),
];

/// A word as a keyword, with what is written right behind it: `期限`, `期限7日`, `期限:7日`.
fn key(word: &str) -> Option<(Key, &str)> {
    let lower = word.to_lowercase();
    KEYS.iter().find_map(|(name, key)| {
        // Folding ASCII moves no byte.
        let rest = word.get(lower.strip_prefix(name).map(|rest| word.len() - rest.len())?..)?;
        let value = rest.trim_start_matches([':', '=']);
        let is_value = value.len() < rest.len() || value.starts_with(|letter: char| letter.is_ascii_digit());
        (rest.is_empty() || is_value).then_some((*key, value))
    })
}

struct Parser<'a> {
    language: Language,
    settings: &'a Settings,
}

impl Parser<'_> {
    fn receive(&self, words: &[&str]) -> Result<Command, Mistake> {
        match words {
            [] | ["ヘルプ" | "help" | "?"] => return Ok(Command::Help),
            ["一覧" | "list"] => return Ok(Command::List),
            ["取消" | "取り消し" | "cancel", rest @ ..] => {
                return Ok(Command::Revoke(self.which(rest)?));
            }
            _ => {}
        }
        let begins = words.iter().position(|word| key(word).is_some()).unwrap_or(words.len());
        let title = name::line(&words[..begins].join(" "), LONGEST_TITLE);
        let settings = self.settings;
        let mut wish = Wish {
            title: if title.is_empty() { self.say("ファイルの提出", "Files") } else { title },
            lasts: settings.lasts.0,
            files: settings.files,
            bytes: settings.bytes.as_u64(),
            groups: BTreeSet::new(),
            with_code: settings.always_code,
            remind: settings.remind_before.0,
        };
        for (key, value) in self.pairs(&words[begins..])? {
            match key {
                Key::Lasts => wish.lasts = self.lasts(&value)?,
                Key::Files => wish.files = self.number(&value, settings.most_files)?,
                Key::Bytes => wish.bytes = self.bytes(&value)?,
                Key::Groups => wish.groups = self.groups(&value)?,
                Key::Code => wish.with_code = true,
                Key::Remind => wish.remind = span(&value).ok_or_else(|| self.bad_span(&value))?,
                Key::Times => return Err(self.unknown("回数", "times")),
            }
        }
        Ok(Command::Receive(wish))
    }

    fn hand_over(&self, words: &[&str]) -> Result<Command, Mistake> {
        match words {
            ["ヘルプ" | "help" | "?"] => return Ok(Command::HelpHands),
            ["一覧" | "list"] => return Ok(Command::ListHands),
            ["取消" | "取り消し" | "cancel", rest @ ..] => {
                return Ok(Command::EndHand(self.which(rest)?));
            }
            _ => {}
        }
        let settings = self.settings;
        let mut wish = Handing {
            lasts: settings.hand_over_lasts.0,
            times: settings.hand_over_times,
            with_code: settings.always_code,
        };
        for (key, value) in self.pairs(words)? {
            match key {
                Key::Lasts => wish.lasts = self.lasts(&value)?,
                Key::Times => wish.times = self.number(&value, settings.most_files)?,
                Key::Code => wish.with_code = true,
                Key::Files | Key::Bytes | Key::Groups | Key::Remind => {
                    return Err(self.say(
                        "「!渡し」には 期限・回数・合言葉 を書けます。",
                        "`!handover` knows expires, times and code.",
                    ));
                }
            }
        }
        Ok(Command::HandOver(wish))
    }

    /// The number of a link that is to be ended.
    fn which(&self, words: &[&str]) -> Result<u32, Mistake> {
        let number = match words {
            [number] => number.trim_start_matches('#').trim_end_matches('番').parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| {
            self.say(
                "取消する番号をひとつ書きます（例：取消 3）。番号は「一覧」で見られます。",
                "Name one number, as in `cancel 3`; `list` shows the numbers.",
            )
        })
    }

    /// Keywords, each with the words up to the next one.
    fn pairs(&self, words: &[&str]) -> Result<Vec<(Key, String)>, Mistake> {
        let mut pairs: Vec<(Key, String)> = Vec::new();
        for word in words {
            match (key(word), pairs.last_mut()) {
                (Some((key, value)), _) => {
                    if pairs.iter().any(|(known, _)| *known == key) {
                        return Err(self.say(
                            &format!("「{word}」が2回書かれています。"),
                            &format!("`{word}` is written twice."),
                        ));
                    }
                    pairs.push((key, value.to_owned()));
                }
                (None, Some((_, value))) => {
                    // `種類 画像, PDF` and `上限 2 GB` are written with spaces as well.
                    value.push_str(word);
                }
                (None, None) => return Err(self.unknown(word, word)),
            }
        }
        if let Some((_, value)) = pairs.iter().find(|(key, value)| *key == Key::Code && !value.is_empty()) {
            return Err(self.unknown(value, value));
        }
        Ok(pairs)
    }

    fn lasts(&self, value: &str) -> Result<Duration, Mistake> {
        let most = self.settings.longest.0;
        let lasts = span(value).ok_or_else(|| self.bad_span(value))?;
        if (SHORTEST..=most).contains(&lasts) {
            return Ok(lasts);
        }
        Err(self.say(
            &format!(
                "期限は {} から {} までです。",
                moment::span(SHORTEST, self.language),
                moment::span(most, self.language)
            ),
            &format!(
                "A link is good for {} to {}.",
                moment::span(SHORTEST, self.language),
                moment::span(most, self.language)
            ),
        ))
    }

    fn number(&self, value: &str, most: u32) -> Result<u32, Mistake> {
        let digits = value.trim_end_matches(['件', '回', '個']);
        digits.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
            self.say(
                &format!("件数・回数は 1 から {most} までの数字です。"),
                &format!("A number from 1 to {most} is wanted."),
            )
        })
    }

    fn bytes(&self, value: &str) -> Result<u64, Mistake> {
        let most = self.settings.most_bytes.as_u64();
        bytes(value).filter(|bytes| (1..=most).contains(bytes)).ok_or_else(|| {
            let most = moment::size(most);
            self.say(
                &format!("上限は 500MB や 2GB のように書き、{most} までです。"),
                &format!("Write a size such as 500MB or 2GB, {most} at most."),
            )
        })
    }

    fn groups(&self, value: &str) -> Result<BTreeSet<Group>, Mistake> {
        let names = value.split([',', '、', '・', '/', '，']).filter(|name| !name.is_empty());
        let mut groups = BTreeSet::new();
        for name in names {
            groups.insert(Group::named(name).ok_or_else(|| {
                let all = Group::all(self.language);
                self.say(
                    &format!("「{name}」という種類はありません。書けるのは {all} です。"),
                    &format!("There is no type `{name}`; the types are {all}."),
                )
            })?);
        }
        Ok(groups)
    }

    fn bad_span(&self, value: &str) -> Mistake {
        self.say(
            &format!("「{value}」は期間として読めません。7日、12時間、2週間 のように書きます。"),
            &format!("`{value}` is no time span; write 7d, 12h or 2w."),
        )
    }

    fn unknown(&self, ja: &str, en: &str) -> Mistake {
        self.say(
            &format!("「{ja}」は分かりません。「!受取 ヘルプ」で書き方を見られます。"),
            &format!("`{en}` is not understood; `!receive help` tells how it is written."),
        )
    }

    fn say(&self, ja: &str, en: &str) -> String {
        self.language.pick(ja, en).to_owned()
    }
}

/// `7日`, `12時間`, `30分`, `2週間`; `7d`, `12h`, `30m`, `2w`.
fn span(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..unit].parse().ok()?;
    let seconds: u64 = match text[unit..].to_lowercase().as_str() {
        "分" | "分間" | "m" | "min" | "minutes" => 60,
        "時間" | "h" | "hour" | "hours" => 3_600,
        "日" | "日間" | "d" | "day" | "days" => 86_400,
        "週" | "週間" | "w" | "week" | "weeks" => 7 * 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// `2GB`, `1.5GB`, `500MB`, as file managers count: by thousands.
fn bytes(text: &str) -> Option<u64> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let factor: u64 = match text[unit..].to_lowercase().as_str() {
        "kb" | "k" | "キロ" => 1_000,
        "mb" | "m" | "メガ" => 1_000_000,
        "gb" | "g" | "ギガ" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    let (whole, part) = text[..unit].split_once('.').unwrap_or((&text[..unit], ""));
    let tenths: u64 = if part.is_empty() { 0 } else { part.get(..1)?.parse().ok()? };
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(tenths * (factor / 10))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parsed(text: &str) -> Result<Command, Mistake> {
        parse(text, &Settings::for_tests()).unwrap().1
    }

    fn wish(text: &str) -> Wish {
        match parsed(text).unwrap() {
            Command::Receive(wish) => wish,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_wish_is_written_in_japanese_or_english_in_any_width() {
        let wanted = Wish {
            title: "工事写真 1工区".to_owned(),
            lasts: Duration::from_secs(7 * 86_400),
            files: 10,
            bytes: 2_000_000_000,
            groups: BTreeSet::from([Group::Picture, Group::Pdf]),
            with_code: true,
            remind: Duration::from_secs(86_400),
        };
        for text in [
            "!受取 工事写真 1工区 期限 7日 件数 10 上限 2GB 種類 画像,PDF 合言葉 催促 1日",
            "！受取　工事写真　１工区　期限７日　件数：１０件　上限　２ＧＢ　種類　画像、ＰＤＦ　合言葉 催促=24時間",
            "!receive 工事写真 1工区 code types Pictures, pdf max 2 gb files 10 expires 1w remind 1d",
        ] {
            assert_eq!(wish(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_not_said_is_as_the_settings_have_it() {
        let settings = Settings::for_tests();
        let wish = wish("!受取 期限表");
        assert_eq!((wish.title.as_str(), wish.lasts), ("期限表", settings.lasts.0));
        assert_eq!(
            (wish.files, wish.bytes, wish.with_code),
            (settings.files, settings.bytes.as_u64(), false)
        );
    }

    #[test]
    fn other_commands_and_no_commands() {
        assert_eq!(parsed("!受取"), Ok(Command::Help));
        assert_eq!(parsed("!receive list"), Ok(Command::List));
        assert_eq!(parsed("!受取 取消 #3"), Ok(Command::Revoke(3)));
        let handing = Handing { lasts: Duration::from_secs(86_400), times: 5, with_code: true };
        assert_eq!(parsed("!渡し 期限 1日 回数 5回 合言葉"), Ok(Command::HandOver(handing)));
        assert_eq!(parsed("!handover cancel 2"), Ok(Command::EndHand(2)));
        for text in ["受取お願いします", "!受取人", "* !受取 x", "", "!"] {
            assert!(parse(text, &Settings::for_tests()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_told_in_a_sentence() {
        for (text, says) in [
            ("!受取 x 期限 7", "7日"),
            ("!受取 x 期限 99日", "から"),
            ("!受取 x 期限 99999999999999999999日", "期間"),
            ("!受取 x 件数 0", "1 から"),
            ("!受取 x 上限 9999999999GB", "上限"),
            ("!receive x max 999TB", "2GB"),
            ("!受取 x 種類 実行", "画像"),
            ("!受取 x 期限 7日 期限 8日", "2回"),
            ("!受取 x 合言葉 ひみつ", "ひみつ"),
            ("!受取 取消", "番号"),
            ("!受取 取消 1 2", "ひとつ"),
            ("!渡し 件数 3", "回数"),
        ] {
            let mistake = parsed(text).unwrap_err();
            assert!(mistake.contains(says), "{text}: {mistake}");
        }
    }
}
