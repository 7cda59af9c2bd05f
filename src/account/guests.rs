//! Guests: accounts without a password for whoever only looks in, where an authority lets them.
//!
//! A guest may what the specification lists and nothing else (`web` refuses the rest), comes into rooms that take guests
//! alone (`engine` asks whether somebody is one), and is one for a week: then the account is closed, unless its user has
//! registered it with a password, or until it has signed out. There are only so many, of an authority, of an address and of
//! the networks around it.
//!
//! A room that takes guests no more is left by those that are in it. What wakes for that is a topic, and what is done is
//! found by looking at all guests: so nothing is noted, and what a stop left over is done at the next start.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#guest-access>

use std::time::Duration;

use audit::{Action, Actor};
use base::{Address, Attempts};
use room::tables::Membership;
use ruma::{DeviceId, OwnedUserId, ServerName, UserId};
use store::{Batch, Order, Range, Topic};

use crate::{
    Accounts, Error, NewUser, Registered,
    login::signed_in,
    sessions::{Ended, parse_user},
    tables::{self, GuestRow, UserRow, guest_key, millis},
    tokens::NewPair,
    users::Remains,
};

/// How long a guest is one.
pub const GUEST_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Guests of one authority at a time, and of one address at it: behind an address may be an office. Networks of IPv6 have as
/// many times that as is their share.
const MOST_OF_AUTHORITY: usize = 1_000;
const MOST_OF_ADDRESS: usize = 50;

/// What the limit is called to whom it stops, and after how long he may ask again.
const LIMIT: &str = "guests";
const ASK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// How often it is looked whose time is over.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// After a look that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How long rooms that take guests no more are gathered, so that whoever says so again and again has us look no oftener.
const GATHER: Duration = Duration::from_secs(1);

/// Why a guest leaves.
const NO_MORE: &str = "guests are not allowed here";

/// Guests that are read at a time.
const PAGE: usize = 256;

impl Accounts {
    /// Makes a guest of an authority and its one session, whose token does not run out before the guest does.
    ///
    /// There may be one more than the bound for each further process over the same database.
    ///
    /// # Errors
    /// [`Error::NoGuests`] where the authority takes none; [`Error::Limited`] when it has too many, or too many of this
    /// address; a refusal of the policy, [`Error::Store`].
    pub async fn register_guest(
        &self,
        authority: &ServerName,
        device_name: Option<String>,
        from: Option<Address>,
        agent: Option<&str>,
    ) -> Result<Registered, Error> {
        if !self.settings(authority).guests {
            return Err(Error::NoGuests("guests are not served here"));
        }
        let user_id = self.make_up_user_id(authority)?;
        self.inner.rooms.policy().register(&user_id, from).map_err(room::Error::from)?;
        self.inner.rooms.policy().sign_in(&user_id, from).map_err(room::Error::from)?;
        let address = from.map(|from| from.written());

        // From the count to the commit, so that as many as come at once are not too many.
        let _one_at_a_time = self.inner.making_guests.lock().await;
        let range = Range::prefix(authority.as_str());
        let others =
            self.inner.store.scan(&tables::GUESTS, range, Order::Ascending, MOST_OF_AUTHORITY).await?;
        let addresses = others.iter().map(|(_, guest)| guest.address.as_deref());
        if others.len() >= MOST_OF_AUTHORITY || has_too_many(from, addresses) {
            return Err(Error::Limited { limit: LIMIT, retry_after: ASK_AGAIN });
        }
        let mut batch = Batch::new();
        let (taken, _) = self.put_user(&mut batch, &user_id, &NewUser::default(), None);
        let until_ms = self.now_ms().saturating_add(millis(GUEST_LIFETIME));
        batch.put(&tables::GUESTS, &guest_key(&user_id), &GuestRow { address, until_ms });
        let device_id = self.new_device_id();
        let known = self.put_device(&mut batch, &user_id, &device_id, device_name, None).await?;
        let pair = NewPair::new(&self.inner.random, &self.inner.token_key, None);
        let tokens = self.put_tokens(&mut batch, authority, user_id.as_str(), device_id.as_str(), pair, None);
        let deed = self.deed(Action::Register, &Actor::stranger(from), &user_id).after("proof", "guest");
        signed_in(deed, &device_id, &known, agent).write(&mut batch, authority);
        self.commit_new_user(batch, taken).await?;
        tracing::info!(user_id = %user_id, "registered a guest");
        Ok(Registered { user_id, session: Some((device_id, tokens)) })
    }

