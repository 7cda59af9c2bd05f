//! Addresses: where links may lead.

/// Whether an address leads to where links may lead.
pub(super) fn is_open(address: &str) -> bool {
    let address = address.trim().to_ascii_lowercase();
    ["https://", "http://", "mailto:"].iter().any(|scheme| address.starts_with(scheme))
}

/// Whether what stands behind `#` is a place of the document: it has nothing that paths and other books have.
pub(super) fn is_inside(place: &str) -> bool {
    let place = place.to_ascii_lowercase();
    !place.contains(['[', ']', '\\'])
        && !["//", "file:", "script:", ":/"].iter().any(|sign| place.contains(sign))
}
