//! The room directory: rooms that an authority shows to everybody.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use std::collections::HashSet;

use audit::{Action, Actor};
use base::Term;
use ruma::{
    OwnedMxcUri, OwnedRoomAliasId, OwnedRoomId, RoomId, ServerName, UInt, UserId,
    directory::{PublicRoomsChunk, PublicRoomsChunkInit},
    room::{JoinRuleKind, RoomType},
};
use serde_json::{Value, json};
use store::{Batch, CommitError, Range, Table, Tuning};

use crate::{
    Error, RoomSerial, Rooms,
    attempts::Attempts,
    read::{
        members::MemberCounts,
        room::{RoomInfo, bind},
    },
    tables::{Membership, Summary},
};

/// Rooms in an authority's directory; key: server name, room, value: the room's id.
pub static PUBLISHED: Table<(String, RoomSerial), String> = Table::new(64, "room.published", Tuning::Small);

/// Rooms in the directories of third-party networks; key: room, server name and network with a space between them, value: the
/// room's id.
pub static NETWORKS: Table<(RoomSerial, String), String> = Table::new(85, "room.networks", Tuning::Small);

/// The longest name of a network, with the service that leads to it, in bytes.
const LONGEST_NETWORK: usize = 512;

/// The most rooms of one page.
const MAX_PAGE: usize = 500;

/// So many rooms are compared with a query in one go.
const COMPARED_AT_ONCE: usize = 16;

/// Which rooms of a directory are wanted.
#[derive(Clone, Debug, Default)]
pub struct DirectoryQuery {
    /// At most this many.
    pub limit: Option<usize>,
    /// Where to go on; [`DirectoryPage::next`] or [`DirectoryPage::previous`] of an earlier page.
    pub since: Option<String>,
    /// Only rooms whose name, topic or alias contains this, as searches compare it: [`Term`].
    pub search: Option<String>,
    /// The directory of this third-party network, or those of all beside the authority's own.
    pub network: Network,
    /// Only rooms of these types; `None` in the list is a room without a type.
    pub types: Option<Vec<Option<RoomType>>>,
}

