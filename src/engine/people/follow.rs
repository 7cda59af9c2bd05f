//! Brings the rows of people up to what rooms say of them, behind the rooms.
//!
//! One process does it. That it is one is for economy alone: every batch requires the rows that it was made from, of
//! the person and of the members, so that two of them, a purge or another event in between spoil nothing.
//!
//! Who is due is gone through in turn, however much comes in meanwhile: a server that renames its ten thousand users
//! every second has each of them looked at once in a round, and others have their turn. After each page it
//! rests for longer than that took.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use room::{
    Error,
    ids::RoomSerial,
    people::{DUE, NAME_LETTERS, PEOPLE, WALKS, WORDS, WalkRow, people_due, stage_person},
    read::open::appearance,
    tables::{EVENTS, HEADS, LOCAL_MEMBERS, MEMBERS, Membership},
};
use ruma::UserId;
use store::{Batch, CommitError, Consumer, Order, Range, Store, Term};
use tracing::warn;

use crate::Engine;

/// The name under which one of several processes does this.
const NAME: &str = "room people";

/// Who is looked at in one batch.
const PAGE: usize = 100;

/// How long those who are due gather before they are looked at. Nobody waits for it, and a commit for each of a few
/// rooms that are made one after the other would have their makers wait for the disk once more each.
const GATHER: Duration = Duration::from_millis(500);

/// After a page it rests for so many times as long as that took.
const REST: u32 = 3;

/// The rooms in which people are due.
pub(crate) type Due = BTreeMap<String, BTreeSet<RoomSerial>>;

/// A room that is purged, and one of its members.
pub(crate) struct Gone<'a> {
    pub(crate) room: RoomSerial,
    pub(crate) users: &'a [String],
}

impl Engine {
    /// Looks after people who are due, as long as no other process does.
    pub fn start_listing_people(&self, metrics: &base::Metrics) {
        let consumer = Consumer::without_log(self.store(), NAME, &self.0.clock, metrics);
        let engine = self.clone();
        self.0.tasks.spawn_restarting("room people", move || {
            let (engine, consumer) = (engine.clone(), consumer.clone());
            async move {
                let stop = engine.0.tasks.shutdown_token();
                consumer.run(stop, |term| engine.clone().list_on(term)).await;
            }
        });
    }

    /// Does the work of one term.
    async fn list_on(self, term: Term) -> Result<(), Error> {
        let stop = term.ended().clone();
        while !stop.is_cancelled() {
            stop.run_until_cancelled(self.0.clock.sleep(GATHER)).await;
            // Before the read: who is due meanwhile must wake us.
            let mut watch = self.store().watch(vec![people_due()]);
            if self.list_round(&term).await? == 0 {
                stop.run_until_cancelled(watch.changed()).await;
            }
        }
        Ok(())
    }

    /// Goes once through all who are due. Tells how many pages there were.
    async fn list_round(&self, term: &Term) -> Result<usize, Error> {
        let mut pages = 0;
        let mut range = Range::all();
        loop {
            let began = self.0.clock.instant();
            let rows = self.store().scan(&DUE, range, Order::Ascending, PAGE).await?;
            let Some((last, ())) = rows.last() else { break };
            if term.ended().is_cancelled() {
                break;
            }
            range = Range::all().after(last);
            let mut due = Due::new();
            for ((user, room), ()) in rows {
                due.entry(user).or_default().insert(room);
            }
            self.list_page(term, due).await?;
            pages += 1;
            self.rest_after(term, began).await;
        }
        let mut range = Range::all();
        loop {
            let rows = self.store().scan(&WALKS, range, Order::Ascending, 1).await?;
            let Some((room, mut row)) = rows.into_iter().next() else { return Ok(pages) };
            range = Range::all().after(&room);
            // No room holds up the others: of each one some pages.
            for _ in 0..10 {
                if term.ended().is_cancelled() {
                    return Ok(pages);
                }
                let began = self.0.clock.instant();
                let next = self.walk_on(term, room, &row).await?;
                pages += 1;
                self.rest_after(term, began).await;
                match next {
                    Some(next) => row = next,
                    None => break,
                }
            }
        }
    }

    async fn rest_after(&self, term: &Term, began: base::Instant) {
        term.ended().run_until_cancelled(self.0.clock.rest_since(began, REST)).await;
    }

