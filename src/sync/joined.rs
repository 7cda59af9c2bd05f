//! What rooms tell that the user is in, or was in until he got out: timeline, state, summary, receipts,
//! typing, account data.
//!
//! Many rooms are read together: each step below asks for what all rooms need and costs one round
//! of reads or none.

use std::{collections::HashSet, sync::Arc};

use encryption::Between;
use push::Counts;
use room::{
    EventSerial, Root,
    read::{
        event::StoredEvent,
        filter::LazyMembers,
        receipts::{Receipt, ReceiptQuery},
        summary::RoomNaming,
        timeline::{Recent, RecentQuery},
        token::Token,
        view::Look,
    },
};
use ruma::{OwnedRoomId, OwnedUserId};
use store::Position;

use crate::{
    Error, Syncs,
    data::Items,
    lazy::Known,
    rooms::{Extent, RoomPlan, Scene},
    timelines::{self, Kept, MAX_ROWS, Sighted, end_of},
};

/// What a room tells.
#[derive(Debug)]
pub(crate) struct RoomPart {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) extent: Extent,
    pub(crate) timeline: Vec<Look>,
    pub(crate) limited: bool,
    pub(crate) prev_batch: Token,
    pub(crate) state: Vec<Arc<StoredEvent>>,
    pub(crate) naming: Option<Arc<RoomNaming>>,
    pub(crate) receipts: Vec<Arc<Receipt>>,
    pub(crate) typing: Option<Vec<OwnedUserId>>,
    pub(crate) data: Items,
    pub(crate) unread: Option<Counts>,
    /// Whether that is told whatever else there is to tell.
    pub(crate) is_recounted: bool,
    /// The states between which members came or went, of a room that the client knew.
    pub(crate) between: Option<Between>,
}

impl RoomPart {
    /// A part that tells nothing yet.
    pub(crate) fn of_nothing(room_id: OwnedRoomId, extent: Extent, prev_batch: Token) -> Self {
        Self {
            room_id,
            extent,
            timeline: Vec::new(),
            limited: false,
            prev_batch,
            state: Vec::new(),
            naming: None,
            receipts: Vec::new(),
            typing: None,
            data: Items::new(),
            unread: None,
            is_recounted: false,
            between: None,
        }
    }

    /// Whether it tells nothing, so that it need not be sent. Names and counts alone are nothing: without a
    /// filter they come with the event that changed them.
    pub(crate) fn is_empty(&self, scene: &Scene<'_>) -> bool {
        // A room that is new to a client that knows others is told of in any case.
        let is_new = self.extent == Extent::Whole && scene.since.is_some();
        !is_new
            && self.extent != Extent::FullState
            && self.timeline.is_empty()
            && !self.limited
            && self.state.is_empty()
            && self.receipts.is_empty()
            && self.typing.is_none()
            && self.data.is_empty()
            && !self.is_recounted
            && !self.has_been_read(scene)
    }
}

/// The timeline of one room, chosen from its newest rows.
struct Chosen {
    /// Oldest first.
    events: Vec<Sighted>,
    limited: bool,
    prev_batch: Token,
    /// The state before the first of the events.
    start: Root,
    /// The state after the last row.
    end: Root,
    /// The state that the client has, whole or but for members; not known yet when the rows do not tell.
    base: Option<Root>,
    /// The serials of the same events, in order.
    sent: Vec<EventSerial>,
    /// Whether members came, went or changed.
    members_changed: bool,
}

