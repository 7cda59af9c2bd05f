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

/// Makes inks (0: none, 255: full) of Adobe's lightness and two colours, with what black leaves white.
///
/// Source: ITU-T T.872, 6.4, and T.871, 7
pub(super) fn into_inks(pixels: &mut [u8]) {
    for pixel in pixels.chunks_exact_mut(4) {
        let [y, blue, red] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
        let (blue, red) = (blue - 128.0, red - 128.0);
        let inks = [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue];
        for (at, ink) in inks.into_iter().enumerate() {
            // A cast keeps to the bounds of what it casts to, and they have been kept before.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 255")]
            let ink = ink.clamp(0.0, 255.0).round() as u8;
            pixel[at] = ink;
        }
        pixel[3] = 255 - pixel[3];
    }
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

/// A colour by its lightness (0 to 255 for 0 to 100) and its place between green and red, blue and yellow (each from -128 on),
/// under the light of paper (D50), as sRGB.
///
/// Source: CIE 15:2004, 8.2.1; IEC 61966-2-1; Bradford's matrix from D50 to D65
pub(super) fn lab_into_srgb([lightness, red, yellow]: [u8; 3]) -> [u8; 3] {
    const WHITE: [f32; 3] = [0.9642, 1.0, 0.8249];
    const TO_LIGHT: [[f32; 3]; 3] = [
        [3.133_856, -1.616_867, -0.490_615],
        [-0.978_768, 1.916_142, 0.033_454],
        [0.071_945, -0.228_991, 1.405_243],
    ];
    let y = (f32::from(lightness) / 2.55 + 16.0) / 116.0;
    let (x, z) = (y + (f32::from(red) - 128.0) / 500.0, y - (f32::from(yellow) - 128.0) / 200.0);
    let whole =
        |part: f32| if part > 6.0 / 29.0 { part.powi(3) } else { (part - 4.0 / 29.0) * 108.0 / 841.0 };
    let place = [whole(x) * WHITE[0], whole(y) * WHITE[1], whole(z) * WHITE[2]];
    TO_LIGHT.map(|row| {
        let light: f32 = row.iter().zip(place).map(|(factor, part)| factor * part).sum();
        let level = if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
        // A cast keeps to the bounds of what it casts to, and they have been kept before.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 255")]
        let byte = (level.clamp(0.0, 1.0) * 255.0).round() as u8;
        byte
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_paper_are_those_of_the_screen() {
        for (lab, wanted) in [
            ([255, 128, 128], [255, 255, 255]),
            ([0, 128, 128], [0, 0, 0]),
            // Red, green and blue of sRGB under D50, rounded to whole numbers.
            ([138, 209, 198], [255, 0, 0]),
            ([224, 49, 209], [0, 255, 0]),
            ([75, 196, 16], [0, 0, 255]),
        ] {
            let found = lab_into_srgb(lab);
            assert!(found.iter().zip(wanted).all(|(is, was)| is.abs_diff(was) < 12), "{lab:?}: {found:?}");
        }
    }
}
