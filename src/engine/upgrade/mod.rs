//! Replacing a room by one of a newer version: [`Engine::upgrade`].
//!
//! Two rooms cannot be written in one batch, and an upgrade can end between any two of its steps: by a crash, or because
//! the client went away. So the batch that makes the new room also writes which one it is ([`UPGRADES`]), and demands that
//! nobody else has: of any number of attempts, in any process, one makes a room, and the others go on with it. Each step
//! after that may have been done before.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use room::{
    Error,
    ids::RoomSerial,
    read::{room::RoomInfo, view::Viewer},
    tables::{MEMBERSHIPS, Membership},
};

mod levels;
mod successor;

use std::collections::{BTreeSet, HashSet};

use audit::Actor;
use pdu::RoomVersion;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::StateEventType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Batch, Table, Tuning};

use self::successor::OldRoom;
use crate::{Engine, Profile, draft::draft};

/// So many rooms are upgraded at a time by one process, and each by one request.
pub(crate) const UPGRADES_AT_ONCE: usize = 8;

/// The room that a user has made to take another's place; key: the old room, user.
pub(crate) static UPGRADES: Table<(RoomSerial, String), UpgradeRow> =
    Table::new(49, "room.upgrades", Tuning::Small);

/// Row of [`UPGRADES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpgradeRow {
    /// The new room.
    room_id: OwnedRoomId,
    /// What was wished ([`Upgrade::fingerprint`]).
    wish: [u8; 32],
}
store::row!(UpgradeRow, schema = 1);

/// What somebody wishes who replaces a room.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The version of the new room.
    pub version: RoomVersion,
    /// Who is to stand above all levels beside the user, where the version has such creators.
    pub additional_creators: Vec<OwnedUserId>,
    /// How the user appears in the new room.
    pub profile: Profile,
    /// The user, for the audit log.
    pub by: Actor,
}

impl Upgrade {
    /// What tells this wish from others: the version, and the creators in whatever order.
    fn fingerprint(&self) -> [u8; 32] {
        let creators: BTreeSet<&str> = self.additional_creators.iter().map(|user| user.as_str()).collect();
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(self.version.as_str()).chain(creators) {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        *hasher.finalize().as_bytes()
    }
}

/// A room that was replaced.
#[derive(Clone, Debug)]
pub struct Upgraded {
    /// The new room.
    pub room_id: OwnedRoomId,
    /// Who was invited to the old one and has not been to the new one yet.
    pub to_invite: Vec<OwnedUserId>,
}

/// An upgrade's part in the batch that makes the new room.
pub(crate) struct Claim<'a> {
    old: &'a RoomInfo,
    user: &'a UserId,
    upgrade: &'a Upgrade,
    /// What an earlier upgrade has left, which this one does not go on with.
    stale: Option<UpgradeRow>,
}

impl Claim<'_> {
    /// Adds the row, and that nobody else has come before.
    pub(crate) fn stage(&self, batch: &mut Batch, new: &RoomInfo) {
        let key = (self.old.serial, self.user.as_str());
        let row = UpgradeRow { room_id: new.room_id.clone(), wish: self.upgrade.fingerprint() };
        match &self.stale {
            Some(stale) => batch.replace(&UPGRADES, &key, stale, &row),
            None => batch.insert(&UPGRADES, &key, &row),
        };
    }

    /// The room that somebody else has made meanwhile for the same.
    pub(crate) async fn find(&mut self, engine: &Engine) -> Result<Option<OwnedRoomId>, Error> {
        let found = engine.store().get(&UPGRADES, &(self.old.serial, self.user.as_str())).await?;
        self.stale = None;
        let Some(row) = found else {
            return engine.find_done(self.old, self.user, self.upgrade.version).await;
        };
        if engine.is_begun(self.old, self.user, self.upgrade, &row).await? {
            return Ok(Some(row.room_id));
        }
        self.stale = Some(row);
        Ok(None)
    }
}

