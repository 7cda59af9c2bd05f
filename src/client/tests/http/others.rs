//! Stand-ins for other servers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use client::Elsewhere;
use room::{
    RemoteError,
    read::{
        directory::{DirectoryPage, DirectoryQuery},
        space::SpaceAnswer,
    },
};
use ruma::{RoomId, ServerName, UserId};
use serde_json::{Map, Value};

/// The JSON that a server answers to the question for a room, if it answers.
type Tell = dyn Fn(&ServerName, &RoomId) -> Option<String> + Send + Sync;

/// Others who tell of rooms what a test wants; `hung` never answers. They count how often they are asked.
pub(crate) struct Others {
    tell: Box<Tell>,
    asked: AtomicUsize,
}

impl Others {
    pub(crate) fn who_tell(
        tell: impl Fn(&ServerName, &RoomId) -> Option<String> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { tell: Box::new(tell), asked: AtomicUsize::new(0) })
    }

    /// Others who answer nothing.
    pub(crate) fn silent() -> Arc<Self> {
        Self::who_tell(|_, _| None)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn off<T>(&self) -> Result<T, RemoteError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Err(RemoteError::Off)
    }
}

#[async_trait]
impl Elsewhere for Others {
    async fn profile(
        &self,
        _: &ServerName,
        _: &UserId,
        _: Option<&str>,
    ) -> Result<Map<String, Value>, RemoteError> {
        self.off()
    }

    async fn public_rooms(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &DirectoryQuery,
    ) -> Result<DirectoryPage, RemoteError> {
        self.off()
    }

    async fn space(
        &self,
        _: &ServerName,
        server: &ServerName,
        room_id: &RoomId,
        _: bool,
    ) -> Result<SpaceAnswer, RemoteError> {
        if server == "hung" {
            std::future::pending::<()>().await;
        }
        match (self.tell)(server, room_id) {
            Some(answer) => Ok(serde_json::from_str(&answer).unwrap()),
            None => self.off(),
        }
    }
}
