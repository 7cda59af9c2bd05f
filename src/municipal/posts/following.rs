//! Addresses follow their organisation, and look what came to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use organisation::{Organisation, calendar::day_of};
use ruma::{OwnedUserId, ServerName};
use store::{Batch, Order, Range};
use tokio::sync::Notify;
use tracing::warn;

use crate::{
    error::Error,
    limits::{LOOK, LOOKS_BETWEEN_ALL},
    posts::{Posts, Print, Seen},
    rooms::Place,
    tables::ADDRESSES,
    wanted::{Wanted, wanted},
};

/// Addresses of an authority: as many as its organisation can have said.
const MOST_ADDRESSES: usize = 100_000;

/// As what an address is shown that is of no use today.
const NOT_OF_USE: &str = "使われていない宛先 / An address that is not in use";

/// The rooms of an address.
pub(crate) struct Places {
    /// Which one it is of those that are wanted.
    pub(crate) wanted: usize,
    pub(crate) user: OwnedUserId,
    pub(crate) rooms: Vec<Place>,
}

impl Posts {
    /// Has addresses see to their rooms, until the tasks are stopped; those of one authority hold up no other's. `applied` is told
    /// when an organisation has changed.
    pub fn start(&self, applied: Arc<Notify>) {
        for authority in &self.inner.authorities {
            let (posts, authority, applied) = (self.clone(), authority.clone(), applied.clone());
            let stop = self.inner.tasks.shutdown_token();
            self.inner.tasks.spawn_restarting("addresses of posts", move || {
                let (posts, authority) = (posts.clone(), authority.clone());
                let (stop, applied) = (stop.clone(), applied.clone());
                async move {
                    // The loop never ends by itself.
                    stop.run_until_cancelled(posts.keep_looking(&authority, &applied)).await;
                }
            });
        }
    }

    async fn keep_looking(&self, authority: &ServerName, applied: &Notify) {
        let mut looks = 0_u32;
        loop {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS_BETWEEN_ALL) {
                self.forget(authority).await;
            }
            if let Err(error) = self.follow(authority).await {
                warn!(%authority, %error, "addresses of posts are seen to later");
            }
            tokio::select! {
                () = applied.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Has all rooms be looked at once more.
    pub async fn forget(&self, authority: &ServerName) {
        let Some(seen) = self.inner.seen.get(authority) else { return };
        if let Some(seen) = &mut *seen.lock().await {
            seen.settled.clear();
        }
    }

    /// Sees to the addresses of an authority once, as far as one look does.
    ///
    /// # Errors
    /// [`Error`]; what was done stays.
    pub async fn follow(&self, authority: &ServerName) -> Result<(), Error> {
        let Some(seen) = self.inner.seen.get(authority) else { return Ok(()) };
        let mut seen = seen.lock().await;
        let print = Print {
            // Before the organisation is read: what comes in between is read the next time.
            organisation: self.inner.organisations.progress(authority).await?,
            day: day_of(self.inner.clock.now()).ok_or(Error::NoDay)?,
        };
        if seen.as_ref().is_none_or(|seen| seen.print != print) {
            let mut wanted = self.wanted(authority, print).await?;
            let users = self.users(authority, &mut wanted).await?;
            *seen = Some(Seen::of(print, wanted, users));
        }
        let Some(seen) = &mut *seen else { return Ok(()) };
        seen.turn = seen.turn.wrapping_add(1);
        let places = self.places(seen).await?;
        self.take_invites(seen, &places).await?;
        self.settle_rooms(authority, seen, &places).await
    }

    /// The rooms of all addresses, in the order of those, each look beginning with another one.
    async fn places(&self, seen: &Seen) -> Result<Vec<Places>, Error> {
        let (count, mut all) = (seen.wanted.len(), Vec::new());
        for place in 0..count {
            let place = (place + seen.turn % count) % count;
            let user = seen.wanted.get(place).and_then(|one| seen.users.get(&one.address));
            if let Some(user) = user {
                all.push(Places {
                    wanted: place,
                    user: user.clone(),
                    rooms: self.inner.rooms.rooms_of(user).await?,
                });
            }
        }
        Ok(all)
    }

    async fn wanted(&self, authority: &ServerName, print: Print) -> Result<Vec<Wanted>, Error> {
        let organisation = match print.organisation {
            0 => Organisation::default(),
            _ => self.inner.organisations.load(authority).await?.organisation,
        };
        let authority = authority.to_owned();
        let work = move || wanted(&organisation, &authority, print.day);
        Ok(self.inner.tasks.spawn_blocking("addresses of posts", work).await?)
    }

    /// The users of addresses. Those that had one once are seen to as well, though nothing is said of them any more: what they
    /// have brought is theirs to put out.
    async fn users(
        &self,
        authority: &ServerName,
        wanted: &mut Vec<Wanted>,
    ) -> Result<BTreeMap<String, OwnedUserId>, Error> {
        let (name, store) = (authority.as_str(), &self.inner.store);
        let rows = store.scan(&ADDRESSES, Range::prefix(name), Order::Ascending, MOST_ADDRESSES).await?;
        let had: BTreeSet<String> = rows.into_iter().map(|((_, address), ())| address).collect();
        let said: BTreeSet<&str> = wanted.iter().map(|one| one.address.as_str()).collect();
        let gone: Vec<_> = had.iter().filter(|address| !said.contains(&***address)).cloned().collect();
        let said = wanted.len();
        wanted.extend(gone.into_iter().map(|address| Wanted { address, reaches: None }));
        let mut users = BTreeMap::new();
        for (place, one) in wanted.iter().enumerate() {
            let is_said = place < said;
            if is_said && !had.contains(&one.address) {
                // Before there is a user, so that none is ever forgotten.
                let mut batch = Batch::new();
                batch.put(&ADDRESSES, &(name, one.address.as_str()), &());
                store.commit(batch).await?;
            }
            if let Some(user) = self.account(authority, one, is_said).await? {
                users.insert(one.address.clone(), user);
            }
        }
        Ok(users)
    }

    /// The user of an address. He is there before the day on which it is of use, so that nobody takes the name meanwhile.
    async fn account(
        &self,
        authority: &ServerName,
        one: &Wanted,
        is_said: bool,
    ) -> Result<Option<OwnedUserId>, Error> {
        let shown = match &one.reaches {
            Some(reaches) => reaches.shown.as_str(),
            None if is_said => NOT_OF_USE,
            None => "",
        };
        let user = self.inner.rooms.account(authority, &one.address, shown).await?;
        if user.is_none() && is_said {
            warn!(%authority, address = one.address, "somebody has the user name of an address, which reaches nobody");
        }
        Ok(user)
    }
}
