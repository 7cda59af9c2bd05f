//! Distinguished names, which are parsed before they are compared (RFC 4514).
//!
//! Nothing here is an id: names change as people move and marry. They tell an administrator whom is meant, and that somebody
//! has moved.

/// A name, from the entry itself up. Values are folded as most attributes of names are compared: without case, with single
/// spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dn(Vec<Rdn>);

/// One step of a name: attributes with their values, sorted, since they are a set.
type Rdn = Vec<(String, Vec<u8>)>;

impl Dn {
    /// Reads a name; nothing where it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self(Vec::new()));
        }
        let (mut steps, mut step) = (Vec::new(), Rdn::new());
        for (part, ends_with) in parts(text)? {
            let (name, value) = part.split_once('=')?;
            step.push((name.trim().to_ascii_lowercase(), folded(&unescaped(value.trim_start())?)));
            if ends_with != Some('+') {
                step.sort();
                steps.push(std::mem::take(&mut step));
            }
        }
        Some(Self(steps))
    }

    /// Whether it names something.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of that below which it stands.
    fn parent(&self) -> &[Rdn] {
        self.0.get(1..).unwrap_or_default()
    }
}

/// Whether two texts name the same. What cannot be read is the same as itself alone.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one == other || Dn::parse(one).zip(Dn::parse(other)).is_some_and(|(one, other)| one == other)
}

/// A name as it is looked for among others. What cannot be read is the same as itself alone.
pub(crate) fn key(text: &str) -> Dn {
    Dn::parse(text).unwrap_or_else(|| Dn(vec![vec![(String::new(), text.as_bytes().to_vec())]]))
}

/// The domain that a name is of: its last steps, as far as they are `dc`.
pub(crate) fn domain(text: &str) -> Dn {
    let Dn(steps) = key(text);
    let is_of_domain = |step: &Rdn| step.iter().all(|(name, _)| name == "dc");
    let begins = steps.iter().rposition(|step| !is_of_domain(step)).map_or(0, |last| last + 1);
    Dn(steps.into_iter().skip(begins).collect())
}

/// Whether an entry is named by this value of an attribute.
pub(crate) fn is_named_by(dn: &str, attribute: &str, value: &str) -> bool {
    let naming = (attribute.to_ascii_lowercase(), folded(value.as_bytes()));
    Dn::parse(dn).is_some_and(|dn| dn.0.first().is_some_and(|step| step.contains(&naming)))
}

/// Whether two names stand below different ones.
pub(crate) fn has_moved(before: &str, after: &str) -> bool {
    match (Dn::parse(before), Dn::parse(after)) {
        (Some(before), Some(after)) => before.parent() != after.parent(),
        _ => before != after,
    }
}

/// The parts between `,` or `+` that no `\` stands before, with what ends each.
fn parts(text: &str) -> Option<Vec<(&str, Option<char>)>> {
    let (mut parts, mut begin, mut is_escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            // RFC 1779 and old directories part steps with `;`.
            ',' | '+' | ';' => {
                parts.push((text.get(begin..at)?, Some(letter)));
                begin = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push((text.get(begin..)?, None));
    Some(parts)
}

/// A value without its escapes: `\,` and `\2C` are a comma, `#0c0141` is what these bytes encode.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix('#') {
        // What it encodes is not looked at: the same bytes are the same value.
        return Some([b"#".as_slice(), digits.trim_end().to_ascii_lowercase().as_bytes()].concat());
    }
    let (mut value, mut bytes, mut kept) = (Vec::new(), text.bytes(), 0);
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            value.push(byte);
            if byte != b' ' {
                kept = value.len();
            }
            continue;
        }
        let first = bytes.next()?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match digit(first) {
            Some(high) => value.push(high << 4 | digit(bytes.next()?)?),
            None => value.push(first),
        }
        kept = value.len();
    }
    // Spaces at the end are no part of the value unless they are escaped.
    value.truncate(kept);
    Some(value)
}

/// A value as it is compared.
fn folded(value: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(value) {
        Ok(text) => text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().into_bytes(),
        Err(_) => value.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L14.
    #[test]
    fn a_name_is_compared_after_it_is_parsed_and_never_cut_at_an_escaped_comma() {
        let plain = r"CN=山田\, 花子,OU=総務課,DC=city,DC=test";
        assert!(is_same(plain, r"cn=山田\2C 花子, ou=総務課, dc=CITY, dc=test"));
        assert!(is_same(plain, r"CN=\E5\B1\B1\E7\94\B0\2c 花子,OU=総務課,DC=city,DC=test"));
        assert!(!is_same(plain, r"CN=山田,OU=花子,OU=総務課,DC=city,DC=test"));
        assert_eq!(Dn::parse(plain).map(|dn| dn.0.len()), Some(4));
        // Another entry of the same unit has not moved; one of another unit has.
        assert!(!has_moved(plain, r"CN=佐藤\, 花子,OU=総務課,DC=city,DC=test"));
        assert!(has_moved(plain, r"CN=山田\, 花子,OU=防災課,DC=city,DC=test"));
        assert!(!has_moved(plain, r"CN=山田\2C 花子,OU=総務課,DC=city,DC=test"));
    }

    #[test]
    fn steps_of_several_attributes_are_sets_and_escapes_of_all_kinds_are_read() {
        assert!(is_same("cn=a+uid=b,dc=x", "UID=b+CN=A,dc=x"));
        assert!(is_same(r"cn=a\+b,dc=x", r"cn=a\2bb,dc=x"));
        assert!(is_same(r"cn=a\\b", r"cn=a\5Cb"));
        assert!(is_same("cn=#0C0141", "cn=#0c0141"));
        assert!(is_same(r"cn=a\ ", r"cn=a\20"));
        assert!(is_same("cn=a  b", "cn=A b"));
        for wrong in ["cn", r"cn=\", r"cn=\4", r"cn=\4g", ",", "cn=a,,dc=x"] {
            assert!(Dn::parse(wrong).is_none(), "{wrong}");
            assert!(is_same(wrong, wrong));
        }
        assert!(Dn::parse("").is_some_and(|dn| dn.is_empty()));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused(text: String) {
            proptest::prop_assert!(is_same(&text, &text));
            has_moved(&text, "dc=x");
        }
    }
}
