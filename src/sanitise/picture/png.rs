//! PNG.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder},
};

use super::{Extras, check};
use crate::{
    settings::Limits,
    verdict::{Made, Part, Parts, Refusal, malformed, note},
};

/// Signature, and the header chunk with length, name and sum.
const HEAD: usize = 8 + 25;

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    let layout = Layout::read(file)?;
    check(layout.size, 1, limits)?;
    // The picture has been bounded above; what else the decoder holds is texts and profiles.
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.pixels.saturating_mul(8).saturating_add(64 << 20));
    let mut decoder =
        PngDecoder::with_limits(Cursor::new(&file[..layout.end]), allowed).map_err(malformed)?;
    check(decoder.dimensions(), 1, limits)?;
    let exif = decoder.exif_metadata().map_err(malformed)?;
    let icc = decoder.icc_profile().ok().flatten();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(malformed)?;
    let extras = Extras { exif, icc, others: layout.texts, trailing: file.len() - layout.end };
    let (mut removed, photo) = extras.apply(&mut picture);
    if layout.is_animated {
        note(&mut removed, Part::Animation, "");
    }
    Ok(Parts { photo, ..Parts::rebuilt(encode(&picture, layout.density)?, removed) })
}

fn encode(picture: &DynamicImage, density: Option<[u8; 9]>) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    let colour = picture.color().into();
    encoder.write_image(picture.as_bytes(), picture.width(), picture.height(), colour).map_err(malformed)?;
    if let Some(density) = density {
        let mut chunk = Vec::from(*b"\0\0\0\x09pHYs");
        chunk.extend(density);
        let mut sum = flate2::Crc::new();
        sum.update(&chunk[4..]);
        chunk.extend(sum.sum().to_be_bytes());
        bytes.splice(HEAD..HEAD, chunk);
    }
    Ok(bytes)
}

/// What the chunks of a file tell.
struct Layout {
    size: (u32, u32),
    density: Option<[u8; 9]>,
    texts: bool,
    is_animated: bool,
    end: usize,
}

impl Layout {
    fn read(file: &[u8]) -> Result<Self, Refusal> {
        let mut layout = Self { size: (0, 0), density: None, texts: false, is_animated: false, end: 0 };
        let mut at = 8;
        loop {
            let head = file.get(at..at + 8).ok_or_else(|| malformed("no end chunk"))?;
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let data = usize::try_from(length).ok().and_then(|length| file.get(at + 8..)?.get(..length));
            let data = data.ok_or_else(|| malformed("a chunk is cut off"))?;
            // The sum that follows is the decoder's to check.
            at = at + 12 + data.len();
            match (&head[4..], data) {
                (b"IHDR", [w3, w2, w1, w0, h3, h2, h1, h0, ..]) => {
                    let number = u32::from_be_bytes;
                    layout.size = (number([*w3, *w2, *w1, *w0]), number([*h3, *h2, *h1, *h0]));
                }
                (b"pHYs", data) => layout.density = data.try_into().ok(),
                (b"tEXt" | b"zTXt" | b"iTXt" | b"tIME", _) => layout.texts = true,
                (b"acTL", _) => layout.is_animated = true,
                (b"IEND", _) => {
                    layout.end = at.min(file.len());
                    return Ok(layout);
                }
                _ => {}
            }
        }
    }
}
