//! Profiles: what a user shows of themselves.
//!
//! Display name and avatar are also part of the user's member events. A change of them commits the
//! profile together with a note that the rooms have to follow, and answers; `chores` then sends the
//! member events, and does so after a crash too.

use std::collections::BTreeMap;

use base::Attempts;
use bytes::Bytes;
use ruma::{OwnedMxcUri, UserId};
use serde_json::value::RawValue;
use store::{Batch, CommitError, Range, Store, Topic};

use crate::{
    Accounts, Error,
    chores::Chore,
    log::{Change, log_change},
    tables::{self, UserRow},
};

/// The field with the display name.
pub(crate) const DISPLAY_NAME: &str = "displayname";
/// The field with the avatar.
pub(crate) const AVATAR_URL: &str = "avatar_url";
/// Largest profile: the sum of all names and values, in bytes.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#profiles>
const MAX_PROFILE_BYTES: usize = 64 * 1024;
/// Longest name of a field, in bytes.
const MAX_FIELD_NAME_BYTES: usize = 255;
/// Longest display name that is taken, in bytes, so that member events stay small.
pub(crate) const MAX_DISPLAY_NAME_BYTES: usize = 1024;

/// A user's profile: the JSON of each field.
#[derive(Clone, Debug, Default)]
pub struct Profile(pub BTreeMap<String, Box<RawValue>>);

impl Profile {
    /// The display name, if there is one.
    pub fn display_name(&self) -> Option<String> {
        self.text(DISPLAY_NAME)
    }

    /// The avatar, if there is one.
    pub fn avatar_url(&self) -> Option<OwnedMxcUri> {
        self.text(AVATAR_URL).map(OwnedMxcUri::from)
    }

    pub(crate) fn text(&self, field: &str) -> Option<String> {
        let value = self.0.get(field)?;
        serde_json::from_str::<String>(value.get()).ok().filter(|text| !text.is_empty())
    }
}

impl Accounts {
    /// The profile of a user of ours.
    ///
    /// # Errors
    /// [`Error::NotFound`] when we have no such user or the account is closed, [`Error::Store`].
    pub async fn profile(&self, user: &UserId) -> Result<Profile, Error> {
        self.get_shown_user(user).await?;
        self.read_profile(user).await
    }

    async fn get_shown_user(&self, user: &UserId) -> Result<UserRow, Error> {
        let row = self.get_user_row(user).await?;
        if row.deactivated { Err(Error::NotFound("no such user")) } else { Ok(row) }
    }

    /// One field of the profile of a user of ours.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the user or the field does not exist, [`Error::Store`].
    pub async fn profile_field(&self, user: &UserId, field: &str) -> Result<Box<RawValue>, Error> {
        let mut profile = self.profile(user).await?;
        profile.0.remove(field).ok_or(Error::NotFound("the profile has no such field"))
    }

    /// Sets a field of a user's profile to a JSON value.
    ///
    /// # Errors
    /// [`Error::ProfileTooLarge`], [`Error::KeyTooLarge`], [`Error::InvalidParam`] when the value does not fit the field, or
    /// its name the grammar of such names,
    /// [`Error::Forbidden`] for what the organisation decides, [`Error::NotFound`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname>
    pub async fn set_profile_field(&self, user: &UserId, field: &str, value: &RawValue) -> Result<(), Error> {
        check_field(field, value)?;
        self.change_profile(user, field, Some(value.to_owned())).await
    }

    /// Removes a field from a user's profile; one that is not there is as good as removed.
    ///
    /// # Errors
    /// [`Error::NotFound`] when we have no such user, [`Error::Forbidden`] for what the organisation decides, [`Error::Store`].
    pub async fn remove_profile_field(&self, user: &UserId, field: &str) -> Result<(), Error> {
        self.change_profile(user, field, None).await
    }

