//! What a service is told besides events: what is of the moment, and what its users need for encryption.
//!
//! What is of the moment is kept in memory alone, the newest of each kind; what was not told when a process ends is told no more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use encryption::{KeyCounts, ListChanges};
use room::RoomSerial;
use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId, UserId};
use store::{Position, Topic};
use to_device::ToDevice;

/// Things of each kind that wait for a service; what comes then is not told.
const MOST: usize = 1_000;

/// Things of each kind that are told in a transaction.
const MOST_AT_ONCE: usize = 100;

/// A receipt: room, whose it is, thread.
pub(crate) type ReceiptKey = (RoomSerial, OwnedUserId, String);

/// A device of a user.
pub(crate) type DeviceKey = (OwnedUserId, OwnedDeviceId);

/// A device for which something may have come.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) device: DeviceKey,
    /// Up to where it was told its messages.
    pub(crate) had: Position,
    /// How many keys it was told of last.
    pub(crate) counts: Option<ToldCounts>,
}

/// How many keys a device was told that it has. The same number later need not be what it believes: it has uploaded some
/// meanwhile, and as many were claimed. So it is known as of when that was.
#[derive(Clone, Debug)]
pub(crate) struct ToldCounts {
    pub(crate) counts: Arc<KeyCounts>,
    pub(crate) as_of: Position,
}

/// What of the moment a service has still to be told.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    /// Who types in rooms.
    pub(crate) typing: BTreeMap<OwnedRoomId, Vec<OwnedUserId>>,
    /// Receipts that moved.
    pub(crate) receipts: BTreeMap<ReceiptKey, OwnedRoomId>,
    /// Who came or went.
    pub(crate) present: BTreeSet<OwnedUserId>,
}

impl Moments {
    pub(crate) fn is_empty(&self) -> bool {
        self.typing.is_empty() && self.receipts.is_empty() && self.present.is_empty()
    }

    /// Takes as much as is told at once; the rest stays.
    pub(crate) fn take(&mut self) -> Self {
        fn first<K: Ord, V>(all: &mut BTreeMap<K, V>) -> BTreeMap<K, V> {
            let mut taken = BTreeMap::new();
            while taken.len() < MOST_AT_ONCE
                && let Some((key, value)) = all.pop_first()
            {
                taken.insert(key, value);
            }
            taken
        }
        let (typing, receipts) = (first(&mut self.typing), first(&mut self.receipts));
        let mut present = BTreeSet::new();
        while present.len() < MOST_AT_ONCE
            && let Some(user) = self.present.pop_first()
        {
            present.insert(user);
        }
        Self { typing, receipts, present }
    }

    /// Adds what came later, as far as there is room.
    pub(crate) fn add(&mut self, later: Self) {
        let Self { typing, receipts, present } = later;
        for (room, users) in typing {
            if self.typing.len() < MOST || self.typing.contains_key(&room) {
                self.typing.insert(room, users);
            }
        }
        let free = MOST.saturating_sub(self.receipts.len());
        self.receipts.extend(receipts.into_iter().take(free));
        let free = MOST.saturating_sub(self.present.len());
        self.present.extend(present.into_iter().take(free));
    }
}

/// The devices that a service made for its users, and what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// By what of them is touched.
    topics: HashMap<Topic, Vec<DeviceKey>>,
    all: BTreeSet<DeviceKey>,
    /// Those for which something may have come.
    pub(crate) called: BTreeSet<DeviceKey>,
    /// Up to where each was told its messages.
    pub(crate) had: HashMap<DeviceKey, Position>,
    /// How many keys of each it was told of last.
    pub(crate) counts: HashMap<DeviceKey, ToldCounts>,
    /// Up to where it was told whose devices changed.
    pub(crate) lists: Position,
    /// How far that was looked at behind it, where there are more users than are looked at at once.
    pub(crate) looked: Option<Looked>,
}

/// Whose devices changed was looked at for users up to one, and is for the others; or not all of it was told yet.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    /// For all of them up to this position.
    pub(crate) through: Position,
    /// The last one for whom it was; none once it was for all.
    pub(crate) last: Option<OwnedUserId>,
    /// What was found and has still to be told.
    pub(crate) rest: ListChanges,
}

