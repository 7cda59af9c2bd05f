//! What a file is, by its content.
//!
//! The beginning tells most; a ZIP archive is looked at from its end as well, since documents of Office are archives. It is told
//! here what may come in; making safe what came in (無害化) is the media repository's work.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use serde::{Deserialize, Serialize};

use crate::{language::Language, name};

/// Bytes of the beginning that are looked at.
pub(crate) const HEAD: usize = 4_096;

/// Bytes in which an archive says where its directory is: the record and the longest comment.
const TAIL: u64 = 22 + 65_535;

/// Bytes of an archive's directory that are looked at; documents name their parts at its beginning.
const DIRECTORY: u64 = 1 << 20;

/// Kinds that a link may be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Group {
    Picture,
    Pdf,
    Office,
    Archive,
    Video,
    Drawing,
    Text,
}

/// Each group: its names, as people write them, the first two being how it is shown.
const GROUPS: &[(Group, &[&str])] = &[
    (Group::Picture, &["画像", "pictures", "写真", "image", "images", "picture", "photo", "photos"]),
    (Group::Pdf, &["pdf", "pdf"]),
    (Group::Office, &["文書", "documents", "office", "オフィス", "document"]),
    (Group::Archive, &["zip", "zip", "圧縮", "archive"]),
    (Group::Video, &["動画", "video", "videos", "映像"]),
    (Group::Drawing, &["図面", "drawings", "cad", "drawing"]),
    (Group::Text, &["テキスト", "text", "csv", "txt"]),
];

impl Group {
    /// The group of this name, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        GROUPS.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(group, _)| *group)
    }

    /// As it is shown.
    pub(crate) fn shown(self, language: Language) -> &'static str {
        let names = GROUPS.iter().find(|(group, _)| *group == self).map_or(&["", ""][..], |(_, names)| names);
        match (self, language) {
            (Self::Pdf, _) => "PDF",
            (Self::Archive, _) => "ZIP",
            (_, Language::Japanese) => names[0],
            (_, Language::English) => names[1],
        }
    }

    /// Endings and types by which a browser's file chooser knows it.
    pub(crate) fn accepts(self) -> &'static str {
        match self {
            Self::Picture => "image/*",
            Self::Pdf => "application/pdf",
            Self::Office => ".doc,.docx,.xls,.xlsx,.ppt,.pptx",
            Self::Archive => ".zip",
            Self::Video => "video/*",
            Self::Drawing => ".dxf,.dwg,.jww,.jwc,.sfc,.p21",
            Self::Text => ".txt,.csv",
        }
    }

    /// All names, for help.
    pub(crate) fn all(language: Language) -> String {
        GROUPS
            .iter()
            .map(|(group, _)| group.shown(language))
            .collect::<Vec<_>>()
            .join(language.pick("、", ", "))
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Jpeg,
    Png,
    Gif,
    Webp,
    Heic,
    Tiff,
    Bmp,
    Pdf,
    Docx,
    Xlsx,
    Pptx,
    /// Word, Excel or PowerPoint before 2007, which one is not told apart.
    Ole,
    Zip,
    Mp4,
    Mov,
    Dxf,
    Dwg,
    Jww,
    Sxf,
    Text,
    /// A program of Windows, Linux or macOS, or a script that says so: never taken.
    Program,
    Unknown,
}

impl Kind {
    /// The group that it belongs to.
    pub(crate) fn group(self) -> Option<Group> {
        Some(match self {
            Self::Jpeg | Self::Png | Self::Gif | Self::Webp | Self::Heic | Self::Tiff | Self::Bmp => {
                Group::Picture
            }
            Self::Pdf => Group::Pdf,
            Self::Docx | Self::Xlsx | Self::Pptx | Self::Ole => Group::Office,
            Self::Zip => Group::Archive,
            Self::Mp4 | Self::Mov => Group::Video,
            Self::Dxf | Self::Dwg | Self::Jww | Self::Sxf => Group::Drawing,
            Self::Text => Group::Text,
            Self::Program | Self::Unknown => return None,
        })
    }

