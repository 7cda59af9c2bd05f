//! What rooms tell: timeline, state, name, members, counts.
//!
//! Many rooms are read together, as in [`crate::joined`]: each step asks for what all of them need. State is that after the
//! timeline: clients of sliding sync take none from the timeline itself.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use push::{Asked, Counts};
use room::{
    EventSerial, Order, RoomSerial, Root,
    read::{
        event::StoredEvent,
        lookup::StateQuery,
        membership::UserRoom,
        summary::RoomNaming,
        timeline::{Recent, RecentQuery},
        token::Token,
        view::Viewer,
    },
};
use ruma::{OwnedUserId, UserId};
use store::Position;

use super::{
    part::{Hero, Part, field_of, hero},
    plan::Telling,
};
use crate::{
    Error, Syncs,
    connections::{As, SlidingRequest, State},
    timelines::{self, Kept, MAX_ROWS, Sighted, end_of},
};

/// What all rooms of one answer share.
pub(super) struct Stage<'a> {
    pub(super) request: &'a SlidingRequest,
    /// Up to where the client knows what it was told.
    pub(super) since: Option<Position>,
    /// Up to where the answer tells.
    pub(super) head: Position,
    pub(super) state: &'a State,
    pub(super) ignored: &'a Arc<HashSet<OwnedUserId>>,
}

impl Stage<'_> {
    pub(super) fn viewer(&self) -> Viewer<'_> {
        Viewer { user: &self.request.user, device: Some(&self.request.device), ignored: Some(self.ignored) }
    }

    fn user(&self) -> &UserId {
        &self.request.user
    }
}

/// The timeline of one room, chosen from its newest rows.
struct Chosen {
    events: Vec<Sighted>,
    limited: bool,
    prev_batch: Token,
    live: usize,
    is_whole: bool,
    /// The state that the client has; `None` if the rows do not tell.
    base: Option<Root>,
    /// The state after the last row.
    end: Root,
}

