//! How a user appears in a room: what his member event says beside his membership.

pub use room::Profile;
use room::{read::event::name_of, tables::Membership};
use serde_json::{Map, Value};

/// Who granted a join to a restricted room, in the content of the join.
pub(crate) const GRANTING: &str = "join_authorised_via_users_server";

/// The content of a member event.
pub(crate) fn member_content(
    membership: Membership,
    profile: &Profile,
    reason: Option<&str>,
) -> Map<String, Value> {
    let mut content = Map::new();
    content.insert("membership".to_owned(), name_of(membership).into());
    if let Some(displayname) = &profile.displayname {
        content.insert("displayname".to_owned(), displayname.as_str().into());
    }
    if let Some(avatar_url) = &profile.avatar_url {
        content.insert("avatar_url".to_owned(), avatar_url.as_str().into());
    }
    if let Some(reason) = reason {
        content.insert("reason".to_owned(), reason.into());
    }
    content
}

/// A change of how a user appears; the rest stays as it is in each room, a nickname for one room too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileChange {
    /// The display name becomes this, or none.
    DisplayName(Option<String>),
    /// The address of the picture becomes this, or none.
    AvatarUrl(Option<String>),
}

impl ProfileChange {
    /// The content of a member event after the change.
    pub(crate) fn apply(&self, content: &str) -> Map<String, Value> {
        // These speak of how the user came in, once.
        const OF_THE_STEP: [&str; 4] =
            ["join_authorised_via_users_server", "third_party_invite", "reason", "is_direct"];
        let mut content: Map<String, Value> = serde_json::from_str(content).unwrap_or_default();
        content.retain(|key, _| !OF_THE_STEP.contains(&key.as_str()));
        content.insert("membership".to_owned(), name_of(Membership::Join).into());
        let (key, value) = match self {
            Self::DisplayName(value) => ("displayname", value),
            Self::AvatarUrl(value) => ("avatar_url", value),
        };
        match value {
            Some(value) => content.insert(key.to_owned(), value.as_str().into()),
            None => content.remove(key),
        };
        content
    }
}
