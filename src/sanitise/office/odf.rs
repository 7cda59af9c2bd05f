//! OpenDocument (odt, ods, odp): rebuilt from the parts of known names, and from what those refer to.
//!
//! The text, styles, properties and settings of the document are read and written anew; pictures and charts are taken
//! over where these refer to them. All else (Basic, scripts, dialogues, toolbars, objects of other programs, signatures)
//! is left behind, and the manifest is written anew from what was kept.
//!
//! Format: OASIS OpenDocument 1.3, part 2 (packages) and part 3 (schema).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use quick_xml::{
    Writer as XmlWriter, XmlVersion,
    escape::escape,
    events::{BytesDecl, BytesStart, Event, attributes::Attribute},
};

use super::{
    address::is_inside,
    fields,
    formula::{self, Grammar, Sheets},
    part::{self, attribute, elements},
    resolve,
    source::{self, Picture, Source},
};
use crate::{
    kind::Kind,
    links::is_open,
    outcome::Outcome,
    settings::{Links, Settings},
    verdict::{Part, Parts, Reason, Refusal, malformed},
    zip::{Archive, Budget, NO_TIME, Writer},
};

/// What `mimetype` says, templates too, and what the new document is.
const TYPES: &[(&str, Kind)] = &[
    ("application/vnd.oasis.opendocument.text", Kind::Odt),
    ("application/vnd.oasis.opendocument.text-template", Kind::Odt),
    ("application/vnd.oasis.opendocument.spreadsheet", Kind::Ods),
    ("application/vnd.oasis.opendocument.spreadsheet-template", Kind::Ods),
    ("application/vnd.oasis.opendocument.presentation", Kind::Odp),
    ("application/vnd.oasis.opendocument.presentation-template", Kind::Odp),
];

/// Documents inside the document that only draw: charts and formulas.
const OBJECTS: &[&str] =
    &["application/vnd.oasis.opendocument.chart", "application/vnd.oasis.opendocument.formula"];

/// The parts of a document, and of one in it.
const PARTS: &[&str] = &["content.xml", "styles.xml", "meta.xml", "settings.xml"];

/// Elements that go with all that is in them, by their names without prefix.
const GONE: &[(&str, Part)] = &[
    ("scripts", Part::Script),
    ("script", Part::Script),
    ("event-listeners", Part::Action),
    ("event-listener", Part::Action),
    ("error-macro", Part::Macro),
    ("command", Part::Action),
    ("auto-reload", Part::Action),
    ("forms", Part::ActiveX),
    ("control", Part::ActiveX),
    ("object-ole", Part::Ole),
    ("applet", Part::Script),
    ("plugin", Part::Media),
    ("sound", Part::Media),
    ("audio", Part::Media),
    ("video", Part::Media),
    ("floating-frame", Part::ExternalData),
    ("section-source", Part::ExternalData),
    ("table-source", Part::ExternalData),
    ("cell-range-source", Part::ExternalData),
    ("source-service", Part::ExternalData),
    ("database-source-sql", Part::ExternalData),
    ("database-source-table", Part::ExternalData),
    ("database-source-query", Part::ExternalData),
    ("database-next", Part::ExternalData),
    ("database-row-select", Part::ExternalData),
    ("connection-resource", Part::ExternalData),
    ("alphabetical-index-auto-mark-file", Part::ExternalData),
    ("template", Part::ExternalTemplate),
    ("dde-connection-decls", Part::Field),
    ("dde-connection-decl", Part::Field),
    ("dde-source", Part::Field),
    ("dde-links", Part::Field),
    ("dde-link", Part::Field),
    ("font-face-src", Part::Font),
    ("binary-data", Part::EmbeddedFile),
    ("document", Part::EmbeddedFile),
    ("signature", Part::Signature),
    ("document-signatures", Part::Signature),
];

/// Elements of which the text stays, which is what they said last.
const UNWRAPPED: &[(&str, Part)] = &[
    ("dde-connection", Part::Field),
    ("execute-macro", Part::Macro),
    ("database-display", Part::ExternalData),
    ("database-name", Part::ExternalData),
    ("database-row-number", Part::ExternalData),
];

