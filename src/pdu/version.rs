//! Room versions: which ones we know and what each of them changes.

use std::fmt;

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

/// A room version that this crate knows the rules of: 3 to 12.
///
/// A small copyable value; the rules themselves are constants.
///
/// Spec: <https://spec.matrix.org/v1.19/rooms/>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomVersion(u8);

/// A room version that we have no rules for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("room version `{0}` is not supported")]
pub struct UnsupportedVersion(pub String);

const FIRST: u8 = 3;

static RULES: [RoomVersionRules; 10] = [
    RoomVersionRules::V3,
    RoomVersionRules::V4,
    RoomVersionRules::V5,
    RoomVersionRules::V6,
    RoomVersionRules::V7,
    RoomVersionRules::V8,
    RoomVersionRules::V9,
    RoomVersionRules::V10,
    RoomVersionRules::V11,
    RoomVersionRules::V12,
];

impl RoomVersion {
    /// Room version 3.
    pub const V3: Self = Self(3);
    /// Room version 4.
    pub const V4: Self = Self(4);
    /// Room version 5.
    pub const V5: Self = Self(5);
    /// Room version 6.
    pub const V6: Self = Self(6);
    /// Room version 7.
    pub const V7: Self = Self(7);
    /// Room version 8.
    pub const V8: Self = Self(8);
    /// Room version 9.
    pub const V9: Self = Self(9);
    /// Room version 10.
    pub const V10: Self = Self(10);
    /// Room version 11.
    pub const V11: Self = Self(11);
    /// Room version 12.
    pub const V12: Self = Self(12);

    /// The version for new rooms when nobody chose another one.
    pub const DEFAULT: Self = Self::V12;

    /// Every version that we can take part in, oldest first.
    pub const SUPPORTED: [Self; 10] = [
        Self::V3,
        Self::V4,
        Self::V5,
        Self::V6,
        Self::V7,
        Self::V8,
        Self::V9,
        Self::V10,
        Self::V11,
        Self::V12,
    ];

    /// The version with this identifier.
    ///
    /// # Errors
    /// [`UnsupportedVersion`] when it is not one of [`Self::SUPPORTED`].
    pub fn parse(id: &str) -> Result<Self, UnsupportedVersion> {
        Self::SUPPORTED
            .into_iter()
            .find(|version| version.as_str() == id)
            .ok_or_else(|| UnsupportedVersion(id.to_owned()))
    }

    /// The identifier as it stands in `content.room_version`.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            3 => "3",
            4 => "4",
            5 => "5",
            6 => "6",
            7 => "7",
            8 => "8",
            9 => "9",
            10 => "10",
            11 => "11",
            _ => "12",
        }
    }

    /// The identifier as ruma's type.
    pub fn id(self) -> RoomVersionId {
        match self.0 {
            3 => RoomVersionId::V3,
            4 => RoomVersionId::V4,
            5 => RoomVersionId::V5,
            6 => RoomVersionId::V6,
            7 => RoomVersionId::V7,
            8 => RoomVersionId::V8,
            9 => RoomVersionId::V9,
            10 => RoomVersionId::V10,
            11 => RoomVersionId::V11,
            _ => RoomVersionId::V12,
        }
    }

    /// What this version does differently from others.
    pub fn rules(self) -> &'static RoomVersionRules {
        &RULES[usize::from(self.0 - FIRST)]
    }

    /// Whether numbers must be integers of JavaScript's safe range (version 6 and later).
    pub fn has_strict_json(self) -> bool {
        self.rules().authorization.strict_canonical_json
    }

    /// Whether the room id is the create event's id (version 12 and later).
    pub fn has_hashed_room_id(self) -> bool {
        self.rules().authorization.room_create_event_id_as_room_id
    }

    /// Whether `redacts` stands in `content` (version 11 and later) instead of beside it.
    pub fn has_redacts_in_content(self) -> bool {
        self.rules().redaction.content_field_redacts
    }
}

impl TryFrom<&RoomVersionId> for RoomVersion {
    type Error = UnsupportedVersion;

    fn try_from(id: &RoomVersionId) -> Result<Self, UnsupportedVersion> {
        Self::parse(id.as_str())
    }
}

impl std::str::FromStr for RoomVersion {
    type Err = UnsupportedVersion;

    fn from_str(id: &str) -> Result<Self, UnsupportedVersion> {
        Self::parse(id)
    }
}

impl fmt::Display for RoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomVersion({})", self.0)
    }
}

impl serde::Serialize for RoomVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for RoomVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        Self::parse(&id).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_supported_version_has_its_own_rules_and_reads_back() {
        for version in RoomVersion::SUPPORTED {
            assert_eq!(RoomVersion::parse(version.as_str()).unwrap(), version);
            assert_eq!(version.id().as_str(), version.as_str());
            let ours = format!("{:?}", version.rules());
            assert_eq!(ours, format!("{:?}", version.id().rules().unwrap()));
        }
    }

    #[test]
    fn an_unknown_version_is_an_error() {
        for id in ["", "1", "2", "13", "03", "org.example.new", "１２"] {
            assert_eq!(RoomVersion::parse(id), Err(UnsupportedVersion(id.to_owned())));
        }
    }
}
