//! [`Source`]: the old document, and what is said of what did not come out of it.
//!
//! Both families of formats begin their walks with it.

use crate::{
    kind::Kind,
    outcome::{Outcome, Verdict},
    picture::placeholder,
    settings::Settings,
    verdict::{Part, Reason, Refusal, Removed, malformed, note},
    zip::{Archive, Budget},
};

pub(super) struct Source<'a, F> {
    pub(super) archive: &'a Archive<'a>,
    pub(super) budget: &'a Budget,
    pub(super) settings: &'a Settings,
    /// Takes a picture's bytes.
    sanitise: F,
    pub(super) removed: Vec<Removed>,
}

/// How a drawing of Windows is called: by its begin, and where it is packed by its name.
pub(super) fn drawing(name: &str, bytes: &[u8]) -> &'static str {
    let is_packed = bytes.starts_with(b"\x1f\x8b") && name.to_ascii_lowercase().ends_with(".emz");
    if is_packed || bytes.starts_with(&[1, 0, 0, 0]) { "EMF" } else { "WMF" }
}

/// A picture of the new document.
pub(super) struct Picture {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

impl<'a, F: FnMut(&[u8]) -> Outcome> Source<'a, F> {
    pub(super) fn new(
        archive: &'a Archive<'a>,
        budget: &'a Budget,
        settings: &'a Settings,
        sanitise: F,
    ) -> Self {
        Self { archive, budget, settings, sanitise, removed: Vec::new() }
    }

    /// What an entry holds.
    pub(super) fn file(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let entry = self.archive.find(name).ok_or_else(|| malformed(format!("no {name}")))?;
        self.archive.unpack(entry, self.budget)
    }

    /// Notes what is left behind.
    pub(super) fn note(&mut self, what: Part, place: impl Into<String>) {
        note(&mut self.removed, what, place);
    }

    /// A picture made anew, or what stands in its place; none where nothing has to. `label` names a drawing that cannot be
    /// checked by its first bytes, if it is to be missed at all.
    pub(super) fn picture(
        &mut self,
        old: &str,
        label: impl FnOnce(&[u8]) -> Option<&'static str>,
    ) -> Result<Option<Picture>, Refusal> {
        let bytes = self.file(old)?;
        let Outcome { kind, verdict, .. } = (self.sanitise)(&bytes);
        let is_picture = kind.is_some_and(|kind| kind.content_type().starts_with("image/"));
        let (kind, bytes) = match (kind, verdict) {
            (Some(kind), Verdict::Clean) if is_picture => (kind, bytes),
            (Some(kind), Verdict::Rebuilt { bytes, removed }) if is_picture => {
                removed.into_iter().for_each(|one| self.note(one.what, old));
                (kind, bytes)
            }
            (_, verdict) => {
                let Some(label) = label(&bytes) else { return Ok(None) };
                self.note(Part::Drawing, old);
                // A PNG is beside each of these.
                if matches!(verdict, Verdict::Refused(refusal) if refusal.reason == Reason::Svg) {
                    return Ok(None);
                }
                (Kind::Png, placeholder(label))
            }
        };
        let end = old.rsplit_once('.').map_or("", |(_, end)| end);
        let fits = kind.name_for(&format!("x.{end}")) == format!("x.{end}");
        let name = if fits { old.to_owned() } else { format!("{old}.{}", kind.extension()) };
        Ok(Some(Picture { name, kind, bytes }))
    }
}
