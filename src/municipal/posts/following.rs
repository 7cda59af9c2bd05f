//! Addresses take invites, invite whom they reach, and put out whom they had brought and reach no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use audit::{Action, Actor, Deed};
use futures_util::future::join_all;
use organisation::{Organisation, calendar::day_of};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use store::{Batch, CommitError, Order, Range};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{
    error::{Error, PortError},
    limits::{LOOK, LOOKS_BETWEEN_ALL, MOST_CHANGES, MOST_JOINS, MOST_ROOMS, PATIENCE},
    posts::{Posts, Print, Seen, put_off},
    rooms::{IsIn, Outcome},
    tables::{ADDRESSES, BROUGHT, BroughtRow},
    wanted::{Reaches, Wanted, wanted},
};

/// People of one address in one room: more than an address reaches, with those who were reached before.
const MOST_BROUGHT: usize = 10_000;

/// Addresses of an authority: as many as its organisation can have said.
const MOST_ADDRESSES: usize = 100_000;

impl Posts {
    /// Has addresses see to their rooms, until the tasks are stopped. `applied` is told when an organisation has changed.
    pub fn start(&self, applied: Arc<Notify>) {
        let posts = self.clone();
        let stop = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("addresses of posts", move || {
            let (posts, stop, applied) = (posts.clone(), stop.clone(), applied.clone());
            async move {
                // The loop never ends by itself.
                stop.run_until_cancelled(posts.keep_looking(&applied)).await;
            }
        });
    }

