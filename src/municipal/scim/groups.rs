//! Groups: users whom a source keeps together.
//!
//! Each membership is a row of its own, so that one who comes or goes is one row in a group of 12,000. Whoever puts users into a
//! group and whoever removes a user each demand that the other did not come in between.

use std::collections::BTreeSet;

use audit::Action;
use base::Attempts;
use serde_json::{Map, Value, json};
use store::{Batch, Order, Range};

use crate::{
    error::Error,
    patch,
    schema::GROUPS_TYPE as TYPE,
    scim::{Asking, Kept, Scim, Told, Versions, check_version, whole},
    tables::{
        COUNT_GROUPS, COUNTS, EXTERNAL_IDS, GROUPS, GROUPS_OF, GroupRow, MEMBERS, TIMES_JOINED,
        TIMES_REMOVED, USERS,
    },
    users::{Change, changed},
    value::{self, MOST_MEMBERS, Resource},
};

/// Groups of a source.
const MOST_GROUPS: i64 = 10_000;
/// Users that are looked up at a time.
const PAGE: usize = 1_000;

/// A group taken apart: what is kept in its row, and who is in it.
struct Parted {
    says: Resource,
    members: BTreeSet<String>,
}

impl Parted {
    fn of(mut resource: Resource) -> Self {
        let members = resource.remove("members");
        let id = |member: &Value| member.get("value").and_then(Value::as_str).map(str::to_owned);
        let members = members.as_ref().and_then(Value::as_array).into_iter().flatten().filter_map(id);
        Self { members: members.collect(), says: resource }
    }

    fn whole(&self) -> Resource {
        let mut whole = self.says.clone();
        if !self.members.is_empty() {
            whole
                .insert("members".to_owned(), self.members.iter().map(|id| json!({ "value": id })).collect());
        }
        whole
    }

    fn external_id(&self) -> Option<&str> {
        self.says.get("externalId").and_then(Value::as_str)
    }

    fn json(&self) -> String {
        Value::Object(self.says.clone()).to_string()
    }
}

