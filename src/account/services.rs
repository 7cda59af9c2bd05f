//! Application services: programs that act for the users of an authority in their namespaces.
//!
//! A service is what its registration says: it is kept nowhere, and what a process was started with holds until it
//! stops. It has a user of its own, which is made at the start ([`Accounts::make_service_users`]), and acts as any
//! user of its namespaces that has an account. To rooms and devices it is that user and no more: it sees what he
//! sees. Acting as one it is never an administrator, whatever its users are or become, and it logs in as none.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/>

use std::{collections::BTreeSet, sync::Arc};

use audit::{Action, Actor, Filter};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, RoomAliasId, ServerName, UserId};
use serde::Deserialize;
use store::{Batch, Position, Reads, UpTo};

use crate::{
    Accounts, Asked, Error, NewSession, NewUser, Registered, Session, SessionTokens,
    devices::check_device_id,
    login::By,
    register::{Wish, parse_new_user_id},
    service::{AppService, NO_DEVICE, PROOF, acting_hash},
    service_devices::made_by,
    sessions::Entry,
    tables, tokens,
    uia::parse_login_name,
    users::Closing,
};

impl Accounts {
    /// The service of an authority that this is the token of.
    pub fn find_service(&self, authority: &ServerName, token: &str) -> Option<Arc<AppService>> {
        let services = &self.settings(authority).services;
        if services.is_empty() {
            return None;
        }
        let hash = tokens::hash(token);
        let is_it =
            |service: &&Arc<AppService>| service.token == hash && service.sender.server_name() == authority;
        services.iter().find(is_it).cloned()
    }

    /// The services of all authorities.
    pub fn services(&self) -> impl Iterator<Item = &Arc<AppService>> {
        self.inner.config.authorities.values().flat_map(|settings| &settings.services)
    }

    /// A service as one of its users, its own where none is named, and on one of his devices if one is named.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a user who is not one of its, or has no account; [`Error::UnknownDevice`] for a device that
    /// he has not, or that is another service's; [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#identity-assertion>
    pub async fn act_as(
        &self,
        service: &Arc<AppService>,
        user: Option<&UserId>,
        device: Option<&DeviceId>,
    ) -> Result<Session, Error> {
        let user = user.unwrap_or(&service.sender);
        if !service.covers_user(user) {
            return Err(Error::Forbidden(
                "This user is in none of the namespaces of the application service",
            ));
        }
        let device_key = device.map_or(NO_DEVICE, DeviceId::as_str);
        let hash = acting_hash(service, user, device_key);
        if let Some(entry) = self.find_cached(&hash) {
            return Ok(entry.session.clone());
        }
        // Before the reads: a change after this position makes the entry stale.
        let up_to = UpTo::new(self.inner.store.head());
        let mut reads = Reads::new();
        let row = reads.get(&tables::USERS, user.as_str());
        let moderation = reads.get(&tables::MODERATION, user.as_str());
        let guest = reads.get(&tables::GUESTS, &tables::guest_key(user));
        let known = reads.get(&tables::DEVICES, &(user.as_str(), device_key));
        let maker = reads.get(&tables::SERVICE_DEVICES, &(user.as_str(), device_key));
        let registered = reads.get(&tables::SERVICE_USERS, user.as_str());
        let own = reads.get(&tables::NOTICES, user.as_str());
        let mut found = self.inner.store.read(reads).await?;
        // However wide its namespaces are: who is the server's own is nobody else.
        let own = found.take(own)?;
        if own.is_some_and(|row| row.room.is_none()) {
            return Err(Error::Forbidden("This is the server's own user, and no application service's"));
        }
        if found.take(row)?.is_none_or(|row| row.deactivated) {
            return Err(Error::Forbidden("The application service has not registered this user"));
        }
        let (maker, registered) = (found.take(maker)?, found.take(registered)?);
        let is_anothers =
            maker.is_some_and(|maker| self.is_anothers(service, made_by(&maker, registered.as_deref())));
        if device.is_some() && (found.take(known)?.is_none() || is_anothers) {
            return Err(Error::UnknownDevice);
        }
        let session = Session {
            user_id: user.to_owned(),
            device_id: device_key.into(),
            admin: false,
            guest: found.take(guest)?.is_some(),
            moderation: found.take(moderation)?.unwrap_or_default(),
            expires: None,
            is_expired: false,
            service: Some(service.clone()),
            barred: None,
        };
        self.keep_session(hash, Entry::lasting(session.clone(), up_to));
        Ok(session)
    }

    /// Refuses a user name or id that a service keeps for itself to everybody else; `by` is the service that asks.
    ///
    /// # Errors
    /// [`Error::Exclusive`].
    pub(crate) fn check_user_namespaces(&self, by: Option<&AppService>, user: &UserId) -> Result<(), Error> {
        let services = &self.settings(user.server_name()).services;
        let others = services.iter().filter(|service| by.is_none_or(|by| ***service != *by));
        if by.is_some_and(|by| !by.covers_user(user)) || others.into_iter().any(|it| it.keeps_user(user)) {
            return Err(Error::Exclusive);
        }
        Ok(())
    }

