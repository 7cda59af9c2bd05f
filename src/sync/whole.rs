//! A first answer, or one with all state: as large as the account, so it is made and sent a group of rooms at a time.

use std::{collections::BTreeSet, future::ready, sync::Arc};

use base::Timestamp;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use room::{
    RoomSerial,
    read::{
        filter::LazyMembers,
        token::{Rest, Token},
    },
};
use store::Position;
use tracing::warn;

use crate::{
    Answer, Error, SyncRequest, Syncs,
    groups::grouped,
    rooms::{RoomPlan, Scene},
    syncs::wanted,
    write::Out,
};

/// So many groups of one answer are read at a time, and held until the client takes them.
const GROUPS_AHEAD: usize = 2;

/// How the answer ends.
const END: &str = "}}}";

impl Syncs {
    /// A first answer, or one with all state.
    pub(crate) async fn whole(&self, request: Arc<SyncRequest>) -> Result<Answer, Error> {
        let (head, rooms) = self.rooms_at_head(&request.user).await?;
        let since = request.since.map(|since| since.min(head));
        let device = request.rest.device.filter(|_| since.is_some()).or(since).unwrap_or(Position::START);
        let told = self.to_device_news(&request, device.min(since.unwrap_or(device)), head).await?;
        let data = self.new_data(&request.user, since).await?;
        let ignored = self.ignored(&request.user).await?;
        let scene = Scene {
            request: &request,
            since,
            present: request.rest.present,
            receipts: since.and_then(|since| Some(request.rest.gathering?.after.min(since))),
            keeps_receipts: false,
            head,
            ignored: ignored.clone(),
            recounted: BTreeSet::new(),
        };
        let plan = self.plan(&scene, &rooms, data.rooms).await?;
        let global = wanted(&request, data.global);
        let (invited, knocked, left) = self.outside_parts(&scene, &plan).await?;
        let (present, rest) = self.presence_news(&scene, &rooms, &[]).await?;

        let now = self.clock().now();
        let mut out = Out::with_capacity(64 * 1024);
        // Of the rooms it is not known yet what they tell; one that is told of later is noted then.
        let rest = Rest { present: rest, device: told.rest, ..Rest::default() };
        let rest = rest.typing(self.rooms().typing_among(&rooms));
        out.head(&Token::after(head).with_rest(&rest), &global);
        out.device_messages(&told.messages);
        out.presence(&present);
        if let Some(since) = since {
            out.device_lists(&self.encryption().list_changes_between(&request.user, since, head).await?);
        }
        out.key_counts(&*self.key_counts(&request).await?);
        out.open("rooms");
        out.stripped("invite", "invite_state", &invited);
        out.stripped("knock", "knock_state", &knocked);
        out.left(&scene, &left, now);
        out.open("join");

        let groups = self.group(&scene, plan.joined).await?;
        if groups.len() < 2 {
            for group in &groups {
                self.write_group(&scene, group, now, &mut out).await?;
            }
            out.raw(END);
            return Ok(Answer::Whole(out.into_bytes()));
        }
        let mut bodies = self.bodies(&request, &scene, groups, now);
        let mut begun = false;
        // What goes wrong before anything is sent is answered as an error.
        let first = bodies.next().await.transpose()?.unwrap_or_default();
        let first = stream::iter([out.into_bytes(), after_others(first, &mut begun)]);
        let following = bodies.scan(begun, |begun, body| {
            // A body that ends before its end is no JSON, so the client asks again from where it was.
            let body = body.inspect_err(|error| warn!(%error, "a sync is broken off")).ok();
            ready(body.map(|body| after_others(body, begun)))
        });
        Ok(Answer::Parts(first.chain(following).boxed()))
    }

    /// What the groups tell, each after a comma, the last with the end of the answer: read some ahead of what the
    /// client has taken, and on other threads, since a large account would keep one busy for long.
    fn bodies(
        &self,
        request: &Arc<SyncRequest>,
        scene: &Scene<'_>,
        groups: Vec<Vec<RoomPlan>>,
        now: Timestamp,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        let &Scene { since, receipts, head, .. } = scene;
        let ignored = scene.ignored.clone();
        let (syncs, request) = (self.clone(), request.clone());
        let last = groups.len().saturating_sub(1);
        let read = move |(place, group): (usize, Vec<RoomPlan>)| {
            let (syncs, request, ignored) = (syncs.clone(), request.clone(), ignored.clone());
            let tasks = syncs.groups().tasks.clone();
            tasks.spawn("rooms of a sync", async move {
                let scene = Scene {
                    request: &request,
                    since,
                    present: None,
                    receipts,
                    keeps_receipts: false,
                    head,
                    ignored,
                    recounted: BTreeSet::new(),
                };
                let mut out = Out::with_capacity(64 * 1024);
                out.raw(",");
                syncs.write_group(&scene, &group, now, &mut out).await?;
                if place == last {
                    out.raw(END);
                }
                Ok(out.into_bytes())
            })
        };
        let bodies = stream::iter(groups).enumerate().map(read).buffered(GROUPS_AHEAD);
        bodies.map(|read| read.unwrap_or(Err(Error::Room(room::Error::Interrupted)))).boxed()
    }

    /// Writes what the rooms of a group tell, when it is their turn.
    async fn write_group(
        &self,
        scene: &Scene<'_>,
        group: &[RoomPlan],
        now: Timestamp,
        out: &mut Out,
    ) -> Result<(), Error> {
        // Nobody ever closes it.
        let _turn = self.groups().turns.acquire().await.ok();
        for part in self.joined_or_less(scene, group).await? {
            if !part.is_empty(scene) {
                out.joined(scene, &part, now);
            }
        }
        Ok(())
    }

    /// The rooms in groups that are read together: of few rooms, and of few members where all are told.
    async fn group(&self, scene: &Scene<'_>, plans: Vec<RoomPlan>) -> Result<Vec<Vec<RoomPlan>>, Error> {
        let members = match scene.request.filter.state.lazy {
            LazyMembers::Off => {
                let rooms: Vec<RoomSerial> = plans.iter().map(|plan| plan.row.room).collect();
                let counts = self.rooms().member_counts(&rooms).await?;
                counts.into_iter().map(|count| count.joined).collect()
            }
            _ => vec![0; plans.len()],
        };
        Ok(grouped(plans.into_iter().zip(members)))
    }
}

/// A group's rooms as they follow those of others, if there were any.
fn after_others(body: Bytes, begun: &mut bool) -> Bytes {
    let has_rooms = body.get(1) == Some(&b'"');
    let keeps_comma = has_rooms && *begun;
    *begun |= has_rooms;
    if keeps_comma { body } else { body.slice(body.len().min(1)..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_comma_between_rooms_and_nowhere_else() {
        let joined = |bodies: &[&'static str]| -> Bytes {
            let mut begun = false;
            let after = |body: &&'static str| after_others(Bytes::from_static(body.as_bytes()), &mut begun);
            bodies.iter().flat_map(after).collect()
        };
        assert_eq!(joined(&[",\"a\":1", ",\"b\":2", ",}"]), "\"a\":1,\"b\":2}");
        assert_eq!(joined(&[",", ",\"b\":2", ",", ",\"c\":3}"]), "\"b\":2,\"c\":3}");
        assert_eq!(joined(&[",", ",}"]), "}");
    }
}
