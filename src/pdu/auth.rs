//! Authorisation: whether a room's rules allow an event.
//!
//! [`auth_types`] names the state that decides; [`check_auth_independent`] judges an event by what it
//! refers to, once, on receipt; [`check_auth`] judges it by a state, up to three times: the state that
//! its auth events are, the state before it, the present state.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#authorisation-rules>

use std::collections::BTreeMap;

use ruma::{
    EventId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    state_res,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue as RawJsonValue;

use crate::{Draft, Pdu, RoomVersion, power::RoomPower};

/// Public keys of a third-party invite, and signatures of the proof that takes it up.
const MOST_PUBLIC_KEYS: usize = 20;
const MOST_PROOFS: usize = 10;

/// Why the rules do not allow an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    /// The sender is not joined.
    #[error("the sender is not joined to the room")]
    NotJoined,
    /// The sender's power does not suffice.
    #[error("the sender has not the power to send `{kind}`")]
    NotEnoughPower {
        /// The event type.
        kind: String,
    },
    /// The state key is the id of another user.
    #[error("the state key is the id of another user")]
    OthersStateKey,
    /// The room is closed to other servers and the sender is on one.
    #[error("the room is not federated")]
    NotFederated,
    /// An event that the rules must read cannot be read.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Another rule, in the rule's own words.
    #[error("{0}")]
    Rule(String),
}

impl AuthFailure {
    pub(crate) fn malformed(reason: &str) -> Self {
        Self::Malformed(reason.to_owned())
    }

    /// A sentence for the person who tried it.
    pub fn public(&self) -> &'static str {
        match self {
            Self::NotJoined => "このルームに参加していません。 / You are not in this room.",
            Self::NotEnoughPower { .. } => {
                "この操作をする権限がありません。 / You do not have the power to do this in this room."
            }
            Self::OthersStateKey => {
                "他の利用者の状態は変更できません。 / You cannot set another user's state."
            }
            Self::NotFederated => {
                "このルームは他のサーバーに公開されていません。 / This room is closed to other servers."
            }
            Self::Malformed(_) | Self::Rule(_) => {
                "ルームの規則により許可されていません。 / The rules of this room do not allow this."
            }
        }
    }
}

/// The state that decides whether an event is allowed, and that its auth events must be taken from.
///
/// # Errors
/// [`AuthFailure::Malformed`] when the content of a membership event cannot be read.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection>
pub fn auth_types(pdu: &Pdu) -> Result<Vec<(StateEventType, String)>, AuthFailure> {
    auth_types_of(pdu.version(), pdu.kind(), pdu.sender(), pdu.state_key(), pdu.content())
}

/// As [`auth_types`], for what is not yet an event.
///
/// # Errors
/// As [`auth_types`].
pub fn auth_types_of_draft(
    version: RoomVersion,
    draft: &Draft,
) -> Result<Vec<(StateEventType, String)>, AuthFailure> {
    auth_types_of(version, &draft.kind, &draft.sender, draft.state_key.as_deref(), &draft.content)
}

fn auth_types_of(
    version: RoomVersion,
    kind: &TimelineEventType,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawJsonValue,
) -> Result<Vec<(StateEventType, String)>, AuthFailure> {
    let rules = &version.rules().authorization;
    state_res::auth_types_for_event(kind, sender, state_key, content, rules).map_err(AuthFailure::Malformed)
}

/// Judges an event by the events it refers to; `fetch` finds them, marked with
/// [`Pdu::with_rejected`] if the room rejected them.
///
/// Auth events must be known, of the same room, accepted, wanted and without doubles; the create event
/// must be there, or in version 12 be the one that the room is named after.
///
/// # Errors
/// [`AuthFailure`]; the event is then rejected.
pub fn check_auth_independent(pdu: &Pdu, fetch: impl Fn(&EventId) -> Option<Pdu>) -> Result<(), AuthFailure> {
    if *pdu.kind() == TimelineEventType::RoomCreate {
        check_create(pdu)?;
    }
    let rules = &pdu.version().rules().authorization;
    state_res::check_state_independent_auth_rules(rules, pdu, fetch).map_err(AuthFailure::Rule)
}

/// A create event must be the one of its room and name the version by which we read it.
fn check_create(create: &Pdu) -> Result<(), AuthFailure> {
    if create.state_key() != Some("") {
        return Err(AuthFailure::Rule("the create event must have the empty state key".to_owned()));
    }
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        room_version: Option<String>,
    }
    let content =
        create.content_as::<Content>().map_err(|error| AuthFailure::Malformed(error.to_string()))?;
    let named = content.room_version.as_deref().unwrap_or("1");
    if named == create.version().as_str() {
        return Ok(());
    }
    Err(AuthFailure::Rule(format!("the create event names room version `{named}`")))
}