    /// Its content type; what a browser would run is given as bytes.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Heic => "image/heic",
            Self::Tiff => "image/tiff",
            Self::Bmp => "image/bmp",
            Self::Pdf => "application/pdf",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            Self::Zip => "application/zip",
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::Text => "text/plain",
            Self::Ole | Self::Dxf | Self::Dwg | Self::Jww | Self::Sxf | Self::Program | Self::Unknown => {
                "application/octet-stream"
            }
        }
    }

    /// Endings that fit it, the usual one first; none where any may.
    pub(crate) fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
            Self::Png => &["png"],
            Self::Gif => &["gif"],
            Self::Webp => &["webp"],
            Self::Heic => &["heic", "heif", "avif", "hif"],
            Self::Tiff => &["tif", "tiff"],
            Self::Bmp => &["bmp"],
            Self::Pdf => &["pdf"],
            Self::Docx => &["docx", "docm", "dotx"],
            Self::Xlsx => &["xlsx", "xlsm", "xltx"],
            Self::Pptx => &["pptx", "pptm", "ppsx"],
            Self::Mp4 => &["mp4", "m4v", "3gp"],
            Self::Mov => &["mov", "qt"],
            Self::Dwg => &["dwg"],
            Self::Jww => &["jww"],
            Self::Ole | Self::Zip | Self::Dxf | Self::Sxf | Self::Text | Self::Program | Self::Unknown => &[],
        }
    }

    /// Whether clients show it as a picture.
    pub(crate) fn is_shown(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::Gif | Self::Webp)
    }

    /// By the beginning of a file. An archive that may be a document is a [`Kind::Zip`] here.
    pub(crate) fn by_head(head: &[u8]) -> Self {
        let at = |place: usize, bytes: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(bytes));
        match head {
            _ if at(0, b"\xff\xd8\xff") => Self::Jpeg,
            _ if at(0, b"\x89PNG\r\n\x1a\n") => Self::Png,
            _ if at(0, b"GIF87a") || at(0, b"GIF89a") => Self::Gif,
            _ if at(0, b"RIFF") && at(8, b"WEBP") => Self::Webp,
            _ if at(4, b"ftyp") => by_brand(head.get(8..12).unwrap_or_default()),
            _ if at(0, b"II*\0") || at(0, b"MM\0*") => Self::Tiff,
            _ if at(0, b"BM") && at(6, b"\0\0\0\0") => Self::Bmp,
            // Programs that show PDF take it within the first kilobyte; what has something in front is no plain one.
            _ if at(0, b"%PDF-") => Self::Pdf,
            _ if at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") => Self::Ole,
            _ if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") => Self::Zip,
            _ if at(0, b"JwwData.") => Self::Jww,
            _ if at(0, b"AC10") && head.get(4..6).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit)) => {
                Self::Dwg
            }
            _ if at(0, b"ISO-10303-21;") => Self::Sxf,
            _ if is_program(head) => Self::Program,
            _ if is_dxf(head) => Self::Dxf,
            _ if is_text(head) => Self::Text,
            _ => Self::Unknown,
        }
    }

    /// By a whole file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn by_content(file: &mut File) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEAD);
        file.seek(SeekFrom::Start(0))?;
        file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        match Self::by_head(&head) {
            Self::Zip => by_directory(file),
            kind => Ok(kind),
        }
    }
}

/// The containers of ISO/IEC 14496-12 tell by their brand what they hold.
fn by_brand(brand: &[u8]) -> Kind {
    match brand {
        b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1" | b"avif" => Kind::Heic,
        b"qt  " => Kind::Mov,
        b"isom" | b"iso2" | b"iso4" | b"iso5" | b"iso6" | b"mp41" | b"mp42" | b"avc1" | b"M4V " | b"MSNV"
        | b"3gp4" | b"3gp5" | b"3gp6" | b"dash" => Kind::Mp4,
        _ => Kind::Unknown,
    }
}

