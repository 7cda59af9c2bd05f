//! Answers of several parts: how files come over federation.
//!
//! The first part is JSON, the second one the file or where it is. Servers differ in what stands before the first boundary,
//! and none is believed: what is read before the file has a bound, and the file ends well only at its boundary.
//!
//! Spec: RFC 2046, <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid>

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use crate::transport::{AnswerBody, TransportError};

/// What may stand before the file: the first part, and the heads of both.
const MOST_BEFORE: usize = 64 << 10;
/// Longest boundary.
const LONGEST_BOUNDARY: usize = 200;

/// The file's part: its headers, and its content as it comes.
pub(crate) struct FilePart {
    headers: Vec<(String, String)>,
    pub(crate) content: AnswerBody,
}

impl FilePart {
    /// A header of the part, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The boundary that a content type names; none if it is not one of several parts.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/")) {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (1..=LONGEST_BOUNDARY).contains(&value.len()).then(|| value.to_owned())
}

/// What comes, with what was read of it and not used.
struct Reader {
    body: AnswerBody,
    held: BytesMut,
    /// What ends a part, with the line's end before it.
    delimiter: Vec<u8>,
}

impl Reader {
    /// Reads more; whether there was more.
    async fn more(&mut self) -> Result<bool, TransportError> {
        match self.body.next().await {
            Some(part) => {
                self.held.extend_from_slice(&part?);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Takes everything up to what is sought, and that.
    async fn take_until(&mut self, sought: &[u8], left: &mut usize) -> Result<BytesMut, TransportError> {
        let mut looked_at = 0;
        loop {
            if let Some(at) = find(&self.held[looked_at..], sought) {
                let mut taken = self.held.split_to(looked_at + at + sought.len());
                *left = left.checked_sub(taken.len()).ok_or_else(too_much)?;
                taken.truncate(taken.len() - sought.len());
                return Ok(taken);
            }
            if self.held.len() > *left {
                return Err(too_much());
            }
            looked_at = self.held.len().saturating_sub(sought.len() - 1);
            if !self.more().await? {
                return Err(broken("it ends before its parts do"));
            }
        }
    }
}

fn broken(why: &str) -> TransportError {
    TransportError::Broken(format!("the answer in parts is none: {why}"))
}

fn too_much() -> TransportError {
    broken("too much stands before the file")
}

fn find(held: &[u8], sought: &[u8]) -> Option<usize> {
    let first = *sought.first()?;
    let mut from = 0;
    while let Some(at) = held[from..].iter().position(|byte| *byte == first) {
        let at = from + at;
        if held.len() - at < sought.len() {
            return None;
        }
        if held[at..].starts_with(sought) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Reads up to the file's content.
pub(crate) async fn file_part(body: AnswerBody, boundary: &str) -> Result<FilePart, TransportError> {
    // Where nothing stands before the first boundary, its line's end is not sent.
    let held = BytesMut::from(&b"\r\n"[..]);
    let mut reader = Reader { body, held, delimiter: format!("\r\n--{boundary}").into_bytes() };
    let mut left = MOST_BEFORE;
    let delimiter = reader.delimiter.clone();
    // What stands before the first part, then that part.
    reader.take_until(&delimiter, &mut left).await?;
    read_head(&mut reader, &mut left).await?;
    reader.take_until(&delimiter, &mut left).await?;
    let headers = read_head(&mut reader, &mut left).await?;

    let content = stream::try_unfold(Some(reader), async |reader| {
        let Some(mut reader) = reader else { return Ok(None) };
        loop {
            if let Some(at) = find(&reader.held, &reader.delimiter) {
                let last = reader.held.split_to(at).freeze();
                return Ok(Some((last, None)));
            }
            // The end of what is held may begin the boundary.
            let sure = reader.held.len().saturating_sub(reader.delimiter.len() - 1);
            if sure > 0 {
                let part: Bytes = reader.held.split_to(sure).freeze();
                return Ok(Some((part, Some(reader))));
            }
            if !reader.more().await? {
                return Err(broken("the file has no end"));
            }
        }
    });
    Ok(FilePart { headers, content: content.boxed() })
}

/// The headers of a part, behind its boundary.
async fn read_head(reader: &mut Reader, left: &mut usize) -> Result<Vec<(String, String)>, TransportError> {
    let rest_of_line = reader.take_until(b"\r\n", left).await?;
    if rest_of_line.starts_with(b"--") {
        return Err(broken("it has no part with a file"));
    }
    let mut headers = Vec::new();
    loop {
        let line = reader.take_until(b"\r\n", left).await?;
        if line.is_empty() {
            return Ok(headers);
        }
        // A line that is none is passed over.
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::TryStreamExt;

    use super::*;

    fn cut(text: &[u8], size: usize) -> AnswerBody {
        let parts: Vec<_> = text.chunks(size).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        stream::iter(parts).boxed()
    }

    async fn read(text: &[u8], size: usize) -> Result<(Option<String>, Vec<u8>), TransportError> {
        let part = file_part(cut(text, size), "XX").await?;
        let kind = part.header("content-type").map(str::to_owned);
        Ok((kind, part.content.try_collect::<Vec<Bytes>>().await?.concat()))
    }

    #[tokio::test]
    async fn a_file_is_found_whatever_stands_before_it_and_however_it_is_cut() {
        let parts = "--XX\r\nContent-Type: application/json\r\n\r\n{}\r\n--XX\r\ncontent-TYPE :image/png\r\nOdd\r\n\r\na\r\n--X\r\n\r\nb\r\n--XX--";
        let bare = "--XX \r\n\r\n{\"x\":[]}\r\n--XX\r\n\r\n\r\n--XX--\r\nafter";
        for (text, kind, content) in [
            (parts.to_owned(), Some("image/png"), "a\r\n--X\r\n\r\nb"),
            (format!("\r\n{parts}"), Some("image/png"), "a\r\n--X\r\n\r\nb"),
            (format!("preamble\r\n{parts}\r\n"), Some("image/png"), "a\r\n--X\r\n\r\nb"),
            (bare.to_owned(), None, ""),
        ] {
            for size in [1, 2, 3, 7, 1_000] {
                let (found, bytes) = read(text.as_bytes(), size).await.unwrap();
                assert_eq!((found.as_deref(), &bytes[..]), (kind, content.as_bytes()), "{text} in {size}");
            }
        }
    }

    #[tokio::test]
    async fn what_has_no_file_or_no_end_is_an_error() {
        let whole = "--XX\r\n\r\n{}\r\n--XX\r\n\r\nfile\r\n--XX--";
        for length in 0..whole.len() - 2 {
            assert!(read(&whole.as_bytes()[..length], 5).await.is_err(), "{length}");
        }
        assert!(read(b"--XX\r\n\r\n{}\r\n--XX--", 5).await.is_err());
        let endless = format!("--XX\r\n\r\n{}", "x".repeat(100_000));
        assert!(read(endless.as_bytes(), 4_096).await.is_err());
        let headers = format!("--XX\r\n{}\r\n{whole}", "a: b\r\n".repeat(20_000));
        assert!(read(headers.as_bytes(), 4_096).await.is_err());
    }

    #[test]
    fn a_boundary_is_read_with_and_without_quotes() {
        assert_eq!(boundary("multipart/mixed; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(boundary("Multipart/Mixed;charset=x; Boundary=\"a b\"").as_deref(), Some("a b"));
        for bad in ["image/png", "multipart/mixed", "multipart/mixed; boundary=", "text/plain; boundary=x"] {
            assert_eq!(boundary(bad), None, "{bad}");
        }
    }
}