    /// Whether a user of ours is a guest.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_guest(&self, user: &UserId) -> Result<bool, Error> {
        Ok(self.inner.store.get(&tables::GUESTS, &guest_key(user)).await?.is_some())
    }

    /// The guest whose token somebody shows who registers it, and its account.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a token that is no guest's, or a name that is not this guest's; [`Error::Store`].
    pub(crate) async fn guest_to_register(
        &self,
        authority: &ServerName,
        token: &str,
        name: Option<&str>,
    ) -> Result<(OwnedUserId, UserRow, GuestRow), Error> {
        let refused = Error::Forbidden("the guest's token is not good, or not this user name's");
        let user_id = match self.authenticate(authority, token).await {
            Ok(session) if session.guest => session.user_id,
            Ok(_) | Err(Error::UnknownToken { .. }) => return Err(refused),
            Err(error) => return Err(error),
        };
        if name.is_none_or(|name| name != user_id.localpart()) {
            return Err(refused);
        }
        let guest = self.inner.store.get(&tables::GUESTS, &guest_key(&user_id)).await?;
        let row = self.get_user_row(&user_id).await?;
        guest.map(|guest| (user_id, row, guest)).ok_or(refused)
    }

    /// Adds to a batch that a guest becomes an account like others, with this password; its sessions as a guest end, and
    /// its devices but the one that it `keeps`.
    pub(crate) async fn put_registered_guest(
        &self,
        batch: &mut Batch,
        user: &UserId,
        row: &UserRow,
        guest: &GuestRow,
        password: Option<String>,
        keeps: Option<&DeviceId>,
    ) -> Result<(UserRow, Ended), Error> {
        let changed = UserRow { password, ..row.clone() };
        batch.replace(&tables::USERS, user.as_str(), row, &changed);
        batch.require(&tables::GUESTS, &guest_key(user), Some(guest));
        batch.delete(&tables::GUESTS, &guest_key(user));
        let is_kept = |device: &str| keeps.is_some_and(|kept| kept.as_str() == device);
        let mut ended = self.end_devices(batch, user, |device| !is_kept(device)).await?;
        ended.tokens.extend(self.end_tokens(batch, user, is_kept).await?);
        if let Some(kept) = keeps {
            batch.touch([Topic::device(user.as_str(), kept.as_str())]);
        }
        Ok((changed, ended))
    }

    /// Starts what sees to the guests: whose time is over, and who is in a room that takes guests no more.
    pub(crate) fn start_seeing_to_guests(&self) {
        let accounts = self.clone();
        let stopping = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("guests", move || {
            let (accounts, stopping) = (accounts.clone(), stopping.clone());
            async move {
                stopping.run_until_cancelled(accounts.keep_seeing_to_guests()).await;
            }
        });
    }

    async fn keep_seeing_to_guests(&self) {
        // Before the look: what a room says after it wakes this again.
        let mut watch = self.inner.store.watch(vec![Topic::guest_access()]);
        loop {
            let pause = match self.see_to_guests().await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(error = %error, "guests could not be seen to, will try again");
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                () = self.inner.clock.sleep(pause) => {}
                () = watch.changed() => self.inner.clock.sleep(GATHER).await,
            }
        }
    }

    /// Closes the accounts of guests whose time is over, and has the others leave the rooms that take no guests.
    pub(crate) async fn see_to_guests(&self) -> Result<(), Error> {
        let mut rest = Range::all();
        loop {
            let page = self.inner.store.scan(&tables::GUESTS, rest, Order::Ascending, PAGE).await?;
            let next = page.get(PAGE - 1).map(|(last, _)| Range::all().after(last));
            for ((_, user), guest) in &page {
                let user = parse_user(user)?;
                if guest.until_ms <= self.now_ms() || !self.has_device(&user).await? {
                    self.close_guest(&user, guest).await?;
                } else {
                    self.leave_rooms_without_guests(&user).await?;
                }
            }
            match next {
                Some(next) => rest = next,
                None => return Ok(()),
            }
        }
    }

    /// Closes the account of a guest that has signed out: nobody comes into it again, and its place is free. If this fails,
    /// the next look does it.
    pub(crate) async fn close_left_guest(&self, user: &UserId) {
        let close = async || -> Result<(), Error> {
            match self.inner.store.get(&tables::GUESTS, &guest_key(user)).await? {
                Some(guest) if !self.has_device(user).await? => self.close_guest(user, &guest).await,
                _ => Ok(()),
            }
        };
        if let Err(error) = close().await {
            tracing::info!(user_id = %user, %error, "a guest that signed out stays for now");
        }
    }

    async fn has_device(&self, user: &UserId) -> Result<bool, Error> {
        let range = Range::prefix(user.as_str());
        Ok(!self.inner.store.scan(&tables::DEVICES, range, Order::Ascending, 1).await?.is_empty())
    }

    /// Closes the account of a guest whose time is over, unless its user registers it meanwhile.
    async fn close_guest(&self, user: &UserId, guest: &GuestRow) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let row = self.get_user_row(user).await?;
            // Who was registered has a password, and is guest no more.
            let closed = match row.deactivated || row.password.is_some() {
                true => Ok(()),
                false => {
                    let by = Actor::user(user, false, None);
                    self.try_to_close(user, &row, Remains::Data, &by).await
                }
            };
            match closed {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        let key = guest_key(user);
        let mut batch = Batch::new();
        batch.require(&tables::GUESTS, &key, Some(guest));
        batch.delete(&tables::GUESTS, &key);
        match self.commit(batch).await {
            Err(Error::Contended) => Ok(()),
            done => done,
        }
    }

    /// Has a guest leave the rooms that take no guests.
    async fn leave_rooms_without_guests(&self, user: &UserId) -> Result<(), Error> {
        let rooms = self.inner.rooms.memberships(user).await?;
        let joined: Vec<_> = rooms.rooms.iter().filter(|room| room.membership == Membership::Join).collect();
        let serials: Vec<_> = joined.iter().map(|room| room.room).collect();
        let summaries = self.inner.rooms.summaries(&serials).await?;
        for (room, summary) in joined.iter().zip(summaries) {
            if summary.takes_guests() {
                continue;
            }
            match self.inner.engine.leave(user, &room.room_id, Some(NO_MORE)).await {
                Ok(()) => {}
                Err(error) if error.is_passing() => return Err(error.into()),
                Err(error) => {
                    tracing::info!(user_id = %user, room_id = %room.room_id, error = %error, "a guest could not leave");
                }
            }
        }
        Ok(())
    }
}

/// Whether there are too many guests of an address or of a network that it lies in. Those without one are counted together.
fn has_too_many<'a>(from: Option<Address>, others: impl Iterator<Item = Option<&'a str>>) -> bool {
    let Some(from) = from else { return others.filter(Option::is_none).count() >= MOST_OF_ADDRESS };
    let others: Vec<Address> = others.flatten().filter_map(Address::read).collect();
    from.networks().any(|network| {
        let in_it = others.iter().filter(|other| other.networks().any(|of_other| of_other == network));
        in_it.count() >= MOST_OF_ADDRESS.saturating_mul(network.share().try_into().unwrap_or(1))
    })
}
