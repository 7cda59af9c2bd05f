//! What the administrator's commands ask of accounts that changes nothing: which there are, what somebody may.

use account::{AccountOrder, AccountQuery, Accounts};
use base::Timestamp;
use classes::{Asked, Classes, Explained};
use ruma::{OwnedServerName, OwnedUserId};
use serde::{Deserialize, Serialize};

/// Where accounts are listed.
pub(crate) const LIST_USERS: &str = "/_yakuba/v1/users/list";

/// How many accounts are listed.
const MOST_LISTED: usize = 100_000;

/// Where it is asked what somebody may.
pub(crate) const EXPLAIN: &str = "/_yakuba/v1/policy/explain";

/// Which accounts are listed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UsersOrder {
    pub(crate) authority: OwnedServerName,
    /// Those alone that nobody has used for more than so many days.
    #[serde(default)]
    pub(crate) dormant_days: Option<u32>,
}

/// An account of a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserTold {
    pub(crate) user_id: OwnedUserId,
    pub(crate) display_name: Option<String>,
    /// In milliseconds since 1970, as is when its user was seen last.
    pub(crate) created: u64,
    pub(crate) seen: Option<u64>,
    pub(crate) locked: bool,
    pub(crate) suspended: bool,
    pub(crate) admin: bool,
}

impl UsersOrder {
    /// Those that are open.
    ///
    /// # Errors
    /// [`account::Error::Store`].
    pub(crate) async fn carry_out(
        &self,
        accounts: &Accounts,
        now: Timestamp,
    ) -> Result<Vec<UserTold>, account::Error> {
        let since = self.dormant_days.map(|days| account::days_before(now, days));
        let query = AccountQuery {
            limit: MOST_LISTED,
            deactivated: Some(false),
            unseen_since: since,
            order: if since.is_some() { AccountOrder::Seen } else { AccountOrder::Name },
            ..AccountQuery::default()
        };
        let found = accounts.list_accounts(&self.authority, &query).await?.accounts;
        let told = found.into_iter().map(|account| UserTold {
            display_name: account.profile.displayname,
            created: account.created.millis(),
            seen: account.seen.map(Timestamp::millis),
            locked: account.moderation.locked,
            suspended: account.moderation.suspended,
            admin: account.admin,
            user_id: account.user_id,
        });
        Ok(told.collect())
    }
}

/// Somebody of whom it is asked what he may.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExplainOrder {
    pub(crate) user_id: OwnedUserId,
    /// Where he is: a zone by its name.
    #[serde(default)]
    pub(crate) zone: Option<String>,
}

impl ExplainOrder {
    /// What he may.
    ///
    /// # Errors
    /// [`account::Error::NotFound`] where there is no such account, or none any more; [`account::Error::Store`].
    pub(crate) async fn carry_out(
        &self,
        accounts: &Accounts,
        classes: &Classes,
    ) -> Result<Explained, account::Error> {
        let account = accounts.find_account(&self.user_id).await?.filter(|account| !account.deactivated);
        let account = account.ok_or(account::Error::NotFound("no such account"))?;
        let needs_factor = accounts.is_set_to_need_factor(&self.user_id, account.admin).await?;
        let asked = Asked { user: &self.user_id, zone: self.zone.as_deref(), needs_factor };
        Ok(classes.explain(&asked))
    }
}