/// Elements that are nothing without the cells that they name.
const OF_CELLS: &[&str] = &[
    "named-range",
    "named-expression",
    "database-range",
    "data-pilot-table",
    "consolidation",
    "label-range",
    "highlighted-range",
    "sparkline",
];

/// Elements that show the picture that they refer to.
const PICTURES: &[&str] = &["image", "fill-image", "background-image", "list-level-style-image"];

/// Elements of rules whose value is a formula, or a number.
const ENTRIES: &[&str] = &["color-scale-entry", "formatting-entry"];

/// What becomes of an element.
enum Fate<'e> {
    Kept(BytesStart<'e>),
    /// Its content stays.
    Unwrapped,
    Gone,
}

struct Walk<'a, F> {
    source: Source<'a, F>,
    /// What the old manifest says of documents inside the document, by their folders.
    types: HashMap<String, String>,
    /// New parts and folders by their names: types, bytes (none of folders).
    parts: BTreeMap<String, (String, Option<Vec<u8>>)>,
    /// New names of pictures that have been met; nothing for those that go.
    pictures: HashMap<String, Option<String>>,
    met: HashSet<String>,
    waiting: VecDeque<String>,
}

/// The kind of document that `mimetype` names.
pub(crate) fn find_kind(mimetype: &[u8]) -> Option<Kind> {
    let named = std::str::from_utf8(mimetype).ok()?.trim();
    TYPES.iter().find(|(name, _)| *name == named).map(|(_, kind)| *kind)
}

/// Writes a document anew; `sanitise` takes a picture's bytes.
pub(crate) fn sanitise(
    kind: Kind,
    archive: &Archive<'_>,
    budget: &Budget,
    settings: &Settings,
    sanitise: impl FnMut(&[u8]) -> Outcome,
) -> Result<Parts, Refusal> {
    let source = Source::new(archive, budget, settings, sanitise);
    let (types, version) = manifest(&source.file("META-INF/manifest.xml")?, settings)?;
    let mut walk = Walk {
        source,
        types,
        parts: BTreeMap::new(),
        pictures: HashMap::new(),
        met: HashSet::new(),
        waiting: VecDeque::new(),
    };
    if !walk.document("") {
        return Err(malformed("no content.xml"));
    }
    while let Some(name) = walk.waiting.pop_front() {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let bytes = walk.source.file(&name)?;
        let bytes = walk.clean(&folder, &bytes).map_err(|refusal| refusal.inside(&name))?;
        walk.parts.insert(name, ("text/xml".to_owned(), Some(bytes)));
    }
    walk.note_left_behind();
    let Walk { parts, source, .. } = walk;
    Ok(Parts::rebuilt(write(kind, &version, &parts)?, source.removed))
}

/// The types of folders, and the version of the format.
fn manifest(bytes: &[u8], settings: &Settings) -> Result<(HashMap<String, String>, String), Refusal> {
    let xml = part::letters(bytes)?;
    let (mut types, mut version) = (HashMap::new(), String::new());
    for element in elements(&xml, &settings.limits)? {
        match element.local_name().as_ref() {
            b"encryption-data" => {
                return Err(Refusal::new(Reason::Encrypted, "OpenDocument with a password"));
            }
            b"file-entry" => {
                let value = |name| attribute(&element, name).unwrap_or_default();
                let path = value("full-path");
                if path == "/" {
                    version = value("version");
                }
                types.insert(path.trim_end_matches('/').to_owned(), value("media-type"));
            }
            _ => {}
        }
    }
    let is_version = version.len() <= 4 && version.chars().all(|one| one.is_ascii_digit() || one == '.');
    Ok((types, if is_version { version } else { String::new() }))
}

