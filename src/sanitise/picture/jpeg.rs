//! JPEG.
//!
//! Encoding loses a little each time. So what was encoded by this module is known by its layout: where all tables up to
//! the scan are byte for byte those that the encoder writes for such a picture, and nothing follows the last block of the
//! scan, the scan stays as it is; what somebody has put beside it since goes.

use std::io::Cursor;

use image::DynamicImage;
use jpeg_encoder::{Encoder, PixelDensity, PixelDensityUnit, SamplingFactor};
use zune_core::{colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{Applied, Extras, blocks, check, colour};
use crate::{
    settings::Limits,
    verdict::{Made, Parts, Refusal, malformed},
};

/// 1 to 100; what cameras use, and hardly seen.
const QUALITY: u8 = 92;

/// Most scans of a progressive picture; encoders write ten.
const MOST_SCANS: usize = 100;

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    let layout = Layout::read(file)?;
    check(layout.size, 1, limits)?;
    let (mut picture, exif, icc) = decode(file, &layout)?;
    let extras = Extras { exif, icc, others: layout.others, trailing: file.len() - layout.end };
    let Applied { removed, photo, density, is_on_its_side, is_changed } = extras.apply(&mut picture);

    // JFIF may say how wide a point is to its height, and EXIF how large it is.
    let told = layout.density.filter(|(unit, ..)| *unit != 0);
    let of_exif = density.map(|(is_metric, across, down)| (if is_metric { 2 } else { 1 }, across, down));
    let density = told.or(of_exif).or(layout.density);
    let density = density.map(|(unit, across, down)| match is_on_its_side {
        true => (unit, down, across),
        false => (unit, across, down),
    });
    let mut bytes = encode(&picture, density, layout.sampling)?;
    let new = Layout::read(&bytes)?;
    // Adobe's segment says which colours the blocks are of, and does not stay.
    let is_ours = !is_changed
        && !layout.is_adobe
        && layout.scans == 1
        && tables(&file[..layout.scan]) == tables(&bytes[..new.scan])
        && blocks::fill_the_scan(file, layout.scan, layout.end);
    if is_ours {
        // Its blocks stay bit for bit, whatever has been put beside them since.
        bytes.truncate(new.scan);
        bytes.extend_from_slice(&file[layout.scan..layout.end]);
    }
    Ok(Parts { photo, ..Parts::rebuilt(bytes, removed) })
}

/// What of a file's head says how its blocks are packed, segment by segment.
fn tables(head: &[u8]) -> Vec<&[u8]> {
    let (mut at, mut tables) = (2, Vec::new());
    while let Some(marker) = next_marker(head, &mut at) {
        let begin = at - 1;
        let length = head.get(at..at + 2).map_or(2, |two| usize::from(u16::from_be_bytes([two[0], two[1]])));
        at = head.len().min(at + length);
        if !matches!(marker, 0xe0..=0xef | 0xfe) {
            tables.push(&head[begin..at]);
        }
    }
    tables
}

/// How many points across and down a picture has.
pub(crate) fn size_of_jpeg(file: &[u8]) -> Option<(u32, u32)> {
    Layout::read(file).ok().map(|layout| layout.size)
}

/// The points of a picture as its document's colours take them.
pub(crate) struct Points {
    pub(crate) size: (u32, u32),
    /// Eight bits of each part of the colours.
    pub(crate) samples: Vec<u8>,
}

/// As many blocks are walked in the time in which one is decoded in one scan, and as scans in which it takes its place.
const DECODED: u64 = 4;
const PLACED: u64 = 5;

/// Most of them for one picture.
const MOST_DECODED: u64 = 400_000_000;

