//! What the handlers share.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use ::to_device::ToDevice;
use account::{Accounts, Actor};
use appservice::AppServices;
use base::{Address, Clock};
use encryption::Encryption;
use engine::{Engine, Profile};
use pages::Pages;
use pdu::{Authorities, RoomVersion};
use push::Push;
use room::{Rooms, read::view::Viewer};
use ruma::{OwnedServerName, OwnedUserId, UserId};
use search::Search;
use serde::Serialize;
use web::{ApiError, TokenError, User};

use crate::{Colleagues, Elsewhere, hierarchy::Walks, large::Making, told::Summaries};

/// Settings of the client interface.
#[derive(Clone, Debug)]
pub struct Config {
    /// The version of new rooms, as the room engine is set to.
    pub default_room_version: RoomVersion,
    /// The address at which clients reach an authority, for `/.well-known/matrix/client`. An
    /// authority that is not named does not answer there.
    pub base_urls: BTreeMap<OwnedServerName, String>,
    /// Where clients of an authority get their tokens for LiveKit, which carries their calls.
    pub livekit_urls: BTreeMap<OwnedServerName, String>,
    /// Whom to turn to, for `/.well-known/matrix/support`; an authority that is not named does not answer there.
    pub support: BTreeMap<OwnedServerName, Support>,
    /// Authorities whose clients are offered a page to sign in on (`m.login.sso`).
    pub sign_in_pages: BTreeSet<OwnedServerName>,
    /// Authorities whose users sign in at an identity provider, to which a page leads.
    pub providers: BTreeSet<OwnedServerName>,
    /// Unstable features that other crates of the process add to those of this one.
    pub unstable_features: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_room_version: RoomVersion::DEFAULT,
            base_urls: BTreeMap::new(),
            livekit_urls: BTreeMap::new(),
            support: BTreeMap::new(),
            sign_in_pages: BTreeSet::new(),
            providers: BTreeSet::new(),
            unstable_features: Vec::new(),
        }
    }
}

/// Whom users and other servers turn to about an authority, as it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Support {
    /// People, each with an address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
    /// A page for users who need help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support_page: Option<String>,
}

/// Somebody to turn to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// For what: `m.role.admin`, `m.role.security`, or a name of the authority's own.
    pub role: String,
    /// By Matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_id: Option<OwnedUserId>,
    /// By e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_address: Option<String>,
}

/// The state of the handlers.
pub struct ClientApi {
    pub(crate) accounts: Accounts,
    pub(crate) encryption: Encryption,
    pub(crate) engine: Engine,
    pub(crate) push: Push,
    pub(crate) rooms: Rooms,
    pub(crate) search: Search,
    pub(crate) services: AppServices,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) clock: Clock,
    pub(crate) elsewhere: Arc<dyn Elsewhere>,
    pub(crate) colleagues: Arc<dyn Colleagues>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) to_device: ToDevice,
    pub(crate) config: Config,
    /// Parts of large answers are made few at a time.
    pub(crate) making: Making,
    /// Walks through spaces that have a next page.
    pub(crate) walks: Walks,
    /// What others told of rooms a moment ago.
    pub(crate) summaries: Summaries,
}

impl ClientApi {
    /// The state of the handlers, from the parts of the process.
    #[expect(clippy::too_many_arguments, reason = "all that clients ask for")]
    pub fn new(
        accounts: Accounts,
        encryption: Encryption,
        engine: Engine,
        push: Push,
        search: Search,
        services: AppServices,
        authorities: Arc<Authorities>,
        clock: Clock,
        elsewhere: Arc<dyn Elsewhere>,
        colleagues: Arc<dyn Colleagues>,
        pages: Arc<Pages>,
        to_device: ToDevice,
        config: Config,
    ) -> Self {
        Self {
            accounts,
            encryption,
            rooms: engine.rooms().clone(),
            engine,
            push,
            search,
            services,
            authorities,
            clock,
            elsewhere,
            colleagues,
            pages,
            to_device,
            config,
            making: Making::default(),
            walks: Walks::default(),
            summaries: Summaries::default(),
        }
    }

    /// The caller, and whom he ignores.
    pub(crate) async fn eyes<'a>(&self, caller: &'a User) -> Result<Eyes<'a>, ApiError> {
        Ok(Eyes { caller, ignored: self.accounts.ignored_users(&caller.user_id).await? })
    }

    /// Whether a user is of one of our authorities.
    pub(crate) fn is_ours(&self, user: &UserId) -> bool {
        self.authorities.is_ours(user.server_name())
    }

    /// How a user appears in rooms: our own users by their profile, others as nothing is known.
    pub(crate) async fn member_profile(&self, user: &UserId) -> Result<Profile, ApiError> {
        Ok(self.member_profiles(&[user]).await?.pop().unwrap_or_default())
    }

    /// As [`ClientApi::member_profile`], for many users at once and in their order.
    pub(crate) async fn member_profiles(&self, users: &[&UserId]) -> Result<Vec<Profile>, ApiError> {
        let ours: Vec<&UserId> = users.iter().copied().filter(|user| self.is_ours(user)).collect();
        let mut known = self.accounts.member_profiles(&ours).await?.into_iter();
        let profile = |user: &&UserId| if self.is_ours(user) { known.next() } else { None };
        Ok(users.iter().map(profile).map(Option::unwrap_or_default).collect())
    }
}

/// The caller of an endpoint that is open, for what it does for users only: a stranger makes us contact nobody.
pub(crate) fn known(caller: Option<&User>) -> Result<&User, ApiError> {
    caller.ok_or_else(|| ApiError::from(TokenError::Missing))
}

/// The caller as the audit log names him.
pub(crate) fn actor(caller: &User, from: Option<Address>) -> Actor {
    Actor::user(&caller.user_id, caller.is_admin, from).on(&caller.device_id)
}

/// The caller as he looks at state, which others' ignoring does not hide.
pub(crate) fn viewer(caller: &User) -> Viewer<'_> {
    Viewer { device: Some(&caller.device_id), ..Viewer::user(&caller.user_id) }
}

/// The caller as he looks at events: spared those of users whom he ignores.
pub(crate) struct Eyes<'a> {
    caller: &'a User,
    ignored: HashSet<OwnedUserId>,
}

impl Eyes<'_> {
    pub(crate) fn ignored(&self) -> &HashSet<OwnedUserId> {
        &self.ignored
    }

    pub(crate) fn viewer(&self) -> Viewer<'_> {
        Viewer { ignored: Some(&self.ignored), ..viewer(self.caller) }
    }
}
