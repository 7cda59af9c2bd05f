//! What another server tells as the profile of a user of its own.
//!
//! Clients take a name for a text and show what they get. So what they would misread is left out here, and a profile
//! is no larger than the specification lets it be.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#profiles>

use serde_json::{Map, Value};

/// Largest profile: the sum of all names and values, in bytes.
const MAX_PROFILE_BYTES: usize = 64 * 1024;
/// Longest name of a field, and longest name and picture of a user, in bytes.
const MAX_FIELD_NAME_BYTES: usize = 255;
const MAX_TEXT_BYTES: usize = 1024;

/// The fields that a profile can have; name and picture come before all others.
pub(crate) fn bounded(mut told: Map<String, Value>) -> Map<String, Value> {
    let mut profile = Map::new();
    for field in ["displayname", "avatar_url"] {
        match told.remove(field) {
            Some(Value::String(text)) if text.len() <= MAX_TEXT_BYTES => {
                profile.insert(field.to_owned(), Value::String(text));
            }
            _ => {}
        }
    }
    let mut left = MAX_PROFILE_BYTES;
    for (field, value) in told {
        let size = field.len() + value.to_string().len();
        if field.len() <= MAX_FIELD_NAME_BYTES && size <= left {
            left -= size;
            profile.insert(field, value);
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_from_elsewhere_has_texts_for_name_and_picture_and_a_bound() {
        let told = |json: Value| json.as_object().cloned().unwrap_or_default();
        let odd =
            json!({ "displayname": 5, "avatar_url": {}, "m.tz": "Asia/Tokyo", "fat": "x".repeat(100_000) });
        assert_eq!(bounded(told(odd)), told(json!({ "m.tz": "Asia/Tokyo" })));
        let long = json!({ "displayname": "x".repeat(5_000), "avatar_url": "mxc://a/b" });
        assert_eq!(bounded(told(long)), told(json!({ "avatar_url": "mxc://a/b" })));
        let many: Map<String, Value> =
            (0..10_000).map(|at| (format!("f{at}"), json!("0123456789"))).collect();
        assert!(Value::from(bounded(many)).to_string().len() < 2 * MAX_PROFILE_BYTES);
    }
}
