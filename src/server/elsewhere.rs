//! Questions of our users to other servers: the client interface asks, federation answers.

use async_trait::async_trait;
use federation::{Federation, PublicRoomsQuestion};
use room::{
    RemoteError,
    read::{
        bounded,
        directory::{DirectoryPage, DirectoryQuery},
        space::SpaceAnswer,
    },
};
use ruma::{RoomId, ServerName, UserId, directory::PublicRoomsChunk};
use serde::{Deserialize, Deserializer};
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

/// The way from the client interface to other servers.
pub(crate) struct Elsewhere(pub(crate) Federation);

impl to_device::Contacts for Elsewhere {
    fn may_contact(&self, server: &ServerName) -> bool {
        self.0.may_contact(server)
    }

    fn is_known(&self, server: &ServerName) -> bool {
        self.0.is_known(server)
    }
}

/// A page of a directory, of which a room that cannot be read costs that room alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    #[serde(deserialize_with = "some_rooms")]
    chunk: Vec<PublicRoomsChunk>,
    #[serde(deserialize_with = "pdu::lenient::field")]
    next_batch: Option<String>,
    #[serde(deserialize_with = "pdu::lenient::field")]
    prev_batch: Option<String>,
    #[serde(deserialize_with = "pdu::lenient::field")]
    total_room_count_estimate: Option<usize>,
}

/// Most rooms of a page, and the longest token of another one, in bytes.
const MAX_ROOMS: usize = 500;
const MAX_TOKEN: usize = 1_024;
/// Longest address of a picture, in bytes.
const MAX_ADDRESS: usize = 1_024;

fn some_rooms<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<PublicRoomsChunk>, D::Error> {
    let mut rooms: Vec<PublicRoomsChunk> = bounded::first(json, MAX_ROOMS)?;
    for room in &mut rooms {
        room.name = room.name.take().map(|name| bounded::name(&name).to_owned());
        room.topic = room.topic.take().map(|topic| bounded::topic(&topic).to_owned());
        room.avatar_url.take_if(|url| url.as_str().len() > MAX_ADDRESS);
        room.room_type.take_if(|kind| kind.as_str().len() > MAX_ADDRESS);
    }
    Ok(rooms)
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
            next: page.next_batch.filter(|token| token.len() <= MAX_TOKEN),
            previous: page.prev_batch.filter(|token| token.len() <= MAX_TOKEN),
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

#[async_trait]
impl encryption::Peers for Elsewhere {
    async fn query_keys(
        &self,
        from: &ServerName,
        to: &ServerName,
        wanted: &encryption::Wanted,
    ) -> Result<Box<RawValue>, RemoteError> {
        self.0.peering().query_keys(from, to, &json!({ "device_keys": wanted })).await
    }

    async fn claim_keys(
        &self,
        from: &ServerName,
        to: &ServerName,
        wanted: &encryption::Claims,
    ) -> Result<Box<RawValue>, RemoteError> {
        self.0.peering().claim_keys(from, to, &json!({ "one_time_keys": wanted })).await
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_servers_directory_is_bounded_in_its_rooms_and_in_their_texts() {
        let room = |number: usize, topic: &str| {
            json!({ "room_id": format!("!r{number}:b.test"), "name": topic, "topic": topic, "num_joined_members": 1,
                "world_readable": true, "guest_can_join": false, "avatar_url": format!("mxc://b.test/{topic}") })
        };
        let mut chunk = vec![json!(5), room(0, &"字".repeat(1 << 20))];
        chunk.extend((1..3_000).map(|number| room(number, "t")));
        let page = json!({ "chunk": chunk, "next_batch": "x".repeat(1 << 20) }).to_string();
        let page: Page = serde_json::from_str(&page).unwrap();
        assert_eq!(page.chunk.len(), MAX_ROOMS);
        let first = &page.chunk[0];
        assert!(first.topic.as_ref().is_some_and(|topic| topic.starts_with('字') && topic.len() <= 4_096));
        assert!(first.name.as_ref().is_some_and(|name| name.len() <= 1_024) && first.avatar_url.is_none());
        assert!(page.chunk[1].avatar_url.is_some());
    }
}
