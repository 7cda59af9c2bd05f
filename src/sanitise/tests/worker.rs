//! The worker's process under hostile files, by its host.

#![expect(clippy::unwrap_used, reason = "tests")]

mod archives;
mod bare;
mod documents;
mod drawn;
mod heic;
mod odf;
mod office;
mod packages;
mod pictures;
mod samples;
mod settings;

use std::{io::Cursor, time::Duration};

use image::{GenericImageView, ImageFormat};
use lopdf::dictionary;
use samples::{HARM, RawEntry, encoded, entry, pdf, picture, with_segment, zip};
use sanitise::{Bounds, Kind, Outcome, Part, Reason, Settings, Verdict, Worker};

fn worker(bounds: Bounds) -> Worker {
    Worker::new(env!("CARGO_BIN_EXE_sanitise-worker"), Vec::new(), bounds)
}

async fn sanitise(file: &[u8], name: Option<&str>) -> Outcome {
    worker(Bounds::default()).sanitise(file, name, &Settings::default()).await.unwrap()
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    match &outcome.verdict {
        Verdict::Refused(refusal) => Some(refusal.reason),
        _ => None,
    }
}

fn rebuilt(outcome: Outcome) -> Vec<u8> {
    match outcome.verdict {
        Verdict::Rebuilt { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// The entries of an archive that was written by the engine; nothing of other files.
fn unpack(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let short = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let long = |at: usize| short(at) | short(at + 2) << 16;
    let (mut found, mut at) = (Vec::new(), 0);
    while file[at..].starts_with(b"PK\x03\x04") {
        let (packed, name) = (long(at + 18), short(at + 26));
        let begin = at + 30 + name;
        let (name, data) = (&file[at + 30..begin], &file[begin..begin + packed]);
        let mut bytes = Vec::new();
        match short(at + 8) {
            0 => bytes.extend(data),
            _ => drop(
                std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(data), &mut bytes).unwrap(),
            ),
        }
        found.push((String::from_utf8(name.to_vec()).unwrap(), bytes));
        at = begin + packed;
    }
    found
}

#[tokio::test]
async fn no_hostile_file_comes_out_and_none_ends_the_worker() {
    let samples = samples::all();
    assert!(samples.len() >= 600, "{}", samples.len());
    let mut wrong = Vec::new();
    for sample in &samples {
        let outcome = sanitise(&sample.bytes, None).await;
        let bytes = match &outcome.verdict {
            Verdict::Refused(refusal) if matches!(refusal.reason, Reason::WorkerDied | Reason::TooSlow) => {
                wrong.push(format!("{}: {refusal:?}", sample.name));
                continue;
            }
            Verdict::Refused(_) => continue,
            Verdict::Clean => &sample.bytes,
            Verdict::Rebuilt { bytes, .. } => bytes,
        };
        // Text holds its harm as text: whoever runs it has to rename it first.
        let is_text = matches!(outcome.kind, Some(Kind::Text));
        let unpacked = unpack(bytes);
        // What is packed in a document is harm as well, but for what is drawn on its page.
        let open = (outcome.kind == Some(Kind::Pdf)).then(|| bare::laid_open(bytes));
        let bytes = open.as_ref().unwrap_or(bytes);
        let bytes = &unpacked.iter().fold(bytes.clone(), |all, (_, part)| [all, part.clone()].concat());
        if sample.refused || !is_text && holds(bytes, HARM) {
            wrong.push(format!("{}: {:?} came out", sample.name, outcome.kind));
        }
        let names = [
            "JavaScript",
            "Launch",
            "GoToR",
            "GoToE",
            "SubmitForm",
            "ImportData",
            "Rendition",
            "EmbeddedFile",
            "XFA",
        ];
        let left = names.iter().find(|name| holds(bytes, format!("/{name}").as_bytes()));
        if let Some(name) = left.filter(|_| outcome.kind == Some(Kind::Pdf)) {
            wrong.push(format!("{}: {name} came out", sample.name));
        }
        if sample.name.starts_with("csv") && outcome.verdict == Verdict::Clean {
            wrong.push(format!("{}: not neutralised", sample.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_picture_of_a_telephone_comes_out_upright_and_tells_nothing_but_to_the_record() {
    let exif = [b"Exif\0\0", samples::exif().as_slice()].concat();
    let outcome = sanitise(&with_segment(&encoded(ImageFormat::Jpeg), 0xe1, &exif), None).await;
    let photo = outcome.photo.clone().unwrap();
    assert_eq!(photo.taken.as_deref(), Some("2026-11-28T05:49:33"));
    assert!((photo.latitude.unwrap() - 36.5611).abs() < 0.001);
    assert!((photo.longitude.unwrap() - 136.6564).abs() < 0.001);
    let bytes = rebuilt(outcome);
    assert!(!holds(&bytes, b"Exif"));
    let (new, old) = (image::load_from_memory(&bytes).unwrap(), picture().rotate90());
    assert_eq!(new.dimensions(), old.dimensions());
    assert!(difference(&new, &old) < 3.0);
    // What was encoded here is not encoded again.
    let again = sanitise(&bytes, None).await;
    assert_eq!(again.verdict, Verdict::Clean);
    // Behind the last block nobody looks.
    let end = bytes.len() - 2;
    let hiding = sanitise(&[&bytes[..end], HARM, &bytes[end..]].concat(), None).await;
    assert!(!holds(&rebuilt(hiding), HARM));
}

fn difference(one: &image::DynamicImage, other: &image::DynamicImage) -> f64 {
    let (one, other) = (one.to_rgb8(), other.to_rgb8());
    let sum: u64 = one.as_raw().iter().zip(other.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.as_raw().len() as f64
}

#[tokio::test]
async fn pictures_without_loss_keep_every_pixel() {
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        let outcome = sanitise(&encoded(format), None).await;
        let bytes = match outcome.verdict {
            Verdict::Rebuilt { bytes, .. } => bytes,
            Verdict::Clean => encoded(format),
            other => panic!("{other:?}"),
        };
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), picture().to_rgb8(), "{format:?}");
    }
}

#[tokio::test]
async fn an_archive_of_a_windows_machine_has_its_names_in_unicode() {
    // ソフト.txt in Windows' Japanese: the second byte of ソ looks like a backslash.
    let name = b"\x90\x7d\x96\xca/\x83\x5c\x83t\x83g.txt";
    let script = RawEntry { name: b"run.bat", data: b"dir c:\\", flags: 0, mode: 0 };
    let file =
        zip(&[RawEntry { name, data: b"text", flags: 0, mode: 0 }, script, entry("a.exe", b"MZ\x90\0")]);
    let outcome = sanitise(&file, None).await;
    assert_eq!(outcome.kind, Some(Kind::Zip));
    let Verdict::Rebuilt { bytes, removed } = outcome.verdict else { panic!("{outcome:?}") };
    for name in ["図面/ソフト.txt", "run.bat.txt", "無害化で除いたファイル.txt"] {
        assert!(holds(&bytes, name.as_bytes()), "{name}");
    }
    assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::Entry]);
    // It is in order itself.
    assert_eq!(reason(&sanitise(&bytes, None).await), None);
}

#[tokio::test]
async fn a_document_without_harm_keeps_its_page_and_its_links() {
    let address = lopdf::Object::string_literal("https://www.city.kanazawa.lg.jp/");
    let file = pdf(|document, _, page| {
        let note = document.add_object(dictionary! {
            "Type" => "Annot", "Subtype" => "Link", "Rect" => vec![0.into(), 0.into(), 9.into(), 9.into()],
            "A" => dictionary! { "S" => "URI", "URI" => address },
        });
        document.get_dictionary_mut(page).unwrap().set("Annots", vec![note.into()]);
    });
    let outcome = sanitise(&file, Some("案内.exe")).await;
    assert_eq!(outcome.kind.unwrap().name_for("案内.exe"), "案内.exe.pdf");
    let bytes = rebuilt(outcome);
    assert!(holds(&bytes, b"kanazawa.lg.jp"));
    let document = lopdf::Document::load_mem(&bytes).unwrap();
    assert_eq!(document.extract_text(&[1]).unwrap().trim(), "Kanazawa");
}

#[tokio::test]
async fn a_layer_that_is_hidden_stays_hidden_and_the_structure_stays_whole() {
    let file = pdf(|document, root, page| {
        let layer = document.add_object(dictionary! { "Type" => "OCG", "Name" => "下書き" });
        let settings = dictionary! { "OFF" => vec![layer.into()], "Order" => vec![layer.into()] };
        let layers = dictionary! { "OCGs" => vec![layer.into()], "D" => settings };
        let tree = document.new_object_id();
        let element = document.add_object(dictionary! {
            "Type" => "StructElem", "S" => "Hide", "P" => tree, "Pg" => page, "K" => 0,
        });
        let numbers = dictionary! { "Nums" => vec![0.into(), vec![element.into()].into()] };
        let root_of_tree =
            dictionary! { "Type" => "StructTreeRoot", "K" => element, "ParentTree" => numbers };
        document.objects.insert(tree, root_of_tree.into());
        let catalogue = document.get_dictionary_mut(root).unwrap();
        catalogue.set("OCProperties", layers);
        catalogue.set("StructTreeRoot", tree);
        let resources = document.get_dictionary_mut(page).unwrap().get_mut(b"Resources").unwrap();
        resources.as_dict_mut().unwrap().set("Properties", dictionary! { "MC0" => layer });
    });
    let bytes = rebuilt(sanitise(&file, None).await);
    let document = lopdf::Document::load_mem(&bytes).unwrap();
    let at = |path: &[&str]| {
        let mut object = document.trailer.get(b"Root").unwrap();
        for key in path {
            let (_, dictionary) = document.dereference(object).unwrap();
            object = match dictionary {
                lopdf::Object::Array(values) => &values[key.parse::<usize>().unwrap()],
                other => other.as_dict().unwrap().get(key.as_bytes()).unwrap(),
            };
        }
        object.as_reference().unwrap()
    };
    let shown = at(&["Pages", "Kids", "0", "Resources", "Properties", "MC0"]);
    assert_eq!(at(&["OCProperties", "D", "OFF", "0"]), shown);
    assert_eq!(at(&["OCProperties", "OCGs", "0"]), shown);
    let element = at(&["StructTreeRoot", "K"]);
    assert_eq!(at(&["StructTreeRoot", "ParentTree", "Nums", "1", "0"]), element);
    assert_eq!(at(&["StructTreeRoot", "K", "P"]), at(&["StructTreeRoot"]));
    assert_eq!(at(&["StructTreeRoot", "K", "Pg"]), at(&["Pages", "Kids", "0"]));
}

#[tokio::test]
async fn a_document_with_a_password_is_refused_and_one_with_an_empty_one_is_opened() {
    use lopdf::{EncryptionState, EncryptionVersion, Permissions};
    for (password, wanted) in [("", None), ("himitsu", Some(Reason::Encrypted))] {
        let file = pdf(|document, _, _| {
            let id = lopdf::Object::string_literal("0123456789abcdef");
            document.trailer.set("ID", vec![id.clone(), id]);
            let version = EncryptionVersion::V2 {
                document,
                owner_password: "owner",
                user_password: password,
                key_length: 128,
                permissions: Permissions::all(),
            };
            let state = EncryptionState::try_from(version).unwrap();
            document.encrypt(&state).unwrap();
        });
        let outcome = sanitise(&file, None).await;
        assert_eq!(reason(&outcome), wanted, "{password:?}");
        if wanted.is_none() {
            let document = lopdf::Document::load_mem(&rebuilt(outcome)).unwrap();
            assert_eq!(document.extract_text(&[1]).unwrap().trim(), "Kanazawa");
        }
    }
}

#[tokio::test]
async fn a_file_that_takes_too_long_or_too_much_costs_that_file_only() {
    let slow = worker(Bounds { workers: 1, time: Duration::from_millis(300), ..Bounds::default() });
    // Whoever sends nothing more and does not end.
    let (endless, mut feed) = tokio::io::duplex(64);
    tokio::io::AsyncWriteExt::write_all(&mut feed, b"text").await.unwrap();
    let outcome = slow.sanitise(endless, None, &Settings::default()).await.unwrap();
    assert_eq!(reason(&outcome), Some(Reason::TooSlow));

    // 80 million pixels do not fit in 60 MiB.
    let small = worker(Bounds { workers: 1, memory_bytes: 60 << 20, ..Bounds::default() });
    let mut large = Vec::new();
    image::GrayImage::new(10_000, 8_000).write_to(&mut Cursor::new(&mut large), ImageFormat::Png).unwrap();
    let outcome = small.sanitise(large.as_slice(), None, &Settings::default()).await.unwrap();
    assert_eq!(reason(&outcome), Some(Reason::WorkerDied));
    let next = small.sanitise(&b"text"[..], None, &Settings::default()).await.unwrap();
    assert_eq!(next.verdict, Verdict::Clean);
}

#[tokio::test]
async fn more_files_than_may_wait_are_told_to_come_again() {
    let full = worker(Bounds { workers: 1, waiting: 0, ..Bounds::default() });
    let (endless, feed) = tokio::io::duplex(64);
    let settings = Settings::default();
    let first = full.sanitise(endless, None, &settings);
    let second = async {
        let outcome = full.sanitise(&b"text"[..], None, &settings).await.unwrap();
        drop(feed);
        outcome
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(reason(&second), Some(Reason::Busy));
    assert_eq!(first.unwrap().verdict, Verdict::Clean, "an empty file");
}

#[tokio::test]
async fn an_empty_file_passes_as_it_is() {
    for name in [None, Some("空.txt"), Some("空.csv"), Some("空.pdf")] {
        let outcome = sanitise(b"", name).await;
        assert_eq!((&outcome.verdict, outcome.kind.is_some()), (&Verdict::Clean, true), "{name:?}");
    }
    let outcome = sanitise(&zip(&[entry("a/空.txt", b""), entry("b.txt", b"text")]), None).await;
    assert_eq!(
        unpack(&rebuilt(outcome)),
        [("a/空.txt".to_owned(), vec![]), ("b.txt".to_owned(), b"text".to_vec())]
    );
}

#[tokio::test]
async fn a_document_behind_what_readers_pass_over_is_made_anew_without_it() {
    let document = pdf(|_, _, _| {});
    for before in [
        &b"\n"[..],
        b"\r\n\r\n \t\n",
        b"\xef\xbb\xbf",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n",
        b"\0\0\xfe\x01 junk of a broken gateway\n",
        &[b' '; 1_019],
    ] {
        let outcome = sanitise(&[before, &document].concat(), Some("案内.pdf")).await;
        assert_eq!(outcome.kind, Some(Kind::Pdf), "{before:x?}: {:?}", outcome.verdict);
        let bytes = rebuilt(outcome);
        assert!(bytes.starts_with(b"%PDF-"), "{before:x?}");
        assert_eq!(lopdf::Document::load_mem(&bytes).unwrap().get_pages().len(), 1);
    }
    // Readers do not look so far.
    let far = sanitise(&[&[b' '; 1_024][..], &document].concat(), None).await;
    assert!(reason(&far).is_some() && far.kind.is_none(), "{far:?}");
    // What is something else in front, or a text that tells of the format, is none.
    let page = [b"GIF89a", &document[..]].concat();
    assert_eq!(reason(&sanitise(&page, None).await), Some(Reason::TwoTypes));
    let told = sanitise("書式は %PDF-1.7 で始まる行です。\n".as_bytes(), Some("メモ.txt")).await;
    assert_eq!(reason(&told), Some(Reason::TwoTypes));
    let archive = [b"\n", &document[..], &zip(&[entry("a.txt", b"x")])].concat();
    assert_eq!(reason(&sanitise(&archive, None).await), Some(Reason::TwoTypes));
}

#[tokio::test]
async fn a_large_file_is_refused_before_it_is_read_whole() {
    let mut settings = Settings::default();
    settings.limits.input_bytes = 1 << 20;
    let endless = tokio::io::repeat(b'a');
    let outcome = worker(Bounds::default()).sanitise(endless, None, &settings).await.unwrap();
    assert_eq!(reason(&outcome), Some(Reason::TooLarge));
}

#[tokio::test]
async fn what_is_no_worker_makes_no_verdict_but_a_refusal() {
    let liar = Worker::new("/bin/echo", vec!["{}".to_owned()], Bounds::default());
    let outcome = liar.sanitise(&b"text"[..], None, &Settings::default()).await.unwrap();
    assert_eq!(reason(&outcome), Some(Reason::WorkerDied));
    assert!(
        Worker::new("/nowhere", Vec::new(), Bounds::default())
            .sanitise(&b""[..], None, &Settings::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn removed_parts_are_named() {
    let file = with_segment(&encoded(ImageFormat::Jpeg), 0xfe, HARM);
    let Verdict::Rebuilt { removed, .. } = sanitise(&file, None).await.verdict else { panic!() };
    assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::Metadata]);
    assert_eq!(
        sanitise(&samples::eicar(), Some("eicar.com"))
            .await
            .kind
            .map(|kind| kind.name_for("eicar.com"))
            .as_deref(),
        Some("eicar.com.txt")
    );
}

#[tokio::test]
async fn an_office_document_keeps_its_text_and_pictures_and_nothing_refers_to_what_is_gone() {
    let png = encoded(ImageFormat::Png);
    let body = "<w:p><w:hyperlink r:id=\"rId7\"><w:r><w:t>市役所</w:t></w:r></w:hyperlink><w:drawing r:embed=\"rId6\"/><w:object><v:shape/>\
        <o:OLEObject r:id=\"rId5\"/></w:object><w:pict><v:imagedata r:id=\"rId8\"/></w:pict></w:p>";
    let list = [
        ("rId5", "oleObject", "embeddings/x.bin", false),
        ("rId6", "image", "media/image1.png", false),
        ("rId7", "hyperlink", "https://www.city.kanazawa.lg.jp/", true),
        ("rId8", "image", "media/image2.emf", false),
    ];
    let more: [(&str, &str, &[u8]); 3] = [
        ("word/embeddings/x.bin", "application/x", HARM),
        ("word/media/image1.png", "image/png", &png),
        ("word/media/image2.emf", "image/x-emf", b"\x01\0\0\0EMF"),
    ];
    let outcome = sanitise(&office::word(body, &list, &more), None).await;
    assert_eq!(outcome.kind, Some(Kind::Docx));
    let Verdict::Rebuilt { bytes, removed } = outcome.verdict else { panic!("{outcome:?}") };
    for what in [Part::Ole, Part::Drawing] {
        assert!(removed.iter().any(|one| one.what == what), "{what:?}");
    }
    let parts = unpack(&bytes);
    let text = |name: &str| {
        let part = parts.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("{name}"));
        String::from_utf8(part.1.clone()).unwrap()
    };
    let document = text("word/document.xml");
    for kept in [
        "金沢市の案内 &amp; 地図",
        "市役所",
        "r:id=\"rId7\"",
        "r:embed=\"rId6\"",
        "r:id=\"rId8\"",
        "<v:shape/>",
    ] {
        assert!(document.contains(kept), "{kept}: {document}");
    }
    assert!(!document.contains("rId5"));
    let relations = text("word/_rels/document.xml.rels");
    assert!(relations.contains("/word/media/image2.emf.png") && !relations.contains("rId5"));
    assert!(
        text("[Content_Types].xml")
            .contains("PartName=\"/word/media/image2.emf.png\" ContentType=\"image/png\"")
    );
    let picture = parts.iter().find(|(name, _)| name == "word/media/image1.png").unwrap();
    assert_eq!(image::load_from_memory(&picture.1).unwrap().to_rgb8(), samples::picture().to_rgb8());
    // It is in order itself.
    assert_eq!(reason(&sanitise(&bytes, None).await), None);
}

#[tokio::test]
async fn a_formula_that_calls_out_becomes_its_value_and_others_stay() {
    let rows = "<c r=\"A1\"><f>SUM(B1:B2)</f><v>3</v></c><c r=\"B1\"><f>[1]A!A1</f><v>42</v></c>";
    let bytes = rebuilt(
        sanitise(&office::sheet(rows, &[("rId9", "externalLink", "externalLinks/x.xml", false)], &[]), None)
            .await,
    );
    let parts = unpack(&bytes);
    let text = |end: &str| {
        parts
            .iter()
            .find(|(name, _)| name.ends_with(end))
            .map(|(_, part)| String::from_utf8_lossy(part).into_owned())
            .unwrap()
    };
    assert!(
        text("sheet1.xml").contains("<f>SUM(B1:B2)</f>")
            && text("sheet1.xml").contains("<c r=\"B1\"><v>42</v></c>")
    );
    assert!(
        !text("workbook.xml").contains("externalReference") && !text("workbook.xml").contains("definedName")
    );
}

#[tokio::test]
async fn formulas_that_name_sheets_of_the_book_stay_whatever_these_are_called() {
    let formulas = ["'#1 工事'!A1*2", "'A|B'!$A$1", "HYPERLINK(\"#'#1 工事'!A1\",\"戻る\")"];
    let cells = formulas.map(|formula| format!("<c><f>{}</f><v>1</v></c>", formula.replace('"', "&quot;")));
    let link = "<hyperlinks><hyperlink ref=\"A1\" location=\"'#1 工事'!A1\"/></hyperlinks>";
    let data = format!("<sheetData><row>{}</row></sheetData>{link}", cells.concat());
    let names = "<definedNames><definedName name=\"x\">'#1 工事'!$A$1</definedName></definedNames>";
    let file = office::book(&["集計", "#1 工事", "A|B"], names, &data, &[], &[]);
    let Verdict::Rebuilt { bytes, removed } = sanitise(&file, None).await.verdict else { panic!() };
    assert_eq!(removed, []);
    let parts = unpack(&bytes);
    let text = |end: &str| {
        let part = parts.iter().find(|(name, _)| name.ends_with(end)).unwrap();
        String::from_utf8_lossy(&part.1).into_owned()
    };
    for cell in cells {
        assert!(text("sheet1.xml").contains(&cell), "{cell}");
    }
    assert!(text("sheet1.xml").contains(link) && text("workbook.xml").contains(names));
}

#[tokio::test]
async fn fields_of_documents_as_word_writes_them_stay() {
    let run = |inside: &str| format!("<w:r>{inside}</w:r>");
    let sign = |step: &str| run(&format!("<w:fldChar w:fldCharType=\"{step}\"/>"));
    let code = |code: &str| run(&format!("<w:instrText xml:space=\"preserve\">{code}</w:instrText>"));
    let field = |inside: &str, shown: &str| {
        sign("begin") + inside + &sign("separate") + &run(&format!("<w:t>{shown}</w:t>")) + &sign("end")
    };
    let page = field(&code(" PAGE "), "1");
    let entry = format!(
        "<w:hyperlink w:anchor=\"_Toc1\">{}{}</w:hyperlink>",
        run("<w:t>第1章</w:t><w:tab/>"),
        field(&code(" PAGEREF _Toc1 \\h "), "1")
    );
    let contents = sign("begin")
        + &code(" TOC \\o \"1-3\" ")
        + &code("\\h \\z \\u ")
        + &sign("separate")
        + &entry
        + "</w:p><w:p><w:pPr><w:tabs><w:tab w:val=\"left\"/></w:tabs></w:pPr>"
        + &entry
        + "</w:p><w:p>"
        + &sign("end");
    let text_box = format!(
        "<w:r><mc:AlternateContent><mc:Choice Requires=\"wps\"><w:drawing><wps:txbx><w:txbxContent><w:p>{page}</w:p></w:txbxContent></wps:txbx></w:drawing></mc:Choice>\
         <mc:Fallback><w:pict><v:textbox><w:txbxContent><w:p>{page}</w:p></w:txbxContent></v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    );
    let spaces = "xmlns:mc=\"http://schemas.openxmlformats.org/markup-compatibility/2006\" \
        xmlns:wps=\"http://schemas.microsoft.com/office/word/2010/wordprocessingShape\"";
    for body in [
        contents,
        field(&code("HYPERLINK \"https://www.city.kanazawa.lg.jp/print/\""), "市役所"),
        format!("<w:ins w:id=\"1\">{page}</w:ins>"),
        field(&(code("TOC \\o \"1-") + "<w:ins w:id=\"1\">" + &code("3") + "</w:ins>" + &code("\"")), "1"),
        field(&(code("= 1 + ") + &page), "2"),
        text_box.clone(),
        // A box that hangs on another field, on its code or on what is shown, has fields of its own.
        sign("begin") + &code("REF x") + &text_box + &sign("separate") + &text_box + &sign("end"),
        "<w:fldSimple w:instr=\" PAGE \"><w:r><w:t>1</w:t></w:r></w:fldSimple>".to_owned(),
        format!("<w:sdt><w:sdtPr/><w:sdtContent>{page}</w:sdtContent></w:sdt>"),
    ] {
        let body = format!("<w:p {spaces}>{body}</w:p>");
        let Verdict::Rebuilt { bytes, removed } =
            sanitise(&office::word(&body, &[], &[]), None).await.verdict
        else {
            panic!()
        };
        assert_eq!(removed, [], "{body}");
        let parts = unpack(&bytes);
        let document = parts.iter().find(|(name, _)| name == "word/document.xml").unwrap();
        assert!(String::from_utf8_lossy(&document.1).contains(&body), "{body}");
    }
}

#[tokio::test]
async fn of_alternatives_the_last_is_shown_where_none_is_left() {
    let alternatives = |choices: &str| {
        format!(
            "<w:p {}><w:r><mc:AlternateContent xmlns:wps=\"http://schemas.microsoft.com/office/word/2010/wordprocessingShape\">{choices}\
             <mc:Fallback><w:t>絵</w:t></mc:Fallback></mc:AlternateContent></w:r></w:p>",
            office::SPACES
        )
    };
    let drawn = "<mc:Choice Requires=\"wps\"><w:t>形</w:t></mc:Choice>";
    let ink = "<mc:Choice Requires=\"wps\"><w:drawing><w:contentPart r:id=\"rId5\"/></w:drawing></mc:Choice>";
    let of_others = "<mc:Choice Requires=\"wps s\"><w:t>?</w:t></mc:Choice>";
    for (choices, shown) in [
        (format!("{ink}{of_others}"), "<w:r><w:t>絵</w:t></w:r>"),
        (ink.to_owned(), "<w:r><w:t>絵</w:t></w:r>"),
        (format!("{ink}{drawn}"), ">{drawn}<mc:Fallback><w:t>絵</w:t></mc:Fallback></mc:AlternateContent>"),
    ] {
        let ink = [("rId5", "customXml", "ink/ink1.xml", false)];
        let more: [(&str, &str, &[u8]); 1] = [("word/ink/ink1.xml", "application/inkml+xml", b"<x/>")];
        let bytes = rebuilt(sanitise(&office::word(&alternatives(&choices), &ink, &more), None).await);
        let parts = unpack(&bytes);
        let document = parts.iter().find(|(name, _)| name == "word/document.xml").unwrap();
        let document = String::from_utf8_lossy(&document.1).into_owned();
        assert!(document.contains(&shown.replace("{drawn}", drawn)), "{choices}: {document}");
    }
}

#[tokio::test]
async fn a_document_made_to_take_long_takes_no_longer_than_others_of_its_size() {
    let many = |count: usize, of: &dyn Fn(usize) -> String| (0..count).map(of).collect::<String>();
    let prefixes = many(10_000, &|i| format!(" xmlns:p{i}=\"urn:schemas-microsoft-com:vml\""));
    let relations: Vec<(String, String)> =
        (0..20_000).map(|i| (format!("r{i}"), format!("aaaaaaaa{i:06}"))).collect();
    let relations: Vec<_> =
        relations.iter().map(|(id, path)| (id.as_str(), "header", path.as_str(), false)).collect();
    let names: Vec<String> = (0..5_000).map(|i| format!("bbbbbbb{i:07}")).collect();
    let parts: Vec<(&str, &str, &[u8])> = names.iter().map(|name| (name.as_str(), "x", &b""[..])).collect();
    let deep = |name: &str, inside: &str| {
        format!("{}{inside}{}", format!("<{name}>").repeat(200), format!("</{name}>").repeat(200))
    };
    let cells = many(20_000, &|_| "<c><f>A1+B1</f></c>".to_owned());
    let pictures =
        many(20_000, &|i| format!("<draw:frame><draw:image xlink:href=\"Pictures/{i}\"/></draw:frame>"));
    let runs = "<w:r><w:t>x</w:t></w:r>".repeat(50_000);
    let fields = "<w:r><w:fldChar w:fldCharType=\"begin\"/></w:r>".repeat(20_000);
    for (name, file) in [
        ("prefixes", office::word(&format!("<w:p{prefixes}>{}</w:p>", "<w:r/>".repeat(100_000)), &[], &[])),
        ("relationships", office::word("", &relations, &parts)),
        ("formulas in formulas", office::sheet(&deep("f", &"A1+B1+".repeat(50_000)), &[], &[])),
        ("containers in containers", office::sheet(&deep("hyperlinks", &cells), &[], &[])),
        ("runs in runs", office::word(&deep("w:sdt", &runs), &[], &[])),
        ("fields in fields", office::word(&format!("<w:p>{fields}</w:p>"), &[], &[])),
        (
            "attributes",
            office::word(&format!("<w:p{}/>", many(50_000, &|i| format!(" w:a{i}=\"\""))), &[], &[]),
        ),
        ("pictures", odf::text(&pictures, &parts)),
        (
            "attributes of OpenDocument",
            odf::text(&format!("<text:p{}/>", many(50_000, &|i| format!(" text:a{i}=\"\""))), &[]),
        ),
    ] {
        let begun = std::time::Instant::now();
        let outcome = sanitise(&file, None).await;
        // Four times what the slowest of these takes, built for tests and beside others; each was over a minute where its work
        // grew with the square.
        let bound = Duration::from_secs(20);
        assert!(begun.elapsed() < bound, "{name}: {:?}", begun.elapsed());
        assert_ne!(reason(&outcome), Some(Reason::TooSlow), "{name}");
    }
}

#[tokio::test]
async fn an_opendocument_text_keeps_its_text_pictures_and_charts_and_its_manifest_is_true() {
    let png = encoded(ImageFormat::Png);
    let body = "<text:p><text:ruby><text:ruby-base>金沢</text:ruby-base><text:ruby-text>かなざわ</text:ruby-text></text:ruby>\
        <text:a xlink:href=\"https://www.city.kanazawa.lg.jp/\">市役所</text:a><text:a xlink:href=\"file:///c:/x\">共有</text:a>\
        <draw:frame><draw:image xlink:href=\"Pictures/1.png\"/></draw:frame><draw:frame><draw:image xlink:href=\"./Pictures/2.emf\"/></draw:frame></text:p>";
    let more: [(&str, &str, &[u8]); 4] = [
        ("Pictures/1.png", "image/png", &png),
        ("Pictures/2.emf", "image/x-emf", b"\x01\0\0\0EMF"),
        ("Basic/Standard/x.xml", "text/xml", HARM),
        (
            "meta.xml",
            "text/xml",
            b"<office:document-meta xmlns:office=\"urn:oasis:names:tc:opendocument:xmlns:office:1.0\"/>",
        ),
    ];
    let outcome = sanitise(&odf::text(body, &more), None).await;
    assert_eq!(outcome.kind, Some(Kind::Odt));
    assert_eq!(Kind::Odt.name_for("案内.ott"), "案内.odt");
    let Verdict::Rebuilt { bytes, removed } = outcome.verdict else { panic!("{outcome:?}") };
    let mut what: Vec<_> = removed.iter().map(|one| one.what.code()).collect();
    what.sort_unstable();
    assert_eq!(what, ["drawing", "link", "macro"]);
    assert_eq!(&bytes[30..38], b"mimetype");
    assert_eq!(&bytes[38..38 + odf::TEXT.len()], odf::TEXT.as_bytes());
    let parts = unpack(&bytes);
    let text = |name: &str| {
        let part = parts.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("{name}"));
        String::from_utf8_lossy(&part.1).into_owned()
    };
    let content = text("content.xml");
    for kept in [
        "金沢市の案内 &amp; 地図",
        "<text:ruby-text>かなざわ</text:ruby-text>",
        "<text:a xlink:href=\"https://www.city.kanazawa.lg.jp/\">市役所</text:a>共有<",
        "xlink:href=\"Pictures/1.png\"",
        "xlink:href=\"Pictures/2.emf.png\"",
    ] {
        assert!(content.contains(kept), "{kept}: {content}");
    }
    let manifest = text("META-INF/manifest.xml");
    for (name, _) in parts.iter().filter(|(name, _)| name != "mimetype" && name != "META-INF/manifest.xml") {
        assert!(manifest.contains(&format!("full-path=\"{name}\"")), "{name}");
    }
    assert_eq!(manifest.matches("<manifest:file-entry").count(), parts.len() - 1, "{manifest}");
    // It is in order itself.
    assert_eq!(reason(&sanitise(&bytes, None).await), None);

    let parts = unpack(&rebuilt(sanitise(&odf::with_chart(), None).await));
    let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["mimetype", "Object 1/content.xml", "content.xml", "META-INF/manifest.xml"]);
    let text = |at: usize| String::from_utf8_lossy(&parts[at].1).into_owned();
    assert!(text(1).contains("<chart:chart xlink:href=\"..\""));
    assert!(text(2).contains("xlink:href=\"./Object 1\"") && !text(2).contains("ObjectReplacements"));
    assert!(text(3).contains(
        "full-path=\"Object 1/\" manifest:media-type=\"application/vnd.oasis.opendocument.chart\""
    ));
}

#[tokio::test]
async fn addresses_of_cells_of_the_document_stay() {
    let body = "<table:table table:name=\"#1 工事・道路\" table:print-ranges=\"$'#1 工事・道路'.$A$1:.$B$2 $'#1 工事・道路'.$D$1:.$E$2\">\
        <table:shapes><draw:frame table:end-cell-address=\"'#1 工事・道路'.F9\"><draw:g draw:notify-on-update-of-ranges=\"$a.A1:.B2\"/>\
        <draw:custom-shape><draw:enhanced-geometry draw:formula=\"?f0 *$0/2\"><draw:handle draw:handle-range-x-maximum=\"?f1\"/></draw:enhanced-geometry>\
        </draw:custom-shape></draw:frame></table:shapes></table:table><table:named-expressions><table:named-range table:name=\"x\" \
        table:base-cell-address=\"$'#1 工事・道路'.$A$1\" table:cell-range-address=\"$'#1 工事・道路'.$A$1:.$B$2\"/></table:named-expressions>\
        <table:database-ranges><table:database-range table:name=\"y\" table:target-range-address=\"'it''s'.A1:'it''s'.B2\"/></table:database-ranges>\
        <text:p><text:a xlink:href=\"#'#1 工事・道路'.A1\">戻る</text:a></text:p>";
    let Verdict::Rebuilt { bytes, removed } = sanitise(&odf::text(body, &[]), None).await.verdict else {
        panic!()
    };
    assert_eq!(removed, []);
    let parts = unpack(&bytes);
    let content = parts.iter().find(|(name, _)| name == "content.xml").unwrap();
    assert!(String::from_utf8_lossy(&content.1).contains(body));
}

#[tokio::test]
async fn a_cell_of_opendocument_that_calls_out_becomes_its_value() {
    for (formula, stays) in [("of:=SUM([.B1:.B2])", true), ("of:=['file:///x.ods'#$a.A1]", false)] {
        let outcome = sanitise(&odf::sheet(formula), None).await;
        assert_eq!(outcome.kind, Some(Kind::Ods));
        let parts = unpack(&rebuilt(outcome));
        let content = String::from_utf8_lossy(&parts[1].1).into_owned();
        assert!(content.contains("office:value=\"42\""), "{content}");
        assert_eq!(content.contains("table:formula"), stays, "{content}");
    }
}

#[tokio::test]
async fn what_a_telephone_writes_is_a_jpeg_that_looks_the_same() {
    for (name, file, mixed) in
        [("plain", heic::PLAIN, false), ("ten bits", heic::TEN_BITS, false), ("alpha", heic::ALPHA, true)]
    {
        let outcome = sanitise(file, Some("写真.heic")).await;
        assert_eq!(outcome.kind, Some(Kind::Jpeg), "{name}: {:?}", reason(&outcome));
        assert_eq!(outcome.kind.unwrap().name_for("写真.HEIC"), "写真.jpg");
        let bytes = rebuilt(outcome);
        assert!(!holds(&bytes, b"GPS") && !holds(&bytes, b"Exif"), "{name}");
        let shown = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg).unwrap().into_rgb8();
        assert_eq!(shown.dimensions(), (96, 64));
        for (x, y) in [(4, 4), (30, 24), (80, 10), (10, 56), (90, 60)] {
            let opacity = if mixed { x * 255 / 95 } else { 255 };
            for (is, was) in shown.get_pixel(x, y).0.into_iter().zip(heic::colour(x, y)) {
                let wanted = (u32::from(was) * opacity + 255 * (255 - opacity)) / 255;
                assert!(u32::from(is).abs_diff(wanted) < 24, "{name} at {x}, {y}: {is}, not {wanted}");
            }
        }
        // What was made of it passes as it is.
        assert!(matches!(sanitise(&bytes, Some("写真.jpg")).await.verdict, Verdict::Clean));
    }
    // Held on its side.
    let turned = rebuilt(sanitise(heic::TURNED, None).await);
    let turned = image::load_from_memory(&turned).unwrap();
    assert_eq!(turned.dimensions(), (64, 96));
    let field = turned.get_pixel(63 - 24, 36).0;
    assert!(field[0] > 180 && field[1] < 70, "{field:?}");
}

#[tokio::test]
async fn a_photograph_in_tiles_is_made_anew_and_tells_nothing_but_to_the_record() {
    let photo = heic::photo(600, 400);
    let outcome = sanitise(&photo, Some("写真.heic")).await;
    let taken = outcome.photo.clone().and_then(|photo| photo.taken);
    let bytes = rebuilt(outcome);
    assert_eq!(image::load_from_memory(&bytes).unwrap().dimensions(), (600, 400));
    assert!(taken.is_some() && !holds(&bytes, HARM));
}

#[tokio::test]
async fn pictures_that_cannot_be_made_anew_are_refused_with_what_to_do() {
    let svg = b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"><rect width=\"9\"/></svg>";
    let avif = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif\0\0\0\x08meta";
    for (name, file, wanted, told) in [
        ("図.svg", &svg[..], Reason::Svg, "PNG か PDF"),
        ("図.png", &svg[..], Reason::Svg, "PNG か PDF"),
        ("写真.avif", &avif[..], Reason::Heic, "互換性優先"),
        ("写真.jpg", &avif[..], Reason::Heic, "互換性優先"),
    ] {
        assert_eq!(reason(&sanitise(file, Some(name)).await), Some(wanted), "{name}");
        assert!(wanted.ja().contains(told) && wanted.en().ends_with('.'), "{name}");
    }
}

/// Twenty megabytes of photographs, and of cells.
#[tokio::test]
#[ignore = "a measurement; run it with --release"]
async fn an_office_document_of_twenty_megabytes_takes_less_than_three_seconds() {
    let mut seed = 1_u32;
    let mut chance = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 24
    };
    let photo = image::RgbImage::from_fn(4000, 3000, |x, y| {
        let noise = chance() / 8;
        let shade = |value: u32| u8::try_from((value / 16 + noise) % 256).unwrap();
        image::Rgb([shade(x), shade(y), shade(x + y)])
    });
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 88).encode_image(&photo).unwrap();
    let count = (20 << 20) / jpeg.len() + 1;
    let names: Vec<_> = (0..count).map(|i| (format!("rId{i}"), format!("media/image{i}.jpg"))).collect();
    let list: Vec<_> =
        names.iter().map(|(id, target)| (id.as_str(), "image", target.as_str(), false)).collect();
    let paths: Vec<_> = names.iter().map(|(_, target)| format!("word/{target}")).collect();
    let more: Vec<(&str, &str, &[u8])> =
        paths.iter().map(|path| (path.as_str(), "image/jpeg", jpeg.as_slice())).collect();
    let photos = office::word("", &list, &more);

    let mut rows = String::new();
    while rows.len() < 90 << 20 {
        let mut digits = || (0..4).map(|_| chance().to_string()).collect::<String>();
        rows.push_str(&format!("<c r=\"A1\"><f>SUM(B1:B{})</f><v>{}</v></c>", digits(), digits()));
    }
    let cells = office::sheet(&rows, &[], &[]);
    for (what, file) in [("photographs", photos), ("cells", cells)] {
        let begun = std::time::Instant::now();
        let outcome = sanitise(&file, None).await;
        let taken = begun.elapsed();
        let size = rebuilt(outcome).len();
        assert!(taken < Duration::from_secs(3), "{what}: {} bytes to {size} in {taken:?}", file.len());
    }
}
