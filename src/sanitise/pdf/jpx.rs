//! JPEG 2000 within a document: its boxes and the parts of its tiles, stepped over from the first byte to the end.
//!
//! What says how large the picture is, how its colours are coded and what its colours are stays; texts, XML and what
//! programs added go, and nothing may stand behind the end. The packets in a tile are the reader's to decode.
//!
//! Format: ISO/IEC 15444-1, annexes A and I.

/// Largest box beside the picture: a profile, a palette.
const LARGEST_BOX: usize = 8 << 20;

/// Segments of a main header that say how the picture is coded; a comment (0x64) is none.
const SEGMENTS: &[u8] = &[0x50, 0x51, 0x52, 0x53, 0x55, 0x57, 0x59, 0x5c, 0x5d, 0x5e, 0x5f, 0x60, 0x63];

/// Boxes of a picture's header.
const HEADER: &[&[u8]] = &[b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef", b"res "];

/// The picture without what lies beside it; nothing where it is none.
pub(super) fn checked(data: &[u8], most_pixels: u64) -> Option<Vec<u8>> {
    if data.starts_with(b"\xff\x4f\xff\x51") {
        return codestream(data, most_pixels);
    }
    let (mut out, mut rest, mut has_header) = (Vec::new(), data, false);
    loop {
        let (name, content, behind) = next_box(rest)?;
        match name {
            b"jP  " if out.is_empty() && content == b"\r\n\x87\n" => push(&mut out, name, content)?,
            _ if out.is_empty() => return None,
            b"ftyp" if content.len() <= 128 => push(&mut out, name, content)?,
            b"jp2h" if !has_header => {
                has_header = true;
                let (mut kept, mut inner) = (Vec::new(), content);
                while !inner.is_empty() {
                    let (name, content, behind) = next_box(inner)?;
                    if HEADER.contains(&name.as_slice()) && content.len() <= LARGEST_BOX {
                        push(&mut kept, name, content)?;
                    }
                    inner = behind;
                }
                push(&mut out, name, &kept)?;
            }
            b"jp2c" if has_header => {
                push(&mut out, name, &codestream(content, most_pixels)?)?;
                return Some(out);
            }
            _ => {}
        }
        rest = behind;
    }
}

/// How many points across and down a picture has.
pub(super) fn size(data: &[u8]) -> Option<(u32, u32)> {
    let at = memchr::memmem::find(data, b"\xff\x4f\xff\x51")?;
    let of =
        |end: usize, begin: usize| Some(number(data, at + end)?.saturating_sub(number(data, at + begin)?));
    Some((of(8, 16)?, of(12, 20)?))
}

fn push(out: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) -> Option<()> {
    out.extend(u32::try_from(content.len() + 8).ok()?.to_be_bytes());
    out.extend(name);
    out.extend(content);
    Some(())
}

/// A box's name and content, and what follows it.
fn next_box(rest: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (length, name) = (number(rest, 0)?, rest.get(4..8)?.try_into().ok()?);
    let (begin, end) = match length {
        0 => (8, rest.len()),
        1 => (16, usize::try_from(u64::from_be_bytes(rest.get(8..16)?.try_into().ok()?)).ok()?),
        length => (8, usize::try_from(length).ok()?),
    };
    Some((name, rest.get(begin..end)?, &rest[end..]))
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn codestream(data: &[u8], most_pixels: u64) -> Option<Vec<u8>> {
    let mut out = data.strip_prefix(b"\xff\x4f").map(|_| vec![0xff, 0x4f])?;
    let (mut at, mut tiles) = (2, 0_u32);
    loop {
        match data.get(at..at + 2) {
            Some([0xff, 0x90]) => {
                let length = usize::try_from(number(data, at + 6)?).ok()?;
                let end = match length {
                    // To the end of the picture, which is the last marker that says so.
                    0 => {
                        memchr::memmem::rfind(data, b"\xff\xd9").filter(|end| *end > at).unwrap_or(data.len())
                    }
                    length => at.checked_add(length)?.min(data.len()),
                };
                (end >= at + 14).then_some(())?;
                tiles += 1;
                out.extend(&data[at..end]);
                at = end;
            }
            // What stands here is no part of the picture, whatever it is.
            _ if tiles > 0 => {
                out.extend(b"\xff\xd9");
                return Some(out);
            }
            Some([0xff, segment]) => {
                let length = usize::from(u16::from_be_bytes([*data.get(at + 2)?, *data.get(at + 3)?]));
                let whole = data.get(at..at + 2 + length).filter(|_| length >= 2)?;
                if *segment == 0x51 {
                    is_small(whole, most_pixels)?;
                }
                if SEGMENTS.contains(segment) {
                    out.extend(whole);
                } else if *segment != 0x64 {
                    return None;
                }
                at += whole.len();
            }
            _ => return None,
        }
    }
}

/// Whether a size is within the bounds: of the grid less what lies before the picture.
fn is_small(segment: &[u8], most_pixels: u64) -> Option<()> {
    let side = |at: usize| number(segment, at)?.checked_sub(number(segment, at + 8)?);
    let pixels = u64::from(side(6)?).checked_mul(u64::from(side(10)?))?;
    (pixels > 0 && pixels <= most_pixels).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of one tile, with a comment before it.
    fn picture(tile: &[u8]) -> Vec<u8> {
        let size = [1, 1, 0, 0, 1, 1, 0, 0].map(u32::to_be_bytes).concat();
        let size = [&[0xff, 0x51, 0, 41, 0, 0][..], &size, &[0, 1, 7, 1, 1]].concat();
        let part = u32::try_from(14 + tile.len()).unwrap_or(0).to_be_bytes();
        let part = [&[0xff, 0x90, 0, 10, 0, 0][..], &part, &[0, 1, 0xff, 0x93], tile].concat();
        [&[0xff, 0x4f][..], &size, b"\xff\x64\0\x0a\0\x01GPS 36", &part, b"\xff\xd9"].concat()
    }

    #[test]
    fn a_picture_stays_and_what_lies_beside_it_goes() {
        let bare = checked(&picture(b"tile"), 9).unwrap_or_default();
        assert!(bare.ends_with(b"tile\xff\xd9"));
        assert!(memchr::memmem::find(&bare, b"GPS").is_none());
        assert_eq!(checked(&bare, 9).as_ref(), Some(&bare));
        assert_eq!(checked(&[&picture(b"tile")[..], b"Rar!"].concat(), 9).as_ref(), Some(&bare));
        assert_eq!(checked(&picture(b"tile"), 0), None);
        assert_eq!(checked(b"\xff\x4f\xff\x51 no picture", 9), None);

        let mut boxes = Vec::new();
        let header = [b"\0\0\0\x0cihdr....".as_slice(), b"\0\0\0\x0axml ab"].concat();
        for (name, content) in [
            (b"jP  ", &b"\r\n\x87\n"[..]),
            (b"ftyp", b"jp2 "),
            (b"uuid", b"where it was taken"),
            (b"jp2h", &header),
            (b"jp2c", &picture(b"tile")),
        ] {
            push(&mut boxes, name, content);
        }
        let kept = checked(&[&boxes[..], b"\0\0\0\x0cuuidRar!"].concat(), 9).unwrap_or_default();
        assert!(kept.ends_with(&bare));
        for gone in [&b"taken"[..], b"xml ", b"Rar!"] {
            assert!(memchr::memmem::find(&kept, gone).is_none(), "{gone:?}");
        }
    }
}
