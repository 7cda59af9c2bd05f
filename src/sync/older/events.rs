//! `/events`: what is said from a place on, in one room or in all that the user is in.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use room::{
    RoomSerial,
    read::{
        event::StoredEvent,
        membership::UserRoom,
        messages::PageQuery,
        timeline::{Direction, Entry, RecentQuery, Stretch},
        token::Token,
        view::{Form, Look, Viewer},
    },
    tables::Membership,
};
use ruma::{EventId, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId};
use store::{Position, Topic};

use crate::{Error, Syncs, syncs::LONGEST_WAIT, watches::same_joined, write::Out};

/// So many events are told in one answer.
const MOST_EVENTS: usize = 100;

/// What a client asks.
#[derive(Clone, Debug)]
pub struct EventsRequest {
    /// The user.
    pub user: OwnedUserId,
    /// The device.
    pub device: OwnedDeviceId,
    /// From where on; from now on, if it says nothing.
    pub from: Option<Position>,
    /// The room, if only one is meant.
    pub room_id: Option<OwnedRoomId>,
    /// How long to wait for something new.
    pub timeout: Duration,
}

/// Events, and from where to go on.
struct Told {
    events: Vec<Look>,
    end: Position,
}

impl Syncs {
    /// Answers with what was said, or waits until something is.
    ///
    /// # Errors
    /// [`room::Error::NotJoined`] for a room into which the user may not look; [`account::Error::UnknownToken`] when the
    /// device was signed out during the wait; see [`Error`].
    pub async fn events(&self, request: &EventsRequest) -> Result<Bytes, Error> {
        self.count_answer();
        let _is_there = self.note_presence(&request.user, &request.device, None).await?;
        let head = self.store().reach(request.from.unwrap_or(Position::START)).await?;
        // One that is still ahead is from a time that was taken back.
        let start = request.from.unwrap_or(head).min(head);
        let signed_in = start;
        let mut since = start;
        let deadline = self.clock().instant() + request.timeout.min(LONGEST_WAIT);
        let mut has_waited = false;
        loop {
            // Before the read: what is committed after it must wake us.
            let known = self.rooms().memberships(&request.user).await?;
            let mut watch = match &request.room_id {
                None => self.watches().watch(self.store(), &request.user, &known, false, None).watch,
                Some(room) => {
                    let topics = [
                        Topic::room(room.as_str()),
                        Topic::memberships(request.user.as_str()),
                        Topic::devices(request.user.as_str()),
                    ];
                    self.store().watch(topics.to_vec())
                }
            };
            let (head, rooms) = self.rooms_at_head(&request.user).await?;
            if !same_joined(&known, &rooms) {
                continue;
            }
            let told = match &request.room_id {
                Some(room) => self.said_in(request, room, since, head).await?,
                None => {
                    let joined: Vec<&UserRoom> = self
                        .rooms()
                        .moved(&rooms, since)
                        .into_iter()
                        .filter(|moved| moved.events)
                        .filter_map(|moved| rooms.rooms.get(usize::try_from(moved.place).ok()?))
                        .filter(|row| row.membership == Membership::Join)
                        .collect();
                    Box::pin(self.said_among(request, &joined, since, head)).await?
                }
            };
            if has_waited {
                self.must_be_signed_in(&request.user, &request.device, signed_in).await?;
            }
            has_waited = true;
            let left = deadline.since(self.clock().instant());
            if !told.events.is_empty() || left.is_zero() || self.stop().is_cancelled() {
                return Ok(self.write_events(start, &told));
            }
            let before = std::mem::replace(&mut since, told.end);
            if before < since && since < head {
                // Nothing of it was for him, and there is more.
                continue;
            }
            let _waiting = self.waiting();
            let woken = self.clock().timeout(left, watch.changed_urgently());
            // Whatever ends it, it is looked what there is to tell now.
            let _ended = self.stop().run_until_cancelled(woken).await;
        }
    }

