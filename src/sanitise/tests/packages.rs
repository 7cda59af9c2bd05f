//! Office documents that are opened without a repair question after they were made anew, and what of Japanese stays in them.

use std::collections::{BTreeMap, BTreeSet};

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use sanitise::{Kind, Part, Reason, Verdict};

use super::{
    holds, office, reason, rebuilt,
    samples::{HARM, encoded, entry, zip},
    sanitise, unpack,
};

const OFFICE: &str = "application/vnd.openxmlformats-officedocument";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

type Parts = Vec<(String, Vec<u8>)>;

fn elements(xml: &[u8]) -> Vec<BytesStart<'static>> {
    let mut reader = Reader::from_str(std::str::from_utf8(xml).unwrap());
    let mut found = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) | Event::Empty(element) => found.push(element.into_owned()),
            Event::Eof => return found,
            _ => {}
        }
    }
}

/// Attributes by their whole names.
fn attributes(element: &BytesStart<'_>) -> BTreeMap<String, String> {
    let all = element.attributes().map(Result::unwrap);
    all.map(|one| {
        let name = String::from_utf8(one.key.as_ref().to_vec()).unwrap();
        (name, one.normalized_value(XmlVersion::Implicit1_0).unwrap().into_owned())
    })
    .collect()
}

/// What would have Office ask whether to repair a package: types of nothing, parts without a type, relationships that lead nowhere
/// or are twice there, and ids in parts that have no relationship.
fn faults(parts: &Parts) -> Vec<String> {
    let mut faults = Vec::new();
    let names: BTreeSet<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let (mut ends, mut typed) = (BTreeSet::new(), BTreeSet::new());
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, bytes) in parts {
        if name == "[Content_Types].xml" {
            for element in elements(bytes).iter().map(attributes) {
                ends.extend(element.get("Extension").cloned());
                typed.extend(element.get("PartName").map(|name| name.trim_start_matches('/').to_owned()));
            }
        } else if let Some(stem) = name.strip_suffix(".rels") {
            let of = stem.replacen("_rels/", "", 1);
            if !of.is_empty() && !names.contains(of.as_str()) {
                faults.push(format!("{name} is of nothing"));
            }
            for row in elements(bytes).iter().map(attributes).filter(|row| row.contains_key("Id")) {
                let target = row["Target"].as_str();
                let is_part = !row.contains_key("TargetMode") && !target.starts_with('#');
                if is_part && !target.strip_prefix('/').is_some_and(|path| names.contains(path)) {
                    faults.push(format!("{name} leads to {target}"));
                }
                if !ids.entry(of.clone()).or_default().insert(row["Id"].clone()) {
                    faults.push(format!("{name} has {} twice", row["Id"]));
                }
            }
        }
    }
    faults.extend(
        typed.iter().filter(|name| !names.contains(name.as_str())).map(|name| format!("a type of no {name}")),
    );
    for (name, bytes) in parts.iter().filter(|(name, _)| name != "[Content_Types].xml") {
        let end = name.rsplit('.').next().unwrap();
        if !typed.contains(name) && !ends.contains(end) {
            faults.push(format!("no type of {name}"));
        }
        if !bytes.starts_with(b"<?xml") || end == "rels" {
            continue;
        }
        let all: Vec<_> = elements(bytes).iter().map(attributes).collect();
        let is_meant = |space: &String| space == RELATIONS || space.ends_with(":office:office");
        let spaces = all.iter().flatten().filter(|(_, space)| is_meant(space));
        let prefixes: BTreeSet<_> = spaces.filter_map(|(key, _)| key.strip_prefix("xmlns:")).collect();
        for (key, id) in all.iter().flatten() {
            let Some((prefix, local)) = key.split_once(':') else { continue };
            let refers = prefixes.contains(prefix) && (prefix != "o" || local == "relid");
            if refers && !ids.get(name).is_some_and(|ids| ids.contains(id)) {
                faults.push(format!("{name} has {key}={id}"));
            }
        }
    }
    faults
}

fn text(parts: &Parts, name: &str) -> String {
    let part = parts.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("{name}"));
    String::from_utf8(part.1.clone()).unwrap()
}

/// Sees that a hostile document comes out in order, with what was lost told, and gives its parts.
async fn made(file: &[u8], kind: Kind, lost: &[Part]) -> Parts {
    let outcome = sanitise(file, None).await;
    assert_eq!(outcome.kind, Some(kind), "{:?}", reason(&outcome));
    let Verdict::Rebuilt { bytes, removed } = outcome.verdict else { panic!("{outcome:?}") };
    for what in lost {
        assert!(removed.iter().any(|one| one.what == *what), "{what:?}: {removed:?}");
    }
    let parts = unpack(&bytes);
    assert_eq!(faults(&parts), Vec::<String>::new());
    assert!(parts.iter().all(|(_, bytes)| !holds(bytes, HARM)));
    // It is in order itself, and nothing is left to take out.
    let again = sanitise(&bytes, None).await.verdict;
    assert!(matches!(&again, Verdict::Rebuilt { removed, .. } if removed.is_empty()), "{again:?}");
    parts
}

