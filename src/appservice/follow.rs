//! Reads the log, and writes down what services have to be told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use account::AppService;
use room::{
    EventSerial, RoomSerial,
    log::{Entry, ReceiptEntry},
    read::event::{Keep, StoredEvent},
    tables::Membership,
};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId};
use store::{Batch, Entries, Moved, Position, Term, Topic};
use tracing::warn;

use crate::{
    AppServices, Error,
    interest::{Change, Interest, Met, Place},
    lane::Round,
    moments::Moments,
    tables::{BEGUN, Due, ItemRow},
};

/// Entries of the log that are read at once.
const ENTRIES: usize = 500;

/// Where nobody has to be told anything, the cursor is written after so many positions, or this while.
const POSITIONS: u64 = 1_000;
const WHILE: Duration = Duration::from_secs(2);

/// The kind of receipts that others see.
const PUBLIC: &str = "m.read";

/// An event, or what came of one, at its place in the log.
pub(crate) struct Happened {
    pub(crate) position: Position,
    pub(crate) room: RoomSerial,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) event: Option<EventSerial>,
    pub(crate) member: Option<(OwnedUserId, Membership)>,
    /// An alias that leads to the room from here on, or does so no more.
    pub(crate) alias: Option<(OwnedRoomAliasId, bool)>,
    /// Whether it took a place in the room's timeline; else it concerns its member alone.
    pub(crate) is_placed: bool,
}

/// How far the log is read, and how far that is written down.
struct At {
    read: Position,
    written: Position,
}

impl AppServices {
    pub(crate) fn all(&self) -> Vec<Arc<AppService>> {
        self.0.told.iter().map(|(service, _)| service.clone()).collect()
    }

