//! Keys about what people of a class of employment (任用区分) may.

use std::num::{NonZeroU16, NonZeroUsize};

use serde::{Deserialize, Serialize};

/// What people of a class may. Everything, unless something is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// The zones from which they sign in; unset, everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_from: Option<Vec<String>>,
    /// Whether they have to have a second factor, whatever `factors.required` says.
    #[serde(default)]
    pub factor: ClassFactor,
    /// The zones from which they need none all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_factor_from: Vec<String>,
    /// On how many devices they are signed in; unset, on as many as they wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<NonZeroUsize>,
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
    /// In which form they are given files, if that is narrower than their zone has it.
    #[serde(default)]
    pub files: ClassFiles,
    /// How many days back they read; unset, as far as everybody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_days: Option<NonZeroU16>,
}

impl Default for ClassConfig {
    fn default() -> Self {
        Self {
            sign_in_from: None,
            factor: ClassFactor::None,
            no_factor_from: Vec::new(),
            devices: None,
            make_rooms: MakeRooms::All,
            publish_rooms: true,
            invite_outside: true,
            upload: true,
            files: ClassFiles::Originals,
            history_days: None,
        }
    }
}

/// Whether people of a class have to have a second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassFactor {
    /// As far as `factors.required` says.
    #[default]
    None,
    /// They have to.
    Required,
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

/// In which form people of a class are given files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassFiles {
    /// As their zone has it.
    #[default]
    Originals,
    /// Sanitised alone.
    Sanitised,
    /// In none.
    None,
}

fn yes() -> bool {
    true
}