impl Syncs {
    /// What these joined rooms tell, in their order.
    pub(crate) async fn joined_parts(
        &self,
        scene: &Scene<'_>,
        plans: &[RoomPlan],
    ) -> Result<Vec<RoomPart>, Error> {
        let mut parts: Vec<RoomPart> = plans
            .iter()
            .map(|plan| RoomPart {
                data: self.wanted_data(scene, plan),
                is_recounted: plan.is_recounted,
                ..RoomPart::of_nothing(
                    plan.row.room_id.clone(),
                    plan.extent,
                    Token::after(plan.through(scene)),
                )
            })
            .collect();
        let chosen_by = |wanted: fn(&RoomPlan) -> bool| -> (Vec<usize>, Vec<&RoomPlan>) {
            let chosen = plans.iter().enumerate().filter(|(_, plan)| plan.extent != Extent::DataOnly);
            chosen.filter(|(_, plan)| wanted(plan)).unzip()
        };
        let (moved, rooms) = chosen_by(|plan| plan.events);
        let (heard, with_ephemeral) = chosen_by(|plan| plan.ephemeral);

        let events = async {
            if rooms.is_empty() {
                return Ok(<(Vec<Chosen>, Vec<_>, Vec<_>)>::default());
            }
            let mut chosen = self.choose_timelines(scene, &rooms).await?;
            self.find_bases(scene, &rooms, &mut chosen).await?;
            let mut states = self.states(scene, &rooms, &mut chosen).await?;
            let namings = self.namings_for(scene, &rooms, &chosen).await?;
            if scene.request.filter.state.lazy != LazyMembers::Off {
                self.add_lazy_members(scene, &rooms, &chosen, &namings, &mut states).await?;
            }
            Ok((chosen, timelines::shown(self.rooms(), scene.user(), states).await?, namings))
        };
        let has_missed_typing = scene.since.is_some_and(|since| self.rooms().may_have_missed_typing(since));
        // The one waits for the store while the other works.
        let (unread, (receipts, typing), (mut chosen, states, namings)) =
            tokio::try_join!(self.unread(scene, plans), self.ephemeral(scene, &with_ephemeral), events)?;
        for (index, unread) in unread {
            parts[index].unread = Some(unread);
        }
        let events = chosen.iter_mut().map(|chosen| std::mem::take(&mut chosen.events)).collect();
        let mut dressed = timelines::dressed(self.rooms(), &scene.viewer(), events).await?.into_iter();

        for ((index, receipts), typing) in heard.into_iter().zip(receipts).zip(typing) {
            parts[index].receipts = receipts;
            parts[index].typing = typing;
        }
        for (((index, chosen), state), naming) in moved.iter().zip(chosen).zip(states).zip(namings) {
            let part = &mut parts[*index];
            part.timeline = dressed.next().unwrap_or_default();
            part.limited = chosen.limited;
            part.between = members_between(&plans[*index], &chosen);
            part.prev_batch = chosen.prev_batch;
            part.state = state;
            part.naming = naming;
            // Whoever is still shown to type from before we were there has ceased, or sent what he wrote.
            if has_missed_typing && part.typing.is_none() && !part.timeline.is_empty() {
                part.typing = self.typing(scene, &plans[*index], None);
            }
        }
        let limited = parts.iter_mut().filter(|part| part.limited).map(|part| &mut part.timeline);
        timelines::aggregate_timelines(self.rooms(), &scene.viewer(), limited.collect()).await?;
        Ok(parts)
    }

    fn wanted_data(&self, scene: &Scene<'_>, plan: &RoomPlan) -> Items {
        let filter = &scene.request.filter.room_data;
        if !filter.passes_room(&plan.row.room_id) {
            return Items::new();
        }
        plan.data.iter().filter(|(kind, _)| filter.passes_type(kind)).cloned().collect()
    }

    /// Reads the newest rows of the rooms and chooses what the client is sent of them.
    async fn choose_timelines(&self, scene: &Scene<'_>, rooms: &[&RoomPlan]) -> Result<Vec<Chosen>, Error> {
        let filter = &scene.request.filter.timeline;
        let limit = scene.request.filter.timeline_limit();
        let fetch = |plan: &RoomPlan| match filter.passes_all() && scene.ignored.is_empty() {
            true => limit,
            false if plan.extent == Extent::Whole => limit.saturating_mul(4).clamp(20, MAX_ROWS),
            // Whether a room has news at all is known only after a look at all of them.
            false => MAX_ROWS,
        };
        let queries: Vec<_> = rooms
            .iter()
            .map(|plan| RecentQuery {
                room: plan.row.room,
                room_id: &plan.row.room_id,
                after: known_of(scene, plan),
                through: plan.through(scene),
                limit: fetch(plan),
            })
            .collect();
        let recents = timelines::newest_rows(self.rooms(), scene.user(), &queries).await?;
        let chosen = rooms.iter().zip(recents);
        Ok(chosen.map(|(plan, (recent, events))| choose(scene, plan, &recent, events)).collect())
    }

