//! Colours: what a profile says of them is computed into the pixels, in sRGB, and the profile goes.

use image::DynamicImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

/// Largest profile that is looked at, in bytes; those of printers have two or three million.
const LARGEST_PROFILE: usize = 8 << 20;

/// Brings the pixels from a profile's colours into sRGB; whether anything was to be done. A profile that cannot be
/// read, or is of other colours than the picture, changes nothing.
pub(super) fn into_srgb(picture: &mut DynamicImage, icc: &[u8]) -> bool {
    // Nearly all pictures are in sRGB, and would be changed by rounding only.
    if icc.len() > LARGEST_PROFILE || is_srgb(icc) {
        return false;
    }
    let Ok(profile) = ColorProfile::new_from_slice(icc) else { return false };
    if profile.color_space != DataColorSpace::Rgb {
        return false;
    }
    let (target, options) = (ColorProfile::new_srgb(), TransformOptions::default());
    match picture {
        DynamicImage::ImageRgb8(pixels) => {
            let transform = profile.create_transform_8bit(Layout::Rgb, &target, Layout::Rgb, options);
            let source = pixels.as_raw().clone();
            transform.is_ok_and(|transform| transform.transform(&source, pixels).is_ok())
        }
        DynamicImage::ImageRgba8(pixels) => {
            let transform = profile.create_transform_8bit(Layout::Rgba, &target, Layout::Rgba, options);
            let source = pixels.as_raw().clone();
            transform.is_ok_and(|transform| transform.transform(&source, pixels).is_ok())
        }
        DynamicImage::ImageRgb16(pixels) => {
            let transform = profile.create_transform_16bit(Layout::Rgb, &target, Layout::Rgb, options);
            let source = pixels.as_raw().clone();
            transform.is_ok_and(|transform| transform.transform(&source, pixels).is_ok())
        }
        DynamicImage::ImageRgba16(pixels) => {
            let transform = profile.create_transform_16bit(Layout::Rgba, &target, Layout::Rgba, options);
            let source = pixels.as_raw().clone();
            transform.is_ok_and(|transform| transform.transform(&source, pixels).is_ok())
        }
        _ => false,
    }
}

fn is_srgb(icc: &[u8]) -> bool {
    let name = b"sRGB IEC61966";
    let wide: Vec<u8> = name.iter().flat_map(|letter| [0, *letter]).collect();
    memchr::memmem::find(icc, name).is_some() || memchr::memmem::find(icc, &wide).is_some()
}

/// Four inks per pixel (0: none, 255: full) as sRGB: by the profile if it is one of inks, else by their plain product.
pub(super) fn inks_into_srgb(inks: &[u8], icc: Option<&[u8]>) -> Vec<u8> {
    let mut pixels = vec![0; inks.len() / 4 * 3];
    let profile = icc
        .filter(|icc| icc.len() <= LARGEST_PROFILE)
        .and_then(|icc| ColorProfile::new_from_slice(icc).ok())
        .filter(|profile| profile.color_space == DataColorSpace::Cmyk);
    let transform = profile.and_then(|profile| {
        let target = ColorProfile::new_srgb();
        profile.create_transform_8bit(Layout::Rgba, &target, Layout::Rgb, TransformOptions::default()).ok()
    });
    let whole = &inks[..inks.len() / 4 * 4];
    if transform.is_some_and(|transform| transform.transform(whole, &mut pixels).is_ok()) {
        return pixels;
    }
    for (ink, pixel) in whole.chunks_exact(4).zip(pixels.chunks_exact_mut(3)) {
        let white = 255 - u16::from(ink[3]);
        for (colour, ink) in pixel.iter_mut().zip(ink) {
            // Both factors are at most 255, so the quotient is.
            *colour = u8::try_from((255 - u16::from(*ink)) * white / 255).unwrap_or(255);
        }
    }
    pixels
}