/// The points of a picture within a document, whose own words say what their colours are; nothing where it cannot be decoded.
/// What that takes is taken from the blocks that may still be looked at.
pub(crate) fn points(file: &[u8], limits: &Limits, blocks_left: &mut u64) -> Option<Points> {
    // Readers show one that is cut off as far as it goes.
    let whole = [file, &[0xff, 0xd9]].concat();
    let layout = Layout::read(file).or_else(|_| Layout::read(&whole)).ok()?;
    check(layout.size, 1, limits).ok()?;
    let blocks = u64::from(layout.size.0.div_ceil(8)) * u64::from(layout.size.1.div_ceil(8)) * 3;
    let taken = blocks.saturating_mul(layout.scans as u64 + PLACED).saturating_mul(DECODED);
    let left = blocks_left.checked_sub(taken);
    if taken > MOST_DECODED {
        return None;
    }
    *blocks_left = left.unwrap_or(0);
    left?;
    let (mut decoder, output) = opened(&whole[..layout.end]).ok()?;
    // The document takes four inks.
    if output == ColorSpace::YCCK {
        return None;
    }
    let samples = decoder.decode().ok()?;
    let (width, height) = layout.size;
    let points = u64::from(width) * u64::from(height) * output.num_components() as u64;
    (samples.len() as u64 == points).then_some(Points { size: layout.size, samples })
}

/// The pixels in grey or RGB, EXIF data, and a profile that is still to be applied.
type Decoded = (DynamicImage, Option<Vec<u8>>, Option<Vec<u8>>);

type Decoder<'a> = JpegDecoder<Cursor<&'a [u8]>>;

/// A decoder that has read the headers, and what it gives: grey, inks, inks as a lightness and two colours with black, or RGB.
fn opened(file: &[u8]) -> Result<(Decoder<'_>, ColorSpace), Refusal> {
    let options = DecoderOptions::default()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_max_scans(MOST_SCANS);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(file), options);
    decoder.decode_headers().map_err(malformed)?;
    let input = decoder.input_colorspace().ok_or_else(|| malformed("no colours"))?;
    // What Adobe's segment says is meant of four parts of the colours, and stands in pictures of three as well.
    let parts = decoder.info().map_or(0, |info| info.components);
    let output = match (input, parts) {
        (ColorSpace::Luma, _) => ColorSpace::Luma,
        (inks @ (ColorSpace::CMYK | ColorSpace::YCCK), 4) => inks,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    Ok((decoder, output))
}

fn decode(file: &[u8], layout: &Layout) -> Result<Decoded, Refusal> {
    let (mut decoder, output) = opened(&file[..layout.end])?;
    let mut pixels = decoder.decode().map_err(malformed)?;
    let (exif, mut icc) = (decoder.exif().cloned(), decoder.icc_profile());
    if matches!(output, ColorSpace::CMYK | ColorSpace::YCCK) {
        // Adobe's programs, which write nearly all of these, store what is left white. Of them only are those with a lightness.
        if output == ColorSpace::YCCK {
            colour::into_inks(&mut pixels);
        } else if layout.is_adobe {
            pixels.iter_mut().for_each(|ink| *ink = 255 - *ink);
        }
        pixels = colour::inks_into_srgb(&pixels, icc.take().as_deref());
    }
    let (width, height) = layout.size;
    let picture = match output {
        ColorSpace::Luma => image::GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        _ => image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    Ok((picture.ok_or_else(|| malformed("fewer pixels than told"))?, exif, icc))
}

/// Encodes a picture in grey or RGB.
pub(super) fn encode(
    picture: &DynamicImage,
    density: Option<Density>,
    sampling: u8,
) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    if let Some((unit, across, down)) = density {
        let unit = match unit {
            1 => PixelDensityUnit::Inches,
            2 => PixelDensityUnit::Centimeters,
            _ => PixelDensityUnit::PixelAspectRatio,
        };
        encoder.set_density(PixelDensity { density: (across, down), unit });
    }
    // Finer colours than there were would only make the file larger.
    encoder.set_sampling_factor(match sampling {
        SHARED_BY_FOUR => SamplingFactor::F_2_2,
        _ => SamplingFactor::F_1_1,
    });
    let (width, height) = (u16::try_from(picture.width()), u16::try_from(picture.height()));
    let colour = match picture {
        DynamicImage::ImageLuma8(_) => jpeg_encoder::ColorType::Luma,
        _ => jpeg_encoder::ColorType::Rgb,
    };
    let (width, height) = (width.map_err(malformed)?, height.map_err(malformed)?);
    encoder.encode(picture.as_bytes(), width, height, colour).map_err(malformed)?;
    Ok(bytes)
}