    /// Finds the states that the client has where the rows read so far do not tell.
    async fn find_bases(
        &self,
        scene: &Scene<'_>,
        rooms: &[&RoomPlan],
        chosen: &mut [Chosen],
    ) -> Result<(), Error> {
        let Some(since) = scene.since else { return Ok(()) };
        let open: Vec<usize> = (0..rooms.len()).filter(|index| chosen[*index].base.is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let serials: Vec<_> = open.iter().map(|index| rooms[*index].row.room).collect();
        let roots = self.rooms().states_at(&serials, Token::after(since)).await?;
        for (index, root) in open.into_iter().zip(roots) {
            chosen[index].base = Some(root.unwrap_or_default());
        }
        Ok(())
    }

    /// The state events that the client lacks, without the members that lazy loading adds.
    async fn states(
        &self,
        scene: &Scene<'_>,
        rooms: &[&RoomPlan],
        chosen: &mut [Chosen],
    ) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
        let after = scene.request.state_after.is_wanted();
        let lazy = scene.request.filter.state.lazy != LazyMembers::Off;
        let is_full = |plan: &RoomPlan| matches!(plan.extent, Extent::Whole | Extent::FullState);

        let mut full = Vec::new();
        let mut changes = Vec::new();
        for (plan, chosen) in rooms.iter().zip(&*chosen) {
            let target = if after { chosen.end } else { chosen.start };
            if is_full(plan) {
                full.push((plan.row.room, target));
            }
            let known = match is_full(plan) {
                true => known_members(scene, plan, chosen).filter(|_| lazy),
                false => Some(chosen.base.unwrap_or_default()),
            };
            // Always a comparison, so that each room has as many: without one, of the state with itself.
            changes.push((plan.row.room, known.unwrap_or(target), target));
            // What changed without an event of the timeline: by state resolution, or filtered out there.
            if !after {
                changes.push((plan.row.room, chosen.start, chosen.end));
            }
        }
        let mut full = self.rooms().full_states(&full, !lazy).await?.into_iter();
        let mut changes = self.rooms().state_changes(&changes).await?.into_iter();

        let filter = &scene.request.filter.state;
        let mut states = Vec::with_capacity(rooms.len());
        for (plan, chosen) in rooms.iter().zip(chosen) {
            let changed = changes.next().unwrap_or_default();
            let mut state = match is_full(plan) {
                true => {
                    let mut state = full.next().unwrap_or_default();
                    state.extend(changed.into_iter().filter(|event| event.membership().is_some()));
                    state
                }
                false => changed,
            };
            chosen.members_changed |=
                !is_full(plan) && state.iter().any(|event| event.membership().is_some());
            if !after {
                let beside: Vec<_> = changes
                    .next()
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|event| chosen.sent.binary_search(&event.serial()).is_err())
                    .collect();
                chosen.members_changed |= beside.iter().any(|event| event.membership().is_some());
                replace_state(&mut state, beside);
            }
            state.retain(|event| filter.passes(event));
            if filter.passes_none() || !filter.passes_room(&plan.row.room_id) {
                state.clear();
            }
            states.push(state);
        }
        Ok(states)
    }

    /// Names and counts of rooms whose members changed, or that the client does not know. They are those of
    /// now, which who got out is not told.
    async fn namings_for(
        &self,
        scene: &Scene<'_>,
        rooms: &[&RoomPlan],
        chosen: &[Chosen],
    ) -> Result<Vec<Option<Arc<RoomNaming>>>, Error> {
        // Who all the members of a room are is news, though none of them has changed; before that nobody can say how many
        // they are.
        let lacking = self.rooms().lacking().await?;
        let since = scene.since;
        let are_all_known = |plan: &RoomPlan| {
            lacking.whole_since(plan.row.room).is_some_and(|whole| since.is_none_or(|since| whole > since))
        };
        let wanted: Vec<usize> = (0..rooms.len())
            .filter(|index| rooms[*index].until.is_none())
            .filter(|index| {
                rooms[*index].extent != Extent::News
                    || chosen[*index].members_changed
                    || are_all_known(rooms[*index])
            })
            .collect();
        let mut namings = vec![None; rooms.len()];
        if wanted.is_empty() {
            return Ok(namings);
        }
        let serials: Vec<_> = wanted.iter().map(|index| rooms[*index].row.room).collect();
        for (index, naming) in wanted.into_iter().zip(timelines::whole_namings(self.rooms(), &serials).await?)
        {
            namings[index] = naming;
        }
        Ok(namings)
    }

    /// Adds the members that matter for the timelines, as far as the device does not have them.
    async fn add_lazy_members(
        &self,
        scene: &Scene<'_>,
        rooms: &[&RoomPlan],
        chosen: &[Chosen],
        namings: &[Option<Arc<RoomNaming>>],
        states: &mut [Vec<Arc<StoredEvent>>],
    ) -> Result<(), Error> {
        let redundant = scene.request.filter.state.lazy == LazyMembers::Redundant;
        let after = scene.request.state_after.is_wanted();
        let mut places = Vec::new();
        let mut owners = Vec::new();
        for (index, (plan, chosen)) in rooms.iter().zip(chosen).enumerate() {
            let root = if after { chosen.end } else { chosen.start };
            let mut users: HashSet<&ruma::UserId> =
                chosen.events.iter().map(|(event, _)| event.sender()).collect();
            if plan.extent != Extent::News {
                users.insert(scene.user());
            }
            if let Some(naming) = &namings[index] {
                users.extend(naming.heroes(scene.user()).map(|(hero, _)| &**hero));
            }
            for user in users {
                places.push((plan.row.room, root, user));
                owners.push(index);
            }
        }
        let members =
            timelines::members_or_as_named(self.rooms(), &places, &owners, |owner| &chosen[owner].events)
                .await?;

        let known: Vec<Known> = rooms
            .iter()
            .map(|plan| {
                let place = (scene.request.user.clone(), scene.request.device.clone(), plan.row.room);
                let since = scene.since.filter(|_| plan.extent == Extent::News);
                self.lazy().of(place, since)
            })
            .collect();
        for (index, member) in owners.into_iter().zip(members) {
            let Some(member) = member else { continue };
            let is_there = states[index].iter().any(|event| event.serial() == member.serial());
            let needless = !redundant && known[index].has(member.serial());
            if !is_there && !needless && scene.request.filter.state.passes(&member) {
                states[index].push(member);
            }
        }
        for ((known, state), chosen) in known.iter().zip(states).zip(chosen) {
            let timeline = chosen.events.iter().map(|(event, _)| event);
            let members = state.iter().chain(timeline).filter(|event| event.membership().is_some());
            let unknown: Vec<_> =
                members.map(|event| event.serial()).filter(|member| !known.has(*member)).collect();
            known.note(unknown, scene.head);
        }
        Ok(())
    }

    /// Receipts and typing that are new to the client; not of those whom the reader ignores.
    async fn ephemeral(
        &self,
        scene: &Scene<'_>,
        rooms: &[&RoomPlan],
    ) -> Result<(Vec<Vec<Arc<Receipt>>>, Vec<Option<Vec<OwnedUserId>>>), Error> {
        let filter = &scene.request.filter.ephemeral;
        let nothing = filter.passes_none();
        let mut receipts = vec![Vec::new(); rooms.len()];
        if !nothing && filter.passes_type("m.receipt") {
            let is_asked = |plan: &RoomPlan| {
                let is_wanted = plan.has_own_receipts() || !scene.keeps_receipts;
                is_wanted && plan.until.is_none() && filter.passes_room(&plan.row.room_id)
            };
            let asked: Vec<usize> = (0..rooms.len()).filter(|index| is_asked(rooms[*index])).collect();
            let query = |index: &usize| {
                let plan = rooms[*index];
                // Of rooms that the client does not know it knows none.
                let known = scene.receipts.filter(|_| !scene.keeps_receipts).or(scene.since);
                let after = known.filter(|_| plan.extent != Extent::Whole).unwrap_or(Position::START);
                ReceiptQuery {
                    room: plan.row.room,
                    room_id: &plan.row.room_id,
                    after,
                    through: scene.head,
                    own: plan.own_receipts,
                }
            };
            let queries: Vec<ReceiptQuery<'_>> = asked.iter().map(query).collect();
            let found = match scene.keeps_receipts {
                true => self.own_receipts(scene, &queries).await?,
                false => self.rooms().receipts_since(scene.user(), &queries).await?,
            };
            for (index, mut found) in asked.into_iter().zip(found) {
                if let (Some(_), Some(since)) = (scene.receipts, scene.since) {
                    // His own he has been told, whatever was kept back.
                    found.retain(|receipt| receipt.user_id != scene.user() || receipt.position > since);
                }
                if !scene.ignored.is_empty() {
                    found.retain(|receipt| !scene.ignored.contains(&receipt.user_id));
                }
                receipts[index] = found;
            }
        }
        let typing = rooms
            .iter()
            .map(|plan| {
                let since = scene.since.filter(|_| plan.extent != Extent::Whole);
                let typing = self.typing(scene, plan, since)?;
                Some(typing).filter(|users| since.is_some() || !users.is_empty())
            })
            .collect();
        Ok((receipts, typing))
    }

    async fn own_receipts(
        &self,
        scene: &Scene<'_>,
        queries: &[ReceiptQuery<'_>],
    ) -> Result<Vec<Vec<Arc<Receipt>>>, Error> {
        let asked: Vec<&ReceiptQuery<'_>> = queries.iter().collect();
        let own = self.rooms().own_receipts(scene.user(), &asked).await?;
        Ok(own.into_iter().map(|receipts| receipts.into_iter().map(Arc::new).collect()).collect())
    }
}

