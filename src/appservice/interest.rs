//! Whom an event concerns, in memory: so one that concerns nobody costs little.
//!
//! A service is told of an event if one of its users is in the room or is whom the event is about; and where its authority is in
//! the room, if its namespaces name the room, an alias of it, or who sent the event. What is known of a room is
//! read when something happens there, and follows the log from then on.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#pushing-events>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use account::AppService;
use room::{RoomSerial, Rooms, read::event::StoredEvent, tables::Membership};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId, UserId};

use crate::Error;

/// Rooms of which something is known; when there are more, all are read anew as something happens there.
const MOST_ROOMS: usize = 50_000;

/// The place of a service in the list of all.
pub(crate) type Place = usize;

/// What services are concerned with.
pub(crate) struct Interest {
    services: Vec<Arc<AppService>>,
    rooms: HashMap<RoomSerial, Known>,
}

/// What is known of a room.
struct Known {
    id: OwnedRoomId,
    /// The joined users of services.
    users: BTreeMap<Place, BTreeSet<OwnedUserId>>,
    /// Services whose authority is in the room.
    resident: BTreeSet<Place>,
    /// Services whose namespaces name the room.
    named: BTreeSet<Place>,
    /// Its aliases that namespaces of services name.
    aliases: BTreeMap<Place, BTreeSet<OwnedRoomAliasId>>,
}

/// A change of who is in a room.
pub(crate) struct Change<'a> {
    pub(crate) room: RoomSerial,
    pub(crate) user: &'a UserId,
    pub(crate) membership: Membership,
}

/// Authorities that have nobody in a room any more.
pub(crate) type Gone = BTreeSet<(RoomSerial, OwnedServerName)>;

impl Interest {
    pub(crate) fn new(services: Vec<Arc<AppService>>) -> Self {
        Self { services, rooms: HashMap::new() }
    }

    /// Reads what is not known of these rooms.
    pub(crate) async fn learn(
        &mut self,
        rooms: &Rooms,
        wanted: &BTreeMap<RoomSerial, OwnedRoomId>,
    ) -> Result<(), Error> {
        if self.rooms.len() > MOST_ROOMS {
            self.rooms.clear();
        }
        let has_aliases = self.services.iter().any(|service| service.has_aliases());
        let unknown = self.unknown(wanted.keys().copied());
        if unknown.is_empty() {
            return Ok(());
        }
        let members = rooms.local_members_of(&unknown).await?;
        let aliases = match has_aliases {
            true => rooms.aliases_of(&unknown).await?,
            false => vec![Vec::new(); unknown.len()],
        };
        for ((room, members), aliases) in unknown.into_iter().zip(members).zip(aliases) {
            let Some(id) = wanted.get(&room).cloned() else { continue };
            let mut known = Known {
                id: id.clone(),
                users: BTreeMap::new(),
                resident: BTreeSet::new(),
                named: BTreeSet::new(),
                aliases: BTreeMap::new(),
            };
            for (place, service) in self.services.iter().enumerate() {
                let server = service.sender().server_name();
                let own: BTreeSet<_> =
                    members.iter().filter(|user| service.covers_user(user)).cloned().collect();
                if !own.is_empty() {
                    known.users.insert(place, own);
                }
                if members.iter().any(|user| user.server_name() == server) {
                    known.resident.insert(place);
                }
                if service.names_room(&id) {
                    known.named.insert(place);
                }
                let own: BTreeSet<_> =
                    aliases.iter().filter(|alias| service.covers_alias(alias)).cloned().collect();
                if !own.is_empty() {
                    known.aliases.insert(place, own);
                }
            }
            self.rooms.insert(room, known);
        }
        Ok(())
    }

    /// Whom something in a room concerns, whatever it is and whoever does it.
    pub(crate) fn of_room(&self, room: RoomSerial) -> BTreeSet<Place> {
        let Some(known) = self.rooms.get(&room) else { return BTreeSet::new() };
        let named = known.named.iter().chain(known.aliases.keys());
        let named = named.filter(|place| known.resident.contains(*place));
        known.users.keys().chain(named).copied().collect()
    }

