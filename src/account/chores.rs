//! Chores: what remains to be done in a user's rooms after an account changed.
//!
//! A chore is noted in the same batch as the change that calls for it, and the note is removed when
//! the chore is done. So it survives a crash: [`Accounts::open`] takes up what it finds. At most one
//! task works for a user at a time, and starts again when something was added meanwhile. A room that
//! refuses is done with; where the store was in the way, the note stays and the chore is tried again.

use std::{collections::HashMap, time::Duration};

use base::Backoff;
use engine::ProfileChange;
use room::tables::Membership;
use ruma::{OwnedUserId, UserId};
use store::{Batch, Range};

use crate::{Accounts, Error, tables};

/// The first and the longest pause before a chore is tried again that the store was in the way of.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LATER: Duration = Duration::from_secs(5 * 60);

/// What is to be done in the rooms of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Chore {
    /// Bring the member events up to date with name and picture: noted by former versions.
    SpreadProfile,
    /// Take back what was to be said later and leave all rooms, as the account is closed.
    LeaveRooms,
    /// Bring the member events up to date with the display name.
    SpreadName,
    /// Bring the member events up to date with the picture.
    SpreadPicture,
    /// Take back what was to be said later, as the account is locked or suspended.
    Silence,
    /// Bring the member events up to date with the display name that the organisation has given. Whoever has
    /// [`Accounts::spread_given_names`] do that does it for many, at his pace; nothing begins it by itself.
    SpreadGivenName,
}

/// A part of the profile that rooms show.
#[derive(Clone, Copy, Debug)]
enum Field {
    Name,
    Picture,
}

impl Chore {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::SpreadProfile => 1,
            Self::LeaveRooms => 2,
            Self::SpreadName => 3,
            Self::SpreadPicture => 4,
            Self::Silence => 5,
            Self::SpreadGivenName => 6,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::SpreadProfile),
            2 => Some(Self::LeaveRooms),
            3 => Some(Self::SpreadName),
            4 => Some(Self::SpreadPicture),
            5 => Some(Self::Silence),
            6 => Some(Self::SpreadGivenName),
            _ => None,
        }
    }
}

/// Users for whom a task is at work, and whether it has to go round once more.
pub(crate) type Working = parking_lot::Mutex<HashMap<(OwnedUserId, Chore), bool>>;

impl Accounts {
    /// Notes a chore in a batch. Each note is new, so that one that came while a task was at work
    /// is not removed as done.
    pub(crate) fn put_chore(&self, batch: &mut Batch, user: &UserId, chore: Chore) {
        batch.put(&tables::CHORES, &(user.as_str(), chore.number()), &self.inner.random.u64());
    }

    /// Starts to work on a chore, or tells the task that is at work to go round once more.
    pub(crate) fn start_chore(&self, user: &UserId, chore: Chore) {
        let key = (user.to_owned(), chore);
        {
            let mut working = self.inner.working.lock();
            if let Some(again) = working.get_mut(&key) {
                *again = true;
                return;
            }
            working.insert(key.clone(), false);
        }
        let accounts = self.clone();
        let stopping = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn("account.chore", async move {
            let mut backoff = Backoff::new(AGAIN_FIRST, AGAIN_LATER);
            loop {
                if let Err(error) = accounts.do_chore(&key.0, chore).await {
                    if backoff.failures() == 0 {
                        tracing::warn!(user_id = %key.0, ?chore, error = %error, "a chore could not be done, will try again");
                    }
                    let pause = backoff.next(&accounts.inner.random);
                    tokio::select! {
                        () = accounts.inner.clock.sleep(pause) => continue,
                        // The note is there for the next start.
                        () = stopping.cancelled() => return,
                    }
                }
                backoff.reset();
                let mut working = accounts.inner.working.lock();
                match working.get_mut(&key) {
                    Some(again) if *again => *again = false,
                    _ => {
                        working.remove(&key);
                        return;
                    }
                }
            }
        });
    }

