//! The data of streams: nothing of them lies open in the new file.
//!
//! What is not packed is packed. What is packed already is looked through as it stands, since bytes that are chosen well come
//! out of a packing as a program; where they hold one they are packed once more, and if that is of no use, written in
//! hexadecimal digits. Behind the end of packed data nothing stays. Pictures in packings of their own are taken apart like those
//! that come alone: of a JPEG only its blocks stay, of JPEG 2000 and JBIG2 only what is of the picture. Contents are unpacked
//! whole, within a bound, and pictures in them are cleaned as well ([`super::inline`]).

use std::io::Write;

use flate2::{Compression, Decompress, FlushDecompress, Status, write::ZlibEncoder};
use lopdf::{DecompressError, Dictionary, Object, Stream};

use super::{jbig2, jpx, role::Role};
use crate::{
    kind::{Family, detect},
    marks,
    picture::{self, Unwalked},
    settings::Limits,
    verdict::{Part, Reason, Refusal, Removed, malformed, note},
};

/// Most packings of one stream; programs write one or two.
const MOST_FILTERS: usize = 8;

/// How often more than what a file may unpack to all its packed streams may hold: they are looked at piece by piece, and
/// drawings of a metre's width are white for the most part.
const MOST_UNPACKED: u64 = 4;

/// Which part of what a file may unpack to one stream of contents may take: 128 MiB of what is usual. The plan of a city, drawn
/// line by line, has some 50 MB.
const PART_OF_CONTENT: u64 = 4;

/// How often more all contents of a document may hold: a file has no room for twenty such plans.
const MOST_CONTENTS: u64 = 2;

/// How much of a font is looked at.
const HEAD: usize = 64 << 10;

/// Bytes behind packed data that are an end of line.
const LINE_END: usize = 2;

/// Short names that belong into pictures in contents, and are read in streams as well.
const SHORT: &[(&[u8], &[u8])] = &[
    (b"AHx", b"ASCIIHexDecode"),
    (b"A85", b"ASCII85Decode"),
    (b"LZW", b"LZWDecode"),
    (b"Fl", b"FlateDecode"),
    (b"RL", b"RunLengthDecode"),
    (b"CCF", b"CCITTFaxDecode"),
    (b"DCT", b"DCTDecode"),
];

/// What a dictionary says of how its stream is packed, and where else its data lie.
const SAID: [&[u8]; 6] = [b"Filter", b"DecodeParms", b"F", b"FFilter", b"FDecodeParms", b"DL"];

/// A way of packing, with what it needs to know.
pub(super) type Filter = (Vec<u8>, Option<Object>);

/// What a stream holds, and how it is packed, the outermost first.
pub(super) struct Data {
    pub(super) filters: Vec<Filter>,
    pub(super) content: Vec<u8>,
}

/// Makes the data of streams anew, of one file.
pub(super) struct Packer<'l> {
    limits: &'l Limits,
    unpacked: u64,
    /// Bytes of contents so far.
    contents: u64,
    /// Blocks of JPEGs that may still be looked at.
    blocks_left: u64,
}