impl Engine {
    /// Replaces a room by one of another version: makes that with what the old one says of itself and whom it keeps out,
    /// says in the old one which took its place, lets aliases and directory lead to the new one, and lets only the powerful
    /// speak in the old one. Members come by themselves; whom to invite is told, since an invite shows a profile.
    ///
    /// The same wish again goes on where the first one ended.
    ///
    /// # Errors
    /// [`Error::NotJoined`], also for a room that we do not know; [`Error::NotAllowed`] for one who may not replace the
    /// room; as [`Engine::create`] and [`Engine::send`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade>
    pub async fn upgrade(
        &self,
        user: &UserId,
        room_id: &RoomId,
        mut upgrade: Upgrade,
    ) -> Result<Upgraded, Error> {
        if !upgrade.version.rules().authorization.additional_room_creators {
            // Where they mean nothing they make no difference, and nothing else bounds them.
            upgrade.additional_creators.clear();
        }
        if !self.rooms().is_joined(user, room_id).await? {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        if !self.rooms().may_set_state(user, room_id, "m.room.tombstone").await? {
            return Err(Error::NotAllowed("You may not replace this room".to_owned()));
        }
        let info = self.rooms().get_room(room_id).await?;
        // Reading a room and making another is dear, and who comes second has nothing to make.
        let turn = usize::try_from(info.serial.0).unwrap_or_default() % UPGRADES_AT_ONCE;
        let _turn = match self.0.upgrades.get(turn) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let old = OldRoom::read(self, user, room_id).await?;
        let mut claim = Claim { old: &info, user, upgrade: &upgrade, stale: None };
        let new_room = match claim.find(self).await? {
            Some(begun) => begun,
            None => {
                let wishes = successor::wishes(self, user, &info, &old, &upgrade).await?;
                self.create_claimed(user, wishes, Some(claim)).await?
            }
        };
        // From here on each step may have been done before.
        self.entomb(user, &info, &new_room).await?;
        self.hand_on_names(user, room_id, &new_room, &upgrade.by).await?;
        let to_invite = self.carry_members(user, &old, &new_room).await?;
        self.quieten(user, &info).await?;
        Ok(Upgraded { room_id: new_room, to_invite })
    }

    /// The room whose place a room says it takes.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::NoRoom`] for a room that we never took part in.
    pub async fn predecessor(&self, room_id: &RoomId) -> Result<Option<OwnedRoomId>, Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Create {
            #[serde(deserialize_with = "pdu::lenient::field")]
            predecessor: Option<Predecessor>,
        }
        #[derive(Deserialize)]
        struct Predecessor {
            room_id: OwnedRoomId,
        }
        let Some(room) = self.rooms().room(room_id).await? else { return Ok(None) };
        let Some(event) = self.rooms().current_state_event(&room, "m.room.create", "").await? else {
            return Ok(None);
        };
        let create: Create = pdu::lenient::read(event.pdu().content_str());
        Ok(create.predecessor.map(|predecessor| predecessor.room_id))
    }

