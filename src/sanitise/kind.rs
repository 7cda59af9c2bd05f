//! The types of files that the engine knows, told by their content.
//!
//! [`detect`] looks at the first bytes and at what would make the file another type as well; whether the whole file
//! keeps to its type is said by the type's own handler, which reads it whole.

use serde::{Deserialize, Serialize};

use crate::verdict::{Reason, Refusal};

/// A type of file that can be sanitised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of formats")]
pub enum Kind {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    Tiff,
    Pdf,
    Zip,
    Docx,
    Xlsx,
    Pptx,
    Odt,
    Ods,
    Odp,
    Text,
    Csv,
    Dxf,
    Jww,
    /// SXF in STEP's own form, and any other ISO 10303-21 file.
    P21,
    /// SXF with features as comments.
    Sfc,
    Dwg,
    Jtd,
}

use Kind::{
    Bmp, Csv, Docx, Dwg, Dxf, Gif, Jpeg, Jtd, Jww, Odp, Ods, Odt, P21, Pdf, Png, Pptx, Sfc, Text, Tiff, WebP,
    Xlsx, Zip,
};

/// Each kind, its type for HTTP, and the ends that its names may have; the first is the one that it is given.
const KINDS: &[(Kind, &str, &[&str])] = &[
    (Jpeg, "image/jpeg", &["jpg", "jpeg", "jpe", "jfif"]),
    (Png, "image/png", &["png"]),
    (Gif, "image/gif", &["gif"]),
    (WebP, "image/webp", &["webp"]),
    (Bmp, "image/bmp", &["bmp", "dib"]),
    (Tiff, "image/tiff", &["tif", "tiff"]),
    (Pdf, "application/pdf", &["pdf"]),
    (Zip, "application/zip", &["zip"]),
    (Docx, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", &["docx"]),
    (Xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", &["xlsx"]),
    (Pptx, "application/vnd.openxmlformats-officedocument.presentationml.presentation", &["pptx"]),
    (Odt, "application/vnd.oasis.opendocument.text", &["odt"]),
    (Ods, "application/vnd.oasis.opendocument.spreadsheet", &["ods"]),
    (Odp, "application/vnd.oasis.opendocument.presentation", &["odp"]),
    // None of these is run or opened by anything but a reader of text; the last four are judged as what they are.
    (
        Text,
        "text/plain",
        &[
            "txt", "text", "log", "md", "json", "geojson", "toml", "yaml", "yml", "sim", "ini", "xml", "dtd",
            "ics", "vcf",
        ],
    ),
    (Csv, "text/csv", &["csv", "tsv"]),
    (Dxf, "image/vnd.dxf", &["dxf"]),
    (Jww, "application/x-jww", &["jww"]),
    (P21, "application/p21", &["p21", "stp", "step", "ifc"]),
    (Sfc, "application/x-sfc", &["sfc"]),
    (Dwg, "image/vnd.dwg", &["dwg"]),
    (Jtd, "application/x-js-taro", &["jtd"]),
];

/// Ends of names that only readers of text open, which show letters whatever these say.
const LETTERS: &[&str] =
    &["txt", "text", "log", "md", "json", "geojson", "toml", "yaml", "yml", "sim", "ini"];

/// Ends of names of files of which one of another kind is made: Office files with macros, templates, HEIC.
const REMADE: &[&str] = &[
    "docm", "dotx", "dotm", "xlsm", "xltx", "xltm", "pptm", "potx", "potm", "ppsx", "ppsm", "ott", "ots",
    "otp", "heic", "heif", "hif",
];

/// Ends of names that have a double click run a file, or a program do what it says, whatever it holds: programs, scripts,
/// links, what is installed, disks, lists of what is played, what asks other machines for data. Those that Outlook blocks are
/// among them. Pages, mails and calendars are not: what stands in them is judged, and one that is let through is letters.
///
/// Source: <https://support.microsoft.com/en-us/office/blocked-attachments-in-outlook-434752e1-02d3-4e90-9124-8b81e49a8519>
#[rustfmt::skip]
const RUN: &[&str] = &[
    "ade", "adp", "ahk", "apk", "app", "appcontent-ms", "appinstaller", "applescript", "application", "appref-ms",
    "appx", "appxbundle", "arx", "asp", "aspx", "asx", "au3", "bas", "bash", "bat", "bgi", "cdxml", "cer", "chm", "cmd", "cnt",
    "com", "command", "contact", "cpl", "crt", "csh", "csproj", "deb", "der", "deskthemepack", "desktop", "diagcab",
    "diagcfg", "diagpkg", "dll", "dmg", "dqy", "drv", "dvb", "exe", "fas", "fdf", "fileloc", "fxp", "gadget",
    "gnumeric", "grp", "hlp", "hpj", "hta", "htc", "img", "inetloc", "inf", "ins", "iqy", "iso", "isp", "its", "jar",
    "jnlp", "js", "jse", "jsp", "jsx", "jsxbin", "ksh", "library-ms", "lnk", "lsp", "m3u", "m3u8", "mad", "maf", "mag", "mam", "maq",
    "mar", "mas", "mat", "mau", "mav", "maw", "mcf", "mda", "mdb", "mde", "mdt", "mdw", "mdz", "mht", "mhtml", "mjs",
    "mnl", "msc", "msh", "msh1", "msh1xml", "msh2", "msh2xml", "mshxml", "msi", "msix", "msixbundle", "msp", "msrcincident", "mst",
    "msu", "ocx", "odc", "one", "onepkg", "ops", "oqy", "osd", "osdx", "ovpn", "p7b", "pbk", "pcd", "phar", "php", "pif", "pkg", "pl", "plg",
    "pls", "prf", "prg", "printerexport", "proj", "ps1", "ps1xml", "ps2", "ps2xml", "psc1", "psc2", "psd1", "psdm1",
    "psm1", "pssc", "py", "pyc", "pyo", "pyw", "pyz", "pyzw", "qtl", "ram", "rb", "rbw", "rdg", "rdp", "reg", "rpm", "rqy", "run",
    "scf", "scpt", "scptd", "scr", "sct", "search-ms", "searchconnector-ms", "settingcontent-ms", "sh", "shb", "shs",
    "slk", "sln", "sys", "targets", "terminal", "theme", "themepack", "tool", "ttl", "udl", "url", "uu", "uue", "uws", "vb", "vbe",
    "vbp", "vbproj", "vbs", "vcxproj", "vhd", "vhdx", "vlx", "vnc", "vsmacros", "vsto", "vsw", "wax", "wcx", "webloc",
    "webpnp", "website", "wll", "wmx", "workflow", "wpl", "ws", "wsb", "wsc", "wsf", "wsh", "wvx", "xbap", "xdp",
    "xfdf", "xla", "xlam", "xll", "xnk", "xpi", "xspf", "zsh",
];

/// Of [`RUN`], those that end addresses as well: a sentence may end in `https://www.example.com`.
const OF_ADDRESSES: &[&str] =
    &["app", "com", "contact", "one", "php", "asp", "aspx", "jsp", "pl", "py", "run", "sh", "website", "ws"];

/// The ends that a file saved under this name may have, without their dots and in small letters: browsers and systems leave out
/// or replace what a name cannot hold, each in its own way. None: it has no end.
pub fn ends_of_name(name: &str) -> impl Iterator<Item = String> {
    // Letters that nobody sees, and those that turn the direction, hide which end is the real one.
    let is_seen = |letter: &char| {
        !letter.is_control()
            && !matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    let whole: String = name.chars().filter(is_seen).collect();
    // What follows a colon names a stream of the file, or becomes a blank or a line below.
    let places: Vec<usize> = whole.match_indices(':').map(|(at, _)| at).take(MOST_COLONS).collect();
    let stems = places.into_iter().map({
        let whole = whole.clone();
        move |at| whole[..at].to_owned()
    });
    stems.chain([whole]).filter_map(|name| {
        // What Windows drops at the end, browsers too, and quotes and brackets of which they make blanks.
        let is_dropped = |letter: char| {
            letter.is_whitespace() || matches!(letter, '.' | '"' | '<' | '>' | '|' | '?' | '*')
        };
        let (_, end) = name.trim_end_matches(is_dropped).rsplit_once('.')?;
        Some(end.to_lowercase())
    })
}

/// Colons in a name behind which its end is looked for.
const MOST_COLONS: usize = 8;

/// Whether a file of this name is run, or followed, when it is opened, whatever is in it: a script is a text like others.
pub fn is_run_by_name(name: &str) -> bool {
    ends_of_name(name).any(|end| RUN.contains(&end.as_str()))
}

/// Whether a file is run that is saved under what is written beside it, as clients of before there were captions do. What ends in
/// an address, after other words, is no name of one.
pub fn is_run_by_caption(caption: &str) -> bool {
    let is_word =
        !caption.trim().contains(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '@'));
    ends_of_name(caption)
        .any(|end| RUN.contains(&end.as_str()) && (is_word || !OF_ADDRESSES.contains(&end.as_str())))
}

/// Whether only readers of text open a file of this name: what is a script or a page under another name is letters there.
pub(crate) fn is_letters_by_name(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| LETTERS.contains(&end.to_ascii_lowercase().as_str()))
}

impl Kind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(kind, ..)| *kind)
    }

    fn row(self) -> (&'static str, &'static [&'static str]) {
        let row = KINDS.iter().find(|(kind, ..)| *kind == self);
        row.map_or(("application/octet-stream", &["bin"][..]), |(_, mime, ends)| (mime, ends))
    }

    /// The type that HTTP gives it.
    pub fn content_type(self) -> &'static str {
        self.row().0
    }

    /// The end that its names get, without the dot.
    pub fn extension(self) -> &'static str {
        self.row().1[0]
    }

    /// Whether its inside cannot be checked, that of old versions of Jw_cad's at least, so that only a setting lets it pass.
    pub fn is_unchecked(self) -> bool {
        matches!(self, Dwg | Jtd | Jww)
    }

    /// Whether its files are ZIP archives.
    pub(crate) fn is_zip(self) -> bool {
        matches!(self, Zip | Docx | Xlsx | Pptx | Odt | Ods | Odp)
    }

    /// Whether its files are packed in themselves, so that packing them again gains nothing.
    pub(crate) fn is_packed(self) -> bool {
        matches!(self, Jpeg | Png | Gif | WebP | Zip | Docx | Xlsx | Pptx | Odt | Ods | Odp)
    }

    /// A name that ends as the content demands: `案内.docm` becomes `案内.docx`, `photo.exe` becomes `photo.exe.jpg`.
    ///
    /// An end that belongs to another kind, or to one that is made anew as another, is replaced; any other stays, with the
    /// right one after it, so that nobody's `run.bat` is run.
    pub fn name_for(self, name: &str) -> String {
        // What Windows drops at the end would hide the real one.
        let name = name.trim_end_matches(['.', ' ', '\u{3000}']);
        let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
        let end = end.to_lowercase();
        if self.row().1.contains(&end.as_str()) && !stem.is_empty() {
            return name.to_owned();
        }
        let of_another =
            KINDS.iter().any(|(_, _, ends)| ends.contains(&end.as_str())) || REMADE.contains(&end.as_str());
        let stem = if of_another && !stem.is_empty() { stem } else { name };
        format!("{stem}.{}", self.extension())
    }
}