/// Whether a machine runs a file of this name when it is opened, whatever is in it (a script is a text like others), or asks
/// another machine when it is merely shown, and tells it the user's hash.
///
/// What mail programs keep from their users, what browsers run, and what Windows opens as a disk, a notebook or a machine, in which files lie
/// that have lost the mark of where they came from; documents with macros are not among them.
/// Source: <https://support.microsoft.com/en-us/office/blocked-attachments-in-outlook-434752e1-02d3-4e90-9124-8b81e49a8519>
pub(crate) fn is_run_by_name(original: &str) -> bool {
    #[rustfmt::skip]
    const ENDINGS: &[&str] = &[
        "ade", "adp", "app", "appcontent-ms", "appinstaller", "applescript", "application", "appref-ms",
        "appx", "appxbundle", "asp", "aspx", "bas", "bat", "cdxml", "chm", "cmd", "com", "command", "cpl",
        "csh", "deskthemepack", "desktop", "diagcab", "exe", "fileloc", "fxp", "gadget", "grp", "hlp", "hpj",
        "hta", "htc", "htm", "html", "img", "inetloc", "inf", "ins", "iqy", "iso", "isp", "its", "jar",
        "jnlp", "js", "jse", "jsp", "ksh", "library-ms", "lnk", "mad", "maf", "mag", "mam", "maq", "mas",
        "mau", "mav", "maw", "mda", "mde", "mdt", "mdw", "mdz", "mht", "mhtml", "mjs", "msc", "msh", "msh1",
        "msh1xml", "msh2", "msh2xml", "mshxml", "msi", "msix", "msixbundle", "msp", "mst", "msu", "one",
        "onepkg", "oqy", "osd", "pcd", "php", "pif", "pl", "plg", "prf", "prg", "ps1", "ps1xml", "ps2",
        "ps2xml", "psc1", "psc2", "psd1", "psm1", "py", "pyc", "pyo", "pyw", "pyz", "pyzw", "rb", "rdp",
        "reg", "rqy", "scf", "scpt", "scptd", "scr", "sct", "search-ms", "searchconnector-ms",
        "settingcontent-ms", "sh", "shb", "shs", "shtml", "slk", "svg", "svgz", "terminal", "theme",
        "themepack", "tool", "udl", "url", "vb", "vbe", "vbp", "vbs", "vhd", "vhdx", "vsmacros", "vsw",
        "webloc", "webpnp", "website", "wll", "workflow", "ws", "wsb", "wsc", "wsf", "wsh", "xbap", "xht",
        "xhtml", "xla", "xll", "xnk",
    ];
    // Dots and blanks at its end Windows leaves out.
    let name = name::harmless(original).trim_end_matches(['.', ' ']).to_ascii_lowercase();
    // Explorer obeys it as soon as its folder is opened.
    if name == "desktop.ini" {
        return true;
    }
    name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

fn is_program(head: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 8] = [
        b"MZ",
        b"\x7fELF",
        b"#!",
        b"\xcf\xfa\xed\xfe",
        b"\xce\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        // A link of Windows, which starts what it names.
        b"\x4c\x00\x00\x00\x01\x14\x02\x00",
        b"@echo",
    ];
    BEGINNINGS.iter().any(|beginning| head.starts_with(beginning))
}