    /// Takes up the chores that were left at the last stop.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn resume_chores(&self) -> Result<(), Error> {
        let store = &self.inner.store;
        for ((user, number), _) in
            store.scan(&tables::CHORES, Range::all(), store::Order::Ascending, usize::MAX).await?
        {
            let chore = Chore::from_number(number).filter(|chore| *chore != Chore::SpreadGivenName);
            if let (Ok(user), Some(chore)) = (OwnedUserId::try_from(user), chore) {
                self.start_chore(&user, chore);
            }
        }
        Ok(())
    }

    async fn do_chore(&self, user: &UserId, chore: Chore) -> Result<(), Error> {
        let key = (user.as_str(), chore.number());
        // Before the work: a note that is written during it must survive it.
        let Some(note) = self.inner.store.get(&tables::CHORES, &key).await? else {
            return Ok(());
        };
        match chore {
            Chore::SpreadProfile => self.spread_profile(user, &[Field::Name, Field::Picture]).await?,
            Chore::SpreadName | Chore::SpreadGivenName => self.spread_profile(user, &[Field::Name]).await?,
            Chore::SpreadPicture => self.spread_profile(user, &[Field::Picture]).await?,
            Chore::Silence => self.inner.engine.silence_delayed(user).await?,
            Chore::LeaveRooms => {
                // Before he leaves: whoever has gone says nothing more.
                self.inner.engine.cancel_all_delayed(user).await?;
                self.leave_rooms(user).await?;
            }
        }
        self.end_chore(user, chore, note).await
    }

    /// Removes the note of a chore that is done; a newer one stays.
    pub(crate) async fn end_chore(&self, user: &UserId, chore: Chore, note: u64) -> Result<(), Error> {
        let key = (user.as_str(), chore.number());
        let mut batch = Batch::new();
        batch.require(&tables::CHORES, &key, Some(&note));
        batch.delete(&tables::CHORES, &key);
        match self.commit(batch).await {
            // A newer note: the task goes round once more.
            Ok(()) | Err(Error::Contended) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Brings the user's member event up to date in every room that the user is joined to. One room
    /// that refuses does not keep the others from following. The error says that some may follow later.
    async fn spread_profile(&self, user: &UserId, fields: &[Field]) -> Result<(), Error> {
        let engine::Profile { displayname, avatar_url } = self.member_profile(user).await?;
        let change = |field: &Field| match field {
            Field::Name => ProfileChange::DisplayName(displayname.clone()),
            Field::Picture => ProfileChange::AvatarUrl(avatar_url.clone()),
        };
        let mut outcome = Ok(());
        for room in self.inner.rooms.joined_rooms(user).await? {
            for change in fields.iter().map(change) {
                match self.inner.engine.update_profile(user, &room, &change).await {
                    Ok(()) => {}
                    Err(error) if error.is_passing() => outcome = Err(error.into()),
                    Err(error) => {
                        tracing::info!(user_id = %user, room_id = %room, error = %error, "the room does not show the new profile");
                    }
                }
            }
        }
        outcome
    }

    /// Leaves every room that the user is joined, invited or knocking to. The error says that some are to
    /// be left later.
    async fn leave_rooms(&self, user: &UserId) -> Result<(), Error> {
        let rooms = self.inner.rooms.memberships(user).await?;
        let leaving = rooms.rooms.iter().filter(|room| {
            matches!(room.membership, Membership::Join | Membership::Invite | Membership::Knock)
        });
        let mut outcome = Ok(());
        for room in leaving {
            match self.inner.engine.leave(user, &room.room_id, None).await {
                Ok(()) => {}
                Err(error) if error.is_passing() => outcome = Err(error.into()),
                Err(error) => {
                    tracing::info!(user_id = %user, room_id = %room.room_id, error = %error, "could not leave");
                }
            }
        }
        outcome
    }
}
