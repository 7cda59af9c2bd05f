//! What a page of a document draws: bombs made of forms that draw each other, pictures in contents, notes that nobody sees.

use std::io::Write;

use image::ImageFormat;
use lopdf::{Dictionary, Document, Object, ObjectId, Stream, dictionary};
use sanitise::{Bounds, Kind, Part, Reason, Settings, Verdict};

use super::{
    bare::laid_open,
    holds, office, reason, rebuilt,
    samples::{self, HARM, pdf, with_segment},
    sanitise, unpack, worker,
};

fn numbers(of: &[i64]) -> Object {
    of.iter().map(|number| (*number).into()).collect::<Vec<Object>>().into()
}

/// Something that is drawn by contents: a form, or by its words a pattern or a glyph.
fn drawn(document: &mut Document, mut words: Dictionary, resources: Dictionary, content: &str) -> Object {
    words.set("BBox", numbers(&[0, 0, 9, 9]));
    words.set("Resources", resources);
    document.add_object(Stream::new(words, content.as_bytes().to_vec())).into()
}

fn form(document: &mut Document, resources: Dictionary, content: &str) -> Object {
    drawn(document, dictionary! { "Type" => "XObject", "Subtype" => "Form" }, resources, content)
}

/// Gives a page these contents and resources.
fn show(document: &mut Document, page: ObjectId, resources: Dictionary, content: &[u8]) {
    let content = document.add_object(Stream::new(dictionary! {}, content.to_vec()));
    let page = document.get_dictionary_mut(page).unwrap();
    page.set("Contents", content);
    page.set("Resources", resources);
}

/// How something is drawn that costs much: resources and contents that draw it, made from the one below.
type Drawing = fn(&mut Document, Object) -> (Dictionary, String);

fn by_form(_: &mut Document, below: Object) -> (Dictionary, String) {
    (dictionary! { "XObject" => dictionary! { "X" => below } }, "/X Do ".repeat(10))
}

fn by_name_from_outside(document: &mut Document, below: Object) -> (Dictionary, String) {
    // The page's names are found by readers that look around: each level has one of its own.
    let name = format!("X{}", below.as_reference().unwrap().0);
    let page = *document.get_pages().values().next().unwrap();
    let resources = document.get_dictionary_mut(page).unwrap().get_mut(b"Resources").unwrap();
    let resources = resources.as_dict_mut().unwrap();
    if !resources.has(b"XObject") {
        resources.set("XObject", dictionary! {});
    }
    let names = resources.get_mut(b"XObject").unwrap().as_dict_mut().unwrap();
    names.set(name.clone(), below);
    (dictionary! {}, format!("/{name} Do ").repeat(10))
}

fn by_pattern(document: &mut Document, below: Object) -> (Dictionary, String) {
    let resources = dictionary! { "XObject" => dictionary! { "X" => below } };
    let words =
        dictionary! { "PatternType" => 1, "PaintType" => 1, "TilingType" => 1, "XStep" => 9, "YStep" => 9 };
    let pattern = drawn(document, words, resources, "/X Do");
    let content = format!("/Pattern cs/P#31 scn{}", " 0 0 9 9 re f".repeat(10));
    (dictionary! { "Pattern" => dictionary! { "P1" => pattern } }, content)
}

fn by_pattern_around(document: &mut Document, below: Object) -> (Dictionary, String) {
    let (mut resources, _) = by_pattern(document, below);
    let inner = form(document, dictionary! {}, &"0 0 9 9 re f ".repeat(10));
    resources.set("XObject", dictionary! { "X" => inner });
    (resources, "/Pattern cs /P1 scn q Q /X Do".to_owned())
}

