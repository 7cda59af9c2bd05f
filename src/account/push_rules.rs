//! Push rules: kept as account data of the type `m.push_rules`, changed through their own verbs.

use bytes::Bytes;
use ruma::{UserId, events::push_rules::PushRulesEventContent, push::Ruleset};
use store::Batch;

use crate::{
    Accounts, Error,
    data::{ATTEMPTS, PUSH_RULES, put_global},
    tables,
};

impl Accounts {
    /// A user's push rules.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn push_rules(&self, user: &UserId) -> Result<Ruleset, Error> {
        match self.account_data(user, PUSH_RULES).await {
            Ok(content) => Ok(parse(&content, user)),
            Err(Error::NotFound(_)) => Ok(Ruleset::server_default(user)),
            Err(error) => Err(error),
        }
    }

    /// Changes a user's push rules. `change` may run several times, each time on fresh rules.
    ///
    /// # Errors
    /// What `change` says, [`Error::Contended`], [`Error::Store`].
    pub async fn change_push_rules(
        &self,
        user: &UserId,
        change: impl Fn(&mut Ruleset) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key = (user.as_str(), PUSH_RULES);
        for _ in 0..ATTEMPTS {
            let old = self.inner.store.get(&tables::DATA, &key).await?;
            let mut rules = match &old {
                Some(row) => parse(&row.value, user),
                None => Ruleset::server_default(user),
            };
            change(&mut rules)?;
            let content = serde_json::to_vec(&PushRulesEventContent::new(rules))
                .map_err(|cause| Error::InvalidParam(cause.to_string()))?;

            let mut batch = Batch::new();
            batch.require(&tables::DATA, &key, old.as_ref());
            put_global(&mut batch, user, PUSH_RULES, Bytes::from(content));
            match self.commit(batch).await {
                Err(Error::Contended) => {}
                done => return done,
            }
        }
        Err(Error::Contended)
    }
}

fn parse(content: &[u8], user: &UserId) -> Ruleset {
    serde_json::from_slice::<PushRulesEventContent>(content)
        .map_or_else(|_unreadable| Ruleset::server_default(user), |content| content.global)
}
