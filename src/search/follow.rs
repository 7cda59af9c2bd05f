//! Keeps the index up behind the log, and builds it for what is older than that.
//!
//! One process does it. The cursor moves in the batches of the documents themselves, so nothing is left out and nothing
//! is in it twice, whoever crashes. What was said between two looks gathers, and comes in one batch for all rooms.
//!
//! Data that have no index yet, or one of an older form, get one while they serve: room by room, oldest first, from the timelines as far
//! as the cursor; what came later comes by the log. The same way an index is built anew, when that is ordered
//! or the log went before it was read. What a former building made of a room is found until the new one of it is whole.

use std::{collections::BTreeMap, collections::HashSet, time::Duration};

use room::{
    ids::{EventSerial, RoomSerial},
    log::{Entry, EventEntry, HistoryEntry},
    read::{
        timeline::{Direction, Stretch},
        token::Token,
    },
    tables::ROOM_IDS,
};
use store::{Batch, Change, CommitError, Entries, Order, Position, Range, Term};
use tracing::{info, warn};

use crate::{
    Error, Progress, Search,
    index::Documents,
    tables::{BUILD, BUILD_KEY, BuildRow, EMPTIED_EVENTS, NAME},
};

/// The form of what is stored: of pages, of grams, of folding. Whoever changes any of these counts this up, and the
/// index is built anew.
const FORM: u32 = 1;

/// Entries of the log that are read at once. They become one segment of each room that they are of, so what is said fast is
/// joined with what was said before it seldom.
const LOG_ENTRIES: usize = 4_000;
/// Rows of a timeline that are read at once.
const ENTRIES: usize = 500;
/// Events that are read at once, and postings after which a batch is written.
const EVENTS: usize = 50;
const POSTINGS: usize = 60_000;
/// Emptied events that are dealt with in one batch.
const EMPTIED: usize = 100;

/// How long what is said gathers. Who searches meanwhile reads it from the log.
const GATHER: Duration = Duration::from_secs(2);

/// After a part of a building it rests for so many times as long as that took.
const REST: u32 = 1;

/// Where a term is.
struct At {
    cursor: Position,
    build: BuildRow,
}

impl Search {
    /// Keeps the index up, as long as no other process does.
    pub fn start_indexing(&self) {
        let search = self.clone();
        self.tasks().spawn_restarting("search index", move || {
            let search = search.clone();
            async move {
                let stop = search.tasks().shutdown_token();
                search.consumer().run(stop, |term| search.clone().keep_up(term)).await;
            }
        });
    }

