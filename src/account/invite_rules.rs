//! Whose invites users take, as they say in their account data.
//!
//! Two settings count: the specification's, which takes invites of everybody or of nobody, and that of MSC4155, which
//! tells people and servers apart. Who blocks an invite has it refused; who ignores one is not shown it, and the one who
//! sends it hears nothing.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#invite-permission>; proposal:
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4155>

use async_trait::async_trait;
use engine::ports::Invitees;
use ruma::{RoomId, UserId};
use serde::Deserialize;
use store::{Reads, Store};

use crate::{reserved, tables};

const PERMISSION: &str = "m.invite_permission_config";
const FILTER: &str = "org.matrix.msc4155.invite_permission_config";

/// Whose invites a user takes.
#[derive(Debug, Default)]
pub struct InviteRules {
    takes_none: bool,
    filter: Filter,
}

/// What becomes of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteVerdict {
    /// The user is shown it.
    Take,
    /// The user is not shown it, and nobody hears of that.
    Ignore,
    /// It is refused.
    Block,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Permission {
    #[serde(deserialize_with = "pdu::lenient::field")]
    default_action: Option<String>,
}

/// Lists of globs, as clients write them: what is no text counts for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    #[serde(deserialize_with = "pdu::lenient::field")]
    enabled: Option<bool>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    allowed_users: Vec<String>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    ignored_users: Vec<String>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    blocked_users: Vec<String>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    allowed_servers: Vec<String>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    ignored_servers: Vec<String>,
    #[serde(deserialize_with = "pdu::lenient::list")]
    blocked_servers: Vec<String>,
}

impl InviteRules {
    /// What becomes of an invite by this user.
    pub fn verdict(&self, inviter: &UserId) -> InviteVerdict {
        if self.takes_none {
            return InviteVerdict::Block;
        }
        self.filter.verdict(inviter)
    }

    pub(crate) async fn read(store: &Store, user: &UserId) -> Result<Self, store::Error> {
        let mut reads = Reads::new();
        let permission = reads.get(&tables::DATA, &(user.as_str(), PERMISSION));
        let filter = reads.get(&tables::DATA, &(user.as_str(), FILTER));
        let mut found = store.read(reads).await?;
        let text = |row: Option<store::Stamped<bytes::Bytes>>| {
            row.and_then(|row| String::from_utf8(row.value.to_vec()).ok()).unwrap_or_default()
        };
        let permission: Permission = pdu::lenient::read(&text(found.take(permission)?));
        let filter = pdu::lenient::read(&text(found.take(filter)?));
        Ok(Self { takes_none: permission.default_action.as_deref() == Some("block"), filter })
    }
}

impl Filter {
    /// What is said of a person goes before what is said of his server; of each, what is allowed goes before the rest.
    fn verdict(&self, inviter: &UserId) -> InviteVerdict {
        if self.enabled == Some(false) {
            return InviteVerdict::Take;
        }
        let (user, server) = (inviter.as_str(), inviter.server_name());
        let names_user = |globs: &[String]| globs.iter().any(|glob| matches(glob, user));
        let names_server = |globs: &[String]| {
            globs.iter().any(|glob| matches(glob, server.host()) || matches(glob, server.as_str()))
        };
        if names_user(&self.allowed_users) {
            InviteVerdict::Take
        } else if names_user(&self.ignored_users) {
            InviteVerdict::Ignore
        } else if names_user(&self.blocked_users) {
            InviteVerdict::Block
        } else if names_server(&self.allowed_servers) {
            InviteVerdict::Take
        } else if names_server(&self.ignored_servers) {
            InviteVerdict::Ignore
        } else if names_server(&self.blocked_servers) {
            InviteVerdict::Block
        } else {
            InviteVerdict::Take
        }
    }
}

/// Whether a glob stands for all of a text, whatever their case: `*` for anything, `?` for one character. An id is short,
/// so the time follows the length of the glob.
fn matches(glob: &str, text: &str) -> bool {
    let glob: Vec<char> = glob.chars().map(|letter| letter.to_ascii_lowercase()).collect();
    let text: Vec<char> = text.chars().map(|letter| letter.to_ascii_lowercase()).collect();
    let (mut in_glob, mut in_text) = (0, 0);
    // The last `*`, and up to where of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match glob.get(in_glob) {
            Some('*') => {
                star = Some((in_glob, in_text));
                in_glob += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[in_text] => {
                in_glob += 1;
                in_text += 1;
            }
            _ => match &mut star {
                Some((place, through)) => {
                    *through += 1;
                    (in_glob, in_text) = (*place + 1, *through);
                }
                None => return false,
            },
        }
    }
    glob[in_glob..].iter().all(|letter| *letter == '*')
}