/// Whose directory of an authority is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Its own.
    #[default]
    Own,
    /// That of a third-party network, as a service leads to it.
    Third(String),
    /// All of them.
    All,
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
    pub fn stage_published(&self, batch: &mut Batch, room: &RoomInfo, creator: &UserId, by: &Actor) {
        let key = (creator.server_name().as_str(), room.serial);
        batch.put(&PUBLISHED, &key, &room.room_id.to_string());
        self.deed(Action::PublishRoom, by, room.room_id.as_str()).write(batch, creator.server_name());
    }

    /// Shows a room in the directory of the user's authority, or takes it out; `by` is the user, for the audit log, which
    /// tells nothing where it is so already.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] when the user lacks the power to name the room's main alias; [`Error::NotJoined`];
    /// [`Error::Denied`]; [`Error::NoRoom`]; [`Error::Contended`]; [`Error::Commit`].
    pub async fn set_published(
        &self,
        user: &UserId,
        room_id: &RoomId,
        published: bool,
        by: &Actor,
    ) -> Result<(), Error> {
        let room = self.get_room(room_id).await?;
        if self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        if !self.may_set_state(user, room_id, "m.room.canonical_alias").await? {
            return Err(Error::NotAllowed("you may not change the room's entry in the directory".to_owned()));
        }
        if published {
            self.0.policy.publish(user, room_id)?;
        }
        let key = (user.server_name().as_str(), room.serial);
        let mut attempts = Attempts::default();
        loop {
            let entry = self.store().get(&PUBLISHED, &key).await?;
            if entry.is_some() == published {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.require(&PUBLISHED, &key, entry.as_ref());
            if published {
                bind(&mut batch, &room);
                self.stage_published(&mut batch, &room, user, by);
            } else {
                batch.delete(&PUBLISHED, &key);
                let deed = self.deed(Action::WithdrawRoom, by, room_id.as_str());
                deed.write(&mut batch, user.server_name());
            }
            match self.store().commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. }) => attempts.again(self).await?,
                Err(error) => return Err(Error::Commit(error)),
            }
        }
    }

    /// Shows a room in the directory of a third-party network of the user's authority, or takes it out. Only for rooms in which
    /// somebody is whom the service leads there (`is_own`); `by` is who asks, for the audit log.
    ///
    /// # Errors
    /// [`Error::NotJoined`]; [`Error::Invalid`] for a network with too long a name; [`Error::Denied`]; [`Error::NoRoom`];
    /// [`Error::Commit`].
    pub async fn set_published_at(
        &self,
        user: &UserId,
        room_id: &RoomId,
        network: &str,
        published: bool,
        is_own: &(dyn Fn(&UserId) -> bool + Sync),
        by: &Actor,
    ) -> Result<(), Error> {
        if network.len() > LONGEST_NETWORK {
            return Err(Error::Invalid("the network has too long a name".to_owned()));
        }
        let room = self.get_room(room_id).await?;
        let members = self.local_members_of(&[room.serial]).await?;
        if !members.iter().flatten().any(|member| is_own(member)) {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        if published {
            self.0.policy.publish(user, room_id)?;
        }
        let name = format!("{} {network}", user.server_name());
        let key = (room.serial, name.as_str());
        if self.store().get(&NETWORKS, &key).await?.is_some() == published {
            return Ok(());
        }
        let mut batch = Batch::new();
        bind(&mut batch, &room);
        let action = match published {
            true => {
                batch.put(&NETWORKS, &key, &room_id.to_string());
                Action::PublishRoom
            }
            false => {
                batch.delete(&NETWORKS, &key);
                Action::WithdrawRoom
            }
        };
        let deed = self.deed(action, by, room_id.as_str()).after("network", network);
        deed.write(&mut batch, user.server_name());
        self.store().commit(batch).await.map(drop).map_err(Error::Commit)
    }

    /// The rooms of an authority's directories.
    async fn listed(
        &self,
        authority: &ServerName,
        network: &Network,
    ) -> Result<Vec<(RoomSerial, String)>, Error> {
        let mut shown = Vec::new();
        if !matches!(network, Network::Third(_)) {
            let range = Range::prefix(authority.as_str());
            let rows = self.store().scan(&PUBLISHED, range, store::Order::Ascending, usize::MAX).await?;
            shown.extend(rows.into_iter().map(|((_, room), id)| (room, id)));
        }
        if *network != Network::Own {
            let rows =
                self.store().scan(&NETWORKS, Range::all(), store::Order::Ascending, usize::MAX).await?;
            let is_of = |name: &str| match (name.split_once(' '), network) {
                (Some((server, name)), Network::Third(network)) => server == authority && name == network,
                (Some((server, _)), _) => server == authority,
                (None, _) => false,
            };
            let of_networks = rows.into_iter().filter(|((_, name), _)| is_of(name));
            shown.extend(of_networks.map(|((room, _), id)| (room, id)));
            shown.sort_unstable();
            shown.dedup();
        }
        Ok(shown)
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
        let rows = self.listed(authority, &query.network).await?;
        let serials: Vec<RoomSerial> = rows.iter().map(|(room, _)| *room).collect();
        let (summaries, counts) = (self.summaries(&serials).await?, self.member_counts(&serials).await?);
        let wanted = Wanted::by(query);
        let mut rooms: Vec<PublicRoomsChunk> = Vec::new();
        for (number, (((_, room_id), summary), counts)) in
            rows.into_iter().zip(summaries).zip(counts).enumerate()
        {
            if number % COMPARED_AT_ONCE == COMPARED_AT_ONCE - 1 {
                // Long names of many rooms are not to hold up others' requests.
                tokio::task::yield_now().await;
            }
            if wanted.matches(&summary)
                && let Ok(room_id) = OwnedRoomId::try_from(room_id)
            {
                rooms.push(describe(room_id, summary, counts));
            }
        }
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

/// A query made ready: what it names is read once, however many rooms and however many words.
struct Wanted<'a> {
    term: Option<Term>,
    types: Option<HashSet<Option<&'a str>>>,
}

impl<'a> Wanted<'a> {
    fn by(query: &'a DirectoryQuery) -> Wanted<'a> {
        let types = query.types.as_ref();
        Wanted {
            term: query.search.as_deref().map(Term::new),
            types: types.map(|types| types.iter().map(|kind| kind.as_ref().map(RoomType::as_str)).collect()),
        }
    }

    fn matches(&self, summary: &Summary) -> bool {
        let of_type = self.types.as_ref().is_none_or(|types| types.contains(&summary.room_type.as_deref()));
        let mut texts = [&summary.name, &summary.topic, &summary.canonical_alias].into_iter().flatten();
        of_type && self.term.as_ref().is_none_or(|term| texts.any(|text| term.is_in(text)))
    }
}

fn describe(room_id: OwnedRoomId, summary: Summary, counts: MemberCounts) -> PublicRoomsChunk {
    let mut room = PublicRoomsChunk::from(PublicRoomsChunkInit {
        num_joined_members: UInt::new_saturating(counts.joined),
        room_id,
        world_readable: summary.history_visibility.as_deref() == Some("world_readable"),
        guest_can_join: summary.takes_guests(),
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
