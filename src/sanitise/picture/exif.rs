//! EXIF: how the camera was held, how large its picture is meant, when and where.

use exif::{In, Reader, Tag, Value};

use crate::verdict::Photo;

/// What of EXIF data is used.
#[derive(Default)]
pub(super) struct Told {
    /// 1 to 8; 0 where nothing is told.
    pub(super) orientation: u8,
    /// Dots across and down, in each inch or (true) each centimetre.
    pub(super) density: Option<(bool, u16, u16)>,
    pub(super) photo: Option<Photo>,
}

/// Reads raw EXIF data (a TIFF structure). What cannot be read tells nothing.
pub(super) fn read(raw: Vec<u8>) -> Told {
    let raw = match raw.strip_prefix(b"Exif\0\0") {
        Some(rest) => rest.to_vec(),
        None => raw,
    };
    // Cameras and editors write parts that lead nowhere: what else there is counts, above all how the picture is turned.
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    let read = reader.read_raw(raw).or_else(|error| error.distill_partial_result(drop));
    let Ok(exif) = read else { return Told::default() };
    let field = |tag| exif.get_field(tag, In::PRIMARY);
    let text = |tag| match &field(tag)?.value {
        Value::Ascii(lines) => lines.first().and_then(|line| String::from_utf8(line.clone()).ok()),
        _ => None,
    };
    let orientation = field(Tag::Orientation).and_then(|field| field.value.get_uint(0));
    let dots = |tag| match &field(tag)?.value {
        // More than sixteen bits have no place in a JPEG.
        Value::Rational(parts) => u16::try_from(parts.first()?.num.checked_div(parts.first()?.denom)?).ok(),
        _ => None,
    };
    let is_metric = field(Tag::ResolutionUnit).and_then(|field| field.value.get_uint(0)) == Some(3);
    let density = dots(Tag::XResolution).zip(dots(Tag::YResolution)).filter(|(x, y)| *x > 0 && *y > 0);
    let degrees = |tag, sign, negative: &str| {
        let Value::Rational(parts) = &field(tag)?.value else { return None };
        let [degrees, minutes, seconds, ..] = parts.as_slice() else { return None };
        let value = degrees.to_f64() + minutes.to_f64() / 60.0 + seconds.to_f64() / 3600.0;
        let value = if text(sign).is_some_and(|sign| sign.starts_with(negative)) { -value } else { value };
        (value.is_finite() && value.abs() <= 180.0).then_some(value)
    };
    let photo = Photo {
        taken: text(Tag::DateTimeOriginal)
            .or_else(|| text(Tag::DateTime))
            .and_then(|taken| moment(&taken, text(Tag::OffsetTimeOriginal).as_deref())),
        latitude: degrees(Tag::GPSLatitude, Tag::GPSLatitudeRef, "S"),
        longitude: degrees(Tag::GPSLongitude, Tag::GPSLongitudeRef, "W"),
    };
    Told {
        orientation: orientation.and_then(|number| u8::try_from(number).ok()).unwrap_or(0),
        density: density.map(|(across, down)| (is_metric, across, down)),
        photo: (photo != Photo::default()).then_some(photo),
    }
}

/// `2026:11:28 05:49:33` as ISO 8601 writes it.
fn moment(taken: &str, offset: Option<&str>) -> Option<String> {
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(letter, wanted)| match wanted {
                b'0' => letter.is_ascii_digit(),
                b'+' => letter == b'+' || letter == b'-',
                _ => letter == wanted,
            })
    };
    let taken = taken.trim_end_matches(['\0', ' ']);
    if !shape(taken, "0000:00:00 00:00:00") {
        return None;
    }
    let (day, hour) = taken.split_once(' ')?;
    let offset = offset.map(str::trim).filter(|offset| shape(offset, "+00:00")).unwrap_or("");
    Some(format!("{}T{hour}{offset}", day.replace(':', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a turn and one entry more, and where the next one is said to be.
    fn data(tag: u16, kind: u16, count: u32, value: u32, next: &[u8]) -> Vec<u8> {
        let entry = |tag: u16, kind: u16, count: u32, value: u32| {
            [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat()
        };
        let head = [&b"II*\0"[..], &8_u32.to_le_bytes(), &2_u16.to_le_bytes()].concat();
        [head, entry(0x112, 3, 1, 6), entry(tag, kind, count, value), next.to_vec()].concat()
    }

    #[test]
    fn a_turn_counts_though_something_else_is_damaged() {
        const GPS: u16 = 0x8825;
        // Its own directory begins where it says, behind all this.
        let gps = |rest: &[u8]| [data(GPS, 4, 1, 38, &[0; 4]), rest.to_vec()].concat();
        for (what, raw) in [
            ("whole", data(GPS, 4, 1, 38, &[0; 4])),
            ("a place beyond the end", data(GPS, 4, 1, 9_999, &[0; 4])),
            ("a text beyond the end", data(0x10f, 2, 40, 9_999, &[0; 4])),
            ("a next directory beyond the end", data(0x10f, 2, 2, 0x41, &9_999_u32.to_le_bytes())),
            ("no next directory at all", data(0x10f, 2, 2, 0x41, &[])),
            ("a count that is cut off", gps(&[1])),
            ("fewer entries than said", gps(&[9, 0, 1, 0])),
            ("a directory after the last one", gps(&[0, 0, 0xff, 0xff, 0xff, 0xff])),
        ] {
            assert_eq!(read(raw).orientation, 6, "{what}");
        }
        assert_eq!(read(b"II*".to_vec()).orientation, 0);
    }

    #[test]
    fn only_a_moment_is_taken_for_one() {
        assert_eq!(
            moment("2026:11:28 05:49:33\0", Some("+09:00")).as_deref(),
            Some("2026-11-28T05:49:33+09:00")
        );
        assert_eq!(moment("2026:11:28 05:49:33", Some("<b>")).as_deref(), Some("2026-11-28T05:49:33"));
        assert_eq!(moment("<script>", None), None);
    }
}
