//! WebP: written anew without loss, animations included.

use std::io::Cursor;

use image::DynamicImage;
use image_webp::{ColorType, LoopCount, WebPDecoder, WebPEncoder};

use super::{Extras, check};
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
        return Ok(Parts::rebuilt(animation(&mut decoder, frames)?, removed));
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
    let (removed, photo) = extras.apply(&mut picture);
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

/// All frames as whole pictures, one after the other.
///
/// Source: <https://developers.google.com/speed/webp/docs/riff_container>
fn animation(decoder: &mut Decoder<'_>, frames: u32) -> Result<Vec<u8>, Refusal> {
    let (width, height) = decoder.dimensions();
    let alpha = decoder.has_alpha();
    let colour = if alpha { ColorType::Rgba8 } else { ColorType::Rgb8 };
    let three = |number: u32| number.to_le_bytes()[..3].to_vec();
    let canvas = [three(width - 1), three(height - 1)].concat();

    let mut body = Vec::from(*b"WEBP");
    let flags = 0b10 | if alpha { 0b1_0000 } else { 0 };
    push_chunk(&mut body, b"VP8X", &[&[flags, 0, 0, 0], canvas.as_slice()].concat());
    let loops = match decoder.loop_count() {
        LoopCount::Forever => 0,
        LoopCount::Times(times) => times.get(),
    };
    push_chunk(&mut body, b"ANIM", &[&[0; 4], loops.to_le_bytes().as_slice()].concat());
    for _ in 0..frames {
        let mut duration = 0;
        let pixels = read(decoder, |decoder, pixels| {
            duration = decoder.read_frame(pixels)?;
            Ok(())
        })?;
        let mut still = Vec::new();
        WebPEncoder::new(&mut still).encode(&pixels, width, height, colour).map_err(malformed)?;
        // Each frame covers the canvas and replaces what was there.
        let mut frame = [&[0; 6], canvas.as_slice(), &three(duration), &[0b10]].concat();
        frame.extend(still.get(HEAD..).unwrap_or_default());
        push_chunk(&mut body, b"ANMF", &frame);
    }
    let size = u32::try_from(body.len()).map_err(malformed)?;
    Ok([b"RIFF", size.to_le_bytes().as_slice(), &body].concat())
}

fn push_chunk(body: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    body.extend(name);
    // A chunk of four gigabytes cannot be: pixels are bounded far below.
    body.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend(data);
    body.extend((data.len() % 2 == 1).then_some(0));
}
