//! Canonical JSON.

use std::fmt::Write as _;

use pdu::json::{JsonFault, MAX_NESTING, Numbers, canonicalize};
use proptest::prelude::*;
use serde_json::Value;

/// Spec: <https://spec.matrix.org/v1.19/appendices/#canonical-json>, "Examples"
#[test]
fn the_examples_of_the_specification_come_out_as_written_there() {
    for (input, expected) in [
        ("{}", "{}"),
        ("{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", r#"{"one":1,"two":"Two"}"#),
        (r#"{ "b": "2", "a": "1" }"#, r#"{"a":"1","b":"2"}"#),
        (r#"{"b":"2","a":"1"}"#, r#"{"a":"1","b":"2"}"#),
        (
            r#"{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe",
            "three_pids":[{"medium":"email","address":"john.doe@example.org"},
            {"medium":"msisdn","address":"123456789"}]}}}"#,
            r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
        ),
        (r#"{ "a": "日本語" }"#, r#"{"a":"日本語"}"#),
        (r#"{ "本": 2, "日": 1 }"#, r#"{"日":1,"本":2}"#),
        (r#"{ "a": "\u65E5" }"#, r#"{"a":"日"}"#),
        (r#"{ "a": null }"#, r#"{"a":null}"#),
    ] {
        assert_eq!(canonicalize(input.as_bytes(), Numbers::Strict).unwrap(), expected);
    }
}

#[test]
fn strings_have_one_spelling() {
    for (input, expected) in [
        (r#""\/\"\\\b\f\n\r\t""#, r#""/\"\\\b\f\n\r\t""#),
        (r#""\u0001\u001F\u007f""#, "\"\\u0001\\u001f\u{7f}\""),
        (r#""\uD83C\uDFEF""#, "\"🏯\""),
        ("\"\u{2028}\"", "\"\u{2028}\""),
    ] {
        assert_eq!(canonicalize(input.as_bytes(), Numbers::Strict).unwrap(), expected);
    }
}

#[test]
fn keys_are_sorted_by_code_point() {
    let input = r#"{"\uFF21":1,"🏯":2,"a":3,"A":4,"":5,"\"":6}"#;
    let expected = r#"{"":5,"\"":6,"A":4,"a":3,"Ａ":1,"🏯":2}"#;
    assert_eq!(canonicalize(input.as_bytes(), Numbers::Strict).unwrap(), expected);
}

#[test]
fn what_has_no_single_meaning_is_refused() {
    use JsonFault::*;
    for (input, fault) in [
        (&b""[..], Syntax),
        (b"{", Syntax),
        (b"{\"a\"}", Syntax),
        (b"{\"a\":1,}", Syntax),
        (b"[1,]", Syntax),
        (b"{}{}", Trailing),
        (b"{} x", Trailing),
        (b"nul", Syntax),
        (b"\"a\nb\"", String),
        (b"\"\\x\"", String),
        (b"\"\\u12\"", String),
        (b"\"\\ud800\"", String),
        (b"\"\\udc00\"", String),
        (b"\"\\ud800\\u0041\"", String),
        (b"\"abc", String),
        (b"\"\xff\"", Utf8),
        (b"\xef\xbb\xbf{}", Syntax),
        (b"{\"a\":1,\"a\":1}", DuplicateKey),
        (b"{\"b\":1,\"a\":2,\"\\u0062\":3}", DuplicateKey),
        (b"01", Trailing),
        (b"-", Syntax),
        (b"+1", Syntax),
        (b"1.", Syntax),
        (b"1e", Syntax),
        (b"1.0", NotAnInteger),
        (b"1e3", NotAnInteger),
        (b"-0", NotAnInteger),
        (b"9007199254740992", IntegerRange),
        (b"-9007199254740992", IntegerRange),
        (b"123456789012345678901234567890", IntegerRange),
        (b"NaN", Syntax),
        (b"Infinity", Syntax),
    ] {
        let error = canonicalize(input, Numbers::Strict).unwrap_err();
        assert_eq!(error.fault, fault, "{}", std::string::String::from_utf8_lossy(input));
    }
}

#[test]
fn lax_numbers_are_written_as_the_first_servers_did() {
    let input = "[1.0,1E3,-0,-0.0,1e-7,9007199254740993,123456789012345678901234567890]";
    let expected = "[1.0,1000.0,0,-0.0,1e-07,9007199254740993,123456789012345678901234567890]";
    assert_eq!(canonicalize(input.as_bytes(), Numbers::Lax).unwrap(), expected);
}

#[test]
fn nesting_is_bounded_without_using_the_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(canonicalize(nested(MAX_NESTING).as_bytes(), Numbers::Strict).is_ok());
    for open in ["[", "{\"a\":"] {
        let error = canonicalize(open.repeat(1_000_000).as_bytes(), Numbers::Strict).unwrap_err();
        assert_eq!(error.fault, JsonFault::Nesting);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// JSON whose keys stand in the opposite of their order, some of them and some strings in escapes.
fn backwards(value: &Value, out: &mut String) {
    let text = |text: &str, out: &mut String| {
        out.push('"');
        for unit in text.encode_utf16() {
            match char::from_u32(u32::from(unit)) {
                Some(plain @ ('a'..='m' | '0'..='9')) => out.push(plain),
                _ => write!(out, "\\u{unit:04X}").unwrap(),
            }
        }
        out.push('"');
    };
    match value {
        Value::Object(members) => {
            out.push_str("{ ");
            for (index, (key, value)) in members.iter().rev().enumerate() {
                out.push_str(if index > 0 { " , " } else { "" });
                text(key, out);
                out.push_str(" :");
                backwards(value, out);
            }
            out.push_str(" }");
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "\n" });
                backwards(item, out);
            }
            out.push(']');
        }
        Value::String(string) => text(string, out),
        other => out.push_str(&other.to_string()),
    }
}

#[test]
fn objects_out_of_order_are_sorted_wherever_they_stand() {
    for (input, expected) in [
        (
            r#"{"b":{"d":[{"f":1,"e":{}}],"c":{"h":2,"g":3}},"a":0}"#,
            r#"{"a":0,"b":{"c":{"g":3,"h":2},"d":[{"e":{},"f":1}]}}"#,
        ),
        (r#"{"a":{"c":1,"b":2},"d":{"e":1}}"#, r#"{"a":{"b":2,"c":1},"d":{"e":1}}"#),
        (r#"[ {"a!":1 , "a":2 } , {"\u0062":1,"a":2} ]"#, r#"[{"a":2,"a!":1},{"a":2,"b":1}]"#),
        (r#"{"b":1,"\"":2,"\\":3}"#, r#"{"\"":2,"\\":3,"b":1}"#),
    ] {
        assert_eq!(canonicalize(input.as_bytes(), Numbers::Strict).unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn the_order_and_the_spelling_of_the_text_do_not_matter(value in any_json()) {
        let mut text = String::new();
        backwards(&value, &mut text);
        let canonical = canonicalize(text.as_bytes(), Numbers::Strict).unwrap();
        prop_assert_eq!(&canonical, &serde_json::to_string(&value).unwrap(), "{}", text);
    }

    #[test]
    fn canonical_json_agrees_with_serde_and_is_its_own_canonical_form(value in any_json()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        let canonical = canonicalize(&pretty, Numbers::Strict).unwrap();
        // `serde_json`'s maps are sorted, so its compact form is the canonical one.
        prop_assert_eq!(&canonical, &serde_json::to_string(&value).unwrap());
        prop_assert_eq!(&canonicalize(canonical.as_bytes(), Numbers::Strict).unwrap(), &canonical);
        prop_assert_eq!(&canonicalize(canonical.as_bytes(), Numbers::Lax).unwrap(), &canonical);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _: Option<_> = canonicalize(&bytes, Numbers::Strict).ok();
        let _: Option<_> = canonicalize(&bytes, Numbers::Lax).ok();
    }

    #[test]
    fn what_serde_refuses_is_refused(text in r#"[\[\]{}",:0-9a-fn\\u.eE+\- ]{0,24}"#) {
        if let Ok(canonical) = canonicalize(text.as_bytes(), Numbers::Lax) {
            prop_assert!(serde_json::from_str::<Box<serde_json::value::RawValue>>(&text).is_ok(), "{canonical}");
        }
    }
}
