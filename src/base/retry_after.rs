//! How long a server wishes to be left alone.

use std::time::{Duration, SystemTime};

use crate::Timestamp;

/// How long a server wishes to be left alone that says so by `Retry-After`: in seconds, or until a date. The date is held against
/// the one that the answer bears, where it bears one, as their clock need not agree with ours. What is neither says nothing.
///
/// What is past is no time at all, and nobody need wait for as long as is asked: whoever calls has bounds of his own.
///
/// Spec: <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>
pub fn retry_after(value: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // One of more digits than a number has is for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let theirs = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    let now = theirs.unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_millis(now.millis()));
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_in_seconds_and_as_a_date_in_all_its_forms() {
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = Timestamp(784_111_777_000);
        let read = |value: &str| retry_after(value, None, now).map(|wait| wait.as_secs());
        for (value, seconds) in [
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120)),
            ("Sunday, 06-Nov-94 08:51:37 GMT", Some(120)),
            ("Sun Nov  6 08:51:37 1994", Some(120)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("明日", None),
            ("Sun, 32 Nov 1994 08:51:37 GMT", None),
            ("Sun, 06 Nov 1994 08:51:37 +0900", None),
        ] {
            assert_eq!(read(value), seconds, "{value}");
        }
    }

    #[test]
    fn a_date_is_held_against_the_clock_of_who_says_it() {
        let wait = |date| retry_after("Sun, 06 Nov 1994 08:51:37 GMT", date, Timestamp(1_900_000_000_000));
        assert_eq!(wait(None), Some(Duration::ZERO));
        assert_eq!(wait(Some("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::from_secs(120)));
        assert_eq!(wait(Some("yesterday")), Some(Duration::ZERO));
    }
}
