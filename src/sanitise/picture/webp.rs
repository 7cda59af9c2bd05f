//! WebP: written anew without loss, animations included.

use std::io::Cursor;

use image::DynamicImage;
use image_webp::{ColorType, LoopCount, WebPDecoder, WebPEncoder};

use super::{Applied, Extras, check};
use crate::{
    settings::Limits,
    verdict::{Made, Part, Parts, Reason, Refusal, malformed, note},
};

/// `RIFF`, size, `WEBP`.
const HEAD: usize = 12;

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    let length = u32::from_le_bytes([file[4], file[5], file[6], file[7]]);
    // Chunks are padded to even lengths.
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8 + length % 2));
    let end = end.map_or(file.len(), |end| end.min(file.len()));
    let mut decoder = WebPDecoder::new(Cursor::new(&file[..end])).map_err(malformed)?;
    let frames = if decoder.is_animated() { decoder.num_frames() } else { 1 };
    if frames > limits.frames {
        return Err(Refusal::new(Reason::TooManyPixels, format!("{frames} frames")));
    }
    check(decoder.dimensions(), u64::from(frames), limits)?;
    decoder.set_memory_limit(usize::try_from(limits.pixels.saturating_mul(4)).unwrap_or(usize::MAX));
    let trailing = file.len() - end;
    if decoder.is_animated() {
        let others =
            [decoder.exif_metadata(), decoder.xmp_metadata()].iter().any(|told| !matches!(told, Ok(None)));
        let mut removed = Vec::new();
        if others {
            note(&mut removed, Part::Metadata, "");
        }
        if trailing > 0 {
            note(&mut removed, Part::TrailingData, format!("{trailing} bytes"));
        }
        return Ok(Parts::rebuilt(animation(&mut decoder, &file[..end], frames, limits)?, removed));
    }
    let others = decoder.xmp_metadata().ok().flatten().is_some();
    let extras = Extras {
        exif: decoder.exif_metadata().ok().flatten(),
        icc: decoder.icc_profile().ok().flatten(),
        others,
        trailing,
    };
    let (width, height) = decoder.dimensions();
    let pixels = read(&mut decoder, |decoder, pixels| decoder.read_image(pixels))?;
    let picture = match decoder.has_alpha() {
        true => image::RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
        false => image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    let mut picture = picture.ok_or_else(|| malformed("fewer pixels than told"))?;
    let Applied { removed, photo, .. } = extras.apply(&mut picture);
    let colour = if picture.color().has_alpha() { ColorType::Rgba8 } else { ColorType::Rgb8 };
    let mut bytes = Vec::new();
    let encoder = WebPEncoder::new(&mut bytes);
    encoder.encode(picture.as_bytes(), picture.width(), picture.height(), colour).map_err(malformed)?;
    Ok(Parts { photo, ..Parts::rebuilt(bytes, removed) })
}

type Decoder<'a> = WebPDecoder<Cursor<&'a [u8]>>;

fn read<'a, T>(
    decoder: &mut Decoder<'a>,
    into: impl FnOnce(&mut Decoder<'a>, &mut [u8]) -> Result<T, image_webp::DecodingError>,
) -> Result<Vec<u8>, Refusal> {
    let size = decoder.output_buffer_size().ok_or_else(|| malformed("too large"))?;
    let mut pixels = vec![0; size];
    into(decoder, &mut pixels).map_err(malformed)?;
    Ok(pixels)
}

/// Bytes of a frame before its picture: place, size, time, and how it is laid over what is there.
const FRAME: usize = 16;

/// Of these, whether it replaces what is there, and whether its place is cleared before the next.
const LAID: u8 = 0b11;

/// All frames as they are, each in its place and as large as it is.
///
/// Source: <https://developers.google.com/speed/webp/docs/riff_container>
fn animation(
    decoder: &mut Decoder<'_>,
    file: &[u8],
    frames: u32,
    limits: &Limits,
) -> Result<Vec<u8>, Refusal> {
    let (width, height) = decoder.dimensions();
    let three = |number: u32| number.to_le_bytes()[..3].to_vec();
    let canvas = [three(width - 1), three(height - 1)].concat();

    let mut body = Vec::from(*b"WEBP");
    let flags = 0b10 | if decoder.has_alpha() { 0b1_0000 } else { 0 };
    push_chunk(&mut body, b"VP8X", &[&[flags, 0, 0, 0], canvas.as_slice()].concat());
    let loops = match decoder.loop_count() {
        LoopCount::Forever => 0,
        LoopCount::Times(times) => times.get(),
    };
    push_chunk(&mut body, b"ANIM", &[&[0; 4], loops.to_le_bytes().as_slice()].concat());
    let mut rest = file.get(HEAD..).unwrap_or_default();
    let mut written = 0;
    while written < frames {
        let (name, data) = next_chunk(&mut rest).ok_or_else(|| malformed("a frame is missing"))?;
        if name != b"ANMF" {
            continue;
        }
        written += 1;
        let (head, picture) = data.split_at_checked(FRAME).ok_or_else(|| malformed("a frame is cut off"))?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]);
        let (across, down) = (number(6) + 1, number(9) + 1);
        if 2 * number(0) + across > width || 2 * number(3) + down > height {
            return Err(malformed("a frame beyond the picture"));
        }
        let still = still(picture, (across, down), limits)?;
        // What is reserved says nothing.
        let head = [&head[..FRAME - 1], &[head[FRAME - 1] & LAID]].concat();
        push_chunk(&mut body, b"ANMF", &[head.as_slice(), still.get(HEAD..).unwrap_or_default()].concat());
    }
    let size = u32::try_from(body.len()).map_err(malformed)?;
    Ok([b"RIFF", size.to_le_bytes().as_slice(), &body].concat())
}

