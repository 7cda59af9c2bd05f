//! The XML of one part: read whole, and written without what runs, loads or refers to what is gone.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use quick_xml::{
    Reader, Writer, XmlVersion,
    events::{BytesDecl, BytesStart, Event, attributes::Attribute},
};

use super::{
    address,
    fields::{self, Fate},
    formula::{Grammar, Sheets, calls_out, is_sheet_name},
    spaces::{self, Space},
    tabs::Tabs,
};
use crate::{
    kind::Kind,
    settings::{Limits, Settings},
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
    ("macrosheet", Part::Macro),
    ("entryMacro", Part::Macro),
    ("exitMacro", Part::Macro),
    ("script", Part::Script),
    ("ScriptText", Part::Script),
    ("ScriptExtended", Part::Script),
    ("ScriptLocation", Part::Script),
    ("mailMerge", Part::ExternalData),
    ("attachedTemplate", Part::ExternalTemplate),
    ("altChunk", Part::EmbeddedFile),
    ("saveThroughXslt", Part::ExternalData),
    ("externalReferences", Part::ExternalData),
    // Written anew to where they say at each save.
    ("webPublishItems", Part::ExternalData),
    ("webPublishObjects", Part::ExternalData),
    ("binData", Part::EmbeddedFile),
    ("HyperlinkBase", Part::Link),
    ("webVideoPr", Part::Media),
];

/// Elements that go and that nobody misses: what Word keeps of fields beside their code (old addresses, for instance; it is
/// made anew), where more for a smart tag could be fetched, by which addresses its marks are explained, and which place in XML that
/// is gone a table's column has.
const UNSEEN: &[&str] = &["fldData", "smartTagType", "attachedSchema", "xmlColumnPr"];

/// Attributes that go and that nobody misses: whole packages and documents, from which newer programs restore what an old
/// drawing shows, addresses that were found wrong, and what makes a table one of a query that is gone.
const UNSEEN_ATTRIBUTES: &[&[u8]] =
    &[b"gfxdata", b"equationxml", b"invalidUrl", b"tableType", b"queryTableFieldId"];

/// Elements that mark text as something of a space of names, of which the address goes: it tells whose machines made the document.
const MARKED: &[&str] = &["customXml", "smartTag"];

/// What in charts refers to cells of a book.
const REFERENCES: &[&str] = &["numRef", "strRef", "multiLvlStrRef"];

/// Elements of which only the attribute goes that refers to what is gone.
const STAY: &[&str] = &["pageSetup", "blip", "workbook", "document"];

/// Elements that must not be empty, and go when they have become so.
const CONTAINERS: &[&str] = &[
    "pivotCaches",
    "tableParts",
    "hyperlinks",
    "definedNames",
    "imgProps",
    "customProperties",
    "slicerList",
    "slicerCaches",
    "timelineRefs",
    "timelineCacheRefs",
    "pivotTableReferences",
    "stSnd",
    "sndAc",
    "ext",
    "extLst",
    "conditionalFormatting",
    "conditionalFormattings",
    "dataValidations",
];

/// Elements of a workbook that are nothing without one of their formulas: each asks for as many as its kind has.
const RULES: &[&str] = &["cfRule", "dataValidation"];

/// The formulas in them.
const OPERANDS: &[&[u8]] = &[b"formula", b"formula1", b"formula2", b"f", b"sqref"];

/// Elements of which nothing is left to show when the part is gone that they lead to: another alternative is shown then.
const SHOWING: &[&str] = &["chart", "contentPart", "model3d"];

/// The same, of which the part is never kept.
const NEVER_SHOWN: &[&str] = &["slicer", "timeslicer"];

/// How deep formulas may stand in formulas: rules have one in their element for it.
const DEEPEST_FORMULA: usize = 2;

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

/// What a part is, and what its document has.
pub(super) struct About<'d> {
    pub(super) kind: Kind,
    /// The ids of its relationships that are gone.
    pub(super) dropped: &'d HashSet<String>,
    /// The names of the workbook's sheets, once they are known.
    pub(super) sheets: &'d Sheets,
    pub(super) settings: &'d Settings,
}

