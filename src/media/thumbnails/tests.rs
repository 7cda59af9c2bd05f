//! Pictures, and what only says to be one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use image::{DynamicImage, GenericImageView, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::{
    Method, Wanted,
    make::{Picture, is_animated},
};
use crate::Error;

fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Red in its upper half, blue in its lower.
fn halves(width: u32, height: u32) -> DynamicImage {
    let colour = |_, y| if y < height / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) };
    RgbImage::from_fn(width, height, colour).into()
}

fn made(file: &[u8], width: u32, height: u32, method: Method) -> Result<DynamicImage, Error> {
    let variant = Wanted { width, height, method, animated: false }.variant();
    let made = Picture::look(file)?.shrink(file, variant)?;
    Ok(image::load_from_memory(&made.bytes).unwrap())
}

fn is_red(picture: &DynamicImage, x: u32, y: u32) -> bool {
    let Rgba([red, _, blue, _]) = picture.get_pixel(x, y);
    red > 180 && blue < 80
}

#[test]
fn a_thumbnail_has_its_size_and_is_never_larger_than_the_picture() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
        let large = written(&halves(2_000, 1_000), format);
        let scaled = made(&large, 320, 240, Method::Scale).unwrap();
        assert_eq!(scaled.dimensions(), (320, 160), "{format:?}");
        let cropped = made(&large, 96, 96, Method::Crop).unwrap();
        assert_eq!(cropped.dimensions(), (96, 96));
        assert!(is_red(&cropped, 48, 10) && !is_red(&cropped, 48, 85));
    }
    let small = written(&halves(50, 20), ImageFormat::Png);
    assert_eq!(made(&small, 800, 600, Method::Scale).unwrap().dimensions(), (50, 20));
    assert_eq!(made(&small, 96, 96, Method::Crop).unwrap().dimensions(), (50, 20));
    assert_eq!(made(&small, 32, 32, Method::Crop).unwrap().dimensions(), (32, 20));
    let thin = written(&halves(5_000, 1), ImageFormat::Png);
    assert_eq!(made(&thin, 320, 240, Method::Scale).unwrap().dimensions(), (320, 1));
    assert_eq!(made(&thin, 32, 32, Method::Crop).unwrap().dimensions(), (32, 1));
}

#[test]
fn what_was_drawn_stays_a_png_and_a_photograph_becomes_a_jpeg() {
    let made = |picture: &DynamicImage, format, side| {
        let variant = Wanted { width: side, height: side, method: Method::Scale, animated: false }.variant();
        let file = written(picture, format);
        Picture::look(&file).unwrap().shrink(&file, variant).unwrap().kind
    };
    assert_eq!(made(&halves(900, 900), ImageFormat::Png, 32), "image/png");
    assert_eq!(made(&halves(900, 900), ImageFormat::Jpeg, 32), "image/jpeg");
    // Noise, which PNG keeps as it is.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24).to_le_bytes()[0]
    };
    let noise: DynamicImage = RgbImage::from_fn(800, 600, |_, _| Rgb([next(), next(), next()])).into();
    assert_eq!(made(&noise, ImageFormat::Png, 800), "image/jpeg");
    assert_eq!(made(&noise.thumbnail(100, 100), ImageFormat::Png, 32), "image/png");
}

#[test]
fn what_is_seen_through_stays_so() {
    let clear: DynamicImage = RgbaImage::from_pixel(400, 400, Rgba([1, 2, 3, 0])).into();
    let made = made(&written(&clear, ImageFormat::Png), 32, 32, Method::Crop).unwrap();
    assert_eq!(made.get_pixel(5, 5).0[3], 0);
}

/// A JPEG that says how it is to be turned, in an EXIF block of which the rest is broken.
fn turned(orientation: u8) -> Vec<u8> {
    let jpeg = written(&halves(400, 200), ImageFormat::Jpeg);
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0".to_vec();
    exif.extend([0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    // An entry that leads nowhere, and no end.
    exif.extend([0x87, 0x69, 9, 9, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn a_turned_photograph_is_upright_also_where_its_exif_is_partly_broken() {
    let upright = made(&turned(1), 320, 240, Method::Scale).unwrap();
    assert_eq!((upright.dimensions(), is_red(&upright, 160, 10)), ((320, 160), true));
    let half = made(&turned(3), 320, 240, Method::Scale).unwrap();
    assert_eq!((half.dimensions(), is_red(&half, 160, 150)), ((320, 160), true));
    // A quarter to the right: what was above is on the right.
    let quarter = made(&turned(6), 320, 240, Method::Scale).unwrap();
    assert_eq!((quarter.dimensions(), is_red(&quarter, 115, 120)), ((120, 240), true));
    assert!(!is_red(&quarter, 5, 120));
}

/// A PNG whose head claims these sizes.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut png = written(&halves(8, 8), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    png
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte);
        (0..8).fold(crc, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn huge_and_broken_pictures_are_refused_before_they_are_decoded() {
    for (width, height) in [(60_000, 60_000), (u32::MAX, u32::MAX), (i32::MAX.unsigned_abs(), 1), (0, 0)] {
        let refused = made(&claiming(width, height), 32, 32, Method::Crop);
        assert!(matches!(refused, Err(Error::NoThumbnail(_))), "{width}x{height}");
    }
    // It claims more than it has, within bounds.
    let lies = claiming(5_000, 5_000);
    assert!(matches!(made(&lies, 32, 32, Method::Crop), Err(Error::NoThumbnail(_))));
    let whole = written(&halves(64, 64), ImageFormat::Png);
    for file in [
        &b""[..],
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"<svg/>",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBPVP8 ",
        &whole[..60],
    ] {
        assert!(matches!(made(file, 32, 32, Method::Scale), Err(Error::NoThumbnail(_))), "{file:?}");
    }
}

#[test]
fn no_prefix_of_a_picture_and_no_flipped_byte_does_harm() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
        let whole = written(&halves(24, 16), format);
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xff;
            for file in [&flipped[..], &whole[..at]] {
                // Whatever comes of it, it ends.
                made(file, 32, 32, Method::Crop).ok();
                is_animated(file);
            }
        }
    }
}

#[test]
fn a_moving_picture_is_told_from_a_still_one() {
    let frame = |shade| image::Frame::new(RgbaImage::from_pixel(20, 20, Rgba([shade, 0, 0, 255])));
    let mut gif = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut gif);
    encoder.set_repeat(image::codecs::gif::Repeat::Infinite).unwrap();
    encoder.encode_frames([frame(0), frame(255)]).unwrap();
    drop(encoder);
    assert!(is_animated(&gif));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
        assert!(!is_animated(&written(&halves(20, 20), format)), "{format:?}");
    }
}