fn by_glyph(document: &mut Document, below: Object) -> (Dictionary, String) {
    let resources = dictionary! { "XObject" => dictionary! { "X" => below } };
    let glyph = document.add_object(Stream::new(dictionary! {}, b"9 0 d0 /X Do".to_vec()));
    let font = dictionary! { "Type" => "Font", "Subtype" => "Type3", "FontBBox" => numbers(&[0, 0, 9, 9]),
    "FontMatrix" => numbers(&[1, 0, 0, 1, 0, 0]), "FirstChar" => 97, "LastChar" => 97, "Widths" => numbers(&[9]),
    "Encoding" => dictionary! { "Differences" => vec![97.into(), "a".into()] },
    "CharProcs" => dictionary! { "a" => glyph }, "Resources" => resources };
    (
        dictionary! { "Font" => dictionary! { "F" => font } },
        "BT /F 9 Tf [(aaaaa) -2 <6161616161>] TJ ET".to_owned(),
    )
}

fn by_mask(document: &mut Document, below: Object) -> (Dictionary, String) {
    let state =
        dictionary! { "SMask" => dictionary! { "S" => "Alpha", "G" => below }, "Type" => "ExtGState" };
    let inner = form(document, dictionary! {}, &"0 0 9 9 re f ".repeat(10));
    let resources = dictionary! { "ExtGState" => dictionary! { "G" => state }, "XObject" => dictionary! { "X" => inner } };
    (resources, "/G gs /X Do".to_owned())
}

