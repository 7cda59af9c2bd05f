//! What the room engine asks of other servers, and of their keys: the network, as far as the engine knows of it. It calls
//! [`Remote`] and [`KeySource`] without holding a room's lock.

use async_trait::async_trait;
use base::Timestamp;
use pdu::KeyRing;
use room::RemoteError;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedServerSigningKeyId, RoomAliasId, RoomId,
    RoomVersionId, ServerName, UserId,
};
use serde_json::value::RawValue;

/// Whose invites our users take, and who of them is a guest. Of invites it is asked without a room's lock.
#[async_trait]
pub trait Invitees: Send + Sync {
    /// Whether this user of ours takes invites of that one. Whom an invite is not shown to, without that anybody hears of
    /// it, takes it.
    async fn takes_invites(&self, target: &UserId, inviter: &UserId) -> Result<bool, room::Error>;

    /// Whether this user of ours has closed his account: nobody is there who could take an invite.
    async fn is_closed(&self, _user: &UserId) -> Result<bool, room::Error> {
        Ok(false)
    }

    /// Whether this user of ours is a guest, who comes into no room that takes none.
    async fn is_guest(&self, _user: &UserId) -> Result<bool, room::Error> {
        Ok(false)
    }

    /// Whether this user of ours may refuse the invite that he has to a room: not those by which his authority tells him
    /// something.
    async fn may_refuse(&self, _user: &UserId, _room_id: &RoomId) -> Result<bool, room::Error> {
        Ok(true)
    }
}

/// Who makes users and aliases of ours that somebody looks for. It is asked without a room's lock, and answers within a bound.
#[async_trait]
pub trait Namesakes: Send + Sync {
    /// Has an alias made that stands for nothing yet; whether it was.
    async fn make_alias(&self, alias: &RoomAliasId) -> bool;

    /// Has a user of ours made who is asked into a room, if he is not there yet.
    async fn make_user(&self, user: &UserId);
}

/// A join or leave event to complete and sign, from a server in the room.
#[derive(Debug)]
pub struct Template {
    /// The room's version; absent means version 1.
    pub version: Option<RoomVersionId>,
    /// The event's JSON object, unsigned and without hashes.
    pub event: Box<RawValue>,
}

/// The answer to `send_join`.
#[derive(Debug, Default)]
pub struct Joined {
    /// The room's state before the join.
    pub state: Vec<Box<RawValue>>,
    /// The auth chain of that state.
    pub auth_chain: Vec<Box<RawValue>>,
    /// The join event with the other server's signature added, for restricted joins.
    pub event: Option<Box<RawValue>>,
    /// Whether member events were left out of `state`.
    pub members_omitted: bool,
    /// The servers in the room, when members were left out.
    pub servers_in_room: Vec<OwnedServerName>,
}

/// Ids of the state before an event, and of its auth chain.
#[derive(Clone, Debug, Default)]
pub struct StateIds {
    /// The state.
    pub state: Vec<OwnedEventId>,
    /// The auth chain of the state.
    pub auth_chain: Vec<OwnedEventId>,
}

/// The state before an event, and its auth chain.
#[derive(Debug, Default)]
pub struct StateEvents {
    /// The state.
    pub state: Vec<Box<RawValue>>,
    /// The auth chain of the state.
    pub auth_chain: Vec<Box<RawValue>>,
}

/// The question of `get_missing_events`.
#[derive(Clone, Debug)]
pub struct MissingEvents<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// Events that the asker has.
    pub earliest: &'a [OwnedEventId],
    /// Events whose ancestors are wanted.
    pub latest: &'a [OwnedEventId],
    /// At most this many.
    pub limit: u32,
    /// None of less depth.
    pub min_depth: u64,
}

/// What an alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasAnswer {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that may help to join it.
    pub servers: Vec<OwnedServerName>,
}

