//! TIFF, with all its pages: scanners and fax machines write many into one file.

use std::io::Cursor;

use image::DynamicImage;
use tiff::{
    ColorType,
    decoder::{Decoder, DecodingResult, Limits as DecoderLimits},
    encoder::{Compression, Rational, TiffEncoder, colortype},
    tags::{ResolutionUnit, Tag},
};

use super::{Extras, check, colour};
use crate::{
    settings::Limits,
    verdict::{Made, Parts, Reason, Refusal, Removed, malformed},
};

/// Of digital negatives, whose first picture is a small one.
const DNG_VERSION: Tag = Tag::Unknown(0xc612);
const SUB_IFDS: Tag = Tag::Unknown(330);

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    let mut decoder = Decoder::new(Cursor::new(file)).map_err(malformed)?;
    let mut bytes = Vec::new();
    let mut encoder =
        TiffEncoder::new(Cursor::new(&mut bytes)).map_err(malformed)?.with_compression(Compression::Lzw);
    let (mut removed, mut photo) = (Vec::<Removed>::new(), None);
    let (mut pages, mut pixels) = (0_u32, 0_u64);
    loop {
        let size = decoder.dimensions().map_err(malformed)?;
        check(size, 1, limits)?;
        pages += 1;
        pixels = pixels.saturating_add(u64::from(size.0) * u64::from(size.1));
        if pages > limits.frames || pixels > limits.pixels {
            return Err(Refusal::new(Reason::TooManyPixels, format!("{pages} pages of {pixels} pixels")));
        }
        if [DNG_VERSION, SUB_IFDS].into_iter().any(|tag| matches!(decoder.find_tag(tag), Ok(Some(_)))) {
            return Err(Refusal::new(Reason::NotAllowed, "a digital negative, or pictures in pictures"));
        }
        let mut allowed = DecoderLimits::default();
        // Sixteen bits of four colours are the most that is taken.
        allowed.decoding_buffer_size = usize::try_from(limits.pixels.saturating_mul(8)).unwrap_or(usize::MAX);
        decoder = decoder.with_limits(allowed);
        let resolution = resolution(&mut decoder);
        let orientation = decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
        let mut picture = page(&mut decoder, size)?;
        if let Some(orientation) = orientation.and_then(image::metadata::Orientation::from_exif) {
            picture.apply_orientation(orientation);
        }
        let icc = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
        let (taken_out, _) = Extras { icc, ..Extras::default() }.apply(&mut picture);
        taken_out.into_iter().for_each(|one| crate::verdict::note(&mut removed, one.what, one.place));
        if pages == 1 {
            // A TIFF file is an EXIF structure itself.
            photo = super::exif::read(file.to_vec()).photo;
        }
        write(&mut encoder, &picture, resolution).map_err(malformed)?;
        if !decoder.more_images() {
            break;
        }
        decoder.next_image().map_err(malformed)?;
    }
    Ok(Parts { photo, ..Parts::rebuilt(bytes, removed) })
}

/// What is only not supported (a palette, Lab) is not called broken.
fn unreadable(error: tiff::TiffError) -> Refusal {
    let is_known = matches!(error, tiff::TiffError::UnsupportedError(_));
    Refusal::new(if is_known { Reason::NotAllowed } else { Reason::Malformed }, error)
}

type Dots = (ResolutionUnit, u32);

/// Dots in each unit, across; where they differ downwards, nobody would see it at once, and faxes say so.
fn resolution(decoder: &mut Decoder<Cursor<&[u8]>>) -> Option<Dots> {
    let unit = match decoder.find_tag_unsigned::<u16>(Tag::ResolutionUnit).ok()?? {
        2 => ResolutionUnit::Inch,
        3 => ResolutionUnit::Centimeter,
        _ => return None,
    };
    let tiff::decoder::ifd::Value::Rational(dots, each) = decoder.find_tag(Tag::XResolution).ok()?? else {
        return None;
    };
    dots.checked_div(each).filter(|dots| *dots > 0).map(|dots| (unit, dots))
}

/// One page, in eight bits each of grey, RGB or RGBA.
fn page(decoder: &mut Decoder<Cursor<&[u8]>>, (width, height): (u32, u32)) -> Result<DynamicImage, Refusal> {
    let colour = decoder.colortype().map_err(unreadable)?;
    let icc = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
    let samples = match decoder.read_image().map_err(unreadable)? {
        DecodingResult::U8(samples) => samples,
        // The upper of two bytes.
        DecodingResult::U16(samples) => samples.into_iter().map(|sample| sample.to_be_bytes()[0]).collect(),
        _ => return Err(Refusal::new(Reason::NotAllowed, format!("{colour:?}"))),
    };
    let across = usize::try_from(width).map_err(malformed)?;
    let picture = match colour {
        ColorType::Gray(8 | 16) => {
            image::GrayImage::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
        }
        ColorType::Gray(bits @ (1 | 2 | 4)) => {
            let full = (1_u16 << bits) - 1;
            let grey = unpack(&samples, across, bits).map(|level| u16::from(level) * 255 / full);
            let grey = grey.map(|level| u8::try_from(level).unwrap_or(255)).collect();
            image::GrayImage::from_raw(width, height, grey).map(DynamicImage::ImageLuma8)
        }
        // The decoder gives JPEG in TIFF as RGB.
        ColorType::RGB(8 | 16) | ColorType::YCbCr(8) => {
            image::RgbImage::from_raw(width, height, samples).map(DynamicImage::ImageRgb8)
        }
        ColorType::RGBA(8 | 16) => {
            image::RgbaImage::from_raw(width, height, samples).map(DynamicImage::ImageRgba8)
        }
        ColorType::CMYK(8 | 16) => {
            let pixels = colour::inks_into_srgb(&samples, icc.as_deref());
            image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
        }
        other => return Err(Refusal::new(Reason::NotAllowed, format!("{other:?}"))),
    };
    picture.ok_or_else(|| malformed("fewer pixels than told"))
}

/// The samples of rows in which several share a byte, each row beginning a new one.
fn unpack(packed: &[u8], across: usize, bits: u8) -> impl Iterator<Item = u8> {
    let each = usize::from(8 / bits);
    let mask = u8::try_from((1_u16 << bits) - 1).unwrap_or(u8::MAX);
    packed.chunks(across.div_ceil(each).max(1)).flat_map(move |row| {
        let samples = row.iter().flat_map(move |byte| {
            (0..each).map(move |i| {
                // At most seven.
                let shift = 8 - usize::from(bits) * (i + 1);
                byte >> shift & mask
            })
        });
        samples.take(across)
    })
}

fn write(
    encoder: &mut TiffEncoder<Cursor<&mut Vec<u8>>>,
    picture: &DynamicImage,
    resolution: Option<Dots>,
) -> tiff::TiffResult<()> {
    let (width, height) = (picture.width(), picture.height());
    macro_rules! page {
        ($colour:ty) => {{
            let mut page = encoder.new_image::<$colour>(width, height)?;
            if let Some((unit, dots)) = resolution {
                page.resolution(unit, Rational { n: dots, d: 1 });
            }
            page.write_data(picture.as_bytes())
        }};
    }
    match picture {
        DynamicImage::ImageLuma8(_) => page!(colortype::Gray8),
        DynamicImage::ImageRgba8(_) => page!(colortype::RGBA8),
        _ => page!(colortype::RGB8),
    }
}
