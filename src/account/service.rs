//! What an application service is: its users, its aliases, and the token that it is known by.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/>

use std::fmt;

use regex::{Regex, RegexBuilder};
use ruma::{OwnedUserId, RoomAliasId, RoomId, UserId};
use store::{Batch, Topic};

use crate::{tables::TokenHash, tokens};

/// Memory of a compiled expression; what would need more is refused with the configuration.
const LARGEST_EXPRESSION: usize = 1 << 20;

/// The device of a service that names none: no device of anybody has this id.
pub(crate) const NO_DEVICE: &str = "";

/// An application service of an authority.
pub struct AppService {
    pub(crate) id: String,
    pub(crate) sender: OwnedUserId,
    pub(crate) token: TokenHash,
    users: Vec<Namespace>,
    aliases: Vec<Namespace>,
    limits_users: bool,
    told: Told,
}

/// Where a service is, and what it shows itself by to whom it answers.
#[derive(Clone)]
pub struct ServiceAddress {
    /// Before which path it is asked, without a slash at its end.
    pub url: String,
    /// What we show to it.
    pub hs_token: String,
}

impl fmt::Debug for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAddress").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a service is told, besides what its users are.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Where it is; one without is told nothing.
    pub address: Option<ServiceAddress>,
    /// The rooms of which it is told everything, where its authority is in them.
    pub rooms: Vec<Namespace>,
    /// Whether it is told who types, reads and is there.
    pub ephemeral: bool,
    /// Whether it is told what its users need for end-to-end encryption (MSC3202).
    pub devices: bool,
    /// The networks that it leads to.
    pub protocols: Vec<String>,
}

/// Ids that a service is concerned with: those that begin with what the expression matches.
#[derive(Clone, Debug)]
pub struct Namespace {
    exclusive: bool,
    expression: Regex,
}

impl Namespace {
    /// The ids that begin with what `expression` matches; of an exclusive one nobody else makes any.
    ///
    /// # Errors
    /// An expression that is none, or would take more than a MiB.
    pub fn new(expression: &str, exclusive: bool) -> Result<Self, regex::Error> {
        let anchored = format!("^(?:{expression})");
        let expression = RegexBuilder::new(&anchored).size_limit(LARGEST_EXPRESSION).build()?;
        Ok(Self { exclusive, expression })
    }

    /// Whether nobody else makes these ids.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// The expression, with the anchor that it is given.
    pub fn expression(&self) -> &str {
        self.expression.as_str()
    }

    /// Whether this id is among them.
    pub fn covers(&self, id: &str) -> bool {
        self.expression.is_match(id)
    }
}

/// What a registration says of a service, as far as accounts are concerned.
pub struct NewAppService {
    /// Its name for the administrator.
    pub id: String,
    /// The user that it has for itself, one of the authority that it is of.
    pub sender: OwnedUserId,
    /// By which it is known.
    pub as_token: String,
    /// The users that it acts as, besides its own.
    pub users: Vec<Namespace>,
    /// The aliases that it makes.
    pub aliases: Vec<Namespace>,
    /// Whether its users are limited as others are; its own user never is.
    pub limits_users: bool,
    /// What it is told.
    pub told: Told,
}

impl AppService {
    /// A service; its token is kept as a hash.
    pub fn new(new: NewAppService) -> Self {
        let NewAppService { id, sender, as_token, users, aliases, limits_users, told } = new;
        Self { id, sender, token: tokens::hash(&as_token), users, aliases, limits_users, told }
    }

    /// Its name for the administrator.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user that it has for itself.
    pub fn sender(&self) -> &UserId {
        &self.sender
    }

    /// Whether it is limited as others are where it acts as this user.
    pub fn is_limited(&self, user: &UserId) -> bool {
        self.limits_users && self.sender != user
    }

    /// Whether it may act as this user: its own, or one of its authority in its namespaces.
    pub fn covers_user(&self, user: &UserId) -> bool {
        user.server_name() == self.sender.server_name()
            && (self.sender == user || self.users.iter().any(|names| names.covers(user.as_str())))
    }

    /// Whether it may make this alias: one of its authority in its namespaces.
    pub fn covers_alias(&self, alias: &RoomAliasId) -> bool {
        alias.server_name() == self.sender.server_name()
            && self.aliases.iter().any(|names| names.covers(alias.as_str()))
    }

    /// Where it is; one without an address is told nothing.
    pub fn address(&self) -> Option<&ServiceAddress> {
        self.told.address.as_ref()
    }

    /// What it is told.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Whether its namespaces name a user, of whatever server: what he does concerns it.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#registration>
    pub fn names_user(&self, user: &UserId) -> bool {
        self.sender == user || self.users.iter().any(|names| names.covers(user.as_str()))
    }

