//! Accounts that were closed by mistake are opened again, for a week: under their name, with their face, and with another
//! password. Devices, factors, addresses and rooms are not brought back: whoever it is signs in anew, and the organisation's
//! rules bring him into the rooms of his posts. An account whose data its owner had erased stays closed.

use audit::{Action, Actor};
use base::{Attempts, Timestamp};
use bytes::Bytes;
use room::note_account;
use ruma::UserId;
use store::{Batch, Order, Range, Topic};

use crate::{
    Accounts, Error, Moderation,
    chores::Chore,
    closed_rows::ClosedRow,
    log::{Change, log_change},
    profile::{DISPLAY_NAME, shown_as},
    tables::{self, UserRow, guest_key},
    users::Remains,
};

/// So long a closed account can be opened again.
const FOR_MS: u64 = 7 * 86_400_000;

/// Fields of a profile that are kept: as many as one may have, and some more.
const MOST_FIELDS: usize = 200;

impl Accounts {
    /// Until when a closed account can be opened again; nothing where it cannot.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn reopens_until(&self, user: &UserId) -> Result<Option<Timestamp>, Error> {
        let closed = self.inner.store.get(&tables::CLOSED, user.as_str()).await?;
        Ok(closed.filter(|closed| self.is_lately(closed)).map(|closed| Timestamp(closed.at_ms + FOR_MS)))
    }

    fn is_lately(&self, closed: &ClosedRow) -> bool {
        // In either direction: a calendar that was set back must not keep an account's face for years.
        self.now_ms().abs_diff(closed.at_ms) < FOR_MS
    }

    /// Adds to the batch that closes the account of this row what it is opened again with.
    pub(crate) async fn put_closed(
        &self,
        batch: &mut Batch,
        user: &UserId,
        row: &UserRow,
        remains: Remains,
    ) -> Result<(), Error> {
        let key = user.as_str();
        if remains == Remains::Nothing {
            batch.delete(&tables::CLOSED, key);
            return Ok(());
        }
        // One that is closed already stays so since then, and nobody knows who a guest was.
        if row.deactivated || self.inner.store.get(&tables::GUESTS, &guest_key(user)).await?.is_some() {
            return Ok(());
        }
        let (store, range) = (&self.inner.store, Range::prefix(key));
        let fields = store.scan(&tables::PROFILES, range, Order::Ascending, MOST_FIELDS).await?;
        let given = store.get(&tables::GIVEN, &tables::given_key(user)).await?;
        let moderation = store.get(&tables::MODERATION, key).await?;
        batch.require(&tables::MODERATION, key, moderation.as_ref());
        let fields = fields.into_iter().map(|((_, field), value)| (field, value.to_vec())).collect();
        let Moderation { locked, suspended, by_source } = moderation.unwrap_or_default();
        let closed = ClosedRow {
            at_ms: self.now_ms(),
            fields,
            given: given.map(|given| given.called),
            had_factor: self.factors(user).await?.is_any(),
            locked,
            suspended,
            by_source,
        };
        batch.put(&tables::CLOSED, key, &closed);
        Ok(())
    }

    /// Opens a closed account again, for administrators, as `by` is one; whoever's it is signs in with the password, or by the
    /// identity provider that knows him. He administers no more, and is kept from what he was kept from.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Deactivated`] for one that was closed too long ago, or was erased; [`Error::Forbidden`] for
    /// one that is open, whose rooms are not left yet, or (for an administrator) of somebody with a duty, or who had a second factor;
    /// [`Error::WeakPassword`], [`Error::Contended`], [`Error::Store`].
    pub async fn reopen_account(
        &self,
        user: &UserId,
        password: Option<&str>,
        by: &Actor,
    ) -> Result<(), Error> {
        self.refuse_own(user).await?;
        let hash = match password {
            Some(password) => {
                self.check_password_rules(user.server_name(), password)?;
                Some(self.inner.passwords.hash(password, &user).await?)
            }
            None => None,
        };
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_reopen(user, hash.as_deref(), by).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_reopen(&self, user: &UserId, hash: Option<&str>, by: &Actor) -> Result<(), Error> {
        let (store, key) = (&self.inner.store, user.as_str());
        let row = self.get_user_row(user).await?;
        if !row.deactivated {
            return Err(Error::Forbidden("The account is open"));
        }
        let closed = store.get(&tables::CLOSED, key).await?;
        let closed = closed.filter(|closed| self.is_lately(closed));
        let closed = closed.ok_or_else(|| Error::Deactivated(user.to_owned()))?;
        let chore = (key, Chore::LeaveRooms.number());
        if store.get(&tables::CHORES, &chore).await?.is_some() {
            return Err(Error::Forbidden("The account is still leaving its rooms; try again in a minute"));
        }
        let mut batch = Batch::new();
        self.put_still_administers(&mut batch, user, by).await?;
        if by.administrator().is_some() && !self.put_no_duty(&mut batch, user).await? {
            return Err(Error::Forbidden(
                "the account of somebody with a duty is opened again at the command line only",
            ));
        }
        // To let somebody in without the factor that he had takes two administrators, as a recovery does.
        if by.administrator().is_some() && closed.had_factor {
            return Err(Error::Forbidden(
                "the account of somebody who had a second factor is opened again at the command line only",
            ));
        }
        let ClosedRow { locked, suspended, by_source, .. } = closed;
        let kept_from = Moderation { locked, suspended, by_source };
        if kept_from != Moderation::default() {
            batch.put(&tables::MODERATION, key, &kept_from);
        }
        batch.require(&tables::CHORES, &chore, None);
        batch.require(&tables::CLOSED, key, Some(&closed));
        batch.delete(&tables::CLOSED, key);
        let opened =
            UserRow { password: hash.map(str::to_owned), admin: false, deactivated: false, ..row.clone() };
        batch.replace(&tables::USERS, key, &row, &opened);
        crate::service::touch_acting(&mut batch, user);
        let mut name = None;
        for (field, value) in closed.fields {
            let value = Bytes::from(value);
            batch.put(&tables::PROFILES, &(key, field.as_str()), &value);
            if field == DISPLAY_NAME {
                name = Some(value);
            }
            let change = Change::Profile { user_id: user.to_owned(), field };
            log_change(&mut batch, &change, [Topic::profile(key)]);
        }
        if let Some(called) = closed.given {
            batch.put(&tables::GIVEN, &tables::given_key(user), &tables::GivenRow { called });
        }
        note_account(&mut batch, user, None, Some(&shown_as(name.as_ref())));
        let deed = self.deed(Action::ReopenAccount, by, user).before("account", "closed");
        deed.after("account", "open").write(&mut batch, user.server_name());
        self.commit(batch).await
    }

    /// Forgets what accounts could be opened again with whose week is over.
    pub(crate) async fn sweep_closed(&self) -> Result<(), Error> {
        let mut range = Range::all();
        loop {
            let rows = self
                .inner
                .store
                .scan(&tables::CLOSED, range.clone(), Order::Ascending, SWEPT_AT_ONCE)
                .await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            range = Range::all().after(last.as_str());
            let mut batch = Batch::new();
            for (user, closed) in rows.iter().filter(|(_, closed)| !self.is_lately(closed)) {
                batch.require(&tables::CLOSED, user.as_str(), Some(closed));
                batch.delete(&tables::CLOSED, user.as_str());
            }
            if batch.is_empty() {
                continue;
            }
            match self.commit(batch).await {
                // One of them was opened again at this moment: the next look finds the others.
                Ok(()) | Err(Error::Contended) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Rows that are looked at together.
const SWEPT_AT_ONCE: usize = 200;