/// Writes a part anew.
pub(super) fn clean(bytes: &[u8], about: &About<'_>, removed: &mut Vec<Removed>) -> Result<Vec<u8>, Refusal> {
    let xml = letters(bytes)?;
    let events = events(&xml, &about.settings.limits)?;
    let (spaces, foreign) = spaces::read(&events);
    let find = |name: &[u8]| if about.kind == Kind::Pptx { places(&events, name) } else { Vec::new() };
    let has_fields = spaces.contains(&Space::Word);
    let room = if has_fields { events.len() } else { 0 };
    let mut cleaner = Cleaner {
        ends: ends(&events),
        prefixes: if about.dropped.is_empty() { HashSet::new() } else { prefixes(&events) },
        events: &events,
        about,
        spaces,
        foreign,
        objects: find(b"oleObj"),
        pictures: find(b"pic"),
        lost: Vec::new(),
        tabs: Tabs::default(),
        formulas: Vec::new(),
        shared: HashSet::new(),
        removed,
        out: begin(xml.len())?,
        has_fields,
        kept: Vec::with_capacity(room),
        kept_spaces: Vec::with_capacity(room),
    };
    if memchr::memmem::find(xml.as_bytes(), b"Choice").is_some() {
        cleaner.lost = (0..events.len()).filter(|at| cleaner.shows_nothing(*at)).collect();
    }
    if about.kind == Kind::Xlsx && !about.dropped.is_empty() {
        cleaner.tabs = Tabs::new(&events, &cleaner.spaces, |element| cleaner.refers_to_gone(element));
    }
    cleaner.run(0..events.len())?;
    let Cleaner { out, kept, kept_spaces, .. } = cleaner;
    if !has_fields {
        return Ok(out.into_inner());
    }
    // Of what is left: a code must not be read with letters that have gone.
    let (fates, count) = fields::judge(&kept, &kept_spaces, about.settings.links, text_of);
    if count > 0 {
        note(removed, Part::Field, "");
    }
    write(out, &kept, &fates)
}

/// The head of a new part of about this size.
fn begin(size: usize) -> Result<Writer<Vec<u8>>, Refusal> {
    let mut out = Writer::new(Vec::with_capacity(size));
    let head = BytesDecl::new("1.0", Some("UTF-8"), Some("yes"));
    out.write_event(Event::Decl(head)).map_err(malformed)?;
    Ok(out)
}

/// Writes events, without what has another fate.
fn write(
    mut out: Writer<Vec<u8>>,
    events: &[Event<'_>],
    fates: &HashMap<usize, Fate>,
) -> Result<Vec<u8>, Refusal> {
    let ends = if fates.is_empty() { Vec::new() } else { ends(events) };
    let (mut at, mut unwrapped) = (0, HashSet::new());
    while at < events.len() {
        match fates.get(&at) {
            Some(Fate::Gone) => {
                at = ends[at];
                continue;
            }
            Some(Fate::Unwrapped) => {
                unwrapped.insert(ends[at] - 1);
            }
            None if unwrapped.contains(&at) => {}
            None => out.write_event(events[at].borrow()).map_err(malformed)?,
        }
        at += 1;
    }
    Ok(out.into_inner())
}

/// The names of a workbook's sheets, in small letters: of those that a relationship of `ids` leads to.
pub(super) fn sheets(bytes: &[u8], ids: &HashSet<&str>, limits: &Limits) -> Result<Sheets, Refusal> {
    let xml = letters(bytes)?;
    let events = events(&xml, limits)?;
    let (spaces, _) = spaces::read(&events);
    let (mut sheets, mut open): (Sheets, Vec<&[u8]>) = (Sheets::new(), Vec::new());
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start(element) | Event::Empty(element) => {
                let is_known = spaces[at] == Space::Office;
                let local = element.local_name().into_inner();
                if is_known && local == b"sheet" && open == [&b"workbook"[..], &b"sheets"[..]] {
                    let name = attribute(element, "name").unwrap_or_default();
                    if is_sheet_name(&name) && leads_to(element, ids) {
                        sheets.insert(name.to_lowercase());
                    }
                }
                if matches!(event, Event::Start(_)) {
                    open.push(if is_known { local } else { &[] });
                }
            }
            Event::End(_) => {
                open.pop();
            }
            _ => {}
        }
    }
    Ok(sheets)
}

/// Whether all that an element may be led on by is of these.
fn leads_to(element: &BytesStart<'_>, ids: &HashSet<&str>) -> bool {
    let of = element.attributes().flatten().filter(|one| one.key.local_name().as_ref() == b"id");
    let mut count = 0;
    let all = of.inspect(|_| count += 1).all(|one| {
        one.normalized_value(XmlVersion::Implicit1_0).is_ok_and(|value| ids.contains(value.as_ref()))
    });
    all && count > 0
}

