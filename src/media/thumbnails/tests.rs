//! Pictures, and what only says to be one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use image::{
    AnimationDecoder, Delay, DynamicImage, ExtendedColorType, Frame, GenericImageView, ImageDecoder as _,
    ImageEncoder as _, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage,
    codecs::{
        gif::{GifEncoder, Repeat},
        png::PngEncoder,
        webp::WebPDecoder,
    },
    metadata::LoopCount,
};

use super::{
    Method, Wanted,
    make::{Made, Picture, decoder},
    moving::{Bounds, Moving},
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
    // What is cropped keeps the shape that is wanted.
    assert_eq!(made(&small, 96, 96, Method::Crop).unwrap().dimensions(), (20, 20));
    assert_eq!(made(&small, 32, 32, Method::Crop).unwrap().dimensions(), (20, 20));
    assert_eq!(made(&small, 800, 400, Method::Crop).unwrap().dimensions(), (40, 20));
    let thin = written(&halves(5_000, 1), ImageFormat::Png);
    assert_eq!(made(&thin, 320, 240, Method::Scale).unwrap().dimensions(), (320, 1));
    assert_eq!(made(&thin, 32, 32, Method::Crop).unwrap().dimensions(), (1, 1));
    let wide = written(&halves(3_000, 2_000), ImageFormat::Jpeg);
    assert_eq!(made(&wide, 800, 400, Method::Crop).unwrap().dimensions(), (960, 480));
    assert_eq!(made(&wide, 100, 150, Method::Crop).unwrap().dimensions(), (270, 360));
    assert_eq!(made(&wide, 801, 601, Method::Scale).unwrap().dimensions(), (1_600, 1_067));
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
        assert!(matches!(refused, Err(Error::NoThumbnail(_) | Error::TooManyPoints(_))), "{width}x{height}");
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
                moved(file, 32, Method::Crop, Bounds::default());
            }
        }
    }
}

/// Red, then blue in its left upper quarter, then red for the same time again, and red once more.
fn steps(width: u32, height: u32) -> Vec<RgbaImage> {
    let red = Rgba([255, 0, 0, 255]);
    let whole = RgbaImage::from_pixel(width, height, red);
    let quarter = RgbaImage::from_fn(width, height, |x, y| match x < width / 2 && y < height / 2 {
        true => Rgba([0, 0, 255, 255]),
        false => red,
    });
    vec![whole.clone(), quarter, whole.clone(), whole]
}

fn gif(pictures: &[RgbaImage]) -> Vec<u8> {
    let mut gif = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut gif, 30);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    let shown = Delay::from_numer_denom_ms(70, 1);
    let frames = pictures.iter().map(|picture| Frame::from_parts(picture.clone(), 0, 0, shown));
    encoder.encode_frames(frames).unwrap();
    drop(encoder);
    gif
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [&name[..], body].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], &named, &crc(&named).to_be_bytes()].concat()
}

/// The same as an animated PNG, which is shown three times.
fn apng(pictures: &[RgbaImage]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut number = 0_u32;
    for picture in pictures {
        let png = written(&picture.clone().into(), ImageFormat::Png);
        let (mut at, mut data) = (33, Vec::new());
        while &png[at + 4..at + 8] != b"IEND" {
            let length = usize::try_from(u32::from_be_bytes(png[at..at + 4].try_into().unwrap())).unwrap();
            data.extend_from_slice(&png[at + 8..at + 8 + length]);
            at += 12 + length;
        }
        let is_first = file.is_empty();
        if is_first {
            file.extend(&png[..33]);
            let count = u32::try_from(pictures.len()).unwrap().to_be_bytes();
            file.extend(chunk(b"acTL", &[count, 3_u32.to_be_bytes()].concat()));
        }
        let [width, height] = [picture.width(), picture.height()].map(u32::to_be_bytes);
        let head = [&number.to_be_bytes()[..], &width, &height, &[0; 8], &[0, 70, 3, 232, 0, 0]].concat();
        file.extend(chunk(b"fcTL", &head));
        number += 1;
        match is_first {
            true => file.extend(chunk(b"IDAT", &data)),
            false => {
                file.extend(chunk(b"fdAT", &[&number.to_be_bytes()[..], &data].concat()));
                number += 1;
            }
        }
    }
    file.extend(chunk(b"IEND", b""));
    file
}

fn moved(file: &[u8], side: u32, method: Method, bounds: Bounds) -> Option<Made> {
    let variant = Wanted { width: side, height: side, method, animated: true }.variant();
    Moving::look(file)?.shrink(file, variant, bounds, || false)
}

/// The pictures of an animated WebP, how long each is shown, and how often all are; none is for ever.
fn played(made: &Made) -> (Vec<(RgbaImage, u32)>, Option<u32>) {
    assert_eq!(made.kind, "image/webp");
    let decoder = WebPDecoder::new(Cursor::new(&made.bytes)).unwrap();
    assert!(decoder.has_animation());
    let times = match decoder.loop_count() {
        LoopCount::Infinite => None,
        LoopCount::Finite(times) => Some(times.get()),
    };
    let pictures = decoder.into_frames().map(|frame| {
        let frame = frame.unwrap();
        let shown_ms = frame.delay().numer_denom_ms().0;
        (frame.into_buffer(), shown_ms)
    });
    (pictures.collect(), times)
}

