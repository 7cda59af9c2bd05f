//! PDF: what can be reached from the catalogue, cleaned object by object, is written as one new file.
//!
//! Object streams and incremental updates of the old file are gone with it, and so is whatever nothing leads to. A
//! dictionary that acts, embeds or loads is *poison*: no value of another that leads to it is taken over, so it is not
//! reached, and its bytes are not in the new file. Of the catalogue, forms and actions only listed keys stay.
//!
//! Names are compared after parsing (`/J#61vaScript` is `/JavaScript`). At the end the new objects are searched for
//! what must not be there: a way around the rules above refuses the file.
//!
//! Format: ISO 32000-2.

use std::collections::{BTreeMap, VecDeque};

use lopdf::{Dictionary, Document, LoadOptions, Object, ObjectId};

use crate::{
    settings::{Links, Settings},
    verdict::{Made, Part, Parts, Reason, Refusal, Removed, malformed, note},
};

/// What of the catalogue stays.
const CATALOGUE: &[&[u8]] = &[
    b"Type",
    b"Pages",
    b"PageLabels",
    b"PageLayout",
    b"ViewerPreferences",
    b"Outlines",
    b"Dests",
    b"Lang",
    b"MarkInfo",
    b"StructTreeRoot",
    b"OutputIntents",
    b"OCProperties",
    b"AcroForm",
    b"Names",
    b"Version",
    b"Extensions",
];

/// What of a form stays: the fields and how they look.
const FORM: &[&[u8]] = &[b"Fields", b"DR", b"DA", b"Q"];

/// What of an action stays.
const ACTION: &[&[u8]] = &[b"Type", b"S", b"D", b"URI", b"N", b"IsMap"];

/// Keys that go from any dictionary.
const ANYWHERE: &[(&[u8], Part)] = &[
    (b"AA", Part::Action),
    (b"OpenAction", Part::Action),
    (b"JS", Part::Script),
    (b"JavaScript", Part::Script),
    (b"XFA", Part::Form),
    (b"EF", Part::EmbeddedFile),
    (b"RF", Part::EmbeddedFile),
    (b"AF", Part::EmbeddedFile),
    (b"EmbeddedFiles", Part::EmbeddedFile),
    (b"Collection", Part::EmbeddedFile),
    (b"RichMediaContent", Part::Media),
    (b"RichMediaSettings", Part::Media),
    (b"3DD", Part::Media),
    (b"PieceInfo", Part::Metadata),
    (b"Metadata", Part::Metadata),
    (b"OPI", Part::ExternalData),
    (b"PS", Part::Script),
    (b"FFilter", Part::ExternalData),
    (b"FDecodeParms", Part::ExternalData),
];

/// Kinds of annotations that hold files, sound or film.
const ANNOTATIONS: &[(&[u8], Part)] = &[
    (b"FileAttachment", Part::EmbeddedFile),
    (b"Sound", Part::Media),
    (b"Movie", Part::Media),
    (b"Screen", Part::Media),
    (b"3D", Part::Media),
    (b"RichMedia", Part::Media),
    (b"TrapNet", Part::UnknownPart),
];

/// Kinds of actions that do something. `GoTo`, `URI` and four names are looked at apart.
const ACTIONS: &[(&[u8], Part)] = &[
    (b"JavaScript", Part::Script),
    (b"Launch", Part::Action),
    (b"GoToR", Part::Action),
    (b"GoToE", Part::Action),
    (b"GoToDp", Part::Action),
    (b"Thread", Part::Action),
    (b"SubmitForm", Part::Action),
    (b"ResetForm", Part::Action),
    (b"ImportData", Part::Action),
    (b"Hide", Part::Action),
    (b"SetOCGState", Part::Action),
    (b"Trans", Part::Action),
    (b"Sound", Part::Media),
    (b"Movie", Part::Media),
    (b"Rendition", Part::Media),
    (b"GoTo3DView", Part::Media),
    (b"RichMediaExecute", Part::Media),
];

