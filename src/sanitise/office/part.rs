//! The XML of one part: read whole, and written without what runs, loads or refers to what is gone.

use std::{borrow::Cow, collections::HashSet};

use quick_xml::{
    Reader, Writer, XmlVersion,
    events::{BytesDecl, BytesStart, Event, attributes::Attribute},
};

use super::{
    fields::{self, Sign},
    formula::{Grammar, calls_out},
    spaces::{self, Space},
};
use crate::{
    kind::Kind,
    settings::{Limits, Links, Settings},
    verdict::{Part, Reason, Refusal, Removed, malformed, note},
};

/// Elements that go with all that is in them.
const GONE: &[(&str, Part)] = &[
    ("OLEObject", Part::Ole),
    ("oleObjects", Part::Ole),
    ("oleObj", Part::Ole),
    ("control", Part::ActiveX),
    ("controls", Part::ActiveX),
    ("FmlaMacro", Part::Macro),
    ("script", Part::Script),
    ("mailMerge", Part::ExternalData),
    ("attachedTemplate", Part::ExternalTemplate),
    ("altChunk", Part::EmbeddedFile),
    ("saveThroughXslt", Part::ExternalData),
    ("externalReferences", Part::ExternalData),
    ("webPublishItems", Part::ExternalData),
    ("HyperlinkBase", Part::Link),
    ("webVideoPr", Part::Media),
];

/// Elements of which only the attribute goes that refers to what is gone.
const STAY: &[&str] = &["pageSetup", "blip", "workbook", "document"];

/// Elements that must not be empty, and go when they have become so.
const CONTAINERS: &[&str] = &["pivotCaches", "tableParts", "hyperlinks", "definedNames"];

/// A part's bytes as letters.
pub(super) fn letters(bytes: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    let encoding = encoding_rs::Encoding::for_bom(bytes);
    let (encoding, mark) = encoding.unwrap_or((encoding_rs::UTF_8, 0));
    let letters = encoding.decode_without_bom_handling_and_without_replacement(&bytes[mark..]);
    letters.ok_or_else(|| malformed("XML in another encoding than UTF-8 and UTF-16"))
}

/// All events of a text of XML that has no definitions and is not nested too deep.
pub(super) fn events<'x>(xml: &'x str, limits: &Limits) -> Result<Vec<Event<'x>>, Refusal> {
    let mut reader = Reader::from_str(xml);
    let (mut events, mut depth) = (Vec::new(), 0_u32);
    loop {
        let event = reader.read_event().map_err(malformed)?;
        match &event {
            Event::DocType(_) => return Err(Refusal::new(Reason::XmlEntity, "a DTD")),
            Event::GeneralRef(name) => {
                let known =
                    ["amp", "lt", "gt", "quot", "apos"].iter().any(|known| name.as_ref() == known.as_bytes());
                if !known && !name.is_char_ref() {
                    return Err(Refusal::new(Reason::XmlEntity, "an entity"));
                }
            }
            Event::Start(_) => {
                depth += 1;
                if depth > limits.xml_depth {
                    return Err(Refusal::new(Reason::TooDeep, format!("elements {depth} deep")));
                }
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof if depth > 0 => return Err(malformed("elements are left open")),
            Event::Eof => return Ok(events),
            _ => {}
        }
        events.push(event);
    }
}

/// All elements of a text of XML.
pub(super) fn elements<'x>(xml: &'x str, limits: &Limits) -> Result<Vec<BytesStart<'x>>, Refusal> {
    let events = events(xml, limits)?.into_iter();
    Ok(events
        .filter_map(|event| match event {
            Event::Start(element) | Event::Empty(element) => Some(element),
            _ => None,
        })
        .collect())
}

/// An attribute's value, by its name without prefix.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes().flatten();
    let found = attributes.find(|one| one.key.local_name().as_ref() == name.as_bytes())?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(Cow::into_owned)
}

/// Writes a part anew; `dropped` are the ids of its relationships that are gone.
pub(super) fn clean(
    bytes: &[u8],
    dropped: &HashSet<String>,
    kind: Kind,
    settings: &Settings,
    removed: &mut Vec<Removed>,
) -> Result<Vec<u8>, Refusal> {
    let xml = letters(bytes)?;
    let events = events(&xml, &settings.limits)?;
    let (spaces, foreign) = spaces::read(&events);
    let fields = fields::bad(&events, &spaces, settings.links, text_of);
    let mut cleaner = Cleaner {
        ends: ends(&events),
        prefixes: if dropped.is_empty() { HashSet::new() } else { prefixes(&events) },
        events: &events,
        dropped,
        kind,
        spaces,
        foreign,
        links: settings.links,
        bad_fields: fields,
        begun: 0,
        open_fields: Vec::new(),
        shared: HashSet::new(),
        unwrapped: HashSet::new(),
        removed,
        out: Writer::new(Vec::with_capacity(xml.len())),
    };
    let head = BytesDecl::new("1.0", Some("UTF-8"), Some("yes"));
    cleaner.out.write_event(Event::Decl(head)).map_err(malformed)?;
    cleaner.run(0..events.len())?;
    Ok(cleaner.out.into_inner())
}