#[test]
fn a_moving_picture_is_told_from_a_still_one() {
    assert!(Moving::look(&gif(&steps(20, 20))).is_some());
    assert!(Moving::look(&apng(&steps(20, 20))).is_some());
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
        assert!(Moving::look(&written(&halves(20, 20), format)).is_none(), "{format:?}");
    }
}

#[test]
fn a_small_picture_of_one_that_moves_moves_as_that_does() {
    let (gif, apng) = (gif(&steps(800, 400)), apng(&steps(800, 400)));
    let first = moved(&apng, 240, Method::Scale, Bounds::default()).unwrap();
    assert_eq!(played(&first).1, Some(3));
    // Of a WebP as well.
    for file in [&gif, &apng, &first.bytes] {
        let made = moved(file, 96, Method::Crop, Bounds::default()).unwrap();
        let (pictures, _) = played(&made);
        let shown: Vec<u32> = pictures.iter().map(|(_, shown_ms)| *shown_ms).collect();
        // What does not change is one picture, shown for longer.
        assert_eq!(shown, [70, 70, 140]);
        let is_blue = |at: usize, x, y| {
            let Rgba([red, _, blue, alpha]) = *pictures[at].0.get_pixel(x, y);
            assert!(alpha == 255 && (red > 200) != (blue > 200), "{at} {x} {y}: {red} {blue}");
            blue > 200
        };
        for (picture, _) in &pictures {
            assert_eq!(picture.dimensions(), (96, 96));
        }
        assert_eq!([0, 1, 2].map(|at| is_blue(at, 10, 10)), [false, true, false]);
        assert_eq!([0, 1, 2].map(|at| is_blue(at, 90, 90)), [false; 3]);
    }
    let (scaled, times) = played(&moved(&gif, 240, Method::Scale, Bounds::default()).unwrap());
    assert_eq!((scaled[1].0.dimensions(), times), ((320, 160), None));
}

#[test]
fn what_is_seen_through_stays_so_where_it_moves() {
    let clear = RgbaImage::from_pixel(200, 200, Rgba([1, 2, 3, 0]));
    let full = RgbaImage::from_pixel(200, 200, Rgba([1, 2, 3, 255]));
    let made = moved(&apng(&[clear, full]), 32, Method::Crop, Bounds::default()).unwrap();
    let alphas: Vec<u8> = played(&made).0.iter().map(|(picture, _)| picture.get_pixel(5, 5).0[3]).collect();
    assert_eq!(alphas, [0, 255]);
}

#[test]
fn what_passes_a_bound_or_does_not_move_is_not_made_to_move() {
    let usual = Bounds::default();
    let file = gif(&steps(100, 100));
    let made = |bounds| moved(&file, 32, Method::Crop, bounds).is_some();
    assert!(made(usual));
    assert!(made(Bounds { pictures: 4, points: 40_000, ..usual }));
    assert!(!made(Bounds { pictures: 3, ..usual }));
    assert!(!made(Bounds { points: 39_999, ..usual }));
    assert!(!made(Bounds { bytes: 10, ..usual }));
    let variant = Wanted { width: 32, height: 32, method: Method::Crop, animated: true }.variant();
    assert!(Moving::look(&file).unwrap().shrink(&file, variant, usual, || true).is_none());
    // It says to be larger than is begun with.
    let mut large = file.clone();
    large[6..10].copy_from_slice(&[0xff; 4]);
    assert!(!Moving::look(&large).unwrap().is_bounded());
    assert!(moved(&large, 32, Method::Crop, usual).is_none());
    let same = steps(100, 100)[0].clone();
    assert!(moved(&gif(&[same.clone(), same]), 32, Method::Crop, usual).is_none());
    // What is broken at its end moves up to there.
    let cut = &file[..file.len() - 40];
    assert!(played(&moved(cut, 32, Method::Crop, usual).unwrap()).0.len() >= 2);
}

#[test]
fn no_flipped_byte_of_a_moving_picture_does_harm() {
    let webp = moved(&apng(&steps(80, 64)), 32, Method::Crop, Bounds::default()).unwrap().bytes;
    for whole in [gif(&steps(24, 16)), apng(&steps(24, 16)), webp] {
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xff;
            for file in [&flipped[..], &whole[..at]] {
                // Whatever comes of it, it ends.
                moved(file, 32, Method::Crop, Bounds { points: 1_000_000, ..Bounds::default() });
            }
        }
    }
}

/// Profiles are packed: a file of 100 KB would unpack to 100 MB while its head is read.
#[test]
fn a_colour_profile_that_unpacks_a_thousandfold_is_not_unpacked() {
    let with_profile = |bytes: usize| {
        let mut file = Vec::new();
        let mut encoder = PngEncoder::new(&mut file);
        encoder.set_icc_profile(vec![0; bytes]).unwrap();
        encoder.write_image(&[255; 4 * 16], 4, 4, ExtendedColorType::Rgba8).unwrap();
        file
    };
    let unpacked = |file: &[u8]| decoder(file, ImageFormat::Png).unwrap().icc_profile().unwrap();
    let usual = with_profile(1 << 20);
    assert_eq!(unpacked(&usual).map(|profile| profile.len()), Some(1 << 20));
    let bomb = with_profile(64 << 20);
    assert!(bomb.len() < 1 << 20);
    assert_eq!(unpacked(&bomb), None);
    assert_eq!(made(&bomb, 96, 96, Method::Crop).unwrap().dimensions(), (4, 4));
}