impl<'l> Packer<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { limits, unpacked: 0, contents: 0, blocks_left: picture::MOST_BLOCKS_OF_ALL }
    }

    /// Writes a stream's data anew into one with this dictionary, which lacks what says how they are packed.
    ///
    /// # Errors
    /// [`Reason::Expansion`] where the file's streams unpack to too much; [`Reason::NotAllowed`] where one is packed too often.
    pub(super) fn stream(
        &mut self,
        mut dictionary: Dictionary,
        mut data: Data,
        role: Role,
        removed: &mut Vec<Removed>,
    ) -> Result<Stream, Refusal> {
        if data.filters.len() > MOST_FILTERS {
            return Err(Refusal::new(
                Reason::NotAllowed,
                format!("a stream packed {} times", data.filters.len()),
            ));
        }
        for (name, _) in &mut data.filters {
            *name = whole_name(name).to_vec();
        }
        for key in SAID {
            dictionary.remove(key);
        }
        // What it says has been done when the file was opened.
        data.filters.retain(|(name, _)| name != b"Crypt");
        let of_picture = data.filters.iter().position(|(name, _)| is_of_picture(name));
        if matches!(role, Role::Content | Role::Form | Role::Pattern) {
            self.content(&mut data, removed)?;
        } else if let Some(at) = of_picture {
            self.picture(&mut dictionary, &mut data, at, removed)?;
        } else {
            self.end(&mut data, removed)?;
        }
        if role == Role::Globals {
            self.globals(&mut data, removed)?;
        }
        if role == Role::Data && self.is_program(&data) {
            note(removed, Part::Font, "");
            data = Data { filters: Vec::new(), content: Vec::new() };
        }
        conceal(&mut data)?;
        write(&mut dictionary, data.filters);
        Ok(Stream::new(dictionary, data.content).with_compression(false))
    }

    /// Counts what was unpacked.
    fn count(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        match self.unpacked > self.limits.unpacked_bytes.saturating_mul(MOST_UNPACKED) {
            true => Err(Refusal::new(Reason::Expansion, format!("streams of {} bytes", self.unpacked))),
            false => Ok(()),
        }
    }

    /// Cuts off what stands behind data that are packed as most are; what breaks off is packed anew as far as it goes.
    fn end(&mut self, data: &mut Data, removed: &mut Vec<Removed>) -> Result<(), Refusal> {
        if data.filters.first().is_none_or(|(name, _)| name != b"FlateDecode") || data.content.is_empty() {
            return Ok(());
        }
        let mut buffer = vec![0; HEAD];
        let mut unpacking = Decompress::new(true);
        loop {
            let (from, before) = (unpacking.total_in(), unpacking.total_out());
            let rest =
                usize::try_from(from).ok().and_then(|from| data.content.get(from..)).unwrap_or_default();
            let status = unpacking.decompress(rest, &mut buffer, FlushDecompress::None);
            self.count(unpacking.total_out() - before)?;
            match status {
                Ok(Status::StreamEnd) => break,
                Ok(_) if (unpacking.total_in(), unpacking.total_out()) != (from, before) => {}
                _ => {
                    data.content = packed(&self.broken(&data.content)?)?;
                    return Ok(());
                }
            }
        }
        let end = usize::try_from(unpacking.total_in()).unwrap_or(usize::MAX);
        let behind = data.content.len().saturating_sub(end);
        if behind > LINE_END {
            note(removed, Part::TrailingData, "stream");
        }
        data.content.truncate(end);
        Ok(())
    }

    /// What readers find in data that break off, with or without a header.
    fn broken(&mut self, content: &[u8]) -> Result<Vec<u8>, Refusal> {
        let most = usize::try_from(self.limits.unpacked_bytes).unwrap_or(usize::MAX);
        for (has_header, begin) in [(true, 0), (false, 2)] {
            let mut unpacking = Decompress::new(has_header);
            let mut out = Vec::new();
            let content = content.get(begin..).unwrap_or_default();
            while out.len() < most {
                out.reserve(HEAD);
                let from = usize::try_from(unpacking.total_in()).unwrap_or(usize::MAX);
                let before = (unpacking.total_in(), out.len());
                let rest = content.get(from..).unwrap_or_default();
                let status = unpacking.decompress_vec(rest, &mut out, FlushDecompress::None);
                let is_over = !matches!(status, Ok(Status::Ok | Status::BufError));
                if is_over || (unpacking.total_in(), out.len()) == before {
                    break;
                }
            }
            self.count(out.len() as u64)?;
            if !out.is_empty() {
                return Ok(out);
            }
        }
        Ok(Vec::new())
    }

    /// What is drawn by: unpacked to be looked at, and packed anew only where something changed.
    fn content(&mut self, data: &mut Data, removed: &mut Vec<Removed>) -> Result<(), Refusal> {
        let is_usual = match data.filters.as_slice() {
            [] => true,
            [(name, parameters)] => name == b"FlateDecode" && parameters.is_none(),
            _ => false,
        };
        let mut dictionary = Dictionary::new();
        write(&mut dictionary, data.filters.clone());
        let stream = Stream::new(dictionary, std::mem::take(&mut data.content));
        let most = usize::try_from(self.limits.unpacked_bytes / PART_OF_CONTENT).unwrap_or(usize::MAX);
        let unpacked = match stream.decompressed_content_with_limit(most) {
            Ok(unpacked) => unpacked,
            Err(lopdf::Error::Decompress(DecompressError::MemoryLimitExceeded { limit })) => {
                let detail = format!("contents of more than {limit} bytes");
                return Err(Refusal::new(Reason::Expansion, detail));
            }
            // Readers find nothing to draw in it either.
            Err(_) => {
                note(removed, Part::Drawing, "");
                data.filters.clear();
                return Ok(());
            }
        };
        self.contents = self.contents.saturating_add(unpacked.len() as u64);
        if self.contents > self.limits.unpacked_bytes.saturating_mul(MOST_CONTENTS) {
            return Err(Refusal::new(Reason::Expansion, format!("contents of {} bytes", self.contents)));
        }
        data.content = stream.content;
        self.end(data, removed)?;
        match self.pictures(&unpacked, removed)? {
            Some(cleaned) => *data = Data { filters: Vec::new(), content: cleaned },
            None if is_usual => {}
            None => *data = Data { filters: Vec::new(), content: unpacked },
        }
        Ok(())
    }

    /// Takes off the packings around those that are left, of which `kept` is the first.
    fn unpack(&mut self, data: &mut Data, kept: usize) -> Result<Option<()>, Refusal> {
        if kept == 0 {
            return Ok(Some(()));
        }
        let inner = data.filters.split_off(kept);
        let outer = std::mem::replace(&mut data.filters, inner);
        let mut dictionary = Dictionary::new();
        write(&mut dictionary, outer);
        let most = usize::try_from(self.limits.unpacked_bytes).unwrap_or(usize::MAX);
        let stream = Stream::new(dictionary, std::mem::take(&mut data.content));
        let Ok(content) = stream.decompressed_content_with_limit(most) else { return Ok(None) };
        self.count(content.len() as u64)?;
        data.content = content;
        Ok(Some(()))
    }

    /// A picture in a packing of its own, which is the filter at this place. The dictionary gets a size, and colours, where the
    /// picture has become another.
    pub(super) fn picture(
        &mut self,
        dictionary: &mut Dictionary,
        data: &mut Data,
        at: usize,
        removed: &mut Vec<Removed>,
    ) -> Result<(), Refusal> {
        // What comes out of a picture's packing are points: nothing is packed in them.
        let is_last = at + 1 == data.filters.len();
        let bare = if is_last { self.unpack(data, at)? } else { None };
        let made = match bare {
            None => None,
            Some(()) if data.filters[0].0 == b"DCTDecode" => self.jpeg(dictionary, data, removed)?,
            Some(()) => {
                let is_jpx = data.filters[0].0 == b"JPXDecode";
                let checked = if is_jpx { jpx::checked } else { jbig2::checked };
                let checked = checked(&data.content, self.limits.pixels);
                shorter(data, checked, if is_jpx { Part::Metadata } else { Part::TrailingData }, removed)
            }
        };
        if made.is_none() {
            note(removed, Part::Drawing, "");
            // A grey point, as large as the picture was shown.
            for key in [&b"Decode"[..], b"ImageMask", b"Mask", b"SMask", b"SMaskInData", b"Matte"] {
                dictionary.remove(key);
            }
            shape(dictionary, (1, 1));
            dictionary.set("ColorSpace", "DeviceGray");
            *data = Data { filters: Vec::new(), content: vec![225] };
        }
        Ok(())
    }

    fn jpeg(
        &mut self,
        dictionary: &mut Dictionary,
        data: &mut Data,
        removed: &mut Vec<Removed>,
    ) -> Result<Option<()>, Refusal> {
        let points = match picture::stripped(&data.content, self.limits.pixels, &mut self.blocks_left) {
            Ok(stripped) => {
                if stripped.metadata {
                    note(removed, Part::Metadata, "");
                }
                if stripped.trailing > LINE_END {
                    note(removed, Part::TrailingData, "JPEG");
                }
                data.content = stripped.bytes;
                return Ok(Some(()));
            }
            // It is decoded, and stays as points: nothing is lost by encoding it once more.
            Err(Unwalked::Otherwise) => picture::points(&data.content, self.limits, &mut self.blocks_left),
            Err(Unwalked::TooMuch) => None,
        };
        if self.blocks_left == 0 {
            return Err(Refusal::new(Reason::TooManyPixels, "the pictures of all pages"));
        }
        let Some(points) = points else { return Ok(None) };
        self.count(points.samples.len() as u64)?;
        note(removed, Part::Metadata, "");
        shape(dictionary, points.size);
        *data = Data { filters: Vec::new(), content: points.samples };
        Ok(Some(()))
    }

    /// What pages of JBIG2 share.
    fn globals(&mut self, data: &mut Data, removed: &mut Vec<Removed>) -> Result<(), Refusal> {
        let all = data.filters.len();
        let checked =
            self.unpack(data, all)?.and_then(|()| jbig2::checked(&data.content, self.limits.pixels));
        if shorter(data, checked, Part::TrailingData, removed).is_none() {
            data.content.clear();
        }
        data.filters.clear();
        Ok(())
    }

    /// Whether what should be a font, or a table of one, begins as a program or an archive.
    fn is_program(&mut self, data: &Data) -> bool {
        let mut head = Vec::with_capacity(HEAD);
        let begin = match data.filters.as_slice() {
            [] => data.content.get(..HEAD.min(data.content.len())).unwrap_or_default(),
            [(name, _)] if name == b"FlateDecode" => {
                // What does not unpack is no program.
                drop(Decompress::new(true).decompress_vec(&data.content, &mut head, FlushDecompress::None));
                &head
            }
            _ => return false,
        };
        match detect(begin) {
            Ok(kind) => matches!(kind, Family::Zip),
            Err(refusal) => matches!(
                refusal.reason,
                Reason::Program | Reason::Archive | Reason::Legacy | Reason::LegacyMacro
            ),
        }
    }
}