#[tokio::test]
async fn what_draws_others_that_draw_others_is_refused_before_a_reader_hangs() {
    let ways: [(&str, Drawing); 7] = [
        ("forms", by_form),
        ("forms that name what is outside", by_name_from_outside),
        ("patterns", by_pattern),
        ("patterns around forms", by_pattern_around),
        ("glyphs", by_glyph),
        ("masks", by_mask),
        ("looks", by_form),
    ];
    for (way, draw) in ways {
        for (levels, wanted) in [(3, None), (9, Some(Reason::TooMuchDrawn))] {
            let file = pdf(|document, _, page| {
                let mut below = form(document, dictionary! {}, "0 0 9 9 re f");
                for _ in 0..levels {
                    let (resources, content) = draw(document, below);
                    below = form(document, resources, &content);
                }
                if way == "looks" {
                    let look = dictionary! { "N" => dictionary! { "On" => below } };
                    let note = dictionary! { "Type" => "Annot", "Subtype" => "Stamp", "Rect" => numbers(&[0, 0, 9, 9]),
                    "AS" => "On", "AP" => look };
                    let note = document.add_object(note);
                    document.get_dictionary_mut(page).unwrap().set("Annots", vec![note.into()]);
                    return;
                }
                let old = document.get_dictionary(page).unwrap().get(b"Resources").unwrap();
                let mut resources = old.as_dict().unwrap().clone();
                let mut names =
                    resources.get(b"XObject").and_then(Object::as_dict).cloned().unwrap_or_default();
                names.set("Top", below);
                resources.set("XObject", names);
                show(document, page, resources, b"/Top Do");
            });
            let outcome = sanitise(&file, None).await;
            assert_eq!(reason(&outcome), wanted, "{way}, {levels} deep: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn what_draws_itself_or_too_deep_is_refused_and_what_only_names_itself_is_not() {
    for (content, levels, wanted) in
        [("/X Do", 1, Some(Reason::TooDeep)), ("q Q", 1, None), ("/X Do", 60, Some(Reason::TooDeep))]
    {
        let file = pdf(|document, _, page| {
            let first = form(document, dictionary! {}, content);
            let mut above = first.clone();
            for _ in 1..levels {
                above = form(document, dictionary! { "XObject" => dictionary! { "X" => above } }, content);
            }
            if levels == 1 {
                let own = document.get_object_mut(first.as_reference().unwrap()).unwrap();
                let words = &mut own.as_stream_mut().unwrap().dict;
                words.set("Resources", dictionary! { "XObject" => dictionary! { "X" => first } });
            }
            show(document, page, dictionary! { "XObject" => dictionary! { "X" => above } }, b"/X Do");
        });
        assert_eq!(reason(&sanitise(&file, None).await), wanted, "{content}, {levels}");
    }
}

#[tokio::test]
async fn contents_that_unpack_without_end_and_pictures_drawn_without_end_are_refused() {
    let mut settings = Settings::default();
    settings.limits.unpacked_bytes = 4 << 20;
    for (blanks, count, wanted) in [
        (1 << 20, 1, None),
        ((1 << 20) + 1, 1, Some(Reason::Expansion)),
        (1 << 20, 8, None),
        (1 << 20, 9, Some(Reason::Expansion)),
    ] {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; blanks]).unwrap();
        let bomb = encoder.finish().unwrap();
        let file = pdf(|document, _, page| {
            let words = || dictionary! { "Filter" => "FlateDecode" };
            let contents: Vec<Object> =
                (0..count).map(|_| document.add_object(Stream::new(words(), bomb.clone())).into()).collect();
            document.get_dictionary_mut(page).unwrap().set("Contents", contents);
        });
        assert!(file.len() < 64 << 10);
        let outcome = worker(Bounds::default()).sanitise(file.as_slice(), None, &settings).await.unwrap();
        assert_eq!(reason(&outcome), wanted, "{count} of {blanks}");
    }

    // A page that shows the same contents again and again.
    let file = pdf(|document, _, page| {
        let content = document.add_object(Stream::new(dictionary! {}, vec![b' '; 1 << 20]));
        document.get_dictionary_mut(page).unwrap().set("Contents", vec![Object::from(content); 300]);
    });
    assert_eq!(reason(&sanitise(&file, None).await), Some(Reason::TooMuchDrawn));

    for (times, wanted) in [(10, None), (1_000, Some(Reason::TooMuchDrawn))] {
        let file = pdf(|document, _, page| {
            let words = dictionary! { "Type" => "XObject", "Subtype" => "Image", "Width" => 10_000, "Height" => 10_000,
            "BitsPerComponent" => 1, "ColorSpace" => "DeviceGray", "Filter" => "CCITTFaxDecode" };
            let picture = document.add_object(Stream::new(words, vec![0; 64]));
            let resources = dictionary! { "XObject" => dictionary! { "X" => picture } };
            show(document, page, resources, "/X Do ".repeat(times).as_bytes());
        });
        assert_eq!(reason(&sanitise(&file, None).await), wanted, "{times}");
    }
}

#[tokio::test]
async fn a_pattern_whose_cells_nobody_sees_is_refused() {
    for (step, scale, wanted) in
        [(8.0, 0.06, None), (8.0, 1e-5, Some(Reason::TooMuchDrawn)), (0.0, 1.0, Some(Reason::TooMuchDrawn))]
    {
        for inside in [false, true] {
            let file = pdf(|document, _, page| {
                let matrix = [scale, 0.0, 0.0, scale, 0.0, 0.0].map(Object::Real).to_vec();
                let words = dictionary! { "PatternType" => 1, "PaintType" => 1, "TilingType" => 1, "Matrix" => matrix,
                "XStep" => Object::Real(step), "YStep" => Object::Real(step) };
                let pattern = drawn(document, words, dictionary! {}, "0 0 5 5 re f");
                let mut resources = dictionary! { "Pattern" => dictionary! { "P" => pattern } };
                let mut content = "/Pattern cs /P scn 0 0 200 120 re f";
                if inside {
                    let form = form(document, resources, content);
                    (resources, content) =
                        (dictionary! { "XObject" => dictionary! { "X" => form } }, "/X Do");
                }
                show(document, page, resources, content.as_bytes());
            });
            assert_eq!(reason(&sanitise(&file, None).await), wanted, "{step}, {scale}, {inside}");
        }
    }
}

#[tokio::test]
async fn the_plan_of_a_town_passes_with_all_its_lines_and_trees() {
    let file = pdf(|document, _, page| {
        let tree = form(document, dictionary! {}, &"1 2 m 3 4 5 6 7 8 c S ".repeat(45));
        let hatch = drawn(
            document,
            dictionary! { "PatternType" => 1, "PaintType" => 1, "TilingType" => 1, "XStep" => 9, "YStep" => 9 },
            dictionary! {},
            "0 0 m 9 9 l S",
        );
        let mut content = String::new();
        for at in 0..10_000 {
            content.push_str(&format!(
                "q 1 0 0 1 {at} {at} cm /Tree Do Q /Pattern cs /Hatch scn 0 0 9 9 re f\n"
            ));
            for line in 0..10 {
                content.push_str(&format!("{at}.{line} 5 m 12.5 {line} l S\n"));
            }
        }
        let resources = dictionary! { "XObject" => dictionary! { "Tree" => tree }, "Pattern" => dictionary! { "Hatch" => hatch } };
        show(document, page, resources, content.as_bytes());
    });
    let Verdict::Rebuilt { bytes, removed } = sanitise(&file, None).await.verdict else { panic!() };
    assert_eq!(removed, []);
    assert!(holds(&laid_open(&bytes), b"9999.9 5 m 12.5 9 l S"));
}

/// A document whose contents have a picture of this head and these data in them.
fn with_inline(head: &str, data: &[u8]) -> Vec<u8> {
    let content =
        [b"q 48 0 0 32 0 0 cm BI ", head.as_bytes(), b" ID ", data, b"\nEI Q\n0 0 9 9 re f"].concat();
    pdf(|document, _, page| show(document, page, dictionary! {}, &content))
}

/// The data of the picture in the contents of such a document.
fn inline_data(bytes: &[u8]) -> Vec<u8> {
    let open = laid_open(bytes);
    let content = String::from_utf8_lossy(&open).into_owned();
    let begin = content.find(" ID ").unwrap() + 4;
    let digits = &content[begin..begin + content[begin..].find('>').unwrap()];
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[tokio::test]
async fn a_photograph_in_contents_keeps_its_points_and_tells_nothing() {
    let plain = samples::encoded(ImageFormat::Jpeg);
    let exif = [b"Exif\0\0", samples::exif().as_slice()].concat();
    // What looks like the picture's end stands in it.
    let told = with_segment(&with_segment(&plain, 0xe1, &exif), 0xfe, b"\nEI \x80\x81");
    let digits = told.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ">";
    let head = "/W 60 /H 40 /BPC 8 /CS /RGB /evil (HARM-c0ffee) /F";
    for (filter, data) in [("/DCT", told.as_slice()), ("[/AHx /DCTDecode]", digits.as_bytes())] {
        let file = with_inline(&format!("{head} {filter}"), data);
        let Verdict::Rebuilt { bytes, removed } = sanitise(&file, None).await.verdict else { panic!() };
        assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::Metadata], "{filter}");
        let open = laid_open(&bytes);
        assert!(!holds(&open, HARM) && !holds(&open, b"evil") && holds(&open, b"EI Q\n0 0 9 9 re f"));
        let data = inline_data(&bytes);
        assert!(!holds(&data, b"Exif") && !holds(&data, HARM), "{filter}");
        let shown = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().to_rgb8();
        assert_eq!(shown(&data), shown(&plain), "{filter}");
        // What was made of it stays as it is.
        let again = rebuilt(sanitise(&bytes, None).await);
        assert_eq!(inline_data(&again), data, "{filter}");
    }
    // One that is none becomes a grey point, and nothing of it stays.
    let Verdict::Rebuilt { bytes, removed } =
        sanitise(&with_inline("/W 9 /H 9 /IM true /F /DCT", HARM), None).await.verdict
    else {
        panic!()
    };
    assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::Drawing]);
    assert_eq!(inline_data(&bytes), [225]);
    assert!(holds(&laid_open(&bytes), b"BI /W 1 /H 1 /BPC 8 /CS /DeviceGray /F [/AHx] ID E1>\nEI Q"));
}

