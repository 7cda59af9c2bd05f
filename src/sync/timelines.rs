//! What `/sync` and sliding sync do alike for many rooms at once: the newest rows with who may see them, which of them are
//! sent, and what a reader's copies of events need.
//!
//! Each step is one round of reads for all rooms, or none.

use std::sync::Arc;

use room::{
    RoomSerial, Rooms, Root,
    read::{
        event::StoredEvent,
        room::RoomInfo,
        summary::RoomNaming,
        timeline::{Recent, RecentQuery},
        view::{Look, Viewer},
        visibility::Sight,
    },
    tables::Membership,
};
use ruma::UserId;

use crate::Error;

/// The most rows that are looked at for a room's timeline when not every event passes.
pub(crate) const MAX_ROWS: usize = 120;

/// An event, and whether the reader may see it.
pub(crate) type Sighted = (Arc<StoredEvent>, Sight);

/// Which of a room's newest rows are sent.
pub(crate) struct Kept {
    /// Their places among the rows, oldest first.
    pub(crate) places: Vec<usize>,
    /// Whether there are rows that are left out, or that were not looked at.
    pub(crate) leaves_out: bool,
    /// Whether the rows begin with the room.
    pub(crate) begins_here: bool,
}

impl Kept {
    /// The newest ones that pass, so many at most.
    pub(crate) fn newest(
        recent: &Recent,
        events: &[Sighted],
        limit: usize,
        passes: impl Fn(&Sighted) -> bool,
    ) -> Self {
        // What is before a gap does not lead up to what is after it, so it is not sent with it.
        let gap = recent.entries.iter().rposition(|entry| entry.gap);
        let passing: Vec<usize> = (0..events.len()).filter(|index| passes(&events[*index])).collect();
        let after_gap = passing.partition_point(|index| gap.is_some_and(|gap| *index < gap));
        let places = passing[passing.len().saturating_sub(limit).max(after_gap)..].to_vec();
        let begins_here = recent.before.is_none()
            && !recent.more
            && events.first().is_none_or(|(event, _)| event.kind() == "m.room.create");
        let leaves_out = recent.more || gap.is_some() || places.len() < passing.len();
        Self { places, leaves_out, begins_here }
    }

    /// The first place that is sent, or that behind all of them.
    pub(crate) fn first(&self, events: &[Sighted]) -> usize {
        self.places.first().copied().unwrap_or(events.len())
    }

    /// Those of the events that are sent.
    pub(crate) fn of(&self, events: Vec<Sighted>) -> Vec<Sighted> {
        let mut next = self.places.iter().peekable();
        let events = events.into_iter().enumerate();
        events.filter(|(index, _)| next.next_if_eq(&index).is_some()).map(|(_, event)| event).collect()
    }
}

/// The state after the last of the rows.
pub(crate) fn end_of(recent: &Recent) -> Root {
    let before = recent.before.map(|entry| entry.current);
    recent.entries.last().map(|entry| entry.current).or(before).unwrap_or_default()
}