    /// Orders that the index is built anew, whatever there is; what is found meanwhile is as before. On return the order is on disk.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn rebuild(&self) -> Result<(), Error> {
        loop {
            let was = self.store().get(&BUILD, &BUILD_KEY).await?;
            // Without a row it is built from the beginning anyway.
            let Some(row) = was else { return Ok(()) };
            let mut batch = Batch::new();
            // Of no form: whoever keeps it up begins anew from where he is.
            batch.replace(&BUILD, &BUILD_KEY, &row, &BuildRow { form: 0, ..row });
            match self.store().commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How far the index is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn progress(&self) -> Result<Progress, Error> {
        let row = self.store().get(&BUILD, &BUILD_KEY).await?;
        let cursor = self.store().cursor(NAME).await?;
        let behind = self.store().head().0.saturating_sub(cursor.0);
        let done = row.is_some_and(|row| row.done && row.form == FORM);
        Ok(Progress { build: row.map_or(0, |row| row.build), done, behind })
    }

    /// Does the work of one term.
    async fn keep_up(self, term: Term) -> Result<(), Error> {
        let stop = term.ended().clone();
        let build = self.begin(&term, term.missed().is_some()).await?;
        let mut at = At { cursor: term.cursor(), build };
        while !stop.is_cancelled() {
            // Before the reads: what comes meanwhile must wake us.
            let mut watch = self.store().watch_any();
            let mut is_busy = self.take_log(&term, &mut at).await?;
            is_busy |= self.take_emptied(&term).await?;
            is_busy |= self.build_on(&term, &mut at).await?;
            if !is_busy {
                self.building().set(0);
                stop.run_until_cancelled(watch.changed()).await;
                stop.run_until_cancelled(self.clock().sleep(GATHER)).await;
            }
        }
        Ok(())
    }

    /// Finds how far the building is, or begins one.
    async fn begin(&self, term: &Term, missed: bool) -> Result<BuildRow, Error> {
        let was = self.store().get(&BUILD, &BUILD_KEY).await?;
        if let Some(row) = was.filter(|row| row.form == FORM && !missed) {
            return Ok(row);
        }
        let row = BuildRow {
            form: FORM,
            build: was.map_or(1, |row| row.build.wrapping_add(1)),
            through: self.store().cursor(NAME).await?,
            at: None,
            done: false,
        };
        let mut batch = Batch::new();
        batch.require(&BUILD, &BUILD_KEY, was.as_ref());
        batch.put(&BUILD, &BUILD_KEY, &row);
        term.made_up(&mut batch);
        term.commit(batch).await?;
        info!(count = row.build, "the index of what was said is built");
        Ok(row)
    }

    /// Reads on in the log. Tells whether there was anything.
    async fn take_log(&self, term: &Term, at: &mut At) -> Result<bool, Error> {
        let Some(Entries { changes, mut through }) = term.read_on(at.cursor, LOG_ENTRIES).await? else {
            return Ok(false);
        };
        let mut taken = Taken::default();
        for change in &changes {
            self.take_change(change, &mut taken).await?;
            if taken.documents.written.postings >= POSTINGS {
                // The rest is for the next batch.
                through = change.position;
                break;
            }
        }
        self.take_events(&mut taken).await?;
        let Taken { documents, .. } = taken;
        let mut batch = Batch::new();
        self.stage_documents(&mut batch, documents.rooms, at.build.build, None).await?;
        term.set_cursor(&mut batch, through);
        if self.is_taken(term, batch).await? {
            at.cursor = through;
        }
        Ok(true)
    }

    /// Takes in what an entry of the log tells of.
    async fn take_change(&self, change: &Change, taken: &mut Taken) -> Result<(), Error> {
        match Entry::decode(change.kind, &change.payload) {
            Ok(Some(Entry::Event(EventEntry { room, event, .. }))) => taken.events.push((room, event)),
            Ok(Some(Entry::History(entry))) => self.take_history(&entry, taken).await?,
            Ok(_) => {}
            // It is lost to the search alone, and stands still for nobody.
            Err(error) => warn!(position = %change.position, %error, "an entry of the log is damaged"),
        }
        if taken.events.len() >= EVENTS { self.take_events(taken).await } else { Ok(()) }
    }

    async fn take_history(&self, entry: &HistoryEntry, taken: &mut Taken) -> Result<(), Error> {
        let mut stretch = entry.stretch();
        loop {
            let rows = self.rooms().timeline(stretch, Direction::Forward, ENTRIES).await?;
            taken.events.extend(rows.iter().map(|row| (entry.room, row.event)));
            let Some(last) = rows.last().filter(|_| rows.len() == ENTRIES) else { return Ok(()) };
            stretch.after = Token(last.order);
            self.take_events(taken).await?;
        }
    }

    /// Reads the events that were met, past all caches: what was emptied before this is read as empty.
    async fn take_events(&self, taken: &mut Taken) -> Result<(), Error> {
        let met = std::mem::take(&mut taken.events);
        for some in met.chunks(EVENTS) {
            match self.rooms().read_events(some).await {
                Ok(events) => events.iter().flatten().for_each(|event| taken.documents.add(event)),
                Err(error) if error.is_passing() => return Err(error.into()),
                Err(_) => self.take_one_by_one(some, taken).await?,
            }
            // Long texts are not to hold up others.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Of events some of which are damaged, the others.
    async fn take_one_by_one(
        &self,
        met: &[(RoomSerial, EventSerial)],
        taken: &mut Taken,
    ) -> Result<(), Error> {
        for one in met {
            match self.rooms().read_events(std::slice::from_ref(one)).await {
                Ok(events) => events.iter().flatten().for_each(|event| taken.documents.add(event)),
                Err(error) if error.is_passing() => return Err(error.into()),
                Err(error) => warn!(room = one.0.0, %error, "a stored event is damaged: it is not searched"),
            }
        }
        Ok(())
    }

    /// Takes emptied events out. Tells whether there were any.
    async fn take_emptied(&self, term: &Term) -> Result<bool, Error> {
        let rows = self.store().scan(&EMPTIED_EVENTS, Range::all(), Order::Ascending, EMPTIED).await?;
        let mut rooms: BTreeMap<RoomSerial, HashSet<EventSerial>> = BTreeMap::new();
        for ((room, event), ()) in rows {
            rooms.entry(room).or_default().insert(event);
        }
        let is_any = !rooms.is_empty();
        for (room, events) in rooms {
            let mut batch = Batch::new();
            self.stage_emptied(&mut batch, room, &events).await?;
            self.is_taken(term, batch).await?;
        }
        Ok(is_any)
    }

    /// Builds on with what is older than the log. Tells whether there was anything to do.
    async fn build_on(&self, term: &Term, at: &mut At) -> Result<bool, Error> {
        let stored = self.store().get(&BUILD, &BUILD_KEY).await?;
        if stored != Some(at.build) {
            // Somebody has ordered another building, from here on.
            let mut batch = Batch::new();
            term.set_cursor(&mut batch, at.cursor);
            term.commit(batch).await?;
            at.build = self.begin(term, false).await?;
            return Ok(true);
        }
        if at.build.done {
            return Ok(false);
        }
        self.building().set(1);
        let began = self.clock().instant();
        let (was, mut row) = (at.build, at.build);
        let mut documents = Documents::default();
        let mut ends = None;
        match self.next_room(&row).await? {
            None => {
                info!(count = row.build, "the index of what was said is built and whole");
                row = BuildRow { done: true, at: None, ..row };
            }
            Some((room, after)) => {
                let through = Token::after(row.through);
                let stretch = Stretch { room, after: Token(after), through };
                let rows = self.rooms().timeline(stretch, Direction::Forward, ENTRIES).await?;
                let mut taken = Taken::default();
                let mut last = None;
                for some in rows.chunks(EVENTS) {
                    taken.events.extend(some.iter().map(|entry| (room, entry.event)));
                    self.take_events(&mut taken).await?;
                    last = some.last().map(|entry| entry.order);
                    if taken.documents.written.postings >= POSTINGS {
                        break;
                    }
                }
                let is_all = rows.len() < ENTRIES && rows.last().map(|entry| entry.order) == last;
                ends = is_all.then_some(room);
                // Behind a room's last place there is only the next room.
                let place = if is_all { room::Order::LAST } else { last.unwrap_or(room::Order::LAST) };
                row.at = Some((room, place));
                documents = taken.documents;
            }
        }
        let mut batch = Batch::new();
        batch.replace(&BUILD, &BUILD_KEY, &was, &row);
        self.stage_documents(&mut batch, documents.rooms, row.build, ends).await?;
        if self.is_taken(term, batch).await? {
            at.build = row;
        }
        term.ended().run_until_cancelled(self.clock().rest_since(began, REST)).await;
        Ok(true)
    }

    /// The room that is to be built next, and after which of its places.
    async fn next_room(&self, row: &BuildRow) -> Result<Option<(RoomSerial, room::Order)>, Error> {
        let range = match row.at {
            Some((room, place)) if place != room::Order::LAST => return Ok(Some((room, place))),
            Some((room, _)) => Range::all().after(&room),
            None => Range::all(),
        };
        let rooms = self.store().scan(&ROOM_IDS, range, Order::Ascending, 1).await?;
        Ok(rooms.first().map(|(room, _)| (*room, room::Order::FIRST)))
    }

    /// Writes a batch. False, if what it was made from has moved: then it is made anew.
    async fn is_taken(&self, term: &Term, batch: Batch) -> Result<bool, Error> {
        match term.commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. } | CommitError::Unknown) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Events that were met and what was made of them.
#[derive(Default)]
struct Taken {
    events: Vec<(RoomSerial, EventSerial)>,
    documents: Documents,
}
