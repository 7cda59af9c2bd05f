//! What the policy bounds of sign-ins and sessions: who has to have shown a factor, from where sessions are used, on how many
//! devices somebody is signed in.
//!
//! All ways to a session lead through here or through [`crate::second_step`], which asks [`Accounts::factor_rule`] as well:
//! passwords by [`Accounts::refuse_with_factor`], what a browser or a device was given (login tokens, codes, consent of
//! devices) by [`Accounts::refuse_without_factor`], each in the batch that begins the session. A session that there is is
//! looked at with each request ([`Accounts::barred`]): it may have been begun elsewhere, or under another rule.

use base::Address;
use factor::Factors;
use room::{DeviceBound, FactorRule};
use ruma::{DeviceId, OwnedDeviceId, ServerName, UserId};
use store::{Batch, Order, Range, Topic, UpTo};

use crate::{
    Accounts, Barred, Error, FactorsFor, ProviderLogin,
    barred::Shown,
    sessions::Entry,
    tables::{self, UserRow},
};

impl Accounts {
    /// Whether the account of this row has to have a factor to be in from an address.
    pub(crate) async fn factor_rule(
        &self,
        user: &UserId,
        row: &UserRow,
        from: Option<Address>,
    ) -> Result<FactorRule, Error> {
        let by_policy = self.inner.rooms.policy().factor(user, from);
        let by_setting = self.is_set_to_need_factor(user, row.admin).await?;
        Ok(if by_setting { by_policy.max(FactorRule::Needed) } else { by_policy })
    }