/// Relationships of a part within a package.
fn of(part: &str, list: &[(&str, &str, &str, bool)]) -> (String, Vec<u8>) {
    let (folder, file) = part.rsplit_once('/').unwrap();
    (format!("{folder}/_rels/{file}.rels"), office::relations(list))
}

#[tokio::test]
async fn a_document_of_word_is_in_order_after_all_that_runs_or_loads_went_out_of_it() {
    let png = encoded(image::ImageFormat::Png);
    let web = format!("https://evil.example/{}.png", std::str::from_utf8(HARM).unwrap());
    let body = "<w:p><w:r><w:object><v:shape><v:imagedata r:id=\"rImage\"/></v:shape><o:OLEObject ProgID=\"Package\" r:id=\"rOle\"/></w:object></w:r>\
        <w:r><w:object><v:shape/><w:control r:id=\"rControl\" w:name=\"x\"/></w:object></w:r>\
        <w:r><w:drawing><a:blip xmlns:a=\"http://schemas.openxmlformats.org/drawingml/2006/main\" r:embed=\"rImage\" r:link=\"rWeb\"/></w:drawing></w:r>\
        <w:r><w:pict><v:shape><v:imagedata r:id=\"rWebOld\" r:href=\"rWeb\" o:relid=\"rWebOld\"/></v:shape></w:pict></w:r>\
        <w:hyperlink r:id=\"rFile\"><w:r><w:t>共有</w:t></w:r></w:hyperlink></w:p>\
        <w:altChunk r:id=\"rChunk\"/><w:subDoc r:id=\"rSub\"/>\
        <w:sectPr><w:headerReference w:type=\"default\" r:id=\"rHeader\"/><w:printerSettings r:id=\"rPrinter\"/></w:sectPr>";
    let list = [
        ("rImage", "image", "media/image1.png", false),
        ("rOle", "oleObject", "embeddings/x.bin", false),
        ("rControl", "control", "activeX/activeX1.xml", false),
        ("rWeb", "image", web.as_str(), true),
        ("rWebOld", "image", web.as_str(), true),
        ("rFile", "hyperlink", "file:///c:/x", true),
        ("rChunk", "aFChunk", "chunk.html", false),
        ("rSub", "subDocument", web.as_str(), true),
        ("rHeader", "header", "header1.xml", false),
        ("rPrinter", "printerSettings", "printer.bin", false),
        ("rVba", "vbaProject", "vbaProject.bin", false),
        ("rXml", "customXml", "../customXml/item1.xml", false),
        ("rSettings", "settings", "settings.xml", false),
        ("rFonts", "fontTable", "fontTable.xml", false),
        ("rNothing", "styles", "nowhere.xml", false),
    ];
    let part = |name: &str, inside: &str| {
        format!("<w:{name} {} xmlns:r=\"{RELATIONS}\">{inside}</w:{name}>", office::SPACES).into_bytes()
    };
    let header =
        part("hdr", "<w:p><w:r><w:pict><v:shape><v:imagedata r:id=\"rWeb\"/></v:shape></w:pict></w:r></w:p>");
    let settings = part("settings", "<w:attachedTemplate r:id=\"rTemplate\"/><w:zoom w:percent=\"90\"/>");
    let fonts =
        part("fonts", "<w:font w:name=\"明朝\"><w:embedRegular r:id=\"rFont\" w:fontKey=\"{0}\"/></w:font>");
    let header_of = of("word/header1.xml", &[("rWeb", "image", &web, true)]);
    let settings_of = of("word/settings.xml", &[("rTemplate", "attachedTemplate", &web, true)]);
    let fonts_of = of("word/fontTable.xml", &[("rFont", "font", "fonts/1.odttf", false)]);
    let rels = "application/vnd.openxmlformats-package.relationships+xml";
    let word = |name: &str| format!("{OFFICE}.wordprocessingml.{name}+xml");
    let (header_type, settings_type, fonts_type) = (word("header"), word("settings"), word("fontTable"));
    let more: Vec<(&str, &str, &[u8])> = vec![
        ("word/media/image1.png", "image/png", &png),
        ("word/embeddings/x.bin", "application/x", HARM),
        ("word/activeX/activeX1.xml", "application/vnd.ms-office.activeX+xml", HARM),
        ("word/chunk.html", "text/html", HARM),
        ("word/printer.bin", "application/x", HARM),
        ("word/vbaProject.bin", "application/vnd.ms-office.vbaProject", HARM),
        ("customXml/item1.xml", "application/xml", HARM),
        ("word/fonts/1.odttf", "application/x-font", HARM),
        ("word/header1.xml", &header_type, &header),
        ("word/settings.xml", &settings_type, &settings),
        ("word/fontTable.xml", &fonts_type, &fonts),
        (&header_of.0, rels, &header_of.1),
        (&settings_of.0, rels, &settings_of.1),
        (&fonts_of.0, rels, &fonts_of.1),
    ];
    let lost = [
        Part::Macro,
        Part::Ole,
        Part::ActiveX,
        Part::ExternalTemplate,
        Part::ExternalData,
        Part::CustomXml,
        Part::Font,
        Part::Link,
    ];
    let parts = made(&office::word(body, &list, &more), Kind::Docx, &lost).await;
    let document = text(&parts, "word/document.xml");
    for stays in ["r:embed=\"rImage\"", "<v:imagedata r:id=\"rImage\"/>", "r:id=\"rHeader\"", "共有"] {
        assert!(document.contains(stays), "{stays}: {document}");
    }
    assert!(text(&parts, "word/settings.xml").contains("<w:zoom w:percent=\"90\"/>"));
    let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let kept = ["document.xml", "fontTable.xml", "header1.xml", "media/image1.png", "settings.xml"]
        .map(|name| format!("word/{name}"));
    let kept = kept.iter().map(String::as_str).chain([
        "[Content_Types].xml",
        "_rels/.rels",
        "word/_rels/document.xml.rels",
    ]);
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), kept.collect());
}