#[tokio::test]
async fn no_reader_takes_what_is_drawn_for_a_pictures_data_or_the_other_way_round() {
    // The rows of the picture are the whole of what follows for who counts them; nine forms are drawn by it for who does not.
    let data = b"\x80\nEI\n/X Do /X Do /X Do /X Do";
    let file = with_inline("/W 8 /H 500 /BPC 1 /CS /G", data);
    let Verdict::Rebuilt { bytes, removed } = sanitise(&file, None).await.verdict else { panic!() };
    assert_eq!(removed, []);
    assert_eq!(inline_data(&bytes), b"\x80");
    assert!(holds(&laid_open(&bytes), b"ID 80>\nEI\n/X Do /X Do"));
    // What has no end goes.
    let file = pdf(|document, _, page| show(document, page, dictionary! {}, b"q Q BI /W 1 ID HARM-c0ffee"));
    let Verdict::Rebuilt { bytes, removed } = sanitise(&file, None).await.verdict else { panic!() };
    assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::Drawing]);
    let open = laid_open(&bytes);
    assert!(holds(&open, b"q Q") && !holds(&open, HARM));
}

#[tokio::test]
async fn notes_that_nobody_sees_go_and_fields_and_answers_of_a_review_stay() {
    let note = |kind: &str, flags: i64| {
        dictionary! { "Type" => "Annot", "Subtype" => kind, "Rect" => numbers(&[0, 0, 9, 9]), "F" => flags }
    };
    let with_notes = |notes: &[Dictionary]| {
        pdf(|document, _, page| {
            let notes: Vec<Object> =
                notes.iter().map(|one| document.add_object(one.clone()).into()).collect();
            if let [first, second] = notes.as_slice() {
                let second = document.get_dictionary_mut(second.as_reference().unwrap()).unwrap();
                second.set("IRT", first.clone());
            }
            document.get_dictionary_mut(page).unwrap().set("Annots", notes);
        })
    };
    let mut state = note("Text", 30);
    state.set("StateModel", "Review");
    state.set("State", Object::string_literal("Accepted"));
    for (notes, wanted) in [
        (vec![note("Text", 2)], vec![Part::Hidden]),
        (vec![note("FreeText", 32)], vec![Part::Hidden]),
        // It is printed.
        (vec![note("Watermark", 36)], vec![]),
        (vec![note("Text", 28), state], vec![]),
        (vec![note("Widget", 2)], vec![]),
        (vec![note("Link", 0)], vec![]),
    ] {
        let Verdict::Rebuilt { bytes, removed } = sanitise(&with_notes(&notes), None).await.verdict else {
            panic!()
        };
        assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), wanted, "{notes:?}");
        let left = Document::load_mem(&bytes).unwrap();
        let is_note =
            |object: &&Object| object.as_dict().is_ok_and(|one| one.has(b"Subtype") && one.has(b"Rect"));
        let left = left.objects.values().filter(is_note).count();
        assert_eq!(left, if wanted.is_empty() { notes.len() } else { 0 }, "{notes:?}");
    }
}

