//! TIFF, with all its pages: scanners and fax machines write many into one file.

use std::{borrow::Cow, io::Cursor};

use image::DynamicImage;
use tiff::{
    ColorType,
    decoder::{Decoder, DecodingResult, Limits as DecoderLimits},
    encoder::{Compression, DeflateLevel, Rational, TiffEncoder, colortype},
    tags::{ResolutionUnit, Tag},
};

use super::{
    Extras, check, colour,
    fax::{self, Coding},
    turn,
};
use crate::{
    settings::Limits,
    verdict::{Made, Parts, Reason, Refusal, Removed, malformed},
};

/// Of digital negatives, whose first picture is a small one.
const DNG_VERSION: Tag = Tag::Unknown(0xc612);
const SUB_IFDS: Tag = Tag::Unknown(330);

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    packed(file, limits, Compression::Lzw)
}

/// The same in another packing, for points that make something else of the first.
pub(super) fn otherwise(file: &[u8], limits: &Limits) -> Made {
    packed(file, limits, Compression::Deflate(DeflateLevel::Best))
}

fn packed(file: &[u8], limits: &Limits, packing: Compression) -> Made {
    let (readable, meant) = with_plain_samples(file, limits.frames);
    let mut decoder = Decoder::new(Cursor::new(readable.as_ref())).map_err(malformed)?;
    let mut bytes = Vec::new();
    let mut encoder = TiffEncoder::new(Cursor::new(&mut bytes)).map_err(malformed)?.with_compression(packing);
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
        let meant = usize::try_from(pages - 1).ok().and_then(|page| meant.get(page)).copied();
        let orientation = decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
        let mut picture = match fax_coding(&mut decoder) {
            Some(coding) => faxed(&mut decoder, &readable, size, coding)?,
            None => page(&mut decoder, size, meant.unwrap_or(0))?,
        };
        let is_on_its_side = turn(&mut picture, orientation.unwrap_or(0));
        let resolution = resolution.map(|(unit, across, down)| match is_on_its_side {
            true => (unit, down, across),
            false => (unit, across, down),
        });
        let icc = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
        let taken_out = Extras { icc, ..Extras::default() }.apply(&mut picture).removed;
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

/// What is only not supported is not called broken.
fn unreadable(error: tiff::TiffError) -> Refusal {
    let is_known = matches!(error, tiff::TiffError::UnsupportedError(_));
    Refusal::new(if is_known { Reason::NotAllowed } else { Reason::Malformed }, error)
}

/// Dots in each unit, across and down: faxes have half as many down.
type Dots = (ResolutionUnit, u32, u32);

fn resolution(decoder: &mut Decoder<Cursor<&[u8]>>) -> Option<Dots> {
    let unit = match decoder.find_tag_unsigned::<u16>(Tag::ResolutionUnit).ok()?? {
        2 => ResolutionUnit::Inch,
        3 => ResolutionUnit::Centimeter,
        _ => return None,
    };
    let mut dots = |tag| {
        let tiff::decoder::ifd::Value::Rational(dots, each) = decoder.find_tag(tag).ok()?? else {
            return None;
        };
        dots.checked_div(each).filter(|dots| *dots > 0)
    };
    let across = dots(Tag::XResolution)?;
    Some((unit, across, dots(Tag::YResolution).unwrap_or(across)))
}

/// How samples are meant, where the decoder knows no such colours but gives the samples when they are told it as others.
const PALETTE: u16 = 3;
const CIE_LAB: u16 = 8;
const ICC_LAB: u16 = 9;

/// The file with samples that the decoder gives, and for each page how they are meant: numbers of colours as grey, Lab as RGB.
fn with_plain_samples(file: &[u8], most_pages: u32) -> (Cow<'_, [u8]>, Vec<u16>) {
    let is_little = file.starts_with(b"II");
    let (mut out, mut meant) = (Cow::Borrowed(file), Vec::new());
    let short = |at: usize| {
        let two = file.get(at..)?.first_chunk().copied()?;
        Some(if is_little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let long = |at: usize| {
        let four = file.get(at..)?.first_chunk().copied()?;
        usize::try_from(if is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }).ok()
    };
    // Of files larger than four gigabytes, which none is, nothing is known here.
    let mut at = long(4).filter(|_| short(2) == Some(42)).unwrap_or(0);
    while at != 0 && meant.len() < usize::try_from(most_pages).unwrap_or(usize::MAX) {
        let Some(count) = short(at) else { break };
        let entries = (0..usize::from(count)).map(|entry| at + 2 + 12 * entry);
        let found = entries
            .filter(|entry| short(*entry) == Some(262))
            .find_map(|entry| Some((entry + 8, short(entry + 8)?)));
        let (place, told) = found.unwrap_or((0, 0));
        meant.push(told);
        let plain: u16 = match told {
            PALETTE => 1,
            CIE_LAB | ICC_LAB => 2,
            other => other,
        };
        if plain != told {
            let bytes = if is_little { plain.to_le_bytes() } else { plain.to_be_bytes() };
            out.to_mut()[place..place + 2].copy_from_slice(&bytes);
        }
        at = long(at + 2 + 12 * usize::from(count)).unwrap_or(0);
    }
    (out, meant)
}

/// The coding of a fax that the decoder does not know, and whether bytes begin with their lowest bit.
fn fax_coding(decoder: &mut Decoder<Cursor<&[u8]>>) -> Option<(Coding, bool)> {
    let mut number = |tag| decoder.find_tag_unsigned::<u32>(tag).ok().flatten();
    let is_turned = number(Tag::FillOrder) == Some(2);
    match number(Tag::Compression)? {
        2 => Some((Coding::Runs, is_turned)),
        3 => Some((Coding::Group3 { by_above: number(T4_OPTIONS).unwrap_or(0) & 1 == 1 }, is_turned)),
        4 if is_turned => Some((Coding::Group4, is_turned)),
        _ => None,
    }
}

/// Of Group 3: whether rows are written by the one above.
const T4_OPTIONS: Tag = Tag::Unknown(292);

/// A page of a fax.
fn faxed(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    file: &[u8],
    (width, height): (u32, u32),
    (coding, is_turned): (Coding, bool),
) -> Result<DynamicImage, Refusal> {
    let across = u16::try_from(width).map_err(malformed)?;
    let mut numbers = |tag| decoder.find_tag_unsigned_vec::<u64>(tag).ok().flatten();
    let each = numbers(Tag::RowsPerStrip).and_then(|rows| rows.first().copied()).unwrap_or(u64::from(height));
    let (begins, sizes) = (numbers(Tag::StripOffsets), numbers(Tag::StripByteCounts));
    let (begins, sizes) = begins.zip(sizes).ok_or_else(|| malformed("no strips"))?;
    let is_white = numbers(Tag::PhotometricInterpretation).is_none_or(|told| told.first() == Some(&0));
    let (light, dark) = if is_white { (255, 0) } else { (0, 255) };
    let mut points = Vec::new();
    let mut left = u64::from(height);
    for (begin, size) in begins.into_iter().zip(sizes) {
        let rows = left.min(each.max(1));
        left -= rows;
        if rows == 0 {
            break;
        }
        let begin = usize::try_from(begin).map_err(malformed)?;
        let strip = file.get(begin..).ok_or_else(|| malformed("a strip behind the end"))?;
        let strip = &strip[..usize::try_from(size).unwrap_or(usize::MAX).min(strip.len())];
        let count = usize::try_from(rows).map_err(malformed)?;
        points.extend(fax::rows(strip, coding, is_turned, across, count));
    }
    points.iter_mut().for_each(|point| *point = if *point == 1 { dark } else { light });
    let picture = image::GrayImage::from_raw(width, height, points).map(DynamicImage::ImageLuma8);
    picture.ok_or_else(|| malformed("fewer rows than told"))
}

/// One page, in eight bits each of grey, RGB or RGBA; `meant`: what its samples are.
fn page(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    (width, height): (u32, u32),
    meant: u16,
) -> Result<DynamicImage, Refusal> {
    let colour = decoder.colortype().map_err(unreadable)?;
    let icc = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
    let palette = if meant == PALETTE {
        decoder.get_tag_u16_vec(Tag::ColorMap).map_err(malformed)?
    } else {
        Vec::new()
    };
    let samples = match decoder.read_image().map_err(unreadable)? {
        DecodingResult::U8(samples) => samples,
        // The upper of two bytes.
        DecodingResult::U16(samples) => samples.into_iter().map(|sample| sample.to_be_bytes()[0]).collect(),
        _ => return Err(Refusal::new(Reason::NotAllowed, format!("{colour:?}"))),
    };
    let across = usize::try_from(width).map_err(malformed)?;
    let picture = match colour {
        ColorType::Gray(8) if meant == PALETTE => {
            image::RgbImage::from_raw(width, height, coloured(samples.into_iter(), &palette))
                .map(DynamicImage::ImageRgb8)
        }
        ColorType::Gray(bits @ (1 | 2 | 4)) if meant == PALETTE => {
            let pixels = coloured(unpack(&samples, across, bits), &palette);
            image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
        }
        ColorType::RGB(8 | 16) if matches!(meant, CIE_LAB | ICC_LAB) => {
            // Of one kind the colours go from -128 on, of the other from nought.
            let begin = if meant == CIE_LAB { 128 } else { 0 };
            let pixels = samples.chunks_exact(3).flat_map(|lab| {
                colour::lab_into_srgb([lab[0], lab[1].wrapping_add(begin), lab[2].wrapping_add(begin)])
            });
            image::RgbImage::from_raw(width, height, pixels.collect()).map(DynamicImage::ImageRgb8)
        }
        // Grey with its opacity.
        ColorType::Multiband { bit_depth: 8 | 16, num_samples: 2 } => {
            let pixels = samples.chunks_exact(2).flat_map(|it| [it[0], it[0], it[0], it[1]]).collect();
            image::RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8)
        }
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

/// Numbers of colours as the colours, of which a palette holds first all reds, then all greens, then all blues.
fn coloured(numbers: impl Iterator<Item = u8>, palette: &[u16]) -> Vec<u8> {
    let each = palette.len() / 3;
    // Some programs write eight bits into the sixteen.
    let is_narrow = palette.iter().all(|level| *level < 256);
    let level = |part: usize, number: u8| {
        let level = palette.get(part * each + usize::from(number)).filter(|_| usize::from(number) < each);
        let [high, low] = level.copied().unwrap_or(0).to_be_bytes();
        if is_narrow { low } else { high }
    };
    numbers.flat_map(|number| [level(0, number), level(1, number), level(2, number)]).collect()
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
            if let Some((unit, across, down)) = resolution {
                page.resolution_unit(unit);
                page.x_resolution(Rational { n: across, d: 1 });
                page.y_resolution(Rational { n: down, d: 1 });
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ::fax::{
        BitWriter, Bits, VecWriter,
        maps::{black, white},
    };

    use super::*;

    /// A picture of one strip, with tags of short numbers beside those that every one has.
    fn file(size: (u16, u16), bits: &[u16], tags: &[(u16, &[u16])], strip: &[u8]) -> Vec<u8> {
        let mut tags: Vec<(u16, Vec<u16>)> =
            tags.iter().map(|(tag, values)| (*tag, values.to_vec())).collect();
        let samples = u16::try_from(bits.len()).unwrap();
        tags.extend([(256, vec![size.0]), (257, vec![size.1]), (258, bits.to_vec()), (277, vec![samples])]);
        tags.extend([(273, vec![8]), (278, vec![size.1]), (279, vec![u16::try_from(strip.len()).unwrap()])]);
        tags.sort();
        let mut directory = u16::try_from(tags.len()).unwrap().to_le_bytes().to_vec();
        let begin = 8 + strip.len();
        let mut behind = begin + 2 + 12 * tags.len() + 4;
        let mut values_behind = Vec::new();
        for (tag, values) in &tags {
            directory.extend([tag.to_le_bytes(), 3_u16.to_le_bytes()].concat());
            directory.extend(u32::try_from(values.len()).unwrap().to_le_bytes());
            let mut bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            if bytes.len() > 4 {
                directory.extend(u32::try_from(behind).unwrap().to_le_bytes());
                behind += bytes.len();
                values_behind.extend(bytes);
            } else {
                bytes.resize(4, 0);
                directory.extend(bytes);
            }
        }
        let begin = u32::try_from(begin).unwrap().to_le_bytes();
        [b"II*\0", begin.as_slice(), strip, &directory, &[0; 4], &values_behind].concat()
    }

    fn shown(file: &[u8]) -> DynamicImage {
        let made = sanitise(file, &Limits::default()).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let bytes = made.bytes.unwrap();
        let mut decoder = Decoder::new(Cursor::new(bytes.as_slice())).unwrap();
        let size = decoder.dimensions().unwrap();
        page(&mut decoder, size, 0).unwrap()
    }

    #[test]
    fn palettes_opacity_and_colours_of_paper_come_out_as_they_look() {
        let palette: Vec<u16> =
            (0..3_u16).flat_map(|part| (0..256).map(move |number| (number ^ part) << 8)).collect();
        let picture = shown(&file((2, 1), &[8], &[(259, &[1]), (262, &[3]), (320, &palette)], &[5, 200]));
        assert_eq!(picture.into_rgb8().into_raw(), [5, 4, 7, 200, 201, 202]);
        // Of few colours, in eight bits each.
        let palette: Vec<u16> = (0..48).collect();
        let picture = shown(&file((3, 1), &[4], &[(259, &[1]), (262, &[3]), (320, &palette)], &[0x1f, 0x70]));
        assert_eq!(picture.into_rgb8().into_raw(), [1, 17, 33, 15, 31, 47, 7, 23, 39]);
        let picture =
            shown(&file((2, 1), &[8, 8], &[(259, &[1]), (262, &[1]), (338, &[2])], &[9, 255, 77, 3]));
        assert_eq!(picture.into_rgba8().into_raw(), [9, 9, 9, 255, 77, 77, 77, 3]);
        for (kind, white) in [(8, [255, 0, 0]), (9, [255, 128, 128])] {
            let picture = shown(&file((1, 1), &[8, 8, 8], &[(259, &[1]), (262, &[kind])], &white));
            assert!(picture.into_rgb8().into_raw().iter().all(|level| *level > 250), "{kind}");
        }
    }

    #[test]
    fn a_fax_of_group_3_comes_out_as_it_was_sent() {
        let mut out = VecWriter::new();
        for _ in 0..2 {
            for code in
                [Some(Bits { data: 1, len: 12 }), white::encode(3), black::encode(2), white::encode(3)]
            {
                let Ok(()) = out.write(code.unwrap());
            }
        }
        let strip = out.finish();
        let turned: Vec<u8> = strip.iter().map(|byte| byte.reverse_bits()).collect();
        let row = [255, 255, 255, 0, 0, 255, 255, 255];
        for (strip, order) in [(&strip, 1), (&turned, 2)] {
            let sent = file((8, 2), &[1], &[(259, &[3]), (262, &[0]), (266, &[order])], strip);
            assert_eq!(shown(&sent).into_luma8().into_raw(), row.repeat(2), "{order}");
        }
    }

    #[test]
    fn directories_that_go_round_end() {
        let mut file = file((1, 1), &[8], &[(259, &[1]), (262, &[3])], &[0]);
        let begin = file[4..8].to_vec();
        let end = file.len() - 4;
        file[end..].copy_from_slice(&begin);
        assert!(sanitise(&file, &Limits::default()).is_err());
    }
}