impl Devices {
    /// These are all that there are, or all of one user. It is looked what came for each that is new.
    pub(crate) fn set(&mut self, of: Option<&UserId>, all: BTreeSet<DeviceKey>) {
        let is_meant = |(user, _): &&DeviceKey| of.is_none_or(|of| of == user);
        let known: BTreeSet<DeviceKey> = match of {
            // They lie together, by user.
            Some(of) => self.all.range((of.to_owned(), "".into())..).take_while(is_meant).cloned().collect(),
            None => self.all.clone(),
        };
        for device in known.difference(&all) {
            self.forget(device);
        }
        for device in all.difference(&known) {
            for topic in topics(device) {
                self.topics.entry(topic).or_default().push(device.clone());
            }
            self.called.insert(device.clone());
            self.all.insert(device.clone());
        }
    }

    fn forget(&mut self, device: &DeviceKey) {
        for topic in topics(device) {
            if let Entry::Occupied(mut entry) = self.topics.entry(topic) {
                entry.get_mut().retain(|other| other != device);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
        self.all.remove(device);
        self.called.remove(device);
        self.had.remove(device);
        self.counts.remove(device);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that are called, with what is known of them; they are called no more.
    pub(crate) fn take_called(&mut self) -> Vec<Called> {
        let called = std::mem::take(&mut self.called).into_iter().map(|device| Called {
            had: self.had.get(&device).copied().unwrap_or(Position::START),
            counts: self.counts.get(&device).cloned(),
            device,
        });
        called.collect()
    }

    /// Adds devices that were told of no keys, up to so many in all: of these the counts are told anew.
    pub(crate) fn add_bare(&self, called: &mut Vec<Called>, most: usize) {
        let known: BTreeSet<DeviceKey> = called.iter().map(|called| called.device.clone()).collect();
        let bare =
            self.counts.iter().filter(|(device, told)| has_none(&told.counts) && !known.contains(*device));
        let bare = bare.map(|(device, _)| Called {
            had: self.had.get(device).copied().unwrap_or(Position::START),
            counts: None,
            device: device.clone(),
        });
        called.extend(bare.take(most.saturating_sub(known.len())));
    }

    /// The users who have devices.
    pub(crate) fn users(&self) -> BTreeSet<OwnedUserId> {
        self.all.iter().map(|(user, _)| user.clone()).collect()
    }

    /// Notes that these were touched, or that this is not known. Whether that calls any device.
    pub(crate) fn touch(&mut self, topics: Option<&[Topic]>) -> bool {
        match topics {
            Some(topics) => {
                let touched = topics.iter().filter_map(|topic| self.topics.get(topic)).flatten();
                self.called.extend(touched.cloned());
            }
            None => self.called.extend(self.all.iter().cloned()),
        }
        !self.called.is_empty()
    }
}

/// What is touched when something comes for a device.
fn topics((user, device): &DeviceKey) -> [Topic; 2] {
    [ToDevice::topic(user), Topic::device_keys(user.as_str(), device.as_str())]
}

/// Whether a device has no key that could be given out.
fn has_none(counts: &KeyCounts) -> bool {
    counts.unused_fallback.is_empty() && counts.one_time.values().all(|count| *count == 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_moment_is_bounded_and_the_newest_of_a_room_stays() {
        let room = |number: usize| OwnedRoomId::try_from(format!("!{number}:a.test")).unwrap();
        let user = |number: usize| OwnedUserId::try_from(format!("@{number}:a.test")).unwrap();
        let mut moments = Moments::default();
        for number in 0..MOST + 10 {
            let typing = [(room(number), vec![user(1)])].into();
            let receipts = [((RoomSerial(1), user(number), String::new()), room(1))].into();
            moments.add(Moments { typing, receipts, present: [user(number)].into() });
        }
        moments.add(Moments { typing: [(room(0), Vec::new())].into(), ..Moments::default() });
        assert_eq!((moments.typing.len(), moments.receipts.len(), moments.present.len()), (MOST, MOST, MOST));
        assert!(moments.typing.get(&room(0)).unwrap().is_empty());

        // It is told in parts.
        let mut told = (0, 0, 0);
        for _ in 0..MOST / MOST_AT_ONCE {
            let part = moments.take();
            assert!(part.typing.len() == MOST_AT_ONCE && part.present.len() == MOST_AT_ONCE);
            told = (told.0 + part.typing.len(), told.1 + part.receipts.len(), told.2 + part.present.len());
        }
        assert_eq!((told, moments.is_empty()), ((MOST, MOST, MOST), true));
    }

    #[test]
    fn a_device_is_called_by_what_is_sent_to_its_user_and_by_its_keys() {
        let device =
            |user: &str, name: &str| (OwnedUserId::try_from(user).unwrap(), OwnedDeviceId::from(name));
        let (one, other) = (device("@a:a.test", "A"), device("@b:a.test", "B"));
        let mut devices = Devices::default();
        devices.set(None, [one.clone(), other.clone()].into());
        assert_eq!(std::mem::take(&mut devices.called).len(), 2, "new ones are looked at");
        assert!(!devices.touch(Some(&[Topic::devices("@a:a.test")])));
        assert!(devices.touch(Some(&[ToDevice::topic(&one.0)])));
        assert_eq!(std::mem::take(&mut devices.called), [one.clone()].into());
        devices.touch(Some(&[Topic::device_keys("@b:a.test", "B")]));
        assert_eq!(std::mem::take(&mut devices.called), [other.clone()].into());
        devices.touch(None);
        devices.set(None, [other.clone()].into());
        assert_eq!(devices.called, [other.clone()].into());

        // Of one user: nobody else's change, and who has none any more is called by nothing.
        let second = device("@b:a.test", "C");
        devices.set(Some(&other.0), [other.clone(), second.clone()].into());
        devices.set(Some(&one.0), [one.clone()].into());
        assert_eq!(std::mem::take(&mut devices.called), [one.clone(), other, second.clone()].into());
        devices.set(Some(&second.0), [second.clone()].into());
        assert!(devices.called.is_empty() && devices.users().len() == 2);
        assert!(!devices.touch(Some(&[Topic::device_keys("@b:a.test", "B")])));
        devices.set(Some(&second.0), BTreeSet::new());
        assert!(!devices.touch(Some(&[ToDevice::topic(&second.0)])));
        assert!(devices.touch(None) && devices.called == [one].into());
    }

    #[test]
    fn a_device_is_told_anew_of_its_keys_while_it_has_none_and_few_are_at_a_time() {
        let device = |number: usize| -> DeviceKey {
            (OwnedUserId::try_from("@a:a.test").unwrap(), format!("D{number:03}").into())
        };
        let counts = |one_time: u64, fallback: &[&str]| {
            let counts = KeyCounts {
                one_time: [("signed_curve25519".to_owned(), one_time)].into(),
                unused_fallback: fallback.iter().map(|it| (*it).to_owned()).collect(),
            };
            ToldCounts { counts: Arc::new(counts), as_of: Position::START }
        };
        let mut devices = Devices::default();
        devices.set(None, (0..20).map(device).collect());
        devices.counts.insert(device(0), counts(0, &[]));
        devices.counts.insert(device(1), counts(1, &[]));
        devices.counts.insert(device(2), counts(0, &["signed_curve25519"]));
        devices.had.insert(device(0), Position(7));
        let called = |known: &[usize], most: usize| {
            let of = |number: &usize| Called { device: device(*number), had: Position(1), counts: None };
            let mut called: Vec<Called> = known.iter().map(of).collect();
            devices.add_bare(&mut called, most);
            called.into_iter().map(|called| (called.device, called.had)).collect::<Vec<_>>()
        };
        assert_eq!(called(&[], 10), [(device(0), Position(7))]);
        assert_eq!(called(&[0], 10), [(device(0), Position(1))], "it is called already");
        for number in 3..20 {
            devices.counts.insert(device(number), counts(0, &[]));
        }
        let called = |known: usize| {
            let of = |number: usize| Called { device: device(number), had: Position(1), counts: None };
            let mut called: Vec<Called> = (0..known).map(of).collect();
            devices.add_bare(&mut called, 10);
            called.len()
        };
        assert_eq!((called(0), called(4), called(10), called(12)), (10, 10, 10, 12));
        // Of one that is gone nothing is known any more, should it come back.
        devices.set(None, BTreeSet::new());
        assert!(devices.counts.is_empty() && devices.had.is_empty());
    }
}
