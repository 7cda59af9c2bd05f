//! What an answer tells beside rooms: messages to the device, keys, subscriptions to threads, account data,
//! receipts, typing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use encryption::{KeyCounts, ListChanges};
use room::{
    RoomSerial,
    read::{
        membership::{MovedRoom, UserRooms},
        receipts::{Receipt, ReceiptQuery},
    },
};
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use store::{Moved, Position, Topic};
use to_device::Page;

use super::{part::Part, plan::Glance, read::Stage, view::View};
use crate::{
    Error, Syncs,
    connections::{As, Heard, SlidingRequest, State, Told},
    data::{Items, NewData},
    threads::ThreadChanges,
};

/// What is told beside rooms.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// The device's messages, and the token with which it says that it has them.
    pub(super) messages: Option<(Page, Position)>,
    pub(super) keys: Option<(ListChanges, Arc<KeyCounts>)>,
    pub(super) threads: ThreadChanges,
    pub(super) global: Items,
    pub(super) data: Vec<(OwnedRoomId, Items)>,
    pub(super) receipts: Vec<(OwnedRoomId, Vec<Arc<Receipt>>)>,
    pub(super) typing: Vec<(OwnedRoomId, Vec<OwnedUserId>)>,
}

impl Extras {
    /// Whether there is nothing that is worth an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.has_nothing_lasting() && self.receipts.is_empty() && self.typing.is_empty()
    }

    fn has_nothing_lasting(&self) -> bool {
        self.messages.as_ref().is_none_or(|(page, _)| page.messages.is_empty())
            && self.keys.as_ref().is_none_or(|(lists, _)| lists.is_empty())
            && self.threads.is_empty()
            && self.global.is_empty()
            && self.data.is_empty()
    }
}

impl Extras {
    /// The rooms of which receipts of others and typing are told, if nothing else is: how far he has read himself a user is
    /// told at once.
    pub(super) fn moment(&self, user: &UserId) -> Option<Vec<OwnedRoomId>> {
        let is_own = |(_, receipts): &(OwnedRoomId, Vec<Arc<Receipt>>)| {
            receipts.iter().any(|receipt| receipt.user_id == user)
        };
        if !self.has_nothing_lasting() || self.receipts.iter().any(is_own) {
            return None;
        }
        let rooms: Vec<OwnedRoomId> =
            self.receipts.iter().map(|it| &it.0).chain(self.typing.iter().map(|it| &it.0)).cloned().collect();
        (!rooms.is_empty()).then_some(rooms)
    }
}

/// What an answer has told of rooms so far.
pub(super) struct Shown<'a> {
    /// What the client knows with that.
    pub(super) state: &'a State,
    pub(super) parts: &'a HashMap<RoomSerial, Part>,
    /// The places of those that were looked at.
    pub(super) places: &'a BTreeSet<u32>,
}

/// A room of which extensions tell.
struct Hearing<'a> {
    room: RoomSerial,
    room_id: &'a OwnedRoomId,
    moved: MovedRoom,
    had: Heard,
    wants: Heard,
    /// The part that tells the client of the room for the first time, if this answer does.
    first: Option<&'a Part>,
}

impl Syncs {
    /// What was sent to the device since the client last said what it has.
    pub(super) async fn messages_for(
        &self,
        request: &SlidingRequest,
        head: Position,
    ) -> Result<Option<(Page, Position)>, Error> {
        let to_device = &request.body.extensions.to_device;
        if !to_device.is_on() {
            return Ok(None);
        }
        let after = match to_device.since.as_deref() {
            None | Some("") => Position::START,
            Some(text) => {
                let number = text.parse().map_err(|_| Error::BadRequest("`since` is no token".to_owned()))?;
                // One from a time that was taken back says nothing of what was sent since.
                Some(Position(number)).filter(|since| *since <= head).unwrap_or(Position::START)
            }
        };
        let limit = to_device.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let page = self.to_device().news(&request.user, &request.device, after, head, limit).await?;
        let next = page.rest.unwrap_or(head);
        Ok(Some((page, next)))
    }

    /// Whose devices changed, and how many keys the device has left.
    pub(super) async fn keys_for(
        &self,
        request: &SlidingRequest,
        since: Option<Position>,
        head: Position,
        rooms: &UserRooms,
        moved: &[MovedRoom],
    ) -> Result<Option<(ListChanges, Arc<KeyCounts>)>, Error> {
        if !request.body.extensions.e2ee.is_on() {
            return Ok(None);
        }
        let lists = match since {
            // A client that knows nothing looks up whom it meets.
            None => ListChanges::default(),
            Some(since) => {
                let own = Topic::devices(request.user.as_str());
                let may_differ = moved.iter().any(|room| room.events || room.device_lists)
                    || rooms.newest > since
                    || self.store().moved(own, since) != Moved::No;
                match may_differ {
                    true => self.encryption().list_changes_between(&request.user, since, head).await?,
                    false => ListChanges::default(),
                }
            }
        };
        let counts = self.encryption().key_counts(&request.user, &request.device).await?;
        Ok(Some((lists, counts)))
    }