/// What a file is by its first bytes: a kind, or the family that its handler takes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// A kind that the first bytes settle.
    Kind(Kind),
    /// What telephones write, of which a JPEG is made.
    Heic,
    /// ZIP, which may be Office or OpenDocument.
    Zip,
    /// Text of some kind.
    Text,
}

/// Signatures of types that are known and refused.
const REFUSED: &[(&[u8], Reason, &str)] = &[
    (b"MZ", Reason::Program, "PE or DOS program"),
    (b"\x7fELF", Reason::Program, "ELF"),
    (b"\xca\xfe\xba\xbe", Reason::Program, "Java or Mach-O"),
    (b"\xcf\xfa\xed\xfe", Reason::Program, "Mach-O"),
    (b"\xce\xfa\xed\xfe", Reason::Program, "Mach-O"),
    (b"dex\n", Reason::Program, "Dalvik"),
    (b"\0asm", Reason::Program, "WebAssembly"),
    (b"L\0\0\0\x01\x14\x02\0", Reason::Program, "Windows shortcut"),
    (b"ITSF", Reason::Program, "compiled help"),
    (b"{\\rt", Reason::NotAllowed, "RTF"),
    (b"\x78\x9f\x3e\x22", Reason::Winmail, "TNEF"),
    (b"\x1f\x8b", Reason::Archive, "gzip"),
    (b"BZh", Reason::Archive, "bzip2"),
    (b"\xfd7zXZ", Reason::Archive, "xz"),
    (b"\x28\xb5\x2f\xfd", Reason::Archive, "zstd"),
    (b"7z\xbc\xaf\x27\x1c", Reason::Archive, "7z"),
    (b"Rar!", Reason::Archive, "RAR"),
    (b"MSCF", Reason::Archive, "cabinet"),
    (b"OggS", Reason::Film, "Ogg"),
    (b"fLaC", Reason::Film, "FLAC"),
    (b"ID3", Reason::Film, "MP3"),
    (b"\x1a\x45\xdf\xa3", Reason::Film, "Matroska"),
    (b"\x30\x26\xb2\x75", Reason::Film, "ASF"),
    (b"AutoCAD Binary DXF", Reason::Unchecked, "binary DXF"),
    (b"%!PS", Reason::NotAllowed, "PostScript"),
    (b"\xc5\xd0\xd3\xc6", Reason::NotAllowed, "EPS"),
];

