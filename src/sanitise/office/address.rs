//! Addresses: where links within a document may lead. Others are [`crate::links`]'s.

/// Whether what stands behind `#` is a place of the document: it has nothing that paths and other books have.
pub(super) fn is_inside(place: &str) -> bool {
    let place = place.to_ascii_lowercase();
    !place.contains(['[', ']', '\\'])
        && !["//", "file:", "script:", ":/"].iter().any(|sign| place.contains(sign))
}
