//! What is told of an event's relations together with the event: its newest edit, its thread, what
//! refers to it.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events>

use std::{collections::BTreeMap, sync::Arc};

use base::Timestamp;
use ruma::{OwnedEventId, UserId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use store::Range;

use crate::{
    Error, Order, RoomSerial, Rooms, Root,
    read::{
        event::{StoredEvent, THREAD},
        timeline::Entry,
        view::{Form, Look, Viewer, write_number, write_str},
        visibility::Sight,
    },
    tables::{Membership, RELATIONS, RelationRow, THREAD_SENDERS},
};

/// Rows of relations that are read of each event at first; few events have more.
const FIRST_ROWS: usize = 32;

/// Rows of relations that are read of an event at most, the newest.
const MAX_ROWS: usize = 2_000;

/// So many of the newest edits, and of the newest events of a thread, are looked at to find one that
/// the viewer may see.
const CANDIDATES: usize = 16;

/// What is told of an event's relations.
#[derive(Clone, Debug, Default)]
pub struct Aggregations {
    /// Its newest edit.
    pub edit: Option<Look>,
    /// The thread that it began.
    pub thread: Option<Thread>,
    /// What refers to it, oldest first.
    pub references: Vec<OwnedEventId>,
}

/// A thread, as its root tells of it.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its newest event.
    pub latest: Look,
    /// How many events it has, without the root.
    pub count: u64,
    /// Whether the viewer wrote the root or any of them.
    pub participated: bool,
}

impl Aggregations {
    /// Writes `m.relations` as a JSON object.
    pub(crate) fn write(&self, out: &mut Vec<u8>, form: Form, now: Timestamp) {
        out.push(b'{');
        if let Some(edit) = &self.edit {
            out.extend_from_slice(b"\"m.replace\":");
            edit.write(out, form, now);
        }
        if let Some(thread) = &self.thread {
            separate(out);
            out.extend_from_slice(b"\"m.thread\":{\"count\":");
            write_number(out, thread.count);
            out.extend_from_slice(b",\"current_user_participated\":");
            out.extend_from_slice(if thread.participated { b"true" } else { b"false" });
            out.extend_from_slice(b",\"latest_event\":");
            thread.latest.write(out, form, now);
            out.push(b'}');
        }
        if !self.references.is_empty() {
            separate(out);
            out.extend_from_slice(b"\"m.reference\":{\"chunk\":[");
            for reference in &self.references {
                separate(out);
                out.extend_from_slice(b"{\"event_id\":");
                write_str(out, reference.as_str());
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
        }
        out.push(b'}');
    }
}

/// A comma, unless an object or list was just opened.
fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}

/// What an event is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Edit,
    Thread,
    Reference,
}

