//! Spaces of names in the XML of Office: whose an element is.
//!
//! The spaces are listed one by one, for a program passes over elements of a space that it does not know, with all that
//! is in them; a name that only looks like one of Office's would be read here and not there. What is in no list goes, and so do
//! alternatives that ask for it.
//!
//! Sources: ECMA-376 parts 1 and 4; [MS-DOCX], [MS-XLSX], [MS-PPTX] and [MS-ODRAWXML]; Microsoft's Open XML SDK.

use std::collections::{HashMap, HashSet};

use quick_xml::{
    XmlVersion,
    events::{BytesStart, Event},
};

/// Whose an element is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Space {
    /// Word's own.
    Word,
    /// Another of Office's, or nobody's.
    Office,
    /// Somebody else's: programs pass over it, and so it is left out.
    Foreign,
}

/// Word's, transitional and strict. A part has one of them.
const WORD: &[&str] = &[
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
];

/// What each group of Office's spaces begins with, and how their names go on. Left out are those of toolbars, keys, add-ins,
/// ActiveX, schemas, code that runs elsewhere, and pictures and films that are fetched.
const OFFICE: &[(&str, &[&str])] = &[
    (
        "http://schemas.openxmlformats.org/",
        &[
            "spreadsheetml/2006/main",
            "presentationml/2006/main",
            "drawingml/2006/main",
            "drawingml/2006/chart",
            "drawingml/2006/chartDrawing",
            "drawingml/2006/compatibility",
            "drawingml/2006/diagram",
            "drawingml/2006/lockedCanvas",
            "drawingml/2006/picture",
            "drawingml/2006/spreadsheetDrawing",
            "drawingml/2006/wordprocessingDrawing",
            "officeDocument/2006/bibliography",
            "officeDocument/2006/characteristics",
            "officeDocument/2006/custom-properties",
            "officeDocument/2006/customXml",
            "officeDocument/2006/docPropsVTypes",
            "officeDocument/2006/extended-properties",
            "officeDocument/2006/math",
            "officeDocument/2006/relationships",
            "officeDocument/2006/sharedTypes",
            "markup-compatibility/2006",
            "package/2006/content-types",
            "package/2006/metadata/core-properties",
            "package/2006/relationships",
        ],
    ),
    (
        "http://purl.oclc.org/ooxml/",
        &[
            "spreadsheetml/main",
            "presentationml/main",
            "drawingml/main",
            "drawingml/chart",
            "drawingml/chartDrawing",
            "drawingml/compatibility",
            "drawingml/diagram",
            "drawingml/lockedCanvas",
            "drawingml/picture",
            "drawingml/spreadsheetDrawing",
            "drawingml/wordprocessingDrawing",
            "officeDocument/bibliography",
            "officeDocument/characteristics",
            "officeDocument/customProperties",
            "officeDocument/customXml",
            "officeDocument/docPropsVTypes",
            "officeDocument/extendedProperties",
            "officeDocument/math",
            "officeDocument/relationships",
            "officeDocument/sharedTypes",
        ],
    ),
    (
        "http://schemas.microsoft.com/office/word/",
        &[
            "2010/wordml",
            "2010/wordprocessingCanvas",
            "2010/wordprocessingDrawing",
            "2010/wordprocessingGroup",
            "2010/wordprocessingInk",
            "2010/wordprocessingShape",
            "2012/wordml",
            "2012/wordprocessingDrawing",
            "2015/wordml/symex",
            "2016/wordml/cid",
            "2018/wordml",
            "2018/wordml/cex",
            "2020/wordml/sdtdatahash",
            "2023/wordml/word16du",
            "2024/wordml/sdtformatlock",
        ],
    ),
    ("http://schemas.microsoft.com/office/excel/", &["2006/main", "2010/spreadsheetDrawing"]),
    (
        "http://schemas.microsoft.com/office/spreadsheetml/",
        &[
            "2009/9/ac",
            "2009/9/main",
            "2010/11/ac",
            "2010/11/main",
            "2011/1/ac",
            "2014/11/main",
            "2014/revision",
            "2015/02/main",
            "2015/revision2",
            "2016/01/main",
            "2016/pivotdefaultlayout",
            "2016/revision10",
            "2016/revision3",
            "2016/revision5",
            "2016/revision6",
            "2016/revision9",
            "2017/dynamicarray",
            "2017/revision16",
            "2017/richdata",
            "2017/richdata2",
            "2018/08/main",
            "2018/calcfeatures",
            "2018/threadedcomments",
            "2019/namedsheetviews",
            "2020/pivotNov2020",
            "2020/richvaluerefresh",
            "2020/threadedcomments2",
            "2022/featurepropertybag",
            "2022/pivotVersionInfo",
            "2023/pivot2023Calculation",
        ],
    ),
    (
        "http://schemas.microsoft.com/office/powerpoint/",
        &[
            "2010/main",
            "2012/main",
            "2012/roamingSettings",
            "2013/main/command",
            "2015/09/main",
            "2015/10/main",
            "2015/main",
            "2016/11/main",
            "2016/6/main",
            "2016/sectionzoom",
            "2016/slidezoom",
            "2016/summaryzoom",
            "2017/10/main",
            "2017/3/main",
            "2018/4/main",
            "2018/8/main",
            "2019/12/main",
            "2019/9/main/command",
            "2020/02/main",
            "2021/06/main",
            "2022/03/main",
            "2022/06/main/command",
            "2022/08/main",
            "2023/02/main",
        ],
    ),
    (
        "http://schemas.microsoft.com/office/drawing/",
        &[
            "2007/8/2/chart",
            "2008/diagram",
            "2010/chartDrawing",
            "2010/compatibility",
            "2010/diagram",
            "2010/main",
            "2010/picture",
            "2010/slicer",
            "2012/chart",
            "2012/chartStyle",
            "2012/main",
            "2012/slicer",
            "2012/timeslicer",
            "2013/main/command",
            "2014/chart",
            "2014/chart/ac",
            "2014/chartex",
            "2014/main",
            "2015/06/chart",
            "2015/10/21/chartex",
            "2015/9/8/chartex",
            "2016/11/diagram",
            "2016/11/main",
            "2016/12/diagram",
            "2016/5/10/chartex",
            "2016/5/11/chartex",
            "2016/5/12/chartex",
            "2016/5/13/chartex",
            "2016/5/14/chartex",
            "2016/5/9/chartex",
            "2016/SVG/main",
            "2016/ink",
            "2017/03/chart",
            "2017/decorative",
            "2017/model3d",
            "2018/animation",
            "2018/animation/model3d",
            "2018/hyperlinkcolor",
            "2018/sketchyshapes",
            "2020/classificationShape",
        ],
    ),
    (
        "http://schemas.microsoft.com/",
        &[
            "ink/2010/main",
            "office/2007/6/19/audiovideo",
            "office/2019/extlst",
            "office/2020/mipLabelMetadata",
            "office/comments/2020/reactions",
            "office/mac/drawingml/2011/main",
            "office/mac/excel/2008/main",
            "office/mac/office/2008/main",
            "office/thememl/2012/main",
        ],
    ),
    (
        "urn:schemas-microsoft-com:",
        &["vml", "mac:vml", "office:office", "office:word", "office:excel", "office:powerpoint"],
    ),
    ("http://purl.org/dc/", &["elements/1.1/", "terms/", "dcmitype/"]),
    (
        "http://www.w3.org/",
        &[
            "1998/Math/MathML",
            "2001/XMLSchema",
            "2001/XMLSchema-instance",
            "2003/04/emma",
            "2003/InkML",
            "XML/1998/namespace",
        ],
    ),
];