/// Tells the type of a file by its content.
///
/// # Errors
/// [`Reason::TwoTypes`] where the file is a picture or a PDF in front and a ZIP or a PDF behind; the reason of types
/// that are known and refused; [`Reason::Unknown`] for all else that is not text, which its handler looks at.
pub(crate) fn detect(file: &[u8]) -> Result<Family, Refusal> {
    let kind = by_magic(file)?;
    if kind.is_some_and(|kind| kind != Family::Zip) && ends_as_zip(file) {
        return Err(Refusal::new(Reason::TwoTypes, "a ZIP directory at the end"));
    }
    // Readers of PDF look for its mark in the first 1,024 bytes. A ZIP may hold one there: its handler says where.
    let head = &file[..file.len().min(1024)];
    let is_pdf = kind == Some(Family::Kind(Pdf));
    let has_mark = !is_pdf && kind != Some(Family::Zip) && memchr::memmem::find(head, b"%PDF-").is_some();
    match kind {
        Some(_) if has_mark => Err(two_types()),
        Some(kind) => Ok(kind),
        None if ends_as_zip(file) => Err(Refusal::new(Reason::TwoTypes, "a ZIP behind something else")),
        // Blank lines, a mark of UTF-8, headers of a web server: what stands before it is not in the new file.
        None if has_mark => Ok(Family::Kind(Pdf)),
        None => Ok(Family::Text),
    }
}

