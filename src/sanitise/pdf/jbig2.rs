//! JBIG2 within a document: its segments, stepped over one by one. Comments go, and nothing may stand behind the last.
//!
//! Format: ITU-T T.88, clause 7.2, embedded as ISO 32000-2, 7.4.7 says.

/// Most segments; a page has some for each kind of letters.
const MOST_SEGMENTS: usize = 65_536;

/// Kinds of segments that are of a picture: symbols, texts, patterns, halftones, pages, regions, tables, stripes.
const KINDS: &[u8] = &[0, 4, 6, 7, 16, 20, 22, 23, 36, 38, 39, 40, 42, 43, 48, 49, 50, 52, 53];

/// Comments, and the end of a file, which a document has no use for.
const LEFT_OUT: &[u8] = &[51, 62];

/// A region whose length its own end tells.
const UNKNOWN_LENGTH: u32 = u32::MAX;

/// The segments alone; nothing where there is none.
pub(super) fn checked(data: &[u8], most_pixels: u64) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), data);
    for _ in 0..MOST_SEGMENTS {
        let Some((kind, length, header)) = header(rest) else { break };
        if length == UNKNOWN_LENGTH {
            (kind == 38).then_some(())?;
            out.extend(rest);
            break;
        }
        let end = usize::try_from(length).ok().and_then(|length| header.checked_add(length))?;
        let Some(segment) = rest.get(..end) else {
            // The last one is cut off: readers show what there is.
            out.extend(rest.iter().filter(|_| KINDS.contains(&kind)));
            break;
        };
        if kind == 48 {
            is_small(&segment[header..], most_pixels)?;
        }
        if KINDS.contains(&kind) {
            out.extend(segment);
        }
        rest = &rest[end..];
    }
    (!out.is_empty()).then_some(out)
}

/// A segment's kind, how long its data are, and how long the header is; nothing where none begins here.
fn header(data: &[u8]) -> Option<(u8, u32, usize)> {
    let number = |at: usize| data.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let own = number(0)?;
    let flags = *data.get(4)?;
    let (count, mut at) = match data.get(5)? >> 5 {
        count @ 0..=4 => (usize::from(count), 6),
        7 => {
            let count = usize::try_from(number(5)? & 0x1fff_ffff).ok()?;
            (count, 9 + (count + 1).div_ceil(8))
        }
        _ => return None,
    };
    let each = match own {
        0..=256 => 1,
        257..=65_536 => 2,
        _ => 4,
    };
    at = count.checked_mul(each)?.checked_add(at)?;
    at += if flags & 0x40 == 0 { 1 } else { 4 };
    let kind = flags & 0x3f;
    let length = number(at)?;
    (KINDS.contains(&kind) || LEFT_OUT.contains(&kind)).then_some((kind, length, at + 4))
}

/// Whether a page is within the bounds; its height may come later. Each point is a bit.
fn is_small(page: &[u8], most_pixels: u64) -> Option<()> {
    let number = |at: usize| page.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let (width, height) = (number(0)?, number(4)?);
    let height = if height == u32::MAX { 1 } else { height };
    (u64::from(width).checked_mul(u64::from(height))? <= most_pixels.saturating_mul(8)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u32, kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap_or(0).to_be_bytes();
        [&number.to_be_bytes()[..], &[kind, 0, 1], &length, data].concat()
    }

    #[test]
    fn segments_stay_and_what_is_none_goes() {
        let page = segment(0, 48, &[&[0, 0, 0, 8, 0, 0, 0, 8][..], &[0; 11]].concat());
        let region = segment(1, 38, b"a region");
        let both = [&page[..], &region].concat();
        assert_eq!(checked(&both, 64).as_ref(), Some(&both));
        let more =
            [&page[..], &segment(2, 62, b"a comment"), &region, b"Rar!\x1a\x07\0 and the like"].concat();
        assert_eq!(checked(&more, 64).as_ref(), Some(&both));
        assert_eq!(checked(&both, 7), None);
        assert_eq!(checked(b"no segment at all", 64), None);
        assert_eq!(checked(&both[..both.len() - 1], 64).as_deref(), Some(&both[..both.len() - 1]));
    }
}
