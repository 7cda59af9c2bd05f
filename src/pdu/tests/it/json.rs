//! Canonical JSON.

use pdu::json::{JsonFault, MAX_NESTING, Numbers, canonicalize, parse};
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
        let error = parse(input, Numbers::Strict).unwrap_err();
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
    assert!(parse(nested(MAX_NESTING).as_bytes(), Numbers::Strict).is_ok());
    for open in ["[", "{\"a\":"] {
        let error = parse(open.repeat(1_000_000).as_bytes(), Numbers::Strict).unwrap_err();
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

proptest! {
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
        let _: Option<_> = parse(&bytes, Numbers::Strict).ok();
        let _: Option<_> = parse(&bytes, Numbers::Lax).ok();
    }

    #[test]
    fn what_serde_refuses_is_refused(text in r#"[\[\]{}",:0-9a-fn\\u.eE+\- ]{0,24}"#) {
        if let Ok(canonical) = canonicalize(text.as_bytes(), Numbers::Lax) {
            prop_assert!(serde_json::from_str::<Box<serde_json::value::RawValue>>(&text).is_ok(), "{canonical}");
        }
    }
}
