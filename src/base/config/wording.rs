//! What the reader of TOML says, in words for people.

use crate::{language::japanese, tr};

/// The reader's phrases for what was wanted, in Japanese and in English.
const WANTED: &[(&str, &str, &str)] = &[
    ("u8", "0 から 255 までの整数", "a whole number from 0 to 255"),
    ("u16", "0 から 65535 までの整数", "a whole number from 0 to 65535"),
    ("u32", "0 から 4294967295 までの整数", "a whole number from 0 to 4294967295"),
    ("u64", "0 以上の整数", "a whole number of 0 or more"),
    ("usize", "0 以上の整数", "a whole number of 0 or more"),
    ("f64", "数", "a number"),
    ("a boolean", "true か false", "true or false"),
    ("a string", "引用符で囲んだ文字列", "a text in quotation marks"),
    ("path string", "引用符で囲んだパス", "a path in quotation marks"),
    ("a sequence", "[ … ] で囲んだリスト", "a list: [ … ]"),
    ("a map", "表", "a table"),
    (
        "socket address",
        "\"127.0.0.1:8008\" のようなアドレスとポート",
        "an address with a port such as \"127.0.0.1:8008\"",
    ),
];

/// What a reader of types says of a value, said for people: `invalid type: string "x", expected u32`.
pub(super) fn in_plain_words(message: &str) -> String {
    if let Some(name) = message.strip_prefix("missing field ") {
        return tr!("キー {name} がありません", "the key {name} is missing");
    }
    if let Some((unknown, known)) =
        message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        let known = known.strip_prefix("one of ").unwrap_or(known);
        let known = if japanese() { known.replace("` or `", "`、`") } else { known.to_owned() };
        let several = if known.contains(", ") { "one of these: " } else { "" };
        return tr!(
            "{unknown} は選べません。選べるもの: {known}",
            "{several}{known} is needed, not {unknown}"
        );
    }
    // The library's phrase for what is no address, whatever was wanted beside it.
    let address = message.strip_prefix("invalid ").and_then(|rest| rest.strip_suffix(" syntax"));
    if let Some(wanted) = address.filter(|wanted| WANTED.iter().any(|(known, ..)| known == wanted)) {
        let wanted = wanted_in_our_words(wanted);
        return tr!("{wanted}が必要です", "{wanted} is needed");
    }
    let kinds = ["invalid type: ", "invalid value: "];
    let kind = kinds.iter().find_map(|kind| message.strip_prefix(kind));
    let Some((found, wanted)) = kind.and_then(|rest| rest.rsplit_once(", expected ")) else {
        // The words of the type itself: a size, a server name.
        return tr!("この値は使えません: {message}", "{message}");
    };
    let (found, wanted) = (in_our_words(found), wanted_in_our_words(wanted));
    tr!("{wanted}が必要です。{found}は使えません", "{wanted} is needed, not {found}")
}

fn wanted_in_our_words(phrase: &str) -> String {
    match WANTED.iter().find(|(known, ..)| *known == phrase) {
        Some((_, ja, en)) => if japanese() { ja } else { en }.to_string(),
        None if phrase.starts_with("struct ") => tr!("表", "a table"),
        None => tr!("{phrase} ", "{phrase}"),
    }
}

/// What stood there.
fn in_our_words(found: &str) -> String {
    let found = found.replace('`', "");
    let words = [
        ("string ", "文字列 ", "the text "),
        ("integer ", "数 ", "the number "),
        ("floating point ", "数 ", "the number "),
        ("boolean ", "", ""),
    ];
    if let Some((value, ja, en)) =
        words.iter().find_map(|(kind, ja, en)| found.strip_prefix(kind).map(|value| (value, ja, en)))
    {
        return tr!("{ja}{value} ", "{en}{value}");
    }
    match found.as_str() {
        "map" => tr!("表", "a table"),
        "sequence" => tr!("リスト", "a list"),
        other => tr!("{other} ", "{other}"),
    }
}
