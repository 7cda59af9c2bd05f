//! The steps are taken: each minute, when a change set was applied, when rules change, and when somebody asks for it.
//!
//! Nothing is kept of a plan. Rooms are gone through one after another, each looked at and changed in slices, whose rows are
//! in the same commit; so what a crash cuts is looked at anew, and what was done is found done. Several processes may do it
//! at once: a second join is none, and a second room is refused by the row of the first.

use std::{sync::Arc, time::Duration};

use audit::{Action, Actor, Deed};
use base::Instant;
use futures_util::FutureExt;
use organisation::UnitId;
use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde_json::Value;
use store::Batch;
use tokio::{
    join,
    sync::{Notify, mpsc},
};
use tracing::{info, warn};

use crate::{
    answer::Done,
    book::RuleId,
    error::Error,
    levels::levels,
    limits::{MEMBERS_A_SECOND, SLICE},
    plan::{Known, Spaces, Step, first_state, pieces, to_closed, to_wanted},
    reading::View,
    roster::days_before,
    rules::{Looked, Rules, written},
    tables::{BROUGHT, BroughtRow, PLACES, PlaceRow, STANDS, StandRow},
    together::Together,
    verbs::{Change, NewRoom, Outcome, VerbError},
    wanted::{Place, WantedRoom},
};

/// How often is looked whether the organisation, the rules or the day have moved.
const LOOK: Duration = Duration::from_secs(60);

/// After so long rooms are looked at though nothing of that has moved: people leave, lower themselves, get accounts.
const DRIFT: Duration = Duration::from_secs(300);

/// So many rooms may fail one after another before the rest waits for the next look.
const MOST_FAILURES: usize = 10;

impl Rules {
    /// Takes the steps that are left, until the tasks are stopped. `applied` is told when an organisation has changed.
    pub fn start(&self, applied: Arc<Notify>) {
        let rules = self.clone();
        let stop = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("rules", move || {
            let (rules, stop, applied) = (rules.clone(), stop.clone(), applied.clone());
            async move {
                // The loop never ends by itself.
                stop.run_until_cancelled(rules.keep_looking(&applied)).await;
            }
        });
    }

