//! Tags of rooms: account data of the type `m.tag`, changed tag by tag.
//!
//! Clients may write anything there, and read what other clients wrote. So everything is kept as it was written:
//! tags whose details we do not understand, and fields beside the tags.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-tagging>

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma::{RoomId, UserId};
use serde_json::value::RawValue;

use crate::{Accounts, Error, tables};

/// Type of a room's tags in its account data.
const TAG: &str = "m.tag";
/// The field with the tags.
const TAGS: &str = "tags";
/// Longest name of a tag, in bytes.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#mtag>
const MAX_NAME_BYTES: usize = 255;
/// Most tags of a room, and largest details of one, in bytes.
const MAX_TAGS: usize = 200;
const MAX_DETAILS_BYTES: usize = 4 * 1024;

type Object = BTreeMap<String, Box<RawValue>>;

impl Accounts {
    /// The tags that a user gave a room: their names and details, as they were written.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn room_tags(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Result<BTreeMap<String, Box<RawValue>>, Error> {
        let row = self.inner.store.get(&tables::ROOM_DATA, &(user.as_str(), room.as_str(), TAG)).await?;
        Ok(tags_in(&content_of(row.as_ref().map(|row| &row.value))))
    }

    /// Tags a room. `details` is a JSON object.
    ///
    /// # Errors
    /// [`Error::InvalidParam`], [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    pub async fn set_room_tag(
        &self,
        user: &UserId,
        room: &RoomId,
        tag: &str,
        details: &RawValue,
    ) -> Result<(), Error> {
        if tag.is_empty() || tag.len() > MAX_NAME_BYTES {
            return Err(Error::InvalidParam("the name of a tag has 1 to 255 bytes".to_owned()));
        }
        if !details.get().starts_with('{') {
            return Err(Error::InvalidParam("the details of a tag are a JSON object".to_owned()));
        }
        if details.get().len() > MAX_DETAILS_BYTES {
            return Err(Error::TooLarge("the details of a tag have at most 4 KiB"));
        }
        self.change_tags(user, room, |tags| {
            tags.insert(tag.to_owned(), details.to_owned());
            if tags.len() > MAX_TAGS { Err(Error::TooLarge("a room has at most 200 tags")) } else { Ok(()) }
        })
        .await
    }

    /// Takes a tag off a room.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn remove_room_tag(&self, user: &UserId, room: &RoomId, tag: &str) -> Result<(), Error> {
        self.change_tags(user, room, |tags| {
            tags.remove(tag);
            Ok(())
        })
        .await
    }

    async fn change_tags(
        &self,
        user: &UserId,
        room: &RoomId,
        change: impl Fn(&mut Object) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let unwritable = |cause: serde_json::Error| Error::InvalidParam(cause.to_string());
        self.change_data(user, Some(room), TAG, |old| {
            let mut content = content_of(old);
            let mut tags = tags_in(&content);
            change(&mut tags)?;
            content.insert(TAGS.to_owned(), serde_json::value::to_raw_value(&tags).map_err(unwritable)?);
            Ok(Bytes::from(serde_json::to_vec(&content).map_err(unwritable)?))
        })
        .await
    }
}

fn content_of(old: Option<&Bytes>) -> Object {
    old.and_then(|old| serde_json::from_slice(old).ok()).unwrap_or_default()
}

fn tags_in(content: &Object) -> Object {
    content.get(TAGS).and_then(|tags| serde_json::from_str(tags.get()).ok()).unwrap_or_default()
}