    /// Whether a service has a user to itself.
    pub fn is_exclusive(&self, user: &UserId) -> bool {
        self.check_user_namespaces(None, user).is_err()
    }

    /// Refuses an alias of ours that a service keeps for itself to everybody else, and one outside its namespaces to a
    /// service; `by` is the service that asks.
    ///
    /// # Errors
    /// [`Error::Exclusive`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#server-admin-style-permissions>
    pub fn check_alias(&self, by: Option<&AppService>, alias: &RoomAliasId) -> Result<(), Error> {
        let services = &self.settings(alias.server_name()).services;
        let others = services.iter().filter(|service| by.is_none_or(|by| ***service != *by));
        if by.is_some_and(|by| !by.covers_alias(alias)) || others.into_iter().any(|it| it.keeps_alias(alias))
        {
            return Err(Error::Exclusive);
        }
        Ok(())
    }

    /// Makes the accounts of the services' own users that are not there yet. Whoever has the name already goes on having
    /// the account, and shares it with the service.
    ///
    /// # Errors
    /// [`Error::Room`] where the policy does not allow it; [`Error::Store`].
    pub async fn make_service_users(&self) -> Result<(), Error> {
        for (authority, settings) in &self.inner.config.authorities {
            self.find_service_users(authority, &settings.services).await?;
            for service in &settings.services {
                let user = service.sender();
                if self.find_user_row(user).await?.is_some() {
                    continue;
                }
                match self.make_service_user(service, user, &Actor::operator(&service.id), None).await {
                    // Another process was faster.
                    Ok(()) | Err(Error::UserInUse) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Notes whom services registered before that was noted with the account. The audit log knows: it is read once for each authority that
    /// has services.
    pub(crate) async fn find_service_users(
        &self,
        authority: &ServerName,
        services: &[Arc<AppService>],
    ) -> Result<(), Error> {
        let store = &self.inner.store;
        let is_found = store.get(&tables::SERVICE_USERS_FOUND, authority.as_str()).await?.is_some();
        if is_found || services.is_empty() {
            return Ok(());
        }
        let filter = Filter { what: Some(Action::CreateAccount.word().to_owned()), ..Filter::default() };
        let (mut after, mut count) = (Position::START, 0_usize);
        loop {
            let page = audit::list(store, authority, &filter, after).await?;
            let mut batch = Batch::new();
            let of_services = page.found.into_iter().filter_map(|listed| listed.record).filter(|record| {
                record.after.iter().any(|(name, value)| (name.as_str(), value.as_str()) == ("proof", PROOF))
            });
            for record in of_services {
                let by = services.iter().find(|service| service.sender.as_str() == record.who);
                // One that is gone is known by its user.
                batch.put(&tables::SERVICE_USERS, record.whom.as_str(), by.map_or(&record.who, |by| &by.id));
                count += 1;
            }
            if page.next.is_none() {
                batch.put(&tables::SERVICE_USERS_FOUND, authority.as_str(), &());
            }
            if !batch.is_empty() {
                self.commit(batch).await?;
            }
            let Some(next) = page.next else { break };
            after = next;
        }
        if count > 0 {
            tracing::info!(%authority, count, "users whom services registered were found in the audit log");
        }
        Ok(())
    }

    async fn make_service_user(
        &self,
        service: &AppService,
        user: &UserId,
        by: &Actor,
        proof: Option<&'static str>,
    ) -> Result<(), Error> {
        self.inner.rooms.policy().register(user, by.from()).map_err(room::Error::from)?;
        let mut batch = Batch::new();
        let (taken, _) = self.put_user(&mut batch, user, &NewUser::default(), None);
        let mut deed = self.deed(Action::CreateAccount, by, user);
        if let Some(proof) = proof {
            deed = deed.after("proof", proof);
        }
        deed.write(&mut batch, user.server_name());
        batch.put(&tables::SERVICE_USERS, user.as_str(), &service.id);
        self.commit_new_user(batch, taken).await
    }

    /// Those of some users whom another application service registered.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn registered_by_others(
        &self,
        service: &AppService,
        users: BTreeSet<OwnedUserId>,
    ) -> Result<BTreeSet<OwnedUserId>, Error> {
        if users.is_empty() {
            return Ok(users);
        }
        let mut reads = Reads::new();
        let rows: Vec<_> =
            users.iter().map(|user| reads.get(&tables::SERVICE_USERS, user.as_str())).collect();
        let mut found = self.inner.store.read(reads).await?;
        let mut theirs = BTreeSet::new();
        for (user, row) in users.into_iter().zip(rows) {
            if found.take(row)?.is_some_and(|by| by != service.id) {
                theirs.insert(user);
            }
        }
        Ok(theirs)
    }

    /// Registers a user for a service: one of its namespaces, without a password.
    ///
    /// # Errors
    /// [`Error::Exclusive`] for a name outside its namespaces, or in those of another; [`Error::MissingParam`],
    /// [`Error::InvalidUsername`], which one with capitals is as well; [`Error::UserInUse`], [`Error::BadRequest`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#server-admin-style-permissions>
    pub async fn register_for_service(
        &self,
        service: &AppService,
        asked: Asked,
    ) -> Result<Registered, Error> {
        let wish = Wish::deserialize(serde_json::Value::Object(asked.request))
            .map_err(|error| Error::BadRequest(error.to_string()))?;
        let name = wish.username.as_deref().ok_or(Error::MissingParam("`username` is missing"))?;
        let user = parse_new_user_id(name, service.sender.server_name())?;
        // A service says afterwards as whom it acts, by the name that it asked for: another one given in silence would be
        // nobody's. Names with capitals are of former times, and new ones are not made (Appendices, Historical User IDs).
        if user.localpart() != name {
            return Err(Error::InvalidUsername(
                "user names are made of a-z, 0-9 and . _ = - / +; capitals of an application service are not made small, \
                 as it would act as another user than the one registered",
            ));
        }
        self.check_user_namespaces(Some(service), &user)?;
        if self.find_user_row(&user).await?.is_some() {
            return Err(Error::UserInUse);
        }
        if let Some(device) = &wish.device_id {
            check_device_id(device)?;
        }
        let by = Actor::user(&service.sender, false, asked.from);
        self.make_service_user(service, &user, &by, Some(PROOF)).await?;
        tracing::info!(user_id = %user, service = service.id, "registered for an application service");
        if wish.inhibit_login {
            return Ok(Registered { user_id: user, session: None });
        }
        // Should the process die here, the account is there and the service logs in to it.
        let session = NewSession {
            device_id: wish.device_id,
            device_name: wish.initial_device_display_name,
            refresh: wish.refresh_token,
            from: asked.from,
            agent: asked.agent,
        };
        let (device, tokens) = self.begin_for_service(service, &user, session).await?;
        Ok(Registered { user_id: user, session: Some((device, tokens)) })
    }

    /// Closes the account of a user that a service has registered, or has to itself, for good, as [`Accounts::deactivate`] does;
    /// without a question, as such a user has no password. A person's account, for whom it may act as well, and the one that it is
    /// known by it does not close.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; [`Error::BadRequest`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>
    pub async fn deactivate_for_service(
        &self,
        service: &AppService,
        user: &UserId,
        asked: Asked,
    ) -> Result<(), Error> {
        let wish = Closing::deserialize(serde_json::Value::Object(asked.request))
            .map_err(|error| Error::BadRequest(error.to_string()))?;
        let by = Actor::user(service.sender(), false, asked.from);
        let mut attempts = base::Attempts::default();
        loop {
            let mut reads = Reads::new();
            let row = reads.get(&tables::USERS, user.as_str());
            let registered = reads.get(&tables::SERVICE_USERS, user.as_str());
            let mut found = self.inner.store.read(reads).await?;
            let (row, registered) = (found.take(row)?, found.take(registered)?);
            let is_its_own = match registered {
                Some(by) if by == service.id => true,
                Some(by) if self.is_anothers(service, &by) => false,
                _ => service.keeps_user(user),
            };
            if !service.covers_user(user) || *user == service.sender || !is_its_own {
                return Err(Error::Forbidden(
                    "An application service closes the accounts of users that it has registered",
                ));
            }
            let row = row.ok_or(Error::NotFound("no such user"))?;
            if row.admin {
                return Err(Error::Forbidden(
                    "An application service does not close an administrator's account",
                ));
            }
            match self.try_to_close(user, &row, wish.remains(), &by).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Logs a service in as one of its users, whom `name` names as at a log-in.
    ///
    /// # Errors
    /// [`Error::Exclusive`] for a user outside its namespaces; [`Error::Forbidden`] where there is no such account, or the
    /// device is another service's;
    /// [`Error::Deactivated`], [`Error::Locked`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#appservice-login>
    pub async fn log_in_for_service(
        &self,
        service: &AppService,
        name: &str,
        session: NewSession,
    ) -> Result<(OwnedUserId, OwnedDeviceId, SessionTokens), Error> {
        let user = parse_login_name(name, service.sender.server_name())?;
        if !service.covers_user(&user) {
            return Err(Error::Exclusive);
        }
        let (device, tokens) = self.begin_for_service(service, &user, session).await?;
        Ok((user, device, tokens))
    }

    async fn begin_for_service(
        &self,
        service: &AppService,
        user: &UserId,
        session: NewSession,
    ) -> Result<(OwnedDeviceId, SessionTokens), Error> {
        self.refuse_own(user).await?;
        let session = self.with_device(session)?;
        let mut attempts = base::Attempts::default();
        loop {
            let row = self.find_user_row(user).await?;
            let row = row.ok_or(Error::Forbidden("The application service has not registered this user"))?;
            if row.deactivated {
                return Err(Error::Deactivated(user.to_owned()));
            }
            if row.admin {
                return Err(Error::Forbidden("An application service does not log in as an administrator"));
            }
            self.may_sign_in(user, session.from).await?;
            match self.try_to_begin(user, &row, &session, By::Service(service)).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }
}
