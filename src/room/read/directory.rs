//! The room directory: rooms that an authority shows to everybody.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use base::fold;
use ruma::{
    OwnedMxcUri, OwnedRoomAliasId, OwnedRoomId, RoomId, ServerName, UInt, UserId,
    directory::{PublicRoomsChunk, PublicRoomsChunkInit},
    room::{JoinRuleKind, RoomType},
};
use serde_json::{Value, json};
use store::{Batch, Range, Table, Tuning};

use crate::{
    Error, RoomSerial, Rooms,
    read::{members::MemberCounts, room::RoomInfo},
    tables::{Membership, Summary},
};

/// Rooms in an authority's directory; key: server name, room, value: the room's id.
pub(crate) static PUBLISHED: Table<(String, RoomSerial), String> =
    Table::new(64, "room.published", Tuning::Small);

/// The most rooms of one page.
const MAX_PAGE: usize = 500;

/// Which rooms of a directory are wanted.
#[derive(Clone, Debug, Default)]
pub struct DirectoryQuery {
    /// At most this many.
    pub limit: Option<usize>,
    /// Where to go on; [`DirectoryPage::next`] or [`DirectoryPage::previous`] of an earlier page.
    pub since: Option<String>,
    /// Only rooms whose name, topic or alias contains this, both [folded](fold).
    pub search: Option<String>,
    /// Only rooms of these types; `None` in the list is a room without a type.
    pub types: Option<Vec<Option<RoomType>>>,
}

/// A page of a directory, largest rooms first.
#[derive(Clone, Debug, Default)]
pub struct DirectoryPage {
    /// The rooms.
    pub chunk: Vec<PublicRoomsChunk>,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Where the page before begins.
    pub previous: Option<String>,
    /// How many rooms the query finds in all.
    pub total: usize,
}

impl DirectoryPage {
    /// The page as answers to clients and servers hold it. The join rule is always told: that a room without
    /// one is public is not what every reader takes it for.
    ///
    /// # Errors
    /// When the rooms cannot be written as JSON.
    pub fn to_json(&self) -> Result<Value, serde_json::Error> {
        let mut chunk = Vec::with_capacity(self.chunk.len());
        for room in &self.chunk {
            let mut shown = serde_json::to_value(room)?;
            shown["join_rule"] = json!(room.join_rule);
            chunk.push(shown);
        }
        let mut page = json!({ "chunk": chunk, "total_room_count_estimate": self.total });
        for (name, token) in [("next_batch", &self.next), ("prev_batch", &self.previous)] {
            if let Some(token) = token {
                page[name] = json!(token);
            }
        }
        Ok(page)
    }
}

impl Rooms {
    /// Adds a room to its creator's directory, in a batch.
    pub(crate) fn stage_published(&self, batch: &mut Batch, room: &RoomInfo, creator: &UserId) {
        let key = (creator.server_name().as_str(), room.serial);
        batch.put(&PUBLISHED, &key, &room.room_id.to_string());
    }

    /// Shows a room in the directory of the user's authority, or takes it out.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] when the user lacks the power to name the room's main alias; [`Error::NotJoined`];
    /// [`Error::Denied`]; [`Error::NoRoom`].
    pub async fn set_published(&self, user: &UserId, room_id: &RoomId, published: bool) -> Result<(), Error> {
        let room = self.get_room(room_id).await?;
        if self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        if !self.may_set_state(user, room_id, "m.room.canonical_alias").await? {
            return Err(Error::NotAllowed("you may not change the room's entry in the directory".to_owned()));
        }
        let mut batch = Batch::new();
        if published {
            self.0.policy.publish(user, room_id)?;
            self.stage_published(&mut batch, &room, user);
        } else {
            batch.delete(&PUBLISHED, &(user.server_name().as_str(), room.serial));
        }
        self.store().commit(batch).await.map(|_| ()).map_err(Error::Commit)
    }

