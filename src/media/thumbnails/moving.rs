//! From a picture that moves to a smaller one that moves.
//!
//! Whatever it came as, an animated WebP comes of it, which the specification prefers: each picture is kept without loss, and
//! of each only the part that is not as before. One picture of the many is in memory at a time. How many there are,
//! what all of them take to decode, how large the outcome is and how long it takes has a bound; where one is passed there
//! is nothing, and a still picture takes its place.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid>,
//! RFC 9649 for the file.

use std::io::Cursor;

use image::{
    AnimationDecoder, ExtendedColorType, Frame, Frames, GenericImageView, ImageDecoder, ImageFormat,
    ImageResult, Limits, RgbaImage,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder, webp::WebPEncoder},
    metadata::{LoopCount, Orientation},
};

use super::{
    LARGEST_MOVING, Variant,
    make::{BESIDES, Made, is_turned, smaller},
};
use crate::heads::limits_of_head;

/// Most points of one picture of the many.
const MOST_POINTS: u64 = 8_000_000;
/// What is larger than this, in bytes, gives way to a file that is smaller as it is.
const SMALL: usize = 256 << 10;
/// How often a decoder holds a picture.
const TIMES_HELD: u64 = 5;

/// How much of a picture that moves is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most pictures.
    pub(crate) pictures: u32,
    /// Most points of all pictures, as they are decoded.
    pub(crate) points: u64,
    /// Most bytes of what is made.
    pub(crate) bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { pictures: 1_000, points: 250_000_000, bytes: LARGEST_MOVING }
    }
}

/// What the head of a picture that moves says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moving {
    format: ImageFormat,
    width: u32,
    height: u32,
}

impl Moving {
    /// What a file is that begins so, if it says to move.
    pub(crate) fn look(head: &[u8]) -> Option<Self> {
        let format = image::guess_format(head).ok()?;
        let (width, height) = match format {
            ImageFormat::Gif if is_repeated(head) => GifDecoder::new(Cursor::new(head)).ok()?.dimensions(),
            ImageFormat::Png => {
                let decoder = PngDecoder::with_limits(Cursor::new(head), limits_of_head()).ok()?;
                decoder.is_apng().ok()?.then(|| decoder.dimensions())?
            }
            ImageFormat::WebP => webp_canvas(head)?,
            _ => return None,
        };
        Some(Self { format, width, height })
    }

    /// Whether it is no larger than what is wanted.
    pub(crate) fn is_within(&self, variant: Variant) -> bool {
        variant.takes(self.width, self.height)
    }

    fn points(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Whether one of its pictures is small enough to begin with it.
    pub(crate) fn is_bounded(&self) -> bool {
        (1..=MOST_POINTS).contains(&self.points())
    }

    /// What making a smaller one takes at most, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.points().saturating_mul(4 * TIMES_HELD).saturating_add(BESIDES + LARGEST_MOVING)
    }

    /// Makes a smaller one; none where it does not move after all, cannot be decoded or passes a bound, of which `is_late`
    /// is one. Where a part of it is broken it ends before that.
    pub(crate) fn shrink(
        self,
        file: &[u8],
        variant: Variant,
        bounds: Bounds,
        is_late: impl Fn() -> bool,
    ) -> Option<Made> {
        if !self.is_bounded() {
            return None;
        }
        let (frames, orientation, times) = self.open(file).ok()?;
        let mut written: Option<Webp> = None;
        let (mut pictures, mut points) = (0, 0_u64);
        for frame in frames {
            // What came before the broken part is a picture.
            let Ok(frame) = frame else { break };
            pictures += 1;
            points = points.saturating_add(self.points());
            if pictures > bounds.pictures || points > bounds.points || is_late() {
                return None;
            }
            let shown_ms = shown_ms(&frame);
            let mut small = smaller(frame.into_buffer().into(), variant, is_turned(orientation));
            small.apply_orientation(orientation);
            let small = small.into_rgba8();
            let webp = written.get_or_insert_with(|| Webp::new(times));
            webp.add(small, shown_ms).ok()?;
            if webp.size() > bounds.bytes {
                return None;
            }
        }
        // The newest is not counted yet, and is no larger than a still one may be.
        let bytes = written?.finish()?;
        // Some are packed better than we pack.
        match file.len() <= bytes.len() && bytes.len() > SMALL {
            true => Some(Made { bytes: file.to_vec(), kind: self.format.to_mime_type() }),
            false => Some(Made { bytes, kind: "image/webp" }),
        }
    }

