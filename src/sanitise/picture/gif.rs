//! GIF: the indices and palettes of all frames, written anew.

use gif::{ColorOutput, DecodeOptions, Encoder, MemoryLimit};

use super::check;
use crate::{
    settings::Limits,
    verdict::{Made, Part, Parts, Reason, Refusal, malformed, note},
};

pub(super) fn sanitise(file: &[u8], limits: &Limits) -> Made {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(
        std::num::NonZeroU64::new(limits.pixels).ok_or_else(|| malformed("no pixels allowed"))?,
    ));
    options.check_frame_consistency(true);
    let (end, has_comment) = end_of(file)?;
    let mut decoder = options.read_info(&file[..end]).map_err(malformed)?;
    check((u32::from(decoder.width()), u32::from(decoder.height())), 1, limits)?;
    let palette = decoder.global_palette().unwrap_or_default().to_vec();
    let mut bytes = Vec::new();
    let mut encoder =
        Encoder::new(&mut bytes, decoder.width(), decoder.height(), &palette).map_err(malformed)?;
    let (mut frames, mut pixels) = (0_u32, 0_u64);
    while let Some(frame) = decoder.read_next_frame().map_err(malformed)? {
        frames += 1;
        pixels = pixels.saturating_add(u64::from(frame.width) * u64::from(frame.height));
        if frames > limits.frames || pixels > limits.pixels {
            return Err(Refusal::new(Reason::TooManyPixels, format!("{frames} frames of {pixels} pixels")));
        }
        let frame = frame.clone();
        // Only after the first frame the decoder knows whether the animation repeats.
        if frames == 1 && decoder.repeat() != gif::Repeat::Finite(0) {
            encoder.set_repeat(decoder.repeat()).map_err(malformed)?;
        }
        encoder.write_frame(&frame).map_err(malformed)?;
    }
    if frames == 0 {
        return Err(malformed("no frame"));
    }
    drop(encoder);
    let mut removed = Vec::new();
    if decoder.xmp_metadata().is_some() || has_comment {
        note(&mut removed, Part::Metadata, "");
    }
    if end < file.len() {
        note(&mut removed, Part::TrailingData, format!("{} bytes", file.len() - end));
    }
    Ok(Parts::rebuilt(bytes, removed))
}

/// Whether a file that was made here has more than one frame.
pub(super) fn is_animated(file: &[u8]) -> Result<bool, Refusal> {
    let mut options = DecodeOptions::new();
    options.skip_frame_decoding(true);
    let mut decoder = options.read_info(file).map_err(malformed)?;
    decoder.next_frame_info().map_err(malformed)?;
    Ok(decoder.next_frame_info().map_err(malformed)?.is_some())
}

/// Where the file ends, behind the trailer that its blocks lead to; whether one of them is a comment.
fn end_of(file: &[u8]) -> Result<(usize, bool), Refusal> {
    let cut = || malformed("cut off");
    let byte = |at: usize| file.get(at).copied().ok_or_else(cut);
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let (mut at, mut has_comment) = (13 + table(byte(10)?), false);
    loop {
        let kind = byte(at)?;
        at += match kind {
            0x3b => return Ok((at + 1, has_comment)),
            0x21 => {
                has_comment |= byte(at + 1)? == 0xfe;
                2
            }
            0x2c => 10 + table(byte(at + 9)?) + 1,
            _ => return Err(malformed("an unknown block")),
        };
        // Blocks of data up to an empty one.
        while byte(at)? != 0 {
            at += usize::from(byte(at)?) + 1;
        }
        at += 1;
    }
}
