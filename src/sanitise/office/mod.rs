//! Office documents (OOXML; OpenDocument is [`odf`]'s): rebuilt from the parts that relationships of listed types lead to.
//!
//! The walk begins at the package's own relationships. A relationship whose type is not on the list, or that leads out
//! of the package, is not taken over; what referred to it in the part's XML goes as well, so that the document opens
//! without a repair question. Content types and relationships are written anew, from what was kept.
//!
//! Format: ECMA-376, part 2 (packages) and part 1.

mod address;
mod chart;
mod fields;
mod formula;
pub(crate) mod odf;
mod part;
mod source;
mod spaces;
mod tabs;
mod types;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use quick_xml::{escape::escape, events::BytesStart};

use self::{
    formula::Sheets,
    part::{About, attribute, elements},
    source::{Picture, Source},
};
use crate::{
    kind::Kind,
    links,
    outcome::Outcome,
    settings::{Limits, Links, Settings},
    verdict::{Part, Parts, Reason, Refusal},
    zip::{Archive, Budget, NO_TIME, Writer},
};

/// What a part of the new package is.
struct Kept {
    content_type: String,
    bytes: Vec<u8>,
    relationships: Vec<Relationship>,
}

struct Relationship {
    id: String,
    kind: String,
    target: String,
    is_external: bool,
}

struct Walk<'a, F> {
    source: Source<'a, F>,
    types: ContentTypes,
    /// New parts by their new names.
    parts: BTreeMap<String, Kept>,
    /// New names of old parts that have been met; nothing for those that were left out.
    met: HashMap<String, Option<String>>,
    waiting: VecDeque<(String, String)>,
    /// The main part, and the names of its sheets, if it is a workbook that has been read.
    main: String,
    sheets: Sheets,
}

/// The relationship to the main part, in the two spaces of names that programs know (ECMA-376 part 1, §9 and annex A).
const MAIN: [&str; 2] = [
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument",
    "http://purl.oclc.org/ooxml/officeDocument/relationships/officeDocument",
];

/// Writes a document anew; `sanitise` takes a picture's bytes.
pub(crate) fn sanitise(
    archive: &Archive<'_>,
    budget: &Budget,
    settings: &Settings,
    sanitise: impl FnMut(&[u8]) -> Outcome,
) -> Result<(Kind, Parts), Refusal> {
    let source = Source::new(archive, budget, settings, sanitise);
    let types = ContentTypes::read(&source.file("[Content_Types].xml")?, &settings.limits)?;
    let mut walk = Walk {
        source,
        types,
        parts: BTreeMap::new(),
        met: HashMap::new(),
        waiting: VecDeque::new(),
        main: String::new(),
        sheets: Sheets::new(),
    };
    let (root, _) = walk.relationships("")?;
    let main = root.iter().find(|one| MAIN.contains(&one.kind.as_str()));
    let main = main.ok_or_else(|| Refusal::new(Reason::NotAllowed, "no main part of a known kind"))?;
    let kind = types::main(walk.types.of(&main.target)).map(|(kind, _)| kind);
    let kind = kind.ok_or_else(|| Refusal::new(Reason::NotAllowed, walk.types.of(&main.target)))?;
    walk.main.clone_from(&main.target);
    while let Some((old, new)) = walk.waiting.pop_front() {
        walk.part(&old, &new, kind)?;
    }
    let Walk { parts, source, .. } = walk;
    Ok((kind, Parts::rebuilt(write(&root, &parts)?, source.removed)))
}