#[tokio::test]
async fn a_workbook_is_in_order_after_all_that_runs_or_loads_went_out_of_it() {
    let x14 = "xmlns:x14=\"http://schemas.microsoft.com/office/spreadsheetml/2009/9/main\"";
    let inside = format!(
        "<bookViews><workbookView firstSheet=\"1\" activeTab=\"2\"/></bookViews>\
         <externalReferences><externalReference r:id=\"rLink\"/></externalReferences>\
         <definedNames><definedName name=\"_xlnm.Print_Area\" localSheetId=\"0\">一!$A$1</definedName>\
         <definedName name=\"Auto_Open\" localSheetId=\"1\">マクロ!$A$1</definedName>\
         <definedName name=\"_xlnm.Print_Area\" localSheetId=\"2\">三!$A$1</definedName></definedNames>\
         <extLst><ext uri=\"x\" {x14}><x14:slicerCaches><x14:slicerCache r:id=\"rSlicer\"/></x14:slicerCaches></ext></extLst>"
    );
    let data = format!(
        "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c></row></sheetData>\
         <hyperlinks><hyperlink ref=\"A1\" r:id=\"rFile\"/></hyperlinks><pageSetup r:id=\"rPrinter\"/>\
         <customProperties><customPr name=\"x\" r:id=\"rCustom\"/></customProperties>\
         <drawing r:id=\"rDrawing\"/><legacyDrawing r:id=\"rOld\"/><picture r:id=\"rWeb\"/>\
         <oleObjects><oleObject progId=\"Package\" r:id=\"rOle\"/></oleObjects><controls><control r:id=\"rControl\"/></controls>\
         <tableParts count=\"1\"><tablePart r:id=\"rTable\"/></tableParts>\
         <extLst><ext uri=\"x\" {x14}><x14:slicerList><x14:slicer r:id=\"rSlicer\"/></x14:slicerList></ext></extLst>"
    );
    let web = format!("https://evil.example/{}.png", std::str::from_utf8(HARM).unwrap());
    let sheet_of = of(
        "xl/worksheets/sheet1.xml",
        &[
            ("rFile", "hyperlink", "file:///c:/x", true),
            ("rPrinter", "printerSettings", "../printer.bin", false),
            ("rCustom", "customProperty", "../custom.bin", false),
            ("rDrawing", "drawing", "../drawings/drawing1.xml", false),
            ("rOld", "vmlDrawing", "../drawings/old.vml", false),
            ("rWeb", "image", &web, true),
            ("rOle", "oleObject", "../x.bin", false),
            ("rControl", "control", "../activeX1.xml", false),
            ("rTable", "table", "../tables/table1.xml", false),
            ("rSlicer", "slicer", "../slicer1.xml", false),
        ],
    );
    let drawing = format!(
        "<xdr:wsDr xmlns:xdr=\"http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing\" xmlns:r=\"{RELATIONS}\" \
         xmlns:a=\"http://schemas.openxmlformats.org/drawingml/2006/main\"><a:blip r:link=\"rWeb\"/></xdr:wsDr>"
    );
    let drawing_of = of("xl/drawings/drawing1.xml", &[("rWeb", "image", &web, true)]);
    let old = "<xml xmlns:v=\"urn:schemas-microsoft-com:vml\" xmlns:o=\"urn:schemas-microsoft-com:office:office\" \
        xmlns:x=\"urn:schemas-microsoft-com:office:excel\"><v:shape o:spid=\"s1\"><v:imagedata o:relid=\"rWeb\" o:title=\"x\"/>\
        <x:ClientData><x:FmlaMacro>x</x:FmlaMacro></x:ClientData></v:shape></xml>";
    let old_of = of("xl/drawings/old.vml", &[("rWeb", "image", &web, true)]);
    let table = "<table xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" id=\"1\" name=\"表\" displayName=\"表\" ref=\"A1:A2\" \
        tableType=\"queryTable\"><tableColumns count=\"1\"><tableColumn id=\"1\" name=\"a\" queryTableFieldId=\"1\"/></tableColumns></table>";
    let table_of = of("xl/tables/table1.xml", &[("rQuery", "queryTable", "../query1.xml", false)]);
    let rels = "application/vnd.openxmlformats-package.relationships+xml";
    let excel = |name: &str| format!("{OFFICE}.spreadsheetml.{name}+xml");
    let (table_type, link_type, drawing_type) =
        (excel("table"), excel("externalLink"), format!("{OFFICE}.drawing+xml"));
    let more: Vec<(&str, &str, &[u8])> = vec![
        ("xl/vbaProject.bin", "application/vnd.ms-office.vbaProject", HARM),
        ("xl/macro1.xml", "application/vnd.ms-excel.macrosheet+xml", HARM),
        ("xl/externalLinks/externalLink1.xml", &link_type, HARM),
        ("xl/connections.xml", "application/x", HARM),
        ("xl/drawings/drawing1.xml", &drawing_type, drawing.as_bytes()),
        ("xl/drawings/old.vml", "application/vnd.openxmlformats-officedocument.vmlDrawing", old.as_bytes()),
        ("xl/tables/table1.xml", &table_type, table.as_bytes()),
        ("xl/query1.xml", "application/x", HARM),
        ("xl/x.bin", "application/x", HARM),
        ("xl/slicer1.xml", "application/vnd.ms-excel.slicer+xml", HARM),
        (&sheet_of.0, rels, &sheet_of.1),
        (&drawing_of.0, rels, &drawing_of.1),
        (&old_of.0, rels, &old_of.1),
        (&table_of.0, rels, &table_of.1),
    ];
    let list = [
        ("rId2", "xlMacrosheet", "macro1.xml", false),
        ("rVba", "vbaProject", "vbaProject.bin", false),
        ("rLink", "externalLink", "externalLinks/externalLink1.xml", false),
        ("rConnections", "connections", "connections.xml", false),
        ("rSlicer", "slicerCache", "slicerCache1.xml", false),
    ];
    let lost = [Part::Macro, Part::ExternalData, Part::Ole, Part::ActiveX, Part::Link];
    let file = office::book_without(&["一", "マクロ", "三"], &["rId2"], &inside, &data, &list, &more);
    let parts = made(&file, Kind::Xlsx, &lost).await;
    let book = text(&parts, "xl/workbook.xml");
    // Places of sheets are those of the sheets that are left.
    for stays in [
        "<workbookView activeTab=\"1\"/>",
        "<definedName name=\"_xlnm.Print_Area\" localSheetId=\"0\">一!$A$1</definedName>",
        "<definedName name=\"_xlnm.Print_Area\" localSheetId=\"1\">三!$A$1</definedName>",
    ] {
        assert!(book.contains(stays), "{stays}: {book}");
    }
    // Nothing stays empty that must not be.
    for gone in ["マクロ", "Auto_Open", "slicerCaches", "extLst", "externalReference"] {
        assert!(!book.contains(gone), "{gone}: {book}");
    }
    let sheet = text(&parts, "xl/worksheets/sheet1.xml");
    for gone in
        ["hyperlinks", "customProperties", "picture", "oleObjects", "controls", "slicerList", "extLst"]
    {
        assert!(!sheet.contains(gone), "{gone}: {sheet}");
    }
    for stays in ["<pageSetup", "r:id=\"rDrawing\"", "r:id=\"rOld\"", "<tablePart r:id=\"rTable\"/>"] {
        assert!(sheet.contains(stays), "{stays}: {sheet}");
    }
    let table = text(&parts, "xl/tables/table1.xml");
    assert!(!table.contains("query") && table.contains("<tableColumn id=\"1\" name=\"a\"/>"), "{table}");
}