/// Where elements of a name begin.
fn places(events: &[Event<'_>], name: &[u8]) -> Vec<usize> {
    let is = |event: &Event<'_>| match event {
        Event::Start(element) | Event::Empty(element) => element.local_name().as_ref() == name,
        _ => false,
    };
    events.iter().enumerate().filter(|(_, event)| is(event)).map(|(at, _)| at).collect()
}

/// The first of places, which are in their order, in a range.
fn first_in(places: &[usize], range: &std::ops::Range<usize>) -> Option<usize> {
    let at = places.partition_point(|place| *place < range.start);
    places.get(at).copied().filter(|place| *place < range.end)
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

pub(super) struct Cleaner<'a, 'x, 'r> {
    pub(super) events: &'a [Event<'x>],
    about: &'a About<'a>,
    /// For each event that begins an element, the place behind its end; for others the next place.
    pub(super) ends: Vec<usize>,
    /// Prefixes of attributes that refer to relationships.
    prefixes: HashSet<Vec<u8>>,
    /// Whose each element is, and prefixes of attributes that go.
    spaces: Vec<Space>,
    foreign: HashSet<Vec<u8>>,
    /// In slides: where objects of other programs and pictures begin.
    objects: Vec<usize>,
    pictures: Vec<usize>,
    /// Where elements begin that show nothing any more.
    lost: Vec<usize>,
    /// Of a workbook: which of its sheets are gone.
    tabs: Tabs,
    /// Where the formulas end that are open.
    formulas: Vec<usize>,
    /// Groups of formulas whose first one is gone.
    shared: HashSet<String>,
    removed: &'r mut Vec<Removed>,
    out: Writer<Vec<u8>>,
    /// Where there are fields, what stays, and whose that is: it is judged once more before it is written. Elsewhere it need
    /// not be held: a table may have ten million cells.
    has_fields: bool,
    kept: Vec<Event<'a>>,
    kept_spaces: Vec<Space>,
}