/// What is something else in front of a PDF, or a text that has the mark of one and nothing that makes it one.
pub(crate) fn two_types() -> Refusal {
    Refusal::new(Reason::TwoTypes, "a PDF header inside")
}

fn by_magic(file: &[u8]) -> Result<Option<Family>, Refusal> {
    let starts = |magic: &[u8]| file.starts_with(magic);
    let kind = |kind| Ok(Some(Family::Kind(kind)));
    match file {
        // A text without letters: nothing is in it that could do anything.
        [] => return Ok(None),
        [0xff, 0xd8, 0xff, ..] => return kind(Jpeg),
        [b'B', b'M', ..] if is_bmp(file) => return kind(Bmp),
        [b'R', b'I', b'F', b'F', _, _, _, _, rest @ ..] if rest.starts_with(b"WEBP") => return kind(WebP),
        [b'R', b'I', b'F', b'F', ..] => return Err(Refusal::new(Reason::Film, "RIFF")),
        [_, _, _, _, b'f', b't', b'y', b'p', rest @ ..] => return iso_media(rest).map(Some),
        _ => {}
    }
    if starts(b"\x89PNG\r\n\x1a\n") {
        return kind(Png);
    }
    if starts(b"GIF87a") || starts(b"GIF89a") {
        return kind(Gif);
    }
    if starts(b"II*\0") || starts(b"MM\0*") || starts(b"II+\0") || starts(b"MM\0+") {
        return kind(Tiff);
    }
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        return Ok(Some(Family::Zip));
    }
    if starts(b"%PDF-") {
        return kind(Pdf);
    }
    if starts(b"JwwData.") {
        return kind(Jww);
    }
    if starts(b"AC10") && file.get(4..6).is_some_and(|version| version.iter().all(u8::is_ascii_digit)) {
        return kind(Dwg);
    }
    if starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return compound(file);
    }
    // An entry of a tar archive has its mark here.
    if file.get(257..262) == Some(b"ustar") {
        return Err(Refusal::new(Reason::Archive, "tar"));
    }
    match REFUSED.iter().find(|(magic, ..)| starts(magic)) {
        // Words may begin so too: "MZ" and "ID3" count where the rest is no text.
        Some((magic, reason, what)) if magic.len() > 3 || file.contains(&0) => {
            Err(Refusal::new(*reason, what))
        }
        _ => Ok(None),
    }
}