    async fn keep_looking(&self, applied: &Notify) {
        loop {
            for authority in &self.inner.authorities {
                let (rules, authority) = (self.clone(), authority.clone());
                let work = async move { rules.reconcile_if_moved(authority).await };
                match self.aside(work).await {
                    Ok(()) | Err(Error::Stopping) => {}
                    Err(error) => {
                        warn!(%error, "rooms do not follow their rules yet, it is tried again later")
                    }
                }
            }
            // Who changes something meanwhile is not missed: what he tells is kept until it is heard.
            tokio::select! {
                () = self.inner.look.notified() => {}
                () = applied.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }

    async fn reconcile_if_moved(&self, authority: OwnedServerName) -> Result<(), Error> {
        let print = self.print(&authority).await?;
        if print.book == 0 {
            return Ok(());
        }
        let known = self.inner.looked.lock().await.get(&authority).copied();
        let is_fresh =
            |looked: Looked| looked.print == print && self.inner.clock.instant().since(looked.at) < DRIFT;
        if known.is_some_and(is_fresh) {
            return Ok(());
        }
        let done = self.reconcile(&authority, &Actor::server()).await?;
        if !done.is_nothing() {
            let Done { makes, joins, leaves, changes, closes, refused } = done;
            info!(%authority, makes, joins, leaves, changes, closes, refused, "rooms follow their rules");
        }
        Ok(())
    }

    /// Takes all steps that are left for an authority.
    pub(crate) async fn reconcile(&self, authority: &ServerName, by: &Actor) -> Result<Done, Error> {
        let outcome = self.take_all(authority, by).await;
        self.inner.meters.ended(authority.as_str(), outcome.is_ok());
        outcome
    }

    async fn take_all(&self, authority: &ServerName, by: &Actor) -> Result<Done, Error> {
        let mut looked = self.inner.looked.lock().await;
        // Before anything is read: what moves meanwhile is looked at again.
        let (at, print): (Instant, _) = (self.inner.clock.instant(), self.print(authority).await?);
        let mut view = self.view(authority, print.day, None).await?;
        if view.wanted.left_out > 0 {
            warn!(%authority, count = view.wanted.left_out, "rules want more rooms than there may be");
        }
        let run = Run { rules: self, authority, by, count: Mutex::default() };
        run.follow(&mut view).await?;
        run.begin(&view);
        run.make_missing(&mut view).await?;
        let wanted = view.wanted.rooms.iter().map(|wanted| (&wanted.place, Some(wanted)));
        run.turn_all(&view, wanted.collect()).await?;
        run.turn_all(&view, view.settled.unwanted.iter().map(|place| (place, None)).collect()).await?;
        let Count { done, last, .. } = run.count.into_inner();
        if let Some(error) = last {
            return Err(error);
        }
        looked.insert(authority.to_owned(), Looked { at, print });
        Ok(done)
    }

    /// The steps that are left for a room: for one that is wanted, or for one that is not any more.
    ///
    /// Nothing where the room is not there.
    pub(crate) async fn steps(
        &self,
        authority: &ServerName,
        view: &View,
        (place, wanted): (&Place, Option<&WantedRoom>),
    ) -> Result<Option<Steps>, Error> {
        let rooms = &self.inner.rooms;
        // A place that follows another one has its row still there.
        let stands_at = view.settled.follows.get(place).unwrap_or(place);
        let Some(row) = view.places.get(stands_at) else { return Ok(None) };
        let Some(room) = parse(&row.room) else { return Ok(None) };
        let parent = wanted.and_then(|wanted| wanted.parent.as_ref());
        let parent = parent.map(|parent| view.settled.follows.get(parent).unwrap_or(parent));
        let space = parent.and_then(|parent| parse(&view.places.get(parent)?.room));
        let old = row.parent.as_deref().and_then(parse).filter(|old| space.as_ref() != Some(old));
        let said = match &space {
            Some(space) => {
                let child = [("m.space.child".to_owned(), room.to_string())];
                rooms.pieces(space, &child).await?.into_iter().flatten().next()
            }
            None => None,
        };
        let wanted_space = space.as_ref().map(|space| (&**space, said.as_ref()));
        let spaces = Spaces { wanted: wanted_space, old: old.as_deref() };
        let Some(actual) = rooms.look(&room, &pieces(&spaces)).await? else { return Ok(None) };
        let brought = self.brought(authority, &room).await?;
        let known = Known { authority, steward: &view.steward, row, brought: &brought, spaces };
        let steps = match wanted {
            Some(wanted) => to_wanted(wanted, &actual, &known),
            None => {
                let rule = view.book.last(place.rule);
                let template = rule.and_then(|rule| rule.rooms.iter().find(|one| one.key == place.key));
                // The rule may have no such room any more; its others are closed in the same way.
                let template = template.or_else(|| rule.and_then(|rule| rule.rooms.first()));
                let days = rule.map_or(0, |rule| rule.hand_over_days);
                let days = (view.day, days_before(view.day, days));
                template.map(|template| to_closed(template, &actual, &known, days)).unwrap_or_default()
            }
        };
        Ok(Some(Steps { steps, is_shared: actual.is_shared }))
    }
}

/// The steps that are left for a room.
pub(crate) struct Steps {
    pub(crate) steps: Vec<Step>,
    /// Whether other servers hear of them.
    is_shared: bool,
}

/// One run over the rooms of an authority, of which several are looked at and changed at a time.
struct Run<'a> {
    rules: &'a Rules,
    authority: &'a ServerName,
    by: &'a Actor,
    count: Mutex<Count>,
}

/// What a run has come to.
#[derive(Default)]
struct Count {
    done: Done,
    /// What of that the metrics tell.
    told: Done,
    /// How many rooms are still to be made or looked at.
    left: usize,
    /// How many rooms failed one after another.
    failures: usize,
    last: Option<Error>,
}

/// Where a room is that ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is as it ought to be.
    Taken,
    /// Its steps go to other servers, so they wait for their turn.
    Waits,
    /// It is not there.
    Gone,
}

