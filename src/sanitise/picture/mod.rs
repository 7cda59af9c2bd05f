//! Pictures: decoded and encoded again, so that nothing of the old file but its pixels is in the new one.
//!
//! Bounds are checked on what the header says, before anything is decoded. Pictures come out upright, in sRGB, with
//! their resolution and without any metadata; what EXIF told of time and place is returned apart ([`Photo`]).
//!
//! What was made, or passes as it came, is looked through for programs and pages ([`marks`]): a picture in which one stands
//! becomes a PNG, in which it does not.
//!
//! Lossless formats keep every pixel. A JPEG is encoded once: of one that is laid out as this module writes it the blocks stay
//! as they are ([`jpeg`]), so that a picture that goes through five gateways is not worn down.

mod blocks;
mod colour;
mod exif;
mod fax;
mod gif;
mod heic;
mod jpeg;
mod png;
mod scans;
mod tiff;
mod webp;

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder};

use crate::{
    kind::Kind,
    marks,
    settings::Limits,
    verdict::{Made, Part, Parts, Photo, Reason, Refusal, Removed, malformed, note},
};

/// Makes a picture anew.
pub(crate) fn sanitise(kind: Kind, file: &[u8], limits: &Limits) -> Made {
    let made = match kind {
        Kind::Jpeg => jpeg::sanitise(file, limits),
        Kind::Png => png::sanitise(file, limits),
        Kind::Gif => gif::sanitise(file, limits),
        Kind::WebP => webp::sanitise(file, limits),
        Kind::Tiff => tiff::sanitise(file, limits),
        Kind::Bmp => bmp(file, limits),
        _ => Err(Refusal::new(Reason::Unknown, "no picture")),
    };
    let made = made.map(|made| match made.bytes {
        // What we would write is what we were given.
        Some(bytes) if bytes == file => Parts { bytes: None, ..made },
        bytes => Parts { bytes, ..made },
    })?;
    match marks::check(made.bytes.as_deref().unwrap_or(file)) {
        Ok(()) => Ok(made),
        Err(found) => otherwise(kind, file, made, found, limits),
    }
}

/// A picture whose points or colours are chosen so that a program or a page stands in it, as one that is packed otherwise.
/// What says the same in every packing is refused.
fn otherwise(kind: Kind, file: &[u8], made: Parts, found: Refusal, limits: &Limits) -> Made {
    if kind == Kind::Tiff {
        let made = tiff::otherwise(file, limits)?;
        return if marks::check(made.bytes.as_deref().unwrap_or_default()).is_ok() {
            Ok(made)
        } else {
            Err(found)
        };
    }
    let bytes = made.bytes.as_deref().unwrap_or(file);
    let Some((picture, is_animated)) = still(kind, bytes, limits)? else { return Err(found) };
    let mut removed = made.removed;
    if is_animated {
        note(&mut removed, Part::Animation, "");
    }
    for (compression, filter) in png::PACKINGS {
        let bytes = png::packed(&picture, &[], *compression, *filter)?;
        if marks::check(&bytes).is_ok() {
            let rebuilt = Parts::rebuilt(bytes, removed);
            return Ok(Parts { photo: made.photo, is_png: true, ..rebuilt });
        }
    }
    Err(found)
}

/// The only or first picture of a file that was made here, and whether there may be more.
fn still(kind: Kind, file: &[u8], limits: &Limits) -> Result<Option<(DynamicImage, bool)>, Refusal> {
    use image::ImageFormat;
    let format = match kind {
        Kind::Jpeg => ImageFormat::Jpeg,
        Kind::Png => ImageFormat::Png,
        Kind::Gif => ImageFormat::Gif,
        Kind::WebP => ImageFormat::WebP,
        Kind::Bmp => ImageFormat::Bmp,
        _ => return Ok(None),
    };
    let mut reader = image::ImageReader::with_format(Cursor::new(file), format);
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(allowed);
    let picture = reader.decode().map_err(malformed)?;
    let is_animated = match kind {
        Kind::Gif => gif::is_animated(file)?,
        _ => memchr::memmem::find(file, b"ANMF").is_some(),
    };
    Ok(Some((picture, is_animated)))
}

pub(crate) use jpeg::{points, size_of_jpeg};
pub(crate) use scans::{MOST_BLOCKS_OF_ALL, Unwalked, stripped};

/// Makes a JPEG of what telephones write.
pub(crate) fn heic(file: &[u8], limits: &Limits) -> Made {
    heic::sanitise(file, limits)
}