/// The states between which members came or went, if they did.
fn members_between(plan: &RoomPlan, chosen: &Chosen) -> Option<Between> {
    let before = chosen.base.filter(|_| chosen.members_changed && plan.extent == Extent::News)?;
    Some(Between { room: plan.row.room, before, after: chosen.end })
}

/// What the client knows of a room.
fn known_of(scene: &Scene<'_>, plan: &RoomPlan) -> Position {
    match plan.extent {
        Extent::Whole => Position::START,
        Extent::FullState | Extent::News | Extent::DataOnly => scene.since.unwrap_or(Position::START),
    }
}

/// The state whose members a client may still have of a room whose state it is sent without members:
/// those that changed since must be sent, or it goes on showing who is gone. `None`: it has none.
fn known_members(scene: &Scene<'_>, plan: &RoomPlan, chosen: &Chosen) -> Option<Root> {
    let since = scene.since?;
    match plan.extent {
        Extent::FullState => chosen.base,
        // It may have been there before. What it last heard then is not known if the user was in and out
        // again meanwhile: then all members are sent.
        Extent::Whole => plan.row.departure.as_deref().map(|left| match left.position <= since {
            true => left.current,
            false => Root::EMPTY,
        }),
        Extent::News | Extent::DataOnly => None,
    }
}