/// A frame's picture as a file of its own, without loss.
fn still(picture: &[u8], (width, height): (u32, u32), limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::from(*b"WEBP");
    if picture.starts_with(b"ALPH") {
        let three = |number: u32| number.to_le_bytes()[..3].to_vec();
        push_chunk(
            &mut body,
            b"VP8X",
            &[vec![0b1_0000, 0, 0, 0], three(width - 1), three(height - 1)].concat(),
        );
    }
    body.extend(picture);
    let size = u32::try_from(body.len()).map_err(malformed)?;
    let file = [b"RIFF", size.to_le_bytes().as_slice(), &body].concat();
    let mut decoder = WebPDecoder::new(Cursor::new(file.as_slice())).map_err(malformed)?;
    if decoder.dimensions() != (width, height) || decoder.is_animated() {
        return Err(malformed("a frame of another size"));
    }
    decoder.set_memory_limit(usize::try_from(limits.pixels.saturating_mul(4)).unwrap_or(usize::MAX));
    let pixels = read(&mut decoder, |decoder, pixels| decoder.read_image(pixels))?;
    let colour = if decoder.has_alpha() { ColorType::Rgba8 } else { ColorType::Rgb8 };
    let mut still = Vec::new();
    WebPEncoder::new(&mut still).encode(&pixels, width, height, colour).map_err(malformed)?;
    Ok(still)
}

/// The next chunk's name and data; chunks are padded to even lengths.
fn next_chunk<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (head, behind) = rest.split_at_checked(8)?;
    let length = usize::try_from(u32::from_le_bytes([head[4], head[5], head[6], head[7]])).ok()?;
    let data = behind.get(..length)?;
    *rest = behind.get(length + length % 2..).unwrap_or_default();
    Some((&head[..4], data))
}

fn push_chunk(body: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    body.extend(name);
    // A chunk of four gigabytes cannot be: pixels are bounded far below.
    body.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend(data);
    body.extend((data.len() % 2 == 1).then_some(0));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A frame's chunk: two by two points of one colour, in a place, laid so over what is there.
    fn frame(place: (u8, u8), colour: [u8; 4], laid: u8) -> Vec<u8> {
        let mut still = Vec::new();
        WebPEncoder::new(&mut still).encode(&colour.repeat(4), 2, 2, ColorType::Rgba8).unwrap();
        let head = [place.0, 0, 0, place.1, 0, 0, 1, 0, 0, 1, 0, 0, 40, 0, 0, laid];
        [&head[..], &still[HEAD..]].concat()
    }

    fn file(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::from(*b"WEBP");
        push_chunk(&mut body, b"VP8X", &[0b1_0010, 0, 0, 0, 7, 0, 0, 7, 0, 0]);
        push_chunk(&mut body, b"ANIM", &[0; 6]);
        frames.iter().for_each(|frame| push_chunk(&mut body, b"ANMF", frame));
        [b"RIFF", u32::try_from(body.len()).unwrap().to_le_bytes().as_slice(), &body].concat()
    }

    #[test]
    fn frames_keep_their_places_their_points_and_how_they_are_laid() {
        let frames = [
            frame((0, 0), [255, 0, 0, 255], 0b01),
            frame((3, 1), [0, 255, 0, 99], 0b00),
            frame((2, 2), [0, 0, 9, 0], 0b11),
        ];
        let given = file(&frames);
        let made = sanitise(&given, &Limits::default()).unwrap().bytes.unwrap();
        let mut rest = &made[HEAD..];
        let mut kept = Vec::new();
        while let Some((name, data)) = next_chunk(&mut rest) {
            kept.extend((name == b"ANMF").then(|| data.to_vec()));
        }
        assert_eq!(kept.len(), frames.len());
        for (kept, given) in kept.iter().zip(&frames) {
            assert_eq!(kept[..FRAME], given[..FRAME]);
            let points = |frame: &[u8]| {
                let whole = still(&frame[FRAME..], (2, 2), &Limits::default()).unwrap();
                image::load_from_memory(&whole).unwrap().to_rgba8()
            };
            assert_eq!(points(kept), points(given));
        }
        // A frame beyond the picture, and one that is not there.
        for broken in [file(&[frame((9, 0), [0; 4], 0)]), file(&[frame((0, 0), [0; 4], 0)[..20].to_vec()])] {
            assert!(sanitise(&broken, &Limits::default()).is_err());
        }
    }
}
