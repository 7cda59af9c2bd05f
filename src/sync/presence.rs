//! Who comes and goes: what an answer tells of presence.
//!
//! What has changed is in memory; the store is asked only when somebody is to be told of, whether he still shares the
//! room. Who shares no room with the reader any more, or whom the reader ignores, is not told of.

use std::collections::BTreeSet;

use account::{Seen, State, Syncing};
use room::{RoomSerial, read::membership::UserRooms, tables::Membership};
use ruma::{DeviceId, OwnedUserId, UserId};
use store::Position;

use crate::{
    Error, Syncs,
    joined::RoomPart,
    rooms::{Extent, Scene},
};

/// The most users of whom one answer tells, beside those who changed at the same time as the last of them. Of the others
/// the next one tells.
const MOST_PRESENT: usize = 500;

/// A first answer tells of those in so many rooms, the newest.
const MOST_ROOMS: usize = 50;

/// Keeps those who changed first, about so many; and answers after which position the others did.
fn keep_earliest(seen: &mut Vec<(Position, Seen)>, limit: usize) -> Option<Position> {
    if seen.len() <= limit {
        return None;
    }
    seen.sort_by_key(|(changed, _)| *changed);
    let last = seen.get(limit.checked_sub(1)?)?.0;
    let kept = seen.partition_point(|(changed, _)| *changed <= last);
    let has_more = kept < seen.len();
    seen.truncate(kept);
    has_more.then_some(last)
}

impl Syncs {
    /// Notes that a device asks for news, as long as what this gives lives. Nothing where presence is off.
    pub(crate) async fn note_presence(
        &self,
        user: &UserId,
        device: &DeviceId,
        asked: Option<State>,
    ) -> Result<Option<Syncing>, Error> {
        let presence = self.accounts().presence();
        if !presence.is_on() {
            return Ok(None);
        }
        let rooms = self.rooms().memberships(user).await?;
        Ok(presence.syncing(user, device, asked, &rooms))
    }

    /// Who came and went, as far as the client has to be told; and from which position on the next answer tells of others,
    /// where there were too many.
    pub(crate) async fn presence_news(
        &self,
        scene: &Scene<'_>,
        rooms: &UserRooms,
        joined: &[RoomPart],
    ) -> Result<(Vec<Seen>, Option<Position>), Error> {
        let presence = self.accounts().presence();
        let filter = &scene.request.filter.presence;
        if !presence.is_on() || filter.passes_none() || !filter.passes_type("m.presence") {
            return Ok((Vec::new(), None));
        }
        let silent = scene.since.and_then(|since| presence.silent_between(since, scene.head));
        let members = match scene.since.is_none() || silent.is_some() {
            true => {
                let joined: Vec<RoomSerial> = rooms.with(Membership::Join).map(|row| row.room).collect();
                let newest = joined.get(joined.len().saturating_sub(MOST_ROOMS)..).unwrap_or_default();
                self.members_of(newest).await?
            }
            false => BTreeSet::new(),
        };
        let silent: Vec<Seen> = match silent {
            Some(silent) => members.iter().filter_map(|user| presence.find_silent(user, silent)).collect(),
            None => Vec::new(),
        };
        let users = match scene.since {
            None => members,
            Some(since) => {
                let since = scene.present.map_or(since, |present| present.min(since));
                let changed = presence.changed(rooms, since, scene.head);
                let mut users = self.still_there(scene, changed).await?;
                users.extend(self.newly_met(scene, rooms, joined).await?);
                users
            }
        };
        let is_wanted = |user: &&OwnedUserId| !scene.ignored.contains(*user) && filter.passes_sender(user);
        let mut seen = presence.find_all(users.iter().filter(is_wanted).map(|user| &**user));
        // Who is away is no news to a client that knows nobody.
        seen.retain(|(_, seen)| scene.since.is_some() || seen.state != State::Offline);
        let limit = filter.limit.unwrap_or(MOST_PRESENT).clamp(1, MOST_PRESENT);
        let rest = keep_earliest(&mut seen, limit).filter(|rest| *rest < scene.head);
        let mut told: Vec<Seen> = seen.into_iter().map(|(_, seen)| seen).collect();
        let is_told = told.iter().position(|seen| seen.user == *scene.user());
        if scene.since.is_none() || is_told.is_some() {
            // What he says of himself with this request he is shown as, though the others are told a moment later.
            let is_there = |own: &Seen| scene.since.is_some() || own.state != State::Offline;
            let own = presence.look_up(scene.user()).filter(is_there).filter(|own| is_wanted(&&own.user));
            is_told.map(|place| told.remove(place));
            told.extend(own);
        }
        // Of these it is told once; they are members of few rooms with few members.
        told.extend(silent.into_iter().filter(|seen| is_wanted(&&seen.user)));
        Ok((told, rest))
    }