impl<F: FnMut(&[u8]) -> Outcome> Walk<'_, F> {
    /// Takes the parts of the document in a folder over; whether there is one.
    fn document(&mut self, folder: &str) -> bool {
        let path = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if self.find(&path("content.xml")).is_none() {
            return false;
        }
        for name in PARTS {
            let name = path(name);
            if self.find(&name).is_some() && self.met.insert(name.clone()) {
                self.waiting.push_back(name);
            }
        }
        true
    }

    /// An entry by its name, as programs for OpenDocument find it: letters of either case are two.
    fn find(&self, name: &str) -> Option<&str> {
        let entry = self.source.archive.find(name).filter(|entry| !entry.is_folder && entry.name == name);
        entry.map(|entry| entry.name.as_str())
    }

    /// The type of a document inside the document, if it only draws.
    fn drawn(&self, folder: &str) -> Option<&'static str> {
        let told = self.types.get(folder)?;
        OBJECTS.iter().find(|listed| **listed == told).copied()
    }

    /// Tells of what nothing here led to.
    fn note_left_behind(&mut self) {
        let archive = self.source.archive;
        for entry in &archive.entries {
            let name = &entry.name;
            let (first, _) = name.split_once('/').unwrap_or((name, ""));
            let is_known = name.starts_with("META-INF/manifest.xml") || self.met.contains(name);
            if entry.is_folder || is_known || self.pictures.contains_key(name) {
                continue;
            }
            let what = match first {
                // Previews, caches and the empty toolbars that every document has are nobody's content.
                "mimetype" | "Thumbnails" | "layout-cache" | "manifest.rdf" | "ObjectReplacements"
                | "Configurations2" | "Pictures" => continue,
                "Basic" | "Scripts" | "Dialogs" => Part::Macro,
                "META-INF" => Part::Signature,
                "Fonts" => Part::Font,
                "Media" => Part::Media,
                _ => Part::UnknownPart,
            };
            self.source.note(what, name);
        }
    }

    fn clean(&mut self, folder: &str, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let xml = part::letters(bytes)?;
        let events = part::events(&xml, &self.source.settings.limits)?;
        let ends = part::ends(&events);
        let mut unwrapped = HashSet::new();
        let mut out = XmlWriter::new(Vec::with_capacity(xml.len()));
        out.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None))).map_err(malformed)?;
        let mut at = 0;
        while at < events.len() {
            let event = &events[at];
            match event {
                Event::Start(element) | Event::Empty(element) => {
                    let is_empty = matches!(event, Event::Empty(_)) || ends[at] == at + 2;
                    match self.element(folder, element, is_empty)? {
                        Fate::Gone => {
                            at = ends[at];
                            continue;
                        }
                        Fate::Unwrapped => {
                            unwrapped.insert(ends[at] - 1);
                        }
                        Fate::Kept(element) => {
                            let is_start = matches!(event, Event::Start(_));
                            let event = if is_start { Event::Start(element) } else { Event::Empty(element) };
                            out.write_event(event).map_err(malformed)?;
                        }
                    }
                }
                Event::End(_) if unwrapped.contains(&at) => {}
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) | Event::End(_) => {
                    out.write_event(event.borrow()).map_err(malformed)?;
                }
                // Comments, instructions to processors, the old head.
                _ => {}
            }
            at += 1;
        }
        Ok(out.into_inner())
    }

    fn element<'e>(
        &mut self,
        folder: &str,
        element: &'e BytesStart<'_>,
        is_empty: bool,
    ) -> Result<Fate<'e>, Refusal> {
        let local = element.local_name();
        let local = std::str::from_utf8(local.as_ref()).map_err(malformed)?;
        if let Some((_, what)) = GONE.iter().find(|(gone, _)| *gone == local) {
            // Every document has an empty list of scripts and of forms.
            if !is_empty || !matches!(local, "scripts" | "forms") {
                self.source.note(*what, "");
            }
            return Ok(Fate::Gone);
        }
        if let Some((_, what)) = UNWRAPPED.iter().find(|(unwrapped, _)| *unwrapped == local) {
            self.source.note(*what, "");
            return Ok(Fate::Unwrapped);
        }
        if local == "config-item" && is_of_machine(element) {
            return Ok(Fate::Gone);
        }
        if element.attributes_raw().is_empty() {
            return Ok(Fate::Kept(element.borrow()));
        }
        self.attributes(folder, element, local)
    }

    fn attributes<'e>(
        &mut self,
        folder: &str,
        element: &'e BytesStart<'_>,
        local: &str,
    ) -> Result<Fate<'e>, Refusal> {
        let mut kept = Vec::new();
        let mut has_changed = false;
        for one in element.attributes() {
            let one = one.map_err(malformed)?;
            let key = one.key.local_name();
            let key = std::str::from_utf8(key.as_ref()).map_err(malformed)?;
            let is_formula = matches!(key, "formula" | "condition" | "expression")
                || key == "value" && (local == "condition" || ENTRIES.contains(&local));
            let is_address = key == "href" || one.key.as_ref() == b"xml:base" || key == "macro-name";
            let is_code = key == "value" && local == "param";
            if !is_formula && !is_address && !is_code && !names_cells(key) && !one.value.contains(&b'&') {
                kept.push(one);
                continue;
            }
            let value = one.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|error| Refusal::new(Reason::XmlEntity, error))?.into_owned();
            if is_formula && calls_out(&value) {
                self.source.note(Part::Formula, "");
                // A cell has its value beside the formula; a rule or a name is nothing without.
                if key != "formula" {
                    return Ok(Fate::Gone);
                }
                has_changed = true;
            } else if key == "href" {
                match self.address(folder, local, &value)? {
                    Address::Kept => kept.push(one),
                    Address::Is(new) => {
                        has_changed = true;
                        let new = escape(new).into_owned().into_bytes();
                        kept.push(Attribute { key: one.key, value: new.into() });
                    }
                    Address::Dropped => has_changed = true,
                    Address::Unwrapped => return Ok(Fate::Unwrapped),
                    Address::Gone => return Ok(Fate::Gone),
                }
            } else if names_cells(key) && formula::leads_out(&value) {
                self.source.note(Part::ExternalData, "");
                if OF_CELLS.contains(&local) {
                    return Ok(Fate::Gone);
                }
                has_changed = true;
            } else if is_code && is_bad_code(element, &value, self.source.settings.links) {
                self.source.note(Part::Field, "");
                return Ok(Fate::Gone);
            } else if is_address {
                // What addresses would be understood from, and the name of a macro.
                has_changed = true;
            } else {
                kept.push(one);
            }
        }
        if !has_changed {
            return Ok(Fate::Kept(element.borrow()));
        }
        let name = std::str::from_utf8(element.name().as_ref()).map_err(malformed)?.to_owned();
        Ok(Fate::Kept(BytesStart::new(name).with_attributes(kept)))
    }

    /// What becomes of where an element leads.
    fn address(&mut self, folder: &str, local: &str, address: &str) -> Result<Address, Refusal> {
        let is_area = local.starts_with("area-");
        if address.strip_prefix('#').is_some_and(is_inside) {
            return Ok(Address::Kept);
        }
        if local == "a" || is_area {
            if self.source.settings.links == Links::Kept && is_open(address) {
                return Ok(Address::Kept);
            }
            self.source.note(Part::Link, "");
            return Ok(if is_area { Address::Dropped } else { Address::Unwrapped });
        }
        // A chart takes its numbers from the document around it.
        if local == "chart" && matches!(address, "." | ".." | "../") {
            return Ok(Address::Kept);
        }
        let leads_out = |address: &str| address.contains(':') || address.starts_with(['/', '#']);
        let path = resolve(folder, address).filter(|_| !leads_out(address));
        let Some(path) = path else {
            self.source.note(Part::ExternalData, "");
            return Ok(Address::Gone);
        };
        if PICTURES.contains(&local) {
            let new = self.picture(&path)?;
            return Ok(new.map_or(Address::Gone, |new| Address::Is(relative(folder, &new))));
        }
        if local == "object" {
            if let Some(kind) = self.drawn(&path)
                && self.document(&path)
            {
                self.parts.insert(format!("{path}/"), (kind.to_owned(), None));
                return Ok(Address::Kept);
            }
            self.source.note(Part::Ole, &path);
            return Ok(Address::Gone);
        }
        self.source.note(Part::ExternalData, local);
        Ok(Address::Gone)
    }

    /// A picture in the new document, or what stands in its place; its new name.
    fn picture(&mut self, old: &str) -> Result<Option<String>, Refusal> {
        if let Some(new) = self.pictures.get(old) {
            return Ok(new.clone());
        }
        let new = self.new_picture(old)?;
        self.pictures.insert(old.to_owned(), new.clone());
        Ok(new)
    }

    fn new_picture(&mut self, old: &str) -> Result<Option<String>, Refusal> {
        if self.find(old).is_none() {
            return Ok(None);
        }
        // The last look of what is drawn anew in any case.
        let is_look = old.strip_prefix("ObjectReplacements/").is_some_and(|of| self.drawn(of).is_some());
        let label = |bytes: &[u8]| match bytes {
            _ if is_look => None,
            [b'V', b'C', b'L', b'M', b'T', b'F', ..] => Some("SVM"),
            _ => Some(source::drawing(old, bytes)),
        };
        let Some(Picture { name, kind, bytes }) = self.source.picture(old, label)? else { return Ok(None) };
        self.parts.insert(name.clone(), (kind.content_type().to_owned(), Some(bytes)));
        Ok(Some(name))
    }
}

