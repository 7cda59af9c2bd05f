//! Whom an event concerns, in memory: so one that concerns nobody costs little.
//!
//! A service is told of an event if one of its users is in the room or is whom the event is about; and where its authority is in
//! the room, if its namespaces name the room, an alias of it, or who sent the event. What is known of a room is
//! read when something happens there, as it was before that, and follows the log from then on.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#pushing-events>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use account::AppService;
use room::{RoomSerial, Rooms, Root, read::event::StoredEvent, tables::Membership};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId, RoomId, UserId};

use crate::Error;

/// Rooms of which something is known; when there are more, all are read anew as something happens there.
const MOST_ROOMS: usize = 50_000;

/// Members of whom it is asked at once whether they were in a room.
const ASKED_AT_ONCE: usize = 200;

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

/// Where in the log a room is that nothing is known of.
pub(crate) struct Met {
    pub(crate) id: OwnedRoomId,
    /// The state before the first that happens in it from there on, if that has all members.
    pub(crate) before: Option<Root>,
    /// Who came or went in what has been read of the log.
    pub(crate) changed: BTreeSet<OwnedUserId>,
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

    /// Reads what is not known of these rooms: who was there when that happened for which they were met. Who is there now may
    /// have come since, and who was there may have gone: `has_moved` says of which rooms there is more in the log than was read.
    pub(crate) async fn learn(
        &mut self,
        rooms: &Rooms,
        wanted: &BTreeMap<RoomSerial, Met>,
        has_moved: impl Fn(&RoomId) -> bool,
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
            let Some(met) = wanted.get(&room) else { continue };
            let id = met.id.clone();
            let members = self.members_then(rooms, room, met, members, has_moved(&id)).await?;
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

    /// The members of services' authorities as they were where the room was met, of those that are there now.
    async fn members_then(
        &self,
        rooms: &Rooms,
        room: RoomSerial,
        met: &Met,
        now: Vec<OwnedUserId>,
        has_moved: bool,
    ) -> Result<Vec<OwnedUserId>, Error> {
        let mut members: BTreeSet<OwnedUserId> =
            now.into_iter().filter(|user| self.is_of_service(user)).collect();
        let Some(before) = met.before else { return Ok(members.into_iter().collect()) };
        let mut unsure: BTreeSet<OwnedUserId> =
            met.changed.iter().filter(|user| self.is_of_service(user)).cloned().collect();
        if has_moved {
            // Nobody has read yet what happened since: whoever ever was there may have been there then.
            unsure.extend(members.iter().cloned());
            if let Some(info) = rooms.room(&met.id).await? {
                match rooms.everybody_in(&info).await {
                    Ok(all) => {
                        unsure.extend(
                            all.into_iter().map(|(user, _)| user).filter(|user| self.is_of_service(user)),
                        );
                    }
                    Err(room::Error::NoRoom(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let unsure: Vec<OwnedUserId> = unsure.into_iter().collect();
        for some in unsure.chunks(ASKED_AT_ONCE) {
            let places: Vec<_> = some.iter().map(|user| (room, before, &**user)).collect();
            for (user, event) in some.iter().zip(rooms.members_at(&places).await?) {
                if event.is_some_and(|event| event.membership() == Some(Membership::Join)) {
                    members.insert(user.clone());
                } else {
                    members.remove(user);
                }
            }
        }
        Ok(members.into_iter().collect())
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