impl Scim {
    /// Makes a group.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Full`], [`Error::Store`].
    pub(crate) async fn create_group(
        &self,
        asking: &Asking<'_>,
        body: &Map<String, Value>,
    ) -> Result<Told, Error> {
        let group = Parted::of(value::resource(&TYPE, body)?);
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_create_group(asking, &group).await {
                Err(error) if error.is_contended() => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_create_group(&self, asking: &Asking<'_>, group: &Parted) -> Result<Told, Error> {
        let scope = asking.source.scope.as_str();
        let count = self.store.get(&COUNTS, &(scope, COUNT_GROUPS)).await?.unwrap_or_default();
        if count.0 >= MOST_GROUPS {
            return Err(Error::Full("this source has 10,000 groups already"));
        }
        let (id, now) = (self.new_id(), self.clock.now());
        let row = GroupRow { says: group.json(), revision: 1, created: now, changed: now };
        let mut batch = Batch::new();
        batch.insert(&GROUPS, &(scope, id.as_str()), &row);
        batch.add(&COUNTS, &(scope, COUNT_GROUPS), 1);
        if let Some(external) = group.external_id() {
            batch.put(&EXTERNAL_IDS, &(scope, external, id.as_str()), &());
        }
        self.put_members(&mut batch, scope, &id, &BTreeSet::new(), &group.members).await?;
        self.deed(asking, Action::PutGroup, group_name(&group.says), &id)
            .after("members", group.members.len().to_string())
            .write(&mut batch, &asking.source.authority);
        self.store.commit(batch).await.map_err(account::Error::from)?;
        tell(asking, &id, &row, &group.members)
    }

    /// A group, with its members if they are wanted.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub(crate) async fn get_group(
        &self,
        asking: &Asking<'_>,
        id: &str,
        members: bool,
    ) -> Result<Told, Error> {
        let row = self.group_row(asking, id).await?;
        let members = if members { self.members(asking, id).await? } else { BTreeSet::new() };
        tell(asking, id, &row, &members)
    }

    async fn group_row(&self, asking: &Asking<'_>, id: &str) -> Result<GroupRow, Error> {
        self.store.get(&GROUPS, &(asking.source.scope.as_str(), id)).await?.ok_or(Error::NotFound)
    }

    /// The ids of a group's users.
    pub(crate) async fn members(&self, asking: &Asking<'_>, id: &str) -> Result<BTreeSet<String>, Error> {
        let range = Range::prefix(&(asking.source.scope.as_str(), id));
        let rows = self.store.scan(&MEMBERS, range, Order::Ascending, MOST_MEMBERS).await?;
        Ok(rows.into_iter().map(|((_, _, user), ())| user).collect())
    }

    /// Changes a group.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`], [`Error::AnotherVersion`], [`Error::Store`].
    pub(crate) async fn change_group(
        &self,
        asking: &Asking<'_>,
        id: &str,
        change: &Change<'_>,
        wanted: Option<&Versions>,
    ) -> Result<Told, Error> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_change_group(asking, id, change, wanted).await {
                Err(error) if error.is_contended() => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_change_group(
        &self,
        asking: &Asking<'_>,
        id: &str,
        change: &Change<'_>,
        wanted: Option<&Versions>,
    ) -> Result<Told, Error> {
        let scope = asking.source.scope.as_str();
        // Before the members: who changes them meanwhile replaces it.
        let row = self.group_row(asking, id).await?;
        check_version(wanted, &row)?;
        let before = Parted { says: row.resource()?, members: self.members(asking, id).await? };
        let after = Parted::of(match change {
            Change::Patch(body) => patch::apply(&TYPE, &before.whole(), body)?,
            Change::Replace(body) => value::resource(&TYPE, body)?,
        });
        if before.says == after.says && before.members == after.members {
            return tell(asking, id, &row, &before.members);
        }
        let now = self.clock.now();
        let next = GroupRow { says: after.json(), revision: row.revision + 1, changed: now, ..row.clone() };
        let mut batch = Batch::new();
        batch.replace(&GROUPS, &(scope, id), &row, &next);
        if before.external_id() != after.external_id() {
            if let Some(external) = before.external_id() {
                batch.delete(&EXTERNAL_IDS, &(scope, external, id));
            }
            if let Some(external) = after.external_id() {
                batch.put(&EXTERNAL_IDS, &(scope, external, id), &());
            }
        }
        self.put_members(&mut batch, scope, id, &before.members, &after.members).await?;
        let came = after.members.difference(&before.members).count();
        let left = before.members.difference(&after.members).count();
        self.deed(asking, Action::PutGroup, group_name(&after.says), id)
            .after("changed", changed(&before.says, &after.says))
            .after("came", came.to_string())
            .after("left", left.to_string())
            .write(&mut batch, &asking.source.authority);
        self.store.commit(batch).await.map_err(account::Error::from)?;
        tell(asking, id, &next, &after.members)
    }

    /// Removes a group. Its users stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::AnotherVersion`], [`Error::Store`].
    pub(crate) async fn remove_group(
        &self,
        asking: &Asking<'_>,
        id: &str,
        wanted: Option<&Versions>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_to_remove_group(asking, id, wanted).await {
                Err(error) if error.is_contended() => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn try_to_remove_group(
        &self,
        asking: &Asking<'_>,
        id: &str,
        wanted: Option<&Versions>,
    ) -> Result<(), Error> {
        let scope = asking.source.scope.as_str();
        let row = self.group_row(asking, id).await?;
        check_version(wanted, &row)?;
        let group = Parted { says: row.resource()?, members: self.members(asking, id).await? };
        let mut batch = Batch::new();
        batch.require(&GROUPS, &(scope, id), Some(&row));
        batch.delete(&GROUPS, &(scope, id));
        batch.add(&COUNTS, &(scope, COUNT_GROUPS), -1);
        if let Some(external) = group.external_id() {
            batch.delete(&EXTERNAL_IDS, &(scope, external, id));
        }
        self.put_members(&mut batch, scope, id, &group.members, &BTreeSet::new()).await?;
        self.deed(asking, Action::RemoveGroup, group_name(&group.says), id)
            .write(&mut batch, &asking.source.authority);
        self.store.commit(batch).await.map(drop).map_err(account::Error::from)?;
        Ok(())
    }

    /// Adds to a batch who comes into a group and who leaves it. Whoever comes has to be there, until the batch is committed.
    async fn put_members(
        &self,
        batch: &mut Batch,
        scope: &str,
        id: &str,
        before: &BTreeSet<String>,
        after: &BTreeSet<String>,
    ) -> Result<(), Error> {
        for user in before.difference(after) {
            batch.delete(&MEMBERS, &(scope, id, user.as_str()));
            batch.delete(&GROUPS_OF, &(scope, user.as_str(), id));
        }
        let came: Vec<(&str, &str)> = after.difference(before).map(|user| (scope, user.as_str())).collect();
        if came.is_empty() {
            return Ok(());
        }
        // Before the users are looked up: one who is removed after that is noticed.
        let removed = self.store.get(&COUNTS, &(scope, TIMES_REMOVED)).await?;
        batch.require(&COUNTS, &(scope, TIMES_REMOVED), removed.as_ref());
        batch.add(&COUNTS, &(scope, TIMES_JOINED), 1);
        for page in came.chunks(PAGE) {
            for ((_, user), row) in page.iter().zip(self.store.get_many(&USERS, page).await?) {
                if row.is_none() {
                    return Err(Error::value(format!("the member {user} is no user of this source")));
                }
                batch.put(&MEMBERS, &(scope, id, *user), &());
                batch.put(&GROUPS_OF, &(scope, *user, id), &());
            }
        }
        Ok(())
    }
}

fn group_name(says: &Resource) -> &str {
    says.get("displayName").and_then(Value::as_str).unwrap_or_default()
}

/// The group as answers tell it.
pub(crate) fn tell(
    asking: &Asking<'_>,
    id: &str,
    row: &GroupRow,
    members: &BTreeSet<String>,
) -> Result<Told, Error> {
    let mut told = whole(&TYPE, &asking.base, id, row)?;
    if !members.is_empty() {
        let member = |user: &String| json!({ "value": user, "$ref": format!("{}/Users/{user}", asking.base), "type": "User" });
        told.body.insert("members".to_owned(), members.iter().map(member).collect());
    }
    Ok(told)
}
