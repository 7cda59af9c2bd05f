//! Users: each is an account of the authority, which follows what its source says.
//!
//! What a source says, the account as it becomes by that and both rows in the audit log are one batch. A source ends whom it
//! names, and nobody by not naming him: there is no comparing of lists here.

use account::{Following, NewProvisioned, PutProvisioned, user_of_localpart};
use audit::Action;
use base::Attempts;
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value, json};
use store::{Batch, Order, Range};
use upstream::Error as TemplateError;

use crate::{
    error::Error,
    patch,
    schema::{ENTERPRISE, USERS as TYPE},
    scim::{Asking, Kept, Scim, Told, Versions, check_version, whole},
    tables::{
        ACCOUNTS, AccountRow, COUNT_USERS, COUNTS, EXTERNAL_IDS, GROUPS, GROUPS_OF, GroupRow, MEMBERS,
        TIMES_JOINED, TIMES_REMOVED, USER_NAMES, USERS, UserRow,
    },
    value::{self, Resource},
};

/// Users of a source.
const MOST_USERS: i64 = 100_000;
/// Groups of a user that are told.
pub(crate) const MOST_GROUPS_OF: usize = 1_000;

/// A change of a user or a group.
pub(crate) enum Change<'a> {
    /// It is to be so.
    Replace(&'a Map<String, Value>),
    /// These operations are to be done.
    Patch(&'a Map<String, Value>),
}

/// What a source says, as far as something follows from it.
struct Saying {
    resource: Resource,
    /// The user name by which it is found.
    name: String,
    external_id: Option<String>,
}

impl Saying {
    fn of(resource: Resource) -> Self {
        let text = |key: &str| resource.get(key).and_then(Value::as_str);
        let name = folded(text("userName").unwrap_or_default());
        let external_id = text("externalId").map(str::to_owned);
        Self { resource, name, external_id }
    }

    fn is_active(&self) -> Option<bool> {
        self.resource.get("active").and_then(Value::as_bool)
    }

    fn json(&self) -> String {
        Value::Object(self.resource.clone()).to_string()
    }
}

/// A name as it is compared.
pub(crate) fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Resources of one externalId that are looked at.
const MOST_ALIKE: usize = 100;

impl Scim {
    /// Makes a user, with the account that follows it.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Conflict`], [`Error::Full`], [`Error::Account`], [`Error::Store`].
    pub(crate) async fn create_user(
        &self,
        asking: &Asking<'_>,
        body: &Map<String, Value>,
    ) -> Result<Told, Error> {
        let mut resource = value::resource(&TYPE, body)?;
        resource.entry("active").or_insert(Value::Bool(true));
        let saying = Saying::of(resource);
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_create_user(asking, &saying).await {
                Err(error) if error.is_contended() => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_create_user(&self, asking: &Asking<'_>, saying: &Saying) -> Result<Told, Error> {
        let source = asking.source;
        let scope = source.scope.as_str();
        let count = self.store.get(&COUNTS, &(scope, COUNT_USERS)).await?.unwrap_or_default();
        if count.0 >= MOST_USERS {
            return Err(Error::Full("this source has 100,000 users already"));
        }
        if self.store.get(&USER_NAMES, &(scope, saying.name.as_str())).await?.is_some() {
            return Err(Error::Conflict(
                "同じ userName の利用者が既にあります。 / another user of this source has this userName"
                    .to_owned(),
            ));
        }
        if let Some(external) = &saying.external_id
            && self.has_user_called(scope, external).await?
        {
            return Err(same_external_id());
        }
        let localpart = localpart(asking, &saying.resource)?;
        let (user, is_proved) = self.account_of(asking, saying, &localpart).await?;
        let known = self.accounts.find_user(&user).await?;
        let former = self.store.get(&ACCOUNTS, user.as_str()).await?;
        if known.is_some() {
            self.check_may_have(asking, saying, &user, former.as_ref(), is_proved).await?;
        }

        let id = self.new_id();
        let now = self.clock.now();
        let row = UserRow {
            account: user.to_string(),
            says: saying.json(),
            revision: 1,
            created: now,
            changed: now,
        };
        let is_locked = saying.is_active() == Some(false);
        let mut batch = Batch::new();
        batch.insert(&USERS, &(scope, id.as_str()), &row);
        batch.insert(&USER_NAMES, &(scope, saying.name.as_str()), &id);
        if let Some(external) = &saying.external_id {
            batch.put(&EXTERNAL_IDS, &(scope, external.as_str(), id.as_str()), &());
        }
        batch.add(&COUNTS, &(scope, COUNT_USERS), 1);
        let name = value::shown_name(&saying.resource);
        let email = value::mail(&saying.resource).filter(|_| source.settings.emails);
        let identity = self.identity(asking, saying);
        self.deed(asking, Action::FollowSource, user.as_str(), &id)
            .after("active", if is_locked { "no" } else { "yes" })
            .write(&mut batch, &source.authority);
        let (put, is_locked) = match known {
            None => {
                let new = NewProvisioned {
                    localpart: &localpart,
                    display_name: &name,
                    email,
                    identity,
                    locked: is_locked,
                };
                let put =
                    self.accounts.put_provisioned(&mut batch, &source.authority, &new, &asking.by).await;
                (put.map_err(|error| of_account(error, &user))?, is_locked)
            }
            Some(known) => {
                let is_held = former.as_ref().is_some_and(|former| former.is_locked);
                let lock = if is_locked { Some(true) } else { is_held.then_some(false) };
                if lock == Some(true) {
                    let former_id = former.as_ref().map_or("", |former| former.id.as_str());
                    self.check_may_end(asking, &user, known.admin, former_id).await?;
                }
                self.put_no_refusal(&mut batch, &user).await?;
                let was_locked = self.is_locked(&user).await?;
                let follows =
                    Following { display_name: Some(&name), email, identity, lock, ..Following::default() };
                let put = self.accounts.put_following(&mut batch, &user, &follows, &asking.by).await;
                (put.map_err(|error| of_account(error, &user))?, is_locked && (is_held || !was_locked))
            }
        };
        let account = AccountRow {
            source: source.settings.name.clone(),
            id: id.clone(),
            external_id: saying.external_id.clone(),
            is_gone: false,
            is_locked,
        };
        match &former {
            Some(former) => batch.replace(&ACCOUNTS, user.as_str(), former, &account),
            None => batch.insert(&ACCOUNTS, user.as_str(), &account),
        };
        self.commit(batch, Some(put), &user).await?;
        self.tell_user(asking, &id, &row, true).await
    }

    /// Whether a source calls one of its users so. Groups have such ids as well.
    async fn has_user_called(&self, scope: &str, external: &str) -> Result<bool, Error> {
        let range = Range::prefix(&(scope.to_owned(), external.to_owned()));
        let rows = self.store.scan(&EXTERNAL_IDS, range, Order::Ascending, MOST_ALIKE).await?;
        let keys: Vec<_> = rows.iter().map(|((_, _, id), ())| (scope, id.as_str())).collect();
        Ok(self.store.get_many(&USERS, &keys).await?.iter().any(Option::is_some))
    }

    /// The account that a new user of a source is to have: one that is known to be his by the identity provider (then it is
    /// proved), or that of the localpart.
    async fn account_of(
        &self,
        asking: &Asking<'_>,
        saying: &Saying,
        localpart: &str,
    ) -> Result<(OwnedUserId, bool), Error> {
        let authority = &asking.source.authority;
        if let Some((issuer, subject)) = self.identity(asking, saying)
            && let Some(owner) = self.accounts.find_identity(authority, issuer, subject).await?
        {
            return Ok((owner, true));
        }
        match user_of_localpart(&localpart.to_ascii_lowercase(), authority) {
            Some(user) => Ok((user, false)),
            None => Err(bad_name(localpart, "it is no localpart")),
        }
    }

    /// What the identity provider calls the user, where it calls him as the source does.
    fn identity<'a>(&self, asking: &'a Asking<'_>, saying: &'a Saying) -> Option<(&'a str, &'a str)> {
        Some((asking.source.settings.issuer.as_deref()?, saying.external_id.as_deref()?))
    }

    /// Whether a source may have an account that is there already.
    async fn check_may_have(
        &self,
        asking: &Asking<'_>,
        saying: &Saying,
        user: &UserId,
        former: Option<&AccountRow>,
        is_proved: bool,
    ) -> Result<(), Error> {
        let settings = &asking.source.settings;
        let refused = |ja: &str, en: &str| Err(Error::Conflict(format!("{user}: {ja} / {en}")));
        let is_admin = self.accounts.find_user(user).await?.is_some_and(|known| known.admin);
        let is_ours = self.accounts.is_own(user).await?;
        match former {
            Some(former) if !former.is_gone => refused(
                "このアカウントは、既に別の利用者のものです。",
                "the account is another user's already, of this or another source",
            ),
            Some(former) if former.source == settings.name => {
                let other = |(one, other): (&String, &String)| one != other;
                match former.external_id.as_ref().zip(saying.external_id.as_ref()).is_some_and(other) {
                    // Names are given again, to others.
                    true => refused(
                        "このアカウントは、externalId の異なる、以前の利用者のものです。別の名前を使ってください。",
                        "the account was that of somebody with another externalId; take another name",
                    ),
                    false => Ok(()),
                }
            }
            _ if is_ours || self.accounts.is_exclusive(user) => refused(
                "サーバーまたはサービスが専用に使うアカウントです。",
                "the account is the server's own, or a service's",
            ),
            _ if is_admin => refused(
                "管理者のアカウントは連携元に引き継げません。",
                "an administrator's account is not taken over by a source",
            ),
            _ if settings.adopts_accounts || is_proved => Ok(()),
            _ => refused(
                "同じ名前のアカウントが既にあります。引き継ぐ場合は、設定の adopts_accounts を true にしてください。",
                "an account of this name is there already; adopts_accounts in the configuration would have the source take it over",
            ),
        }
    }

    /// A user.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub(crate) async fn get_user(&self, asking: &Asking<'_>, id: &str, groups: bool) -> Result<Told, Error> {
        let row = self.user_row(asking, id).await?;
        self.tell_user(asking, id, &row, groups).await
    }

    async fn user_row(&self, asking: &Asking<'_>, id: &str) -> Result<UserRow, Error> {
        self.store.get(&USERS, &(asking.source.scope.as_str(), id)).await?.ok_or(Error::NotFound)
    }

    async fn tell_user(
        &self,
        asking: &Asking<'_>,
        id: &str,
        row: &UserRow,
        groups: bool,
    ) -> Result<Told, Error> {
        let mut told = whole(&TYPE, &asking.base, id, row)?;
        if groups {
            let mut of_users = self.groups_of(asking, &[id]).await?;
            put_groups(&mut told.body, of_users.pop().unwrap_or_default());
        }
        Ok(told)
    }

    /// The groups of users, as users' resources tell them, in the order of `ids`.
    pub(crate) async fn groups_of(
        &self,
        asking: &Asking<'_>,
        ids: &[&str],
    ) -> Result<Vec<Vec<Value>>, Error> {
        let scope = asking.source.scope.as_str();
        let ranges = ids.iter().map(|id| Range::prefix(&(scope, *id))).collect();
        let rows = self.store.scan_many(&GROUPS_OF, ranges, Order::Ascending, MOST_GROUPS_OF).await?;
        let mut groups: Vec<&str> = rows.iter().flatten().map(|((_, _, group), ())| group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        let keys: Vec<(&str, &str)> = groups.iter().map(|group| (scope, *group)).collect();
        let found = self.store.get_many(&GROUPS, &keys).await?;
        let mut names = std::collections::HashMap::with_capacity(groups.len());
        for (group, row) in groups.iter().zip(found) {
            let resource = row.as_ref().map(Kept::resource).transpose()?;
            names.insert(*group, resource.and_then(|mut resource| resource.remove("displayName")));
        }
        let told = |group: &str| {
            json!({
                "value": group,
                "$ref": format!("{}/Groups/{group}", asking.base),
                "display": names.get(group).cloned().flatten(),
                "type": "direct",
            })
        };
        Ok(rows.iter().map(|rows| rows.iter().map(|((_, _, group), ())| told(group)).collect()).collect())
    }

    /// Changes a user, and has the account follow.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`], [`Error::Conflict`], [`Error::Protected`], [`Error::Kept`], [`Error::AnotherVersion`],
    /// [`Error::Account`], [`Error::Store`].
    pub(crate) async fn change_user(
        &self,
        asking: &Asking<'_>,
        id: &str,
        change: &Change<'_>,
        wanted: Option<&Versions>,
    ) -> Result<Told, Error> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_change_user(asking, id, change, wanted).await {
                Err(error) if error.is_contended() => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_change_user(
        &self,
        asking: &Asking<'_>,
        id: &str,
        change: &Change<'_>,
        wanted: Option<&Versions>,
    ) -> Result<Told, Error> {
        let source = asking.source;
        let scope = source.scope.as_str();
        let row = self.user_row(asking, id).await?;
        check_version(wanted, &row)?;
        let before = Saying::of(row.resource()?);
        let after = Saying::of(match change {
            Change::Patch(body) => patch::apply(&TYPE, &before.resource, body)?,
            Change::Replace(body) => {
                let mut whole = value::resource(&TYPE, body)?;
                // Whoever does not speak of it neither ends nor restores anybody.
                if let Some(active) = before.resource.get("active")
                    && !whole.contains_key("active")
                {
                    whole.insert("active".to_owned(), active.clone());
                }
                whole
            }
        });
        let user = account_id(&row)?;
        let account = self.store.get(&ACCOUNTS, user.as_str()).await?.ok_or(Error::Damaged)?;
        let lock = match after.is_active() {
            Some(false) => Some(true),
            Some(true) if account.is_locked => Some(false),
            _ => None,
        };
        let known = self.accounts.find_user(&user).await?;
        let is_open = known.as_ref().is_some_and(|known| !known.deactivated);
        if lock == Some(true) {
            let is_admin = is_open && known.is_some_and(|known| known.admin);
            self.check_may_end(asking, &user, is_admin, id).await?;
        }

        let mut batch = Batch::new();
        let is_said_anew = lock == Some(true) || says_active(&before.resource, change);
        let is_no_longer_refused = is_said_anew && self.put_no_refusal(&mut batch, &user).await?;
        let names = [&before, &after].map(|saying| value::shown_name(&saying.resource));
        let mails =
            [&before, &after].map(|saying| value::mail(&saying.resource).filter(|_| source.settings.emails));
        let has_another_mail = mails[0] != mails[1];
        let is_another_person = before.external_id != after.external_id;
        let follows = Following {
            display_name: (names[0] != names[1]).then_some(names[1].as_str()),
            lost_email: mails[0].filter(|_| has_another_mail),
            email: mails[1].filter(|_| has_another_mail),
            lost_identity: self.identity(asking, &before).filter(|_| is_another_person),
            identity: self.identity(asking, &after).filter(|_| is_another_person),
            lock,
            administers: None,
        };
        if !is_open && lock == Some(false) {
            return Err(closed(&user));
        }
        let was_locked = is_open && lock == Some(true) && self.is_locked(&user).await?;
        // Of an account that was closed for good nothing is left to follow.
        let put = match is_open {
            true => {
                let put = self.accounts.put_following(&mut batch, &user, &follows, &asking.by).await;
                Some(put.map_err(|error| of_account(error, &user))?)
            }
            false => None,
        };
        if before.resource == after.resource && !put.as_ref().is_some_and(|put| put.changes) {
            if is_no_longer_refused {
                self.commit(batch, put, &user).await?;
            }
            return self.tell_user(asking, id, &row, true).await;
        }

        let changed = changed(&before.resource, &after.resource);
        let is_locked = match lock {
            Some(true) => account.is_locked || !was_locked,
            Some(false) => false,
            None => account.is_locked,
        };
        let of_account_now =
            AccountRow { external_id: after.external_id.clone(), is_locked, ..account.clone() };
        batch.replace(&ACCOUNTS, user.as_str(), &account, &of_account_now);
        if before.name != after.name {
            if self.store.get(&USER_NAMES, &(scope, after.name.as_str())).await?.is_some() {
                return Err(Error::Conflict(
                    "同じ userName の利用者が既にあります。 / another user of this source has this userName"
                        .to_owned(),
                ));
            }
            batch.delete(&USER_NAMES, &(scope, before.name.as_str()));
            batch.insert(&USER_NAMES, &(scope, after.name.as_str()), &id.to_owned());
        }
        if is_another_person {
            if let Some(external) = &after.external_id
                && self.has_user_called(scope, external).await?
            {
                return Err(same_external_id());
            }
            if let Some(external) = &before.external_id {
                batch.delete(&EXTERNAL_IDS, &(scope, external.as_str(), id));
            }
            if let Some(external) = &after.external_id {
                batch.put(&EXTERNAL_IDS, &(scope, external.as_str(), id), &());
            }
        }
        let now = self.clock.now();
        let next = UserRow { says: after.json(), revision: row.revision + 1, changed: now, ..row.clone() };
        batch.replace(&USERS, &(scope, id), &row, &next);
        self.deed(asking, Action::FollowSource, user.as_str(), id)
            .after("changed", changed)
            .write(&mut batch, &source.authority);
        self.commit(batch, put, &user).await?;
        self.tell_user(asking, id, &next, true).await
    }

    /// Removes a user: the source knows him no more, and his account is locked. Nothing of the account is taken away, so that
    /// who is told again goes on where he was.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Protected`], [`Error::Kept`], [`Error::AnotherVersion`], [`Error::Account`],
    /// [`Error::Store`].
    pub(crate) async fn remove_user(
        &self,
        asking: &Asking<'_>,
        id: &str,
        wanted: Option<&Versions>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_remove_user(asking, id, wanted).await {
                Err(error) if error.is_contended() => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_remove_user(
        &self,
        asking: &Asking<'_>,
        id: &str,
        wanted: Option<&Versions>,
    ) -> Result<(), Error> {
        let source = asking.source;
        let scope = source.scope.as_str();
        let row = self.user_row(asking, id).await?;
        check_version(wanted, &row)?;
        let saying = Saying::of(row.resource()?);
        let user = account_id(&row)?;
        let account = self.store.get(&ACCOUNTS, user.as_str()).await?.ok_or(Error::Damaged)?;
        let known = self.accounts.find_user(&user).await?;
        let is_open = known.as_ref().is_some_and(|known| !known.deactivated);
        let is_admin = is_open && known.is_some_and(|known| known.admin);
        self.check_may_end(asking, &user, is_admin, id).await?;

        let mut batch = Batch::new();
        self.put_no_refusal(&mut batch, &user).await?;
        batch.require(&USERS, &(scope, id), Some(&row));
        batch.delete(&USERS, &(scope, id));
        batch.delete(&USER_NAMES, &(scope, saying.name.as_str()));
        if let Some(external) = &saying.external_id {
            batch.delete(&EXTERNAL_IDS, &(scope, external.as_str(), id));
        }
        batch.add(&COUNTS, &(scope, COUNT_USERS), -1);
        batch.add(&COUNTS, &(scope, TIMES_REMOVED), 1);
        self.put_left_groups(&mut batch, scope, id).await?;
        self.deed(asking, Action::LeaveSource, user.as_str(), id).write(&mut batch, &source.authority);

        let mut gone = AccountRow { is_gone: true, ..account.clone() };
        let mut put = None;
        // What was closed for good is beyond locking.
        if is_open {
            gone.is_locked = account.is_locked || !self.is_locked(&user).await?;
            let follows = Following { lock: Some(true), ..Following::default() };
            let ends = self.accounts.put_following(&mut batch, &user, &follows, &asking.by).await;
            put = Some(ends.map_err(|error| of_account(error, &user))?);
        }
        batch.replace(&ACCOUNTS, user.as_str(), &account, &gone);
        self.commit(batch, put, &user).await
    }

    /// Refuses to end accounts that no source ends.
    async fn check_may_end(
        &self,
        asking: &Asking<'_>,
        user: &UserId,
        is_admin: bool,
        id: &str,
    ) -> Result<(), Error> {
        let is_named =
            |name: &String| [user.as_str(), user.localpart()].iter().any(|id| name.eq_ignore_ascii_case(id));
        if asking.source.settings.excepted.iter().any(is_named) {
            return Err(Error::Protected(format!(
                "{user}: 設定で除外されたアカウントは、連携元からは停止できません。 / accounts that the configuration excepts are not ended by a source"
            )));
        }
        match is_admin {
            true => self.refuse_to_end(asking, user, id).await,
            false => Ok(()),
        }
    }

    async fn is_locked(&self, user: &UserId) -> Result<bool, Error> {
        let moderation = self.accounts.moderation(user).await.map_err(|error| of_account(error, user))?;
        Ok(moderation.locked)
    }

    async fn commit(&self, batch: Batch, put: Option<PutProvisioned>, user: &UserId) -> Result<(), Error> {
        let committed = match put {
            Some(put) => self.accounts.commit_provisioned(batch, put).await,
            None => self.store.commit(batch).await.map(drop).map_err(account::Error::from),
        };
        committed.map_err(|error| of_account(error, user))
    }

    /// Adds to a batch that a user is in no group any more. The batch fails if he is put into one meanwhile.
    async fn put_left_groups(&self, batch: &mut Batch, scope: &str, id: &str) -> Result<(), Error> {
        let joined = self.store.get(&COUNTS, &(scope, TIMES_JOINED)).await?;
        batch.require(&COUNTS, &(scope, TIMES_JOINED), joined.as_ref());
        let range = Range::prefix(&(scope, id));
        let rows = self.store.scan(&GROUPS_OF, range, Order::Ascending, usize::MAX).await?;
        let groups: Vec<&str> = rows.iter().map(|((_, _, group), ())| group.as_str()).collect();
        let keys: Vec<(&str, &str)> = groups.iter().map(|group| (scope, *group)).collect();
        let now = self.clock.now();
        for (group, row) in groups.iter().zip(self.store.get_many(&GROUPS, &keys).await?) {
            batch.delete(&GROUPS_OF, &(scope, id, *group));
            batch.delete(&MEMBERS, &(scope, *group, id));
            if let Some(row) = row {
                let next = GroupRow { revision: row.revision + 1, changed: now, ..row.clone() };
                batch.replace(&GROUPS, &(scope, *group), &row, &next);
            }
        }
        Ok(())
    }
}

/// Adds a user's groups to his resource.
pub(crate) fn put_groups(body: &mut Map<String, Value>, groups: Vec<Value>) {
    if !groups.is_empty() {
        body.insert("groups".to_owned(), Value::Array(groups));
    }
}

fn same_external_id() -> Error {
    Error::Conflict(
        "同じ externalId の利用者が既にあります。userName が変わったときは、その利用者を変更してください。 / another user of this source has this externalId; one who is called otherwise is changed"
            .to_owned(),
    )
}

fn account_id(row: &UserRow) -> Result<OwnedUserId, Error> {
    row.account.as_str().try_into().map_err(|_| Error::Damaged)
}

/// Whether a change itself says that somebody is there. What it says nothing of is as it was before, and says nothing anew.
fn says_active(before: &Resource, change: &Change<'_>) -> bool {
    let said = match change {
        Change::Replace(body) => value::resource(&TYPE, body),
        Change::Patch(body) => {
            let mut silent = before.clone();
            silent.remove("active");
            patch::apply(&TYPE, &silent, body)
        }
    };
    said.is_ok_and(|said| said.get("active") == Some(&json!(true)))
}

/// The localpart of a new account.
fn localpart(asking: &Asking<'_>, resource: &Resource) -> Result<String, Error> {
    let mut claims: Map<String, Value> = resource
        .iter()
        .filter(|(key, _)| *key != ENTERPRISE)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(Value::Object(enterprise)) = resource.get(ENTERPRISE) {
        claims.extend(enterprise.clone());
    }
    if let Some(mail) = value::mail(resource) {
        claims.insert("mail".to_owned(), mail.into());
    }
    asking.source.settings.localpart.fill(&claims).map_err(|error| match error {
        TemplateError::MissingClaim { claim } => Error::value(format!(
            "アカウント名に使う {claim} がありません。 / {claim} is missing, of which the account's name is made"
        )),
        other => bad_name("", &other.to_string()),
    })
}

fn bad_name(localpart: &str, why: &str) -> Error {
    Error::value(format!(
        "アカウント名 {localpart} は使えません。 / the account cannot be called {localpart}: {why}"
    ))
}

/// An error of the accounts in the words of this crate, where it is a source's to know.
fn of_account(error: account::Error, user: &UserId) -> Error {
    match error {
        account::Error::InvalidUsername(why) => bad_name(user.localpart(), why),
        // Somebody was faster: the next look says whose it is.
        account::Error::UserInUse => account::Error::Contended.into(),
        account::Error::Exclusive => Error::Conflict(format!(
            "{user}: アプリケーションサービス用の名前です。 / an application service keeps this name for itself"
        )),
        account::Error::Deactivated(_) | account::Error::NotFound(_) => closed(user),
        account::Error::Forbidden(why) => Error::Protected(format!("{user}: {why}")),
        other => other.into(),
    }
}

fn closed(user: &UserId) -> Error {
    Error::Conflict(format!("{user}: このアカウントは閉鎖されています。 / the account is closed for good"))
}

/// The names of what is different, for the audit log.
pub(crate) fn changed(before: &Resource, after: &Resource) -> String {
    let names: std::collections::BTreeSet<&str> = before
        .iter()
        .filter(|(key, value)| after.get(*key) != Some(value))
        .chain(after.iter().filter(|(key, value)| before.get(*key) != Some(value)))
        .map(|(key, _)| if key == ENTERPRISE { "enterprise" } else { key.as_str() })
        .collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}