#[tokio::test]
async fn a_package_with_two_documents_is_neither() {
    let formula = "<sheetData><row r=\"1\"><c r=\"A1\"><f>_xlfn.WEBSERVICE(\"http://evil.example/\")</f><v>1</v></c></row></sheetData>";
    let book = office::book_without(&["一"], &[], "", formula, &[], &[]);
    let alone = made(&book, Kind::Xlsx, &[Part::Formula]).await;
    assert!(!text(&alone, "xl/worksheets/sheet1.xml").contains("WEBSERVICE"));

    const WORD: &[u8] = b"<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body/></w:document>";
    let with = |root: &str, of_word: Option<&str>| {
        let mut parts = unpack(&book);
        for (name, bytes) in &mut parts {
            if name == "[Content_Types].xml" {
                let more = format!(
                    "<Override PartName=\"/word/document.xml\" ContentType=\"{OFFICE}.wordprocessingml.document.main+xml\"/></Types>"
                );
                *bytes = String::from_utf8(bytes.clone()).unwrap().replace("</Types>", &more).into_bytes();
            } else if name == "_rels/.rels" {
                let all = format!(
                    "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">{root}</Relationships>"
                );
                *bytes = all.into_bytes();
            }
        }
        parts.push(("word/document.xml".to_owned(), WORD.to_vec()));
        if let Some(kind) = of_word {
            parts.push(of("word/document.xml", &[("rId1", kind, "../xl/workbook.xml", false)]));
        }
        office::pack(&parts)
    };
    let relation = |id: u8, kind: &str, target: &str| {
        format!("<Relationship Id=\"rId{id}\" Type=\"{kind}\" Target=\"{target}\"/>")
    };
    let known = format!("{RELATIONS}/officeDocument");
    let strict = "http://purl.oclc.org/ooxml/officeDocument/relationships/officeDocument";
    let (word, excel) = ("word/document.xml", "xl/workbook.xml");
    for (root, of_word) in [
        (relation(1, &known, word) + &relation(2, &known, excel), None),
        (relation(1, &known, excel) + &relation(2, &known, word), None),
        (relation(1, strict, word) + &relation(2, &known, excel), None),
        (relation(1, "http://x.example/officeDocument", word) + &relation(2, &known, excel), None),
        (relation(1, &known, word) + &relation(2, "http://x.example/OfficeDocument", excel), None),
        (relation(1, &known, word), Some("officeDocument")),
        // By whatever relationship it is reached.
        (relation(1, &known, word), Some("worksheet")),
    ] {
        let outcome = sanitise(&with(&root, of_word), None).await;
        assert_eq!(reason(&outcome), Some(Reason::TwoTypes), "{root} {of_word:?}");
    }
    let strange = with(&relation(1, "http://x.example/officeDocument", excel), None);
    assert_eq!(reason(&sanitise(&strange, None).await), Some(Reason::TwoTypes));
}