/// A room that is wanted, or one that is not any more.
type Item<'v> = (&'v Place, Option<&'v WantedRoom>);

impl Run<'_> {
    /// Rooms whose unit became another one become that one's.
    async fn follow(&self, view: &mut View) -> Result<(), Error> {
        for (to, from) in std::mem::take(&mut view.settled.follows) {
            let Some(old) = view.places.get(&from).cloned() else { continue };
            let row = PlaceRow { came_from: Some(from.unit), ..old.clone() };
            let deed = self.deed(Action::MoveRoom, &old.room, &to);
            let mut batch = written(&deed.before("unit", from.unit.0.to_string()), self.authority);
            let authority = self.authority.as_str();
            batch.require(&PLACES, &key(authority, &from), Some(&old));
            batch.delete(&PLACES, &key(authority, &from));
            batch.insert(&PLACES, &key(authority, &to), &row);
            batch.put(&STANDS, &(authority, old.room.as_str()), &stand(&to));
            self.rules.inner.store.commit(batch).await?;
            self.count.lock().done.changes += 1;
            view.places.remove(&from);
            view.places.insert(to, row);
        }
        Ok(())
    }

    /// Says how many rooms there are to make and to look at.
    fn begin(&self, view: &View) {
        let missing = view.wanted.rooms.iter().filter(|room| !view.places.contains_key(&room.place)).count();
        self.count.lock().left = missing + view.wanted.rooms.len() + view.settled.unwanted.len();
        self.tell(0);
    }

    /// Rooms that are not there are made.
    async fn make_missing(&self, view: &mut View) -> Result<(), Error> {
        let (known, mut some) = (&*view, Together::new());
        for wanted in known.wanted.rooms.iter().filter(|room| !known.places.contains_key(&room.place)) {
            if !some.add(self.make_one(known, wanted).boxed()).await {
                break;
            }
        }
        let made = some.end().await?;
        view.places.extend(made.into_iter().flatten());
        Ok(())
    }

    async fn make_one(&self, view: &View, wanted: &WantedRoom) -> Result<Option<(Place, PlaceRow)>, Error> {
        let outcome = self.make(view, wanted, None).await;
        self.tell(1);
        Ok(self.judge(outcome)?.map(|row| (wanted.place.clone(), row)))
    }

    /// Makes a room, in the place of one that is not there any more, if there was one.
    async fn make(
        &self,
        view: &View,
        wanted: &WantedRoom,
        old: Option<&PlaceRow>,
    ) -> Result<PlaceRow, Error> {
        let template = &wanted.template;
        let room = NewRoom {
            is_space: template.space,
            is_federated: template.federated,
            name: wanted.name.clone(),
            topic: wanted.topic.clone().filter(|topic| !topic.is_empty()),
            levels: levels(template, &wanted.people, None, &view.steward, false),
            state: first_state(template),
        };
        let place = &wanted.place;
        let since = self.rules.inner.clock.now();
        let row = |room: &RoomId| PlaceRow {
            room: room.to_string(),
            since,
            is_adopted: false,
            closed: None,
            parent: None,
            came_from: old.and_then(|old| old.came_from),
        };
        let authority = self.authority;
        let deed =
            |room: &RoomId| self.deed(Action::MakeRoom, room.as_str(), place).after("name", &wanted.name);
        let beside = |batch: &mut Batch, room: &RoomId, _: &[Outcome]| {
            deed(room).write(batch, authority);
            let key = key(authority.as_str(), place);
            match old {
                Some(old) => {
                    batch.replace(&PLACES, &key, old, &row(room));
                    batch.delete(&STANDS, &(authority.as_str(), old.room.as_str()));
                    batch.delete_prefix(&BROUGHT, &(authority.as_str(), old.room.as_str()));
                }
                None => {
                    batch.insert(&PLACES, &key, &row(room));
                }
            }
            batch.insert(&STANDS, &(authority.as_str(), room.as_str()), &stand(place));
        };
        let made = self.rules.inner.rooms.make(&view.steward, room, &beside).await?;
        self.count.lock().done.makes += 1;
        Ok(row(&made))
    }

    /// Each of these rooms becomes what it ought to be: some at a time, and beside them, one after another and at the pace
    /// that others can bear, those of which other servers hear.
    async fn turn_all(&self, view: &View, items: Vec<Item<'_>>) -> Result<(), Error> {
        let (waits, mut waiting) = mpsc::unbounded_channel();
        let at_once = async move {
            let mut some = Together::new();
            for item in items {
                if !some.add(self.turn_or_wait(view, item, &waits).boxed()).await {
                    break;
                }
            }
            some.end().await.map(drop)
        };
        let paced = async {
            while let Some(item) = waiting.recv().await {
                self.turn(view, item, true).await?;
                self.tell(1);
            }
            Ok(())
        };
        let (at_once, paced) = join!(at_once, paced);
        at_once.and(paced)
    }

    async fn turn_or_wait<'v>(
        &self,
        view: &View,
        item: Item<'v>,
        waits: &mpsc::UnboundedSender<Item<'v>>,
    ) -> Result<(), Error> {
        match self.turn(view, item, false).await? {
            // Where nobody listens any more, what he met is told instead.
            Turn::Waits => drop(waits.send(item)),
            Turn::Taken | Turn::Gone => self.tell(1),
        }
        Ok(())
    }

    /// A room becomes what it ought to be; one of which other servers hear does only where it `may_tell` them.
    async fn turn(&self, view: &View, item: Item<'_>, may_tell: bool) -> Result<Turn, Error> {
        let (place, wanted) = item;
        let Some(row) = view.places.get(place) else { return Ok(Turn::Taken) };
        let outcome = self.change(view, item, row, may_tell).await;
        let Some(turn) = self.judge(outcome)? else { return Ok(Turn::Taken) };
        match (turn, wanted) {
            (Turn::Gone, Some(wanted)) => {
                // Somebody has purged it. With the next look it is filled.
                let outcome = self.make(view, wanted, Some(row)).await;
                self.judge(outcome)?;
                self.rules.inner.look.notify_one();
            }
            (Turn::Gone, None) => self.forget(place, row).await?,
            (Turn::Taken | Turn::Waits, _) => {}
        }
        Ok(turn)
    }

    /// Forgets a room that somebody has purged.
    async fn forget(&self, place: &Place, row: &PlaceRow) -> Result<(), Error> {
        let (authority, mut batch) = (self.authority.as_str(), Batch::new());
        batch.require(&PLACES, &key(authority, place), Some(row));
        batch.delete(&PLACES, &key(authority, place));
        batch.delete(&STANDS, &(authority, row.room.as_str()));
        batch.delete_prefix(&BROUGHT, &(authority, row.room.as_str()));
        self.rules.inner.store.commit(batch).await?;
        Ok(())
    }

    /// Takes the steps of a room.
    async fn change(
        &self,
        view: &View,
        (place, wanted): Item<'_>,
        row: &PlaceRow,
        may_tell: bool,
    ) -> Result<Turn, Error> {
        let Some(steps) = self.rules.steps(self.authority, view, (place, wanted)).await? else {
            return Ok(Turn::Gone);
        };
        let Steps { steps, is_shared } = steps;
        if is_shared && !may_tell && !steps.is_empty() {
            return Ok(Turn::Waits);
        }
        let Some(room) = parse(&row.room) else { return Ok(Turn::Gone) };
        let mut row = row.clone();
        for some in slices(&steps) {
            match some {
                Slice::Changes(changes) => {
                    let members = self.say(view, &room, place, &changes).await?;
                    if is_shared {
                        self.pace(members).await;
                    }
                }
                Slice::Child(space, content) => self.lead(view, &room, place, space, content).await?,
                Slice::Rows(steps) => self.note(&room, place, &mut row, &steps).await?,
            }
        }
        Ok(Turn::Taken)
    }

    /// Has the metrics tell what was done, and that so many rooms more are looked at.
    fn tell(&self, rooms: usize) {
        let (meters, authority) = (&self.rules.inner.meters, self.authority.as_str());
        let mut count = self.count.lock();
        meters.steps(authority, count.told, count.done);
        count.told = count.done;
        count.left = count.left.saturating_sub(rooms);
        meters.left(authority, count.left);
    }

    /// Changes a room, with the rows of what is changed; how many member events that made.
    async fn say(&self, view: &View, room: &RoomId, place: &Place, changes: &[Change]) -> Result<u32, Error> {
        let authority = self.authority;
        let at = self.rules.inner.clock.now();
        let deeds: Vec<Deed> = changes.iter().map(|change| self.deed_of(change, room, place)).collect();
        let rows = |batch: &mut Batch, outcomes: &[Outcome]| {
            for ((change, deed), outcome) in changes.iter().zip(&deeds).zip(outcomes) {
                match (change, outcome) {
                    (_, Outcome::Refused) | (Change::State(..), _) => {}
                    (Change::Join(user), _) => {
                        let key = (authority.as_str(), room.as_str(), user.as_str());
                        batch.put(&BROUGHT, &key, &BroughtRow { at });
                    }
                    (Change::Leave(user), _) => {
                        batch.delete(&BROUGHT, &(authority.as_str(), room.as_str(), user.as_str()));
                    }
                }
                if *outcome == Outcome::Done {
                    deed.write(batch, authority);
                }
            }
        };
        let beside = |batch: &mut Batch, _: &RoomId, outcomes: &[Outcome]| rows(batch, outcomes);
        let inner = &self.rules.inner;
        let outcomes = inner.rooms.change(&view.steward, room, changes, &beside).await?;
        if !outcomes.contains(&Outcome::Done) {
            // Nothing was to be done in the room, so nothing was written with it.
            let mut batch = Batch::new();
            rows(&mut batch, &outcomes);
            if !batch.is_empty() {
                inner.store.commit(batch).await?;
            }
        }
        let mut members = 0_u32;
        let mut count = self.count.lock();
        let done = &mut count.done;
        for (change, outcome) in changes.iter().zip(&outcomes) {
            match (change, outcome) {
                (_, Outcome::Refused) => {
                    warn!(%authority, room_id = %room, ?change, "a room does not follow its rule");
                    done.refused += 1;
                }
                (_, Outcome::Unchanged) => {}
                (Change::Join(_), _) => (done.joins, members) = (done.joins + 1, members + 1),
                (Change::Leave(_), _) => (done.leaves, members) = (done.leaves + 1, members + 1),
                (Change::State(..), _) => done.changes += 1,
            }
        }
        Ok(members)
    }

    /// Waits until so many member events may go to other servers again.
    async fn pace(&self, members: u32) {
        if members > 0 {
            self.rules.inner.clock.sleep(Duration::from_secs(members.into()) / MEMBERS_A_SECOND).await;
        }
    }

    /// Lets a space lead to a room, or no more.
    async fn lead(
        &self,
        view: &View,
        room: &RoomId,
        place: &Place,
        space: &RoomId,
        content: &Value,
    ) -> Result<(), Error> {
        let change = Change::State(("m.space.child".to_owned(), room.to_string()), content.clone());
        match self.say(view, space, place, &[change]).await {
            // A space that is not there any more leads nowhere.
            Err(Error::Verb(VerbError::Refused(_))) if content.get("via").is_none() => Ok(()),
            done => done.map(drop),
        }
    }

    /// Writes rows of a room in which nothing is said.
    async fn note(
        &self,
        room: &RoomId,
        place: &Place,
        row: &mut PlaceRow,
        steps: &[&Step],
    ) -> Result<(), Error> {
        let (old, authority) = (row.clone(), self.authority);
        let at = self.rules.inner.clock.now();
        let mut batch = Batch::new();
        for step in steps {
            match step {
                Step::Reopen => {
                    row.closed = None;
                    self.deed(Action::ReopenRoom, room.as_str(), place).write(&mut batch, authority);
                    self.count.lock().done.changes += 1;
                }
                Step::Close(day) => {
                    row.closed = Some(*day);
                    let deed = self.deed(Action::CloseRoom, room.as_str(), place);
                    deed.write(&mut batch, authority);
                    self.count.lock().done.closes += 1;
                }
                Step::Under(parent) => row.parent = parent.as_ref().map(ToString::to_string),
                Step::Note(user) => {
                    let key = (authority.as_str(), room.as_str(), user.as_str());
                    batch.put(&BROUGHT, &key, &BroughtRow { at });
                }
                Step::Drop(user) => {
                    batch.delete(&BROUGHT, &(authority.as_str(), room.as_str(), user.as_str()));
                }
                Step::Join(..) | Step::Leave(_) | Step::State(..) | Step::Child(..) => {}
            }
        }
        if *row != old {
            batch.replace(&PLACES, &key(authority.as_str(), place), &old, row);
        }
        if !batch.is_empty() {
            self.rules.inner.store.commit(batch).await?;
        }
        Ok(())
    }

    /// What of an outcome concerns this room alone, so that the others go on.
    fn judge<T>(&self, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        let authority = self.authority;
        let mut count = self.count.lock();
        match outcome {
            Ok(done) => {
                count.failures = 0;
                Ok(Some(done))
            }
            Err(error @ Error::Verb(VerbError::Refused(_))) => {
                warn!(%authority, %error, "a room does not follow its rule");
                count.done.refused += 1;
                Ok(None)
            }
            Err(error @ (Error::Verb(VerbError::Failed(_)) | Error::Changed)) => {
                warn!(%authority, %error, "a room does not follow its rule yet");
                count.failures += 1;
                if count.failures >= MOST_FAILURES {
                    return Err(error);
                }
                count.last = Some(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn deed(&self, what: Action, whom: &str, place: &Place) -> Deed {
        let UnitId(unit) = place.unit;
        let deed = self.rules.deed(what, self.by, whom).after("rule", place.rule.0.to_string());
        deed.after("unit", unit.to_string()).after("key", &place.key)
    }

    fn deed_of(&self, change: &Change, room: &RoomId, place: &Place) -> Deed {
        match change {
            Change::Join(user) => {
                self.deed(Action::JoinByRule, user.as_str(), place).after("room", room.as_str())
            }
            Change::Leave(user) => {
                self.deed(Action::LeaveByRule, user.as_str(), place).after("room", room.as_str())
            }
            Change::State((kind, key), _) => {
                let deed = self.deed(Action::ChangeByRule, room.as_str(), place).after("type", kind);
                if key.is_empty() { deed } else { deed.after("state_key", key) }
            }
        }
    }
}

/// What is done at once.
enum Slice<'a> {
    Changes(Vec<Change>),
    Child(&'a RoomId, &'a Value),
    Rows(Vec<&'a Step>),
}

/// Steps as they are taken: what goes together in one commit, up to a bound, in the order of the steps.
fn slices(steps: &[Step]) -> Vec<Slice<'_>> {
    let mut slices: Vec<Slice<'_>> = Vec::new();
    for step in steps {
        let change = match step {
            Step::Join(user, _) => Change::Join(user.clone()),
            Step::Leave(user) => Change::Leave(user.clone()),
            Step::State(piece, content) => Change::State(piece.clone(), content.clone()),
            Step::Child(space, content) => {
                slices.push(Slice::Child(space, content));
                continue;
            }
            Step::Reopen | Step::Note(_) | Step::Under(_) | Step::Drop(_) | Step::Close(_) => {
                match slices.last_mut() {
                    Some(Slice::Rows(rows)) if rows.len() < SLICE => rows.push(step),
                    _ => slices.push(Slice::Rows(vec![step])),
                }
                continue;
            }
        };
        match slices.last_mut() {
            Some(Slice::Changes(changes)) if changes.len() < SLICE => changes.push(change),
            _ => slices.push(Slice::Changes(vec![change])),
        }
    }
    slices
}

/// The key of a place's row.
pub(crate) fn key(authority: &str, place: &Place) -> (String, RuleId, UnitId, String) {
    (authority.to_owned(), place.rule, place.unit, place.key.clone())
}

/// Where a room stands.
pub(crate) fn stand(place: &Place) -> StandRow {
    StandRow { rule: place.rule, unit: place.unit, key: place.key.clone() }
}

fn parse(room: &str) -> Option<OwnedRoomId> {
    room.try_into().ok()
}
