//! What a frame is made of, and what names can do to it.

use audit::{Chained, Listed, Record};
use base::Timestamp;
use store::Position;

use super::{receiver::Frame, *};
use crate::{LONGEST_MSGID, frame};

fn chained(record: Record) -> Chained {
    let row = Listed { position: Position(9), record: Some(record) };
    Chained { number: 4_711, chain: "5891b5".to_owned(), row, gone: None }
}

fn record(who: &str, whom: &str) -> Record {
    Record {
        at: Timestamp(1_774_969_200_007),
        who: who.to_owned(),
        role: "user".to_owned(),
        from: Some("192.0.2.1".to_owned()),
        what: "account.change_profile".to_owned(),
        whom: whom.to_owned(),
        before: Vec::new(),
        after: vec![("name".to_owned(), whom.to_owned()), ("case".to_owned(), "令8-12".to_owned())],
        zone: Some("lgwan".to_owned()),
        device: Some("PHONE".to_owned()),
        duty: Some("personnel audit".to_owned()),
    }
}

/// The frame within its count.
fn counted(text: &str) -> &str {
    let (count, frame) = text.split_once(' ').unwrap();
    assert_eq!(count.parse::<usize>().unwrap(), frame.len());
    frame
}

#[test]
fn a_frame_is_written_as_log_servers_read_it() {
    let text = frame(kanazawa(), 32_473, &chained(record("@hanako:kanazawa.test", "山田 花子")));
    let head = "<110>1 2026-04-01T00:00:00.007+09:00 kanazawa.test yakuba - account.change_profile \
                [yakuba@32473 number=\"4711\" chain=\"5891b5\" who=\"@hanako:kanazawa.test\" role=\"user\" \
                duty=\"personnel audit\" from=\"192.0.2.1\" zone=\"lgwan\" device=\"PHONE\" whom=\"山田 花子\" \
                after.name=\"山田 花子\" after.case=\"令8-12\"] {";
    assert!(counted(&text).starts_with(head), "{text}");
    let read = Frame::read(counted(&text));
    let json: serde_json::Value = serde_json::from_str(&read.message).unwrap();
    assert_eq!((json["whom"].as_str(), json["zone"].as_str()), (Some("山田 花子"), Some("lgwan")));
    assert_eq!((json["position"].as_u64(), json["after"]["case"].as_str()), (Some(9), Some("令8-12")));
}

/// U5: a name cannot begin another frame, another line, another field, or hide what stands behind it.
#[test]
fn whatever_a_name_holds_it_is_one_frame_in_one_line_and_no_other_field() {
    let names = [
        "花子\n<110>1 2026-04-01T00:00:00Z kanazawa.test yakuba - account.close [yakuba@32473 number=\"1\"] 偽",
        "a\"] who=\"@chief:kanazawa.test\" [b",
        "\\",
        "\\\"",
        "]",
        "a\0b\r\nc\u{1b}[31md\u{7f}\u{85}\u{2028}\u{2029}e",
        "\u{202e}liam\u{2066}\u{feff}",
        "12 <110>1 - - - - - -",
        "𠮷野家👨‍👩‍👧‍👦 が",
    ];
    for name in names {
        let text = frame(kanazawa(), 1, &chained(record(name, name)));
        let inner = counted(&text);
        let is_odd =
            |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202e}');
        assert!(!inner.contains(is_odd), "{inner:?}");
        assert!(!inner.contains('\u{feff}'), "{inner:?}");
        let read = Frame::read(inner);
        let fields: Vec<&str> = read.data.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "number",
            "chain",
            "who",
            "role",
            "duty",
            "from",
            "zone",
            "device",
            "whom",
            "after.name",
            "after.case",
        ];
        assert_eq!(fields, expected, "{inner}");
        // What it was exactly, the message tells, in ASCII.
        assert!(read.message.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{inner}");
        let json: serde_json::Value = serde_json::from_str(&read.message).unwrap();
        for field in [&json["who"], &json["whom"], &json["after"]["name"]] {
            assert_eq!(field.as_str(), Some(name));
        }
    }
}

#[test]
fn no_row_has_a_frame_of_more_than_64_kib() {
    for letter in ["\u{1}", "\"", "é", "\u{2028}", "𠮷"] {
        let text = letter.repeat(256 / letter.len());
        let facts = vec![("n".repeat(32), text.clone()); 8];
        let record = Record {
            device: Some(text.clone()),
            duty: Some(text.clone()),
            before: facts.clone(),
            after: facts,
            ..record(&text, &text)
        };
        let size = frame(kanazawa(), u32::MAX, &chained(record)).len();
        assert!(size < 64 << 10, "{letter:?}: {size}");
    }
}

#[test]
fn every_deed_has_a_word_that_fits_and_a_priority() {
    for action in Action::ALL {
        let word = action.word();
        assert!(word.len() <= LONGEST_MSGID && word.bytes().all(|byte| byte.is_ascii_graphic()), "{word}");
        let text = frame(kanazawa(), 1, &chained(Record { what: word.to_owned(), ..record("a", "b") }));
        let read = Frame::read(counted(&text));
        assert_eq!(read.header[5], word);
        assert!((108..=110).contains(&read.priority), "{word}: {}", read.priority);
    }
    let of = |what: &str| {
        let record = Record { what: what.to_owned(), ..record("a", "b") };
        Frame::read(counted(&frame(kanazawa(), 1, &chained(record)))).priority
    };
    assert_eq!(
        ["session.sign_in_failed", "account.grant_administration", "session.sign_in", "of.tomorrow"].map(of),
        [108, 109, 110, 109]
    );
}

#[test]
fn a_damaged_row_has_a_frame_that_says_so() {
    let row = Listed { position: Position(9), record: None };
    let text = frame(kanazawa(), 1, &Chained { number: 3, chain: "ab".to_owned(), row, gone: None });
    let read = Frame::read(counted(&text));
    assert_eq!((read.priority, read.header[1].as_str(), read.header[5].as_str()), (107, "-", "damaged"));
    assert_eq!(read.number(), 3);
    assert!(read.message.contains("\"damaged\":true"));
}

#[test]
fn a_row_that_was_kept_long_enough_and_went_has_a_frame_with_its_number_and_what_was_done() {
    let row = Listed { position: Position(9), record: None };
    let gone = Some("session.sign_in".to_owned());
    let text = frame(kanazawa(), 1, &Chained { number: 3, chain: "ab".to_owned(), row, gone });
    let read = Frame::read(counted(&text));
    assert_eq!((read.priority, read.header[1].as_str(), read.header[5].as_str()), (110, "-", "gone"));
    assert_eq!(read.number(), 3);
    assert!(text.contains("chain=\"ab\" gone=\"session.sign_in\"]"), "{text}");
    assert!(read.message.contains("\"gone\":true") && !read.message.contains("damaged"));
}
