//! Fields of kinds: what can be typed into each, and how that is read. What is read is kept in one spelling.

use std::collections::BTreeMap;

use base::Timestamp;
use intake::Date;
use organisation::{
    Organisation, UnitId, UnitNames,
    calendar::{begin_of, minute_of},
};
use ruma::{OwnedRoomId, OwnedUserId, ServerName, UserId};
use serde::{Deserialize, Serialize};

use crate::{
    limits::LONGEST_TEXT,
    words::{Told, words},
};

/// Letters of an id.
const LONGEST_ID: usize = 255;

/// A field of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its word for programs and rows: letters, digits and `_`.
    pub word: String,
    /// What people call it.
    pub label: Told,
    /// What they have to know to fill it in; may be empty.
    pub remark: Told,
    /// What can be typed.
    pub kind: FieldKind,
    /// Whether it may be left empty.
    pub optional: bool,
}

/// What can be typed into a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldKind {
    /// A text of at most so many letters; in several lines or not.
    Text {
        /// Letters.
        most: usize,
        /// Whether it may have several lines.
        lines: bool,
    },
    /// An account of the authority.
    Person,
    /// A unit of today, by its name or code.
    Unit,
    /// A room, by its id.
    Room,
    /// A day, from today on, and at most so many days ahead.
    Date {
        /// Days.
        most_ahead: u64,
    },
    /// A minute, in Japan.
    Minute,
    /// A number.
    Number {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// One of these: word and name.
    Choice(Vec<(String, Told)>),
}

/// The fields of a wish, each as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Of what was kept of a case.
    #[must_use]
    pub fn of(kept: &[(String, String)]) -> Self {
        Self(kept.iter().cloned().collect())
    }

    /// The value of a field; empty where it was left so.
    #[must_use]
    pub fn get(&self, word: &str) -> &str {
        self.0.get(word).map_or("", String::as_str)
    }

    /// The account of a field.
    #[must_use]
    pub fn user(&self, word: &str) -> Option<OwnedUserId> {
        UserId::parse(self.get(word)).ok()
    }

    /// The unit of a field.
    #[must_use]
    pub fn unit(&self, word: &str) -> Option<UnitId> {
        self.get(word).parse().ok().map(UnitId)
    }

    /// The room of a field.
    #[must_use]
    pub fn room(&self, word: &str) -> Option<OwnedRoomId> {
        OwnedRoomId::try_from(self.get(word)).ok()
    }

    /// The day of a field.
    #[must_use]
    pub fn day(&self, word: &str) -> Option<Date> {
        self.get(word).parse().ok()
    }

    /// The minute of a field.
    #[must_use]
    pub fn minute(&self, word: &str) -> Option<Timestamp> {
        minute_of(self.get(word))
    }

    /// As they are kept.
    pub(crate) fn kept(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(word, value)| (word.clone(), value.clone())).collect()
    }

    /// Reads what somebody typed. Accounts are looked at by who calls.
    ///
    /// # Errors
    /// What is wrong, for who typed it.
    pub(crate) fn read(
        typed: &[(String, String)],
        fields: &[Field],
        (authority, organisation, day): (&ServerName, &Organisation, Date),
    ) -> Result<Self, Told> {
        let mut read = BTreeMap::new();
        for field in fields {
            let value =
                typed.iter().find(|(word, _)| *word == field.word).map_or("", |(_, value)| value.trim());
            let (ja, en) = (&field.label.ja, &field.label.en);
            if value.is_empty() {
                if field.optional {
                    continue;
                }
                return Err(words!("「{ja}」を入力してください。", "Please fill in \"{en}\"."));
            }
            let value = match &field.kind {
                FieldKind::Text { most, lines } => text(value, *most, *lines),
                FieldKind::Person => person(value, authority),
                FieldKind::Unit => unit(value, organisation, day),
                FieldKind::Room => room(value),
                FieldKind::Date { most_ahead } => date(value, day, *most_ahead),
                FieldKind::Minute => minute(value),
                FieldKind::Number { least, most } => number(value, *least, *most),
                FieldKind::Choice(all) => choice(value, all),
            };
            let value = value.map_err(|why| {
                let (why_ja, why_en) = (why.ja, why.en);
                words!("「{ja}」: {why_ja}", "\"{en}\": {why_en}")
            })?;
            match (value.is_empty(), field.optional) {
                (false, _) => drop(read.insert(field.word.clone(), value)),
                (true, true) => {}
                (true, false) => {
                    return Err(words!("「{ja}」を入力してください。", "Please fill in \"{en}\"."));
                }
            }
        }
        Ok(Self(read))
    }
}