/// Names that no new file holds as a key, or as the kind of an action.
const NEVER: &[&[u8]] = &[
    b"OpenAction",
    b"JavaScript",
    b"JS",
    b"XFA",
    b"EmbeddedFiles",
    b"EF",
    b"Launch",
    b"SubmitForm",
    b"ImportData",
    b"GoToR",
    b"GoToE",
    b"RichMediaContent",
];

/// Makes a document anew.
pub(crate) fn sanitise(file: &[u8], settings: &Settings) -> Made {
    let most = usize::try_from(settings.limits.unpacked_bytes).unwrap_or(usize::MAX);
    let options = LoadOptions { max_decompressed_size: Some(most), ..LoadOptions::default() };
    // A document with a password for its owner only opens with an empty one, of itself.
    let old =
        Document::load_mem_with_options(file, options).map_err(|error| match has_password(file, &error) {
            true => Refusal::new(Reason::Encrypted, &error),
            false => malformed(&error),
        })?;
    if old.is_encrypted() {
        return Err(Refusal::new(Reason::Encrypted, "the empty password does not open it"));
    }
    let pages = old.get_pages().len();
    if pages == 0 {
        return Err(malformed("no pages"));
    }
    let root = old.trailer.get(b"Root").and_then(Object::as_reference).map_err(malformed)?;
    let mut cleaner = Cleaner { old: &old, links: settings.links, root, removed: Vec::new() };
    let objects = cleaner.reach()?;
    let mut removed = cleaner.removed;
    if old.trailer.has(b"Info") {
        note(&mut removed, Part::Metadata, "Info");
    }

    let mut new = Document::with_version(version(&old.version));
    new.max_id = objects.keys().map(|id| id.0).max().unwrap_or(0);
    new.objects = objects;
    new.trailer.set("Root", Object::Reference(root));
    if new.get_pages().len() != pages {
        return Err(malformed("pages were lost"));
    }
    if let Some(found) = new.objects.values().find_map(find_forbidden) {
        return Err(Refusal::new(Reason::NotAllowed, format!("{} is left", String::from_utf8_lossy(found))));
    }
    let mut bytes = Vec::new();
    new.save_to(&mut bytes).map_err(malformed)?;
    Ok(Parts::rebuilt(bytes, removed))
}

fn has_password(file: &[u8], error: &lopdf::Error) -> bool {
    matches!(error, lopdf::Error::InvalidPassword | lopdf::Error::Decryption(_))
        || memchr::memmem::find(file, b"/Encrypt").is_some()
}

/// The version as it was, if it is one: it stands in the first line.
fn version(told: &str) -> String {
    let is_one = told.len() == 3 && told.bytes().all(|letter| letter.is_ascii_digit() || letter == b'.');
    if is_one { told.to_owned() } else { "1.7".to_owned() }
}

struct Cleaner<'a> {
    old: &'a Document,
    links: Links,
    root: ObjectId,
    removed: Vec<Removed>,
}