/// For each event that begins an element, the place behind its end; for others the next place.
pub(super) fn ends(events: &[Event<'_>]) -> Vec<usize> {
    let mut ends: Vec<usize> = (1..=events.len()).collect();
    let mut open = Vec::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start(_) => open.push(at),
            Event::End(_) => {
                if let Some(begin) = open.pop() {
                    ends[begin] = at + 1;
                }
            }
            _ => {}
        }
    }
    ends
}

/// The prefixes that a part gives to the namespace of relationships, and that of old drawings, which have `o:relid`.
fn prefixes(events: &[Event<'_>]) -> HashSet<Vec<u8>> {
    let mut found = HashSet::new();
    for event in events {
        let (Event::Start(element) | Event::Empty(element)) = event else { continue };
        for one in element.attributes().flatten() {
            let is_prefix = one.key.prefix().is_some_and(|prefix| prefix.as_ref() == b"xmlns");
            let is_meant = one.value.ends_with(b"/relationships") || one.value.ends_with(b":office:office");
            if is_prefix && is_meant {
                found.insert(one.key.local_name().as_ref().to_vec());
            }
        }
    }
    found
}

struct Cleaner<'a, 'x> {
    events: &'a [Event<'x>],
    /// For each event that begins an element, the place behind its end; for others the next place.
    ends: Vec<usize>,
    /// Prefixes of attributes that refer to relationships.
    prefixes: HashSet<Vec<u8>>,
    dropped: &'a HashSet<String>,
    kind: Kind,
    /// Whose each element is, and prefixes of attributes that go.
    spaces: Vec<Space>,
    foreign: HashSet<Vec<u8>>,
    links: Links,
    /// Fields in the order of their begins: whether each goes.
    bad_fields: Vec<bool>,
    begun: usize,
    open_fields: Vec<bool>,
    /// Groups of formulas whose first one is gone.
    shared: HashSet<String>,
    /// Ends of elements of which only the content stays.
    unwrapped: HashSet<usize>,
    removed: &'a mut Vec<Removed>,
    out: Writer<Vec<u8>>,
}

impl Cleaner<'_, '_> {
    fn run(&mut self, range: std::ops::Range<usize>) -> Result<(), Refusal> {
        let mut at = range.start;
        while at < range.end {
            let events = self.events;
            let next = match &events[at] {
                Event::Start(element) | Event::Empty(element) => self.element(at, element)?,
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => Some(self.copy(at)?),
                Event::End(_) if !self.unwrapped.contains(&at) => Some(self.copy(at)?),
                // Comments, instructions to processors, the old head.
                _ => None,
            };
            at = next.unwrap_or(at + 1);
        }
        Ok(())
    }

    fn copy(&mut self, at: usize) -> Result<usize, Refusal> {
        self.out.write_event(self.events[at].borrow()).map_err(malformed)?;
        Ok(at + 1)
    }

