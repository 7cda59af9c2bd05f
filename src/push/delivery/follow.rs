//! Reads the log, and writes down what pushers have to be told.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use room::{
    EventSerial, RoomSerial,
    log::Entry,
    read::event::{Keep, StoredEvent},
    tables::Membership,
};
use ruma::{OwnedUserId, UserId};
use store::{Batch, Change, Entries, Position, Term, Value as _};
use tracing::warn;

use super::{Delivery, NAME, index::Index, judge::Scene, lanes::Round};
use crate::{
    Error,
    pushers::{PUSHERS_MOVED, PushersEntry},
    waiting::{BEGUN, Item, Key, TOLD},
};

/// Entries of the log that are read at once.
const ENTRIES: usize = 200;

/// Where nothing has to be told, the cursor is written after so many positions, or this while.
const POSITIONS: u64 = 1_000;
const WHILE: Duration = Duration::from_secs(2);

/// After so many events that are judged, others have the processor.
const JUDGED: usize = 64;

const REDACTION: &str = "m.room.redaction";

/// What users have to be told.
#[derive(Default)]
struct Due {
    items: Vec<(OwnedUserId, Item)>,
    /// Whose number may have become less.
    counts: BTreeSet<OwnedUserId>,
}

/// An event and whom it may concern.
struct Concerned {
    room: RoomSerial,
    event: EventSerial,
    users: Vec<OwnedUserId>,
}

/// How far the log is read, and how far that is written down.
struct At {
    read: Position,
    written: Position,
}