    fn write_events(&self, start: Position, told: &Told) -> Bytes {
        let now = self.clock().now();
        let mut out = Out::with_capacity(1_024);
        out.raw("{");
        out.key("start");
        out.string(&Token::after(start).to_string());
        out.key("end");
        out.string(&Token::after(told.end).to_string());
        out.key("chunk");
        out.raw("[");
        for look in &told.events {
            out.comma();
            out.look(look, Form::Full, now);
        }
        out.raw("]}");
        out.into_bytes()
    }

    /// What was said in one room, which the user is in, or which is open to the world.
    async fn said_in(
        &self,
        request: &EventsRequest,
        room: &RoomId,
        since: Position,
        head: Position,
    ) -> Result<Told, Error> {
        let ignored = self.ignored(&request.user).await?;
        let viewer = Viewer { user: &request.user, device: Some(&request.device), ignored: Some(&ignored) };
        let query = PageQuery {
            from: Some(Token::after(since)),
            to: Some(Token::after(head)),
            direction: Direction::Forward,
            limit: MOST_EVENTS,
            filter: Default::default(),
        };
        let page = self.rooms().messages(&viewer, room, &query).await?;
        let end = page.end.map_or(head, Token::position).clamp(since, head);
        Ok(Told { events: page.chunk, end })
    }

    /// What was said in rooms that the user is in, in the order in which it came.
    async fn said_among(
        &self,
        request: &EventsRequest,
        rooms: &[&UserRoom],
        since: Position,
        head: Position,
    ) -> Result<Told, Error> {
        if rooms.is_empty() {
            return Ok(Told { events: Vec::new(), end: head });
        }
        let ignored = self.ignored(&request.user).await?;
        let viewer = Viewer { user: &request.user, device: Some(&request.device), ignored: Some(&ignored) };
        let queries: Vec<RecentQuery<'_>> = rooms
            .iter()
            .map(|row| RecentQuery {
                room: row.room,
                room_id: &row.room_id,
                after: since,
                through: head,
                limit: MOST_EVENTS,
            })
            .collect();
        let mut rows: Vec<(RoomSerial, Entry)> = Vec::new();
        let mut is_cut = false;
        for (row, recent) in rooms.iter().zip(self.rooms().recent(&queries).await?) {
            if !recent.more {
                rows.extend(recent.entries.into_iter().map(|entry| (row.room, entry)));
                continue;
            }
            // The oldest come first, and there are more than enough.
            is_cut = true;
            let stretch = Stretch { room: row.room, after: Token::after(since), through: Token::after(head) };
            let entries = self.rooms().timeline(stretch, Direction::Forward, MOST_EVENTS).await?;
            rows.extend(entries.into_iter().map(|entry| (row.room, entry)));
        }
        rows.sort_by_key(|(_, entry)| entry.order);
        is_cut |= rows.len() > MOST_EVENTS;
        rows.truncate(MOST_EVENTS);
        let last = rows.last().and_then(|(_, entry)| entry.order.position());
        let end = last.filter(|_| is_cut).unwrap_or(head);

        let events = self.rooms().events_of(&rows).await?;
        let sights = self.rooms().sights(&request.user, &events).await?;
        let seen = events.into_iter().zip(sights);
        let (events, memberships): (Vec<Arc<StoredEvent>>, Vec<_>) = seen
            .filter(|(event, sight)| sight.visible && !viewer.is_spared(event))
            .map(|(event, sight)| (event, Some(sight.membership.unwrap_or(Membership::Leave))))
            .unzip();
        Ok(Told { events: self.rooms().looks(&viewer, events, &memberships).await?, end })
    }

    /// One event, whatever room it is in.
    ///
    /// # Errors
    /// [`room::Error::NoEvent`] for one that the user may not see.
    pub(crate) async fn one_event(&self, viewer: &Viewer<'_>, event_id: &EventId) -> Result<Bytes, Error> {
        let found = self.rooms().events_by_id(&[event_id]).await?.pop().flatten();
        let event = found.ok_or_else(|| room::Error::NoEvent(event_id.to_owned()))?;
        let look = self.rooms().event_for(viewer, event.room_id(), event_id).await?;
        let mut out = Out::with_capacity(1_024);
        out.look(&look, Form::Full, self.clock().now());
        Ok(out.into_bytes())
    }
}
