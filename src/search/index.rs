//! Writing the index: documents become segments of their rooms, and what was emptied goes.
//!
//! Everything here adds to a batch that demands the rooms' rows as they were read, and that the rooms are not purged: whoever was
//! overtaken does it over.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use room::{
    ids::{EventSerial, RoomSerial},
    read::{
        event::StoredEvent,
        room::{RoomInfo, bind},
    },
};
use store::{Batch, Reads};

use crate::{
    Error, Search,
    grams::{Gram, Legible},
    segment::{Document, JOINED, Part},
    tables::{DOCUMENTS, EMPTIED_EVENTS, PAGES, ROOM_INDEX, RoomIndex, Segment},
    text::{Field, said},
};

/// From so many postings on segments are joined beside the async threads.
const MUCH: u32 = 20_000;

/// What was written of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many postings they have.
    pub(crate) postings: usize,
}

/// Documents by their rooms.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) rooms: BTreeMap<RoomSerial, Vec<Document>>,
    pub(crate) written: Written,
}

impl Documents {
    /// Takes in an event, if it is searched.
    pub(crate) fn add(&mut self, event: &StoredEvent) {
        let Some(document) = document_of(event) else { return };
        self.written.postings += document.grams.len();
        self.rooms.entry(event.room()).or_default().push(document);
    }
}

/// An event as it is looked up; nothing for one that has no place, is not shown, or says nothing.
pub(crate) fn document_of(event: &StoredEvent) -> Option<Document> {
    let order = event.order().filter(|_| event.is_shown())?;
    let said = said(event)?;
    let mut grams = Legible::new(&said.text).grams();
    if grams.is_empty() {
        return None;
    }
    grams.push(Gram::sender(event.sender().as_str()));
    if said.field != Field::Body {
        grams.push(Gram::field(said.field));
    }
    Some(Document { order, event: event.serial(), grams })
}

impl Search {
    /// Adds documents to a batch, as of a building of the index. Rooms that are gone are left out; where `ends` is a room,
    /// what earlier buildings made of it goes.
    pub(crate) async fn stage_documents(
        &self,
        batch: &mut Batch,
        mut documents: BTreeMap<RoomSerial, Vec<Document>>,
        build: u32,
        ends: Option<RoomSerial>,
    ) -> Result<(), Error> {
        if let Some(room) = ends {
            documents.entry(room).or_default();
        }
        let serials: Vec<RoomSerial> = documents.keys().copied().collect();
        let infos = self.rooms().room_infos(&serials).await?;
        let keys: Vec<(RoomSerial, ())> = serials.iter().map(|room| (*room, ())).collect();
        let indexes = self.store().get_many(&ROOM_INDEX, &keys).await?;
        for (((room, documents), info), was) in documents.into_iter().zip(infos).zip(indexes) {
            let Some(info) = info else { continue };
            let mut index = was.clone().unwrap_or_default();
            if !documents.is_empty() {
                self.add(batch, room, &mut index, Part::of(documents), build).await?;
            }
            if ends == Some(room) {
                for old in index.segments.extract_if(.., |segment| segment.build != build) {
                    batch.delete(&DOCUMENTS, &(room, old.number));
                    batch.delete_prefix(&PAGES, &(room, old.number));
                }
            }
            self.put_index(batch, &info, was.as_ref(), &index);
        }
        Ok(())
    }

    /// Writes the list of a room's segments, if it is another one.
    fn put_index(&self, batch: &mut Batch, room: &Arc<RoomInfo>, was: Option<&RoomIndex>, index: &RoomIndex) {
        if was.map_or(index.segments.is_empty(), |was| was == index) {
            return;
        }
        bind(batch, room);
        batch.require(&ROOM_INDEX, &(room.serial, ()), was);
        batch.put(&ROOM_INDEX, &(room.serial, ()), index);
    }

