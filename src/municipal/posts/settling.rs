//! Rooms in which addresses are: who is reached is invited, who was brought and is reached no more is put out.

use std::collections::{BTreeMap, BTreeSet};

use audit::{Action, Actor, Deed};
use ruma::{OwnedUserId, RoomId, ServerName, UserId};
use store::{Batch, CommitError, Order, Range};
use tracing::warn;

use crate::{
    error::Error,
    following::Places,
    inviting::forgotten,
    limits::MOST_CHANGES,
    posts::{Posts, Seen, put_off},
    rooms::{IsIn, Outcome},
    tables::{BROUGHT, BroughtRow, ROOMS},
    wanted::{Reaches, Wanted},
};

/// People of one address in one room: more than an address reaches, with those who were reached before.
const MOST_BROUGHT: usize = 10_000;

/// An address in a room.
struct Here<'a> {
    authority: &'a ServerName,
    user: &'a UserId,
    room: &'a RoomId,
    reaches: Option<&'a Reaches>,
    /// Whom other addresses reach that are in the room as well, each with one of those.
    others: BTreeMap<&'a UserId, &'a UserId>,
}

impl Posts {
    /// Sees to the rooms in which addresses are.
    pub(crate) async fn settle_rooms(
        &self,
        authority: &ServerName,
        seen: &mut Seen,
        places: &[Places],
    ) -> Result<(), Error> {
        let (now, mut left) = (self.inner.clock.now(), MOST_CHANGES);
        let Seen { wanted, settled, later, .. } = seen;
        let reaches = |place: usize| wanted.get(place).and_then(|one: &Wanted| one.reaches.as_ref());
        let mut in_rooms: BTreeMap<&RoomId, Vec<&Places>> = BTreeMap::new();
        for one in places {
            for place in one.rooms.iter().filter(|place| place.is == IsIn::Joined) {
                in_rooms.entry(&place.room).or_default().push(one);
            }
        }
        for one in places {
            for place in one.rooms.iter().filter(|place| place.is == IsIn::Joined) {
                let key = (one.user.clone(), place.room.clone());
                let is_due = later.get(&key).is_none_or(|(at, _)| *at <= now);
                if left == 0 || !is_due || settled.contains(&key) {
                    continue;
                }
                let others = in_rooms.get(&*place.room).into_iter().flatten();
                let others = others.filter(|other| other.wanted != one.wanted).flat_map(|other| {
                    let people = reaches(other.wanted).into_iter().flat_map(|reaches| &reaches.people);
                    people.map(|whom| (&**whom, &*other.user))
                });
                let here = Here {
                    authority,
                    user: &one.user,
                    room: &place.room,
                    reaches: reaches(one.wanted),
                    others: others.collect(),
                };
                match self.settle(&here, &mut left).await {
                    Ok(true) => {
                        later.remove(&key);
                        settled.insert(key);
                    }
                    Ok(false) => {}
                    // One room holds up no other.
                    Err(error) => {
                        warn!(user = %here.user, room = %here.room, %error, "a room of an address is seen to later");
                        put_off(later, key, now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts out who was brought and is reached no more, and invites who is reached and was not brought before. Where nobody
    /// whom it reaches is or waits then, the address goes as well. Whether nothing is left to do.
    async fn settle(&self, here: &Here<'_>, left: &mut usize) -> Result<bool, Error> {
        let (rooms, store) = (&self.inner.rooms, &self.inner.store);
        let Here { authority, user, room, reaches, others } = here;
        let key = |whom: &UserId| (user.to_string(), room.to_string(), whom.to_string());
        let range = Range::prefix(&(user.as_str(), room.as_str()));
        let rows = store.scan(&BROUGHT, range, Order::Ascending, MOST_BROUGHT).await?;
        let brought: BTreeMap<OwnedUserId, BroughtRow> =
            rows.into_iter().filter_map(|((.., whom), row)| Some((whom.try_into().ok()?, row))).collect();
        let by = store.get(&ROOMS, &(user.as_str(), room.as_str())).await?.map(|row| row.by);
        let reached = self.reached(*reaches).await?;
        let members = rooms.members(room, authority).await?;
        let is_there = |whom: &UserId| matches!(members.get(whom), Some(IsIn::Joined | IsIn::Waits));
        let (mut invited, mut out, mut batch) = (Vec::new(), Vec::new(), Batch::new());
        for (whom, row) in &brought {
            if reached.contains(whom) {
                // How he comes again is his own.
                if *row == BroughtRow::Invited && !is_there(whom) {
                    batch.put(&BROUGHT, &key(whom), &BroughtRow::Gone);
                }
                continue;
            }
            if *left == 0 {
                return self.noted(here, batch, (&invited, &out)).await.map(|()| false);
            }
            if *row == BroughtRow::Invited && is_there(whom) {
                match others.get(&**whom) {
                    // He is another one's from now on.
                    Some(other) => {
                        let key = (other.to_string(), room.to_string(), whom.to_string());
                        batch.put(&BROUGHT, &key, &BroughtRow::Invited);
                    }
                    None => {
                        *left -= 1;
                        if rooms.put_out(user, room, whom).await? == Outcome::Done {
                            out.push(whom.to_string());
                        }
                    }
                }
            }
            // Where the address may put out nobody, whoever moderates the room does.
            batch.delete(&BROUGHT, &key(whom));
        }
        let mut is_anybody = reached.iter().any(|whom| is_there(whom));
        for whom in &reached {
            let is_new = brought.get(whom).is_none_or(|row| *row == BroughtRow::Noted);
            if members.contains_key(whom) || !is_new {
                continue;
            }
            // Who takes no invites of somebody takes none by way of an address either.
            if let Some(by) = &by
                && !rooms.takes_invites(whom, by).await?
            {
                continue;
            }
            if *left == 0 {
                return self.noted(here, batch, (&invited, &out)).await.map(|()| false);
            }
            *left -= 1;
            // Before he is invited: whom a crash finds noted so and not there is invited then.
            let mut first = Batch::new();
            first.put(&BROUGHT, &key(whom), &BroughtRow::Noted);
            store.commit(first).await?;
            match rooms.invite(user, room, whom, by.as_deref()).await? {
                Outcome::Done => {
                    is_anybody = true;
                    invited.push(whom.to_string());
                    batch.put(&BROUGHT, &key(whom), &BroughtRow::Invited);
                }
                Outcome::Refused => batch.delete(&BROUGHT, &key(whom)),
            }
        }
        self.noted(here, batch, (&invited, &out)).await?;
        if !is_anybody {
            // Whoever has invited it sees that nobody is reached so.
            rooms.leave(user, room).await?;
            store.commit(forgotten(user, room)).await?;
        }
        Ok(true)
    }

    /// Whom an address reaches, with an account that may act; else who answers for the unit.
    async fn reached(&self, reaches: Option<&Reaches>) -> Result<BTreeSet<OwnedUserId>, Error> {
        let Some(reaches) = reaches else { return Ok(BTreeSet::new()) };
        for people in [&reaches.people, &reaches.instead] {
            let users: Vec<&UserId> = people.iter().map(|user| &**user).collect();
            let open = self.inner.rooms.open(&users).await?;
            if !open.is_empty() {
                return Ok(open);
            }
        }
        Ok(BTreeSet::new())
    }

    /// Writes what was done in a room, with its row in the audit log.
    async fn noted(
        &self,
        here: &Here<'_>,
        mut batch: Batch,
        (invited, out): (&[String], &[String]),
    ) -> Result<(), Error> {
        if !invited.is_empty() || !out.is_empty() {
            let now = self.inner.clock.now();
            Deed::new(Action::ReachByAddress, &Actor::server(), here.user.as_str(), now)
                .after("room", here.room)
                .after("invited", invited.join(" "))
                .after("put_out", out.join(" "))
                .write(&mut batch, here.authority);
        }
        if batch.is_empty() {
            return Ok(());
        }
        match self.inner.store.commit(batch).await {
            // Another process is at it too: what is left is found by the next look.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