/// Unit and numbers of JFIF's density.
type Density = (u8, u16, u16);

/// Two points across and two down share a colour.
pub(super) const SHARED_BY_FOUR: u8 = 0x22;

/// Where what lies in a file.
struct Layout {
    size: (u32, u32),
    density: Option<Density>,
    is_adobe: bool,
    /// How many points across and down share a colour, in the two halves.
    sampling: u8,
    /// Segments of applications other than JFIF, EXIF, ICC and Adobe's, and comments.
    others: bool,
    /// Where the first scan's data begin.
    scan: usize,
    scans: usize,
    /// Behind the end marker.
    end: usize,
}

impl Layout {
    fn read(file: &[u8]) -> Result<Self, Refusal> {
        let mut layout = Self {
            size: (0, 0),
            density: None,
            is_adobe: false,
            sampling: 0,
            others: false,
            scan: 0,
            scans: 0,
            end: 0,
        };
        let mut at = 2;
        loop {
            let marker = next_marker(file, &mut at).ok_or_else(|| malformed("no end marker"))?;
            match marker {
                0xd9 => {
                    layout.end = at;
                    return Ok(layout);
                }
                0x01 | 0xd0..=0xd8 => continue,
                _ => {}
            }
            let length = file.get(at..at + 2).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
            let segment =
                length.filter(|length| *length >= 2).and_then(|length| file.get(at + 2..at + length));
            let segment = segment.ok_or_else(|| malformed("a segment is cut off"))?;
            at += 2 + segment.len();
            layout.note(marker, segment)?;
            if marker == 0xda {
                layout.scans += 1;
                if layout.scan == 0 {
                    layout.scan = at;
                }
            }
        }
    }

    fn note(&mut self, marker: u8, segment: &[u8]) -> Result<(), Refusal> {
        match (marker, segment) {
            (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, [_, h1, h0, w1, w0, rest @ ..]) => {
                let number = |high, low| u32::from(u16::from_be_bytes([high, low]));
                let size = (number(*w1, *w0), number(*h1, *h0));
                // Decoders differ in which of two headers they believe.
                if self.size != (0, 0) {
                    return Err(malformed("two frame headers"));
                }
                self.size = size;
                // The number of components, then each one's id, sampling and table.
                self.sampling = rest.get(2).copied().unwrap_or(0);
            }
            (0xe0, [b'J', b'F', b'I', b'F', 0, _, _, unit, x1, x0, y1, y0, ..]) => {
                self.density = Some((*unit, u16::from_be_bytes([*x1, *x0]), u16::from_be_bytes([*y1, *y0])));
            }
            (0xe1, [b'E', b'x', b'i', b'f', 0, ..]) | (0xe2, [b'I', b'C', b'C', b'_', ..]) => {}
            (0xee, [b'A', b'd', b'o', b'b', b'e', ..]) => self.is_adobe = true,
            (0xe0..=0xef | 0xfe, _) => self.others = true,
            _ => {}
        }
        Ok(())
    }
}

/// The next marker that stands alone or heads a segment, stepping over a scan's data; `at` is behind it.
fn next_marker(file: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        *at += memchr::memchr(0xff, file.get(*at..)?)? + 1;
        match *file.get(*at)? {
            // A stuffed byte of a scan, a restart in it, or filling.
            0x00 | 0xd0..=0xd7 => *at += 1,
            0xff => {}
            marker => {
                *at += 1;
                return Some(marker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn decoding_takes_from_what_all_pictures_of_a_document_may_take() {
        let file = encode(&DynamicImage::new_rgb8(64, 64), None, 0x11).unwrap();
        let taken = 8 * 8 * 3 * (1 + PLACED) * DECODED;
        let mut left = 2 * taken + 1;
        for wanted in [taken + 1, 1] {
            let points = points(&file, &Limits::default(), &mut left).unwrap();
            assert_eq!((points.size, points.samples.len(), left), ((64, 64), 64 * 64 * 3, wanted));
        }
        assert!(points(&file, &Limits::default(), &mut left).is_none());
        assert_eq!(left, 0);
    }
}
