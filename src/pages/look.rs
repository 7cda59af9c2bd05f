//! The look of all pages: one style sheet, named by its own hash.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The style sheet.
pub(crate) const CSS: &str = include_str!("look.css");

/// The icon of a tab: a house with a door. Without one, browsers ask for a file that is not there.
pub(crate) const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#0b5394" d="M16 3 2 13v3h3v13h22V16h3v-3z"/><path fill="#fff" d="M13 19h6v10h-6z"/></svg>"##;
pub(crate) const ICON_PATH: &str = "/_yakuba/icon.svg";

/// Where it is. Another look has another path, so it may be kept for ever.
pub(crate) static CSS_PATH: LazyLock<String> = LazyLock::new(|| {
    let hash = Sha256::digest(CSS.as_bytes());
    let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/_yakuba/look-{name}.css")
});
