//! Server notices: what an authority has to tell a user of its own, in a room that is there for that.
//!
//! A user of the authority who is no person writes them, and nobody can register or log in as it. Each user who is told
//! something has one such room, to which he is invited; the invite cannot be refused, and whoever has left is invited
//! again with the next notice. A room in which the user cannot be reached any more is given up for another.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-notices>

use audit::{Action, Actor};
use engine::{CreateRoom, Invitee, Preset, Txn};
use pdu::Draft;
use room::tables::Membership;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, ServerName, UserId, events::TimelineEventType,
};
use serde_json::{Map, json, value::RawValue};
use store::{Batch, CommitError};

use crate::{
    Accounts, Error,
    register::NewUser,
    reserved,
    tables::{self, NoticesRow},
};

/// The name of who writes them, of the rooms, and of the tag that clients know these by.
const WRITER: &str = "サーバー管理者 / Server administration";
const ROOM: &str = "サーバーからのお知らせ / Server notices";
const TAG: &str = "m.server_notice";

/// Stands for the device of who writes them: the transaction ids of administrators go with it.
const DEVICE: &str = "server_notices";

/// What an administrator tells a user.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The type of the event.
    pub kind: TimelineEventType,
    /// Its content.
    pub content: Box<RawValue>,
    /// The sender's name for the request: whoever repeats it gets the same answer, and nothing is told twice.
    pub txn: Option<OwnedTransactionId>,
}

impl Accounts {
    /// Tells a user of ours something in the name of his authority; the id of the event in which it is told.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such account, [`Error::Room`], [`Error::Contended`], [`Error::Store`].
    pub async fn send_notice(
        &self,
        user: &UserId,
        notice: Notice,
        by: &Actor,
    ) -> Result<OwnedEventId, Error> {
        let authority = user.server_name();
        if !self.have_open_accounts(&[user]).await?.contains(&true) {
            return Err(Error::NotFound("There is no such account"));
        }
        let writer = self.notices_writer(authority, by).await?;
        if *user == writer || self.is_own(user).await? {
            return Err(Error::InvalidParam("nobody is told anything by himself".to_owned()));
        }
        let room = self.notices_room(user, &writer).await?;

        let Notice { kind, content, txn } = notice;
        let draft = Draft { kind, state_key: None, content, sender: writer.clone(), redacts: None };
        // Two administrators may choose one transaction id.
        let device = format!("{DEVICE}/{}", by.name());
        let txn = txn.map(|id| Txn { device: device.into(), id });
        let deed = self.deed(Action::SendNotice, by, user);
        Ok(self.inner.engine.send_noted(&room, draft, txn.as_ref(), (&deed, authority)).await?)
    }

    /// Who writes the notices of an authority: an account without a password that is made with the first of them.
    async fn notices_writer(&self, authority: &ServerName, by: &Actor) -> Result<OwnedUserId, Error> {
        let writer = reserved::writer_of(authority)
            .ok_or_else(|| Error::InvalidParam("the server name is too long for user ids".to_owned()))?;
        if self.inner.store.get(&tables::NOTICES, writer.as_str()).await?.is_some() {
            return Ok(writer);
        }
        let new = NewUser {
            localpart: reserved::NOTICES.to_owned(),
            password: None,
            display_name: Some(WRITER.to_owned()),
            admin: false,
        };
        match self.create_own(&writer, &new, by).await {
            Ok(()) => Ok(writer),
            // Another request was faster; or somebody had the name before it was kept for this.
            Err(Error::UserInUse) => match self.inner.store.get(&tables::NOTICES, writer.as_str()).await? {
                Some(_) => Ok(writer),
                None => Err(Error::InvalidParam("somebody has the user name `_server`".to_owned())),
            },
            Err(error) => Err(error),
        }
    }

    /// The room in which a user is told things; he is in it, or invited.
    async fn notices_room(&self, user: &UserId, writer: &UserId) -> Result<OwnedRoomId, Error> {
        // One at a time in a process: each user has one room. Of two processes the slower one's is given up.
        let _turn = self.inner.making_notices.lock().await;
        let known = self.inner.store.get(&tables::NOTICES, user.as_str()).await?;
        if let Some(room) =
            known.as_ref().and_then(|row| row.room.as_deref()).and_then(|id| id.parse::<OwnedRoomId>().ok())
            && self.invite_to_notices(user, writer, &room).await?
        {
            return Ok(room);
        }
        let room = self.make_notices_room(user, writer).await?;
        // Before the row, so that whoever is invited finds it tagged: what breaks off here is a room that is not used.
        let details = serde_json::value::to_raw_value(&Map::new()).unwrap_or_default();
        self.set_room_tag(user, &room, TAG, &details).await?;
        let row = NoticesRow { room: Some(room.to_string()) };
        let mut batch = Batch::new();
        batch.require(&tables::NOTICES, user.as_str(), known.as_ref());
        batch.put(&tables::NOTICES, user.as_str(), &row);
        match self.inner.store.commit(batch).await {
            Ok(_) => Ok(room),
            Err(CommitError::Conflict { .. }) => Err(Error::Contended),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a user can be told something in this room; who has left it is invited again.
    async fn invite_to_notices(
        &self,
        user: &UserId,
        writer: &UserId,
        room: &OwnedRoomId,
    ) -> Result<bool, Error> {
        let inner = &self.inner;
        if !inner.rooms.is_joined(writer, room).await? {
            return Ok(false);
        }
        match inner.rooms.membership(user, room).await?.map(|row| row.membership) {
            Some(Membership::Join | Membership::Invite) => Ok(true),
            Some(Membership::Ban) => Ok(false),
            _ => {
                let profile = self.member_profiles(&[user]).await?.pop().unwrap_or_default();
                inner.engine.invite(writer, room, user, &profile, None).await?;
                Ok(true)
            }
        }
    }

    async fn make_notices_room(&self, user: &UserId, writer: &UserId) -> Result<OwnedRoomId, Error> {
        let mut profiles = self.member_profiles(&[writer, user]).await?.into_iter();
        let (of_writer, of_user) = (profiles.next().unwrap_or_default(), profiles.next().unwrap_or_default());
        let wishes = CreateRoom {
            preset: Preset::PrivateChat,
            name: Some(ROOM.to_owned()),
            // It is between these two, and stays here.
            creation_content: Map::from_iter([("m.federate".to_owned(), json!(false))]),
            // The user reads and does not answer.
            power_level_content_override: Map::from_iter([("users_default".to_owned(), json!(-10))]),
            invite: vec![Invitee { user_id: user.to_owned(), profile: of_user }],
            profile: of_writer,
            ..CreateRoom::default()
        };
        Ok(self.inner.engine.create(writer, wishes).await?)
    }
}
