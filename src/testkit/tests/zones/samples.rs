//! Files of many kinds, each with harm that must not leave to a zone that demands sanitised files.

use std::io::Cursor;

/// What sanitising takes out; a rebuilt file holds no eight bytes of it.
pub(crate) const HARM: &str = "HARM-6e1b-HARM-6e1b-HARM-6e1b-HARM-6e1b";

/// EICAR's test file, in two halves: whole it would have this file taken for infected.
pub(crate) fn eicar() -> Vec<u8> {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"].concat().into_bytes()
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Clean,
    Rebuilt,
    Refused,
}

/// A file as somebody uploads it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fate: Fate,
}

/// The number of a file, by which its bytes are unlike others'.
pub(crate) fn all(number: u64) -> Vec<Sample> {
    let sample = |name, kind, bytes: Vec<u8>, fate| Sample { name, kind, bytes, fate };
    let harm = format!("{HARM} {number}");
    let encrypted: Vec<u8> = {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..5_000).map(|_| next()).collect()
    };
    vec![
        sample("picture.png", "image/png", png(number, &harm), Fate::Rebuilt),
        sample("写真.jpg", "image/jpeg", jpeg(number, &harm), Fate::Rebuilt),
        sample("案内.docm", "application/octet-stream", word(&harm), Fate::Rebuilt),
        sample("report.pdf", "application/pdf", pdf(&harm), Fate::Rebuilt),
        sample("表.csv", "text/csv", format!("1,=1+{number}\n2,3\n").into_bytes(), Fate::Rebuilt),
        sample(
            "読んで.txt",
            "text/plain; charset=utf-8",
            format!("何もない {number}\n").into_bytes(),
            Fate::Clean,
        ),
        sample(
            "a.exe",
            "image/png",
            [b"MZ\x90\0\x03\0\0\0".as_slice(), harm.as_bytes()].concat(),
            Fate::Refused,
        ),
        sample(
            "a.svg",
            "image/svg+xml",
            format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><script>{harm}</script></svg>").into_bytes(),
            Fate::Refused,
        ),
        sample(
            "a.html",
            "text/html",
            format!("<!doctype html><html><script>{harm}</script></html>").into_bytes(),
            Fate::Refused,
        ),
        // As clients upload what they encrypt.
        sample(
            "encrypted",
            "application/octet-stream",
            [encrypted, harm.as_bytes().to_vec()].concat(),
            Fate::Refused,
        ),
        // A text like others, and run by its name.
        sample("run.bat", "text/plain", format!("calc {harm}\r\n").into_bytes(), Fate::Refused),
    ]
}

fn picture(number: u64) -> image::RgbImage {
    image::RgbImage::from_fn(300, 200, |x, y| {
        let shade = |value: u64| value.to_le_bytes()[0];
        image::Rgb([shade(u64::from(x) + number), shade(u64::from(y)), shade(number)])
    })
}

/// With harm in a chunk of text and behind the end.
fn png(number: u64, harm: &str) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture(number).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let bytes = bytes.into_inner();
    let mut text = b"tEXtComment\0".to_vec();
    text.extend(harm.as_bytes());
    let length = u32::try_from(text.len() - 4).unwrap().to_be_bytes();
    let crc = crc32(&text).to_be_bytes();
    let chunk = [length.as_slice(), &text, &crc].concat();
    [&bytes[..33], &chunk, &bytes[33..], harm.as_bytes()].concat()
}

/// With harm in a comment and behind the end.
fn jpeg(number: u64, harm: &str) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture(number).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    let bytes = bytes.into_inner();
    let length = u16::try_from(harm.len() + 2).unwrap().to_be_bytes();
    [&bytes[..2], b"\xff\xfe", &length, harm.as_bytes(), &bytes[2..], harm.as_bytes()].concat()
}

/// A document with a macro project that is the harm.
pub(crate) fn word(harm: &str) -> Vec<u8> {
    word_with(harm, &[])
}

/// The same with further parts.
pub(crate) fn word_with(harm: &str, more: &[(String, Vec<u8>)]) -> Vec<u8> {
    let types = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
        <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
        <Default Extension=\"bin\" ContentType=\"application/vnd.ms-office.vbaProject\"/>\
        <Default Extension=\"jpg\" ContentType=\"image/jpeg\"/>\
        <Override PartName=\"/word/document.xml\" ContentType=\"application/vnd.ms-word.document.macroEnabled.main+xml\"/></Types>";
    let package = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
        <Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"word/document.xml\"/></Relationships>";
    let mut relations = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
        <Relationship Id=\"rId1\" Type=\"http://schemas.microsoft.com/office/2006/relationships/vbaProject\" Target=\"vbaProject.bin\"/>".to_owned();
    for (number, (name, _)) in more.iter().enumerate() {
        relations.push_str(&format!(
            "<Relationship Id=\"rIdM{number}\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/image\" Target=\"{name}\"/>"
        ));
    }
    relations.push_str("</Relationships>");
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\">\
        <w:body><w:p><w:r><w:t>金沢市の案内</w:t></w:r></w:p></w:body></w:document>";
    let mut entries: Vec<(String, Vec<u8>)> = vec![
        ("[Content_Types].xml".to_owned(), types.as_bytes().to_vec()),
        ("_rels/.rels".to_owned(), package.as_bytes().to_vec()),
        ("word/document.xml".to_owned(), document.as_bytes().to_vec()),
        ("word/_rels/document.xml.rels".to_owned(), relations.into_bytes()),
        ("word/vbaProject.bin".to_owned(), harm.as_bytes().to_vec()),
    ];
    entries.extend(more.iter().map(|(name, bytes)| (format!("word/{name}"), bytes.clone())));
    zip(&entries)
}

/// An archive whose entries are stored as they are.
fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let (size, at) = (u32::try_from(bytes.len()).unwrap(), u32::try_from(file.len()).unwrap());
        let mut common = Vec::new();
        // Version, flags (UTF-8), method, time, date.
        for short in [20_u16, 0x800, 0, 0, 0x21] {
            common.extend(short.to_le_bytes());
        }
        for long in [crc32(bytes), size, size] {
            common.extend(long.to_le_bytes());
        }
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        file.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), bytes].concat());
        directory.extend(
            [b"PK\x01\x02\x14\0".as_slice(), &common, &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat(),
        );
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let (size, at) = (
        u32::try_from(directory.len()).unwrap().to_le_bytes(),
        u32::try_from(file.len()).unwrap().to_le_bytes(),
    );
    [file, directory, [b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &size, &at, &[0, 0]].concat()]
        .concat()
}

/// A page whose opening runs the harm.
fn pdf(harm: &str) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R /OpenAction 4 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>".to_owned(),
        format!("<< /S /JavaScript /JS ({harm}) >>"),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut places = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", number + 1));
    }
    let at = file.len();
    file.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    for place in places {
        file.push_str(&format!("{place:010} 00000 n \n"));
    }
    file.push_str(&format!(
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{at}\n%%EOF\n",
        objects.len() + 1
    ));
    file.into_bytes()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
