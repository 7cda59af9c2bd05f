//! The look of all pages: one style sheet, named by its own hash.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The style sheet.
pub(crate) const CSS: &str = include_str!("look.css");

/// Where it is. Another look has another path, so it may be kept for ever.
pub(crate) static CSS_PATH: LazyLock<String> = LazyLock::new(|| {
    let hash = Sha256::digest(CSS.as_bytes());
    let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/_yakuba/look-{name}.css")
});