#[tokio::test]
async fn a_rule_or_a_check_of_a_cell_goes_as_a_whole_with_a_formula_of_another_book() {
    let x14 = "xmlns:x14=\"http://schemas.microsoft.com/office/spreadsheetml/2009/9/main\" \
        xmlns:xm=\"http://schemas.microsoft.com/office/excel/2006/main\"";
    const OTHER: &str = "[1]Sheet1!$A$1";
    let rules = |rules: &str| format!("<conditionalFormatting sqref=\"A1\">{rules}</conditionalFormatting>");
    let stays = [
        rules("<cfRule type=\"cellIs\" priority=\"1\" operator=\"between\"><formula>10</formula><formula>20</formula></cfRule>"),
        "<dataValidations count=\"2\"><dataValidation type=\"list\" sqref=\"B1\"><formula1>$A$1:$A$3</formula1></dataValidation>"
            .to_owned(),
    ];
    let goes = [
        rules(&format!(
            "<cfRule type=\"cellIs\" priority=\"2\" operator=\"between\"><formula>10</formula><formula>{OTHER}</formula></cfRule>"
        )),
        rules(&format!(
            "<cfRule type=\"expression\" priority=\"3\"><formula>{OTHER}&gt;1</formula></cfRule>"
        )),
        rules(&format!(
            "<cfRule type=\"colorScale\" priority=\"4\"><colorScale><cfvo type=\"formula\" val=\"{OTHER}\"/><cfvo type=\"max\"/>\
             <color rgb=\"FF00FF00\"/><color rgb=\"FFFF0000\"/></colorScale></cfRule>"
        )),
    ];
    let check = format!(
        "<dataValidation type=\"whole\" operator=\"between\" sqref=\"C1\"><formula1>1</formula1><formula2>{OTHER}</formula2></dataValidation>"
    );
    let extension = format!(
        "<extLst><ext uri=\"a\" {x14}><x14:dataValidations count=\"1\"><x14:dataValidation type=\"list\"><x14:formula1><xm:f>{OTHER}</xm:f>\
         </x14:formula1><xm:sqref>D1</xm:sqref></x14:dataValidation></x14:dataValidations></ext><ext uri=\"b\" {x14}>\
         <x14:conditionalFormattings><x14:conditionalFormatting><x14:cfRule type=\"expression\" priority=\"5\" id=\"x\"><xm:f>{OTHER}</xm:f>\
         </x14:cfRule><xm:sqref>E1</xm:sqref></x14:conditionalFormatting></x14:conditionalFormattings></ext></extLst>"
    );
    let data = format!(
        "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c></row></sheetData>{}{}{}{check}</dataValidations>{extension}",
        stays[0],
        goes.concat(),
        stays[1]
    );
    let file = office::book_without(&["一"], &[], "", &data, &[], &[]);
    let parts = made(&file, Kind::Xlsx, &[Part::Formula]).await;
    let sheet = text(&parts, "xl/worksheets/sheet1.xml");
    for stays in &stays {
        assert!(sheet.contains(stays.as_str()), "{stays}: {sheet}");
    }
    // Nothing is left of the others: no rule without its formulas, and no list without a rule.
    let count = |what: &str| sheet.matches(what).count();
    assert_eq!(
        (count("<conditionalFormatting "), count("<cfRule"), count("<dataValidation ")),
        (1, 1, 1),
        "{sheet}"
    );
    for gone in ["Sheet1", "x14:", "extLst", "cfvo"] {
        assert!(!sheet.contains(gone), "{gone}: {sheet}");
    }
}