    /// Does the work of one term.
    pub(crate) async fn keep_up(self, term: Term) -> Result<(), Error> {
        let stop = term.ended().clone();
        let begun = self.begin(&term).await?;
        let first = begun.iter().copied().min().unwrap_or(self.0.head);
        let mut at = At { read: term.cursor().max(first), written: term.cursor() };
        let mut interest = Interest::new(self.all());
        let round = Round::open(&self, &term, begun).await?;
        if let Some(missed) = term.missed() {
            self.make_up(&round, missed).await?;
        }
        round.learn_devices(None).await?;
        round.start();
        while !stop.is_cancelled() {
            // Before the read: what comes meanwhile must wake us.
            let mut watch = self.0.store.watch_any();
            if self.take_log(&round, &mut interest, &mut at).await? {
                continue;
            }
            let woken = stop.run_until_cancelled(self.0.clock.timeout(WHILE, watch.changed())).await;
            if at.written < at.read && matches!(woken, None | Some(Err(_))) {
                self.write(&round, &mut at, Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// From where on each service is told of events: one that was not registered before is not told what was before it.
    async fn begin(&self, term: &Term) -> Result<Vec<Position>, Error> {
        let ids: Vec<String> = self.0.told.iter().map(|(service, _)| service.id().to_owned()).collect();
        let known = self.0.store.get_many(&BEGUN, &ids).await?;
        let mut batch = Batch::new();
        for (id, _) in ids.iter().zip(&known).filter(|(_, known)| known.is_none()) {
            batch.put(&BEGUN, id, &self.0.head.0);
        }
        if !batch.is_empty() {
            term.commit(batch).await?;
        }
        Ok(known.into_iter().map(|known| known.map_or(self.0.head, Position)).collect())
    }

    /// Reads on in the log. Tells whether there was anything.
    async fn take_log(
        &self,
        round: &Arc<Round>,
        interest: &mut Interest,
        at: &mut At,
    ) -> Result<bool, Error> {
        let Some(Entries { changes, through }) = round.term().read_on(at.read, ENTRIES).await? else {
            return Ok(false);
        };
        let (mut happened, mut receipts, mut with_devices) = (Vec::new(), Vec::new(), BTreeSet::new());
        for change in &changes {
            if change.kind == account::log::DEVICES
                && let Some(account::log::Change::Devices { user_id, .. }) =
                    account::log::Change::decode(&change.payload)
            {
                with_devices.insert(user_id);
            }
            match Entry::decode(change.kind, &change.payload) {
                Ok(Some(Entry::Receipt(entry))) => receipts.push(entry),
                Ok(Some(entry)) => happened.extend(Happened::of(change.position, entry)),
                Ok(None) => {}
                // It is lost to the services alone, and stands still for nobody.
                Err(error) => warn!(position = %change.position, %error, "an entry of the log is damaged"),
            }
        }
        let due = self.judge(interest, happened, through).await?;
        let since = at.read;
        at.read = through;
        if !due.is_empty() || at.read.0.saturating_sub(at.written.0) >= POSITIONS {
            self.write(round, at, due).await?;
        }
        for user in &with_devices {
            round.learn_devices(Some(user)).await?;
        }
        if self.0.told.iter().any(|(service, _)| service.told().ephemeral) {
            self.take_moments(round, interest, since, through, receipts).await?;
        }
        round.call_devices(since);
        Ok(true)
    }

    /// Takes in what is of the moment and came after a position.
    async fn take_moments(
        &self,
        round: &Arc<Round>,
        interest: &mut Interest,
        since: Position,
        through: Position,
        receipts: Vec<ReceiptEntry>,
    ) -> Result<(), Error> {
        let (rooms, presence) = (&self.0.rooms, self.0.accounts.presence());
        let typing = rooms.typing_news(since);
        let present: Vec<(OwnedUserId, Vec<RoomSerial>)> = presence
            .changes_since(since)
            .into_iter()
            .map(|(_, user)| (user.clone(), presence.rooms_of(&user)))
            .collect();
        // What users read of themselves concerns nobody else.
        let receipts: Vec<_> = receipts.into_iter().filter(|receipt| receipt.kind == PUBLIC).collect();
        let moved = typing.iter().map(|(room, _)| *room).chain(receipts.iter().map(|receipt| receipt.room));
        let moved = moved.chain(present.iter().flat_map(|(_, rooms)| rooms.iter().copied()));
        let unknown = interest.unknown(moved);
        if !unknown.is_empty() {
            let ids = rooms.ids_of_rooms(&unknown).await?;
            // What happens there meanwhile will be read, and the room be met before that.
            let is_still =
                |id: &OwnedRoomId| self.0.store.moved(Topic::room(id.as_str()), through) == Moved::No;
            let met = |id| Met { id, before: None, changed: BTreeSet::new() };
            let ids = ids.into_iter().map(|id| id.filter(is_still).map(met));
            let wanted = unknown.into_iter().zip(ids).filter_map(|(room, met)| Some((room, met?))).collect();
            interest.learn(rooms, &wanted, |_| false).await?;
        }
        let mut told: BTreeMap<Place, Moments> = BTreeMap::new();
        for (room, users) in typing {
            let Some(id) = interest.id_of(room) else { continue };
            for place in interest.of_room(room) {
                told.entry(place).or_default().typing.insert(id.clone(), users.clone());
            }
        }
        for receipt in receipts {
            for place in interest.of_room(receipt.room) {
                let key = (receipt.room, receipt.user_id.clone(), receipt.thread.clone());
                told.entry(place).or_default().receipts.insert(key, receipt.room_id.clone());
            }
        }
        for (user, rooms) in present {
            let places: BTreeSet<Place> = rooms.iter().flat_map(|room| interest.of_room(*room)).collect();
            for place in places {
                told.entry(place).or_default().present.insert(user.clone());
            }
        }
        for (place, moments) in told {
            round.tell(place, moments);
        }
        Ok(())
    }

    async fn write(&self, round: &Arc<Round>, at: &mut At, due: Vec<Due>) -> Result<(), Error> {
        let mut batch = Batch::new();
        round.term().set_cursor(&mut batch, at.read);
        round.put(batch, due).await?;
        at.written = at.read;
        Ok(())
    }

    /// Finds whom what happened concerns, where the log is read up to `through`.
    pub(crate) async fn judge(
        &self,
        interest: &mut Interest,
        happened: Vec<Happened>,
        through: Position,
    ) -> Result<Vec<Due>, Error> {
        if happened.is_empty() {
            return Ok(Vec::new());
        }
        let rooms = &self.0.rooms;
        let keys: Vec<_> = happened.iter().filter_map(|it| Some((it.room, it.event?))).collect();
        let events = rooms.find_events(&keys, Keep::All).await?;
        let mut wanted: BTreeMap<RoomSerial, Met> = BTreeMap::new();
        let with_events = happened.iter().filter(|happened| happened.event.is_some());
        for (happened, event) in with_events.zip(&events) {
            let met = wanted.entry(happened.room).or_insert_with(|| {
                let meta = event.as_ref().map(|event| event.meta());
                let before = meta.filter(|meta| meta.is_placed() && !meta.partial).map(|meta| meta.before);
                Met { id: happened.room_id.clone(), before, changed: BTreeSet::new() }
            });
            met.changed.extend(happened.member.as_ref().map(|(user, _)| user.clone()));
        }
        let has_moved = |id: &RoomId| self.0.store.moved(Topic::room(id.as_str()), through) != Moved::No;
        interest.learn(rooms, &wanted, has_moved).await?;
        let mut events = events.into_iter();
        let gone = interest.gone(rooms, happened.iter().filter_map(Happened::change)).await?;
        let since = self.0.clock.now().millis();
        let mut due = Vec::new();
        for happened in happened {
            if let Some((alias, leads)) = &happened.alias {
                interest.note_alias(happened.room, alias, *leads);
                continue;
            }
            let event = match happened.event {
                Some(_) => events.next().flatten(),
                None => self.invitation(&happened).await?,
            };
            let mut places = match happened.is_placed {
                true => interest.of_room(happened.room),
                false => BTreeSet::new(),
            };
            if let Some(change) = happened.change() {
                interest.note(&change, &gone);
                places.extend(interest.of_user(change.user));
                if happened.is_placed {
                    places.extend(interest.of_room(happened.room));
                }
            }
            // What clients are shown, the services are: no event that was refused.
            let Some(event) = event.filter(|event| event.is_shown() || !happened.is_placed) else { continue };
            if happened.is_placed {
                places.extend(interest.of_event(&event));
            }
            let item = ItemRow { room: event.room(), event: event.serial(), since };
            due.extend(places.into_iter().map(|place| Due { place, position: happened.position, item }));
        }
        Ok(due)
    }

    /// An invitation to a room that we are not in, or what ended one, if its event is here.
    async fn invitation(&self, happened: &Happened) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Some((user, membership)) = &happened.member else { return Ok(None) };
        if !self.0.told.iter().any(|(service, _)| service.covers_user(user)) {
            return Ok(None);
        }
        let memberships = self.0.rooms.memberships(user).await?;
        let row = memberships.find(happened.room).filter(|row| row.membership == *membership);
        let Some(event) = row.and_then(|row| row.event) else { return Ok(None) };
        Ok(self.0.rooms.find_events(&[(happened.room, event)], Keep::All).await?.pop().flatten())
    }
}

impl Happened {
    fn of(position: Position, entry: Entry) -> Option<Self> {
        match entry {
            Entry::Event(entry) => Some(Self {
                position,
                room: entry.room,
                room_id: entry.room_id,
                event: Some(entry.event),
                member: entry.member,
                alias: None,
                is_placed: true,
            }),
            Entry::Membership(entry) => Some(Self {
                position,
                room: entry.room,
                room_id: entry.room_id,
                event: None,
                member: Some((entry.user_id, entry.membership)),
                alias: None,
                is_placed: false,
            }),
            Entry::Alias(entry) => Some(Self {
                position,
                room: entry.room,
                room_id: entry.room_id,
                event: None,
                member: None,
                alias: Some((entry.alias, entry.leads)),
                // Nothing is to be read of a room for it: what is not known of one is read when something happens there.
                is_placed: false,
            }),
            // What was before we came has happened to nobody here; receipts are of the moment.
            Entry::Receipt(_) | Entry::History(_) => None,
        }
    }

    /// Who came or went.
    fn change(&self) -> Option<Change<'_>> {
        let (user, membership) = self.member.as_ref()?;
        Some(Change { room: self.room, user, membership: *membership })
    }
}