    /// Whether an authority's directory shows a room; it does not show one that we do not know.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn is_published(&self, authority: &ServerName, room_id: &RoomId) -> Result<bool, Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(false) };
        Ok(self.store().get(&PUBLISHED, &(authority.as_str(), room.serial)).await?.is_some())
    }

    /// A page of an authority's directory.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token that we did not give out; [`Error::Store`].
    pub async fn public_rooms(
        &self,
        authority: &ServerName,
        query: &DirectoryQuery,
    ) -> Result<DirectoryPage, Error> {
        let start: usize = match query.since.as_deref() {
            None | Some("") => 0,
            Some(since) => {
                let number = since.strip_prefix("d1_").and_then(|number| number.parse().ok());
                number.ok_or_else(|| Error::Invalid("`since` is no token of this server".to_owned()))?
            }
        };
        let range = Range::prefix(authority.as_str());
        let rows = self.store().scan(&PUBLISHED, range, store::Order::Ascending, usize::MAX).await?;
        let serials: Vec<RoomSerial> = rows.iter().map(|((_, room), _)| *room).collect();
        let (summaries, counts) = (self.summaries(&serials).await?, self.member_counts(&serials).await?);
        let mut rooms: Vec<PublicRoomsChunk> = rows
            .into_iter()
            .zip(summaries)
            .zip(counts)
            .filter(|((_, summary), _)| query.matches(summary))
            .filter_map(|(((_, room_id), summary), counts)| {
                Some(describe(OwnedRoomId::try_from(room_id).ok()?, summary, counts))
            })
            .collect();
        rooms.sort_by(|a, b| b.num_joined_members.cmp(&a.num_joined_members).then(a.room_id.cmp(&b.room_id)));

        let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let total = rooms.len();
        let chunk: Vec<_> = rooms.into_iter().skip(start).take(limit).collect();
        let end = start.saturating_add(chunk.len());
        Ok(DirectoryPage {
            next: (end < total && !chunk.is_empty()).then(|| format!("d1_{end}")),
            previous: (start > 0).then(|| format!("d1_{}", start.saturating_sub(limit))),
            chunk,
            total,
        })
    }

    /// What lists of rooms show of a room, whoever asks.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::Store`].
    pub async fn public_room(&self, room_id: &RoomId) -> Result<PublicRoomsChunk, Error> {
        let room = self.get_room(room_id).await?;
        let summary = self.summaries(&[room.serial]).await?.pop().unwrap_or_default();
        let counts = self.member_counts(&[room.serial]).await?.pop().unwrap_or_default();
        Ok(describe(room_id.to_owned(), summary, counts))
    }
}

impl DirectoryQuery {
    fn matches(&self, summary: &Summary) -> bool {
        let found = self.search.as_deref().map(fold).is_none_or(|search| {
            [&summary.name, &summary.topic, &summary.canonical_alias]
                .into_iter()
                .flatten()
                .any(|text| fold(text).contains(&search))
        });
        let of_type = self.types.as_ref().is_none_or(|types| {
            types.iter().any(|kind| kind.as_ref().map(RoomType::as_str) == summary.room_type.as_deref())
        });
        found && of_type
    }
}

fn describe(room_id: OwnedRoomId, summary: Summary, counts: MemberCounts) -> PublicRoomsChunk {
    let mut room = PublicRoomsChunk::from(PublicRoomsChunkInit {
        num_joined_members: UInt::new_saturating(counts.joined),
        room_id,
        world_readable: summary.history_visibility.as_deref() == Some("world_readable"),
        guest_can_join: summary.guest_access.as_deref() == Some("can_join"),
    });
    room.canonical_alias = summary.canonical_alias.and_then(|alias| OwnedRoomAliasId::try_from(alias).ok());
    room.name = summary.name;
    room.topic = summary.topic;
    room.avatar_url = summary.avatar.map(OwnedMxcUri::from);
    // The default of the field is "public"; a room without the event is closed.
    room.join_rule = JoinRuleKind::from(summary.join_rule.as_deref().unwrap_or("invite"));
    room.room_type = summary.room_type.map(RoomType::from);
    room
}