#[tokio::test]
async fn slides_are_in_order_after_sounds_films_and_controls_went_out_of_them() {
    let space = "http://schemas.openxmlformats.org/presentationml/2006/main";
    let main = format!(
        "<p:presentation xmlns:p=\"{space}\" xmlns:r=\"{RELATIONS}\"><p:sldIdLst><p:sldId id=\"256\" r:id=\"rSlide\"/></p:sldIdLst>\
         <p:custDataLst><p:tags r:id=\"rTags\"/></p:custDataLst></p:presentation>"
    );
    let slide = format!(
        "<p:sld xmlns:p=\"{space}\" xmlns:r=\"{RELATIONS}\" xmlns:a=\"http://schemas.openxmlformats.org/drawingml/2006/main\" \
         xmlns:p14=\"http://schemas.microsoft.com/office/powerpoint/2010/main\"><p:cSld><p:spTree><p:pic><p:nvPicPr><p:cNvPr id=\"4\" name=\"x\">\
         <a:hlinkClick r:id=\"rFile\" action=\"ppaction://media\"/></p:cNvPr><p:nvPr><a:videoFile r:link=\"rFilm\"/>\
         <p:extLst><p:ext uri=\"x\"><p14:media r:embed=\"rMedia\"/></p:ext></p:extLst></p:nvPr></p:nvPicPr></p:pic></p:spTree>\
         <p:controls><p:control r:id=\"rControl\"/></p:controls></p:cSld>\
         <p:transition spd=\"slow\"><p:fade/><p:sndAc><p:stSnd><p:snd r:embed=\"rSound\" name=\"x\"/></p:stSnd></p:sndAc></p:transition></p:sld>"
    );
    let slide_of = of(
        "ppt/slides/slide1.xml",
        &[
            ("rFile", "hyperlink", "file:///c:/x", true),
            ("rFilm", "video", "../media/x.mp4", false),
            ("rMedia", "media", "../media/x.mp4", false),
            ("rControl", "control", "../activeX1.xml", false),
            ("rSound", "audio", "../media/x.wav", false),
        ],
    );
    let slide_type = format!("{OFFICE}.presentationml.slide+xml");
    let more: Vec<(&str, &str, &[u8])> = vec![
        ("ppt/slides/slide1.xml", &slide_type, slide.as_bytes()),
        (&slide_of.0, "application/vnd.openxmlformats-package.relationships+xml", &slide_of.1),
        ("ppt/media/x.mp4", "video/mp4", HARM),
        ("ppt/media/x.wav", "audio/wav", HARM),
        ("ppt/vbaProject.bin", "application/vnd.ms-office.vbaProject", HARM),
    ];
    let list = [
        ("rSlide", "slide", "slides/slide1.xml", false),
        ("rTags", "tags", "tags/tag1.xml", false),
        ("rVba", "vbaProject", "vbaProject.bin", false),
    ];
    let main_type = "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml";
    let file = office::package("ppt/presentation.xml", main_type, &main, &list, &more);
    let parts = made(&file, Kind::Pptx, &[Part::Macro, Part::Media, Part::ActiveX, Part::Link]).await;
    let slide = text(&parts, "ppt/slides/slide1.xml");
    assert!(slide.contains("<p:transition spd=\"slow\"><p:fade/></p:transition>"), "{slide}");
    assert!(!slide.contains("extLst") && slide.contains("<p:cNvPr id=\"4\" name=\"x\">"), "{slide}");
}

#[tokio::test]
async fn what_held_macros_or_was_a_template_says_everywhere_that_it_is_a_plain_document() {
    let word = (
        "word/document.xml",
        Kind::Docx,
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
    );
    let excel = (
        "xl/workbook.xml",
        Kind::Xlsx,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
    );
    let point = (
        "ppt/presentation.xml",
        Kind::Pptx,
        "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml",
    );
    for ((main, kind, plain), end, was) in [
        (word, "docm", "application/vnd.ms-word.document.macroEnabled.main+xml"),
        (word, "dotm", "application/vnd.ms-word.template.macroEnabledTemplate.main+xml"),
        (word, "dotx", "application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml"),
        (excel, "xlsm", "application/vnd.ms-excel.sheet.macroEnabled.main+xml"),
        (excel, "xltm", "application/vnd.ms-excel.template.macroEnabled.main+xml"),
        (excel, "xltx", "application/vnd.openxmlformats-officedocument.spreadsheetml.template.main+xml"),
        (point, "pptm", "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml"),
        (point, "potm", "application/vnd.ms-powerpoint.template.macroEnabled.main+xml"),
        (point, "ppsm", "application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml"),
        (point, "potx", "application/vnd.openxmlformats-officedocument.presentationml.template.main+xml"),
        (point, "ppsx", "application/vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml"),
    ] {
        let list = [("rVba", "vbaProject", "vbaProject.bin", false)];
        let folder = main.rsplit_once('/').unwrap().0;
        let vba = format!("{folder}/vbaProject.bin");
        let more: [(&str, &str, &[u8]); 1] = [(&vba, "application/vnd.ms-office.vbaProject", HARM)];
        let file = office::package(main, was, "<x/>", &list, &more);
        let name = format!("案内.{end}");
        // Alone, and in an archive, which names it anew.
        let parts = made(&file, kind, &[Part::Macro]).await;
        let types = text(&parts, "[Content_Types].xml");
        assert!(types.contains(&format!("PartName=\"/{main}\" ContentType=\"{plain}\"")), "{end}: {types}");
        assert!(
            !types.contains("macro") && !types.contains("vba") && !types.contains("template"),
            "{end}: {types}"
        );
        assert_eq!(kind.name_for(&name), format!("案内.{}", kind.extension()), "{end}");
        let packed = unpack(&rebuilt(sanitise(&zip(&[entry(&name, &file)]), None).await));
        assert_eq!(packed[0].0, format!("案内.{}", kind.extension()), "{end}");
        assert_eq!(text(&unpack(&packed[0].1), "[Content_Types].xml"), types, "{end}");
    }
    // In binary, or what adds macros to programs, is none of these.
    for (main, was) in [
        ("xl/workbook.bin", "application/vnd.ms-excel.sheet.binary.macroEnabled.main"),
        ("xl/workbook.xml", "application/vnd.ms-excel.addin.macroEnabled.main+xml"),
        ("ppt/presentation.xml", "application/vnd.ms-powerpoint.addin.macroEnabled.main+xml"),
    ] {
        let file = office::package(main, was, "<x/>", &[], &[]);
        assert_eq!(reason(&sanitise(&file, None).await), Some(Reason::NotAllowed), "{was}");
    }
}

