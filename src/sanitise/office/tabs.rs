//! What a workbook says of its sheets by their places, where some of them are gone: Excel takes a place that there is none of
//! for damage, and another sheet's for its own.

use std::borrow::Cow;

use quick_xml::{
    XmlVersion,
    events::{BytesStart, Event, attributes::Attribute},
};

use super::spaces::Space;

/// Attributes that name a sheet by its place, and their elements.
const PLACED: &[(&str, &[u8])] =
    &[("definedName", b"localSheetId"), ("workbookView", b"activeTab"), ("workbookView", b"firstSheet")];

/// The places of sheets that are gone, in their order.
#[derive(Default)]
pub(super) struct Tabs(Vec<usize>);

impl Tabs {
    /// Of a workbook's part; `is_gone` says whether a sheet is.
    pub(super) fn new(
        events: &[Event<'_>],
        spaces: &[Space],
        is_gone: impl Fn(&BytesStart<'_>) -> bool,
    ) -> Self {
        let sheets = events.iter().zip(spaces).filter_map(|(event, space)| match event {
            Event::Start(element) | Event::Empty(element)
                if *space == Space::Office && element.local_name().as_ref() == b"sheet" =>
            {
                Some(element)
            }
            _ => None,
        });
        Self(sheets.enumerate().filter(|(_, sheet)| is_gone(sheet)).map(|(place, _)| place).collect())
    }

    /// Whether the sheet of a place is gone.
    pub(super) fn is_gone(&self, place: &str) -> bool {
        place.parse().is_ok_and(|place| self.0.binary_search(&place).is_ok())
    }

    /// An attribute that names a sheet whose place is another now; without a value if that sheet is gone, so that programs take
    /// the first one. Nothing where it stays.
    pub(super) fn moved<'a>(&self, element: &str, one: &Attribute<'a>) -> Option<Option<Attribute<'a>>> {
        if self.0.is_empty() || !PLACED.contains(&(element, one.key.as_ref())) {
            return None;
        }
        let place = one.normalized_value(XmlVersion::Implicit1_0).ok()?.parse().ok()?;
        let before = self.0.partition_point(|gone| *gone < place);
        let moved = (place - before).to_string().into_bytes();
        let stays = self.0.binary_search(&place).is_err();
        Some(stays.then_some(Attribute { key: one.key, value: Cow::Owned(moved) }))
    }
}
