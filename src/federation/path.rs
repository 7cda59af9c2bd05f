//! Request targets: path segments and query values, percent-encoded.

/// A path below `/_matrix` and its query.
pub(crate) struct Path(String);

impl Path {
    /// `/_matrix/federation/<version>`
    pub(crate) fn federation(version: &str) -> Self {
        Self(format!("/_matrix/federation/{version}"))
    }

    /// `/_matrix/key/v2`
    pub(crate) fn key() -> Self {
        Self("/_matrix/key/v2".to_owned())
    }

    /// `/_matrix/media/<version>`
    pub(crate) fn media(version: &str) -> Self {
        Self(format!("/_matrix/media/{version}"))
    }

    /// Adds a segment.
    pub(crate) fn segment(mut self, segment: impl AsRef<str>) -> Self {
        self.0.push('/');
        encode(segment.as_ref(), &mut self.0);
        self
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        encode(value.as_ref(), &mut self.0);
        self
    }

    /// Path and query as they go into the request line.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything but RFC 3986's unreserved characters is encoded.
fn encode(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_values_are_encoded() {
        let path =
            Path::federation("v1").segment("event").segment("$a/b+c:d").query("v", "é&=").query("w", "~1");
        assert_eq!(path.as_str(), "/_matrix/federation/v1/event/%24a%2Fb%2Bc%3Ad?v=%C3%A9%26%3D&w=~1");
    }
}