    /// The id of a room of which something is known.
    pub(crate) fn id_of(&self, room: RoomSerial) -> Option<&OwnedRoomId> {
        self.rooms.get(&room).map(|known| &known.id)
    }

    /// Those of these rooms of which nothing is known.
    pub(crate) fn unknown(&self, rooms: impl Iterator<Item = RoomSerial>) -> Vec<RoomSerial> {
        rooms.filter(|room| !self.rooms.contains_key(room)).collect()
    }

    /// Whom an event concerns by whom it is about or from.
    pub(crate) fn of_event(&self, event: &StoredEvent) -> BTreeSet<Place> {
        let resident = self.rooms.get(&event.room()).map(|known| &known.resident);
        let target = event.membership().and(event.state_key()).and_then(|key| UserId::parse(key).ok());
        let concerns = |place: Place, service: &AppService| {
            let is_there = resident.is_some_and(|resident| resident.contains(&place));
            let names = |user: &UserId| service.covers_user(user) || is_there && service.names_user(user);
            names(event.sender()) || target.as_deref().is_some_and(names)
        };
        let all = self.services.iter().enumerate();
        all.filter(|(place, service)| concerns(*place, service)).map(|(place, _)| place).collect()
    }

    /// Whom it concerns that this user is invited or put out somewhere.
    pub(crate) fn of_user(&self, user: &UserId) -> BTreeSet<Place> {
        let all = self.services.iter().enumerate();
        all.filter(|(_, service)| service.covers_user(user)).map(|(place, _)| place).collect()
    }

    /// The authorities that have nobody left in rooms that users of theirs went from: one read, however many went.
    pub(crate) async fn gone(
        &self,
        rooms: &Rooms,
        changes: impl Iterator<Item = Change<'_>>,
    ) -> Result<Gone, Error> {
        let went: Gone = changes
            .filter(|change| change.membership != Membership::Join && self.rooms.contains_key(&change.room))
            .filter(|change| self.is_of_service(change.user))
            .map(|change| (change.room, change.user.server_name().to_owned()))
            .collect();
        if went.is_empty() {
            return Ok(went);
        }
        let pairs: Vec<_> = went.iter().map(|(room, server)| (*room, server.as_str())).collect();
        let present = rooms.are_present(&pairs).await?;
        Ok(went
            .into_iter()
            .zip(present)
            .filter(|(_, is_present)| !is_present)
            .map(|(pair, _)| pair)
            .collect())
    }

    /// Whether a service has the authority of this user.
    fn is_of_service(&self, user: &UserId) -> bool {
        self.services.iter().any(|service| service.sender().server_name() == user.server_name())
    }

    /// Notes that an alias leads to a room from here on, or does so no more.
    pub(crate) fn note_alias(&mut self, room: RoomSerial, alias: &RoomAliasId, leads: bool) {
        let Some(known) = self.rooms.get_mut(&room) else { return };
        for (place, service) in self.services.iter().enumerate() {
            if !service.covers_alias(alias) {
                continue;
            }
            let own = known.aliases.entry(place).or_default();
            if leads {
                own.insert(alias.to_owned());
            } else {
                own.remove(alias);
            }
            if own.is_empty() {
                known.aliases.remove(&place);
            }
        }
    }

    /// Notes who came or went, and whether the last of an authority did.
    pub(crate) fn note(&mut self, change: &Change<'_>, gone: &Gone) {
        let Change { room, user, membership } = *change;
        let is_joined = membership == Membership::Join;
        let is_last = !is_joined && gone.contains(&(room, user.server_name().to_owned()));
        let Some(known) = self.rooms.get_mut(&room) else { return };
        for (place, service) in self.services.iter().enumerate() {
            if service.sender().server_name() != user.server_name() {
                continue;
            }
            if is_joined {
                known.resident.insert(place);
            } else if is_last {
                known.resident.remove(&place);
            }
            if !service.covers_user(user) {
                continue;
            }
            if is_joined {
                known.users.entry(place).or_default().insert(user.to_owned());
            } else if let Some(users) = known.users.get_mut(&place) {
                users.remove(user);
                if users.is_empty() {
                    known.users.remove(&place);
                }
            }
        }
    }
}