#[tokio::test]
async fn a_legacy_document_is_told_whether_it_holds_macros_and_what_to_do() {
    let with = |streams: &[&str]| {
        let mut file = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
        file.resize(1_024, 0);
        for name in ["Root Entry"].iter().chain(streams) {
            let mut row: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            row.resize(128, 0);
            file.extend(row);
        }
        file
    };
    for (name, streams, wanted) in [
        ("案内.doc", &["WordDocument", "1Table", "Macros", "VBA", "_VBA_PROJECT"][..], Reason::LegacyMacro),
        ("表.xls", &["Workbook", "_VBA_PROJECT_CUR", "VBA"], Reason::LegacyMacro),
        ("案内.doc", &["WordDocument", "1Table"], Reason::Legacy),
        ("表.xls", &["Workbook"], Reason::Legacy),
        ("説明.ppt", &["PowerPoint Document"], Reason::Legacy),
        ("案内.docx", &["EncryptionInfo", "EncryptedPackage"], Reason::Encrypted),
    ] {
        // By what it is, whatever it is called.
        for name in [name, "a.pdf"] {
            assert_eq!(reason(&sanitise(&with(streams), Some(name)).await), Some(wanted), "{name}");
        }
    }
    for reason in [Reason::LegacyMacro, Reason::Legacy] {
        assert!(reason.ja().contains(".docx") && reason.en().contains(".docx"), "{reason:?}");
    }
}

/// The letters of a placeholder, each as 3 × 5 points.
fn label(png: &[u8]) -> String {
    let picture = image::load_from_memory(png).unwrap().to_luma8();
    let is_dark = |column: u32, row: u32| picture.get_pixel(20 + column * 4 + 1, 40 + row * 4 + 1).0[0] < 128;
    let rows = (0..5).map(|row| (0..11).map(|column| if is_dark(column, row) { '#' } else { '.' }).collect());
    rows.collect::<Vec<String>>().join("\n")
}

#[tokio::test]
async fn a_drawing_of_windows_leaves_a_placeholder_with_its_name_in_the_same_room() {
    let emf = [b"\x01\0\0\0\x6c\0\0\0".as_slice(), HARM].concat();
    let wmf = [b"\xd7\xcd\xc6\x9a\0\0".as_slice(), HARM].concat();
    let old = [b"\x01\0\x09\0\0\x03".as_slice(), HARM].concat();
    let packed = [b"\x1f\x8b\x08\0".as_slice(), HARM].concat();
    let drawn = |id: &str| {
        format!(
            "<w:drawing><wp:inline xmlns:wp=\"http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing\">\
             <wp:extent cx=\"3600000\" cy=\"720000\"/><wp:docPr id=\"1\" name=\"図 1\" descr=\"配置図\"/><a:graphic \
             xmlns:a=\"http://schemas.openxmlformats.org/drawingml/2006/main\"><a:blip r:embed=\"{id}\"/><a:ext cx=\"3600000\" cy=\"720000\"/></a:graphic></wp:inline></w:drawing>"
        )
    };
    let shape = "<v:shape style=\"width:120pt;height:40pt\"><v:imagedata r:id=\"r3\"/></v:shape>";
    let body = format!(
        "<w:p><w:r>{}{}<w:pict>{shape}</w:pict>{}</w:r></w:p>",
        drawn("r1"),
        drawn("r2"),
        drawn("r4")
    );
    let list = [
        ("r1", "image", "media/1.emf", false),
        ("r2", "image", "media/2.wmf", false),
        ("r3", "image", "media/3.wmf", false),
        ("r4", "image", "media/4.emz", false),
    ];
    let more: [(&str, &str, &[u8]); 4] = [
        ("word/media/1.emf", "image/x-emf", &emf),
        ("word/media/2.wmf", "image/x-wmf", &wmf),
        ("word/media/3.wmf", "image/x-wmf", &old),
        ("word/media/4.emz", "image/x-emz", &packed),
    ];
    let parts = made(&office::word(&body, &list, &more), Kind::Docx, &[Part::Drawing]).await;
    // The room that it takes is the document's to say.
    assert!(text(&parts, "word/document.xml").contains(&body));
    let picture =
        |name: &str| parts.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("{name}"));
    let labels =
        ["1.emf", "2.wmf", "3.wmf", "4.emz"].map(|name| label(&picture(&format!("word/media/{name}.png")).1));
    assert_eq!(labels[0], "###.#.#.###\n#...###.#..\n##..###.##.\n#...#.#.#..\n###.#.#.#..");
    assert_eq!(labels[1], "#.#.#.#.###\n#.#.###.#..\n###.###.##.\n###.#.#.#..\n#.#.#.#.#..");
    assert_eq!((&labels[2], &labels[3]), (&labels[1], &labels[0]));
}

