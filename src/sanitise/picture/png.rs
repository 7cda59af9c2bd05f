//! PNG.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder},
};

use super::{Applied, Extras, check};
use crate::{
    settings::Limits,
    verdict::{Made, Part, Parts, Refusal, malformed, note},
};

/// Signature, and the header chunk with length, name and sum.
const HEAD: usize = 8 + 25;

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    let mut layout = Layout::read(file)?;
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
    let Applied { mut removed, photo, is_on_its_side, .. } = extras.apply(&mut picture);
    if is_on_its_side && let Some(density) = &mut layout.density {
        let (across, down) = density.split_at_mut(4);
        across.swap_with_slice(&mut down[..4]);
    }
    let chunks = layout.chunks();
    if layout.is_animated {
        note(&mut removed, Part::Animation, "");
    }
    Ok(Parts { photo, ..Parts::rebuilt(packed(&picture, &chunks, PACKINGS[0].0, PACKINGS[0].1)?, removed) })
}

/// Ways of packing, the usual one first.
pub(super) const PACKINGS: &[(CompressionType, FilterType)] = &[
    (CompressionType::Fast, FilterType::Adaptive),
    (CompressionType::Fast, FilterType::Paeth),
    (CompressionType::Default, FilterType::Sub),
];

/// A chunk of numbers, by its name.
pub(super) type Chunk = (&'static [u8; 4], Vec<u8>);

/// A picture as a PNG, with chunks of how it is shown.
pub(super) fn packed(
    picture: &DynamicImage,
    chunks: &[Chunk],
    compression: CompressionType,
    filter: FilterType,
) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, compression, filter);
    let colour = picture.color().into();
    encoder.write_image(picture.as_bytes(), picture.width(), picture.height(), colour).map_err(malformed)?;
    for (name, data) in chunks.iter().rev() {
        let length = u32::try_from(data.len()).map_err(malformed)?;
        let mut chunk = [&length.to_be_bytes(), name.as_slice(), data].concat();
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
    /// How light the samples are meant, and what its colours are; without effect where a profile says it.
    gamma: Option<[u8; 4]>,
    primaries: Option<[u8; 32]>,
    has_profile: bool,
    texts: bool,
    is_animated: bool,
    end: usize,
}

impl Layout {
    /// What stays beside the points: without it they would be shown otherwise.
    fn chunks(&self) -> Vec<Chunk> {
        let is_told = !self.has_profile;
        let gamma = self.gamma.filter(|gamma| is_told && *gamma != [0; 4]).map(|it| (b"gAMA", it.to_vec()));
        let primaries = self.primaries.filter(|_| is_told).map(|it| (b"cHRM", it.to_vec()));
        let density = self.density.map(|it| (b"pHYs", it.to_vec()));
        [gamma, primaries, density].into_iter().flatten().collect()
    }

    fn read(file: &[u8]) -> Result<Self, Refusal> {
        let mut layout = Self {
            size: (0, 0),
            density: None,
            gamma: None,
            primaries: None,
            has_profile: false,
            texts: false,
            is_animated: false,
            end: 0,
        };
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
                (b"gAMA", data) => layout.gamma = data.try_into().ok(),
                (b"cHRM", data) => layout.primaries = data.try_into().ok(),
                (b"iCCP" | b"sRGB", _) => layout.has_profile = true,
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn how_light_the_points_are_meant_stays_unless_a_profile_says_it() {
        let picture = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(3, 3, image::Rgb([9, 99, 199])));
        let make = |chunks: &[Chunk]| packed(&picture, chunks, PACKINGS[0].0, PACKINGS[0].1).unwrap();
        let (gamma, primaries, density) =
            ((b"gAMA", vec![0, 1, 0x86, 0xa0]), (b"cHRM", vec![1; 32]), (b"pHYs", vec![0; 9]));
        let all = make(&[gamma.clone(), primaries.clone(), density.clone()]);
        let made = |file: &[u8]| sanitise(file, &Limits::default()).unwrap().bytes.unwrap();
        assert_eq!(made(&all), all);
        let with_profile = make(&[gamma, primaries, (b"sRGB", vec![0]), density.clone()]);
        assert_eq!(made(&with_profile), make(&[density]));
        assert_eq!(made(&make(&[(b"gAMA", vec![0; 4])])), make(&[]));
    }
}