    /// Writes what stays of an element; where to go on, if not at the next event.
    fn element(&mut self, at: usize, element: &BytesStart<'_>) -> Result<Option<usize>, Refusal> {
        let local = element.local_name();
        let local = std::str::from_utf8(local.as_ref()).map_err(malformed)?;
        let end = self.end_of(at);
        let sign = fields::sign(element, self.spaces[at]);
        let (Ok(sign), Space::Word | Space::Office) = (sign, self.spaces[at]) else {
            note(self.removed, Part::UnknownPart, local);
            return Ok(Some(end));
        };
        if local == "graphicFrame"
            && self.kind == Kind::Pptx
            && let Some(picture) = self.preview(at..end)
        {
            // An object of another program: its picture stays.
            note(self.removed, Part::Ole, "");
            self.run(picture)?;
            return Ok(Some(end));
        }
        if let Some((_, what)) = GONE.iter().find(|(gone, _)| *gone == local) {
            // Many documents have an empty base of links.
            if local != "HyperlinkBase" || !text_of(&self.events[at..end]).trim().is_empty() {
                note(self.removed, *what, "");
            }
            return Ok(Some(end));
        }
        // What Word keeps of fields beside their code, old addresses for instance; it is made anew.
        if local == "fldData" || self.is_bad_field(local, sign) {
            return Ok(Some(end));
        }
        let is_good = |code: &str| fields::is_good(code, self.links);
        if sign == Some(Sign::Simple)
            && !fields::attribute(element, "instr").is_some_and(|code| is_good(&code))
        {
            note(self.removed, Part::Field, "");
            self.unwrapped.insert(end - 1);
            return Ok(None);
        }
        if self.is_bad_formula(at..end, local, element) {
            note(self.removed, Part::Formula, "");
            return Ok(Some(end));
        }
        if CONTAINERS.contains(&local) && self.becomes_empty(at..end) {
            return Ok(Some(end));
        }
        let is_empty = matches!(self.events[at], Event::Empty(_));
        match self.attributes(element, local, is_empty)? {
            None => Ok(Some(end)),
            Some(element) => {
                let event = if is_empty { Event::Empty(element) } else { Event::Start(element) };
                self.out.write_event(event).map_err(malformed)?;
                Ok(None)
            }
        }
    }

    /// The place behind an element's end.
    fn end_of(&self, at: usize) -> usize {
        self.ends[at]
    }

    /// The picture that stands for an object of another program, if the frame holds one.
    fn preview(&self, range: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
        let is = |at: usize, name: &[u8]| match &self.events[at] {
            Event::Start(element) | Event::Empty(element) => element.local_name().as_ref() == name,
            _ => false,
        };
        range.clone().find(|at| is(*at, b"oleObj"))?;
        let picture = range.clone().find(|at| is(*at, b"pic"));
        Some(picture.map_or(range.end..range.end, |at| at..self.end_of(at)))
    }

    fn is_bad_field(&mut self, local: &str, sign: Option<Sign>) -> bool {
        match sign {
            Some(Sign::Begin) => {
                let is_bad = self.bad_fields.get(self.begun).copied().unwrap_or(true);
                self.begun += 1;
                self.open_fields.push(is_bad);
                if is_bad {
                    note(self.removed, Part::Field, "");
                }
                is_bad
            }
            Some(Sign::Separate) => self.open_fields.last().copied().unwrap_or(false),
            Some(Sign::End) => self.open_fields.pop().unwrap_or(false),
            // Code of a field outside of any is nothing that Word writes. Text is text.
            Some(Sign::Code | Sign::Deleted) if local.ends_with("nstrText") => {
                self.open_fields.last().copied().unwrap_or(true)
            }
            _ => false,
        }
    }

    fn is_bad_formula(
        &mut self,
        range: std::ops::Range<usize>,
        local: &str,
        element: &BytesStart<'_>,
    ) -> bool {
        let is_formula = self.kind == Kind::Xlsx
            && matches!(
                local,
                "f" | "definedName"
                    | "formula"
                    | "formula1"
                    | "formula2"
                    | "calculatedColumnFormula"
                    | "totalsRowFormula"
                    | "FmlaLink"
                    | "FmlaRange"
                    | "FmlaGroup"
                    | "FmlaTxbx"
                    | "FmlaPict"
            );
        if !is_formula {
            return false;
        }
        let group = (attribute(element, "t").as_deref() == Some("shared"))
            .then(|| attribute(element, "si"))
            .flatten();
        if group.as_ref().is_some_and(|group| self.shared.contains(group)) {
            return true;
        }
        let is_bad = calls_out(&text_of(&self.events[range]), Grammar::Excel);
        if is_bad && let Some(group) = group {
            self.shared.insert(group);
        }
        is_bad
    }

    /// Whether all that a container holds goes.
    fn becomes_empty(&self, range: std::ops::Range<usize>) -> bool {
        let mut at = range.start + 1;
        let mut held = false;
        while at + 1 < range.end {
            if let Event::Start(element) | Event::Empty(element) = &self.events[at] {
                held = true;
                let end = self.end_of(at);
                let name = element.local_name();
                let is_gone = self.refers_to_gone(element)
                    || name.as_ref() == b"definedName"
                        && calls_out(&text_of(&self.events[at..end]), Grammar::Excel);
                if !is_gone {
                    return false;
                }
                at = end;
            } else {
                at += 1;
            }
        }
        held
    }

    fn refers_to_gone(&self, element: &BytesStart<'_>) -> bool {
        element.attributes().flatten().any(|one| self.is_gone(&one))
    }