    /// Of those who changed in rooms, those who are in them.
    async fn still_there(
        &self,
        scene: &Scene<'_>,
        changed: Vec<(RoomSerial, OwnedUserId)>,
    ) -> Result<BTreeSet<OwnedUserId>, Error> {
        let (own, others): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, user)| user == scene.user());
        let mut users: BTreeSet<OwnedUserId> = own.into_iter().map(|(_, user)| user).collect();
        if others.is_empty() {
            return Ok(users);
        }
        let pairs: Vec<(RoomSerial, &UserId)> = others.iter().map(|(room, user)| (*room, &**user)).collect();
        let are_joined = self.rooms().are_joined(&pairs).await?;
        let there = others.iter().zip(are_joined).filter(|(_, is_joined)| *is_joined);
        users.extend(there.map(|((_, user), _)| user.clone()));
        Ok(users)
    }

    /// Those who are new to the client: members of rooms that are, and who came into rooms that it knows.
    async fn newly_met(
        &self,
        scene: &Scene<'_>,
        rooms: &UserRooms,
        joined: &[RoomPart],
    ) -> Result<BTreeSet<OwnedUserId>, Error> {
        let serial = |part: &RoomPart| {
            let place = usize::try_from(rooms.place_of_joined(&part.room_id)?).ok()?;
            rooms.rooms.get(place).map(|row| row.room)
        };
        let new = joined.iter().filter(|part| part.extent == Extent::Whole);
        let new: Vec<RoomSerial> = new.filter_map(serial).take(MOST_ROOMS).collect();
        let mut met = self.members_of(&new).await?;

        let presence = self.accounts().presence();
        let mut came: Vec<(RoomSerial, OwnedUserId)> = Vec::new();
        for part in joined.iter().filter(|part| part.extent != Extent::Whole) {
            for event in part.timeline.iter().map(|look| &look.event) {
                if event.membership() == Some(Membership::Join)
                    && let Some(user) = event.state_key().and_then(|key| UserId::parse(key).ok())
                    && user != scene.user()
                    && presence.find(&user).is_some()
                    && let Some(room) = serial(part)
                {
                    came.push((room, user));
                }
            }
        }
        let of_rooms: Vec<RoomSerial> = came.iter().map(|(room, _)| *room).collect();
        let small = self.with_few_members(&of_rooms).await?;
        met.extend(came.into_iter().filter(|(room, _)| small.contains(room)).map(|(_, user)| user));
        Ok(met)
    }

    /// The members of those of these rooms that have few.
    async fn members_of(&self, rooms: &[RoomSerial]) -> Result<BTreeSet<OwnedUserId>, Error> {
        let small: Vec<RoomSerial> = self.with_few_members(rooms).await?.into_iter().collect();
        if small.is_empty() {
            return Ok(BTreeSet::new());
        }
        Ok(self.rooms().joined_users_of(&small).await?.into_iter().flatten().collect())
    }

    /// Those of these rooms in which presence is told.
    async fn with_few_members(&self, rooms: &[RoomSerial]) -> Result<BTreeSet<RoomSerial>, Error> {
        let Some(most) = self.accounts().presence().largest_room().filter(|_| !rooms.is_empty()) else {
            return Ok(BTreeSet::new());
        };
        let are_small = self.rooms().have_at_most(rooms, most).await?;
        let small = rooms.iter().zip(are_small).filter(|(_, is_small)| *is_small);
        Ok(small.map(|(room, _)| *room).collect())
    }
}
