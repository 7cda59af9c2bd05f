//! [`Push::unread`]: how many events a user has not read that he was notified of, in rooms and their threads.
//!
//! A count is made of the room's timeline from where the user has read it: what his rules say of each event, whoever
//! sent it, whether it is redacted by now. What was found is kept, event by event, so that a new event or another
//! receipt costs no more than itself. So it never differs from what anew would be counted, and there is nothing to be
//! indexed, repaired or purged.
//!
//! Of a room the newest [`ROWS`] events after what was read are looked at, and the newest [`ROWS`] in threads; of those
//! that notify the newest [`MOST_UNREAD`] count. Whoever has more unread than that need not be told how many.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use account::thread_subscriptions_in;
use pdu::RoomPower;
use room::{
    EventSerial, Order, RoomSerial, Root,
    read::{
        event::{Keep, StoredEvent},
        lacking::lacking_moved,
        membership::UserRoom,
        receipts::{ReadUpTo, ReceiptKind, own_receipts_in},
        timeline::{Entry, RecentQuery, Stretch},
        token::Token,
    },
};
use ruma::{OwnedEventId, OwnedUserId, UserId};
use serde::Deserialize;
use store::{Moved, Position, Topic, UpTo};

use crate::{
    Counts, Error, Push,
    counted::{Counted, Name, Receipts},
    facts::Facts,
    glob::fold,
    rules::{Rules, Surroundings},
    unreads::{Unread, Unreads},
};

/// So many of the newest events are looked at.
const ROWS: usize = 500;

/// So many of those that notify count.
pub(crate) const MOST_UNREAD: usize = 500;

/// More events than these are a task of their own.
const MOST_AT_ONCE: usize = 20;

const REDACTION: &str = "m.room.redaction";

/// What is asked of a room.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// A room that the user is in.
    pub row: &'a UserRoom,
    /// Up to here, at least, events are counted.
    pub through: Position,
}

/// What an event does to a count.
enum Step {
    /// The user himself says something, in a thread or in none, and so has read that.
    Said(Option<Arc<str>>),
    Notifies {
        event: Arc<StoredEvent>,
        highlights: bool,
    },
    /// Something that counts may have been emptied.
    Redaction,
}

/// An event that was read, and what rules look at in it if they are asked.
type Read = (Entry, Arc<StoredEvent>, Option<Arc<Facts>>);

/// A room that is being counted.
struct Room<'a> {
    asked: Asked<'a>,
    known: Option<Arc<Counted>>,
    receipts: Option<Arc<Receipts>>,
    name: Option<Name>,
    entries: Vec<Entry>,
    steps: Vec<(Order, Step)>,
}

impl Room<'_> {
    fn read(&self) -> ReadUpTo {
        self.receipts.as_ref().map(|receipts| receipts.read.clone()).unwrap_or_default()
    }

    fn entered(&self) -> Order {
        Order::live(self.asked.row.position)
    }

    /// Up to where nothing counts, whatever thread it is in.
    fn floor(&self) -> Order {
        self.entered().max(self.receipts.as_ref().map_or(Order::FIRST, |it| it.read.everything))
    }
}