/// A drawing in text: group code 0, then `SECTION`; or comments under code 999 before it.
fn is_dxf(head: &[u8]) -> bool {
    if head.starts_with(b"AutoCAD Binary DXF") {
        return true;
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    loop {
        match (lines.next(), lines.next()) {
            (Some(b"999"), Some(_)) => {}
            (Some(b"0"), Some(b"SECTION")) => return true,
            _ => return false,
        }
    }
}

/// No controls but those of lines: UTF-8, Shift_JIS and ISO-2022-JP pass.
fn is_text(head: &[u8]) -> bool {
    let is_markup = head.trim_ascii_start().first() == Some(&b'<');
    let wide = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    let is_plain =
        |byte: &u8| *byte >= b' ' && *byte != 0x7f || matches!(*byte, b'\t' | b'\n' | b'\r' | 0x1b | 0x0c);
    // Pages and SVG run in browsers: they are no plain text.
    !head.is_empty() && !is_markup && (wide || head.iter().all(is_plain))
}

/// What an archive is by the names in its directory.
fn by_directory(file: &mut File) -> io::Result<Kind> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.by_ref().take(TAIL).read_to_end(&mut tail)?;
    let Some(end) = tail.windows(4).rposition(|window| window == b"PK\x05\x06") else {
        return Ok(Kind::Unknown);
    };
    let number = |place: usize| {
        tail.get(end + place..end + place + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    };
    let (Some(size), Some(begins)) = (number(12), number(16)) else { return Ok(Kind::Unknown) };
    let mut directory = Vec::new();
    file.seek(SeekFrom::Start(u64::from(begins)))?;
    file.by_ref().take(u64::from(size).min(DIRECTORY)).read_to_end(&mut directory)?;
    let names = names(&directory);
    let has = |wanted: &str| names.iter().any(|name| name.starts_with(wanted.as_bytes()));
    Ok(match () {
        () if !has("[Content_Types].xml") => Kind::Zip,
        () if has("word/") => Kind::Docx,
        () if has("xl/") => Kind::Xlsx,
        () if has("ppt/") => Kind::Pptx,
        () => Kind::Zip,
    })
}

/// The names in an archive's directory, as far as it is one.
fn names(mut directory: &[u8]) -> Vec<&[u8]> {
    /// Bytes of an entry before its name.
    const ENTRY: usize = 46;
    let mut names = Vec::new();
    while directory.starts_with(b"PK\x01\x02") {
        let number = |place: usize| {
            directory.get(place..place + 2).map_or(0, |b| usize::from(b[0]) | usize::from(b[1]) << 8)
        };
        let (name, extra, comment) = (number(28), number(30), number(32));
        let Some(found) = directory.get(ENTRY..ENTRY + name) else { break };
        names.push(found);
        directory = directory.get(ENTRY + name + extra + comment..).unwrap_or_default();
    }
    names
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_what_its_content_says() {
        for (head, kind) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Kind::Jpeg),
            (b"%PDF-1.7\n", Kind::Pdf),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Kind::Heic),
            (b"\0\0\0\x18ftypqt  \0\0\0\0", Kind::Mov),
            (b"MZ\x90\0", Kind::Program),
            (b"#!/bin/sh\n", Kind::Program),
            (b"999\r\nmade by\r\n  0\r\nSECTION\r\n", Kind::Dxf),
            (b"ISO-10303-21;\nHEADER;", Kind::Sxf),
            ("番号,氏名\r\n".as_bytes(), Kind::Text),
            (b"\x94\xd4\x8d\x86,\x8e\x81\x96\xbc\r\n", Kind::Text),
            (b"<svg onload=alert(1)>", Kind::Unknown),
            (b"", Kind::Unknown),
            (b"\0\0", Kind::Unknown),
        ] {
            assert_eq!(Kind::by_head(head), kind, "{head:?}");
        }
    }

    fn archive(names: &[&str]) -> File {
        let mut directory = Vec::new();
        for name in names {
            let mut entry = [0; 46];
            entry[..4].copy_from_slice(b"PK\x01\x02");
            entry[28] = u8::try_from(name.len()).unwrap();
            directory.extend_from_slice(&entry);
            directory.extend_from_slice(name.as_bytes());
        }
        let mut bytes = b"PK\x03\x04 what is in it".to_vec();
        let begins = u32::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(&directory);
        let mut end = [0; 22];
        end[..4].copy_from_slice(b"PK\x05\x06");
        end[12..16].copy_from_slice(&u32::try_from(directory.len()).unwrap().to_le_bytes());
        end[16..20].copy_from_slice(&begins.to_le_bytes());
        bytes.extend_from_slice(&end);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn a_document_is_told_from_an_archive_by_what_is_in_it() {
        let kind = |names: &[&str]| Kind::by_content(&mut archive(names)).unwrap();
        assert_eq!(kind(&["[Content_Types].xml", "xl/workbook.xml"]), Kind::Xlsx);
        assert_eq!(kind(&["[Content_Types].xml", "word/document.xml"]), Kind::Docx);
        assert_eq!(kind(&["word/readme.txt"]), Kind::Zip);
        let mut cut = tempfile::tempfile().unwrap();
        cut.write_all(b"PK\x03\x04").unwrap();
        assert_eq!(Kind::by_content(&mut cut).unwrap(), Kind::Unknown);
    }

    #[test]
    fn what_windows_runs_by_its_name_is_known_by_it() {
        for name in [
            "a.ps1",
            "報告.JS",
            "x.pdf.exe",
            "a.hta. .",
            "a.\u{202e}vbs",
            "dir/b.Lnk",
            "x.reg",
            "x.library-ms",
            "x.searchConnector-ms",
            "x.SettingContent-ms",
            "x.application",
            "x.appinstaller",
            "x.jnlp",
            "x.ws",
            "x.wsc",
            "x.xll",
            "x.py",
            "x.rdp",
            "x.diagcab",
            "案内.html",
            "図.svg",
            "x.webloc",
            "x.command",
            "x.wsb",
            "図面.ISO",
            "x.img",
            "x.vhd",
            "x.vhdx",
            "x.one",
            "Desktop.ini",
        ] {
            assert!(is_run_by_name(name), "{name}");
        }
        for name in [
            "exe",
            "a.pdf",
            "a.json",
            "報告.txt",
            "js.docx",
            "",
            ".",
            "a.p21",
            "a.zip",
            "a.docm",
            "a.xml",
            "my desktop.ini.txt",
        ] {
            assert!(!is_run_by_name(name), "{name}");
        }
    }

    #[test]
    fn groups_are_known_by_the_names_that_people_write() {
        for (name, group) in [
            ("画像", Group::Picture),
            ("PDF", Group::Pdf),
            ("Office", Group::Office),
            ("ZIP", Group::Archive),
        ] {
            assert_eq!(Group::named(name), Some(group));
        }
        assert_eq!(Group::named("何でも"), None);
    }
}