    /// Whether its namespaces name a room.
    pub fn names_room(&self, room: &RoomId) -> bool {
        self.told.rooms.iter().any(|names| names.covers(room.as_str()))
    }

    /// Whether it has any namespace of aliases.
    pub fn has_aliases(&self) -> bool {
        !self.aliases.is_empty()
    }

    /// Whether a user is its alone: its own, or one of its exclusive namespaces.
    pub fn keeps_user(&self, user: &UserId) -> bool {
        let kept = self.users.iter().filter(|names| names.exclusive).any(|names| names.covers(user.as_str()));
        self.sender == user || kept
    }

    /// Whether an alias is its alone: one of its exclusive namespaces.
    pub fn keeps_alias(&self, alias: &RoomAliasId) -> bool {
        self.aliases.iter().filter(|names| names.exclusive).any(|names| names.covers(alias.as_str()))
    }
}

impl PartialEq for AppService {
    fn eq(&self, other: &Self) -> bool {
        self.token == other.token
    }
}

impl Eq for AppService {}

impl fmt::Debug for AppService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService")
            .field("id", &self.id)
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

/// How the audit log names the proof of a service.
pub(crate) const PROOF: &str = "application_service";

/// What a service acting as somebody is kept under among the sessions.
pub(crate) fn acting_hash(service: &AppService, user: &UserId, device: &str) -> TokenHash {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(service.token);
    hasher.update(user.as_str());
    hasher.update([0]);
    hasher.update(device);
    hasher.finalize().into()
}

/// What is kept of services that act as this user without a device looks at its account anew.
pub(crate) fn touch_acting(batch: &mut Batch, user: &UserId) {
    batch.touch([Topic::device(user.as_str(), NO_DEVICE)]);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn service(users: &[(&str, bool)], aliases: &[(&str, bool)]) -> AppService {
        let namespaces = |all: &[(&str, bool)]| {
            all.iter()
                .map(|(expression, exclusive)| Namespace::new(expression, *exclusive).unwrap())
                .collect()
        };
        AppService::new(NewAppService {
            id: "irc".to_owned(),
            sender: "@ircbot:a.test".try_into().unwrap(),
            as_token: "token".to_owned(),
            users: namespaces(users),
            aliases: namespaces(aliases),
            limits_users: true,
            told: Told::default(),
        })
    }

    #[test]
    fn an_id_is_covered_from_its_beginning_on_and_of_its_authority_alone() {
        let irc = service(&[("@_irc_|@staff", true), ("taro", true)], &[("#_irc_", true), ("#b_", false)]);
        let user = |id: &str| OwnedUserId::try_from(id).unwrap();
        for (id, covered, named) in [
            ("@_irc_taro:a.test", true, true),
            ("@staff:a.test", true, true),
            ("@ircbot:a.test", true, true),
            ("@taro:a.test", false, false),
            ("@x_irc_taro:a.test", false, false),
            ("@_irc_taro:b.test", false, true),
            ("@ircbot:b.test", false, false),
        ] {
            let id = user(id);
            assert_eq!((irc.covers_user(&id), irc.names_user(&id)), (covered, named), "{id}");
        }
        for (id, covered, kept) in [
            ("#_irc_town:a.test", true, true),
            ("#b_town:a.test", true, false),
            ("#town_irc_:a.test", false, false),
            ("#_irc_town:b.test", false, true),
        ] {
            let id = ruma::OwnedRoomAliasId::try_from(id).unwrap();
            assert_eq!((irc.covers_alias(&id), irc.keeps_alias(&id)), (covered, kept), "{id}");
        }
        assert!(irc.keeps_user(&user("@ircbot:a.test")) && !irc.keeps_user(&user("@taro:a.test")));
        assert!(irc.is_limited(&user("@_irc_taro:a.test")) && !irc.is_limited(&user("@ircbot:a.test")));
        // An expression that needs too much memory is none.
        assert!(
            Namespace::new("(a{1000}){1000}{1000}", false).is_err() && Namespace::new("(", true).is_err()
        );
    }

    #[test]
    fn what_is_kept_of_acting_is_another_for_each_service_user_and_device() {
        let [one, mut other] = [(); 2].map(|()| service(&[], &[]));
        other.token = tokens::hash("other");
        let (a, ab) = ("@a:a.test", "@a:a.testX");
        let of = |service: &AppService, user: &str, device: &str| {
            acting_hash(service, &OwnedUserId::try_from(user).unwrap(), device)
        };
        let all = [
            of(&one, a, ""),
            of(&other, a, ""),
            of(&one, "@b:a.test", ""),
            of(&one, a, "X"),
            of(&one, ab, ""),
            of(&one, a, "Y"),
        ];
        for (index, hash) in all.iter().enumerate() {
            assert!(!all[..index].contains(hash), "{index}");
        }
    }
}
