//! Keys about what people of a class of employment (任用区分) may.

use serde::{Deserialize, Serialize};

/// What people of a class may. Everything, unless something is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// The zones from which they sign in; unset, everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_from: Option<Vec<String>>,
    /// Which rooms they make.
    #[serde(default)]
    pub make_rooms: MakeRooms,
    /// Whether they list rooms in the directory.
    #[serde(default = "yes")]
    pub publish_rooms: bool,
    /// Whether they invite users of other authorities.
    #[serde(default = "yes")]
    pub invite_outside: bool,
    /// Whether they send files.
    #[serde(default = "yes")]
    pub upload: bool,
}

/// Which rooms people of a class make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MakeRooms {
    /// All.
    #[default]
    All,
    /// Rooms for talking with one other person.
    Direct,
    /// None.
    None,
}

fn yes() -> bool {
    true
}

/// The word for a class in a configuration.
pub(super) fn class_key(class: intake::Class) -> String {
    let word = serde_json::to_value(class).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