impl<F: FnMut(&[u8]) -> Outcome> Walk<'_, F> {
    /// The relationships of a part that are kept, and the ids of those that are not.
    fn relationships(&mut self, part: &str) -> Result<(Vec<Relationship>, HashSet<String>), Refusal> {
        let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
        let path = format!("{folder}/_rels/{name}.rels");
        let (mut kept, mut dropped) = (Vec::new(), HashSet::new());
        let Some(entry) = self.source.archive.find(path.trim_start_matches('/')) else {
            return Ok((kept, dropped));
        };
        let bytes = self.source.archive.unpack(entry, self.source.budget)?;
        let xml = part::letters(&bytes)?;
        for element in elements(&xml, &self.source.settings.limits)? {
            if element.local_name().as_ref() != b"Relationship" {
                continue;
            }
            let value = |name| attribute(&element, name).unwrap_or_default();
            let (id, kind, target) = (value("Id"), value("Type"), value("Target"));
            let is_external = value("TargetMode").eq_ignore_ascii_case("external");
            // What the package is follows from one main part: programs that took another one would read by other rules.
            let is_main =
                kind.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case("officeDocument"));
            let is_second =
                !part.is_empty() || kept.iter().any(|one: &Relationship| MAIN.contains(&one.kind.as_str()));
            if is_main && (is_second || !MAIN.contains(&kind.as_str())) {
                return Err(Refusal::new(Reason::TwoTypes, kind).inside(&path));
            }
            match self.follow(folder, &kind, &target, is_external)? {
                Some(target) => kept.push(Relationship { id, kind, target, is_external }),
                None => {
                    dropped.insert(id);
                }
            }
        }
        Ok((kept, dropped))
    }

    /// Where a relationship leads in the new package, if it is kept.
    fn follow(
        &mut self,
        folder: &str,
        kind: &str,
        target: &str,
        is_external: bool,
    ) -> Result<Option<String>, Refusal> {
        let last = kind.rsplit('/').next().unwrap_or(kind);
        if is_external {
            let is_link =
                last == "hyperlink" && self.source.settings.links == Links::Kept && links::is_open(target);
            if !is_link {
                self.source.note(types::lost(last, true).unwrap_or(Part::ExternalData), last);
            }
            return Ok(is_link.then(|| target.to_owned()));
        }
        if last == "hyperlink"
            && let Some(place) = target.strip_prefix('#')
        {
            let is_inside = address::is_inside(place);
            if !is_inside {
                self.source.note(Part::Link, "");
            }
            return Ok(is_inside.then(|| target.to_owned()));
        }
        let path = resolve(folder, target);
        if !types::is_listed(last) || path.is_none() {
            if let Some(what) = types::lost(last, false) {
                self.source.note(what, path.as_deref().unwrap_or(target));
            }
            return Ok(None);
        }
        let Some(entry) = path.and_then(|path| self.source.archive.find(&path)) else { return Ok(None) };
        let old = entry.name.clone();
        if let Some(new) = self.met.get(&old) {
            return Ok(new.clone());
        }
        let content_type = self.types.of(&old).to_owned();
        let new = if last == "image" {
            self.picture(&old)?
        } else if types::is_xml(&content_type) {
            self.waiting.push_back((old.clone(), old.clone()));
            Some(old.clone())
        } else {
            self.source.note(Part::UnknownPart, &old);
            None
        };
        self.met.insert(old, new.clone());
        Ok(new)
    }

    /// A picture in the new package, or what stands in its place; its new name.
    fn picture(&mut self, old: &str) -> Result<Option<String>, Refusal> {
        let label = |bytes: &[u8]| Some(source::drawing(old, bytes));
        let Some(Picture { name, kind, bytes }) = self.source.picture(old, label)? else { return Ok(None) };
        let content_type = kind.content_type().to_owned();
        self.parts.insert(name.clone(), Kept { content_type, bytes, relationships: Vec::new() });
        Ok(Some(name))
    }

    fn part(&mut self, old: &str, new: &str, kind: Kind) -> Result<(), Refusal> {
        let (relationships, dropped) = self.relationships(old)?;
        let bytes = self.source.file(old)?;
        let content_type = self.types.of(old);
        if old != self.main && types::main(content_type).is_some() {
            return Err(Refusal::new(Reason::TwoTypes, content_type).inside(old));
        }
        let content_type = types::main(content_type).map_or(content_type, |(_, plain)| plain).to_owned();
        let settings = self.source.settings;
        if kind == Kind::Xlsx && old == self.main {
            let is_sheet = |one: &&Relationship| {
                let is_sheet = ["/worksheet", "/chartsheet"].iter().any(|end| one.kind.ends_with(end));
                is_sheet && !dropped.contains(&one.id)
            };
            let ids = relationships.iter().filter(is_sheet).map(|one| one.id.as_str()).collect();
            let sheets = part::sheets(&bytes, &ids, &settings.limits);
            self.sheets = sheets.map_err(|refusal| refusal.inside(old))?;
        }
        let about = About { kind, dropped: &dropped, sheets: &self.sheets, settings };
        let made = part::clean(&bytes, &about, &mut self.source.removed);
        let bytes = made.map_err(|refusal| refusal.inside(old))?;
        self.parts.insert(new.to_owned(), Kept { content_type, bytes, relationships });
        Ok(())
    }
}

