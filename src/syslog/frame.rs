//! A row as a frame: RFC 5424 within the counted octets of RFC 5425. Pure.
//!
//! ```text
//! 512 <110>1 2026-04-01T08:30:00.007+09:00 kanazawa.example.lg.jp yakuba - session.sign_in
//!   [yakuba@32473 number="4711" chain="5891b5…" who="@hanako:…" role="user" from="192.0.2.1" zone="lgwan" device="PHONE"
//!   whom="@hanako:…" after.device="PHONE"] {"authority":…}
//! ```
//!
//! The structured data hold all of the row, in UTF-8 as they have to be (section 6.3.3): what a log server sorts and filters by,
//! and where whoever looks for 山田 finds it. The message is the row as the other exports have it, one line of JSON, for programs;
//! in ASCII, with `\u5c71` for 山: text in UTF-8 would need its mark before it (section 6.4), and log servers hand that on to what
//! reads the JSON, which takes it for damaged.
//!
//! Whatever a name holds, a row is one frame and one line: no control character, end of line or mark of direction stands in
//! one as itself. In the message they are as JSON writes them (`\u000a`); in the structured data, which have no such
//! way, a sign stands for each (`␊`), as in the console. What it was, the message tells.

use std::fmt::Write;

use audit::{Action, Chained, Record, written};
use ruma::ServerName;

/// Who speaks.
pub const APP_NAME: &str = "yakuba";

/// The enterprise number of examples (RFC 5612), for those who have none of their own. There is no number for private use.
pub const EXAMPLE_NUMBER: u32 = 32_473;

/// Longest id of a kind of message (RFC 5424, section 6).
pub const LONGEST_MSGID: usize = 32;

/// Longest name of a fact, with `before.` in front of it 32 (section 6.3.3).
const LONGEST_FACT: usize = 25;

/// 13, "log audit" (section 6.2.1).
const FACILITY: u8 = 13;

/// How grave a row is, which follows from the deed alone (section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// The row is damaged: somebody has to look.
    Error = 3,
    /// Something was tried in vain.
    Warning = 4,
    /// Who has power, what leaves, what others wrote is read, and what cannot be undone.
    Notice = 5,
    /// All else.
    Informational = 6,
}

fn severity(record: Option<&Record>) -> Severity {
    let Some(record) = record else { return Severity::Error };
    match Action::of_word(&record.what) {
        Some(
            Action::SignInFailed
            | Action::ConfirmFailed
            | Action::RegisterFailed
            | Action::RefuseReading
            | Action::TryInVain,
        ) => Severity::Warning,
        Some(action) if is_grave(action) => Severity::Notice,
        Some(_) => Severity::Informational,
        // Of a newer program.
        None => Severity::Notice,
    }
}

fn is_grave(action: Action) -> bool {
    matches!(
        action,
        Action::GrantAdministration
            | Action::RevokeAdministration
            | Action::GiveDuty
            | Action::TakeDuty
            | Action::GrantRoomPower
            | Action::SetPassword
            | Action::CloseAccount
            | Action::LockAccount
            | Action::UnlockAccount
            | Action::ReadRoom
            | Action::ReadAccount
            | Action::ExportAudit
            | Action::ExportTable
            | Action::BackUp
            | Action::Restore
            | Action::BeginAuthority
            | Action::OrderPurge
            | Action::PurgeRoom
            | Action::EmptyRoom
            | Action::RemoveMedia
            | Action::AcceptEndings
            | Action::RetireRows
            | Action::SetRetention
            | Action::HoldRows
            | Action::ReleaseRows
    )
}

/// A row of an authority as a frame, with the count of its octets before it.
#[must_use]
pub fn frame(authority: &ServerName, enterprise: u32, chained: &Chained) -> String {
    let message = message(authority, enterprise, chained);
    format!("{} {message}", message.len())
}

fn message(authority: &ServerName, enterprise: u32, chained: &Chained) -> String {
    let Chained { number, chain, row, gone } = chained;
    let record = row.record.as_ref();
    // A record that went since it was kept long enough is no damage: only a log server that was named later is told of it.
    let severity = if gone.is_some() { Severity::Informational } else { severity(record) };
    let priority = FACILITY * 8 + severity as u8;
    let at = record.map_or_else(|| "-".to_owned(), |record| written(record.at));
    let host = token(authority.as_str(), 255);
    let kind = match (record, gone) {
        (Some(record), _) => token(&record.what, LONGEST_MSGID),
        (None, Some(_)) => "gone".to_owned(),
        (None, None) => "damaged".to_owned(),
    };
    let mut data = format!("[yakuba@{enterprise} number=\"{number}\" chain=\"{chain}\"");
    if let Some(what) = gone {
        put(&mut data, "gone", what);
    }
    if let Some(record) = record {
        let fields = [
            ("who", Some(&record.who)),
            ("role", Some(&record.role)),
            ("duty", record.duty.as_ref()),
            ("from", record.from.as_ref()),
            ("zone", record.zone.as_ref()),
            ("device", record.device.as_ref()),
            ("whom", Some(&record.whom)),
        ];
        for (name, value) in fields {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                put(&mut data, name, value);
            }
        }
    }
    for (moment, facts) in
        record.map(|record| [("before", &record.before), ("after", &record.after)]).into_iter().flatten()
    {
        for (name, value) in facts {
            put(&mut data, &format!("{moment}.{}", token(name, LONGEST_FACT)), value);
        }
    }
    data.push(']');
    let json = in_ascii(&chained.in_json(authority));
    format!("<{priority}>1 {at} {host} {APP_NAME} - {kind} {data} {json}")
}

/// Adds a parameter, whose value others chose (section 6.3.3).
fn put(data: &mut String, name: &str, value: &str) {
    data.push(' ');
    data.push_str(name);
    data.push_str("=\"");
    for letter in value.chars() {
        match letter {
            '"' | '\\' | ']' => data.extend(['\\', letter]),
            '\n' => data.push('␊'),
            '\r' => data.push('␍'),
            letter if is_odd(letter) => data.push('␦'),
            letter => data.push(letter),
        }
    }
    data.push('"');
}

/// Letters that end a line for somebody, that nobody sees, or that turn what stands around them.
fn is_odd(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON in printable ASCII: all else stands in strings alone, where JSON has another way to write it.
fn in_ascii(json: &str) -> String {
    let mut plain = String::with_capacity(json.len() + 64);
    for letter in json.chars() {
        if !matches!(letter, ' '..='~') {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                write!(plain, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// A field of the header, or a part of a name: printable ASCII without spaces and what ends a name, `-` where there is nothing.
fn token(text: &str, longest: usize) -> String {
    let is_good = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '=' | ']' | '"');
    let printable = |letter: char| if is_good(letter) { letter } else { '?' };
    let token: String = text.chars().take(longest).map(printable).collect();
    if token.is_empty() { "-".to_owned() } else { token }
}