    /// Adds a part to a room, with those before it that it is to be joined with.
    async fn add(
        &self,
        batch: &mut Batch,
        room: RoomSerial,
        index: &mut RoomIndex,
        part: Part,
        build: u32,
    ) -> Result<(), Error> {
        let (mut joined, mut size) = (Vec::new(), part.size());
        let take = |index: &mut RoomIndex, from: usize| index.segments.split_off(from);
        if index.segments.last().is_some_and(|last| last.is_open() && last.build == build) {
            joined = take(index, index.segments.len().saturating_sub(1));
            size = joined.iter().fold(size, |size, segment| size.saturating_add(segment.postings));
        }
        loop {
            let now = Segment { postings: size, ..part.segment(0, build) };
            let is_below = |segment: &&Segment| segment.build == build && segment.level() <= now.level();
            let below = index.segments.iter().rev().take_while(is_below).count();
            if now.is_full() || below + 1 < JOINED {
                break;
            }
            let taken = take(index, index.segments.len() - below);
            size = taken.iter().fold(size, |size, segment| size.saturating_add(segment.postings));
            joined.extend(taken);
        }
        let mut parts = self.read_parts(room, &joined).await?;
        parts.push(part);
        let part = match parts.len() {
            1 => parts.pop().unwrap_or_default(),
            _ if size < MUCH => Part::join(parts),
            _ => self.aside(move || Part::join(parts)).await?,
        };
        for segment in &joined {
            batch.delete(&DOCUMENTS, &(room, segment.number));
            (0..segment.pages).for_each(|page| batch.delete(&PAGES, &(room, segment.number, page)));
        }
        let segment = part.segment(index.next, build);
        index.next = index.next.wrapping_add(1);
        index.segments.push(segment);
        batch.put(&DOCUMENTS, &(room, segment.number), &part.documents());
        for (number, page) in (0_u32..).zip(part.pages(segment.pages)) {
            if let Some(page) = page {
                batch.put(&PAGES, &(room, segment.number, number), &page);
            }
        }
        Ok(())
    }

    /// Segments of a room as they are stored, in one round.
    async fn read_parts(&self, room: RoomSerial, segments: &[Segment]) -> Result<Vec<Part>, Error> {
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let mut reads = Reads::new();
        let tickets: Vec<_> = segments
            .iter()
            .map(|segment| {
                let pages: Vec<_> = (0..segment.pages).map(|page| (room, segment.number, page)).collect();
                (reads.get(&DOCUMENTS, &(room, segment.number)), reads.get_many(&PAGES, &pages))
            })
            .collect();
        let mut found = self.store().read(reads).await?;
        let mut parts = Vec::with_capacity(segments.len());
        for (documents, pages) in tickets {
            let documents = found.take(documents)?.unwrap_or_default();
            parts.push(Part::read(&documents, &found.take_many(pages)?));
        }
        Ok(parts)
    }

    /// Takes emptied events of one room out of the index, in a batch that also says that this is done.
    pub(crate) async fn stage_emptied(
        &self,
        batch: &mut Batch,
        room: RoomSerial,
        events: &HashSet<EventSerial>,
    ) -> Result<(), Error> {
        for event in events {
            batch.delete(&EMPTIED_EVENTS, &(room, *event));
        }
        let Some(info) = self.rooms().room_infos(&[room]).await?.pop().flatten() else { return Ok(()) };
        let Some(was) = self.store().get(&ROOM_INDEX, &(room, ())).await? else { return Ok(()) };
        let wanted: Vec<(RoomSerial, EventSerial)> = events.iter().map(|event| (room, *event)).collect();
        let found = self.rooms().read_events(&wanted).await?;
        let orders: Vec<_> = found.iter().flatten().filter_map(|event| event.order()).collect();
        let may_have =
            |segment: &Segment| orders.iter().any(|order| segment.first <= *order && *order <= segment.last);
        let mut index = was.clone();
        for segment in &mut index.segments {
            if !may_have(segment) {
                continue;
            }
            let Some(before) = self.read_parts(room, &[*segment]).await?.pop() else { continue };
            let mut part = before.clone();
            if !part.remove(events) {
                continue;
            }
            // What is on another page for it is written; the pages stay as many as they are.
            let pages = before.pages(segment.pages).into_iter().zip(part.pages(segment.pages));
            for (number, (before, page)) in (0_u32..).zip(pages) {
                match page {
                    _ if before == page => {}
                    Some(page) => batch.put(&PAGES, &(room, segment.number, number), &page),
                    None => batch.delete(&PAGES, &(room, segment.number, number)),
                }
            }
            match part.is_empty() {
                true => batch.delete(&DOCUMENTS, &(room, segment.number)),
                false => batch.put(&DOCUMENTS, &(room, segment.number), &part.documents()),
            }
            let pages = segment.pages;
            *segment = Segment { pages, ..part.segment(segment.number, segment.build) };
        }
        index.segments.retain(|segment| segment.postings > 0);
        self.put_index(batch, &info, Some(&was), &index);
        Ok(())
    }
}