    /// Looks at people who are due.
    async fn list_page(&self, term: &Term, due: Due) -> Result<(), Error> {
        if self.try_page(term, &due).await?.is_some_and(|taken| taken) {
            return Ok(());
        }
        // Something of one of them has moved meanwhile, or is damaged: that is no reason for the others to wait. He stays due,
        // but for what is damaged.
        for (user, rooms) in due {
            let one = Due::from([(user, rooms)]);
            if self.try_page(term, &one).await?.is_none() {
                self.pass_over(term, one).await?;
            }
        }
        Ok(())
    }

    /// Looks at people once. Tells whether what became of it was written; nothing, if something of them is damaged.
    async fn try_page(&self, term: &Term, due: &Due) -> Result<Option<bool>, Error> {
        match self.stage_due(due).await {
            Ok(batch) => Ok(Some(is_taken(term.commit(batch).await)?)),
            Err(error) if error.is_passing() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Looks at somebody of whom something is damaged, room by room: where it is, he is not due any more, for it would be
    /// found again and again. He is found there as before, or not at all.
    async fn pass_over(&self, term: &Term, due: Due) -> Result<(), Error> {
        for (user, rooms) in due {
            for room in rooms {
                let one = Due::from([(user.clone(), BTreeSet::from([room]))]);
                if self.try_page(term, &one).await?.is_some() {
                    continue;
                }
                warn!(
                    user_id = user,
                    room = room.0,
                    "what is stored of somebody is damaged: he is not listed"
                );
                self.0.metrics.people_passed_over.inc();
                let mut batch = Batch::new();
                batch.delete(&DUE, &(user.as_str(), room));
                is_taken(term.commit(batch).await)?;
            }
        }
        Ok(())
    }

    /// Looks at some more members of a room. Gives the walk as it is then; none when it is over, or another one.
    async fn walk_on(&self, term: &Term, room: RoomSerial, row: &WalkRow) -> Result<Option<WalkRow>, Error> {
        let range = Range::prefix(&room).after(&(room, row.after.as_str()));
        let members = match self
            .store()
            .scan(&MEMBERS, range, Order::Ascending, PAGE)
            .await
            .map_err(Error::from)
        {
            Err(error) if !error.is_passing() => {
                warn!(room = room.0, %error, "the members of a room are damaged: those behind are not listed");
                self.0.metrics.people_passed_over.inc();
                let mut batch = Batch::new();
                batch.require(&WALKS, &room, Some(row));
                batch.delete(&WALKS, &room);
                is_taken(term.commit(batch).await)?;
                return Ok(None);
            }
            members => members?,
        };
        let due: Due = members.into_iter().map(|((_, user), _)| (user, BTreeSet::from([room]))).collect();
        let last = due.keys().next_back().cloned();
        let next = last.map(|after| WalkRow { after, since: row.since });
        let staged = match self.stage_due(&due).await {
            Err(error) if error.is_passing() => return Err(error),
            staged => staged.ok(),
        };
        if let Some(mut batch) = staged {
            batch.require(&WALKS, &room, Some(row));
            match &next {
                Some(next) => batch.put(&WALKS, &room, next),
                None => batch.delete(&WALKS, &room),
            }
            if is_taken(term.commit(batch).await)? {
                return Ok(next);
            }
        }
        // One by one, by way of those who are due.
        let mut batch = Batch::new();
        batch.require(&WALKS, &room, Some(row));
        due.keys().for_each(|user| batch.put(&DUE, &(user.as_str(), room), &()));
        if let Some(next) = &next {
            batch.put(&WALKS, &room, next);
        }
        Ok(if is_taken(term.commit(batch).await)? { next } else { None })
    }

    /// A batch with the rows of people as the rooms' members say.
    pub(crate) async fn stage_due(&self, due: &Due) -> Result<Batch, Error> {
        let users: Vec<&str> = due.keys().map(String::as_str).collect();
        let keys: Vec<(RoomSerial, &str)> =
            due.iter().flat_map(|(user, rooms)| rooms.iter().map(|room| (*room, user.as_str()))).collect();
        let mut reads = store::Reads::new();
        let (people, members) = (reads.get_many(&PEOPLE, &users), reads.get_many(&MEMBERS, &keys));
        let mut found = self.store().read(reads).await?;
        let (people, members) = (found.take_many(people)?, found.take_many(members)?);

        // What others are called where; our users' names are not looked at.
        let joined = keys.iter().zip(&members).filter_map(|((room, user), member)| {
            let member = member.filter(|member| member.membership == Membership::Join)?;
            let user = <&UserId>::try_from(*user).ok().filter(|user| !self.is_local(user))?;
            Some(((*room, user.as_str()), (*room, member.event)))
        });
        let (named, keys_of_events): (Vec<_>, Vec<_>) = joined.unzip();
        // From the store: the members of a large room are not to put all else out of the cache, and a redaction that
        // somebody is due for must be in what is read.
        let events = self.rooms().read_events(&keys_of_events).await?;
        let name = |event: &room::read::event::StoredEvent| {
            let name = appearance(event.pdu().content_str()).displayname.unwrap_or_default();
            name.chars().take(NAME_LETTERS).collect::<String>()
        };
        let mut batch = Batch::new();
        // He is due no more, also if that is for a redaction that is written meanwhile.
        for (key, event) in keys_of_events.iter().zip(&events) {
            batch.require(&EVENTS, key, event.as_ref().map(|event| event.pdu().json()));
        }
        let names: BTreeMap<(RoomSerial, &str), String> = named
            .into_iter()
            .zip(&events)
            .filter_map(|(key, event)| Some((key, name(event.as_ref()?))))
            .collect();

        let mut members = keys.iter().zip(&members);
        for ((user, rooms), was) in due.iter().zip(people) {
            let mut is = was.clone().unwrap_or_default();
            for (key, member) in members.by_ref().take(rooms.len()) {
                batch.require(&MEMBERS, key, member.as_ref());
                batch.delete(&DUE, &(user.as_str(), key.0));
                match member.is_some_and(|member| member.membership == Membership::Join) {
                    true => is.set(key.0, names.get(key).map_or("", String::as_str)),
                    false => is.remove(key.0),
                }
            }
            if let Ok(id) = <&UserId>::try_from(user.as_str()) {
                stage_person(&mut batch, id, was.as_ref(), &is, self.is_local(id));
            }
        }
        Ok(batch)
    }

    /// Takes a room that is purged out of the rows of people.
    pub(crate) async fn stage_people_gone(&self, batch: &mut Batch, gone: Gone<'_>) -> Result<(), Error> {
        let people = self.store().get_many(&PEOPLE, gone.users).await?;
        for (user, was) in gone.users.iter().zip(people) {
            batch.delete(&DUE, &(user.as_str(), gone.room));
            let Ok(id) = <&UserId>::try_from(user.as_str()) else { continue };
            let mut is = was.clone().unwrap_or_default();
            is.remove(gone.room);
            // Also where it says nothing of the room: whoever lists him meanwhile, by a member row that goes now, would
            // put it back for ever.
            stage_person(batch, id, was.as_ref(), &is, self.is_local(id));
        }
        Ok(())
    }
}

/// Whether a batch was written; false, if what it was made from has moved.
fn is_taken(outcome: Result<store::Committed, CommitError>) -> Result<bool, Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. } | CommitError::Unknown) => Ok(false),
        Err(error) => Err(Error::Commit(error)),
    }
}