pub(super) fn is_of_picture(filter: &[u8]) -> bool {
    matches!(filter, b"DCTDecode" | b"JPXDecode" | b"JBIG2Decode")
}

/// The name of a packing, which may be a short one.
pub(super) fn whole_name(name: &[u8]) -> &[u8] {
    SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, whole)| whole)
}

/// Takes what was checked in the data's place, which may be shorter.
fn shorter(data: &mut Data, checked: Option<Vec<u8>>, what: Part, removed: &mut Vec<Removed>) -> Option<()> {
    let checked = checked?;
    if data.content.len() > checked.len() + LINE_END {
        note(removed, what, "picture");
    }
    data.content = checked;
    Some(())
}

/// Says that a picture has this size, of eight bits for each sample.
fn shape(dictionary: &mut Dictionary, (width, height): (u32, u32)) {
    dictionary.set("Width", i64::from(width));
    dictionary.set("Height", i64::from(height));
    dictionary.set("BitsPerComponent", 8);
}

/// Packs data until nothing that runs lies open in them.
fn conceal(data: &mut Data) -> Result<(), Refusal> {
    if data.content.is_empty() {
        data.filters.clear();
        return Ok(());
    }
    if data.filters.is_empty() || marks::find(&data.content).is_some() {
        data.content = packed(&data.content)?;
        data.filters.insert(0, (b"FlateDecode".to_vec(), None));
        if marks::find(&data.content).is_some() {
            data.content = digits(&data.content);
            data.filters.insert(0, (b"ASCIIHexDecode".to_vec(), None));
        }
    }
    Ok(())
}

fn packed(content: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(content.len() / 2), Compression::default());
    encoder.write_all(content).map_err(malformed)?;
    encoder.finish().map_err(malformed)
}

/// Two digits for each byte, and the end of them.
pub(super) fn digits(content: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let pair = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    content.iter().flat_map(pair).chain([b'>']).collect()
}

/// Says in a dictionary how its stream is packed.
fn write(dictionary: &mut Dictionary, filters: Vec<Filter>) {
    let is_told = filters.iter().any(|(_, parameters)| parameters.is_some());
    let (mut names, mut parameters) = (Vec::new(), Vec::new());
    for (name, told) in filters {
        names.push(Object::Name(name));
        parameters.push(told.unwrap_or(Object::Null));
    }
    let one_or_all =
        |mut values: Vec<Object>| if values.len() == 1 { values.remove(0) } else { Object::Array(values) };
    if is_told {
        dictionary.set("DecodeParms", one_or_all(parameters));
    }
    if !names.is_empty() {
        dictionary.set("Filter", one_or_all(names));
    }
}