/// Requests to other servers. `from` is the authority of ours in whose name we ask.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/>
#[expect(clippy::too_many_arguments, reason = "as many as the request has parts")]
#[async_trait]
pub trait Remote: Send + Sync {
    /// `GET /make_join`: a join event to complete. We understand `versions`.
    async fn make_join(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, RemoteError>;

    /// `PUT /v2/send_join`.
    async fn send_join(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
        omit_members: bool,
    ) -> Result<Joined, RemoteError>;

    /// `GET /make_leave`.
    async fn make_leave(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Template, RemoteError>;

    /// `PUT /v2/send_leave`.
    async fn send_leave(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<(), RemoteError>;

    /// `GET /make_knock`.
    async fn make_knock(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, RemoteError>;

    /// `PUT /send_knock`: answers with stripped state.
    async fn send_knock(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<Vec<Box<RawValue>>, RemoteError>;

    /// `PUT /v2/invite`: the event, signed by the invited user's server too.
    async fn invite(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        version: &RoomVersionId,
        event: &RawValue,
        invite_room_state: &[Box<RawValue>],
    ) -> Result<Box<RawValue>, RemoteError>;

    /// `PUT /exchange_third_party_invite`: has the inviter's server make an invite of a proof.
    async fn exchange_third_party_invite(
        &self,
        _from: &ServerName,
        _to: &ServerName,
        _room_id: &RoomId,
        _event: &RawValue,
    ) -> Result<(), RemoteError> {
        Err(RemoteError::Off)
    }

    /// `POST /get_missing_events`.
    async fn get_missing_events(
        &self,
        from: &ServerName,
        to: &ServerName,
        question: MissingEvents<'_>,
    ) -> Result<Vec<Box<RawValue>>, RemoteError>;

    /// `GET /state_ids`: the state before an event.
    async fn state_ids(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateIds, RemoteError>;

    /// `GET /state`: the same with the events.
    async fn state(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateEvents, RemoteError>;

    /// `GET /event`.
    async fn event(
        &self,
        from: &ServerName,
        to: &ServerName,
        event_id: &EventId,
    ) -> Result<Box<RawValue>, RemoteError>;

    /// `GET /event_auth`: the auth chain of an event.
    async fn event_auth(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>, RemoteError>;

    /// `GET /backfill`: at most `limit` events before and including `events`.
    async fn backfill(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        events: &[OwnedEventId],
        limit: u32,
    ) -> Result<Vec<Box<RawValue>>, RemoteError>;

    /// `GET /query/directory`.
    async fn query_directory(
        &self,
        from: &ServerName,
        to: &ServerName,
        alias: &RoomAliasId,
    ) -> Result<AliasAnswer, RemoteError>;
}

/// Where keys of other servers (and of ours) come from.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The keys named, as far as they can be had; those missing in the answer could not be fetched.
    ///
    /// `at` is the time for which they are wanted: a key whose known validity ends before is fetched
    /// again. One call asks for all that a batch of events needs.
    async fn keys(&self, wanted: &[(OwnedServerName, OwnedServerSigningKeyId)], at: Timestamp) -> KeyRing;

    /// Those of the keys named that are here; nobody is asked.
    async fn held_keys(
        &self,
        wanted: &[(OwnedServerName, OwnedServerSigningKeyId)],
        at: Timestamp,
    ) -> KeyRing;
}

/// No other servers: every request answers [`RemoteError::Off`].
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRemote;

#[async_trait]
impl Remote for NoRemote {
    async fn make_join(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &UserId,
        _: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn send_join(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
        _: &RawValue,
        _: bool,
    ) -> Result<Joined, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn make_leave(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &UserId,
    ) -> Result<Template, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn send_leave(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
        _: &RawValue,
    ) -> Result<(), RemoteError> {
        Err(RemoteError::Off)
    }

    async fn make_knock(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &UserId,
        _: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn send_knock(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
        _: &RawValue,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn invite(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
        _: &RoomVersionId,
        _: &RawValue,
        _: &[Box<RawValue>],
    ) -> Result<Box<RawValue>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn get_missing_events(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: MissingEvents<'_>,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn state_ids(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
    ) -> Result<StateIds, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn state(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
    ) -> Result<StateEvents, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn event(&self, _: &ServerName, _: &ServerName, _: &EventId) -> Result<Box<RawValue>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn event_auth(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn backfill(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &[OwnedEventId],
        _: u32,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn query_directory(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomAliasId,
    ) -> Result<AliasAnswer, RemoteError> {
        Err(RemoteError::Off)
    }
}

#[async_trait]
impl KeySource for NoRemote {
    async fn keys(&self, _: &[(OwnedServerName, OwnedServerSigningKeyId)], _: Timestamp) -> KeyRing {
        KeyRing::default()
    }

    async fn held_keys(&self, _: &[(OwnedServerName, OwnedServerSigningKeyId)], _: Timestamp) -> KeyRing {
        KeyRing::default()
    }
}
