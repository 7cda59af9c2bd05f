//! From a picture to a smaller one.

use std::io::Cursor;

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder, imageops::FilterType, metadata::Orientation,
};

use super::{MOST_PIXELS, Method, Variant};
use crate::{Error, heads::limits_of_head, kinds};

/// How well JPEG keeps what it is given, of 100.
const QUALITY: u8 = 82;
/// A PNG in which nothing is seen through is made of PNGs only, and as a JPEG where it would be larger than this: it is
/// a photograph then.
const LARGEST_OPAQUE_PNG: usize = 256 << 10;
/// What a decoder may take besides the picture that it gives, in bytes.
pub(crate) const BESIDES: u64 = 32 << 20;

/// A picture that was made.
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: &'static str,
}

/// What the head of a picture says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    format: ImageFormat,
    /// Bytes of it when it is decoded.
    decoded: u64,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Whether it may be shown as it lies in the file: it says nothing of being turned.
    is_upright: bool,
}

/// Whether a file that says to be this may be a moving picture.
pub(crate) fn may_be_animated(kind: &str) -> bool {
    let essence = kinds::essence(kind).to_ascii_lowercase();
    matches!(essence.as_str(), "image/gif" | "image/webp" | "image/apng" | "image/png")
}

impl Picture {
    /// Reads the head: nothing is decoded yet.
    pub(crate) fn look(file: &[u8]) -> Result<Self, Error> {
        let unreadable = |_| Error::NoThumbnail("This is no picture that can be read");
        let format = image::guess_format(file).map_err(unreadable)?;
        if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Gif | ImageFormat::WebP) {
            return Err(Error::NoThumbnail("There are no thumbnails of this kind of picture"));
        }
        let mut decoder = decoder(file, format).map_err(unreadable)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(Error::TooManyPoints(MOST_PIXELS));
        }
        let is_upright = decoder.orientation().is_ok_and(|turned| turned == Orientation::NoTransforms);
        Ok(Self { format, decoded: decoder.total_bytes(), width, height, is_upright })
    }

    /// Whether the file is what everybody can show: upright, still, and of the type that it says to be.
    pub(crate) fn is_plain(&self, kind: &str) -> bool {
        let of_kind = match self.format {
            ImageFormat::Jpeg => "image/jpeg",
            ImageFormat::Png => "image/png",
            _ => return false,
        };
        self.is_upright && kinds::essence(kind).eq_ignore_ascii_case(of_kind)
    }

    /// What making a smaller one takes at most, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.decoded.saturating_add(BESIDES)
    }

    /// Makes a smaller one, upright and still. It is never larger than the picture.
    pub(crate) fn shrink(self, file: &[u8], variant: Variant) -> Result<Made, Error> {
        let unreadable = |_| Error::NoThumbnail("The picture cannot be decoded");
        let mut decoder = decoder(file, self.format).map_err(unreadable)?;
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(self.memory());
        decoder.set_limits(limits).map_err(unreadable)?;
        // What is broken around the picture does not break the picture.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
        let mut small = smaller(picture, variant, is_turned(orientation));
        small.apply_orientation(orientation);
        encode(&small, self.format).map_err(unreadable)
    }
}

/// A decoder that has read the head of a picture.
pub(crate) fn decoder(file: &[u8], format: ImageFormat) -> image::ImageResult<impl ImageDecoder> {
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits_of_head());
    reader.into_decoder()
}

pub(crate) fn is_turned(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// The picture as it lies in the file, so small that it fits when it is turned upright.
pub(crate) fn smaller(picture: DynamicImage, variant: Variant, is_turned: bool) -> DynamicImage {
    let (mut width, mut height) = (variant.width, variant.height);
    if is_turned {
        std::mem::swap(&mut width, &mut height);
    }
    let (has_width, has_height) = (picture.width(), picture.height());
    match variant.method {
        Method::Scale if has_width <= width && has_height <= height => picture,
        Method::Scale => picture.thumbnail(width, height),
        Method::Crop => {
            let (width, height) = in_shape((width, height), (has_width, has_height));
            if (width, height) == (has_width, has_height) {
                return picture;
            }
            // Quick and rough down to twice the size, smooth from there on.
            let twice = |side: u32| side.saturating_mul(2);
            let rough = match has_width > twice(twice(width)) && has_height > twice(twice(height)) {
                true => fill_thumbnail(&picture, twice(width), twice(height)),
                false => picture,
            };
            rough.resize_to_fill(width, height, FilterType::Triangle)
        }
    }
}

/// The largest size of the shape of `wanted`, and no larger, that is within what there is.
fn in_shape(wanted: (u32, u32), has: (u32, u32)) -> (u32, u32) {
    let [(width, height), (has_width, has_height)] =
        [wanted, has].map(|(width, height)| (u64::from(width), u64::from(height)));
    let (width, height) = if width <= has_width && height <= has_height {
        (width, height)
    } else if has_width * height <= has_height * width {
        (has_width, has_width * height / width)
    } else {
        (has_height * width / height, has_height)
    };
    let side = |side: u64| u32::try_from(side.max(1)).unwrap_or(u32::MAX);
    (side(width), side(height))
}

/// As small as fills this size, quickly.
fn fill_thumbnail(picture: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    let (has_width, has_height) = (u64::from(picture.width()), u64::from(picture.height()));
    let (width, height) = (u64::from(width), u64::from(height));
    // By the side that is relatively shorter.
    let (width, height) = if has_width * height < has_height * width {
        (width, (has_height * width).div_ceil(has_width))
    } else {
        ((has_width * height).div_ceil(has_height), height)
    };
    let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
    picture.thumbnail_exact(side(width), side(height))
}

/// What is drawn, as in PNG, stays sharp, as long as it is small; JPEG is for photographs, and cannot be seen through.
fn encode(picture: &DynamicImage, source: ImageFormat) -> image::ImageResult<Made> {
    if picture.color().has_alpha() {
        let picture = picture.to_rgba8();
        return png(&picture, picture.dimensions(), ExtendedColorType::Rgba8);
    }
    let picture = picture.to_rgb8();
    if source == ImageFormat::Png {
        let made = png(&picture, picture.dimensions(), ExtendedColorType::Rgb8)?;
        if made.bytes.len() <= LARGEST_OPAQUE_PNG {
            return Ok(made);
        }
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&picture)?;
    Ok(Made { bytes, kind: "image/jpeg" })
}

fn png(points: &[u8], (width, height): (u32, u32), colour: ExtendedColorType) -> image::ImageResult<Made> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes).write_image(points, width, height, colour)?;
    Ok(Made { bytes, kind: "image/png" })
}