    /// The room that took the old one's place before such rows were written, if the same user has made it in this version.
    async fn find_done(
        &self,
        old: &RoomInfo,
        user: &UserId,
        version: RoomVersion,
    ) -> Result<Option<OwnedRoomId>, Error> {
        let Some(made) = self.replacement(old).await? else { return Ok(None) };
        let Some(room) = self.rooms().room(&made).await?.filter(|room| room.version == version) else {
            return Ok(None);
        };
        let create = match self.rooms().current_state_event(&room, "m.room.create", "").await {
            Ok(Some(create)) => create,
            Ok(None) | Err(Error::NoRoom(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_it = create.sender() == user
            && self.predecessor(&made).await?.is_some_and(|room| room == old.room_id)
            && self.rooms().is_joined(user, &made).await?;
        Ok(is_it.then_some(made))
    }

    /// Whether what was begun is what is wished now: not where another room took the place meanwhile, or the user has left
    /// the one that he had made.
    async fn is_begun(
        &self,
        old: &RoomInfo,
        user: &UserId,
        upgrade: &Upgrade,
        row: &UpgradeRow,
    ) -> Result<bool, Error> {
        if row.wish != upgrade.fingerprint() {
            return Ok(false);
        }
        let replacement = self.replacement(old).await?;
        if replacement.is_some_and(|replacement| replacement != row.room_id) {
            return Ok(false);
        }
        let Some(new) = self.rooms().room(&row.room_id).await? else { return Ok(false) };
        let Some(found) = self.store().get(&MEMBERSHIPS, &(user.as_str(), new.serial)).await? else {
            return Ok(false);
        };
        // Another process may have made it a moment ago, and what follows is read as of our head.
        self.store().reach(found.position).await?;
        Ok(found.value.membership == Membership::Join)
    }

    /// The room whose place a room took, as both say it: anybody may make a room that names another one as its predecessor,
    /// and only those who have the power in that one can say what took its place.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn succeeded(&self, room_id: &RoomId) -> Result<Option<OwnedRoomId>, Error> {
        let Some(old_room) = self.predecessor(room_id).await? else { return Ok(None) };
        let Some(old) = self.rooms().room(&old_room).await? else { return Ok(None) };
        let replacement = self.replacement(&old).await?;
        Ok(replacement.is_some_and(|replacement| replacement == room_id).then_some(old_room))
    }

    /// Where somebody came into a room that took the place of another one, lets his server's aliases of that one lead to it:
    /// the server on which the room was upgraded moves its own alone.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn take_over_aliases(&self, user: &UserId, new_room: &RoomId, by: &Actor) -> Result<(), Error> {
        match self.succeeded(new_room).await? {
            Some(old_room) => self.move_aliases(user, &old_room, new_room, by).await,
            None => Ok(()),
        }
    }

    /// The room that a room says took its place.
    async fn replacement(&self, room: &RoomInfo) -> Result<Option<OwnedRoomId>, Error> {
        #[derive(Deserialize)]
        struct Tombstone {
            replacement_room: OwnedRoomId,
        }
        let event = self.rooms().current_state_event(room, "m.room.tombstone", "").await?;
        let content =
            event.and_then(|event| serde_json::from_str::<Tombstone>(event.pdu().content_str()).ok());
        Ok(content.map(|tombstone| tombstone.replacement_room))
    }

    /// Says in the old room which one took its place.
    async fn entomb(&self, user: &UserId, old: &RoomInfo, new_room: &RoomId) -> Result<(), Error> {
        if self.replacement(old).await?.is_some_and(|replacement| replacement == new_room) {
            return Ok(());
        }
        let tombstone = json!({ "body": "This room has been replaced", "replacement_room": new_room });
        let tombstone = draft(user, StateEventType::RoomTombstone, "", &tombstone);
        self.send(&old.room_id, tombstone, None).await?;
        Ok(())
    }

    /// Lets the aliases of this server lead to the new room, and the directory show it instead.
    async fn hand_on_names(
        &self,
        user: &UserId,
        old_room: &RoomId,
        new_room: &RoomId,
        by: &Actor,
    ) -> Result<(), Error> {
        for alias in self.rooms().room_aliases(&Viewer::user(user), old_room).await? {
            // Those that the user may not take away stay with the old room, and some may have gone meanwhile.
            match self.move_alias(user, &alias, new_room, by).await {
                Ok(()) | Err(Error::NotAllowed(_) | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if self.rooms().is_published(user.server_name(), old_room).await? {
            // In this order, so that one of the two is listed at any time.
            self.rooms().set_published(user, new_room, true, by).await?;
            self.rooms().set_published(user, old_room, false, by).await?;
        }
        Ok(())
    }

    /// Keeps out of the new room whoever is banned from the old one; answers who is invited there and not here.
    ///
    /// Bans come with the new room already, but for those of a very long list.
    async fn carry_members(
        &self,
        user: &UserId,
        old: &OldRoom,
        new_room: &RoomId,
    ) -> Result<Vec<OwnedUserId>, Error> {
        let there = OldRoom::read(self, user, new_room).await?;
        let known: HashSet<OwnedUserId> = there.member_ids().collect();
        for ban in old.bans().into_iter().filter(|ban| !known.contains(&ban.user_id)) {
            match self.ban(user, new_room, &ban.user_id, ban.reason.as_deref()).await {
                Ok(()) => {}
                Err(error @ (Error::Store(_) | Error::Commit(_))) => return Err(error),
                Err(error) => tracing::warn!(room_id = %new_room, %error, "a ban was not carried over"),
            }
        }
        Ok(old.invited().filter(|invitee| !known.contains(invitee)).collect())
    }

    /// Lets only the powerful speak in the old room. Where that cannot be, the tombstone must do.
    async fn quieten(&self, user: &UserId, old: &RoomInfo) -> Result<(), Error> {
        let Some(event) = self.rooms().current_state_event(old, "m.room.power_levels", "").await? else {
            return Ok(());
        };
        let content = event.pdu().content_str();
        let Ok(mut content) = serde_json::from_str::<Map<String, Value>>(content) else { return Ok(()) };
        let ordinary = content.get("users_default").and_then(levels::level).unwrap_or(0);
        let needed = ordinary.saturating_add(1).max(50);
        let mut is_quiet = true;
        for key in ["events_default", "invite"] {
            let now = content.get(key).and_then(levels::level).unwrap_or(0);
            is_quiet &= now >= needed;
            content.insert(key.to_owned(), needed.max(now).into());
        }
        if is_quiet {
            return Ok(());
        }
        let levels = draft(user, StateEventType::RoomPowerLevels, "", &Value::Object(content));
        match self.send(&old.room_id, levels, None).await {
            Ok(_)
            | Err(Error::Forbidden(_) | Error::NotAllowed(_) | Error::Denied(_) | Error::NotJoined { .. }) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
