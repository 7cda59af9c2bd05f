//! Erasure: users of ours who closed their account and asked that what they said be shown to nobody new.
//!
//! Who had sight of an event before goes on seeing it whole; who (or which server) came into the room later gets a
//! redacted copy. Nothing stored changes, and other servers are told nothing. Everything that is read goes through
//! [`Rooms::shown_to`] or [`Rooms::shown_to_server`], which cost nothing where no event is of somebody erased: who
//! is, is held in memory and read again when the store says that it has moved.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use pdu::Pdu;
use ruma::{OwnedUserId, ServerName, UserId};
use serde::{Deserialize, de::IgnoredAny};
use store::{Batch, Position, Range, Remembered, Stamped, Table, Topic, Tuning};

use crate::{
    Error, Order, RoomSerial, Rooms, Root,
    log::ERASURE,
    read::{event::StoredEvent, lookup::StateQuery, token::Token},
    tables::{MEMBERS, Membership},
};

/// Who is erased; key: user id. The stamp is the position since which.
pub(crate) static ERASED: Table<String, Stamped<()>> = Table::new(66, "room.erased", Tuning::Small);

/// What of a member event the authorisation rules look at, and what some room versions do not keep.
const MEMBER_RULES: [&str; 2] = ["join_authorised_via_users_server", "third_party_invite"];

/// Who is erased, and at which position that was.
type Erased = HashMap<OwnedUserId, Position>;

/// What is held in memory of [`ERASED`].
pub(crate) type Erasures = Remembered<Erased>;

fn topic() -> Topic {
    Topic::new(16, "room.erased")
}

/// What to look at of events of whom it matters.
struct Affected<'a> {
    /// Places in the list, with the position of the sender's erasure.
    events: Vec<(usize, &'a Arc<StoredEvent>, Position)>,
    /// The state of the rooms at the erasures.
    then: HashMap<(RoomSerial, Position), Root>,
}

impl Affected<'_> {
    fn root_then(&self, event: &StoredEvent, since: Position) -> Option<Root> {
        self.then.get(&(event.room(), since)).copied()
    }
}

/// Whether an event says what the room is (its name, who may do what, which rooms a space has) and not what its sender
/// said: without that, the room would be another one for newcomers as soon as whoever set it up has left.
fn is_of_room(event: &StoredEvent) -> bool {
    event.state_key().is_some() && event.kind() != "m.room.member"
}

/// Whether the event was there when its sender was erased; of what has no place, that is not known to be otherwise.
fn is_from_before(event: &StoredEvent, since: Position) -> bool {
    event.order().is_none_or(|order| order < Order::live(since))
}

impl Rooms {
    /// Notes in a batch that a user of ours is erased from now on.
    pub fn put_erasure(&self, batch: &mut Batch, user: &UserId) {
        let slot = batch.log(ERASURE, Bytes::new(), [topic()]);
        batch.put_stamped(&ERASED, user.as_str(), slot, &());
    }