/// A text without what cannot be seen in it, within its bound; empty where nothing is left to be seen.
pub(crate) fn text(value: &str, most: usize, lines: bool) -> Result<String, Told> {
    let mut value = value.replace("\r\n", "\n");
    // Comes along with what is copied from elsewhere, and says nothing.
    value.retain(|letter| !matches!(letter, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}'));
    let value = value.trim();
    let most = most.min(LONGEST_TEXT);
    if value.chars().count() > most {
        return Err(words!("{most} 文字までです。", "At most {most} letters."));
    }
    let is_harmful = |letter: char| match letter {
        '\n' | '\t' => !lines,
        // What turns what stands around it, ends lines for some, or hides words.
        '\u{61c}' | '\u{180e}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2061}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        letter => letter.is_control(),
    };
    if value.contains(is_harmful) {
        return Err(words!(
            "使えない文字(制御文字など)が入っています。",
            "It holds letters that cannot be seen."
        ));
    }
    let is_blank = |letter: char| {
        letter.is_whitespace()
            // Joiners and selectors of variants, which do something to other letters alone, and letters that are blank.
            || matches!(letter, '\u{200c}' | '\u{200d}' | '\u{34f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
            || matches!(letter, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
    };
    Ok(if value.chars().all(is_blank) { String::new() } else { value.to_owned() })
}

fn person(value: &str, authority: &ServerName) -> Result<String, Told> {
    let wrong = || words!("この機関のアカウントではありません。", "This is no account of this authority.");
    let user = match value.starts_with('@') && value.contains(':') {
        true => UserId::parse(value),
        false => UserId::parse_with_server_name(value.trim_start_matches('@'), authority),
    };
    let user = user.map_err(|_| wrong())?;
    if user.server_name() != authority || user.localpart().chars().any(|letter| letter.is_ascii_uppercase()) {
        return Err(wrong());
    }
    Ok(user.to_string())
}

/// A unit of a day by its code, its name or its whole path.
fn unit(value: &str, organisation: &Organisation, day: Date) -> Result<String, Told> {
    let found = UnitNames::of(organisation, None, day).find(value);
    found.map(|unit| unit.unit.0.to_string()).map_err(Told::from)
}

/// The names of a unit and those above it.
pub(crate) fn path_of(organisation: &Organisation, unit: UnitId, day: Date) -> String {
    let path = organisation.path(unit, day);
    path.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn room(value: &str) -> Result<String, Told> {
    // It stands in what the case is called, and others choose it.
    OwnedRoomId::try_from(text(value, LONGEST_ID, false)?).map(|room| room.to_string()).map_err(|_| {
        words!(
            "「!」で始まるルーム ID を入力してください。",
            "Please type the id of a room, which begins with `!`."
        )
    })
}

fn date(value: &str, today: Date, most_ahead: u64) -> Result<String, Told> {
    let wrong =
        || words!("2026-04-01 のような日付を入力してください。", "Please type a day such as 2026-04-01.");
    let date: Date = value.parse().map_err(|_| wrong())?;
    if date < today {
        return Err(words!("過ぎた日付は指定できません。", "This day is over."));
    }
    let (from, to) = (begin_of(today).ok_or_else(wrong)?, begin_of(date).ok_or_else(wrong)?);
    if to.since(from).as_secs() / 86_400 > most_ahead {
        return Err(words!("{most_ahead} 日先までです。", "At most {most_ahead} days ahead."));
    }
    Ok(date.to_string())
}

fn minute(value: &str) -> Result<String, Told> {
    match minute_of(value) {
        Some(_) => Ok(value.replace(' ', "T")),
        None => Err(words!(
            "2026-04-01T00:00 のような日本時間の時刻を入力してください。",
            "Please type a time in Japan such as 2026-04-01T00:00."
        )),
    }
}

fn number(value: &str, least: i64, most: i64) -> Result<String, Told> {
    let number: Option<i64> = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.map(|number| number.to_string()).ok_or_else(|| {
        words!(
            "{least} から {most} までの数を入力してください。",
            "Please type a number from {least} to {most}."
        )
    })
}

fn choice(value: &str, all: &[(String, Told)]) -> Result<String, Told> {
    let found = all.iter().find(|(word, told)| word == value || told.ja == value);
    found
        .map(|(word, _)| word.clone())
        .ok_or_else(|| words!("一覧から選んでください。", "Please choose one of the list."))
}
