//! `/rooms/{roomId}/initialSync`: a room as it is, for who is in it, was in it, or looks into it from outside.

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use room::read::{
    list::EventList,
    messages::PageQuery,
    timeline::Direction,
    view::{Form, Viewer},
};
use ruma::{OwnedDeviceId, OwnedUserId, RoomId, ServerName};
use tracing::warn;

use crate::{Error, Syncs, write::Out};

/// The state of a room, in the making.
struct Rest {
    syncs: Syncs,
    list: EventList,
    is_begun: bool,
}

impl Syncs {
    /// A room as it is: its newest events, and its state, which is read part by part as it is sent.
    ///
    /// # Errors
    /// [`room::Error::NotJoined`] for one into which the user may not look; as [`room::Rooms::state_list`].
    pub(crate) async fn room_as_it_is(
        &self,
        (user, device): (OwnedUserId, OwnedDeviceId),
        authority: &ServerName,
        room_id: &RoomId,
        limit: usize,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let ignored = self.ignored(&user).await?;
        let viewer = Viewer { user: &user, device: Some(&device), ignored: Some(&ignored) };
        let room = self.rooms().get_room(room_id).await?;
        let standpoint = self.rooms().standpoint(&user, &room).await?;
        let query = PageQuery {
            from: None,
            to: None,
            direction: Direction::Backward,
            limit,
            filter: Default::default(),
        };
        let mut page = self.rooms().messages(&viewer, room_id, &query).await?;
        page.chunk.reverse();
        let list = self.rooms().state_list(&viewer, room_id).await?;
        let data = self.new_data(&user, None).await?.rooms.remove(room_id).unwrap_or_default();
        let is_published = self.rooms().is_published(authority, room_id).await?;

        let now = self.clock().now();
        let mut out = Out::with_capacity(16 * 1024);
        out.raw("{");
        out.key("room_id");
        out.string(room_id.as_str());
        if let Some(membership) = standpoint.membership {
            out.key("membership");
            out.string(room::read::event::name_of(membership));
        }
        out.key("visibility");
        out.string(if is_published { "public" } else { "private" });
        out.key("account_data");
        out.items(&data);
        out.open("messages");
        out.key("start");
        out.string(&page.end.unwrap_or(room::read::token::Token::START).to_string());
        out.key("end");
        out.string(&page.start.to_string());
        out.key("chunk");
        out.raw("[");
        for look in &page.chunk {
            out.comma();
            out.look(look, Form::Full, now);
        }
        out.raw("]}");
        // Who is there, and who has read what, `/sync` tells.
        out.raw(",\"presence\":[],\"receipts\":[],\"state\":[");
        let rest = Rest { syncs: self.clone(), list, is_begun: false };
        let parts = stream::try_unfold(Some(rest), async |rest| {
            let Some(mut rest) = rest else { return Ok(None) };
            let part = rest.next().await.inspect_err(|error| warn!(%error, "a room is broken off"))?;
            let next = (!rest.list.is_at_end()).then_some(rest);
            Ok(Some((part, next)))
        });
        let first = stream::once(std::future::ready(Ok(out.into_bytes())));
        let last = stream::once(std::future::ready(Ok(Bytes::from_static(b"]}"))));
        let all: BoxStream<'static, Result<Bytes, Error>> = first.chain(parts).chain(last).boxed();
        Ok(all)
    }
}

impl Rest {
    /// The next events, read when it is their turn.
    async fn next(&mut self) -> Result<Bytes, Error> {
        let syncs = self.syncs.clone();
        // Nobody ever closes it.
        let _turn = syncs.groups().turns.acquire().await.ok();
        let now = syncs.clock().now();
        let mut out = Out::with_capacity(64 * 1024);
        for look in self.list.next().await? {
            if std::mem::replace(&mut self.is_begun, true) {
                out.raw(",");
            }
            out.look(&look, Form::Full, now);
        }
        Ok(out.into_bytes())
    }
}
