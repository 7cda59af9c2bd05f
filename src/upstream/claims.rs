//! Reading claims leniently: what is of another type is not there.

use serde_json::{Map, Value};

/// A claim that is a text.
pub(crate) fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// A claim that is a time, in seconds since 1970; fractions are cut off.
pub(crate) fn seconds(claims: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = claims.get(name)?;
    let whole = value.as_u64();
    // Beyond what a number holds exactly no time is meant.
    whole.or_else(|| {
        let seconds = value.as_f64().filter(|seconds| (0.0..9e15).contains(seconds))?;
        format!("{:.0}", seconds.floor()).parse().ok()
    })
}

/// A claim that is a text or a list of texts, of which so many are read.
pub(crate) fn texts(claims: &Map<String, Value>, name: &str, most: usize) -> Vec<String> {
    match claims.get(name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => {
            all.iter().take(most).filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
