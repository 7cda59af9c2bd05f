//! What stands open in the bytes that come out, where a program or a browser finds it under another name.

use std::io::{Cursor, Write};

use image::ImageFormat;
use lopdf::{Document, Object, Stream, dictionary};
use sanitise::{Kind, Outcome, Part, Verdict};

use super::{
    holds, rebuilt,
    samples::{self, HARM, entry, pdf, with_segment, zip},
    sanitise,
};

const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0 a program";
const PAGE: &[u8] = b"<script>document.title='owned'</script>";

fn removed(outcome: &Outcome) -> Vec<Part> {
    match &outcome.verdict {
        Verdict::Rebuilt { removed, .. } => removed.iter().map(|one| one.what).collect(),
        other => panic!("{other:?}"),
    }
}

/// A document as it is when everything in it is unpacked and each text written as it reads.
pub(super) fn laid_open(bytes: &[u8]) -> Vec<u8> {
    fn read(object: &mut Object) {
        match object {
            Object::String(_, format) => *format = lopdf::StringFormat::Literal,
            Object::Array(values) => values.iter_mut().for_each(read),
            Object::Dictionary(dictionary) => dictionary.iter_mut().for_each(|(_, value)| read(value)),
            Object::Stream(stream) => stream.dict.iter_mut().for_each(|(_, value)| read(value)),
            _ => {}
        }
    }
    let mut document = Document::load_mem(bytes).unwrap();
    document.decompress();
    document.objects.values_mut().for_each(read);
    let mut open = Vec::new();
    document.save_to(&mut open).unwrap();
    open
}

/// Data packed so that they stand open in the packing.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that no packing makes shorter, with something in their middle.
fn noise_around(what: &[u8]) -> Vec<u8> {
    let mut seed = 7_u32;
    let mut chance = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(seed >> 24).unwrap()
    };
    let mut noise = || (0..20_000).map(|_| chance()).collect::<Vec<_>>();
    [&noise(), what, &noise()].concat()
}

fn add_to_page(document: &mut Document, page: lopdf::ObjectId, kind: &str, thing: Object) {
    let resources = document.get_dictionary_mut(page).unwrap().get_mut(b"Resources").unwrap();
    resources.as_dict_mut().unwrap().set(kind, dictionary! { "X1" => thing });
}

#[tokio::test]
async fn nothing_that_runs_stands_open_in_a_document_and_its_content_stays() {
    let archive = zip(&[entry("run.bat", HARM)]);
    let program = [b"MZ".as_slice(), &[0; 0x3a], &[0x40, 0, 0, 0], b"PE\0\0\x64\x86"].concat();
    for what in
        [ELF, PAGE, &archive, &program, b"Rar!\x1a\x07\0", b"%PDF-1.4", b"<x autofocus onfocus=alert(1)>"]
    {
        for (packing, content) in [
            ("none", what.to_vec()),
            ("stored", stored(what)),
            ("noise", noise_around(what)),
            ("hex", [b"".as_slice(), what].concat()),
        ] {
            let filter = match packing {
                "stored" => dictionary! { "Filter" => "FlateDecode" },
                "hex" => dictionary! { "Filter" => "RunLengthDecode" },
                _ => dictionary! {},
            };
            let length = u8::try_from(what.len() - 1).ok();
            let content = match (packing, length) {
                ("hex", Some(length @ ..=127)) => [&[length], content.as_slice(), &[128]].concat(),
                ("hex", _) => continue,
                _ => content,
            };
            let file = pdf(|document, root, page| {
                let content = document.add_object(Stream::new(filter, content));
                document.get_dictionary_mut(page).unwrap().set("Contents", content);
                let title = Object::string_literal(what.to_vec());
                let item = document.add_object(dictionary! { "Title" => title });
                let outlines = dictionary! { "Type" => "Outlines", "First" => item, "Last" => item };
                document.get_dictionary_mut(root).unwrap().set("Outlines", outlines);
                document.add_object(Stream::new(dictionary! {}, vec![b'x'; 70_000]));
            });
            let bytes = rebuilt(sanitise(&file, None).await);
            assert!(!holds(&bytes[8..], what), "{packing}: {:?}", String::from_utf8_lossy(what));
            assert!(holds(&laid_open(&bytes)[8..], what), "{packing}: {:?}", String::from_utf8_lossy(what));
        }
    }
}

