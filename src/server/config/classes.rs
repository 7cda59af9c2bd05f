//! Keys about what people of a class of employment (任用区分) may.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{AuthorityConfig, Config, found::Found};
use crate::texts::tr;

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

fn yes() -> bool {
    true
}

/// What is wrong with what the authority of this number says of classes.
pub(super) fn check_classes(config: &Config, authority: &AuthorityConfig, index: usize, found: &mut Found) {
    for (class, rights) in &authority.classes {
        let key = |part: &str| format!("authorities.{index}.classes.{}.{part}", class_key(*class));
        let mut zones_of = |part: &str, zones: &[String]| {
            for zone in zones.iter().filter(|zone| !config.zones.contains_key(*zone)) {
                found.wrong(key(part), tr!("[zones.{zone}] がありません", "there is no [zones.{zone}]"));
            }
        };
        zones_of("sign_in_from", rights.sign_in_from.as_deref().unwrap_or_default());
        zones_of("no_factor_from", &rights.no_factor_from);
        if rights.factor == ClassFactor::None && !rights.no_factor_from.is_empty() {
            found.contradiction(
                key("no_factor_from"),
                vec![key("factor")],
                tr!(
                    "`factor = \"required\"` のときだけ意味があります",
                    "it means something with `factor = \"required\"` alone"
                ),
            );
        }
        if rights.factor == ClassFactor::Required && authority.account_page().is_none() {
            found.contradiction(
                key("factor"),
                vec![format!("authorities.{index}.client_url"), format!("authorities.{index}.oauth")],
                factors_need_pages(),
            );
        }
    }
}

pub(super) fn factors_need_pages() -> String {
    tr!(
        "二要素認証はブラウザーの画面で行うため、https:// で始まる `client_url` と `oauth` が必要です",
        "second factors are shown on pages: `client_url` with https:// and `oauth` are needed"
    )
}

/// The word for a class in a configuration.
fn class_key(class: intake::Class) -> String {
    let word = serde_json::to_value(class).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
