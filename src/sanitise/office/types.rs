//! The lists: kinds of documents, relationships that are followed, and what is lost with others.

use crate::{kind::Kind, verdict::Part};

const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml";
const EXCEL: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml";
const POWERPOINT: &str = "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml";

/// Content types of main parts, with macros and as templates too, and what the new part is.
const MAIN: &[(&str, Kind, &str)] = &[
    (WORD, Kind::Docx, WORD),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml", Kind::Docx, WORD),
    ("application/vnd.ms-word.document.macroEnabled.main+xml", Kind::Docx, WORD),
    ("application/vnd.ms-word.template.macroEnabledTemplate.main+xml", Kind::Docx, WORD),
    (EXCEL, Kind::Xlsx, EXCEL),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.template.main+xml", Kind::Xlsx, EXCEL),
    ("application/vnd.ms-excel.sheet.macroEnabled.main+xml", Kind::Xlsx, EXCEL),
    ("application/vnd.ms-excel.template.macroEnabled.main+xml", Kind::Xlsx, EXCEL),
    (POWERPOINT, Kind::Pptx, POWERPOINT),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml",
        Kind::Pptx,
        POWERPOINT,
    ),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.template.main+xml",
        Kind::Pptx,
        POWERPOINT,
    ),
    ("application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml", Kind::Pptx, POWERPOINT),
    ("application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml", Kind::Pptx, POWERPOINT),
    ("application/vnd.ms-powerpoint.template.macroEnabled.main+xml", Kind::Pptx, POWERPOINT),
];

/// The kind of document that a main part's content type makes, and its content type without macros.
pub(super) fn main(content_type: &str) -> Option<(Kind, &'static str)> {
    let row = MAIN.iter().find(|(listed, ..)| listed.eq_ignore_ascii_case(content_type));
    row.map(|(_, kind, plain)| (*kind, *plain))
}

/// Relationships that are followed, by the last part of their type.
const LISTED: &[&str] = &[
    "officeDocument",
    "core-properties",
    "extended-properties",
    "styles",
    "stylesWithEffects",
    "settings",
    "webSettings",
    "fontTable",
    "numbering",
    "theme",
    "themeOverride",
    "header",
    "footer",
    "footnotes",
    "endnotes",
    "comments",
    "commentsExtended",
    "commentsIds",
    "commentsExtensible",
    "people",
    "glossaryDocument",
    "image",
    "chart",
    "chartUserShapes",
    "chartStyle",
    "chartColorStyle",
    "diagramData",
    "diagramLayout",
    "diagramQuickStyle",
    "diagramColors",
    "diagramDrawing",
    "drawing",
    "vmlDrawing",
    "worksheet",
    "chartsheet",
    "sharedStrings",
    "table",
    "pivotTable",
    "pivotCacheDefinition",
    "pivotCacheRecords",
    "sheetMetadata",
    "slide",
    "slideLayout",
    "slideMaster",
    "notesSlide",
    "notesMaster",
    "handoutMaster",
    "presProps",
    "viewProps",
    "tableStyles",
    "commentAuthors",
    "threadedComment",
    "person",
];

/// Whether a relationship of this type is followed.
pub(super) fn is_listed(last: &str) -> bool {
    LISTED.contains(&last)
}

/// What is lost with a relationship that is not kept; nothing where nobody would miss it.
pub(super) fn lost(last: &str, is_external: bool) -> Option<Part> {
    match last {
        "vbaProject" | "wordVbaData" | "xlMacrosheet" | "xlIntlMacrosheet" => Some(Part::Macro),
        "oleObject" | "package" => Some(Part::Ole),
        "control" | "activeXControlBinary" | "ctrlProp" => Some(Part::ActiveX),
        "attachedTemplate" => Some(Part::ExternalTemplate),
        "hyperlink" => Some(Part::Link),
        "customXml" | "customXmlProps" | "custom-properties" => Some(Part::CustomXml),
        "font" => Some(Part::Font),
        "audio" | "video" | "media" => Some(Part::Media),
        // Of the package's digital signatures.
        "origin" | "signature" => Some(Part::Signature),
        "externalLink" | "externalLinkPath" | "connections" | "queryTable" | "aFChunk" | "subDocument" => {
            Some(Part::ExternalData)
        }
        // Excel computes the order of cells anew; printers' settings and previews are nobody's content.
        "calcChain" | "printerSettings" | "thumbnail" if !is_external => None,
        _ if is_external => Some(Part::ExternalData),
        _ => Some(Part::UnknownPart),
    }
}

/// Whether a part of this content type is XML that is read and written anew.
pub(super) fn is_xml(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    let is_main = main(&content_type).is_some();
    let is_office = content_type.starts_with("application/vnd.openxmlformats-")
        || content_type.starts_with("application/vnd.ms-");
    let is_active = ["macro", "activex", "vba", "ole"].iter().any(|word| content_type.contains(word));
    let is_xml = content_type.ends_with("+xml") || content_type.ends_with("vmldrawing");
    is_office && is_xml && (is_main || !is_active)
}