fn is_bmp(file: &[u8]) -> bool {
    // The size of the second header follows the first; letters of a text give far larger numbers.
    let size = file.get(14..18).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes);
    matches!(size, Some(12..=124))
}

fn iso_media(brands: &[u8]) -> Result<Family, Refusal> {
    let heic = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
    let brand = brands.get(..4).unwrap_or_default();
    if heic.iter().any(|heic| *heic == brand) {
        return Ok(Family::Heic);
    }
    let is_avif = [b"avif", b"avis"].iter().any(|avif| *avif == brand);
    Err(Refusal::new(if is_avif { Reason::Heic } else { Reason::Film }, String::from_utf8_lossy(brand)))
}

/// OLE's compound file: legacy Office, Office with a password, 一太郎.
fn compound(file: &[u8]) -> Result<Option<Family>, Refusal> {
    let holds = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memchr::memmem::find(file, &wide).is_some()
    };
    if holds("EncryptedPackage") {
        return Err(Refusal::new(Reason::Encrypted, "an Office document with a password"));
    }
    if holds("DocumentText") && (holds("JSRV_SegmentInformation") || holds("LineMark")) {
        return Ok(Some(Family::Kind(Jtd)));
    }
    let macros = ["_VBA_PROJECT", "VBA", "Macros"].into_iter().find(|name| holds(name));
    match macros {
        Some(name) => Err(Refusal::new(Reason::LegacyMacro, format!("OLE storage with {name}"))),
        None => Err(Refusal::new(Reason::Legacy, "OLE storage")),
    }
}

/// Whether a ZIP reader, which begins at the end, would find an archive here.
pub(crate) fn ends_as_zip(file: &[u8]) -> bool {
    // The end record has 22 bytes and a comment of at most 65,535.
    holds_zip(file, file.len().saturating_sub(22 + 0xffff))
}