/// The path that a target leads to, as entries are named; nothing if it leads out of the package.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or(target);
    let (mut path, rest): (Vec<&str>, &str) = match target.strip_prefix('/') {
        Some(rest) => (Vec::new(), rest),
        None => (folder.split('/').filter(|part| !part.is_empty()).collect(), target),
    };
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                path.pop()?;
            }
            part => path.push(part),
        }
    }
    Some(path.join("/"))
}

/// What `[Content_Types].xml` says.
struct ContentTypes {
    by_end: HashMap<String, String>,
    by_name: HashMap<String, String>,
}

impl ContentTypes {
    fn read(bytes: &[u8], limits: &Limits) -> Result<Self, Refusal> {
        let (mut by_end, mut by_name) = (HashMap::new(), HashMap::new());
        let xml = part::letters(bytes)?;
        for element in elements(&xml, limits)? {
            let value = |name| attribute(&element, name).unwrap_or_default();
            let is = |element: &BytesStart<'_>, name: &[u8]| element.local_name().as_ref() == name;
            if is(&element, b"Default") {
                by_end.insert(value("Extension").to_lowercase(), value("ContentType"));
            } else if is(&element, b"Override") {
                let name = value("PartName").trim_start_matches('/').to_lowercase();
                by_name.insert(name, value("ContentType"));
            }
        }
        Ok(Self { by_end, by_name })
    }

    fn of(&self, name: &str) -> &str {
        let name = name.to_lowercase();
        let end = name.rsplit_once('.').map_or("", |(_, end)| end);
        self.by_name.get(&name).or_else(|| self.by_end.get(end)).map_or("", String::as_str)
    }
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n";

fn write(root: &[Relationship], parts: &BTreeMap<String, Kept>) -> Result<Vec<u8>, Refusal> {
    let mut writer = Writer::default();
    let mut add = |name: &str, bytes: &[u8]| {
        let packed = Kind::all().filter(|kind| kind.is_packed());
        let is_packed = packed
            .into_iter()
            .any(|kind| parts.get(name).is_some_and(|part| part.content_type == kind.content_type()));
        writer.add(name, NO_TIME, bytes, is_packed)
    };
    let mut types = format!(
        "{HEAD}<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default \
         Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Default \
         Extension=\"xml\" ContentType=\"application/xml\"/>"
    );
    for (name, part) in parts {
        let (name, kind) = (escape(name.as_str()), escape(part.content_type.as_str()));
        types.push_str(&format!("<Override PartName=\"/{name}\" ContentType=\"{kind}\"/>"));
    }
    types.push_str("</Types>");
    // Office looks for it first.
    add("[Content_Types].xml", types.as_bytes())?;
    add("_rels/.rels", relationships(root).as_bytes())?;
    for (name, part) in parts {
        add(name, &part.bytes)?;
        if !part.relationships.is_empty() {
            let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
            let path = format!("{folder}/_rels/{file}.rels");
            add(path.trim_start_matches('/'), relationships(&part.relationships).as_bytes())?;
        }
    }
    writer.finish()
}

fn relationships(list: &[Relationship]) -> String {
    let mut xml = format!(
        "{HEAD}<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">"
    );
    for Relationship { id, kind, target, is_external } in list {
        let is_path = !is_external && !target.starts_with('#');
        let (slash, mode) =
            (if is_path { "/" } else { "" }, if *is_external { " TargetMode=\"External\"" } else { "" });
        let (id, kind, target) = (escape(id.as_str()), escape(kind.as_str()), escape(target.as_str()));
        xml.push_str(&format!(
            "<Relationship Id=\"{id}\" Type=\"{kind}\" Target=\"{slash}{target}\"{mode}/>"
        ));
    }
    xml + "</Relationships>"
}
