//! The walk: objects of the old file, read by their roles, written into a new one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lopdf::{Dictionary, Document, Object, ObjectId, Stream, StringFormat};

use super::{
    role::Role,
    stream::{Data, Filter, Packer},
};
use crate::{
    links::is_open,
    settings::{Limits, Links},
    verdict::{Part, Reason, Refusal, Removed, malformed, note},
};

/// An object may be written as several things, but a file has no use for more than twice what it holds.
const MOST_COPIES: usize = 2;

/// What is told of keys that are left out; of others nothing need be told.
const TOLD: &[(&[u8], Part)] = &[
    (b"AA", Part::Action),
    (b"OpenAction", Part::Action),
    (b"JS", Part::Script),
    (b"JavaScript", Part::Script),
    (b"PS", Part::Script),
    (b"XFA", Part::Form),
    (b"EF", Part::EmbeddedFile),
    (b"RF", Part::EmbeddedFile),
    (b"AF", Part::EmbeddedFile),
    (b"FS", Part::EmbeddedFile),
    (b"EmbeddedFiles", Part::EmbeddedFile),
    (b"Collection", Part::EmbeddedFile),
    (b"RichMediaContent", Part::Media),
    (b"RichMediaSettings", Part::Media),
    (b"3DD", Part::Media),
    (b"PieceInfo", Part::Metadata),
    (b"Metadata", Part::Metadata),
    (b"OPI", Part::ExternalData),
    (b"FFilter", Part::ExternalData),
    (b"FDecodeParms", Part::ExternalData),
    (b"Perms", Part::Signature),
];

/// Kinds of annotations that stay: they show something, or lead to a page or an address.
const SHOWING: &[&[u8]] = &[
    b"Text",
    b"Link",
    b"FreeText",
    b"Line",
    b"Square",
    b"Circle",
    b"Polygon",
    b"PolyLine",
    b"Highlight",
    b"Underline",
    b"Squiggly",
    b"StrikeOut",
    b"Caret",
    b"Stamp",
    b"Ink",
    b"Popup",
    b"Widget",
    b"Watermark",
    b"Redact",
    b"PrinterMark",
];

/// What the others hold.
const HOLDING: &[(&[u8], Part)] = &[
    (b"FileAttachment", Part::EmbeddedFile),
    (b"Sound", Part::Media),
    (b"Movie", Part::Media),
    (b"Screen", Part::Media),
    (b"3D", Part::Media),
    (b"RichMedia", Part::Media),
];

/// What actions that do not stay are.
const ACTING: &[(&[u8], Part)] = &[
    (b"JavaScript", Part::Script),
    (b"Sound", Part::Media),
    (b"Movie", Part::Media),
    (b"Rendition", Part::Media),
    (b"GoTo3DView", Part::Media),
    (b"RichMediaExecute", Part::Media),
];

/// The new document, with what was left out.
///
/// # Errors
/// [`Reason::Malformed`] without a catalogue; [`Reason::NotAllowed`] when objects are read as too many things;
/// [`Reason::Expansion`] when what streams hold is too much.
pub(super) fn copied(
    old: &Document,
    links: Links,
    limits: &Limits,
) -> Result<(Document, Vec<Removed>), Refusal> {
    let root = old.trailer.get(b"Root").and_then(Object::as_reference).map_err(malformed)?;
    let pages: BTreeSet<ObjectId> = old.get_pages().into_values().collect();
    let mut copier = Copier {
        old,
        links,
        pages,
        ids: BTreeMap::new(),
        waiting: VecDeque::new(),
        removed: Vec::new(),
        packer: Packer::new(limits),
    };
    let most = MOST_COPIES * old.objects.len() + 100;
    let size = |object: &Object| object.as_stream().map_or(0, |stream| stream.content.len());
    // All that streams hold once more, and no stream thirty times.
    let most_again: usize = old.objects.values().map(size).sum();
    let (mut written, mut again) = (BTreeSet::new(), 0);
    let mut new = Document::with_version("1.7");
    let root = copier.id_of(root, Role::Catalogue);
    while let Some((id, role)) = copier.waiting.pop_front() {
        let place = copier.id_of(id, role);
        // A reference to nothing is null (7.3.10).
        let object = old.objects.get(&id).unwrap_or(&Object::Null);
        if matches!(object, Object::Stream(_)) && !written.insert(id) {
            again += size(object);
        }
        if copier.ids.len() > most || again > most_again {
            return Err(Refusal::new(Reason::NotAllowed, "objects are read as too many things"));
        }
        let object = match object {
            Object::Stream(stream) => copier.stream(stream, role)?,
            object => copier.copy(object, role).unwrap_or(Object::Null),
        };
        new.objects.insert(place, object);
    }
    new.max_id = u32::try_from(copier.ids.len()).unwrap_or(u32::MAX);
    new.trailer.set("Root", Object::Reference(root));
    Ok((new, copier.removed))
}