impl Delivery {
    /// Does the work of one term.
    pub(super) async fn keep_up(self, term: Term) -> Result<(), Error> {
        let stop = term.ended().clone();
        let begun = self.begin(&term).await?;
        let mut at = At { read: term.cursor().max(begun), written: term.cursor() };
        let mut index = Index::read(&self).await?;
        let round = Round::new(&self, &term);
        round.take_up().await?;
        if term.missed().is_some() {
            self.make_up(&round, &index).await?;
        }
        while !stop.is_cancelled() {
            // Before the read: what comes meanwhile must wake us.
            let mut watch = self.0.push.store().watch_any();
            if self.take_log(&round, &mut index, &mut at).await? {
                continue;
            }
            let woken = stop.run_until_cancelled(self.0.clock.timeout(WHILE, watch.changed())).await;
            if at.written < at.read && matches!(woken, None | Some(Err(_))) {
                self.write(&round, &mut at, Vec::new()).await?;
            }
            // Clients that wait for the same commit are answered first.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// From where on notifications are sent. A server that had none before does not ring for what is days old.
    async fn begin(&self, term: &Term) -> Result<Position, Error> {
        if let Some(position) = self.0.push.store().get(&BEGUN, &0).await? {
            return Ok(Position(position));
        }
        let mut batch = Batch::new();
        batch.put(&BEGUN, &0, &self.0.head.0);
        term.commit(batch).await.map_err(account::Error::from)?;
        Ok(self.0.head)
    }

    /// The log went before it was read: what notified meanwhile is told by the number alone.
    async fn make_up(&self, round: &Arc<Round>, index: &Index) -> Result<(), Error> {
        warn!(reader = NAME, "the log went before it was read; devices are told how much is unread");
        let due: Vec<_> = index
            .users()
            .flat_map(|user| index.pushers(user).iter().cloned().collect::<Vec<_>>())
            .map(|(key, gateway)| (key, gateway, None))
            .collect();
        let mut batch = Batch::new();
        round.term().made_up(&mut batch);
        round.put(batch, due).await
    }

    /// Reads on in the log. Tells whether there was anything.
    async fn take_log(&self, round: &Arc<Round>, index: &mut Index, at: &mut At) -> Result<bool, Error> {
        let Some(Entries { changes, through }) = round.term().read_on(at.read, ENTRIES).await? else {
            return Ok(false);
        };
        let (mut due, mut concerned) = (Due::default(), Vec::new());
        for change in &changes {
            self.take_change(change, index, &mut due, &mut concerned).await?;
        }
        self.judge(&concerned, &mut due).await?;
        at.read = through;
        let due = self.of_pushers(due, index, round).await?;
        if !due.is_empty() || at.read.0.saturating_sub(at.written.0) >= POSITIONS {
            self.write(round, at, due).await?;
        }
        Ok(true)
    }

    async fn write(
        &self,
        round: &Arc<Round>,
        at: &mut At,
        due: Vec<(Key, Arc<str>, Option<Item>)>,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        round.term().set_cursor(&mut batch, at.read);
        round.put(batch, due).await?;
        at.written = at.read;
        Ok(())
    }

    /// Takes in what an entry of the log tells of.
    async fn take_change(
        &self,
        change: &Change,
        index: &mut Index,
        due: &mut Due,
        concerned: &mut Vec<Concerned>,
    ) -> Result<(), Error> {
        if change.kind == PUSHERS_MOVED {
            if let Ok(entry) = PushersEntry::decode(&change.payload)
                && let Ok(user) = UserId::parse(&entry.user)
            {
                index.reload(self, &user).await?;
            }
            return Ok(());
        }
        if change.kind == account::log::ACCOUNT_DATA {
            // What does not notify any more is not counted any more either.
            if let Some(account::log::Change::AccountData { user_id, room_id: None, kind }) =
                account::log::Change::decode(&change.payload)
                && account::decides_what_notifies(&kind)
                && let Some(user) = index.find(&user_id)
            {
                due.counts.insert(user.clone());
            }
            return Ok(());
        }
        match Entry::decode(change.kind, &change.payload) {
            Ok(Some(Entry::Event(entry))) => {
                let mut invited = None;
                if let Some((user, membership)) = &entry.member {
                    index.note(entry.room, user, *membership);
                    if let Some(user) = index.find(user) {
                        match membership {
                            Membership::Invite => invited = Some(user.clone()),
                            // Whoever is out has nothing unread there any more.
                            _ => drop(due.counts.insert(user.clone())),
                        }
                    }
                }
                let users: Vec<_> = index.in_room(entry.room).cloned().chain(invited).collect();
                if !users.is_empty() {
                    concerned.push(Concerned { room: entry.room, event: entry.event, users });
                }
            }
            Ok(Some(Entry::Receipt(entry))) => {
                if let Some(user) = index.find(&entry.user_id) {
                    due.counts.insert(user.clone());
                }
            }
            Ok(Some(Entry::Membership(entry))) => {
                index.note(entry.room, &entry.user_id, entry.membership);
                if let Some(user) = index.find(&entry.user_id).cloned() {
                    if entry.membership == Membership::Invite {
                        concerned.extend(self.invitation(entry.room, user).await?);
                    } else {
                        due.counts.insert(user);
                    }
                }
            }
            Ok(_) => {}
            // It is lost to the devices alone, and stands still for nobody.
            Err(error) => warn!(position = %change.position, %error, "an entry of the log is damaged"),
        }
        Ok(())
    }

    /// An invitation to a room that we are not in, if its event is here.
    async fn invitation(&self, room: RoomSerial, user: OwnedUserId) -> Result<Option<Concerned>, Error> {
        let memberships = self.0.push.rooms().memberships(&user).await?;
        let event = memberships.find(room).filter(|row| row.membership == Membership::Invite);
        Ok(event.and_then(|row| row.event).map(|event| Concerned { room, event, users: vec![user] }))
    }

    /// Finds whom the events notify.
    async fn judge(&self, concerned: &[Concerned], due: &mut Due) -> Result<(), Error> {
        if concerned.is_empty() {
            return Ok(());
        }
        let push = &self.0.push;
        let wanted: Vec<_> = concerned.iter().map(|it| (it.room, it.event)).collect();
        let events: Vec<Option<Arc<StoredEvent>>> = push.rooms().find_events(&wanted, Keep::All).await?;
        let since = self.0.clock.now().millis();
        let mut judged = 0;
        for (concerned, event) in concerned.iter().zip(events) {
            let Some(event) = event.filter(|event| event.meta().redacted_by.is_none()) else { continue };
            if event.kind() == REDACTION {
                due.counts.extend(concerned.users.iter().cloned());
                continue;
            }
            let scene = Scene::new(push, event);
            for user in &concerned.users {
                if scene.event.sender() == user {
                    // What one says oneself reads what was before.
                    due.counts.insert(user.clone());
                    continue;
                }
                judged += 1;
                if judged % JUDGED == 0 {
                    tokio::task::yield_now().await;
                }
                let Some(actions) = scene.actions_for(push, user).await? else { continue };
                if push.accounts().ignored_users(user).await?.contains(scene.event.sender()) {
                    continue;
                }
                let highlights = actions.iter().any(ruma::push::Action::is_highlight);
                let Concerned { room, event, .. } = *concerned;
                let item = Item { room, event, highlights, since, first: event };
                due.items.push((user.clone(), item));
            }
        }
        Ok(())
    }

    /// The same for each pusher. The number is corrected where one was told that is not zero.
    async fn of_pushers(
        &self,
        due: Due,
        index: &Index,
        round: &Arc<Round>,
    ) -> Result<Vec<(Key, Arc<str>, Option<Item>)>, Error> {
        let mut found = Vec::new();
        for (user, item) in due.items {
            let pushers = index.pushers(&user);
            found.extend(
                pushers.iter().map(|(key, gateway)| (key.clone(), gateway.clone(), Some(item.clone()))),
            );
        }
        let shown: Vec<(Key, Arc<str>)> =
            due.counts.iter().flat_map(|user| index.pushers(user).to_vec()).collect();
        let keys: Vec<Key> = shown.iter().map(|(key, _)| key.clone()).collect();
        let told: Vec<Option<u64>> = self.0.push.store().get_many(&TOLD, &keys).await?;
        // What waits or is on its way may tell another number than the one that was told last.
        let told: HashMap<&Key, u64> =
            keys.iter().zip(told).filter_map(|(key, told)| Some((key, told?))).collect();
        let counts = shown
            .iter()
            .filter(|(key, _)| told.get(key).is_some_and(|told| *told > 0) || round.is_waiting(key));
        found.extend(counts.map(|(key, gateway)| (key.clone(), gateway.clone(), None)));
        Ok(found)
    }
}
