//! What is stored of people.

use base::folded;
use ruma::UserId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use store::{Batch, Table, Tuning};

use super::words::{NAME_LETTERS, Words, stage_words, words_elsewhere};
use crate::ids::{RoomSerial, Root};

/// Everybody who is joined to a room, ours or not, except for what is [`DUE`]; key: user id.
pub static PEOPLE: Table<String, PersonRow> = Table::new(75, "room.people", Tuning::Point);

/// Who came into a room or got out of it, or has another name in it, since his row was written; key: user id, room.
pub static DUE: Table<(String, RoomSerial), ()> = Table::new(76, "room.people_due", Tuning::Queue);

/// Rooms that we came into and whose members are not all in [`PEOPLE`] yet; key: room.
pub static WALKS: Table<RoomSerial, WalkRow> = Table::new(77, "room.people_walks", Tuning::Queue);

/// Names by which somebody is found. Whoever goes by more is found by his id in the other rooms.
const MOST_NAMES: usize = 8;

/// Letters of all names of a person together, folded: each of them is a row, in which his whole id stands. People of
/// eight long names are few, and those who write them to fill the index have as much of it as others.
const MOST_LETTERS: usize = 128;

/// Rooms of a person. By those beyond, which are in nobody's interest, he is not found.
const MOST_ROOMS: usize = 8_192;

/// Row of [`PEOPLE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRow {
    /// What he is called where. Of our users, who are called as their profile says, one entry without a name.
    pub names: Vec<NameRow>,
}
store::row!(PersonRow, schema = 1);

/// A name of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRow {
    /// Its first letters, as they were written; empty where he has none.
    pub name: String,
    /// The rooms in which he goes by it, ascending.
    #[serde(serialize_with = "as_steps", deserialize_with = "from_steps")]
    pub rooms: Vec<RoomSerial>,
}

/// Row of [`WALKS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkRow {
    /// The members up to this one are done.
    pub after: String,
    /// The room's state when we came in: by it a walk knows that we have come in once more, and begins anew.
    pub since: Root,
}
store::row!(WalkRow, schema = 1);

/// Writes how far each room is from the one before: one or two bytes for most.
fn as_steps<S: Serializer>(rooms: &[RoomSerial], out: S) -> Result<S::Ok, S::Error> {
    let before = std::iter::once(0).chain(rooms.iter().map(|room| room.0));
    out.collect_seq(rooms.iter().zip(before).map(|(room, before)| room.0.wrapping_sub(before)))
}

fn from_steps<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<RoomSerial>, D::Error> {
    let steps = Vec::<u64>::deserialize(input)?;
    let sums = steps.into_iter().scan(0_u64, |sum, step| {
        *sum = sum.wrapping_add(step);
        Some(RoomSerial(*sum))
    });
    Ok(sums.collect())
}

impl PersonRow {
    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// He is not in a room, as far as others are to find him.
    pub fn remove(&mut self, room: RoomSerial) {
        for known in &mut self.names {
            if let Ok(place) = known.rooms.binary_search(&room) {
                known.rooms.remove(place);
            }
        }
        self.names.retain(|known| !known.rooms.is_empty());
    }

    /// He is in a room and goes by this name there.
    pub fn set(&mut self, room: RoomSerial, name: &str) {
        self.remove(room);
        if self.names.iter().map(|known| known.rooms.len()).sum::<usize>() >= MOST_ROOMS {
            return;
        }
        let find = |names: &[NameRow], name: &str| names.iter().position(|known| known.name == name);
        let name = if find(&self.names, name).is_some() || self.has_place_for(name) { name } else { "" };
        match find(&self.names, name) {
            Some(place) => {
                let rooms = &mut self.names[place].rooms;
                let place = rooms.binary_search(&room).unwrap_or_else(|place| place);
                rooms.insert(place, room);
            }
            None => self.names.push(NameRow { name: name.to_owned(), rooms: vec![room] }),
        }
    }

    /// Whether he may be found by one more name.
    fn has_place_for(&self, name: &str) -> bool {
        let named = self.names.iter().filter(|known| !known.name.is_empty());
        let letters = |name: &str| folded(name, NAME_LETTERS).chars().count();
        let taken: usize = named.clone().map(|known| letters(&known.name)).sum();
        named.count() < MOST_NAMES && taken + letters(name) <= MOST_LETTERS
    }

    fn words(&self, user: &UserId) -> Words {
        match self.is_empty() {
            true => Words::new(),
            false => words_elsewhere(user, self.names.iter().map(|known| known.name.as_str())),
        }
    }
}

/// Writes somebody's row anew in a batch, which is refused when another one has written it meanwhile; with his
/// words, for a user of another server.
pub fn stage_person(
    batch: &mut Batch,
    user: &UserId,
    was: Option<&PersonRow>,
    is: &PersonRow,
    is_ours: bool,
) {
    batch.require(&PEOPLE, user.as_str(), was);
    if was.map_or(is.is_empty(), |was| was == is) {
        return;
    }
    match is.is_empty() {
        true => batch.delete(&PEOPLE, user.as_str()),
        false => batch.put(&PEOPLE, user.as_str(), is),
    }
    if !is_ours {
        let was = was.map(|was| was.words(user)).unwrap_or_default();
        stage_words(batch, user.as_str(), &was, &is.words(user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_his_names_are_there_are_few_words_of_a_person() {
        let user = ruma::user_id!("@taro:b.test");
        let letters = (0x4e00..0x4e00 + 60).filter_map(char::from_u32);
        // Of the second ones a letter is four, folded.
        for long in [letters.clone().collect(), letters.flat_map(|letter| ['㍿', letter]).collect::<String>()]
        {
            let mut person = PersonRow::default();
            for number in 0..20_u64 {
                person.set(RoomSerial(number), &format!("{number}{long}"));
                assert!(person.words(user).len() <= MOST_LETTERS + 8, "{}", person.words(user).len());
            }
            assert!(person.words(user).len() > 60);
        }
        let mut person = PersonRow::default();
        for number in 0..8_u64 {
            person.set(RoomSerial(number), &format!("山田太郎（総務課長）{number}"));
        }
        assert_eq!(person.names.len(), MOST_NAMES);
    }

    #[test]
    fn a_person_of_any_number_of_rooms_and_names_has_a_small_row() {
        let mut person = PersonRow::default();
        for number in 0..20_000 {
            person.set(RoomSerial(3 * number + 1), &format!("名{number}"));
        }
        assert_eq!(person.names.len(), MOST_NAMES + 1);
        assert_eq!(person.names.iter().map(|known| known.rooms.len()).sum::<usize>(), MOST_ROOMS);
        assert!(store::Value::encode(&person).len() < 3 * MOST_ROOMS);
        for number in 0..20_000 {
            person.remove(RoomSerial(3 * number + 1));
        }
        assert_eq!(person, PersonRow::default());
    }

    #[test]
    fn one_name_in_many_rooms_is_one_entry_and_another_one_takes_its_place() {
        let mut person = PersonRow::default();
        for number in [9, 5, 7] {
            person.set(RoomSerial(number), "太郎");
        }
        person.set(RoomSerial(5), "次郎");
        let name = |name: &str, rooms: &[u64]| NameRow {
            name: name.to_owned(),
            rooms: rooms.iter().map(|room| RoomSerial(*room)).collect(),
        };
        assert_eq!(person.names, [name("太郎", &[7, 9]), name("次郎", &[5])]);
    }
}