/// What becomes of an address.
enum Address {
    Kept,
    Is(String),
    Dropped,
    Unwrapped,
    Gone,
}

/// A part's name as one in a folder calls it. Documents inside the document stand one below it.
fn relative(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        return name.to_owned();
    }
    match name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => rest.to_owned(),
        None => format!("{}{name}", "../".repeat(folder.split('/').count())),
    }
}

/// Settings that say something of the machine or its printer, and not of the document. Others with a printer's name say how
/// lines are set.
fn is_of_machine(item: &BytesStart<'_>) -> bool {
    let name = attribute(item, "name").unwrap_or_default();
    attribute(item, "type").as_deref() == Some("base64Binary")
        || ["PrinterName", "LinkUpdateMode", "CurrentDatabaseDataSource", "CurrentDatabaseCommand"]
            .contains(&name.as_str())
        // Where Impress fetches the colours, lines and fills from that it offers.
        || name.ends_with("URL")
}

/// Whether an attribute holds addresses of cells.
fn names_cells(key: &str) -> bool {
    key.contains("range") || key.contains("cell") || key.ends_with("-address") || key.ends_with("-addresses")
}

/// Whether a parameter is the code of a field of Word that asks for more than the document: Writer keeps it and gives it back
/// to Word.
fn is_bad_code(param: &BytesStart<'_>, value: &str, links: Links) -> bool {
    attribute(param, "name").is_some_and(|name| name.ends_with(".code")) && !fields::is_good(value, links)
}