#[tokio::test]
async fn a_font_that_is_a_program_goes_and_what_is_behind_packed_data_does() {
    let with_font = |data: Vec<u8>, packing: lopdf::Dictionary| {
        pdf(|document, _, page| {
            let data = document.add_object(Stream::new(packing, data));
            let descriptor =
                document.add_object(dictionary! { "Type" => "FontDescriptor", "FontFile2" => data });
            let font =
                dictionary! { "Type" => "Font", "Subtype" => "TrueType", "FontDescriptor" => descriptor };
            add_to_page(document, page, "Font", font.into());
        })
    };
    let flate = || dictionary! { "Filter" => "FlateDecode" };
    for file in [with_font(ELF.to_vec(), dictionary! {}), with_font(stored(ELF), flate())] {
        let outcome = sanitise(&file, None).await;
        assert_eq!(removed(&outcome), [Part::Font]);
        assert!(!holds(&laid_open(&rebuilt(outcome)), ELF));
    }
    let font = b"\0\x01\0\0 a font".as_slice();
    let outcome = sanitise(&with_font([&stored(font), HARM].concat(), flate()), None).await;
    assert_eq!(removed(&outcome), [Part::TrailingData]);
    let bytes = rebuilt(outcome);
    assert!(!holds(&bytes, HARM) && holds(&laid_open(&bytes), font));
    // What breaks off stays as far as it goes.
    let long = [font, &vec![b'x'; 100_000]].concat();
    let cut = stored(&long);
    let bytes = rebuilt(sanitise(&with_font(cut[..90_000].to_vec(), flate()), None).await);
    assert!(holds(&laid_open(&bytes), &long[..60_000]));
}

#[tokio::test]
async fn a_photograph_in_a_document_keeps_its_points_and_tells_nothing() {
    let plain = samples::encoded(ImageFormat::Jpeg);
    let exif = [b"Exif\0\0", samples::exif().as_slice()].concat();
    let end = plain.len() - 2;
    let told = with_segment(&[&plain[..end], HARM, &plain[end..], ELF].concat(), 0xe1, &exif);
    for outer in [None, Some("FlateDecode")] {
        let file = pdf(|document, _, page| {
            let (filter, data) = match outer {
                Some(outer) => (Object::Array(vec![outer.into(), "DCTDecode".into()]), stored(&told)),
                None => ("DCTDecode".into(), told.clone()),
            };
            let picture = dictionary! { "Subtype" => "Image", "Width" => 48, "Height" => 32, "BitsPerComponent" => 8,
            "ColorSpace" => "DeviceRGB", "Filter" => filter };
            let picture = document.add_object(Stream::new(picture, data));
            add_to_page(document, page, "XObject", picture.into());
        });
        let outcome = sanitise(&file, None).await;
        assert_eq!(removed(&outcome), [Part::Metadata, Part::TrailingData], "{outer:?}");
        let bytes = rebuilt(outcome);
        for gone in [HARM, ELF, b"Exif"] {
            assert!(!holds(&laid_open(&bytes), gone), "{outer:?}");
        }
        let document = Document::load_mem(&bytes).unwrap();
        let is_picture =
            |object: &&Object| object.as_stream().is_ok_and(|it| it.content.starts_with(b"\xff\xd8"));
        let picture = document.objects.values().find(is_picture).unwrap().as_stream().unwrap();
        let shown = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().to_rgb8();
        assert_eq!(shown(&picture.content), shown(&plain), "{outer:?}");
    }
}

#[tokio::test]
async fn a_picture_in_a_document_that_is_none_becomes_a_grey_point() {
    for filter in ["DCTDecode", "JPXDecode", "JBIG2Decode"] {
        let file = pdf(|document, _, page| {
            let picture =
                dictionary! { "Subtype" => "Image", "Width" => 9, "Height" => 9, "Filter" => filter };
            let picture = document.add_object(Stream::new(picture, HARM.to_vec()));
            add_to_page(document, page, "XObject", picture.into());
        });
        let outcome = sanitise(&file, None).await;
        assert_eq!(removed(&outcome), [Part::Drawing], "{filter}");
        assert!(!holds(&laid_open(&rebuilt(outcome)), HARM), "{filter}");
    }
}