#[tokio::test]
async fn a_chart_of_another_books_numbers_shows_them_still() {
    let reference = |kind: &str, formula: &str, cache: &str| {
        format!("<c:{kind}Ref><c:f>{formula}</c:f><c:{kind}Cache>{cache}</c:{kind}Cache></c:{kind}Ref>")
    };
    let point = |value: &str| format!("<c:ptCount val=\"1\"/><c:pt idx=\"0\"><c:v>{value}</c:v></c:pt>");
    let series = |formula: &str| {
        let name = reference("str", formula, &point("人口 &amp; 世帯"));
        let years = reference("str", formula, &point("令和7年"));
        let values = reference("num", formula, &format!("<c:formatCode>#,##0</c:formatCode>{}", point("42")));
        format!(
            "<c:ser><c:idx val=\"0\"/><c:order val=\"0\"/><c:tx>{name}</c:tx><c:cat>{years}</c:cat><c:val>{values}</c:val></c:ser>"
        )
    };
    let own = series("表!$A$1");
    let title = format!("<c:title><c:tx>{}</c:tx></c:title>", reference("str", "[1]表!$A$1", &point("題")));
    let levels = "<c:multiLvlStrRef><c:f>'\\\\host\\[a.xlsx]S'!A1</c:f><c:multiLvlStrCache><c:ptCount val=\"1\"/><c:lvl><c:pt idx=\"0\"><c:v>内</c:v></c:pt></c:lvl>\
        <c:lvl><c:pt idx=\"0\"><c:v>外</c:v></c:pt></c:lvl></c:multiLvlStrCache></c:multiLvlStrRef>";
    let chart = format!(
        "<c:chartSpace xmlns:c=\"http://schemas.openxmlformats.org/drawingml/2006/chart\" \
         xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\">{title}{}{own}<c:cat>{levels}</c:cat>\
         <c:externalData r:id=\"rId1\"><c:autoUpdate val=\"0\"/></c:externalData></c:chartSpace>",
        series("[1]表!$A$1")
    );
    let relations = office::relations(&[("rId1", "oleObject", "file:///c:/a.xlsx", true)]);
    let more: [(&str, &str, &[u8]); 2] = [
        (
            "xl/charts/chart1.xml",
            "application/vnd.openxmlformats-officedocument.drawingml.chart+xml",
            chart.as_bytes(),
        ),
        ("xl/charts/_rels/chart1.xml.rels", "application/xml", &relations),
    ];
    let list = [("rId20", "chart", "charts/chart1.xml", false)];
    let outcome = sanitise(&office::book(&["表"], "", "<sheetData/>", &list, &more), None).await;
    assert_eq!(outcome.kind, Some(Kind::Xlsx));
    let Verdict::Rebuilt { bytes, removed } = outcome.verdict else { panic!("{outcome:?}") };
    let mut what: Vec<_> = removed.iter().map(|one| one.what.code()).collect();
    what.sort_unstable();
    assert_eq!(what, ["formula", "ole"]);
    let parts = unpack(&bytes);
    let chart = parts.iter().find(|(name, _)| name.ends_with("chart1.xml")).unwrap();
    let chart = String::from_utf8_lossy(&chart.1).into_owned();
    for kept in [
        own.as_str(),
        "<c:tx><c:v>人口 &amp; 世帯</c:v></c:tx><c:cat><c:strLit><c:ptCount val=\"1\"/><c:pt idx=\"0\"><c:v>令和7年</c:v></c:pt></c:strLit></c:cat>",
        "<c:val><c:numLit><c:formatCode>#,##0</c:formatCode><c:ptCount val=\"1\"/><c:pt idx=\"0\"><c:v>42</c:v></c:pt></c:numLit></c:val>",
        "<c:cat><c:strLit><c:ptCount val=\"1\"/><c:pt idx=\"0\"><c:v>内</c:v></c:pt></c:strLit></c:cat>",
        "<a:p><a:r><a:t>題</a:t></a:r></a:p></c:rich></c:tx></c:title>",
    ] {
        assert!(chart.contains(kept), "{kept}: {chart}");
    }
    for gone in ["[1]", "host", "externalData"] {
        assert!(!chart.contains(gone), "{gone}: {chart}");
    }
}

