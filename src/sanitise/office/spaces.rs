//! Spaces of names in the XML of Office: whose an element is.

use std::collections::HashSet;

use quick_xml::{XmlVersion, events::Event};

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

const WORD: &[&str] = &[
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
];

/// What the names of Office's spaces, and of those that it uses, begin with.
const OFFICE: &[&str] = &[
    "http://schemas.openxmlformats.org/",
    "http://purl.oclc.org/ooxml/",
    "http://schemas.microsoft.com/",
    "urn:schemas-microsoft-com:",
    "http://purl.org/dc/",
    "http://www.w3.org/2001/XMLSchema",
    "http://www.w3.org/2003/InkML",
    "http://www.w3.org/1998/Math/MathML",
    "http://www.w3.org/XML/1998/namespace",
];

impl Space {
    fn of(name: &str) -> Self {
        match name {
            _ if WORD.contains(&name) => Self::Word,
            "" => Self::Office,
            _ if OFFICE.iter().any(|begin| name.starts_with(begin)) => Self::Office,
            _ => Self::Foreign,
        }
    }
}

/// Whose each element of a part is, by its place among the events, and the prefixes that stand for somebody else's space
/// anywhere in the part.
pub(super) fn read(events: &[Event<'_>]) -> (Vec<Space>, HashSet<Vec<u8>>) {
    let mut spaces = vec![Space::Office; events.len()];
    let mut foreign = HashSet::new();
    // Prefixes with their spaces, the innermost last, and how many there were where each open element began.
    let mut scope: Vec<(Vec<u8>, Space)> = vec![(b"xml".to_vec(), Space::Office)];
    let mut begins: Vec<usize> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let element = match event {
            Event::Start(element) | Event::Empty(element) => element,
            Event::End(_) => {
                scope.truncate(begins.pop().unwrap_or(1));
                continue;
            }
            _ => continue,
        };
        let begin = scope.len();
        if memchr::memmem::find(element.attributes_raw(), b"xmlns").is_some() {
            for one in element.attributes().with_checks(false).flatten() {
                let key = one.key.as_ref();
                let Some(prefix) = key.strip_prefix(b"xmlns:").or((key == b"xmlns").then_some(b"")) else {
                    continue;
                };
                let name = one.normalized_value(XmlVersion::Implicit1_0);
                let space = name.map_or(Space::Foreign, |name| Space::of(name.trim()));
                if space == Space::Foreign && !prefix.is_empty() {
                    foreign.insert(prefix.to_vec());
                }
                scope.push((prefix.to_vec(), space));
            }
        }
        let name = element.name();
        let prefix = name.prefix();
        let prefix = prefix.as_ref().map_or(&b""[..], |prefix| prefix.as_ref());
        let found = scope.iter().rev().find(|(known, _)| known == prefix).map(|(_, space)| *space);
        // A prefix that stands for nothing is nobody's; elements without one may be.
        let unbound = if prefix.is_empty() { Space::Office } else { Space::Foreign };
        spaces[at] = found.unwrap_or(unbound);
        match event {
            Event::Start(_) => begins.push(begin),
            _ => scope.truncate(begin),
        }
    }
    (spaces, foreign)
}