/// Whether an archive ends somewhere behind a place: some readers look further than they need.
pub(crate) fn holds_zip(file: &[u8], behind: usize) -> bool {
    let tail = &file[behind..];
    memchr::memmem::find_iter(tail, b"PK\x05\x06").any(|at| {
        let record = &tail[at..];
        let number = |from: usize| record.get(from..from + 4).and_then(|four| four.try_into().ok());
        let (Some(size), Some(_)) = (number(12).map(u32::from_le_bytes), number(18)) else { return false };
        // Readers take the directory to end where its end record begins.
        let end = behind + at;
        let begins = usize::try_from(size).ok().and_then(|size| end.checked_sub(size));
        size == 0 || begins.is_some_and(|begins| file[begins..].starts_with(b"PK\x01\x02"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_as_its_content_demands() {
        let cases = [
            (Docx, "案内.docm", "案内.docx"),
            (Xlsx, "表.docx", "表.xlsx"),
            (Jpeg, "写真.JPG", "写真.JPG"),
            (Jpeg, "photo.exe", "photo.exe.jpg"),
            (Jpeg, "IMG_0001.HEIC", "IMG_0001.jpg"),
            (Text, "run.bat", "run.bat.txt"),
            (Text, "読んで.txt. ", "読んで.txt"),
            (Text, ".txt", ".txt.txt"),
            (Text, "INDEX_C.XML", "INDEX_C.XML"),
            (Text, "INDE_C07.DTD", "INDE_C07.DTD"),
            (Text, "照会.eml", "照会.eml.txt"),
            (Csv, "表", "表.csv"),
        ];
        for (kind, given, wanted) in cases {
            assert_eq!(kind.name_for(given), wanted);
        }
    }

    #[test]
    fn what_is_run_by_its_name_is_known_by_it() {
        for name in [
            "run.bat",
            "報告.JS",
            "x.pdf.exe",
            "a.hta. .",
            "a.\u{202e}vbs",
            "b.Lnk",
            "a.ba\u{200b}t",
            "a.iqy",
            "x.cmd::$DATA",
            "曲.m3u",
            "acaddoc.lsp",
            "x.csproj",
            "x.wax",
            "disk.vhdx",
            "表.gnumeric",
            "x.wsb",
            "x.one",
            "a.bat\u{3000}\u{a0}.",
            "a.bat:",
            "a.bat:x.txt",
            "a.ba\u{fe0f}t",
            "a.bat\n",
            "a.bat?",
            "\"a.bat\"",
            "x.ovpn",
        ] {
            assert!(is_run_by_name(name), "{name:?}");
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
            "表.csv",
            "memo.md",
            "案内.html",
            "会議.ics",
            "照会.eml",
        ] {
            assert!(!is_run_by_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_written_beside_a_file_is_its_name_but_for_addresses_at_its_end() {
        for caption in ["run.bat", "手順は こちら run.bat", "example.com", "二行\nの run.vbs"] {
            assert!(is_run_by_caption(caption), "{caption}");
        }
        for caption in
            ["https://www.example.com", "詳しくは example.com", "問い合わせは info@a.com。", "案内 a.pdf", ""]
        {
            assert!(!is_run_by_caption(caption), "{caption}");
        }
    }

    #[test]
    fn ends_of_addresses_are_ends_of_what_is_run() {
        for end in OF_ADDRESSES {
            assert!(RUN.contains(end), "{end}");
        }
        assert!(RUN.is_sorted());
    }

    #[test]
    fn every_kind_has_a_row() {
        for kind in Kind::all() {
            assert_ne!(kind.extension(), "bin", "{kind:?}");
        }
    }

    #[test]
    fn words_that_begin_like_programs_are_text() {
        assert_eq!(detect(b"MZ is a word").ok(), Some(Family::Text));
        assert_eq!(detect(b"BMW, ID3 and the like").ok(), Some(Family::Text));
        assert_eq!(detect(b"MZ\x90\0").map_err(|refusal| refusal.reason), Err(Reason::Program));
    }
}