    /// Whether an attribute refers to a relationship that is gone.
    fn is_gone(&self, one: &Attribute<'_>) -> bool {
        let has_prefix = one.key.prefix().is_some_and(|prefix| self.prefixes.contains(prefix.as_ref()));
        has_prefix
            && one
                .normalized_value(XmlVersion::Implicit1_0)
                .is_ok_and(|value| self.dropped.contains(value.as_ref()))
    }

    /// Whether an attribute is somebody else's. Those of fields have the prefix of their element.
    fn is_foreign(&self, element: &BytesStart<'_>, local: &str, one: &Attribute<'_>) -> bool {
        let Some(prefix) = one.key.prefix() else { return false };
        let is_field = matches!(local, "fldChar" | "fldSimple" | "instrText" | "delInstrText");
        let is_own = element.name().prefix() == Some(prefix) || matches!(prefix.as_ref(), b"xml" | b"xmlns");
        self.foreign.contains(prefix.as_ref()) || is_field && !is_own
    }

    /// The element with what stays of its attributes; nothing if it goes.
    fn attributes<'e>(
        &mut self,
        element: &'e BytesStart<'_>,
        local: &str,
        is_empty: bool,
    ) -> Result<Option<BytesStart<'e>>, Refusal> {
        if element.attributes_raw().is_empty() {
            return Ok(Some(element.borrow()));
        }
        let keeps_itself = STAY.contains(&local) || local == "hyperlink" && !is_empty;
        let name = element.name();
        let mut kept = Vec::new();
        let mut has_changed = false;
        for one in element.attributes() {
            let one = one.map_err(malformed)?;
            if self.is_gone(&one) {
                if !keeps_itself {
                    return Ok(None);
                }
                has_changed = true;
                continue;
            }
            let key = one.key.local_name();
            if self.is_foreign(element, local, &one) {
                has_changed = true;
                continue;
            }
            let is_watched = matches!(key.as_ref(), b"action" | b"macro" | b"src" | b"href" | b"althref");
            let is_formula = self.kind == Kind::Xlsx
                && (matches!(key.as_ref(), b"formula" | b"textlink")
                    || key.as_ref() == b"val" && local == "cfvo");
            // A value may name an entity that nothing defines.
            if !is_watched && !is_formula && !one.value.contains(&b'&') {
                kept.push(one);
                continue;
            }
            let value = one.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|error| Refusal::new(Reason::XmlEntity, error))?;
            match key.as_ref() {
                b"action" if value.to_ascii_lowercase().starts_with("ppaction:") && !is_turn(&value) => {
                    note(self.removed, Part::Action, "");
                    return Ok(None);
                }
                b"macro" if !value.is_empty() => {
                    note(self.removed, Part::Macro, "");
                    has_changed = true;
                    kept.push(Attribute { key: one.key, value: Cow::Borrowed(b"") });
                }
                _ if is_formula && calls_out(&value, Grammar::Excel) => {
                    note(self.removed, Part::Formula, "");
                    has_changed = true;
                }
                b"src" | b"href" | b"althref" if leads_away(&value) => {
                    note(self.removed, Part::ExternalData, "");
                    has_changed = true;
                }
                _ => kept.push(one),
            }
        }
        if !has_changed {
            return Ok(Some(element.borrow()));
        }
        let name = std::str::from_utf8(name.as_ref()).map_err(malformed)?.to_owned();
        Ok(Some(BytesStart::new(name).with_attributes(kept)))
    }
}

/// Whether an action of a slide only turns pages.
fn is_turn(action: &str) -> bool {
    ["ppaction://hlinksldjump", "ppaction://hlinkshowjump", "ppaction://noaction", "ppaction://customshow"]
        .iter()
        .any(|turn| action.starts_with(turn))
}

/// Whether an attribute of an old drawing names something to load or to open from elsewhere: anything but a place in the document.
fn leads_away(address: &str) -> bool {
    let address = address.trim();
    !address.is_empty() && !address.starts_with('#')
}

fn text_of(events: &[Event<'_>]) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::Text(part) => text.push_str(&part.decode().unwrap_or_default()),
            Event::CData(part) => text.push_str(&part.decode().unwrap_or_default()),
            Event::GeneralRef(name) => match name.resolve_char_ref() {
                Ok(Some(letter)) => text.push(letter),
                _ => text.push(match name.as_ref() {
                    b"lt" => '<',
                    b"gt" => '>',
                    b"quot" => '"',
                    b"apos" => '\'',
                    _ => '&',
                }),
            },
            _ => {}
        }
    }
    text
}
