//! Whether somebody is to come in, by all that directories say of it together.
//!
//! There are several ways to say that somebody is out. Each is looked at, and one decision is made of them: who is out by one
//! of them is not let in by another. What cannot be read decides nothing: then he stays as he is, and somebody is told.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    session::Entry,
    settings::Kind,
    words::{Words, words},
};

/// `ADS_UF_ACCOUNTDISABLE` of `userAccountControl` (MS-ADTS, 2.2.16).
const DISABLED: i64 = 0x2;
/// The moment that stands for "for good" in `pwdAccountLockedTime` (draft-behera-ldap-password-policy).
const LOCKED_FOR_GOOD: &str = "000001010000Z";
/// Milliseconds from 1601, where `FILETIME` begins, to 1970.
const SINCE_1601_MS: i64 = 11_644_473_600_000;
const DAY_MS: u64 = 86_400_000;

/// Why somebody is not to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// He is switched off.
    Disabled,
    /// His time is over.
    Expired,
    /// The directory has him no more.
    Absent,
    /// He is not in the group whose members are people.
    Outside,
}

impl Why {
    /// Its word, for the audit log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Absent => "absent",
            Self::Outside => "outside_group",
        }
    }

    /// For people.
    pub(crate) fn words(self) -> Words {
        match self {
            Self::Disabled => words!("無効", "disabled"),
            Self::Expired => words!("期限切れ", "expired"),
            Self::Absent => words!("ディレクトリにいない", "not in the directory"),
            Self::Outside => words!("対象のグループにいない", "not in the group of people"),
        }
    }
}

/// What a directory says of whether somebody is to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// He is.
    Active,
    /// He is not.
    Ended(Why),
    /// That cannot be read, by this attribute.
    Unclear(&'static str),
}

/// What one attribute says.
enum Says {
    Nothing,
    Ended(Why),
    Unreadable,
}

/// What is said of an entry at a moment.
pub(crate) fn standing(entry: &Entry, kind: Kind, now: Timestamp) -> Standing {
    let said = [
        ("userAccountControl", control(entry, kind)),
        ("accountExpires", expires(entry, now)),
        ("pwdAccountLockedTime", locked_for_good(entry)),
        ("shadowExpire", shadow(entry, now)),
        ("nsAccountLock", locked(entry)),
    ];
    let ended = said.iter().find_map(|(_, says)| match says {
        Says::Ended(why) => Some(Standing::Ended(*why)),
        Says::Nothing | Says::Unreadable => None,
    });
    let unclear = said.iter().find_map(|(name, says)| match says {
        Says::Unreadable => Some(Standing::Unclear(name)),
        Says::Nothing | Says::Ended(_) => None,
    });
    ended.or(unclear).unwrap_or(Standing::Active)
}

/// The number of an attribute; `None` where it is not there, and an error where it is none.
fn number(entry: &Entry, attribute: &str) -> Result<Option<i64>, ()> {
    match entry.all(attribute) {
        [] => Ok(None),
        [one] => {
            let text = std::str::from_utf8(one).map_err(|_| ())?;
            text.trim().parse().map(Some).map_err(|_| ())
        }
        _ => Err(()),
    }
}

fn control(entry: &Entry, kind: Kind) -> Says {
    match number(entry, "userAccountControl") {
        Ok(Some(flags)) if flags & DISABLED != 0 => Says::Ended(Why::Disabled),
        Ok(Some(_)) => Says::Nothing,
        // Everybody has it there, so it was kept from us.
        Ok(None) if kind == Kind::ActiveDirectory => Says::Unreadable,
        Ok(None) => Says::Nothing,
        Err(()) => Says::Unreadable,
    }
}

/// Tenths of microseconds since 1601; 0 and the largest number mean never (MS-ADA1, 2.2).
fn expires(entry: &Entry, now: Timestamp) -> Says {
    match number(entry, "accountExpires") {
        Ok(None | Some(0 | i64::MAX)) => Says::Nothing,
        Ok(Some(ticks)) if ticks > 0 => {
            let at = u64::try_from(ticks / 10_000 - SINCE_1601_MS).unwrap_or_default();
            if at <= now.millis() { Says::Ended(Why::Expired) } else { Says::Nothing }
        }
        Ok(Some(_)) | Err(()) => Says::Unreadable,
    }
}

/// Whoever typed a wrong password is locked out of the directory for minutes, and not out of his office.
fn locked_for_good(entry: &Entry) -> Says {
    match entry.text("pwdAccountLockedTime") {
        Some(LOCKED_FOR_GOOD) => Says::Ended(Why::Disabled),
        _ => Says::Nothing,
    }
}