impl Space {
    /// Whose a space is, by its name, letter by letter. `word` is the name of Word's that the part has, once it has one.
    fn of(name: &str, word: &mut Option<&'static str>) -> Self {
        if let Some(named) = WORD.iter().find(|named| **named == name) {
            let is_of_part = *word.get_or_insert(named) == *named;
            return if is_of_part { Self::Word } else { Self::Foreign };
        }
        let is_listed = OFFICE
            .iter()
            .any(|(begin, ends)| name.strip_prefix(begin).is_some_and(|end| ends.contains(&end)));
        if name.is_empty() || is_listed { Self::Office } else { Self::Foreign }
    }
}

/// Which prefixes stand for which spaces where a part is being read.
struct Scope {
    /// For each prefix its spaces, the innermost last.
    spaces: HashMap<Vec<u8>, Vec<Space>>,
    /// The prefixes in the order of their declarations, and how many there were where each open element began.
    declared: Vec<Vec<u8>>,
    begins: Vec<usize>,
}

impl Scope {
    fn declare(&mut self, prefix: &[u8], space: Space) {
        self.spaces.entry(prefix.to_vec()).or_default().push(space);
        self.declared.push(prefix.to_vec());
    }

    /// Forgets what was declared behind the first `count` declarations.
    fn leave(&mut self, count: usize) {
        for prefix in self.declared.drain(count.min(self.declared.len())..) {
            if let Some(spaces) = self.spaces.get_mut(&prefix) {
                spaces.pop();
            }
        }
    }

    /// What a prefix stands for. One that stands for nothing is somebody else's; to have none may be to have no space.
    fn find(&self, prefix: &[u8]) -> Space {
        let unbound = if prefix.is_empty() { Space::Office } else { Space::Foreign };
        self.spaces.get(prefix).and_then(|spaces| spaces.last()).copied().unwrap_or(unbound)
    }

    /// Whether an element is an alternative for programs that know a space that is in no list.
    fn is_for_others(&self, element: &BytesStart<'_>) -> bool {
        let is_known = |asked: &str| {
            asked.split_whitespace().all(|prefix| self.find(prefix.as_bytes()) != Space::Foreign)
        };
        let mut attributes = element.attributes().flatten();
        element.local_name().as_ref() == b"Choice"
            && !attributes.all(|one| {
                let asked = one.normalized_value(XmlVersion::Implicit1_0);
                one.key.as_ref() != b"Requires" || asked.is_ok_and(|asked| is_known(&asked))
            })
    }
}