impl Rooms {
    /// Whether any event of each of these rooms relates to another one: most rooms are small and have
    /// none, which costs less to learn than to ask for each event.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn have_relations(&self, rooms: &[RoomSerial]) -> Result<Vec<bool>, Error> {
        let ranges = rooms.iter().map(Range::prefix).collect();
        let found = self.store().scan_many(&RELATIONS, ranges, store::Order::Ascending, 1).await?;
        Ok(found.iter().map(|rows| !rows.is_empty()).collect())
    }

    /// Adds to these events what is told of their relations. It costs one read when they have none.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn aggregate(&self, viewer: &Viewer<'_>, looks: &mut [Look]) -> Result<(), Error> {
        let told = self.told_of(viewer, looks).await?;
        if told.is_empty() {
            return Ok(());
        }
        self.tell(viewer, looks, told).await
    }

    /// Chooses what is told of these events, by their places in the list; those of which nothing is are
    /// absent.
    async fn told_of(&self, viewer: &Viewer<'_>, looks: &[Look]) -> Result<BTreeMap<usize, Told>, Error> {
        let related = self.related_to(looks).await?;
        if related.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (mut wanted, mut owners) = (Vec::new(), Vec::new());
        for (index, rows) in &related {
            let parent = &looks[*index].event;
            let (mut edits, mut threads) = (0, 0);
            for (order, row) in rows {
                let Some(use_as) = use_of(parent, row) else { continue };
                let is_enough = match use_as {
                    As::Edit => count_to(CANDIDATES, &mut edits),
                    As::Thread => count_to(CANDIDATES, &mut threads),
                    As::Reference => false,
                };
                if !is_enough {
                    wanted.push((parent.room(), place_of(*order, row)));
                    owners.push((*index, use_as));
                }
            }
        }
        let events = self.events_of(&wanted).await?;
        let sights = self.sights(viewer.user, &events).await?;

        let mut told: BTreeMap<usize, Told> = BTreeMap::new();
        for ((owner, event), sight) in owners.into_iter().zip(events).zip(sights) {
            // A redaction takes the row away, but the two may have come at once.
            let is_seen = sight.visible && !viewer.is_spared(&event);
            if is_seen && event.meta().redacted_by.is_none() {
                told.entry(owner.0).or_default().take(owner.1, event, sight);
            }
        }
        Ok(told)
    }

    /// The relations of these events, newest first, of those that have any. State events have none.
    async fn related_to(&self, looks: &[Look]) -> Result<Vec<(usize, Vec<(Order, RelationRow)>)>, Error> {
        let parents: Vec<usize> =
            (0..looks.len()).filter(|index| looks[*index].event.state_key().is_none()).collect();
        let range = |index: &usize| {
            let event = &looks[*index].event;
            Range::prefix(&(event.room(), event.event_id().as_str()))
        };
        let ranges = parents.iter().map(range).collect();
        let found = self.store().scan_many(&RELATIONS, ranges, store::Order::Descending, FIRST_ROWS).await?;
        let mut related: Vec<_> =
            parents.into_iter().zip(found).filter(|(_, rows)| !rows.is_empty()).collect();

        let long: Vec<usize> = (0..related.len()).filter(|at| related[*at].1.len() == FIRST_ROWS).collect();
        let ranges = long.iter().map(|at| range(&related[*at].0)).collect();
        let all = self.store().scan_many(&RELATIONS, ranges, store::Order::Descending, MAX_ROWS).await?;
        for (at, rows) in long.into_iter().zip(all) {
            related[at].1 = rows;
        }
        let places = |rows: Vec<((_, _, Order), RelationRow)>| {
            rows.into_iter().map(|((_, _, order), row)| (order, row)).collect()
        };
        Ok(related.into_iter().map(|(index, rows)| (index, places(rows))).collect())
    }

    /// Puts what was chosen beside the events.
    async fn tell(
        &self,
        viewer: &Viewer<'_>,
        looks: &mut [Look],
        mut told: BTreeMap<usize, Told>,
    ) -> Result<(), Error> {
        let mut latest = self.shown(viewer, &mut told, |told| told.thread.take()).await?;
        let roots: Vec<usize> = latest.iter().map(|(index, _)| *index).collect();
        let ranges = roots.iter().map(|index| {
            let root = &looks[*index].event;
            Range::prefix(&(root.room(), root.event_id().as_str()))
        });
        let senders = self
            .store()
            .scan_many(&THREAD_SENDERS, ranges.collect(), store::Order::Ascending, usize::MAX)
            .await?;
        // The newest event of a thread may itself have been edited since. It cannot begin a thread.
        let mut inner: Vec<Look> = latest.iter().map(|(_, look)| look.clone()).collect();
        let of_latest = self.told_of(viewer, &inner).await?;
        self.tell_simply(viewer, &mut inner, of_latest).await?;
        for ((_, look), told) in latest.iter_mut().zip(inner) {
            *look = told;
        }

        self.tell_simply(viewer, looks, told).await?;
        for ((index, latest), senders) in latest.into_iter().zip(senders) {
            let heard = || writers(&senders).filter(|(user, _)| !viewer.ignores(user));
            let wrote = heard().any(|(user, count)| user == viewer.user && count > 0);
            let count = heard().map(|(_, count)| count).sum();
            let participated = wrote || looks[index].event.sender() == viewer.user;
            let thread = Thread { latest, count, participated };
            looks[index].aggregations.get_or_insert_default().thread = Some(thread);
        }
        Ok(())
    }

    /// Puts edits and references beside the events.
    async fn tell_simply(
        &self,
        viewer: &Viewer<'_>,
        looks: &mut [Look],
        mut told: BTreeMap<usize, Told>,
    ) -> Result<(), Error> {
        for (index, edit) in self.shown(viewer, &mut told, |told| told.edit.take()).await? {
            // What it says now is in the edit's content, of which this copy has nothing.
            if !edit.event.is_redacted_copy() {
                looks[index].aggregations.get_or_insert_default().edit = Some(edit);
            }
        }
        for (index, told) in told {
            if !told.references.is_empty() {
                let references = told.references.into_iter().rev().collect();
                looks[index].aggregations.get_or_insert_default().references = references;
            }
        }
        Ok(())
    }

    /// What was chosen of one kind, as the viewer is shown it, by the events that it is told of.
    async fn shown(
        &self,
        viewer: &Viewer<'_>,
        told: &mut BTreeMap<usize, Told>,
        mut take: impl FnMut(&mut Told) -> Option<Chosen>,
    ) -> Result<Vec<(usize, Look)>, Error> {
        let chosen = told.iter_mut().filter_map(|(index, told)| Some((*index, take(told)?)));
        let (indices, chosen): (Vec<usize>, Vec<Chosen>) = chosen.unzip();
        let (events, memberships): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
        let looks = self.looks(viewer, events, &memberships).await?;
        Ok(indices.into_iter().zip(looks).collect())
    }
}