/// The newest rows of rooms with their events, and whether the reader may see them.
pub(crate) async fn newest_rows(
    all: &Rooms,
    user: &UserId,
    queries: &[RecentQuery<'_>],
) -> Result<Vec<(Recent, Vec<Sighted>)>, Error> {
    let recents = all.recent(queries).await?;
    let rows: Vec<_> = queries
        .iter()
        .zip(&recents)
        .flat_map(|(query, recent)| recent.entries.iter().map(|entry| (query.room, *entry)))
        .collect();
    let events = all.events_of(&rows).await?;
    let sights = all.sights(user, &events).await?;
    let mut seen = events.into_iter().zip(sights);
    let with_events = |recent: Recent| {
        let events = seen.by_ref().take(recent.entries.len()).collect();
        (recent, events)
    };
    Ok(recents.into_iter().map(with_events).collect())
}

/// How rooms are called, and how many members they have; nothing of those that lack members.
pub(crate) async fn whole_namings(
    all: &Rooms,
    rooms: &[RoomSerial],
) -> Result<Vec<Option<Arc<RoomNaming>>>, Error> {
    let infos = all.room_infos(rooms).await?;
    let infos: Option<Vec<Arc<RoomInfo>>> = infos.into_iter().collect();
    let infos = infos.ok_or(room::Error::Inconsistent("a membership names a room that is not there"))?;
    let known = all.all_members_of(rooms).await?;
    let are_whole: Vec<bool> = known.iter().map(Option::is_some).collect();
    let whole: Vec<_> = infos.into_iter().zip(known).filter_map(|(info, all)| Some((info, all?))).collect();
    let mut namings = all.namings(&whole).await?.into_iter();
    Ok(are_whole.into_iter().map(|is_whole| if is_whole { namings.next() } else { None }).collect())
}

/// The member events of users at these places, each of the room that `owners` says. Senders who are lacking in a room's
/// state are shown as the events have them that what they say in its timeline stands on.
pub(crate) async fn members_or_as_named<'a>(
    all: &Rooms,
    places: &[(RoomSerial, Root, &UserId)],
    owners: &[usize],
    timeline: impl Fn(usize) -> &'a [Sighted],
) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
    let mut members = all.members_at(places).await?;
    let (mut open, mut said) = (Vec::new(), Vec::new());
    for (place, owner) in owners.iter().enumerate().filter(|(place, _)| members[*place].is_none()) {
        let (_, _, user) = places[place];
        let of_user = |event: &&Arc<StoredEvent>| event.meta().partial && event.sender() == user;
        if let Some(event) = timeline(*owner).iter().map(|(event, _)| event).find(of_user) {
            open.push(place);
            said.push(event);
        }
    }
    for (place, member) in open.into_iter().zip(all.senders_as_named(&said).await?) {
        members[place] = member;
    }
    Ok(members)
}

/// Timelines with what this reader's copies of the events need.
pub(crate) async fn dressed(
    all: &Rooms,
    viewer: &Viewer<'_>,
    timelines: Vec<Vec<Sighted>>,
) -> Result<Vec<Vec<Look>>, Error> {
    let lengths: Vec<usize> = timelines.iter().map(Vec::len).collect();
    let (events, sights): (Vec<_>, Vec<_>) = timelines.into_iter().flatten().unzip();
    let memberships: Vec<_> =
        sights.into_iter().map(|sight| Some(sight.membership.unwrap_or(Membership::Leave))).collect();
    let mut looks = all.looks(viewer, events, &memberships).await?.into_iter();
    Ok(lengths.into_iter().map(|length| looks.by_ref().take(length).collect()).collect())
}

/// Adds what is told of the events' relations to timelines that leave events out: there the client cannot know of them by
/// itself.
pub(crate) async fn aggregate_timelines(
    all: &Rooms,
    viewer: &Viewer<'_>,
    mut timelines: Vec<&mut Vec<Look>>,
) -> Result<(), Error> {
    timelines.retain(|timeline| !timeline.is_empty());
    let rooms: Vec<RoomSerial> = timelines.iter().map(|timeline| timeline[0].event.room()).collect();
    if rooms.is_empty() {
        return Ok(());
    }
    let mut have = all.have_relations(&rooms).await?.into_iter();
    timelines.retain(|_| have.next().unwrap_or(false));
    if timelines.is_empty() {
        return Ok(());
    }
    let lengths: Vec<usize> = timelines.iter().map(|timeline| timeline.len()).collect();
    let mut gathered = Vec::with_capacity(lengths.iter().sum());
    for timeline in &mut timelines {
        gathered.append(timeline);
    }
    all.aggregate(viewer, &mut gathered).await?;
    let mut gathered = gathered.into_iter();
    for (timeline, length) in timelines.into_iter().zip(lengths) {
        timeline.extend(gathered.by_ref().take(length));
    }
    Ok(())
}

/// States as a reader may be shown them.
pub(crate) async fn shown(
    all: &Rooms,
    user: &UserId,
    states: Vec<Vec<Arc<StoredEvent>>>,
) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
    if !all.is_anybody_erased(user).await? {
        return Ok(states);
    }
    let lengths: Vec<usize> = states.iter().map(Vec::len).collect();
    let events = states.into_iter().flatten().collect();
    let mut shown = all.shown_to(user, events).await?.into_iter();
    Ok(lengths.into_iter().map(|length| shown.by_ref().take(length).collect()).collect())
}