    /// Whether users of ours are erased, in the order of `users`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn are_erased(&self, users: &[&UserId]) -> Result<Vec<bool>, Error> {
        let erased = self.erased().await?;
        Ok(users.iter().map(|user| erased.contains_key(*user)).collect())
    }

    /// Whether any user of ours is erased, as of the newest that this reader has to do with a room.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_anybody_erased(&self, reader: &UserId) -> Result<bool, Error> {
        // Who came in through another process is ahead of what this one has heard of the others.
        let rooms = self.memberships(reader).await?;
        self.store().reach(rooms.newest).await?;
        Ok(!self.erased().await?.is_empty())
    }

    /// These events, in their order, as a user of ours may be shown them: whole or as redacted copies. They are
    /// those that he may see.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn shown_to(
        &self,
        user: &UserId,
        mut events: Vec<Arc<StoredEvent>>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        if !self.is_anybody_erased(user).await? {
            return Ok(events);
        }
        let Some(affected) = self.affected(&events).await? else { return Ok(events) };
        let member = |room, root| StateQuery { room, root, kind: "m.room.member", key: user.as_str() };
        let roots = affected.events.iter().flat_map(|(_, event, since)| {
            let then = affected.root_then(event, *since);
            [Some(event.meta().before), then].into_iter().flatten().map(|root| (event.room(), root))
        });
        let roots: HashSet<(RoomSerial, Root)> = roots.collect();
        let queries: Vec<_> = roots.iter().map(|(room, root)| member(*room, *root)).collect();
        let found = self.state_events(&queries).await?;
        let was_in: HashSet<(RoomSerial, Root)> = roots
            .iter()
            .zip(&found)
            .filter(|(_, event)| {
                event.as_ref().and_then(|event| event.membership()) == Some(Membership::Join)
            })
            .map(|(at, _)| *at)
            .collect();
        let rooms = self.memberships(user).await?;

        let hidden = affected.events.iter().filter(|(_, event, since)| {
            let is_in = |root| was_in.contains(&(event.room(), root));
            // What was done to himself he has been told.
            if is_in(event.meta().before) || event.is_member_event_of(user) {
                return false;
            }
            if !is_from_before(event, *since) {
                return true;
            }
            // Of one who had been in after the event and had got out again, the last departure is known.
            let left =
                rooms.find(event.room()).and_then(|row| row.departure.as_deref()).is_some_and(|departure| {
                    departure.position < *since
                        && event.order().is_some_and(|order| order < Order::live(departure.position))
                });
            !left && !affected.root_then(event, *since).is_some_and(is_in)
        });
        let hidden: Vec<usize> = hidden.map(|(index, ..)| *index).collect();
        drop(affected);
        for index in hidden {
            events[index] = redacted(&events[index])?;
        }
        Ok(events)
    }

    /// These events, in their order, as another server may be given them: whole or as redacted copies, of which
    /// the hash of the content differs and the id does not, as of every redacted event.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn shown_to_server(
        &self,
        server: &ServerName,
        mut events: Vec<Arc<StoredEvent>>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let Some(affected) = self.affected(&events).await? else { return Ok(events) };
        let rooms: HashSet<RoomSerial> = affected.events.iter().map(|(_, event, _)| event.room()).collect();
        let mut users: HashMap<RoomSerial, Vec<String>> = HashMap::new();
        for room in rooms {
            users.insert(room, self.users_of(server, room).await?);
        }
        // First those who were in at the erasure: of most servers that answers for all events.
        let then: HashSet<(RoomSerial, Root)> =
            affected.then.iter().map(|((room, _), root)| (*room, *root)).collect();
        let mut was_in = self.had_somebody_in(&users, &then).await?;
        let is_open = |(_, event, since): &(usize, &Arc<StoredEvent>, Position), was_in: &HashSet<_>| {
            let root = affected.root_then(event, *since);
            let was_there = root.is_some_and(|root| was_in.contains(&(event.room(), root)));
            !(was_there && is_from_before(event, *since))
        };
        let open: Vec<_> = affected.events.iter().filter(|event| is_open(event, &was_in)).collect();
        let before = open.iter().map(|(_, event, _)| (event.room(), event.meta().before)).collect();
        was_in.extend(self.had_somebody_in(&users, &before).await?);

        let hidden = open.into_iter().filter(|(_, event, _)| {
            let target =
                event.membership().and_then(|_| event.state_key()).and_then(|key| key.split_once(':'));
            let own = target.is_some_and(|(_, name)| name == server.as_str());
            !own && !was_in.contains(&(event.room(), event.meta().before))
        });
        let hidden: Vec<usize> = hidden.map(|(index, ..)| *index).collect();
        drop(affected);
        for index in hidden {
            events[index] = redacted(&events[index])?;
        }
        Ok(events)
    }

    /// At which places of a list of events' texts those of erased users are.
    pub async fn places_of_erased(&self, texts: &[Option<Bytes>]) -> Result<Vec<usize>, Error> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            sender: Cow<'a, str>,
        }
        let erased = self.erased().await?;
        if erased.is_empty() {
            return Ok(Vec::new());
        }
        let is_of_erased = |text: &Option<Bytes>| {
            let event = text.as_ref().map(|text| serde_json::from_slice::<Event<'_>>(text));
            let sender = event.and_then(Result::ok).map(|event| event.sender);
            let sender = sender.as_deref().and_then(|sender| <&UserId>::try_from(sender).ok());
            sender.is_some_and(|sender| erased.contains_key(sender))
        };
        Ok((0..texts.len()).filter(|place| is_of_erased(&texts[*place])).collect())
    }

    /// Those of the events that erased users sent; `None` if there are none.
    async fn affected<'a>(&self, events: &'a [Arc<StoredEvent>]) -> Result<Option<Affected<'a>>, Error> {
        let erased = self.erased().await?;
        if erased.is_empty() {
            return Ok(None);
        }
        let of_erased = events.iter().enumerate().filter_map(|(index, event)| {
            let since = erased.get(event.sender())?;
            (!is_of_room(event)).then_some((index, event, *since))
        });
        let of_erased: Vec<_> = of_erased.collect();
        if of_erased.is_empty() {
            return Ok(None);
        }
        let mut places: HashMap<Position, HashSet<RoomSerial>> = HashMap::new();
        for (_, event, since) in &of_erased {
            places.entry(*since).or_default().insert(event.room());
        }
        let mut then = HashMap::new();
        for (since, rooms) in places {
            let rooms: Vec<RoomSerial> = rooms.into_iter().collect();
            let roots = self.states_at(&rooms, Token::after(since)).await?;
            then.extend(rooms.into_iter().zip(roots).filter_map(|(room, root)| Some(((room, since), root?))));
        }
        Ok(Some(Affected { events: of_erased, then }))
    }

    /// Who is erased: from memory, unless somebody was since it was read.
    async fn erased(&self) -> Result<Arc<Erased>, Error> {
        let read = async {
            let rows = self.store().scan(&ERASED, Range::all(), store::Order::Ascending, usize::MAX).await?;
            let user =
                |(user, row): (String, Stamped<()>)| Some((OwnedUserId::try_from(user).ok()?, row.position));
            Ok(rows.into_iter().filter_map(user).collect())
        };
        self.reader().erasures.get_or_read(self.store(), [topic()], read).await
    }

    /// At which of these places some of the users were in the room.
    async fn had_somebody_in(
        &self,
        users: &HashMap<RoomSerial, Vec<String>>,
        places: &HashSet<(RoomSerial, Root)>,
    ) -> Result<HashSet<(RoomSerial, Root)>, Error> {
        let mut found = HashSet::new();
        for (room, root) in places {
            let users = users.get(room).map_or(&[][..], Vec::as_slice);
            let query = |user: &'_ String| (*room, *root, user.clone());
            let queries: Vec<_> = users.iter().map(query).collect();
            let queries: Vec<_> = queries
                .iter()
                .map(|(room, root, user)| StateQuery {
                    room: *room,
                    root: *root,
                    kind: "m.room.member",
                    key: user,
                })
                .collect();
            let members = self.state_events(&queries).await?;
            let is_in = |event: Arc<StoredEvent>| event.membership() == Some(Membership::Join);
            if members.into_iter().flatten().any(is_in) {
                found.insert((*room, *root));
            }
        }
        Ok(found)
    }

    /// The users of a server who are or were something in a room.
    pub(super) async fn users_of(&self, server: &ServerName, room: RoomSerial) -> Result<Vec<String>, Error> {
        let rows =
            self.store().scan(&MEMBERS, Range::prefix(&room), store::Order::Ascending, usize::MAX).await?;
        let of_server = |user: &String| user.split_once(':').is_some_and(|(_, name)| name == server.as_str());
        Ok(rows.into_iter().map(|((_, user), _)| user).filter(of_server).collect())
    }
}

/// The redacted copy of an event; the event itself where the room's rules would judge the copy otherwise.
fn redacted(event: &Arc<StoredEvent>) -> Result<Arc<StoredEvent>, Error> {
    let copy = pdu::redact(event.pdu())?;
    let loses_rules = event.membership().is_some() && {
        let (before, after) = (fields(event.pdu()), fields(&copy));
        MEMBER_RULES.iter().any(|name| before.contains_key(*name) && !after.contains_key(*name))
    };
    Ok(if loses_rules { event.clone() } else { Arc::new(event.redacted_copy(copy)) })
}

/// The fields of an event's content.
fn fields(pdu: &Pdu) -> HashMap<String, IgnoredAny> {
    serde_json::from_str(pdu.content_str()).unwrap_or_default()
}