#[tokio::test]
async fn what_a_document_says_of_its_changes_and_notes_stays_and_where_its_marks_come_from_does_not() {
    let changed = "<w:del w:id=\"1\" w:author=\"加賀\" w:date=\"2026-11-01T00:00:00Z\"><w:r><w:delText>旧</w:delText></w:r></w:del>\
        <w:ins w:id=\"2\" w:author=\"加賀\"><w:r><w:t>新</w:t></w:r></w:ins><w:r><w:rPr><w:vanish/></w:rPr><w:t>隠</w:t></w:r>";
    let marked = "<w:smartTag w:uri=\"urn:schemas-microsoft-com:office:smarttags\" w:element=\"place\"><w:r><w:t>金沢</w:t></w:r></w:smartTag>";
    let addressed =
        "<w:customXml w:uri=\"http://evil.example/x\" w:element=\"x\"><w:r><w:t>市</w:t></w:r></w:customXml>";
    let body = format!("<w:p>{changed}{marked}{addressed}</w:p>");
    let Verdict::Rebuilt { bytes, removed } = sanitise(&office::word(&body, &[], &[]), None).await.verdict
    else {
        panic!()
    };
    assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::CustomXml]);
    let parts = unpack(&bytes);
    let document = parts.iter().find(|(name, _)| name == "word/document.xml").unwrap();
    let document = String::from_utf8_lossy(&document.1).into_owned();
    let bare = addressed.replace(" w:uri=\"http://evil.example/x\"", "");
    for kept in [changed, marked, bare.as_str()] {
        assert!(document.contains(kept), "{kept}: {document}");
    }
}
