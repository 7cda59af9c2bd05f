//! Files beside a message. Photos of reports are what their bytes are, not what is said of them.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// A photo that came with a report, or a text of which a message shows a part.
#[derive(Debug, PartialEq)]
pub(crate) struct File {
    /// Its name, with an ending that fits what it is.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
}

/// What a file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) content_type: &'static str,
    /// Whether clients show it as a picture.
    pub(crate) is_shown: bool,
    /// Endings that fit it, the usual one first.
    endings: &'static [&'static str],
}

const JPEG: Kind = shown("image/jpeg", &["jpg", "jpeg", "jpe", "jfif"]);
const PNG: Kind = shown("image/png", &["png"]);
const GIF: Kind = shown("image/gif", &["gif"]);
const WEBP: Kind = shown("image/webp", &["webp"]);
// Phones of one maker write these, and forms send what phones have.
const HEIC: Kind = file("image/heic", &["heic", "heif", "avif", "hif"]);
const TIFF: Kind = file("image/tiff", &["tif", "tiff"]);
const PDF: Kind = file("application/pdf", &["pdf"]);
const MP4: Kind = file("video/mp4", &["mp4", "m4v", "3gp"]);
const MOV: Kind = file("video/quicktime", &["mov", "qt"]);
const TEXT: Kind = file("text/plain", &["txt"]);

const fn shown(content_type: &'static str, endings: &'static [&'static str]) -> Kind {
    Kind { content_type, is_shown: true, endings }
}

const fn file(content_type: &'static str, endings: &'static [&'static str]) -> Kind {
    Kind { content_type, is_shown: false, endings }
}

impl File {
    /// Takes what a form calls a photo; none if it is no picture, film or PDF.
    pub(crate) fn of(name: &str, bytes: Vec<u8>) -> Option<Self> {
        let kind = Kind::of(&bytes)?;
        let name = kind.name(&name.replace(['/', '\\', ':'], "_"));
        Some(Self { name, kind, bytes })
    }

    /// A text of ours.
    pub(crate) fn text(name: &str, text: String) -> Self {
        Self { name: TEXT.name(name), kind: TEXT, bytes: text.into_bytes() }
    }
}

impl Kind {
    fn of(bytes: &[u8]) -> Option<Self> {
        let at = |place: usize, mark: &[u8]| bytes.get(place..).is_some_and(|rest| rest.starts_with(mark));
        Some(match bytes {
            _ if at(0, b"\xff\xd8\xff") => JPEG,
            _ if at(0, b"\x89PNG\r\n\x1a\n") => PNG,
            _ if at(0, b"GIF87a") || at(0, b"GIF89a") => GIF,
            _ if at(0, b"RIFF") && at(8, b"WEBP") => WEBP,
            _ if at(4, b"ftyp") => match bytes.get(8..12)? {
                b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" | b"avif"
                | b"avis" => HEIC,
                b"qt  " => MOV,
                _ => MP4,
            },
            _ if at(0, b"II*\0") || at(0, b"MM\0*") => TIFF,
            _ if at(0, b"%PDF-") => PDF,
            _ => return None,
        })
    }

    /// A name whose ending fits; endings are compared without case.
    fn name(self, name: &str) -> String {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
        match (ending, self.endings.first()) {
            (Some(ending), _) if self.endings.contains(&&*ending) => name.to_owned(),
            (_, Some(usual)) => format!("{name}.{usual}"),
            (_, None) => name.to_owned(),
        }
    }
}

/// Base64 as programs write it: as the address of the data itself (RFC 2397, as browsers give it), broken into lines, without its end.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    let data = match text.strip_prefix("data:") {
        Some(address) => address.split_once(',').filter(|(head, _)| head.ends_with(";base64"))?.1,
        None => text,
    };
    let data: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(data).ok()?;
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_what_its_bytes_are_and_is_called_so() {
        for (name, bytes, wanted) in [
            ("a.html", &b"\xff\xd8\xff<html><script>"[..], Some("a.html.jpg")),
            ("A.JPG", b"\xff\xd8\xff\xe0", Some("A.JPG")),
            ("../x", b"\x89PNG\r\n\x1a\n", Some(".._x.png")),
            ("IMG_1.HEIC", b"\0\0\0\x18ftypheic", Some("IMG_1.HEIC")),
            ("x.exe", b"\0\0\0\x18ftypisom", Some("x.exe.mp4")),
            ("a.pdf", b"%PDF-1.7", Some("a.pdf")),
            ("x.exe", b"MZ\x90\0", None),
            ("x.jpg", b"MZ\x90\0", None),
            ("x.jpg", b"<html>", None),
            ("x.jpg", b"", None),
        ] {
            let photo = File::of(name, bytes.to_vec());
            assert_eq!(photo.as_ref().map(|photo| &*photo.name), wanted, "{name}");
        }
    }
}
