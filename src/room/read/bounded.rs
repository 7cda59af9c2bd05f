//! Parts of what other servers tell of rooms, bounded while they are read.
//!
//! An answer may be megabytes, and what is told in it is held in memory and handed on to clients. So each text and
//! list has a bound here: what is prose is cut, what is cut would mean something else is left out, and of a list the
//! first entries are kept. As with [`lenient`], what is of another type counts as absent.

use std::{fmt, marker::PhantomData};

use pdu::lenient;
use ruma::OwnedRoomId;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::read::space::RoomSummary;

/// Longest name, topic and other text, in bytes.
const MAX_TITLE: usize = 1_024;
const MAX_PROSE: usize = 4_096;
const MAX_SHORT: usize = 255;
/// Rooms whose members may come into a room.
const MAX_ALLOWED: usize = 100;
/// Rooms of a space that are read of an answer.
const MAX_ROOMS: usize = 1_000;
/// The longest event that names a room of a space, stripped, in bytes; for what we tell others as well.
pub const MAX_CHILD: usize = 4_096;

/// A text no longer than this many bytes, cut between two characters.
pub fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// The name of a room.
pub fn name(text: &str) -> &str {
    cut(text, MAX_TITLE)
}

/// The topic of a room.
pub fn topic(text: &str) -> &str {
    cut(text, MAX_PROSE)
}

pub(crate) fn title<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Ok(text(json)?.map(|text| name(&text).to_owned()))
}

pub(crate) fn prose<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Ok(text(json)?.map(|text| topic(&text).to_owned()))
}

/// A name for machines, or an address: half of it is worth nothing.
pub(crate) fn short<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Ok(text(json)?.filter(|text| text.len() <= MAX_SHORT))
}

fn text<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    lenient::field(json)
}

pub(crate) fn some_ids<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Vec<OwnedRoomId>>, D::Error> {
    first(json, MAX_ALLOWED).map(Some)
}

pub(crate) fn ids<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<OwnedRoomId>, D::Error> {
    first(json, MAX_ROOMS)
}

pub(crate) fn rooms<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<RoomSummary>, D::Error> {
    first(json, MAX_ROOMS)
}

/// The events by which a space names its rooms; one that is too long names none.
pub(crate) fn children<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Vec<Box<RawValue>>>, D::Error> {
    let mut children: Vec<Box<RawValue>> = first(json, MAX_ROOMS + 1)?;
    children.retain(|child| child.get().len() <= MAX_CHILD);
    children.truncate(MAX_ROOMS);
    Ok(Some(children))
}

/// The first entries of a list, without those of another type; what is no list is the empty one.
///
/// # Errors
/// None of its own.
pub fn first<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    json: D,
    most: usize,
) -> Result<Vec<T>, D::Error> {
    let raw = Box::<RawValue>::deserialize(json)?;
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    Ok(reader.deserialize_seq(First { most, entry: PhantomData }).unwrap_or_default())
}

struct First<T> {
    most: usize,
    entry: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> Visitor<'de> for First<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < self.most
            && let Some(entry) = list.next_element::<&RawValue>()?
        {
            entries.extend(serde_json::from_str::<T>(entry.get()));
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(entries)
    }
}