/// Forgets by what people are found, for whoever lists them anew: texts are folded in another way than they were.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn unlist_people(store: &Store) -> Result<(), store::Error> {
    let mut batch = Batch::new();
    batch.delete_all(&WORDS);
    batch.delete_all(&PEOPLE);
    store.commit(batch).await.map(drop).map_err(CommitError::into_error)
}

/// Lists people in data that were written before that was done: a step of the data's schema. All are due, and are
/// looked after as any others, while the server serves.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn list_people(store: &Store) -> Result<(), store::Error> {
    const ROWS: usize = 1_000;
    // Nothing is required: who is due in vain, since another process is done with this and serves, or since the room is
    // being purged, is looked at in vain.
    let mut range = Range::all();
    loop {
        let rows = store.scan(&LOCAL_MEMBERS, range, Order::Ascending, ROWS).await?;
        let Some((last, ())) = rows.last() else { break };
        range = Range::all().after(last);
        let mut batch = Batch::new();
        rows.iter().for_each(|((room, user), ())| batch.put(&DUE, &(user.as_str(), *room), &()));
        store.commit(batch).await.map_err(CommitError::into_error)?;
    }
    let mut range = Range::all();
    loop {
        let rows = store.scan(&HEADS, range, Order::Ascending, ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = Range::all().after(last);
        let mut batch = Batch::new();
        rows.iter().for_each(|(room, _)| batch.put(&WALKS, room, &WalkRow::default()));
        store.commit(batch).await.map_err(CommitError::into_error)?;
    }
}