/// Whose each element of a part is, by its place among the events, and the prefixes that stand for somebody else's space
/// anywhere in the part.
pub(super) fn read(events: &[Event<'_>]) -> (Vec<Space>, HashSet<Vec<u8>>) {
    let mut spaces = vec![Space::Office; events.len()];
    let (mut foreign, mut word) = (HashSet::new(), None);
    let known = HashMap::from([(b"xml".to_vec(), vec![Space::Office])]);
    let mut scope = Scope { spaces: known, declared: Vec::new(), begins: Vec::new() };
    for (at, event) in events.iter().enumerate() {
        let element = match event {
            Event::Start(element) | Event::Empty(element) => element,
            Event::End(_) => {
                let begin = scope.begins.pop().unwrap_or(0);
                scope.leave(begin);
                continue;
            }
            _ => continue,
        };
        let begin = scope.declared.len();
        if memchr::memmem::find(element.attributes_raw(), b"xmlns").is_some() {
            for one in element.attributes().with_checks(false).flatten() {
                let key = one.key.as_ref();
                let Some(prefix) = key.strip_prefix(b"xmlns:").or((key == b"xmlns").then_some(b"")) else {
                    continue;
                };
                let name = one.normalized_value(XmlVersion::Implicit1_0);
                let space = name.map_or(Space::Foreign, |name| Space::of(&name, &mut word));
                if space == Space::Foreign && !prefix.is_empty() {
                    foreign.insert(prefix.to_vec());
                }
                scope.declare(prefix, space);
            }
        }
        let name = element.name();
        let space = scope.find(name.prefix().as_ref().map_or(&b""[..], |prefix| prefix.as_ref()));
        spaces[at] = if scope.is_for_others(element) { Space::Foreign } else { space };
        match event {
            Event::Start(_) => scope.begins.push(begin),
            _ => scope.leave(begin),
        }
    }
    (spaces, foreign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{office::part::events, settings::Limits};

    fn spaces(xml: &str) -> Vec<Space> {
        read(&events(xml, &Limits::default()).expect("XML")).0
    }

    #[test]
    fn a_space_is_known_by_its_whole_name_only() {
        let of = |name: &str| Space::of(name, &mut None);
        assert_eq!(of(WORD[0]), Space::Word);
        for name in [
            "http://schemas.openxmlformats.org/drawingml/2006/main",
            "http://schemas.microsoft.com/office/word/2012/wordml",
            "http://schemas.microsoft.com/office/drawing/2015/06/chart",
            "urn:schemas-microsoft-com:vml",
            "",
        ] {
            assert_eq!(of(name), Space::Office, "{name}");
        }
        for name in [
            "http://schemas.microsoft.com/nobody",
            "http://schemas.microsoft.com/office/word/2012/wordml/",
            "http://schemas.microsoft.com/office/word/2012",
            " http://schemas.openxmlformats.org/wordprocessingml/2006/main",
            "HTTP://schemas.openxmlformats.org/wordprocessingml/2006/main",
            "urn:schemas-microsoft-com:",
            "http://schemas.microsoft.com/office/2006/activeX",
            "http://schemas.openxmlformats.org/schemaLibrary/2006/main",
        ] {
            assert_eq!(of(name), Space::Foreign, "{name}");
        }
    }

    #[test]
    fn the_innermost_declaration_counts_and_ends_with_its_element() {
        let xml = format!("<a:r xmlns:a=\"{0}\"><a:x xmlns:a=\"urn:x\"><a:y/></a:x><a:z/></a:r>", WORD[0]);
        use Space::{Foreign, Office, Word};
        assert_eq!(spaces(&xml), [Word, Foreign, Foreign, Office, Word, Office]);
        // Word's strict space in a part of its other one is one that Word may pass over.
        let both = format!("<a:r xmlns:a=\"{}\" xmlns:b=\"{}\"><b:x/></a:r>", WORD[0], WORD[1]);
        assert_eq!(spaces(&both)[1], Foreign);
    }

    #[test]
    fn an_alternative_for_programs_of_another_space_is_theirs() {
        let xml = |name: &str| {
            format!(
                "<m:AlternateContent xmlns:m=\"http://schemas.openxmlformats.org/markup-compatibility/2006\" xmlns:s=\"{name}\">\
                 <m:Choice Requires=\"s\"/><m:Fallback/></m:AlternateContent>"
            )
        };
        assert_eq!(spaces(&xml("urn:nobody"))[1..3], [Space::Foreign, Space::Office]);
        let known = "http://schemas.microsoft.com/office/word/2010/wordprocessingShape";
        assert_eq!(spaces(&xml(known))[1..3], [Space::Office, Space::Office]);
    }
}
