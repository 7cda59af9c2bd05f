//! PDF: what a page, its look, its links, its forms and its structure need is copied into a new file; nothing else is.
//!
//! The walk begins at the catalogue and reads each object as what leads to it says that it is ([`role`]): what an object
//! says of itself decides nothing. Of a dictionary only the keys stay that its role lists, each as what the list says;
//! actions that do more than turn pages or follow a link, and annotations that hold files or films, are left out with
//! the value that led to them. Object streams and incremental updates of the old file are gone, and so is whatever
//! nothing leads to.
//!
//! Names are compared after parsing (`/J#61vaScript` is `/JavaScript`) and after following references. At the end the new
//! objects are searched for what must not be there, by rules of their own: a way around the lists refuses the file. What
//! streams and texts hold is written so that no program, archive or page stands open in the new file ([`stream`]). What a page is
//! drawn by is counted, with all that draws others, so that the new file opens ([`drawn`]).
//!
//! Format: ISO 32000-2.

mod content;
mod copy;
mod drawn;
mod inline;
mod jbig2;
mod jpx;
mod role;
mod stream;

use lopdf::{Dictionary, Document, LoadOptions, Object};

use crate::{
    kind::two_types,
    settings::Settings,
    verdict::{Made, Part, Parts, Reason, Refusal, malformed, note},
};

/// Names that no new file holds as a key, but for those that programs gave their fonts and pictures.
const NEVER: &[&[u8]] = &[
    b"OpenAction",
    b"AA",
    b"JavaScript",
    b"JS",
    b"XFA",
    b"EmbeddedFiles",
    b"EF",
    b"FS",
    b"Win",
    b"RichMediaContent",
];

/// Kinds of actions that no new file holds.
const NO_ACTION: &[&[u8]] =
    &[b"JavaScript", b"Launch", b"SubmitForm", b"ImportData", b"GoToR", b"GoToE", b"Rendition"];

/// Makes a document anew.
pub(crate) fn sanitise(file: &[u8], settings: &Settings) -> Made {
    let most = usize::try_from(settings.limits.unpacked_bytes).unwrap_or(usize::MAX);
    let options = LoadOptions { max_decompressed_size: Some(most), ..LoadOptions::default() };
    // A document with a password for its owner only opens with an empty one, of itself.
    let old =
        Document::load_mem_with_options(file, options).map_err(|error| match has_password(file, &error) {
            true => Refusal::new(Reason::Encrypted, &error),
            // Something stands before the header, which was taken for what readers pass over.
            false if !file.starts_with(b"%PDF-") => two_types(),
            false => malformed(&error),
        })?;
    if old.is_encrypted() {
        return Err(Refusal::new(Reason::Encrypted, "the empty password does not open it"));
    }
    let pages = old.get_pages().len();
    if pages == 0 {
        return Err(malformed("no pages"));
    }
    let (mut new, mut removed) = copy::copied(&old, settings.links, &settings.limits)?;
    if old.trailer.has(b"Info") {
        note(&mut removed, Part::Metadata, "Info");
    }
    new.version = version(&old.version);
    if new.get_pages().len() != pages {
        return Err(malformed("pages were lost"));
    }
    if let Some(found) = new.objects.values().find_map(|object| find_forbidden(&new, object)) {
        return Err(Refusal::new(Reason::NotAllowed, format!("{} is left", String::from_utf8_lossy(found))));
    }
    drawn::check(&new)?;
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

/// What must not be in a new file.
fn find_forbidden<'o>(new: &Document, object: &'o Object) -> Option<&'o [u8]> {
    let dictionary = match object {
        Object::Dictionary(dictionary) => dictionary,
        Object::Stream(stream) => {
            // Data that lie in another file (7.3.8.2).
            if stream.dict.has(b"F") || stream.dict.has(b"FFilter") {
                return Some(b"F");
            }
            &stream.dict
        }
        Object::Array(values) => return values.iter().find_map(|value| find_forbidden(new, value)),
        _ => return None,
    };
    let is_structure = matches!(dictionary.get(b"Type"), Ok(Object::Name(name)) if name == b"StructElem")
        && !dictionary.has(b"D")
        && !dictionary.has(b"URI");
    if let Ok(Object::Name(kind)) = dictionary.get(b"S")
        && !is_structure
        && NO_ACTION.contains(&kind.as_slice())
    {
        return Some(kind);
    }
    dictionary.iter().find_map(|(key, value)| match is_harmful(new, key, value) {
        true => Some(key.as_slice()),
        false => find_forbidden(new, value),
    })
}

/// Whether a key that no new file holds has a value with which it does something: programs give any names to their fonts,
/// pictures and places.
fn is_harmful(new: &Document, key: &[u8], value: &Object) -> bool {
    let Ok((_, value)) = new.dereference(value) else { return false };
    NEVER.contains(&key)
        && match value {
            Object::Dictionary(dictionary) => !is_resource(dictionary),
            Object::Stream(stream) => matches!(key, b"JS" | b"XFA") && !is_resource(&stream.dict),
            Object::Array(_) => key == b"XFA",
            Object::String(..) => true,
            _ => false,
        }
}

/// Whether a dictionary is of a font, a picture or the like, by its own words: in a new file these have been looked at.
fn is_resource(dictionary: &Dictionary) -> bool {
    let name = |key: &[u8]| dictionary.get(key).and_then(Object::as_name).unwrap_or_default();
    matches!(name(b"Type"), b"Font" | b"ExtGState" | b"Pattern" | b"OCG")
        || matches!(name(b"Subtype"), b"Image" | b"Form")
}