    /// The pictures of it, how all of them lie, and how often they are shown; 0 is without end.
    fn open<'a>(self, file: &'a [u8]) -> ImageResult<(Frames<'a>, Orientation, u16)> {
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(self.memory());
        let file = Cursor::new(file);
        Ok(match self.format {
            ImageFormat::Gif => {
                let mut decoder = GifDecoder::new(file)?;
                decoder.set_limits(limits)?;
                let times = times(&decoder);
                (decoder.into_frames(), Orientation::NoTransforms, times)
            }
            ImageFormat::Png => {
                let mut decoder = PngDecoder::with_limits(file, limits)?;
                // What is broken around the picture does not break the picture.
                let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
                let decoder = decoder.apng()?;
                let times = times(&decoder);
                (decoder.into_frames(), orientation, times)
            }
            _ => {
                let mut decoder = WebPDecoder::new(file)?;
                decoder.set_limits(limits)?;
                let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
                let times = times(&decoder);
                (decoder.into_frames(), orientation, times)
            }
        })
    }
}

/// A GIF of several pictures has an extension that says how often they are shown.
fn is_repeated(head: &[u8]) -> bool {
    head.windows(11).take(4_096).any(|part| part == b"NETSCAPE2.0")
}

/// How large a WebP is that says in its head that it moves.
fn webp_canvas(head: &[u8]) -> Option<(u32, u32)> {
    const MOVES: u8 = 0b10;
    if head.get(12..16)? != b"VP8X" || head.get(20)? & MOVES == 0 {
        return None;
    }
    let side =
        |at: usize| Some(1 + u32::from_le_bytes([*head.get(at)?, *head.get(at + 1)?, *head.get(at + 2)?, 0]));
    Some((side(24)?, side(27)?))
}

fn times<'a>(decoder: &impl AnimationDecoder<'a>) -> u16 {
    match decoder.loop_count() {
        LoopCount::Infinite => 0,
        LoopCount::Finite(times) => u16::try_from(times.get()).unwrap_or(0),
    }
}

fn shown_ms(frame: &Frame) -> u32 {
    let (numerator, denominator) = frame.delay().numer_denom_ms();
    numerator.checked_div(denominator).unwrap_or(0)
}

/// An animated WebP that comes to be.
///
/// RFC 9649: <https://www.rfc-editor.org/rfc/rfc9649>
struct Webp {
    times: u16,
    /// The chunks of the pictures that are done.
    chunks: Vec<u8>,
    pictures: u32,
    /// The newest picture, which may be shown for longer: what of it is new, and for how long it is shown.
    last: Option<(RgbaImage, Part, u32)>,
    is_seen_through: bool,
}

/// A part of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

/// The longest that a picture is shown, in milliseconds: 24 bits.
const LONGEST_MS: u32 = 0xff_ffff;

impl Webp {
    fn new(times: u16) -> Self {
        Self { times, chunks: Vec::new(), pictures: 0, last: None, is_seen_through: false }
    }

    fn size(&self) -> u64 {
        u64::try_from(self.chunks.len()).unwrap_or(u64::MAX)
    }

