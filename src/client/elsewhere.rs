//! What clients may ask us that only other servers know.

use async_trait::async_trait;
use room::{
    RemoteError,
    read::{
        directory::{DirectoryPage, DirectoryQuery},
        space::SpaceAnswer,
    },
};
use ruma::{RoomId, ServerName, UserId};
use serde_json::{Map, Value};

/// Questions to other servers. `from` is the authority of ours in whose name they are asked.
#[async_trait]
pub trait Elsewhere: Send + Sync {
    /// The profile of another server's user, or one field of it.
    async fn profile(
        &self,
        from: &ServerName,
        user: &UserId,
        field: Option<&str>,
    ) -> Result<Map<String, Value>, RemoteError>;

    /// A page of another server's directory.
    async fn public_rooms(
        &self,
        from: &ServerName,
        server: &ServerName,
        query: &DirectoryQuery,
    ) -> Result<DirectoryPage, RemoteError>;

    /// What another server tells of a space, or another room, and of the rooms in it.
    async fn space(
        &self,
        from: &ServerName,
        server: &ServerName,
        room_id: &RoomId,
        suggested_only: bool,
    ) -> Result<SpaceAnswer, RemoteError>;
}

/// No other servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoElsewhere;

#[async_trait]
impl Elsewhere for NoElsewhere {
    async fn profile(
        &self,
        _: &ServerName,
        _: &UserId,
        _: Option<&str>,
    ) -> Result<Map<String, Value>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn public_rooms(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &DirectoryQuery,
    ) -> Result<DirectoryPage, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn space(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: bool,
    ) -> Result<SpaceAnswer, RemoteError> {
        Err(RemoteError::Off)
    }
}