/// Days since 1970, of which the one that is named is the first on which he is out; -1 is never, and 0 is read in two ways
/// (shadow(5)).
fn shadow(entry: &Entry, now: Timestamp) -> Says {
    match number(entry, "shadowExpire") {
        Ok(None | Some(-1)) => Says::Nothing,
        Ok(Some(day)) if day > 0 => {
            let is_over = u64::try_from(day).is_ok_and(|day| day <= now.millis() / DAY_MS);
            if is_over { Says::Ended(Why::Expired) } else { Says::Nothing }
        }
        Ok(Some(_)) | Err(()) => Says::Unreadable,
    }
}

fn locked(entry: &Entry) -> Says {
    match entry.text("nsAccountLock").map(str::to_ascii_lowercase).as_deref() {
        None | Some("false") => Says::Nothing,
        Some("true") => Says::Ended(Why::Disabled),
        Some(_) => Says::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-04-01 in Japan.
    const NOW: Timestamp = Timestamp(1_774_969_200_000);

    fn of(kind: Kind, values: &[(&str, &str)]) -> Standing {
        let values =
            values.iter().map(|(name, value)| (name.to_ascii_lowercase(), vec![value.as_bytes().to_vec()]));
        standing(&Entry { dn: String::new(), values: values.collect() }, kind, NOW)
    }

    fn ad(control: &str, expires: &str) -> Standing {
        of(Kind::ActiveDirectory, &[("userAccountControl", control), ("accountExpires", expires)])
    }

    fn ticks(at_ms: u64) -> String {
        ((i64::try_from(at_ms).unwrap_or_default() + SINCE_1601_MS) * 10_000).to_string()
    }

    /// L9.
    #[test]
    fn an_account_expires_on_its_day_and_never_by_the_two_numbers_that_mean_never() {
        assert_eq!(ad("512", "0"), Standing::Active);
        assert_eq!(ad("512", "9223372036854775807"), Standing::Active);
        assert_eq!(ad("512", &ticks(NOW.0)), Standing::Ended(Why::Expired));
        assert_eq!(ad("512", &ticks(NOW.0 + 1_000)), Standing::Active);
        // What the administrator's tools write for the end of 2026-03-31 in Japan.
        assert_eq!(ad("512", "134194428000000000"), Standing::Ended(Why::Expired));
        assert_eq!(ad("512", "1"), Standing::Ended(Why::Expired));
        assert_eq!(ad("512", "-1"), Standing::Unclear("accountExpires"));
        assert_eq!(ad("512", "never"), Standing::Unclear("accountExpires"));
    }

    /// L10.
    #[test]
    fn both_ways_to_be_out_are_looked_at_before_one_decision() {
        assert_eq!(ad("514", &ticks(NOW.0 + 1_000)), Standing::Ended(Why::Disabled));
        assert_eq!(ad("512", &ticks(NOW.0 - 1_000)), Standing::Ended(Why::Expired));
        assert_eq!(ad("514", &ticks(NOW.0 - 1_000)), Standing::Ended(Why::Disabled));
        assert_eq!(ad("66048", "0"), Standing::Active);
        assert_eq!(ad("514", "never"), Standing::Ended(Why::Disabled));
    }

    #[test]
    fn what_cannot_be_read_decides_nothing() {
        assert_eq!(of(Kind::ActiveDirectory, &[]), Standing::Unclear("userAccountControl"));
        assert_eq!(of(Kind::OpenLdap, &[]), Standing::Active);
        assert_eq!(ad("x", "0"), Standing::Unclear("userAccountControl"));
    }

    #[test]
    fn other_directories_say_it_in_other_ways() {
        let said = |name, value| of(Kind::OpenLdap, &[(name, value)]);
        assert_eq!(said("pwdAccountLockedTime", "000001010000Z"), Standing::Ended(Why::Disabled));
        // Whoever mistyped his password is locked out for a while.
        assert_eq!(said("pwdAccountLockedTime", "20260401000000Z"), Standing::Active);
        assert_eq!(said("shadowExpire", "-1"), Standing::Active);
        assert_eq!(said("shadowExpire", "20543"), Standing::Ended(Why::Expired));
        assert_eq!(said("shadowExpire", "20544"), Standing::Active);
        assert_eq!(said("shadowExpire", "0"), Standing::Unclear("shadowExpire"));
        assert_eq!(said("nsAccountLock", "TRUE"), Standing::Ended(Why::Disabled));
        assert_eq!(said("nsAccountLock", "False"), Standing::Active);
    }
}