    /// Adds a picture, as large as the others. One that is as the one before only lengthens that.
    fn add(&mut self, picture: RgbaImage, shown_ms: u32) -> ImageResult<()> {
        self.is_seen_through |= picture.pixels().any(|point| point.0[3] < u8::MAX);
        let part = match &mut self.last {
            None => Part { x: 0, y: 0, width: picture.width(), height: picture.height() },
            Some((last, _, last_ms)) => match changed(last, &picture) {
                Some(part) => part,
                None => {
                    *last_ms = last_ms.saturating_add(shown_ms);
                    return Ok(());
                }
            },
        };
        self.write_last()?;
        self.last = Some((picture, part, shown_ms));
        Ok(())
    }

    fn write_last(&mut self) -> ImageResult<()> {
        // Over what was there, and it stays.
        const WRITTEN_OVER: u8 = 0b10;
        let Some((picture, part, shown_ms)) = self.last.take() else { return Ok(()) };
        let Part { x, y, width, height } = part;
        let points = picture.view(x, y, width, height).to_image();
        let mut still = Vec::new();
        WebPEncoder::new_lossless(&mut still).encode(&points, width, height, ExtendedColorType::Rgba8)?;
        let mut frame = Vec::with_capacity(still.len() + 16);
        for number in [x / 2, y / 2, width - 1, height - 1, shown_ms.min(LONGEST_MS)] {
            frame.extend(three_bytes(number));
        }
        frame.push(WRITTEN_OVER);
        // Behind the head of a file that holds one picture is the chunk of that.
        frame.extend(still.get(12..).unwrap_or_default());
        chunk(&mut self.chunks, b"ANMF", &frame);
        self.pictures += 1;
        Ok(())
    }

    /// The file; none of a picture that does not move.
    fn finish(mut self) -> Option<Vec<u8>> {
        const MOVES: u8 = 0b10;
        const SEEN_THROUGH: u8 = 0b1_0000;
        let (width, height) = self.last.as_ref().map(|(picture, ..)| picture.dimensions())?;
        self.write_last().ok()?;
        if self.pictures < 2 {
            return None;
        }
        let mut body = b"WEBP".to_vec();
        let flags = if self.is_seen_through { MOVES | SEEN_THROUGH } else { MOVES };
        let mut head = vec![flags, 0, 0, 0];
        head.extend(three_bytes(width - 1));
        head.extend(three_bytes(height - 1));
        chunk(&mut body, b"VP8X", &head);
        // No background, and how often.
        let [low, high] = self.times.to_le_bytes();
        chunk(&mut body, b"ANIM", &[0, 0, 0, 0, low, high]);
        body.extend(self.chunks);
        let mut file = Vec::with_capacity(body.len() + 8);
        chunk(&mut file, b"RIFF", &body);
        Some(file)
    }
}

fn three_bytes(number: u32) -> [u8; 3] {
    let [first, second, third, _] = number.to_le_bytes();
    [first, second, third]
}

/// Adds a chunk, of an even number of bytes.
fn chunk(to: &mut Vec<u8>, name: &[u8; 4], body: &[u8]) {
    // Bounded by `LARGEST_MOVING`.
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    to.extend(name);
    to.extend(size.to_le_bytes());
    to.extend(body);
    if body.len() % 2 == 1 {
        to.push(0);
    }
}

/// The smallest part outside of which two pictures are the same, that begins at even points; none where they are the same.
fn changed(before: &RgbaImage, after: &RgbaImage) -> Option<Part> {
    let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
    let rows = before.rows().zip(after.rows()).zip(0_u32..);
    for ((old, new), y) in rows {
        for ((old, new), x) in old.zip(new).zip(0_u32..) {
            if old != new {
                (left, right) = (left.min(x), right.max(x));
                (top, bottom) = (top.min(y), bottom.max(y));
            }
        }
    }
    if left > right {
        return None;
    }
    let (x, y) = (left & !1, top & !1);
    Some(Part { x, y, width: right - x + 1, height: bottom - y + 1 })
}
