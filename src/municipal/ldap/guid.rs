//! Ids that directories give and never change, as texts.
//!
//! Active Directory tells `objectGUID` as sixteen bytes, of which the first three fields stand with their lowest byte first
//! (MS-DTYP, 2.3.4.2); its tools, and everybody who types one, write the text form, so that is what is kept. OpenLDAP and
//! others tell `entryUUID` as a text (RFC 4530).

/// Longest id, in bytes.
const LONGEST: usize = 128;

/// Whether an attribute tells ids as sixteen bytes.
fn is_binary(attribute: &str) -> bool {
    attribute.eq_ignore_ascii_case("objectGUID") || attribute.eq_ignore_ascii_case("ms-DS-ConsistencyGuid")
}

/// The order in which the bytes are written.
const WRITTEN: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/// An id as it is kept, of the value of its attribute; nothing where that is no id.
pub(crate) fn id(attribute: &str, value: &[u8]) -> Option<String> {
    if is_binary(attribute) {
        let bytes: &[u8; 16] = value.try_into().ok()?;
        let mut text = String::with_capacity(36);
        for (place, from) in WRITTEN.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{:02x}", bytes.get(*from)?));
        }
        return Some(text);
    }
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_id = (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
    is_id.then(|| text.to_ascii_lowercase())
}

/// The bytes by which a directory finds an id that is kept.
fn value(attribute: &str, id: &str) -> Option<Vec<u8>> {
    if !is_binary(attribute) {
        return Some(id.as_bytes().to_vec());
    }
    let digits: Vec<u8> = id.bytes().filter(|byte| *byte != b'-').collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let written: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    let written = written.filter(|written| written.len() == WRITTEN.len() && rest.is_empty())?;
    let mut bytes = vec![0; WRITTEN.len()];
    for (byte, place) in written.iter().zip(WRITTEN) {
        *bytes.get_mut(place)? = *byte;
    }
    Some(bytes)
}

/// A filter for who has one of these ids. Every byte is escaped (RFC 4515, section 3), so nothing in an id is taken for a
/// part of the filter.
pub(crate) fn filter(attribute: &str, ids: &[&str]) -> String {
    let mut filter = String::from("(|");
    for bytes in ids.iter().filter_map(|id| value(attribute, id)) {
        filter.push_str(&format!("({attribute}="));
        bytes.iter().for_each(|byte| filter.push_str(&format!("\\{byte:02x}")));
        filter.push(')');
    }
    filter.push(')');
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 16] =
        [0xd3, 0xa3, 0xda, 0x69, 0x0f, 0xe1, 0x1f, 0x42, 0x9c, 0xcc, 0xb1, 0xc5, 0x86, 0x44, 0x4e, 0x14];

    /// L13.
    #[test]
    fn an_object_guid_is_written_with_its_first_three_fields_turned_and_looked_for_by_its_bytes() {
        let text = "69daa3d3-e10f-421f-9ccc-b1c586444e14";
        assert_eq!(id("objectGUID", &BYTES).as_deref(), Some(text));
        assert_eq!(id("objectguid", &BYTES).as_deref(), Some(text));
        assert_eq!(
            filter("objectGUID", &[text]),
            r"(|(objectGUID=\d3\a3\da\69\0f\e1\1f\42\9c\cc\b1\c5\86\44\4e\14))"
        );
        assert!(ldap3::parse_filter(filter("objectGUID", &[text])).is_ok());
    }

    #[test]
    fn an_entry_uuid_is_a_text_and_nothing_else_is_an_id() {
        let uuid = "5AF9B7E8-2b3c-1038-8f5d-c1e1d7a0b0aa";
        assert_eq!(id("entryUUID", uuid.as_bytes()), Some(uuid.to_ascii_lowercase()));
        assert_eq!(filter("uid", &["a)(b"]), r"(|(uid=\61\29\28\62))");
        for (attribute, wrong) in [
            ("objectGUID", &BYTES[1..]),
            ("entryUUID", b"" as &[u8]),
            ("entryUUID", b"a\nb"),
            ("entryUUID", &BYTES),
        ] {
            assert_eq!(id(attribute, wrong), None);
        }
        assert_eq!(id("entryUUID", &[b'a'; 200]), None);
        assert_eq!(filter("objectGUID", &["no guid"]), "(|)");
    }

    proptest::proptest! {
        #[test]
        fn every_guid_is_found_by_the_bytes_that_it_came_as(bytes: [u8; 16]) {
            let text = id("objectGUID", &bytes).unwrap_or_default();
            proptest::prop_assert_eq!(value("objectGUID", &text), Some(bytes.to_vec()));
        }
    }
}
