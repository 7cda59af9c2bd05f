//! `/initialSync`: all rooms of a user as they are.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use room::read::{
    token::{Rest, Token},
    view::{Form, Look},
};
use ruma::{OwnedDeviceId, OwnedUserId, UInt, api::client::filter::FilterDefinition};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::warn;

use crate::{
    Error, StateAfter, SyncFilter, SyncRequest, Syncs,
    groups::grouped,
    joined::RoomPart,
    left::StrippedPart,
    rooms::{RoomPlan, Scene},
    syncs::wanted,
    write::Out,
};

impl Syncs {
    /// All rooms of a user as they are, with so many of the newest events of each; those that he left, if `archived`.
    /// They are read a few at a time, as they are sent.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn all_as_it_is(
        &self,
        (user, device): (OwnedUserId, OwnedDeviceId),
        limit: u32,
        archived: bool,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let mut filter = FilterDefinition::default();
        filter.room.timeline.limit = Some(UInt::from(limit));
        filter.room.include_leave = archived;
        let request = Arc::new(SyncRequest {
            user,
            device,
            since: None,
            rest: Rest::default(),
            timeout: Duration::ZERO,
            full_state: false,
            presence: None,
            state_after: StateAfter { stable: true, unstable: false },
            filter: Arc::new(SyncFilter::new(&filter)),
        });
        let (head, rooms) = self.rooms_at_head(&request.user).await?;
        let data = self.new_data(&request.user, None).await?;
        let ignored = self.ignored(&request.user).await?;
        let scene = Scene::anew(&request, head, ignored.clone());
        let plan = self.plan(&scene, &rooms, data.rooms).await?;
        let (invited, knocked, left) = self.outside_parts(&scene, &plan).await?;
        let serials: Vec<_> = plan.joined.iter().map(|plan| plan.row.room).collect();
        let counts = self.rooms().member_counts(&serials).await?;
        let groups = grouped(plan.joined.into_iter().zip(counts.into_iter().map(|count| count.joined)));

        let mut out = Out::with_capacity(64 * 1024);
        out.raw("{");
        out.key("end");
        out.string(&Token::after(head).to_string());
        out.key("account_data");
        out.items(&wanted(&request, data.global));
        // Who is there, and who has read what, `/sync` tells.
        out.raw(",\"presence\":[],\"receipts\":[],\"rooms\":[");
        for (parts, membership) in [(&invited, "invite"), (&knocked, "knock")] {
            for part in parts {
                out.outside_room(&request.user, part, membership);
            }
        }
        let now = self.clock().now();
        for part in &left {
            out.room_as_it_is(part, "leave", now);
        }
        let mut has_rooms = !(invited.is_empty() && knocked.is_empty() && left.is_empty());
        let syncs = self.clone();
        let read = move |group: Vec<RoomPlan>| {
            let (syncs, request, ignored) = (syncs.clone(), request.clone(), ignored.clone());
            let tasks = syncs.groups().tasks.clone();
            tasks.spawn("rooms of an initial sync", async move {
                // Nobody ever closes it.
                let _turn = syncs.groups().turns.acquire().await.ok();
                let scene = Scene::anew(&request, head, ignored);
                let parts: Vec<RoomPart> = syncs.joined_or_less(&scene, &group).await?;
                let mut out = Out::with_capacity(64 * 1024);
                for part in &parts {
                    out.room_as_it_is(part, "join", now);
                }
                Ok(out.into_bytes())
            })
        };
        let bodies = stream::iter(groups).map(read).buffered(2).map(move |body| {
            let body = body.unwrap_or(Err(Error::Room(room::Error::Interrupted)));
            let body = body.inspect_err(|error| warn!(%error, "an initial sync is broken off"))?;
            let needs_comma = has_rooms && !body.is_empty();
            has_rooms |= !body.is_empty();
            Ok(match needs_comma {
                true => [&b","[..], &body].concat().into(),
                false => body,
            })
        });
        let first = stream::once(std::future::ready(Ok(out.into_bytes())));
        let last = stream::once(std::future::ready(Ok(Bytes::from_static(b"]}"))));
        Ok(first.chain(bodies).chain(last).boxed())
    }
}

impl Out {
    /// A room that the user is or was in.
    fn room_as_it_is(&mut self, part: &RoomPart, membership: &str, now: base::Timestamp) {
        self.comma();
        self.raw("{");
        self.key("room_id");
        self.string(part.room_id.as_str());
        self.key("membership");
        self.string(membership);
        self.open("messages");
        self.key("start");
        self.string(&part.prev_batch.to_string());
        self.key("end");
        let last = part.timeline.last().and_then(|look| look.event.order());
        self.string(&last.map_or(part.prev_batch, Token).to_string());
        self.key("chunk");
        self.raw("[");
        for look in &part.timeline {
            self.comma();
            self.look(look, Form::Full, now);
        }
        self.raw("]}");
        self.key("state");
        self.raw("[");
        for event in &part.state {
            self.comma();
            self.look(&Look::bare(event.clone()), Form::Full, now);
        }
        self.raw("]");
        self.key("account_data");
        self.items(&part.data);
        self.raw("}");
    }

    /// A room that the user is invited to, or knocks at.
    fn outside_room(&mut self, user: &OwnedUserId, part: &StrippedPart, membership: &str) {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Stripped {
            #[serde(rename = "type")]
            kind: String,
            state_key: String,
        }
        self.comma();
        self.raw("{");
        self.key("room_id");
        self.string(part.room_id.as_str());
        self.key("membership");
        self.string(membership);
        self.key("state");
        self.bytes(&part.events);
        // Our own writers make valid JSON.
        let events: Vec<&RawValue> = serde_json::from_slice(&part.events).unwrap_or_default();
        let is_own = |event: &&&RawValue| {
            let event: Stripped = serde_json::from_str(event.get()).unwrap_or_default();
            event.kind == "m.room.member" && event.state_key == user.as_str()
        };
        if membership == "invite"
            && let Some(own) = events.iter().find(is_own)
        {
            self.key("invite");
            self.raw(own.get());
        }
        self.raw("}");
    }
}