/// An event and what the viewer was at it.
type Chosen = (Arc<StoredEvent>, Option<Membership>);

/// Who wrote how much in a thread.
fn writers(rows: &[((RoomSerial, String, String), store::Counter)]) -> impl Iterator<Item = (&UserId, u64)> {
    rows.iter().filter_map(|((_, _, user), count)| {
        Some((<&UserId>::try_from(user.as_str()).ok()?, u64::try_from(count.0).unwrap_or(0)))
    })
}

/// What is told of one event, in the making.
#[derive(Default)]
struct Told {
    edit: Option<Chosen>,
    thread: Option<Chosen>,
    /// Newest first.
    references: Vec<OwnedEventId>,
}

impl Told {
    /// Takes the next newest event that the viewer may see.
    fn take(&mut self, use_as: As, event: Arc<StoredEvent>, sight: Sight) {
        let membership = Some(sight.membership.unwrap_or(Membership::Leave));
        match use_as {
            As::Edit => {
                let age = |event: &StoredEvent| (event.pdu().origin_server_ts(), event.event_id().to_owned());
                let is_newest = self.edit.as_ref().is_none_or(|(newest, _)| age(&event) > age(newest));
                if is_newest && has_new_content(&event) {
                    self.edit = Some((event, membership));
                }
            }
            As::Thread => {
                self.thread.get_or_insert((event, membership));
            }
            As::Reference => self.references.push(event.event_id().to_owned()),
        }
    }
}

/// Counts one more, and answers whether those before were as many as are wanted.
fn count_to(wanted: usize, count: &mut usize) -> bool {
    *count += 1;
    *count > wanted
}

/// What a related event is told as, if it is.
fn use_of(parent: &StoredEvent, row: &RelationRow) -> Option<As> {
    match row.rel_type.as_str() {
        "m.reference" => Some(As::Reference),
        // What relates to another event itself cannot begin a thread.
        THREAD if parent.relation().is_none() => Some(As::Thread),
        "m.replace" => {
            let is_valid = row.sender == parent.sender()
                && row.kind == parent.kind()
                && parent.meta().redacted_by.is_none()
                && !parent.is_redacted_copy()
                && parent.relation().is_none_or(|relation| relation.rel_type != "m.replace");
            is_valid.then_some(As::Edit)
        }
        _ => None,
    }
}

/// Whether an edit says what the event is now. An encrypted one may; it cannot be seen.
fn has_new_content(event: &StoredEvent) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.new_content")]
        _new: IgnoredAny,
    }
    event.state_key().is_none()
        && (event.kind() == "m.room.encrypted" || event.pdu().content_as::<Content>().is_ok())
}

/// A related event's place in the timeline; the state there is not asked about.
pub(crate) fn place_of(order: Order, row: &RelationRow) -> Entry {
    Entry { order, event: row.child, current: Root::EMPTY, gap: false }
}