impl Cleaner<'_> {
    /// All objects that are reached from the catalogue without passing poison, cleaned.
    fn reach(&mut self) -> Result<BTreeMap<ObjectId, Object>, Refusal> {
        let mut objects = BTreeMap::new();
        let mut waiting = VecDeque::from([self.root]);
        while let Some(id) = waiting.pop_front() {
            if objects.contains_key(&id) {
                continue;
            }
            // A reference to nothing is null (7.3.10).
            let mut object = self.old.objects.get(&id).cloned().unwrap_or(Object::Null);
            if id == self.root {
                let catalogue = object.as_dict_mut().map_err(malformed)?;
                self.catalogue(catalogue);
            }
            self.clean(&mut object);
            references(&object, &mut waiting);
            objects.insert(id, object);
        }
        Ok(objects)
    }

    fn catalogue(&mut self, catalogue: &mut Dictionary) {
        for (key, what) in
            [(&b"OpenAction"[..], Part::Action), (b"AA", Part::Action), (b"AF", Part::EmbeddedFile)]
        {
            if catalogue.has(key) {
                note(&mut self.removed, what, String::from_utf8_lossy(key));
            }
        }
        keep(catalogue, CATALOGUE);
        if let Some(Object::Dictionary(names)) = self.value(catalogue, b"Names") {
            let mut names = names.clone();
            for (key, what) in [(&b"JavaScript"[..], Part::Script), (b"EmbeddedFiles", Part::EmbeddedFile)] {
                if names.has(key) {
                    note(&mut self.removed, what, "Names");
                }
            }
            keep(&mut names, &[b"Dests"]);
            catalogue.set("Names", names);
        } else {
            catalogue.remove(b"Names");
        }
        if let Some(Object::Dictionary(form)) = self.value(catalogue, b"AcroForm") {
            let mut form = form.clone();
            if form.has(b"XFA") {
                note(&mut self.removed, Part::Form, "AcroForm");
            }
            keep(&mut form, FORM);
            catalogue.set("AcroForm", form);
        } else {
            catalogue.remove(b"AcroForm");
        }
    }

    fn value<'o>(&'o self, dictionary: &'o Dictionary, key: &[u8]) -> Option<&'o Object> {
        self.resolve(dictionary.get(key).ok()?)
    }

    fn resolve<'o>(&'o self, object: &'o Object) -> Option<&'o Object> {
        self.old.dereference(object).ok().map(|(_, object)| object)
    }

    /// Cleans an object and what lies in it; the parser has bounded how deep that goes.
    fn clean(&mut self, object: &mut Object) {
        match object {
            Object::Dictionary(dictionary) => self.clean_dictionary(dictionary),
            Object::Stream(stream) => {
                // Data of a stream that lie in another file (7.3.8.2).
                if stream.dict.remove(b"F").is_some() {
                    note(&mut self.removed, Part::ExternalData, "stream");
                    stream.set_content(Vec::new());
                }
                self.clean_dictionary(&mut stream.dict);
            }
            Object::Array(values) => {
                values.retain(|value| !self.note_poison(value));
                values.iter_mut().for_each(|value| self.clean(value));
            }
            _ => {}
        }
    }

    fn clean_dictionary(&mut self, dictionary: &mut Dictionary) {
        if is_action(dictionary) {
            keep(dictionary, ACTION);
        }
        let is_form_object = name(dictionary, b"Subtype") == Some(b"Form");
        let doomed: Vec<Vec<u8>> = dictionary
            .iter()
            .filter(|(key, value)| {
                let listed = ANYWHERE.iter().find(|(listed, _)| *listed == key.as_slice());
                match listed {
                    // Pages' resources have names that programs make up.
                    Some(_) if self.is_resource(value) => false,
                    Some((_, what)) => {
                        note(&mut self.removed, *what, String::from_utf8_lossy(key));
                        true
                    }
                    None if is_form_object && key.as_slice() == b"Ref" => true,
                    None => self.note_poison(value),
                }
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in doomed {
            dictionary.remove(&key);
        }
        dictionary.iter_mut().for_each(|(_, value)| self.clean(value));
    }

    fn is_resource(&self, value: &Object) -> bool {
        let dictionary = match self.old.dereference(value) {
            Ok((_, Object::Dictionary(dictionary))) => dictionary,
            Ok((_, Object::Stream(stream))) => &stream.dict,
            _ => return false,
        };
        matches!(name(dictionary, b"Type"), Some(b"Font" | b"XObject" | b"ExtGState" | b"Pattern"))
    }

    /// Whether a value leads to something that acts, embeds or loads; if so, it is noted.
    fn note_poison(&mut self, value: &Object) -> bool {
        let Some(what) = self.find_poison(value) else { return false };
        note(&mut self.removed, what, "");
        true
    }

    fn find_poison(&self, value: &Object) -> Option<Part> {
        let dictionary = match self.resolve(value)? {
            Object::Dictionary(dictionary) => dictionary,
            Object::Stream(stream) => &stream.dict,
            _ => return None,
        };
        let listed = |list: &[(&[u8], Part)], name: Option<&[u8]>| {
            list.iter().find(|(listed, _)| Some(*listed) == name).map(|(_, what)| *what)
        };
        if name(dictionary, b"Type") == Some(b"EmbeddedFile") || dictionary.has(b"EF") {
            return Some(Part::EmbeddedFile);
        }
        if dictionary.has(b"ByteRange") {
            return Some(Part::Signature);
        }
        if name(dictionary, b"Subtype") == Some(b"PS") {
            return Some(Part::Script);
        }
        if dictionary.has(b"Rect") {
            return listed(ANNOTATIONS, name(dictionary, b"Subtype"));
        }
        if !is_action(dictionary) {
            return None;
        }
        let kind = name(dictionary, b"S");
        match kind {
            Some(b"GoTo") => None,
            Some(b"URI") => {
                let address = self.value(dictionary, b"URI").and_then(|address| address.as_str().ok());
                (self.links == Links::Removed || !address.is_some_and(is_open)).then_some(Part::Link)
            }
            Some(b"Named") => {
                let turns = [&b"NextPage"[..], b"PrevPage", b"FirstPage", b"LastPage"];
                let is_turn = name(dictionary, b"N").is_some_and(|name| turns.contains(&name));
                (!is_turn).then_some(Part::Action)
            }
            kind => Some(listed(ACTIONS, kind).unwrap_or(Part::Action)),
        }
    }
}

/// Whether an address leads to where links may lead.
fn is_open(address: &[u8]) -> bool {
    let address = address.to_ascii_lowercase();
    [&b"https://"[..], b"http://", b"mailto:"].iter().any(|scheme| address.starts_with(scheme))
}

/// Whether a dictionary is an action: it says so, or has a kind that only actions have.
fn is_action(dictionary: &Dictionary) -> bool {
    let kind = name(dictionary, b"S");
    let is_known = kind.is_some_and(|kind| {
        matches!(kind, b"GoTo" | b"URI" | b"Named") || ACTIONS.iter().any(|(listed, _)| *listed == kind)
    });
    // Parts of a document's structure have kinds of any name, and parents.
    let is_structure =
        name(dictionary, b"Type") == Some(b"StructElem") || dictionary.has(b"P") && dictionary.has(b"K");
    name(dictionary, b"Type") == Some(b"Action") || is_known && !is_structure
}

fn name<'d>(dictionary: &'d Dictionary, key: &[u8]) -> Option<&'d [u8]> {
    dictionary.get(key).and_then(Object::as_name).ok()
}