fn bmp(file: &[u8], limits: &Limits) -> Made {
    let decoder = image::codecs::bmp::BmpDecoder::new(Cursor::new(file)).map_err(malformed)?;
    check(decoder.dimensions(), 1, limits)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(malformed)?;
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Bmp).map_err(malformed)?;
    Ok(Parts::rebuilt(bytes, Vec::new()))
}

/// Refuses what would need more than the bounds allow.
fn check((width, height): (u32, u32), frames: u64, limits: &Limits) -> Result<(), Refusal> {
    if width == 0 || height == 0 {
        return Err(malformed("no pixels"));
    }
    let pixels = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(frames);
    if pixels > limits.pixels {
        return Err(Refusal::new(
            Reason::TooManyPixels,
            format!("{width} × {height} × {frames}, allowed are {}", limits.pixels),
        ));
    }
    Ok(())
}

/// What a picture carries beside its pixels, as its container tells it.
#[derive(Default)]
struct Extras {
    exif: Option<Vec<u8>>,
    icc: Option<Vec<u8>>,
    /// XMP, IPTC, comments, texts.
    others: bool,
    /// Bytes after the end.
    trailing: usize,
}

impl Extras {
    /// Turns the picture upright and into sRGB; says what of the extras is gone, and what they told.
    fn apply(self, picture: &mut DynamicImage) -> Applied {
        let mut removed = Vec::new();
        let told = self.exif.map(exif::read);
        let (mut density, mut is_on_its_side, mut is_changed) = (None, false, false);
        if let Some(told) = &told {
            density = told.density;
            is_on_its_side = turn(picture, told.orientation);
            is_changed = told.orientation > 1;
        }
        if self.icc.is_some_and(|icc| colour::into_srgb(picture, &icc)) {
            note(&mut removed, Part::ColourProfile, "");
            is_changed = true;
        }
        if told.is_some() || self.others {
            note(&mut removed, Part::Metadata, "");
        }
        if self.trailing > 0 {
            note(&mut removed, Part::TrailingData, format!("{} bytes", self.trailing));
        }
        Applied { removed, photo: told.and_then(|told| told.photo), density, is_on_its_side, is_changed }
    }
}

/// What has become of a picture, and what its extras told.
struct Applied {
    removed: Vec<Removed>,
    photo: Option<Photo>,
    /// Dots of the picture as it was stored, across and down, in each inch or (true) each centimetre.
    density: Option<(bool, u16, u16)>,
    /// Whether what was across is down now.
    is_on_its_side: bool,
    /// Whether its points are others than were stored.
    is_changed: bool,
}

/// Turns a picture upright, as EXIF and TIFF number it; whether what was across is down then.
fn turn(picture: &mut DynamicImage, orientation: u8) -> bool {
    if let Some(orientation) = image::metadata::Orientation::from_exif(orientation) {
        picture.apply_orientation(orientation);
    }
    (5..=8).contains(&orientation)
}

/// A small grey picture that stands where a drawing stood that cannot be checked, with its format's name.
pub(crate) fn placeholder(label: &str) -> Vec<u8> {
    const WIDTH: u32 = 160;
    const HEIGHT: u32 = 100;
    const SCALE: u32 = 4;
    let mut picture = image::GrayImage::from_pixel(WIDTH, HEIGHT, image::Luma([225]));
    for (x, y, point) in picture.enumerate_pixels_mut() {
        let is_edge = x < 2 || y < 2 || x >= WIDTH - 2 || y >= HEIGHT - 2;
        // Letters of 3 × 5 points, four times as large.
        let (column, row) = (x.saturating_sub(20) / SCALE, y.saturating_sub(40) / SCALE);
        let letter = usize::try_from(column / 4).ok().and_then(|index| label.as_bytes().get(index));
        let is_letter = x >= 20
            && y >= 40
            && row < 5
            && column % 4 < 3
            && letter.is_some_and(|letter| glyph(*letter) >> (14 - (row * 3 + column % 4)) & 1 == 1);
        if is_edge || is_letter {
            point.0 = [90];
        }
    }
    let mut bytes = Vec::new();
    let written = picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png);
    written.map(|()| bytes).unwrap_or_default()
}

fn glyph(letter: u8) -> u16 {
    match letter {
        b'E' => 0b111_100_110_100_111,
        b'F' => 0b111_100_110_100_100,
        b'G' => 0b111_100_101_101_111,
        b'M' => 0b101_111_111_101_101,
        b'S' => 0b111_100_111_001_111,
        b'V' => 0b101_101_101_101_010,
        b'W' => 0b101_101_111_111_101,
        _ => 0b000_000_111_000_000,
    }
}