    /// What extensions tell of rooms that are shown; and what is known of those rooms then.
    pub(super) async fn heard(
        &self,
        stage: &Stage<'_>,
        glance: &Glance<'_>,
        view: &View<'_>,
        told: Shown<'_>,
        extras: &mut Extras,
    ) -> Result<Vec<Told>, Error> {
        let Shown { state, parts, places } = told;
        let scopes = &stage.request.body.extensions;
        let mut hearings = Vec::new();
        let mut changed = Vec::new();
        for place in places.iter().copied() {
            let Some(row) = glance.row(place) else { continue };
            let Some(known) = state.find(row.room).filter(|told| told.user_is == As::Member) else {
                continue;
            };
            let wants = Heard {
                data: view.is_heard(&scopes.account_data, place),
                receipts: view.is_heard(&scopes.receipts, place),
                typing: view.is_heard(&scopes.typing, place),
            };
            let had = known.heard;
            let mut heard = Heard {
                data: had.data || wants.data,
                receipts: had.receipts || wants.receipts,
                typing: had.typing || wants.typing,
            };
            glance.unheard(place, row, &mut heard, wants);
            if heard != had {
                changed.push(Told { heard, ..*known });
            }
            if wants != Heard::default() {
                let first = parts.get(&row.room).filter(|part| part.initial);
                let moved = glance.moved.get(&place).copied().unwrap_or_default();
                hearings.push(Hearing { room: row.room, room_id: &row.room_id, moved, had, wants, first });
            }
        }
        extras.typing = self.typing_of(stage, &hearings);
        extras.receipts = self.receipts_of(stage, &hearings).await?;
        extras.data = self.data_of(stage, glance, &hearings).await?;
        Ok(changed)
    }

    fn typing_of(&self, stage: &Stage<'_>, hearings: &[Hearing<'_>]) -> Vec<(OwnedRoomId, Vec<OwnedUserId>)> {
        let users = |hearing: &Hearing<'_>| {
            let since = stage.since.filter(|_| hearing.had.typing);
            let mut users = match since {
                Some(since) if hearing.moved.ephemeral => self.rooms().typing_since(hearing.room, since)?,
                Some(_) => return None,
                None => self.rooms().typing_in(hearing.room),
            };
            users.retain(|user| !stage.ignored.contains(user));
            (since.is_some() || !users.is_empty()).then_some(users)
        };
        let wanted = hearings.iter().filter(|hearing| hearing.wants.typing);
        wanted.filter_map(|hearing| Some((hearing.room_id.clone(), users(hearing)?))).collect()
    }

    async fn receipts_of<'a>(
        &self,
        stage: &Stage<'_>,
        hearings: &[Hearing<'a>],
    ) -> Result<Vec<(OwnedRoomId, Vec<Arc<Receipt>>)>, Error> {
        let has_moved = |moved: &MovedRoom| moved.ephemeral || moved.own_receipts || moved.own_public;
        let is_asked = |hearing: &&Hearing<'a>| {
            hearing.wants.receipts && (!hearing.had.receipts || has_moved(&hearing.moved))
        };
        let asked: Vec<&Hearing<'a>> = hearings.iter().filter(is_asked).collect();
        let query = |hearing: &Hearing<'a>| {
            let since = stage.since.filter(|_| hearing.had.receipts);
            ReceiptQuery {
                room: hearing.room,
                room_id: hearing.room_id,
                after: since.unwrap_or(Position::START),
                through: stage.head,
                own: since.is_none() || hearing.moved.own_receipts,
            }
        };
        let queries: Vec<ReceiptQuery<'a>> = asked.iter().map(|hearing| query(hearing)).collect();
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let user = &stage.request.user;
        let found = self.rooms().receipts_since(user, &queries).await?;
        let mut told = Vec::new();
        for (hearing, mut receipts) in asked.into_iter().zip(found) {
            receipts.retain(|receipt| !stage.ignored.contains(&receipt.user_id));
            if let Some(part) = hearing.first {
                // Of a room that is new to the client those of others on what it is told; its own all the same.
                let events: HashSet<_> = part.timeline.iter().map(|look| look.event.event_id()).collect();
                receipts.retain(|receipt| receipt.user_id == *user || events.contains(&*receipt.event_id));
            }
            if !receipts.is_empty() {
                told.push((hearing.room_id.clone(), receipts));
            }
        }
        Ok(told)
    }

    async fn data_of(
        &self,
        stage: &Stage<'_>,
        glance: &Glance<'_>,
        hearings: &[Hearing<'_>],
    ) -> Result<Vec<(OwnedRoomId, Items)>, Error> {
        let wanted = || hearings.iter().filter(|hearing| hearing.wants.data);
        let is_new = |hearing: &&Hearing<'_>| stage.since.is_none() || !hearing.had.data;
        let mut all = match wanted().any(|hearing| is_new(&hearing)) {
            true if stage.since.is_some() => self.new_data(&stage.request.user, None).await?.rooms,
            _ => BTreeMap::new(),
        };
        let mut data = |hearing: &Hearing<'_>| match stage.since.is_some() && !hearing.had.data {
            true => all.remove(hearing.room_id),
            false => glance.data.get(hearing.room_id).cloned(),
        };
        let told = wanted().filter_map(|hearing| Some((hearing.room_id.clone(), data(hearing)?)));
        Ok(told.collect())
    }

    /// Account data that is new to the client.
    pub(super) async fn data_since(
        &self,
        request: &SlidingRequest,
        since: Option<Position>,
    ) -> Result<NewData, Error> {
        if !request.body.extensions.account_data.is_on() {
            return Ok(NewData::default());
        }
        self.new_data(&request.user, since).await
    }
}