/// What the room engine asks before somebody is invited.
pub(crate) struct AsTheySay(pub(crate) Store);

#[async_trait]
impl Invitees for AsTheySay {
    async fn takes_invites(&self, target: &UserId, inviter: &UserId) -> Result<bool, room::Error> {
        if reserved::writer_of(target.server_name()).is_some_and(|writer| writer == inviter) {
            // What his authority has to tell him he is told.
            return Ok(true);
        }
        let rules = InviteRules::read(&self.0, target).await.map_err(room::Error::Store)?;
        Ok(rules.verdict(inviter) != InviteVerdict::Block)
    }

    async fn is_closed(&self, user: &UserId) -> Result<bool, room::Error> {
        let account = self.0.get(&tables::USERS, user.as_str()).await.map_err(room::Error::Store)?;
        Ok(account.is_some_and(|account| account.deactivated))
    }

    async fn is_guest(&self, user: &UserId) -> Result<bool, room::Error> {
        let guest = self.0.get(&tables::GUESTS, &tables::guest_key(user)).await;
        Ok(guest.map_err(room::Error::Store)?.is_some())
    }

    async fn may_refuse(&self, user: &UserId, room_id: &RoomId) -> Result<bool, room::Error> {
        let mut reads = Reads::new();
        let notices = reads.get(&tables::NOTICES, user.as_str());
        let account = reads.get(&tables::USERS, user.as_str());
        let mut found = self.0.read(reads).await.map_err(room::Error::Store)?;
        let row = found.take(notices).map_err(room::Error::Store)?;
        let account = found.take(account).map_err(room::Error::Store)?;
        let is_open = account.is_some_and(|account| !account.deactivated);
        Ok(!is_open || row.and_then(|row| row.room).is_none_or(|room| room != room_id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(filter: &str) -> [InviteVerdict; 3] {
        let filter: Filter = pdu::lenient::read(filter);
        ["@bob:hs2", "@evil_bob:hs2:8448", "@alice:hs1"]
            .map(|user| filter.verdict(user.try_into().expect("an id")))
    }

    #[test]
    fn globs_stand_for_whole_names() {
        for (glob, text, so) in [
            ("hs*", "hs1", true),
            ("hs1", "hs1", true),
            ("hs", "hs1", false),
            ("*", "", true),
            ("?", "", false),
            ("@user-?*", "@user-1:hs1", true),
            ("@user-?*", "@user-", false),
            ("*a*b", "aab", true),
            ("*a*b", "aabc", false),
            ("a*b*c", "abxbc", true),
            ("**", "x", true),
            ("HS1", "hs1", true),
            ("花?", "花子", true),
        ] {
            assert_eq!(matches(glob, text), so, "{glob} {text}");
        }
    }

    #[test]
    fn what_is_said_of_a_person_goes_before_what_is_said_of_his_server() {
        use InviteVerdict::{Block, Ignore, Take};
        for (filter, expected) in [
            ("{}", [Take, Take, Take]),
            (r#"{"blocked_users":["@bob:hs2"]}"#, [Block, Take, Take]),
            (r#"{"ignored_users":["@*bob:*"]}"#, [Ignore, Ignore, Take]),
            (r#"{"blocked_servers":["hs2"]}"#, [Block, Block, Take]),
            (r#"{"ignored_servers":["hs2"]}"#, [Ignore, Ignore, Take]),
            (r#"{"blocked_servers":["hs*"]}"#, [Block, Block, Block]),
            (r#"{"allowed_users":["@bob:hs2"],"blocked_servers":["hs2"]}"#, [Take, Block, Take]),
            (r#"{"blocked_users":["@evil*"],"allowed_servers":["hs2"]}"#, [Take, Block, Take]),
            (
                r#"{"allowed_users":["@*"],"ignored_users":["@bob:hs2"],"blocked_users":["@evil*"]}"#,
                [Take; 3],
            ),
            (r#"{"enabled":false,"blocked_servers":["*"]}"#, [Take, Take, Take]),
            (
                r#"{"allowed_users":null,"ignored_users":{},"blocked_users":[null,5,"@bob:hs2"]}"#,
                [Block, Take, Take],
            ),
            ("[]", [Take, Take, Take]),
        ] {
            assert_eq!(verdicts(filter), expected, "{filter}");
        }
    }
}