/// Chooses from the newest rows of a room what is sent, and finds the states around it.
fn choose(scene: &Scene<'_>, plan: &RoomPlan, recent: &Recent, events: Vec<Sighted>) -> Chosen {
    let filter = &scene.request.filter.timeline;
    let is_off = filter.is_off() || !filter.passes_room(&plan.row.room_id);
    let limit = if is_off { 0 } else { scene.request.filter.timeline_limit() };
    let kept = Kept::newest(recent, &events, limit, |(event, sight)| {
        sight.visible && filter.passes(event) && !scene.viewer().is_spared(event)
    });
    // A client that goes on from earlier may have a timeline from before the user left, and must not
    // append the whole room to that.
    let is_joined_anew = plan.extent == Extent::Whole && scene.since.is_some();
    let leaves_out = kept.leaves_out || is_joined_anew || (plan.extent == Extent::Whole && !kept.begins_here);
    // Who wants no timeline misses none of it. But one that asks for none of a room's events at first
    // may go on from the token that comes with it.
    let wants_timeline = !is_off && (limit > 0 || plan.extent == Extent::Whole);
    let limited = wants_timeline && leaves_out;

    // Where the timeline begins: before its first event, or at its end when there is none.
    let first = kept.first(&events);
    let before_rows = recent.before.map(|entry| entry.current);
    let first_before = || events.first().map(|(event, _)| event.meta().before);
    let start = match first.checked_sub(1) {
        Some(previous) => recent.entries[previous].current,
        None => before_rows.or_else(first_before).unwrap_or_default(),
    };
    let prev_batch = match recent.entries.get(first) {
        Some(entry) => Token::before(entry.order),
        None => Token::after(plan.through(scene)),
    };
    let base = match plan.extent {
        Extent::Whole => Some(Root::EMPTY),
        Extent::FullState | Extent::News | Extent::DataOnly if recent.more => None,
        Extent::FullState | Extent::News | Extent::DataOnly => before_rows.or(Some(Root::EMPTY)),
    };
    let members_changed = events.iter().any(|(event, _)| event.membership().is_some());
    let mut sent: Vec<_> = kept.places.iter().map(|index| events[*index].0.serial()).collect();
    sent.sort_unstable();
    Chosen {
        events: kept.of(events),
        limited,
        prev_batch,
        start,
        end: end_of(recent),
        base,
        sent,
        members_changed,
    }
}

/// Puts state events in the place of those of the same type and key.
fn replace_state(state: &mut Vec<Arc<StoredEvent>>, newer: Vec<Arc<StoredEvent>>) {
    if newer.is_empty() {
        return;
    }
    state.retain(|old| {
        !newer.iter().any(|new| new.kind() == old.kind() && new.state_key() == old.state_key())
    });
    state.extend(newer);
}