#[tokio::test]
async fn readings_of_cells_stay_as_they_were() {
    let strings = "<sst xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" count=\"2\" uniqueCount=\"2\"><si><t>吉田兼好</t>\
        <rPh sb=\"0\" eb=\"2\"><t>ヨシダ</t></rPh><rPh sb=\"2\" eb=\"4\"><t>ケンコウ</t></rPh><phoneticPr fontId=\"1\" type=\"fullwidthKatakana\" alignment=\"center\"/></si>\
        <si><r><rPr><b/></rPr><t>金沢</t></r><r><t xml:space=\"preserve\"> 市</t></r><rPh sb=\"0\" eb=\"2\"><t>カナザワ</t></rPh><phoneticPr fontId=\"1\" type=\"Hiragana\"/></si></sst>";
    let data = "<sheetPr codeName=\"x\"/><sheetData><row r=\"1\" ph=\"1\"><c r=\"A1\" t=\"s\" ph=\"1\"><v>0</v></c><c r=\"B1\" t=\"s\"><v>1</v></c>\
        <c r=\"C1\" t=\"inlineStr\"><is><t>輪島</t><rPh sb=\"0\" eb=\"2\"><t>ワジマ</t></rPh><phoneticPr fontId=\"1\"/></is></c>\
        <c r=\"D1\" t=\"str\"><f>PHONETIC(A1)</f><v>ヨシダケンコウ</v></c></row></sheetData><phoneticPr fontId=\"1\"/>";
    let strings_type = format!("{OFFICE}.spreadsheetml.sharedStrings+xml");
    let list = [("rStrings", "sharedStrings", "sharedStrings.xml", false)];
    let more: [(&str, &str, &[u8]); 1] = [("xl/sharedStrings.xml", &strings_type, strings.as_bytes())];
    let Verdict::Rebuilt { bytes, removed } =
        sanitise(&office::book(&["表"], "", data, &list, &more), None).await.verdict
    else {
        panic!()
    };
    assert_eq!(removed, []);
    let parts = unpack(&bytes);
    assert!(text(&parts, "xl/sharedStrings.xml").ends_with(strings));
    assert!(text(&parts, "xl/worksheets/sheet1.xml").contains(data));
    assert_eq!(faults(&parts), Vec::<String>::new());
}

#[tokio::test]
async fn ruby_and_vertical_text_of_a_document_stay_as_they_were() {
    let ruby = "<w:r><w:ruby><w:rubyPr><w:rubyAlign w:val=\"distributeSpace\"/><w:hps w:val=\"10\"/><w:hpsRaise w:val=\"18\"/><w:hpsBaseText w:val=\"21\"/>\
        <w:lid w:val=\"ja-JP\"/></w:rubyPr><w:rt><w:r><w:rPr><w:sz w:val=\"10\"/></w:rPr><w:t>かなざわ</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>金沢</w:t></w:r></w:rubyBase></w:ruby></w:r>";
    let upright = "<w:r><w:rPr><w:rFonts w:hint=\"eastAsia\"/><w:eastAsianLayout w:id=\"-1410066176\" w:vert=\"1\" w:vertCompress=\"1\"/></w:rPr><w:t>12</w:t></w:r>\
        <w:r><w:rPr><w:eastAsianLayout w:id=\"-1410066175\" w:combine=\"1\" w:combineBrackets=\"round\"/></w:rPr><w:t>株式会社</w:t></w:r>";
    let body = format!(
        "<w:p><w:pPr><w:textAlignment w:val=\"auto\"/><w:kinsoku/></w:pPr>{ruby}<w:r><w:t>「縦書き」ー、。葛\u{e0100}城</w:t></w:r>{upright}</w:p>\
         <w:tbl><w:tr><w:tc><w:tcPr><w:textDirection w:val=\"tbRlV\"/></w:tcPr><w:p>{ruby}</w:p></w:tc></w:tr></w:tbl>\
         <w:sectPr><w:pgSz w:w=\"16838\" w:h=\"11906\" w:orient=\"landscape\"/><w:textDirection w:val=\"tbRl\"/><w:docGrid w:type=\"linesAndChars\" w:linePitch=\"360\"/></w:sectPr>"
    );
    let Verdict::Rebuilt { bytes, removed } = sanitise(&office::word(&body, &[], &[]), None).await.verdict
    else {
        panic!()
    };
    assert_eq!(removed, []);
    assert!(text(&unpack(&bytes), "word/document.xml").contains(&body));
}