impl Syncs {
    /// What these rooms tell, in their order; `bumps` says by which position each is ordered.
    pub(super) async fn tell(
        &self,
        stage: &Stage<'_>,
        tellings: &[&Telling<'_>],
        bumps: &[Position],
    ) -> Result<Vec<Part>, Error> {
        let mut parts: Vec<Part> =
            tellings.iter().zip(bumps).map(|(telling, bump)| Part::of(telling, *bump)).collect();
        let of = |wanted: &dyn Fn(&Telling<'_>) -> bool| -> Vec<usize> {
            (0..tellings.len()).filter(|index| wanted(tellings[*index])).collect()
        };
        let guests = of(&|telling| telling.user_is == As::Guest);
        let seen = of(&|telling| match telling.user_is {
            As::Member => true,
            As::Guest => false,
            As::Gone => telling.row.seen_until().is_some(),
        });
        let gone = of(&|telling| telling.user_is == As::Gone);

        if !guests.is_empty() {
            let rows: Vec<&UserRoom> = guests.iter().map(|index| tellings[*index].row).collect();
            let states = self.rooms().stripped_states(stage.user(), &rows).await?;
            for (index, state) in guests.into_iter().zip(states) {
                parts[index].stripped = Some(state);
            }
        }
        if !seen.is_empty() {
            self.tell_seen(stage, tellings, &seen, &mut parts).await?;
        }
        if !gone.is_empty() {
            self.tell_ends(stage, tellings, &gone, &mut parts).await?;
        }
        Ok(parts)
    }

    /// What rooms tell that the user is or was in.
    async fn tell_seen(
        &self,
        stage: &Stage<'_>,
        tellings: &[&Telling<'_>],
        seen: &[usize],
        parts: &mut [Part],
    ) -> Result<(), Error> {
        let rooms: Vec<&Telling<'_>> = seen.iter().map(|index| tellings[*index]).collect();
        let mut chosen = self.choose_events(stage, &rooms).await?;
        self.find_known_states(&rooms, &mut chosen).await?;
        let changes = self.changed_states(&rooms, &chosen).await?;
        let full = self.wanted_states(&rooms, &chosen).await?;
        let unread = self.unread_of(stage, &rooms).await?;
        let namings = self.namings_of(stage, &rooms, &changes).await?;
        let mut members = self.members_who_matter(stage, &rooms, &chosen).await?;

        let events = chosen.iter_mut().map(|chosen| std::mem::take(&mut chosen.events)).collect();
        let mut dressed = timelines::dressed(self.rooms(), &stage.viewer(), events).await?.into_iter();
        let all = rooms.iter().zip(chosen).zip(changes).zip(full).zip(namings).enumerate();
        for (place, ((((telling, chosen), changes), full), (naming, heroes))) in all {
            let part = &mut parts[seen[place]];
            part.timeline = dressed.next().unwrap_or_default();
            part.limited = chosen.limited;
            part.expanded = telling.expands;
            part.prev_batch = (telling.wanted.limit > 0).then_some(chosen.prev_batch);
            part.live = chosen.live;
            part.is_whole = chosen.is_whole;
            part.naming = naming;
            part.heroes = heroes;
            part.unread = unread[place].clone();
            let names = [("m.room.name", "name"), ("m.room.avatar", "url")];
            let fields = names.map(|(kind, field)| field_of(telling, &changes, &full, kind, field));
            [part.name, part.avatar] = fields;

            let required = &telling.wanted.required;
            // Of the members of a room all that changed are told, unless the timeline has a hole, and with it what is known
            // of members.
            let all_members = required.is_lazy() && !chosen.limited;
            let is_wanted = |event: &Arc<StoredEvent>| {
                let key = event.state_key().unwrap_or_default();
                required.matches(event.kind(), key) || (all_members && event.membership().is_some())
            };
            let is_new = |event: &Arc<StoredEvent>| {
                let key = event.state_key().unwrap_or_default();
                let had = telling.had.as_ref().filter(|_| telling.since.is_some());
                required.matches(event.kind(), key) && !had.is_some_and(|had| had.matches(event.kind(), key))
            };
            part.state = full.into_iter().filter(is_new).collect();
            for event in changes.into_iter().filter(is_wanted).chain(std::mem::take(&mut members[place])) {
                if !part.state.iter().any(|other| other.serial() == event.serial()) {
                    part.state.push(event);
                }
            }
            let told = part.state.iter().filter(|event| event.membership().is_some());
            part.members = told.map(|event| event.serial()).filter(|_| required.is_lazy()).collect();
        }
        let states = seen.iter().map(|index| std::mem::take(&mut parts[*index].state)).collect();
        for (index, state) in seen.iter().zip(timelines::shown(self.rooms(), stage.user(), states).await?) {
            parts[*index].state = state;
        }
        // Of the others nothing is told yet.
        let limited = parts.iter_mut().filter(|part| part.limited || part.expanded);
        timelines::aggregate_timelines(
            self.rooms(),
            &stage.viewer(),
            limited.map(|part| &mut part.timeline).collect(),
        )
        .await
    }

    /// Reads the newest rows of rooms and chooses what the client is sent of them.
    async fn choose_events(&self, stage: &Stage<'_>, rooms: &[&Telling<'_>]) -> Result<Vec<Chosen>, Error> {
        let fetch = |limit: usize| match stage.ignored.is_empty() {
            true => limit,
            false => limit.saturating_mul(4).clamp(20, MAX_ROWS),
        };
        let queries: Vec<_> = rooms
            .iter()
            .map(|telling| RecentQuery {
                room: telling.row.room,
                room_id: &telling.row.room_id,
                after: telling.since.filter(|_| !telling.expands).unwrap_or(Position::START),
                through: telling.through(stage.head),
                limit: fetch(usize::from(telling.wanted.limit)),
            })
            .collect();
        let recents = timelines::newest_rows(self.rooms(), stage.user(), &queries).await?;
        let chosen = rooms.iter().zip(recents);
        Ok(chosen.map(|(telling, (recent, events))| choose(stage, telling, &recent, events)).collect())
    }

    /// Finds the states that the client has where the rows read so far do not tell.
    async fn find_known_states(&self, rooms: &[&Telling<'_>], chosen: &mut [Chosen]) -> Result<(), Error> {
        let mut open: BTreeMap<Position, Vec<usize>> = BTreeMap::new();
        for (index, telling) in rooms.iter().enumerate() {
            if let Some(since) = telling.since
                && chosen[index].base.is_none()
            {
                open.entry(since).or_default().push(index);
            }
        }
        for (since, places) in open {
            let serials: Vec<RoomSerial> = places.iter().map(|index| rooms[*index].row.room).collect();
            let roots = self.rooms().states_at(&serials, Token::after(since)).await?;
            for (index, root) in places.into_iter().zip(roots) {
                chosen[index].base = Some(root.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// What of the state of rooms is otherwise than the client has it.
    async fn changed_states(
        &self,
        rooms: &[&Telling<'_>],
        chosen: &[Chosen],
    ) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
        let places: Vec<_> = rooms
            .iter()
            .zip(chosen)
            .map(|(telling, chosen)| {
                let known = telling.since.and(chosen.base).unwrap_or(chosen.end);
                (telling.row.room, known, chosen.end)
            })
            .collect();
        if places.iter().all(|(_, known, end)| known == end) {
            return Ok(vec![Vec::new(); rooms.len()]);
        }
        Ok(self.rooms().state_changes(&places).await?)
    }

    /// The state that is wanted of rooms of which the client has none, or not all that it wants; with name and avatar.
    async fn wanted_states(
        &self,
        rooms: &[&Telling<'_>],
        chosen: &[Chosen],
    ) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
        let mut states = vec![Vec::new(); rooms.len()];
        let needs = |telling: &&Telling<'_>| match (&telling.had, telling.since) {
            (_, None) => true,
            (Some(had), Some(_)) => telling.wanted.required.goes_beyond(had),
            (None, Some(_)) => false,
        };
        let needy: Vec<usize> = (0..rooms.len()).filter(|index| needs(&rooms[*index])).collect();
        let (mut queries, mut owners) = (Vec::new(), Vec::new());
        for index in &needy {
            let (telling, root) = (rooms[*index], chosen[*index].end);
            let names = [("m.room.name", ""), ("m.room.avatar", "")];
            for (kind, key) in telling.wanted.required.names().chain(names) {
                queries.push(StateQuery { room: telling.row.room, root, kind, key });
                owners.push(*index);
            }
        }
        for (owner, event) in owners.into_iter().zip(self.rooms().state_events(&queries).await?) {
            states[owner].extend(event);
        }
        for with_members in [false, true] {
            let is_so = |index: &&usize| {
                let required = &rooms[**index].wanted.required;
                required.has_wildcards() && required.wants_all_members() == with_members
            };
            let wild: Vec<usize> = needy.iter().filter(is_so).copied().collect();
            let places: Vec<_> =
                wild.iter().map(|index| (rooms[*index].row.room, chosen[*index].end)).collect();
            if places.is_empty() {
                continue;
            }
            for (index, full) in wild.into_iter().zip(self.rooms().full_states(&places, with_members).await?)
            {
                states[index].extend(full);
            }
        }
        for state in &mut states {
            let mut known = HashSet::new();
            state.retain(|event: &Arc<StoredEvent>| known.insert(event.serial()));
        }
        Ok(states)
    }

    /// The counts of what is unread in rooms that the user is in: clients take those that are not told for none.
    async fn unread_of(
        &self,
        stage: &Stage<'_>,
        rooms: &[&Telling<'_>],
    ) -> Result<Vec<Option<Counts>>, Error> {
        let mut all = vec![None; rooms.len()];
        let joined: Vec<usize> =
            (0..rooms.len()).filter(|index| rooms[*index].user_is == As::Member).collect();
        let asked: Vec<Asked<'_>> =
            joined.iter().map(|index| Asked { row: rooms[*index].row, through: stage.head }).collect();
        let counts = self.push().unread(stage.user(), stage.ignored, &asked).await?;
        for (index, counts) in joined.into_iter().zip(counts) {
            all[index] = Some(counts);
        }
        Ok(all)
    }

    /// How many members rooms have, and whom those are called after that have no name, where that is new to the client.
    async fn namings_of(
        &self,
        stage: &Stage<'_>,
        rooms: &[&Telling<'_>],
        changes: &[Vec<Arc<StoredEvent>>],
    ) -> Result<Vec<(Option<Arc<RoomNaming>>, Vec<Hero>)>, Error> {
        let names_it = |event: &Arc<StoredEvent>| {
            event.membership().is_some() || matches!(event.kind(), "m.room.name" | "m.room.canonical_alias")
        };
        let is_new = |index: &usize| {
            let telling = rooms[*index];
            let is_other =
                telling.since.is_none() || telling.is_whole_now || changes[*index].iter().any(names_it);
            telling.user_is == As::Member && is_other
        };
        let wanted: Vec<usize> = (0..rooms.len()).filter(is_new).collect();
        let mut namings = vec![(None, Vec::new()); rooms.len()];
        if wanted.is_empty() {
            return Ok(namings);
        }
        let serials: Vec<RoomSerial> = wanted.iter().map(|index| rooms[*index].row.room).collect();
        let found = timelines::whole_namings(self.rooms(), &serials).await?;
        let heroes: Vec<(usize, RoomSerial, OwnedUserId, EventSerial)> = wanted
            .iter()
            .zip(&found)
            .filter_map(|(index, naming)| Some((index, naming.as_ref()?)))
            .flat_map(|(index, naming)| {
                let room = rooms[*index].row.room;
                naming.heroes(stage.user()).map(move |(user, event)| (*index, room, user.clone(), *event))
            })
            .collect();
        let keys: Vec<_> = heroes.iter().map(|(_, room, _, event)| (*room, *event)).collect();
        let events = if keys.is_empty() { Vec::new() } else { self.rooms().load_events(&keys).await? };
        for ((index, _, user, _), event) in heroes.into_iter().zip(events) {
            namings[index].1.push(hero(user, event.as_deref()));
        }
        for (index, naming) in wanted.into_iter().zip(found) {
            namings[index].0 = naming;
        }
        Ok(namings)
    }

    /// The members who matter for the timelines of rooms, as far as the client was not told of them.
    async fn members_who_matter(
        &self,
        stage: &Stage<'_>,
        rooms: &[&Telling<'_>],
        chosen: &[Chosen],
    ) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
        let (mut places, mut owners) = (Vec::new(), Vec::new());
        for (index, (telling, chosen)) in rooms.iter().zip(chosen).enumerate() {
            if !telling.wanted.required.is_lazy() {
                continue;
            }
            let mut users: HashSet<&UserId> = HashSet::new();
            for (event, _) in &chosen.events {
                users.insert(event.sender());
                if event.membership().is_some() {
                    users.extend(event.state_key().and_then(|key| <&UserId>::try_from(key).ok()));
                }
            }
            for user in users {
                places.push((telling.row.room, chosen.end, user));
                owners.push(index);
            }
        }
        let mut told = vec![Vec::new(); rooms.len()];
        if places.is_empty() {
            return Ok(told);
        }
        let members =
            timelines::members_or_as_named(self.rooms(), &places, &owners, |owner| &chosen[owner].events)
                .await?;
        for (owner, member) in owners.into_iter().zip(members) {
            let Some(member) = member else { continue };
            let is_known = rooms[owner].since.is_some() && stage.state.has_member(member.serial());
            if !is_known {
                told[owner].push(member);
            }
        }
        Ok(told)
    }

    /// Adds the event that says that the user is out of rooms: clients take those for joined whose state does not.
    async fn tell_ends(
        &self,
        stage: &Stage<'_>,
        tellings: &[&Telling<'_>],
        gone: &[usize],
        parts: &mut [Part],
    ) -> Result<(), Error> {
        let keys: Vec<_> = gone
            .iter()
            .filter_map(|index| Some((tellings[*index].row.room, tellings[*index].row.event?)))
            .collect();
        let events: Vec<Arc<StoredEvent>> =
            self.rooms().load_events(&keys).await?.into_iter().flatten().collect();
        let by_room: HashMap<RoomSerial, Arc<StoredEvent>> =
            events.into_iter().map(|event| (event.room(), event)).collect();
        for index in gone {
            let Some(event) = by_room.get(&tellings[*index].row.room) else { continue };
            let part = &mut parts[*index];
            part.state.retain(|other| !other.is_member_event_of(stage.user()));
            part.state.push(event.clone());
            let is_told = part.timeline.iter().any(|look| look.event.serial() == event.serial());
            if !is_told && tellings[*index].wanted.limit > 0 {
                let (viewer, memberships) = (stage.viewer(), [event.membership()]);
                let looks = self.rooms().looks(&viewer, vec![event.clone()], &memberships).await?;
                part.timeline.extend(looks);
                part.live += 1;
            }
        }
        Ok(())
    }
}

/// Chooses from the newest rows of a room what is sent.
fn choose(stage: &Stage<'_>, telling: &Telling<'_>, recent: &Recent, events: Vec<Sighted>) -> Chosen {
    let limit = usize::from(telling.wanted.limit);
    let kept = Kept::newest(recent, &events, limit, |(event, sight)| {
        sight.visible && !stage.viewer().is_spared(event)
    });
    let reaches_back = telling.since.is_none() || telling.expands;
    let leaves_out = kept.leaves_out || (reaches_back && !kept.begins_here);

    let before = recent.before.map(|entry| entry.current);
    let prev_batch = match recent.entries.get(kept.first(&events)) {
        Some(entry) => Token::before(entry.order),
        None => Token::after(telling.through(stage.head)),
    };
    let base = telling.since.and_then(|since| {
        let known = recent.entries.partition_point(|entry| entry.order <= Order::live(since));
        match known.checked_sub(1) {
            Some(last) => Some(recent.entries[last].current),
            // The row before is the last one that the client knows, if nothing is left out between.
            None if telling.expands || recent.more => None,
            None => Some(before.unwrap_or(Root::EMPTY)),
        }
    });
    let is_live =
        |index: &&usize| stage.since.is_some_and(|since| recent.entries[**index].order > Order::live(since));
    let live = kept.places.iter().filter(is_live).count();
    Chosen {
        events: kept.of(events),
        limited: limit > 0 && leaves_out,
        prev_batch,
        live,
        is_whole: reaches_back && limit > 0 && !leaves_out,
        base,
        end: end_of(recent),
    }
}