struct Copier<'a> {
    old: &'a Document,
    links: Links,
    /// The pages that are shown: nothing leads to others.
    pages: BTreeSet<ObjectId>,
    /// What is written, and where.
    ids: BTreeMap<(ObjectId, Role), ObjectId>,
    waiting: VecDeque<(ObjectId, Role)>,
    removed: Vec<Removed>,
    packer: Packer<'a>,
}

impl Copier<'_> {
    fn id_of(&mut self, id: ObjectId, role: Role) -> ObjectId {
        let next = (u32::try_from(self.ids.len() + 1).unwrap_or(u32::MAX), 0);
        *self.ids.entry((id, role)).or_insert_with(|| {
            self.waiting.push_back((id, role));
            next
        })
    }

    fn resolve<'o>(&self, object: &'o Object) -> Option<(Option<ObjectId>, &'o Object)>
    where
        Self: 'o,
    {
        self.old.dereference(object).ok()
    }

    fn name<'o>(&self, dictionary: &'o Dictionary, key: &[u8]) -> Option<&'o [u8]>
    where
        Self: 'o,
    {
        self.resolve(dictionary.get(key).ok()?).and_then(|(_, name)| name.as_name().ok())
    }

    fn leads_to_dictionary(&self, dictionary: &Dictionary, key: &[u8]) -> bool {
        let value = dictionary.get(key).ok().and_then(|value| self.resolve(value));
        matches!(value, Some((_, Object::Dictionary(_))))
    }

    /// What stays of a value that is, or leads to, a thing of this role.
    fn value(&mut self, value: &Object, role: Role) -> Option<Object> {
        let old = self.old;
        let (id, object) = old.dereference(value).ok()?;
        match object {
            // In their place: what is compared is never a reference.
            Object::Null
            | Object::Boolean(_)
            | Object::Integer(_)
            | Object::Real(_)
            | Object::Name(_)
            | Object::String(..) => self.plain(object, role),
            Object::Reference(_) => None,
            Object::Array(_) => match id {
                Some(id) => Some(Object::Reference(self.id_of(id, role))),
                None => self.copy(object, role),
            },
            Object::Dictionary(dictionary) => self.admitted(dictionary, false, id, role, object),
            Object::Stream(stream) => self.admitted(&stream.dict, true, id, role, object),
        }
    }

    fn admitted(
        &mut self,
        dictionary: &Dictionary,
        is_stream: bool,
        id: Option<ObjectId>,
        role: Role,
        object: &Object,
    ) -> Option<Object> {
        let role = self.admit(dictionary, is_stream, id, role)?;
        match id {
            Some(id) => Some(Object::Reference(self.id_of(id, role))),
            None => self.copy(object, role),
        }
    }

    fn plain(&mut self, object: &Object, role: Role) -> Option<Object> {
        let stays = match role {
            Role::Number => matches!(object, Object::Integer(_) | Object::Real(_)),
            Role::Numbers => {
                matches!(object, Object::Integer(_) | Object::Real(_) | Object::Boolean(_) | Object::Null)
            }
            Role::Address => object.as_str().is_ok_and(leads_openly),
            _ => true,
        };
        stays.then(|| match object {
            // Nothing that a page or a program could be made of stands open in the new file.
            Object::String(text, _) if !is_bare(text) => {
                Object::String(text.clone(), StringFormat::Hexadecimal)
            }
            Object::String(text, _) => Object::String(text.clone(), StringFormat::Literal),
            object => object.clone(),
        })
    }

    /// What a dictionary is, of what leads to it; nothing if it does not stay, which is noted.
    fn admit(
        &mut self,
        dictionary: &Dictionary,
        is_stream: bool,
        id: Option<ObjectId>,
        role: Role,
    ) -> Option<Role> {
        let is_shown = |id: Option<ObjectId>| id.is_some_and(|id| self.pages.contains(&id));
        match role {
            Role::Plain | Role::Number | Role::Numbers | Role::Address => {
                self.note_left_out(dictionary);
                None
            }
            Role::Facts => (!is_stream).then_some(Role::Facts),
            Role::PageTree if is_shown(id) => Some(Role::Page),
            Role::PageTree => (!is_stream && dictionary.has(b"Kids")).then_some(Role::PageTree),
            Role::Page => is_shown(id).then_some(Role::Page),
            Role::Destination if is_shown(id) => Some(Role::Page),
            Role::Destination => dictionary.has(b"D").then_some(Role::Destination),
            Role::XObject => match self.name(dictionary, b"Subtype") {
                Some(b"Image") if is_stream => Some(Role::Image),
                Some(b"Form") if is_stream => Some(Role::Form),
                _ => {
                    note(&mut self.removed, Part::Script, "XObject");
                    None
                }
            },
            Role::Image | Role::Form | Role::Content | Role::Globals | Role::Data => {
                is_stream.then_some(role)
            }
            // A look is drawn, or there is one for each state.
            Role::Appearance if is_stream => Some(Role::Form),
            Role::Action => self.admit_action(dictionary),
            Role::Annotation => self.admit_annotation(dictionary, is_stream),
            Role::Element if self.name(dictionary, b"Type") == Some(b"StructTreeRoot") => {
                Some(Role::Structure)
            }
            // Of a structure's tree of numbers, elements; of a document's, labels of pages, which have a text there.
            Role::NumberTree if self.leads_to_dictionary(dictionary, b"P") => Some(Role::Element),
            role => Some(role),
        }
    }

    fn admit_action(&mut self, dictionary: &Dictionary) -> Option<Role> {
        let kind = self.name(dictionary, b"S");
        let left_out = match kind {
            Some(b"GoTo") => None,
            Some(b"URI") => {
                let address = dictionary.get(b"URI").ok().and_then(|address| self.resolve(address));
                let is_open = address.is_some_and(|(_, address)| address.as_str().is_ok_and(leads_openly));
                (self.links == Links::Removed || !is_open).then_some(Part::Link)
            }
            Some(b"Named") => {
                let turns = [&b"NextPage"[..], b"PrevPage", b"FirstPage", b"LastPage"];
                let is_turn = self.name(dictionary, b"N").is_some_and(|name| turns.contains(&name));
                (!is_turn).then_some(Part::Action)
            }
            kind => Some(listed(ACTING, kind).unwrap_or(Part::Action)),
        };
        match left_out {
            Some(what) => {
                note(&mut self.removed, what, "");
                None
            }
            None => Some(Role::Action),
        }
    }

    fn admit_annotation(&mut self, dictionary: &Dictionary, is_stream: bool) -> Option<Role> {
        if is_stream {
            return None;
        }
        if dictionary.has(b"ByteRange") {
            note(&mut self.removed, Part::Signature, "");
            return None;
        }
        if self.is_hidden(dictionary) {
            note(&mut self.removed, Part::Hidden, "");
            return None;
        }
        let kind = self.name(dictionary, b"Subtype");
        // A field without a look of its own has no kind.
        if kind.is_none_or(|kind| SHOWING.contains(&kind)) {
            return Some(Role::Annotation);
        }
        note(&mut self.removed, listed(HOLDING, kind).unwrap_or(Part::UnknownPart), "");
        None
    }

    /// Whether an annotation is neither shown nor printed (12.5.3), so that whoever passes the file on does not know of it.
    ///
    /// Fields that a form hides stay: it shows them by its state, computes with them, and whoever gets it back reads them; without
    /// them it is another form. So do the states that a review gave to a note: programs hide them on the page and tell them
    /// beside the note (12.5.6.3). A window of a note that goes, goes with it.
    fn is_hidden(&self, dictionary: &Dictionary) -> bool {
        const HIDDEN: i64 = 1 << 1;
        const PRINTED: i64 = 1 << 2;
        const NOT_VIEWED: i64 = 1 << 5;
        let value = |key: &[u8]| dictionary.get(key).ok().and_then(|value| self.resolve(value));
        let kind = self.name(dictionary, b"Subtype");
        if kind == Some(b"Popup") {
            let note = value(b"Parent").and_then(|(_, note)| note.as_dict().ok());
            let is_note = |note: &&Dictionary| self.name(note, b"Subtype") != Some(b"Popup");
            return note.filter(is_note).is_some_and(|note| self.is_hidden(note));
        }
        let is_state = dictionary.has(b"IRT") && dictionary.has(b"StateModel");
        if is_state || matches!(kind, None | Some(b"Widget")) {
            return false;
        }
        let flags = value(b"F").and_then(|(_, flags)| flags.as_i64().ok()).unwrap_or(0);
        flags & HIDDEN != 0 || flags & NOT_VIEWED != 0 && flags & PRINTED == 0
    }

    /// Copies an object of this role, in its place.
    fn copy(&mut self, object: &Object, role: Role) -> Option<Object> {
        match object {
            Object::Array(values) => {
                let mut kept = Vec::with_capacity(values.len());
                for value in values {
                    match self.value(value, role) {
                        Some(value) => kept.push(value),
                        // A list of numbers is one, or it is none.
                        None if role == Role::Numbers => return None,
                        // In lists of things one less is one less; in others each has its place.
                        None if is_list_of_things(role) => {}
                        None => kept.push(Object::Null),
                    }
                }
                Some(Object::Array(kept))
            }
            Object::Dictionary(dictionary) => Some(Object::Dictionary(self.dictionary(dictionary, role))),
            // Each stream is an object of its own (7.3.8.1).
            Object::Stream(_) => None,
            other => self.plain(other, role),
        }
    }

    /// Copies a stream of this role.
    fn stream(&mut self, stream: &Stream, role: Role) -> Result<Object, Refusal> {
        let kept = self.dictionary(&stream.dict, role);
        // Data of a stream that lie in another file (7.3.8.2).
        let data = match stream.dict.has(b"F") {
            true => {
                note(&mut self.removed, Part::ExternalData, "stream");
                Data { filters: Vec::new(), content: Vec::new() }
            }
            false => Data { filters: self.filters(&stream.dict), content: stream.content.clone() },
        };
        self.packer.stream(kept, data, role, &mut self.removed).map(Object::Stream)
    }

    /// The values of a key that has one or a list of them.
    fn one_or_all<'o>(&self, dictionary: &'o Dictionary, key: &[u8]) -> Vec<&'o Object>
    where
        Self: 'o,
    {
        match dictionary.get(key).ok().and_then(|value| self.resolve(value)) {
            Some((_, Object::Array(values))) => values.iter().collect(),
            Some((_, Object::Null)) | None => Vec::new(),
            Some((_, value)) => vec![value],
        }
    }

    /// How a stream is packed, the outermost first.
    fn filters(&mut self, dictionary: &Dictionary) -> Vec<Filter> {
        let names = self.one_or_all(dictionary, b"Filter");
        let mut parameters = self.one_or_all(dictionary, b"DecodeParms").into_iter();
        let mut filters = Vec::with_capacity(names.len());
        for name in names {
            let name = self.resolve(name).and_then(|(_, name)| name.as_name().ok());
            let told = parameters.next().and_then(|told| self.value(told, Role::Parameters));
            let told = told.filter(|told| matches!(told, Object::Dictionary(_) | Object::Reference(_)));
            filters.push((name.unwrap_or_default().to_vec(), told));
        }
        filters
    }

    fn dictionary(&mut self, dictionary: &Dictionary, role: Role) -> Dictionary {
        let mut kept = Dictionary::new();
        for (key, value) in dictionary {
            match role.of(key) {
                Some(inner) => match self.value(value, inner) {
                    Some(value) => kept.set(key.clone(), value),
                    None if inner == Role::Numbers => {
                        note(&mut self.removed, Part::UnknownPart, String::from_utf8_lossy(key));
                    }
                    None => {}
                },
                None => self.note_key(key, value),
            }
        }
        kept
    }

    /// Tells of what is left out with a key, if there is anything to tell.
    fn note_key(&mut self, key: &[u8], value: &Object) {
        if let Some(what) = listed(TOLD, Some(key)) {
            note(&mut self.removed, what, String::from_utf8_lossy(key));
            return;
        }
        let old = self.old;
        match old.dereference(value) {
            Ok((_, Object::Dictionary(dictionary))) => self.note_left_out(dictionary),
            Ok((_, Object::Stream(stream))) => self.note_left_out(&stream.dict),
            _ => {}
        }
    }

    /// The same of a dictionary that does not stay.
    fn note_left_out(&mut self, dictionary: &Dictionary) {
        let kind = self.name(dictionary, b"Type");
        if kind == Some(b"EmbeddedFile") || dictionary.has(b"EF") {
            note(&mut self.removed, Part::EmbeddedFile, "");
        } else if dictionary.has(b"ByteRange") {
            note(&mut self.removed, Part::Signature, "");
        } else if dictionary.has(b"JS") {
            note(&mut self.removed, Part::Script, "");
        } else if kind == Some(b"Action") || listed(ACTING, self.name(dictionary, b"S")).is_some() {
            note(&mut self.removed, Part::Action, "");
        }
    }
}

/// Whether a role's array is a list of such things, and nothing else is in it.
fn is_list_of_things(role: Role) -> bool {
    matches!(
        role,
        Role::Annotation | Role::PageTree | Role::Content | Role::Layer | Role::OutputIntent | Role::Element
    )
}

/// Whether an address leads to where links may lead. It has letters of seven bits (12.6.4.8), and in what people make others.
fn leads_openly(address: &[u8]) -> bool {
    is_open(&String::from_utf8_lossy(address))
}

/// Whether a text may be written as it is: letters, digits and the signs of addresses.
fn is_bare(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b" _.,:;/?&@#+-*'!~".contains(byte))
}

fn listed(list: &[(&[u8], Part)], name: Option<&[u8]>) -> Option<Part> {
    list.iter().find(|(listed, _)| Some(*listed) == name).map(|(_, what)| *what)
}
