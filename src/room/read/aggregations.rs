//! What is told of an event's relations together with the event: its newest edit, its thread, what
//! refers to it.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events>

use std::{collections::HashMap, sync::Arc};

use base::Timestamp;
use ruma::OwnedEventId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use store::Range;

use crate::{
    Error, Order, RoomSerial, Rooms,
    read::{
        event::{StoredEvent, THREAD},
        relations::place_of,
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
    fn is_empty(&self) -> bool {
        self.edit.is_none() && self.thread.is_none() && self.references.is_empty()
    }

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
        let related = self.related_to(looks).await?;
        if related.is_empty() {
            return Ok(());
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

        let mut told: HashMap<usize, Told> = HashMap::new();
        for ((owner, event), sight) in owners.into_iter().zip(events).zip(sights) {
            // A redaction takes the row away, but the two may have come at once.
            if sight.visible && event.meta().redacted_by.is_none() {
                told.entry(owner.0).or_default().take(owner.1, event, sight);
            }
        }
        self.tell(viewer, looks, told).await
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
        told: HashMap<usize, Told>,
    ) -> Result<(), Error> {
        let roots: Vec<usize> =
            told.iter().filter(|(_, told)| told.thread.is_some()).map(|(index, _)| *index).collect();
        let ranges = roots.iter().map(|index| {
            let root = &looks[*index].event;
            Range::prefix(&(root.room(), root.event_id().as_str()))
        });
        let senders = self
            .store()
            .scan_many(&THREAD_SENDERS, ranges.collect(), store::Order::Ascending, usize::MAX)
            .await?;
        let mut senders: HashMap<usize, _> = roots.into_iter().zip(senders).collect();

        for (index, told) in told {
            let mut chosen = Vec::new();
            chosen.extend(told.edit.clone());
            chosen.extend(told.thread.clone());
            let (events, memberships): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
            let mut shown = self.looks(viewer, events, &memberships).await?.into_iter();
            let mut aggregations = Aggregations::default();
            if told.edit.is_some() {
                aggregations.edit = shown.next();
            }
            if told.thread.is_some()
                && let Some(latest) = shown.next()
            {
                let senders = senders.remove(&index).unwrap_or_default();
                let wrote =
                    senders.iter().any(|((_, _, user), count)| user == viewer.user.as_str() && count.0 > 0);
                let count = senders.iter().map(|(_, count)| u64::try_from(count.0).unwrap_or(0)).sum();
                let participated = wrote || looks[index].event.sender() == viewer.user;
                aggregations.thread = Some(Thread { latest, count, participated });
            }
            aggregations.references = told.references.into_iter().rev().collect();
            if !aggregations.is_empty() {
                looks[index].aggregations = Some(Box::new(aggregations));
            }
        }
        Ok(())
    }
}

/// What is told of one event, in the making.
#[derive(Default)]
struct Told {
    edit: Option<(Arc<StoredEvent>, Option<Membership>)>,
    thread: Option<(Arc<StoredEvent>, Option<Membership>)>,
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