    /// How a user of ours appears in rooms.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn member_profile(&self, user: &UserId) -> Result<engine::Profile, Error> {
        Ok(self.member_profiles(&[user]).await?.pop().unwrap_or_default())
    }

    /// How users of ours appear in rooms, in the order of `users`; a user we do not have has no name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn member_profiles(&self, users: &[&UserId]) -> Result<Vec<engine::Profile>, Error> {
        let keys: Vec<(&str, &str)> = users
            .iter()
            .flat_map(|user| [(user.as_str(), DISPLAY_NAME), (user.as_str(), AVATAR_URL)])
            .collect();
        let fields = self.inner.store.get_many(&tables::PROFILES, &keys).await?;
        let (pairs, _) = fields.as_chunks::<2>();
        Ok(pairs
            .iter()
            .map(|[name, avatar]| room::Profile {
                displayname: text(name.as_ref()),
                avatar_url: text(avatar.as_ref()),
            })
            .collect())
    }

    pub(crate) async fn read_profile(&self, user: &UserId) -> Result<Profile, Error> {
        let range = Range::prefix(user.as_str());
        let rows =
            self.inner.store.scan(&tables::PROFILES, range, store::Order::Ascending, usize::MAX).await?;
        let mut profile = Profile::default();
        for ((_, field), value) in rows {
            if let Ok(value) = serde_json::from_slice(&value) {
                profile.0.insert(field, value);
            }
        }
        Ok(profile)
    }

    async fn change_profile(
        &self,
        user: &UserId,
        field: &str,
        value: Option<Box<RawValue>>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let row = self.get_shown_user(user).await?;
            let mut profile = self.read_profile(user).await?;
            // Clients set again what is there; nothing is to be refused of that.
            let is_so = profile.0.get(field).map(|was| was.get()) == value.as_ref().map(|value| value.get());
            if is_so && self.is_given(user).await? {
                return Ok(());
            }
            let mut batch = Batch::new();
            self.refuse_given(&mut batch, user, field, value.is_some()).await?;
            // An account that is closed meanwhile must not get a profile again.
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            let chore = self.put_field(&mut batch, user, &mut profile, field, value.clone())?;
            match self.commit(batch).await {
                Err(Error::Contended) => {
                    self.again(&mut attempts).await?;
                    continue;
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            if let Some(chore) = chore {
                self.start_chore(user, chore);
            }
            return Ok(());
        }
    }

    /// Adds a field of a profile to a batch, and what follows from it, to be started once that is committed. The profile is as
    /// it was read, and as it will be.
    ///
    /// # Errors
    /// [`Error::ProfileTooLarge`].
    pub(crate) fn put_field(
        &self,
        batch: &mut Batch,
        user: &UserId,
        profile: &mut Profile,
        field: &str,
        value: Option<Box<RawValue>>,
    ) -> Result<Option<Chore>, Error> {
        let stored = |value: &RawValue| Bytes::copy_from_slice(value.get().as_bytes());
        let was = profile.0.remove(field).map(|was| stored(&was));
        let others: usize = profile.0.iter().map(|(name, value)| name.len() + value.get().len()).sum();
        let ours = value.as_ref().map_or(0, |value| field.len() + value.get().len());
        if others + ours > MAX_PROFILE_BYTES {
            return Err(Error::ProfileTooLarge);
        }
        let key = (user.as_str(), field);
        let is = value.as_deref().map(stored);
        match &is {
            Some(value) => batch.put(&tables::PROFILES, &key, value),
            None => batch.delete(&tables::PROFILES, &key),
        }
        if field == DISPLAY_NAME {
            batch.require(&tables::PROFILES, &key, was.as_ref());
            room::note_account(batch, user, Some(&shown_as(was.as_ref())), Some(&shown_as(is.as_ref())));
        }
        if let Some(value) = value {
            profile.0.insert(field.to_owned(), value);
        }
        let change = Change::Profile { user_id: user.to_owned(), field: field.to_owned() };
        log_change(batch, &change, [Topic::profile(user.as_str())]);
        let chore = match field {
            DISPLAY_NAME => Some(Chore::SpreadName),
            AVATAR_URL => Some(Chore::SpreadPicture),
            _ => None,
        };
        if let Some(chore) = chore {
            self.put_chore(batch, user, chore);
        }
        Ok(chore)
    }
}

/// A text as a field of a profile has it; nothing for none.
///
/// # Errors
/// [`Error::InvalidParam`] when it does not fit the field.
pub(crate) fn text_field(field: &str, text: Option<&str>) -> Result<Option<Box<RawValue>>, Error> {
    let value = text.map(serde_json::value::to_raw_value).transpose();
    let value = value.map_err(|_| Error::InvalidParam(format!("{field} is a string")))?;
    if let Some(value) = &value {
        check_field(field, value)?;
    }
    Ok(value)
}

/// What a stored field says, if it is a text.
fn text(field: Option<&Bytes>) -> Option<String> {
    let text = serde_json::from_slice::<String>(field?).ok()?;
    (!text.is_empty()).then_some(text)
}

/// By what somebody is found whose display name is stored so.
pub(crate) fn shown_as(name: Option<&Bytes>) -> room::Profile {
    room::Profile { displayname: text(name), avatar_url: None }
}

/// Notes by what the users of open accounts are found, in data that were written before that was done: a step of the
/// data's schema.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn list_names(store: &Store) -> Result<(), store::Error> {
    const ROWS: usize = 100;
    let mut range = Range::all();
    loop {
        let rows = store.scan(&tables::USERS, range.clone(), store::Order::Ascending, ROWS).await?;
        let Some((last, _)) = rows.last().cloned() else { return Ok(()) };
        let keys: Vec<(&str, &str)> = rows.iter().map(|(user, _)| (user.as_str(), DISPLAY_NAME)).collect();
        let names = store.get_many(&tables::PROFILES, &keys).await?;
        let mut batch = Batch::new();
        for (((id, row), key), name) in rows.iter().zip(&keys).zip(&names) {
            let Some(user) = <&UserId>::try_from(id.as_str()).ok().filter(|_| !row.deactivated) else {
                continue;
            };
            // Another process may be done with this already, and serve: what it has changed since stands.
            batch.require(&tables::USERS, id.as_str(), Some(row));
            batch.require(&tables::PROFILES, key, name.as_ref());
            room::note_account(&mut batch, user, None, Some(&shown_as(name.as_ref())));
        }
        match store.commit(batch).await {
            Ok(_) => range = Range::all().after(last.as_str()),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into_error()),
        }
    }
}

fn check_field(field: &str, value: &RawValue) -> Result<(), Error> {
    if field.len() > MAX_FIELD_NAME_BYTES {
        return Err(Error::KeyTooLarge);
    }
    // The Common Namespaced Identifier Grammar. What was set before it was demanded is shown and can be removed.
    let is_of_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if !field.starts_with(|first: char| first.is_ascii_lowercase()) || !field.bytes().all(is_of_name) {
        return Err(Error::InvalidParam(
            "the name of a profile field begins with one of a to z, and has those, digits, `-`, `_` and `.`"
                .to_owned(),
        ));
    }
    if !matches!(field, DISPLAY_NAME | AVATAR_URL) {
        return Ok(());
    }
    // Null unsets, as clients have long done.
    let text = serde_json::from_str::<Option<String>>(value.get())
        .map_err(|_not_text| Error::InvalidParam(format!("{field} is a string")))?;
    if text.is_some_and(|text| text.len() > MAX_DISPLAY_NAME_BYTES) {
        return Err(Error::InvalidParam(format!("{field} has at most 1,024 bytes")));
    }
    Ok(())
}