impl Push {
    /// What a user has not read in rooms that he is in, in the order of `asked`: counts what was committed up to there, and
    /// perhaps what came after.
    ///
    /// Costs no read where nothing has happened since it was asked last, and one round of each kind for all rooms.
    ///
    /// # Errors
    /// [`Error::Room`], [`Error::Account`], [`Error::Store`].
    pub async fn unread(
        &self,
        user: &UserId,
        ignored: &Arc<HashSet<OwnedUserId>>,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Counts>, Error> {
        let counted = self.counted(user, ignored, asked).await?;
        Ok(counted.iter().map(|counted| counted.counts()).collect())
    }

    /// Up to where a user's room was counted last, by the rules of then, and how many events notified him; nothing where
    /// that is not in memory. Reads nothing.
    pub fn counted_before(&self, user: &UserId, room: RoomSerial) -> Option<(Position, usize)> {
        let known = self.counts().get(&(user.to_owned(), room))?;
        Some((known.through, known.unread.len()))
    }

    /// As [`Push::unread`], event by event.
    pub(crate) async fn counted(
        &self,
        user: &UserId,
        ignored: &Arc<HashSet<OwnedUserId>>,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Arc<Counted>>, Error> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let rules = self.rules(user).await?;
        let mut rooms: Vec<Room<'_>> = asked
            .iter()
            .map(|asked| {
                let known = self.known(user, &rules, ignored, asked.row);
                let name = known.as_ref().and_then(|known| known.name.clone());
                Room { asked: *asked, known, receipts: None, name, entries: Vec::new(), steps: Vec::new() }
            })
            .collect();
        self.read_receipts(user, &mut rooms).await?;
        for index in self.read_on(user, &rules, &mut rooms).await? {
            let room = &mut rooms[index];
            (room.known, room.name) = (None, None);
        }
        self.read_anew(&mut rooms).await?;
        self.judge(user, &rules, ignored, &mut rooms).await?;
        let mut counts = Vec::with_capacity(rooms.len());
        for room in rooms {
            counts.push(self.settle(user, &rules, ignored, room).await?);
        }
        // What is kept is counted for as far back as there is; what he does not read any more he cannot mark as read either.
        if let Some(horizon) = self.rooms().horizon(user) {
            for counted in &mut counts {
                Counted::leave_out(counted, &horizon);
            }
        }
        Ok(counts)
    }

    /// What was counted and holds still, but for what came since and what was read.
    fn known(
        &self,
        user: &UserId,
        rules: &Arc<Rules>,
        ignored: &Arc<HashSet<OwnedUserId>>,
        row: &UserRoom,
    ) -> Option<Arc<Counted>> {
        let known = self.counts().get(&(user.to_owned(), row.room))?;
        let holds = known.entered == row.position
            && Arc::ptr_eq(&known.rules, rules)
            && (Arc::ptr_eq(&known.ignored, ignored) || known.ignored == *ignored)
            && self.store().moved(lacking_moved(), known.through) == Moved::No
            && (!rules.needs_threads
                || self.store().moved(thread_subscriptions_in(user, &row.room_id), known.through)
                    == Moved::No);
        holds.then_some(known)
    }

    async fn read_receipts(&self, user: &UserId, rooms: &mut [Room<'_>]) -> Result<(), Error> {
        use ReceiptKind::{Private, Public};
        let topics =
            |row: &UserRoom| [Private, Public].map(|kind| own_receipts_in(kind, user, row.room_id.as_str()));
        let mut stale = Vec::new();
        for (index, room) in rooms.iter_mut().enumerate().filter(|(_, room)| room.receipts.is_none()) {
            let known = room.known.as_ref().map(|known| known.receipts.clone());
            room.receipts = known.filter(|known| known.up_to.holds(self.store(), topics(room.asked.row)));
            if room.receipts.is_none() {
                stale.push(index);
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        // Before the read: what is committed during it may be in it, what was before surely is.
        let head = self.store().head();
        let serials: Vec<RoomSerial> = stale.iter().map(|index| rooms[*index].asked.row.room).collect();
        for (index, read) in stale.into_iter().zip(self.rooms().read_up_to(user, &serials).await?) {
            rooms[index].receipts = Some(Arc::new(Receipts { up_to: UpTo::new(head), read }));
        }
        Ok(())
    }

    /// Reads what came since it was counted. Answers with the rooms that have to be counted anew: too much has come, the
    /// user is called otherwise now, or something was emptied that he had said, and by which he had read what was before
    /// it, or by which something may have been in a thread.
    async fn read_on(
        &self,
        user: &UserId,
        rules: &Rules,
        rooms: &mut [Room<'_>],
    ) -> Result<Vec<usize>, Error> {
        let mut moved = Vec::new();
        for (index, room) in rooms.iter().enumerate() {
            let Some(known) = &room.known else { continue };
            let topic = Topic::room(room.asked.row.room_id.as_str());
            if known.through < room.asked.through && self.store().moved(topic, known.through) != Moved::No {
                moved.push((index, known.through));
            }
        }
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let recents = {
            let queries: Vec<_> =
                moved.iter().map(|(index, after)| query(&rooms[*index].asked, *after)).collect();
            self.rooms().recent(&queries).await?
        };
        let mut behind = Vec::new();
        for ((index, _), recent) in moved.into_iter().zip(recents) {
            match recent.more {
                true => behind.push(index),
                false => rooms[index].entries = recent.entries,
            }
        }
        behind.extend(self.with_news_of_himself(user, rules, rooms).await?);
        Ok(behind)
    }

    async fn with_news_of_himself(
        &self,
        user: &UserId,
        rules: &Rules,
        rooms: &[Room<'_>],
    ) -> Result<Vec<usize>, Error> {
        let entries = rooms.iter().enumerate().flat_map(|(index, room)| {
            room.entries.iter().map(move |entry| (index, (room.asked.row.room, entry.event)))
        });
        let (owners, wanted): (Vec<usize>, Vec<_>) = entries.unzip();
        let events = self.rooms().find_events(&wanted, Keep::All).await?;
        let (mut found, mut redacting, mut ids) = (Vec::new(), Vec::new(), Vec::<OwnedEventId>::new());
        for (index, event) in owners.into_iter().zip(events) {
            let Some(event) = event else { continue };
            if event.is_member_event_of(user) {
                found.push(index);
            } else if let Some(id) = event.pdu().redacts().filter(|_| event.kind() == REDACTION) {
                // By what was emptied something may have been in a thread.
                let mut unread = rooms[index].known.iter().flat_map(|known| known.unread.iter());
                if rules.needs_threads || unread.any(|unread| unread.beside && unread.thread.is_some()) {
                    found.push(index);
                }
                redacting.push(index);
                ids.push(id.to_owned());
            }
        }
        if ids.is_empty() {
            return Ok(found);
        }
        let emptied = self.rooms().events_by_id(&ids).await?;
        let is_own = |event: &Option<Arc<StoredEvent>>| event.as_ref().is_some_and(|it| it.sender() == user);
        found.extend(redacting.into_iter().zip(emptied).filter(|(_, it)| is_own(it)).map(|(index, _)| index));
        Ok(found)
    }

    /// Reads what may be unread in rooms of which nothing is known.
    async fn read_anew(&self, rooms: &mut [Room<'_>]) -> Result<(), Error> {
        let anew: Vec<usize> = (0..rooms.len()).filter(|index| rooms[*index].known.is_none()).collect();
        if anew.is_empty() {
            return Ok(());
        }
        let main: Vec<Order> =
            anew.iter().map(|index| rooms[*index].floor().max(rooms[*index].read().main)).collect();
        let (recents, in_threads) = {
            let queries: Vec<_> = anew
                .iter()
                .zip(&main)
                .map(|(index, main)| query(&rooms[*index].asked, main.position().unwrap_or(Position::START)))
                .collect();
            // What the main timeline was read past may be unread in threads.
            let stretches: Vec<_> = anew
                .iter()
                .zip(&main)
                .map(|(index, main)| Stretch {
                    room: rooms[*index].asked.row.room,
                    after: Token(rooms[*index].floor()),
                    through: Token(*main),
                })
                .collect();
            (self.rooms().recent(&queries).await?, self.rooms().newest_in_threads(&stretches, ROWS).await?)
        };
        for ((index, recent), mut entries) in anew.into_iter().zip(recents).zip(in_threads) {
            entries.extend(recent.entries);
            rooms[index].entries = entries;
        }
        Ok(())
    }

    /// Finds what the events do that were read.
    async fn judge(
        &self,
        user: &UserId,
        rules: &Rules,
        ignored: &HashSet<OwnedUserId>,
        rooms: &mut [Room<'_>],
    ) -> Result<(), Error> {
        let anew = rooms.iter().any(|room| room.known.is_none());
        let wanted: Vec<(RoomSerial, EventSerial)> = rooms
            .iter()
            .flat_map(|room| room.entries.iter().map(|entry| (room.asked.row.room, entry.event)))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // What is counted anew may be much, and is mostly not sent to anybody.
        let keep = if anew { Keep::Known } else { Keep::All };
        let mut events = self.rooms().find_events(&wanted, keep).await?.into_iter();
        let members = match rules.needs_members {
            true => {
                let serials: Vec<RoomSerial> = rooms.iter().map(|room| room.asked.row.room).collect();
                let counts = self.rooms().member_counts(&serials).await?;
                counts.into_iter().map(|counts| Some(counts.joined)).collect()
            }
            false => vec![None; rooms.len()],
        };
        let mut judged: Vec<Vec<Read>> = Vec::new();
        for room in &mut *rooms {
            let mut of_room = Vec::with_capacity(room.entries.len());
            for entry in std::mem::take(&mut room.entries) {
                let Some(event) = events.next().flatten() else { continue };
                let is_nothing = event.meta().redacted_by.is_some() || ignored.contains(event.sender());
                if !is_nothing {
                    let may_notify = event.sender() != user && event.kind() != REDACTION;
                    let facts = may_notify.then(|| self.facts().of(&event));
                    of_room.push((entry, event, facts));
                }
            }
            judged.push(of_room);
        }
        self.find_names(user, rooms, &judged).await?;
        let subscribed = match rules.needs_threads {
            true => {
                let judged = judged.iter().flatten().filter(|(.., facts)| facts.is_some());
                let events: Vec<_> = judged.map(|(_, event, _)| event.clone()).collect();
                self.subscribed(user, &events).await?
            }
            false => HashMap::new(),
        };
        let mut powers = HashMap::new();
        for ((room, members), judged) in rooms.iter_mut().zip(members).zip(judged) {
            if judged.len() > MOST_AT_ONCE {
                // Whoever has rules that are dear to ask does not keep others from the processor.
                tokio::task::yield_now().await;
            }
            let name = room.name.clone().flatten();
            for (entry, event, facts) in judged {
                let step = if let Some(facts) = facts {
                    let at = (room.asked.row.room, entry.current);
                    if (rules.needs_power || facts.may_notify_room()) && !powers.contains_key(&at) {
                        powers.insert(at, self.power(at).await?);
                    }
                    let power = powers.get(&at).and_then(Option::as_ref);
                    let subscribed = subscribed.get(&event.serial()).copied();
                    let around = Surroundings { user, name: name.as_deref(), members, power, subscribed };
                    let rule = rules.find(&facts, &around).filter(|rule| rule.notifies);
                    rule.map(|rule| Step::Notifies { event, highlights: rule.highlights })
                } else if event.kind() == REDACTION {
                    Some(Step::Redaction)
                } else {
                    said(&event).map(Step::Said)
                };
                room.steps.extend(step.map(|step| (entry.order, step)));
            }
        }
        Ok(())
    }

    /// What the user is called where that matters: an event is looked through for names.
    async fn find_names(
        &self,
        user: &UserId,
        rooms: &mut [Room<'_>],
        judged: &[Vec<Read>],
    ) -> Result<(), Error> {
        let mut open = Vec::new();
        let mut places = Vec::new();
        for (index, (room, judged)) in rooms.iter().zip(judged).enumerate() {
            let asks = |facts: &Option<Arc<Facts>>| {
                facts.as_ref().is_some_and(|facts| facts.body().is_some() && !facts.has_mentions())
            };
            if let Some((last, ..)) = judged.last()
                && room.name.is_none()
                && judged.iter().any(|(.., facts)| asks(facts))
            {
                open.push(index);
                places.push((room.asked.row.room, last.current, user));
            }
        }
        if !places.is_empty() {
            for (index, member) in open.into_iter().zip(self.rooms().members_at(&places).await?) {
                rooms[index].name = Some(member.and_then(|member| name_in(&member)));
            }
        }
        Ok(())
    }

    /// Who had which power in a room, by a state of it.
    pub(crate) async fn power(&self, (room, root): (RoomSerial, Root)) -> Result<Option<RoomPower>, Error> {
        let names = [("m.room.create", ""), ("m.room.power_levels", "")];
        let mut found = self.rooms().state_in(room, root, &names).await?.into_iter();
        let (create, levels) = (found.next().flatten(), found.next().flatten());
        let levels = levels.map(|levels| levels.pdu().clone());
        Ok(create.and_then(|create| RoomPower::new(create.pdu().clone(), levels).ok()))
    }

    /// Makes a count of what was found, and keeps it.
    async fn settle(
        &self,
        user: &UserId,
        rules: &Arc<Rules>,
        ignored: &Arc<HashSet<OwnedUserId>>,
        mut room: Room<'_>,
    ) -> Result<Arc<Counted>, Error> {
        let has_same_receipts = match (&room.known, &room.receipts) {
            (Some(known), Some(receipts)) => Arc::ptr_eq(receipts, &known.receipts),
            _ => false,
        };
        let is_as_known = room.steps.is_empty()
            && has_same_receipts
            && room.known.as_ref().is_some_and(|known| known.through >= room.asked.through);
        if is_as_known && let Some(known) = &room.known {
            return Ok(known.clone());
        }
        let read = room.read();
        let mut unread = room.known.as_ref().map(|known| known.unread.clone()).unwrap_or_default();
        if !has_same_receipts {
            unread.retain(|unread| !unread.is_read(&read));
        }
        if room.steps.iter().any(|(_, step)| matches!(step, Step::Redaction)) && !unread.is_empty() {
            self.drop_redacted(room.asked.row.room, &mut unread).await?;
        }
        let threads = self.threads_of_steps(&room.steps).await?;
        let entered = room.entered();
        for ((order, step), thread) in std::mem::take(&mut room.steps).into_iter().zip(threads) {
            match step {
                Step::Said(said) => unread.retain(|unread| unread.thread != said),
                Step::Redaction => {}
                Step::Notifies { event, highlights } => {
                    let (thread, beside) = thread;
                    let sent_ms = event.pdu().origin_server_ts().get().into();
                    let event = Unread { order, event: event.serial(), thread, beside, highlights, sent_ms };
                    if order > entered && !event.is_read(&read) {
                        unread.push(event);
                    }
                }
            }
        }
        unread.keep_newest(MOST_UNREAD);
        let through = room.known.as_ref().map_or(Position::START, |known| known.through);
        let counted = Counted {
            through: through.max(room.asked.through),
            rules: rules.clone(),
            ignored: ignored.clone(),
            entered: room.asked.row.position,
            name: room.name.clone(),
            unread,
            receipts: room.receipts.unwrap_or_else(|| {
                Arc::new(Receipts { up_to: UpTo::new(Position::START), read: ReadUpTo::default() })
            }),
        };
        let counted = Arc::new(counted);
        self.counts().insert((user.to_owned(), room.asked.row.room), counted.clone());
        Ok(counted)
    }

    async fn drop_redacted(&self, room: RoomSerial, unread: &mut Unreads) -> Result<(), Error> {
        let wanted: Vec<_> = unread.iter().map(|unread| (room, unread.event)).collect();
        let mut events = self.rooms().find_events(&wanted, Keep::Known).await?.into_iter();
        unread.retain(|_| events.next().flatten().is_some_and(|event| event.meta().redacted_by.is_none()));
        Ok(())
    }

    /// The threads of those that notify, and whether they are in them by what they refer to.
    async fn threads_of_steps(
        &self,
        steps: &[(Order, Step)],
    ) -> Result<Vec<(Option<Arc<str>>, bool)>, Error> {
        let mut threads = vec![(None, false); steps.len()];
        let (mut open, mut related) = (Vec::new(), Vec::new());
        for (index, (_, step)) in steps.iter().enumerate() {
            let Step::Notifies { event, .. } = step else { continue };
            match event.relation() {
                Some(relation) if relation.is_thread() => {
                    threads[index] = (Some(relation.event_id.as_str().into()), false);
                }
                Some(_) => {
                    open.push(index);
                    related.push(event.clone());
                }
                None => {}
            }
        }
        if !open.is_empty() {
            for (index, thread) in open.into_iter().zip(self.rooms().threads_of(&related).await?) {
                threads[index] = (thread.map(|thread| thread.as_str().into()), true);
            }
        }
        Ok(threads)
    }
}

fn query<'a>(asked: &Asked<'a>, after: Position) -> RecentQuery<'a> {
    let UserRoom { room, room_id, .. } = asked.row;
    RecentQuery { room: *room, room_id, after, through: asked.through, limit: ROWS }
}

/// The thread that somebody has read who says this in it, or in none. What changes the room's state, a reaction or an
/// edit says nothing of what was read.
fn said(event: &StoredEvent) -> Option<Option<Arc<str>>> {
    if event.state_key().is_some() {
        return None;
    }
    match event.relation() {
        None => Some(None),
        Some(relation) => relation.is_thread().then(|| Some(relation.event_id.as_str().into())),
    }
}

/// What a member event calls its user, folded.
pub(crate) fn name_in(event: &StoredEvent) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default, deserialize_with = "pdu::lenient::field")]
        displayname: Option<String>,
    }
    let name = event.pdu().content_as::<Content>().ok()?.displayname?;
    Some(fold(room::read::bounded::name(name.trim())).into())
}