    /// Whether the settings of his authority demand a factor of a user, beside what the policy says.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_set_to_need_factor(&self, user: &UserId, administers: bool) -> Result<bool, Error> {
        match self.settings(user.server_name()).factors {
            FactorsFor::Nobody => Ok(false),
            FactorsFor::Everybody => Ok(true),
            FactorsFor::Administrators => Ok(administers || self.has_duty(user).await?),
        }
    }

    /// Refuses whoever has a factor, or has to have one, at a way in that has no place for it; the batch that lets others in
    /// fails where that changes meanwhile.
    pub(crate) async fn refuse_with_factor(
        &self,
        batch: &mut Batch,
        user: &UserId,
        row: &UserRow,
        from: Option<Address>,
    ) -> Result<Factors, Error> {
        let factors = self.factors(user).await?;
        factors.require(batch);
        let rule = self.factor_rule(user, row, from).await?;
        if factors.is_any() || rule != FactorRule::Free {
            return Err(self.factor_needed(user, &factors, rule));
        }
        Ok(factors)
    }

    /// Refuses who has to have a factor and has none, at a way in where it was asked for before: what was given then may be
    /// shown at another place, or under another rule. `login` is that at a provider by which he came.
    pub(crate) async fn refuse_without_factor(
        &self,
        batch: &mut Batch,
        (user, row): (&UserId, &UserRow),
        login: Option<&ProviderLogin>,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let factors = self.factors(user).await?;
        factors.require(batch);
        if factors.is_any() || self.was_asked_there(user, login).await? {
            return Ok(());
        }
        match self.factor_rule(user, row, from).await? {
            FactorRule::Free => Ok(()),
            rule => Err(self.factor_needed(user, &factors, rule)),
        }
    }

    /// Why somebody does not get in who is to show a factor.
    pub(crate) fn factor_needed(&self, user: &UserId, factors: &Factors, rule: FactorRule) -> Error {
        let page = self.settings(user.server_name()).account_page.clone();
        match rule {
            FactorRule::NeededAlready if !factors.is_any() => Error::FactorElsewhere,
            FactorRule::Free | FactorRule::Needed | FactorRule::NeededAlready => Error::FactorNeeded { page },
        }
    }

    /// Notes since when the providers of these authorities are asked to demand a factor, and forgets it of those that are not:
    /// a login of before has shown none. For who opens the accounts, before anybody signs in.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn note_demands(&self, authorities: &[&ServerName]) -> Result<(), Error> {
        for authority in authorities {
            let demands = self.settings(authority).upstream.is_some_and(|upstream| upstream.demands_way);
            let since = self.inner.store.get(&tables::DEMANDS, authority.as_str()).await?;
            let mut batch = Batch::new();
            match (demands, since) {
                (true, None) => batch.put(&tables::DEMANDS, authority.as_str(), &self.inner.store.head().0),
                (false, Some(_)) => batch.delete(&tables::DEMANDS, authority.as_str()),
                (true, Some(_)) | (false, None) => continue,
            }
            match self.commit(batch).await {
                // Another process has said so at this moment.
                Ok(()) | Err(Error::Contended) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a provider has asked whoever came by this login for a factor: one that began before that was demanded has not.
    pub(crate) async fn was_asked_there(
        &self,
        user: &UserId,
        login: Option<&ProviderLogin>,
    ) -> Result<bool, Error> {
        let (authority, demands) = (user.server_name(), |upstream: crate::Upstream| upstream.demands_way);
        let Some(login) = login.filter(|_| self.settings(authority).upstream.is_some_and(demands)) else {
            return Ok(false);
        };
        let since = self.inner.store.get(&tables::DEMANDS, authority.as_str()).await?;
        Ok(since.is_none_or(|since| login.since >= since))
    }

    /// Why a session is not used from an address, if it is not. One that an application service has begun needs no factor: its
    /// token proves more, and no user gets one so.
    pub(crate) async fn barred(
        &self,
        entry: &Entry,
        from: Option<Address>,
    ) -> Result<Option<Box<Barred>>, Error> {
        let (policy, user) = (self.inner.rooms.policy(), &*entry.session.user_id);
        if let Err(denial) = policy.use_session(user, from) {
            return Ok(Some(Box::new(Barred::Denied(denial))));
        }
        // What settings demand of all is asked at sign-ins alone; what the policy demands here is demanded of each request.
        if entry.is_by_service || policy.factor(user, from) == FactorRule::Free {
            return Ok(None);
        }
        Ok(match self.shown(entry).await? {
            Shown::Factor => None,
            Shown::None => Some(Box::new(Barred::NoFactor {
                page: self.settings(user.server_name()).account_page.clone(),
            })),
            Shown::TooEarly => Some(Box::new(Barred::BegunBefore { page: self.devices_page(user) })),
        })
    }

    /// Whether whoever began a session has shown a factor, here or at a provider that asked for one.
    async fn shown(&self, entry: &Entry) -> Result<Shown, Error> {
        let (store, session) = (&self.inner.store, &entry.session);
        let topic = [Topic::devices(session.user_id.as_str())];
        if let Some((shown, up_to)) = &*entry.shown.lock()
            && up_to.holds(store, topic)
        {
            return Ok(*shown);
        }
        // Before the reads: a factor that comes or goes after this makes it stale (`put_factors`).
        let up_to = UpTo::new(store.head());
        let (user, device) = (&session.user_id, &session.device_id);
        let shown = if self.was_asked_there(user, self.provider_login(user, device).await?.as_ref()).await? {
            Shown::Factor
        } else if !self.factors(user).await?.is_any() {
            Shown::None
        } else if self.is_unproved(user, device).await? {
            Shown::TooEarly
        } else {
            Shown::Factor
        };
        *entry.shown.lock() = Some((shown, up_to));
        Ok(shown)
    }

    /// Where a user sees to his devices.
    fn devices_page(&self, user: &UserId) -> Option<String> {
        let page = self.settings(user.server_name()).account_page.as_deref();
        page.map(|page| format!("{page}?action=org.matrix.devices_list"))
    }

    /// Adds to a batch other factors of a user, and that sessions look whether there are any.
    pub(crate) fn put_factors(&self, batch: &mut Batch, user: &UserId, change: &factor::Change) {
        change.put(batch);
        batch.touch([Topic::devices(user.as_str())]);
    }

    /// On how many devices a user may be signed in, if there is a bound.
    #[must_use]
    pub fn most_devices(&self, user: &UserId) -> Option<usize> {
        self.inner.rooms.policy().devices(user).map(|bound| bound.most)
    }

    /// Whether a user may sign in on one more device; on one that he has he always may.
    ///
    /// # Errors
    /// [`Error::TooManyDevices`], [`Error::Store`].
    pub async fn check_room_for_device(&self, user: &UserId, device: &DeviceId) -> Result<(), Error> {
        let Some(bound) = self.inner.rooms.policy().devices(user) else { return Ok(()) };
        let own = self.own_devices(user).await?;
        if own.iter().any(|one| one == device) { Ok(()) } else { self.bounded(user, &own, bound) }
    }

    /// Refuses a new device in a batch where it would be one too many. The batch fails where the user signs in elsewhere
    /// meanwhile: whoever begins a session counts it in `LOG_INS`.
    pub(crate) async fn put_room_for_device(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        let Some(bound) = self.inner.rooms.policy().devices(user) else { return Ok(()) };
        // Before the devices are read: one that comes after this is noticed.
        let log_ins = self.inner.store.get(&tables::LOG_INS, user.as_str()).await?;
        batch.require(&tables::LOG_INS, user.as_str(), log_ins.as_ref());
        let own = self.own_devices(user).await?;
        self.bounded(user, &own, bound)
    }

    fn bounded(&self, user: &UserId, own: &[OwnedDeviceId], bound: DeviceBound) -> Result<(), Error> {
        if own.len() < bound.most {
            return Ok(());
        }
        Err(Error::TooManyDevices { denial: bound.denial, page: self.devices_page(user) })
    }

    /// The devices that a user has signed in on himself: not the dehydrated one, nor those that a service made for him.
    async fn own_devices(&self, user: &UserId) -> Result<Vec<OwnedDeviceId>, Error> {
        let (store, range) = (&self.inner.store, || Range::prefix(user.as_str()));
        let dehydrated = store.get(&tables::DEHYDRATED, user.as_str()).await?;
        let of_services = store.scan(&tables::SERVICE_DEVICES, range(), Order::Ascending, usize::MAX).await?;
        let others: Vec<String> =
            of_services.into_iter().map(|((_, device), _)| device).chain(dehydrated).collect();
        let devices = store.scan(&tables::DEVICES, range(), Order::Ascending, usize::MAX).await?;
        let devices = devices.into_iter().map(|((_, device), _)| device);
        Ok(devices.filter(|device| !others.contains(device)).map(OwnedDeviceId::from).collect())
    }
}
