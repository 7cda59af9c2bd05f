//! Questions of our users to other servers: the client interface asks, federation answers.

use async_trait::async_trait;
use federation::{Federation, PublicRoomsQuestion};
use room::{
    RemoteError,
    read::{
        directory::{DirectoryPage, DirectoryQuery},
        space::SpaceAnswer,
    },
};
use ruma::{RoomId, ServerName, UserId, directory::PublicRoomsChunk};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::to_raw_value};

/// The way from the client interface to other servers.
pub(crate) struct Elsewhere(pub(crate) Federation);

/// A page of a directory, of which a room that cannot be read costs that room alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    #[serde(deserialize_with = "pdu::lenient::list")]
    chunk: Vec<PublicRoomsChunk>,
    #[serde(deserialize_with = "pdu::lenient::field")]
    next_batch: Option<String>,
    #[serde(deserialize_with = "pdu::lenient::field")]
    prev_batch: Option<String>,
    #[serde(deserialize_with = "pdu::lenient::field")]
    total_room_count_estimate: Option<usize>,
}

#[async_trait]
impl client::Elsewhere for Elsewhere {
    async fn profile(
        &self,
        from: &ServerName,
        user: &UserId,
        field: Option<&str>,
    ) -> Result<Map<String, Value>, RemoteError> {
        self.0.peering().query_profile(from, user, field).await
    }

    async fn public_rooms(
        &self,
        from: &ServerName,
        server: &ServerName,
        query: &DirectoryQuery,
    ) -> Result<DirectoryPage, RemoteError> {
        let mut filter = Map::new();
        if let Some(search) = &query.search {
            filter.insert("generic_search_term".to_owned(), json!(search));
        }
        if let Some(types) = &query.types {
            filter.insert("room_types".to_owned(), json!(types));
        }
        let bad = |cause: String| RemoteError::BadAnswer { server: server.to_owned(), cause };
        let question = PublicRoomsQuestion {
            limit: query.limit.and_then(|limit| u64::try_from(limit).ok()),
            since: query.since.clone(),
            filter: Some(to_raw_value(&filter).map_err(|error| bad(error.to_string()))?),
        };
        let answer = self.0.peering().public_rooms(from, server, &question).await?;
        let page: Page = serde_json::from_str(answer.get()).map_err(|error| bad(error.to_string()))?;
        Ok(DirectoryPage {
            total: page.total_room_count_estimate.unwrap_or(page.chunk.len()),
            chunk: page.chunk,
            next: page.next_batch,
            previous: page.prev_batch,
        })
    }

    async fn space(
        &self,
        from: &ServerName,
        server: &ServerName,
        room_id: &RoomId,
        suggested_only: bool,
    ) -> Result<SpaceAnswer, RemoteError> {
        self.0.peering().space(from, server, room_id, suggested_only).await
    }
}