impl<'a> Cleaner<'a, '_, '_> {
    pub(super) fn run(&mut self, range: std::ops::Range<usize>) -> Result<(), Refusal> {
        let (mut at, events) = (range.start, self.events);
        while at < range.end {
            let next = match &events[at] {
                Event::Start(element) | Event::Empty(element) => self.element(at, element)?,
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) | Event::End(_) => {
                    self.keep(at, events[at].borrow())?;
                    None
                }
                // Comments, instructions to processors, the old head.
                _ => None,
            };
            at = next.unwrap_or(at + 1);
        }
        Ok(())
    }

    pub(super) fn keep(&mut self, at: usize, event: Event<'a>) -> Result<(), Refusal> {
        if !self.has_fields {
            return self.out.write_event(event).map_err(malformed);
        }
        self.kept.push(event);
        self.kept_spaces.push(self.spaces[at]);
        Ok(())
    }

    /// Keeps what stays of an element; where to go on, if not at the next event.
    fn element(&mut self, at: usize, element: &'a BytesStart<'_>) -> Result<Option<usize>, Refusal> {
        let local = element.local_name();
        let local = std::str::from_utf8(local.as_ref()).map_err(malformed)?;
        let end = self.ends[at];
        let sign = fields::sign(element, self.spaces[at]);
        let (Ok(_), Space::Word | Space::Office) = (sign, self.spaces[at]) else {
            note(self.removed, Part::UnknownPart, local);
            return Ok(Some(end));
        };
        if local == "graphicFrame"
            && let Some(picture) = self.preview(at..end)
        {
            // An object of another program: its picture stays.
            note(self.removed, Part::Ole, "");
            self.run(picture)?;
            return Ok(Some(end));
        }
        if local == "AlternateContent"
            && let Some(fallback) = self.fallback(at..end)
        {
            self.run(fallback)?;
            return Ok(Some(end));
        }
        if local == "Choice" && first_in(&self.lost, &(at..end)).is_some() {
            return Ok(Some(end));
        }
        if let Some((_, what)) = GONE.iter().find(|(gone, _)| *gone == local) {
            // Many documents have an empty base of links.
            if local != "HyperlinkBase" || !text_of(&self.events[at..end]).trim().is_empty() {
                note(self.removed, *what, "");
            }
            return Ok(Some(end));
        }
        if UNSEEN.contains(&local) {
            return Ok(Some(end));
        }
        if self.about.kind == Kind::Xlsx && REFERENCES.contains(&local) && self.names_other_book(at) {
            note(self.removed, Part::Formula, "");
            self.keep_values(at, local, element)?;
            return Ok(Some(end));
        }
        if local == "definedName" && self.is_of_gone_sheet(element) {
            note(self.removed, Part::Formula, "");
            return Ok(Some(end));
        }
        if self.is_rule_of_other_book(local, at..end) {
            note(self.removed, Part::Formula, "");
            return Ok(Some(end));
        }
        if self.is_bad_formula(at..end, local, element) {
            note(self.removed, Part::Formula, "");
            return Ok(Some(end));
        }
        if self.about.kind == Kind::Xlsx
            && let Some(what) = self.leads_out(local, element)
        {
            note(self.removed, what, "");
            return Ok(Some(end));
        }
        if CONTAINERS.contains(&local) && self.becomes_empty(at..end) {
            // What is lost with relationships has been told of.
            if matches!(local, "definedNames" | "conditionalFormatting" | "dataValidations") {
                note(self.removed, Part::Formula, "");
            }
            return Ok(Some(end));
        }
        let is_empty = matches!(self.events[at], Event::Empty(_));
        match self.attributes(element, local, is_empty)? {
            None => Ok(Some(end)),
            Some(element) => {
                self.keep(at, if is_empty { Event::Empty(element) } else { Event::Start(element) })?;
                Ok(None)
            }
        }
    }

    /// The picture that stands for an object of another program, if the frame holds one.
    fn preview(&self, range: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
        first_in(&self.objects, &range)?;
        let picture = first_in(&self.pictures, &range);
        Some(picture.map_or(range.end..range.end, |at| at..self.ends[at]))
    }

    /// Whether an element was to show a part that is gone.
    fn shows_nothing(&self, at: usize) -> bool {
        let (Event::Start(element) | Event::Empty(element)) = &self.events[at] else { return false };
        let local = element.local_name();
        let is = |names: &[&str]| names.iter().any(|name| name.as_bytes() == local.as_ref());
        is(NEVER_SHOWN) || is(SHOWING) && self.refers_to_gone(element)
    }

    /// What stands for alternatives of which none is left, if none is: there must be one beside what is shown instead of them.
    fn fallback(&self, range: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
        let (mut at, mut fallback) = (range.start + 1, range.end..range.end);
        while at + 1 < range.end {
            if let Event::Start(element) | Event::Empty(element) = &self.events[at] {
                let end = self.ends[at];
                match element.local_name().as_ref() {
                    b"Choice" if self.spaces[at] != Space::Foreign => {
                        first_in(&self.lost, &(at..end))?;
                    }
                    b"Fallback" => fallback = at + 1..end - 1,
                    _ => {}
                }
                at = end;
            } else {
                at += 1;
            }
        }
        Some(fallback)
    }

    /// What is lost with an element of a workbook that names another book without a relationship, if it does.
    fn leads_out(&self, local: &str, element: &BytesStart<'_>) -> Option<Part> {
        let value = |name| attribute(element, name).unwrap_or_default();
        match local {
            "hyperlink" => (!address::is_inside(&value("location"))).then_some(Part::Link),
            "worksheetSource" => {
                let sheet = value("sheet");
                let is_out = !sheet.is_empty() && !is_sheet_name(&sheet)
                    || ["name", "ref"].iter().any(|name| calls_out(&value(name), self.grammar()));
                is_out.then_some(Part::ExternalData)
            }
            _ => None,
        }
    }

    pub(super) fn grammar(&self) -> Grammar<'a> {
        Grammar::Excel(self.about.sheets)
    }

    /// Whether a name is one of a sheet that is gone.
    fn is_of_gone_sheet(&self, name: &BytesStart<'_>) -> bool {
        attribute(name, "localSheetId").is_some_and(|place| self.tabs.is_gone(&place))
    }

    /// Whether an element is a rule one of whose formulas goes.
    fn is_rule_of_other_book(&self, local: &str, range: std::ops::Range<usize>) -> bool {
        if self.about.kind != Kind::Xlsx || !RULES.contains(&local) {
            return false;
        }
        let mut at = range.start + 1;
        while at < range.end {
            let (next, calls) = match &self.events[at] {
                // With what is in it: formulas in formulas are read once.
                Event::Start(inner) if OPERANDS.contains(&inner.local_name().as_ref()) => {
                    let end = self.ends[at];
                    (end, calls_out(&text_of(&self.events[at..end]), self.grammar()))
                }
                Event::Start(inner) | Event::Empty(inner) if inner.local_name().as_ref() == b"cfvo" => {
                    let value = attribute(inner, "val");
                    (at + 1, value.is_some_and(|value| calls_out(&value, self.grammar())))
                }
                _ => (at + 1, false),
            };
            if calls {
                return true;
            }
            at = next;
        }
        false
    }

    fn is_bad_formula(
        &mut self,
        range: std::ops::Range<usize>,
        local: &str,
        element: &BytesStart<'_>,
    ) -> bool {
        let is_formula = self.about.kind == Kind::Xlsx
            && matches!(
                local,
                "f" | "definedName"
                    | "formula"
                    | "formula1"
                    | "formula2"
                    | "calculatedColumnFormula"
                    | "totalsRowFormula"
                    | "sqref"
                    | "FmlaLink"
                    | "FmlaRange"
                    | "FmlaGroup"
                    | "FmlaTxbx"
                    | "FmlaPict"
            );
        if !is_formula {
            return false;
        }
        // Each is read with all that is in it.
        self.formulas.retain(|end| *end > range.start);
        self.formulas.push(range.end);
        // What is in one and goes would leave another formula than was read.
        let mut inside = self.events[range.clone()].iter().zip(&self.spaces[range.clone()]).skip(1);
        let is_mixed = inside.any(|(event, space)| match event {
            Event::Start(inner) | Event::Empty(inner) => {
                inner.local_name().as_ref() != b"f" || *space != Space::Office
            }
            _ => false,
        });
        if is_mixed || self.formulas.len() > DEEPEST_FORMULA {
            return true;
        }
        let group = (attribute(element, "t").as_deref() == Some("shared"))
            .then(|| attribute(element, "si"))
            .flatten();
        if group.as_ref().is_some_and(|group| self.shared.contains(group)) {
            return true;
        }
        let is_bad = calls_out(&text_of(&self.events[range]), self.grammar());
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
                let end = self.ends[at];
                let name = element.local_name();
                let name = std::str::from_utf8(name.as_ref()).unwrap_or_default();
                // For which cells an extension's rules are is nothing without one.
                let is_gone = self.refers_to_gone(element)
                    || name == "sqref"
                    || name == "definedName"
                        && (self.is_of_gone_sheet(element)
                            || calls_out(&text_of(&self.events[at..end]), self.grammar()))
                    || self.is_rule_of_other_book(name, at..end)
                    || CONTAINERS.contains(&name) && self.becomes_empty(at..end);
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
                .is_ok_and(|value| self.about.dropped.contains(value.as_ref()))
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
            if let Some(place) = self.tabs.moved(local, &one) {
                has_changed = true;
                kept.extend(place);
                continue;
            }
            if self.is_foreign(element, local, &one) {
                has_changed = true;
                continue;
            }
            if UNSEEN_ATTRIBUTES.contains(&key.as_ref()) {
                has_changed = true;
                continue;
            }
            let is_action = key.as_ref() == b"action" && local.starts_with("hlink");
            let is_space = key.as_ref() == b"uri" && MARKED.contains(&local);
            let is_watched =
                is_action || is_space || matches!(key.as_ref(), b"macro" | b"src" | b"href" | b"althref");
            let is_formula = self.about.kind == Kind::Xlsx
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
                b"action" if is_action && !value.is_empty() && !is_turn(&value) => {
                    note(self.removed, Part::Action, "");
                    return Ok(None);
                }
                b"macro" if !value.is_empty() => {
                    note(self.removed, Part::Macro, "");
                    has_changed = true;
                    kept.push(Attribute { key: one.key, value: Cow::Borrowed(b"") });
                }
                _ if is_formula && calls_out(&value, self.grammar()) => {
                    note(self.removed, Part::Formula, "");
                    has_changed = true;
                }
                b"uri" if is_space && !value.trim_start().starts_with("urn:") => {
                    note(self.removed, Part::CustomXml, local);
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

pub(super) fn text_of(events: &[Event<'_>]) -> String {
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
