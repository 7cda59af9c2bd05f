//! Giving and taking aliases of rooms, and asking for those of other servers.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>

use audit::{Action, Actor};
use room::{
    Error, RoomSerial,
    attempts::Attempts,
    log::AliasEntry,
    read::{
        aliases::{ALIASES, AliasRow, ROOM_ALIASES},
        room::{RoomInfo, bind},
        view::Viewer,
    },
};
use ruma::{RoomAliasId, RoomId, UserId};
use store::{Batch, CommitError};

use crate::{Engine, ports::AliasAnswer};

/// Servers that are kept of those that another server names with an alias.
pub const MAX_SERVERS: usize = 50;

impl Engine {
    /// The room that an alias of ours stands for, and servers that can help to join it. One that stands for nothing may be
    /// made for whoever looks for it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn local_alias(&self, alias: &RoomAliasId) -> Result<Option<AliasAnswer>, Error> {
        let mut row = self.store().get(&ALIASES, alias.as_str()).await?;
        if row.is_none()
            && let Some(namesakes) = self.0.namesakes.get()
            && namesakes.make_alias(alias).await
        {
            row = self.store().get(&ALIASES, alias.as_str()).await?;
        }
        let Some(row) = row else { return Ok(None) };
        let mut servers = self.rooms().servers_in_room(row.room).await?;
        // We are asked, so we come first.
        servers.retain(|server| server != alias.server_name());
        servers.insert(0, alias.server_name().to_owned());
        Ok(Some(AliasAnswer { room_id: row.room_id, servers }))
    }

    /// The room that any alias stands for; for a user of ours another server's alias is asked for there. Nobody else
    /// makes us ask others.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it stands for nothing; [`Error::Denied`]; [`Error::Remote`].
    pub async fn resolve_alias(
        &self,
        user: Option<&UserId>,
        alias: &RoomAliasId,
    ) -> Result<AliasAnswer, Error> {
        self.0.policy.look_up(user, alias.server_name())?;
        let unknown = || Error::NotFound(format!("the alias {alias} stands for no room"));
        if self.is_ours(alias.server_name()) {
            return self.local_alias(alias).await?.ok_or_else(unknown);
        }
        let asker = user.filter(|user| self.is_local(user)).map(UserId::server_name).ok_or_else(unknown)?;
        let mut answer = self.0.remote.query_directory(asker, alias.server_name(), alias).await?;
        answer.servers.truncate(MAX_SERVERS);
        Ok(answer)
    }

    /// Gives a room an alias of ours; `by` is the user, for the audit log.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the alias is of another server than the user; [`Error::AliasTaken`];
    /// [`Error::NoRoom`]; [`Error::NotJoined`].
    pub async fn create_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        room_id: &RoomId,
        by: &Actor,
    ) -> Result<(), Error> {
        if alias.server_name() != user.server_name() {
            return Err(Error::Invalid("the alias is one of another server".to_owned()));
        }
        let room = self.rooms().get_room(room_id).await?;
        if !self.rooms().is_joined(user, room_id).await? {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        let mut batch = Batch::new();
        bind(&mut batch, &room);
        self.stage_alias(&mut batch, alias, &room, user, by);
        match self.store().commit(batch).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict { .. }) => Err(Error::AliasTaken),
            Err(error) => Err(Error::Commit(error)),
        }
    }

    /// Adds an alias to a batch, which fails with a conflict when the alias is taken.
    pub(crate) fn stage_alias(
        &self,
        batch: &mut Batch,
        alias: &RoomAliasId,
        room: &RoomInfo,
        creator: &UserId,
        by: &Actor,
    ) {
        let row = AliasRow { room_id: room.room_id.clone(), room: room.serial, creator: creator.to_owned() };
        batch.insert(&ALIASES, alias.as_str(), &row);
        batch.put(&ROOM_ALIASES, &(room.serial, alias.as_str()), &());
        note(batch, room.serial, &room.room_id, alias, true);
        let deed = self.deed(Action::PutAlias, by, alias.as_str()).after("room", &room.room_id);
        deed.write(batch, alias.server_name());
    }

    /// Takes an alias of ours away, and out of what the room calls itself if the user may change that: whoever made it may,
    /// and whoever may set the room's main alias. `by` is the user, for the audit log.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotAllowed`]; [`Error::Contended`]; [`Error::Commit`].
    pub async fn delete_alias(&self, user: &UserId, alias: &RoomAliasId, by: &Actor) -> Result<(), Error> {
        self.delete_alias_of(user, alias, &|_| false, by).await
    }

    /// As [`Engine::delete_alias`], also what was made by somebody for whom `is_own` says so: for who acts for several users.
    ///
    /// # Errors
    /// As [`Engine::delete_alias`].
    pub async fn delete_alias_of(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        is_own: &(dyn Fn(&UserId) -> bool + Sync),
        by: &Actor,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let row = self.alias_at_disposal(user, alias, is_own).await?;
            let mut batch = Batch::new();
            batch.require(&ALIASES, alias.as_str(), Some(&row));
            batch.delete(&ALIASES, alias.as_str());
            batch.delete(&ROOM_ALIASES, &(row.room, alias.as_str()));
            note(&mut batch, row.room, &row.room_id, alias, false);
            let deed = self.deed(Action::RemoveAlias, by, alias.as_str()).before("room", &row.room_id);
            deed.write(&mut batch, alias.server_name());
            match self.store().commit(batch).await {
                Ok(_) => return self.drop_canonical_alias(user, &row.room_id, alias).await,
                Err(CommitError::Conflict { .. }) => attempts.again(self.rooms()).await?,
                // Also where the outcome is unknown: a second look would take it for somebody else's deed.
                Err(error) => return Err(Error::Commit(error)),
            }
        }
    }

    /// Lets an alias of ours stand for another room, for who may take it away. It stands for one of the
    /// two at any time, and whoever made it stays its maker. `by` is the user, for the audit log.
    ///
    /// # Errors
    /// As [`Engine::delete_alias`]; [`Error::NoRoom`]; [`Error::NotJoined`].
    pub async fn move_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        to: &RoomId,
        by: &Actor,
    ) -> Result<(), Error> {
        if !self.rooms().is_joined(user, to).await? {
            return Err(Error::NotJoined { user: user.to_owned(), room: to.to_owned() });
        }
        self.move_alias_from(user, alias, None, to, by).await
    }

    /// Lets the aliases of a user's server that lead to a room lead to the one that took its place, whoever made them: the old
    /// room says that it is over, and an alias is there to be followed. What has been given to another room meanwhile stays.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub(crate) async fn move_aliases(
        &self,
        user: &UserId,
        from: &RoomId,
        to: &RoomId,
        by: &Actor,
    ) -> Result<(), Error> {
        for alias in self.rooms().room_aliases(&Viewer::user(user), from).await? {
            if alias.server_name() != user.server_name() {
                continue;
            }
            self.move_alias_from(user, &alias, Some(from), to, by).await?;
        }
        Ok(())
    }

    /// Moves an alias that the user may take away; or whosever it is, as long as it leads to the room `from`.
    async fn move_alias_from(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        from: Option<&RoomId>,
        to: &RoomId,
        by: &Actor,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let row = match from {
                None => self.alias_at_disposal(user, alias, &|_| false).await?,
                Some(from) => match self.store().get(&ALIASES, alias.as_str()).await? {
                    Some(row) if row.room_id == *from => row,
                    _ => return Ok(()),
                },
            };
            let room = self.rooms().get_room(to).await?;
            let moved = AliasRow { room_id: to.to_owned(), room: room.serial, creator: row.creator.clone() };
            let mut batch = Batch::new();
            bind(&mut batch, &room);
            batch.replace(&ALIASES, alias.as_str(), &row, &moved);
            batch.delete(&ROOM_ALIASES, &(row.room, alias.as_str()));
            batch.put(&ROOM_ALIASES, &(room.serial, alias.as_str()), &());
            if row.room != room.serial {
                note(&mut batch, row.room, &row.room_id, alias, false);
                note(&mut batch, room.serial, to, alias, true);
            }
            let deed = self.deed(Action::PutAlias, by, alias.as_str());
            let deed = deed.before("room", &row.room_id).after("room", to);
            deed.write(&mut batch, alias.server_name());
            match self.store().commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. }) => attempts.again(self.rooms()).await?,
                // Also where the outcome is unknown: a second look would take it for somebody else's deed.
                Err(error) => return Err(Error::Commit(error)),
            }
        }
    }

    /// An alias that the user may take away. Power in a room reaches the aliases of the user's own authority only,
    /// as it would if the other one were another server.
    async fn alias_at_disposal(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        is_own: &(dyn Fn(&UserId) -> bool + Sync),
    ) -> Result<AliasRow, Error> {
        if alias.server_name() != user.server_name() {
            return Err(Error::NotAllowed("the alias is one of another server".to_owned()));
        }
        let row = self.store().get(&ALIASES, alias.as_str()).await?;
        let row = row.ok_or_else(|| Error::NotFound(format!("the alias {alias} stands for no room")))?;
        if row.creator == user
            || is_own(&row.creator)
            || self.rooms().may_set_state(user, &row.room_id, "m.room.canonical_alias").await?
        {
            return Ok(row);
        }
        Err(Error::NotAllowed("only who made an alias, or may name the room, can delete it".to_owned()))
    }
}

/// Notes in the log that an alias leads to a room, or does so no more.
pub(crate) fn note(batch: &mut Batch, room: RoomSerial, room_id: &RoomId, alias: &RoomAliasId, leads: bool) {
    AliasEntry { room, room_id: room_id.to_owned(), alias: alias.to_owned(), leads }.write(batch);
}