#[tokio::test]
async fn where_numbers_belong_no_text_stays_and_forms_that_are_to_be_drawn_anew_say_so() {
    let script = || Object::string_literal("1); alert('foobar'");
    let file = pdf(|document, root, page| {
        let matrix = vec![Object::Real(0.1), 0.into(), 0.into(), Object::Real(0.1), 0.into(), script()];
        let font = dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "X", "FontMatrix" => matrix,
        "Widths" => vec![500.into(), Object::Real(1.5)], "FontBBox" => script() };
        add_to_page(document, page, "Font", font.into());
        let form = dictionary! { "Fields" => Vec::<Object>::new(), "NeedAppearances" => true };
        document.get_dictionary_mut(root).unwrap().set("AcroForm", form);
    });
    let outcome = sanitise(&file, None).await;
    assert_eq!(removed(&outcome), [Part::UnknownPart, Part::UnknownPart]);
    let open = laid_open(&rebuilt(outcome));
    assert!(!holds(&open, b"alert") && !holds(&open, b"FontMatrix") && !holds(&open, b"FontBBox"));
    assert!(holds(&open, b"/Widths[500 1.5]") && holds(&open, b"/NeedAppearances true"));
}

#[tokio::test]
async fn a_stream_that_is_read_as_many_things_does_not_come_out_as_often() {
    let file = pdf(|document, _, page| {
        let data = document.add_object(Stream::new(dictionary! {}, noise_around(b"")));
        let font = dictionary! { "Type" => "Font", "ToUnicode" => data, "CIDToGIDMap" => data };
        add_to_page(document, page, "Font", font.into());
        add_to_page(document, page, "Pattern", data.into());
        add_to_page(document, page, "Shading", data.into());
        add_to_page(document, page, "ColorSpace", data.into());
        document.get_dictionary_mut(page).unwrap().set("Contents", data);
    });
    assert_eq!(super::reason(&sanitise(&file, None).await), Some(sanitise::Reason::NotAllowed));
}

#[tokio::test]
async fn a_picture_whose_points_are_a_program_becomes_one_that_is_packed_otherwise() {
    let archive = zip(&[entry("run.bat", HARM)]);
    for what in [ELF, PAGE, &archive] {
        // Rows from the top, three bytes for each point.
        let mut points = what.to_vec();
        points.resize(what.len().next_multiple_of(3), 0);
        let width = u32::try_from(points.len() / 3).unwrap();
        let bgr: Vec<u8> = points.chunks(3).flat_map(|point| [point[2], point[1], point[0]]).collect();
        let picture = image::RgbImage::from_raw(width, 1, bgr).unwrap();
        let mut bmp = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bmp), ImageFormat::Bmp).unwrap();
        // As a file without its end for readers of archives.
        bmp.extend(vec![0; 70_000]);
        assert!(holds(&bmp, what));
        let outcome = sanitise(&bmp, None).await;
        assert_eq!(outcome.kind, Some(Kind::Png), "{outcome:?}");
        assert_eq!(outcome.kind.unwrap().name_for("図.bmp"), "図.png");
        let bytes = rebuilt(outcome);
        assert!(!holds(&bytes, what));
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), picture);
    }
}

#[tokio::test]
async fn a_palette_that_is_a_page_does_not_come_out_as_one() {
    let mut palette = PAGE.to_vec();
    palette.resize(48, 0);
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, 4, 4, &palette).unwrap();
    let indices: Vec<u8> = (0..16).collect();
    let frame = gif::Frame { width: 4, height: 4, buffer: indices.into(), ..gif::Frame::default() };
    encoder.write_frame(&frame).unwrap();
    drop(encoder);
    assert!(holds(&file, PAGE));
    let outcome = sanitise(&file, None).await;
    assert_eq!(outcome.kind, Some(Kind::Png));
    let bytes = rebuilt(outcome);
    assert!(!holds(&bytes, b"<script"));
    let shown = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert_eq!(shown.get_pixel(1, 0).0.as_slice(), &PAGE[3..6]);
}