/// Judges an event by a state, which `state` looks up.
///
/// # Errors
/// [`AuthFailure`]
pub fn check_auth(
    pdu: &Pdu,
    state: &dyn Fn(&StateEventType, &str) -> Option<Pdu>,
) -> Result<(), AuthFailure> {
    if let Some(verdict) = check_ordinary(pdu, state) {
        return verdict;
    }
    check_by_all_rules(pdu, state)
}

pub(crate) fn check_by_all_rules(
    pdu: &Pdu,
    state: &dyn Fn(&StateEventType, &str) -> Option<Pdu>,
) -> Result<(), AuthFailure> {
    check_third_party_bounds(pdu)?;
    let rules = &pdu.version().rules().authorization;
    state_res::check_state_dependent_auth_rules(rules, pdu, state).map_err(AuthFailure::Rule)
}

/// Bounds what an invite of a third-party id may have us verify. The rules try each signature with each key, and two events of
/// 64 KiB hold so many that this took a minute; identity servers give two or three keys, and sign with one or two. Also state
/// resolution, which tries such an invite with other keys than it came with, meets none that passed these bounds.
fn check_third_party_bounds(pdu: &Pdu) -> Result<(), AuthFailure> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default)]
        public_keys: Option<Box<RawJsonValue>>,
    }
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        third_party_invite: Option<Invite>,
    }
    #[derive(Deserialize)]
    struct Invite {
        #[serde(default)]
        signed: Option<Signed>,
    }
    #[derive(Deserialize)]
    struct Signed {
        #[serde(default)]
        signatures: BTreeMap<String, Box<RawJsonValue>>,
    }
    let too_many = |what: &str| Err(AuthFailure::Rule(format!("a third-party invite has too many {what}")));
    match pdu.kind() {
        TimelineEventType::RoomThirdPartyInvite => {
            let keys = pdu.content_as::<Keys>().ok().and_then(|content| content.public_keys);
            // What is no list is refused where it is used.
            let count = keys.and_then(|keys| serde_json::from_str::<Vec<IgnoredAny>>(keys.get()).ok());
            if count.is_some_and(|keys| keys.len() > MOST_PUBLIC_KEYS) {
                return too_many("public keys");
            }
        }
        TimelineEventType::RoomMember if pdu.membership() == Some(&MembershipState::Invite) => {
            let malformed = |error: serde_json::Error| AuthFailure::Malformed(error.to_string());
            let content =
                pdu.content_as::<Content>().map_err(|error| AuthFailure::Malformed(error.to_string()))?;
            let signed = content.third_party_invite.and_then(|invite| invite.signed);
            let mut count = 0;
            for of_server in signed.iter().flat_map(|signed| signed.signatures.values()) {
                count += match of_server.get().starts_with('{') {
                    true => serde_json::from_str::<BTreeMap<String, IgnoredAny>>(of_server.get())
                        .map_err(malformed)?
                        .len(),
                    false => 1,
                };
            }
            if count > MOST_PROOFS {
                return too_many("signatures");
            }
        }
        _ => {}
    }
    Ok(())
}

/// The rules for events without rules of their own, on state that is parsed once and kept.
///
/// `None` leaves the event to the full rules: types with their own rules, and state that we cannot read.
fn check_ordinary(
    pdu: &Pdu,
    state: &dyn Fn(&StateEventType, &str) -> Option<Pdu>,
) -> Option<Result<(), AuthFailure>> {
    use TimelineEventType as Kind;
    let own_rules = matches!(
        pdu.kind(),
        Kind::RoomCreate | Kind::RoomMember | Kind::RoomPowerLevels | Kind::RoomThirdPartyInvite
    ) || *pdu.kind() == TimelineEventType::from("m.room.aliases");
    if own_rules {
        return None;
    }
    let create = state(&StateEventType::RoomCreate, "")?;
    let member = state(&StateEventType::RoomMember, pdu.sender().as_str());
    let levels = state(&StateEventType::RoomPowerLevels, "");

    let creation = create.creation().ok()?;
    if !creation.federate && create.sender().server_name() != pdu.sender().server_name() {
        return Some(Err(AuthFailure::NotFederated));
    }
    let joined = match &member {
        Some(member) => *member.membership()? == MembershipState::Join,
        None => false,
    };
    if !joined {
        return Some(Err(AuthFailure::NotJoined));
    }
    let power = RoomPower::new(create, levels).ok()?;
    if !power.may_send(pdu.sender(), pdu.kind(), pdu.state_key().is_some()) {
        return Some(Err(AuthFailure::NotEnoughPower { kind: pdu.kind().to_string() }));
    }
    if pdu.state_key().is_some_and(|key| key.starts_with('@') && key != pdu.sender().as_str()) {
        return Some(Err(AuthFailure::OthersStateKey));
    }
    Some(Ok(()))
}
