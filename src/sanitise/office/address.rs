//! Addresses: where links may lead.

/// Whether an address leads to where links may lead.
pub(super) fn is_open(address: &str) -> bool {
    let address = address.trim().to_ascii_lowercase();
    ["https://", "http://", "mailto:"].iter().any(|scheme| address.starts_with(scheme))
}