fn keep(dictionary: &mut Dictionary, keys: &[&[u8]]) {
    let others: Vec<Vec<u8>> =
        dictionary.iter().map(|(key, _)| key.clone()).filter(|key| !keys.contains(&key.as_slice())).collect();
    for key in others {
        dictionary.remove(&key);
    }
}

fn references(object: &Object, found: &mut VecDeque<ObjectId>) {
    match object {
        Object::Reference(id) => found.push_back(*id),
        Object::Array(values) => values.iter().for_each(|value| references(value, found)),
        Object::Dictionary(dictionary) => dictionary.iter().for_each(|(_, value)| references(value, found)),
        Object::Stream(stream) => stream.dict.iter().for_each(|(_, value)| references(value, found)),
        _ => {}
    }
}

fn find_forbidden(object: &Object) -> Option<&[u8]> {
    let in_dictionary = |dictionary: &'_ Dictionary| -> Option<usize> {
        let kind = name(dictionary, b"S").filter(|_| is_action(dictionary));
        NEVER.iter().position(|never| {
            kind == Some(*never) || dictionary.has(never) && !is_named_resource(dictionary, never)
        })
    };
    let dictionary = match object {
        Object::Dictionary(dictionary) => dictionary,
        Object::Stream(stream) => &stream.dict,
        Object::Array(values) => return values.iter().find_map(find_forbidden),
        _ => return None,
    };
    match in_dictionary(dictionary) {
        Some(found) => Some(NEVER[found]),
        None => dictionary.iter().find_map(|(_, value)| find_forbidden(value)),
    }
}

/// Whether a key is one of a page's resources, which lie behind references.
fn is_named_resource(dictionary: &Dictionary, key: &[u8]) -> bool {
    matches!(dictionary.get(key), Ok(Object::Reference(_)))
}