/// Whether a formula asks another file, program or machine. Its prefix says which grammar it has; a document may give any
/// name to one.
fn calls_out(formula: &str) -> bool {
    let (excel, sheets) = (formula.strip_prefix("msoxl:"), Sheets::default());
    let grammar = excel.map_or(Grammar::OpenDocument, |_| Grammar::Excel(&sheets));
    formula::calls_out(excel.unwrap_or(formula), grammar)
}

fn write(
    kind: Kind,
    version: &str,
    parts: &BTreeMap<String, (String, Option<Vec<u8>>)>,
) -> Result<Vec<u8>, Refusal> {
    let mut writer = Writer::default();
    // First and not packed, so that its type is seen in the first bytes.
    writer.add("mimetype", NO_TIME, kind.content_type().as_bytes(), true)?;
    let version = if version.is_empty() { String::new() } else { format!(" manifest:version=\"{version}\"") };
    let mut manifest = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<manifest:manifest \
         xmlns:manifest=\"urn:oasis:names:tc:opendocument:xmlns:manifest:1.0\"{version}><manifest:file-entry \
         manifest:full-path=\"/\"{version} manifest:media-type=\"{}\"/>",
        kind.content_type()
    );
    for (name, (kind, bytes)) in parts {
        let (full, kind_name) = (escape(name.as_str()), escape(kind.as_str()));
        manifest.push_str(&format!(
            "<manifest:file-entry manifest:full-path=\"{full}\" manifest:media-type=\"{kind_name}\"/>"
        ));
        if let Some(bytes) = bytes {
            writer.add(name, NO_TIME, bytes, kind.starts_with("image/"))?;
        }
    }
    manifest.push_str("</manifest:manifest>");
    writer.add("META-INF/manifest.xml", NO_TIME, manifest.as_bytes(), false)?;
    writer.finish()
}