    async fn keep_looking(&self, applied: &Notify) {
        let mut looks = 0_u32;
        loop {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS_BETWEEN_ALL) {
                self.forget().await;
            }
            for authority in &self.inner.authorities {
                if let Err(error) = self.follow(authority).await {
                    warn!(%authority, %error, "addresses of posts are seen to later");
                }
            }
            tokio::select! {
                () = applied.notified() => {}
                () = self.inner.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Has all rooms be looked at once more.
    pub async fn forget(&self) {
        self.inner.seen.lock().await.values_mut().for_each(|seen| seen.settled.clear());
    }

    /// Sees to the addresses of an authority once, as far as one look does.
    ///
    /// # Errors
    /// [`Error`]; what was done stays.
    pub async fn follow(&self, authority: &ServerName) -> Result<(), Error> {
        let mut all = self.inner.seen.lock().await;
        let print = Print {
            // Before the organisation is read: what comes in between is read the next time.
            organisation: self.inner.organisations.progress(authority).await?,
            day: day_of(self.inner.clock.now()).ok_or(Error::NoDay)?,
        };
        if all.get(authority).is_none_or(|seen| seen.print != print) {
            let mut wanted = self.wanted(authority, print).await?;
            let users = self.users(authority, &mut wanted).await?;
            all.insert(authority.to_owned(), Seen::of(print, wanted, users));
        }
        let Some(seen) = all.get_mut(authority) else { return Ok(()) };
        self.take_invites(seen).await?;
        self.settle_rooms(authority, seen).await
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
        wanted.extend(gone.into_iter().map(|address| Wanted { address, reaches: None }));
        let mut users = BTreeMap::new();
        for one in wanted.iter() {
            if one.reaches.is_some() && !had.contains(&one.address) {
                // Before there is a user, so that none is ever forgotten.
                let mut batch = Batch::new();
                batch.put(&ADDRESSES, &(name, one.address.as_str()), &());
                store.commit(batch).await?;
            }
            if let Some(user) = self.account(authority, one).await? {
                users.insert(one.address.clone(), user);
            }
        }
        Ok(users)
    }

    /// The user of an address. One that was never of use has none.
    async fn account(&self, authority: &ServerName, one: &Wanted) -> Result<Option<OwnedUserId>, Error> {
        let shown = match &one.reaches {
            Some(reaches) => reaches.shown.as_str(),
            None => "",
        };
        let user = self.inner.rooms.account(authority, &one.address, shown).await?;
        if user.is_none() && one.reaches.is_some() {
            warn!(%authority, address = one.address, "somebody has the user name of an address, which reaches nobody");
        }
        Ok(user)
    }

    /// Takes the invites of addresses that are of use, and refuses all others: some at once, one of each address first, so that
    /// nobody who invites one into many rooms, or has it wait for his server, holds up the others for long.
    async fn take_invites(&self, seen: &mut Seen) -> Result<(), Error> {
        let now = self.inner.clock.now();
        seen.turn = seen.turn.wrapping_add(1);
        let (count, mut waiting) = (seen.wanted.len(), Vec::new());
        for place in 0..count {
            let Some(one) = seen.wanted.get((place + seen.turn) % count) else { continue };
            let Some(user) = seen.users.get(&one.address) else { continue };
            let rooms = self.inner.rooms.rooms_of(user).await?;
            let joined = rooms.iter().filter(|(_, is)| *is == IsIn::Joined).count();
            let takes = one.reaches.is_some() && joined < MOST_ROOMS;
            let is_due = |room: &OwnedRoomId| {
                seen.later.get(&(user.clone(), room.clone())).is_none_or(|at| *at <= now)
            };
            let invites = rooms.into_iter().filter(|(room, is)| *is == IsIn::Waits && is_due(room));
            waiting.extend(invites.enumerate().map(|(nth, (room, _))| (nth, user.clone(), room, takes)));
        }
        waiting.sort_by_key(|(nth, ..)| *nth);
        waiting.truncate(MOST_JOINS);
        let tries = waiting.into_iter().map(async |(_, user, room, takes)| {
            let done = self.inner.clock.timeout(PATIENCE, self.take(&user, &room, takes)).await;
            (user, room, done)
        });
        for (user, room, done) in join_all(tries).await {
            match done {
                Ok(Ok(())) => info!(%user, %room, "an address has answered an invite"),
                Ok(Err(error)) => {
                    warn!(%user, %room, %error, "an invite of an address is answered later");
                    put_off(&mut seen.later, (user, room), now);
                }
                // What has begun goes on; whether it was done is seen by then.
                Err(_) => put_off(&mut seen.later, (user, room), now),
            }
        }
        Ok(())
    }

    async fn take(&self, user: &UserId, room: &RoomId, takes: bool) -> Result<(), PortError> {
        let rooms = &self.inner.rooms;
        // An invite that is none any more waits no longer.
        if !takes || rooms.join(user, room).await? == Outcome::Refused {
            rooms.leave(user, room).await?;
        }
        Ok(())
    }

    /// Sees to the rooms in which addresses are.
    async fn settle_rooms(&self, authority: &ServerName, seen: &mut Seen) -> Result<(), Error> {
        let (now, mut left) = (self.inner.clock.now(), MOST_CHANGES);
        let Seen { wanted, users, settled, later, .. } = seen;
        for one in wanted.iter() {
            let Some(user) = users.get(&one.address) else { continue };
            let rooms = self.inner.rooms.rooms_of(user).await?;
            for (room, _) in rooms.into_iter().filter(|(_, is)| *is == IsIn::Joined) {
                let key = (user.clone(), room);
                let is_due = later.get(&key).is_none_or(|at| *at <= now);
                if left == 0 || !is_due || settled.contains(&key) {
                    continue;
                }
                match self.settle(authority, user, (&key.1, one.reaches.as_ref()), &mut left).await {
                    Ok(true) => drop(settled.insert(key)),
                    Ok(false) => {}
                    // One room holds up no other.
                    Err(error) => {
                        warn!(%user, room = %key.1, %error, "a room of an address is seen to later");
                        put_off(later, key, now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Invites into a room who is reached and was not brought before, and puts out who was brought and is reached no more.
    /// Whether nothing is left to do there.
    async fn settle(
        &self,
        authority: &ServerName,
        user: &UserId,
        (room, reaches): (&RoomId, Option<&Reaches>),
        left: &mut usize,
    ) -> Result<bool, Error> {
        let (rooms, store) = (&self.inner.rooms, &self.inner.store);
        let key = |whom: &UserId| (user.to_string(), room.to_string(), whom.to_string());
        let range = Range::prefix(&(user.as_str(), room.as_str()));
        let rows = store.scan(&BROUGHT, range, Order::Ascending, MOST_BROUGHT).await?;
        let brought: BTreeMap<OwnedUserId, BroughtRow> =
            rows.into_iter().filter_map(|((.., whom), row)| Some((whom.try_into().ok()?, row))).collect();
        let reached: Vec<&UserId> =
            reaches.iter().flat_map(|reaches| &reaches.people).map(|user| &**user).collect();
        let open = rooms.open(&reached).await?;
        let members = rooms.members(room, authority).await?;
        let (mut invited, mut out, mut batch, mut is_done) = (Vec::new(), Vec::new(), Batch::new(), true);
        let comes: Vec<&OwnedUserId> = open
            .iter()
            .filter(|whom| !members.contains_key(*whom) && brought.get(*whom).is_none_or(|row| !row.invited))
            .collect();
        for whom in comes {
            if *left == 0 {
                is_done = false;
                break;
            }
            *left -= 1;
            // Before he is invited: whom a crash finds noted so and not there is invited then.
            let mut first = Batch::new();
            first.put(&BROUGHT, &key(whom), &BroughtRow { invited: false });
            store.commit(first).await?;
            if rooms.invite(user, room, whom).await? == Outcome::Done {
                invited.push(whom.to_string());
            }
            // Whom the room does not let in, or who takes no invites, is not asked again.
            batch.put(&BROUGHT, &key(whom), &BroughtRow { invited: true });
        }
        let goes: Vec<&OwnedUserId> = brought.keys().filter(|whom| !reached.contains(&&***whom)).collect();
        for whom in goes {
            if *left == 0 {
                is_done = false;
                break;
            }
            *left -= 1;
            let is_there = matches!(members.get(whom), Some(IsIn::Joined | IsIn::Waits));
            if is_there && rooms.put_out(user, room, whom).await? == Outcome::Done {
                out.push(whom.to_string());
            }
            // Where the address may put out nobody, whoever moderates the room does.
            batch.delete(&BROUGHT, &key(whom));
        }
        if !invited.is_empty() || !out.is_empty() {
            let deed =
                Deed::new(Action::ReachByAddress, &Actor::server(), user.as_str(), self.inner.clock.now());
            let deed =
                deed.after("room", room).after("invited", invited.join(" ")).after("put_out", out.join(" "));
            deed.write(&mut batch, authority);
        }
        if !batch.is_empty() {
            match store.commit(batch).await {
                Ok(_) => {}
                // Another process is at it too: what is left is found by the next look.
                Err(CommitError::Conflict { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        if is_done && reaches.is_none() {
            rooms.leave(user, room).await?;
        }
        Ok(is_done)
    }
}
