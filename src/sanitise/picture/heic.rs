//! HEIC: what telephones write, as a JPEG that everybody can show.
//!
//! The picture comes out upright, in sRGB, without what lies beside it in the container: small pictures, depth, films.
//!
//! Format: ISO/IEC 23008-12 (HEIF), ITU-T H.265.

use image::{DynamicImage, RgbImage};

use super::{check, exif, jpeg};
use crate::{
    settings::Limits,
    verdict::{Made, Part, Parts, Reason, Refusal, malformed, note},
};

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    // The worker may start no thread.
    let options = heifer::Options { max_threads: 1, max_pixels: limits.pixels };
    let container = heifer::heifer_isobmff::HeifFile::parse(file).map_err(malformed)?;
    // Before anything is decoded; the decoder keeps the same bound for each of its tiles.
    if let Some(size) = container.image_size(container.primary_id).map_err(malformed)? {
        check(size, 1, limits)?;
    }
    let told = heifer::read_metadata(file).map_err(malformed)?;
    let picture = heifer::decode_srgb_rgba8(file, &options).map_err(|error| match error {
        // AV1 in the same container, lights brighter than white, colours of a printer.
        heifer::Error::Unsupported(what) => Refusal::new(Reason::Heic, what),
        error => malformed(error),
    })?;
    let (width, height) = (picture.width, picture.height);
    check((width, height), 1, limits)?;
    let pixels = if picture.has_alpha { on_white(&picture.data) } else { picture.into_rgb8() };
    let picture =
        RgbImage::from_raw(width, height, pixels).ok_or_else(|| malformed("fewer pixels than told"))?;

    let mut removed = Vec::new();
    if told.exif.is_some() || told.xmp.is_some() {
        note(&mut removed, Part::Metadata, "");
    }
    // How the camera was held is said by the container, and done already.
    let photo = told.exif.and_then(|exif| exif::read(exif).photo);
    let bytes = jpeg::encode(&DynamicImage::ImageRgb8(picture), None, jpeg::SHARED_BY_FOUR)?;
    Ok(Parts { photo, ..Parts::rebuilt(bytes, removed) })
}

/// Pixels with their opacity, as they look on paper.
fn on_white(pixels: &[u8]) -> Vec<u8> {
    let mut on_white = Vec::with_capacity(pixels.len() / 4 * 3);
    for pixel in pixels.chunks_exact(4) {
        let (colours, opacity) = (&pixel[..3], u16::from(pixel[3]));
        let mixed = colours.iter().map(|colour| (u16::from(*colour) * opacity + 255 * (255 - opacity)) / 255);
        on_white.extend(mixed.map(|colour| u8::try_from(colour).unwrap_or(u8::MAX)));
    }
    on_white
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_white() {
        assert_eq!(
            on_white(&[10, 20, 30, 255, 10, 20, 30, 0, 0, 0, 0, 127]),
            [10, 20, 30, 255, 255, 255, 128, 128, 128]
        );
    }
}
